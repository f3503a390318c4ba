/* SPDX-License-Identifier: ISC */
#include "daemon/util/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_empty_buffer_owns_nothing(void **state)
{
    struct buf b = BUF_INIT(10);

    (void)state;
    assert_null(b.data);
    assert_int_equal(b.len, 0);
    assert_true(buf_ok(&b));
    assert_true(buf_append(&b, NULL, 0));
    assert_true(buf_append_str(&b, ""));
    assert_null(b.data);
    buf_done(&b);
    buf_done(&b);
}

static void test_appends_follow_each_other(void **state)
{
    struct buf b = BUF_INIT(1000);

    (void)state;
    assert_true(buf_append(&b, "ab\0c", 4));
    assert_true(buf_append_u8(&b, 0xff));
    assert_true(buf_append_str(&b, "de"));
    assert_true(buf_append_fmt(&b, "%d-%s", 42, "x"));
    assert_int_equal(b.len, 11);
    assert_memory_equal(b.data,
                        "ab\0c\xff"
                        "de42-x",
                        11);
    buf_done(&b);
}

/* The ceiling holds for every way of appending: exactly max fits, one more does not and sticks. */
static void test_ceiling(void **state)
{
    static const struct {
        size_t max;
        size_t first;
        size_t second;
        bool ok;
    } cases[] = {
        {0, 0, 0, true},         {0, 0, 1, false},         {1, 0, 1, true},
        {1, 1, 1, false},        {10, 5, 5, true},         {10, 5, 6, false},
        {10, 10, 0, true},       {10, 0, 11, false},       {300, 256, 44, true},
        {300, 256, 45, false},   {256, 255, 1, true},      {256, 256, 1, false},
        {5000, 300, 4700, true}, {5000, 300, 4701, false}, {SIZE_MAX, 10, 10, true},
    };
    static const uint8_t bytes[5000];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b = BUF_INIT(cases[i].max);
        bool ok;

        assert_true(buf_append(&b, bytes, cases[i].first));
        ok = buf_append(&b, bytes, cases[i].second);
        if (ok != cases[i].ok) {
            fail_msg("case %zu: max %zu, %zu and %zu bytes", i, cases[i].max, cases[i].first,
                     cases[i].second);
        }
        assert_int_equal(buf_ok(&b), cases[i].ok);
        assert_int_equal(b.len, cases[i].first + (ok ? cases[i].second : 0));
        buf_done(&b);
    }
}

static void test_huge_length_does_not_wrap(void **state)
{
    struct buf b = BUF_INIT(100);

    (void)state;
    assert_true(buf_append_str(&b, "abc"));
    assert_null(buf_reserve(&b, SIZE_MAX));
    assert_null(buf_reserve(&b, SIZE_MAX - 2));
    assert_false(buf_ok(&b));
    buf_done(&b);
}

static void test_failure_sticks_until_cleared(void **state)
{
    struct buf b = BUF_INIT(3);

    (void)state;
    assert_true(buf_append_str(&b, "ab"));
    assert_false(buf_append_str(&b, "cd"));
    assert_false(buf_append_u8(&b, 'c'));
    assert_false(buf_append(&b, "", 0));
    assert_null(buf_reserve(&b, 1));
    assert_int_equal(b.len, 2);
    buf_clear(&b);
    assert_true(buf_ok(&b));
    assert_true(buf_append_str(&b, "xyz"));
    assert_memory_equal(b.data, "xyz", 3);
    buf_done(&b);
}

static void test_reserve_and_commit(void **state)
{
    struct buf b = BUF_INIT(1000);
    uint8_t *room;

    (void)state;
    assert_true(buf_append_str(&b, "ab"));
    room = buf_reserve(&b, 500);
    assert_non_null(room);
    assert_int_equal(b.len, 2);
    memset(room, 'x', 500);
    buf_commit(&b, 2);
    assert_int_equal(b.len, 4);
    assert_memory_equal(b.data, "abxx", 4);
    buf_done(&b);
}

static void test_consume_drops_the_front(void **state)
{
    struct buf b = BUF_INIT(100);

    (void)state;
    assert_true(buf_append_str(&b, "abcdef"));
    buf_consume(&b, 0);
    buf_consume(&b, 2);
    assert_string_equal(buf_cstr(&b), "cdef");
    buf_consume(&b, 4);
    assert_int_equal(b.len, 0);
    assert_string_equal(buf_cstr(&b), "");
    buf_done(&b);
}

static void test_truncate_drops_the_end(void **state)
{
    struct buf b = BUF_INIT(16);

    (void)state;
    buf_truncate(&b, 3);
    assert_int_equal(b.len, 0);
    assert_true(buf_append_str(&b, "abcdef"));
    buf_truncate(&b, 7);
    assert_string_equal(buf_cstr(&b), "abcdef");
    buf_truncate(&b, 2);
    assert_string_equal(buf_cstr(&b), "ab");
    assert_true(buf_append_str(&b, "z"));
    assert_string_equal(buf_cstr(&b), "abz");
    buf_done(&b);
}

static void test_cstr_is_not_counted(void **state)
{
    struct buf b = BUF_INIT(10000);
    char text[257];

    (void)state;
    assert_string_equal(buf_cstr(&b), "");
    memset(text, 'x', 256);
    text[256] = '\0';
    assert_true(buf_append_str(&b, text)); /* fills the first block to the last byte */
    assert_string_equal(buf_cstr(&b), text);
    assert_int_equal(b.len, 256);
    assert_true(buf_append_str(&b, "y"));
    assert_int_equal(b.len, 257);
    assert_int_equal(b.data[256], 'y');
    buf_done(&b);
}

static void test_format_of_any_length(void **state)
{
    struct buf b = BUF_INIT(5000);
    static char text[3001];

    (void)state;
    memset(text, 'z', sizeof(text) - 1);
    assert_true(buf_append_fmt(&b, "%s", ""));
    assert_int_equal(b.len, 0);
    assert_true(buf_append_fmt(&b, "<%s>", text));
    assert_int_equal(b.len, 3002);
    assert_int_equal(b.data[3001], '>');
    assert_false(buf_append_fmt(&b, "%s", text));
    assert_int_equal(b.len, 3002);
    buf_done(&b);
}

static void test_done_forgets_all_but_the_ceiling(void **state)
{
    struct buf b = BUF_INIT(4);

    (void)state;
    assert_false(buf_append_str(&b, "12345"));
    buf_done_secret(&b);
    assert_true(buf_ok(&b));
    assert_int_equal(b.max, 4);
    assert_true(buf_append_str(&b, "1234"));
    assert_false(buf_append_str(&b, "5"));
    buf_done_secret(&b);
    assert_null(b.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_buffer_owns_nothing),
        cmocka_unit_test(test_appends_follow_each_other),
        cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_huge_length_does_not_wrap),
        cmocka_unit_test(test_failure_sticks_until_cleared),
        cmocka_unit_test(test_reserve_and_commit),
        cmocka_unit_test(test_consume_drops_the_front),
        cmocka_unit_test(test_truncate_drops_the_end),
        cmocka_unit_test(test_cstr_is_not_counted),
        cmocka_unit_test(test_format_of_any_length),
        cmocka_unit_test(test_done_forgets_all_but_the_ceiling),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
