/* SPDX-License-Identifier: ISC */
#include "config/databases.h"
#include "config/options.h"
#include "config/options_doc.h"
#include "tests/unit/config_text.h"

#include <inttypes.h>

static const struct option *global(const char *name)
{
    const struct option *o = option_find(OPTION_GLOBAL, name);

    if (o == NULL) {
        fail_msg("no option %s", name);
    }
    return o;
}

static const char *shown(const struct settings *s, const char *name)
{
    static char text[512];
    struct buf b = BUF_INIT(sizeof(text) - 1);

    option_print(global(name), OPTION_GLOBAL, s, &b);
    snprintf(text, sizeof(text), "%s", buf_cstr(&b));
    buf_done(&b);
    return text;
}

/* ---- reading and printing, type by type ---- */

static const struct {
    const char *option;
    const char *text;
    const char *shown; /* NULL: refused */
    const char *why;
} value_cases[] = {
    /* bool */
    {"syslog", "1", "1", NULL},
    {"syslog", "0", "0", NULL},
    {"syslog", "on", "1", NULL},
    {"syslog", "OFF", "0", NULL},
    {"syslog", "yes", "1", NULL},
    {"syslog", "no", "0", NULL},
    {"syslog", "True", "1", NULL},
    {"syslog", "false", "0", NULL},
    {"syslog", "", NULL, "\"\" is neither on nor off: 0 or 1 (also off, on, no, yes, false, true)"},
    {"syslog", "2", NULL,
     "\"2\" is neither on nor off: 0 or 1 (also off, on, no, yes, false, true)"},
    {"syslog", "1 ", NULL,
     "\"1 \" is neither on nor off: 0 or 1 (also off, on, no, yes, false, true)"},
    /* int */
    {"listen_port", "1", "1", NULL},
    {"listen_port", "65535", "65535", NULL},
    {"listen_port", "0", NULL, "0 is too small: 1 to 65535"},
    {"listen_port", "-1", NULL, "-1 is too small: 1 to 65535"},
    {"listen_port", "65536", NULL, "65536 is too large: 1 to 65535"},
    {"listen_port", "99999999999999999999999", NULL,
     "99999999999999999999999 is too large: 1 to 65535"},
    {"listen_port", "", NULL, "\"\" is not a whole number: 1 to 65535"},
    {"listen_port", "-", NULL, "\"-\" is not a whole number: 1 to 65535"},
    {"listen_port", "64x", NULL, "\"64x\" is not a whole number: 1 to 65535"},
    {"listen_port", "6.5", NULL, "\"6.5\" is not a whole number: 1 to 65535"},
    {"tcp_keepcnt", "127", "127", NULL},
    {"tcp_keepcnt", "128", NULL, "128 is too large: 0 to 127"},
    {"server_lifetime_jitter", "91", NULL, "91 is too large: 0 to 90 percent"},
    {"peer_id", "16383", "16383", NULL},
    {"peer_id", "16384", NULL, "16384 is too large: 0 to 16383"},
    /* pool size */
    {"default_pool_size", "0", "0", NULL},
    {"default_pool_size", "1", "1", NULL},
    {"default_pool_size", "1000000", "1000000", NULL},
    {"default_pool_size", "1000001", NULL, "1000001 is too large: 0 to 1000000"},
    /* bytes */
    {"pkt_buf", "256", "256", NULL},
    {"pkt_buf", "255", NULL, "255 is too small: 256 to 1048576 bytes"},
    {"pkt_buf", "1048577", NULL, "1048577 is too large: 256 to 1048576 bytes"},
    {"max_packet_size", "2147483647", "2147483647", NULL},
    {"max_packet_size", "2147483648", NULL, "2147483648 is too large: 1024 to 2147483647 bytes"},
    /* durations */
    {"query_timeout", "0", "0", NULL},
    {"query_timeout", "0.0", "0", NULL},
    {"query_timeout", "15", "15", NULL},
    {"query_timeout", "0.5", "0.5", NULL},
    {"query_timeout", ".25", "0.25", NULL},
    {"query_timeout", "5.", "5", NULL},
    {"query_timeout", "1.000001", "1.000001", NULL},
    {"query_timeout", "0.0000001", "0.000001", NULL}, /* not 0, which would switch it off */
    {"query_timeout", "0.9999999", "1", NULL},
    {"query_timeout", "250ms", "0.25", NULL},
    {"query_timeout", "5s", "5", NULL},
    {"query_timeout", "2min", "120", NULL},
    {"query_timeout", "1.5h", "5400", NULL},
    {"query_timeout", "7d", "604800", NULL},
    {"query_timeout", "2147483647", "2147483647", NULL},
    {"query_timeout", "2147483647.000001", NULL,
     "2147483647.000001 is too large: 0 to 2147483647 seconds"},
    {"query_timeout", "2147483648", NULL, "2147483648 is too large: 0 to 2147483647 seconds"},
    {"query_timeout", "99999999999999999999999999", NULL,
     "99999999999999999999999999 is too large: 0 to 2147483647 seconds"},
    {"query_timeout", "9999999999d", NULL, "9999999999d is too large: 0 to 2147483647 seconds"},
    {"query_timeout", "-1", NULL,
     "\"-1\" is not a duration: seconds, 0 to 2147483647, fractions allowed, or a number with the "
     "unit ms, s, min, h or d"},
    {"query_timeout", "", NULL,
     "\"\" is not a duration: seconds, 0 to 2147483647, fractions allowed, or a number with the "
     "unit ms, s, min, h or d"},
    {"query_timeout", ".", NULL,
     "\".\" is not a duration: seconds, 0 to 2147483647, fractions allowed, or a number with the "
     "unit ms, s, min, h or d"},
    {"query_timeout", "1e3", NULL,
     "\"1e3\" is not a duration: seconds, 0 to 2147483647, fractions allowed, or a number with the "
     "unit ms, s, min, h or "
     "d"},
    {"query_timeout", "5 s", NULL,
     "\"5 s\" is not a duration: seconds, 0 to 2147483647, fractions allowed, or a number with the "
     "unit ms, s, min, h or "
     "d"},
    {"server_lifetime", "-1", "-1", NULL},
    {"server_lifetime", "0", "0", NULL},
    {"server_lifetime", "-2", NULL,
     "\"-2\" is not a duration: seconds, 0 to 2147483647, fractions allowed, or a number with the "
     "unit ms, s, min, h or d, "
     "or -1 for never"},
    {"stats_period", "0.1", "0.1", NULL},
    {"stats_period", "0.09", NULL, "0.09 is too small: 0.1 to 2147483647 seconds"},
    /* mode */
    {"unix_socket_mode", "0700", "0700", NULL},
    {"unix_socket_mode", "777", "0777", NULL},
    {"unix_socket_mode", "0", "0000", NULL},
    {"unix_socket_mode", "01000", NULL, "\"01000\" is not a file mode: octal 0000 to 0777"},
    {"unix_socket_mode", "0778", NULL, "\"0778\" is not a file mode: octal 0000 to 0777"},
    {"unix_socket_mode", "", NULL, "\"\" is not a file mode: octal 0000 to 0777"},
    {"unix_socket_mode", "77777777777777777777777777", NULL,
     "\"77777777777777777777777777\" is not a file mode: octal 0000 to 0777"},
    /* words */
    {"pool_mode", "session", "session", NULL},
    {"pool_mode", "Transaction", "transaction", NULL},
    {"pool_mode", "STATEMENT", "statement", NULL},
    {"pool_mode", "trans", NULL, "\"trans\" is not known: one of session, transaction, statement"},
    {"pool_mode", "", NULL, "\"\" is not known: one of session, transaction, statement"},
    {"auth_type", "scram-sha-256", "scram-sha-256", NULL},
    {"auth_type", "ldap", "ldap", NULL},
    {"auth_type", "reject", NULL,
     "\"reject\" is not known: one of any, trust, plain, md5, cert, scram-sha-256, hba, pam, ldap"},
    {"client_tls_sslmode", "verify-full", "verify-full", NULL},
    {"notify_mode", "refuse", "refuse", NULL},
    {"notify_gap", "notice", "notice", NULL},
    {"abandoned_query", "close", "close", NULL},
    /* text */
    {"listen_addr", "*", "*", NULL},
    {"listen_addr", "", "", NULL},
    {"connect_query", "set search_path to 'a;b', c # d", "set search_path to 'a;b', c # d", NULL},
};

