/* SPDX-License-Identifier: ISC */
/* Databases, users and targets as they are counted and looked up, and the averages of SHOW STATS: counts and bytes per
 * second, times per event. */
#include "pool/database.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct pool_env *env;

static int set_up(void **state)
{
    (void)state;
    env = pool_env_new(NULL, NULL, NULL);
    return env == NULL;
}

/* Aborts when a database or a user was left. */
static int tear_down(void **state)
{
    (void)state;
    env = pool_env_free(env);
    return 0;
}

static void test_averages(void **state)
{
    struct database *db = database_new(env, "shop");
    struct pool_stats *s = &db->stats;

    (void)state;
    *s = (struct pool_stats){.server_assignment_count = 60,
                             .xact_count = 120,
                             .query_count = 600,
                             .bytes_received = 6000,
                             .bytes_sent = 60059,
                             .xact_time_us = 240000,
                             .query_time_us = 300,
                             .wait_time_us = 90,
                             .client_parse_count = 59,
                             .server_parse_count = 61,
                             .bind_count = 180,
                             .client_login_count = 6000};
    database_stats_turn(db, 60 * USEC_PER_SEC);
    assert_int_equal(db->average.server_assignment_count, 1);
    assert_int_equal(db->average.xact_count, 2);
    assert_int_equal(db->average.query_count, 10);
    assert_int_equal(db->average.bytes_received, 100);
    assert_int_equal(db->average.bytes_sent, 1000);
    assert_int_equal(db->average.xact_time_us, 2000); /* per transaction */
    assert_int_equal(db->average.query_time_us, 0);   /* half a microsecond per query */
    assert_int_equal(db->average.wait_time_us, 1);    /* per assignment */
    assert_int_equal(db->average.client_parse_count, 0);
    assert_int_equal(db->average.server_parse_count, 1);
    assert_int_equal(db->average.bind_count, 3);
    assert_int_equal(db->average.client_login_count, 100);
    assert_int_equal(s->query_count, 600); /* the totals stay */
    (void)database_free(db);
}

static void test_each_period_counts_for_itself(void **state)
{
    struct database *db = database_new(env, "shop");

    (void)state;
    db->stats.query_count = 100;
    db->stats.query_time_us = 100000;
    database_stats_turn(db, 10 * USEC_PER_SEC);
    assert_int_equal(db->average.query_count, 10);
    assert_int_equal(db->average.query_time_us, 1000);
    db->stats.query_count += 50;
    db->stats.query_time_us += 100000;
    database_stats_turn(db, 10 * USEC_PER_SEC);
    assert_int_equal(db->average.query_count, 5);
    assert_int_equal(db->average.query_time_us, 2000);
    database_stats_turn(db, 0); /* no time passed: nothing changes */
    assert_int_equal(db->average.query_count, 5);
    database_stats_turn(db, 10 * USEC_PER_SEC); /* nothing happened */
    assert_int_equal(db->average.query_count, 0);
    assert_int_equal(db->average.query_time_us, 0);
    (void)database_free(db);
}

/* Two databases as one: not the mean of two means. */
static void test_the_average_of_a_sum_is_exact(void **state)
{
    struct database *few = database_new(env, "few");
    struct database *many = database_new(env, "many");
    struct pool_stats sum;
    struct pool_stats average;

    (void)state;
    few->stats = (struct pool_stats){.query_count = 1, .query_time_us = 1000, .bytes_sent = 5};
    many->stats = (struct pool_stats){.query_count = 9, .query_time_us = 90, .bytes_sent = 5};
    database_stats_turn(few, 10 * USEC_PER_SEC);
    database_stats_turn(many, 10 * USEC_PER_SEC);
    sum = few->period;
    pool_stats_add(&sum, &many->period);
    pool_stats_average(&sum, 10 * USEC_PER_SEC, &average);
    assert_int_equal(average.query_count, 1);
    assert_int_equal(average.query_time_us, 109);   /* 1090 us in 10 queries */
    assert_int_equal(average.bytes_sent, 1);        /* half a byte from each */
    pool_stats_average(&many->period, 0, &average); /* before the first period has ended */
    assert_int_equal(average.query_count, 0);
    assert_int_equal(average.bytes_sent, 0);
    (void)database_free(few);
    (void)database_free(many);
}

static void test_large_counters_do_not_wrap(void **state)
{
    struct database *db = database_new(env, "shop");
    uint64_t bytes = (uint64_t)1 << 50; /* times a million: beyond 64 bits */

    (void)state;
    db->stats.bytes_sent = bytes;
    database_stats_turn(db, 1 * USEC_PER_SEC);
    assert_true(db->average.bytes_sent == bytes);
    (void)database_free(db);
}

