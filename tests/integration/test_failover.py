# SPDX-License-Identifier: ISC
"""target_session_attrs: which of a database's hosts will do, and what happens when that changes. A real primary and a
real standby; scripted servers for what those two cannot be made to say."""

import contextlib
import os
import threading

import psycopg
import pytest

from cluster import Cluster, Standby
from conftest import BASE_ENV
from fake_pg import answer, command_complete, data_row, error, parameter_status, ready, row_description
from test_dns import FakeDns


@pytest.fixture
def primary(worker_dir):
    cluster = Cluster(os.environ[BASE_ENV], worker_dir / "primary")
    yield cluster
    cluster.close()


@pytest.fixture
def standby(primary, worker_dir):
    cluster = Standby(primary, worker_dir / "standby")
    yield cluster
    cluster.close()


def hosts(*servers, **more):
    """A [databases] value for these servers, in this order."""
    words = " ".join(f"{name}={value}" for name, value in more.items())
    return f"host={','.join(s.host for s in servers)} port={','.join(str(s.port) for s in servers)} {words}".strip()


def port_of(conn):
    return conn.execute("SELECT current_setting('port')::int").fetchone()[0]


def test_each_word_finds_its_server(pgpoold, primary, standby):
    """Whichever host is listed first, and whether they take turns or not."""
    wanted = {"read-write": primary, "primary": primary, "standby": standby, "read-only": standby,
              "prefer-standby": standby}
    databases = {}
    for word in wanted:
        for turns in ("disable", "round-robin"):
            for order, servers in (("ps", (primary, standby)), ("sp", (standby, primary))):
                databases[f"{word}_{turns}_{order}"] = hosts(
                    *servers, dbname="test", target_session_attrs=word, load_balance_hosts=turns)
    daemon = pgpoold(databases=databases)
    for name in databases:
        with contextlib.ExitStack() as stack:
            conns = [stack.enter_context(daemon.connect(name, autocommit=False)) for _ in range(2)]
            assert {port_of(conn) for conn in conns} == {wanted[name.split("_")[0]].port}, name
            assert {row["port"] for row in daemon.show("servers", database=name)} == {wanted[name.split("_")[0]].port}


def test_without_the_word_any_server_will_do(pgpoold, primary, standby):
    daemon = pgpoold(databases={"test": hosts(standby, primary, load_balance_hosts="disable"),
                                "any": hosts(standby, primary, load_balance_hosts="disable", dbname="test",
                                             target_session_attrs="any")})
    for name in ("test", "any"):
        with daemon.connect(name) as conn:
            assert port_of(conn) == standby.port


def test_prefer_standby_takes_the_primary_when_there_is_no_standby(pgpoold, primary, other_pg):
    other_pg.stop()
    daemon = pgpoold(databases={"test": hosts(other_pg, primary, target_session_attrs="prefer-standby")})
    with daemon.connect("test") as conn:
        assert port_of(conn) == primary.port


@pytest.mark.parametrize("word, text", [
    ("standby", "it is not in hot standby mode"), ("read-only", "its sessions are not read-only")])
def test_no_host_fits(pgpoold, wire, pg, word, text):
    """A login hears which host was no use, and why; and the servers' log holds no line of a broken connection."""
    daemon = pgpoold(databases={"test": hosts(pg, pg, target_session_attrs=word)})
    client = wire(daemon, login=False)
    client.send_startup(user="app", database="test")
    refusal = [m for m in client.expect_closed() if m.kind == "E"][0]
    assert (refusal.code, refusal.text) == \
        ("08001", f"server connection failed: {pg.host}: target_session_attrs={word}, but {text}")
    assert daemon.show("servers", database="test") == []
    daemon.wait_log(f"connect failed, trying the next host: .*target_session_attrs={word}")


def test_the_addresses_of_one_name_may_be_several_servers(pgpoold, pg, fake_pg):
    """The standby at the first address is left for the primary at the second, under one name and port."""
    standby = fake_pg(params={"in_hot_standby": "on"}, address=("127.0.0.9", pg.port))
    with FakeDns(pg.home, ["127.0.0.9", "127.0.0.1"]) as dns:
        daemon = pgpoold(databases={"test": f"host={dns.name} port={pg.port} target_session_attrs=primary"},
                         resolv_conf=dns.resolv_conf)
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                stack.enter_context(daemon.connect("test", autocommit=False)).execute("SELECT 1")
            assert {row["addr"] for row in daemon.show("servers", database="test")} == {"127.0.0.1"}
    assert standby.connections


# What changes while we are connected

