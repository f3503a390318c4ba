/* SPDX-License-Identifier: ISC */
#include "config/hba.h"
#include "tests/unit/config_text.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

/* "local", an IPv4 or an IPv6 address. */
static const struct sockaddr *address_of(const char *text, struct sockaddr_storage *ret)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

    memset(ret, 0, sizeof(*ret));
    if (strcmp(text, "local") == 0) {
        ret->ss_family = AF_UNIX;
    } else if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        ret->ss_family = AF_INET;
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &v6->sin6_addr), 1);
        ret->ss_family = AF_INET6;
    }
    return (const struct sockaddr *)ret;
}

static struct hba *load(const char *text, struct config_errors *errors)
{
    FILE *in = stream_of(text);
    struct hba *h = hba_load_stream(in, "hba.conf", errors);

    fclose(in);
    return h;
}

/* ---- one rule, one login: does it fit? ---- */

enum login_flags {
    PLAIN = 0,
    TLS = 1,
    REPLICATION = 2,
};

static const struct {
    const char *rule;
    const char *from;
    const char *database;
    const char *user;
    unsigned flags;
    bool fits;
} matches[] = {
    /* connection types */
    {"local all all trust", "local", "d", "u", PLAIN, true},
    {"local all all trust", "10.0.0.1", "d", "u", PLAIN, false},
    {"host all all all trust", "local", "d", "u", PLAIN, false},
    {"host all all all trust", "10.0.0.1", "d", "u", PLAIN, true},
    {"host all all all trust", "10.0.0.1", "d", "u", TLS, true},
    {"host all all all trust", "::1", "d", "u", PLAIN, true},
    {"hostssl all all all trust", "10.0.0.1", "d", "u", PLAIN, false},
    {"hostssl all all all trust", "10.0.0.1", "d", "u", TLS, true},
    {"hostssl all all all trust", "local", "d", "u", TLS, false},
    {"hostnossl all all all trust", "10.0.0.1", "d", "u", PLAIN, true},
    {"hostnossl all all all trust", "10.0.0.1", "d", "u", TLS, false},
    /* databases */
    {"local d all trust", "local", "d", "u", PLAIN, true},
    {"local d all trust", "local", "e", "u", PLAIN, false},
    {"local d all trust", "local", "D", "u", PLAIN, false},
    {"local a,b,d all trust", "local", "d", "u", PLAIN, true},
    {"local a,b,c all trust", "local", "d", "u", PLAIN, false},
    {"local \"d\" all trust", "local", "d", "u", PLAIN, true},
    {"local \"all\" all trust", "local", "d", "u", PLAIN, false},
    {"local \"all\" all trust", "local", "all", "u", PLAIN, true},
    {"local all all trust", "local", "all", "u", PLAIN, true},
    {"local a,all all trust", "local", "x", "u", PLAIN, true},
    {"local \"a b\" all trust", "local", "a b", "u", PLAIN, true},
    {"local \"a,b\" all trust", "local", "a", "u", PLAIN, false},
    {"local \"a,b\" all trust", "local", "a,b", "u", PLAIN, true},
    {"local \"a\"\"b\" all trust", "local", "a\"b", "u", PLAIN, true},
    {"local \"a#b\" all trust", "local", "a#b", "u", PLAIN, true},
    {"local \"/d\" all trust", "local", "/d", "u", PLAIN, true},
    {"local \"@d\" all trust", "local", "@d", "u", PLAIN, true},
    {"local @ all trust", "local", "@", "u", PLAIN, true},
    {"local sameuser all trust", "local", "u", "u", PLAIN, true},
    {"local sameuser all trust", "local", "d", "u", PLAIN, false},
    {"local \"sameuser\" all trust", "local", "u", "u", PLAIN, false},
    {"local \"samerole\" all trust", "local", "samerole", "u", PLAIN, true},
    /* replication */
    {"local replication all trust", "local", "", "u", REPLICATION, true},
    {"local replication all trust", "local", "replication", "u", PLAIN, false},
    {"local \"replication\" all trust", "local", "replication", "u", PLAIN, true},
    {"local \"replication\" all trust", "local", "replication", "u", REPLICATION, false},
    {"local all all trust", "local", "", "u", REPLICATION, false},
    {"local d,replication all trust", "local", "", "u", REPLICATION, true},
    {"local d,replication all trust", "local", "d", "u", PLAIN, true},
    {"local d all trust", "local", "d", "u", REPLICATION, false},
    /* users */
    {"local all u trust", "local", "d", "u", PLAIN, true},
    {"local all u trust", "local", "d", "U", PLAIN, false},
    {"local all a,u trust", "local", "d", "u", PLAIN, true},
    {"local all a, u trust", "local", "d", "u", PLAIN, true},
    {"local all \"all\" trust", "local", "d", "u", PLAIN, false},
    {"local all \"all\" trust", "local", "d", "all", PLAIN, true},
    {"local all \"+role\" trust", "local", "d", "+role", PLAIN, true},
    {"local all \"\" trust", "local", "d", "u", PLAIN, false},
    {"local all replication trust", "local", "d", "replication", PLAIN, true},
    {"local all sameuser trust", "local", "d", "sameuser", PLAIN, true},
    /* IPv4 */
    {"host all all 10.1.2.3/32 trust", "10.1.2.3", "d", "u", PLAIN, true},
    {"host all all 10.1.2.3/32 trust", "10.1.2.4", "d", "u", PLAIN, false},
    {"host all all 10.1.2.0/24 trust", "10.1.2.255", "d", "u", PLAIN, true},
    {"host all all 10.1.2.0/24 trust", "10.1.3.0", "d", "u", PLAIN, false},
    {"host all all 10.1.2.77/24 trust", "10.1.2.1", "d", "u", PLAIN,
     true}, /* bits behind the mask do not count */
    {"host all all 10.1.2.128/25 trust", "10.1.2.127", "d", "u", PLAIN, false},
    {"host all all 10.1.2.128/25 trust", "10.1.2.128", "d", "u", PLAIN, true},
    {"host all all 10.0.0.0/7 trust", "11.255.255.255", "d", "u", PLAIN, true},
    {"host all all 10.0.0.0/7 trust", "12.0.0.0", "d", "u", PLAIN, false},
    {"host all all 0.0.0.0/0 trust", "203.0.113.9", "d", "u", PLAIN, true},
    {"host all all 0.0.0.0/0 trust", "::1", "d", "u", PLAIN, false},
    {"host all all 10.1.2.0 255.255.255.0 trust", "10.1.2.9", "d", "u", PLAIN, true},
    {"host all all 10.1.2.0 255.255.255.0 trust", "10.1.3.9", "d", "u", PLAIN, false},
    {"host all all 10.1.2.3 255.255.255.255 trust", "10.1.2.3", "d", "u", PLAIN, true},
    {"host all all 10.0.0.3 255.0.0.255 trust", "10.9.9.3", "d", "u", PLAIN, true},
    {"host all all \"10.1.2.0/24\" trust", "10.1.2.9", "d", "u", PLAIN, true},
    /* IPv6 */
    {"host all all ::1/128 trust", "::1", "d", "u", PLAIN, true},
    {"host all all ::1/128 trust", "::2", "d", "u", PLAIN, false},
    {"host all all ::1/128 trust", "127.0.0.1", "d", "u", PLAIN, false},
    {"host all all 2001:db8::/32 trust", "2001:db8:ffff::1", "d", "u", PLAIN, true},
    {"host all all 2001:db8::/32 trust", "2001:db9::1", "d", "u", PLAIN, false},
    {"host all all 2001:db8::/33 trust", "2001:db8:8000::1", "d", "u", PLAIN, false},
    {"host all all ::/0 trust", "2001:db9::1", "d", "u", PLAIN, true},
    {"host all all ::/0 trust", "10.0.0.1", "d", "u", PLAIN, false},
    {"host all all 2001:db8:: ffff:ffff:: trust", "2001:db8:1::1", "d", "u", PLAIN, true},
    {"host all all 2001:db8:: ffff:ffff:: trust", "2001:db7::1", "d", "u", PLAIN, false},
    /* IPv4 over an IPv6 socket */
    {"host all all 10.1.2.0/24 trust", "::ffff:10.1.2.3", "d", "u", PLAIN, true},
    {"host all all ::ffff:10.1.2.0/120 trust", "10.1.2.3", "d", "u", PLAIN, true},
    {"host all all ::ffff:10.1.2.0/120 trust", "::ffff:10.1.2.3", "d", "u", PLAIN, true},
    {"host all all ::ffff:10.1.2.0/120 trust", "10.1.3.3", "d", "u", PLAIN, false},
    /* this machine: 192.0.2.5/24 and 2001:db8::5/64, see below */
    {"host all all samehost trust", "192.0.2.5", "d", "u", PLAIN, true},
    {"host all all samehost trust", "192.0.2.6", "d", "u", PLAIN, false},
    {"host all all samehost trust", "2001:db8::5", "d", "u", PLAIN, true},
    {"host all all samehost trust", "2001:db8::6", "d", "u", PLAIN, false},
    {"host all all samenet trust", "192.0.2.200", "d", "u", PLAIN, true},
    {"host all all samenet trust", "192.0.3.1", "d", "u", PLAIN, false},
    {"host all all samenet trust", "2001:db8::ffff", "d", "u", PLAIN, true},
    {"host all all samenet trust", "2001:db8:0:1::5", "d", "u", PLAIN, false},
    {"host all all samenet trust", "::ffff:192.0.2.9", "d", "u", PLAIN, true},
    /* form */
    {"\t local \t all\tall   trust  ", "local", "d", "u", PLAIN, true},
    {"local all all trust # a comment", "local", "d", "u", PLAIN, true},
    {"local all all trust#comment", "local", "d", "u", PLAIN, true},
    {"local \\\n all all \\\n trust", "local", "d", "u", PLAIN, true},
    {"local all all trust\r", "local", "d", "u", PLAIN, true},
};

