/* SPDX-License-Identifier: ISC */
/* A fake server for tests of what connects: a child process that takes connections one after the
 * other, reports the first packet of each through a pipe and then does what its script says. */
#ifndef PGPOOLD_TESTS_UNIT_FAKE_BACKEND_H
#define PGPOOLD_TESTS_UNIT_FAKE_BACKEND_H

#include "daemon/util/buf.h"
#include "pool/backend_connect.h"
#include "protocol/error_msg.h"
#include "protocol/wire.h"
#include "tests/unit/certs.h"

#include <setjmp.h>
#include <stdarg.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#define TIMEOUT_US (60 * USEC_PER_SEC) /* nobody waits that long */
#define REPORT_MS 60000
#define REPORT_BYTES 4096

enum act {
    ACT_AUTH,        /* AuthenticationOk, then waits for the peer to close */
    ACT_NEGOTIATE,   /* NegotiateProtocolVersion */
    ACT_ERROR,       /* 28000 and close */
    ACT_ERROR_DRIPS, /* the same, byte by byte */
    ACT_ERROR_HUGE,
    ACT_STARTING, /* 57P03 and close */
    ACT_CLOSE,
    ACT_GARBAGE,
    ACT_SILENT,
    ACT_SILENT_TLS, /* not even an answer to the SSLRequest */
    ACT_ERROR_TLS,  /* an ErrorResponse to the SSLRequest */
};

static struct certs *certs;       /* made in main() */
static bool asks_for_certificate; /* the next fake server does */

struct fake {
    pid_t pid;
    int report_fd;
    unsigned port;
    char dir[32]; /* of the Unix socket; "": TCP */
};

struct report {
    bool tls;
    uint32_t len;
    uint8_t packet[REPORT_BYTES];
};

struct end {
    int fd;
    struct tls *tls;
};

static inline bool get(struct end *e, void *buf, size_t len)
{
    uint8_t *at = buf;

    while (len > 0) {
        size_t n = 0;

        if (e->tls != NULL) {
            if (tls_read(e->tls, at, len, &n) != TLS_DONE) {
                return false;
            }
        } else {
            ssize_t got = read(e->fd, at, len);

            if (got <= 0) {
                return false;
            }
            n = (size_t)got;
        }
        at += n;
        len -= n;
    }
    return true;
}

static inline void put(struct end *e, const void *data, size_t len)
{
    size_t n;

    if (e->tls != NULL) {
        (void)!tls_write(e->tls, data, len, &n);
    } else {
        (void)!write(e->fd, data, len);
    }
}

static inline void put_error(struct end *e, const char *sqlstate, const char *message, bool drips)
{
    struct buf b = BUF_INIT(100000);

    error_msg_put_text(&b, 'E', "FATAL", sqlstate, message, "some detail", NULL);
    for (size_t i = 0; drips && i < b.len; i++) {
        put(e, b.data + i, 1);
        usleep(1000);
    }
    if (!drips) {
        put(e, b.data, b.len);
    }
    buf_done(&b);
}

static inline void play(struct end *e, enum act act)
{
    static const uint8_t auth_ok[] = {'R', 0, 0, 0, 8, 0, 0, 0, 0};
    static const uint8_t negotiate[] = {'v', 0, 0, 0, 12, 0, 3, 0, 0, 0, 0, 0, 0};
    char huge[9000];
    uint8_t byte;

    switch (act) {
    case ACT_AUTH:
        put(e, auth_ok, sizeof(auth_ok));
        break;
    case ACT_NEGOTIATE:
        put(e, negotiate, sizeof(negotiate));
        break;
    case ACT_ERROR:
    case ACT_ERROR_DRIPS:
        put_error(e, "28000", "go away", act == ACT_ERROR_DRIPS);
        return;
    case ACT_ERROR_HUGE:
        memset(huge, 'x', sizeof(huge));
        huge[sizeof(huge) - 1] = '\0';
        put_error(e, "28000", huge, false);
        return;
    case ACT_STARTING:
        put_error(e, "57P03", "starting up", false);
        return;
    case ACT_CLOSE:
        return;
    case ACT_GARBAGE:
        put(e, "HTTP/1.0 400 Bad Request\r\n\r\n", 28);
        return;
    case ACT_SILENT:
    case ACT_SILENT_TLS:
    case ACT_ERROR_TLS:
        break;
    }
    while (get(e, &byte, 1)) { /* until the peer closes */
    }
}

