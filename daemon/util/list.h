/* SPDX-License-Identifier: ISC */
/* A doubly linked intrusive list that knows its length: a state is a list, and SHOW needs its count.
 * The nodes belong to the objects that embed them; the list never allocates or frees. */
#ifndef PGPOOLD_UTIL_LIST_H
#define PGPOOLD_UTIL_LIST_H

#include "daemon/util/macros.h"

#include <stdbool.h>

struct list_node {
    struct list_node *next; /* NULL while in no list */
    struct list_node *prev;
};

struct list {
    struct list_node head;
    unsigned n;
};

static inline void list_init(struct list *l)
{
    l->head.next = &l->head;
    l->head.prev = &l->head;
    l->n = 0;
}

static inline bool list_is_empty(const struct list *l)
{
    return l->n == 0;
}

static inline bool list_node_is_linked(const struct list_node *node)
{
    return node->next != NULL;
}

static inline void list_insert_between(struct list *l, struct list_node *node,
                                       struct list_node *prev, struct list_node *next)
{
    node->prev = prev;
    node->next = next;
    prev->next = node;
    next->prev = node;
    l->n++;
}

static inline void list_add_tail(struct list *l, struct list_node *node)
{
    list_insert_between(l, node, l->head.prev, &l->head);
}

static inline void list_add_head(struct list *l, struct list_node *node)
{
    list_insert_between(l, node, &l->head, l->head.next);
}

/* @node must be in @l. */
static inline void list_remove(struct list *l, struct list_node *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = NULL;
    node->prev = NULL;
    l->n--;
}

static inline struct list_node *list_first(const struct list *l)
{
    return l->n == 0 ? NULL : l->head.next;
}

static inline struct list_node *list_last(const struct list *l)
{
    return l->n == 0 ? NULL : l->head.prev;
}

/* The node after @node, NULL at the end. */
static inline struct list_node *list_next(const struct list *l, const struct list_node *node)
{
    return node->next == &l->head ? NULL : node->next;
}

#define list_entry(node, type, member) container_of(node, type, member)

/* Visits every object; the current one may be removed from the list by the body. May be nested. */
#define list_for_each(l, obj, member) \
    LIST_EACH(l, obj, member, LIST_NAME(each_, __LINE__), LIST_NAME(next_, __LINE__))
#define LIST_PASTE(a, b) a##b
#define LIST_NAME(a, b) LIST_PASTE(a, b)
#define LIST_EACH(l, obj, member, each, after)                                               \
    for (struct list_node *each = (l)->head.next, *after = each->next;                       \
         each != &(l)->head && ((obj) = list_entry(each, __typeof__(*(obj)), member), true); \
         each = after, after = each->next)

#endif