def test_a_server_that_becomes_read_only_is_left_when_its_transaction_ends(pgpoold, primary, other_pg, eventually):
    """PostgreSQL tells a session with the answer to its next query: that transaction ends where it is."""
    daemon = pgpoold(pool_mode="transaction", databases={
        "test": hosts(primary, other_pg, target_session_attrs="read-write", load_balance_hosts="disable")})
    with daemon.connect("test") as conn:
        with conn.transaction():
            assert port_of(conn) == primary.port
            primary.psql("ALTER SYSTEM SET default_transaction_read_only = on")
            primary.reload()
            eventually(lambda: conn.execute("SHOW default_transaction_read_only").fetchone() == ("on",))
            assert port_of(conn) == primary.port
        assert port_of(conn) == other_pg.port
    daemon.wait_log("target_session_attrs=read-write, but its sessions are read-only now")


def test_a_session_may_make_itself_read_only(pgpoold, pg):
    """That is the client's business, not the server's; and with server_fast_close its connection stays."""
    daemon = pgpoold(pool_mode="session", server_fast_close=1,
                     databases={"test": hosts(pg, target_session_attrs="read-write")})
    with daemon.connect("test") as conn:
        pid = conn.execute("SELECT pg_backend_pid()").fetchone()
        conn.execute("SET default_transaction_read_only = on")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            conn.execute("CREATE TABLE never (a int)")
        assert conn.execute("SELECT pg_backend_pid()").fetchone() == pid
    with daemon.connect("test") as conn:
        assert conn.execute("SHOW default_transaction_read_only").fetchone() == ("off",)


def test_a_promoted_standby_is_left_by_those_who_want_a_standby(pgpoold, primary, standby, eventually):
    daemon = pgpoold(pool_mode="transaction", databases={"test": hosts(standby, target_session_attrs="standby")})
    with daemon.connect("test") as conn:
        assert port_of(conn) == standby.port
        standby.promote()
        assert port_of(conn) == standby.port  # with this answer it tells
        eventually(lambda: daemon.show("servers", database="test") == [], "it is no standby any more")
    daemon.wait_log("target_session_attrs=standby, but it is not in hot standby mode now")


class Writers:
    """Clients that insert one row after the other until stop(); a row that was acknowledged is in .done, an error that
    a client saw in .errors. A lost connection is opened anew, as any application would."""

    def __init__(self, daemon, n):
        self.daemon = daemon
        self.done = set()
        self.errors = []
        self.since = {}
        self.epoch = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(i,)) for i in range(n)]

    def _work(self, number):
        row = 0
        conn = None
        while not self._stop.is_set():
            try:
                conn = conn or self.daemon.connect("test")
                conn.execute("INSERT INTO written VALUES (%s, %s)", (number, row))
            except psycopg.Error as problem:
                self.errors.append(problem)
                if conn is not None:
                    conn.close()
                conn = None
            else:
                self.done.add((number, row))
                self.since[number] = self.epoch
            row += 1
        if conn is not None:
            conn.close()

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def all_have_written_since(self, epoch):
        return len(self.since) == len(self._threads) and min(self.since.values()) >= epoch


