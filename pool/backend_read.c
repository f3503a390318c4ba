/* SPDX-License-Identifier: ISC */
/* From the server to whoever has the lease. Messages are looked at where they lie in the read buffer: runs of them go on
 * from there in one system call; only the few types that matter are looked into, and only those are gathered when they
 * come in pieces. inflight.h tells whose answer a message is.
 *
 * Every function here that may close the connection returns false then: stop, do not touch it. */
#include "pool/backend.h"
#include "pool/cancel.h"
#include "pool/notify_hub.h"
#include "pool/pool.h"

#include "daemon/util/fatal.h"
#include "daemon/util/hash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What goes to the owner of the lease, if anything does. */
struct reader {
    struct backend *b;
    struct outvec out; /* of use when has_sink */
    bool has_sink;
};

static void reader_begin(struct reader *rd)
{
    const struct backend *b = rd->b;
    struct conn *sink = b->lease != NULL ? b->lease->ops->sink(b->lease) : NULL;

    rd->has_sink = sink != NULL;
    if (rd->has_sink) {
        outvec_init(&rd->out, sink, b->pool->env->loop);
    }
}

static void reader_end(struct reader *rd)
{
    if (rd->has_sink) {
        (void)outvec_flush(&rd->out); /* a broken client shows when it is read */
        rd->b->pool->db->stats.bytes_sent += rd->out.sent_bytes;
        rd->has_sink = false;
    }
}

static void forward(struct reader *rd, const void *data, size_t len)
{
    if (rd->has_sink) {
        outvec_add(&rd->out, data, len);
    }
}

static bool absurd(struct backend *b, const char *what)
{
    struct pg_error e;

    pg_error_set(&e, SQLSTATE_PROTOCOL_VIOLATION, "unexpected message from the server: %s", what);
    if (b->state == BACKEND_LOGIN || b->state == BACKEND_SETUP) {
        backend_open_failed(b, &e, false); /* counts as an attempt: not tried again at once */
    } else {
        backend_close(b, "protocol violation by the server", &e);
    }
    return false;
}

/* --- answers that are ours to give --- */

/* The head may be something that was never sent, whose answer is due now. */
static void settle(struct reader *rd)
{
    struct backend *b = rd->b;
    const struct inflight_entry *head;

    while ((head = inflight_head(&b->inflight)) != NULL && head->origin == INFLIGHT_ANSWERED) {
        uint8_t answer[FRAME_HEADER_BYTES] = {head->kind == INFLIGHT_CLOSE ? '3' : '1', 0, 0, 0, 4};

        if (rd->has_sink) {
            outvec_copy(&rd->out, answer, sizeof(answer));
        }
        inflight_pop(&b->inflight);
    }
}

static void on_void(void *arg, const struct inflight_entry *e)
{
    struct backend *b = arg;

    if (b->lease != NULL && b->lease->ops->voided != NULL) {
        b->lease->ops->voided(b->lease, e);
    }
}

/* --- single messages, each whole at @m (header first) --- */

static void close_statement_later(struct backend *b, uint32_t server_id)
{
    if (server_id != 0 && !buf_append(&b->to_close, &server_id, sizeof(server_id))) {
        b->close_needed =
            true; /* too many to remember: the server's memory is freed with the connection */
    }
}

/* The description of a statement of ours is complete: now its version is known. */
static void on_described(struct backend *b, const struct inflight_entry *e)
{
    struct prepared *p = e->prepared;
    uint64_t version = b->describe_hash | 1; /* never 0 */
    bool ok;

    if (p == NULL) {
        return;
    }
    if (p->version == 0) {
        p->version = version;
    }
    p->stmt->good_in = b->pool->db;
    if (p->server_id == e->server_id) {
        p->server_id = 0;
    }
    close_statement_later(b, stmt_cache_put(&b->stmts, p->stmt, version, e->server_id, &ok));
    if (!ok) {
        b->close_needed = true;
        return;
    }
    while (stmt_cache_count(&b->stmts) > MAX(b->pool->limits.max_prepared, 1U)) {
        close_statement_later(b, stmt_cache_evict(&b->stmts));
    }
}

