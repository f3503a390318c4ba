# SPDX-License-Identifier: ISC
"""RELOAD by SIGHUP: all or nothing, and what it does to those who are connected."""

import os
import shutil
import signal
import socket
import ssl
import threading

import psycopg
import pytest

from account import give, server_account
from waiting import PATIENCE, eventually
from wire import Client, startup


def reload(daemon, *, works=True, **changes):
    """Changes the files, sends SIGHUP and waits until it is done."""
    if changes:
        daemon.change(**changes)
    before = len(daemon.log)
    daemon.signal(signal.SIGHUP)
    daemon.wait_log("configuration reloaded" if works else "everything stays as it was", after=before)
    return daemon.log[before:]


def entry(server, **more):
    return {"host": server.host, "port": server.port, **more}


def port_of_server(conn):
    return conn.execute("SELECT inet_server_port()").fetchone()[0]


def ask_for_tls(daemon, ca):
    """Logs in over TLS; the client, and the serial number of the certificate that the daemon showed."""
    client = Client.connect(daemon.host, daemon.port)
    assert client.ask_tls() == "S"
    client.start_tls(ssl.create_default_context(cafile=ca), "localhost")
    return client, client.sock.getpeercert()["serialNumber"]


# All or nothing

def test_a_bad_file_changes_nothing_and_says_where(pgpoold, pg):
    daemon = pgpoold(databases={"a": entry(pg, dbname="test")})
    daemon.psql("SELECT 1", db="a")
    said = reload(daemon, works=False, options={"default_pool_size": "many"},
                  databases={"b": entry(pg, dbname="test"), "c": "hots=a"})
    assert f"{daemon.ini_path}:" in said and "default_pool_size: " in said and "hots: " in said
    assert daemon.psql("SELECT 1", db="a") == [(1,)]
    with pytest.raises(psycopg.OperationalError, match="no such database|authentication failed"):
        daemon.psql("SELECT 1", db="b")


@pytest.mark.parametrize("options, why", [
    ({"auth_file": "/nowhere/users"}, "/nowhere/users"),
    ({"logfile": "/nowhere/log"}, "logfile: /nowhere/log"),
    ({"server_tls_ciphers": "NO-SUCH-CIPHER"}, "server_tls_ciphers: "),
    ({"client_tls_sslmode": "require"}, "client_tls_sslmode: "),
])
def test_what_cannot_be_applied_leaves_everything_as_it_was(pgpoold, pg, options, why):
    daemon = pgpoold(databases={"a": entry(pg, dbname="test")}, logfile="d.log")
    said = reload(daemon, works=False, options=options, databases={"b": entry(pg, dbname="test")})
    assert why in said
    assert daemon.psql("SELECT 1", db="a") == [(1,)]


def test_a_file_that_is_gone_changes_nothing(pgpoold):
    daemon = pgpoold()
    os.unlink(daemon.ini_path)
    reload(daemon, works=False)
    assert daemon.psql("SELECT 1") == [(1,)]


def test_an_option_that_needs_a_restart_is_a_warning(pgpoold):
    daemon = pgpoold()
    assert "WARNING listen_backlog: " in reload(daemon, options={"listen_backlog": 7})
    assert daemon.psql("SELECT 1") == [(1,)]


def test_the_command_line_stays_above_the_file(pgpoold):
    daemon = pgpoold(args=["-q", "-u", server_account().pw_name], logfile="d.log")
    daemon.wait_log("process up")
    assert "WARNING" not in reload(daemon, options={"verbose": 1})
    daemon.psql("SELECT 1")
    assert daemon.stderr == ""


# Databases

def test_a_new_database_can_be_used(pgpoold, pg):
    daemon = pgpoold(databases={"a": entry(pg, dbname="test")})
    reload(daemon, databases={"a": entry(pg, dbname="test"), "b": entry(pg, dbname="postgres")})
    assert daemon.psql("SELECT current_database()", db="b") == [("postgres",)]


