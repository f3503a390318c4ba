# SPDX-License-Identifier: ISC
"""What is in the log, in which form, and what never is."""

import json
import os
import re
import signal
import socket

import pytest

from sessions import one_database
from wire import SSL_CODE, Client, ServerError, bind, execute, parse, special, sync

JSON_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d$")


def objects(daemon):
    return [json.loads(line) for line in daemon.log.splitlines()]


def test_json_lines(pgpoold, worker_dir, eventually):
    """Each line is an object, on stderr and in the file; names of a peer's choice cannot break out."""
    file = worker_dir / "json.log"
    daemon = pgpoold(log_format="json", logfile=file, echo=1)
    with daemon.connect(application_name='"}\n{') as conn:
        conn.execute("SELECT '\"}\u20ac'")
    with pytest.raises(Exception):
        daemon.connect(dbname='no"such\n', user="nobody\\")
    eventually(lambda: any("statement" in event["message"] for event in objects(daemon)))
    events = objects(daemon)
    eventually(lambda: {event["message"] for event in events if "client" in event} <=
               {json.loads(line)["message"] for line in file.read_text().splitlines()}, "the file has all of it too")
    file.unlink()
    assert all(JSON_TIME.match(event["time"]) and event["pid"] == daemon.pid for event in events)
    statement, = [event for event in events if event["message"].startswith("statement (")]
    assert statement["message"].endswith("SELECT '\"}\u20ac'")
    assert (statement["level"], statement["database"], statement["user"], statement["addr"]) == \
        ("LOG", "test", "app", "127.0.0.1")
    assert statement["client"].startswith("C-0x") and isinstance(statement["port"], int)
    assert {event["server"] for event in events if "server" in event}


def test_the_format_changes_with_a_reload(pgpoold):
    daemon = pgpoold()
    assert daemon.log.splitlines()[0][0].isdigit()
    daemon.admin("SET log_format = 'json'")
    daemon.psql("SELECT 1")
    assert json.loads(daemon.log.splitlines()[-1])["message"]
    daemon.reload()
    daemon.psql("SELECT 1")
    assert daemon.log.splitlines()[-1][0].isdigit()


@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
def test_echo_shows_statements_of_the_extended_protocol(pgpoold, wire, mode):
    daemon = pgpoold(pool_mode=mode, echo=1)
    client = wire(daemon)
    client.send(parse("", "select $1::text"), bind("", "", ["quiet"]), execute(), sync())
    client.result()
    client.send(parse("named", "select $1::int + 1"), sync())
    client.result()
    client.send(bind("", "named", ["4242"]), execute(), sync())
    client.result()
    daemon.wait_log(r"statement \(duration=.* ms\): select \$1::text")
    daemon.wait_log(r"statement \(duration=.* ms\): (execute \"named\"|select \$1::int \+ 1)")
    assert "select $1::int + 1" in daemon.log
    assert "quiet" not in daemon.log and "4242" not in daemon.log


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_parameters_are_shown_when_that_is_asked_for(pgpoold, wire, mode):
    daemon = pgpoold(pool_mode=mode, echo=1, echo_parameters=1)
    client = wire(daemon)
    client.send(parse("", "select $1::text, $2::int, $3::text"), bind("", "", ["it's", None, ""]), execute(), sync())
    assert client.result().rows == [("it's", None, "")]
    daemon.wait_log(r"select \$1::text, \$2::int, \$3::text \('it''s', NULL, ''\)$")
    client.send(parse("", "select $1::text as password"), bind("", "", ["hush-hush"]), execute(), sync())
    client.result()
    daemon.wait_log(r"<statement with a password>$")
    assert "hush-hush" not in daemon.log
    daemon.admin("SET echo_parameters = 0")
    client.send(parse("", "select $1::text as later"), bind("", "", ["not this"]), execute(), sync())
    client.result()
    daemon.wait_log(r"select \$1::text as later$")
    assert "not this" not in daemon.log


def test_binary_parameters_are_shown_as_bytes(pgpoold):
    daemon = pgpoold(pool_mode="transaction", echo=1, echo_parameters=1)
    with daemon.connect() as conn:
        conn.execute("SELECT %b::bytea, %b::int4", (b"\x00\xff", 7)).fetchone()
    daemon.wait_log(r"'\\x00ff', '\\x[0-9a-f]+'\)")


def test_strangers_cannot_fill_the_disk(pgpoold, eventually):
    """A thousand connections with garbage at once: the log counts what it leaves out."""
    daemon = pgpoold(listen_backlog=2000, max_client_conn=3000)
    daemon.signal(signal.SIGSTOP)
    socks = []
    try:
        for _ in range(1000):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex((daemon.host, daemon.port))
            socks.append(sock)
        for sock in socks:
            sock.setblocking(True)
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    finally:
        daemon.signal(signal.SIGCONT)
    for sock in socks:
        sock.settimeout(60)
        try:
            while sock.recv(4096):
                pass
        except ConnectionResetError:
            pass
        sock.close()
    assert daemon.psql("SELECT 1") == [(1,)]

    def told():
        with Client.connect(daemon.host, daemon.port) as client:
            client.send(b"GET / HTTP/1.1\r\n\r\n")
            client.expect_closed()
        return re.search(r"and \d+ like it left out", daemon.log)

    eventually(told, "a later line tells how many were left out")
    assert daemon.log.count("unsupported frontend protocol") < 1000


