# SPDX-License-Identifier: ISC
"""auth_type = pam: a real PAM stack, whose services lie in a folder of the test's own (PGPOOLD_PAM_CONFDIR)."""

import contextlib
import select
import time

import pytest

from account import give, make_dir
from cluster import USERS
from waiting import eventually
from wire import Client, ServerError, msg, password_message

LOGIN = USERS["app"][1]  # what PostgreSQL knows: a password typed here opens the server connection too
PERMIT = "auth required pam_permit.so\naccount required pam_permit.so\n"
THREADS = 4  # AUTH_WORKER_THREADS
QUEUE = 128  # AUTH_WORKER_QUEUE_MAX


@pytest.fixture
def pam(pgpoold, worker_dir):
    """pam(stack, **options): a daemon whose service pgbouncer is @stack; {dir} in it is a folder of its own."""
    def make(stack, scripts=None, **options):
        folder = worker_dir / f"pam{make.count}"
        make.count += 1
        make_dir(folder)
        for name, text in (scripts or {}).items():
            path = folder / name
            path.write_text(text.replace("{dir}", str(folder)))
            give(path, 0o755)
        (folder / "pgbouncer").write_text(stack.replace("{dir}", str(folder)))
        (folder / "other").write_text("auth required pam_deny.so\naccount required pam_deny.so\n")
        for name in ("pgbouncer", "other"):
            give(folder / name, 0o644)
        options.setdefault("auth_type", "pam")
        daemon = pgpoold(env={"PGPOOLD_PAM_CONFDIR": str(folder)}, **options)
        daemon.pam_dir = folder
        return daemon

    make.count = 0
    return make


# A script that pam_exec runs: the password comes on its standard input, and ends in NUL.
CHECKER = """#!/bin/sh
password=$(tr -d '\\000')
printf '%s:%s:%s\\n' "$PAM_USER" "$PAM_RHOST" "$PAM_SERVICE" >> {dir}/seen
[ "$PAM_USER:$password" = "app:{PASSWORD}" ]
""".replace("{PASSWORD}", LOGIN)
EXEC = "auth required pam_exec.so quiet expose_authtok {dir}/check\naccount required pam_permit.so\n"
# Waits for a file: a PAM stack that hangs, until the test says otherwise.
HANG = """#!/bin/sh
echo >> {dir}/hanging
while ! [ -e {dir}/go ]; do sleep 0.05; done
"""


def failure(daemon, user="app", password="wrong", database="test"):
    with Client.connect(daemon.host, daemon.port) as client:
        with pytest.raises(ServerError) as caught:
            client.login(user, database, password)
        return caught.value.code, caught.value.text, [m.kind for m in client.login_messages]


def asks(daemon):
    """A client that has sent its password."""
    client = Client.connect(daemon.host, daemon.port)
    client.send_startup("app", "test")
    assert client.expect("R").how == 3
    client.send(password_message(LOGIN))
    return client


def test_a_password_that_pam_likes_gets_in_and_opens_the_server_connection(pam):
    daemon = pam(EXEC, {"check": CHECKER}, userlist={"admin": "x"})
    assert daemon.psql("SELECT current_user") == [("app",)]
    assert (daemon.pam_dir / "seen").read_text() == "app:127.0.0.1:pgbouncer\n"


def test_auth_file_is_ignored(pam):
    daemon = pam(EXEC, {"check": CHECKER}, userlist={"app": "something else"})
    assert daemon.psql("SELECT 1", password=LOGIN) == [(1,)]
    failure(daemon, password="something else")


def test_a_wrong_password_and_an_unknown_user_look_the_same(pam):
    daemon = pam(EXEC, {"check": CHECKER}, databases={"test": "host=127.0.0.1 port=1"})
    wrong = failure(daemon, "app")
    assert wrong == ("28P01", "password authentication failed", ["R", "E"])
    assert failure(daemon, "nobody", LOGIN) == wrong
    assert failure(daemon, "app", database="nowhere") == wrong
    assert failure(daemon, "nobody", database="nowhere") == wrong
    daemon.wait_log(r"test/nobody@127.0.0.1:\d+ PAM says no: ")


