/* SPDX-License-Identifier: ISC */
#include "daemon/auth_cache.h"

#include "daemon/util/hash.h"

#include <stdlib.h>
#include <string.h>

#define KEY_MAX_BYTES ((size_t)64 * 1024)

struct entry {
    UT_hash_handle hh; /* the order of the table is that of their coming */
    usec_t found_us;
    struct secret secret;
    size_t key_len;
    char key[];
};

struct auth_cache {
    struct entry *entries;
};

struct auth_cache *auth_cache_new(void)
{
    return calloc(1, sizeof(struct auth_cache));
}

static void drop(struct auth_cache *cache, struct entry *e)
{
    if (e != NULL) {
        HASH_DEL(cache->entries, e);
        secret_done(&e->secret);
        free(e);
    }
}

void auth_cache_clear(struct auth_cache *cache)
{
    while (cache->entries != NULL) {
        drop(cache, cache->entries);
    }
}

struct auth_cache *auth_cache_free(struct auth_cache *cache)
{
    if (cache != NULL) {
        auth_cache_clear(cache);
        free(cache);
    }
    return NULL;
}

unsigned auth_cache_count(const struct auth_cache *cache)
{
    return HASH_COUNT(cache->entries);
}

/* The four texts with a NUL behind each: no two keys look the same. */
static void put_key(struct buf *to, const struct auth_cache_key *key)
{
    const char *const parts[] = {key->database, key->auth_user, key->query, key->user};

    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        (void)buf_append(to, parts[i], strlen(parts[i]) + 1); /* asked by the callers */
    }
}

static struct entry *find(struct auth_cache *cache, const struct auth_cache_key *key)
{
    struct buf text = BUF_INIT(KEY_MAX_BYTES);
    struct entry *e = NULL;

    put_key(&text, key);
    if (buf_ok(&text)) {
        HASH_FIND(hh, cache->entries, text.data, text.len, e);
    }
    buf_done(&text);
    return e;
}

bool auth_cache_get(struct auth_cache *cache, const struct auth_cache_key *key, usec_t max_age_us,
                    struct secret *ret)
{
    struct entry *e = find(cache, key);

    if (e != NULL && clock_now_us() - e->found_us > max_age_us) {
        drop(cache, e);
        return false;
    }
    return e != NULL && secret_set(ret, e->secret.data, e->secret.len);
}

static struct entry *new_entry(const struct buf *key, const struct secret *secret)
{
    struct entry *e = buf_ok(key) ? calloc(1, sizeof(*e) + key->len) : NULL;

    if (e == NULL || !secret_set(&e->secret, secret->data, secret->len)) {
        free(e);
        return NULL;
    }
    memcpy(e->key, key->data, key->len);
    e->key_len = key->len;
    e->found_us = clock_now_us();
    return e;
}

void auth_cache_put(struct auth_cache *cache, const struct auth_cache_key *key,
                    const struct secret *secret)
{
    struct buf text = BUF_INIT(KEY_MAX_BYTES);
    struct entry *e;

    auth_cache_drop(cache, key);
    if (auth_cache_count(cache) >= AUTH_CACHE_MAX) {
        drop(cache, cache->entries); /* the oldest */
    }
    put_key(&text, key);
    e = new_entry(&text, secret);
    buf_done(&text);
    if (e == NULL) {
        return;
    }
    HASH_ADD_KEYPTR(hh, cache->entries, e->key, e->key_len, e);
    if (e->hh.tbl == NULL) { /* out of memory: did not get in */
        secret_done(&e->secret);
        free(e);
    }
}

void auth_cache_drop(struct auth_cache *cache, const struct auth_cache_key *key)
{
    drop(cache, find(cache, key));
}
