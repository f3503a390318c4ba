# SPDX-License-Identifier: ISC
"""How clients prove who they are: auth_type, what auth_file holds, and that nobody can tell who exists."""

import hashlib
import select
import subprocess

import pytest

from account import as_server_account
from cluster import find_bindir
from sessions import cpu_seconds
from wire import (Client, ServerError, WireError, md5_secret, msg, password_message, scram_fields,
                  scram_verifier)

PASSWORD = "app-secret"
SECRETS = {
    "plain": PASSWORD,
    "md5": "md5" + hashlib.md5(f"{PASSWORD}app".encode()).hexdigest(),
    "scram": scram_verifier(PASSWORD),
}
# By which exchange a user with this secret logs in.
EXCHANGES = {
    ("plain", "plain"): 3, ("plain", "md5"): 3, ("plain", "scram"): 3,
    ("md5", "plain"): 5, ("md5", "md5"): 5, ("md5", "scram"): 10,
    ("scram-sha-256", "plain"): 10, ("scram-sha-256", "scram"): 10,
}


def first_request(daemon, user, database="test"):
    with Client.connect(daemon.host, daemon.port) as client:
        client.send_startup(user, database)
        return client.expect("R")


def failed_login(daemon, user="app", password="wrong", database="test"):
    """What the client sees of a login that fails, without what is random."""
    with Client.connect(daemon.host, daemon.port) as client:
        with pytest.raises(ServerError):
            client.login(user, database, password)
        assert client.expect_closed() == []
        return [_without_random(m) for m in client.login_messages]


def _without_random(message):
    if message.kind != "R":
        return (message.kind, tuple(sorted(message.fields.items())))
    if message.how == 5:
        return ("R", 5, len(message.data))
    if message.how == 11:
        fields = scram_fields(message.data)
        return ("R", 11, len(fields["r"]), len(fields["s"]), fields["i"])
    return ("R", message.how, message.data)


# ---------------------------------------------------------------------------------- methods and secrets

@pytest.mark.parametrize("method, kind", EXCHANGES)
def test_a_right_password_gets_in(pgpoold, wire, method, kind):
    daemon = pgpoold(auth_type=method, userlist={"app": SECRETS[kind]})
    client = wire(daemon, password=PASSWORD)
    assert client.login_messages[0].how == EXCHANGES[method, kind]
    assert client.run("SELECT current_user") == [("app",)]


@pytest.mark.parametrize("method, kind", EXCHANGES)
@pytest.mark.parametrize("password", ["wrong", PASSWORD + "x", PASSWORD[:-1], PASSWORD.upper(), "x" * 1000])
def test_a_wrong_password_does_not(pgpoold, method, kind, password):
    daemon = pgpoold(auth_type=method, userlist={"app": SECRETS[kind]})
    last = failed_login(daemon, password=password)[-1]
    text = "SASL authentication failed" if EXCHANGES[method, kind] == 10 else "password authentication failed"
    assert {("C", "28P01"), ("M", text), ("S", "FATAL")} <= set(last[1])


@pytest.mark.parametrize("method, kind", EXCHANGES)
def test_libpq_gets_in(pgpoold, method, kind):
    daemon = pgpoold(auth_type=method, userlist={"app": SECRETS[kind]})
    assert daemon.psql("SELECT 1", password=PASSWORD) == [(1,)]


def test_an_empty_password_never_gets_in(pgpoold):
    for method in ("plain", "md5", "scram-sha-256"):
        daemon = pgpoold(auth_type=method, userlist={"app": ""})
        assert failed_login(daemon, password="")[-1][0] == "E"


def test_an_md5_secret_is_no_password(pgpoold):
    """Whoever has read auth_file's md5 secret cannot use it as a clear-text password."""
    daemon = pgpoold(auth_type="plain", userlist={"app": SECRETS["md5"]})
    failed_login(daemon, password=SECRETS["md5"])


