/* SPDX-License-Identifier: ISC */
#include "daemon/status_json.h"
#include "daemon/status_page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_strings(void **state)
{
    static const struct {
        const char *text;
        const char *json;
    } cases[] = {
        {"", "\"\""},
        {NULL, "\"\""},
        {"shop", "\"shop\""},
        {"a\"b\\c", "\"a\\u0022b\\u005cc\""},
        {"</script>&'", "\"\\u003c/script\\u003e\\u0026\\u0027\""},
        {"\n\x01\x7f", "\"\\u000a\\u0001\\u007f\""},
        {"\xc3\xa9", "\"\xc3\xa9\""},
    };
    struct buf out = BUF_INIT(256);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_clear(&out);
        json_put_string(&out, cases[i].text);
        assert_string_equal(buf_cstr(&out), cases[i].json);
    }
    buf_done(&out);
}

static void test_the_page_has_its_parts_and_a_new_nonce(void **state)
{
    struct buf page = BUF_INIT(STATUS_PAGE_MAX_BYTES);
    char first[STATUS_PAGE_POLICY_BYTES];
    char second[STATUS_PAGE_POLICY_BYTES];

    (void)state;
    status_page_write(&page, first);
    assert_true(buf_ok(&page));
    assert_non_null(strstr(buf_cstr(&page), "use strict"));
    assert_non_null(strstr(buf_cstr(&page), "prefers-color-scheme"));
    assert_null(strstr(buf_cstr(&page), "{{"));
    buf_clear(&page);
    status_page_write(&page, second);
    assert_string_not_equal(first, second);
    assert_true(strlen(first) < STATUS_PAGE_POLICY_BYTES - 1);
    buf_done(&page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_the_page_has_its_parts_and_a_new_nonce),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
