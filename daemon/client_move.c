/* SPDX-License-Identifier: ISC */
#include "daemon/client_move.h"

#include "daemon/client_notify_internal.h"
#include "daemon/reload.h"
#include "pool/backend_move.h"
#include "protocol/cancel_key.h"

#include "daemon/util/fatal.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What waits of one client, at most, so that it fits into a record. */
#define IN_MAX_BYTES ((size_t)1 << 20)

/* Notifications of one client; with more it stays until its transaction is over. */
#define QUEUE_MAX_MOVED ((size_t)256 * 1024)

/* --- the old process --- */

/* Nothing of LISTEN and NOTIFY is under way. */
static bool is_silent(const struct client *c)
{
    const struct notify_work *w = notify_work_of(c);

    return w == NULL ||
           ((w->queue.len == 0 || (c->state == CLIENT_ACTIVE && w->queue.len <= QUEUE_MAX_MOVED)) &&
            w->waiter.in == NULL && !w->has_notified && !w->is_expecting && !w->is_announcing &&
            !w->was_deaf && !listen_log_is_active(&w->log) && list_is_empty(&w->portals));
}

static bool is_between_requests(const struct client *c)
{
    switch ((enum client_state)c->state) {
    case CLIENT_STARTUP:
        return !c->u.login->in_handshake && !c->u.login->is_busy && c->u.login->auth == NULL;
    case CLIENT_LOGIN:
        return c->lease.state == LEASE_WAITING;
    case CLIENT_IDLE:
        return c->hold == HOLD_NONE;
    case CLIENT_WAITING:
        return c->hold == HOLD_LEASE;
    case CLIENT_ACTIVE:
        return c->hold == HOLD_NONE && c->lease.state == LEASE_HELD &&
               backend_may_move(c->lease.backend);
    case CLIENT_AUTH:
    case CLIENT_CONSOLE:
    case CLIENT_CANCEL:
    case CLIENT_CLOSED:
    case CLIENT_STATES:
        return false;
    }
    unreachable();
}

bool client_freeze(struct client *c)
{
    if (c->hold == HOLD_TAKEOVER) {
        return true;
    }
    if (c->conn.tls != NULL || c->replication != REPLICATION_NONE || c->close_after ||
        c->body_left > 0 || (c->in != NULL && c->in->len > IN_MAX_BYTES) || !is_silent(c) ||
        !is_between_requests(c)) {
        return false;
    }
    if (c->lease.state == LEASE_WAITING) {
        lease_abandon(&c->lease); /* lease.since_us stays: since when it waits */
    } else if (c->lease.state == LEASE_NONE) {
        c->lease.since_us = 0;
    } else {
        backend_want_read(c->lease.backend, false);
    }
    if (c->state == CLIENT_WAITING) {
        client_set_state(c, CLIENT_IDLE);
    }
    c->hold = HOLD_TAKEOVER;
    conn_want_read(&c->conn, c->server->loop, false);
    conn_watch_end(&c->conn, c->server->loop, false);
    return true;
}

bool client_may_move(const struct client *c)
{
    return c->hold == HOLD_TAKEOVER && conn_queued(&c->conn) == 0 && !c->conn.broken &&
           is_silent(c) && (c->in == NULL || c->in->len <= IN_MAX_BYTES) &&
           (c->lease.state == LEASE_NONE || backend_may_move(c->lease.backend));
}

const struct buf *client_queue(const struct client *c)
{
    static const struct buf nothing;
    const struct notify_work *w = notify_work_of(c);

    return w == NULL ? &nothing : &w->queue;
}

static void pack_login(const struct client *c, struct takeover_client *ret)
{
    const struct client_login *l = c->u.login;

    ret->flags |= (uint8_t)((l->tls_tried ? TAKEOVER_TLS_TRIED : 0) |
                            (l->gss_tried ? TAKEOVER_GSS_TRIED : 0) |
                            (l->expects_proxy ? TAKEOVER_EXPECTS_PROXY : 0));
    if (c->state == CLIENT_STARTUP) {
        ret->kind = TAKEOVER_CLIENT_RAW;
        ret->in = (struct takeover_bytes){l->packet.data, l->packet.len};
        return;
    }
    ret->kind = TAKEOVER_CLIENT_LOGIN;
    ret->version = l->version;
    ret->reply = (struct takeover_bytes){l->reply.data, l->reply.len};
    ret->user = l->user;
    params_pack(l->want, &ret->params);
}