def test_clients_of_a_removed_database_are_told(pgpoold, pg):
    daemon = pgpoold(databases={"a": entry(pg, dbname="test"), "b": entry(pg, dbname="test")}, pool_mode="transaction")
    idle, busy, other = daemon.connect("a"), daemon.connect("a", autocommit=False), daemon.connect("b")
    busy.execute("SELECT 1")
    other.execute("SELECT 1")
    reload(daemon, databases={"b": entry(pg, dbname="test")})
    for conn in (idle, busy):
        with pytest.raises(psycopg.OperationalError, match="database removed"):
            conn.execute("SELECT 2")
    assert other.execute("SELECT 2").fetchone() == (2,)
    eventually(lambda: pg.n_connections() == 1, "its server connections are gone")
    with pytest.raises(psycopg.OperationalError, match="no such database|authentication failed"):
        daemon.connect("a")
    reload(daemon, databases={"a": entry(pg, dbname="postgres"), "b": entry(pg, dbname="test")})
    assert daemon.psql("SELECT current_database()", db="a") == [("postgres",)]


def test_a_login_under_way_in_a_removed_database_is_told(pgpoold, pg):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        daemon = pgpoold(databases={"a": {"host": "127.0.0.1", "port": silent.getsockname()[1]}})
        client = Client.connect(daemon.host, daemon.port)
        client.send(startup({"user": "app", "database": "a"}))
        daemon.wait_log("login attempt: db=a")
        reload(daemon, databases={"b": entry(pg)})
        assert client.expect("E").text == "database removed"
        client.expect_closed()
        client.close()


def test_a_moved_database_uses_its_new_server(pgpoold, pg, other_pg):
    daemon = pgpoold(databases={"a": entry(pg, dbname="test")}, pool_mode="transaction")
    idle, busy = daemon.connect("a"), daemon.connect("a", autocommit=False)
    assert port_of_server(idle) == pg.port
    assert port_of_server(busy) == pg.port
    reload(daemon, databases={"a": entry(other_pg, dbname="test")})
    assert port_of_server(idle) == other_pg.port
    assert port_of_server(busy) == pg.port  # its transaction goes on where it began
    busy.commit()
    assert port_of_server(busy) == other_pg.port
    busy.commit()
    eventually(lambda: pg.n_connections() == 0, "nothing is left on the old server")


def test_an_unchanged_database_keeps_its_connections(pgpoold, pg):
    daemon = pgpoold(databases={"a": entry(pg, dbname="test")}, pool_mode="transaction")
    conn = daemon.connect("a")
    pid = conn.execute("SELECT pg_backend_pid()").fetchone()
    reload(daemon, options={"default_pool_size": 7, "query_wait_timeout": 11})
    assert conn.execute("SELECT pg_backend_pid()").fetchone() == pid


@pytest.mark.parametrize("options", [{"connect_query": "SET work_mem = '1234kB'"}, {"server_tls_sslmode": "require"}])
def test_what_makes_connections_different_replaces_them(pgpoold, pg, options):
    daemon = pgpoold(databases={"a": entry(pg, dbname="test")}, pool_mode="transaction", server_tls_sslmode="disable")
    conn = daemon.connect("a")
    pid = conn.execute("SELECT pg_backend_pid()").fetchone()
    reload(daemon, options=options)
    assert conn.execute("SELECT pg_backend_pid()").fetchone() != pid
    assert conn.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (
        "server_tls_sslmode" in options,)
    if "connect_query" in options:
        assert conn.execute("SHOW work_mem").fetchone() == ("1234kB",)


def test_clients_leave_when_the_forced_user_changes(pgpoold, pg):
    daemon = pgpoold(databases={"a": entry(pg, dbname="test", user="app")}, pool_mode="transaction")
    conn = daemon.connect("a", user="scram_user")
    assert conn.execute("SELECT current_user").fetchone() == ("app",)
    reload(daemon, databases={"a": entry(pg, dbname="test", user="postgres")})
    with pytest.raises(psycopg.OperationalError, match="database configuration changed"):
        conn.execute("SELECT 1")
    assert daemon.psql("SELECT current_user", db="a", user="scram_user") == [("postgres",)]
    reload(daemon, databases={"a": entry(pg, dbname="test")})
    assert daemon.psql("SELECT current_user", db="a", user="app") == [("app",)]