static void test_sums(void **state)
{
    struct pool_stats sum = {.query_count = 1, .client_login_count = 2};
    struct pool_stats s = {.server_assignment_count = 5, .query_count = 3, .client_login_count = 4};

    (void)state;
    pool_stats_add(&sum, &s);
    pool_stats_add(&sum, &s);
    assert_int_equal(sum.server_assignment_count, 10);
    assert_int_equal(sum.query_count, 7);
    assert_int_equal(sum.client_login_count, 10);
    assert_int_equal(sum.xact_count, 0);
}

static void test_found_by_their_names(void **state)
{
    struct database *a = database_new(env, "a");
    struct database *b = database_new(env, "b");
    struct pool_user *u = pool_user_new(env, "a");

    (void)state;
    assert_ptr_equal(database_find(env, "a"), a);
    assert_ptr_equal(database_find(env, "b"), b);
    assert_null(database_find(env, "A"));
    assert_null(database_find(env, ""));
    assert_ptr_equal(pool_user_find(env, "a"), u);
    assert_null(pool_user_find(env, "b"));
    a = database_free(a);
    assert_null(a);
    assert_null(database_find(env, "a"));
    assert_ptr_equal(database_find(env, "b"), b);
    (void)database_free(b);
    (void)pool_user_free(u);
    assert_null(database_free(NULL));
    assert_null(pool_user_free(NULL));
}

static void test_target_lives_as_long_as_it_is_used(void **state)
{
    struct database *db = database_new(env, "shop");
    struct target *t = target_new();

    (void)state;
    assert_int_equal(t->refs, 1);
    assert_true(target_add_host(t, "one", 5432));
    assert_true(target_add_host(t, "/tmp", 5433));
    assert_int_equal(t->n_hosts, 2);
    assert_string_equal(t->hosts[0].name, "one");
    assert_int_equal(t->hosts[1].port, 5433);
    t->startup = params_with(env->params, NULL, "DateStyle", "ISO");
    t->dbname = strdup("shop");
    db->target = target_ref(t);
    (void)database_free(db);
    assert_int_equal(t->refs, 1);
    assert_null(target_unref(t));
    assert_null(target_unref(NULL));
    assert_int_equal(params_table_count(env->params), 0);
}

static void test_credentials_are_wiped(void **state)
{
    struct pool_user *u = pool_user_new(env, "app");

    (void)state;
    assert_true(secret_set(&u->credentials->password, "secret", 6));
    memset(u->credentials->md5, 'm', sizeof(u->credentials->md5));
    memset(&u->credentials->scram, 's', sizeof(u->credentials->scram));
    u->credentials->scram.has_client_key = true;
    credentials_wipe(u->credentials);
    assert_false(secret_is_set(&u->credentials->password));
    assert_string_equal(u->credentials->md5, "");
    assert_false(u->credentials->scram.has_client_key);
    (void)pool_user_free(u);
}

static void test_tracked_parameters(void **state)
{
    static const struct {
        const char *tracked;
        const char *name;
        bool is;
    } cases[] = {
        {"", "TimeZone", true},
        {"", "timezone", true},
        {"", "client_encoding", true},
        {"", "application_name", true},
        {"", "DateStyle", true},
        {"", "standard_conforming_strings", true},
        {"", "IntervalStyle", false},
        {"", "", false},
        {"IntervalStyle", "intervalstyle", true},
        {"IntervalStyle", "Interval", false},
        {"a, b ,c", "b", true},
        {"a, b ,c", "c", true},
        {"a,,c", "", false},
        {"a,b", "a,b", false},
        {"search_path", "search_pat", false},
        {"search_path", "search_path2", false},
        {" , ", "x", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        env->settings.tracked = cases[i].tracked;
        if (pool_env_is_tracked(env, cases[i].name) != cases[i].is) {
            fail_msg("\"%s\" in \"%s\"", cases[i].name, cases[i].tracked);
        }
    }
}

#define STATS_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STATS_TEST(test_averages),
        STATS_TEST(test_the_average_of_a_sum_is_exact),
        STATS_TEST(test_each_period_counts_for_itself),
        STATS_TEST(test_large_counters_do_not_wrap),
        STATS_TEST(test_sums),
        STATS_TEST(test_found_by_their_names),
        STATS_TEST(test_target_lives_as_long_as_it_is_used),
        STATS_TEST(test_credentials_are_wiped),
        STATS_TEST(test_tracked_parameters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
