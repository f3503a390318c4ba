# SPDX-License-Identifier: ISC
"""The figures of the console are exact: every column of SHOW STATS and its kin, POOLS, CLIENTS, SERVERS, LISTS,
DATABASES and USERS for a known workload, bytes to the byte, times within what the client itself measured."""

import contextlib
import time

import pytest

from wire import (Client, bind, close, copy_data, copy_done, describe, execute, function_call, parse,
                  query, startup, sync, terminate)

FIGURES = ("server_assignment_count xact_count query_count received sent xact_time query_time wait_time "
           "client_parse_count server_parse_count bind_count client_login_count").split()
# The same under the names of STATS_TOTALS and STATS_AVERAGES.
HALF_NAMES = {"received": "bytes_received", "sent": "bytes_sent"}
LAST_FOUR = FIGURES[-4:]


class Meter:
    """A client whose work is known: how many of each figure it must have caused, its bytes, its own clock."""

    def __init__(self, daemon, **how):
        self.daemon = daemon
        self.startup_bytes = len(startup({"user": "app", "database": "test", **how}))
        self.began = time.monotonic()
        self.client = Client.connect(daemon.host, daemon.port)
        self.client.login(**how)
        self.expected = dict.fromkeys(FIGURES, 0)
        self.expected["client_login_count"] = 1

    def does(self, *messages, answers=1, **counts):
        """Sends @messages, reads @answers times up to ReadyForQuery; @counts is what that is worth."""
        if messages:
            self.client.send(*messages)
        results = [self.client.result() for _ in range(answers)]
        for name, n in counts.items():
            self.expected[name] += n
        return results[0] if len(results) == 1 else results

    def leave(self):
        """Says goodbye and is gone: until then its last bytes may not have been counted."""
        self.client.send(terminate())
        self.client.expect_closed()
        self.expected["received"] += self.client.n_sent - self.startup_bytes
        self.expected["sent"] += self.client.n_received
        self.client.close()
        return self.expected


def plus(*all_expected):
    return {name: sum(e[name] for e in all_expected) for name in FIGURES}


def stats_of(daemon, database="test"):
    row = daemon.show("stats", database=database)[0]
    return {name: row[f"total_{name}"] for name in FIGURES}


TIMES = ("xact_time", "query_time", "wait_time")


def check(daemon, expected, began, database="test"):
    """Every total_* column; times are not more than there was time."""
    stats = stats_of(daemon, database)
    passed_us = (time.monotonic() - began) * 1_000_000
    assert {k: v for k, v in stats.items() if k not in TIMES} == {k: v for k, v in expected.items() if k not in TIMES}
    assert 0 <= stats["query_time"] <= stats["xact_time"] <= passed_us
    assert 0 <= stats["wait_time"] <= passed_us
    return stats


def one_query(n=1):
    return {"server_assignment_count": n, "xact_count": n, "query_count": n}


