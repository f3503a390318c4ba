/* SPDX-License-Identifier: ISC */
/* From a client to the server connection it has, or gets for this. What comes off the socket is looked at where it lies:
 * runs of messages leave from there in one system call. A client without a server connection asks its pool for one when
 * the first message comes that needs one; until it has it, its bytes wait here.
 *
 * The way back is pool/backend_read.c, which calls client_lease_ops (client_lease.c). Single messages of the extended
 * protocol are client_extended.c's. */
#include "daemon/client_relay.h"

#include "daemon/client_echo.h"
#include "daemon/client_notify.h"
#include "daemon/handover.h"

#include "daemon/util/fatal.h"
#include "daemon/util/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* While on hold this much is taken from the client, then it is not read any more until the hold is over. */
#define HOLD_MAX_BYTES ((size_t)64 * 1024)
/* Buffers up to this size are kept for reuse. */
#define SPARE_MAX_BYTES ((size_t)4096)
/* A message up to this long is waited for before a server connection is asked for: nobody keeps one by sending slowly. */
#define PATIENT_BYTES ((uint32_t)32 * 1024)

/* --- going to the server --- */

static void close_forgotten_statements(struct relay *r)
{
    struct backend *b = r->b;
    struct buf ids = b->to_close;

    b->to_close = BUF_INIT(b->to_close.max);
    for (size_t at = 0; at < ids.len && r->is_open; at += sizeof(uint32_t)) {
        uint32_t id;
        char name[STMT_SERVER_NAME_MAX_BYTES];

        memcpy(&id, ids.data + at, sizeof(id));
        stmt_server_name(name, id);
        relay_put_close(r, name);
    }
    buf_done(&ids);
}

/* The client has its server connection: from now on @r goes there. */
static bool attach(struct relay *r)
{
    struct client *c = r->c;
    struct backend *b = c->lease.backend;

    r->b = b;
    r->is_open = true;
    outvec_init(&r->out, &b->conn, c->server->loop);
    if (inflight_is_empty(&b->inflight) && c->replication == REPLICATION_NONE) {
        /* First of all, while no batch is open: the Closes are the beginning of one. */
        if (UNLIKELY(b->params != c->params) && b->tx_status == 'I' && !b->inflight.unsynced) {
            r->is_open = backend_inject_params(b, &r->out, c->params);
        }
        if (r->is_open && b->to_close.len > 0) {
            close_forgotten_statements(r);
        }
    }
    return r->is_open;
}

static bool flush(struct relay *r)
{
    if (r->is_open && !outvec_is_empty(&r->out)) {
        r->is_open = backend_flush(r->b, &r->out);
    }
    return r->is_open;
}

bool relay_note_statement(struct relay *r, enum inflight_kind kind, enum inflight_origin origin,
                          struct prepared *prepared, uint32_t server_id)
{
    r->is_open = r->is_open && backend_note(r->b, kind, origin, prepared, server_id);
    return r->is_open;
}

void relay_hold(struct relay *r, enum client_hold why)
{
    r->c->hold = (uint8_t)why;
}

static size_t discard(struct client *c, size_t len, const struct frame *f)
{
    size_t take = MIN(len, (size_t)f->total);

    c->body_left = num_u32(f->total - take);
    c->body_discarded = true;
    return take;
}

/* --- without a server connection --- */

static void enter_queue(struct relay *r)
{
    struct client *c = r->c;

    c->is_silent = r->is_silent; /* not to be looked through again */
    client_set_state(c, CLIENT_WAITING);
    c->hold = HOLD_LEASE;
}

static void become_active(struct client *c)
{
    if (c->state != CLIENT_ACTIVE) {
        client_set_state(c, CLIENT_ACTIVE);
    }
}

/* Makes sure that @r has a server connection. false: not now, or never (the client is closed then). */
static bool need_server(struct relay *r)
{
    struct client *c = r->c;
    struct pg_error e;

    if (c->lease.state == LEASE_HELD) {
        return true;
    }
    if (UNLIKELY(c->server->state == SERVER_WAITS_FOR_SERVERS)) {
        client_close_text(c, SQLSTATE_ADMIN_SHUTDOWN,
                          "pooler is shutting down"); /* nothing is granted any more */
        return false;
    }
    if (UNLIKELY(c->pool->env->is_held)) {
        handover_hold(c);
        return false;
    }
    switch (lease_request(&c->lease, c->pool, &e)) {
    case LEASE_GRANTED:
        become_active(c);
        return attach(r);
    case LEASE_QUEUED:
        enter_queue(r);
        return false;
    case LEASE_REFUSED:
        client_close(c, &e);
        return false;
    }
    unreachable();
}

