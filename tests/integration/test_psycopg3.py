# SPDX-License-Identifier: ISC
"""psycopg 3: pipelines, prepared statements, cursors, COPY, notices, asyncio."""

import asyncio
import datetime
import decimal
import threading
import uuid

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from programs import MODES, at_most


@pytest.fixture(params=MODES)
def daemon(request, pgpoold):
    return pgpoold(pool_mode=request.param, default_pool_size=2)


@pytest.fixture
def pooled(pgpoold):
    """Transaction mode, one server for everybody."""
    return pgpoold(pool_mode="transaction", default_pool_size=1)


@pytest.fixture
def table(pg):
    """A table t3; whatever a failed test left behind must not hold up the next one."""
    def clean(then=""):
        for (gid,) in pg.psql("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()", db="test"):
            pg.psql(f"ROLLBACK PREPARED '{gid}'", db="test")
        pg.psql("SET lock_timeout = 5000; DROP TABLE IF EXISTS t3;" + then, db="test", user="app")

    clean("CREATE TABLE t3 (id serial PRIMARY KEY, name text, at timestamptz DEFAULT now())")
    yield "t3"
    clean()


def test_values_of_many_types_make_the_round_trip(daemon):
    values = [1, 2 ** 40, 1.5, decimal.Decimal("12.3400"), True, None, "naïve", b"\0\xff", [1, 2], [1.5, None],
              datetime.date(2026, 2, 3), datetime.datetime(2026, 2, 3, 4, 5, 6, 7, datetime.timezone.utc),
              uuid.UUID(int=7), datetime.timedelta(days=2, seconds=3)]
    with daemon.connect() as conn:
        for binary in (False, True):
            cursor = conn.cursor(binary=binary)
            for value in values:
                assert cursor.execute("SELECT %s", [value]).fetchone() == (value,)
        assert conn.execute("SELECT %s", [Jsonb({"a": [1]})]).fetchone() == ({"a": [1]},)


def test_transactions_and_savepoints(daemon, table):
    with daemon.connect(autocommit=False) as conn:
        with conn.transaction():
            conn.execute("INSERT INTO t3 (name) VALUES ('kept')")
            with pytest.raises(psycopg.errors.DivisionByZero), conn.transaction():
                conn.execute("INSERT INTO t3 (name) VALUES ('lost')")
                conn.execute("SELECT 1/0")
            with conn.transaction(force_rollback=True):
                conn.execute("DELETE FROM t3")
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert conn.execute("SELECT name FROM t3").fetchall() == [("kept",)]


def test_isolation_level_readonly_deferrable(daemon):
    with daemon.connect(autocommit=False) as conn:
        conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        conn.read_only = True
        conn.deferrable = True
        rows = conn.execute("SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only'),"
                            " current_setting('transaction_deferrable')").fetchone()
        assert rows == ("serializable", "on", "on")


def test_a_connection_that_is_left_in_a_transaction_is_rolled_back(daemon, pg, table, eventually):
    conn = daemon.connect(autocommit=False)
    conn.execute("INSERT INTO t3 (name) VALUES ('never committed')")
    conn.close()
    eventually(lambda: all(a["state"] == "idle" for a in pg.activity("test")))
    assert daemon.psql("SELECT count(*) FROM t3") == [(0,)]


@pytest.mark.parametrize("threshold", [0, 1, 5, None])
def test_prepare_threshold_with_clients_that_take_turns(pooled, threshold):
    conns = [pooled.connect() for _ in range(3)]
    for conn in conns:
        conn.prepare_threshold = threshold
    for turn in range(10):
        for i, conn in enumerate(conns):
            assert conn.execute("SELECT %s::int * 100 + %s::int", [i, turn]).fetchone() == (i * 100 + turn,)
            assert conn.execute(f"SELECT %s::text || 'of {i}'", ["mine "]).fetchone() == (f"mine of {i}",)
    for conn in conns:
        conn.close()


