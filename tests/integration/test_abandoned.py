# SPDX-License-Identifier: ISC
"""Clients that go away in the middle of something: nothing of theirs stays, and nothing of it reaches another."""

import struct

import pytest

from sessions import SLEEPS, Storm, Watch, backend_pid, clients, one_database, servers, wait_running
from wire import bind, copy_data, execute, flush, parse, query, sync


@pytest.fixture
def table(pg):
    """A table that a client writes to before it leaves."""
    pg.psql("DROP TABLE IF EXISTS abandoned; CREATE TABLE abandoned (a text)", db="test", user="app")
    yield "abandoned"
    pg.psql("DROP TABLE abandoned", db="test", user="app")


@pytest.fixture(params=["session", "transaction"])
def one_server(request, pgpoold, pg):
    return pgpoold(pool_mode=request.param, default_pool_size=1, databases=one_database(pg))


@pytest.fixture(params=["session", "transaction", "statement"])
def any_server(request, pgpoold, pg):
    return pgpoold(pool_mode=request.param, default_pool_size=1, databases=one_database(pg))


def reset(client):
    """The socket is closed so that the peer sees a reset."""
    client.sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER
    client.close()


def rows(pg):
    return pg.psql("SELECT count(*) FROM abandoned", db="test", user="app")[0][0]


@pytest.mark.parametrize("leave", [lambda c: c.close(), reset], ids=["closed", "reset"])
def test_an_abandoned_query_is_cancelled_and_its_server_used_again(any_server, pg, wire, eventually, leave):
    client = wire(any_server)
    pid = backend_pid(client)
    client.send(query(SLEEPS))
    wait_running(pg, SLEEPS)
    leave(client)
    assert backend_pid(wire(any_server)) == pid
    assert pg.n_connections("test") == 1


@pytest.mark.parametrize("command", ["KILL test", "KILL_CLIENT"])
def test_the_query_of_a_client_that_is_killed_is_cancelled(any_server, pg, wire, eventually, command):
    client = wire(any_server)
    client.send(query(SLEEPS))
    wait_running(pg, SLEEPS)
    if command == "KILL_CLIENT":
        command += f" {any_server.show('clients', user='app')[0]['id']}"
    any_server.admin(command)
    eventually(lambda: pg.n_connections("test") == 0)


def stuff(client, sql):
    """Sends query after query and reads no answer, until everything on the way is full."""
    client.sock.settimeout(1)
    with pytest.raises(TimeoutError):
        while True:
            client.sock.sendall(query(sql) * 100)


@pytest.mark.parametrize("leave", [lambda c: c.close(), reset], ids=["closed", "reset"])
def test_a_client_that_leaves_behind_a_full_pipeline_gives_its_server_back(any_server, wire, eventually, leave):
    client = wire(any_server)
    stuff(client, "SELECT repeat('z', 1000)")
    leave(client)
    assert wire(any_server).run("SELECT 1") == [("1",)]
    eventually(lambda: clients(any_server) <= 1)


def test_an_abandoned_query_holds_its_place_until_it_has_ended(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=2, databases=one_database(pg))
    with Watch(pg) as watch:
        for _ in range(6):
            gone = [wire(daemon) for _ in range(2)]
            for client in gone:
                client.send(query(SLEEPS))
            wait_running(pg, SLEEPS, 2)
            for client in gone:
                client.close()
            assert wire(daemon).run("SELECT 1") == [("1",)]
    assert watch.most == 2


@pytest.mark.parametrize("state", ["T", "E"])
def test_a_client_lost_in_a_transaction_gets_it_rolled_back(one_server, pg, table, wire, state):
    client = wire(one_server)
    pid = backend_pid(client)
    client.run("BEGIN")
    client.run("INSERT INTO abandoned VALUES ('x')")
    if state == "E":
        client.query("SELECT 1/0")
    client.close()
    after = wire(one_server)
    assert after.run("SELECT pg_backend_pid(), pg_current_xact_id_if_assigned() IS NULL") == [(str(pid), "t")]
    assert rows(pg) == 0


def test_a_client_that_says_goodbye_in_a_transaction_gets_it_rolled_back(one_server, pg, table, wire):
    client = wire(one_server)
    client.run("BEGIN")
    client.run("INSERT INTO abandoned VALUES ('x')")
    client.goodbye()
    assert wire(one_server).query("SELECT 1").status == "I"
    assert rows(pg) == 0


