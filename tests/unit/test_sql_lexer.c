/* SPDX-License-Identifier: ISC */
/* What the texts mean was checked against PostgreSQL 15: tags, pg_listening_channels(),
 * refusals. */
#include "protocol/sql_lexer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define A_UMLAUT "\xc3\xa4"
#define EURO "\xe2\x82\xac"
#define FACE "\xf0\x9f\x98\x80"
#define TEN(x) x x x x x x x x x x
#define SIXTY(x) TEN(x x x x x x)
#define THIRTY(x) TEN(x x x)

/* --- names --- */

static const struct {
    const char *name;
    const char *text;
    const char *want; /* NULL: not read as LISTEN; "": the name cannot be read */
} names[] = {
    {"plain", "LISTEN abc", "abc"},
    {"folded", "listen ABC", "abc"},
    {"quoted stays", "Listen \"ABC\"", "ABC"},
    {"quote in quotes", "LISTEN \"a\"\"b\"", "a\"b"},
    {"semicolon in quotes", "LISTEN \"a;b\"", "a;b"},
    {"comment for a blank", "LISTEN/**/x", "x"},
    {"line comment for a blank", "LISTEN--\nx", "x"},
    {"line comment ended by CR", "LISTEN--\rx", "x"},
    {"nested comment", "LISTEN/* /* ; */ \" */x", "x"},
    {"all blanks", "listen\t\n\r\fx ;", "x"},
    {"no blank at all", "LISTEN\"x\"", "x"},
    {"comment behind", "LISTEN a-- c", "a"},
    {"comment that looks closed", "LISTEN a/*/ x */", "a"},
    {"63 bytes", "LISTEN " SIXTY("x") "abc", SIXTY("x") "abc"},
    {"64 bytes", "LISTEN " SIXTY("x") "abcd", SIXTY("x") "abc"},
    {"64 bytes, quoted", "LISTEN \"" SIXTY("x") "abcd\"", SIXTY("x") "abc"},
    {"200 bytes", "LISTEN " SIXTY("x") SIXTY("x") SIXTY("x") TEN("yz"), SIXTY("x") "xxx"},
    {"two-byte letters fit", "LISTEN " THIRTY(A_UMLAUT) A_UMLAUT, THIRTY(A_UMLAUT) A_UMLAUT},
    {"two-byte letters cut", "LISTEN " THIRTY(A_UMLAUT) A_UMLAUT A_UMLAUT,
     THIRTY(A_UMLAUT) A_UMLAUT},
    {"odd start fits", "LISTEN x" THIRTY(A_UMLAUT) A_UMLAUT, "x" THIRTY(A_UMLAUT) A_UMLAUT},
    {"three-byte letters fit", "LISTEN " TEN(EURO EURO) EURO, TEN(EURO EURO) EURO},
    {"three-byte letters cut", "LISTEN x" TEN(EURO EURO) EURO, "x" TEN(EURO EURO)},
    {"four-byte letters cut", "LISTEN " TEN(FACE) FACE FACE FACE FACE FACE FACE,
     TEN(FACE) FACE FACE FACE FACE FACE},
    {"letter over the limit", "LISTEN " SIXTY("x") "xx" A_UMLAUT, SIXTY("x") "xx"},
    {"letter up to the limit", "LISTEN " SIXTY("x") "x" A_UMLAUT, SIXTY("x") "x" A_UMLAUT},
    {"other letters are not folded", "LISTEN \xc3\x84", "\xc3\x84"},
    {"no-break space is a letter", "LISTEN \xc2\xa0x", "\xc2\xa0x"},
    {"dollars", "LISTEN a$b$", "a$b$"},
    {"underscore", "LISTEN _1", "_1"},
    {"letters that are prefixes", "LISTEN E", "e"},
    {"u alone", "LISTEN u", "u"},
    {"key word as a name", "LISTEN savepoint", "savepoint"},
    {"comment marks in quotes", "LISTEN \"--/*'$$\"", "--/*'$$"},
    {"line end in quotes", "LISTEN \"\n\"", "\n"},
    {"U&", "LISTEN U&\"\\0061b\"", "ab"},
    {"U&, long form", "LISTEN u&\"d\\0061t\\+000061\"", "data"},
    {"U&, own escape", "LISTEN U&\"d!0061t\" UESCAPE '!'", "dat"},
    {"U&, own escape twice", "LISTEN U&\"!!\" uescape '!';", "!"},
    {"U&, escape twice", "LISTEN U&\"a\\\\b\"", "a\\b"},
    {"U&, quote", "LISTEN U&\"a\"\"b\"", "a\"b"},
    {"U&, two bytes", "LISTEN U&\"\\00E4\"", A_UMLAUT},
    {"U&, three bytes", "LISTEN U&\"\\20ac\"", EURO},
    {"U&, four bytes", "LISTEN U&\"\\+01F600\"", FACE},
    {"U&, pair", "LISTEN U&\"\\D83D\\DE00\"", FACE},
    {"U&, mixed pair", "LISTEN U&\"\\D83D\\+00DE00x\"", FACE "x"},
    {"U&, cut", "LISTEN U&\"" SIXTY("x") "xx\\00e4\"", SIXTY("x") "xx"},
    {"U&, half a pair", "LISTEN U&\"\\D83Dx\"", ""},
    {"U&, half a pair at the end", "LISTEN U&\"\\D83D\"", ""},
    {"U&, pair of two first halves", "LISTEN U&\"\\D83D\\D83D\"", ""},
    {"U&, second half", "LISTEN U&\"\\DE00\"", ""},
    {"U&, no digits", "LISTEN U&\"\\00zz\"", ""},
    {"U&, too few digits", "LISTEN U&\"\\006\"", ""},
    {"U&, escape at the end", "LISTEN U&\"a\\\"", ""},
    {"U&, zero", "LISTEN U&\"\\0000\"", ""},
    {"U&, too large", "LISTEN U&\"\\+110000\"", ""},
    {"U&, escape in wrong quotes", "LISTEN U&\"!0041\" UESCAPE \"!\"", ""},
    {"U&, plus as escape", "LISTEN U&\"x\" UESCAPE '+'", ""},
    {"U&, digit as escape", "LISTEN U&\"x\" UESCAPE 'a'", ""},
    {"U&, nothing behind UESCAPE", "LISTEN U&\"x\" UESCAPE", ""},
    {"no name", "LISTEN", NULL},
    {"no name but a semicolon", "LISTEN;a", NULL},
    {"string", "LISTEN 'a'", NULL},
    {"parameter", "LISTEN $1", NULL},
    {"number", "LISTEN 1", NULL},
    {"star", "LISTEN *", NULL},
    {"longer word", "LISTENS x", NULL},
    {"shorter word", "LISTE x", NULL},
    {"quoted key word", "\"LISTEN\" x", NULL},
};

