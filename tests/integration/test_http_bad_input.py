# SPDX-License-Identifier: ISC
"""Whatever comes to the HTTP port, it is answered with an error or its connection is closed, and pooling goes on."""

import contextlib
import re
import socket
import threading

import pytest

from http_client import key, read_all

GOOD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@contextlib.contextmanager
def pooling(daemon):
    """Queries go on all the while; each of them works."""
    end = threading.Event()
    problems = []
    done = []

    def work():
        try:
            with daemon.connect() as conn:
                while not end.is_set():
                    done.append(conn.execute("SELECT 1").fetchone()[0])
        except Exception as problem:  # pylint: disable=broad-except  # shown below
            problems.append(problem)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
        before = len(done)
        while thread.is_alive() and len(done) < before + 3:
            end.wait(0.01)
    finally:
        end.set()
        thread.join()
    assert not problems and done


def exchange(web, data):
    """What comes back until the other side closes. A write may fail: it has closed already."""
    with web.raw() as sock:
        with contextlib.suppress(OSError):
            sock.sendall(data)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        return read_all(sock)


CASES = {
    "a request of 1 MB": b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a header of 1 MB": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "100,000 headers": b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 100_000 + b"\r\n",
    "a body of 1 MB": b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"a" * 1_000_000,
    "an endless body": b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\naaa",
    "a chunked body": b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n" + b"a" * 9999,
    "an unknown method": b"BREW /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "a method that writes": b"DELETE /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "CONNECT": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "pipelined garbage": GOOD + b"\x00\xff\x16\x03\x01" * 2000 + b"\r\n\r\n",
    "garbage": bytes(range(256)) * 100,
    "a TLS handshake": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,
    "a StartupMessage": b"\x00\x00\x00\x11\x00\x03\x00\x00user\x00app\x00\x00",
    "no version": b"GET /metrics\r\n\r\n",
    "NUL bytes": b"GET /\x00metrics HTTP/1.1\r\nHost: x\x00\r\nConnection: close\r\n\r\n",
    "odd query strings": b"GET /readyz?database=%00%zz%&&&==&database HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "odd authorization": b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic " + b"=" * 5000
                         + b"\r\nConnection: close\r\n\r\n",
    "a path upwards": b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "only newlines": b"\r\n" * 50_000,
    "nothing": b"",
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_or_closed(http, name):
    daemon, web = http(http_timeout=2)
    with pooling(daemon):
        answer = exchange(web, CASES[name])
        statuses = [int(s) for s in re.findall(rb"HTTP/1\.[01] (\d+)", answer)]
        assert all(s in (200, 400, 404, 405, 408, 413, 414, 421, 431, 501, 505) for s in statuses), answer[:500]
        if name in ("an unknown method", "a method that writes"):
            assert statuses == [405] and b"Allow: GET, HEAD" in answer
        assert b"root:" not in answer
        assert web.get("/healthz")[0] == 200
        assert web.metrics()["pgpoold_http_connections"] <= 2


def test_pipelined_requests_are_answered_in_order(http):
    _, web = http(databases={"x": "host=/tmp"}, http_timeout=2)
    answer = exchange(web, GOOD * 20)
    assert answer.count(b"HTTP/1.1 200") == 20


@pytest.mark.parametrize("how", ["one byte at a time", "silent", "reads nothing", "silent TLS"])
def test_a_slow_peer_is_closed_in_time(http, certs, how):
    tls = {"http_tls_key_file": certs.server_key, "http_tls_cert_file": certs.server} if "TLS" in how else {}
    daemon, web = http(http_timeout="1.5", **tls)
    with pooling(daemon), socket.create_connection(("127.0.0.1", web.port), timeout=60) as sock:
        if how == "one byte at a time":
            request = b"GET /metrics HTTP/1.1\r\nHost: " + b"x" * 20_000
            with pytest.raises(OSError):
                for byte in request:
                    sock.sendall(bytes([byte]))
                    sock.settimeout(0.1)
                    with contextlib.suppress(TimeoutError):
                        if sock.recv(1) == b"":
                            raise ConnectionResetError
        elif how == "reads nothing":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with pytest.raises(OSError):
                while True:
                    sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
        else:
            assert read_all(sock) == b""


def test_a_thousand_connections(http, eventually):
    daemon, web = http(http_max_connections=10, http_timeout=60)
    with pooling(daemon), contextlib.ExitStack() as stack:
        socks = []
        for _ in range(1000):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=60))
            socks.append(sock)
        closed = [s for s in socks[20:] if read_all(s) == b""]
        assert len(closed) == 980  # at most ten are open, and those are among the first
        assert "http_max_connections" in daemon.log
        for sock in socks:
            sock.close()
        eventually(lambda: web.get("/healthz")[0] == 200)
        figures = web.metrics()
        assert figures["pgpoold_max_http_connections"] == 10 and figures["pgpoold_http_refused_total"] >= 980
        assert figures[key("pgpoold_database_unreachable", database="test")] == 0


def test_one_connection_serves_many_requests(http):
    _, web = http(databases={"x": "host=/tmp"})
    with web.raw() as sock:
        for _ in range(50):
            sock.sendall(GOOD)
            answer = b""
            while not answer.endswith(b"\r\n\r\nok\n"):
                piece = sock.recv(65536)
                assert piece, "it closed"
                answer += piece


def test_an_idle_connection_is_closed(http):
    _, web = http(databases={"x": "host=/tmp"}, http_timeout=1)
    with web.raw() as sock:
        sock.sendall(GOOD)
        assert b"200 OK" in read_all(sock)


def test_a_limit_that_changes_holds_at_once(http):
    daemon, web = http(http_max_connections=1)
    with web.raw() as first:
        first.sendall(GOOD)
        assert first.recv(100).startswith(b"HTTP/1.1 200")
        with web.raw() as second:
            assert read_all(second) == b""
        daemon.admin("SET http_max_connections = 2")
        with web.raw() as second:
            second.sendall(GOOD)
            assert second.recv(100).startswith(b"HTTP/1.1 200")


