/* SPDX-License-Identifier: ISC */
#include "daemon/takeover_internal.h"

#include "daemon/listener.h"
#include "daemon/systemd.h"
#include "daemon/util/log.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* After its end of the socket is closed, for the old process to be really gone. */
#define DEATH_MS 2000

static void on_look(struct loop_deferred *work);

static void fail(struct takeover *t, const char *why)
{
    if (t->failed == NULL) {
        (void)snprintf(t->why, sizeof(t->why), "%s", why);
        t->failed = t->why;
    }
}

/* --- the moments --- */

static void dispatch_all(struct server *s)
{
    struct database *db;
    struct pool *pool;

    list_for_each(&s->env->databases, db, link) {
        list_for_each(&db->pools, pool, link) {
            pool_dispatch_later(pool);
        }
    }
}

/* All that has come is ours. */
static void commit(struct takeover *t)
{
    struct server *s = t->s;
    bool is_first = !t->is_committed;

    t->is_committed = true;
    s->env->is_held = false;
    takeover_awaken(t);
    t->seq++;
    if (is_first) {
        dispatch_all(s);
        if (t->pidfile_fd >= 0) {
            (void)unlink(t->pidfile_path); /* we have another one, and nobody this one any more */
        }
        systemd_watchdog_inherit(s, t->watchdog_us);
        log_info("online restart: took %u clients and %u server connections over from process %d",
                 t->n_clients, t->n_servers, (int)t->peer);
        loop_stop(s->loop); /* takeover_run() goes on */
    }
}

/* Nothing more comes: limits and numbers are ours alone. */
static void end(struct takeover *t, const char *why)
{
    struct server *s = t->s;
    struct database *db;
    struct pool *pool;

    if (t->has_ended) {
        return;
    }
    t->has_ended = true;
    s->slot_floor = 0;
    list_for_each(&s->env->databases, db, link) {
        list_for_each(&db->pools, pool, link) {
            pool_set_elsewhere(pool, 0);
        }
    }
    log_info("online restart: process %d %s; %u clients and %u server connections came over",
             (int)t->peer, why, t->n_clients, t->n_servers);
}

/* Its socket is closed. When the process is gone too, what it has left to us has no other owner. */
static bool is_dead(const struct takeover *t)
{
    struct pollfd p = {.fd = t->peer_fd, .events = POLLIN};

    return t->peer_fd >= 0 && poll(&p, 1, DEATH_MS) == 1;
}

static void on_eof(struct takeover *t)
{
    struct client *half;

    if (!is_dead(t)) {
        fail(t, "the old process closed the connection");
        return;
    }
    log_warning("online restart: process %d has died, going on with what came from it",
                (int)t->peer);
    half = t->client; /* what belongs to it may not have come */
    commit(t);
    if (half != NULL) {
        client_close_text(half, SQLSTATE_ADMIN_SHUTDOWN, "%s", SERVER_SHUTDOWN_TEXT);
    }
    end(t, "is dead");
}

/* --- records --- */

static void on_retained(struct takeover *t, const struct takeover_msg *m)
{
    struct server *s = t->s;
    struct database *db = database_find(s->env, m->u.retained.database);
    struct pool_user *user = pool_user_find(s->env, m->u.retained.user);
    struct pool *pool = db == NULL || user == NULL ? NULL : pool_find(db, user);

    if (pool != NULL) {
        pool_set_elsewhere(pool, m->u.retained.n);
    }
}

static void on_batch_end(struct takeover *t, uint32_t seq)
{
    struct takeover_msg m = {.type = TAKEOVER_HAVE, .u.seq = seq};

    t->client = NULL; /* it is whole */
    if (t->is_committed) {
        takeover_cut_proxies(t);
    }
    takeover_link_send(&t->link, &m, -1);
    takeover_link_flush(&t->link);
}

static void on_message(struct takeover *t, int fd)
{
    const struct takeover_msg *m = &t->msg;

    switch (m->type) {
    case TAKEOVER_RETAINED:
        on_retained(t, m);
        return;
    case TAKEOVER_BATCH_END:
        on_batch_end(t, m->u.seq);
        return;
    case TAKEOVER_GO:
        commit(t);
        return;
    case TAKEOVER_ABORT:
        fail(t, m->u.text);
        return;
    case TAKEOVER_BYE:
        end(t, "has ended");
        return;
    default:
        if (!takeover_take(t, m, fd)) {
            fail(t, "a record of the old process cannot be used");
        }
        return;
    }
}

