/* SPDX-License-Identifier: ISC */
/* The last ten minutes of the whole process, for the charts of the status page: whoever opens it during an incident sees
 * how it came. One sample every HISTORY_STEP_US, only while the HTTP side is on. */
#ifndef PGPOOLD_DAEMON_HISTORY_H
#define PGPOOLD_DAEMON_HISTORY_H

#include "daemon/server.h"

#define HISTORY_STEP_US (5 * USEC_PER_SEC)
#define HISTORY_SAMPLES 120U

struct history_sample {
    uint64_t wall_us;
    uint64_t span_us; /* since the one before */
    uint64_t queries; /* in that span */
    uint64_t xacts;
    uint64_t errors;
    uint64_t query_p50_us;
    uint64_t query_p95_us;
    uint64_t query_p99_us;
    uint64_t xact_p95_us;
    uint64_t wait_p95_us;
    uint64_t cl_active; /* at its end */
    uint64_t cl_waiting;
    uint64_t sv_active;
    uint64_t sv_idle;
};

struct history {
    /* private */
    struct server *server;
    struct loop_timer timer;
    struct pool_metrics last;
    usec_t last_us;
    struct history_sample ring[HISTORY_SAMPLES];
    uint64_t n; /* samples taken ever */
};

void history_start(struct history *h, struct server *s);
void history_stop(struct history *h);

/* @i = 0 is the oldest that is kept; NULL: no more. */
const struct history_sample *history_at(const struct history *h, unsigned i);

#endif
