/* SPDX-License-Identifier: ISC */
/* The one door to libsystemd: sockets handed over, state told, watchdog fed. Without systemd (at run time, or built with
 * WITH_SYSTEMD=0) everything here does nothing. Never waits for systemd. */
#ifndef PGPOOLD_DAEMON_SYSTEMD_H
#define PGPOOLD_DAEMON_SYSTEMD_H

#include "daemon/server.h"

/* What systemd has opened for us (LISTEN_FDS, LISTEN_FDNAMES). */
struct systemd_sockets {
    int first_fd;
    int n;
    char **names; /* one for each; owned. NULL: no names */
};

/* -- life -- */

/* How many sockets were handed over; -errno: an error, nothing is written. Once, before any fork. */
MUSTCHECK int systemd_sockets(struct systemd_sockets *ret);
void systemd_sockets_done(struct systemd_sockets *sockets);

/* From now on the loop feeds the watchdog and keeps the status line fresh, as long as it turns. false: out of memory. */
MUSTCHECK bool systemd_start(struct server *s);
void systemd_stop(struct server *s);

/* -- use -- */

void systemd_ready(struct server *s);
void systemd_reloading(void);
/* The end has come. Not while a shutdown waits: from here on TimeoutStopSec= runs. */
void systemd_stopping(struct server *s);
/* The status line now, if it has changed. */
void systemd_tell(struct server *s);

#endif
