/* SPDX-License-Identifier: ISC */
#include "protocol/takeover_msg.h"

#include "daemon/util/fatal.h"
#include "daemon/util/num.h"
#include "protocol/wire.h"

#include <string.h>

/* --- fields --- */

static uint64_t get_u64(struct wire_reader *r)
{
    uint64_t high = wire_get_u32(r);

    return high << 32 | wire_get_u32(r);
}

static void put_u64(struct buf *b, uint64_t v)
{
    wire_put_u32(b, (uint32_t)(v >> 32));
    wire_put_u32(b, (uint32_t)v);
}

/* Neither 0 nor 1 is a malformed record. */
static bool get_bool(struct wire_reader *r)
{
    uint8_t v = wire_get_u8(r);

    if (v > 1) {
        r->failed = true;
    }
    return v == 1;
}

static struct takeover_bytes get_bytes(struct wire_reader *r, size_t max)
{
    struct takeover_bytes b;

    b.len = wire_get_u32(r);
    if (b.len > max) {
        r->failed = true;
    }
    b.data = wire_get_bytes(r, b.len);
    if (b.data == NULL) {
        b.len = 0;
    }
    return b;
}

static void put_bytes(struct buf *b, struct takeover_bytes v)
{
    wire_put_u32(b, num_u32(v.len));
    if (v.len > 0) {
        wire_put_bytes(b, v.data, v.len);
    }
}

static void get_params(struct wire_reader *r, struct takeover_params *ret)
{
    unsigned n = wire_get_u16(r);

    ret->n = 0;
    if (n > TAKEOVER_PARAMS_MAX) {
        r->failed = true;
    }
    for (unsigned i = 0; i < n && wire_ok(r); i++) {
        ret->entries[i].name = wire_get_cstr(r);
        ret->entries[i].value = wire_get_cstr(r);
        ret->n = i + 1;
    }
}

static void put_params(struct buf *b, const struct takeover_params *p)
{
    wire_put_u16(b, (uint16_t)p->n);
    for (unsigned i = 0; i < p->n; i++) {
        wire_put_cstr(b, p->entries[i].name);
        wire_put_cstr(b, p->entries[i].value);
    }
}

/* A key has one length, or is not there. */
static struct takeover_bytes get_key(struct wire_reader *r)
{
    struct takeover_bytes b = get_bytes(r, SCRAM_KEY_BYTES);

    if (b.len != 0 && b.len != SCRAM_KEY_BYTES) {
        r->failed = true;
    }
    return b;
}

/* --- the larger records --- */

static void get_hello(struct wire_reader *r, struct takeover_hello *h)
{
    h->protocol = wire_get_u32(r);
    h->pid = wire_get_u32(r);
    h->next_id = get_u64(r);
    h->version_seed = get_u64(r);
    h->n_slots = wire_get_u32(r);
    h->watchdog_us = get_u64(r);
    h->process_key = get_key(r);
    h->version = wire_get_cstr(r);
    if (h->process_key.len != SCRAM_KEY_BYTES) {
        r->failed = true;
    }
}

static void put_hello(struct buf *b, const struct takeover_hello *h)
{
    wire_put_u32(b, h->protocol);
    wire_put_u32(b, h->pid);
    put_u64(b, h->next_id);
    put_u64(b, h->version_seed);
    wire_put_u32(b, h->n_slots);
    put_u64(b, h->watchdog_us);
    put_bytes(b, h->process_key);
    wire_put_cstr(b, h->version);
}

static void get_user(struct wire_reader *r, struct takeover_user *u)
{
    u->name = wire_get_cstr(r);
    u->md5 = wire_get_cstr(r);
    u->password = get_bytes(r, TAKEOVER_RECORD_MAX_BYTES);
    u->iterations = wire_get_u32(r);
    u->salt = get_bytes(r, SCRAM_SALT_MAX);
    u->stored_key = get_key(r);
    u->server_key = get_key(r);
    u->client_key = get_key(r);
    if (strlen(u->md5) >= MD5_TEXT_SIZE || u->stored_key.len != u->server_key.len ||
        u->stored_key.len != u->client_key.len) {
        r->failed = true;
    }
}