def test_an_md5_secret_does_not_do_for_scram(pgpoold):
    daemon = pgpoold(auth_type="scram-sha-256", userlist={"app": SECRETS["md5"]})
    failed_login(daemon, password=PASSWORD)


def test_a_broken_scram_secret_lets_nobody_in(pgpoold):
    daemon = pgpoold(auth_type="md5", userlist={"app": "SCRAM-SHA-256$nonsense"})
    failed_login(daemon, password=PASSWORD)
    failed_login(daemon, password="SCRAM-SHA-256")


def test_an_md5_response_cannot_be_used_again(pgpoold, wire):
    daemon = pgpoold(auth_type="md5", userlist={"app": PASSWORD})
    salt = first_request(daemon, "app").data
    client = wire(daemon, login=False)
    client.send_startup()
    assert client.expect("R").data != salt
    client.send(password_message(md5_secret("app", PASSWORD, salt)))
    assert client.expect("E").code == "28P01"


@pytest.mark.parametrize("password", ["p\u00e4ssw\u00f6rd", "x" * 1000, " blank ", "\"quoted\"", "\u2168",
                                      "back\\slash", "a\u00adb"])
def test_unusual_passwords(pgpoold, password):
    for method, secret in (("plain", password), ("md5", password), ("scram-sha-256", password)):
        daemon = pgpoold(auth_type=method, userlist={"app": secret})
        assert daemon.psql("SELECT 1", password=password) == [(1,)]


def test_a_very_long_plain_password(pgpoold):
    password = "0123456789abcdef" * 4000
    daemon = pgpoold(auth_type="plain", userlist={"app": password})
    assert daemon.psql("SELECT 1", password=password) == [(1,)]
    failed_login(daemon, password=password[:-1])


def test_scram_iterations_are_those_of_the_option(pgpoold, wire):
    daemon = pgpoold(auth_type="scram-sha-256", userlist={"app": PASSWORD}, scram_iterations=5000)
    client = wire(daemon, password=PASSWORD)
    assert scram_fields(client.login_messages[1].data)["i"] == "5000"


def test_auth_file_changes_with_reload(pgpoold):
    daemon = pgpoold(auth_type="md5", userlist={"app": PASSWORD, "admin": "admin-secret"})
    with daemon.connect(password=PASSWORD) as living:
        daemon.write_userlist({"app": "new", "admin": "admin-secret"})
        daemon.reload()
        failed_login(daemon, password=PASSWORD)
        assert daemon.psql("SELECT 1", password="new") == [(1,)]
        assert living.execute("SELECT 1").fetchall() == [(1,)]


# ---------------------------------------------------------------------------------- no password asked

def test_trust_takes_users_of_auth_file(pgpoold, wire):
    daemon = pgpoold(auth_type="trust", userlist={"app": ""})
    assert wire(daemon).run("SELECT current_user") == [("app",)]


def test_trust_refuses_others(pgpoold, wire):
    daemon = pgpoold(auth_type="trust", userlist={"app": ""})
    with pytest.raises(ServerError) as caught:
        wire(daemon, user="postgres")
    assert (caught.value.text, caught.value.code) == ('"trust" authentication failed', "28P01")


def test_trust_and_an_unknown_database(pgpoold, wire):
    daemon = pgpoold(databases={"test": "host=127.0.0.1 port=1"}, auth_type="trust", userlist={"app": ""})
    with pytest.raises(ServerError) as caught:
        wire(daemon, database="nowhere")
    assert (caught.value.text, caught.value.code) == ("no such database: nowhere", "3D000")


def test_any_takes_everybody_as_the_databases_user(pgpoold, pg, wire):
    daemon = pgpoold(databases={"test": f"host={pg.host} port={pg.port} user=app"}, auth_type="any", userlist={})
    assert wire(daemon, user="whoever").run("SELECT current_user") == [("app",)]


# ---------------------------------------------------------------------------------- what a prober sees

