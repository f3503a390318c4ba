/* SPDX-License-Identifier: ISC */
/* One server connection, from the first look-up of its host to its end. Owned by its pool, which has a list for each
 * state. The states, who may follow whom and what SHOW SERVERS calls them are one table in backend.c.
 *
 *     connecting -> login -> setup -> idle <-> active          setup: connect_query runs
 *                                      |  \      |             check: server_check_query runs
 *                                    check  \  cleaning        cleaning: answers are drained, ROLLBACK, reset query
 *                                            canceled          canceled: clean, but a cancel request is on its way
 *     and from each of them to closed; one for replication goes from login to active and nowhere else
 */
#ifndef PGPOOLD_POOL_BACKEND_H
#define PGPOOLD_POOL_BACKEND_H

#include "daemon/util/list.h"
#include "daemon/util/log.h"
#include "daemon/util/loop.h"
#include "daemon/util/num.h"
#include "pool/backend_connect.h"
#include "pool/database.h"
#include "pool/inflight.h"
#include "pool/params.h"
#include "pool/replication.h"
#include "pool/resolve.h"
#include "pool/stmt.h"
#include "protocol/conn.h"
#include "protocol/error_msg.h"
#include "protocol/frame.h"
#include "protocol/outvec.h"

struct lease;
struct notify_hub;
struct pool;
struct backend_login;

enum backend_state {
    BACKEND_CONNECTING,
    BACKEND_LOGIN,
    BACKEND_SETUP,
    BACKEND_IDLE,
    BACKEND_CHECK,
    BACKEND_ACTIVE,
    BACKEND_CLEANING,
    BACKEND_CANCELED,
    BACKEND_HUB, /* listens for the pool's clients: notify_hub.h */
    BACKEND_CLOSED,
    BACKEND_STATES,
};

/* What becomes of the rest of a message whose header was seen. */
enum backend_body {
    BACKEND_BODY_FORWARD,
    BACKEND_BODY_SWALLOW,
};

#define BACKEND_KEY_MAX_BYTES 256

struct backend {
    struct list_node link; /* in pool->backends[state] */
    struct pool *pool;
    struct conn conn;
    enum backend_state state;
    uint8_t tx_status;    /* of the last ReadyForQuery: 'I', 'T', 'E' */
    bool close_needed;    /* closed as soon as it is free */
    bool was_used;        /* server_lifetime = 0: used once */
    bool told_error;      /* a FATAL of the server went to the lease's owner */
    bool injected_failed; /* an injected statement ended in an error; the text is in last_error */
    bool is_checked;      /* idle: server_check_query was answered just now, for who waits */
    bool is_reset;        /* cleaning: the reset query was sent */
    bool is_rolled_back;  /* cleaning: ROLLBACK was sent */
    bool needs_reset;     /* cleaning: the reset query is due */
    bool is_polite;   /* cleaning: the owner said goodbye, its last query may run a little longer */
    bool cancel_sent; /* cleaning: the abandoned query was cancelled */
    uint32_t unread_bytes; /* cleaning: results that came for nobody since its goodbye */
    uint32_t moving;       /* on its way to a new process, in this batch; 0: it is not */
    bool is_hub;           /* a LISTEN hub of the pool: never leased */
    bool
        listens; /* a client's LISTEN has completed on it: UNLISTEN * is due before anybody else has it */
    bool is_unlistened; /* cleaning: UNLISTEN * was sent */
    uint32_t owner_pid; /* the virtual pid of who has it or had it last; 0: nobody */
    uint32_t
        prior_pid; /* of who had it before, when that was another one, until it is of no interest; else 0 */
    struct notify_hub *hub; /* whose connection it is, when is_hub */
    uint64_t id;
    uint64_t generation;          /* of the pool when it was opened */
    struct lease *lease;          /* BACKEND_ACTIVE */
    enum replication replication; /* not NONE: opened for one client, has no other one ever */
    struct lease *opens_for;      /* replication, until it has logged in: who is to have it */
    struct params *
        startup; /* replication: what the server is told at the start; owned reference; NULL: nothing */
    struct params *
        reported; /* replication: all parameters that the server told at the login; owned reference */
    struct target *target; /* owned reference: what it was opened with */

    struct inflight inflight;
    struct buf in;      /* the beginning of a message that has to be looked at as a whole */
    uint32_t body_left; /* bytes of the message under way that have not come yet */
    enum backend_body body_as;
    uint64_t describe_hash; /* of the description of the statement at the head, while it comes */
    struct buf
        to_close; /* numbers of statements that are given up: their Close goes with the next request */