static void mix_description(struct backend *b, const uint8_t *m, size_t len)
{
    if (m[0] == 't') { /* ParameterDescription comes first, then RowDescription or NoData */
        b->describe_hash = 0;
    }
    b->describe_hash =
        b->describe_hash * 0x9e3779b97f4a7c15U + hash_bytes_by(b->pool->env->version_seed, m, len);
}

static bool on_parameter(struct reader *rd, const uint8_t *m, size_t len, bool ours)
{
    struct backend *b = rd->b;
    struct wire_reader r;
    const char *name;
    const char *value;
    struct params *changed;

    wire_reader_init(&r, m + FRAME_HEADER_BYTES, len - FRAME_HEADER_BYTES);
    name = wire_get_cstr(&r);
    value = wire_get_cstr(&r);
    if (!wire_at_end(&r)) {
        return absurd(b, "malformed ParameterStatus");
    }
    if (pool_env_is_tracked(b->pool->env, name)) {
        changed = params_with(b->pool->env->params, b->params, name, value);
        if (changed == NULL) {
            b->close_needed = true; /* what is in force on it is not known any more */
        } else {
            (void)params_unref(b->params);
            b->params = changed;
        }
        if (b->lease != NULL && b->lease->ops->parameter(b->lease, name, value)) {
            forward(rd, m, len);
        }
    } else if (!ours) {
        forward(rd, m, len);
    }
    return backend_role_note(b, name, value);
}

static void on_tag(struct reader *rd, const uint8_t *m, size_t len)
{
    struct backend *b = rd->b;
    const char *tag = (const char *)m + FRAME_HEADER_BYTES;

    if (m[len - 1] == '\0' && b->lease != NULL && b->lease->ops->command != NULL &&
        (tag[0] == 'L' || b->lease->hears_commands) &&
        inflight_head(&b->inflight)->origin == INFLIGHT_OF_CLIENT) {
        b->listens = b->listens || (tag[0] == 'L' && strcmp(tag, "LISTEN") == 0);
        b->lease->ops->command(b->lease, tag);
    }
    if ((tag[0] != 'D' && tag[0] != 'R') || m[len - 1] != '\0') {
        return;
    }
    if (strcmp(tag, "DISCARD ALL") == 0 || strcmp(tag, "DEALLOCATE ALL") == 0) {
        stmt_cache_clear(&b->stmts);
        buf_clear(&b->to_close);
        b->unnamed = stmt_unref(b->unnamed);
    } else if (strcmp(tag, "DEALLOCATE") != 0 && strcmp(tag, "RESET") != 0) {
        return;
    }
    if (b->lease != NULL && b->lease->ops->session_command != NULL) {
        b->lease->ops->session_command(b->lease, tag);
    }
}

/* Sends what is collected, so that the owner may act; afterwards there may be another owner, or none. */
static void hand_over(struct reader *rd)
{
    reader_end(rd);
}

static void count_query(struct backend *b, uint8_t status)
{
    struct pool_stats *stats = &b->pool->db->stats;
    struct histogram *latency = b->pool->metrics.latency;
    usec_t now_us = clock_now_us();
    usec_t query_us = now_us - b->query_start_us;
    unsigned cell = histogram_cell_of(query_us);

    stats->query_count++;
    stats->query_time_us += query_us;
    histogram_add_to(&latency[LATENCY_QUERY], cell, query_us);
    b->query_start_us = 0;
    b->query_cancel_us = 0;
    if (status == 'I') {
        usec_t xact_us = now_us - b->xact_start_us;

        stats->xact_count++;
        stats->xact_time_us += xact_us;
        histogram_add_to(&latency[LATENCY_XACT],
                         xact_us == query_us ? cell : histogram_cell_of(xact_us), xact_us);
        b->xact_start_us = 0;
    }
    b->request_us = now_us;
}

