/* SPDX-License-Identifier: ISC */
#include "daemon/handover.h"

#include "daemon/client_move.h"
#include "daemon/client_notify_internal.h"
#include "daemon/handover_internal.h"
#include "daemon/listener.h"
#include "daemon/metrics_http.h"
#include "daemon/systemd.h"
#include "daemon/version.h"
#include "pool/backend_move.h"

#include "daemon/util/fatal.h"
#include "daemon/util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TICK_US (10 * USEC_PER_MSEC)
/* For hubs and logins to come to rest. */
#define CALM_US USEC_PER_SEC

static void on_kick(struct loop_deferred *work);

static struct pool *next_pool(const struct server *s, const struct pool *after)
{
    struct database *db;
    struct pool *pool;
    bool is_next = after == NULL;

    list_for_each(&s->env->databases, db, link) {
        list_for_each(&db->pools, pool, link) {
            if (is_next) {
                return pool;
            }
            is_next = pool == after;
        }
    }
    return NULL;
}

#define for_each_pool(s, pool) \
    for (struct pool * (pool) = next_pool(s, NULL); (pool) != NULL; (pool) = next_pool(s, pool))

static void kick(struct handover *h)
{
    loop_defer(h->s->loop, &h->kick, on_kick);
}

/* --- clients come to rest --- */

static void close_tls(struct client *c)
{
    client_close_text(c, SQLSTATE_ADMIN_SHUTDOWN, "%s", SERVER_SHUTDOWN_TEXT);
}

void handover_hold(struct client *c)
{
    if (c->conn.tls != NULL) {
        close_tls(c);
        return;
    }
    c->hold = HOLD_TAKEOVER;
    c->lease.since_us = clock_now_us();
    conn_want_read(&c->conn, c->server->loop, false);
    if (c->server->handover != NULL) {
        kick(c->server->handover);
    }
}

/* A TLS client between two transactions. */
static bool is_due(const struct client *c)
{
    switch ((enum client_state)c->state) {
    case CLIENT_IDLE:
        return true;
    case CLIENT_WAITING:
        return c->hold == HOLD_LEASE;
    case CLIENT_ACTIVE:
        return c->replication == REPLICATION_NONE && backend_is_quiet(c->lease.backend) &&
               c->body_left == 0 && c->hold == HOLD_NONE;
    default:
        return false;
    }
}

void handover_boundary(struct client *c)
{
    struct handover *h = c->server->handover;

    if (h == NULL) {
        return;
    }
    if (c->conn.tls == NULL) {
        (void)client_freeze(c);
    } else if (h->is_committed && is_due(c)) {
        close_tls(c);
        return;
    }
    kick(h);
}

static void freeze_all(struct handover *h)
{
    struct server *s = h->s;
    struct client *c;

    for (uint32_t i = 0; i < s->n_slots; i++) {
        c = s->slots[i];
        if (c == NULL || c->state == CLIENT_CONSOLE || client_freeze(c)) {
            continue;
        }
        if (h->is_committed && c->conn.tls != NULL && is_due(c)) {
            close_tls(c);
        }
    }
    list_for_each(&s->logins, c, link) {
        (void)client_freeze(c);
    }
}

/* --- thawing: the new process is gone --- */

static int by_wait(const void *a, const void *b)
{
    const struct client *x = *(struct client *const *)a;
    const struct client *y = *(struct client *const *)b;

    if (x->lease.since_us != y->lease.since_us) {
        return x->lease.since_us < y->lease.since_us ? -1 : 1;
    }
    return x->id < y->id ? -1 : x->id > y->id;
}

static bool is_listed(const struct client *c, uint32_t moving)
{
    return c != NULL && c->hold == HOLD_TAKEOVER && (moving == 0 || c->moving == moving);
}

void handover_thaw_clients(struct server *s, uint32_t moving)
{
    struct client **all = calloc((size_t)s->n_slots + s->logins.n + 1, sizeof(struct client *));
    struct client *c;
    size_t n = 0;

    if (all == NULL) {
        log_error("out of memory: clients cannot go on");
        return;
    }
    for (uint32_t i = 0; i < s->n_slots; i++) {
        if (is_listed(s->slots[i], moving)) {
            all[n++] = s->slots[i];
        }
    }
    list_for_each(&s->logins, c, link) {
        if (is_listed(c, moving) && c->vpid == 0) {
            all[n++] = c;
        }
    }
    qsort(all, n, sizeof(struct client *), by_wait); /* who has waited longest queues first */
    for (size_t i = 0; i < n; i++) {
        client_thaw(all[i]); /* closed ones are freed at the end of the turn */
    }
    free(all);
}

