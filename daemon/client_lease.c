/* SPDX-License-Identifier: ISC */
/* What a client's pool and server connection tell it: that it is its turn, that its query is over, that a parameter has
 * changed, that the server is gone. */
#include "daemon/client_echo.h"
#include "daemon/client_notify.h"
#include "daemon/client_relay.h"
#include "daemon/handover.h"

#include "daemon/util/fatal.h"
#include "daemon/util/log.h"

#include <string.h>

static struct client *of(struct lease *l)
{
    return container_of(l, struct client, lease);
}

static void end_hold(struct client *c)
{
    c->hold = HOLD_NONE;
    relay_go_on(c);
}

/* pool_mode has become session: what the client listens to is elsewhere. true: it is closed. */
static bool is_stranded(struct client *c)
{
    if (LIKELY(client_notify_channels(c) == 0) || c->pool->limits.mode != POOL_SESSION) {
        return false;
    }
    client_close_text(c, SQLSTATE_ADMIN_SHUTDOWN,
                      "terminating connection: pool_mode is session now, and the client listens "
                      "through the pool");
    return true;
}

/* Gives the server connection back when the pool's mode says so. */
static void give_back(struct client *c)
{
    if (c->pool->limits.mode == POOL_SESSION) {
        (void)is_stranded(c);
        return;
    }
    client_set_state(c, CLIENT_IDLE);
    if (c->pool->limits.client_idle_timeout_us > 0) { /* the list is by idleness then */
        list_remove(&c->pool->clients, &c->link);
        list_add_tail(&c->pool->clients, &c->link);
        c->request_us = clock_now_us();
        pool_wake_at(c->pool, c->request_us + c->pool->limits.client_idle_timeout_us);
    }
    lease_release(&c->lease);
    if (c->close_after) {
        client_close_text(c, SQLSTATE_ADMIN_SHUTDOWN, "pooler is shutting down");
    }
}

static void on_granted(struct lease *l)
{
    struct client *c = of(l);

    if (is_stranded(c)) {
        return;
    }
    client_set_state(c, CLIENT_ACTIVE);
    end_hold(c);
    /* What it had sent may have needed no server after all. */
    if (c->state == CLIENT_ACTIVE && c->hold == HOLD_NONE && backend_is_quiet(l->backend) &&
        c->body_left == 0) {
        give_back(c);
    }
}

static void on_failed(struct lease *l, const struct pg_error *e)
{
    client_close(of(l), e);
}

static void on_waiting(struct lease *l)
{
    struct buf msg = BUF_INIT(1024);

    error_msg_put_text(&msg, 'N', "NOTICE", "00000",
                       "No server connection available in postgres backend, client being queued",
                       NULL, NULL);
    client_send_buf(of(l), &msg);
}

static void on_lost(struct lease *l, const struct pg_error *e, bool told)
{
    struct client *c = of(l);

    if (told) {
        client_close_quiet(c, e->message);
    } else {
        client_close(c, e);
    }
}

static struct conn *on_sink(struct lease *l)
{
    return &of(l)->conn;
}

/* --- the end of a query --- */

static void after_ready(struct client *c, uint8_t status)
{
    if (c->hold == HOLD_FULL ||
        (c->hold == HOLD_ORDER && inflight_count_ready(&c->lease.backend->inflight) == 0)) {
        end_hold(c);
    }
    if (c->state != CLIENT_ACTIVE || c->lease.state != LEASE_HELD) {
        return;
    }
    if (status == 'I' && backend_is_quiet(c->lease.backend) && c->body_left == 0 &&
        c->hold == HOLD_NONE) {
        give_back(c);
    }
    if (UNLIKELY(c->server->env->is_held) && c->state != CLIENT_CLOSED) {
        handover_boundary(c);
    }
}

static void on_ready(struct lease *l, uint8_t status)
{
    after_ready(of(l), status);
}

/* RESET and DISCARD ALL go back to what the client asked for at its start, not to the server connection's own default.
 * Only what this query changed is put back. NULL: nothing to do. */
static struct params *startup_again(struct client *c)
{
    struct params_table *table = c->server->env->params;
    struct params *want = params_ref(c->params);

    for (unsigned i = 0; i < c->startup->n; i++) {
        const char *name = c->startup->entries[i].name;
        const char *now = params_get(c->params, name);
        const char *before = params_get(c->changed_from, name);
        bool changed = now != NULL && before != NULL && strcmp(now, before) != 0;

        if (changed && strcmp(now, c->startup->entries[i].value) != 0) {
            struct params *next = params_with(table, want, name, c->startup->entries[i].value);

            (void)params_unref(want);
            want = next;
            if (want == NULL) {
                return NULL;
            }
        }
    }
    return want;
}