static bool on_own_ready(struct reader *rd)
{
    struct backend *b = rd->b;

    switch (b->state) {
    case BACKEND_SETUP:
        backend_setup_ready(b);
        break;
    case BACKEND_HUB:
        notify_hub_done(b->hub, b->injected_failed);
        break;
    case BACKEND_CHECK:
    case BACKEND_CLEANING:
        backend_clean_ready(b);
        break;
    case BACKEND_ACTIVE:
        if (b->injected_failed && b->lease->ops->inject_failed != NULL) {
            (void)params_unref(b->params);
            b->params = take_ptr(b->params_undo); /* a failed statement has changed nothing */
            b->injected_failed = false;
            b->lease->ops->inject_failed(b->lease, b->last_error);
            break;
        }
        if (b->injected_failed) {
            struct pg_error e;

            pg_error_set(&e, SQLSTATE_CONNECTION_FAILURE,
                         "the session's parameters could not be set on the server: %s",
                         b->last_error != NULL ? b->last_error->message : "?");
            backend_close(b, "injected statement failed", &e);
            return false;
        }
        b->params_undo = params_unref(b->params_undo);
        if (b->lease->ops->resumed != NULL) {
            hand_over(rd);
            b->lease->ops->resumed(b->lease);
        }
        break;
    default:
        return absurd(b, "ReadyForQuery");
    }
    if (!conn_is_open(&b->conn)) {
        return false;
    }
    if (!rd->has_sink) {
        reader_begin(rd);
    }
    return true;
}

static bool resume_owner(struct reader *rd)
{
    struct backend *b = rd->b;

    if (b->lease != NULL && b->lease->ops->resumed != NULL) {
        hand_over(rd);
        b->lease->ops->resumed(b->lease);
        if (b->state == BACKEND_CLOSED) {
            return false;
        }
        reader_begin(rd);
    }
    return true;
}

static bool on_ready(struct reader *rd, const uint8_t *m, size_t len, enum inflight_origin origin)
{
    struct backend *b = rd->b;
    uint8_t status = m[FRAME_HEADER_BYTES];
    struct lease *l = b->lease;

    if (status != 'I' && status != 'T' && status != 'E') {
        return absurd(b, "ReadyForQuery with an unknown status");
    }
    b->tx_status = status;
    inflight_pop(&b->inflight);
    if (UNLIKELY(b->n_cancels > 0)) {
        cancel_look_again(b);
    }
    if (origin == INFLIGHT_INJECTED || l == NULL) {
        return on_own_ready(rd);
    }
    count_query(b, status);
    if (status != 'I' && b->pool->limits.idle_transaction_timeout_us > 0) {
        pool_wake_at(b->pool, b->request_us + b->pool->limits.idle_transaction_timeout_us);
    }
    if (l->ops->before_ready(l, status, rd->has_sink ? &rd->out : NULL) == LEASE_READY_FORWARD) {
        forward(rd, m, len);
    }
    if (b->lease != l) {
        return b->state != BACKEND_CLOSED;
    }
    if (!inflight_is_empty(&b->inflight)) {
        settle(rd);
    }
    if (!inflight_is_empty(&b->inflight)) {
        if (inflight_head(&b->inflight)->origin == INFLIGHT_OF_CLIENT) {
            b->query_start_us = clock_now_us(); /* the next one of the pipeline */
            b->xact_start_us = b->xact_start_us == 0 ? b->query_start_us : b->xact_start_us;
        }
        if (UNLIKELY(b->inflight.unsynced) && inflight_count_ready(&b->inflight) == 0) {
            return resume_owner(rd); /* it may go on with its batch only now */
        }
        return true;
    }
    hand_over(rd);
    l->ops->ready(l, status);
    (void)backend_close_if_due(b); /* seen below */
    if (b->state == BACKEND_CLOSED) {
        return false;
    }
    reader_begin(rd);
    return true;
}

