/* SPDX-License-Identifier: ISC */
/* SHOW CLIENTS, SERVERS, SOCKETS, ACTIVE_SOCKETS and FDS: one row for each connection. */
#include "daemon/admin_count.h"
#include "daemon/admin_show.h"
#include "daemon/client.h"
#include "daemon/client_notify.h"
#include "daemon/listener.h"

#include "daemon/util/fatal.h"
#include "protocol/cancel_key.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* Tags of admin_found, and the order in which the kinds of connections are shown. */
enum connection {
    CONNECTION_LISTENER,
    CONNECTION_CLIENT,  /* key: its slot, by which server->slots is ordered */
    CONNECTION_OTHER,   /* a client without one yet, or on the console; key: the id */
    CONNECTION_BACKEND, /* key: the id */
};

#define CONNECTION_COLUMNS                                                                \
    {"type", ADMIN_TEXT}, {"user", ADMIN_TEXT}, {"database", ADMIN_TEXT},                 \
        {"replication", ADMIN_TEXT}, {"state", ADMIN_TEXT}, {"addr", ADMIN_TEXT},         \
        {"port", ADMIN_INT4}, {"local_addr", ADMIN_TEXT}, {"local_port", ADMIN_INT4},     \
        {"connect_time", ADMIN_TEXT}, {"request_time", ADMIN_TEXT}, {"wait", ADMIN_INT4}, \
        {"wait_us", ADMIN_INT4}, {"close_needed", ADMIN_INT4}, {"ptr", ADMIN_TEXT},       \
        {"link", ADMIN_TEXT}, {"remote_pid", ADMIN_INT4}, {"tls", ADMIN_TEXT},            \
        {"application_name", ADMIN_TEXT}, {"prepared_statements", ADMIN_INT4},            \
    {                                                                                     \
        "id", ADMIN_INT4                                                                  \
    }

static const struct admin_column connection_columns[] = {CONNECTION_COLUMNS};

static const struct admin_column client_columns[] = {
    CONNECTION_COLUMNS,
    {"subscriptions", ADMIN_INT4}, /* ours: channels that it listens to through the pool's hub */
};

static const struct admin_column socket_columns[] = {
    CONNECTION_COLUMNS,         {"recv_pos", ADMIN_INT4},   {"pkt_pos", ADMIN_INT4},
    {"pkt_remain", ADMIN_INT4}, {"send_pos", ADMIN_INT4},   {"send_remain", ADMIN_INT4},
    {"pkt_avail", ADMIN_INT4},  {"send_avail", ADMIN_INT4},
};

static const struct admin_column fd_columns[] = {
    {"fd", ADMIN_INT4},
    {"task", ADMIN_TEXT},
    {"user", ADMIN_TEXT},
    {"database", ADMIN_TEXT},
    {"addr", ADMIN_TEXT},
    {"port", ADMIN_INT4},
    {"cancel", ADMIN_TEXT},
    {"link", ADMIN_INT4},
    {"client_encoding", ADMIN_TEXT},
    {"std_strings", ADMIN_TEXT},
    {"datestyle", ADMIN_TEXT},
    {"timezone", ADMIN_TEXT},
    {"password", ADMIN_TEXT},
    {"scram_client_key", ADMIN_TEXT},
    {"scram_server_key", ADMIN_TEXT},
};

/* --- walking --- */

static struct admin_key key_of(enum connection what, uint64_t n)
{
    return (struct admin_key){.n = (uint64_t)what << 56 | n};
}

enum which_clients {
    ALL_CLIENTS,
    PLAIN_ONLY, /* without TLS */
};

/* In the order of their keys, so the walk stops when the slice is full. */
static void see_logged_in(struct server *s, struct admin_walk *w, enum which_clients which)
{
    uint64_t behind = key_of(CONNECTION_CLIENT, 0).n;
    uint32_t from = 0;

    if (w->has_after && w->after.n > behind) {
        from = (uint32_t)MIN(w->after.n - behind, (uint64_t)s->n_slots);
    }
    for (uint32_t i = from; i < s->n_slots && !admin_walk_is_full(w); i++) {
        const struct client *c = s->slots[i];

        if (c != NULL && c->state != CLIENT_CONSOLE &&
            (which == ALL_CLIENTS || c->conn.tls == NULL)) {
            admin_walk_see(w, key_of(CONNECTION_CLIENT, cancel_key_slot(c->vpid)), c,
                           CONNECTION_CLIENT);
        }
    }
}

