/* SPDX-License-Identifier: ISC */
/* What comes in a batch becomes objects of ours, but sleeping ones: server connections are in no pool, hubs are frozen,
 * clients are on hold. takeover_awaken() makes them live. */
#include "daemon/client_move.h"
#include "daemon/client_notify.h"
#include "daemon/handover_internal.h"
#include "daemon/reload_internal.h"
#include "daemon/takeover_internal.h"
#include "pool/backend_move.h"

#include "daemon/util/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STMTS_MAX (1U << 22)

struct dormant_hub {
    struct list_node link; /* in takeover->hubs */
    struct notify_hub *hub;
    struct backend *b; /* NULL: none came */
    bool is_gap;
};

struct client_gap {
    struct list_node link; /* in takeover->gaps */
    uint32_t vpid;
};

/* --- what all share --- */

/* PAUSE and DISABLE outlive the restart. */
static void take_database(struct takeover *t, const struct takeover_msg *m)
{
    struct database *db = reload_find_living(t->s, m->u.database.name);
    bool is_paused = (m->u.database.paused & TAKEOVER_PAUSED_BY_NAME) != 0;

    if (db == NULL && (is_paused || m->u.database.is_disabled)) {
        db = reload_find_database(t->s, m->u.database.name);
    }
    if (db != NULL) {
        db->is_disabled = m->u.database.is_disabled;
    }
    if (db != NULL && is_paused) {
        server_pause(db);
    }
    if ((m->u.database.paused & TAKEOVER_PAUSED_WITH_ALL) != 0 && !t->s->is_paused) {
        server_pause_all(t->s);
    }
}

static void take_keys(struct scram_keys *keys, const struct takeover_user *u)
{
    *keys = (struct scram_keys){.iterations = u->iterations, .has_client_key = true};
    keys->salt_len = (uint8_t)u->salt.len;
    if (u->salt.len > 0) {
        memcpy(keys->salt, u->salt.data, u->salt.len);
    }
    memcpy(keys->stored_key, u->stored_key.data, SCRAM_KEY_BYTES);
    memcpy(keys->server_key, u->server_key.data, SCRAM_KEY_BYTES);
    memcpy(keys->client_key, u->client_key.data, SCRAM_KEY_BYTES);
}

/* What logins have given away. What our own auth_file says about the user comes first. */
static bool take_user(struct takeover *t, const struct takeover_user *u)
{
    struct pool_user *user = reload_find_user(t->s, u->name);

    if (user == NULL) {
        return false;
    }
    credentials_wipe(user->credentials);
    if (u->password.len > 0 &&
        !secret_set(&user->credentials->password, u->password.data, u->password.len)) {
        return false;
    }
    memcpy(user->credentials->md5, u->md5, strlen(u->md5) + 1);
    if (u->client_key.len > 0) {
        take_keys(&user->credentials->scram, u);
    }
    reload_apply_secret(user, NULL, t->s->config->userlist);
    return true;
}

/* NULL: what follows for it is of no use here. */
static struct pool *find_pool(struct takeover *t, const char *database, const char *user,
                              bool is_internal)
{
    struct database *db = reload_find_database(t->s, database);
    struct pool *pool;

    if (db == NULL || reload_entry(db) == NULL) {
        return NULL;
    }
    pool = is_internal ? reload_get_auth_pool(t->s, db, user) : reload_get_pool(t->s, db, user);
    return pool != NULL && strcmp(pool->user->name, user) == 0 ? pool : NULL;
}

static bool take_pool(struct takeover *t, const struct takeover_pool *p)
{
    struct params_table *table = t->s->env->params;

    t->pool = find_pool(t, p->database, p->user, p->is_internal);
    t->backend = NULL;
    if (t->pool == NULL || t->pool->welcome != NULL || p->welcome.n == 0) {
        return true;
    }
    t->pool->welcome = params_unpack(table, &p->welcome);
    (void)params_unref(t->pool->defaults);
    t->pool->defaults = params_unpack(table, &p->defaults);
    return t->pool->welcome != NULL && t->pool->defaults != NULL;
}

static bool take_stmt(struct takeover *t, uint32_t id, struct takeover_bytes body)
{
    if (id != t->n_stmts + 1 || id > STMTS_MAX) {
        return false;
    }
    if (t->n_stmts == t->cap_stmts) {
        uint32_t cap = t->cap_stmts == 0 ? 64 : t->cap_stmts * 2;
        struct stmt **stmts = reallocarray(t->stmts, cap, sizeof(struct stmt *));

        if (stmts == NULL) {
            return false;
        }
        t->stmts = stmts;
        t->cap_stmts = cap;
    }
    t->stmts[t->n_stmts] = stmt_intern(t->s->env->stmts, body.data, body.len);
    if (t->stmts[t->n_stmts] == NULL) {
        return false;
    }
    t->n_stmts++;
    return true;
}

