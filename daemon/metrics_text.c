/* SPDX-License-Identifier: ISC */
/* The families of /metrics, a table, and how they are written. Prometheus' text format 0.0.4 and OpenMetrics 1.0.0 differ
 * in the order of the comments, in the name of a counter's family, in UNIT and in the end mark. */
#include "daemon/metrics.h"

#include "daemon/util/buf.h"
#include "daemon/version.h"

#include <string.h>

enum type { GAUGE, COUNTER, HISTOGRAM };

enum number {
    COUNT,
    USECS, /* shown as seconds */
};

/* What the rows of a family are about. */
enum subject {
    OF_PROCESS,
    OF_ENV,
    OF_BUILD,
    OF_POOL,
    OF_POOL_MODE,
    OF_DATABASE,
    OF_USER,
    OF_PEER,
    OF_LIST,
    OF_MEMORY,
    OF_HOST,
    OF_CLIENT_CLOSE,
    OF_SERVER_CLOSE,
    OF_SERVER_ERROR,
    OF_POOLER_ERROR,
};

/* One value of each row: at which offset of the subject's record, and the value of the family's label. */
struct series {
    size_t at;
    const char *label;
};

struct family {
    const char *name; /* without _total */
    const char *unit; /* "": none; the name ends in it */
    const char *help;
    enum type type;
    enum number number;
    enum subject subject;
    const char *label;           /* NULL: none of its own */
    const struct series *series; /* NULL: one, at @at */
    unsigned n_series;
    size_t at;
};

#define POOL(field) offsetof(struct metrics_pool, field)
#define DATABASE(field) offsetof(struct metrics_database, field)
#define USER(field) offsetof(struct metrics_user, field)
#define PEER(field) offsetof(struct metrics_peer, field)
#define PROCESS(field) offsetof(struct metrics_process, field)
#define ENV(field) offsetof(struct env_metrics, field)

static const struct series client_states[] = {
    {POOL(cl_active), "active"},
    {POOL(cl_waiting), "waiting"},
    {POOL(cl_active_cancel_req), "active_cancel_req"},
    {POOL(cl_waiting_cancel_req), "waiting_cancel_req"},
};
static const struct series server_states[] = {
    {POOL(sv_active), "active"}, {POOL(sv_active_cancel), "active_cancel"},
    {POOL(sv_idle), "idle"},     {POOL(sv_being_canceled), "being_canceled"},
    {POOL(sv_used), "used"},     {POOL(sv_tested), "tested"},
    {POOL(sv_login), "login"},
};
static const struct series peer_states[] = {
    {PEER(cl_active_cancel_req), "active_cancel_req"},
    {PEER(cl_waiting_cancel_req), "waiting_cancel_req"},
};
static const struct series process_states[] = {
    {PROCESS(is_active), "active"},
    {PROCESS(is_paused), "paused"},
    {PROCESS(is_suspended), "suspended"},
    {PROCESS(is_ending), "shutting_down"},
};

#define SERIES(s) .series = (s), .n_series = ARRAY_LEN(s)
#define PLAIN(name_, type_, subject_, at_, help_)                                             \
    {                                                                                         \
        .name = (name_), .unit = "", .help = (help_), .type = (type_), .subject = (subject_), \
        .at = (at_)                                                                           \
    }
#define SECONDS(name_, type_, subject_, at_, help_)                                            \
    {                                                                                          \
        .name = (name_), .unit = "seconds", .help = (help_), .type = (type_), .number = USECS, \
        .subject = (subject_), .at = (at_)                                                     \
    }
#define BYTES(name_, type_, subject_, at_, help_)                                                  \
    {                                                                                              \
        .name = (name_), .unit = "bytes", .help = (help_), .type = (type_), .subject = (subject_), \
        .at = (at_)                                                                                \
    }

