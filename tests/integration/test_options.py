# SPDX-License-Identifier: ISC
"""What options do that no other file looks at. test_every_option.py tells which test proves which option."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import threading

import psycopg
import pytest

from account import Port, give
from daemon_sockets import options_of, peer_port, sockets_of
from sessions import SLEEPS, backend_pid, one_database, running, wait_running
from waiting import PATIENCE, eventually
from wire import Client, ServerError, bind, execute, parse, query, sync

HERE = pathlib.Path(__file__).parent


# Listening

def test_listen_backlog_is_how_many_wait_to_be_accepted(pgpoold):
    """On the Unix socket, where the kernel says at once that there is no more room."""
    daemon = pgpoold(listen_backlog=5)
    os.kill(daemon.pid, signal.SIGSTOP)
    waiting = []
    try:
        with pytest.raises(BlockingIOError):
            for _ in range(100):
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].setblocking(False)
                waiting[-1].connect(f"{daemon.socket_dir}/.s.PGSQL.{daemon.port}")
        assert len(waiting) - 1 == 5 + 1  # Linux lets one more in
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
        for sock in waiting:
            sock.close()
    assert daemon.psql("SELECT 1") == [(1,)]


TCP = {"tcp_keepidle": 111, "tcp_keepintvl": 22, "tcp_keepcnt": 7, "tcp_user_timeout": 33000}


def clients_sockets(daemon, client):
    with sockets_of(daemon.pid) as sockets:
        return options_of([s for s in sockets if peer_port(s) == client.sock.getsockname()[1]])


def servers_sockets(daemon, port):
    with sockets_of(daemon.pid) as sockets:
        return options_of([s for s in sockets if peer_port(s) == port])


@pytest.mark.parametrize("side", ("clients", "servers"))
def test_tcp_options_are_those_of_the_sockets(pgpoold, pg, wire, side):
    daemon = pgpoold(databases=one_database(pg), tcp_socket_buffer=50000, **TCP)

    def look():
        with contextlib.closing(wire(daemon)) as client:
            client.run("SELECT 1")
            return clients_sockets(daemon, client) if side == "clients" else servers_sockets(daemon, pg.port)

    found = look()
    assert found.pop("tcp_keepalive") == 1
    assert {name: found[name] for name in TCP} == TCP
    assert (found["sndbuf"], found["rcvbuf"]) == (100000, 100000)  # the kernel doubles them for itself
    for name, value in {**dict.fromkeys(TCP, 0), "tcp_socket_buffer": 0, "tcp_keepalive": 0}.items():
        daemon.admin(f"SET {name} = {value}")
    daemon.admin("RECONNECT")
    eventually(lambda: pg.n_connections("test") == 0)
    with contextlib.closing(socket.socket()) as fresh:
        default = options_of([fresh])
    found = look()
    assert found["tcp_keepalive"] == 0
    assert {name: found[name] for name in TCP} == {name: default[name] for name in TCP}
    assert found["sndbuf"] > 200000 or found["rcvbuf"] != 100000, "the kernel fits them to the line again"


@pytest.mark.parametrize("listen_addr", ("127.0.0.1", "*"))
def test_what_stays_on_this_machine_has_the_simplest_congestion_control(pgpoold, pg, wire, listen_addr):
    """The system's own may pace what is sent (BBR), with a timer for every few segments."""
    daemon = pgpoold(databases=one_database(pg), listen_addr=listen_addr)
    with contextlib.closing(wire(daemon)) as client:
        client.run("SELECT 1")
        with sockets_of(daemon.pid) as sockets:
            used = {peer_port(s): s.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") for s in sockets}
        assert used[client.sock.getsockname()[1]] == b"reno"
        assert used[pg.port] == b"reno"


def test_tcp_defer_accept_is_how_long_the_kernel_keeps_a_silent_client(pgpoold):
    """The kernel counts in repetitions of its answer, so it may make it a little longer."""
    daemon = pgpoold(tcp_defer_accept=100)

    def deferred():
        with sockets_of(daemon.pid) as sockets:
            return [s.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) for s in sockets if peer_port(s) == 0]

    found, = deferred()
    assert 100 <= found < 200
    daemon.admin("SET tcp_defer_accept = 0")
    assert deferred() == [0]