static bool is_match(const struct hba *h, size_t i)
{
    struct sockaddr_storage storage;
    struct hba_login login = {
        .addr = address_of(matches[i].from, &storage),
        .tls = (matches[i].flags & TLS) != 0,
        .database = matches[i].database,
        .user = matches[i].user,
        .is_replication = (matches[i].flags & REPLICATION) != 0,
    };

    return hba_match(h, &login) != NULL;
}

static void test_matches(void **state UNUSED)
{
    struct sockaddr_storage a;
    struct sockaddr_storage mask;

    for (size_t i = 0; i < ARRAY_LEN(matches); i++) {
        struct config_errors errors = CONFIG_ERRORS_INIT;
        struct hba *h = load(matches[i].rule, &errors);

        assert_faults(matches[i].rule, &errors, "");
        assert_non_null(h);
        assert_true(
            hba_add_interface(h, address_of("192.0.2.5", &a), address_of("255.255.255.0", &mask)));
        assert_true(hba_add_interface(h, address_of("2001:db8::5", &a),
                                      address_of("ffff:ffff:ffff:ffff::", &mask)));
        assert_false(hba_add_interface(h, address_of("local", &a), NULL));
        if (is_match(h, i) != matches[i].fits) {
            fail_msg("%s: %s %s %s", matches[i].rule, matches[i].from, matches[i].database,
                     matches[i].user);
        }
        hba_free(h);
    }
}

