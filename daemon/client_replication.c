/* SPDX-License-Identifier: ISC */
/* A client that replicates: its server connection is opened for it with its own startup parameters, and it logs in when
 * that has logged in. From then on both are one: what either says goes to the other as it is, and neither outlives the
 * other, whatever the pooling mode. The server's own errors at its login are the client's. */
#include "daemon/client_echo.h"
#include "daemon/client_relay.h"

#include <string.h>

static struct client *of(struct lease *l)
{
    return container_of(l, struct client, lease);
}

static void on_granted(struct lease *l)
{
    struct client *c = of(l);

    c->params = params_ref(l->backend->params);
    client_welcome(c, l->backend->reported);
}

static void on_failed(struct lease *l, const struct pg_error *e)
{
    client_close(of(l), e);
}

static void on_expired(struct lease *l, const struct pg_error *e)
{
    client_close(of(l), e);
}

static void on_lost(struct lease *l, const struct pg_error *e, bool told)
{
    /* A server that ends the connection without a word (at a shutdown, say, behind its last WAL) does so to the client
     * too: a walreceiver takes anything more for an error. */
    if (told || strcmp(e->sqlstate, SQLSTATE_CONNECTION_FAILURE) == 0) {
        client_close_quiet(of(l), e->message);
    } else {
        client_close(of(l), e);
    }
}

static struct conn *on_sink(struct lease *l)
{
    return &of(l)->conn;
}

static enum lease_ready before_ready(struct lease *l, uint8_t status, struct outvec *out)
{
    struct client *c = of(l);

    (void)status;
    (void)out;
    if (UNLIKELY(c->echo != NULL)) {
        client_echo_ready(c);
    }
    return LEASE_READY_FORWARD;
}

static void on_resumed(struct lease *l)
{
    struct client *c = of(l);

    if (c->hold == HOLD_FULL && !inflight_is_full(&l->backend->inflight) &&
        conn_queued(&l->backend->conn) < CONN_HIGH_BYTES) {
        c->hold = HOLD_NONE;
        relay_go_on(c);
    }
}

static void on_ready(struct lease *l, uint8_t status)
{
    (void)status;
    on_resumed(l);
}

/* For SHOW CLIENTS only: each ParameterStatus goes to the client. */
static bool on_parameter(struct lease *l, const char *name, const char *value)
{
    struct client *c = of(l);
    struct params *changed = params_with(c->server->env->params, c->params, name, value);

    if (changed != NULL) {
        (void)params_unref(c->params);
        c->params = changed;
    }
    return true;
}

const struct lease_ops client_replication_ops = {
    .granted = on_granted,
    .failed = on_failed,
    .expired = on_expired,
    .lost = on_lost,
    .sink = on_sink,
    .before_ready = before_ready,
    .ready = on_ready,
    .parameter = on_parameter,
    .resumed = on_resumed,
};

void client_replication_begin(struct client *c)
{
    struct pg_error e;

    lease_init(&c->lease, &client_replication_ops);
    c->lease.is_login = true;
    c->lease.replication = (enum replication)c->replication;
    c->lease.startup = c->u.login->want;
    if (lease_request(&c->lease, c->pool, &e) == LEASE_REFUSED) {
        client_close(c, &e);
    }
}

size_t client_replication_send(struct relay *r, const uint8_t *m, size_t len, const struct frame *f)
{
    enum inflight_kind kind;

    switch (f->type) {
    case 'Q':
        if (UNLIKELY(client_echo_is_on(r->c))) {
            client_echo_note(r->c, m + FRAME_HEADER_BYTES,
                             MIN(len, (size_t)f->total) - FRAME_HEADER_BYTES);
        }
        kind = INFLIGHT_QUERY;
        break;
    case 'F':
        kind = INFLIGHT_FUNCTION;
        break;
    case 'S':
        kind = INFLIGHT_SYNC;
        break;
    case 'P':
        kind = INFLIGHT_PARSE;
        break;
    case 'B':
        kind = INFLIGHT_BIND;
        break;
    case 'E':
        kind = INFLIGHT_EXECUTE;
        break;
    case 'C':
        kind = INFLIGHT_CLOSE;
        break;
    case 'D':
        if (len <= FRAME_HEADER_BYTES) {
            return 0;
        }
        kind =
            m[FRAME_HEADER_BYTES] == 'S' ? INFLIGHT_DESCRIBE_STATEMENT : INFLIGHT_DESCRIBE_PORTAL;
        break;
    case 'c':
    case 'f':
        kind = INFLIGHT_COPY_END;
        break;
    default: /* d, H */
        return relay_pass_on(r, m, len, f);
    }
    return relay_note(r, kind) ? relay_pass_on(r, m, len, f) : 0;
}
