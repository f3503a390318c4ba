# SPDX-License-Identifier: ISC
"""SQLAlchemy 1.4 with its psycopg2 and asyncpg dialects."""

import asyncio
import threading

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool

from programs import MODES, at_most

Base = orm.declarative_base()


class Author(Base):
    __tablename__ = "authors"
    id = sa.Column(sa.Integer, primary_key=True)
    name = sa.Column(sa.String, nullable=False)
    books = orm.relationship("Book", back_populates="author", cascade="all, delete-orphan")


class Book(Base):
    __tablename__ = "books"
    id = sa.Column(sa.Integer, primary_key=True)
    title = sa.Column(sa.String, nullable=False)
    author_id = sa.Column(sa.ForeignKey("authors.id"), nullable=False)
    author = orm.relationship("Author", back_populates="books")


@pytest.fixture(params=MODES)
def daemon(request, pgpoold, schema):
    return pgpoold(pool_mode=request.param, default_pool_size=3)


@pytest.fixture
def schema(pg):
    """Gone at the end, whatever a test has left locked or prepared."""
    yield
    for (gid,) in pg.psql("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()", db="test"):
        pg.psql(f"ROLLBACK PREPARED '{gid}'", db="test")
    pg.psql("SET lock_timeout = 5000; DROP TABLE IF EXISTS books, authors", "test", "app")


def url(daemon, driver):
    return f"postgresql+{driver}://app:app-secret@{daemon.host}:{daemon.port}/test"


@pytest.fixture
def engine(daemon):
    engine = sa.create_engine(url(daemon, "psycopg2"), future=True)
    Base.metadata.create_all(engine)
    yield engine
    Base.metadata.drop_all(engine)
    engine.dispose()


def with_async_engine(daemon, work, **more):
    async def main():
        engine = create_async_engine(url(daemon, "asyncpg"), **more)
        try:
            async with engine.begin() as conn:
                await conn.run_sync(Base.metadata.create_all)
            await work(engine)
            async with engine.begin() as conn:
                await conn.run_sync(Base.metadata.drop_all)
        finally:
            await engine.dispose()
    asyncio.run(asyncio.wait_for(main(), 60))


def test_objects_and_relations(engine):
    with orm.Session(engine) as session:
        for i in range(5):
            session.add(Author(name=f"author {i}", books=[Book(title=f"{i}.{j}") for j in range(3)]))
        session.commit()
        query = sa.select(Author).options(orm.selectinload(Author.books)).where(Author.id.in_([1, 3]))
        assert [len(a.books) for a in session.scalars(query)] == [3, 3]
        session.delete(session.scalars(sa.select(Author).limit(1)).one())
        session.flush()
        assert session.scalar(sa.select(sa.func.count(Book.id))) == 12
        session.rollback()
        assert session.scalar(sa.select(sa.func.count(Book.id))) == 15


def test_savepoints(engine):
    with orm.Session(engine) as session, session.begin():
        session.add(Author(name="kept"))
        with pytest.raises(sa.exc.IntegrityError), session.begin_nested():
            session.execute(sa.insert(Book).values(title="no author", author_id=999))
        with session.begin_nested():
            session.add(Author(name="kept too"))
    with orm.Session(engine) as session:
        assert session.scalar(sa.select(sa.func.count(Author.id))) == 2


def test_reflection(engine):
    inspector = sa.inspect(engine)
    assert set(inspector.get_table_names()) >= {"authors", "books"}
    assert inspector.get_foreign_keys("books")[0]["referred_table"] == "authors"
    reflected = sa.MetaData()
    reflected.reflect(engine, only=["authors", "books"])
    assert reflected.tables["books"].c.title.nullable is False


def test_streamed_results_use_a_cursor_of_the_server(engine):
    with engine.connect().execution_options(stream_results=True, max_row_buffer=100) as conn:
        assert sum(row[0] for row in conn.execute(sa.text("SELECT generate_series(1, 1000)"))) == 500500


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_isolation_levels(engine, level):
    with engine.connect().execution_options(isolation_level=level) as conn:
        shown = conn.scalar(sa.text("SHOW transaction_isolation"))
        assert shown == ("read committed" if level == "AUTOCOMMIT" else level.lower())
    with engine.connect() as conn:
        assert conn.scalar(sa.text("SHOW transaction_isolation")) == "read committed"