/* ---- the first that fits ---- */

static const char first_rules[] =
    "# rules\n"
    "local   all      postgres                peer map=admins\n"
    "local   all      all                     md5\n"
    "\n"
    "host    all      banned    0.0.0.0/0     reject\n"
    "hostssl shop     all       10.0.0.0/8    cert map=\"web servers\"\n"
    "hostssl all      all       10.0.0.0/8    scram-sha-256\n"
    "host    all      all       samehost      trust\n"
    "host    all      all       ::/0          password\n"
    "hostnossl all    all       10.0.0.0/8    pam\n"
    "host    all      all       192.0.2.0/24  ldap ldapserver=l.example \\\n"
    "        ldapprefix=\"cn='\" \"ldapsuffix=, dc=x\"\n";
static const struct {
    const char *from;
    const char *database;
    const char *user;
    bool tls;
    unsigned line; /* 0: refused */
    enum auth_type method;
    const char *map;
} first_logins[] = {
    {"local", "d", "postgres", false, 2, AUTH_TYPE_PEER, "admins"},
    {"local", "d", "u", false, 3, AUTH_TYPE_MD5, ""},
    {"10.0.0.1", "shop", "banned", true, 5, AUTH_TYPE_REJECT, ""},
    {"10.0.0.1", "shop", "u", true, 6, AUTH_TYPE_CERT, "web servers"},
    {"10.0.0.1", "d", "u", true, 7, AUTH_TYPE_SCRAM, ""},
    {"10.0.0.1", "d", "u", false, 10, AUTH_TYPE_PAM, ""},
    {"2001:db8::1", "d", "banned", false, 9, AUTH_TYPE_PLAIN, ""},
    {"192.0.2.1", "d", "u", false, 11, AUTH_TYPE_LDAP, ""},
    {"203.0.113.1", "d", "u", false, 0, 0, ""},
};

