/* SPDX-License-Identifier: ISC */
#include "pool/backend_move.h"

#include "daemon/util/fatal.h"
#include "pool/notify_hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* --- the old process --- */

bool backend_may_move(const struct backend *b)
{
    bool is_calm = b->state == BACKEND_IDLE || b->state == BACKEND_HUB ||
                   (b->state == BACKEND_ACTIVE && b->lease != NULL);

    return is_calm && b->conn.tls == NULL && !b->conn.broken && conn_queued(&b->conn) == 0 &&
           b->replication == REPLICATION_NONE && inflight_is_empty(&b->inflight) &&
           !b->inflight.unsynced && !b->inflight.copy_in && !inflight_is_skipping(&b->inflight) &&
           !inflight_is_doubtful(&b->inflight) && b->body_left == 0 && b->out_left == 0 &&
           b->in.len == 0 && b->n_cancels == 0;
}

void params_pack(const struct params *p, struct takeover_params *ret)
{
    ret->n = p == NULL ? 0 : MIN(p->n, TAKEOVER_PARAMS_MAX);
    for (unsigned i = 0; i < ret->n; i++) {
        ret->entries[i] =
            (struct startup_param){.name = p->entries[i].name, .value = p->entries[i].value};
    }
}

void backend_pack(const struct backend *b, struct takeover_backend *ret)
{
    bool is_due =
        b->close_needed || b->generation != b->pool->generation || b->target != b->pool->db->target;

    ret->id = b->id;
    ret->tx_status = b->tx_status;
    ret->flags =
        (uint8_t)((b->was_used ? TAKEOVER_WAS_USED : 0) | (is_due ? TAKEOVER_CLOSE_NEEDED : 0) |
                  (b->listens ? TAKEOVER_LISTENS : 0));
    ret->pid = b->pid;
    ret->key = (struct takeover_bytes){b->key, b->key_len};
    ret->port = (uint16_t)b->port;
    ret->host = b->host;
    ret->dbname = b->target->dbname;
    ret->connected_us = b->connected_us;
    ret->request_us = b->request_us;
    ret->idle_since_us = b->idle_since_us;
    ret->xact_start_us = b->xact_start_us;
    ret->lifetime_us = b->lifetime_us;
    ret->owner_pid = b->owner_pid;
    ret->next_stmt_id = b->stmts.next_id;
    ret->unnamed = b->unnamed != NULL ? b->unnamed->sent_as : 0;
    ret->unnamed_of = b->unnamed_of;
    params_pack(b->params, &ret->params);
}

static void close_fd(struct backend *b)
{
    conn_done(&b->conn, b->pool->env->loop);
}

void backend_forget(struct backend *b)
{
    struct lease *l = b->lease;

    close_fd(b); /* so that backend_close() has nothing to say goodbye on */
    if (l != NULL) {
        l->state = LEASE_NONE;
        l->backend = NULL;
        l->pool = NULL;
        b->lease = NULL;
    }
    b->moving = 0;
    backend_close(b, "handed over to the new process", NULL);
}

void backend_replace_fd(struct backend *b, int fd)
{
    close_fd(b);
    conn_init(&b->conn, fd, backend_on_io);
    b->moving = 0;
    conn_want_read(&b->conn, b->pool->env->loop, true);
}

/* --- the new process --- */

struct params *params_unpack(struct params_table *table, const struct takeover_params *t)
{
    struct param entries[TAKEOVER_PARAMS_MAX];

    for (unsigned i = 0; i < t->n; i++) {
        for (unsigned j = 0; j < i; j++) {
            if (strcasecmp(t->entries[i].name, t->entries[j].name) == 0) {
                return NULL; /* a set has each name once */
            }
        }
        entries[i] = (struct param){.name = t->entries[i].name, .value = t->entries[i].value};
    }
    return params_intern(table, entries, t->n);
}

/* Would it be opened as it is now? */
static bool fits(const struct target *target, const struct takeover_backend *t)
{
    if (strcmp(target->dbname, t->dbname) != 0) {
        return false;
    }
    for (unsigned i = 0; i < target->n_hosts; i++) {
        if (target->hosts[i].port == t->port && strcmp(target->hosts[i].name, t->host) == 0) {
            return true;
        }
    }
    return false;
}

static void set_fields(struct backend *b, const struct takeover_backend *t)
{
    b->id = t->id;
    b->tx_status = t->tx_status;
    b->was_used = (t->flags & TAKEOVER_WAS_USED) != 0;
    b->listens = (t->flags & TAKEOVER_LISTENS) != 0;
    b->close_needed = (t->flags & TAKEOVER_CLOSE_NEEDED) != 0 || !fits(b->target, t);
    b->pid = t->pid;
    memcpy(b->key, t->key.data, t->key.len);
    b->key_len = t->key.len;
    b->port = t->port;
    (void)snprintf(b->host_name, sizeof(b->host_name), "%s", t->host); /* for logs: cut is meant */
    b->connected_us = t->connected_us;
    b->request_us = t->request_us;
    b->idle_since_us = t->idle_since_us;
    b->xact_start_us = t->xact_start_us;
    b->lifetime_us = t->lifetime_us;
    b->owner_pid = t->owner_pid;
    b->unnamed_of = t->unnamed_of;
    b->stmts.next_id = t->next_stmt_id;
}

struct backend *backend_drop(struct backend *b)
{
    conn_done(&b->conn, b->pool->env->loop);
    stmt_cache_done(&b->stmts);
    b->unnamed = stmt_unref(b->unnamed);
    b->params = params_unref(b->params);
    b->target = target_unref(b->target);
    free(b->host);
    free(b);
    return NULL;
}

struct backend *backend_adopt(struct pool *pool, const struct takeover_backend *t, int fd)
{
    struct backend *b = t->key.len <= sizeof(b->key) ? backend_new(pool) : NULL;

    if (b == NULL) {
        (void)close(fd);
        return NULL;
    }
    conn_init(&b->conn, fd, backend_on_io);
    b->host = strdup(t->host);
    b->params = params_unpack(pool->env->params, &t->params);
    if (b->host == NULL || b->params == NULL) {
        return backend_drop(b);
    }
    set_fields(b, t);
    backend_connect_addresses(fd, &b->peer, &b->local);
    return b;
}

void backend_awaken(struct backend *b)
{
    struct pool *pool = b->pool;

    if (b->hub != NULL) {
        b->is_hub = true;
        b->state = BACKEND_HUB;
    } else if (b->lease != NULL) {
        b->state = BACKEND_ACTIVE;
        pool->n_backends++;
    } else {
        b->state = BACKEND_IDLE;
        pool->n_backends++;
    }
    pool->db->n_connections++;
    pool->user->n_connections++;
    list_add_tail(&pool->backends[b->state], &b->link);
    conn_want_read(&b->conn, pool->env->loop, true);
    if (b->state == BACKEND_IDLE && b->close_needed) {
        backend_close(b, "database configuration changed", NULL);
        return;
    }
    pool_wake_at(pool, clock_now_us()); /* its lifetime, its idleness, its transaction */
}
