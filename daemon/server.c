/* SPDX-License-Identifier: ISC */
#include "daemon/server.h"

#include "daemon/admin_suspend.h"
#include "daemon/auth_cache.h"
#include "daemon/auth_worker.h"
#include "daemon/canon.h"
#include "daemon/client.h"
#include "daemon/client_notify.h"
#include "daemon/handover.h"
#include "daemon/listener.h"
#include "daemon/metrics_http.h"
#include "daemon/reload_internal.h"
#include "daemon/signals.h"
#include "daemon/stats.h"
#include "daemon/systemd.h"
#include "daemon/takeover_internal.h"
#include "daemon/util/fatal.h"
#include "daemon/util/log.h"
#include "protocol/cancel_key.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_AT_FIRST 64U
#define MOCK_CACHE_ENTRIES 64U
/* Standard streams, epoll, log, pid file, resolver, and some room. */
#define DESCRIPTORS_BESIDES 64U

static void on_changed(struct loop_deferred *work);
static void on_ending(struct loop_deferred *work);

/* --- life --- */

static void env_changed(struct pool_env *env)
{
    server_changed(container_of(env->ops, struct server, env_ops));
}

static enum notify_fate env_notify(struct subscriber *to, const uint8_t *msg, size_t len)
{
    return UNLIKELY(to->is_proxy) ? takeover_forward(to, msg, len)
                                  : client_notify_deliver(to, msg, len);
}

static void env_gap(struct subscriber *to, uint32_t gap, bool again)
{
    if (!to->is_proxy) {
        client_notify_gap(to, gap, again);
    } else if (!again) {
        takeover_forward_gap(to);
    }
}

static void env_cut(struct pool_env *env, struct notify_hub *hub)
{
    handover_cut(container_of(env->ops, struct server, env_ops), hub);
}

static void on_host_moved(void *owner, const char *name, const struct resolve_answer *answer)
{
    struct server *s = owner;
    struct database *db;
    struct pool *pool;

    list_for_each(&s->env->databases, db, link) {
        list_for_each(&db->pools, pool, link) {
            pool_host_moved(pool, name, answer);
        }
    }
}

static bool make_parts(struct server *s, const char *ini_path)
{
    struct resolver_settings r = {.resolv_conf = s->config->settings.resolv_conf};

    secret_random(s->process_key, sizeof(s->process_key));
    s->ini_path = strdup(ini_path);
    s->mock_cache = scram_cache_new(MOCK_CACHE_ENTRIES);
    s->canon = canon_new();
    s->auth_cache = auth_cache_new();
    s->console = calloc(1, sizeof(*s->console));
    s->resolver = resolver_new(s->loop, &r, on_host_moved, s);
    if (s->resolver != NULL) {
        peers_init(&s->peers, s->loop, s->resolver);
    }
    s->env = s->resolver == NULL ? NULL : pool_env_new(s->loop, s->resolver, &s->env_ops);
    return s->ini_path != NULL && s->mock_cache != NULL && s->canon != NULL && s->console != NULL &&
           s->auth_cache != NULL && s->env != NULL;
}

struct server *server_new(struct loop *loop, struct config *config, const char *ini_path)
{
    struct server *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        return NULL;
    }
    s->loop = loop;
    s->config = config;
    s->env_ops.changed = env_changed;
    s->env_ops.check_clients = client_check_idle;
    s->env_ops.notify = env_notify;
    s->env_ops.gap = env_gap;
    s->env_ops.cut = env_cut;
    loop_timer_init(&s->login_timer, client_check_logins);
    login_queue_init(&s->login_queue, loop, client_startup_turn);
    s->queried_kind = SECRET_KIND_SCRAM;
    s->started_us = clock_now_us();
    s->started_wall_us = clock_wall_now_us();
    list_init(&s->listeners);
    list_init(&s->logins);
    list_init(&s->consoles);
    list_init(&s->waiters);
    if (!make_parts(s, ini_path)) {
        s->config = NULL; /* stays the caller's */
        return server_free(s);
    }
    return s;
}

static void close_list(struct list *clients, const char *text)
{
    while (!list_is_empty(clients)) {
        struct client *c = list_entry(list_first(clients), struct client, link);

        if (*text == '\0') {
            client_close_quiet(c, SERVER_SHUTDOWN_TEXT);
        } else {
            client_close_text(c, SQLSTATE_ADMIN_SHUTDOWN, "%s", text);
        }
    }
}

