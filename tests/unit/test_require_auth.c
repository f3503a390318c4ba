/* SPDX-License-Identifier: ISC */
#include "config/require_auth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define ALL_BUT(bits) (REQUIRE_AUTH_ALL & ~(unsigned)(bits))

/* PG16 libpq, "require_auth". */
static const struct {
    const char *text;
    bool ok;
    unsigned methods;
    bool must_ask;
} cases[] = {
    {"", true, REQUIRE_AUTH_ALL, false},
    {"scram-sha-256", true, REQUIRE_AUTH_SCRAM, true},
    {"scram-sha-256,md5", true, REQUIRE_AUTH_SCRAM | REQUIRE_AUTH_MD5, true},
    {" md5 , password ", true, REQUIRE_AUTH_MD5 | REQUIRE_AUTH_PASSWORD, true},
    {"gss,sspi", true, REQUIRE_AUTH_GSS | REQUIRE_AUTH_SSPI, true},
    {"none", true, 0, false},
    {"scram-sha-256,none", true, REQUIRE_AUTH_SCRAM, false},
    {"!password", true, ALL_BUT(REQUIRE_AUTH_PASSWORD), false},
    {"!password,!md5", true, ALL_BUT(REQUIRE_AUTH_PASSWORD | REQUIRE_AUTH_MD5), false},
    {"!none", true, REQUIRE_AUTH_ALL, true},
    {"!password,!none", true, ALL_BUT(REQUIRE_AUTH_PASSWORD), true},
    {"scram-sha-256,!md5", false, 0, false},
    {"!md5,scram-sha-256", false, 0, false},
    {"none,!none", false, 0, false},
    {"md5,md5", false, 0, false},
    {"none,none", false, 0, false},
    {"!none,!none", false, 0, false},
    {"!md5,!md5", false, 0, false},
    {"scram", false, 0, false},
    {"scram-sha-256x", false, 0, false},
    {"MD5", false, 0, false},
    {"!", false, 0, false},
    {"!!md5", false, 0, false},
    {",", false, 0, false},
};

static void test_lists(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct require_auth r = {0};
        char why[256] = "";
        bool ok = require_auth_parse(cases[i].text, &r, why, sizeof(why));

        if (ok != cases[i].ok || ok == (why[0] != '\0') ||
            (ok && (r.methods != cases[i].methods || r.must_ask != cases[i].must_ask))) {
            fail_msg("\"%s\": %d %u %d \"%s\"", cases[i].text, ok, r.methods, r.must_ask, why);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lists)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
