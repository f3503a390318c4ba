/* SPDX-License-Identifier: ISC */
/* The one timer of a pool: who has waited too long, which server connections are too old or idle for too long, which
 * deadlines of leased connections have passed. It is armed for the earliest of them and looks at what is due. */
#include "pool/pool.h"

#include <stdio.h>

void pool_set_timer(struct pool *pool, usec_t at_us)
{
    usec_t now_us = clock_now_us();

    pool->timer_at_us = at_us;
    loop_timer_set(pool->env->loop, &pool->timer, at_us > now_us ? at_us - now_us + 1000 : 0);
}

/* Who waits for a connection of its own that is being opened waits no longer than others. */
static void check_opening(struct pool *pool)
{
    usec_t timeout_us = pool->limits.query_wait_timeout_us;
    struct lease *l;

    if (timeout_us == 0) {
        return;
    }
    list_for_each(&pool->opening, l, link) {
        struct pg_error e;

        if (clock_now_us() - l->since_us < timeout_us) {
            return;
        }
        pg_error_set(&e, SQLSTATE_PROTOCOL_VIOLATION, "query_wait_timeout");
        backend_close(l->opening, "query_wait_timeout", &e);
    }
}

static void check_queue(struct pool *pool)
{
    const struct pool_limits *lim = &pool->limits;
    usec_t now_us = clock_now_us();

    while (lim->query_wait_timeout_us > 0 && !list_is_empty(&pool->waiters)) {
        struct lease *l = list_entry(list_first(&pool->waiters), struct lease, link);
        struct pg_error e;

        if (now_us - l->since_us < lim->query_wait_timeout_us) {
            break;
        }
        pg_error_set(&e, SQLSTATE_PROTOCOL_VIOLATION, "query_wait_timeout");
        if (pool->has_failed) { /* say why there was no connection */
            (void)snprintf(e.detail, sizeof(e.detail), "The last connection attempt failed: %.*s",
                           (int)sizeof(e.detail) - 64, pool->last_error.message);
        }
        pool_fail_waiter(pool, l, &e);
    }
}

/* query_wait_notify: everybody hears once that he waits. */
static void tell_waiting(struct pool *pool)
{
    usec_t notify_us = pool->limits.query_wait_notify_us;
    struct lease *l;

    if (notify_us == 0) {
        return;
    }
    list_for_each(&pool->waiters, l, link) {
        if (clock_now_us() - l->since_us < notify_us) {
            pool_wake_at(pool, l->since_us + notify_us);
            return;
        }
        if (!l->told_waiting && l->ops->waiting != NULL) {
            l->told_waiting = true;
            l->ops->waiting(l);
        }
    }
}

static void check_idle(struct pool *pool)
{
    usec_t now_us = clock_now_us();
    usec_t timeout_us = pool->limits.server_idle_timeout_us;
    struct backend *b;

    list_for_each(&pool->backends[BACKEND_IDLE], b, link) {
        if (backend_is_expired(b)) {
            backend_close(b, "server lifetime over", NULL);
            continue;
        }
        if (timeout_us > 0 && pool->n_backends > pool->limits.min_size) {
            if (now_us - b->idle_since_us >= timeout_us) {
                backend_close(b, "server idle timeout", NULL);
                continue;
            }
            pool_wake_at(pool, b->idle_since_us + timeout_us);
        }
        if (b->lifetime_us != UINT64_MAX) {
            pool_wake_at(pool, b->connected_us + b->lifetime_us);
        }
    }
}

void pool_on_timer(struct loop_timer *timer)
{
    struct pool *pool = container_of(timer, struct pool, timer);
    struct backend *b;

    pool->timer_at_us = 0;
    check_queue(pool);
    tell_waiting(pool);
    check_opening(pool);
    if (!pool->env->is_held) {
        check_idle(pool);
    }
    if (pool->limits.client_idle_timeout_us > 0) {
        pool->env->ops->check_clients(pool);
    }
    list_for_each(&pool->backends[BACKEND_ACTIVE], b, link) {
        backend_check_deadlines(b);
    }
    pool_dispatch(pool);
}