def test_a_query_sent_with_the_goodbye_still_runs(one_server, pg, table, wire, eventually):
    client = wire(one_server)
    client.run("SELECT 1")
    client.send(query("INSERT INTO abandoned SELECT 'x' FROM pg_sleep(0.2)"), b"X\0\0\0\4")
    client.close()
    eventually(lambda: rows(pg) == 1)


def test_what_was_executed_without_a_sync_is_rolled_back(one_server, pg, table, wire):
    """The client leaves between its Execute and its Sync: everything is answered, and yet a transaction is open."""
    client = wire(one_server)
    pid = backend_pid(client)
    client.send(parse("", "INSERT INTO abandoned VALUES ('x')"), bind(), execute(), flush())
    client.expect("1", "2", "C")
    client.close()
    after = wire(one_server)
    assert after.run("SELECT pg_current_xact_id_if_assigned() IS NULL") == [("t",)]
    after.run("SELECT 1")
    assert rows(pg) == 0
    assert pg.psql("SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
                   " WHERE c.relname = 'abandoned'", db="test") == [(0,)]
    assert isinstance(pid, int)


def test_a_client_lost_after_a_failed_message_without_sync_leaves_a_usable_server(one_server, pg, wire):
    client = wire(one_server)
    pid = backend_pid(client)
    client.send(parse("", "SELECT nonsense"), flush())
    client.expect("E")
    client.close()
    assert backend_pid(wire(one_server)) == pid


def test_a_client_lost_in_copy_in_leaves_nothing(one_server, pg, table, wire):
    client = wire(one_server)
    pid = backend_pid(client)
    client.send(query("COPY abandoned FROM STDIN"))
    client.expect("G")
    client.send(copy_data("one\n"), copy_data("two\n"))
    client.close()
    assert backend_pid(wire(one_server)) == pid
    assert rows(pg) == 0


def test_a_client_lost_in_extended_copy_in_leaves_nothing(one_server, pg, table, wire):
    client = wire(one_server)
    pid = backend_pid(client)
    client.send(parse("", "COPY abandoned FROM STDIN"), bind(), execute(), flush())
    client.expect("1", "2", "G")
    client.send(copy_data("one\n"))
    client.close()
    assert backend_pid(wire(one_server)) == pid
    assert rows(pg) == 0


def test_a_client_lost_in_copy_in_behind_its_early_sync_leaves_nothing(one_server, pg, table, wire):
    """Whether the server has read that Sync cannot be known: another connection takes the place of this one."""
    client = wire(one_server)
    client.send(parse("", "COPY abandoned FROM STDIN"), bind(), execute(), sync())
    client.expect("1", "2", "G")
    client.send(copy_data("one\n"))
    client.close()
    after = wire(one_server)
    assert [after.query(f"SELECT {i}").rows for i in range(3)] == [[(str(i),)] for i in range(3)]
    assert rows(pg) == 0


def test_a_client_lost_before_the_server_begins_its_copy_leaves_nothing(one_server, pg, table, wire):
    """The server asks for data when nobody is there any more who could send some."""
    lock = pg.connect()
    lock.execute("BEGIN; LOCK abandoned")
    client = wire(one_server)
    client.run("SELECT 1")
    client.send(query("COPY abandoned FROM STDIN"))
    wait_running(pg, "COPY abandoned FROM STDIN")
    client.close()
    lock.close()
    assert wire(one_server).run("SELECT 1") == [("1",)]
    assert rows(pg) == 0


def test_a_client_lost_in_copy_out_frees_its_server(one_server, pg, wire, eventually):
    client = wire(one_server)
    client.send(query("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 10000000)) TO STDOUT"))
    client.expect("H", "d")
    client.close()
    assert wire(one_server).run("SELECT 'mine'") == [("mine",)]


def test_a_client_lost_in_a_big_result_frees_its_server(one_server, wire):
    client = wire(one_server)
    client.send(query("SELECT repeat('x', 1000) FROM generate_series(1, 10000000)"))
    client.expect("T", "D")
    client.close()
    other = wire(one_server)
    assert other.query("SELECT 'mine'").kinds == "TDCZ"


