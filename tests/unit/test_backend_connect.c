/* SPDX-License-Identifier: ISC */
/* Opening and cancelling against a fake server: a child process that takes connections one after
 * the other, reports the first packet of each through a pipe and then does what its script says. */
#include "pool/backend_connect.h"

#include "daemon/util/buf.h"
#include "daemon/util/loop.h"
#include "pool/server_cancel.h"
#include "protocol/error_msg.h"
#include "protocol/startup.h"
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

#define TIMEOUT_US (5 * USEC_PER_SEC)
#define SHORT_US (100 * USEC_PER_MSEC)
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

static struct certs *certs;
static struct loop *loop;
static bool asks_for_certificate; /* the next fake server does */

/* -- the fake server -- */

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

static bool get(struct end *e, void *buf, size_t len)
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

static void put(struct end *e, const void *data, size_t len)
{
    size_t n;

    if (e->tls != NULL) {
        (void)!tls_write(e->tls, data, len, &n);
    } else {
        (void)!write(e->fd, data, len);
    }
}

static void put_error(struct end *e, const char *sqlstate, const char *message, bool drips)
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

static void play(struct end *e, enum act act)
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

static void serve(int fd, enum act act, struct tls_context *ctx, int report_fd)
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

static int listen_somewhere(struct fake *f, bool unix_socket)
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
static void fake_start(struct fake *f, const enum act *acts, unsigned n_acts, bool with_tls,
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

        alarm(30);
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

static void fake_stop(struct fake *f)
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
static bool fake_report(struct fake *f, struct report *ret, int ms)
{
    struct pollfd p = {.fd = f->report_fd, .events = POLLIN};

    return poll(&p, 1, ms) == 1 && read(f->report_fd, ret, sizeof(*ret)) == (ssize_t)sizeof(*ret);
}

/* -- attempts -- */

struct outcome {
    bool done;
    struct backend_connect_result r;
    char error[2048];
    struct pg_error server_error;
};

static void on_done(struct backend_connect *c, void *owner, const struct backend_connect_result *r)
{
    struct outcome *o = owner;

    assert_false(o->done);
    o->done = true;
    o->r = *r;
    (void)snprintf(o->error, sizeof(o->error), "%s", r->error);
    if (r->server_error != NULL) {
        o->server_error = *r->server_error;
    }
    assert_string_equal(backend_connect_state_name(c), "ended");
    backend_connect_free(c);
    loop_stop(loop);
}

static void attempt(const struct backend_connect_params *p, struct outcome *ret)
{
    struct backend_connect *c;

    memset(ret, 0, sizeof(*ret));
    c = backend_connect_new(loop, p, on_done, ret);
    assert_non_null(c);
    assert_false(ret->done);
    loop_run(loop);
    assert_true(ret->done);
}

static void outcome_close(struct outcome *o)
{
    tls_free(o->r.tls);
    if (o->r.fd >= 0) {
        close(o->r.fd);
    }
}

static struct backend_connect_params params(const struct fake *f)
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

static unsigned count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(dir) != NULL) {
        n++;
    }
    closedir(dir);
    return n;
}

/* What the server sends next is still unread. */
static char first_byte(const struct outcome *o)
{
    struct pollfd p = {.fd = o->r.fd, .events = POLLIN};
    char byte = '?';
    size_t n;

    if (o->r.tls == NULL) {
        assert_int_equal(poll(&p, 1, 2000), 1);
        assert_int_equal(read(o->r.fd, &byte, 1), 1);
    } else {
        assert_true(tls_pending(o->r.tls)); /* the loop would not tell */
        assert_int_equal(tls_read(o->r.tls, &byte, 1, &n), TLS_DONE);
    }
    return byte;
}

