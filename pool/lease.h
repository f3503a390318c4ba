/* SPDX-License-Identifier: ISC */
/* The tie between one that needs a server connection and the server connection it has: it is in both or in none.
 * Embedded in its owner (a client, an internal query), which must keep it in place until it is back in LEASE_NONE.
 * Waiters of a pool are served strictly first in, first out. */
#ifndef PGPOOLD_POOL_LEASE_H
#define PGPOOLD_POOL_LEASE_H

#include "daemon/util/clock.h"
#include "daemon/util/list.h"
#include "pool/inflight.h"
#include "pool/params.h"
#include "pool/replication.h"
#include "protocol/error_msg.h"
#include "protocol/outvec.h"

struct backend;
struct pool;
struct lease;

enum lease_state {
    LEASE_NONE,
    LEASE_WAITING,
    LEASE_HELD,
};

enum lease_answer {
    LEASE_GRANTED, /* at once: lease->backend is set */
    LEASE_QUEUED, /* ops->granted or ops->failed will be called, not before lease_request() has returned */
    LEASE_REFUSED, /* ops->failed was not called; *ret_error says why */
};

enum lease_ready {
    LEASE_READY_FORWARD, /* the ReadyForQuery goes to the owner */
    LEASE_READY_HOLD,    /* the owner keeps it and will send it itself later */
};

/* Calls from the pool to the owner. Any of them may release or cancel the lease, or close the owner. */
struct lease_ops {
    /* A waiting lease got its server connection. */
    void (*granted)(struct lease *l);
    /* A waiting lease gets none; it is in LEASE_NONE. @e is borrowed. */
    void (*failed)(struct lease *l, const struct pg_error *e);
    /* It waits longer than query_wait_notify; called once. May be NULL. */
    void (*waiting)(struct lease *l);
    /* A deadline of a held lease has passed and the running query was not enough to cancel: the owner is to be closed
     * with @e. */
    void (*expired)(struct lease *l, const struct pg_error *e);
    /* The server connection died, or is given up, while held; the lease is in LEASE_NONE. @e is borrowed: what the
     * server's last words were, or what we know. @told: the owner has got an ErrorResponse with it already. */
    void (*lost)(struct lease *l, const struct pg_error *e, bool told);
    /* The connection to which what the server says is to be sent, NULL: it is thrown away. */
    struct conn *(*sink)(struct lease *l);
    /* A ReadyForQuery of the owner's is about to go to it: what it puts into @out (NULL: there is no sink) goes before. */
    enum lease_ready (*before_ready)(struct lease *l, uint8_t status, struct outvec *out);
    /* All before this was sent on. A ReadyForQuery of the owner's has come; @status as in the message. Called after its
     * delivery unless LEASE_READY_HOLD was said by before_ready(). */
    void (*ready)(struct lease *l, uint8_t status);
    /* A tracked parameter was reported by the server. true: the owner is to hear of it. */
    bool (*parameter)(struct lease *l, const char *name, const char *value);
    /* A LISTEN has completed; with hears_commands any CommandComplete. May be NULL. */
    void (*command)(struct lease *l, const char *tag);
    /* A NotificationResponse on the held server connection, in a mode in which the hub speaks for it. May be NULL. */
    void (*notification)(struct lease *l, const uint8_t *m, size_t len);
    /* An ErrorResponse has gone to the owner. May be NULL. */
    void (*failed_query)(struct lease *l);
    /* A CommandComplete whose tag changes the session's state: "DISCARD ALL", "DEALLOCATE ALL", "DEALLOCATE", "RESET". */
    void (*session_command)(struct lease *l, const char *tag);
    /* A named statement that was sent (Parse) or given up (Close) is not, because of an error before. */
    void (*voided)(struct lease *l, const struct inflight_entry *e);
    /* What lease holder waited for (injected statements, room in the queue) is over: it may go on sending. */
    void (*resumed)(struct lease *l);
    /* A statement of ours that was injected failed. NULL: then the connection is closed. @e may be NULL. */
    void (*inject_failed)(struct lease *l, const struct pg_error *e);
    /* A message that an internal query wants to see; NULL where nobody does. @body is borrowed. */
    void (*message)(struct lease *l, uint8_t type, const uint8_t *body, size_t len);
};

struct lease {
    /* private, but state and backend may be read */
    enum lease_state state : 8;
    /* not NONE: wants a server connection of its own, opened for it with @startup */
    enum replication replication : 8;
    bool
        is_login : 1; /* waits to complete its login: told at once when the server cannot be reached */
    bool
        is_polite : 1; /* the owner said goodbye: its last query gets a while to end (backend_clean.c) */
    bool told_waiting : 1; /* the owner was told that it waits (query_wait_notify) */
    bool
        hears_commands : 1; /* the owner wants ops->command for every CommandComplete, not for LISTEN alone */
    uint32_t
        owner_pid; /* the owner's virtual pid, for who asks whose server connection it is; 0: none */
    struct params *startup; /* borrowed from the owner until the lease is held; NULL: none */
    struct backend
        *opening; /* LEASE_WAITING: the one that is being opened for it; NULL: not its turn yet */
    struct backend *backend; /* LEASE_HELD */
    struct pool *pool;       /* LEASE_WAITING, LEASE_HELD */
    const struct lease_ops *ops;
    struct list_node
        link;        /* LEASE_WAITING: in pool->waiters, in pool->opening when opening is set */
    usec_t since_us; /* began to wait, or was granted */
};

void lease_init(struct lease *l, const struct lease_ops *ops);

/* Asks @pool for a server connection. The lease must be in LEASE_NONE. @ret_error is filled with LEASE_REFUSED only. */
MUSTCHECK enum lease_answer lease_request(struct lease *l, struct pool *pool,
                                          struct pg_error *ret_error);

/* Gives a clean server connection back: nothing outstanding, no transaction. Not for replication. */
void lease_release(struct lease *l);

/* The owner goes away, whatever state the lease is in. A server connection in the middle of something is cleaned up
 * behind its back, or closed; one of a replication always is. */
void lease_abandon(struct lease *l);

#endif
