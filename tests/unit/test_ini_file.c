/* SPDX-License-Identifier: ISC */
#include "config/ini_file.h"
#include "config/text_file.h"
#include "tests/unit/config_text.h"

/* Writes each event as "line section key=value|" or "line [section]|". */
static void note(void *arg, const struct ini_entry *e)
{
    if (e->key == NULL) {
        fprintf(arg, "%u [%s]|", e->line, e->section);
    } else {
        fprintf(arg, "%u %s %s=%s|", e->line, e->section, e->key, e->value);
    }
}

static const struct {
    const char *name;
    const char *text;
    const char *events;
    const char *faults;
} cases[] = {
    {"nothing", "", "", ""},
    {"blank lines", "\n \n\t\n", "", ""},
    {"one entry", "[a]\nk = v\n", "1 [a]|2 a k=v|", ""},
    {"no newline at the end", "[a]\nk=v", "1 [a]|2 a k=v|", ""},
    {"no blanks, many blanks", "[ a ]\nk=v\n \t k \t = \t v \t \n", "1 [a]|2 a k=v|3 a k=v|", ""},
    {"windows line ends", "[a]\r\nk = v\r\n\r\n; c\r\n", "1 [a]|2 a k=v|", ""},
    {"byte order mark", "\xef\xbb\xbf[a]\nk=v\n", "1 [a]|2 a k=v|", ""},
    {"comments", "; c\n# c\n[a]\n  ; c = d\n\t# e\nk=v\n;x=y\n#x=y\n", "3 [a]|6 a k=v|", ""},
    {"; in a value", "[a]\nk = a ; b;c\n", "1 [a]|2 a k=a ; b;c|", ""},
    {"# in a value", "[a]\nk = a # b\n", "1 [a]|2 a k=a # b|", ""},
    {": in a name", "[a]\nx:y = v\nh: = w\n", "1 [a]|2 a x:y=v|3 a h:=w|", ""},
    {"; in a name", "[a]\nx ; y = v\n", "1 [a]|2 a x ; y=v|", ""},
    {": in a value", "[a]\nk = a:b\n", "1 [a]|2 a k=a:b|", ""},
    {"= in a value", "[a]\nk = a=b c = d\n", "1 [a]|2 a k=a=b c = d|", ""},
    {"empty value", "[a]\nk =\nl = \n", "1 [a]|2 a k=|3 a l=|", ""},
    {"indented lines are entries of their own", "[a]\nk = v\n   l = w\n", "1 [a]|2 a k=v|3 a l=w|",
     ""},
    {"reopened section", "[a]\nk=1\n[b]\nk=2\n[a]\nk=3\n",
     "1 [a]|2 a k=1|3 [b]|4 b k=2|5 [a]|6 a k=3|", ""},
    {"empty section", "[a]\n[b]\n", "1 [a]|2 [b]|", ""},
    {"same key twice", "[a]\nk=1\nk=2\n", "1 [a]|2 a k=1|3 a k=2|", ""},
    {"star", "[a]\n* = v\n", "1 [a]|2 a *=v|", ""},
    {"quoted name", "[a]\n\"x y\" = v\n", "1 [a]|2 a x y=v|", ""},
    {"quoted name with =", "[a]\n\"x=y\"=v=w\n", "1 [a]|2 a x=y=v=w|", ""},
    {"quoted name with quotes", "[a]\n\"x\"\"y\" = v\n\"\"\"\" = w\n", "1 [a]|2 a x\"y=v|3 a \"=w|",
     ""},
    {"quoted name with ; and :", "[a]\n\"; : #\" = v\n", "1 [a]|2 a ; : #=v|", ""},
    {"quotes in a value stay", "[a]\nk = \"v\"\n", "1 [a]|2 a k=\"v\"|", ""},
    {"UTF-8", "[a]\nsch\xc3\xb6n = \xe2\x82\xac\n", "1 [a]|2 a sch\xc3\xb6n=\xe2\x82\xac|", ""},
    {"section with - and digits", "[a-1_B]\nk=v\n", "1 [a-1_B]|2 a-1_B k=v|", ""},
    {"longest section", "[a234567890123456789012345678901234567890]\nk=v\n",
     "1 [a234567890123456789012345678901234567890]|2 a234567890123456789012345678901234567890 k=v|",
     ""},

    {"entry before any section", "k = v\nl = w\n[a]\nm = x\n", "3 [a]|4 a m=x|",
     "t.ini:1: k: stands before any section: put [pgpoold] above it\n"},
    {"no =", "[a]\nk\nl = w\n", "1 [a]|3 a l=w|",
     "t.ini:2: a line without \"=\": name = value, or [section], or ; for a comment\n"},
    {": is no =", "[a]\nk: v\n", "1 [a]|",
     "t.ini:2: a line without \"=\": name = value, or [section], or ; for a comment\n"},
    {"no name", "[a]\n = v\n", "1 [a]|", "t.ini:2: a name is missing before \"=\": name = value\n"},
    {"empty quoted name", "[a]\n\"\" = v\n", "1 [a]|",
     "t.ini:2: a name is missing before \"=\": name = value\n"},
    {"open quote", "[a]\n\"x = v\n", "1 [a]|",
     "t.ini:2: a quote without an end: \"name\" = value\n"},
    {"text behind a quoted name", "[a]\n\"x\" y = v\n", "1 [a]|",
     "t.ini:2: a line without \"=\": name = value, or [section], or ; for a comment\n"},
    {"open section; what follows belongs nowhere", "[a\nk = v\n[b]\nl = w\n", "3 [b]|4 b l=w|",
     "t.ini:1: section without an end: [name] alone in its line\n"},
    {"text behind a section", "[a] b\n", "",
     "t.ini:1: section without an end: [name] alone in its line\n"},
    {"lone bracket", "[\n", "", "t.ini:1: section without an end: [name] alone in its line\n"},
    {"empty section name", "[]\n[  ]\n", "",
     "t.ini:1: section without an end: [name] alone in its line\n"
     "t.ini:2: [] is no name of a section: 1 to 40 letters, digits, _ or -\n"},
    {"odd section name", "[a]b]\n", "",
     "t.ini:1: [a]b] is no name of a section: 1 to 40 letters, digits, _ or -\n"},
    {"too long a section name", "[a2345678901234567890123456789012345678901]\n", "",
     "t.ini:1: [a2345678901234567890123456789012345678901] is no name of a section: 1 to 40 "
     "letters, digits, _ or -\n"},
    {"percent", "[a]\n%set x\n", "1 [a]|",
     "t.ini:2: a line with % that is no include: %include FILE\n"},
    {"include without a file", "%include\n%include  \n%includex\n", "",
     "t.ini:1: a line with % that is no include: %include FILE\n"
     "t.ini:2: a line with % that is no include: %include FILE\n"
     "t.ini:3: a line with % that is no include: %include FILE\n"},
    {"include of nothing", "[a]\n%include /nonexistent/x.ini\nk=v\n", "1 [a]|3 a k=v|",
     "t.ini:2: /nonexistent/x.ini: cannot be opened: No such file or directory\n"},
    {"every fault is reported", "[\nx\n[a]\nx\n=y\n", "3 [a]|",
     "t.ini:1: section without an end: [name] alone in its line\n"
     "t.ini:2: a line without \"=\": name = value, or [section], or ; for a comment\n"
     "t.ini:4: a line without \"=\": name = value, or [section], or ; for a comment\n"
     "t.ini:5: a name is missing before \"=\": name = value\n"},
};

