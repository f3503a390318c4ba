/* SPDX-License-Identifier: ISC */
#include "daemon/status_json.h"

#include "daemon/admin_count.h"
#include "daemon/history.h"
#include "daemon/incidents.h"
#include "daemon/metrics_http.h"
#include "daemon/version.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WAITERS_MAX 25U
#define HEAD_MAX_BYTES ((size_t)1024 * 1024)
#define NAME_BYTES 160

struct status_json {
    struct metrics *m;
    struct buf head; /* all that is no row of a pool or database */
    enum { AT_HEAD, AT_POOLS, AT_DATABASES, AT_END } at;
    size_t row;
};

/* --- pieces of JSON --- */

void json_put_string(struct buf *out, const char *text)
{
    (void)buf_append_u8(out, '"');
    for (const char *c = text != NULL ? text : ""; *c != '\0'; c++) {
        unsigned char u = (unsigned char)*c;

        if (u < 0x20 || u == 0x7f || strchr("\"\\<>&'", u) != NULL) {
            (void)buf_append_fmt(out, "\\u%04x", u);
        } else {
            (void)buf_append_u8(out, u);
        }
    }
    (void)buf_append_u8(out, '"');
}

static void put_name(struct buf *out, const char *text)
{
    char clean[NAME_BYTES];

    json_put_string(out, log_escape(clean, sizeof(clean), text != NULL ? text : ""));
}

static void put_number(struct buf *out, const char *key, uint64_t n)
{
    (void)buf_append_fmt(out, "\"%s\":%" PRIu64 ",", key, n);
}

/* --- who waits --- */

struct waiter {
    struct lease *l;
    usec_t since_us;
};

/* The longest first; @n of WAITERS_MAX are taken. */
static void see_waiter(struct waiter *all, unsigned *n, struct lease *l)
{
    unsigned at = *n;

    while (at > 0 && all[at - 1].since_us > l->since_us) {
        at--;
    }
    if (at == WAITERS_MAX) {
        return;
    }
    *n = MIN(*n + 1, WAITERS_MAX);
    memmove(&all[at + 1], &all[at], (*n - 1 - at) * sizeof(*all));
    all[at] = (struct waiter){l, l->since_us};
}

/* The queue of a pool is in the order of waiting. */
static void see_waiters(struct waiter *all, unsigned *n, const struct list *leases)
{
    struct lease *l;
    unsigned seen = 0;

    list_for_each(leases, l, link) {
        if (seen++ == WAITERS_MAX) {
            return;
        }
        if (admin_client_of(l) != NULL) {
            see_waiter(all, n, l);
        }
    }
}

static void put_waiter(struct buf *out, struct lease *l)
{
    const struct client *c = admin_client_of(l);
    const char *application = c->params != NULL ? params_get(c->params, "application_name") : NULL;
    char addr[CLIENT_ADDR_SIZE];

    (void)buf_append_str(out, "{\"database\":");
    put_name(out, client_database_name(c));
    (void)buf_append_str(out, ",\"user\":");
    put_name(out, client_user_name(c));
    (void)buf_append_str(out, ",\"application\":");
    put_name(out, application);
    (void)buf_append_str(out, ",\"address\":");
    put_name(out, client_addr(c, addr));
    (void)buf_append_fmt(out, ",\"port\":%u,\"wait_us\":%" PRIu64 "}", c->port,
                         clock_now_us() - l->since_us);
}

static void put_waiters(const struct server *s, struct buf *out)
{
    struct waiter all[WAITERS_MAX];
    unsigned n = 0;

    for (const struct pool *pool = admin_next_pool(s, NULL); pool != NULL;
         pool = admin_next_pool(s, pool)) {
        see_waiters(all, &n, &pool->waiters);
        see_waiters(all, &n, &pool->opening);
    }
    (void)buf_append_str(out, "\"waiters\":[");
    for (unsigned i = 0; i < n; i++) {
        (void)buf_append_str(out, i > 0 ? "," : "");
        put_waiter(out, all[i].l);
    }
    (void)buf_append_str(out, "],");
}

/* --- the rest of the head --- */

