/* SPDX-License-Identifier: ISC */
#include "pool/replication.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* As PostgreSQL's parse_bool() has it, and "database". */
static const struct {
    const char *text;
    bool ok;
    enum replication kind;
} cases[] = {
    {"true", true, REPLICATION_PHYSICAL},    {"TRUE", true, REPLICATION_PHYSICAL},
    {"tru", true, REPLICATION_PHYSICAL},     {"t", true, REPLICATION_PHYSICAL},
    {"yes", true, REPLICATION_PHYSICAL},     {"Y", true, REPLICATION_PHYSICAL},
    {"on", true, REPLICATION_PHYSICAL},      {"1", true, REPLICATION_PHYSICAL},
    {"false", true, REPLICATION_NONE},       {"fals", true, REPLICATION_NONE},
    {"F", true, REPLICATION_NONE},           {"no", true, REPLICATION_NONE},
    {"n", true, REPLICATION_NONE},           {"off", true, REPLICATION_NONE},
    {"OF", true, REPLICATION_NONE},          {"0", true, REPLICATION_NONE},
    {"database", true, REPLICATION_LOGICAL}, {"", false, REPLICATION_NONE},
    {"o", false, REPLICATION_NONE},          {"onn", false, REPLICATION_NONE},
    {"offf", false, REPLICATION_NONE},       {"truee", false, REPLICATION_NONE},
    {" true", false, REPLICATION_NONE},      {"true ", false, REPLICATION_NONE},
    {"11", false, REPLICATION_NONE},         {"2", false, REPLICATION_NONE},
    {"Database", false, REPLICATION_NONE},   {"data", false, REPLICATION_NONE},
    {"databases", false, REPLICATION_NONE},  {"physical", false, REPLICATION_NONE},
};

static void test_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum replication kind = REPLICATION_KINDS;
        bool ok = replication_parse(cases[i].text, &kind);

        if (ok != cases[i].ok || kind != (ok ? cases[i].kind : REPLICATION_KINDS)) {
            fail_msg("\"%s\": %d, kind %d", cases[i].text, ok, kind);
        }
    }
}

/* What we tell a server means the same to it. */
static void test_names(void **state)
{
    static const char *const names[REPLICATION_KINDS] = {"none", "physical", "logical"};

    (void)state;
    assert_null(replication_parameter(REPLICATION_NONE));
    for (enum replication kind = REPLICATION_NONE; kind < REPLICATION_KINDS; kind++) {
        enum replication again = REPLICATION_NONE;

        assert_string_equal(replication_name(kind), names[kind]);
        if (kind != REPLICATION_NONE) {
            assert_true(replication_parse(replication_parameter(kind), &again));
            assert_int_equal(again, kind);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
