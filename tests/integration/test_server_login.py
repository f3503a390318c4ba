# SPDX-License-Identifier: ISC
"""How the daemon gets into servers, and what clients hear when it does not."""

import contextlib
import hashlib
import os
import re
import threading

import psycopg
import pytest

from cluster import Cluster
from fake_pg import auth, error, notice
from wire import Client, ServerError, scram_verifier


def target(server, **more):
    return " ".join(f"{k}={v}" for k, v in {"host": server.host, "port": server.port, **more}.items())


def refusal(daemon, user="app", database="test", password=None, **params):
    """The only error of a login, after which the connection is closed."""
    with Client.connect(daemon.host, daemon.port) as client:
        with pytest.raises(ServerError) as caught:
            client.login(user, database, password, **params)
        assert client.expect_closed() == []
        return caught.value.message


# ---------------------------------------------------------------------------------- with what is known of a user

@pytest.mark.parametrize("user", ("scram_user", "md5_user"))
def test_with_a_plain_password(pgpoold, user):
    assert pgpoold(auth_type="md5").psql("SELECT current_user", user=user) == [(user,)]


def test_clear_text_passwords_only_leave_privately(pgpoold, pg):
    daemon = pgpoold(databases={"tcp": target(pg, dbname="test"),
                                "unix": f"host={pg.socket_dir} port={pg.port} dbname=test"},
                     auth_type="md5", server_tls_sslmode="disable", server_login_retry=0)
    assert "clear-text password over an unencrypted connection" in refusal(
        daemon, "password_user", "tcp", "password-secret").text
    assert daemon.psql("SELECT current_user", "unix", "password_user") == [("password_user",)]
    daemon.reload(options={"server_tls_sslmode": "require"})
    assert daemon.psql("SELECT current_user", "tcp", "password_user") == [("password_user",)]


