/* SPDX-License-Identifier: ISC */
/* What an operator's signals do: HUP reloads, TERM and INT end politely (a second one at once), QUIT ends at once, USR1
 * pauses, USR2 resumes. They arrive through the loop, so the handlers may do anything. */
#ifndef PGPOOLD_DAEMON_SIGNALS_H
#define PGPOOLD_DAEMON_SIGNALS_H

#include "daemon/server.h"

/* Holds them back from here on: what arrives before signals_start() is done then, what arrives after signals_stop() is
 * not needed any more. Once, at the start of the process. */
void signals_hold(void);
/* false: out of memory. */
MUSTCHECK bool signals_start(struct server *s);
void signals_stop(struct server *s);

#endif
