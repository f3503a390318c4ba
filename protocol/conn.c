/* SPDX-License-Identifier: ISC */
#include "protocol/conn.h"

#include "daemon/util/fatal.h"
#include "daemon/util/num.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* One TLS record holds at most this much. */
#define TLS_RECORD_BYTES ((size_t)16384)
/* Of the pipe; a place in it is for a page or for a piece of a packet, up to 32 KiB. */
#define PIPE_BYTES (512 * 1024)

void conn_init(struct conn *c, int fd, loop_io_fn fn)
{
    *c = (struct conn){.tls = NULL};
    loop_io_init(&c->io, fd, fn);
}

static void drop_queue(struct conn *c)
{
    if (c->out != NULL) {
        buf_done(c->out);
        free(c->out);
        c->out = NULL;
        c->out_sent = 0;
    }
}

int conn_take_fd(struct conn *c, struct loop *loop)
{
    int fd = loop_io_fd(&c->io);

    if (fd < 0) {
        return fd;
    }
    loop_io_stop(loop, &c->io);
    conn_watch_end(c, loop, false); /* the descriptor may live on in another process */
    if (c->tls != NULL) {
        c->tls = tls_free(c->tls);
    }
    drop_queue(c);
    loop_io_init(&c->io, -1, NULL);
    return fd;
}

void conn_done(struct conn *c, struct loop *loop)
{
    int fd = conn_take_fd(c, loop);

    if (fd >= 0) {
        (void)close(fd); /* libev needs no epoll DEL: the kernel forgets a closed descriptor */
    }
}

bool conn_is_loopback(const struct sockaddr *addr)
{
    if (addr->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)addr;

        return ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    return addr->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr);
}

void conn_tune_local(int fd, const struct sockaddr *addr)
{
    static const char simplest[] =
        "reno"; /* the one that every kernel has and every user may use */

    if (conn_is_loopback(addr)) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, simplest, sizeof(simplest) - 1);
    }
}

static void update_watcher(struct conn *c, struct loop *loop)
{
    unsigned events = LOOP_NONE;

    if (c->reading) {
        events |= LOOP_READ;
    }
    if ((c->out != NULL && !c->broken) || c->tls_wants_write) {
        events |= LOOP_WRITE;
    }
    loop_io_want(loop, &c->io, events);
}

void conn_want_read(struct conn *c, struct loop *loop, bool want)
{
    if (c->reading == want) {
        return;
    }
    c->reading = want;
    update_watcher(c, loop);
    if (want && conn_has_pending(c)) {
        loop_io_again(loop, &c->io);
    }
}

void conn_set_rank(struct conn *c, struct loop *loop, enum loop_rank rank)
{
    loop_io_set_rank(loop, &c->io, rank);
}

void conn_set_watch_end(struct conn *c, struct loop *loop, bool want)
{
    if (want) {
        c->watches_end = loop_io_watch_end(loop, &c->io);
        return;
    }
    loop_io_unwatch_end(loop, &c->io);
    c->watches_end = false;
}

void conn_set_tls(struct conn *c, struct tls *tls)
{
    c->tls = tls;
}

enum tls_result conn_handshake(struct conn *c, struct loop *loop)
{
    enum tls_result result = tls_handshake(c->tls);

    c->tls_wants_write = result == TLS_WANT_WRITE;
    update_watcher(c, loop);
    return result;
}

static ssize_t read_plain(int fd, void *buf, size_t len, int flags)
{
    ssize_t n = recv(fd, buf, len, MSG_DONTWAIT | flags);

    if (n > 0) {
        return n;
    }
    if (n == 0) {
        return CONN_EOF;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
        return CONN_AGAIN;
    }
    return errno == EPERM ? -EIO : -errno; /* -EPERM is CONN_EOF */
}

static ssize_t read_tls(struct conn *c, struct loop *loop, void *buf, size_t len)
{
    size_t n = 0;
    bool wanted_write = c->tls_wants_write;
    enum tls_result result = tls_read(c->tls, buf, len, &n);

    c->tls_wants_write = result == TLS_WANT_WRITE;
    if (c->tls_wants_write != wanted_write) {
        update_watcher(c, loop);
    }
    switch (result) {
    case TLS_DONE:
        return (ssize_t)n;
    case TLS_WANT_READ:
    case TLS_WANT_WRITE:
        return CONN_AGAIN;
    case TLS_CLOSED:
        return CONN_EOF;
    case TLS_ERROR:
        return -EPROTO;
    }
    unreachable();
}

ssize_t conn_read(struct conn *c, struct loop *loop, void *buf, size_t len)
{
    if (UNLIKELY(c->tls != NULL)) {
        return read_tls(c, loop, buf, len);
    }
    return read_plain(loop_io_fd(&c->io), buf, len, 0);
}

ssize_t conn_peek(const struct conn *c, void *buf, size_t len)
{
    return read_plain(loop_io_fd(&c->io), buf, len, MSG_PEEK);
}

size_t conn_waiting(const struct conn *c)
{
    int n = 0;

    return ioctl(loop_io_fd(&c->io), FIONREAD, &n) == 0 && n > 0 ? (size_t)n : 0;
}

