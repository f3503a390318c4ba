# SPDX-License-Identifier: ISC
"""asyncpg: everything by the extended protocol and its own cache of prepared statements."""

import asyncio
import datetime
import decimal
import io
import json
import uuid

import asyncpg
import pytest

from programs import MODES, at_most


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


@pytest.fixture(params=[100, 0], ids=["cache", "no cache"])
def cache(request):
    return {"statement_cache_size": request.param}


@pytest.fixture
def daemon(pgpoold, mode):
    return pgpoold(pool_mode=mode, default_pool_size=2)


@pytest.fixture
def table(pg):
    pg.psql("SET lock_timeout = 5000; DROP TABLE IF EXISTS ta; CREATE TABLE ta (id int PRIMARY KEY, name text)",
            "test", "app")
    yield "ta"
    pg.psql("SET lock_timeout = 5000; DROP TABLE ta", "test", "app")


def where(daemon):
    return {"host": daemon.host, "port": daemon.port, "user": "app", "password": "app-secret", "database": "test"}


def connect(daemon, **more):
    return asyncpg.connect(**where(daemon), timeout=20, command_timeout=20, **more)


def with_connection(daemon, work, **more):
    """Runs the coroutine work(conn)."""
    async def main():
        conn = await connect(daemon, **more)
        try:
            return await work(conn)
        finally:
            await conn.close(timeout=10)
    return asyncio.run(main())


def test_values_of_many_types(daemon, cache):
    values = {"int4": 1, "int8": 2 ** 40, "float8": 1.5, "numeric": decimal.Decimal("12.3400"), "bool": True,
              "text": "naïve", "bytea": b"\0\xff", "int4[]": [1, None], "text[]": ["a", None],
              "date": datetime.date(2026, 2, 3), "uuid": uuid.UUID(int=7), "json": '{"a": 1}',
              "timestamptz": datetime.datetime(2026, 2, 3, 4, 5, 6, 7, datetime.timezone.utc),
              "interval": datetime.timedelta(days=2, seconds=3), "int4range": asyncpg.Range(1, 5)}

    async def work(conn):
        for _ in range(3):
            for name, value in values.items():
                assert await conn.fetchval(f"SELECT $1::{name}", value) == value
                assert await conn.fetchval(f"SELECT $1::{name}", None) is None

    with_connection(daemon, work, **cache)


def test_transactions_and_savepoints(daemon, cache, table):
    async def work(conn):
        async with conn.transaction():
            await conn.execute("INSERT INTO ta VALUES (1, 'kept')")
            with pytest.raises(asyncpg.DivisionByZeroError):
                async with conn.transaction():
                    await conn.execute("INSERT INTO ta VALUES (2, 'lost')")
                    await conn.fetchval("SELECT 1/0")
            async with conn.transaction():
                await conn.execute("INSERT INTO ta VALUES (3, 'also kept')")
        inner = conn.transaction(isolation="serializable", readonly=True, deferrable=True)
        await inner.start()
        assert await conn.fetchval("SHOW transaction_isolation") == "serializable"
        await inner.rollback()
        assert [r["id"] for r in await conn.fetch("SELECT id FROM ta ORDER BY id")] == [1, 3]
        assert not conn.is_in_transaction()

    with_connection(daemon, work, **cache)


def test_cursors(daemon, cache):
    async def work(conn):
        async with conn.transaction():
            assert [r[0] async for r in conn.cursor("SELECT generate_series(1, $1::int)", 200, prefetch=7)] == list(
                range(1, 201))
            cursor = await conn.cursor("SELECT generate_series(1, 100)")
            await cursor.forward(10)
            assert (await cursor.fetchrow())[0] == 11
            assert len(await cursor.fetch(50)) == 50

    with_connection(daemon, work, **cache)


def test_prepared_statements(daemon, cache):
    async def work(conn):
        first = await conn.prepare("SELECT $1::int AS a, $2::text AS b")
        second = await conn.prepare("SELECT $1::int * 2")
        for i in range(10):
            assert tuple(await first.fetchrow(i, str(i))) == (i, str(i))
            assert await second.fetchval(i) == 2 * i
        assert [a.name for a in first.get_attributes()] == ["a", "b"]
        assert [p.name for p in first.get_parameters()] == ["int4", "text"]
        assert len(await first.fetch(1, "x")) == 1 and first.get_statusmsg() == "SELECT 1"
        assert (await first.explain(1, "x"))[0]["Plan"]["Node Type"] == "Result"

    with_connection(daemon, work, **cache)


