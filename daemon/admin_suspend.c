/* SPDX-License-Identifier: ISC */
#include "daemon/admin_suspend.h"

#include "daemon/client.h"

#include <stdlib.h>

#define LOOK_AGAIN_US (50 * USEC_PER_MSEC) /* flushed sockets tell nobody */

struct suspension {
    struct server_waiter waiter; /* looks for the RESUME */
    struct loop_timer timer;     /* goes on, whether or not the console that asked is still there */
    struct server *s;
    usec_t since_us;
};

static bool is_relayed(const struct client *c)
{
    return c != NULL &&
           (c->state == CLIENT_IDLE || c->state == CLIENT_WAITING || c->state == CLIENT_ACTIVE);
}

static bool backend_is_flushed(const struct backend *b)
{
    return inflight_is_empty(&b->inflight) && b->out_left == 0 && b->body_left == 0 &&
           b->in.len == 0 && conn_queued(&b->conn) == 0;
}

/* Between two requests, and nothing is on its way. What waits for a server connection waits whole, in memory. */
static bool client_is_flushed(const struct client *c)
{
    if (c->body_left > 0 || conn_queued(&c->conn) > 0) {
        return false;
    }
    if (c->lease.state == LEASE_HELD) {
        return backend_is_flushed(c->lease.backend) && c->in == NULL;
    }
    return c->in == NULL || c->hold == HOLD_LEASE;
}

static void go_on_reading(struct server *s)
{
    for (uint32_t i = 0; i < s->n_slots; i++) {
        struct client *c = s->slots[i];

        /* Whoever is on hold for want of room is not read, and was not stopped by us: it cannot be flushed. */
        if (is_relayed(c) && c->hold != HOLD_FULL) {
            conn_want_read(&c->conn, s->loop, true);
        }
    }
}

static void on_changed(struct server_waiter *w)
{
    struct suspension *p = container_of(w, struct suspension, waiter);
    struct server *s = p->s;

    if (s->state != SERVER_SUSPENDED) {
        admin_suspend_done(s);
        go_on_reading(s);
        client_login_resume(s);
    }
}

static void on_timer(struct loop_timer *timer)
{
    struct suspension *p = container_of(timer, struct suspension, timer);

    if (admin_suspend_go_on(p->s) > 0) {
        loop_timer_set(p->s->loop, &p->timer, LOOK_AGAIN_US);
    } else {
        server_changed(p->s); /* the console that waits answers */
    }
}

void admin_suspend_done(struct server *s)
{
    struct suspension *p = s->admin;

    if (p != NULL) {
        loop_timer_stop(s->loop, &p->timer);
        list_remove(&s->waiters, &p->waiter.link);
        free(p);
        s->admin = NULL;
    }
}

bool admin_suspend(struct server *s)
{
    struct suspension *p = s->admin != NULL ? s->admin : calloc(1, sizeof(*p));
    struct database *db;

    if (p == NULL) {
        return false;
    }
    if (s->admin == NULL) {
        p->s = s;
        p->waiter.fn = on_changed;
        loop_timer_init(&p->timer, on_timer);
        list_add_tail(&s->waiters, &p->waiter.link);
        s->admin = p;
    }
    p->since_us = clock_now_us();
    loop_timer_set(s->loop, &p->timer, LOOK_AGAIN_US);
    s->state = SERVER_SUSPENDED;
    list_for_each(&s->env->databases, db, link) {
        if (db->pause == DATABASE_RUNS) {
            db->pause = DATABASE_SUSPENDED;
        }
    }
    return true;
}

unsigned admin_suspend_go_on(struct server *s)
{
    const struct suspension *p = s->admin;
    usec_t timeout_us = s->config->settings.suspend_timeout_us;
    bool is_late = p != NULL && timeout_us > 0 && clock_now_us() - p->since_us >= timeout_us;
    unsigned left = 0;

    for (uint32_t i = 0; i < s->n_slots; i++) {
        struct client *c = s->slots[i];

        if (!is_relayed(c)) {
            continue;
        }
        if (client_is_flushed(c)) {
            conn_want_read(&c->conn, s->loop, false);
        } else if (is_late) {
            client_close_text(c, SQLSTATE_ADMIN_SHUTDOWN, "suspend_timeout");
        } else {
            left++;
        }
    }
    return left;
}
