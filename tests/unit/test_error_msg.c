/* SPDX-License-Identifier: ISC */
#include "protocol/error_msg.h"

#include "protocol/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* As PostgreSQL 15 sends it, with all the fields that we do not keep. */
#define REAL                                                                          \
    "SERREUR\0VERROR\0C42P01\0Mrelation \"x\" does not exist\0Dno such thing\0Hlook " \
    "elsewhere\0P15\0p3\0"                                                            \
    "qselect\0Wcontext\0spublic\0tt\0cc\0dd\0nn\0Fparse_relation.c\0L1392\0RparserOpenTable\0"

static const char real[] = REAL; /* its own NUL is the terminator of the message */

static bool parse_copy(const char *data, size_t len, struct pg_error *ret)
{
    char *copy = malloc(len > 0 ? len : 1);
    bool ok;

    assert_non_null(copy);
    memcpy(copy, data, len);
    ok = error_msg_parse(copy, len, ret);
    free(copy);
    return ok;
}

static void test_real_message(void **state)
{
    struct pg_error e;

    (void)state;
    assert_true(parse_copy(real, sizeof(real), &e));
    assert_string_equal(e.severity, "ERROR");
    assert_string_equal(e.sqlstate, "42P01");
    assert_string_equal(e.message, "relation \"x\" does not exist");
    assert_string_equal(e.detail, "no such thing");
    assert_string_equal(e.hint, "look elsewhere");
}

static void test_truncated_and_too_long(void **state)
{
    static const char longer[] = REAL "\0"; /* a byte behind the terminator */
    struct pg_error e = {.severity = "kept"};

    (void)state;
    for (size_t len = 0; len < sizeof(real); len++) {
        if (parse_copy(real, len, &e)) {
            fail_msg("taken when cut to %zu bytes", len);
        }
    }
    assert_false(parse_copy(longer, sizeof(longer), &e));
    assert_string_equal(e.severity, "kept"); /* written on success only */
}

static void test_severity(void **state)
{
    static const struct {
        const char *name;
        const char *body;
        size_t len;
        const char *severity;
    } cases[] = {
        {"before 9.6: only the localised one", "SFEHLER\0Mx\0", 12, "FEHLER"},
        {"the plain one first", "VFATAL\0SFEHLER\0", 16, "FATAL"},
        {"the plain one last", "SFEHLER\0VFATAL\0", 16, "FATAL"},
        {"none", "Mx\0", 4, ""},
        {"no field at all", "", 1, ""},
    };
    struct pg_error e;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (!parse_copy(cases[i].body, cases[i].len, &e) ||
            strcmp(e.severity, cases[i].severity) != 0) {
            fail_msg("%s", cases[i].name);
        }
    }
}

static void test_fields_are_cut(void **state)
{
    static const size_t lengths[] = {ERROR_TEXT_MAX_BYTES - 1, ERROR_TEXT_MAX_BYTES, 100000};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        static const char fields[] = "SVCMDH";
        struct buf b = BUF_INIT(1 << 20);
        struct pg_error e;

        for (const char *f = fields; *f != '\0'; f++) {
            wire_put_u8(&b, (uint8_t)*f);
            for (size_t k = 0; k < lengths[i]; k++) {
                wire_put_u8(&b, 'x');
            }
            wire_put_u8(&b, 0);
        }
        wire_put_u8(&b, 0);
        assert_true(buf_ok(&b) && error_msg_parse(b.data, b.len, &e));
        assert_int_equal(strlen(e.severity), sizeof(e.severity) - 1);
        assert_int_equal(strlen(e.sqlstate), 5);
        assert_int_equal(strlen(e.message), ERROR_TEXT_MAX_BYTES - 1);
        assert_int_equal(strlen(e.detail), ERROR_TEXT_MAX_BYTES - 1);
        assert_int_equal(strlen(e.hint), ERROR_TEXT_MAX_BYTES - 1);
        buf_done(&b);
    }
}

static void test_round_trip(void **state)
{
    struct pg_error e;
    struct pg_error back;
    struct buf b = BUF_INIT(10000);

    (void)state;
    pg_error_set(&e, SQLSTATE_TOO_MANY_CONNECTIONS, "no more than %d", 7);
    assert_string_equal(e.severity, "FATAL");
    assert_string_equal(e.message, "no more than 7");
    assert_string_equal(e.detail, "");
    (void)strcpy(e.detail, "d");
    (void)strcpy(e.hint, "h");
    error_msg_put(&b, 'E', &e);
    assert_true(buf_ok(&b));
    assert_int_equal(b.data[0], 'E');
    assert_int_equal(wire_load_u32(b.data + 1), b.len - 1);
    assert_true(error_msg_parse(b.data + 5, b.len - 5, &back));
    assert_memory_equal(&back, &e, sizeof(e));
    buf_done(&b);
}

static void test_bytes_of_a_notice(void **state)
{
    static const char expected[] = "N\0\0\0\x23SNOTICE\0VNOTICE\0C01000\0Mhello\0";
    struct buf b = BUF_INIT(1000);

    (void)state;
    error_msg_put_text(&b, 'N', "NOTICE", SQLSTATE_WARNING, "hello", NULL, "");
    assert_int_equal(b.len, sizeof(expected));
    assert_memory_equal(b.data, expected, sizeof(expected));
    buf_done(&b);
}

static void test_long_text_is_cut_when_set(void **state)
{
    static char text[5000];
    struct pg_error e;

    (void)state;
    memset(text, 'y', sizeof(text) - 1);
    pg_error_set(&e, "57P01 and more", "%s", text);
    assert_int_equal(strlen(e.message), ERROR_TEXT_MAX_BYTES - 1);
    assert_string_equal(e.sqlstate, "57P01");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_message),
        cmocka_unit_test(test_truncated_and_too_long),
        cmocka_unit_test(test_severity),
        cmocka_unit_test(test_fields_are_cut),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_bytes_of_a_notice),
        cmocka_unit_test(test_long_text_is_cut_when_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
