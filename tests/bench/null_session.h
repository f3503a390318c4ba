/* SPDX-License-Identifier: ISC */
/* One connection of the null server as PostgreSQL's protocol 3.0 sees it: bytes in, bytes out. It does no
 * I/O: the answers gather in @out and the owner (nullserver.c) sends them. A session may be blocked, by a
 * DELAY or by a big result that does not fit yet; then its input waits in @in. */
#ifndef BENCH_NULL_SESSION_H
#define BENCH_NULL_SESSION_H

#include "bench_scram.h"
#include "bench_util.h"
#include "null_query.h"

#define SESSION_CHANNELS 8

enum session_phase {
    SESSION_STARTUP,
    SESSION_SASL_FIRST,
    SESSION_SASL_FINAL,
    SESSION_READY,
    SESSION_COPY_IN,
    SESSION_CLOSED, /* the owner closes after the last send */
    SESSION_PHASES
};

enum protocol_kind { BY_SIMPLE, BY_EXTENDED };

struct named_plan {
    char name[PLAN_WORD_MAX];
    char kind; /* 'S' statement, 'P' portal */
    struct plan plan;
};

struct session;

/* What a session asks of its owner. */
struct session_hooks {
    void (*broadcast)(struct session *from, const struct plan *notify);
    void (*cancel)(uint32_t pid, uint32_t key);
};

/* Everything below is the session's own, but for @in (filled by the owner) and @out (emptied by it). */
struct session {
    enum session_phase phase;
    uint32_t pid;
    uint32_t key;
    const char *scram_password; /* NULL: trust */
    const struct session_hooks *hooks;
    struct bytes in;
    struct bytes out;
    uint64_t wake_us;  /* answers are held until then; 0: not delayed */
    uint64_t big_left; /* bytes of the running big result; blocked while > 0 */
    char big_type;     /* 'D' or 'd' */
    enum protocol_kind by;
    size_t skip; /* bytes of a CopyData still to come, to be dropped */
    char status; /* of ReadyForQuery: I T E */
    bool failed; /* extended: everything is skipped up to Sync */
    bool lax;    /* unknown statements are fine: database name ends in "_lax" */
    struct scram scram;
    struct named_plan *names;
    size_t n_names;
    char channels[SESSION_CHANNELS][PLAN_WORD_MAX];
    unsigned n_channels;
};

void session_init(struct session *s, uint32_t pid, const char *scram_password,
                  const struct session_hooks *hooks);
void session_done(struct session *s);

/* Handles what is complete in s->in, until blocked. */
void session_run(struct session *s);
/* Puts more of a big result into s->out, or its end. */
void session_fill(struct session *s);
/* A DELAY was cancelled: its row becomes an error. */
void session_cancel(struct session *s);
void session_notify(struct session *s, uint32_t pid, const struct plan *notify);

bool session_is_blocked(const struct session *s);
bool session_listens(const struct session *s, const char *channel);

#endif
