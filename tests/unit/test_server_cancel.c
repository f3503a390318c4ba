/* SPDX-License-Identifier: ISC */
/* Cancel requests on their way to a server: plain, over TLS, with keys of all lengths, to servers
 * that are silent or gone. */
#include "pool/server_cancel.h"

#include "daemon/util/loop.h"
#include "protocol/startup.h"

#include "tests/unit/fake_backend.h"

#define SHORT_US (100 * USEC_PER_MSEC)

static struct loop *loop;

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
        if (fake_report(&f, &report, rows[i].reaches ? REPORT_MS : 50) != rows[i].reaches) {
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_nobody_listens),
    };
    int failed;

    signal(SIGPIPE, SIG_IGN);
    backend_connect_global_init();
    certs = certs_new();
    loop = loop_new();
    failed = cmocka_run_group_tests_name("server_cancel", tests, NULL, NULL);
    loop = loop_free(loop);
    certs = certs_free(certs);
    return failed;
}