static const char *const kind_names[SQL_KINDS] = {
    [SQL_OTHER] = "other",       [SQL_LISTEN] = "LISTEN",
    [SQL_UNLISTEN] = "UNLISTEN", [SQL_UNLISTEN_ALL] = "UNLISTEN *",
    [SQL_NOTIFY] = "NOTIFY",     [SQL_SAVEPOINT] = "SAVEPOINT",
    [SQL_RELEASE] = "RELEASE",   [SQL_ROLLBACK_TO] = "ROLLBACK TO",
    [SQL_BEGIN] = "BEGIN",       [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK", [SQL_PREPARE_TRANSACTION] = "PREPARE TRANSACTION",
    [SQL_SET] = "SET",           [SQL_RESET] = "RESET",
    [SQL_DISCARD] = "DISCARD",   [SQL_PREPARE] = "PREPARE",
    [SQL_EXECUTE] = "EXECUTE",   [SQL_DEALLOCATE] = "DEALLOCATE",
    [SQL_DECLARE] = "DECLARE",   [SQL_CLOSE] = "CLOSE",
};

static void test_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct sql_lexer lx;
        struct sql_statement st;
        bool is_listen;

        sql_lexer_init(&lx, names[i].text, strlen(names[i].text), 0);
        assert_true(sql_statement_next(&lx, &st));
        is_listen = st.kind == SQL_LISTEN;
        if (is_listen != (names[i].want != NULL) ||
            (is_listen && strcmp(st.name, names[i].want) != 0)) {
            fail_msg("%s: %s <%s>", names[i].name, kind_names[st.kind], st.name);
        }
    }
}

