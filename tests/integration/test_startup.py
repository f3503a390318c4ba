# SPDX-License-Identifier: ISC
"""The first packets of a connection: what a client may ask for, and what happens to nonsense."""

import os
import pathlib
import socket
import stat
import struct

import pytest

from wire import (CANCEL_CODE, GSS_CODE, PROTOCOL_3_0, PROTOCOL_3_2, SSL_CODE, Client, Closed, ServerError,
                  cancel_request, msg, query, raw, special, startup)

STARTUP_MAX = 10004


def assert_lives(daemon):
    assert daemon.psql("SELECT 1") == [(1,)]


def refusal(client):
    """The one ErrorResponse after which the peer closes."""
    messages = client.expect_closed()
    assert [m.kind for m in messages if m.kind != "R"] == ["E"], messages
    assert messages[-1].severity == "FATAL"
    return messages[-1]


# ---------------------------------------------------------------------------------- versions

def test_protocol_3_0_gets_a_short_cancel_key(pgpoold, wire):
    client = wire(pgpoold(), version=PROTOCOL_3_0)
    assert len(client.secret) == 4
    assert "v" not in [m.kind for m in client.login_messages]
    assert client.run("SELECT 1") == [("1",)]


def test_protocol_3_2_gets_a_long_cancel_key(pgpoold, wire):
    client = wire(pgpoold(), version=PROTOCOL_3_2)
    assert len(client.secret) == 32
    assert "v" not in [m.kind for m in client.login_messages]
    assert client.run("SELECT 1") == [("1",)]


@pytest.mark.parametrize("version, granted", [(PROTOCOL_3_0 + 1, PROTOCOL_3_0), (PROTOCOL_3_2 + 1, PROTOCOL_3_2),
                                              (PROTOCOL_3_0 + 9999, PROTOCOL_3_2)])
def test_a_minor_version_we_do_not_know_is_negotiated_down(pgpoold, wire, version, granted):
    client = wire(pgpoold(), version=version)
    first = client.login_messages[0]
    assert (first.kind, first.newest, first.unknown) == ("v", granted, [])
    assert len(client.secret) == (32 if granted == PROTOCOL_3_2 else 4)
    assert client.run("SELECT 1") == [("1",)]


@pytest.mark.parametrize("version", [PROTOCOL_3_0, PROTOCOL_3_2])
def test_unknown_protocol_options_are_named(pgpoold, wire, version):
    client = wire(pgpoold(), version=version, **{"_pq_.first": "1", "_pq_.second": "on"})
    first = client.login_messages[0]
    assert (first.kind, first.newest, first.unknown) == ("v", version, ["_pq_.first", "_pq_.second"])
    assert client.run("SELECT 1") == [("1",)]


@pytest.mark.parametrize("version", [2 << 16, 4 << 16, 0, 0x7fffffff, 1 << 16 | 3])
def test_another_major_version_is_refused(pgpoold, wire, version):
    daemon = pgpoold()
    client = wire(daemon, login=False)
    client.send_startup(version=version)
    error = refusal(client)
    assert (error.code, "unsupported frontend protocol" in error.text) == ("0A000", True)
    assert_lives(daemon)


# ---------------------------------------------------------------------------------- encryption requests

def test_without_tls_ssl_is_declined_and_the_login_goes_on(pgpoold, wire):
    client = wire(pgpoold(), login=False)
    assert client.ask_tls() == "N"
    assert client.login().run("SELECT 1") == [("1",)]


def test_gssenc_is_declined_and_the_login_goes_on(pgpoold, wire):
    client = wire(pgpoold(), login=False)
    assert client.ask_gss() == "N"
    assert client.login().run("SELECT 1") == [("1",)]


@pytest.mark.parametrize("order", [("gss", "tls"), ("tls", "gss")])
def test_both_encryptions_may_be_asked_for(pgpoold, wire, order):
    client = wire(pgpoold(), login=False)
    for what in order:
        assert (client.ask_gss() if what == "gss" else client.ask_tls()) == "N"
    assert client.login().run("SELECT 1") == [("1",)]


def test_psql_with_gss_and_ssl_preferred_gets_in(pgpoold):
    assert pgpoold().psql("SELECT 1", gssencmode="prefer", sslmode="prefer") == [(1,)]