static char *events_of(FILE *in, const char *name, struct config_errors *errors)
{
    char *events = NULL;
    size_t len;
    FILE *out = open_memstream(&events, &len);

    assert_non_null(out);
    assert_true(ini_file_read_stream(in, name, note, out, errors));
    fclose(out);
    return events;
}

static void test_texts(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct config_errors errors = CONFIG_ERRORS_INIT;
        FILE *in = stream_of(cases[i].text);
        char *events = events_of(in, "t.ini", &errors);

        if (strcmp(events, cases[i].events) != 0) {
            fail_msg("%s: %s", cases[i].name, events);
        }
        assert_faults(cases[i].name, &errors, cases[i].faults);
        free(events);
        fclose(in);
    }
}

/* inih by itself cuts at 199 bytes and reads the rest as another line. */
static void test_long_lines(void **state UNUSED)
{
    static const size_t sizes[] = {150, 190, 197, 198, 199, 200, 201, 5000, 70000};

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct config_errors errors = CONFIG_ERRORS_INIT;
        char *value = malloc(sizes[i] + 1);
        char *text;
        char *expected;
        char *events;
        FILE *in;

        assert_non_null(value);
        for (size_t j = 0; j < sizes[i]; j++) {
            value[j] = "abc = d; [e] "[j % 13];
        }
        value[sizes[i] - 1] = 'z';
        value[sizes[i]] = '\0';
        assert_true(asprintf(&text, "[s]\nk = %s\n;%s\nlong%zu = x\n", value, value, sizes[i]) > 0);
        assert_true(asprintf(&expected, "1 [s]|2 s k=%s|4 s long%zu=x|", value, sizes[i]) > 0);
        in = stream_of(text);
        events = events_of(in, "t.ini", &errors);
        assert_string_equal(events, expected);
        assert_faults("long", &errors, "");
        free(value);
        free(text);
        free(expected);
        free(events);
        fclose(in);
    }
}

