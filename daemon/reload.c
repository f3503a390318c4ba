/* SPDX-License-Identifier: ISC */
/* A reload is a transaction. First everything that may fail is made ready in a struct plan: the new file is read, the
 * TLS context loaded, a target built for each database, new databases created. Then comes what can be taken back: log,
 * resolver, ciphers. Only then the pools see any of it, and that part cannot fail. */
#include "daemon/reload_internal.h"

#include "daemon/auth_cache.h"
#include "daemon/canon.h"
#include "daemon/client.h"
#include "daemon/listener.h"
#include "daemon/metrics_http.h"
#include "daemon/stats.h"
#include "daemon/systemd.h"
#include "daemon/tls_check.h"
#include "daemon/util/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What becomes of one database. */
struct planned {
    struct database *db;
    const struct database_config *entry; /* NULL: it goes away */
    struct database_config
        *made; /* the entry, when it was made from "*"; owned until it is committed */
    struct target *target;
    bool is_new;
};

struct plan {
    struct server *server;
    struct config *config;         /* to be in force */
    const struct userlist *before; /* the auth_file in force until now */
    struct tls_context *tls;
    struct list peers; /* struct peer: those of [peers] */
    struct planned *items;
    unsigned n;
    unsigned room;
};

/* --- the plan --- */

static void plan_done(struct plan *p)
{
    for (unsigned i = 0; i < p->n; i++) {
        struct planned *it = &p->items[i];

        target_unref(it->target);
        database_config_free(it->made);
        if (it->is_new) {
            database_free(it->db);
        }
    }
    free(p->items);
    peer_list_done(&p->peers);
    tls_context_free(p->tls);
}

static bool plan_add(struct plan *p, const struct planned *item)
{
    if (p->n == p->room) {
        unsigned room = p->room == 0 ? 16 : p->room * 2;
        struct planned *items = reallocarray(p->items, room, sizeof(*items));

        if (items == NULL) {
            return false;
        }
        p->items = items;
        p->room = room;
    }
    p->items[p->n++] = *item;
    return true;
}

/* An entry of the file: its database may exist, be it as an auto-database. */
static bool plan_entry(struct plan *p, const struct database_config *entry)
{
    struct server *s = p->server;
    struct planned it = {.db = reload_find_living(s, entry->name), .entry = entry};

    if (it.db == NULL) {
        it.is_new = true;
        it.db = database_new(s->env, entry->name);
    }
    if (it.db == NULL || !plan_add(p, &it)) {
        if (it.is_new) {
            database_free(it.db);
        }
        return false;
    }
    p->items[p->n - 1].target = reload_target(s, p->config, entry);
    return p->items[p->n - 1].target != NULL;
}

/* A database that the file does not name: of the entry "*" from now on, or gone. */
static bool plan_unnamed(struct plan *p, struct database *db)
{
    struct planned it = {.db = db};

    if (p->config->autodb != NULL) {
        it.made = database_config_from_autodb(p->config->autodb, db->name);
        it.entry = it.made;
        it.target = it.made == NULL ? NULL : reload_target(p->server, p->config, it.made);
    }
    if ((p->config->autodb != NULL && it.target == NULL) || !plan_add(p, &it)) {
        database_config_free(it.made);
        target_unref(it.target);
        return false;
    }
    return true;
}

static bool plan_databases(struct plan *p)
{
    const struct database_config *entry = NULL;
    struct database *db;

    while ((entry = config_next_database(p->config, entry)) != NULL) {
        if (!plan_entry(p, entry)) {
            return false;
        }
    }
    list_for_each(&p->server->env->databases, db, link) {
        if (!db->is_gone && config_database(p->config, db->name) == NULL && !plan_unnamed(p, db)) {
            return false;
        }
    }
    return true;
}

/* An entry for this process itself is allowed, so that all may have the same list. */
static bool plan_peers(struct plan *p)
{
    const struct settings *set = &p->config->settings;
    const struct peer_config *e = NULL;

    while ((e = config_next_peer(p->config, e)) != NULL) {
        int size = e->pool_size == OPTION_UNSET ? set->default_pool_size : e->pool_size;
        struct peer *peer;

        if (e->id == set->peer_id) {
            continue;
        }
        peer = peer_new((unsigned)e->id, e->target.name, e->target.port,
                        (unsigned)MIN(size, PEER_SIZE_MAX));
        if (peer == NULL) {
            return false;
        }
        list_add_tail(&p->peers, &peer->link);
    }
    return true;
}

