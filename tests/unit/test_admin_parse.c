/* SPDX-License-Identifier: ISC */
#include "daemon/admin_parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A word as it is, a quoted one in <>, = as =. */
static const struct {
    const char *name;
    const char *text;
    const char *want; /* NULL: refused */
} cases[] = {
    {"nothing", "", ""},
    {"blanks", " \t\r\n ", ""},
    {"semicolons", " ; ;", ""},
    {"a word", "PAUSE", "PAUSE "},
    {"a semicolon", "PAUSE;", "PAUSE "},
    {"semicolons and blanks behind", "PAUSE ; ; \n", "PAUSE "},
    {"case stays", "pAuSe MyDb", "pAuSe MyDb "},
    {"an identifier", "PAUSE \"my \"\"db\"\"\"", "PAUSE <my \"db\"> "},
    {"an empty identifier", "PAUSE \"\"", "PAUSE <> "},
    {"a string", "SET a='it''s'", "SET a = <it's> "},
    {"an empty string", "SET a=''", "SET a = <> "},
    {"one quote in the other", "SET a = '\"' \"'\"", "SET a = <\"> <'> "},
    {"a semicolon in quotes", "SET a = 'b;c'", "SET a = <b;c> "},
    {"a comment in quotes", "SET a = '--b /* c'", "SET a = <--b /* c> "},
    {"quotes end a word", "SET a'b'c", "SET a <b> c "},
    {"equals without blanks", "set x=5", "set x = 5 "},
    {"equals only", "=", "= "},
    {"line comment", "-- first\nSHOW -- what\n POOLS", "SHOW POOLS "},
    {"line comment at the end", "SHOW POOLS -- all", "SHOW POOLS "},
    {"line comment glued", "SHOW POOLS--all", "SHOW POOLS "},
    {"comment", "/* a */SHOW/* b */POOLS/**/", "SHOW POOLS "},
    {"nested comment", "/* a /* b */ c */ SHOW", "SHOW "},
    {"comment behind the semicolon", "SHOW POOLS; -- done", "SHOW POOLS "},
    {"a name with a dash", "PAUSE my-db.x", "PAUSE my-db.x "},
    {"a name of other letters", "PAUSE d\xc3\xa4t", "PAUSE d\xc3\xa4t "},
    {"a slash", "SET f = /etc/x.ini", "SET f = /etc/x.ini "},
    {"a dollar that is no parameter", "PAUSE $x", "PAUSE $x "},
    {"longer than is kept", "a b c d e f g h i j", "a b c d e f g h +"},
    {"two commands", "PAUSE; RESUME", NULL},
    {"open string", "SET a = 'b", NULL},
    {"open string that ends in a quoted quote", "SET a = 'b''", NULL},
    {"open identifier", "PAUSE \"b", NULL},
    {"open comment", "PAUSE /* b", NULL},
    {"open nested comment", "PAUSE /* /* b */", NULL},
    {"open comment behind the semicolon", "PAUSE; /*", NULL},
    {"a parameter", "SHOW $1", NULL},
};

static void print(const struct admin_statement *st, struct buf *out)
{
    for (unsigned i = 0; i < st->n; i++) {
        (void)buf_append_fmt(out, st->tokens[i].kind == ADMIN_TOKEN_QUOTED ? "<%s> " : "%s ",
                             st->tokens[i].text);
    }
    (void)buf_append_str(out, st->is_longer ? "+" : "");
}

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct admin_statement st;
        struct buf out = BUF_INIT(4096);
        const char *why = NULL;
        bool ok = admin_parse(cases[i].text, &st, &why);

        if (ok != (cases[i].want != NULL)) {
            fail_msg("%s: %s", cases[i].name, ok ? "taken" : why);
        }
        if (ok) {
            print(&st, &out);
            if (strcmp(buf_cstr(&out), cases[i].want) != 0) {
                fail_msg("%s: got '%s'", cases[i].name, buf_cstr(&out));
            }
        } else {
            assert_non_null(why);
            assert_int_equal(st.n, 0);
        }
        buf_done(&out);
        admin_statement_done(&st);
        admin_statement_done(&st);
    }
}

/* Any beginning of a valid command is read without reading on behind it. */
static void test_truncations(void **state)
{
    static const char whole[] = "SET /* a /* b */ */ \"k\"\"ey\" = 'v''al' -- end\n;";

    (void)state;
    for (size_t len = 0; len < sizeof(whole); len++) {
        char *part = strndup(whole, len);
        struct admin_statement st;
        const char *why;

        if (admin_parse(part, &st, &why)) {
            admin_statement_done(&st);
        }
        free(part);
    }
}

static void test_too_long(void **state)
{
    size_t len = (size_t)3 * ADMIN_TEXT_MAX_BYTES;
    char *text = malloc(len + 1);
    struct admin_statement st;
    const char *why = NULL;

    (void)state;
    memset(text, 'x', len);
    text[len] = '\0';
    assert_false(admin_parse(text, &st, &why));
    assert_non_null(why);
    text[ADMIN_TEXT_MAX_BYTES] = '\0';
    assert_true(admin_parse(text, &st, &why));
    admin_statement_done(&st);
    free(text);
}

static void test_keywords(void **state)
{
    struct admin_statement st;
    const char *why;

    (void)state;
    assert_true(admin_parse("shOW \"POOLS\" = Lists", &st, &why));
    assert_true(admin_statement_is(&st, 0, "SHOW"));
    assert_false(admin_statement_is(&st, 0, "SHO"));
    assert_false(admin_statement_is(&st, 1, "POOLS")); /* quoted: a name */
    assert_false(admin_statement_is(&st, 2, "="));
    assert_true(admin_statement_is(&st, 3, "LISTS"));
    assert_false(admin_statement_is(&st, 4, "LISTS"));
    admin_statement_done(&st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_truncations),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_keywords),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