def test_many_clients_with_their_own_caches_take_turns(pgpoold, pg, cache):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=2)

    async def one(n):
        conn = await connect(daemon, **cache)
        for turn in range(5):
            assert await conn.fetchval("SELECT $1::int", n) == n
            assert await conn.fetchval(f"SELECT $1::text || '{n}'", "me ") == f"me {n}"
            async with conn.transaction():
                assert await conn.fetchval("SELECT $1::int + $2::int", n, turn) == n + turn
        await conn.close()

    async def main():
        await asyncio.gather(*(one(n) for n in range(30)))

    with at_most(pg, 2):
        asyncio.run(main())


def test_a_small_cache_closes_statements(pgpoold, pg):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, max_prepared_statements=5)

    async def main():
        conns = [await connect(daemon, statement_cache_size=3) for _ in range(2)]
        for turn in range(40):
            for conn in conns:
                assert await conn.fetchval(f"SELECT {turn % 10} + $1::int", turn) == turn % 10 + turn
        for conn in conns:
            await conn.close()
        assert (await (conn := await connect(daemon)).fetchval("SELECT count(*) FROM pg_prepared_statements")) <= 6
        await conn.close()

    asyncio.run(main())


def test_execute_runs_scripts(daemon, cache, table):
    async def work(conn):
        await conn.execute("INSERT INTO ta VALUES (1, 'a'); INSERT INTO ta VALUES (2, 'b'); SELECT 1")
        assert await conn.execute("UPDATE ta SET name = 'c'") == "UPDATE 2"

    with_connection(daemon, work, **cache)


def test_executemany_is_one_pipeline(daemon, cache, table):
    async def work(conn):
        await conn.executemany("INSERT INTO ta VALUES ($1, $2)", [(i, "x" * i) for i in range(2000)])
        assert await conn.fetchval("SELECT count(*) FROM ta") == 2000
        with pytest.raises(asyncpg.UniqueViolationError):
            await conn.executemany("INSERT INTO ta VALUES ($1, $2)", [(i, "y") for i in range(3000, 1000, -1)])
        assert await conn.fetchval("SELECT count(*) FROM ta") == 2000  # all or nothing

    with_connection(daemon, work, **cache)


def test_copy(daemon, cache, table):
    async def work(conn):
        rows = [(i, f"row {i}") for i in range(5000)]
        assert await conn.copy_records_to_table("ta", records=rows) == "COPY 5000"
        out = io.BytesIO()
        assert await conn.copy_from_query("SELECT * FROM ta WHERE id < $1 ORDER BY id", 3, output=out) == "COPY 3"
        assert out.getvalue() == b"0\trow 0\n1\trow 1\n2\trow 2\n"
        out = io.BytesIO()
        await conn.copy_from_table("ta", output=out, format="csv")
        await conn.execute("TRUNCATE ta")
        await conn.copy_to_table("ta", source=io.BytesIO(out.getvalue()), format="csv")
        assert await conn.fetchval("SELECT count(*) FROM ta") == 5000
        with pytest.raises(asyncpg.UniqueViolationError):
            await conn.copy_records_to_table("ta", records=rows[:1])
        assert await conn.fetchval("SELECT 1") == 1

    with_connection(daemon, work, **cache)


