/* SPDX-License-Identifier: ISC */
#include "daemon/client.h"

#include "daemon/client_echo.h"
#include "daemon/client_move.h"
#include "daemon/client_notify.h"

#include "daemon/util/fatal.h"
#include "daemon/util/log.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TO(state) BIT(CLIENT_##state)

static const struct {
    const char *name; /* in SHOW CLIENTS */
    unsigned next;
    void (*readable)(struct client *c);
} states[CLIENT_STATES] = {
    [CLIENT_STARTUP] = {"login", TO(AUTH) | TO(CANCEL) | TO(CLOSED), client_startup_readable},
    [CLIENT_AUTH] = {"login", TO(LOGIN) | TO(CONSOLE) | TO(CLOSED), client_startup_readable},
    [CLIENT_LOGIN] = {"waiting", TO(IDLE) | TO(CLOSED), client_relay_readable},
    [CLIENT_IDLE] = {"idle", TO(WAITING) | TO(ACTIVE) | TO(CLOSED), client_relay_readable},
    [CLIENT_WAITING] = {"waiting", TO(IDLE) | TO(ACTIVE) | TO(CLOSED), client_relay_readable},
    [CLIENT_ACTIVE] = {"active", TO(IDLE) | TO(CLOSED), client_relay_readable},
    [CLIENT_CONSOLE] = {"idle", TO(CLOSED), admin_session_readable},
    [CLIENT_CANCEL] = {"active_cancel_req", TO(CLOSED), client_startup_readable},
    [CLIENT_CLOSED] = {"closed", 0, NULL},
};

const char *client_state_name(const struct client *c)
{
    return c->state == CLIENT_CANCEL && client_cancel_waits(c) ? "waiting_cancel_req"
                                                               : states[c->state].name;
}

/* For verbose: DEBUG is what happens a few times in a client's life, NOISE what comes with each transaction. */
static void log_state(const struct client *c, enum client_state to)
{
    bool often = to == CLIENT_ACTIVE || (to == CLIENT_IDLE && c->state == CLIENT_ACTIVE);

    client_log(c, often ? LOG_NOISE_LEVEL : LOG_DEBUG_LEVEL, "state: %s -> %s",
               states[c->state].name, states[to].name);
}

void client_set_state(struct client *c, enum client_state to)
{
    fatal_unless((states[c->state].next & BIT(to)) != 0);
    if (UNLIKELY(log_is_on(LOG_DEBUG_LEVEL))) {
        log_state(c, to);
    }
    c->state = (uint8_t)to;
}

/* --- what it is called --- */

const char *client_addr(const struct client *c, char ret[CLIENT_ADDR_SIZE])
{
    char text[INET6_ADDRSTRLEN];

    if (c->is_unix) {
        (void)snprintf(ret, CLIENT_ADDR_SIZE, "unix");
    } else if (inet_ntop(c->family, c->addr, text, sizeof(text)) != NULL) {
        (void)snprintf(ret, CLIENT_ADDR_SIZE, c->family == AF_INET6 ? "[%s]" : "%s", text);
    } else {
        (void)snprintf(ret, CLIENT_ADDR_SIZE, "?");
    }
    return ret;
}

static const struct client_login *login_of(const struct client *c)
{
    return c->state == CLIENT_STARTUP || c->state == CLIENT_AUTH || c->state == CLIENT_LOGIN
               ? c->u.login
               : NULL;
}

const char *client_database_name(const struct client *c)
{
    const struct client_login *l = login_of(c);

    if (c->pool != NULL) {
        return c->pool->db->name;
    }
    if (l != NULL && l->database != NULL) {
        return l->database;
    }
    return c->state == CLIENT_CONSOLE ? "pgbouncer" : "(nodb)";
}

const char *client_user_name(const struct client *c)
{
    const struct client_login *l = login_of(c);

    if (l != NULL && l->user != NULL) {
        return l->user;
    }
    if (c->user != NULL) {
        return c->user->name;
    }
    return c->pool != NULL ? c->pool->user->name : "(nouser)";
}

/* A statement of client_echo.c, escaped, is the longest of its lines. */
#define CLIENT_LOG_MAX_BYTES 3072
#define STRANGERS_LINES_PER_SECOND 200

int client_unix_pid(const struct client *c)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    return c->is_unix && getsockopt(conn_fd(&c->conn), SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0
               ? cred.pid
               : 0;
}