/* Messages that mean nothing, or something that we can tell, to a client without a server connection.
 * 0: a server is needed. */
static size_t answer_alone(struct client *c, const uint8_t *m, size_t len, const struct frame *f)
{
    static const uint8_t ready[6] = {'Z', 0, 0, 0, 5, 'I'};

    switch (f->type) {
    case 'd': /* the rest of a COPY that the server has ended already with an error: PG15 protocol, "COPY Operations" */
    case 'c':
    case 'f':
        return discard(c, len, f);
    case 'H':
        return f->total;
    case 'S':
        client_send(c, ready, sizeof(ready));
        return f->total;
    case 'P':
        return extended_parse_alone(c, m, len, f);
    case 'C':
        return extended_close_alone(c, m, len, f);
    default:
        return 0;
    }
}

/* --- a message --- */

static bool is_terminate(struct client *c, const struct frame *f)
{
    if (f->type != 'X') {
        return false;
    }
    c->lease.is_polite = true;
    client_close_quiet(c, "client close request");
    return true;
}

static size_t on_query(struct relay *r, const uint8_t *m, size_t len, const struct frame *f)
{
    struct client *c = r->c;
    size_t taken;

    if (c->pool->limits.mode != POOL_SESSION) {
        switch (client_notify_query(c, m, len, f, r->is_silent)) {
        case NOTIFY_GO_ON:
            break;
        case NOTIFY_ALONE:
            relay_hold(r, HOLD_ORDER);
            break;
        case NOTIFY_REFUSE:
            relay_refuse_listen(r, INFLIGHT_QUERY, INFLIGHT_SWITCHED_OFF);
            return f->total;
        case NOTIFY_TOO_MANY:
            relay_hold(r, HOLD_ORDER);
            relay_refuse_listen(r, INFLIGHT_QUERY, INFLIGHT_TOO_MANY);
            return f->total;
        case NOTIFY_AFTER:
            relay_hold(r, HOLD_ORDER);
            return 0;
        case NOTIFY_WAIT:
            relay_hold(r, HOLD_HUB);
            return 0;
        case NOTIFY_MORE:
        case NOTIFY_CLOSED:
            return 0;
        }
    }
    if (UNLIKELY(client_echo_is_on(c))) {
        client_echo_note(c, m + FRAME_HEADER_BYTES,
                         MIN(len, (size_t)f->total) - FRAME_HEADER_BYTES);
    }
    c->unnamed =
        stmt_unref(c->unnamed); /* a simple query drops the unnamed statement, there as well */
    r->b->unnamed = stmt_unref(r->b->unnamed);
    r->b->unnamed_of = 0;
    if (UNLIKELY(c->prepared.n > 0)) { /* it may deallocate one */
        taken = extended_query(r, m, len, f);
        if (taken > 0 || !r->is_open) {
            return taken;
        }
    }
    return relay_note(r, INFLIGHT_QUERY) ? relay_pass_on(r, m, len, f) : 0;
}

static void refuse_message(struct client *c, uint8_t type)
{
    if (type >= 0x20 && type < 0x7f) {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION,
                          "invalid frontend message type '%c' or length", type);
    } else {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION, "invalid frontend message type %u", type);
    }
}

