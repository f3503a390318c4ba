/* SPDX-License-Identifier: ISC */
/* Loading whole configurations: sections, named files, relations between options, SET. */
#include "config/config.h"
#include "tests/unit/config_text.h"

static struct test_dir dir;

/* Copies @text with each $D replaced by the folder of the tests; the caller frees it. */
static char *expand(const char *text)
{
    char *out = NULL;
    size_t len;
    FILE *f = open_memstream(&out, &len);

    assert_non_null(f);
    for (; *text != '\0'; text++) {
        if (text[0] == '$' && text[1] == 'D') {
            fputs(dir.path, f);
            text++;
        } else {
            fputc(*text, f);
        }
    }
    fclose(f);
    return out;
}

static struct config *load(const char *text, struct config_errors *errors)
{
    char *expanded = expand(text);

    test_write(&dir, "t.ini", expanded);
    free(expanded);
    return config_load(test_path(&dir, "t.ini"), errors);
}

static void assert_faults_in_dir(const char *name, struct config_errors *errors, const char *faults)
{
    char *expanded = expand(faults);

    assert_faults(name, errors, expanded);
    free(expanded);
}

static struct config *good(const char *text)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    struct config *c = load(text, &errors);

    assert_faults(text, &errors, "");
    assert_non_null(c);
    return c;
}

static void test_an_empty_file_is_all_defaults(void **state UNUSED)
{
    struct config *c = good("");

    assert_int_equal(c->settings.listen_port, 6432);
    assert_string_equal(c->path, test_path(&dir, "t.ini"));
    assert_string_equal(c->settings.conffile, c->path);
    assert_null(config_next_database(c, NULL));
    assert_null(config_next_user(c, NULL));
    assert_null(config_next_peer(c, NULL));
    assert_null(c->autodb);
    assert_null(c->userlist);
    assert_null(c->hba);
    assert_null(config_free(c));
    assert_null(config_free(NULL));
}

static void test_a_whole_file(void **state UNUSED)
{
    struct config *c = good("[databases]\n"
                            "shop = host=db1 port=6000\n"
                            "\"my = db\" = host=db2\n"
                            "* = host=db3\n"
                            "[pgbouncer]\n"
                            "listen_port = 7000\n"
                            "auth_file = $D/users.txt\n"
                            "\n"
                            "[users]\n"
                            "app = pool_mode=transaction\n"
                            "[peers]\n"
                            "2 = host=/tmp/p2\n"
                            "1 = host=/tmp/p1\n"
                            "[databases]\n"
                            "shop = host=db9\n"
                            "* = host=db8\n"
                            "[pgpoold]\n"
                            "listen_port = 7001\n"
                            "conffile = other.ini\n"
                            "[users]\n"
                            "app = pool_mode=statement\n"
                            "[peers]\n"
                            "1 = host=/tmp/p3\n");
    const struct database_config *d = NULL;
    const struct peer_config *p = NULL;

    assert_int_equal(c->settings.listen_port, 7001);
    assert_string_equal(c->settings.conffile, "other.ini");
    assert_string_equal(config_database(c, "shop")->host, "db9");
    assert_string_equal(config_database(c, "my = db")->host, "db2");
    assert_null(config_database(c, "*"));
    assert_null(config_database(c, "other"));
    assert_string_equal(c->autodb->host, "db8");
    assert_int_equal(config_user(c, "app")->pool_mode, POOL_MODE_STATEMENT);
    assert_null(config_user(c, "shop"));
    assert_int_equal(userlist_count(c->userlist), 2);
    d = config_next_database(c, NULL);
    assert_string_equal(d->name, "my = db");
    d = config_next_database(c, d);
    assert_string_equal(d->name, "shop");
    assert_null(config_next_database(c, d));
    assert_string_equal(config_next_user(c, NULL)->name, "app");
    p = config_next_peer(c, NULL);
    assert_int_equal(p->id, 2);
    assert_string_equal(p->host, "/tmp/p2");
    p = config_next_peer(c, p);
    assert_int_equal(p->id, 1);
    assert_string_equal(p->host, "/tmp/p3");
    assert_null(config_next_peer(c, p));
    config_free(c);
}

