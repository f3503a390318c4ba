/* SPDX-License-Identifier: ISC */
/* What has been sent to a server connection and not been answered yet, in order: the memory that tells which answer
 * belongs to which request, which answers are for us and not for the client, and when nothing is outstanding any more.
 * A pure machine: it is told of each request and each message of the server. PG15 protocol, "Message Flow".
 *
 * One entry a request that has an answer of its own:
 *
 *     Query, FunctionCall   until ReadyForQuery          Sync      until ReadyForQuery
 *     Parse                 until ParseComplete          Bind      until BindComplete
 *     Describe              until RowDescription/NoData  Execute   until CommandComplete, EmptyQueryResponse or
 *     Close                 until CloseComplete                    PortalSuspended
 *
 * After an error in an extended request the server skips everything up to the next Sync, and so does this machine.
 * While a COPY FROM STDIN runs the server ignores Sync (a libpq client has sent one behind its Execute already). Yet a
 * COPY that fails before it reads anything (into a view, say) leaves that Sync to be answered, and from outside the two
 * look alike: see inflight_is_doubtful(). */
#ifndef PGPOOLD_POOL_INFLIGHT_H
#define PGPOOLD_POOL_INFLIGHT_H

#include "daemon/util/macros.h"
#include "pool/stmt.h"

#include <stdbool.h>
#include <stdint.h>

/* Requests in flight on one server connection. A client that pipelines more is not read until some are answered. Far
 * more than the answers that a server holds back for want of a full buffer, so this never locks up. */
#define INFLIGHT_MAX 65536U

enum inflight_kind {
    INFLIGHT_QUERY,
    INFLIGHT_FUNCTION,
    INFLIGHT_SYNC,
    INFLIGHT_PARSE,
    INFLIGHT_BIND,
    INFLIGHT_DESCRIBE_STATEMENT,
    INFLIGHT_DESCRIBE_PORTAL,
    INFLIGHT_EXECUTE,
    INFLIGHT_CLOSE,
    INFLIGHT_COPY_END, /* CopyDone or CopyFail: no answer of its own, but up to here Syncs are ignored */
    INFLIGHT_KINDS,
};

enum inflight_origin {
    INFLIGHT_OF_CLIENT, /* sent by the client: the answer is the client's */
    INFLIGHT_INJECTED,  /* sent by us: the answer is swallowed */
    INFLIGHT_ANSWERED,  /* never sent; we give the answer when its turn comes */
    INFLIGHT_DOOMED, /* sent with a name that does not exist, so that it fails where it should fail; the client gets
                          * the error that its own statement would have caused: a Parse of a name that is taken, a Bind
                          * or Describe of a statement whose result has changed */
};

/* Why a request without a statement is doomed. */
enum inflight_refusal {
    INFLIGHT_SWITCHED_OFF, /* LISTEN with notify_mode = refuse */
    INFLIGHT_TOO_MANY,     /* LISTEN beyond max_listen_channels */
};

struct inflight_entry {
    uint8_t kind;
    uint8_t origin;
    uint32_t
        server_id; /* Parse, Close: the number of the statement on the server; 0: none. Doomed without a
                                * statement: enum inflight_refusal */
    struct prepared
        *prepared; /* Parse, Close, Describe of a named statement: an owned reference; else NULL */
};

struct inflight {
    /* private, but copy_in, unsynced, executes and n may be read */
    struct inflight_entry *entries;
    uint32_t head;
    uint32_t n;
    uint32_t cap;
    bool copy_in;  /* the server reads CopyData */
    bool skipping; /* the server skips up to a Sync that it has not got yet */
    bool
        unsynced; /* an extended request was sent and no Sync behind it: the server has a transaction open, whatever its
                    * last ReadyForQuery said */
    bool executes;     /* and there was an Execute among them */
    bool sync_ignored; /* a Sync was taken for one that the running COPY ignores */
    bool doubtful;
    struct inflight_entry first[8];
};

enum inflight_step {
    INFLIGHT_GOES_ON, /* the message is part of the answer to the head */
    INFLIGHT_COMPLETES, /* it ends the answer to the head: call inflight_pop() when done with the head */
    INFLIGHT_FAILS,  /* an error: the head and what depends on it is void: call inflight_fail() */
    INFLIGHT_NONE,   /* nothing is outstanding that this could answer (notices and the like) */
    INFLIGHT_ABSURD, /* an answer that fits nothing: the connection is out of step and must go */
};

void inflight_init(struct inflight *f);
/* Gives all references back. May run twice. */
void inflight_done(struct inflight *f);

