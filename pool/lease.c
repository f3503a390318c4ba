/* SPDX-License-Identifier: ISC */
#include "pool/lease.h"

#include "daemon/util/fatal.h"
#include "pool/pool.h"

void lease_init(struct lease *l, const struct lease_ops *ops)
{
    *l = (struct lease){.state = LEASE_NONE, .ops = ops};
}

enum lease_answer lease_request(struct lease *l, struct pool *pool, struct pg_error *ret_error)
{
    fatal_unless(l->state == LEASE_NONE);
    if (l->is_login && pool->has_failed && pool->retry_at_us > clock_now_us() &&
        pool_count(pool, BACKEND_IDLE) + pool_count(pool, BACKEND_ACTIVE) == 0) {
        *ret_error =
            pool->last_error; /* the next attempt is not due yet: what the last one said holds */
        return LEASE_REFUSED;
    }
    l->pool = pool;
    l->since_us = clock_now_us();
    if (LIKELY(list_is_empty(&pool->waiters)) && pool_grant_at_once(pool, l)) {
        return LEASE_GRANTED;
    }
    l->state = LEASE_WAITING;
    l->told_waiting = false;
    pool_enqueue(pool, l);
    if (pool->limits.query_wait_notify_us > 0) {
        pool_wake_at(
            pool, l->since_us +
                      pool->limits.query_wait_notify_us); /* who is before it may have been told */
    }
    pool_dispatch_later(pool);
    return LEASE_QUEUED;
}

void lease_release(struct lease *l)
{
    struct backend *b = l->backend;

    fatal_unless(l->state == LEASE_HELD && backend_is_quiet(b));
    l->state = LEASE_NONE;
    l->backend = NULL;
    l->pool = NULL;
    b->lease = NULL;
    if (!l->is_login && (b->pool->limits.reset_always || b->pool->limits.mode == POOL_SESSION)) {
        b->needs_reset = *b->pool->queries.reset != '\0';
    }
    if (b->needs_reset || b->listens) {
        backend_clean_up(b);
    } else {
        pool_backend_is_free(b->pool, b);
    }
}

void lease_abandon(struct lease *l)
{
    struct pool *pool = l->pool;
    struct backend *b = l->backend;

    switch (l->state) {
    case LEASE_NONE:
        return;
    case LEASE_WAITING:
        b = l->opening;
        pool_dequeue(pool, l);
        l->state = LEASE_NONE;
        l->pool = NULL;
        if (b != NULL) {
            b->opens_for = NULL;
            backend_close(b, "client left", NULL);
        }
        return;
    case LEASE_HELD:
        l->state = LEASE_NONE;
        l->backend = NULL;
        l->pool = NULL;
        b->lease = NULL;
        if (b->replication != REPLICATION_NONE) {
            backend_close(b, "replication client left", NULL);
            return;
        }
        b->is_polite = l->is_polite;
        b->needs_reset = *b->pool->queries.reset != '\0' &&
                         (b->pool->limits.reset_always || b->pool->limits.mode == POOL_SESSION);
        backend_clean_up(b);
        return;
    }
    unreachable();
}