static void write_log(const struct client *c, enum log_level level, const char *text)
{
    char addr[CLIENT_ADDR_SIZE];
    int pid = client_unix_pid(c);

    if (pid > 0) {
        (void)snprintf(addr, sizeof(addr), "unix(%d)", pid);
    } else {
        (void)client_addr(c, addr);
    }
    log_write_who(
        level,
        &(struct log_who){'C', c, client_database_name(c), client_user_name(c), addr, c->port},
        "%s", text);
}

void client_log(const struct client *c, enum log_level level, const char *fmt, ...)
{
    char text[CLIENT_LOG_MAX_BYTES];
    va_list args;

    if (!log_is_on(level)) {
        return;
    }
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args); /* cut is meant */
    va_end(args);
    write_log(c, level, text);
}

void client_log_stranger(const struct client *c, const char *fmt, ...)
{
    static struct log_rate rate;
    char text[512];
    va_list args;

    if (!log_is_on(LOG_LOG_LEVEL) || !log_rate_ok(&rate, STRANGERS_LINES_PER_SECOND)) {
        return;
    }
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args); /* cut is meant */
    va_end(args);
    write_log(c, LOG_LOG_LEVEL, text);
}

/* In the log, where PgBouncer's words are others than in SHOW CLIENTS. */
static const char *const replication_words[REPLICATION_KINDS] = {
    [REPLICATION_NONE] = "no",
    [REPLICATION_PHYSICAL] = "yes",
    [REPLICATION_LOGICAL] = "database",
};

void client_log_attempt(struct client *c)
{
    static struct log_rate rate;
    struct client_login *l =
        c->state == CLIENT_AUTH || c->state == CLIENT_LOGIN ? c->u.login : NULL;
    char tls[128];
    char database[256];
    char user[256];

    if (l == NULL || l->told_attempt || l->user == NULL || l->database == NULL ||
        !c->server->config->settings.log_connections ||
        (c->state == CLIENT_AUTH && !log_rate_ok(&rate, STRANGERS_LINES_PER_SECOND))) {
        return;
    }
    l->told_attempt = true;
    client_log(c, LOG_LOG_LEVEL, "login attempt: db=%s user=%s tls=%s replication=%s",
               log_escape(database, sizeof(database), l->database),
               log_escape(user, sizeof(user), l->user),
               c->is_tls ? tls_info(c->conn.tls, tls, sizeof(tls)) : "no",
               replication_words[c->replication]);
}

/* --- life --- */

void client_set_address(struct client *c, const struct sockaddr *addr)
{
    c->family = (uint8_t)addr->sa_family;
    c->is_unix = addr->sa_family == AF_UNIX;
    if (addr->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)addr;

        memcpy(c->addr, &in->sin_addr, sizeof(in->sin_addr));
        c->port = ntohs(in->sin_port);
    } else if (addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)addr;

        memcpy(c->addr, &in6->sin6_addr, sizeof(in6->sin6_addr));
        c->port = ntohs(in6->sin6_port);
    }
}

static void on_io(struct loop_io *io, unsigned events);

struct client *client_new(struct server *s, struct listener *l, int fd, const struct sockaddr *addr)
{
    struct client *c = calloc(1, sizeof(*c));

    if (c == NULL) {
        (void)close(fd);
        return NULL;
    }
    c->server = s;
    c->state = CLIENT_STARTUP;
    c->id = ++s->env->next_id;
    c->connect_us = clock_now_us();
    c->request_us = c->connect_us;
    conn_init(&c->conn, fd, on_io);
    lease_init(&c->lease, &client_lease_ops);
    client_set_address(c, addr);
    if (c->is_unix) {
        c->port = (uint16_t)s->config->settings.listen_port; /* the socket's name has it */
    }
    c->u.login = calloc(1, sizeof(*c->u.login));
    if (c->u.login == NULL) {
        conn_done(&c->conn, s->loop);
        free(c);
        return NULL;
    }
    list_add_tail(&s->logins, &c->link);
    s->n_clients++;
    s->env->metrics.n_accepted++;
    client_startup_begin(c, l);
    return c;
}

static void free_later(struct loop_deferred *work)
{
    free(container_of(work, struct client, grave));
}

