# SPDX-License-Identifier: ISC
"""TLS between the daemon and servers."""

import psycopg
import pytest

from fake_pg import answer, auth, error, ready
from wire import Client, Fields, ServerError, cancel_request, cstr, query

USES_TLS = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


def refusal(daemon, user="app", database="test"):
    with Client.connect(daemon.host, daemon.port) as client:
        with pytest.raises(ServerError) as caught:
            client.login(user, database)
        assert client.expect_closed() == []
        return caught.value.message


@pytest.fixture
def named(pg):
    """[databases] with the server under the name that its certificate has, and under its address."""
    return {"test": f"host=localhost port={pg.port}", "address": f"host=127.0.0.1 port={pg.port} dbname=test",
            "other_name": f"host=ip6-localhost port={pg.port} dbname=test"}


@pytest.mark.parametrize("mode, tls", (("disable", False), ("allow", False), ("prefer", True), ("require", True),
                                       ("verify-ca", True), ("verify-full", True)))
def test_modes(pgpoold, certs, named, mode, tls):
    daemon = pgpoold(databases=named, server_tls_sslmode=mode,
                     server_tls_ca_file=certs.ca if mode.startswith("verify") else None)
    assert daemon.psql(USES_TLS) == [(tls,)]
    assert daemon.psql(USES_TLS, "address") == [(tls,)]
    shown = daemon.show("servers", database="test")[0]["tls"]
    assert shown.startswith("TLSv1.3/TLS_") if tls else shown == ""


def test_the_default_prefers_tls(pgpoold):
    assert pgpoold().psql(USES_TLS) == [(True,)]


def test_prefer_goes_without_where_there_is_none(pgpoold, fake_pg):
    server = fake_pg()
    daemon = pgpoold(databases={"test": f"host=127.0.0.1 port={server.port}"}, server_tls_sslmode="prefer")
    assert daemon.psql("x") == [("x",)]
    assert not server.connections[0].tls


def test_prefer_tries_without_where_tls_is_rejected(pgpoold, pg):
    """pg_hba.conf rejects TLS for this user: libpq's second try is without."""
    pg.create_user("plain_only", None)
    path = pg.data / "pg_hba.conf"
    before = path.read_text()
    path.write_text("hostssl all plain_only all reject\n" + before)
    try:
        pg.reload()
        daemon = pgpoold(auth_type="trust", userlist={"plain_only": ""}, server_tls_sslmode="prefer")
        assert daemon.psql(USES_TLS, user="plain_only") == [(False,)]
    finally:
        path.write_text(before)
        pg.reload()
        pg.drop_user("plain_only")


def test_allow_takes_tls_where_it_must(pgpoold):
    """ssl_user may only log in over TLS."""
    assert pgpoold(server_tls_sslmode="allow").psql(USES_TLS, user="ssl_user") == [(True,)]


def test_without_tls_the_servers_rejection_is_told(pgpoold):
    message = refusal(pgpoold(auth_type="trust", server_tls_sslmode="disable"), "ssl_user")
    assert message.code == "28000" and "no encryption" in message.text


@pytest.mark.parametrize("mode", ("require", "verify-ca", "verify-full"))
def test_a_server_without_tls_is_refused(pgpoold, fake_pg, certs, mode):
    server = fake_pg()
    daemon = pgpoold(databases={"test": f"host=localhost port={server.port}"}, server_tls_sslmode=mode,
                     server_tls_ca_file=certs.ca)
    assert "server does not support SSL, but SSL was required" in refusal(daemon).text
    assert not server.startups


@pytest.mark.parametrize("mode", ("verify-ca", "verify-full"))
def test_a_certificate_of_another_ca_is_refused(pgpoold, certs, named, mode):
    daemon = pgpoold(databases=named, server_tls_sslmode=mode, server_tls_ca_file=certs.other_ca)
    assert "certificate verify failed" in refusal(daemon).text
    daemon.wait_log("connect failed: .*certificate verify failed")


def test_require_does_not_look_at_the_ca(pgpoold, certs, named):
    daemon = pgpoold(databases=named, server_tls_sslmode="require", server_tls_ca_file=certs.other_ca)
    assert daemon.psql(USES_TLS) == [(True,)]


def test_verify_full_looks_at_the_name(pgpoold, fake_pg, certs):
    crt, key = certs.sign("elsewhere", "elsewhere.example", "subjectAltName=DNS:elsewhere.example")
    server = fake_pg(tls=(crt, key))
    databases = {"test": f"host=localhost port={server.port}"}
    daemon = pgpoold(databases=databases, server_tls_sslmode="verify-full", server_tls_ca_file=certs.ca)
    message = refusal(daemon)
    assert 'does not match host name "localhost"' in message.text
    other = pgpoold(databases=databases, server_tls_sslmode="verify-ca", server_tls_ca_file=certs.ca)
    assert other.psql("x") == [("x",)]


def test_verify_full_needs_a_ca(pgpoold):
    daemon = pgpoold(server_tls_sslmode="verify-full", wait=False)
    daemon.wait_exit(1)
    assert "server_tls_ca_file" in daemon.log