static void test_values(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_LEN(value_cases); i++) {
        const struct option *o = global(value_cases[i].option);
        char why[CONFIG_WHY_SIZE] = "";
        char before[512];
        struct settings s;
        bool ok;

        assert_true(settings_init(&s));
        snprintf(before, sizeof(before), "%s", shown(&s, o->name));
        ok = option_set(o, OPTION_GLOBAL, &s, value_cases[i].text, why);
        if (ok != (value_cases[i].shown != NULL)) {
            fail_msg("%s = \"%s\": %s (%s)", o->name, value_cases[i].text, ok ? "taken" : "refused",
                     why);
        }
        if (strcmp(shown(&s, o->name), ok ? value_cases[i].shown : before) != 0) {
            fail_msg("%s = \"%s\": shown as \"%s\"", o->name, value_cases[i].text,
                     shown(&s, o->name));
        }
        if (!ok && strcmp(why, value_cases[i].why) != 0) {
            fail_msg("%s = \"%s\": says \"%s\"", o->name, value_cases[i].text, why);
        }
        settings_done(&s);
    }
}

static void test_a_long_wrong_value_is_cut(void **state UNUSED)
{
    char text[5001];
    char why[CONFIG_WHY_SIZE];
    struct settings s;
    const struct option *o = NULL;

    memset(text, 'x', 5000);
    text[5000] = '\0';
    assert_true(settings_init(&s));
    while ((o = option_next(OPTION_GLOBAL, o)) != NULL) {
        if (o->type == OPTION_STRING) {
            assert_true(option_set(o, OPTION_GLOBAL, &s, text, why));
            continue;
        }
        assert_false(option_set(o, OPTION_GLOBAL, &s, text, why));
        assert_true(strlen(why) < 300);
    }
    settings_done(&s);
}

