/* SPDX-License-Identifier: ISC */
/* From entries and settings to targets, limits and credentials: without a socket, without a server. */
#include "daemon/reload_internal.h"

#include "daemon/client.h"
#include "daemon/server.h"
#include "tests/unit/scram_login.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct loop *loop;

/* A configuration from text; faults fail the test. */
static struct config *load(const char *text)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    char path[] = "/tmp/test_reload.XXXXXX";
    int fd = mkstemp(path);
    struct config *c;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
    c = config_load(path, &errors);
    (void)unlink(path);
    if (c == NULL) {
        print_error("%s\n", errors.n > 0 ? errors.text[0] : "?");
    }
    config_errors_done(&errors);
    assert_non_null(c);
    return c;
}

static struct server *serve(const char *text)
{
    struct server *s = server_new(loop, load(text), "test.ini");
    struct config_errors errors = CONFIG_ERRORS_INIT;

    assert_non_null(s);
    assert_true(reload_start(s, &errors));
    return s;
}

static struct pool *pool_of(struct server *s, const char *database, const char *user)
{
    struct database *db = reload_find_database(s, database);
    struct pool *pool;

    assert_non_null(db);
    pool = reload_get_pool(s, db, user);
    assert_non_null(pool);
    return pool;
}

/* --- targets --- */

static const struct {
    const char *name;
    const char *a;
    const char *b;
    bool same;
} pairs[] = {
    {"equal", "[databases]\nd = host=h port=1\n", "[databases]\nd = port=1 host=h pool_size=3\n",
     true},
    {"host", "[databases]\nd = host=h\n", "[databases]\nd = host=i\n", false},
    {"port", "[databases]\nd = host=h\n", "[databases]\nd = host=h port=5433\n", false},
    {"default port", "[databases]\nd = host=h\n", "[databases]\nd = host=h port=5432\n", true},
    {"dbname", "[databases]\nd = host=h\n", "[databases]\nd = host=h dbname=e\n", false},
    {"own dbname", "[databases]\nd = host=h\n", "[databases]\nd = host=h dbname=d\n", true},
    {"more hosts", "[databases]\nd = host=h\n", "[databases]\nd = host=h,h\n", false},
    {"balance", "[databases]\nd = host=h\n", "[databases]\nd = host=h load_balance_hosts=disable\n",
     false},
    {"timezone", "[databases]\nd = host=h\n", "[databases]\nd = host=h timezone=UTC\n", false},
    {"encoding", "[databases]\nd = host=h client_encoding=utf8\n",
     "[databases]\nd = host=h client_encoding=latin1\n", false},
    {"sslmode", "[databases]\nd = host=h\n",
     "[databases]\nd = host=h\n[pgpoold]\nserver_tls_sslmode=require\n", false},
    {"protocols", "[databases]\nd = host=h\n",
     "[databases]\nd = host=h\n[pgpoold]\nserver_tls_protocols=tlsv1.3\n", false},
    {"keepalive", "[databases]\nd = host=h\n",
     "[databases]\nd = host=h\n[pgpoold]\ntcp_keepidle=9\n", false},
    {"socket directory", "[databases]\nd =\n[pgpoold]\nunix_socket_dir=/tmp\n",
     "[databases]\nd = host=/tmp\n[pgpoold]\nunix_socket_dir=/\n", true},
};

static void test_targets(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        struct server *s = serve(pairs[i].a);
        struct config *other = load(pairs[i].b);
        struct target *a = reload_target(s, s->config, config_database(s->config, "d"));
        struct target *b = reload_target(s, other, config_database(other, "d"));

        assert_non_null(a);
        assert_non_null(b);
        if (reload_same_target(a, b) != pairs[i].same) {
            fail_msg("%s: %s", pairs[i].name, pairs[i].same ? "not the same" : "the same");
        }
        target_unref(a);
        target_unref(b);
        config_free(other);
        server_free(s);
    }
}

