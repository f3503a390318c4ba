# SPDX-License-Identifier: ISC
"""Malicious peers against the running daemon, from both sides: what they do costs them their connection and nobody else
anything. HOSTILE_SESSIONS=5000 HOSTILE_SEED=7 in the environment make the random part longer or another one."""

import contextlib
import os
import pathlib
import random
import socket
import struct
import subprocess
import threading

import pytest

from daemon_process import SANITIZER_ENV
from hostile import client_session, evil_server
from sessions import one_database
from wire import Client, cancel_request, query, startup

SESSIONS = int(os.environ.get("HOSTILE_SESSIONS", "300"))
SEED = os.environ.get("HOSTILE_SEED", "1")
THREADS = 6


def together(n, work):
    """work(i) for each i below @n, on a few threads; the first failure is raised."""
    failures, numbers, lock = [], iter(range(n)), threading.Lock()

    def run():
        while not failures:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                work(number)
            except BaseException as problem:  # pylint: disable=broad-except  # raised below
                failures.append(problem)

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def read_all(sock, seconds):
    """What comes, until the end or until nothing comes for a while."""
    sock.settimeout(seconds)
    with contextlib.suppress(OSError):
        while sock.recv(65536):
            pass


def resident_kib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0])


class Good:
    """A client that works on, whatever the others do."""

    def __init__(self, daemon, database="test"):
        self.client = Client.connect(daemon.host, daemon.port).login(database=database)
        self.n = 0

    def works(self):
        self.n += 1
        assert self.client.run(f"SELECT {self.n}") == [(str(self.n),)]


@pytest.mark.seconds(max(240, SESSIONS))
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_malicious_clients(pgpoold, pg, eventually, mode):
    daemon = pgpoold(pool_mode=mode, default_pool_size=8, databases=one_database(pg), client_login_timeout=5,
                     query_timeout=20, log_connections=0, log_disconnections=0, log_pooler_errors=0)
    good = Good(daemon)

    def attack(number):
        rnd = random.Random(f"{SEED}/{mode}/{number}")
        with socket.create_connection((daemon.host, daemon.port)) as sock, contextlib.suppress(OSError):
            for chunk in client_session(rnd):
                sock.sendall(chunk)
                read_all(sock, 0.01)
            if rnd.random() < 0.5:
                sock.shutdown(socket.SHUT_WR)
                read_all(sock, 0.2)
        if number % 10 == 0:
            with Client.connect(daemon.host, daemon.port) as client:
                assert client.login().run("SELECT 1") == [("1",)]

    together(SESSIONS, attack)
    good.works()
    eventually(lambda: len(daemon.show("clients", database="test")) == 1, "only the good one is left", timeout=60)
    pool, = daemon.show("pools", database="test", user="app")
    eventually(lambda: sum(daemon.show("pools", database="test", user="app")[0][c] for c in ("cl_waiting",)) == 0)
    assert pool["cl_active"] == 1
    assert daemon.psql("SELECT 1") == [(1,)]


@pytest.mark.seconds(max(240, SESSIONS))
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_malicious_servers(pgpoold, pg, fake_pg, mode):
    """Clients of the good database are not touched, and the evil one is asked again and again."""
    evil = fake_pg(on_startup=evil_server(f"{SEED}/{mode}"))
    daemon = pgpoold(pool_mode=mode, databases={
        "test": f"host={pg.host} port={pg.port}",
        "evil": f"host={evil.host} port={evil.port} pool_size=6"}, query_timeout=2, server_connect_timeout=2,
        server_login_retry=0, query_wait_timeout=5, client_login_timeout=5, rollback_timeout=1,
        log_connections=0, log_disconnections=0, log_pooler_errors=0)
    good = Good(daemon)

    def visit(number):
        rnd = random.Random(f"{SEED}/{mode}/{number}")
        with socket.create_connection((daemon.host, daemon.port)) as sock, contextlib.suppress(OSError):
            sock.sendall(startup({"user": "app", "database": "evil"}))
            read_all(sock, 0.05)
            for chunk in client_session(rnd)[1:]:
                sock.sendall(chunk)
                read_all(sock, 0.01)
        if number % 10 == 0:
            with Client.connect(daemon.host, daemon.port) as client:
                assert client.login().run("SELECT 1") == [("1",)]

    together(SESSIONS, visit)
    good.works()
    assert len(evil.startups) > 10
    evil.failures.clear()  # it trips over what the clients send; that is its own business


def test_floods_of_cancels_and_of_logins(pgpoold, pg, eventually):
    daemon = pgpoold(databases=one_database(pg), listen_backlog=4096, max_client_conn=500, client_login_timeout=5,
                     log_connections=0, log_disconnections=0, log_pooler_errors=0)
    good = Good(daemon)

    def flood(number):
        rnd = random.Random(number)
        with contextlib.suppress(OSError), socket.create_connection((daemon.host, daemon.port)) as sock:
            sock.sendall(cancel_request(rnd.getrandbits(32), rnd.randbytes(4)) if number % 2 else
                         startup({"user": f"u{number}", "database": "nowhere"}))

    together(3000, flood)
    good.works()
    eventually(lambda: daemon.show("lists", list="login_clients")[0]["items"] == 0, "none hangs on")
    assert daemon.psql("SELECT 1") == [(1,)]


