/* SPDX-License-Identifier: ISC */
#include "daemon/client_notify_internal.h"

#include "daemon/util/fatal.h"
#include "daemon/util/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct settings *notify_settings_of(const struct client *c)
{
    return &c->server->config->settings;
}

/* A client that listens already when notify_mode changes is relayed as long as it does. */
bool notify_relays(const struct client *c)
{
    return c->pool->limits.mode != POOL_SESSION &&
           (notify_settings_of(c)->notify_mode == NOTIFY_MODE_RELAY ||
            notify_n_channels(c->notify) > 0 || notify_is_active(c));
}

bool notify_refuses(const struct client *c)
{
    return c->pool->limits.mode != POOL_SESSION &&
           notify_settings_of(c)->notify_mode == NOTIFY_MODE_REFUSE;
}

static void on_close(struct loop_deferred *deferred)
{
    static const struct {
        const char *sqlstate;
        const char *text;
    } whys[] = {
        [CLOSE_HUB_LOST] = {SQLSTATE_ADMIN_SHUTDOWN,
                            "terminating connection: the server connection that listens was "
                            "lost, notifications may be missing"},
        [CLOSE_QUEUE_FULL] =
            {"53400", "too many notifications are waiting for this client (notify_queue_size)"},
        [CLOSE_UNSEEN] = {SQLSTATE_FEATURE_NOT_SUPPORTED,
                          "a LISTEN or UNLISTEN that the pooler cannot see is not relayed: send it "
                          "as a short statement of its own"},
        [CLOSE_NO_MEMORY] = {SQLSTATE_OUT_OF_MEMORY, "out of memory"},
    };
    struct client_notify *n = container_of(deferred, struct client_notify, close);

    client_close_text(n->c, whys[n->why].sqlstate, "%s", whys[n->why].text);
}

static void close_later(struct client_notify *n, enum close_why why)
{
    if (n->close.fn == NULL) { /* else: for the first reason */
        n->why = (uint8_t)why;
        loop_defer(n->c->server->loop, &n->close, on_close);
    }
}

void notify_out_of_memory(struct client *c)
{
    client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
}

static struct notify_work *new_work(struct client_notify *n)
{
    struct notify_work *w = n->work;

    if (w == NULL) {
        w = calloc(1, sizeof(*w));
        if (w == NULL) {
            return NULL;
        }
        w->queue = BUF_INIT(QUEUE_MAX_BYTES);
        w->own = BUF_INIT(QUEUE_MAX_BYTES);
        w->n = n;
        subscriber_init(&w->tentative);
        w->tentative.is_tentative = true;
        listen_log_init(&w->log);
        list_init(&w->portals);
        n->work = w;
    }
    return w;
}

/* The client's record with room for what is under way; made with the first statement that needs one. NULL: the client is
 * closed. */
struct notify_work *notify_record(struct client *c)
{
    struct client_notify *n = c->notify;
    struct notify_work *w;

    if (n == NULL) {
        n = calloc(1, sizeof(*n));
        if (n == NULL) {
            notify_out_of_memory(c);
            return NULL;
        }
        n->c = c;
        subscriber_init(&n->subscriber);
        c->notify = n;
        c->lease.hears_commands = true;
    }
    w = new_work(n);
    if (w == NULL) {
        notify_out_of_memory(c);
    }
    return w;
}

void notify_drop_portal(struct notify_work *w, struct portal *p)
{
    list_remove(&w->portals, &p->link);
    (void)stmt_unref(p->stmt);
    free(p);
}

static void drop_portals(struct notify_work *w)
{
    struct portal *p;

    list_for_each(&w->portals, p, link) {
        notify_drop_portal(w, p);
    }
}

static struct notify_work *free_work(struct notify_work *w)
{
    if (w != NULL) {
        hub_waiter_forget(&w->waiter);
        if (w->n->hub != NULL) {
            notify_hub_unsubscribe_all(w->n->hub, &w->tentative);
        }
        listen_log_done(&w->log);
        drop_portals(w);
        buf_done(&w->queue);
        buf_done(&w->own);
        free(w);
    }
    return NULL;
}

/* Gives back what is not needed between two transactions. */
static void tidy(struct client_notify *n)
{
    struct notify_work *w = n->work;

    if (w != NULL && w->queue.len == 0 && w->waiter.in == NULL && !w->has_notified &&
        !w->is_expecting && !listen_log_is_active(&w->log) && list_is_empty(&w->portals) &&
        w->tentative.subscriptions.n == 0) {
        n->work = free_work(w);
    }
}