def test_scram_is_bound_to_the_channel(pgpoold, fake_pg, certs):
    chosen = []

    def on_startup(conn):
        conn.send(auth(10, cstr("SCRAM-SHA-256-PLUS") + cstr("SCRAM-SHA-256") + b"\0"))
        f = Fields(conn.expect("p").data)
        chosen.extend((f.text(), f.value()[:len(b"p=tls-server-end-point,,")]))
        conn.refuse()

    server = fake_pg(on_startup=on_startup, tls=(certs.server, certs.server_key))
    daemon = pgpoold(databases={"test": f"host=localhost port={server.port}"}, server_tls_sslmode="require")
    assert refusal(daemon).code == "28P01"
    assert chosen == ["SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,"]


def test_a_scram_user_gets_in_over_tls(pgpoold):
    daemon = pgpoold(auth_type="md5", server_tls_sslmode="require")
    assert daemon.psql(USES_TLS, user="scram_user") == [(True,)]


@pytest.mark.parametrize("protocols, version", (("tlsv1.2", "TLSv1.2"), ("tlsv1.3", "TLSv1.3"), ("secure", "TLSv1.3")))
def test_server_tls_protocols(pgpoold, protocols, version):
    daemon = pgpoold(server_tls_sslmode="require", server_tls_protocols=protocols)
    assert daemon.psql("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [(version,)]


def test_server_tls_ciphers(pgpoold):
    daemon = pgpoold(server_tls_sslmode="require", server_tls_protocols="tlsv1.2",
                     server_tls_ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")
    assert daemon.psql("SELECT cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [
        ("ECDHE-ECDSA-AES128-GCM-SHA256",)]


def test_server_tls13_ciphers(pgpoold):
    daemon = pgpoold(server_tls_sslmode="require", server_tls13_ciphers="TLS_CHACHA20_POLY1305_SHA256")
    assert daemon.psql("SELECT cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [
        ("TLS_CHACHA20_POLY1305_SHA256",)]


def test_unix_sockets_need_no_tls(pgpoold, pg, certs):
    daemon = pgpoold(databases={"test": f"host={pg.socket_dir} port={pg.port}"}, server_tls_sslmode="verify-full",
                     server_tls_ca_file=certs.ca)
    assert daemon.psql("SELECT inet_server_addr()") == [(None,)]


def test_cancel_requests_are_encrypted_too(pgpoold, fake_pg, certs, wire, eventually):
    def script(conn):
        while (message := conn.expect("Q")).sql != "select wait":
            conn.send(answer(message))
        eventually(lambda: conn.server.cancels)
        conn.send(error("57014", "cancelled"), ready())
        conn.serve()

    server = fake_pg(script, tls=(certs.server, certs.server_key))
    daemon = pgpoold(databases={"test": f"host=localhost port={server.port}"}, server_tls_sslmode="require")
    client = wire(daemon)
    client.send(query("select wait"))
    eventually(lambda: any(m.kind == "Q" and m.sql == "select wait" for m in server.connections[0].received))
    wire(daemon, login=False).send(cancel_request(client.pid, client.secret))
    assert client.result().errors[0].code == "57014"
    assert server.cancels == [(server.connections[0].pid, server.connections[0].secret)]
    assert server.cancels_over_tls == [True]


@pytest.mark.parametrize("size", (1, 20000, 3000000))
def test_results_and_queries_of_all_sizes_cross_tls(pgpoold, size):
    with pgpoold(server_tls_sslmode="require").connect() as conn:
        text = "x" * size
        assert conn.execute("SELECT %s || 'y'", [text]).fetchone() == (text + "y",)


def test_reload_changes_the_mode_of_new_connections(pgpoold, eventually):
    daemon = pgpoold(server_tls_sslmode="disable")
    with daemon.connect(autocommit=False) as living:
        assert living.execute(USES_TLS).fetchone() == (False,)
        daemon.reload(options={"server_tls_sslmode": "require"})
        assert daemon.psql(USES_TLS) == [(True,)]
        assert living.execute(USES_TLS).fetchone() == (False,)
    eventually(lambda: daemon.psql(USES_TLS) == [(True,)])


@pytest.mark.parametrize("option", ("server_tls_ca_file", "server_tls_cert_file", "server_tls_key_file"))
def test_a_missing_file_is_told_at_the_start_and_at_reload(pgpoold, certs, option):
    good = {"server_tls_sslmode": "verify-full", "server_tls_ca_file": certs.ca, "server_tls_cert_file": certs.client,
            "server_tls_key_file": certs.client_key}
    daemon = pgpoold(**{**good, option: "/none/such"}, wait=False)
    daemon.wait_exit(1)
    assert option in daemon.log
    running = pgpoold(**good)
    with pytest.raises(ServerError, match="RELOAD failed"):
        running.reload(options={option: "/none/such"})
    running.wait_log(option)
    with pytest.raises(psycopg.Error):
        running.psql("SELECT 1", "nowhere")