/* An Execute of a client that may LISTEN by it. */
static size_t execute_portal(struct relay *r, const uint8_t *m, size_t len, const struct frame *f)
{
    const char *portal = (const char *)m + FRAME_HEADER_BYTES;

    if (f->total > MSG_GATHER_MAX_BYTES) {
        refuse_message(r->c, f->type);
        return 0;
    }
    if (len < f->total) {
        return 0;
    }
    if (!inflight_is_skipping(&r->b->inflight) &&
        memchr(portal, '\0', f->total - FRAME_HEADER_BYTES) != NULL) {
        switch (client_notify_execute(r->c, portal)) {
        case NOTIFY_AFTER:
            relay_hold(r, HOLD_ORDER);
            return 0;
        case NOTIFY_WAIT:
            relay_hold(r, HOLD_HUB);
            return 0;
        case NOTIFY_TOO_MANY:
            relay_refuse_listen(r, INFLIGHT_EXECUTE, INFLIGHT_TOO_MANY);
            return f->total;
        case NOTIFY_CLOSED:
            return 0;
        default:
            break;
        }
    }
    return relay_note(r, INFLIGHT_EXECUTE) ? relay_pass_on(r, m, len, f) : 0;
}

/* A message for the server connection that @r has. Returns how many bytes are dealt with; 0: more are needed, or the
 * client is on hold, or closed. */
static size_t to_server(struct relay *r, const uint8_t *m, size_t len, const struct frame *f)
{
    if (UNLIKELY(r->c->replication != REPLICATION_NONE)) {
        return client_replication_send(r, m, len, f);
    }
    switch (f->type) {
    case 'Q':
        return on_query(r, m, len, f);
    case 'F':
        if (client_notify_call(r->c) == NOTIFY_ALONE) {
            relay_hold(r, HOLD_ORDER);
        }
        return relay_note(r, INFLIGHT_FUNCTION) ? relay_pass_on(r, m, len, f) : 0;
    case 'S':
        if (client_notify_sync(r->c) == NOTIFY_ALONE) {
            relay_hold(r, HOLD_ORDER);
        }
        return relay_note(r, INFLIGHT_SYNC) ? relay_pass_on(r, m, len, f) : 0;
    case 'E':
        if (UNLIKELY(client_notify_minds_portals(r->c))) {
            return execute_portal(r, m, len, f);
        }
        return relay_note(r, INFLIGHT_EXECUTE) ? relay_pass_on(r, m, len, f) : 0;
    case 'c':
    case 'f':
        if (inflight_is_empty(&r->b->inflight)) {
            return discard(r->c, len, f); /* no COPY runs any more */
        }
        return relay_note(r, INFLIGHT_COPY_END) ? relay_pass_on(r, m, len, f) : 0;
    case 'P':
        return extended_parse(r, m, len, f);
    case 'B':
        return extended_bind(r, m, len, f);
    case 'D':
        return extended_describe(r, m, len, f);
    case 'C':
        return extended_close(r, m, len, f);
    default: /* H, d */
        return relay_pass_on(r, m, len, f);
    }
}

/* After an error that we gave ourselves, everything up to the Sync is skipped, as a server does. */
static size_t skip_to_sync(struct client *c, size_t len, const struct frame *f)
{
    static const uint8_t ready[6] = {'Z', 0, 0, 0, 5, 'I'};

    if (f->type != 'S') {
        return discard(c, len, f);
    }
    c->skipping = false;
    client_send(c, ready, sizeof(ready));
    return f->total;
}

static size_t one_message(struct relay *r, const uint8_t *m, size_t len)
{
    struct client *c = r->c;
    struct frame f;
    size_t taken;

    switch (frame_peek(msg_from_client, m, len, &f)) {
    case FRAME_BAD:
        refuse_message(c, m[0]);
        return 0;
    case FRAME_PARTIAL:
        return 0;
    case FRAME_OK:
        break;
    }
    if (f.total > c->server->env->settings.max_packet_bytes || f.type == 'p') {
        refuse_message(c, f.type);
        return 0;
    }
    if (f.type == 'Q' && UNLIKELY(c->server->config->settings.disable_pqexec)) {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION, "PQexec disallowed");
        return 0;
    }
    if (is_terminate(c, &f)) {
        return 0;
    }
    if (c->skipping) {
        return skip_to_sync(c, len, &f);
    }
    r->is_silent = c->is_silent && c->lease.state == LEASE_HELD;
    c->is_silent = false;
    if (c->lease.state != LEASE_HELD) {
        taken = answer_alone(c, m, len, &f);
        if (taken > 0 || c->state == CLIENT_CLOSED) {
            return taken;
        }
        if (f.total <= PATIENT_BYTES && len < f.total) {
            return 0;
        }
        if (UNLIKELY(client_notify_must_wait(c, m, len, &f, &r->is_silent))) {
            if (c->state != CLIENT_CLOSED) {
                relay_hold(r, HOLD_HUB);
            }
            return 0;
        }
        if (!need_server(r)) {
            return 0;
        }
    }
    if (UNLIKELY(c->notify != NULL && c->lease.backend->prior_pid != 0) &&
        client_notify_must_settle(c)) {
        if (c->state != CLIENT_CLOSED) {
            relay_hold(r, HOLD_HUB);
        }
        return 0;
    }
    if (inflight_is_full(&r->b->inflight)) {
        relay_hold(r, HOLD_FULL);
        return 0;
    }
    return to_server(r, m, len, &f);
}

