/* SPDX-License-Identifier: ISC */
#include "daemon/top_sample.h"

#include <stdlib.h>
#include <string.h>

void top_sample_done(struct top_sample *s)
{
    for (size_t i = 0; i < s->n_pools; i++) {
        free(s->pools[i].database);
        free(s->pools[i].user);
        free(s->pools[i].mode);
    }
    for (size_t i = 0; i < s->n_databases; i++) {
        free(s->databases[i].name);
    }
    for (size_t i = 0; i < s->n_users; i++) {
        free(s->users[i].name);
    }
    free(s->pools);
    free(s->databases);
    free(s->users);
    *s = (struct top_sample){0};
}

/* NULL: there is none. */
static const struct top_database *database_named(const struct top_sample *s, const char *name)
{
    for (size_t i = 0; i < s->n_databases; i++) {
        if (strcmp(s->databases[i].name, name) == 0) {
            return &s->databases[i];
        }
    }
    return NULL;
}

/* --- how fast --- */

static double each(double sum, double n)
{
    return n > 0 ? sum / n : 0;
}

struct top_traffic top_sample_rate(const struct top_sample *now, const struct top_sample *before,
                                   const struct top_database *d)
{
    const struct top_database *old = before->at_us == 0 ? NULL : database_named(before, d->name);
    const struct top_traffic *a;
    const struct top_traffic *b = &d->total;
    double seconds = (double)(now->at_us - before->at_us) / (double)USEC_PER_SEC;

    /* Totals that went back are those of another process. */
    if (old == NULL || seconds <= 0 || old->total.queries > b->queries ||
        old->total.received_bytes > b->received_bytes) {
        return d->average;
    }
    a = &old->total;
    return (struct top_traffic){
        .xacts = (b->xacts - a->xacts) / seconds,
        .queries = (b->queries - a->queries) / seconds,
        .received_bytes = (b->received_bytes - a->received_bytes) / seconds,
        .sent_bytes = (b->sent_bytes - a->sent_bytes) / seconds,
        .xact_us = each(b->xact_us - a->xact_us, b->xacts - a->xacts),
        .query_us = each(b->query_us - a->query_us, b->queries - a->queries),
        .wait_us = each(b->wait_us - a->wait_us, b->assignments - a->assignments),
    };
}

/* --- order --- */

static bool is_console(const char *database)
{
    return strcmp(database, "pgpoold") == 0 || strcmp(database, "pgbouncer") == 0;
}

static void leave_out_console(struct top_sample *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n_pools; i++) {
        struct top_pool p = s->pools[i];

        if (is_console(p.database)) {
            free(p.database);
            free(p.user);
            free(p.mode);
        } else {
            s->pools[n++] = p;
        }
    }
    s->n_pools = n;
    n = 0;
    for (size_t i = 0; i < s->n_databases; i++) {
        struct top_database d = s->databases[i];

        if (is_console(d.name)) {
            free(d.name);
        } else {
            s->databases[n++] = d;
        }
    }
    s->n_databases = n;
}

static uint64_t limit_of(const struct top_sample *s, const struct top_pool *p)
{
    const struct top_database *d;

    for (size_t i = 0; i < s->n_users; i++) {
        if (strcmp(s->users[i].name, p->user) == 0) {
            return s->users[i].pool_size;
        }
    }
    d = database_named(s, p->database);
    return d == NULL ? 0 : d->pool_size;
}

static int by_number(uint64_t a, uint64_t b)
{
    return (a < b) - (a > b);
}

static int by_waiting(const void *x, const void *y)
{
    const struct top_pool *a = x;
    const struct top_pool *b = y;
    int order = by_number(a->cl_waiting, b->cl_waiting);

    order = order != 0 ? order : by_number(a->maxwait_us, b->maxwait_us);
    order = order != 0 ? order : by_number(a->sv_active, b->sv_active);
    order = order != 0 ? order : by_number(a->cl_active, b->cl_active);
    order = order != 0 ? order : strcmp(a->database, b->database);
    return order != 0 ? order : strcmp(a->user, b->user);
}

struct ranked {
    struct top_database d;
    double queries;
};

static int by_state_and_queries(const void *x, const void *y)
{
    const struct ranked *a = x;
    const struct ranked *b = y;
    int order = by_number(a->d.is_paused || a->d.is_disabled, b->d.is_paused || b->d.is_disabled);

    order = order != 0 ? order : (a->queries < b->queries) - (a->queries > b->queries);
    return order != 0 ? order : strcmp(a->d.name, b->d.name);
}

static void sort_databases(struct top_sample *s, const struct top_sample *before)
{
    struct ranked *all = calloc(s->n_databases + 1, sizeof *all);

    if (all == NULL) {
        return; /* unsorted, but all there */
    }
    for (size_t i = 0; i < s->n_databases; i++) {
        all[i].d = s->databases[i];
        all[i].queries = top_sample_rate(s, before, &s->databases[i]).queries;
    }
    qsort(all, s->n_databases, sizeof *all, by_state_and_queries);
    for (size_t i = 0; i < s->n_databases; i++) {
        s->databases[i] = all[i].d;
    }
    free(all);
}

void top_sample_sort(struct top_sample *s, const struct top_sample *before)
{
    leave_out_console(s);
    for (size_t i = 0; i < s->n_pools; i++) {
        s->pools[i].limit = limit_of(s, &s->pools[i]);
    }
    if (s->n_pools > 0) {
        qsort(s->pools, s->n_pools, sizeof *s->pools, by_waiting);
    }
    sort_databases(s, before);
}
