# SPDX-License-Identifier: ISC
"""The network and the hosts fail: connections end after any number of bytes, packets vanish, PostgreSQL or the daemon itself
stands still. Those concerned are told, the others notice nothing, and everything is as before afterwards."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import threading

import psycopg
import pytest

from faults import descriptors, objects
from sessions import Storm, Watch, servers, wait_running
from waiting import eventually
from wire import Client, Closed, ServerError, bind, copy_data, copy_done, execute, parse, query, sync

# Of the bytes of a session about this many are the last ones; RESETS_EVERY=1 takes each.
CUTS = 40
EVERY = int(os.environ.get("RESETS_EVERY", "0"))


class Proxy:
    """Passes bytes between its clients and @target. cut("up", n): the connection on which the n-th byte from now passes that way
    is reset on both sides. stall(): packets vanish from now on, both ways, also those of new connections; go_on()."""

    host = "127.0.0.1"

    def __init__(self, target):
        self._target = target
        self._listener = socket.create_server((self.host, 0), backlog=100)
        self.port = self._listener.getsockname()[1]
        self.most = {"up": None, "down": None}
        self.passed = {"up": 0, "down": 0}  # over all connections
        self._flowing = threading.Event()
        self._flowing.set()
        self._sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, way, after):
        self.most = {"up": None, "down": None, way: after}
        self.passed = {"up": 0, "down": 0}

    def mend(self):
        self.most = {"up": None, "down": None}

    def stall(self):
        self._flowing.clear()

    def go_on(self):
        self._flowing.set()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near):
        self._flowing.wait()
        try:
            far = socket.create_connection((self._target.host, self._target.port))
        except OSError:
            near.close()
            return
        self._sockets += [near, far]
        back = threading.Thread(target=self._pump, args=(far, near, "down"), daemon=True)
        back.start()
        self._pump(near, far, "up")
        back.join()
        near.close()
        far.close()

    def _pump(self, source, sink, way):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                most = self.most[way]
                left = len(data) if most is None else max(0, most - self.passed[way])
                self.passed[way] += len(data)
                sink.sendall(data[:left])
                if left < len(data) or (most is not None and self.passed[way] >= most):
                    self.mend()  # it happens once
                    for sock in (source, sink):
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        _wake_and_close(sock)
                    return
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def close(self):
        self._flowing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def _wake_and_close(sock):
    """A reset, although another thread may be reading from @sock: close() alone would wait for it."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RD)
    fd = sock.detach()
    if fd >= 0:
        os.close(fd)


@pytest.fixture
def proxy():
    """proxy(target): see Proxy."""
    made = []

    def make(target):
        made.append(Proxy(target))
        return made[-1]

    yield make
    for one in made:
        one.close()


def through(server, **keys):
    more = "".join(f" {k}={v}" for k, v in keys.items())
    return {"test": f"host={server.host} port={server.port}{more}"}


# Connections that are reset

def script(target, mode):
    """A session with something of everything. Raises what an application would see."""
    with Client.connect(target.host, target.port) as client:
        client.login("app", "test", application_name="cut")
        if mode != "statement":
            client.run("BEGIN")
            client.run("INSERT INTO cuts VALUES (1)")
            client.run("COMMIT")
        client.send(parse("s", "SELECT $1::int + 1"), bind("", "s", ["1"]), execute(), sync())
        client.result()
        client.query("SELECT 1/0")
        client.send(query("COPY cuts FROM STDIN"))
        if (answer := client.read()).kind == "E":
            raise ServerError(answer)
        client.send(copy_data("2\n"), copy_done())
        client.result()
        client.run("SELECT repeat('x', 2000)")
        client.goodbye()


@pytest.fixture
def cuts(pg):
    pg.psql("DROP TABLE IF EXISTS cuts; CREATE TABLE cuts (a int)", "test", "app")
    yield
    pg.psql("DROP TABLE cuts", "test", "app")