def test_two_clients_use_one_name_for_two_statements(pooled):
    first, second = pooled.connect(), pooled.connect()
    for turn in range(4):  # psycopg counts its names in each connection: both have a _pg3_0
        assert first.execute("SELECT 'first', %s::int", [turn], prepare=True).fetchone() == ("first", turn)
        assert second.execute("SELECT %s::text, 'second'", ["x"], prepare=True).fetchone() == ("x", "second")
    first.close()
    second.close()


def test_more_prepared_statements_than_the_client_keeps(pooled):
    with pooled.connect() as conn:
        conn.prepared_max = 5  # then psycopg sends DEALLOCATE
        conn.prepare_threshold = 0
        for turn in range(30):
            assert conn.execute(f"SELECT {turn} + %s", [turn]).fetchone() == (2 * turn,)


@pytest.mark.parametrize("command", ["DEALLOCATE ALL", "DISCARD ALL"])
def test_forgetting_all_prepared_statements(pooled, command):
    with pooled.connect() as conn, pooled.connect() as other:
        for c in (conn, other):
            c.execute("SELECT %s::int", [1], prepare=True)
        conn.execute(command)
        conn._prepared.clear()  # pylint: disable=protected-access  # psycopg does not notice by itself
        assert conn.execute("SELECT %s::int", [2], prepare=True).fetchone() == (2,)
        assert other.execute("SELECT %s::int", [3], prepare=True).fetchone() == (3,)
        with pytest.raises(psycopg.errors.InvalidSqlStatementName):
            conn.execute(command)
            conn.execute("SELECT %s::int", [2], prepare=True)


def test_psycopg_forgets_its_statements_after_a_drop_or_rollback(pooled):
    with pooled.connect(autocommit=False) as conn:
        for _ in range(3):
            conn.execute("SELECT %s::int", [1], prepare=True)
            conn.rollback()  # DEALLOCATE ALL is sent with the next one
            assert conn.execute("SELECT %s::int", [2], prepare=True).fetchone() == (2,)


def test_a_prepared_statement_after_a_schema_change(pooled, table):
    with pooled.connect() as conn, pooled.connect() as other:
        conn.execute("INSERT INTO t3 (name) VALUES ('a')")
        for _ in range(3):
            assert len(conn.execute("SELECT * FROM t3", prepare=True).fetchone()) == 3
        other.execute("ALTER TABLE t3 ADD COLUMN more int DEFAULT 9")
        # As on a direct connection: the client's own copy is stale, and who prepares it now gets a fresh one.
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="cached plan must not change result type"):
            conn.execute("SELECT * FROM t3", prepare=True)
        assert len(other.execute("SELECT * FROM t3", prepare=True).fetchone()) == 4
        conn._prepared.clear()  # pylint: disable=protected-access
        assert len(conn.execute("SELECT * FROM t3", prepare=True).fetchone()) == 4


def test_a_failed_prepare_does_not_stick(pooled):
    with pooled.connect() as conn:
        for _ in range(3):
            with pytest.raises(psycopg.errors.UndefinedTable):
                conn.execute("SELECT * FROM not_there WHERE 1 = %s", [1], prepare=True)
            assert conn.execute("SELECT 1", prepare=True).fetchone() == (1,)


def test_pipeline(daemon, table):
    with daemon.connect() as conn:
        with conn.pipeline():
            cursors = [conn.execute("SELECT %s::int", [i]) for i in range(500)]
            insert = conn.cursor()
            insert.executemany("INSERT INTO t3 (name) VALUES (%s) RETURNING id", [[f"n{i}"] for i in range(100)],
                               returning=True)
        assert [c.fetchone()[0] for c in cursors] == list(range(500))
        assert conn.execute("SELECT count(*) FROM t3").fetchone() == (100,)


