# SPDX-License-Identifier: ISC
"""Every wait has an end: its text, its SQLSTATE, and what stays usable afterwards."""

import socket

import pytest

from sessions import SLEEPS, backend_pid, cpu_seconds, one_database, wait_running, wait_waiting
from wire import ServerError, bind, execute, flush, parse, query, startup, sync


@pytest.fixture
def one_server(pgpoold, pg):
    def make(mode="transaction", **more):
        return pgpoold(pool_mode=mode, default_pool_size=1, databases=one_database(pg), **more)
    return make


def last_words(client, timeout=None):
    """The FATAL that a client gets before its connection ends."""
    error, = [m for m in client.expect_closed(timeout) if m.kind == "E"]
    assert error.severity == "FATAL"
    return error.code, error.text


def test_a_login_that_takes_too_long_is_ended(one_server, wire):
    daemon = one_server(client_login_timeout=1)
    silent, slow = wire(daemon, login=False), wire(daemon, login=False)
    slow.send(startup({"user": "app", "database": "test"})[:10])
    silent.send(b"\0")
    for client in (silent, slow):
        assert [m.text for m in client.expect_closed() if m.kind == "E"] in ([], ["client_login_timeout"])
    daemon.admin("SET client_login_timeout = 60")
    assert wire(daemon).run("SELECT 1") == [("1",)]


def test_client_login_timeout_changes_for_who_is_logging_in(one_server, wire):
    daemon = one_server()
    client = wire(daemon, login=False)
    client.send(startup({"user": "app", "database": "test"})[:10])
    daemon.admin("SET client_login_timeout = 0.3")
    assert last_words(client) == ("08P01", "client_login_timeout")


def test_a_client_does_not_wait_longer_than_query_wait_timeout(one_server, wire):
    daemon = one_server()
    holder, late = wire(daemon), wire(daemon)
    holder.run("BEGIN")
    daemon.admin("SET query_wait_timeout = 0.3")
    late.send(query("SELECT 1"))
    assert last_words(late) == ("08P01", "query_wait_timeout")
    assert holder.run("SELECT 2") == [("2",)]
    holder.run("COMMIT")
    assert wire(daemon).run("SELECT 3") == [("3",)]


def test_who_waits_is_told_so_once(one_server, wire):
    daemon = one_server(query_wait_notify=0.2)
    holder, late = wire(daemon), wire(daemon)
    holder.run("BEGIN")
    late.send(query("SELECT 1"))
    notice = late.expect("N")
    assert notice.text == "No server connection available in postgres backend, client being queued"
    late.expect_silence(0.4)
    holder.run("COMMIT")
    assert late.result().kinds == "TDCZ"


def test_nothing_is_done_while_somebody_waits_who_was_told_so(one_server, wire):
    daemon = one_server(query_wait_notify=0.2)
    holder, late, later = wire(daemon), wire(daemon), wire(daemon)
    holder.run("BEGIN")
    late.send(query("SELECT 1"))
    late.expect("N")
    before = cpu_seconds(daemon)
    late.expect_silence(1)
    assert cpu_seconds(daemon) - before < 0.1
    later.send(query("SELECT 2"))
    later.expect("N")
    holder.run("COMMIT")
    assert (late.result().kinds, later.result().kinds) == ("TDCZ", "TDCZ")


def test_a_query_that_takes_too_long_is_cancelled_and_the_client_stays(one_server, wire):
    daemon = one_server(query_timeout=1)
    client = wire(daemon)
    pid = backend_pid(client)
    error = client.query(SLEEPS).errors[0]
    assert (error.severity, error.code, error.text) == ("ERROR", "57014", "query timeout")
    assert backend_pid(client) == pid


def test_an_extended_query_that_takes_too_long_is_cancelled_and_the_client_stays(one_server, wire):
    daemon = one_server(query_timeout=1)
    client = wire(daemon)
    client.send(parse("", SLEEPS), bind(), execute(), sync())
    result = client.result()
    assert result.kinds == "12EZ" and (result.errors[0].code, result.errors[0].text) == ("57014", "query timeout")
    assert client.run("SELECT 1") == [("1",)]


def test_query_timeout_leaves_the_transaction_failed_and_open(one_server, wire):
    client = wire(one_server(query_timeout=1))
    client.run("BEGIN")
    assert client.query(SLEEPS).status == "E"
    assert client.query("ROLLBACK").status == "I"


def test_each_query_of_a_pipeline_has_its_own_time(one_server, wire):
    client = wire(one_server(query_timeout=2))
    client.send(*(query(f"SELECT {i}, pg_sleep(0.4)") for i in range(6)))
    assert [client.result().rows[0][0] for _ in range(6)] == [str(i) for i in range(6)]


def test_a_server_that_does_not_hear_a_cancel_is_given_up(pgpoold, fake_pg, wire, eventually):
    def script(conn):
        conn.expect("Q")
        conn.expect_closed(30)

    server = fake_pg(script)
    daemon = pgpoold(pool_mode="transaction", query_timeout=0.2, cancel_wait_timeout=0.3,
                     databases={"test": f"host={server.host} port={server.port}"})
    client = wire(daemon)
    client.send(query("select 1"))
    assert last_words(client) == ("57014", "query timeout")
    eventually(lambda: len(server.cancels) == 1)


