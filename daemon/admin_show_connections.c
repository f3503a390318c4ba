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
#include <netinet/in.h>
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

/* In the order of their keys, so the walk stops when the slice is full. */
static void each_logged_in(struct server *s, struct admin_walk *w)
{
    uint64_t behind = key_of(CONNECTION_CLIENT, 0).n;
    uint32_t from = 0;

    if (w->has_after && w->after.n > behind) {
        from = (uint32_t)MIN(w->after.n - behind, (uint64_t)s->n_slots);
    }
    for (uint32_t i = from; i < s->n_slots && !admin_walk_is_full(w); i++) {
        const struct client *c = s->slots[i];

        if (c != NULL && c->state != CLIENT_CONSOLE) {
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
    each_logged_in(s, w);
    if (!admin_walk_is_full(w)) {
        each_other(s, w);
    }
}

enum which_backends {
    ALL_BACKENDS,
    BUSY_BACKENDS,
};

static void see_backends(struct server *s, struct admin_walk *w, enum which_backends which)
{
    for (const struct pool *pool = admin_next_pool(s, NULL); pool != NULL;
         pool = admin_next_pool(s, pool)) {
        for (unsigned i = 0; i < BACKEND_CLOSED; i++) {
            const struct backend *b;

            if (which == BUSY_BACKENDS && i == BACKEND_IDLE) {
                continue;
            }
            list_for_each(&pool->backends[i], b, link) {
                admin_walk_see(w, key_of(CONNECTION_BACKEND, b->id), b, CONNECTION_BACKEND);
            }
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

static void fill_client(const struct client *c, struct admin_row *row)
{
    admin_put_text(row, "C");
    admin_put_name(row, client_user_name(c));
    admin_put_name(row, client_database_name(c));
    admin_put_text(row, replication_name((enum replication)c->replication));
    admin_put_text(row, client_state_name(c));
    put_peer(row, c);
    put_local(row, c);
    admin_put_time(row, c->connect_us);
    admin_put_time(row, c->request_us);
    admin_put_wait(row, c->lease.state == LEASE_WAITING ? clock_now_us() - c->lease.since_us : 0);
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

static void fill_server(const struct backend *b, struct admin_row *row)
{
    const struct client *c = admin_client_of(b->lease);

    admin_put_text(row, "S");
    admin_put_name(row, server_user(b));
    admin_put_name(row, b->pool->db->name);
    admin_put_text(row, replication_name(b->replication));
    admin_put_text(row, admin_backend_state(b));
    put_backend_address(row, &b->peer, b->port);
    put_backend_address(row, &b->local, b->port);
    admin_put_time(row, b->connected_us);
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
        fill_server(f->item, row);
    } else {
        fill_client(f->item, row);
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
    fill_connection(s, f, row);
    if (f->tag == CONNECTION_BACKEND) {
        const struct backend *b = f->item;

        put_buffers(row, &b->conn, b->in.len, b->body_left);
    } else {
        const struct client *c = f->item;

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

static void each_fd(struct server *s, struct admin_walk *w)
{
    const struct listener *l;

    list_for_each(&s->listeners, l, link) {
        if (l->fd >= 0) {
            admin_walk_see(w, key_of(CONNECTION_LISTENER, (uint64_t)l->fd), l, CONNECTION_LISTENER);
        }
    }
    each_socket(s, w);
}

static void put_parameter(struct admin_row *row, const struct params *params, const char *name)
{
    admin_put_name(row, params != NULL ? params_get(params, name) : NULL);
}

/* Never a secret: the daemon that takes over at an online restart does not ask by SQL. */
static void put_session(struct admin_row *row, const struct params *params)
{
    put_parameter(row, params, "client_encoding");
    put_parameter(row, params, "standard_conforming_strings");
    put_parameter(row, params, "DateStyle");
    put_parameter(row, params, "TimeZone");
    admin_put_null(row);
    admin_put_null(row);
    admin_put_null(row);
}

static void put_fd(struct admin_row *row, const struct conn *linked)
{
    admin_put_null(row); /* the cancel key is a secret */
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
    put_fd(row, NULL);
    put_session(row, NULL);
}

static void fill_fd(struct server *s, const struct admin_found *f, struct admin_row *row)
{
    if (f->tag == CONNECTION_LISTENER) {
        fill_fd_listener(f->item, s, row);
    } else if (f->tag == CONNECTION_BACKEND) {
        const struct backend *b = f->item;
        const struct client *c = admin_client_of(b->lease);

        admin_put_int(row, conn_is_open(&b->conn) ? conn_fd(&b->conn) : -1);
        admin_put_text(row, "server");
        admin_put_name(row, server_user(b));
        admin_put_name(row, b->pool->db->name);
        put_backend_address(row, &b->peer, b->port);
        put_fd(row, c != NULL ? &c->conn : NULL);
        put_session(row, b->params);
    } else {
        const struct client *c = f->item;

        admin_put_int(row, conn_fd(&c->conn));
        admin_put_text(row, "client");
        admin_put_name(row, client_user_name(c));
        admin_put_name(row, client_database_name(c));
        put_peer(row, c);
        put_fd(row, c->lease.state == LEASE_HELD ? &c->lease.backend->conn : NULL);
        put_session(row, c->params);
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
                                               ADMIN_COLUMNS(fd_columns),
                                               .right = ADMIN_FOR_ADMINS,
                                               .each = each_fd,
                                               .fill = fill_fd};
