/* SPDX-License-Identifier: ISC */
#include "pool/notify_hub.h"

#include "daemon/util/fatal.h"
#include "daemon/util/log.h"
#include "pool/pool.h"

#include <stdlib.h>
#include <string.h>

/* SQL of one round trip; what does not fit waits for the next one. */
#define BATCH_MAX_BYTES ((size_t)256 * 1024)
#define RETRY_FIRST_US (100 * USEC_PER_MSEC)
#define RETRY_MOST_US (10 * USEC_PER_SEC)

/* channel.hub_state */
enum {
    CHANNEL_WANTED, /* in hub->wanted: LISTEN is due */
    CHANNEL_SENT,   /* LISTEN is on its way */
    CHANNEL_ON,     /* the server sends its notifications */
};

enum hub_state {
    HUB_CLOSED,
    HUB_OPENING,
    HUB_READY, /* nothing is on its way */
    HUB_BUSY,  /* a round trip is under way */
    HUB_PAUSED, /* lost; tries again when the timer fires */
};

struct notify_hub {
    struct pool *pool;
    struct backend *b;
    enum hub_state state;
    struct channel_set set;
    struct list wanted;  /* struct channel by hub_link */
    struct list sent;    /* struct channel by hub_link */
    struct list waiting; /* struct hub_waiter: for the next round trip */
    struct list served;  /* struct hub_waiter: for the one under way */
    struct loop_timer timer;
    struct loop_deferred kick;
    usec_t ready_since_us;
    usec_t retry_us;     /* the next pause */
    bool was_lost;       /* the subscribers know of a gap and have to be told that it is over */
    uint64_t round_trips;
};

static void go_on(struct notify_hub *hub);
static void on_timer(struct loop_timer *timer);

static struct loop *loop_of(const struct notify_hub *hub)
{
    return hub->pool->env->loop;
}

struct notify_hub *notify_hub_of(struct pool *pool)
{
    struct notify_hub *hub = pool->hub;

