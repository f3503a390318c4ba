# SPDX-License-Identifier: ISC
"""pg_dump, pg_restore and psql -f of a dump, through the pool."""

import pytest

from programs import MODES, run

N = 20000


@pytest.fixture(params=MODES)
def daemon(request, pgpoold):
    return pgpoold(pool_mode=request.param, default_pool_size=5)


@pytest.fixture(scope="session")
def filled(worker_cluster):
    """A database with about everything a dump can hold."""
    pg = worker_cluster
    pg.create_database("source")
    pg.psql(f"""
        CREATE SCHEMA shop;
        CREATE TYPE shop.state AS ENUM ('new', 'paid');
        CREATE TABLE shop.customer (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, name text NOT NULL UNIQUE);
        CREATE TABLE shop.orders (id bigserial PRIMARY KEY, customer int REFERENCES shop.customer, state shop.state,
                                  at timestamptz DEFAULT now(), extra jsonb, blob bytea);
        CREATE INDEX ON shop.orders (at);
        CREATE VIEW shop.open AS SELECT * FROM shop.orders WHERE state = 'new';
        CREATE MATERIALIZED VIEW shop.per_customer AS SELECT customer, count(*) FROM shop.orders GROUP BY 1;
        CREATE FUNCTION shop.noise() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END; $$;
        CREATE TRIGGER noise BEFORE INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.noise();
        INSERT INTO shop.customer (name) SELECT E'na\\'me\\t' || g FROM generate_series(1, 100) g;
        INSERT INTO shop.orders (customer, state, extra, blob)
            SELECT 1 + g % 100, CASE g % 2 WHEN 0 THEN 'new' ELSE 'paid' END::shop.state,
                   jsonb_build_object('n', g, 'text', 'grüße'), decode(md5(g::text), 'hex')
            FROM generate_series(1, {N}) g;
        REFRESH MATERIALIZED VIEW shop.per_customer;
        SELECT lo_from_bytea(0, 'a large object');
        """, db="source", user="app")
    return "source"


@pytest.fixture
def target(pg):
    pg.create_database("target")
    yield "target"
    pg.drop_database("target")


@pytest.fixture
def assert_equal(pg):
    def fingerprint(db):
        return pg.psql("SELECT (SELECT md5(string_agg(o::text, '|' ORDER BY id)) FROM shop.orders o),"
                       " (SELECT md5(string_agg(c::text, '|' ORDER BY id)) FROM shop.customer c),"
                       " (SELECT count(*) FROM shop.per_customer), (SELECT count(*) FROM shop.open),"
                       " (SELECT count(*) FROM pg_indexes WHERE schemaname = 'shop'),"
                       " (SELECT count(*) FROM pg_trigger WHERE tgname = 'noise'),"
                       " (SELECT count(*) FROM pg_largeobject)", db=db)

    def check():
        assert fingerprint("target") == fingerprint("source")
        assert fingerprint("target")[0][3] == N // 2
    return check


def test_a_plain_dump_goes_back_in_by_psql(daemon, filled, target, assert_equal, tmp_path):
    dump = tmp_path / "dump.sql"
    run(daemon, "pg_dump", "-f", dump, db=filled)
    run(daemon, "psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-1", "-f", dump, db=target)
    assert_equal()


def test_a_big_dump_goes_back_in_by_psql(daemon, pg, target, tmp_path):
    """Some 40 MB as COPY, more than any buffer holds."""
    pg.create_database("big")
    pg.psql("CREATE TABLE t (i int PRIMARY KEY, x text); INSERT INTO t SELECT g, repeat(md5(g::text), 12) FROM"
            " generate_series(1, 100000) g", db="big", user="app")
    dump = tmp_path / "big.sql"
    run(daemon, "pg_dump", "-f", dump, db="big")
    assert dump.stat().st_size > 35_000_000
    run(daemon, "psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-1", "-f", dump, db=target)
    figure = "SELECT count(*), sum(i), md5(string_agg(x, '' ORDER BY i)) FROM t"
    assert pg.psql(figure, db=target) == pg.psql(figure, db="big")
    daemon.stop()
    pg.drop_database("big")


def test_a_plain_dump_statement_by_statement(pgpoold, filled, target, assert_equal, tmp_path):
    """A dump begins with SETs that are meant for the whole session: search_path, check_function_bodies and others."""
    daemon = pgpoold(pool_mode="session", default_pool_size=5)
    dump = tmp_path / "dump.sql"
    run(daemon, "pg_dump", "--inserts", "--rows-per-insert=500", "-f", dump, db=filled)
    run(daemon, "psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-f", dump, db=target)
    assert_equal()


def test_a_custom_dump_goes_back_in_by_pg_restore(daemon, filled, target, assert_equal, tmp_path):
    dump = tmp_path / "dump.custom"
    run(daemon, "pg_dump", "-Fc", "-Z1", "-f", dump, db=filled)
    run(daemon, "pg_restore", "--single-transaction", "--exit-on-error", "-d", target, dump)
    assert_equal()


def test_parallel_dump_and_restore(pgpoold, filled, target, assert_equal, tmp_path):
    """-j workers share a snapshot (SET TRANSACTION SNAPSHOT) within transactions of their own."""
    daemon = pgpoold(pool_mode="session", default_pool_size=5)
    run(daemon, "pg_dump", "-Fd", "-j", "3", "-f", tmp_path / "dump", db=filled)
    run(daemon, "pg_restore", "-j", "3", "--exit-on-error", "-d", target, tmp_path / "dump")
    assert_equal()


def test_the_globals_and_the_schema_alone(daemon, filled):
    assert "CREATE ROLE scram_user" in run(daemon, "pg_dumpall", "--globals-only", user="postgres").stdout
    schema = run(daemon, "pg_dump", "--schema-only", "--table", "shop.orders", db=filled).stdout
    assert "CREATE TABLE shop.orders" in schema and "COPY" not in schema


def test_other_tools_of_the_server(daemon, target):
    run(daemon, "psql", "-Xqc", "CREATE TABLE t AS SELECT generate_series(1, 1000) i", db=target)
    run(daemon, "vacuumdb", "--analyze", target)
    run(daemon, "reindexdb", target)
    run(daemon, "createdb", "made_by_createdb", user="postgres")
    run(daemon, "dropdb", "made_by_createdb", user="postgres")
