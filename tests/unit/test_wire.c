/* SPDX-License-Identifier: ISC */
#include "protocol/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* u8, u16, u32, string, three bytes: in memory that ends where they end. */
static const uint8_t whole[] = {0xfe, 0x12, 0x34, 0x80, 0x00, 0x00, 0x01,
                                'a',  'b',  0,    'x',  'y',  'z'};

static void test_fields_in_order(void **state)
{
    struct wire_reader r;

    (void)state;
    wire_reader_init(&r, whole, sizeof(whole));
    assert_int_equal(wire_left(&r), sizeof(whole));
    assert_int_equal(wire_get_u8(&r), 0xfe);
    assert_int_equal(wire_get_u16(&r), 0x1234);
    assert_int_equal(wire_get_u32(&r), 0x80000001U);
    assert_string_equal(wire_get_cstr(&r), "ab");
    assert_false(wire_at_end(&r));
    assert_int_equal(wire_left(&r), 3);
    assert_memory_equal(wire_get_bytes(&r, 3), "xyz", 3);
    assert_true(wire_at_end(&r));
    assert_true(wire_ok(&r));
    assert_non_null(wire_get_bytes(&r, 0)); /* nothing is no failure */
    assert_true(wire_at_end(&r));
}

static bool read_whole(const uint8_t *data, size_t len)
{
    struct wire_reader r;

    wire_reader_init(&r, data, len);
    (void)wire_get_u8(&r);
    (void)wire_get_u16(&r);
    (void)wire_get_u32(&r);
    (void)wire_get_cstr(&r);
    (void)wire_get_bytes(&r, 3);
    return wire_at_end(&r);
}

static void test_truncated_and_too_long(void **state)
{
    (void)state;
    for (size_t len = 0; len <= sizeof(whole) + 1; len++) {
        uint8_t *copy = calloc(1, len > 0 ? len : 1); /* exact: ASan sees a byte too many */

        assert_non_null(copy);
        memcpy(copy, whole, len < sizeof(whole) ? len : sizeof(whole));
        if (read_whole(copy, len) != (len == sizeof(whole))) {
            fail_msg("%zu bytes", len);
        }
        free(copy);
    }
}

static void test_failure_sticks(void **state)
{
    struct wire_reader r;

    (void)state;
    wire_reader_init(&r, "\1\2\3", 3);
    assert_int_equal(wire_get_u32(&r), 0);
    assert_false(wire_ok(&r));
    assert_int_equal(wire_get_u8(&r), 0); /* though there are three bytes */
    assert_int_equal(wire_get_u16(&r), 0);
    assert_string_equal(wire_get_cstr(&r), "");
    assert_null(wire_get_bytes(&r, 0));
    assert_false(wire_at_end(&r));
}

static void test_string_without_end(void **state)
{
    static const char text[] = {'a', 'b', 'c'};
    struct wire_reader r;

    (void)state;
    wire_reader_init(&r, text, sizeof(text));
    assert_string_equal(wire_get_cstr(&r), "");
    assert_false(wire_ok(&r));
    wire_reader_init(&r, text, 0);
    assert_true(wire_at_end(&r));
    assert_string_equal(wire_get_cstr(&r), "");
    assert_false(wire_ok(&r));
}

static void test_lying_length(void **state)
{
    struct wire_reader r;

    (void)state;
    for (size_t len = 4; len != 0; len = len < SIZE_MAX / 4 ? len * 4 : 0) {
        wire_reader_init(&r, "abc", 3);
        assert_null(wire_get_bytes(&r, len));
        assert_false(wire_ok(&r));
    }
    wire_reader_init(&r, "abc", 3);
    assert_null(wire_get_bytes(&r, SIZE_MAX));
}

static void test_message_is_built(void **state)
{
    static const uint8_t expected[] = {'Z', 0, 0,   0,   19,  0xfe, 0x12, 0x34, 0x80, 0, 0, 1, 'a',
                                       'b', 0, 'x', 'y', 'z', 'Q',  0,    'S',  0,    0, 0, 4};
    struct buf b = BUF_INIT(100);
    size_t start;

    (void)state;
    start = wire_begin(&b, 'Z');
    wire_put_u8(&b, 0xfe);
    wire_put_u16(&b, 0x1234);
    wire_put_u32(&b, 0x80000001U);
    wire_put_cstr(&b, "ab");
    wire_put_bytes(&b, "xyz", 3);
    wire_put_bytes(&b, NULL, 0);
    wire_put_cstr(&b, "Q");
    wire_end(&b, start);
    start = wire_begin(&b, 'S'); /* behind another one */
    wire_end(&b, start);
    assert_true(buf_ok(&b));
    assert_int_equal(b.len, sizeof(expected));
    assert_memory_equal(b.data, expected, sizeof(expected));
    buf_done(&b);
}

static void test_ceiling_of_a_message(void **state)
{
    (void)state;
    for (size_t max = 0; max <= 9; max++) {
        struct buf b = BUF_INIT(max);
        size_t start = wire_begin(&b, 'X');

        wire_put_u32(&b, 1);
        wire_end(&b, start);
        assert_int_equal(buf_ok(&b), max >= 9);
        buf_done(&b);
    }
}

static void test_load_and_store(void **state)
{
    static const uint32_t values[] = {0,          1,           0xff,        0x100,
                                      0x7fffffff, 0x80000000U, 0xfffffffeU, UINT32_MAX};
    uint8_t bytes[4];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        wire_store_u32(bytes, values[i]);
        assert_int_equal(wire_load_u32(bytes), values[i]);
        assert_int_equal(wire_load_u16(bytes), values[i] >> 16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields_in_order),      cmocka_unit_test(test_truncated_and_too_long),
        cmocka_unit_test(test_failure_sticks),       cmocka_unit_test(test_string_without_end),
        cmocka_unit_test(test_lying_length),         cmocka_unit_test(test_message_is_built),
        cmocka_unit_test(test_ceiling_of_a_message), cmocka_unit_test(test_load_and_store),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
