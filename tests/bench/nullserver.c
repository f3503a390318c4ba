/* SPDX-License-Identifier: ISC */
/* A PostgreSQL server that does no work: it answers any query at once, so that the pooler before it is
 * what a bench measures. One thread, plain epoll, level-triggered, TCP and Unix sockets. null_session.c
 * speaks the protocol; this file moves the bytes and wakes delayed answers.
 *
 *   nullserver --port N [--unix FOLDER] [--scram PASSWORD]
 */
#include "null_session.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define N_EVENTS 256
#define MAX_FDS 65536
#define READ_BYTES (64u << 10)

struct conn {
    struct session session; /* first: a hook's session is its conn */
    int fd;
    bool want_write;
    struct conn *next_due; /* list of delayed ones, soonest first */
};

/* One thread, one server: the program's only globals. */
static struct conn *conns[MAX_FDS];
static int epoll_fd;
static struct conn *due;
static const char *scram_password;

static void watch(int op, int fd, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.fd = fd};

    if (epoll_ctl(epoll_fd, op, fd, &ev) != 0) {
        die("epoll_ctl: %s", strerror(errno));
    }
}

static void due_remove(const struct conn *c)
{
    struct conn **at = &due;

    while (*at != NULL && *at != c) {
        at = &(*at)->next_due;
    }
    if (*at != NULL) {
        *at = c->next_due;
    }
}

/* Equal delays are the rule, so the walk is as long as the number of queries in flight; that is the
 * number of server connections, a few dozen. */
static void due_add(struct conn *c)
{
    struct conn **at = &due;

    while (*at != NULL && (*at)->session.wake_us <= c->session.wake_us) {
        at = &(*at)->next_due;
    }
    c->next_due = *at;
    *at = c;
}

static void conn_close(struct conn *c)
{
    due_remove(c);
    conns[c->fd] = NULL;
    close(c->fd);
    session_done(&c->session);
    free(c);
}

/* False when the peer is gone. */
static bool conn_flush(struct conn *c)
{
    struct bytes *out = &c->session.out;
    bool blocked = false;

    while (bytes_left(out) > 0 && !blocked) {
        ssize_t n = send(c->fd, out->data + out->pos, bytes_left(out), MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return false;
        }
        blocked = n < 0 && errno == EAGAIN;
        if (n > 0) {
            bytes_take(out, (size_t)n);
            session_fill(&c->session);
        }
    }
    if (blocked != c->want_write) {
        c->want_write = blocked;
        watch(EPOLL_CTL_MOD, c->fd, EPOLLIN | (blocked ? EPOLLOUT : 0u));
    }
    return true;
}

/* Runs waiting input and sends the answers; closes when that is what is left to do. */
static void conn_turn(struct conn *c)
{
    struct session *s = &c->session;
    size_t before;

    do {
        before = bytes_left(&s->in);
        session_run(s);
        if (s->wake_us != 0) {
            due_add(c);
            return;
        }
        if (!conn_flush(c)) {
            conn_close(c);
            return;
        }
        /* once a big result went out whole, input that waited behind it goes on */
    } while (!session_is_blocked(s) && bytes_left(&s->in) < before && bytes_left(&s->in) > 0);
    if (s->phase == SESSION_CLOSED) {
        conn_close(c);
    }
}

static void conn_readable(struct conn *c)
{
    unsigned char *room = bytes_room(&c->session.in, READ_BYTES);
    ssize_t n = recv(c->fd, room, READ_BYTES, 0);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        conn_close(c);
    } else if (n > 0) {
        bytes_grow(&c->session.in, (size_t)n);
        if (!session_is_blocked(&c->session)) {
            conn_turn(c);
        }
    }
}

static void hook_broadcast(struct session *from, const struct plan *notify)
{
    int fd;

    for (fd = 0; fd < MAX_FDS; fd++) {
        struct conn *c = conns[fd];

        if (c == NULL || !session_listens(&c->session, notify->name)) {
            continue;
        }
        session_notify(&c->session, from->pid, notify);
        if (&c->session != from && c->session.wake_us == 0) {
            (void)conn_flush(c); /* a dead peer is closed by its own next event */
        }
    }
}

