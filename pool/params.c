/* SPDX-License-Identifier: ISC */
#include "pool/params.h"

#include "daemon/util/fatal.h"
#include "daemon/util/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A chained table that doubles when its chains get longer than two on average. Not uthash: the key is the object. */
struct params_table {
    struct params **buckets;
    size_t n_buckets; /* a power of two */
    size_t n;
};

#define FIRST_BUCKETS 64

struct params_table *params_table_new(void)
{
    struct params_table *t = calloc(1, sizeof(*t));

    if (t == NULL) {
        return NULL;
    }
    t->n_buckets = FIRST_BUCKETS;
    t->buckets = calloc(t->n_buckets, sizeof(struct params *));
    if (t->buckets == NULL) {
        free(t);
        return NULL;
    }
    return t;
}

struct params_table *params_table_free(struct params_table *t)
{
    if (t != NULL) {
        fatal_unless(t->n == 0); /* a set outlives its table only through a leaked reference */
        free(t->buckets);
        free(t);
    }
    return NULL;
}

size_t params_table_count(const struct params_table *t)
{
    return t->n;
}

static int by_name(const void *a, const void *b)
{
    const struct param *x = a;
    const struct param *y = b;

    return strcasecmp(x->name, y->name);
}

static bool is_equal(const struct params *p, const struct param *entries, unsigned n)
{
    if (p->n != n) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        if (strcmp(p->entries[i].name, entries[i].name) != 0 ||
            strcmp(p->entries[i].value, entries[i].value) != 0) {
            return false;
        }
    }
    return true;
}

static uint64_t hash_entries(const struct param *entries, unsigned n, size_t *ret_bytes)
{
    uint64_t h = n;
    size_t bytes = 0;

    for (unsigned i = 0; i < n; i++) {
        size_t name_len = strlen(entries[i].name) + 1;
        size_t value_len = strlen(entries[i].value) + 1;

        h = h * 0x9e3779b97f4a7c15U + hash_bytes(entries[i].name, name_len);
        h = h * 0x9e3779b97f4a7c15U + hash_bytes(entries[i].value, value_len);
        bytes += name_len + value_len;
    }
    *ret_bytes = bytes;
    return h ^ h >> 29;
}

static void grow(struct params_table *t)
{
    size_t n_buckets = t->n_buckets * 2;
    struct params **buckets = calloc(n_buckets, sizeof(struct params *));

    if (buckets == NULL) {
        return; /* longer chains, nothing worse */
    }
    for (size_t i = 0; i < t->n_buckets; i++) {
        while (t->buckets[i] != NULL) {
            struct params *p = t->buckets[i];
            size_t at = (size_t)p->hash & (n_buckets - 1);

            t->buckets[i] = p->next;
            p->next = buckets[at];
            buckets[at] = p;
        }
    }
    free(t->buckets);
    t->buckets = buckets;
    t->n_buckets = n_buckets;
}

static struct params *make(const struct param *entries, unsigned n, size_t bytes)
{
    struct params *p = malloc(sizeof(*p) + n * sizeof(struct param) + bytes);
    char *text;

    if (p == NULL) {
        return NULL;
    }
    *p = (struct params){.refs = 1, .n = n};
    text = (char *)&p->entries[n];
    for (unsigned i = 0; i < n; i++) {
        size_t name_len = strlen(entries[i].name) + 1;
        size_t value_len = strlen(entries[i].value) + 1;

        memcpy(text, entries[i].name, name_len);
        memcpy(text + name_len, entries[i].value, value_len);
        p->entries[i].name = text;
        p->entries[i].value = text + name_len;
        text += name_len + value_len;
    }
    return p;
}

/* @entries is sorted. */
static struct params *intern_sorted(struct params_table *t, const struct param *entries, unsigned n)
{
    size_t bytes;
    uint64_t hash = hash_entries(entries, n, &bytes);
    struct params *p;
    size_t at;

    if (bytes > PARAMS_MAX_BYTES) {
        errno = E2BIG;
        return NULL;
    }
    for (p = t->buckets[hash & (t->n_buckets - 1)]; p != NULL; p = p->next) {
        if (p->hash == hash && is_equal(p, entries, n)) {
            return params_ref(p);
        }
    }
    p = make(entries, n, bytes);
    if (p == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    if (t->n >= 2 * t->n_buckets) {
        grow(t);
    }
    at = (size_t)hash & (t->n_buckets - 1);
    p->hash = hash;
    p->table = t;
    p->next = t->buckets[at];
    t->buckets[at] = p;
    t->n++;
    return p;
}

struct params *params_intern(struct params_table *t, const struct param *entries, unsigned n)
{
    struct param sorted[PARAMS_MAX];