void client_pack(const struct client *c, struct takeover_client *ret)
{
    *ret = (struct takeover_client){.kind = TAKEOVER_CLIENT_SESSION, .id = c->id};
    ret->flags =
        (uint8_t)((c->is_unix ? TAKEOVER_IS_UNIX : 0) | (c->skipping ? TAKEOVER_SKIPPING : 0) |
                  (c->reapply ? TAKEOVER_REAPPLY : 0));
    ret->family = c->family == AF_INET ? 4 : c->family == AF_INET6 ? 6 : 0;
    ret->port = c->port;
    ret->addr = (struct takeover_bytes){c->addr, sizeof(c->addr)};
    ret->connect_us = c->connect_us;
    ret->request_us = c->request_us;
    ret->wait_us = c->lease.state == LEASE_HELD ? 0 : c->lease.since_us;
    ret->database = c->database != NULL ? c->database->name : "";
    ret->user = c->user != NULL ? c->user->name : "";
    if (c->in != NULL) {
        ret->in = (struct takeover_bytes){c->in->data, c->in->len};
    }
    if (c->state == CLIENT_STARTUP || c->state == CLIENT_LOGIN) {
        pack_login(c, ret);
        return;
    }
    if (c->notify != NULL && c->notify->may_have_notified) {
        ret->flags |= TAKEOVER_MAY_HAVE_NOTIFIED;
    }
    ret->vpid = c->vpid;
    if (c->has_long_key) {
        ret->long_key = (struct takeover_bytes){c->key.of_many, CANCEL_KEY_LONG_BYTES};
    } else {
        ret->cancel_key = wire_load_u32(c->key.of_four);
    }
    ret->unnamed = c->unnamed != NULL ? c->unnamed->sent_as : 0;
    ret->backend = c->lease.state == LEASE_HELD ? c->lease.backend->id : 0;
    params_pack(c->params, &ret->params);
    params_pack(c->startup, &ret->startup);
}

/* --- the new process --- */

static struct client *refuse(struct client *c, const char **ret_why, const char *why)
{
    if (c != NULL) {
        conn_done(&c->conn, c->server->loop); /* the socket itself is still the old process's */
        client_close_quiet(c, why);
    }
    *ret_why = why;
    return NULL;
}

static bool put_in(struct client *c, struct takeover_bytes bytes)
{
    if (bytes.len == 0) {
        return true;
    }
    c->in = calloc(1, sizeof(*c->in));
    if (c->in == NULL) {
        return false;
    }
    c->in->max = (size_t)MSG_GATHER_MAX_BYTES + 2 * ENV_SCRATCH_BYTES;
    return buf_append(c->in, bytes.data, bytes.len);
}

/* Common to all kinds. */
static struct client *make(struct server *s, const struct takeover_client *t, int fd)
{
    struct sockaddr_storage none = {.ss_family = AF_UNIX};
    struct client *c = client_new(s, NULL, fd, (const struct sockaddr *)(const void *)&none);

    if (c == NULL) {
        return NULL;
    }
    conn_want_read(&c->conn, s->loop, false);
    c->hold = HOLD_TAKEOVER;
    c->id = t->id;
    c->is_unix = (t->flags & TAKEOVER_IS_UNIX) != 0;
    c->family = t->family == 4 ? AF_INET : t->family == 6 ? AF_INET6 : AF_UNIX;
    c->port = t->port;
    memcpy(c->addr, t->addr.data, sizeof(c->addr));
    c->connect_us = t->connect_us;
    c->request_us = t->request_us;
    return c;
}

/* Whose it is, and in which pool. A text: it cannot stay. */
static const char *find_place(struct client *c, const struct takeover_client *t)
{
    struct server *s = c->server;

    c->database = reload_find_database(s, t->database);
    if (c->database == NULL) {
        return "database removed";
    }
    c->user = reload_find_user(s, t->user);
    c->pool = c->user == NULL ? NULL : reload_get_pool(s, c->database, t->user);
    if (c->pool == NULL) {
        return "out of memory";
    }
    c->database->n_clients++;
    c->user->n_clients++;
    c->counted = true;
    return NULL;
}

static bool fill_login(struct client *c, const struct takeover_client *t)
{
    struct client_login *l = c->u.login;

    l->tls_tried = (t->flags & TAKEOVER_TLS_TRIED) != 0;
    l->gss_tried = (t->flags & TAKEOVER_GSS_TRIED) != 0;
    l->expects_proxy = (t->flags & TAKEOVER_EXPECTS_PROXY) != 0;
    if (t->kind == TAKEOVER_CLIENT_RAW) {
        return t->in.len == 0 || buf_append(&l->packet, t->in.data, t->in.len);
    }
    l->version = t->version;
    l->user = strdup(t->user);
    l->database = strdup(t->database);
    l->want = params_unpack(c->server->env->params, &t->params);
    c->lease.since_us = t->wait_us;
    return l->user != NULL && l->database != NULL && l->want != NULL && put_in(c, t->in) &&
           (t->reply.len == 0 || buf_append(&l->reply, t->reply.data, t->reply.len));
}

static bool fill_key(struct client *c, const struct takeover_client *t)
{
    if (t->long_key.len != CANCEL_KEY_LONG_BYTES) {
        wire_store_u32(c->key.of_four, t->cancel_key);
        return true;
    }
    c->key.of_many = malloc(CANCEL_KEY_LONG_BYTES);
    if (c->key.of_many == NULL) {
        return false;
    }
    memcpy(c->key.of_many, t->long_key.data, CANCEL_KEY_LONG_BYTES);
    c->has_long_key = true;
    return true;
}

