/* SPDX-License-Identifier: ISC */
/* `pgpoold top`: a view of a running daemon's console for people, in a process of its own. Knows nothing of the
 * daemon but its console; works with a PgBouncer as well. */
#ifndef PGPOOLD_DAEMON_TOP_H
#define PGPOOLD_DAEMON_TOP_H

/* The program; argv[0] is "top". Returns its exit code. */
int top_main(int argc, char **argv);

#endif
