/* SPDX-License-Identifier: ISC */
#include "daemon/client_notify.h"

#include "daemon/util/fatal.h"
#include "daemon/util/log.h"
#include "pool/listen_log.h"
#include "pool/notify_hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A longer text is not scanned: a LISTEN in a megabyte of SQL is not seen, and so not relayed. */
#define SCAN_MAX_BYTES ((uint32_t)1 << 20)
/* Bytes of notifications that wait for one client, whatever their number. */
#define QUEUE_MAX_BYTES ((size_t)16 << 20)

struct client_notify {
    struct client *c;
    struct subscriber subscriber;
    struct listen_log log;
    uint32_t seq;           /* of the last request that the log was told of */
    bool has_notified;      /* the open transaction has a text with "notify" in it */
    bool is_expecting;      /* statements since the last Sync are in the log, or notify */
    bool has_listened;      /* the transaction that has just ended subscribed to something */
    struct stmt *bound;     /* what was bound last, when it matters; owned reference */
    struct buf queue;       /* whole messages that wait for the end of the transaction, or for room in the socket */
    unsigned n_queued;
    struct buf own;         /* what the client's own server connection told of its own NOTIFYs in this transaction */
    struct hub_waiter waiter;
    struct loop_deferred close; /* a client is never closed while the hub walks its subscribers */
    struct pg_error why;
};

static const struct settings *settings_of(const struct client *c)
{
    return &c->server->config->settings;
}

static bool relays(const struct client *c)
{
    return c->pool->limits.mode != POOL_SESSION && settings_of(c)->notify_mode == NOTIFY_MODE_RELAY;
}

static bool refuses(const struct client *c)
{
    return c->pool->limits.mode != POOL_SESSION && settings_of(c)->notify_mode == NOTIFY_MODE_REFUSE;
}

static void on_close(struct loop_deferred *work)
{
    struct client_notify *n = container_of(work, struct client_notify, close);

    client_close(n->c, &n->why);
}

static void close_later(struct client_notify *n, const char *sqlstate, const char *text)
{
    pg_error_set(&n->why, sqlstate, "%s", text);
    loop_defer(n->c->server->loop, &n->close, on_close);
}

static void out_of_memory(struct client *c)
{
    client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
}

/* The client's record; made with the first statement that needs one. NULL: the client is closed. */
static struct client_notify *record(struct client *c)
{
    struct client_notify *n = c->notify;

    if (n != NULL) {
        return n;
    }
    n = calloc(1, sizeof(*n));
    if (n == NULL) {
        out_of_memory(c);
        return NULL;
    }
    n->c = c;
    n->queue = BUF_INIT(QUEUE_MAX_BYTES);
    n->own = BUF_INIT(QUEUE_MAX_BYTES);
    subscriber_init(&n->subscriber);
    listen_log_init(&n->log);
    c->notify = n;
    return n;
}

struct client_notify *client_notify_free(struct client_notify *n)
{
    if (n == NULL) {
        return NULL;
    }
    hub_waiter_forget(&n->waiter);
    loop_defer_cancel(n->c->server->loop, &n->close);
    if (n->c->pool != NULL && n->c->pool->hub != NULL) {
        notify_hub_unsubscribe_all(n->c->pool->hub, &n->subscriber);
    }
    listen_log_done(&n->log);
    n->bound = stmt_unref(n->bound);
    buf_done(&n->queue);
    buf_done(&n->own);
    free(n);
    return NULL;
}

static bool is_active(const struct client *c)
{
    return c->notify != NULL && (listen_log_is_active(&c->notify->log) || c->notify->has_notified);
}

/* --- what the client sends --- */

/* true: noted. false: the client is closed. */
static bool expect(struct client *c, const struct sql_statement *st)
{
    switch (listen_log_expect(&c->notify->log, c->notify->seq, st)) {
    case 0:
        return true;
    case LISTEN_LOG_E_FULL:
        client_close_text(c, SQLSTATE_PROGRAM_LIMIT_EXCEEDED, "more than %u LISTEN and SAVEPOINT statements in one transaction",
                          LISTEN_LOG_MAX);
        return false;
    default:
        out_of_memory(c);
        return false;
    }
}

static bool expect_all(struct client *c, const char *text, size_t len)
{
    struct sql_lexer lx;
    struct sql_statement st;

    sql_lexer_init(&lx, text, len, 0);
    while (sql_statement_next(&lx, &st)) {
        if (!expect(c, &st)) {
            return false;
        }
    }
    return true;
}

