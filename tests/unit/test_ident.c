/* SPDX-License-Identifier: ISC */
#include "config/ident.h"
#include "tests/unit/config_text.h"

static struct ident *load(const char *text, struct config_errors *errors)
{
    FILE *in = stream_of(text);
    struct ident *m = ident_load_stream(in, "ident.conf", errors);

    fclose(in);
    return m;
}

static const struct {
    const char *line;
    const char *map;
    const char *system_user;
    const char *user;
    bool fits;
} matches[] = {
    {"m root postgres", "m", "root", "postgres", true},
    {"m root postgres", "m", "root", "root", false},
    {"m root postgres", "m", "toor", "postgres", false},
    {"m root postgres", "n", "root", "postgres", false},
    {"m root postgres", "m", "Root", "postgres", false},
    {"m root all", "m", "root", "anybody", true},
    {"m root \"all\"", "m", "root", "anybody", false},
    {"m root \"all\"", "m", "root", "all", true},
    {"m \"CN of a client\" web", "m", "CN of a client", "web", true},
    {"\"my map\" a b", "my map", "a", "b", true},
    {"m a\"b c\"d e", "m", "ab cd", "e", true},
    {"m a \"+b\"", "m", "a", "+b", true},
    {"m a b # comment", "m", "a", "b", true},
    {"m \\\n a b", "m", "a", "b", true},
    /* expressions */
    {"m /^(.*)@example\\.com$ \\1", "m", "anna@example.com", "anna", true},
    {"m /^(.*)@example\\.com$ \\1", "m", "anna@example.com", "carl", false},
    {"m /^(.*)@example\\.com$ \\1", "m", "anna@exampleXcom", "anna", false},
    {"m /^(.*)@example\\.com$ \\1", "m", "anna@example.com.evil", "anna", false},
    {"m /^(.*)@example\\.com$ \\1", "m", "@example.com", "", true},
    {"m /^(.*)@example\\.com$ app_\\1_ro", "m", "anna@example.com", "app_anna_ro", true},
    {"m /^(.*)@example\\.com$ app_\\1_ro", "m", "anna@example.com", "app_anna_r", false},
    {"m /^(.*)@example\\.com$ app_\\1_ro", "m", "anna@example.com", "app_anna", false},
    {"m /^(.*)@example\\.com$ app_\\1_ro", "m", "anna@example.com", "anna", false},
    {"m /^(.*)@(.*)$ \\1", "m", "a@b", "a", true},
    {"m /@example\\.org$ guest", "m", "x@example.org", "guest", true},
    {"m /@example\\.org$ guest", "m", "x@example.org", "x", false},
    {"m /root postgres", "m", "a root b", "postgres", true}, /* not anchored, as in PostgreSQL */
    {"m /^root$ all", "m", "root", "x", true},
    {"m \"/^a (b)$\" \\1", "m", "a b", "b", true},
    {"m /^[0-9]+$ num", "m", "123", "num", true},
    {"m /^(a)|b$ \\1", "m", "b", "", false}, /* the group took no part */
    {"m /^(a)|b$ \\1", "m", "a", "a", true},
    /* written for PostgreSQL: what POSIX would read otherwise */
    {"m /^\\d+$ num", "m", "123", "num", true},
    {"m /^\\d+$ num", "m", "d", "num", false},
    {"m /^\\D+$ x", "m", "ab", "x", true},
    {"m /^\\D+$ x", "m", "a1", "x", false},
    {"m /^(\\w+)@\\w+\\.com$ \\1", "m", "an_na1@ex.com", "an_na1", true},
    {"m /^(\\w+)@\\w+\\.com$ \\1", "m", "an-na@ex.com", "an-na", false},
    {"m /^([\\w.]+)@x$ \\1", "m", "a.b_1@x", "a.b_1", true},
    {"m /^([\\w.]+)@x$ \\1", "m", "a\\b@x", "a\\b", false}, /* no backslash in that set */
    {"m /^[^\\d]+$ x", "m", "d\\", "x", true},
    {"m /^[^\\d]+$ x", "m", "a1", "x", false},
    {"m /^[\\.]$ x", "m", ".", "x", true},
    {"m /^[\\.]$ x", "m", "\\", "x", false},
    {"m /^[\\\\]$ x", "m", "\\", "x", true},
    {"m /^a\\Sb\\W$ x", "m", "a-b-", "x", true},
    {"m /^a\\Sb\\W$ x", "m", "a bx", "x", false},
    {"m /\\Aab\\Z x", "m", "ab", "x", true},
    {"m /\\Aab\\Z x", "m", "abc", "x", false},
    {"m /\\mroot\\M x", "m", "a root b", "x", true},
    {"m /\\mroot\\M x", "m", "aroot", "x", false},
    {"m /\\yroot\\y x", "m", "root-1", "x", true},
    {"m /\\yroot\\y x", "m", "root1", "x", false},
    {"m /^\\<a\\>$ x", "m", "<a>", "x", true}, /* GNU's ends of a word */
    {"m /^\\<a\\>$ x", "m", "a", "x", false},
    {"m /^a{2}$ x", "m", "aa", "x", true},
    {"m \"/^a{2,3}$\" x", "m", "aaaa", "x", false},
    {"m /^a{b$ x", "m", "a{b", "x", true},
    {"m /^[]a]$ x", "m", "]", "x", true},
    {"m /^[^]a]$ x", "m", "]", "x", false},
    {"m /^[[:digit:]-]+$ x", "m", "1-2", "x", true},
    {"m /^(a|b)+\\1$ x", "m", "abb", "x", true},
    {"m /^x(y*)$ \\1\\1", "m", "xy", "y\\1",
     true},                             /* only the first is replaced, as in PostgreSQL */
    {"m a \\1", "m", "a", "\\1", true}, /* no expression: just a name */
    {"m a \\1", "m", "a", "a", false},
    /* several lines: any of the map may fit */
    {"m a b\nm a c", "m", "a", "c", true},
    {"m a b\nm b c", "m", "a", "c", false},
    {"m a b\nn a c", "m", "a", "c", false},
    /* no map: the same name */
    {"m a b", "", "x", "x", true},
    {"m a b", "", "a", "b", false},
    {"m a b", NULL, "x", "x", true},
    {"m a b", NULL, "X", "x", false},
};