static const struct {
    const char *name;
    enum act act;
    enum act then; /* what the second connection gets */
    enum tls_sslmode sslmode;
    bool server_tls;
    bool unix_socket;
    bool is_short; /* the time to wait */
    enum backend_connect_status status;
    bool tls;
    char first;
    const char *error;
} cases[] = {
    {"plain", .first = 'R'},
    {"newer protocol", ACT_NEGOTIATE, .first = 'v'},
    {"unix", ACT_AUTH, 0, TLS_PREFER, true, true, .first = 'R'},
    {"require", ACT_AUTH, 0, TLS_REQUIRE, true, .tls = true, .first = 'R'},
    {"verify-full", ACT_AUTH, 0, TLS_VERIFY_FULL, true, .tls = true, .first = 'R'},
    {"prefer, refused", ACT_AUTH, 0, TLS_PREFER, .first = 'R'},
    {"require, refused", ACT_AUTH, 0, TLS_REQUIRE, .status = BACKEND_CONNECT_FAILED,
     .error = "does not support SSL"},
    {"prefer, error, then plain", ACT_ERROR, ACT_AUTH, TLS_PREFER, true, .first = 'R'},
    {"error", ACT_ERROR, .status = BACKEND_CONNECT_REFUSED, .error = "FATAL: go away"},
    {"error over TLS", ACT_ERROR, 0, TLS_REQUIRE, true, .status = BACKEND_CONNECT_REFUSED,
     .error = "FATAL: go away"},
    {"error, byte by byte", ACT_ERROR_DRIPS, .status = BACKEND_CONNECT_REFUSED,
     .error = "FATAL: go away"},
    {"huge error", ACT_ERROR_HUGE, .status = BACKEND_CONNECT_FAILED, .error = "xxxxxxx"},
    {"error to SSLRequest", ACT_ERROR_TLS, 0, TLS_REQUIRE, true, .status = BACKEND_CONNECT_FAILED,
     .error = "SSL"},
    {"closed", ACT_CLOSE, .status = BACKEND_CONNECT_FAILED,
     .error = "closed the connection unexpectedly"},
    {"closed after TLS", ACT_CLOSE, 0, TLS_REQUIRE, true, .status = BACKEND_CONNECT_FAILED,
     .error = "EOF"},
    {"garbage", ACT_GARBAGE, .status = BACKEND_CONNECT_FAILED,
     .error = "expected authentication request"},
    {"silent", ACT_SILENT, .is_short = true, .status = BACKEND_CONNECT_TIMEOUT,
     .error = "timed out while waiting for the server"},
    {"silent at SSLRequest", ACT_SILENT_TLS, 0, TLS_REQUIRE, true, .is_short = true,
     .status = BACKEND_CONNECT_TIMEOUT, .error = "timed out while connecting"},
};

static void test_attempts(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct backend_connect_params p;
        struct fake f;
        struct outcome o;
        unsigned n_fds;

        fake_start(&f, (enum act[]){cases[i].act, cases[i].then}, 2, cases[i].server_tls,
                   cases[i].unix_socket);
        n_fds = count_fds();
        p = params(&f);
        p.sslmode = cases[i].sslmode;
        p.timeout_us = cases[i].is_short ? SHORT_US : TIMEOUT_US;
        p.sslrootcert = certs->ca_cert;
        attempt(&p, &o);
        if (o.r.status != cases[i].status ||
            (cases[i].error != NULL && strstr(o.error, cases[i].error) == NULL)) {
            fail_msg("%s: status %d, \"%s\"", cases[i].name, o.r.status, o.error);
        }
        assert_null(strchr(o.error, '\n'));
        if (o.r.status == BACKEND_CONNECT_OK) {
            assert_int_equal(o.r.tls != NULL, cases[i].tls);
            assert_true((fcntl(o.r.fd, F_GETFL) & O_NONBLOCK) != 0);
            assert_true((fcntl(o.r.fd, F_GETFD) & FD_CLOEXEC) != 0);
            assert_int_equal(count_fds(), n_fds + 1);
            assert_int_equal(first_byte(&o), cases[i].first);
        } else {
            assert_int_equal(o.r.fd, -1);
            assert_null(o.r.tls);
        }
        if (o.r.status == BACKEND_CONNECT_REFUSED) {
            assert_string_equal(o.server_error.sqlstate, "28000");
            assert_string_equal(o.server_error.message, "go away");
            assert_string_equal(o.server_error.detail, "some detail");
        }
        outcome_close(&o);
        assert_int_equal(count_fds(), n_fds);
        fake_stop(&f);
    }
}