def test_half_open_connections_go_with_the_login_timeout(pgpoold, pg, eventually):
    daemon = pgpoold(databases=one_database(pg), client_login_timeout=2, listen_backlog=4096, log_disconnections=0,
                     max_client_conn=1000)
    good = Good(daemon)
    with contextlib.ExitStack() as stack:
        for i in range(400):
            sock = stack.enter_context(socket.create_connection((daemon.host, daemon.port)))
            sock.sendall(startup({"user": "app", "database": "test"})[:i % 20])
        good.works()
        eventually(lambda: daemon.show("lists", list="login_clients")[0]["items"] == 0, "they are gone")
        good.works()


def test_a_hundred_thousand_startup_parameters(pgpoold, wire):
    daemon = pgpoold()
    before = resident_kib(daemon.pid)
    with socket.create_connection((daemon.host, daemon.port)) as sock:
        packet = startup({"user": "app", **{f"p{i}": "v" for i in range(100_000)}})
        with contextlib.suppress(OSError):
            sock.sendall(packet)
        read_all(sock, 10)
    assert wire(daemon).run("SELECT 1") == [("1",)]
    assert resident_kib(daemon.pid) - before < 50_000


@pytest.mark.parametrize("kind, total", [("Q", 0x3ffffffe - 4), ("P", 100 << 20), ("B", 100 << 20), ("F", 100 << 20)])
def test_a_message_of_a_gigabyte_streams_through(pgpoold, fake_pg, wire, kind, total):
    """The longest that PostgreSQL takes; the daemon keeps but a window of it."""
    got = []

    def script(conn):
        header = conn.read_bytes(5)
        left = struct.unpack("!xI", header)[0] - 4
        while left > 0:
            left -= len(conn.read_bytes(min(left, 1 << 20)))
        got.append(header)
        conn.read_bytes(5)

    server = fake_pg(script)
    # What is freed is to be free at once: it is the memory in use that counts.
    daemon = pgpoold(pool_mode="session", databases=one_database(server), query_timeout=0,
                     env={"ASAN_OPTIONS": SANITIZER_ENV["ASAN_OPTIONS"] + ":quarantine_size_mb=1"})
    client = wire(daemon)
    before = resident_kib(daemon.pid)
    client.send({"Q": struct.pack("!cI", b"Q", total + 4), "P": struct.pack("!cI", b"P", total + 4) + b"\0",
                 "B": struct.pack("!cI", b"B", total + 4) + b"\0\0",
                 "F": struct.pack("!cI", b"F", total + 4)}[kind])
    left = total - {"P": 1, "B": 2}.get(kind, 0)
    chunk = b"x" * (1 << 20)
    worst = 0
    while left > 0:
        client.send(chunk[:min(left, len(chunk))])
        left -= min(left, len(chunk))
        worst = max(worst, resident_kib(daemon.pid))
    client.send(query(""))
    for _ in range(600):
        if got:
            break
        read_all(client.sock, 0.1)
    assert got and struct.unpack("!xI", got[0])[0] == total + 4
    assert worst - before < 60_000


@pytest.fixture
def tls_daemon(pgpoold, pg, certs):
    return pgpoold(databases=one_database(pg), client_tls_sslmode="allow", client_tls_key_file=certs.server_key,
                   client_tls_cert_file=certs.server, client_login_timeout=5)


def test_tls_renegotiation_is_refused(tls_daemon):
    good = Good(tls_daemon)
    out = subprocess.run(
        ["openssl", "s_client", "-tls1_2", "-starttls", "postgres", "-connect", f"{tls_daemon.host}:{tls_daemon.port}"],
        input=b"R\n", capture_output=True, timeout=60, check=False)
    text = out.stdout + out.stderr
    assert b"RENEGOTIATING" in text and b"no renegotiation" in text.lower(), text[-2000:]
    good.works()


def test_garbage_in_place_of_tls(tls_daemon):
    good = Good(tls_daemon)

    def attack(number):
        rnd = random.Random(number)
        with Client.connect(tls_daemon.host, tls_daemon.port) as client, contextlib.suppress(Exception):
            assert client.ask_tls() == "S"
            raw = client.sock
            if number % 2:  # inside a session that was in order until then
                client.start_tls()
                client.login()
                raw = socket.socket(fileno=os.dup(client.sock.fileno()))
            raw.sendall(rnd.choice((b"\x16\x03\x01\xff\xff", b"\x17\x03\x03\x00\x20", b"\x15\x03\x03\x00\x02\x02\x28", b""))
                        + rnd.randbytes(rnd.randrange(1, 2000)))
            read_all(raw, 0.1)
            raw.close()

    together(120, attack)
    good.works()
