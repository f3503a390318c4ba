/* SPDX-License-Identifier: ISC */
/* Addresses as the resolver keeps them: out of c-ares' answers, out of text, compared as sets.
 * Pure; for resolve.c. */
#ifndef PGPOOLD_POOL_RESOLVE_ADDR_H
#define PGPOOLD_POOL_RESOLVE_ADDR_H

#include "pool/resolve.h"

struct ares_addrinfo;

/* @name is a numeric address, perhaps with a %scope. */
MUSTCHECK bool resolve_addr_parse(const char *name, struct resolve_addr *ret);
/* Are the two lists of @n <= RESOLVE_MAX_ADDRS different addresses the same set? */
bool resolve_addrs_equal(const struct resolve_addr *a, const struct resolve_addr *b, unsigned n);
/* The addresses of @info without doubles, at most RESOLVE_MAX_ADDRS, and how long they hold. */
unsigned resolve_addrs_collect(const struct ares_addrinfo *info, struct resolve_addr *ret,
                               usec_t *ret_ttl_us);

#endif
