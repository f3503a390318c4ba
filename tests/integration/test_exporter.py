# SPDX-License-Identifier: ISC
"""Debian's prometheus-pgbouncer-exporter keeps one connection to the console and shows what a pool does."""

import re
import urllib.request

import pytest

from account import Port
from programs import MODES, start


@pytest.fixture
def scraper(eventually):
    """scraper(daemon) starts an exporter and returns scrape(), which reads {name with labels: value}."""
    processes, ports = [], []

    def make(daemon):
        ports.append(Port())
        port = ports[-1].number
        processes.append(start(daemon, "prometheus-pgbouncer-exporter", "--host", "127.0.0.1", "--port", port,
                               "--pgbouncer-host", daemon.host, "--pgbouncer-port", daemon.port,
                               "--pgbouncer-user", "stats", user="stats"))

        def read():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                return answer.read().decode()

        eventually(read, "the exporter answers")
        return lambda: {m[1]: float(m[2]) for m in re.finditer(r"^(\w+(?:\{.*\})?) (\S+)$", read(), re.M)}

    yield make
    for process in processes:
        process.kill()
        process.communicate()
    for port in ports:
        port.close()


@pytest.mark.parametrize("mode", MODES)
def test_the_exporter_shows_what_the_pool_does(pgpoold, scraper, mode):
    daemon = pgpoold(pool_mode=mode, default_pool_size=7, reserve_pool_size=2, auth_type="scram-sha-256")
    scrape = scraper(daemon)
    with daemon.connect() as conn:
        for _ in range(10):
            conn.execute("SELECT 1")
        before = scrape()
        assert before['pgbouncer_active_clients{database="test",user="app"}'] == 1
        assert before['pgbouncer_waiting_clients{database="test",user="app"}'] == 0
        assert before['pgbouncer_requests_total{database="test"}'] >= 10
        assert before['pgbouncer_pool_size{database="test"}'] == 7
        assert before['pgbouncer_reserve_pool{database="test"}'] == 2
        assert before["pgbouncer_pools"] >= 1
        assert before["pgbouncer_used_servers"] + before["pgbouncer_free_servers"] >= 1
        conn.execute("SELECT repeat('x', 100000)")
        after = scrape()
    name = '{database="test"}'
    assert after[f"pgbouncer_requests_total{name}"] == before[f"pgbouncer_requests_total{name}"] + 1
    assert after[f"pgbouncer_sent_bytes_total{name}"] >= before[f"pgbouncer_sent_bytes_total{name}"] + 100000
    assert after[f"pgbouncer_query_microseconds_total{name}"] > before[f"pgbouncer_query_microseconds_total{name}"]


FAMILIES = {
    "": "databases users pools free_clients used_clients login_clients free_servers used_servers dns_names dns_zones dns_queries "
        "dns_pending",
    "database": "requests_total received_bytes_total sent_bytes_total query_microseconds_total pool_size reserve_pool",
    "database,user": "active_clients waiting_clients",
}


@pytest.mark.parametrize("mode", MODES)
def test_the_exporter_finds_each_figure_of_each_database(pgpoold, pg, scraper, mode):
    daemon = pgpoold(pool_mode=mode, databases={"test": f"host={pg.host} port={pg.port}"})
    scrape = scraper(daemon)
    with daemon.connect() as conn:
        conn.execute("SELECT 1")
        found = {name for name in scrape() if name.startswith("pgbouncer_")}
    labels = {"": [""], "database": ['{database="test"}', '{database="pgbouncer"}'],
              "database,user": ['{database="test",user="app"}', '{database="pgbouncer",user="pgbouncer"}']}
    assert found == {f"pgbouncer_{name}{label}" for kind, names in FAMILIES.items() for name in names.split()
                     for label in labels[kind]}