static void thaw_backend(struct backend *b)
{
    b->moving = 0;
    backend_want_read(b, true);
}

static void thaw_pool(struct pool *pool)
{
    for (unsigned state = BACKEND_IDLE; state < BACKEND_CLOSED; state++) {
        struct backend *b;

        list_for_each(&pool->backends[state], b, link) {
            if (b->moving != 0) {
                thaw_backend(b);
            }
        }
    }
    for (struct notify_hub *hub = pool->hub; hub != NULL; hub = notify_hub_next(hub)) {
        notify_hub_thaw(hub);
    }
    pool->n_told = 0;
    pool_dispatch_later(pool);
}

static void go_on_alone(struct handover *h, const char *why)
{
    struct server *s = h->s;

    if (h->is_committed) {
        log_warning("online restart: %s: what was handed over to process %d is lost, going on "
                    "with what is left",
                    why, (int)h->peer);
        pidfile_write_again(h->pidfile);
    } else {
        log_warning("online restart: %s: going on as before", why);
    }
    s->env->is_held = false;
    s->handover = NULL;
    for_each_pool(s, pool)
    {
        thaw_pool(pool);
    }
    handover_thaw_clients(s, 0);
    listeners_resume(s);
    handover_free(h);
}

/* --- the end --- */

static void finish(struct handover *h)
{
    const struct takeover_msg bye = {.type = TAKEOVER_BYE};

    log_info("online restart: everything is handed over to process %d", (int)h->peer);
    takeover_link_send(&h->link, &bye, -1);
    takeover_link_flush(&h->link);
    h->has_ended = true;
    server_end(h->s, SERVER_SHUTDOWN_TEXT);
}

/* Server connections that are free but cannot move. */
static void close_useless(struct pool *pool)
{
    struct backend *b;

    list_for_each(&pool->backends[BACKEND_IDLE], b, link) {
        if (b->moving == 0 && !backend_may_move(b)) {
            backend_close(b, "online restart: this one cannot move", NULL);
        }
    }
}

static bool is_over(const struct handover *h)
{
    const struct server *s = h->s;

    if (s->n_clients > s->consoles.n) {
        return false;
    }
    for_each_pool(s, pool)
    {
        if (pool->n_backends > 0) {
            return false;
        }
    }
    return true;
}

/* How many connections of each pool are still ours: they count in the new process's limits. */
static void tell_retained(struct handover *h)
{
    for_each_pool(h->s, pool)
    {
        struct takeover_msg m = {.type = TAKEOVER_RETAINED};
        unsigned n = pool->n_backends - handover_count_moving(pool);

        if (n == pool->n_told) {
            continue;
        }
        handover_send_pool(h, pool); /* it may not know it */
        m.u.retained.database = pool->db->name;
        m.u.retained.user = pool->user->name;
        m.u.retained.n = n;
        takeover_link_send(&h->link, &m, -1);
        pool->n_told = n;
    }
}

/* --- a batch --- */

static void begin_batch(struct handover *h)
{
    h->seq++;
    h->batch = HANDOVER_SENDING;
    h->stage = 0;
    h->next_slot = 0;
    h->has_sent = false;
    h->n_cuts = 0;
}

/* Sends as much as there is room for. */
static void pump(struct handover *h)
{
    struct takeover_msg end = {.type = TAKEOVER_BATCH_END, .u.seq = h->seq};

    h->last_pool = NULL;
    while (h->batch == HANDOVER_SENDING && takeover_link_has_room(&h->link)) {
        if (handover_send_next(h)) {
            h->has_sent = true;
            continue;
        }
        if (h->has_sent || !h->is_committed) {
            if (!h->is_committed) { /* later ones count here until they are gone */
                tell_retained(h);
            }
            takeover_link_send(&h->link, &end, -1);
            h->batch = HANDOVER_ASKED;
        } else {
            h->batch = HANDOVER_AT_REST;
        }
    }
    takeover_link_flush(&h->link);
}

