/* SPDX-License-Identifier: ISC */
#include "pool/database.h"

#include "daemon/util/fatal.h"

#include <stdlib.h>
#include <string.h>

struct target *target_new(void)
{
    struct target *t = calloc(1, sizeof(*t));

    if (t != NULL) {
        t->refs = 1;
    }
    return t;
}

struct target *target_ref(struct target *t)
{
    t->refs++;
    return t;
}

struct target *target_unref(struct target *t)
{
    if (t == NULL || --t->refs > 0) {
        return NULL;
    }
    for (unsigned i = 0; i < t->n_hosts; i++) {
        free(t->hosts[i].name);
    }
    free(t->hosts);
    free(t->dbname);
    t->startup = params_unref(t->startup);
    free(t->text);
    free(t);
    return NULL;
}

bool target_add_host(struct target *t, const char *name, unsigned port)
{
    struct target_host *hosts = realloc(t->hosts, (t->n_hosts + 1) * sizeof(*hosts));

    if (hosts == NULL) {
        return false;
    }
    t->hosts = hosts;
    hosts[t->n_hosts].port = port;
    hosts[t->n_hosts].name = strdup(name);
    if (hosts[t->n_hosts].name == NULL) {
        return false;
    }
    t->n_hosts++;
    return true;
}

struct credentials *credentials_new(void)
{
    return secret_alloc(sizeof(struct credentials));
}

struct credentials *credentials_free(struct credentials *c)
{
    if (c != NULL) {
        secret_done(&c->password);
    }
    return secret_free(c, sizeof(*c));
}

void credentials_wipe(struct credentials *c)
{
    secret_done(&c->password);
    explicit_bzero(c->md5, sizeof(c->md5));
    scram_keys_wipe(&c->scram);
}

struct database *database_new(struct pool_env *env, const char *name)
{
    struct database *db = calloc(1, sizeof(*db));

    if (db == NULL) {
        return NULL;
    }
    db->name = strdup(name);
    db->forced = credentials_new();
    if (db->name == NULL || db->forced == NULL) {
        db->forced = credentials_free(db->forced);
        free(db->name);
        free(db);
        return NULL;
    }
    db->env = env;
    list_init(&db->pools);
    list_add_tail(&env->databases, &db->link);
    return db;
}

struct database *database_free(struct database *db)
{
    if (db == NULL) {
        return NULL;
    }
    fatal_unless(list_is_empty(&db->pools));
    if (db->is_folded) {
        pool_stats_add(&db->env->metrics.gone_databases, &db->stats);
    }
    db->env->metrics.n_extra_databases -= db->is_extra ? 1 : 0;
    list_remove(&db->env->databases, &db->link);
    db->target = target_unref(db->target);
    db->forced = credentials_free(db->forced);
    free(db->name);
    free(db);
    return NULL;
}

struct database *database_find(struct pool_env *env, const char *name)
{
    struct database *db;

    list_for_each(&env->databases, db, link) {
        if (strcmp(db->name, name) == 0) {
            return db;
        }
    }
    return NULL;
}

struct pool_user *pool_user_new(struct pool_env *env, const char *name)
{
    struct pool_user *u = calloc(1, sizeof(*u));

    if (u == NULL) {
        return NULL;
    }
    u->name = strdup(name);
    u->credentials = credentials_new();
    if (u->name == NULL || u->credentials == NULL) {
        u->credentials = credentials_free(u->credentials);
        free(u->name);
        free(u);
        return NULL;
    }
    u->env = env;
    list_add_tail(&env->users, &u->link);
    return u;
}

struct pool_user *pool_user_free(struct pool_user *u)
{
    if (u == NULL) {
        return NULL;
    }
    fatal_unless(u->n_pools == 0);
    list_remove(&u->env->users, &u->link);
    u->credentials = credentials_free(u->credentials);
    free(u->name);
    free(u);
    return NULL;
}

struct pool_user *pool_user_find(struct pool_env *env, const char *name)
{
    struct pool_user *u;

    list_for_each(&env->users, u, link) {
        if (strcmp(u->name, name) == 0) {
            return u;
        }
    }
    return NULL;
}

static uint64_t per_event(uint64_t total, uint64_t n)
{
    return n == 0 ? 0 : total / n;
}

void pool_stats_average(const struct pool_stats *period, usec_t period_us, struct pool_stats *ret)
{
    const uint64_t *from = (const uint64_t *)period;
    uint64_t *to = (uint64_t *)ret;

    for (size_t i = 0; i < POOL_STATS_COUNTERS; i++) {
        to[i] = period_us == 0
                    ? 0
                    : (uint64_t)((double)from[i] * (double)USEC_PER_SEC / (double)period_us);
    }
    ret->xact_time_us = per_event(period->xact_time_us, period->xact_count);
    ret->query_time_us = per_event(period->query_time_us, period->query_count);
    ret->wait_time_us = per_event(period->wait_time_us, period->server_assignment_count);
}

void database_stats_turn(struct database *db, usec_t period_us)
{
    const uint64_t *now = (const uint64_t *)&db->stats;
    const uint64_t *then = (const uint64_t *)&db->period_start;
    uint64_t *period = (uint64_t *)&db->period;

    if (period_us == 0) {
        return;
    }
    for (size_t i = 0; i < POOL_STATS_COUNTERS; i++) {
        period[i] = now[i] - then[i];
    }
    pool_stats_average(&db->period, period_us, &db->average);
    db->period_start = db->stats;
}
