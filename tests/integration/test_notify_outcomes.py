# SPDX-License-Identifier: ISC
"""LISTEN and NOTIFY through a transaction pool: what seldom happens. The table of outcomes is in test_notify.py."""

import contextlib
import os
import signal
import time

import pytest

from sessions import clients, one_database, servers
from test_notify import channels, fatal, hears, hub_pid, listen, lose_by_terminate
from test_notify import notify, pool  # noqa: F401  pylint: disable=unused-import  # fixtures
from wire import bind, cancel_request, describe, execute, flush, function_call, parse, query, sync

# pylint: disable=redefined-outer-name  # fixtures from elsewhere


@contextlib.contextmanager
def no_logins(pg):
    """No server connection can be opened within the block."""
    pg.psql("ALTER ROLE app NOLOGIN")
    try:
        yield
    finally:
        pg.psql("ALTER ROLE app LOGIN")


@contextlib.contextmanager
def stopped(pid):
    """The process neither answers nor ends within the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# --- gaps ---

def test_who_listens_after_the_loss_is_told_of_no_gap(pool, wire, pg, notify):
    daemon = pool(notify_gap="notice")
    before, after = listen(wire(daemon), "a"), wire(daemon)
    daemon.admin("PAUSE")
    lose_by_terminate(pg, daemon)
    assert "lost" in before.expect("N").text
    after.send(query("LISTEN a"))
    after.expect_silence(0.1)
    daemon.admin("RESUME")
    assert after.result().notices == []
    assert "listening again" in before.expect("N").text
    notify("a", "x")
    assert hears(before, "x") and hears(after, "x")
    lose_by_terminate(pg, daemon)
    for client in (before, after):  # of the next one both are told
        assert ["listening again" in n.text for n in client.expect("N", "N")] == [False, True]


def test_who_listens_in_vain_during_a_gap_is_told(pool, wire, pg, notify):
    daemon = pool(notify_gap="notice")
    before, during = listen(wire(daemon), "a"), wire(daemon)
    during.run("SELECT 1")
    with no_logins(pg):
        lose_by_terminate(pg, daemon)
        assert "lost" in before.expect("N").text
        result = during.query("LISTEN a")
        assert result.tags == ["LISTEN"] and ["lost" in n.text for n in result.notices] == [True]
    for client in (before, during):
        assert "listening again" in client.expect("N").text
    notify("a", "x")
    assert hears(before, "x") and hears(during, "x")


def test_a_hub_that_does_not_answer_is_given_up(pool, wire, notify):
    daemon = pool(server_connect_timeout=2)
    client, other = listen(wire(daemon), "a"), wire(daemon)
    other.run("SELECT 1")
    with stopped(hub_pid(daemon)):
        other.send(query("LISTEN b"))
        for each in (client, other):
            assert fatal(each).code == "57P01"
        daemon.wait_log("hub: no answer within server_connect_timeout")
    client = listen(wire(daemon), "a")
    notify("a", "x")
    assert hears(client, "x")


def test_a_cancel_while_a_listen_waits_for_the_hub_has_no_effect(pool, wire, notify):
    daemon = pool()
    client = listen(wire(daemon), "a")
    with stopped(hub_pid(daemon)):
        client.send(query("LISTEN b"))
        other = wire(daemon, login=False)
        other.send(cancel_request(client.pid, client.secret))
        other.expect_closed()
        client.expect_silence(0.1)
    assert client.result().tags == ["LISTEN"]
    notify("b", "x")
    assert hears(client, "x")


# --- settings that change under a listener ---

@pytest.mark.parametrize("mode", ["refuse", "off"])
def test_a_listener_stays_one_when_notify_mode_changes(pool, wire, notify, mode):
    daemon = pool()
    client, other = listen(wire(daemon), "a", "b"), wire(daemon)
    daemon.reload(options={"notify_mode": mode})
    notify("a", "x")
    assert hears(client, "x")
    assert [n.payload for n in client.query("NOTIFY a, 'mine'").notifications] == ["mine"]
    if mode == "refuse":
        assert client.query("LISTEN c").errors[0].code == "0A000"
    assert [bool(other.query("LISTEN a").errors)] == [mode == "refuse"]
    client.run("UNLISTEN a")
    assert channels(daemon) == {"b": 1}
    client.run("UNLISTEN *")
    assert channels(daemon) == {}
    assert bool(client.query("LISTEN a").errors) == (mode == "refuse") and channels(daemon) == {}


def test_a_pool_that_becomes_one_for_sessions_ends_its_listeners(pool, wire, notify):
    daemon = pool()
    client = listen(wire(daemon), "a")
    daemon.reload(options={"pool_mode": "session"})
    notify("a", "x")
    assert hears(client, "x")
    client.send(query("SELECT 1"))
    assert fatal(client).code == "57P01"
    client = listen(wire(daemon), "a")
    notify("a", "y")
    assert hears(client, "y") and channels(daemon) == {}


def test_in_session_mode_a_stranger_hears_nothing(pool, wire, notify):
    """Not even when the server connection is not to be reset."""
    daemon = pool(pool_mode="session", default_pool_size=1, server_reset_query="")
    client = listen(wire(daemon), "a")
    pid = client.run("SELECT pg_backend_pid()")
    client.goodbye()
    stranger = wire(daemon)
    assert stranger.run("SELECT pg_backend_pid()") == pid
    notify("a", "x")
    assert stranger.query("SELECT 1").kinds == "TDCZ"
    stranger.expect_silence(0.1)


# --- room ---

def test_the_hub_counts_and_is_not_evicted(pool, wire, pg, notify):
    pg.create_user("neighbour")
    daemon = pool(max_db_connections=2, userlist={"app": "app-secret", "neighbour": "", "admin": "admin-secret"})
    neighbour, client = wire(daemon, user="neighbour"), wire(daemon)
    neighbour.run("SELECT 1")
    client.run("SELECT 1")
    assert servers(daemon, database="test") == 2
    listen(client, "a")  # the hub has taken the place of an idle one
    pid = hub_pid(daemon)
    for _ in range(3):  # one place is left, which changes its owner
        assert neighbour.run("SELECT 1") == [("1",)]
        assert client.run("SELECT 1") == [("1",)]
        assert servers(daemon, database="test") == 2 and hub_pid(daemon) == pid
    notify("a", "x")
    assert hears(client, "x")
    for each in (neighbour, client):
        each.goodbye()
    daemon.admin("KILL test")
    pg.drop_user("neighbour")


def test_a_listen_needs_room_for_two_connections(pool, wire):
    daemon = pool(max_db_connections=1, query_wait_timeout=2)
    client = wire(daemon)
    client.run("SELECT 1")
    client.send(query("LISTEN a"))
    assert "query_wait_timeout" in fatal(client).text
    daemon.admin("RECONNECT")
    assert wire(daemon).run("SELECT 1") == [("1",)]


def test_what_waits_is_bounded_in_bytes_too(pool, wire, pg):
    daemon = pool(notify_queue_size=1_000_000)
    patient, idle = listen(wire(daemon), "a"), listen(wire(daemon, timeout=60), "a")
    patient.run("BEGIN")
    with pg.connect("test", "app") as conn:
        conn.execute("SELECT count(pg_notify('a', repeat('x', 7900) || g)) FROM generate_series(1, 2200) g")  # 17 MB
    for i in range(1, 2201):
        assert idle.expect("A").payload.endswith(f"x{i}")
    error = fatal(patient)
    assert error.code == "53400" and daemon.show("listeners")[0]["dropped"] >= 1


# --- what the pooler cannot see ---

def test_a_listen_that_cannot_be_seen_ends_the_client(pool, wire, notify):
    daemon = pool()
    client = wire(daemon)
    client.send(query("LISTEN a -- " + "x" * 1_100_000))
    error = fatal(client)
    assert (error.severity, error.code) == ("FATAL", "0A000")
    client = listen(wire(daemon), "a")
    client.run("SELECT 1 -- " + "x" * 1_100_000)
    client.send(query("UNLISTEN a -- " + "x" * 1_100_000))
    assert fatal(client).code == "0A000"
    client = wire(daemon)
    assert client.query("UNLISTEN a -- " + "x" * 1_100_000).tags == ["UNLISTEN"]
    notify("a", "x")
    client.expect_silence(0.1)


def test_a_listen_in_a_function_is_not_relayed_and_harms_nobody(pool, wire, notify):
    daemon = pool(default_pool_size=1)
    client, stranger = wire(daemon), wire(daemon)
    client.run("DO $$BEGIN EXECUTE 'LISTEN a'; END$$")
    assert channels(daemon) == {}
    notify("a", "x")
    for who in (stranger, client):
        assert who.query("SELECT 1").kinds == "TDCZ"
        who.expect_silence(0.1)
    assert stranger.run("SELECT pg_listening_channels()") == []  # the server connection is clean by now


def test_a_function_call_notifies_before_its_end(pool, wire):
    daemon = pool()
    client = listen(wire(daemon), "a")
    oid = int(client.run("SELECT 'pg_notify'::regproc::oid::int")[0][0])
    client.send(function_call(oid, ["a", "mine"]))
    messages = client.read_until("Z")
    assert "".join(m.kind for m in messages) == "VAZ"
    assert (messages[1].pid, messages[1].payload) == (client.pid, "mine")


def test_what_the_one_before_sent_is_not_a_listeners_own(pool, wire, eventually):
    """It has no "notify" in its text and its client does not listen, so nothing waits for it."""
    daemon = pool(default_pool_size=1)
    listener, sender = listen(wire(daemon), "a"), wire(daemon)
    with stopped(hub_pid(daemon)):
        sender.run("DO $$BEGIN EXECUTE 'NOT' || 'IFY a'; END$$")
        listener.send(query("SELECT 1"))
        eventually(lambda: clients(daemon, "active", user="app"))
    assert [m.pid for m in listener.read_until("Z") if m.kind == "A"] == [sender.pid]


def test_a_portal_of_a_listen_may_wait_for_another_batch(pool, wire, notify):
    daemon = pool()
    client = wire(daemon)
    client.run("BEGIN")
    client.send(parse("", "LISTEN a"), bind("p"), describe("P", "p"), flush(), sync())
    client.read_until("Z")
    client.run("SELECT 1")
    client.send(execute("p"), sync())
    client.read_until("Z")
    client.run("COMMIT")
    notify("a", "x")
    assert hears(client, "x")


# --- a standby ---

def test_on_a_standby_listen_fails_as_there(pgpoold, wire, other_pg, eventually):
    """The error is PostgreSQL's, and the hub stays whole for others."""
    other_pg.stop()
    (other_pg.data / "standby.signal").touch()
    os.chown(other_pg.data / "standby.signal", other_pg.data.stat().st_uid, other_pg.data.stat().st_gid)
    other_pg.start()
    try:
        daemon = pgpoold(pool_mode="transaction", databases=one_database(other_pg))
        client = wire(daemon)
        assert client.run("SELECT pg_is_in_recovery()") == [("t",)]
        for _ in range(2):
            error = client.query("LISTEN a").errors[0]
            assert error.code == "25006" and "recovery" in error.text
        client.send(parse("", "LISTEN a"), bind(), execute(), sync())
        assert client.result().errors[0].code == "25006"
        assert client.query("NOTIFY a").errors[0].code == "25006"
        assert client.query("UNLISTEN *").tags == ["UNLISTEN"]
        assert channels(daemon) == {}
    finally:
        other_pg.psql("SELECT pg_promote()")
    eventually(lambda: client.run("SELECT pg_is_in_recovery()") == [("f",)])
    listen(client, "a")
    assert [n.payload for n in client.query("NOTIFY a, 'mine'").notifications] == ["mine"]


# --- the end of the daemon ---

@pytest.mark.parametrize("how", ["SHUTDOWN", "SHUTDOWN WAIT_FOR_SERVERS"])
def test_a_listener_does_not_hold_up_the_end(pool, wire, how):
    daemon = pool()
    client = listen(wire(daemon), "a")
    daemon.admin(how)
    assert fatal(client).code == "57P01"
    daemon.wait_exit()


def test_the_end_may_wait_for_clients_that_listen(pool, wire, notify):
    daemon = pool()
    client = listen(wire(daemon), "a")
    with daemon.console() as console:
        console.send(query("SHUTDOWN wait_for_clients"))
        daemon.wait_log("SHUTDOWN WAIT_FOR_CLIENTS command issued\n")
        notify("a", "x")
        assert hears(client, "x")
        client.goodbye()
        daemon.wait_exit()
