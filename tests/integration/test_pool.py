# SPDX-License-Identifier: ISC
"""How many server connections there are, who waits for them and in which order, and when they come and go."""

import re
import socket
import threading

import psycopg
import pytest

from fake_pg import answer
from sessions import SLEEPS, Storm, Watch, backend_pid, one_database, servers, wait_running, wait_waiting
from waiting import PATIENCE
from wire import Client, ServerError, query


def pids(daemon):
    return {row["remote_pid"] for row in daemon.show("servers")}


def hold(wire, daemon, n=1, **who):
    """@n clients that have a server each, in a transaction."""
    clients = [wire(daemon, **who) for _ in range(n)]
    for client in clients:
        client.run("BEGIN")
    return clients


# Sizes

def test_a_storm_of_clients_never_sees_more_than_pool_size(pgpoold, pg, eventually):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=5, databases=one_database(pg))

    def work(_):
        with daemon.connect() as conn:
            conn.execute("SELECT pg_sleep(0.005)")

    with Watch(pg) as watch, Storm(50, work) as storm:
        eventually(lambda: storm.rounds > 200, timeout=60)
    assert storm.errors == []
    assert watch.most == 5


def test_the_size_of_a_database_rules_over_the_default(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=5, databases=one_database(pg, pool_size=1))
    hold(wire, daemon)
    late = wire(daemon)
    late.send(query("SELECT 1"))
    wait_waiting(daemon)
    assert pg.n_connections("test") == 1


def test_each_user_has_a_pool_of_its_own(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, databases=one_database(pg))
    hold(wire, daemon, user="app")
    hold(wire, daemon, user="postgres")
    assert pg.n_connections("test") == 2


def test_the_reserve_is_opened_for_those_who_waited_long_enough(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, reserve_pool_size=1, reserve_pool_timeout=0.3,
                     databases=one_database(pg))
    hold(wire, daemon)
    second, third = wire(daemon), wire(daemon)
    second.send(query("BEGIN"))
    assert second.result().status == "T"
    daemon.wait_log("taking connection from reserve_pool")
    assert daemon.show("stats", database="test")[0]["total_wait_time"] >= 300_000, "not before its time"
    third.send(query("SELECT 1"))
    third.expect_silence(0.6)
    assert pg.n_connections("test") == 2


def test_max_db_connections_holds_over_all_pools_of_a_database(pgpoold, pg, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=5, max_db_connections=2, query_wait_notify=0,
                     databases=one_database(pg))
    other = wire(daemon, user="postgres")
    first, _ = hold(wire, daemon, 2, user="app")
    other.send(query("SELECT current_user"))
    other.expect_silence(0.2)
    first.run("COMMIT")
    assert other.result().rows == [("postgres",)]
    assert servers(daemon) <= 2
    eventually(lambda: pg.n_connections("test") <= 2, "the evicted one has ended")


def test_an_idle_connection_of_another_pool_makes_room(pgpoold, pg, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=5, max_db_connections=2, databases=one_database(pg))
    for client in hold(wire, daemon, 2, user="app"):
        client.run("COMMIT")
    assert wire(daemon, user="postgres").run("SELECT current_user") == [("postgres",)]
    daemon.wait_log("closing because: evicted")
    assert servers(daemon) <= 2
    eventually(lambda: pg.n_connections("test") <= 2, "the evicted one has ended")


def test_max_user_connections_holds_over_all_databases(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=5, max_user_connections=1, query_wait_notify=0,
                     databases=one_database(pg))
    first, = hold(wire, daemon, database="test")
    other = wire(daemon, database="test", user="postgres")
    assert other.run("SELECT 1") == [("1",)]
    late = threading.Thread(target=lambda: answers.append(daemon.psql("SELECT current_database()", db="test2")))
    answers = []
    late.start()
    wait_waiting(daemon, database="test2")
    assert answers == []
    first.run("COMMIT")
    late.join(PATIENCE)
    assert answers == [[("test2",)]]


