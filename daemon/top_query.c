/* SPDX-License-Identifier: ISC */
#include "daemon/top_query.h"

#include "daemon/util/num.h"

#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERROR_SIZE 400
#define PLACE_SIZE 300
#define UNDEFINED_OBJECT "42704" /* what PostgreSQL says to SHOW POOLS */

typedef bool (*fill_fn)(const PGresult *r, struct top_sample *s);

struct top_query {
    char *conninfo;
    PGconn *conn; /* NULL: not connected */
    enum top_query_state state;
    bool is_connecting;
    PostgresPollingStatusType wants; /* while connecting */
    size_t step;                     /* of steps[] */
    bool is_sending;                 /* libpq has not got rid of the query yet */
    struct top_sample sample;
    char error[ERROR_SIZE];
    char place[PLACE_SIZE];
};

/* --- what the rows say; a column that is not there is 0, so that older consoles do as well --- */

static const char *text_of(const PGresult *r, int row, const char *column)
{
    int at = PQfnumber(r, column);

    return at < 0 ? "" : PQgetvalue(r, row, at);
}

static uint64_t number_of(const PGresult *r, int row, const char *column)
{
    uint64_t value = 0;

    return num_parse_u64(text_of(r, row, column), UINT64_MAX, &value) ? value : 0;
}

static double amount_of(const PGresult *r, int row, const char *column)
{
    return (double)number_of(r, row, column);
}

static bool fill_pools(const PGresult *r, struct top_sample *s)
{
    int n = PQntuples(r);

    s->pools = calloc((size_t)n + 1, sizeof *s->pools);
    for (int i = 0; s->pools != NULL && i < n; i++) {
        struct top_pool *p = &s->pools[i];

        s->n_pools++;
        *p = (struct top_pool){
            .database = strdup(text_of(r, i, "database")),
            .user = strdup(text_of(r, i, "user")),
            .mode = strdup(text_of(r, i, "pool_mode")),
            .cl_active = number_of(r, i, "cl_active"),
            .cl_waiting = number_of(r, i, "cl_waiting"),
            .maxwait_us = number_of(r, i, "maxwait") * USEC_PER_SEC + number_of(r, i, "maxwait_us"),
            .sv_active = number_of(r, i, "sv_active"),
            .sv_idle = number_of(r, i, "sv_idle") + number_of(r, i, "sv_used"),
            .sv_other = number_of(r, i, "sv_tested") + number_of(r, i, "sv_login") +
                        number_of(r, i, "sv_being_canceled"),
        };
        if (p->database == NULL || p->user == NULL || p->mode == NULL) {
            return false;
        }
    }
    return s->pools != NULL;
}

static bool fill_stats(const PGresult *r, struct top_sample *s)
{
    int n = PQntuples(r);

    s->databases = calloc((size_t)n + 1, sizeof *s->databases);
    for (int i = 0; s->databases != NULL && i < n; i++) {
        struct top_database *d = &s->databases[i];

        s->n_databases++;
        d->name = strdup(text_of(r, i, "database"));
        if (d->name == NULL) {
            return false;
        }
        d->total = (struct top_traffic){
            .xacts = amount_of(r, i, "total_xact_count"),
            .queries = amount_of(r, i, "total_query_count"),
            .received_bytes = amount_of(r, i, "total_received"),
            .sent_bytes = amount_of(r, i, "total_sent"),
            .xact_us = amount_of(r, i, "total_xact_time"),
            .query_us = amount_of(r, i, "total_query_time"),
            .wait_us = amount_of(r, i, "total_wait_time"),
            .assignments = amount_of(r, i, "total_server_assignment_count"),
        };
        d->average = (struct top_traffic){
            .xacts = amount_of(r, i, "avg_xact_count"),
            .queries = amount_of(r, i, "avg_query_count"),
            .received_bytes = amount_of(r, i, "avg_recv"),
            .sent_bytes = amount_of(r, i, "avg_sent"),
            .xact_us = amount_of(r, i, "avg_xact_time"),
            .query_us = amount_of(r, i, "avg_query_time"),
            .wait_us = amount_of(r, i, "avg_wait_time"),
        };
    }
    return s->databases != NULL;
}

/* The rows come in the same order as those of SHOW STATS as a rule, so the search is short. */
static bool fill_databases(const PGresult *r, struct top_sample *s)
{
    int n = PQntuples(r);

    for (int i = 0; i < n; i++) {
        const char *name = text_of(r, i, "name");

        for (size_t k = 0; k < s->n_databases; k++) {
            struct top_database *d = &s->databases[((size_t)i + k) % s->n_databases];

            if (strcmp(d->name, name) == 0) {
                d->pool_size = number_of(r, i, "pool_size");
                d->is_paused = number_of(r, i, "paused") != 0;
                d->is_disabled = number_of(r, i, "disabled") != 0;
                break;
            }
        }
    }
    return true;
}

