# SPDX-License-Identifier: ISC
"""Cancel requests at bad moments: ahead of the query they mean, behind it, and while statements of ours run."""

import random
import threading
import time

import psycopg
import pytest

from fake_pg import answer, command_complete, error, ready
from sessions import Storm, backend_pid, one_database, servers
from wire import cancel_request, query


def send_cancel(wire, daemon, client):
    request = wire(daemon, login=False)
    request.send(cancel_request(client.pid, client.secret))
    return request


class Stage:
    """A fake server that answers statements of ours only after go_on.set(); what it got is in .seen."""

    def __init__(self, fake_pg, **how):
        self.go_on = threading.Event()
        self.seen = []
        self.server = fake_pg(self.play, **how)

    def play(self, conn):
        while True:
            message = conn.read(timeout=3600)
            if message.kind == "X":
                return
            self.seen.append(message)
            if "set_config" in message.sql and "'second'" in message.sql:
                self.go_on.wait(60)
            if message.sql == "select hold":
                conn.expect_closed(3600)
            if message.sql == "select cancelled":
                self.wait_cancel(conn)
            else:
                conn.send(answer(message))

    def wait_cancel(self, conn):
        self.cancelled.wait(60)
        conn.send(error("57014", "canceling statement due to user request"), ready())

    def daemon(self, pgpoold, **more):
        options = {"pool_mode": "transaction", "default_pool_size": 1, **more}
        return pgpoold(databases={"test": f"host={self.server.host} port={self.server.port}"}, **options)


@pytest.fixture
def stage(fake_pg):
    def make():
        cancelled = threading.Event()
        one = Stage(fake_pg, on_cancel=cancelled.set)
        one.cancelled = cancelled
        return one
    return make


def test_a_cancel_waits_until_a_statement_of_ours_is_over(stage, pgpoold, wire, eventually):
    one = stage()
    daemon = one.daemon(pgpoold)
    first = wire(daemon, application_name="first")
    first.run("select 1")
    client = wire(daemon, application_name="second")
    client.send(query("select cancelled"))
    eventually(lambda: any("'second'" in m.sql for m in one.seen))
    request = send_cancel(wire, daemon, client)
    eventually(lambda: daemon.show("pools", database="test")[0]["cl_waiting_cancel_req"] == 1)
    request.expect_silence(0.1)
    assert one.server.cancels == []
    one.go_on.set()
    assert request.expect_closed() == []
    assert client.result().errors[0].code == "57014"
    assert client.run("select 2") == [("select 2",)]
    assert len(one.server.connections) == 1 and len(one.server.cancels) == 1


def test_a_waiting_cancel_goes_with_its_client(stage, pgpoold, wire, eventually):
    one = stage()
    daemon = one.daemon(pgpoold)
    wire(daemon, application_name="first").run("select 1")
    client = wire(daemon, application_name="second")
    client.send(query("select quick"))
    eventually(lambda: any("'second'" in m.sql for m in one.seen))
    request = send_cancel(wire, daemon, client)
    eventually(lambda: daemon.show("pools", database="test")[0]["cl_waiting_cancel_req"] == 1)
    request.close()
    client.close()
    one.go_on.set()
    assert wire(daemon, application_name="third").run("select 3") == [("select 3",)]


def test_cancel_wait_timeout_ends_the_wait_for_a_statement_of_ours(stage, pgpoold, wire, eventually):
    one = stage()
    daemon = one.daemon(pgpoold, cancel_wait_timeout="0.2")
    wire(daemon, application_name="first").run("select 1")
    client = wire(daemon, application_name="second")
    client.send(query("select quick"))
    eventually(lambda: any("'second'" in m.sql for m in one.seen))
    assert send_cancel(wire, daemon, client).expect_closed() == []
    one.go_on.set()
    assert client.result().rows == [("select quick",)]
    assert one.server.cancels == []


def test_nobody_has_the_connection_while_a_cancel_is_on_its_way(fake_pg, pgpoold, wire, eventually):
    read, through, gate = threading.Event(), threading.Event(), threading.Event()

    def script(conn):
        conn.expect("Q")
        gate.wait(60)
        conn.send(command_complete("SELECT 1"), ready())
        conn.serve()

    def on_cancel():
        read.set()
        through.wait(60)

    server = fake_pg(script, on_cancel=on_cancel)
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1,
                     databases={"test": f"host={server.host} port={server.port}"})
    client, other = wire(daemon), wire(daemon)
    client.send(query("select 1"))
    eventually(lambda: server.connections and server.connections[0].received)
    request = send_cancel(wire, daemon, client)
    assert read.wait(30)
    gate.set()
    assert client.result().tags == ["SELECT 1"]
    other.send(query("select 2"))
    eventually(lambda: servers(daemon, "being_canceled") == 1)
    request.expect_silence(0)
    other.expect_silence(0.1)
    through.set()
    assert other.result().rows == [("select 2",)]
    assert len(server.connections) == 1