static void close_clients_of(struct database *db, const char *text)
{
    struct pool *pool;

    list_for_each(&db->pools, pool, link) {
        close_list(&pool->clients, text);
    }
}

static void close_all_clients(struct server *s, const char *text)
{
    struct database *db;

    list_for_each(&s->env->databases, db, link) {
        close_clients_of(db, text);
    }
    close_list(&s->logins, text);
    close_list(&s->consoles, text);
}

static void free_database(struct database *db)
{
    struct pg_error why;

    pg_error_set(&why, SQLSTATE_ADMIN_SHUTDOWN, "%s", SERVER_SHUTDOWN_TEXT);
    while (!list_is_empty(&db->pools)) {
        pool_free(list_entry(list_first(&db->pools), struct pool, link), &why);
    }
    reload_drop_database(db);
    database_free(db);
}

static void free_env(struct server *s)
{
    struct database *db;
    struct pool_user *u;

    close_all_clients(s, "");
    list_for_each(&s->env->databases, db, link) {
        free_database(db);
    }
    list_for_each(&s->env->users, u, link) {
        pool_user_free(u);
    }
    s->env = pool_env_free(s->env);
}

struct server *server_free(struct server *s)
{
    if (s == NULL) {
        return NULL;
    }
    s->takeover = takeover_free(s->takeover);
    s->handover = handover_free(s->handover);
    signals_stop(s);
    systemd_stop(s);
    janitor_stop(s);
    stats_stop(s);
    s->http = metrics_http_free(s->http);
    loop_timer_stop(s->loop, &s->login_timer);
    login_queue_done(&s->login_queue);
    admin_suspend_done(s);
    while (s->n_spare > 0) {
        struct buf *b = s->spare[--s->n_spare];

        buf_done(b);
        free(b);
    }
    client_welcome_forget(s);
    if (s->env != NULL) {
        free_env(s);
    }
    if (s->resolver != NULL) {
        peers_done(&s->peers);
    }
    loop_defer_cancel(s->loop, &s->changed);
    loop_defer_cancel(s->loop, &s->sweep);
    loop_defer_cancel(s->loop, &s->ending);
    listeners_close(&s->listeners);
    s->resolver = s->resolver == NULL ? NULL : resolver_free(s->resolver);
    s->auth_cache = auth_cache_free(s->auth_cache);
    s->auth_worker = auth_worker_free(s->auth_worker);
    s->key_worker = auth_worker_free(s->key_worker);
    s->canon = s->canon == NULL ? NULL : canon_free(s->canon);
    s->mock_cache = scram_cache_free(s->mock_cache);
    s->client_tls = tls_context_free(s->client_tls);
    s->config = config_free(s->config);
    explicit_bzero(s->process_key, sizeof(s->process_key));
    free(s->console);
    free(s->slots);
    free(s->ini_path);
    free(s);
    return NULL;
}

/* --- the end --- */

static void on_ending(struct loop_deferred *work)
{
    struct server *s = container_of(work, struct server, ending);

    if (s->takeover != NULL && s->env->is_held) {
        loop_stop(s->loop); /* nothing is ours yet: not a word to anybody */
        return;
    }
    s->takeover = takeover_free(s->takeover);
    systemd_stopping(s);
    listeners_close_tcp(s);
    close_all_clients(s, s->end_text);
    loop_stop(s->loop);
}

void server_end(struct server *s, const char *text)
{
    if (s->state == SERVER_ENDS) {
        return;
    }
    s->state = SERVER_ENDS;
    (void)snprintf(s->end_text, sizeof(s->end_text), "%s", text); /* cut is meant */
    loop_defer(s->loop, &s->ending, on_ending);
}

static void fail_waiters(struct database *db)
{
    struct pg_error why;
    struct pool *pool;

    pg_error_set(&why, SQLSTATE_ADMIN_SHUTDOWN, "%s", SERVER_SHUTDOWN_TEXT);
    list_for_each(&db->pools, pool, link) {
        pool_fail_waiters(pool, &why, false);
    }
}