/* Each number and duration of the table: its bounds are taken, what lies beyond is not. */
static void test_bounds_of_every_row(void **state UNUSED)
{
    const struct option *o = NULL;
    struct settings s;
    char why[CONFIG_WHY_SIZE];
    char text[64];
    unsigned n = 0;

    assert_true(settings_init(&s));
    while ((o = option_next(OPTION_GLOBAL, o)) != NULL) {
        int64_t unit = o->type == OPTION_DURATION ? (int64_t)USEC_PER_SEC : 1;

        if (o->type != OPTION_INT && o->type != OPTION_BYTES && o->type != OPTION_DURATION) {
            continue;
        }
        n++;
        snprintf(text, sizeof(text), "%" PRId64, (o->most / unit));
        assert_true(option_set(o, OPTION_GLOBAL, &s, text, why));
        assert_string_equal(shown(&s, o->name), text);
        snprintf(text, sizeof(text), "%" PRId64, (o->most / unit + 1));
        assert_false(option_set(o, OPTION_GLOBAL, &s, text, why));
        if (o->least % unit == 0) {
            snprintf(text, sizeof(text), "%" PRId64, (o->least / unit));
            assert_true(option_set(o, OPTION_GLOBAL, &s, text, why));
            snprintf(text, sizeof(text), "%" PRId64, (o->least / unit - 1));
            assert_false(option_set(o, OPTION_GLOBAL, &s, text, why));
        }
    }
    assert_true(n > 40);
    settings_done(&s);
}

/* ---- defaults: PgBouncer's, name by name ---- */

