/* SPDX-License-Identifier: ISC */
/* Before the loop runs: the login to the old process's console, and what it offers. */
#include "daemon/takeover_internal.h"

#include "daemon/listener.h"
#include "daemon/version.h"
#include "protocol/error_msg.h"

#include <errno.h>
#include <pwd.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* For each answer of the old process. */
#define ANSWER_SECONDS 15

/* --- the socket --- */

static bool make_address(const struct settings *set, struct sockaddr_un *ret, socklen_t *ret_len)
{
    bool is_abstract = set->unix_socket_dir[0] == '@';
    int n;

    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    n = snprintf(ret->sun_path + is_abstract, sizeof(ret->sun_path) - is_abstract, "%s/.s.PGSQL.%d",
                 set->unix_socket_dir + is_abstract, set->listen_port);
    *ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n + 1);
    return *set->unix_socket_dir != '\0' && n > 0 && *ret_len <= sizeof(*ret);
}

/* As root: whom the old process is to see, and who it has to be. */
static uid_t target_uid(const struct settings *set)
{
    const struct passwd *pw = geteuid() == 0 && *set->user != '\0' ? getpwnam(set->user) : NULL;

    return pw != NULL ? pw->pw_uid : geteuid();
}

/* -1: errno. The peer sees the user whom we will be. */
static int connect_as(uid_t uid, const struct sockaddr_un *addr, socklen_t len)
{
    struct timeval patience = {.tv_sec = ANSWER_SECONDS};
    uid_t own = geteuid();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r;
    int why;

    if (fd < 0) {
        return -1;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (uid != own && seteuid(uid) != 0) {
        (void)close(fd);
        return -1;
    }
    r = connect(fd, (const struct sockaddr *)(const void *)addr, len);
    why = errno;
    if (uid != own && seteuid(own) != 0) {
        r = -1; /* not to be explained: it was ours a moment ago */
    }
    if (r != 0) {
        (void)close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

static bool check_peer(struct takeover *t, int fd, uid_t uid, struct config_errors *errors)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0 || cred.uid != uid) {
        config_errors_add(errors, NULL, 0,
                          "-R: the process at the Unix socket is not of the same user");
        return false;
    }
    t->peer = cred.pid;
    t->peer_fd =
        (int)syscall(SYS_pidfd_open, cred.pid, 0); /* -1: then its death is not noticed as such */
    return true;
}

/* --- the login --- */

static bool send_login(int fd)
{
    struct buf b = BUF_INIT(1024);
    bool ok;

    wire_put_u32(&b, 0); /* the length, below */
    wire_put_u32(&b, PROTOCOL_3_0);
    wire_put_cstr(&b, "user");
    wire_put_cstr(&b, "pgpoold");
    wire_put_cstr(&b, "database");
    wire_put_cstr(&b, "pgpoold");
    wire_put_u8(&b, 0);
    if (buf_ok(&b)) {
        wire_store_u32(b.data, num_u32(b.len));
    }
    ok = buf_ok(&b) && send(fd, b.data, b.len, MSG_NOSIGNAL) == (ssize_t)b.len;
    buf_done(&b);
    return ok;
}

static bool send_command(int fd)
{
    struct buf b = BUF_INIT(256);
    size_t start = wire_begin(&b, 'Q');
    bool ok;

    wire_put_cstr(&b, "TAKEOVER 1"); /* TAKEOVER_PROTOCOL */
    wire_end(&b, start);
    ok = buf_ok(&b) && send(fd, b.data, b.len, MSG_NOSIGNAL) == (ssize_t)b.len;
    buf_done(&b);
    return ok;
}

static void say_lost(ssize_t n, struct config_errors *errors)
{
    config_errors_add(errors, NULL, 0, "-R: the old process %s",
                      n == 0         ? "closed the connection"
                      : n == -EAGAIN ? "does not answer"
                                     : "cannot be read from");
}

static bool refuse_garbage(struct config_errors *errors)
{
    config_errors_add(errors, NULL, 0, "-R: the old process sends garbage");
    return false;
}

/* Waits for more from the old process. */
static bool receive_more(struct takeover *t, struct config_errors *errors)
{
    ssize_t n = takeover_link_receive(&t->link);

    if (n <= 0) {
        say_lost(n, errors);
    }
    return n > 0;
}

/* Reads until there is a whole frame. */
static bool next_frame(struct takeover *t, uint8_t *ret_type, struct takeover_bytes *ret_body,
                       struct config_errors *errors)
{
    for (;;) {
        switch (takeover_link_frame(&t->link, ret_type, ret_body)) {
        case TAKEOVER_TOOK:
            return true;
        case TAKEOVER_GARBAGE:
            return refuse_garbage(errors);
        case TAKEOVER_NOTHING:
            break;
        }
        if (!receive_more(t, errors)) {
            return false;
        }
    }
}

/* The answers of the console, up to one of type @last. */
static bool read_until(struct takeover *t, uint8_t last, struct config_errors *errors)
{
    struct takeover_bytes body;
    uint8_t type = 0;

    while (type != last) {
        struct pg_error e;

        if (!next_frame(t, &type, &body, errors)) {
            return false;
        }
        if (type == 'E') {
            config_errors_add(errors, NULL, 0, "-R: process %d does not hand over: %s",
                              (int)t->peer,
                              error_msg_parse(body.data, body.len, &e) ? e.message : "no reason");
            return false;
        }
        if (type == 'R' && (body.len != 4 || wire_load_u32(body.data) != 0)) {
            config_errors_add(errors, NULL, 0, "-R: process %d wants a password", (int)t->peer);
            return false;
        }
    }
    return true;
}

static bool log_in(struct takeover *t, struct config_errors *errors)
{
    if (!send_login(t->link.fd)) {
        say_lost(0, errors);
        return false;
    }
    if (!read_until(t, 'Z', errors)) {
        return false;
    }
    if (!send_command(t->link.fd)) {
        say_lost(0, errors);
        return false;
    }
    return read_until(t, 'C', errors);
}

/* --- the offer --- */

static bool take_hello(struct takeover *t, const struct takeover_hello *h,
                       struct config_errors *errors)
{
    if (h->protocol != TAKEOVER_PROTOCOL) {
        config_errors_add(errors, NULL, 0, "-R: process %d is %.60s, whose state we cannot read",
                          (int)t->peer, h->version);
        return false;
    }
    t->next_id = h->next_id;
    t->version_seed = h->version_seed;
    t->n_slots = h->n_slots;
    t->watchdog_us = h->watchdog_us;
    memcpy(t->process_key, h->process_key.data, sizeof(t->process_key));
    return true;
}

static bool take_pidfile(struct takeover *t, const char *path, int fd)
{
    if (t->pidfile_fd >= 0) {
        (void)close(fd);
        return false;
    }
    t->pidfile_fd = fd;
    t->pidfile_path = strdup(path);
    return t->pidfile_path != NULL;
}

/* false: the offer cannot be taken. */
static bool take_offer(struct takeover *t, int fd, struct list *listeners,
                       struct config_errors *errors)
{
    const struct takeover_msg *m = &t->msg;

    switch (m->type) {
    case TAKEOVER_HELLO:
        return take_hello(t, &m->u.hello, errors);
    case TAKEOVER_LISTENER:
        t->n_listeners++;
        return listeners_inherit(listeners, fd, m->u.listener.is_inherited, errors);
    case TAKEOVER_PIDFILE:
        return take_pidfile(t, m->u.text, fd);
    case TAKEOVER_OFFERED:
        return true;
    default:
        if (fd >= 0) {
            (void)close(fd);
        }
        config_errors_add(errors, NULL, 0, "-R: the old process says things out of order");
        return false;
    }
}

static bool read_offer(struct takeover *t, struct list *listeners, struct config_errors *errors)
{
    t->msg.type = TAKEOVER_HELLO;
    while (t->msg.type != TAKEOVER_OFFERED) {
        int fd = -1;

        switch (takeover_link_take(&t->link, &t->msg, &fd)) {
        case TAKEOVER_TOOK:
            if (!take_offer(t, fd, listeners, errors)) {
                return false;
            }
            continue;
        case TAKEOVER_GARBAGE:
            return refuse_garbage(errors);
        case TAKEOVER_NOTHING:
            break;
        }
        if (!receive_more(t, errors)) {
            return false;
        }
    }
    return true;
}

static struct takeover *takeover_new(int fd)
{
    struct takeover *t = calloc(1, sizeof(*t));

    if (t == NULL) {
        (void)close(fd);
        return NULL;
    }
    takeover_link_init(&t->link, fd);
    t->peer_fd = -1;
    t->pidfile_fd = -1;
    t->seq = 1;
    list_init(&t->backends);
    list_init(&t->hubs);
    list_init(&t->proxies);
    list_init(&t->gaps);
    return t;
}

enum takeover_begin takeover_begin(const struct settings *set, struct list *listeners,
                                   struct takeover **ret, struct config_errors *errors)
{
    uid_t uid = target_uid(set);
    struct takeover *t;
    struct sockaddr_un addr;
    socklen_t len;
    int fd;

    if (!make_address(set, &addr, &len)) {
        config_errors_add(errors, NULL, 0,
                          "-R: needs the Unix socket of the old process: set unix_socket_dir");
        return TAKEOVER_FAILED;
    }
    fd = connect_as(uid, &addr, len);
    if (fd < 0 && (errno == ENOENT || errno == ECONNREFUSED)) {
        return TAKEOVER_NOBODY;
    }
    t = fd < 0 ? NULL : takeover_new(fd);
    if (t == NULL) {
        config_errors_add(errors, NULL, 0, "-R: cannot connect to the old process: %s",
                          strerror(fd < 0 ? errno : ENOMEM));
        return TAKEOVER_FAILED;
    }
    if (!check_peer(t, fd, uid, errors) || !log_in(t, errors) ||
        !read_offer(t, listeners, errors)) {
        listeners_close(listeners);
        takeover_free(t);
        return TAKEOVER_FAILED;
    }
    *ret = t;
    return TAKEOVER_OFFER;
}

bool takeover_pidfile(struct takeover *t, const char *path, struct pidfile *ret)
{
    char *real = realpath(path, NULL);
    bool is_same = real != NULL && t->pidfile_path != NULL && strcmp(real, t->pidfile_path) == 0;

    if (is_same) {
        *ret = (struct pidfile){.path = real, .fd = t->pidfile_fd, .is_left = true};
        t->pidfile_fd = -1;
        return true;
    }
    free(real);
    return false;
}
