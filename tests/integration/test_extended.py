# SPDX-License-Identifier: ISC
"""The extended protocol while clients change servers: unnamed and named statements, and whose they are."""

import pytest

from sessions import alternating, backend_pid, one_database
from wire import bind, close, describe, execute, flush, function_call, parse, query, sync


@pytest.fixture
def daemon(pgpoold, pg):
    """Two servers that take turns."""
    return alternating(pgpoold, pg)


@pytest.fixture
def changing(pg):
    """A table whose shape may change under a statement; dropped afterwards."""
    pg.psql("DROP TABLE IF EXISTS changing; CREATE TABLE changing (a int); INSERT INTO changing VALUES (1)",
            db="test", user="app")
    yield lambda sql: pg.psql(sql, db="test", user="app")
    pg.psql("DROP TABLE IF EXISTS changing", db="test", user="app")


def run(client, *messages):
    client.send(*messages, sync())
    return client.result()




# The unnamed statement

def test_an_unnamed_statement_survives_sync_and_a_change_of_server(daemon, wire):
    client = wire(daemon)
    assert run(client, parse("", "SELECT pg_backend_pid(), $1::text")).kinds == "1Z"
    seen = {run(client, bind("", "", ["mine"]), execute()).rows[0] for _ in range(4)}
    assert len(seen) == 2 and {row[1] for row in seen} == {"mine"}


def test_the_unnamed_statement_of_another_client_is_never_used(daemon, wire):
    first, second = wire(daemon), wire(daemon)
    for _ in range(3):
        run(first, parse("", "SELECT 'first'"))
        run(second, parse("", "SELECT 'second'"))
        for _ in range(2):
            assert run(first, bind(), execute()).rows == [("first",)]
            assert run(second, bind(), execute()).rows == [("second",)]


def test_a_client_without_an_unnamed_statement_does_not_get_a_strangers(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, databases=one_database(pg))
    run(wire(daemon), parse("", "SELECT 'secret of the first'"))
    second = wire(daemon)
    for messages in ([bind(), execute()], [describe("S", "")]):
        result = run(second, *messages)
        assert [e.code for e in result.errors] == ["26000"] and result.rows == []


@pytest.mark.parametrize("prepared", [200, 0])
def test_a_stranger_gets_no_long_unnamed_statement_either(pgpoold, pg, wire, prepared):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, databases=one_database(pg),
                     max_prepared_statements=prepared)
    first, second = wire(daemon), wire(daemon)
    long = "SELECT 'first'" + " " * 100_000
    assert run(first, parse("", long), bind(), execute()).rows == [("first",)]
    assert run(second, bind(), execute()).errors[0].code == "26000"
    assert run(first, parse("", long), bind(), execute()).rows == [("first",)]


def test_a_simple_query_drops_the_unnamed_statement(daemon, wire):
    client = wire(daemon)
    run(client, parse("", "SELECT 1"))
    client.run("SELECT 2")
    for _ in range(2):
        assert run(client, bind(), execute()).errors[0].code == "26000"


def test_an_unnamed_statement_that_failed_leaves_none(daemon, wire):
    client = wire(daemon)
    run(client, parse("", "SELECT 1"))
    assert run(client, parse("", "SELEKT")).errors[0].code == "42601"
    for _ in range(2):
        assert run(client, bind(), execute()).errors[0].code == "26000"


def test_closing_the_unnamed_statement_forgets_it(daemon, wire):
    client = wire(daemon)
    run(client, parse("", "SELECT 1"))
    assert run(client, close("S", "")).kinds == "3Z"
    for _ in range(2):
        assert run(client, bind(), execute()).errors[0].code == "26000"


def test_an_unnamed_statement_is_described_on_another_server(daemon, wire):
    client = wire(daemon)
    run(client, parse("", "SELECT $1::int AS number"))
    for _ in range(4):
        result = run(client, describe("S", ""))
        assert result.kinds == "tTZ" and result.names == ["number"] and result.messages[0].types == [23]


# Named statements

