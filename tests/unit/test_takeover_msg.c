/* SPDX-License-Identifier: ISC */
/* The records of an online restart: written and read again, cut short, and with a byte too many. */
#include "protocol/takeover_msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint8_t key[SCRAM_KEY_BYTES] = {1, 2, 3};

#define BYTES(text)                               \
    {                                             \
        (const uint8_t *)(text), sizeof(text) - 1 \
    }
#define KEY              \
    {                    \
        key, sizeof(key) \
    }
#define TWO_PARAMS                                                       \
    {                                                                    \
        .n = 2, .entries = { {"DateStyle", "ISO"}, {"TimeZone", "UTC"} } \
    }

static const struct {
    const char *name;
    struct takeover_msg m;
} cases[] = {
    {"hello", {TAKEOVER_HELLO, .u.hello = {1, 77, UINT64_MAX, 5, 100, 30000000, KEY, "pgpoold 1"}}},
    {"listener", {TAKEOVER_LISTENER, .u.listener = {true}}},
    {"pid file", {TAKEOVER_PIDFILE, .u.text = "/run/pid"}},
    {"offered", {TAKEOVER_OFFERED, .u.seq = 0}},
    {"database", {TAKEOVER_DATABASE, .u.database = {"shop", TAKEOVER_PAUSED_BY_NAME, false}}},
    {"user without a secret", {TAKEOVER_USER, .u.user = {.name = "app", .md5 = ""}}},
    {"user with keys",
     {TAKEOVER_USER,
      .u.user = {"app", "", BYTES("secret"), 4096, BYTES("0123456789abcdef"), KEY, KEY, KEY}}},
    {"pool", {TAKEOVER_POOL, .u.pool = {"shop", "app", false, TWO_PARAMS, TWO_PARAMS}}},
    {"statement", {TAKEOVER_STMT, .u.stmt = {1, BYTES("select 1\0\0")}}},
    {"server connection",
     {TAKEOVER_BACKEND, .u.backend = {.id = 4,
                                      .tx_status = 'T',
                                      .flags = TAKEOVER_WAS_USED,
                                      .key = BYTES("1234"),
                                      .host = "localhost",
                                      .dbname = "shop",
                                      .params = TWO_PARAMS}}},
    {"copy of a statement", {TAKEOVER_COPY, .u.copy = {1, 2, 3}}},
    {"hub", {TAKEOVER_HUB, .u.hub = {"UTF8", true, false}}},
    {"channel", {TAKEOVER_CHANNEL, .u.text = "news"}},
    {"proxy", {TAKEOVER_PROXY, .u.seq = 0}},
    {"client",
     {TAKEOVER_CLIENT, .u.client = {.kind = TAKEOVER_CLIENT_SESSION,
                                    .id = 9,
                                    .vpid = 3,
                                    .long_key = KEY,
                                    .addr = BYTES("0123456789abcdef"),
                                    .database = "shop",
                                    .user = "app",
                                    .in = BYTES("Q\0\0"),
                                    .params = TWO_PARAMS,
                                    .startup = TWO_PARAMS}}},
    {"client that logs in",
     {TAKEOVER_CLIENT, .u.client = {.kind = TAKEOVER_CLIENT_LOGIN,
                                    .addr = BYTES("0123456789abcdef"),
                                    .database = "shop",
                                    .user = "app",
                                    .reply = BYTES("R\0")}}},
    {"prepared", {TAKEOVER_PREPARED, .u.prepared = {"s1", 1, 7}}},
    {"subscription", {TAKEOVER_SUBSCRIBE, .u.subscribe = {"news", true}}},
    {"queue", {TAKEOVER_QUEUED, .u.queued = {3, BYTES("A\0\0\0\4")}}},
    {"end of a batch", {TAKEOVER_BATCH_END, .u.seq = 2}},
    {"go", {TAKEOVER_GO, .u.seq = 2}},
    {"retained", {TAKEOVER_RETAINED, .u.retained = {"shop", "app", 20}}},
    {"abort", {TAKEOVER_ABORT, .u.text = "why"}},
    {"bye", {TAKEOVER_BYE, .u.seq = 0}},
    {"ready", {TAKEOVER_READY, .u.ready = BYTES("\1\0\1")}},
    {"have", {TAKEOVER_HAVE, .u.seq = 2}},
    {"refused", {TAKEOVER_REFUSED, .u.refused = {9, "database removed"}}},
    {"cancel", {TAKEOVER_CANCEL, .u.cancel = BYTES("0123456789abcdef")}},
};

#define HEADER 5U

static void expect(bool ok, const char *name, size_t at)
{
    if (!ok) {
        print_error("case: %s, at %zu\n", name, at);
        fail();
    }
}

static void test_each_is_read_as_it_was_written(void **state)
{
    static struct takeover_msg m;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf b = BUF_INIT(65536);
        struct buf again = BUF_INIT(65536);

        takeover_put(&b, &cases[i].m);
        expect(takeover_parse(b.data[0], b.data + HEADER, b.len - HEADER, &m), cases[i].name, 0);
        takeover_put(&again, &m);
        expect(again.len == b.len && memcmp(again.data, b.data, b.len) == 0, cases[i].name, 1);
        buf_done(&b);
        buf_done(&again);
    }
}

static void test_no_cut_and_no_longer_one_is_taken(void **state)
{
    static struct takeover_msg m;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf b = BUF_INIT(65536);

        takeover_put(&b, &cases[i].m);
        for (size_t len = HEADER; len < b.len; len++) {
            expect(!takeover_parse(b.data[0], b.data + HEADER, len - HEADER, &m), cases[i].name,
                   len);
        }
        assert_true(buf_append_u8(&b, 0));
        expect(!takeover_parse(b.data[0], b.data + HEADER, b.len - HEADER, &m), cases[i].name,
               b.len);
        buf_done(&b);
    }
}

static void test_lies_are_refused(void **state)
{
    static const struct {
        const char *name;
        uint8_t type;
        const char *body;
        size_t len;
    } lies[] = {
        {"unknown type", '!', "", 0},
        {"neither yes nor no", TAKEOVER_LISTENER, "\2", 1},
        {"a pause of no known kind", TAKEOVER_DATABASE, "a\0\4\0", 4},
        {"bytes beyond the end", TAKEOVER_READY, "\0\0\0\5abc", 7},
        {"more listeners than there can be", TAKEOVER_READY, "\0\0\1\0", 4},
        {"a length near 2^32", TAKEOVER_STMT, "\0\0\0\1\377\377\377\377", 8},
        {"text without an end", TAKEOVER_CHANNEL, "news", 4},
    };
    static struct takeover_msg m;

    (void)state;
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        expect(!takeover_parse(lies[i].type, lies[i].body, lies[i].len, &m), lies[i].name, i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_is_read_as_it_was_written),
        cmocka_unit_test(test_no_cut_and_no_longer_one_is_taken),
        cmocka_unit_test(test_lies_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
