# SPDX-License-Identifier: ISC
"""channel_binding and require_auth of a database: what a server may ask for, with libpq's words; and what clients may be
made to prove."""

import hashlib
import subprocess

import psycopg
import pytest

from fake_pg import auth
from test_server_login import refusal, target
from wire import Client, ServerError, cstr

REQUIREMENT = 'server login failed: authentication method requirement "%s" failed: %s'
CLEARTEXT, HASHED, SASL = ("server requested a cleartext password", "server requested a hashed password",
                           "server requested SASL authentication")
TRUST = "server did not complete authentication"


@pytest.mark.parametrize("user, require, why", (
    ("scram_user", "scram-sha-256", None),
    ("scram_user", "!password,!md5,!none", None),
    ("scram_user", "md5", SASL),
    ("scram_user", "!scram-sha-256", SASL),
    ("md5_user", "md5,scram-sha-256", None),
    ("md5_user", "scram-sha-256", HASHED),
    ("md5_user", "!md5", HASHED),
    ("password_user", "password", None),
    ("password_user", "!password", CLEARTEXT),
    ("password_user", "scram-sha-256,none", CLEARTEXT),
    ("app", "none", None),
    ("app", "scram-sha-256,none", None),
    ("app", "!md5", None),
    ("app", "!none", TRUST),
    ("app", "scram-sha-256", TRUST),
))
def test_require_auth(pgpoold, pg, user, require, why):
    """The server lets app in without a question."""
    daemon = pgpoold(databases={"test": target(pg, require_auth=f"'{require}'")}, auth_type="md5", server_login_retry=0,
                     server_tls_sslmode="require")
    if why is None:
        assert daemon.psql("SELECT current_user", user=user) == [(user,)]
        return
    message = refusal(daemon, user, password=user.removesuffix("_user") + "-secret")
    assert (message.code, message.text) == ("28P01", REQUIREMENT % (require, why))


def test_no_password_leaves_for_a_server_that_asks_for_too_little(pgpoold, fake_pg, certs, eventually):
    def on_startup(conn):
        conn.send(auth(3))
        heard.append(conn.expect_closed())

    heard = []
    server = fake_pg(on_startup=on_startup, tls=(certs.server, certs.server_key))
    daemon = pgpoold(databases={"test": target(server, require_auth="!password")}, auth_type="md5")
    assert CLEARTEXT in refusal(daemon, password="app-secret").text
    eventually(lambda: heard)
    assert heard == [[]]


def test_channel_binding_is_required(pgpoold, pg):
    databases = {"test": target(pg, channel_binding="require")}
    daemon = pgpoold(databases=databases, auth_type="md5", server_tls_sslmode="require", server_login_retry=0)
    assert daemon.psql("SELECT current_user", user="scram_user") == [("scram_user",)]
    assert refusal(daemon, "md5_user", password="md5-secret").text == (
        "server login failed: channel binding required but not supported by server's authentication request")
    assert refusal(daemon, "app", password="app-secret").text == (
        "server login failed: channel binding required, but server authenticated client without channel binding")
    daemon.reload(options={"server_tls_sslmode": "disable"})
    daemon.admin("RECONNECT")
    with pytest.raises(psycopg.Error, match="channel binding required, but SSL not in use"):
        daemon.psql("SELECT 1", user="scram_user")


@pytest.mark.parametrize("binding, mechanism, header", (
    (None, b"SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,"), ("prefer", b"SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,"),
    ("require", b"SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,"), ("disable", b"SCRAM-SHA-256", b"n,,")))
def test_which_mechanism_is_chosen(pgpoold, fake_pg, certs, binding, mechanism, header):
    seen = []

    def on_startup(conn):
        conn.send(auth(10, cstr("SCRAM-SHA-256-PLUS") + cstr("SCRAM-SHA-256") + b"\0"))
        seen.append(conn.expect("p").data)
        conn.refuse()

    server = fake_pg(on_startup=on_startup, tls=(certs.server, certs.server_key))
    more = {} if binding is None else {"channel_binding": binding}
    daemon = pgpoold(databases={"test": target(server, **more)}, server_tls_sslmode="require")
    assert refusal(daemon).code == "28P01"
    assert seen[0].startswith(mechanism + b"\0") and seen[0].find(header) == len(mechanism) + 5


