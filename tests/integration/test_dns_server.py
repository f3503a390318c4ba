# SPDX-License-Identifier: ISC
"""Hosts by name with a real name server behind them: names that move, appear, vanish, have many addresses."""

import contextlib
import select
import socket
import threading

import psycopg
import pytest

from name_server import ZONE, NameServer
from sessions import backend_pid
from waiting import eventually

LONG = 3600


class Doors:
    """The port of a server under several addresses: what comes in at any of them is carried on to it."""

    def __init__(self, server, addresses):
        self._server = (server.host, server.port)
        self._listeners = []
        self._closing = False
        self.port = 0
        self.n_knocks = 0
        self.is_open = {address: threading.Event() for address in addresses}  # else who comes is kept waiting
        for address in addresses:
            self.is_open[address].set()
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            listener = socket.create_server((address, self.port), family=family, backlog=50)
            self.port = listener.getsockname()[1]
            self._listeners.append(listener)
            threading.Thread(target=self._accept, args=(listener, self.is_open[address]), daemon=True).start()

    def _accept(self, listener, is_open):
        while True:
            try:
                inner, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(inner, is_open), daemon=True).start()

    def _carry(self, inner, is_open):
        self.n_knocks += 1
        is_open.wait()
        with inner, socket.create_connection(self._server) as outer:
            other = {inner: outer, outer: inner}
            while True:
                for sock in select.select([inner, outer], [], [])[0]:
                    try:
                        data = sock.recv(65536)
                        if not data:
                            return
                        other[sock].sendall(data)
                    except OSError:
                        return

    def close(self):
        for event in self.is_open.values():
            event.set()
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


@pytest.fixture
def doors(pg):
    """doors("127.0.0.1", "127.0.0.2"): one port of all these addresses, which leads to pg."""
    made = []

    def make(*addresses):
        for _ in range(20):  # the port that the first one gets may be taken on the others
            with contextlib.suppress(OSError):
                made.append(Doors(pg, addresses))
                return made[-1].port
        raise AssertionError(f"no port is free on all of {addresses}")

    make.made = made
    yield make
    for one in made:
        one.close()


@pytest.fixture
def dns(worker_dir):
    """dns({"db": "127.0.0.1"}, ttl=...): a running NameServer."""
    made = []

    def make(records, ttl=LONG):
        made.append(NameServer(worker_dir / f"dns{len(made)}"))
        return made[-1].start(records, ttl)

    yield make
    for one in made:
        one.close()


@pytest.fixture
def named(pgpoold):
    """named(dns, port, option=...): a daemon whose database test is at db.shop.example."""
    def make(server, port, host=f"db.{ZONE}", **options):
        return pgpoold(databases={"test": f"host={host} port={port}"}, resolv_conf=server.resolv_conf,
                       **{"pool_mode": "transaction", "server_login_retry": 0, **options})
    return make


def addrs(daemon):
    return sorted(row["addr"] for row in daemon.show("servers", database="test"))


def opened_anew(daemon):
    """Where a connection goes that is opened now. Until the end of the old ones nothing else is there to wait for."""
    daemon.admin("RECONNECT")
    eventually(lambda: not addrs(daemon))
    daemon.psql("SELECT 1")
    return addrs(daemon)


def watches_zone(daemon):
    """The first serial number is known: from now on another one means something."""
    eventually(lambda: daemon.show("dns_zones") and str(daemon.show("dns_zones")[0]["serial"]) == "1")


# Time to live

def test_a_name_is_looked_up_and_shown(dns, doors, named):
    server = dns({"db": "127.0.0.2"}, ttl=7)
    daemon = named(server, doors("127.0.0.2"))
    assert daemon.psql("SELECT 1") == [(1,)]
    assert addrs(daemon) == ["127.0.0.2"]
    row, = daemon.show("dns_hosts")
    assert (row["hostname"], row["addrs"]) == (f"db.{ZONE}", "127.0.0.2:0")
    assert 0 < int(row["ttl"]) <= 7