static void test_first_rule_counts(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    struct hba *h = load(first_rules, &errors);
    const struct hba_rule *r = NULL;
    unsigned n = 0;

    assert_faults("file", &errors, "");
    for (size_t i = 0; i < ARRAY_LEN(first_logins); i++) {
        struct sockaddr_storage storage;
        struct hba_login login = {
            .addr = address_of(first_logins[i].from, &storage),
            .tls = first_logins[i].tls,
            .database = first_logins[i].database,
            .user = first_logins[i].user,
        };

        r = hba_match(h, &login);
        if ((r == NULL) != (first_logins[i].line == 0)) {
            fail_msg("login %zu", i);
        }
        if (r != NULL) {
            assert_int_equal(r->line, first_logins[i].line);
            assert_int_equal(r->method, first_logins[i].method);
            assert_string_equal(r->map, first_logins[i].map);
            assert_string_equal(r->file, "hba.conf");
            assert_string_equal(
                r->ldap_options,
                r->method == AUTH_TYPE_LDAP
                    ? "ldapserver='l.example' ldapprefix='cn=''' ldapsuffix=', dc=x'"
                    : "");
        }
    }
    for (r = NULL; (r = hba_next(h, r)) != NULL;) {
        n++;
    }
    assert_int_equal(n, 9);
    hba_free(h);
    assert_null(hba_free(NULL));
    assert_null(hba_next(NULL, NULL));
}

static void test_no_address_is_a_unix_socket(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    struct hba *h = load("local all all trust", &errors);
    struct hba_login login = {.addr = NULL, .database = "d", .user = "u"};
    struct sockaddr strange = {.sa_family = AF_APPLETALK};

    assert_non_null(hba_match(h, &login));
    login.addr = &strange;
    assert_null(hba_match(h, &login));
    assert_null(hba_match(NULL, &login));
    hba_free(h);
}

/* ---- refusals ---- */

