/* SPDX-License-Identifier: ISC */
/* What goes into a batch: everything that rests and has not gone yet, a record or a few at a time, so that the queue to
 * the new process stays short. Whatever was sent is marked with the number of the batch (moving) until its GO. */
#include "daemon/client_move.h"
#include "daemon/client_notify_internal.h"
#include "daemon/handover_internal.h"
#include "pool/backend_move.h"

#include "daemon/util/fatal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    STAGE_SHARED, /* databases, users: with the first batch */
    STAGE_POOLS,
    STAGE_CLIENTS,
    STAGE_LOGINS,
    STAGES,
};

static struct takeover_msg *begin(struct handover *h, enum takeover_type type)
{
    h->msg.type = type;
    return &h->msg;
}

static void send_msg(struct handover *h, int fd)
{
    takeover_link_send(&h->link, &h->msg, fd);
}

/* --- what all share --- */

static void send_database(struct handover *h, const struct database *db)
{
    struct takeover_msg *m = begin(h, TAKEOVER_DATABASE);

    m->u.database.name = db->name;
    m->u.database.paused = (uint8_t)((db->is_paused_by_name ? TAKEOVER_PAUSED_BY_NAME : 0) |
                                     (h->s->is_paused ? TAKEOVER_PAUSED_WITH_ALL : 0));
    m->u.database.is_disabled = db->is_disabled;
    send_msg(h, -1);
}

static struct takeover_bytes key(const uint8_t *bytes, bool is_known)
{
    return (struct takeover_bytes){bytes, is_known ? SCRAM_KEY_BYTES : 0};
}

/* What logins have given away: without it nobody could log in to a server in their name. */
static void send_user(struct handover *h, const struct pool_user *user)
{
    const struct credentials *c = user->credentials;
    bool has_keys = c->scram.has_client_key;
    struct takeover_msg *m = begin(h, TAKEOVER_USER);

    m->u.user = (struct takeover_user){.name = user->name, .md5 = c->md5};
    if (secret_is_set(&c->password)) {
        m->u.user.password =
            (struct takeover_bytes){(const uint8_t *)c->password.data, c->password.len};
    }
    m->u.user.iterations = has_keys ? c->scram.iterations : 0;
    m->u.user.salt = (struct takeover_bytes){c->scram.salt, has_keys ? c->scram.salt_len : 0};
    m->u.user.stored_key = key(c->scram.stored_key, has_keys);
    m->u.user.server_key = key(c->scram.server_key, has_keys);
    m->u.user.client_key = key(c->scram.client_key, has_keys);
    send_msg(h, -1);
}

static void send_shared(struct handover *h)
{
    const struct database *db;
    const struct pool_user *user;

    list_for_each(&h->s->env->databases, db, link) {
        if (!db->is_gone) {
            send_database(h, db);
        }
    }
    list_for_each(&h->s->env->users, user, link) {
        send_user(h, user);
    }
}

void handover_send_pool(struct handover *h, const struct pool *pool)
{
    struct takeover_msg *m;

    if (h->last_pool == pool) {
        return;
    }
    h->last_pool = pool;
    m = begin(h, TAKEOVER_POOL);
    m->u.pool.database = pool->db->name;
    m->u.pool.user = pool->user->name;
    m->u.pool.is_internal = pool->is_internal;
    params_pack(pool->welcome, &m->u.pool.welcome);
    params_pack(pool->defaults, &m->u.pool.defaults);
    send_msg(h, -1);
}

static void send_stmt(struct handover *h, struct stmt *stmt)
{
    struct takeover_msg *m;

    if (stmt == NULL || stmt->sent_as != 0) {
        return;
    }
    stmt->sent_as = ++h->next_stmt;
    m = begin(h, TAKEOVER_STMT);
    m->u.stmt.id = stmt->sent_as;
    m->u.stmt.body = (struct takeover_bytes){stmt->body, stmt->body_len};
    send_msg(h, -1);
}

/* --- server connections --- */

static void send_backend(struct handover *h, struct backend *b)
{
    const struct stmt_cache_entry *e;
    struct takeover_msg *m;

    handover_send_pool(h, b->pool);
    send_stmt(h, b->unnamed);
    list_for_each(&b->stmts.by_use, e, link) {
        send_stmt(h, e->stmt);
    }
    m = begin(h, TAKEOVER_BACKEND);
    backend_pack(b, &m->u.backend);
    send_msg(h, conn_fd(&b->conn));
    list_for_each(&b->stmts.by_use, e, link) {
        m = begin(h, TAKEOVER_COPY);
        m->u.copy.stmt = e->stmt->sent_as;
        m->u.copy.server_id = e->server_id;
        m->u.copy.version = e->version;
        send_msg(h, -1);
    }
    b->moving = h->seq;
    backend_want_read(b, false);
    h->n_servers += h->is_committed ? 0 : 1;
}

