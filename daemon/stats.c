/* SPDX-License-Identifier: ISC */
#include "daemon/stats.h"

#include "daemon/util/buf.h"
#include "daemon/util/log.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

/* What happened since the period began, over all databases, as if it were one. */
static void add_period(struct database *sum, const struct database *db)
{
    pool_stats_add(&sum->stats, &db->stats);
    pool_stats_add(&sum->period_start, &db->period_start);
}

/* The parts of the line that log watchers know, in their order: what stands before a figure, which, what stands behind. */
static const struct {
    const char *before;
    size_t at;
    const char *behind;
} line_parts[] = {
    {"", offsetof(struct pool_stats, xact_count), " xacts/s"},
    {"", offsetof(struct pool_stats, query_count), " queries/s"},
    {"", offsetof(struct pool_stats, client_parse_count), " client parses/s"},
    {"", offsetof(struct pool_stats, server_parse_count), " server parses/s"},
    {"", offsetof(struct pool_stats, bind_count), " binds/s"},
    {"in ", offsetof(struct pool_stats, bytes_received), " B/s"},
    {"out ", offsetof(struct pool_stats, bytes_sent), " B/s"},
    {"xact ", offsetof(struct pool_stats, xact_time_us), " us"},
    {"query ", offsetof(struct pool_stats, query_time_us), " us"},
    {"wait ", offsetof(struct pool_stats, wait_time_us), " us"},
};

static void write_line(const struct pool_stats *averages)
{
    struct buf line = BUF_INIT(1024);

    for (size_t i = 0; i < ARRAY_LEN(line_parts); i++) {
        uint64_t figure;

        memcpy(&figure, (const char *)averages + line_parts[i].at, sizeof(figure));
        (void)buf_append_fmt(&line, "%s%s%" PRIu64 "%s", i == 0 ? "" : ", ", line_parts[i].before,
                             figure, line_parts[i].behind); /* always fits */
    }
    log_info("stats: %s", buf_cstr(&line));
    buf_done(&line);
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
    database_stats_turn(s->console, period_us);
    s->stats_period_us = period_us;
    if (s->config->settings.log_stats) {
        write_line(&sum.average);
    }
    s->xacts_per_s = sum.average.xact_count;
    s->queries_per_s = sum.average.query_count;
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