static const struct family families[] = {
    {.name = "pgpoold_build_info",
     .unit = "",
     .help = "Always 1; the version is in the label.",
     .subject = OF_BUILD,
     .label = "version"},
    {.name = "pgpoold_state",
     .unit = "",
     .help = "1 for what the process does just now, as SHOW STATE says it.",
     .subject = OF_PROCESS,
     .label = "state",
     SERIES(process_states)},
    SECONDS("process_start_time_seconds", GAUGE, OF_PROCESS, PROCESS(started_wall_us),
            "When the process began, seconds since the epoch."),
    SECONDS("process_cpu_seconds", COUNTER, OF_PROCESS, PROCESS(cpu_us),
            "User and system CPU time."),
    BYTES("process_resident_memory_bytes", GAUGE, OF_PROCESS, PROCESS(rss_bytes),
          "Resident memory."),
    BYTES("process_virtual_memory_bytes", GAUGE, OF_PROCESS, PROCESS(virtual_bytes),
          "Virtual memory."),
    PLAIN("process_max_fds", GAUGE, OF_PROCESS, PROCESS(max_fds),
          "Descriptors that the process may open."),
    PLAIN("pgpoold_fds_needed", GAUGE, OF_PROCESS, PROCESS(fds_needed),
          "Descriptors that a full house would need, by the configuration."),
    PLAIN("pgpoold_loop_turns", COUNTER, OF_PROCESS, PROCESS(n_turns), "Turns of the event loop."),
    PLAIN("pgpoold_client_connections", GAUGE, OF_PROCESS, PROCESS(n_clients),
          "Connections of clients, those that are logging in included."),
    PLAIN("pgpoold_max_client_connections", GAUGE, OF_PROCESS, PROCESS(max_clients),
          "The limit max_client_conn."),
    PLAIN("pgpoold_login_connections", GAUGE, OF_PROCESS, PROCESS(n_logins),
          "Connections of clients that have not logged in yet."),
    PLAIN("pgpoold_console_connections", GAUGE, OF_PROCESS, PROCESS(n_consoles),
          "Connections to the console."),
    PLAIN("pgpoold_http_connections", GAUGE, OF_PROCESS, PROCESS(n_http), "HTTP connections."),
    PLAIN("pgpoold_max_http_connections", GAUGE, OF_PROCESS, PROCESS(max_http),
          "The limit http_max_connections."),
    PLAIN("pgpoold_http_refused", COUNTER, OF_PROCESS, PROCESS(n_http_refused),
          "HTTP connections closed at once because of http_max_connections."),
    PLAIN("pgpoold_accepted", COUNTER, OF_ENV, ENV(n_accepted), "Connections of clients accepted."),
    PLAIN("pgpoold_server_opens", COUNTER, OF_ENV, ENV(n_server_opened),
          "Attempts to open a server connection."),
    PLAIN("pgpoold_server_open_failures", COUNTER, OF_ENV, ENV(n_connect_failed),
          "Attempts to open a server connection that failed."),
    {.name = "pgpoold_client_closes",
     .unit = "",
     .help = "Ends of client connections, by reason.",
     .type = COUNTER,
     .subject = OF_CLIENT_CLOSE,
     .label = "reason"},
    {.name = "pgpoold_server_closes",
     .unit = "",
     .help = "Ends of server connections, by reason.",
     .type = COUNTER,
     .subject = OF_SERVER_CLOSE,
     .label = "reason"},
    {.name = "pgpoold_server_errors",
     .unit = "",
     .help = "Errors that servers reported, by class of SQLSTATE.",
     .type = COUNTER,
     .subject = OF_SERVER_ERROR,
     .label = "class"},
    {.name = "pgpoold_pooler_errors",
     .unit = "",
     .help = "Errors of our own that clients were told, by class of SQLSTATE.",
     .type = COUNTER,
     .subject = OF_POOLER_ERROR,
     .label = "class"},
    {.name = "pgpoold_list_items",
     .unit = "",
     .help = "Length of internal lists, as SHOW LISTS says it.",
     .subject = OF_LIST,
     .label = "list"},
    {.name = "pgpoold_memory_bytes",
     .unit = "bytes",
     .help = "Memory by what it is used for, as SHOW MEM says it.",
     .subject = OF_MEMORY,
     .label = "cache"},
    {.name = "pgpoold_dns_host_addresses",
     .unit = "",
     .help = "Addresses of a host name that is known, 0 when it could not be found.",
     .subject = OF_HOST,
     .label = "host",
     .at = offsetof(struct metrics_host, n_addrs)},
    {.name = "pgpoold_dns_host_ttl_seconds",
     .unit = "seconds",
     .help = "How long a host name is not looked up anew.",
     .subject = OF_HOST,
     .label = "host",
     .at = offsetof(struct metrics_host, ttl_s)},

    PLAIN("pgpoold_database_client_connections", GAUGE, OF_DATABASE, DATABASE(n_clients),
          "Clients of the database."),
    PLAIN("pgpoold_database_max_client_connections", GAUGE, OF_DATABASE, DATABASE(max_clients),
          "Their limit, 0 for none."),
    PLAIN("pgpoold_database_server_connections", GAUGE, OF_DATABASE, DATABASE(n_connections),
          "Server connections of the database."),
    PLAIN("pgpoold_database_max_server_connections", GAUGE, OF_DATABASE, DATABASE(max_connections),
          "Their limit max_db_connections, 0 for none."),
    PLAIN("pgpoold_database_paused", GAUGE, OF_DATABASE, DATABASE(is_paused),
          "1 while it is paused or suspended."),
    PLAIN("pgpoold_database_disabled", GAUGE, OF_DATABASE, DATABASE(is_disabled),
          "1 while it takes no new clients."),
    PLAIN("pgpoold_database_unreachable", GAUGE, OF_DATABASE, DATABASE(is_unreachable),
          "1 while no server connection can be opened, as /readyz says it."),
    PLAIN("pgpoold_database_server_assignments", COUNTER, OF_DATABASE,
          DATABASE(stats.server_assignment_count),
          "Times that a client was given a server connection."),
    PLAIN("pgpoold_database_transactions", COUNTER, OF_DATABASE, DATABASE(stats.xact_count),
          "Transactions."),
    PLAIN("pgpoold_database_queries", COUNTER, OF_DATABASE, DATABASE(stats.query_count),
          "Queries."),
    BYTES("pgpoold_database_received_bytes", COUNTER, OF_DATABASE, DATABASE(stats.bytes_received),
          "Bytes received from clients."),
    BYTES("pgpoold_database_sent_bytes", COUNTER, OF_DATABASE, DATABASE(stats.bytes_sent),
          "Bytes sent to clients."),
    SECONDS("pgpoold_database_transaction_seconds", COUNTER, OF_DATABASE,
            DATABASE(stats.xact_time_us), "Time spent in transactions."),
    SECONDS("pgpoold_database_query_seconds", COUNTER, OF_DATABASE, DATABASE(stats.query_time_us),
            "Time spent in queries."),
    SECONDS("pgpoold_database_wait_seconds", COUNTER, OF_DATABASE, DATABASE(stats.wait_time_us),
            "Time that clients waited for a server connection."),
    PLAIN("pgpoold_database_client_parses", COUNTER, OF_DATABASE,
          DATABASE(stats.client_parse_count), "Statements that clients prepared."),
    PLAIN("pgpoold_database_server_parses", COUNTER, OF_DATABASE,
          DATABASE(stats.server_parse_count), "Statements prepared on servers."),
    PLAIN("pgpoold_database_binds", COUNTER, OF_DATABASE, DATABASE(stats.bind_count),
          "Prepared statements run."),
    PLAIN("pgpoold_database_logins", COUNTER, OF_DATABASE, DATABASE(stats.client_login_count),
          "Logins of clients."),

    PLAIN("pgpoold_user_client_connections", GAUGE, OF_USER, USER(n_clients),
          "Clients of the user."),
    PLAIN("pgpoold_user_max_client_connections", GAUGE, OF_USER, USER(max_clients),
          "Their limit, 0 for none."),
    PLAIN("pgpoold_user_server_connections", GAUGE, OF_USER, USER(n_connections),
          "Server connections of the user."),
    PLAIN("pgpoold_user_max_server_connections", GAUGE, OF_USER, USER(max_connections),
          "Their limit max_user_connections, 0 for none."),

    PLAIN("pgpoold_peer_connections", GAUGE, OF_PEER, PEER(n_connections),
          "Cancel requests that are being passed on to a peer."),
    PLAIN("pgpoold_peer_max_connections", GAUGE, OF_PEER, PEER(max_connections),
          "How many may be at once."),
    {.name = "pgpoold_peer_clients",
     .unit = "",
     .help = "Clients with a cancel request for a peer, as SHOW PEER_POOLS says it.",
     .subject = OF_PEER,
     .label = "state",
     SERIES(peer_states)},
    PLAIN("pgpoold_peer_cancels", COUNTER, OF_PEER, PEER(n_done),
          "Cancel requests that a peer has got."),
    PLAIN("pgpoold_peer_cancel_failures", COUNTER, OF_PEER, PEER(n_failed),
          "Cancel requests that did not get there."),

    {.name = "pgpoold_pool_info",
     .unit = "",
     .help = "Always 1; the pool mode is in the label.",
     .subject = OF_POOL_MODE,
     .label = "pool_mode"},
    {.name = "pgpoold_pool_clients",
     .unit = "",
     .help = "Clients of a pool by state, as SHOW POOLS says it.",
     .subject = OF_POOL,
     .label = "state",
     SERIES(client_states)},
    {.name = "pgpoold_pool_servers",
     .unit = "",
     .help = "Server connections of a pool by state, as SHOW POOLS says it.",
     .subject = OF_POOL,
     .label = "state",
     SERIES(server_states)},
    PLAIN("pgpoold_pool_server_connections", GAUGE, OF_POOL, POOL(n_servers),
          "Server connections of a pool in all states."),
    PLAIN("pgpoold_pool_max_server_connections", GAUGE, OF_POOL, POOL(size),
          "Their limit pool_size, 0 for none."),
    PLAIN("pgpoold_pool_min_server_connections", GAUGE, OF_POOL, POOL(min_size),
          "The option min_pool_size."),
    PLAIN("pgpoold_pool_reserve_server_connections", GAUGE, OF_POOL, POOL(reserve_size),
          "The option reserve_pool_size."),
    PLAIN("pgpoold_pool_replication_connections", GAUGE, OF_POOL, POOL(n_replication),
          "Server connections that replicate."),
    SECONDS("pgpoold_pool_max_wait_seconds", GAUGE, OF_POOL, POOL(max_wait_us),
            "How long the first in the queue has waited."),
    PLAIN("pgpoold_pool_connect_failing", GAUGE, OF_POOL, POOL(has_failed),
          "1 when the last attempt to open a server connection failed, by a refused login too."),
    PLAIN("pgpoold_pool_errors", COUNTER, OF_POOL, POOL(m.n_errors),
          "Errors that the servers of a pool reported."),
    PLAIN("pgpoold_pool_hubs", GAUGE, OF_POOL, POOL(n_hubs),
          "Server connections that listen for all clients of the pool."),
    PLAIN("pgpoold_pool_listen_channels", GAUGE, OF_POOL, POOL(n_channels),
          "Channels that clients of the pool listen to."),
    PLAIN("pgpoold_pool_listen_subscriptions", GAUGE, OF_POOL, POOL(n_subscriptions),
          "Pairs of a client and a channel that it listens to."),
    PLAIN("pgpoold_pool_notifications_received", COUNTER, OF_POOL, POOL(m.n_notify_received),
          "Notifications that the hubs of a pool received."),
    PLAIN("pgpoold_pool_notifications_delivered", COUNTER, OF_POOL, POOL(m.n_notify_delivered),
          "Notifications passed on, once for each client."),
    PLAIN("pgpoold_pool_notifications_queued", COUNTER, OF_POOL, POOL(m.n_notify_queued),
          "Notifications that had to wait before they were passed on."),
    PLAIN("pgpoold_pool_notifications_dropped", COUNTER, OF_POOL, POOL(m.n_notify_dropped),
          "Notifications for clients whose queue was full, which ends their connection."),
    SECONDS("pgpoold_pool_query_duration_seconds", HISTOGRAM, OF_POOL,
            POOL(m.latency[LATENCY_QUERY]), "Duration of queries."),
    SECONDS("pgpoold_pool_transaction_duration_seconds", HISTOGRAM, OF_POOL,
            POOL(m.latency[LATENCY_XACT]), "Duration of transactions."),
    SECONDS("pgpoold_pool_wait_duration_seconds", HISTOGRAM, OF_POOL, POOL(m.latency[LATENCY_WAIT]),
            "How long clients waited for a server connection; most do not wait at all."),
    SECONDS("pgpoold_pool_server_connect_duration_seconds", HISTOGRAM, OF_POOL,
            POOL(m.latency[LATENCY_CONNECT]),
            "From the decision to open a server connection until it could be used."),
    SECONDS("pgpoold_pool_login_duration_seconds", HISTOGRAM, OF_POOL,
            POOL(m.latency[LATENCY_LOGIN]), "From the accept of a client to the end of its login."),
};

