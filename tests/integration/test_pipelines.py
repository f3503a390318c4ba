# SPDX-License-Identifier: ISC
"""Many messages in one go: the order of answers, errors on the way, and when the server is given back."""

import pytest

from sessions import alternating, one_database, servers, wait_waiting
from wire import (bind, close, copy_data, copy_done, describe, execute, flush, function_call, parse, query, raw, sync,
                  terminate)


@pytest.fixture
def daemon(pgpoold, pg):
    return alternating(pgpoold, pg)


@pytest.fixture
def one_server(pgpoold, pg):
    return pgpoold(pool_mode="transaction", default_pool_size=1, databases=one_database(pg))


def select(value):
    return parse("", f"SELECT {value}") + bind() + execute()


def test_the_last_sync_of_a_pipeline_gives_the_server_back(one_server, wire):
    client, other = wire(one_server), wire(one_server)
    client.send(*(select(f"{i}, pg_sleep(0.02)") + sync() for i in range(5)))
    other.send(query("SELECT 'other'"))
    results = [client.result() for _ in range(5)]
    assert [r.rows[0][0] for r in results] == [str(i) for i in range(5)]
    assert {r.status for r in results} == {"I"}
    assert other.result().rows == [("other",)]


def test_an_open_transaction_between_syncs_keeps_the_server(one_server, wire):
    client, other = wire(one_server), wire(one_server)
    client.send(query("BEGIN"), select("1"), sync(), query("SELECT 2"))
    assert [client.result().status for _ in range(3)] == ["T", "T", "T"]
    other.send(query("SELECT 'other'"))
    wait_waiting(one_server)
    client.send(select("3"), sync(), query("COMMIT"))
    assert [client.result().status for _ in range(2)] == ["T", "I"]
    assert other.result().rows == [("other",)]


def test_each_sync_ends_its_own_errors(daemon, wire):
    client = wire(daemon)
    client.send(select("1"), select("nonsense"), select("2"), sync(), select("3"), sync(), select("4 FROM nowhere"),
                sync(), query("SELECT 5"))
    kinds = [client.result().kinds for _ in range(4)]
    assert kinds == ["12DCEZ", "12DCZ", "EZ", "TDCZ"]


def test_a_thousand_queries_in_one_write_are_answered_in_order(daemon, wire):
    client = wire(daemon)
    n = 1000
    client.send(*(query(f"SELECT {i}") if i % 3 else select(str(i)) + sync() for i in range(n)))
    assert [client.result().rows for _ in range(n)] == [[(str(i),)] for i in range(n)]


def test_a_long_batch_under_one_sync_is_answered(daemon, wire):
    client = wire(daemon)
    n = 5000
    client.send(parse("s", "SELECT $1::int"), *(bind("", "s", [str(i)]) + execute() for i in range(n)), sync())
    assert client.result().rows == [(str(i),) for i in range(n)]


def test_pipelines_of_many_clients_do_not_mix(daemon, wire):
    clients = [wire(daemon) for _ in range(8)]
    for _ in range(3):
        for number, client in enumerate(clients):
            client.send(*(select(f"'{number}-{i}'") + sync() + query(f"SELECT '{number}-{i}'") for i in range(30)))
        for number, client in enumerate(clients):
            for i in range(30):
                assert client.result().rows == [(f"{number}-{i}",)]
                assert client.result().rows == [(f"{number}-{i}",)]


@pytest.mark.parametrize("size", [1, 3, 7, 64])
def test_messages_may_come_in_any_pieces(daemon, wire, size):
    client = wire(daemon)
    stream = b"".join([parse("s", "SELECT $1::text"), describe("S", "s"), bind("", "s", ["x" * 50]), execute(),
                       close("S", "s"), sync(), query("SELECT 'y'"), function_call(1598), sync()])
    for at in range(0, len(stream), size):
        client.send(stream[at:at + size])
    kinds = [client.read_until("Z") for _ in range(4)]
    assert ["".join(m.kind for m in messages) for messages in kinds] == ["1tT2DC3Z", "TDCZ", "VZ", "Z"]


def test_two_syncs_in_a_row_are_two_answers(one_server, wire):
    client = wire(one_server)
    client.send(sync(), sync())
    client.expect("Z", "Z")
    client.send(select("1"), sync(), sync(), sync())
    client.expect("1", "2", "D", "C", "Z", "Z", "Z")
    assert wire(one_server).run("SELECT 1") == [("1",)]


def test_a_copy_in_the_middle_of_a_pipeline(daemon, wire):
    client = wire(daemon)
    client.run("DROP TABLE IF EXISTS pipelined; CREATE TABLE pipelined (a text)")
    client.send(query("SELECT 1"), query("COPY pipelined FROM STDIN"), copy_data("x\n"), copy_done(), query("SELECT 2"))
    assert [m.kind for m in client.read_until("G")] == list("TDCZG")
    assert client.result().tags == ["COPY 1"]
    assert client.result().rows == [("2",)]
    client.run("DROP TABLE pipelined")


