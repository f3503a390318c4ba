# SPDX-License-Identifier: ISC
"""Replication connections: one client, one server connection that nobody else ever has, in every pooling mode."""

import shutil
import signal
import socket
import struct
import subprocess

import psycopg
import pytest

from account import as_server_account, make_dir
from cluster import find_bindir, literal
from daemon_process import PASSWORDS
from programs import run, start
from sessions import SLEEPS, backend_pid, one_database, servers, wait_waiting
from wire import ServerError, bind, cancel_request, copy_data, copy_done, execute, parse, query, sync

MODES = ("session", "transaction", "statement")
SLOT = "pool_slot"


@pytest.fixture
def pgpoold(pgpoold):
    """Daemons that know the user repl, too."""
    return lambda **how: pgpoold(**{"userlist": {**PASSWORDS, "repl": "repl-secret"}, **how})


@pytest.fixture(autouse=True)
def no_slots(pg):
    """Slots would keep WAL, and the next test's names."""
    yield
    if pg.is_running():
        pg.psql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active")


@pytest.fixture
def repl(pg):
    """A user that may replicate and is nothing else."""
    pg.drop_user("repl")
    pg.create_user("repl", options="REPLICATION")
    yield "repl"
    if not pg.is_running():
        pg.start()
    pg.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'repl'")
    pg.drop_user("repl")


def start_lsn(pg):
    return pg.psql("SELECT pg_current_wal_flush_lsn()")[0][0]


def walsenders(pg, user="repl"):
    return pg.psql(f"SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsender' AND usename = {literal(user)}")


def stream(client, pg):
    """Begins physical streaming: CopyBoth."""
    client.send(query(f"START_REPLICATION PHYSICAL {start_lsn(pg)}"))
    client.expect("W")


def status_update(reply=1):
    """A standby's status update that asks for an answer."""
    return copy_data(struct.pack("!cQQQqB", b"r", 0, 0, 0, 0, reply))


def expect_keepalive(client):
    client.send(status_update())
    while client.expect("d").data[:1] != b"k":
        pass


def refused(wire, target, **how):
    """The one error that ends a login, and that nothing follows."""
    client = wire(target, login=False)
    client.send_startup(**how)
    messages = [m for m in client.expect_closed() if m.kind != "R"]
    assert [m.kind for m in messages] == ["E"]
    return messages[0]


# What a client may ask for

@pytest.mark.parametrize("value, kind", [
    ("true", "physical"), ("on", "physical"), ("1", "physical"), ("yes", "physical"), ("TRUE", "physical"),
    ("t", "physical"), ("database", "logical"), ("false", "none"), ("off", "none"), ("0", "none"), ("no", "none")])
def test_the_parameter_is_a_boolean_of_postgresql_or_database(pgpoold, wire, repl, value, kind):
    daemon = pgpoold()
    client = wire(daemon, user=repl, replication=value)
    if kind == "none":
        assert client.run("SELECT 1") == [("1",)]
    else:
        assert len(client.run("IDENTIFY_SYSTEM")[0]) == 4
    assert [row["replication"] for row in daemon.show("clients", user=repl)] == [kind]
    assert [row["replication"] for row in daemon.show("servers", user=repl)] == [kind]


@pytest.mark.parametrize("value", ["o", "", "maybe", "Database", "true "])
def test_any_other_value_is_refused_in_the_words_of_postgresql(pgpoold, wire, pg, value):
    ours, theirs = (refused(wire, target, replication=value) for target in (pgpoold(), pg))
    assert (ours.code, ours.text) == (theirs.code, theirs.text) == \
        ("22023", f'invalid value for parameter "replication": "{value}"')


def test_psql_identifies_the_system(pgpoold, pg, repl):
    daemon = pgpoold(pool_mode="transaction")
    for kind in ("database", "true"):
        how = ["-XAtc", "IDENTIFY_SYSTEM", f"dbname=test user={repl} replication={kind}"]
        ours, theirs = (run(target, "psql", *how).stdout.split("|") for target in (daemon, pg))
        assert ours[:2] == theirs[:2] and ours[3] == theirs[3] == ("test\n" if kind == "database" else "\n")


def test_the_console_does_not_replicate(pgpoold, wire):
    error = refused(wire, pgpoold(), user="admin", database="pgbouncer", replication="database")
    assert (error.code, error.text) == ("0A000", "the console does not replicate")