static void test_hba_and_ident_are_read_for_auth_type_hba(void **state UNUSED)
{
    struct config *c = good(
        "[pgpoold]\nauth_type=hba\nauth_hba_file=$D/hba.conf\nauth_ident_file=$D/ident.conf\n");

    assert_non_null(hba_next(c->hba, NULL));
    assert_true(ident_has_map(c->ident, "m"));
    config_free(c);
    c = good("[pgpoold]\nauth_type=md5\nauth_hba_file=$D/none\n"); /* not looked at */
    assert_null(c->hba);
    config_free(c);
}

static void test_console_names(void **state UNUSED)
{
    assert_true(config_name_is_console("pgbouncer"));
    assert_true(config_name_is_console("pgpoold"));
    assert_false(config_name_is_console("PgBouncer"));
    assert_false(config_name_is_console(""));
}

/* ---- faults, each with its file and line ---- */

static const struct {
    const char *name;
    const char *text;
    const char *faults;
} bad[] = {
    {"unknown option", "[pgpoold]\nlisten_prot = 1\n",
     "$D/t.ini:2: listen_prot: is not an option: perhaps listen_port is meant\n"},
    {"unknown option, nothing near", "[pgpoold]\n\nxyzzy = 1\n",
     "$D/t.ini:3: xyzzy: is not an option: see pgpoold --help-config\n"},
    {"unknown section", "[pgpoold]\n[foo]\nbar = 1\n[pgpoold]\n",
     "$D/t.ini:2: [foo]: is not a section: pgpoold (or pgbouncer), databases, users, peers\n"},
    {"bad value", "[pgpoold]\nlisten_port = none\n",
     "$D/t.ini:2: listen_port: \"none\" is not a whole number: 1 to 65535\n"},
    {"bad value under an alias", "[pgpoold]\nminsize = none\n",
     "$D/t.ini:2: minsize: \"none\" is not a whole number: 0 to 1000000\n"},
    {"everything at once",
     "x = y\n[pgpoold]\nlisten_port = 0\npool_mode = x\n\n[databases]\na = host\nb = "
     "pool_size=x\n[users]\nu = "
     "pool_mode=y\n[peers]\nz = host=h\n[pgbouncer]\nsyslog = maybe\n",
     "$D/t.ini:1: x: stands before any section: put [pgpoold] above it\n"
     "$D/t.ini:3: listen_port: 0 is too small: 1 to 65535\n"
     "$D/t.ini:4: pool_mode: \"x\" is not known: one of session, transaction, statement\n"
     "$D/t.ini:7: database a: a key without =: key=value pairs with blanks between them\n"
     "$D/t.ini:8: database b: pool_size: \"x\" is not a whole number: 0 to 1000000\n"
     "$D/t.ini:10: user u: pool_mode: \"y\" is not known: one of session, transaction, statement\n"
     "$D/t.ini:12: peer z: is not a peer_id: 1 to 16383\n"
     "$D/t.ini:14: syslog: \"maybe\" is neither on nor off: 0 or 1 (also off, on, no, yes, false, "
     "true)\n"},
    {"in an included file", "[pgpoold]\n%include $D/bad.inc\nlisten_port = 1\n",
     "$D/bad.inc:2: listen_port: \"x\" is not a whole number: 1 to 65535\n"},
    /* pools */
    {"min above default", "[pgpoold]\nmin_pool_size = 21\n",
     "$D/t.ini:2: min_pool_size: 21 is more than default_pool_size: at most 20\n"},
    {"min above default, aliases, included", "[pgpoold]\n%include $D/min.inc\nmaxsize = 3\n",
     "$D/min.inc:1: min_pool_size: 4 is more than default_pool_size: at most 3\n"},
    {"min above size of a database", "[databases]\na = min_pool_size=5 pool_size=4\n",
     "$D/t.ini:2: database a: min_pool_size: 5 is more than pool_size: at most 4\n"},
    {"min above default for a database", "[databases]\n* = min_pool_size=21\n",
     "$D/t.ini:2: database *: min_pool_size: 21 is more than pool_size (default_pool_size): at "
     "most 20\n"},
    /* TLS */
    {"HTTPS without a key", "[pgpoold]\nhttp_port = 9127\nhttp_tls_cert_file = $D/key.pem\n",
     "$D/t.ini:3: http_tls_cert_file: HTTPS needs http_tls_key_file and http_tls_cert_file: set "
     "both or none\n"},
    {"HTTP addresses", "[pgpoold]\nhttp_port = 9127\nhttp_addr = ::1, localhost, 1.2.3\n",
     "$D/t.ini:3: http_addr: \"localhost\" is not an address: numbers, or *\n"
     "$D/t.ini:3: http_addr: \"1.2.3\" is not an address: numbers, or *\n"},
    {"HTTP on the clients' port",
     "[pgpoold]\nlisten_addr = ::1, 127.0.0.1\nhttp_port = 6432\nhttp_addr = 10.0.0.1, 127.0.0.1\n",
     "$D/t.ini:3: http_port: 6432 is listen_port, on 127.0.0.1: it needs a port of its own\n"},
    {"HTTP on the proxies' port",
     "[pgpoold]\nlisten_addr = *\nproxy_protocol_port = 6433\nproxy_protocol_from = 10.0.0.1\n"
     "http_port = 6433\n",
     "$D/t.ini:5: http_port: 6433 is proxy_protocol_port, on 127.0.0.1: it needs a port of its "
     "own\n"},
    {"HTTP nowhere", "[pgpoold]\nhttp_port = 9127\nhttp_addr =\n",
     "$D/t.ini:3: http_addr: nowhere to listen for http_port: an address, or *\n"},
    {"client TLS without key", "[pgpoold]\nclient_tls_sslmode = allow\n",
     "$D/t.ini:2: client_tls_sslmode: TLS without a key: set client_tls_key_file and "
     "client_tls_cert_file\n"},
    {"client TLS without certificate",
     "[pgpoold]\nclient_tls_key_file = $D/key.pem\nclient_tls_sslmode = require\n",
     "$D/t.ini:3: client_tls_sslmode: TLS without a certificate: set client_tls_key_file and "
     "client_tls_cert_file\n"},
    {"client TLS without CA",
     "[pgpoold]\nclient_tls_key_file = $D/key.pem\nclient_tls_cert_file = "
     "$D/key.pem\nclient_tls_sslmode = verify-ca\n",
     "$D/t.ini:4: client_tls_sslmode: nobody to trust for client certificates: set "
     "client_tls_ca_file\n"},
    {"server TLS without CA", "[pgpoold]\nserver_tls_sslmode = verify-full\n",
     "$D/t.ini:2: server_tls_sslmode: nobody to trust for server certificates: set "
     "server_tls_ca_file\n"},
    {"server key alone", "[pgpoold]\nserver_tls_key_file = $D/key.pem\n",
     "$D/t.ini:2: server_tls_key_file: a key without a certificate: set server_tls_cert_file\n"},
    {"server certificate alone", "[pgpoold]\nserver_tls_cert_file = $D/key.pem\n",
     "$D/t.ini:2: server_tls_cert_file: a certificate without a key: set server_tls_key_file\n"},
    {"files that are not there",
     "[pgpoold]\nclient_tls_ca_file = $D/none\nserver_tls_ca_file = $D/none2\nresolv_conf = "
     "$D/none3\n",
     "$D/t.ini:2: client_tls_ca_file: $D/none: cannot be read: No such file or directory\n"
     "$D/t.ini:3: server_tls_ca_file: $D/none2: cannot be read: No such file or directory\n"
     "$D/t.ini:4: resolv_conf: $D/none3: cannot be read: No such file or directory\n"},
    {"unknown TLS version",
     "[pgpoold]\nclient_tls_protocols = tlsv1.3, sslv3\nserver_tls_protocols = x\n",
     "$D/t.ini:2: client_tls_protocols: \"sslv3\" is not known: secure, all, or of tlsv1.0, "
     "tlsv1.1, tlsv1.2, tlsv1.3 a "
     "list\n"
     "$D/t.ini:3: server_tls_protocols: \"x\" is not known: secure, all, or of tlsv1.0, tlsv1.1, "
     "tlsv1.2, tlsv1.3 a "
     "list\n"},
    {"unknown DHE strength", "[pgpoold]\nclient_tls_dheparams = 1024\n",
     "$D/t.ini:2: client_tls_dheparams: \"1024\" is not known: auto, legacy, none\n"},
    {"unknown facility", "[pgpoold]\nsyslog_facility = local8\n",
     "$D/t.ini:2: syslog_facility: \"local8\" is not known: auth, authpriv, daemon, user, local0 "
     "to local7\n"},
    /* logging in */
    {"hba without file", "[pgpoold]\nauth_type = hba\n",
     "$D/t.ini:2: auth_type: hba without rules: set auth_hba_file\n"},
    {"hba file not there", "[pgpoold]\nauth_type = hba\nauth_hba_file = $D/none\n",
     "$D/t.ini:3: auth_hba_file: $D/none: cannot be read: No such file or directory\n"},
    {"ident file not there",
     "[pgpoold]\nauth_type = hba\nauth_hba_file = $D/hba.conf\nauth_ident_file = $D/none\n",
     "$D/t.ini:4: auth_ident_file: $D/none: cannot be read: No such file or directory\n"},
    {"map without file", "[pgpoold]\nauth_type = hba\nauth_hba_file = $D/hba.conf\n",
     "$D/hba.conf:1: map=m: there is no such map: a line for it in auth_ident_file\n"},
    {"map not in the file",
     "[pgpoold]\nauth_type = hba\nauth_hba_file = $D/hba.conf\nauth_ident_file = $D/ident2.conf\n",
     "$D/hba.conf:1: map=m: there is no such map: a line for it in auth_ident_file\n"},
    {"rule cert without TLS", "[pgpoold]\nauth_type = hba\nauth_hba_file = $D/hba_cert.conf\n",
     "$D/hba_cert.conf:2: cert: client certificates are not asked for: set client_tls_sslmode and "
     "client_tls_ca_file\n"},
    {"rule ldap without server", "[pgpoold]\nauth_type = hba\nauth_hba_file = $D/hba_ldap.conf\n",
     "$D/hba_ldap.conf:1: ldap: without a server: options ldapserver= or ldapurl= here, or "
     "auth_ldap_options\n"},
    {"bad rule", "[pgpoold]\nauth_type = hba\nauth_hba_file = $D/hba_bad.conf\n",
     "$D/hba_bad.conf:1: database is missing: names, comma-separated, or all\n"},
    {"auth_file not there", "[pgpoold]\nauth_file = $D/none\n",
     "$D/t.ini:2: auth_file: $D/none: cannot be read: No such file or directory\n"},
    {"auth_file is a folder", "[pgpoold]\nauth_file = $D\n",
     "$D: cannot be read: Is a directory\n"},
    /* what the system has not */
    {"user and group", "[pgpoold]\nuser = no-such-user\nunix_socket_group = no-such-group\n",
     "$D/t.ini:2: user: there is no system user no-such-user: one of this system, or none\n"
     "$D/t.ini:3: unix_socket_group: there is no group no-such-group: one of this system, or "
     "none\n"},
    {"folders that are not there",
     "[pgpoold]\nlogfile = $D/none/log\npidfile = $D/none/pid\nunix_socket_dir = $D/none\n",
     "$D/t.ini:4: unix_socket_dir: $D/none: No such file or directory: a directory that is "
     "there\n"
     "$D/t.ini:2: logfile: $D/none/log: No such file or directory: a file in a directory that is "
     "there\n"
     "$D/t.ini:3: pidfile: $D/none/pid: No such file or directory: a file in a directory that is "
     "there\n"},
    {"socket folder is a file", "[pgpoold]\nunix_socket_dir = $D/key.pem\n",
     "$D/t.ini:2: unix_socket_dir: $D/key.pem: not a directory: a directory\n"},
    {"bad auth_file", "[pgpoold]\nauth_file = $D/users_bad.txt\n",
     "$D/users_bad.txt:2: the secret is missing or its quote has no end: \"user\" \"secret\", and "
     "\"\" for a quote "
     "inside\n"},
    {"cert without certificates", "[pgpoold]\nauth_type = cert\n",
     "$D/t.ini:2: auth_type: cert without client certificates: set client_tls_sslmode to "
     "verify-full\n"},
    {"ldap without options", "[pgpoold]\nauth_type = ldap\n",
     "$D/t.ini:2: auth_type: ldap without a server: set auth_ldap_options\n"},
    {"bad ldap options", "[pgpoold]\nauth_ldap_options = ldapserver\n",
     "$D/t.ini:2: auth_ldap_options: \"ldapserver\" is not an option: name=value\n"},
    {"ldap options that say nothing", "[pgpoold]\nauth_ldap_options = ldapbasedn=dc=x\n",
     "$D/t.ini:2: auth_ldap_options: ldap without a server: ldapserver= or ldapurl=\n"},
    {"rule ldap that says nothing",
     "[pgpoold]\nauth_type = hba\nauth_hba_file = $D/hba_ldap_port.conf\n",
     "$D/hba_ldap_port.conf:1: ldapport: not a port: 1 to 65535\n"},
    {"any without user", "[pgpoold]\nauth_type = any\n[databases]\na = user=x\nb = host=h\n",
     "$D/t.ini:5: database b: user: is missing, but auth_type any takes no user from clients: "
     "user=NAME\n"},
    {"auth_query without $1", "[pgpoold]\nauth_user = asker\nauth_query = select 1\n",
     "$D/t.ini:3: auth_query: does not ask for the user, whose name is $1: a query with $1 in "
     "it\n"},
    {"auth_query of a database without $1",
     "[databases]\na = auth_user=asker auth_query='select 1'\n",
     "$D/t.ini:2: database a: auth_query: does not ask for the user, whose name is $1: a query "
     "with $1 in it\n"},
    {"auth_dbname is the console", "[pgpoold]\nauth_dbname = pgbouncer\n",
     "$D/t.ini:2: auth_dbname: cannot use the reserved \"pgbouncer\" database as an auth_dbname: "
     "any other\n"},
    {"long socket folder",
     "[pgpoold]\nunix_socket_dir = "
     "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "\n",
     "$D/t.ini:2: unix_socket_dir: 93 bytes are too long for a socket's path: at most 92\n"},
};

