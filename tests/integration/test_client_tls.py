# SPDX-License-Identifier: ISC
"""TLS between clients and the daemon."""

import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess

import psycopg
import pytest

from account import give, make_dir
from cluster import find_bindir
from wire import SSL_CODE, Client, Closed, ServerError, WireError, scram_verifier, special, startup

MODES = ("allow", "prefer", "require", "verify-ca", "verify-full")


@pytest.fixture
def tls_daemon(pgpoold, certs):
    """tls_daemon(mode, option=...): a daemon with TLS towards its clients."""
    def make(mode="allow", **more):
        options = {"client_tls_sslmode": mode, "client_tls_cert_file": certs.server,
                   "client_tls_key_file": certs.server_key, **more}
        if mode.startswith("verify"):
            options.setdefault("client_tls_ca_file", certs.ca)
        return pgpoold(**options)
    return make


@pytest.fixture
def with_certificate(certs):
    """What libpq needs to show cert_user's certificate."""
    return {"sslcert": str(certs.client), "sslkey": str(certs.client_key)}


def tls_wire(daemon, context=None, host=None):
    """A connection with TLS done, before its startup packet."""
    client = Client.connect(host or daemon.host, daemon.port)
    assert client.ask_tls() == "S"
    client.start_tls(context, "localhost")
    return client


def no_check(**settings):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, value in settings.items():
        setattr(context, name, value)
    return context


# ---------------------------------------------------------------------------------- modes

@pytest.mark.parametrize("mode", MODES)
def test_clients_with_tls_get_in(tls_daemon, certs, with_certificate, mode):
    daemon = tls_daemon(mode)
    more = with_certificate if mode.startswith("verify") else {"sslcert": "/none"}
    rows = daemon.psql("SELECT 1", host="localhost", sslmode="verify-full", sslrootcert=str(certs.ca), **more)
    assert rows == [(1,)]


@pytest.mark.parametrize("mode", ("allow", "prefer"))
def test_clients_without_tls_get_in_where_it_is_optional(tls_daemon, mode):
    assert tls_daemon(mode).psql("SELECT 1", sslmode="disable") == [(1,)]


@pytest.mark.parametrize("mode", ("require", "verify-ca", "verify-full"))
def test_clients_without_tls_are_refused_where_it_is_required(tls_daemon, mode):
    daemon = tls_daemon(mode)
    with pytest.raises(psycopg.OperationalError, match="SSL required"):
        daemon.psql("SELECT 1", sslmode="disable")
    assert daemon.psql("SELECT 1", host=daemon.socket_dir) == [(1,)], "the Unix socket needs no TLS"


@pytest.mark.parametrize("mode", ("verify-ca", "verify-full"))
def test_a_client_certificate_is_required(tls_daemon, mode):
    daemon = tls_daemon(mode)
    with pytest.raises(psycopg.OperationalError, match="certificate required"):
        daemon.psql("SELECT 1", sslmode="require", sslcert="/none")
    daemon.wait_log("TLS handshake failed: .*peer did not return a certificate")


@pytest.mark.parametrize("mode", ("verify-ca", "verify-full"))
def test_a_client_certificate_of_another_ca_is_refused(tls_daemon, certs, with_certificate, mode):
    daemon = tls_daemon(mode, client_tls_ca_file=certs.other_ca)
    with pytest.raises(psycopg.OperationalError, match="unknown ca"):
        daemon.psql("SELECT 1", sslmode="require", **with_certificate)
    daemon.wait_log("TLS handshake failed: .*certificate verify failed")


def test_psql_over_tls_shows_the_connection(tls_daemon, certs):
    daemon = tls_daemon("require")
    out = subprocess.run([find_bindir() / "psql", "-Xc", r"\conninfo", daemon.dsn(
        host="localhost", sslmode="verify-full", sslrootcert=str(certs.ca))],
                         check=True, capture_output=True, text=True)
    assert "SSL connection (protocol: TLSv1.3" in out.stdout


def test_tls_is_not_offered_over_the_unix_socket(tls_daemon, wire):
    daemon = tls_daemon("require")
    client = wire(daemon, host=daemon.socket_dir, login=False)
    assert client.ask_tls() == "N"
    assert client.login().run("SELECT 1") == [("1",)]


