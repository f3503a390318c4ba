/* SPDX-License-Identifier: ISC */
#include "daemon/takeover_link.h"

#include "daemon/util/num.h"
#include "protocol/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER_BYTES 5U
/* One sendmsg(2), one recvmsg(2). */
#define CHUNK_BYTES ((size_t)128 * 1024)
/* Above this the sender waits: descriptors on their way cost twice. */
#define ROOM_BYTES ((size_t)256 * 1024)
#define ROOM_FDS 128U

union control {
    struct cmsghdr align;
    char room[CMSG_SPACE(TAKEOVER_FDS_AT_ONCE * sizeof(int))];
};

void takeover_link_init(struct takeover_link *l, int fd)
{
    *l = (struct takeover_link){.fd = fd};
    l->out = BUF_INIT(64 * TAKEOVER_RECORD_MAX_BYTES);
    l->in = BUF_INIT(TAKEOVER_RECORD_MAX_BYTES + 2 * CHUNK_BYTES);
    loop_io_init(&l->io, fd, NULL);
}

static void close_all(struct takeover_link *l)
{
    for (unsigned i = 0; i < l->n_out_fds; i++) {
        (void)close(l->out_fds[i].fd);
    }
    for (unsigned i = 0; i < l->n_in_fds; i++) {
        (void)close(l->in_fds[i]);
    }
    l->n_out_fds = 0;
    l->n_in_fds = 0;
}

void takeover_link_done(struct takeover_link *l)
{
    if (l->fd < 0) {
        return;
    }
    if (l->loop != NULL) {
        loop_io_stop(l->loop, &l->io);
    }
    close_all(l);
    buf_done_secret(&l->out);
    buf_done_secret(&l->in);
    (void)close(l->fd);
    l->fd = -1;
    l->is_broken = true;
}

bool takeover_link_watch(struct takeover_link *l, struct loop *loop, loop_io_fn fn)
{
    int flags = fcntl(l->fd, F_GETFL);

    if (flags < 0 || fcntl(l->fd, F_SETFL, flags | O_NONBLOCK) != 0) {
        return false;
    }
    l->loop = loop;
    loop_io_init(&l->io, l->fd, fn);
    loop_io_want(loop, &l->io, LOOP_READ);
    loop_io_again(loop, &l->io); /* something may have been received already */
    return true;
}

/* --- sending --- */

bool takeover_link_has_room(const struct takeover_link *l)
{
    return l->out.len - l->out_sent < ROOM_BYTES && l->n_out_fds < ROOM_FDS;
}

static bool queue_fd(struct takeover_link *l, int fd)
{
    int copy = l->n_out_fds < TAKEOVER_FDS_MAX ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;

    if (copy < 0) {
        return false;
    }
    l->out_fds[l->n_out_fds++] = (struct takeover_fd){.at = l->out.len, .fd = copy};
    return true;
}

void takeover_link_send(struct takeover_link *l, const struct takeover_msg *m, int fd)
{
    if (l->is_broken) {
        return;
    }
    if (fd >= 0 && !queue_fd(l, fd)) {
        l->is_broken = true;
        return;
    }
    takeover_put(&l->out, m);
    l->is_broken = !buf_ok(&l->out);
    if (!l->is_broken && (l->loop == NULL || l->out.len - l->out_sent >= CHUNK_BYTES)) {
        takeover_link_flush(l);
    } else if (l->loop != NULL) {
        loop_io_want(l->loop, &l->io, LOOP_READ | LOOP_WRITE);
    }
}

/* Puts those that belong to the next @len bytes into @msg; fewer bytes when they are too many. */
static size_t add_fds(const struct takeover_link *l, struct msghdr *msg, union control *control,
                      size_t len)
{
    int fds[TAKEOVER_FDS_AT_ONCE];
    struct cmsghdr *c = &control->align;
    unsigned n = 0;

    while (n < l->n_out_fds && l->out_fds[n].at < l->out_sent + len) {
        if (n == TAKEOVER_FDS_AT_ONCE) {
            len = l->out_fds[n].at - l->out_sent;
            break;
        }
        fds[n] = l->out_fds[n].fd;
        n++;
    }
    if (n > 0) {
        msg->msg_control = control->room;
        msg->msg_controllen = CMSG_SPACE(n * sizeof(int));
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    }
    return len;
}