def test_with_the_right_password_an_unknown_database_is_named(pam):
    daemon = pam(EXEC, {"check": CHECKER}, databases={"test": "host=127.0.0.1 port=1"})
    assert failure(daemon, "app", LOGIN, database="nowhere")[:2] == ("3D000", "no such database: nowhere")


def test_no_password_is_ever_logged(pam):
    daemon = pam(EXEC, {"check": CHECKER}, verbose=2)
    failure(daemon, password="very-wrong-indeed")
    daemon.psql("SELECT 1")
    assert "very-wrong-indeed" not in daemon.log and LOGIN not in daemon.log


def test_an_empty_password_is_not_even_asked_about(pam):
    daemon = pam(PERMIT)
    assert failure(daemon, password="")[:2] == ("28P01", "password authentication failed")
    assert daemon.psql("SELECT 1") == [(1,)]


@pytest.mark.parametrize("body", [b"", b"x", b"a\0b\0", b"\0\0"])
def test_a_bad_password_packet_is_refused(pam, wire, body):
    daemon = pam(PERMIT)
    client = wire(daemon, login=False)
    client.send_startup()
    client.expect("R")
    client.send(msg("p", body))
    assert client.expect("E").code == "08P01"


def test_an_account_that_may_not_log_in(pam):
    daemon = pam("auth required pam_permit.so\naccount required pam_deny.so\n")
    assert failure(daemon, password=LOGIN)[:2] == ("28P01", "password authentication failed")


def test_without_a_service_nobody_gets_in(pam):
    daemon = pam(PERMIT)
    (daemon.pam_dir / "pgbouncer").unlink()
    assert failure(daemon, password=LOGIN)[0] == "28P01"


def test_what_modules_say_does_no_harm(pam):
    daemon = pam("auth optional pam_echo.so hello %u\n" + PERMIT)
    assert daemon.psql("SELECT 1") == [(1,)]


def test_a_rule_of_the_hba_file_may_say_pam(pam):
    daemon = pam(EXEC, {"check": CHECKER}, auth_type="hba",
                 hba="host all app all pam\nhost all all all scram-sha-256\n")
    assert daemon.psql("SELECT 1") == [(1,)]
    assert failure(daemon)[:2] == ("28P01", "password authentication failed")
    assert daemon.admin("SHOW VERSION")


def test_the_console(pam):
    daemon = pam(PERMIT)
    assert daemon.admin("SHOW VERSION", password="whatever")
    with pytest.raises(ServerError) as caught:
        daemon.admin("SHOW VERSION", user="app", password="whatever")
    assert caught.value.text == "not allowed"


def test_over_the_unix_socket(pam):
    daemon = pam(EXEC, {"check": CHECKER})
    assert daemon.psql("SELECT 1", host=daemon.socket_dir) == [(1,)]
    assert (daemon.pam_dir / "seen").read_text() == "app:[local]:pgbouncer\n"


def test_many_logins_at_once(pam):
    daemon = pam(EXEC, {"check": CHECKER}, max_client_conn=200, pool_mode="transaction")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(asks(daemon)) for _ in range(40)]
        for client in clients:
            client.read_until("Z")
            assert client.run("SELECT 1") == [("1",)]


def test_the_delay_after_a_wrong_password_holds_up_nobody_else(pam):
    """What sleeps is the client that was wrong, not a thread."""
    stack = "auth optional pam_faildelay.so delay=4000000\n" + EXEC
    daemon = pam(stack, {"check": CHECKER})
    with contextlib.ExitStack() as wrong:
        clients = [wrong.enter_context(Client.connect(daemon.host, daemon.port)) for _ in range(2 * THREADS)]
        start = time.monotonic()
        for client in clients:
            client.send_startup("app", "test")
            client.expect("R")
            client.send(password_message("wrong"))
        assert daemon.psql("SELECT 1") == [(1,)]
        answered, _, _ = select.select([client.sock for client in clients], [], [], 0)
        assert len(answered) <= THREADS, "else it has waited for a thread"
        for client in clients:
            assert client.expect("E").code == "28P01"
        assert time.monotonic() - start > 1.5  # libpam varies the delay by half