static void test_template(void **state)
{
    struct server *s =
        serve("[databases]\nd = host=h,/tmp/x port=1,2 timezone=UTC datestyle='SQL, DMY' "
              "application_name=a client_encoding=utf8\n"
              "[pgpoold]\nserver_tls_sslmode=require\nserver_tls_protocols=tlsv1.2,tlsv1.3\n");
    const struct target *t = reload_find_database(s, "d")->target;
    const struct backend_connect_params *p = &t->template;

    (void)state;
    assert_int_equal(t->n_hosts, 2);
    assert_string_equal(t->hosts[1].name, "/tmp/x");
    assert_int_equal(t->hosts[1].port, 2);
    assert_string_equal(t->dbname, "d");
    assert_int_equal(p->sslmode, TLS_REQUIRE);
    assert_string_equal(p->tls_min, "TLSv1.2");
    assert_string_equal(p->tls_max, "TLSv1.3");
    assert_string_equal(p->application_name, "a");
    assert_string_equal(p->client_encoding, "utf8");
    assert_int_equal(p->n_extra, 2);
    assert_string_equal(p->extra[0].value, "SQL, DMY");
    assert_string_equal(p->extra[1].name, "TimeZone");
    assert_string_equal(params_get(t->startup, "timezone"), "UTC");
    server_free(s);
}

/* --- limits --- */

static const char limits_ini[] =
    "[databases]\n"
    "plain = host=127.0.0.1\n"
    "own = host=127.0.0.1 pool_size=5 min_pool_size=5 reserve_pool_size=2 pool_mode=transaction "
    "server_lifetime=7 query_wait_timeout=8 max_db_connections=11 connect_query='SELECT 1'\n"
    "forced = host=127.0.0.1 user=u\n"
    "keyed = host=127.0.0.1 user=u password=p\n"
    "[users]\n"
    "u = pool_size=3 reserve_pool_size=1 pool_mode=statement query_timeout=4 query_wait_timeout=6 "
    "max_user_connections=12\n"
    "[pgpoold]\n"
    "default_pool_size=10\nquery_timeout=99\nquery_wait_timeout=98\nserver_lifetime=97\n"
    "reserve_pool_timeout=1\nmax_prepared_statements=50\n";

static const struct {
    const char *database;
    const char *user;
    unsigned size;
    unsigned min_size;
    unsigned reserve;
    unsigned mode;
    unsigned prepared;
    usec_t lifetime_s;
    usec_t query_s;
    usec_t wait_s;
} limits[] = {
    {"plain", "x", 10, 0, 0, POOL_SESSION, 0, 97, 99, 98},
    {"own", "x", 5, 5, 2, POOL_TRANSACTION, 50, 7, 99, 8},
    {"plain", "u", 3, 0, 1, POOL_STATEMENT, 50, 97, 4, 6},
    {"own", "u", 3, 3, 1, POOL_STATEMENT, 50, 7, 4, 6},
    {"forced", "x", 3, 0, 1, POOL_STATEMENT, 50, 97, 4, 6},
};

static void test_limits(void **state)
{
    struct server *s = serve(limits_ini);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        struct pool *pool = pool_of(s, limits[i].database, limits[i].user);
        const struct pool_limits *l = &pool->limits;

        print_message("%s/%s\n", limits[i].database, limits[i].user);
        assert_int_equal(l->size, limits[i].size);
        assert_int_equal(l->min_size, limits[i].min_size);
        assert_int_equal(l->reserve_size, limits[i].reserve);
        assert_int_equal(l->mode, limits[i].mode);
        assert_int_equal(l->max_prepared, limits[i].prepared);
        assert_int_equal(l->server_lifetime_us, limits[i].lifetime_s * USEC_PER_SEC);
        assert_int_equal(l->query_timeout_us, limits[i].query_s * USEC_PER_SEC);
        assert_int_equal(l->query_wait_timeout_us, limits[i].wait_s * USEC_PER_SEC);
    }
    assert_string_equal(pool_of(s, "own", "x")->queries.connect, "SELECT 1");
    assert_string_equal(pool_of(s, "own", "x")->queries.check, " ");
    assert_int_equal(reload_find_database(s, "own")->max_connections, 11);
    assert_int_equal(reload_find_user(s, "u")->max_connections, 12);
    assert_true(pool_of(s, "forced", "x")->limits.forced_user);
    assert_ptr_equal(pool_of(s, "forced", "x"), pool_of(s, "forced", "y"));
    /* Without a password: what that user has proved by a login of its own. */
    assert_ptr_equal(pool_of(s, "forced", "x")->credentials, reload_find_user(s, "u")->credentials);
    assert_ptr_equal(pool_of(s, "keyed", "x")->credentials,
                     reload_find_database(s, "keyed")->forced);
    server_free(s);
}

