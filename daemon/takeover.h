/* SPDX-License-Identifier: ISC */
/* The new process's side of an online restart (-R); the old one's is handover.h. It logs in to the old process's console
 * over the Unix socket of the configuration, as the daemon's own user, and says TAKEOVER. Before the loop runs it takes
 * the listening sockets and the pid file; in the loop it takes everything else. What has come belongs to the old process
 * until its GO: nothing of it is read or written before. When the old process dies before that, what has come is ours. */
#ifndef PGPOOLD_DAEMON_TAKEOVER_H
#define PGPOOLD_DAEMON_TAKEOVER_H

#include "daemon/client.h"
#include "daemon/daemonize.h"

enum takeover_begin {
    TAKEOVER_NOBODY, /* nobody listens there: start as usual */
    TAKEOVER_OFFER,  /* *ret holds what was offered */
    TAKEOVER_FAILED, /* @errors says why */
};

/* Blocks, for some seconds at most: nothing runs yet. The listening sockets go to @listeners. */
MUSTCHECK enum takeover_begin takeover_begin(const struct settings *set, struct list *listeners,
                                             struct takeover **ret, struct config_errors *errors);
/* The old process's pid file if it is @path: it is held, and to be written. false: it is another one, or there is none. */
bool takeover_pidfile(struct takeover *t, const char *path, struct pidfile *ret);

/* Runs the loop until everything that rests is ours, or never will be. @listeners: those that are offered and wanted are
 * in it. false: @errors says why; the process must end at once by _exit(), nothing that it holds is its own. */
MUSTCHECK bool takeover_run(struct takeover *t, struct server *s, const struct list *listeners,
                            struct config_errors *errors);
/* The process ends, and so does the old one if it still lives. */
struct takeover *takeover_free(struct takeover *t);

/* A CancelRequest for a client that we do not know: the old process may. true: @c is its now, and closed here. */
bool takeover_pass_cancel(struct client *c, const void *packet, size_t len);

#endif
