# SPDX-License-Identifier: ISC
"""The harness itself, tried on PostgreSQL without a pooler between."""

import ssl
import struct

import psycopg
import pytest

from fake_pg import command_complete, data_row, error, notification, ready, row_description
from wire import (PROTOCOL_3_0, PROTOCOL_3_2, Closed, ServerError, WireError, bind, cancel_request, close, copy_data,
                  copy_done, describe, execute, parse, raw, scram_verifier, sync)


@pytest.mark.parametrize("user", ["app", "scram_user", "md5_user", "password_user"])
def test_wire_logs_in_by_every_method(pg, wire, user):
    client = wire(pg, user=user, database="postgres", password=f"{user[:-5]}-secret")
    assert client.query("SELECT current_user").rows == [(user,)]
    assert client.params["server_encoding"] == "UTF8"
    assert client.pid > 0 and len(client.secret) == 4


def test_wire_reports_a_wrong_password(pg, wire):
    with pytest.raises(ServerError) as caught:
        wire(pg, user="scram_user", database="postgres", password="wrong")
    assert caught.value.code == "28P01"


def test_wire_logs_in_over_the_unix_socket(pg, wire):
    assert wire(pg, host=pg.socket_dir).query("SELECT inet_client_addr()").rows == [(None,)]


def test_wire_binds_scram_to_the_tls_channel(pg, wire, certs):
    client = wire(pg, login=False)
    assert client.ask_tls() == "S"
    client.start_tls(ssl.create_default_context(cafile=certs.ca), "localhost")
    client.login("scram_user", "postgres", "scram-secret")
    assert client.login_messages[0].mechanisms == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]
    assert client.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").rows == [("t",)]


def test_wire_shows_error_fields_and_status(pg, wire):
    client = wire(pg)
    result = client.query("BEGIN; SELECT 1/0")
    assert result.errors[0].code == "22012"
    assert result.errors[0].severity == "ERROR"
    assert result.errors[0].text == "division by zero"
    assert result.status == "E"
    assert client.query("ROLLBACK").tags == ["ROLLBACK"]


def test_wire_speaks_the_extended_protocol(pg, wire):
    client = wire(pg)
    client.send(parse("s", "SELECT $1::int + 1, $2::text", [23, 25]), describe("S", "s"),
                bind("", "s", ["41", None]), execute(), close("S", "s"), sync())
    messages = client.expect(*"1tT2DC3Z")
    assert messages[1].types == [23, 25]
    assert messages[4].values == ("42", None)


def test_wire_copies_in(pg, wire):
    client = wire(pg)
    client.run("CREATE TEMP TABLE t (a int)")
    client.send(b"Q" + struct.pack("!I", 4 + 18) + b"COPY t FROM STDIN\0")
    client.expect("G")
    client.send(copy_data("1\n2\n"), copy_done())
    assert client.result().tags == ["COPY 2"]


def test_wire_receives_notifications(pg, wire):
    listener, sender = wire(pg), wire(pg)
    listener.run("LISTEN news")
    sender.run("NOTIFY news, 'hello'")
    message = listener.expect("A")
    assert (message.channel, message.payload, message.pid) == ("news", "hello", sender.pid)
    listener.expect_silence(0.05)


def test_wire_cancels(pg, wire, eventually):
    client = wire(pg)
    client.send(b"Q" + struct.pack("!I", 4 + 21) + b"SELECT pg_sleep(100)\0")
    eventually(lambda: [a for a in pg.activity("test") if a["state"] == "active"])
    killer = wire(pg, login=False)
    killer.send(cancel_request(client.pid, client.secret))
    assert killer.expect_closed() == []
    assert client.result().errors[0].code == "57014"


def test_wire_notices_the_wrong_message(pg, wire):
    client = wire(pg)
    client.send(sync())
    with pytest.raises(WireError, match="expected C"):
        client.expect("C")


def test_wire_can_lie_about_lengths(pg, wire):
    client = wire(pg)
    client.send(raw("Q", 3))
    assert client.expect_closed() == []


def test_wire_sends_any_version(pg, wire):
    client = wire(pg, login=False)
    client.login(version=PROTOCOL_3_2)
    assert client.login_messages[0].kind == "v"
    assert client.login_messages[0].newest & 0xFFFF == PROTOCOL_3_0 & 0xFFFF