def test_the_clients_parameters_reach_the_server_and_the_servers_reach_the_client(pgpoold, wire, pg, repl):
    entry = f"host={pg.host} port={pg.port} client_encoding=LATIN1 datestyle=German application_name=entry"
    daemon = pgpoold(pool_mode="transaction", databases={"test": entry})
    own = {"application_name": "my standby", "client_encoding": "UTF8",
           "options": "-c datestyle=ISO,DMY -c intervalstyle=iso_8601 -c extra_float_digits=3"}
    for kind in ("database", "true"):
        ours, theirs = (wire(target, user=repl, replication=kind, **own) for target in (daemon, pg))
        assert ours.params == theirs.params
        assert ours.params["DateStyle"] == "ISO, DMY" and ours.params["application_name"] == "my standby"
    assert wire(daemon, user=repl, replication="database", **own).run("SHOW extra_float_digits") == [("3",)]
    plain = wire(daemon, user=repl, replication="database")
    assert plain.params["DateStyle"] == "German, DMY" and plain.params["application_name"] == "entry"
    assert {row["application_name"] for row in daemon.show("clients", user=repl)} == {"my standby", "entry"}
    # And nothing of it is anybody else's default.
    assert wire(daemon, user=repl).params["DateStyle"] == "German, DMY"


def test_a_parameter_that_the_server_does_not_know_is_refused_by_it(pgpoold, wire, pg, repl):
    how = {"user": repl, "replication": "database", "no_such_parameter": "1"}
    ours, theirs = (refused(wire, target, **how) for target in (pgpoold(), pg))
    assert (ours.code, ours.text) == (theirs.code, theirs.text) == \
        ("42704", 'unrecognized configuration parameter "no_such_parameter"')


# One to one

@pytest.mark.parametrize("mode", MODES)
def test_sql_over_a_logical_connection_stays_on_one_server(pgpoold, wire, pg, repl, eventually, mode):
    daemon = pgpoold(pool_mode=mode, databases=one_database(pg), server_reset_query_always=1)
    client = wire(daemon, user=repl, replication="database")
    pid = backend_pid(client)
    client.run("SET work_mem = '12345kB'")
    client.run("BEGIN")
    assert backend_pid(client) == pid
    assert client.query("SELECT no_such_column").status == "E"
    assert client.query("COMMIT").tags == ["ROLLBACK"]
    assert client.run("SHOW work_mem") == [("12345kB",)]
    client.send(parse("", "SELECT 1"), bind(), execute(), sync())
    assert client.result().errors[0].code == "08P01"  # a walsender speaks the simple protocol only
    assert client.run("SELECT pg_backend_pid()") == [(str(pid),)]
    client.goodbye()
    eventually(lambda: servers(daemon) == 0, "it is closed with its client")


@pytest.mark.parametrize("mode", MODES)
def test_copy_both_goes_both_ways_and_ends(pgpoold, wire, pg, repl, mode):
    daemon = pgpoold(pool_mode=mode)
    client = wire(daemon, user=repl, replication="true")
    for _ in range(2):
        stream(client, pg)
        pg.psql("SELECT pg_logical_emit_message(false, 'test', repeat('x', 1000000))")
        got = 0
        while got < 1000000:
            data = client.expect("d").data
            got += len(data) if data[:1] == b"w" else 0
        expect_keepalive(client)
        client.send(copy_done())
        end = client.read_until("Z")
        assert [m.kind for m in end if m.kind != "d"] == ["c", "C", "Z"] or \
            [m.kind for m in end if m.kind != "d"] == ["c", "C", "C", "Z"]
        assert len(client.run("IDENTIFY_SYSTEM")) == 1


def test_many_requests_at_once_are_answered_in_order(pgpoold, wire, repl):
    client = wire(pgpoold(pool_mode="transaction"), user=repl, replication="database")
    client.send(*(query(f"SELECT {i}") for i in range(500)))
    assert [client.result().rows for _ in range(500)] == [[(str(i),)] for i in range(500)]


def test_nobody_else_ever_has_the_server_connection(pgpoold, wire, pg, eventually):
    daemon = pgpoold(pool_mode="transaction", databases=one_database(pg))
    first = wire(daemon, user="postgres")
    shared = backend_pid(first)
    client = wire(daemon, user="postgres", replication="database")
    own = backend_pid(client)
    assert own != shared
    assert {backend_pid(first) for _ in range(5)} == {shared}
    client.goodbye()
    eventually(lambda: servers(daemon) == 1)
    again = wire(daemon, user="postgres", replication="database")
    assert backend_pid(again) not in (own, shared)
    assert backend_pid(first) == shared


