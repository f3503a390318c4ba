/* SPDX-License-Identifier: ISC */
/* What all pools share: the loop, the read buffer, the tables of interned things, the resolver, and the way up to the
 * program. One per process, owned by struct server; it lives longer than every pool. */
#ifndef PGPOOLD_POOL_ENV_H
#define PGPOOLD_POOL_ENV_H

#include "daemon/util/list.h"
#include "daemon/util/loop.h"
#include "pool/metrics.h"
#include "pool/params.h"
#include "pool/resolve.h"
#include "pool/stmt.h"
#include "protocol/conn.h"
#include "protocol/scram_cache.h"

/* One read takes at most this much; it is parsed in place and sent on from there. */
#define ENV_SCRATCH_BYTES ((size_t)512 * 1024)
/* A connection whose reads fill that is one whose bytes are moved instead (conn_splice), as long as at least so many come
 * at once: below, looking first and moving then costs more than reading and sending. */
#define ENV_MOVE_BYTES ((size_t)64 * 1024)

struct database;
struct notify_hub;
struct pool;
struct subscriber;
struct pool_env;

/* What became of a notification for one subscriber. */
enum notify_fate {
    NOTIFY_TOLD,
    NOTIFY_QUEUED,  /* until its transaction is over, or its socket has room */
    NOTIFY_DROPPED, /* its connection ends for it */
    NOTIFY_NOT_YET, /* its LISTEN is not committed */
};

struct pool_env_ops {
    /* Something that a waiting console command may be waiting for has happened (a server connection closed, a client
     * left a pool). Called often; it should only note it. */
    void (*changed)(struct pool_env *env);
    /* The pool's timer has fired and client_idle_timeout is on: closes clients that are idle too long and calls
     * pool_wake_at() for the next. */
    void (*check_clients)(struct pool *pool);
    /* A whole NotificationResponse for one subscriber; @msg is borrowed. It must not unsubscribe anybody at once. */
    enum notify_fate (*notify)(struct subscriber *to, const uint8_t *msg, size_t len);
    /* Notifications may have been missed: the hub's connection was lost. @gap tells one loss from another (0: a channel
     * alone is lost). @again: it listens again; else it does not yet. It must not unsubscribe anybody at once. */
    void (*gap)(struct subscriber *to, uint32_t gap, bool again);
    /* A hub that a new process listens for: what comes from now on is told there (NOTIFY_HUB_CUT_CHANNEL). */
    void (*cut)(struct pool_env *env, struct notify_hub *hub);
};

/* Settings of all server connections, set by daemon/reload.c. Strings are borrowed from the configuration in force and
 * change with it. */
struct pool_env_settings {
    const char *tracked; /* names of the parameters that follow a client, comma-separated */
    unsigned read_turns; /* reads of one connection before others get their turn; 0: no bound */
    uint64_t max_packet_bytes;
    bool log_connections;
    bool log_disconnections;
    usec_t stats_period_us;
};

struct pool_env {
    struct loop *loop;
    struct resolver *resolver;
    struct params_table *params;
    struct stmt_table *stmts;
    struct scram_cache *scram_cache;
    struct list databases; /* struct database by its link */
    struct list users;     /* struct pool_user by its link */
    uint64_t
        version_seed; /* of the hashes that are versions of statements; kept over an online restart */
    uint64_t next_id; /* ids of sockets: clients, servers, cancels */
    const struct pool_env_ops *ops;
    struct pool_env_settings settings;
    struct env_metrics metrics;
    bool
        is_held; /* an online restart: what is here is on its way; nothing is lent, opened or timed out */
    uint8_t *scratch; /* ENV_SCRATCH_BYTES; in no core dump: passwords come by here */
    struct conn_pipe pipe;
};

/* @resolver and @ops are borrowed. NULL: out of memory. */
struct pool_env *pool_env_new(struct loop *loop, struct resolver *resolver,
                              const struct pool_env_ops *ops);
struct pool_env *pool_env_free(struct pool_env *env);

/* Does the parameter @name follow its client from server to server? */
bool pool_env_is_tracked(const struct pool_env *env, const char *name);

#endif
