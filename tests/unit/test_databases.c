/* SPDX-License-Identifier: ISC */
#include "config/databases.h"
#include "tests/unit/config_text.h"

static struct database_config *good(const char *name, const char *text)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    struct database_config *d = database_config_new(name, text, "t.ini", 7, &errors);

    assert_faults(text, &errors, "");
    assert_non_null(d);
    return d;
}

static void test_nothing_given(void **state UNUSED)
{
    struct database_config *d = good("shop", "");

    assert_string_equal(d->name, "shop");
    assert_false(d->is_autodb);
    assert_string_equal(d->file, "t.ini");
    assert_int_equal(d->line, 7);
    assert_string_equal(d->host, "");
    assert_int_equal(d->n_hosts, 1);
    assert_string_equal(d->hosts[0].name, "");
    assert_int_equal(d->hosts[0].port, 5432);
    assert_string_equal(d->dbname, "");
    assert_string_equal(d->user, "");
    assert_false(secret_is_set(&d->password));
    assert_string_equal(d->auth_user, "");
    assert_string_equal(d->auth_dbname, "");
    assert_string_equal(d->auth_query, "");
    assert_int_equal(d->pool_size, OPTION_UNSET);
    assert_int_equal(d->min_pool_size, OPTION_UNSET);
    assert_int_equal(d->reserve_pool_size, OPTION_UNSET);
    assert_int_equal(d->max_db_connections, OPTION_UNSET);
    assert_int_equal(d->max_db_client_connections, OPTION_UNSET);
    assert_int_equal(d->pool_mode, POOL_MODE_UNSET);
    assert_true(d->server_lifetime_us == OPTION_UNSET_US);
    assert_true(d->query_wait_timeout_us == OPTION_UNSET_US);
    assert_string_equal(d->connect_query, "");
    assert_int_equal(d->load_balance_hosts, LOAD_BALANCE_HOSTS_ROUND_ROBIN);
    assert_int_equal(d->target_session_attrs, TARGET_SESSION_ATTRS_ANY);
    assert_int_equal(d->channel_binding, CHANNEL_BINDING_WORD_PREFER);
    assert_string_equal(d->require_auth, "");
    assert_int_equal(d->echo, OPTION_UNSET);
    assert_null(database_config_free(d));
    assert_null(database_config_free(NULL));
}

static void test_everything_given(void **state UNUSED)
{
    struct database_config *d = good(
        "shop",
        "host=db1,db2 port=5433,5434 dbname='the shop' user=app password='it''s' auth_user=asker "
        "auth_dbname=postgres auth_query='select $1' pool_size=7 min_pool_size=2 "
        "reserve_pool_size=3 "
        "pool_mode=transaction max_db_connections=40 max_db_client_connections=50 "
        "server_lifetime=1.5 "
        "query_wait_timeout=250ms connect_query='select 1; select 2' client_encoding=UTF8 "
        "datestyle='ISO, "
        "YMD' timezone=Europe/Berlin application_name=x load_balance_hosts=disable "
        "target_session_attrs=read-write channel_binding=require require_auth='scram-sha-256, "
        "none' "
        "echo=1");

    assert_string_equal(d->host, "db1,db2");
    assert_string_equal(d->port, "5433,5434");
    assert_int_equal(d->n_hosts, 2);
    assert_string_equal(d->hosts[0].name, "db1");
    assert_int_equal(d->hosts[0].port, 5433);
    assert_string_equal(d->hosts[1].name, "db2");
    assert_int_equal(d->hosts[1].port, 5434);
    assert_string_equal(d->dbname, "the shop");
    assert_string_equal(d->user, "app");
    assert_true(secret_equals(&d->password, "it's", 4));
    assert_string_equal(d->auth_user, "asker");
    assert_string_equal(d->auth_dbname, "postgres");
    assert_string_equal(d->auth_query, "select $1");
    assert_int_equal(d->pool_size, 7);
    assert_int_equal(d->min_pool_size, 2);
    assert_int_equal(d->reserve_pool_size, 3);
    assert_int_equal(d->pool_mode, POOL_MODE_TRANSACTION);
    assert_int_equal(d->max_db_connections, 40);
    assert_int_equal(d->max_db_client_connections, 50);
    assert_int_equal(d->server_lifetime_us, 1500000);
    assert_int_equal(d->query_wait_timeout_us, 250000);
    assert_string_equal(d->connect_query, "select 1; select 2");
    assert_string_equal(d->client_encoding, "UTF8");
    assert_string_equal(d->datestyle, "ISO, YMD");
    assert_string_equal(d->timezone, "Europe/Berlin");
    assert_string_equal(d->application_name, "x");
    assert_int_equal(d->load_balance_hosts, LOAD_BALANCE_HOSTS_DISABLE);
    assert_int_equal(d->target_session_attrs, TARGET_SESSION_ATTRS_READ_WRITE);
    assert_int_equal(d->channel_binding, CHANNEL_BINDING_WORD_REQUIRE);
    assert_string_equal(d->require_auth, "scram-sha-256, none");
    assert_int_equal(d->echo, 1);
    database_config_free(d);
}

