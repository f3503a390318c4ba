# SPDX-License-Identifier: ISC
"""COPY in both directions and both protocols: success, failures of either side, and clients that are early."""

import psycopg
import pytest

from sessions import backend_pid, one_database, wait_waiting
from wire import bind, copy_data, copy_done, copy_fail, describe, execute, flush, parse, query, sync


@pytest.fixture(params=["session", "transaction"])
def daemon(request, pgpoold, pg):
    return pgpoold(pool_mode=request.param, default_pool_size=1, databases=one_database(pg))


@pytest.fixture
def table(pg):
    pg.psql("DROP TABLE IF EXISTS copied; CREATE TABLE copied (a int)", db="test", user="app")
    yield "copied"
    pg.psql("DROP TABLE copied", db="test", user="app")


COPY_IN = "COPY copied FROM STDIN"
COPY_OUT = "COPY (SELECT generate_series(1, 3)) TO STDOUT"


def rows(pg):
    return pg.psql("SELECT count(*) FROM copied", db="test", user="app")[0][0]


def usable(daemon, client, wire):
    """The client is in step, and so is the server for whoever comes next."""
    assert client.query("SELECT 'in step'").rows == [("in step",)]
    client.goodbye()
    assert wire(daemon).query("SELECT 'too'").rows == [("too",)]


def begin_extended(client, *more):
    client.send(parse("", COPY_IN), bind(), describe("P", ""), execute(), *more)


def test_copy_in(daemon, pg, table, wire):
    client = wire(daemon)
    client.send(query(COPY_IN))
    client.expect("G")
    client.send(copy_data("1\n"), copy_data("2\n3\n"), copy_done())
    assert client.result().tags == ["COPY 3"]
    assert rows(pg) == 3
    usable(daemon, client, wire)


def test_copy_out(daemon, wire):
    client = wire(daemon)
    client.send(query(COPY_OUT))
    assert client.result().kinds == "HdddcCZ"
    usable(daemon, client, wire)


def test_copy_in_by_the_extended_protocol(daemon, pg, table, wire):
    client = wire(daemon)
    begin_extended(client, flush())
    client.expect("1", "2", "n", "G")
    client.send(copy_data("1\n"), copy_done(), sync())
    assert client.result().tags == ["COPY 1"]
    usable(daemon, client, wire)


def test_copy_in_with_the_early_sync_of_libpq(daemon, pg, table, wire):
    client = wire(daemon)
    for _ in range(3):
        begin_extended(client, sync())
        client.expect("1", "2", "n", "G")
        client.send(copy_data("1\n"), copy_done(), sync())
        assert client.result().kinds == "CZ"
    assert rows(pg) == 3
    usable(daemon, client, wire)


def test_a_copy_whose_data_comes_before_the_server_is_ready(daemon, pg, table, wire):
    client = wire(daemon)
    client.send(query(COPY_IN), copy_data("1\n"), copy_data("2\n"), copy_done(), query("SELECT 'next'"))
    assert client.result().kinds == "GCZ"
    assert client.result().rows == [("next",)]
    begin_extended(client, copy_data("3\n"), copy_done(), sync(), query("SELECT 'next'"))
    assert client.result().kinds == "12nGCZ"
    assert client.result().rows == [("next",)]
    assert rows(pg) == 3
    usable(daemon, client, wire)


def test_copy_out_by_the_extended_protocol(daemon, wire):
    client = wire(daemon)
    client.send(parse("", COPY_OUT), bind(), execute(), sync())
    assert client.result().kinds == "12HdddcCZ"
    usable(daemon, client, wire)


def test_a_client_may_give_up_its_copy(daemon, pg, table, wire):
    client = wire(daemon)
    client.send(query(COPY_IN))
    client.expect("G")
    client.send(copy_data("1\n"), copy_fail("no more"))
    error = client.result().errors[0]
    assert error.code == "57014" and "no more" in error.text
    begin_extended(client, sync())
    client.expect("1", "2", "n", "G")
    client.send(copy_data("1\n"), copy_fail("no more"), sync())
    assert client.result().kinds == "EZ"
    assert rows(pg) == 0
    usable(daemon, client, wire)


def test_bad_data_ends_the_copy_and_the_rest_is_ignored(daemon, pg, table, wire):
    client = wire(daemon)
    client.send(query(COPY_IN))
    client.expect("G")
    client.send(copy_data("1\nnonsense\n"))
    assert client.result().errors[0].code == "22P02"
    client.send(*(copy_data("2\n") for _ in range(100)), copy_done())
    assert client.query("SELECT 'in step'").kinds == "TDCZ"
    assert rows(pg) == 0
    usable(daemon, client, wire)