def test_pg_stops_and_starts(pg):
    pg.restart()
    assert pg.psql("SELECT 1", db="test", user="app") == [(1,)]
    pg.kill9()
    assert not pg.is_running()
    pg.start()
    assert pg.n_connections() == 0


def test_pg_makes_users_and_databases(pg):
    pg.create_user("extra", "it's a secret", "scram")
    pg.create_database("extra_db", owner="extra")
    assert pg.psql("SELECT current_user", db="extra_db", user="extra", password="it's a secret") == [("extra",)]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        pg.psql("SELECT 1", db="extra_db", user="extra", password="wrong")
    pg.drop_database("extra_db")
    pg.drop_user("extra")


def test_pg_takes_client_certificates(pg, certs):
    rows = pg.psql("SELECT current_user", user="cert_user", sslmode="verify-full", host="localhost",
                   sslrootcert=str(certs.ca), sslcert=str(certs.client), sslkey=str(certs.client_key))
    assert rows == [("cert_user",)]


def test_pg_accepts_our_scram_verifier(pg, wire):
    pg.create_user("verifier_user", scram_verifier("known"), "scram")
    assert wire(pg, user="verifier_user", database="test", password="known").run("SELECT 1") == [("1",)]
    pg.drop_user("verifier_user")


@pytest.mark.parametrize("method", ["trust", "password", "md5", "scram"])
def test_fake_pg_serves_psycopg(fake_pg, method):
    server = fake_pg(auth=method, password="right")
    with psycopg.connect(host=server.host, port=server.port, user="app", dbname="x", password="right",
                         autocommit=True) as conn:
        assert conn.execute("select anything").fetchall() == [("select anything",)]
    assert server.startups[0]["user"] == "app"


@pytest.mark.parametrize("method", ["password", "md5", "scram"])
def test_fake_pg_refuses_a_wrong_password(fake_pg, method):
    server = fake_pg(auth=method, password="right")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host=server.host, port=server.port, user="app", password="wrong")


def test_fake_pg_follows_a_script(fake_pg, wire):
    def script(conn):
        assert conn.expect("Q").sql == "select 1"
        conn.send(row_description("x"), data_row("1"), notification("ch", "pay"), command_complete("SELECT 1"),
                  ready())
        conn.expect("P", "B", "E", "S")
        conn.send(error("40001", "try again"), ready("E"))
        conn.expect("X")

    server = fake_pg(script)
    client = wire(server)
    result = client.query("select 1")
    assert result.rows == [("1",)] and result.notifications[0].payload == "pay"
    client.send(parse("", "select 2"), bind(), execute(), sync())
    assert client.result().errors[0].code == "40001"
    client.goodbye()
    assert len(server.wait_connections(1)) == 1


def test_fake_pg_tells_when_its_script_fails(fake_pg, wire, eventually):
    server = fake_pg(lambda conn: conn.expect("P"))
    client = wire(server)
    client.send(sync())
    assert client.expect_closed() == []
    eventually(lambda: server.failures)
    with pytest.raises(AssertionError, match="expected P"):
        server.check()
    server.failures.clear()


def test_fake_pg_records_cancel_requests(fake_pg, wire, eventually):
    server = fake_pg()
    client = wire(server)
    wire(server, login=False).send(cancel_request(client.pid, client.secret))
    eventually(lambda: server.cancels == [(client.pid, client.secret)])


def test_fake_pg_speaks_tls(fake_pg, certs):
    server = fake_pg(tls=(certs.server, certs.server_key), auth="scram", password="right")
    with psycopg.connect(host="localhost", port=server.port, user="app", password="right", sslmode="verify-full",
                         sslrootcert=str(certs.ca), autocommit=True) as conn:
        assert conn.execute("x").fetchall() == [("x",)]
    assert server.connections[0].tls


def test_fake_pg_resets_connections(fake_pg, wire):
    client = wire(fake_pg(lambda conn: conn.reset()))
    with pytest.raises(Closed):
        client.query("select 1")


def test_eventually_gives_up(eventually):
    with pytest.raises(AssertionError, match="not within 0.05 s: pigs fly"):
        eventually(lambda: False, "pigs fly", timeout=0.05)
