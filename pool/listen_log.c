/* SPDX-License-Identifier: ISC */
#include "pool/listen_log.h"

#include "daemon/util/fatal.h"
#include "daemon/util/list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One entry goes from list to list: expected -> open -> committed, or expected -> marks, or is
 * freed on the way. So whatever was expected has its memory, and an answer of the server cannot
 * fail for want of it. */
struct entry {
    struct list_node link;
    struct list_node *after; /* a mark: the last of the open changes when it was set */
    uint32_t seq;
    uint8_t kind; /* enum sql_kind */
    char name[];
};

struct listen_log_body {
    struct list expected; /* sent, not answered */
    struct list open;     /* completed changes of the open transaction */
    /* Its savepoints. One that was set before the first change is not kept: going back to it undoes
     * all changes, as going back to an unknown one does. */
    struct list marks;
    struct list committed; /* changes to be taken */
    bool has_failed;       /* an error since the last ReadyForQuery */
    bool is_aborted;       /* the open transaction can only be rolled back */
};

static unsigned count(const struct listen_log_body *b)
{
    return b->expected.n + b->open.n + b->marks.n + b->committed.n;
}

unsigned listen_log_count(const struct listen_log *log)
{
    return log->body == NULL ? 0 : count(log->body);
}

static void drop(struct list *l, struct entry *e)
{
    list_remove(l, &e->link);
    free(e);
}

static void drop_all(struct list *l)
{
    struct entry *e;

    list_for_each(l, e, link) {
        drop(l, e);
    }
}

static void move_all(struct list *to, struct list *from)
{
    struct entry *e;

    list_for_each(from, e, link) {
        list_remove(from, &e->link);
        list_add_tail(to, &e->link);
    }
}

/* The transaction is over. */
static void end_transaction(struct listen_log_body *b, bool is_committed)
{
    b->is_aborted = false;
    drop_all(&b->marks);
    if (is_committed) {
        move_all(&b->committed, &b->open);
    } else {
        drop_all(&b->open);
    }
}

static void free_if_unused(struct listen_log *log)
{
    if (log->body != NULL && count(log->body) == 0) {
        free(log->body);
        log->body = NULL;
    }
}

void listen_log_done(struct listen_log *log)
{
    if (log->body != NULL) {
        drop_all(&log->body->expected);
        drop_all(&log->body->committed);
        end_transaction(log->body, false);
        free_if_unused(log);
    }
}

/* A new entry, in no list; makes the body when there is none. */
static int add(struct listen_log *log, enum sql_kind kind, const char *name, struct entry **ret)
{
    size_t size = strlen(name) + 1;
    struct entry *e;

    e = malloc(sizeof(*e) + size);
    if (e == NULL) {
        return -ENOMEM;
    }
    if (log->body == NULL) {
        log->body = calloc(1, sizeof(*log->body));
        if (log->body == NULL) {
            free(e);
            return -ENOMEM;
        }
        list_init(&log->body->expected);
        list_init(&log->body->open);
        list_init(&log->body->marks);
        list_init(&log->body->committed);
    }
    *e = (struct entry){.kind = (uint8_t)kind};
    memcpy(e->name, name, size);
    *ret = e;
    return 0;
}

#define CHANGES (BIT(SQL_LISTEN) | BIT(SQL_UNLISTEN) | BIT(SQL_UNLISTEN_ALL))

/* Does a statement of this kind matter? @is_active: others before it did. BEGIN does not: what
 * ran before it in the same Query becomes part of its transaction. */
static bool is_of_interest(enum sql_kind kind, bool is_active)
{
    switch (kind) {
    case SQL_LISTEN:
    case SQL_UNLISTEN:
    case SQL_UNLISTEN_ALL:
        return true;
    case SQL_SAVEPOINT:
    case SQL_RELEASE:
    case SQL_ROLLBACK_TO:
    case SQL_COMMIT:
    case SQL_ROLLBACK:
    case SQL_PREPARE_TRANSACTION:
        return is_active;
    case SQL_OTHER:
    case SQL_NOTIFY:
    case SQL_BEGIN:
    case SQL_SET:
    case SQL_RESET:
    case SQL_DISCARD: /* its tag says all */
    case SQL_PREPARE:
    case SQL_EXECUTE:
    case SQL_DEALLOCATE:
    case SQL_DECLARE:
    case SQL_CLOSE:
        return false;
    case SQL_KINDS:
        break;
    }
    unreachable();
}

