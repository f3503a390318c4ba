# SPDX-License-Identifier: ISC
"""Clients behind a load balancer that speaks the PROXY protocol: header bytes of our own, then a real HAProxy."""

import contextlib
import socket
import struct
import subprocess

import psycopg
import pytest

from account import Port, as_server_account, give, make_dir
from wire import Client, ServerError, cancel_request, query

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v1(address, port=4711):
    family = "TCP6" if ":" in address else "TCP4"
    return f"PROXY {family} {address} {'::1' if ':' in address else '127.0.0.1'} {port} 5432\r\n".encode()


def v2(address, port=4711, fields=b""):
    is_v6 = ":" in address
    family = socket.AF_INET6 if is_v6 else socket.AF_INET
    body = socket.inet_pton(family, address) * 2 + struct.pack("!HH", port, 5432) + fields
    return SIGNATURE + bytes([0x21, 0x21 if is_v6 else 0x11]) + struct.pack("!H", len(body)) + body


LOCAL = SIGNATURE + b"\x20\0\0\0"


@pytest.fixture
def proxied(pgpoold):
    """proxied(...): a daemon with one port more, .proxy_port, for headers from 127.0.0.1."""
    ports = []

    def make(**how):
        ports.append(Port())
        how.setdefault("proxy_protocol_from", "127.0.0.1")
        daemon = pgpoold(proxy_protocol_port=ports[-1].number, **how)
        daemon.proxy_port = ports[-1].number
        return daemon

    yield make
    for port in ports:
        port.close()


@contextlib.contextmanager
def through(daemon, header, **login):
    with Client.connect(daemon.host, daemon.proxy_port) as client:
        client.send(header)
        yield client.login(**login)


def client_row(daemon, **where):
    row, = daemon.show("clients", **{"user": "app", **where})
    return row


@pytest.mark.parametrize("header, address", [
    (v1("192.0.2.7"), "192.0.2.7"), (v1("2001:db8::7"), "2001:db8::7"), (v2("192.0.2.7"), "192.0.2.7"),
    (v2("2001:db8::7"), "2001:db8::7"), (v2("192.0.2.7", fields=b"\xee\0\2hi"), "192.0.2.7")])
def test_the_header_says_who_the_client_is(proxied, header, address):
    daemon = proxied(log_connections=1)
    with through(daemon, header) as client:
        assert client.run("SELECT 1") == [("1",)]
        row = client_row(daemon)
        assert (row["addr"], row["port"]) == (address, "4711") or (row["addr"], row["port"]) == (address, 4711)
    shown = f"[{address}]" if ":" in address else address
    daemon.wait_log(rf"test/app@{shown}:4711 login attempt".replace("[", r"\[").replace("]", r"\]"))


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x21\0\0\0"])
def test_a_proxy_that_speaks_for_itself_keeps_its_address(proxied, header):
    daemon = proxied()
    with through(daemon, header) as client:
        assert client.run("SELECT 1") == [("1",)]
        assert client_row(daemon)["addr"] == "127.0.0.1"


def test_the_header_may_come_byte_by_byte_and_in_one_packet_with_the_login(proxied):
    daemon = proxied()
    with Client.connect(daemon.host, daemon.proxy_port) as client:
        for byte in v2("192.0.2.8"):
            client.send(bytes([byte]))
        assert client.login().run("SELECT 1") == [("1",)]
        assert client_row(daemon)["addr"] == "192.0.2.8"
    with Client.connect(daemon.host, daemon.proxy_port) as client:
        packet = struct.pack("!II", 0, 196608) + b"user\0app\0database\0test\0\0"
        client.send(v1("192.0.2.9") + struct.pack("!I", len(packet)) + packet[4:])
        client.read_until("Z")
        assert client.run("SELECT 1") == [("1",)]
        assert client_row(daemon)["addr"] == "192.0.2.9"


def test_hba_rules_see_the_client_and_not_the_proxy(proxied):
    daemon = proxied(hba="host all all 192.0.2.0/24 trust\nhost all all 127.0.0.1/32 reject\n"
                         "local all all trust\n", admin_users="admin")
    with through(daemon, v2("192.0.2.1")) as client:
        assert client.run("SELECT 1") == [("1",)]
    for header in (v2("198.51.100.1"), LOCAL):
        with pytest.raises(ServerError, match="28P01"), through(daemon, header):
            pass


def test_application_name_shows_the_client(proxied):
    daemon = proxied(application_name_add_host=1)
    with through(daemon, v1("192.0.2.7"), application_name="shop") as client:
        assert client.run("SHOW application_name") == [("shop - 192.0.2.7:4711",)]


def test_tls_begins_behind_the_header(proxied, certs):
    daemon = proxied(client_tls_sslmode="allow", client_tls_key_file=certs.server_key,
                     client_tls_cert_file=certs.server)
    with Client.connect(daemon.host, daemon.proxy_port) as client:
        client.send(v2("192.0.2.7"))
        assert client.ask_tls() == "S"
        client.start_tls()
        client.login()
        assert client.run("SELECT 1") == [("1",)]
        row = client_row(daemon)
        assert row["addr"] == "192.0.2.7" and row["tls"] != ""


