/* SPDX-License-Identifier: ISC */
/* SUSPEND: every client is stopped between two requests, with nothing on its way to or from it, so that another process
 * could take its socket over. Clients that are in the middle of something go on until they are through, up to
 * suspend_timeout, also when the console that asked has left. Who connects meanwhile waits with the first query; the
 * listeners stay open, so that another console can come and say RESUME. Ends with RESUME (server_resume_all), whoever says so. Its memory hangs on server->admin. */
#ifndef PGPOOLD_DAEMON_ADMIN_SUSPEND_H
#define PGPOOLD_DAEMON_ADMIN_SUSPEND_H

#include "daemon/server.h"

/* false: out of memory, nothing is suspended. */
MUSTCHECK bool admin_suspend(struct server *s);
/* Stops those who are ready for it by now, drops them all when the time is over. How many are not stopped yet. */
unsigned admin_suspend_go_on(struct server *s);
/* For server_free(): forgets a suspension that nobody ended. */
void admin_suspend_done(struct server *s);

#endif
