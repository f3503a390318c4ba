/* SPDX-License-Identifier: ISC */
#include "pool/metrics.h"

#include <string.h>

struct close_row {
    const char *name;
    const char *sqlstate;
    const char *text;
};

#define ROW(id, name, sqlstate, prefix) [CLOSE_##id] = {name, sqlstate, prefix},
static const struct close_row client_rows[CLIENT_CLOSES] = {
    METRICS_CLIENT_CLOSES(ROW)[CLOSE_CLIENT_OTHER] = {"other", "", ""}};
static const struct close_row server_rows[SERVER_CLOSES] = {
    METRICS_SERVER_CLOSES(ROW)[CLOSE_SERVER_OTHER] = {"other", "", ""}};
#undef ROW

/* PG15 appendix A. */
static const char error_classes[METRICS_ERROR_CLASSES - 1][3] = {
    "00", "01", "02", "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "20", "21", "22",
    "23", "24", "25", "26", "27", "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D", "3F",
    "40", "42", "44", "53", "54", "55", "57", "58", "72", "F0", "HV", "P0", "XX",
};

void pool_stats_add(struct pool_stats *sum, const struct pool_stats *s)
{
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)s;

    for (size_t i = 0; i < POOL_STATS_COUNTERS; i++) {
        to[i] += from[i];
    }
}

void pool_metrics_add(struct pool_metrics *to, const struct pool_metrics *from)
{
    for (unsigned i = 0; i < POOL_LATENCIES; i++) {
        histogram_merge(&to->latency[i], &from->latency[i]);
    }
    to->n_errors += from->n_errors;
    to->n_notify_received += from->n_notify_received;
    to->n_notify_delivered += from->n_notify_delivered;
    to->n_notify_queued += from->n_notify_queued;
    to->n_notify_dropped += from->n_notify_dropped;
}

static bool begins_with(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

/* The last row fits everything. */
static unsigned find(const struct close_row *rows, const char *sqlstate, const char *text)
{
    unsigned i = 0;

    while (!begins_with(sqlstate, rows[i].sqlstate) || !begins_with(text, rows[i].text)) {
        i++;
    }
    return i;
}

enum client_close metrics_client_closed(struct env_metrics *m, const char *sqlstate,
                                        const char *text)
{
    enum client_close why = (enum client_close)find(client_rows, sqlstate, text);

    m->client_closes[why]++;
    return why;
}

enum server_close metrics_server_closed(struct env_metrics *m, const char *text)
{
    enum server_close why = (enum server_close)find(server_rows, "", text);

    m->server_closes[why]++;
    return why;
}

void metrics_error(struct env_metrics *m, enum metrics_error_source source, const char *sqlstate)
{
    unsigned i = 0;

    while (i < METRICS_ERROR_CLASSES - 1 && !begins_with(sqlstate, error_classes[i])) {
        i++;
    }
    m->errors[source][i]++;
}

const char *metrics_client_close_name(enum client_close why)
{
    return client_rows[why].name;
}

const char *metrics_server_close_name(enum server_close why)
{
    return server_rows[why].name;
}

const char *metrics_error_class_name(unsigned i)
{
    return i < METRICS_ERROR_CLASSES - 1 ? error_classes[i] : "other";
}