static void test_a_long_name(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    char text[5010] = "[s]\n";
    char *events;
    FILE *in;

    memset(text + 4, 'n', 5000);
    memcpy(text + 5004, "=v\n", 4);
    in = stream_of(text);
    events = events_of(in, "t.ini", &errors);
    assert_int_equal(strlen(events), strlen("1 [s]|2 s ") + 5000 + strlen("=v|"));
    assert_faults("long name", &errors, "");
    free(events);
    fclose(in);
}

static void test_an_endless_line(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    size_t len = TEXT_FILE_LINE_MAX + 10;
    char *text = calloc(1, len + 20);
    char *events;
    FILE *in;

    assert_non_null(text);
    memcpy(text, "[s]\nk=", 6);
    memset(text + 6, 'v', len);
    memcpy(text + 6 + len, "\nl=w\n", 6);
    in = stream_of(text);
    events = events_of(in, "t.ini", &errors);
    assert_string_equal(events, "1 [s]|3 s l=w|");
    assert_faults("endless", &errors, "t.ini:2: line of 1048589 bytes: at most 1048576\n");
    free(events);
    free(text);
    fclose(in);
}

static void test_nul_byte(void **state UNUSED)
{
    static const char text[] = "[s]\nk=v\0w\nl=x\n";
    struct config_errors errors = CONFIG_ERRORS_INIT;
    FILE *in = fmemopen((void *)(uintptr_t)text, sizeof(text) - 1, "r");
    char *events;

    assert_non_null(in);
    events = events_of(in, "t.ini", &errors);
    assert_string_equal(events, "1 [s]|3 s l=x|");
    assert_faults("nul", &errors, "t.ini:2: a NUL byte in this line: text only\n");
    free(events);
    fclose(in);
}

/* ---- files ---- */

static struct test_dir dir;

static char *events_of_file(const char *name, struct config_errors *errors, bool *ret_ok)
{
    char *events = NULL;
    size_t len;
    FILE *out = open_memstream(&events, &len);

    assert_non_null(out);
    *ret_ok = ini_file_read(test_path(&dir, name), note, out, errors);
    fclose(out);
    return events;
}

static void test_include(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    char text[512];
    char faults[512];
    char *events;
    bool ok;

    snprintf(text, sizeof(text), "[a]\nk=1\n%%include %s \nl=2\n", test_path(&dir, "inner.ini"));
    test_write(&dir, "outer.ini", text);
    test_write(&dir, "inner.ini", "m=3\nbad\n[b]\nn=4");
    events = events_of_file("outer.ini", &errors, &ok);
    assert_true(ok);
    /* the section that the included file opened stays open, as in PgBouncer */
    assert_string_equal(events, "1 [a]|2 a k=1|1 a m=3|3 [b]|4 b n=4|4 b l=2|");
    snprintf(faults, sizeof(faults),
             "%s:2: a line without \"=\": name = value, or [section], or ; for a comment\n",
             test_path(&dir, "inner.ini"));
    assert_faults("include", &errors, faults);
    free(events);
}

static void test_include_of_itself_ends(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    char text[512];
    char faults[1024];
    char *events;
    bool ok;

    snprintf(text, sizeof(text), "[a]\n%%include %s\nk=1\n", test_path(&dir, "self.ini"));
    test_write(&dir, "self.ini", text);
    events = events_of_file("self.ini", &errors, &ok);
    assert_true(ok);
    snprintf(faults, sizeof(faults), "%s:2: %%include %s: nested too deeply: at most 10 files\n",
             test_path(&dir, "self.ini"), test_path(&dir, "self.ini"));
    assert_faults("self", &errors, faults);
    free(events);
}

static void test_no_file(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    char faults[512];
    bool ok;
    char *events = events_of_file("none.ini", &errors, &ok);

    assert_false(ok);
    snprintf(faults, sizeof(faults), "%s: cannot be opened: No such file or directory\n",
             test_path(&dir, "none.ini"));
    assert_faults("none", &errors, faults);
    free(events);
}

static void test_a_directory(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    char faults[512];
    bool ok;
    char *events = events_of_file(".", &errors, &ok);

    snprintf(faults, sizeof(faults), "%s: cannot be read: Is a directory\n", test_path(&dir, "."));
    assert_faults("directory", &errors, faults);
    free(events);
}

static int make_dir(void **state UNUSED)
{
    test_dir_make(&dir);
    return 0;
}

static int remove_dir(void **state UNUSED)
{
    test_dir_remove(&dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_a_long_name),
        cmocka_unit_test(test_an_endless_line),
        cmocka_unit_test(test_nul_byte),
        cmocka_unit_test(test_include),
        cmocka_unit_test(test_include_of_itself_ends),
        cmocka_unit_test(test_no_file),
        cmocka_unit_test(test_a_directory),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
