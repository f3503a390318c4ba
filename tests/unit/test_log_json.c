/* SPDX-License-Identifier: ISC */
#include "daemon/util/log_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TIME "2026-11-21T07:00:00.123+00:00"
#define BEGIN "{\"time\":\"" TIME "\",\"pid\":7,\"level\":\"LOG\""

static const struct {
    const char *name;
    const char *message;
    const char *json;
} cases[] = {
    {"plain", "process up", "process up"},
    {"empty", "", ""},
    {"quotes", "a \"b\" c\\d", "a \\\"b\\\" c\\\\d"},
    {"control characters",
     "a\tb\nc\x01"
     "d\x7f",
     "a\\u0009b\\u000ac\\u0001d\\u007f"},
    {"UTF-8", "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x90\x98", "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x90\x98"},
    {"not UTF-8",
     "a\xff"
     "b\xc3",
     "a\xef\xbf\xbd"
     "b\xef\xbf\xbd"},
    {"a surrogate", "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
};

static const char *line(const struct log_who *who, const char *message, char *ret, size_t size)
{
    struct log_json_event e = {TIME, 7, "LOG", who, message};
    size_t len = log_json_line(ret, size - 1, &e);

    assert_true(len < size);
    ret[len] = '\0';
    return ret;
}

static void test_messages(void **state)
{
    char got[4096];
    char want[4096];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        (void)snprintf(want, sizeof(want), BEGIN ",\"message\":\"%s\"}\n", cases[i].json);
        if (strcmp(line(NULL, cases[i].message, got, sizeof(got)), want) != 0) {
            fail_msg("%s: %s", cases[i].name, got);
        }
    }
}

static void test_connections(void **state)
{
    struct log_who client = {'C', (const void *)0x10, "shop", "a\"p", "10.0.0.1", 4711};
    struct log_who server = {'S', (const void *)0x20, "shop", "app", "::1", 5432};
    char got[4096];

    (void)state;
    assert_string_equal(line(&client, "x", got, sizeof(got)),
                        BEGIN ",\"client\":\"C-0x10\",\"database\":\"shop\",\"user\":\"a\\\"p\","
                              "\"addr\":\"10.0.0.1\",\"port\":4711,\"message\":\"x\"}\n");
    assert_string_equal(line(&server, "x", got, sizeof(got)),
                        BEGIN ",\"server\":\"S-0x20\",\"database\":\"shop\",\"user\":\"app\","
                              "\"addr\":\"::1\",\"port\":5432,\"message\":\"x\"}\n");
}

/* However long and however much there is to escape: the line ends as an object, within its size. */
static void test_long_texts(void **state)
{
    static const char *const units[] = {"x", "\"", "\x01", "\xff", "\xf0\x9f\x90\x98"};
    char text[8192];
    char got[LOG_JSON_MIN_BYTES + 1];

    (void)state;
    for (size_t u = 0; u < ARRAY_LEN(units); u++) {
        struct log_who who = {'C', text, text, text, text, 65535};
        size_t n = strlen(units[u]);

        for (size_t len = 0; len + n < sizeof(text); len += n) {
            memcpy(text + len, units[u], n + 1);
        }
        (void)line(&who, text, got, sizeof(got));
        assert_string_equal(got + strlen(got) - strlen("...[cut]\"}\n"), "...[cut]\"}\n");
        assert_null(strchr(strchr(got, '\n') + 1, '\n'));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_connections),
        cmocka_unit_test(test_long_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
