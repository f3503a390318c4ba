/* SPDX-License-Identifier: ISC */
#include "daemon/incidents.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_what_repeats_is_one_entry(void **state)
{
    struct incidents all = {0};

    (void)state;
    assert_null(incidents_at(&all, 0));
    incidents_note(&all, LOG_WARNING_LEVEL,
                   "C-0x1f: shop/app@10.0.0.7:5123 pooler error: too many");
    incidents_note(&all, LOG_ERROR_LEVEL, "disk full");
    incidents_note(&all, LOG_WARNING_LEVEL,
                   "C-0x2e: shop/app@10.0.0.7:61000 pooler error: too many");
    assert_string_equal(incidents_at(&all, 0)->text,
                        "shop/app@10.0.0.7:61000 pooler error: too many");
    assert_int_equal(incidents_at(&all, 0)->n, 2);
    assert_string_equal(incidents_at(&all, 1)->text, "disk full");
    assert_int_equal(incidents_at(&all, 1)->level, LOG_ERROR_LEVEL);
    assert_null(incidents_at(&all, 2));
}

static void test_the_oldest_goes(void **state)
{
    struct incidents all = {0};
    char text[64];

    (void)state;
    for (unsigned i = 0; i < 3 * INCIDENTS_MAX; i++) {
        (void)snprintf(text, sizeof(text), "%c%c", 'a' + (char)(i / 26), 'a' + (char)(i % 26));
        incidents_note(&all, LOG_WARNING_LEVEL, text);
    }
    assert_string_equal(incidents_at(&all, 0)->text, text);
    assert_non_null(incidents_at(&all, INCIDENTS_MAX - 1));
    assert_null(incidents_at(&all, INCIDENTS_MAX));
}

static void test_a_text_is_cut_and_clean(void **state)
{
    struct incidents all = {0};
    char text[4000];

    (void)state;
    memset(text, '\x01', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    incidents_note(&all, LOG_WARNING_LEVEL, text);
    assert_int_equal(strspn(incidents_at(&all, 0)->text, "\\x01"),
                     strlen(incidents_at(&all, 0)->text));
    incidents_note(&all, LOG_WARNING_LEVEL, "C-0x");
    assert_string_equal(incidents_at(&all, 0)->text, "C-0x");
    incidents_note(&all, LOG_WARNING_LEVEL, "");
    assert_string_equal(incidents_at(&all, 0)->text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_repeats_is_one_entry),
        cmocka_unit_test(test_the_oldest_goes),
        cmocka_unit_test(test_a_text_is_cut_and_clean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