# Names and places

def test_conffile_makes_the_next_reload_read_another_file(pgpoold):
    daemon = pgpoold(default_pool_size=7)
    assert daemon.show("config", key="conffile")[0]["value"] == str(daemon.ini_path)
    other = daemon.home / "other.ini"
    other.write_text(daemon.ini_path.read_text().replace("default_pool_size = 7", "default_pool_size = 9"))
    give(other)
    daemon.admin(f"SET conffile = '{other}'")
    assert daemon.show("config", key="default_pool_size")[0]["value"] == "7"
    daemon.admin("RELOAD")
    assert daemon.show("config", key="default_pool_size")[0]["value"] == "9"
    assert daemon.show("config", key="conffile")[0]["value"] == str(other)


@pytest.fixture(scope="session")
def syslog_library(worker_dir):
    library = worker_dir / "syslog_to_file.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, HERE / "clients/syslog_to_file.c"], check=True)
    return library


@pytest.fixture
def syslog(pgpoold, syslog_library):
    """syslog(option=...): a daemon, and a function that gives the lines it sent to syslog."""
    def make(**options):
        daemon = pgpoold(start=False, **options)
        lines = daemon.home / "syslog"
        daemon.start(env={"LD_PRELOAD": str(syslog_library), "SYSLOG_TO_FILE": str(lines),
                          "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0:exitcode=99"})
        return daemon, lambda: lines.read_text() if lines.exists() else ""
    return make


def test_syslog_gets_the_log(syslog):
    daemon, lines = syslog(syslog=1)
    eventually(lambda: "process up" in lines())
    assert lines().startswith("3 pgpoold LOG ")
    daemon.admin("SET syslog = 0")
    before = lines()
    daemon.psql("SELECT 1")
    assert lines() == before


def test_syslog_ident_and_facility_name_the_sender(syslog):
    daemon, lines = syslog(syslog=1, syslog_ident="first", syslog_facility="local3", job_name="never")
    eventually(lambda: "process up" in lines())
    assert lines().startswith("19 first LOG ") and "never" not in lines()
    daemon.reload(options={"syslog_ident": "second", "syslog_facility": "authpriv"})
    daemon.psql("SELECT 1")
    eventually(lambda: "\n10 second LOG C-" in lines())


def test_job_name_stands_for_a_syslog_ident_that_is_not_given(syslog):
    _, lines = syslog(syslog=1, job_name="shop-pool")
    eventually(lambda: "process up" in lines())
    assert lines().startswith("3 shop-pool LOG ")


# The log

@pytest.mark.parametrize("option, words", [
    ("log_connections", "login attempt: db=test"), ("log_connections", "new connection to server"),
    ("log_disconnections", "closing because: client"), ("log_pooler_errors", "pooler error: "),
    ("log_stats", "stats: "),
])
def test_switches_of_the_log(pgpoold, option, words):
    def something(daemon):
        daemon.admin("RECONNECT")
        daemon.psql("SELECT 1")
        with pytest.raises(psycopg.OperationalError):
            daemon.psql("SELECT 1", user="nobody", password="x")
        daemon.show("clients")

    daemon = pgpoold(stats_period=0.1, auth_type="md5", **{option: 0})
    something(daemon)
    with daemon.console() as console:
        console.expect_silence(0.5)  # several periods of the averages
    assert not re.search(words, daemon.log)
    daemon.admin(f"SET {option} = 1")
    something(daemon)
    daemon.wait_log(words)
    daemon.admin("RELOAD")  # the file says 0
    before = len(daemon.log)
    something(daemon)
    assert not re.search(words, daemon.log[before:])


