# SPDX-License-Identifier: ISC
"""The console: what each command does and each SHOW says. The columns are those of PgBouncer 1.25."""

import asyncio
import contextlib
import os
import subprocess
import urllib.request

import asyncpg
import psycopg
import psycopg2
import pytest

from account import Port, server_account
from cluster import find_bindir
from daemon_process import PASSWORDS
from waiting import eventually
from wire import (Client, Closed, ServerError, bind, cancel_request, close, copy_data, copy_done, describe, execute, msg, parse, query, raw,
                  startup, sync)

TEXT, INT4, INT8, NUMERIC = 25, 23, 20, 1700

CONNECTION = ("type user database replication state addr port:i local_addr local_port:i connect_time request_time wait:i "
              "wait_us:i close_needed:i ptr link remote_pid:i tls application_name prepared_statements:i id:i")
SOCKET = CONNECTION + " recv_pos:i pkt_pos:i pkt_remain:i send_pos:i send_remain:i pkt_avail:i send_avail:i"
FIGURES = ("server_assignment_count xact_count query_count received sent xact_time query_time wait_time "
           "client_parse_count server_parse_count bind_count client_login_count")
HALF = ("database server_assignment_count xact_count query_count bytes_received bytes_sent xact_time query_time "
        "wait_time")
LAST_FOUR = "client_parse_count server_parse_count bind_count client_login_count"
COLUMNS = {
    "CLIENTS": CONNECTION + " subscriptions:i",
    "SERVERS": CONNECTION,
    "SOCKETS": SOCKET,
    "ACTIVE_SOCKETS": SOCKET,
    "POOLS": "database user cl_active:i cl_waiting:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active:i "
             "sv_active_cancel:i sv_being_canceled:i sv_idle:i sv_used:i sv_tested:i sv_login:i maxwait:i maxwait_us:i "
             "pool_mode load_balance_hosts size:i freesize:i",
    "DATABASES": "name host port:i database force_user pool_size:i min_pool_size:i reserve_pool_size:i "
                 "server_lifetime:i pool_mode load_balance_hosts max_connections:i current_connections:i "
                 "max_client_connections:i current_client_connections:i paused:i disabled:i reserve_pool:i",
    "USERS": "name pool_size reserve_pool_size pool_mode max_user_connections:i current_connections:i "
             "max_user_client_connections:i current_client_connections:i",
    "STATS": "database " + " ".join(f"total_{f}:n" for f in FIGURES.split()) + " " +
             " ".join(f"avg_{'recv' if f == 'received' else f}:n" for f in FIGURES.split()) + " total_requests:n",
    "STATS_TOTALS": HALF.replace(" ", ":n ").replace("database:n", "database") + ":n " +
                    " ".join(f"{f}:n" for f in LAST_FOUR.split()),
    "STATS_AVERAGES": HALF.replace(" ", ":n ").replace("database:n", "database") + ":n " +
                      " ".join(f"avg_{f}:n" for f in LAST_FOUR.split()),
    "TOTALS": "name value:n",
    "CONFIG": "key value default changeable",
    "STATE": "key value",
    "LISTS": "list items:i",
    "PEERS": "peer_id:i host port:i pool_size:i",
    "PEER_POOLS": "peer_id:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active_cancel:i sv_login:i "
                  "passed_on:l failed:l",
    "VERSION": "version",
    "MEM": "name size:i used:i free:i memtotal:i",
    "DNS_HOSTS": "hostname ttl addrs",
    "DNS_ZONES": "zonename serial count:i",
}


def columns_of(text):
    kinds = {"": TEXT, "i": INT4, "l": INT8, "n": NUMERIC}
    return [(word.partition(":")[0], kinds[word.partition(":")[2]]) for word in text.split()]