/* @n bytes have gone, and with the first of them all descriptors among @len. */
static void sent(struct takeover_link *l, size_t n, size_t len)
{
    unsigned gone = 0;

    while (gone < l->n_out_fds && l->out_fds[gone].at < l->out_sent + len) {
        (void)close(l->out_fds[gone].fd);
        gone++;
    }
    l->n_out_fds -= gone;
    memmove(l->out_fds, l->out_fds + gone, l->n_out_fds * sizeof(l->out_fds[0]));
    explicit_bzero(l->out.data + l->out_sent, n);
    l->out_sent += n;
    if (l->out_sent == l->out.len) {
        buf_clear(&l->out);
        l->out_sent = 0;
    }
}

/* false: not now, or never. */
static bool send_some(struct takeover_link *l)
{
    union control control = {.room = {0}};
    struct iovec iov = {.iov_base = l->out.data + l->out_sent};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    iov.iov_len = add_fds(l, &msg, &control, MIN(l->out.len - l->out_sent, CHUNK_BYTES));
    n = sendmsg(l->fd, &msg, MSG_NOSIGNAL);
    if (n > 0) {
        sent(l, (size_t)n, iov.iov_len);
        return true;
    }
    if (errno == EINTR) {
        return true;
    }
    /* Too many descriptors on their way: when the peer has read some. */
    if (errno != EAGAIN && errno != ETOOMANYREFS) {
        l->is_broken = true;
    }
    return false;
}

void takeover_link_flush(struct takeover_link *l)
{
    while (!l->is_broken && l->out.len > l->out_sent) {
        if (!send_some(l)) {
            break;
        }
    }
    if (l->loop != NULL && l->fd >= 0) {
        bool more = !l->is_broken && l->out.len > l->out_sent;

        loop_io_want(l->loop, &l->io, more ? LOOP_READ | LOOP_WRITE : LOOP_READ);
    }
}

/* --- receiving --- */

static bool keep_fds(struct takeover_link *l, struct msghdr *msg)
{
    bool ok = (msg->msg_flags & MSG_CTRUNC) == 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (l->n_in_fds == TAKEOVER_FDS_MAX) {
                (void)close(fd);
                ok = false;
            } else {
                l->in_fds[l->n_in_fds++] = fd;
            }
        }
    }
    return ok;
}

static void forget_taken(struct takeover_link *l)
{
    if (l->in_taken > 0) {
        explicit_bzero(l->in.data, l->in_taken);
        buf_consume(&l->in, l->in_taken);
        l->in_taken = 0;
    }
}

ssize_t takeover_link_receive(struct takeover_link *l)
{
    union control control = {.room = {0}};
    struct iovec iov = {.iov_len = CHUNK_BYTES};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.room,
                         .msg_controllen = sizeof(control.room)};
    ssize_t n;

    forget_taken(l);
    iov.iov_base = buf_reserve(&l->in, CHUNK_BYTES);
    if (iov.iov_base == NULL) {
        return -ENOMEM;
    }
    do {
        n = recvmsg(l->fd, &msg, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return -errno;
    }
    if (!keep_fds(l, &msg)) {
        return -EPROTO;
    }
    buf_commit(&l->in, (size_t)n);
    return n;
}

enum takeover_take takeover_link_frame(struct takeover_link *l, uint8_t *ret_type,
                                       struct takeover_bytes *ret_body)
{
    const uint8_t *p = l->in.data + l->in_taken;
    size_t left = l->in.len - l->in_taken;
    size_t len;

    if (left < HEADER_BYTES) {
        return TAKEOVER_NOTHING;
    }
    len = wire_load_u32(p + 1);
    if (len < 4 || len > TAKEOVER_RECORD_MAX_BYTES) {
        return TAKEOVER_GARBAGE;
    }
    if (left - 1 < len) {
        return TAKEOVER_NOTHING;
    }
    *ret_type = *p;
    *ret_body = (struct takeover_bytes){p + HEADER_BYTES, len - 4};
    l->in_taken += len + 1;
    return TAKEOVER_TOOK;
}

enum takeover_take takeover_link_take(struct takeover_link *l, struct takeover_msg *ret,
                                      int *ret_fd)
{
    struct takeover_bytes body;
    uint8_t type;
    enum takeover_take r = takeover_link_frame(l, &type, &body);

    if (r != TAKEOVER_TOOK) {
        return r;
    }
    *ret_fd = -1;
    if (!takeover_parse(type, body.data, body.len, ret)) {
        return TAKEOVER_GARBAGE;
    }
    if (takeover_has_fd(type)) {
        if (l->n_in_fds == 0) {
            return TAKEOVER_GARBAGE;
        }
        *ret_fd = l->in_fds[0];
        l->n_in_fds--;
        memmove(l->in_fds, l->in_fds + 1, l->n_in_fds * sizeof(l->in_fds[0]));
    }
    return TAKEOVER_TOOK;
}