static void test_a_single_byte_encoding_cuts_at_bytes(void **state)
{
    static const char text[] = "LISTEN " SIXTY("x") "xx" A_UMLAUT;
    static const char escaped[] = "LISTEN U&\"\\00e4\"";
    struct sql_lexer lx;
    struct sql_statement st;

    (void)state;
    sql_lexer_init(&lx, text, strlen(text), SQL_SINGLE_BYTE);
    assert_true(sql_statement_next(&lx, &st));
    assert_string_equal(st.name, SIXTY("x") "xx\xc3");
    sql_lexer_init(&lx, escaped, strlen(escaped), SQL_SINGLE_BYTE);
    assert_true(sql_statement_next(&lx, &st));
    assert_int_equal(st.kind, SQL_LISTEN);
    assert_string_equal(st.name, "");
}

/* Letters that end in a byte of ASCII: of names, in strings, and behind a backslash. */
static const struct {
    const char *name;
    unsigned flags;
    const char *text;
    const char *want;
} pair_names[] = {
    {"capital letter", SQL_SJIS, "LISTEN \x83\x41", "\x83\x41"},
    {"bracket", SQL_SJIS, "LISTEN \x83\x66\x81\x5b\x83\x5e", "\x83\x66\x81\x5b\x83\x5e"},
    {"of one byte", SQL_SJIS, "LISTEN \xc3\xde\xb0\xc0X", "\xc3\xde\xb0\xc0x"},
    {"backslash", SQL_PAIRS, "LISTEN \xa5\x5c\xaf\xe0", "\xa5\x5c\xaf\xe0"},
    {"four bytes", SQL_PAIRS, "LISTEN \x81\x30\x94\x34\x81\x7cY", "\x81\x30\x94\x34\x81\x7cy"},
    {"folded behind it", SQL_PAIRS, "LISTEN A\x81\x41 B", "a\x81\x41"},
    {"quoted", SQL_PAIRS, "LISTEN \"A\x81\x41\"", "A\x81\x41"},
    {"quoted with an escape", SQL_PAIRS, "LISTEN U&\"\xa5\x5c\\0041\"",
     "\xa5\x5c"
     "A"},
    {"behind a string", SQL_PAIRS, "SELECT E'\xa5\x5c'; LISTEN a", "a"},
    {"cut", SQL_PAIRS, "LISTEN " SIXTY("x") "xx\x81\x41", SIXTY("x") "xx"},
    {"half", SQL_PAIRS, "LISTEN a\x81", "a\x81"},
    {"dollars", SQL_PAIRS, "SELECT $\x81\x5c$;$\x81\x5c$; LISTEN a", "a"},
    {"not told", SQL_NOT_UTF8, "LISTEN U&\"\\00e4\"", ""},
};

static void test_encodings_of_clients(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(pair_names) / sizeof(pair_names[0]); i++) {
        struct sql_lexer lx;
        struct sql_statement st;

        sql_lexer_init(&lx, pair_names[i].text, strlen(pair_names[i].text), pair_names[i].flags);
        do {
            assert_true(sql_statement_next(&lx, &st));
        } while (st.kind == SQL_OTHER);
        if (st.kind != SQL_LISTEN || strcmp(st.name, pair_names[i].want) != 0) {
            fail_msg("%s: %s <%s>", pair_names[i].name, kind_names[st.kind], st.name);
        }
    }
}

/* --- statements --- */

