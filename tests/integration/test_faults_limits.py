# SPDX-License-Identifier: ISC
"""Descriptors run out, memory has a limit, the wall clock jumps: what cannot be done fails, all else goes on."""

import contextlib
import datetime
import mmap
import subprocess
import threading

import psycopg
import pytest

import faults
from account import as_server_account
from faults import descriptors, limit_descriptors
from sessions import servers
from waiting import PATIENCE, eventually
from wire import Client, Closed, ServerError, query


@pytest.fixture
def faulty(pgpoold, pg, worker_dir):
    """faulty(**options): a daemon, and the faults that happen in it."""
    library = faults.build(worker_dir)

    def make(**options):
        daemon = pgpoold(start=False, databases={
            "test": f"host={pg.host} port={pg.port}", "greedy": f"host={pg.host} port={pg.port} dbname=test"},
                         **{"pool_mode": "transaction", "server_login_retry": 0.1, **options})
        what = faults.Faults(daemon.home, library)
        daemon.start(env=what.env)
        return daemon, what
    return make


# Descriptors

def test_each_descriptor_too_few(pgpoold, pg):
    """With room for n more descriptors, for every n up to enough: a login, two server connections, a cancel, a RELOAD. Those
    who are connected go on in each case."""
    daemon = pgpoold(pool_mode="transaction", default_pool_size=2, server_login_retry=0.1, query_wait_timeout=1,
                     databases={"test": f"host={pg.host} port={pg.port}", "beside": f"host={pg.host} port={pg.port} dbname=test"})
    console = daemon.console()
    outcomes = set()
    with daemon.connect("beside", autocommit=False) as beside:
        pid = beside.execute("SELECT pg_backend_pid()").fetchone()
        before = None
        for room in range(9):
            console.query("KILL test")
            console.query("RESUME test")
            eventually(lambda: not daemon.show("servers", database="test") and not daemon.show("clients", database="test"))
            # Only our look at the console may be on its way out.
            eventually(lambda: before is None or len(descriptors(daemon)) <= before)
            before = before or len(descriptors(daemon))
            soft = limit_descriptors(daemon, before + room)
            try:
                outcomes.add(attempt(daemon))
                assert not console.query("RELOAD").errors or room < 3
                assert beside.execute("SELECT pg_backend_pid()").fetchone() == pid
            finally:
                limit_descriptors(daemon, soft)
            eventually(lambda: daemon.psql("SELECT 1") == [(1,)], timeout=30)
    console.close()
    assert None in outcomes and len(outcomes) > 1, outcomes


def attempt(daemon):
    """Two clients with a transaction each; None when all went well, else what was said."""
    clients = []
    try:
        for _ in range(2):
            sock = Client.connect(daemon.host, daemon.port, timeout=3)
            clients.append(sock)
            sock.login("app", "test")
            if sock.query("BEGIN").errors:
                return "an error"
            sock.run("SELECT 1")
    except (Closed, ServerError, ConnectionError, TimeoutError) as problem:
        return type(problem).__name__
    finally:
        for client in clients:
            client.close()
    return None


# A limit of memory

def uses_sanitizer(daemon):
    return b"__asan_init" in subprocess.run(["nm", "-D", daemon.binary], stdout=subprocess.PIPE, check=True).stdout


@contextlib.contextmanager
def little_memory(daemon, what, more):
    """No more than @more bytes beyond what it has. With ASan, which wants addresses for itself, by refusing allocations; else
    by RLIMIT_AS."""
    if uses_sanitizer(daemon):
        what.control.budget = what.control.in_use + more
        yield
        what.mend()
        return
    with open(f"/proc/{daemon.pid}/statm", encoding="ascii") as statm:
        pages = int(statm.read().split()[0])
    for limit in (pages * mmap.PAGESIZE + more, "unlimited"):
        subprocess.run(as_server_account(["prlimit", "--pid", daemon.pid, f"--as={limit}:"]), check=True)
        if limit != "unlimited":
            yield


