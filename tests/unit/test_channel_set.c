/* SPDX-License-Identifier: ISC */
#include "pool/channel_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MANY 10000U

static void test_subscribe_and_unsubscribe(void **state)
{
    struct channel_set set;
    struct subscriber anna;
    struct subscriber bert;
    struct channel *a = NULL;
    struct channel *again = NULL;

    (void)state;
    channel_set_init(&set);
    subscriber_init(&anna);
    subscriber_init(&bert);
    assert_null(channel_find(&set, "a"));
    assert_false(channel_unsubscribe(&set, &anna, "a"));
    assert_int_equal(channel_subscribe(&set, &anna, "a", 0, &a), 0);
    assert_int_equal(channel_subscribe(&set, &anna, "a", 0, &again), CHANNEL_E_ALREADY);
    assert_ptr_equal(a, again);
    assert_ptr_equal(channel_find(&set, "a"), a);
    assert_null(channel_find(&set, "A"));
    assert_null(channel_find(&set, ""));
    assert_string_equal(a->name, "a");
    assert_int_equal(channel_subscribe(&set, &bert, "a", 0, &again), 0);
    assert_int_equal(a->subscribers.n, 2);
    assert_int_equal(set.used.n, 1);
    assert_int_equal(channel_set_count_subscriptions(&set), 2);
    assert_true(channel_has_subscriber(&set, a, &bert));
    assert_true(channel_unsubscribe(&set, &anna, "a"));
    assert_false(channel_unsubscribe(&set, &anna, "a"));
    assert_false(channel_has_subscriber(&set, a, &anna));
    assert_int_equal(set.empty.n, 0);
    assert_true(channel_unsubscribe(&set, &bert, "a"));
    assert_int_equal(set.used.n, 0);
    assert_int_equal(set.empty.n, 1);
    channel_set_done(&set);
    channel_set_done(&set);
}

static void test_an_empty_channel_stays_until_it_is_dropped(void **state)
{
    struct channel_set set;
    struct subscriber anna;
    struct channel *a = NULL;
    struct channel *again = NULL;

    (void)state;
    channel_set_init(&set);
    subscriber_init(&anna);
    assert_int_equal(channel_subscribe(&set, &anna, "a", 0, &a), 0);
    a->hub_state = 7;
    channel_unsubscribe_all(&set, &anna);
    assert_ptr_equal(channel_find(&set, "a"), a);
    assert_int_equal(channel_subscribe(&set, &anna, "a", 0, &again), 0);
    assert_ptr_equal(again, a);
    assert_int_equal(again->hub_state, 7);
    assert_int_equal(set.empty.n, 0);
    channel_unsubscribe_all(&set, &anna);
    channel_drop(&set, a);
    assert_null(channel_find(&set, "a"));
    assert_int_equal(set.used.n + set.empty.n, 0);
    assert_int_equal(channel_subscribe(&set, &anna, "a", 0, &again), 0);
    assert_int_equal(again->hub_state, 0);
    channel_set_done(&set);
    assert_int_equal(anna.subscriptions.n, 0);
}

static void test_a_subscriber_has_so_many_channels_and_no_more(void **state)
{
    struct channel_set set;
    struct subscriber anna;
    struct channel *ch = NULL;

    (void)state;
    channel_set_init(&set);
    subscriber_init(&anna);
    assert_int_equal(channel_subscribe(&set, &anna, "a", 2, &ch), 0);
    assert_int_equal(channel_subscribe(&set, &anna, "b", 2, &ch), 0);
    assert_int_equal(channel_subscribe(&set, &anna, "c", 2, &ch), CHANNEL_E_FULL);
    assert_null(channel_find(&set, "c"));
    assert_int_equal(channel_subscribe(&set, &anna, "b", 2, &ch), CHANNEL_E_ALREADY);
    assert_true(channel_unsubscribe(&set, &anna, "a"));
    assert_int_equal(channel_subscribe(&set, &anna, "c", 2, &ch), 0);
    channel_set_done(&set);
}

static void test_names_of_all_lengths(void **state)
{
    struct channel_set set;
    struct subscriber anna;
    char name[CHANNEL_NAME_MAX + 1] = "";

    (void)state;
    channel_set_init(&set);
    subscriber_init(&anna);
    for (size_t len = 1; len <= CHANNEL_NAME_MAX; len++) {
        struct channel *ch = NULL;

        name[len - 1] = 'x';
        assert_int_equal(channel_subscribe(&set, &anna, name, 0, &ch), 0);
        assert_int_equal(ch->name_len, len);
        assert_string_equal(ch->name, name);
    }
    assert_int_equal(set.used.n + set.empty.n, CHANNEL_NAME_MAX);
    channel_set_done(&set);
}

static void test_the_current_one_may_be_unsubscribed_on_a_visit(void **state)
{
    struct channel_set set;
    struct subscriber subs[10];
    struct subscription *sub;
    struct channel *a = NULL;
    unsigned n = 0;

    (void)state;
    channel_set_init(&set);
    for (unsigned i = 0; i < 10; i++) {
        subscriber_init(&subs[i]);
        assert_int_equal(channel_subscribe(&set, &subs[i], "a", 0, &a), 0);
    }
    channel_for_each_subscription(a, sub)
    {
        assert_ptr_equal(sub->subscriber, &subs[n]); /* in the order in which they came */
        if (n++ % 2 == 0) {
            channel_unsubscribe_all(&set, sub->subscriber);
        }
    }
    assert_int_equal(n, 10);
    assert_int_equal(a->subscribers.n, 5);
    subscriber_for_each_subscription(&subs[1], sub)
    {
        assert_ptr_equal(sub->channel, a);
    }
    channel_set_done(&set);
}