static void test_aliases_and_special_values(void **state UNUSED)
{
    struct database_config *d =
        good("shop",
             "minsize=1 maxsize=0 pool_recycle=-1 on_connect='set x to y' reserve_pool=4 echo=0");

    assert_int_equal(d->min_pool_size, 1);
    assert_int_equal(d->pool_size, POOL_SIZE_UNLIMITED);
    assert_true(d->server_lifetime_us == USEC_NEVER);
    assert_string_equal(d->connect_query, "set x to y");
    assert_int_equal(d->reserve_pool_size, 4);
    assert_int_equal(d->echo, 0);
    database_config_free(d);
    d = good("shop", "server_lifetime=0 pool_size=5 pool_size=6");
    assert_int_equal(d->server_lifetime_us, 0);
    assert_int_equal(d->pool_size, 6); /* the later one */
    database_config_free(d);
}

static void test_hosts(void **state UNUSED)
{
    static const struct {
        const char *text;
        const char *hosts; /* "name:port|" each */
    } cases[] = {
        {"host=::1", "::1:5432|"},
        {"host=10.0.0.1 port=1", "10.0.0.1:1|"},
        {"host=/var/run/postgresql port=65535", "/var/run/postgresql:65535|"},
        {"host=@abstract", "@abstract:5432|"},
        {"host=a,b,c port=6", "a:6|b:6|c:6|"},
        {"host='a , b' port='6 , 7'", "a:6|b:7|"},
        {"port=6000", ":6000|"},
        {"host=", ":5432|"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct database_config *d = good("x", cases[i].text);
        char text[200] = "";

        for (unsigned j = 0; j < d->n_hosts; j++) {
            sprintf(text + strlen(text), "%s:%u|", d->hosts[j].name, d->hosts[j].port);
        }
        assert_string_equal(text, cases[i].hosts);
        database_config_free(d);
    }
}

static const struct {
    const char *name;
    const char *text;
    const char *faults;
} bad[] = {
    {"shop", "pool_sise=5",
     "t.ini:7: database shop: pool_sise: is not known for a database: perhaps pool_size is "
     "meant\n"},
    {"shop", "xyzzy=5",
     "t.ini:7: database shop: xyzzy: is not known for a database: see pgpoold --help-config\n"},
    {"shop", "listen_port=5",
     "t.ini:7: database shop: listen_port: is not known for a database: it is a global option, for "
     "the section "
     "[pgpoold]\n"},
    {"shop", "pool_size=-1", "t.ini:7: database shop: pool_size: -1 is too small: 0 to 1000000\n"},
    {"shop",
     "pool_size=", "t.ini:7: database shop: pool_size: \"\" is not a whole number: 0 to 1000000\n"},
    {"shop", "minsize=x",
     "t.ini:7: database shop: minsize: \"x\" is not a whole number: 0 to 1000000\n"},
    {"shop", "pool_mode=none",
     "t.ini:7: database shop: pool_mode: \"none\" is not known: one of session, transaction, "
     "statement\n"},
    {"shop", "echo=2",
     "t.ini:7: database shop: echo: \"2\" is neither on nor off: 0 or 1 (also off, on, no, yes, "
     "false, true)\n"},
    {"shop", "target_session_attrs=best",
     "t.ini:7: database shop: target_session_attrs: \"best\" is not known: one of any, read-write, "
     "read-only, primary, "
     "standby, prefer-standby\n"},
    {"shop", "channel_binding=yes",
     "t.ini:7: database shop: channel_binding: \"yes\" is not known: one of prefer, require, "
     "disable\n"},
    {"shop", "require_auth=scram-sha-256,!md5",
     "t.ini:7: database shop: require_auth: \"!md5\" cannot be mixed with non-negative methods: "
     "all "
     "of them with ! or none\n"},
    {"shop", "port=0", "t.ini:7: database shop: port: \"0\" is not a port: 1 to 65535\n"},
    {"shop", "port=65536", "t.ini:7: database shop: port: \"65536\" is not a port: 1 to 65535\n"},
    {"shop", "port=x", "t.ini:7: database shop: port: \"x\" is not a port: 1 to 65535\n"},
    {"shop", "host=a port=1,2",
     "t.ini:7: database shop: port: 2 ports for 1 hosts: one for all, or one for each\n"},
    {"shop", "host=a,b,c port=1,2",
     "t.ini:7: database shop: port: 2 ports for 3 hosts: one for all, or one for each\n"},
    {"shop", "host=a,b port=1,", "t.ini:7: database shop: port: \"\" is not a port: 1 to 65535\n"},
    {"shop", "host=a,,b",
     "t.ini:7: database shop: host: an empty item in the list: host,host,...\n"},
    {"shop", "host=a,", "t.ini:7: database shop: host: an empty item in the list: host,host,...\n"},
    {"shop", "host='a b'",
     "t.ini:7: database shop: host: a blank inside a host: names, addresses or directories, "
     "comma-separated\n"},
    {"shop", "host=a port",
     "t.ini:7: database shop: a key without =: key=value pairs with blanks between them\n"},
    {"shop", "auth_dbname=pgbouncer",
     "t.ini:7: database shop: auth_dbname: cannot use the reserved \"pgbouncer\" database as an "
     "auth_dbname: any "
     "other\n"},
    {"pgbouncer", "",
     "t.ini:7: database pgbouncer: the name is reserved for the console: any other\n"},
    {"pgpoold", "", "t.ini:7: database pgpoold: the name is reserved for the console: any other\n"},
    {"", "", "t.ini:7: database : name of 0 bytes: 1 to 127\n"},
    {"shop", "pool_size=x foo_bar_baz=1 port=y dbname='z",
     "t.ini:7: database shop: pool_size: \"x\" is not a whole number: 0 to 1000000\n"
     "t.ini:7: database shop: foo_bar_baz: is not known for a database: see pgpoold --help-config\n"
     "t.ini:7: database shop: a quote without an end: 'value', and '' for a quote inside it\n"
     "t.ini:7: database shop: port: \"y\" is not a port: 1 to 65535\n"},
};

static void test_bad_entries(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct config_errors errors = CONFIG_ERRORS_INIT;

        assert_null(database_config_new(bad[i].name, bad[i].text, "t.ini", 7, &errors));
        assert_faults(bad[i].text, &errors, bad[i].faults);
    }
}