def test_a_limit_of_memory_ends_those_who_want_too_much(faulty):
    """Greedy clients leave large messages half sent. Some of them are ended. Whose query needs no memory (without TLS)
    goes on, and who comes later is served, at the latest when query_wait_timeout has ended those who wait with what they sent."""
    daemon, what = faulty(default_pool_size=2, server_tls_sslmode="disable", query_wait_timeout=2)
    modest = Client.connect(daemon.host, daemon.port).login("app", "test")
    assert modest.run("SELECT 1") == [("1",)]
    daemon.psql("SELECT 1", db="greedy")
    greedy = []
    # A Parse is gathered whole before it goes on.
    half = b"P" + (1_000_000).to_bytes(4, "big") + b"\0SELECT '" + b"x" * 900_000
    with little_memory(daemon, what, 500_000):
        for _ in range(30):
            with contextlib.suppress(Closed, ServerError, ConnectionError, TimeoutError):
                client = Client.connect(daemon.host, daemon.port, timeout=1)
                greedy.append(client)
                client.login("app", "greedy")
                client.send(half)
            assert modest.run("SELECT 2") == [("2",)]
        told = []
        for client in greedy:
            try:
                told += [m.text for m in client.expect_closed(timeout=0.05) if m.kind == "E"]
            except (TimeoutError, ConnectionError):
                pass
            client.close()
        eventually(lambda: len(daemon.show("clients", user="app")) == 1)
        assert daemon.psql("SELECT 3", db="greedy") == [(3,)]  # what they had is there for others
    assert set(told) <= {"out of memory", "query_wait_timeout"}
    assert "out of memory" in daemon.log or "Cannot allocate memory" in daemon.log
    assert modest.run("SELECT 4") == [("4",)]
    modest.close()
    assert daemon.psql("SELECT repeat('x', 1000000)") == [("x" * 1000000,)]


# Clocks

@pytest.mark.parametrize("jump", [datetime.timedelta(days=400), datetime.timedelta(days=-400)], ids=["ahead", "back"])
def test_the_wall_clock_jumps(faulty, jump):
    """All deadlines are by the monotonic clock: nobody is ended too early, and nobody lives for ever."""
    daemon, what = faulty(default_pool_size=1, query_timeout=2, query_wait_timeout=30, client_idle_timeout=100,
                          server_idle_timeout=100, server_lifetime=1000, idle_transaction_timeout=100)
    with daemon.connect() as idle, daemon.connect(autocommit=False) as busy:
        assert idle.execute("SELECT 1").fetchone() == (1,)
        pid = busy.execute("SELECT pg_backend_pid()").fetchone()
        waits = []
        waiter = threading.Thread(target=lambda: waits.append(daemon.psql("SELECT 'served'")[0]))
        waiter.start()
        eventually(lambda: daemon.show("pools", database="test")[0]["cl_waiting"] == 1)
        what.control.wall_offset = int(jump.total_seconds())
        year = (datetime.datetime.now(datetime.timezone.utc) + jump).strftime("%Y-%m-")
        eventually(lambda: daemon.show("version") and any(line.startswith(year) for line in daemon.log.splitlines()))
        assert busy.execute("SELECT pg_backend_pid()").fetchone() == pid
        busy.commit()
        waiter.join(PATIENCE)
        assert waits == [("served",)]
        assert idle.execute("SELECT pg_backend_pid()").fetchone() == pid
        with pytest.raises(psycopg.errors.QueryCanceled):
            idle.execute("SELECT pg_sleep(3600)")
        assert idle.execute("SELECT 2").fetchone() == (2,)
        what.control.wall_offset = 0
        assert idle.execute("SELECT pg_backend_pid()").fetchone() == pid
        pools = daemon.show("pools", database="test")[0]
        assert pools["maxwait"] == 0 and pools["cl_waiting"] == 0
        assert servers(daemon, "idle", database="test") == 1
    with Client.connect(daemon.host, daemon.port).login("app", "test") as late:
        late.send(query("SELECT 1"))
        assert late.result().rows == [("1",)]
