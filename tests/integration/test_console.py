# SPDX-License-Identifier: ISC
"""The console as something to talk to: who may do what, what is no command, the extended protocol, drivers. What the commands
do: test_console_commands.py; what SHOW says: test_console_show.py, test_console_figures.py."""

import asyncio
import contextlib
import subprocess
import urllib.request

import asyncpg
import psycopg
import psycopg2
import pytest

from account import Port
from cluster import find_bindir
from sessions import begin, error_of
from wire import (Closed, ServerError, bind, cancel_request, close, describe, execute, msg, parse, query, raw,
                  startup, sync)


@pytest.fixture
def daemon(pgpoold):
    return pgpoold(pool_mode="transaction")


# --- who may do what, and what is understood ---

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


@pytest.mark.parametrize("sql", ["SELECT 1", "SHOW TABLES", "SHOW", "BEGIN", "SHOW POOLS POOLS", "PAUSE a b",
                                 "PAUSE; RESUME", "SHOW 'x", "RELOAD x", "KILL_CLIENT", "DISABLE", "SET", "SET verbose",
                                 "SET verbose =", "SET verbose 1", "SHUTDOWN NOW", "/* SHOW POOLS"])
def test_what_is_not_understood_is_an_error_and_the_session_lives(daemon, console, sql):
    client = console(daemon)
    assert error_of(client, sql).code == "42601"
    assert client.run("SHOW VERSION")


@pytest.mark.parametrize("sql, text, detail", [
    ("SHOW TABLES", "invalid command 'SHOW TABLES', use SHOW HELP;", None),
    ("PAUSE a b;", "invalid command 'PAUSE a b;', use SHOW HELP;", "The form is PAUSE [<db>]."),
    ("PAUSE; RESUME", "invalid command 'PAUSE; RESUME', use SHOW HELP;", "only one command at a time is understood"),
    ("SET verbose", "invalid command 'SET verbose', use SHOW HELP;", "The form is SET key = value"),
    ("SHUTDOWN NOW", "invalid command 'SHUTDOWN NOW', use SHOW HELP;", "WAIT_FOR_CLIENTS"),
    ("SET nonsense = 1", "SET failed", "nonsense: is not an option"),
    ("DISABLE", "a database is required", "The form is DISABLE <db>."),
    ("KILL_CLIENT", "invalid client pointer supplied", "The form is KILL_CLIENT <client_id>."),
    ("KILL_CLIENT x", "invalid client pointer supplied", None),
    ("PAUSE pgbouncer", "cannot pause admin db: pgbouncer", None),
    ("RESUME pgbouncer", "database pgbouncer is not paused", None),
    ("DISABLE pgbouncer", "cannot disable admin db: pgbouncer", None),
    ("ENABLE pgbouncer", "cannot enable admin db: pgbouncer", None),
    ("KILL pgbouncer", "cannot kill admin db: pgbouncer", None),
    ("RECONNECT pgbouncer", "cannot reconnect admin db: pgbouncer", None),
    ("WAIT_CLOSE pgbouncer", "cannot wait in admin db: pgbouncer", None)])
def test_errors_have_the_texts_of_pgbouncer_and_more_in_the_detail(daemon, console, sql, text, detail):
    error = error_of(console(daemon), sql)
    assert error.text == text
    assert (detail or "") in (error.detail or "")


def test_a_command_that_is_too_long_to_be_shown_is_cut(daemon, console):
    error = error_of(console(daemon), "x\n" + "ä" * 5000)
    assert error.text.startswith("invalid command 'x\\x0aää") and len(error.text.encode()) < 1024
    assert error.text.endswith("ä', use SHOW HELP;")


def test_an_empty_query_gets_an_empty_answer(daemon, console):
    assert console(daemon).query(" ; ").kinds == "IZ"


def test_names_that_are_no_utf8_do_not_break_a_console(daemon, wire):
    client = wire(daemon, login=False)
    client.send(startup({"user": "app", "database": b"t\xff"}))
    client.expect("E")
    with psycopg.connect(daemon.dsn("pgpoold", "admin"), autocommit=True) as conn:
        conn.execute("SHOW CLIENTS").fetchall()
        conn.execute("SHOW DATABASES").fetchall()


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
    assert failed.returncode == 1 and "invalid command 'SELECT 1', use SHOW HELP;" in failed.stderr


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
