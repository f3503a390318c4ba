# SPDX-License-Identifier: ISC
"""How many clients may be there."""

import contextlib

import pytest

from waiting import eventually
from wire import Client, ServerError


def target(server, **more):
    return " ".join(f"{k}={v}" for k, v in {"host": server.host, "port": server.port, **more}.items())


def refused_for(daemon, option, **who):
    text = "no more connections allowed" if option == "max_client_conn" else "client connections exceeded"
    with pytest.raises(ServerError) as caught:
        with Client.connect(daemon.host, daemon.port) as client:
            client.login(**who)
    message = caught.value.message
    assert (message.severity, message.code, message.text) == (
        "FATAL", "53300", f"{text} ({option})")


@contextlib.contextmanager
def clients(daemon, n, **who):
    eventually(lambda: not daemon.show("clients", state="login"), "clients of before are gone")
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Client.connect(daemon.host, daemon.port)).login(**who) for _ in range(n)]


def test_max_client_conn(pgpoold):
    daemon = pgpoold(max_client_conn=3)
    with clients(daemon, 3) as living:
        refused_for(daemon, "max_client_conn")
        refused_for(daemon, "max_client_conn", database="test2")
        assert all(client.run("SELECT 1") == [("1",)] for client in living)
        assert daemon.admin("SHOW VERSION"), "the console is always open"
    eventually(lambda: daemon.psql("SELECT 1") == [(1,)])


def test_max_client_conn_changes_at_run_time(pgpoold):
    daemon = pgpoold(max_client_conn=2)
    with clients(daemon, 2):
        refused_for(daemon, "max_client_conn")
        daemon.admin("SET max_client_conn = 5")
        with clients(daemon, 2):
            daemon.admin("SET max_client_conn = 1")
            refused_for(daemon, "max_client_conn")


def test_max_client_conn_counts_each_end_once(pgpoold):
    """Clients that end in every way must all give their place back."""
    daemon = pgpoold(max_client_conn=3, auth_type="md5")
    for _ in range(5):
        Client.connect(daemon.host, daemon.port).close()
        for login in ({"password": "wrong"}, {"password": "x", "user": "nobody"}, {"password": "app-secret"}):
            with contextlib.suppress(ServerError):
                with Client.connect(daemon.host, daemon.port) as client:
                    client.login(**login)
    eventually(lambda: len(daemon.show("clients")) == 1)
    with clients(daemon, 3, password="app-secret"):
        assert len(daemon.show("clients")) == 4


@pytest.mark.parametrize("where", ("global", "database"))
def test_max_db_client_connections(pgpoold, pg, where):
    more = {"max_db_client_connections": 2} if where == "database" else {}
    daemon = pgpoold(databases={"test": target(pg, **more), "other": target(pg, dbname="test2", **more)},
                     max_db_client_connections=2 if where == "global" else 0)
    with clients(daemon, 2), clients(daemon, 1, database="other", user="scram_user"):
        refused_for(daemon, "max_db_client_connections")
        refused_for(daemon, "max_db_client_connections", user="scram_user")
        with clients(daemon, 1, database="other"):
            refused_for(daemon, "max_db_client_connections", database="other")
        row, = daemon.show("databases", name="test")
        assert (row["max_client_connections"], row["current_client_connections"]) == (2, 2)
    eventually(lambda: daemon.psql("SELECT 1") == [(1,)])


def test_a_databases_own_limit_goes_before_the_global_one(pgpoold, pg):
    daemon = pgpoold(databases={"test": target(pg, max_db_client_connections=3), "other": target(pg, dbname="test2")},
                     max_db_client_connections=1)
    with clients(daemon, 3), clients(daemon, 1, database="other"):
        refused_for(daemon, "max_db_client_connections")
        refused_for(daemon, "max_db_client_connections", database="other")


@pytest.mark.parametrize("where", ("global", "user"))
def test_max_user_client_connections(pgpoold, where):
    daemon = pgpoold(max_user_client_connections=2 if where == "global" else 0,
                     users={"app": "max_user_client_connections=2"} if where == "user" else {})
    with clients(daemon, 1), clients(daemon, 1, database="test2"):
        refused_for(daemon, "max_user_client_connections")
        refused_for(daemon, "max_user_client_connections", database="test2")
        with clients(daemon, 1, user="scram_user"):
            row, = daemon.show("users", name="app")
            assert (row["max_user_client_connections"], row["current_client_connections"]) == (2, 2)
    assert daemon.psql("SELECT 1") == [(1,)]


def test_a_users_own_limit_goes_before_the_global_one(pgpoold):
    daemon = pgpoold(max_user_client_connections=1, users={"app": "max_user_client_connections=3"})
    with clients(daemon, 3), clients(daemon, 1, user="scram_user"):
        refused_for(daemon, "max_user_client_connections")
        refused_for(daemon, "max_user_client_connections", user="scram_user")


def test_the_limit_of_a_user_is_of_whom_logs_in_not_of_the_forced_user(pgpoold, pg):
    daemon = pgpoold(databases={"test": target(pg, user="app")}, users={"scram_user": "max_user_client_connections=1"})
    with clients(daemon, 2, user="md5_user"), clients(daemon, 1, user="scram_user"):
        refused_for(daemon, "max_user_client_connections", user="scram_user")


def test_limits_are_told_only_after_the_password(pgpoold):
    """Else anybody could see how busy a database is."""
    daemon = pgpoold(max_db_client_connections=1, auth_type="md5")
    with clients(daemon, 1, password="app-secret"):
        with pytest.raises(ServerError, match="password authentication failed"):
            with Client.connect(daemon.host, daemon.port) as client:
                client.login(password="wrong")
        refused_for(daemon, "max_db_client_connections", password="app-secret")


def test_limits_change_with_reload(pgpoold):
    daemon = pgpoold(max_user_client_connections=1)
    with clients(daemon, 1):
        refused_for(daemon, "max_user_client_connections")
        daemon.reload(options={"max_user_client_connections": 2})
        with clients(daemon, 1):
            refused_for(daemon, "max_user_client_connections")


def test_unfinished_logins_do_not_pile_up(pgpoold):
    """A hundred that say nothing: after client_login_timeout their places are free."""
    daemon = pgpoold(max_client_conn=20, client_login_timeout=2, tcp_defer_accept=0)
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(Client.connect(daemon.host, daemon.port))
        eventually(lambda: daemon.psql("SELECT 1") == [(1,)])


def test_an_error_of_a_limit_reaches_psycopg(pgpoold):
    daemon = pgpoold(max_client_conn=2)
    with clients(daemon, 2):
        with pytest.raises(Exception, match=r"no more connections allowed \(max_client_conn\)"):
            daemon.connect()