def test_transactions_in_a_pipeline_release_between_them(one_server, wire, eventually):
    client = wire(one_server)
    client.send(*(query(sql) for _ in range(20) for sql in ("BEGIN", "SELECT 1", "COMMIT")))
    statuses = [client.result().status for _ in range(60)]
    assert statuses == ["T", "T", "I"] * 20
    eventually(lambda: servers(one_server, "idle") == 1)


def test_a_goodbye_behind_a_pipeline_does_not_cut_it_off(one_server, pg, wire, eventually):
    pg.psql("CREATE TABLE goodbye (a int)", db="test", user="app")
    client = wire(one_server)
    client.run("SELECT 1")
    client.send(*(parse("", f"INSERT INTO goodbye VALUES ({i})") + bind() + execute() + sync() for i in range(5)),
                b"X\0\0\0\4")
    client.close()
    eventually(lambda: pg.psql("SELECT count(*) FROM goodbye", db="test", user="app") == [(5,)])
    pg.psql("DROP TABLE goodbye", db="test", user="app")


def test_an_error_in_a_transaction_of_a_pipeline_skips_only_its_batch(one_server, wire):
    client = wire(one_server)
    client.send(parse("", "BEGIN"), bind(), execute(), select("1"), select("nonsense"), select("2"), sync(),
                query("SELECT 3"), query("ROLLBACK"), query("SELECT 4"))
    first, second, third, fourth = (client.result() for _ in range(4))
    assert first.kinds == "12C12DCEZ" and first.status == "E"
    assert second.errors[0].code == "25P02"
    assert third.tags == ["ROLLBACK"] and fourth.rows == [("4",)]


def test_a_query_between_messages_without_sync_ends_their_batch(one_server, wire):
    client = wire(one_server)
    client.send(select("1"), query("SELECT 2"))
    assert client.result().kinds == "12DCTDCZ"
    assert wire(one_server).run("SELECT 3") == [("3",)]


def test_a_failed_message_skips_simple_queries_too(one_server, wire):
    client = wire(one_server)
    client.send(select("nonsense"), query("SELECT 2"), sync(), query("SELECT 3"))
    assert client.result().kinds == "EZ"
    assert client.result().rows == [("3",)]


def test_a_flush_after_an_error_brings_it_at_once(one_server, wire):
    client = wire(one_server)
    client.send(select("nonsense"), flush())
    client.expect("E")
    client.send(select("1"), flush())
    client.expect_silence(0.1)
    client.send(sync())
    client.expect("Z")


def test_pipelining_drivers_work(daemon):
    with daemon.connect() as conn, conn.pipeline() as pipe:
        cursors = [conn.execute("SELECT %s::int", (i,)) for i in range(100)]
        pipe.sync()
        assert [c.fetchone() for c in cursors] == [(i,) for i in range(100)]


def test_a_drivers_pipeline_goes_on_after_an_error(daemon):
    with daemon.connect() as conn:
        conn.prepare_threshold = None  # psycopg 3.1 takes what a failed pipeline skipped for prepared, directly as well
        for _ in range(5):
            with conn.pipeline() as pipe:
                conn.execute("SELECT 1")
                pipe.sync()
            try:
                with conn.pipeline():
                    conn.execute("SELECT nonsense")
                    conn.execute("SELECT 1")
            except Exception as problem:  # pylint: disable=broad-except  # looked at below
                assert getattr(problem, "sqlstate", None) == "42703"
            assert conn.execute("SELECT 2").fetchone() == (2,)


def test_a_query_behind_a_failed_batch_without_a_sync_is_skipped_as_by_postgresql(pgpoold, pg, wire, eventually):
    """And when the client leaves just then, the server connection is not lent on while it still skips."""
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, databases=one_database(pg))
    for target in (pg, daemon):
        client = wire(target)
        client.send(parse("", "SELECT no_such_column"), query("SELECT 'skipped'"))
        assert client.read_until("E")[-1].code == "42703"
        client.send(query("SELECT 'skipped too'"), sync())
        assert [m.kind for m in client.read_until("Z")] == ["Z"]
        assert client.run("SELECT 'answered'") == [("answered",)]
    client.send(parse("", "SELECT no_such_column"), query("SELECT 'skipped'"))
    client.read_until("E")
    client.close()
    assert wire(daemon).run("SELECT 'next'") == [("next",)]


@pytest.mark.parametrize("end", ["nonsense", "too early", "goodbye"])
def test_what_a_client_sent_before_its_end_goes_before_our_cleaning(pgpoold, pg, wire, end):
    """In one packet: the beginning of a batch and what ends the connection. The server must get them in this order."""
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, databases=one_database(pg), log_pooler_errors=0)
    last = {"nonsense": raw("?", 4), "too early": raw("Q", 2), "goodbye": terminate()}[end]
    for _ in range(20):
        client = wire(daemon)
        client.send(parse("", "SELECT 1/0"), bind(), execute(), last)
        client.expect_closed()
        following = wire(daemon)
        assert following.run("SELECT 'mine'") == [("mine",)]
        following.close()
