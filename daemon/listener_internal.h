/* SPDX-License-Identifier: ISC */
/* Between listener.c and listener_move.c (an online restart). Nobody else includes it. */
#ifndef PGPOOLD_DAEMON_LISTENER_INTERNAL_H
#define PGPOOLD_DAEMON_LISTENER_INTERNAL_H

#include "daemon/listener.h"

struct listener *listener_free(struct listener *l); /* returns NULL */
void listeners_drop_unwanted(struct list *list);
void listener_close_socket(struct listener *l);
/* Takes one that somebody else has opened; @name: who, for the log. */
MUSTCHECK bool listener_adopt(struct list *list, int fd, const char *name,
                              struct config_errors *errors);
/* From now on the file is ours to remove. false: out of memory. */
MUSTCHECK bool listener_own_file(struct listener *l);

#endif