def test_verbose_adds_lines_at_run_time(pgpoold, wire):
    daemon = pgpoold(verbose=1, pool_mode="transaction")
    client = wire(daemon)
    client.run("SELECT 1")
    daemon.wait_log(" DEBUG S-.* state: new -> login")
    assert " NOISE " not in daemon.log
    daemon.admin("SET verbose = 2")
    client.run("SELECT 1")
    daemon.wait_log(" NOISE C-.* state: idle -> active")
    daemon.admin("SET verbose = 0")
    before = len(daemon.log)
    client.run("SELECT 1")
    wire(daemon)
    daemon.wait_log("login attempt", after=before)
    assert not re.search(" DEBUG | NOISE ", daemon.log[before:])


def test_echo_logs_statements_everywhere_or_of_one_database_or_user(pgpoold, pg):
    daemon = pgpoold(echo=0, databases={"test": f"host={pg.host} port={pg.port}",
                                        "loud": f"host={pg.host} port={pg.port} dbname=test echo=1"},
                     users={"scram_user": "echo=1", "postgres": "echo=0"})
    for n, (db, user) in enumerate((("test", "app"), ("loud", "app"), ("test", "scram_user"), ("loud", "postgres"))):
        daemon.psql(f"SELECT {n} AS told", db=db, user=user)
    eventually(lambda: re.findall(r"statement \(duration=\d+\.\d+ ms\): SELECT (\d)", daemon.log) == ["1", "2"])
    daemon.admin("SET echo = 1")
    for user in ("app", "postgres"):
        daemon.psql("SELECT 4 AS told", user=user)
    eventually(lambda: re.findall(r": SELECT (\d)", daemon.log) == ["1", "2", "4"])


def test_log_min_duration_logs_what_is_slow(pgpoold):
    daemon = pgpoold(log_min_duration="0.6")
    with daemon.connect() as conn:
        conn.execute("SELECT 1")
        conn.execute("SELECT 2, pg_sleep(0.7)")
        daemon.wait_log(r"statement \(duration=\d+\.\d+ ms\): SELECT 2")
        assert "SELECT 1" not in daemon.log
        daemon.admin("SET log_min_duration = 1000")  # for living clients too
        before = len(daemon.log)
        conn.execute("SELECT 3, pg_sleep(0.7)")
        assert "SELECT 3" not in daemon.log[before:]


# Messages

def test_disable_pqexec_refuses_every_simple_query(pgpoold, wire):
    daemon = pgpoold(disable_pqexec=1, pool_mode="transaction")
    client = wire(daemon)
    client.send(parse("", "BEGIN"), bind(), execute(), sync(), parse("", "SELECT 1"), bind(), execute(), sync())
    assert (client.result().status, client.result().rows) == ("T", [("1",)])
    for another in (client, wire(daemon)):
        another.send(query("SELECT 1"))
        error, = [m for m in another.expect_closed() if m.kind == "E"]
        assert (error.severity, error.code, error.text) == ("FATAL", "08P01", "PQexec disallowed")
    assert daemon.show("version"), "the console goes on"


def most_reads_in_a_row(trace):
    """The most recv() of one descriptor between two epoll_wait()."""
    most, counts = 0, {}
    for line in trace.splitlines():
        if "epoll_" in line:
            counts = {}
        elif found := re.search(r"recvfrom\((\d+), .* = [1-9]", line):
            counts[found.group(1)] = counts.get(found.group(1), 0) + 1
            most = max(most, counts[found.group(1)])
    return most


def swallow(sock):
    """Reads until the end."""
    with contextlib.suppress(OSError):
        while sock.recv(1 << 20):
            pass


