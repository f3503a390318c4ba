# SPDX-License-Identifier: ISC
"""After thousands of connections, queries, errors and cancels the daemon holds as much as before them."""

import pathlib
import threading
import time

import psycopg
import pytest

from daemon_process import SANITIZER_ENV
from programs import run
from wire import Client, cancel_request, query


def descriptors(daemon):
    return len(list(pathlib.Path(f"/proc/{daemon.pid}/fd").iterdir()))


def rss_kb(daemon):
    status = pathlib.Path(f"/proc/{daemon.pid}/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0])


def objects(daemon):
    """Everything that is counted, except what depends on the moment."""
    return {row["list"]: row["items"] for row in daemon.show("lists") if not row["list"].startswith("free_")}


@pytest.fixture
def daemon(pgpoold, pg, eventually):
    """It has all its servers from the start. The sanitizer gives freed memory back at once, so that a size tells."""
    options = SANITIZER_ENV["ASAN_OPTIONS"] + ":quarantine_size_mb=1:thread_local_quarantine_size_kb=64"
    daemon = pgpoold(pool_mode="transaction", default_pool_size=3, min_pool_size=3, max_client_conn=500,
                     max_prepared_statements=20, log_connections=0, log_disconnections=0,
                     databases={"test": f"host={pg.host} port={pg.port}"}, env={"ASAN_OPTIONS": options})
    daemon.psql("SELECT 1")
    eventually(lambda: objects(daemon)["used_servers"] == 3)
    return daemon


def assert_gives_all_back(daemon, eventually, work, rounds=3):
    """@work is done over and over; what it needed the first time is all that it ever needs."""
    def counts():
        found = objects(daemon)
        time.sleep(0.05)  # the descriptor of our own look at the console goes a moment later
        return descriptors(daemon), found

    work()
    # The last cancel and the like need a moment; without clients there is nothing but listeners and three servers.
    eventually(lambda: not daemon.show("clients", user="app"))
    before = None
    for _ in range(5):
        now = counts()
        before = min(before or now, now, key=lambda c: c[0])
    memory = rss_kb(daemon)
    for _ in range(rounds):
        work()
    eventually(lambda: not daemon.show("clients", user="app"))
    eventually(lambda: (now := counts())[0] <= before[0] and now[1] == before[1], f"as before: {before}")
    assert rss_kb(daemon) < memory + 8000, f"from {memory} kB to {rss_kb(daemon)} kB"


def test_connects(daemon, eventually):
    def work():
        for _ in range(500):
            Client.connect(daemon.host, daemon.port).login("app", "test").goodbye()

    assert_gives_all_back(daemon, eventually, work)


def test_refused_logins_and_halves_of_messages(daemon, eventually):
    def work():
        for i in range(500):
            client = Client.connect(daemon.host, daemon.port)
            if i % 3 == 0:
                client.send(b"\0\0\0\x20\0\3")
            elif i % 3 == 1:
                client.send(b"\0\0\0\x08\x04\xd2\x16\x2f")
            else:
                with pytest.raises(Exception, match="no such database"):
                    client.login("app", f"nowhere_{i}")
            client.close()

    assert_gives_all_back(daemon, eventually, work)


def test_queries_errors_and_statements(daemon, eventually):
    def work():
        with daemon.connect() as conn:
            conn.prepare_threshold = 0
            for i in range(400):
                conn.execute(f"SELECT {i % 60} + %s::int", [i])  # more texts than a server may have prepared
                with pytest.raises(psycopg.Error):
                    conn.execute("SELECT * FROM nowhere WHERE a = %s", [i])
            conn.execute("SELECT repeat('x', 20000000)")

    assert_gives_all_back(daemon, eventually, work, rounds=2)


def test_cancels_and_lost_clients(daemon, eventually):
    def work():
        for i in range(60):
            client = Client.connect(daemon.host, daemon.port).login("app", "test")
            client.send(query("SELECT pg_sleep(0.3)"))
            for _ in range(3):
                with Client.connect(daemon.host, daemon.port) as killer:
                    killer.send(cancel_request(client.pid, client.secret))
            if i % 2:
                client.result()
                client.goodbye()
            else:
                client.close()

    assert_gives_all_back(daemon, eventually, work, rounds=2)


def test_settings_of_clients(daemon, eventually):
    def work():
        for i in range(200):
            client = Client.connect(daemon.host, daemon.port)
            client.login("app", "test", application_name=f"client {i}", TimeZone=f"Etc/GMT+{i % 12}")
            client.run(f"SET DateStyle = '{'ISO' if i % 2 else 'German'}'")
            client.run("SELECT 1")
            client.goodbye()

    assert_gives_all_back(daemon, eventually, work, rounds=2)


def test_reloads(daemon, eventually):
    def work():
        for i in range(30):
            daemon.reload(options={"default_pool_size": 3 + i % 2, "query_timeout": i % 3})
            daemon.psql("SELECT 1")

    assert_gives_all_back(daemon, eventually, work, rounds=2)


def test_many_at_once(daemon, eventually):
    def work():
        threads = [threading.Thread(target=lambda: run(daemon, "pgbench", "-n", "-C", "-c", "50", "-t", "4", "-f", "-",
                                                       stdin="SELECT 1;")) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert_gives_all_back(daemon, eventually, work)
