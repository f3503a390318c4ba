# SPDX-License-Identifier: ISC
"""The files of an operator who runs PgBouncer, unchanged: thirty databases, users, rules, auth_query, TLS, peers. What PgBouncer
of Debian knows of it is given to that as well, so that the files are not only what we think an operator writes."""

import os
import pathlib
import re
import signal
import subprocess

import psycopg
import pytest

from account import Port, as_server_account, give
from waiting import PATIENCE, eventually
from wire import Client, scram_verifier

MAIN = """\
;; pgbouncer.ini -- managed by configuration management, do not edit by hand
;; =========================================================================

[databases]

; --- production ---
shop            = host=127.0.0.1 port={pg_port} dbname=test
shop_ro         = host=127.0.0.1,localhost port={pg_port} dbname=test
  billing       = host=127.0.0.1 port={pg_port} dbname=test pool_size=5 reserve_pool=2
crm             = host = 127.0.0.1 port = {pg_port} dbname = test
warehouse       = host=127.0.0.1 port={pg_port} dbname=test pool_mode=session
# reports run long
reports         = host=127.0.0.1 port={pg_port} dbname=test pool_mode=session pool_size=3 connect_query='SET work_mem TO ''13MB'''
local_shop      = host={pg_socket} port={pg_port} dbname=test
sessions.v2     = host=127.0.0.1 port={pg_port} dbname=test max_db_connections=8
my-app_db       = host=127.0.0.1 port={pg_port} dbname='test'
Capital         = host=127.0.0.1 port={pg_port} dbname=test

; --- one login for all ---
forced          = host=127.0.0.1 port={pg_port} dbname=test user=app password=app-secret
forced_scram    = host=127.0.0.1 port={pg_port} dbname=test user=scram_user password='scram-secret'
forced_known    = host=127.0.0.1 port={pg_port} dbname=test user=scram_user

; --- settings ---
latin           = host=127.0.0.1 port={pg_port} dbname=test client_encoding=LATIN1
german          = host=127.0.0.1 port={pg_port} dbname=test datestyle='ISO, DMY' timezone='Europe/Berlin'
tokyo           = host=127.0.0.1 port={pg_port} dbname=test timezone=Asia/Tokyo
asking          = host=127.0.0.1 port={pg_port} dbname=test auth_user=asker

; --- tenants ---
{tenants}

; everything else
* = host=127.0.0.1 port={pg_port}

[users]
app        = pool_mode=transaction max_user_connections=40
md5_user = pool_mode = session

%include {dir}/more.ini

[pgbouncer]

;;; Administrative settings
logfile = {dir}/pgbouncer.log
pidfile = {dir}/pgbouncer.pid

;;; Where to wait for clients
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir = {dir}
unix_socket_mode = 0777
;unix_socket_group =

;;; TLS
client_tls_sslmode = prefer
client_tls_ca_file = {certs.ca}
client_tls_key_file = {certs.server_key}
client_tls_cert_file = {certs.server}
client_tls_ciphers = secure
client_tls_protocols = secure
client_tls_dheparams = auto
client_tls_ecdhcurve = auto
server_tls_sslmode = prefer
server_tls_protocols = secure

;;; Authentication
auth_type = hba
auth_hba_file = {dir}/hba.conf
auth_file = {dir}/userlist.txt
auth_user = asker
auth_query = SELECT usename, passwd FROM pg_catalog.pg_shadow WHERE usename=$1
admin_users = admin, postgres
stats_users = stats, root

;;; Pooler personality
pool_mode = transaction
server_reset_query = DISCARD ALL
server_reset_query_always = 0
ignore_startup_parameters = extra_float_digits, options
server_check_query = select 1
server_check_delay = 30
application_name_add_host = 1

;;; Connection limits
max_client_conn = 500
default_pool_size = 10
min_pool_size = 0
reserve_pool_size = 5
reserve_pool_timeout = 3
max_db_connections = 50
max_user_connections = 50
server_round_robin = 1

;;; Logging
syslog = 0
log_connections = 1
log_disconnections = 1
log_pooler_errors = 1
log_stats = 1
stats_period = 60
verbose = 0

;;; Timeouts
server_lifetime = 3600
server_idle_timeout = 600
server_connect_timeout = 15
server_login_retry = 1
query_timeout = 0
query_wait_timeout = 120
client_idle_timeout = 0
client_login_timeout = 60
autodb_idle_timeout = 3600
suspend_timeout = 10
idle_transaction_timeout = 0

;;; Low-level
pkt_buf = 4096
max_packet_size = 2147483647
listen_backlog = 128
sbuf_loopcnt = 5
so_reuseport = 0
tcp_defer_accept = 0
tcp_socket_buffer = 0
tcp_keepalive = 1
tcp_keepcnt = 3
tcp_keepidle = 60
tcp_keepintvl = 10
tcp_user_timeout = 0
dns_max_ttl = 15
dns_zone_check_period = 0
dns_nxdomain_ttl = 15
disable_pqexec = 0
; a later one counts
default_pool_size = 12
"""

