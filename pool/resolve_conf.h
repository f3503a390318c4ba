/* SPDX-License-Identifier: ISC */
/* Name servers of a resolv.conf that are not on port 53: "nameserver 127.0.0.1:5353" or
 * "nameserver [::1]:5353". c-ares reads such lines from 1.20 on only, so where there is one, all of them
 * are handed to it by resolve.c. Everything else in the file is c-ares' business. Keeps nothing. */
#ifndef PGPOOLD_POOL_RESOLVE_CONF_H
#define PGPOOLD_POOL_RESOLVE_CONF_H

#include "daemon/util/buf.h"
#include "daemon/util/macros.h"

#include <stdbool.h>
#include <stddef.h>

#define RESOLVE_CONF_MAX_SERVERS 16
#define RESOLVE_CONF_MAX_BYTES 65536 /* what lies behind is not read */

/* Appends the name servers in @text (@len bytes) to @csv as "127.0.0.1:5353,[::1]:53" when one of them
 * has a port; else nothing. A line that makes no sense is left out, as c-ares does. */
void resolve_conf_servers(const char *text, size_t len, struct buf *csv);

/* The same for the file at @path; an unreadable one has no servers. */
void resolve_conf_read(const char *path, struct buf *csv);

#endif
