# SPDX-License-Identifier: ISC
"""Results and COPY of many megabytes, whose bytes are moved from socket to socket without being read (backend_bulk.c,
client_bulk.c): whatever the sizes of their messages, whoever reads slowly, whoever leaves in the middle."""

import contextlib
import re
import socket

import pytest

from account import give
from sessions import one_database
from waiting import eventually
from wire import copy_data, copy_done, query

N_ROWS = 60000
LENGTH = "(i::bigint * 7919) % 911"      # of row i, but for one in twenty thousand:
LONG = 3000000


def text_of(i):
    digits = f"{i},".encode()
    n = LONG if i % 20000 == 0 else i * 7919 % 911
    return (digits * (n // len(digits) + 1))[:n]


SELECT = (f"SELECT substr(repeat(i || ',', n / length(i || ',') + 1), 1, n) FROM (SELECT i, CASE WHEN i % 20000 = 0 "
          f"THEN {LONG} ELSE ({LENGTH})::int END AS n FROM generate_series(1, {N_ROWS}) i) s")


@pytest.fixture
def daemon(pgpoold, pg):
    return pgpoold(pool_mode="transaction", default_pool_size=1, databases=one_database(pg))


@pytest.fixture
def table(pg):
    pg.psql("DROP TABLE IF EXISTS bulk; CREATE TABLE bulk (i int, t text)", db="test", user="app")
    yield "bulk"
    pg.psql("DROP TABLE bulk", db="test", user="app")


def look(client, i):
    m = client.read(timeout=60)
    assert m.kind == "D" and m.body[6:] == text_of(i), f"row {i}"


@pytest.mark.parametrize("room", (0, 100000))
def test_a_long_result_arrives_as_it_was_sent(daemon, wire, room):
    """Rows of 0 to 910 bytes and three of 3 MB; the second client's socket takes little at a time."""
    client = wire(daemon)
    if room:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    client.send(query(SELECT), query("SELECT 'behind'"))
    client.expect("T")
    for i in range(1, N_ROWS + 1):
        look(client, i)
    assert [client.read().kind for _ in "CZ"] == ["C", "Z"]
    assert client.result().rows == [("behind",)]


def test_a_long_copy_arrives_as_it_was_sent(daemon, pg, wire, table):
    client = wire(daemon)
    client.send(query("COPY bulk FROM STDIN"))
    client.expect("G")
    lines = [b"%d\t%s\n" % (i, text_of(i)) for i in range(1, N_ROWS + 1)]
    client.sock.settimeout(60)
    client.sock.sendall(b"".join(map(copy_data, lines)) + copy_done())
    assert client.result(timeout=60).tags == [f"COPY {N_ROWS}"]
    wrong = pg.psql(f"SELECT count(*) FROM (SELECT row_number() OVER () AS i, s.* FROM ({SELECT}) s) w "
                    "LEFT JOIN bulk b USING (i) WHERE b.t IS DISTINCT FROM w.substr", db="test", user="app")
    assert wrong == [(0,)]


@pytest.mark.parametrize("sql", (SELECT, f"COPY ({SELECT}) TO STDOUT"))
def test_who_leaves_a_long_result_leaves_nothing_to_the_next(daemon, wire, sql):
    client = wire(daemon)
    client.send(query(sql))
    client.read_bytes(3000000)
    client.close()
    assert wire(daemon).query("SELECT 'mine'", timeout=60).rows == [("mine",)]


def test_who_leaves_a_long_copy_leaves_nothing_to_the_next(daemon, pg, wire, table):
    client = wire(daemon)
    client.send(query("COPY bulk FROM STDIN"))
    client.expect("G")
    client.sock.settimeout(60)
    client.sock.sendall(b"".join(copy_data(b"%d\t%s\n" % (i, text_of(i))) for i in range(1, 20000)))
    client.close()
    assert wire(daemon).query("SELECT count(*) FROM bulk", timeout=60).rows == [("0",)]


def test_a_long_copy_that_fails_is_read_to_its_end(daemon, wire, table):
    client = wire(daemon)
    client.send(query("COPY bulk FROM STDIN"))
    client.expect("G")
    client.sock.settimeout(60)
    client.sock.sendall(b"".join(copy_data(b"%d\t%s\n" % (i, text_of(i)) if i != 9000 else b"no number\tat all\n")
                                 for i in range(1, 40000)) + copy_done())
    assert [e.code for e in client.result(timeout=60).errors] == ["22P02"]
    assert client.query("SELECT count(*) FROM bulk").rows == [("0",)]


def test_urgent_bytes_put_nobody_out_of_step(daemon, wire, table):
    """They stand where they were sent; the next client has an answer of its own whatever became of this one."""
    client = wire(daemon)
    client.send(query("COPY bulk FROM STDIN"))
    client.expect("G")
    client.sock.settimeout(60)
    data = b"".join(copy_data(b"%d\t%s\n" % (i, text_of(i))) for i in range(1, 15000))
    with contextlib.suppress(OSError):  # the daemon may have closed it: the stream makes no sense any more
        for _ in range(4):
            client.sock.sendall(data)
            client.sock.send(b"Q", socket.MSG_OOB)
    client.close()
    assert wire(daemon).query("SELECT 'mine'", timeout=60).rows == [("mine",)]


def test_long_runs_are_moved_and_not_read(pgpoold, pg, wire, table):
    """Seen from outside; else nobody would notice but by the CPU."""
    daemon = pgpoold(pool_mode="transaction", databases=one_database(pg), server_tls_sslmode="disable", start=False)
    trace, traced = daemon.home / "trace", daemon.home / "traced"
    traced.write_text(f'#!/bin/sh\nexec strace -D -qq -e trace=splice -o {trace} {daemon.binary} "$@"\n')
    give(traced)
    daemon.binary = traced
    daemon.start(env={"ASAN_OPTIONS": "detect_leaks=0:exitcode=99"})  # LeakSanitizer wants to trace as well
    client = wire(daemon)

    def moved():
        return sum(int(n) for n in re.findall(r" = (\d+)$", trace.read_text(), re.M))

    client.query(SELECT, timeout=60)
    out = moved()
    client.send(query("COPY bulk FROM STDIN"))
    client.expect("G")
    client.sock.settimeout(60)
    client.sock.sendall(b"".join(copy_data(b"%d\t%s\n" % (i, text_of(i))) for i in range(1, 20000)) * 3 + copy_done())
    client.result(timeout=60)
    assert out > 1000000
    eventually(lambda: moved() > out + 1000000)
