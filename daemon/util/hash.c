/* SPDX-License-Identifier: ISC */
#include "daemon/util/hash.h"

#include "daemon/util/fatal.h"

#include <sys/random.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

static uint64_t seed;

void hash_seed_init(void)
{
    if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed)) {
        fatal_exit("no random bytes from the kernel");
    }
}

uint64_t hash_bytes(const void *data, size_t len)
{
    return XXH3_64bits_withSeed(data, len, seed);
}

uint64_t hash_bytes_by(uint64_t by, const void *data, size_t len)
{
    return XXH3_64bits_withSeed(data, len, by);
}