def test_a_new_password_of_the_forced_user_is_used(pgpoold, pg):
    daemon = pgpoold(databases={"a": entry(pg, dbname="test", user="scram_user", password="wrong")},
                     server_login_retry=0)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        daemon.psql("SELECT 1", db="a")
    reload(daemon, databases={"a": entry(pg, dbname="test", user="scram_user", password="scram-secret")})
    assert daemon.psql("SELECT current_user", db="a") == [("scram_user",)]


def test_a_forced_user_without_a_password_has_the_one_of_auth_file(pgpoold, pg):
    daemon = pgpoold(databases={"a": entry(pg, dbname="test", user="scram_user")})
    assert daemon.psql("SELECT current_user", db="a") == [("scram_user",)]


def test_startup_parameters_of_an_entry_reach_the_server(pgpoold, pg):
    daemon = pgpoold(databases={"a": entry(pg, dbname="test", timezone="'Asia/Tokyo'", datestyle="'SQL, DMY'",
                                           application_name="pooled")}, pool_mode="transaction")
    with daemon.connect("a") as conn:
        assert conn.execute("SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'").fetchone() == ("Asia/Tokyo",)


# Pools

def test_the_minimum_of_a_forced_user_is_there_before_any_client(pgpoold, pg):
    daemon = pgpoold(databases={"a": entry(pg, dbname="test", user="app", min_pool_size=3)})
    eventually(lambda: pg.n_connections() == 3, "three connections")
    reload(daemon, databases={"a": entry(pg, dbname="test", user="app", min_pool_size=5)})
    eventually(lambda: pg.n_connections() == 5, "five connections")
    reload(daemon, databases={"a": entry(pg, dbname="test", user="scram_user", min_pool_size=2)})
    eventually(lambda: pg.n_connections() == 2, "two connections, of the other user")
    reload(daemon, databases={"b": entry(pg, dbname="test")})
    eventually(lambda: pg.n_connections() == 0, "none")


def test_a_larger_pool_serves_those_who_wait(pgpoold, pg):
    daemon = pgpoold(default_pool_size=1, pool_mode="transaction", databases={"test": entry(pg)})
    first, second = daemon.connect(autocommit=False), daemon.connect()
    first.execute("SELECT 1")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(second.execute("SELECT 2").fetchone()))
    thread.start()
    thread.join(0.3)
    assert answers == []
    reload(daemon, options={"default_pool_size": 2})
    thread.join(PATIENCE)
    assert answers == [(2,)]


def test_a_users_entry_counts_more_than_the_databases(pgpoold, pg):
    daemon = pgpoold(pool_mode="session", databases={"test": entry(pg, pool_mode="statement", pool_size=5)},
                     users={"app": {"pool_mode": "transaction"}})
    with daemon.connect(autocommit=False) as conn:
        conn.execute("SELECT 1")
        conn.execute("SELECT 2")
    with pytest.raises(psycopg.Error, match="transaction blocks not allowed in statement pooling mode"):
        with daemon.connect(user="scram_user", autocommit=False) as conn:
            conn.execute("SELECT 1")


def test_unused_pools_and_auto_databases_are_forgotten(pgpoold, pg):
    daemon = pgpoold(autodb_idle_timeout=0.3, pool_idle_timeout=0.2, server_idle_timeout=0.1,
                     databases={"a": entry(pg, dbname="test"), "*": entry(pg)}, pool_mode="transaction")
    kept = daemon.connect("a", user="scram_user")
    daemon.psql("SELECT 1", db="a")
    daemon.psql("SELECT 1", db="test")
    daemon.wait_log("registered new auto-database: test")
    daemon.wait_log("cleaning up idle pool a/app")
    daemon.wait_log("cleaning up idle pool of auto-database test")
    assert kept.execute("SELECT 1").fetchone() == (1,)
    assert "cleaning up idle pool a/scram_user" not in daemon.log
    assert daemon.psql("SELECT 1", db="test") == [(1,)]
    assert daemon.log.count("registered new auto-database: test") == 2


