# SPDX-License-Identifier: ISC
"""Hosts by name, without a name server: files and addresses."""

import contextlib
import socket
import struct
import threading

import pytest

from wire import Client, ServerError


def refusal(daemon, **who):
    with Client.connect(daemon.host, daemon.port) as client:
        with pytest.raises(ServerError) as caught:
            client.login(**who)
        return caught.value.message


class FakeDns:
    """A name server with one answer for every question: these IPv4 addresses, and no IPv6 ones."""

    name = "db.example"

    def __init__(self, folder, addresses):
        self.addresses = addresses
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.resolv_conf = folder / "resolv.conf"
        self.resolv_conf.write_text("nameserver %s:%u\n" % self.socket.getsockname())
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                data, peer = self.socket.recvfrom(4096)
            except OSError:
                return
            if not data:
                return
            end = data.index(b"\0", 12) + 5
            is_a = data[end - 4:end - 2] == b"\0\1"
            answers = b"".join(struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(a) for a in self.addresses)
            n = len(self.addresses) if is_a else 0
            self.socket.sendto(data[:2] + struct.pack("!HHHHH", 0x8580, 1, n, 0, 0) + data[12:end]
                               + (answers if is_a else b""), peer)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.sendto(b"", self.socket.getsockname())
        self.thread.join()
        self.socket.close()


@pytest.mark.parametrize("addresses", (["127.0.0.9", "127.0.0.1"], ["127.0.0.1", "127.0.0.9"],
                                       ["127.0.0.9", "127.0.0.8", "127.0.0.1"]))
def test_an_address_that_is_dead_is_left_out(pgpoold, pg, addresses):
    """Whichever the turn is at, the name has a server that answers."""
    with FakeDns(pg.home, addresses) as dns:
        daemon = pgpoold(databases={"test": f"host={dns.name} port={pg.port}"}, resolv_conf=dns.resolv_conf)
        with contextlib.ExitStack() as stack:
            for _ in range(6):
                conn = stack.enter_context(daemon.connect(autocommit=False))
                assert conn.execute("SELECT 1").fetchone() == (1,)
            assert {row["addr"] for row in daemon.show("servers", database="test")} == {"127.0.0.1"}


def test_a_silent_host_of_a_list_is_left_out(pgpoold, pg, fake_pg):
    """server_connect_timeout is for each host, else a dead machine in front would hide those behind it."""
    silent = fake_pg(on_startup=lambda conn: conn.expect_closed())
    daemon = pgpoold(databases={"test": f"host=127.0.0.1,127.0.0.1 port={silent.port},{pg.port}"},
                     server_connect_timeout=2)
    assert daemon.psql("SELECT 1") == [(1,)]
    daemon.wait_log("connect failed, trying the next host: .*server_connect_timeout")


def test_localhost_by_name(pgpoold, pg):
    """The server listens on 127.0.0.1 only: where localhost is ::1 too, that address must not get in the way."""
    daemon = pgpoold(databases={"test": f"host=localhost port={pg.port}"})
    for _ in range(4):
        assert daemon.psql("SELECT 1") == [(1,)]
        daemon.admin("RECONNECT")


def test_a_resolved_name_is_shown(pgpoold, pg):
    daemon = pgpoold(databases={"test": f"host=localhost port={pg.port}"})
    assert daemon.psql("SELECT 1") == [(1,)]
    row, = daemon.show("dns_hosts", hostname="localhost")
    assert "127.0.0.1" in row["addrs"]
    assert daemon.show("databases", name="test")[0]["host"] == "localhost"
    assert daemon.show("servers", database="test")[0]["addr"] == "127.0.0.1"


def test_addresses_need_no_look_up(pgpoold, pg):
    daemon = pgpoold(databases={"test": f"host={pg.host} port={pg.port}"})
    assert daemon.psql("SELECT 1") == [(1,)]
    assert daemon.show("dns_hosts") == []


def test_a_name_that_does_not_exist_is_told(pgpoold, pg):
    daemon = pgpoold(databases={"bad": f"host=no-such-host.invalid port={pg.port}",
                                "test": f"host={pg.host} port={pg.port}"}, server_connect_timeout=5)
    message = refusal(daemon, database="bad")
    assert (message.severity, message.code[:2]) == ("FATAL", "08")
    assert "no-such-host.invalid" in message.text or "server_connect_timeout" in message.text
    assert daemon.psql("SELECT 1") == [(1,)]


def test_a_bad_name_in_a_list_is_left_out(pgpoold, pg):
    daemon = pgpoold(databases={"test": f"host=no-such-host.invalid,127.0.0.1 port={pg.port}"})
    assert daemon.psql("SELECT 1") == [(1,)]


def test_a_slow_look_up_holds_up_nobody_else(pgpoold, pg):
    """A name server that never answers."""
    resolv_conf = pg.home / "resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.77\noptions timeout:1 attempts:1\n")
    daemon = pgpoold(databases={"slow": f"host=slow.example port={pg.port}",
                                "test": f"host={pg.host} port={pg.port}"}, resolv_conf=resolv_conf)
    with Client.connect(daemon.host, daemon.port) as waiting:
        waiting.send_startup(database="slow")
        assert daemon.psql("SELECT 1") == [(1,)]
        waiting.read_until("E")
