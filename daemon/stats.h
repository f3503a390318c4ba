/* SPDX-License-Identifier: ISC */
/* Closes a stats_period of all databases and opens the next: the averages of SHOW STATS, and the line in the log. */
#ifndef PGPOOLD_DAEMON_STATS_H
#define PGPOOLD_DAEMON_STATS_H

#include "daemon/server.h"

/* Also after stats_period has changed: the running period then ends as the new value says. */
void stats_start(struct server *s);
void stats_stop(struct server *s);

#endif
