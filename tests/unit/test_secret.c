/* SPDX-License-Identifier: ISC */
#include "daemon/util/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_unset_equals_nothing(void **state)
{
    struct secret s = {0};

    (void)state;
    assert_false(secret_is_set(&s));
    assert_false(secret_equals(&s, "", 0));
    secret_done(&s);
    secret_done(&s);
}

static void test_empty_is_set(void **state)
{
    struct secret s = {0};

    (void)state;
    assert_true(secret_set(&s, "", 0));
    assert_true(secret_is_set(&s));
    assert_true(secret_equals(&s, "", 0));
    assert_false(secret_equals(&s, "x", 1));
    assert_string_equal(s.data, "");
    secret_done(&s);
    assert_false(secret_is_set(&s));
}

static void test_equality(void **state)
{
    static const struct {
        const char *name;
        const char *other;
        size_t len;
        bool equal;
    } cases[] = {
        {"same", "pass\0word", 9, true},       {"shorter", "pass\0wor", 8, false},
        {"longer", "pass\0word!", 10, false},  {"first byte", "bass\0word", 9, false},
        {"last byte", "pass\0work", 9, false}, {"case", "Pass\0word", 9, false},
        {"up to the NUL", "pass", 4, false},   {"nothing", "", 0, false},
    };
    struct secret s = {0};

    (void)state;
    assert_true(secret_set(&s, "pass\0word", 9));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (secret_equals(&s, cases[i].other, cases[i].len) != cases[i].equal) {
            fail_msg("%s", cases[i].name);
        }
    }
    secret_done(&s);
}

static void test_set_replaces_and_terminates(void **state)
{
    struct secret s = {0};

    (void)state;
    assert_true(secret_set(&s, "first one", 9));
    assert_true(secret_set(&s, "second", 6));
    assert_int_equal(s.len, 6);
    assert_string_equal(s.data, "second");
    secret_done(&s);
}

static void test_bytes_equal(void **state)
{
    (void)state;
    assert_true(secret_bytes_equal("abc", "abd", 2));
    assert_false(secret_bytes_equal("abc", "abd", 3));
    assert_false(secret_bytes_equal("\x80", "\x00", 1));
    assert_true(secret_bytes_equal(NULL, NULL, 0));
}

/* Draws of every size, across the refills of the pool behind: no two alike, no run of zeros. */
static void test_random_bytes_do_not_repeat(void **state)
{
    uint8_t drawn[200][16];
    uint8_t large[2000];
    size_t n_zero = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(drawn); i++) {
        secret_random(drawn[i], sizeof(drawn[i]));
        for (size_t j = 0; j < i; j++) {
            assert_memory_not_equal(drawn[i], drawn[j], sizeof(drawn[i]));
        }
    }
    memset(large, 0, sizeof(large));
    secret_random(large, sizeof(large));
    for (size_t i = 0; i < sizeof(large); i++) {
        n_zero += large[i] == 0;
    }
    assert_true(n_zero < 100); /* 8 expected */
    secret_random(large, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unset_equals_nothing),
        cmocka_unit_test(test_empty_is_set),
        cmocka_unit_test(test_equality),
        cmocka_unit_test(test_set_replaces_and_terminates),
        cmocka_unit_test(test_bytes_equal),
        cmocka_unit_test(test_random_bytes_do_not_repeat),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