def test_no_connection_is_closed_in_vain_when_two_limits_hold(pgpoold, pg, wire):
    """The idle one of another user would make room in the database, but the user himself has no room yet."""
    daemon = pgpoold(pool_mode="transaction", max_db_connections=1, max_user_connections=1, query_wait_notify=0,
                     databases=one_database(pg))
    late = wire(daemon, database="test", user="app")
    elsewhere, = hold(wire, daemon, database="test2", user="app")
    wire(daemon, database="test", user="postgres").run("SELECT 1")
    before = daemon.log.count("closing because: evicted")
    late.send(query("SELECT 1"))
    wait_waiting(daemon, database="test")
    late.expect_silence(0.2)
    assert daemon.log.count("closing because: evicted") == before
    elsewhere.run("COMMIT")
    assert late.result().rows == [("1",)]
    assert daemon.log.count("closing because: evicted") == before + 2


def test_minimums_that_do_not_fit_do_not_fight(pgpoold, pg, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=3, min_pool_size=3, max_db_connections=3,
                     databases=one_database(pg))
    clients = [wire(daemon, user=user) for user in ("app", "postgres")]
    for client in clients * 2:
        client.run("SELECT 1")
    opened = daemon.log.count("new connection to server")
    eventually(lambda: pg.n_connections("test") == 3)
    for client in clients:
        client.expect_silence(0.2)
    assert daemon.log.count("new connection to server") <= opened + 3