static bool has_listen(const char *text, size_t len)
{
    struct sql_lexer lx;
    struct sql_statement st;

    sql_lexer_init(&lx, text, len, 0);
    while (sql_statement_next(&lx, &st)) {
        if (st.kind == SQL_LISTEN) {
            return true;
        }
    }
    return false;
}

static bool notifies(const struct client *c, const char *text, size_t len, bool listens)
{
    return (listens || notify_hub_is_used(c->pool)) && sql_might_contain(text, len, "notify");
}

enum notify_verdict client_notify_query(struct client *c, const uint8_t *m, size_t len, const struct frame *f)
{
    const char *text = (const char *)m + FRAME_HEADER_BYTES;
    size_t text_len = f->total - FRAME_HEADER_BYTES - 1;
    bool listens;
    bool notes;
    bool was_active;

    if ((!relays(c) && !refuses(c)) || f->total > SCAN_MAX_BYTES) {
        return NOTIFY_GO_ON;
    }
    if (len < f->total) {
        return NOTIFY_MORE;
    }
    listens = sql_might_contain(text, text_len, "listen");
    if (refuses(c)) {
        return listens && has_listen(text, text_len) ? NOTIFY_REFUSE : NOTIFY_GO_ON;
    }
    was_active = is_active(c);
    notes = notifies(c, text, text_len, listens || was_active);
    if (LIKELY(!listens && !notes && !was_active)) {
        return NOTIFY_GO_ON;
    }
    if (record(c) == NULL) {
        return NOTIFY_CLOSED;
    }
    c->notify->has_notified = c->notify->has_notified || notes;
    c->notify->seq++;
    if ((listens || listen_log_is_active(&c->notify->log)) && !expect_all(c, text, text_len)) {
        return NOTIFY_CLOSED;
    }
    return NOTIFY_ALONE;
}

static size_t text_length(const struct stmt *stmt)
{
    return strnlen((const char *)stmt->body, stmt->body_len);
}

/* What the text has in it is found out once. */
static void scan(struct stmt *stmt)
{
    size_t len = text_length(stmt);

    if (stmt->is_scanned) {
        return;
    }
    stmt->is_scanned = true;
    stmt->listens = sql_might_contain((const char *)stmt->body, len, "listen");
    stmt->notifies = sql_might_contain((const char *)stmt->body, len, "notify");
}

enum notify_verdict client_notify_parse(const struct client *c, struct stmt *stmt)
{
    if (stmt == NULL || !refuses(c)) {
        return NOTIFY_GO_ON;
    }
    scan(stmt);
    return stmt->listens && has_listen((const char *)stmt->body, text_length(stmt)) ? NOTIFY_REFUSE : NOTIFY_GO_ON;
}

void client_notify_bind(struct client *c, struct stmt *stmt)
{
    bool matters;

    if (!relays(c)) {
        return;
    }
    if (stmt != NULL) {
        scan(stmt);
    }
    matters = stmt != NULL && (stmt->listens || (stmt->notifies && (notify_hub_is_used(c->pool) || is_active(c))) ||
                               is_active(c));
    if (LIKELY(!matters)) {
        if (UNLIKELY(c->notify != NULL)) {
            c->notify->bound = stmt_unref(c->notify->bound);
        }
        return;
    }
    if (record(c) != NULL) {
        (void)stmt_unref(c->notify->bound);
        c->notify->bound = stmt_ref(stmt);
    }
}

enum notify_verdict client_notify_execute(struct client *c)
{
    struct client_notify *n = c->notify;
    const char *text;
    size_t len;

    if (LIKELY(n == NULL) || n->bound == NULL) {
        return NOTIFY_GO_ON;
    }
    text = (const char *)n->bound->body;
    len = text_length(n->bound);
    if (!n->is_expecting) {
        n->is_expecting = true;
        n->seq++;
    }
    n->has_notified = n->has_notified || n->bound->notifies;
    if ((n->bound->listens || listen_log_is_active(&n->log)) && !expect_all(c, text, len)) {
        return NOTIFY_CLOSED;
    }
    return NOTIFY_GO_ON;
}

enum notify_verdict client_notify_sync(struct client *c)
{
    struct client_notify *n = c->notify;

    if (LIKELY(n == NULL) || (!n->is_expecting && !is_active(c))) {
        return NOTIFY_GO_ON;
    }
    if (!n->is_expecting) {
        n->seq++;
    }
    n->is_expecting = false;
    return NOTIFY_ALONE;
}

/* --- what the server answers --- */

static bool is_last_request(const struct client *c)
{
    return inflight_count_ready(&c->lease.backend->inflight) <= 1;
}

