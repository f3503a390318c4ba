/* SPDX-License-Identifier: ISC */
/* What a process does to itself at its start: into the background, pid file, privileges, limits. Faults are texts for
 * the operator; nothing here logs. */
#ifndef PGPOOLD_DAEMON_DAEMONIZE_H
#define PGPOOLD_DAEMON_DAEMONIZE_H

#include "config/config_errors.h"
#include "daemon/util/macros.h"

#include <stdbool.h>
#include <stdint.h>

struct pidfile {
    /* private, but path and fd may be read */
    char *path;   /* NULL: none */
    int fd;       /* locked as long as we live; -1: none */
    bool is_left; /* another process writes it now, with the same lock; or has until now */
};

#define PIDFILE_NONE ((struct pidfile){.fd = -1})

/* Goes on in a child of its own session; the parent stays until daemonize_done() and then exits with 0, or with 1 when
 * the child ends before. Standard streams stay, so that faults of the start are seen. -1: an error; else a descriptor
 * for daemonize_done(). */
MUSTCHECK int daemonize(struct config_errors *errors);
/* The start has worked: lets the parent go, standard streams become /dev/null. */
void daemonize_done(int fd);

/* Claims @path. false: a living process has it, or it cannot be written. */
MUSTCHECK bool pidfile_claim(struct pidfile *f, const char *path, struct config_errors *errors);
/* An online restart: another process has it now, which had a copy of the descriptor and so has the lock. */
void pidfile_leave(struct pidfile *f);
/* It is ours (again): writes our number. Harmless when there is none. */
void pidfile_write_again(struct pidfile *f);
/* Removes the file. May run twice. */
void pidfile_done(struct pidfile *f);

/* As root: becomes @user ("": refused), who gets @f and keeps his supplementary groups. As somebody else: @user must be
 * "" or that somebody. */
MUSTCHECK bool privileges_drop(const char *user, const struct pidfile *f,
                               struct config_errors *errors);

/* Raises the limit of open descriptors to what is allowed; gives the limit now in force. */
uint64_t rlimit_raise(void);

#endif