@pytest.mark.parametrize("tls, offer, binding, why", (
    (True, ("SCRAM-SHA-256",), "require", "channel binding is required, but server did not offer an authentication method "
     "that supports channel binding"),
    (False, ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"), "prefer",
     "server offered SCRAM-SHA-256-PLUS authentication over a non-SSL connection")))
def test_offers_that_are_not_sane(pgpoold, fake_pg, certs, tls, offer, binding, why):
    def on_startup(conn):
        conn.send(auth(10, b"".join(map(cstr, offer)) + b"\0"))
        conn.expect_closed()

    server = fake_pg(on_startup=on_startup, tls=(certs.server, certs.server_key) if tls else None)
    daemon = pgpoold(databases={"test": target(server, channel_binding=binding)},
                     server_tls_sslmode="require" if tls else "disable")
    assert refusal(daemon).text == "server login failed: " + why


def test_a_second_exchange_is_refused(pgpoold, fake_pg):
    def on_startup(conn):
        conn.send(auth(10, cstr("SCRAM-SHA-256") + b"\0"), auth(10, cstr("SCRAM-SHA-256") + b"\0"))
        conn.expect("p")
        conn.expect_closed()

    daemon = pgpoold(databases={"test": target(fake_pg(on_startup=on_startup))}, server_tls_sslmode="disable")
    assert "duplicate SASL authentication request" in refusal(daemon).text


def test_reload_leaves_connections_that_were_opened_otherwise(pgpoold, pg, eventually):
    daemon = pgpoold(databases={"test": target(pg)}, auth_type="md5", server_login_retry=0)
    assert daemon.psql("SELECT 1", user="md5_user") == [(1,)]
    daemon.reload(databases={"test": target(pg, require_auth="scram-sha-256")})
    eventually(lambda: pg.n_connections("test", "md5_user") == 0)
    with pytest.raises(psycopg.Error, match="server requested a hashed password"):
        daemon.psql("SELECT 1", user="md5_user")


def test_clients_can_be_kept_from_md5_and_clear_text(pgpoold):
    """With auth_type = scram-sha-256 nobody is asked for less, and who has only an md5 secret does not get in."""
    md5 = "md5" + hashlib.md5(b"other-secretother").hexdigest()
    daemon = pgpoold(auth_type="scram-sha-256", userlist={"app": "app-secret", "other": md5})
    for user in ("app", "other", "nobody"):
        with Client.connect(daemon.host, daemon.port) as client:
            client.send_startup(user, "test")
            assert client.expect("R").bytes[5:9] == b"\0\0\0\x0a"
    assert daemon.psql("SELECT 1") == [(1,)]
    with Client.connect(daemon.host, daemon.port) as client, pytest.raises(ServerError):
        client.login("other", "test", "other-secret")


def test_psql_bound_on_both_sides(pgpoold, pg, certs):
    """Only the verifier is in auth_file: what the client proves to us, bound to our certificate, opens the server, bound to
    the server's."""
    verifier = pg.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'scram_user'")[0][0]
    daemon = pgpoold(databases={"test": target(pg, channel_binding="require", require_auth="scram-sha-256")},
                     auth_type="scram-sha-256", userlist={"scram_user": verifier}, client_tls_sslmode="require",
                     client_tls_cert_file=certs.server, client_tls_key_file=certs.server_key, server_tls_sslmode="require")
    psql = subprocess.run(
        ["psql", "-XAtc", "SELECT current_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
         f"host={daemon.host} port={daemon.port} dbname=test user=scram_user password=scram-secret sslmode=require "
         "channel_binding=require"], capture_output=True, text=True, check=False)
    assert (psql.stdout.strip(), psql.stderr) == ("scram_user|t", "")