static bool plan_tls(struct plan *p, struct config_errors *errors)
{
    const struct settings *set = &p->config->settings;
    struct tls_settings tls = tls_client_settings(set);
    struct tls_error err = {""};

    if (set->client_tls_sslmode == SSLMODE_DISABLE) {
        return true;
    }
    p->tls = tls_context_new(&tls, &err);
    if (p->tls == NULL) {
        config_errors_add(errors, NULL, 0, "TLS setup failed: %s", err.text);
    }
    return p->tls != NULL;
}

/* --- what can be taken back --- */

/* syslog_ident, or job_name when only that was given. */
static const char *syslog_name(const struct settings *set)
{
    const struct option *ident = option_find(OPTION_GLOBAL, "syslog_ident");

    return strcmp(set->syslog_ident, ident->text) == 0 ? set->job_name : set->syslog_ident;
}

static bool apply_log(const struct server *s, const struct settings *set,
                      struct config_errors *errors)
{
    const struct server_options *o = &s->options;
    struct log_settings log = {.format = set->log_format == LOG_FORMAT_JSON ? LOG_JSON : LOG_PLAIN,
                               .file = set->logfile,
                               .to_stderr = !o->is_quiet && !o->is_daemon,
                               .to_syslog = set->syslog,
                               .syslog_ident = syslog_name(set),
                               .syslog_facility = set->syslog_facility,
                               .verbose = MAX((unsigned)set->verbose, o->verbose)};
    int result = log_setup(&log);

    if (result < 0) {
        config_errors_add(errors, NULL, 0, "logfile: %s: %s", set->logfile, strerror(-result));
    }
    return result == 0;
}

static bool apply_resolver(const struct server *s, const struct settings *set,
                           struct config_errors *errors)
{
    struct resolver_settings r = {.resolv_conf = set->resolv_conf,
                                  .dns_max_ttl_us = set->dns_max_ttl_us,
                                  .dns_nxdomain_ttl_us = set->dns_nxdomain_ttl_us,
                                  .dns_zone_check_period_us = set->dns_zone_check_period_us};
    int result = resolver_set(s->resolver, &r);

    if (result < 0) {
        config_errors_add(errors, NULL, 0, "resolv_conf: %s", strerror(-result));
    }
    return result == 0;
}

static bool apply_ciphers(const struct settings *set, struct config_errors *errors)
{
    struct tls_error err = {""};
    bool ok = tls_set_libpq_ciphers(set->server_tls_ciphers, set->server_tls13_ciphers, &err);

    if (!ok) {
        config_errors_add(errors, NULL, 0, "server_tls_ciphers: %s", err.text);
    }
    return ok;
}

static bool apply_process(const struct server *s, const struct settings *set,
                          struct config_errors *errors)
{
    return apply_ciphers(set, errors) && apply_resolver(s, set, errors) &&
           apply_log(s, set, errors);
}

/* --- the part that cannot fail --- */

static void warn_memory(const struct database *db)
{
    log_error("database %s: out of memory: part of its configuration is the old one until the next "
              "reload",
              db->name);
}

static void close_clients(struct pool *pool, const char *text)
{
    while (!list_is_empty(&pool->clients)) {
        client_close_text(list_entry(list_first(&pool->clients), struct client, link),
                          SQLSTATE_ADMIN_SHUTDOWN, "%s", text);
    }
}

static void close_logins(struct server *s, const struct database *db, const char *text)
{
    struct client *c;

    list_for_each(&s->logins, c, link) {
        if (c->database == db) {
            client_close_text(c, SQLSTATE_ADMIN_SHUTDOWN, "%s", text);
        }
    }
}

static void remove_database(struct server *s, struct database *db)
{
    struct pool *pool;
    struct pg_error why;

    log_info("database %s: removed", db->name);
    pg_error_set(&why, SQLSTATE_ADMIN_SHUTDOWN, "database removed");
    reload_drop_database(db);
    db->is_gone = true;
    close_logins(s, db, why.message);
    list_for_each(&db->pools, pool, link) {
        pool->limits.min_size = 0; /* nothing is opened any more */
        close_clients(pool, why.message);
        pool_kill(pool, &why);
    }
}

