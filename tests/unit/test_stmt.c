/* SPDX-License-Identifier: ISC */
#include "pool/stmt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct stmt_table *table;

static int set_up(void **state)
{
    (void)state;
    table = stmt_table_new();
    return table == NULL;
}

/* Aborts when a reference was left. */
static int tear_down(void **state)
{
    (void)state;
    table = stmt_table_free(table);
    return 0;
}

static struct stmt *numbered(unsigned i)
{
    char body[32];
    int len = snprintf(body, sizeof(body), "select %u%c%c%c", i, 0, 0, 0);

    return stmt_intern(table, body, (size_t)len);
}

/* --- texts --- */

static void test_equal_texts_are_one_object(void **state)
{
    struct stmt *a = stmt_intern(table, "select 1\0\0\0", 11);
    struct stmt *b = stmt_intern(table, "select 1\0\0\0", 11);
    struct stmt *typed = stmt_intern(table, "select 1\0\0\1\0\0\0\x17", 15);
    struct stmt *prefix = stmt_intern(table, "select 1", 8);

    (void)state;
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, typed);
    assert_ptr_not_equal(a, prefix);
    assert_int_equal(a->body_len, 11);
    assert_memory_equal(a->body, "select 1\0\0\0", 11);
    assert_int_equal(stmt_table_count(table), 3);
    assert_null(stmt_unref(a));
    assert_int_equal(stmt_table_count(table), 3);
    (void)stmt_unref(b);
    (void)stmt_unref(typed);
    (void)stmt_unref(prefix);
    assert_int_equal(stmt_table_count(table), 0);
    assert_null(stmt_unref(NULL));
}

static void test_thousands_of_texts(void **state)
{
    enum { MANY = 3000 };
    static struct stmt *all[MANY];

    (void)state;
    for (unsigned i = 0; i < MANY; i++) {
        all[i] = numbered(i);
    }
    assert_int_equal(stmt_table_count(table), MANY);
    for (unsigned i = 0; i < MANY; i++) {
        struct stmt *again = numbered(i);

        assert_ptr_equal(again, all[i]);
        (void)stmt_unref(again);
    }
    for (unsigned i = MANY; i > 0; i--) {
        (void)stmt_unref(all[i - 1]);
    }
}

/* --- a client's names --- */

static void test_names(void **state)
{
    enum { MANY = 500 };
    struct prepared_set set = {0};
    struct stmt *stmt = numbered(1);
    struct prepared *stranger = prepared_new("7", stmt);
    char name[16];

    (void)state;
    assert_null(prepared_set_find(&set, "7"));
    prepared_set_remove(&set, stranger);
    for (unsigned i = 0; i < MANY; i++) {
        struct prepared *p;

        (void)snprintf(name, sizeof(name), "%u", i);
        p = prepared_new(name, stmt);
        assert_non_null(p);
        assert_true(prepared_set_add(&set, p));
        assert_int_equal(p->refs, 2);
        (void)prepared_unref(p);
    }
    assert_int_equal(set.n, MANY);
    prepared_set_remove(&set, stranger); /* of the same name, but not this one */
    assert_int_equal(set.n, MANY);
    assert_int_equal(stranger->refs, 1);
    for (unsigned i = 0; i < MANY; i += 2) {
        struct prepared *p;

        (void)snprintf(name, sizeof(name), "%u", i);
        p = prepared_set_find(&set, name);
        assert_non_null(p);
        assert_string_equal(p->name, name);
        prepared_set_remove(&set, p);
        assert_null(prepared_set_find(&set, name));
    }
    assert_int_equal(set.n, MANY / 2);
    assert_non_null(prepared_set_find(&set, "499"));
    assert_null(prepared_set_find(&set, "500"));
    assert_null(prepared_set_find(&set, ""));
    prepared_set_clear(&set);
    assert_int_equal(set.n, 0);
    assert_null(prepared_set_find(&set, "499"));
    assert_true(prepared_set_add(&set, stranger)); /* of use again */
    prepared_set_done(&set);
    prepared_set_done(&set);
    assert_int_equal(stranger->refs, 1);
    (void)prepared_unref(stranger);
    assert_int_equal(stmt->refs, 1);
    (void)stmt_unref(stmt);
}

