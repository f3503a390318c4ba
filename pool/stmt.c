/* SPDX-License-Identifier: ISC */
#include "pool/stmt.h"

#include "daemon/util/fatal.h"
#include "daemon/util/hash.h"
#include "daemon/util/num.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_BUCKETS 16U

/* --- the table of texts --- */

struct stmt_table {
    struct stmt **buckets;
    size_t n_buckets; /* a power of two */
    size_t n;
};

struct stmt_table *stmt_table_new(void)
{
    struct stmt_table *t = calloc(1, sizeof(*t));

    if (t == NULL) {
        return NULL;
    }
    t->n_buckets = 256;
    t->buckets = calloc(t->n_buckets, sizeof(struct stmt *));
    if (t->buckets == NULL) {
        free(t);
        return NULL;
    }
    return t;
}

struct stmt_table *stmt_table_free(struct stmt_table *t)
{
    if (t != NULL) {
        fatal_unless(t->n ==
                     0); /* a statement outlives its table only through a leaked reference */
        free(t->buckets);
        free(t);
    }
    return NULL;
}

size_t stmt_table_count(const struct stmt_table *t)
{
    return t->n;
}

static void grow_table(struct stmt_table *t)
{
    size_t n_buckets = t->n_buckets * 2;
    struct stmt **buckets = calloc(n_buckets, sizeof(struct stmt *));

    if (buckets == NULL) {
        return; /* longer chains, nothing worse */
    }
    for (size_t i = 0; i < t->n_buckets; i++) {
        while (t->buckets[i] != NULL) {
            struct stmt *s = t->buckets[i];
            size_t at = (size_t)s->hash & (n_buckets - 1);

            t->buckets[i] = s->next;
            s->next = buckets[at];
            buckets[at] = s;
        }
    }
    free(t->buckets);
    t->buckets = buckets;
    t->n_buckets = n_buckets;
}

struct stmt *stmt_intern(struct stmt_table *t, const void *body, size_t len)
{
    uint64_t hash = hash_bytes(body, len);
    struct stmt *s;
    size_t at;

    for (s = t->buckets[hash & (t->n_buckets - 1)]; s != NULL; s = s->next) {
        /* The whole text is compared: a mere hash would one day run a stranger's statement. */
        if (s->hash == hash && s->body_len == len && memcmp(s->body, body, len) == 0) {
            return stmt_ref(s);
        }
    }
    s = malloc(sizeof(*s) + len);
    if (s == NULL) {
        return NULL;
    }
    if (t->n >= 2 * t->n_buckets) {
        grow_table(t);
    }
    at = (size_t)hash & (t->n_buckets - 1);
    *s = (struct stmt){
        .refs = 1, .body_len = num_u32(len), .hash = hash, .table = t, .next = t->buckets[at]};
    memcpy(s->body, body, len);
    t->buckets[at] = s;
    t->n++;
    return s;
}

struct stmt *stmt_ref(struct stmt *s)
{
    s->refs++;
    return s;
}

struct stmt *stmt_unref(struct stmt *s)
{
    struct stmt **at;

    if (s == NULL || --s->refs > 0) {
        return NULL;
    }
    for (at = &s->table->buckets[s->hash & (s->table->n_buckets - 1)]; *at != s;
         at = &(*at)->next) {
    }
    *at = s->next;
    s->table->n--;
    free(s);
    return NULL;
}

/* --- a client's names --- */

struct prepared *prepared_new(const char *name, struct stmt *stmt)
{
    size_t len = strlen(name) + 1;
    struct prepared *p = malloc(sizeof(*p) + len);

    if (p == NULL) {
        return NULL;
    }
    *p = (struct prepared){.refs = 1, .stmt = stmt_ref(stmt)};
    memcpy(p->name, name, len);
    return p;
}

struct prepared *prepared_ref(struct prepared *p)
{
    p->refs++;
    return p;
}

struct prepared *prepared_unref(struct prepared *p)
{
    if (p != NULL && --p->refs == 0) {
        (void)stmt_unref(p->stmt);
        free(p);
    }
    return NULL;
}