@pytest.mark.parametrize("method, kind", EXCHANGES)
def test_an_unknown_user_looks_like_a_wrong_password(pgpoold, method, kind):
    daemon = pgpoold(auth_type=method, userlist={"app": SECRETS[kind], "other": SECRETS[kind]})
    assert failed_login(daemon, "nobody") == failed_login(daemon, "app")


@pytest.mark.parametrize("method, kind", EXCHANGES)
def test_an_unknown_database_looks_like_a_wrong_password(pgpoold, method, kind):
    daemon = pgpoold(databases={"test": "host=127.0.0.1 port=1"}, auth_type=method, userlist={"app": SECRETS[kind]})
    expected = failed_login(daemon, "app")
    assert failed_login(daemon, "app", database="nowhere") == expected
    assert failed_login(daemon, "nobody", database="nowhere") == expected


@pytest.mark.parametrize("method, kind", EXCHANGES)
def test_with_the_right_password_an_unknown_database_is_named(pgpoold, method, kind):
    daemon = pgpoold(databases={"test": "host=127.0.0.1 port=1"}, auth_type=method, userlist={"app": SECRETS[kind]})
    last = failed_login(daemon, "app", PASSWORD, database="nowhere")[-1]
    assert {("C", "3D000"), ("M", "no such database: nowhere")} <= set(last[1])


def test_the_console_looks_like_a_database_to_those_with_a_wrong_password(pgpoold):
    daemon = pgpoold(databases={"test": "host=127.0.0.1 port=1"}, auth_type="scram-sha-256",
                     userlist={"app": PASSWORD, "admin": "admin-secret"})
    assert failed_login(daemon, "admin", database="pgpoold") == failed_login(daemon, "app")
    assert failed_login(daemon, "nobody", database="pgbouncer") == failed_login(daemon, "app")


def test_unknown_users_do_as_a_mixed_auth_file_does(pgpoold):
    """With md5 the exchange depends on the secret: unknown users must be of all kinds too, each always the same."""
    users = {f"m{i}": "md5" + "0" * 32 for i in range(20)} | {f"s{i}": scram_verifier("x") for i in range(20)}
    daemon = pgpoold(auth_type="md5", userlist=users)
    seen = {user: first_request(daemon, user).how for user in [f"nobody{i}" for i in range(40)]}
    assert set(seen.values()) == {5, 10}
    assert {user: first_request(daemon, user).how for user in seen} == seen


@pytest.mark.parametrize("kind", ["plain", "scram"])
def test_the_salt_of_a_user_stays_the_same(pgpoold, kind):
    daemon = pgpoold(auth_type="scram-sha-256", userlist={"app": SECRETS[kind]})

    def salts(user):
        out = []
        for _ in range(2):
            with Client.connect(daemon.host, daemon.port) as client:
                with pytest.raises(ServerError):
                    client.login(user, "test", "wrong")
                out.append(scram_fields(client.login_messages[1].data)["s"])
        return out

    first, second = salts("app")
    assert first == second
    first, second = salts("nobody")
    assert first == second != salts("nobody2")[0]


@pytest.mark.parametrize("kind", ["plain", "scram"])
def test_unknown_users_take_as_long_as_known_ones(pgpoold, kind):
    """The first login of each derives, or none does: PBKDF2 over many rounds would show."""
    known = {f"user{i}": (f"secret{i}" if kind == "plain" else scram_verifier(f"secret{i}", iterations=400000))
             for i in range(4)}
    daemon = pgpoold(auth_type="scram-sha-256", userlist=known, scram_iterations=400000)

    def server_seconds(user):
        """Of the processor, until server-first."""
        with Client.connect(daemon.host, daemon.port) as client:
            client.send_startup(user)
            mechanisms = client.expect("R").mechanisms
            client._sasl = lambda how: _stop(client, how)  # pylint: disable=protected-access
            before = cpu_seconds(daemon)
            with pytest.raises(_Stopped):
                client.scram("x", mechanisms)
            return cpu_seconds(daemon) - before

    def best(prefix):
        return min(server_seconds(f"{prefix}{i}") for i in range(4))

    known_s, unknown_s = best("user"), best("nobody")
    if kind == "scram":
        assert known_s < 0.05 and unknown_s < 0.05, "nobody derives anything"
    else:
        assert known_s > 0.03 and unknown_s > 0.03 and 0.3 < known_s / unknown_s < 3, (known_s, unknown_s)


