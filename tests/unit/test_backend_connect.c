/* SPDX-License-Identifier: ISC */
/* Opening connections: what libpq does with a server that answers, refuses, is silent or breaks
 * off, and what is left afterwards. Cancelling: test_server_cancel.c. */
#include "pool/backend_connect.h"

#include "daemon/util/loop.h"
#include "protocol/startup.h"

#include "tests/unit/fake_backend.h"

#define SHORT_US (100 * USEC_PER_MSEC)

static struct loop *loop;

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

/* What the server sends next is still unread. */
static char first_byte(const struct outcome *o)
{
    struct pollfd p = {.fd = o->r.fd, .events = POLLIN};
    char byte = '?';
    size_t n;

    if (o->r.tls == NULL) {
        assert_int_equal(poll(&p, 1, REPORT_MS), 1);
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
    assert_true(fake_report(&f, &report, REPORT_MS));
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
    assert_true(fake_report(&f, &report, REPORT_MS));
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
    assert_true(fake_report(&f, &report, REPORT_MS));
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
    struct report report;
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
        while (i > 0 && !fake_report(&f, &report, 0)) { /* the server has the StartupMessage */
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
