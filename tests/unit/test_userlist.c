/* SPDX-License-Identifier: ISC */
#include "config/userlist.h"
#include "tests/unit/config_text.h"

#define MD5 "md50123456789abcdef0123456789abcdef"
#define KEY "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define SCRAM "SCRAM-SHA-256$4096:c2FsdHNhbHQ=$" KEY ":" KEY

static const struct {
    const char *name;
    const char *secret;
    enum secret_kind kind;
} kinds[] = {
    {"empty", "", SECRET_KIND_EMPTY},
    {"plain", "geheim", SECRET_KIND_PLAIN},
    {"md5", MD5, SECRET_KIND_MD5},
    {"md5 too short", "md50123456789abcdef0123456789abcde", SECRET_KIND_PLAIN},
    {"md5 too long", MD5 "0", SECRET_KIND_PLAIN},
    {"md5 in capitals", "md50123456789ABCDEF0123456789abcdef", SECRET_KIND_PLAIN},
    {"md5 with another letter", "md50123456789abcdeg0123456789abcdef", SECRET_KIND_PLAIN},
    {"capital MD5", "MD50123456789abcdef0123456789abcdef", SECRET_KIND_PLAIN},
    {"scram", SCRAM, SECRET_KIND_SCRAM},
    {"scram, salt without padding", "SCRAM-SHA-256$1:c2Fs$" KEY ":" KEY, SECRET_KIND_SCRAM},
    {"scram prefix only", "SCRAM-SHA-256$", SECRET_KIND_PLAIN},
    {"scram without rounds", "SCRAM-SHA-256$:c2Fs$" KEY ":" KEY, SECRET_KIND_PLAIN},
    {"scram, rounds not a number", "SCRAM-SHA-256$4k:c2Fs$" KEY ":" KEY, SECRET_KIND_PLAIN},
    {"scram, too many digits", "SCRAM-SHA-256$12345678901:c2Fs$" KEY ":" KEY, SECRET_KIND_PLAIN},
    {"scram without salt", "SCRAM-SHA-256$4096:$" KEY ":" KEY, SECRET_KIND_PLAIN},
    {"scram, salt not base64", "SCRAM-SHA-256$4096:c2F$" KEY ":" KEY, SECRET_KIND_PLAIN},
    {"scram, one key", "SCRAM-SHA-256$4096:c2Fs$" KEY, SECRET_KIND_PLAIN},
    {"scram, short key", "SCRAM-SHA-256$4096:c2Fs$AAAA:" KEY, SECRET_KIND_PLAIN},
    {"scram, key not base64",
     "SCRAM-SHA-256$4096:c2Fs$" KEY ":AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA*=",
     SECRET_KIND_PLAIN},
    {"scram, trailing text", SCRAM "A", SECRET_KIND_PLAIN},
    {"another scram", "SCRAM-SHA-512$4096:c2Fs$" KEY ":" KEY, SECRET_KIND_PLAIN},
};

static void test_kinds(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (secret_kind_of(kinds[i].secret, strlen(kinds[i].secret)) != kinds[i].kind) {
            fail_msg("%s", kinds[i].name);
        }
    }
    for (size_t len = 1; len < strlen(SCRAM); len++) { /* no truncation is a verifier */
        assert_int_equal(secret_kind_of(SCRAM, len), SECRET_KIND_PLAIN);
    }
}

static struct userlist *load(const char *text, struct config_errors *errors)
{
    FILE *in = stream_of(text);
    struct userlist *u = userlist_load_stream(in, "users.txt", errors);

    fclose(in);
    return u;
}

