# SPDX-License-Identifier: ISC
"""psycopg2: its sessions, cursors, COPY, notices and two-phase transactions."""

import io
import select
import threading

import psycopg2
import psycopg2.errors
import psycopg2.extensions as ext
import psycopg2.extras
import psycopg2.pool
import pytest

from programs import MODES, at_most


@pytest.fixture(params=MODES)
def daemon(request, pgpoold):
    return pgpoold(pool_mode=request.param, default_pool_size=2)


@pytest.fixture
def connect(daemon):
    conns = []

    def make(autocommit=False, **more):
        conns.append(psycopg2.connect(daemon.dsn(**more)))
        conns[-1].autocommit = autocommit
        return conns[-1]

    yield make
    for conn in conns:
        conn.close()


@pytest.fixture(autouse=True)  # so it is there before, and gone after, all connections
def table(pg):
    pg.psql("SET lock_timeout = 5000; DROP TABLE IF EXISTS t2; CREATE TABLE t2 (id int, name text)", "test", "app")
    yield "t2"
    for (gid,) in pg.psql("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()", db="test"):
        pg.psql(f"ROLLBACK PREPARED '{gid}'", db="test")
    pg.psql("SET lock_timeout = 5000; DROP TABLE t2", "test", "app")


def fetch(conn, sql, args=None):
    with conn.cursor() as cursor:
        cursor.execute(sql, args)
        return cursor.fetchall()


def test_blocks_commit_and_roll_back(connect, table):
    conn = connect()
    with conn, conn.cursor() as cursor:
        cursor.execute("INSERT INTO t2 VALUES (1, %s)", ("kept",))
    with pytest.raises(psycopg2.errors.DivisionByZero):
        with conn, conn.cursor() as cursor:
            cursor.execute("INSERT INTO t2 VALUES (2, 'lost')")
            cursor.execute("SELECT 1/0")
    assert conn.status == ext.STATUS_READY
    assert fetch(conn, "SELECT * FROM t2") == [(1, "kept")]


def test_a_named_cursor_in_a_transaction(connect):
    conn = connect()
    with conn.cursor("big", scrollable=True) as cursor:
        cursor.itersize = 50
        cursor.execute("SELECT generate_series(1, 500)")
        assert sum(row[0] for row in cursor) == 125250
        cursor.scroll(10, mode="absolute")
        assert cursor.fetchone() == (11,)
    conn.commit()


def test_copy_both_ways(connect, table):
    conn = connect()
    text = "".join(f"{i}\trow {i}\n" for i in range(20000))
    out = io.StringIO()
    with conn, conn.cursor() as cursor:
        cursor.copy_from(io.StringIO(text), "t2")
        assert cursor.rowcount == 20000
        cursor.copy_to(out, "t2")
        assert out.getvalue() == text
        out = io.StringIO()
        cursor.copy_expert("COPY (SELECT count(*) FROM t2) TO STDOUT WITH CSV HEADER", out)
        assert out.getvalue() == "count\n20000\n"
    with pytest.raises(psycopg2.errors.InvalidTextRepresentation), conn.cursor() as cursor:
        cursor.copy_from(io.StringIO("x\ty\n" * 100000), "t2")
    conn.rollback()
    assert fetch(conn, "SELECT count(*) FROM t2") == [(20000,)]


def test_notices_stay_with_their_connection(connect):
    one, two = connect(True), connect(True)
    fetch(one, "DO $$ BEGIN RAISE NOTICE 'for one'; END $$; SELECT 1")
    fetch(two, "DO $$ BEGIN RAISE WARNING 'for two'; END $$; SELECT 1")
    assert one.notices == ["NOTICE:  for one\n"] and two.notices == ["WARNING:  for two\n"]


def test_session_characteristics_per_transaction(connect):
    conn, other = connect(), connect()
    conn.set_session(isolation_level="SERIALIZABLE", readonly=True, deferrable=True)
    for _ in range(2):  # BEGIN ISOLATION LEVEL ... is sent with each transaction
        assert fetch(conn, "SHOW transaction_isolation") == [("serializable",)]
        assert fetch(conn, "SHOW transaction_read_only") == [("on",)]
        conn.commit()
        assert fetch(other, "SHOW transaction_isolation") == [("read committed",)]
        other.commit()
    conn.set_session(readonly=False)
    assert fetch(conn, "SHOW transaction_read_only") == [("off",)]


def test_autocommit_goes_on_and_off(connect, table):
    conn = connect(True)
    assert fetch(conn, "INSERT INTO t2 VALUES (1, 'a') RETURNING id") == [(1,)]
    conn.autocommit = False
    fetch(conn, "INSERT INTO t2 VALUES (2, 'b') RETURNING id")
    assert conn.info.transaction_status == ext.TRANSACTION_STATUS_INTRANS
    conn.rollback()
    assert fetch(conn, "SELECT id FROM t2") == [(1,)]


