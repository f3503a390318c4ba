# SPDX-License-Identifier: ISC
"""Memory runs out: at the n-th allocation of a session, for good, and by a limit. It costs one connection, never the daemon."""

import os
import ssl

import pytest

import faults
from daemon_process import PASSWORDS
from waiting import eventually
from wire import (Client, Closed, ServerError, WireError, bind, cancel_request, close, copy_data, copy_done, describe, execute, parse,
                  query, sync)

# Every n-th allocation of each session is made to fail, about this many in all; FAULTS_EVERY=1 takes every single one.
PER_SESSION = 12
EVERY = int(os.environ.get("FAULTS_EVERY", "0"))


@pytest.fixture(scope="session")
def library(worker_dir):
    return faults.build(worker_dir)


@pytest.fixture
def faulty(pgpoold, pg, worker_dir, library, certs):
    """faulty(**options): a daemon, and the faults that happen in it."""
    def make(**options):
        daemon = pgpoold(start=False, databases={
            "test": f"host={pg.host} port={pg.port} pool_size=2",
            "session": f"host={pg.host} port={pg.port} dbname=test pool_mode=session",
            "statement": f"host={pg.host} port={pg.port} dbname=test pool_mode=statement",
        }, **{"pool_mode": "transaction", "auth_type": "scram-sha-256", "server_login_retry": 0.1,
              "client_tls_sslmode": "allow", "client_tls_cert_file": certs.server,
              "client_tls_key_file": certs.server_key, "server_tls_sslmode": "prefer", **options})
        what = faults.Faults(daemon.home, library)
        daemon.start(env=what.env)
        return daemon, what
    return make


def scram(daemon, database="test", **how):
    client = Client.connect(daemon.host, daemon.port)
    client.login("scram_user", database, PASSWORDS["scram_user"], **how)
    return client


# Sessions. Each is played with one allocation failing somewhere; what must not happen is told by play().

def a_login(daemon, clients):
    clients.append(scram(daemon, application_name="x" * 40, TimeZone="Asia/Tokyo"))
    assert clients[0].query("SELECT 1").rows == [("1",)]


def a_login_over_tls(daemon, clients):
    client = Client.connect(daemon.host, daemon.port)
    clients.append(client)
    assert client.ask_tls() == "S"
    client.start_tls()
    client.login("scram_user", "test", PASSWORDS["scram_user"])
    assert client.run("SELECT repeat('x', 300000)") == [("x" * 300000,)]
    client.run(f"SELECT '{'y' * 300000}'")


def a_server_login(daemon, clients):
    daemon.admin("RECONNECT")
    clients.append(scram(daemon))
    clients.append(scram(daemon))
    for client in clients:
        client.run("BEGIN")
        client.run("SELECT 1")
    for client in clients:
        client.run("COMMIT")


def queries(daemon, clients):
    client = scram(daemon)
    clients.append(client)
    client.query("SELECT 1/0")
    client.run("BEGIN")
    client.run("SELECT repeat('x', 1000000)")
    client.run(f"SELECT '{'y' * 1000000}'")
    client.run("COMMIT")
    client.run("SET DateStyle = 'German'")
    client.send(query("SELECT 1"), query("SELECT 2"), query("SELECT pg_sleep(0.01)"))
    for _ in range(3):
        client.result()


def prepared_statements(daemon, clients):
    client = scram(daemon)
    clients.append(client)
    for i in range(4):
        client.send(parse(f"s{i}", f"SELECT $1::text, {i}"), describe("S", f"s{i}"), bind("", f"s{i}", ["v"]), execute(), sync())
        client.result()
    for i in range(4):
        client.send(bind("", f"s{i}", ["v" * 50000]), describe("P"), execute(), close("S", f"s{i}"), sync())
        assert client.result().rows in ([("v" * 50000, str(i))], [])
    client.run("DEALLOCATE ALL")


def listening(daemon, clients):
    clients.append(scram(daemon))
    clients.append(scram(daemon))
    clients[0].run("LISTEN a; LISTEN b")
    clients[0].run("BEGIN; LISTEN c; SAVEPOINT x; LISTEN d; ROLLBACK TO x; COMMIT")
    clients[1].run("NOTIFY a, 'one'; NOTIFY c, 'two'")
    clients[0].run("UNLISTEN a")
    clients[0].run("UNLISTEN *")


def copying(daemon, clients):
    client = scram(daemon)
    clients.append(client)
    client.run("BEGIN; CREATE TEMP TABLE t (a text) ON COMMIT DROP")
    client.send(query("COPY t FROM STDIN"))
    if (answer := client.read()).kind == "E":
        raise ServerError(answer)
    client.send(*[copy_data("z" * 10000 + "\n")] * 20, copy_done())
    client.result()
    client.query("COPY t TO STDOUT")
    client.run("COMMIT")


def cancelling(daemon, clients):
    client = scram(daemon)
    clients.append(client)
    client.send(query("SELECT pg_sleep(0.2)"))
    killer = Client.connect(daemon.host, daemon.port)
    clients.append(killer)
    killer.send(cancel_request(client.pid, client.secret))
    client.result()


