/* SPDX-License-Identifier: ISC */
/* A server connection without an owner that is not idle: its owner left in the middle of something (drain the answers,
 * roll back), a session ended (reset query), or it was idle so long that it is asked whether it is still there. */
#include "pool/backend.h"
#include "pool/cancel.h"
#include "pool/pool.h"

#include "daemon/util/fatal.h"

#include <string.h>

/* An abandoned query gets this long to end by itself before it is cancelled. */
#define ABANDONED_GRACE_US (50 * USEC_PER_MSEC)
/* As long as this when its client said goodbye: that may have sent its last statement without waiting for the answer.
 * More often it is a cancelled task whose driver closes in good order, and its query would sleep on for nobody. */
#define GOODBYE_GRACE_US (500 * USEC_PER_MSEC)
/* A server that finds nobody at the other end of its socket stops when it can write no more, however short it ran. */
#define UNREAD_MAX_BYTES ((uint32_t)256 * 1024)

static void on_clean_timer(struct loop_timer *timer);

static usec_t clean_limit_us(const struct pool *pool)
{
    return pool->limits.rollback_timeout_us > 0 ? pool->limits.rollback_timeout_us
                                                : 10 * USEC_PER_SEC;
}

static bool send_query(struct backend *b, const char *sql)
{
    struct outvec v;

    outvec_init(&v, &b->conn, b->pool->env->loop);
    return backend_inject_query(b, &v, sql) && backend_flush(b, &v);
}

static void send_sync(struct backend *b)
{
    static const uint8_t sync[FRAME_HEADER_BYTES] = {'S', 0, 0, 0, 4};
    struct outvec v;

    outvec_init(&v, &b->conn, b->pool->env->loop);
    outvec_copy(&v, sync, sizeof(sync));
    if (backend_note(b, INFLIGHT_SYNC, INFLIGHT_INJECTED, NULL, 0)) {
        (void)!backend_flush(b, &v); /* false: it is closed */
    }
}

/* Ends a batch that the owner has not: by an error, since a mere Sync would commit what a client that was lost before its
 * own Sync has done. */
static void abort_batch(struct backend *b)
{
    static const char body[] =
        "\0" STMT_SERVER_NAME_PREFIX "none\0\0\0\0\0\0"; /* portal, statement, three counts */
    uint8_t header[FRAME_HEADER_BYTES] = {'B'};
    struct outvec v;

    wire_store_u32(header + 1, num_u32(sizeof(body) + 4));
    outvec_init(&v, &b->conn, b->pool->env->loop);
    outvec_copy(&v, header, sizeof(header));
    outvec_copy(&v, body, sizeof(body));
    if (backend_note(b, INFLIGHT_BIND, INFLIGHT_INJECTED, NULL, 0) && backend_flush(b, &v)) {
        send_sync(b);
    }
}

void backend_abort_copy(struct backend *b)
{
    struct outvec v;
    struct buf msg = BUF_INIT(256);
    size_t start = wire_begin(&msg, 'f');

    wire_put_cstr(&msg, "the client has left");
    wire_end(&msg, start);
    outvec_init(&v, &b->conn, b->pool->env->loop);
    outvec_copy(&v, msg.data, msg.len);
    buf_done(&msg);
    if (!backend_note(b, INFLIGHT_COPY_END, INFLIGHT_INJECTED, NULL, 0) || !backend_flush(b, &v)) {
        return;
    }
    if (inflight_head(&b->inflight)->kind == INFLIGHT_EXECUTE) {
        send_sync(b);
    }
}

static void finish(struct backend *b)
{
    struct pool *pool = b->pool;

    loop_timer_stop(pool->env->loop, &b->timer);
    b->is_reset = false;
    b->is_rolled_back = false;
    b->is_unlistened = false;
    b->listens = false;
    b->needs_reset = false;
    b->is_polite = false;
    b->cancel_sent = false;
    b->query_start_us = 0;
    b->xact_start_us = 0;
    pool_backend_is_free(pool, b);
}