int listen_log_expect(struct listen_log *log, uint32_t seq, const struct sql_statement *st)
{
    struct entry *e;
    int res;

    if (!is_of_interest(st->kind, log->body != NULL)) {
        return 0;
    }
    if (log->body != NULL && count(log->body) >= LISTEN_LOG_MAX) {
        return LISTEN_LOG_E_FULL;
    }
    res = add(log, st->kind, st->name, &e);
    if (res == 0) {
        e->seq = seq;
        list_add_tail(&log->body->expected, &e->link);
    }
    return res;
}

/* Nothing up to @seq will be answered any more. */
static void drop_expected(struct listen_log_body *b, uint32_t seq)
{
    struct entry *e;

    list_for_each(&b->expected, e, link) {
        if ((int32_t)(e->seq - seq) > 0) {
            return;
        }
        drop(&b->expected, e);
    }
}

/* --- completed statements --- */

/* The kinds that a tag can belong to, as bits. A COMMIT or PREPARE TRANSACTION that did not
 * work says ROLLBACK. */
static const struct {
    const char *tag;
    unsigned kinds;
} tags[] = {
    {"LISTEN", BIT(SQL_LISTEN)},
    {"UNLISTEN", BIT(SQL_UNLISTEN) | BIT(SQL_UNLISTEN_ALL)},
    {"SAVEPOINT", BIT(SQL_SAVEPOINT)},
    {"RELEASE", BIT(SQL_RELEASE)},
    {"ROLLBACK",
     BIT(SQL_ROLLBACK) | BIT(SQL_ROLLBACK_TO) | BIT(SQL_COMMIT) | BIT(SQL_PREPARE_TRANSACTION)},
    {"COMMIT", BIT(SQL_COMMIT)},
    {"PREPARE TRANSACTION", BIT(SQL_PREPARE_TRANSACTION)},
};

static unsigned kinds_of_tag(const char *tag)
{
    for (size_t i = 0; i < ARRAY_LEN(tags); i++) {
        if (strcmp(tags[i].tag, tag) == 0) {
            return tags[i].kinds;
        }
    }
    return 0;
}

/* The innermost savepoint of this name, NULL: it was set before the first change, or never. */
static struct entry *find_mark(const struct listen_log_body *b, const char *name)
{
    for (struct list_node *node = b->marks.head.prev; node != &b->marks.head; node = node->prev) {
        struct entry *e = list_entry(node, struct entry, link);

        if (strcmp(e->name, name) == 0) {
            return e;
        }
    }
    return NULL;
}

/* @mark NULL: all of them. */
static void drop_marks_behind(struct listen_log_body *b, const struct entry *mark)
{
    struct list_node *last;

    while ((last = list_last(&b->marks)) != NULL && (mark == NULL || last != &mark->link)) {
        drop(&b->marks, list_entry(last, struct entry, link));
    }
}

static void rollback_to(struct listen_log_body *b, const char *name)
{
    struct entry *mark = find_mark(b, name);
    struct list_node *last;

    b->is_aborted = false;
    drop_marks_behind(b, mark);
    while ((last = list_last(&b->open)) != NULL && (mark == NULL || last != mark->after)) {
        drop(&b->open, list_entry(last, struct entry, link));
    }
}

static void release(struct listen_log_body *b, const char *name)
{
    struct entry *mark = find_mark(b, name);

    drop_marks_behind(b, mark);
    if (mark != NULL) {
        drop(&b->marks, mark);
    }
}

