# SPDX-License-Identifier: ISC
"""psql, as people use it, in each mode that it can live with."""

import signal

import pytest

from programs import MODES, run, start
from waiting import PATIENCE


@pytest.fixture(params=MODES)
def daemon(request, pgpoold):
    return pgpoold(pool_mode=request.param, default_pool_size=3)


def psql(daemon, *args, **how):
    return run(daemon, "psql", "-X", "-v", "ON_ERROR_STOP=1", *args, **how)


@pytest.fixture
def table(pg):
    pg.psql("DROP TABLE IF EXISTS things; CREATE TABLE things (id int PRIMARY KEY, name text)", db="test", user="app")
    yield "things"
    pg.psql("DROP TABLE things", db="test", user="app")


def test_one_command_after_another(daemon):
    out = psql(daemon, "-Atc", "SELECT 1; SELECT 2", "-c", "SELECT current_database()").stdout
    assert out.split() == ["1", "2", "test"]


def test_describe_commands_show_the_catalogue(daemon, table):
    out = psql(daemon, "-c", r"\d", "-c", rf"\d+ {table}", "-c", r"\l", "-c", r"\du", "-c", r"\dn+", "-c",
               r"\df pg_sle*", "-c", r"\conninfo").stdout
    assert 'Table "public.things"' in out and "things_pkey" in out and "test2" in out and "pg_sleep" in out
    assert 'You are connected to database "test" as user "app"' in out


def test_copy_goes_both_ways(daemon, table, tmp_path):
    rows = "".join(f"{i}\tname {i}\n" for i in range(1, 20001))
    (tmp_path / "in").write_text(rows)
    psql(daemon, "-c", rf"\copy {table} FROM '{tmp_path}/in'", "-c", rf"\copy {table} TO '{tmp_path}/out'",
         "-c", rf"\copy (SELECT * FROM {table} ORDER BY id DESC LIMIT 2) TO '{tmp_path}/two' WITH (FORMAT csv)")
    assert (tmp_path / "out").read_text() == rows
    assert (tmp_path / "two").read_text() == "20000,name 20000\n19999,name 19999\n"


def test_copy_from_standard_input_and_to_standard_output(daemon, table):
    script = f"COPY {table} FROM STDIN;\n1\tone\n2\ttwo\n\\.\nCOPY {table} TO STDOUT;\n"
    out = psql(daemon, "-qf", "-", stdin=script).stdout
    assert out == "1\tone\n2\ttwo\n"


def test_a_failed_copy_leaves_the_session_usable(daemon, table):
    script = f"COPY {table} FROM STDIN;\nnot a number\tx\n\\.\nSELECT 'still here';\n"
    done = run(daemon, "psql", "-X", "-At", stdin=script)
    assert "invalid input syntax for type integer" in done.stderr and done.stdout == "still here\n"


def test_a_script_of_many_kinds_of_statements(daemon, table):
    script = f"""
        BEGIN;
        INSERT INTO {table} SELECT g, 'row ' || g FROM generate_series(1, 10) g;
        SAVEPOINT a;
        DELETE FROM {table};
        ROLLBACK TO a;
        DECLARE c SCROLL CURSOR FOR SELECT id FROM {table} ORDER BY id;
        FETCH 3 FROM c;
        FETCH BACKWARD 1 FROM c;
        COMMIT;
        DO $$ BEGIN RAISE NOTICE 'said in passing'; END $$;
        SELECT count(*) AS n FROM {table} \\gset
        \\echo :n
        SELECT id, name FROM {table} ORDER BY id LIMIT 1 \\gx
        SELECT 'SELECT ' || g FROM generate_series(7, 8) g \\gexec
        SELECT 1 \\; SELECT 2;
        SELECT id % 2 AS odd, id / 6 AS high, count(*) FROM {table} GROUP BY 1, 2 \\crosstabview
        """
    done = psql(daemon, "-Atqf", "-", stdin=script)
    assert done.stdout.split("\n")[:5] == ["1", "2", "3", "2", "10"]
    assert "said in passing" in done.stderr and "name|row 1" in done.stdout


def test_single_transaction_is_all_or_nothing(daemon, table):
    done = run(daemon, "psql", "-X", "-1", "-v", "ON_ERROR_STOP=1", check=False,
               stdin=f"INSERT INTO {table} VALUES (1, 'x');\nSELECT 1/0;\n")
    assert done.returncode == 3 and "division by zero" in done.stderr
    assert psql(daemon, "-Atc", f"SELECT count(*) FROM {table}").stdout == "0\n"


