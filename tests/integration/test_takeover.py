# SPDX-License-Identifier: ISC
"""Online restart: pgpoold -R takes clients and server connections over from the process that runs."""

import os
import re
import shutil
import subprocess
import sys

import psycopg
import pytest

import programs
from account import as_server_account, server_account
from daemon_process import PASSWORDS, SANITIZER_ENV
from programs import at_most
from sessions import SLEEPS, running, wait_running, wait_waiting
from waiting import PATIENCE, eventually
from wire import ServerError, bind, cancel_request, copy_data, copy_done, execute, parse, query, sync


def old_is_gone(old):
    """The old process ends by itself, well."""
    assert old.wait(PATIENCE) == 0


@pytest.fixture
def start(pg, pgpoold):
    """A daemon whose server connections can move: without TLS to the server. Queries that killed processes have left
    behind end with the test."""
    yield lambda **how: pgpoold(server_tls_sslmode="disable", **how)
    pg.psql(f"select pg_terminate_backend(pid) from pg_stat_activity where query = '{SLEEPS}'", "postgres", "postgres")
    eventually(lambda: not running(pg, SLEEPS), "no sleeper is left")


# --- what moves

def test_an_idle_client_and_its_server_connection_go_to_the_new_process(start, wire):
    daemon = start(pool_mode="transaction")
    client = wire(daemon, user="app", database="test")
    before = client.query("select pg_backend_pid()").rows
    old = daemon.take_over()
    assert client.query("select pg_backend_pid()").rows == before
    old_is_gone(old)
    assert client.query("select 1").rows == [("1",)]


def test_a_client_over_the_unix_socket_goes_too(start, wire):
    daemon = start(pool_mode="transaction")
    client = wire(daemon, user="app", database="test", host=daemon.socket_dir)
    assert client.query("select 1").rows == [("1",)]
    old_is_gone(daemon.take_over())
    assert client.query("select 2").rows == [("2",)]


def test_a_transaction_goes_with_its_server_connection(start, wire):
    daemon = start(pool_mode="transaction")
    client = wire(daemon, user="app", database="test")
    client.query("create temp table t (a int); begin; insert into t values (1)")
    old = daemon.take_over()
    old_is_gone(old)
    assert client.query("select a from t").rows == [("1",)]
    assert client.query("commit").rows == []


def test_a_session_goes_with_its_server_connection(start, wire):
    daemon = start(pool_mode="session")
    client = wire(daemon, user="app", database="test")
    client.query("create temp table t as select 7 as a")
    old_is_gone(daemon.take_over())
    assert client.query("select a from t").rows == [("7",)]


def test_parameters_statements_and_keys_go_along(start, wire):
    daemon = start(pool_mode="transaction", max_prepared_statements=100)
    client = wire(daemon, user="app", database="test", application_name="mover")
    client.query("set timezone to 'Asia/Tokyo'")
    client.send(parse("s1", "select $1::int + 1"), sync())
    client.expect("1", "Z")
    old_is_gone(daemon.take_over())
    client.send(bind("", "s1", ["41"]), execute(), sync())
    assert [m.kind for m in client.read_until("Z")][:2] == ["2", "D"]
    assert client.query("show timezone").rows == [("Asia/Tokyo",)]
    assert client.query("show application_name").rows == [("mover",)]


def test_half_a_message_goes_along(start, wire):
    daemon = start(pool_mode="transaction")
    client = wire(daemon, user="app", database="test")
    whole = query("select 'in two pieces'")
    client.send(whole[:3])
    daemon.show("clients")  # has been read by now, or waits in the socket: both must work
    old_is_gone(daemon.take_over())
    client.send(whole[3:])
    assert [m.kind for m in client.read_until("Z")] == ["T", "D", "C", "Z"]


def test_two_restarts_in_a_row(start, wire):
    daemon = start(pool_mode="transaction")
    client = wire(daemon, user="app", database="test")
    first = client.query("select pg_backend_pid()").rows
    for _ in range(2):
        old_is_gone(daemon.take_over())
        assert client.query("select pg_backend_pid()").rows == first


