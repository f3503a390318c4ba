/* SPDX-License-Identifier: ISC */
/* SHOW STATS, STATS_TOTALS, STATS_AVERAGES and TOTALS: the same twelve figures of struct pool_stats in different cuts.
 * Times are microseconds; averages are those of the last whole stats_period. */
#include "daemon/admin_show.h"

#include "pool/database.h"

#include <stdio.h>

/* Each figure, and what SHOW TOTALS calls it: not always what the columns of SHOW STATS are called. */
static const struct {
    const char *total;
    const char *average;
    size_t at;
} figures[] = {
#define FIGURE(name, field)                                            \
    {                                                                  \
        "total_" name, "avg_" name, offsetof(struct pool_stats, field) \
    }
    FIGURE("server_assignment_count", server_assignment_count),
    FIGURE("xact_count", xact_count),
    FIGURE("query_count", query_count),
    FIGURE("client_bytes", bytes_received),
    FIGURE("server_bytes", bytes_sent),
    FIGURE("xact_time", xact_time_us),
    FIGURE("query_time", query_time_us),
    FIGURE("wait_time", wait_time_us),
    FIGURE("ps_client_parse_count", client_parse_count),
    FIGURE("ps_server_parse_count", server_parse_count),
    FIGURE("ps_bind_count", bind_count),
    FIGURE("client_login_count", client_login_count),
#undef FIGURE
};

#define NUMBERS(prefix, received)                                                            \
    {prefix "server_assignment_count", ADMIN_NUMERIC}, {prefix "xact_count", ADMIN_NUMERIC}, \
        {prefix "query_count", ADMIN_NUMERIC}, {prefix received, ADMIN_NUMERIC},             \
        {prefix "sent", ADMIN_NUMERIC}, {prefix "xact_time", ADMIN_NUMERIC},                 \
        {prefix "query_time", ADMIN_NUMERIC}, {prefix "wait_time", ADMIN_NUMERIC},           \
        {prefix "client_parse_count", ADMIN_NUMERIC},                                        \
        {prefix "server_parse_count", ADMIN_NUMERIC}, {prefix "bind_count", ADMIN_NUMERIC},  \
    {                                                                                        \
        prefix "client_login_count", ADMIN_NUMERIC                                           \
    }

/* @tail: prefix of the last four; only the averages have one, and PgBouncer's dashboards expect it just there. */
#define HALF(tail)                                                                                 \
    {"database", ADMIN_TEXT}, {"server_assignment_count", ADMIN_NUMERIC},                          \
        {"xact_count", ADMIN_NUMERIC}, {"query_count", ADMIN_NUMERIC},                             \
        {"bytes_received", ADMIN_NUMERIC}, {"bytes_sent", ADMIN_NUMERIC},                          \
        {"xact_time", ADMIN_NUMERIC}, {"query_time", ADMIN_NUMERIC}, {"wait_time", ADMIN_NUMERIC}, \
        {tail "client_parse_count", ADMIN_NUMERIC}, {tail "server_parse_count", ADMIN_NUMERIC},    \
        {tail "bind_count", ADMIN_NUMERIC},                                                        \
    {                                                                                              \
        tail "client_login_count", ADMIN_NUMERIC                                                   \
    }

static const struct admin_column stats_columns[] = {
    {"database", ADMIN_TEXT},
    NUMBERS("total_", "received"),
    NUMBERS("avg_", "recv"),
    {"total_requests",
     ADMIN_NUMERIC}, /* PgBouncer's old name of total_query_count, which Debian's exporter reads */
};
static const struct admin_column totals_of_stats_columns[] = {HALF("")};
static const struct admin_column averages_columns[] = {HALF("avg_")};
static const struct admin_column totals_columns[] = {{"name", ADMIN_TEXT},
                                                     {"value", ADMIN_NUMERIC}};

static void each_database(struct server *s, struct admin_walk *w)
{
    const struct database *db;

    list_for_each(&s->env->databases, db, link) {
        admin_walk_see(w, (struct admin_key){.a = db->name}, db, 0);
    }
    admin_walk_see(w, (struct admin_key){.a = ADMIN_CONSOLE_NAME}, s->console, 0);
}

static void put_database(struct admin_row *row, const struct database *db)
{
    admin_put_name(row, db->name != NULL ? db->name : ADMIN_CONSOLE_NAME);
}

static uint64_t figure(const struct pool_stats *stats, size_t i)
{
    return *(const uint64_t *)(const void *)((const char *)stats + figures[i].at);
}

static void put_figures(struct admin_row *row, const struct pool_stats *stats)
{
    for (size_t i = 0; i < ARRAY_LEN(figures); i++) {
        admin_put_uint(row, figure(stats, i));
    }
}

static void fill_stats(struct server *s, const struct admin_found *f, struct admin_row *row)
{
    const struct database *db = f->item;

    (void)s;
    put_database(row, db);
    put_figures(row, &db->stats);
    put_figures(row, &db->average);
    admin_put_uint(row, db->stats.query_count);
}

static void fill_totals_of_stats(struct server *s, const struct admin_found *f,
                                 struct admin_row *row)
{
    const struct database *db = f->item;

    (void)s;
    put_database(row, db);
    put_figures(row, &db->stats);
}

static void fill_averages(struct server *s, const struct admin_found *f, struct admin_row *row)
{
    const struct database *db = f->item;

    (void)s;
    put_database(row, db);
    put_figures(row, &db->average);
}

static void put_total(struct admin_rows *rows, const char *name, uint64_t value)
{
    struct admin_row *row = admin_rows_next(rows);

    if (row != NULL) {
        admin_put_text(row, name);
        admin_put_uint(row, value);
    }
}

/* The rows of SHOW STATS as if they were one, but for the console's: looking at the totals must not change them. */
static void sum_up(const struct server *s, struct pool_stats *total, struct pool_stats *average)
{
    struct pool_stats period = {0};
    const struct database *db;

    *total = (struct pool_stats){0};
    list_for_each(&s->env->databases, db, link) {
        pool_stats_add(total, &db->stats);
        pool_stats_add(&period, &db->period);
    }
    pool_stats_average(&period, s->stats_period_us, average);
}

static void show_totals(struct server *s, struct admin_rows *rows)
{
    struct pool_stats total;
    struct pool_stats average;

    sum_up(s, &total, &average);
    for (size_t i = 0; i < ARRAY_LEN(figures); i++) {
        put_total(rows, figures[i].total, figure(&total, i));
    }
    for (size_t i = 0; i < ARRAY_LEN(figures); i++) {
        put_total(rows, figures[i].average, figure(&average, i));
    }
}

const struct admin_show_kind admin_show_stats = {.name = "STATS",
                                                 .begins_line = true,
                                                 ADMIN_COLUMNS(stats_columns),
                                                 .each = each_database,
                                                 .fill = fill_stats};
const struct admin_show_kind admin_show_stats_totals = {.name = "STATS_TOTALS",
                                                        ADMIN_COLUMNS(totals_of_stats_columns),
                                                        .each = each_database,
                                                        .fill = fill_totals_of_stats};
const struct admin_show_kind admin_show_stats_averages = {.name = "STATS_AVERAGES",
                                                          ADMIN_COLUMNS(averages_columns),
                                                          .each = each_database,
                                                          .fill = fill_averages};
const struct admin_show_kind admin_show_totals = {
    .name = "TOTALS", ADMIN_COLUMNS(totals_columns), .rows = show_totals};
