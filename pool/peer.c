/* SPDX-License-Identifier: ISC */
#include "pool/peer.h"

#include "daemon/util/buf.h"
#include "daemon/util/fatal.h"
#include "daemon/util/log.h"

#include <stdlib.h>
#include <string.h>

#define DELIVERY_US (10 * USEC_PER_SEC)
#define ADDRS_TRIED_MAX 8U

struct forward {
    struct list_node link; /* in peer->active or peer->waiting */
    struct peer *peer;
    struct list waiters; /* struct cancel_waiter */
    struct resolve_request resolve;
    struct server_cancel *request; /* NULL: waits, or its host is looked up */
    struct loop_timer deadline;
    struct loop_deferred failing; /* a failure at the start is told from the loop */
    bool is_active;
    uint32_t pid;
    uint8_t secret[PEER_SECRET_MAX_BYTES];
    size_t len;
};

static void start(struct forward *f);

/* --- one request --- */

/* Active ones that are done make room for those that wait. */
static void serve_waiting(struct peer *peer)
{
    while (peer->active.n < peer->size && !list_is_empty(&peer->waiting)) {
        start(list_entry(list_first(&peer->waiting), struct forward, link));
    }
}

static void unlink_forward(struct forward *f)
{
    list_remove(f->is_active ? &f->peer->active : &f->peer->waiting, &f->link);
}

/* Tells who waits, and frees it. The peer may go on with others. */
static void finish(struct forward *f)
{
    struct peer *peer = f->peer;
    struct peers *p = peer->peers;

    unlink_forward(f);
    f->request = server_cancel_free(f->request);
    resolve_cancel(p->resolver, &f->resolve);
    loop_timer_stop(p->loop, &f->deadline);
    loop_defer_cancel(p->loop, &f->failing);
    while (!list_is_empty(&f->waiters)) {
        struct cancel_waiter *w = list_entry(list_first(&f->waiters), struct cancel_waiter, link);

        cancel_forget(w);
        w->done(w);
    }
    explicit_bzero(f->secret, sizeof(f->secret));
    free(f);
}

static void fail(struct forward *f, const char *why)
{
    struct peer *peer = f->peer;
    static struct log_rate rate;

    peer->n_failed++;
    if (log_rate_ok(&rate, 20)) {
        log_warning("peer %u (%s:%u): cancel request was not passed on: %s", peer->id, peer->host,
                    peer->port, why);
    }
    finish(f);
    serve_waiting(peer);
}

static void on_done(struct server_cancel *request, void *owner, enum server_cancel_status status,
                    const char *error)
{
    struct forward *f = owner;
    struct peer *peer = f->peer;

    (void)request;
    if (status != SERVER_CANCEL_DONE) {
        fail(f, error);
        return;
    }
    peer->n_done++;
    finish(f);
    serve_waiting(peer);
}

static void on_deadline(struct loop_timer *timer)
{
    struct forward *f = container_of(timer, struct forward, deadline);

    fail(f, f->is_active ? "timed out" : "cancel_wait_timeout is over, and others are still ahead");
}

static void on_failing(struct loop_deferred *work)
{
    fail(container_of(work, struct forward, failing), "out of memory");
}

static void send_to(struct forward *f, const char *host, const char *hostaddr)
{
    struct server_cancel_params p = {
        .connect = {.host = host, .hostaddr = hostaddr, .port = f->peer->port},
        .pid = f->pid,
        .key = f->secret,
        .key_len = f->len,
    };

    f->request = server_cancel_new(f->peer->peers->loop, &p, on_done, f);
    if (f->request == NULL) {
        loop_defer(f->peer->peers->loop, &f->failing, on_failing);
    }
}

static void on_resolved(struct resolve_request *req, const struct resolve_answer *answer)
{
    struct forward *f = container_of(req, struct forward, resolve);
    struct buf hosts = BUF_INIT(ADDRS_TRIED_MAX * 256);
    struct buf addrs = BUF_INIT(ADDRS_TRIED_MAX * 64);

    if (answer->status != RESOLVE_OK) {
        fail(f, answer->error);
        return;
    }
    for (unsigned i = 0; i < MIN(answer->n_addrs, ADDRS_TRIED_MAX); i++) {
        buf_append_str(&hosts, i > 0 ? "," : "");
        buf_append_str(&hosts, f->peer->host);
        buf_append_str(&addrs, i > 0 ? "," : "");
        buf_append_str(&addrs, answer->addrs[i].text);
    }
    if (buf_ok(&hosts) && buf_ok(&addrs)) {
        send_to(f, buf_cstr(&hosts), buf_cstr(&addrs));
    } else {
        loop_defer(f->peer->peers->loop, &f->failing, on_failing);
    }
    buf_done(&hosts);
    buf_done(&addrs);
}

/* Its turn has come: it waits no more. */
static void start(struct forward *f)
{
    struct peer *peer = f->peer;
    struct peers *p = peer->peers;
    struct cancel_waiter *w;

    unlink_forward(f);
    f->is_active = true;
    list_add_tail(&peer->active, &f->link);
    list_for_each(&f->waiters, w, link) {
        w->is_sent = true;
    }
    loop_timer_set(p->loop, &f->deadline, p->wait_us > 0 ? p->wait_us : DELIVERY_US);
    if (peer->host[0] == '/' || peer->host[0] == '@') {
        send_to(f, peer->host, NULL);
    } else if (resolve_is_numeric(peer->host)) {
        send_to(f, peer->host, peer->host);
    } else {
        resolve_request(p->resolver, &f->resolve, peer->host, on_resolved);
    }
}