/* Another user logs in to the server now: whoever is logged in is in the wrong pool. */
static bool changes_user(const struct database *db, const struct database_config *entry)
{
    const struct database_config *before = reload_entry(db);

    return before != NULL && strcmp(before->user, entry->user) != 0;
}

static bool changes_secret(const struct database *db, const struct database_config *entry)
{
    const struct database_config *before = reload_entry(db);

    return before != NULL && !option_is_equal(option_find(OPTION_DATABASE, "password"),
                                              OPTION_DATABASE, before, entry);
}

static const char *effective_connect_query(const struct database_config *entry,
                                           const struct settings *set)
{
    return *entry->connect_query == '\0' ? set->connect_query : entry->connect_query;
}

static void update_pools(struct database *db, const struct config *c, bool is_changed)
{
    const char *connect = effective_connect_query(reload_entry(db), &c->settings);
    struct pool *pool;

    list_for_each(&db->pools, pool, link) {
        bool other_query = strcmp(pool->queries.connect, connect) != 0;

        if (!reload_apply_pool(pool, c)) {
            warn_memory(db);
        }
        if (is_changed || other_query) {
            pool_reconnect(pool);
        }
    }
}

static void commit_database(struct plan *p, struct planned *it)
{
    struct database *db = it->db;
    bool user_changes;
    bool is_changed;
    struct pool *pool;

    if (it->entry == NULL) {
        remove_database(p->server, db);
        return;
    }
    user_changes = changes_user(db, it->entry);
    is_changed = user_changes || changes_secret(db, it->entry);
    if (db->target == NULL || !reload_same_target(db->target, it->target)) {
        is_changed = db->target != NULL || is_changed;
        target_unref(db->target);
        db->target = take_ptr(it->target);
    }
    if (user_changes) {
        list_for_each(&db->pools, pool, link) {
            close_clients(pool, "database configuration changed");
        }
    }
    if (it->is_new) {
        db->pause = reload_initial_pause(p->server);
    }
    reload_drop_database(db);
    db->is_auto = it->made != NULL;
    db->owner =
        (void *)it->entry; /* read only, through reload_entry(); auto-databases own theirs */
    it->made = NULL;
    it->is_new = false;
    if (!reload_apply_entry(db, p->config, it->entry)) {
        warn_memory(db);
    }
    update_pools(db, p->config, is_changed);
}

static void commit_users(const struct plan *p)
{
    struct pool_user *u;

    list_for_each(&p->server->env->users, u, link) {
        reload_apply_user(u, p->config);
        reload_apply_secret(u, p->before, p->config->userlist);
    }
}

static void commit_env(struct pool_env *env, const struct settings *set)
{
    env->settings.tracked = set->track_extra_parameters;
    env->settings.read_turns = (unsigned)set->sbuf_loopcnt;
    env->settings.max_packet_bytes = set->max_packet_size_bytes;
    env->settings.log_connections = set->log_connections;
    env->settings.log_disconnections = set->log_disconnections;
    env->settings.stats_period_us = set->stats_period_us;
}

/* The minimum of a pool with a forced user is there before its first client. */
static void open_forced(struct server *s)
{
    const struct database_config *entry = NULL;

    while ((entry = config_next_database(s->config, entry)) != NULL) {
        int min = entry->min_pool_size == OPTION_UNSET ? s->config->settings.min_pool_size
                                                       : entry->min_pool_size;
        struct database *db =
            *entry->user == '\0' || min == 0 ? NULL : reload_find_living(s, entry->name);

        if (db != NULL && reload_get_pool(s, db, entry->user) == NULL) {
            warn_memory(db);
        }
    }
}

static void commit(struct plan *p)
{
    struct server *s = p->server;

    commit_env(s->env, &p->config->settings);
    s->peers.wait_us = p->config->settings.cancel_wait_timeout_us;
    peers_replace(&s->peers, &p->peers);
    commit_users(p);
    for (unsigned i = 0; i < p->n; i++) {
        commit_database(p, &p->items[i]);
    }
    canon_clear(s->canon);
    auth_cache_clear(s->auth_cache);
    tls_context_free(s->client_tls);
    s->client_tls = take_ptr(p->tls);
}