/* Takes it out of every list and count. */
static void leave(struct client *c)
{
    struct server *s = c->server;
    struct pool *pool = c->pool;

    switch ((enum client_state)c->state) {
    case CLIENT_STARTUP:
    case CLIENT_AUTH:
    case CLIENT_LOGIN:
    case CLIENT_CANCEL:
        list_remove(&s->logins, &c->link);
        break;
    case CLIENT_CONSOLE:
        list_remove(&s->consoles, &c->link);
        break;
    case CLIENT_IDLE:
    case CLIENT_WAITING:
    case CLIENT_ACTIVE:
        list_remove(&pool->clients, &c->link);
        s->n_logged_in--;
        if (pool->clients.n == 0) {
            pool->empty_since_us = clock_now_us();
        }
        break;
    case CLIENT_CLOSED:
    case CLIENT_STATES:
        unreachable();
    }
    s->n_clients--;
    if (c->counted) {
        c->database->n_clients--;
        c->user->n_clients--;
        if (c->database->n_clients == 0) {
            c->database->unused_since_us = clock_now_us();
        }
    }
    if (c->vpid != 0) {
        server_give_slot(s, c->vpid);
    }
}

static void release_memory(struct client *c)
{
    switch ((enum client_state)c->state) {
    case CLIENT_STARTUP:
    case CLIENT_AUTH:
    case CLIENT_LOGIN:
        c->u.login = client_login_free(c->u.login);
        break;
    case CLIENT_CONSOLE:
        c->u.admin = admin_session_free(c->u.admin);
        break;
    case CLIENT_CANCEL:
        client_cancel_end(c);
        break;
    default:
        c->u.probing = prepared_unref(c->u.probing);
        break;
    }
    c->params = params_unref(c->params);
    c->startup = params_unref(c->startup);
    c->changed_from = params_unref(c->changed_from);
    if (c->in != NULL) {
        buf_done(c->in);
        free(c->in);
        c->in = NULL;
    }
    c->echo = client_echo_free(c->echo);
    c->notify = client_notify_free(c->notify);
    prepared_set_done(&c->prepared);
    c->unnamed = stmt_unref(c->unnamed);
    if (c->has_long_key) {
        free(c->key.of_many);
        c->has_long_key = false;
    }
}

/* Bytes of the peer that were never read would turn our last words into a reset: read them off, a bounded amount. */
static void drain_socket(struct client *c)
{
    uint8_t bin[4096];

    for (int i = 0; i < 16; i++) {
        if (recv(conn_fd(&c->conn), bin, sizeof(bin), MSG_DONTWAIT) <= 0) {
            return;
        }
    }
}

/* Whoever has not logged in is a stranger: he must not fill the disk. */
static bool may_log_end(const struct client *c)
{
    static struct log_rate rate;

    if (c->state == CLIENT_STARTUP && c->u.login->is_probe) {
        return false;
    }
    return c->pool != NULL || c->state == CLIENT_CONSOLE ||
           log_rate_ok(&rate, STRANGERS_LINES_PER_SECOND);
}

static void close_now(struct client *c, const char *sqlstate, const char *reason)
{
    struct server *s = c->server;
    unsigned long long age_s = (clock_now_us() - c->connect_us) / USEC_PER_SEC;
    bool is_drained = c->lease.is_polite && c->conn.tls == NULL; /* it hears nothing any more */

    client_log_attempt(c); /* who does not get in has tried all the same */
    if (s->config->settings.log_disconnections && c->state != CLIENT_CANCEL && may_log_end(c)) {
        char text[ERROR_TEXT_MAX_BYTES];

        client_log(c, LOG_LOG_LEVEL, "closing because: %s (age=%llus)",
                   log_escape(text, sizeof(text), reason), age_s);
    }
    (void)metrics_client_closed(&s->env->metrics, sqlstate, reason);
    lease_abandon(&c->lease);
    leave(c);
    if (!is_drained) {
        drain_socket(c);
    }
    conn_done(&c->conn, s->loop);
    release_memory(c);
    c->state = CLIENT_CLOSED;
    c->grave = (struct loop_deferred){.next = NULL};
    loop_defer(s->loop, &c->grave, free_later);
    server_changed(s);
}

void client_forget(struct client *c)
{
    conn_done(&c->conn, c->server->loop); /* neither read off nor written to */
    if (c->state != CLIENT_CLOSED) {
        close_now(c, "", "handed over to the new process");
    }
}

void client_close_quiet(struct client *c, const char *reason)
{
    client_relay_leave(c);
    if (c->state != CLIENT_CLOSED) {
        close_now(c, "", reason);
    }
}