def test_a_cancel_request_comes_with_a_header_too(proxied):
    daemon = proxied()
    with through(daemon, v2("192.0.2.7")) as client:
        client.send(query("SELECT pg_sleep(60)"))
        with Client.connect(daemon.host, daemon.proxy_port) as other:
            other.send(v2("192.0.2.7") + cancel_request(client.pid, client.secret))
            other.expect_closed()
        assert client.result().errors[0].code == "57014"


@pytest.mark.parametrize("bytes_", [
    b"\0\0\0\x08\x04\xd2\x16\x2f", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    b"PROXY TCP4 localhost 127.0.0.1 1 2\r\n", b"PROXY " + b"x" * 200, SIGNATURE + b"\x21\x11\xff\xff",
    SIGNATURE + b"\x31\x11\0\x0c" + bytes(12)])
def test_what_is_no_header_closes_that_connection_alone(proxied, bytes_):
    daemon = proxied()
    with through(daemon, v1("192.0.2.7")) as good, Client.connect(daemon.host, daemon.proxy_port) as bad:
        bad.send(bytes_)
        message, = bad.expect_closed()
        assert (message.code, message.text) == ("08P01", "expected a header of the PROXY protocol")
        assert good.run("SELECT 1") == [("1",)]


def test_only_trusted_addresses_may_speak_for_others(proxied):
    daemon = proxied(proxy_protocol_from="192.0.2.1, 10.0.0.0/8")
    with Client.connect(daemon.host, daemon.proxy_port) as client:
        with contextlib.suppress(OSError):
            client.send(v1("192.0.2.7"))
        assert client.expect_closed() == []
    daemon.wait_log("closing because: not in proxy_protocol_from")
    daemon.change({"proxy_protocol_from": "127.0.0.0/8"})
    daemon.reload()
    with through(daemon, v1("192.0.2.7")) as client:
        assert client.run("SELECT 1") == [("1",)]


def test_on_the_ordinary_port_a_header_is_garbage(proxied):
    daemon = proxied()
    with Client.connect(daemon.host, daemon.port) as client:
        client.send(v1("192.0.2.7"))
        assert [m.kind for m in client.expect_closed()] == ["E"]
    assert daemon.psql("SELECT 1") == [(1,)]


@pytest.mark.parametrize("options, text", [
    ({"proxy_protocol_port": 6543}, "proxy_protocol_port: proxy_protocol_from must name the load balancers"),
    ({"proxy_protocol_port": 6543, "proxy_protocol_from": "lb1"},
     'proxy_protocol_from: "lb1" is neither an address nor a network'),
    ({"proxy_protocol_port": "{listen_port}", "proxy_protocol_from": "::1"}, "is listen_port: it needs a port of its own")])
def test_what_cannot_work_is_refused_at_the_start(pgpoold, options, text):
    if options["proxy_protocol_port"] == "{listen_port}":
        options = {**options, "proxy_protocol_port": 6001, "listen_port": 6001}
    daemon = pgpoold(wait=False, **options)
    daemon.wait_exit(1)
    assert text in daemon.log


# The real thing

HAPROXY = """
global
    maxconn 100
defaults
    mode tcp
    timeout connect 10s
    timeout client 60s
    timeout server 60s
listen pool
    bind 127.0.0.1:{port}
    server one 127.0.0.1:{target} check inter 200ms {send}
"""


@pytest.fixture
def haproxy(worker_dir):
    processes, ports = [], []

    def make(target, send):
        home = make_dir(worker_dir / f"haproxy{len(processes)}")
        ports.append(Port())
        (home / "haproxy.cfg").write_text(HAPROXY.format(port=ports[-1].number, target=target, send=send))
        give(home / "haproxy.cfg", 0o644)
        processes.append(subprocess.Popen(  # pylint: disable=consider-using-with
            as_server_account(["/usr/sbin/haproxy", "-db", "-f", home / "haproxy.cfg"], death_signal="KILL"),
            cwd=home, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return ports[-1].number

    yield make
    for process in processes:
        process.terminate()
        process.wait(30)
    for port in ports:
        port.close()


@pytest.mark.parametrize("send", ["send-proxy check-send-proxy", "send-proxy-v2 check-send-proxy",
                                  "send-proxy-v2 proxy-v2-options crc32c check-send-proxy"])
def test_behind_haproxy(proxied, haproxy, eventually, send):
    daemon = proxied(pool_mode="transaction", application_name_add_host=1)
    port = haproxy(daemon.proxy_port, send)
    conninfo = f"host=127.0.0.1 port={port} dbname=test user=app application_name=shop"
    conn = eventually(lambda: psycopg.connect(conninfo, autocommit=True), "HAProxy is up", timeout=60)
    with conn:
        here = conn.pgconn.socket
        own = socket.socket(fileno=here)
        _, own_port = own.getsockname()
        own.detach()
        assert conn.execute("SHOW application_name").fetchone() == (f"shop - 127.0.0.1:{own_port}",)
        row = client_row(daemon)
        assert (row["addr"], int(row["port"])) == ("127.0.0.1", own_port)
        assert conn.execute("SELECT sum(a) FROM generate_series(1, 100000) a").fetchone() == (5000050000,)
