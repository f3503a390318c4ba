/* SPDX-License-Identifier: ISC */
/* Can clients be served? Answers from what is known already: the last attempt to open a server connection to each
 * database. Only when that failed, and nobody else tries, one more is made, not more often than server_login_retry:
 * else a load balancer that sends no clients would never learn that the server is back. */
#ifndef PGPOOLD_DAEMON_HEALTH_H
#define PGPOOLD_DAEMON_HEALTH_H

#include "daemon/server.h"
#include "daemon/util/buf.h"

enum health {
    HEALTH_OK,
    HEALTH_UNUSED,      /* nobody has tried yet */
    HEALTH_UNREACHABLE, /* or the server refuses the one user that the entry names */
    HEALTH_PAUSED,      /* clients wait, by an operator's will */
    HEALTH_DISABLED,    /* no new clients, by an operator's will */
    HEALTH_STATES,
};

enum health health_of(const struct database *db);
const char *health_name(enum health h);

/* Says about each configured database (@name NULL), or the one called so, how it is; a line each. The HTTP status: 200,
 * 503 when one is unreachable or the process ends, 404 when there is none of that name. */
unsigned health_report(struct server *s, const char *name, struct buf *out);

#endif