static bool is_flushed(const struct server *s)
{
    for (uint32_t i = 0; i < s->n_slots; i++) {
        if (s->slots[i] != NULL && s->slots[i]->moving != 0 &&
            conn_queued(&s->slots[i]->conn) > 0) {
            return false;
        }
    }
    return true;
}

/* Each hub whose subscribers may have been told something by the new process must have drawn its line. */
static bool is_cut(const struct handover *h)
{
    unsigned n = 0;

    for_each_pool(h->s, pool)
    {
        for (const struct notify_hub *hub = pool->hub; hub != NULL; hub = notify_hub_next(hub)) {
            n += notify_hub_is_proxy(hub);
        }
    }
    return h->n_cuts >= n;
}

static void commit_first(struct handover *h)
{
    struct server *s = h->s;

    h->is_committed = true;
    systemd_mute(s);
    pidfile_leave(h->pidfile);
    listeners_give_away(s, h->kept, h->n_kept);
    metrics_http_close_listeners(s->http);
    log_info("online restart: handed over %u clients and %u server connections to process %d, "
             "%u clients stay until they are through",
             h->n_clients, h->n_servers, (int)h->peer, s->n_clients - s->consoles.n - h->n_clients);
}

/* From here on it is the new one's. */
static void go(struct handover *h)
{
    struct takeover_msg m = {.type = TAKEOVER_GO, .u.seq = h->seq};

    if (h->batch != HANDOVER_ASKED || !h->has_answer || !is_cut(h) || !is_flushed(h->s)) {
        return;
    }
    if (!h->is_committed) {
        h->s->http = metrics_http_free(h->s->http); /* the new process takes the port */
    }
    handover_send_queues(h);
    takeover_link_send(&h->link, &m, -1);
    takeover_link_flush(&h->link);
    if (!h->is_committed) {
        commit_first(h);
    }
    handover_forget_moved(h);
    h->batch = HANDOVER_AT_REST;
    h->last_pool = NULL; /* a new batch names it anew */
    h->has_answer = false;
    kick(h);
}

void handover_cut(struct server *s, struct notify_hub *hub)
{
    struct handover *h = s->handover;

    if (h == NULL) {
        return;
    }
    h->n_cuts++;
    for (uint32_t i = 0; i < s->n_slots; i++) {
        struct client *c = s->slots[i];

        if (c != NULL && c->moving != 0 && c->notify != NULL && c->notify->hub == hub) {
            notify_hub_unsubscribe_all(hub, &c->notify->subscriber);
        }
    }
    kick(h);
}

/* --- time passes --- */

static bool is_calm(const struct handover *h)
{
    const struct server *s = h->s;
    const struct client *c;

    if (clock_now_us() - h->since_us >= CALM_US) {
        return true;
    }
    list_for_each(&s->logins, c, link) {
        if (c->state == CLIENT_AUTH) {
            return false;
        }
    }
    for_each_pool(s, pool)
    {
        for (struct notify_hub *hub = pool->hub; hub != NULL; hub = notify_hub_next(hub)) {
            if (notify_hub_is_listening(hub) && notify_hub_movable(hub) == NULL &&
                !notify_hub_is_tls(hub)) {
                return false;
            }
        }
    }
    return true;
}

/* Until the first GO everybody waits for the new process. */
static void check_patience(struct handover *h)
{
    usec_t patience_us = h->s->config->settings.suspend_timeout_us;
    struct takeover_msg m = {.type = TAKEOVER_ABORT,
                             .u.text = "it took longer than suspend_timeout"};

    if (h->is_committed || patience_us == 0 ||
        clock_now_us() - h->since_us < patience_us + CALM_US) {
        return;
    }
    takeover_link_send(&h->link, &m, -1);
    takeover_link_flush(&h->link);
    h->end_why = "the new process did not take it within suspend_timeout";
    kick(h);
}