static struct stmt *stmt_of(const struct takeover *t, uint32_t id)
{
    return id == 0 || id > t->n_stmts ? NULL : t->stmts[id - 1];
}

/* --- server connections --- */

static bool take_backend(struct takeover *t, const struct takeover_backend *k, int fd)
{
    t->backend = NULL;
    if (t->pool == NULL) {
        (void)close(fd); /* the server sees its end when the old process closes it as well */
        return true;
    }
    t->backend = backend_adopt(t->pool, k, fd);
    if (t->backend == NULL) {
        return false;
    }
    if (stmt_of(t, k->unnamed) != NULL) {
        t->backend->unnamed = stmt_ref(stmt_of(t, k->unnamed));
    }
    list_add_tail(&t->backends, &t->backend->link);
    return true;
}

static bool take_copy(struct takeover *t, const struct takeover_msg *m)
{
    struct stmt *stmt = stmt_of(t, m->u.copy.stmt);
    bool ok = true;

    if (t->backend == NULL || stmt == NULL) {
        return stmt != NULL;
    }
    (void)stmt_cache_put(&t->backend->stmts, stmt, m->u.copy.version, m->u.copy.server_id, &ok);
    return ok;
}

static bool take_hub(struct takeover *t, const struct takeover_hub *h)
{
    struct dormant_hub *d;

    t->hub = NULL;
    if (t->pool == NULL) {
        return true;
    }
    d = calloc(1, sizeof(*d));
    t->hub = d == NULL ? NULL : notify_hub_of(t->pool, h->encoding);
    if (t->hub == NULL) {
        free(d);
        return false;
    }
    *d = (struct dormant_hub){.hub = t->hub, .is_gap = h->is_gap};
    list_add_tail(&t->hubs, &d->link);
    notify_hub_freeze(t->hub);
    if (h->has_connection && t->backend != NULL) {
        d->b = t->backend;
        list_remove(&t->backends, &t->backend->link);
        notify_hub_adopt(t->hub, t->backend);
    }
    return true;
}

static bool take_channel(struct takeover *t, const char *name)
{
    return t->hub == NULL || (strlen(name) <= CHANNEL_NAME_MAX && *name != '\0' &&
                              notify_hub_adopt_channel(t->hub, name) == 0);
}

static bool take_proxy(struct takeover *t, int fd)
{
    if (t->hub == NULL) {
        (void)close(fd);
        return true;
    }
    return takeover_add_proxy(t, t->hub, fd);
}

/* --- clients --- */

/* Its server connection stays with the old process, too, which ends the transaction on it. */
static void refuse(struct takeover *t, const struct takeover_client *k, const char *why)
{
    struct takeover_msg m = {.type = TAKEOVER_REFUSED, .u.refused = {.id = k->id, .reason = why}};

    if (k->backend != 0 && t->backend != NULL && t->backend->id == k->backend &&
        t->backend->lease == NULL && t->backend->hub == NULL) {
        list_remove(&t->backends, &t->backend->link);
        backend_drop(t->backend);
        t->backend = NULL;
    }
    takeover_link_send(&t->link, &m, -1);
}

static bool join(struct takeover *t, struct client *c, uint64_t backend_id)
{
    struct backend *b = t->backend;

    if (b == NULL || b->id != backend_id || b->lease != NULL || b->hub != NULL ||
        b->pool != c->pool) {
        return false;
    }
    client_set_state(c, CLIENT_ACTIVE);
    c->lease.state = LEASE_HELD;
    c->lease.backend = b;
    c->lease.pool = b->pool;
    b->lease = &c->lease;
    return true;
}

static bool take_client(struct takeover *t, const struct takeover_client *k, int fd)
{
    const char *why = "";

    t->client = client_adopt(t->s, k, fd, &why);
    if (t->client == NULL) {
        refuse(t, k, why);
        return true;
    }
    t->client->moving = t->seq;
    if (k->unnamed != 0 && stmt_of(t, k->unnamed) != NULL) {
        t->client->unnamed = stmt_ref(stmt_of(t, k->unnamed));
    }
    if (k->backend != 0 && !join(t, t->client, k->backend)) {
        client_forget(t->client);
        t->client = NULL;
        refuse(t, k, "database configuration changed");
        return true;
    }
    t->n_clients++;
    return true;
}

static bool take_prepared(struct takeover *t, const struct takeover_msg *m)
{
    struct stmt *stmt = stmt_of(t, m->u.prepared.stmt);
    struct prepared *p;
    bool ok;

    if (t->client == NULL || stmt == NULL) {
        return stmt != NULL;
    }
    if (prepared_set_find(&t->client->prepared, m->u.prepared.name) != NULL) {
        return false;
    }
    p = prepared_new(m->u.prepared.name, stmt);
    if (p == NULL) {
        return false;
    }
    p->version = m->u.prepared.version;
    ok = prepared_set_add(&t->client->prepared, p);
    (void)prepared_unref(p);
    return ok;
}

