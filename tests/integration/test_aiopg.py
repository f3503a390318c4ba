# SPDX-License-Identifier: ISC
"""aiopg, whose pool is the model of ours: what its documentation shows, done through the pool of the daemon."""

import asyncio
import contextlib
import warnings

import psycopg2
import psycopg2.extras
import pytest

from programs import MODES, at_most

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import aiopg
    import aiopg.sa
    import sqlalchemy as sa

metadata = sa.MetaData()
people = sa.Table("people", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(255)),
                  sa.Column("birthday", sa.DateTime))
mails = sa.Table("mails", metadata, sa.Column("id", sa.Integer, primary_key=True),
                 sa.Column("person_id", None, sa.ForeignKey("people.id")),
                 sa.Column("address", sa.String(255), nullable=False), sa.Column("private", sa.Boolean))

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"),
              pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture(params=MODES)
def daemon(request, pgpoold):
    return pgpoold(pool_mode=request.param, default_pool_size=2)


@pytest.fixture
def pooled(pgpoold):
    """Transaction mode with two servers."""
    return pgpoold(pool_mode="transaction", default_pool_size=2)


@pytest.fixture
def tables(pg):
    def clean():
        for (gid,) in pg.psql("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()", db="test"):
            pg.psql(f"ROLLBACK PREPARED '{gid}'", db="test")
        pg.psql("SET lock_timeout = 5000; DROP TABLE IF EXISTS mails, people", "test", "app")

    clean()
    pg.psql("CREATE TABLE people (id serial PRIMARY KEY, name varchar(255), birthday timestamp);"
            "CREATE TABLE mails (id serial PRIMARY KEY, person_id int REFERENCES people,"
            " address varchar(255) NOT NULL, private bool)", "test", "app")
    yield
    clean()


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


async def value(conn, sql, *args):
    async with conn.cursor() as cursor:
        await cursor.execute(sql, *args)
        return (await cursor.fetchone())[0]


# Core: connection, cursor, pool

def test_a_connection_and_its_cursor(daemon):
    async def main():
        async with aiopg.connect(daemon.dsn()) as conn, conn.cursor() as cursor:
            await cursor.execute("SELECT g, g * g AS square FROM generate_series(1, 5) g")
            assert cursor.rowcount == 5 and [c.name for c in cursor.description] == ["g", "square"]
            assert await cursor.fetchone() == (1, 1)
            assert await cursor.fetchmany(2) == [(2, 4), (3, 9)]
            assert await cursor.fetchall() == [(4, 16), (5, 25)]
            await cursor.scroll(0, mode="absolute")
            assert [row async for row in cursor][0] == (1, 1)
            assert cursor.mogrify("SELECT %s", ("it's",)) == b"SELECT 'it''s'"
            await cursor.execute("SELECT %(a)s", {"a": "named"})
            assert await cursor.fetchone() == ("named",)

    run(main())


def test_what_a_connection_tells_about_itself(daemon):
    async def main():
        async with aiopg.connect(daemon.dsn(), application_name="teller") as conn:
            assert conn.encoding == "UTF8" and not conn.closed and not conn.echo
            assert conn.dsn.count("password=xxx") <= 1
            assert await conn.get_backend_pid() > 0
            assert await conn.get_parameter_status("application_name") == "teller"
            assert await conn.get_parameter_status("integer_datetimes") == "on"
            assert await conn.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_IDLE
            assert conn.raw.server_version // 10000 == 15 and conn.raw.protocol_version == 3
            for refused in (conn.commit(), conn.rollback(), conn.set_isolation_level(0), conn.reset()):
                with pytest.raises(psycopg2.ProgrammingError):
                    await refused
            await value(conn, "DO $$ BEGIN RAISE NOTICE 'a notice'; END $$; SELECT 1")
            assert conn.notices[-1] == "NOTICE:  a notice\n"

    run(main())


def test_cursor_factories_and_procedures(daemon, pg):
    async def main():
        async with aiopg.connect(daemon.dsn()) as conn:
            async with conn.cursor(cursor_factory=psycopg2.extras.DictCursor) as cursor:
                await cursor.callproc("concat", ["a", "b"])
                assert (await cursor.fetchone())["concat"] == "ab"
            async with conn.cursor(cursor_factory=psycopg2.extras.NamedTupleCursor) as cursor:
                await cursor.execute("SELECT 1 AS one")
                assert (await cursor.fetchone()).one == 1

    run(main())


