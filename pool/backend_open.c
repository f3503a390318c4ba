/* SPDX-License-Identifier: ISC */
/* The way of a server connection from nothing to its first ReadyForQuery: choose a host, resolve it, let libpq connect,
 * take the socket over, log in (backend_login.c), run connect_query. */
#include "pool/backend.h"
#include "pool/notify_hub.h"
#include "pool/pool.h"

#include "daemon/util/fatal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ADDRS_TRIED_MAX 8 /* of one name, for one connection */

static void on_login_timer(struct loop_timer *timer)
{
    struct backend *b = container_of(timer, struct backend, timer);
    struct pg_error e;

    pg_error_set(&e, SQLSTATE_CANNOT_CONNECT, "server_connect_timeout");
    backend_leave_host(b, &e, false);
}

static usec_t draw_lifetime(const struct pool *pool)
{
    usec_t lifetime_us = pool->limits.server_lifetime_us;
    uint32_t random;

    if (lifetime_us == 0 || lifetime_us == UINT64_MAX || pool->limits.lifetime_jitter == 0) {
        return lifetime_us;
    }
    secret_random(&random, sizeof(random));
    return lifetime_us -
           (usec_t)((double)lifetime_us * pool->limits.lifetime_jitter / 100 * random / UINT32_MAX);
}

/* For the replication of @l's owner, who waits in pool->opening from now on. */
static void open_for(struct backend *b, struct lease *l)
{
    b->replication = l->replication;
    b->startup = l->startup != NULL ? params_ref(l->startup) : NULL;
    b->opens_for = l;
    pool_dequeue(b->pool, l);
    l->opening = b;
    list_add_tail(&b->pool->opening, &l->link);
}

struct backend *backend_new(struct pool *pool)
{
    struct backend *b = calloc(1, sizeof(*b));

    if (b == NULL) {
        return NULL;
    }
    b->pool = pool;
    b->state = BACKEND_CONNECTING;
    b->tx_status = 'I';
    b->generation = pool->generation;
    b->target = target_ref(pool->db->target);
    b->lifetime_us = draw_lifetime(pool);
    b->request_us = clock_now_us();
    b->opened_us = b->request_us;
    pool->env->metrics.n_server_opened++;
    b->in = BUF_INIT((size_t)MSG_GATHER_MAX_BYTES + 1);
    b->to_close = BUF_INIT(64 * 1024);
    b->unfit = BUF_INIT(ADDRS_TRIED_MAX * 64);
    inflight_init(&b->inflight);
    stmt_cache_init(&b->stmts);
    conn_init(&b->conn, -1, backend_on_io);
    loop_timer_init(&b->timer, on_login_timer);
    return b;
}

static void connect_next(struct backend *b);

/* @l: whose replication it is for; NULL: anybody's use. */
static struct backend *open_backend(struct pool *pool, struct notify_hub *hub, struct lease *l)
{
    struct backend *b = backend_new(pool);

    if (b == NULL) {
        return NULL;
    }
    b->id = ++pool->env->next_id;
    b->host_at = b->target->next_host;
    if (b->target->round_robin) {
        b->target->next_host = (b->target->next_host + 1) % b->target->n_hosts;
    }
    list_add_tail(&pool->backends[BACKEND_CONNECTING], &b->link);
    b->is_hub = hub != NULL;
    b->hub = hub;
    if (hub == NULL) {
        pool->n_backends++;
    }
    if (l != NULL) {
        open_for(b, l);
    }
    pool->db->n_connections++;
    pool->user->n_connections++;
    connect_next(b);
    return b->state == BACKEND_CLOSED ? NULL : b;
}

struct backend *backend_open(struct pool *pool)
{
    return open_backend(pool, NULL, NULL);
}

struct backend *backend_open_hub(struct pool *pool, struct notify_hub *hub)
{
    return open_backend(pool, hub, NULL);
}

bool backend_open_for(struct pool *pool, struct lease *l)
{
    return open_backend(pool, NULL, l) != NULL ||
           l->state != LEASE_WAITING; /* not waiting: it was told */
}

/* Of several addresses libpq tells what each of them said, and the last may be the one that matters. */
#define FAILURE_MAX_BYTES 1000

/* What we say ourselves about a login begins as the line does. */
static const char *without_prefix(const char *message)
{
    static const char prefix[] = "server login failed: ";

    return strncmp(message, prefix, sizeof(prefix) - 1) == 0 ? message + sizeof(prefix) - 1
                                                             : message;
}

