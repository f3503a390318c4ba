# SPDX-License-Identifier: ISC
"""auth_query: users that only the server knows."""

import contextlib

import pytest

from wire import Client, ServerError, scram_fields

FUNCTION = """
CREATE OR REPLACE FUNCTION public.user_lookup(name text, OUT uname text, OUT phash text) RETURNS record AS
$$ SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname = name $$ LANGUAGE sql SECURITY DEFINER
"""


def target(server, **more):
    return " ".join(f"{k}={v}" for k, v in {"host": server.host, "port": server.port, **more}.items())


def refusal(daemon, user="app", database="test", password="wrong", **params):
    with Client.connect(daemon.host, daemon.port) as client:
        with pytest.raises(ServerError) as caught:
            client.login(user, database, password, **params)
        assert client.expect_closed() == []
        return caught.value.message


@pytest.fixture
def query_daemon(pgpoold):
    """A daemon that knows nobody but its auth_user postgres and the console's users."""
    def make(**options):
        return pgpoold(**{"auth_type": "scram-sha-256", "auth_user": "postgres",
                          "userlist": {"postgres": "postgres-secret", "admin": "admin-secret"}, **options})
    return make


@pytest.mark.parametrize("auth_type, user", (("scram-sha-256", "scram_user"), ("md5", "scram_user"),
                                             ("md5", "md5_user"), ("plain", "scram_user"), ("plain", "md5_user")))
def test_users_of_the_server_get_in(query_daemon, auth_type, user):
    daemon = query_daemon(auth_type=auth_type)
    assert daemon.psql("SELECT current_user", user=user) == [(user,)]


def test_a_wrong_password_is_refused(query_daemon):
    message = refusal(query_daemon(), "scram_user")
    assert (message.code, message.text) == ("28P01", "SASL authentication failed")


@pytest.mark.parametrize("auth_type, user", (("scram-sha-256", "scram_user"), ("md5", "scram_user"),
                                             ("md5", "md5_user"), ("plain", "md5_user")))
def test_unknown_users_look_like_a_wrong_password(query_daemon, auth_type, user):
    daemon = query_daemon(auth_type=auth_type)

    def shape(name):
        with Client.connect(daemon.host, daemon.port) as client:
            with pytest.raises(ServerError):
                client.login(name, "test", "wrong")
            return [(m.kind, m.how, len(m.data) if m.how != 11 else
                     {k: v if k == "i" else len(v) for k, v in scram_fields(m.data).items()}) if m.kind == "R"
                    else (m.kind, m.fields) for m in client.login_messages]

    expected = shape(user)
    assert shape("no_such_user") == expected


def test_auth_file_goes_first(query_daemon, pg):
    daemon = query_daemon(auth_type="md5", databases={"test": target(pg, user="app")},
                          userlist={"postgres": "postgres-secret", "scram_user": "from the file"})
    assert daemon.psql("SELECT current_user", user="scram_user", password="from the file") == [("app",)]
    refusal(daemon, "scram_user", password="scram-secret")


def test_a_changed_password_is_seen_at_the_next_login(query_daemon, pg):
    pg.create_user("changing", "first", "scram")
    try:
        daemon = query_daemon()
        assert daemon.psql("SELECT 1", user="changing", password="first") == [(1,)]
        pg.psql("ALTER ROLE changing PASSWORD 'second'")
        refusal(daemon, "changing", password="first")
        assert daemon.psql("SELECT 1", user="changing", password="second") == [(1,)]
        daemon.admin("RECONNECT")
        assert daemon.psql("SELECT 1", user="changing", password="second") == [(1,)]
    finally:
        daemon.stop()
        pg.drop_user("changing")


def test_an_expired_password_is_refused(query_daemon, pg):
    pg.create_user("expired", "secret", "scram", "VALID UNTIL '2001-01-01'")
    pg.create_user("not_yet", "secret", "scram", "VALID UNTIL '2101-01-01'")
    try:
        daemon = query_daemon()
        assert refusal(daemon, "expired", password="secret").text == "SASL authentication failed"
        assert daemon.psql("SELECT 1", user="not_yet", password="secret") == [(1,)]
    finally:
        daemon.stop()
        pg.drop_user("expired")
        pg.drop_user("not_yet")