# --- under load

def assert_books_balance(pg, n):
    sums = pg.psql("SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches),"
                   " (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(delta) FROM pgbench_history),"
                   " (SELECT count(*) FROM pgbench_history)", db="test", user="app")[0]
    assert len(set(sums[:4])) == 1 and sums[4] == n


@pytest.mark.parametrize("mode, protocol", [("transaction", "simple"), ("transaction", "extended"),
                                            ("transaction", "prepared"), ("session", "prepared")])
def test_pgbench_does_not_notice(start, pg, bench_db, mode, protocol):
    servers = 4 if mode == "transaction" else 40
    daemon = start(pool_mode=mode, default_pool_size=servers, max_prepared_statements=100, max_client_conn=200)
    bench = programs.start(daemon, "pgbench", "-n", "-c", "40", "-j", "2", "-M", protocol, "-t", "60")
    with bench, at_most(pg, servers, "test"):
        eventually(lambda: daemon.show("stats", database="test")[0]["total_xact_count"] > 100, "pgbench is at work")
        for _ in range(2):
            old_is_gone(daemon.take_over())
        out, err = bench.communicate(timeout=100)
    assert bench.returncode == 0 and "ERROR" not in err and "FATAL" not in err, err[-3000:]
    n = int(re.search(r"transactions actually processed: (\d+)", out)[1])
    assert n == 40 * 60
    assert_books_balance(pg, n)


# --- what stays until it is through

def test_a_query_that_runs_ends_on_the_old_process_then_its_client_goes(start, wire, pg):
    daemon = start(pool_mode="transaction", default_pool_size=2)
    client = wire(daemon, user="app", database="test")
    client.query("select 1")
    client.send(query("select pg_advisory_xact_lock(4711), pg_sleep(0.5), pg_backend_pid()"))
    wait_running(pg, "select pg_advisory_xact_lock(4711), pg_sleep(0.5), pg_backend_pid()")
    old = daemon.take_over()
    assert client.result().rows
    old_is_gone(old)
    assert client.query("select 1").rows == [("1",)]


def test_copy_in_goes_on_over_the_restart(start, wire, pg):
    daemon = start(pool_mode="transaction")
    client = wire(daemon, user="app", database="test")
    client.query("create table if not exists taken (a int)")
    client.query("truncate taken")
    client.send(query("copy taken from stdin"))
    client.read_until("G")
    client.send(copy_data("1\n"))
    old = daemon.take_over()
    assert old.poll() is None
    client.send(copy_data("2\n"), copy_done())
    client.read_until("Z")
    old_is_gone(old)
    assert client.query("select count(*) from taken").rows == [("2",)]
    client.query("drop table taken")


def test_who_waits_in_the_queue_keeps_waiting_in_order(start, wire, pg):
    daemon = start(pool_mode="transaction", default_pool_size=1)
    holder = wire(daemon, user="app", database="test")
    holder.query("begin")
    waiters = [wire(daemon, user="app", database="test") for _ in range(3)]
    for n, client in enumerate(waiters):
        client.send(query(f"select {n}"))
        wait_waiting(daemon, n + 1, database="test")
    old_is_gone(daemon.take_over())
    wait_waiting(daemon, 3, database="test")
    holder.query("commit")
    for n, client in enumerate(waiters):
        assert client.result().rows == [(str(n),)]


def test_a_cancel_reaches_a_query_that_is_still_the_old_processes(start, wire, pg):
    daemon = start(pool_mode="transaction")
    client = wire(daemon, user="app", database="test")
    client.send(query(SLEEPS))
    wait_running(pg, SLEEPS)
    old = daemon.take_over()
    assert old.poll() is None
    with wire(daemon, login=False) as canceler:
        canceler.send(cancel_request(client.pid, client.secret))
        canceler.expect_closed()
    assert client.read_until("E")[-1].code == "57014"
    client.read_until("Z")
    old_is_gone(old)
    client.send(query(SLEEPS))
    wait_running(pg, SLEEPS)
    with wire(daemon, login=False) as canceler:  # and to one that is the new one's by now
        canceler.send(cancel_request(client.pid, client.secret))
        canceler.expect_closed()
    assert client.read_until("E")[-1].code == "57014"