def test_show_tells_who_replicates(pgpoold, wire, repl, eventually):
    daemon = pgpoold(pool_mode="transaction")
    client = wire(daemon, user=repl, replication="true", application_name="standby")
    row, = daemon.show("clients", user=repl)
    server, = daemon.show("servers", user=repl)
    assert (row["replication"], row["state"], row["application_name"]) == ("physical", "active", "standby")
    assert (server["replication"], server["state"]) == ("physical", "active")
    assert row["link"] == server["ptr"] and server["link"] == row["ptr"]
    pool, = daemon.show("pools", user=repl)
    assert (pool["cl_active"], pool["cl_waiting"], pool["sv_active"], pool["sv_login"]) == (1, 0, 1, 0)
    daemon.wait_log("login attempt: db=test user=repl tls=no replication=yes")
    client.close()
    eventually(lambda: not daemon.show("servers", user=repl) and not daemon.show("clients", user=repl))


# Room in the pool

def test_it_counts_in_the_pool_and_an_idle_connection_makes_room(pgpoold, wire, pg, eventually):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=2, databases=one_database(pg))
    first, second = wire(daemon, user="postgres"), wire(daemon, user="postgres")
    first.run("BEGIN")
    busy, idle = backend_pid(first), backend_pid(second)
    client = wire(daemon, user="postgres", replication="database")
    assert backend_pid(client) not in (busy, idle)
    assert sorted(row["replication"] for row in daemon.show("servers")) == ["logical", "none"]
    eventually(lambda: not pg.psql(f"SELECT 1 FROM pg_stat_activity WHERE pid = {idle}"))
    assert backend_pid(first) == busy
    second.send(query("SELECT 1"))
    wait_waiting(daemon, database="test")  # the pool is full
    client.close()
    assert second.result().rows == [("1",)]


def test_in_a_full_pool_it_waits_for_its_turn(pgpoold, wire, pg):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, databases=one_database(pg))
    first, later = wire(daemon, user="postgres"), wire(daemon, user="postgres")
    first.run("BEGIN")
    pid = backend_pid(first)
    client = wire(daemon, login=False)
    client.send_startup(user="postgres", replication="database")
    wait_waiting(daemon, database="test")
    assert [row["replication"] for row in daemon.show("clients", state="waiting")] == ["logical"]
    client.send(query("SELECT 42"))  # before it is logged in
    later.send(query("SELECT 'later'"))
    wait_waiting(daemon, 2, database="test")
    first.run("COMMIT")
    client.authenticate("postgres")
    assert client.result().rows == [("42",)]
    assert backend_pid(client) != pid
    assert servers(daemon) == 1
    client.close()
    assert later.result().rows == [("later",)]


def test_in_a_full_pool_it_waits_no_longer_than_query_wait_timeout(pgpoold, wire, pg):
    daemon = pgpoold(default_pool_size=1, query_wait_timeout=2, databases=one_database(pg))
    wire(daemon, user="postgres").run("BEGIN")
    assert refused(wire, daemon, user="postgres", replication="true").text == "query_wait_timeout"


@pytest.fixture
def mute():
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_server_that_does_not_answer_is_not_waited_for_longer_than_query_wait_timeout(pgpoold, wire, mute):
    daemon = pgpoold(query_wait_timeout=1, databases={"test": f"host=127.0.0.1 port={mute}"})
    assert refused(wire, daemon, user="app", replication="true").text == "query_wait_timeout"


def test_replication_connections_alone_may_fill_a_pool(pgpoold, wire, pg, repl):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=2, query_wait_timeout=2, databases=one_database(pg))
    first = wire(daemon, user=repl, replication="true")
    second = wire(daemon, user=repl, replication="database")
    assert refused(wire, daemon, user=repl, replication="true").text == "query_wait_timeout"
    assert first.run("IDENTIFY_SYSTEM") and second.run("SELECT 1") == [("1",)]
    assert servers(daemon) == 2


def test_the_limit_of_the_database_holds_too(pgpoold, wire, pg, repl):
    daemon = pgpoold(query_wait_timeout=2, databases=one_database(pg, max_db_connections=1))
    other = wire(daemon)
    other.run("SELECT 1")
    assert refused(wire, daemon, user=repl, replication="true").text == "query_wait_timeout"
    daemon.admin("SET query_wait_timeout = 60")
    client = wire(daemon, login=False)
    client.send_startup(user=repl, replication="true")
    wait_waiting(daemon, user=repl)
    other.goodbye()
    client.authenticate(repl)  # the idle one of app's pool has gone
    assert [row["user"] for row in daemon.show("servers")] == [repl]


