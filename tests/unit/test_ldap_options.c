/* SPDX-License-Identifier: ISC */
#include "config/ldap_options.h"

#include "config/hba.h"
#include "tests/unit/config_text.h"

#define SIMPLE_OR_SEARCH                                                                       \
    "ldapprefix and ldapsuffix are for a bind without a search: either these, or ldapbasedn, " \
    "ldapbinddn, ldapbindpasswd, ldapsearchattribute, ldapsearchfilter and what they are in "  \
    "ldapurl"
#define NO_WAY "how to find a user is not told: ldapprefix=, ldapsuffix=, ldapbasedn= or ldapurl="

/* "uris|tls|name:..." for a simple bind, "uris|tls|base|scope|binddn|password|filter" for a search,
 * each for the user u; or what is wrong. */
static const struct {
    const char *name;
    const char *options; /* as in the ini file */
    const char *result;
} cases[] = {
    {"simple", "ldapserver=h ldapprefix=\"cn=\" ldapsuffix=\",dc=x\"", "ldap://h|0|cn=u,dc=x"},
    {"prefix alone", "ldapserver=h ldapprefix=cn=", "ldap://h|0|cn=u"},
    {"suffix alone", "ldapserver=h ldapsuffix=@x", "ldap://h|0|u@x"},
    {"windows", "ldapserver=h ldapprefix=\"X\\\"", "ldap://h|0|X\\u"},
    {"port", "ldapserver=h ldapport=1389 ldapprefix=cn=", "ldap://h:1389|0|cn=u"},
    {"ldaps", "ldapserver=h ldapscheme=ldaps ldapprefix=cn=", "ldaps://h|0|cn=u"},
    {"StartTLS", "ldapserver=h ldaptls=1 ldapprefix=cn=", "ldap://h|1|cn=u"},
    {"no StartTLS", "ldapserver=h ldaptls=0 ldapprefix=cn=", "ldap://h|0|cn=u"},
    {"several servers",
     "ldapserver=\" a  b \" ldapport=5 ldapprefix=cn=", "ldap://a:5 ldap://b:5|0|cn=u"},
    {"IPv6",
     "ldapserver=\"::1 [::2]\" ldapport=5 ldapprefix=cn=", "ldap://[::1]:5 ldap://[::2]:5|0|cn=u"},
    {"name with a port", "ldapserver=h:5 ldapprefix=cn=", "ldap://h:5|0|cn=u"},
    {"search", "ldapserver=h ldapbasedn=\"dc=x\"", "ldap://h|0|dc=x|sub|||(uid=u)"},
    {"search of everything", "ldapserver=h ldapbasedn=", "ldap://h|0||sub|||(uid=u)"},
    {"attribute", "ldapserver=h ldapbasedn=dc=x ldapsearchattribute=cn",
     "ldap://h|0|dc=x|sub|||(cn=u)"},
    {"reader", "ldapserver=h ldapbasedn=dc=x ldapbinddn=cn=r ldapbindpasswd=\"p' w\"",
     "ldap://h|0|dc=x|sub|cn=r|p' w|(uid=u)"},
    {"filter", "ldapserver=h ldapbasedn=dc=x ldapsearchfilter=(|(a=$username)(b=$username))",
     "ldap://h|0|dc=x|sub|||(|(a=u)(b=u))"},
    {"url", "ldapurl=\"ldap://h/dc=x?uid?sub\"", "ldap://h|0|dc=x|sub|||(uid=u)"},
    {"url without a scope", "ldapurl=\"ldap://h/dc=x?cn\"", "ldap://h|0|dc=x|base|||(cn=u)"},
    {"url, one level", "ldapurl=\"ldap://h/dc=x?cn,sn?one\"", "ldap://h|0|dc=x|one|||(cn=u)"},
    {"url with a filter", "ldapurl=\"ldap://h/dc=x??sub?(m=$username)\"",
     "ldap://h|0|dc=x|sub|||(m=u)"},
    {"url with %", "ldapurl=\"ldap://h/dc=x%2cdc=%C3%a4??sub?(%26(a=%3f)(m=$username))\"",
     "ldap://h|0|dc=x,dc=\xc3\xa4|sub|||(&(a=?)(m=u))"},
    {"url with a port", "ldapurl=\"ldaps://h:5/dc=x?uid?sub\"", "ldaps://h:5|0|dc=x|sub|||(uid=u)"},
    {"url with IPv6", "ldapurl=\"ldap://[::1]:5/dc=x?uid?sub\"",
     "ldap://[::1]:5|0|dc=x|sub|||(uid=u)"},
    {"url with IPv6 and no port", "ldapurl=\"ldap://[::1]/dc=x?uid?sub\"",
     "ldap://[::1]|0|dc=x|sub|||(uid=u)"},
    {"url of a host", "ldapurl=\"ldap://h\"", "ldap://h|0||base|||(uid=u)"},
    {"url and a prefix", "ldapurl=\"ldap://h\" ldapprefix=cn=", "ldap://h|0|cn=u"},
    {"url and a reader", "ldapurl=\"ldap://h/dc=x?uid?sub\" ldapbinddn=cn=r ldapbindpasswd=p",
     "ldap://h|0|dc=x|sub|cn=r|p|(uid=u)"},
    {"url and StartTLS", "ldapurl=\"ldap://h/dc=x?uid?sub\" ldaptls=1",
     "ldap://h|1|dc=x|sub|||(uid=u)"},
    {"the last one counts",
     "ldapserver=a ldapserver=b ldapprefix=x ldapprefix=cn=", "ldap://b|0|cn=u"},

    {"nothing", "", "ldap without a server: ldapserver= or ldapurl="},
    {"no server", "ldapbasedn=dc=x", "ldap without a server: ldapserver= or ldapurl="},
    {"blank server", "ldapserver=\"  \" ldapbasedn=dc=x",
     "ldap without a server: ldapserver= or ldapurl="},
    {"no way", "ldapserver=h", NO_WAY},
    {"both ways", "ldapserver=h ldapprefix=cn= ldapbasedn=dc=x", SIMPLE_OR_SEARCH},
    {"suffix and a reader", "ldapserver=h ldapsuffix=@x ldapbinddn=cn=r", SIMPLE_OR_SEARCH},
    {"prefix and an url's base", "ldapurl=\"ldap://h/dc=x\" ldapprefix=cn=", SIMPLE_OR_SEARCH},
    {"attribute and filter",
     "ldapserver=h ldapbasedn=dc=x ldapsearchattribute=a ldapsearchfilter=(b=$username)",
     "ldapsearchattribute and ldapsearchfilter: one of the two"},
    {"both in the url", "ldapurl=\"ldap://h/dc=x?a?sub?(b=$username)\"",
     "ldapsearchattribute and ldapsearchfilter: one of the two"},
    {"filter without the user", "ldapserver=h ldapbasedn=dc=x ldapsearchfilter=(a=b)",
     "ldapsearchfilter: finds the same for everybody: $username in it"},
    {"ldaps and StartTLS", "ldapserver=h ldapscheme=ldaps ldaptls=1 ldapprefix=cn=",
     "ldaptls=1: ldaps is encrypted already: one of the two"},
    {"port 0", "ldapserver=h ldapport=0", "ldapport: not a port: 1 to 65535"},
    {"port 65536", "ldapserver=h ldapport=65536", "ldapport: not a port: 1 to 65535"},
    {"port x", "ldapserver=h ldapport=x", "ldapport: not a port: 1 to 65535"},
    {"scheme", "ldapserver=h ldapscheme=ldapi", "ldapscheme: not known: ldap or ldaps"},
    {"tls", "ldapserver=h ldaptls=on", "ldaptls: not known: 0 or 1"},
    {"url as a server", "ldapserver=ldap://h ldapprefix=cn=",
     "ldapserver: not the name of a host: names or addresses with blanks between them; a URL goes "
     "into ldapurl"},
    {"url scheme", "ldapurl=ldapi://h", "ldapurl: unknown scheme: ldap:// or ldaps://"},
    {"url port", "ldapurl=ldap://h:x/", "ldapurl: not a port: 1 to 65535"},
    {"url host", "ldapurl=\"ldap://a b/dc=x\"",
     "ldapurl: not the name of a host behind the scheme: ldap://host:port/dn"},
    {"url without a slash", "ldapurl=\"ldap://h?uid\"",
     "ldapurl: not the name of a host behind the scheme: ldap://host:port/dn"},
    {"url without a host", "ldapurl=ldap:///dc=x?uid",
     "ldap without a server: ldapserver= or ldapurl="},
    {"url with %0", "ldapurl=\"ldap://h/dc=x%0\"",
     "ldapurl: '%' without the two hexadecimal digits of a byte other than 0"},
    {"url with %00", "ldapurl=\"ldap://h/dc=x%00\"",
     "ldapurl: '%' without the two hexadecimal digits of a byte other than 0"},
    {"url with %g", "ldapurl=\"ldap://h/dc=x??sub?(a=$username%g0)\"",
     "ldapurl: '%' without the two hexadecimal digits of a byte other than 0"},
    {"url scope", "ldapurl=\"ldap://h/dc=x?uid?all\"", "ldapurl: unknown scope: base, one or sub"},
    {"url extension", "ldapurl=\"ldap://h/dc=x?uid?sub??x\"",
     "ldapurl: extensions are not known: ldap://host/dn?attribute?scope?filter"},
    {"two urls", "ldapurl=ldap://a ldapurl=ldap://b", "ldapurl: given twice: once"},
};

