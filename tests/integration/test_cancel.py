# SPDX-License-Identifier: ISC
"""CancelRequest: it ends what runs for its client, and nothing else."""

import os
import threading

import psycopg
import pytest

from sessions import SLEEPS, Storm, backend_pid, one_database, running, wait_running, wait_waiting
from wire import bind, cancel_request, execute, parse, query, sync


def cancel(wire, target, client, secret=None):
    """Sends the cancel request of @client and waits until the peer has dealt with it."""
    request = wire(target, login=False)
    request.send(cancel_request(client.pid, secret or client.secret))
    assert request.expect_closed() == []


@pytest.fixture(params=["session", "transaction"])
def daemon(request, pgpoold, pg):
    return pgpoold(pool_mode=request.param, default_pool_size=3, databases=one_database(pg))


def test_a_running_query_is_cancelled(daemon, pg, wire):
    client = wire(daemon)
    client.send(query(SLEEPS))
    wait_running(pg, SLEEPS)
    cancel(wire, daemon, client)
    error = client.result().errors[0]
    assert (error.code, error.text) == ("57014", "canceling statement due to user request")
    assert client.run("SELECT 1") == [("1",)]


def test_an_extended_query_is_cancelled(daemon, pg, wire):
    client = wire(daemon)
    client.send(parse("", SLEEPS), bind(), execute(), sync())
    wait_running(pg, SLEEPS)
    cancel(wire, daemon, client)
    assert client.result().kinds == "12EZ"
    assert client.run("SELECT 1") == [("1",)]


def test_only_the_query_of_this_client_is_cancelled(daemon, pg, wire):
    clients = [wire(daemon) for _ in range(3)]
    for client in clients:
        client.send(query(SLEEPS))
    wait_running(pg, SLEEPS, 3)
    cancel(wire, daemon, clients[1])
    assert clients[1].result().errors[0].code == "57014"
    assert len(running(pg, SLEEPS)) == 2
    clients[0].expect_silence(0.1)
    clients[2].expect_silence(0.1)


def test_a_driver_cancels(daemon, pg):
    with daemon.connect() as conn:
        def cancel_it():
            wait_running(pg, SLEEPS)
            conn.cancel()

        thread = threading.Thread(target=cancel_it)
        thread.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            conn.execute(SLEEPS)
        thread.join()
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_a_cancel_of_an_idle_client_does_nothing(daemon, wire):
    client, other = wire(daemon), wire(daemon)
    client.run("SELECT 1")
    cancel(wire, daemon, client)
    assert other.run("SELECT pg_sleep(0.1), 2") == [("", "2")]
    assert client.run("SELECT 3") == [("3",)]


def test_a_client_cancels_while_it_waits_in_the_queue(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, databases=one_database(pg))
    holder, waiting = wire(daemon), wire(daemon)
    holder.run("BEGIN")
    for messages, kinds in (([query("SELECT 1"), query("SELECT 2")], "EZ"),
                            ([parse("", "SELECT 1"), bind(), execute(), sync()], "EZ")):
        waiting.send(*messages)
        wait_waiting(daemon)
        cancel(wire, daemon, waiting)
        result = waiting.result()
        assert result.kinds == kinds and result.errors[0].code == "57014"
        if messages[0][:1] == b"Q":
            wait_waiting(daemon)
            holder.run("COMMIT")
            assert waiting.result().rows == [("2",)]
            holder.run("BEGIN")
    assert holder.run("SELECT 'untouched'") == [("untouched",)]
    holder.run("COMMIT")
    assert waiting.run("SELECT 3") == [("3",)]


def test_a_wrong_key_cancels_nothing(daemon, pg, wire):
    client = wire(daemon)
    client.send(query(SLEEPS))
    wait_running(pg, SLEEPS)
    for secret in (bytes(4), client.secret[:3] + bytes([client.secret[3] ^ 1]), b"", os.urandom(32), os.urandom(300)):
        request = wire(daemon, login=False)
        request.send(cancel_request(client.pid, secret))
        request.expect_closed()
    client.expect_silence(0.1)
    cancel(wire, daemon, client)
    assert client.result().errors[0].code == "57014"


