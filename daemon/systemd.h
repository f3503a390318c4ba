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
/* An online restart: the service is another process now, and nothing is told any more. */
void systemd_mute(struct server *s);
/* ... and this one is the new one: READY with our number. */
void systemd_take_over(struct server *s);
/* How often the watchdog has to be fed; 0: never. */
usec_t systemd_watchdog_us(const struct server *s);
/* As the old process was told; the new one has it from there. */
void systemd_watchdog_inherit(struct server *s, usec_t interval_us);
/* The status line now, if it has changed. */
void systemd_tell(struct server *s);

#endif