def test_a_named_statement_is_there_on_every_server(daemon, wire):
    client = wire(daemon)
    assert run(client, parse("s", "SELECT pg_backend_pid(), $1::int * 2", [23])).kinds == "1Z"
    seen = {run(client, bind("", "s", ["21"]), execute()).rows[0] for _ in range(6)}
    assert len(seen) == 2 and {row[1] for row in seen} == {"42"}


def test_clients_may_call_different_statements_by_one_name(daemon, wire):
    clients = [wire(daemon) for _ in range(4)]
    for i, client in enumerate(clients):
        run(client, parse("s", f"SELECT 'client {i}'"))
    for _ in range(3):
        for i, client in enumerate(clients):
            assert run(client, bind("", "s"), execute()).rows == [(f"client {i}",)]


def test_a_name_of_another_client_is_unknown(daemon, wire):
    run(wire(daemon), parse("theirs", "SELECT 'secret'"))
    client = wire(daemon)
    for _ in range(2):
        assert run(client, bind("", "theirs"), execute()).errors[0].code == "26000"
        error = run(client, describe("S", "theirs")).errors[0]
        assert (error.code, error.text) == ("26000", 'prepared statement "theirs" does not exist')


def test_the_servers_name_of_a_statement_is_of_no_use_to_a_client(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, databases=one_database(pg))
    owner, thief = wire(daemon), wire(daemon)
    run(owner, parse("mine", "SELECT 'secret'"))
    names = [row[0] for row in owner.run("SELECT name FROM pg_prepared_statements")]
    assert len(names) == 1 and names[0] != "mine"
    assert run(thief, bind("", names[0]), execute()).errors[0].code == "26000"
    assert run(thief, describe("S", names[0])).errors[0].code == "26000"
    run(thief, close("S", names[0]))
    assert run(owner, bind("", "mine"), execute()).rows == [("secret",)]


def test_equal_texts_share_one_statement_on_the_server(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, databases=one_database(pg))
    clients = [wire(daemon) for _ in range(5)]
    for i, client in enumerate(clients):
        run(client, parse(f"s{i}", "SELECT 'shared'"))
    for i, client in enumerate(clients):
        assert run(client, bind("", f"s{i}"), execute()).rows == [("shared",)]
    assert clients[0].run("SELECT count(*) FROM pg_prepared_statements") == [("1",)]


def test_equal_texts_with_other_types_are_other_statements(daemon, wire):
    first, second = wire(daemon), wire(daemon)
    run(first, parse("s", "SELECT pg_typeof($1)::text", [23]))
    run(second, parse("s", "SELECT pg_typeof($1)::text", [25]))
    for _ in range(2):
        assert run(first, bind("", "s", ["1"]), execute()).rows == [("integer",)]
        assert run(second, bind("", "s", ["1"]), execute()).rows == [("text",)]


def test_a_server_keeps_no_more_than_max_prepared_statements(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, databases=one_database(pg),
                     max_prepared_statements=3)
    client = wire(daemon)
    for i in range(10):
        run(client, parse(f"s{i}", f"SELECT {i}"))
    for _ in range(2):
        for i in range(10):
            assert run(client, bind("", f"s{i}"), execute()).rows == [(str(i),)]
    assert int(client.run("SELECT count(*) FROM pg_prepared_statements")[0][0]) <= 3


def test_the_least_recently_used_statement_is_given_up(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, databases=one_database(pg),
                     max_prepared_statements=2)
    client = wire(daemon)
    run(client, parse("a", "SELECT 'a'"))
    run(client, parse("b", "SELECT 'b'"))
    run(client, bind("", "a"), execute())
    run(client, parse("c", "SELECT 'c'"))
    client.run("SELECT 1")
    assert sorted(row[0] for row in client.run("SELECT statement FROM pg_prepared_statements")) == [
        "SELECT 'a'", "SELECT 'c'"]


def test_many_statements_in_one_pipeline_with_a_small_cache(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, databases=one_database(pg),
                     max_prepared_statements=2)
    client = wire(daemon)
    n = 50
    client.send(*(parse(f"s{i}", f"SELECT {i}") for i in range(n)),
                *(bind("", f"s{i}") + execute() for i in range(n)), sync())
    assert client.result().rows == [(str(i),) for i in range(n)]
    client.send(*(bind("", f"s{i}") + execute() for i in range(n)), sync())
    assert client.result().rows == [(str(i),) for i in range(n)]


