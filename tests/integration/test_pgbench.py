# SPDX-License-Identifier: ISC
"""pgbench with many clients through few server connections: no error, and never more servers than allowed."""

import re

import pytest

from programs import at_most, run

CLIENTS = 200
SERVERS = 10
MANY = {"max_client_conn": 300, "max_prepared_statements": 100}


def pgbench(daemon, *args):
    """Runs it and returns how many transactions were processed, all without a failure."""
    done = run(daemon, "pgbench", "-n", "-c", CLIENTS, "-j", "2", *args)
    assert "aborted" not in done.stderr and "ERROR" not in done.stderr, done.stderr[-3000:]
    assert "number of failed transactions: 0 (0.000%)" in done.stdout, done.stdout
    return int(re.search(r"transactions actually processed: (\d+)", done.stdout)[1])


def assert_books_balance(pg, n):
    sums = pg.psql("SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches),"
                   " (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(delta) FROM pgbench_history),"
                   " (SELECT count(*) FROM pgbench_history)", db="test", user="app")[0]
    assert len(set(sums[:4])) == 1 and sums[4] == n


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
def test_tpcb_through_ten_servers(pgpoold, pg, bench_db, protocol):
    daemon = pgpoold(**MANY, pool_mode="transaction", default_pool_size=SERVERS)
    with at_most(pg, SERVERS, bench_db):
        n = pgbench(daemon, "-M", protocol, "-t", 5)
    assert n == CLIENTS * 5
    assert_books_balance(pg, n)
    stats = daemon.show("stats", database=bench_db)[0]
    assert stats["total_xact_count"] >= n


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
def test_select_only_through_ten_servers(pgpoold, pg, bench_db, protocol):
    daemon = pgpoold(**MANY, pool_mode="transaction", default_pool_size=SERVERS)
    with at_most(pg, SERVERS, bench_db):
        assert pgbench(daemon, "-S", "-M", protocol, "-t", 30) == CLIENTS * 30


@pytest.mark.parametrize("protocol", ["simple", "prepared"])
def test_a_new_connection_for_each_transaction(pgpoold, pg, bench_db, protocol):
    daemon = pgpoold(**MANY, pool_mode="transaction", default_pool_size=SERVERS)
    with at_most(pg, SERVERS, bench_db):
        assert pgbench(daemon, "-S", "-C", "-M", protocol, "-t", 2) == CLIENTS * 2


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
def test_statement_mode(pgpoold, pg, bench_db, protocol):
    daemon = pgpoold(**MANY, pool_mode="statement", default_pool_size=2)
    with at_most(pg, 2, bench_db):
        assert pgbench(daemon, "-S", "-M", protocol, "-t", 5) == CLIENTS * 5


def test_more_statements_than_a_server_may_hold(pgpoold, pg, bench_db, tmp_path):
    scripts = []
    for i in range(8):
        (tmp_path / f"s{i}.sql").write_text(f"SELECT {i} AS a, abalance FROM pgbench_accounts WHERE aid = 1;\n"
                                            f"SELECT count(*), {i} FROM pgbench_branches;\n")
        scripts += ["-f", tmp_path / f"s{i}.sql"]
    daemon = pgpoold(pool_mode="transaction", max_client_conn=300, default_pool_size=3, max_prepared_statements=4)
    with at_most(pg, 3, bench_db):
        assert pgbench(daemon, "-M", "prepared", "-t", 10, *scripts) == CLIENTS * 10


def test_pipelines_of_pgbench(pgpoold, pg, bench_db, tmp_path):
    script = tmp_path / "pipeline.sql"
    script.write_text("\\startpipeline\nBEGIN;\n" +
                      "UPDATE pgbench_tellers SET tbalance = tbalance + 1 WHERE tid = 1 + :client_id % 10;\n" +
                      "SELECT 1;\n" * 20 + "COMMIT;\n\\endpipeline\n")
    daemon = pgpoold(**MANY, pool_mode="transaction", default_pool_size=SERVERS)
    with at_most(pg, SERVERS, bench_db):
        assert pgbench(daemon, "-M", "prepared", "-t", 3, "-f", script) == CLIENTS * 3
    assert pg.psql("SELECT sum(tbalance) FROM pgbench_tellers", db="test", user="app") == [(CLIENTS * 3,)]


def test_session_mode_with_a_server_for_each_client(pgpoold, pg, bench_db):
    daemon = pgpoold(pool_mode="session", default_pool_size=20)
    with at_most(pg, 20, bench_db):
        done = run(daemon, "pgbench", "-n", "-c", 20, "-j", 2, "-M", "prepared", "-t", 20)
    assert "number of failed transactions: 0" in done.stdout
    assert_books_balance(pg, 400)


def test_pgbench_over_tls(pgpoold, pg, bench_db, certs):
    daemon = pgpoold(**MANY, pool_mode="transaction", default_pool_size=SERVERS, client_tls_sslmode="require",
                     client_tls_key_file=certs.server_key, client_tls_cert_file=certs.server,
                     server_tls_sslmode="require")
    with at_most(pg, SERVERS, bench_db):
        done = run(daemon, "pgbench", "-n", "-S", "-c", 50, "-j", 2, "-M", "prepared", "-t", 20,
                   env={"PGSSLMODE": "require"})
    assert "number of failed transactions: 0" in done.stdout


def test_pgbench_makes_its_tables_through_the_pool(pgpoold, pg):
    pg.create_database("bench_init")
    daemon = pgpoold(**MANY, pool_mode="transaction", default_pool_size=2)
    run(daemon, "pgbench", "-iq", "-s", "1", "--foreign-keys", db="bench_init")
    assert pg.psql("SELECT count(*) FROM pgbench_accounts", db="bench_init") == [(100000,)]
    daemon.stop()
    pg.drop_database("bench_init")
