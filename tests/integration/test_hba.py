# SPDX-License-Identifier: ISC
"""Rules of auth_hba_file and maps of auth_ident_file, from end to end."""

import os
import pwd
import subprocess

import psycopg
import pytest

from account import as_server_account, server_account
from cluster import find_bindir
from wire import Client, ServerError

NO_RULE = "no authentication method is found"


def asked(daemon, user="app", database="test", host=None):
    """How a login begins: a number of Authentication, or the text of the error."""
    with Client.connect(host or daemon.host, daemon.port) as client:
        client.send_startup(user, database)
        message = client.read()
        return message.how if message.kind == "R" else message.text


CASES = [
    # rules, user, database, host is the Unix socket, what comes
    ("host all all 127.0.0.1/32 md5", "app", "test", False, 5),
    ("host all all 127.0.0.1/32 md5", "app", "test", True, NO_RULE),
    ("local all all md5", "app", "test", False, NO_RULE),
    ("local all all md5", "app", "test", True, 5),
    ("host all all 127.0.0.1/32 scram-sha-256", "app", "test", False, 10),
    ("host all all 127.0.0.1/32 password", "app", "test", False, 3),
    ("host all all 127.0.0.1/32 reject", "app", "test", False, "login rejected"),
    ("host all all 127.0.0.2/32 md5", "app", "test", False, NO_RULE),
    ("host all all 127.0.0.0/8 md5", "app", "test", False, 5),
    ("host all all 127.0.0.0 255.0.0.0 md5", "app", "test", False, 5),
    ("host all all 126.0.0.0 255.0.0.0 md5", "app", "test", False, NO_RULE),
    ("host all all ::1/128 md5", "app", "test", False, NO_RULE),
    ("host all all all md5", "app", "test", False, 5),
    ("host all all samehost md5", "app", "test", False, 5),
    ("hostssl all all all md5", "app", "test", False, NO_RULE),
    ("hostnossl all all all md5", "app", "test", False, 5),
    ("host test all all md5", "app", "test", False, 5),
    ("host test all all md5", "app", "test2", False, NO_RULE),
    ("host other,test all all md5", "app", "test", False, 5),
    ("host sameuser all all md5", "app", "test", False, NO_RULE),
    ("host sameuser all all md5", "app", "app", False, 5),
    ('host "all" all all md5', "app", "test", False, NO_RULE),
    ("host all app all md5", "app", "test", False, 5),
    ("host all app all md5", "scram_user", "test", False, NO_RULE),
    ("host all scram_user,app all md5", "app", "test", False, 5),
    ('host all "app" all md5', "app", "test", False, 5),
    ("host all app all reject\nhost all all all md5", "app", "test", False, "login rejected"),
    ("host all app all md5\nhost all all all reject", "app", "test", False, 5),
    ("host replication all all md5", "app", "test", False, NO_RULE),
    ("# nothing\n\n", "app", "test", False, NO_RULE),
]


@pytest.mark.parametrize("rules, user, database, unix, expected", CASES)
def test_the_first_rule_that_fits_counts(pgpoold, rules, user, database, unix, expected):
    daemon = pgpoold(databases={"*": "host=127.0.0.1 port=1"}, hba=rules + "\n", admin_users=None)
    assert asked(daemon, user, database, daemon.socket_dir if unix else None) == expected


def test_a_refusal_has_postgresqls_code(pgpoold):
    daemon = pgpoold(hba="host all all 127.0.0.2/32 trust\n")
    with pytest.raises(ServerError) as caught:
        Client.connect(daemon.host, daemon.port).login("app", "test")
    assert caught.value.message.severity == "FATAL"
    assert caught.value.code in ("28000", "28P01")


def test_rules_tell_addresses_apart(pgpoold):
    daemon = pgpoold(listen_addr="127.0.0.1,::1", hba="host all all 127.0.0.1/32 trust\nhost all all ::1/128 reject\n")
    assert daemon.psql("SELECT 1") == [(1,)]
    with pytest.raises(psycopg.OperationalError, match="login rejected"):
        daemon.psql("SELECT 1", host="::1")


