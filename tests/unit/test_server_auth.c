/* SPDX-License-Identifier: ISC */
#include "pool/server_auth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SASL \
    (1U << SERVER_AUTH_SASL | 1U << SERVER_AUTH_SASL_CONTINUE | 1U << SERVER_AUTH_SASL_FINAL)
#define ONLY_SCRAM                                          \
    {                                                       \
        CHANNEL_BINDING_PREFER, SASL, true, "scram-sha-256" \
    }
#define NOT_MD5                                                         \
    {                                                                   \
        CHANNEL_BINDING_PREFER, ~(1U << SERVER_AUTH_MD5), false, "!md5" \
    }
#define BOUND                                 \
    {                                         \
        CHANNEL_BINDING_REQUIRE, 0, false, "" \
    }
#define ANYTHING                             \
    {                                        \
        CHANNEL_BINDING_PREFER, 0, false, "" \
    }

static const struct {
    const char *name;
    struct server_auth auth;
    uint32_t kind;
    struct server_auth_progress progress;
    const char *why; /* NULL: allowed */
} cases[] = {
    {"anything: trust", ANYTHING, SERVER_AUTH_OK, {false, false}, NULL},
    {"anything: cleartext", ANYTHING, SERVER_AUTH_CLEARTEXT, {false, false}, NULL},
    {"anything: unknown", ANYTHING, 99, {false, false}, NULL}, /* refused elsewhere */
    {"scram: scram", ONLY_SCRAM, SERVER_AUTH_SASL, {false, false}, NULL},
    {"scram: final", ONLY_SCRAM, SERVER_AUTH_SASL_FINAL, {false, false}, NULL},
    {"scram: done", ONLY_SCRAM, SERVER_AUTH_OK, {true, false}, NULL},
    {"scram: trust",
     ONLY_SCRAM,
     SERVER_AUTH_OK,
     {false, false},
     "authentication method requirement \"scram-sha-256\" failed: server did not complete "
     "authentication"},
    {"scram: cleartext",
     ONLY_SCRAM,
     SERVER_AUTH_CLEARTEXT,
     {false, false},
     "authentication method requirement \"scram-sha-256\" failed: server requested a cleartext "
     "password"},
    {"scram: unknown",
     ONLY_SCRAM,
     99,
     {false, false},
     "authentication method requirement \"scram-sha-256\" failed: server requested an unknown "
     "authentication type"},
    {"scram: huge",
     ONLY_SCRAM,
     UINT32_MAX,
     {false, false},
     "authentication method requirement \"scram-sha-256\" failed: server requested an unknown "
     "authentication type"},
    {"not md5: md5",
     NOT_MD5,
     SERVER_AUTH_MD5,
     {false, false},
     "authentication method requirement \"!md5\" failed: server requested a hashed password"},
    {"not md5: trust", NOT_MD5, SERVER_AUTH_OK, {false, false}, NULL},
    {"bound: scram", BOUND, SERVER_AUTH_SASL, {false, false}, NULL},
    {"bound: done", BOUND, SERVER_AUTH_OK, {true, true}, NULL},
    {"bound: done without",
     BOUND,
     SERVER_AUTH_OK,
     {true, false},
     "channel binding required, but server authenticated client without channel binding"},
    {"bound: md5",
     BOUND,
     SERVER_AUTH_MD5,
     {false, false},
     "channel binding required but not supported by server's authentication request"},
};

static void test_what_is_allowed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char why[256] = "";
        bool ok =
            server_auth_allows(&cases[i].auth, cases[i].kind, cases[i].progress, why, sizeof(why));

        if (ok != (cases[i].why == NULL) || (!ok && strcmp(why, cases[i].why) != 0)) {
            fail_msg("%s: %d \"%s\"", cases[i].name, ok, why);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_is_allowed)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
