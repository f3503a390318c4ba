/* SPDX-License-Identifier: ISC */
/* The seeded hash of the daemon. Names and statement texts come from peers, so the seed is random per process and no
 * peer can aim at one bucket. Also sets uthash up; include this file, never <uthash.h> itself. */
#ifndef PGPOOLD_UTIL_HASH_H
#define PGPOOLD_UTIL_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Draws the seed; called once at start, before any table exists. Without it the seed is 0 (tests). */
void hash_seed_init(void);

uint64_t hash_bytes(const void *data, size_t len);
/* With a seed of the caller's, for what outlives the process. */
uint64_t hash_bytes_by(uint64_t by, const void *data, size_t len);

#define HASH_FUNCTION(keyptr, keylen, hashv)                \
    do {                                                    \
        (hashv) = (unsigned)hash_bytes((keyptr), (keylen)); \
    } while (0)
#define HASH_NONFATAL_OOM 1 /* after an add, look whether hh.tbl is NULL: then it did not get in */

#include <uthash.h>

#endif