static bool take_subscribe(struct takeover *t, const struct takeover_msg *m)
{
    struct client_gap *gap;

    if (t->client == NULL) {
        return true;
    }
    if (t->client->state == CLIENT_LOGIN || strlen(m->u.subscribe.name) > CHANNEL_NAME_MAX ||
        !client_adopt_channel(t->client, m->u.subscribe.name)) {
        return false;
    }
    if (!m->u.subscribe.is_exact) {
        gap = calloc(1, sizeof(*gap));
        if (gap == NULL) {
            return false;
        }
        gap->vpid = t->client->vpid;
        list_add_tail(&t->gaps, &gap->link);
    }
    return true;
}

static bool take_queued(struct takeover *t, const struct takeover_msg *m)
{
    struct client *c = server_client_by_pid(t->s, m->u.queued.vpid);

    return c == NULL || c->moving != t->seq ||
           client_adopt_queue(c, m->u.queued.messages.data, m->u.queued.messages.len);
}

/* --- a record --- */

bool takeover_take(struct takeover *t, const struct takeover_msg *m, int fd)
{
    switch (m->type) {
    case TAKEOVER_DATABASE:
        take_database(t, m);
        return true;
    case TAKEOVER_USER:
        return take_user(t, &m->u.user);
    case TAKEOVER_POOL:
        return take_pool(t, &m->u.pool);
    case TAKEOVER_STMT:
        return take_stmt(t, m->u.stmt.id, m->u.stmt.body);
    case TAKEOVER_BACKEND:
        return take_backend(t, &m->u.backend, fd);
    case TAKEOVER_COPY:
        return take_copy(t, m);
    case TAKEOVER_HUB:
        return take_hub(t, &m->u.hub);
    case TAKEOVER_CHANNEL:
        return take_channel(t, m->u.text);
    case TAKEOVER_PROXY:
        return take_proxy(t, fd);
    case TAKEOVER_CLIENT:
        return take_client(t, &m->u.client, fd);
    case TAKEOVER_PREPARED:
        return take_prepared(t, m);
    case TAKEOVER_SUBSCRIBE:
        return take_subscribe(t, m);
    case TAKEOVER_QUEUED:
        return take_queued(t, m);
    default:
        if (fd >= 0) {
            (void)close(fd);
        }
        return false;
    }
}

/* --- it is ours --- */

static void awaken_hubs(struct takeover *t)
{
    while (!list_is_empty(&t->hubs)) {
        struct dormant_hub *d = list_entry(list_first(&t->hubs), struct dormant_hub, link);

        list_remove(&t->hubs, &d->link);
        if (d->b != NULL) {
            backend_awaken(d->b);
        }
        if (d->is_gap) {
            notify_hub_adopt_gap(d->hub);
        }
        notify_hub_thaw(d->hub);
        free(d);
    }
}

static void tell_gaps(struct takeover *t)
{
    while (!list_is_empty(&t->gaps)) {
        struct client_gap *gap = list_entry(list_first(&t->gaps), struct client_gap, link);
        struct client *c = server_client_by_pid(t->s, gap->vpid);

        list_remove(&t->gaps, &gap->link);
        if (c != NULL) {
            client_adopt_gap(c);
        }
        free(gap);
    }
}

void takeover_awaken(struct takeover *t)
{
    while (!list_is_empty(&t->backends)) {
        struct backend *b = list_entry(list_first(&t->backends), struct backend, link);

        list_remove(&t->backends, &b->link);
        t->n_servers++;
        backend_awaken(b);
    }
    awaken_hubs(t);
    takeover_serve_proxies(t);
    handover_thaw_clients(t->s, t->seq);
    tell_gaps(t);
    t->pool = NULL;
    t->backend = NULL;
    t->hub = NULL;
    t->client = NULL;
}

static void forget_client(struct client *c)
{
    c->lease.state = LEASE_NONE; /* its server connection is in no pool: it goes with the others */
    c->lease.backend = NULL;
    c->lease.pool = NULL;
    client_forget(c);
}

void takeover_forget_dormant(struct takeover *t)
{
    struct client *c;

    for (uint32_t i = 0; i < t->s->n_slots; i++) {
        if (t->s->slots[i] != NULL && t->s->slots[i]->moving != 0) {
            forget_client(t->s->slots[i]);
        }
    }
    list_for_each(&t->s->logins, c, link) {
        if (c->moving != 0) {
            forget_client(c);
        }
    }
    while (!list_is_empty(&t->backends)) {
        struct backend *b = list_entry(list_first(&t->backends), struct backend, link);

        list_remove(&t->backends, &b->link);
        backend_drop(b);
    }
}

void takeover_take_done(struct takeover *t)
{
    for (uint32_t i = 0; i < t->n_stmts; i++) {
        (void)stmt_unref(t->stmts[i]);
    }
    free(t->stmts);
    t->stmts = NULL;
    t->n_stmts = 0;
    t->cap_stmts = 0;
}