def test_every_figure_of_a_transaction_pool_is_exact(pgpoold):
    daemon = pgpoold(pool_mode="transaction")
    began = time.monotonic()
    one = Meter(daemon)
    one.expected["server_assignment_count"] += 1  # its login asked the first server what to welcome clients with
    for _ in range(5):
        one.does(query("SELECT repeat('x', 3000)"), **one_query())
    one.does(query("SELECT 1; SELECT 2"), **one_query())  # what one ReadyForQuery ends is one
    one.does(query("SELECT nothere"), **one_query())
    one.does(query(""), **one_query())
    one.does(query("BEGIN"), server_assignment_count=1, query_count=1)
    one.does(query("SELECT 1"), query_count=1)
    one.does(query("COMMIT"), query_count=1, xact_count=1)
    one.does(query("BEGIN"), server_assignment_count=1, query_count=1)
    one.does(query("SELECT nothere"), query_count=1)
    one.does(query("ROLLBACK"), query_count=1, xact_count=1)
    two = Meter(daemon)  # the welcome is known by now
    two.does(parse("", "SELECT $1::int"), bind(values=["1"]), execute(), sync(),
             client_parse_count=1, server_parse_count=1, bind_count=1, **one_query())
    two.does(parse("s", "SELECT $1::text"), describe("S", "s"), sync(),
             client_parse_count=1, server_parse_count=1, **one_query())
    for _ in range(3):
        two.does(bind("", "s", ["hello"]), execute(), sync(), bind_count=1, **one_query())
    two.does(*[bind("", "s", ["a"]), execute(), sync()] * 4, answers=4, bind_count=4, query_count=4, xact_count=4,
             server_assignment_count=1)  # a pipeline keeps its server
    two.does(parse("", "SELECT 1/0"), bind(), execute(), sync(),
             client_parse_count=1, server_parse_count=1, bind_count=1, **one_query())
    two.does(close("S", "s"), sync())  # needs no server
    two.does(sync())
    two.does(function_call(1598), **one_query())
    two.does(query("COPY (SELECT generate_series(1, 10000)) TO STDOUT"), **one_query())
    two.does(query("CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1 AS a WHERE false; COPY t FROM STDIN"), copy_data("1\n"),
             copy_done(), **one_query())
    check(daemon, plus(one.leave(), two.leave()), began)


def test_a_statement_that_a_server_lacks_is_parsed_again_and_counted(pgpoold):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=2)
    began = time.monotonic()
    one, two = Meter(daemon), Meter(daemon)
    one.expected["server_assignment_count"] += 1
    one.does(parse("s", "SELECT 1 AS a"), sync(), client_parse_count=1, server_parse_count=1, **one_query())
    two.does(query("BEGIN"), server_assignment_count=1, query_count=1)  # has the one that knows it
    one.does(bind("", "s"), execute(), sync(), bind_count=1, server_parse_count=1, **one_query())
    two.does(query("COMMIT"), query_count=1, xact_count=1)
    check(daemon, plus(one.leave(), two.leave()), began)


def test_every_figure_of_a_session_pool_is_exact(pgpoold):
    daemon = pgpoold(pool_mode="session")
    began = time.monotonic()
    one = Meter(daemon)
    one.expected["server_assignment_count"] += 1
    one.does(query("SELECT 1"), **one_query())
    one.does(query("SELECT 2"), query_count=1, xact_count=1)
    one.does(query("BEGIN"), query_count=1)
    one.does(query("COMMIT"), query_count=1, xact_count=1)
    one.does(parse("s", "SELECT 1"), bind("", "s"), execute(), sync(), client_parse_count=1, server_parse_count=1, bind_count=1,
             query_count=1, xact_count=1)
    check(daemon, one.leave(), began)


def test_every_figure_of_a_statement_pool_is_exact(pgpoold):
    daemon = pgpoold(pool_mode="statement")
    began = time.monotonic()
    one = Meter(daemon)
    one.expected["server_assignment_count"] += 1
    for _ in range(3):
        one.does(query("SELECT 1"), **one_query())
    one.does(parse("", "SELECT 1"), bind(), execute(), sync(), client_parse_count=1, server_parse_count=1, bind_count=1, **one_query())
    check(daemon, one.leave(), began)


def test_times_are_what_the_clients_measured(pgpoold, wire, eventually):
    """One holds the only server for a transaction with a known sleep in it, another waits for it meanwhile."""
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1)
    began = time.monotonic()
    one, two = wire(daemon), wire(daemon)
    one.run("BEGIN")
    two.send(query("SELECT 1"))
    eventually(lambda: daemon.show("pools", database="test", cl_waiting=1))
    one.run("SELECT pg_sleep(0.2)")
    one.run("COMMIT")
    two.result()
    passed_us = (time.monotonic() - began) * 1_000_000
    stats = stats_of(daemon)
    assert 200_000 <= stats["query_time"] <= stats["xact_time"] <= 2 * passed_us
    assert 200_000 <= stats["wait_time"] <= passed_us  # it waited during the whole sleep, in sight of SHOW POOLS