static const struct {
    const char *name;
    const char *shown;
    bool reload;
} defaults[] = {
    {"admin_users", "", true},
    {"application_name_add_host", "0", true},
    {"auth_dbname", "", true},
    {"auth_file", "", true},
    {"auth_hba_file", "", true},
    {"auth_ident_file", "", true},
    {"auth_ldap_options", "", true},
    {"auth_query",
     "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END FROM "
     "pg_authid WHERE rolname=$1 AND "
     "rolcanlogin",
     true},
    {"auth_type", "md5", true},
    {"auth_user", "", true},
    {"autodb_idle_timeout", "3600", true},
    {"cancel_wait_timeout", "10", true},
    {"client_idle_timeout", "0", true},
    {"client_login_timeout", "60", true},
    {"client_tls13_ciphers", "", true},
    {"client_tls_ca_file", "", true},
    {"client_tls_cert_file", "", true},
    {"client_tls_ciphers", "default", true},
    {"client_tls_dheparams", "auto", true},
    {"client_tls_ecdhcurve", "auto", true},
    {"client_tls_key_file", "", true},
    {"client_tls_protocols", "secure", true},
    {"client_tls_sslmode", "disable", true},
    {"conffile", "", true},
    {"default_pool_size", "20", true},
    {"disable_pqexec", "0", false},
    {"dns_max_ttl", "15", true},
    {"dns_nxdomain_ttl", "15", true},
    {"dns_zone_check_period", "0", true},
    {"idle_transaction_timeout", "0", true},
    {"ignore_startup_parameters", "", true},
    {"job_name", "pgpoold", false},
    {"listen_addr", "", false},
    {"listen_backlog", "128", false},
    {"listen_port", "6432", false},
    {"log_connections", "1", true},
    {"log_disconnections", "1", true},
    {"log_pooler_errors", "1", true},
    {"log_stats", "1", true},
    {"logfile", "", true},
    {"login_notify_message", "", true},
    {"max_client_conn", "100", true},
    {"max_db_client_connections", "0", true},
    {"max_db_connections", "0", true},
    {"max_packet_size", "2147483647", true},
    {"max_prepared_statements", "200", true},
    {"max_user_client_connections", "0", true},
    {"max_user_connections", "0", true},
    {"min_pool_size", "0", true},
    {"peer_id", "0", true},
    {"pidfile", "", false},
    {"pkt_buf", "4096", false},
    {"pool_mode", "session", true},
    {"pool_idle_timeout", "0", true},
    {"query_timeout", "0", true},
    {"query_wait_notify", "5", true},
    {"query_wait_timeout", "120", true},
    {"reserve_pool_size", "0", true},
    {"reserve_pool_timeout", "5", true},
    {"resolv_conf", "", false},
    {"sbuf_loopcnt", "5", true},
    {"scram_iterations", "4096", true},
    {"server_check_delay", "30", true},
    {"server_check_query", "<empty>", true},
    {"server_connect_timeout", "15", true},
    {"server_fast_close", "0", true},
    {"server_idle_timeout", "600", true},
    {"server_lifetime", "3600", true},
    {"server_login_retry", "15", true},
    {"server_reset_query", "DISCARD ALL", true},
    {"server_reset_query_always", "0", true},
    {"server_round_robin", "0", true},
    {"server_tls13_ciphers", "", true},
    {"server_tls_ca_file", "", true},
    {"server_tls_cert_file", "", true},
    {"server_tls_ciphers", "default", true},
    {"server_tls_key_file", "", true},
    {"server_tls_protocols", "secure", true},
    {"server_tls_sslmode", "prefer", true},
    {"so_reuseport", "0", false},
    {"stats_period", "60", true},
    {"stats_users", "", true},
    {"suspend_timeout", "10", true},
    {"syslog", "0", true},
    {"syslog_facility", "daemon", true},
    {"syslog_ident", "pgpoold", true},
    {"tcp_defer_accept", "1", true},
    {"tcp_keepalive", "1", true},
    {"tcp_keepcnt", "0", true},
    {"tcp_keepidle", "0", true},
    {"tcp_keepintvl", "0", true},
    {"tcp_socket_buffer", "0", true},
    {"tcp_user_timeout", "0", true},
    {"track_extra_parameters", "IntervalStyle", false},
    {"transaction_timeout", "0", true},
    {"unix_socket_dir", "/tmp", false},
    {"unix_socket_group", "", false},
    {"unix_socket_mode", "0777", false},
    {"user", "", false},
    {"verbose", "0", true},
    /* ours */
    {"echo", "0", true},
    {"log_min_duration", "0", true},
    {"log_format", "plain", true},
    {"echo_parameters", "0", true},
    {"connect_query", "", true},
    {"server_lifetime_jitter", "10", true},
    {"rollback_timeout", "10", true},
    {"abandoned_query", "cancel", true},
    {"notify_mode", "relay", true},
    {"notify_gap", "disconnect", true},
    {"notify_queue_size", "1024", true},
    {"max_listen_channels", "1000", true},
    {"notify_hub_idle", "60", true},
    {"auth_query_cache", "0", true},
    {"http_port", "0", false},
    {"http_addr", "127.0.0.1", false},
    {"http_tls_key_file", "", true},
    {"http_tls_cert_file", "", true},
    {"http_auth_file", "", true},
    {"http_max_connections", "64", true},
    {"http_timeout", "15", true},
    {"metrics_max_extra", "100", true},
    {"proxy_protocol_port", "0", false},
    {"proxy_protocol_from", "", true},
};

