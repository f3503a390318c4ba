/* SPDX-License-Identifier: ISC */
/* The screen of `pgpoold top`: order, rates, what fits, and that no name steers the terminal. */
#include "daemon/top_frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N_MANY 40

static struct top_sample sample_of(size_t n_pools, size_t n_databases)
{
    struct top_sample s = {.at_us = 10 * USEC_PER_SEC};

    s.pools = calloc(n_pools + 1, sizeof *s.pools);
    s.databases = calloc(n_databases + 1, sizeof *s.databases);
    assert_true(s.pools != NULL && s.databases != NULL);
    for (; s.n_pools < n_pools; s.n_pools++) {
        char name[32];

        (void)snprintf(name, sizeof name, "db%02zu", s.n_pools);
        s.pools[s.n_pools].database = strdup(name);
        s.pools[s.n_pools].user = strdup("app");
        s.pools[s.n_pools].mode = strdup("transaction");
    }
    for (; s.n_databases < n_databases; s.n_databases++) {
        char name[32];

        (void)snprintf(name, sizeof name, "db%02zu", s.n_databases);
        s.databases[s.n_databases].name = strdup(name);
        s.databases[s.n_databases].pool_size = 20;
    }
    return s;
}

static void rename_to(char **what, const char *name)
{
    free(*what);
    *what = strdup(name);
}

static const char *draw(struct buf *out, const struct top_screen *screen,
                        const struct top_sample *now)
{
    static const struct top_sample before = {0};

    buf_clear(out);
    top_frame(out, screen, now, &before);
    return buf_cstr(out);
}

static unsigned n_lines(const char *text)
{
    unsigned n = 0;

    for (; *text != '\0'; text++) {
        n += *text == '\n';
    }
    return n;
}

static void test_names(void **state)
{
    static const struct {
        const char *name, *shown;
    } cases[] = {
        {"shop", "  shop     "},
        {"\033[2J", "  ?[2J    "},
        {"a\x7f\r\n\tb", "  a????b  "},
        {"a\xc2\x9b"
         "1mb",
         "  a?1mb   "}, /* U+009B is CSI */
        {"\xc3\xa9t\xc3\xa9", "  \xc3\xa9t\xc3\xa9     "},
        {"\xff\xfe", "  ??      "},
        {"\xc3", "  ?       "},     /* cut short */
        {"\xe2\x82", "  ??      "}, /* likewise */
        {"\xf0\x9f\x98\x80", "  \xf0\x9f\x98\x80       "},
        {"", "          "},
    };
    struct buf out = BUF_INIT(TOP_FRAME_BYTES_MAX);
    struct top_screen screen = {.title = "here"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct top_sample s = sample_of(1, 1);

        rename_to(&s.pools[0].database, cases[i].name);
        if (strstr(draw(&out, &screen, &s), cases[i].shown) == NULL) {
            fail_msg("%zu: %s", i, buf_cstr(&out));
        }
        for (size_t k = 0; k < out.len; k++) {
            assert_true(out.data[k] == '\n' || (out.data[k] >= ' ' && out.data[k] != 0x7f));
        }
        top_sample_done(&s);
    }
    buf_done(&out);
}

static void test_a_screen_is_never_too_high_or_too_wide(void **state)
{
    struct buf out = BUF_INIT(TOP_FRAME_BYTES_MAX);

    (void)state;
    for (size_t pools = 0; pools <= N_MANY; pools += 8) {
        for (size_t databases = 0; databases <= N_MANY; databases += 8) {
            struct top_sample s = sample_of(pools, databases);

            for (unsigned rows = 1; rows < 100; rows += 11) {
                struct top_screen screen = {.title = "here", .rows = rows, .columns = 80};
                const char *text = draw(&out, &screen, &s);

                assert_true(n_lines(text) <= rows);
                assert_ptr_equal(strstr(text, "here\n"), text);
                if (pools + databases + 7 <= rows) {
                    assert_null(strstr(text, " more "));
                    assert_int_equal(n_lines(text), 7 + pools + databases);
                }
                while (*text != '\0') {
                    assert_true(strcspn(text, "\n") <= 80);
                    text += strcspn(text, "\n") + 1;
                }
            }
            top_sample_done(&s);
        }
    }
    buf_done(&out);
}

#define WIDE 200