/* The answer to a Sync of which a failed COPY left open whether it was read. */
static bool on_late_ready(struct reader *rd, const uint8_t *m, size_t len)
{
    struct backend *b = rd->b;
    struct lease *l = b->lease;
    uint8_t status = m[FRAME_HEADER_BYTES];

    b->tx_status = status;
    if (l == NULL) {
        backend_clean_ready(b);
        return b->state != BACKEND_CLOSED;
    }
    count_query(b, status);
    if (l->ops->before_ready(l, status, rd->has_sink ? &rd->out : NULL) == LEASE_READY_FORWARD) {
        forward(rd, m, len);
    }
    if (b->lease == l) {
        hand_over(rd);
        l->ops->ready(l, status);
    }
    if (b->state == BACKEND_CLOSED) {
        return false;
    }
    reader_begin(rd);
    return true;
}

static void forward_own(struct reader *rd, const char *sqlstate, const char *message)
{
    struct buf text = BUF_INIT(4096);

    error_msg_put_text(&text, 'E', "ERROR", sqlstate, message, NULL, NULL);
    if (rd->has_sink && buf_ok(&text)) {
        outvec_copy(&rd->out, text.data, text.len);
    }
    buf_done(&text);
}

/* What the client's own statement would have caused. */
static void forward_doom(struct reader *rd, const struct inflight_entry *e)
{
    char text[512];

    if (e->prepared == NULL && e->server_id == INFLIGHT_TOO_MANY) {
        forward_own(rd, "53400", "too many channels to listen to (max_listen_channels)");
    } else if (e->prepared == NULL) {
        forward_own(
            rd, SQLSTATE_FEATURE_NOT_SUPPORTED,
            "LISTEN is switched off in this pooling mode (notify_mode): use a session pool");
    } else if (e->kind == INFLIGHT_PARSE) {
        (void)snprintf(text, sizeof(text), "prepared statement \"%s\" already exists",
                       e->prepared->name);
        forward_own(rd, "42P05", text);
    } else {
        forward_own(rd, SQLSTATE_FEATURE_NOT_SUPPORTED, "cached plan must not change result type");
    }
}

static bool is_fatal(const uint8_t *m, size_t len)
{
    struct pg_error e;

    return error_msg_parse(m + FRAME_HEADER_BYTES, len - FRAME_HEADER_BYTES, &e) &&
           (strcmp(e.severity, "FATAL") == 0 || strcmp(e.severity, "PANIC") == 0);
}

/* The head failed, or the server says goodbye. */
static bool on_error(struct reader *rd, const uint8_t *m, size_t len, enum inflight_step step)
{
    struct backend *b = rd->b;
    const struct inflight_entry *head = inflight_head(&b->inflight);
    enum inflight_origin origin =
        head != NULL ? (enum inflight_origin)head->origin : INFLIGHT_OF_CLIENT;
    bool ours = origin == INFLIGHT_INJECTED && head->kind == INFLIGHT_QUERY;

    backend_remember_error(b, m + FRAME_HEADER_BYTES, len - FRAME_HEADER_BYTES);
    if (is_fatal(m, len)) {
        b->told_error = b->lease != NULL;
        forward(rd, m, len);
        b->close_needed = true;
        return true; /* the end of the connection follows */
    }
    if (ours) {
        b->injected_failed = true;
    } else if (b->query_cancel_us != 0 && b->last_error != NULL &&
               strcmp(b->last_error->sqlstate, SQLSTATE_QUERY_CANCELED) == 0) {
        forward_own(rd, SQLSTATE_QUERY_CANCELED, "query timeout");
    } else if (origin == INFLIGHT_DOOMED) {
        forward_doom(rd, head);
    } else if (step != INFLIGHT_NONE) {
        forward(rd, m, len);
    }
    if (step == INFLIGHT_FAILS) {
        if (!ours && b->lease != NULL && b->lease->ops->failed_query != NULL) {
            b->lease->ops->failed_query(b->lease);
        }
        inflight_fail(&b->inflight, on_void, b);
        b->close_needed = b->close_needed || inflight_is_doubtful(&b->inflight);
        settle(rd);
        if (!ours && b->lease != NULL && b->lease->ops->resumed != NULL) {
            hand_over(rd);
            b->lease->ops->resumed(
                b->lease); /* it may wait for a statement of ours that is void now */
            if (b->state == BACKEND_CLOSED) {
                return false;
            }
            reader_begin(rd);
        }
    }
    return true;
}