def stored_secret(pg, user):
    return pg.psql(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{user}'")[0][0]


@pytest.mark.parametrize("tls", ("disable", "require"))
@pytest.mark.parametrize("auth_type", ("scram-sha-256", "md5", "plain"))
def test_scram_keys_are_passed_through(pgpoold, pg, auth_type, tls):
    """Only the verifier is in auth_file; the client's proof gives the keys that the server wants."""
    daemon = pgpoold(auth_type=auth_type, userlist={"scram_user": stored_secret(pg, "scram_user")},
                     server_tls_sslmode=tls)
    assert daemon.psql("SELECT current_user", user="scram_user") == [("scram_user",)]
    assert "scram-secret" not in daemon.log


def test_passed_through_keys_open_further_connections(pgpoold, pg, eventually):
    daemon = pgpoold(auth_type="scram-sha-256", userlist={"scram_user": stored_secret(pg, "scram_user"),
                                                          "admin": "admin-secret"})
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(daemon.connect(user="scram_user", autocommit=False)).execute("SELECT 1")
        assert pg.n_connections("test", "scram_user") == 3
    daemon.admin("RECONNECT")
    eventually(lambda: pg.n_connections("test", "scram_user") == 0)
    assert daemon.psql("SELECT 1", user="scram_user") == [(1,)]


def test_keys_of_another_verifier_do_not_fit(pgpoold):
    daemon = pgpoold(auth_type="scram-sha-256", userlist={"scram_user": scram_verifier("scram-secret")})
    message = refusal(daemon, "scram_user", password="scram-secret")
    assert (message.code, "belong to another secret" in message.text) == ("28P01", True)


def test_an_md5_secret_logs_in_to_an_md5_server(pgpoold, pg):
    secret = stored_secret(pg, "md5_user")
    assert secret == "md5" + hashlib.md5(b"md5-secretmd5_user").hexdigest()
    daemon = pgpoold(auth_type="md5", userlist={"md5_user": secret})
    assert daemon.psql("SELECT current_user", user="md5_user") == [("md5_user",)]


def test_an_md5_secret_does_not_do_for_a_scram_server(pgpoold):
    secret = "md5" + hashlib.md5(b"scram-secretscram_user").hexdigest()
    daemon = pgpoold(auth_type="md5", userlist={"scram_user": secret})
    message = refusal(daemon, "scram_user", password="scram-secret")
    assert message.text.startswith("server login failed: wrong password type: ")
    assert "neither a password nor SCRAM keys are known" in message.text


def test_trust_needs_no_password(pgpoold):
    assert pgpoold(auth_type="trust", userlist={"app": ""}).psql("SELECT current_user") == [("app",)]


def test_a_certificate(pgpoold, certs):
    daemon = pgpoold(auth_type="trust", userlist={"cert_user": ""}, server_tls_sslmode="require",
                     server_tls_cert_file=certs.client, server_tls_key_file=certs.client_key)
    assert daemon.psql("SELECT current_user", user="cert_user") == [("cert_user",)]
    without = pgpoold(auth_type="trust", userlist={"cert_user": ""}, server_tls_sslmode="require")
    assert "client certificate" in refusal(without, "cert_user").text


@contextlib.contextmanager
def hba_first(pg, line):
    """@line comes before all other rules of the server's pg_hba.conf."""
    path = pg.data / "pg_hba.conf"
    before = path.read_text()
    path.write_text(line + "\n" + before)
    try:
        pg.reload()
        yield
    finally:
        path.write_text(before)
        pg.reload()


def test_peer(pgpoold, pg):
    if pg.account != "postgres":  # who runs the tests
        pg.drop_user(pg.account)
        pg.create_user(pg.account)
    daemon = pgpoold(databases={"test": f"host={pg.socket_dir} port={pg.port}"}, auth_type="trust",
                     userlist={pg.account: "", "app": ""}, server_login_retry=0)
    with hba_first(pg, "local all all peer"):
        assert daemon.psql("SELECT current_user", user=pg.account) == [(pg.account,)]
        message = refusal(daemon, "app")
        assert (message.code, message.text) == ("28000", 'Peer authentication failed for user "app"')


def test_a_password_that_clients_prove_is_kept_for_the_server(pgpoold):
    """auth_file has an md5 secret, the server wants SCRAM: with auth_type plain the password itself becomes known."""
    secret = "md5" + hashlib.md5(b"scram-secretscram_user").hexdigest()
    daemon = pgpoold(auth_type="plain", userlist={"scram_user": secret})
    assert daemon.psql("SELECT current_user", user="scram_user") == [("scram_user",)]


# ---------------------------------------------------------------------------------- [databases]

def test_autodb_takes_any_name(pgpoold, pg):
    daemon = pgpoold(databases={"*": target(pg)})
    assert daemon.psql("SELECT current_database()", "test2") == [("test2",)]
    daemon.wait_log("registered new auto-database: test2")
    assert daemon.show("databases", name="test2")


def test_a_name_of_its_own_goes_before_autodb(pgpoold, pg):
    daemon = pgpoold(databases={"test2": target(pg, dbname="test"), "*": target(pg)})
    assert daemon.psql("SELECT current_database()", "test2") == [("test",)]
    assert daemon.psql("SELECT current_database()", "test") == [("test",)]


def test_a_forced_user_with_its_password(pgpoold, pg):
    daemon = pgpoold(databases={"test": target(pg, user="scram_user", password="scram-secret")}, auth_type="md5",
                     userlist={"app": "app-secret", "admin": "admin-secret"})
    assert daemon.psql("SELECT current_user") == [("scram_user",)]
    assert daemon.show("databases", name="test")[0]["force_user"] == "scram_user"


def test_a_forced_user_with_the_password_of_auth_file(pgpoold, pg):
    daemon = pgpoold(databases={"test": target(pg, user="scram_user")}, auth_type="md5",
                     userlist={"app": "app-secret", "scram_user": "scram-secret"})
    assert daemon.psql("SELECT current_user") == [("scram_user",)]


@pytest.mark.parametrize("in_auth_file", [True, False])
def test_a_forced_user_without_a_password_logs_in_by_the_keys_of_its_own_client(pgpoold, pg, in_auth_file):
    verifier = pg.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'scram_user'")[0][0]
    users = {"scram_user": verifier} if in_auth_file else {"postgres": "postgres-secret"}
    daemon = pgpoold(auth_type="scram-sha-256", userlist=users, auth_user=None if in_auth_file else "postgres",
                     databases={"test": f"host={pg.host} port={pg.port} user=scram_user"})
    assert daemon.psql("SELECT current_user", user="scram_user") == [("scram_user",)]
    daemon.stop()


def test_a_forced_password(pgpoold, pg):
    daemon = pgpoold(databases={"test": target(pg, password="scram-secret")}, auth_type="trust",
                     userlist={"scram_user": "another"})
    assert daemon.psql("SELECT current_user", user="scram_user") == [("scram_user",)]


def test_a_password_with_quotes(pgpoold, pg):
    pg.create_user("quoted", "it's 'so' \"odd\"\\", "scram")
    try:
        daemon = pgpoold(databases={"test": target(pg, user="quoted") + " password='it''s ''so'' \"odd\"\\'"})
        assert daemon.psql("SELECT current_user") == [("quoted",)]
    finally:
        pg.drop_user("quoted")


# ---------------------------------------------------------------------------------- hosts

@pytest.mark.parametrize("balance", ("disable", "round-robin"))
def test_a_dead_host_of_a_list_is_left_out(pgpoold, pg, balance):
    daemon = pgpoold(databases={"test": f"host=127.0.0.9,{pg.host} port={pg.port} load_balance_hosts={balance}"})
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            conn = stack.enter_context(daemon.connect(autocommit=False))
            assert conn.execute("SELECT 1").fetchone() == (1,)
    daemon.wait_log("connect failed, trying the next host: ")


@pytest.mark.parametrize("balance, expected", (("round-robin", {"127.0.0.1": 2, "127.0.0.2": 2}),
                                               ("disable", {"127.0.0.1": 4})))
def test_load_balance_hosts(pgpoold, pg, balance, expected):
    pg.psql("ALTER SYSTEM SET listen_addresses = '127.0.0.1,127.0.0.2'")
    pg.restart()
    try:
        with hba_first(pg, "host all all 127.0.0.0/8 trust"):
            hosts = f"host=127.0.0.1,127.0.0.2 port={pg.port} load_balance_hosts={balance}"
            daemon = pgpoold(databases={"test": hosts})
            with contextlib.ExitStack() as stack:
                for _ in range(4):
                    stack.enter_context(daemon.connect(autocommit=False)).execute("SELECT 1")
                seen = [row["addr"] for row in daemon.show("servers", database="test")]
                assert {addr: seen.count(addr) for addr in set(seen)} == expected
            assert daemon.show("databases", name="test")[0]["load_balance_hosts"] == balance
    finally:
        pg.psql("ALTER SYSTEM RESET listen_addresses")
        pg.restart()


def test_no_host_reachable(pgpoold):
    daemon = pgpoold(databases={"test": "host=127.0.0.9,127.0.0.8 port=1"})
    message = refusal(daemon)
    assert message.severity == "FATAL"
    assert re.search("onnection refused|connect failed", message.text), message


def test_a_unix_socket_directory(pgpoold, pg):
    daemon = pgpoold(databases={"test": f"host={pg.socket_dir} port={pg.port}"})
    assert daemon.psql("SELECT inet_server_addr()") == [(None,)]
    assert daemon.show("servers", database="test")[0]["addr"].startswith("unix")


# ---------------------------------------------------------------------------------- what a server refuses

def test_a_wrong_password_is_told_in_the_servers_words(pgpoold):
    daemon = pgpoold(auth_type="md5", userlist={"scram_user": "known only here"})
    message = refusal(daemon, "scram_user", password="known only here")
    assert (message.severity, message.code) == ("FATAL", "28P01")
    assert message.text == 'password authentication failed for user "scram_user"'


def test_a_missing_database_is_told_in_the_servers_words(pgpoold):
    message = refusal(pgpoold(), database="nowhere")
    assert (message.severity, message.code, message.text) == ("FATAL", "3D000", 'database "nowhere" does not exist')


def test_a_missing_role_is_told_in_the_servers_words(pgpoold):
    daemon = pgpoold(auth_type="trust", userlist={"ghost": ""})
    message = refusal(daemon, "ghost")
    assert (message.severity, message.code, message.text) == ("FATAL", "28000", 'role "ghost" does not exist')


def test_a_rejected_login_is_told_in_the_servers_words(pgpoold, pg):
    pg.create_user("rejected", None, "reject")
    try:
        message = refusal(pgpoold(auth_type="trust", userlist={"rejected": ""}), "rejected")
        assert (message.code, message.text.startswith("pg_hba.conf rejects connection")) == ("28000", True)
    finally:
        pg.drop_user("rejected")


@pytest.fixture(scope="module")
def small_pg(worker_dir):
    """A server with few connections."""
    cluster = Cluster(os.environ["PGPOOLD_TEST_BASE"], worker_dir / "small",
                      "max_connections = 6\nsuperuser_reserved_connections = 3\nmax_wal_senders = 0\n"
                      "wal_level = minimal\n")
    yield cluster
    cluster.close()


def test_too_many_connections_are_told_in_the_servers_words(pgpoold, small_pg, eventually):
    eventually(lambda: small_pg.n_connections() == 0)
    daemon = pgpoold(databases={"test": target(small_pg)}, server_login_retry=1)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(small_pg.connect()).execute("SELECT 1")
        message = refusal(daemon)
        assert message.code == "53300" and "remaining connection slots are reserved" in message.text
    eventually(lambda: daemon.psql("SELECT 1") == [(1,)])


def test_with_other_connections_alive_clients_wait_instead(pgpoold, small_pg, eventually):
    """The pool may have 20, the server takes 3: everybody is served by those."""
    eventually(lambda: small_pg.n_connections() == 0)
    daemon = pgpoold(databases={"test": target(small_pg)}, server_login_retry=1)
    first = daemon.connect()
    first.execute("SELECT 1")
    failures = []

    def work():
        try:
            with daemon.connect() as conn:
                for _ in range(20):
                    conn.execute("SELECT pg_sleep(0.001)")
        except psycopg.Error as problem:
            failures.append(problem)

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first.close()
    assert not failures


def starting_up(conn):
    conn.send(error("57P03", "the database system is starting up", "FATAL"))


def test_every_waiting_client_is_told_once(pgpoold, fake_pg):
    """Four clients log in while the one attempt is under way."""
    hold = threading.Event()

    def on_startup(conn):
        hold.wait(10)
        starting_up(conn)

    server = fake_pg(on_startup=on_startup)
    daemon = pgpoold(databases={"test": target(server, pool_size=1)})
    clients = [Client.connect(daemon.host, daemon.port) for _ in range(4)]
    for client in clients:
        client.send_startup()
    daemon.wait_log("login attempt.*(\n.*)*login attempt.*(\n.*)*login attempt.*(\n.*)*login attempt")
    hold.set()
    for client in clients:
        messages = [m for m in client.expect_closed() if m.kind != "R"]
        assert [(m.kind, m.severity, m.code, m.text) for m in messages] == [
            ("E", "FATAL", "57P03", "the database system is starting up")]
        client.close()
    assert len(server.startups) == 1


def test_server_login_retry_throttles(pgpoold, fake_pg, eventually):
    server = fake_pg(on_startup=starting_up)
    daemon = pgpoold(databases={"test": target(server)}, server_login_retry=2)
    for _ in range(5):
        message = refusal(daemon)
        assert (message.code, message.text) == ("57P03", "the database system is starting up")
    assert len(server.startups) == 1, "four were answered from memory"
    eventually(lambda: refusal(daemon) and len(server.startups) == 2)


def test_server_login_retry_is_per_pool(pgpoold, fake_pg, pg):
    server = fake_pg(on_startup=starting_up)
    daemon = pgpoold(databases={"bad": target(server), "test": target(pg)})
    refusal(daemon, database="bad")
    assert daemon.psql("SELECT 1") == [(1,)]


def test_a_success_forgets_the_error(pgpoold, fake_pg, eventually):
    state = {"up": False}

    def on_startup(conn):
        if not state["up"]:
            starting_up(conn)
            return
        conn.welcome()
        conn.serve()

    server = fake_pg(on_startup=on_startup)
    daemon = pgpoold(databases={"test": target(server)}, server_login_retry=1)
    refusal(daemon)
    state["up"] = True
    eventually(lambda: daemon.psql("x") == [("x",)])
    assert daemon.psql("y") == [("y",)]


ODD_SERVERS = {
    "an unknown method": lambda c: (c.send(auth(99)), c.expect_closed()),
    "kerberos": lambda c: (c.send(auth(7)), c.expect_closed()),
    "no known mechanism": lambda c: (c.send(auth(10, b"SCRAM-SHA-1\0\0")), c.expect_closed()),
    "a truncated mechanism list": lambda c: (c.send(auth(10, b"SCRAM-SHA-256")), c.expect_closed()),
    "sasl continued before its begin": lambda c: (c.send(auth(11, b"r=a,s=YQ==,i=1")), c.expect_closed()),
    "a short md5 salt": lambda c: (c.send(auth(5, b"ab")), c.expect_closed()),
    "ready before it has authenticated us": lambda c: (c.send(b"R\0\0\0\x08\0\0\0\x03Z\0\0\0\x05I"), c.expect_closed()),
    "a query result": lambda c: (c.send(auth(0), b"D\0\0\0\x06\0\0"), c.expect_closed()),
    "garbage": lambda c: (c.send(auth(0), b"\xff" * 100), c.expect_closed()),
    "http": lambda c: (c.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), c.expect_closed()),
    "nothing": lambda c: None,
    "half an error": lambda c: c.send(error("57P03", "cut")[:12]),
    "an error without an end": lambda c: (c.send(error("57P03", "cut")[:12]), c.expect_closed()),
    "a giant parameter": lambda c: (c.send(auth(0), b"S\x7f\0\0\0abc"), c.expect_closed()),
    "a thousand parameters": lambda c: (c.send(auth(0), *(b"S\0\0\0\x0ap%03d\0\0" % i for i in range(1000))),
                                        c.expect_closed()),
}