@pytest.mark.parametrize("turns", (1, 3))
def test_sbuf_loopcnt_is_how_often_one_connection_is_read_in_its_turn(pgpoold, pg, wire, turns):
    """Seen from outside: how many reads of a server come between two looks at all descriptors. The daemon is held again and
    again until the server has filled all that lies between them: a faster reader would find little each time."""
    daemon = pgpoold(sbuf_loopcnt=turns, pool_mode="transaction", server_tls_sslmode="disable", start=False)
    trace, traced = daemon.home / "trace", daemon.home / "traced"
    traced.write_text("#!/bin/sh\nexec strace -D -qq -e trace=recvfrom,epoll_wait,epoll_pwait -s 1 -o "
                      f'{trace} {daemon.binary} "$@"\n')
    give(traced)
    daemon.binary = traced
    daemon.start(env={"ASAN_OPTIONS": "detect_leaks=0:exitcode=99"})  # LeakSanitizer wants to trace as well
    client = wire(daemon)
    sql = "SELECT repeat('x', 1000) FROM generate_series(1, 10000000)"
    client.send(query(sql))
    reader = threading.Thread(target=swallow, args=(client.sock,), daemon=True)
    reader.start()
    wait_running(pg, sql)
    for _ in range(100 if turns > 1 else 10):
        daemon.signal(signal.SIGSTOP)
        try:
            eventually(lambda: [row for row in running(pg, sql) if row["wait_event"] == "ClientWrite"])
        finally:
            daemon.signal(signal.SIGCONT)
        done = len(trace.read_text())
        eventually(lambda done=done: len(trace.read_text()) > done, "it reads again")
        if turns > 1 and most_reads_in_a_row(trace.read_text()) >= turns:
            break
    client.sock.shutdown(socket.SHUT_RDWR)
    reader.join()
    daemon.stop()
    assert most_reads_in_a_row(trace.read_text()) == turns


# Server connections

@pytest.mark.parametrize("fast", (0, 1))
def test_server_fast_close_ends_a_session_at_the_end_of_its_transaction(pgpoold, wire, fast):
    daemon = pgpoold(pool_mode="session", server_fast_close=fast)
    client = wire(daemon)
    client.run("BEGIN")
    daemon.admin("RECONNECT")
    assert client.run("SELECT 1") == [("1",)]
    if fast:
        client.send(query("COMMIT"))
        assert [m.text for m in client.expect_closed() if m.kind == "E"] == ["database configuration changed"]
        daemon.wait_log("closing because: server_fast_close")
    else:
        client.run("COMMIT")
        assert client.run("SELECT 2") == [("2",)]


def test_server_lifetime_jitter_spreads_the_ends(pgpoold, pg):
    """Thirty connections that may live five seconds each: with ninety percent some end in their first two."""
    daemon = pgpoold(server_lifetime=5, server_lifetime_jitter=90, default_pool_size=40,
                     databases={"test": f"host={pg.host} port={pg.port} user=app min_pool_size=30"})
    daemon.wait_log(r"closing because: server lifetime over \(age=[01]s\)")


def test_the_lifetime_of_a_database_rules_over_the_general_one(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", databases={"test": f"host={pg.host} port={pg.port} server_lifetime=0",
                                                         "test2": f"host={pg.host} port={pg.port}"})
    once, kept = wire(daemon), wire(daemon, database="test2")
    assert backend_pid(once) != backend_pid(once)
    assert backend_pid(kept) == backend_pid(kept)


@pytest.mark.parametrize("how", ("cancel", "wait", "close"))
def test_abandoned_query(pgpoold, pg, wire, how):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, abandoned_query=how, databases=one_database(pg),
                     server_login_retry=0)
    sql = "SELECT pg_sleep(2)" if how == "wait" else SLEEPS
    client = wire(daemon)
    pid = backend_pid(client)
    client.send(query(sql))
    wait_running(pg, sql)
    client.close()
    if how == "close":
        daemon.wait_log(r"S-.*closing because: ")
        assert backend_pid(wire(daemon)) != pid
        pg.psql(f"SELECT pg_terminate_backend({pid})")
        return
    assert backend_pid(wire(daemon)) == pid
    assert not running(pg, sql)
    cancels = re.findall("canceling statement due to user request", pg.log[-20000:])
    assert cancels if how == "cancel" else daemon.show("stats_totals"), "it ended"


@pytest.mark.parametrize("where", ("database", "user"))
def test_query_wait_timeout_of_an_entry_rules_over_the_general_one(pgpoold, pg, wire, where):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1,
                     databases=one_database(pg, **({"query_wait_timeout": "1"} if where == "database" else {})),
                     users={"app": "query_wait_timeout=1"} if where == "user" else {})
    holder, late = wire(daemon), wire(daemon)
    holder.run("BEGIN")
    late.send(query("SELECT 1"))
    assert [m.text for m in late.expect_closed() if m.kind == "E"] == ["query_wait_timeout"]