def test_client_encoding(connect):
    conn, other = connect(True), connect(True)
    conn.set_client_encoding("LATIN1")
    for _ in range(2):
        assert fetch(conn, "SELECT 'é', current_setting('client_encoding')") == [("é", "LATIN1")]
        assert fetch(other, "SELECT '€', current_setting('client_encoding')") == [("€", "UTF8")]
    assert (conn.encoding, other.encoding) == ("LATIN1", "UTF8")


def test_two_phase_commit_by_different_connections(connect, table):
    conn = connect()
    xid = conn.xid(42, "transaction", "branch")
    conn.tpc_begin(xid)
    fetch(conn, "INSERT INTO t2 VALUES (1, 'two phases') RETURNING 1")
    conn.tpc_prepare()
    conn.close()
    other = connect()
    (found,) = [each for each in other.tpc_recover() if each.gtrid == "transaction"]
    other.rollback()
    other.tpc_commit(found)
    assert fetch(other, "SELECT name FROM t2") == [("two phases",)]
    assert not [each for each in other.tpc_recover() if each.gtrid == "transaction"]


def test_extras(connect, table):
    conn = connect()
    with conn.cursor(cursor_factory=psycopg2.extras.DictCursor) as cursor:
        psycopg2.extras.execute_values(cursor, "INSERT INTO t2 VALUES %s", [(i, str(i)) for i in range(1000)])
        names = [(f"n{i}", i) for i in range(200)]
        psycopg2.extras.execute_batch(cursor, "UPDATE t2 SET name = %s WHERE id = %s", names)
        cursor.execute("SELECT * FROM t2 WHERE id = 7")
        assert cursor.fetchone()["name"] == "n7"
    conn.commit()
    psycopg2.extras.register_uuid(conn_or_curs=conn)
    psycopg2.extras.register_composite("t2", conn)
    assert fetch(conn, "SELECT t2 FROM t2 WHERE id = 1")[0][0].name == "n1"


def test_large_objects_in_a_transaction(connect):
    conn = connect()
    big = conn.lobject(0, "wb")
    big.write(b"x" * 1000000)
    big.seek(999999)
    assert big.tell() == 999999
    oid = big.oid
    big.close()
    assert conn.lobject(oid, "rb").read() == b"x" * 1000000
    conn.lobject(oid, "n").unlink()
    conn.commit()


def test_cancel(connect, pg, eventually):
    conn = connect(True)

    def cancel():
        eventually(lambda: [a for a in pg.activity("test") if a["state"] == "active"])
        conn.cancel()

    killer = threading.Thread(target=cancel)
    killer.start()
    with pytest.raises(psycopg2.errors.QueryCanceled):
        fetch(conn, "SELECT pg_sleep(60)")
    killer.join()
    assert fetch(conn, "SELECT 1") == [(1,)]


def test_reset_gives_a_fresh_session(connect):
    conn = connect(True, options="-c TimeZone=Europe/Rome")
    fetch(conn, "SET TimeZone TO 'Asia/Tokyo'; SELECT 1")
    conn.reset()  # ABORT, RESET ALL, SET SESSION AUTHORIZATION DEFAULT
    assert fetch(conn, "SHOW TimeZone") == [("Europe/Rome",)]


def test_asynchronous_mode(daemon):
    conn = psycopg2.connect(daemon.dsn(), async_=True)

    def wait():
        while True:
            state = conn.poll()
            if state == ext.POLL_OK:
                return
            readers, writers = ([conn], []) if state == ext.POLL_READ else ([], [conn])
            assert any(select.select(readers, writers, [], 10))

    wait()
    with conn.cursor() as cursor:
        cursor.execute("SELECT generate_series(1, 1000)")
        wait()
        assert len(cursor.fetchall()) == 1000
    conn.close()


def test_the_threaded_pool_of_psycopg2(pgpoold, pg):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=2)
    pool = psycopg2.pool.ThreadedConnectionPool(10, 20, daemon.dsn())
    good = []

    def work(n):
        for _ in range(10):
            conn = pool.getconn()
            good.append(fetch(conn, "SELECT %s", (n,)) == [(n,)])
            pool.putconn(conn)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(15)]
    with at_most(pg, 2):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    pool.closeall()
    assert good == [True] * 150


def test_listen_in_session_mode(pgpoold):
    daemon = pgpoold(pool_mode="session")
    listener, talker = psycopg2.connect(daemon.dsn()), psycopg2.connect(daemon.dsn())
    listener.autocommit = talker.autocommit = True
    fetch(listener, "LISTEN news; SELECT 1")
    fetch(talker, "SELECT pg_notify('news', 'hello')")
    assert select.select([listener], [], [], 10)[0]
    listener.poll()
    assert [(n.channel, n.payload) for n in listener.notifies] == [("news", "hello")]
    listener.close()
    talker.close()


def test_the_connection_of_a_dead_server_is_closed(connect, pg):
    conn = connect()
    ((pid,),) = fetch(conn, "SELECT pg_backend_pid()")
    pg.psql(f"SELECT pg_terminate_backend({pid})")
    with pytest.raises(psycopg2.OperationalError):
        fetch(conn, "SELECT 1")
    assert conn.closed