static void test_set(void **state)
{
    struct server *s = serve(limits_ini);
    struct config_errors errors = CONFIG_ERRORS_INIT;
    struct pool *pool = pool_of(s, "plain", "x");

    (void)state;
    assert_true(reload_set(s, "default_pool_size", "33", &errors));
    assert_int_equal(pool->limits.size, 33);
    assert_true(reload_set(s, "server_check_query", "SELECT 2", &errors));
    assert_string_equal(pool->queries.check, "SELECT 2");
    assert_true(reload_set(s, "server_check_query", "", &errors));
    assert_string_equal(pool->queries.check, "");
    assert_true(config_errors_is_empty(&errors));
    assert_false(reload_set(s, "default_pool_size", "many", &errors));
    assert_false(reload_set(s, "listen_port", "1", &errors));
    assert_false(reload_set(s, "no_such_option", "1", &errors));
    assert_int_equal(errors.n, 3);
    assert_int_equal(pool->limits.size, 33);
    assert_false(reload_set(s, "server_tls_ciphers", "NO-SUCH-CIPHER", &errors));
    assert_int_equal(errors.n, 4);
    assert_string_equal(s->config->settings.server_tls_ciphers, "default");
    config_errors_done(&errors);
    server_free(s);
}

/* The reserve with a time of 0 is never used; a pool size of 0 is no limit. */
static void test_zeros(void **state)
{
    struct server *s = serve("[databases]\nd = host=127.0.0.1 pool_size=0 server_lifetime=-1\n"
                             "[pgpoold]\nreserve_pool_size=5\nreserve_pool_timeout=0\n");
    const struct pool_limits *l = &pool_of(s, "d", "x")->limits;

    (void)state;
    assert_int_equal(l->reserve_size, 0);
    assert_int_equal(l->size, POOL_SIZE_UNLIMITED);
    assert_true(l->server_lifetime_us == UINT64_MAX);
    server_free(s);
}

/* --- databases --- */

static void test_auto_databases(void **state)
{
    struct server *s =
        serve("[databases]\n* = host=127.0.0.1 user=f\nnamed = host=127.0.0.1\n[pgpoold]\n");
    struct database *db = reload_find_database(s, "any");

    (void)state;
    assert_non_null(db);
    assert_true(db->is_auto);
    assert_ptr_equal(reload_find_database(s, "any"), db);
    assert_string_equal(db->target->dbname, "any");
    assert_string_equal(reload_entry(db)->user, "f");
    assert_false(reload_find_database(s, "named")->is_auto);
    assert_null(reload_find_database(s, ""));
    assert_null(reload_find_database(s, "pgbouncer"));
    assert_null(reload_find_database(s, "pgpoold"));
    assert_string_equal(pool_of(s, "any", "x")->user->name, "f");
    assert_string_equal(reload_get_auth_pool(s, db, "x")->user->name, "x");
    assert_ptr_equal(reload_get_auth_pool(s, db, "x")->credentials,
                     reload_find_user(s, "x")->credentials);
    server_free(s);
}

static void test_too_many_auto_databases(void **state)
{
    struct server *s = serve("[databases]\n* = host=127.0.0.1\n[pgpoold]\n");
    struct database *first = reload_find_database(s, "0");

    (void)state;
    assert_non_null(first);
    first->n_clients = 1;
    for (unsigned i = 1; i < 4200; i++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "%u", i);
        assert_non_null(reload_find_database(s, name));
    }
    assert_int_equal(s->env->databases.n, 4096);
    assert_ptr_equal(reload_find_database(s, "0"), first);
    first->n_clients = 0;
    server_free(s);
}

/* --- secrets --- */

#define MD5_A "md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define MD5_B "md5bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static struct userlist *list_of(const char *text)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    FILE *in = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
    struct userlist *list;

    assert_non_null(in);
    list = userlist_load_stream(in, "list", &errors);
    (void)fclose(in);
    assert_non_null(list);
    return list;
}

static const struct {
    const char *name;
    const char *before;
    const char *now;
    const char *password; /* NULL: none */
    const char *md5;
} secrets[] = {
    {"plain", "\"u\" \"a\"\n", "\"u\" \"b\"\n", "b", ""},
    {"plain to md5", "\"u\" \"a\"\n", "\"u\" \"" MD5_A "\"\n", NULL, MD5_A},
    {"md5 to another", "\"u\" \"" MD5_A "\"\n", "\"u\" \"" MD5_B "\"\n", NULL, MD5_B},
    {"md5 to plain", "\"u\" \"" MD5_A "\"\n", "\"u\" \"a\"\n", "a", ""},
    {"taken off", "\"u\" \"a\"\n", "\"v\" \"a\"\n", NULL, ""},
    {"emptied", "\"u\" \"a\"\n", "\"u\" \"\"\n", NULL, ""},
};

