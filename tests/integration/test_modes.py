# SPDX-License-Identifier: ISC
"""Session, transaction and statement mode: when a server connection is given back, and to whom it may go then."""

import pytest

from sessions import backend_pid, one_database, servers, wait_waiting
from wire import bind, describe, execute, flush, parse, query, sync


@pytest.fixture
def one_server(pgpoold, pg):
    """A daemon with a single server connection per pool."""
    def make(mode="transaction", **more):
        return pgpoold(pool_mode=mode, default_pool_size=1, databases=one_database(pg), **more)
    return make


def test_in_session_mode_a_client_keeps_its_server(one_server, wire, eventually):
    daemon = one_server("session")
    first, second = wire(daemon), wire(daemon)
    pid = backend_pid(first)
    second.send(query("SELECT pg_backend_pid()"))
    wait_waiting(daemon)
    assert backend_pid(first) == pid
    first.goodbye()
    assert second.result().rows == [(str(pid),)]
    eventually(lambda: servers(daemon) == 1)


def test_in_session_mode_the_next_client_finds_nothing_of_the_last(one_server, wire):
    daemon = one_server("session")
    first = wire(daemon)
    pid = backend_pid(first)
    first.run("CREATE TEMP TABLE mine (a int)")
    first.run("SET statement_timeout = 1234")
    first.run("PREPARE p AS SELECT 1")
    first.run("SELECT pg_advisory_lock(42)")
    first.goodbye()
    second = wire(daemon)
    assert backend_pid(second) == pid
    assert second.query("SELECT * FROM mine").errors[0].code == "42P01"
    assert second.run("SHOW statement_timeout") == [("0",)]
    assert second.query("EXECUTE p").errors[0].code == "26000"
    assert second.run("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [("0",)]


def test_in_session_mode_a_transaction_left_open_is_rolled_back_before_the_next_client(one_server, wire, pg):
    pg.psql("CREATE TABLE left_open (a int)", db="test", user="app")
    daemon = one_server("session")
    first = wire(daemon)
    first.run("BEGIN")
    first.run("INSERT INTO left_open VALUES (1)")
    first.goodbye()
    assert wire(daemon).run("SELECT count(*) FROM left_open") == [("0",)]
    pg.psql("DROP TABLE left_open", db="test", user="app")


def test_in_transaction_mode_two_clients_take_turns_on_one_server(one_server, wire):
    daemon = one_server()
    first, second = wire(daemon), wire(daemon)
    assert backend_pid(first) == backend_pid(second) == backend_pid(first)


def test_in_transaction_mode_a_server_is_kept_until_the_end_of_the_transaction(one_server, wire):
    daemon = one_server()
    first, second = wire(daemon), wire(daemon)
    first.run("BEGIN")
    second.send(query("SELECT 'second'"))
    wait_waiting(daemon)
    assert first.query("SELECT 'first'").rows == [("first",)]
    second.expect_silence(0.1)
    first.run("COMMIT")
    assert second.result().rows == [("second",)]


def test_a_failed_transaction_keeps_its_server_until_rollback(one_server, wire):
    daemon = one_server()
    first, second = wire(daemon), wire(daemon)
    first.run("BEGIN")
    assert first.query("SELECT 1/0").status == "E"
    second.send(query("SELECT 'second'"))
    wait_waiting(daemon)
    assert first.query("SELECT 1").errors[0].code == "25P02"
    assert first.query("COMMIT").tags == ["ROLLBACK"]
    assert second.result().rows == [("second",)]


def test_extended_messages_without_a_sync_keep_their_server(one_server, wire, pg):
    """The server has an implicit transaction open, though its last ReadyForQuery said I."""
    pg.psql("CREATE TABLE unsynced (a int)", db="test", user="app")
    daemon = one_server()
    first, second = wire(daemon), wire(daemon)
    first.send(parse("", "INSERT INTO unsynced VALUES (1)"), bind(), execute(), flush())
    first.expect("1", "2", "C")
    second.send(query("SELECT count(*) FROM unsynced"))
    wait_waiting(daemon)
    first.send(sync())
    first.expect("Z")
    assert second.result().rows == [("1",)]
    pg.psql("DROP TABLE unsynced", db="test", user="app")


def test_deallocate_within_an_unsynced_batch_does_not_release_the_server(one_server, wire, pg):
    pg.psql("CREATE TABLE unsynced2 (a int)", db="test", user="app")
    daemon = one_server()
    first, second = wire(daemon), wire(daemon)
    first.send(parse("s", "SELECT 1"), sync())
    first.expect("1", "Z")
    first.send(parse("", "INSERT INTO unsynced2 VALUES (1)"), bind(), execute(), flush())
    first.expect("1", "2", "C")
    first.send(query("DEALLOCATE s"))
    assert first.result().tags == ["DEALLOCATE"]
    assert second.query("SELECT pg_current_xact_id_if_assigned() IS NULL").rows == [("t",)]
    pg.psql("DROP TABLE unsynced2", db="test", user="app")


def test_a_simple_query_of_several_statements_is_one_transaction(one_server, wire, pg):
    pg.psql("CREATE TABLE multi (a int)", db="test", user="app")
    daemon = one_server()
    client = wire(daemon)
    assert client.query("INSERT INTO multi VALUES (1); SELECT 1/0").errors[0].code == "22012"
    result = client.query("INSERT INTO multi VALUES (2); SELECT a FROM multi; SELECT 'x'")
    assert result.tags == ["INSERT 0 1", "SELECT 1", "SELECT 1"] and result.rows == [("2",), ("x",)]
    assert client.query("BEGIN; INSERT INTO multi VALUES (3)").status == "T"
    assert wire(daemon, user="postgres").run("SELECT count(*) FROM multi") == [("1",)]
    client.run("ROLLBACK")
    pg.psql("DROP TABLE multi", db="test", user="app")


def test_an_empty_query_is_answered_and_releases(one_server, wire):
    daemon = one_server()
    client = wire(daemon)
    assert client.query("").kinds == "IZ"
    client.send(parse("", ""), bind(), execute(), sync())
    assert client.result().kinds == "12IZ"
    assert wire(daemon).run("SELECT 1") == [("1",)]


def test_in_statement_mode_each_statement_is_released(one_server, wire):
    daemon = one_server("statement")
    first, second = wire(daemon), wire(daemon)
    for _ in range(3):
        assert backend_pid(first) == backend_pid(second)


def test_in_statement_mode_a_transaction_block_ends_the_client(one_server, wire):
    daemon = one_server("statement")
    client = wire(daemon)
    client.send(query("BEGIN"))
    errors = [m for m in client.expect_closed() if m.kind == "E"]
    assert [(e.severity, e.code, e.text) for e in errors] == [
        ("FATAL", "08P01", "transaction blocks not allowed in statement pooling mode")]
    assert wire(daemon).query("SELECT 1").status == "I"


def test_in_statement_mode_the_block_of_a_refused_client_leaves_nothing(one_server, wire, pg):
    pg.psql("CREATE TABLE stmt_mode (a int)", db="test", user="app")
    daemon = one_server("statement")
    client = wire(daemon)
    client.send(query("BEGIN; INSERT INTO stmt_mode VALUES (1)"))
    client.expect_closed()
    assert wire(daemon).run("SELECT count(*) FROM stmt_mode") == [("0",)]
    pg.psql("DROP TABLE stmt_mode", db="test", user="app")


def test_a_database_has_its_own_mode(pgpoold, pg, wire):
    databases = one_database(pg)
    databases["test2"] += " pool_mode=session"
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, databases=databases)
    assert wire(daemon).query("CREATE TEMP TABLE t (a int)").errors == []
    in_session, waiting = wire(daemon, database="test2"), wire(daemon, database="test2")
    in_session.run("SELECT 1")
    waiting.send(query("SELECT 2"))
    wait_waiting(daemon, database="test2")
    assert {p["database"]: p["pool_mode"] for p in daemon.show("pools", user="app")} == {
        "test": "transaction", "test2": "session"}
    in_session.goodbye()
    assert waiting.result().rows == [("2",)]


def test_the_mode_of_a_user_rules_over_that_of_the_database(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="session", default_pool_size=1, databases=one_database(pg, pool_mode="session"),
                     users={"app": "pool_mode=transaction"})
    first, second = wire(daemon), wire(daemon)
    assert backend_pid(first) == backend_pid(second)
    assert daemon.show("pools", database="test", user="app")[0]["pool_mode"] == "transaction"


@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
def test_users_never_share_a_server(one_server, wire, mode):
    daemon = one_server(mode)
    for _ in range(2):
        for user in ("app", "postgres"):
            client = wire(daemon, user=user)
            assert client.run("SELECT current_user, session_user") == [(user, user)]
            client.goodbye()


def test_databases_never_share_a_server(one_server, wire):
    daemon = one_server()
    for _ in range(2):
        for database in ("test", "test2"):
            assert wire(daemon, database=database).run("SELECT current_database()") == [(database,)]


def test_describe_before_sync_keeps_the_order_of_answers(one_server, wire):
    client = wire(one_server())
    client.send(parse("", "SELECT $1::int AS n"), describe("S", ""), bind("", "", ["7"]), describe("P", ""), execute(),
                sync())
    assert client.result().kinds == "1tT2TDCZ"