@pytest.mark.parametrize("ttl, most", ((1, LONG), (LONG, "0.2")))
def test_a_host_that_moves_is_found_when_its_answer_is_too_old(dns, doors, named, ttl, most):
    """By the TTL of the answer, or by dns_max_ttl."""
    server = dns({"db": "127.0.0.1"}, ttl=ttl)
    daemon = named(server, doors("127.0.0.1", "127.0.0.2"), dns_max_ttl=most)
    assert opened_anew(daemon) == ["127.0.0.1"]
    server.set({"db": "127.0.0.2"}, ttl=ttl)
    eventually(lambda: opened_anew(daemon) == ["127.0.0.2"])


def test_an_answer_is_kept_as_long_as_it_holds(dns, doors, named):
    server = dns({"db": "127.0.0.1"})
    daemon = named(server, doors("127.0.0.1", "127.0.0.2"), dns_max_ttl=LONG)
    assert opened_anew(daemon) == ["127.0.0.1"]
    server.set({"db": "127.0.0.2"})
    assert opened_anew(daemon) == ["127.0.0.1"]
    daemon.admin("SET dns_max_ttl = 0")  # for what is known already, too
    assert opened_anew(daemon) == ["127.0.0.2"]


def test_connections_to_the_old_address_end_when_they_are_free(dns, doors, named, wire):
    server = dns({"db": "127.0.0.1"})
    daemon = named(server, doors("127.0.0.1", "127.0.0.2"), dns_max_ttl=0)
    busy, idle = wire(daemon), wire(daemon)
    busy.run("BEGIN")
    idle.run("SELECT 1")
    assert addrs(daemon) == ["127.0.0.1", "127.0.0.1"]
    server.set({"db": "127.0.0.2"})
    busy_pid = backend_pid(busy)
    more = [wire(daemon) for _ in range(2)]
    for client in more:  # the second one needs another connection, and so the name is looked up
        client.run("BEGIN")
    eventually(lambda: addrs(daemon).count("127.0.0.2") >= 1)
    assert backend_pid(busy) == busy_pid
    for client in (busy, *more):
        client.run("COMMIT")
    eventually(lambda: "127.0.0.1" not in addrs(daemon))
    assert backend_pid(busy) != busy_pid


def test_a_connection_that_was_on_its_way_to_the_old_address_is_not_kept(dns, doors, named, wire):
    server = dns({"db": "127.0.0.1"})
    daemon = named(server, doors("127.0.0.1", "127.0.0.2"), dns_max_ttl=LONG, dns_zone_check_period="0.1")
    old = doors.made[-1].is_open["127.0.0.1"]
    old.clear()
    client = wire(daemon, login=False)
    client.send_startup()
    eventually(lambda: doors.made[-1].n_knocks > 0)
    watches_zone(daemon)
    server.set({"db": "127.0.0.2"})
    eventually(lambda: daemon.show("dns_hosts")[0]["addrs"].startswith("127.0.0.2"))
    old.set()
    client.read_until("Z")
    assert client.run("SELECT 1") == [("1",)]
    assert addrs(daemon) == ["127.0.0.2"]


def test_who_listens_hears_the_server_that_the_name_has_moved_to(dns, doors, named, wire, pg):
    server = dns({"db": "127.0.0.1"})
    daemon = named(server, doors("127.0.0.1", "127.0.0.2"), dns_max_ttl=LONG, dns_zone_check_period="0.1",
                   notify_gap="notice")
    client = wire(daemon)
    client.run("LISTEN a")
    watches_zone(daemon)
    server.set({"db": "127.0.0.2"})
    eventually(lambda: set(addrs(daemon)) == {"127.0.0.2"})
    client.read_until("N")  # there is a gap
    client.read_until("N")  # and now it is over
    pg.psql("NOTIFY a", db="test")
    client.read_until("A")


# Names that do not exist

def test_a_name_that_appears_is_found_after_dns_nxdomain_ttl(dns, doors, named):
    server = dns({"other": "127.0.0.1"})
    daemon = named(server, doors("127.0.0.1"), dns_nxdomain_ttl="0.2")
    with pytest.raises(psycopg.OperationalError, match=f"server DNS lookup failed: db.{ZONE}"):
        daemon.psql("SELECT 1")
    server.set({"db": "127.0.0.1"})
    eventually(lambda: daemon.psql("SELECT 1") == [(1,)])


