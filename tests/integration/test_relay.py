# SPDX-License-Identifier: ISC
"""Bytes on their way: big ones with little memory, slow peers, and messages that no sane client sends."""

import threading

import pytest

from daemon_process import SANITIZER_ENV
from sessions import one_database, resident_kb, running, wait_running
from wire import (bind, copy_data, copy_done, describe, execute, msg, parse, query, raw, sync)

MEGABYTE = 1_000_000
# What one client in the middle of something may cost the daemon, sanitizer included.
ROOM_KB = 24_000


@pytest.fixture(params=["session", "transaction"])
def daemon(request, pgpoold, pg):
    # The sanitizer keeps what was freed, up to 256 MB: memory is measured here, so let it keep little.
    env = {"ASAN_OPTIONS": SANITIZER_ENV["ASAN_OPTIONS"] + ":quarantine_size_mb=1"}
    return pgpoold(pool_mode=request.param, default_pool_size=3, databases=one_database(pg), env=env)


def drain(client, n_bytes):
    """Reads and drops; the last bytes are returned."""
    tail, seen = b"", 0
    while seen < n_bytes or not tail.endswith(b"Z\0\0\0\x05I"):
        data = client.sock.recv(1 << 20)
        assert data
        seen += len(data)
        tail = (tail + data)[-100:]
    return tail, seen


def test_a_result_of_200_megabytes_takes_little_memory(daemon, wire):
    client = wire(daemon)
    client.run("SELECT 1")
    before = resident_kb(daemon)
    client.send(query("SELECT repeat('x', 100000) FROM generate_series(1, 2000)"))
    tail, seen = drain(client, 200 * MEGABYTE)
    assert b"SELECT 2000\0" in tail and seen > 200 * MEGABYTE
    assert resident_kb(daemon) - before < ROOM_KB


def test_one_value_of_100_megabytes_takes_little_memory(daemon, wire):
    client = wire(daemon)
    client.run("SELECT 1")
    before = resident_kb(daemon)
    client.send(parse("", "SELECT repeat('x', 100000000)"), bind(), describe("P", ""), execute(), sync())
    drain(client, 100 * MEGABYTE)
    assert resident_kb(daemon) - before < ROOM_KB


def test_a_copy_in_of_200_megabytes_takes_little_memory(daemon, pg, wire):
    pg.psql("DROP TABLE IF EXISTS big; CREATE UNLOGGED TABLE big (a text) WITH (toast_tuple_target = 8000)", db="test",
            user="app")
    client = wire(daemon, timeout=60)
    client.run("SELECT 1")
    before = resident_kb(daemon)
    client.send(query("COPY big FROM STDIN"))
    client.expect("G")
    line = copy_data("y" * 9_999 + "\n") * 100
    for _ in range(200):
        client.send(line)
    client.send(copy_done())
    assert client.result().tags == ["COPY 20000"]
    assert resident_kb(daemon) - before < ROOM_KB
    pg.psql("DROP TABLE big", db="test", user="app")


def test_a_query_of_20_megabytes_takes_little_memory(daemon, wire):
    client = wire(daemon, timeout=60)
    client.run("SELECT 1")
    before = resident_kb(daemon)
    client.send(query("SELECT length('" + "x" * 20 * MEGABYTE + "')"))
    assert client.result().rows == [(str(20 * MEGABYTE),)]
    client.send(parse("", "SELECT length($1)"), bind("", "", ["z" * 20 * MEGABYTE]), execute(), sync())
    assert client.result().rows == [(str(20 * MEGABYTE),)]
    assert resident_kb(daemon) - before < ROOM_KB


def test_a_client_that_does_not_read_holds_its_server_back(daemon, pg, wire, eventually):
    sql = "SELECT repeat('x', 10000) FROM generate_series(1, 10000)"
    client = wire(daemon)
    client.run("SELECT 1")
    before = resident_kb(daemon)
    client.send(query(sql))
    eventually(lambda: [row for row in running(pg, sql) if row["wait_event"] == "ClientWrite"])
    assert resident_kb(daemon) - before < ROOM_KB
    others = wire(daemon)
    assert others.run("SELECT 1") == [("1",)]
    tail, _ = drain(client, 100 * MEGABYTE)
    assert b"SELECT 10000\0" in tail


def test_a_server_that_does_not_read_holds_its_client_back(daemon, pg, wire):
    pg.psql("DROP TABLE IF EXISTS held; CREATE TABLE held (a text)", db="test", user="app")
    lock = pg.connect()
    lock.execute("BEGIN; LOCK held")
    client = wire(daemon)
    client.run("SELECT 1")
    before = resident_kb(daemon)
    sql = "COPY held FROM STDIN"
    client.send(query(sql))
    wait_running(pg, sql)
    client.sock.setblocking(False)
    line, sent, rest = copy_data("y" * 9_999 + "\n") * 10, 0, b""
    while sent < 100 * MEGABYTE:
        try:
            n = client.sock.send(rest or line)
        except BlockingIOError:
            break
        sent += n
        rest = (rest or line)[n:]
    assert sent < 100 * MEGABYTE
    assert resident_kb(daemon) - before < ROOM_KB
    assert wire(daemon).run("SELECT 1") == [("1",)]
    lock.close()
    client.send(rest, copy_done())
    assert client.result(60).errors == []
    pg.psql("DROP TABLE held", db="test", user="app")