static void put_incidents(const struct incidents *all, struct buf *out)
{
    static const char *const levels[LOG_LEVELS] = {
        [LOG_FATAL_LEVEL] = "fatal", [LOG_ERROR_LEVEL] = "error", [LOG_WARNING_LEVEL] = "warning"};
    const struct incident *e;

    (void)buf_append_str(out, "\"errors\":[");
    for (unsigned i = 0; (e = incidents_at(all, i)) != NULL; i++) {
        (void)buf_append_fmt(
            out, "%s{\"at_ms\":%" PRIu64 ",\"n\":%" PRIu64 ",\"level\":\"%s\",\"text\":",
            i > 0 ? "," : "", e->wall_us / USEC_PER_MSEC, e->n, levels[e->level]);
        json_put_string(out, e->text);
        (void)buf_append_u8(out, '}');
    }
    (void)buf_append_str(out, "],");
}

static void put_history(const struct history *h, struct buf *out)
{
    const struct history_sample *s;

    (void)buf_append_str(out, "\"history_columns\":[\"at_ms\",\"span_us\",\"queries\","
                              "\"transactions\",\"errors\",\"p50\","
                              "\"p95\",\"p99\",\"transaction_p95\",\"wait_p95\",\"cl_active\",\"cl_"
                              "waiting\",\"sv_active\","
                              "\"sv_idle\"],\"history\":[");
    for (unsigned i = 0; (s = history_at(h, i)) != NULL; i++) {
        const uint64_t row[] = {s->wall_us / USEC_PER_MSEC,
                                s->span_us,
                                s->queries,
                                s->xacts,
                                s->errors,
                                s->query_p50_us,
                                s->query_p95_us,
                                s->query_p99_us,
                                s->xact_p95_us,
                                s->wait_p95_us,
                                s->cl_active,
                                s->cl_waiting,
                                s->sv_active,
                                s->sv_idle};

        for (size_t k = 0; k < ARRAY_LEN(row); k++) {
            (void)buf_append_fmt(out, "%s%" PRIu64, k > 0 ? "," : i > 0 ? ",[" : "[", row[k]);
        }
        (void)buf_append_u8(out, ']');
    }
    (void)buf_append_str(out, "],");
}

static void put_process(const struct metrics *m, struct buf *out)
{
    const struct metrics_process *p = &m->process;

    (void)buf_append_fmt(out, "\"version\":\"" PGPOOLD_VERSION "\",\"state\":\"%s\",",
                         p->is_ending      ? "shutting down"
                         : p->is_suspended ? "suspended"
                         : p->is_paused    ? "paused"
                                           : "active");
    put_number(out, "now_ms", clock_wall_now_us() / USEC_PER_MSEC);
    put_number(out, "started_ms", p->started_wall_us / USEC_PER_MSEC);
    put_number(out, "clients", p->n_clients);
    put_number(out, "max_clients", p->max_clients);
    put_number(out, "logins", p->n_logins);
    put_number(out, "consoles", p->n_consoles);
    put_number(out, "rss_bytes", p->rss_bytes);
    put_number(out, "cpu_us", p->cpu_us);
    put_number(out, "accepted", m->env.n_accepted);
    put_number(out, "server_opens", m->env.n_server_opened);
    put_number(out, "server_open_failures", m->env.n_connect_failed);
}

static void put_bounds(struct buf *out)
{
    (void)buf_append_str(out, "\"bounds_us\":[");
    for (unsigned i = 0; i < HISTOGRAM_BOUNDS; i++) {
        (void)buf_append_fmt(out, "%s%" PRIu64, i > 0 ? "," : "", histogram_bounds_us[i]);
    }
    (void)buf_append_str(out, "],");
}

/* --- rows --- */

/* The cells of query times; empty ones at the end are left out. */
static void put_cells(const struct histogram *h, struct buf *out)
{
    unsigned n = HISTOGRAM_CELLS;

    while (n > 0 && h->cells[n - 1] == 0) {
        n--;
    }
    (void)buf_append_u8(out, '[');
    for (unsigned i = 0; i < n; i++) {
        (void)buf_append_fmt(out, "%s%" PRIu64, i > 0 ? "," : "", h->cells[i]);
    }
    (void)buf_append_u8(out, ']');
}

#define POOL_COLUMNS                                                                           \
    "\"pool_columns\":[\"database\",\"user\",\"mode\",\"error\",\"cl_active\",\"cl_waiting\"," \
    "\"cl_active_cancel_req\",\"cl_waiting_cancel_req\",\"sv_active\",\"sv_active_cancel\","   \
    "\"sv_being_canceled\",\"sv_idle\",\"sv_used\",\"sv_tested\",\"sv_login\",\"size\","       \
    "\"max_size\",\"reserve_size\",\"replication\",\"max_wait_us\",\"errors\",\"hubs\","       \
    "\"channels\","                                                                            \
    "\"subscriptions\",\"received\",\"delivered\",\"queued\",\"dropped\",\"cells\"],\"pools\":["

