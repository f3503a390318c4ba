/* SPDX-License-Identifier: ISC */
/* The old process still has clients that listen, but its hub's connection is ours: it has a socket pair instead, and at
 * this end of it we play the server for it. It says LISTEN, UNLISTEN and empty queries (barriers), one Query at a time,
 * in the words of pool/notify_hub.c; it gets NotificationResponses, and its answers when our own hub's round trip is
 * over. So for its clients nothing changes: what was committed before a barrier has been received. */
#include "daemon/takeover_internal.h"

#include "protocol/conn.h"
#include "protocol/frame.h"
#include "protocol/sql_lexer.h"

#include <stdlib.h>
#include <string.h>

/* A round trip of a hub is half of that. */
#define QUERY_MAX_BYTES ((size_t)1 << 20)

struct hub_proxy {
    struct list_node link; /* in takeover->proxies */
    struct takeover *t;
    struct notify_hub *hub;
    struct conn conn;
    struct subscriber subscriber;
    struct hub_waiter waiter; /* a Query waits for our hub */
    struct buf in;
    unsigned n_statements; /* of that Query */
    bool is_lost;
    struct loop_deferred end;
};

static void on_end(struct loop_deferred *work)
{
    struct hub_proxy *p = container_of(work, struct hub_proxy, end);

    hub_waiter_forget(&p->waiter);
    notify_hub_unsubscribe_all(p->hub, &p->subscriber);
    conn_done(&p->conn, p->t->s->loop);
    buf_done(&p->in);
    list_remove(&p->t->proxies, &p->link);
    free(p);
}

/* Never at once: the hub may be walking its subscribers. */
static void lose(struct hub_proxy *p)
{
    p->is_lost = true;
    loop_defer(p->t->s->loop, &p->end, on_end);
}

static void send_buf(struct hub_proxy *p, struct buf *b)
{
    if (!p->is_lost && (!buf_ok(b) || !conn_send(&p->conn, p->t->s->loop, b->data, b->len))) {
        lose(p);
    }
    buf_done(b);
}

/* --- a Query --- */

static void on_round_trip(struct hub_waiter *w, bool ok)
{
    struct hub_proxy *p = container_of(w, struct hub_proxy, waiter);
    struct buf b = BUF_INIT(QUERY_MAX_BYTES);

    if (!ok) {
        lose(p); /* a gap, which the old process tells its clients */
        return;
    }
    for (unsigned i = 0; i < p->n_statements; i++) {
        size_t start = wire_begin(&b, 'C');

        wire_put_cstr(&b, "LISTEN");
        wire_end(&b, start);
    }
    if (p->n_statements == 0) {
        wire_end(&b, wire_begin(&b, 'I'));
    }
    startup_put_ready(&b, 'I');
    send_buf(p, &b);
    if (!p->is_lost) {
        conn_want_read(&p->conn, p->t->s->loop, true);
    }
}

static void run_query(struct hub_proxy *p, const char *text, size_t len)
{
    struct sql_lexer lx;
    struct sql_statement st;

    p->n_statements = 0;
    sql_lexer_init(&lx, text, len, 0);
    while (sql_statement_next(&lx, &st)) {
        bool wait;

        p->n_statements++;
        if (st.kind == SQL_LISTEN) {
            if (notify_hub_subscribe(p->hub, &p->subscriber, st.name, 0, &wait) < 0) {
                lose(p);
                return;
            }
        } else if (st.kind == SQL_UNLISTEN) {
            notify_hub_unsubscribe(p->hub, &p->subscriber, st.name);
        }
    }
    conn_want_read(&p->conn, p->t->s->loop, false); /* one at a time */
    notify_hub_wait(p->hub, &p->waiter);
}