struct client_notify *client_notify_free(struct client_notify *n)
{
    if (n == NULL) {
        return NULL;
    }
    loop_defer_cancel(n->c->server->loop, &n->close);
    if (n->hub != NULL) {
        notify_hub_unsubscribe_all(n->hub, &n->subscriber);
    }
    n->work = free_work(n->work);
    free(n);
    return NULL;
}

struct notify_work *notify_work_of(const struct client *c)
{
    return c->notify != NULL ? c->notify->work : NULL;
}

bool notify_is_active(const struct client *c)
{
    const struct notify_work *w = notify_work_of(c);

    return w != NULL && (listen_log_is_active(&w->log) || w->has_notified);
}

unsigned notify_n_channels(const struct client_notify *n)
{
    return n != NULL ? n->subscriber.subscriptions.n : 0;
}

/* --- what the server answers --- */

static bool is_last_request(const struct client *c)
{
    return inflight_count_ready(&c->lease.backend->inflight) <= 1;
}

/* Statements that run no function and no trigger, nor anything else that could notify. */
static bool is_silent(const char *tag)
{
    static const char *const tags[] = {"BEGIN",        "START TRANSACTION",
                                       "COMMIT",       "ROLLBACK",
                                       "SAVEPOINT",    "RELEASE",
                                       "SET",          "RESET",
                                       "SHOW",         "LISTEN",
                                       "UNLISTEN",     "PREPARE",
                                       "CLOSE CURSOR", "DEALLOCATE"};

    for (size_t i = 0; i < ARRAY_LEN(tags); i++) {
        if (strcmp(tags[i], tag) == 0) {
            return true;
        }
    }
    return false;
}

void client_notify_command(struct client *c, const char *tag)
{
    struct client_notify *n = c->notify;

    if (LIKELY(n == NULL && tag[0] != 'L')) {
        return; /* nothing that DISCARD ALL could undo */
    }
    if (!notify_relays(c)) {
        return;
    }
    if (n == NULL && strcmp(tag, "LISTEN") != 0) {
        return;
    }
    if (n != NULL) {
        n->may_have_notified = n->may_have_notified || !is_silent(tag);
        if (n->work == NULL && strcmp(tag, "LISTEN") != 0 && strcmp(tag, "UNLISTEN") != 0 &&
            strcmp(tag, "DISCARD ALL") != 0) {
            return; /* nothing is expected */
        }
    }
    if (notify_record(c) == NULL) {
        return;
    }
    switch (listen_log_complete(&c->notify->work->log, tag)) {
    case 0:
        return;
    case LISTEN_LOG_E_UNSEEN:
        /* From here on what it hears would not be what it asked for. */
        if (strcmp(tag, "LISTEN") == 0 || notify_n_channels(n) > 0 || notify_is_active(c)) {
            close_later(c->notify, CLOSE_UNSEEN);
        }
        return;
    default:
        notify_out_of_memory(c);
    }
}

void client_notify_error(struct client *c)
{
    struct notify_work *w = notify_work_of(c);

    if (w != NULL && is_last_request(c)) {
        listen_log_error(&w->log, w->seq);
    }
}

static void queue(struct client_notify *n, const uint8_t *msg, size_t len)
{
    struct notify_work *w = new_work(n);

    if (w != NULL && len > QUEUE_MAX_BYTES - w->queue.len) {
        close_later(n, CLOSE_QUEUE_FULL);
        return;
    }
    if (w == NULL || !buf_append(&w->queue, msg, len)) {
        close_later(n, CLOSE_NO_MEMORY);
        return;
    }
    w->n_queued++;
}

/* Applies one committed change. false: the client is closed. */
static bool apply(struct client_notify *n, const struct listen_change *change, bool *ret_wait)
{
    struct client *c = n->c;
    unsigned max = (unsigned)notify_settings_of(c)->max_listen_channels;
    bool wait = false;

    if (!notify_find_hub(n)) {
        return false;
    }
    switch (change->kind) {
    case SQL_LISTEN:
        switch (notify_hub_subscribe(n->hub, &n->subscriber, change->name, max, &wait)) {
        case 0:
            *ret_wait = *ret_wait || wait;
            return true;
        case CHANNEL_E_FULL:
            client_close_text(c, "53400", "more than %u channels (max_listen_channels)", max);
            return false;
        default:
            notify_out_of_memory(c);
            return false;
        }
    case SQL_UNLISTEN:
        notify_hub_unsubscribe(n->hub, &n->subscriber, change->name);
        return true;
    default:
        notify_hub_unsubscribe_all(n->hub, &n->subscriber);
        return true;
    }
}

