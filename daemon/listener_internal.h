/* SPDX-License-Identifier: ISC */
/* Between listener.c, listener_accept.c and listener_move.c (an online restart). Nobody else includes it. */
#ifndef PGPOOLD_DAEMON_LISTENER_INTERNAL_H
#define PGPOOLD_DAEMON_LISTENER_INTERNAL_H

#include "daemon/listener.h"

struct listener *listener_free(struct listener *l); /* returns NULL */
void listeners_drop_unwanted(struct list *list);
/* -- listener_accept.c -- */
/* false: there is nobody more, or no room for him. */
bool listener_accept_one(struct listener *l);
void listener_on_accept(struct loop_io *io, unsigned events);
void listener_on_retry(struct loop_timer *timer);

/* -- listener.c -- */
void listener_close_socket(struct listener *l);
/* Takes one that somebody else has opened; @name: who, for the log. */
MUSTCHECK bool listener_adopt(struct list *list, int fd, const char *name,
                              struct config_errors *errors);
/* From now on the file is ours to remove. false: out of memory. */
MUSTCHECK bool listener_own_file(struct listener *l);

#endif