static void put_result(const struct ldap_options *o, struct buf *to)
{
    static const char *const scopes[] = {"base", "one", "sub"};

    ldap_options_put_uris(o, to);
    buf_append_fmt(to, "|%d|", o->starts_tls);
    if (!o->does_search) {
        assert_true(ldap_options_put_bind_name(o, "u", to));
        return;
    }
    buf_append_fmt(to, "%s|%s|%s|%s|", o->base_dn, scopes[o->scope], o->bind_dn, o->bind_password);
    ldap_options_put_filter(o, "u", to);
}

static void test_options(void **state UNUSED)
{
    char why[CONFIG_WHY_SIZE];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf got = BUF_INIT(4096);
        char *options = hba_ldap_options(cases[i].options, why);
        struct ldap_options o;

        assert_non_null(options);
        if (ldap_options_read(options, &o, why)) {
            put_result(&o, &got);
            ldap_options_done(&o);
            ldap_options_done(&o);
        } else {
            buf_append_str(&got, why);
        }
        if (strcmp(buf_cstr(&got), cases[i].result) != 0) {
            fail_msg("%s: got %s", cases[i].name, buf_cstr(&got));
        }
        buf_done(&got);
        free(options);
    }
}

static const struct {
    const char *user;
    const char *dn; /* behind "cn=" */
    const char *filter;
    const char *domain; /* before "@x"; NULL: refused */
} names[] = {
    {"alice", "alice", "alice", "alice"},
    {"Al.ice-2_x", "Al.ice-2_x", "Al.ice-2_x", "Al.ice-2_x"},
    {"a b", "a\\20b", "a\\20b", "a b"},
    {" a ", "\\20a\\20", "\\20a\\20", " a "},
    {"*", "\\2A", "\\2A", "*"},
    {"a*)(b=*", "a\\2A\\29\\28b\\3D\\2A", "a\\2A\\29\\28b\\3D\\2A", NULL},
    {"a,dc=y", "a\\2Cdc\\3Dy", "a\\2Cdc\\3Dy", NULL},
    {"a+b", "a\\2Bb", "a\\2Bb", NULL},
    {"a\"b", "a\\22b", "a\\22b", NULL},
    {"a\\2a", "a\\5C2a", "a\\5C2a", NULL},
    {"<a>;#", "\\3Ca\\3E\\3B\\23", "\\3Ca\\3E\\3B\\23", NULL},
    {"a@y", "a@y", "a@y", NULL},
    {"y/a", "y\\2Fa", "y\\2Fa", NULL},
    {"a\nb\x7f", "a\\0Ab\\7F", "a\\0Ab\\7F", NULL},
    {"\xc3\xa4", "\\C3\\A4", "\\C3\\A4", "\xc3\xa4"},
    {"\xff", "\\FF", "\\FF", "\xff"},
    {"$username", "\\24username", "\\24username", "$username"},
};

