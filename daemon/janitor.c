/* SPDX-License-Identifier: ISC */
/* Forgets what nobody uses: pools that were empty for pool_idle_timeout, auto-databases unused for autodb_idle_timeout.
 * One timer, which is not set while there is nothing to forget. */
#include "daemon/reload_internal.h"

#include "daemon/util/log.h"

/* Names of auto-databases come from clients, so their number has a limit of its own. */
#define AUTO_DATABASES_MAX 4096U
#define LONGEST_ROUND_US (10 * USEC_PER_SEC)
#define SHORTEST_ROUND_US (100 * USEC_PER_MSEC)

static bool pool_is_empty(const struct pool *pool)
{
    return list_is_empty(&pool->clients) && pool->n_backends == 0 &&
           list_is_empty(&pool->waiters) && list_is_empty(&pool->cancels);
}

static void forget_pool(struct pool *pool)
{
    struct pg_error why;
    char db[256];
    char user[256];

    log_info("cleaning up idle pool %s/%s", log_escape(db, sizeof(db), pool->db->name),
             log_escape(user, sizeof(user), pool->user->name));
    pg_error_set(&why, SQLSTATE_ADMIN_SHUTDOWN, "database configuration changed");
    pool_free(pool, &why);
}

/* Nobody is in it, and nothing on the console hangs on it. */
static bool database_is_unused(const struct server *s, const struct database *db)
{
    const struct pool *pool;

    if (db->n_clients > 0 || db->is_disabled || db->pause != DATABASE_RUNS || db->wait_close) {
        return false;
    }
    list_for_each(&db->pools, pool, link) {
        if (!pool_is_empty(pool)) {
            return false;
        }
    }
    return !reload_is_asked_for(s, db);
}

static void forget_database(struct database *db)
{
    struct pool *pool;

    list_for_each(&db->pools, pool, link) {
        forget_pool(pool);
    }
    reload_drop_database(db);
    database_free(db);
}

static void look_at_pools(struct database *db, usec_t timeout_us)
{
    usec_t now_us = clock_now_us();
    struct pool *pool;

    list_for_each(&db->pools, pool, link) {
        if (!pool_is_empty(pool)) {
            pool->empty_since_us = now_us;
        } else if (timeout_us > 0 && now_us - pool->empty_since_us >= timeout_us) {
            forget_pool(pool);
        }
    }
}

static void look_at_databases(struct server *s)
{
    const struct settings *set = &s->config->settings;
    usec_t now_us = clock_now_us();
    struct database *db;

    list_for_each(&s->env->databases, db, link) {
        look_at_pools(db, set->pool_idle_timeout_us);
        if (!db->is_auto || !database_is_unused(s, db)) {
            db->unused_since_us = now_us;
        } else if (set->autodb_idle_timeout_us > 0 &&
                   now_us - db->unused_since_us >= set->autodb_idle_timeout_us) {
            char shown[256];

            log_info("cleaning up idle pool of auto-database %s",
                     log_escape(shown, sizeof(shown), db->name));
            forget_database(db);
        }
    }
}

static usec_t round_us(const struct server *s)
{
    const struct settings *set = &s->config->settings;
    usec_t shortest_us = LONGEST_ROUND_US;

    if (s->config->autodb != NULL && set->autodb_idle_timeout_us > 0) {
        shortest_us = MIN(shortest_us, set->autodb_idle_timeout_us / 4);
    } else if (set->pool_idle_timeout_us == 0) {
        return 0;
    }
    if (set->pool_idle_timeout_us > 0) {
        shortest_us = MIN(shortest_us, set->pool_idle_timeout_us / 4);
    }
    return MAX(shortest_us, SHORTEST_ROUND_US);
}

static void on_round(struct loop_timer *timer)
{
    struct server *s = container_of(timer, struct server, janitor);

    look_at_databases(s);
    janitor_start(s);
}

void janitor_start(struct server *s)
{
    usec_t after_us = round_us(s);

    if (after_us == 0) {
        janitor_stop(s);
    } else if (!loop_timer_is_set(&s->janitor)) {
        loop_timer_init(&s->janitor, on_round);
        loop_timer_set(s->loop, &s->janitor, after_us);
    }
}

void janitor_stop(struct server *s)
{
    loop_timer_stop(s->loop, &s->janitor);
}

bool janitor_make_room(struct server *s)
{
    struct database *oldest = NULL;
    struct database *db;
    unsigned n = 0;

    list_for_each(&s->env->databases, db, link) {
        if (!db->is_auto) {
            continue;
        }
        n++;
        if (database_is_unused(s, db) &&
            (oldest == NULL || db->unused_since_us < oldest->unused_since_us)) {
            oldest = db;
        }
    }
    if (n < AUTO_DATABASES_MAX) {
        return true;
    }
    if (oldest != NULL) {
        forget_database(oldest);
    }
    return oldest != NULL;
}