static void test_addresses(void **state)
{
    static const enum act auth[] = {ACT_AUTH};
    struct backend_connect_params p;
    struct outcome o;
    struct fake f;

    (void)state;
    fake_start(&f, auth, 1, false, false);
    p = params(&f);
    attempt(&p, &o);
    assert_int_equal(o.r.peer.family, AF_INET);
    assert_string_equal(o.r.peer.text, "127.0.0.1");
    assert_int_equal(o.r.peer.port, f.port);
    assert_string_equal(o.r.local.text, "127.0.0.1");
    assert_true(o.r.local.port != 0);
    outcome_close(&o);
    fake_stop(&f);

    fake_start(&f, auth, 1, false, true);
    p = params(&f);
    attempt(&p, &o);
    assert_int_equal(o.r.peer.family, AF_UNIX);
    assert_non_null(strstr(o.r.peer.text, "/.s.PGSQL.5432"));
    assert_int_equal(o.r.peer.port, 0);
    assert_string_equal(o.r.local.text, "unix");
    outcome_close(&o);
    fake_stop(&f);
}

/* libpq re-opens the same descriptor number for the next host: nothing may hang, nothing may
 * leak. */
static void test_next_host(void **state)
{
    static const enum act starting_then_auth[] = {ACT_STARTING, ACT_AUTH};
    struct backend_connect_params p;
    struct outcome o;
    struct fake f;

    (void)state;
    fake_start(&f, starting_then_auth, 2, true, false);
    p = params(&f);
    p.host = "db.test,db.test";
    p.hostaddr = "127.0.0.2,127.0.0.1"; /* nobody listens on the first */
    attempt(&p, &o);
    assert_int_equal(o.r.status, BACKEND_CONNECT_REFUSED);
    assert_string_equal(o.server_error.sqlstate, "57P03");
    outcome_close(&o);
    fake_stop(&f);

    for (unsigned tls = 0; tls < 2; tls++) {
        fake_start(&f, starting_then_auth, 2, true, false);
        p.port = f.port;
        p.hostaddr = "127.0.0.1,127.0.0.1";
        p.sslmode = tls != 0 ? TLS_REQUIRE : TLS_DISABLE;
        attempt(&p, &o);
        assert_int_equal(o.r.status, BACKEND_CONNECT_OK);
        assert_null(o.r.server_error);
        assert_int_equal(first_byte(&o), 'R');
        outcome_close(&o);
        fake_stop(&f);
    }
}

static void test_startup_message(void **state)
{
    static const enum act auth[] = {ACT_AUTH};
    static const struct backend_startup_param extra[] = {{"datestyle", "SQL, DMY"},
                                                         {"my.text", "a\\b  c"}};
    static const struct {
        const char *name;
        const char *value;
    } expected[] = {
        {"user", "app"},
        {"database", "shop"},
        {"replication", "database"},
        {"application_name", "test's app"},
        {"client_encoding", "LATIN1"},
        {"options", "-c geqo=off -c datestyle=SQL,\\ DMY -c my.text=a\\\\b\\ \\ c"},
    };
    struct backend_connect_params p;
    struct startup startup = {.total = 0};
    struct report report = {.len = 0};
    struct outcome o;
    struct fake f;

    (void)state;
    fake_start(&f, auth, 1, false, false);
    p = params(&f);
    p.replication = "database";
    p.application_name = "test's app";
    p.client_encoding = "LATIN1";
    p.options = "-c geqo=off";
    p.extra = extra;
    p.n_extra = 2;
    attempt(&p, &o);
    assert_true(fake_report(&f, &report, 2000));
    assert_int_equal(startup_parse(report.packet, report.len, &startup), STARTUP_OK);
    for (unsigned i = 0; i < ARRAY_LEN(expected); i++) {
        const char *value = startup_find(&startup, expected[i].name);

        if (value == NULL || strcmp(value, expected[i].value) != 0) {
            fail_msg("%s: \"%s\"", expected[i].name, value);
        }
    }
    assert_int_equal(startup.n_params, ARRAY_LEN(expected));
    outcome_close(&o);
    p = params(&f);
    attempt(&p, &o);
    assert_true(fake_report(&f, &report, 2000));
    assert_int_equal(startup_parse(report.packet, report.len, &startup), STARTUP_OK);
    assert_int_equal(startup.n_params, 2); /* nothing that nobody asked for */
    outcome_close(&o);
    fake_stop(&f);
}