/* What a terminal of @columns columns that does not wrap shows in the last line that has @word in it: in its last column each
 * further character takes the place of the one before, and the cursor stays there. */
static bool shown_line(const char *text, unsigned columns, const char *word, char ret[WIDE])
{
    char line[WIDE] = "";
    unsigned at = 0;
    bool found = false;

    for (; *text != '\0'; text++) {
        if (text[0] == '\033' && text[2] == 'K') {
            memset(line + at, 0, sizeof line - at);
        }
        if (*text == '\033') {
            text += 1 + strcspn(text + 2, "KHJm") + 1;
            continue;
        }
        if (*text != '\n') {
            line[at] = *text;
            at = MIN(at + 1, columns - 1);
            continue;
        }
        if (strstr(line, word) != NULL) {
            memcpy(ret, line, sizeof line);
            found = true;
        }
        memset(line, 0, sizeof line);
        at = 0;
    }
    return found;
}

static void test_a_line_may_fill_the_screen(void **state)
{
    static const char name[] = "a_name_that_is_as_long_as_names_may_be_in_postgresql_12345678901";
    struct buf out = BUF_INIT(TOP_FRAME_BYTES_MAX);
    struct top_sample s = sample_of(1, 1);
    char line[WIDE];

    (void)state;
    rename_to(&s.pools[0].database, name);
    s.pools[0].limit = 23456;
    for (unsigned columns = 20; columns < 180; columns++) {
        struct top_screen screen = {.title = "a title, and what is said behind it, on and on",
                                    .columns = columns,
                                    .is_terminal = true,
                                    .is_coloured = columns % 2 == 0};
        const char *text = draw(&out, &screen, &s);

        assert_true(shown_line(text, columns, "  a_na", line));
        assert_true(columns < 74 || strstr(line, " 23456") != NULL);
        assert_true(columns != 30 || strcmp(line, "  a_name_~ app      trans     ") == 0);
        assert_true(shown_line(text, columns, "a title", line));
        assert_int_equal(strncmp(line, screen.title, columns), 0);
        assert_true(shown_line(text, columns, "clients 0", line));
        assert_int_equal(
            strncmp(line, "clients 0, waiting 0, logging in 0; servers 0,", MIN(columns, 46U)), 0);
    }
    top_sample_done(&s);
    buf_done(&out);
}

static void test_what_is_left_out_is_counted(void **state)
{
    struct buf out = BUF_INIT(TOP_FRAME_BYTES_MAX);
    struct top_screen screen = {.title = "here", .rows = 22, .columns = 80};
    struct top_sample s = sample_of(N_MANY, N_MANY);
    const char *text = draw(&out, &screen, &s);

    (void)state;
    assert_non_null(strstr(text, "  ... and 31 more pools\n"));
    assert_non_null(strstr(text, "  ... and 36 more databases\n"));
    assert_int_equal(n_lines(text), 22);
    top_sample_done(&s);
    buf_done(&out);
}

static void test_who_waits_comes_first_and_the_console_is_left_out(void **state)
{
    struct top_sample s = sample_of(6, 6);
    struct top_sample before = {0};

    (void)state;
    rename_to(&s.pools[0].database, "pgpoold");
    rename_to(&s.pools[1].database, "pgbouncer");
    rename_to(&s.databases[1].name, "pgbouncer");
    s.pools[4].cl_waiting = 1;
    s.pools[4].maxwait_us = 7;
    s.pools[5].cl_waiting = 1;
    s.pools[5].maxwait_us = 8;
    s.pools[3].cl_active = 1;
    s.databases[5].average.queries = 3;
    s.databases[5].pool_size = 7;
    s.users = calloc(1, sizeof *s.users);
    s.n_users = 1;
    s.users[0] = (struct top_user){.name = strdup("boss"), .pool_size = 2};
    rename_to(&s.pools[3].user, "boss");
    top_sample_sort(&s, &before);
    assert_int_equal(s.n_pools, 4);
    assert_string_equal(s.pools[0].database, "db05");
    assert_string_equal(s.pools[1].database, "db04");
    assert_string_equal(s.pools[2].database, "db03");
    assert_string_equal(s.pools[3].database, "db02");
    assert_int_equal(s.pools[0].limit, 7);
    assert_int_equal(s.pools[1].limit, 20);
    assert_int_equal(s.pools[2].limit, 2);
    assert_int_equal(s.n_databases, 5);
    assert_string_equal(s.databases[0].name, "db05");
    assert_string_equal(s.databases[1].name, "db00");
    s.databases[2].is_disabled = true;
    s.databases[4].is_paused = true;
    top_sample_sort(&s, &before);
    assert_string_equal(s.databases[0].name, "db02");
    assert_string_equal(s.databases[1].name, "db04");
    assert_string_equal(s.databases[2].name, "db05");
    top_sample_done(&s);
}