void conn_expect_no_secrets(struct conn *c)
{
    if (c->tls != NULL) {
        tls_expect_no_secrets(c->tls);
    }
}

bool conn_has_pending(const struct conn *c)
{
    return c->tls != NULL && tls_pending(c->tls) > 0;
}

static size_t iov_total(const struct iovec *iov, int n)
{
    size_t total = 0;

    for (int i = 0; i < n; i++) {
        total += iov[i].iov_len;
    }
    return total;
}

/* A broken stream swallows everything, and its end shows when it is read. The peer knows nothing of a failure of our own (no
 * memory for TLS or in the kernel), so it is we who end it. What it has said already can be read. */
static void give_up(struct conn *c)
{
    c->broken = true;
    (void)shutdown(loop_io_fd(&c->io), SHUT_RDWR); /* fails when the peer has ended it */
}

/* Writes as much as goes. The result says how much went. */
static size_t write_plain(struct conn *c, const struct iovec *iov, int n)
{
    int fd = loop_io_fd(&c->io);
    ssize_t sent;

    if (LIKELY(n == 1)) {
        sent = send(fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    } else {
        struct msghdr msg = {.msg_iov = (struct iovec *)iov,
                             .msg_iovlen = (size_t)n}; /* sendmsg does not change it */

        sent = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    if (LIKELY(sent >= 0)) {
        return (size_t)sent;
    }
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        give_up(c);
    }
    return 0;
}

static size_t write_tls(struct conn *c, const uint8_t *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        size_t n = 0;
        enum tls_result result = tls_write(c->tls, data + done, len - done, &n);

        done += n; /* also when it was stopped after some records */
        if (result == TLS_DONE) {
            continue;
        }
        if (result != TLS_WANT_WRITE && result != TLS_WANT_READ) {
            give_up(c);
        }
        break;
    }
    return done;
}

static bool begin_queue(struct conn *c)
{
    c->out = calloc(1, sizeof(*c->out));
    if (c->out == NULL) {
        return false;
    }
    buf_init(c->out, CONN_QUEUE_MAX_BYTES);
    c->out_sent = 0;
    return true;
}

static bool queue(struct conn *c, const struct iovec *iov, int n, size_t skip)
{
    if (c->out == NULL) {
        if (!begin_queue(c)) {
            return false;
        }
    } else if (c->out_sent > 0) {
        buf_consume(c->out, c->out_sent);
        c->out_sent = 0;
    }
    for (int i = 0; i < n; i++) {
        size_t len = iov[i].iov_len;

        if (skip >= len) {
            skip -= len;
            continue;
        }
        (void)buf_append(c->out, (const uint8_t *)iov[i].iov_base + skip,
                         len - skip); /* asked below */
        skip = 0;
    }
    return buf_ok(c->out);
}

/* TLS takes contiguous bytes only: several small pieces become one record. */
static bool sendv_tls(struct conn *c, const struct iovec *iov, int n, size_t total)
{
    uint8_t record[TLS_RECORD_BYTES];
    const uint8_t *data = iov->iov_base;

    if (n > 1) {
        size_t len = 0;

        if (total > sizeof(record)) {
            return queue(c, iov, n, 0); /* leaves at once, by conn_sendv() */
        }
        for (int i = 0; i < n; i++) {
            memcpy(record + len, iov[i].iov_base, iov[i].iov_len);
            len += iov[i].iov_len;
        }
        data = record;
    }
    total -= write_tls(c, data, total);
    if (total == 0 || c->broken) {
        return true;
    }
    /* What TLS refused must be offered again unchanged and not shorter: the queue keeps it in order. */
    return queue(c, iov, n, iov_total(iov, n) - total);
}

static void flush(struct conn *c)
{
    while (c->out != NULL && !c->broken) {
        struct iovec iov = {.iov_base = c->out->data + c->out_sent,
                            .iov_len = c->out->len - c->out_sent};
        size_t n =
            c->tls != NULL ? write_tls(c, iov.iov_base, iov.iov_len) : write_plain(c, &iov, 1);

        c->out_sent += num_u32(n);
        if (c->out_sent == c->out->len) {
            drop_queue(c);
        } else if (n == 0 || c->tls == NULL) {
            break;
        }
    }
    if (c->broken) {
        drop_queue(c); /* or its source would wait for room for ever */
    }
}

/* The socket took only @sent bytes: the rest waits until it is writable. */
static bool send_rest(struct conn *c, struct loop *loop, const struct iovec *iov, int n,
                      size_t sent)
{
    if (c->broken) {
        return true;
    }
    if (!queue(c, iov, n, sent)) {
        return false;
    }
    update_watcher(c, loop);
    return true;
}