static void hook_cancel(uint32_t pid, uint32_t key)
{
    struct conn *c = pid < MAX_FDS ? conns[pid] : NULL;

    if (c != NULL && c->session.key == key && c->session.wake_us != 0) {
        due_remove(c);
        session_cancel(&c->session);
        due_add(c);
    }
}

static const struct session_hooks hooks = {.broadcast = hook_broadcast, .cancel = hook_cancel};

static void accept_all(int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        struct conn *c;

        if (fd < 0) {
            return; /* EAGAIN, or a client that left again */
        }
        c = fd < MAX_FDS ? calloc(1, sizeof *c) : NULL;
        if (c == NULL) {
            close(fd);
            continue;
        }
        c->fd = fd;
        /* the backend's pid is its descriptor: unique while it lives, and found at once by a cancel */
        session_init(&c->session, (uint32_t)fd, scram_password, &hooks);
        conns[fd] = c;
        watch(EPOLL_CTL_ADD, fd, EPOLLIN);
    }
}

static void wake_due(void)
{
    uint64_t now = due != NULL ? now_us() : 0;

    while (due != NULL && due->session.wake_us <= now) {
        struct conn *c = due;

        due = c->next_due;
        c->session.wake_us = 0;
        if (!conn_flush(c)) {
            conn_close(c);
        } else {
            conn_turn(c);
        }
    }
}

static int wait_events(struct epoll_event *events)
{
    struct timespec wait = {0};
    uint64_t now, left;

    if (due == NULL) {
        return epoll_wait(epoll_fd, events, N_EVENTS, -1);
    }
    now = now_us();
    left = due->session.wake_us > now ? due->session.wake_us - now : 0;
    wait.tv_sec = (time_t)(left / 1000000);
    wait.tv_nsec = (long)(left % 1000000) * 1000;
    return epoll_pwait2(epoll_fd, events, N_EVENTS, &wait, NULL);
}

static void serve(const int *listeners, unsigned n_listeners)
{
    struct epoll_event events[N_EVENTS];
    int i, n;

    for (;;) {
        n = wait_events(events);
        for (i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            struct conn *c = conns[fd];

            if (fd == listeners[0] || (n_listeners > 1 && fd == listeners[1])) {
                accept_all(fd);
                continue;
            }
            if (c != NULL && (events[i].events & EPOLLOUT) && c->session.wake_us == 0) {
                conn_turn(c);
            }
            c = conns[fd];
            if (c != NULL && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
                conn_readable(c);
            }
        }
        wake_due();
    }
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"port", required_argument, NULL, 'p'},
                                          {"unix", required_argument, NULL, 'u'},
                                          {"scram", required_argument, NULL, 's'},
                                          {0}};
    const char *folder = NULL;
    unsigned port = 0;
    int listeners[2];
    unsigned n_listeners = 0;
    int opt;

    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (opt == 'p') {
            port = (unsigned)number_arg("port", optarg, 65535);
        } else if (opt == 'u') {
            folder = optarg;
        } else if (opt == 's') {
            scram_password = optarg;
        } else {
            die("usage: nullserver --port N [--unix FOLDER] [--scram PASSWORD]");
        }
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* never outlives the bench, whatever ended it */
    raise_fd_limit();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    listeners[n_listeners++] = listen_on("127.0.0.1", port);
    if (folder != NULL) {
        listeners[n_listeners++] = listen_on(folder, port);
    }
    watch(EPOLL_CTL_ADD, listeners[0], EPOLLIN);
    if (n_listeners > 1) {
        watch(EPOLL_CTL_ADD, listeners[1], EPOLLIN);
    }
    (void)printf("ready=1\n");
    (void)fflush(stdout);
    serve(listeners, n_listeners);
}