/* KIND <name> +flags, with a | between them; "!" at the end: broken. */
static const struct {
    const char *name;
    const char *text;
    const char *want;
} texts[] = {
    {"nothing", "", ""},
    {"blanks", " \n\t", ""},
    {"comment", "--", ""},
    {"empty statements", ";; /* */ ;", ""},
    {"empty ones between", ";;LISTEN a;;;LISTEN b;", "LISTEN<a> LISTEN<b>"},
    {"unlisten", "UNLISTEN a;UNLISTEN *;UNLISTEN*;UNLISTEN */**/",
     "UNLISTEN<a> UNLISTEN * UNLISTEN * UNLISTEN *"},
    {"notify", "NOTIFY a; NOTIFY \"B\", 'x;y'", "NOTIFY<a> NOTIFY<B>"},
    {"parenthesis first", "(LISTEN a)", "other"},

    {"savepoint", "SAVEPOINT s; SAVEPOINT savepoint", "SAVEPOINT<s> SAVEPOINT<savepoint>"},
    {"release", "RELEASE s; RELEASE SAVEPOINT s; RELEASE savepoint; RELEASE SAVEPOINT SAVEPOINT",
     "RELEASE<s> RELEASE<s> RELEASE<savepoint> RELEASE<savepoint>"},
    {"rollback to",
     "ROLLBACK TO s; ROLLBACK WORK TO s; rollback transaction to savepoint \"S\"; ROLLBACK TO "
     "savepoint",
     "ROLLBACK TO<s> ROLLBACK TO<s> ROLLBACK TO<S> ROLLBACK TO<savepoint>"},
    {"begin",
     "BEGIN; BEGIN WORK; BEGIN ISOLATION LEVEL SERIALIZABLE; START TRANSACTION READ ONLY; START x",
     "BEGIN BEGIN BEGIN BEGIN other"},
    {"commit",
     "COMMIT; END; COMMIT WORK AND CHAIN; END TRANSACTION AND NO CHAIN; COMMIT PREPARED 'x'",
     "COMMIT COMMIT COMMIT+chain COMMIT other"},
    {"rollback", "ROLLBACK; ABORT; ROLLBACK AND CHAIN; ABORT WORK; ROLLBACK PREPARED 'x'",
     "ROLLBACK ROLLBACK ROLLBACK+chain ROLLBACK other"},
    {"prepare",
     "PREPARE p AS SELECT 1; PREPARE p(int) AS x; PREPARE TRANSACTION 'x;y'; PREPARE transaction "
     "AS SELECT 1",
     "PREPARE<p> PREPARE<p> PREPARE TRANSACTION PREPARE<transaction>"},
    {"execute", "EXECUTE p; EXECUTE \"P\"(1, ';')", "EXECUTE<p> EXECUTE<P>"},
    {"deallocate",
     "DEALLOCATE p; DEALLOCATE PREPARE p; DEALLOCATE ALL; DEALLOCATE PREPARE ALL; DEALLOCATE "
     "prepare; DEALLOCATE \"all\"",
     "DEALLOCATE<p> DEALLOCATE<p> DEALLOCATE+all DEALLOCATE+all DEALLOCATE<prepare> "
     "DEALLOCATE<all>"},
    {"discard", "DISCARD ALL; DISCARD PLANS; DISCARD", "DISCARD+all DISCARD<plans> other"},
    {"close", "CLOSE c; CLOSE ALL", "CLOSE<c> CLOSE+all"},
    {"declare",
     "DECLARE c CURSOR FOR SELECT ';'; DECLARE c NO SCROLL CURSOR WITH HOLD FOR x; DECLARE c "
     "CURSOR WITHOUT HOLD FOR x",
     "DECLARE<c> DECLARE<c>+hold DECLARE<c>"},
    {"no cursor", "DECLARE c; DECLARE c FOR CURSOR; DECLARE 'c' CURSOR", "other other other"},
    {"set",
     "SET a TO 1; SET SESSION \"A\" = 1; SET LOCAL a.b = ';'; SET session = 1; SET local TO 1",
     "SET<a> SET<A> SET<a.b>+local SET<session> SET<local>"},
    {"set with words",
     "SET TIME ZONE 'x'; SET NAMES 'x'; SET ROLE x; SET SCHEMA 'x'; SET SESSION AUTHORIZATION x; "
     "SET XML OPTION content",
     "SET<timezone> SET<client_encoding> SET<role> SET<search_path> SET<session_authorization> "
     "SET<xmloption>"},
    {"set without a parameter",
     "SET TRANSACTION READ ONLY; SET SESSION CHARACTERISTICS AS x; SET CONSTRAINTS ALL DEFERRED; "
     "SET LOCAL TRANSACTION x",
     "SET SET other SET+local"},
    {"set of a long name", "SET " SIXTY("x") ".y TO 1; SET " SIXTY("x") ".abc TO 1",
     "SET<" SIXTY("x") ".y> SET"},
    {"reset",
     "RESET ALL; RESET a; RESET a.b; RESET TIME ZONE; RESET SESSION AUTHORIZATION; RESET ROLE",
     "RESET+all RESET<a> RESET<a.b> RESET<timezone> RESET<session_authorization> RESET<role>"},

    {"string", "SELECT ';LISTEN x'", "other"},
    {"doubled quote", "SELECT 'a''b;LISTEN x'", "other"},
    {"backslash is a byte", "SELECT 'a\\';LISTEN x", "other LISTEN<x>"},
    {"E string", "SELECT E'a\\';LISTEN x;--'", "other"},
    {"E string, backslash twice", "SELECT e'\\\\';LISTEN x", "other LISTEN<x>"},
    {"a word that ends in e", "SELECT ae'\\';LISTEN x", "other LISTEN<x>"},
    {"continued", "SELECT 'a'\n'b;';LISTEN x", "other LISTEN<x>"},
    {"continued in its kind", "SELECT E'a'\n'\\';LISTEN x;--'", "other"},
    {"continued behind comments", "SELECT E'a' --c\n--d\n 'b\\';LISTEN x;--'", "other"},
    {"not continued on one line", "SELECT E'a' 'b\\';LISTEN x", "other LISTEN<x>"},
    {"not continued behind a block comment", "SELECT E'a' /*c*/\n 'b\\';LISTEN x",
     "other LISTEN<x>"},
    {"bits are not doubled", "SELECT B'0''1\\';LISTEN x", "other LISTEN<x>"},
    {"hex", "SELECT X'1F';LISTEN x", "other LISTEN<x>"},
    {"N string", "SELECT N'a;b';LISTEN x", "other LISTEN<x>"},
    {"U& string", "SELECT U&'a;\\0041''';LISTEN x", "other LISTEN<x>"},
    {"dollars", "SELECT $$;LISTEN x$$", "other"},
    {"dollars with tags", "SELECT $a$;$$;$b$LISTEN x$a$;LISTEN y", "other LISTEN<y>"},
    {"tag ends in the tag of another", "SELECT $a$ $b$a$;LISTEN y", "other LISTEN<y>"},
    {"tag of other letters", "SELECT $\xc3\xa9$;$\xc3\xa9$;LISTEN x", "other LISTEN<x>"},
    {"dollars in a word", "SELECT 1 a$$;LISTEN x;SELECT 1 b$$", "other LISTEN<x> other"},
    {"dollar and a digit", "SELECT $1;LISTEN x;SELECT $2$", "other LISTEN<x> other"},
    {"semicolon in a quoted word", "SELECT 1 AS \"a;b\";LISTEN x", "other LISTEN<x>"},
    {"comment in an operator", "SELECT 1 +-- c ; LISTEN y\n1;LISTEN x", "other LISTEN<x>"},
    {"block comment in an operator", "SELECT 2 */* ; */ 3;LISTEN x", "other LISTEN<x>"},
    {"slashes", "SELECT 2 //* ; */ 3;LISTEN x", "other LISTEN<x>"},
    {"numbers", "SELECT 1e5, 1., .5e-3, 1--2;\n, 1e;LISTEN x", "other LISTEN<x>"},
    {"parentheses", "CREATE RULE r AS ON INSERT TO t DO ALSO (NOTIFY a; NOTIFY b);LISTEN x",
     "other LISTEN<x>"},
    {"too many closed", "SELECT 1);LISTEN x", "other LISTEN<x>"},

    {"atomic", "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END;LISTEN x",
     "other LISTEN<x>"},
    {"atomic, cases and labels",
     "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 "
     "ELSE 2 END; SELECT 1 END; SELECT 1 AS case; END;LISTEN x",
     "other LISTEN<x>"},
    {"atomic, empty", "CREATE PROCEDURE f() BEGIN ATOMIC END;LISTEN x", "other LISTEN<x>"},
    {"atomic, empty statements", "CREATE PROCEDURE f() BEGIN/**/ATOMIC ;; END;LISTEN x",
     "other LISTEN<x>"},
    {"atomic as names",
     "CREATE PROCEDURE f(begin int, atomic int) BEGIN ATOMIC SELECT begin atomic FROM (SELECT 1 "
     "begin) s; "
     "SELECT (SELECT 1 end); END;LISTEN x;LISTEN y",
     "other LISTEN<x> LISTEN<y>"},
    {"atomic, nested",
     "CREATE FUNCTION f() BEGIN ATOMIC CREATE FUNCTION g() BEGIN ATOMIC SELECT 1; END; SELECT 2; "
     "END;LISTEN x",
     "other LISTEN<x>"},
    {"not atomic",
     "CREATE FUNCTION begin(atomic int) RETURNS int LANGUAGE SQL AS 'SELECT 1';LISTEN x",
     "other LISTEN<x>"},
    {"not a function", "CREATE TABLE begin AS SELECT begin atomic;LISTEN x", "other LISTEN<x>"},
    {"not even CREATE", "SELECT begin atomic FROM t;LISTEN x;SELECT 1 end",
     "other LISTEN<x> other"},

    {"open string", "LISTEN a; SELECT 'a", "LISTEN<a> !"},
    {"open string at a quote", "SELECT 'a''", "!"},
    {"open string at a backslash", "SELECT E'\\", "!"},
    {"open continuation", "SELECT 'a'\n'b", "!"},
    {"open bits", "SELECT B'", "!"},
    {"open identifier", "LISTEN \"x", "!"},
    {"empty identifier", "LISTEN \"\"", "!"},
    {"open U&", "LISTEN U&\"x", "!"},
    {"open comment", "LISTEN a/* c", "!"},
    {"open nested comment", "LISTEN a/* /* */", "!"},
    {"open dollars", "SELECT $a$ $b$", "!"},
    {"open dollars behind a word", "SELECT a$$;LISTEN x;$$", "other LISTEN<x> !"},
};