@pytest.mark.parametrize("servers", [1, 2])
@pytest.mark.parametrize("minsize, maxsize", [(1, 10), (10, 10), (0, 3), (5, 0)])
def test_a_pool_before_a_smaller_pool(pgpoold, pg, servers, minsize, maxsize):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=servers)

    async def main():
        async with aiopg.create_pool(daemon.dsn(), minsize=minsize, maxsize=maxsize) as pool:
            assert pool.freesize == minsize

            async def one(n):
                async with pool.acquire() as conn:
                    return await value(conn, "SELECT %s FROM pg_sleep(0.002)", (n,))

            assert await asyncio.gather(*(one(n) for n in range(50))) == list(range(50))
            assert pool.size <= (maxsize or 50) and pool.freesize == pool.size
            assert len(daemon.show("clients", user="app")) == pool.size
        assert pool.closed or pool.size >= 0

    with at_most(pg, servers):
        run(main())


def test_wanting_json_hstore_and_uuid(pgpoold, pg):
    """Consequence (c): each connection looks hstore up as its first query, ten of them through one server."""
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1)
    pg.psql("CREATE EXTENSION IF NOT EXISTS hstore", db="test")

    async def main():
        async with aiopg.create_pool(daemon.dsn(), minsize=10, enable_hstore=True, enable_json=True,
                                     enable_uuid=True) as pool, pool.acquire() as conn:
            assert await value(conn, "SELECT 'a=>1, b=>NULL'::hstore") == {"a": "1", "b": None}
            assert await value(conn, "SELECT %s::hstore", ({"k": "v"},)) == {"k": "v"}
            assert await value(conn, """SELECT '{"x": [1]}'::json""") == {"x": [1]}
            assert str(await value(conn, "SELECT '00000000-0000-0000-0000-000000000007'::uuid")).endswith("7")

    with at_most(pg, 1):
        run(main())


def test_on_connect_runs_once_for_each_connection_of_the_client(pooled):
    async def main():
        seen = []

        async def on_connect(conn):
            seen.append(await value(conn, "SELECT 1"))

        async with aiopg.create_pool(pooled.dsn(), minsize=3, maxsize=5, on_connect=on_connect) as pool:
            for _ in range(10):
                async with pool.acquire() as conn:
                    await value(conn, "SELECT 2")
        assert len(seen) == 3

    run(main())


def test_clear_recycle_close_and_terminate(pooled, eventually):
    async def main():
        pool = await aiopg.create_pool(pooled.dsn(), minsize=3, maxsize=5)
        await pool.clear()
        assert (pool.size, pool.freesize) == (0, 0)
        conn = await pool.acquire()
        assert await value(conn, "SELECT 1") == 1
        await pool.release(conn)
        pool.close()
        await pool.wait_closed()
        with pytest.raises(RuntimeError):
            await pool.acquire()
        pool = await aiopg.create_pool(pooled.dsn(), minsize=2, maxsize=2, pool_recycle=0.001)
        for _ in range(5):
            await asyncio.sleep(0.002)
            async with pool.acquire() as conn:
                assert await value(conn, "SELECT 1") == 1
        kept = [await pool.acquire() for _ in range(2)]
        pool.terminate()
        await pool.wait_closed()
        assert all(conn.closed for conn in kept)

    run(main())
    eventually(lambda: not pooled.show("clients", user="app"))
    assert pooled.show("pools", database="test")[0]["sv_active"] == 0


def test_release_inside_a_transaction_closes_the_connection(pooled, pg, tables, eventually):
    async def main():
        async with aiopg.create_pool(pooled.dsn(), minsize=1) as pool:
            conn = await pool.acquire()
            await value(conn, "BEGIN; INSERT INTO people (name) VALUES ('never') RETURNING 1")
            await pool.release(conn)
            assert conn.closed
            async with pool.acquire() as conn:
                assert await value(conn, "SELECT count(*) FROM people") == 0

    run(main())
    eventually(lambda: all(a["state"] == "idle" for a in pg.activity("test")))


def test_nested_acquire_waits_no_longer_than_its_own_pool_makes_it(pooled):
    async def main():
        async with aiopg.create_pool(pooled.dsn(), minsize=1, maxsize=1, timeout=2) as pool:
            async with pool.acquire():
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(pool.acquire(), 0.2)
            async with pool.acquire() as conn:
                assert await value(conn, "SELECT 1") == 1

    run(main())