def test_the_keys_of_the_server_itself_cancel_nothing_here(daemon, pg, wire):
    client = wire(daemon)
    pid = backend_pid(client)
    request = wire(daemon, login=False)
    request.send(cancel_request(pid, os.urandom(4)))
    assert request.expect_closed() == []
    assert client.run("SELECT 1") == [("1",)]


def test_a_flood_of_wrong_cancels_is_harmless(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, max_client_conn=300, databases=one_database(pg))
    client = wire(daemon)
    pid = backend_pid(client)
    flood = [wire(daemon, login=False) for _ in range(200)]
    for i, request in enumerate(flood):
        request.send(cancel_request(client.pid if i % 2 else i, os.urandom(4)))
    for i in range(20):
        assert client.run(f"SELECT {i}") == [(str(i),)]
    for request in flood:
        assert request.expect_closed() == []
    assert backend_pid(client) == pid
    assert pg.n_connections("test") == 1


def test_a_flood_of_right_cancels_reaches_the_server_in_small_numbers(pgpoold, fake_pg, wire, eventually):
    def script(conn):
        conn.expect("Q")
        conn.expect_closed(30)

    server = fake_pg(script)
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, max_client_conn=300,
                     databases={"test": f"host={server.host} port={server.port}"})
    client = wire(daemon)
    client.send(query("select 1"))
    eventually(lambda: server.connections and server.connections[0].received)
    flood = [wire(daemon, login=False) for _ in range(100)]
    for request in flood:
        request.send(cancel_request(client.pid, client.secret))
    for request in flood:
        assert request.expect_closed() == []
    assert 1 <= len(server.cancels) <= 100
    assert len(server.startups) == 1
    assert set(server.cancels) == {(server.connections[0].pid, server.connections[0].secret)}


def test_a_late_cancel_never_hits_the_next_owner(pgpoold, pg, wire):
    """Queries end just when their cancels come; their server goes on to others who must not feel it."""
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, max_client_conn=300, databases=one_database(pg))
    victim = wire(daemon)
    with daemon.connect() as conn:
        wrong = []

        def disturb(_):
            try:
                conn.execute("SELECT pg_sleep(0.002)")
            except psycopg.errors.QueryCanceled:
                pass

        def cancel_it(_):
            conn.cancel()

        with Storm(1, disturb) as work, Storm(2, cancel_it) as cancels:
            n = 0
            while n < 300 or min(work.rounds, cancels.rounds) <= 10:
                n += 1
                wrong += victim.query("SELECT count(*) FROM generate_series(1, 20000)").errors
        assert wrong == [] and work.errors == [] and cancels.errors == []


def test_a_cancel_that_comes_too_late_harms_nobody(pgpoold, fake_pg, wire, eventually):
    gate = threading.Event()

    def script(conn):
        conn.expect("Q")
        gate.wait(30)
        conn.send(b"C\0\0\0\x0dSELECT 1\0", b"Z\0\0\0\x05I")
        conn.serve()

    server = fake_pg(script)
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1,
                     databases={"test": f"host={server.host} port={server.port}"})
    client = wire(daemon)
    client.send(query("select 1"))
    eventually(lambda: server.connections and server.connections[0].received)
    cancel(wire, daemon, client)
    assert server.cancels == [(server.connections[0].pid, server.connections[0].secret)]
    gate.set()
    assert client.result().tags == ["SELECT 1"]
    assert wire(daemon).run("select 2") == [("select 2",)]


def test_nothing_is_cancelled_for_a_client_that_is_gone(daemon, pg, wire):
    gone = wire(daemon)
    gone.run("SELECT 1")
    pid, secret = gone.pid, gone.secret
    gone.goodbye()
    client = wire(daemon)
    client.send(query("SELECT pg_sleep(0.3), 'mine'"))
    request = wire(daemon, login=False)
    request.send(cancel_request(pid, secret))
    assert request.expect_closed() == []
    assert client.result().rows == [("", "mine")]