def test_a_transaction_that_takes_too_long_is_ended_and_rolled_back(one_server, wire):
    daemon = one_server(transaction_timeout=1)
    client = wire(daemon)
    pid = backend_pid(client)
    client.run("BEGIN")
    client.run("SELECT 1")
    assert last_words(client) == ("25P04", "transaction timeout")
    assert backend_pid(wire(daemon)) == pid


def test_a_long_query_counts_for_transaction_timeout(one_server, pg, wire, eventually):
    daemon = one_server(transaction_timeout=0.4)
    client = wire(daemon)
    client.send(query(SLEEPS))
    assert last_words(client) == ("25P04", "transaction timeout")
    assert wire(daemon).run("SELECT 1") == [("1",)]
    pids = {row["remote_pid"] for row in daemon.show("servers", database="test")}
    eventually(lambda: not [row for row in pg.activity("test") if row["state"] == "active" and row["pid"] in pids])


def test_a_client_idle_in_its_transaction_is_ended(one_server, wire):
    daemon = one_server(idle_transaction_timeout=0.3)
    client, other = wire(daemon), wire(daemon)
    other.run("SELECT 1")
    client.run("BEGIN")
    other.send(query("SELECT 2"))
    assert last_words(client) == ("25P03", "idle transaction timeout")
    assert other.result().rows == [("2",)]


def test_a_client_idle_without_its_sync_is_ended(one_server, wire):
    daemon = one_server(idle_transaction_timeout=0.3)
    client = wire(daemon)
    client.send(parse("", "SELECT 1"), bind(), execute(), flush())
    client.expect("1", "2", "D", "C")
    assert last_words(client) == ("25P03", "idle transaction timeout")
    assert wire(daemon).run("SELECT 1") == [("1",)]


def test_a_query_that_runs_is_not_idle(one_server, wire):
    client = wire(one_server(idle_transaction_timeout=1))
    client.run("BEGIN")
    client.run("SELECT pg_sleep(1.5)")
    assert client.query("COMMIT").status == "I"


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_an_idle_client_is_ended(one_server, wire, mode):
    daemon = one_server(mode, client_idle_timeout=1)
    client = wire(daemon)
    client.run("SELECT 1")
    assert last_words(client) == ("57P05", "client_idle_timeout")


def test_a_busy_client_is_not_idle(one_server, wire):
    client = wire(one_server(client_idle_timeout=1))
    client.run("SELECT pg_sleep(1.5)")
    assert client.run("SELECT 1") == [("1",)]


def test_a_connect_that_takes_too_long_fails_the_login(pgpoold, wire):
    with socket.create_server(("127.0.0.1", 0), backlog=20) as silent:
        daemon = pgpoold(pool_mode="transaction", server_connect_timeout=0.3,
                         databases={"test": f"host=127.0.0.1 port={silent.getsockname()[1]}"})
        with pytest.raises(ServerError) as caught:
            wire(daemon)
    assert (caught.value.message.severity, caught.value.code, caught.value.text) == (
        "FATAL", "08001", "server_connect_timeout")


def test_a_login_at_the_server_that_takes_too_long_fails(pgpoold, fake_pg, wire):
    server = fake_pg(on_startup=lambda conn: conn.expect_closed(30))
    daemon = pgpoold(pool_mode="transaction", server_connect_timeout=0.3,
                     databases={"test": f"host={server.host} port={server.port}"})
    with pytest.raises(ServerError) as caught:
        wire(daemon)
    assert caught.value.code == "08001"


def test_the_deadlines_of_a_user_rule_over_the_general_ones(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", query_timeout=100, databases=one_database(pg),
                     users={"app": "query_timeout=0.3", "postgres": "idle_transaction_timeout=0.3"})
    assert wire(daemon).query(SLEEPS).errors[0].text == "query timeout"
    admin = wire(daemon, user="postgres")
    admin.run("BEGIN")
    assert last_words(admin) == ("25P03", "idle transaction timeout")


def test_a_transaction_of_a_lost_client_is_rolled_back_within_its_limit(pgpoold, fake_pg, wire, eventually):
    """A server that does not even answer ROLLBACK is closed, and its place is free again."""
    def script(conn):
        conn.expect("Q")
        conn.send(b"C\0\0\0\x0aBEGIN\0", b"Z\0\0\0\x05T")
        conn.expect("Q")
        conn.expect_closed(30)

    server = fake_pg(script)
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, rollback_timeout=0.3,
                     databases={"test": f"host={server.host} port={server.port}"})
    client = wire(daemon)
    client.run("BEGIN")
    client.close()
    server.wait_connections(1)
    second = wire(daemon)
    second.send(query("BEGIN"))
    assert second.result().status == "T"
    assert len(server.connections) == 2
