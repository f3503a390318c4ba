/* SPDX-License-Identifier: ISC */
#include "pool/params.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct params_table *table;

static int set_up(void **state)
{
    (void)state;
    table = params_table_new();
    return table == NULL;
}

/* Aborts when a reference was left. */
static int tear_down(void **state)
{
    (void)state;
    table = params_table_free(table);
    return 0;
}

static const struct param some[] = {
    {"TimeZone", "UTC"}, {"application_name", "a"}, {"DateStyle", "ISO"}};

static void test_equal_sets_are_one_object(void **state)
{
    static const struct param other_order[] = {
        {"DateStyle", "ISO"}, {"TimeZone", "UTC"}, {"application_name", "a"}};
    static const struct param other_value[] = {
        {"DateStyle", "ISO"}, {"TimeZone", "GMT"}, {"application_name", "a"}};
    struct params *a = params_intern(table, some, ARRAY_LEN(some));
    struct params *b = params_intern(table, other_order, ARRAY_LEN(other_order));
    struct params *c = params_intern(table, other_value, ARRAY_LEN(other_value));
    struct params *d = params_intern(table, some, 2);

    (void)state;
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, c);
    assert_ptr_not_equal(a, d);
    assert_int_equal(params_table_count(table), 3);
    assert_int_equal(a->n, 3);
    assert_string_equal(a->entries[0].name, "application_name");
    assert_string_equal(a->entries[2].name, "TimeZone");
    a = params_unref(a);
    assert_null(a);
    assert_string_equal(params_get(b, "TimeZone"), "UTC");
    (void)params_unref(b);
    (void)params_unref(c);
    (void)params_unref(d);
    assert_int_equal(params_table_count(table), 0);
    assert_null(params_unref(NULL));
}

static void test_names_compare_without_case(void **state)
{
    struct params *p = params_intern(table, some, ARRAY_LEN(some));

    (void)state;
    assert_string_equal(params_get(p, "timezone"), "UTC");
    assert_string_equal(params_get(p, "APPLICATION_NAME"), "a");
    assert_null(params_get(p, "application_nam"));
    assert_null(params_get(p, "zzz"));
    assert_null(params_get(p, ""));
    assert_null(params_get(NULL, "TimeZone"));
    (void)params_unref(p);
}

static void test_empty_set(void **state)
{
    struct params *p = params_intern(table, NULL, 0);
    struct params *q = params_with(table, NULL, "a", NULL);

    (void)state;
    assert_non_null(p);
    assert_ptr_equal(p, q);
    assert_int_equal(p->n, 0);
    assert_null(params_get(p, "a"));
    (void)params_unref(p);
    (void)params_unref(q);
}

static void test_with_a_change(void **state)
{
    static const struct {
        const char *name;
        const char *param;
        const char *value;
        const char *expected; /* in order */
    } cases[] = {
        {"changed", "DateStyle", "SQL", "b=1 DateStyle=SQL y=2 "},
        {"changed, other case", "DATESTYLE", "SQL", "b=1 DateStyle=SQL y=2 "},
        {"same", "DateStyle", "ISO", "b=1 DateStyle=ISO y=2 "},
        {"removed", "datestyle", NULL, "b=1 y=2 "},
        {"first removed", "b", NULL, "DateStyle=ISO y=2 "},
        {"last removed", "y", NULL, "b=1 DateStyle=ISO "},
        {"removed, was not there", "x", NULL, "b=1 DateStyle=ISO y=2 "},
        {"added in front", "a", "0", "a=0 b=1 DateStyle=ISO y=2 "},
        {"added in the middle", "c", "0", "b=1 c=0 DateStyle=ISO y=2 "},
        {"added behind", "z", "0", "b=1 DateStyle=ISO y=2 z=0 "},
        {"empty value", "z", "", "b=1 DateStyle=ISO y=2 z= "},
    };
    static const struct param start[] = {{"b", "1"}, {"DateStyle", "ISO"}, {"y", "2"}};
    struct params *p = params_intern(table, start, ARRAY_LEN(start));

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b = BUF_INIT(1000);
        struct params *q = params_with(table, p, cases[i].param, cases[i].value);

        assert_non_null(q);
        /* as "b" < "DateStyle" < "y" without regard to case */
        for (unsigned k = 0; k < q->n; k++) {
            (void)buf_append_fmt(&b, "%s=%s ", q->entries[k].name, q->entries[k].value);
        }
        if (strcmp(buf_cstr(&b), cases[i].expected) != 0) {
            fail_msg("%s: %s", cases[i].name, buf_cstr(&b));
        }
        if (strcmp(cases[i].name, "same") == 0) {
            assert_ptr_equal(p, q);
        }
        (void)params_unref(q);
        buf_done(&b);
    }
    (void)params_unref(p);
}

static void test_most_parameters(void **state)
{
    static char names[PARAMS_MAX + 1][8];
    static struct param many[PARAMS_MAX + 1];
    struct params *p;
    struct params *q;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(many); i++) {
        (void)snprintf(names[i], sizeof(names[i]), "p%03zu", i);
        many[i] = (struct param){names[i], "v"};
    }
    assert_null(params_intern(table, many, PARAMS_MAX + 1));
    p = params_intern(table, many, PARAMS_MAX);
    assert_non_null(p);
    assert_null(params_with(table, p, "zzz", "v"));
    assert_null(params_with(table, p, "aaa", "v"));
    q = params_with(table, p, "P050", "w");
    assert_non_null(q);
    assert_int_equal(q->n, PARAMS_MAX);
    for (size_t i = 0; i < PARAMS_MAX; i++) {
        assert_non_null(params_get(q, names[i]));
    }
    (void)params_unref(p);
    (void)params_unref(q);
}