/* --- rows --- */

static size_t count_rows(const struct metrics *m, enum subject subject)
{
    switch (subject) {
    case OF_PROCESS:
    case OF_ENV:
    case OF_BUILD:
        return 1;
    case OF_POOL:
    case OF_POOL_MODE:
        return m->n_pools;
    case OF_DATABASE:
        return m->n_databases;
    case OF_USER:
        return m->n_users;
    case OF_PEER:
        return m->n_peers;
    case OF_LIST:
        return m->n_lists;
    case OF_MEMORY:
        return m->n_memory;
    case OF_HOST:
        return m->n_hosts;
    case OF_CLIENT_CLOSE:
        return CLIENT_CLOSES;
    case OF_SERVER_CLOSE:
        return SERVER_CLOSES;
    case OF_SERVER_ERROR:
    case OF_POOLER_ERROR:
        return METRICS_ERROR_CLASSES;
    }
    unreachable();
}

static void put_label(struct buf *out, const char *name, const char *value, bool *is_first)
{
    if (name == NULL) {
        return;
    }
    (void)buf_append_u8(out, *is_first ? '{' : ',');
    (void)buf_append_str(out, name);
    (void)buf_append_str(out, "=\"");
    for (const char *c = value; *c != '\0';) {
        size_t plain = strcspn(c, "\\\"");

        (void)buf_append(out, c, plain); /* log_escape() has left no line breaks */
        c += plain;
        if (*c != '\0') {
            (void)buf_append_u8(out, '\\');
            (void)buf_append_u8(out, (uint8_t)*c++);
        }
    }
    (void)buf_append_str(out, "\"");
    *is_first = false;
}