static void take_all(struct takeover *t)
{
    enum takeover_take r = TAKEOVER_TOOK;
    int fd;

    while (t->failed == NULL && !t->has_ended && r == TAKEOVER_TOOK) {
        r = takeover_link_take(&t->link, &t->msg, &fd);
        if (r == TAKEOVER_TOOK) {
            on_message(t, fd);
        }
    }
    if (r == TAKEOVER_GARBAGE) {
        fail(t, "the old process sends garbage");
    }
}

static void on_io(struct loop_io *io, unsigned events)
{
    struct takeover *t =
        container_of(container_of(io, struct takeover_link, io), struct takeover, link);

    if ((events & LOOP_WRITE) != 0) {
        takeover_link_flush(&t->link);
    }
    if ((events & LOOP_READ) != 0) {
        ssize_t n = takeover_link_receive(&t->link);

        if (n > 0) {
            take_all(t);
        } else if (n != -EAGAIN) {
            on_eof(t);
        }
    }
    loop_defer(t->s->loop, &t->look, on_look);
}

/* At the end of a turn: is it over? */
static void on_look(struct loop_deferred *work)
{
    struct takeover *t = container_of(work, struct takeover, look);
    struct server *s = t->s;

    if (t->failed == NULL && takeover_link_is_broken(&t->link)) {
        fail(t, "the socket to the old process is broken");
    }
    if (!t->is_committed) {
        if (t->failed != NULL) {
            loop_stop(s->loop);
        }
        return;
    }
    if (t->failed != NULL) {
        log_warning("online restart: %s: what was on its way is lost", t->why);
        end(t, "is not listened to any more");
    }
    if (t->has_ended) {
        takeover_free(t);
    }
}

/* --- the course --- */

static void tell_kept(struct takeover *t, const struct list *listeners)
{
    struct takeover_msg m = {.type = TAKEOVER_READY};
    uint8_t kept[TAKEOVER_LISTENERS_MAX] = {0};
    const struct listener *l;

    list_for_each(listeners, l, link) {
        if (l->offer > 0 && l->offer <= sizeof(kept)) {
            kept[l->offer - 1] = 1;
        }
    }
    m.u.ready.data = kept;
    m.u.ready.len = MIN(t->n_listeners, sizeof(kept));
    takeover_link_send(&t->link, &m, -1);
    takeover_link_flush(&t->link);
}

bool takeover_run(struct takeover *t, struct server *s, const struct list *listeners,
                  struct config_errors *errors)
{
    t->s = s;
    s->takeover = t;
    s->slot_floor = t->n_slots;
    s->env->next_id = MAX(s->env->next_id, t->next_id);
    s->env->version_seed = t->version_seed;
    memcpy(s->process_key, t->process_key, sizeof(s->process_key));
    if (!takeover_link_watch(&t->link, s->loop, on_io)) {
        config_errors_add(errors, NULL, 0, "-R: the socket to the old process cannot be used");
        return false;
    }
    tell_kept(t, listeners);
    loop_run(s->loop);
    if (s->takeover != NULL && !t->is_committed) { /* it may be over, and freed, by now */
        config_errors_add(errors, NULL, 0, "-R: nothing was taken over: %s",
                          t->failed != NULL ? t->failed : "told to end");
        return false;
    }
    return true;
}

bool takeover_pass_cancel(struct client *c, const void *packet, size_t len)
{
    struct takeover *t = c->server->takeover;
    struct takeover_msg m = {.type = TAKEOVER_CANCEL, .u.cancel = {packet, len}};

    if (t == NULL || t->has_ended) {
        return false;
    }
    /* With TLS as well: nobody writes there any more, and its close is all that the client waits for. */
    takeover_link_send(&t->link, &m, conn_fd(&c->conn));
    return true;
}

struct takeover *takeover_free(struct takeover *t)
{
    if (t == NULL) {
        return NULL;
    }
    if (t->s != NULL) {
        struct takeover_msg bye = {.type = TAKEOVER_BYE};

        if (!t->has_ended) {
            takeover_link_send(&t->link, &bye, -1);
            takeover_link_flush(&t->link);
        }
        t->s->takeover = NULL;
        loop_defer_cancel(t->s->loop, &t->look);
        takeover_drop_proxies(t);
        takeover_forget_dormant(t);
    }
    takeover_take_done(t);
    takeover_link_done(&t->link);
    if (t->peer_fd >= 0) {
        (void)close(t->peer_fd);
    }
    if (t->pidfile_fd >= 0) {
        (void)close(t->pidfile_fd);
    }
    free(t->pidfile_path);
    explicit_bzero(t->process_key, sizeof(t->process_key));
    free(t);
    return NULL;
}
