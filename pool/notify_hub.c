/* SPDX-License-Identifier: ISC */
#include "pool/notify_hub_internal.h"

#include "daemon/util/fatal.h"
#include "daemon/util/log.h"
#include "pool/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* SQL of one round trip; what does not fit waits for the next one. */
#define BATCH_MAX_BYTES ((size_t)256 * 1024)
#define RETRY_FIRST_US (100 * USEC_PER_MSEC)
#define RETRY_MOST_US (10 * USEC_PER_SEC)
/* Who waits for its first LISTEN is told after so many attempts. */
#define RETRY_PATIENCE_US (4 * RETRY_FIRST_US)

/* A storm of LISTENs: as long as each round trip finds this many new ones, the next one begins after twice the pause;
 * but at once when there are enough for one, or when no more have come for a quarter of the pause. */
#define STORM_LISTENS 4U
#define ENOUGH_LISTENS 100U
#define PACE_FIRST_US USEC_PER_MSEC
#define PACE_MOST_US (128 * USEC_PER_MSEC)

static void go_on(struct notify_hub *hub);
static void on_timer(struct loop_timer *timer);
static void on_pace(struct loop_timer *timer);

static struct loop *loop_of(const struct notify_hub *hub)
{
    return hub->pool->env->loop;
}

/* "utf-8" and "UTF8" are one: as PostgreSQL compares them. It has accepted the name, so it is not too long. */
static void put_encoding(char ret[HUB_ENCODING_BYTES], const char *name)
{
    size_t n = 0;

    for (; *name != '\0' && n < HUB_ENCODING_BYTES - 1; name++) {
        char c = *name >= 'a' && *name <= 'z' ? (char)(*name - 'a' + 'A') : *name;

        if ((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) {
            ret[n++] = c;
        }
    }
    ret[n] = '\0';
}

bool notify_hub_has_encoding(const struct notify_hub *hub, const char *encoding)
{
    char wanted[HUB_ENCODING_BYTES];

    put_encoding(wanted, encoding);
    return strcmp(hub->encoding, wanted) == 0;
}

struct notify_hub *notify_hub_of(struct pool *pool, const char *encoding)
{
    struct notify_hub *hub;

    for (hub = pool->hub; hub != NULL; hub = hub->next) {
        if (notify_hub_has_encoding(hub, encoding)) {
            return hub;
        }
    }
    hub = calloc(1, sizeof(*hub));
    if (hub == NULL) {
        return NULL;
    }
    put_encoding(hub->encoding, encoding);
    hub->id = ++pool->env->next_id;
    hub->next = pool->hub;
    hub->pool = pool;
    hub->retry_us = RETRY_FIRST_US;
    channel_set_init(&hub->set);
    list_init(&hub->wanted);
    list_init(&hub->sent);
    list_init(&hub->waiting);
    list_init(&hub->served);
    loop_timer_init(&hub->timer, on_timer);
    loop_timer_init(&hub->pace, on_pace);
    pool->hub = hub;
    return hub;
}

static void unlink_all(struct list *l)
{
    while (!list_is_empty(l)) {
        list_remove(l, list_first(l));
    }
}

struct notify_hub *notify_hub_free(struct notify_hub *hub)
{
    while (hub != NULL) {
        struct notify_hub *next = hub->next;

        fatal_unless(hub->b == NULL);
        loop_timer_stop(loop_of(hub), &hub->timer);
        loop_timer_stop(loop_of(hub), &hub->pace);
        loop_defer_cancel(loop_of(hub), &hub->kick);
        unlink_all(&hub->wanted);
        unlink_all(&hub->sent);
        channel_set_done(&hub->set);
        free(hub);
        hub = next;
    }
    return NULL;
}

/* --- who waits --- */

void hub_waiter_forget(struct hub_waiter *w)
{
    if (w->in != NULL) {
        list_remove(w->in, &w->link);
        w->in = NULL;
    }
}

static void on_kick(struct loop_deferred *work)
{
    go_on(container_of(work, struct notify_hub, kick));
}

/* At the end of the turn, so that all who come in this turn share one round trip. */
void notify_hub_kick(struct notify_hub *hub)
{
    loop_defer(loop_of(hub), &hub->kick, on_kick);
}

void notify_hub_wait(struct notify_hub *hub, struct hub_waiter *w)
{
    fatal_unless(w->in == NULL);
    list_add_tail(&hub->waiting, &w->link);
    w->in = &hub->waiting;
    notify_hub_kick(hub);
}

static void finish_waiters(struct list *waiters, bool ok)
{
    for (unsigned n = waiters->n; n > 0 && !list_is_empty(waiters); n--) {
        struct hub_waiter *w = list_entry(list_first(waiters), struct hub_waiter, link);

        hub_waiter_forget(w);
        w->done(w, ok);
    }
}

/* --- subscriptions --- */

int notify_hub_subscribe(struct notify_hub *hub, struct subscriber *s, const char *name,
                         unsigned max, bool *ret_wait)
{
    struct channel *ch;
    int r = channel_subscribe(&hub->set, s, name, max, &ch);

    if (r != 0 && r != CHANNEL_E_ALREADY) {
        return r;
    }
    if (ch->hub_state == CHANNEL_WANTED && !list_node_is_linked(&ch->hub_link)) {
        list_add_tail(&hub->wanted, &ch->hub_link);
    }
    if (hub->state != HUB_PAUSED) {
        loop_timer_stop(loop_of(hub), &hub->timer);
    } /* else it tries again when the pause is over, and not with every LISTEN of an impatient client */
    *ret_wait = ch->hub_state != CHANNEL_ON;
    notify_hub_kick(hub);
    return 0;
}

void notify_hub_unsubscribe(struct notify_hub *hub, struct subscriber *s, const char *name)
{
    if (channel_unsubscribe(&hub->set, s, name)) {
        notify_hub_kick(hub);
    }
}

void notify_hub_unsubscribe_all(struct notify_hub *hub, struct subscriber *s)
{
    channel_unsubscribe_all(&hub->set, s);
    notify_hub_kick(hub);
}

/* --- a round trip --- */

static void put_name(struct buf *sql, const char *name)
{
    (void)buf_append_u8(sql, '"'); /* failures stick */
    for (const char *p = name; *p != '\0'; p++) {
        if (*p == '"') {
            (void)buf_append_u8(sql, '"');
        }
        (void)buf_append_u8(sql, (uint8_t)*p);
    }
    (void)buf_append_u8(sql, '"');
}

static void put_unlistens(struct notify_hub *hub, struct buf *sql)
{
    while (!list_is_empty(&hub->set.empty) && sql->len < BATCH_MAX_BYTES) {
        struct channel *ch = list_entry(list_first(&hub->set.empty), struct channel, link);

        if (ch->hub_state == CHANNEL_SENT) {
            return; /* its LISTEN is on its way: when that is back */
        }
        if (ch->hub_state == CHANNEL_WANTED) {
            list_remove(&hub->wanted, &ch->hub_link);
        } else {
            (void)buf_append_str(sql, "UNLISTEN ");
            put_name(sql, ch->name);
            (void)buf_append_u8(sql, ';');
        }
        channel_drop(&hub->set, ch);
    }
}

static void put_listens(struct notify_hub *hub, struct buf *sql)
{
    while (!list_is_empty(&hub->wanted) && sql->len < BATCH_MAX_BYTES &&
           (hub->most_listens == 0 || hub->sent.n < hub->most_listens)) {
        struct channel *ch = list_entry(list_first(&hub->wanted), struct channel, hub_link);

        (void)buf_append_str(sql, "LISTEN ");
        put_name(sql, ch->name);
        (void)buf_append_u8(sql, ';');
        list_remove(&hub->wanted, &ch->hub_link);
        list_add_tail(&hub->sent, &ch->hub_link);
        ch->hub_state = CHANNEL_SENT;
    }
}

static void send_query(struct notify_hub *hub, const char *sql)
{
    struct outvec out;

    hub->state = HUB_BUSY;
    hub->round_trips++;
    if (hub->pool->limits.server_connect_timeout_us > 0) { /* clients wait for it */
        loop_timer_set(loop_of(hub), &hub->timer, hub->pool->limits.server_connect_timeout_us);
    }
    outvec_init(&out, &hub->b->conn, loop_of(hub));
    if (!backend_inject_query(hub->b, &out, sql) || !backend_flush(hub->b, &out)) {
        return; /* it is closed, and notify_hub_lost() was called */
    }
}

/* true: a storm of LISTENs is under way, and it is too early for the next round trip. */
static bool must_pace(struct notify_hub *hub)
{
    usec_t now_us = clock_now_us();

    if (hub->pace_us == 0 || list_is_empty(&hub->wanted) || hub->wanted.n >= ENOUGH_LISTENS ||
        hub->is_quiet || now_us - hub->trip_us >= hub->pace_us) {
        hub->is_quiet = false;
        loop_timer_stop(loop_of(hub), &hub->pace);
        return false;
    }
    if (!loop_timer_is_set(&hub->pace)) {
        hub->n_seen = hub->wanted.n;
        loop_timer_set(loop_of(hub), &hub->pace,
                       MIN(hub->pace_us / 4, hub->pace_us - (now_us - hub->trip_us)));
    }
    return true;
}

static void choose_pace(struct notify_hub *hub)
{
    hub->trip_us = clock_now_us();
    if (hub->sent.n < STORM_LISTENS) {
        hub->pace_us = 0;
    } else {
        hub->pace_us = hub->pace_us == 0 ? PACE_FIRST_US : MIN(2 * hub->pace_us, PACE_MOST_US);
    }
}

static void begin_round_trip(struct notify_hub *hub)
{
    struct buf sql = BUF_INIT(2 * BATCH_MAX_BYTES);

    if (must_pace(hub)) {
        return;
    }
    put_unlistens(hub, &sql);
    put_listens(hub, &sql);
    if (sql.len == 0 && list_is_empty(&hub->waiting)) {
        buf_done(&sql);
        return;
    }
    while (!list_is_empty(&hub->waiting) && list_is_empty(&hub->wanted)) {
        struct hub_waiter *w = list_entry(list_first(&hub->waiting), struct hub_waiter, link);

        hub_waiter_forget(w);
        list_add_tail(&hub->served, &w->link);
        w->in = &hub->served;
    }
    choose_pace(hub);
    if (buf_ok(&sql)) {
        send_query(hub, buf_cstr(&sql));
    } else {
        backend_close(hub->b, "hub: out of memory", NULL);
    }
    buf_done(&sql);
}

static void open_connection(struct notify_hub *hub)
{
    if (hub->pool->db->pause !=
        DATABASE_RUNS) { /* looks again until it is not: there is no message when PAUSE ends */
        hub->state = HUB_PAUSED;
        loop_timer_set(loop_of(hub), &hub->timer, RETRY_FIRST_US);
        return;
    }
    hub->state = HUB_OPENING;
    if (pool_make_room(hub->pool)) {
        hub->b = backend_open_hub(hub->pool, hub);
    }
    if (hub->b == NULL && hub->state == HUB_OPENING) { /* else notify_hub_lost() was called */
        notify_hub_lost(hub, NULL, NULL);
    }
}

static void rest(struct notify_hub *hub)
{
    usec_t idle_us = hub->pool->limits.hub_idle_us;

    if (!loop_timer_is_set(&hub->timer)) {
        loop_timer_set(loop_of(hub), &hub->timer, idle_us);
    }
}

static void go_on(struct notify_hub *hub)
{
    bool is_needed = !list_is_empty(&hub->set.used) || !list_is_empty(&hub->waiting);

    if (hub->is_frozen) {
        return;
    }
    switch (hub->state) {
    case HUB_CLOSED:
        if (is_needed) {
            open_connection(hub);
        }
        return;
    case HUB_READY:
        begin_round_trip(hub);
        if (hub->state == HUB_READY && !is_needed) {
            rest(hub);
        }
        return;
    case HUB_OPENING:
    case HUB_BUSY:
    case HUB_PAUSED:
        return; /* when that is over */
    }
    unreachable();
}

static void on_timer(struct loop_timer *timer)
{
    struct notify_hub *hub = container_of(timer, struct notify_hub, timer);

    if (hub->state == HUB_PAUSED) {
        hub->state = HUB_CLOSED;
        go_on(hub);
    } else if (hub->state == HUB_BUSY) {
        backend_close(hub->b, "hub: no answer within server_connect_timeout", NULL);
    } else if (hub->state == HUB_READY && list_is_empty(&hub->set.used) &&
               list_is_empty(&hub->waiting) && !hub->is_frozen) {
        backend_close(hub->b, "hub: nobody listens", NULL);
    }
}

static void on_pace(struct loop_timer *timer)
{
    struct notify_hub *hub = container_of(timer, struct notify_hub, pace);

    hub->is_quiet = hub->wanted.n == hub->n_seen;
    go_on(hub);
}

/* --- the connection --- */

void notify_hub_ready(struct notify_hub *hub)
{
    hub->ready_since_us = clock_now_us();
    hub->pace_us = 0;
    if (hub->encoding[0] != '\0') {
        char sql[64 + HUB_ENCODING_BYTES];

        /* In a round trip of its own: a text is read in the encoding that is in force when it arrives. */
        (void)snprintf(sql, sizeof(sql), "SET client_encoding TO '%s'", hub->encoding);
        send_query(hub, sql);
        return;
    }
    hub->state = HUB_READY;
    go_on(hub);
}

/* Is it the one that stands for its subscriber, which may have many? */
static bool is_first(const struct subscription *sub)
{
    return list_first(&sub->subscriber->subscriptions) == &sub->by_subscriber;
}

void notify_hub_tell(struct notify_hub *hub, bool again)
{
    struct channel *ch;

    list_for_each(&hub->set.used, ch, link) {
        struct subscription *sub;

        channel_for_each_subscription(ch, sub)
        {
            if (is_first(sub)) {
                hub->pool->env->ops->gap(sub->subscriber, hub->gap, again);
            }
        }
    }
}

/* The server does not take its LISTEN even alone. */
static void give_channel_up(struct notify_hub *hub, struct channel *ch)
{
    struct subscription *sub;

    log_warning("pool %s/%s: a channel cannot be listened to", hub->pool->db->name,
                hub->pool->user->name);
    ch->hub_state = CHANNEL_ON; /* not again */
    channel_for_each_subscription(ch, sub)
    {
        if (!sub->subscriber->is_tentative) { /* else the server will say why */
            hub->pool->env->ops->gap(sub->subscriber, 0, false);
        }
    }
}

/* The server refused a round trip, of which nothing is done then. One LISTEN must be to blame: they are tried one by
 * one, and who listens to that channel is told. */
static void go_on_after_failure(struct notify_hub *hub)
{
    bool was_alone = hub->sent.n == 1;

    while (!list_is_empty(&hub->sent)) {
        struct list_node *last = list_last(&hub->sent);
        struct channel *ch = list_entry(last, struct channel, hub_link);

        list_remove(&hub->sent, last);
        if (was_alone) {
            give_channel_up(hub, ch);
        } else {
            ch->hub_state = CHANNEL_WANTED;
            list_add_head(&hub->wanted, &ch->hub_link);
        }
    }
    hub->most_listens = 1;
}

void notify_hub_done(struct notify_hub *hub, bool failed)
{
    if (failed && list_is_empty(&hub->sent)) {
        backend_close(hub->b, "hub: LISTEN failed", NULL);
        return;
    }
    hub->state = HUB_READY;
    hub->passed_us = hub->trip_us;
    loop_timer_stop(loop_of(hub), &hub->timer);
    if (failed) {
        go_on_after_failure(hub);
    }
    while (!list_is_empty(&hub->sent)) {
        struct channel *ch = list_entry(list_first(&hub->sent), struct channel, hub_link);

        list_remove(&hub->sent, &ch->hub_link);
        ch->hub_state = CHANNEL_ON;
    }
    if (list_is_empty(&hub->wanted)) {
        hub->most_listens = 0;
        hub->retry_us = RETRY_FIRST_US;
        if (hub->gap != 0) {
            notify_hub_tell(hub, true);
            hub->gap = 0;
        }
    }
    finish_waiters(&hub->served, true);
    notify_hub_kick(hub);
}

static bool is_same_server(const struct backend *a, const struct backend *b)
{
    return a->peer.family == b->peer.family && a->peer.port == b->peer.port &&
           strcmp(a->peer.text, b->peer.text) == 0;
}

static uint32_t owner_in_pool(const struct notify_hub *hub, const struct pool *pool, uint32_t pid)
{
    for (unsigned state = BACKEND_IDLE; state < BACKEND_CLOSED; state++) {
        struct backend *b;

        list_for_each(&pool->backends[state], b, link) {
            if (b->pid == pid && b->owner_pid != 0 && is_same_server(b, hub->b)) {
                return b->owner_pid;
            }
        }
    }
    return 0;
}

/* Who sent it, as its clients know it: the virtual pid of the client that has that server connection, or had it last. */
static uint32_t virtual_pid(const struct notify_hub *hub, uint32_t pid)
{
    struct database *db;

    list_for_each(&hub->pool->env->databases, db,
                  link) { /* another entry may lead to the same server */
        struct pool *pool;

        list_for_each(&db->pools, pool, link) {
            uint32_t owner = owner_in_pool(hub, pool, pid);

            if (owner != 0) {
                return owner;
            }
        }
    }
    return pid;
}

/* A name that the server has cut, since it is longer in the server's encoding than in ours, comes back shorter. */
static struct channel *find_received(struct notify_hub *hub, const char *name)
{
    struct channel *ch = channel_find(&hub->set, name);
    size_t len = strlen(name);

    if (ch != NULL || len < CHANNEL_NAME_MAX / 4) {
        return ch;
    }
    list_for_each(&hub->set.used, ch, link) {
        if (ch->name_len > len && memcmp(ch->name, name, len) == 0) {
            return ch;
        }
    }
    return NULL;
}

bool notify_hub_received(struct notify_hub *hub, const uint8_t *msg, size_t len)
{
    struct buf own = BUF_INIT(len);
    struct wire_reader r;
    uint32_t pid;
    const char *name;
    struct channel *ch;
    struct subscription *sub;

    wire_reader_init(&r, msg + FRAME_HEADER_BYTES, len - FRAME_HEADER_BYTES);
    pid = wire_get_u32(&r);
    name = wire_get_cstr(&r);
    (void)wire_get_cstr(&r); /* the payload goes on as it is */
    if (!wire_at_end(&r)) {
        return false;
    }
    if (hub->is_proxy && pid == 0 && strcmp(name, NOTIFY_HUB_CUT_CHANNEL) == 0) {
        hub->pool->env->ops->cut(hub->pool->env, hub);
        return true;
    }
    ch = find_received(hub, name);
    if (ch == NULL) {
        return true; /* nobody's any more */
    }
    ch->n_received++;
    hub->pool->metrics.n_notify_received++;
    if (!buf_append(&own, msg, len)) {
        backend_close(hub->b, "hub: out of memory", NULL); /* a gap that is told */
        return true;
    }
    wire_store_u32(own.data + FRAME_HEADER_BYTES, virtual_pid(hub, pid));
    channel_for_each_subscription(ch, sub)
    {
        switch (hub->pool->env->ops->notify(sub->subscriber, own.data, own.len)) {
        case NOTIFY_TOLD:
            ch->n_delivered++;
            hub->pool->metrics.n_notify_delivered++;
            break;
        case NOTIFY_QUEUED:
            ch->n_queued++;
            hub->pool->metrics.n_notify_queued++;
            ch->n_delivered++;
            hub->pool->metrics.n_notify_delivered++;
            break;
        case NOTIFY_DROPPED:
            ch->n_dropped++;
            hub->pool->metrics.n_notify_dropped++;
            break;
        case NOTIFY_NOT_YET:
            break;
        }
    }
    buf_done(&own);
    return true;
}

static void want_all_again(struct notify_hub *hub)
{
    struct channel *ch;

    unlink_all(&hub->wanted);
    unlink_all(&hub->sent);
    while (!list_is_empty(&hub->set.empty)) {
        channel_drop(&hub->set, list_entry(list_first(&hub->set.empty), struct channel, link));
    }
    list_for_each(&hub->set.used, ch, link) {
        ch->hub_state = CHANNEL_WANTED;
        list_add_tail(&hub->wanted, &ch->hub_link);
    }
}

uint32_t notify_hub_new_gap(struct notify_hub *hub)
{
    uint32_t gap = (uint32_t)++hub->pool->env->next_id;

    return gap != 0 ? gap : 1; /* it is only compared */
}

void notify_hub_lost(struct notify_hub *hub, struct backend *b, const struct pg_error *why)
{
    bool was_listening = hub->state == HUB_READY || hub->state == HUB_BUSY;
    bool is_hopeless;

    if (b != NULL && hub->b != NULL && b != hub->b) {
        return;
    }
    (void)why;
    hub->b = NULL;
    hub->is_proxy = false;
    hub->ready_since_us = 0;
    loop_timer_stop(loop_of(hub), &hub->pace);
    is_hopeless = !was_listening && hub->retry_us > RETRY_PATIENCE_US && hub->gap == 0;
    if ((was_listening || is_hopeless) && !list_is_empty(&hub->set.used)) {
        log_warning("pool %s/%s: the connection that listens %s: %u channels", hub->pool->db->name,
                    hub->pool->user->name, was_listening ? "was lost" : "cannot be opened",
                    hub->set.used.n);
        hub->gap = notify_hub_new_gap(hub);
        notify_hub_tell(hub, false);
    }
    want_all_again(hub);
    hub->state = HUB_PAUSED;
    loop_timer_set(loop_of(hub), &hub->timer, hub->retry_us);
    hub->retry_us = MIN(hub->retry_us * 2, RETRY_MOST_US);
    finish_waiters(&hub->served, false);
    if (was_listening || is_hopeless || hub->gap != 0) {
        finish_waiters(&hub->waiting, false);
    }
}

void notify_hub_reconnect(struct notify_hub *hub)
{
    for (; hub != NULL; hub = hub->next) {
        hub->retry_us = RETRY_FIRST_US;
        if (hub->b != NULL) {
            backend_close(hub->b, "database configuration changed", NULL);
        }
    }
}

/* --- questions --- */

bool notify_hub_is_used(const struct pool *pool)
{
    for (const struct notify_hub *hub = pool->hub; hub != NULL; hub = hub->next) {
        if (!list_is_empty(&hub->set.used)) {
            return true;
        }
    }
    return false;
}

struct notify_hub *notify_hub_next_listening(const struct pool *pool, const struct notify_hub *hub)
{
    struct notify_hub *next = hub == NULL ? pool->hub : hub->next;

    while (next != NULL && (list_is_empty(&next->set.used) ||
                            (next->state != HUB_READY && next->state != HUB_BUSY))) {
        next = next->next;
    }
    return next;
}

bool notify_hub_has_passed(const struct notify_hub *hub, usec_t moment_us)
{
    return hub->passed_us > moment_us;
}

uint32_t notify_hub_gap(const struct notify_hub *hub)
{
    return hub->gap;
}

bool notify_hub_listens(const struct notify_hub *hub, const char *channel)
{
    const struct channel *ch = channel_find(&hub->set, channel);

    return ch != NULL && ch->hub_state == CHANNEL_ON;
}

unsigned notify_hub_count_opening(const struct notify_hub *hub)
{
    unsigned n = 0;

    for (; hub != NULL; hub = hub->next) {
        n += hub->state == HUB_OPENING;
    }
    return n;
}

uint64_t notify_hub_id(const struct notify_hub *hub)
{
    return hub->id;
}

const char *notify_hub_encoding(const struct notify_hub *hub)
{
    return hub->encoding;
}

struct notify_hub *notify_hub_next(const struct notify_hub *hub)
{
    return hub->next;
}

const struct channel_set *notify_hub_channels(const struct notify_hub *hub)
{
    return &hub->set;
}

uint32_t notify_hub_pid(const struct notify_hub *hub)
{
    return hub->b != NULL ? hub->b->pid : 0;
}

usec_t notify_hub_age_us(const struct notify_hub *hub)
{
    return hub->ready_since_us == 0 ? 0 : clock_now_us() - hub->ready_since_us;
}

uint64_t notify_hub_round_trips(const struct notify_hub *hub)
{
    return hub->round_trips;
}