def test_a_cancel_by_tls_reaches_the_old_process_too(start, wire, certs, pg):
    daemon = start(pool_mode="transaction", client_tls_sslmode="allow", client_tls_key_file=certs.server_key,
                   client_tls_cert_file=certs.server)
    plain, secret = wire(daemon, login=False), wire(daemon, login=False)
    assert secret.ask_tls() == "S"
    secret.start_tls()
    for client in (plain, secret):
        client.login(user="app", database="test")
        client.send(query(SLEEPS))
    wait_running(pg, SLEEPS, 2)
    old = daemon.take_over()
    for client in (plain, secret):
        with wire(daemon, login=False) as canceler:
            assert canceler.ask_tls() == "S"
            canceler.start_tls()
            canceler.send(cancel_request(client.pid, client.secret))
            assert client.read_until("E")[-1].code == "57014"
            canceler.expect_closed()
    plain.read_until("Z")
    assert plain.query("select 1").rows == [("1",)]
    assert secret.read_until("E")[-1].text == "pooler is shutting down"
    old_is_gone(old)


def test_a_replication_connection_stays_until_it_ends(start, wire, pg):
    daemon = start(pool_mode="transaction", userlist={**PASSWORDS, "postgres": "postgres-secret"})
    replica = wire(daemon, user="postgres", database="test", replication="database")
    other = wire(daemon, user="app", database="test")
    system = replica.query("IDENTIFY_SYSTEM").rows
    old = daemon.take_over()
    assert other.query("select 1").rows == [("1",)]
    assert old.poll() is None
    assert replica.query("IDENTIFY_SYSTEM").rows == system
    assert "an online restart is under way already" in play_successor(daemon, "die")
    replica.goodbye()
    old_is_gone(old)


def test_an_open_console_is_told_that_its_process_ends(start, wire):
    daemon = start(pool_mode="transaction")
    console = wire(daemon, user="admin", database="pgpoold")
    assert console.query("show version").rows
    old_is_gone(daemon.take_over())
    last = console.read_until("E")[-1]
    assert (last.severity, last.code, last.text) == ("FATAL", "57P01", "pooler is shutting down")
    console.expect_closed()
    with wire(daemon, user="admin", database="pgpoold") as again:
        assert again.query("show version").rows


def test_tls_clients_end_with_their_transaction(start, wire, certs, pg):
    daemon = start(pool_mode="transaction", client_tls_sslmode="allow", client_tls_key_file=certs.server_key,
                   client_tls_cert_file=certs.server)
    with daemon.connect(sslmode="require") as idle, daemon.connect(sslmode="require") as busy:
        busy.execute("begin")
        old = daemon.take_over()
        assert busy.execute("select 1").fetchone() == (1,)
        busy.execute("commit")
        for conn in (idle, busy):
            with pytest.raises(psycopg.OperationalError, match="pooler is shutting down"):
                conn.execute("select 1")
    old_is_gone(old)
    with daemon.connect(sslmode="require") as again:
        assert again.execute("select 1").fetchone() == (1,)


# --- LISTEN and NOTIFY

