/* SPDX-License-Identifier: ISC */
/* What a client sends, as far as LISTEN and NOTIFY go: which statements are in a text, what the log is told of them, and
 * whether the request may go at once. */
#include "daemon/client_notify_internal.h"

#include "daemon/util/fatal.h"
#include "daemon/util/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How a text of the client's is to be read: its names are in the client's encoding. */
static unsigned lexer_flags(const struct client *c)
{
    static const struct {
        const char *encoding;
        unsigned flags;
    } others[] = {
        {"", 0},
        {"UTF8", 0},
        {"SJIS", SQL_NOT_UTF8 | SQL_SJIS},
        {"SHIFT_JIS_2004", SQL_NOT_UTF8 | SQL_SJIS},
        {"BIG5", SQL_NOT_UTF8 | SQL_PAIRS},
        {"GBK", SQL_NOT_UTF8 | SQL_PAIRS},
        {"UHC", SQL_NOT_UTF8 | SQL_PAIRS},
        {"GB18030", SQL_NOT_UTF8 | SQL_PAIRS},
    };

    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        if (strcasecmp(notify_encoding_of(c), others[i].encoding) == 0) {
            return others[i].flags;
        }
    }
    return SQL_NOT_UTF8;
}

/* true: noted. false: the client is closed. */
static bool expect(struct client *c, struct notify_work *w, const struct sql_statement *st)
{
    switch (listen_log_expect(&w->log, w->seq, st)) {
    case 0:
        return true;
    case LISTEN_LOG_E_FULL:
        client_close_text(c, SQLSTATE_PROGRAM_LIMIT_EXCEEDED,
                          "more than %u LISTEN and SAVEPOINT statements in one transaction",
                          LISTEN_LOG_MAX);
        return false;
    default:
        notify_out_of_memory(c);
        return false;
    }
}

static bool expect_all(struct client *c, struct notify_work *w, const char *text, size_t len)
{
    struct sql_lexer lx;
    struct sql_statement st;

    sql_lexer_init(&lx, text, len, lexer_flags(c));
    while (sql_statement_next(&lx, &st)) {
        if (!expect(c, w, &st)) {
            return false;
        }
    }
    return true;
}

bool notify_listens_to(const struct client_notify *n, const char *channel)
{
    const struct channel_set *set = n->hub != NULL ? notify_hub_channels(n->hub) : NULL;
    const struct channel *ch = set != NULL ? channel_find(set, channel) : NULL;

    return ch != NULL && channel_has_subscriber(set, ch, &n->subscriber);
}

/* Would this text bring the client over max_listen_channels? One that UNLISTENs as well is given the benefit of the
 * doubt; apply() in client_notify.c has the last word. */
static bool is_too_many(const struct client *c, const struct notify_work *w, const char *text,
                        size_t len)
{
    unsigned max = (unsigned)notify_settings_of(c)->max_listen_channels;
    unsigned n = notify_n_channels(c->notify) + listen_log_count(&w->log);
    struct sql_lexer lx;
    struct sql_statement st;

    sql_lexer_init(&lx, text, len, lexer_flags(c));
    while (sql_statement_next(&lx, &st)) {
        if (st.kind == SQL_UNLISTEN || st.kind == SQL_UNLISTEN_ALL) {
            return false;
        }
        if (st.kind == SQL_LISTEN && !notify_listens_to(c->notify, st.name) && ++n > max) {
            return true;
        }
    }
    return false;
}

static bool has_listen(const struct client *c, const char *text, size_t len)
{
    struct sql_lexer lx;
    struct sql_statement st;

    sql_lexer_init(&lx, text, len, lexer_flags(c));
    while (sql_statement_next(&lx, &st)) {
        if (st.kind == SQL_LISTEN) {
            return true;
        }
    }
    return false;
}

const char *notify_encoding_of(const struct client *c)
{
    const char *name = params_get(c->params, "client_encoding");

    return name != NULL ? name : "";
}

bool notify_find_hub(struct client_notify *n)
{
    if (n->hub == NULL) {
        n->hub = notify_hub_of(n->c->pool, notify_encoding_of(n->c));
    }
    if (n->hub == NULL) {
        notify_out_of_memory(n->c);
    }
    return n->hub != NULL;
}

/* The next message in a row of whole ones; 0: no more. */
size_t notify_message_length(const struct buf *b, size_t at)
{
    return at + FRAME_HEADER_BYTES <= b->len ? wire_load_u32(b->data + at + 1) + 1 : 0;
}