@pytest.mark.parametrize("what", ODD_SERVERS)
def test_odd_servers_hurt_nobody(pgpoold, fake_pg, pg, what):
    def on_startup(conn):
        ODD_SERVERS[what](conn)

    server = fake_pg(on_startup=on_startup)
    daemon = pgpoold(databases={"odd": target(server), "test": target(pg)}, server_connect_timeout=3,
                     server_tls_sslmode="disable")
    message = refusal(daemon, database="odd")
    assert (message.severity, len(message.code)) == ("FATAL", 5)
    assert daemon.psql("SELECT 1") == [(1,)]


@pytest.mark.parametrize("last_word, text", [
    (None, "did not prove that it knows the password"),
    (b"e=invalid-proof", "server refused the SCRAM exchange: invalid-proof")])
def test_a_server_that_does_not_know_the_password_is_not_believed(pgpoold, fake_pg, last_word, text):
    """SCRAM proves both ends: a man in the middle who just says yes is found out."""
    def on_startup(conn):
        conn.send(auth(10, b"SCRAM-SHA-256\0\0"))
        first = conn.expect("p").data
        nonce = first[first.index(b"r=") + 2:]
        conn.send(auth(11, b"r=" + nonce + b"abc,s=YWJjZGVmZ2hpamtsbW5vcA==,i=4096"))
        conn.expect("p")
        if last_word is not None:
            conn.send(auth(12, last_word))
        conn.welcome()
        conn.serve()

    daemon = pgpoold(databases={"test": target(fake_pg(on_startup=on_startup))}, auth_type="md5")
    message = refusal(daemon, password="app-secret")
    assert text in message.text