@pytest.mark.seconds(3600 if EVERY else 300)
@pytest.mark.parametrize("mode", ["transaction", "session", "statement"])
@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("side", ["client", "server"])
def test_a_reset_after_any_byte_harms_nobody_else(pgpoold, pg, proxy, cuts, side, way, mode):
    """Cut between client and daemon, or between daemon and PostgreSQL. A client beside it goes on with its transaction."""
    behind = proxy(pg)
    daemon = pgpoold(pool_mode=mode, server_login_retry=0.1, default_pool_size=2, databases={
        **through(behind), "beside": f"host={pg.host} port={pg.port} dbname=test pool_mode=transaction"})
    before = proxy(daemon)
    cutter = before if side == "client" else behind
    if side == "server":
        daemon.admin("RECONNECT")
    cutter.cut(way, None)
    script(before, mode)
    total = cutter.passed[way]
    with Client.connect(daemon.host, daemon.port).login("app", "beside") as beside:
        mark = beside.run("BEGIN; SELECT pg_backend_pid()")
        for n in range(1, total, EVERY or max(1, total // CUTS)):
            if side == "server":
                daemon.admin("RECONNECT test")
            cutter.cut(way, n)
            with contextlib.suppress(Closed, ServerError, ConnectionError):
                script(before, mode)
            cutter.mend()
            assert daemon.psql("SELECT 42") == [(42,)], f"after a reset behind byte {n} of {total}"
            assert beside.run("SELECT pg_backend_pid()") == mark
        beside.run("COMMIT")
    eventually(lambda: not daemon.show("clients", user="app"))
    eventually(lambda: servers(daemon, "active") == 0)
    eventually(lambda: all(row["state"] == "idle" for row in pg.activity("test")))


# Packets that vanish

def test_a_network_that_swallows_everything_costs_those_on_it_their_time(pgpoold, pg, proxy):
    """query_timeout ends who runs, query_wait_timeout who waits; another database goes on; it is all well again afterwards."""
    hole = proxy(pg)
    daemon = pgpoold(pool_mode="transaction", default_pool_size=2, query_timeout=2, query_wait_timeout=4,
                     cancel_wait_timeout=1, server_connect_timeout=2, server_login_retry=0.2,
                     databases={**through(hole), "test2": f"host={pg.host} port={pg.port}"})
    told = []

    def ask():
        try:
            daemon.psql("SELECT 1")
            told.append("answered")
        except psycopg.Error as problem:
            told.append(str(problem))

    assert daemon.psql("SELECT 1") == [(1,)]
    fds = len(descriptors(daemon))
    hole.stall()
    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert daemon.psql("SELECT 2", db="test2") == [(2,)]
    for thread in threads:
        thread.join(60)
    assert len(told) == 6 and all("timeout" in text for text in told), told
    hole.go_on()
    eventually(lambda: daemon.psql("SELECT 3") == [(3,)])
    eventually(lambda: not daemon.show("clients", user="app") and servers(daemon, "active", "login", database="test") == 0)
    assert servers(daemon, database="test") <= 2
    eventually(lambda: len(descriptors(daemon)) <= fds + 2)  # a second server connection, and one to test2


# Somebody stands still

def processes_of(cluster):
    """The postmaster first, then its children."""
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(cluster.process.pid)], stdout=subprocess.PIPE, check=False)
    return [cluster.process.pid, *map(int, children.stdout.split())]


@contextlib.contextmanager
def frozen(cluster):
    """As if its host hung: the kernel takes connections and bytes, and nobody answers."""
    stopped = []
    try:
        for _ in range(3):  # until nobody was born meanwhile
            for pid in processes_of(cluster):
                if pid not in stopped:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGSTOP)
                    stopped.append(pid)
        yield
    finally:
        for pid in reversed(stopped):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_frozen_server_costs_its_clients_their_time_and_nobody_else(pgpoold, pg, other_pg, mode):
    daemon = pgpoold(pool_mode=mode, default_pool_size=2, query_timeout=2, query_wait_timeout=4, cancel_wait_timeout=1,
                     server_connect_timeout=2, server_login_retry=0.2,
                     databases={**through(pg), "test2": f"host={other_pg.host} port={other_pg.port}"})
    idle = daemon.connect()
    assert idle.execute("SELECT 1").fetchone() == (1,)
    with frozen(pg):
        clients = [Client.connect(daemon.host, daemon.port) for _ in range(3)]
        for client in clients:
            client.timeout = 60
            client.send_startup("app", "test")
        told = []
        for client in clients:
            try:
                client.authenticate("app")  # needs no server: it is known what it would say
                client.send(query("SELECT 1"))
                told.append([message.text for message in client.expect_closed() if message.kind == "E"])
            except ServerError as problem:  # its server was that of another session
                told.append([problem.text])
        assert all(len(texts) == 1 and "timeout" in texts[0] for texts in told), told
        assert daemon.psql("SELECT 2", db="test2") == [(2,)]
        assert daemon.show("version")
    eventually(lambda: daemon.psql("SELECT 3") == [(3,)])
    assert idle.execute("SELECT 4").fetchone() == (4,)
    idle.close()
    eventually(lambda: not daemon.show("clients", user="app"))
    eventually(lambda: servers(daemon, "active", "login") == 0)
    eventually(lambda: pg.n_connections("test") <= 2)