static void test_refusals_before_any_byte(void **state)
{
    struct fake f = {.port = 1};
    struct backend_connect_params p = params(&f);
    struct outcome o;

    (void)state;
    attempt(&p, &o); /* nobody listens */
    assert_int_equal(o.r.status, BACKEND_CONNECT_FAILED);
    assert_non_null(strstr(o.error, "Connection refused"));
    p.hostaddr = NULL;
    attempt(&p, &o);
    assert_string_equal(o.error, "the host name has not been resolved");
    p.host = "127.0.0.1,db.test";
    attempt(&p, &o);
    assert_string_equal(o.error, "the host name has not been resolved");
    p.host = "/nonexistent";
    attempt(&p, &o);
    assert_non_null(strstr(o.error, "No such file or directory"));
    p = params(&f);
    p.sslmode = TLS_VERIFY_CA;
    attempt(&p, &o);
    assert_string_equal(o.error, "no CA file is set, but sslmode asks for verification");
    p.sslrootcert = "/nonexistent";
    p.tls_min = "TLSv9";
    attempt(&p, &o);
    assert_non_null(strstr(o.error, "TLSv9"));
}

static void test_wrong_host_name(void **state)
{
    static const enum act auth[] = {ACT_AUTH};
    struct backend_connect_params p;
    struct report report;
    struct outcome o;
    struct fake f;

    (void)state;
    fake_start(&f, auth, 1, true, false);
    p = params(&f);
    p.sslmode = TLS_VERIFY_FULL;
    p.sslrootcert = certs->ca_cert;
    p.host = "other.test";
    attempt(&p, &o);
    assert_int_equal(o.r.status, BACKEND_CONNECT_FAILED);
    assert_non_null(strstr(o.error, "does not match host name"));
    p.sslmode = TLS_VERIFY_CA; /* does not care about the name */
    attempt(&p, &o);
    assert_int_equal(o.r.status, BACKEND_CONNECT_OK);
    outcome_close(&o);
    p.sslrootcert = certs->client_cert; /* not who signed it */
    attempt(&p, &o);
    assert_int_equal(o.r.status, BACKEND_CONNECT_FAILED);
    assert_non_null(strstr(o.error, "certificate verify failed"));
    assert_true(fake_report(&f, &report, 2000));
    assert_false(fake_report(&f, &report, 50)); /* only one got a StartupMessage */
    fake_stop(&f);
}

static void test_client_certificate(void **state)
{
    static const enum act auth[] = {ACT_AUTH};
    struct backend_connect_params p;
    struct outcome o;
    struct fake f;

    (void)state;
    asks_for_certificate = true;
    fake_start(&f, auth, 1, true, false);
    asks_for_certificate = false;
    p = params(&f);
    p.sslmode = TLS_REQUIRE;
    attempt(&p, &o);
    assert_int_equal(o.r.status, BACKEND_CONNECT_FAILED);
    p.sslcert = certs->client_cert;
    p.sslkey = certs->client_key;
    attempt(&p, &o);
    assert_int_equal(o.r.status, BACKEND_CONNECT_OK);
    assert_int_equal(first_byte(&o), 'R');
    outcome_close(&o);
    fake_stop(&f);
}