def test_closing_a_named_statement_forgets_it_on_all_servers(daemon, wire):
    client = wire(daemon)
    run(client, parse("s", "SELECT 1"))
    for _ in range(2):
        run(client, bind("", "s"), execute())
    assert run(client, close("S", "s")).kinds == "3Z"
    for _ in range(3):
        assert run(client, bind("", "s"), execute()).errors[0].code == "26000"
    assert run(client, parse("s", "SELECT 2"), bind("", "s"), execute()).rows == [("2",)]


def test_closing_what_does_not_exist_is_no_error(daemon, wire):
    client = wire(daemon)
    assert run(client, close("S", "nothing"), close("P", "nothing")).kinds == "33Z"


def test_close_is_answered_in_its_turn(daemon, wire):
    client = wire(daemon)
    run(client, parse("s", "SELECT 1"))
    client.send(parse("", "SELECT 2"), bind(), close("S", "s"), execute(), close("S", "s"), sync())
    assert client.result().kinds == "123DC3Z"


def test_closing_one_clients_statement_leaves_anothers(daemon, wire):
    first, second = wire(daemon), wire(daemon)
    for client in (first, second):
        run(client, parse("s", "SELECT 'same'"))
    run(first, close("S", "s"))
    for _ in range(3):
        assert run(second, bind("", "s"), execute()).rows == [("same",)]


@pytest.mark.parametrize("statement", ["DEALLOCATE s", "deallocate prepare s", 'DEALLOCATE "s" ;', "  DEALLOCATE S"])
def test_deallocate_forgets_a_statement_of_the_protocol(daemon, wire, statement):
    client = wire(daemon)
    run(client, parse("s", "SELECT 1"))
    assert client.query(statement).kinds == "CZ"
    for _ in range(2):
        assert run(client, bind("", "s"), execute()).errors[0].code == "26000"
    assert run(client, parse("s", "SELECT 3"), bind("", "s"), execute()).rows == [("3",)]


def test_deallocate_by_the_extended_protocol_forgets_a_statement(daemon, wire):
    client = wire(daemon)
    run(client, parse("s", "SELECT 1"))
    result = run(client, parse("", "DEALLOCATE s"), bind(), execute())
    assert result.errors == [] and result.tags == ["DEALLOCATE"]
    for _ in range(2):
        assert run(client, bind("", "s"), execute()).errors[0].code == "26000"


def test_deallocate_of_an_unknown_name_is_postgresqls_error(daemon, wire):
    error = wire(daemon).query("DEALLOCATE nothing").errors[0]
    assert (error.code, error.text) == ("26000", 'prepared statement "nothing" does not exist')


@pytest.mark.parametrize("statement", ["DEALLOCATE ALL", "DISCARD ALL"])
def test_deallocate_all_forgets_all_statements_of_this_client_only(daemon, wire, statement):
    first, second = wire(daemon), wire(daemon)
    for client in (first, second):
        run(client, parse("s", "SELECT 'here'"))
        run(client, parse("", "SELECT 'unnamed'"))
    assert first.query(statement).tags == [statement]
    for _ in range(3):
        assert run(first, bind("", "s"), execute()).errors[0].code == "26000"
        assert run(second, bind("", "s"), execute()).rows == [("here",)]
        assert run(second, bind("", ""), execute()).rows == [("unnamed",)]
    assert run(first, parse("s", "SELECT 'again'"), bind("", "s"), execute()).rows == [("again",)]


def test_a_name_that_is_taken_is_refused_as_postgresql_does(daemon, wire):
    client = wire(daemon)
    run(client, parse("s", "SELECT 1"))
    for _ in range(2):
        result = run(client, parse("s", "SELECT 2"), bind("", "s"), execute())
        assert result.kinds == "EZ"
        assert (result.errors[0].code, result.errors[0].text) == ("42P05", 'prepared statement "s" already exists')
    assert run(client, bind("", "s"), execute()).rows == [("1",)]