static void test_faults(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct config *c = load(bad[i].text, &errors);

        if (c != NULL) {
            fail_msg("taken: %s", bad[i].name);
        }
        assert_faults_in_dir(bad[i].name, &errors, bad[i].faults);
    }
    assert_null(config_load("/nonexistent/t.ini", &errors));
    assert_faults("none", &errors,
                  "/nonexistent/t.ini: cannot be opened: No such file or directory\n");
}

static const char *const fine[] = {
    "[pgpoold]\nlisten_addr = 10.0.0.1, 127.0.0.11\nhttp_port = 6432\n",
    "[pgpoold]\nmin_pool_size = 20\n",
    "[databases]\na = pool_size=4\n[pgpoold]\nmin_pool_size=5\n",
    "[pgpoold]\nmin_pool_size = 500\ndefault_pool_size = 0\n", /* no limit */
    "[databases]\na = min_pool_size=5 pool_size=5\nb = minsize=500 maxsize=0\n",
    "[pgpoold]\nauth_type = cert\n%include $D/cert.inc\n",
    "[pgpoold]\nauth_type = any\n[databases]\n* = user=x\n",
    "[pgpoold]\nauth_type = ldap\nauth_ldap_options = ldapurl=\"ldap://h/dc=x?uid\"\n",
    "[pgpoold]\nauth_user = asker\nauth_query = select usename, passwd from lookup($1)\n",
    "[pgpoold]\nauth_query = \n", /* nobody asks */
    "[pgpoold]\nclient_tls_protocols = all\nclient_tls_dheparams = none\n",
    "[pgpoold]\nserver_tls_protocols = tlsv1.2,tlsv1.3\n",
    "[pgpoold]\nsyslog_facility = local0\n",
    "[pgpoold]\npool_recycle = -1\n",
    "[pgpoold]\nauth_dbname = nowhere\n", /* told to the client who needs it, as PgBouncer does */
};