def single_statements(daemon, clients):
    """pool_mode=statement"""
    clients.append(scram(daemon, "statement"))
    clients.append(scram(daemon, "statement"))
    clients[0].run("LISTEN a")
    clients[1].run("NOTIFY a, 'one'")
    clients[0].send(parse("s", "SELECT $1::text"), bind("", "s", ["v"]), execute(), sync())
    clients[0].result()
    clients[0].send(query("COPY (SELECT 1) TO STDOUT"), query("SELECT 1/0"), query("SELECT pg_sleep(0.01)"))
    for _ in range(3):
        clients[0].result()
    try:
        clients[1].query("BEGIN")
        raise AssertionError("BEGIN in statement mode")
    except (Closed, ServerError):
        pass


def lost(daemon, clients):
    for i in range(3):
        clients.append(scram(daemon))
        clients[i].send(query("SELECT pg_sleep(0.1)"))
        clients[i].close()


SHOWN = ("pools", "clients", "servers", "databases", "users", "stats", "config", "lists", "sockets", "dns_hosts", "dns_zones",
         "mem", "totals", "fds", "peers", "listeners", "state", "version", "help")


def the_console(daemon, clients):
    console = daemon.console()
    clients.append(console)
    for what in SHOWN:
        console.query(f"SHOW {what}")
    console.query("SET query_timeout = 100")
    console.send(parse("", "SHOW POOLS"), bind(), describe("P"), execute(), sync())
    console.result()
    console.query("PAUSE test")
    console.query("RESUME test")


def reloading(daemon, clients):
    console = daemon.console()
    clients.append(console)
    console.query("RELOAD")
    daemon.change(options={"default_pool_size": 5})
    console.query("RELOAD")
    daemon.change(options={"default_pool_size": 7})
    console.query("RELOAD")


SESSIONS = (a_login, a_login_over_tls, a_server_login, queries, prepared_statements, listening, copying, cancelling, lost,
            single_statements, the_console, reloading)


def play(session, daemon):
    """Its clients may be told that memory ran out, or lose their connection: nothing else, and none waits for ever."""
    clients = []
    try:
        session(daemon, clients)
    except (Closed, ServerError, ConnectionError, ssl.SSLError) as problem:
        return problem
    finally:
        for client in clients:
            client.close()
    return None


@pytest.mark.seconds(3600 if EVERY else 300)
@pytest.mark.parametrize("times", [1, 8], ids=["once", "for_a_while"])
@pytest.mark.parametrize("session", SESSIONS, ids=lambda s: s.__name__)
def test_memory_runs_out_at_the_nth_allocation(faulty, session, times):
    daemon, what = faulty()
    for _ in range(2):
        assert play(session, daemon) is None
    what.count()
    assert play(session, daemon) is None
    n_calls = what.control.calls
    seen = {}
    step = EVERY or max(1, n_calls // PER_SESSION)
    for n in range(1, n_calls + 1, step):
        what.fail(n, times)
        try:
            problem = play(session, daemon)
        except (AssertionError, TimeoutError, WireError) as surprise:
            raise AssertionError(f"allocation {n} of {n_calls}: {surprise!r}") from surprise
        what.mend()
        seen[str(problem)] = seen.get(str(problem), 0) + 1
        assert daemon.is_running(), f"ended at allocation {n} of {n_calls}"
        with daemon.console() as console:
            console.query("RESUME")  # an error where PAUSE was not reached
        with scram(daemon) as client:
            assert client.run("SELECT 42") == [("42",)], f"after allocation {n}"
    print(session.__name__, n_calls, seen)
    eventually(lambda: not daemon.show("clients", user="scram_user"))
    eventually(lambda: all(row["sv_active"] == row["cl_waiting"] == 0 for row in daemon.show("pools")))


def test_memory_runs_out_while_the_event_loop_grows(faulty):
    """libev cannot be told that there is no memory for one more descriptor, so what it needs is kept ready."""
    daemon, what = faulty()
    crowd = []
    while len(crowd) < 150:
        what.fail(3)  # behind the client itself and its login
        client = Client.connect(daemon.host, daemon.port)
        crowd.append(client)
        client.send(b"\0\0\0\x20\0\3")  # the beginning of a login
        eventually(lambda: what.control.failed or what.control.calls >= 3 or not daemon.is_running(), timeout=10)
        assert daemon.is_running()
    what.mend()
    for client in crowd:
        client.close()
    assert daemon.psql("SELECT 42", user="scram_user", password=PASSWORDS["scram_user"]) == [(42,)]


def test_a_tls_session_that_libpq_forgets_is_freed(faulty):
    """Between making and using one libpq does not free it when memory ends. Told by LeakSanitizer at the daemon's end."""
    daemon, what = faulty()
    what.count()
    what.control.no_app_data = 1
    with scram(daemon) as client:
        assert client.run("SELECT 42") == [("42",)]  # server_tls_sslmode=prefer: then without TLS
    assert what.mend() > 0
    what.control.no_app_data = 0
    daemon.admin("RECONNECT")
    with scram(daemon) as client:
        assert client.run("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [("t",)]
