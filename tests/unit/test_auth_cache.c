/* SPDX-License-Identifier: ISC */
/* What auth_query has found: for whom it is found again, for how long, and how much is kept. */
#include "daemon/auth_cache.h"

#include "daemon/util/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MINUTE (60 * USEC_PER_SEC)

static const struct auth_cache_key key = {"db", "asker", "SELECT", "user"};

static void put(struct auth_cache *cache, const struct auth_cache_key *k, const char *text)
{
    struct secret s = {.data = NULL};

    assert_true(secret_set(&s, text, strlen(text)));
    auth_cache_put(cache, k, &s);
    secret_done(&s);
}

/* What is found, or "". */
static const char *get(struct auth_cache *cache, const struct auth_cache_key *k, usec_t max_age_us)
{
    static char text[64];
    struct secret s = {.data = NULL};

    text[0] = '\0';
    if (auth_cache_get(cache, k, max_age_us, &s)) {
        (void)snprintf(text, sizeof(text), "%s", s.data);
    }
    secret_done(&s);
    return text;
}

static void test_found_is_what_was_put(void **state)
{
    struct auth_cache *cache = auth_cache_new();
    const struct auth_cache_key others[] = {
        {"db2", "asker", "SELECT", "user"},  {"db", "asker2", "SELECT", "user"},
        {"db", "asker", "SELECT 2", "user"}, {"db", "asker", "SELECT", "user2"},
        {"d", "basker", "SELECT", "user"},   {"db", "asker", "SELECTuser", ""},
    };

    (void)state;
    assert_string_equal(get(cache, &key, MINUTE), "");
    put(cache, &key, "secret");
    assert_string_equal(get(cache, &key, MINUTE), "secret");
    assert_string_equal(get(cache, &key, MINUTE), "secret"); /* stays */
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        assert_string_equal(get(cache, &others[i], MINUTE), "");
    }
    put(cache, &key, "new");
    assert_string_equal(get(cache, &key, MINUTE), "new");
    assert_int_equal(auth_cache_count(cache), 1);
    auth_cache_drop(cache, &others[0]);
    auth_cache_drop(cache, &key);
    assert_string_equal(get(cache, &key, MINUTE), "");
    assert_null(auth_cache_free(cache));
    assert_null(auth_cache_free(NULL));
}

static void test_it_grows_old(void **state)
{
    struct auth_cache *cache = auth_cache_new();

    (void)state;
    clock_fake(1000);
    put(cache, &key, "secret");
    clock_fake(1000 + MINUTE);
    assert_string_equal(get(cache, &key, MINUTE), "secret");
    clock_fake(1000 + MINUTE + 1);
    assert_string_equal(get(cache, &key, MINUTE), "");
    assert_int_equal(auth_cache_count(cache), 0);
    (void)auth_cache_free(cache);
}

static void test_the_oldest_gives_way(void **state)
{
    struct auth_cache *cache = auth_cache_new();
    char name[16];
    struct auth_cache_key k = key;

    (void)state;
    k.user = name;
    for (unsigned i = 0; i < AUTH_CACHE_MAX + 10; i++) {
        (void)snprintf(name, sizeof(name), "u%u", i);
        put(cache, &k, name);
    }
    assert_int_equal(auth_cache_count(cache), AUTH_CACHE_MAX);
    (void)snprintf(name, sizeof(name), "u9");
    assert_string_equal(get(cache, &k, MINUTE), "");
    (void)snprintf(name, sizeof(name), "u10");
    assert_string_equal(get(cache, &k, MINUTE), "u10");
    auth_cache_clear(cache);
    assert_int_equal(auth_cache_count(cache), 0);
    assert_string_equal(get(cache, &k, MINUTE), "");
    (void)auth_cache_free(cache);
}

static void test_a_key_that_is_too_long_is_not_kept(void **state)
{
    struct auth_cache *cache = auth_cache_new();
    struct auth_cache_key k = key;
    char *query = malloc(100001);

    (void)state;
    assert_non_null(query);
    memset(query, 'x', 100000);
    query[100000] = '\0';
    k.query = query;
    put(cache, &k, "secret");
    assert_string_equal(get(cache, &k, MINUTE), "");
    assert_int_equal(auth_cache_count(cache), 0);
    free(query);
    (void)auth_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found_is_what_was_put),
        cmocka_unit_test(test_it_grows_old),
        cmocka_unit_test(test_the_oldest_gives_way),
        cmocka_unit_test(test_a_key_that_is_too_long_is_not_kept),
    };

    hash_seed_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