class _Stopped(Exception):
    pass


def _stop(client, how):
    assert client.expect("R").how == how
    raise _Stopped


def test_the_second_scram_login_derives_nothing(pgpoold, wire):
    daemon = pgpoold(auth_type="scram-sha-256", userlist={"app": PASSWORD}, scram_iterations=300000)
    wire(daemon, password=PASSWORD)
    client = wire(daemon, login=False)
    client.send_startup()
    mechanisms = client.expect("R").mechanisms
    client._sasl = lambda how: _stop(client, how)  # pylint: disable=protected-access
    before = cpu_seconds(daemon)
    with pytest.raises(_Stopped):
        client.scram("x", mechanisms)
    assert cpu_seconds(daemon) - before < 0.05


# ---------------------------------------------------------------------------------- SCRAM, bent

def test_scram_refuses_what_no_client_sends(pgpoold, wire):
    daemon = pgpoold(auth_type="scram-sha-256", userlist={"app": PASSWORD})
    for body in (b"", b"\0", b"SCRAM-SHA-1\0\0\0\0\0", b"SCRAM-SHA-256",
                 b"SCRAM-SHA-256\0\x7f\xff\xff\xff", b"SCRAM-SHA-256\0\0\0\0\0",
                 b"SCRAM-SHA-256-PLUS\0\0\0\0\x01p",
                 b"SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=\0ab", b"SCRAM-SHA-256\0\0\0\x10\0" + b"a" * 4096):
        client = wire(daemon, login=False)
        client.send_startup()
        client.expect("R")
        client.send(msg("p", body))
        assert [m.kind for m in client.expect_closed()] == ["E"], body


def test_scram_may_begin_without_data(pgpoold, wire):
    daemon = pgpoold(auth_type="scram-sha-256", userlist={"app": PASSWORD})
    client = wire(daemon, login=False)
    client.send_startup()
    client.expect("R")
    client.send(msg("p", b"SCRAM-SHA-256\0\xff\xff\xff\xff"))
    assert (client.expect("R").how, client.sock is not None) == (11, True)
    client.send(msg("p", b"n,,n=,r=0123456789abcdef01234567"))
    assert scram_fields(client.expect("R").data)["r"].startswith("0123456789abcdef01234567")


def test_a_wish_to_bind_without_tls_is_refused(pgpoold, wire):
    daemon = pgpoold(auth_type="scram-sha-256", userlist={"app": PASSWORD})
    client = wire(daemon, login=False)
    client.send_startup()
    client.expect("R")
    with pytest.raises((ServerError, WireError, AttributeError)):
        client.scram(PASSWORD, ["SCRAM-SHA-256"], binding="p")
    assert daemon.psql("SELECT 1", password=PASSWORD) == [(1,)]


# ---------------------------------------------------------------------------------- the console

def test_admin_users_may_do_all_and_stats_users_look(pgpoold):
    daemon = pgpoold(auth_type="md5")
    assert daemon.admin("SHOW VERSION")
    daemon.admin("PAUSE")
    daemon.admin("RESUME")
    assert daemon.admin("SHOW VERSION", user="stats")
    with pytest.raises(ServerError):
        daemon.admin("PAUSE", user="stats")


def test_others_may_not_use_the_console(pgpoold):
    daemon = pgpoold(auth_type="md5")
    with pytest.raises(ServerError) as caught:
        daemon.admin("SHOW VERSION", user="app")
    assert (caught.value.text, caught.value.message.severity) == ("not allowed", "FATAL")