def test_a_role_that_may_not_log_in_is_refused(query_daemon, pg):
    pg.psql("CREATE ROLE no_login PASSWORD 'secret'")
    try:
        assert refusal(query_daemon(), "no_login", password="secret").text == "SASL authentication failed"
    finally:
        pg.psql("DROP ROLE no_login")


def test_a_user_without_a_password_is_refused(query_daemon, pg):
    pg.create_user("no_password")
    try:
        assert refusal(query_daemon(), "no_password", password="").text == "SASL authentication failed"
    finally:
        pg.drop_user("no_password")


def test_a_function_of_ones_own(query_daemon, pg):
    pg.psql(FUNCTION, db="test")
    daemon = query_daemon(auth_query="SELECT uname, phash FROM public.user_lookup($1)", auth_user="app",
                          userlist={"app": "app-secret"})
    assert daemon.psql("SELECT current_user", user="scram_user") == [("scram_user",)]


@pytest.mark.parametrize("query", ("SELECT uname, phash FROM no_such_function($1)", "not even SQL $1",
                                   "SELECT $1::text",
                                   "SELECT rolname FROM pg_authid WHERE rolname = $1"))
def test_a_query_that_fails_is_a_configuration_error(query_daemon, query):
    daemon = query_daemon(auth_query=query)
    assert refusal(daemon, "scram_user", password="scram-secret").text == "bouncer config error"
    daemon.wait_log(r"test/scram_user@.*auth_query failed: .*(no_such_function|syntax error|must return a row)")
    assert daemon.admin("SHOW VERSION")


def test_of_several_rows_the_last_one_counts(query_daemon, pg):
    daemon = query_daemon(auth_query="SELECT $1::text, 'first' UNION ALL SELECT $1::text, 'second'",
                          databases={"test": target(pg, user="app")})
    assert refusal(daemon, "whoever", password="first").text == "SASL authentication failed"
    assert daemon.psql("SELECT current_user", user="whoever", password="second") == [("app",)]


def test_a_database_that_is_not_there_is_told_by_its_server(query_daemon, pg):
    """What an application that creates its database waits for."""
    daemon = query_daemon(databases={"*": f"host={pg.host} port={pg.port}"})
    message = refusal(daemon, "scram_user", database="not_yet", password="scram-secret")
    assert (message.code, message.text) == ("3D000", 'database "not_yet" does not exist')


def test_a_server_that_is_away_is_told_so(query_daemon):
    daemon = query_daemon(databases={"test": "host=127.0.0.1 port=1"})
    message = refusal(daemon, "scram_user", password="scram-secret")
    assert message.code == "08001" and message.text.startswith("server connection failed: ")


def test_an_auth_user_that_cannot_log_in_is_a_configuration_error(query_daemon):
    daemon = query_daemon(auth_user="no_such_role", userlist={"no_such_role": "x"})
    assert refusal(daemon, "scram_user", password="scram-secret").text == "bouncer config error"
    daemon.wait_log('auth_query failed: role "no_such_role" does not exist')


# ---------------------------------------------------------------------------------- where it runs

def test_it_runs_in_the_clients_database(query_daemon, pg):
    daemon = query_daemon(databases={"test": target(pg), "test2": target(pg)})
    daemon.psql("SELECT 1", user="scram_user", db="test2")
    assert pg.n_connections("test2", "postgres") == 1
    assert pg.n_connections("test", "postgres") == 0


def test_auth_dbname_moves_it(query_daemon, pg):
    daemon = query_daemon(databases={"test": target(pg), "users": target(pg, dbname="test2")}, auth_dbname="users")
    assert daemon.psql("SELECT current_database()", user="scram_user") == [("test",)]
    assert pg.n_connections("test2", "postgres") == 1
    assert pg.n_connections("test", "postgres") == 0