# Tools

def test_pg_basebackup_makes_a_backup_that_verifies(pgpoold, pg, repl, tmp_path, eventually):
    daemon = pgpoold(pool_mode="transaction")
    folder = tmp_path / "backup"
    run(daemon, "pg_basebackup", "-D", folder, "-X", "stream", "-c", "fast", user=repl, timeout=100)
    run(daemon, "pg_verifybackup", folder)
    assert (folder / "backup_label").exists()
    eventually(lambda: not walsenders(pg))


def test_pg_receivewal_receives_up_to_a_position(pgpoold, pg, repl, tmp_path):
    daemon = pgpoold(pool_mode="statement")
    run(daemon, "pg_receivewal", "-S", SLOT, "--create-slot", user=repl)
    pg.psql("SELECT pg_logical_emit_message(false, 'test', repeat('x', 3000000))")
    pg.psql("SELECT pg_switch_wal()")
    end = start_lsn(pg)
    pg.psql("SELECT pg_logical_emit_message(false, 'test', repeat('x', 3000000))")
    run(daemon, "pg_receivewal", "-D", tmp_path, "-S", SLOT, "--endpos", end, "--no-sync", user=repl)
    assert list(tmp_path.iterdir())
    run(daemon, "pg_receivewal", "-S", SLOT, "--drop-slot", user=repl)
    assert not pg.psql("SELECT 1 FROM pg_replication_slots")


def test_pg_recvlogical_sees_what_is_written(pgpoold, pg, repl):
    daemon = pgpoold(pool_mode="transaction")
    pg.psql("CREATE TABLE seen (a int, b text)", db="test")
    run(daemon, "pg_recvlogical", "-d", "test", "-S", SLOT, "--create-slot", "-P", "test_decoding", user=repl)
    pg.psql("INSERT INTO seen SELECT i, repeat('x', 1000) FROM generate_series(1, 2000) i", db="test")
    pg.psql("INSERT INTO seen VALUES (-1, 'last')", db="test")
    end = pg.psql("SELECT pg_current_wal_insert_lsn()")[0][0]
    pg.psql("SELECT pg_logical_emit_message(true, 'test', 'behind the end')", db="test")
    out = run(daemon, "pg_recvlogical", "-d", "test", "-S", SLOT, "--start", "--endpos", end, "--no-loop",
              "-f", "-", user=repl).stdout
    assert out.count("table public.seen: INSERT:") == 2001 and "b[text]:'last'" in out
    run(daemon, "pg_recvlogical", "-d", "test", "-S", SLOT, "--drop-slot", user=repl)
    pg.psql("DROP TABLE seen", db="test")


@pytest.fixture
def standby(pg, worker_dir, eventually):
    """standby(conninfo) makes a standby of the server there and starts it; the result asks it. .log_path: its log."""
    home = make_dir(worker_dir / "standby")
    processes = []

    def ask(sql):
        with psycopg.connect(host=str(home), port=pg.port, dbname="test", user="postgres", autocommit=True) as conn:
            return conn.execute(sql).fetchall()

    def make(conninfo):
        data = home / "data"
        backup = [find_bindir() / "pg_basebackup", "-R", "-c", "fast", "-D", data, "-d", conninfo]
        subprocess.run(as_server_account(backup), cwd="/", check=True, capture_output=True, timeout=60)
        with open(make.log_path, "ab") as log:
            processes.append(subprocess.Popen(  # pylint: disable=consider-using-with
                as_server_account([find_bindir() / "postgres", "-D", data, "-c", f"unix_socket_directories={home}",
                                   "-c", "listen_addresses=", "-c", "wal_retrieve_retry_interval=100ms"],
                                  death_signal="QUIT"),
                cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True))
        eventually(lambda: ask("SELECT pg_is_in_recovery()") == [(True,)], "the standby runs", timeout=60)
        return ask

    make.log_path = home / "log"
    yield make
    for process in processes:
        process.send_signal(signal.SIGQUIT)
        process.wait(60)
    shutil.rmtree(home, ignore_errors=True)


