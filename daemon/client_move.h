/* SPDX-License-Identifier: ISC */
/* A client that goes from one process to another at an online restart: when it can, what of it is told, and how it comes
 * to life again. A frozen client (HOLD_TAKEOVER) is not read, and what it has sent waits; it may be written to. */
#ifndef PGPOOLD_DAEMON_CLIENT_MOVE_H
#define PGPOOLD_DAEMON_CLIENT_MOVE_H

#include "daemon/client.h"
#include "protocol/takeover_msg.h"

/* -- the old process -- */

/* Stops it between two requests: in its first packet, in the queue (which it leaves), idle, in a transaction. false: it
 * is in the midst of something, or cannot move at all. */
bool client_freeze(struct client *c);
/* Frozen, and nothing waits to be written to it. */
bool client_may_move(const struct client *c);
/* What the end of its transaction waits for with; empty: nothing. */
const struct buf *client_queue(const struct client *c);
/* What is to be told; borrows from @c. Its subscriptions and prepared statements are records of their own. */
void client_pack(const struct client *c, struct takeover_client *ret);
/* The new process has it: closes our descriptor and frees, without a word to the client. Its server connection is
 * forgotten already. */
void client_forget(struct client *c); /* client.c */

/* -- the new process -- */

/* Takes @fd. Frozen; counted and listed as any other. NULL: *ret_why is a text for the client. */
MUSTCHECK struct client *client_adopt(struct server *s, const struct takeover_client *t, int fd,
                                      const char **ret_why);
/* It listens to @name. false: out of memory. */
MUSTCHECK bool client_adopt_channel(struct client *c, const char *name);
/* Whole messages that it is told at the end of its transaction, before those that wait already. false: malformed, or
 * out of memory. */
MUSTCHECK bool client_adopt_queue(struct client *c, const uint8_t *messages, size_t len);
/* Notifications may have been missed on the way. */
void client_adopt_gap(struct client *c);

/* -- both -- */

/* Goes on where it was frozen. */
void client_thaw(struct client *c);

#endif