def test_what_pgpoold_says_itself_is_counted_as_well(pgpoold, wire):
    """Welcome, notices, errors, notifications, ReadyForQuery without a server: all of them are bytes to a client."""
    daemon = pgpoold(pool_mode="transaction", login_notify_message="hello", options={"client_idle_timeout": 0})
    listener, other = wire(daemon), wire(daemon)
    listener.run("LISTEN c")
    other.run("NOTIFY c, 'x'")
    assert listener.expect("A").payload == "x"
    victim = wire(daemon)
    before = stats_of(daemon)
    number = max(row["id"] for row in daemon.show("clients", database="test"))
    daemon.admin(f"KILL_CLIENT {number}")
    assert victim.expect("E").code == "57P01"
    assert stats_of(daemon)["sent"] - before["sent"] == victim.n_received - sum(len(m.bytes) for m in victim.login_messages)
    assert stats_of(daemon)["sent"] == sum(c.n_received for c in (listener, other, victim))


def test_bytes_are_counted_before_tls(pgpoold, certs, wire):
    daemon = pgpoold(pool_mode="transaction", client_tls_sslmode="allow", client_tls_key_file=certs.server_key,
                     client_tls_cert_file=certs.server)
    client = wire(daemon, login=False)
    assert client.ask_tls() == "S"
    client.start_tls()
    client.login()
    n = client.n_sent
    client.run("SELECT repeat('x', 100000)")
    stats = stats_of(daemon)
    assert stats["received"] == client.n_sent - n and stats["sent"] == client.n_received - 1  # the S


def rows_of(daemon, what):
    return {row["database"]: row for row in daemon.show(what)}


def test_the_cuts_of_the_figures_agree(pgpoold, wire):
    daemon = pgpoold(pool_mode="transaction")
    for database in ("test", "test2"):
        client = wire(daemon, database=database)
        client.run("SELECT 1")
        client.send(parse("s", "SELECT 1"), bind("", "s"), execute(), sync())
        client.result()
    stats, totals, averages = (rows_of(daemon, what) for what in ("STATS", "STATS_TOTALS", "STATS_AVERAGES"))
    assert set(stats) == set(totals) == set(averages) == {"test", "test2", "pgbouncer"}
    for database in ("test", "test2"):
        row = stats[database]
        assert row["total_requests"] == row["total_query_count"] == 2
        for name in FIGURES:
            half = HALF_NAMES.get(name, name)
            assert totals[database][half] == row[f"total_{name}"], name
            average = f"avg_{name}" if name in LAST_FOUR else half
            assert averages[database][average] == row["avg_recv" if name == "received" else f"avg_{name}"], name


def test_totals_are_the_sums_of_the_rows_without_the_console(pgpoold, wire):
    daemon = pgpoold(pool_mode="transaction")
    for database in ("test", "test2", "test2"):
        wire(daemon, database=database).run("SELECT 1")
    rows = [row for row in daemon.show("stats") if row["database"] != "pgbouncer"]
    totals = daemon.show("totals")
    other = {"received": "client_bytes", "sent": "server_bytes", "client_parse_count": "ps_client_parse_count",
             "server_parse_count": "ps_server_parse_count", "bind_count": "ps_bind_count"}  # as PgBouncer calls them here
    names = [other.get(name, name) for name in FIGURES]
    assert [row["name"] for row in totals] == [f"total_{name}" for name in names] + [f"avg_{name}" for name in names]
    assert [row["value"] for row in totals[:len(FIGURES)]] == [sum(row[f"total_{name}"] for row in rows) for name in FIGURES]