    if (n > PARAMS_MAX) {
        errno = E2BIG;
        return NULL;
    }
    if (n > 0) {
        memcpy(sorted, entries, n * sizeof(*entries));
        qsort(sorted, n, sizeof(*sorted), by_name);
    }
    return intern_sorted(t, sorted, n);
}

struct params *params_with(struct params_table *t, const struct params *p, const char *name,
                           const char *value)
{
    struct param entries[PARAMS_MAX + 1];
    unsigned n = 0;
    bool done = value == NULL;

    for (unsigned i = 0; p != NULL && i < p->n; i++) {
        int order = strcasecmp(p->entries[i].name, name);

        if (order >= 0 && !done) {
            entries[n].name = order == 0 ? p->entries[i].name : name;
            entries[n].value = value;
            n++;
            done = true;
        }
        if (order != 0) {
            entries[n++] = p->entries[i];
        }
    }
    if (!done) {
        entries[n].name = name;
        entries[n].value = value;
        n++;
    }
    if (n > PARAMS_MAX) {
        errno = E2BIG;
        return NULL;
    }
    return intern_sorted(t, entries, n);
}

struct params *params_ref(struct params *p)
{
    p->refs++;
    return p;
}

struct params *params_unref(struct params *p)
{
    struct params **at;

    if (p == NULL || --p->refs > 0) {
        return NULL;
    }
    for (at = &p->table->buckets[p->hash & (p->table->n_buckets - 1)]; *at != p;
         at = &(*at)->next) {
    }
    *at = p->next;
    p->table->n--;
    free(p);
    return NULL;
}

const char *params_get(const struct params *p, const char *name)
{
    unsigned low = 0;
    unsigned high = p != NULL ? p->n : 0;

    while (low < high) {
        unsigned mid = low + (high - low) / 2;
        int order = strcasecmp(name, p->entries[mid].name);

        if (order == 0) {
            return p->entries[mid].value;
        }
        if (order < 0) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    return NULL;
}

void params_diff(const struct params *from, const struct params *to, params_diff_fn fn, void *arg)
{
    for (unsigned i = 0; to != NULL && from != to && i < to->n; i++) {
        const char *old = params_get(from, to->entries[i].name);

        if (old == NULL || strcmp(old, to->entries[i].value) != 0) {
            fn(arg, to->entries[i].name, to->entries[i].value);
        }
    }
}

/* E'' strings mean the same whatever standard_conforming_strings is. */
static void put_literal(struct buf *sql, const char *text)
{
    (void)buf_append_str(sql, "E'"); /* failures stick */
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '\'' || *p == '\\') {
            (void)buf_append_u8(sql, (uint8_t)*p);
        }
        (void)buf_append_u8(sql, (uint8_t)*p);
    }
    (void)buf_append_u8(sql, '\'');
}

struct diff_sql {
    struct buf *sql;
    unsigned n;
};

/* Not SET: it would take the value of a list like search_path for one quoted name. A NULL value means the default. */
static void put_set_config(void *arg, const char *name, const char *value)
{
    struct diff_sql *d = arg;

    (void)buf_append_str(d->sql, d->n == 0 ? "SELECT " : ", ");
    d->n++;
    (void)buf_append_str(d->sql, "pg_catalog.set_config(");
    put_literal(d->sql, name);
    (void)buf_append_str(d->sql, ", ");
    if (value != NULL) {
        put_literal(d->sql, value);
    } else {
        (void)buf_append_str(d->sql, "NULL");
    }
    (void)buf_append_str(d->sql, ", false)");
}

void params_diff_sql(const struct params *from, const struct params *to, struct buf *sql)
{
    struct diff_sql d = {.sql = sql};

    if (from == to) {
        return;
    }
    for (unsigned i = 0; from != NULL && i < from->n; i++) {
        if (params_get(to, from->entries[i].name) == NULL) {
            put_set_config(&d, from->entries[i].name, NULL);
        }
    }
    params_diff(from, to, put_set_config, &d);
}