static void look(struct handover *h)
{
    if (h->phase == HANDOVER_CALMING && is_calm(h)) {
        h->phase = HANDOVER_MOVING;
        h->s->env->is_held = true;
        freeze_all(h);
        begin_batch(h);
    }
    if (h->phase != HANDOVER_MOVING || h->has_ended) {
        return;
    }
    if (h->batch == HANDOVER_AT_REST) {
        freeze_all(h);
        for_each_pool(h->s, pool)
        {
            close_useless(pool);
        }
        tell_retained(h);
        if (is_over(h)) {
            finish(h);
            return;
        }
        begin_batch(h);
    }
    if (h->batch == HANDOVER_SENDING) {
        pump(h);
    }
    go(h);
    check_patience(h);
}

/* Everything that may end the handover happens here, at the end of a turn. */
static void on_kick(struct loop_deferred *work)
{
    struct handover *h = container_of(work, struct handover, kick);

    if (h->end_why == NULL && takeover_link_is_broken(&h->link)) {
        h->end_why = "the socket to the new process is broken";
    }
    if (h->end_why != NULL && !h->has_ended) {
        go_on_alone(h, h->end_why);
        return;
    }
    look(h);
}

static void on_tick(struct loop_timer *timer)
{
    struct handover *h = container_of(timer, struct handover, tick);

    loop_timer_set(h->s->loop, &h->tick, TICK_US);
    kick(h);
}

/* --- what the new process says --- */

static void on_ready(struct handover *h, const struct takeover_msg *m)
{
    if (h->phase != HANDOVER_OFFERED) {
        h->end_why = "the new process says things out of order";
        return;
    }
    h->n_kept = MIN(m->u.ready.len, sizeof(h->kept));
    if (h->n_kept > 0) {
        memcpy(h->kept, m->u.ready.data, h->n_kept);
    }
    h->phase = HANDOVER_CALMING;
    h->since_us = clock_now_us();
    listeners_suspend(h->s);
    for_each_pool(h->s, pool)
    {
        for (struct notify_hub *hub = pool->hub; hub != NULL; hub = notify_hub_next(hub)) {
            notify_hub_freeze(hub);
        }
    }
    loop_timer_set(h->s->loop, &h->tick, TICK_US);
}

/* The new process does not want this client: it ends here, and so does its transaction. */
static void drop_refused(struct handover *h, struct client *c, const char *reason)
{
    struct backend *b = c->lease.state == LEASE_HELD ? c->lease.backend : NULL;

    if (b != NULL && b->moving != 0) {
        thaw_backend(b);
        h->n_servers -= h->is_committed ? 0 : 1;
    }
    h->n_clients -= h->is_committed ? 0 : 1;
    c->moving = 0;
    client_close_text(c, SQLSTATE_ADMIN_SHUTDOWN, "%.100s", reason);
}

static void on_refused(struct handover *h, const struct takeover_msg *m)
{
    struct server *s = h->s;

    for (uint32_t i = 0; i < s->n_slots; i++) {
        struct client *c = s->slots[i];

        if (c != NULL && c->id == m->u.refused.id && c->moving != 0) {
            drop_refused(h, c, m->u.refused.reason);
            return;
        }
    }
}

static void on_message(struct handover *h, const struct takeover_msg *m, int fd)
{
    switch (m->type) {
    case TAKEOVER_READY:
        on_ready(h, m);
        return;
    case TAKEOVER_HAVE:
        h->has_answer = h->batch == HANDOVER_ASKED && m->u.seq == h->seq;
        return;
    case TAKEOVER_REFUSED:
        on_refused(h, m);
        return;
    case TAKEOVER_CANCEL:
        client_cancel_moved(h->s, fd, m->u.cancel.data, m->u.cancel.len);
        return;
    case TAKEOVER_BYE: /* the new one was told to end: so are we */
        log_info("online restart: the new process ends, so does this one");
        h->has_ended = true;
        server_end(h->s, SERVER_SHUTDOWN_TEXT);
        return;
    default:
        if (fd >= 0) {
            (void)close(fd);
        }
        h->end_why = "the new process says things that it should not";
        return;
    }
}

static void take_all(struct handover *h)
{
    struct takeover_msg *m = &h->received;
    enum takeover_take r = TAKEOVER_TOOK;
    int fd = -1;

    while (h->end_why == NULL && !h->has_ended && r == TAKEOVER_TOOK) {
        r = takeover_link_take(&h->link, m, &fd);
        if (r == TAKEOVER_TOOK) {
            on_message(h, m, fd);
        }
    }
    if (r == TAKEOVER_GARBAGE) {
        h->end_why = "the new process sends garbage";
    }
}

