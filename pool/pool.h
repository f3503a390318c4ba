/* SPDX-License-Identifier: ISC */
/* The server connections of one (database, user) and those who wait for one. Owned by its database. Decides who gets
 * which connection, when to open another one and when to close one; never speaks the protocol itself. */
#ifndef PGPOOLD_POOL_POOL_H
#define PGPOOLD_POOL_POOL_H

#include "pool/backend.h"
#include "pool/database.h"
#include "pool/lease.h"

/* Everything that can be configured about a pool, by value. Durations of 0 are off unless said otherwise. */
struct pool_limits {
    unsigned size; /* hard cap of what exists on the server, connecting ones included */
    unsigned min_size;
    unsigned reserve_size; /* on top of size, when a client has waited reserve_timeout_us */
    usec_t reserve_timeout_us;
    usec_t query_wait_timeout_us;
    usec_t query_wait_notify_us;
    usec_t query_timeout_us;
    usec_t transaction_timeout_us;
    usec_t idle_transaction_timeout_us;
    usec_t client_idle_timeout_us;
    usec_t cancel_wait_timeout_us;
    usec_t server_lifetime_us; /* 0: used once; USEC_NEVER (config) is UINT64_MAX: no end */
    unsigned lifetime_jitter;  /* percent of the lifetime, taken off at random */
    usec_t server_idle_timeout_us;
    usec_t server_connect_timeout_us;
    usec_t server_login_retry_us;
    usec_t server_check_delay_us;
    usec_t rollback_timeout_us;
    usec_t hub_idle_us; /* the LISTEN hub is closed when nobody has listened for that long */
    unsigned
        max_prepared; /* statements kept per server connection; 0: statements pass through unseen */
    bool round_robin; /* idle connections take turns instead of the last used one first */
    bool reset_always;          /* server_reset_query in every mode */
    usec_t log_min_duration_us; /* statements that take as long are logged; 0: none */
    bool echo;                  /* every statement is logged */
    bool echo_parameters;       /* ... with its parameters */
    bool fast_close;
    bool forced_user;  /* the pool has its own user, so it can be filled before a client comes */
    uint8_t mode;      /* POOL_SESSION, ... */
    uint8_t abandoned; /* POOL_ABANDONED_* */
};

enum { POOL_SESSION, POOL_TRANSACTION, POOL_STATEMENT };
enum { POOL_ABANDONED_CANCEL, POOL_ABANDONED_WAIT, POOL_ABANDONED_CLOSE };

/* The queries of ours, owned texts. "" : none. */
struct pool_queries {
    char *connect;
    char *reset;
    char *check; /* "" : no check; an empty query is " " */
};

struct pool {
    struct list_node link; /* in database->pools */
    struct pool_env *env;
    struct database *db;
    struct pool_user *user;
    const struct credentials *credentials; /* the database's for a forced user, else the user's */
    struct pool_limits limits;
    struct pool_queries queries;

    struct list backends[BACKEND_STATES]; /* BACKEND_IDLE: last used first */
    unsigned n_backends; /* in all states: what exists on the server, or is about to */
    unsigned n_told;     /* of these, as a new process was told last (-R) */
    unsigned
        n_elsewhere; /* still of the old process after an online restart: they count in all limits */
    struct list waiters; /* struct lease by its link, longest first */
    unsigned
        n_waiters_own;   /* of these: who want a server connection of their own, for replication */
    struct list opening; /* struct lease by its link: theirs is being opened; longest first */
    struct list cancels; /* struct cancel */
    struct list
        farewells; /* struct farewell: closed, but not ended on the server yet; not in n_backends */
    struct notify_hub *hub; /* NULL: nobody has listened yet; owned */
    struct list clients;    /* owned by the daemon: whoever is logged in; the longest idle first */

    struct params
        *defaults; /* the tracked ones of them: what a fresh server connection has in force */
    struct params
        *welcome; /* all parameters that the server last reported at a login; NULL: none yet */
    uint64_t
        generation; /* counts RECONNECT and changed targets: older connections are closed when free */
    struct pg_error last_error; /* why the last connection attempt failed */
    bool has_failed;            /* ... and none has succeeded since */
    usec_t retry_at_us;         /* no new attempt before */
    bool is_dispatching;
    bool again; /* dispatch once more */
    struct loop_deferred dispatch_later;
    bool is_folded; /* has no name of its own in the metrics */
    bool is_extra;  /* has one although no configuration names it */
    struct pool_metrics metrics;
    bool is_internal;      /* of auth_query and the like: no clients of its own */
    usec_t empty_since_us; /* neither clients nor server connections */
    struct loop_timer timer;
    usec_t timer_at_us; /* when the timer fires; 0: not set */
};