/* What is being written: one row of a family. */
struct at {
    const struct metrics *m;
    const struct family *f;
    size_t row;
    struct buf *out;
};

static void put_subject(const struct at *at, bool *is_first)
{
    enum subject subject = at->f->subject;

    if (subject == OF_POOL || subject == OF_POOL_MODE) {
        put_label(at->out, "database", at->m->pools[at->row].database, is_first);
        put_label(at->out, "user", at->m->pools[at->row].user, is_first);
    } else if (subject == OF_DATABASE) {
        put_label(at->out, "database", at->m->databases[at->row].name, is_first);
    } else if (subject == OF_USER) {
        put_label(at->out, "user", at->m->users[at->row].name, is_first);
    } else if (subject == OF_PEER) {
        put_label(at->out, "peer_id", at->m->peers[at->row].id, is_first);
    }
}

/* A scrape has a hundred thousand of them: printf would take most of its time. */
static void put_digits(struct buf *out, uint64_t n, unsigned least)
{
    char text[24];
    size_t at = sizeof(text);

    while (n > 0 || sizeof(text) - at < least) {
        text[--at] = (char)('0' + n % 10);
        n /= 10;
    }
    (void)buf_append(out, text + at, sizeof(text) - at);
}

static void put_number(struct buf *out, enum number number, uint64_t n)
{
    (void)buf_append_u8(out, ' ');
    if (number == USECS) {
        put_digits(out, n / USEC_PER_SEC, 1);
        (void)buf_append_u8(out, '.');
        put_digits(out, n % USEC_PER_SEC, 6);
    } else {
        put_digits(out, n, 1);
    }
    (void)buf_append_u8(out, '\n');
}