static void test_lookup(void **state UNUSED)
{
    static const char text[] = "\"anna\" \"geheim\"\n"
                               "; a comment \"x\" \"y\"\n"
                               "\n"
                               "\t\"a\"\"b\"\t\"s\"\"t; # u\"\r\n"
                               "\"md\" \"" MD5 "\" rest is ignored \"\n"
                               "\"sc\" \"" SCRAM "\"\n"
                               "\"later\" \"1\"\n"
                               "\"empty\" \"\"\n"
                               "\"later\" \"2\"\n"
                               "\"l\xc3\xb6wen\" \"no newline\"";
    static const struct {
        const char *name;
        const char *secret; /* NULL: not there */
        enum secret_kind kind;
    } users[] = {
        {"anna", "geheim", SECRET_KIND_PLAIN},
        {"a\"b", "s\"t; # u", SECRET_KIND_PLAIN},
        {"md", MD5, SECRET_KIND_MD5},
        {"sc", SCRAM, SECRET_KIND_SCRAM},
        {"later", "2", SECRET_KIND_PLAIN},
        {"empty", "", SECRET_KIND_EMPTY},
        {"l\xc3\xb6wen", "no newline", SECRET_KIND_PLAIN},
        {"x", NULL, 0},
        {"Anna", NULL, 0},
        {"", NULL, 0},
        {"anna ", NULL, 0},
    };
    struct config_errors errors = CONFIG_ERRORS_INIT;
    const struct userlist_entry *e = NULL;
    unsigned n = 0;
    struct userlist *u = load(text, &errors);

    assert_faults("file", &errors, "");
    assert_non_null(u);
    for (size_t i = 0; i < ARRAY_LEN(users); i++) {
        e = userlist_find(u, users[i].name);
        if ((e == NULL) != (users[i].secret == NULL)) {
            fail_msg("%s", users[i].name);
        }
        if (e != NULL) {
            assert_true(secret_equals(&e->secret, users[i].secret, strlen(users[i].secret)));
            assert_int_equal(e->kind, users[i].kind);
        }
    }
    assert_int_equal(userlist_count(u), 7);
    for (e = NULL; (e = userlist_next(u, e)) != NULL;) {
        n++;
    }
    assert_int_equal(n, 7);
    assert_null(userlist_free(u));
}

static const struct {
    const char *name;
    const char *text;
    const char *faults;
} bad[] = {
    {"no quotes", "anna geheim\n",
     "users.txt:1: the user is missing or its quote has no end: \"user\" \"secret\", and \"\" for "
     "a quote inside\n"},
    {"secret missing", "\"anna\"\n",
     "users.txt:1: the secret is missing or its quote has no end: \"user\" \"secret\", and \"\" "
     "for a quote inside\n"},
    {"secret without quotes", "\"anna\" geheim\n",
     "users.txt:1: the secret is missing or its quote has no end: \"user\" \"secret\", and \"\" "
     "for a quote inside\n"},
    {"open secret", "\"anna\" \"geheim\n",
     "users.txt:1: the secret is missing or its quote has no end: \"user\" \"secret\", and \"\" "
     "for a quote inside\n"},
    {"open name", "\"anna\n",
     "users.txt:1: the user is missing or its quote has no end: \"user\" \"secret\", and \"\" for "
     "a quote inside\n"},
    {"empty name", "\"\" \"x\"\n", "users.txt:1: user name of 0 bytes: 1 to 127\n"},
    {"each line is told", "\"a\" \"b\"\nx\n\"c\" \"d\"\ny\n",
     "users.txt:2: the user is missing or its quote has no end: \"user\" \"secret\", and \"\" for "
     "a quote inside\n"
     "users.txt:4: the user is missing or its quote has no end: \"user\" \"secret\", and \"\" for "
     "a quote inside\n"},
};

static void test_bad_files(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_null(load(bad[i].text, &errors));
        assert_faults(bad[i].name, &errors, bad[i].faults);
    }
    assert_null(userlist_load("/nonexistent/users.txt", &errors));
    assert_faults("none", &errors,
                  "/nonexistent/users.txt: cannot be opened: No such file or directory\n");
    assert_null(userlist_find(NULL, "x"));
    assert_int_equal(userlist_count(NULL), 0);
    assert_null(userlist_next(NULL, NULL));
}

static void check_sizes(size_t name_len, size_t secret_len, const char *faults)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    char *text = calloc(1, name_len + secret_len + 10);
    struct userlist *u;

    assert_non_null(text);
    text[0] = '"';
    memset(text + 1, 'n', name_len);
    memcpy(text + 1 + name_len, "\" \"", 3);
    memset(text + 4 + name_len, 's', secret_len);
    text[4 + name_len + secret_len] = '"';
    u = load(text, &errors);
    assert_true((u != NULL) == (*faults == '\0'));
    assert_faults("sizes", &errors, faults);
    if (u != NULL) {
        assert_int_equal(userlist_next(u, NULL)->secret.len, secret_len);
    }
    userlist_free(u);
    free(text);
}

static void test_sizes(void **state UNUSED)
{
    check_sizes(USERLIST_NAME_MAX, USERLIST_SECRET_MAX, "");
    check_sizes(USERLIST_NAME_MAX + 1, 1, "users.txt:1: user name of 128 bytes: 1 to 127\n");
    check_sizes(1, USERLIST_SECRET_MAX + 1, "users.txt:1: secret of 65537 bytes: at most 65536\n");
}

static void test_empty_file(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    struct userlist *u = load("", &errors);

    assert_non_null(u);
    assert_int_equal(userlist_count(u), 0);
    userlist_free(u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),      cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_bad_files),  cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_empty_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