static void print_statements(const char *text, size_t len, unsigned flags, char *ret, size_t size)
{
    struct sql_lexer lx;
    struct sql_statement st;
    size_t n = 0;

    ret[0] = '\0';
    sql_lexer_init(&lx, text, len, flags);
    while (sql_statement_next(&lx, &st)) {
        n += (size_t)snprintf(ret + n, size - n, "%s%s", n > 0 ? " " : "", kind_names[st.kind]);
        if (st.name[0] != '\0') {
            n += (size_t)snprintf(ret + n, size - n, "<%s>", st.name);
        }
        n += (size_t)snprintf(ret + n, size - n, "%s%s%s%s", st.is_all ? "+all" : "",
                              st.is_local ? "+local" : "", st.is_hold ? "+hold" : "",
                              st.is_chain ? "+chain" : "");
    }
    if (sql_token_next(&lx).kind == SQL_TOKEN_BROKEN) {
        (void)snprintf(ret + n, size - n, "%s!", n > 0 ? " " : "");
    }
}

static void test_statements(void **state)
{
    char got[1024];

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        /* on the heap, to the byte, so that a look behind its end shows */
        size_t len = strlen(texts[i].text);
        char *copy = malloc(len + (len == 0));

        assert_non_null(copy);
        memcpy(copy, texts[i].text, len);
        print_statements(copy, len, 0, got, sizeof(got));
        free(copy);
        if (strcmp(got, texts[i].want) != 0) {
            fail_msg("%s: %s, not %s", texts[i].name, got, texts[i].want);
        }
    }
}