def test_a_name_that_does_not_exist_is_not_asked_for_again_meanwhile(dns, doors, named):
    server = dns({"other": "127.0.0.1"})
    daemon = named(server, doors("127.0.0.1"), dns_nxdomain_ttl=LONG)
    for _ in range(2):
        with pytest.raises(psycopg.OperationalError, match="server DNS lookup failed"):
            daemon.psql("SELECT 1")
        server.set({"db": "127.0.0.1"})
    daemon.admin("SET dns_nxdomain_ttl = 0")
    assert daemon.psql("SELECT 1") == [(1,)]


def test_a_name_that_vanishes_leaves_living_connections_alone(dns, doors, named, wire):
    server = dns({"db": "127.0.0.1"})
    daemon = named(server, doors("127.0.0.1"), dns_max_ttl=0, dns_nxdomain_ttl=0)
    last, clients = wire(daemon), []
    while any(row["state"] != "active" for row in daemon.show("servers", database="test")):
        clients.append(wire(daemon))
        clients[-1].run("BEGIN")
    pids = [backend_pid(client) for client in clients]
    server.set({"other": "127.0.0.1"})
    last.send(b"Q\0\0\0\x0dSELECT 1\0")
    daemon.wait_log("server DNS lookup failed")
    assert [backend_pid(client) for client in clients] == pids
    clients[0].run("COMMIT")
    assert last.result().rows == [("1",)]


# Zones

def test_a_new_serial_makes_the_names_of_its_zone_looked_up_again(dns, doors, named):
    """Nobody asks for anything: the zone check alone finds that the host has moved."""
    server = dns({"db": "127.0.0.1"})
    daemon = named(server, doors("127.0.0.1", "127.0.0.2"), dns_max_ttl=LONG, dns_zone_check_period="0.2")
    assert opened_anew(daemon) == ["127.0.0.1"]
    eventually(lambda: [tuple(map(str, row.values())) for row in daemon.show("dns_zones")] == [(ZONE, "1", "1")])
    assert list(daemon.show("dns_zones")[0]) == ["zonename", "serial", "count"]
    server.set({"db": "127.0.0.2"})
    eventually(lambda: not addrs(daemon), "idle connections to the old address are closed")
    assert daemon.show("dns_hosts")[0]["addrs"] == "127.0.0.2:0"
    daemon.psql("SELECT 1")
    assert addrs(daemon) == ["127.0.0.2"]
    assert str(daemon.show("dns_zones")[0]["serial"]) == str(server.serial)


def test_the_zone_check_can_be_turned_on_at_run_time(dns, doors, named):
    server = dns({"db": "127.0.0.1"})
    daemon = named(server, doors("127.0.0.1", "127.0.0.2"), dns_max_ttl=LONG)
    assert opened_anew(daemon) == ["127.0.0.1"]
    assert [str(row["serial"]) for row in daemon.show("dns_zones")] == ["0"]
    daemon.admin("SET dns_zone_check_period = 0.2")
    eventually(lambda: str(daemon.show("dns_zones")[0]["serial"]) == "1")
    server.set({"db": "127.0.0.2"})
    eventually(lambda: not addrs(daemon))


# Several addresses

def test_several_addresses_take_turns(dns, doors, named):
    """Also with clients in between, whose numbers come from the same counter."""
    all_of_them = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
    daemon = named(dns({"db": all_of_them}), doors(*all_of_them))
    with contextlib.ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(daemon.connect(autocommit=False)).execute("SELECT 1")
        assert addrs(daemon) == sorted(all_of_them * 2)
        row, = daemon.show("dns_hosts")
        assert sorted(row["addrs"].split(",")) == [f"{addr}:0" for addr in all_of_them]