def test_a_standby_streams_through_the_pool(pgpoold, pg, repl, standby, eventually):
    daemon = pgpoold(pool_mode="transaction")
    ask = standby(f"host={daemon.host} port={daemon.port} user={repl}")
    pg.psql("CREATE TABLE streamed AS SELECT generate_series(1, 1000) a", db="test")
    eventually(lambda: ask("SELECT count(*) FROM streamed") == [(1000,)], "it has what was written", timeout=60)
    assert [(row["replication"], row["application_name"]) for row in daemon.show("clients", user=repl)] == \
        [("physical", "walreceiver")]
    daemon.admin("KILL replication")
    daemon.admin("RESUME replication")
    pg.psql("INSERT INTO streamed SELECT generate_series(1001, 2000)", db="test")
    eventually(lambda: ask("SELECT count(*) FROM streamed") == [(2000,)], "it comes back by itself", timeout=60)
    pg.psql("DELETE FROM streamed", db="test")
    pg.restart()  # the primary ends when the standby has everything
    eventually(lambda: "replication terminated by primary server" in standby.log_path.read_text(), timeout=60)
    pg.psql("DROP TABLE streamed", db="test")
    eventually(lambda: ask("SELECT to_regclass('streamed') IS NULL") == [(True,)], "and after the restart", timeout=60)


@pytest.fixture
def published(pg, other_pg):
    """A table test.public.things, published by pg, empty on other_pg."""
    for cluster in (pg, other_pg):
        cluster.psql("CREATE TABLE things (a int PRIMARY KEY, b text)", db="test")
    pg.psql("INSERT INTO things SELECT i, 'old' FROM generate_series(1, 1000) i", db="test")
    pg.psql("CREATE PUBLICATION pub FOR TABLE things", db="test")
    yield
    pg.psql("DROP PUBLICATION pub", db="test")
    for cluster in (pg, other_pg):
        cluster.psql("DROP TABLE things", db="test")


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_subscription_follows_its_publisher_through_the_pool(pgpoold, pg, other_pg, published, eventually, mode):
    daemon = pgpoold(pool_mode=mode, default_pool_size=8, query_timeout=1, idle_transaction_timeout=1,
                     transaction_timeout=1, databases=one_database(pg))
    conninfo = daemon.dsn("test", "postgres")
    other_pg.psql(f"CREATE SUBSCRIPTION {SLOT} CONNECTION {literal(conninfo)} PUBLICATION pub", db="test")

    def copied(n, text):
        return other_pg.psql(f"SELECT count(*) FROM things WHERE b = '{text}'", db="test") == [(n,)]
    try:
        eventually(lambda: copied(1000, "old"), "the table is copied", timeout=60)
        pg.psql("UPDATE things SET b = 'new' WHERE a <= 500", db="test")
        eventually(lambda: copied(500, "new"), "changes follow", timeout=60)
        eventually(lambda: [row["replication"] for row in daemon.show("servers")] == ["logical"], timeout=60)
        daemon.admin("KILL test")  # all are cut; the subscriber comes back by itself
        daemon.admin("RESUME test")
        pg.psql("UPDATE things SET b = 'newer'", db="test")
        eventually(lambda: copied(1000, "newer"), "it goes on after an interruption", timeout=60)
    finally:
        other_pg.psql(f"DROP SUBSCRIPTION {SLOT}", db="test")
    eventually(lambda: not pg.psql("SELECT 1 FROM pg_replication_slots"))


# Errors of the server

def same_error(wire, daemon, pg, **how):
    ours, theirs = (refused(wire, target, **how) for target in (daemon, pg))
    assert (ours.severity, ours.code, ours.text, ours.detail, ours.hint) == \
        (theirs.severity, theirs.code, theirs.text, theirs.detail, theirs.hint)
    return ours


def test_a_user_that_may_not_replicate_is_told_so_by_the_server_and_nobody_else_suffers(pgpoold, wire, pg):
    daemon = pgpoold(server_login_retry=100)
    for kind in ("true", "database"):
        assert same_error(wire, daemon, pg, user="app", replication=kind).code == "42501"
    assert wire(daemon).run("SELECT 1") == [("1",)]
    assert same_error(wire, daemon, pg, user="app", replication="true").code == "42501"


def test_a_wrong_password_is_told_by_the_server(pgpoold, wire, pg):
    pg.drop_user("repl_scram")
    pg.create_user("repl_scram", "right", "scram", "REPLICATION")
    daemon = pgpoold(userlist={"repl_scram": "wrong", "admin": "admin-secret"})
    error = refused(wire, daemon, user="repl_scram", replication="database")
    assert (error.code, error.text) == ("28P01", 'password authentication failed for user "repl_scram"')
    daemon.write_userlist({"repl_scram": "right", "admin": "admin-secret"})
    daemon.reload()
    client = wire(daemon, user="repl_scram", password="right", replication="database")
    assert client.run("SELECT current_user") == [("repl_scram",)]
    client.close()