/* @e has completed with the tag of @tag_kinds. Takes @e. */
static void complete(struct listen_log_body *b, struct entry *e, unsigned tag_kinds)
{
    list_remove(&b->expected, &e->link);
    if ((BIT(e->kind) & CHANGES) != 0) {
        list_add_tail(&b->open, &e->link);
        return;
    }
    if (e->kind == SQL_SAVEPOINT && !list_is_empty(&b->open)) {
        e->after = list_last(&b->open);
        list_add_tail(&b->marks, &e->link);
        return;
    }
    if (e->kind == SQL_RELEASE) {
        release(b, e->name);
    } else if (e->kind == SQL_ROLLBACK_TO) {
        rollback_to(b, e->name);
    } else if (e->kind == SQL_PREPARE_TRANSACTION) {
        /* The tag is ROLLBACK too when there is no transaction block, and then what went before
         * it is committed. One that could be prepared has no changes. */
        end_transaction(b, !b->is_aborted);
    } else if (e->kind != SQL_SAVEPOINT) {
        end_transaction(b, tag_kinds == BIT(SQL_COMMIT));
    }
    free(e);
}

/* It cannot run in a transaction block and commits at once, whatever follows in a pipeline. */
static int complete_discard_all(struct listen_log *log)
{
    struct entry *e;
    int res;

    if (log->body != NULL) {
        drop_all(&log->body->committed); /* this undoes them */
        end_transaction(log->body, false);
    }
    res = add(log, SQL_UNLISTEN_ALL, "", &e);
    if (res == 0) {
        list_add_tail(&log->body->committed, &e->link);
    }
    return res;
}

static bool has_unreadable_name(const struct entry *e)
{
    switch ((enum sql_kind)e->kind) {
    case SQL_LISTEN:
    case SQL_UNLISTEN:
    case SQL_SAVEPOINT:
    case SQL_RELEASE:
    case SQL_ROLLBACK_TO:
        return e->name[0] == '\0';
    default: /* the others have none */
        return false;
    }
}

/* Answers come in order, so this one is of the first that is expected, or of a statement that
 * was sent before the first: then it is no LISTEN and there is nothing yet that it could undo. */
int listen_log_complete_slow(struct listen_log *log, const char *tag)
{
    unsigned kinds = kinds_of_tag(tag);
    struct listen_log_body *b = log->body;
    struct list_node *first = b != NULL ? list_first(&b->expected) : NULL;
    struct entry *e = first != NULL ? list_entry(first, struct entry, link) : NULL;
    int res = 0;

    if (kinds == 0) {
        return strcmp(tag, "DISCARD ALL") == 0 ? complete_discard_all(log) : 0;
    }
    if (e == NULL || (BIT(e->kind) & kinds) == 0) {
        bool is_harmless = (kinds & CHANGES) == 0 && (b == NULL || list_is_empty(&b->open));

        if (b != NULL) {
            b->is_aborted =
                false; /* nothing completes in such a transaction but what ends it or goes back */
        }
        return is_harmless ? 0 : LISTEN_LOG_E_UNSEEN;
    }
    if (has_unreadable_name(e)) {
        drop(&b->expected, e);
        res = LISTEN_LOG_E_UNSEEN;
    } else {
        complete(b, e, kinds);
    }
    free_if_unused(log);
    return res;
}

/* --- the ends of requests --- */

void listen_log_error(struct listen_log *log, uint32_t seq)
{
    if (log->body != NULL) {
        drop_expected(log->body, seq);
        log->body->has_failed = true;
        free_if_unused(log);
    }
}

bool listen_log_ready(struct listen_log *log, uint32_t seq, char status)
{
    struct listen_log_body *b = log->body;
    bool has_changes;

    if (b == NULL) {
        return false;
    }
    drop_expected(b, seq);
    if (status == 'I') {
        end_transaction(b, !b->has_failed);
    }
    b->has_failed = false;
    b->is_aborted = status == 'E';
    has_changes = !list_is_empty(&b->committed);
    free_if_unused(log);
    return has_changes;
}

bool listen_log_take(struct listen_log *log, struct listen_change *ret)
{
    struct list_node *node = log->body != NULL ? list_first(&log->body->committed) : NULL;
    struct entry *e;

    if (node == NULL) {
        return false;
    }
    e = list_entry(node, struct entry, link);
    ret->kind = (enum sql_kind)e->kind;
    memcpy(ret->name, e->name, strlen(e->name) + 1);
    drop(&log->body->committed, e);
    free_if_unused(log);
    return true;
}