def test_each_database_has_its_own(query_daemon, pg):
    pg.psql(FUNCTION, db="test2")
    daemon = query_daemon(
        databases={"test": target(pg, auth_user="app", auth_dbname="users",
                                  auth_query="'SELECT uname, phash FROM public.user_lookup($1)'"),
                   "users": target(pg, dbname="test2")},
        auth_user=None, userlist={"app": "app-secret"})
    assert daemon.psql("SELECT current_user", user="scram_user") == [("scram_user",)]
    assert pg.n_connections("test2", "app") == 1
    assert refusal(daemon, "scram_user", "users", "scram-secret").text == "SASL authentication failed"


def test_it_works_with_autodb(query_daemon, pg):
    daemon = query_daemon(databases={"*": target(pg)})
    assert daemon.psql("SELECT current_user", "test2", "scram_user") == [("scram_user",)]


@pytest.mark.parametrize("name", ("pgbouncer", "pgpoold"))
@pytest.mark.parametrize("query", (None, "SELECT 1"))
def test_what_cannot_work_stops_the_start(query_daemon, name, query):
    daemon = query_daemon(**({"auth_query": query} if query else {"auth_dbname": name}), wait=False)
    daemon.wait_exit(1)
    assert ("auth_query: does not ask for the user" if query else
            f'auth_dbname: cannot use the reserved "{name}" database as an auth_dbname') in daemon.log


def test_an_auth_dbname_that_does_not_exist(query_daemon, pg):
    daemon = query_daemon(databases={"test": target(pg)}, auth_dbname="nowhere")
    assert refusal(daemon, "scram_user").text == 'authentication database "nowhere" is not configured'
    assert daemon.admin("SHOW VERSION")


def test_an_auth_dbname_that_is_disabled(query_daemon, pg):
    daemon = query_daemon(databases={"test": target(pg), "users": target(pg, dbname="test2")}, auth_dbname="users")
    daemon.admin("DISABLE users")
    assert refusal(daemon, "scram_user").text == 'authentication database "users" is disabled'
    daemon.admin("ENABLE users")
    assert daemon.psql("SELECT 1", user="scram_user") == [(1,)]


# ---------------------------------------------------------------------------------- kept for a while

@pytest.fixture
def asked(pg):
    """How often auth_query was run: a function that counts its calls."""
    pg.psql("""CREATE SEQUENCE asked; CREATE FUNCTION asked_lookup(name text) RETURNS TABLE (u text, p text) AS $$
               SELECT name, rolpassword FROM (SELECT nextval('public.asked')) n, pg_authid WHERE rolname = name
               $$ LANGUAGE sql SECURITY DEFINER""", db="test")
    yield lambda: pg.psql("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM asked", db="test")[0][0]
    pg.psql("DROP FUNCTION asked_lookup; DROP SEQUENCE asked", db="test")


COUNTED = "SELECT u, p FROM public.asked_lookup($1)"


@pytest.fixture
def changing(pg):
    """A user whose password may be changed: changing("new", "md5")."""
    def change(password, how):
        pg.psql(f"SET password_encryption = '{how}'; ALTER ROLE changing PASSWORD '{password}'")
    pg.create_user("changing", "first", "trust")
    yield change
    pg.drop_user("changing")


@pytest.mark.parametrize("cache, times", [(0, 3), (600, 1)])
@pytest.mark.parametrize("auth_type", ["scram-sha-256", "md5", "plain"])
def test_the_answer_is_used_again(query_daemon, asked, changing, auth_type, cache, times):
    changing("first", "md5" if auth_type == "md5" else "scram-sha-256")
    daemon = query_daemon(auth_type=auth_type, auth_query=COUNTED, auth_query_cache=cache)
    for _ in range(3):
        assert daemon.psql("SELECT current_user", user="changing", password="first") == [("changing",)]
    assert asked() == times
    daemon.stop()


