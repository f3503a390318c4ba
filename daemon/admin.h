/* SPDX-License-Identifier: ISC */
/* The console: a client in the state CLIENT_CONSOLE talks to this file instead of a server. The entry points that the
 * files of a client need stand in client.h; this is what others may say to a console.
 *
 * One statement at a time: it is answered at once (most commands), slice by slice (SHOW), or when something has happened
 * (PAUSE and the like: the session is in server->waiters meanwhile). Further messages wait in a bounded buffer; the
 * socket is read all the time, so a console that leaves is noticed whatever it waits for. */
#ifndef PGPOOLD_DAEMON_ADMIN_H
#define PGPOOLD_DAEMON_ADMIN_H

#include "daemon/client.h"

/* A CancelRequest for a console: what it waits for ends with an ERROR. What the command did stays done (a PAUSE goes on;
 * RESUME ends it). Harmless when nothing runs. */
void admin_session_cancel(struct client *c);

#endif