static void test_what_is_fine(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_LEN(fine); i++) {
        config_free(good(fine[i]));
    }
}

/* The example with its defaults taken out of their comments is a configuration, and changes nothing. */
static void test_the_example_is_a_configuration(void **state UNUSED)
{
    const char *slash = strstr(__FILE__, "tests/unit/");
    struct config_errors errors = CONFIG_ERRORS_INIT;
    struct config *c;
    struct settings defaults;
    char path[512];
    char line[1024];
    FILE *in;
    FILE *out;
    unsigned n = 0;
    const struct option *o = NULL;

    snprintf(path, sizeof(path), "%.*spgpoold.ini.example", (int)(slash - __FILE__), __FILE__);
    in = fopen(path, "r");
    assert_non_null(in);
    out = fopen(test_path(&dir, "example.ini"), "w");
    assert_non_null(out);
    while (fgets(line, sizeof(line), in) != NULL) {
        bool taken_out = line[0] == ';' && line[1] != ' ' && line[1] != ';' && line[1] != '\n';

        n += taken_out;
        fputs(taken_out ? line + 1 : line, out);
    }
    fclose(in);
    fclose(out);
    assert_true(n > 100);
    c = config_load(test_path(&dir, "example.ini"), &errors);
    assert_faults("example", &errors, "");
    assert_true(settings_init(&defaults));
    while ((o = option_next(OPTION_GLOBAL, o)) != NULL) {
        if (strcmp(o->name, "conffile") != 0 &&
            !option_is_equal(o, OPTION_GLOBAL, &c->settings, &defaults)) {
            fail_msg("%s", o->name);
        }
        if (c->places[option_index(o)].line == 0) {
            fail_msg("%s is not in the example", o->name);
        }
    }
    assert_true(secret_equals(&config_database(c, "reports")->password, "it's secret", 11));
    settings_done(&defaults);
    config_free(c);
}

