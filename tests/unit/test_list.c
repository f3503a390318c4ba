/* SPDX-License-Identifier: ISC */
#include "daemon/util/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct item {
    int value;
    struct list_node link;
};

static struct item items[4];

static int fill(void **state)
{
    static struct list l;

    list_init(&l);
    for (int i = 0; i < (int)ARRAY_LEN(items); i++) {
        items[i] = (struct item){.value = i};
        list_add_tail(&l, &items[i].link);
    }
    *state = &l;
    return 0;
}

/* The values in order as one decimal number, leading 9: {0, 1} is 901. */
static int digits(const struct list *l)
{
    int n = 9;

    for (struct list_node *node = list_first(l); node != NULL; node = list_next(l, node)) {
        n = n * 10 + list_entry(node, struct item, link)->value;
    }
    return n;
}

static void test_new_list_is_empty(void **state)
{
    struct list l;

    (void)state;
    list_init(&l);
    assert_true(list_is_empty(&l));
    assert_int_equal(l.n, 0);
    assert_null(list_first(&l));
    assert_null(list_last(&l));
}

static void test_tail_keeps_order(void **state)
{
    struct list *l = *state;

    assert_int_equal(digits(l), 90123);
    assert_int_equal(l->n, 4);
    assert_ptr_equal(list_first(l), &items[0].link);
    assert_ptr_equal(list_last(l), &items[3].link);
}

static void test_head_goes_before(void **state)
{
    struct list *l = *state;

    list_remove(l, &items[2].link);
    list_add_head(l, &items[2].link);
    assert_int_equal(digits(l), 92013);
}

static void test_removed_node_is_in_no_list(void **state)
{
    struct list *l = *state;

    assert_true(list_node_is_linked(&items[1].link));
    list_remove(l, &items[1].link);
    assert_false(list_node_is_linked(&items[1].link));
    assert_int_equal(digits(l), 9023);
    assert_int_equal(l->n, 3);
}

static void test_ends_can_be_removed(void **state)
{
    struct list *l = *state;

    list_remove(l, &items[0].link);
    list_remove(l, &items[3].link);
    assert_int_equal(digits(l), 912);
    assert_ptr_equal(list_first(l), &items[1].link);
    assert_ptr_equal(list_last(l), &items[2].link);
}

static void test_loop_visits_each_in_order(void **state)
{
    struct list *l = *state;
    struct item *item;
    int n = 9;

    list_for_each(l, item, link) {
        n = n * 10 + item->value;
    }
    assert_int_equal(n, 90123);
}

static void test_loop_body_may_remove_the_current(void **state)
{
    struct list *l = *state;
    struct item *item;
    int visited = 0;

    list_for_each(l, item, link) {
        visited++;
        if (item->value % 2 == 0) {
            list_remove(l, &item->link);
        }
    }
    assert_int_equal(visited, 4);
    assert_int_equal(digits(l), 913);
}

static void test_loop_body_may_empty_the_list(void **state)
{
    struct list *l = *state;
    struct item *item;

    list_for_each(l, item, link) {
        list_remove(l, &item->link);
    }
    assert_true(list_is_empty(l));
    assert_int_equal(digits(l), 9);
}

static void test_loop_over_nothing(void **state)
{
    struct list l;
    struct item *item;

    (void)state;
    list_init(&l);
    list_for_each(&l, item, link) {
        fail();
    }
}

static void test_node_moves_between_lists(void **state)
{
    struct list *l = *state;
    static struct list other;

    list_init(&other);
    list_remove(l, &items[3].link);
    list_add_tail(&other, &items[3].link);
    assert_int_equal(digits(l), 9012);
    assert_int_equal(digits(&other), 93);
    assert_int_equal(other.n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_list_is_empty),
        cmocka_unit_test_setup(test_tail_keeps_order, fill),
        cmocka_unit_test_setup(test_head_goes_before, fill),
        cmocka_unit_test_setup(test_removed_node_is_in_no_list, fill),
        cmocka_unit_test_setup(test_ends_can_be_removed, fill),
        cmocka_unit_test_setup(test_loop_visits_each_in_order, fill),
        cmocka_unit_test_setup(test_loop_body_may_remove_the_current, fill),
        cmocka_unit_test_setup(test_loop_body_may_empty_the_list, fill),
        cmocka_unit_test(test_loop_over_nothing),
        cmocka_unit_test_setup(test_node_moves_between_lists, fill),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