static uint32_t name_bucket(const struct prepared_set *set, const char *name)
{
    return (uint32_t)hash_bytes(name, strlen(name)) & (set->n_buckets - 1);
}

struct prepared *prepared_set_find(const struct prepared_set *set, const char *name)
{
    if (set->n == 0) {
        return NULL;
    }
    for (struct prepared *p = set->buckets[name_bucket(set, name)]; p != NULL; p = p->next) {
        if (strcmp(p->name, name) == 0) {
            return p;
        }
    }
    return NULL;
}

static void link_prepared(struct prepared_set *set, struct prepared *p)
{
    uint32_t at = name_bucket(set, p->name);

    p->next = set->buckets[at];
    set->buckets[at] = p;
}

static bool grow_set(struct prepared_set *set)
{
    struct prepared_set bigger = {.n_buckets = MAX(set->n_buckets * 4, (uint32_t)8), .n = set->n};

    bigger.buckets = calloc(bigger.n_buckets, sizeof(struct prepared *));
    if (bigger.buckets == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < set->n_buckets; i++) {
        while (set->buckets[i] != NULL) {
            struct prepared *p = set->buckets[i];

            set->buckets[i] = p->next;
            link_prepared(&bigger, p);
        }
    }
    free(set->buckets);
    *set = bigger;
    return true;
}

bool prepared_set_add(struct prepared_set *set, struct prepared *p)
{
    if (set->n >= set->n_buckets && !grow_set(set) && set->n_buckets == 0) {
        return false;
    }
    link_prepared(set, prepared_ref(p));
    set->n++;
    return true;
}

void prepared_set_remove(struct prepared_set *set, struct prepared *p)
{
    if (set->n == 0) {
        return;
    }
    for (struct prepared **at = &set->buckets[name_bucket(set, p->name)]; *at != NULL;
         at = &(*at)->next) {
        if (*at == p) {
            *at = p->next;
            p->next = NULL;
            set->n--;
            (void)prepared_unref(p);
            return;
        }
    }
}

void prepared_set_clear(struct prepared_set *set)
{
    for (uint32_t i = 0; i < set->n_buckets; i++) {
        while (set->buckets[i] != NULL) {
            struct prepared *p = set->buckets[i];

            set->buckets[i] = p->next;
            p->next = NULL;
            (void)prepared_unref(p);
        }
    }
    free(set->buckets);
    *set = (struct prepared_set){.n = 0};
}

void prepared_set_done(struct prepared_set *set)
{
    prepared_set_clear(set);
}

/* --- a server connection's copies --- */

void stmt_cache_init(struct stmt_cache *c)
{
    *c = (struct stmt_cache){.next_id = 0};
    list_init(&c->by_use);
}

/* Open addressing would save a pointer; the list walk of a small cache would be slow: a table of chains by use is both
 * simple and enough, since an entry is found by its statement's hash. */
static uint32_t cache_slot(const struct stmt_cache *c, const struct stmt *stmt)
{
    return (uint32_t)(stmt->hash >> 7) & (c->n_buckets - 1);
}

static struct stmt_cache_entry **find_slot(const struct stmt_cache *c, const struct stmt *stmt,
                                           uint64_t version)
{
    uint32_t at;

    if (c->n_buckets == 0) {
        return NULL;
    }
    for (at = cache_slot(c, stmt); c->buckets[at] != NULL; at = (at + 1) & (c->n_buckets - 1)) {
        if (c->buckets[at]->stmt == stmt && c->buckets[at]->version == version) {
            return &c->buckets[at];
        }
    }
    return NULL;
}

static void place(struct stmt_cache *c, struct stmt_cache_entry *e)
{
    uint32_t at = cache_slot(c, e->stmt);

    while (c->buckets[at] != NULL) {
        at = (at + 1) & (c->n_buckets - 1);
    }
    c->buckets[at] = e;
}

static bool rehash(struct stmt_cache *c, uint32_t n_buckets)
{
    struct stmt_cache_entry **buckets = calloc(n_buckets, sizeof(struct stmt_cache_entry *));
    struct stmt_cache_entry *e;

    if (buckets == NULL) {
        return false;
    }
    free(c->buckets);
    c->buckets = buckets;
    c->n_buckets = n_buckets;
    list_for_each(&c->by_use, e, link) {
        place(c, e);
    }
    return true;
}