def test_pipeline_with_transactions_and_syncs(daemon, table):
    with daemon.connect() as conn:
        with conn.pipeline() as pipeline:
            with conn.transaction():
                conn.execute("INSERT INTO t3 (name) VALUES ('one')")
                conn.execute("INSERT INTO t3 (name) VALUES ('two')")
            pipeline.sync()
            last = conn.execute("SELECT string_agg(name, ' ' ORDER BY id) FROM t3")
            pipeline.sync()
        assert last.fetchone() == ("one two",)


def test_an_error_aborts_the_pipeline_up_to_its_sync(daemon):
    with daemon.connect() as conn:
        with pytest.raises(psycopg.errors.DivisionByZero):
            with conn.pipeline() as pipeline:
                conn.execute("SELECT 1")
                conn.execute("SELECT 1/0")
                conn.execute("SELECT 2")  # may tell of the error already, when the answer is quick
                pipeline.sync()
        with pytest.raises(psycopg.errors.PipelineAborted):
            with conn.pipeline() as pipeline:
                with pytest.raises(psycopg.errors.DivisionByZero):
                    conn.execute("SELECT 1/0").fetchone()
                conn.execute("SELECT 3").fetchone()
        assert conn.execute("SELECT 4").fetchone() == (4,)


def test_pipelines_of_several_clients_at_once(pooled, pg):
    def work(n):
        with pooled.connect() as conn, conn.pipeline() as pipeline:
            for turn in range(10):
                cursors = [conn.execute("SELECT %s::int, pg_sleep(0)", [n * 1000 + i]) for i in range(20)]
                if turn % 3:
                    pipeline.sync()
                good.append([c.fetchone()[0] for c in cursors] == [n * 1000 + i for i in range(20)])

    good = []
    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    with at_most(pg, 1):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert good == [True] * 80


def test_a_server_side_cursor_in_a_transaction(daemon):
    with daemon.connect(autocommit=False) as conn:
        with conn.cursor("big") as cursor:
            cursor.itersize = 100
            cursor.execute("SELECT generate_series(1, 1000)")
            assert sum(row[0] for row in cursor) == 500500
        with conn.cursor("scrolling", scrollable=True) as cursor:
            cursor.execute("SELECT generate_series(1, 10)")
            cursor.scroll(5)
            assert cursor.fetchone() == (6,)
            cursor.scroll(0, mode="absolute")
            assert cursor.fetchmany(2) == [(1,), (2,)]
        conn.commit()