def test_a_pipeline_of_big_results_that_nobody_reads_is_bounded(daemon, wire):
    client = wire(daemon)
    client.run("SELECT 1")
    before = resident_kb(daemon)
    n = 50
    writer = threading.Thread(target=client.send, args=[query("SELECT repeat('x', 1000000)") for _ in range(n)])
    writer.start()
    client.sock.settimeout(30)
    other = wire(daemon)
    for i in range(20):
        assert other.run(f"SELECT {i}") == [(str(i),)]
    assert resident_kb(daemon) - before < ROOM_KB
    writer.join(15)
    for _ in range(n):
        assert len(client.result().rows[0][0]) == MEGABYTE


def test_one_big_result_does_not_starve_others(daemon, wire, eventually):
    big, small = wire(daemon), wire(daemon)
    big.send(query("SELECT repeat('x', 100000) FROM generate_series(1, 3000)"))
    reader = threading.Thread(target=drain, args=(big, 300 * MEGABYTE))
    reader.start()
    answers = 0
    while reader.is_alive():
        assert small.run("SELECT 1") == [("1",)]
        answers += 1
    reader.join()
    assert answers > 5


def test_results_arrive_whole_in_any_size(daemon, wire):
    client = wire(daemon)
    for size in (0, 1, 100, 4091, 8187, 16_379, 65_531, 65_536, 131_072, 1_000_003):
        assert client.run(f"SELECT repeat('ab', {size}), {size}") == [("ab" * size, str(size))]
        client.send(parse("", "SELECT $1::text"), bind("", "", ["c" * size]), execute(), sync())
        assert client.result().rows == [("c" * size,)]


def test_a_row_of_many_columns_and_its_description_arrive_whole(daemon, wire):
    client = wire(daemon)
    columns = ", ".join(f"{i} AS a_rather_long_name_for_the_column_number_{i}" for i in range(1600))
    for _ in range(2):
        result = client.query(f"SELECT {columns}")
        assert len(result.names) == 1600 and result.rows == [tuple(str(i) for i in range(1600))]
    client.send(parse("wide", f"SELECT {columns}"), describe("S", "wide"), bind("", "wide"), execute(), sync())
    result = client.result()
    assert len(result.names) == 1600 and len(result.rows[0]) == 1600


def test_notices_reach_their_client_in_order(daemon, wire):
    client = wire(daemon)
    result = client.query("DO $$ BEGIN FOR i IN 1..100 LOOP RAISE NOTICE 'n%', i; END LOOP; END $$; SELECT 1")
    assert [n.text for n in result.notices] == [f"n{i}" for i in range(1, 101)]
    assert result.kinds.endswith("CTDCZ")


def test_a_long_error_arrives_whole(daemon, wire):
    client = wire(daemon)
    result = client.query("DO $$ BEGIN RAISE EXCEPTION '%', repeat('e', 200000) USING DETAIL = repeat('d', 200000); END $$")
    assert result.errors[0].text == "e" * 200_000 and result.errors[0].detail == "d" * 200_000
    assert client.run("SELECT 1") == [("1",)]


@pytest.mark.parametrize("bytes_", [
    raw("Q", 3), raw("Q", -1), raw("Q", 0), raw("?", 8, b"abcd"), msg("p", b"secret\0"), raw("S", 2_000_000_000),
    raw("B", 0x7fffffff), msg("D", b""), msg("C", b"X"), msg("P", b"no end"), msg("E", b"\0"), msg("\0"),
], ids=range(12))
def test_a_malformed_message_ends_its_sender_only(daemon, wire, bytes_):
    bad, good = wire(daemon), wire(daemon)
    good.run("BEGIN")
    bad.send(bytes_, sync())
    try:
        bad.expect_closed(3)
    except TimeoutError:
        bad.close()
    assert good.run("SELECT 'fine'") == [("fine",)]
    assert good.query("COMMIT").status == "I"
    assert wire(daemon).run("SELECT 1") == [("1",)]


def test_a_message_over_max_packet_size_is_refused(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", max_packet_size=100_000, databases=one_database(pg))
    client = wire(daemon)
    assert len(client.run("SELECT '" + "x" * 90_000 + "'")[0][0]) == 90_000
    client.send(query("SELECT '" + "x" * 110_000 + "'"))
    assert [m.severity for m in client.expect_closed() if m.kind == "E"] == ["FATAL"]
    assert wire(daemon).run("SELECT 1") == [("1",)]


def test_a_server_that_talks_nonsense_costs_its_client_only(pgpoold, fake_pg, wire):
    def script(conn):
        conn.expect("Q")
        conn.send(msg("1"))
        conn.expect_closed()

    server = fake_pg(script)
    daemon = pgpoold(pool_mode="transaction", databases={"test": f"host={server.host} port={server.port}"})
    client = wire(daemon)
    client.send(query("select 1"))
    error, = [m for m in client.expect_closed() if m.kind == "E"]
    assert (error.severity, error.code) == ("FATAL", "08P01")
    server.script = None
    assert wire(daemon).run("select 2") == [("select 2",)]


def test_a_server_that_vanishes_is_told_to_its_client_once(pgpoold, fake_pg, wire):
    server = fake_pg(lambda conn: (conn.expect("Q"), conn.reset()))
    daemon = pgpoold(pool_mode="transaction", databases={"test": f"host={server.host} port={server.port}"})
    client = wire(daemon)
    client.send(query("select 1"))
    errors = [m for m in client.expect_closed() if m.kind == "E"]
    assert [(e.severity, e.code) for e in errors] == [("FATAL", "08006")]