static void test_limits(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    char name[CONFIG_NAME_MAX + 2];
    char hosts[6 + 2 * DATABASE_HOSTS_MAX + 1] = "host=h";

    memset(name, 'n', sizeof(name));
    name[CONFIG_NAME_MAX] = '\0';
    database_config_free(good(name, ""));
    name[CONFIG_NAME_MAX] = 'n';
    name[CONFIG_NAME_MAX + 1] = '\0';
    assert_null(database_config_new(name, "", "f", 1, &errors));
    assert_int_equal(errors.n, 1);
    assert_non_null(strstr(errors.text[0], "name of 128 bytes: 1 to 127"));
    config_errors_done(&errors);

    for (unsigned i = 1; i < DATABASE_HOSTS_MAX; i++) {
        memcpy(hosts + 4 + 2 * i, ",h", 3);
    }
    database_config_free(good("x", hosts));
    memcpy(hosts + 4 + 2 * DATABASE_HOSTS_MAX, ",h", 3);
    assert_null(database_config_new("x", hosts, "f", 1, &errors));
    assert_faults("hosts", &errors, "f:1: database x: host: 65 hosts: at most 64\n");
}

static void test_the_password_is_in_no_message(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;

    assert_null(
        database_config_new("x", "password=geheim port=0 password='geheim", "f", 1, &errors));
    for (unsigned i = 0; i < errors.n; i++) {
        assert_null(strstr(errors.text[i], "geheim"));
    }
    config_errors_done(&errors);
}

static void test_autodb(void **state UNUSED)
{
    struct database_config *star =
        good("*", "host=a,b port=1,2 user=u password=p pool_size=3 connect_query='x'");
    struct database_config *d;

    assert_true(star->is_autodb);
    d = database_config_from_autodb(star, "other");
    assert_non_null(d);
    assert_true(d->is_autodb);
    assert_string_equal(d->name, "other");
    assert_string_equal(d->dbname, "other");
    assert_string_equal(d->user, "u");
    assert_true(secret_equals(&d->password, "p", 1));
    assert_int_equal(d->pool_size, 3);
    assert_int_equal(d->n_hosts, 2);
    assert_string_equal(d->hosts[1].name, "b");
    assert_int_equal(d->hosts[1].port, 2);
    assert_int_equal(d->line, 7);
    database_config_free(star);
    database_config_free(d);

    star = good("*", "dbname=fixed");
    d = database_config_from_autodb(star, "other");
    assert_non_null(d);
    assert_string_equal(d->name, "other");
    assert_string_equal(d->dbname, "fixed");
    database_config_free(star);
    database_config_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_given),
        cmocka_unit_test(test_everything_given),
        cmocka_unit_test(test_aliases_and_special_values),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_bad_entries),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_the_password_is_in_no_message),
        cmocka_unit_test(test_autodb),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
