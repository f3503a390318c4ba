/* SPDX-License-Identifier: ISC */
#include "daemon/util/hash.h"

#include "daemon/util/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct entry {
    char name[16];
    int value;
    UT_hash_handle hh;
};

static void test_same_bytes_same_hash(void **state)
{
    static const char *const texts[] = {"", "a", "b", "ab", "select 1", "select 2"};
    char copy[16];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        size_t len = strlen(texts[i]);

        memcpy(copy, texts[i], len);
        assert_true(hash_bytes(texts[i], len) == hash_bytes(copy, len));
        for (size_t j = 0; j < i; j++) {
            assert_true(hash_bytes(texts[i], len) != hash_bytes(texts[j], strlen(texts[j])));
        }
    }
}

static void test_length_counts(void **state)
{
    (void)state;
    assert_true(hash_bytes("ab", 1) != hash_bytes("ab", 2));
    assert_true(hash_bytes("a\0", 2) != hash_bytes("a", 1));
}

static void test_seed_changes_the_hash(void **state)
{
    uint64_t before = hash_bytes("name", 4);
    uint64_t seeded;

    (void)state;
    hash_seed_init();
    seeded = hash_bytes("name", 4);
    assert_true(seeded != before);
    hash_seed_init();
    assert_true(hash_bytes("name", 4) != seeded);
}

static void test_table_finds_what_was_added(void **state)
{
    struct entry *table = NULL;
    struct entry *e;
    struct entry *next;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        e = calloc(1, sizeof(*e));
        assert_non_null(e);
        (void)snprintf(e->name, sizeof(e->name), "name%d", i);
        e->value = i;
        HASH_ADD_STR(table, name, e);
        assert_non_null(e->hh.tbl);
    }
    assert_int_equal(HASH_COUNT(table), 1000);
    HASH_FIND_STR(table, "name567", e);
    assert_non_null(e);
    assert_int_equal(e->value, 567);
    HASH_FIND_STR(table, "name1000", e);
    assert_null(e);
    HASH_ITER(hh, table, e, next) {
        HASH_DEL(table, e);
        free(e);
    }
    assert_null(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes_same_hash),
        cmocka_unit_test(test_length_counts),
        cmocka_unit_test(test_seed_changes_the_hash),
        cmocka_unit_test(test_table_finds_what_was_added),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
