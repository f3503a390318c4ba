/* SPDX-License-Identifier: ISC */
#include "pool/cancel.h"

#include "daemon/util/log.h"
#include "pool/pool.h"

#include <stdlib.h>

/* Requests on their way for one pool: twice its size, but not more than this. */
#define MAX_CANCELS 64U

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
    }
}

void cancel_forget(struct cancel_waiter *w)
{
    if (w->in != NULL) {
        list_remove(w->in, &w->link);
        w->in = NULL;
    }
}

static void finish(struct cancel *c)
{
    struct backend *b = c->backend;

    c->request = server_cancel_free(c->request);
    list_remove(&c->pool->cancels, &c->link);
    while (!list_is_empty(&c->waiters)) {
        struct cancel_waiter *w = list_entry(list_first(&c->waiters), struct cancel_waiter, link);

        cancel_forget(w);
        w->done(w);
    }
    free(c);
    if (b != NULL) {
        b->n_cancels--;
        backend_cancel_done(b);
    }
}

static void on_done(struct server_cancel *request, void *owner, enum server_cancel_status status,
                    const char *error)
{
    struct cancel *c = owner;

    (void)request;
    if (status != SERVER_CANCEL_DONE && c->backend != NULL) {
        backend_log(c->backend, LOG_WARNING_LEVEL, "cancel request failed: %s", error);
    }
    finish(c);
}

enum cancel_answer cancel_start(struct backend *b, struct cancel_waiter *w,
                                enum cancel_origin origin)
{
    struct pool *pool = b->pool;
    struct server_cancel_params p = {.connect = b->target->template};
    struct cancel *c = find(b);

    if (c != NULL) {
        add_waiter(c, w);
        return CANCEL_JOINED;
    }
    if (b->key_len == 0 || pool->cancels.n >= MIN(MAX_CANCELS, 2 * pool->limits.size)) {
        return CANCEL_NO;
    }
    c = calloc(1, sizeof(*c));
    if (c == NULL) {
        return CANCEL_NO;
    }
    *c = (struct cancel){.pool = pool, .backend = b, .origin = origin, .begun_us = clock_now_us()};
    c->id = ++pool->env->next_id;
    list_init(&c->waiters);
    p.connect.host = b->host;
    p.connect.hostaddr = b->peer.family == AF_UNIX ? NULL : b->peer.text;
    p.connect.port = b->port;
    p.connect.until = BACKEND_CONNECT_BARE;
    p.connect.timeout_us = pool->limits.cancel_wait_timeout_us > 0
                               ? pool->limits.cancel_wait_timeout_us
                               : 10 * USEC_PER_SEC;
    p.use_tls = b->conn.tls != NULL;
    p.pid = b->pid;
    p.key = b->key;
    p.key_len = b->key_len;
    c->request = server_cancel_new(pool->env->loop, &p, on_done, c);
    if (c->request == NULL) {
        free(c);
        return CANCEL_NO;
    }
    list_add_tail(&pool->cancels, &c->link);
    b->n_cancels++;
    add_waiter(c, w);
    return CANCEL_SENT;
}

void cancel_backend_closed(struct backend *b)
{
    struct cancel *c = find(b);

    if (c != NULL) {
        c->backend =
            NULL; /* the request itself runs to its end: the server process may still be busy */
        b->n_cancels--;
    }
}

void cancel_drop_all(struct pool *pool)
{
    while (!list_is_empty(&pool->cancels)) {
        finish(list_entry(list_first(&pool->cancels), struct cancel, link));
    }
}