# What came after the PgBouncer of Debian.
SINCE_THEN = """\
[databases]
"odd name"      = host=127.0.0.1 port={pg_port} dbname=test
"with""quote"   = host=127.0.0.1 port={pg_port} dbname=test

[peers]
1 = host=127.0.0.1 port={port}
2 = host={dir}/peer2 port={port}
3 = host=127.0.0.1 port=1 pool_size=3

[users]
scram_user = pool_size=7 reserve_pool_size=1 max_user_client_connections=100 query_timeout=60 client_idle_timeout=3600

[pgbouncer]
peer_id = 1
auth_dbname = shop
auth_ident_file = {dir}/ident.conf
max_prepared_statements = 100
track_extra_parameters = IntervalStyle, search_path
max_db_client_connections = 0
max_user_client_connections = 0
transaction_timeout = 0
query_wait_notify = 5
cancel_wait_timeout = 10
scram_iterations = 4096
client_tls13_ciphers =
server_tls13_ciphers =
server_tls_ciphers = default
job_name = shop-pool
log_stats = 1
"""

HBA = """\
# TYPE  DATABASE        USER                    ADDRESS                 METHOD
local   all             admin,stats                                     md5
host    pgbouncer       admin,stats             127.0.0.1/32            md5
host    "Capital"       md5_user                127.0.0.0 255.255.255.0 reject
hostssl all             scram_user              0.0.0.0/0               scram-sha-256
hostnossl all           scram_user              0.0.0.0/0               md5
host    all             all                     127.0.0.1/32            scram-sha-256
"""

N_TENANTS = 12
NAMES = ["shop", "shop_ro", "billing", "crm", "warehouse", "reports", "local_shop", "sessions.v2", "my-app_db", "Capital",
         "forced", "forced_scram", "forced_known", "latin", "german", "tokyo", "asking",
         *(f"tenant_{n:02}" for n in range(N_TENANTS))]


@pytest.fixture
def operator(pgpoold, pg, certs):
    """An operator's folder, with a daemon that is not started yet, and the users that only the server knows."""
    pg.psql("CREATE ROLE asker LOGIN SUPERUSER PASSWORD 'asker-secret'; "
            "SET password_encryption = 'scram-sha-256'; CREATE ROLE reporter LOGIN PASSWORD 'reporter-secret'")
    daemon = pgpoold(start=False)
    tenants = "\n".join(f"tenant_{n:02}       = host=127.0.0.1 port={pg.port} dbname=test{'2' if n % 2 else ''} pool_size={n + 1}"
                        for n in range(N_TENANTS))
    texts = {"pgbouncer.ini": MAIN.replace("{tenants}", tenants), "more.ini": SINCE_THEN, "hba.conf": HBA,
             "ident.conf": "# nobody yet\n",
             "userlist.txt": '"app" "app-secret"\n"scram_user" "scram-secret"\n"md5_user" "md5-secret"\n'
                             f'"admin" "admin-secret"\n"stats" "{scram_verifier("stats-secret")}"\n"asker" "asker-secret"\n'
                             '"cert_user" ""\n'}

    def fill(text, port):
        return re.sub(r"\{(?:pg_port|pg_socket|dir|port|certs\.\w+)\}", lambda m: m.group(0).format(
            pg_port=pg.port, pg_socket=pg.socket_dir, dir=daemon.home, port=port, certs=certs), text)

    def write(port, **other):
        for name, text in {**texts, **other}.items():
            (daemon.home / name).write_text(fill(text, port))
            give(daemon.home / name, 0o600)
        return daemon.home / "pgbouncer.ini"

    daemon.write_operators_files = write
    yield daemon
    for user in ("asker", "reporter"):
        pg.drop_user(user)


