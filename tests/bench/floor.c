/* SPDX-License-Identifier: ISC */
/* The floor: a transaction pooler with everything left out but the work that no pooler can leave out. Who connects is
 * in; a client that sends gets a free server connection or waits in line; its bytes go there as they come, those of the
 * server go back, and a ReadyForQuery that ends a transaction frees the connection. There is no login, no deadline, no
 * bound, no statistics and no message that is looked into: four calls and a part of an epoll_wait a transaction. What
 * is below this figure no pooler gets on this machine by the socket calls of Linux.
 *
 * For tests/bench only: small queries and answers on loopback, one database. Anything else ends the program. */
#include "bench_util.h"

#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_MAX 64
#define READ_BYTES ((size_t)64 * 1024)
#define READY_BYTES 6 /* 'Z', length 5, status */

enum kind { LISTENER, CLIENT, SERVER };

struct end {
    int fd; /* -1: closed */
    enum kind kind;
    bool is_in;       /* client: its startup message came */
    struct end *peer; /* of a client that has a server connection, and the other way round */
    struct end *next; /* in line, or among the free ones */
    unsigned char waiting[256];
    size_t n_waiting;
};

static int epoll_fd;
static unsigned server_port;
static struct end *free_servers;
static struct end *line_head;
static struct end *line_tail;
static unsigned char in[READ_BYTES];

static struct end *watch(int fd, enum kind kind)
{
    struct end *e = calloc(1, sizeof *e);
    struct epoll_event event = {.events = EPOLLIN};

    if (e == NULL) {
        die("out of memory");
    }
    e->fd = fd;
    e->kind = kind;
    event.data.ptr = e;
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        die("epoll_ctl: %s", strerror(errno));
    }
    if (kind != LISTENER) { /* as pgpoold does on loopback: BBR would pace */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    }
    return e;
}

static void pass(const struct end *to, const void *data, size_t len)
{
    if (to->fd >= 0 && send(to->fd, data, len, MSG_NOSIGNAL) != (ssize_t)len &&
        to->kind == SERVER) {
        die("send to the server: %s", strerror(errno));
    }
}

static bool ends_with_ready(const unsigned char *data, size_t len, char status)
{
    const unsigned char ready[READY_BYTES] = {'Z', 0, 0, 0, 5, (unsigned char)status};

    return len >= sizeof ready && memcmp(data + len - sizeof ready, ready, sizeof ready) == 0;
}

/* --- servers --- */

static void wait_for(int fd, short what)
{
    struct pollfd p = {.fd = fd, .events = what};

    if (poll(&p, 1, 10000) != 1) {
        die("the server does not answer");
    }
}

/* Logs in and waits for it. The connection is free then. */
static void open_server(void)
{
    struct bytes b = {0};
    int fd = connect_to("127.0.0.1", server_port, 0);
    struct end *s;
    size_t len = 0;
    size_t mark;

    wait_for(fd, POLLOUT);
    mark = msg_begin(&b, 0);
    bytes_put_u32(&b, PG_PROTOCOL_3);
    bytes_put_cstr(&b, "user");
    bytes_put_cstr(&b, "bench");
    bytes_put_cstr(&b, "database");
    bytes_put_cstr(&b, "bench_lax"); /* the null server forgives statements that are mixed up */
    bytes_put_u8(&b, 0);
    msg_end(&b, mark);
    if (send(fd, b.data, b.len, MSG_NOSIGNAL) != (ssize_t)b.len) {
        die("send to the server: %s", strerror(errno));
    }
    bytes_done(&b);
    while (!ends_with_ready(in, len, 'I')) {
        ssize_t n;

        wait_for(fd, POLLIN);
        n = recv(fd, in + len, sizeof in - len, 0);
        if (n <= 0) {
            die("the server ends the login");
        }
        len += (size_t)n;
    }
    s = watch(fd, SERVER);
    s->next = free_servers;
    free_servers = s;
}

static void join(struct end *s, struct end *c)
{
    s->peer = c;
    c->peer = s;
}