static void on_io(struct loop_io *io, unsigned events)
{
    struct handover *h =
        container_of(container_of(io, struct takeover_link, io), struct handover, link);

    if ((events & LOOP_WRITE) != 0) {
        takeover_link_flush(&h->link);
    }
    if ((events & LOOP_READ) != 0 && h->end_why == NULL) {
        ssize_t n = takeover_link_receive(&h->link);

        if (n > 0) {
            take_all(h);
        } else if (n != -EAGAIN) {
            h->end_why = "the new process has ended";
        }
    }
    kick(h);
}

/* --- the beginning --- */

static pid_t peer_of(int fd)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 ? cred.pid : 0;
}

static void offer(struct handover *h)
{
    struct server *s = h->s;
    struct takeover_msg m = {.type = TAKEOVER_HELLO};
    const struct listener *l;

    m.u.hello.protocol = TAKEOVER_PROTOCOL;
    m.u.hello.pid = (uint32_t)getpid();
    m.u.hello.next_id = s->env->next_id + (1U << 20); /* ours go on for a while */
    m.u.hello.version_seed = s->env->version_seed;
    m.u.hello.n_slots = s->n_slots;
    m.u.hello.watchdog_us = systemd_watchdog_us(s);
    m.u.hello.process_key = (struct takeover_bytes){s->process_key, sizeof(s->process_key)};
    m.u.hello.version = PGPOOLD_VERSION_TEXT;
    takeover_link_send(&h->link, &m, -1);
    list_for_each(&s->listeners, l, link) {
        if (l->fd >= 0) {
            m = (struct takeover_msg){.type = TAKEOVER_LISTENER,
                                      .u.listener.is_inherited = l->is_inherited};
            takeover_link_send(&h->link, &m, l->fd);
        }
    }
    if (h->pidfile != NULL && h->pidfile->fd >= 0) {
        m = (struct takeover_msg){.type = TAKEOVER_PIDFILE, .u.text = h->pidfile->path};
        takeover_link_send(&h->link, &m, h->pidfile->fd);
    }
    m = (struct takeover_msg){.type = TAKEOVER_OFFERED};
    takeover_link_send(&h->link, &m, -1);
    takeover_link_flush(&h->link);
}

/* The console's last word on this socket. */
static void send_complete(struct client *c)
{
    static const uint8_t complete[] = {'C', 0, 0, 0, 13, 'T', 'A', 'K', 'E', 'O', 'V', 'E', 'R', 0};

    client_send(c, complete, sizeof(complete));
}

const char *handover_begin(struct client *c)
{
    struct server *s = c->server;
    pid_t peer = client_is_own_uid(c) ? peer_of(conn_fd(&c->conn)) : 0;
    struct handover *h;
    int fd;

    if (peer == 0) {
        return "only a process of the same user may take over, through the Unix socket";
    }
    if (s->handover != NULL || s->takeover != NULL) {
        return "an online restart is under way already";
    }
    if (s->state != SERVER_RUNS) {
        return "the process is suspended, or on its way to its end";
    }
    fd = fcntl(conn_fd(&c->conn), F_DUPFD_CLOEXEC, 3);
    h = fd < 0 ? NULL : calloc(1, sizeof(*h));
    if (h == NULL) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return "out of memory or descriptors";
    }
    send_complete(c);
    h->s = s;
    h->peer = peer;
    h->pidfile = s->pidfile;
    loop_timer_init(&h->tick, on_tick);
    takeover_link_init(&h->link, fd);
    if (!takeover_link_watch(&h->link, s->loop, on_io)) {
        handover_free(h);
        return "the socket cannot be used";
    }
    s->handover = h;
    log_info("online restart: process %d takes over", (int)peer);
    offer(h);
    return NULL;
}

struct handover *handover_free(struct handover *h)
{
    if (h == NULL) {
        return NULL;
    }
    if (h->s->handover == h) {
        h->s->handover = NULL;
    }
    loop_timer_stop(h->s->loop, &h->tick);
    loop_defer_cancel(h->s->loop, &h->kick);
    handover_drop_proxies(h);
    takeover_link_done(&h->link);
    free(h);
    return NULL;
}