def test_a_parse_error_is_postgresqls_own_and_leaves_no_statement(daemon, wire):
    client = wire(daemon)
    error = run(client, parse("s", "SELECT nonsense")).errors[0]
    assert (error.code, error.text) == ("42703", 'column "nonsense" does not exist')
    assert error.fields["P"] == "8"
    for _ in range(2):
        assert run(client, bind("", "s"), execute()).errors[0].code == "26000"
    assert run(client, parse("s", "SELECT 'good'"), bind("", "s"), execute()).rows == [("good",)]


def test_what_follows_an_error_is_skipped_up_to_sync(daemon, wire):
    client = wire(daemon)
    result = run(client, parse("a", "SELECT 1/0"), bind("", "a"), execute(), parse("b", "SELECT 2"), bind("", "b"),
                 close("S", "a"))
    assert result.kinds == "1EZ"
    assert run(client, bind("", "b"), execute()).errors[0].code == "26000"
    assert run(client, parse("b", "SELECT 2"), bind("", "b"), execute()).rows == [("2",)]
    assert run(client, bind("", "a"), execute()).errors[0].code == "22012"


def test_a_statement_prepared_in_a_transaction_that_failed_is_still_there(daemon, wire):
    client = wire(daemon)
    client.run("BEGIN")
    run(client, parse("s", "SELECT 'kept'"))
    client.query("SELECT 1/0")
    client.run("ROLLBACK")
    for _ in range(3):
        assert run(client, bind("", "s"), execute()).rows == [("kept",)]


def test_a_named_statement_is_described_on_another_server(daemon, wire):
    client = wire(daemon)
    run(client, parse("s", "SELECT $1::int AS number"))
    for _ in range(4):
        result = run(client, describe("S", "s"))
        assert result.kinds == "tTZ" and result.names == ["number"]


def test_the_first_use_may_come_in_the_same_write_as_a_change_of_server(daemon, wire):
    """The pooler has to prepare in the middle of what the client sent at once."""
    client = wire(daemon)
    run(client, parse("a", "SELECT 'a'"))
    run(client, parse("b", "SELECT 'b'"))
    for _ in range(3):
        client.send(bind("", "a"), execute(), sync(), bind("", "b"), execute(), sync(), query("SELECT 'c'"))
        assert [client.result().rows for _ in range(3)] == [[("a",)], [("b",)], [("c",)]]


def test_a_portal_can_be_fetched_in_pieces(daemon, wire):
    client = wire(daemon)
    client.send(parse("", "SELECT generate_series(1, 5)"), bind("p"), execute("p", 2), execute("p", 2), execute("p", 2),
                close("P", "p"), sync())
    assert client.result().kinds == "12DDsDDsDC3Z"


def test_flush_brings_answers_without_a_sync(daemon, wire):
    client = wire(daemon)
    client.send(parse("", "SELECT 1"), bind(), flush())
    client.expect("1", "2")
    client.send(execute(), flush())
    client.expect("D", "C")
    client.send(sync())
    client.expect("Z")


def test_parameters_and_results_may_be_binary(daemon, wire):
    client = wire(daemon)
    result = run(client, parse("", "SELECT $1::int4 + 1"), bind("", "", [b"\0\0\0\x29"], [1], [1]), execute())
    assert result.messages[2].body[-4:] == b"\0\0\0\x2a"


def test_a_function_call_is_answered(daemon, wire):
    client = wire(daemon)
    for _ in range(3):
        client.send(function_call(1598))  # random()
        messages = client.read_until("Z")
        assert [m.kind for m in messages] == ["V", "Z"]
    client.send(function_call(999999))
    assert [m.kind for m in client.read_until("Z")] == ["E", "Z"]


# After a change of the schema

def test_a_fresh_parse_after_a_schema_change_gets_a_fresh_plan(daemon, wire, changing):
    clients = [wire(daemon), wire(daemon)]
    for client in clients:
        run(client, parse("s", "SELECT * FROM changing"))
        for _ in range(2):
            assert run(client, bind("", "s"), execute()).rows == [("1",)]
    changing("ALTER TABLE changing ADD b text DEFAULT 'new'")
    for client in clients + [wire(daemon)]:
        assert run(client, parse("t", "SELECT * FROM changing")).errors == []
        for _ in range(3):
            result = run(client, bind("", "t"), describe("P", ""), execute())
            assert result.errors == [] and result.rows == [("1", "new")] and result.names == ["a", "b"]