static void test_most_bytes(void **state)
{
    static char value[PARAMS_MAX_BYTES + 1];

    (void)state;
    for (size_t bytes = PARAMS_MAX_BYTES - 1; bytes <= PARAMS_MAX_BYTES + 1; bytes++) {
        struct params *p;

        memset(value, 'x', bytes - 3); /* "n" and its NUL, the value and its NUL */
        value[bytes - 3] = '\0';
        p = params_with(table, NULL, "n", value);
        assert_int_equal(p != NULL, bytes <= PARAMS_MAX_BYTES);
        (void)params_unref(p);
    }
}

static void test_many_sets(void **state)
{
    enum { MANY = 1000 };
    static struct params *sets[MANY];
    char value[16];

    (void)state;
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(value, sizeof(value), "%u", i);
        sets[i] = params_with(table, NULL, "application_name", value);
        assert_non_null(sets[i]);
    }
    assert_int_equal(params_table_count(table), MANY);
    for (unsigned i = 0; i < MANY; i++) {
        struct params *same;

        (void)snprintf(value, sizeof(value), "%u", i);
        same = params_with(table, NULL, "application_name", value);
        assert_ptr_equal(same, sets[i]);
        (void)params_unref(same);
    }
    for (unsigned i = 0; i < MANY; i++) {
        (void)params_unref(sets[i]);
    }
}

/* --- from one set to another --- */

static struct params *parse_set(const char *text)
{
    char copy[200];
    char *rest = copy;
    char *word;
    struct params *p = params_intern(table, NULL, 0);

    (void)snprintf(copy, sizeof(copy), "%s", text);
    while ((word = strsep(&rest, " ")) != NULL && *word != '\0') {
        char *value = strchr(word, '=');
        struct params *next;

        *value++ = '\0';
        next = params_with(table, p, word, value);
        (void)params_unref(p);
        p = next;
    }
    return p;
}

static void put_change(void *arg, const char *name, const char *value)
{
    (void)buf_append_fmt(arg, "%s=%s ", name, value);
}

static void test_diff(void **state)
{
    static const struct {
        const char *from;
        const char *to;
        const char *changes;
        const char *sql;
    } cases[] = {
        {"", "", "", ""},
        {"a=1", "a=1", "", ""},
        {"", "a=1", "a=1 ", "SELECT pg_catalog.set_config(E'a', E'1', false)"},
        {"a=1", "a=2", "a=2 ", "SELECT pg_catalog.set_config(E'a', E'2', false)"},
        {"A=1", "a=1", "", ""},
        {"a=1 b=2", "b=2", "", "SELECT pg_catalog.set_config(E'a', NULL, false)"},
        {"a=1 b=2 c=3", "b=4 c=3 d=5", "b=4 d=5 ",
         "SELECT pg_catalog.set_config(E'a', NULL, false), pg_catalog.set_config(E'b', E'4', "
         "false), "
         "pg_catalog.set_config(E'd', E'5', false)"},
        {"", "a=it's", "a=it's ", "SELECT pg_catalog.set_config(E'a', E'it''s', false)"},
        {"", "a=\\'", "a=\\' ", "SELECT pg_catalog.set_config(E'a', E'\\\\''', false)"},
        {"", "a=", "a= ", "SELECT pg_catalog.set_config(E'a', E'', false)"},
        {"", "x'y\\=z", "x'y\\=z ", "SELECT pg_catalog.set_config(E'x''y\\\\', E'z', false)"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct params *from = parse_set(cases[i].from);
        struct params *to = parse_set(cases[i].to);
        struct buf changes = BUF_INIT(1000);
        struct buf sql = BUF_INIT(1000);

        params_diff(from, to, put_change, &changes);
        params_diff_sql(from, to, &sql);
        if (strcmp(buf_cstr(&changes), cases[i].changes) != 0 ||
            strcmp(buf_cstr(&sql), cases[i].sql) != 0) {
            fail_msg("from \"%s\" to \"%s\": %s: %s", cases[i].from, cases[i].to,
                     buf_cstr(&changes), buf_cstr(&sql));
        }
        buf_done(&changes);
        buf_done(&sql);
        (void)params_unref(from);
        (void)params_unref(to);
    }
}

static void test_diff_with_nothing(void **state)
{
    struct params *p = parse_set("a=1");
    struct buf sql = BUF_INIT(1000);

    (void)state;
    params_diff_sql(NULL, NULL, &sql);
    assert_int_equal(sql.len, 0);
    params_diff_sql(NULL, p, &sql);
    assert_string_equal(buf_cstr(&sql), "SELECT pg_catalog.set_config(E'a', E'1', false)");
    buf_clear(&sql);
    params_diff_sql(p, NULL, &sql);
    assert_string_equal(buf_cstr(&sql), "SELECT pg_catalog.set_config(E'a', NULL, false)");
    buf_done(&sql);
    (void)params_unref(p);
}

#define PARAMS_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PARAMS_TEST(test_equal_sets_are_one_object),
        PARAMS_TEST(test_names_compare_without_case),
        PARAMS_TEST(test_empty_set),
        PARAMS_TEST(test_with_a_change),
        PARAMS_TEST(test_most_parameters),
        PARAMS_TEST(test_most_bytes),
        PARAMS_TEST(test_many_sets),
        PARAMS_TEST(test_diff),
        PARAMS_TEST(test_diff_with_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
