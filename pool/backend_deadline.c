/* SPDX-License-Identifier: ISC */
/* The deadlines of a server connection that somebody has: query_timeout, transaction_timeout, idle_transaction_timeout.
 * Replication has none of them. No timer of its own: moments are noted as they pass, and the pool's one timer looks at the few leased connections. */
#include "pool/backend.h"
#include "pool/cancel.h"
#include "pool/pool.h"

/* Is @timeout_us over that began at @since_us? If not, the pool looks again when it will be. */
static bool is_over(struct pool *pool, usec_t since_us, usec_t timeout_us)
{
    if (timeout_us == 0 || since_us == 0) {
        return false;
    }
    if (clock_now_us() - since_us >= timeout_us) {
        return true;
    }
    pool_wake_at(pool, since_us + timeout_us);
    return false;
}

static void expire(struct backend *b, const char *sqlstate, const char *text)
{
    struct lease *l = b->lease;
    struct pg_error e;

    pg_error_set(&e, sqlstate, "%s", text);
    l->ops->expired(l, &e); /* the owner closes itself and leaves the connection to be cleaned up */
}

static void check_query(struct backend *b)
{
    struct pool *pool = b->pool;
    usec_t wait_us = pool->limits.cancel_wait_timeout_us > 0 ? pool->limits.cancel_wait_timeout_us
                                                             : 10 * USEC_PER_SEC;

    if (b->query_cancel_us != 0) {
        if (is_over(pool, b->query_cancel_us, wait_us)) {
            struct pg_error e;

            pg_error_set(&e, SQLSTATE_QUERY_CANCELED, "query timeout");
            backend_close(b, "query timeout, and the cancel request did not end it", &e);
        }
        return;
    }
    if (!is_over(pool, b->query_start_us, pool->limits.query_timeout_us)) {
        return;
    }
    backend_log(b, LOG_LOG_LEVEL, "query timeout: cancelling the query");
    if (cancel_start(b, NULL, CANCEL_OF_OURS) == CANCEL_NO) {
        expire(b, SQLSTATE_QUERY_CANCELED, "query timeout");
        return;
    }
    b->query_cancel_us = clock_now_us();
    pool_wake_at(pool, b->query_cancel_us + wait_us);
}

void backend_check_deadlines(struct backend *b)
{
    struct pool *pool = b->pool;
    bool idle = inflight_is_empty(&b->inflight);
    bool in_transaction = !idle || b->tx_status != 'I' || b->inflight.unsynced;

    if (b->lease == NULL || b->replication != REPLICATION_NONE) {
        return; /* a stream has no end */
    }
    if (in_transaction && is_over(pool, b->xact_start_us, pool->limits.transaction_timeout_us)) {
        expire(b, SQLSTATE_TRANSACTION_TIMEOUT, "transaction timeout");
        return;
    }
    if (idle && in_transaction &&
        is_over(pool, b->request_us, pool->limits.idle_transaction_timeout_us)) {
        expire(b, SQLSTATE_IDLE_IN_TRANSACTION_TIMEOUT, "idle transaction timeout");
        return;
    }
    if (!idle) {
        check_query(b);
    }
}

void backend_begin_query(struct backend *b)
{
    const struct pool_limits *lim = &b->pool->limits;

    b->query_start_us = clock_now_us();
    if (b->xact_start_us == 0) {
        b->xact_start_us = b->query_start_us;
    }
    if (lim->query_timeout_us > 0) {
        pool_wake_at(b->pool, b->query_start_us + lim->query_timeout_us);
    }
    if (lim->transaction_timeout_us > 0) {
        pool_wake_at(b->pool, b->xact_start_us + lim->transaction_timeout_us);
    }
}