static void check_name(const struct ldap_options *o, const char *user, const char *expected)
{
    struct buf got = BUF_INIT(4096);
    bool ok = true;

    if (o->does_search) {
        ldap_options_put_filter(o, user, &got);
    } else {
        ok = ldap_options_put_bind_name(o, user, &got);
    }
    if (ok != (expected != NULL) || (ok && strcmp(buf_cstr(&got), expected) != 0)) {
        fail_msg("%s: got %s", user, buf_cstr(&got));
    }
    buf_done(&got);
}

static void test_names(void **state UNUSED)
{
    char why[CONFIG_WHY_SIZE];
    struct ldap_options dn;
    struct ldap_options filter;
    struct ldap_options domain;
    char expected[256];

    assert_true(ldap_options_read("ldapserver='h' ldapprefix='cn='", &dn, why));
    assert_true(ldap_options_read("ldapserver='h' ldapbasedn='x'", &filter, why));
    assert_true(ldap_options_read("ldapserver='h' ldapsuffix='@x'", &domain, why));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        (void)snprintf(expected, sizeof(expected), "cn=%s", names[i].dn);
        check_name(&dn, names[i].user, expected);
        (void)snprintf(expected, sizeof(expected), "(uid=%s)", names[i].filter);
        check_name(&filter, names[i].user, expected);
        if (names[i].domain != NULL) {
            (void)snprintf(expected, sizeof(expected), "%s@x", names[i].domain);
        }
        check_name(&domain, names[i].user, names[i].domain != NULL ? expected : NULL);
    }
    ldap_options_done(&dn);
    ldap_options_done(&filter);
    ldap_options_done(&domain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