def test_show_clients_tells_the_tls(tls_daemon):
    daemon = tls_daemon("allow")
    with daemon.connect(sslmode="require"), daemon.connect(db="test2", sslmode="disable"):
        row, = daemon.show("clients", database="test")
        assert row["tls"].startswith("TLSv1.3/TLS_")
        assert daemon.show("clients", database="test2")[0]["tls"] == ""
    daemon.wait_log(r"login attempt: db=test user=app tls=TLSv1.3/TLS_")
    daemon.wait_log(r"login attempt: db=test2 user=app tls=no")


@pytest.mark.parametrize("size", (1, 1000, 16384, 100000, 3000000))
def test_results_and_queries_of_all_sizes_cross_tls(tls_daemon, size):
    with tls_daemon("require").connect(sslmode="require") as conn:
        text = "x" * size
        assert conn.execute("SELECT %s || 'y'", [text]).fetchone() == (text + "y",)


# ---------------------------------------------------------------------------------- the first packets

def test_an_ssl_request_inside_tls_is_refused(tls_daemon):
    with tls_wire(tls_daemon()) as client:
        client.send(special(SSL_CODE))
        assert client.expect("E").code == "08P01"


def test_bytes_sent_before_the_handshake_are_refused(tls_daemon, wire):
    """CVE-2021-23214: what somebody put before the encryption must not count as encrypted."""
    client = wire(tls_daemon(), login=False)
    client.send(special(SSL_CODE) + startup({"user": "app", "database": "test"}))
    assert client.sock.recv(1) in (b"E", b"")


def test_bytes_after_the_s_must_be_tls(tls_daemon, wire):
    daemon = tls_daemon()
    client = wire(daemon, login=False)
    assert client.ask_tls() == "S"
    client.send(startup({"user": "app", "database": "test"}))
    with pytest.raises(WireError):
        client.expect("R")
    daemon.wait_log("TLS handshake failed")
    assert daemon.psql("SELECT 1", sslmode="require") == [(1,)]


def test_a_client_that_stops_in_the_handshake_is_closed(tls_daemon, wire):
    daemon = tls_daemon(client_login_timeout=1)
    client = wire(daemon, login=False)
    assert client.ask_tls() == "S"
    client.send(b"\x16\x03\x01\x02\x00\x01")
    with pytest.raises((WireError, OSError)):
        client.read_bytes(100000)
    daemon.wait_log("client_login_timeout")


def test_a_client_that_leaves_in_the_handshake_is_forgotten(tls_daemon):
    daemon = tls_daemon()
    with Client.connect(daemon.host, daemon.port) as client:
        assert client.ask_tls() == "S"
    daemon.wait_log("client closed the connection during the TLS handshake")


@pytest.mark.parametrize("version", (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3))
def test_a_fatal_error_is_followed_by_a_proper_end(tls_daemon, version):
    """With a close_notify, as PostgreSQL sends it: the client can tell that nobody has cut the stream off."""
    daemon = tls_daemon()
    client = tls_wire(daemon, no_check(minimum_version=version, maximum_version=version)).login()
    daemon.admin("KILL_CLIENT %s" % daemon.show("clients", user="app")[0]["id"])
    assert client.expect("E").code == "57P01"
    with pytest.raises(Closed, match="^end of stream"):
        client.read()


def test_gssenc_then_tls(tls_daemon, wire):
    client = wire(tls_daemon(), login=False)
    assert client.ask_gss() == "N"
    assert client.ask_tls() == "S"
    client.start_tls()
    assert client.login().run("SELECT 1") == [("1",)]


def test_a_cancel_request_may_come_over_tls(tls_daemon, pg, eventually):
    daemon = tls_daemon("require")
    with daemon.connect(sslmode="require") as conn:
        pgconn = conn.pgconn
        pgconn.send_query(b"SELECT pg_sleep(100)")
        pgconn.flush()
        eventually(lambda: [a for a in pg.activity("test", "app") if a["state"] == "active"])
        pgconn.get_cancel().cancel()  # libpq 15 sends it in plain text even then
        result = pgconn.get_result()
        assert result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"57014"
        while pgconn.get_result():
            pass


