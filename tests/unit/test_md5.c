/* SPDX-License-Identifier: ISC */
#include "protocol/md5.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* What PostgreSQL 15 stored for CREATE ROLE m PASSWORD 'pencil'. */
#define SECRET "md58bbf3f45673bf67d02e4214911f3417f"
#define SECRET_UPPER "md58BBF3F45673BF67D02E4214911F3417F"
static const uint8_t salt[MD5_SALT_BYTES] = {1, 2, 0xff, 0};
#define RESPONSE "md5e83413ef614754e1a009cdd6c11f9d72"

static void secret_is_postgres(void **state)
{
    char text[MD5_TEXT_SIZE];

    (void)state;
    assert_int_equal(md5_secret_make("pencil", 6, "m", text), MD5_OK);
    assert_string_equal(text, SECRET);
    assert_int_equal(md5_secret_make("", 0, "u", text), MD5_OK);
    assert_string_equal(text, "md57b774effe4a349c6dd82ad4f4f21d34c");
}

static void secret_is_recognised(void **state)
{
    static const struct {
        const char *text;
        bool is;
    } cases[] = {
        {SECRET, true},
        {SECRET_UPPER, true},
        {"", false},
        {"md5", false},
        {"md", false},
        {"md58bbf3f45673bf67d02e4214911f3417", false},
        {"md58bbf3f45673bf67d02e4214911f3417ff", false},
        {"md58bbf3f45673bf67d02e4214911f3417g", false},
        {"MD58bbf3f45673bf67d02e4214911f3417f", false},
        {"8bbf3f45673bf67d02e4214911f3417f", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (md5_secret_is(cases[i].text) != cases[i].is) {
            fail_msg("%s", cases[i].text);
        }
    }
}

static void response_of_a_salt(void **state)
{
    char text[MD5_TEXT_SIZE];

    (void)state;
    assert_int_equal(md5_response_make(SECRET, salt, text), MD5_OK);
    assert_string_equal(text, RESPONSE);
    assert_int_equal(md5_response_make(SECRET_UPPER, salt, text), MD5_OK);
    assert_string_equal(text, RESPONSE);
    assert_int_equal(md5_response_make("plain", salt, text), MD5_E_MISMATCH);
}

static void response_is_checked(void **state)
{
    char wrong[] = RESPONSE;
    static const uint8_t other_salt[MD5_SALT_BYTES] = {1, 2, 0xff, 1};

    (void)state;
    assert_int_equal(md5_response_check(SECRET, salt, RESPONSE), MD5_OK);
    assert_int_equal(md5_response_check(SECRET, other_salt, RESPONSE), MD5_E_MISMATCH);
    assert_int_equal(md5_response_check("", salt, RESPONSE), MD5_E_MISMATCH);
    assert_int_equal(md5_response_check(SECRET, salt, RESPONSE "0"), MD5_E_MISMATCH);
    for (size_t i = 0; i < MD5_TEXT_BYTES; i++) {
        char kept = wrong[i];

        wrong[i] ^= 1;
        assert_int_equal(md5_response_check(SECRET, salt, wrong), MD5_E_MISMATCH);
        wrong[i] = '\0'; /* each truncation */
        assert_int_equal(md5_response_check(SECRET, salt, wrong), MD5_E_MISMATCH);
        wrong[i] = kept;
    }
}

static void clear_password_is_checked(void **state)
{
    (void)state;
    assert_int_equal(md5_password_check(SECRET, "pencil", "m"), MD5_OK);
    assert_int_equal(md5_password_check(SECRET_UPPER, "pencil", "m"), MD5_OK);
    assert_int_equal(md5_password_check(SECRET, "pencil", "n"), MD5_E_MISMATCH);
    assert_int_equal(md5_password_check(SECRET, "pencil ", "m"), MD5_E_MISMATCH);
    assert_int_equal(md5_password_check(SECRET, "", "m"), MD5_E_MISMATCH);
    assert_int_equal(md5_password_check("pencil", "pencil", "m"), MD5_E_MISMATCH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secret_is_postgres),        cmocka_unit_test(secret_is_recognised),
        cmocka_unit_test(response_of_a_salt),        cmocka_unit_test(response_is_checked),
        cmocka_unit_test(clear_password_is_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