static const struct {
    const char *text;
    const char *faults;
} bad[] = {
    {"locale all all trust",
     "hba.conf:1: \"locale\" is not a connection type: local, host, hostssl, hostnossl\n"},
    {"local,host all all trust",
     "hba.conf:1: connection type is a list: one of local, host, hostssl, hostnossl\n"},
    {"hostgssenc all all all gss", "hba.conf:1: hostgssenc: this pooler does not speak GSSAPI: "
                                   "local, host, hostssl, hostnossl\n"},
    {"hostnogssenc all all all trust", "hba.conf:1: hostnogssenc: this pooler does not speak "
                                       "GSSAPI: local, host, hostssl, hostnossl\n"},
    {"include other.conf", "hba.conf:1: include: whole files of rules cannot be included, only "
                           "@file for a list of names: local, host, hostssl, "
                           "hostnossl\n"},
    {"local", "hba.conf:1: database is missing: names, comma-separated, or all\n"},
    {"local all", "hba.conf:1: user is missing: names, comma-separated, or all\n"},
    {"local all all", "hba.conf:1: method is missing: trust, reject, md5, password, scram-sha-256, "
                      "peer, cert, pam, ldap\n"},
    {"host all all",
     "hba.conf:1: address is missing: IPv4 or IPv6 with /bits or a mask, all, samehost, samenet\n"},
    {"host all all 10.0.0.0/8", "hba.conf:1: method is missing: trust, reject, md5, password, "
                                "scram-sha-256, peer, cert, pam, ldap\n"},
    {"host all all 10.0.0.1",
     "hba.conf:1: mask is missing: a mask such as 255.255.255.0, or /bits behind the address\n"},
    {"host all all 10.0.0.1 trust", "hba.conf:1: \"trust\" is not a mask for 10.0.0.1: one such as "
                                    "255.255.255.0, or /bits behind the address\n"},
    {"host all all 10.0.0.1 ffff:: trust", "hba.conf:1: \"ffff::\" is not a mask for 10.0.0.1: one "
                                           "such as 255.255.255.0, or /bits behind the address\n"},
    {"host all all ::1 255.0.0.0 trust", "hba.conf:1: \"255.0.0.0\" is not a mask for ::1: one "
                                         "such as ffff:ffff::, or /bits behind the address\n"},
    {"host all all 10.0.0.0/33 trust",
     "hba.conf:1: \"10.0.0.0/33\": wrong number of bits: 0 to 32\n"},
    {"host all all ::/129 trust", "hba.conf:1: \"::/129\": wrong number of bits: 0 to 128\n"},
    {"host all all ::/ trust", "hba.conf:1: \"::/\": wrong number of bits: 0 to 128\n"},
    {"host all all 10.0.0.0/-1 trust",
     "hba.conf:1: \"10.0.0.0/-1\": wrong number of bits: 0 to 32\n"},
    {"host all all 10.0.0/8 trust",
     "hba.conf:1: \"10.0.0/8\" is not an address: IPv4 or IPv6, with /bits\n"},
    {"host all all 2001:db8:2001:db8:2001:db8:2001:db8:2001:db8:2001:db8/8 trust",
     "hba.conf:1: \"2001:db8:2001:db8:2001:db8:2001:db8:2001:db8:2001:db8/8\" is not an address: "
     "IPv4 or IPv6, with "
     "/bits\n"},
    {"host all all db.example.org trust",
     "hba.conf:1: \"db.example.org\" is not an address, and host names are not looked up here: "
     "IPv4 or IPv6 with /bits or "
     "a mask, all, samehost, samenet\n"},
    {"host all all \"all\" trust", "hba.conf:1: \"all\" is not an address, and host names are not "
                                   "looked up here: IPv4 or IPv6 with /bits or a mask, "
                                   "all, samehost, samenet\n"},
    {"host all all ::1/128,10.0.0.0/8 trust", "hba.conf:1: address is a list: one of IPv4 or IPv6 "
                                              "with /bits or a mask, all, samehost, samenet\n"},
    {"local all +admins trust", "hba.conf:1: user \"+admins\": who belongs to a role is known to "
                                "the server only: name the users, or put the name in "
                                "quotes\n"},
    {"local samerole all trust", "hba.conf:1: database samerole: who belongs to a role is known to "
                                 "the server only: name the databases\n"},
    {"local a,samegroup all trust", "hba.conf:1: database samegroup: who belongs to a role is "
                                    "known to the server only: name the databases\n"},
    {"local /^db all trust", "hba.conf:1: \"/^db\": names cannot be given by a regular expression "
                             "here: a name, or in quotes\n"},
    {"local all /^u trust", "hba.conf:1: \"/^u\": names cannot be given by a regular expression "
                            "here: a name, or in quotes\n"},
    {"local all all gss", "hba.conf:1: method gss is PostgreSQL's, but this pooler does not have "
                          "it: trust, reject, md5, password, "
                          "scram-sha-256, peer, cert, pam, ldap\n"},
    {"local all all radius", "hba.conf:1: method radius is PostgreSQL's, but this pooler does not "
                             "have it: trust, reject, md5, password, "
                             "scram-sha-256, peer, cert, pam, ldap\n"},
    {"local all all MD5", "hba.conf:1: \"MD5\" is not a method: trust, reject, md5, password, "
                          "scram-sha-256, peer, cert, pam, ldap\n"},
    {"local all all trust,md5", "hba.conf:1: method is a list: one of trust, reject, md5, "
                                "password, scram-sha-256, peer, cert, pam, ldap\n"},
    {"host all all all peer",
     "hba.conf:1: peer: only a Unix socket tells who is at its other end: with local\n"},
    {"host all all all cert",
     "hba.conf:1: cert: only a TLS connection has a client certificate: with hostssl\n"},
    {"local all all cert",
     "hba.conf:1: cert: only a TLS connection has a client certificate: with hostssl\n"},
    {"local all all md5 map=x",
     "hba.conf:1: map=: this method has no outside name to map: with peer and cert\n"},
    {"local all all md5 extra", "hba.conf:1: option \"extra\" is not known for this method: map= "
                                "with peer and cert, ldap...= with ldap\n"},
    {"hostssl all all all scram-sha-256 clientcert=verify-full",
     "hba.conf:1: option \"clientcert=verify-full\" is not known for this method: map= with peer "
     "and cert, ldap...= with "
     "ldap\n"},
    {"local all all ldap ldapfoo=x",
     "hba.conf:1: \"ldapfoo\" is not an option of ldap: ldapserver, ldapport, ldapscheme, ldaptls, "
     "ldapprefix, ldapsuffix, "
     "ldapbasedn, ldapbinddn, ldapbindpasswd, ldapsearchattribute, ldapsearchfilter, ldapurl\n"},
    {"local all all ldap ldapserver", "hba.conf:1: \"ldapserver\" is not an option: name=value\n"},
    {"local \"all all trust",
     "hba.conf:1: a quote without an end: \"word\", and \"\" for a quote inside it\n"},
    {"local @/nonexistent/names all trust",
     "hba.conf:1: /nonexistent/names: cannot be opened: No such file or directory\n"},
    {"# fine\nlocal all all trust\nlocal all all gssapi\n\nhost\n",
     "hba.conf:3: \"gssapi\" is not a method: trust, reject, md5, password, scram-sha-256, peer, "
     "cert, pam, ldap\n"
     "hba.conf:5: database is missing: names, comma-separated, or all\n"},
    {"local \\\nall all \\\nnone\nlocal all all none",
     "hba.conf:1: \"none\" is not a method: trust, reject, md5, password, scram-sha-256, peer, "
     "cert, pam, ldap\n"
     "hba.conf:4: \"none\" is not a method: trust, reject, md5, password, scram-sha-256, peer, "
     "cert, pam, ldap\n"},
};