# ---------------------------------------------------------------------------------- direct TLS

def direct(daemon, alpn, **settings):
    context = no_check(**settings)
    if alpn:
        context.set_alpn_protocols(alpn)
    sock = socket.create_connection((daemon.host, daemon.port), 10)
    return Client(context.wrap_socket(sock, server_hostname="localhost"))


def test_direct_tls(tls_daemon):
    daemon = tls_daemon("allow")
    with direct(daemon, ["postgresql"]) as client:
        assert client.sock.selected_alpn_protocol() == "postgresql"
        assert client.login().run("SELECT 1") == [("1",)]
        assert daemon.show("clients", database="test")[0]["tls"].startswith("TLSv1.3")


def test_direct_tls_with_tls_1_2(tls_daemon):
    with direct(tls_daemon(), ["postgresql"], maximum_version=ssl.TLSVersion.TLSv1_2) as client:
        assert client.login().run("SELECT 1") == [("1",)]


@pytest.mark.parametrize("alpn", (None, ["http/1.1"], ["postgresq"]))
def test_direct_tls_needs_the_right_protocol_name(tls_daemon, alpn):
    daemon = tls_daemon()
    with pytest.raises((ssl.SSLError, ConnectionResetError, WireError)):
        with direct(daemon, alpn) as client:
            client.login()
    assert daemon.psql("SELECT 1", sslmode="require") == [(1,)]


def test_direct_tls_where_there_is_no_tls(pgpoold):
    daemon = pgpoold()
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        direct(daemon, ["postgresql"])
    assert daemon.psql("SELECT 1") == [(1,)]


def test_openssl_connects_directly(tls_daemon, certs):
    daemon = tls_daemon()
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{daemon.port}", "-alpn", "postgresql", "-CAfile", certs.ca,
               "-verify_return_error", "-verify_hostname", "localhost"]
    out = subprocess.run(command, input="", check=False, capture_output=True, text=True, timeout=20)
    assert "ALPN protocol: postgresql" in out.stdout and "Verify return code: 0 (ok)" in out.stdout, out


def test_openssl_connects_after_starttls(tls_daemon, certs):
    daemon = tls_daemon()
    out = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{daemon.port}", "-starttls", "postgres",
                          "-CAfile", certs.ca], input="", check=False, capture_output=True, text=True, timeout=20)
    assert "Verify return code: 0 (ok)" in out.stdout, out


# ---------------------------------------------------------------------------------- certificates as proof

def test_auth_cert_takes_the_name_from_the_certificate(tls_daemon, with_certificate):
    daemon = tls_daemon("verify-full", auth_type="cert", databases={"test": "host=127.0.0.1 port=1"},
                        admin_users="cert_user")
    rows = daemon.dsn("pgpoold", "cert_user", sslmode="require", **with_certificate)
    out = subprocess.run([find_bindir() / "psql", "-XAtc", "SHOW VERSION", rows], check=True, capture_output=True,
                         text=True)
    assert out.stdout.startswith("pgpoold")


def test_auth_cert_refuses_another_name(tls_daemon, with_certificate):
    daemon = tls_daemon("verify-full", auth_type="cert")
    with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
        daemon.psql("SELECT 1", user="app", sslmode="require", **with_certificate)


def test_auth_cert_gets_to_a_server_that_asks_for_nothing(tls_daemon, certs):
    crt, key = certs.sign("app_client", "app")
    give(key, 0o600)
    shutil.copy(key, key.with_suffix(".mine"))
    key.with_suffix(".mine").chmod(0o600)
    daemon = tls_daemon("verify-full", auth_type="cert")
    rows = daemon.psql("SELECT current_user", sslmode="require", sslcert=str(crt),
                       sslkey=str(key.with_suffix(".mine")))
    assert rows == [("app",)]


# ---------------------------------------------------------------------------------- channel binding