@pytest.fixture
def console(pgpoold):
    """Opens consoles of a daemon: console(daemon, user=...). Closed at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda daemon, **how: stack.enter_context(daemon.console(**how))


@pytest.fixture
def daemon(pgpoold):
    return pgpoold(pool_mode="transaction")


def error_of(client, sql):
    result = client.query(sql)
    assert len(result.errors) == 1, f"{sql}: {result.kinds}"
    return result.errors[0]


def begin(client, sql="SELECT 1"):
    """The client holds a server connection from now on."""
    client.run("BEGIN")
    client.run(sql)
    return client


def notices_until(client, kind):
    """The texts of the notices before the message @kind."""
    messages = client.read_until(kind)
    return [m.text for m in messages if m.kind == "N"]


# --- SHOW: form ---

@pytest.mark.parametrize("what", COLUMNS)  # FDS: test_fds.py
def test_show_has_the_columns_of_pgbouncer(daemon, console, what):
    result = console(daemon).query(f"SHOW {what};")
    assert not result.errors
    assert [(name, oid) for name, oid, _ in result.columns] == columns_of(COLUMNS[what])
    assert result.tags == ["SHOW"] and result.status == "I"


@pytest.mark.parametrize("what", COLUMNS)
def test_a_stats_user_may_show(daemon, console, what):
    assert not console(daemon, user="stats").query(f"SHOW {what}").errors


@pytest.mark.parametrize("command", ["SHOW FDS", "PAUSE", "RESUME", "KILL", "KILL_CLIENT 1", "RELOAD", "SUSPEND",
                                     "SET verbose = 1", "DISABLE test", "ENABLE test", "RECONNECT", "WAIT_CLOSE",
                                     "SHUTDOWN"])
def test_a_stats_user_may_do_nothing_else(daemon, console, command):
    error = error_of(console(daemon, user="stats"), command)
    assert error.text == "admin access needed" and error.severity == "ERROR" and error.code == "42501"


def test_others_may_not_use_the_console(daemon):
    with pytest.raises(ServerError):
        daemon.console(user="app")


def test_words_may_have_any_case_comments_and_a_semicolon(daemon, console):
    client = console(daemon)
    assert client.run("/* a */ show\n\tVersion -- what\n;") == client.run("SHOW VERSION")


def test_help_is_a_notice_that_names_every_command(daemon, console):
    result = console(daemon).query("SHOW HELP")
    assert result.tags == ["SHOW"] and len(result.notices) == 1 and "D" not in result.kinds
    for word in [*COLUMNS, "PAUSE", "RESUME", "SHUTDOWN", "KILL_CLIENT", "WAIT_CLOSE", "SET", "SUSPEND"]:
        assert word in result.notices[0].detail


@pytest.mark.parametrize("sql", ["SELECT 1", "SHOW TABLES", "SHOW", "BEGIN", "SHOW POOLS POOLS", "PAUSE a b",
                                 "PAUSE; RESUME", "SHOW 'x", "RELOAD x", "KILL_CLIENT", "DISABLE", "SET", "SET verbose",
                                 "SET verbose =", "SET verbose 1", "SHUTDOWN NOW", "/* SHOW POOLS"])
def test_what_is_not_understood_is_an_error_and_the_session_lives(daemon, console, sql):
    client = console(daemon)
    assert error_of(client, sql).code == "42601"
    assert client.run("SHOW VERSION")


def test_an_unknown_command_points_to_the_help(daemon, console):
    error = error_of(console(daemon), "SHOW TABLES")
    assert error.text == 'unsupported command "SHOW TABLES"' and "SHOW HELP" in error.hint


def test_an_empty_query_gets_an_empty_answer(daemon, console):
    assert console(daemon).query(" ; ").kinds == "IZ"


# --- SHOW: figures ---

def test_version_is_what_the_program_prints(daemon, console, pgpoold_binary):
    printed = subprocess.run([pgpoold_binary, "--version"], capture_output=True, text=True, check=True).stdout
    assert console(daemon).run("SHOW VERSION") == [(printed.splitlines()[0],)]


def test_clients_shows_every_state_and_the_console_itself(pgpoold, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1)
    wire(daemon, application_name="idler")
    busy = begin(wire(daemon, application_name="worker"))
    wire(daemon, application_name="queuer").send(query("SELECT 1"))
    eventually(lambda: daemon.show("pools", database="test")[0]["cl_waiting"] == 1)
    rows = daemon.show("clients")
    states = {row["application_name"]: row["state"] for row in rows if row["database"] == "test"}
    assert states == {"idler": "idle", "worker": "active", "queuer": "waiting"}
    own = [row for row in rows if row["database"] == "pgbouncer"]
    assert len(own) == 1 and own[0]["user"] == "admin" and own[0]["state"] == "active"
    assert {row["type"] for row in rows} == {"C"} and {row["replication"] for row in rows} == {"none"}
    assert len({row["id"] for row in rows}) == len(rows) and len({row["ptr"] for row in rows}) == len(rows)
    worker = next(row for row in rows if row["application_name"] == "worker")
    server = daemon.show("servers")[0]
    assert worker["link"] == server["ptr"] and server["link"] == worker["ptr"]
    assert (worker["addr"], worker["local_addr"], worker["local_port"]) == ("127.0.0.1", "127.0.0.1", daemon.port)
    assert worker["port"] == busy.sock.getsockname()[1]
    queuer = next(row for row in rows if row["application_name"] == "queuer")
    assert queuer["link"] == "" and queuer["wait"] * 1_000_000 + queuer["wait_us"] > 0
    assert worker["wait"] == worker["wait_us"] == 0


def test_clients_over_the_unix_socket_show_their_process(daemon, wire):
    wire(daemon, host=daemon.socket_dir)
    row = daemon.show("clients", database="test")[0]
    assert row["addr"] == row["local_addr"] == "unix" and row["port"] == daemon.port
    assert row["remote_pid"] == os.getpid()


def test_servers_shows_where_and_what(daemon, wire, pg):
    client = begin(wire(daemon, application_name="here"))
    pid = int(client.run("SELECT pg_backend_pid()")[0][0])
    row = daemon.show("servers")[0]
    assert (row["type"], row["user"], row["database"], row["state"]) == ("S", "app", "test", "active")
    assert (row["addr"], row["port"], row["remote_pid"]) == (pg.host, pg.port, pid)
    assert row["application_name"] == "here" and row["close_needed"] == 0
    assert row["tls"].startswith("TLSv1.")
    client.run("COMMIT")
    row = daemon.show("servers")[0]
    assert (row["state"], row["link"], row["application_name"]) == ("idle", "", "")


def test_pools_counts_clients_and_servers(pgpoold, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=2)
    clients = [wire(daemon) for _ in range(5)]
    begin(clients[0])
    begin(clients[1])
    clients[2].send(query("SELECT 1"))
    row = eventually(lambda: daemon.show("pools", database="test", cl_waiting=1))[0]
    assert (row["user"], row["cl_active"], row["cl_waiting"]) == ("app", 4, 1)
    assert (row["sv_active"], row["sv_idle"], row["sv_used"], row["sv_login"], row["sv_tested"]) == (2, 0, 0, 0, 0)
    assert (row["size"], row["freesize"], row["pool_mode"]) == (2, 0, "transaction")
    assert row["maxwait"] * 1_000_000 + row["maxwait_us"] > 0
    for client in clients[:2]:
        client.run("ROLLBACK")
    clients[2].result()
    row = eventually(lambda: daemon.show("pools", database="test", sv_active=0))[0]
    assert (row["cl_active"], row["cl_waiting"], row["sv_idle"], row["size"], row["freesize"]) == (5, 0, 2, 2, 2)
    assert row["maxwait"] == row["maxwait_us"] == 0


def test_pools_has_the_console_as_a_pool(daemon, console):
    console(daemon)
    row = daemon.show("pools", database="pgbouncer")[0]
    assert (row["user"], row["cl_active"], row["pool_mode"]) == ("pgbouncer", 2, "statement")


def test_a_server_that_has_been_idle_for_the_check_delay_is_used(pgpoold, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", server_check_delay="0.2")
    wire(daemon).run("SELECT 1")
    eventually(lambda: daemon.show("servers", state="used"))
    row = daemon.show("pools", database="test")[0]
    assert (row["sv_used"], row["sv_idle"], row["freesize"]) == (1, 0, 1)


def test_a_cancel_is_over_when_it_was_read(pgpoold, wire, eventually):
    daemon = pgpoold(pool_mode="transaction")
    client = wire(daemon)
    client.send(query("SELECT pg_sleep(60)"))
    eventually(lambda: daemon.show("pools", database="test", sv_active=1))
    other = wire(daemon, login=False)
    other.send(cancel_request(client.pid, client.secret))
    assert client.result().errors[0].code == "57014"
    eventually(lambda: daemon.show("pools", database="test", cl_active_cancel_req=0, sv_active_cancel=0))


def test_databases_shows_the_entry_and_what_is_in_force(pgpoold, pg, wire):
    daemon = pgpoold(
        databases={"shop": f"host={pg.host},localhost port={pg.port} dbname=test user=app pool_size=3 min_pool_size=1 "
                           "reserve_pool_size=2 server_lifetime=77 pool_mode=transaction max_db_connections=9 "
                           "max_db_client_connections=8 load_balance_hosts=disable",
                   "plain": f"host={pg.host} port={pg.port}"},
        default_pool_size=11)
    wire(daemon, database="shop").run("SELECT 1")
    assert daemon.show("databases", name="shop") == [{
        "name": "shop", "host": f"{pg.host},localhost", "port": pg.port, "database": "test", "force_user": "app",
        "pool_size": 3, "min_pool_size": 1, "reserve_pool_size": 2, "server_lifetime": 77, "pool_mode": "transaction",
        "load_balance_hosts": "disable", "max_connections": 9, "current_connections": 1, "max_client_connections": 8,
        "current_client_connections": 1, "paused": 0, "disabled": 0, "reserve_pool": 2}]
    assert daemon.show("databases", name="plain") == [{
        "name": "plain", "host": pg.host, "port": pg.port, "database": "plain", "force_user": None, "pool_size": 11,
        "min_pool_size": 0, "reserve_pool_size": 0, "server_lifetime": 3600, "pool_mode": None,
        "load_balance_hosts": None, "max_connections": 0, "current_connections": 0, "max_client_connections": 0,
        "current_client_connections": 0, "paused": 0, "disabled": 0, "reserve_pool": 0}]
    assert daemon.show("databases", name="pgbouncer")[0]["force_user"] == "pgbouncer"
    assert daemon.show("pools", database="shop")[0]["load_balance_hosts"] == "disable"


def test_users_shows_own_limits_and_connections(pgpoold, wire):
    daemon = pgpoold(pool_mode="transaction", max_user_connections=50,
                     users={"app": "pool_size=4 reserve_pool_size=1 pool_mode=statement max_user_client_connections=6"})
    wire(daemon).run("SELECT 1")
    assert daemon.show("users", name="app") == [{
        "name": "app", "pool_size": "4", "reserve_pool_size": "1", "pool_mode": "statement", "max_user_connections": 50,
        "current_connections": 1, "max_user_client_connections": 6, "current_client_connections": 1}]
    names = [row["name"] for row in daemon.show("users")]
    assert len(names) == len(set(names)) and {"app", "admin", "stats", "scram_user", "pgbouncer"} <= set(names)
    users = next(row for row in daemon.show("lists") if row["list"] == "users")
    assert users["items"] == len(names)


def test_stats_count_a_known_workload(daemon, wire):
    client = wire(daemon)
    for _ in range(3):
        client.run("SELECT 1")
    client.run("BEGIN")
    client.run("SELECT 2")
    client.run("COMMIT")
    for _ in range(2):
        client.send(parse("", "SELECT 3"), bind(), execute(), sync())
        client.result()
    row = daemon.show("stats", database="test")[0]
    assert row["total_client_login_count"] == 1
    assert row["total_xact_count"] == 6
    assert row["total_query_count"] == 8
    assert row["total_bind_count"] == 2
    assert row["total_client_parse_count"] == 2
    assert row["total_server_assignment_count"] >= 6
    assert row["total_received"] > 100 and row["total_sent"] > 100
    assert row["total_xact_time"] >= row["total_query_time"] > 0
    half = daemon.show("stats_totals", database="test")[0]
    assert half["xact_count"] == 6 and half["bytes_received"] == row["total_received"]
    totals = {r["name"]: r["value"] for r in daemon.show("totals")}
    assert totals["total_xact_count"] == 6 and totals["total_sent"] == row["total_sent"]


def test_averages_are_per_second_of_the_last_period(pgpoold, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", stats_period="0.5")
    client = wire(daemon)

    def seen():
        for _ in range(10):
            client.run("SELECT 1")
        return daemon.show("stats_averages", database="test")[0]["query_count"] > 0

    eventually(seen)
    row = daemon.show("stats", database="test")[0]
    assert row["avg_query_time"] > 0 or row["avg_query_count"] == 0


def test_config_shows_value_default_and_whether_it_may_change(pgpoold):
    daemon = pgpoold(default_pool_size=7)
    rows = {row["key"]: row for row in daemon.show("config")}
    assert rows["default_pool_size"] == {"key": "default_pool_size", "value": "7", "default": "20",
                                         "changeable": "yes"}
    assert rows["listen_port"]["changeable"] == "no" and rows["listen_port"]["value"] == str(daemon.port)
    assert list(rows) == sorted(rows)


def test_lists_count_what_is_there(daemon, wire):
    wire(daemon).run("SELECT 1")
    wire(daemon)
    waiting = wire(daemon, login=False)
    waiting.send(b"\0")  # the beginning of a StartupMessage
    waiting.expect_silence(0.1)
    lists = {row["list"]: row["items"] for row in daemon.show("lists")}
    assert (lists["used_clients"], lists["login_clients"], lists["used_servers"]) == (4, 1, 1)
    assert lists["pools"] == 2 and lists["databases"] == 2 and lists["peers"] == 0
    assert list(lists) == ["databases", "users", "peers", "pools", "peer_pools", "free_clients", "used_clients",
                           "login_clients", "free_servers", "used_servers", "dns_names", "dns_zones", "dns_queries",
                           "dns_pending"]
    waiting.close()


def test_mem_adds_up(daemon, wire):
    wire(daemon).run("SELECT 1")
    rows = daemon.show("mem")
    assert all(row["memtotal"] == row["size"] * row["used"] for row in rows)
    assert next(row for row in rows if row["name"] == "server_cache")["used"] == 1


def test_peers_are_shown(pgpoold):
    daemon = pgpoold(peer_id=1, peers={"1": "host=127.0.0.1 port=7001", "2": "host=127.0.0.1 port=7002 pool_size=5"})
    assert daemon.show("peers") == [{"peer_id": 1, "host": "127.0.0.1", "port": 7001, "pool_size": 20},
                                    {"peer_id": 2, "host": "127.0.0.1", "port": 7002, "pool_size": 5}]
    assert [row["peer_id"] for row in daemon.show("peer_pools")] == [1, 2]


def test_dns_hosts_shows_names_that_were_looked_up(pgpoold, pg, wire):
    daemon = pgpoold(databases={"test": f"host=localhost port={pg.port}"})
    wire(daemon).run("SELECT 1")
    row = daemon.show("dns_hosts")[0]
    assert row["hostname"] == "localhost" and "127.0.0.1" in row["addrs"]


@pytest.mark.parametrize("over", ["tcp", "unix"])
def test_fds_is_for_the_daemons_own_system_user(daemon, over):
    host = {"host": daemon.socket_dir} if over == "unix" else {}
    if over == "unix" and os.geteuid() == server_account().pw_uid:
        assert daemon.admin("SHOW FDS", **host)  # an admin by password, and the right system user
        return
    with pytest.raises(ServerError, match="42501: descriptors are handed to the daemon's own system user only"):
        daemon.admin("SHOW FDS", **host)


def test_active_sockets_leaves_out_who_does_nothing(daemon, wire):
    wire(daemon)
    begin(wire(daemon, application_name="busy"))
    names = [row["application_name"] for row in daemon.show("active_sockets") if row["database"] == "test"]
    assert names == ["busy", "busy"]
    assert len(daemon.show("sockets")) == 4


def test_names_that_are_no_utf8_do_not_break_a_console(daemon, wire):
    client = wire(daemon, login=False)
    client.send(startup({"user": "app", "database": b"t\xff"}))
    client.expect("E")
    with psycopg.connect(daemon.dsn("pgpoold", "admin"), autocommit=True) as conn:
        conn.execute("SHOW CLIENTS").fetchall()
        conn.execute("SHOW DATABASES").fetchall()


def test_a_show_of_many_clients_is_whole_while_others_come_and_go(pgpoold, wire):
    daemon = pgpoold(pool_mode="transaction", max_client_conn=2000)
    stay = [wire(daemon, application_name=f"stay{i}") for i in range(700)]
    go = [wire(daemon, application_name=f"go{i}") for i in range(50)]
    with daemon.console() as client:
        client.send(query("SHOW CLIENTS"))
        for one in go:
            one.close()
        names = [row[18] for row in client.result().rows]
    kept = [name for name in names if name.startswith("stay")]
    assert sorted(kept) == sorted(f"stay{i}" for i in range(700))
    assert len(set(names) - {""}) == len([n for n in names if n])
    assert stay[0].run("SELECT 1") == [("1",)]


def test_a_console_that_does_not_read_costs_little(pgpoold, wire):
    daemon = pgpoold(pool_mode="transaction", max_client_conn=1000)
    clients = [wire(daemon, application_name="x" * 60) for _ in range(300)]
    with daemon.console() as lazy:
        lazy.send(*[query("SHOW SOCKETS")] * 200)  # about 20 MB of answers
        assert clients[0].run("SELECT 1") == [("1",)]
        queued = max(row["send_remain"] for row in daemon.show("sockets"))
        assert queued < 2_000_000
        for _ in range(200):
            assert len(lazy.result().rows) >= 301


# --- PAUSE, RESUME ---

def test_pause_closes_idle_servers_and_answers_at_once(daemon, wire, pg):
    wire(daemon).run("SELECT 1")
    assert daemon.admin("PAUSE") == []
    assert daemon.show("servers") == []
    assert {row["key"]: row["value"] for row in daemon.show("state")} == {"active": "no", "paused": "yes",
                                                                          "suspended": "no"}
    daemon.admin("RESUME")
    assert daemon.show("state")[0] == {"key": "active", "value": "yes"}


def test_pause_waits_for_transactions_and_queries_wait_for_resume(daemon, wire, console):
    busy, other = begin(wire(daemon)), wire(daemon)
    client = console(daemon)
    client.send(query("PAUSE test"))
    client.expect_silence()
    other.send(query("SELECT 2"))
    other.expect_silence()
    assert daemon.show("databases", name="test")[0]["paused"] == 1
    busy.run("SELECT 1")  # its transaction goes on
    busy.run("COMMIT")
    assert client.result().tags == ["PAUSE"]
    other.expect_silence()
    assert daemon.show("servers") == []
    daemon.admin("RESUME test")
    assert other.result().rows == [("2",)]


def test_pause_tells_how_many_are_left(daemon, wire, console):
    busy = [begin(wire(daemon)) for _ in range(2)]
    client = console(daemon)
    client.send(query("PAUSE"))
    assert client.expect("N").text == "PAUSE waits for 2 connections"
    busy[0].run("COMMIT")
    assert client.expect("N").text == "PAUSE waits for 1 connection"
    busy[1].run("COMMIT")
    assert client.result().tags == ["PAUSE"]
    daemon.admin("RESUME")


def test_a_new_client_waits_while_paused(daemon, wire):
    daemon.admin("PAUSE")
    client = wire(daemon, login=False)
    client.send_startup("app", "test")
    client.expect_silence()
    daemon.admin("RESUME")
    client.read_until("Z")
    assert client.run("SELECT 1") == [("1",)]


def test_pause_of_one_database_leaves_the_others(daemon, wire):
    daemon.admin("PAUSE test2")
    assert wire(daemon).run("SELECT 1") == [("1",)]
    assert [row["name"] for row in daemon.show("databases", paused=1)] == ["test2"]
    daemon.admin("RESUME")


def test_session_mode_pause_waits_for_the_client_to_leave(pgpoold, wire, console):
    daemon = pgpoold(pool_mode="session")
    session = wire(daemon)
    session.run("SELECT 1")
    client = console(daemon)
    client.send(query("PAUSE"))
    client.expect_silence()
    session.goodbye()
    assert client.result().tags == ["PAUSE"]
    daemon.admin("RESUME")


def test_pause_waits_for_a_copy(daemon, wire, console):
    copier, client = wire(daemon), console(daemon)
    copier.run("DROP TABLE IF EXISTS paused_copy; CREATE TABLE paused_copy (a int)")
    copier.send(query("COPY paused_copy FROM STDIN"))
    copier.expect("G")
    client.send(query("PAUSE"))
    client.expect_silence(0.1)
    copier.send(copy_data("1\n"))
    client.expect_silence(0.1)
    copier.send(copy_done())
    assert copier.result().tags == ["COPY 1"]
    assert client.result().tags == ["PAUSE"]
    client.run("RESUME")
    assert copier.run("SELECT a FROM paused_copy") == [("1",)]


def test_pause_is_done_when_the_last_query_was_cancelled(daemon, wire, console, eventually):
    busy, client = wire(daemon), console(daemon)
    busy.send(query("SELECT pg_sleep(60)"))
    eventually(lambda: daemon.show("servers", state="active"))
    client.send(query("PAUSE"))
    client.expect_silence(0.1)
    wire(daemon, login=False).send(cancel_request(busy.pid, busy.secret))
    assert busy.result().errors[0].code == "57014"
    assert client.result().tags == ["PAUSE"]
    client.run("RESUME")


def test_pause_answers_when_a_client_in_a_transaction_leaves(daemon, wire, console):
    busy, client = begin(wire(daemon)), console(daemon)
    client.send(query("PAUSE"))
    client.expect_silence(0.1)
    busy.close()
    assert client.result().tags == ["PAUSE"]
    client.run("RESUME")


def test_several_consoles_wait_at_once_and_all_are_answered(daemon, wire, console):
    busy = begin(wire(daemon))
    first, second, third = console(daemon), console(daemon), console(daemon)
    first.send(query("PAUSE test"))
    second.send(query("PAUSE test"))
    third.send(query("WAIT_CLOSE"))
    assert third.result().tags == ["WAIT_CLOSE"]  # nothing is obsolete
    first.expect_silence()
    second.expect_silence()
    busy.run("COMMIT")
    assert first.result().tags == second.result().tags == ["PAUSE"]
    daemon.admin("RESUME")


def test_a_console_that_leaves_while_waiting_is_forgotten(daemon, wire, eventually):
    busy = begin(wire(daemon))
    leaver = daemon.console()
    leaver.send(query("PAUSE"))
    eventually(lambda: daemon.show("state")[1]["value"] == "yes")
    leaver.close()
    eventually(lambda: len(daemon.show("clients", database="pgbouncer")) == 1)
    busy.run("COMMIT")
    assert daemon.show("state")[1]["value"] == "yes"
    daemon.admin("RESUME")


def test_resume_ends_a_pause_that_still_waits(daemon, wire, console):
    busy = begin(wire(daemon))
    client = console(daemon)
    client.send(query("PAUSE"))
    client.expect_silence()
    daemon.admin("RESUME")
    assert client.result().errors[0].text == "PAUSE ended by RESUME"
    busy.run("COMMIT")


def test_commands_sent_while_one_waits_are_done_after_it(daemon, wire, console):
    busy = begin(wire(daemon))
    client = console(daemon)
    client.send(query("PAUSE"), query("SHOW VERSION"), query("RESUME"))
    client.expect_silence()
    busy.run("COMMIT")
    assert client.result().tags == ["PAUSE"]
    assert client.result().tags == ["SHOW"]
    assert client.result().tags == ["RESUME"]


def test_pause_twice_and_resume_without_pause_are_errors(daemon, console):
    client = console(daemon)
    assert error_of(client, "RESUME").text == "pooler is not paused/suspended"
    client.run("PAUSE")
    assert error_of(client, "PAUSE").text == "already suspended/paused"
    assert error_of(client, "SUSPEND").text == "already suspended/paused"
    client.run("RESUME")
    assert error_of(client, "RESUME test").text == "database test is not paused"


@pytest.mark.parametrize("command", ["PAUSE", "RESUME", "DISABLE", "ENABLE", "RECONNECT", "KILL", "WAIT_CLOSE"])
def test_an_unknown_database_is_an_error(pgpoold, pg, command):
    daemon = pgpoold(databases={"test": f"host={pg.host} port={pg.port}"})
    with pytest.raises(ServerError) as caught:
        daemon.admin(f"{command} nothere")
    assert caught.value.text == "no such database: nothere" and caught.value.code == "3D000"


def test_a_database_name_may_be_quoted(pgpoold, pg):
    daemon = pgpoold(databases={"My-db": f"host={pg.host} port={pg.port}"})
    daemon.admin('PAUSE "My-db"')
    assert daemon.show("databases", name="My-db")[0]["paused"] == 1
    daemon.admin("RESUME My-db")


# --- DISABLE, RECONNECT, KILL ---

def test_disable_refuses_new_clients_and_keeps_the_old(daemon, wire):
    old = wire(daemon)
    daemon.admin("DISABLE test")
    with pytest.raises(ServerError) as caught:
        wire(daemon)
    assert caught.value.text == 'database "test" is disabled'
    assert old.run("SELECT 1") == [("1",)]
    assert daemon.show("databases", name="test")[0]["disabled"] == 1
    daemon.admin("ENABLE test")
    assert wire(daemon).run("SELECT 1") == [("1",)]


def test_reconnect_replaces_servers_when_they_come_back(daemon, wire, console):
    busy, idle = begin(wire(daemon)), wire(daemon)
    begin(idle).run("COMMIT")
    before = {row["remote_pid"] for row in daemon.show("servers")}
    client = console(daemon)
    client.run("RECONNECT test")
    row = daemon.show("servers", state="active")[0]
    assert row["close_needed"] == 1
    client.send(query("WAIT_CLOSE test"))
    client.expect_silence()
    assert idle.run("SELECT 1") == [("1",)]  # over a new server connection
    busy.run("COMMIT")
    assert client.result().tags == ["WAIT_CLOSE"]
    assert not before & {row["remote_pid"] for row in daemon.show("servers")}


def test_kill_drops_everybody_and_pauses(daemon, wire, pg, eventually):
    busy, idle, elsewhere = begin(wire(daemon)), wire(daemon), wire(daemon, database="test2")
    daemon.admin("KILL test")
    for client in (busy, idle):
        assert client.expect("E").code == "57P01"
        client.expect_closed()
    assert elsewhere.run("SELECT 1") == [("1",)]
    assert daemon.show("servers", database="test") == []
    eventually(lambda: pg.n_connections("test") == 0)
    newcomer = wire(daemon)
    newcomer.send(query("SELECT 3"))
    newcomer.expect_silence()
    daemon.admin("RESUME test")
    assert newcomer.result().rows == [("3",)]


def test_kill_of_all_spares_the_console(daemon, wire, console):
    clients = [begin(wire(daemon)), begin(wire(daemon, database="test2"))]
    client = console(daemon)
    assert client.query("KILL").tags == ["KILL"]
    for victim in clients:
        victim.expect("E")
        victim.expect_closed()
    assert client.run("SHOW SERVERS") == []
    client.run("RESUME")


def test_kill_reaches_clients_in_the_queue(pgpoold, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1)
    begin(wire(daemon))
    queued = wire(daemon)
    queued.send(query("SELECT 1"))
    eventually(lambda: daemon.show("pools", database="test", cl_waiting=1))
    daemon.admin("KILL test")
    assert queued.expect("E").severity == "FATAL"
    queued.expect_closed()
    daemon.admin("RESUME")


def test_kill_client_closes_it_and_its_server(daemon, wire, pg, eventually):
    victim, other = begin(wire(daemon, application_name="victim")), wire(daemon)
    number = daemon.show("clients", application_name="victim")[0]["id"]
    daemon.admin(f"KILL_CLIENT {number}")
    assert victim.expect("E").code == "57P01"
    victim.expect_closed()
    assert other.run("SELECT 1") == [("1",)]
    assert daemon.show("clients", application_name="victim") == []


def test_kill_client_may_hit_its_own_console(daemon, console):
    client = console(daemon)
    number = daemon.show("clients", database="pgbouncer")[0]["id"]
    client.send(query(f"KILL_CLIENT {number}"), query("SHOW VERSION"))
    client.expect("E")
    client.expect_closed()


@pytest.mark.parametrize("number, text", [("999999", "client not found"), ("x", "invalid client pointer supplied"),
                                          ("-1", "invalid client pointer supplied"),
                                          ("99999999999999999999", "invalid client pointer supplied")])
def test_kill_client_of_nobody_is_an_error(daemon, console, number, text):
    assert error_of(console(daemon), f"KILL_CLIENT {number}").text == text


# --- SUSPEND ---

def test_suspend_stops_clients_between_requests_until_resume(daemon, wire, console):
    clients = [wire(daemon) for _ in range(3)]
    clients[0].run("SELECT 1")
    begin(clients[1])
    client = console(daemon)
    assert client.query("SUSPEND").tags == ["SUSPEND"]
    assert {row["key"]: row["value"] for row in daemon.show("state")}["suspended"] == "yes"
    for one in clients:
        one.send(query("SELECT 5"))
    for one in clients:
        one.expect_silence(0.1)
    client.run("RESUME")
    for one in clients:
        assert one.result().rows == [("5",)]
    clients[1].run("COMMIT")


def test_suspend_waits_for_a_running_query(daemon, wire, console):
    busy = wire(daemon)
    busy.send(query("SELECT pg_sleep(0.5)"))
    client = console(daemon)
    client.send(query("SUSPEND"))
    assert client.result().tags == ["SUSPEND"]
    assert busy.result().rows == [("",)]  # nothing would come before RESUME
    client.run("RESUME")


def test_suspend_drops_who_is_not_ready_in_time(pgpoold, wire, console):
    daemon = pgpoold(pool_mode="transaction", suspend_timeout="0.3")
    busy = wire(daemon)
    busy.send(query("SELECT pg_sleep(30)"))
    client = console(daemon)
    assert client.query("SUSPEND").tags == ["SUSPEND"]
    assert busy.expect("E").text == "suspend_timeout"
    busy.expect_closed()
    client.run("RESUME")


def test_who_connects_while_suspended_waits_and_a_new_console_may_resume(daemon, wire):
    wire(daemon).run("SELECT 1")
    daemon.admin("SUSPEND")
    clients = [wire(daemon, login=False), wire(daemon, login=False, host=daemon.socket_dir)]
    for client in clients:
        client.send_startup("app", "test")
        client.expect_silence(0.1)
    daemon.admin("RESUME")
    for client in clients:
        client.authenticate("app")
        assert client.run("SELECT 7") == [("7",)]


def test_who_leaves_while_suspended_is_gone_after_the_resume(daemon, wire):
    daemon.admin("SUSPEND")
    client = wire(daemon, login=False)
    client.send_startup("app", "test")
    client.expect_silence(0.1)
    client.close()
    daemon.admin("RESUME")
    eventually(lambda: daemon.show("lists", list="login_clients")[0]["items"] == 0)
    assert wire(daemon).run("SELECT 1") == [("1",)]


# --- SHUTDOWN ---

def test_shutdown_answers_and_ends(daemon, wire, console):
    client, user = console(daemon), wire(daemon)
    client.send(query("SHUTDOWN"))
    assert client.expect("C", "Z")[0].tag == "SHUTDOWN"
    assert user.expect("E").text == "pooler is shutting down"
    daemon.wait_exit()


def test_shutdown_wait_for_clients_is_answered_when_the_last_has_left(daemon, wire, console):
    user, client, other = wire(daemon), console(daemon), console(daemon)
    user.run("SELECT 1")
    client.send(query("SHUTDOWN WAIT_FOR_CLIENTS"))
    client.expect_silence(0.2)
    with pytest.raises(OSError):
        Client.connect(daemon.host, daemon.port)
    assert daemon.admin("SHOW VERSION", host=daemon.socket_dir)
    assert user.run("SELECT 2") == [("2",)]
    assert other.query("SUSPEND").errors[0].text == "pooler is shutting down"
    user.goodbye()
    messages = client.read_until("Z")
    assert messages[-2].tag == "SHUTDOWN"
    daemon.wait_exit()


def test_shutdown_wait_for_clients_lets_in_who_had_connected_before(pgpoold, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", auth_type="md5", tcp_defer_accept=0)
    silent, asked = wire(daemon, login=False), wire(daemon, login=False)
    asked.send_startup("app", "test")
    request = asked.expect("R")
    eventually(lambda: daemon.show("lists", list="login_clients", items=2))
    with daemon.console(host=daemon.socket_dir) as client:
        client.send(query("SHUTDOWN WAIT_FOR_CLIENTS"))
        assert client.expect("N").text == "SHUTDOWN waits for 2 connections"
        asked._answer(request, "app", PASSWORDS["app"])  # pylint: disable=protected-access
        asked.authenticate("app", PASSWORDS["app"])
        assert asked.run("SELECT 1") == [("1",)]
        late = wire(daemon, login=False, host=daemon.socket_dir)
        late.send_startup("app", "test")
        assert late.expect("E").text == "pooler is shutting down"
        asked.goodbye()
        silent.login(password=PASSWORDS["app"])
        assert silent.run("SELECT 2") == [("2",)]
        silent.goodbye()
        assert client.read_until("Z")[-2].tag == "SHUTDOWN"
    daemon.wait_exit()


def test_shutdown_wait_for_clients_ends_when_a_login_fails(pgpoold, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", client_login_timeout=1, tcp_defer_accept=0)
    silent = wire(daemon, login=False)
    eventually(lambda: daemon.show("lists", list="login_clients", items=1))
    with daemon.console(host=daemon.socket_dir) as client:
        client.send(query("SHUTDOWN WAIT_FOR_CLIENTS"))
        assert client.read_until("Z")[-2].tag == "SHUTDOWN"
    assert silent.expect("E").text == "client_login_timeout"
    daemon.wait_exit()


def test_shutdown_wait_for_servers_is_answered_when_transactions_are_over(daemon, wire, console):
    busy, idle, client = begin(wire(daemon)), wire(daemon), console(daemon)
    client.send(query("SHUTDOWN WAIT_FOR_SERVERS"))
    client.expect_silence(0.2)
    assert error_of_socket(daemon, "RESUME") == "pooler is shutting down"
    busy.run("COMMIT")
    assert client.read_until("Z")[-2].tag == "SHUTDOWN"
    assert idle.expect("E").text == "pooler is shutting down"
    daemon.wait_exit()


def error_of_socket(daemon, sql):
    """The error of a command given over the Unix socket."""
    with pytest.raises(ServerError) as caught:
        daemon.admin(sql, host=daemon.socket_dir)
    return caught.value.text


# --- SET, RELOAD ---

@pytest.mark.parametrize("sql", ["SET query_wait_timeout = 33", "set query_wait_timeout='33'",
                                 "SET query_wait_timeout TO 33;", "SET query_wait_timeout=33"])
def test_set_changes_an_option(daemon, console, sql):
    client = console(daemon)
    assert client.query(sql).tags == ["SET"]
    rows = dict(row[:2] for row in client.run("SHOW CONFIG"))
    assert rows["query_wait_timeout"] == "33"


def test_set_reaches_the_running_pools(daemon, wire, console):
    wire(daemon).run("SELECT 1")
    console(daemon).run("SET default_pool_size = 1")
    begin(wire(daemon))
    waiter = wire(daemon)
    waiter.send(query("SELECT 1"))
    waiter.expect_silence(0.2)
    assert daemon.show("databases", name="test")[0]["pool_size"] == 1


def test_set_of_a_text_with_blanks_and_of_nothing(daemon, console):
    client = console(daemon)
    client.run("SET server_check_query = 'select ''a b'''")
    assert dict(row[:2] for row in client.run("SHOW CONFIG"))["server_check_query"] == "select 'a b'"
    client.run("SET server_check_query = ''")
    assert dict(row[:2] for row in client.run("SHOW CONFIG"))["server_check_query"] == ""


@pytest.mark.parametrize("sql", ["SET listen_port = 1", "SET nonsense = 1", "SET default_pool_size = many",
                                 "SET pool_mode = sometimes"])
def test_a_wrong_set_changes_nothing(daemon, console, sql):
    client = console(daemon)
    before = client.run("SHOW CONFIG")
    assert error_of(client, sql).code == "22023"
    assert client.run("SHOW CONFIG") == before


def test_reload_takes_the_new_file(daemon):
    daemon.reload(options={"query_wait_timeout": 44})
    assert daemon.show("config", key="query_wait_timeout")[0]["value"] == "44"


def test_a_bad_reload_changes_nothing_and_names_the_place(daemon, console):
    daemon.change(options={"query_wait_timeout": 44, "pool_mode": "sometimes"})
    error = error_of(console(daemon), "RELOAD")
    assert error.text == "RELOAD failed, see logs for additional details"
    assert error.code == "F0000" and error.severity == "ERROR"
    assert "pgpoold.ini:" in error.detail and "pool_mode" in error.detail
    assert daemon.show("config", key="query_wait_timeout")[0]["value"] == "120"


# --- the extended protocol, drivers ---

def test_extended_protocol_describes_and_executes(daemon, console):
    client = console(daemon)
    client.send(parse("s", "SHOW LISTS"), describe("S", "s"), bind("p", "s"), describe("P", "p"), execute("p"),
                close("S", "s"), sync())
    messages = client.read_until("Z")
    assert "".join(m.kind for m in messages) == "1tT2T" + "D" * 14 + "C3Z"
    assert messages[-3].tag == "SHOW"


def test_extended_protocol_runs_commands_and_empty_statements(daemon, console):
    client = console(daemon)
    client.send(parse("", "PAUSE"), bind(), describe("P"), execute(), parse("", ""), bind(), execute(), sync())
    assert "".join(m.kind for m in client.read_until("Z")) == "12nC12IZ"
    client.run("RESUME")


def test_extended_protocol_gives_binary_values_when_asked(daemon, console):
    client = console(daemon)
    client.send(parse("", "SHOW TOTALS"), bind(result_formats=[1]), execute(), sync())
    rows = [m.values for m in client.read_until("Z") if m.kind == "D"]
    assert rows and rows[0][0] in ("total_server_assignment_count", b"total_server_assignment_count")


def test_an_execute_with_a_limit_suspends_the_portal(daemon, console):
    client = console(daemon)
    whole = client.run("SHOW LISTS")
    client.send(parse("", "SHOW LISTS"), bind("p"), execute("p", 5), execute("p", 5), execute("p", 5), execute("p", 5), sync())
    messages = client.read_until("Z")
    assert "".join(m.kind for m in messages) == "12" + "DDDDDs" * 2 + "DDDDC" + "C" + "Z"
    assert [m.values for m in messages if m.kind == "D"] == whole
    client.send(parse("", "SHOW LISTS"), bind("p"), execute("p", len(whole)), execute("p"), execute("p", 3), sync())
    assert "".join(m.kind for m in client.read_until("Z")) == "12" + "D" * len(whole) + "sCCZ"


def test_suspended_portals_are_independent_and_end_with_the_sync(daemon, console):
    client = console(daemon)
    client.send(parse("s", "SHOW CONFIG"), bind("a", "s"), bind("b", "s", result_formats=[1]), execute("a", 2), execute("b", 1),
                execute("a", 1), close("P", "a"), execute("b", 1), query("SHOW VERSION"), sync())
    kinds = "".join(m.kind for m in client.read_until("Z"))
    assert kinds == "122DDsDsDs3DsTDCZ" and client.expect("Z")
    client.send(execute("b"), sync())
    assert client.result().errors[0].code == "34000"
    client.send(parse("", "PAUSE"), bind(), execute("", 1), sync())  # no rows: a limit means nothing
    assert client.result().tags == ["PAUSE"]
    client.run("RESUME")


def test_after_an_error_everything_up_to_the_sync_is_skipped(daemon, console):
    client = console(daemon)
    client.send(parse("", "SELECT 1"), bind(), execute(), sync(), parse("", "SHOW VERSION"), bind(), execute(), sync())
    assert "".join(m.kind for m in client.read_until("Z")) == "EZ"
    assert "".join(m.kind for m in client.read_until("Z")) == "12DCZ"


@pytest.mark.parametrize("messages, code", [
    ([parse("", "SHOW $1")], "42601"),
    ([parse("", "SHOW VERSION", [23])], "0A000"),
    ([parse("", "SHOW VERSION"), bind(values=["1"])], "0A000"),
    ([bind("", "nothere")], "26000"),
    ([execute("nothere")], "34000"),
    ([describe("S", "nothere")], "26000"),
    ([describe("P", "nothere")], "34000"),
    ([parse("s", "SHOW VERSION"), parse("s", "SHOW VERSION")], "42P05"),
    ([parse("", "SHOW VERSION"), bind(result_formats=[0, 0])], "08P01"),
    ([parse("", "SHOW VERSION"), bind(result_formats=[2])], "08P01"),
    ([msg("P", b"s\0SHOW VERSION\0")], "08P01"),
    ([parse(f"s{i}", "SHOW VERSION") for i in range(65)], "54000"),
])
def test_extended_errors(daemon, console, messages, code):
    client = console(daemon)
    client.send(*messages, sync())
    errors = [m for m in client.read_until("Z") if m.kind == "E"]
    assert [m.code for m in errors] == [code]
    assert client.run("SHOW VERSION")


@pytest.mark.parametrize("data", [raw("Q", 5, b"x"), raw("Q", 100_000, b"x" * 99_996), raw("z", 4), raw("F", 20, b"\0" * 16),
                                  raw("Q", 3)])
def test_a_malformed_message_ends_that_console_only(daemon, console, data):
    client, other = console(daemon), console(daemon)
    client.send(data)
    assert client.expect("E").severity == "FATAL"
    client.expect_closed()
    assert other.run("SHOW VERSION")


def test_too_much_waiting_input_ends_the_console(daemon, wire, console):
    busy, client = begin(wire(daemon)), console(daemon)
    client.send(query("PAUSE"))
    with contextlib.suppress(OSError, Closed):
        for _ in range(40):
            client.send(query("SHOW VERSION" + " " * 8000))
    daemon.wait_log("more than 128 KiB of messages wait for the console")
    busy.run("COMMIT")  # not before: it ends the waiting, and what has come by then is answered
    daemon.admin("RESUME")


def test_a_console_over_tls(pgpoold, certs, wire):
    daemon = pgpoold(client_tls_sslmode="allow", client_tls_key_file=certs.server_key, client_tls_cert_file=certs.server,
                     max_client_conn=500)
    clients = [wire(daemon, application_name="x" * 50) for _ in range(300)]
    with psycopg.connect(daemon.dsn("pgbouncer", "admin", sslmode="require"), autocommit=True) as conn:
        rows = conn.execute("SHOW SOCKETS").fetchall()
        assert len(rows) >= len(clients) + 1
        own = [row for row in conn.execute("SHOW CLIENTS").fetchall() if row[2] == "pgbouncer"]
        assert own[0][17].startswith("TLSv1.")


def test_psql(daemon):
    def psql(*args):
        return subprocess.run([find_bindir() / "psql", "-X", "-A", "-t", "-d", daemon.dsn("pgbouncer", "admin"), *args],
                              capture_output=True, text=True, timeout=30, check=False)
    assert psql("-c", "SHOW VERSION;").stdout.startswith("pgpoold")
    assert "Console usage" in psql("-c", "show help").stderr
    assert psql("-c", "PAUSE", "-c", "RESUME").stdout == "PAUSE\nRESUME\n"
    failed = psql("-c", "SELECT 1")
    assert failed.returncode == 1 and "unsupported command" in failed.stderr


@pytest.mark.parametrize("name", ["pgbouncer", "pgpoold"])
def test_psycopg(daemon, name):
    with psycopg.connect(daemon.dsn(name, "admin"), autocommit=True) as conn:
        cursor = conn.execute("SHOW POOLS")
        assert cursor.description[0].name == "database" and cursor.fetchall()[0][2] == 1
        with pytest.raises(psycopg.errors.SyntaxError):
            conn.execute("SELECT 1")
        assert conn.execute("SHOW TOTALS", prepare=True).fetchall()
        with pytest.raises(psycopg.Error):
            conn.execute("SHOW %s", ("POOLS",))
        binary = conn.cursor(binary=True)
        assert dict(binary.execute("SHOW LISTS").fetchall())["pools"] == 1


def test_prometheus_exporter_of_debian(daemon, wire, eventually):
    wire(daemon).run("SELECT 1")
    port = Port()
    exporter = subprocess.Popen(
        ["/usr/bin/prometheus-pgbouncer-exporter", "--host", "127.0.0.1", "--port", str(port.number),
         "--pgbouncer-host", daemon.host, "--pgbouncer-port", str(daemon.port), "--pgbouncer-user", "stats"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        def scrape():
            with urllib.request.urlopen(f"http://127.0.0.1:{port.number}/metrics", timeout=5) as answer:
                return answer.read().decode()
        text = eventually(scrape)
        assert 'pgbouncer_requests_total{database="test"} 1.0' in text
        assert 'pgbouncer_active_clients{database="test",user="app"} 1.0' in text
        assert 'pgbouncer_pool_size{database="test"} 20.0' in text
        assert "pgbouncer_used_servers 1.0" in text
    finally:
        exporter.terminate()
        exporter.wait()
        port.close()


def test_psycopg2(daemon):
    conn = psycopg2.connect(daemon.dsn("pgbouncer", "admin"))
    conn.autocommit = True
    with conn.cursor() as cursor:
        cursor.execute("SHOW DATABASES")
        assert cursor.fetchall()[-1][0] == "pgbouncer"
        cursor.execute("PAUSE")
        cursor.execute("RESUME")
    conn.close()


def test_asyncpg(daemon):
    async def use():
        conn = await asyncpg.connect(host=daemon.host, port=daemon.port, user="admin", database="pgbouncer")
        rows = await conn.fetch("SHOW LISTS")
        assert {row["list"]: row["items"] for row in rows}["pools"] == 1
        totals = await conn.fetch("SHOW TOTALS")
        assert all(int(row["value"]) >= 0 for row in totals)
        assert await conn.fetchval("SHOW VERSION")
        assert await conn.execute("PAUSE") == "PAUSE"
        assert await conn.execute("RESUME") == "RESUME"
        await conn.close()
    asyncio.run(use())


def test_numbers_are_right_in_binary_too(daemon, wire):
    async def use():
        conn = await asyncpg.connect(host=daemon.host, port=daemon.port, user="admin", database="pgbouncer")
        row = [r for r in await conn.fetch("SHOW STATS_TOTALS") if r["database"] == "test"][0]
        await conn.close()
        return row
    client = wire(daemon)
    for _ in range(300):
        client.run("SELECT repeat('x', 1000)")
    binary, text = asyncio.run(use()), daemon.show("stats_totals", database="test")[0]
    assert {k: v if k == "database" else int(v) for k, v in dict(binary).items()} == text
    assert text["bytes_sent"] > 300_000


@pytest.mark.parametrize("sql", ["SET extra_float_digits = 3", "SET application_name = 'JDBC'", "SET DateStyle TO ISO, MDY",
                                 "SHOW TRANSACTION ISOLATION LEVEL", "SHOW standard_conforming_strings"])
def test_what_drivers_say_at_the_beginning_is_accepted(daemon, console, sql):
    assert not console(daemon, user="stats").query(sql).errors


def test_the_login_reports_what_drivers_look_for(daemon, console):
    params = console(daemon).params
    assert params["server_encoding"] == params["client_encoding"] == "UTF8"
    assert params["standard_conforming_strings"] == "on" and params["server_version"].startswith("1.25")


def test_a_cancel_request_ends_the_wait_of_a_console(daemon, wire, console):
    busy, client = begin(wire(daemon)), console(daemon)
    client.send(query("PAUSE"))
    client.expect_silence(0.1)
    wire(daemon, login=False).send(cancel_request(client.pid, client.secret))
    assert client.result().errors[0].code == "57014"
    client.run("RESUME")
    busy.run("COMMIT")
