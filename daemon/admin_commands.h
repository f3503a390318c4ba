/* SPDX-License-Identifier: ISC */
/* The commands of the console that do something. Each is one row: its word, what may stand behind it, who may, what it
 * does. Some are done only later: PAUSE, WAIT_CLOSE, SUSPEND, SHUTDOWN WAIT_FOR_...; those leave a struct admin_wait, at
 * which the session looks again whenever something has changed. Knows nothing of messages. */
#ifndef PGPOOLD_DAEMON_ADMIN_COMMANDS_H
#define PGPOOLD_DAEMON_ADMIN_COMMANDS_H

#include "daemon/admin_parse.h"
#include "daemon/admin_show.h"
#include "daemon/client.h"
#include "protocol/error_msg.h"

enum admin_verdict {
    ADMIN_DONE,
    ADMIN_WAITS,  /* look again later */
    ADMIN_FAILED, /* the error says why */
    ADMIN_GONE,   /* the console that said it is closed */
};

enum admin_wait_for {
    ADMIN_WAIT_NOTHING,
    ADMIN_WAIT_PAUSE,    /* no server connection in use is left */
    ADMIN_WAIT_CLOSE,    /* no server connection that is to be closed is left */
    ADMIN_WAIT_SUSPEND,  /* all clients are stopped */
    ADMIN_WAIT_SHUTDOWN, /* the process ends */
};

struct admin_wait {
    enum admin_wait_for what;
    char *database; /* owned; NULL: all */
};

struct admin_command {
    const char *name;  /* also the tag of the answer */
    const char *usage; /* for the help */
    const char *
        lacks; /* what is said when there is nothing behind it; NULL: as of any that is not understood */
    unsigned least; /* words behind it */
    unsigned most;
    enum admin_right right;
    enum admin_verdict (*run)(struct client *c, const struct admin_statement *st,
                              struct admin_wait *wait, struct pg_error *error);
};

/* Its answer tells what was set. */
extern const struct admin_command *const admin_command_set;

/* NULL: no such command. */
const struct admin_command *admin_command_find(const struct admin_statement *st);
const struct admin_command *admin_command_at(unsigned i); /* NULL ends */

/* Checks right and form, then does it. @wait must be empty; it is filled with ADMIN_WAITS only. */
MUSTCHECK enum admin_verdict admin_command_run(const struct admin_command *command,
                                               struct client *c, const struct admin_statement *st,
                                               struct admin_wait *wait, struct pg_error *error);

/* Is it done by now? *ret_left: how many connections are still waited for. Never ADMIN_GONE. */
MUSTCHECK enum admin_verdict admin_wait_look(const struct admin_wait *wait, struct server *s,
                                             unsigned *ret_left, struct pg_error *error);
/* May run twice. */
void admin_wait_done(struct admin_wait *wait);

/* ERROR, as commands report it. */
void admin_error_set(struct pg_error *error, const char *sqlstate, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* What is not understood, in PgBouncer's words; @why is the detail. */
void admin_error_set_invalid(struct pg_error *error, const char *text, const char *why);

#endif