static void test_ten_thousand_subscribers_of_one_channel(void **state)
{
    struct channel_set set;
    struct subscriber *subs = calloc(MANY, sizeof(*subs));
    struct channel *a = NULL;

    (void)state;
    assert_non_null(subs);
    channel_set_init(&set);
    for (unsigned i = 0; i < MANY; i++) {
        subscriber_init(&subs[i]);
        assert_int_equal(channel_subscribe(&set, &subs[i], "a", 0, &a), 0);
    }
    assert_int_equal(a->subscribers.n, MANY);
    for (unsigned i = 0; i < MANY; i++) {
        unsigned k = i * 7919 % MANY; /* all of them, in no order */

        assert_true(channel_unsubscribe(&set, &subs[k], "a"));
    }
    assert_int_equal(channel_set_count_subscriptions(&set), 0);
    channel_set_done(&set);
    free(subs);
}

static void test_ten_thousand_channels_of_one_subscriber(void **state)
{
    struct channel_set set;
    struct subscriber anna;
    struct channel *ch = NULL;
    char name[16];

    (void)state;
    channel_set_init(&set);
    subscriber_init(&anna);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < MANY; i++) {
            (void)snprintf(name, sizeof(name), "ch%u", i);
            assert_int_equal(channel_subscribe(&set, &anna, name, 0, &ch), 0);
        }
        assert_int_equal(set.used.n, MANY);
        assert_int_equal(anna.subscriptions.n, MANY);
        for (unsigned i = 0; i < MANY; i++) {
            (void)snprintf(name, sizeof(name), "ch%u", i * 7919 % MANY);
            ch = channel_find(&set, name);
            assert_non_null(ch);
            assert_string_equal(ch->name, name);
            if (round == 0) {
                assert_true(channel_unsubscribe(&set, &anna, name));
                channel_drop(&set, ch);
            }
        }
    }
    channel_unsubscribe_all(&set, &anna);
    assert_int_equal(set.empty.n, MANY);
    channel_set_done(&set);
    assert_int_equal(set.used.n + set.empty.n, 0);
}

/* Against a plain matrix. */
static void test_random_steps(void **state)
{
    enum { SUBS = 12, CHANNELS = 9 };
    struct channel_set set;
    struct subscriber subs[SUBS];
    bool want[SUBS][CHANNELS] = {{false}};
    uint32_t seed = 1;

    (void)state;
    channel_set_init(&set);
    for (unsigned i = 0; i < SUBS; i++) {
        subscriber_init(&subs[i]);
    }
    for (unsigned step = 0; step < 200000; step++) {
        unsigned s;
        unsigned c;
        char name[8];
        struct channel *ch = NULL;

        seed = seed * 1664525 + 1013904223;
        s = seed >> 8 & 0xff;
        s %= SUBS;
        c = (seed >> 16 & 0xff) % CHANNELS;
        (void)snprintf(name, sizeof(name), "c%u", c);
        if (seed >> 24 < 120) {
            assert_int_equal(channel_subscribe(&set, &subs[s], name, 0, &ch),
                             want[s][c] ? CHANNEL_E_ALREADY : 0);
            want[s][c] = true;
        } else if (seed >> 24 < 240) {
            assert_int_equal(channel_unsubscribe(&set, &subs[s], name), want[s][c]);
            want[s][c] = false;
        } else if (seed >> 24 < 250) {
            channel_unsubscribe_all(&set, &subs[s]);
            memset(want[s], 0, sizeof(want[s]));
        } else if (set.empty.n > 0) {
            channel_drop(&set, list_entry(list_first(&set.empty), struct channel, link));
        }
        ch = channel_find(&set, name);
        assert_int_equal(ch != NULL && channel_has_subscriber(&set, ch, &subs[s]), want[s][c]);
        assert_int_equal(set.channels.n, set.used.n + set.empty.n);
    }
    channel_set_done(&set);
}

static void test_a_subscription_is_small(void **state)
{
    (void)state;
    assert_true(sizeof(struct subscription) <=
                56); /* 64 bytes of malloc, and 8 to 16 in the table */
    assert_true(sizeof(struct channel) <= 120);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_subscribe_and_unsubscribe),
        cmocka_unit_test(test_an_empty_channel_stays_until_it_is_dropped),
        cmocka_unit_test(test_a_subscriber_has_so_many_channels_and_no_more),
        cmocka_unit_test(test_names_of_all_lengths),
        cmocka_unit_test(test_the_current_one_may_be_unsubscribed_on_a_visit),
        cmocka_unit_test(test_ten_thousand_subscribers_of_one_channel),
        cmocka_unit_test(test_ten_thousand_channels_of_one_subscriber),
        cmocka_unit_test(test_random_steps),
        cmocka_unit_test(test_a_subscription_is_small),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
