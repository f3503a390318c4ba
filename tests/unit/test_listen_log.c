/* SPDX-License-Identifier: ISC */
/* The outcomes are those of PostgreSQL 15: pg_listening_channels() after the same statements and
 * answers. */
#include "pool/listen_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A dialogue, its lines divided by |:
 *     >1 text   the statements of this text are sent with seq 1; if the log is not active and the
 *               text has no "listen", they are not, as the caller may do
 *     TAG       CommandComplete
 *     !1        ErrorResponse that makes seq 1 void
 *     =1T       ReadyForQuery for seq 1 with status T; what is committed is printed: +a -a -*
 */
static const struct {
    const char *name;
    const char *dialogue;
    const char *want;
    bool is_active; /* at the end */
} cases[] = {
    {"nothing", ">1 SELECT 1|SELECT 1|=1I", "", false},
    {"listen", ">1 LISTEN a|LISTEN|=1I", "+a", false},
    {"not before it is committed", ">1 BEGIN|BEGIN|=1T|>2 LISTEN a|LISTEN|=2T", "", true},
    {"committed", ">1 BEGIN|BEGIN|=1T|>2 LISTEN a|LISTEN|=2T|>3 COMMIT|COMMIT|=3I", "+a", false},
    {"rolled back", ">1 BEGIN|BEGIN|=1T|>2 LISTEN a|LISTEN|=2T|>3 ROLLBACK|ROLLBACK|=3I", "",
     false},
    {"failed",
     ">1 BEGIN|BEGIN|=1T|>2 LISTEN a|LISTEN|=2T|>3 SELECT 1/0|!3|=3E|>4 COMMIT|ROLLBACK|=4I", "",
     false},
    {"refused", ">1 LISTEN a|!1|=1I", "", false},
    {"in order", ">1 LISTEN a;UNLISTEN *;LISTEN b;UNLISTEN c|LISTEN|UNLISTEN|LISTEN|UNLISTEN|=1I",
     "+a -* +b -c", false},
    {"commit fails", ">1 BEGIN;LISTEN a|BEGIN|LISTEN|=1T|>2 COMMIT|!2|=2I", "", false},

    {"implicit block fails", ">1 LISTEN a;SELECT 1/0|LISTEN|!1|=1I", "", false},
    {"implicit block, void behind the error",
     ">1 LISTEN a;SELECT 1/0;LISTEN b|LISTEN|!1|=1I|>2 LISTEN c|LISTEN|=2I", "+c", false},
    {"commit in the middle stays",
     ">1 LISTEN a;COMMIT;LISTEN b;SELECT 1/0|LISTEN|COMMIT|LISTEN|!1|=1I", "+a", false},
    {"commit in the middle, then open",
     ">1 LISTEN a;COMMIT;BEGIN;LISTEN b|LISTEN|COMMIT|BEGIN|LISTEN|=1T", "+a", true},
    {"rollback in the middle", ">1 LISTEN a;ROLLBACK;LISTEN b|LISTEN|ROLLBACK|LISTEN|=1I", "+b",
     false},
    {"begin takes in what was before",
     ">1 LISTEN a;BEGIN;LISTEN b|LISTEN|BEGIN|LISTEN|=1T|>2 ROLLBACK|ROLLBACK|=2I", "", false},
    {"chain", ">1 BEGIN;LISTEN a|BEGIN|LISTEN|=1T|>2 COMMIT AND CHAIN|COMMIT|=2T", "+a", false},

    {"back to",
     ">1 BEGIN;LISTEN a;SAVEPOINT s;LISTEN b|BEGIN|LISTEN|SAVEPOINT|LISTEN|=1T|>2 ROLLBACK TO "
     "s;COMMIT|ROLLBACK|COMMIT|=2I",
     "+a", false},
    {"back to, twice",
     ">1 BEGIN;LISTEN a;SAVEPOINT s;LISTEN b;ROLLBACK TO s;LISTEN c;ROLLBACK TO s;LISTEN d;COMMIT"
     "|BEGIN|LISTEN|SAVEPOINT|LISTEN|ROLLBACK|LISTEN|ROLLBACK|LISTEN|COMMIT|=1I",
     "+a +d", false},
    {"back out of a failure",
     ">1 BEGIN;LISTEN a;SAVEPOINT s;LISTEN b|BEGIN|LISTEN|SAVEPOINT|LISTEN|=1T|>2 SELECT 1/0|!2|=2E"
     "|>3 ROLLBACK TO s|ROLLBACK|=3T|>4 COMMIT|COMMIT|=4I",
     "+a", false},
    {"same name nests",
     ">1 BEGIN;LISTEN a;SAVEPOINT s;LISTEN b;SAVEPOINT s;LISTEN c;ROLLBACK TO s;RELEASE s;ROLLBACK "
     "TO s;COMMIT"
     "|BEGIN|LISTEN|SAVEPOINT|LISTEN|SAVEPOINT|LISTEN|ROLLBACK|RELEASE|ROLLBACK|COMMIT|=1I",
     "+a", false},
    {"release keeps",
     ">1 BEGIN;LISTEN a;SAVEPOINT s;LISTEN b;RELEASE "
     "s;COMMIT|BEGIN|LISTEN|SAVEPOINT|LISTEN|RELEASE|COMMIT|=1I",
     "+a +b", false},
    {"release of the outer one",
     ">1 BEGIN;LISTEN a;SAVEPOINT s;LISTEN b;SAVEPOINT t;LISTEN c;SAVEPOINT u;RELEASE t;LISTEN d;"
     "ROLLBACK TO "
     "s;COMMIT|BEGIN|LISTEN|SAVEPOINT|LISTEN|SAVEPOINT|LISTEN|SAVEPOINT|RELEASE|LISTEN|ROLLBACK|"
     "COMMIT|=1I",
     "+a", false},
    {"back to one from before",
     ">1 BEGIN|BEGIN|=1T|>2 SAVEPOINT s|SAVEPOINT|=2T|>3 LISTEN a|LISTEN|=3T|>4 ROLLBACK TO "
     "s|ROLLBACK|=4T"
     "|>5 COMMIT|COMMIT|=5I",
     "", false},
    {"release of one from before",
     ">1 BEGIN|BEGIN|=1T|>2 SAVEPOINT s|SAVEPOINT|=2T|>3 LISTEN a|LISTEN|=3T|>4 RELEASE "
     "s|RELEASE|=4T"
     "|>5 COMMIT|COMMIT|=5I",
     "+a", false},
    {"release takes the inner one of another's name",
     ">1 BEGIN;SAVEPOINT b;SAVEPOINT a|BEGIN|SAVEPOINT|SAVEPOINT|=1T"
     "|>2 LISTEN x;SAVEPOINT b;LISTEN y;RELEASE a;ROLLBACK TO "
     "b;COMMIT|LISTEN|SAVEPOINT|LISTEN|RELEASE|ROLLBACK|COMMIT|=2I",
     "", false},

    {"pipeline, a round each", ">1 LISTEN a|>2 LISTEN b|LISTEN|=1I|LISTEN|=2I", "+a +b", false},
    {"pipeline, one fails", ">1 LISTEN a|>2 SELECT 1/0|>3 LISTEN b|LISTEN|=1I|!2|=2I|LISTEN|=3I",
     "+a +b", false},
    {"pipeline, an earlier one fails", ">1 SELECT 1/0|>2 LISTEN b|!1|=1I|LISTEN|=2I", "+b", false},
    {"one sync, fails",
     ">1 LISTEN a|>2 SELECT 1/0|>3 LISTEN b|>4 |LISTEN|!4|=4I|>5 LISTEN c|LISTEN|=5I", "+c", false},
    {"one sync, commit in the middle",
     ">1 LISTEN a|>2 COMMIT|>3 LISTEN b|LISTEN|COMMIT|LISTEN|!4|=4I", "+a", false},
    {"sent before the first",
     ">1 SAVEPOINT s|>2 COMMIT|>3 LISTEN a|SAVEPOINT|=1T|COMMIT|=2I|LISTEN|=3I", "+a", false},
    {"a rollback sent before the first",
     ">1 ROLLBACK|>2 LISTEN a;ROLLBACK|ROLLBACK|=1I|LISTEN|ROLLBACK|=2I", "", false},
    {"seq wraps", ">4294967295 LISTEN a|>0 LISTEN b|LISTEN|!0|=0I", "", false},
    {"a portal that is never run", ">1 LISTEN a|=1I", "", false},

    {"prepare transaction of a failed one",
     ">1 BEGIN;LISTEN a|BEGIN|LISTEN|=1T|>2 x|!2|=2E|>3 PREPARE TRANSACTION 'x'|ROLLBACK|=3I", "",
     false},
    {"prepare transaction outside a block",
     ">1 LISTEN a|>2 PREPARE TRANSACTION 'x'|LISTEN|ROLLBACK|=3I", "+a", false},
    {"the same behind a failed block",
     ">1 x|>2 ROLLBACK|>3 LISTEN a|>4 PREPARE TRANSACTION 'x'|!1|=1E|ROLLBACK|LISTEN|ROLLBACK|=5I",
     "+a", false},
    {"prepare transaction",
     ">1 BEGIN;LISTEN a;SAVEPOINT s|BEGIN|LISTEN|SAVEPOINT|=1T|>2 PREPARE TRANSACTION 'x'|!2|=2I",
     "", false},
    {"prepared without changes",
     ">1 BEGIN;LISTEN a|BEGIN|LISTEN|=1T|>2 ROLLBACK TO s;PREPARE TRANSACTION 'x';LISTEN b"
     "|ROLLBACK|PREPARE TRANSACTION|LISTEN|=2I",
     "+b", false},

    {"discard all", ">1 DISCARD ALL|DISCARD ALL|=1I", "-*", false},
    {"discard all commits at once",
     ">1 LISTEN a|>2 DISCARD ALL|>3 LISTEN b|LISTEN|DISCARD ALL|LISTEN|!4|=4I", "-*", false},
    {"discard plans", ">1 DISCARD PLANS|DISCARD PLANS|=1I", "", false},
    {"case and quotes", ">1 Listen A;LISTEN \"A\";unlisten a|LISTEN|LISTEN|UNLISTEN|=1I",
     "+a +A -a", false},

    {"never expected", "LISTEN|=1I", "?", false},
    {"never expected, unlisten", "UNLISTEN|=1I", "?", false},
    {"never expected, in a transaction", ">1 BEGIN;LISTEN a|BEGIN|LISTEN|=1T|ROLLBACK|=2T", "?",
     true},
    {"never expected, but harmless", "SAVEPOINT|ROLLBACK|COMMIT|=1I", "", false},
    {"a name that cannot be read", ">1 LISTEN U&\"\\+110000\"|LISTEN|=1I", "?", false},
};

