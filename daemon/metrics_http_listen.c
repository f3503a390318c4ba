/* SPDX-License-Identifier: ISC */
/* The listening sockets of the HTTP side. */
#include "daemon/metrics_http_internal.h"

#include "daemon/util/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 64
#define RETRY_US (200 * USEC_PER_MSEC)
#define ACCEPTS_PER_TURN 16 /* then the clients of the pools get their turn */

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static struct http_listener *listener_free(struct http_listener *l)
{
    if (l->http->server != NULL && l->fd >= 0) {
        loop_io_stop(l->http->server->loop, &l->io);
    }
    if (l->fd >= 0) {
        (void)close(l->fd);
    }
    free(l);
    return NULL;
}

static bool turn_on(int fd, int level, int option)
{
    int on = 1;

    return setsockopt(fd, level, option, &on, sizeof(on)) == 0;
}

/* 0: bound; else the errno. */
static int bind_it(struct http_listener *l)
{
    int fd = socket(l->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int why;

    if (fd >= 0 && turn_on(fd, SOL_SOCKET, SO_REUSEADDR) && turn_on(fd, IPPROTO_TCP, TCP_NODELAY) &&
        (l->addr.ss_family != AF_INET6 || turn_on(fd, IPPROTO_IPV6, IPV6_V6ONLY)) &&
        bind(fd, (const struct sockaddr *)&l->addr, l->addr_len) == 0) {
        l->fd = fd;
        return 0;
    }
    why = errno;
    if (fd >= 0) {
        (void)close(fd);
    }
    return why;
}

/* As bind_it(); a port that the process has that we take over from may come later. */
static int open_one(struct metrics_http *h, const union address *a, socklen_t len, const char *name)
{
    struct http_listener *l = calloc(1, sizeof(*l));
    int why;

    if (l == NULL) {
        return ENOMEM;
    }
    l->http = h;
    l->fd = -1;
    memcpy(&l->addr, a, len);
    l->addr_len = len;
    (void)snprintf(l->name, sizeof(l->name), "%s", name);
    why = bind_it(l);
    if (why != 0 && !(why == EADDRINUSE && h->takes_over)) {
        listener_free(l);
        return why;
    }
    list_add_tail(&h->listeners, &l->link);
    return 0;
}

static void fault(const char *name, int why, struct config_errors *errors)
{
    config_errors_add(errors, NULL, 0, "http_port: cannot listen on %s: %s", name,
                      why == EADDRINUSE ? "another program does: stop it, or change http_port"
                                        : strerror(why));
}

static void open_v4(struct metrics_http *h, const char *text, uint16_t port,
                    struct config_errors *errors)
{
    union address a = {.v4 = {.sin_family = AF_INET, .sin_port = htons(port)}};
    char name[96];
    int why;

    (void)inet_pton(AF_INET, text, &a.v4.sin_addr); /* config/check.c has looked at it */
    (void)snprintf(name, sizeof(name), "%s:%u", text, port);
    why = open_one(h, &a, sizeof(a.v4), name);
    if (why != 0) {
        fault(name, why, errors);
    }
}

static void open_v6(struct metrics_http *h, const char *text, uint16_t port, bool may_lack,
                    struct config_errors *errors)
{
    union address a = {.v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)}};
    char name[96];
    int why;

    (void)inet_pton(AF_INET6, text, &a.v6.sin6_addr);
    (void)snprintf(name, sizeof(name), "[%s]:%u", text, port);
    why = open_one(h, &a, sizeof(a.v6), name);
    if (why != 0 && !(may_lack && (why == EAFNOSUPPORT || why == EADDRNOTAVAIL))) {
        fault(name, why, errors);
    }
}

bool http_listeners_open(struct metrics_http *h, const struct settings *set,
                         struct config_errors *errors)
{
    unsigned n_before = config_errors_count(errors);
    uint16_t port = (uint16_t)set->http_port;
    const char *at = set->http_addr;
    const char *word;
    size_t len;

    while ((word = option_list_next(&at, &len)) != NULL) {
        char text[INET6_ADDRSTRLEN];

        (void)snprintf(text, sizeof(text), "%.*s", (int)len, word);
        if (strcmp(text, "*") == 0) {
            open_v4(h, "0.0.0.0", port, errors);
            open_v6(h, "::", port, true, errors);
        } else if (strchr(text, ':') != NULL) {
            open_v6(h, text, port, false, errors);
        } else {
            open_v4(h, text, port, errors);
        }
    }
    return config_errors_count(errors) == n_before;
}

static void on_accept(struct loop_io *io, unsigned events)
{
    struct http_listener *l = container_of(io, struct http_listener, io);

    (void)events;
    for (unsigned i = 0; i < ACCEPTS_PER_TURN; i++) {
        union address peer = {0};
        socklen_t len = sizeof(peer);
        int fd = accept4(l->fd, &peer.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0) {
            return; /* out of descriptors: the sweep's timer looks again */
        }
        http_accepted(l->http, fd, &peer.any, len);
    }
}

static int listen_on(struct http_listener *l)
{
    if (listen(l->fd, BACKLOG) != 0) {
        return errno;
    }
    loop_io_init(&l->io, l->fd, on_accept);
    loop_io_want(l->http->server->loop, &l->io, LOOP_READ);
    log_info("listening on %s for %s", l->name, l->http->engine.key.len > 0 ? "HTTPS" : "HTTP");
    return 0;
}

void http_listeners_retry(struct loop_timer *timer)
{
    struct metrics_http *h = container_of(timer, struct metrics_http, retry);
    struct http_listener *l;
    bool lacks = false;

    list_for_each(&h->listeners, l, link) {
        if (l->fd < 0 && (bind_it(l) != 0 || listen_on(l) != 0)) {
            lacks = true;
        }
    }
    if (lacks) {
        loop_timer_set(h->server->loop, &h->retry, RETRY_US);
    }
}

bool http_listeners_start(struct metrics_http *h, struct config_errors *errors)
{
    struct http_listener *l;

    list_for_each(&h->listeners, l, link) {
        int why = l->fd >= 0 ? listen_on(l) : 0;

        if (why != 0) {
            fault(l->name, why, errors);
            return false;
        }
        if (l->fd < 0) {
            loop_timer_set(h->server->loop, &h->retry, RETRY_US);
        }
    }
    return true;
}

void http_listeners_close(struct metrics_http *h)
{
    if (h->server != NULL) {
        loop_timer_stop(h->server->loop, &h->retry);
    }
    while (!list_is_empty(&h->listeners)) {
        struct http_listener *l = list_entry(list_first(&h->listeners), struct http_listener, link);

        list_remove(&h->listeners, &l->link);
        listener_free(l);
    }
}