@pytest.mark.parametrize("secret", ("plain", "scram"))
def test_libpq_binds_scram_to_the_channel(tls_daemon, secret):
    password = "app-secret"
    daemon = tls_daemon("require", auth_type="scram-sha-256",
                        userlist={"app": password if secret == "plain" else scram_verifier(password)})
    assert daemon.psql("SELECT 1", password=password, sslmode="require", channel_binding="require") == [(1,)]
    assert daemon.psql("SELECT 1", password=password, sslmode="require", channel_binding="disable") == [(1,)]


def test_channel_binding_needs_tls(tls_daemon):
    daemon = tls_daemon("allow", auth_type="scram-sha-256")
    with pytest.raises(psycopg.OperationalError, match="channel binding"):
        daemon.psql("SELECT 1", sslmode="disable", channel_binding="require")


def test_both_mechanisms_are_offered_over_tls(tls_daemon):
    with tls_wire(tls_daemon(auth_type="scram-sha-256")) as client:
        client.send_startup()
        assert client.expect("R").mechanisms == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]


def test_a_downgrade_of_the_channel_binding_is_noticed(tls_daemon):
    """The client says that it could bind but believes we could not: somebody has changed the list on its way."""
    with tls_wire(tls_daemon(auth_type="scram-sha-256")) as client:
        client.send_startup()
        client.expect("R")
        with pytest.raises(ServerError) as caught:
            client.scram("app-secret", ["SCRAM-SHA-256"], binding="y")
        assert caught.value.text == "SASL authentication failed"


def test_a_binding_to_another_certificate_is_noticed(tls_daemon, monkeypatch):
    with tls_wire(tls_daemon(auth_type="scram-sha-256")) as client:
        client.send_startup()
        mechanisms = client.expect("R").mechanisms
        monkeypatch.setattr(type(client.sock), "getpeercert", lambda *_, **__: b"another certificate")
        with pytest.raises(ServerError) as caught:
            client.scram("app-secret", mechanisms)
        assert caught.value.text == "SASL authentication failed"


# ---------------------------------------------------------------------------------- protocols and ciphers

def handshake(daemon, **settings):
    with tls_wire(daemon, no_check(**settings)) as client:
        return client.sock.version(), client.sock.cipher()[0]


def fails(daemon, **settings):
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        handshake(daemon, **settings)


V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def test_client_tls_protocols(tls_daemon):
    only_new = tls_daemon(client_tls_protocols="tlsv1.3")
    assert handshake(only_new)[0] == "TLSv1.3"
    fails(only_new, maximum_version=V1_2)
    only_old = tls_daemon(client_tls_protocols="tlsv1.2")
    assert handshake(only_old)[0] == "TLSv1.2"
    fails(only_old, minimum_version=V1_3)


@pytest.mark.filterwarnings("ignore:.*TLSv1_1 is deprecated")
def test_client_tls_protocols_secure_has_no_tls_1_1(tls_daemon):
    daemon = tls_daemon(client_tls_protocols="secure")
    context = no_check()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        tls_wire(daemon, context)