void client_notify_command(struct client *c, const char *tag)
{
    struct client_notify *n = c->notify;

    if (LIKELY(n == NULL) && (tag[0] != 'L' || !relays(c))) {
        return; /* nothing that DISCARD ALL could undo */
    }
    if (n == NULL && strcmp(tag, "LISTEN") != 0) {
        return;
    }
    if (record(c) == NULL) {
        return;
    }
    switch (listen_log_complete(&c->notify->log, tag)) {
    case 0:
        return;
    case LISTEN_LOG_E_UNSEEN: {
        char text[] = "a LISTEN that the pooler could not see is not relayed: send it as a statement of its own";

        client_log(c, LOG_WARNING_LEVEL, "%s", text);
        return;
    }
    default:
        out_of_memory(c);
    }
}

void client_notify_error(struct client *c)
{
    struct client_notify *n = c->notify;

    if (n != NULL && is_last_request(c)) {
        listen_log_error(&n->log, n->seq);
        buf_clear(&n->own);
    }
}

/* The next message in a row of whole ones; 0: no more. */
static size_t message_length(const struct buf *b, size_t at)
{
    return at + FRAME_HEADER_BYTES <= b->len ? wire_load_u32(b->data + at + 1) + 1 : 0;
}

static const char *channel_of(const uint8_t *m)
{
    return (const char *)m + FRAME_HEADER_BYTES + 4;
}

void client_notify_own(struct client *c, const uint8_t *m, size_t len)
{
    struct client_notify *n = c->notify;

    /* Only its own: what others sent comes from the hub. */
    if (n != NULL && relays(c) && memchr(channel_of(m), 0, len - FRAME_HEADER_BYTES - 4) != NULL &&
        wire_load_u32(m + FRAME_HEADER_BYTES) == c->lease.backend->pid) {
        (void)!buf_append(&n->own, m, len); /* out of memory: it is one notification less */
    }
}

static bool is_in_own(const struct client_notify *n, const char *channel)
{
    size_t len;

    for (size_t at = 0; (len = message_length(&n->own, at)) > 0; at += len) {
        if (strcmp(channel_of(n->own.data + at), channel) == 0) {
            return true;
        }
    }
    return false;
}

static bool listens_to(const struct client_notify *n, const char *channel)
{
    const struct channel *ch =
        n->c->pool->hub != NULL ? channel_find(notify_hub_channels(n->c->pool->hub), channel) : NULL;

    return ch != NULL && channel_has_subscriber(notify_hub_channels(n->c->pool->hub), ch, &n->subscriber);
}

/* A transaction that listens and notifies the same channel gets its own: from its own server connection, since the hub
 * may not have been listening yet. */
static void take_own(struct client_notify *n)
{
    size_t len;

    for (size_t at = 0; (len = message_length(&n->own, at)) > 0; at += len) {
        uint8_t *m = n->own.data + at;

        if (n->has_listened && listens_to(n, channel_of(m))) {
            wire_store_u32(m + FRAME_HEADER_BYTES, n->c->vpid);
            (void)!buf_append(&n->queue, m, len); /* out of memory: it is one notification less */
        }
    }
}

/* Applies one committed change. false: the client is closed. */
static bool apply(struct client_notify *n, const struct listen_change *change, bool *ret_wait)
{
    struct client *c = n->c;
    struct notify_hub *hub = notify_hub_of(c->pool);
    unsigned max = (unsigned)settings_of(c)->max_listen_channels;
    bool wait = false;

    if (hub == NULL) {
        out_of_memory(c);
        return false;
    }
    switch (change->kind) {
    case SQL_LISTEN:
        switch (notify_hub_subscribe(hub, &n->subscriber, change->name, max, &wait)) {
        case 0:
            *ret_wait = *ret_wait || wait;
            n->has_listened = true;
            return true;
        case CHANNEL_E_FULL:
            client_close_text(c, "53400", "more than %u channels (max_listen_channels)", max);
            return false;
        default:
            out_of_memory(c);
            return false;
        }
    case SQL_UNLISTEN:
        notify_hub_unsubscribe(hub, &n->subscriber, change->name);
        return true;
    default:
        notify_hub_unsubscribe_all(hub, &n->subscriber);
        return true;
    }
}

static void on_hub_done(struct hub_waiter *w, bool ok)
{
    struct client_notify *n = container_of(w, struct client_notify, waiter);
    struct client *c = n->c;

    if (!ok && settings_of(c)->notify_gap == NOTIFY_GAP_DISCONNECT) {
        close_later(n, SQLSTATE_ADMIN_SHUTDOWN, "terminating connection: the server connection that listens was lost");
        return;
    }
    take_own(n);
    n->has_listened = false;
    buf_done(&n->own);
    client_ready_go_on(c);
}