const char *notify_channel_of(const uint8_t *m)
{
    return (const char *)m + FRAME_HEADER_BYTES + 4;
}

/* What was queued for a channel that is no longer listened to is not told: PostgreSQL looks when it tells. */
void notify_filter_queue(struct client_notify *n)
{
    struct notify_work *w = n->work;
    size_t len;
    size_t to = 0;
    unsigned n_kept = 0;

    for (size_t at = 0; (len = notify_message_length(&w->queue, at)) > 0; at += len) {
        const uint8_t *m = w->queue.data + at;

        if (m[0] != 'A' || notify_listens_to(n, notify_channel_of(m))) {
            memmove(w->queue.data + to, m, len);
            to += len;
            n_kept++;
        }
    }
    w->queue.len = to;
    w->n_queued = n_kept;
}

/* Drops what came for a LISTEN that was not committed then. */
static void forget_early(struct client_notify *n)
{
    if (n->work->tentative.subscriptions.n > 0) {
        notify_filter_queue(n);
    }
}

/* What is no text of the encoding is for the server to refuse, and not to be tried by the hub. */
static bool is_sound(const struct client *c, const char *name)
{
    const uint8_t *p = (const uint8_t *)name;

    if (strcasecmp(notify_encoding_of(c), "UTF8") != 0) {
        return true;
    }
    while (*p != 0) {
        unsigned more = *p < 0x80 ? 0 : *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : *p >= 0xc2 ? 1 : 4;

        if (more == 4) {
            return false;
        }
        for (p++; more > 0; more--, p++) {
            if ((*p & 0xc0) != 0x80) {
                return false;
            }
        }
    }
    return true;
}

/* The hub listens first. So whatever is committed together with the client's LISTEN, or behind it, comes through the hub
 * in the order of the commits; and whatever was committed before has come when the LISTEN begins. What is not committed
 * in the end is dropped with the transaction.
 * NOTIFY_GO_ON, NOTIFY_AFTER, NOTIFY_WAIT or NOTIFY_CLOSED. */
static enum notify_verdict announce(struct client *c, struct notify_work *w, const char *text,
                                    size_t len)
{
    struct client_notify *n = c->notify;
    bool wait = false;
    struct sql_lexer lx;
    struct sql_statement st;

    sql_lexer_init(&lx, text, len, lexer_flags(c));
    while (!w->is_announced && sql_statement_next(&lx, &st)) {
        bool is_off = false;

        if (st.kind != SQL_LISTEN || st.name[0] == '\0' || !is_sound(c, st.name) ||
            notify_listens_to(n, st.name)) {
            continue;
        }
        if (c->lease.state == LEASE_HELD && inflight_count_ready(&c->lease.backend->inflight) > 0) {
            return NOTIFY_AFTER;
        }
        if (!notify_find_hub(n)) {
            return NOTIFY_CLOSED;
        }
        if (notify_hub_subscribe(n->hub, &w->tentative, st.name, 0, &is_off) != 0) {
            notify_out_of_memory(c);
            return NOTIFY_CLOSED;
        }
        wait = true;
    }
    w->is_announced = false;
    if (!wait) {
        return NOTIFY_GO_ON;
    }
    w->was_deaf = w->was_deaf || notify_n_channels(n) == 0;
    w->waiter.done = notify_on_hub_done;
    w->is_announcing = true;
    notify_hub_wait(n->hub, &w->waiter);
    return NOTIFY_WAIT;
}

bool client_notify_must_settle(struct client *c)
{
    struct client_notify *n = c->notify;
    struct backend *b = c->lease.backend;
    struct notify_work *w;
    uint32_t prior_pid = b->prior_pid;

    b->prior_pid = 0;
    if (prior_pid == 0 || !notify_relays(c) || notify_n_channels(n) == 0 ||
        !notify_hub_is_listening(n->hub) || notify_hub_has_passed(n->hub, b->idle_since_us)) {
        return false;
    }
    w = notify_record(c);
    if (w == NULL) {
        return true;
    }
    b->owner_pid = prior_pid;
    w->is_asking = true;
    w->waiter.done = notify_on_hub_done;
    notify_hub_wait(n->hub, &w->waiter);
    return true;
}