@pytest.mark.parametrize("option, text, code", [
    ("transaction_timeout", "transaction timeout", "25P04"), ("idle_transaction_timeout", "idle transaction timeout", "25P03"),
    ("client_idle_timeout", "client_idle_timeout", "57P05")])
def test_time_limits_of_a_user_rule_over_the_general_ones(pgpoold, pg, wire, option, text, code):
    daemon = pgpoold(pool_mode="transaction", databases=one_database(pg), users={"app": f"{option}=0.3"})
    client, other = wire(daemon), wire(daemon, user="postgres")
    for one in (client, other):
        if option != "client_idle_timeout":
            one.run("BEGIN")
    error, = [m for m in client.expect_closed() if m.kind == "E"]
    assert (error.code, error.text) == (code, text)
    assert other.run("SELECT 1") == [("1",)]


@pytest.mark.parametrize("option, first, then, text", [
    ("query_timeout", None, SLEEPS, "query timeout"),
    ("transaction_timeout", "BEGIN", SLEEPS, "transaction timeout"),
    ("idle_transaction_timeout", "BEGIN", None, "idle transaction timeout"),
    ("client_idle_timeout", "SELECT 1", None, "client_idle_timeout"),
])
def test_time_limits_that_change_hold_for_those_who_are_there(pgpoold, pg, wire, option, first, then, text):
    """Set after the client has come, and after what is limited has begun."""
    daemon = pgpoold(pool_mode="transaction", databases=one_database(pg))
    client = wire(daemon)
    if first:
        client.run(first)
    if then:
        client.send(query(then))
        wait_running(pg, then)
    daemon.admin(f"SET {option} = 0.3")
    assert client.read_until("E")[-1].text == text


def test_query_wait_timeout_that_changes_holds_for_those_who_wait(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, query_wait_notify="0.1", databases=one_database(pg))
    holder, late = wire(daemon), wire(daemon)
    holder.run("BEGIN")
    late.send(query("SELECT 1"))
    late.expect("N")
    daemon.admin("SET query_wait_timeout = 0.3")
    assert late.expect("E").text == "query_wait_timeout"


@pytest.mark.parametrize("option", ("max_db_connections", "max_user_connections"))
def test_limits_of_an_entry_hold_for_it_alone(pgpoold, pg, wire, option):
    daemon = pgpoold(pool_mode="transaction", query_wait_notify="0.2",
                     databases=one_database(pg, **({option: 1} if option == "max_db_connections" else {})),
                     users={"app": f"{option}=1"} if option == "max_user_connections" else {})
    first, second = wire(daemon), wire(daemon)
    first.run("BEGIN")
    second.send(query("SELECT 1"))
    second.expect("N")  # it waits
    free = wire(daemon, database="test2", user="postgres")
    assert free.run("SELECT 1") == [("1",)]
    first.run("COMMIT")
    assert second.result().rows == [("1",)]


@pytest.mark.parametrize("where", ("database", "user"))
def test_the_size_of_an_entrys_pool(pgpoold, pg, wire, where):
    """pool_size, then reserve_pool_size on top of it; of the user before that of the database."""
    sizes = "pool_size=1 reserve_pool_size=1"
    daemon = pgpoold(pool_mode="transaction", default_pool_size=5, reserve_pool_timeout="0.2", query_wait_notify="0.4",
                     databases={"test": f"host={pg.host} port={pg.port} " +
                                        (sizes if where == "database" else "pool_size=4 reserve_pool_size=3")},
                     users={"app": sizes} if where == "user" else {})
    clients = [wire(daemon) for _ in range(3)]
    clients[0].run("BEGIN")
    clients[1].send(query("BEGIN"))
    assert clients[1].result().status == "T"
    daemon.wait_log("taking connection from reserve_pool")
    clients[2].send(query("SELECT 1"))
    clients[2].expect("N")
    assert pg.n_connections("test") == 2


