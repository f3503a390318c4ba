/* SPDX-License-Identifier: ISC */
#include "daemon/admin_show.h"
#include "protocol/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* One value as it lies on the wire, length and all. */
struct value {
    struct buf out;
    struct admin_column column;
    struct admin_row row;
};

static struct admin_row *begin(struct value *v, enum admin_type type, bool is_binary)
{
    *v = (struct value){.out = BUF_INIT(4096), .column = {"c", type}};
    v->row = (struct admin_row){.out = &v->out,
                                .columns = &v->column,
                                .n_columns = 1,
                                .binary = is_binary ? UINT64_MAX : 0};
    return &v->row;
}

static void check(struct value *v, const char *name, const void *want, size_t len)
{
    if (!buf_ok(&v->out) || v->out.len != len + 4 || wire_load_u32(v->out.data) != len ||
        memcmp(v->out.data + 4, want, len) != 0) {
        fail_msg("%s: %zu bytes", name, v->out.len);
    }
    buf_done(&v->out);
}

static const struct {
    const char *name;
    enum admin_type type;
    bool is_binary;
    int64_t value;
    const char *want;
    size_t len;
} numbers[] = {
    {"zero", ADMIN_INT4, false, 0, "0", 1},
    {"negative", ADMIN_INT4, false, -17, "-17", 3},
    {"largest int4", ADMIN_INT4, false, INT32_MAX, "2147483647", 10},
    {"too large for int4", ADMIN_INT4, false, INT64_MAX, "2147483647", 10},
    {"int8", ADMIN_INT8, false, INT64_MAX, "9223372036854775807", 19},
    {"least int8", ADMIN_INT8, false, INT64_MIN + 1, "-9223372036854775807", 20},
    {"numeric", ADMIN_NUMERIC, false, 12345, "12345", 5},
    {"a number in a text column", ADMIN_TEXT, false, 5, "5", 1},
    {"a number in a binary text column", ADMIN_TEXT, true, 5, "5", 1},
    {"binary int4", ADMIN_INT4, true, 0x01020304, "\1\2\3\4", 4},
    {"binary negative int4", ADMIN_INT4, true, -2, "\xff\xff\xff\xfe", 4},
    {"binary int8", ADMIN_INT8, true, 0x0102030405060708, "\1\2\3\4\5\6\7\10", 8},
    {"binary numeric zero", ADMIN_NUMERIC, true, 0, "\0\0\0\0\0\0\0\0", 8},
    {"binary numeric of one digit", ADMIN_NUMERIC, true, 9999, "\0\1\0\0\0\0\0\0\x27\x0f", 10},
    {"binary numeric of two digits", ADMIN_NUMERIC, true, 10001, "\0\2\0\1\0\0\0\0\0\1\0\1", 12},
    {"binary negative numeric", ADMIN_NUMERIC, true, -1, "\0\1\0\0\x40\0\0\0\0\1", 10},
    {"binary numeric with zeros", ADMIN_NUMERIC, true, 100000000, "\0\3\0\2\0\0\0\0\0\1\0\0\0\0",
     14},
};

static void test_numbers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct value v;

        admin_put_int(begin(&v, numbers[i].type, numbers[i].is_binary), numbers[i].value);
        check(&v, numbers[i].name, numbers[i].want, numbers[i].len);
    }
}

static void test_unsigned_numbers(void **state)
{
    struct value v;

    (void)state;
    admin_put_uint(begin(&v, ADMIN_NUMERIC, false), UINT64_MAX);
    check(&v, "largest numeric", "18446744073709551615", 20);
    admin_put_uint(begin(&v, ADMIN_INT8, false), UINT64_MAX);
    check(&v, "too large for int8", "9223372036854775807", 19);
    admin_put_uint(begin(&v, ADMIN_NUMERIC, true), UINT64_MAX); /* 1844 6744 0737 0955 1615 */
    check(&v, "largest binary numeric", "\0\5\0\4\0\0\0\0\x07\x34\x1a\x58\x02\xe1\x03\xbb\x06\x4f",
          18);
}

static void test_texts(void **state)
{
    struct value v;

    (void)state;
    admin_put_text(begin(&v, ADMIN_TEXT, false), "abc");
    check(&v, "text", "abc", 3);
    admin_put_text(begin(&v, ADMIN_TEXT, true), "");
    check(&v, "empty text", "", 0);
    admin_put_name(begin(&v, ADMIN_TEXT, false), "a\xff\n\"b\"\xc3\xa4");
    check(&v, "a name that is no UTF-8", "a\\xff\\x0a\"b\"\xc3\xa4", 14);
    admin_put_fmt(begin(&v, ADMIN_TEXT, false), "%d:%s", 5, "x");
    check(&v, "formatted", "5:x", 3);
    admin_put_ptr(begin(&v, ADMIN_TEXT, false), NULL);
    check(&v, "no pointer", "", 0);
    admin_put_ptr(begin(&v, ADMIN_TEXT, false), (const void *)(uintptr_t)0xabc);
    check(&v, "a pointer", "0xabc", 5);
}

static void test_a_long_name_is_cut(void **state)
{
    char name[2000];
    struct value v;

    (void)state;
    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    admin_put_name(begin(&v, ADMIN_TEXT, false), name);
    assert_true(v.out.len < 300);
    buf_done(&v.out);
}

static void test_nulls(void **state)
{
    struct value v;

    (void)state;
    for (enum admin_type type = ADMIN_TEXT; type < ADMIN_TYPES; type++) {
        admin_put_null(begin(&v, type, false));
        assert_int_equal(v.out.len, 4);
        assert_int_equal(wire_load_u32(v.out.data), UINT32_MAX);
        buf_done(&v.out);
    }
    admin_put_text(begin(&v, ADMIN_TEXT, false), NULL);
    assert_int_equal(wire_load_u32(v.out.data), UINT32_MAX);
    buf_done(&v.out);
    admin_put_time(begin(&v, ADMIN_TEXT, false), 0);
    assert_int_equal(wire_load_u32(v.out.data), UINT32_MAX);
    buf_done(&v.out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_unsigned_numbers),
        cmocka_unit_test(test_texts),   cmocka_unit_test(test_a_long_name_is_cut),
        cmocka_unit_test(test_nulls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