/* false: the client is closed. */
static bool apply_all(struct client_notify *n, bool *ret_wait)
{
    struct listen_change change;

    while (listen_log_take(&n->log, &change)) {
        if (!apply(n, &change, ret_wait)) {
            return false;
        }
    }
    return true;
}

static void put_queue(struct client_notify *n, struct outvec *out)
{
    if (out != NULL) {
        outvec_copy(out, n->queue.data, n->queue.len);
    }
    buf_done(&n->queue);
    n->n_queued = 0;
}

enum lease_ready client_notify_ready(struct client *c, uint8_t status, struct outvec *out)
{
    struct client_notify *n = c->notify;
    bool is_last = inflight_count_ready(&c->lease.backend->inflight) == 0;
    bool wait = false;

    if (is_last && listen_log_ready(&n->log, n->seq, (char)status) && !apply_all(n, &wait)) {
        return LEASE_READY_HOLD;
    }
    if (status != 'I' || !is_last) {
        return LEASE_READY_FORWARD;
    }
    wait = wait || (n->has_notified && notify_hub_is_used(c->pool));
    n->has_notified = false;
    if (wait) {
        n->waiter.done = on_hub_done;
        notify_hub_wait(c->pool->hub, &n->waiter);
        return LEASE_READY_HOLD;
    }
    take_own(n);
    n->has_listened = false;
    buf_done(&n->own);
    if (n->queue.len > 0) {
        put_queue(n, out);
    }
    return LEASE_READY_FORWARD;
}

void client_notify_flush(struct client *c, struct buf *out)
{
    struct client_notify *n = c->notify;

    if (n != NULL && n->queue.len > 0) {
        (void)!buf_append(out, n->queue.data, n->queue.len); /* the failure sticks in @out */
        buf_done(&n->queue);
        n->n_queued = 0;
    }
}

/* --- what the hub tells --- */

static bool may_be_told_now(const struct client *c)
{
    return (c->state == CLIENT_IDLE || c->state == CLIENT_WAITING) && conn_queued(&c->conn) < CONN_LOW_BYTES;
}

void client_notify_writable(struct client *c)
{
    struct client_notify *n = c->notify;

    if (n != NULL && n->queue.len > 0 && may_be_told_now(c)) {
        struct buf all = n->queue;

        n->queue = BUF_INIT(QUEUE_MAX_BYTES);
        n->n_queued = 0;
        client_send_buf(c, &all);
    }
}

void client_notify_deliver(struct subscriber *to, const uint8_t *msg, size_t len)
{
    struct client_notify *n = container_of(to, struct client_notify, subscriber);
    struct client *c = n->c;

    if (n->has_listened && wire_load_u32(msg + FRAME_HEADER_BYTES) == c->vpid && is_in_own(n, channel_of(msg))) {
        return; /* it comes from its own server connection: take_own() */
    }
    if (n->queue.len == 0 && may_be_told_now(c)) {
        if (!conn_send(&c->conn, c->server->loop, msg, len)) {
            close_later(n, SQLSTATE_OUT_OF_MEMORY, "out of memory");
        }
        return;
    }
    if (n->n_queued >= (unsigned)settings_of(c)->notify_queue_size || !buf_append(&n->queue, msg, len)) {
        client_log(c, LOG_WARNING_LEVEL, "notification queue is full: %u messages wait", n->n_queued);
        close_later(n, "53400", "too many notifications are waiting for this client (notify_queue_size)");
        return;
    }
    n->n_queued++;
}

void client_notify_gap(struct subscriber *to, bool again)
{
    struct client_notify *n = container_of(to, struct client_notify, subscriber);
    struct client *c = n->c;
    struct buf msg = BUF_INIT(1024);

    if (settings_of(c)->notify_gap == NOTIFY_GAP_DISCONNECT) {
        if (!again) {
            close_later(n, SQLSTATE_ADMIN_SHUTDOWN,
                        "terminating connection: the server connection that listens was lost, notifications may be missing");
        }
        return;
    }
    error_msg_put_text(&msg, 'N', "WARNING", SQLSTATE_WARNING,
                       again ? "listening again; notifications sent in the meantime are lost"
                             : "the server connection that listens was lost; notifications may be missing until it listens again",
                       NULL, NULL);
    if (buf_ok(&msg) && !conn_send(&c->conn, c->server->loop, msg.data, msg.len)) {
        close_later(n, SQLSTATE_OUT_OF_MEMORY, "out of memory");
    }
    buf_done(&msg);
}

unsigned client_notify_channels(const struct client *c)
{
    return c->notify != NULL ? c->notify->subscriber.subscriptions.n : 0;
}