def test_no_notification_is_lost_or_doubled(start, wire, pg):
    daemon = start(pool_mode="transaction", default_pool_size=4, notify_queue_size=100000)
    listeners = [wire(daemon, user="app", database="test") for _ in range(4)]
    for n, client in enumerate(listeners):
        client.query(f"listen c{n % 2}")
    listeners[3].query("begin")  # is told when that ends
    sent = 0
    with psycopg.connect(pg.dsn("test", "app"), autocommit=True) as direct:
        def notify():
            nonlocal sent
            direct.execute("select pg_notify('c0', %s), pg_notify('c1', %s)", [str(sent), str(sent)])
            sent += 1
        for _ in range(2):
            notify()
            old = daemon.take_over(wait=False)
            while old.poll() is None:
                notify()
        notify()
    for client in listeners[:3]:
        assert [client.read().payload for _ in range(sent)] == [str(n) for n in range(sent)]
        assert not client.query("select 1").notifications
    assert [m.payload for m in listeners[3].query("commit").notifications] == [str(n) for n in range(sent)]


def test_a_listener_whose_query_runs_hears_through_the_new_process(start, wire, pg):
    daemon = start(pool_mode="transaction", default_pool_size=4)
    listener = wire(daemon, user="app", database="test")
    other = wire(daemon, user="app", database="test")
    listener.query("listen c")
    other.query("listen c")
    listener.send(query("select pg_advisory_lock(99)"))  # takes it, so the next one waits
    listener.read_until("Z")
    with psycopg.connect(pg.dsn("test", "app"), autocommit=True) as direct:
        direct.execute("select pg_advisory_lock(100)")
        listener.send(query("select pg_advisory_xact_lock(100)"))
        wait_running(pg, "select pg_advisory_xact_lock(100)")
        old = daemon.take_over()
        for n in range(50):
            direct.execute("select pg_notify('c', %s)", [str(n)])
        other.send(query("notify c, 'own'"))  # passes the barrier although the listener's hub is elsewhere
        own = [m for m in other.read_until("Z") if m.kind == "A"]
        assert own[-1].payload == "own"
        assert old.poll() is None
        direct.execute("select pg_advisory_unlock(100)")
        told = [m.payload for m in listener.read_until("Z") if m.kind == "A"]
        assert told == [*map(str, range(50)), "own"]
        old_is_gone(old)
        direct.execute("notify c, 'after'")
        assert listener.read().payload == "after"


# --- what may go wrong

FAKE = programs.CLIENTS / "fake_successor.py"


def play_successor(daemon, how, uid_of_daemon=True):
    """Runs the fake new process; its output."""
    command = [sys.executable, "-c", FAKE.read_text(), f"{daemon.socket_dir}/.s.PGSQL.{daemon.port}", how]
    if uid_of_daemon:
        command = as_server_account(command)
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("how", ["die", "garbage", "early"])
def test_a_new_process_that_fails_midway_costs_nobody_anything(start, wire, how):
    daemon = start(pool_mode="transaction", default_pool_size=1)
    idle, busy, waiting, listener = (wire(daemon, user="app", database="test") for _ in range(4))
    listener.query("listen c")
    busy.query("begin")
    waiting.send(query("select 'waited'"))
    wait_waiting(daemon, 1, database="test")
    seen = len(daemon.log)
    out = play_successor(daemon, how)
    assert how == "early" or "has the batch" in out
    daemon.wait_log("online restart: the new process .*going on as before", after=seen)
    assert busy.query("select 1").rows == [("1",)]
    busy.query("notify c, 'x'; commit")
    assert waiting.result().rows == [("waited",)]
    assert listener.read().payload == "x"
    assert idle.query("select 2").rows == [("2",)]
    assert daemon.psql("select 3") == [(3,)]
    old_is_gone(daemon.take_over())  # and it can still be done
    assert idle.query("select 4").rows == [("4",)]


def test_a_new_process_that_takes_too_long_is_given_up(start, wire):
    daemon = start(pool_mode="transaction", suspend_timeout=1)
    client = wire(daemon, user="app", database="test")
    client.query("begin")
    out = play_successor(daemon, "silent")
    assert "it took longer than suspend_timeout" in out
    daemon.wait_log("did not take it within suspend_timeout: going on as before")
    assert client.query("commit").status == "I"
    assert daemon.psql("select 1") == [(1,)]


