/* SPDX-License-Identifier: ISC */
/* What `pgpoold top` knows of one moment: the pools, the databases and the sums that the console told. Filled by
 * top_query, looked at by top_frame. It owns its texts; it never asks anybody for anything. */
#ifndef PGPOOLD_DAEMON_TOP_SAMPLE_H
#define PGPOOLD_DAEMON_TOP_SAMPLE_H

#include "daemon/util/clock.h"
#include "daemon/util/macros.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct top_pool {
    char *database;
    char *user;
    char *mode;
    uint64_t cl_active;
    uint64_t cl_waiting;
    uint64_t maxwait_us;
    uint64_t sv_active;
    uint64_t sv_idle;  /* and those that are checked before their next use */
    uint64_t sv_other; /* being opened, checked, cleaned, cancelled */
    uint64_t limit;    /* 0: none */
};

/* Totals since the start of the daemon, or per second and per event: see struct top_database. */
struct top_traffic {
    double xacts;
    double queries;
    double received_bytes;
    double sent_bytes;
    double xact_us;
    double query_us;
    double wait_us;
    double assignments;
};

struct top_database {
    char *name;
    struct top_traffic total;
    struct top_traffic average; /* per second; times per event; assignments is 0 */
    uint64_t pool_size;
    bool is_paused;
    bool is_disabled;
};

struct top_user {
    char *name;
    uint64_t pool_size;
};

struct top_sample {
    usec_t at_us; /* 0: there is none yet */
    struct top_pool *pools;
    size_t n_pools;
    struct top_database
        *databases; /* those of SHOW STATS; their settings are those of SHOW DATABASES */
    size_t n_databases;
    struct top_user *users; /* those with a pool_size of their own */
    size_t n_users;
    uint64_t n_clients;
    uint64_t n_logging_in;
    bool is_paused;
    bool is_suspended;
};

void top_sample_done(struct top_sample *s);

/* When all is there: leaves out the console, gives each pool its limit, puts who waits longest first, and of the databases
 * those that are paused or disabled, then the busiest by what happened since @before (which may be empty). */
void top_sample_sort(struct top_sample *s, const struct top_sample *before);

/* What went on in @d between @before and @now, per second, times per event; where @before does not know it, the
 * daemon's own averages. */
struct top_traffic top_sample_rate(const struct top_sample *now, const struct top_sample *before,
                                   const struct top_database *d);

#endif