/* One line; @label: the value of the family's own label. */
static void put_line(const struct at *at, const char *label, uint64_t n)
{
    bool is_first = true;

    (void)buf_append_str(at->out, at->f->name);
    (void)buf_append_str(at->out, at->f->type == COUNTER ? "_total" : "");
    put_subject(at, &is_first);
    put_label(at->out, at->f->label, label, &is_first);
    if (!is_first) {
        (void)buf_append_u8(at->out, '}');
    }
    put_number(at->out, at->f->number, n);
}

/* 0.00005, 0.1, 100.0: as OpenMetrics wants them, and the same in both formats. */
static void put_bound(struct buf *out, uint64_t us)
{
    uint64_t part = us % USEC_PER_SEC;
    unsigned digits = 6;

    while (digits > 1 && part % 10 == 0) {
        part /= 10;
        digits--;
    }
    put_digits(out, us / USEC_PER_SEC, 1);
    (void)buf_append_u8(out, '.');
    put_digits(out, part, digits);
}

static void put_histogram_line(const struct at *at, const char *suffix)
{
    bool is_first = true;

    (void)buf_append_str(at->out, at->f->name);
    (void)buf_append_str(at->out, suffix);
    put_subject(at, &is_first);
}

static void put_histogram(const struct at *at, const struct histogram *h)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < HISTOGRAM_CELLS; i++) {
        n += h->cells[i];
        put_histogram_line(at, "_bucket");
        (void)buf_append_str(at->out, ",le=\"");
        if (i < HISTOGRAM_BOUNDS) {
            put_bound(at->out, histogram_bounds_us[i]);
        } else {
            (void)buf_append_str(at->out, "+Inf");
        }
        (void)buf_append_str(at->out, "\"}");
        put_number(at->out, COUNT, n);
    }
    put_histogram_line(at, "_count");
    (void)buf_append_str(at->out, "}");
    put_number(at->out, COUNT, n);
    put_histogram_line(at, "_sum");
    (void)buf_append_str(at->out, "}");
    put_number(at->out, USECS, h->sum_us);
}