static bool fill_users(const PGresult *r, struct top_sample *s)
{
    int n = PQntuples(r);

    s->users = calloc((size_t)n + 1, sizeof *s->users);
    for (int i = 0; s->users != NULL && i < n; i++) {
        struct top_user *u = &s->users[s->n_users];

        if (*text_of(r, i, "pool_size") == '\0') {
            continue; /* the database's counts */
        }
        u->name = strdup(text_of(r, i, "name"));
        u->pool_size = number_of(r, i, "pool_size");
        if (u->name == NULL) {
            return false;
        }
        s->n_users++;
    }
    return s->users != NULL;
}

static bool fill_lists(const PGresult *r, struct top_sample *s)
{
    int n = PQntuples(r);

    for (int i = 0; i < n; i++) {
        const char *list = text_of(r, i, "list");

        if (strcmp(list, "used_clients") == 0) {
            s->n_clients = number_of(r, i, "items");
        } else if (strcmp(list, "login_clients") == 0) {
            s->n_logging_in = number_of(r, i, "items");
        }
    }
    return true;
}

static bool fill_state(const PGresult *r, struct top_sample *s)
{
    int n = PQntuples(r);

    for (int i = 0; i < n; i++) {
        bool is_so = strcmp(text_of(r, i, "value"), "yes") == 0;

        if (strcmp(text_of(r, i, "key"), "paused") == 0) {
            s->is_paused = is_so;
        } else if (strcmp(text_of(r, i, "key"), "suspended") == 0) {
            s->is_suspended = is_so;
        }
    }
    return true;
}

/* SHOW DATABASES adds to what SHOW STATS has brought. */
static const struct {
    const char *sql;
    fill_fn fill;
    bool is_needed; /* else a console that does not know it will do as well */
} steps[] = {
    {"SHOW POOLS", fill_pools, true},         {"SHOW STATS", fill_stats, true},
    {"SHOW DATABASES", fill_databases, true}, {"SHOW USERS", fill_users, false},
    {"SHOW LISTS", fill_lists, false},        {"SHOW STATE", fill_state, false},
};

/* --- the connection --- */

static enum top_query_state fail(struct top_query *q, const char *why)
{
    size_t len = strcspn(why, "\n");

    (void)snprintf(q->error, sizeof q->error, "%.*s", (int)MIN(len, (size_t)ERROR_SIZE - 1), why);
    PQfinish(q->conn);
    q->conn = NULL;
    return q->state = TOP_QUERY_FAILED;
}

struct keywords {
    const char *name[24];
    const char *value[24];
    size_t n;
};

static bool is_given(PQconninfoOption *options, const char *name, const char *variable)
{
    const char *env = getenv(variable);

    for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) {
        if (strcmp(o->keyword, name) == 0 && o->val != NULL) {
            return true;
        }
    }
    return env != NULL && *env != '\0';
}

static void add(struct keywords *k, const char *name, const char *value)
{
    k->name[k->n] = name;
    k->value[k->n] = value;
    k->n++;
}

/* Ours are where libpq's own defaults lead to a PostgreSQL: the console over the Unix socket, as packaged or not. */
static PGconn *connect_to(const char *conninfo)
{
    PQconninfoOption *given = PQconninfoParse(conninfo, NULL);
    struct keywords k = {.n = 0};
    PGconn *conn;

    if (!is_given(given, "host", "PGHOST") && !is_given(given, "hostaddr", "PGHOSTADDR")) {
        add(&k, "host", "/run/pgpoold,/tmp");
        if (!is_given(given, "user", "PGUSER")) {
            add(&k, "user", "pgpoold");
        }
    }
    if (!is_given(given, "port", "PGPORT")) {
        add(&k, "port", "6432");
    }
    if (!is_given(given, "dbname", "PGDATABASE")) {
        add(&k, "dbname", "pgpoold");
    }
    if (!is_given(given, "application_name", "PGAPPNAME")) {
        add(&k, "application_name", "pgpoold top");
    }
    for (PQconninfoOption *o = given; o != NULL && o->keyword != NULL; o++) {
        if (o->val != NULL && k.n < ARRAY_LEN(k.name) - 1) {
            add(&k, o->keyword, o->val);
        }
    }
    add(&k, NULL, NULL);
    conn = PQconnectStartParams(k.name, k.value, 0);
    PQconninfoFree(given);
    return conn;
}

struct top_query *top_query_new(const char *conninfo, char **ret_why)
{
    struct top_query *q = calloc(1, sizeof *q);
    PQconninfoOption *given;
    char *why = NULL;

    *ret_why = NULL;
    if (q == NULL) {
        return NULL;
    }
    given = PQconninfoParse(conninfo, &why);
    q->conninfo = strdup(conninfo);
    if (given == NULL || q->conninfo == NULL) {
        *ret_why = why == NULL ? NULL : strdup(why);
        PQfreemem(why);
        PQconninfoFree(given);
        return top_query_free(q);
    }
    PQconninfoFree(given);
    return q;
}