void client_notify_own(struct client *c, const uint8_t *m, size_t len)
{
    struct notify_work *w = notify_work_of(c);

    if (w != NULL && w->was_deaf &&
        wire_load_u32(m + FRAME_HEADER_BYTES) == c->lease.backend->pid &&
        !buf_append(&w->own, m, len)) {
        close_later(c->notify, CLOSE_NO_MEMORY);
    }
}

/* Is it the next one of the client's own that its server connection has told? Then it is taken off. */
static bool take_own(struct notify_work *w, const uint8_t *msg, size_t len)
{
    const size_t skip = FRAME_HEADER_BYTES + 4; /* the pid is another one there */

    if (notify_message_length(&w->own, 0) != len ||
        memcmp(w->own.data + skip, msg + skip, len - skip) != 0) {
        return false;
    }
    buf_consume(&w->own, len);
    return true;
}

/* A client that begins to listen in the midst of a request gets of its own notifications those that were committed
 * together with its LISTEN or behind it. Its server connection knows which; the hub knows their order. */
static void keep_own(struct client_notify *n)
{
    struct notify_work *w = n->work;
    size_t len;
    size_t to = 0;

    for (size_t at = 0; (len = notify_message_length(&w->queue, at)) > 0; at += len) {
        const uint8_t *m = w->queue.data + at;

        if (m[0] != 'A' || wire_load_u32(m + FRAME_HEADER_BYTES) != n->c->vpid ||
            take_own(w, m, len)) {
            memmove(w->queue.data + to, m, len);
            to += len;
        } else {
            w->n_queued--;
        }
    }
    w->queue.len = to;
}

/* false: the client is closed. */
static bool apply_all(struct client_notify *n, bool *ret_wait)
{
    struct listen_change change;
    bool has_left = false;

    while (listen_log_take(&n->work->log, &change)) {
        has_left = has_left || change.kind != SQL_LISTEN;
        if (!apply(n, &change, ret_wait)) {
            return false;
        }
    }
    if (has_left) {
        notify_filter_queue(n);
    }
    return true;
}

static bool is_ascii(const char *s)
{
    while (*s != '\0' && (uint8_t)*s < 0x80) {
        s++;
    }
    return *s == '\0';
}

/* Drops the first @count subscriptions, which are at @hub. */
static void leave(struct client_notify *n, struct notify_hub *hub, unsigned count)
{
    for (; count > 0; count--) {
        char name[CHANNEL_NAME_MAX + 1];
        const struct subscription *sub = list_entry(list_first(&n->subscriber.subscriptions),
                                                    struct subscription, by_subscriber);

        memcpy(name, sub->channel->name, (size_t)sub->channel->name_len + 1);
        notify_hub_unsubscribe(hub, &n->subscriber, name);
    }
}

/* The client has changed its client_encoding: it goes to the hub that speaks it. false: the client is closed. */
static bool change_hub(struct client_notify *n, bool *ret_wait)
{
    struct notify_hub *from = n->hub;
    struct notify_hub *to = notify_hub_of(n->c->pool, notify_encoding_of(n->c));
    struct subscription *sub;

    if (to == NULL) {
        notify_out_of_memory(n->c);
        return false;
    }

    subscriber_for_each_subscription(&n->subscriber, sub)
    {
        if (!is_ascii(sub->channel->name)) {
            client_close_text(
                n->c, SQLSTATE_FEATURE_NOT_SUPPORTED,
                "client_encoding cannot change while the name of a channel is not all ASCII");
            return false;
        }
    }
    n->hub = to;
    for (unsigned left = n->subscriber.subscriptions.n; left > 0;
         left--) { /* the first ones are still at @from */
        char name[CHANNEL_NAME_MAX + 1];
        bool wait = false;

        sub = list_entry(list_first(&n->subscriber.subscriptions), struct subscription,
                         by_subscriber);
        memcpy(name, sub->channel->name, (size_t)sub->channel->name_len + 1);
        notify_hub_unsubscribe(from, &n->subscriber, name);
        if (notify_hub_subscribe(n->hub, &n->subscriber, name, 0, &wait) != 0) {
            leave(n, from, left - 1);
            notify_out_of_memory(n->c);
            return false;
        }
        *ret_wait = *ret_wait || wait;
    }
    return true;
}

static void put_queue(struct client_notify *n, struct outvec *out)
{
    struct notify_work *w = n->work;

    if (out != NULL) {
        outvec_copy(out, w->queue.data, w->queue.len);
    }
    buf_done(&w->queue);
    w->n_queued = 0;
}

