# SPDX-License-Identifier: ISC
"""Several processes that are peers: a CancelRequest finds its client, whichever process it arrives at."""

import os
import random
import re

import pytest

from account import give
from daemon_process import ROOT
from peer_group import FakePeer, Group, figures, show
from sessions import SLEEPS, one_database, running, wait_running
from waiting import eventually as wait_eventually
from wire import PROTOCOL_3_0, PROTOCOL_3_2, cancel_request, query

LOW_SHIFT = 20  # where the low 11 bits of the peer_id begin in the process number


def forged(peer_id, secret=None):
    """A CancelRequest for a client of @peer_id that does not exist."""
    secret = secret or os.urandom(4)
    first = (peer_id >> 11) << 5 | secret[0] & 0x1f
    return cancel_request((peer_id & 0x7ff) << LOW_SHIFT | 77, bytes([first]) + secret[1:])


@pytest.fixture
def group(pgpoold, pg):
    groups = []

    def make(n=2, **how):
        groups.append(Group(pgpoold, pg, n, pool_mode="transaction", default_pool_size=20, **how))
        return groups[-1]

    yield make
    for one in groups:
        one.close()


@pytest.fixture
def fake_peer():
    peer = FakePeer()
    yield peer
    peer.close()


@pytest.fixture
def lone(pgpoold, pg, fake_peer):
    """A daemon whose peer number 2 is the fake one."""
    def make(more="", **options):
        return pgpoold(peer_id=1, databases=one_database(pg), **options,
                       peers={"2": f"host={fake_peer.host} port={fake_peer.port} {more}"})
    return make


def cancel(wire, daemon, client):
    """At @daemon, over its Unix socket; until the request has been dealt with."""
    request = wire(daemon, host=daemon.socket_dir, login=False)
    request.send(cancel_request(client.pid, client.secret))
    assert request.expect_closed() == []


def assert_cancelled(client):
    assert client.result().errors[0].code == "57014"
    assert client.run("SELECT 1") == [("1",)]


@pytest.mark.parametrize("version", [PROTOCOL_3_0, PROTOCOL_3_2])
@pytest.mark.parametrize("host", ["socket", "127.0.0.1", "localhost"])
def test_a_cancel_at_the_wrong_process_finds_its_client(group, pg, wire, host, version):
    two = group(host=None if host == "socket" else host)
    client, other = (wire(two[i], host=two[i].socket_dir, version=version) for i in (1, 2))
    client.send(query(SLEEPS))
    other.send(query(SLEEPS))
    wait_running(pg, SLEEPS, 2)
    cancel(wire, two[2], client)
    assert_cancelled(client)
    assert len(running(pg, SLEEPS)) == 1
    cancel(wire, two[2], other)
    assert_cancelled(other)
    assert figures(two[2], 1) == {"peer_id": 1, "cl_active_cancel_req": 0, "cl_waiting_cancel_req": 0,
                                  "sv_active_cancel": 0, "sv_login": 0, "passed_on": 1, "failed": 0}


def test_high_numbers_of_peers(pgpoold, pg, wire):
    first, second = (pgpoold(start=False, peer_id=n, databases=one_database(pg)) for n in (16383, 14335))
    for daemon in (first, second):
        daemon.change(peers={n: f"host={d.socket_dir} port={d.port}" for n, d in ((16383, first), (14335, second))})
        daemon.start()
    for version in (PROTOCOL_3_0, PROTOCOL_3_2):
        client = wire(first, version=version)
        client.send(query(SLEEPS))
        wait_running(pg, SLEEPS)
        cancel(wire, second, client)
        assert_cancelled(client)


def test_a_console_is_cancelled_at_another_process(group, wire):
    two = group()
    busy = wire(two[1], host=two[1].socket_dir)
    busy.run("BEGIN")
    console = wire(two[1], host=two[1].socket_dir, user="admin", database="pgpoold")
    console.send(query("PAUSE"))
    console.expect_silence(0.1)
    cancel(wire, two[2], console)
    assert console.result().errors[0].code == "57014"
    busy.run("COMMIT")


def test_three_processes_on_one_port_cancel_the_right_queries(group, pg, wire):
    three = group(3, one_port=True)
    clients = [wire(three[1], version=random.choice([PROTOCOL_3_0, PROTOCOL_3_2])) for _ in range(36)]
    logged_in = [len(show(d, "clients", database="test")) for d in three.daemons]
    assert sum(logged_in) == 36 and min(logged_in) > 0
    chosen = random.sample(clients, 18)
    for client in clients:
        client.send(query(SLEEPS))
    wait_running(pg, SLEEPS, 36)
    for n, client in enumerate(chosen):
        request = wire(three[1], login=False)
        request.send(cancel_request(client.pid, client.secret))
        assert request.expect_closed() == []
        assert_cancelled(client)
        assert len(running(pg, SLEEPS)) == 35 - n
    for client in set(clients) - set(chosen):
        client.expect_silence(0)
    passed_on = sum(row["passed_on"] for d in three.daemons for row in show(d, "peer_pools"))
    assert 0 < passed_on < 18  # the odds of 18 at the right or at the wrong process are below one in a thousand


