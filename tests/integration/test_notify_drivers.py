# SPDX-License-Identifier: ISC
"""Drivers listen through a transaction pool of one server connection with the examples of their documentation,
unchanged."""

import asyncio
import select

import aiopg
import asyncpg
import psycopg
import psycopg2
import psycopg2.extensions
import pytest

from programs import CLIENTS, run
from test_jdbc import JAR
from test_node import node_path  # noqa: F401  pylint: disable=unused-import  # a fixture

PATIENCE = 60  # seconds; on a busy machine


@pytest.fixture
def daemon(pgpoold):
    return pgpoold(pool_mode="transaction", default_pool_size=1)


def run_async(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, PATIENCE))


def test_psycopg2_with_select(daemon):
    conn = psycopg2.connect(daemon.dsn())
    conn.set_isolation_level(psycopg2.extensions.ISOLATION_LEVEL_AUTOCOMMIT)
    curs = conn.cursor()
    curs.execute("LISTEN test;")
    for i in range(3):
        daemon.psql(f"NOTIFY test, '{i}'")
    heard = []
    while len(heard) < 3:
        assert select.select([conn], [], [], PATIENCE) != ([], [], [])
        conn.poll()
        while conn.notifies:
            notify = conn.notifies.pop(0)
            heard.append((notify.channel, notify.payload))
    assert heard == [("test", "0"), ("test", "1"), ("test", "2")]
    curs.execute("NOTIFY test, 'mine'")
    assert [(n.pid, n.payload) for n in conn.notifies] == [(conn.get_backend_pid(), "mine")]
    conn.close()


def test_psycopg2_inside_transactions(daemon):
    conn = psycopg2.connect(daemon.dsn())
    with conn, conn.cursor() as curs:
        curs.execute("LISTEN test")
    daemon.psql("NOTIFY test, 'between'")
    with conn, conn.cursor() as curs:
        curs.execute("SELECT 1")
    assert [n.payload for n in conn.notifies] == ["between"]
    conn.close()


def test_psycopg3_notifies(daemon):
    conn = psycopg.connect(daemon.dsn(), autocommit=True)
    conn.execute("LISTEN mychan")
    for payload in ("hello", "hey", "stop"):
        daemon.psql(f"NOTIFY mychan, '{payload}'")
    heard = []
    gen = conn.notifies()
    for notify in gen:
        heard.append(notify.payload)
        if notify.payload == "stop":
            gen.close()
    assert heard == ["hello", "hey", "stop"]
    conn.close()


def test_psycopg3_with_asyncio_and_a_handler(daemon):
    async def main():
        heard = []
        async with await psycopg.AsyncConnection.connect(daemon.dsn(), autocommit=True) as conn:
            await conn.execute("LISTEN mychan")
            daemon.psql("NOTIFY mychan, 'other'")
            async for notify in conn.notifies():
                heard.append((notify.channel, notify.payload))
                break
            conn.add_notify_handler(lambda n: heard.append((n.payload, n.pid == conn.info.backend_pid)))
            await conn.execute("NOTIFY mychan, 'mine'")
        return heard

    assert run_async(main()) == [("mychan", "other"), ("mine", True)]


def test_aiopg_notifies(daemon):
    """examples/notify.py of aiopg; the notifier waits for the LISTEN instead of hoping that it has run."""
    async def notify(conn):
        async with conn.cursor() as cur:
            for i in range(5):
                await cur.execute("NOTIFY channel, %s", (f"message {i}",))
            await cur.execute("NOTIFY channel, 'finish'")

    async def listen(conn, listens):
        heard = []
        async with conn.cursor() as cur:
            await cur.execute("LISTEN channel")
            listens.set()
            while True:
                msg = await conn.notifies.get()
                heard.append(msg.payload)
                if msg.payload == "finish":
                    return heard

    async def main():
        async with aiopg.create_pool(daemon.dsn()) as pool, pool.acquire() as conn1:
            listens = asyncio.Event()
            listener = asyncio.create_task(listen(conn1, listens))
            await listens.wait()
            async with pool.acquire() as conn2:
                await notify(conn2)
                return await listener

    assert run_async(main()) == [f"message {i}" for i in range(5)] + ["finish"]


def test_asyncpg_add_listener(daemon):
    async def main():
        heard = asyncio.Queue()
        conn = await asyncpg.connect(host=daemon.host, port=daemon.port, user="app", database="test")
        other = await asyncpg.connect(host=daemon.host, port=daemon.port, user="app", database="test")

        def callback(_connection, pid, channel, payload):
            heard.put_nowait((pid, channel, payload))

        await conn.add_listener("my channel", callback)
        await other.execute("""NOTIFY "my channel", 'one'""")
        assert await heard.get() == (other.get_server_pid(), "my channel", "one")
        async with conn.transaction():
            await conn.execute("SELECT pg_notify($1, $2)", "my channel", "own")
        assert await heard.get() == (conn.get_server_pid(), "my channel", "own")
        await conn.remove_listener("my channel", callback)
        await other.execute("""NOTIFY "my channel", 'two'""")
        assert await conn.fetchval("SELECT 1") == 1 and heard.empty()
        await conn.close()
        await other.close()

    run_async(main())


def test_asyncpg_pool_with_listeners(daemon):
    async def main():
        async with asyncpg.create_pool(host=daemon.host, port=daemon.port, user="app", database="test",
                                       min_size=3, max_size=3) as pool:
            async with pool.acquire() as first, pool.acquire() as second:
                heard = []
                await first.add_listener("news", lambda *args: heard.append(args[3]))
                await second.add_listener("news", lambda *args: heard.append(args[3]))
                await pool.execute("NOTIFY news, 'x'")
                await first.execute("SELECT 1")
                await second.execute("SELECT 1")
                assert heard == ["x", "x"]
                await first.execute("UNLISTEN *")
                await second.execute("UNLISTEN *")
        async with asyncpg.create_pool(host=daemon.host, port=daemon.port, user="app", database="test",
                                       min_size=1, max_size=1) as pool:
            assert await pool.fetchval("SELECT 1") == 1

    run_async(main())


def test_node_postgres_notification_event(daemon, node_path):  # noqa: F811  pylint: disable=redefined-outer-name
    assert run(daemon, "node", CLIENTS / "listen.js", env={"NODE_PATH": node_path}).stdout == "ok\n"


def test_jdbc_get_notifications(daemon):
    url = f"jdbc:postgresql://{daemon.host}:{daemon.port}/test?user=app&password=app-secret"
    out = run(daemon, "java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", JAR, CLIENTS / "Listen.java",
              url).stdout
    assert out == "[mymessage 0, mymessage 1, mymessage 2, mymessage 3]\n"