    uint32_t
        out_left; /* bytes of the owner's message under way to the server that have not come yet */

    struct params *
        params_undo; /* in force before the injected statement that is under way; owned reference */
    struct params *params; /* in force: what is tracked, and what was set for a client */
    struct stmt_cache stmts;
    struct stmt *unnamed; /* what the unnamed statement is; owned reference; NULL: not known */
    uint64_t unnamed_of;  /* the id of the client whose it is */

    uint32_t pid;
    uint8_t key[BACKEND_KEY_MAX_BYTES];
    size_t key_len;
    struct backend_address peer;
    struct backend_address local;
    bool host_moved;    /* its host has this address no longer; BACKEND_CONNECTING: perhaps */
    char host_name[64]; /* as configured, for logs and for the cancel */
    unsigned port;
    char *host; /* full; owned */

    usec_t opened_us;    /* its look-up began */
    usec_t connected_us; /* the socket was opened; 0: not yet */
    usec_t request_us;   /* the last time it was asked for something */
    usec_t idle_since_us;
    usec_t query_start_us;  /* 0: no query runs */
    usec_t xact_start_us;   /* 0: no transaction is open */
    usec_t lifetime_us;     /* with its jitter */
    usec_t query_cancel_us; /* query_timeout has cancelled the running query then; 0: it has not */
    unsigned n_cancels;     /* cancel requests on their way to it */
    struct pg_error
        *last_error; /* what the server said last that we had to look at; owned; NULL: nothing */

    struct backend_connect *connect; /* BACKEND_CONNECTING */
    struct resolve_request resolve;
    unsigned hosts_tried;
    unsigned host_at;
    struct server_role role; /* as far as the server has told */
    bool asks_role;          /* setup: it is asked by a query, since it did not tell */
    bool met_misfit;         /* a host that was tried does not fit target_session_attrs */
    bool second_look;        /* prefer-standby: no host is one, so the first that answers will do */
    struct buf unfit;        /* addresses of one host that do not fit, each between blanks */
    unsigned unfit_of;       /* which host that is */
    struct loop_deferred go_on;  /* to the next host */
    struct backend_login *login; /* BACKEND_LOGIN */
    struct loop_timer timer;     /* login, setup, check, cleaning */
    struct loop_deferred free_later;
};

/* An empty one, in no list and not counted: for backend_open() and backend_adopt(). NULL: out of memory. */
struct backend *backend_new(struct pool *pool);
/* Starts a connection attempt; the pool counts it from now on. NULL: out of memory. */
struct backend *backend_open(struct pool *pool);
/* The same for one of the pool's hubs, which does not count in the pool's size. */
struct backend *backend_open_hub(struct pool *pool, struct notify_hub *hub);

/* The same for the replication of @l's owner, who waits in the queue of @pool and in pool->opening from now on. It is
 * told by its callbacks what comes of it, perhaps before this returns. false: out of memory, nothing has happened. */
MUSTCHECK bool backend_open_for(struct pool *pool, struct lease *l);

/* The one door out. @reason goes to the log. The owner of the lease is told with @e (NULL: the connection was lost). */
void backend_close(struct backend *b, const char *reason, const struct pg_error *e);

/* The same when somebody wants it gone: the server does not go on with what runs. */
void backend_kill(struct backend *b, const char *reason, const struct pg_error *e);

/* --- use, for the holder of the lease --- */

/* Sends @v's content and notes the activity. false: the connection is closed now, the owner was told. */
MUSTCHECK bool backend_flush(struct backend *b, struct outvec *v);

/* Notes one request that was put into the out vector. false: the connection is closed now, the owner was told. */
MUSTCHECK bool backend_note(struct backend *b, enum inflight_kind kind, enum inflight_origin origin,
                            struct prepared *prepared, uint32_t server_id);

/* backend_deadline.c: the owner asks for something: starts the clocks and arms what is configured. */
void backend_begin_query(struct backend *b);

/* The same for a request of the client's without a statement, where it needs no thought. false: call backend_note(). */
static inline bool backend_note_plain(struct backend *b, enum inflight_kind kind)
{
    if (b->inflight.n == 0) {
        b->request_us = clock_now_us();
        backend_begin_query(b);
    } else if (UNLIKELY(b->query_start_us == 0)) { /* behind something of ours */
        return false;
    }
    return inflight_push_plain(&b->inflight, kind);
}

