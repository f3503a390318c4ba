/* SPDX-License-Identifier: ISC */
/* Between two reloads: the databases, users and pools that logins ask for, and the end of what the last reload took
 * away but somebody still used. */
#include "daemon/reload_internal.h"

#include "daemon/client.h"
#include "daemon/util/log.h"

#include <string.h>

const struct database_config *reload_entry(const struct database *db)
{
    return db->owner;
}

void reload_drop_database(struct database *db)
{
    if (db->is_auto) {
        database_config_free(db->owner);
    }
    db->owner = NULL;
}

struct database *reload_find_living(const struct server *s, const char *name)
{
    struct database *db;

    list_for_each(&s->env->databases, db, link) {
        if (!db->is_gone && strcmp(db->name, name) == 0) {
            return db;
        }
    }
    return NULL;
}

enum database_pause reload_initial_pause(const struct server *s)
{
    return s->is_paused                   ? DATABASE_PAUSED
           : s->state == SERVER_SUSPENDED ? DATABASE_SUSPENDED
                                          : DATABASE_RUNS;
}

bool reload_is_asked_for(const struct server *s, const struct database *db)
{
    const struct client *c;

    list_for_each(&s->logins, c, link) {
        if (c->database == db) {
            return true;
        }
    }
    return false;
}

/* --- what logins ask for --- */

/* --- labels of the metrics --- */

/* A name that clients chose and no configuration bounds: the first few have labels of their own, the others are summed
 * up. Decided once, so that no sum ever falls. */
static bool take_extra(const struct server *s, unsigned *n)
{
    if (*n >= (unsigned)s->config->settings.metrics_max_extra) {
        return false;
    }
    (*n)++;
    return true;
}

static bool is_configured_user(const struct server *s, const char *name)
{
    const struct config *c = s->config;
    const struct database_config *d = NULL;

    if ((c->userlist != NULL && userlist_find(c->userlist, name) != NULL) ||
        config_user(c, name) != NULL || strcmp(c->settings.auth_user, name) == 0) {
        return true;
    }
    while ((d = config_next_database(c, d)) != NULL) {
        if (strcmp(d->user, name) == 0) {
            return true;
        }
    }
    return false;
}

static struct database *add_auto(struct server *s, const char *name)
{
    struct database_config *entry = database_config_from_autodb(s->config->autodb, name);
    struct target *target = entry == NULL ? NULL : reload_target(s, s->config, entry);
    struct database *db = target == NULL ? NULL : database_new(s->env, name);
    char shown[256];

    if (db == NULL) {
        target_unref(target);
        database_config_free(entry);
        return NULL;
    }
    db->is_auto = true;
    db->is_extra = take_extra(s, &s->env->metrics.n_extra_databases);
    db->is_folded = !db->is_extra;
    db->owner = entry;
    db->target = target;
    db->unused_since_us = clock_now_us();
    db->pause = reload_initial_pause(s);
    if (!reload_apply_entry(db, s->config, entry)) {
        reload_drop_database(db);
        return database_free(db);
    }
    log_info("registered new auto-database: %s", log_escape(shown, sizeof(shown), name));
    janitor_start(s);
    return db;
}

struct database *reload_find_database(struct server *s, const char *name)
{
    struct database *db = reload_find_living(s, name);

    if (db != NULL) {
        db->unused_since_us = clock_now_us();
        return db;
    }
    if (s->config->autodb == NULL || *name == '\0' || strlen(name) > CONFIG_NAME_MAX ||
        config_name_is_console(name)) {
        return NULL;
    }
    return janitor_make_room(s) ? add_auto(s, name) : NULL;
}

struct pool_user *reload_find_user(struct server *s, const char *name)
{
    struct pool_user *u = pool_user_find(s->env, name);

    if (u != NULL) {
        return u;
    }
    u = pool_user_new(s->env, name);
    if (u != NULL) {
        u->is_folded =
            !is_configured_user(s, name) && !take_extra(s, &s->env->metrics.n_extra_users);
        reload_apply_user(u, s->config);
        reload_apply_secret(u, NULL, s->config->userlist);
    }
    return u;
}

static struct pool *get_pool(struct server *s, struct database *db, const char *user,
                             bool is_internal)
{
    struct pool_user *u = reload_find_user(s, user);
    struct pool *pool = u == NULL ? NULL : pool_find(db, u);
    struct pool_limits none = {0};

    if (u == NULL || pool != NULL) {
        return pool;
    }
    pool = pool_new(db, u, &none);
    if (pool == NULL) {
        return NULL;
    }
    pool->is_internal = is_internal;
    if (db->is_auto || !is_configured_user(s, user)) {
        pool->is_extra = take_extra(s, &s->env->metrics.n_extra_pools);
        pool->is_folded = !pool->is_extra;
    }
    if (!reload_apply_pool(pool, s->config)) {
        struct pg_error why;

        pg_error_set(&why, SQLSTATE_OUT_OF_MEMORY, "out of memory");
        return pool_free(pool, &why);
    }
    janitor_start(s);
    return pool;
}

struct pool *reload_get_pool(struct server *s, struct database *db, const char *user)
{
    const struct database_config *entry = reload_entry(db);

    if (entry == NULL) {
        return NULL;
    }
    return get_pool(s, db, *entry->user != '\0' ? entry->user : user, false);
}

struct pool *reload_get_auth_pool(struct server *s, struct database *db, const char *auth_user)
{
    const struct database_config *entry = reload_entry(db);

    if (entry == NULL) {
        return NULL;
    }
    return get_pool(s, db, auth_user, *entry->user != '\0' && strcmp(entry->user, auth_user) != 0);
}

/* --- what a reload took away --- */

static bool is_leftover(const struct pool *pool)
{
    const struct database_config *entry = reload_entry(pool->db);

    if (pool->is_internal && entry != NULL) {
        return false;
    }
    if (!list_is_empty(&pool->clients) || pool->n_backends > 0 || !list_is_empty(&pool->waiters) ||
        !list_is_empty(&pool->cancels)) {
        return false;
    }
    return entry == NULL || (*entry->user != '\0' && strcmp(entry->user, pool->user->name) != 0);
}

static void sweep_database(struct server *s, struct database *db)
{
    struct pg_error why;
    struct pool *pool;

    pg_error_set(&why, SQLSTATE_ADMIN_SHUTDOWN, "database configuration changed");
    list_for_each(&db->pools, pool, link) {
        if (is_leftover(pool)) {
            pool_free(pool, &why);
        }
    }
    if (db->is_gone && list_is_empty(&db->pools) && db->n_clients == 0 &&
        !reload_is_asked_for(s, db)) {
        database_free(db);
    }
}

/* Is something left that has to be looked at again? */
static bool has_leftovers(const struct database *db)
{
    const struct database_config *entry = reload_entry(db);
    const struct pool *pool;

    if (entry == NULL) {
        return true;
    }
    list_for_each(&db->pools, pool, link) {
        if (*entry->user != '\0' && !pool->is_internal &&
            strcmp(entry->user, pool->user->name) != 0) {
            return true;
        }
    }
    return false;
}

static void on_sweep(struct loop_deferred *work)
{
    struct server *s = container_of(work, struct server, sweep);
    struct database *db;

    s->sweep_again = false;
    list_for_each(&s->env->databases, db, link) {
        sweep_database(s, db);
    }
    list_for_each(&s->env->databases, db, link) {
        s->sweep_again = s->sweep_again || has_leftovers(db);
    }
}

void reload_sweep(struct server *s)
{
    loop_defer(s->loop, &s->sweep, on_sweep);
}