static inline void serve(int fd, enum act act, struct tls_context *ctx, int report_fd)
{
    struct end e = {.fd = fd};
    struct report report = {.tls = false};
    uint8_t head[8];

    if (!get(&e, head, 8)) {
        return;
    }
    if (wire_load_u32(head + 4) == 80877103) { /* SSLRequest */
        if (act == ACT_SILENT_TLS) {
            play(&e, ACT_SILENT);
            return;
        }
        if (act == ACT_ERROR_TLS) {
            put_error(&e, "53000", "no more processes", false);
            return;
        }
        put(&e, ctx != NULL ? "S" : "N", 1);
        if (ctx != NULL) {
            e.tls = tls_accept_new(ctx, fd, TLS_AFTER_SSLREQUEST, NULL, 0);
            if (tls_handshake(e.tls) != TLS_DONE) {
                tls_free(e.tls);
                return;
            }
            report.tls = true;
        }
        if (!get(&e, head, 8)) {
            tls_free(e.tls);
            return;
        }
    }
    report.len = wire_load_u32(head);
    if (report.len < sizeof(report.packet)) {
        memcpy(report.packet, head, 8);
        if (get(&e, report.packet + 8, report.len - 8)) {
            (void)!write(report_fd, &report, sizeof(report));
        }
    }
    /* a CancelRequest is read and answered by closing */
    if (wire_load_u32(head + 4) != 80877102 || act == ACT_SILENT) {
        play(&e, act);
    }
    tls_free(e.tls);
}

static inline int listen_somewhere(struct fake *f, bool unix_socket)
{
    int fd = socket(unix_socket ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(in);

    if (unix_socket) {
        (void)snprintf(f->dir, sizeof(f->dir), "/tmp/pgpoold-unix-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        f->port = 5432;
        (void)snprintf(un.sun_path, sizeof(un.sun_path), "%s/.s.PGSQL.5432", f->dir);
        assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    } else {
        assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
        f->port = ntohs(in.sin_port);
    }
    assert_int_equal(listen(fd, 10), 0);
    return fd;
}

/* @acts: one for each connection, the last one for all that follow. */
static inline void fake_start(struct fake *f, const enum act *acts, unsigned n_acts, bool with_tls,
                              bool unix_socket)
{
    int pipe_fds[2];
    int fd;

    memset(f, 0, sizeof(*f));
    fd = listen_somewhere(f, unix_socket);
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    f->pid = fork();
    assert_true(f->pid >= 0);
    if (f->pid == 0) {
        struct tls_settings s = {.key_file = certs->server_key, .cert_file = certs->server_cert};
        struct tls_error err;
        struct tls_context *ctx;

        if (asks_for_certificate) {
            s.sslmode = TLS_VERIFY_CA;
            s.ca_file = certs->ca_cert;
        }
        ctx = with_tls ? tls_context_new(&s, &err) : NULL;

        alarm(300);
        close(pipe_fds[0]);
        for (unsigned i = 0;; i++) {
            int peer = accept(fd, NULL, NULL);

            serve(peer, acts[MIN(i, n_acts - 1)], ctx, pipe_fds[1]);
            close(peer);
        }
    }
    close(fd);
    close(pipe_fds[1]);
    f->report_fd = pipe_fds[0];
}

static inline void fake_stop(struct fake *f)
{
    char path[64];

    kill(f->pid, SIGKILL);
    waitpid(f->pid, NULL, 0);
    close(f->report_fd);
    if (f->dir[0] != '\0') {
        (void)snprintf(path, sizeof(path), "%s/.s.PGSQL.5432", f->dir);
        unlink(path);
        rmdir(f->dir);
    }
}

/* The first packet of the next connection; false: none within @ms. */
static inline bool fake_report(struct fake *f, struct report *ret, int ms)
{
    struct pollfd p = {.fd = f->report_fd, .events = POLLIN};

    return poll(&p, 1, ms) == 1 && read(f->report_fd, ret, sizeof(*ret)) == (ssize_t)sizeof(*ret);
}

static inline struct backend_connect_params params(const struct fake *f)
{
    struct backend_connect_params p = {.host = f->dir[0] != '\0' ? f->dir : "db.test",
                                       .hostaddr = f->dir[0] != '\0' ? NULL : "127.0.0.1",
                                       .port = f->port,
                                       .user = "app",
                                       .dbname = "shop",
                                       .sslmode = TLS_DISABLE,
                                       .tcp_keepalive = true,
                                       .timeout_us = TIMEOUT_US};

    return p;
}

static inline unsigned count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(dir) != NULL) {
        n++;
    }
    closedir(dir);
    return n;
}

#endif