/* Puts a statement of ours into @v whose answers are swallowed. */
MUSTCHECK bool backend_inject_query(struct backend *b, struct outvec *v, const char *sql);
/* Puts what makes @want the parameters in force before whatever follows. Nothing to do: puts nothing. */
MUSTCHECK bool backend_inject_params(struct backend *b, struct outvec *v, struct params *want);

/* Something was reset on the server, and what it does not report is back at its default without a word. */
void backend_forget_unreported(struct backend *b);

/* The owner's side has room again, or has not: back-pressure. */
void backend_want_read(struct backend *b, bool want);

/* server_fast_close in session mode: closes a connection that is to be closed as soon as no transaction is open on it.
 * true: it is closed, the owner was told. */
bool backend_close_if_due(struct backend *b);

/* Cleans up after an owner that left; then the connection is free again, or closed. */
void backend_clean_up(struct backend *b);
/* Is it in the middle of a message of the client's? Then it is of no more use when the client goes. */

/* An ErrorResponse has come: counts it, and keeps it for those who will ask why. */
void backend_remember_error(struct backend *b, const uint8_t *body, size_t len);

/* --- states --- */
void backend_set_state(struct backend *b, enum backend_state to);
/* A cancel request for it has ended. */
void backend_cancel_done(struct backend *b);

/* --- questions --- */
const char *backend_state_name(enum backend_state state); /* as SHOW SERVERS says it */
bool backend_is_expired(const struct backend *b);
static inline bool backend_is_quiet(const struct backend *b)
{
    return inflight_is_empty(&b->inflight) && b->tx_status == 'I' && !b->inflight.unsynced;
}

/* "S-0x...: db/user@addr:port text" */
void backend_log(const struct backend *b, enum log_level level, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* --- between the files of a backend: backend.c, backend_open.c, backend_login.c, backend_io.c, backend_read.c, backend_clean.c --- */

/* backend_login.c: the login on a connection that was just taken over, until the first ReadyForQuery. */
MUSTCHECK bool backend_login_start(struct backend *b);
struct backend_login *backend_login_free(struct backend_login *l);
/* A whole message of the login. */
void backend_login_message(struct backend *b, uint8_t type, const uint8_t *body, size_t len);

/* backend_open.c */
/* The host was reached and is of no use, because of @why: on to the next, or the attempt has failed. */
void backend_leave_host(struct backend *b, const struct pg_error *why, bool from_server);

/* backend_role.c: target_session_attrs. */
enum backend_role_verdict { BACKEND_ROLE_FITS, BACKEND_ROLE_MISFIT, BACKEND_ROLE_UNKNOWN };
enum backend_role_verdict backend_role_judge(const struct backend *b);
/* The misfit of the host under way, as the error of the attempt. */
void backend_role_error(const struct backend *b, struct pg_error *ret);
/* Has this address of the host under way been found unfit? */
bool backend_role_is_unfit(const struct backend *b, const char *addr);
/* Leaves the host since it does not fit. */
void backend_role_leave(struct backend *b);
/* Asks a server that did not tell. */
void backend_role_ask(struct backend *b);
/* A ParameterStatus after the login: one that no longer fits is closed when it is free. false: it was, and is now. */
MUSTCHECK bool backend_role_note(struct backend *b, const char *name, const char *value);

void backend_login_done(struct backend *b);
void backend_setup_ready(struct backend *b);
void backend_open_failed(struct backend *b, const struct pg_error *e, bool from_server);

/* backend_io.c: the loop's callback. */
void backend_on_io(struct loop_io *io, unsigned events);
/* backend_read.c: what the server says. false: the connection is closed. */
MUSTCHECK bool backend_consume(struct backend *b, const uint8_t *data, size_t len);
/* How many bytes at @data are whole messages that only the owner of the lease cares for. They are taken for sent on. */
size_t backend_skim(struct backend *b, const uint8_t *data, size_t len);
/* backend_bulk.c. Is much coming that may be moved without being read? */
bool backend_is_bulk(const struct backend *b);
/* Moves some of it. false: there is nothing more now, or no room for it; true: go on, perhaps it is no bulk any more. */
MUSTCHECK bool backend_move_bulk(struct backend *b);

/* backend_deadline.c: the deadlines of a leased connection; makes the pool look again when the next one is due. */
void backend_check_deadlines(struct backend *b);

/* backend_clean.c */
void backend_clean_ready(struct backend *b);
/* @bytes of a result come although its owner has left. */
void backend_clean_unread(struct backend *b, uint32_t bytes);
void backend_abort_copy(struct backend *b);
void backend_start_check(struct backend *b);

#endif