void backend_open_failed(struct backend *b, const struct pg_error *e, bool from_server)
{
    struct pool *pool = b->pool;
    struct pg_error why = *e; /* @e may lie in what is freed now */
    bool is_own = b->replication != REPLICATION_NONE;
    char text[FAILURE_MAX_BYTES];
    char reason[sizeof(text) + 32];

    if (b->state == BACKEND_CLOSED) {
        return;
    }
    (void)log_escape(text, sizeof(text), without_prefix(why.message));
    backend_log(b, LOG_WARNING_LEVEL, "%s %s",
                from_server ? "server login failed: FATAL" : "connect failed:", text);
    if (b->is_hub) {
        backend_close(b, "hub: connect failed", &why); /* the hub tries again by itself */
        return;
    }
    (void)snprintf(reason, sizeof(reason), "login failed: %s", text);
    backend_close(b, from_server ? reason : "connect failed", &why);
    if (!is_own) { /* that one may not replicate says nothing to the others */
        pool_connect_failed(pool, &why, from_server);
    }
}

/* --- hosts and addresses --- */

static void taken_over(struct backend *b, const struct backend_connect_result *r)
{
    struct loop *loop = b->pool->env->loop;

    conn_init(&b->conn, r->fd, backend_on_io);
    if (r->tls != NULL) {
        conn_set_tls(&b->conn, r->tls);
    }
    b->peer = r->peer;
    b->local = r->local;
    b->connected_us = clock_now_us();
    b->connect = backend_connect_free(b->connect);
    b->close_needed = b->close_needed || b->host_moved;
    backend_set_state(b, BACKEND_LOGIN);
    if (b->pool->env->settings.log_connections) {
        backend_log(b, LOG_LOG_LEVEL, "new connection to server (from %s%s%.0u)", b->local.text,
                    b->local.family == AF_UNIX ? "" : ":", b->local.port);
    }
    if (!backend_login_start(b)) {
        struct pg_error e;

        pg_error_set(&e, SQLSTATE_OUT_OF_MEMORY, "out of memory");
        backend_open_failed(b, &e, false);
        return;
    }
    conn_want_read(&b->conn, loop, true);
    loop_io_again(loop, &b->conn.io); /* the first message waits already */
}

static void on_connect(struct backend_connect *c, void *owner,
                       const struct backend_connect_result *r)
{
    struct backend *b = owner;
    struct pg_error e;

    (void)c;
    switch (r->status) {
    case BACKEND_CONNECT_OK:
        taken_over(b, r);
        return;
    case BACKEND_CONNECT_REFUSED:
        e = *r->server_error;
        (void)snprintf(e.severity, sizeof(e.severity), "FATAL");
        b->connect = backend_connect_free(b->connect);
        if (strcmp(e.sqlstate, SQLSTATE_CANNOT_CONNECT_NOW) == 0) { /* another one may be up */
            backend_leave_host(b, &e, true);
        } else {
            backend_open_failed(b, &e, true);
        }
        return;
    case BACKEND_CONNECT_FAILED:
        pg_error_set(&e, SQLSTATE_CANNOT_CONNECT, "server connection failed: %s", r->error);
        break;
    case BACKEND_CONNECT_TIMEOUT:
        pg_error_set(&e, SQLSTATE_CANNOT_CONNECT, "server_connect_timeout");
        break;
    case BACKEND_CONNECT_STATUSES:
        unreachable();
    }
    backend_leave_host(b, &e, false);
}

#define EXTRA_MAX (PARAMS_MAX + 8)

/* A replication connection is the client's alone, and so are its startup parameters; what the entry says are defaults. */
static void add_startup(const struct backend *b, struct backend_connect_params *p,
                        struct backend_startup_param extra[EXTRA_MAX])
{
    p->replication = replication_parameter(b->replication);
    for (unsigned i = 0; i < p->n_extra; i++) {
        extra[i] = p->extra[i];
    }
    p->extra = extra;
    for (unsigned i = 0; b->startup != NULL && i < b->startup->n && p->n_extra < EXTRA_MAX; i++) {
        const struct param *own = &b->startup->entries[i];

        if (strcasecmp(own->name, "application_name") == 0) {
            p->application_name = own->value;
            continue;
        }
        if (strcasecmp(own->name, "client_encoding") == 0) {
            p->client_encoding = NULL; /* libpq would take "auto" for a word of its own */
        }
        extra[p->n_extra++] = (struct backend_startup_param){own->name, own->value};
    }
}

static void fail_for_memory(struct backend *b)
{
    struct pg_error e;

    pg_error_set(&e, SQLSTATE_OUT_OF_MEMORY, "out of memory");
    backend_open_failed(b, &e, false);
}

