/* SPDX-License-Identifier: ISC */
#include "pool/resolve_addr.h"

#include <ares.h>
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

/* The hosts file has no TTL, and some name servers say 0: once per second is enough. */
#define TTL_LEAST_US USEC_PER_SEC

static int compare_addrs(const void *a, const void *b)
{
    const struct resolve_addr *left = a;
    const struct resolve_addr *right = b;

    if (left->family != right->family) {
        return left->family < right->family ? -1 : 1;
    }
    return memcmp(left->bytes, right->bytes, sizeof(left->bytes));
}

bool resolve_addrs_equal(const struct resolve_addr *a, const struct resolve_addr *b, unsigned n)
{
    struct resolve_addr left[RESOLVE_MAX_ADDRS];
    struct resolve_addr right[RESOLVE_MAX_ADDRS];

    memcpy(left, a, n * sizeof(*a));
    memcpy(right, b, n * sizeof(*b));
    qsort(left, n, sizeof(left[0]), compare_addrs);
    qsort(right, n, sizeof(right[0]), compare_addrs);
    for (unsigned i = 0; i < n; i++) {
        if (compare_addrs(&left[i], &right[i]) != 0) {
            return false;
        }
    }
    return true;
}

static bool addr_from_node(const struct ares_addrinfo_node *node, struct resolve_addr *ret)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    memset(ret, 0, sizeof(*ret));
    ret->family = node->ai_family;
    if (node->ai_family == AF_INET && node->ai_addrlen >= sizeof(in)) {
        memcpy(&in, node->ai_addr, sizeof(in));
        memcpy(ret->bytes, &in.sin_addr, 4);
    } else if (node->ai_family == AF_INET6 && node->ai_addrlen >= sizeof(in6)) {
        memcpy(&in6, node->ai_addr, sizeof(in6));
        memcpy(ret->bytes, &in6.sin6_addr, 16);
    } else {
        return false;
    }
    return inet_ntop(ret->family, ret->bytes, ret->text, sizeof(ret->text)) != NULL;
}

unsigned resolve_addrs_collect(const struct ares_addrinfo *info, struct resolve_addr *ret,
                               usec_t *ret_ttl_us)
{
    usec_t ttl_us = UINT32_MAX * USEC_PER_SEC;
    unsigned n = 0;

    for (const struct ares_addrinfo_cname *c = info->cnames; c != NULL; c = c->next) {
        ttl_us = MIN(ttl_us, (usec_t)MAX(c->ttl, 0) * USEC_PER_SEC);
    }
    for (const struct ares_addrinfo_node *node = info->nodes; node != NULL && n < RESOLVE_MAX_ADDRS;
         node = node->ai_next) {
        bool twice = false;

        if (!addr_from_node(node, &ret[n])) {
            continue;
        }
        for (unsigned i = 0; i < n && !twice; i++) {
            twice = compare_addrs(&ret[i], &ret[n]) == 0;
        }
        if (!twice) {
            ttl_us = MIN(ttl_us, (usec_t)MAX(node->ai_ttl, 0) * USEC_PER_SEC);
            n++;
        }
    }
    *ret_ttl_us = MAX(ttl_us, TTL_LEAST_US);
    return n;
}

bool resolve_addr_parse(const char *name, struct resolve_addr *ret)
{
    char plain[INET6_ADDRSTRLEN];
    size_t len = strcspn(name, "%");

    memset(ret, 0, sizeof(*ret));
    if (strlen(name) >= sizeof(ret->text) || len >= sizeof(plain)) {
        return false;
    }
    memcpy(plain, name, len);
    plain[len] = '\0';
    memcpy(ret->text, name, strlen(name) + 1);
    if (name[len] == '\0' && inet_pton(AF_INET, plain, ret->bytes) == 1) {
        ret->family = AF_INET;
        return true;
    }
    ret->family = AF_INET6;
    return inet_pton(AF_INET6, plain, ret->bytes) == 1;
}

bool resolve_is_numeric(const char *name)
{
    struct resolve_addr addr;

    return resolve_addr_parse(name, &addr);
}