def test_bad_data_in_the_extended_protocol_skips_to_the_sync_behind_it(daemon, pg, table, wire):
    client = wire(daemon)
    begin_extended(client, sync())
    client.expect("1", "2", "n", "G")
    client.send(copy_data("nonsense\n"))
    client.expect("E")
    client.send(*(copy_data("2\n") for _ in range(100)), copy_done(), sync())
    client.expect("Z")
    assert rows(pg) == 0
    usable(daemon, client, wire)


def test_a_copy_that_cannot_begin_leaves_everything_in_step(daemon, wire):
    client = wire(daemon)
    client.send(query("COPY nowhere FROM STDIN"), copy_data("1\n"), copy_done())
    assert client.result().kinds == "EZ"
    assert client.query("SELECT 1").kinds == "TDCZ"
    client.send(parse("", "COPY nowhere FROM STDIN"), bind(), execute(), sync(), copy_data("1\n"), copy_done(), sync())
    assert client.result().kinds == "12EZ"
    client.expect("Z")
    usable(daemon, client, wire)


def test_a_copy_that_fails_before_it_reads_leaves_the_early_sync_to_be_answered(daemon, pg, wire):
    """From outside it looks like one that has read the Sync: the server must not go on to somebody else in doubt."""
    pg.psql("CREATE OR REPLACE VIEW copied_view AS SELECT 1 AS a; GRANT ALL ON copied_view TO app", db="test")
    client = wire(daemon)
    client.send(parse("", "COPY copied_view FROM STDIN"), bind(), execute(), sync())
    assert client.result().errors[0].code in ("42809", "55000")
    assert client.query("SELECT 'in step'").rows == [("in step",)]
    others = [wire(daemon)] if client.close() is None else []
    for other in others:
        assert [other.query(f"SELECT {i}").rows for i in range(3)] == [[(str(i),)] for i in range(3)]
    pg.psql("DROP VIEW copied_view", db="test")


def test_copies_in_a_transaction(daemon, pg, table, wire):
    client = wire(daemon)
    client.run("BEGIN")
    client.send(query(COPY_IN))
    client.expect("G")
    client.send(copy_data("1\n"), copy_done())
    assert client.result().status == "T"
    client.send(query("COPY copied TO STDOUT"))
    assert client.result().kinds == "HdcCZ"
    client.run("ROLLBACK")
    assert rows(pg) == 0
    usable(daemon, client, wire)


def test_several_copies_in_one_query(daemon, pg, table, wire):
    client = wire(daemon)
    client.send(query(f"{COPY_IN}; {COPY_OUT}; {COPY_IN}"))
    client.expect("G")
    client.send(copy_data("1\n"), copy_done())
    assert [m.kind for m in client.read_until("G")] == list("CHdddcCG")
    client.send(copy_data("2\n"), copy_done())
    assert client.result().tags == ["COPY 1"]
    assert rows(pg) == 2
    usable(daemon, client, wire)


def test_a_copy_keeps_its_server(pgpoold, pg, table, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, databases=one_database(pg))
    client, other = wire(daemon), wire(daemon)
    begin_extended(client, sync())
    client.expect("1", "2", "n", "G")
    other.send(query("SELECT 'other'"))
    wait_waiting(daemon)
    client.send(copy_data("1\n"), copy_done(), sync())
    client.expect("C", "Z")
    assert other.result().rows == [("other",)]


def test_stray_copy_messages_are_ignored_as_postgresql_does(daemon, wire):
    client = wire(daemon)
    pid = backend_pid(client)
    client.send(copy_data("stray"), copy_done(), copy_fail("stray"), query("SELECT 1"))
    assert client.result().rows == [("1",)]
    assert backend_pid(client) == pid
    usable(daemon, client, wire)


def test_psycopg_copies_both_ways(daemon, pg, table):
    with daemon.connect() as conn:
        with conn.cursor() as cursor, cursor.copy("COPY copied FROM STDIN") as copy:
            for i in range(1000):
                copy.write_row((i,))
        with conn.cursor() as cursor, cursor.copy("COPY copied TO STDOUT") as copy:
            assert sum(1 for _ in copy.rows()) == 1000
        with pytest.raises(psycopg.errors.QueryCanceled), conn.cursor() as cursor, cursor.copy("COPY copied FROM STDIN") as copy:
            copy.write_row((1,))
            raise ZeroDivisionError
        assert conn.execute("SELECT count(*) FROM copied").fetchone() == (1000,)