static const char *close_name(const struct at *at, size_t i)
{
    return at->f->subject == OF_CLIENT_CLOSE ? metrics_client_close_name((enum client_close)i)
                                             : metrics_server_close_name((enum server_close)i);
}

/* Several reasons may share a name: the first of them speaks for all. */
static void put_closes(const struct at *at)
{
    const uint64_t *counts =
        at->f->subject == OF_CLIENT_CLOSE ? at->m->env.client_closes : at->m->env.server_closes;
    size_t n_rows = count_rows(at->m, at->f->subject);
    const char *name = close_name(at, at->row);
    uint64_t n = 0;

    for (size_t i = 0; i < n_rows; i++) {
        if (strcmp(close_name(at, i), name) != 0) {
            continue;
        }
        if (i < at->row) {
            return;
        }
        n += counts[i];
    }
    put_line(at, name, n);
}

static const void *record_of(const struct at *at)
{
    switch (at->f->subject) {
    case OF_PROCESS:
        return &at->m->process;
    case OF_ENV:
        return &at->m->env;
    case OF_POOL:
        return &at->m->pools[at->row];
    case OF_DATABASE:
        return &at->m->databases[at->row];
    case OF_USER:
        return &at->m->users[at->row];
    case OF_PEER:
        return &at->m->peers[at->row];
    case OF_HOST:
        return &at->m->hosts[at->row];
    default: /* the others are no records with offsets */
        break;
    }
    unreachable();
}

static uint64_t number_at(const void *record, size_t at)
{
    uint64_t n;

    memcpy(&n, (const char *)record + at, sizeof(n));
    return n;
}

