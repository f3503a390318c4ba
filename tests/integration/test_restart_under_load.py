# SPDX-License-Identifier: ISC
"""PostgreSQL goes away while many clients work, and comes back: clients go on, the daemon is the same process."""

import contextlib
import threading
import time

import psycopg
import pytest

from programs import at_most
from waiting import PATIENCE

CLIENTS = 20
SERVERS = 4


class Load:
    """Clients that work in a loop and connect again after an error: what an application does."""

    def __init__(self, daemon, prepared=False):
        self._daemon = daemon
        self._prepare = prepared
        self._end = threading.Event()
        self.done = [0] * CLIENTS
        self.errors = []
        self.surprises = []
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(CLIENTS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in self._threads), "a client hangs"

    def _work(self, n):
        while not self._end.is_set():
            try:
                with self._daemon.connect(connect_timeout=10) as conn:
                    while not self._end.is_set():
                        self._step(conn, n)
            except psycopg.OperationalError as problem:
                self.errors.append(problem)
                time.sleep(0.02)
            except Exception as problem:  # pylint: disable=broad-except  # whatever it is, it must not be
                self.surprises.append(problem)
                return

    def _step(self, conn, n):
        with conn.transaction():
            value = conn.execute("SELECT %s::int + %s", [n, self.done[n]], prepare=self._prepare).fetchone()[0]
            assert value == n + self.done[n]
        conn.execute("INSERT INTO load (client, step) VALUES (%s, %s)", [n, self.done[n]])
        self.done[n] += 1

    def progress(self):
        """All clients have done something since the last call of the returned function was made."""
        before = list(self.done)
        return lambda: all(now > then for now, then in zip(self.done, before))


@pytest.fixture
def load_table(pg):
    pg.psql("DROP TABLE IF EXISTS load; CREATE TABLE load (client int, step int)", "test", "app")
    pg.psql("CHECKPOINT")  # else a crash may forget the table
    yield
    if not pg.is_running():
        pg.start()
    pg.psql("SET lock_timeout = 5000; DROP TABLE load", "test", "app")


@pytest.mark.parametrize("mode, prepared", [("transaction", False), ("transaction", True), ("session", False)])
@pytest.mark.parametrize("how", ["restart", "immediate", "kill9"])
def test_clients_go_on_after_the_server_is_back(pgpoold, pg, load_table, eventually, how, mode, prepared):
    daemon = pgpoold(pool_mode=mode, default_pool_size=SERVERS if mode == "transaction" else CLIENTS,
                     server_login_retry=1)
    pid = daemon.pid
    with Load(daemon, prepared) as load:
        eventually(load.progress())
        if how == "kill9":
            pg.kill9()
        else:
            pg.stop("fast" if how == "restart" else "immediate")
        eventually(lambda: len(load.errors) >= 3)
        pg.start()
        eventually(load.progress())
        assert not load.surprises
    assert daemon.is_running() and daemon.pid == pid
    # Every step is there, and the one that an error interrupted may be. A crash loses the newest: commits do not wait.
    rows = dict(pg.psql("SELECT client, count(DISTINCT step) FROM load GROUP BY 1", "test", "app"))
    assert all(rows[n] <= done + 1 and (how != "restart" or rows[n] >= done) for n, done in enumerate(load.done))
    sqlstates = {e.sqlstate for e in load.errors if e.sqlstate}
    assert sqlstates <= {"57P01", "57P02", "57P03", "08006", "08001", "08P01", "58000"}, sqlstates


def test_one_killed_backend_after_another(pgpoold, pg, load_table, eventually):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=SERVERS)
    with at_most(pg, SERVERS), Load(daemon) as load:
        for _ in range(10):
            eventually(load.progress())
            with contextlib.suppress(psycopg.Error):
                pg.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'test' LIMIT 2")
        eventually(load.progress())
    assert not load.surprises
    assert {e.sqlstate for e in load.errors if e.sqlstate} <= {"57P01"}


def test_idle_clients_do_not_notice_a_restart(pgpoold, pg, eventually):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=SERVERS, min_pool_size=2, server_login_retry=1)
    conns = [daemon.connect() for _ in range(10)]
    for conn in conns:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    for stop in (pg.restart, pg.kill9):
        stop()
        if not pg.is_running():
            pg.start()
        eventually(lambda: pg.n_connections("test") >= 2)  # the minimum is rebuilt by itself
        for conn in conns:
            assert conn.execute("SELECT 2").fetchone() == (2,)
    for conn in conns:
        conn.close()


def test_who_asks_meanwhile_is_served_when_the_server_is_back(pgpoold, pg, eventually):
    daemon = pgpoold(pool_mode="transaction", server_login_retry=1)
    answers = []
    with daemon.connect() as conn:
        conn.execute("SELECT 1")
        pg.stop()
        asking = threading.Thread(target=lambda: answers.append(conn.execute("SELECT 2").fetchone()))
        asking.start()
        eventually(lambda: daemon.show("pools", database="test")[0]["cl_waiting"] == 1)
        pg.start()
        asking.join(PATIENCE)
    assert answers == [(2,)]


def test_who_asks_meanwhile_does_not_wait_for_ever(pgpoold, pg):
    daemon = pgpoold(pool_mode="transaction", server_login_retry=1, query_wait_timeout=2)
    with daemon.connect() as conn:
        conn.execute("SELECT 1")
        pg.stop()
        with pytest.raises(psycopg.OperationalError, match="query_wait_timeout"):
            conn.execute("SELECT 2")