static void remove_entry(struct stmt_cache *c, struct stmt_cache_entry *e)
{
    uint32_t at = cache_slot(c, e->stmt);
    uint32_t mask = c->n_buckets - 1;

    while (c->buckets[at] != e) {
        at = (at + 1) & mask;
    }
    c->buckets[at] = NULL;
    /* Whatever follows without a gap may have been pushed past this slot: place it anew. */
    for (at = (at + 1) & mask; c->buckets[at] != NULL; at = (at + 1) & mask) {
        struct stmt_cache_entry *moved = c->buckets[at];

        c->buckets[at] = NULL;
        place(c, moved);
    }
    list_remove(&c->by_use, &e->link);
    (void)stmt_unref(e->stmt);
    free(e);
}

uint32_t stmt_cache_new_id(struct stmt_cache *c)
{
    c->next_id++;
    fatal_unless(
        c->next_id !=
        0); /* four billion statements on one connection: server_lifetime ends it long before */
    return c->next_id;
}

uint32_t stmt_cache_use(struct stmt_cache *c, const struct stmt *stmt, uint64_t version)
{
    struct stmt_cache_entry **slot = find_slot(c, stmt, version);

    if (slot == NULL) {
        return 0;
    }
    if (c->by_use.head.prev != &(*slot)->link) {
        list_remove(&c->by_use, &(*slot)->link);
        list_add_tail(&c->by_use, &(*slot)->link);
    }
    return (*slot)->server_id;
}

uint32_t stmt_cache_put(struct stmt_cache *c, struct stmt *stmt, uint64_t version,
                        uint32_t server_id, bool *ret_ok)
{
    struct stmt_cache_entry **slot = find_slot(c, stmt, version);
    struct stmt_cache_entry *e;
    uint32_t old = 0;

    *ret_ok = true;
    if (slot != NULL) {
        old = (*slot)->server_id;
        (*slot)->server_id = server_id;
        (void)stmt_cache_use(c, stmt, version);
        return old;
    }
    e = malloc(sizeof(*e));
    if (e == NULL ||
        (2 * c->by_use.n >= c->n_buckets && !rehash(c, MAX(c->n_buckets * 2, FIRST_BUCKETS)))) {
        free(e);
        *ret_ok = false;
        return 0;
    }
    *e = (struct stmt_cache_entry){
        .stmt = stmt_ref(stmt), .version = version, .server_id = server_id};
    list_add_tail(&c->by_use, &e->link);
    place(c, e);
    return 0;
}

uint32_t stmt_cache_evict(struct stmt_cache *c)
{
    struct list_node *first = list_first(&c->by_use);
    struct stmt_cache_entry *e;
    uint32_t id;

    if (first == NULL) {
        return 0;
    }
    e = list_entry(first, struct stmt_cache_entry, link);
    id = e->server_id;
    remove_entry(c, e);
    return id;
}

void stmt_cache_clear(struct stmt_cache *c)
{
    while (stmt_cache_evict(c) != 0) {
    }
    free(c->buckets);
    c->buckets = NULL;
    c->n_buckets = 0;
}

void stmt_cache_done(struct stmt_cache *c)
{
    stmt_cache_clear(c);
}

void stmt_server_name(char ret[STMT_SERVER_NAME_MAX_BYTES], uint32_t server_id)
{
    /* By hand: snprintf() costs more than all the rest of a Bind. */
    char digits[10];
    size_t n = 0;
    char *p = ret;

    do {
        digits[n++] = (char)('0' + server_id % 10);
        server_id /= 10;
    } while (server_id > 0);
    memcpy(p, STMT_SERVER_NAME_PREFIX, sizeof(STMT_SERVER_NAME_PREFIX) - 1);
    p += sizeof(STMT_SERVER_NAME_PREFIX) - 1;
    while (n > 0) {
        *p++ = digits[--n];
    }
    *p = '\0';
}