def test_errors_show_where_they_are(daemon):
    done = run(daemon, "psql", "-X", "-c", "SELECT nonsense FROM nowhere", check=False)
    assert done.returncode == 1
    assert 'relation "nowhere" does not exist' in done.stderr and "LINE 1: SELECT nonsense FROM nowhere" in done.stderr
    assert "^" in done.stderr
    done = run(daemon, "psql", "-X", "-c", r"\set VERBOSITY verbose", "-c", "SELECT 1/0", check=False)
    assert "22012" in done.stderr and "LOCATION:" in done.stderr


def test_a_refused_login_says_why(daemon):
    done = run(daemon, "psql", "-X", "-c", "SELECT 1", db="no_such_db", check=False)
    assert done.returncode == 2 and 'database "no_such_db" does not exist' in done.stderr


def test_watch_repeats_a_query(daemon, eventually):
    with start(daemon, "psql", "-XAtq") as process:
        process.stdin.write("SELECT 'tick' \\watch 0.05\n")
        process.stdin.flush()
        ticks = 0
        while ticks < 3:
            ticks += process.stdout.readline() == "tick\n"
        process.send_signal(signal.SIGINT)
        process.communicate("\\q\n", PATIENCE)
    eventually(lambda: not daemon.show("clients", user="app"))


def test_an_interrupt_cancels_the_query(daemon, pg, eventually):
    with start(daemon, "psql", "-XAt") as process:
        process.stdin.write("SELECT pg_sleep(100);\n")
        process.stdin.flush()
        (active,) = eventually(lambda: [a for a in pg.activity("test") if a["state"] == "active"])
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert "canceling statement due to user request" in err
    assert psql(daemon, "-Atc", "SELECT pg_backend_pid()").stdout == f"{active['pid']}\n"


def test_a_fetch_count_uses_a_cursor(daemon):
    out = psql(daemon, "-Atf", "-", stdin="\\set FETCH_COUNT 100\nSELECT g FROM generate_series(1, 1000) g;\n").stdout
    assert out.split() == [str(i) for i in range(1, 1001)]


def test_a_very_wide_row_comes_through(daemon):
    assert psql(daemon, "-Atc", "SELECT length(x), x FROM (SELECT repeat('ab', 2000000) x) q").stdout.strip() == (
        "4000000|" + "ab" * 2000000)


def test_the_clients_encoding_is_respected(daemon):
    out = psql(daemon, "-Atc", "SHOW client_encoding", "-c", "SELECT 'ä'", env={"PGCLIENTENCODING": "LATIN1"}).stdout
    assert out.startswith("LATIN1\n")
    assert psql(daemon, "-Atc", "SHOW client_encoding").stdout == "UTF8\n"


def test_application_name_and_options_arrive(daemon):
    out = psql(daemon, "-Atc", "SHOW application_name", "-c", "SHOW datestyle",
               env={"PGAPPNAME": "my report", "PGOPTIONS": "-c datestyle=German,DMY"}).stdout
    assert out == "my report\nGerman, DMY\n"


def test_pg_isready_is_answered(daemon):
    assert run(daemon, "pg_isready").stdout.endswith("accepting connections\n")


@pytest.mark.parametrize("user", ["scram_user", "md5_user", "password_user"])
def test_passwords_reach_the_server(daemon, user):
    assert psql(daemon, "-Atc", "SELECT session_user", user=user).stdout == f"{user}\n"


@pytest.mark.parametrize("auth_type", ["scram-sha-256", "md5", "plain"])
@pytest.mark.parametrize("sslmode", ["disable", "verify-full"])
def test_psql_logs_in(pgpoold, certs, auth_type, sslmode):
    daemon = pgpoold(pool_mode="transaction", auth_type=auth_type, client_tls_sslmode="allow",
                     client_tls_key_file=certs.server_key, client_tls_cert_file=certs.server)
    env = {"PGSSLMODE": sslmode, "PGSSLROOTCERT": str(certs.ca), "PGHOST": "localhost"}
    out = psql(daemon, "-c", r"\conninfo", "-Atc", "SELECT 1", env=env).stdout
    assert ("SSL connection" in out) == (sslmode != "disable") and out.endswith("1\n")
    done = run(daemon, "psql", "-Xc", "SELECT 1", env={**env, "PGPASSWORD": "wrong"}, check=False)
    assert done.returncode == 2 and "authentication failed" in done.stderr


def test_psql_over_the_unix_socket(pgpoold):
    daemon = pgpoold(pool_mode="transaction")
    assert psql(daemon, "-Atc", "SELECT 1", env={"PGHOST": daemon.socket_dir}).stdout == "1\n"


def test_psql_on_the_console(daemon):
    out = psql(daemon, "-c", "SHOW VERSION", "-c", "SHOW POOLS", "-c", "SHOW HELP", "-c", "SHOW CONFIG",
               db="pgbouncer", user="admin")
    assert "pool_mode" in out.stdout and "SHOW" in out.stderr