static void test_a_removed_statement_lives_while_in_flight(void **state)
{
    struct prepared_set set = {0};
    struct stmt *stmt = numbered(1);
    struct prepared *p = prepared_new("s", stmt);

    (void)state;
    assert_true(prepared_set_add(&set, p));
    prepared_set_remove(&set, p);
    assert_string_equal(p->name, "s");
    assert_ptr_equal(p->stmt, stmt);
    assert_int_equal(p->version, 0);
    assert_int_equal(p->server_id, 0);
    prepared_set_remove(&set, p); /* no longer there */
    assert_int_equal(p->refs, 1);
    (void)prepared_unref(prepared_ref(p));
    assert_null(prepared_unref(p));
    (void)stmt_unref(stmt);
    prepared_set_done(&set);
}

/* --- a server connection's copies --- */

static void put(struct stmt_cache *c, struct stmt *s, uint64_t version, uint32_t id, uint32_t old)
{
    bool ok = false;

    assert_int_equal(stmt_cache_put(c, s, version, id, &ok), old);
    assert_true(ok);
}

static void test_cache_by_statement_and_version(void **state)
{
    struct stmt_cache c;
    struct stmt *a = numbered(1);
    struct stmt *b = numbered(2);

    (void)state;
    stmt_cache_init(&c);
    assert_int_equal(stmt_cache_use(&c, a, 1), 0);
    assert_int_equal(stmt_cache_evict(&c), 0);
    put(&c, a, 1, 10, 0);
    put(&c, a, 2, 11, 0);
    put(&c, b, 1, 12, 0);
    assert_int_equal(stmt_cache_count(&c), 3);
    assert_int_equal(stmt_cache_use(&c, a, 1), 10);
    assert_int_equal(stmt_cache_use(&c, a, 2), 11);
    assert_int_equal(stmt_cache_use(&c, b, 1), 12);
    assert_int_equal(stmt_cache_use(&c, b, 2), 0);
    put(&c, a, 1, 13, 10); /* the older copy is to be closed */
    assert_int_equal(stmt_cache_use(&c, a, 1), 13);
    assert_int_equal(stmt_cache_count(&c), 3);
    assert_int_equal(stmt_cache_evict(&c), 11);
    assert_int_equal(stmt_cache_use(&c, a, 2), 0);
    assert_int_equal(stmt_cache_use(&c, a, 1), 13);
    assert_int_equal(a->refs, 2);
    stmt_cache_done(&c);
    stmt_cache_done(&c);
    assert_int_equal(a->refs, 1);
    (void)stmt_unref(a);
    (void)stmt_unref(b);
}

static void test_least_recently_used_goes_first(void **state)
{
    struct stmt_cache c;
    struct stmt *s[4];

    (void)state;
    stmt_cache_init(&c);
    for (unsigned i = 0; i < 4; i++) {
        s[i] = numbered(i);
        put(&c, s[i], 1, 10 + i, 0);
    }
    assert_int_equal(stmt_cache_use(&c, s[0], 1), 10);
    assert_int_equal(stmt_cache_use(&c, s[0], 1), 10);
    assert_int_equal(stmt_cache_use(&c, s[2], 1), 12);
    put(&c, s[1], 1, 20, 11); /* a put is a use */
    assert_int_equal(stmt_cache_evict(&c), 13);
    assert_int_equal(stmt_cache_evict(&c), 10);
    assert_int_equal(stmt_cache_evict(&c), 12);
    assert_int_equal(stmt_cache_evict(&c), 20);
    assert_int_equal(stmt_cache_evict(&c), 0);
    for (unsigned i = 0; i < 4; i++) {
        (void)stmt_unref(s[i]);
    }
    stmt_cache_done(&c);
}