def test_timeouts_close_the_client_and_cancel_the_query(daemon, pg, eventually):
    async def main():
        async with aiopg.connect(daemon.dsn(), timeout=1) as conn:
            with pytest.raises(asyncio.TimeoutError):
                await value(conn, "SELECT pg_sleep(100)")
        async with aiopg.connect(daemon.dsn()) as conn:
            async with conn.cursor(timeout=0.1) as cursor:
                with pytest.raises(asyncio.TimeoutError):
                    await cursor.execute("SELECT pg_sleep(100)")

    run(main())
    eventually(lambda: not [a for a in pg.activity("test") if a["state"] == "active"])
    assert pg.n_connections("test") <= 2


def test_a_hundred_cancelled_tasks_leave_nothing_behind(pooled, pg, eventually):
    """Consequence (a): aiopg closes its socket and sends no cancel request; PostgreSQL must not go on sleeping."""
    async def sleeper(pool):
        async with pool.acquire() as conn:
            await value(conn, "SELECT pg_sleep(100)")

    async def main():
        async with aiopg.create_pool(pooled.dsn(), minsize=1, maxsize=20) as pool:
            for _ in range(5):
                tasks = [asyncio.create_task(sleeper(pool)) for _ in range(20)]
                await asyncio.sleep(0.15)
                for task in tasks:
                    task.cancel()
                assert all(isinstance(r, BaseException) for r in await asyncio.gather(*tasks, return_exceptions=True))
            async with pool.acquire() as conn:
                assert await value(conn, "SELECT 'alive'") == "alive"

    with at_most(pg, 2):
        run(main())
        eventually(lambda: all(a["state"] == "idle" for a in pg.activity("test")))
    eventually(lambda: pooled.show("pools", database="test", sv_active=0, cl_active=0, cl_waiting=0))


def test_server_errors_and_restarts_reach_the_pool(pooled, pg):
    async def main():
        async with aiopg.create_pool(pooled.dsn(), minsize=2, maxsize=4) as pool:
            async with pool.acquire() as conn:
                with pytest.raises(psycopg2.errors.UndefinedTable):
                    await value(conn, "SELECT * FROM not_there")
                assert await value(conn, "SELECT 1") == 1
            await asyncio.get_running_loop().run_in_executor(None, pg.restart)
            async with pool.acquire() as conn:  # the client's connection outlives the server
                assert await value(conn, "SELECT 2") == 2

    run(main())


# Transactions

@pytest.mark.parametrize("level", [aiopg.IsolationLevel.read_committed, aiopg.IsolationLevel.repeatable_read,
                                   aiopg.IsolationLevel.serializable])
def test_transactions_with_an_isolation_level(daemon, tables, level):
    async def main():
        async with aiopg.connect(daemon.dsn()) as conn, conn.cursor() as cursor:
            async with aiopg.Transaction(cursor, level, readonly=False, deferrable=False):
                assert await value_of(cursor, "SHOW transaction_isolation") == level.name.replace("_", " ")
                await cursor.execute("INSERT INTO people (name) VALUES ('kept')")
            with contextlib.suppress(ZeroDivisionError):
                async with aiopg.Transaction(cursor, level):
                    await cursor.execute("INSERT INTO people (name) VALUES ('lost')")
                    raise ZeroDivisionError
            async with aiopg.Transaction(cursor, level, readonly=True, deferrable=True):
                with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
                    async with aiopg.Transaction(cursor, level) as inner:
                        assert inner is not None
                        await cursor.execute("INSERT INTO people (name) VALUES ('refused')")
            assert await value_of(cursor, "SELECT string_agg(name, ',') FROM people") == "kept"

    async def value_of(cursor, sql):
        await cursor.execute(sql)
        return (await cursor.fetchone())[0]

    try:
        run(main())
    except psycopg2.ProgrammingError as refused:  # aiopg knows no nested BEGIN; a savepoint is the way
        assert "transaction" in str(refused)


def test_savepoints_and_nested_blocks(daemon, tables):
    async def main():
        async with aiopg.create_pool(daemon.dsn(), maxsize=2) as pool, pool.acquire() as conn, conn.cursor() as cursor:
            async with cursor.begin():
                await cursor.execute("INSERT INTO people (name) VALUES ('first')")
                with contextlib.suppress(psycopg2.DataError):
                    async with cursor.begin_nested():
                        await cursor.execute("INSERT INTO people (name) VALUES ('never')")
                        await cursor.execute("SELECT 1/0")
                async with cursor.begin_nested():
                    await cursor.execute("INSERT INTO people (name) VALUES ('second')")
            transaction = aiopg.Transaction(cursor, aiopg.IsolationLevel.repeatable_read)
            await transaction.begin()
            await cursor.execute("INSERT INTO people (name) VALUES ('third')")
            await transaction.savepoint()
            await cursor.execute("DELETE FROM people")
            await transaction.rollback_savepoint()
            await transaction.savepoint()
            await transaction.release_savepoint()
            await transaction.commit()
            await cursor.execute("SELECT string_agg(name, ',' ORDER BY id) FROM people")
            assert await cursor.fetchone() == ("first,second,third",)

    run(main())