@pytest.mark.parametrize("auth_type, how", [("md5", "md5"), ("plain", "md5"), ("plain", "scram-sha-256")])
def test_a_login_that_fails_with_a_kept_answer_asks_anew(query_daemon, asked, changing, auth_type, how):
    changing("first", how)
    daemon = query_daemon(auth_type=auth_type, auth_query=COUNTED, auth_query_cache=600)
    assert daemon.psql("SELECT 1", user="changing", password="first") == [(1,)]
    changing("second", how)
    assert daemon.psql("SELECT 1", user="changing", password="second") == [(1,)]
    assert asked() == 2
    assert refusal(daemon, "changing", password="first").text == "password authentication failed"
    assert refusal(daemon, "changing", password="nonsense").text == "password authentication failed"
    assert daemon.psql("SELECT 1", user="changing", password="second") == [(1,)]
    daemon.stop()


def test_with_scram_the_next_login_asks_anew(query_daemon, asked, changing):
    """The client's proof belongs to the salt that it was told."""
    changing("first", "scram-sha-256")
    daemon = query_daemon(auth_query=COUNTED, auth_query_cache=600)
    assert daemon.psql("SELECT 1", user="changing", password="first") == [(1,)]
    changing("second", "scram-sha-256")
    refusal(daemon, "changing", password="second")
    assert daemon.psql("SELECT 1", user="changing", password="second") == [(1,)]
    assert asked() == 2
    refusal(daemon, "changing", password="first")
    daemon.stop()


def test_who_does_not_exist_is_asked_for_each_time(query_daemon, asked, pg):
    daemon = query_daemon(auth_query=COUNTED, auth_query_cache=600)
    refusal(daemon, "newcomer", password="x")
    refusal(daemon, "newcomer", password="x")
    assert asked() == 2
    pg.create_user("newcomer", "x", "scram")
    try:
        assert daemon.psql("SELECT current_user", user="newcomer", password="x") == [("newcomer",)]
    finally:
        daemon.stop()
        pg.drop_user("newcomer")


def test_a_user_that_is_gone_by_now_fails_like_any_other(query_daemon, asked, pg):
    pg.create_user("leaver", "x", "md5")
    daemon = query_daemon(auth_type="md5", auth_query=COUNTED, auth_query_cache=600)
    assert daemon.psql("SELECT 1", user="leaver", password="x") == [(1,)]
    daemon.admin("KILL test")
    daemon.admin("RESUME test")
    pg.drop_user("leaver")
    assert refusal(daemon, "leaver", password="y").text == "password authentication failed"
    assert refusal(daemon, "leaver", password="x").text == "password authentication failed"
    assert asked() == 3
    daemon.stop()


def test_a_reload_forgets_the_answers(query_daemon, asked, changing):
    changing("first", "scram-sha-256")
    daemon = query_daemon(auth_query=COUNTED, auth_query_cache=600)
    assert daemon.psql("SELECT 1", user="changing", password="first") == [(1,)]
    daemon.admin("RELOAD")
    assert daemon.psql("SELECT 1", user="changing", password="first") == [(1,)]
    assert asked() == 2
    daemon.stop()


def test_a_failed_query_after_a_kept_answer_is_a_configuration_error(query_daemon, asked, changing, pg):
    changing("first", "md5")
    daemon = query_daemon(auth_type="md5", auth_query=COUNTED, auth_query_cache=600)
    assert daemon.psql("SELECT 1", user="changing", password="first") == [(1,)]
    pg.psql("ALTER FUNCTION asked_lookup RENAME TO away", db="test")
    try:
        assert refusal(daemon, "changing", password="other").text == "bouncer config error"
    finally:
        pg.psql("ALTER FUNCTION away RENAME TO asked_lookup", db="test")
    assert daemon.psql("SELECT 1", user="changing", password="first") == [(1,)]
    daemon.stop()


# ---------------------------------------------------------------------------------- left alone by clients

