/* SPDX-License-Identifier: ISC */
#include "daemon/history.h"

#include "daemon/admin_count.h"

#include <stddef.h>

/* Nothing here needs the names that metrics_take() copies. */
static void sum_up(const struct server *s, struct pool_metrics *sum, struct history_sample *sample)
{
    *sum = s->env->metrics.gone_named;
    pool_metrics_add(sum, &s->env->metrics.gone_pools);
    for (const struct pool *pool = admin_next_pool(s, NULL); pool != NULL;
         pool = admin_next_pool(s, pool)) {
        struct admin_pool_count n;

        admin_count_pool(pool, &n);
        sample->cl_active += n.cl_active;
        sample->cl_waiting += n.cl_waiting;
        sample->sv_active += n.sv_active;
        sample->sv_idle += n.sv_idle + n.sv_used + n.sv_tested;
        pool_metrics_add(sum, &pool->metrics);
    }
}

static void compare(struct history_sample *sample, const struct pool_metrics *now,
                    const struct pool_metrics *then)
{
    struct histogram h;

    histogram_since(&h, &now->latency[LATENCY_QUERY], &then->latency[LATENCY_QUERY]);
    sample->queries = histogram_count(&h);
    sample->query_p50_us = histogram_quantile_us(&h, 500);
    sample->query_p95_us = histogram_quantile_us(&h, 950);
    sample->query_p99_us = histogram_quantile_us(&h, 990);
    histogram_since(&h, &now->latency[LATENCY_XACT], &then->latency[LATENCY_XACT]);
    sample->xacts = histogram_count(&h);
    sample->xact_p95_us = histogram_quantile_us(&h, 950);
    histogram_since(&h, &now->latency[LATENCY_WAIT], &then->latency[LATENCY_WAIT]);
    sample->wait_p95_us = histogram_quantile_us(&h, 950);
    sample->errors = now->n_errors - then->n_errors;
}

static void on_timer(struct loop_timer *timer)
{
    struct history *h = container_of(timer, struct history, timer);
    struct history_sample *sample = &h->ring[h->n++ % HISTORY_SAMPLES];
    struct pool_metrics now;

    *sample = (struct history_sample){.wall_us = clock_wall_now_us(),
                                      .span_us = clock_now_us() - h->last_us};
    sum_up(h->server, &now, sample);
    compare(sample, &now, &h->last);
    h->last = now;
    h->last_us = clock_now_us();
    loop_timer_set(h->server->loop, &h->timer, HISTORY_STEP_US);
}

void history_start(struct history *h, struct server *s)
{
    struct history_sample ignored = {0};

    h->server = s;
    h->last_us = clock_now_us();
    sum_up(s, &h->last, &ignored);
    loop_timer_init(&h->timer, on_timer);
    loop_timer_set(s->loop, &h->timer, HISTORY_STEP_US);
}

void history_stop(struct history *h)
{
    if (h->server != NULL) {
        loop_timer_stop(h->server->loop, &h->timer);
    }
}

const struct history_sample *history_at(const struct history *h, unsigned i)
{
    unsigned kept = (unsigned)MIN(h->n, (uint64_t)HISTORY_SAMPLES);

    return i < kept ? &h->ring[(h->n - kept + i) % HISTORY_SAMPLES] : NULL;
}