def test_reserve_pool_timeout_is_how_long_the_reserve_is_not_touched(pgpoold, pg, wire):
    """Shorter than the default, then so long that nobody gets it."""
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, reserve_pool_size=2, reserve_pool_timeout="0.1",
                     query_wait_notify=3, databases=one_database(pg))
    clients = [wire(daemon) for _ in range(3)]
    clients[0].run("BEGIN")
    clients[1].send(query("BEGIN"))
    assert clients[1].result().kinds == "CZ"  # without the NOTICE, so in less than three seconds
    daemon.admin("SET reserve_pool_timeout = 1000")
    clients[2].send(query("BEGIN"))
    clients[2].expect("N")
    assert pg.n_connections("test") == 2


def test_cancel_wait_timeout_gives_up_a_server_that_does_not_hear(pgpoold, fake_pg, wire):
    """A query_timeout has no effect on this server: the client waits no longer than that for the cancel to work."""
    def script(conn):
        conn.expect("Q")
        conn.expect_closed(60)

    server = fake_pg(script)
    daemon = pgpoold(pool_mode="transaction", query_timeout="0.2", cancel_wait_timeout="0.3", server_connect_timeout=0,
                     databases={"test": f"host={server.host} port={server.port}"})
    client = wire(daemon, timeout=8)  # the default is ten seconds
    client.send(query("select 1"))
    assert [m.text for m in client.expect_closed(8) if m.kind == "E"] == ["query timeout"]


def test_query_wait_notify_comes_before_the_end_of_the_wait(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, query_wait_notify="0.2", query_wait_timeout=3,
                     databases=one_database(pg))
    holder, late = wire(daemon), wire(daemon)
    holder.run("BEGIN")
    late.send(query("SELECT 1"))
    assert [m.kind for m in late.expect_closed()] == ["N", "E"]


def test_rollback_timeout_frees_the_place_of_a_server_that_hangs(pgpoold, fake_pg, wire):
    """The next one waits for five seconds at most, which is less than the default."""
    def script(conn):
        conn.expect("Q")
        conn.send(b"C\0\0\0\x0aBEGIN\0", b"Z\0\0\0\x05T")
        conn.expect("Q")
        conn.expect_closed(60)

    server = fake_pg(script)
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, rollback_timeout="0.3", query_wait_timeout=5,
                     databases={"test": f"host={server.host} port={server.port}"})
    first, second = wire(daemon), wire(daemon)
    first.run("BEGIN")
    first.close()
    second.send(query("BEGIN"))
    assert second.result().status == "T"


def test_server_connect_timeout_is_shorter_than_the_wait(pgpoold, wire):
    with socket.create_server(("127.0.0.1", 0), backlog=20) as silent:
        daemon = pgpoold(pool_mode="transaction", server_connect_timeout="0.3", query_wait_timeout=5,
                         databases={"test": f"host=127.0.0.1 port={silent.getsockname()[1]}"})
        with pytest.raises(ServerError, match="server_connect_timeout"):
            wire(daemon)


def test_server_login_retry_is_how_long_an_error_holds(pgpoold, fake_pg, wire):
    """Shorter than the default, then so long that nobody tries again."""
    tries = []

    def on_startup(conn):
        tries.append(conn)
        if len(tries) == 2:
            conn.welcome()
            conn.serve()
        else:
            conn.refuse("53300", "too many")

    server = fake_pg(on_startup=on_startup)
    daemon = pgpoold(pool_mode="transaction", server_login_retry="0.1",
                     databases={"test": f"host={server.host} port={server.port}"})
    with pytest.raises(ServerError, match="too many"):
        wire(daemon)
    eventually(lambda: wire(daemon), "the second try", timeout=8)
    daemon.admin("SET server_login_retry = 1000")
    daemon.admin("KILL test")
    daemon.admin("RESUME test")
    client = wire(daemon)  # what the server says to a login is known by now
    client.send(query("SELECT 1"))
    assert [m.text for m in client.expect_closed() if m.kind == "E"] == ["too many"]
    late = wire(daemon)
    late.send(query("SELECT 1"))
    late.expect_silence(0.5)
    assert len(tries) == 3