/* Clients before their login count where SHOW POOLS counts them: when they wait for a server connection, or cancel. */
static void each_other(struct server *s, struct admin_walk *w)
{
    const struct client *c;

    list_for_each(&s->consoles, c, link) {
        admin_walk_see(w, key_of(CONNECTION_OTHER, c->id), c, CONNECTION_OTHER);
    }
    list_for_each(&s->logins, c, link) {
        if (c->state == CLIENT_LOGIN || c->state == CLIENT_CANCEL) {
            admin_walk_see(w, key_of(CONNECTION_OTHER, c->id), c, CONNECTION_OTHER);
        }
    }
}

static void each_client(struct server *s, struct admin_walk *w)
{
    see_logged_in(s, w, ALL_CLIENTS);
    if (!admin_walk_is_full(w)) {
        each_other(s, w);
    }
}

enum which_backends {
    ALL_BACKENDS,
    BUSY_BACKENDS,
    MOVABLE_BACKENDS, /* logged in, without TLS */
};

static bool is_shown(const struct backend *b, enum which_backends which)
{
    switch (which) {
    case ALL_BACKENDS:
        return true;
    case BUSY_BACKENDS:
        return b->state != BACKEND_IDLE;
    case MOVABLE_BACKENDS:
        return b->state >= BACKEND_IDLE && b->conn.tls == NULL && conn_is_open(&b->conn);
    }
    unreachable();
}

static void see_list(const struct list *backends, struct admin_walk *w, enum which_backends which)
{
    const struct backend *b;

    list_for_each(backends, b, link) {
        if (is_shown(b, which)) {
            admin_walk_see(w, key_of(CONNECTION_BACKEND, b->id), b, CONNECTION_BACKEND);
        }
    }
}

static void see_backends(struct server *s, struct admin_walk *w, enum which_backends which)
{
    for (const struct pool *pool = admin_next_pool(s, NULL); pool != NULL;
         pool = admin_next_pool(s, pool)) {
        for (unsigned i = 0; i < BACKEND_CLOSED; i++) {
            see_list(&pool->backends[i], w, which);
        }
    }
}

static void each_server(struct server *s, struct admin_walk *w)
{
    see_backends(s, w, ALL_BACKENDS);
}

static void each_socket(struct server *s, struct admin_walk *w)
{
    each_client(s, w);
    if (!admin_walk_is_full(w)) {
        each_server(s, w);
    }
}

/* --- addresses --- */

static void put_sockaddr(struct admin_row *row, const struct sockaddr_storage *a,
                         unsigned unix_port)
{
    char text[INET6_ADDRSTRLEN];

    if (a->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)a;

        admin_put_text(row, inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text)));
        admin_put_int(row, ntohs(in->sin_port));
    } else if (a->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)a;

        admin_put_text(row, inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text)));
        admin_put_int(row, ntohs(in6->sin6_port));
    } else {
        admin_put_text(row, "unix");
        admin_put_int(row, unix_port);
    }
}

static void put_peer(struct admin_row *row, const struct client *c)
{
    char text[INET6_ADDRSTRLEN];

    if (c->is_unix) {
        admin_put_text(row, "unix");
        admin_put_int(row, c->server->config->settings.listen_port);
    } else {
        admin_put_text(row, inet_ntop(c->family, c->addr, text, sizeof(text)));
        admin_put_int(row, c->port);
    }
}

static void put_local(struct admin_row *row, const struct client *c)
{
    struct sockaddr_storage local = {.ss_family = AF_UNIX};
    socklen_t len = sizeof(local);

    /* Not kept in the struct: it would cost every client memory for the sake of this column. */
    if (!c->is_unix &&
        getsockname(conn_fd(&c->conn), (struct sockaddr *)(void *)&local, &len) != 0) {
        local.ss_family = AF_UNIX;
    }
    put_sockaddr(row, &local, (unsigned)c->server->config->settings.listen_port);
}

static void put_backend_address(struct admin_row *row, const struct backend_address *a,
                                unsigned port)
{
    if (a->family == AF_INET || a->family == AF_INET6) {
        admin_put_text(row, a->text);
        admin_put_int(row, a->port);
    } else if (a->family == AF_UNIX) {
        admin_put_text(row, "unix");
        admin_put_int(row, port);
    } else { /* still connecting */
        admin_put_text(row, "");
        admin_put_int(row, 0);
    }
}