static void never(struct backend_connect *c, void *owner, const struct backend_connect_result *r)
{
    (void)c;
    (void)owner;
    (void)r;
    fail_msg("called back after a free");
}

static void stop(struct loop_timer *timer)
{
    (void)timer;
    loop_stop(loop);
}

static void test_freed_under_way(void **state)
{
    static const enum act silent[] = {ACT_SILENT};
    struct backend_connect_params p;
    struct backend_connect *c;
    struct loop_timer timer;
    unsigned n_fds;
    struct fake f;

    (void)state;
    fake_start(&f, silent, 1, true, false);
    loop_timer_init(&timer, stop);
    n_fds = count_fds();
    p = params(&f);
    p.sslmode = TLS_REQUIRE;
    for (unsigned i = 0; i < 2; i++) {
        c = backend_connect_new(loop, &p, never, NULL);
        assert_non_null(c);
        while (i > 0 && strcmp(backend_connect_state_name(c), "waiting for the server") != 0) {
            loop_timer_set(loop, &timer, SHORT_US);
            loop_run(loop);
        }
        assert_null(backend_connect_free(c));
        assert_int_equal(count_fds(), n_fds);
    }
    p.host = "unresolved";
    p.hostaddr = NULL;
    assert_null(backend_connect_free(backend_connect_new(loop, &p, never, NULL)));
    loop_timer_set(loop, &timer, SHORT_US);
    loop_run(loop);
    fake_stop(&f);
}

/* -- cancel -- */

static const char *const cancel_names[] = {"done", "failed", "timeout"};

struct cancel_outcome {
    bool done;
    enum server_cancel_status status;
    char error[512];
};

static void on_cancelled(struct server_cancel *c, void *owner, enum server_cancel_status status,
                         const char *error)
{
    struct cancel_outcome *o = owner;

    o->done = true;
    o->status = status;
    (void)snprintf(o->error, sizeof(o->error), "%s", error);
    server_cancel_free(c);
    loop_stop(loop);
}