def test_scram_keys_of_the_client_open_its_replication_connection(pgpoold, wire, pg, eventually):
    pg.drop_user("repl_scram")
    pg.create_user("repl_scram", "right", "scram", "REPLICATION")
    secret = pg.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'repl_scram'")[0][0]
    daemon = pgpoold(auth_type="scram-sha-256", userlist={"repl_scram": secret, "admin": "admin-secret"})
    client = wire(daemon, user="repl_scram", password="right", replication="database")
    assert client.run("SELECT current_user") == [("repl_scram",)]
    client.close()
    eventually(lambda: not walsenders(pg, "repl_scram"))


def test_max_wal_senders_is_told_by_the_server_and_is_no_failure_of_the_pool(pgpoold, wire, pg, repl, eventually):
    daemon = pgpoold(default_pool_size=20)
    n = int(pg.psql("SHOW max_wal_senders")[0][0])
    taken = [wire(pg, user=repl, replication="true") for _ in range(n)]
    assert same_error(wire, daemon, pg, user=repl, replication="true").code == "53300"
    taken[0].goodbye()
    eventually(lambda: len(walsenders(pg)) == n - 1)
    assert wire(daemon, user=repl, replication="true").run("IDENTIFY_SYSTEM")


def test_a_server_that_is_not_there_is_told_at_once(pgpoold, wire, pg):
    daemon = pgpoold(databases={"test": f"host=127.0.0.1 port={pg.port + 1 if pg.port < 65535 else 1}"})
    assert refused(wire, daemon, replication="true").code in ("08001", "08006")


def test_an_entry_chooses_the_server_for_physical_replication_too(pgpoold, wire, pg, repl):
    daemon = pgpoold(databases={"cluster_a": f"host={pg.host} port={pg.port} dbname=test"})
    assert wire(daemon, user=repl, database="cluster_a", replication="true").run("IDENTIFY_SYSTEM")
    error = refused(wire, daemon, user=repl, database="replication", replication="true")
    assert error.text == "no such database: replication"


def test_the_hba_keyword_replication_is_for_physical_connections(pgpoold, wire, repl):
    daemon = pgpoold(hba="host replication repl 127.0.0.1/32 trust\nhost all admin 127.0.0.1/32 trust\n")
    assert wire(daemon, user=repl, replication="true").run("IDENTIFY_SYSTEM")
    assert "no authentication method" in refused(wire, daemon, user=repl, replication="database").text
    daemon = pgpoold(hba="host all all 127.0.0.1/32 trust\n")
    assert wire(daemon, user=repl, replication="database").run("IDENTIFY_SYSTEM")
    assert "no authentication method" in refused(wire, daemon, user=repl, replication="true").text


def test_connect_query_and_reset_query_are_not_for_replication(pgpoold, wire, pg, repl):
    daemon = pgpoold(server_reset_query_always=1,
                     databases={"test": f"host={pg.host} port={pg.port} connect_query='SELECT 1/0'"})
    assert wire(daemon, user=repl, replication="true").run("IDENTIFY_SYSTEM")
    assert "connect_query failed" not in daemon.log
    wire(daemon).run("SELECT 1")
    daemon.wait_log("connect_query failed: division by zero")


# Interruptions

def test_a_cancel_request_reaches_the_walsender(pgpoold, wire, pg, repl, eventually):
    daemon = pgpoold(pool_mode="transaction")
    client = wire(daemon, user=repl, replication="database")
    client.send(query(SLEEPS))
    eventually(lambda: pg.psql("SELECT 1 FROM pg_stat_activity WHERE backend_type = 'walsender' AND state = 'active'"
                               f" AND query = {literal(SLEEPS)}"))
    wire(daemon, login=False).send(cancel_request(client.pid, client.secret))
    assert client.result().errors[0].code == "57014"
    assert client.run("SELECT 1") == [("1",)]


@pytest.mark.parametrize("kind", ["true", "database"])
def test_a_client_that_vanishes_takes_its_server_connection_along(pgpoold, wire, pg, repl, eventually, kind):
    daemon = pgpoold(pool_mode="transaction")
    client = wire(daemon, user=repl, replication=kind)
    if kind == "true":
        stream(client, pg)
        client.send(status_update()[:12])  # in the middle of a message
    else:
        client.run("BEGIN")
    assert len(walsenders(pg)) == 1
    client.close()
    eventually(lambda: not walsenders(pg), "the walsender has ended")
    eventually(lambda: servers(daemon, user=repl) == 0)