def test_the_minimum_is_opened_with_the_first_client_and_kept(pgpoold, pg, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", min_pool_size=3, server_idle_timeout=0.3, databases=one_database(pg))
    assert pg.n_connections("test") == 0
    client = wire(daemon)
    eventually(lambda: pg.n_connections("test") == 3)
    others = hold(wire, daemon, 5)
    assert pg.n_connections("test") == 5
    for other in others:
        other.run("COMMIT")
        other.goodbye()
    eventually(lambda: pg.n_connections("test") == 3)
    client.expect_silence(0.5)
    assert pg.n_connections("test") == 3


def test_the_minimum_of_a_pool_with_a_forced_user_is_there_at_the_start(pgpoold, pg, eventually):
    pgpoold(pool_mode="transaction", databases={
        "test": f"host={pg.host} port={pg.port} user=app min_pool_size=2"})
    eventually(lambda: pg.n_connections("test", "app") == 2)


# Order

def test_who_waits_longest_is_served_first(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, databases=one_database(pg))
    first, = hold(wire, daemon)
    waiting = [wire(daemon) for _ in range(5)]
    order = []
    for i, client in enumerate(waiting):
        client.send(query(f"SELECT {i}, clock_timestamp()"))
        wait_waiting(daemon, i + 1)
    first.run("COMMIT")
    order = [client.result().rows[0] for client in waiting]
    assert [row[0] for row in sorted(order, key=lambda row: row[1])] == ["0", "1", "2", "3", "4"]


def test_a_newcomer_does_not_overtake_the_queue(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, databases=one_database(pg))
    first, = hold(wire, daemon)
    queued = wire(daemon)
    queued.send(query("SELECT clock_timestamp()"))
    wait_waiting(daemon)
    first.send(query("COMMIT"), query("SELECT clock_timestamp()"))
    first.result()
    assert queued.result().rows[0] < first.result().rows[0] or first.buffer == b""


def test_the_last_used_connection_is_used_again(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=3, databases=one_database(pg))
    for client in hold(wire, daemon, 3):
        client.run("COMMIT")
    assert len({backend_pid(client) for _ in range(6)}) == 1


def test_round_robin_uses_all_connections_in_turn(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=3, server_round_robin=1, databases=one_database(pg))
    for client in hold(wire, daemon, 3):
        client.run("COMMIT")
    seen = [backend_pid(client) for _ in range(6)]
    assert len(set(seen)) == 3 and seen[:3] == seen[3:]


# Age

def test_a_pool_that_got_smaller_closes_what_is_too_much(pgpoold, pg, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=6, databases=one_database(pg))
    clients = hold(wire, daemon, 6)
    for client in clients[:4]:
        client.run("COMMIT")
    daemon.admin("SET default_pool_size = 3")
    assert len(daemon.admin("SHOW SERVERS")) == 3
    daemon.admin("SET default_pool_size = 1")
    assert len(daemon.admin("SHOW SERVERS")) == 2
    for client in clients[4:]:
        client.run("COMMIT")
    eventually(lambda: len(daemon.admin("SHOW SERVERS")) == 1)


def test_an_idle_connection_is_closed_after_server_idle_timeout(pgpoold, pg, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", server_idle_timeout=0.3, databases=one_database(pg))
    wire(daemon).run("SELECT 1")
    eventually(lambda: pg.n_connections("test") == 0)
    daemon.wait_log("closing because: server idle timeout")


def test_an_old_connection_is_closed_when_it_is_idle(pgpoold, pg, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", server_lifetime=0.3, databases=one_database(pg))
    client = wire(daemon)
    pid = backend_pid(client)
    eventually(lambda: pg.n_connections("test") == 0)
    assert backend_pid(client) != pid


def test_an_old_connection_in_use_is_closed_when_it_comes_back(pgpoold, pg, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", server_lifetime=0.2, databases=one_database(pg))
    client, = hold(wire, daemon)
    pid = backend_pid(client)
    client.expect_silence(0.4)
    assert backend_pid(client) == pid
    client.run("COMMIT")
    eventually(lambda: pg.n_connections("test") == 0)


def test_a_lifetime_of_zero_uses_each_connection_once(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", server_lifetime=0, databases=one_database(pg))
    client = wire(daemon)
    assert len({backend_pid(client) for _ in range(3)}) == 3


def test_reconnect_closes_idle_connections_now_and_the_others_later(pgpoold, pg, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=2, databases=one_database(pg))
    busy, idle = hold(wire, daemon, 2)
    pid = backend_pid(busy)
    idle.run("COMMIT")
    daemon.admin("RECONNECT")
    eventually(lambda: [row["pid"] for row in pg.activity("test")] == [pid])
    assert backend_pid(busy) == pid
    busy.run("COMMIT")
    assert backend_pid(busy) != pid


def test_a_dead_idle_connection_is_noticed_at_once_and_replaced(pgpoold, pg, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", min_pool_size=2, default_pool_size=2, databases=one_database(pg))
    client = wire(daemon)
    eventually(lambda: servers(daemon, "idle") == 2)
    before = pids(daemon)
    pg.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'test'")
    eventually(lambda: servers(daemon, "idle") == 2 and not pids(daemon) & before)
    assert client.run("SELECT 1") == [("1",)]


def test_a_terminated_query_gives_its_client_postgresqls_words_once(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", databases=one_database(pg))
    client = wire(daemon)
    client.send(query(SLEEPS))
    wait_running(pg, SLEEPS)
    pg.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'test'")
    errors = [m for m in client.expect_closed() if m.kind == "E"]
    assert [(e.severity, e.code, e.text) for e in errors] == [
        ("FATAL", "57P01", "terminating connection due to administrator command")]


# Trouble with the server

def test_a_restart_of_the_server_needs_none_of_ours(pgpoold, pg, eventually):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=3, server_login_retry=0.2, min_pool_size=1,
                     databases=one_database(pg))

    def work(number):
        with daemon.connect(connect_timeout=20) as conn:
            for i in range(5):
                assert conn.execute("SELECT %s::int, %s::int", (number, i)).fetchone() == (number, i)

    with Storm(10, work) as storm:
        eventually(lambda: storm.rounds > 20)
        pg.kill9()
        # Who had a query under way got an error; it may be that nobody had.
        eventually(lambda: storm.errors or any(row["cl_waiting"] for row in daemon.show("pools")))
        pg.start()
        seen = storm.rounds
        eventually(lambda: storm.rounds > seen + 50)
    assert {type(e) for e in storm.errors} <= {psycopg.OperationalError, psycopg.errors.AdminShutdown,
                                               psycopg.errors.CannotConnectNow, psycopg.errors.CrashShutdown}
    assert daemon.psql("SELECT 1") == [(1,)]


def test_queries_wait_for_a_server_that_is_away(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", server_login_retry=0.2, databases=one_database(pg))
    client = wire(daemon)
    client.run("SELECT 1")
    pg.stop()
    client.send(query("SELECT 'patient'"))
    wait_waiting(daemon)
    pg.start()
    result = client.result(30)
    assert result.rows == [("patient",)]


def refused(wire, daemon, **who):
    with pytest.raises(ServerError) as caught:
        wire(daemon, **who)
    return caught.value.message


def test_a_wrong_password_is_the_servers_own_error(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", databases={
        "test": f"host={pg.host} port={pg.port} user=scram_user password=wrong"})
    error = refused(wire, daemon)
    assert (error.severity, error.code) == ("FATAL", "28P01")
    assert error.text == 'password authentication failed for user "scram_user"'


def test_a_missing_database_is_the_servers_own_error(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", databases={"test": f"host={pg.host} port={pg.port} dbname=missing"})
    error = refused(wire, daemon)
    assert (error.severity, error.code, error.text) == ("FATAL", "3D000", 'database "missing" does not exist')


def test_too_many_connections_is_the_servers_own_error(pgpoold, pg, wire):
    pg.psql("ALTER ROLE app CONNECTION LIMIT 0")
    try:
        daemon = pgpoold(pool_mode="transaction", databases=one_database(pg))
        error = refused(wire, daemon)
        assert (error.code, error.text) == ("53300", 'too many connections for role "app"')
    finally:
        pg.psql("ALTER ROLE app CONNECTION LIMIT -1")


REPLACED = {"lifetime": {"server_lifetime": 0}, "reset": {"pool_mode": "session", "server_reset_query": "SELECT 1/0"},
            "abandoned": {"abandoned_query": "close"}}


@pytest.mark.parametrize("how", REPLACED)
def test_a_connection_is_replaced_when_the_server_has_let_go_of_it(pgpoold, pg, eventually, how):
    """The server allows no more than pool_size, and counts a connection until its process has ended."""
    pg.drop_user("only_one")
    pg.create_user("only_one", options="CONNECTION LIMIT 1")
    daemon = pgpoold(default_pool_size=1, userlist={"only_one": ""}, databases=one_database(pg), log_connections=0,
                     **{"pool_mode": "transaction", **REPLACED[how]})

    def work(_):
        with Client.connect(daemon.host, daemon.port).login("only_one", "test") as client:
            if how == "abandoned":
                client.send(query("SELECT repeat('x', 100000); SELECT pg_sleep(600)"))
                client.read_until("T")
            else:
                client.run("SELECT 1")

    with Storm(4, work) as storm:
        eventually(lambda: storm.rounds >= 120 or storm.errors)
    assert not storm.errors
    assert "too many connections" not in daemon.log


def test_a_place_is_not_kept_for_ever_for_a_server_that_does_not_let_go(pgpoold, fake_pg, wire):
    came, goes = threading.Event(), threading.Event()

    def stubborn(conn):
        if came.is_set():
            conn.serve()
            return
        came.set()
        conn.send(answer(conn.expect("Q")))
        goes.wait(PATIENCE)

    server = fake_pg(stubborn)
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, max_db_connections=1,
                     databases={"test": f"host={server.host} port={server.port}"})
    client = wire(daemon)
    client.run("SELECT 1")
    daemon.admin("RECONNECT")
    assert servers(daemon) == 0
    client.send(query("SELECT 2"))
    wait_waiting(daemon)
    assert len(server.startups) == 1
    assert client.result().rows == [("SELECT 2",)]
    goes.set()


def test_too_many_connections_leaves_those_who_have_one_alone(pgpoold, pg, wire):
    pg.psql("ALTER ROLE app CONNECTION LIMIT 1")
    try:
        daemon = pgpoold(pool_mode="transaction", server_login_retry=0.1, databases=one_database(pg))
        first, = hold(wire, daemon)
        late = wire(daemon)
        late.send(query("SELECT 'late'"))
        wait_waiting(daemon)
        first.run("COMMIT")
        assert late.result().rows == [("late",)]
    finally:
        pg.psql("ALTER ROLE app CONNECTION LIMIT -1")


def test_a_refused_login_is_not_tried_again_before_its_time(pgpoold, fake_pg, wire):
    server = fake_pg(on_startup=lambda conn: conn.refuse("28P01", "scripted refusal"))
    daemon = pgpoold(pool_mode="transaction", server_login_retry=60,
                     databases={"test": f"host={server.host} port={server.port}"})
    for _ in range(5):
        error = refused(wire, daemon)
        assert (error.code, error.text) == ("28P01", "scripted refusal")
    assert len(server.startups) == 1


def test_after_its_time_a_refused_login_is_tried_again(pgpoold, fake_pg, wire, eventually):
    server = fake_pg(on_startup=lambda conn: conn.refuse("57P03", "the database system is starting up"))
    daemon = pgpoold(pool_mode="transaction", server_login_retry=0.2,
                     databases={"test": f"host={server.host} port={server.port}"})
    assert refused(wire, daemon).code == "57P03"
    server.on_startup = None
    eventually(lambda: wire(daemon).query("SELECT 1").errors == [])


@pytest.mark.parametrize("tls", ["disable", "prefer"])
def test_a_silent_first_host_is_left_for_the_next_one(pgpoold, pg, wire, tls):
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        port = silent.getsockname()[1]
        daemon = pgpoold(pool_mode="transaction", server_connect_timeout=2, server_login_retry=0.1,
                         server_tls_sslmode=tls,
                         databases={"test": f"host=127.0.0.1,{pg.host} port={port},{pg.port}"})
        assert wire(daemon).run("SELECT 1") == [("1",)]


def test_a_slow_connect_holds_nobody_up(pgpoold, pg, fake_pg, wire):
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        port = silent.getsockname()[1]
        daemon = pgpoold(pool_mode="transaction", databases={
            "slow": f"host=127.0.0.1 port={port}", "test": f"host={pg.host} port={pg.port}"})
        stuck = [wire(daemon, login=False) for _ in range(5)]
        for client in stuck:
            client.send_startup("app", "slow")
        client = wire(daemon)
        for i in range(10):
            assert client.run(f"SELECT {i}") == [(str(i),)]


# Queries of ours

def test_the_connect_query_runs_once_on_each_new_connection(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=2, databases=one_database(
        pg, connect_query="'SET work_mem = ''7MB'''"))
    for client in hold(wire, daemon, 2):
        assert client.run("SHOW work_mem") == [("7MB",)]


def test_a_connect_query_that_fails_is_in_the_log_and_nothing_more(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", databases=one_database(
        pg, connect_query="'SET work_mem = ''7MB''; SELECT nonsense'"))
    assert wire(daemon).run("SHOW work_mem") == [("4MB",)]
    assert wire(daemon).run("SELECT 2") == [("2",)]
    assert len(re.findall('WARNING S-.* connect_query failed: column "nonsense" does not exist\n', daemon.log)) == 1


def test_a_connect_query_that_leaves_a_transaction_open_is_the_clients_error(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", databases=one_database(pg, connect_query="BEGIN"))
    error = refused(wire, daemon)
    assert (error.code, error.text) == ("08001", "connect_query left a transaction open")


def test_the_reset_query_runs_between_sessions(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="session", default_pool_size=1, server_reset_query="SET work_mem = '9MB'",
                     databases=one_database(pg))
    first = wire(daemon)
    assert first.run("SHOW work_mem") == [("4MB",)]
    first.goodbye()
    assert wire(daemon).run("SHOW work_mem") == [("9MB",)]


def test_the_reset_query_does_not_run_in_transaction_mode_unless_told(pgpoold, pg, wire):
    for always, shown in ((0, "4MB"), (1, "9MB")):
        daemon = pgpoold(pool_mode="transaction", default_pool_size=1, server_reset_query="SET work_mem = '9MB'",
                         server_reset_query_always=always, databases=one_database(pg))
        client = wire(daemon)
        client.run("SELECT 1")
        assert client.run("SHOW work_mem") == [(shown,)]


def test_a_reset_query_that_fails_closes_the_connection(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="session", default_pool_size=1, server_reset_query="SELECT nonsense",
                     databases=one_database(pg))
    first = wire(daemon)
    pid = backend_pid(first)
    first.goodbye()
    assert backend_pid(wire(daemon)) != pid


def test_the_check_query_runs_on_connections_that_were_idle_for_long(pgpoold, fake_pg, wire, eventually):
    server = fake_pg()
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, server_check_query="select 'check'",
                     server_check_delay=0, databases={"test": f"host={server.host} port={server.port}"})
    client = wire(daemon)
    client.run("select 1")
    client.run("select 2")
    sent = [m.sql for m in server.connections[0].received if m.kind == "Q"]
    assert sent.count("select 'check'") <= 4 and "select 2" in sent
    assert sent.index("select 'check'") < sent.index("select 2")


def test_a_connection_that_fails_its_check_is_replaced(pgpoold, fake_pg, wire):
    def script(conn):
        while True:
            message = conn.read(timeout=3600)
            if message.kind == "X":
                return
            if message.kind == "Q" and message.sql == "select 'check'" and conn.pid == 1:
                conn.reset()
                return
            conn.send(answer(message))

    server = fake_pg(script)
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, server_check_query="select 'check'",
                     server_check_delay=0, databases={"test": f"host={server.host} port={server.port}"})
    client = wire(daemon)
    for i in range(3):
        assert client.run(f"select {i}") == [(f"select {i}",)]
    assert len(server.connections) >= 2