@pytest.mark.parametrize("part", [
    query("SELECT '" + "x" * 100_000 + "'")[:70_000],
    query("INSERT INTO abandoned VALUES ('half')")[:20],
    parse("s", "INSERT INTO abandoned VALUES ('half')")[:20],
    b"Q\0",
], ids=["long", "short", "parse", "header"])
def test_a_client_lost_in_the_middle_of_a_message_harms_nobody(one_server, pg, table, wire, part):
    client = wire(one_server)
    client.run("BEGIN")
    client.run("INSERT INTO abandoned VALUES ('x')")
    client.send(part)
    client.close()
    assert wire(one_server).query("SELECT 'mine'").rows == [("mine",)]
    assert rows(pg) == 0


def test_a_client_lost_in_the_middle_of_copy_data_harms_nobody(one_server, pg, table, wire):
    client = wire(one_server)
    client.send(query("COPY abandoned FROM STDIN"))
    client.expect("G")
    client.send(copy_data("y" * 100_000 + "\n")[:60_000])
    client.close()
    assert wire(one_server).query("SELECT 'mine'").rows == [("mine",)]
    assert rows(pg) == 0


def test_a_client_lost_in_the_queue_is_forgotten(pgpoold, pg, wire, eventually, table):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, databases=one_database(pg))
    holder, gone = wire(daemon), wire(daemon)
    holder.run("BEGIN")
    gone.send(query("INSERT INTO abandoned VALUES ('x')"))
    eventually(lambda: clients(daemon, "waiting") == 1)
    gone.close()
    eventually(lambda: clients(daemon, "waiting") == 0)
    holder.run("COMMIT")
    assert wire(daemon).run("SELECT count(*) FROM abandoned") == [("0",)]


@pytest.mark.parametrize("over", ["tcp", "unix", "tls"])
@pytest.mark.parametrize("leave", [lambda c: c.close(), reset], ids=["closed", "reset"])
def test_a_client_lost_in_the_queue_with_half_a_large_message_is_forgotten(pgpoold, pg, wire, eventually, certs, over, leave):
    """It is not read any more by then. What it has sent fits into the sockets."""
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, databases=one_database(pg), client_tls_sslmode="allow",
                     client_tls_cert_file=certs.server, client_tls_key_file=certs.server_key)
    with wire(daemon) as holder:
        holder.run("BEGIN")
        for _ in range(2):  # the first one's end takes nothing from the second
            gone = wire(daemon, login=False, host=daemon.socket_dir if over == "unix" else None)
            if over == "tls":
                assert gone.ask_tls() == "S"
                gone.start_tls()
            gone.login()
            gone.send(query(f"SELECT '{'x' * 200_000}'")[:90_000])
            eventually(lambda: clients(daemon, "waiting") == 1)
            leave(gone)
            eventually(lambda: clients(daemon, "waiting") == 0)
        stays = wire(daemon)
        large = query(f"SELECT length('{'x' * 200_000}')")
        stays.send(large[:90_000])
        eventually(lambda: clients(daemon, "waiting") == 1)
        holder.run("COMMIT")
    stays.send(large[90_000:])
    assert stays.result().rows == [("200000",)]


def test_many_clients_that_vanish_leave_the_pool_whole(pgpoold, pg, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=3, databases=one_database(pg))

    def vanish(number):
        with wire(daemon) as client:
            client.send(query("BEGIN"), query(f"SELECT {number}, pg_sleep(0.01)"), query("SELECT 1/0"))
            if number % 2:
                client.read()

    with Watch(pg) as watch, Storm(12, vanish) as storm:
        eventually(lambda: storm.rounds > 100)
    assert storm.errors == []
    assert watch.most <= 3
    client = wire(daemon)
    assert client.query("SELECT 42").rows == [("42",)]
    eventually(lambda: servers(daemon, "active") == 0)
    eventually(lambda: all(row["state"] == "idle" and row["xact_start"] is None for row in pg.activity("test")))


ENDLESS = "SELECT repeat('x', 1000) FROM generate_series(1, 9999) a, generate_series(1, 9999) b"


@pytest.mark.parametrize("sql", [ENDLESS, f"COPY ({ENDLESS}) TO STDOUT"], ids=["select", "copy"])
def test_a_result_without_end_is_not_read_to_its_end(one_server, pg, wire, eventually, sql):
    client = wire(one_server)
    client.send(query(f"SELECT pg_backend_pid(); {sql}"), b"X\0\0\0\4")
    eventually(lambda: [a for a in pg.activity("test") if a["state"] == "active"])
    client.close()
    eventually(lambda: all(a["state"] == "idle" for a in pg.activity("test")))
    assert wire(one_server).run("SELECT 1") == [("1",)]