/* The head is answered by a message that is not a ReadyForQuery. */
static bool complete(struct reader *rd)
{
    struct backend *b = rd->b;
    const struct inflight_entry *head = inflight_head(&b->inflight);
    bool resumes = head->origin == INFLIGHT_INJECTED && head->kind == INFLIGHT_DESCRIBE_STATEMENT;

    if (resumes) {
        on_described(b, head);
    }
    inflight_pop(&b->inflight);
    settle(rd);
    if (inflight_is_empty(&b->inflight) && b->pool->limits.idle_transaction_timeout_us > 0) {
        b->request_us = clock_now_us(); /* no Sync yet, and the client may be idle from now on */
        pool_wake_at(b->pool, b->request_us + b->pool->limits.idle_transaction_timeout_us);
    }
    return !resumes || resume_owner(rd);
}

static bool is_description(uint8_t type)
{
    return type == 't' || type == 'T' || type == 'n';
}

static bool handle_message(struct reader *rd, const uint8_t *m, size_t len)
{
    struct backend *b = rd->b;
    const struct inflight_entry *head;
    enum inflight_step step;
    enum inflight_origin origin;
    uint8_t type = m[0];

    if (b->state == BACKEND_LOGIN) {
        backend_login_message(b, type, m + FRAME_HEADER_BYTES, len - FRAME_HEADER_BYTES);
        if (b->state == BACKEND_ACTIVE && !rd->has_sink) {
            reader_begin(rd); /* somebody has it now, and gets what follows */
        }
        return conn_is_open(&b->conn); /* not: closed, or on its way to another host */
    }
    step = inflight_step(&b->inflight, type);
    if (step == INFLIGHT_ABSURD) {
        return absurd(b, msg_from_server[type].name);
    }
    head = inflight_head(&b->inflight);
    origin = head != NULL ? (enum inflight_origin)head->origin : INFLIGHT_OF_CLIENT;
    if (b->lease != NULL && b->lease->ops->message != NULL && origin == INFLIGHT_OF_CLIENT) {
        b->lease->ops->message(b->lease, type, m + FRAME_HEADER_BYTES, len - FRAME_HEADER_BYTES);
    }
    switch (type) {
    case 'S':
        return on_parameter(rd, m, len, origin == INFLIGHT_INJECTED);
    case 'Z':
        return step == INFLIGHT_NONE ? on_late_ready(rd, m, len) : on_ready(rd, m, len, origin);
    case 'E':
        return on_error(rd, m, len, step);
    case 'A':
        if (b->is_hub) {
            return (notify_hub_received(b->hub, m, len) ||
                    absurd(b, "malformed NotificationResponse")) &&
                   b->state != BACKEND_CLOSED;
        }
        /* In the other modes the hub speaks for all: this goes to no client. A function may have run a LISTEN. */
        b->listens = true;
        if (b->pool->limits.mode == POOL_SESSION || b->replication != REPLICATION_NONE) {
            forward(rd, m, len);
        } else if (b->lease != NULL && b->lease->ops->notification != NULL) {
            b->lease->ops->notification(b->lease, m, len);
        }
        return true;
    case 'C':
        on_tag(rd, m, len);
        break;
    case 'G':
    case 'W':
        if (b->lease == NULL) {
            backend_abort_copy(b);
            return b->state != BACKEND_CLOSED;
        }
        forward(rd, m, len);
        return resume_owner(
            rd); /* it may have been waiting for an answer, and now the server waits for its data */
    default:
        break;
    }
    if (origin == INFLIGHT_INJECTED && head->kind == INFLIGHT_DESCRIBE_STATEMENT &&
        is_description(type)) {
        mix_description(b, m, len);
    }
    if (origin != INFLIGHT_INJECTED && step != INFLIGHT_NONE) {
        forward(rd, m, len);
    } else if (step == INFLIGHT_NONE && b->lease != NULL && type == 'N') {
        forward(rd, m, len);
    }
    return step != INFLIGHT_COMPLETES || complete(rd);
}

