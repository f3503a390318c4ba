/* SPDX-License-Identifier: ISC */
#include "daemon/util/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static unsigned slow_cell_of(usec_t us)
{
    unsigned i = 0;

    while (i < HISTOGRAM_BOUNDS && us > histogram_bounds_us[i]) {
        i++;
    }
    return i;
}

static void test_a_duration_falls_into_the_cell_of_its_bounds(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        for (usec_t near = 0; near < 3; near++) {
            usec_t us = ((usec_t)1 << bit) + near - 1;

            assert_int_equal(histogram_cell_of(us), slow_cell_of(us));
        }
    }
    for (unsigned i = 0; i < HISTOGRAM_BOUNDS; i++) {
        assert_int_equal(histogram_cell_of(histogram_bounds_us[i]), i);
        assert_int_equal(histogram_cell_of(histogram_bounds_us[i] + 1), i + 1);
        assert_int_equal(histogram_cell_of(histogram_bounds_us[i] - 1), i);
    }
    for (usec_t us = 0; us < 20000; us++) {
        assert_int_equal(histogram_cell_of(us), slow_cell_of(us));
    }
    assert_int_equal(histogram_cell_of(UINT64_MAX), HISTOGRAM_BOUNDS);
}

static void test_what_was_added_is_counted(void **state)
{
    struct histogram h = {0};
    struct histogram sum = {0};
    struct histogram since;

    (void)state;
    histogram_add(&h, 0);
    histogram_add(&h, 70);
    histogram_add(&h, 1000000000);
    assert_int_equal(histogram_count(&h), 3);
    assert_int_equal(h.sum_us, 1000000070);
    histogram_merge(&sum, &h);
    histogram_merge(&sum, &h);
    assert_int_equal(histogram_count(&sum), 6);
    histogram_since(&since, &sum, &h);
    assert_int_equal(histogram_count(&since), 3);
    assert_int_equal(since.sum_us, h.sum_us);
    histogram_since(&since, &h, &sum);
    assert_int_equal(histogram_count(&since), 0);
    assert_int_equal(since.sum_us, 0);
}

static void test_quantiles_lie_in_the_right_cell(void **state)
{
    struct histogram h = {0};

    (void)state;
    assert_int_equal(histogram_quantile_us(&h, 500), 0);
    for (unsigned i = 0; i < 90; i++) {
        histogram_add(&h, 150);
    }
    for (unsigned i = 0; i < 10; i++) {
        histogram_add(&h, 30000);
    }
    assert_in_range(histogram_quantile_us(&h, 0), 100, 200);
    assert_in_range(histogram_quantile_us(&h, 500), 100, 200);
    assert_in_range(histogram_quantile_us(&h, 900), 100, 200);
    assert_in_range(histogram_quantile_us(&h, 950), 20000, 50000);
    assert_in_range(histogram_quantile_us(&h, 1000), 20000, 50000);
    h = (struct histogram){0};
    histogram_add(&h, UINT64_MAX / 2);
    assert_int_equal(histogram_quantile_us(&h, 990), histogram_bounds_us[HISTOGRAM_BOUNDS - 1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_duration_falls_into_the_cell_of_its_bounds),
        cmocka_unit_test(test_what_was_added_is_counted),
        cmocka_unit_test(test_quantiles_lie_in_the_right_cell),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