static void test_defaults(void **state UNUSED)
{
    const struct option *o = NULL;
    struct settings s;
    size_t n = 0;

    assert_true(settings_init(&s));
    for (size_t i = 0; i < ARRAY_LEN(defaults); i++) {
        if (strcmp(shown(&s, defaults[i].name), defaults[i].shown) != 0) {
            fail_msg("%s: \"%s\"", defaults[i].name, shown(&s, defaults[i].name));
        }
        if (global(defaults[i].name)->reload != defaults[i].reload) {
            fail_msg("%s: reload", defaults[i].name);
        }
    }
    while ((o = option_next(OPTION_GLOBAL, o)) != NULL) {
        n++;
        if (strcmp(o->name, "verbose") == 0) {
            assert_string_equal(option_default_text(o), "");
        } else if (strcmp(option_default_text(o), shown(&s, o->name)) != 0) {
            fail_msg("%s: default \"%s\" is shown as \"%s\"", o->name, option_default_text(o),
                     shown(&s, o->name));
        }
    }
    assert_int_equal(n, ARRAY_LEN(defaults));
    assert_int_equal(s.default_pool_size, 20);
    assert_int_equal(s.query_wait_timeout_us, 120 * USEC_PER_SEC);
    assert_int_equal(s.unix_socket_mode, 0777);
    settings_done(&s);
    settings_done(&s); /* twice does no harm */
}

static void test_special_values(void **state UNUSED)
{
    struct settings s;
    char why[CONFIG_WHY_SIZE];

    assert_true(settings_init(&s));
    assert_true(option_set(global("default_pool_size"), OPTION_GLOBAL, &s, "0", why));
    assert_int_equal(s.default_pool_size, POOL_SIZE_UNLIMITED);
    assert_true(option_set(global("server_lifetime"), OPTION_GLOBAL, &s, "-1", why));
    assert_true(s.server_lifetime_us == USEC_NEVER);
    assert_true(option_set(global("server_lifetime"), OPTION_GLOBAL, &s, "0", why));
    assert_int_equal(s.server_lifetime_us, 0);
    settings_done(&s);
}

/* ---- finding ---- */