def test_one_of_two_addresses_moves(dns, doors, named):
    port = doors("127.0.0.1", "127.0.0.2", "127.0.0.3")
    server = dns({"db": ("127.0.0.1", "127.0.0.2")})
    daemon = named(server, port, dns_max_ttl=LONG, dns_zone_check_period="0.2", min_pool_size=2)
    with daemon.connect():
        eventually(lambda: addrs(daemon) == ["127.0.0.1", "127.0.0.2"])
        eventually(lambda: str(daemon.show("dns_zones")[0]["serial"]) == "1")
        stays = [row["ptr"] for row in daemon.show("servers", addr="127.0.0.1")]
        server.set({"db": ("127.0.0.1", "127.0.0.3")})
        eventually(lambda: "127.0.0.2" not in addrs(daemon) and len(addrs(daemon)) == 2)
        assert [row["ptr"] for row in daemon.show("servers", addr="127.0.0.1")][:1] == stays


def test_ipv6_and_aliases(dns, doors, named):
    server = dns({"six": "::1", "db": "six"})
    daemon = named(server, doors("::1"))
    assert daemon.psql("SELECT 1") == [(1,)]
    assert addrs(daemon) == ["::1"]
    assert daemon.show("dns_hosts")[0]["addrs"] == "[::1]:0"


def test_an_address_of_another_family_that_is_dead_is_left_out(dns, doors, named):
    """Nobody listens on ::1."""
    daemon = named(dns({"db": ("::1", "127.0.0.2")}), doors("127.0.0.2"))
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(daemon.connect(autocommit=False)).execute("SELECT 1")
        assert addrs(daemon) == ["127.0.0.2"] * 4


# Name servers in trouble

@pytest.mark.parametrize("trouble", ("stop", "freeze"))
def test_without_name_servers_the_last_answer_holds(dns, doors, named, trouble):
    """Refused at once, or not answered at all."""
    server = dns({"db": "127.0.0.1"})
    daemon = named(server, doors("127.0.0.1"), dns_max_ttl=0)
    assert opened_anew(daemon) == ["127.0.0.1"]
    getattr(server, trouble)()
    assert opened_anew(daemon) == ["127.0.0.1"]
    row, = daemon.show("dns_hosts")
    assert row["addrs"] == "127.0.0.1:0"


def test_silent_name_servers_do_not_hold_up_a_login_for_ever(dns, doors, named):
    server = dns({"db": "127.0.0.1"})
    daemon = named(server, doors("127.0.0.1"), server_connect_timeout=1)
    server.freeze()
    with pytest.raises(psycopg.OperationalError, match="server_connect_timeout"):
        daemon.psql("SELECT 1")
    server.thaw()
    eventually(lambda: daemon.psql("SELECT 1") == [(1,)], timeout=60)


def test_a_reload_reads_resolv_conf_again(dns, doors, named):
    old, new = dns({"db": "127.0.0.1"}), dns({"db": "127.0.0.2"})
    daemon = named(old, doors("127.0.0.1", "127.0.0.2"), dns_max_ttl=0)
    assert opened_anew(daemon) == ["127.0.0.1"]
    old.resolv_conf.write_text(new.resolv_conf.read_text())
    daemon.admin("RELOAD")
    assert opened_anew(daemon) == ["127.0.0.2"]


def test_a_host_that_moves_under_load(dns, doors, named):
    """Nobody gets an error while the name goes back and forth."""
    server = dns({"db": "127.0.0.1"})
    daemon = named(server, doors("127.0.0.1", "127.0.0.2"), dns_max_ttl=LONG, dns_zone_check_period="0.1",
                   default_pool_size=3)
    problems, stop = [], threading.Event()

    def work():
        try:
            with daemon.connect() as conn:
                while not stop.is_set():
                    conn.execute("SELECT 1")
        except psycopg.Error as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    watches_zone(daemon)
    for where in ("127.0.0.2", "127.0.0.1", "127.0.0.2"):
        server.set({"db": where})
        eventually(lambda: set(addrs(daemon)) == {where})  # pylint: disable=cell-var-from-loop
    stop.set()
    for thread in threads:
        thread.join(30)
    assert not problems