def test_an_own_stale_statement_fails_as_it_would_directly(daemon, wire, changing):
    client = wire(daemon)
    run(client, parse("s", "SELECT * FROM changing"))
    run(client, bind("", "s"), execute())
    changing("ALTER TABLE changing ADD b text DEFAULT 'new'")
    for _ in range(4):
        error = run(client, bind("", "s"), execute()).errors[0]
        assert (error.code, error.text) == ("0A000", "cached plan must not change result type")
    run(client, close("S", "s"))
    for _ in range(2):
        assert run(client, parse("t", "SELECT * FROM changing"), bind("", "t"), execute(),
                   close("S", "t")).rows == [("1", "new")]


def test_a_stranger_never_gets_the_stale_plan_of_another(daemon, wire, changing):
    old = wire(daemon)
    run(old, parse("s", "SELECT * FROM changing"))
    for _ in range(2):
        run(old, bind("", "s"), execute())
    changing("ALTER TABLE changing ADD b text DEFAULT 'new'")
    for _ in range(4):
        stranger = wire(daemon)
        for _ in range(2):
            result = run(stranger, parse("s", "SELECT * FROM changing"), describe("S", "s"), bind("", "s"), execute(),
                         close("S", "s"))
            assert result.errors == [] and result.rows == [("1", "new")]
        assert run(old, bind("", "s"), execute()).errors[0].code == "0A000"


def test_the_unnamed_statement_follows_a_schema_change(daemon, wire, changing):
    client = wire(daemon)
    run(client, parse("", "SELECT * FROM changing"))
    changing("ALTER TABLE changing ADD b text DEFAULT 'new'")
    assert run(client, parse("", "SELECT * FROM changing"), bind(), execute()).rows == [("1", "new")]


def test_a_table_that_comes_back_with_another_type_gets_a_fresh_plan(daemon, wire, changing):
    client = wire(daemon)
    run(client, parse("s", "SELECT a FROM changing WHERE a = $1"))
    for _ in range(2):
        run(client, bind("", "s", ["1"]), execute())
    changing("DROP TABLE changing; CREATE TABLE changing (a text); INSERT INTO changing VALUES ('x')")
    run(client, close("S", "s"))
    for _ in range(3):
        assert run(client, parse("s", "SELECT a FROM changing WHERE a = $1"), bind("", "s", ["x"]), execute(),
                   close("S", "s")).rows == [("x",)]


# The other settings

def test_without_tracking_statements_work_within_one_transaction(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, databases=one_database(pg),
                     max_prepared_statements=0)
    client = wire(daemon)
    client.run("BEGIN")
    assert run(client, parse("mine", "SELECT 1"), bind("", "mine"), execute()).rows == [("1",)]
    assert client.run("SELECT name FROM pg_prepared_statements") == [("mine",)]
    assert run(client, close("S", "mine")).kinds == "3Z"
    client.run("COMMIT")


def test_in_session_mode_names_are_the_clients_own(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="session", default_pool_size=1, databases=one_database(pg))
    client = wire(daemon)
    run(client, parse("mine", "SELECT 1"))
    assert client.run("SELECT name FROM pg_prepared_statements") == [("mine",)]
    assert client.run("EXECUTE mine") == [("1",)]
    pid = backend_pid(client)
    client.goodbye()
    after = wire(daemon)
    assert backend_pid(after) == pid and after.run("SELECT name FROM pg_prepared_statements") == []


def test_psycopg_prepares_by_itself(daemon):
    with daemon.connect() as conn:
        for i in range(20):
            assert conn.execute("SELECT %s::int + 1", (i,), prepare=True).fetchone() == (i + 1,)
        conn.prepared_max = 2
        for n in range(8):
            assert conn.execute(f"SELECT {n} + %s::int", (1,), prepare=True).fetchone() == (n + 1,)
