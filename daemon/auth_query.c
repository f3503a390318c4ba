/* SPDX-License-Identifier: ISC */
#include "daemon/auth_query.h"

#include "daemon/util/fatal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct auth_query {
    struct lease lease;
    struct pool *pool;
    char *sql;
    char *user;
    auth_query_fn fn;
    void *owner;
    enum auth_query_result result;
    struct secret secret;
    struct pg_error error;
    struct loop_deferred later; /* the answer, when it was there at once */
};

static struct auth_query *of(struct lease *l)
{
    return container_of(l, struct auth_query, lease);
}

static void answer(struct auth_query *q)
{
    q->fn(q->owner, q->result, &q->secret, &q->error); /* frees @q */
}

static void on_later(struct loop_deferred *work)
{
    answer(container_of(work, struct auth_query, later));
}

static void fail(struct auth_query *q, const struct pg_error *e)
{
    q->result = AUTH_QUERY_FAILED;
    q->error = *e;
}

static void put(struct outvec *v, struct buf *b)
{
    outvec_copy(v, b->data, b->len);
    buf_done(b);
}

static void put_messages(struct outvec *v, const struct auth_query *q)
{
    struct buf b = BUF_INIT(128 * 1024);
    size_t start = wire_begin(&b, 'P');

    wire_put_cstr(&b, "");
    wire_put_cstr(&b, q->sql);
    wire_put_u16(&b, 0);
    wire_end(&b, start);
    start = wire_begin(&b, 'B');
    wire_put_cstr(&b, "");
    wire_put_cstr(&b, "");
    wire_put_u16(&b, 0);
    wire_put_u16(&b, 1);
    wire_put_u32(&b, num_u32(strlen(q->user)));
    wire_put_bytes(&b, q->user, strlen(q->user));
    wire_put_u16(&b, 0);
    wire_end(&b, start);
    start = wire_begin(&b, 'E');
    wire_put_cstr(&b, "");
    wire_put_u32(&b, 0);
    wire_end(&b, start);
    start = wire_begin(&b, 'S');
    wire_end(&b, start);
    put(v, &b);
}

static void on_granted(struct lease *l)
{
    struct auth_query *q = of(l);
    struct backend *b = l->backend;
    struct outvec v;

    if (b->conn.tls != NULL) {
        tls_expect_secrets(b->conn.tls);
    }
    outvec_init(&v, &b->conn, b->pool->env->loop);
    b->unnamed = stmt_unref(b->unnamed);
    b->unnamed_of = 0;
    if (!backend_inject_params(b, &v, b->pool->defaults)) {
        return; /* on_lost() was called */
    }
    put_messages(&v, q);
    if (backend_note(b, INFLIGHT_PARSE, INFLIGHT_OF_CLIENT, NULL, 0) &&
        backend_note(b, INFLIGHT_BIND, INFLIGHT_OF_CLIENT, NULL, 0) &&
        backend_note(b, INFLIGHT_EXECUTE, INFLIGHT_OF_CLIENT, NULL, 0) &&
        backend_note(b, INFLIGHT_SYNC, INFLIGHT_OF_CLIENT, NULL, 0)) {
        (void)!backend_flush(b, &v); /* false: on_lost() was called */
    }
}

static void on_failed(struct lease *l, const struct pg_error *e)
{
    struct auth_query *q = of(l);

    fail(q, e);
    q->result = AUTH_QUERY_NO_SERVER;
    answer(q);
}

static void on_lost(struct lease *l, const struct pg_error *e, bool told)
{
    struct auth_query *q = of(l);

    (void)told;
    fail(q, e);
    answer(q);
}

static void on_expired(struct lease *l, const struct pg_error *e)
{
    lease_abandon(l);
    on_failed(l, e);
}

static struct conn *on_sink(struct lease *l)
{
    (void)l;
    return NULL;
}