/* Goes to the next hub that a NOTIFY of the client has to have passed. false: it has passed all. */
static bool wait_for_barrier(struct client_notify *n)
{
    struct notify_work *w = n->work;

    w->barrier = notify_hub_next_listening(n->c->pool, w->barrier);
    if (w->barrier != NULL) {
        notify_hub_wait(w->barrier, &w->waiter);
    }
    return w->barrier != NULL;
}

static void hears_again(struct notify_work *w)
{
    w->was_deaf = false;
    buf_done(&w->own);
}

void notify_on_hub_done(struct hub_waiter *waiter, bool ok)
{
    struct notify_work *w = container_of(waiter, struct notify_work, waiter);
    struct client_notify *n = w->n;

    if (!ok && notify_settings_of(n->c)->notify_gap == NOTIFY_GAP_DISCONNECT &&
        (notify_n_channels(n) > 0 || w->is_announcing)) {
        close_later(n, CLOSE_HUB_LOST);
        return;
    }
    if (!ok && n->hub != NULL && notify_hub_gap(n->hub) != 0 &&
        (notify_n_channels(n) > 0 || w->is_announcing)) {
        client_notify_gap(&n->subscriber, notify_hub_gap(n->hub), false);
    }
    if (w->is_asking) {
        w->is_asking = false;
        if (n->c->lease.state == LEASE_HELD) {
            n->c->lease.backend->owner_pid = n->c->vpid;
        }
        client_hub_go_on(n->c);
        return;
    }
    if (w->is_announcing) {
        w->is_announcing = false;
        w->is_announced = true;
        client_hub_go_on(n->c);
        return;
    }
    if (w->needs_barrier && wait_for_barrier(n)) {
        return;
    }
    w->needs_barrier = false;
    hears_again(w);
    client_ready_go_on(n->c);
}

/* @for_listen: a LISTEN that the hub was not told of beforehand. false: there is nothing to wait for. */
static bool wait_for_hub(struct client_notify *n, bool for_listen, bool needs_barrier)
{
    struct notify_work *w = new_work(n);

    if (w == NULL) {
        close_later(n, CLOSE_NO_MEMORY);
        return false;
    }
    w->waiter.done = notify_on_hub_done;
    w->needs_barrier = needs_barrier;
    w->barrier = NULL;
    if (for_listen) {
        notify_hub_wait(n->hub, &w->waiter);
        return true;
    }
    return wait_for_barrier(n);
}

/* The transaction is over: did it notify, so that it has to pass the hubs? */
static bool needs_barrier(struct client_notify *n)
{
    struct notify_work *w = n->work;
    bool has = (w != NULL && w->has_notified) || (n->may_have_notified && notify_n_channels(n) > 0);

    n->may_have_notified = false;
    if (w != NULL) {
        w->has_notified = false;
        w->is_announced = false;
        drop_portals(w);
        if (n->hub != NULL) {
            notify_hub_unsubscribe_all(n->hub, &w->tentative);
        }
    }
    return has && notify_hub_next_listening(n->c->pool, NULL) != NULL;
}

enum lease_ready client_notify_ready(struct client *c, uint8_t status, struct outvec *out)
{
    struct client_notify *n = c->notify;
    struct notify_work *w = n->work;
    bool for_listen = false;
    bool for_barrier;

    /* Only the last one counts: whoever listens or notifies has no more than one request on its way. Nor does it count
     * when a batch behind it has begun, whose expectations are in the log already. */
    if (inflight_count_ready(&c->lease.backend->inflight) > 0 ||
        c->lease.backend->inflight.unsynced) {
        return LEASE_READY_FORWARD;
    }
    if (w != NULL && listen_log_ready(&w->log, w->seq, (char)status) &&
        !apply_all(n, &for_listen)) {
        return LEASE_READY_HOLD;
    }
    if (notify_n_channels(n) > 0 && !notify_hub_has_encoding(n->hub, notify_encoding_of(c)) &&
        !change_hub(n, &for_listen)) {
        return LEASE_READY_HOLD;
    }
    if (w != NULL && status == 'I' && w->tentative.subscriptions.n > 0) {
        if (w->was_deaf) {
            keep_own(n);
        }
        notify_filter_queue(n);
    }
    for_barrier = status == 'I' && needs_barrier(n);
    if ((for_listen || for_barrier) && wait_for_hub(n, for_listen, for_barrier)) {
        return LEASE_READY_HOLD;
    }
    if (n->work != NULL && status == 'I') {
        hears_again(n->work);
        if (n->work->queue.len > 0) {
            put_queue(n, out);
        }
        tidy(n);
    }
    return LEASE_READY_FORWARD;
}