bool conn_sendv(struct conn *c, struct loop *loop, const struct iovec *iov, int n)
{
    size_t total;
    size_t sent;

    if (LIKELY(n == 1 && c->out == NULL && c->tls == NULL && !c->broken)) { /* nearly always */
        sent = write_plain(c, iov, 1);
        return LIKELY(sent == iov->iov_len) || send_rest(c, loop, iov, 1, sent);
    }

    if (UNLIKELY(c->broken)) {
        return true;
    }
    total = iov_total(iov, n);
    if (total == 0) {
        return true;
    }
    if (c->out != NULL) {
        return queue(c, iov, n, 0); /* the watcher waits for room already */
    }
    if (c->tls != NULL) {
        if (!sendv_tls(c, iov, n, total)) {
            return false;
        }
        flush(c);
    } else {
        sent = write_plain(c, iov, n);
        return LIKELY(sent == total) || send_rest(c, loop, iov, n, sent);
    }
    if (c->out != NULL) {
        update_watcher(c, loop);
    }
    return true;
}

bool conn_send(struct conn *c, struct loop *loop, const void *data, size_t len)
{
    struct iovec iov = {.iov_base = (void *)data, .iov_len = len}; /* never written to */

    return conn_sendv(c, loop, &iov, 1);
}

/* --- without copying --- */

void conn_begin_bulk(struct conn *c)
{
    static const int on = 1;

    if (c->tls == NULL && !c->is_bulk) {
        /* Urgent data takes its place in the stream like all other. Else recv() leaves it out and splice() does not pass it:
         * what was looked at has to be what is moved. */
        c->is_bulk = setsockopt(conn_fd(c), SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)) == 0;
    }
}

void conn_pipe_open(struct conn_pipe *p)
{
    int fds[2] = {-1, -1};

    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0) {
        (void)fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES); /* a smaller one takes more turns */
    }
    p->from = fds[0];
    p->to = fds[1];
}

void conn_pipe_close(struct conn_pipe *p)
{
    if (p->from >= 0) {
        (void)close(p->from);
        (void)close(p->to);
    }
    p->from = p->to = -1;
}

/* What @to did not take goes to its queue, or nowhere when it is broken. */
static void empty_pipe(struct conn *to, struct loop *loop, const struct conn_pipe *p, size_t len)
{
    uint8_t *room = NULL;

    if (!to->broken && begin_queue(to)) {
        room = buf_reserve(to->out, len);
    }
    if (room == NULL) {
        give_up(to);
    }
    while (len > 0) {
        uint8_t nowhere[4096];
        ssize_t n = read(p->from, room != NULL ? room : nowhere,
                         room != NULL ? len : MIN(len, sizeof(nowhere)));

        fatal_unless(n > 0); /* they are there, and a pipe of our own has no errors */
        if (room != NULL) {
            buf_commit(to->out, (size_t)n);
            room += n;
        }
        len -= (size_t)n;
    }
    if (room == NULL) {
        drop_queue(to);
    }
    update_watcher(to, loop);
}

/* @len bytes from the pipe to @to. */
static void pass_through(struct conn *to, struct loop *loop, const struct conn_pipe *p, size_t len)
{
    while (len > 0) {
        ssize_t n =
            splice(p->from, NULL, conn_fd(to), NULL, len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

        if (n > 0) {
            len -= (size_t)n;
            continue;
        }
        if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
            give_up(to);
        }
        empty_pipe(to, loop, p, len);
        return;
    }
}

size_t conn_splice(struct conn *from, struct conn *to, struct loop *loop, struct conn_pipe *p,
                   size_t len)
{
    size_t moved = 0;

    while (moved < len && to->out == NULL && conn_can_splice(from, to, p)) {
        ssize_t n = splice(conn_fd(from), NULL, p->to, NULL, len - moved,
                           SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

        if (n < 0 && (errno == EPERM || errno == ENOSYS)) {
            conn_pipe_close(p); /* a sandbox forbids it */
        }
        if (n <= 0) {
            break;
        }
        moved += (size_t)n;
        pass_through(to, loop, p, (size_t)n);
    }
    return moved;
}

enum conn_fd_sent conn_send_fd(struct conn *c, struct loop *loop, const void *data, size_t len,
                               int fd)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.room = {0}};
    struct iovec iov = {.iov_base = (void *)data, .iov_len = len}; /* never written to */
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.room,
                         .msg_controllen = sizeof(control.room)};
    ssize_t sent;

    fatal_unless(c->tls == NULL && c->out == NULL);
    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;
    control.head.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.head), &fd, sizeof(int));
    sent = c->broken ? (ssize_t)len : sendmsg(conn_fd(c), &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
        /* ETOOMANYREFS: as many descriptors as we may have open are on their way to processes that do not read */
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ETOOMANYREFS) {
            return CONN_FD_LATER;
        }
        c->broken = true;
    } else if ((size_t)sent < len && !send_rest(c, loop, &iov, 1, (size_t)sent)) {
        c->broken = true;
    }
    return CONN_FD_SENT;
}

void conn_goodbye(struct conn *c)
{
    if (c->tls != NULL && c->out == NULL && !c->broken) {
        tls_shutdown(c->tls);
    }
}

void conn_on_writable(struct conn *c, struct loop *loop)
{
    flush(c);
    update_watcher(c, loop);
}
