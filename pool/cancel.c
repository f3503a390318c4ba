/* SPDX-License-Identifier: ISC */
#include "pool/cancel.h"

#include "daemon/util/log.h"
#include "pool/pool.h"

#include <stdlib.h>

/* Requests on their way for one pool: twice its size, but not more than this. The others wait. */
#define MAX_CANCELS 64U
#define DELIVERY_US (10 * USEC_PER_SEC)

static void serve_waiting(struct pool *pool);

static struct cancel *find(const struct backend *b)
{
    struct cancel *c;

    list_for_each(&b->pool->cancels, c, link) {
        if (c->backend == b) {
            return c;
        }
    }
    return NULL;
}

static void add_waiter(struct cancel *c, struct cancel_waiter *w)
{
    if (w != NULL) {
        list_add_tail(&c->waiters, &w->link);
        w->in = &c->waiters;
        w->is_sent = c->request != NULL;
    }
}

void cancel_forget(struct cancel_waiter *w)
{
    if (w->in != NULL) {
        list_remove(w->in, &w->link);
        w->in = NULL;
    }
}

/* Tells who waits, and frees it. */
static void drop(struct cancel *c)
{
    c->request = server_cancel_free(c->request);
    loop_timer_stop(c->pool->env->loop, &c->deadline);
    list_remove(&c->pool->cancels, &c->link);
    while (!list_is_empty(&c->waiters)) {
        struct cancel_waiter *w = list_entry(list_first(&c->waiters), struct cancel_waiter, link);

        cancel_forget(w);
        w->done(w);
    }
    if (c->backend != NULL) {
        c->backend->n_cancels--;
    }
    free(c);
}

/* ... and the backend may go on. */
static void finish(struct cancel *c)
{
    struct backend *b = c->backend;

    drop(c);
    if (b != NULL) {
        backend_cancel_done(b);
    }
}

static void on_done(struct server_cancel *request, void *owner, enum server_cancel_status status,
                    const char *error)
{
    struct cancel *c = owner;
    struct pool *pool = c->pool;

    (void)request;
    if (status != SERVER_CANCEL_DONE && c->backend != NULL) {
        backend_log(c->backend, LOG_WARNING_LEVEL, "cancel request failed: %s", error);
    }
    if (status == SERVER_CANCEL_TIMEOUT && c->backend != NULL) {
        c->backend->close_needed = true; /* it may still be read, and hit the next owner's query */
    }
    finish(c);
    serve_waiting(pool);
}

static void on_deadline(struct loop_timer *timer)
{
    struct cancel *c = container_of(timer, struct cancel, deadline);

    if (c->backend != NULL) {
        backend_log(c->backend, LOG_WARNING_LEVEL,
                    "cancel request was not sent within cancel_wait_timeout");
    }
    finish(c);
}

/* Does a statement of ours run on @b, ahead of what its client has sent? A cancel now would hit that one. */
static bool runs_own(const struct backend *b)
{
    const struct inflight_entry *head = inflight_head(&b->inflight);

    return head != NULL && head->origin == INFLIGHT_INJECTED && head->kind == INFLIGHT_QUERY;
}

static unsigned count_sent(const struct pool *pool)
{
    const struct cancel *c;
    unsigned n = 0;

    list_for_each(&pool->cancels, c, link) {
        n += c->request != NULL ? 1 : 0;
    }
    return n;
}

static bool may_be_sent(const struct cancel *c)
{
    const struct pool *pool = c->pool;

    return !runs_own(c->backend) && count_sent(pool) < MIN(MAX_CANCELS, 2 * pool->limits.size);
}

/* false: out of memory. */
static bool send_request(struct cancel *c)
{
    const struct pool *pool = c->pool;
    const struct backend *b = c->backend;
    struct server_cancel_params p = {.connect = b->target->template};
    struct cancel_waiter *w;

    p.connect.host = b->host;
    p.connect.hostaddr = b->peer.family == AF_UNIX ? NULL : b->peer.text;
    p.connect.port = b->port;
    p.connect.until = BACKEND_CONNECT_BARE;
    p.connect.timeout_us =
        pool->limits.cancel_wait_timeout_us > 0 ? pool->limits.cancel_wait_timeout_us : DELIVERY_US;
    p.use_tls = b->conn.tls != NULL;
    p.pid = b->pid;
    p.key = b->key;
    p.key_len = b->key_len;
    loop_timer_stop(pool->env->loop, &c->deadline);
    c->request = server_cancel_new(pool->env->loop, &p, on_done, c);
    list_for_each(&c->waiters, w, link) {
        w->is_sent = true;
    }
    return c->request != NULL;
}

static void serve_waiting(struct pool *pool)
{
    struct cancel *c;

    list_for_each(&pool->cancels, c, link) {
        if (c->request == NULL && may_be_sent(c) && !send_request(c)) {
            finish(c);
            return; /* the list may be another now; memory is short anyway */
        }
    }
}

enum cancel_answer cancel_start(struct backend *b, struct cancel_waiter *w,
                                enum cancel_origin origin)
{
    struct pool *pool = b->pool;
    struct cancel *c = find(b);

    if (c != NULL) {
        add_waiter(c, w);
        return CANCEL_JOINED;
    }
    c = b->key_len == 0 ? NULL : calloc(1, sizeof(*c));
    if (c == NULL) {
        return CANCEL_NO;
    }
    *c = (struct cancel){.pool = pool, .backend = b, .origin = origin, .begun_us = clock_now_us()};
    c->id = ++pool->env->next_id;
    list_init(&c->waiters);
    loop_timer_init(&c->deadline, on_deadline);
    if (!may_be_sent(c)) {
        if (pool->limits.cancel_wait_timeout_us > 0) {
            loop_timer_set(pool->env->loop, &c->deadline, pool->limits.cancel_wait_timeout_us);
        }
    } else if (!send_request(c)) {
        free(c);
        return CANCEL_NO;
    }
    list_add_tail(&pool->cancels, &c->link);
    b->n_cancels++;
    add_waiter(c, w);
    return CANCEL_SENT;
}

void cancel_look_again(struct backend *b)
{
    struct cancel *c = find(b);

    if (c == NULL || c->request != NULL) {
        return;
    }
    if (inflight_is_empty(&b->inflight) || (may_be_sent(c) && !send_request(c))) {
        drop(c);
    }
}

void cancel_backend_closed(struct backend *b)
{
    struct cancel *c = find(b);

    if (c == NULL) {
        return;
    }
    c->backend = NULL;
    b->n_cancels--;
    if (c->request == NULL) {
        finish(c);
    } /* else it runs to its end: the server process may still be busy */
}

void cancel_drop_all(struct pool *pool)
{
    while (!list_is_empty(&pool->cancels)) {
        finish(list_entry(list_first(&pool->cancels), struct cancel, link));
    }
}