def test_hostssl_and_hostnossl(pgpoold, certs):
    daemon = pgpoold(hba="hostssl all app all trust\nhostnossl all scram_user all md5\n", client_tls_sslmode="allow",
                     client_tls_cert_file=certs.server, client_tls_key_file=certs.server_key)
    assert daemon.psql("SELECT 1", sslmode="require") == [(1,)]
    with pytest.raises(psycopg.OperationalError, match="no authentication method"):
        daemon.psql("SELECT 1", sslmode="disable")
    assert daemon.psql("SELECT 1", user="scram_user", sslmode="disable") == [(1,)]
    with pytest.raises(psycopg.OperationalError, match="no authentication method"):
        daemon.psql("SELECT 1", user="scram_user", sslmode="require")


def test_lists_may_be_in_files(pgpoold):
    daemon = pgpoold(hba="host @dbs @users all trust\n", start=False)
    (daemon.home / "dbs").write_text("other, test\n")
    (daemon.home / "users").write_text("# those\napp\n")
    daemon.start()
    assert daemon.psql("SELECT 1") == [(1,)]
    assert asked(daemon, "scram_user") == NO_RULE


@pytest.mark.parametrize("rules, told", (("host all all 127.0.0.1/33 md5", "hba.conf:2: "),
                                         ("host all all 127.0.0.1/32 md6", "hba.conf:2: "),
                                         ("host all +staff all md5", "hba.conf:2: "),
                                         ("host all all all gss", "hba.conf:2: "),
                                         ("local all all 127.0.0.1/32 md5", "hba.conf:2: "),
                                         ("host all", "hba.conf:2: ")))
def test_a_bad_rule_is_told_with_its_line(pgpoold, rules, told):
    daemon = pgpoold(hba="# first\n" + rules + "\n", wait=False)
    daemon.wait_exit(1)
    assert told in daemon.log


def test_rules_change_with_reload_and_bad_ones_do_not(pgpoold):
    daemon = pgpoold(hba="host all all all trust\n")
    daemon.hba_path.write_text("host all admin all trust\nhost all all all reject\n")
    daemon.admin("RELOAD")
    assert asked(daemon) == "login rejected"
    daemon.hba_path.write_text("nonsense\n")
    with pytest.raises(ServerError, match="RELOAD failed"):
        daemon.admin("RELOAD")
    daemon.wait_log(r"hba\.conf:1: ")
    assert asked(daemon) == "login rejected"


def test_auth_query_serves_hba_methods(pgpoold):
    daemon = pgpoold(hba="host all all all scram-sha-256\n", auth_user="postgres", userlist={"postgres": ""})
    assert daemon.psql("SELECT current_user", user="scram_user") == [("scram_user",)]


def test_unknown_users_and_databases_look_the_same_under_hba(pgpoold):
    daemon = pgpoold(databases={"test": "host=127.0.0.1 port=1"}, hba="host all all all md5\n")
    for user, database in (("app", "test"), ("nobody", "test"), ("app", "nowhere"), ("nobody", "nowhere")):
        with Client.connect(daemon.host, daemon.port) as client:
            with pytest.raises(ServerError) as caught:
                client.login(user, database, "wrong")
            assert (caught.value.code, caught.value.text) == ("28P01", "password authentication failed")
            assert [m.kind for m in client.login_messages] == ["R", "E"]


# ---------------------------------------------------------------------------------- peer and cert

def psql_as_server(daemon, user, database="test"):
    """psql over the Unix socket, started by the account that servers run as."""
    command = [find_bindir() / "psql", "-h", daemon.socket_dir, "-p", daemon.port, "-U", user, "-d", database, "-Atwc",
               "SELECT current_user"]
    return subprocess.run(as_server_account(command), cwd="/", check=False, capture_output=True, text=True)


def test_peer_takes_the_system_user(pgpoold, pg):
    name = server_account().pw_name
    daemon = pgpoold(databases={"test": f"host={pg.host} port={pg.port} user=app"}, hba="local all all peer\n")
    assert psql_as_server(daemon, name).stdout == "app\n"
    assert "unix socket login rejected" in psql_as_server(daemon, "scram_user").stderr


