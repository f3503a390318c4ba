/* SPDX-License-Identifier: ISC */
/* Between admin.c (the session: what runs, when it goes on) and admin_extended.c (prepared statements and portals). */
#ifndef PGPOOLD_DAEMON_ADMIN_INTERNAL_H
#define PGPOOLD_DAEMON_ADMIN_INTERNAL_H

#include "daemon/admin.h"
#include "daemon/admin_commands.h"
#include "daemon/admin_parse.h"
#include "daemon/admin_show.h"
#include "protocol/wire.h"

#define ADMIN_PREPARED_MAX 64U /* of one session; as many portals */

enum admin_work {
    ADMIN_READY,
    ADMIN_SHOWS,      /* a SHOW is under way */
    ADMIN_IS_WAITING, /* a command waits for something to happen */
};

enum admin_protocol {
    ADMIN_SIMPLE,   /* a Query: its answer ends with ReadyForQuery */
    ADMIN_EXTENDED, /* an Execute: ReadyForQuery comes with the Sync */
};

enum admin_portal {
    ADMIN_PORTAL_NEW,
    ADMIN_PORTAL_SUSPENDED, /* an Execute has had its share of the rows */
    ADMIN_PORTAL_DONE,      /* a SHOW that has given all its rows */
};

/* A prepared statement, or a portal. */
struct admin_prepared {
    struct list_node link;
    char *text;
    /* Of portals: */
    enum admin_portal state;
    uint64_t binary;        /* columns that the client wants in binary */
    uint32_t limit;         /* rows of the Execute that runs; 0: all */
    struct admin_show show; /* where a suspended one goes on */
    char name[];
};

struct admin_session {
    struct client *c;
    enum admin_work work;
    enum admin_protocol protocol; /* of the running statement */
    bool skips;                   /* after an error, up to the next Sync */
    usec_t began_us;              /* the first statement since the last ReadyForQuery; 0: none */
    struct buf in;                /* bytes of the client that wait */
    struct buf out;               /* the answers of this turn */
    struct list statements;       /* struct admin_prepared */
    struct list portals;
    struct admin_show show;
    struct admin_prepared *portal; /* which Execute runs; NULL: a Query */
    struct admin_wait wait;
    const char *tag;             /* of the command that waits */
    unsigned told_left;          /* in the last notice */
    struct server_waiter waiter; /* in server->waiters while work is ADMIN_IS_WAITING */
    struct loop_timer timer;     /* looks again at what waits, or at a client that reads slowly */
    usec_t pause_us;             /* until the timer looks again at a slow one */
};

/* What a statement means. Exactly one is set, none for an empty statement. */
struct admin_meaning {
    const struct admin_show_kind *show;
    const struct admin_command *command;
};

/* Takes the text apart. false: *error says why; @st is empty then. */
MUSTCHECK bool admin_understand(const char *text, struct admin_statement *st,
                                struct admin_meaning *ret, struct pg_error *error);
/* Runs a Query, or @portal: the answer is in a->out, or comes later. The session may be gone afterwards. */
void admin_run(struct admin_session *a, const char *text, struct admin_prepared *portal);
/* The next rows of a suspended portal. */
void admin_run_on(struct admin_session *a, struct admin_prepared *portal);
/* Reports an error as the protocol wants it. */
void admin_fail(struct admin_session *a, enum admin_protocol protocol,
                const struct pg_error *error);
void admin_fail_text(struct admin_session *a, enum admin_protocol protocol, const char *sqlstate,
                     const char *text);

/* -- admin_extended.c -- */

/* A message of the extended protocol but Sync and Flush. */
void admin_extended_message(struct admin_session *a, uint8_t type, const uint8_t *body, size_t len);
/* Sync: the portals end. */
void admin_extended_sync(struct admin_session *a);
void admin_prepared_drop_all(struct list *all);

#endif