static void on_row(struct auth_query *q, const uint8_t *body, size_t len)
{
    struct wire_reader r;
    uint16_t columns;
    uint32_t name_len;
    uint32_t secret_len;
    const uint8_t *secret;

    wire_reader_init(&r, body, len);
    columns = wire_get_u16(&r);
    name_len = wire_get_u32(&r);
    if (name_len != UINT32_MAX) {
        (void)wire_get_bytes(&r, name_len);
    }
    secret_len = wire_get_u32(&r);
    secret = secret_len != UINT32_MAX ? wire_get_bytes(&r, secret_len) : NULL;
    if (columns < 2 || !wire_ok(&r)) {
        struct pg_error e;

        pg_error_set(&e, SQLSTATE_PROTOCOL_VIOLATION,
                     "auth_query must return a row of user name and password");
        fail(q, &e);
        return;
    }
    if (q->result == AUTH_QUERY_FAILED) {
        return;
    }
    if (secret == NULL) { /* of several rows the last one counts, as with PgBouncer */
        q->result = AUTH_QUERY_NONE;
    } else if (secret_set(&q->secret, secret, secret_len)) {
        q->result = AUTH_QUERY_FOUND;
    }
}

static void on_message(struct lease *l, uint8_t type, const uint8_t *body, size_t len)
{
    struct auth_query *q = of(l);
    struct pg_error e;

    if (type == 'D') {
        on_row(q, body, len);
    } else if (type == 'E' && error_msg_parse(body, len, &e)) {
        fail(q, &e);
    }
}

static enum lease_ready before_ready(struct lease *l, uint8_t status, struct outvec *out)
{
    (void)l;
    (void)out;
    (void)status;
    return LEASE_READY_FORWARD;
}

static void on_ready(struct lease *l, uint8_t status)
{
    struct auth_query *q = of(l);

    if (l->backend->conn.tls != NULL) {
        tls_expect_no_secrets(l->backend->conn.tls);
    }
    if (status == 'I') {
        lease_release(l);
    } else {
        lease_abandon(l);
    }
    answer(q);
}

static bool on_parameter(struct lease *l, const char *name, const char *value)
{
    (void)l;
    (void)name;
    (void)value;
    return false;
}

static const struct lease_ops ops = {
    .granted = on_granted,
    .failed = on_failed,
    .expired = on_expired,
    .lost = on_lost,
    .sink = on_sink,
    .ready = on_ready,
    .before_ready = before_ready,
    .parameter = on_parameter,
    .message = on_message,
};

struct auth_query *auth_query_start(struct pool *pool, const char *sql, const char *user,
                                    auth_query_fn fn, void *owner)
{
    struct auth_query *q = calloc(1, sizeof(*q));
    struct pg_error e;

    if (q == NULL) {
        return NULL;
    }
    q->pool = pool;
    q->fn = fn;
    q->owner = owner;
    q->result = AUTH_QUERY_NONE;
    q->sql = strdup(sql);
    q->user = strdup(user);
    if (q->sql == NULL || q->user == NULL) {
        return auth_query_free(q);
    }
    lease_init(&q->lease, &ops);
    q->lease.is_login = true;
    switch (lease_request(&q->lease, pool, &e)) {
    case LEASE_GRANTED:
        on_granted(&q->lease);
        break;
    case LEASE_QUEUED:
        break;
    case LEASE_REFUSED:
        fail(q, &e);
        q->result = AUTH_QUERY_NO_SERVER;
        loop_defer(pool->env->loop, &q->later, on_later);
        break;
    }
    return q;
}

struct auth_query *auth_query_free(struct auth_query *q)
{
    if (q == NULL) {
        return NULL;
    }
    lease_abandon(&q->lease);
    if (q->pool != NULL) {
        loop_defer_cancel(q->pool->env->loop, &q->later);
    }
    secret_done(&q->secret);
    free(q->sql);
    free(q->user);
    free(q);
    return NULL;
}