# --- when the old process goes wrong

PREDECESSOR = programs.CLIENTS / "fake_predecessor.py"


@pytest.fixture
def predecessor(pgpoold):
    """predecessor(how): a daemon that was started with -R while a fake old process plays that."""
    running_now = []

    def make(how):
        daemon = pgpoold(start=False)
        command = [sys.executable, "-c", PREDECESSOR.read_text(), f"{daemon.socket_dir}/.s.PGSQL.{daemon.port}", how]
        fake = subprocess.Popen(as_server_account(command, death_signal="KILL"), stdout=subprocess.PIPE, text=True)
        running_now.append(fake)
        assert fake.stdout.readline() == "listening\n"
        daemon.start(["-R"], wait=False)
        return daemon

    yield make
    for fake in running_now:
        fake.kill()
        fake.wait()
        fake.stdout.close()


@pytest.mark.parametrize("how", ["dies", "dies-in-batch"])
def test_when_the_old_process_dies_before_its_go_the_new_one_serves(predecessor, wire, how):
    daemon = predecessor(how)
    daemon.wait_log("has died, going on with what came from it")
    eventually(lambda: daemon.psql("select 1") == [(1,)], "it serves")
    assert daemon.psql("select 2", host=daemon.socket_dir) == [(2,)]


@pytest.mark.parametrize("how, why", [("aborts", "nothing was taken over: it took too long"),
                                      ("talks-garbage", "the old process sends garbage"),
                                      ("hangs-up", "the old process closed the connection"),
                                      ("is-newer", "is pgpoold of tomorrow, whose state we cannot read"),
                                      ("refuses", "does not hand over: not now")])
def test_what_the_old_process_says_ends_the_new_one(predecessor, how, why):
    daemon = predecessor(how)
    daemon.wait_exit(1)
    assert why in daemon.log


# --- how it is started

def test_without_an_old_process_it_starts_as_usual(pgpoold):
    daemon = pgpoold(args=["-R"])
    assert daemon.psql("select 1") == [(1,)]