/* ---- SET ---- */

static void test_set(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    struct config *c = good("[pgpoold]\nauth_file = $D/users.txt\n[databases]\na = pool_size=4\n");
    static const struct {
        const char *name;
        const char *text;
        const char *faults;
    } sets[] = {
        {"pool_mode", "statement", ""},
        {"timeout", "5", ""},
        {"listen_port", "7",
         "listen_port: cannot change at run time: set it in the file and restart\n"},
        {"pool_mod", "session", "pool_mod: is not an option: perhaps pool_mode is meant\n"},
        {"pool_mode", "x",
         "pool_mode: \"x\" is not known: one of session, transaction, statement\n"},
        {"min_pool_size", "21", "min_pool_size: 21 is more than default_pool_size: at most 20\n"},
        {"auth_type", "hba", "auth_type: hba without rules: set auth_hba_file\n"},
        {"auth_type", "any",
         "$D/t.ini:4: database a: user: is missing, but auth_type any takes no user from clients: "
         "user=NAME\n"},
        {"auth_file", "/nonexistent/users.txt",
         "auth_file: /nonexistent/users.txt: cannot be read: No such file or directory\n"},
        {"client_tls_sslmode", "require",
         "client_tls_sslmode: TLS without a key: set client_tls_key_file and "
         "client_tls_cert_file\n"},
    };

    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        bool ok = config_set(c, sets[i].name, sets[i].text, &errors);

        assert_true(ok == (*sets[i].faults == '\0'));
        assert_faults_in_dir(sets[i].name, &errors, sets[i].faults);
    }
    assert_int_equal(c->settings.pool_mode, POOL_MODE_STATEMENT);
    assert_int_equal(c->settings.query_timeout_us, 5 * USEC_PER_SEC);
    assert_int_equal(c->settings.min_pool_size, 0);
    assert_int_equal(c->settings.auth_type, AUTH_TYPE_MD5);
    assert_int_equal(userlist_count(c->userlist), 2);
    assert_true(config_set(c, "auth_file", "", &errors));
    assert_null(c->userlist);
    assert_true(config_set(c, "auth_hba_file", test_path(&dir, "hba_plain.conf"), &errors));
    assert_null(c->hba);
    assert_true(config_set(c, "auth_type", "hba", &errors));
    assert_non_null(c->hba);
    assert_true(config_set(c, "auth_type", "md5", &errors));
    assert_null(c->hba);
    config_errors_done(&errors);
    config_free(c);
}