static int64_t peer_pid(const struct client *c)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (!c->is_unix || getsockopt(conn_fd(&c->conn), SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0) {
        return 0;
    }
    return cred.pid;
}

static void put_tls(struct admin_row *row, const struct conn *conn)
{
    char text[128];

    admin_put_text(row, conn->tls != NULL ? tls_info(conn->tls, text, sizeof(text)) : "");
}

/* --- one client, one server connection --- */

static const char *application_name(const struct client *c)
{
    const char *name = c->params != NULL ? params_get(c->params, "application_name") : NULL;

    return name != NULL ? name : "";
}

/* How long the request that is under way has taken so far, waiting for a server connection included. */
static usec_t client_wait_us(const struct client *c)
{
    usec_t now_us = clock_now_us();
    usec_t query_us = c->lease.state == LEASE_HELD ? c->lease.backend->query_start_us : 0;

    if (c->lease.state == LEASE_WAITING) {
        return now_us - c->lease.since_us;
    }
    return query_us > 0 ? now_us - MIN(query_us, c->request_us) : 0;
}

/* PgBouncer's SHOW SOCKETS has no word for idle clients. */
static const char *socket_state(const struct client *c)
{
    switch ((enum client_state)c->state) {
    case CLIENT_IDLE:
    case CLIENT_ACTIVE:
    case CLIENT_CONSOLE:
        return "cl_active";
    case CLIENT_WAITING:
    case CLIENT_LOGIN:
        return "cl_waiting";
    case CLIENT_CANCEL:
        return client_cancel_waits(c) ? "cl_waiting_cancel_req" : "cl_active_cancel_req";
    case CLIENT_STARTUP:
    case CLIENT_AUTH:
        return "cl_login";
    case CLIENT_CLOSED:
    case CLIENT_STATES:
        break;
    }
    unreachable();
}

static void fill_client(const struct client *c, const char *state, struct admin_row *row)
{
    admin_put_text(row, "C");
    admin_put_name(row, client_user_name(c));
    admin_put_name(row, client_database_name(c));
    admin_put_text(row, replication_name((enum replication)c->replication));
    admin_put_text(row, state);
    put_peer(row, c);
    put_local(row, c);
    admin_put_time(row, c->connect_us);
    admin_put_time(row, c->request_us);
    admin_put_wait(row, client_wait_us(c));
    admin_put_int(row, c->close_after ? 1 : 0);
    admin_put_ptr(row, c);
    admin_put_ptr(row, c->lease.state == LEASE_HELD ? c->lease.backend : NULL);
    admin_put_int(row, peer_pid(c));
    put_tls(row, &c->conn);
    admin_put_name(row, application_name(c));
    admin_put_uint(row, c->prepared.n);
    admin_put_uint(row, c->id);
}

static const char *server_user(const struct backend *b)
{
    return b->pool->user->name;
}

/* @kind: what stands before the state: "sv_" in SHOW SOCKETS, where PgBouncer also has another word for new ones; else "". */
static void fill_server(const struct backend *b, const char *kind, struct admin_row *row)
{
    const struct client *c = admin_client_of(b->lease);
    const char *state = admin_backend_state(b);

    admin_put_text(row, "S");
    admin_put_name(row, server_user(b));
    admin_put_name(row, b->pool->db->name);
    admin_put_text(row, replication_name(b->replication));
    admin_put_fmt(row, "%s%s", kind, *kind != '\0' && strcmp(state, "new") == 0 ? "login" : state);
    put_backend_address(row, &b->peer, b->port);
    put_backend_address(row, &b->local, b->port);
    admin_put_time(row, b->connected_us > 0 ? b->connected_us : b->opened_us);
    admin_put_time(row, b->request_us);
    admin_put_wait(row, 0);
    admin_put_int(row, admin_backend_is_obsolete(b) ? 1 : 0);
    admin_put_ptr(row, b);
    admin_put_ptr(row, c);
    admin_put_uint(row, b->pid);
    put_tls(row, &b->conn);
    admin_put_name(row, c != NULL ? application_name(c) : "");
    admin_put_uint(row, stmt_cache_count(&b->stmts));
    admin_put_uint(row, b->id);
}

