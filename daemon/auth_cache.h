/* SPDX-License-Identifier: ISC */
/* What auth_query has found lately, so that a login need not ask again (option auth_query_cache). Only secrets of users that
 * exist are kept, a bounded number; the oldest gives way. Whoever finds that an entry is not right any more drops it. Owned
 * by the server; knows nothing of logins. */
#ifndef PGPOOLD_DAEMON_AUTH_CACHE_H
#define PGPOOLD_DAEMON_AUTH_CACHE_H

#include "daemon/util/buf.h"
#include "daemon/util/clock.h"
#include "daemon/util/secret.h"

struct auth_cache;

/* Where an answer comes from and for whom. */
struct auth_cache_key {
    const char *database;
    const char *auth_user;
    const char *query;
    const char *user;
};

struct auth_cache *auth_cache_new(void);                      /* NULL: out of memory */
struct auth_cache *auth_cache_free(struct auth_cache *cache); /* wipes; returns NULL */

/* A copy of what was found at most @max_age_us ago. false: nothing, or out of memory. */
MUSTCHECK bool auth_cache_get(struct auth_cache *cache, const struct auth_cache_key *key,
                              usec_t max_age_us, struct secret *ret);
/* Replaces what was there. Without memory nothing is kept. */
void auth_cache_put(struct auth_cache *cache, const struct auth_cache_key *key,
                    const struct secret *secret);
void auth_cache_drop(struct auth_cache *cache, const struct auth_cache_key *key);
void auth_cache_clear(struct auth_cache *cache);

unsigned auth_cache_count(const struct auth_cache *cache);
#define AUTH_CACHE_MAX 4096U

#endif