/* --- the ways in --- */

/* Puts @next in force. It may be the configuration in force itself, with changed settings. */
static bool apply(struct server *s, struct config *next, struct config_errors *errors)
{
    struct plan p = {.server = s, .config = next, .before = s->config->userlist};
    struct config *old = s->config;
    struct config_errors ignored = CONFIG_ERRORS_INIT;
    bool ok;

    list_init(&p.peers);
    ok = plan_tls(&p, errors);
    if (ok && (!plan_peers(&p) || !plan_databases(&p))) {
        config_errors_add(errors, NULL, 0, "out of memory");
        ok = false;
    }
    ok = ok && metrics_http_prepare(s->http, &next->settings, errors);
    if (ok && !apply_process(s, &next->settings, errors)) {
        /* The parts that went through go back; they were in force a moment ago. */
        (void)apply_process(s, &old->settings, &ignored);
        config_errors_done(&ignored);
        ok = false;
    }
    if (ok) {
        commit(&p);
        s->config = next;
        metrics_http_commit(s->http);
        listeners_tune(s);
        open_forced(s);
        janitor_start(s);
        stats_start(s);
        client_login_timeout_set(s);
    }
    plan_done(&p);
    if (ok && old != next) {
        config_free(old);
    }
    if (ok) {
        reload_sweep(s);
    }
    return ok;
}

bool reload_start(struct server *s, struct config_errors *errors)
{
    return apply(s, s->config, errors);
}

static void log_all(const struct config_errors *e, enum log_level level)
{
    for (unsigned i = 0; i < e->n; i++) {
        log_write(level, "%s", e->text[i]);
    }
    if (e->n_dropped > 0) {
        log_write(level, "and %u more", e->n_dropped);
    }
}

/* The command line outranks the file. */
static bool keep_user(const struct server *s, struct config *next)
{
    char why[CONFIG_WHY_SIZE];

    return s->options.user == NULL || option_set(option_find(OPTION_GLOBAL, "user"), OPTION_GLOBAL,
                                                 &next->settings, s->options.user, why);
}

bool reload_again(struct server *s, struct config_errors *errors)
{
    struct config_errors warnings = CONFIG_ERRORS_INIT;
    struct config *next;

    systemd_reloading();
    next = config_load_with(s->config->settings.conffile, tls_check, errors);
    if (next != NULL && (!keep_user(s, next) ||
                         !settings_keep_fixed(&next->settings, &s->config->settings, &warnings))) {
        config_errors_add(errors, NULL, 0, "out of memory");
        next = config_free(next);
    }
    if (next != NULL && !apply(s, next, errors)) {
        next = config_free(next);
    }
    s->reload_failed = next == NULL;
    if (next == NULL) {
        /* The log was rotated all the same: the file of this name is another one now. */
        (void)!apply_log(s, &s->config->settings, errors);
        log_all(errors, LOG_ERROR_LEVEL);
        log_error("reload of %s failed: everything stays as it was", s->config->settings.conffile);
    } else {
        config_warnings(next, &warnings);
        log_all(&warnings, LOG_WARNING_LEVEL);
        log_info("configuration reloaded from %s", s->config->settings.conffile);
    }
    config_errors_done(&warnings);
    systemd_ready(s);
    return next != NULL;
}

bool reload_set(struct server *s, const char *name, const char *text, struct config_errors *errors)
{
    const struct option *o = option_find(OPTION_GLOBAL, name);
    struct buf before = BUF_INIT(1024 * 1024);
    struct config_errors ignored = CONFIG_ERRORS_INIT;
    bool ok;

    if (o != NULL) {
        option_print(o, OPTION_GLOBAL, &s->config->settings, &before);
    }
    ok = buf_ok(&before) && config_set(s->config, name, text, errors);
    if (ok && !apply(s, s->config, errors)) {
        (void)!config_set(s->config, name, buf_cstr(&before),
                          &ignored); /* it was right a moment ago */
        commit_env(s->env, &s->config->settings);
        ok = false;
    }
    config_errors_done(&ignored);
    buf_done_secret(&before);
    return ok;
}