@pytest.mark.parametrize("db", ["pgbouncer", "pgpoold"])
@pytest.mark.parametrize("user", ["pgbouncer", "pgpoold"])
def test_the_daemons_own_uid_gets_to_the_console_over_the_unix_socket(pgpoold, db, user):
    """The tests may run as root and the daemon as another user: so psql is started as that user."""
    daemon = pgpoold(auth_type="scram-sha-256", admin_users=None)
    command = [find_bindir() / "psql", "-h", daemon.socket_dir, "-p", daemon.port, "-U", user, "-d", db, "-Atwc",
               "SHOW VERSION"]
    out = subprocess.run(as_server_account(command), cwd="/", check=True, capture_output=True, text=True)
    assert out.stdout.startswith("pgpoold")


@pytest.mark.parametrize("host", ["127.0.0.1", None])
def test_another_uid_or_tcp_does_not(pgpoold, host):
    daemon = pgpoold(auth_type="trust", userlist={"app": ""}, admin_users=None)
    with pytest.raises((ServerError, WireError)):
        daemon.admin("SHOW VERSION", user="pgbouncer", host=host)


def test_with_auth_type_any_everybody_may_look_and_admin_users_may_do_more(pgpoold):
    """As in PgBouncer. Nobody has proved who he is, so that is no protection, but no accident either."""
    daemon = pgpoold(databases={"test": "host=127.0.0.1 port=1 user=app"}, auth_type="any")
    assert daemon.admin("SHOW VERSION", user="whoever")
    with pytest.raises(ServerError) as caught:
        daemon.admin("PAUSE", user="whoever")
    assert caught.value.text == "admin access needed"
    daemon.admin("PAUSE")
    daemon.admin("RESUME")


# ---------------------------------------------------------------------------------- plain against SCRAM secrets

def test_guesses_against_a_scram_secret_hold_up_nobody(pgpoold, wire):
    """Each costs a derivation, which is not done on the loop: another login overtakes some of them."""
    slow = scram_verifier("slow", iterations=200_000)
    daemon = pgpoold(auth_type="plain", userlist={"slow": slow, "app": PASSWORD, "admin": "admin-secret"})
    assert wire(daemon, password=PASSWORD).run("SELECT 1") == [("1",)]
    guessers = [wire(daemon, login=False) for _ in range(16)]
    for client in guessers:
        client.send_startup("slow", "test")
        client.expect("R")
    for client in guessers:
        client.send(password_message("a guess"))
    wire(daemon, password=PASSWORD)
    answered, _, _ = select.select([client.sock for client in guessers], [], [], 0)
    assert len(answered) < len(guessers)
    for client in guessers:
        assert client.expect("E", timeout=60).text == "password authentication failed"


def test_a_right_password_against_a_scram_secret_is_derived_once(pgpoold, pg, wire):
    verifier = pg.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'scram_user'")[0][0]
    daemon = pgpoold(auth_type="plain", userlist={"scram_user": verifier})
    for _ in range(2):
        assert daemon.psql("SELECT current_user", user="scram_user") == [("scram_user",)]
    with pytest.raises(ServerError, match="password authentication failed"):
        wire(daemon, user="scram_user", password="wrong")
    assert daemon.psql("SELECT 1", user="scram_user") == [(1,)]


def test_a_client_that_leaves_while_its_password_is_derived(pgpoold, wire, eventually):
    slow = scram_verifier("slow", iterations=100_000)
    daemon = pgpoold(auth_type="plain", userlist={"slow": slow, "admin": "admin-secret"})
    client = wire(daemon, login=False)
    client.send_startup("slow", "test")
    client.expect("R")
    client.send(password_message("slow"))
    client.close()
    eventually(lambda: daemon.show("lists", list="login_clients", items=0))


def test_an_empty_password_is_called_so(pgpoold, wire):
    """In clear text nobody can log in with one; the words are PostgreSQL's own."""
    daemon = pgpoold(auth_type="plain", userlist={"app": "app-secret", "empty": ""})
    for user in ("app", "empty", "nobody"):
        with pytest.raises(ServerError, match="FATAL 28P01: empty password returned by client"):
            wire(daemon, user=user, password="")