static void start_connect(struct backend *b, const char *host, const char *hostaddr)
{
    struct backend_connect_params p = b->target->template;
    struct backend_startup_param extra[EXTRA_MAX];
    const struct pool *pool = b->pool;

    p.until = BACKEND_CONNECT_LOGIN;
    p.host = host;
    p.hostaddr = hostaddr;
    p.port = b->port;
    p.user = pool->user->name;
    p.dbname = b->target->dbname;
    p.timeout_us = pool->limits.server_connect_timeout_us;
    if (b->replication != REPLICATION_NONE) {
        add_startup(b, &p, extra);
    }
    b->connect = backend_connect_new(pool->env->loop, &p, on_connect, b);
    if (b->connect == NULL) {
        fail_for_memory(b);
    }
}

/* A name with several servers behind it is spread over them: each connection begins with the next address, and libpq
 * goes on to the others when that one cannot be reached. */
static void connect_to_addresses(struct backend *b, const struct resolve_answer *answer)
{
    struct buf hosts = BUF_INIT(ADDRS_TRIED_MAX * 256);
    struct buf addrs = BUF_INIT(ADDRS_TRIED_MAX * 64);
    struct pg_error e;
    unsigned first = b->target->next_addr++;
    unsigned n = 0;

    for (unsigned i = 0; i < answer->n_addrs && n < ADDRS_TRIED_MAX; i++) {
        const struct resolve_addr *addr = &answer->addrs[(first + i) % answer->n_addrs];

        if (backend_role_is_unfit(b, addr->text)) {
            continue;
        }
        buf_append_str(&hosts, n > 0 ? "," : "");
        buf_append_str(&hosts, b->host);
        buf_append_str(&addrs, n > 0 ? "," : "");
        buf_append_str(&addrs, addr->text);
        n++;
    }
    if (n == 0) {
        backend_role_error(b, &e);
        backend_leave_host(b, &e, false);
    } else if (buf_ok(&hosts) && buf_ok(&addrs)) {
        start_connect(b, buf_cstr(&hosts), buf_cstr(&addrs));
    } else {
        fail_for_memory(b);
    }
    buf_done(&hosts);
    buf_done(&addrs);
}

static void on_resolved(struct resolve_request *req, const struct resolve_answer *answer)
{
    struct backend *b = container_of(req, struct backend, resolve);

    if (answer->status != RESOLVE_OK) {
        struct pg_error e;

        pg_error_set(&e, SQLSTATE_CANNOT_CONNECT, "server DNS lookup failed: %s: %s", b->host_name,
                     answer->error);
        backend_leave_host(b, &e, false);
        return;
    }
    connect_to_addresses(b, answer);
}

static void connect_next(struct backend *b)
{
    const struct target_host *host = &b->target->hosts[b->host_at];

    if (b->unfit_of != b->host_at) {
        buf_clear(&b->unfit);
        b->unfit_of = b->host_at;
    }
    b->host_at = (b->host_at + 1) % b->target->n_hosts;
    b->hosts_tried++;
    b->host_moved = false;
    free(b->host);
    b->host = strdup(host->name);
    if (b->host == NULL) {
        fail_for_memory(b);
        return;
    }
    if (b->pool->limits.server_connect_timeout_us > 0) { /* each host has its own */
        loop_timer_set(b->pool->env->loop, &b->timer, b->pool->limits.server_connect_timeout_us);
    }
    (void)snprintf(b->host_name, sizeof(b->host_name), "%s",
                   host->name); /* for logs: cut is meant */
    b->port = host->port;
    if (host->name[0] == '/' || host->name[0] == '@') {
        start_connect(b, b->host, NULL);
    } else if (resolve_is_numeric(host->name)) {
        start_connect(b, b->host, b->host);
    } else {
        resolve_request(b->pool->env->resolver, &b->resolve, b->host, on_resolved);
    }
}

/* --- on to the next host --- */

/* Is there another host to try? For prefer-standby they all are tried a second time. */
static bool find_next_host(struct backend *b)
{
    if (b->hosts_tried < b->target->n_hosts) {
        return true;
    }
    if (b->target->role != TARGET_PREFER_STANDBY || b->second_look || !b->met_misfit) {
        return false;
    }
    b->second_look = true;
    b->hosts_tried = 0;
    buf_clear(&b->unfit);
    return true;
}

static void on_go_on(struct loop_deferred *work)
{
    connect_next(container_of(work, struct backend, go_on));
}