/* One step further; called whenever nothing is outstanding. */
static void go_on(struct backend *b)
{
    loop_timer_set(b->pool->env->loop, &b->timer, clean_limit_us(b->pool));
    b->cancel_sent = true; /* nothing of the client's runs any more */
    if (b->n_cancels > 0) {
        return; /* it would hit a statement of ours: backend_cancel_done() goes on */
    }
    if (b->tx_status != 'I') {
        if (b->is_rolled_back) {
            backend_close(b, "transaction did not roll back", NULL);
            return;
        }
        b->is_rolled_back = true;
        (void)send_query(b, "ROLLBACK"); /* false: it is closed */
        return;
    }
    if (b->listens && !b->is_unlistened) {
        b->is_unlistened = true;
        (void)send_query(b, "UNLISTEN *"); /* false: it is closed */
        return;
    }
    if (b->needs_reset && !b->is_reset) {
        b->is_reset = true;
        (void)send_query(b, b->pool->queries.reset); /* false: it is closed */
        return;
    }
    if (b->is_reset) {
        backend_forget_unreported(b);
    }
    if (b->injected_failed) {
        backend_close(b, b->is_reset ? "reset query failed" : "rollback failed", NULL);
        return;
    }
    finish(b);
}

void backend_clean_ready(struct backend *b)
{
    if (!inflight_is_empty(&b->inflight)) {
        return;
    }
    if (b->state == BACKEND_CHECK) {
        if (b->tx_status != 'I' || b->injected_failed) {
            backend_close(b, "check query failed", NULL);
            return;
        }
        loop_timer_stop(b->pool->env->loop, &b->timer);
        b->is_checked = true;
        pool_backend_is_free(b->pool, b);
        return;
    }
    go_on(b);
}

/* It had its time to end by itself. */
static void end_abandoned(struct backend *b)
{
    b->cancel_sent = true;
    (void)cancel_start(b, NULL, CANCEL_OF_OURS); /* not possible: the deadline below closes it */
    if (b->pool->limits.abandoned == POOL_ABANDONED_CLOSE) {
        backend_close(b, "query was abandoned", NULL);
        return;
    }
    loop_timer_set(b->pool->env->loop, &b->timer, clean_limit_us(b->pool));
}

static void on_clean_timer(struct loop_timer *timer)
{
    struct backend *b = container_of(timer, struct backend, timer);

    if (b->state == BACKEND_CLEANING && !b->cancel_sent && !inflight_is_empty(&b->inflight)) {
        end_abandoned(b);
        return;
    }
    backend_close(b, b->state == BACKEND_CHECK ? "check query timeout" : "rollback_timeout", NULL);
}

void backend_clean_unread(struct backend *b, uint32_t bytes)
{
    if (b->state != BACKEND_CLEANING || !b->is_polite ||
        b->pool->limits.abandoned == POOL_ABANDONED_WAIT) {
        return;
    }
    b->unread_bytes += MIN(bytes, UNREAD_MAX_BYTES);
    if (b->unread_bytes > UNREAD_MAX_BYTES) {
        b->is_polite = false;
        loop_timer_set(b->pool->env->loop, &b->timer, ABANDONED_GRACE_US);
    }
}

void backend_clean_up(struct backend *b)
{
    struct pool *pool = b->pool;
    bool running = !inflight_is_empty(&b->inflight) || b->inflight.unsynced;

    backend_set_state(b, BACKEND_CLEANING);
    backend_want_read(b, true);
    loop_timer_init(&b->timer, on_clean_timer);
    if (b->out_left > 0) {
        backend_close(b, "client left in the middle of a message", NULL);
        return;
    }
    b->is_rolled_back = false;
    b->is_reset = false;
    b->is_unlistened = false;
    b->cancel_sent = false;
    b->unread_bytes = 0;
    b->injected_failed = false;
    if (!running) {
        go_on(b);
        return;
    }
    if (!b->is_polite && pool->limits.abandoned == POOL_ABANDONED_CLOSE) {
        end_abandoned(b);
        return;
    }
    if (pool->limits.abandoned != POOL_ABANDONED_WAIT) {
        loop_timer_set(pool->env->loop, &b->timer,
                       b->is_polite ? GOODBYE_GRACE_US : ABANDONED_GRACE_US);
    }
    if (b->inflight.copy_in) {
        backend_abort_copy(b);
    } else if (b->inflight.unsynced) {
        abort_batch(b);
    }
}

void backend_start_check(struct backend *b)
{
    struct pool *pool = b->pool;
    const char *sql = pool->queries.check;

    backend_set_state(b, BACKEND_CHECK);
    loop_timer_init(&b->timer, on_clean_timer);
    loop_timer_set(pool->env->loop, &b->timer,
                   pool->limits.server_connect_timeout_us > 0
                       ? pool->limits.server_connect_timeout_us
                       : 15 * USEC_PER_SEC);
    (void)send_query(b, strcmp(sql, " ") == 0 ? "" : sql); /* false: it is closed */
}