def test_a_client_that_vanishes_in_the_queue_leaves_nothing(pgpoold, wire, pg, eventually):
    daemon = pgpoold(default_pool_size=1, databases=one_database(pg))
    first = wire(daemon, user="postgres")
    first.run("BEGIN")
    client = wire(daemon, login=False)
    client.send_startup(user="postgres", replication="true")
    wait_waiting(daemon, database="test")
    client.close()
    wait_waiting(daemon, 0, database="test")
    first.goodbye()
    second = wire(daemon, user="postgres")
    assert second.run("SELECT 1") == [("1",)]
    eventually(lambda: servers(daemon) == 1)


def test_a_client_that_vanishes_while_its_connection_is_opened_leaves_nothing(pgpoold, wire, mute, eventually):
    daemon = pgpoold(databases={"test": f"host=127.0.0.1 port={mute}"})
    client = wire(daemon, login=False)
    client.send_startup(replication="true")
    eventually(lambda: daemon.show("pools", database="test")[0]["sv_login"] == 1)
    assert daemon.show("pools", database="test")[0]["cl_waiting"] == 1
    client.close()
    eventually(lambda: servers(daemon) == 0 and daemon.show("pools", database="test")[0]["cl_waiting"] == 0)


def test_the_servers_goodbye_reaches_the_client_once(pgpoold, wire, pg, repl):
    client = wire(pgpoold(), user=repl, replication="true")
    stream(client, pg)
    pg.psql(f"SELECT pg_terminate_backend({walsenders(pg)[0][0]})")
    errors = [m for m in client.expect_closed() if m.kind == "E"]
    assert [(m.severity, m.code) for m in errors] == [("FATAL", "57P01")]


def test_a_server_that_shuts_down_ends_the_stream_as_it_does_without_a_pool(pgpoold, wire, pg, repl):
    client = wire(pgpoold(), user=repl, replication="true")
    stream(client, pg)
    expect_keepalive(client)
    client.timeout = 60
    stopping = pg.process
    stopping.send_signal(signal.SIGINT)
    position = 0
    # It waits until the standby has everything: confirm what comes.
    while True:
        message = client.read()
        if message.kind != "d":
            break
        if message.data[:1] == b"w":
            begin = struct.unpack("!Q", message.data[1:9])[0]
            position = begin + len(message.data) - 25
        else:
            position = max(position, struct.unpack("!Q", message.data[1:9])[0])
        client.send(copy_data(struct.pack("!cQQQqB", b"r", position, position, position, 0, 0)))
    assert message.kind == "C"
    assert not client.expect_closed()
    stopping.wait(60)


def test_a_server_that_crashes_ends_the_stream_without_a_word(pgpoold, wire, pg, repl):
    client = wire(pgpoold(), user=repl, replication="true")
    stream(client, pg)
    expect_keepalive(client)
    pg.kill9()
    assert all(m.kind == "d" for m in client.expect_closed())


def test_kill_client_and_kill_end_both_sides(pgpoold, wire, pg, repl, eventually):
    daemon = pgpoold()
    client = wire(daemon, user=repl, replication="true")
    stream(client, pg)
    daemon.admin(f"KILL_CLIENT {daemon.show('clients', user=repl)[0]['id']}")
    assert [m.kind for m in client.expect_closed() if m.kind != "d"] == ["E"]
    eventually(lambda: not walsenders(pg))
    client = wire(daemon, user=repl, replication="true")
    stream(client, pg)
    daemon.admin("KILL test")
    assert [m.kind for m in client.expect_closed() if m.kind != "d"] == ["E"]
    eventually(lambda: not walsenders(pg))


def test_kill_and_a_removed_entry_end_a_login_that_is_under_way(pgpoold, wire, mute):
    daemon = pgpoold(databases={"test": f"host=127.0.0.1 port={mute}"})
    for how in ("KILL test", "RELOAD"):
        client = wire(daemon, login=False)
        client.send_startup(replication="true")
        wait_waiting(daemon, database="test")
        if how == "RELOAD":
            daemon.change(databases={})
        daemon.admin(how)
        assert [m.kind for m in client.expect_closed() if m.kind != "R"] == ["E"]
        if how != "RELOAD":
            daemon.admin("RESUME test")


