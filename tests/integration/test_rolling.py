# SPDX-License-Identifier: ISC
"""Restarts that no client notices: processes that share a port, and sockets that systemd keeps open."""

import os
import signal
import socket
import sys

import psycopg
import pytest

from account import give
from peer_group import Group, show
from sessions import Storm, one_database
from waiting import eventually
from wire import query

# As systemd does it: the sockets are 3, 4, ..., and LISTEN_PID is who gets them.
HAND_OVER = """
import fcntl, os, sys
names, fds = sys.argv[1], [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for fd in sys.argv[2].split(",")]
for i, fd in enumerate(fds):
    os.dup2(fd, 3 + i)
    os.close(fd)
os.environ.update(LISTEN_FDS=str(len(fds)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=names)
os.execv(sys.argv[3], sys.argv[3:])
"""


def transaction(dsn):
    """Connects, has a transaction, leaves."""
    with psycopg.connect(dsn) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
        assert conn.execute("SELECT 2").fetchone() == (2,)


def wait_rounds(storm, n):
    """Until the storm has done @n more rounds, or something went wrong."""
    goal = storm.rounds + n
    eventually(lambda: storm.rounds >= goal or storm.errors, f"{n} more transactions", timeout=60)


@pytest.fixture
def group(pgpoold, pg):
    groups = []

    def make(n, **how):
        groups.append(Group(pgpoold, pg, n, one_port=True, pool_mode="transaction", **how))
        return groups[-1]

    yield make
    for one in groups:
        one.close()


@pytest.mark.parametrize("how", ["SIGTERM", "SHUTDOWN WAIT_FOR_CLIENTS"])
def test_a_rolling_restart_under_load_fails_nobody(group, how):
    two = group(2)
    with Storm(6, lambda _: transaction(two[1].dsn())) as storm:
        for daemon in two.daemons * 2:
            wait_rounds(storm, 30)
            if how == "SIGTERM":
                daemon.signal(signal.SIGTERM)
            else:
                with daemon.console(host=daemon.socket_dir) as console:
                    assert console.query(how).tags == ["SHUTDOWN"]
            daemon.wait_exit(timeout=60)
            wait_rounds(storm, 10)
            two.start(daemon)
        wait_rounds(storm, 30)
    assert storm.errors == []


def test_transactions_of_the_old_process_go_on(group, wire):
    two = group(2)
    client = wire(two[1], host=two[1].socket_dir)
    over_tcp = [wire(two[1]) for _ in range(8)]
    for one in (client, *over_tcp):
        one.run("BEGIN")
    two[1].signal(signal.SIGTERM)
    eventually(lambda: show(two[1], "state"))
    transaction(two[2].dsn())
    for one in (client, *over_tcp):
        assert one.run("SELECT 1") == [("1",)]
        one.run("COMMIT")
        one.goodbye()
    two[1].wait_exit()
    transaction(two[2].dsn())


@pytest.mark.parametrize("shared", [0, 1])
def test_who_has_connected_before_the_shutdown_is_served(pgpoold, pg, wire, shared):
    """The process sleeps while they connect: they are in the kernel's queue when the shutdown begins."""
    daemon = pgpoold(so_reuseport=shared, pool_mode="transaction", databases=one_database(pg))
    daemon.signal(signal.SIGSTOP)
    clients = [wire(daemon, login=False) for _ in range(20)]
    for client in clients:
        client.send_startup("app", "test")
    daemon.signal(signal.SIGTERM)
    daemon.signal(signal.SIGCONT)
    for client in clients:
        client.authenticate("app")
        assert client.run("SELECT 1") == [("1",)]
    for client in clients[1:]:
        client.goodbye()
    daemon.wait_log("SIGTERM")
    assert clients[0].run("SELECT 2") == [("2",)]
    clients[0].goodbye()
    daemon.wait_exit()


def test_alone_on_a_shared_port_it_refuses_after_a_while(pgpoold, pg, wire):
    daemon = pgpoold(so_reuseport=1, databases=one_database(pg))
    client = wire(daemon)
    daemon.signal(signal.SIGTERM)
    daemon.wait_log("SIGTERM")

    def is_refused():
        with socket.socket() as sock:
            sock.settimeout(0.5)
            try:
                sock.connect((daemon.host, daemon.port))
            except ConnectionRefusedError:
                return True
            except TimeoutError:  # the drop of new connections
                pass
            return False

    eventually(is_refused, timeout=30)
    client.goodbye()
    daemon.wait_exit()


class Sockets:
    """Holds a TCP and a Unix socket open, as systemd does for pgpoold.socket."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.tcp = socket.socket()
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.tcp.bind((daemon.host, daemon.port))
        self.unix = socket.socket(socket.AF_UNIX)
        path = f"{daemon.socket_dir}/.s.PGSQL.{daemon.port}"
        self.unix.bind(path)
        give(path, 0o777)
        for sock in (self.tcp, self.unix):
            sock.listen(512)

    def start(self):
        fds = (self.tcp.fileno(), self.unix.fileno())
        script = [sys.executable, "-c", HAND_OVER, "tcp:unix", ",".join(map(str, fds))]
        self.daemon.start(prefix=script, pass_fds=fds)

    def close(self):
        self.tcp.close()
        self.unix.close()


@pytest.fixture
def sockets(pgpoold, pg):
    held = Sockets(pgpoold(start=False, pool_mode="transaction", databases=one_database(pg)))
    held.start()
    yield held
    held.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_no_connection_is_refused_while_systemd_keeps_the_sockets(sockets, number):
    daemon = sockets.daemon
    targets = [daemon.dsn(), daemon.dsn(host=daemon.socket_dir)]
    with Storm(6, lambda n: transaction(targets[n % 2])) as storm:
        for _ in range(3):
            goal = storm.rounds + 30
            eventually(lambda: storm.rounds >= goal, timeout=60)  # pylint: disable=cell-var-from-loop
            daemon.signal(number)
            daemon.wait_exit(timeout=60)
            assert os.path.exists(f"{daemon.socket_dir}/.s.PGSQL.{daemon.port}")
            sockets.start()
        goal = storm.rounds + 30
        eventually(lambda: storm.rounds >= goal, timeout=60)
    if number == signal.SIGTERM:
        assert storm.errors == []
    else:  # the old process ends its sessions, whatever they do, but nobody finds the door shut
        assert [e for e in storm.errors if "refused" in str(e)] == []


def test_the_next_process_serves_who_connects_while_the_old_one_waits(sockets, wire):
    daemon = sockets.daemon
    old = wire(daemon)
    old.run("BEGIN")
    daemon.signal(signal.SIGTERM)
    daemon.wait_log("SIGTERM")
    waiting = [wire(daemon, login=False), wire(daemon, host=daemon.socket_dir, login=False)]
    for client in waiting:
        client.send_startup("app", "test")
    assert old.run("SELECT 1") == [("1",)]
    old.run("COMMIT")
    old.goodbye()
    daemon.wait_exit()
    sockets.start()
    for client in waiting:
        client.authenticate("app")
        client.send(query("SELECT 2"))
        assert client.result().rows == [("2",)]