def test_drivers_cancel_over_one_port(group, pg, wire):
    three = group(3, one_port=True)
    for n in range(6):
        with three[1].connect() as conn:
            wire_of = conn.pgconn
            wire_of.send_query(SLEEPS.encode())
            wait_running(pg, SLEEPS)
            conn.cancel()
            assert wire_of.get_result().error_field(67) == b"57014", n
            while wire_of.get_result():
                pass


def test_the_socket_of_a_cancel_is_closed_when_the_peer_is_through(lone, fake_peer, wire, eventually):
    daemon = lone()
    request = wire(daemon, login=False)
    request.send(forged(2))
    eventually(lambda: fake_peer.requests)
    assert figures(daemon, 2)["cl_active_cancel_req"] == figures(daemon, 2)["sv_active_cancel"] == 1
    assert [c["state"] for c in show(daemon, "clients")].count("active_cancel_req") == 1
    request.expect_silence(0.1)
    fake_peer.release()
    assert request.expect_closed() == []
    eventually(lambda: figures(daemon, 2)["passed_on"] == 1)


def test_a_cancel_whose_client_does_not_wait_is_passed_on_all_the_same(lone, fake_peer, wire, eventually):
    daemon = lone("pool_size=1")
    for i in range(5):
        request = wire(daemon, login=False)
        request.send(forged(2, bytes([0, 0, 0, i])))
        request.close()
    eventually(lambda: figures(daemon, 2)["sv_active_cancel"] == 1)
    fake_peer.release()
    eventually(lambda: figures(daemon, 2)["passed_on"] == 5)
    assert sorted(secret for _, secret in fake_peer.requests) == [bytes([0, 0, 0, i, 1]) for i in range(5)]


def test_pool_size_bounds_the_connections_to_a_peer(lone, fake_peer, wire, eventually):
    daemon = lone("pool_size=3")
    requests = [wire(daemon, login=False) for _ in range(10)]
    for request in requests:
        request.send(forged(2))
    eventually(lambda: len(fake_peer.requests) == 3 and figures(daemon, 2)["cl_waiting_cancel_req"] == 7)
    assert [c["state"] for c in show(daemon, "clients")].count("waiting_cancel_req") == 7
    fake_peer.release()
    for request in requests:
        assert request.expect_closed() == []
    assert fake_peer.most_open == 3 and len(fake_peer.requests) == 10


def test_the_same_request_waits_only_once(lone, fake_peer, wire, eventually):
    daemon = lone("pool_size=1")
    requests = [wire(daemon, login=False) for _ in range(10)]
    requests[0].send(forged(2))
    eventually(lambda: fake_peer.requests)
    for request in requests[1:]:
        request.send(forged(2, b"same"))
    eventually(lambda: figures(daemon, 2)["cl_waiting_cancel_req"] == 9)
    fake_peer.release()
    for request in requests:
        assert request.expect_closed() == []
    assert len(fake_peer.requests) == 2


def test_cancel_wait_timeout_ends_the_wait_for_a_peer(lone, fake_peer, wire, eventually):
    daemon = lone("pool_size=1", cancel_wait_timeout="0.3")
    requests = [wire(daemon, login=False) for _ in range(3)]
    for request in requests:
        request.send(forged(2))
    for request in requests:
        assert request.expect_closed() == []
    eventually(lambda: figures(daemon, 2)["failed"] >= 3)
    assert fake_peer.requests
    daemon.wait_log("peer 2 .*was not passed on")


def test_a_peer_that_is_not_there_costs_one_request(pgpoold, pg, wire):
    daemon = pgpoold(peer_id=1, databases=one_database(pg),
                     peers={"2": f"host={os.getcwd()} port=1", "3": "host=does-not-exist.invalid"})
    for peer_id in (2, 3):
        request = wire(daemon, login=False)
        request.send(forged(peer_id))
        assert request.expect_closed() == []
        assert figures(daemon, peer_id)["failed"] == 1
    assert daemon.psql("SELECT 1") == [(1,)]


def test_keys_of_nobody_are_closed_and_counted(lone, fake_peer, wire):
    daemon = lone()
    client = wire(daemon)
    requests = [forged(3), forged(16383), forged(1), cancel_request(0, bytes(4)),
                cancel_request(client.pid, client.secret[:3] + bytes([client.secret[3] ^ 1]))]
    for n, data in enumerate(requests):
        request = wire(daemon, login=False)
        request.send(data)
        assert request.expect_closed() == []
        daemon.wait_log(rf"cancel request for an unknown or finished client \({n + 1} so far\)")
    assert fake_peer.requests == []


def test_without_a_number_of_its_own_nothing_is_passed_on(pgpoold, pg, fake_peer, wire):
    daemon = pgpoold(databases=one_database(pg), peers={"2": f"host={fake_peer.host} port={fake_peer.port}"})
    request = wire(daemon, login=False)
    request.send(forged(2))
    assert request.expect_closed() == []
    assert fake_peer.requests == []