/* Has the message to be seen as a whole before anything is done with it? */
static bool is_gathered(const struct backend *b, const struct frame *f)
{
    const struct inflight_entry *head;

    if (b->state == BACKEND_LOGIN || (b->lease != NULL && b->lease->ops->message != NULL)) {
        return true;
    }
    switch (f->type) {
    case 'D':
    case 'd':
    case 'H':
    case 'V':
    case 'N':
        return false;
    case 'E':
        return f->total <= MSG_GATHER_MAX_BYTES;
    case 'T':
    case 't':
        /* What ends an answer is seen as a whole, so that what follows it in order follows it on the wire. */
        head = inflight_head(&b->inflight);
        return head != NULL && head->kind != INFLIGHT_QUERY && f->total <= MSG_GATHER_MAX_BYTES;
    default:
        return true;
    }
}

/* A message whose body may come in pieces: decides by the header alone what becomes of it. */
static bool begin_stream(struct reader *rd, const struct frame *f)
{
    struct backend *b = rd->b;
    enum inflight_step step = inflight_step(&b->inflight, f->type);
    const struct inflight_entry *head = inflight_head(&b->inflight);

    if (step == INFLIGHT_ABSURD) {
        return absurd(b, msg_from_server[f->type].name);
    }
    if (b->lease == NULL) {
        backend_clean_unread(b, f->total);
    }
    b->body_left = f->total;
    b->body_as = head != NULL && head->origin == INFLIGHT_INJECTED ? BACKEND_BODY_SWALLOW
                                                                   : BACKEND_BODY_FORWARD;
    if (step ==
        INFLIGHT_COMPLETES) { /* what follows in the stream follows in the order of answers too */
        return complete(rd);
    }
    if (step ==
        INFLIGHT_FAILS) { /* longer than anything that is gathered: nothing could be made of it in order */
        return absurd(b, "ErrorResponse that is too long");
    }
    return true;
}

static bool gather(struct backend *b, const uint8_t *data, size_t len)
{
    struct pg_error e;

    if (buf_append(&b->in, data, len)) {
        return true;
    }
    pg_error_set(&e, SQLSTATE_OUT_OF_MEMORY, "out of memory for a message of the server");
    backend_close(b, "out of memory", &e);
    return false;
}

/* Goes on with the message of which b->in has the beginning; moves *data on. */
static bool go_on_gathering(struct reader *rd, const uint8_t **data, size_t *len)
{
    struct backend *b = rd->b;
    struct frame f = {.total = FRAME_HEADER_BYTES};
    enum frame_verdict verdict = frame_peek(msg_from_server, b->in.data, b->in.len, &f);
    size_t take = MIN(*len, f.total - b->in.len);
    bool ok;

    if (verdict == FRAME_BAD) {
        return absurd(b, "unknown type or bad length");
    }
    if (verdict == FRAME_OK && !is_gathered(b, &f)) { /* only its header was in pieces */
        struct buf header = b->in;

        b->in = BUF_INIT((size_t)MSG_GATHER_MAX_BYTES + 1);
        ok = begin_stream(rd, &f);
        if (ok) {
            b->body_left -= num_u32(header.len);
            if (b->body_as == BACKEND_BODY_FORWARD && rd->has_sink) {
                outvec_copy(&rd->out, header.data, header.len);
            }
        }
        buf_done(&header);
        return ok;
    }
    if (!gather(b, *data, take)) {
        return false;
    }
    *data += take;
    *len -= take;
    if (verdict == FRAME_OK && b->in.len == f.total) {
        struct buf whole = b->in;

        b->in = BUF_INIT((size_t)MSG_GATHER_MAX_BYTES + 1);
        ok = handle_message(rd, whole.data, whole.len);
        reader_end(rd); /* what was forwarded lies in "whole" */
        buf_done(&whole);
        if (ok) {
            reader_begin(rd);
        }
        return ok;
    }
    return true;
}

