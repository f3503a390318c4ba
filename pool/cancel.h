/* SPDX-License-Identifier: ISC */
/* Cancel requests: from a client's CancelRequest, from query_timeout, or for an abandoned query. At most one is on its
 * way to a server connection; the connection is handed to nobody else until the server has read it, and nothing of ours
 * is sent on it meanwhile. One that comes while a statement of ours runs ahead of the client's waits for its end. */
#ifndef PGPOOLD_POOL_CANCEL_H
#define PGPOOLD_POOL_CANCEL_H

#include "daemon/util/list.h"
#include "daemon/util/loop.h"
#include "daemon/util/macros.h"
#include "pool/server_cancel.h"

#include <stdbool.h>
#include <stdint.h>

struct backend;
struct pool;

enum cancel_origin {
    CANCEL_OF_OURS,     /* a deadline, an abandoned query */
    CANCEL_FROM_CLIENT, /* a CancelRequest */
};

/* Who wants to know when it is over; embedded, unlinked by cancel_forget(). */
struct cancel_waiter {
    struct list_node link;
    struct list *in; /* NULL: waits for nothing */
    bool is_sent;    /* the request is on its way; else it waits for its turn */
    void (*done)(struct cancel_waiter *w);
};

struct cancel {
    struct list_node link; /* in pool->cancels */
    struct pool *pool;
    struct backend *backend; /* NULL: it closed in the meantime */
    struct server_cancel
        *request; /* NULL: waits for its turn, or for the end of a statement of ours */
    struct loop_timer deadline; /* while it waits */
    struct list waiters;
    uint64_t id;
    uint64_t begun_us;
    enum cancel_origin origin;
};

enum cancel_answer {
    CANCEL_SENT,   /* on its way, or soon; @w->done will be called */
    CANCEL_JOINED, /* one was on its way already; @w->done will be called when that one ends */
    CANCEL_NO,     /* nothing to cancel, or no memory: @w is not used */
};

/* Cancels what runs on @b. @w may be NULL. */
enum cancel_answer cancel_start(struct backend *b, struct cancel_waiter *w,
                                enum cancel_origin origin);
/* @w does not want to know any more. Harmless when it waits for nothing. */
void cancel_forget(struct cancel_waiter *w);
/* Something on @b has been answered: what waited for that is sent now, or is of no use any more. Calls nothing of @b's. */
void cancel_look_again(struct backend *b);
/* @b goes away. */
void cancel_backend_closed(struct backend *b);
void cancel_drop_all(struct pool *pool);

#endif