static void fill_connection(struct server *s, const struct admin_found *f, struct admin_row *row)
{
    (void)s;
    if (f->tag == CONNECTION_BACKEND) {
        fill_server(f->item, "", row);
    } else {
        fill_client(f->item, client_state_name(f->item), row);
    }
}

static void fill_client_row(struct server *s, const struct admin_found *f, struct admin_row *row)
{
    fill_connection(s, f, row);
    admin_put_uint(row, client_notify_channels(f->item));
}

/* --- sockets: what waits in the buffers --- */

/* @gathered: bytes that wait to be looked at. */
static void put_buffers(struct admin_row *row, const struct conn *conn, size_t gathered,
                        uint32_t body_left)
{
    admin_put_uint(row, gathered);
    admin_put_uint(row, 0);
    admin_put_uint(row, body_left);
    admin_put_uint(row, conn->out != NULL ? conn->out_sent : 0);
    admin_put_uint(row, conn_queued(conn));
    admin_put_uint(row, gathered);
    admin_put_uint(row, conn_queued(conn));
}

static void fill_socket(struct server *s, const struct admin_found *f, struct admin_row *row)
{
    (void)s;
    if (f->tag == CONNECTION_BACKEND) {
        const struct backend *b = f->item;

        fill_server(b, "sv_", row);
        put_buffers(row, &b->conn, b->in.len, b->body_left);
    } else {
        const struct client *c = f->item;

        fill_client(c, socket_state(c), row);
        put_buffers(row, &c->conn, c->in != NULL ? c->in->len : 0, c->body_left);
    }
}

static void each_active_socket(struct server *s, struct admin_walk *w)
{
    for (uint32_t i = 0; i < s->n_slots; i++) {
        const struct client *c = s->slots[i];

        if (c != NULL && (c->state == CLIENT_ACTIVE || c->state == CLIENT_WAITING)) {
            admin_walk_see(w, key_of(CONNECTION_CLIENT, cancel_key_slot(c->vpid)), c,
                           CONNECTION_CLIENT);
        }
    }
    each_other(s, w);
    see_backends(s, w, BUSY_BACKENDS);
}

/* --- descriptors --- */

/* What another process could go on with: no consoles, nobody who is still logging in, and no TLS, whose keys are in our
 * memory. */
static void each_fd(struct server *s, struct admin_walk *w)
{
    const struct listener *l;

    list_for_each(&s->listeners, l, link) {
        if (l->fd >= 0) {
            admin_walk_see(w, key_of(CONNECTION_LISTENER, (uint64_t)l->fd), l, CONNECTION_LISTENER);
        }
    }
    see_logged_in(s, w, PLAIN_ONLY);
    if (!admin_walk_is_full(w)) {
        see_backends(s, w, MOVABLE_BACKENDS);
    }
}

static int fd_of(const struct admin_found *f)
{
    switch ((enum connection)f->tag) {
    case CONNECTION_LISTENER:
        return ((const struct listener *)f->item)->fd;
    case CONNECTION_BACKEND:
        return conn_fd(&((const struct backend *)f->item)->conn);
    case CONNECTION_CLIENT:
    case CONNECTION_OTHER:
        return conn_fd(&((const struct client *)f->item)->conn);
    }
    unreachable();
}

static void put_parameter(struct admin_row *row, const struct params *params, const char *name)
{
    admin_put_name(row, params != NULL ? params_get(params, name) : NULL);
}

static void put_session(struct admin_row *row, const struct params *params)
{
    put_parameter(row, params, "client_encoding");
    put_parameter(row, params, "standard_conforming_strings");
    put_parameter(row, params, "DateStyle");
    put_parameter(row, params, "TimeZone");
}

/* Hexadecimal digits behind @prefix. */
static void put_hex(struct admin_row *row, const char *prefix, const uint8_t *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    char text[2 * BACKEND_KEY_MAX_BYTES + 16];
    size_t n = strlen(prefix);

    fatal_unless(n + 2 * len < sizeof(text));
    memcpy(text, prefix, n);
    for (size_t i = 0; i < len; i++) {
        text[n++] = digits[data[i] >> 4];
        text[n++] = digits[data[i] & 15];
    }
    text[n] = '\0';
    admin_put_text(row, text);
    explicit_bzero(text, sizeof(text));
}