static void test_matches(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_LEN(matches); i++) {
        struct config_errors errors = CONFIG_ERRORS_INIT;
        struct ident *m = load(matches[i].line, &errors);

        assert_faults(matches[i].line, &errors, "");
        assert_non_null(m);
        if (ident_match(m, matches[i].map, matches[i].system_user, matches[i].user) !=
            matches[i].fits) {
            fail_msg("%s: %s as %s", matches[i].line, matches[i].system_user, matches[i].user);
        }
        assert_null(ident_free(m));
    }
}

static void test_without_a_file(void **state UNUSED)
{
    assert_true(ident_match(NULL, "", "a", "a"));
    assert_false(ident_match(NULL, "m", "a", "a"));
    assert_false(ident_has_map(NULL, "m"));
    assert_null(ident_free(NULL));
}

static void test_long_names_fit_nothing(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    struct ident *m = load("m /a all", &errors);
    char name[2000];

    memset(name, 'a', sizeof(name));
    name[1024] = '\0';
    assert_true(ident_match(m, "m", name, "u"));
    name[1024] = 'a';
    name[1025] = '\0';
    assert_false(ident_match(m, "m", name, "u"));
    assert_true(ident_has_map(m, "m"));
    assert_false(ident_has_map(m, "n"));
    ident_free(m);
}