@pytest.mark.seconds(400)
@pytest.mark.parametrize("turns", ["disable", "round-robin"])
def test_promotion_while_a_hundred_clients_write(pgpoold, primary, standby, eventually, turns):
    """The primary dies, the standby is promoted: nobody sees a read-only error, what was acknowledged is there, and
    everybody writes again."""
    primary.psql("CREATE TABLE written (client int, row int)", db="test", user="app")
    primary.psql("ALTER SYSTEM SET synchronous_commit = 'remote_apply'")
    primary.psql("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.reload()
    daemon = pgpoold(pool_mode="transaction", default_pool_size=10, databases={
        "test": hosts(primary, standby, target_session_attrs="read-write", load_balance_hosts=turns)})
    with Writers(daemon, 100) as writers:
        eventually(lambda: writers.all_have_written_since(0), "all write", timeout=60)
        primary.kill9()
        standby.psql("ALTER SYSTEM SET synchronous_standby_names = ''")
        standby.promote()
        writers.epoch = 1
        eventually(lambda: writers.all_have_written_since(1), "all write again", timeout=60)
    codes = {problem.sqlstate for problem in writers.errors}
    assert "25006" not in codes, codes
    assert codes <= {None, "57P01", "57P02", "57P03", "08006", "08001"}, (codes, writers.errors[:5])
    # Ten of them had a query under way; all others have queued.
    assert len(writers.errors) <= 10, writers.errors
    there = set(standby.psql("SELECT client, row FROM written", db="test"))
    assert writers.done <= there
    assert {row["port"] for row in daemon.show("servers", database="test")} == {standby.port}


def test_an_idle_server_that_tells_of_its_change_is_closed_at_once(pgpoold, fake_pg, eventually):
    """PostgreSQL waits for the next query with that; other servers need not."""
    told = threading.Event()

    def script(conn):
        conn.send(answer(conn.expect("Q")))
        told.wait(30)
        conn.send(parameter_status("in_hot_standby", "on"))
        conn.expect("X")

    server = fake_pg(script)
    daemon = pgpoold(pool_mode="transaction", databases={"test": hosts(server, target_session_attrs="primary")})
    daemon.psql("select 1")
    assert [row["state"] for row in daemon.show("servers", database="test")] == ["idle"]
    told.set()
    eventually(lambda: daemon.show("servers", database="test") == [], "it is closed")


# Servers that say it otherwise, or not at all

def old_server(fake_pg, is_standby):
    """Before PostgreSQL 14 in_hot_standby is not reported. It answers the question as such a server would."""
    def script(conn):
        while (message := conn.read(timeout=3600)).kind != "X":
            if message.kind == "Q" and "pg_is_in_recovery" in message.sql:
                asks_for_standby = "NOT " in message.sql
                row = row_description("x") + data_row("1") + command_complete("SELECT 1")
                conn.send(row if is_standby == asks_for_standby else error("22012", "division by zero"), ready())
            else:
                conn.send(answer(message))

    return fake_pg(script, params={"in_hot_standby": None, "default_transaction_read_only": None})


def queries(conn):
    return [m.sql for m in conn.received if m.kind == "Q"]


@pytest.mark.parametrize("word, wanted", [("primary", 0), ("read-write", 0), ("standby", 1), ("read-only", 1),
                                          ("prefer-standby", 1)])
def test_a_server_that_does_not_tell_is_asked(pgpoold, fake_pg, word, wanted):
    servers = [old_server(fake_pg, False), old_server(fake_pg, True)]
    daemon = pgpoold(databases={"test": hosts(*servers, target_session_attrs=word, load_balance_hosts="disable")},
                     connect_query="select 'mine'", pool_mode="transaction")
    daemon.psql("select 'the client'")
    assert {row["port"] for row in daemon.show("servers", database="test")} == {servers[wanted].port}
    asked, *rest = queries(servers[wanted].connections[0])
    assert "pg_is_in_recovery" in asked and rest == ["select 'mine'", "select 'the client'"]
    assert all(queries(conn) == [asked] for conn in servers[0].connections[:wanted])


def test_the_question_fails_on_just_the_real_servers_that_do_not_fit(pgpoold, fake_pg, primary, standby):
    for word, fits in (("primary", primary), ("read-write", primary), ("standby", standby), ("read-only", standby)):
        server = old_server(fake_pg, fits is standby)
        pgpoold(databases={"test": hosts(server, target_session_attrs=word)}).psql("select 1")
        question = queries(server.connections[0])[0]
        assert fits.psql(question) == [(1,)]
        with pytest.raises(psycopg.errors.DivisionByZero):
            (standby if fits is primary else primary).psql(question)


def test_a_server_that_is_starting_is_left_for_the_next_one(pgpoold, fake_pg, pg):
    """As libpq does it since PostgreSQL 14, without any word in target_session_attrs."""
    starting = fake_pg(on_startup=lambda conn: conn.refuse("57P03", "the database system is starting up"))
    daemon = pgpoold(databases={"test": hosts(starting, pg, load_balance_hosts="disable")})
    with daemon.connect("test") as conn:
        assert port_of(conn) == pg.port


def test_a_wrong_password_is_not_tried_at_every_host(pgpoold, wire, fake_pg, pg):
    refuses = fake_pg(on_startup=lambda conn: conn.refuse("28P01", "password authentication failed"))
    daemon = pgpoold(databases={"test": hosts(refuses, pg, load_balance_hosts="disable")})
    client = wire(daemon, login=False)
    client.send_startup(user="app", database="test")
    assert [m.code for m in client.expect_closed() if m.kind == "E"] == ["28P01"]


def test_the_role_may_change_in_the_middle_of_a_result(pgpoold, wire, fake_pg):
    """The report comes between two rows; the client gets all of its answer, then the connection is not used again."""
    def script(conn):
        assert conn.expect("Q").sql == "select 1"
        conn.send(row_description("x"), data_row("1"), parameter_status("in_hot_standby", "on"), data_row("2"),
                  command_complete("SELECT 2"), ready())
        conn.expect("X")

    server = fake_pg(script)
    daemon = pgpoold(pool_mode="transaction", databases={"test": hosts(server, target_session_attrs="primary")})
    assert wire(daemon).run("select 1") == [("1",), ("2",)]
    assert daemon.show("servers", database="test") == []
