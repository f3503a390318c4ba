/* SPDX-License-Identifier: ISC */
/* A server connection that goes from one process to another, at an online restart: what of it is told, and how it comes
 * to life again. Nothing here speaks on the socket. */
#ifndef PGPOOLD_POOL_BACKEND_MOVE_H
#define PGPOOLD_POOL_BACKEND_MOVE_H

#include "pool/pool.h"
#include "protocol/takeover_msg.h"

/* -- the old process -- */

/* Plain, nothing is on its way to it or from it, in no message: idle, leased between two requests, or a hub. */
bool backend_may_move(const struct backend *b);
/* What is to be told; borrows from @b. Statements are told by their stmt->sent_as. */
void backend_pack(const struct backend *b, struct takeover_backend *ret);
void params_pack(const struct params *p, struct takeover_params *ret);
/* The new process has it: closes our descriptor and frees, without a word to the server or to the lease's owner. */
void backend_forget(struct backend *b);
/* Its socket is @fd from now on, which is owned; nothing else changes. */
void backend_replace_fd(struct backend *b, int fd);

/* -- the new process -- */

/* Takes @fd. In no list and not counted, and not read, until backend_awaken(). NULL: out of memory. */
MUSTCHECK struct backend *backend_adopt(struct pool *pool, const struct takeover_backend *t,
                                        int fd);
/* Never mind: frees one that was not awakened, without a word to the server. Returns NULL. */
struct backend *backend_drop(struct backend *b);
MUSTCHECK struct params *params_unpack(struct params_table *table, const struct takeover_params *t);
/* Joins its pool: as the hub's, as leased when b->lease is set, else as an idle one, which the pool may close at once. */
void backend_awaken(struct backend *b);

#endif