bool client_notify_must_wait(struct client *c, const uint8_t *m, size_t len, const struct frame *f,
                             bool *ret_silent)
{
    const char *text = (const char *)m + FRAME_HEADER_BYTES;
    const char *end = (const char *)m + f->total;
    struct notify_work *w;

    if ((f->type != 'Q' && f->type != 'P') || len < f->total ||
        c->pool->limits.mode == POOL_SESSION) {
        return false;
    }
    if (LIKELY(!sql_might_contain(text, (size_t)(end - text), "listen"))) {
        *ret_silent = f->type == 'Q';
        return false;
    }
    if (f->type == 'P') { /* the name, then the text */
        text += strnlen(text, (size_t)(end - text) - 1) + 1;
        end = text + strnlen(text, (size_t)(end - text));
    }
    if (!notify_relays(c) || notify_refuses(c) || pool_is_stopped(c->pool) ||
        !has_listen(c, text, (size_t)(end - text))) {
        return false;
    }
    w = notify_record(c);
    if (w == NULL) {
        return true;
    }
    if (is_too_many(c, w, text, (size_t)(end - text))) {
        return false; /* that is said later */
    }
    if (announce(c, w, text, (size_t)(end - text)) != NOTIFY_GO_ON) {
        return true;
    }
    w->is_announced = true; /* not again when it has its server connection */
    return false;
}

/* While nobody in the pool listens a NOTIFY is not noted. If a LISTEN follows in the same transaction it counts after all:
 * the client hears it. So a LISTEN in a transaction that has begun before it is taken for a NOTIFY as well. */
static bool is_in_transaction(const struct client *c)
{
    const struct backend *b = c->lease.backend;

    return c->lease.state == LEASE_HELD &&
           (b->tx_status != 'I' || b->inflight.executes || inflight_count_ready(&b->inflight) > 0);
}

static bool notifies(const struct client *c, const char *text, size_t len, bool listens)
{
    return (listens || notify_hub_is_used(c->pool)) && sql_might_contain(text, len, "notify");
}

enum notify_verdict client_notify_query(struct client *c, const uint8_t *m, size_t len,
                                        const struct frame *f, bool silent)
{
    const char *text = (const char *)m + FRAME_HEADER_BYTES;
    size_t text_len = f->total - FRAME_HEADER_BYTES - 1;
    struct notify_work *w;
    bool listens;
    bool notes;

    if (LIKELY(silent && c->notify == NULL && c->pool->hub == NULL)) {
        return NOTIFY_GO_ON;
    }
    if ((!notify_relays(c) && !notify_refuses(c)) || f->total > SCAN_MAX_BYTES) {
        return NOTIFY_GO_ON;
    }
    if (len < f->total) {
        return NOTIFY_MORE;
    }
    listens = !silent && sql_might_contain(text, text_len, "listen");
    if (LIKELY(!listens && c->notify == NULL && !notify_hub_is_used(c->pool))) {
        return NOTIFY_GO_ON;
    }
    if (listens && notify_refuses(c) && has_listen(c, text, text_len)) {
        return NOTIFY_REFUSE;
    }
    if (!notify_relays(c)) {
        return NOTIFY_GO_ON;
    }
    notes = notifies(c, text, text_len, listens || notify_is_active(c));
    if (LIKELY(!listens && !notes && !notify_is_active(c))) {
        return notify_n_channels(c->notify) > 0
                   ? NOTIFY_ALONE
                   : NOTIFY_GO_ON; /* it may notify, by a function or a trigger */
    }
    w = notify_record(c);
    if (w == NULL) {
        return NOTIFY_CLOSED;
    }
    if (listens && is_too_many(c, w, text, text_len)) {
        w->seq++;
        return NOTIFY_TOO_MANY;
    }
    if (listens) {
        enum notify_verdict verdict = announce(c, w, text, text_len);

        if (verdict != NOTIFY_GO_ON) {
            return verdict;
        }
    }
    forget_early(c->notify);
    w->has_notified = w->has_notified || notes || (listens && is_in_transaction(c));
    w->seq++;
    if ((listens || listen_log_is_active(&w->log)) && !expect_all(c, w, text, text_len)) {
        return NOTIFY_CLOSED;
    }
    return NOTIFY_ALONE;
}

static size_t text_length(const struct stmt *stmt)
{
    return strnlen((const char *)stmt->body, stmt->body_len);
}

static bool is_control(const char *text, size_t len)
{
    struct sql_lexer lx;
    struct sql_statement st;

    sql_lexer_init(&lx, text, len, 0);
    return sql_statement_next(&lx, &st) && st.kind >= SQL_SAVEPOINT &&
           st.kind <= SQL_PREPARE_TRANSACTION;
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
    stmt->controls = is_control((const char *)stmt->body, len);
}