static bool send_idle(struct handover *h, const struct pool *pool)
{
    struct backend *b;

    list_for_each(&pool->backends[BACKEND_IDLE], b, link) {
        if (b->moving == 0 && backend_may_move(b)) {
            send_backend(h, b);
            return true;
        }
    }
    return false;
}

/* Its connection goes, and it becomes a subscriber over a socket pair. false: it cannot be had. */
static bool send_proxy(struct handover *h, struct notify_hub *hub)
{
    struct handover_proxy *p = calloc(1, sizeof(*p));
    int fds[2];

    if (p == NULL || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) {
        free(p);
        return false;
    }
    *p = (struct handover_proxy){.next = h->proxies, .hub = hub, .fd = fds[0]};
    h->proxies = p;
    (void)begin(h, TAKEOVER_PROXY);
    send_msg(h, fds[1]);
    (void)close(fds[1]); /* the queue has a copy */
    return true;
}

static void send_hub(struct handover *h, const struct pool *pool, struct notify_hub *hub)
{
    struct backend *b = notify_hub_movable(hub);
    const struct channel *ch;
    struct takeover_msg *m;

    handover_send_pool(h, pool);
    if (b != NULL) {
        send_backend(h, b);
    }
    m = begin(h, TAKEOVER_HUB);
    m->u.hub.encoding = notify_hub_encoding(hub);
    m->u.hub.has_connection = b != NULL;
    m->u.hub.is_gap = b == NULL && notify_hub_is_listening(hub);
    send_msg(h, -1);
    if (b == NULL) {
        return;
    }
    list_for_each(&notify_hub_channels(hub)->used, ch, link) {
        if (notify_hub_listens(hub, ch->name)) {
            m = begin(h, TAKEOVER_CHANNEL);
            m->u.text = ch->name;
            send_msg(h, -1);
        }
    }
    (void)send_proxy(
        h, hub); /* false: it goes all the same, and subscribers that stay are told of a gap */
}

static void send_hubs(struct handover *h, const struct pool *pool)
{
    if (h->is_committed) {
        return;
    }
    for (struct notify_hub *hub = pool->hub; hub != NULL; hub = notify_hub_next(hub)) {
        send_hub(h, pool, hub);
    }
}

/* Hubs go before clients, and there are few. */
static bool send_of_pools(struct handover *h)
{
    struct database *db;
    struct pool *pool;

    list_for_each(&h->s->env->databases, db, link) {
        list_for_each(&db->pools, pool, link) {
            if (send_idle(h, pool)) {
                return true;
            }
        }
    }
    list_for_each(&h->s->env->databases, db, link) {
        list_for_each(&db->pools, pool, link) {
            send_hubs(h, pool);
        }
    }
    return false;
}

/* --- clients --- */

static void send_prepared(struct handover *h, const struct client *c)
{
    for (uint32_t i = 0; i < c->prepared.n_buckets; i++) {
        for (const struct prepared *p = c->prepared.buckets[i]; p != NULL; p = p->next) {
            struct takeover_msg *m;

            send_stmt(h, p->stmt);
            m = begin(h, TAKEOVER_PREPARED);
            m->u.prepared.name = p->name;
            m->u.prepared.stmt = p->stmt->sent_as;
            m->u.prepared.version = p->version;
            send_msg(h, -1);
        }
    }
}

static void send_subscriptions(struct handover *h, const struct client *c)
{
    const struct subscription *sub;

    if (c->notify == NULL || c->notify->hub == NULL) {
        return;
    }
    subscriber_for_each_subscription(&c->notify->subscriber, sub)
    {
        struct takeover_msg *m = begin(h, TAKEOVER_SUBSCRIBE);

        m->u.subscribe.name = sub->channel->name;
        m->u.subscribe.is_exact = !h->is_committed || notify_hub_is_proxy(c->notify->hub);
        send_msg(h, -1);
    }
}

static void send_client(struct handover *h, struct client *c)
{
    struct takeover_msg *m;

    if (c->lease.state == LEASE_HELD) {
        send_backend(h, c->lease.backend);
    }
    send_stmt(h, c->unnamed);
    m = begin(h, TAKEOVER_CLIENT);
    client_pack(c, &m->u.client);
    send_msg(h, conn_fd(&c->conn));
    send_prepared(h, c);
    send_subscriptions(h, c);
    c->moving = h->seq;
    h->n_clients += h->is_committed ? 0 : 1;
}