static void test_backslashes_escape_when_strings_do_not_conform(void **state)
{
    static const char text[] = "SELECT 'a\\';LISTEN x;--', N'\\'', B'\\'; LISTEN y";
    char got[256];

    (void)state;
    print_statements(text, strlen(text), SQL_BACKSLASHES, got, sizeof(got));
    assert_string_equal(got, "other LISTEN<y>");
    print_statements(text, strlen(text), 0, got, sizeof(got));
    assert_string_equal(got, "other LISTEN<x>");
}

static void test_every_prefix_of_every_text_is_read_within_its_bytes(void **state)
{
    char got[1024];

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        for (size_t len = 0; len < strlen(texts[i].text); len++) {
            char *copy = malloc(len + (len == 0));

            assert_non_null(copy);
            memcpy(copy, texts[i].text, len);
            print_statements(copy, len, i % 2 == 0 ? SQL_BACKSLASHES : 0, got, sizeof(got));
            free(copy);
        }
    }
}

static void test_places_point_at_statement_and_name(void **state)
{
    static const char text[] =
        " /* a */ LISTEN \"a\"\"b\" -- c\n ;x; UNLISTEN U&\"!0041\" UESCAPE '!' ; SET a . b = 1";
    struct sql_lexer lx;
    struct sql_statement st;

    (void)state;
    sql_lexer_init(&lx, text, strlen(text), 0);
    assert_true(sql_statement_next(&lx, &st));
    assert_int_equal(st.at, 9);
    assert_memory_equal(text + st.at, "LISTEN \"a\"\"b\"", st.len);
    assert_int_equal(st.len, 13);
    assert_memory_equal(text + st.name_at, "\"a\"\"b\"", st.name_len);
    assert_int_equal(st.name_len, 6);
    assert_true(sql_statement_next(&lx, &st));
    assert_int_equal(st.kind, SQL_OTHER);
    assert_int_equal(st.len, 1);
    assert_int_equal(st.name_len, 0);
    assert_true(sql_statement_next(&lx, &st));
    assert_string_equal(st.name, "A");
    assert_int_equal(st.name_len, strlen("U&\"!0041\" UESCAPE '!'"));
    assert_memory_equal(text + st.name_at, "U&\"!0041\" UESCAPE '!'", st.name_len);
    assert_int_equal(st.at + st.len, st.name_at + st.name_len);
    assert_true(sql_statement_next(&lx, &st));
    assert_string_equal(st.name, "a.b");
    assert_memory_equal(text + st.name_at, "a . b", st.name_len);
    assert_false(sql_statement_next(&lx, &st));
    assert_false(sql_statement_next(&lx, &st));
}