def lines_of(daemon, pattern):
    return [line.split("] ", 1)[1] for line in daemon.log.splitlines() if re.search(pattern, line)]


def refused(daemon, **who):
    with pytest.raises(ServerError) as caught, Client.connect(daemon.host, daemon.port) as client:
        client.login(**who)
    return caught.value.text


def test_a_login_that_fails_has_its_attempt_in_the_log(pgpoold, pg):
    """What watchers like fail2ban look for, as PgBouncer says it."""
    daemon = pgpoold(auth_type="md5", userlist={"app": "right"}, databases=one_database(pg))
    assert refused(daemon, user="app", database="test", password="wrong") == "password authentication failed"
    assert refused(daemon, user="nobody", database="test", password="x") == "password authentication failed"
    assert refused(daemon, user="app", database="nodb", password="right") == "no such database: nodb"
    daemon.wait_log("closing because: no such database")
    attempts = lines_of(daemon, "login attempt: ")
    assert [re.sub(r".*login", "login", line) for line in attempts] == [
        "login attempt: db=test user=app tls=no replication=no",
        "login attempt: db=test user=nobody tls=no replication=no",
        "login attempt: db=nodb user=app tls=no replication=no"]
    assert attempts[0].startswith("LOG C-0x") and "test/app@127.0.0.1:" in attempts[0]
    no_user, = lines_of(daemon, "no such user: ")
    assert no_user.startswith("LOG C-0x") and no_user.endswith(" no such user: nobody")
    failed, = lines_of(daemon, "login failed: db=")
    assert failed.startswith("LOG C-0x") and failed.endswith(" login failed: db=nodb user=app")


def test_an_attempt_is_told_once_and_by_log_connections_only(pgpoold, wire):
    daemon = pgpoold(auth_type="md5", userlist={"app": "app-secret", "admin": "admin-secret"}, log_connections=0)
    wire(daemon, password="app-secret")
    refused(daemon, user="app", database="test", password="wrong")
    daemon.wait_log("closing because: password authentication failed")
    assert not lines_of(daemon, "login attempt")
    daemon.admin("SET log_connections = 1", password="admin-secret")
    wire(daemon, password="app-secret").run("SELECT 1")
    assert len(lines_of(daemon, "login attempt: db=test user=app ")) == 1


def test_what_the_server_says_to_a_login_is_in_the_log(pgpoold):
    daemon = pgpoold(userlist={"app": "", "stranger": ""})
    assert refused(daemon, user="stranger", database="test") == 'role "stranger" does not exist'
    daemon.wait_log(r'WARNING S-0x.* server login failed: FATAL role "stranger" does not exist\n')
    daemon.wait_log(r'LOG S-0x.* closing because: login failed: role "stranger" does not exist \(age=\d+s\)\n')


def test_a_long_reason_is_not_cut(pgpoold, fake_pg):
    """libpq's of a name with several addresses: what the last one said comes last."""
    why = "no " * 250 + "entrance"
    server = fake_pg(on_startup=lambda conn: conn.refuse("28000", why))
    daemon = pgpoold(databases={"test": f"host={server.host} port={server.port}"})
    assert refused(daemon, user="app", database="test") == why
    for line in (f"server login failed: FATAL {why}", f"closing because: login failed: {why} [(]age=",
                 f"pooler error: {why}", f"C-0x.* closing because: {why} [(]age="):
        daemon.wait_log(line)


def test_the_process_behind_a_unix_socket_is_named(pgpoold, wire):
    daemon = pgpoold()
    wire(daemon, host=daemon.socket_dir).goodbye()
    daemon.wait_log(rf"test/app@unix\({os.getpid()}\):{daemon.port} login attempt: ")
    daemon.wait_log(rf"test/app@unix\({os.getpid()}\):{daemon.port} closing because: client close request")


@pytest.mark.parametrize("sends", [b"", b"\0\0", special(SSL_CODE)])
def test_a_look_at_the_port_leaves_no_line(pgpoold, wire, eventually, sends):
    """As load balancers and orchestrators do every few seconds."""
    daemon = pgpoold(tcp_defer_accept=0)
    with wire(daemon, login=False) as client:
        eventually(lambda: daemon.show("lists", list="login_clients")[0]["items"] == 1)
        client.send(sends)
    eventually(lambda: daemon.show("lists", list="login_clients")[0]["items"] == 0)
    assert not lines_of(daemon, r"\(nodb\)")
