/* SPDX-License-Identifier: ISC */
#include "pool/backend.h"

#include "daemon/util/fatal.h"
#include "pool/cancel.h"
#include "pool/farewell.h"
#include "pool/notify_hub.h"
#include "pool/pool.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TO(state) BIT(BACKEND_##state)

static const struct {
    const char *name; /* in SHOW SERVERS */
    unsigned next;
} states[BACKEND_STATES] = {
    [BACKEND_CONNECTING] = {"new", TO(LOGIN) | TO(CLOSED)},
    [BACKEND_LOGIN] = {"login",
                       TO(CONNECTING) | TO(SETUP) | TO(IDLE) | TO(ACTIVE) | TO(HUB) | TO(CLOSED)},
    [BACKEND_SETUP] = {"login", TO(CONNECTING) | TO(IDLE) | TO(ACTIVE) | TO(HUB) | TO(CLOSED)},
    [BACKEND_IDLE] = {"idle", TO(ACTIVE) | TO(CHECK) | TO(CLOSED)},
    [BACKEND_CHECK] = {"tested", TO(IDLE) | TO(CLOSED)},
    [BACKEND_ACTIVE] = {"active", TO(IDLE) | TO(CLEANING) | TO(CANCELED) | TO(CLOSED)},
    [BACKEND_CLEANING] = {"active", TO(IDLE) | TO(CANCELED) | TO(CLOSED)},
    [BACKEND_CANCELED] = {"being_canceled", TO(IDLE) | TO(CLOSED)},
    [BACKEND_HUB] = {"hub", TO(CLOSED)},
    [BACKEND_CLOSED] = {"closed", 0},
};

const char *backend_state_name(enum backend_state state)
{
    return states[state].name;
}

/* For verbose: DEBUG is what happens a few times in a connection's life, NOISE what comes with each transaction. */
static void log_state(const struct backend *b, enum backend_state to)
{
    bool often = to == BACKEND_ACTIVE || (to == BACKEND_IDLE && b->state == BACKEND_ACTIVE);

    backend_log(b, often ? LOG_NOISE_LEVEL : LOG_DEBUG_LEVEL, "state: %s -> %s",
                states[b->state].name, states[to].name);
}

void backend_set_state(struct backend *b, enum backend_state to)
{
    fatal_unless((states[b->state].next & BIT(to)) != 0);
    if (UNLIKELY(log_is_on(LOG_DEBUG_LEVEL))) {
        log_state(b, to);
    }
    list_remove(&b->pool->backends[b->state], &b->link);
    if (to == BACKEND_IDLE && !b->pool->limits.round_robin) {
        list_add_head(&b->pool->backends[to],
                      &b->link); /* the last used one first: the rest may idle out */
    } else if (to == BACKEND_IDLE) {
        list_add_head(&b->pool->backends[to], &b->link); /* taken from the tail: turns */
    } else {
        list_add_tail(&b->pool->backends[to], &b->link);
    }
    b->state = to;
}

void backend_log(const struct backend *b, enum log_level level, const char *fmt, ...)
{
    char text[1024];
    va_list args;

    if (!log_is_on(level)) {
        return;
    }
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args); /* cut is meant */
    va_end(args);
    log_write_who(level,
                  &(struct log_who){'S', b, b->pool->db->name, b->pool->user->name,
                                    b->peer.text[0] != '\0' ? b->peer.text : b->host_name, b->port},
                  "%s", text);
}

bool backend_is_expired(const struct backend *b)
{
    return b->lifetime_us != UINT64_MAX && b->lifetime_us > 0 &&
           clock_now_us() - b->connected_us >= b->lifetime_us;
}

static void free_later(struct loop_deferred *work)
{
    free(container_of(work, struct backend, free_later));
}

static void say_goodbye(struct backend *b)
{
    static const uint8_t terminate[5] = {'X', 0, 0, 0, 4};

    /* Not in the middle of a message of the owner's, whose end it would be taken for. */
    if (conn_is_open(&b->conn) && b->state >= BACKEND_SETUP && b->body_left == 0 &&
        b->out_left == 0) {
        /* When it cannot be sent the server sees the end of the connection all the same. */
        (void)!conn_send(&b->conn, b->pool->env->loop, terminate, sizeof(terminate));
    }
}