static uint32_t *oldest_of(uint32_t *ids, const unsigned *used, size_t n)
{
    uint32_t *oldest = NULL;

    for (size_t i = 0; i < n; i++) {
        if (ids[i] != 0 && (oldest == NULL || used[i] < used[oldest - ids])) {
            oldest = &ids[i];
        }
    }
    assert_non_null(oldest);
    return oldest;
}

/* Against a plain array of what ought to be there; many versions of one statement share their place in the table. */
static void test_cache_against_a_model(void **state)
{
    enum { STMTS = 8, VERSIONS = 40 };
    static uint32_t model[STMTS][VERSIONS];
    static unsigned used[STMTS][VERSIONS]; /* in which step last */
    struct stmt *s[STMTS];
    struct stmt_cache c;
    uint32_t random = 12345;
    unsigned n = 0;

    (void)state;
    stmt_cache_init(&c);
    for (unsigned i = 0; i < STMTS; i++) {
        s[i] = numbered(i);
    }
    for (unsigned step = 0; step < 5000; step++) {
        unsigned at;
        unsigned version;

        random = random * 1664525 + 1013904223;
        at = (random >> 8) % STMTS;
        version = (random >> 12) % VERSIONS;
        assert_int_equal(stmt_cache_use(&c, s[at], version), model[at][version]);
        used[at][version] = step;
        if (random >> 31 == 0) {
            uint32_t id = stmt_cache_new_id(&c);

            n += model[at][version] == 0;
            put(&c, s[at], version, id, model[at][version]);
            model[at][version] = id;
        } else if (model[at][version] != 0) {
            uint32_t *oldest = oldest_of(&model[0][0], &used[0][0], STMTS * VERSIONS);

            assert_int_equal(stmt_cache_evict(&c), *oldest);
            *oldest = 0;
            n--;
        }
        assert_int_equal(stmt_cache_count(&c), n);
    }
    for (unsigned i = 0; i < STMTS; i++) {
        for (unsigned v = 0; v < VERSIONS; v++) {
            assert_int_equal(stmt_cache_use(&c, s[i], v), model[i][v]);
        }
    }
    stmt_cache_clear(&c);
    assert_int_equal(stmt_cache_count(&c), 0);
    assert_int_equal(stmt_cache_use(&c, s[0], 0), 0);
    put(&c, s[0], 0, stmt_cache_new_id(&c), 0); /* of use again */
    stmt_cache_done(&c);
    for (unsigned i = 0; i < STMTS; i++) {
        assert_int_equal(s[i]->refs, 1);
        (void)stmt_unref(s[i]);
    }
}

static void test_names_on_the_server(void **state)
{
    struct stmt_cache c;
    char name[STMT_SERVER_NAME_MAX_BYTES];

    (void)state;
    stmt_cache_init(&c);
    assert_int_equal(stmt_cache_new_id(&c), 1);
    assert_int_equal(stmt_cache_new_id(&c), 2);
    stmt_cache_clear(&c);
    assert_int_equal(stmt_cache_new_id(&c), 3); /* never a second time */
    stmt_server_name(name, 3);
    assert_string_equal(name, "pgpoold_3");
    stmt_server_name(name, UINT32_MAX);
    assert_string_equal(name, "pgpoold_4294967295");
    stmt_cache_done(&c);
}

#define STMT_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STMT_TEST(test_equal_texts_are_one_object),
        STMT_TEST(test_thousands_of_texts),
        STMT_TEST(test_names),
        STMT_TEST(test_a_removed_statement_lives_while_in_flight),
        STMT_TEST(test_cache_by_statement_and_version),
        STMT_TEST(test_least_recently_used_goes_first),
        STMT_TEST(test_cache_against_a_model),
        STMT_TEST(test_names_on_the_server),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