def test_a_request_that_goes_in_circles_ends(pgpoold, pg, wire):
    daemon = pgpoold(start=False, peer_id=1, databases=one_database(pg))
    daemon.change(peers={"2": f"host={daemon.socket_dir} port={daemon.port}"})
    daemon.start()
    request = wire(daemon, login=False)
    request.send(forged(2))
    assert request.expect_closed() == []
    assert figures(daemon, 2)["passed_on"] == 3
    daemon.wait_log(r"passed on too often.*\(1 so far\)")


def test_peers_change_with_a_reload(pgpoold, pg, fake_peer, wire, eventually):
    daemon = pgpoold(peer_id=1, databases=one_database(pg),
                     peers={"2": f"host={fake_peer.host} port={fake_peer.port} pool_size=1"})
    waiting = [wire(daemon, login=False) for _ in range(3)]
    for request in waiting:
        request.send(forged(2))
    eventually(lambda: figures(daemon, 2)["cl_waiting_cancel_req"] == 2)
    daemon.reload(peers={"2": f"host={fake_peer.host} port={fake_peer.port} pool_size=9"})
    eventually(lambda: len(fake_peer.requests) == 3)
    daemon.reload(peers={})
    for request in waiting:
        assert request.expect_closed() == []
    assert show(daemon, "peer_pools") == []
    request = wire(daemon, login=False)
    request.send(forged(2))
    assert request.expect_closed() == []
    assert len(fake_peer.requests) == 3


def test_keys_stay_good_when_the_number_changes(group, pg, wire):
    two = group()
    old = wire(two[1])
    two[1].reload(options={"peer_id": 7})
    new = wire(two[1])
    two[2].reload(peers={"1": two.peers["1"], "7": two.peers["1"]})
    for client in (old, new):
        client.send(query(SLEEPS))
        wait_running(pg, SLEEPS)
        cancel(wire, two[2], client)
        assert_cancelled(client)


def test_bad_peers_are_refused_with_file_and_line(pgpoold):
    daemon = pgpoold(wait=False, peer_id=1, peers={"0": "host=a", "2": "host=a,b", "3": "", "x": "host=a"})
    daemon.wait_exit(1)
    lines = daemon.stderr.splitlines()
    for n, text in enumerate(["peer 0: is not a peer_id", "peer 2: host: several hosts", "peer 3: host: is missing",
                              "peer x: is not a peer_id"]):
        at = 1 + next(i for i, line in enumerate(daemon.ini_path.read_text().splitlines())
                      if line.startswith(text.split()[1].rstrip(":") + " ="))
        assert f"{daemon.ini_path}:{at}: {text}" in lines[n]


def test_a_flood_of_requests_for_a_peer_is_bounded(lone, fake_peer, wire, eventually):
    daemon = lone("pool_size=2", max_client_conn=1000)
    client = wire(daemon)
    flood = [wire(daemon, login=False) for _ in range(300)]
    for request in flood:
        request.send(forged(2))
    eventually(lambda: figures(daemon, 2)["cl_waiting_cancel_req"] == 298)
    for i in range(20):
        assert client.run(f"SELECT {i}") == [(str(i),)]
    assert fake_peer.n_open == 2
    for request in flood:  # who leaves does not take its request along, but those are bounded
        request.close()
    fake_peer.release()
    eventually(lambda: figures(daemon, 2)["passed_on"] == 300)
    assert fake_peer.most_open == 2


def test_the_example_of_the_manual(pgpoold, pg, wire):
    """SEVERAL PROCESSES ON ONE PORT in pgpoold(1), with folders that exist here."""
    page = (ROOT / "packaging/man/pgpoold.1.scd").read_text()
    section = page[page.index("# SEVERAL PROCESSES ON ONE PORT"):]
    example = section.split("```")[1]
    two = [pgpoold(start=False) for _ in range(2)]
    port = two[0].port
    common = two[0].home / "common.ini"
    common.write_text(f"[databases]\n* = host={pg.host} port={pg.port}\n[pgpoold]\nlisten_addr = 127.0.0.1\n"
                      f"listen_port = {port}\nauth_type = trust\nauth_file = {two[0].userlist_path}\n")
    give(common, 0o644)
    text = example.replace("/etc/pgpoold", str(two[0].home))
    text = re.sub(r"(\d = host=\S+)", rf"\1 port={port}", text)
    for n, daemon in enumerate(two, 1):
        text = text.replace(f"/run/pgpoold/{n}", daemon.socket_dir)
    for n, daemon in enumerate(two, 1):
        daemon.change(ini=text.replace("peer_id = 1", f"peer_id = {n}").replace(
            f"unix_socket_dir = {two[0].socket_dir}", f"unix_socket_dir = {daemon.socket_dir}"))
        daemon.port = port
        daemon.start(wait=False)
    clients = [wait_eventually(lambda d=d: wire(d, host=d.socket_dir)) for d in two]
    clients[0].send(query(SLEEPS))
    wait_running(pg, SLEEPS)
    cancel(wire, two[1], clients[0])
    assert_cancelled(clients[0])