def test_client_tls_ciphers(tls_daemon):
    daemon = tls_daemon(client_tls_ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")
    assert handshake(daemon, maximum_version=V1_2) == ("TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256")
    context = no_check(maximum_version=V1_2)
    context.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        tls_wire(daemon, context)


def test_client_tls13_ciphers(tls_daemon):
    daemon = tls_daemon(client_tls13_ciphers="TLS_CHACHA20_POLY1305_SHA256")
    assert handshake(daemon, minimum_version=V1_3)[1] == "TLS_CHACHA20_POLY1305_SHA256"


def test_client_tls_ecdhcurve(tls_daemon):
    daemon = tls_daemon(client_tls_ecdhcurve="secp384r1")
    context = no_check(maximum_version=V1_2)
    context.set_ecdh_curve("prime256v1")
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        tls_wire(daemon, context)
    with daemon.connect(sslmode="require"):
        assert "ECDH=secp384r1" in daemon.show("clients", database="test")[0]["tls"]


# ---------------------------------------------------------------------------------- reload

@pytest.fixture
def own_certificate(certs, request):
    """Copies that may be changed: use(name) puts another certificate of ours in their place."""
    class Own:
        def __init__(self):
            self.id = f"own{os.getpid()}{abs(hash(request.node.name))}"
            self.dir = pathlib.Path(make_dir(certs.folder / self.id))
            self.crt, self.key = self.dir / "s.crt", self.dir / "s.key"

        def use(self, name):
            crt, key = certs.sign(f"{self.id}{name}", "localhost", "subjectAltName=DNS:localhost")
            shutil.copy(crt, self.crt)
            shutil.copy(key, self.key)
            give(self.crt, 0o644)
            give(self.key, 0o600)
            return self.serial(crt)

        @staticmethod
        def serial(crt):
            out = subprocess.run(["openssl", "x509", "-noout", "-serial", "-in", crt], check=True, capture_output=True,
                                 text=True)
            return out.stdout.strip().partition("=")[2]

        def served(self, daemon):
            with tls_wire(daemon) as client:
                pem = ssl.DER_cert_to_PEM_cert(client.sock.getpeercert(binary_form=True))
            path = self.dir / "served.crt"
            path.write_text(pem, encoding="ascii")
            return self.serial(path)
    return Own()


def test_reload_reads_certificates_again(tls_daemon, own_certificate):
    first = own_certificate.use("reload1")
    daemon = tls_daemon("require", client_tls_cert_file=own_certificate.crt, client_tls_key_file=own_certificate.key)
    assert own_certificate.served(daemon) == first
    with daemon.connect(sslmode="require") as living:
        second = own_certificate.use("reload2")
        assert own_certificate.served(daemon) == first, "not before the reload"
        admin_reload(daemon)
        assert own_certificate.served(daemon) == second != first
        assert living.execute("SELECT repeat('x', 100000)").fetchone() == ("x" * 100000,)


def admin_reload(daemon):
    """RELOAD over the Unix socket, which needs no TLS."""
    daemon.admin("RELOAD", host=daemon.socket_dir)


@pytest.mark.parametrize("damage", ("garbage", "another key", "no file", "empty"))
def test_reload_with_a_bad_certificate_keeps_the_old_one(tls_daemon, own_certificate, certs, damage):
    first = own_certificate.use("reload3")
    daemon = tls_daemon("require", client_tls_cert_file=own_certificate.crt, client_tls_key_file=own_certificate.key)
    if damage == "another key":
        shutil.copy(certs.client_key, own_certificate.key)
        give(own_certificate.key, 0o600)
    elif damage == "no file":
        own_certificate.crt.unlink()
    else:
        own_certificate.crt.write_text("no certificate\n" if damage == "garbage" else "")
    with pytest.raises(ServerError, match="RELOAD failed, see logs for additional details") as caught:
        admin_reload(daemon)
    assert caught.value.code == "F0000"
    daemon.wait_log(rf'(TLS setup failed|client_tls_\w+_file): .*{own_certificate.dir}')
    assert own_certificate.served(daemon) == first
    assert daemon.psql("SELECT 1", sslmode="require") == [(1,)]


def test_reload_switches_tls_on_and_off(pgpoold, certs):
    daemon = pgpoold()
    daemon.reload(options={"client_tls_sslmode": "require", "client_tls_cert_file": certs.server,
                           "client_tls_key_file": certs.server_key})
    with daemon.connect(sslmode="require") as living:
        with pytest.raises(psycopg.OperationalError, match="SSL required"):
            daemon.psql("SELECT 1", sslmode="disable")
        daemon.change({"client_tls_sslmode": "disable"})
        admin_reload(daemon)
        assert daemon.psql("SELECT 1", sslmode="prefer") == [(1,)]
        with pytest.raises(psycopg.OperationalError, match="server does not support SSL"):
            daemon.psql("SELECT 1", sslmode="require")
        assert living.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("options", ({"client_tls_cert_file": "/none.crt"}, {"client_tls_key_file": "/none.key"},
                                     {"client_tls_cert_file": None, "client_tls_key_file": None},
                                     {"client_tls_ciphers": "no-such-cipher"}, {"client_tls_protocols": "tlsv9"},
                                     {"client_tls_ca_file": "/none.ca", "client_tls_sslmode": "verify-ca"}))
def test_a_bad_tls_setting_stops_the_start(pgpoold, certs, options):
    daemon = pgpoold(**{"client_tls_sslmode": "require", "client_tls_cert_file": certs.server,
                        "client_tls_key_file": certs.server_key, **options}, wait=False)
    daemon.wait_exit(1)
    assert re.search(r"client_tls_\w+: |TLS setup failed: ciphers \"no-such-cipher\": ", daemon.log)


# ---------------------------------------------------------------------------------- resumption

def hang_up(daemon, **options):
    """RELOAD by a signal: the console may want a certificate too."""
    before = len(daemon.log)
    daemon.change(options=options)
    daemon.signal(signal.SIGHUP)
    daemon.wait_log("configuration reloaded", after=before)


def resuming(daemon, context, session=None, user="app"):
    """Logs in; whether the session was resumed, and the one to go on with."""
    with Client.connect(daemon.host, daemon.port) as client:
        assert client.ask_tls() == "S"
        client.sock = context.wrap_socket(client.sock, session=session)
        assert client.login(user).run("SELECT 1") == [("1",)]
        return client.sock.session_reused, client.sock.session


@pytest.mark.parametrize("version", ("TLSv1_2", "TLSv1_3"))
def test_reconnecting_resumes_the_session(tls_daemon, version):
    daemon = tls_daemon()
    context = no_check(maximum_version=ssl.TLSVersion[version])
    resumed, session = resuming(daemon, context)
    assert not resumed
    used = {session.id}
    for _ in range(3):
        resumed, session = resuming(daemon, context, session)
        assert resumed
        assert version == "TLSv1_2" or session.id not in used, "a client uses a ticket of TLS 1.3 once"
        used.add(session.id)
    daemon.reload(options={"client_tls_sslmode": "require"})
    resumed, session = resuming(daemon, context, session)
    assert not resumed, "what the old rules have let in is looked at anew"
    assert resuming(daemon, context, session)[0]


@pytest.mark.parametrize("version", ("TLSv1_2", "TLSv1_3"))
def test_a_ticket_does_not_replace_a_certificate(tls_daemon, certs, version):
    """Sessions begun before the RELOAD, without a certificate and with one of a CA that counts no longer."""
    daemon = tls_daemon("allow", client_tls_ca_file=certs.ca)
    without = no_check(maximum_version=ssl.TLSVersion[version])
    _, begun_without = resuming(daemon, without)
    hang_up(daemon, client_tls_sslmode="verify-ca")
    with pytest.raises((ssl.SSLError, ConnectionError, WireError)):
        resuming(daemon, without, begun_without)
    having = no_check(maximum_version=ssl.TLSVersion[version])
    having.load_cert_chain(certs.client, certs.client_key)
    _, begun_with = resuming(daemon, having)
    assert resuming(daemon, having, begun_with)[0]
    hang_up(daemon, client_tls_ca_file=certs.other_ca)
    with pytest.raises((ssl.SSLError, ConnectionError, WireError)):
        resuming(daemon, having, begun_with)


def test_a_resumed_session_still_has_its_certificate(tls_daemon, certs):
    daemon = tls_daemon("verify-full", auth_type="cert")
    context = no_check()
    context.load_cert_chain(*certs.sign("resumer", "app"))
    _, session = resuming(daemon, context)
    assert resuming(daemon, context, session)[0]
    with pytest.raises(ServerError):
        resuming(daemon, context, session, user="other")


@pytest.mark.parametrize("arguments", (("-tls1",), ("-tls1_1",), ("-tls1_2", "-cipher", "aNULL:eNULL:@SECLEVEL=0"),
                                       ("-tls1_2", "-cipher", "3DES:RC4:MD5:@SECLEVEL=0")))
def test_openssl_gets_nothing_weak(tls_daemon, arguments):
    daemon = tls_daemon()
    command = ["openssl", "s_client", "-starttls", "postgres", "-connect", f"127.0.0.1:{daemon.port}", *arguments]
    refused = subprocess.run(command, input="", capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode != 0 and "BEGIN CERTIFICATE" not in refused.stdout
    assert daemon.psql("SELECT 1", sslmode="require") == [(1,)]
