# SPDX-License-Identifier: ISC
"""SHOW FDS: over the Unix socket the daemon's own system user gets descriptors and secrets."""

import base64
import json
import subprocess
import sys

import pytest

import programs
from account import as_server_account
from daemon_process import PASSWORDS
from sessions import SLEEPS, wait_running
from waiting import PATIENCE
from wire import cancel_request, query

COLUMNS = ("fd task user database addr port cancel link client_encoding std_strings datestyle timezone password "
           "scram_client_key scram_server_key")
TAKE = programs.CLIENTS / "take_fds.py"


def take(daemon, how="simple"):
    """The rows, as a process of the daemon's own user gets them."""
    command = [sys.executable, "-c", TAKE.read_text(), f"{daemon.socket_dir}/.s.PGSQL.{daemon.port}", how]
    done = subprocess.run(as_server_account(command), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def of_task(rows, task):
    return [row for row in rows if row["task"] == task]


@pytest.mark.parametrize("how", ["simple", "extended"])
def test_each_row_carries_its_descriptor(pgpoold, wire, how):
    daemon = pgpoold(pool_mode="transaction", server_tls_sslmode="disable")
    idle, holder = wire(daemon), wire(daemon, host=daemon.socket_dir)
    holder.run("BEGIN")
    free = wire(daemon)
    pid = free.run("SELECT pg_backend_pid()")[0][0]
    rows = take(daemon, how)
    assert list(rows[0])[:15] == COLUMNS.split()

    listening = of_task(rows, "pooler")
    assert {row["addr"] for row in listening} == {"127.0.0.1", "unix"}
    assert all(row["accepts"] and int(row["port"]) == daemon.port and row["user"] is None for row in listening)

    clients = of_task(rows, "client")
    assert len(clients) == 3 and not any(row["accepts"] for row in clients)
    ports = {client.sock.getsockname()[1] for client in (idle, free)}
    assert {row["peer"][1] for row in clients if row["addr"] == "127.0.0.1"} == ports
    mine = next(row for row in clients if row["addr"] == "unix")
    assert mine["user"] == "app" and mine["database"] == "test"
    assert mine["client_encoding"] == "UTF8" and mine["std_strings"] == "on"

    servers = of_task(rows, "server")
    assert len(servers) == 2 and pid in {row["answer"] for row in servers}
    server = next(row for row in servers if row["link"] is not None)
    assert server["link"] == mine["fd"] and mine["link"] == server["fd"]
    assert len({row["fd"] for row in rows}) == len(rows)


def test_secrets_come_along(pgpoold, wire, pg):
    verifier = pg.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'scram_user'")[0][0]
    daemon = pgpoold(pool_mode="transaction", auth_type="scram-sha-256", server_tls_sslmode="disable",
                     userlist={"scram_user": verifier, "app": PASSWORDS["app"]})
    scram = wire(daemon, user="scram_user", database="test", password=PASSWORDS["scram_user"])
    plain = wire(daemon, user="app", database="test", password=PASSWORDS["app"])
    scram.run("SELECT 1")
    plain.run("SELECT 1")
    rows = take(daemon)
    for task in ("client", "server"):
        of_plain, of_scram = (next(row for row in of_task(rows, task) if row["user"] == user) for user in ("app", "scram_user"))
        assert of_plain["password"] == PASSWORDS["app"]
        assert of_scram["password"] is None
        server_key = verifier.split(":")[-1]
        assert len(of_scram["scram_client_key"]) == 66
        assert bytes.fromhex(of_scram["scram_server_key"][2:]) == base64.b64decode(server_key)
    mine = next(row for row in of_task(rows, "client") if row["user"] == "app")
    assert bytes.fromhex(mine["cancel"]) == plain.pid.to_bytes(4, "big") + plain.secret


def test_the_cancel_key_of_a_server_cancels_there(pgpoold, wire, pg):
    daemon = pgpoold(pool_mode="transaction", server_tls_sslmode="disable")
    client = wire(daemon)
    pid = client.run("SELECT pg_backend_pid()")[0][0]
    key = bytes.fromhex(of_task(take(daemon), "server")[0]["cancel"])
    assert int.from_bytes(key[:4], "big") == int(pid)
    client.send(query(SLEEPS))
    wait_running(pg, SLEEPS)
    with wire(pg, login=False) as canceler:
        canceler.send(cancel_request(int(pid), key[4:]))
        canceler.expect_closed()
    assert client.read_until("E")[-1].code == "57014"


def test_many_rows_wait_for_a_reader(pgpoold, wire):
    daemon = pgpoold(pool_mode="transaction", max_client_conn=500)
    clients = [wire(daemon, application_name="x" * 60) for _ in range(400)]
    rows = of_task(take(daemon), "client")
    assert {row["peer"][1] for row in rows} == {client.sock.getsockname()[1] for client in clients}


def test_tls_and_consoles_are_left_out(pgpoold, wire, certs):
    daemon = pgpoold(client_tls_sslmode="allow", client_tls_key_file=certs.server_key, client_tls_cert_file=certs.server)
    plain, secret = wire(daemon), wire(daemon, login=False)
    secret.ask_tls()
    secret.start_tls()
    secret.login()
    rows = of_task(take(daemon), "client")
    assert [row["peer"][1] for row in rows] == [plain.sock.getsockname()[1]]