def test_auto_databases_follow_their_entry(pgpoold, pg, other_pg):
    daemon = pgpoold(databases={"*": entry(pg)}, pool_mode="transaction")
    conn = daemon.connect("test")
    assert port_of_server(conn) == pg.port
    reload(daemon, databases={"*": entry(other_pg)})
    assert port_of_server(conn) == other_pg.port
    reload(daemon, databases={"test": entry(pg)})
    assert port_of_server(conn) == pg.port
    reload(daemon, databases={"*": entry(other_pg)})
    assert port_of_server(conn) == other_pg.port
    reload(daemon, databases={"a": entry(pg)})
    with pytest.raises(psycopg.OperationalError, match="database removed"):
        conn.execute("SELECT 1")


# Users, TLS, the log

def test_secrets_of_auth_file_change(pgpoold, pg):
    daemon = pgpoold(auth_type="scram-sha-256", databases={"test": entry(pg)},
                     userlist={"app": "first", "scram_user": "scram-secret"})
    assert daemon.psql("SELECT 1", password="first") == [(1,)]
    daemon.write_userlist({"app": "second"})
    reload(daemon)
    assert daemon.psql("SELECT 1", password="second") == [(1,)]
    for user, password in (("app", "first"), ("scram_user", "scram-secret")):
        with pytest.raises(psycopg.OperationalError, match="failed"):
            daemon.psql("SELECT 1", user=user, password=password)


def test_a_new_certificate_leaves_living_connections_alone(pgpoold, certs):
    daemon = pgpoold(start=False)
    for source, name in ((certs.server, "tls.crt"), (certs.server_key, "tls.key")):
        shutil.copy(source, daemon.home / name)
        give(daemon.home / name, 0o600)
    daemon.change({"client_tls_sslmode": "require", "client_tls_cert_file": "tls.crt",
                   "client_tls_key_file": "tls.key"})
    daemon.start()
    old, old_serial = ask_for_tls(daemon, certs.ca)
    old.login("app", "test")
    (daemon.home / "tls.key").write_text("rubbish")
    assert "TLS setup failed: " in reload(daemon, works=False)
    client, serial = ask_for_tls(daemon, certs.ca)
    client.close()
    assert serial == old_serial
    new_cert, new_key = certs.sign("again", "localhost")
    for source, name in ((new_cert, "tls.crt"), (new_key, "tls.key")):
        shutil.copy(source, daemon.home / name)
        give(daemon.home / name, 0o600)
    reload(daemon)
    client, serial = ask_for_tls(daemon, certs.ca)
    client.close()
    assert serial != old_serial
    assert old.query("SELECT 1").rows == [("1",)]
    old.close()


def test_the_log_file_is_opened_anew(pgpoold):
    daemon = pgpoold(logfile="d.log")
    daemon.wait_log("process up")
    os.rename(daemon.home / "d.log", daemon.home / "d.log.1")
    daemon.signal(signal.SIGHUP)
    eventually(lambda: (daemon.home / "d.log").exists(), "a new file")
    daemon.psql("SELECT 1")
    assert "login attempt" in (daemon.home / "d.log").read_text()


def test_many_reloads_under_load(pgpoold, pg):
    daemon = pgpoold(databases={"a": entry(pg, dbname="test")}, pool_mode="transaction", default_pool_size=3)
    done = threading.Event()
    problems = []

    def work():
        try:
            with daemon.connect("a") as conn:
                while not done.is_set():
                    assert conn.execute("SELECT 1").fetchone() == (1,)
        except Exception as problem:  # pylint: disable=broad-except  # shown below
            problems.append(problem)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for i in range(20):
        reload(daemon, options={"default_pool_size": 1 + i % 4},
               databases={"a": entry(pg, dbname="test", application_name=f"n{i % 3}"), f"x{i}": entry(pg)})
    done.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert problems == []