static void put_cancel_key(struct admin_row *row, uint32_t pid, const uint8_t *key, size_t len)
{
    char prefix[16];

    (void)snprintf(prefix, sizeof(prefix), "%08" PRIx32, pid); /* always fits */
    put_hex(row, prefix, key, len);
}

/* What @known logs in with. */
static void put_secrets(struct admin_row *row, const struct credentials *known)
{
    if (secret_is_set(&known->password)) {
        admin_put_name(row, known->password.data);
    } else {
        admin_put_text(row, *known->md5 != '\0' ? known->md5 : NULL);
    }
    if (known->scram.has_client_key) { /* as PostgreSQL writes a bytea */
        put_hex(row, "\\x", known->scram.client_key, sizeof(known->scram.client_key));
        put_hex(row, "\\x", known->scram.server_key, sizeof(known->scram.server_key));
    } else {
        admin_put_null(row);
        admin_put_null(row);
    }
}

static void put_link(struct admin_row *row, const struct conn *linked)
{
    if (linked != NULL) {
        admin_put_int(row, conn_fd(linked));
    } else {
        admin_put_null(row);
    }
}

static void fill_fd_listener(const struct listener *l, struct server *s, struct admin_row *row)
{
    admin_put_int(row, l->fd);
    admin_put_text(row, "pooler");
    admin_put_null(row);
    admin_put_null(row);
    put_sockaddr(row, &l->addr, (unsigned)s->config->settings.listen_port);
    for (unsigned i = 6; i < ARRAY_LEN(fd_columns); i++) {
        admin_put_null(row);
    }
}

static void fill_fd_backend(const struct backend *b, struct admin_row *row)
{
    const struct client *c = admin_client_of(b->lease);

    admin_put_int(row, conn_fd(&b->conn));
    admin_put_text(row, "server");
    admin_put_name(row, server_user(b));
    admin_put_name(row, b->pool->db->name);
    put_backend_address(row, &b->peer, b->port);
    put_cancel_key(row, b->pid, b->key, b->key_len);
    put_link(row, c != NULL ? &c->conn : NULL);
    put_session(row, b->params);
    put_secrets(row, b->pool->credentials);
}

static void fill_fd_client(const struct client *c, struct admin_row *row)
{
    admin_put_int(row, conn_fd(&c->conn));
    admin_put_text(row, "client");
    admin_put_name(row, client_user_name(c));
    admin_put_name(row, client_database_name(c));
    put_peer(row, c);
    if (c->has_long_key) {
        put_cancel_key(row, c->vpid, c->key.of_many, CANCEL_KEY_LONG_BYTES);
    } else {
        put_cancel_key(row, c->vpid, c->key.of_four, CANCEL_KEY_SHORT_BYTES);
    }
    put_link(row, c->lease.state == LEASE_HELD ? &c->lease.backend->conn : NULL);
    put_session(row, c->params);
    put_secrets(row, c->user->credentials);
}

static void fill_fd(struct server *s, const struct admin_found *f, struct admin_row *row)
{
    if (f->tag == CONNECTION_LISTENER) {
        fill_fd_listener(f->item, s, row);
    } else if (f->tag == CONNECTION_BACKEND) {
        fill_fd_backend(f->item, row);
    } else {
        fill_fd_client(f->item, row);
    }
}

/* --- the rows of the table --- */

const struct admin_show_kind admin_show_clients = {
    .name = "CLIENTS", ADMIN_COLUMNS(client_columns), .each = each_client, .fill = fill_client_row};
const struct admin_show_kind admin_show_servers = {.name = "SERVERS",
                                                   ADMIN_COLUMNS(connection_columns),
                                                   .each = each_server,
                                                   .fill = fill_connection};
const struct admin_show_kind admin_show_sockets = {
    .name = "SOCKETS", ADMIN_COLUMNS(socket_columns), .each = each_socket, .fill = fill_socket};
const struct admin_show_kind admin_show_active_sockets = {.name = "ACTIVE_SOCKETS",
                                                          ADMIN_COLUMNS(socket_columns),
                                                          .each = each_active_socket,
                                                          .fill = fill_socket};
const struct admin_show_kind admin_show_fds = {.name = "FDS",
                                               .begins_line = true,
                                               ADMIN_COLUMNS(fd_columns),
                                               .right = ADMIN_FOR_ADMINS,
                                               .each = each_fd,
                                               .fd_of = fd_of,
                                               .fill = fill_fd};