static bool go_back_to_startup(struct client *c)
{
    struct backend *b = c->lease.backend;
    struct params *want = c->changed_from != NULL ? startup_again(c) : params_ref(c->params);
    struct outvec out;
    bool injected = false;

    if (want == NULL) {
        return false;
    }
    backend_forget_unreported(b);
    if (!inflight_is_empty(&b->inflight)) {
        /* What the client has sent already runs without it, what comes later does not. */
        (void)params_unref(c->params);
        c->params = want;
        return false;
    }
    outvec_init(&out, &b->conn, c->server->loop);
    if (backend_inject_params(b, &out, want) && !outvec_is_empty(&out)) {
        injected = backend_flush(b, &out);
    }
    (void)params_unref(want);
    return injected;
}

static void hold_ready(struct client *c, uint8_t why, uint8_t status)
{
    c->hold = HOLD_READY;
    c->ready_waits |= why;
    c->held_status = status;
}

/* @why is over; with nothing else to wait for the ReadyForQuery goes. */
static void release_ready(struct client *c, uint8_t why)
{
    struct buf msg = BUF_INIT(32 << 20);

    c->ready_waits &= (uint8_t)~why;
    if (c->hold != HOLD_READY || c->ready_waits != 0) {
        return;
    }
    c->hold = HOLD_NONE;
    if (c->held_status == 'I') {
        client_notify_flush(c, &msg);
    }
    startup_put_ready(&msg, c->held_status);
    client_send_buf(c, &msg);
    if (c->state != CLIENT_CLOSED) {
        relay_go_on(c);
    }
    if (c->state != CLIENT_CLOSED) {
        after_ready(c, c->held_status);
    }
}

void client_hub_go_on(struct client *c)
{
    if (c->state != CLIENT_CLOSED && c->hold == HOLD_HUB) {
        end_hold(c);
    }
}

void client_ready_go_on(struct client *c)
{
    release_ready(c, READY_WAITS_FOR_HUB);
}

/* Has this client's ReadyForQuery nothing to wait for, as nearly always? */
static bool is_plain_ready(const struct client *c)
{
    return !c->reapply && c->changed_from == NULL && c->echo == NULL && c->notify == NULL &&
           c->hold != HOLD_READY && c->state != CLIENT_CLOSED;
}

static enum lease_ready think_before_ready(struct client *c, uint8_t status, struct outvec *out)
{
    struct lease *l = &c->lease;
    bool reapply = c->reapply && status != 'E';

    c->reapply = false;
    if (c->pool->limits.mode == POOL_STATEMENT && status != 'I') {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION,
                          "transaction blocks not allowed in statement pooling mode");
        return LEASE_READY_HOLD;
    }
    if (c->echo != NULL) {
        client_echo_ready(c);
    }
    if (reapply && l->backend->n_cancels > 0) {
        hold_ready(c, READY_WAITS_FOR_CANCEL, status);
    } else if (reapply && go_back_to_startup(c)) {
        hold_ready(c, READY_WAITS_FOR_PARAMETERS, status);
    }
    if (c->notify != NULL && c->state != CLIENT_CLOSED &&
        client_notify_ready(c, status, c->hold == HOLD_READY ? NULL : out) == LEASE_READY_HOLD &&
        c->state != CLIENT_CLOSED) {
        hold_ready(c, READY_WAITS_FOR_HUB, status);
    }
    if ((c->ready_waits & READY_WAITS_FOR_CANCEL) == 0) {
        c->changed_from = params_unref(c->changed_from);
    }
    return c->hold == HOLD_READY || c->state == CLIENT_CLOSED ? LEASE_READY_HOLD
                                                              : LEASE_READY_FORWARD;
}

static enum lease_ready on_before_ready(struct lease *l, uint8_t status, struct outvec *out)
{
    struct client *c = of(l);

    if (LIKELY(is_plain_ready(c)) && (status == 'I' || c->pool->limits.mode != POOL_STATEMENT)) {
        return LEASE_READY_FORWARD;
    }
    return think_before_ready(c, status, out);
}

/* The parameters may be set now. */
static void on_cancel_over(struct client *c)
{
    bool injected = go_back_to_startup(c);

    c->changed_from = params_unref(c->changed_from);
    if (c->state == CLIENT_CLOSED) {
        return;
    }
    if (injected) {
        c->ready_waits |= READY_WAITS_FOR_PARAMETERS;
    }
    release_ready(c, READY_WAITS_FOR_CANCEL);
}