/* LISTEN, DISCARD, DEALLOCATE, RESET, and others with these letters: on_tag() looks at them. */
static bool tag_matters(const struct lease *l, const uint8_t *m)
{
    uint8_t first = m[FRAME_HEADER_BYTES];

    return first == 'L' || first == 'D' || first == 'R' || l->hears_commands;
}

/* How many bytes of @data are whole messages that the owner gets as they are, and that concern nobody else: rows, their
 * description, the small answers of the extended protocol. That is most of what a server says. */
static inline __attribute__((always_inline)) size_t skim(struct backend *b, const uint8_t *data,
                                                         size_t len)
{
    size_t at = 0;
    struct frame f;

    if (b->lease == NULL || b->lease->ops->message != NULL || b->state != BACKEND_ACTIVE) {
        return 0;
    }
    while (frame_peek(msg_from_server, data + at, len - at, &f) == FRAME_OK &&
           f.total <= len - at && (f.type != 'C' || !tag_matters(b->lease, data + at)) &&
           inflight_skim(&b->inflight, f.type)) {
        at += f.total;
    }
    return at;
}

/* Does a ReadyForQuery end the request of a client, as it mostly does? */
static bool is_plain_end(const struct backend *b)
{
    const struct inflight_entry *head = inflight_head(&b->inflight);

    return b->state == BACKEND_ACTIVE && b->lease != NULL && b->lease->ops->message == NULL &&
           head != NULL && head->origin == INFLIGHT_OF_CLIENT &&
           inflight_ends_with_ready(head->kind) && !b->inflight.copy_in;
}

size_t backend_skim(struct backend *b, const uint8_t *data, size_t len)
{
    return skim(b, data, len);
}

bool backend_consume(struct backend *b, const uint8_t *data, size_t len)
{
    struct reader
        rd; /* not an initialiser: it would clear the out vector, some kilobytes, each time */
    struct frame f;
    bool ok = true;

    rd.b = b;
    reader_begin(&rd);
    while (ok && len > 0) {
        size_t take;

        if (b->body_left > 0) {
            take = MIN(len, (size_t)b->body_left);
            if (b->body_as == BACKEND_BODY_FORWARD) {
                forward(&rd, data, take);
            }
            b->body_left -= num_u32(take);
            data += take;
            len -= take;
            continue;
        }
        if (b->in.len > 0) {
            ok = go_on_gathering(&rd, &data, &len);
            continue;
        }
        take = skim(b, data, len);
        forward(&rd, data, take);
        data += take;
        len -= take;
        switch (frame_peek(msg_from_server, data, len, &f)) {
        case FRAME_BAD:
            ok = absurd(b, "unknown type or bad length");
            continue;
        case FRAME_PARTIAL:
            ok = len == 0 || gather(b, data, len);
            len = 0;
            continue;
        case FRAME_OK:
            break;
        }
        if (f.type == 'Z' && len >= f.total && is_plain_end(b)) {
            ok = on_ready(&rd, data, f.total, INFLIGHT_OF_CLIENT);
            data += f.total;
            len -= f.total;
        } else if (!is_gathered(b, &f)) {
            ok = begin_stream(&rd, &f);
        } else if (len < f.total) {
            ok = gather(b, data, len);
            len = 0;
        } else {
            ok = handle_message(&rd, data, f.total);
            data += f.total;
            len -= f.total;
        }
    }
    reader_end(&rd);
    return ok && conn_is_open(&b->conn);
}
