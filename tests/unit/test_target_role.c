/* SPDX-License-Identifier: ISC */
#include "pool/target_role.h"

#include "daemon/util/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* PG15 libpq, "target_session_attrs": '+' it will do, '-' it will not, '?' the server has to be asked. */
static const struct {
    const char *in_hot_standby; /* NULL: not told */
    const char *read_only;
    const char *verdicts; /* any, read-write, read-only, primary, standby, prefer-standby */
} cases[] = {
    {"off", "off", "++-+--"},
    {"off", "on", "+-++--"},
    {"on", "off", "+-+-++"},
    {"on", "on", "+-+-++"},
    {"off", NULL,
     "+"
     "??"
     "+--"},
    {"on", NULL,
     "+"
     "??"
     "-++"},
    {NULL, "off",
     "+"
     "?????"},
    {NULL, NULL,
     "+"
     "?????"},
};

static char verdict(const struct server_role *r, enum target_role want)
{
    if (!server_role_is_known(r, want)) {
        return '?';
    }
    return server_role_fits(r, want) ? '+' : '-';
}

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct server_role r = {0};
        char got[TARGET_PREFER_STANDBY + 2] = "";

        if (cases[i].in_hot_standby != NULL) {
            assert_true(server_role_note(&r, "in_hot_standby", cases[i].in_hot_standby));
        }
        if (cases[i].read_only != NULL) {
            assert_true(server_role_note(&r, "default_transaction_read_only", cases[i].read_only));
        }
        for (enum target_role want = TARGET_ANY; want <= TARGET_PREFER_STANDBY; want++) {
            got[want] = verdict(&r, want);
        }
        if (strcmp(got, cases[i].verdicts) != 0) {
            fail_msg("case %zu: %s, not %s", i, got, cases[i].verdicts);
        }
    }
}

static void test_other_parameters_say_nothing(void **state)
{
    struct server_role r = {0};

    (void)state;
    assert_false(server_role_note(&r, "transaction_read_only", "on"));
    assert_false(server_role_note(&r, "", "on"));
    assert_int_equal(r.in_hot_standby, TOLD_NOTHING);
    assert_int_equal(r.read_only, TOLD_NOTHING);
}

static void test_texts(void **state)
{
    (void)state;
    for (enum target_role want = TARGET_READ_WRITE; want <= TARGET_PREFER_STANDBY; want++) {
        assert_non_null(strstr(target_role_query(want), "pg_catalog.pg_is_in_recovery()"));
        assert_true(*target_role_name(want) != '\0' && *target_role_misfit(want) != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_other_parameters_say_nothing),
        cmocka_unit_test(test_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