static void test_secrets(void **state)
{
    struct server *s = serve("[databases]\nd = host=127.0.0.1\n[pgpoold]\n");
    struct pool_user *u = reload_find_user(s, "u");

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
        struct userlist *before = list_of(secrets[i].before);
        struct userlist *now = list_of(secrets[i].now);

        print_message("%s\n", secrets[i].name);
        reload_apply_secret(u, NULL, before);
        reload_apply_secret(u, before, now);
        assert_int_equal(secret_is_set(&u->credentials->password), secrets[i].password != NULL);
        if (secrets[i].password != NULL) {
            assert_string_equal(u->credentials->password.data, secrets[i].password);
        }
        assert_string_equal(u->credentials->md5, secrets[i].md5);
        userlist_free(before);
        userlist_free(now);
    }
    server_free(s);
}

/* What a client's login gave away stays as long as the verifier is the same. */
static void test_learnt_keys(void **state)
{
    struct server *s = serve("[databases]\nd = host=127.0.0.1\n[pgpoold]\n");
    struct pool_user *u = reload_find_user(s, "u");
    struct userlist *list = list_of("\"u\" \"" T_SECRET "\"\n");

    (void)state;
    assert_true(scram_secret_parse(T_SECRET, &u->credentials->scram));
    u->credentials->scram.has_client_key = true;
    reload_apply_secret(u, list, list);
    assert_true(u->credentials->scram.has_client_key);
    u->credentials->scram.stored_key[0] ^= 1;
    reload_apply_secret(u, list, list);
    assert_false(u->credentials->scram.has_client_key);
    userlist_free(list);
    server_free(s);
}

/* --- the server's own --- */

static void test_slots(void **state)
{
    struct server *s = serve("[databases]\nd = host=127.0.0.1\n[pgpoold]\n");
    static struct client clients[200]; /* only their addresses and numbers matter */

    (void)state;
    for (uint32_t i = 1; i <= ARRAY_LEN(clients); i++) {
        assert_int_equal(server_take_slot(s, &clients[i - 1]), i);
        clients[i - 1].vpid = i;
    }
    assert_ptr_equal(server_client_by_pid(s, 77), &clients[76]);
    server_give_slot(s, 77);
    server_give_slot(s, 5);
    assert_null(server_client_by_pid(s, 77));
    assert_null(server_client_by_pid(s, 0));
    assert_null(server_client_by_pid(s, UINT32_MAX));
    assert_int_equal(server_take_slot(s, &clients[0]), 5);
    assert_int_equal(server_take_slot(s, &clients[0]), 77);
    assert_int_equal(server_take_slot(s, &clients[0]), ARRAY_LEN(clients) + 1);
    server_free(s);
}

static void test_descriptors(void **state)
{
    static const struct {
        const char *ini;
        uint64_t more; /* than one client needs */
    } cases[] = {
        {"[databases]\nd = host=h\n[pgpoold]\nmax_client_conn=1\n", 20},
        {"[databases]\nd = host=h pool_size=3\ne = host=h "
         "reserve_pool_size=2\n[pgpoold]\nmax_client_conn=1\n",
         25},
        {"[databases]\nd = host=h pool_size=0 max_db_connections=7\n[pgpoold]\nmax_client_conn=1\n",
         7},
        {"[databases]\nd = host=h max_db_connections=7\n* = host=h\n[pgpoold]\nmax_client_conn=1\n",
         27},
        {"[databases]\n[pgpoold]\nmax_client_conn=101\n", 100},
    };
    struct config *none = load("[databases]\n[pgpoold]\nmax_client_conn=1\n");

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct config *c = load(cases[i].ini);

        assert_int_equal(server_descriptors_needed(c) - server_descriptors_needed(none),
                         cases[i].more);
        config_free(c);
    }
    config_free(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_template),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_auto_databases),
        cmocka_unit_test(test_too_many_auto_databases),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_learnt_keys),
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_descriptors),
    };
    struct log_settings quiet = {.to_stderr = false};
    int failed;

    loop = loop_new();
    clock_update();
    (void)!log_setup(&quiet);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    loop = loop_free(loop);
    return failed;
}