static void put_pool(const struct metrics_pool *p, struct buf *out)
{
    const uint64_t row[] = {p->cl_active,
                            p->cl_waiting,
                            p->cl_active_cancel_req,
                            p->cl_waiting_cancel_req,
                            p->sv_active,
                            p->sv_active_cancel,
                            p->sv_being_canceled,
                            p->sv_idle,
                            p->sv_used,
                            p->sv_tested,
                            p->sv_login,
                            p->n_servers,
                            p->size,
                            p->reserve_size,
                            p->n_replication,
                            p->max_wait_us,
                            p->m.n_errors,
                            p->n_hubs,
                            p->n_channels,
                            p->n_subscriptions,
                            p->m.n_notify_received,
                            p->m.n_notify_delivered,
                            p->m.n_notify_queued,
                            p->m.n_notify_dropped};
    const char *const texts[] = {p->database, p->user, p->mode, p->error};

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        (void)buf_append_u8(out, i > 0 ? ',' : '[');
        json_put_string(out, texts[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        (void)buf_append_fmt(out, ",%" PRIu64, row[i]);
    }
    (void)buf_append_u8(out, ',');
    put_cells(&p->m.latency[LATENCY_QUERY], out);
    (void)buf_append_u8(out, ']');
}

#define DATABASE_COLUMNS                                                                        \
    "],\"database_columns\":[\"name\",\"state\",\"clients\",\"max_clients\",\"servers\",\"max_" \
    "servers\","                                                                                \
    "\"queries\",\"transactions\"],\"databases\":["

static void put_database(const struct metrics_database *d, struct buf *out)
{
    (void)buf_append_u8(out, '[');
    json_put_string(out, d->name);
    (void)buf_append_u8(out, ',');
    json_put_string(out, d->state);
    (void)buf_append_fmt(
        out, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "]",
        d->n_clients, d->max_clients, d->n_connections, d->max_connections, d->stats.query_count,
        d->stats.xact_count);
}

/* --- the whole --- */

struct status_json *status_json_new(struct server *s)
{
    struct status_json *j = calloc(1, sizeof(*j));

    if (j == NULL) {
        return NULL;
    }
    j->head = BUF_INIT(HEAD_MAX_BYTES);
    j->m = metrics_take(s);
    if (j->m == NULL) {
        return status_json_free(j);
    }
    (void)buf_append_u8(&j->head, '{');
    put_process(j->m, &j->head);
    put_bounds(&j->head);
    put_history(metrics_http_history(s->http), &j->head);
    put_incidents(metrics_http_incidents(s->http), &j->head);
    put_waiters(s, &j->head);
    (void)buf_append_str(&j->head, POOL_COLUMNS);
    return buf_ok(&j->head) ? j : status_json_free(j);
}

struct status_json *status_json_free(struct status_json *j)
{
    if (j == NULL) {
        return NULL;
    }
    j->m = metrics_free(j->m);
    buf_done(&j->head);
    free(j);
    return NULL;
}

static void step(struct status_json *j, struct buf *out)
{
    switch (j->at) {
    case AT_HEAD:
        (void)buf_append(out, j->head.data, j->head.len);
        j->at = AT_POOLS;
        return;
    case AT_POOLS:
        if (j->row < j->m->n_pools) {
            (void)buf_append_str(out, j->row > 0 ? ",\n" : "\n");
            put_pool(&j->m->pools[j->row++], out);
            return;
        }
        (void)buf_append_str(out, DATABASE_COLUMNS);
        j->at = AT_DATABASES;
        j->row = 0;
        return;
    case AT_DATABASES:
        if (j->row < j->m->n_databases) {
            (void)buf_append_str(out, j->row > 0 ? ",\n" : "\n");
            put_database(&j->m->databases[j->row++], out);
            return;
        }
        (void)buf_append_str(out, "]}\n");
        j->at = AT_END;
        return;
    case AT_END:
        return;
    }
    unreachable();
}

void status_json_step(struct status_json *j, struct buf *out, size_t enough)
{
    while (j->at != AT_END && out->len < enough && buf_ok(out)) {
        step(j, out);
    }
}