static void on_resumed(struct lease *l)
{
    struct client *c = of(l);

    switch ((enum client_hold)c->hold) {
    case HOLD_READY:
        if ((c->ready_waits & READY_WAITS_FOR_CANCEL) != 0) {
            if (l->backend->n_cancels == 0) {
                on_cancel_over(c);
            }
            return;
        }
        if (inflight_is_empty(&l->backend->inflight)) {
            release_ready(c, READY_WAITS_FOR_PARAMETERS);
        }
        return;
    case HOLD_STATEMENT:
        if (!inflight_describes(&l->backend->inflight, c->u.probing)) {
            end_hold(c);
        }
        return;
    case HOLD_FULL:
        if (!inflight_is_full(&l->backend->inflight) &&
            conn_queued(&l->backend->conn) < CONN_HIGH_BYTES) {
            end_hold(c);
        }
        return;
    case HOLD_ORDER:
        if (l->backend->inflight.copy_in || inflight_count_ready(&l->backend->inflight) == 0) {
            end_hold(c);
        }
        return;
    case HOLD_NONE:
    case HOLD_LEASE:
    case HOLD_HUB:
    case HOLD_TAKEOVER:
        return;
    }
}

/* --- changes --- */

static bool on_parameter(struct lease *l, const char *name, const char *value)
{
    struct client *c = of(l);
    const char *old = params_get(c->params, name);
    struct params *changed;

    if (old != NULL && strcmp(old, value) == 0) {
        return false;
    }
    changed = params_with(c->server->env->params, c->params, name, value);
    if (changed == NULL) {
        return true; /* it is told; its next server connection may not be */
    }
    if (c->changed_from == NULL) {
        c->changed_from = c->params;
    } else {
        (void)params_unref(c->params);
    }
    c->params = changed;
    return true;
}

static void on_session_command(struct lease *l, const char *tag)
{
    struct client *c = of(l);

    if (c->pool->limits.mode == POOL_SESSION && strcmp(tag, "RESET") != 0 &&
        strcmp(tag, "DISCARD ALL") != 0) {
        return;
    }
    if (strcmp(tag, "RESET") == 0 || strcmp(tag, "DISCARD ALL") == 0) {
        c->reapply = true;
    }
    if (strcmp(tag, "DISCARD ALL") == 0 || strcmp(tag, "DEALLOCATE ALL") == 0) {
        prepared_set_clear(&c->prepared);
        c->unnamed = stmt_unref(c->unnamed);
    }
}

static void on_command(struct lease *l, const char *tag)
{
    client_notify_command(of(l), tag);
}

static void on_failed_query(struct lease *l)
{
    client_notify_error(of(l));
}

static void on_notification(struct lease *l, const uint8_t *m, size_t len)
{
    client_notify_own(of(l), m, len);
}

static void on_voided(struct lease *l, const struct inflight_entry *e)
{
    struct client *c = of(l);
    struct backend *b = l->backend;

    if (e->kind == INFLIGHT_PARSE && e->prepared == NULL) {
        if (b->unnamed_of == c->id) {
            b->unnamed = stmt_unref(b->unnamed);
            b->unnamed_of = 0;
            c->unnamed = stmt_unref(c->unnamed);
        }
    } else if (e->kind == INFLIGHT_PARSE && e->origin == INFLIGHT_OF_CLIENT) {
        prepared_set_remove(&c->prepared, e->prepared);
    } else if (e->kind == INFLIGHT_PARSE && e->origin == INFLIGHT_INJECTED &&
               e->prepared->server_id == e->server_id) {
        e->prepared->server_id = 0;
    } else if (e->kind == INFLIGHT_DESCRIBE_STATEMENT && e->origin == INFLIGHT_INJECTED &&
               e->prepared != NULL && e->prepared->server_id == e->server_id) {
        e->prepared->server_id =
            0; /* parsed, but not described: it has no version, and no number on other servers */
    } else if (e->kind == INFLIGHT_CLOSE && e->origin == INFLIGHT_ANSWERED && e->prepared != NULL &&
               prepared_set_find(&c->prepared, e->prepared->name) == NULL) {
        if (!prepared_set_add(&c->prepared, e->prepared)) {
            client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
        }
    }
}

static void on_expired(struct lease *l, const struct pg_error *e)
{
    client_close(of(l), e);
}

const struct lease_ops client_lease_ops = {
    .granted = on_granted,
    .failed = on_failed,
    .waiting = on_waiting,
    .expired = on_expired,
    .lost = on_lost,
    .sink = on_sink,
    .ready = on_ready,
    .before_ready = on_before_ready,
    .parameter = on_parameter,
    .session_command = on_session_command,
    .command = on_command,
    .failed_query = on_failed_query,
    .notification = on_notification,
    .voided = on_voided,
    .resumed = on_resumed,
};