static void test_aliases(void **state UNUSED)
{
    static const struct {
        enum option_scope scope;
        const char *alias;
        const char *name;
    } cases[] = {
        {OPTION_GLOBAL, "minsize", "min_pool_size"},
        {OPTION_GLOBAL, "maxsize", "default_pool_size"},
        {OPTION_GLOBAL, "pool_recycle", "server_lifetime"},
        {OPTION_GLOBAL, "timeout", "query_timeout"},
        {OPTION_GLOBAL, "on_connect", "connect_query"},
        {OPTION_DATABASE, "minsize", "min_pool_size"},
        {OPTION_DATABASE, "maxsize", "pool_size"},
        {OPTION_DATABASE, "pool_recycle", "server_lifetime"},
        {OPTION_DATABASE, "on_connect", "connect_query"},
        {OPTION_DATABASE, "reserve_pool", "reserve_pool_size"},
        {OPTION_USER, "maxsize", "pool_size"},
        {OPTION_USER, "timeout", "query_timeout"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct option *o = option_find(cases[i].scope, cases[i].alias);

        if (o == NULL || strcmp(o->name, cases[i].name) != 0) {
            fail_msg("%s", cases[i].alias);
        }
    }
    assert_null(option_find(OPTION_GLOBAL, "host"));
    assert_null(option_find(OPTION_GLOBAL, "Listen_Port"));
    assert_null(option_find(OPTION_GLOBAL, ""));
    assert_null(option_find(OPTION_PEER, "dbname"));
}

static void test_nearest(void **state UNUSED)
{
    static const struct {
        enum option_scope scope;
        const char *name;
        const char *nearest;
    } cases[] = {
        {OPTION_GLOBAL, "listen_prot", "listen_port"},
        {OPTION_GLOBAL, "defalt_pool_size", "default_pool_size"},
        {OPTION_GLOBAL, "max_client_connections", "max_db_client_connections"},
        {OPTION_GLOBAL, "server_livetime", "server_lifetime"},
        {OPTION_GLOBAL, "xyzzy", NULL},
        {OPTION_GLOBAL, "", NULL},
        {OPTION_DATABASE, "hots", "host"},
        {OPTION_DATABASE, "db_name", "dbname"},
        {OPTION_USER, "qeury_timeout", "query_timeout"},
        {OPTION_PEER, "prot", "port"},
        {OPTION_GLOBAL, "listen_portlisten_portlisten_portlisten_portlisten_port", NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *got = option_nearest(cases[i].scope, cases[i].name);

        if ((got == NULL) != (cases[i].nearest == NULL) ||
            (got != NULL && strcmp(got, cases[i].nearest) != 0)) {
            fail_msg("%s: %s", cases[i].name, got == NULL ? "nothing" : got);
        }
    }
}

/* What the table itself promises: a unique name in each scope, a help sentence, words for enums, a place in a record. */
static void test_table_is_sound(void **state UNUSED)
{
    for (unsigned scope = 0; scope < OPTION_SCOPES; scope++) {
        const struct option *o = NULL;

        while ((o = option_next(scope, o)) != NULL) {
            size_t len = strlen(o->help);

            assert_ptr_equal(option_find(scope, o->name), o);
            for (size_t i = 0; i < ARRAY_LEN(o->aliases); i++) {
                assert_true(o->aliases[i] == NULL || option_find(scope, o->aliases[i]) == o);
            }
            assert_true(len > 10 && o->help[len - 1] == '.' && strstr(o->help, "  ") == NULL);
            assert_true(o->type != OPTION_ENUM || o->words != NULL);
            assert_true(o->group != NULL);
            assert_true(scope != OPTION_GLOBAL || o->text != NULL);
            assert_true(option_index(o) < option_count());
        }
    }
}

static void test_by_name(void **state UNUSED)
{
    const struct option *o = NULL;
    const struct option *prev = NULL;
    size_t n = 0;

    while ((o = option_next_by_name(OPTION_GLOBAL, o)) != NULL) {
        assert_true(prev == NULL || strcmp(prev->name, o->name) < 0);
        prev = o;
        n++;
    }
    assert_int_equal(n, ARRAY_LEN(defaults));
}

static void test_lists(void **state UNUSED)
{
    assert_true(option_list_has("a,b", "a"));
    assert_true(option_list_has(" a , b ", "b"));
    assert_true(option_list_has("a,,b", "b"));
    assert_true(option_list_has("extra float,x", "extra float"));
    assert_false(option_list_has("a,b", ""));
    assert_false(option_list_has("", "a"));
    assert_false(option_list_has(",", ""));
    assert_false(option_list_has("ab", "a"));
    assert_false(option_list_has("a", "ab"));
    assert_false(option_list_has("A", "a"));
}

/* ---- copy and reload ---- */

static unsigned n_different(const struct settings *a, const struct settings *b)
{
    const struct option *o = NULL;
    unsigned n = 0;

    while ((o = option_next(OPTION_GLOBAL, o)) != NULL) {
        n += option_is_equal(o, OPTION_GLOBAL, a, b) ? 0 : 1;
    }
    return n;
}

static void test_copies_are_equal_and_apart(void **state UNUSED)
{
    struct settings a;
    struct settings b;
    char why[CONFIG_WHY_SIZE];

    assert_true(settings_init(&a));
    assert_true(option_set(global("listen_addr"), OPTION_GLOBAL, &a, "10.0.0.1", why));
    assert_true(settings_copy(&b, &a));
    assert_int_equal(n_different(&a, &b), 0);
    assert_ptr_not_equal(a.listen_addr, b.listen_addr);
    assert_true(option_set(global("listen_addr"), OPTION_GLOBAL, &b, "", why));
    assert_true(option_set(global("pool_mode"), OPTION_GLOBAL, &b, "statement", why));
    assert_true(option_set(global("query_timeout"), OPTION_GLOBAL, &b, "1ms", why));
    assert_true(option_set(global("pkt_buf"), OPTION_GLOBAL, &b, "8192", why));
    assert_true(option_set(global("unix_socket_mode"), OPTION_GLOBAL, &b, "0700", why));
    assert_true(option_set(global("syslog"), OPTION_GLOBAL, &b, "1", why));
    assert_int_equal(n_different(&a, &b), 6);
    assert_string_equal(a.listen_addr, "10.0.0.1");
    settings_done(&a);
    settings_done(&b);
}

static void test_reload_keeps_what_is_fixed(void **state UNUSED)
{
    struct settings running;
    struct settings next;
    struct config_errors warnings = CONFIG_ERRORS_INIT;
    char why[CONFIG_WHY_SIZE];

    assert_true(settings_init(&running));
    assert_true(settings_init(&next));
    assert_true(option_set(global("listen_port"), OPTION_GLOBAL, &next, "7000", why));
    assert_true(option_set(global("listen_addr"), OPTION_GLOBAL, &next, "::1", why));
    assert_true(option_set(global("max_client_conn"), OPTION_GLOBAL, &next, "7", why));
    assert_true(settings_keep_fixed(&next, &running, &warnings));
    assert_faults(
        "reload", &warnings,
        "listen_addr: \"::1\" takes effect at the next restart: until then it stays \"\"\n"
        "listen_port: \"7000\" takes effect at the next restart: until then it stays \"6432\"\n");
    assert_int_equal(next.listen_port, 6432);
    assert_string_equal(next.listen_addr, "");
    assert_int_equal(next.max_client_conn, 7);
    settings_done(&running);
    settings_done(&next);
}

/* ---- documents ---- */

static char *read_file(const char *name)
{
    /* the tree is found from the name of this file, which is absolute or relative to where make runs */
    const char *slash = strstr(__FILE__, "tests/unit/");
    char path[512];
    char *text = calloc(1, 1 << 20);
    FILE *in;

    snprintf(path, sizeof(path), "%.*s%s", (int)(slash - __FILE__), __FILE__, name);
    in = fopen(path, "r");
    if (in == NULL) {
        fail_msg("%s cannot be opened", path);
    }
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 20) - 1, in) > 0);
    fclose(in);
    return text;
}