static void test_tokens(void **state)
{
    static const char text[] = "a \"b\" 'c' 1.5e3 $1 + $t$x$t$ $ n'x'";
    static const enum sql_token_kind want[] = {SQL_TOKEN_WORD,   SQL_TOKEN_QUOTED, SQL_TOKEN_STRING,
                                               SQL_TOKEN_NUMBER, SQL_TOKEN_PARAM,  SQL_TOKEN_SIGN,
                                               SQL_TOKEN_STRING, SQL_TOKEN_SIGN,   SQL_TOKEN_STRING,
                                               SQL_TOKEN_END,    SQL_TOKEN_END};
    struct sql_lexer lx;

    (void)state;
    sql_lexer_init(&lx, text, strlen(text), 0);
    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
        struct sql_token t = sql_token_next(&lx);

        if (t.kind != want[i]) {
            fail_msg("token %zu at %zu is of kind %d", i, t.at, (int)t.kind);
        }
    }
}

/* --- the cheap question --- */

static void test_might_contain_finds_the_word_at_every_place(void **state)
{
    (void)state;
    for (size_t len = 0; len < 100; len++) {
        char *text = malloc(len + (len == 0));

        assert_non_null(text);
        memset(text, 'l', len);
        assert_false(sql_might_contain(text, len, "listen"));
        for (size_t at = 0; at + 6 <= len; at++) {
            memset(text, 'N', len);
            memcpy(text + at, at % 2 == 0 ? "LiSTeN" : "listen", 6);
            if (!sql_might_contain(text, len, "listen")) {
                fail_msg("not found at %zu of %zu", at, len);
            }
            text[at + 4] = 'f';
            assert_false(sql_might_contain(text, len, "listen"));
        }
        free(text);
    }
    assert_true(sql_might_contain("SELECT set_CONFIG('a', 'b', false)", 34, "set_config"));
    assert_false(sql_might_contain("SELECT set\x7f"
                                   "config('a', 'b', false)",
                                   34, "set_config"));
    assert_true(sql_might_contain("ab", 2, "ab"));
    assert_false(sql_might_contain("a", 1, "ab"));
    assert_false(sql_might_contain("", 0, "ab"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_a_single_byte_encoding_cuts_at_bytes),
        cmocka_unit_test(test_encodings_of_clients),
        cmocka_unit_test(test_statements),
        cmocka_unit_test(test_backslashes_escape_when_strings_do_not_conform),
        cmocka_unit_test(test_every_prefix_of_every_text_is_read_within_its_bytes),
        cmocka_unit_test(test_places_point_at_statement_and_name),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_might_contain_finds_the_word_at_every_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