@pytest.mark.parametrize("kind", ["true", "database"])
def test_a_removed_entry_ends_replication(pgpoold, wire, pg, repl, eventually, kind):
    daemon = pgpoold(databases=one_database(pg))
    client = wire(daemon, user=repl, replication=kind)
    daemon.reload(databases={"test2": f"host={pg.host} port={pg.port}"})
    assert [m.kind for m in client.expect_closed()] == ["E"]
    eventually(lambda: not walsenders(pg))


def test_tls_on_both_sides(pgpoold, wire, pg, repl, certs, tmp_path):
    daemon = pgpoold(client_tls_sslmode="require", client_tls_key_file=certs.server_key,
                     client_tls_cert_file=certs.server, server_tls_sslmode="require")
    run(daemon, "pg_basebackup", "-D", tmp_path / "backup", "-X", "stream", "-c", "fast", user=repl,
        env={"PGSSLMODE": "require"}, timeout=100)
    run(daemon, "pg_verifybackup", tmp_path / "backup")


def test_echo_logs_the_commands_of_a_walsender(pgpoold, wire, repl):
    daemon = pgpoold(echo=1)
    wire(daemon, user=repl, replication="true").run("IDENTIFY_SYSTEM")
    daemon.wait_log("IDENTIFY_SYSTEM")


def test_pause_and_wait_close_wait_for_replication_as_for_a_session(pgpoold, wire, pg, repl):
    daemon = pgpoold(pool_mode="transaction")
    client = wire(daemon, user=repl, replication="true")
    stream(client, pg)
    daemon.admin("RECONNECT")
    assert [row["close_needed"] for row in daemon.show("servers", user=repl)] == [1]
    with daemon.console() as waits, daemon.console() as pauses:
        waits.send(query("WAIT_CLOSE"))
        pauses.send(query("PAUSE"))
        expect_keepalive(client)  # goes on meanwhile
        waits.expect_silence()
        pauses.expect_silence()
        client.close()
        assert waits.result().tags == ["WAIT_CLOSE"]
        assert pauses.result().tags == ["PAUSE"]
        late = wire(daemon, login=False)
        late.send_startup(user=repl, replication="true")
        wait_waiting(daemon, database="test")
        daemon.admin("RESUME")
        late.authenticate(repl)


@pytest.mark.parametrize("how", ["SHUTDOWN WAIT_FOR_CLIENTS", "SHUTDOWN WAIT_FOR_SERVERS"])
def test_a_shutdown_that_waits_waits_for_replication(pgpoold, wire, pg, repl, how):
    daemon = pgpoold(pool_mode="transaction")
    client = wire(daemon, user=repl, replication="true")
    stream(client, pg)
    with daemon.console() as console:
        console.send(query(how))
        expect_keepalive(client)
        assert daemon.is_running()
        client.close()
        daemon.wait_exit()


def test_a_shutdown_at_once_tells_the_client(pgpoold, wire, pg, repl, eventually):
    daemon = pgpoold()
    client = wire(daemon, user=repl, replication="true")
    stream(client, pg)
    daemon.signal(signal.SIGQUIT)
    client.expect_closed()
    daemon.wait_exit()
    eventually(lambda: not walsenders(pg))


def test_timeouts_of_queries_and_transactions_do_not_end_a_stream(pgpoold, wire, pg, repl):
    daemon = pgpoold(pool_mode="session", query_timeout=1, transaction_timeout=1, idle_transaction_timeout=1,
                     databases=one_database(pg))
    client, logical = wire(daemon, user=repl, replication="true"), wire(daemon, user=repl, replication="database")
    stream(client, pg)
    logical.run("BEGIN")
    for _ in range(2):  # who is no stream meets them
        other = wire(daemon)
        other.send(query(SLEEPS))
        assert "timeout" in [m for m in other.expect_closed() + [None] if m and m.kind == "E"][0].text
    expect_keepalive(client)
    assert logical.run("SELECT 1") == [("1",)]


def test_a_slow_reader_slows_the_stream_down_and_costs_no_memory(pgpoold, pg, repl, eventually):
    daemon = pgpoold()
    pg.psql("CREATE TABLE heap AS SELECT repeat(md5(i::text), 30) t FROM generate_series(1, 20000) i", db="test")
    with start(daemon, "psql", "-XAt", f"dbname=test user={repl} replication=database",
               "-c", "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT") as reader:
        eventually(lambda: daemon.show("sockets", user=repl))
        assert all(row["send_remain"] < 2 * 1024 * 1024 for row in daemon.show("sockets", user=repl))
        out, _ = reader.communicate(timeout=60)
    assert out.count("\n") == 100000
    pg.psql("DROP TABLE heap", db="test")