def test_clients_cannot_bend_it_with_their_parameters(query_daemon, pg):
    """A table of the client's own named pg_authid, first in its search_path: never read."""
    pg.psql("""CREATE SCHEMA evil AUTHORIZATION app;
               CREATE TABLE evil.pg_authid AS SELECT 'scram_user'::name rolname, 'md5' || md5('mine' || 'scram_user')
               rolpassword, NULL::timestamptz rolvaliduntil, true rolcanlogin;
               GRANT USAGE ON SCHEMA evil TO public; GRANT SELECT ON evil.pg_authid TO public""", db="test")
    try:
        daemon = query_daemon(auth_type="md5", track_extra_parameters="IntervalStyle, search_path",
                              ignore_startup_parameters="extra_float_digits")
        for params in ({"search_path": "evil,pg_catalog"}, {"options": "-c search_path=evil,pg_catalog"},
                       {"role": "app"}, {"options": "-c default_transaction_read_only=on -c statement_timeout=1"}):
            with contextlib.suppress(ServerError):
                with Client.connect(daemon.host, daemon.port) as client:
                    client.login("scram_user", "test", "scram-secret", **params)
            refusal(daemon, "scram_user", password="mine", **params)
            assert daemon.psql("SELECT current_user", user="scram_user") == [("scram_user",)]
    finally:
        daemon.stop()
        pg.psql("DROP SCHEMA evil CASCADE", db="test")


def test_a_session_of_auth_user_itself_does_not_bend_it(query_daemon, pg):
    """auth_user's pool also serves clients that log in as auth_user: what they leave behind must not count."""
    pg.psql("""CREATE SCHEMA evil; CREATE TABLE evil.pg_authid AS SELECT 'scram_user'::name rolname,
               'md5' || md5('mine' || 'scram_user') rolpassword, NULL::timestamptz rolvaliduntil, true rolcanlogin""",
            db="test")
    try:
        daemon = query_daemon(auth_type="md5", pool_mode="transaction",
                              databases={"test": target(pg, pool_size=1)})
        daemon.psql("SET search_path = evil, pg_catalog", user="postgres")
        refusal(daemon, "scram_user", password="mine")
    finally:
        daemon.stop()
        pg.psql("DROP SCHEMA evil CASCADE", db="test")


def test_odd_user_names_are_values_and_never_sql(query_daemon, pg):
    name = "o'dd \"name\"; DROP TABLE x; --"
    pg.create_user(name, "secret", "scram")
    try:
        daemon = query_daemon()
        assert daemon.psql("SELECT current_user", user=name, password="secret") == [(name,)]
        refusal(daemon, "' OR 1=1 --")
    finally:
        daemon.stop()
        pg.drop_user(name)


# ---------------------------------------------------------------------------------- bad moments

def test_a_client_that_leaves_while_it_runs(query_daemon, pg, eventually):
    daemon = query_daemon(auth_query="SELECT $1::text, 'x' FROM pg_sleep(2)")
    with Client.connect(daemon.host, daemon.port) as client:
        client.send_startup("scram_user")
        eventually(lambda: [a for a in pg.activity("test", "postgres") if a["state"] == "active"])
    daemon.reload(options={"auth_query": None})
    eventually(lambda: daemon.psql("SELECT 1", user="scram_user") == [(1,)])


def test_a_slow_one_is_ended_by_client_login_timeout(query_daemon):
    daemon = query_daemon(auth_query="SELECT $1::text, 'x' FROM pg_sleep(30)", client_login_timeout=1)
    assert refusal(daemon, "scram_user").text == "client_login_timeout"


def test_the_server_dies_while_it_runs(query_daemon, pg, eventually):
    daemon = query_daemon(auth_query="SELECT $1::text, 'x' FROM pg_sleep(30)", server_login_retry=0)
    with Client.connect(daemon.host, daemon.port) as client:
        client.send_startup("scram_user")
        eventually(lambda: [a for a in pg.activity("test", "postgres") if a["state"] == "active"])
        pg.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres' "
                "AND pid <> pg_backend_pid() AND query LIKE '%pg_sleep(30)%'")
        assert client.expect("E").text == "bouncer config error"
    assert daemon.admin("SHOW VERSION")


def test_many_logins_at_once(query_daemon, pg):
    daemon = query_daemon(databases={"test": target(pg, pool_size=2)})
    clients = [Client.connect(daemon.host, daemon.port) for _ in range(30)]
    for client in clients:
        client.send_startup("scram_user")
    for client in clients:
        client.authenticate("scram_user", "scram-secret")
        client.close()