def test_copy_in_out_and_between(daemon, table):
    with daemon.connect() as conn:
        cursor = conn.cursor()
        with cursor.copy("COPY t3 (id, name) FROM STDIN") as copy:
            for i in range(100000, 105000):
                copy.write_row((i, "x" * (i % 50)))
        with cursor.copy("COPY t3 (id, name) FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            for i in range(105000, 106000):
                copy.write_row((i, None))
        with cursor.copy("COPY (SELECT id, name FROM t3 ORDER BY id) TO STDOUT") as copy:
            assert sum(1 for _ in copy.rows()) == 6000
        with daemon.connect() as other, cursor.copy("COPY t3 (name) TO STDOUT (FORMAT binary)") as source:
            with other.cursor().copy("COPY t3 (name) FROM STDIN (FORMAT binary)") as target:
                for block in source:
                    target.write(block)
        assert conn.execute("SELECT count(*) FROM t3").fetchone() == (12000,)


def test_a_broken_copy_in(daemon, table):
    with daemon.connect() as conn:
        with pytest.raises(psycopg.errors.QueryCanceled), conn.cursor().copy("COPY t3 (name) FROM STDIN") as copy:
            copy.write("some row\n")
            raise ZeroDivisionError
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            with conn.cursor().copy("COPY t3 (id) FROM STDIN") as copy:
                for _ in range(1000):
                    copy.write("no number\n" * 100)
        assert conn.execute("SELECT count(*) FROM t3").fetchone() == (0,)


def test_a_copy_out_that_is_cancelled(daemon):
    with daemon.connect() as conn:
        with pytest.raises(psycopg.errors.QueryCanceled):
            with conn.cursor().copy("COPY (SELECT generate_series(1, 10000000)) TO STDOUT") as copy:
                for i, _ in enumerate(copy):
                    if i == 10:
                        conn.cancel()
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_a_client_that_leaves_in_the_middle_of_a_copy_out(daemon, pg, eventually):
    conn = daemon.connect()
    with pytest.raises(psycopg.OperationalError, match="closed"):
        with conn.cursor().copy("COPY (SELECT generate_series(1, 10000000)) TO STDOUT") as copy:
            copy.read()
            conn.close()
    eventually(lambda: not [a for a in pg.activity("test") if a["state"] == "active"])
    assert daemon.psql("SELECT 1") == [(1,)]


def test_notices_reach_the_one_who_caused_them(daemon):
    heard = {}
    with daemon.connect() as one, daemon.connect() as two:
        for name, conn in (("one", one), ("two", two)):
            heard[name] = []
            conn.add_notice_handler(lambda d, name=name: heard[name].append(d.message_primary))
        for name, conn in (("one", one), ("two", two), ("one", one)):
            conn.execute(sql.SQL("DO $$ BEGIN RAISE NOTICE 'for %', {}; END $$").format(sql.Literal(name)))
    assert heard == {"one": ["for one", "for one"], "two": ["for two"]}


def test_cancel(daemon, pg, eventually):
    with daemon.connect() as conn:
        def cancel():
            eventually(lambda: [a for a in pg.activity("test") if a["state"] == "active"])
            conn.cancel()

        killer = threading.Thread(target=cancel)
        killer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            conn.execute("SELECT pg_sleep(60)")
        killer.join()
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_a_cancel_hits_nobody_who_took_the_server_later(pooled):
    with pooled.connect() as idle, pooled.connect() as busy:
        idle.execute("SELECT 1")
        for _ in range(20):
            idle.cancel()
            assert busy.execute("SELECT 1 FROM pg_sleep(0.005)").fetchone() == (1,)


def test_timeouts_of_the_server_keep_the_connection(daemon):
    with daemon.connect() as conn:
        with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"), conn.transaction():
            conn.execute("SET LOCAL statement_timeout = 20")
            conn.execute("SELECT pg_sleep(10)")
        assert conn.execute("SHOW statement_timeout").fetchone() == ("0",)


def test_session_info(daemon, pg):
    with daemon.connect(application_name="reporting") as conn:
        info = conn.info
        assert info.server_version == pg.connect().info.server_version
        assert info.encoding == "utf-8" and info.dbname == "test" and info.user == "app"
        assert info.parameter_status("application_name") == "reporting"
        assert info.parameter_status("TimeZone") == "UTC" and info.backend_pid > 0
        conn.execute("SET TimeZone TO 'Europe/Rome'")
        assert info.parameter_status("TimeZone") == "Europe/Rome"


def test_client_encoding_and_timezone_follow_each_client(pooled):
    with pooled.connect(client_encoding="LATIN1") as latin, pooled.connect() as utf8:
        latin.execute("SET TimeZone TO 'Asia/Tokyo'")
        for _ in range(3):
            assert latin.execute("SELECT %s || current_setting('TimeZone')", ["é "]).fetchone() == ("é Asia/Tokyo",)
            assert utf8.execute("SELECT %s || current_setting('TimeZone')", ["€ "]).fetchone() == ("€ UTC",)
            assert latin.execute("SHOW client_encoding").fetchone() == ("LATIN1",)


def test_two_phase_commit(daemon, table):
    conn = daemon.connect(autocommit=False)
    conn.tpc_begin("first")
    conn.execute("INSERT INTO t3 (name) VALUES ('kept')")
    conn.tpc_prepare()
    conn.tpc_commit()
    conn.tpc_begin(conn.xid(7, "second", "branch"))
    conn.execute("INSERT INTO t3 (name) VALUES ('lost')")
    conn.tpc_prepare()
    conn.close()
    with daemon.connect(autocommit=False) as conn:
        (xid,) = conn.tpc_recover()
        assert (xid.gtrid, xid.bqual) == ("second", "branch")
        conn.tpc_rollback(xid)
        assert conn.execute("SELECT name FROM t3").fetchall() == [("kept",)]


def test_listen_in_session_mode(pgpoold):
    daemon = pgpoold(pool_mode="session")
    with daemon.connect() as listener, daemon.connect() as talker:
        listener.execute("LISTEN news")
        for i in range(3):
            talker.execute("SELECT pg_notify('news', %s)", [str(i)])
        heard = []
        for note in listener.notifies():
            heard.append(note.payload)
            if len(heard) == 3:
                break
    assert heard == ["0", "1", "2"]


def test_large_results_and_parameters(daemon):
    big = "0123456789" * 1000000
    with daemon.connect() as conn:
        assert conn.execute("SELECT %s", [big]).fetchone() == (big,)
        assert len(conn.execute("SELECT repeat('x', 100) FROM generate_series(1, 100000)").fetchall()) == 100000


def test_a_row_factory_and_server_types(daemon, table):
    with daemon.connect() as conn:
        conn.row_factory = dict_row
        psycopg.types.TypeInfo.fetch(conn, "int4range")
        row = conn.execute("INSERT INTO t3 (name) VALUES ('x') RETURNING id, name").fetchone()
        assert row["name"] == "x"
        conn.execute("CREATE TYPE mood AS ENUM ('sad', 'ok')")
        try:
            info = psycopg.types.enum.EnumInfo.fetch(conn, "mood")
            assert list(info.labels) == ["sad", "ok"]
        finally:
            conn.execute("DROP TYPE mood")


def test_many_threads_share_two_servers(pgpoold, pg, table):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=2)

    def work(n):
        with daemon.connect(autocommit=False) as conn:
            for turn in range(10):
                conn.execute("INSERT INTO t3 (name) VALUES (%s)", [f"{n}-{turn}"])
                if turn % 2:
                    conn.rollback()
                else:
                    conn.commit()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
    with at_most(pg, 2):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert daemon.psql("SELECT count(*) FROM t3") == [(100,)]