static bool fill_session(struct client *c, const struct takeover_client *t)
{
    struct params_table *table = c->server->env->params;

    c->params = params_unpack(table, &t->params);
    c->startup = params_unpack(table, &t->startup);
    if (!fill_key(c, t)) {
        return false;
    }
    c->skipping = (t->flags & TAKEOVER_SKIPPING) != 0;
    c->reapply = (t->flags & TAKEOVER_REAPPLY) != 0;
    lease_init(&c->lease, &client_lease_ops);
    c->lease.owner_pid = t->vpid;
    c->lease.since_us = t->wait_us;
    if ((t->flags & TAKEOVER_MAY_HAVE_NOTIFIED) != 0 && notify_record(c) != NULL) {
        c->notify->may_have_notified = true;
    }
    return c->params != NULL && c->startup != NULL && put_in(c, t->in);
}

/* From the list of those that log in to the one of its pool. */
static bool enter_pool(struct client *c, uint32_t vpid)
{
    struct server *s = c->server;

    if (!server_take_slot_at(s, c, vpid)) {
        return false;
    }
    c->vpid = vpid;
    c->u.login = client_login_free(c->u.login);
    list_remove(&s->logins, &c->link);
    list_add_tail(&c->pool->clients, &c->link);
    s->n_logged_in++;
    client_set_state(c, CLIENT_AUTH);
    client_set_state(c, CLIENT_LOGIN);
    client_set_state(c, CLIENT_IDLE);
    return true;
}

struct client *client_adopt(struct server *s, const struct takeover_client *t, int fd,
                            const char **ret_why)
{
    struct client *c = make(s, t, fd);
    const char *why;

    if (c == NULL) {
        return refuse(NULL, ret_why, "out of memory");
    }
    if (t->kind == TAKEOVER_CLIENT_RAW) {
        return fill_login(c, t) ? c : refuse(c, ret_why, "out of memory");
    }
    why = find_place(c, t);
    if (why != NULL) {
        return refuse(c, ret_why, why);
    }
    if (t->kind == TAKEOVER_CLIENT_LOGIN) {
        if (!fill_login(c, t)) {
            return refuse(c, ret_why, "out of memory");
        }
        client_set_state(c, CLIENT_AUTH);
        client_set_state(c, CLIENT_LOGIN);
        return c;
    }
    if (!fill_session(c, t) || !enter_pool(c, t->vpid)) {
        return refuse(c, ret_why, "out of memory");
    }
    return c;
}

bool client_adopt_channel(struct client *c, const char *name)
{
    struct notify_work *w = notify_record(c);
    bool wait;

    return w != NULL && notify_find_hub(c->notify) &&
           notify_hub_subscribe(c->notify->hub, &c->notify->subscriber, name, 0, &wait) == 0;
}

bool client_adopt_queue(struct client *c, const uint8_t *messages, size_t len)
{
    struct notify_work *w = notify_record(c);
    struct buf all;
    unsigned n = 0;

    for (size_t at = 0; at < len; n++) {
        size_t left = len - at;
        size_t body = left > FRAME_HEADER_BYTES ? wire_load_u32(messages + at + 1) : 0;

        if (body < 4 || body >= left) {
            return false;
        }
        at += body + 1;
    }
    if (w == NULL) {
        return false;
    }
    all = BUF_INIT(w->queue.max);
    if (!buf_append(&all, messages, len) ||
        (w->queue.len > 0 && !buf_append(&all, w->queue.data, w->queue.len))) {
        buf_done(&all);
        return false;
    }
    buf_done(&w->queue);
    w->queue = all;
    w->n_queued += n;
    return true;
}

void client_adopt_gap(struct client *c)
{
    if (c->notify != NULL) {
        client_notify_gap(&c->notify->subscriber, 0, false);
    }
}

/* --- both --- */

static void thaw_session(struct client *c)
{
    usec_t since_us = c->lease.since_us;
    bool waited = c->lease.state == LEASE_NONE && since_us != 0;

    if (c->lease.state == LEASE_HELD) {
        backend_want_read(c->lease.backend, true);
    }
    client_notify_writable(c);
    if (c->state != CLIENT_CLOSED) {
        relay_go_on(c);
    }
    if (waited && c->state == CLIENT_WAITING) {
        c->lease.since_us = since_us; /* it keeps its time, and its place by the order of thawing */
    }
}

void client_thaw(struct client *c)
{
    if (c->hold != HOLD_TAKEOVER) {
        return;
    }
    c->moving = 0;
    c->hold = HOLD_NONE;
    switch ((enum client_state)c->state) {
    case CLIENT_STARTUP:
        conn_want_read(&c->conn, c->server->loop, true);
        return;
    case CLIENT_LOGIN:
        conn_want_read(&c->conn, c->server->loop, true);
        client_login_go_on(c);
        return;
    case CLIENT_IDLE:
    case CLIENT_ACTIVE:
        thaw_session(c);
        return;
    case CLIENT_AUTH:
    case CLIENT_WAITING:
    case CLIENT_CONSOLE:
    case CLIENT_CANCEL:
    case CLIENT_CLOSED:
    case CLIENT_STATES:
        break;
    }
    unreachable();
}