def test_transactions_of_many_tasks_do_not_mix(pooled, pg, tables):
    async def main():
        async with aiopg.create_pool(pooled.dsn(), minsize=5, maxsize=20) as pool:
            async def one(n):
                async with pool.acquire() as conn, conn.cursor() as cursor:
                    with contextlib.suppress(ZeroDivisionError):
                        async with cursor.begin():
                            await cursor.execute("INSERT INTO people (name) VALUES (%s)", (f"task {n}",))
                            await cursor.execute("SELECT pg_sleep(0.001)")
                            if n % 2:
                                raise ZeroDivisionError
            await asyncio.gather(*(one(n) for n in range(60)))
            async with pool.acquire() as conn:
                assert await value(conn, "SELECT count(*) FROM people") == 30

    with at_most(pg, 2):
        run(main())


# Notifications: in session mode, a connection of the server's for each listener

def test_notifications(pgpoold):
    daemon = pgpoold(pool_mode="session")

    async def main():
        async with aiopg.create_pool(daemon.dsn(), minsize=2) as pool:
            async with pool.acquire() as listener, pool.acquire() as talker:
                async with listener.cursor() as cursor:
                    await cursor.execute("LISTEN channel")

                async def talk():
                    async with talker.cursor() as cursor:
                        for i in range(5):
                            await cursor.execute("NOTIFY channel, %s", (f"message {i}",))
                        await cursor.execute("NOTIFY channel, 'finish'")

                task = asyncio.create_task(talk())
                heard = []
                while "finish" not in heard:
                    heard.append((await asyncio.wait_for(listener.notifies.get(), 10)).payload)
                await task
                assert heard == [f"message {i}" for i in range(5)] + ["finish"]

    run(main())


def test_a_listener_hears_that_its_server_died(pgpoold, pg):
    """Consequence (b): waiting for ever for a notification that cannot come any more is the worst of all answers."""
    daemon = pgpoold(pool_mode="session")

    async def main():
        async with aiopg.connect(daemon.dsn()) as conn:
            async with conn.cursor() as cursor:
                await cursor.execute("LISTEN channel")
            waiting = asyncio.create_task(conn.notifies.get())
            await asyncio.sleep(0)
            await asyncio.get_running_loop().run_in_executor(None, pg.kill9)
            with pytest.raises(psycopg2.OperationalError):
                await asyncio.wait_for(waiting, 10)

    run(main())


# SQLAlchemy through aiopg

def test_sqlalchemy_tables(daemon, tables):
    async def main():
        async with aiopg.sa.create_engine(daemon.dsn(), minsize=1, maxsize=3) as engine:
            async with engine.acquire() as conn:
                person = await conn.scalar(people.insert().values(name="Ann").returning(people.c.id))
                assert person == await conn.scalar(sa.select([people.c.id]).where(people.c.name == "Ann"))
                await conn.execute(mails.insert().values(person_id=person, address="ann@example.com", private=False))
                await conn.execute(mails.insert().values(person_id=person, address="a@example.org", private=True))
                join = sa.join(mails, people, people.c.id == mails.c.person_id)
                query = sa.select([people, mails], use_labels=True).select_from(join).where(mails.c.private)
                async for row in conn.execute(query):
                    assert (row.people_name, row[mails.c.address]) == ("Ann", "a@example.org")
                assert await conn.scalar(sa.select([sa.func.count()]).select_from(people)) == 1
                result = await conn.execute(people.update().where(people.c.id == person).values(name="Anna"))
                assert result.rowcount == 1
                row = await (await conn.execute(people.select())).first()
                assert dict(row) == {"id": person, "name": "Anna", "birthday": None}
                await conn.execute(sa.schema.CreateTable(sa.Table("made", sa.MetaData(), sa.Column("i", sa.Integer))))
                await conn.execute("DROP TABLE made")

    run(main())