def test_asyncio_clients_wait_in_line_and_may_be_cancelled(pgpoold, pg):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=2)

    async def one(n):
        async with await psycopg.AsyncConnection.connect(daemon.dsn(), autocommit=True) as conn:
            row = await (await conn.execute("SELECT %s::int, pg_sleep(0.01)", [n])).fetchone()
            return row[0]

    async def main():
        assert await asyncio.gather(*(one(n) for n in range(40))) == list(range(40))
        tasks = [asyncio.create_task(one(n)) for n in range(20)]
        await asyncio.sleep(0.05)
        for task in tasks[::2]:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    with at_most(pg, 2):
        results = asyncio.run(main())
    assert results[1::2] == list(range(1, 20, 2))


def test_asyncio_pipeline_copy_and_cursor(daemon, table):
    async def main():
        async with await psycopg.AsyncConnection.connect(daemon.dsn()) as conn:
            async with conn.pipeline():
                cursors = [await conn.execute("SELECT %s::int", [i]) for i in range(50)]
            assert [(await c.fetchone())[0] for c in cursors] == list(range(50))
            async with conn.cursor() as cursor, cursor.copy("COPY t3 (name) FROM STDIN") as copy:
                for i in range(100):
                    await copy.write_row((str(i),))
            async with conn.cursor(name="c") as cursor:
                await cursor.execute("SELECT id FROM t3")
                assert len([row async for row in cursor]) == 100
    asyncio.run(main())


def test_a_killed_backend_is_an_error_and_the_next_connection_works(daemon, pg):
    conn = daemon.connect(autocommit=False)
    pid = conn.execute("SELECT pg_backend_pid()").fetchone()[0]
    pg.psql(f"SELECT pg_terminate_backend({pid})")
    with pytest.raises(psycopg.OperationalError):
        conn.execute("SELECT 1")
    assert conn.closed
    assert daemon.psql("SELECT 1") == [(1,)]
