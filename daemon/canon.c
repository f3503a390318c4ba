/* SPDX-License-Identifier: ISC */
#include "daemon/canon.h"

#include "daemon/util/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ENTRIES 4096U
/* Longer pairs are asked for each time. */
#define MAX_KEY_BYTES 512

struct canon_entry {
    UT_hash_handle hh;
    char *spelling;
    size_t key_len;
    char key[]; /* scope, name, NUL, value */
};

struct canon_table {
    struct canon_entry *entries;
};

struct canon_table *canon_new(void)
{
    return calloc(1, sizeof(struct canon_table));
}

void canon_clear(struct canon_table *t)
{
    struct canon_entry *e;
    struct canon_entry *next;

    HASH_ITER(hh, t->entries, e, next) {
        HASH_DEL(t->entries, e);
        free(e->spelling);
        free(e);
    }
}

struct canon_table *canon_free(struct canon_table *t)
{
    if (t != NULL) {
        canon_clear(t);
        free(t);
    }
    return NULL;
}

/* 0: too long. */
static size_t make_key(char *key, const void *scope, const char *name, const char *value)
{
    int n = snprintf(key, MAX_KEY_BYTES, "%p %s%c%s", scope, name, '\1', value);

    return n > 0 && n < MAX_KEY_BYTES ? (size_t)n : 0;
}

const char *canon_find(const struct canon_table *t, const void *scope, const char *name,
                       const char *value)
{
    char key[MAX_KEY_BYTES];
    size_t len = make_key(key, scope, name, value);
    struct canon_entry *e = NULL;

    if (len > 0) {
        HASH_FIND(hh, t->entries, key, len, e);
    }
    return e != NULL ? e->spelling : NULL;
}

void canon_learn(struct canon_table *t, const void *scope, const char *name, const char *value,
                 const char *spelling)
{
    char key[MAX_KEY_BYTES];
    size_t len = make_key(key, scope, name, value);
    struct canon_entry *e;

    if (len == 0 || canon_find(t, scope, name, value) != NULL) {
        return;
    }
    if (HASH_COUNT(t->entries) >= MAX_ENTRIES) {
        canon_clear(t);
    }
    e = malloc(sizeof(*e) + len);
    if (e == NULL) {
        return;
    }
    e->spelling = strdup(spelling);
    e->key_len = len;
    memcpy(e->key, key, len);
    if (e->spelling != NULL) {
        HASH_ADD(hh, t->entries, key, len, e);
    }
    if (e->spelling == NULL || e->hh.tbl == NULL) {
        free(e->spelling);
        free(e);
    }
}