enum notify_verdict client_notify_parse(const struct client *c, struct stmt *stmt)
{
    if (stmt == NULL || !notify_refuses(c)) {
        return NOTIFY_GO_ON;
    }
    scan(stmt);
    return stmt->listens && has_listen(c, (const char *)stmt->body, text_length(stmt))
               ? NOTIFY_REFUSE
               : NOTIFY_GO_ON;
}

static struct portal *find_portal(const struct notify_work *w, const char *name)
{
    struct portal *p;

    list_for_each(&w->portals, p, link) {
        if (strcmp(p->name, name) == 0) {
            return p;
        }
    }
    return NULL;
}

static void add_portal(struct client *c, const char *name, struct stmt *stmt)
{
    struct notify_work *w = notify_record(c);
    size_t size = strlen(name) + 1;
    struct portal *p;

    if (w == NULL || w->portals.n >= PORTALS_MAX) {
        return;
    }
    p = malloc(sizeof(*p) + size);
    if (p == NULL) {
        notify_out_of_memory(c);
        return;
    }
    *p = (struct portal){.stmt = stmt_ref(stmt)};
    memcpy(p->name, name, size);
    list_add_tail(&w->portals, &p->link);
}

/* A portal may be executed long after it was bound, behind a LISTEN that comes only now. A ROLLBACK that waits in the
 * unnamed one meanwhile is not minded: no client does that, and each COMMIT would cost something. */
static bool must_be_minded(const struct client *c, const char *portal, const struct stmt *stmt)
{
    return notify_is_active(c) || client_notify_minds_portals(c) ||
           (stmt->controls && portal[0] != '\0') || (stmt->notifies && notify_hub_is_used(c->pool));
}

void client_notify_bind(struct client *c, const char *portal, struct stmt *stmt)
{
    struct notify_work *w;
    struct portal *before;

    if (!notify_relays(c)) {
        return;
    }
    if (stmt != NULL) {
        scan(stmt);
    }
    w = notify_work_of(c);
    before = UNLIKELY(w != NULL) ? find_portal(w, portal) : NULL;
    if (before != NULL) {
        notify_drop_portal(w, before);
    }
    if (UNLIKELY(stmt != NULL && (stmt->listens || must_be_minded(c, portal, stmt)))) {
        add_portal(c, portal, stmt);
    }
}

bool client_notify_minds_portals(const struct client *c)
{
    const struct notify_work *w = notify_work_of(c);

    return w != NULL && !list_is_empty(&w->portals);
}

enum notify_verdict client_notify_execute(struct client *c, const char *portal)
{
    struct notify_work *w = notify_work_of(c);
    const struct portal *p = find_portal(w, portal);
    const char *text;
    size_t len;

    if (p == NULL) {
        return NOTIFY_GO_ON;
    }
    text = (const char *)p->stmt->body;
    len = text_length(p->stmt);
    if (p->stmt->listens) {
        enum notify_verdict verdict = announce(c, w, text, len);

        if (verdict != NOTIFY_GO_ON) {
            return verdict;
        }
    }
    if (!w->is_expecting) {
        w->is_expecting = true;
        w->seq++;
        forget_early(c->notify);
    }
    w->has_notified =
        w->has_notified || p->stmt->notifies || (p->stmt->listens && is_in_transaction(c));
    if (p->stmt->listens && is_too_many(c, w, text, len)) {
        return NOTIFY_TOO_MANY;
    }
    if ((p->stmt->listens || listen_log_is_active(&w->log)) && !expect_all(c, w, text, len)) {
        return NOTIFY_CLOSED;
    }
    return NOTIFY_GO_ON;
}

enum notify_verdict client_notify_call(struct client *c)
{
    if (LIKELY(notify_n_channels(c->notify) == 0)) {
        return NOTIFY_GO_ON;
    }
    c->notify->may_have_notified = true; /* it ends without a tag */
    return NOTIFY_ALONE;
}

enum notify_verdict client_notify_sync(struct client *c)
{
    struct notify_work *w = notify_work_of(c);

    if (LIKELY(w == NULL) || (!w->is_expecting && !notify_is_active(c))) {
        return notify_n_channels(c->notify) > 0 ? NOTIFY_ALONE : NOTIFY_GO_ON;
    }
    if (!w->is_expecting) {
        w->seq++;
    }
    w->is_expecting = false;
    return NOTIFY_ALONE;
}