static char *printed(void (*print)(FILE *))
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    print(out);
    fclose(out);
    return text;
}

static void test_example_is_up_to_date(void **state UNUSED)
{
    char *file = read_file("pgpoold.ini.example");
    char *table = printed(options_print_example);

    if (strcmp(file, table) != 0) {
        fail_msg("pgpoold.ini.example lags behind config/options.c: run packaging/man/update.sh");
    }
    free(file);
    free(table);
}

static void test_man_page_is_up_to_date(void **state UNUSED)
{
    char *file = read_file("packaging/man/pgpoold.ini.5.scd");
    char *table = printed(options_print_man);

    if (strstr(file, table) == NULL) {
        fail_msg("packaging/man/pgpoold.ini.5.scd lags behind config/options.c: run "
                 "packaging/man/update.sh");
    }
    free(file);
    free(table);
}

static void test_help_names_every_option(void **state UNUSED)
{
    char *help = printed(options_print_help);
    char line[300];

    for (unsigned scope = 0; scope < OPTION_SCOPES; scope++) {
        const struct option *o = NULL;

        while ((o = option_next(scope, o)) != NULL) {
            if (scope == OPTION_GLOBAL) {
                snprintf(line, sizeof(line), "\n  %s = %s\n", o->name, o->text);
            } else {
                snprintf(line, sizeof(line), "\n  %s=\n", o->name);
            }
            if (strstr(help, line) == NULL) {
                fail_msg("%s", o->name);
            }
        }
    }
    free(help);
}

/* ---- the list of faults itself ---- */

static void test_faults(void **state UNUSED)
{
    struct config_errors e = CONFIG_ERRORS_INIT;

    assert_true(config_errors_is_empty(&e));
    config_errors_add(&e, "f.ini", 7, "port: %s", "bad");
    config_errors_add(&e, "f.ini", 0, "gone");
    config_errors_add(&e, NULL, 3, "no\x1b[31mwhere\n");
    config_errors_add(&e, "", 3, "x");
    assert_false(config_errors_is_empty(&e));
    assert_int_equal(config_errors_count(&e), 4);
    assert_faults("forms", &e, "f.ini:7: port: bad\nf.ini: gone\nno?[31mwhere?\nx\n");
    for (unsigned i = 0; i < CONFIG_ERRORS_MAX + 5; i++) {
        config_errors_add(&e, "f", i, "x");
    }
    assert_int_equal(e.n, CONFIG_ERRORS_MAX);
    assert_int_equal(e.n_dropped, 5);
    config_errors_done(&e);
    config_errors_done(&e);
    assert_true(config_errors_is_empty(&e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_a_long_wrong_value_is_cut),
        cmocka_unit_test(test_bounds_of_every_row),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_special_values),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_table_is_sound),
        cmocka_unit_test(test_by_name),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_copies_are_equal_and_apart),
        cmocka_unit_test(test_reload_keeps_what_is_fixed),
        cmocka_unit_test(test_example_is_up_to_date),
        cmocka_unit_test(test_man_page_is_up_to_date),
        cmocka_unit_test(test_help_names_every_option),
        cmocka_unit_test(test_faults),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