static int make_dir(void **state UNUSED)
{
    char *expanded;

    test_dir_make(&dir);
    test_write(&dir, "users.txt", "\"a\" \"b\"\n\"c\" \"d\"\n");
    test_write(&dir, "users_bad.txt", "\"a\" \"b\"\n\"c\"\n");
    test_write(&dir, "hba.conf", "local all all peer map=m\n");
    test_write(&dir, "hba_plain.conf", "local all all md5\n");
    test_write(&dir, "hba_cert.conf", "# tls\nhostssl all all all cert\n");
    test_write(&dir, "hba_ldap.conf", "local all all ldap\n");
    test_write(&dir, "hba_ldap_port.conf", "local all all ldap ldapserver=h ldapport=0\n");
    test_write(&dir, "hba_bad.conf", "local\n");
    test_write(&dir, "ident.conf", "m a b\n");
    test_write(&dir, "ident2.conf", "n a b\n");
    test_write(&dir, "key.pem", "no key, but a file\n");
    test_write(&dir, "bad.inc", "# included\nlisten_port = x\n");
    test_write(&dir, "min.inc", "minsize = 4\n");
    expanded = expand("client_tls_sslmode = verify-full\nclient_tls_key_file = $D/key.pem\n"
                      "client_tls_cert_file = $D/key.pem\nclient_tls_ca_file = $D/key.pem\n");
    test_write(&dir, "cert.inc", expanded);
    free(expanded);
    return 0;
}