static void release_memory(struct backend *b)
{
    struct pool_env *env = b->pool->env;

    loop_timer_stop(env->loop, &b->timer);
    resolve_cancel(env->resolver, &b->resolve);
    b->connect = backend_connect_free(b->connect);
    b->login = backend_login_free(b->login);
    conn_done(&b->conn, env->loop);
    inflight_done(&b->inflight);
    buf_done(&b->in);
    buf_done(&b->to_close);
    buf_done(&b->unfit);
    loop_defer_cancel(env->loop, &b->go_on);
    stmt_cache_done(&b->stmts);
    b->unnamed = stmt_unref(b->unnamed);
    b->params = params_unref(b->params);
    b->params_undo = params_unref(b->params_undo);
    b->startup = params_unref(b->startup);
    b->reported = params_unref(b->reported);
    b->target = target_unref(b->target);
    free(b->last_error);
    b->last_error = NULL;
    free(b->host);
    b->host = NULL;
    explicit_bzero(b->key, sizeof(b->key));
}

void backend_close(struct backend *b, const char *reason, const struct pg_error *e)
{
    struct pool *pool = b->pool;
    struct lease *l = b->lease;
    struct lease *waits = b->opens_for;
    bool told = b->told_error;
    struct pg_error why;

    if (b->state == BACKEND_CLOSED) {
        return;
    }
    if (pool->env->settings.log_disconnections) {
        unsigned long long age_s =
            b->connected_us == 0 ? 0 : (clock_now_us() - b->connected_us) / USEC_PER_SEC;

        backend_log(b, LOG_LOG_LEVEL, "closing because: %s (age=%llus)", reason, age_s);
    }
    if (e != NULL) {
        why = *e;
    } else if (b->last_error != NULL && b->told_error) {
        why = *b->last_error;
    } else {
        pg_error_set(&why, SQLSTATE_CONNECTION_FAILURE, "server connection lost: %s", reason);
    }
    (void)metrics_server_closed(&pool->env->metrics, reason);
    say_goodbye(b);
    farewell_begin(b);
    cancel_backend_closed(b);
    b->lease = NULL;
    b->opens_for = NULL;
    list_remove(&pool->backends[b->state], &b->link);
    b->state = BACKEND_CLOSED;
    if (b->is_hub) {
        notify_hub_lost(b->hub, b, &why);
    } else {
        pool->n_backends--;
    }
    pool->db->n_connections--;
    pool->user->n_connections--;
    release_memory(b);
    loop_defer(pool->env->loop, &b->free_later, free_later);
    if (l != NULL) {
        l->state = LEASE_NONE;
        l->backend = NULL;
        l->pool = NULL;
        l->ops->lost(l, &why, told);
    }
    if (waits != NULL) {
        pool_dequeue(pool, waits);
        waits->state = LEASE_NONE;
        waits->pool = NULL;
        waits->ops->failed(waits, &why);
    }
    pool_backend_closed(pool, b);
}

void backend_kill(struct backend *b, const char *reason, const struct pg_error *e)
{
    if (b->state >= BACKEND_SETUP && !b->is_hub && !inflight_is_empty(&b->inflight) &&
        b->replication == REPLICATION_NONE) {
        (void)cancel_start(b, NULL, CANCEL_OF_OURS); /* not possible: it ends when it wants to */
    }
    backend_close(b, reason, e);
}

void backend_remember_error(struct backend *b, const uint8_t *body, size_t len)
{
    struct pg_error e;

    if (!error_msg_parse(body, len, &e)) {
        return;
    }
    b->pool->metrics.n_errors++;
    metrics_error(&b->pool->env->metrics, ERROR_OF_SERVER, e.sqlstate);
    if (b->last_error == NULL) {
        b->last_error = malloc(sizeof(*b->last_error));
    }
    if (b->last_error != NULL) {
        *b->last_error = e;
    }
}

/* --- use --- */

static void close_for_memory(struct backend *b)
{
    struct pg_error e;

    pg_error_set(&e, SQLSTATE_OUT_OF_MEMORY, "out of memory");
    backend_close(b, "out of memory", &e);
}

bool backend_flush(struct backend *b, struct outvec *v)
{
    if (outvec_flush(v)) {
        return true;
    }
    close_for_memory(b);
    return false;
}

