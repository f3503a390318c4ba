/* SPDX-License-Identifier: ISC */
/* The clock is faked: a step takes what the test says, so the number of steps in a turn is exact. */
#include "daemon/login_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define N_LOGINS 7

struct fixture {
    struct login_queue queue;
    struct login_turn logins[N_LOGINS];
    uint64_t turn_of[N_LOGINS]; /* of the loop, when it was its turn; 0: never */
    unsigned order[N_LOGINS];
    unsigned n_done;
    usec_t now_us;
    usec_t step_us;
    struct loop *loop;
};

static struct fixture f;

static void on_turn(struct login_turn *turn)
{
    size_t i = (size_t)(turn - f.logins);

    f.turn_of[i] = loop_turns(f.loop);
    f.order[f.n_done++] = (unsigned)i;
    f.now_us += f.step_us;
    clock_fake(f.now_us);
    if (list_is_empty(&f.queue.waiting)) {
        loop_stop(f.loop);
    }
}

static int set_up(void **state)
{
    (void)state;
    f = (struct fixture){.now_us = 1000000, .step_us = 60, .loop = loop_new()};
    clock_fake(f.now_us);
    login_queue_init(&f.queue, f.loop, on_turn);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    login_queue_done(&f.queue);
    f.loop = loop_free(f.loop);
    return 0;
}

/* A step of @us that is taken at once. */
static void spend(usec_t us)
{
    login_queue_begin(&f.queue);
    login_queue_begin(&f.queue); /* one within another counts once */
    f.now_us += us;
    clock_fake(f.now_us);
    login_queue_end(&f.queue);
    login_queue_end(&f.queue);
}

static void test_open_until_the_time_is_spent(void **state)
{
    (void)state;
    assert_true(login_queue_is_open(&f.queue));
    spend(60);
    assert_true(login_queue_is_open(&f.queue));
    spend(60);
    assert_false(login_queue_is_open(&f.queue));
}

static void test_first_come_first_served_and_few_in_a_turn(void **state)
{
    (void)state;
    for (unsigned i = 0; i < N_LOGINS; i++) {
        login_queue_add(&f.queue, &f.logins[i]);
        login_queue_add(&f.queue, &f.logins[i]); /* waits already */
    }
    assert_false(login_queue_is_open(&f.queue));
    loop_run(f.loop);
    assert_int_equal(f.n_done, N_LOGINS);
    for (unsigned i = 0; i < N_LOGINS; i++) {
        assert_int_equal(f.order[i], i);
        assert_int_equal(f.turn_of[i] - f.turn_of[0], i / 2); /* 60 us each, 100 us a turn */
    }
}

static void test_a_long_line_is_told_from_a_short_one(void **state)
{
    struct login_turn more[16] = {0};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(more); i++) {
        assert_false(login_queue_is_long(&f.queue));
        assert_false(login_turn_waits(&more[i]));
        login_queue_add(&f.queue, &more[i]);
        assert_true(login_turn_waits(&more[i]));
    }
    assert_true(login_queue_is_long(&f.queue));
    login_turn_leave(&more[3]);
    assert_false(login_queue_is_long(&f.queue));
    login_queue_done(&f.queue);
    login_queue_init(&f.queue, f.loop, on_turn);
}

static void test_who_has_left_has_no_turn(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        login_queue_add(&f.queue, &f.logins[i]);
    }
    login_turn_leave(&f.logins[1]);
    login_turn_leave(&f.logins[1]);
    loop_run(f.loop);
    assert_int_equal(f.n_done, 2);
    assert_int_equal(f.order[1], 2);
    login_queue_add(&f.queue, &f.logins[1]);
    login_queue_done(&f.queue);
    assert_null(f.logins[1].queue);
    login_queue_init(&f.queue, f.loop, on_turn);
}

static void test_a_long_step_is_finished(void **state)
{
    (void)state;
    f.step_us = 5000;
    for (unsigned i = 0; i < 3; i++) {
        login_queue_add(&f.queue, &f.logins[i]);
    }
    loop_run(f.loop);
    assert_int_equal(f.n_done, 3);
    assert_int_equal(f.turn_of[2] - f.turn_of[0], 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_open_until_the_time_is_spent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_first_come_first_served_and_few_in_a_turn, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_long_line_is_told_from_a_short_one, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_who_has_left_has_no_turn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_long_step_is_finished, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