    if (hub != NULL) {
        return hub;
    }
    hub = calloc(1, sizeof(*hub));
    if (hub == NULL) {
        return NULL;
    }
    hub->pool = pool;
    hub->retry_us = RETRY_FIRST_US;
    channel_set_init(&hub->set);
    list_init(&hub->wanted);
    list_init(&hub->sent);
    list_init(&hub->waiting);
    list_init(&hub->served);
    loop_timer_init(&hub->timer, on_timer);
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
    if (hub == NULL) {
        return NULL;
    }
    fatal_unless(hub->b == NULL);
    loop_timer_stop(loop_of(hub), &hub->timer);
    loop_defer_cancel(loop_of(hub), &hub->kick);
    unlink_all(&hub->wanted);
    unlink_all(&hub->sent);
    channel_set_done(&hub->set);
    free(hub);
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
static void kick(struct notify_hub *hub)
{
    loop_defer(loop_of(hub), &hub->kick, on_kick);
}

void notify_hub_wait(struct notify_hub *hub, struct hub_waiter *w)
{
    fatal_unless(w->in == NULL);
    list_add_tail(&hub->waiting, &w->link);
    w->in = &hub->waiting;
    kick(hub);
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

int notify_hub_subscribe(struct notify_hub *hub, struct subscriber *s, const char *name, unsigned max, bool *ret_wait)
{
    struct channel *ch;
    int r = channel_subscribe(&hub->set, s, name, max, &ch);

    if (r != 0 && r != CHANNEL_E_ALREADY) {
        return r;
    }
    if (ch->hub_state == CHANNEL_WANTED && !list_node_is_linked(&ch->hub_link)) {
        list_add_tail(&hub->wanted, &ch->hub_link);
    }
    loop_timer_stop(loop_of(hub), &hub->timer);
    if (hub->state == HUB_PAUSED) {
        hub->state = HUB_CLOSED; /* somebody needs it now: try at once */
    }
    *ret_wait = ch->hub_state != CHANNEL_ON;
    kick(hub);
    return 0;
}

void notify_hub_unsubscribe(struct notify_hub *hub, struct subscriber *s, const char *name)
{
    if (channel_unsubscribe(&hub->set, s, name)) {
        kick(hub);
    }
}

void notify_hub_unsubscribe_all(struct notify_hub *hub, struct subscriber *s)
{
    channel_unsubscribe_all(&hub->set, s);
    kick(hub);
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
    while (!list_is_empty(&hub->wanted) && sql->len < BATCH_MAX_BYTES) {
        struct channel *ch = list_entry(list_first(&hub->wanted), struct channel, hub_link);

        (void)buf_append_str(sql, "LISTEN ");
        put_name(sql, ch->name);
        (void)buf_append_u8(sql, ';');
        list_remove(&hub->wanted, &ch->hub_link);
        list_add_tail(&hub->sent, &ch->hub_link);
        ch->hub_state = CHANNEL_SENT;
    }
}

static void begin_round_trip(struct notify_hub *hub)
{
    struct buf sql = BUF_INIT(2 * BATCH_MAX_BYTES);
    struct outvec out;
    bool ok;

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
    hub->state = HUB_BUSY;
    hub->round_trips++;
    outvec_init(&out, &hub->b->conn, loop_of(hub));
    ok = buf_ok(&sql) && backend_inject_query(hub->b, &out, buf_cstr(&sql)) && backend_flush(hub->b, &out);
    if (!ok && hub->b != NULL) {
        backend_close(hub->b, "hub: out of memory", NULL);
    }
    buf_done(&sql);
}

static void open_connection(struct notify_hub *hub)
{
    hub->state = HUB_OPENING;
    hub->b = backend_open_hub(hub->pool);
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
    } else if (hub->state == HUB_READY && list_is_empty(&hub->set.used) && list_is_empty(&hub->waiting)) {
        backend_close(hub->b, "hub: nobody listens", NULL);
    }
}

/* --- the connection --- */

void notify_hub_ready(struct notify_hub *hub)
{
    hub->state = HUB_READY;
    hub->ready_since_us = clock_now_us();
    go_on(hub);
}

static void tell_gap_over(struct notify_hub *hub)
{
    struct channel *ch;

    hub->was_lost = false;
    hub->retry_us = RETRY_FIRST_US;
    list_for_each(&hub->set.used, ch, link) {
        struct subscription *sub;

        channel_for_each_subscription(ch, sub) {
            hub->pool->env->ops->gap(sub->subscriber, true);
        }
    }
}

void notify_hub_done(struct notify_hub *hub, bool failed)
{
    if (failed) {
        backend_close(hub->b, "hub: LISTEN failed", NULL);
        return;
    }
    hub->state = HUB_READY;
    while (!list_is_empty(&hub->sent)) {
        struct channel *ch = list_entry(list_first(&hub->sent), struct channel, hub_link);

        list_remove(&hub->sent, &ch->hub_link);
        ch->hub_state = CHANNEL_ON;
    }
    if (hub->was_lost && list_is_empty(&hub->wanted)) {
        tell_gap_over(hub);
    }
    finish_waiters(&hub->served, true);
    kick(hub);
}

/* Who sent it, as its clients know it: the virtual pid of the client that has that server connection. */
static uint32_t virtual_pid(const struct notify_hub *hub, uint32_t pid)
{
    struct pool *pool;

    list_for_each(&hub->pool->db->pools, pool, link) {
        for (unsigned state = BACKEND_IDLE; state < BACKEND_CLOSED; state++) {
            struct backend *b;

            list_for_each(&pool->backends[state], b, link) {
                if (b->pid == pid && b->owner_pid != 0) {
                    return b->owner_pid;
                }
            }
        }
    }
    return pid;
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
    ch = channel_find(&hub->set, name);
    if (ch == NULL || !buf_append(&own, msg, len)) {
        return true; /* nobody's any more; or no memory, then it counts as dropped below */
    }
    ch->n_received++;
    wire_store_u32(own.data + FRAME_HEADER_BYTES, virtual_pid(hub, pid));
    channel_for_each_subscription(ch, sub) {
        ch->n_delivered++;
        hub->pool->env->ops->notify(sub->subscriber, own.data, own.len);
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

/* Everybody who was listening: the callback may close clients, so the list is walked anew after each. */
static void tell_gap(struct notify_hub *hub)
{
    struct channel *ch;

    list_for_each(&hub->set.used, ch, link) {
        struct subscription *sub;

        channel_for_each_subscription(ch, sub) {
            hub->pool->env->ops->gap(sub->subscriber, false);
        }
    }
}

void notify_hub_lost(struct notify_hub *hub, struct backend *b, const struct pg_error *why)
{
    bool was_listening = hub->state == HUB_READY || hub->state == HUB_BUSY;

    if (b != NULL && hub->b != NULL && b != hub->b) {
        return;
    }
    (void)why;
    hub->b = NULL;
    hub->ready_since_us = 0;
    if (was_listening && !list_is_empty(&hub->set.used)) {
        hub->was_lost = true;
        tell_gap(hub);
    }
    want_all_again(hub);
    hub->state = HUB_PAUSED;
    loop_timer_set(loop_of(hub), &hub->timer, hub->retry_us);
    hub->retry_us = MIN(hub->retry_us * 2, RETRY_MOST_US);
    finish_waiters(&hub->served, false);
    if (was_listening || hub->retry_us > RETRY_FIRST_US * 4) {
        finish_waiters(&hub->waiting, false);
    }
}

/* --- questions --- */

bool notify_hub_is_used(const struct pool *pool)
{
    return pool->hub != NULL && !list_is_empty(&pool->hub->set.used);
}

bool notify_hub_is_opening(const struct notify_hub *hub)
{
    return hub->state == HUB_OPENING;
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