static void test_rates(void **state)
{
    struct top_sample before = sample_of(0, 1);
    struct top_sample now = sample_of(0, 2);
    struct top_traffic t;

    (void)state;
    now.at_us = 12 * USEC_PER_SEC;
    before.databases[0].total = (struct top_traffic){.xacts = 100, .queries = 1000, .wait_us = 5};
    now.databases[0].total = (struct top_traffic){.xacts = 110,
                                                  .queries = 1040,
                                                  .received_bytes = 2,
                                                  .sent_bytes = 4,
                                                  .xact_us = 500,
                                                  .query_us = 400,
                                                  .wait_us = 35,
                                                  .assignments = 3};
    now.databases[0].average.queries = 77;
    now.databases[1].average.queries = 78;
    t = top_sample_rate(&now, &before, &now.databases[0]);
    assert_float_equal(t.xacts, 5, 1e-9);
    assert_float_equal(t.queries, 20, 1e-9);
    assert_float_equal(t.received_bytes, 1, 1e-9);
    assert_float_equal(t.sent_bytes, 2, 1e-9);
    assert_float_equal(t.xact_us, 50, 1e-9);
    assert_float_equal(t.query_us, 10, 1e-9);
    assert_float_equal(t.wait_us, 10, 1e-9);
    /* one that was not there; no time in between; totals of another process; nothing before */
    assert_float_equal(top_sample_rate(&now, &before, &now.databases[1]).queries, 78, 1e-9);
    assert_float_equal(top_sample_rate(&now, &now, &now.databases[0]).queries, 77, 1e-9);
    before.databases[0].total.queries = 2000;
    assert_float_equal(top_sample_rate(&now, &before, &now.databases[0]).queries, 77, 1e-9);
    top_sample_done(&before);
    assert_float_equal(top_sample_rate(&now, &before, &now.databases[0]).queries, 77, 1e-9);
    top_sample_done(&now);
}

static void test_marks(void **state)
{
    struct buf out = BUF_INIT(TOP_FRAME_BYTES_MAX);
    struct top_screen screen = {.title = "here", .is_terminal = true, .is_coloured = true};
    struct top_sample s = sample_of(2, 1);
    const char *text;

    (void)state;
    s.pools[0].cl_waiting = 3;
    s.pools[0].maxwait_us = 1500000;
    s.pools[0].sv_active = 1;
    s.pools[0].limit = 20;
    s.databases[0].total.queries = 1;
    s.databases[0].average =
        (struct top_traffic){.queries = 123456, .query_us = 90, .wait_us = 2e9};
    text = draw(&out, &screen, &s);
    assert_ptr_equal(strstr(text, "\033[H"), text);
    assert_non_null(strstr(text, "\033[1;31m! db00 "));
    assert_non_null(strstr(text, " 1.5s "));
    assert_non_null(strstr(text, "[#.........]"));
    assert_non_null(strstr(text, " 123k "));
    assert_non_null(strstr(text, " 90us "));
    assert_non_null(strstr(text, " 33min "));
    assert_string_equal(text + strlen(text) - 3, "\033[J");
    screen.is_terminal = screen.is_coloured = false;
    screen.notice = "gone";
    text = draw(&out, &screen, &s);
    assert_null(strchr(text, '\033'));
    assert_ptr_equal(strstr(text, "here\n"), text);
    assert_non_null(strstr(text, ")\ngone\n  DATABASE"));
    top_sample_done(&s);
    buf_done(&out);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_a_screen_is_never_too_high_or_too_wide),
        cmocka_unit_test(test_a_line_may_fill_the_screen),
        cmocka_unit_test(test_what_is_left_out_is_counted),
        cmocka_unit_test(test_who_waits_comes_first_and_the_console_is_left_out),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_marks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