def test_a_connection_whose_cancel_got_lost_is_not_lent_on(fake_pg, pgpoold, wire, eventually):
    """A request that was sent may be read at any time: nobody else may feel it then."""
    gate, through = threading.Event(), threading.Event()

    def script(conn):
        conn.expect("Q")
        gate.wait(60)
        conn.send(command_complete("SELECT 1"), ready())
        conn.serve()

    server = fake_pg(script, on_cancel=lambda: through.wait(60))
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, cancel_wait_timeout="0.3",
                     databases={"test": f"host={server.host} port={server.port}"})
    client = wire(daemon)
    client.send(query("select 1"))
    eventually(lambda: server.connections and server.connections[0].received)
    assert send_cancel(wire, daemon, client).expect_closed() == []
    gate.set()
    assert client.result().tags == ["SELECT 1"]
    server.script = None
    assert wire(daemon).run("select 2") == [("select 2",)]
    assert len(server.connections) == 2
    through.set()


def test_a_burst_of_cancels_takes_turns(fake_pg, pgpoold, wire, eventually):
    through = threading.Event()

    def script(conn):
        conn.expect("Q")
        conn.expect_closed(3600)

    server = fake_pg(script, on_cancel=lambda: through.wait(60))
    daemon = pgpoold(pool_mode="transaction", default_pool_size=70,
                     databases={"test": f"host={server.host} port={server.port}"})
    clients = [wire(daemon) for _ in range(70)]
    for client in clients:
        client.send(query("select 1"))
    eventually(lambda: sum(bool(conn.received) for conn in server.connections) == 70)
    requests = [send_cancel(wire, daemon, client) for client in clients]

    def figures():
        pool = daemon.show("pools", database="test")[0]
        return pool["cl_active_cancel_req"], pool["cl_waiting_cancel_req"], pool["sv_active_cancel"]

    eventually(lambda: figures() == (64, 6, 64))
    through.set()
    for request in requests:
        assert request.expect_closed() == []
    assert len(set(server.cancels)) == 70


def test_cancels_at_random_moments_hit_only_their_own_client(pgpoold, pg):
    """Clients with settings of their own take turns on two servers, so that each query has a statement of ours ahead;
    those that are cancelled are cancelled, and the others feel nothing, and nobody loses a connection."""
    daemon = pgpoold(pool_mode="transaction", default_pool_size=2, databases=one_database(pg))
    results = []

    def work(number):
        with daemon.connect(application_name=f"app{number}") as conn:
            for _ in range(30):
                if number % 2 == 0:
                    row = conn.execute("SELECT %s::int, current_setting('application_name')", (number,)).fetchone()
                    results.append((row, (number, f"app{number}")))
                    continue
                timer = threading.Timer(random.random() * 0.004, conn.cancel)
                timer.start()
                try:
                    conn.execute("SELECT pg_sleep(0.001)")
                except psycopg.errors.QueryCanceled:
                    pass
                timer.join()

    with Storm(6, work) as storm:
        for _ in range(300):
            if storm.rounds >= 18 or storm.errors:
                break
            time.sleep(0.1)
    assert storm.errors == []
    assert results and [row for row, right in results if row != right] == []


def test_settings_go_back_although_a_cancel_is_on_its_way(pgpoold, pg, wire):
    """RESET ALL is followed by a statement of ours, which a late cancel must not hit."""
    daemon = pgpoold(pool_mode="session", default_pool_size=1, databases=one_database(pg))
    client = wire(daemon, application_name="mine")
    pid = backend_pid(client)
    for _ in range(40):
        client.run("SET application_name = 'other'")
        client.send(query("RESET ALL"))
        request = send_cancel(wire, daemon, client)
        failed = bool(client.result().errors)
        assert request.expect_closed() == []
        assert client.run("SHOW application_name") == [("other" if failed else "mine",)]
    assert backend_pid(client) == pid