void server_wait_for(struct server *s, enum server_state how)
{
    struct database *db;

    fatal_unless(how == SERVER_WAITS_FOR_SERVERS || how == SERVER_WAITS_FOR_CLIENTS);
    if (s->state == SERVER_ENDS) {
        return;
    }
    if (s->state == SERVER_SUSPENDED) {
        server_resume_all(s);
    }
    if (s->state != SERVER_WAITS_FOR_CLIENTS && s->state != SERVER_WAITS_FOR_SERVERS) {
        s->drained_since_us = clock_now_us();
    }
    s->state = how;
    systemd_tell(s);
    listeners_retire(s);
    if (how == SERVER_WAITS_FOR_SERVERS) {
        server_pause_all(s);
        list_for_each(&s->env->databases, db, link) {
            fail_waiters(db); /* what they wait for does not come any more */
        }
    }
    server_changed(s);
}

bool server_lets_in(const struct server *s, const struct client *c)
{
    const struct listener *l =
        c->state == CLIENT_CANCEL || c->u.login == NULL ? NULL : c->u.login->listener;

    return s->state == SERVER_WAITS_FOR_CLIENTS &&
           (c->connect_us <= s->drained_since_us || (l != NULL && listener_is_retired(l)));
}

/* A connection that stays silent is waited for as long as it may be silent, but not for ever. */
static bool may_log_in_yet(const struct server *s, const struct client *c)
{
    return server_lets_in(s, c) &&
           (c->state != CLIENT_STARTUP || s->config->settings.client_login_timeout_us > 0);
}

unsigned server_clients_left(const struct server *s)
{
    unsigned n = s->n_logged_in;
    const struct client *c;

    list_for_each(&s->logins, c, link) {
        n += may_log_in_yet(s, c) ? 1 : 0;
    }
    return n;
}

static bool wait_is_over(const struct server *s)
{
    switch (s->state) {
    case SERVER_RUNS:
    case SERVER_SUSPENDED:
    case SERVER_ENDS:
        return false;
    case SERVER_WAITS_FOR_SERVERS:
        return server_is_drained(s, NULL) && !listeners_are_retiring(s);
    case SERVER_WAITS_FOR_CLIENTS:
        return server_clients_left(s) == 0 && !listeners_are_retiring(s) && s->takeover == NULL;
    }
    unreachable();
}

static void on_changed(struct loop_deferred *work)
{
    struct server *s = container_of(work, struct server, changed);
    struct server_waiter *w;

    if (s->sweep_again) {
        reload_sweep(s);
    }
    list_for_each(&s->waiters, w, link) {
        w->fn(w);
    }
    if (wait_is_over(s)) {
        log_info("shutdown: nothing is left to wait for");
        server_end(s, SERVER_SHUTDOWN_TEXT);
    }
}

void server_changed(struct server *s)
{
    loop_defer(s->loop, &s->changed, on_changed);
}

/* --- PAUSE and RESUME --- */

static void stop(struct database *db)
{
    struct pool *pool;

    db->pause = DATABASE_PAUSED;
    list_for_each(&db->pools, pool, link) {
        pool_close_idle(pool, "pause mode");
    }
    db->env->ops->changed(db->env);
}

/* As far as nothing else holds it. */
static void go_on(const struct server *s, struct database *db)
{
    struct pool *pool;

    db->pause = db->is_paused_by_name ? DATABASE_PAUSED : reload_initial_pause(s);
    if (db->pause == DATABASE_RUNS) {
        list_for_each(&db->pools, pool, link) {
            pool_dispatch_later(pool);
        }
    }
    db->env->ops->changed(db->env);
}

void server_pause(struct database *db)
{
    db->is_paused_by_name = true;
    stop(db);
}

void server_resume(const struct server *s, struct database *db)
{
    db->is_paused_by_name = false;
    go_on(s, db);
}

void server_pause_all(struct server *s)
{
    struct database *db;

    s->is_paused = true;
    list_for_each(&s->env->databases, db, link) {
        stop(db);
    }
}

void server_resume_all(struct server *s)
{
    struct database *db;

    s->is_paused = false;
    if (s->state == SERVER_SUSPENDED) {
        s->state = SERVER_RUNS;
        listeners_resume(s);
    }
    list_for_each(&s->env->databases, db, link) {
        go_on(s, db);
    }
}