def test_a_pooler_that_stood_still_goes_on_where_it_was(pgpoold, pg):
    """Nobody is ended for time that only passed for the pooler, nothing is lost, and who came meanwhile is served."""
    daemon = pgpoold(pool_mode="transaction", default_pool_size=2)
    before = objects(daemon)
    with daemon.connect(autocommit=False) as conn, daemon.connect() as running:
        conn.execute("CREATE TEMP TABLE frozen (a int)")
        conn.execute("INSERT INTO frozen VALUES (1)")
        answers = []
        runner = threading.Thread(target=lambda: answers.append(running.execute("SELECT 'x' FROM pg_sleep(0.5)").fetchone()))
        runner.start()
        wait_running(pg, "SELECT 'x' FROM pg_sleep(0.5)")
        daemon.signal(signal.SIGSTOP)
        late = threading.Thread(target=lambda: answers.append(daemon.psql("SELECT 'late'", connect_timeout=60)[0]))
        late.start()
        eventually(lambda: not [a for a in pg.activity("test") if a["state"] == "active"])  # it has answered meanwhile
        daemon.signal(signal.SIGCONT)
        runner.join(60)
        assert conn.execute("SELECT a FROM frozen").fetchone() == (1,)
        conn.rollback()
        late.join(60)
    assert sorted(answers) == [("late",), ("x",)]
    eventually(lambda: not daemon.show("clients", user="app"))
    assert objects(daemon)["pools"] >= before["pools"]


# PostgreSQL says no

def test_a_server_in_recovery_is_waited_for(pgpoold, pg, fake_pg):
    """57P03: with hosts to choose from another one is taken, else it is tried again, and who waits is served at last."""
    up = threading.Event()

    def starting(conn):
        if up.is_set():
            conn.welcome()
            conn.serve()
        else:
            conn.refuse("57P03", "the database system is starting up")

    server = fake_pg(on_startup=starting)
    daemon = pgpoold(pool_mode="transaction", server_login_retry=0.1, query_wait_timeout=60,
                     databases={"test": f"host={server.host} port={server.port}"})
    with pytest.raises(psycopg.OperationalError, match="the database system is starting up"):
        daemon.psql("SELECT 1")
    up.set()
    eventually(lambda: daemon.psql("SELECT 1") == [("SELECT 1",)])


def test_a_commit_that_was_answered_is_never_told_as_failed(pgpoold, pg, eventually):
    """Servers are killed all the time: each row whose COMMIT was answered is there; the one under way may be."""
    pg.psql("DROP TABLE IF EXISTS ledger; CREATE TABLE ledger (worker int, n int)", "test", "app")
    daemon = pgpoold(pool_mode="transaction", default_pool_size=3, server_login_retry=0.1)
    answered = {i: set() for i in range(6)}
    tried = {i: 0 for i in range(6)}

    def work(worker):
        with daemon.connect() as conn:
            for _ in range(20):
                tried[worker] += 1
                n = tried[worker]
                conn.execute("BEGIN")
                conn.execute("INSERT INTO ledger VALUES (%s, %s)", [worker, n])
                conn.execute("COMMIT")
                answered[worker].add(n)

    with Storm(6, work) as storm:
        for _ in range(15):
            done = sum(map(len, answered.values()))
            pg.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'test' ORDER BY backend_start DESC LIMIT 1")
            eventually(lambda: sum(map(len, answered.values())) > done + 10)
    for worker, rows in answered.items():
        there = {n for n, in pg.psql(f"SELECT n FROM ledger WHERE worker = {worker}", "test", "app")}
        assert rows <= there
    assert {problem.sqlstate for problem in storm.errors} <= {"57P01", "08006", None}
    pg.psql("DROP TABLE ledger", "test", "app")


# Too many clients, too impatient

@pytest.mark.seconds(300)
def test_500_impatient_clients_never_make_more_than_pool_size_backends(pgpoold, pg):
    """Each gives up after 100 ms by closing its socket, as aiopg does, and comes again; the queries sleep for longer."""
    daemon = pgpoold(pool_mode="transaction", default_pool_size=20, max_client_conn=2000, log_connections=0,
                     log_disconnections=0, query_wait_notify=0, databases=through(pg))

    def impatient():
        for _ in range(2):
            clients = [Client.connect(daemon.host, daemon.port).login("app", "test") for _ in range(50)]
            for client in clients:
                client.send(query("SELECT pg_sleep(30)"))
                client.sock.settimeout(0.1)
            for client in clients:
                with contextlib.suppress(TimeoutError):
                    client.sock.recv(1)
                    raise AssertionError("an answer that nobody can have")
                client.close()

    daemon.psql("SELECT 1")
    with Watch(pg) as watch:
        threads = [threading.Thread(target=impatient) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert daemon.psql("SELECT 1") == [(1,)]
    assert watch.most == 20
    eventually(lambda: not [a for a in pg.activity("test") if a["state"] == "active"], timeout=60)
    eventually(lambda: not daemon.show("clients", user="app"), timeout=60)
    assert servers(daemon, database="test") <= 20
