/* SPDX-License-Identifier: ISC */
/* Lists of addresses as options have them: "127.0.0.1, 10.0.0.0/8, 2001:db8::/32". Pure. */
#ifndef PGPOOLD_CONFIG_NETWORKS_H
#define PGPOOLD_CONFIG_NETWORKS_H

#include "config/config_errors.h"

#include <stdbool.h>
#include <sys/socket.h>

/* false: an item is not an address, and @why (CONFIG_WHY_SIZE bytes) says which. An empty list is fine. */
bool networks_check(const char *list, char *why);

/* Is @addr in one of them? IPv4 that comes mapped into IPv6 is IPv4. Items that are wrong hold nobody. */
bool networks_have(const char *list, const struct sockaddr *addr);

#endif