def test_peer_with_a_map(pgpoold, pg):
    name = server_account().pw_name
    daemon = pgpoold(databases={"test": f"host={pg.host} port={pg.port}"}, hba="local all all peer map=m\n",
                     ident=f"# system-user and role\nm {name} app\nm someone scram_user\nother {name} md5_user\n")
    assert psql_as_server(daemon, "app").stdout == "app\n"
    for user in ("scram_user", "md5_user", name):
        assert "unix socket login rejected" in psql_as_server(daemon, user).stderr


def test_peer_with_a_regular_expression(pgpoold, pg):
    name = server_account().pw_name
    daemon = pgpoold(databases={"test": f"host={pg.host} port={pg.port} user=app"}, hba="local all all peer map=m\n",
                     ident=f"m /^({name[0]}).*$ user_\\1\n")
    assert psql_as_server(daemon, f"user_{name[0]}").stdout == "app\n"
    assert "unix socket login rejected" in psql_as_server(daemon, name).stderr


def test_peer_of_root(pgpoold, pg):
    """The tests' own account."""
    me = pwd.getpwuid(os.geteuid()).pw_name
    daemon = pgpoold(databases={"test": f"host={pg.host} port={pg.port} user=app"}, hba="local all all peer\n")
    assert daemon.psql("SELECT current_user", user=me, host=daemon.socket_dir) == [("app",)]


@pytest.fixture
def cert_daemon(pgpoold, certs, pg):
    def make(hba, ident=None, mode="verify-full"):
        return pgpoold(databases={"test": f"host={pg.host} port={pg.port} user=app"}, hba=hba, ident=ident,
                       client_tls_sslmode=mode, client_tls_cert_file=certs.server,
                       client_tls_key_file=certs.server_key, client_tls_ca_file=certs.ca)
    return make


def with_cert(daemon, user, certs):
    return daemon.psql("SELECT current_user", user=user, sslmode="require", sslcert=str(certs.client),
                       sslkey=str(certs.client_key))


def test_cert_takes_the_common_name(cert_daemon, certs):
    daemon = cert_daemon("hostssl all all all cert\n")
    assert with_cert(daemon, "cert_user", certs) == [("app",)]
    with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
        with_cert(daemon, "scram_user", certs)


@pytest.mark.parametrize("mode", ["allow", "prefer", "require"])
def test_cert_is_for_those_who_show_one_where_nobody_must(cert_daemon, certs, mode):
    daemon = cert_daemon("hostssl all cert_user all cert\nhost all all all trust\n", mode=mode)
    assert with_cert(daemon, "cert_user", certs) == [("app",)]
    without = {"sslmode": "require", "sslcert": "/none"}
    assert daemon.psql("SELECT 1", user="app", **without) == [(1,)]
    with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
        daemon.psql("SELECT 1", user="cert_user", **without)
    stranger, key = certs.sign(f"stranger_{mode}", "cert_user", ca="other_ca")
    with pytest.raises(psycopg.OperationalError, match="unknown ca|closed the connection|SSL"):
        daemon.psql("SELECT 1", user="cert_user", sslmode="require", sslcert=str(stranger), sslkey=str(key))
    daemon.wait_log("TLS handshake failed: .*certificate verify failed")


def test_cert_with_a_map(cert_daemon, certs):
    daemon = cert_daemon("hostssl all all all cert map=m\n", "m cert_user scram_user\nm /^(.*)_user$ \\1\n")
    assert with_cert(daemon, "scram_user", certs) == [("app",)]
    assert with_cert(daemon, "cert", certs) == [("app",)]
    with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
        with_cert(daemon, "cert_user", certs)


# ---------------------------------------------------------------------------------- the console

def test_rules_hold_for_the_console_too(pgpoold):
    daemon = pgpoold(hba="host pgpoold admin all md5\nhost all all all reject\n")
    assert daemon.admin("SHOW VERSION")
    with pytest.raises(ServerError, match="login rejected"):
        daemon.admin("SHOW VERSION", user="stats")