void client_notify_flush(struct client *c, struct buf *out)
{
    struct client_notify *n = c->notify;

    if (n == NULL || n->work == NULL) {
        return;
    }
    if (n->work->queue.len > 0) {
        (void)!buf_append(out, n->work->queue.data,
                          n->work->queue.len); /* the failure sticks in @out */
        put_queue(n, NULL);
    }
    tidy(n);
}

/* --- what the hub tells --- */

static bool may_be_told_now(const struct client *c)
{
    return (c->state == CLIENT_IDLE || c->state == CLIENT_WAITING) &&
           (c->moving == 0 || c->server->takeover == NULL) && /* it is not ours yet */
           conn_queued(&c->conn) < CONN_LOW_BYTES;
}

void client_notify_writable(struct client *c)
{
    struct client_notify *n = c->notify;

    if (n != NULL && n->work != NULL && n->work->queue.len > 0 && may_be_told_now(c)) {
        struct buf all = n->work->queue;

        n->work->queue = BUF_INIT(QUEUE_MAX_BYTES);
        n->work->n_queued = 0;
        tidy(n);
        client_send_buf(c, &all);
    }
}

/* Now when the client is idle, else when its transaction ends. */
static void send_or_queue(struct client_notify *n, const uint8_t *msg, size_t len)
{
    struct client *c = n->c;

    if ((n->work != NULL && n->work->queue.len > 0) || !may_be_told_now(c)) {
        queue(n, msg, len);
    } else if (!client_try_send(c, msg, len)) {
        close_later(n, CLOSE_NO_MEMORY);
    }
}

/* Whose it is, in one way or the other. */
static struct client_notify *owner_of(struct subscriber *s)
{
    return s->is_tentative ? container_of(s, struct notify_work, tentative)->n
                           : container_of(s, struct client_notify, subscriber);
}

/* May this belong to what runs just now, and be told if that commits its LISTEN? */
static bool is_early(const struct client *c)
{
    return c->lease.state == LEASE_HELD && !inflight_is_empty(&c->lease.backend->inflight);
}

enum notify_fate client_notify_deliver(struct subscriber *to, const uint8_t *msg, size_t len)
{
    struct client_notify *n = owner_of(to);
    struct notify_work *w = n->work;
    struct client *c = n->c;
    bool is_full = w != NULL && w->n_queued >= (unsigned)notify_settings_of(c)->notify_queue_size;

    if (n->close.fn != NULL) {
        return NOTIFY_DROPPED;
    }
    if (to->is_tentative && (!is_early(c) || notify_listens_to(n, notify_channel_of(msg)))) {
        return NOTIFY_NOT_YET;
    }
    if (w != NULL && w->was_deaf && w->tentative.subscriptions.n == 0 &&
        wire_load_u32(msg + FRAME_HEADER_BYTES) == c->vpid && !take_own(w, msg, len)) {
        return NOTIFY_NOT_YET; /* before the barrier: see keep_own() */
    }
    if (is_full) {
        client_log(c, LOG_WARNING_LEVEL, "notification queue is full: %u messages wait",
                   w->n_queued);
        close_later(n, CLOSE_QUEUE_FULL);
        return NOTIFY_DROPPED;
    }
    send_or_queue(n, msg, len);
    if (n->close.fn != NULL) {
        return NOTIFY_DROPPED;
    }
    return n->work != NULL && n->work->queue.len > 0 ? NOTIFY_QUEUED : NOTIFY_TOLD;
}

/* Who has begun to listen since the loss has missed nothing by it, and is not told that it is over. */
void client_notify_gap(struct subscriber *to, uint32_t gap, bool again)
{
    struct client_notify *n = owner_of(to);
    struct buf msg = BUF_INIT(1024);

    if (notify_settings_of(n->c)->notify_gap == NOTIFY_GAP_DISCONNECT) {
        if (!again) {
            close_later(n, CLOSE_HUB_LOST);
        }
        return;
    }
    if (gap != 0 && (n->gap == gap) != again) {
        return;
    }
    n->gap = again ? 0 : gap;
    error_msg_put_text(&msg, 'N', "WARNING", SQLSTATE_WARNING,
                       again ? "listening again; notifications sent in the meantime are lost"
                             : "the server connection that listens was lost; notifications may be "
                               "missing until it listens again",
                       NULL, NULL);
    if (buf_ok(&msg)) {
        send_or_queue(n, msg.data, msg.len);
    }
    buf_done(&msg);
}

unsigned client_notify_channels(const struct client *c)
{
    return notify_n_channels(c->notify);
}