static bool database_is_drained(const struct database *db)
{
    const struct pool *pool;

    list_for_each(&db->pools, pool, link) {
        if (pool->n_backends > pool_count(pool, BACKEND_IDLE)) {
            return false;
        }
    }
    return true;
}

bool server_is_drained(const struct server *s, const struct database *db)
{
    const struct database *each;

    if (db != NULL) {
        return database_is_drained(db);
    }
    list_for_each(&s->env->databases, each, link) {
        if (!database_is_drained(each)) {
            return false;
        }
    }
    return true;
}

/* --- slots: virtual pids of clients --- */

static bool grow_slots(struct server *s)
{
    uint32_t n = s->n_slots == 0 ? SLOTS_AT_FIRST : s->n_slots + s->n_slots / 4;
    struct client **slots;

    slots = reallocarray(s->slots, n, sizeof(*slots));
    if (slots == NULL) {
        return false;
    }
    memset(slots + s->n_slots, 0, (n - s->n_slots) * sizeof(*slots));
    if (s->slot_floor == 0) {
        s->first_free_hint = s->n_slots;
    }
    s->slots = slots;
    s->n_slots = n;
    return true;
}

uint32_t server_take_slot(struct server *s, struct client *c)
{
    uint32_t i = MAX(s->first_free_hint, s->slot_floor);

    while (i < s->n_slots && s->slots[i] != NULL) {
        i++;
    }
    if (i == CANCEL_KEY_SLOT_MAX) {
        return 0; /* a million clients */
    }
    while (i >= s->n_slots) {
        if (!grow_slots(s)) {
            return 0;
        }
    }
    s->slots[i] = c;
    if (s->slot_floor == 0) {
        s->first_free_hint = i + 1; /* none below is free */
    }
    return cancel_key_pid((unsigned)s->config->settings.peer_id, i + 1);
}

bool server_take_slot_at(struct server *s, struct client *c, uint32_t vpid)
{
    uint32_t slot = cancel_key_slot(vpid);

    if (slot == 0 || slot > CANCEL_KEY_SLOT_MAX) {
        return false;
    }
    while (slot > s->n_slots) {
        if (!grow_slots(s)) {
            return false;
        }
    }
    if (s->slots[slot - 1] != NULL) {
        return false;
    }
    s->slots[slot - 1] = c;
    return true;
}

void server_give_slot(struct server *s, uint32_t vpid)
{
    uint32_t slot = cancel_key_slot(vpid);

    if (slot == 0 || slot > s->n_slots) {
        return;
    }
    s->slots[slot - 1] = NULL;
    s->first_free_hint = MIN(s->first_free_hint, slot - 1);
}

struct client *server_client_by_pid(const struct server *s, uint32_t vpid)
{
    uint32_t slot = cancel_key_slot(vpid);
    struct client *c = slot == 0 || slot > s->n_slots ? NULL : s->slots[slot - 1];

    return c == NULL || c->vpid != vpid ? NULL : c;
}

/* --- descriptors --- */

static uint64_t connections_of(const struct settings *set, const struct database_config *d)
{
    int size = d->pool_size == OPTION_UNSET ? set->default_pool_size : d->pool_size;
    int reserve =
        d->reserve_pool_size == OPTION_UNSET ? set->reserve_pool_size : d->reserve_pool_size;
    int most =
        d->max_db_connections == OPTION_UNSET ? set->max_db_connections : d->max_db_connections;
    uint64_t n = size >= POOL_SIZE_UNLIMITED ? 0 : (uint64_t)size + (uint64_t)reserve;

    return most > 0 && (n == 0 || n > (uint64_t)most) ? (uint64_t)most : n;
}

uint64_t server_descriptors_needed(const struct config *c)
{
    const struct settings *set = &c->settings;
    uint64_t n = (uint64_t)set->max_client_conn + DESCRIPTORS_BESIDES +
                 (set->http_port != 0 ? (uint64_t)set->http_max_connections : 0);
    const struct database_config *d = NULL;

    /* One user for each database: how many more there will be nobody knows. */
    while ((d = config_next_database(c, d)) != NULL) {
        n += connections_of(set, d);
    }
    return c->autodb == NULL ? n : n + connections_of(set, c->autodb);
}