static void put_user(struct buf *b, const struct takeover_user *u)
{
    wire_put_cstr(b, u->name);
    wire_put_cstr(b, u->md5);
    put_bytes(b, u->password);
    wire_put_u32(b, u->iterations);
    put_bytes(b, u->salt);
    put_bytes(b, u->stored_key);
    put_bytes(b, u->server_key);
    put_bytes(b, u->client_key);
}

static void get_pool(struct wire_reader *r, struct takeover_pool *p)
{
    p->database = wire_get_cstr(r);
    p->user = wire_get_cstr(r);
    p->is_internal = get_bool(r);
    get_params(r, &p->welcome);
    get_params(r, &p->defaults);
}

static void put_pool(struct buf *b, const struct takeover_pool *p)
{
    wire_put_cstr(b, p->database);
    wire_put_cstr(b, p->user);
    wire_put_u8(b, p->is_internal);
    put_params(b, &p->welcome);
    put_params(b, &p->defaults);
}

static bool is_tx_status(uint8_t status)
{
    return status == 'I' || status == 'T' || status == 'E';
}

static void get_backend(struct wire_reader *r, struct takeover_backend *k)
{
    k->id = get_u64(r);
    k->tx_status = wire_get_u8(r);
    k->flags = wire_get_u8(r);
    k->pid = wire_get_u32(r);
    k->key = get_bytes(r, TAKEOVER_KEY_MAX_BYTES);
    k->port = wire_get_u16(r);
    k->host = wire_get_cstr(r);
    k->dbname = wire_get_cstr(r);
    k->connected_us = get_u64(r);
    k->request_us = get_u64(r);
    k->idle_since_us = get_u64(r);
    k->xact_start_us = get_u64(r);
    k->lifetime_us = get_u64(r);
    k->owner_pid = wire_get_u32(r);
    k->next_stmt_id = wire_get_u32(r);
    k->unnamed = wire_get_u32(r);
    k->unnamed_of = get_u64(r);
    get_params(r, &k->params);
    if (!is_tx_status(k->tx_status) || k->flags > TAKEOVER_BACKEND_FLAGS || k->id == 0) {
        r->failed = true;
    }
}

static void put_backend(struct buf *b, const struct takeover_backend *k)
{
    put_u64(b, k->id);
    wire_put_u8(b, k->tx_status);
    wire_put_u8(b, k->flags);
    wire_put_u32(b, k->pid);
    put_bytes(b, k->key);
    wire_put_u16(b, k->port);
    wire_put_cstr(b, k->host);
    wire_put_cstr(b, k->dbname);
    put_u64(b, k->connected_us);
    put_u64(b, k->request_us);
    put_u64(b, k->idle_since_us);
    put_u64(b, k->xact_start_us);
    put_u64(b, k->lifetime_us);
    wire_put_u32(b, k->owner_pid);
    wire_put_u32(b, k->next_stmt_id);
    wire_put_u32(b, k->unnamed);
    put_u64(b, k->unnamed_of);
    put_params(b, &k->params);
}

static void get_client(struct wire_reader *r, struct takeover_client *c)
{
    c->kind = wire_get_u8(r);
    c->flags = wire_get_u8(r);
    c->id = get_u64(r);
    c->vpid = wire_get_u32(r);
    c->cancel_key = wire_get_u32(r);
    c->long_key = get_bytes(r, TAKEOVER_KEY_MAX_BYTES);
    c->family = wire_get_u8(r);
    c->port = wire_get_u16(r);
    c->addr = get_bytes(r, 16);
    c->connect_us = get_u64(r);
    c->request_us = get_u64(r);
    c->wait_us = get_u64(r);
    c->backend = get_u64(r);
    c->unnamed = wire_get_u32(r);
    c->version = wire_get_u32(r);
    c->database = wire_get_cstr(r);
    c->user = wire_get_cstr(r);
    c->in = get_bytes(r, TAKEOVER_RECORD_MAX_BYTES);
    c->reply = get_bytes(r, TAKEOVER_RECORD_MAX_BYTES);
    get_params(r, &c->params);
    get_params(r, &c->startup);
    if (c->kind >= TAKEOVER_CLIENT_KINDS || c->flags > TAKEOVER_CLIENT_FLAGS || c->addr.len != 16 ||
        (c->kind == TAKEOVER_CLIENT_SESSION) != (c->vpid != 0)) {
        r->failed = true;
    }
}

