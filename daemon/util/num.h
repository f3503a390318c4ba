/* SPDX-License-Identifier: ISC */
/* Numbers from text: the whole string, no sign or blank unless said, within a range. Instead of atoi and strtol.
 * Also the narrowing casts that check. */
#ifndef PGPOOLD_UTIL_NUM_H
#define PGPOOLD_UTIL_NUM_H

#include "daemon/util/fatal.h"
#include "daemon/util/macros.h"

#include <stdbool.h>
#include <stdint.h>

/* A decimal number, optionally with a leading '-', in [least, most]. *ret is written on success only. */
MUSTCHECK bool num_parse_i64(const char *text, int64_t least, int64_t most, int64_t *ret);

/* As above for unsigned numbers. */
MUSTCHECK bool num_parse_u64(const char *text, uint64_t most, uint64_t *ret);

static inline uint32_t num_u32(size_t v)
{
    fatal_unless(v <= UINT32_MAX);
    return (uint32_t)v;
}

static inline int num_int(size_t v)
{
    fatal_unless(v <= INT32_MAX);
    return (int)v;
}

#endif
