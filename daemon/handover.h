/* SPDX-License-Identifier: ISC */
/* The old process's side of an online restart (-R). It begins with the console's TAKEOVER and goes on over the socket of
 * that console session, in the records of protocol/takeover_msg.h:
 *
 *     offered    listening sockets and pid file are shown; everything goes on as ever
 *     calming    the new process could start: no more accepting; LISTEN hubs and logins come to rest, a second at most
 *     moving     all that is idle, queued or between two requests goes in one batch. Until its GO the old process owns
 *                everything, afterwards the new one does. Then whatever comes to rest follows in small batches: clients
 *                at the end of a query or in the midst of a transaction, server connections as they come back.
 *
 * What cannot move is served here to its end: queries that run, COPY, replication, TLS. TLS clients are closed at the
 * end of their transaction. With the last of them the process ends.
 * When the new process dies everything that has not moved goes on here, and clients are accepted again. */
#ifndef PGPOOLD_DAEMON_HANDOVER_H
#define PGPOOLD_DAEMON_HANDOVER_H

#include "daemon/client.h"
#include "daemon/daemonize.h"

/* The console session @c asks for it: its socket is duplicated, the session may be closed. A text: it is refused, and
 * why. NULL: it has begun. */
const char *handover_begin(struct client *c);
/* The process ends. */
struct handover *handover_free(struct handover *h);

/* --- for clients, while env->is_held --- */

/* @c needs a server connection, and none is lent here any more: it moves, or is closed. */
void handover_hold(struct client *c);
/* @c has got a ReadyForQuery. */
void handover_boundary(struct client *c);
/* See pool_env_ops.cut. */
void handover_cut(struct server *s, struct notify_hub *hub);

#endif