def test_two_phase_commit(engine):
    with engine.connect() as conn:
        transaction = conn.begin_twophase("sa-1")
        conn.execute(sa.insert(Author).values(name="kept"))
        transaction.prepare()
        transaction.commit()
        transaction = conn.begin_twophase("sa-2")
        conn.execute(sa.insert(Author).values(name="lost"))
        transaction.prepare()
        assert conn.recover_twophase() == ["sa-2"]
        transaction.rollback()
    with orm.Session(engine, twophase=True) as session:
        session.add(Author(name="kept too"))
        session.commit()
        assert session.scalar(sa.select(sa.func.string_agg(Author.name, ","))) == "kept,kept too"


def test_a_dead_server_is_noticed_by_pre_ping(daemon, pg, engine):
    careful = sa.create_engine(url(daemon, "psycopg2"), future=True, pool_pre_ping=True, pool_size=3)
    for _ in range(2):
        with careful.connect() as conn:
            assert conn.scalar(sa.text("SELECT 1")) == 1
        pg.restart()
    with careful.connect() as conn:
        assert conn.scalar(sa.text("SELECT 2")) == 2
    careful.dispose()
    engine.dispose()


def test_threads_without_a_pool_of_their_own(pgpoold, pg, schema):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=2)
    engine = sa.create_engine(url(daemon, "psycopg2"), future=True, poolclass=NullPool)
    Base.metadata.create_all(engine)

    def work(n):
        for turn in range(5):
            with orm.Session(engine) as session, session.begin():
                session.add(Author(name=f"{n}.{turn}"))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(10)]
    with at_most(pg, 2):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with engine.connect() as conn:
        assert conn.scalar(sa.select(sa.func.count(Author.id))) == 50


# asyncpg: names of prepared statements come from a counter, so that each client has an __asyncpg_stmt_1__

def test_asyncpg_objects_and_savepoints(daemon):
    async def work(engine):
        async with AsyncSession(engine, expire_on_commit=False) as session:
            async with session.begin():
                session.add_all([Author(name=f"author {i}", books=[Book(title=f"{i}")]) for i in range(5)])
                with pytest.raises(sa.exc.IntegrityError):
                    async with session.begin_nested():
                        await session.execute(sa.insert(Book).values(title="no author", author_id=999))
            query = sa.select(Author).options(orm.selectinload(Author.books)).order_by(Author.id)
            assert [a.books[0].title for a in await session.scalars(query)] == ["0", "1", "2", "3", "4"]
            stream = await session.stream(sa.text("SELECT generate_series(1, 500)"))
            assert sum([row[0] async for row in stream]) == 125250

    with_async_engine(daemon, work)


@pytest.mark.parametrize("cache", [100, 0])
def test_asyncpg_tasks_through_two_servers(pgpoold, pg, schema, cache):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=2)

    async def work(engine):
        async def one(n):
            async with AsyncSession(engine) as session, session.begin():
                session.add(Author(name=f"author {n}"))
                await session.flush()
                query = sa.select(sa.func.count(Author.id)).where(Author.name == f"author {n}")
                assert await session.scalar(query) == 1
                if n % 3 == 0:
                    await session.rollback()

        await asyncio.gather(*(one(n) for n in range(45)))
        async with engine.connect() as conn:
            assert await conn.scalar(sa.select(sa.func.count(Author.id))) == 30

    with at_most(pg, 2):
        with_async_engine(daemon, work, pool_size=15, connect_args={"prepared_statement_cache_size": cache,
                                                                    "statement_cache_size": cache})


def test_asyncpg_cancelled_tasks_leave_nothing_behind(pgpoold, pg, schema, eventually):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=2)

    async def work(engine):
        async def one():
            async with engine.begin() as conn:
                await conn.execute(sa.insert(Author).values(name="x"))
                await conn.execute(sa.text("SELECT pg_sleep(100)"))

        for _ in range(3):
            tasks = [asyncio.create_task(one()) for _ in range(4)]
            await asyncio.sleep(0.2)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        async with engine.connect() as conn:
            assert await conn.scalar(sa.select(sa.func.count(Author.id))) == 0

    with at_most(pg, 2):
        with_async_engine(daemon, work)
        eventually(lambda: all(a["state"] == "idle" for a in pg.activity("test")))
