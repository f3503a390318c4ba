/* SPDX-License-Identifier: ISC */
#include "daemon/stats.h"

#include "daemon/systemd.h"
#include "daemon/util/log.h"

#include <inttypes.h>

/* What happened since the period began, over all databases, as if it were one. */
static void add_period(struct database *sum, const struct database *db)
{
    pool_stats_add(&sum->stats, &db->stats);
    pool_stats_add(&sum->period_start, &db->period_start);
}

static void write_line(const struct pool_stats *a)
{
    log_info(
        "stats: %" PRIu64 " xacts/s, %" PRIu64 " queries/s, %" PRIu64 " client parses/s, %" PRIu64
        " server parses/s, %" PRIu64 " binds/s, in %" PRIu64 " B/s, out %" PRIu64
        " B/s, xact %" PRIu64 " us, query %" PRIu64 " us, wait %" PRIu64 " us",
        a->xact_count, a->query_count, a->client_parse_count, a->server_parse_count, a->bind_count,
        a->bytes_received, a->bytes_sent, a->xact_time_us, a->query_time_us, a->wait_time_us);
}

static void on_period(struct loop_timer *timer)
{
    struct server *s = container_of(timer, struct server, stats_timer);
    usec_t period_us = clock_now_us() - s->stats_since_us;
    struct database sum = {0};
    struct database *db;

    list_for_each(&s->env->databases, db, link) {
        add_period(&sum, db);
        database_stats_turn(db, period_us);
    }
    database_stats_turn(&sum, period_us);
    if (s->config->settings.log_stats) {
        write_line(&sum.average);
    }
    systemd_status("%u clients, %" PRIu64 " xacts/s, %" PRIu64 " queries/s", s->n_logged_in,
                   sum.average.xact_count, sum.average.query_count);
    s->stats_since_us = clock_now_us();
    loop_timer_set(s->loop, &s->stats_timer, s->config->settings.stats_period_us);
}

void stats_start(struct server *s)
{
    usec_t period_us = s->config->settings.stats_period_us;
    usec_t gone_us;

    if (!loop_timer_is_set(&s->stats_timer)) {
        loop_timer_init(&s->stats_timer, on_period);
        s->stats_since_us = clock_now_us();
    }
    gone_us = clock_now_us() - s->stats_since_us;
    loop_timer_set(s->loop, &s->stats_timer, gone_us < period_us ? period_us - gone_us : 0);
}

void stats_stop(struct server *s)
{
    loop_timer_stop(s->loop, &s->stats_timer);
}