void client_close(struct client *c, const struct pg_error *e)
{
    struct buf msg = BUF_INIT(8192);

    client_relay_leave(c);
    if (c->state == CLIENT_CLOSED) {
        return;
    }
    client_log_attempt(c);
    if (c->server->config->settings.log_pooler_errors) {
        char text[ERROR_TEXT_MAX_BYTES];
        static struct log_rate rate;

        if (log_rate_ok(&rate, STRANGERS_LINES_PER_SECOND)) {
            client_log(c, LOG_WARNING_LEVEL, "pooler error: %s",
                       log_escape(text, sizeof(text), e->message));
        }
    }
    metrics_error(&c->server->env->metrics, ERROR_OF_POOLER, e->sqlstate);
    error_msg_put_text(&msg, 'E', "FATAL", e->sqlstate, e->message, e->detail, e->hint);
    if (buf_ok(&msg)) {
        /* Not possible: the client sees the end of the connection all the same. */
        (void)!client_try_send(c, msg.data, msg.len);
    }
    buf_done(&msg);
    conn_goodbye(&c->conn);
    close_now(c, e->sqlstate, e->message);
}

void client_close_text(struct client *c, const char *sqlstate, const char *fmt, ...)
{
    struct pg_error e;
    char text[ERROR_TEXT_MAX_BYTES];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args); /* cut is meant */
    va_end(args);
    pg_error_set(&e, sqlstate, "%s", text);
    client_close(c, &e);
}

/* --- use --- */

static bool is_idle(const struct client *c)
{
    return c->state == CLIENT_IDLE ||
           (c->state == CLIENT_ACTIVE && backend_is_quiet(c->lease.backend));
}

void client_check_idle(struct pool *pool)
{
    usec_t timeout_us = pool->limits.client_idle_timeout_us;
    struct client *c;

    list_for_each(&pool->clients, c, link) {
        if (!is_idle(c) || c->hold == HOLD_TAKEOVER) {
            continue;
        }
        if (clock_now_us() - c->request_us < timeout_us) {
            pool_wake_at(pool, c->request_us + timeout_us);
            if (pool->limits.mode != POOL_SESSION && c->replication == REPLICATION_NONE) {
                return; /* the list is by idleness: the others are due later */
            }
            continue;
        }
        client_close_text(c, SQLSTATE_IDLE_SESSION_TIMEOUT, "client_idle_timeout");
    }
}

/* Where what the client does is counted; NULL before its login. */
static struct pool_stats *stats_of(struct client *c)
{
    if (c->pool != NULL) {
        return &c->pool->db->stats;
    }
    return c->state == CLIENT_CONSOLE ? &c->server->console->stats : NULL;
}

bool client_try_send(struct client *c, const void *data, size_t len)
{
    struct pool_stats *stats = stats_of(c);

    if (stats != NULL) {
        stats->bytes_sent += len;
    }
    return conn_send(&c->conn, c->server->loop, data, len);
}

void client_send(struct client *c, const void *data, size_t len)
{
    if (c->state != CLIENT_CLOSED && !client_try_send(c, data, len)) {
        client_close_quiet(c, "out of memory");
    }
}

void client_send_buf(struct client *c, struct buf *b)
{
    if (!buf_ok(b)) {
        client_close_quiet(c, "out of memory");
    } else {
        client_send(c, b->data, b->len);
    }
    buf_done(b);
}

/* Hands on by state. */
static void on_io(struct loop_io *io, unsigned events)
{
    struct client *c = container_of(container_of(io, struct conn, io), struct client, conn);

    if (UNLIKELY((events & LOOP_HANGUP) != 0)) {
        client_close_quiet(c, "client unexpected eof");
        return;
    }
    if ((events & LOOP_WRITE) != 0) {
        conn_on_writable(&c->conn, c->server->loop);
        if (UNLIKELY(c->conn.broken)) { /* while it is on hold nobody would read that it has left */
            client_close_quiet(c, "client unexpected eof");
            return;
        }
        if (c->state == CLIENT_STARTUP) {
            client_startup_readable(c); /* a TLS handshake that waited for room */
        }
        client_relay_writable(c);
    }
    if ((events & LOOP_READ) != 0 && c->state != CLIENT_CLOSED) {
        states[c->state].readable(c);
    }
}