def test_the_console_is_a_database_of_its_own_with_exact_figures(pgpoold):
    daemon = pgpoold(pool_mode="transaction")
    with daemon.console() as first:
        before = {r["database"]: r for r in first.run_dicts("SHOW STATS")}["pgbouncer"]
        with daemon.console() as second:
            second.run("SHOW VERSION")
            second.query("nonsense")
            second.send(parse("", "SHOW VERSION"), bind(), execute(), sync())
            second.result()
            second.send(sync())  # nothing was asked
            second.result()
        answered = first.n_received
        after = {r["database"]: r for r in first.run_dicts("SHOW STATS")}["pgbouncer"]
        sent = second.n_sent - len(startup({"user": "admin", "database": "pgpoold"}))
        assert after["total_query_count"] - before["total_query_count"] == 3 + 1  # and the first SHOW STATS
        assert after["total_xact_count"] == after["total_query_count"]
        assert after["total_client_login_count"] - before["total_client_login_count"] == 1
        assert after["total_received"] - before["total_received"] == sent + len(query("SHOW STATS"))
        assert after["total_sent"] == answered + second.n_received
        assert after["total_server_assignment_count"] == after["total_wait_time"] == 0


class Known:
    """Two server connections of test are held, one client waits, one is idle; test2 has a listener; two admins look on."""

    def __init__(self, pgpoold, wire, eventually):
        self.began = time.time()
        self.daemon = pgpoold(pool_mode="transaction", default_pool_size=2, listen_backlog=33)
        self.idle = wire(self.daemon, application_name="idle")
        self.idle.send(parse("one", "SELECT 1"), parse("two", "SELECT 2"), sync())
        self.idle.result()
        self.first, self.second = (wire(self.daemon, application_name=name) for name in ("first", "second"))
        for client in (self.first, self.second):
            client.run("BEGIN")
        self.pids = [int(client.run("SELECT pg_backend_pid()")[0][0]) for client in (self.first, self.second)]
        self.queued = wire(self.daemon, application_name="queued")
        self.queued.send(query("SELECT 1"))
        self.listener = wire(self.daemon, database="test2", application_name="listener")
        self.listener.run("LISTEN a; LISTEN b")
        self.look = self.daemon.console()
        self.other = self.daemon.console(user="stats")
        # The connection that ran LISTEN is cleaned after its client has had its answer.
        eventually(lambda: [(row["cl_waiting"], row["sv_idle"]) for row in self.show("POOLS")] == [(0, 0), (1, 0), (0, 1)])

    def show(self, what):
        return self.look.run_dicts(f"SHOW {what}")

    def close(self):
        self.look.close()
        self.other.close()


@pytest.fixture
def known(pgpoold, wire, eventually):
    with contextlib.closing(Known(pgpoold, wire, eventually)) as it:
        yield it


POOL = {"cl_active_cancel_req": 0, "cl_waiting_cancel_req": 0, "sv_active": 0, "sv_active_cancel": 0, "sv_being_canceled": 0,
        "sv_used": 0, "sv_idle": 0, "sv_tested": 0, "sv_login": 0, "load_balance_hosts": None}


def test_every_column_of_show_pools(known):
    console, test, test2 = known.show("POOLS")
    waited_us = test.pop("maxwait") * 1_000_000 + test.pop("maxwait_us")
    assert 0 < waited_us < (time.time() - known.began) * 1_000_000
    assert test == {**POOL, "database": "test", "user": "app", "cl_active": 3, "cl_waiting": 1, "sv_active": 2,
                    "pool_mode": "transaction", "size": 2, "freesize": 0}
    # The connection that listens for clients is in no figure of a pool.
    assert test2 == {**POOL, "database": "test2", "user": "app", "cl_active": 1, "cl_waiting": 0, "sv_idle": 1, "maxwait": 0,
                     "maxwait_us": 0, "pool_mode": "transaction", "size": 1, "freesize": 1}
    assert console == {**POOL, "database": "pgbouncer", "user": "pgbouncer", "cl_active": 2, "cl_waiting": 0, "maxwait": 0,
                       "maxwait_us": 0, "pool_mode": "statement", "size": 0, "freesize": 0}


def moment(text):
    return time.mktime(time.strptime(text.rsplit(" ", 1)[0], "%Y-%m-%d %H:%M:%S"))


def take(row, *names):
    return [row.pop(name) for name in names]