static void test_cancel(void **state)
{
    static const struct {
        const char *name;
        enum act act;
        bool server_tls;
        bool unix_socket;
        bool use_tls;
        enum tls_sslmode sslmode;
        size_t key_len;
        bool reaches; /* the request gets there */
        enum server_cancel_status status;
        usec_t timeout_us; /* 0: long */
    } rows[] = {
        {"plain", ACT_CLOSE, false, false, false, TLS_PREFER, 4, true, SERVER_CANCEL_DONE, 0},
        {"plain though the server can TLS", ACT_CLOSE, true, false, false, TLS_PREFER, 4, true,
         SERVER_CANCEL_DONE, 0},
        {"unix", ACT_CLOSE, true, true, false, TLS_REQUIRE, 4, true, SERVER_CANCEL_DONE, 0},
        {"tls", ACT_CLOSE, true, false, true, TLS_PREFER, 4, true, SERVER_CANCEL_DONE, 0},
        {"verified", ACT_CLOSE, true, false, true, TLS_VERIFY_FULL, 4, true, SERVER_CANCEL_DONE, 0},
        {"long key", ACT_CLOSE, true, false, true, TLS_REQUIRE, 256, true, SERVER_CANCEL_DONE, 0},
        {"no more TLS there", ACT_CLOSE, false, false, true, TLS_PREFER, 4, false,
         SERVER_CANCEL_FAILED, 0},
        {"silent", ACT_SILENT, true, false, false, TLS_DISABLE, 4, true, SERVER_CANCEL_TIMEOUT,
         3 * SHORT_US},
        {"silent over TLS", ACT_SILENT, true, false, true, TLS_REQUIRE, 4, true,
         SERVER_CANCEL_TIMEOUT, 15 * SHORT_US}, /* also valgrind gets through the handshake */
        {"silent at SSLRequest", ACT_SILENT_TLS, true, false, true, TLS_REQUIRE, 4, false,
         SERVER_CANCEL_TIMEOUT, SHORT_US},
    };
    uint8_t key[256];

    (void)state;
    for (unsigned i = 0; i < sizeof(key); i++) {
        key[i] = (uint8_t)(255 - i);
    }
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        struct server_cancel_params p = {.use_tls = rows[i].use_tls, .pid = 0x01020304, .key = key};
        struct cancel_outcome o = {.done = false};
        struct startup startup = {.total = 0};
        struct report report;
        unsigned n_fds;
        struct fake f;

        fake_start(&f, &rows[i].act, 1, rows[i].server_tls, rows[i].unix_socket);
        n_fds = count_fds();
        p.connect = params(&f);
        p.connect.sslmode = rows[i].sslmode;
        p.connect.sslrootcert = certs->ca_cert;
        p.connect.timeout_us = rows[i].timeout_us > 0 ? rows[i].timeout_us : TIMEOUT_US;
        p.key_len = rows[i].key_len;
        assert_non_null(server_cancel_new(loop, &p, on_cancelled, &o));
        assert_false(o.done);
        loop_run(loop);
        if (!o.done || o.status != rows[i].status) {
            fail_msg("%s: %s: %s", rows[i].name, cancel_names[o.status], o.error);
        }
        assert_int_equal(count_fds(), n_fds);
        if (fake_report(&f, &report, rows[i].reaches ? 2000 : 50) != rows[i].reaches) {
            fail_msg("%s: request arrived or not", rows[i].name);
        }
        if (rows[i].reaches) {
            assert_int_equal(report.tls, rows[i].use_tls);
            assert_int_equal(startup_parse(report.packet, report.len, &startup), STARTUP_OK);
            assert_int_equal(startup.kind, STARTUP_CANCEL_REQUEST);
            assert_int_equal(startup.cancel_pid, 0x01020304);
            assert_int_equal(startup.cancel_key_len, rows[i].key_len);
            assert_memory_equal(startup.cancel_key, key, rows[i].key_len);
        }
        fake_stop(&f);
    }
}

static void test_cancel_nobody_listens(void **state)
{
    static const uint8_t key[4] = {1, 2, 3, 4};
    struct fake f = {.port = 1};
    struct server_cancel_params p = {.pid = 1, .key = key, .key_len = 4};
    struct cancel_outcome o = {.done = false};

    (void)state;
    p.connect = params(&f);
    assert_non_null(server_cancel_new(loop, &p, on_cancelled, &o));
    loop_run(loop);
    assert_int_equal(o.status, SERVER_CANCEL_FAILED);
    assert_non_null(strstr(o.error, "Connection refused"));
    assert_null(server_cancel_free(server_cancel_new(loop, &p, on_cancelled, &o)));
}

int main(void)
{
    static const char *const variables[] = {"PGUSER", "PGDATABASE",  "PGHOST",          "PGOPTIONS",
                                            "PGTZ",   "PGDATESTYLE", "PGAPPNAME",       "PGSSLMODE",
                                            "PGGEQO", "PGSERVICE",   "PGCLIENTENCODING"};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attempts),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_next_host),
        cmocka_unit_test(test_startup_message),
        cmocka_unit_test(test_refusals_before_any_byte),
        cmocka_unit_test(test_wrong_host_name),
        cmocka_unit_test(test_client_certificate),
        cmocka_unit_test(test_freed_under_way),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_nobody_listens),
    };
    int failed;

    signal(SIGPIPE, SIG_IGN);
    for (unsigned i = 0; i < ARRAY_LEN(variables); i++) {
        setenv(variables[i], "wrong", 1);
    }
    backend_connect_global_init();
    certs = certs_new();
    loop = loop_new();
    failed = cmocka_run_group_tests_name("backend_connect", tests, NULL, NULL);
    loop = loop_free(loop);
    certs = certs_free(certs);
    return failed;
}