def test_sqlalchemy_transactions_savepoints_and_nesting(daemon, tables):
    async def main():
        async with aiopg.sa.create_engine(daemon.dsn()) as engine, engine.acquire() as conn:
            outer = await conn.begin()
            await conn.execute(people.insert().values(name="a"))
            joined = await conn.begin()  # one transaction in the other: only the outer one commits
            await conn.execute(people.insert().values(name="b"))
            await joined.commit()
            savepoint = await conn.begin_nested()
            await conn.execute(people.insert().values(name="c"))
            await savepoint.rollback()
            async with conn.begin_nested():
                await conn.execute(people.insert().values(name="d"))
            await outer.commit()
            with contextlib.suppress(ZeroDivisionError):
                async with conn.begin():
                    await conn.execute(people.delete())
                    raise ZeroDivisionError
            rows = await (await conn.execute(people.select().order_by(people.c.id))).fetchall()
            assert [row.name for row in rows] == ["a", "b", "d"]

    run(main())


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("readonly, deferrable", [(False, False), (True, True)])
def test_sqlalchemy_isolation_levels(daemon, level, readonly, deferrable):
    async def main():
        async with aiopg.sa.create_engine(daemon.dsn()) as engine, engine.acquire() as conn:
            async with conn.begin(isolation_level=level, readonly=readonly, deferrable=deferrable):
                assert await conn.scalar("SHOW transaction_isolation") == level.lower()
                assert await conn.scalar("SHOW transaction_read_only") == ("on" if readonly else "off")
            assert await conn.scalar("SHOW transaction_isolation") == "read committed"

    run(main())


# aiopg 1.4 has lost commit(), rollback() and recovery of its two-phase transactions; what they would send is sent here.

def test_sqlalchemy_two_phase_commit(daemon, tables):
    async def main():
        async with aiopg.sa.create_engine(daemon.dsn()) as engine, engine.acquire() as conn:
            kept = await conn.begin_twophase("kept")
            await conn.execute(people.insert().values(name="kept"))
            await kept.prepare()
            await conn.commit_prepared("kept", is_prepared=True)
        async with aiopg.sa.create_engine(daemon.dsn()) as engine, engine.acquire() as conn:
            lost = await conn.begin_twophase()
            await conn.execute(people.insert().values(name="lost"))
            await lost.prepare()
            assert await conn.scalar(
                "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()") == lost.xid
            await conn.execute(f"ROLLBACK PREPARED '{lost.xid}'")
        async with aiopg.sa.create_engine(daemon.dsn()) as engine, engine.acquire() as conn:
            unprepared = await conn.begin_twophase("unprepared")
            await conn.execute(people.insert().values(name="also lost"))
            await conn.rollback_prepared(unprepared.xid, is_prepared=False)
            assert await conn.scalar(sa.select([people.c.name])) == "kept"

    run(main())


def test_two_phase_commit_through_two_servers(pooled, pg, tables):
    """Consequence (d): what one server connection has prepared, another one commits."""
    async def main():
        async with aiopg.sa.create_engine(pooled.dsn(), minsize=2) as engine:
            async with engine.acquire() as one, engine.acquire() as two:
                transaction = await one.begin_twophase("in two places")
                first = await one.scalar("SELECT pg_backend_pid()")
                await one.execute(people.insert().values(name="prepared here"))
                await transaction.prepare()
                other = await two.begin()  # takes the server connection that was used last
                assert await two.scalar("SELECT pg_backend_pid()") == first
                assert await one.scalar(
                "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()") == "in two places"
                assert await one.scalar("SELECT pg_backend_pid()") != first
                await one.commit_prepared("in two places", is_prepared=True)
                await other.rollback()
                assert await one.scalar(sa.select([people.c.name])) == "prepared here"

    run(main())


def test_sqlalchemy_engine_with_cancelled_tasks(pooled, pg, tables, eventually):
    async def main():
        async with aiopg.sa.create_engine(pooled.dsn(), minsize=1, maxsize=5) as engine:
            async def one():
                async with engine.acquire() as conn, conn.begin():
                    await conn.execute(people.insert().values(name="x"))
                    await conn.execute("SELECT pg_sleep(100)")

            for _ in range(4):
                tasks = [asyncio.create_task(one()) for _ in range(5)]
                await asyncio.sleep(0.1)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            async with engine.acquire() as conn:
                assert await conn.scalar("SELECT count(*) FROM people") == 0

    with at_most(pg, 2):
        run(main())
        eventually(lambda: all(a["state"] == "idle" for a in pg.activity("test")))