static void test_refusals(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct hba *h = load(bad[i].text, &errors);

        if (h != NULL) {
            fail_msg("taken: %s", bad[i].text);
        }
        assert_faults(bad[i].text, &errors, bad[i].faults);
    }
    assert_null(hba_load("/nonexistent/hba.conf", &errors));
    assert_faults("none", &errors,
                  "/nonexistent/hba.conf: cannot be opened: No such file or directory\n");
}

static void test_no_rules_refuse_everybody(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    struct hba *h = load("# nothing\n", &errors);
    struct hba_login login = {.addr = NULL, .database = "d", .user = "u"};

    assert_non_null(h);
    assert_null(hba_match(h, &login));
    hba_free(h);
}

static void test_a_long_list(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    struct hba_login login = {.addr = NULL, .database = "d", .user = "user999"};
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    struct hba *h;

    assert_non_null(out);
    fputs("local all ", out);
    for (unsigned i = 0; i < 1000; i++) {
        fprintf(out, "%suser%u", i == 0 ? "" : ",", i);
    }
    fputs(" trust\n", out);
    fclose(out);
    assert_true(len > 5000);
    h = load(text, &errors);
    assert_faults("list", &errors, "");
    assert_non_null(hba_match(h, &login));
    login.user = "user1000";
    assert_null(hba_match(h, &login));
    hba_free(h);
    free(text);
}

/* ---- lists in files ---- */