struct top_query *top_query_free(struct top_query *q)
{
    if (q != NULL) {
        PQfinish(q->conn);
        top_sample_done(&q->sample);
        free(q->conninfo);
        free(q);
    }
    return NULL;
}

/* --- asking --- */

static enum top_query_state send_step(struct top_query *q)
{
    if (PQsendQuery(q->conn, steps[q->step].sql) != 1) {
        return fail(q, PQerrorMessage(q->conn));
    }
    q->is_sending = PQflush(q->conn) == 1;
    return q->state = TOP_QUERY_WAITS;
}

static void connected(struct top_query *q)
{
    const char *host = PQhost(q->conn) != NULL ? PQhost(q->conn) : "";
    bool is_v6 = strchr(host, ':') != NULL;

    (void)snprintf(q->place, sizeof q->place, "%s%s%s:%s", is_v6 ? "[" : "", host, is_v6 ? "]" : "",
                   PQport(q->conn));
    q->is_connecting = false;
}

enum top_query_state top_query_ask(struct top_query *q)
{
    top_sample_done(&q->sample);
    q->step = 0;
    if (q->state == TOP_QUERY_WAITS) {
        PQfinish(q->conn);
        q->conn = NULL;
    }
    if (q->conn != NULL) {
        return send_step(q);
    }
    q->conn = connect_to(q->conninfo);
    if (q->conn == NULL) {
        return fail(q, "out of memory");
    }
    if (PQstatus(q->conn) == CONNECTION_BAD) {
        return fail(q, PQerrorMessage(q->conn));
    }
    q->is_connecting = true;
    q->wants = PGRES_POLLING_WRITING;
    return q->state = TOP_QUERY_WAITS;
}

static enum top_query_state go_on_connecting(struct top_query *q)
{
    q->wants = PQconnectPoll(q->conn);
    if (q->wants == PGRES_POLLING_FAILED) {
        return fail(q, PQerrorMessage(q->conn));
    }
    if (q->wants != PGRES_POLLING_OK) {
        return TOP_QUERY_WAITS;
    }
    connected(q);
    return send_step(q);
}

/* One result; the next step follows when libpq says that there is no more of this one. */
static enum top_query_state see(struct top_query *q, PGresult *r)
{
    char why[ERROR_SIZE];
    bool ok;

    if (PQresultStatus(r) == PGRES_FATAL_ERROR && PQstatus(q->conn) == CONNECTION_OK &&
        !steps[q->step].is_needed) {
        PQclear(r);
        return TOP_QUERY_WAITS;
    }
    if (PQresultStatus(r) != PGRES_TUPLES_OK) {
        const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);

        if (state != NULL && strcmp(state, UNDEFINED_OBJECT) == 0) {
            (void)snprintf(why, sizeof why,
                           "database %s is not the console: that is database pgpoold",
                           PQdb(q->conn));
        } else {
            (void)snprintf(why, sizeof why, "%s: %s", steps[q->step].sql, PQresultErrorMessage(r));
        }
        PQclear(r);
        return fail(q, why);
    }
    ok = steps[q->step].fill(r, &q->sample);
    PQclear(r);
    return ok ? TOP_QUERY_WAITS : fail(q, "out of memory");
}

enum top_query_state top_query_go_on(struct top_query *q)
{
    if (q->state != TOP_QUERY_WAITS) {
        return q->state;
    }
    if (q->is_connecting) {
        return go_on_connecting(q);
    }
    if (PQconsumeInput(q->conn) != 1) {
        return fail(q, PQerrorMessage(q->conn));
    }
    q->is_sending = q->is_sending && PQflush(q->conn) == 1;
    while (q->state == TOP_QUERY_WAITS && PQisBusy(q->conn) == 0) {
        PGresult *r = PQgetResult(q->conn);

        if (r != NULL) {
            (void)see(q, r); /* q->state has it */
        } else if (++q->step == ARRAY_LEN(steps)) {
            clock_update();
            q->sample.at_us = clock_now_us();
            q->state = TOP_QUERY_DONE;
        } else {
            (void)send_step(q); /* likewise */
        }
    }
    return q->state;
}

void top_query_take(struct top_query *q, struct top_sample *ret)
{
    *ret = q->sample;
    q->sample = (struct top_sample){0};
    q->state = TOP_QUERY_QUIET;
}

/* --- questions --- */

int top_query_fd(const struct top_query *q)
{
    return q->state == TOP_QUERY_WAITS ? PQsocket(q->conn) : -1;
}

short top_query_events(const struct top_query *q)
{
    if (q->is_connecting) {
        return q->wants == PGRES_POLLING_WRITING ? POLLOUT : POLLIN;
    }
    return q->is_sending ? POLLIN | POLLOUT : POLLIN;
}

const char *top_query_error(const struct top_query *q)
{
    return q->error;
}

const char *top_query_place(const struct top_query *q)
{
    return q->place;
}