static void release(struct end *s)
{
    struct end *c = line_head;

    s->peer->peer = NULL;
    s->peer = NULL;
    while (c != NULL && c->fd < 0) {
        c = c->next;
    }
    line_head = c;
    if (c == NULL) {
        s->next = free_servers;
        free_servers = s;
        return;
    }
    line_head = c->next;
    join(s, c);
    pass(s, c->waiting, c->n_waiting);
    c->n_waiting = 0;
}

static void server_readable(struct end *s)
{
    ssize_t n = recv(s->fd, in, sizeof in, 0);

    if (n <= 0 || s->peer == NULL) {
        die("the server ends a connection, or speaks unasked");
    }
    pass(s->peer, in, (size_t)n);
    if (ends_with_ready(in, (size_t)n, 'I')) {
        release(s);
    }
}

/* --- clients --- */

static void greet(struct end *c)
{
    static const unsigned char welcome[] = {'R', 0, 0, 0,   8,  0, 0, 0, 0, /* AuthenticationOk */
                                            'K', 0, 0, 0,   12, 0, 0, 0, 1,  0,
                                            0,   0, 1, 'Z', 0,  0, 0, 5, 'I'};

    c->is_in = true;
    pass(c, welcome, sizeof welcome);
}

/* Its server connection is in the middle of something: another one takes its place. */
static void forget_client(struct end *c)
{
    (void)close(c->fd);
    c->fd = -1; /* its struct stays: the line may still have it */
    if (c->peer != NULL) {
        (void)close(c->peer->fd);
        c->peer->fd = -1;
        open_server();
    }
}

static void stand_in_line(struct end *c, size_t len)
{
    if (c->n_waiting + len > sizeof c->waiting) {
        die("a request of more than %zu bytes", sizeof c->waiting);
    }
    memcpy(c->waiting + c->n_waiting, in, len);
    if (c->n_waiting == 0) {
        c->next = NULL;
        if (line_head != NULL) {
            line_tail->next = c;
        } else {
            line_head = c;
        }
        line_tail = c;
    }
    c->n_waiting += len;
}

static void client_readable(struct end *c)
{
    ssize_t n = recv(c->fd, in, sizeof in, 0);

    if (n <= 0 || in[0] == 'X') {
        forget_client(c);
        return;
    }
    if (!c->is_in) {
        greet(c);
        return;
    }
    if (c->peer == NULL) {
        struct end *s = free_servers;

        if (s == NULL) {
            stand_in_line(c, (size_t)n);
            return;
        }
        free_servers = s->next;
        join(s, c);
    }
    pass(c->peer, in, (size_t)n);
}

/* --- the loop --- */

static void accept_all(int listener)
{
    int one = 1;
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        (void)watch(fd, CLIENT);
    }
}

__attribute__((noreturn)) static void serve(void)
{
    struct epoll_event events[EVENTS_MAX];

    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS_MAX, -1);

        for (int i = 0; i < n; i++) {
            struct end *e = events[i].data.ptr;

            if (e->fd < 0) {
                continue; /* closed in this very turn */
            }
            if (e->kind == LISTENER) {
                accept_all(e->fd);
            } else if (e->kind == CLIENT) {
                client_readable(e);
            } else {
                server_readable(e);
            }
        }
    }
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"port", required_argument, NULL, 'p'},
                                          {"server", required_argument, NULL, 's'},
                                          {"servers", required_argument, NULL, 'n'},
                                          {0}};
    unsigned port = 0;
    unsigned n_servers = 20;
    int opt;

    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (opt == 'p') {
            port = (unsigned)number_arg("port", optarg, 65535);
        } else if (opt == 's') {
            server_port = (unsigned)number_arg("server", optarg, 65535);
        } else if (opt == 'n') {
            n_servers = (unsigned)number_arg("servers", optarg, 1000);
        } else {
            die("usage: floor --port N --server PORT [--servers N]");
        }
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* never outlives the bench, whatever ended it */
    raise_fd_limit();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; i < n_servers; i++) {
        open_server();
    }
    (void)watch(listen_on("127.0.0.1", port), LISTENER);
    serve();
}