static bool has_listen(const char *text)
{
    return sql_might_contain(text, strlen(text), "listen");
}

static void send_text(struct listen_log *log, uint32_t seq, const char *text)
{
    struct sql_lexer lx;
    struct sql_statement st;

    if (!listen_log_is_active(log) && !has_listen(text)) {
        return;
    }
    sql_lexer_init(&lx, text, strlen(text), 0);
    while (sql_statement_next(&lx, &st)) {
        assert_int_equal(listen_log_expect(log, seq, &st), 0);
    }
}

static void put(char *out, size_t size, const char *word, const char *name)
{
    size_t n = strlen(out);

    (void)snprintf(out + n, size - n, "%s%s%s", n > 0 ? " " : "", word, name);
}

static void take_all(struct listen_log *log, char *out, size_t size)
{
    struct listen_change ch;

    while (listen_log_take(log, &ch)) {
        put(out, size, ch.kind == SQL_LISTEN ? "+" : "-",
            ch.kind == SQL_UNLISTEN_ALL ? "*" : ch.name);
    }
}

static void play(struct listen_log *log, char *line, char *out, size_t size)
{
    char *end;
    uint32_t seq = (uint32_t)strtoul(line + 1, &end, 10);

    if (line[0] == '>') {
        send_text(log, seq, end + 1);
    } else if (line[0] == '!') {
        listen_log_error(log, seq);
    } else if (line[0] == '=') {
        if (listen_log_ready(log, seq, *end)) {
            take_all(log, out, size);
        }
    } else if (listen_log_complete(log, line) != 0) {
        put(out, size, "?", "");
    }
}