static inline bool inflight_is_empty(const struct inflight *f)
{
    return f->n == 0;
}

static inline bool inflight_is_full(const struct inflight *f)
{
    return f->n >= INFLIGHT_MAX;
}

/* NULL when empty. Borrowed until the next call that changes anything. */
static inline struct inflight_entry *inflight_head(const struct inflight *f)
{
    return f->n == 0 ? NULL : &f->entries[f->head];
}

/* The server skips what is sent now, up to a Sync: then requests must not be noted (the caller undoes what it did). */
static inline bool inflight_is_skipping(const struct inflight *f)
{
    return f->skipping;
}

/* Is a Describe of ours for @prepared still unanswered? */
bool inflight_describes(const struct inflight *f, const struct prepared *prepared);

/* A COPY failed that may or may not have read the Syncs sent before its data: there may come one ReadyForQuery more than
 * is known of here. The connection must not be lent to another client, who would get the answers of a third. Stays. */
static inline bool inflight_is_doubtful(const struct inflight *f)
{
    return f->doubtful;
}

/* Is the answer to this kind of request over with a ReadyForQuery? */
static inline bool inflight_ends_with_ready(uint8_t kind)
{
    return kind == INFLIGHT_QUERY || kind == INFLIGHT_FUNCTION || kind == INFLIGHT_SYNC;
}

/* How many ReadyForQuery are to come. */
unsigned inflight_count_ready(const struct inflight *f);

/* A request was sent. Takes its own reference of @prepared (may be NULL). While skipping anything but a Sync, and while
 * copying in a Sync, is not noted; nor is a COPY_END that ends nothing. false: out of memory. */
MUSTCHECK bool inflight_push(struct inflight *f, enum inflight_kind kind,
                             enum inflight_origin origin, struct prepared *prepared,
                             uint32_t server_id);

/* The same for a request of the client's without a statement, where it needs no thought. false: call inflight_push(). */
static inline bool inflight_push_plain(struct inflight *f, enum inflight_kind kind)
{
    struct inflight_entry *e = &f->entries[(f->head + f->n) & (f->cap - 1)];

    if (f->n == f->cap || f->skipping || f->copy_in || kind == INFLIGHT_COPY_END) {
        return false;
    }
    e->kind = (uint8_t)kind;
    e->origin = INFLIGHT_OF_CLIENT;
    e->server_id = 0;
    e->prepared = NULL;
    f->n++;
    f->unsynced = kind != INFLIGHT_QUERY && kind != INFLIGHT_FUNCTION && kind != INFLIGHT_SYNC;
    f->executes = f->unsynced && (f->executes || kind == INFLIGHT_EXECUTE);
    return true;
}

/* A message of type @type came. */
enum inflight_step inflight_step(struct inflight *f, uint8_t type);

/* By type of message: of which kinds of request it is a part of the answer that needs no thought. Private. */
extern const uint16_t inflight_plain[256];

/* Does @type end the answer to the client's own request, and another's follows? It is popped then. */
bool inflight_skim_end(struct inflight *f, uint8_t type);

/* The quick way for most messages, inflight_step() and inflight_pop() in one: true when @type goes on with the answer to
 * the client's own request, or ends it and another's answer follows, and there is nothing else to be done about it.
 * Not for a CommandComplete whose tag matters. false: nothing has changed. */
static inline bool inflight_skim(struct inflight *f, uint8_t type)
{
    const struct inflight_entry *head = &f->entries[f->head];

    if (LIKELY((inflight_plain[type] & (1U << head->kind)) != 0) && f->n > 0 && !f->copy_in &&
        head->origin == INFLIGHT_OF_CLIENT) {
        return true;
    }
    return inflight_skim_end(f, type);
}

/* For inflight_pop(). */
void inflight_pop_any(struct inflight *f);

/* Removes the head, and COPY_ENDs that have served. */
static inline void inflight_pop(struct inflight *f)
{
    if (LIKELY(f->n == 1 && f->entries == f->first) && f->entries[f->head].prepared == NULL) {
        f->n = 0;
        f->head = 0;
    } else {
        inflight_pop_any(f);
    }
}

/* Called for each entry that an error made void, oldest first, the one that failed included. */
typedef void (*inflight_void_fn)(void *arg, const struct inflight_entry *e);
/* The head failed. Query, FunctionCall and Sync stay, their ReadyForQuery comes; anything else is void up to the next
 * Sync. */
void inflight_fail(struct inflight *f, inflight_void_fn fn, void *arg);

#endif