def test_introspection_and_codecs(daemon, cache, pg):
    pg.psql("DROP TYPE IF EXISTS pair; DROP TYPE IF EXISTS colour; CREATE TYPE colour AS ENUM ('red', 'green');"
            "CREATE TYPE pair AS (a int, b colour)", "test", "app")

    async def work(conn):
        assert await conn.fetchval("SELECT 'red'::colour") == "red"
        assert tuple(await conn.fetchval("SELECT $1::pair", (1, "green"))) == (1, "green")
        assert await conn.fetchval("SELECT ARRAY[ROW(1, 'red')::pair]") == [(1, "red")]
        await conn.set_type_codec("json", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
        assert await conn.fetchval("SELECT $1::json", {"a": [1, 2]}) == {"a": [1, 2]}
        await conn.reload_schema_state()
        assert await conn.fetchval("SELECT $1::colour", "green") == "green"

    try:
        with_connection(daemon, work, **cache)
    finally:
        pg.psql("DROP TYPE pair; DROP TYPE colour", "test", "app")


def test_the_statement_cache_after_a_schema_change(pgpoold, table, mode, cache):
    daemon = pgpoold(pool_mode=mode, default_pool_size=2)

    async def main():
        reader, changer = await connect(daemon, **cache), await connect(daemon, **cache)
        await changer.execute("INSERT INTO ta VALUES (1, 'a')")
        for _ in range(3):
            assert len(await reader.fetchrow("SELECT * FROM ta")) == 2
        await changer.execute("ALTER TABLE ta ADD COLUMN more int DEFAULT 5")
        # Outside a transaction asyncpg prepares it anew when PostgreSQL says that the plan has changed.
        assert tuple(await reader.fetchrow("SELECT * FROM ta")) == (1, "a", 5)
        await changer.execute("ALTER TABLE ta ALTER COLUMN more TYPE text")
        if cache["statement_cache_size"]:
            with pytest.raises(asyncpg.InvalidCachedStatementError):
                async with reader.transaction():
                    await reader.fetchrow("SELECT * FROM ta")
        assert tuple(await reader.fetchrow("SELECT * FROM ta")) == (1, "a", "5")
        await reader.close()
        await changer.close()

    asyncio.run(main())


def test_errors_leave_the_connection_usable(daemon, cache):
    async def work(conn):
        for _ in range(3):
            with pytest.raises(asyncpg.UndefinedTableError):
                await conn.fetch("SELECT * FROM not_there WHERE id = $1", 1)
            with pytest.raises(asyncpg.DivisionByZeroError):
                await conn.fetch("SELECT 1 / $1::int", 0)
            assert await conn.fetchval("SELECT $1::int", 1) == 1

    with_connection(daemon, work, **cache)


def test_timeouts_and_cancelled_tasks_cancel_the_query(daemon, pg, eventually):
    async def work(conn):
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await conn.fetch("SELECT pg_sleep(60)", timeout=0.05)
            assert await conn.fetchval("SELECT 1") == 1
        task = asyncio.create_task(conn.fetch("SELECT pg_sleep(60)"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await conn.fetchval("SELECT 2") == 2

    with_connection(daemon, work)
    eventually(lambda: not [a for a in pg.activity("test") if a["state"] == "active"])


def test_the_pool_of_asyncpg(pgpoold, pg, mode):
    daemon = pgpoold(pool_mode=mode, default_pool_size=5)
    size = 5 if mode == "session" else 20

    async def main():
        async with asyncpg.create_pool(**where(daemon), min_size=size, max_size=size, command_timeout=20) as pool:
            async def one(n):
                async with pool.acquire() as conn, conn.transaction():
                    return await conn.fetchval("SELECT $1::int FROM pg_sleep(0.001)", n)
            assert await asyncio.gather(*(one(n) for n in range(200))) == list(range(200))
            await pool.expire_connections()
            assert await pool.fetchval("SELECT 7") == 7

    with at_most(pg, 5):
        asyncio.run(main())


def test_server_settings_reach_the_server(daemon):
    async def work(conn):
        assert await conn.fetchval("SHOW application_name") == "jobs"
        assert conn.get_settings().client_encoding == "UTF8"
        assert conn.get_server_version().major == 15
        await conn.reset()

    with_connection(daemon, work, server_settings={"application_name": "jobs"})


def test_listeners_in_session_mode(pgpoold):
    daemon = pgpoold(pool_mode="session")

    async def main():
        listener, talker = await connect(daemon), await connect(daemon)
        heard = asyncio.Queue()
        await listener.add_listener("news", lambda _conn, _pid, channel, payload: heard.put_nowait((channel, payload)))
        await talker.execute("NOTIFY news, 'one'")
        assert await asyncio.wait_for(heard.get(), 10) == ("news", "one")
        await listener.reset()
        await listener.close()
        await talker.close()

    asyncio.run(main())
