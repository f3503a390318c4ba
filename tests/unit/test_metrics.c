/* SPDX-License-Identifier: ISC */
#include "pool/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *sqlstate;
    const char *text;
    const char *name;
} client_cases[] = {
    {"", "client close request", "client_left"},
    {"", "client unexpected eof", "client_lost"},
    {"", "TLS handshake failed", "tls_failed"},
    {"08P01", "client_login_timeout", "login_timeout"},
    {"57P05", "client_idle_timeout", "idle_timeout"},
    {"08P01", "query_wait_timeout", "query_wait_timeout"},
    {"57014", "query timeout", "query_timeout"},
    {"57P01", "pooler is shutting down", "shutdown"},
    {"53300", "no more connections allowed (max_client_conn)", "too_many_connections"},
    {"3D000", "no such database: x", "no_such_database"},
    {"28P01", "password authentication failed", "login_refused"},
    {"08P01", "bad packet header", "protocol_violation"},
    {"08006", "server connection lost: x", "server_connection"},
    {"53200", "out of memory", "out_of_memory"},
    {"54000", "too many startup parameters", "limit_exceeded"},
    {"53400", "more than 3 channels", "limit_exceeded"},
    {"57P01", "terminating connection", "admin"},
    {"", "who knows", "other"},
    {"XX000", "", "other"},
};

static const struct {
    const char *text;
    const char *name;
} server_cases[] = {
    {"server lifetime over", "lifetime"},
    {"server idle timeout", "idle_timeout"},
    {"connect failed", "connect_failed"},
    {"evicted for a replication connection", "evicted"},
    {"rollback_timeout", "rollback_failed"},
    {"check query failed", "check_failed"},
    {"query timeout, and the cancel request did not end it", "query_timeout"},
    {"killed with its client", "killed"},
    {"server said: terminating connection", "server_lost"},
    {"server conn crashed?", "server_lost"},
    {"server DNS entry changed", "dns_changed"},
    {"who knows", "other"},
};

static void test_reasons_have_names(void **state)
{
    struct env_metrics m = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(client_cases); i++) {
        enum client_close why =
            metrics_client_closed(&m, client_cases[i].sqlstate, client_cases[i].text);

        assert_string_equal(metrics_client_close_name(why), client_cases[i].name);
        assert_true(m.client_closes[why] > 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(server_cases); i++) {
        enum server_close why = metrics_server_closed(&m, server_cases[i].text);

        assert_string_equal(metrics_server_close_name(why), server_cases[i].name);
        assert_true(m.server_closes[why] > 0);
    }
}

static void test_sqlstates_are_counted_by_class(void **state)
{
    struct env_metrics m = {0};
    static const char *const given[] = {"23505", "23503", "XX000", "??", "", "zz123"};
    uint64_t n_other;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(given); i++) {
        metrics_error(&m, ERROR_OF_SERVER, given[i]);
    }
    n_other = m.errors[ERROR_OF_SERVER][METRICS_ERROR_CLASSES - 1];
    assert_int_equal(n_other, 3);
    for (unsigned i = 0; i < METRICS_ERROR_CLASSES; i++) {
        const char *name = metrics_error_class_name(i);
        uint64_t n = strcmp(name, "23") == 0 ? 2 : strcmp(name, "XX") == 0 ? 1 : 0;

        assert_int_equal(m.errors[ERROR_OF_SERVER][i], i == METRICS_ERROR_CLASSES - 1 ? 3 : n);
        assert_int_equal(m.errors[ERROR_OF_POOLER][i], 0);
    }
    assert_string_equal(metrics_error_class_name(METRICS_ERROR_CLASSES - 1), "other");
}

static void test_sums(void **state)
{
    struct pool_metrics a = {.n_errors = 2};
    struct pool_metrics sum = {.n_errors = 3};

    (void)state;
    histogram_add(&a.latency[LATENCY_LOGIN], 100);
    pool_metrics_add(&sum, &a);
    pool_metrics_add(&sum, &a);
    assert_int_equal(sum.n_errors, 7);
    assert_int_equal(histogram_count(&sum.latency[LATENCY_LOGIN]), 2);
    assert_int_equal(histogram_count(&sum.latency[LATENCY_QUERY]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reasons_have_names),
        cmocka_unit_test(test_sqlstates_are_counted_by_class),
        cmocka_unit_test(test_sums),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