def test_every_column_of_show_clients(known):
    rows = known.show("CLIENTS")
    servers = {row["remote_pid"]: row["ptr"] for row in known.show("SERVERS")}
    same = {"type": "C", "replication": "none", "addr": "127.0.0.1", "local_addr": "127.0.0.1", "local_port": known.daemon.port,
            "close_needed": 0, "remote_pid": 0, "tls": ""}
    assert len({row["ptr"] for row in rows}) == len({row["id"] for row in rows}) == 7
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    for row in rows:
        assert known.began - 1 <= moment(row.pop("connect_time")) <= moment(row.pop("request_time")) <= time.time()
        row.pop("id")
        assert int(row.pop("ptr"), 16) > 0
        waited_us = row.pop("wait") * 1_000_000 + row.pop("wait_us")
        assert (waited_us > 0) == (row["state"] == "waiting")

    def expected(client, database, state, name, **more):
        return {**same, "user": "app", "database": database, "state": state, "port": client.sock.getsockname()[1], "link": "",
                "application_name": name, "prepared_statements": 0, "subscriptions": 0, **more}
    assert rows == [
        expected(known.idle, "test", "idle", "idle", prepared_statements=2),
        expected(known.first, "test", "active", "first", link=servers[known.pids[0]]),
        expected(known.second, "test", "active", "second", link=servers[known.pids[1]]),
        expected(known.queued, "test", "waiting", "queued"),
        expected(known.listener, "test2", "idle", "listener", subscriptions=2),
        expected(known.look, "pgbouncer", "idle", "", user="admin"),
        expected(known.other, "pgbouncer", "idle", "", user="stats")]


def test_every_column_of_show_servers(known, pg):
    rows = known.show("SERVERS")
    clients = {row["application_name"]: row["ptr"] for row in known.show("CLIENTS")}
    same = {"type": "S", "user": "app", "replication": "none", "addr": pg.host, "port": pg.port, "local_addr": "127.0.0.1", "wait": 0,
            "wait_us": 0, "close_needed": 0, "link": "", "application_name": "", "prepared_statements": 0}
    ports = {(row["pid"], row["client_port"]) for row in pg.activity(user="app")}
    assert {(row["remote_pid"], row["local_port"]) for row in rows} == ports
    assert len({row["id"] for row in [*rows, *known.show("CLIENTS")]}) == 4 + 7  # one counter for both
    for row in rows:
        assert known.began - 1 <= moment(row.pop("connect_time")) <= moment(row.pop("request_time")) <= time.time()
        assert row.pop("tls").startswith("TLSv1.")
        assert int(take(row, "ptr", "id", "local_port")[0], 16) > 0
    # The statements of idle were parsed on the connection that first has now.
    assert [row.pop("remote_pid") for row in rows[:2]] == known.pids
    rows[2].pop("remote_pid"), rows[3].pop("remote_pid")
    assert rows == [
        {**same, "database": "test", "state": "active", "link": clients["first"], "application_name": "first",
         "prepared_statements": 2},
        {**same, "database": "test", "state": "active", "link": clients["second"], "application_name": "second"},
        {**same, "database": "test2", "state": "idle"},
        {**same, "database": "test2", "state": "hub"}]


def test_every_figure_of_show_lists_databases_and_users(known):
    lists = {row["list"]: row["items"] for row in known.show("LISTS")}
    users = known.show("USERS")
    assert lists == {"databases": 3, "users": len(users), "peers": 0, "pools": 3, "peer_pools": 0, "free_clients": 0,
                     "used_clients": 7, "login_clients": 0, "free_servers": 0, "used_servers": 4, "dns_names": 0, "dns_zones": 0,
                     "dns_queries": 0, "dns_pending": 0}
    counted = {row["name"]: (row["current_connections"], row["current_client_connections"]) for row in known.show("DATABASES")}
    assert counted == {"pgbouncer": (0, 2), "test": (2, 4), "test2": (2, 1)}
    assert {row["name"]: (row["current_connections"], row["current_client_connections"]) for row in users
            if row["current_client_connections"]} == {"app": (4, 5), "admin": (0, 1), "stats": (0, 1)}
