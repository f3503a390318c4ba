/* SPDX-License-Identifier: ISC */
#include "daemon/metrics.h"
#include "daemon/metrics_http_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct metrics_pool pools[] = {
    {.database = "shop",
     .user = "app",
     .mode = "transaction",
     .cl_active = 3,
     .max_wait_us = 1500000},
    {.database = "a\"b\\c", .user = "\xc3\xa9", .mode = "session"},
};
static struct metrics_database databases[] = {
    {.name = "shop", .state = "ok", .stats = {.query_count = 7, .query_time_us = 1000001}}};
static struct metrics figures = {
    .pools = pools, .n_pools = 2, .databases = databases, .n_databases = 1};

/* The whole text, in pieces of at least @enough bytes. */
static const char *text_of(enum metrics_format format, size_t enough, struct buf *out)
{
    struct metrics_text t = {.m = &figures, .format = format};
    struct buf piece = BUF_INIT((size_t)64 * 1024);

    buf_init(out, (size_t)1024 * 1024);
    do {
        buf_clear(&piece);
        metrics_text_step(&t, &piece, enough);
        assert_true(buf_ok(&piece));
        assert_true(buf_append(out, piece.data, piece.len));
    } while (piece.len > 0);
    assert_true(t.is_done);
    buf_done(&piece);
    return buf_cstr(out);
}

static void expect_line(const char *text, const char *line)
{
    if (strstr(text, line) == NULL) {
        fail_msg("not in the text: %s", line);
    }
}

static void test_the_text_is_the_same_in_any_pieces(void **state)
{
    struct buf whole;
    struct buf pieces;

    (void)state;
    for (enum metrics_format f = METRICS_CLASSIC; f <= METRICS_OPEN; f++) {
        const char *text = text_of(f, 60000, &whole);

        assert_string_equal(text, text_of(f, 1, &pieces));
        buf_done(&pieces);
        assert_string_equal(text, text_of(f, 777, &pieces));
        buf_done(&pieces);
        buf_done(&whole);
    }
}

static void test_openmetrics(void **state)
{
    struct buf out;
    const char *text;

    (void)state;
    histogram_add(&pools[0].m.latency[LATENCY_QUERY], 1500);
    histogram_add(&pools[0].m.latency[LATENCY_QUERY], 3000);
    text = text_of(METRICS_OPEN, 30000, &out);
    expect_line(text, "# TYPE pgpoold_database_queries counter\n");
    expect_line(text, "# UNIT pgpoold_database_query_seconds seconds\n");
    expect_line(text, "\npgpoold_database_queries_total{database=\"shop\"} 7\n");
    expect_line(text, "\npgpoold_database_query_seconds_total{database=\"shop\"} 1.000001\n");
    expect_line(text,
                "\npgpoold_pool_clients{database=\"shop\",user=\"app\",state=\"active\"} 3\n");
    expect_line(
        text,
        "\npgpoold_pool_max_wait_seconds{database=\"a\\\"b\\\\c\",user=\"\xc3\xa9\"} 0.000000\n");
    expect_line(
        text, "_query_duration_seconds_bucket{database=\"shop\",user=\"app\",le=\"0.00005\"} 0\n");
    expect_line(text,
                "_query_duration_seconds_bucket{database=\"shop\",user=\"app\",le=\"0.002\"} 1\n");
    expect_line(text,
                "_query_duration_seconds_bucket{database=\"shop\",user=\"app\",le=\"1.0\"} 2\n");
    expect_line(text,
                "_query_duration_seconds_bucket{database=\"shop\",user=\"app\",le=\"+Inf\"} 2\n");
    expect_line(text, "_query_duration_seconds_count{database=\"shop\",user=\"app\"} 2\n");
    expect_line(text, "_query_duration_seconds_sum{database=\"shop\",user=\"app\"} 0.004500\n");
    assert_string_equal(text + strlen(text) - 7, "\n# EOF\n");
    buf_done(&out);
}

static void test_classic(void **state)
{
    struct buf out;
    const char *text = text_of(METRICS_CLASSIC, 30000, &out);

    (void)state;
    expect_line(text, "# TYPE pgpoold_database_queries_total counter\n");
    assert_null(strstr(text, "# UNIT"));
    assert_null(strstr(text, "# EOF"));
    buf_done(&out);
}

static void test_accept(void **state)
{
    static const struct {
        const char *accept;
        enum metrics_format format;
    } cases[] = {
        {NULL, METRICS_CLASSIC},
        {"", METRICS_CLASSIC},
        {"*/*", METRICS_CLASSIC},
        {"text/plain", METRICS_CLASSIC},
        {"application/openmetrics-text", METRICS_OPEN},
        {"Application/OpenMetrics-Text; version=1.0.0", METRICS_OPEN},
        {"application/openmetrics-text;version=1.0.0;q=0.75,text/plain;q=0.5", METRICS_OPEN},
        {"text/plain,application/openmetrics-text;q=0", METRICS_CLASSIC},
        {"application/openmetrics-text;q=0.0,text/plain", METRICS_CLASSIC},
        {"application/openmetrics-text;q=0.001", METRICS_OPEN},
        {"application/openmetrics-text; q=0", METRICS_CLASSIC},
        {"application/openmetrics-text;", METRICS_OPEN},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (metrics_format_of(cases[i].accept) != cases[i].format) {
            fail_msg("%s", cases[i].accept);
        }
    }
}

static void test_host(void **state)
{
    static const struct {
        const char *host;
        bool is_local;
    } cases[] = {
        {"127.0.0.1", true},
        {"127.0.0.1:9127", true},
        {"[::1]", true},
        {"[::1]:9127", true},
        {"localhost", true},
        {"LocalHost:80", true},
        {"10.0.0.9:9127", true},
        {"", false},
        {"evil.example", false},
        {"evil.example:1", false},
        {"localhost.evil.example", false},
        {"127.0.0.1.evil.example", false},
        {"[::1", false},
        {"[evil]", false},
        {"::1", false},
        {"[", false},
        {":", false},
        {"[1111:2222:3333:4444:5555:6666:7777:8888:9999:0000:1111]", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (http_host_is_local(cases[i].host) != cases[i].is_local) {
            fail_msg("%s", cases[i].host);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_text_is_the_same_in_any_pieces),
        cmocka_unit_test(test_openmetrics),
        cmocka_unit_test(test_classic),
        cmocka_unit_test(test_accept),
        cmocka_unit_test(test_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
