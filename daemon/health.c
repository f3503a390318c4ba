/* SPDX-License-Identifier: ISC */
#include "daemon/health.h"

#include "daemon/util/log.h"
#include "pool/pool.h"

#include <string.h>

static const char *const names[HEALTH_STATES] = {
    [HEALTH_OK] = "ok",
    [HEALTH_UNUSED] = "unused",
    [HEALTH_UNREACHABLE] = "unreachable",
    [HEALTH_PAUSED] = "paused",
    [HEALTH_DISABLED] = "disabled",
};

const char *health_name(enum health h)
{
    return names[h];
}

/* The server is there and said no to this user, but others may come in. Where the entry names the user there are none. */
static bool is_refused(const struct pool *pool)
{
    return !pool->limits.forced_user && strncmp(pool->last_error.sqlstate, "28", 2) == 0;
}

/* A pool that cannot connect; NULL when one of the others is connected, or there is none. */
static const struct pool *failed_pool(const struct database *db)
{
    const struct pool *failed = NULL;
    const struct pool *pool;

    list_for_each(&db->pools, pool, link) {
        if (pool_count(pool, BACKEND_IDLE) + pool_count(pool, BACKEND_ACTIVE) > 0) {
            return NULL;
        }
        if (pool->has_failed && !is_refused(pool)) {
            failed = pool;
        }
    }
    return failed;
}

enum health health_of(const struct database *db)
{
    if (db->is_disabled) {
        return HEALTH_DISABLED;
    }
    if (db->pause != DATABASE_RUNS) {
        return HEALTH_PAUSED;
    }
    if (failed_pool(db) != NULL) {
        return HEALTH_UNREACHABLE;
    }
    return list_is_empty(&db->pools) ? HEALTH_UNUSED : HEALTH_OK;
}

static void report_one(struct database *db, struct buf *out)
{
    enum health h = health_of(db);
    const struct pool *pool = failed_pool(db);
    char shown[160];
    char why[512];

    (void)buf_append_fmt(out, "%s: %s", log_escape(shown, sizeof(shown), db->name), names[h]);
    if (h == HEALTH_UNREACHABLE) {
        (void)buf_append_fmt(out, ": %s", log_escape(why, sizeof(why), pool->last_error.message));
    }
    (void)buf_append_str(out, "\n");
}

static void try_again(struct database *db)
{
    struct pool *pool;

    list_for_each(&db->pools, pool, link) {
        if (pool->has_failed) {
            pool_probe(pool);
        }
    }
}

unsigned health_report(struct server *s, const char *name, struct buf *out)
{
    struct database *db;
    unsigned status = name == NULL ? 200 : 404;

    list_for_each(&s->env->databases, db, link) {
        if (name != NULL ? strcmp(db->name, name) != 0 : db->is_auto || db->is_gone) {
            continue;
        }
        status = status == 404 ? 200 : status;
        report_one(db, out);
        if (health_of(db) == HEALTH_UNREACHABLE) {
            status = 503;
            try_again(db);
        }
    }
    if (status == 404) {
        (void)buf_append_str(out, "no such database\n");
    } else if (s->state != SERVER_RUNS && s->state != SERVER_SUSPENDED) {
        (void)buf_append_str(out, "pgpoold: shutting down\n");
        status = 503;
    }
    return status;
}