def as_another_user(command):
    """What @command says when it is not run by the user of the daemon. Root has one; anybody else needs sudo for that."""
    if os.geteuid() != 0:
        if not shutil.which("sudo") or subprocess.run(["sudo", "-n", "true"], check=False).returncode != 0:
            pytest.skip("neither root nor sudo: there is no other user")
        command = ["sudo", "-n", "-u", "nobody", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.stdout + done.stderr


def test_another_user_cannot_take_over(start):
    daemon = start()
    with pytest.raises(ServerError, match="only a process of the same user may take over"):
        daemon.admin("TAKEOVER 1")
    assert "only a process of the same user may take over" in as_another_user(
        ["psql", "-XAtc", "TAKEOVER 1", f"host={daemon.socket_dir} port={daemon.port} user=admin dbname=pgpoold"])
    with pytest.raises(ServerError, match="hands over in another way"):
        daemon.admin("TAKEOVER 2")


def test_a_bad_configuration_leaves_the_old_process_alone(start, wire):
    daemon = start(pool_mode="transaction")
    client = wire(daemon, user="app", database="test")
    old = daemon.process
    daemon.change({"pool_mode": "nonsense"})
    daemon.start(["-R"], wait=False)
    daemon.wait_exit(1)
    daemon.process = old
    assert client.query("select 1").rows == [("1",)]


def test_a_database_that_is_gone_ends_its_clients_only(start, wire, pg):
    place = f"host={pg.host} port={pg.port} dbname=test"
    daemon = start(pool_mode="transaction", databases={"one": place, "two": place})
    one, two = (wire(daemon, user="app", database=name) for name in ("one", "two"))
    one.query("select 1")
    two.query("select 1")
    daemon.change(databases={"two": place})
    old_is_gone(daemon.take_over())
    assert one.read_until("E")[-1].text == "database removed"
    assert two.query("select 1").rows == [("1",)]


def test_a_transaction_in_a_database_that_is_gone_ends(start, wire, pg):
    place = f"host={pg.host} port={pg.port} dbname=test"
    daemon = start(pool_mode="transaction", databases={"one": place, "two": place})
    client, other = (wire(daemon, user="app", database=name) for name in ("one", "two"))
    client.query("begin")
    pid = client.query("select pg_backend_pid()").rows[0][0]
    other.query("select 1")
    daemon.change(databases={"two": place})
    old_is_gone(daemon.take_over())
    assert client.read_until("E")[-1].text == "database removed"
    eventually(lambda: not pg.psql(f"select 1 from pg_stat_activity where pid = {pid}"), "its server connection has ended")
    assert other.query("select 1").rows == [("1",)]
    with pytest.raises(ServerError, match="no such database: one"):
        wire(daemon, user="app", database="one")


def test_listening_addresses_follow_the_new_file(start, wire):
    daemon = start(pool_mode="transaction")
    client = wire(daemon, user="app", database="test")
    assert client.query("select 1").rows == [("1",)]
    daemon.change({"listen_addr": "127.0.0.2"})
    old_is_gone(daemon.take_over(wait=False))
    with pytest.raises(ConnectionRefusedError):
        wire(daemon, login=False, host="127.0.0.1")
    assert wire(daemon, user="app", database="test", host="127.0.0.2").query("select 2").rows == [("2",)]
    assert client.query("select 3").rows == [("3",)]  # whom the old address has let in stays


def test_root_takes_over_from_the_user_of_the_file(start, wire):
    """Only root can try: for others the test shows that -R as oneself works with user= in the file."""
    daemon = start(pool_mode="transaction", pidfile="p.pid", logfile="d.log")
    client = wire(daemon, user="app", database="test")
    old, account = daemon.process, server_account()
    daemon.change({"user": account.pw_name})
    done = subprocess.run([daemon.binary, "-d", "-R", daemon.ini_path], cwd=daemon.home, capture_output=True, text=True,
                          env={**os.environ, **SANITIZER_ENV}, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    old_is_gone(old)
    pid = int((daemon.home / "p.pid").read_text())
    try:
        assert os.stat(f"/proc/{pid}").st_uid == account.pw_uid
        assert client.query("select 1").rows == [("1",)]
    finally:
        daemon.take_over()  # into the foreground again, where the harness ends it
    eventually(lambda: not os.path.exists(f"/proc/{pid}"), "the background process has ended")
    assert client.query("select 1").rows == [("1",)]


def test_the_old_process_killed_in_the_end_takes_only_its_own_clients_along(start, wire, pg):
    daemon = start(pool_mode="transaction", default_pool_size=2)
    moved, stays = (wire(daemon, user="app", database="test") for _ in range(2))
    stays.send(query(SLEEPS))
    wait_running(pg, SLEEPS)
    old = daemon.take_over()
    old.kill()
    stays.expect_closed()
    assert moved.query("select 1").rows == [("1",)]
    with moved, wire(daemon, user="app", database="test") as other:  # its server connection counts no more
        moved.query("begin")
        assert other.query("select 1").rows == [("1",)]


def test_in_the_background_the_pid_file_goes_along(start, wire):
    daemon = start(pool_mode="transaction", pidfile="pid")
    client = wire(daemon, user="app", database="test")
    before = int((daemon.home / "pid").read_text())
    assert before == daemon.pid
    old_is_gone(daemon.take_over())
    eventually(lambda: int((daemon.home / "pid").read_text()) == daemon.pid, "the pid file names the new process")
    assert client.query("select 1").rows == [("1",)]


def test_into_the_background_and_on(start, wire):
    daemon = start(pool_mode="transaction", pidfile="p.pid", logfile="d.log")
    client = wire(daemon, user="app", database="test")
    old = daemon.process
    done = subprocess.run(as_server_account([daemon.binary, "-d", "-R", daemon.ini_path]), cwd=daemon.home,
                          capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    old_is_gone(old)
    pid = int((daemon.home / "p.pid").read_text())
    try:
        assert pid != old.pid
        assert client.query("select 1").rows == [("1",)]
    finally:
        daemon.take_over()  # into the foreground again, where the harness ends it
    eventually(lambda: not os.path.exists(f"/proc/{pid}"), "the background process has ended")
    assert client.query("select 1").rows == [("1",)]


def test_nothing_leaks_over_many_restarts(start, wire, eventually):
    daemon = start(pool_mode="transaction")
    clients = [wire(daemon, user="app", database="test") for _ in range(20)]

    def n_descriptors():
        return len(os.listdir(f"/proc/{daemon.pid}/fd"))

    most = None
    for _ in range(4):
        for client in clients:
            client.query("select 1")
        old_is_gone(daemon.take_over())
        # A server connection may be on its way in or out just now.
        eventually(lambda: most is None or n_descriptors() <= most, "no more than after the first restart")
        most = most or n_descriptors()


def test_keys_of_a_scram_login_log_in_to_servers_after_the_restart(start, wire, pg):
    verifier = pg.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'scram_user'")[0][0]
    daemon = start(pool_mode="transaction", auth_type="scram-sha-256",
                   userlist={"scram_user": verifier, "admin": PASSWORDS["admin"]})
    client = wire(daemon, user="scram_user", database="test", password=PASSWORDS["scram_user"])
    before = client.query("select pg_backend_pid()").rows
    old_is_gone(daemon.take_over())
    daemon.admin("RECONNECT")
    assert client.query("select pg_backend_pid()").rows != before


def test_pause_outlives_the_restart(start, wire):
    daemon = start(pool_mode="transaction")
    client = wire(daemon, user="app", database="test")
    client.query("select 1")
    daemon.admin("PAUSE test")
    client.send(query("select 2"))
    wait_waiting(daemon, 1, database="test")
    old_is_gone(daemon.take_over())
    wait_waiting(daemon, 1, database="test")
    daemon.admin("RESUME test")
    assert client.result().rows == [("2",)]


def test_a_pause_of_all_and_one_by_name_outlive_the_restart_as_two(start, wire):
    daemon = start(pool_mode="transaction")
    client, held = wire(daemon, user="app", database="test"), wire(daemon, user="app", database="test2")
    daemon.admin("PAUSE test2")
    daemon.admin("PAUSE")
    old_is_gone(daemon.take_over())
    assert {row["key"]: row["value"] for row in daemon.show("state")}["paused"] == "yes"
    client.send(query("select 1"))
    held.send(query("select 2"))
    daemon.admin("RESUME")
    assert client.result().rows == [("1",)]
    held.expect_silence(0.1)
    daemon.admin("RESUME test2")
    assert held.result().rows == [("2",)]


def test_when_the_new_process_dies_the_old_one_accepts_again(start, wire, pg):
    daemon = start(pool_mode="transaction", default_pool_size=2, pidfile="p.pid")
    moved, stays, listener = (wire(daemon, user="app", database="test") for _ in range(3))
    listener.query("listen c")
    listener.send(query(SLEEPS))
    stays.send(query(SLEEPS))
    wait_running(pg, SLEEPS, 2)
    old = daemon.take_over()
    daemon.kill9()
    daemon.process = old
    moved.expect_closed()
    daemon.wait_log("going on with what is left")
    eventually(lambda: int((daemon.home / "p.pid").read_text()) == old.pid, "the pid file names the old process again")
    with wire(daemon, login=False) as canceler:
        canceler.send(cancel_request(stays.pid, stays.secret))
        canceler.expect_closed()
    assert stays.read_until("E")[-1].code == "57014"
    stays.read_until("Z")
    assert stays.query("select 1").rows == [("1",)]
    assert daemon.psql("select 2") == [(2,)]
    assert daemon.psql("select 3", host=daemon.socket_dir) == [(3,)]