/* false: there is no server connection, or no longer. */
static bool send_batch(struct relay *r)
{
    if (!r->is_open || !flush(r)) {
        return false;
    }
    r->b->out_left = r->c->body_discarded ? 0 : r->c->body_left;
    return true;
}

/* Works through @data; returns how much of it is dealt with. The rest is the beginning of a message, or waits for the
 * end of a hold. */
static size_t work(struct client *c, const uint8_t *data, size_t len)
{
    struct relay
        r; /* not an initialiser: it would clear the out vector, some kilobytes, each time */
    struct server *s = c->server;
    size_t at = 0;

    r.c = c;
    r.b = NULL;
    r.is_open = false;

    if (c->lease.state == LEASE_HELD && !attach(&r)) {
        return len;
    }
    r.outer = s->relay;
    s->relay = &r;
    while (at < len && c->hold == HOLD_NONE && c->state != CLIENT_CLOSED) {
        size_t taken;

        if (c->body_left > 0) {
            taken = MIN(len - at, (size_t)c->body_left);
            if (!c->body_discarded && r.is_open) {
                outvec_add(&r.out, data + at, taken);
            }
            c->body_left -= num_u32(taken);
        } else {
            taken = one_message(&r, data + at, len - at);
        }
        if (taken == 0) {
            break;
        }
        at += taken;
    }
    s->relay = r.outer;
    if (send_batch(&r) && conn_queued(&r.b->conn) >= CONN_HIGH_BYTES && c->hold == HOLD_NONE) {
        c->hold = HOLD_FULL;
    }
    return at;
}

void client_relay_leave(struct client *c)
{
    for (struct relay *r = c->server->relay; r != NULL; r = r->outer) {
        if (r->c == c) {
            (void)send_batch(r); /* false: the connection is gone, and perhaps the client too */
            r->is_open = false;
        }
    }
}

/* --- bytes that wait --- */

static void keep(struct client *c, const uint8_t *data, size_t len)
{
    if (len == 0) {
        return;
    }
    if (c->in == NULL) {
        struct server *s = c->server;

        c->in = s->n_spare > 0 ? s->spare[--s->n_spare] : calloc(1, sizeof(*c->in));
        if (c->in != NULL) {
            c->in->max = (size_t)MSG_GATHER_MAX_BYTES + 2 * ENV_SCRATCH_BYTES;
        }
    }
    if (c->in == NULL || !buf_append(c->in, data, len)) {
        client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
    }
}

/* Small ones are kept for the next client that has to wait: a busy pool queues somebody at every query. */
static void drop_buf(struct server *s, struct buf *b)
{
    if (b->cap <= SPARE_MAX_BYTES && s->n_spare < SERVER_SPARE_BUFS) {
        buf_clear(b);
        s->spare[s->n_spare++] = b;
        return;
    }
    buf_done(b);
    free(b);
}

static void forget_kept(struct client *c)
{
    if (c->in != NULL) {
        drop_buf(c->server, take_ptr(c->in));
    }
}

/* Goes on with what was kept, as far as it goes. */
static void work_on_kept(struct client *c)
{
    struct buf *in = c->in;
    size_t done;

    if (in == NULL) {
        return;
    }
    c->in = NULL; /* a callback may close the client: the bytes stay ours until we are through */
    done = work(c, in->data, in->len);
    if (c->state == CLIENT_CLOSED || done >= in->len) {
        drop_buf(c->server, in);
        return;
    }
    buf_consume(in, done);
    c->in = in;
}

