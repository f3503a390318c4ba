/* SPDX-License-Identifier: ISC */
#include "protocol/scram_cache.h"

#include "daemon/util/hash.h"
#include "daemon/util/list.h"
#include "daemon/util/secret.h"
#include "protocol/scram_internal.h"

#include <stdlib.h>
#include <string.h>

struct entry {
    UT_hash_handle hh;
    struct list_node link; /* in scram_cache.used, most recent first */
    uint8_t id[SCRAM_KEY_BYTES];
    struct scram_keys keys;
};

struct scram_cache {
    struct entry *table;
    struct list used;
    unsigned max_entries;
    uint8_t id_key[SCRAM_KEY_BYTES];
};

struct scram_cache *scram_cache_new(unsigned max_entries)
{
    struct scram_cache *cache = secret_alloc(sizeof(*cache));

    if (cache == NULL) {
        return NULL;
    }
    list_init(&cache->used);
    cache->max_entries = MAX(max_entries, 1U);
    secret_random(cache->id_key, sizeof(cache->id_key));
    return cache;
}

static void drop(struct scram_cache *cache, struct entry *e)
{
    HASH_DELETE(hh, cache->table, e);
    list_remove(&cache->used, &e->link);
    (void)secret_free(e, sizeof(*e));
}

struct scram_cache *scram_cache_free(struct scram_cache *cache)
{
    struct entry *e;

    if (cache == NULL) {
        return NULL;
    }
    list_for_each(&cache->used, e, link) {
        drop(cache, e);
    }
    return secret_free(cache, sizeof(*cache));
}

/* A length before each field, or "ab" + "c" and "a" + "bc" would meet. */
static void append_field(struct buf *b, const void *data, size_t len)
{
    uint64_t n = len;

    buf_append(b, &n, sizeof(n));
    buf_append(b, data, len);
}

static bool id_of(const struct scram_cache *cache, const struct scram_cache_query *q,
                  uint8_t ret[SCRAM_KEY_BYTES])
{
    struct buf text = BUF_INIT(SIZE_MAX); /* names and passwords are bounded where they are read */
    bool ok;

    /* All room at once: growing would leave a piece of the password behind in freed memory. */
    ok = buf_reserve(&text, 4 * sizeof(uint64_t) + strlen(q->user) + q->password_len + q->salt_len +
                                sizeof(q->iterations)) != NULL;
    append_field(&text, q->user, strlen(q->user));
    append_field(&text, q->password, q->password_len);
    append_field(&text, q->salt, q->salt_len);
    append_field(&text, &q->iterations, sizeof(q->iterations));
    ok = ok && buf_ok(&text) && scram_hmac(cache->id_key, text.data, text.len, ret);
    buf_done_secret(&text);
    return ok;
}

static struct entry *find(struct scram_cache *cache, const uint8_t id[SCRAM_KEY_BYTES])
{
    struct entry *e;

    HASH_FIND(hh, cache->table, id, SCRAM_KEY_BYTES, e);
    return e;
}

static void keep(struct scram_cache *cache, const uint8_t id[SCRAM_KEY_BYTES],
                 const struct scram_keys *keys)
{
    struct entry *e;

    if (cache->used.n >= cache->max_entries) {
        drop(cache, list_entry(list_last(&cache->used), struct entry, link));
    }
    e = secret_alloc(sizeof(*e));
    if (e == NULL) {
        return; /* then the next login derives again */
    }
    memcpy(e->id, id, sizeof(e->id));
    e->keys = *keys;
    HASH_ADD(hh, cache->table, id, sizeof(e->id), e);
    if (e->hh.tbl == NULL) {
        (void)secret_free(e, sizeof(*e));
        return;
    }
    list_add_head(&cache->used, &e->link);
}

static bool recall(struct scram_cache *cache, const uint8_t id[SCRAM_KEY_BYTES],
                   struct scram_keys *ret)
{
    struct entry *e = find(cache, id);

    if (e == NULL) {
        return false;
    }
    list_remove(&cache->used, &e->link);
    list_add_head(&cache->used, &e->link);
    *ret = e->keys;
    return true;
}

static enum scram_verdict derive(const struct scram_cache_query *q, struct scram_keys *ret)
{
    struct scram_salt salt = {.bytes = q->salt, .len = q->salt_len, .iterations = q->iterations};

    return scram_keys_derive(q->password, q->password_len, &salt, ret);
}

enum scram_verdict scram_cache_derive(struct scram_cache *cache, const struct scram_cache_query *q,
                                      struct scram_keys *ret)
{
    uint8_t id[SCRAM_KEY_BYTES];
    enum scram_verdict v;

    if (!id_of(cache, q, id)) {
        return SCRAM_E_INTERNAL;
    }
    if (recall(cache, id, ret)) {
        return SCRAM_OK;
    }
    v = derive(q, ret);
    if (v == SCRAM_OK) {
        keep(cache, id, ret);
    }
    return v;
}

enum scram_verdict scram_cache_check(struct scram_cache *cache, const char *user,
                                     const char *password, const struct scram_keys *stored,
                                     struct scram_keys *ret)
{
    struct scram_cache_query q = {
        .user = user,
        .password = password,
        .password_len = strlen(password),
        .salt = stored->salt,
        .salt_len = stored->salt_len,
        .iterations = stored->iterations,
    };
    uint8_t id[SCRAM_KEY_BYTES];
    struct scram_keys keys = {0};
    bool known;
    enum scram_verdict v = SCRAM_OK;

    if (!id_of(cache, &q, id)) {
        return SCRAM_E_INTERNAL;
    }
    known = recall(cache, id, &keys);
    if (!known) {
        v = derive(&q, &keys);
    }
    if (v == SCRAM_OK &&
        (!secret_bytes_equal(keys.stored_key, stored->stored_key, SCRAM_KEY_BYTES) ||
         stored->is_mock)) {
        v = SCRAM_E_PROOF;
    }
    if (v == SCRAM_OK) {
        if (!known) {
            keep(cache, id, &keys);
        }
        *ret = keys;
    }
    scram_keys_wipe(&keys);
    return v;
}

void scram_cache_put(struct scram_cache *cache, const struct scram_cache_query *q,
                     const struct scram_keys *keys)
{
    uint8_t id[SCRAM_KEY_BYTES];

    if (id_of(cache, q, id) && find(cache, id) == NULL) {
        keep(cache, id, keys);
    }
}

bool scram_cache_has(struct scram_cache *cache, const struct scram_cache_query *q)
{
    uint8_t id[SCRAM_KEY_BYTES];

    return id_of(cache, q, id) && find(cache, id) != NULL;
}
