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

/* Each size around the limits of the blocks: zeroed, aligned, apart, and zeroed again when it comes back. */
static void test_memory_for_secrets(void **state)
{
    static const size_t sizes[] = {1, 8, 63, 64, 65, 128, 4096, 16383, 16384, 16385, 65536, 300000};
    uint8_t *at[ARRAY_LEN(sizes)];

    (void)state;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            at[i] = secret_alloc(sizes[i]);
            assert_non_null(at[i]);
            assert_int_equal((uintptr_t)at[i] % 16, 0);
            for (size_t j = 0; j < sizes[i]; j++) {
                assert_int_equal(at[i][j], 0);
            }
            memset(at[i], (int)i + 1, sizes[i]);
        }
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            assert_int_equal(at[i][0], i + 1);
            assert_int_equal(at[i][sizes[i] - 1], i + 1);
            assert_null(secret_free(at[i], sizes[i]));
        }
    }
    assert_null(secret_free(NULL, 10));
}

static void test_memory_that_knows_its_size(void **state)
{
    static const size_t sizes[] = {0, 1, 48, 49, 5000, 16368};
    char elsewhere = 'x';
    char *heap = test_malloc(100);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char *at = secret_alloc_sized(sizes[i]);

        assert_non_null(at);
        assert_int_equal((uintptr_t)at % 16, 0);
        assert_int_equal(secret_size(at), sizes[i]);
        assert_true(secret_owns(at));
        memset(at, 'y', sizes[i]);
        secret_free_sized(at);
    }
    assert_null(secret_alloc_sized(16369));
    assert_false(secret_owns(NULL));
    assert_false(secret_owns(&elsewhere));
    assert_false(secret_owns(heap));
    test_free(heap);
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
        cmocka_unit_test(test_memory_for_secrets),
        cmocka_unit_test(test_memory_that_knows_its_size),
        cmocka_unit_test(test_random_bytes_do_not_repeat),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