static void add_waiter(struct forward *f, struct cancel_waiter *w)
{
    list_add_tail(&f->waiters, &w->link);
    w->in = &f->waiters;
    w->is_sent = f->is_active;
}

/* The same request that waits already: both are served by one. One that has left may be too early for the second. */
static struct forward *find_waiting(const struct peer *peer, uint32_t pid, const uint8_t *secret,
                                    size_t len)
{
    struct forward *f;

    list_for_each(&peer->waiting, f, link) {
        if (f->pid == pid && f->len == len && memcmp(f->secret, secret, len) == 0) {
            return f;
        }
    }
    return NULL;
}

bool peer_forward(struct peer *peer, uint32_t pid, const uint8_t *secret, size_t len,
                  struct cancel_waiter *w)
{
    struct forward *f = find_waiting(peer, pid, secret, len);

    fatal_unless(len > 0 && len <= PEER_SECRET_MAX_BYTES);
    if (f != NULL) {
        add_waiter(f, w);
        return true;
    }
    if (peer->waiting.n >= PEER_WAITING_MAX) {
        peer->n_failed++;
        return false;
    }
    f = calloc(1, sizeof(*f));
    if (f == NULL) {
        return false;
    }
    f->peer = peer;
    f->pid = pid;
    f->len = len;
    memcpy(f->secret, secret, len);
    list_init(&f->waiters);
    loop_timer_init(&f->deadline, on_deadline);
    list_add_tail(&peer->waiting, &f->link);
    add_waiter(f, w);
    if (peer->active.n < peer->size) {
        start(f);
    } else if (peer->peers->wait_us > 0) {
        loop_timer_set(peer->peers->loop, &f->deadline, peer->peers->wait_us);
    }
    return true;
}

/* --- the group --- */

struct peer *peer_new(unsigned id, const char *host, unsigned port, unsigned size)
{
    struct peer *peer = calloc(1, sizeof(*peer));

    if (peer == NULL) {
        return NULL;
    }
    peer->id = id;
    peer->port = port;
    peer->size = size;
    list_init(&peer->active);
    list_init(&peer->waiting);
    peer->host = strdup(host);
    if (peer->host == NULL) {
        free(peer);
        return NULL;
    }
    return peer;
}

static void end_all(const struct list *forwards)
{
    while (!list_is_empty(forwards)) {
        finish(list_entry(list_first(forwards), struct forward, link));
    }
}

void peer_list_done(struct list *list)
{
    struct peer *peer;

    list_for_each(list, peer, link) {
        list_remove(list, &peer->link);
        end_all(&peer->waiting);
        end_all(&peer->active);
        free(peer->host);
        free(peer);
    }
}

void peers_init(struct peers *p, struct loop *loop, struct resolver *resolver)
{
    list_init(&p->list);
    p->loop = loop;
    p->resolver = resolver;
}

void peers_done(struct peers *p)
{
    peer_list_done(&p->list);
}

static void move(struct list *from, struct list *to, struct peer *heir)
{
    while (!list_is_empty(from)) {
        struct forward *f = list_entry(list_first(from), struct forward, link);

        list_remove(from, &f->link);
        list_add_tail(to, &f->link);
        f->peer = heir;
    }
}

void peers_replace(struct peers *p, struct list *list)
{
    struct list gone;
    struct peer *peer;

    list_init(&gone);
    list_for_each(&p->list, peer, link) {
        list_remove(&p->list, &peer->link);
        list_add_tail(&gone, &peer->link);
    }
    list_for_each(list, peer, link) {
        list_remove(list, &peer->link);
        list_add_tail(&p->list, &peer->link);
        peer->peers = p;
    }
    list_for_each(&gone, peer, link) {
        struct peer *heir = peer_find(p, peer->id);

        if (heir != NULL) {
            move(&peer->active, &heir->active, heir);
            move(&peer->waiting, &heir->waiting, heir);
            heir->n_done = peer->n_done;
            heir->n_failed = peer->n_failed;
        }
    }
    peer_list_done(&gone);
    list_for_each(&p->list, peer, link) {
        serve_waiting(peer); /* its size may have grown */
    }
}

/* --- questions --- */

struct peer *peer_find(const struct peers *p, unsigned id)
{
    struct peer *peer;

    list_for_each(&p->list, peer, link) {
        if (peer->id == id) {
            return peer;
        }
    }
    return NULL;
}

unsigned peer_count_clients(const struct list *forwards)
{
    const struct forward *f;
    unsigned n = 0;

    list_for_each(forwards, f, link) {
        n += f->waiters.n;
    }
    return n;
}

unsigned peer_count_connecting(const struct peer *peer)
{
    const struct forward *f;
    unsigned n = 0;

    list_for_each(&peer->active, f, link) {
        n += f->request == NULL || server_cancel_is_connecting(f->request) ? 1 : 0;
    }
    return n;
}