static struct test_dir dir;

static void test_names_from_a_file(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    struct hba_login login = {.addr = NULL, .database = "d", .user = "u"};
    static const char *const in[] = {"anna", "b c", "carl", "dora", "emil", "all "};
    static const char *const out[] = {"x", "all", "@more", "b"};
    struct hba *h;

    test_write(&dir, "hba.conf",
               "local all anna,@names,emil,\"all \" trust\nhost all all samehost trust\n");
    test_write(&dir, "names", "# people\n\"b c\"\ncarl , @more\n\"all\"x\n");
    test_write(&dir, "more", "dora\n");
    h = hba_load(test_path(&dir, "hba.conf"), &errors);
    assert_faults("names", &errors, "");
    for (size_t i = 0; i < ARRAY_LEN(in); i++) {
        login.user = in[i];
        if (hba_match(h, &login) == NULL) {
            fail_msg("%s", in[i]);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(out); i++) {
        login.user = out[i];
        if (hba_match(h, &login) != NULL) {
            fail_msg("%s", out[i]);
        }
    }
    hba_free(h);
}

static void test_samehost_of_this_machine(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    struct sockaddr_storage storage;
    struct hba_login login = {
        .addr = address_of("203.0.113.77", &storage), .database = "d", .user = "u"};
    struct hba *h;

    test_write(&dir, "hba.conf", "host all all samehost trust\n");
    h = hba_load(test_path(&dir, "hba.conf"), &errors);
    assert_faults("samehost", &errors, "");
    assert_null(hba_match(h, &login));
    assert_true(hba_add_interface(h, login.addr, NULL));
    assert_non_null(hba_match(h, &login));
    hba_free(h);
}

static void test_bad_names_in_a_file(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    char faults[600];

    test_write(&dir, "hba.conf", "local all @names trust\nlocal @self all trust\n");
    test_write(&dir, "names", "anna\n+role\n");
    test_write(&dir, "self", "x @self\n");
    assert_null(hba_load(test_path(&dir, "hba.conf"), &errors));
    snprintf(faults, sizeof(faults),
             "%s:1: user \"+role\": who belongs to a role is known to the server only: name the "
             "users, or put the name in "
             "quotes\n%s:2: @self: nested too deeply: at most 10 files\n",
             test_path(&dir, "hba.conf"), test_path(&dir, "hba.conf"));
    assert_faults("names", &errors, faults);
}

/* ---- options of ldap ---- */

static void test_ldap_options(void **state UNUSED)
{
    static const struct {
        const char *text;
        const char *options; /* NULL: refused */
    } cases[] = {
        {"", ""},
        {"ldapserver=a", "ldapserver='a'"},
        {"ldapurl=\"ldap://h/dc=x,dc=y?uid?sub\" ldaptls=1",
         "ldapurl='ldap://h/dc=x,dc=y?uid?sub' ldaptls='1'"},
        {"ldapserver=a ldapsuffix=\", dc=it's\"", "ldapserver='a' ldapsuffix=', dc=it''s'"},
        {"ldapserver=", "ldapserver=''"},
        {"ldapserver", NULL},
        {"server=a", NULL},
        {"ldapserver=\"a", NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char why[CONFIG_WHY_SIZE] = "";
        char *options = hba_ldap_options(cases[i].text, why);

        if ((options == NULL) != (cases[i].options == NULL) ||
            (options == NULL) != (*why != '\0') ||
            (options != NULL && strcmp(options, cases[i].options) != 0)) {
            fail_msg("%s: %s %s", cases[i].text, options == NULL ? "NULL" : options, why);
        }
        free(options);
    }
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
        cmocka_unit_test(test_matches),
        cmocka_unit_test(test_first_rule_counts),
        cmocka_unit_test(test_no_address_is_a_unix_socket),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_no_rules_refuse_everybody),
        cmocka_unit_test(test_a_long_list),
        cmocka_unit_test(test_names_from_a_file),
        cmocka_unit_test(test_samehost_of_this_machine),
        cmocka_unit_test(test_bad_names_in_a_file),
        cmocka_unit_test(test_ldap_options),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
