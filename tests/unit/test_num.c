/* SPDX-License-Identifier: ISC */
#include "daemon/util/num.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct {
    const char *text;
    uint64_t most;
    bool ok;
    uint64_t value;
} unsigned_cases[] = {
    {"0", 0, true, 0},
    {"1", 0, false, 0},
    {"42", 100, true, 42},
    {"100", 100, true, 100},
    {"101", 100, false, 0},
    {"007", 100, true, 7},
    {"18446744073709551615", UINT64_MAX, true, UINT64_MAX},
    {"18446744073709551616", UINT64_MAX, false, 0},
    {"18446744073709551625", UINT64_MAX, false, 0},
    {"99999999999999999999999", UINT64_MAX, false, 0},
    {"184467440737095516150", UINT64_MAX, false, 0},
    {"", 100, false, 0},
    {" 1", 100, false, 0},
    {"1 ", 100, false, 0},
    {"+1", 100, false, 0},
    {"-1", 100, false, 0},
    {"-0", 100, false, 0},
    {"1.0", 100, false, 0},
    {"0x1", 100, false, 0},
    {"1e1", 100, false, 0},
    {"one", 100, false, 0},
    {"1\n", 100, false, 0},
    {"\xd9\xa1", 100, false, 0}, /* an Arabic one */
};

static const struct {
    const char *text;
    int64_t least;
    int64_t most;
    bool ok;
    int64_t value;
} signed_cases[] = {
    {"0", 0, 0, true, 0},
    {"-0", 0, 0, true, 0},
    {"-1", -1, 10, true, -1},
    {"-2", -1, 10, false, 0},
    {"10", -1, 10, true, 10},
    {"11", -1, 10, false, 0},
    {"5", 6, 10, false, 0},
    {"9223372036854775807", INT64_MIN, INT64_MAX, true, INT64_MAX},
    {"9223372036854775808", INT64_MIN, INT64_MAX, false, 0},
    {"-9223372036854775807", INT64_MIN, INT64_MAX, true, -INT64_MAX},
    {"-9223372036854775809", INT64_MIN, INT64_MAX, false, 0},
    {"18446744073709551615", INT64_MIN, INT64_MAX, false, 0},
    {"", -10, 10, false, 0},
    {"-", -10, 10, false, 0},
    {"--1", -10, 10, false, 0},
    {"+1", -10, 10, false, 0},
    {"- 1", -10, 10, false, 0},
    {"1-", -10, 10, false, 0},
};

static void test_unsigned(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(unsigned_cases); i++) {
        uint64_t v = 12345;
        bool ok = num_parse_u64(unsigned_cases[i].text, unsigned_cases[i].most, &v);
        uint64_t wanted = unsigned_cases[i].ok ? unsigned_cases[i].value : 12345;

        if (ok != unsigned_cases[i].ok || v != wanted) {
            fail_msg("\"%s\": %s, %ju", unsigned_cases[i].text, ok ? "accepted" : "refused",
                     (uintmax_t)v);
        }
    }
}

static void test_signed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(signed_cases); i++) {
        int64_t v = 12345;
        bool ok =
            num_parse_i64(signed_cases[i].text, signed_cases[i].least, signed_cases[i].most, &v);
        int64_t wanted = signed_cases[i].ok ? signed_cases[i].value : 12345;

        if (ok != signed_cases[i].ok || v != wanted) {
            fail_msg("\"%s\": %s, %jd", signed_cases[i].text, ok ? "accepted" : "refused",
                     (intmax_t)v);
        }
    }
}

static void test_narrowing_keeps_what_fits(void **state)
{
    (void)state;
    assert_int_equal(num_u32(0), 0);
    assert_true(num_u32(UINT32_MAX) == UINT32_MAX);
    assert_int_equal(num_int(INT32_MAX), INT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unsigned),
        cmocka_unit_test(test_signed),
        cmocka_unit_test(test_narrowing_keeps_what_fits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