static int remove_dir(void **state UNUSED)
{
    test_dir_remove(&dir);
    return 0;
}

static const struct {
    const char *name;
    const char *text;
    const char *warnings;
} warned[] = {
    {"nothing", "[pgpoold]\nauth_file = $D/users_scram.txt\n", ""},
    {"abstract socket, files in the root and here",
     "[pgpoold]\nauth_user = x\nunix_socket_dir = @x\nlogfile = /log\npidfile = pid\n", ""},
    {"trust and verifiers",
     "[databases]\na = host=h\n[pgpoold]\nauth_type = trust\nauth_file = $D/users_scram.txt\n",
     "$D/t.ini:4: auth_type: trust: clients give no key away, and auth_file has nothing but SCRAM "
     "verifiers, which open "
     "no server: plain passwords in auth_file, user= and password= in [databases], or "
     "scram-sha-256\n"},
    {"trust and verifiers, any database",
     "[databases]\n* = host=h\n[pgpoold]\nauth_type = trust\nauth_file = $D/users_scram.txt\n",
     "$D/t.ini:4: auth_type: trust: clients give no key away, and auth_file has nothing but SCRAM "
     "verifiers, which open "
     "no server: plain passwords in auth_file, user= and password= in [databases], or "
     "scram-sha-256\n"},
    {"trust and passwords",
     "[databases]\na = host=h\n[pgpoold]\nauth_type = trust\nauth_file = $D/users.txt\n", ""},
    {"trust and databases with a password",
     "[databases]\na = user=x password=y\n[pgpoold]\nauth_type = trust\nauth_file = "
     "$D/users_scram.txt\n",
     ""},
    {"scram and verifiers",
     "[databases]\na = host=h\n[pgpoold]\nauth_type = scram-sha-256\nauth_file = "
     "$D/users_scram.txt\n",
     ""},
    {"trust and a certificate for servers",
     "[databases]\na = host=h\n[pgpoold]\nauth_type = trust\nauth_file = $D/users_scram.txt\n"
     "server_tls_cert_file = $D/key.pem\nserver_tls_key_file = $D/key.pem\n",
     ""},
    {"only the console's users have passwords",
     "[databases]\na = host=h\n[pgpoold]\nauth_type = trust\nauth_file = "
     "$D/users_admin.txt\nadmin_users = boss\n",
     "$D/t.ini:4: auth_type: trust: clients give no key away, and auth_file has nothing but SCRAM "
     "verifiers, which open "
     "no server: plain passwords in auth_file, user= and password= in [databases], or "
     "scram-sha-256\n"},
    {"nobody", "[pgpoold]\nauth_type = scram-sha-256\n",
     "$D/t.ini:2: auth_type: scram-sha-256: nobody can log in without auth_file or auth_user: set "
     "one of them\n"},
    {"nobody by default", "[pgpoold]\n",
     "auth_type: md5: nobody can log in without auth_file or auth_user: set one of them\n"},
    {"auth_user of a database", "[databases]\na = auth_user=x\n", ""},
    {"auth_dbname",
     "[databases]\na = auth_user=x auth_dbname=none\n[pgpoold]\nauth_user = x\nauth_dbname = nil\n",
     "$D/t.ini:5: auth_dbname: there is no database nil: an entry of [databases]\n"
     "$D/t.ini:2: database a: auth_dbname: there is no database none: an entry of [databases]\n"},
    {"auth_dbname that is there", "[databases]\na = auth_user=x auth_dbname=a\n", ""},
    {"auth_dbname of any name", "[databases]\n* = auth_user=x auth_dbname=none\n", ""},
    {"rules that are not read", "[pgpoold]\nauth_user = x\nauth_hba_file = $D/none\n",
     "$D/t.ini:3: auth_hba_file: is not read: only auth_type hba does\n"},
};

