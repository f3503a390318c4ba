/* SPDX-License-Identifier: ISC */
/* Derived SCRAM keys, so that the loop computes PBKDF2 (milliseconds) once per user and not per
 * login. A bounded LRU. An entry is found by an HMAC over user, salt, iterations and password
 * under a random key of the process: neither names nor passwords nor a plain hash of them lie in
 * it. The keys do, and are wiped when an entry goes.
 *
 * A password that a client typed enters only after it proved right (scram_cache_check), so
 * guesses push nobody out.
 *
 * Unknown users and timing: the first login of a user with a plain password costs a derivation.
 * Where such users exist, make the mock cost the same: keep a second, small cache,
 * scram_cache_derive() there with the user's salt (scram_salt_of_user) and an empty password,
 * and set is_mock in the keys. Where all secrets are SCRAM secrets nothing is ever derived for a
 * client, and scram_keys_mock() is right. */
#ifndef PGPOOLD_PROTOCOL_SCRAM_CACHE_H
#define PGPOOLD_PROTOCOL_SCRAM_CACHE_H

#include "protocol/scram.h"

struct scram_cache;

struct scram_cache_query {
    const char *user; /* all borrowed during the call */
    const char *password;
    size_t password_len;
    const uint8_t *salt;
    size_t salt_len;
    uint32_t iterations;
};

/* @max_entries: at least 1; each costs about 350 bytes. NULL: out of memory. */
MUSTCHECK struct scram_cache *scram_cache_new(unsigned max_entries);
struct scram_cache *scram_cache_free(struct scram_cache *cache); /* and wipes */

/* The keys of a password that we trust (from the configuration): from the cache, or derived and
 * kept. Verdicts as scram_keys_derive(). Not being able to keep them is no failure. */
MUSTCHECK enum scram_verdict scram_cache_derive(struct scram_cache *cache,
                                                const struct scram_cache_query *q,
                                                struct scram_keys *ret);
/* Is this the password behind the secret @stored? For methods where the client sends it in
 * clear. SCRAM_OK: yes, *ret has all keys, ClientKey too. SCRAM_E_PROOF: no. Each wrong guess
 * costs a derivation, so the loop asks only when scram_cache_has() says yes. */
MUSTCHECK enum scram_verdict scram_cache_check(struct scram_cache *cache, const char *user,
                                               const char *password,
                                               const struct scram_keys *stored,
                                               struct scram_keys *ret);
/* Keeps what somebody else has derived and found right. */
void scram_cache_put(struct scram_cache *cache, const struct scram_cache_query *q,
                     const struct scram_keys *keys);

/* Would scram_cache_derive() answer without deriving? */
bool scram_cache_has(struct scram_cache *cache, const struct scram_cache_query *q);

#endif