static void put_client(struct buf *b, const struct takeover_client *c)
{
    wire_put_u8(b, c->kind);
    wire_put_u8(b, c->flags);
    put_u64(b, c->id);
    wire_put_u32(b, c->vpid);
    wire_put_u32(b, c->cancel_key);
    put_bytes(b, c->long_key);
    wire_put_u8(b, c->family);
    wire_put_u16(b, c->port);
    put_bytes(b, c->addr);
    put_u64(b, c->connect_us);
    put_u64(b, c->request_us);
    put_u64(b, c->wait_us);
    put_u64(b, c->backend);
    wire_put_u32(b, c->unnamed);
    wire_put_u32(b, c->version);
    wire_put_cstr(b, c->database);
    wire_put_cstr(b, c->user);
    put_bytes(b, c->in);
    put_bytes(b, c->reply);
    put_params(b, &c->params);
    put_params(b, &c->startup);
}

/* --- the door --- */

bool takeover_has_fd(uint8_t type)
{
    return type == TAKEOVER_LISTENER || type == TAKEOVER_PIDFILE || type == TAKEOVER_BACKEND ||
           type == TAKEOVER_PROXY || type == TAKEOVER_CLIENT || type == TAKEOVER_CANCEL;
}

/* The records of few fields. false: there is no such type. */
static bool get_small(struct wire_reader *r, uint8_t type, struct takeover_msg *m)
{
    switch (type) {
    case TAKEOVER_DATABASE:
        m->u.database.name = wire_get_cstr(r);
        m->u.database.paused = wire_get_u8(r);
        m->u.database.is_disabled = get_bool(r);
        return m->u.database.paused <= (TAKEOVER_PAUSED_BY_NAME | TAKEOVER_PAUSED_WITH_ALL);
    case TAKEOVER_STMT:
        m->u.stmt.id = wire_get_u32(r);
        m->u.stmt.body = get_bytes(r, TAKEOVER_RECORD_MAX_BYTES);
        return true;
    case TAKEOVER_COPY:
        m->u.copy.stmt = wire_get_u32(r);
        m->u.copy.server_id = wire_get_u32(r);
        m->u.copy.version = get_u64(r);
        return true;
    case TAKEOVER_HUB:
        m->u.hub.encoding = wire_get_cstr(r);
        m->u.hub.has_connection = get_bool(r);
        m->u.hub.is_gap = get_bool(r);
        return true;
    case TAKEOVER_PREPARED:
        m->u.prepared.name = wire_get_cstr(r);
        m->u.prepared.stmt = wire_get_u32(r);
        m->u.prepared.version = get_u64(r);
        return true;
    case TAKEOVER_SUBSCRIBE:
        m->u.subscribe.name = wire_get_cstr(r);
        m->u.subscribe.is_exact = get_bool(r);
        return true;
    case TAKEOVER_QUEUED:
        m->u.queued.vpid = wire_get_u32(r);
        m->u.queued.messages = get_bytes(r, TAKEOVER_RECORD_MAX_BYTES);
        return true;
    case TAKEOVER_RETAINED:
        m->u.retained.database = wire_get_cstr(r);
        m->u.retained.user = wire_get_cstr(r);
        m->u.retained.n = wire_get_u32(r);
        return true;
    case TAKEOVER_REFUSED:
        m->u.refused.id = get_u64(r);
        m->u.refused.reason = wire_get_cstr(r);
        return true;
    default:
        return false;
    }
}

static bool get_one(struct wire_reader *r, uint8_t type, struct takeover_msg *m)
{
    switch (type) {
    case TAKEOVER_HELLO:
        get_hello(r, &m->u.hello);
        return true;
    case TAKEOVER_USER:
        get_user(r, &m->u.user);
        return true;
    case TAKEOVER_POOL:
        get_pool(r, &m->u.pool);
        return true;
    case TAKEOVER_BACKEND:
        get_backend(r, &m->u.backend);
        return true;
    case TAKEOVER_CLIENT:
        get_client(r, &m->u.client);
        return true;
    case TAKEOVER_LISTENER:
        m->u.listener.is_inherited = get_bool(r);
        return true;
    case TAKEOVER_READY:
        m->u.ready = get_bytes(r, TAKEOVER_LISTENERS_MAX);
        return true;
    case TAKEOVER_CANCEL:
        m->u.cancel = get_bytes(r, STARTUP_MAX_BYTES);
        return true;
    case TAKEOVER_PIDFILE:
    case TAKEOVER_CHANNEL:
    case TAKEOVER_ABORT:
        m->u.text = wire_get_cstr(r);
        return true;
    case TAKEOVER_BATCH_END:
    case TAKEOVER_GO:
    case TAKEOVER_HAVE:
        m->u.seq = wire_get_u32(r);
        return true;
    case TAKEOVER_OFFERED:
    case TAKEOVER_PROXY:
    case TAKEOVER_BYE:
        return true;
    default:
        return get_small(r, type, m);
    }
}