static void test_warnings(void **state UNUSED)
{
    static const char verifier[] =
        "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    char text[512];

    (void)snprintf(text, sizeof(text), "\"app\" \"%s\"\n", verifier);
    test_write(&dir, "users_scram.txt", text);
    (void)snprintf(text, sizeof(text), "\"app\" \"%s\"\n\"boss\" \"plain\"\n", verifier);
    test_write(&dir, "users_admin.txt", text);
    for (size_t i = 0; i < ARRAY_LEN(warned); i++) {
        struct config_errors warnings = CONFIG_ERRORS_INIT;
        struct config *c = good(warned[i].text);

        config_warnings(c, &warnings);
        assert_faults_in_dir(warned[i].name, &warnings, warned[i].warnings);
        config_free(c);
    }
}

static void break_it(const struct config *c, struct config_errors *errors)
{
    config_fault(c->places, errors, "listen_port", "%s", "is not to my liking: another");
}

static void test_faults_of_others(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;

    test_write(&dir, "t.ini", "[pgpoold]\npool_mode = x\nlisten_port = 7\n");
    assert_null(config_load_with(test_path(&dir, "t.ini"), break_it, &errors));
    assert_faults_in_dir(
        "both", &errors,
        "$D/t.ini:2: pool_mode: \"x\" is not known: one of session, transaction, statement\n"
        "$D/t.ini:3: listen_port: is not to my liking: another\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_empty_file_is_all_defaults),
        cmocka_unit_test(test_a_whole_file),
        cmocka_unit_test(test_hba_and_ident_are_read_for_auth_type_hba),
        cmocka_unit_test(test_console_names),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_warnings),
        cmocka_unit_test(test_faults_of_others),
        cmocka_unit_test(test_what_is_fine),
        cmocka_unit_test(test_the_example_is_a_configuration),
        cmocka_unit_test(test_set),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
