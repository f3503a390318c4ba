# SPDX-License-Identifier: ISC
"""SHOW: its columns, which are those of PgBouncer 1.25, and what each of them tells. To the byte: test_console_figures.py."""

import os
import socket
import subprocess

import pytest

from account import server_account
from sessions import begin
from wire import ServerError, bind, cancel_request, execute, parse, query, sync

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
    "DNS_HOSTS": "hostname ttl:l addrs",
    "DNS_ZONES": "zonename serial:l count:i",
}


def columns_of(text):
    kinds = {"": TEXT, "i": INT4, "l": INT8, "n": NUMERIC}
    return [(word.partition(":")[0], kinds[word.partition(":")[2]]) for word in text.split()]


@pytest.fixture
def daemon(pgpoold):
    return pgpoold(pool_mode="transaction")


# --- form ---

@pytest.mark.parametrize("what", COLUMNS)  # FDS: test_fds.py
def test_show_has_the_columns_of_pgbouncer(daemon, console, what):
    result = console(daemon).query(f"SHOW {what};")
    assert not result.errors
    assert [(name, oid) for name, oid, _ in result.columns] == columns_of(COLUMNS[what])
    assert result.tags == ["SHOW"] and result.status == "I"


@pytest.mark.parametrize("what", COLUMNS)
def test_a_stats_user_may_show(daemon, console, what):
    assert not console(daemon, user="stats").query(f"SHOW {what}").errors


def test_help_is_a_notice_that_names_every_command(daemon, console):
    result = console(daemon).query("SHOW HELP")
    assert result.tags == ["SHOW"] and len(result.notices) == 1 and "D" not in result.kinds
    for word in [*COLUMNS, "PAUSE", "RESUME", "SHUTDOWN", "KILL_CLIENT", "WAIT_CLOSE", "SET", "SUSPEND"]:
        assert word in result.notices[0].detail


# --- figures ---

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
    assert len(own) == 1 and own[0]["user"] == "admin" and own[0]["state"] == "idle"
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


def test_wait_is_how_long_a_request_has_been_under_way(daemon, wire, eventually):
    client = begin(wire(daemon))

    def wait_us():
        row = daemon.show("clients", database="test")[0]
        return row["wait"] * 1_000_000 + row["wait_us"]
    assert wait_us() == 0  # in a transaction, but nothing runs
    client.send(query("SELECT pg_sleep(1000)"))
    eventually(lambda: wait_us() > 20_000)
    before = wait_us()
    assert before < wait_us() < 60_000_000
    wire(daemon, login=False).send(cancel_request(client.pid, client.secret))
    client.result()
    assert wait_us() == 0


def test_sockets_say_of_which_kind_a_state_is(pgpoold, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1)
    wire(daemon)
    begin(wire(daemon))
    wire(daemon).send(query("SELECT 1"))
    eventually(lambda: daemon.show("pools", database="test")[0]["cl_waiting"] == 1)
    states = sorted(row["state"] for row in daemon.show("sockets"))
    assert states == ["cl_active", "cl_active", "cl_active", "cl_waiting", "sv_active"]  # no word for idle ones: one and the console
    assert "cl_waiting" in {row["state"] for row in daemon.show("active_sockets")}


def test_a_server_connection_that_is_being_opened_is_new(pgpoold, wire, eventually):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        daemon = pgpoold(pool_mode="transaction", databases={"test": f"host=127.0.0.1 port={silent.getsockname()[1]}"})
        client = wire(daemon, login=False)
        client.send_startup()
        row = eventually(lambda: daemon.show("servers"))[0]
        assert row["state"] == "new" and row["connect_time"] and row["request_time"] and row["remote_pid"] == 0
        assert sorted(r["state"] for r in daemon.show("sockets")) == ["cl_active", "cl_waiting", "sv_login"]
        assert daemon.show("pools", database="test", sv_login=1, cl_waiting=1)


def test_the_console_keeps_the_name_of_its_application(daemon, wire):
    client = wire(daemon, user="admin", database="pgbouncer", application_name="monitor")
    assert client.params["application_name"] == "monitor"
    assert client.run_dicts("SHOW CLIENTS")[0]["application_name"] == "monitor"


def test_config_is_null_where_pgbouncers_is(daemon, console):
    rows = {row[0]: row[1:3] for row in console(daemon).run("SHOW CONFIG")}
    unset = ["auth_dbname", "auth_ident_file", "auth_ldap_options", "auth_user", "user", "client_tls13_ciphers",
             "server_tls13_ciphers"]
    assert {name: rows[name] for name in unset} == dict.fromkeys(unset, (None, None))
    assert rows["auth_hba_file"] == rows["resolv_conf"] == rows["login_notify_message"] == ("", "")
    assert rows["verbose"] == ("0", None) and rows["conffile"][1] is None and rows["auth_file"][1] is None


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
    assert totals["total_xact_count"] == 6 and totals["total_server_bytes"] == row["total_sent"]


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
