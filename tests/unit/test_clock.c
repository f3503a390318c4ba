/* SPDX-License-Identifier: ISC */
#include "daemon/util/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The real clock comes first: once faked, a clock stays so. */

static void test_now_is_never_zero(void **state)
{
    (void)state;
    assert_true(clock_now_us() > 0);
}

static void test_now_stands_still_within_a_turn(void **state)
{
    usec_t now = clock_now_us();
    uint64_t wall = clock_wall_now_us();

    (void)state;
    while (clock_wall_now_us() == wall) {
    }
    assert_true(clock_now_us() == now);
    clock_update();
    assert_true(clock_now_us() > now);
}

static void test_wall_time_follows_the_monotonic(void **state)
{
    usec_t now;
    uint64_t wall;
    int64_t off;

    (void)state;
    clock_update();
    now = clock_now_us();
    wall = clock_wall_now_us();
    off = (int64_t)(clock_wall_of_us(now) - wall);
    assert_true(off > -(int64_t)USEC_PER_SEC && off < (int64_t)USEC_PER_SEC);
    assert_true(wall > 1600000000 * USEC_PER_SEC); /* microseconds, and after 2020 */
}

static void test_faked_clock_obeys(void **state)
{
    uint64_t wall;

    (void)state;
    clock_fake(5 * USEC_PER_SEC);
    assert_true(clock_now_us() == 5 * USEC_PER_SEC);
    clock_update();
    assert_true(clock_now_us() == 5 * USEC_PER_SEC);
    wall = clock_wall_of_us(2 * USEC_PER_SEC);
    assert_true(clock_wall_of_us(9 * USEC_PER_SEC) - wall >= 7 * USEC_PER_SEC);
    assert_true(clock_wall_of_us(9 * USEC_PER_SEC) - wall < 8 * USEC_PER_SEC);
    clock_fake(6 * USEC_PER_SEC);
    assert_true(clock_now_us() == 6 * USEC_PER_SEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_now_is_never_zero),
        cmocka_unit_test(test_now_stands_still_within_a_turn),
        cmocka_unit_test(test_wall_time_follows_the_monotonic),
        cmocka_unit_test(test_faked_clock_obeys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