def test_server_connect_timeout(pgpoold, fake_pg):
    daemon = pgpoold(databases={"test": target(fake_pg(on_startup=lambda conn: conn.expect_closed()))},
                     server_connect_timeout=1)
    assert refusal(daemon).text == "server_connect_timeout"


def test_a_silent_server_holds_up_nobody_else(pgpoold, fake_pg, pg):
    silent = fake_pg(on_startup=lambda conn: conn.expect_closed())
    daemon = pgpoold(databases={"silent": target(silent), "test": target(pg)}, server_connect_timeout=5)
    with Client.connect(daemon.host, daemon.port) as waiting:
        waiting.send_startup(database="silent")
        assert daemon.psql("SELECT 1") == [(1,)]


def test_notices_of_a_login_are_swallowed(pgpoold, fake_pg):
    def on_startup(conn):
        conn.send(auth(0), notice("hello"))
        conn.welcome()
        conn.serve()

    daemon = pgpoold(databases={"test": target(fake_pg(on_startup=on_startup))}, server_tls_sslmode="disable")
    assert daemon.psql("x") == [("x",)]


def test_what_a_server_is_told_at_the_start(pgpoold, fake_pg):
    server = fake_pg()
    daemon = pgpoold(databases={"test": target(server)})
    daemon.psql("x")
    assert "options" not in server.startups[0]
    assert server.startups[0]["user"] == "app" and server.startups[0]["database"] == "test"