@pytest.mark.parametrize("code", [SSL_CODE, GSS_CODE])
def test_asking_twice_is_refused(pgpoold, wire, code):
    daemon = pgpoold()
    client = wire(daemon, login=False)
    client.send(special(code))
    assert client.read_bytes(1) == b"N"
    client.send(special(code))
    assert refusal(client).code == "08P01"
    assert_lives(daemon)


@pytest.mark.parametrize("code", [SSL_CODE, GSS_CODE])
def test_bytes_behind_an_encryption_request_are_refused(pgpoold, wire, code):
    daemon = pgpoold()
    client = wire(daemon, login=False)
    client.send(special(code) + startup({"user": "app", "database": "test"}))
    assert refusal(client).code == "08P01"
    assert_lives(daemon)


# ---------------------------------------------------------------------------------- garbage

GARBAGE = {
    "length 0": struct.pack("!I", 0) + b"x" * 20,
    "length 4": struct.pack("!II", 4, PROTOCOL_3_0),
    "length 7": struct.pack("!II", 7, PROTOCOL_3_0),
    "negative length": struct.pack("!iI", -1, PROTOCOL_3_0),
    "one byte too long": struct.pack("!II", STARTUP_MAX + 1, PROTOCOL_3_0),
    "a gigabyte": struct.pack("!II", 1 << 30, PROTOCOL_3_0),
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no end": struct.pack("!II", 17, PROTOCOL_3_0) + b"user\0app\0",
    "no value": struct.pack("!II", 14, PROTOCOL_3_0) + b"user\0\0",
    "no terminator": struct.pack("!II", 12, PROTOCOL_3_0) + b"user",
    "bytes behind the end": struct.pack("!II", 8 + 12, PROTOCOL_3_0) + b"user\0app\0\0xx",
    "ssl request with a body": struct.pack("!II", 12, SSL_CODE) + b"abcd",
    "cancel request without a key": struct.pack("!III", 12, CANCEL_CODE, 1),
    "cancel request with a giant key": special(CANCEL_CODE, b"\0" * 261),
    "no user": startup({"database": "test"}),
    "empty user": startup({"user": "", "database": "test"}),
    "user name too long": startup({"user": "u" * 300, "database": "test"}),
    "database name too long": startup({"user": "app", "database": "d" * 300}),
    "65 parameters": startup([("user", "app")] + [(f"x.p{i}", "1") for i in range(64)]),
    "100000 parameters": startup([("user", "app")] + [(f"p{i}", "1") for i in range(100000)]),
    "a startup packet twice": startup({"user": "app", "database": "test"}) * 2,
    "a query before the login": startup({"user": "app", "database": "test"}) + query("select 1"),
    "zeros": b"\0" * 5000,
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_refused(pgpoold, wire, name):
    daemon = pgpoold(databases={"test": "host=127.0.0.1 port=1"})
    client = wire(daemon, login=False)
    client.send(GARBAGE[name])
    messages = client.expect_closed()
    assert [m.kind for m in messages] in (["E"], []), messages
    assert not messages or (messages[0].severity, len(messages[0].code)) == ("FATAL", 5)
    assert daemon.show("databases", name="test")


def test_random_bytes_hurt_nobody(pgpoold):
    daemon = pgpoold(client_login_timeout=5)
    for size in (1, 3, 4, 5, 8, 9, 100, 9999, 70000):
        with Client.connect(daemon.host, daemon.port) as client:
            try:
                client.send(os.urandom(size))
                client.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it was quicker than we
            client.expect_closed()
    assert_lives(daemon)


def test_a_startup_packet_may_come_byte_by_byte(pgpoold, wire):
    client = wire(pgpoold(), login=False)
    for byte in startup({"user": "app", "database": "test"}):
        client.send(bytes([byte]))
    client.authenticate("app")
    assert client.run("SELECT 1") == [("1",)]


def test_the_largest_startup_packet_is_read(pgpoold, wire):
    daemon = pgpoold(ignore_startup_parameters="x.filler")
    packet = startup([("user", "app"), ("database", "test"), ("x.filler", "")])
    packet = startup([("user", "app"), ("database", "test"), ("x.filler", "f" * (STARTUP_MAX - len(packet)))])
    assert len(packet) == STARTUP_MAX
    client = wire(daemon, login=False)
    client.send(packet)
    client.authenticate("app")
    assert client.run("SELECT 1") == [("1",)]


@pytest.mark.parametrize("cut", [0, 1, 4, 8, 12, 30])
def test_a_client_that_leaves_in_its_startup_packet_is_forgotten(pgpoold, cut, eventually):
    daemon = pgpoold()
    client = Client.connect(daemon.host, daemon.port)
    client.send(startup({"user": "app", "database": "test"})[:cut])
    client.close()
    eventually(lambda: daemon.admin("SHOW LISTS")[0:1] and len(daemon.show("clients")) == 1)


@pytest.mark.parametrize("packet", [query("select 1"), raw("p", 3), raw("p", 1 << 30), raw("p", -1), raw("p", 200000),
                                    msg("p"), msg("p", b"no terminator"), msg("p", b"two\0strings\0"),
                                    b"\xff" * 64])
def test_nonsense_instead_of_a_password_is_refused(pgpoold, wire, packet):
    daemon = pgpoold(auth_type="plain")
    client = wire(daemon, login=False)
    client.send_startup()
    assert client.expect("R").how == 3
    client.send(packet)
    assert refusal(client).code in ("08P01", "28P01")
    assert_lives(daemon)


def test_a_goodbye_instead_of_a_password_is_quiet(pgpoold, wire):
    daemon = pgpoold(auth_type="plain")
    client = wire(daemon, login=False)
    client.send_startup()
    client.expect("R")
    client.send(msg("X"))
    assert client.expect_closed() == []


# ---------------------------------------------------------------------------------- slow ones

@pytest.mark.parametrize("stage", ["nothing", "half a packet", "password"])
def test_a_slow_client_is_closed_by_client_login_timeout(pgpoold, wire, stage):
    daemon = pgpoold(client_login_timeout=1, auth_type="md5")
    client = wire(daemon, login=False)
    if stage != "nothing":
        packet = startup({"user": "app", "database": "test"})
        client.send(packet if stage == "password" else packet[:20])
    assert refusal(client).text == "client_login_timeout"
    daemon.wait_log(r"closing because: client_login_timeout \(age=")
    daemon.admin("SET client_login_timeout = 60")
    assert_lives(daemon)


def test_a_drip_of_bytes_does_not_hold_off_client_login_timeout(pgpoold, wire):
    daemon = pgpoold(client_login_timeout=1)
    client = wire(daemon, login=False)
    packet = startup({"user": "app", "database": "test", "application_name": "x" * 9000})
    with pytest.raises(Closed):  # all of it would take three minutes
        for byte in packet:
            client.send(bytes([byte]))
            client.sock.settimeout(0.02)
            try:
                if not client.sock.recv(1000, socket.MSG_PEEK):
                    raise Closed("between two bytes")
            except TimeoutError:
                continue
            client.expect_closed()
            raise Closed("with an error")
    daemon.wait_log("client_login_timeout")


def test_a_logged_in_client_outlives_client_login_timeout(pgpoold, wire):
    daemon = pgpoold(client_login_timeout=2)
    client = wire(daemon)
    late = wire(daemon, login=False)
    assert refusal(late).text == "client_login_timeout"
    assert client.run("SELECT 1") == [("1",)]


# ---------------------------------------------------------------------------------- cancel requests

@pytest.mark.parametrize("version", [PROTOCOL_3_0, PROTOCOL_3_2])
def test_a_cancel_request_cancels(pg, pgpoold, wire, eventually, version):
    daemon = pgpoold()
    client = wire(daemon, version=version)
    client.send(query("SELECT pg_sleep(100)"))
    eventually(lambda: [a for a in pg.activity("test", "app") if a["state"] == "active"])
    killer = wire(daemon, login=False)
    killer.send(cancel_request(client.pid, client.secret))
    assert killer.expect_closed() == []
    assert client.result().errors[0].code == "57014"
    assert client.run("SELECT 1") == [("1",)]


@pytest.mark.parametrize("change", ["other key", "other pid", "shorter key", "longer key"])
def test_a_cancel_request_with_a_wrong_key_does_nothing(pg, pgpoold, wire, eventually, change):
    daemon = pgpoold()
    client = wire(daemon)
    client.send(query("SELECT pg_sleep(100)"))
    eventually(lambda: [a for a in pg.activity("test", "app") if a["state"] == "active"])
    secret = {"other key": bytes(b ^ 1 for b in client.secret), "longer key": client.secret * 8,
              "shorter key": client.secret[:3]}.get(change, client.secret)
    killer = wire(daemon, login=False)
    killer.send(cancel_request(client.pid + (change == "other pid"), secret))
    messages = killer.expect_closed()
    assert [m.kind for m in messages] == (["E"] if change == "shorter key" else [])
    client.expect_silence(0.1)
    wire(daemon, login=False).send(cancel_request(client.pid, client.secret))
    assert client.result().errors[0].code == "57014"


def test_a_cancel_request_ends_a_query_in_the_queue(pg, pgpoold, wire, eventually):
    daemon = pgpoold(databases={"test": f"host={pg.host} port={pg.port} pool_size=1"}, pool_mode="transaction")
    holder, waiting = wire(daemon), wire(daemon)
    holder.run("BEGIN")
    waiting.send(query("SELECT 1"))
    eventually(lambda: daemon.show("pools", database="test")[0]["cl_waiting"] == 1)
    wire(daemon, login=False).send(cancel_request(waiting.pid, waiting.secret))
    result = waiting.result()
    assert (result.errors[0].code, result.errors[0].severity, result.status) == ("57014", "ERROR", "I")
    assert holder.query("END").status == "I"
    assert waiting.run("SELECT 2") == [("2",)]


# ---------------------------------------------------------------------------------- addresses

def _v6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_listen_addr_takes_a_list(pgpoold):
    daemon = pgpoold(listen_addr="127.0.0.1, 127.0.0.2")
    for host in ("127.0.0.1", "127.0.0.2"):
        assert daemon.psql("SELECT 1", host=host) == [(1,)]
    with pytest.raises(Exception, match="refused"):
        daemon.psql("SELECT 1", host="127.0.0.3")


def test_listen_addr_star_is_every_address(pgpoold):
    daemon = pgpoold(listen_addr="*")
    for host in ["127.0.0.1", "127.0.0.3"] + ["::1"] * _v6():
        assert daemon.psql("SELECT 1", host=host) == [(1,)]


def test_ipv6_clients_get_in_and_are_shown(pgpoold):
    assert _v6(), "this machine has no IPv6 loopback"
    daemon = pgpoold(listen_addr="127.0.0.1,::1")
    with daemon.connect(host="::1") as conn:
        assert conn.execute("SELECT 1").fetchall() == [(1,)]
        row, = daemon.show("clients", database="test")
        assert (row["addr"], row["local_addr"], row["local_port"]) == ("::1", "::1", daemon.port)


def test_localhost_is_resolved_for_listening(pgpoold):
    assert pgpoold(listen_addr="localhost").psql("SELECT 1") == [(1,)]


def test_without_listen_addr_only_the_unix_socket_is_there(pgpoold):
    daemon = pgpoold(listen_addr=None)
    assert daemon.psql("SELECT 1", host=daemon.socket_dir) == [(1,)]
    with pytest.raises(Exception, match="refused"):
        daemon.psql("SELECT 1")


def test_without_unix_socket_dir_only_tcp_is_there(pgpoold):
    daemon = pgpoold(unix_socket_dir="")
    assert_lives(daemon)
    assert not (daemon.home / f".s.PGSQL.{daemon.port}").exists()


@pytest.mark.parametrize("mode", ["0777", "0700", "0640"])
def test_the_unix_socket_has_its_mode(pgpoold, mode):
    daemon = pgpoold(unix_socket_mode=mode)
    path = daemon.home / f".s.PGSQL.{daemon.port}"
    assert stat.S_IMODE(path.stat().st_mode) == int(mode, 8)
    daemon.stop()
    assert not path.exists()


def test_an_abstract_unix_socket(pgpoold):
    name = f"@pgpoold-test-{os.getpid()}"
    daemon = pgpoold(unix_socket_dir=name)
    assert f"{name}/.s.PGSQL.{daemon.port}" in pathlib.Path("/proc/net/unix").read_text(encoding="ascii")
    assert daemon.psql("SELECT 1", host=name) == [(1,)]


def test_clients_over_the_unix_socket_are_shown(pgpoold):
    daemon = pgpoold()
    with daemon.connect(host=daemon.socket_dir):
        row, = daemon.show("clients", database="test")
        assert (row["addr"], row["port"]) == ("unix", daemon.port)


def test_a_stale_unix_socket_is_replaced(pgpoold, eventually):
    daemon = pgpoold()
    daemon.kill9()
    assert (daemon.home / f".s.PGSQL.{daemon.port}").exists()
    daemon.start()
    eventually(lambda: daemon.psql("SELECT 1", host=daemon.socket_dir) == [(1,)])


def test_a_second_daemon_on_the_same_port_says_so(pgpoold):
    first = pgpoold()
    second = pgpoold(listen_port=first.port, wait=False)
    second.wait_exit(1)
    assert f"127.0.0.1 port {first.port}: another program does" in second.log
    assert_lives(first)


# ---------------------------------------------------------------------------------- parameters

def test_the_welcome_tells_the_clients_parameters(pgpoold, wire):
    client = wire(pgpoold(), application_name="me", DateStyle="German", client_encoding="latin1", TimeZone="cet")
    assert (client.params["application_name"], client.params["DateStyle"]) == ("me", "German, DMY")
    assert (client.params["client_encoding"], client.params["TimeZone"]) == ("LATIN1", "CET")
    assert client.run("SHOW DateStyle") == [("German, DMY",)]


def test_options_with_settings_are_taken_apart(pgpoold, wire):
    client = wire(pgpoold(pool_mode="session"), options="-c work_mem=123kB --timezone=Asia/Tokyo")
    assert client.params["TimeZone"] == "Asia/Tokyo"


@pytest.mark.parametrize("options", ["-w", "-c work_mem", "--", "work_mem=1", "-c =1"])
def test_other_options_are_refused(pgpoold, wire, options):
    with pytest.raises(ServerError) as caught:
        wire(pgpoold(), options=options)
    assert caught.value.text.startswith("unsupported options startup parameter: only '-c config=val'")


def test_ignored_startup_parameters_are_ignored(pgpoold, wire):
    daemon = pgpoold(ignore_startup_parameters="no_such_thing, extra_float_digits")
    client = wire(daemon, no_such_thing="1", options="-c no_such_thing=2", extra_float_digits="0")
    assert client.run("SELECT 1") == [("1",)]


def test_a_parameter_that_does_not_exist_is_refused(pgpoold, wire):
    with pytest.raises(ServerError) as caught:
        wire(pgpoold(), no_such_thing="1")
    assert "no_such_thing" in caught.value.text


def test_a_wrong_value_is_refused_with_the_servers_words(pgpoold, wire):
    with pytest.raises(ServerError) as caught:
        wire(pgpoold(), DateStyle="no-such-style")
    assert (caught.value.code, "DateStyle" in caught.value.text) == ("22023", True)


def test_the_database_is_the_user_when_none_is_named(pgpoold, wire, pg):
    daemon = pgpoold(databases={"app": f"host={pg.host} port={pg.port} dbname=test"})
    client = wire(daemon, login=False)
    client.send(startup({"user": "app"}))
    client.authenticate("app")
    assert client.run("SELECT current_database()") == [("test",)]


# ---------------------------------------------------------------------------------- what is added

@pytest.mark.parametrize("params, shown", [({"application_name": "me"}, "me - 127.0.0.1:{port}"),
                                           ({"application_name": ""}, " - 127.0.0.1:{port}"),
                                           ({}, "app - 127.0.0.1:{port}")])
def test_application_name_add_host(pg, pgpoold, wire, params, shown):
    daemon = pgpoold(application_name_add_host=1)
    client = wire(daemon, **params)
    expected = shown.format(port=client.sock.getsockname()[1])
    assert client.run("SHOW application_name") == [(expected,)]
    client.run("BEGIN")
    assert expected in [a["application_name"] for a in pg.activity("test", "app")]
    client.run("END")


def test_application_name_add_host_names_the_process_behind_a_unix_socket(pgpoold, wire):
    daemon = pgpoold(application_name_add_host=1)
    with wire(daemon, host=daemon.socket_dir, application_name="me") as client:
        expected = f"me - unix({os.getpid()}@{socket.gethostname()})"
        assert client.run("SHOW application_name")[0][0].startswith(expected[:63])


def test_login_notify_message_comes_with_the_welcome(pgpoold, wire):
    client = wire(pgpoold(login_notify_message="down for repairs at noon"))
    notices = [m for m in client.login_messages if m.kind == "N"]
    assert [(m.severity, m.code, m.text) for m in notices] == [("NOTICE", "00000", "down for repairs at noon")]
    assert client.login_messages[-1].kind == "Z"