def test_suspend_timeout_is_how_long_suspend_waits(pgpoold, pg, wire):
    """For a client in the middle of a message. Half of the default is too long already."""
    daemon = pgpoold(pool_mode="transaction", suspend_timeout="0.3", databases=one_database(pg))
    client = wire(daemon)
    client.run("BEGIN")
    client.send(b"Q\0\0\0\x20SELECT")
    with daemon.console(host=daemon.socket_dir) as console:
        assert console.query("SUSPEND", timeout=5).tags == ["SUSPEND"]
        console.run("RESUME")


def test_a_users_mode_and_a_databases_mode(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="session", databases=one_database(pg, pool_mode="transaction"),
                     users={"postgres": "pool_mode=statement"})
    modes = {(row["database"], row["user"]): row["pool_mode"] for row in _pools(daemon, wire)}
    assert (modes["test", "app"], modes["test", "postgres"]) == ("transaction", "statement")
    client = wire(daemon, user="postgres")
    client.send(query("BEGIN"))
    assert [m.text for m in client.expect_closed() if m.kind == "E"] == [
        "transaction blocks not allowed in statement pooling mode"]


def _pools(daemon, wire):
    for user in ("app", "postgres"):
        wire(daemon, user=user).run("SELECT 1")
    return daemon.show("pools", database="test")


def test_client_encoding_of_an_entry_is_asked_for(pgpoold, pg):
    daemon = pgpoold(databases={"test": f"host={pg.host} port={pg.port} client_encoding=LATIN1"})
    with daemon.connect() as conn:
        found = conn.execute("SELECT reset_val FROM pg_settings WHERE name = 'client_encoding'").fetchone()
    assert found == ("LATIN1",)


def test_application_name_of_an_entry_is_asked_for(pgpoold, pg):
    daemon = pgpoold(databases={"test": f"host={pg.host} port={pg.port} application_name=pooled"})
    with daemon.connect() as conn:
        found = conn.execute("SELECT reset_val FROM pg_settings WHERE name = 'application_name'").fetchone()
    assert found == ("pooled",)


# HTTP

@pytest.fixture
def http_port():
    port = Port()
    yield port.number
    port.close()


def test_http_max_connections_is_how_many_there_may_be(pgpoold, http_port):
    daemon = pgpoold(http_port=http_port, http_max_connections=2)
    with contextlib.ExitStack() as stack:
        open_ones = [stack.enter_context(socket.create_connection((daemon.host, http_port), PATIENCE)) for _ in range(3)]
        assert open_ones[2].recv(1) == b"", "one too many is closed"
        open_ones[0].sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert b" 200 " in open_ones[0].recv(100)


def test_http_timeout_ends_a_slow_request(pgpoold, http_port):
    daemon = pgpoold(http_port=http_port, http_timeout="0.5")
    with socket.create_connection((daemon.host, http_port), 10) as slow:
        slow.sendall(b"GET /healthz HTT")
        while slow.recv(100):  # until the end; without one the socket's own timeout speaks
            pass


# TLS

@pytest.mark.parametrize("params, shaken", (("auto", True), ("none", False)))
def test_client_tls_dheparams(pgpoold, certs, params, shaken):
    daemon = pgpoold(client_tls_sslmode="require", client_tls_cert_file=certs.server, client_tls_key_file=certs.server_key,
                     client_tls_dheparams=params, client_tls_ciphers="ADH-AES256-GCM-SHA384:@SECLEVEL=0")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # anonymous: the key exchange is all there is
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ADH-AES256-GCM-SHA384:@SECLEVEL=0")
    with Client.connect(daemon.host, daemon.port) as client:
        assert client.ask_tls() == "S"
        with contextlib.nullcontext() if shaken else pytest.raises(ssl.SSLError):
            client.start_tls(context, "localhost")
            assert client.sock.cipher()[0] == "ADH-AES256-GCM-SHA384"
