/* SPDX-License-Identifier: ISC */
#include "config/conninfo.h"
#include "tests/unit/config_text.h"

static const struct {
    const char *name;
    const char *text;
    const char *pairs; /* "key=value|" each */
    const char *why;   /* "": the text is whole */
} cases[] = {
    {"nothing", "", "", ""},
    {"blanks", "  \t ", "", ""},
    {"one", "host=a", "host=a|", ""},
    {"several", "host=a port=5 dbname=c", "host=a|port=5|dbname=c|", ""},
    {"blanks round =", "host = a port= 5 dbname =c", "host=a|port=5|dbname=c|", ""},
    {"tabs", "\thost\t=\ta\tport=5\t", "host=a|port=5|", ""},
    {"quotes", "a='b c' d=e", "a=b c|d=e|", ""},
    {"doubled quotes", "a='it''s' b=''''", "a=it's|b='|", ""},
    {"empty in quotes", "a='' b=c", "a=|b=c|", ""},
    {"blanks kept in quotes", "a='  b  '", "a=  b  |", ""},
    {"= in a value", "a=b=c d='e=f'", "a=b=c|d=e=f|", ""},
    {"quote inside a plain value", "a=b'c", "a=b'c|", ""},
    {"backslash means nothing", "a='b\\' c=d", "a=b\\|c=d|", ""},
    {"; and # mean nothing", "a=b;c # =d", "a=b;c|#=d|", ""},
    {"comma list", "host=a,b,c", "host=a,b,c|", ""},
    {"UTF-8", "a=\xe2\x82\xac", "a=\xe2\x82\xac|", ""},
    {"empty value at the end", "a=", "a=|", ""},
    {"empty value takes the next word", "a= b=c", "a=b=c|", ""},

    {"key alone", "host", "", "a key without =: key=value pairs with blanks between them"},
    {"key alone at the end", "a=b host", "a=b|",
     "a key without =: key=value pairs with blanks between them"},
    {"two words", "host name=x", "", "a key without =: key=value pairs with blanks between them"},
    {"no key", "=b", "",
     "a key is missing before = or a quote: key=value pairs with blanks between them"},
    {"quoted key", "'a'=b", "",
     "a key is missing before = or a quote: key=value pairs with blanks between them"},
    {"quote behind a key", "a'b=c", "",
     "a key without =: key=value pairs with blanks between them"},
    {"open quote", "a='b", "", "a quote without an end: 'value', and '' for a quote inside it"},
    {"open quote after a doubled one", "a='b''", "",
     "a quote without an end: 'value', and '' for a quote inside it"},
    {"only an opening quote", "a='", "",
     "a quote without an end: 'value', and '' for a quote inside it"},
    {"text behind a quote", "a='b'c", "",
     "text right behind a closing quote: a blank there, and '' for a quote inside the value"},
    {"good, then bad", "a=b c='d", "a=b|",
     "a quote without an end: 'value', and '' for a quote inside it"},
};

/* Reads @text to its end or first fault. */
static char *pairs_of(const char *text, const char **ret_why)
{
    struct conninfo c;
    struct conninfo_pair pair;
    char *pairs = NULL;
    size_t len;
    FILE *out = open_memstream(&pairs, &len);

    assert_non_null(out);
    assert_true(conninfo_init(&c, text));
    *ret_why = "";
    while (conninfo_next(&c, &pair, ret_why) == CONNINFO_PAIR) {
        fprintf(out, "%s=%s|", pair.key, pair.value);
    }
    fclose(out);
    conninfo_done(&c);
    conninfo_done(&c);
    return pairs;
}

static void test_texts(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *why;
        char *pairs = pairs_of(cases[i].text, &why);

        if (strcmp(pairs, cases[i].pairs) != 0 || strcmp(why, cases[i].why) != 0) {
            fail_msg("%s: %s (%s)", cases[i].name, pairs, why);
        }
        free(pairs);
    }
}

/* Cut anywhere, a text must not be read beyond its end (the sanitizer looks) nor give more pairs than before. */
static void test_truncations(void **state UNUSED)
{
    static const char whole[] = "host='a ''b' port = 5 password='x'";

    for (size_t len = 0; len < sizeof(whole); len++) {
        char *text = strndup(whole, len);
        const char *why;
        char *pairs;

        assert_non_null(text);
        pairs = pairs_of(text, &why);
        assert_true(strlen(pairs) <= strlen("host=a 'b|port=5|password=x|"));
        free(pairs);
        free(text);
    }
}

static void test_a_long_value(void **state UNUSED)
{
    char text[70010] = "password='";
    struct conninfo c;
    struct conninfo_pair pair;
    const char *why;

    memset(text + 10, 'p', 65536);
    memcpy(text + 10 + 65536, "' a=b", 6);
    assert_true(conninfo_init(&c, text));
    assert_int_equal(conninfo_next(&c, &pair, &why), CONNINFO_PAIR);
    assert_int_equal(strlen(pair.value), 65536);
    assert_int_equal(conninfo_next(&c, &pair, &why), CONNINFO_PAIR);
    assert_string_equal(pair.value, "b");
    assert_int_equal(conninfo_next(&c, &pair, &why), CONNINFO_END);
    assert_int_equal(conninfo_next(&c, &pair, &why), CONNINFO_END);
    conninfo_done(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_truncations),
        cmocka_unit_test(test_a_long_value),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