static void work(struct hub_proxy *p)
{
    struct frame f;

    while (!p->is_lost && p->waiter.in == NULL && p->in.len > 0) {
        switch (frame_peek(msg_from_client, p->in.data, p->in.len, &f)) {
        case FRAME_PARTIAL:
            return;
        case FRAME_BAD:
            lose(p);
            return;
        case FRAME_OK:
            break;
        }
        if (f.type != 'Q' || f.total > QUERY_MAX_BYTES) { /* 'X': it is through */
            lose(p);
            return;
        }
        if (p->in.len < f.total) {
            return;
        }
        run_query(p, (const char *)p->in.data + FRAME_HEADER_BYTES,
                  f.total - FRAME_HEADER_BYTES - 1);
        buf_consume(&p->in, f.total);
    }
}

static void on_io(struct loop_io *io, unsigned events)
{
    struct hub_proxy *p = container_of(container_of(io, struct conn, io), struct hub_proxy, conn);
    struct pool_env *env = p->t->s->env;

    if ((events & LOOP_WRITE) != 0) {
        conn_on_writable(&p->conn, env->loop);
    }
    if ((events & LOOP_READ) != 0 && !p->is_lost) {
        ssize_t n = conn_read(&p->conn, env->loop, env->scratch, ENV_SCRATCH_BYTES);

        if (n < 0 || (n > 0 && !buf_append(&p->in, env->scratch, (size_t)n))) {
            lose(p);
        } else if (n > 0) {
            work(p);
        }
    }
}

/* --- what the hub tells --- */

enum notify_fate takeover_forward(struct subscriber *to, const uint8_t *msg, size_t len)
{
    struct hub_proxy *p = container_of(to, struct hub_proxy, subscriber);

    if (!p->is_lost && !conn_send(&p->conn, p->t->s->loop, msg, len)) {
        lose(p);
    }
    return p->is_lost ? NOTIFY_DROPPED : NOTIFY_TOLD;
}

void takeover_forward_gap(struct subscriber *to)
{
    lose(container_of(to, struct hub_proxy, subscriber));
}

/* --- life --- */

static bool subscribe_all(struct hub_proxy *p)
{
    const struct channel_set *set = notify_hub_channels(p->hub);
    const struct channel *ch;

    list_for_each(&set->empty, ch, link) {
        bool wait;

        if (notify_hub_subscribe(p->hub, &p->subscriber, ch->name, 0, &wait) < 0) {
            return false;
        }
    }
    return true;
}

bool takeover_add_proxy(struct takeover *t, struct notify_hub *hub, int fd)
{
    struct hub_proxy *p = calloc(1, sizeof(*p));

    if (p == NULL) {
        return false;
    }
    p->t = t;
    p->hub = hub;
    p->in = BUF_INIT(2 * QUERY_MAX_BYTES);
    p->waiter.done = on_round_trip;
    conn_init(&p->conn, fd, on_io);
    subscriber_init(&p->subscriber);
    p->subscriber.is_proxy = true;
    list_add_tail(&t->proxies, &p->link);
    if (!subscribe_all(p)) {
        lose(p);
    }
    return true;
}

void takeover_serve_proxies(struct takeover *t)
{
    struct hub_proxy *p;

    list_for_each(&t->proxies, p, link) {
        if (!p->is_lost && p->waiter.in == NULL) {
            conn_want_read(&p->conn, t->s->loop, true);
        }
    }
}

void takeover_cut_proxies(struct takeover *t)
{
    struct hub_proxy *p;

    list_for_each(&t->proxies, p, link) {
        struct buf b = BUF_INIT(256);
        size_t start = wire_begin(&b, 'A');

        wire_put_u32(&b, 0); /* nobody's */
        wire_put_cstr(&b, NOTIFY_HUB_CUT_CHANNEL);
        wire_put_cstr(&b, "");
        wire_end(&b, start);
        send_buf(p, &b);
    }
}

void takeover_drop_proxies(struct takeover *t)
{
    while (!list_is_empty(&t->proxies)) {
        struct hub_proxy *p = list_entry(list_first(&t->proxies), struct hub_proxy, link);

        loop_defer_cancel(t->s->loop, &p->end);
        on_end(&p->end);
    }
}