/* As if nothing had been opened yet. */
static void forget_host(struct backend *b)
{
    static const uint8_t terminate[5] = {'X', 0, 0, 0, 4};
    struct pool_env *env = b->pool->env;

    loop_timer_stop(env->loop, &b->timer);
    resolve_cancel(env->resolver, &b->resolve);
    b->connect = backend_connect_free(b->connect);
    if (b->state != BACKEND_CONNECTING) {
        if (conn_is_open(&b->conn)) { /* a server that does not get it sees the end all the same */
            (void)!conn_send(&b->conn, env->loop, terminate, sizeof(terminate));
        }
        backend_set_state(b, BACKEND_CONNECTING);
    }
    b->login = backend_login_free(b->login);
    conn_done(&b->conn, env->loop);
    inflight_done(&b->inflight);
    inflight_init(&b->inflight);
    buf_done(&b->in);
    b->body_left = 0;
    b->params = params_unref(b->params);
    b->reported = params_unref(b->reported);
    b->role = (struct server_role){0};
    b->asks_role = false;
    b->tx_status = 'I';
    b->connected_us = 0;
    b->peer = (struct backend_address){0};
    b->pid = 0;
    b->key_len = 0;
}

void backend_leave_host(struct backend *b, const struct pg_error *why, bool from_server)
{
    char text[FAILURE_MAX_BYTES];

    if (b->state == BACKEND_CLOSED) {
        return;
    }
    if (!find_next_host(b)) {
        /* Of several hosts one that is just starting is no answer for who waits. */
        backend_open_failed(b, why, from_server && b->target->n_hosts == 1);
        return;
    }
    backend_log(b, LOG_WARNING_LEVEL, "connect failed, trying the next host: %s",
                log_escape(text, sizeof(text), why->message));
    forget_host(b);
    /* Not at once: whoever reads from the connection that was just closed has to come to its end first. */
    loop_defer(b->pool->env->loop, &b->go_on, on_go_on);
}

/* --- after the login --- */

static void become_idle(struct backend *b)
{
    struct pool *pool = b->pool;

    loop_timer_stop(pool->env->loop, &b->timer);
    pool_connect_succeeded(pool);
    histogram_add(&pool->metrics.latency[LATENCY_CONNECT], clock_now_us() - b->opened_us);
    if (b->state == BACKEND_SETUP || b->state == BACKEND_LOGIN) {
        pool_backend_is_free(pool, b);
    }
}

/* It may be used. From the login or the setup to whatever it was opened for. */
static void go_on(struct backend *b)
{
    struct outvec v;

    if (b->is_hub) {
        loop_timer_stop(b->pool->env->loop, &b->timer);
        backend_set_state(b, BACKEND_HUB);
        notify_hub_ready(b->hub);
        return;
    }
    if (b->replication != REPLICATION_NONE) { /* no connect_query: a physical one takes no SQL */
        loop_timer_stop(b->pool->env->loop, &b->timer);
        pool_own_is_open(b->pool, b);
        return;
    }
    if (*b->pool->queries.connect == '\0') {
        become_idle(b);
        return;
    }
    if (b->state != BACKEND_SETUP) {
        backend_set_state(b, BACKEND_SETUP);
    }
    outvec_init(&v, &b->conn, b->pool->env->loop);
    if (backend_inject_query(b, &v, b->pool->queries.connect)) {
        (void)!backend_flush(b, &v); /* false: it is closed and told */
    }
}

void backend_login_done(struct backend *b)
{
    b->login = backend_login_free(b->login);
    if (backend_role_judge(b) == BACKEND_ROLE_UNKNOWN) {
        backend_role_ask(b);
    } else {
        go_on(b);
    }
}

static void role_query_failed(struct backend *b)
{
    struct pg_error e = {.severity = "FATAL",
                         .sqlstate = SQLSTATE_CANNOT_CONNECT,
                         .message = "the server does not tell its role"};

    if (b->last_error != NULL) {
        e = *b->last_error;
        (void)snprintf(e.severity, sizeof(e.severity), "FATAL");
    }
    backend_open_failed(b, &e, true);
}

/* The database is of use without it, too: as PgBouncer has it. */
static void connect_query_failed(struct backend *b)
{
    char text[256];

    (void)log_escape(text, sizeof(text), b->last_error != NULL ? b->last_error->message : "?");
    backend_log(b, LOG_WARNING_LEVEL, "connect_query failed: %s", text);
    b->injected_failed = false;
}

void backend_setup_ready(struct backend *b)
{
    bool asked = b->asks_role;

    b->asks_role = false;
    if (b->injected_failed && asked && b->last_error != NULL &&
        strcmp(b->last_error->sqlstate, SQLSTATE_DIVISION_BY_ZERO) == 0) {
        backend_role_leave(b); /* that is how the query says so */
        return;
    }
    if (asked && b->injected_failed) {
        role_query_failed(b);
        return;
    }
    if (asked) {
        go_on(b);
        return;
    }
    if (b->injected_failed) {
        connect_query_failed(b);
    }
    if (b->tx_status != 'I') {
        struct pg_error e;

        pg_error_set(&e, SQLSTATE_CANNOT_CONNECT, "connect_query left a transaction open");
        backend_open_failed(b, &e, true);
        return;
    }
    become_idle(b);
}