static bool send_of_clients(struct handover *h)
{
    const struct server *s = h->s;

    while (h->next_slot < s->n_slots) {
        struct client *c = s->slots[h->next_slot++];

        if (c != NULL && c->moving == 0 && client_may_move(c)) {
            send_client(h, c);
            return true;
        }
    }
    return false;
}

static bool send_of_logins(struct handover *h)
{
    struct client *c;

    list_for_each(&h->s->logins, c, link) {
        if (c->moving == 0 && client_may_move(c)) {
            send_client(h, c);
            return true;
        }
    }
    return false;
}

bool handover_send_next(struct handover *h)
{
    for (; h->stage < STAGES; h->stage++) {
        switch (h->stage) {
        case STAGE_SHARED:
            if (!h->is_committed) {
                send_shared(h);
            }
            break;
        case STAGE_POOLS:
            if (send_of_pools(h)) {
                return true;
            }
            break;
        case STAGE_CLIENTS:
            if (send_of_clients(h)) {
                return true;
            }
            break;
        default:
            if (send_of_logins(h)) {
                return true;
            }
            break;
        }
    }
    return false;
}

/* A record takes no more. */
#define QUEUED_MAX_BYTES ((size_t)1 << 20)

/* The last piece first: each goes before what is there. */
static void send_queue(struct handover *h, const struct client *c, const uint8_t *data, size_t len)
{
    while (len > 0) {
        struct takeover_msg *m = begin(h, TAKEOVER_QUEUED);
        size_t from = 0;

        while (len - from > QUEUED_MAX_BYTES) { /* to the next message that begins late enough */
            from += wire_load_u32(data + from + 1) + 1;
        }
        m->u.queued.vpid = c->vpid;
        m->u.queued.messages = (struct takeover_bytes){data + from, len - from};
        send_msg(h, -1);
        len = from;
    }
}

void handover_send_queues(struct handover *h)
{
    for (uint32_t i = 0; i < h->s->n_slots; i++) {
        const struct client *c = h->s->slots[i];

        if (c != NULL && c->moving != 0) {
            send_queue(h, c, client_queue(c)->data, client_queue(c)->len);
        }
    }
}

/* --- gone --- */

unsigned handover_count_moving(const struct pool *pool)
{
    const struct backend *b;
    unsigned n = 0;

    list_for_each(&pool->backends[BACKEND_IDLE], b, link) {
        n += b->moving != 0;
    }
    list_for_each(&pool->backends[BACKEND_ACTIVE], b, link) {
        n += b->moving != 0;
    }
    return n;
}

static void forget_backends(struct list *backends)
{
    struct backend *b;

    list_for_each(backends, b, link) {
        if (b->moving != 0) {
            backend_forget(b);
        }
    }
}

static void swap_hubs(struct handover *h)
{
    while (h->proxies != NULL) {
        struct handover_proxy *p = h->proxies;

        h->proxies = p->next;
        if (notify_hub_movable(p->hub) != NULL) {
            notify_hub_become_proxy(p->hub, p->fd);
        } else {
            (void)close(p->fd);
        }
        free(p);
    }
}

void handover_forget_moved(struct handover *h)
{
    const struct server *s = h->s;
    struct database *db;
    struct pool *pool;
    struct client *c;

    swap_hubs(h);
    list_for_each(&s->env->databases, db, link) {
        list_for_each(&db->pools, pool, link) {
            forget_backends(&pool->backends[BACKEND_ACTIVE]);
            forget_backends(&pool->backends[BACKEND_IDLE]);
            forget_backends(&pool->backends[BACKEND_HUB]); /* those without a proxy */
            for (struct notify_hub *hub = pool->hub; hub != NULL; hub = notify_hub_next(hub)) {
                notify_hub_thaw(hub);
            }
        }
    }
    for (uint32_t i = 0; i < s->n_slots; i++) {
        if (s->slots[i] != NULL && s->slots[i]->moving != 0) {
            client_forget(s->slots[i]);
        }
    }
    list_for_each(&s->logins, c, link) {
        if (c->moving != 0) {
            client_forget(c);
        }
    }
}

void handover_drop_proxies(struct handover *h)
{
    while (h->proxies != NULL) {
        struct handover_proxy *p = h->proxies;

        h->proxies = p->next;
        (void)close(p->fd);
        free(p);
    }
}