/* While on hold only so much that a loss of the connection shows. */
void relay_update_reading(struct client *c)
{
    size_t kept = c->in != NULL ? c->in->len : 0;
    bool holds = c->hold != HOLD_NONE || c->state == CLIENT_LOGIN;
    bool reads = c->hold != HOLD_TAKEOVER && (!holds || kept < HOLD_MAX_BYTES);

    if (c->state != CLIENT_CLOSED) {
        conn_want_read(&c->conn, c->server->loop, reads);
        conn_watch_end(&c->conn, c->server->loop, !reads && c->hold == HOLD_LEASE);
    }
}

void relay_go_on(struct client *c)
{
    if (c->state == CLIENT_CLOSED || c->hold != HOLD_NONE) {
        return;
    }
    work_on_kept(c);
    relay_update_reading(c);
}

/* --- the loop --- */

static void take(struct client *c, const uint8_t *data, size_t len)
{
    size_t done;

    c->request_us = clock_now_us();
    if (c->pool != NULL) {
        c->pool->db->stats.bytes_received += len;
    }
    if (c->in != NULL) {
        keep(c, data, len);
        if (c->state != CLIENT_CLOSED && c->hold == HOLD_NONE && c->state != CLIENT_LOGIN) {
            work_on_kept(c);
        }
        return;
    }
    if (c->hold != HOLD_NONE || c->state == CLIENT_LOGIN) {
        keep(c, data, len);
        return;
    }
    done = work(c, data, len);
    if (c->state != CLIENT_CLOSED && done < len) {
        keep(c, data + done, len - done);
    }
}

void client_relay_readable(struct client *c)
{
    struct pool_env *env = c->server->env;
    unsigned turns = env->settings.read_turns > 0 ? env->settings.read_turns : UINT32_MAX;

    for (;;) {
        if (UNLIKELY(c->conn.is_bulk) && client_is_bulk(c)) {
            if (!client_move_bulk(c)) {
                return;
            }
        } else {
            ssize_t n = conn_read(&c->conn, env->loop, env->scratch, ENV_SCRATCH_BYTES);

            if (n == CONN_AGAIN) {
                return;
            }
            if (n < 0) {
                client_close_quiet(c, "client unexpected eof");
                return;
            }
            take(c, env->scratch, (size_t)n);
            if (c->state == CLIENT_CLOSED) {
                return;
            }
            relay_update_reading(c);
            if (!c->conn.reading ||
                ((size_t)n < ENV_SCRATCH_BYTES && !conn_has_pending(&c->conn))) {
                return;
            }
            conn_begin_bulk(&c->conn);
        }
        if (--turns == 0) {
            if (conn_has_pending(&c->conn)) {
                loop_io_again(env->loop, &c->conn.io);
            }
            return;
        }
    }
}

void client_relay_writable(struct client *c)
{
    if (c->lease.state == LEASE_HELD && conn_queued(&c->conn) <= CONN_LOW_BYTES) {
        backend_want_read(c->lease.backend, true);
    }
    client_notify_writable(c);
}

/* --- refused while it waited --- */

void client_relay_refuse(struct client *c, const struct pg_error *e)
{
    struct buf msg = BUF_INIT(8192);
    bool is_simple =
        c->in != NULL && c->in->len > 0 && (c->in->data[0] == 'Q' || c->in->data[0] == 'F');
    struct frame f;

    lease_abandon(&c->lease);
    client_set_state(c, CLIENT_IDLE);
    c->hold = HOLD_NONE;
    metrics_error(&c->server->env->metrics, ERROR_OF_POOLER, e->sqlstate);
    error_msg_put(&msg, 'E', e);
    if (is_simple) {
        startup_put_ready(&msg, 'I');
    }
    client_send_buf(c, &msg);
    if (c->state == CLIENT_CLOSED) {
        return;
    }
    if (!is_simple) {
        c->skipping = true;
    } else if (frame_peek(msg_from_client, c->in->data, c->in->len, &f) == FRAME_OK) {
        size_t taken = discard(c, c->in->len, &f);

        buf_consume(c->in, taken);
        if (c->in->len == 0) {
            forget_kept(c);
        }
    }
    relay_go_on(c);
}
