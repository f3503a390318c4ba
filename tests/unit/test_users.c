/* SPDX-License-Identifier: ISC */
/* The entries of [users] and [peers]. */
#include "config/databases.h"
#include "tests/unit/config_text.h"

static void test_user_with_nothing(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    struct user_config *u = user_config_new("app", "", "t.ini", 3, &errors);

    assert_faults("nothing", &errors, "");
    assert_string_equal(u->name, "app");
    assert_int_equal(u->line, 3);
    assert_int_equal(u->pool_size, OPTION_UNSET);
    assert_int_equal(u->reserve_pool_size, OPTION_UNSET);
    assert_int_equal(u->pool_mode, POOL_MODE_UNSET);
    assert_int_equal(u->max_user_connections, OPTION_UNSET);
    assert_int_equal(u->max_user_client_connections, OPTION_UNSET);
    assert_true(u->query_timeout_us == OPTION_UNSET_US);
    assert_true(u->query_wait_timeout_us == OPTION_UNSET_US);
    assert_true(u->idle_transaction_timeout_us == OPTION_UNSET_US);
    assert_true(u->transaction_timeout_us == OPTION_UNSET_US);
    assert_true(u->client_idle_timeout_us == OPTION_UNSET_US);
    assert_int_equal(u->echo, OPTION_UNSET);
    assert_null(user_config_free(u));
    assert_null(user_config_free(NULL));
}

static void test_user_with_everything(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    struct user_config *u = user_config_new(
        "a b",
        "maxsize=0 reserve_pool_size=1 pool_mode=statement max_user_connections=2 "
        "max_user_client_connections=3 timeout=4 query_wait_timeout=5 idle_transaction_timeout=6 "
        "transaction_timeout=7 client_idle_timeout=0 echo=on",
        "t.ini", 3, &errors);

    assert_faults("everything", &errors, "");
    assert_int_equal(u->pool_size, POOL_SIZE_UNLIMITED);
    assert_int_equal(u->reserve_pool_size, 1);
    assert_int_equal(u->pool_mode, POOL_MODE_STATEMENT);
    assert_int_equal(u->max_user_connections, 2);
    assert_int_equal(u->max_user_client_connections, 3);
    assert_int_equal(u->query_timeout_us, 4 * USEC_PER_SEC);
    assert_int_equal(u->query_wait_timeout_us, 5 * USEC_PER_SEC);
    assert_int_equal(u->idle_transaction_timeout_us, 6 * USEC_PER_SEC);
    assert_int_equal(u->transaction_timeout_us, 7 * USEC_PER_SEC);
    assert_int_equal(u->client_idle_timeout_us, 0); /* off, which is not the same as not given */
    assert_int_equal(u->echo, 1);
    user_config_free(u);
}

static void test_peer(void **state UNUSED)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    struct peer_config *p = peer_config_new("1", "host=/tmp/p1", "t.ini", 3, &errors);

    assert_faults("peer", &errors, "");
    assert_int_equal(p->id, 1);
    assert_string_equal(p->target.name, "/tmp/p1");
    assert_int_equal(p->target.port, 6432);
    assert_int_equal(p->pool_size, OPTION_UNSET);
    assert_null(peer_config_free(p));
    p = peer_config_new("16383", "host=10.0.0.1 port=7 pool_size=8", "t.ini", 3, &errors);
    assert_faults("peer", &errors, "");
    assert_int_equal(p->id, 16383);
    assert_int_equal(p->target.port, 7);
    assert_int_equal(p->pool_size, 8);
    peer_config_free(p);
    assert_null(peer_config_free(NULL));
}

static const struct {
    const char *name;
    const char *text;
    const char *faults;
} bad_users[] = {
    {"", "", "t.ini:3: user : name of 0 bytes: 1 to 127\n"},
    {"app", "host=x",
     "t.ini:3: user app: host: is not known for a user: see pgpoold --help-config\n"},
    {"app", "pol_mode=session",
     "t.ini:3: user app: pol_mode: is not known for a user: perhaps pool_mode is meant\n"},
    {"app", "min_pool_size=1",
     "t.ini:3: user app: min_pool_size: is not known for a user: it is a global option, for the "
     "section [pgpoold]\n"},
    {"app", "timeout=soon",
     "t.ini:3: user app: timeout: \"soon\" is not a duration: seconds, 0 to 2147483647, fractions "
     "allowed, or a number "
     "with the unit ms, s, min, h or d\n"},
    {"app", "pool_size",
     "t.ini:3: user app: a key without =: key=value pairs with blanks between them\n"},
};

static const struct {
    const char *name;
    const char *text;
    const char *faults;
} bad_peers[] = {
    {"0", "host=x", "t.ini:3: peer 0: is not a peer_id: 1 to 16383\n"},
    {"16384", "host=x", "t.ini:3: peer 16384: is not a peer_id: 1 to 16383\n"},
    {"one", "host=x", "t.ini:3: peer one: is not a peer_id: 1 to 16383\n"},
    {"1", "",
     "t.ini:3: peer 1: host: is missing: a host, an address or the directory of a Unix socket\n"},
    {"1", "host=a,b", "t.ini:3: peer 1: host: several hosts: one\n"},
    {"1", "host=a port=70000", "t.ini:3: peer 1: port: \"70000\" is not a port: 1 to 65535\n"},
    {"1", "host=a port=1,2",
     "t.ini:3: peer 1: port: 2 ports for 1 hosts: one for all, or one for each\n"},
    {"1", "host=a dbname=x",
     "t.ini:3: peer 1: dbname: is not known for a peer: see pgpoold --help-config\n"},
};

static void test_bad_entries(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_LEN(bad_users); i++) {
        struct config_errors errors = CONFIG_ERRORS_INIT;

        assert_null(user_config_new(bad_users[i].name, bad_users[i].text, "t.ini", 3, &errors));
        assert_faults(bad_users[i].text, &errors, bad_users[i].faults);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad_peers); i++) {
        struct config_errors errors = CONFIG_ERRORS_INIT;

        assert_null(peer_config_new(bad_peers[i].name, bad_peers[i].text, "t.ini", 3, &errors));
        assert_faults(bad_peers[i].text, &errors, bad_peers[i].faults);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_user_with_nothing),
        cmocka_unit_test(test_user_with_everything),
        cmocka_unit_test(test_peer),
        cmocka_unit_test(test_bad_entries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