# ---------------------------------------------------------------------------------- a PAM stack that hangs

@pytest.fixture
def hanging(pam):
    def make(**options):
        daemon = pam("auth required pam_exec.so quiet {dir}/hang\naccount required pam_permit.so\n", {"hang": HANG},
                     **options)
        daemons.append(daemon)
        return daemon

    daemons = []
    yield make
    for daemon in daemons:
        (daemon.pam_dir / "go").write_text("")


def n_hanging(daemon):
    path = daemon.pam_dir / "hanging"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_other_methods_and_the_console_go_on_meanwhile(hanging):
    daemon = hanging(auth_type="hba", hba="host all app all pam\nhost all all all scram-sha-256\n")
    with asks(daemon) as client:
        eventually(lambda: n_hanging(daemon) == 1)
        assert daemon.psql("SELECT 1", user="postgres") == [(1,)]
        assert daemon.admin("SHOW VERSION")
        (daemon.pam_dir / "go").write_text("")
        assert client.expect("R").how == 0


def test_client_login_timeout_holds(hanging):
    daemon = hanging(client_login_timeout=3)
    with asks(daemon) as client:
        assert client.expect("E").text == "client_login_timeout"
        assert client.expect_closed() == []
    (daemon.pam_dir / "go").write_text("")  # the answer for a client that has gone
    assert daemon.psql("SELECT 1") == [(1,)]


def test_waiting_logins_get_their_turn(hanging):
    daemon = hanging()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(asks(daemon)) for _ in range(3 * THREADS)]
        eventually(lambda: n_hanging(daemon) == THREADS)
        (daemon.pam_dir / "go").write_text("")
        for client in clients:
            assert client.expect("R").how == 0


def test_a_full_queue_refuses_with_a_clear_error(hanging):
    daemon = hanging(max_client_conn=400)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(asks(daemon)) for _ in range(THREADS + QUEUE)]
        eventually(lambda: n_hanging(daemon) == THREADS)
        late = stack.enter_context(asks(daemon))
        error = late.expect("E")
        assert (error.code, error.text) == ("53300", "too many passwords are being checked, try again later")
        daemon.wait_log(r"WARNING logins are refused: \d+ passwords wait to be checked already, the PAM service")
        (daemon.pam_dir / "go").write_text("")
        for client in clients:
            assert client.expect("R").how == 0
    assert daemon.psql("SELECT 1") == [(1,)]


def test_those_who_are_timed_out_in_the_queue_leave_their_places(hanging):
    daemon = hanging(max_client_conn=400, client_login_timeout=3)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(asks(daemon)) for _ in range(THREADS + 20)]
        for client in clients:
            assert client.expect("E").text == "client_login_timeout"
    assert n_hanging(daemon) == THREADS  # the others were never asked about
    (daemon.pam_dir / "go").write_text("")
    assert daemon.psql("SELECT 1") == [(1,)]


@pytest.mark.parametrize("how", ["signal", "console"])
def test_the_daemon_ends_all_the_same(hanging, how):
    daemon = hanging(auth_type="hba", hba="host all app all pam\nhost all all all scram-sha-256\n")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(asks(daemon)) for _ in range(THREADS + 2)]
        eventually(lambda: n_hanging(daemon) == THREADS)
        if how == "signal":
            daemon.signal(3)
        else:
            with contextlib.suppress(Exception):
                daemon.admin("SHUTDOWN")
        daemon.wait_exit(timeout=30)  # half of client_login_timeout
        for client in clients:
            assert [m.kind for m in client.expect_closed()] in ([], ["E"])


def test_a_reload_meanwhile_changes_nothing_for_the_login(hanging):
    daemon = hanging(auth_type="hba", hba="host all app all pam\nhost all all all scram-sha-256\n")
    with asks(daemon) as client:
        eventually(lambda: n_hanging(daemon) == 1)
        daemon.hba_path.write_text("host all all all scram-sha-256\n")
        daemon.reload()
        (daemon.pam_dir / "go").write_text("")
        assert client.expect("R").how == 0