static void test_dialogues(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct listen_log log;
        char *text = strdup(cases[i].dialogue);
        char *rest = text;
        char out[256] = "";
        char *line;

        assert_non_null(text);
        listen_log_init(&log);
        while ((line = strsep(&rest, "|")) != NULL) {
            play(&log, line, out, sizeof(out));
        }
        if (strcmp(out, cases[i].want) != 0 || listen_log_is_active(&log) != cases[i].is_active) {
            fail_msg("%s: <%s>, %u left", cases[i].name, out, listen_log_count(&log));
        }
        listen_log_done(&log);
        listen_log_done(&log);
        free(text);
    }
}

static struct sql_statement statement(enum sql_kind kind, const char *name)
{
    struct sql_statement st = {.kind = kind};

    (void)snprintf(st.name, sizeof(st.name), "%s", name);
    return st;
}

static void test_it_takes_so_many_and_no_more(void **state)
{
    struct sql_statement st = statement(SQL_LISTEN, "a");
    struct sql_statement other = statement(SQL_OTHER, "");
    struct listen_change ch;
    struct listen_log log;
    unsigned n = 0;

    (void)state;
    listen_log_init(&log);
    for (unsigned i = 0; i < LISTEN_LOG_MAX; i++) {
        assert_int_equal(listen_log_expect(&log, 1, &st), 0);
    }
    assert_int_equal(listen_log_expect(&log, 2, &st), LISTEN_LOG_E_FULL);
    assert_int_equal(listen_log_expect(&log, 2, &other), 0);
    assert_int_equal(listen_log_count(&log), LISTEN_LOG_MAX);
    for (unsigned i = 0; i < LISTEN_LOG_MAX; i++) {
        assert_int_equal(listen_log_complete(&log, "LISTEN"), 0);
    }
    assert_int_equal(listen_log_expect(&log, 2, &st), LISTEN_LOG_E_FULL);
    assert_true(listen_log_ready(&log, 1, 'I'));
    while (listen_log_take(&log, &ch)) {
        n++;
    }
    assert_int_equal(n, LISTEN_LOG_MAX);
    assert_false(listen_log_is_active(&log));
}