bool takeover_parse(uint8_t type, const void *body, size_t len, struct takeover_msg *ret)
{
    struct wire_reader r;

    wire_reader_init(&r, body, len);
    ret->type = (enum takeover_type)type;
    return get_one(&r, type, ret) && wire_at_end(&r);
}

static void put_small(struct buf *b, const struct takeover_msg *m)
{
    switch (m->type) {
    case TAKEOVER_DATABASE:
        wire_put_cstr(b, m->u.database.name);
        wire_put_u8(b, m->u.database.paused);
        wire_put_u8(b, m->u.database.is_disabled);
        return;
    case TAKEOVER_STMT:
        wire_put_u32(b, m->u.stmt.id);
        put_bytes(b, m->u.stmt.body);
        return;
    case TAKEOVER_COPY:
        wire_put_u32(b, m->u.copy.stmt);
        wire_put_u32(b, m->u.copy.server_id);
        put_u64(b, m->u.copy.version);
        return;
    case TAKEOVER_HUB:
        wire_put_cstr(b, m->u.hub.encoding);
        wire_put_u8(b, m->u.hub.has_connection);
        wire_put_u8(b, m->u.hub.is_gap);
        return;
    case TAKEOVER_PREPARED:
        wire_put_cstr(b, m->u.prepared.name);
        wire_put_u32(b, m->u.prepared.stmt);
        put_u64(b, m->u.prepared.version);
        return;
    case TAKEOVER_SUBSCRIBE:
        wire_put_cstr(b, m->u.subscribe.name);
        wire_put_u8(b, m->u.subscribe.is_exact);
        return;
    case TAKEOVER_QUEUED:
        wire_put_u32(b, m->u.queued.vpid);
        put_bytes(b, m->u.queued.messages);
        return;
    case TAKEOVER_RETAINED:
        wire_put_cstr(b, m->u.retained.database);
        wire_put_cstr(b, m->u.retained.user);
        wire_put_u32(b, m->u.retained.n);
        return;
    case TAKEOVER_REFUSED:
        put_u64(b, m->u.refused.id);
        wire_put_cstr(b, m->u.refused.reason);
        return;
    default:
        unreachable();
    }
}

static void put_one(struct buf *b, const struct takeover_msg *m)
{
    switch (m->type) {
    case TAKEOVER_HELLO:
        put_hello(b, &m->u.hello);
        return;
    case TAKEOVER_USER:
        put_user(b, &m->u.user);
        return;
    case TAKEOVER_POOL:
        put_pool(b, &m->u.pool);
        return;
    case TAKEOVER_BACKEND:
        put_backend(b, &m->u.backend);
        return;
    case TAKEOVER_CLIENT:
        put_client(b, &m->u.client);
        return;
    case TAKEOVER_LISTENER:
        wire_put_u8(b, m->u.listener.is_inherited);
        return;
    case TAKEOVER_READY:
        put_bytes(b, m->u.ready);
        return;
    case TAKEOVER_CANCEL:
        put_bytes(b, m->u.cancel);
        return;
    case TAKEOVER_PIDFILE:
    case TAKEOVER_CHANNEL:
    case TAKEOVER_ABORT:
        wire_put_cstr(b, m->u.text);
        return;
    case TAKEOVER_BATCH_END:
    case TAKEOVER_GO:
    case TAKEOVER_HAVE:
        wire_put_u32(b, m->u.seq);
        return;
    case TAKEOVER_OFFERED:
    case TAKEOVER_PROXY:
    case TAKEOVER_BYE:
        return;
    default:
        put_small(b, m);
        return;
    }
}

void takeover_put(struct buf *b, const struct takeover_msg *m)
{
    size_t start = wire_begin(b, (uint8_t)m->type);

    put_one(b, m);
    wire_end(b, start);
}
