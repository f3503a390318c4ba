# SPDX-License-Identifier: ISC
"""Hosts by name, without a name server: files and addresses."""

import pytest

from wire import Client, ServerError


def refusal(daemon, **who):
    with Client.connect(daemon.host, daemon.port) as client:
        with pytest.raises(ServerError) as caught:
            client.login(**who)
        return caught.value.message


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