static void test_savepoints_that_come_and_go_do_not_add_up(void **state)
{
    struct sql_statement sts[] = {statement(SQL_SAVEPOINT, "s"), statement(SQL_LISTEN, "b"),
                                  statement(SQL_ROLLBACK_TO, "s"), statement(SQL_RELEASE, "s")};
    static const char *const tags[] = {"SAVEPOINT", "LISTEN", "ROLLBACK", "RELEASE"};
    struct sql_statement first = statement(SQL_LISTEN, "a");
    struct listen_log log;

    (void)state;
    listen_log_init(&log);
    assert_int_equal(listen_log_expect(&log, 1, &first), 0);
    assert_int_equal(listen_log_complete(&log, "LISTEN"), 0);
    for (unsigned i = 0; i < 2 * LISTEN_LOG_MAX; i++) {
        for (unsigned k = 0; k < 4; k++) {
            assert_int_equal(listen_log_expect(&log, i, &sts[k]), 0);
            assert_int_equal(listen_log_complete(&log, tags[k]), 0);
        }
    }
    assert_int_equal(listen_log_count(&log), 1);
    listen_log_done(&log);
}

static void test_every_kind_of_statement_is_known(void **state)
{
    (void)state;
    for (unsigned k = 0; k < SQL_KINDS; k++) {
        struct sql_statement st = statement((enum sql_kind)k, "x");
        struct listen_log log;

        listen_log_init(&log);
        assert_int_equal(listen_log_expect(&log, 1, &st), 0);
        assert_int_equal(listen_log_is_active(&log),
                         k == SQL_LISTEN || k == SQL_UNLISTEN || k == SQL_UNLISTEN_ALL);
        listen_log_done(&log);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dialogues),
        cmocka_unit_test(test_it_takes_so_many_and_no_more),
        cmocka_unit_test(test_savepoints_that_come_and_go_do_not_add_up),
        cmocka_unit_test(test_every_kind_of_statement_is_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