def log_in_in_every_way(daemon, certs, port):
    """What has to work with the files above, whoever reads them."""
    def connect(db, user="app", password="app-secret", **more):
        more = {"host": "127.0.0.1", "sslmode": "prefer", "sslcert": "/none", **more}
        return psycopg.connect(psycopg.conninfo.make_conninfo(port=port, dbname=db, user=user, password=password, **more),
                               autocommit=True)

    def ask(sql, *args, **more):
        with connect(*args, **more) as conn:
            return conn.execute(sql).fetchone()[0]

    for name in NAMES:
        expected = "test2" if name.startswith("tenant") and int(name[-2:]) % 2 else "test"
        assert ask("SELECT current_database()", name) == expected, name
    assert ask("SELECT current_database()", "test2") == "test2", "by the entry *"
    for user, password in (("scram_user", "scram-secret"), ("md5_user", "md5-secret"), ("reporter", "reporter-secret")):
        assert ask("SELECT current_user", "shop", user, password) == user
    assert ask("SELECT current_user", "shop", "scram_user", "scram-secret", sslmode="disable") == "scram_user"
    assert ask("SELECT current_user", "shop", "reporter", "reporter-secret", sslmode="verify-full", host="localhost",
               sslrootcert=str(certs.ca)) == "reporter"
    assert ask("SELECT current_user", "forced", "reporter", "reporter-secret") == "app"
    assert ask("SELECT current_user", "forced_known", "app") == "scram_user"
    assert ask("SELECT current_user", "asking", "reporter", "reporter-secret") == "reporter"
    assert ask("SHOW work_mem", "reports") == "13MB"
    for why, args in (("rejected", ("Capital", "md5_user", "md5-secret")), ("password", ("shop", "app", "wrong")),
                      ("nobody", ("shop", "nobody", "x"))):
        with pytest.raises(psycopg.OperationalError):
            connect(*args).close()
            raise AssertionError(why)
    with connect("pgbouncer", "admin", "admin-secret") as console:
        names = [row[0] for row in _simple(console, "SHOW DATABASES")]
        assert set(NAMES) <= set(names)
        assert dict(row[:2] for row in _simple(console, "SHOW CONFIG"))["default_pool_size"] == "12"


def _simple(conn, sql):
    """The console of PgBouncer knows the simple protocol only."""
    with psycopg.ClientCursor(conn) as cursor:
        return cursor.execute(sql).fetchall()


def test_an_operators_files_run_unchanged(operator, certs):
    operator.ini_path = operator.write_operators_files(operator.port)
    checked = subprocess.run(as_server_account([operator.binary, "--check-config", operator.ini_path]), check=False, timeout=60,
                             text=True, capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    operator.start()
    log_in_in_every_way(operator, certs, operator.port)
    for name in ("odd name", 'with"quote'):
        assert operator.psql("SELECT current_database()", db=name, password="app-secret") == [("test",)]
    assert (operator.home / "pgbouncer.pid").read_text().strip() == str(operator.pid)
    assert "process up" in (operator.home / "pgbouncer.log").read_text()
    rows = {row["name"]: row for row in operator.show("databases")}
    assert len(rows) >= 30
    assert (rows["billing"]["pool_size"], rows["billing"]["reserve_pool_size"]) == (5, 2)
    assert (rows["reports"]["pool_mode"], rows["shop"]["pool_mode"] or "transaction") == ("session", "transaction")
    assert [row["peer_id"] for row in operator.show("peers")] == [1, 2, 3]
    with Client.connect(operator.socket_dir, operator.port) as console:
        console.login("stats", "pgbouncer", "stats-secret")
        assert console.run("SHOW VERSION")
    assert operator.psql("SHOW timezone", db="tokyo", password="app-secret") == [("Asia/Tokyo",)]
    operator.admin("RELOAD")
    assert operator.psql("SELECT 1", db="shop", password="app-secret") == [(1,)]


def test_pgbouncer_of_debian_takes_the_same_files(operator, certs):
    """Without what is newer than it."""
    port = Port()
    home = operator.home
    path = operator.write_operators_files(port.number, **{"more.ini": "; nothing here\n"})
    program = as_server_account(["/usr/sbin/pgbouncer", path], death_signal="KILL")
    with open(home / "stderr", "ab") as stderr, subprocess.Popen(program, cwd=home, stdin=subprocess.DEVNULL, stdout=stderr,
                                                                 stderr=stderr) as process:
        try:
            port.close()  # it does not share, not even with a socket that does not listen
            eventually(lambda: Client.connect("127.0.0.1", port.number, timeout=5).close() or True, "pgbouncer accepts")
            log_in_in_every_way(operator, certs, port.number)
        except BaseException:
            log = home / "pgbouncer.log"
            print(log.read_text()[-4000:] if pathlib.Path(log).exists() else "no log", (home / "stderr").read_text()[-3000:])
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
    assert not os.path.exists(home / "pgbouncer.pid")