static const struct {
    const char *text;
    const char *faults;
} bad[] = {
    {"m", "ident.conf:1: 1 fields, or a comma in one: map system-user database-user\n"},
    {"m a", "ident.conf:1: 2 fields, or a comma in one: map system-user database-user\n"},
    {"m a b c", "ident.conf:1: 4 fields, or a comma in one: map system-user database-user\n"},
    {"m a b,c", "ident.conf:1: 3 fields, or a comma in one: map system-user database-user\n"},
    {"m,n a b", "ident.conf:1: 3 fields, or a comma in one: map system-user database-user\n"},
    {"m \"a b c",
     "ident.conf:1: a quote without an end: \"word\", and \"\" for a quote inside it\n"},
    {"m a +b",
     "ident.conf:1: \"+b\": database users cannot be given by role here: a name, or all\n"},
    {"m a /b",
     "ident.conf:1: \"/b\": database users cannot be given by expression here: a name, or all\n"},
    {"m /(a b", "ident.conf:1: \"/(a\": Unmatched ( or \\(\n"},
    {"m /a \\1", "ident.conf:1: \\1 without a group in the expression \"/a\": ( ) in it\n"},
    {"m /[a b", "ident.conf:1: \"/[a\": a [ without its ]\n"},
    {"m /[[:alpha] b", "ident.conf:1: \"/[[:alpha]\": a class in [ ] that is not understood here: "
                       "such as [[:alnum:]], and \\m, \\M for the ends of a word\n"},
    {"m /[[:<:]]a b", "ident.conf:1: \"/[[:<:]]a\": a class in [ ] that is not understood here: "
                      "such as [[:alnum:]], and \\m, \\M for the ends of a word\n"},
    {"m /a\\ b", "ident.conf:1: \"/a\\\": a \\ at its end: \\\\ for itself\n"},
    {"m /^.*?@ b", "ident.conf:1: \"/^.*?@\": repetitions as short as possible (*? +? ?? }?) are "
                   "not understood here\n"},
    {"m /^a{2}? b", "ident.conf:1: \"/^a{2}?\": repetitions as short as possible (*? +? ?? }?) are "
                    "not understood here\n"},
    {"m /*a b", "ident.conf:1: \"/*a\": nothing to be repeated before * + ? or {\n"},
    {"m /a|* b", "ident.conf:1: \"/a|*\": nothing to be repeated before * + ? or {\n"},
    {"m /^* b", "ident.conf:1: \"/^*\": nothing to be repeated before * + ? or {\n"},
    {"m /a** b", "ident.conf:1: \"/a**\": nothing to be repeated before * + ? or {\n"},
    {"m /(+a) b", "ident.conf:1: \"/(+a)\": nothing to be repeated before * + ? or {\n"},
    {"m /\\m* b", "ident.conf:1: \"/\\m*\": nothing to be repeated before * + ? or {\n"},
    {"m /{2} b", "ident.conf:1: \"/{2}\": nothing to be repeated before * + ? or {\n"},
    {"m /a{2 b", "ident.conf:1: \"/a{2\": a { without its }\n"},
    {"m /(?i)a b", "ident.conf:1: \"/(?i)a\": (?...) is not understood here\n"},
    {"m /(?:a) b", "ident.conf:1: \"/(?:a)\": (?...) is not understood here\n"},
    {"m /a) b", "ident.conf:1: \"/a)\": a ) without its (\n"},
    {"m /***=a b", "ident.conf:1: \"/***=a\": ***: and ***= are not understood here\n"},
    {"m /\\t b", "ident.conf:1: \"/\\t\": an escape that is not understood here: \\d \\D \\w \\W "
                 "\\s \\S \\A \\Z \\m \\M \\y \\Y \\1, or \\ before a sign\n"},
    {"m /\\0 b", "ident.conf:1: \"/\\0\": an escape that is not understood here: \\d \\D \\w \\W "
                 "\\s \\S \\A \\Z \\m \\M \\y \\Y \\1, or \\ before a sign\n"},
    {"m /\\x41 b", "ident.conf:1: \"/\\x41\": an escape that is not understood here: \\d \\D \\w "
                   "\\W \\s \\S \\A \\Z \\m \\M \\y \\Y \\1, or \\ before a sign\n"},
    {"m /\\b b", "ident.conf:1: \"/\\b\": an escape that is not understood here: \\d \\D \\w \\W "
                 "\\s \\S \\A \\Z \\m \\M \\y \\Y \\1, or \\ before a sign\n"},
    {"m /[\\D] b", "ident.conf:1: \"/[\\D]\": an escape in [ ] that is not understood here: \\d, "
                   "\\w, \\s, or \\ before a sign\n"},
    {"m /[\\n] b", "ident.conf:1: \"/[\\n]\": an escape in [ ] that is not understood here: \\d, "
                   "\\w, \\s, or \\ before a sign\n"},
    {"m /[\\1] b", "ident.conf:1: \"/[\\1]\": an escape in [ ] that is not understood here: \\d, "
                   "\\w, \\s, or \\ before a sign\n"},
    {"m /[a\\-z] b", "ident.conf:1: \"/[a\\-z]\": \\ before ] ^ - or [ in [ ] is not understood "
                     "here: ] first, - last, ^ and [ elsewhere\n"},
    {"m /[\\]] b", "ident.conf:1: \"/[\\]]\": \\ before ] ^ - or [ in [ ] is not understood here: "
                   "] first, - last, ^ and [ elsewhere\n"},
    {"m /[\\^] b", "ident.conf:1: \"/[\\^]\": \\ before ] ^ - or [ in [ ] is not understood here: "
                   "] first, - last, ^ and [ elsewhere\n"},
    {"m a b\n\nm a\n# x\nm\n",
     "ident.conf:3: 2 fields, or a comma in one: map system-user database-user\n"
     "ident.conf:5: 1 fields, or a comma in one: map system-user database-user\n"},
};

static void test_refusals(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct ident *m = load(bad[i].text, &errors);

        if (m != NULL) {
            fail_msg("taken: %s", bad[i].text);
        }
        assert_faults(bad[i].text, &errors, bad[i].faults);
    }
    assert_null(ident_load("/nonexistent/ident.conf", &errors));
    assert_faults("none", &errors,
                  "/nonexistent/ident.conf: cannot be opened: No such file or directory\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches),
        cmocka_unit_test(test_without_a_file),
        cmocka_unit_test(test_long_names_fit_nothing),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
