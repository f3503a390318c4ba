/* SPDX-License-Identifier: ISC */
/* What is left of a server connection that we have closed: its place in the limits of pool, database and user, until its
 * server process has ended. That closes its end of the socket last of all, so the next connection comes too soon for no
 * limit of the server's (max_connections, CONNECTION LIMIT), and there are never more server processes than pool_size.
 * Owned by its pool. It says nothing and hears nothing. */
#ifndef PGPOOLD_POOL_FAREWELL_H
#define PGPOOLD_POOL_FAREWELL_H

struct backend;
struct pool;

/* @b, which is being closed, has been told so. Takes its socket when it is worth waiting for: when nothing runs on the
 * server that could take long, or that is being cancelled. Without memory the place is free at once. */
void farewell_begin(struct backend *b);
/* Waits for none of them any longer. */
void farewell_end_all(struct pool *pool);

#endif