struct pool *pool_new(struct database *db, struct pool_user *user,
                      const struct pool_limits *limits);
/* Closes everything; waiters fail. */
struct pool *pool_free(struct pool *pool, const struct pg_error *why);
struct pool *pool_find(const struct database *db, const struct pool_user *user);

/* New settings; connections that no longer fit are closed when free. */
MUSTCHECK bool pool_set_queries(struct pool *pool, const char *connect, const char *reset,
                                const char *check);
void pool_set_limits(struct pool *pool, const struct pool_limits *limits);

/* Serves waiters with idle connections, opens new ones for the rest, fills up to the minimum. Safe to call from
 * anywhere: inside itself it only notes that another round is due. */
void pool_dispatch(struct pool *pool);

/* As pool_dispatch(), at the end of this turn of the loop. */
void pool_dispatch_later(struct pool *pool);

/* Room for one more connection under max_db_connections and the user's limit, whatever the pool's size: an idle one has
 * to go for it when need be, of another pool or else its own. */
bool pool_make_room(struct pool *pool);

/* Opens a connection when there is none, to see whether that works; not before server_login_retry is over. */
void pool_probe(struct pool *pool);

/* RECONNECT: closes idle connections now and the others when they come back. */
void pool_reconnect(struct pool *pool);
/* The addresses of host @name have changed: connections to others are closed when free. */
void pool_host_moved(struct pool *pool, const char *name, const struct resolve_answer *answer);
/* Closes the idle connections. */
void pool_close_idle(struct pool *pool, const char *reason);
/* Closes all server connections and fails all waiters. What runs is cancelled. */
void pool_kill(struct pool *pool, const struct pg_error *why);

/* So many of its connections are the old process's now. */
void pool_set_elsewhere(struct pool *pool, unsigned n);

/* Makes sure that the pool's timer fires at @at_us or before. Asked at every query, mostly for later than it is set. */
void pool_set_timer(struct pool *pool, usec_t at_us); /* private */
static inline void pool_wake_at(struct pool *pool, usec_t at_us)
{
    if (UNLIKELY(pool->timer_at_us == 0 || at_us < pool->timer_at_us)) {
        pool_set_timer(pool, at_us);
    }
}

/* --- for backend.c, lease.c and cancel.c --- */
void pool_enqueue(struct pool *pool, struct lease *l);
/* Takes @l out of the list it waits in. */
void pool_dequeue(struct pool *pool, struct lease *l);
/* @b, opened for one client's replication, has logged in: that client has it now. */
void pool_own_is_open(struct pool *pool, struct backend *b);
/* Nobody waits: grants @l an idle connection if one is fit for use at once; calls nobody. false: none is. */
MUSTCHECK bool pool_grant_at_once(struct pool *pool, struct lease *l);
void pool_backend_is_free(struct pool *pool,
                          struct backend *b); /* clean and idle: hand it on or keep it */
void pool_backend_closed(struct pool *pool, struct backend *b);
/* There is a place more for a new connection, of this pool or another one. */
void pool_has_room(struct pool *pool);
void pool_connect_succeeded(struct pool *pool);
/* @from_server: the server itself refused, with its own text. */
void pool_connect_failed(struct pool *pool, const struct pg_error *e, bool from_server);
/* @l waits; it gets none, because of @e. */
void pool_fail_waiter(struct pool *pool, struct lease *l, const struct pg_error *e);
void pool_on_timer(struct loop_timer *timer); /* pool_timer.c */
void pool_fail_waiters(struct pool *pool, const struct pg_error *e, bool only_logins);

/* --- questions --- */
static inline unsigned pool_count(const struct pool *pool, enum backend_state state)
{
    return pool->backends[state].n;
}
bool pool_is_stopped(
    const struct pool *pool); /* its database is paused or suspended, or all is held */
const char *pool_mode_text(const struct pool *pool);
/* How long the head of the queue has waited; 0: nobody waits. */
usec_t pool_max_wait_us(const struct pool *pool);

#endif
