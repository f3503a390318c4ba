/* SPDX-License-Identifier: ISC */
#include "daemon/canon.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const int shop, bank; /* two databases; only their addresses count */

static void test_learnt_per_database_name_and_value(void **state)
{
    struct canon_table *t = canon_new();

    (void)state;
    assert_null(canon_find(t, &shop, "client_encoding", "utf-8"));
    canon_learn(t, &shop, "client_encoding", "utf-8", "UTF8");
    canon_learn(t, &shop, "DateStyle", "iso", "ISO, MDY");
    canon_learn(t, &bank, "DateStyle", "iso", "ISO, DMY");
    assert_string_equal(canon_find(t, &shop, "client_encoding", "utf-8"), "UTF8");
    assert_string_equal(canon_find(t, &shop, "DateStyle", "iso"), "ISO, MDY");
    assert_string_equal(canon_find(t, &bank, "DateStyle", "iso"), "ISO, DMY");
    assert_null(canon_find(t, &bank, "client_encoding", "utf-8"));
    assert_null(canon_find(t, NULL, "client_encoding", "utf-8"));
    assert_null(canon_find(t, &shop, "client_encoding", "utf"));
    assert_null(canon_find(t, &shop, "client_encodin", "gutf-8"));
    assert_null(canon_find(t, &shop, "client_encoding", ""));
    t = canon_free(t);
    assert_null(t);
    assert_null(canon_free(NULL));
}

static void test_cleared(void **state)
{
    struct canon_table *t = canon_new();

    (void)state;
    canon_learn(t, &shop, "TimeZone", "utc", "UTC");
    canon_clear(t);
    assert_null(canon_find(t, &shop, "TimeZone", "utc"));
    canon_clear(t);
    canon_learn(t, &shop, "TimeZone", "utc", "Etc/UTC");
    assert_string_equal(canon_find(t, &shop, "TimeZone", "utc"), "Etc/UTC");
    (void)canon_free(t);
}

static void test_empty_spelling_and_value(void **state)
{
    struct canon_table *t = canon_new();

    (void)state;
    canon_learn(t, &shop, "application_name", "", "");
    assert_string_equal(canon_find(t, &shop, "application_name", ""), "");
    (void)canon_free(t);
}

static void test_long_values_are_not_kept(void **state)
{
    static char value[5000];
    struct canon_table *t = canon_new();

    (void)state;
    memset(value, 'x', sizeof(value) - 1);
    canon_learn(t, &shop, "application_name", value, "short");
    assert_null(canon_find(t, &shop, "application_name", value));
    value[200] = '\0';
    assert_null(canon_find(t, &shop, "application_name", value));
    canon_learn(t, &shop, "application_name", value, "short");
    assert_string_equal(canon_find(t, &shop, "application_name", value), "short");
    (void)canon_free(t);
}

/* Clients choose the values: the table forgets rather than grows. */
static void test_bounded(void **state)
{
    enum { MANY = 20000, BOUND = 4096 };
    struct canon_table *t = canon_new();
    unsigned known = 0;
    char value[16];

    (void)state;
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(value, sizeof(value), "%u", i);
        canon_learn(t, &shop, "application_name", value, value);
        assert_string_equal(canon_find(t, &shop, "application_name", value),
                            value); /* the newest is always there */
    }
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(value, sizeof(value), "%u", i);
        known += canon_find(t, &shop, "application_name", value) != NULL;
    }
    assert_true(known > 0 && known <= BOUND);
    (void)canon_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learnt_per_database_name_and_value),
        cmocka_unit_test(test_cleared),
        cmocka_unit_test(test_empty_spelling_and_value),
        cmocka_unit_test(test_long_values_are_not_kept),
        cmocka_unit_test(test_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