static void put_record(const struct at *at)
{
    const struct family *f = at->f;
    const void *record = record_of(at);
    const char *label = f->subject == OF_HOST ? at->m->hosts[at->row].name : NULL;

    if (f->type == HISTOGRAM) {
        put_histogram(at, (const struct histogram *)(const void *)((const char *)record + f->at));
        return;
    }
    if (f->series == NULL) {
        put_line(at, label, number_at(record, f->at));
        return;
    }
    for (unsigned i = 0; i < f->n_series; i++) {
        put_line(at, f->series[i].label, number_at(record, f->series[i].at));
    }
}

static void put_row(const struct at *at)
{
    const struct metrics *m = at->m;
    size_t row = at->row;

    switch (at->f->subject) {
    case OF_PROCESS:
    case OF_ENV:
    case OF_POOL:
    case OF_DATABASE:
    case OF_USER:
    case OF_PEER:
    case OF_HOST:
        put_record(at);
        return;
    case OF_BUILD:
        put_line(at, PGPOOLD_VERSION, 1);
        return;
    case OF_POOL_MODE:
        put_line(at, m->pools[row].mode, 1);
        return;
    case OF_LIST:
        put_line(at, m->lists[row].name, m->lists[row].n);
        return;
    case OF_MEMORY:
        put_line(at, m->memory[row].name, m->memory[row].n);
        return;
    case OF_CLIENT_CLOSE:
    case OF_SERVER_CLOSE:
        put_closes(at);
        return;
    case OF_SERVER_ERROR:
        put_line(at, metrics_error_class_name((unsigned)row), m->env.errors[ERROR_OF_SERVER][row]);
        return;
    case OF_POOLER_ERROR:
        put_line(at, metrics_error_class_name((unsigned)row), m->env.errors[ERROR_OF_POOLER][row]);
        return;
    }
    unreachable();
}

/* --- families --- */

static void put_head(const struct family *f, enum metrics_format format, struct buf *out)
{
    static const char *const types[] = {
        [GAUGE] = "gauge", [COUNTER] = "counter", [HISTOGRAM] = "histogram"};
    const char *suffix = format == METRICS_CLASSIC && f->type == COUNTER ? "_total" : "";

    (void)buf_append_fmt(out, "# HELP %s%s %s\n# TYPE %s%s %s\n", f->name, suffix, f->help, f->name,
                         suffix, types[f->type]);
    if (format == METRICS_OPEN && *f->unit != '\0') {
        (void)buf_append_fmt(out, "# UNIT %s %s\n", f->name, f->unit);
    }
}

void metrics_text_step(struct metrics_text *t, struct buf *out, size_t enough)
{
    while (t->family < ARRAY_LEN(families) && out->len < enough && buf_ok(out)) {
        const struct family *f = &families[t->family];

        if (t->row == 0) {
            put_head(f, t->format, out);
        }
        if (t->row < count_rows(t->m, f->subject)) {
            put_row(&(struct at){t->m, f, t->row++, out});
        } else {
            t->family++;
            t->row = 0;
        }
    }
    if (t->family == ARRAY_LEN(families) && !t->is_done) {
        (void)buf_append_str(out, t->format == METRICS_OPEN ? "# EOF\n" : "");
        t->is_done = true;
    }
}

/* RFC 9110 section 12.5.1, as far as it matters here: is OpenMetrics named, and not refused by q=0? */
enum metrics_format metrics_format_of(const char *accept)
{
    static const char wanted[] = "application/openmetrics-text";
    const char *at = accept != NULL ? strcasestr(accept, wanted) : NULL;
    size_t len;

    if (at == NULL) {
        return METRICS_CLASSIC;
    }
    at += sizeof(wanted) - 1;
    len = strcspn(at, ",");
    for (const char *q = at; q < at + len; q++) {
        if ((q[0] == ';' || q[0] == ' ') && strncasecmp(q + 1, "q=0", 3) == 0 &&
            strspn(q + 4, ".0") == strcspn(q + 4, ", ;\t")) {
            return METRICS_CLASSIC;
        }
    }
    return METRICS_OPEN;
}

const char *metrics_format_type(enum metrics_format format)
{
    return format == METRICS_OPEN ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                  : "text/plain; version=0.0.4; charset=utf-8";
}
