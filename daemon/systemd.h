/* SPDX-License-Identifier: ISC */
/* The one door to libsystemd: sockets handed over, state told, watchdog fed. Without systemd (at run time, or built with
 * WITH_SYSTEMD=0) everything here does nothing. */
#ifndef PGPOOLD_DAEMON_SYSTEMD_H
#define PGPOOLD_DAEMON_SYSTEMD_H

#include "daemon/server.h"

/* How many sockets were handed over, the first is *ret_first; 0: none. Once, before any fork. -errno: an error. */
int systemd_sockets(int *ret_first);

void systemd_ready(void);
void systemd_reloading(void);
void systemd_stopping(void);
void systemd_status(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* From now on the loop feeds the watchdog, as long as it turns. false: out of memory. */
MUSTCHECK bool systemd_watchdog_start(struct server *s);
void systemd_watchdog_stop(struct server *s);

#endif
