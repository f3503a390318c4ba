/* SPDX-License-Identifier: ISC */
/* Between the files of the HTTP side: metrics_http.c (libmicrohttpd on our loop), metrics_http_listen.c (sockets),
 * metrics_http_answer.c (paths, credentials, answers). */
#ifndef PGPOOLD_DAEMON_METRICS_HTTP_INTERNAL_H
#define PGPOOLD_DAEMON_METRICS_HTTP_INTERNAL_H

#include "daemon/history.h"
#include "daemon/incidents.h"
#include "daemon/metrics_http.h"

#include <sys/socket.h>

struct MHD_Connection;
struct MHD_Daemon;

struct http_listener {
    struct list_node link; /* in http->listeners */
    struct metrics_http *http;
    struct loop_io io;
    int fd; /* -1: another process still has the port */
    struct sockaddr_storage addr;
    socklen_t addr_len;
    char name[96];
};

/* One libmicrohttpd: it has no listening socket, its connections are given to it. */
struct http_engine {
    struct MHD_Daemon *mhd;
    struct buf key; /* PEM; empty: no TLS */
    struct buf cert;
};

struct metrics_http {
    struct server *server; /* NULL until it is started */
    struct list listeners;
    struct http_engine engine;
    struct http_engine next; /* between prepare and commit; mhd NULL: no other one is needed */
    struct loop_io io;       /* the engine's epoll */
    struct loop_timer timer; /* when the engine wants to run without an event */
    bool takes_over;         /* of a running process, which still has the port */
    struct loop_timer retry; /* until it is ours */
    struct loop_timer sweep; /* looks for connections that take too long */
    struct list connections; /* struct http_connection */
    uint64_t n_refused;
    usec_t timeout_us;
    unsigned max_connections;
    bool is_local; /* only loopback addresses */
    struct history history;
    struct incidents incidents;
    char said[256]; /* by libmicrohttpd, last */
};

struct http_connection {
    struct list_node link;
    struct metrics_http *http;
    int fd;
    usec_t since_us; /* the request under way began, or the last one ended */
};

/* metrics_http_listen.c */
MUSTCHECK bool http_listeners_open(struct metrics_http *h, const struct settings *set,
                                   struct config_errors *errors);
MUSTCHECK bool http_listeners_start(struct metrics_http *h, struct config_errors *errors);
void http_listeners_retry(struct loop_timer *timer);
void http_listeners_close(struct metrics_http *h);
/* metrics_http.c: takes an accepted descriptor over. */
void http_accepted(struct metrics_http *h, int fd, const struct sockaddr *addr, socklen_t len);

/* metrics_http_host.c: is it a Host header that names this host itself and not a domain? */
bool http_host_is_local(const char *host);

/* metrics_http_answer.c: answers a request whose header is there. 1: answered, 0: the connection is to be closed. */
int http_answer(struct metrics_http *h, struct MHD_Connection *connection, const char *path,
                const char *method);

#endif