bool backend_note(struct backend *b, enum inflight_kind kind, enum inflight_origin origin,
                  struct prepared *prepared, uint32_t server_id)
{
    if (b->inflight.n == 0) {
        b->request_us = clock_now_us();
        if (origin == INFLIGHT_OF_CLIENT || origin == INFLIGHT_DOOMED) {
            backend_begin_query(b);
        }
    } else if (b->query_start_us == 0 && origin == INFLIGHT_OF_CLIENT) {
        backend_begin_query(b); /* behind something of ours */
    }
    if (LIKELY(inflight_push(&b->inflight, kind, origin, prepared, server_id))) {
        return true;
    }
    close_for_memory(b);
    return false;
}

bool backend_inject_query(struct backend *b, struct outvec *v, const char *sql)
{
    uint8_t header[FRAME_HEADER_BYTES] = {'Q'};
    size_t len = strlen(sql) + 1;

    wire_store_u32(header + 1, num_u32(len + 4));
    outvec_copy(v, header, sizeof(header));
    outvec_copy(v, sql, len);
    b->unnamed = stmt_unref(b->unnamed); /* a simple query drops the unnamed statement */
    b->injected_failed = false;
    return backend_note(b, INFLIGHT_QUERY, INFLIGHT_INJECTED, NULL, 0);
}

/* Does the server tell every change of @name? */
static bool is_reported(const struct backend *b, const char *name)
{
    return params_get(b->pool->welcome, name) != NULL;
}

void backend_forget_unreported(struct backend *b)
{
    struct param entries[PARAMS_MAX];
    struct params *known;
    unsigned n = 0;

    for (unsigned i = 0; b->params != NULL && i < b->params->n; i++) {
        if (is_reported(b, b->params->entries[i].name)) {
            entries[n++] = b->params->entries[i];
        }
    }
    known = params_intern(b->pool->env->params, entries, n);
    if (known == NULL) {
        b->close_needed = true; /* what is in force on it is not known any more */
        return;
    }
    (void)params_unref(b->params);
    b->params = known;
}

/* What is in force when @want has been set, as far as it is known now: what is reported keeps its value until the report
 * comes, and none comes when the new value is but another spelling of the old one. */
static struct params *params_when_set(const struct backend *b, const struct params *want)
{
    struct param entries[PARAMS_MAX];
    unsigned n = 0;

    for (; want != NULL && n < want->n; n++) {
        const char *old = params_get(b->params, want->entries[n].name);

        entries[n] = want->entries[n];
        if (old != NULL && is_reported(b, want->entries[n].name)) {
            entries[n].value = old;
        }
    }
    return params_intern(b->pool->env->params, entries, n);
}

bool backend_inject_params(struct backend *b, struct outvec *v, struct params *want)
{
    struct params *now;
    struct buf sql = BUF_INIT(4 * PARAMS_MAX_BYTES);
    bool ok;

    if (LIKELY(b->params == want)) {
        return true;
    }
    params_diff_sql(b->params, want, &sql);
    now = params_when_set(b, want);
    ok = buf_ok(&sql) && now != NULL;
    if (!ok) {
        close_for_memory(b);
    } else if (sql.len > 0) {
        ok = backend_inject_query(b, v, buf_cstr(&sql));
    }
    buf_done(&sql);
    if (ok) {
        (void)params_unref(b->params_undo);
        b->params_undo = b->params;
        b->params = now;
    } else {
        (void)params_unref(now);
    }
    return ok;
}

bool backend_close_if_due(struct backend *b)
{
    struct pg_error e;

    if (!b->close_needed || !b->pool->limits.fast_close || b->pool->limits.mode != POOL_SESSION ||
        b->state != BACKEND_ACTIVE || !backend_is_quiet(b)) {
        return false;
    }
    pg_error_set(&e, SQLSTATE_ADMIN_SHUTDOWN, "database configuration changed");
    backend_close(b, "server_fast_close", &e);
    return true;
}

void backend_want_read(struct backend *b, bool want)
{
    conn_want_read(&b->conn, b->pool->env->loop, want);
}

void backend_cancel_done(struct backend *b)
{
    if (b->n_cancels > 0) {
        return;
    }
    switch (b->state) {
    case BACKEND_CANCELED:
        pool_backend_is_free(b->pool, b);
        return;
    case BACKEND_CLEANING:
        backend_clean_ready(b);
        return;
    case BACKEND_ACTIVE:
        if (b->lease != NULL && b->lease->ops->resumed != NULL) {
            b->lease->ops->resumed(b->lease);
        }
        return;
    default:
        return;
    }
}
