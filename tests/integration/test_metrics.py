# SPDX-License-Identifier: ISC
"""/metrics, /healthz and /readyz: right by Prometheus' own tools, and the same figures as SHOW."""

import json
import pathlib
import re
import signal
import socket
import subprocess

import psycopg
import pytest

from account import Port, give
from http_client import OPEN, Http, key, no_verify, promtool
from sessions import wait_running
from wire import ServerError, query


PACKAGING = pathlib.Path(__file__).resolve().parents[2] / "packaging"
STATS = {"total_server_assignment_count": "server_assignments_total", "total_xact_count": "transactions_total",
         "total_query_count": "queries_total", "total_received": "received_bytes_total",
         "total_sent": "sent_bytes_total", "total_client_parse_count": "client_parses_total",
         "total_server_parse_count": "server_parses_total", "total_bind_count": "binds_total",
         "total_client_login_count": "logins_total"}
TIMES = {"total_xact_time": "transaction_seconds_total", "total_query_time": "query_seconds_total",
         "total_wait_time": "wait_seconds_total"}
HISTOGRAMS = ("query", "transaction", "wait", "server_connect", "login")


def test_it_is_off_by_default(pgpoold):
    daemon = pgpoold()
    assert "for HTTP" not in daemon.log
    assert daemon.show("config", key="http_port")[0]["value"] == "0"


def test_prometheus_tools_are_content(http):
    daemon, web = http(pool_mode="transaction")
    daemon.psql("SELECT 1")
    with pytest.raises(psycopg.errors.DivisionByZero):
        daemon.psql("SELECT 1/0")
    code, text, headers = web.get("/metrics")
    assert code == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "# EOF" not in text
    assert promtool("check", "metrics", stdin=text) == ""
    code, text, headers = web.get("/metrics", Accept=f"{OPEN};q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert "# UNIT pgpoold_pool_query_duration_seconds seconds\n" in text
    _, _, headers = web.get("/metrics", Accept="application/openmetrics-text;q=0, text/plain")
    assert headers["Content-Type"].startswith("text/plain")
    found = web.metrics()
    assert found[key("pgpoold_server_errors_total", **{"class": "22"})] == 1
    assert found[key("pgpoold_pool_errors_total", database="test", user="app")] == 1


def test_figures_equal_show(http, eventually):
    daemon, web = http(pool_mode="transaction", default_pool_size=3, min_pool_size=1, reserve_pool_size=2,
                       max_client_conn=77, max_db_connections=9, max_user_client_connections=50)
    busy = daemon.connect()
    busy.execute("BEGIN")
    for _ in range(5):
        busy.execute("SELECT %s::int", (1,))
    idle = daemon.connect()
    idle.execute("SELECT 1")
    with daemon.console() as console:
        def run(what):
            return console.run_dicts(f"SHOW {what}")

        figures = web.metrics()
        row = next(r for r in run("pools") if r["database"] == "test")
        for column, value in row.items():
            prefix, _, state = column.partition("_")
            if prefix in ("cl", "sv"):
                name = "clients" if prefix == "cl" else "servers"
                assert figures[key(f"pgpoold_pool_{name}", database="test", user="app", state=state)] == value
        pool = {"database": "test", "user": "app"}
        assert figures[key("pgpoold_pool_server_connections", **pool)] == row["size"]
        assert figures[key("pgpoold_pool_info", **pool, pool_mode="transaction")] == 1
        assert figures[key("pgpoold_pool_max_server_connections", **pool)] == 3
        assert figures[key("pgpoold_pool_min_server_connections", **pool)] == 1
        assert figures[key("pgpoold_pool_reserve_server_connections", **pool)] == 2
        stats = next(r for r in run("stats") if r["database"] == "test")
        for column, name in STATS.items():
            assert figures[key(f"pgpoold_database_{name}", database="test")] == stats[column], column
        for column, name in TIMES.items():
            assert figures[key(f"pgpoold_database_{name}", database="test")] == pytest.approx(stats[column] / 1e6)
        row = next(r for r in run("databases") if r["name"] == "test")
        for name, column in {"client_connections": "current_client_connections",
                             "max_client_connections": "max_client_connections",
                             "server_connections": "current_connections",
                             "max_server_connections": "max_connections", "paused": "paused",
                             "disabled": "disabled"}.items():
            assert figures[key(f"pgpoold_database_{name}", database="test")] == row[column], name
        row = next(r for r in run("users") if r["name"] == "app")
        for name, column in {"client_connections": "current_client_connections",
                             "max_client_connections": "max_user_client_connections",
                             "server_connections": "current_connections",
                             "max_server_connections": "max_user_connections"}.items():
            assert figures[key(f"pgpoold_user_{name}", user="app")] == row[column], name
        for row in run("lists"):
            assert figures[key("pgpoold_list_items", list=row["list"])] == row["items"], row
        for row in run("mem"):
            if row["name"] != "iobuf_cache":
                assert figures[key("pgpoold_memory_bytes", cache=row["name"])] == row["memtotal"], row
        for row in run("state"):
            assert figures[key("pgpoold_state", state=row["key"])] == (row["value"] == "yes"), row
        assert figures["pgpoold_max_client_connections"] == 77
        assert figures["pgpoold_client_connections"] == 3
        assert figures["pgpoold_console_connections"] == 1
        counts = {"query": stats["total_query_count"], "transaction": stats["total_xact_count"],
                  "wait": stats["total_server_assignment_count"], "login": stats["total_client_login_count"]}
        for name, count in counts.items():
            assert figures[key(f"pgpoold_pool_{name}_duration_seconds_count", **pool)] == count, name
        assert figures[key("pgpoold_pool_server_connect_duration_seconds_count", **pool)] >= 2
        assert figures[key("pgpoold_pool_query_duration_seconds_sum", **pool)] == pytest.approx(
            stats["total_query_time"] / 1e6)
    busy.execute("COMMIT")
    busy.close()
    idle.close()
    eventually(lambda: web.metrics()[key("pgpoold_client_closes_total", reason="client_left")] >= 2)


def test_histograms_have_the_right_cells(http):
    daemon, web = http(pool_mode="transaction", default_pool_size=1)
    daemon.psql("SELECT pg_sleep(0.11)")
    figures = web.metrics()
    name = "pgpoold_pool_query_duration_seconds_bucket"
    pool = {"database": "test", "user": "app"}
    assert figures[key(name, le="0.1", **pool)] == 0
    assert figures[key(name, le="+Inf", **pool)] == 1
    assert figures[key(name, le="100.0", **pool)] == 1
    for histogram in HISTOGRAMS:
        cells = [v for k, v in figures.items() if k.startswith(f"pgpoold_pool_{histogram}_duration_seconds_bucket,")]
        assert len(cells) == 21


def test_waiting_shows(http, wire, eventually):
    daemon, web = http(pool_mode="transaction", default_pool_size=1)
    waiting = key("pgpoold_pool_clients", database="test", user="app", state="waiting")
    second = wire(daemon)
    with daemon.connect() as first:
        first.execute("BEGIN")
        first.execute("SELECT 1")
        second.send(query("SELECT 2"))
        eventually(lambda: web.metrics()[waiting] == 1)
        eventually(lambda: web.metrics()[key("pgpoold_pool_max_wait_seconds", database="test", user="app")] > 0.05)
        first.execute("COMMIT")
        second.expect("T", "D", "C", "Z")
        assert web.metrics()[waiting] == 0


def test_listeners_show(http, eventually):
    daemon, web = http(pool_mode="transaction")
    pool = {"database": "test", "user": "app"}
    with daemon.connect() as conn:
        conn.execute("LISTEN one")
        conn.execute("LISTEN two")
        figures = eventually(lambda: (f := web.metrics())[key("pgpoold_pool_hubs", **pool)] == 1 and f)
        assert figures[key("pgpoold_pool_listen_channels", **pool)] == 2
        assert figures[key("pgpoold_pool_listen_subscriptions", **pool)] == len(daemon.show("listeners")) == 2
        conn.execute("NOTIFY one")
        for name in ("received", "delivered"):
            eventually(lambda n=name: web.metrics()[key(f"pgpoold_pool_notifications_{n}_total", **pool)] == 1)


def test_peers_show(http):
    daemon, web = http(peer_id=1, databases={"x": "host=/tmp"}, peers={"1": "host=/tmp", "2": "host=/nowhere pool_size=7"})
    figures = web.metrics()
    rows = {r["peer_id"]: r for r in daemon.show("peer_pools")}
    for state in ("active_cancel_req", "waiting_cancel_req"):
        assert figures[key("pgpoold_peer_clients", peer_id="2", state=state)] == rows[2][f"cl_{state}"] == 0
    assert figures[key("pgpoold_peer_max_connections", peer_id="2")] == 7
    assert figures[key("pgpoold_peer_cancels_total", peer_id="2")] == 0


HAPROXY = """
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen shop
  bind 127.0.0.1:{front}
  option httpchk GET /readyz?database=shop
  server one 127.0.0.1:{port} check port {http} inter 200ms
"""


def test_haproxy_follows_readiness(http, pg, worker_dir, eventually):
    """The check alone; all of the file of pgpoold-guide(7) is run by test_documentation.py."""
    daemon, web = http(databases={"shop": f"host={pg.host} port={pg.port} dbname=test"}, server_login_retry=1)
    front = Port()
    path = worker_dir / "haproxy.cfg"
    path.write_text(HAPROXY.format(front=front.number, port=daemon.port, http=web.port))
    with subprocess.Popen(["haproxy", "-q", "-db", "-f", str(path)], start_new_session=True) as haproxy:
        try:
            def ask():
                dsn = daemon.dsn(db="shop", port=front.number)
                with psycopg.connect(dsn, connect_timeout=5) as conn:
                    return conn.execute("SELECT 1").fetchone() == (1,)

            eventually(ask, timeout=60)
            daemon.stop()
            with pytest.raises(psycopg.OperationalError):
                ask()
            daemon.start()
            eventually(ask, timeout=60)
        finally:
            haproxy.kill()
    front.close()


def test_reasons_and_classes(http, eventually):
    daemon, web = http(pool_mode="transaction", auth_type="scram-sha-256")
    with pytest.raises(psycopg.OperationalError):
        daemon.connect(password="wrong")
    figures = eventually(
        lambda: (f := web.metrics())[key("pgpoold_client_closes_total", reason="login_refused")] == 1 and f)
    assert figures[key("pgpoold_pooler_errors_total", **{"class": "28"})] == 1
    daemon.psql("SELECT 1")
    daemon.admin("RECONNECT")
    eventually(lambda: web.metrics()[key("pgpoold_server_closes_total", reason="configuration_changed")] == 1)
    assert not [k for k, v in web.metrics().items() if k.endswith("reason=other") and v > 0]


def test_names_that_clients_choose_are_bounded(http, pg):
    for n in range(4):
        pg.create_database(f"made_up_{n}")
    daemon, web = http(metrics_max_extra=2)
    for n in range(4):
        daemon.psql("SELECT 1", db=f"made_up_{n}")
    name = "pgpoold_database_queries_total"
    figures = web.metrics()
    assert [figures.get(key(name, database=f"made_up_{n}")) for n in range(4)] == [1, 1, None, None]
    assert figures[key(name, database="other")] == 2
    wait = "pgpoold_pool_query_duration_seconds_count"
    assert figures[key(wait, database="other", user="other")] == 2
    assert figures[key("pgpoold_pool_server_connections", database="other", user="other")] == 2


def test_sums_of_others_never_fall(http, pg, eventually):
    pg.create_database("short_lived")
    daemon, web = http(metrics_max_extra=0, server_idle_timeout=1, autodb_idle_timeout=1, pool_idle_timeout=1)
    daemon.psql("SELECT 1", db="short_lived")
    assert web.metrics()[key("pgpoold_database_queries_total", database="other")] == 1
    eventually(lambda: not daemon.show("databases", name="short_lived"), timeout=60)
    figures = web.metrics()
    assert figures[key("pgpoold_database_queries_total", database="other")] == 1
    assert figures[key("pgpoold_pool_query_duration_seconds_count", database="other", user="other")] == 1


def test_odd_names_are_escaped(http, pg):
    odd = 'a"b\\c\nd é'
    pg.psql("SELECT 1")
    with psycopg.connect(pg.dsn("postgres", "postgres"), autocommit=True) as conn:
        exists = conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (odd,)).fetchone()
        if not exists:
            conn.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(odd)))
    daemon, web = http()
    daemon.psql("SELECT 1", db=odd)
    assert web.metrics()[key("pgpoold_database_queries_total", database='a"b\\c\\x0ad é')] == 1
    promtool("check", "metrics", stdin=web.get("/metrics")[1])


def test_health_and_readiness(http, pg, eventually):
    daemon, web = http(databases={"shop": f"host={pg.host} port={pg.port} dbname=test",
                                  "gone": f"host={pg.host} port=1 dbname=test"}, server_login_retry=1)
    assert web.get("/healthz")[:2] == (200, "ok\n")
    code, text, _ = web.get("/readyz")
    assert (code, sorted(text.splitlines())) == (200, ["gone: unused", "shop: unused"])
    daemon.psql("SELECT 1", db="shop")
    with pytest.raises(psycopg.OperationalError):
        daemon.psql("SELECT 1", db="gone", connect_timeout="10")
    code, text, _ = web.get("/readyz")
    assert code == 503 and "shop: ok\n" in text and "gone: unreachable: " in text
    assert web.metrics()[key("pgpoold_database_unreachable", database="gone")] == 1
    assert web.get("/readyz?database=shop")[:2] == (200, "shop: ok\n")
    assert web.get("/readyz?database=gone")[0] == 503
    assert web.get("/readyz?database=nobody")[0] == 404
    assert web.get("/healthz")[0] == 200
    daemon.admin("PAUSE shop")
    assert web.get("/readyz?database=shop")[:2] == (200, "shop: paused\n")
    daemon.admin("RESUME shop")
    daemon.admin("DISABLE shop")
    assert web.get("/readyz?database=shop")[:2] == (200, "shop: disabled\n")


def test_a_refused_login_counts_where_the_entry_names_the_user(http, pg):
    """Elsewhere others may come in; there nobody can."""
    pg.create_user("refused", "right", "scram")
    where = f"host={pg.host} port={pg.port} dbname=test"
    daemon, web = http(databases={"own": where, "named": f"{where} user=refused password=wrong"},
                       userlist={"refused": "wrong"}, auth_type="plain")
    for name in ("own", "named"):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            daemon.psql("SELECT 1", db=name, user="refused", password="wrong")
    assert web.get("/readyz?database=own")[:2] == (200, "own: ok\n")
    code, text, _ = web.get("/readyz?database=named")
    assert code == 503 and text.startswith('named: unreachable: password authentication failed for user "refused"')


def test_a_server_that_comes_back_is_ready_without_a_client(http, pg, wire, eventually):
    daemon, web = http(databases={"test": f"host={pg.host} port={pg.port}"}, server_login_retry=1)
    daemon.psql("SELECT 1")
    client = wire(daemon)
    pg.stop("immediate")
    try:
        client.send(query("SELECT 1"))
        eventually(lambda: web.get("/readyz")[0] == 503, timeout=30)
    finally:
        client.close()
        pg.start()
    eventually(lambda: web.get("/readyz")[0] == 200, timeout=60)


def test_a_shutdown_is_not_ready(http, eventually):
    daemon, web = http()
    with daemon.connect() as conn:
        conn.execute("BEGIN")
        conn.execute("SELECT 1")
        daemon.signal(signal.SIGTERM)
        eventually(lambda: web.get("/readyz")[0] == 503)
        assert web.get("/healthz")[0] == 200
        conn.execute("COMMIT")
    daemon.wait_exit()


def test_basic_auth(http, worker_dir):
    path = worker_dir / "http_users"
    path.write_text('"prom" "let me see"\n')
    give(path, 0o600)
    daemon, web = http(http_auth_file=path)
    code, _, headers = web.get("/metrics")
    assert code == 401 and headers["WWW-Authenticate"].startswith('Basic realm="pgpoold"')
    for user, password in (("prom", "wrong"), ("prom", ""), ("nobody", "let me see"), ("prom", "let me seelet me see"),
                           ("", ""), ("prom", "let me se")):
        assert Http(web.port, user=user, password=password).get("/metrics")[0] == 401
    assert Http(web.port, user="prom", password="let me see").get("/metrics")[0] == 200
    assert web.get("/healthz")[0] == 200
    assert web.get("/readyz")[:2] == (200, "ok\n")
    path.write_text('"prom" "another"\n')
    daemon.reload()
    assert Http(web.port, user="prom", password="let me see").get("/metrics")[0] == 401
    assert Http(web.port, user="prom", password="another").get("/metrics")[0] == 200
    path.write_text('"prom" "md5' + 32 * "0" + '"\n')
    with pytest.raises(ServerError, match="RELOAD failed"):
        daemon.reload()
    assert 'user "prom" has no password in plain text' in daemon.log
    assert Http(web.port, user="prom", password="another").get("/metrics")[0] == 200


def test_https(http, certs):
    daemon, web = http(http_tls_key_file=certs.server_key, http_tls_cert_file=certs.server)
    secure = Http(web.port, context=no_verify())
    assert secure.get("/metrics")[0] == 200
    with pytest.raises(OSError):
        web.get("/metrics")
    old = secure.raw()
    before = old.getpeercert(True)
    old.close()
    daemon.reload(options={"http_tls_key_file": certs.client_key, "http_tls_cert_file": certs.client})
    new = secure.raw()
    assert new.getpeercert(True) != before
    new.close()
    with pytest.raises(ServerError, match="RELOAD failed"):
        daemon.reload(options={"http_tls_key_file": certs.server_key})
    assert "http_tls_key_file, http_tls_cert_file: key file" in daemon.log
    assert secure.get("/healthz")[0] == 200


def test_a_taken_port_is_a_clear_error(pgpoold, http_port):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", http_port))
        taken.listen()
        daemon = pgpoold(http_port=http_port, wait=False, databases={"x": "host=/tmp"})
        daemon.wait_exit(1)
    assert f"cannot listen on 127.0.0.1:{http_port}: another program does: stop it, or change http_port" in daemon.log


@pytest.mark.parametrize("options, words", [
    ({"http_tls_key_file": "/nonexistent", "http_tls_cert_file": "/nonexistent"},
     "http_tls_key_file: /nonexistent: cannot be read"),
    ({"http_tls_key_file": "{key}"}, "HTTPS needs http_tls_key_file and http_tls_cert_file"),
    ({"http_tls_key_file": "{key}", "http_tls_cert_file": "{key}"}, "http_tls_key_file, http_tls_cert_file: "),
    ({"http_auth_file": "/nonexistent"}, "/nonexistent"),
    ({"http_addr": "localhost"}, 'http_addr: "localhost" is not an address'),
    ({"http_addr": ""}, "http_addr: nowhere to listen"),
])
def test_wrong_settings_are_named(pgpoold, certs, http_port, options, words):
    daemon = pgpoold(http_port=http_port, databases={"x": "host=/tmp"}, wait=False,
                     **{k: v.replace("{key}", str(certs.server_key)) for k, v in options.items()})
    daemon.wait_exit(1)
    assert words in daemon.log


def test_all_addresses(pgpoold, http_port):
    daemon = pgpoold(http_port=http_port, http_addr="*", databases={"x": "host=/tmp"})
    assert Http(http_port).get("/healthz")[0] == 200
    assert "set http_auth_file" in daemon.log


NAME = re.compile(r"\b((?:pgpoold|process)_\w+)")


def test_the_dashboard_and_the_alerts_ask_for_what_there_is(http):
    """Every name in them is a metric, every label one that it has."""
    daemon, web = http(pool_mode="transaction")
    daemon.psql("SELECT 1")
    known = {}
    for sample in web.metrics():
        name, *labels = re.split(r",(?=\w+=)", sample)
        known.setdefault(name, set()).update(label.split("=")[0] for label in labels)
    dashboard = json.loads((PACKAGING / "grafana/pgpoold.json").read_text())
    expressions = [t["expr"] for p in dashboard["panels"] for t in p.get("targets", ())]
    expressions += [v["definition"] for v in dashboard["templating"]["list"] if v["type"] == "query"]
    assert len(expressions) > 40
    rules = PACKAGING / "prometheus/pgpoold.rules.yml"
    promtool("check", "rules", rules)
    expressions.append(rules.read_text())
    for text in expressions:
        for name in NAME.findall(text):
            assert name in known, f"{name} in {text}"
        for name, selector in re.findall(r"\b((?:pgpoold|process)_\w+)\{([^}]*)\}", text):
            for label in re.findall(r"(\w+)=~?\"", selector):
                assert label in known[name] | {"instance", "job"}, f"{name} has no {label}"
    unused = {n for n in known if n.startswith("pgpoold_pool_") and n.endswith("_bucket")}
    assert unused <= {n for e in expressions for n in NAME.findall(e)}, "a histogram that no panel shows"
    quoted = [re.sub(r"\$__rate_interval", "5m", e) for e in expressions[:-1] if not e.startswith("label_values")]
    checked = "groups: [{name: x, rules: [%s]}]" % ", ".join(
        json.dumps({"record": f"r{n}", "expr": re.sub(r'"\$\w+"', '".*"', e)}) for n, e in enumerate(quoted))
    path = daemon.home / "rules.json"
    path.write_text(checked)
    promtool("check", "rules", path)


def test_each_alert_is_raised_when_it_should_be_and_not_otherwise(tmp_path):
    """Two instances: all is wrong with "a", of "b" only all is paused, of "c" nothing."""
    rules = PACKAGING / "prometheus/pgpoold.rules.yml"
    series, pool = {}, ',database="shop",user="app"'
    for instance, wrong in (("a", 1), ("b", 0), ("c", 0)):
        series |= {f'{name}{{instance="{instance}"{labels}}}': values for name, labels, values in (
            ("up", ',job="pgpoold"', f"{1 - wrong}x40"),
            ("pgpoold_database_unreachable", ',database="shop"', f"{wrong}x40"),
            ("pgpoold_pool_max_wait_seconds", pool, f"{4 + 5 * wrong}x40"),
            ("pgpoold_pool_wait_duration_seconds_bucket", pool + ',le="0.5"', f"0+{10 - wrong}x40"),
            ("pgpoold_pool_wait_duration_seconds_bucket", pool + ',le="1"', "0+10x40"),
            ("pgpoold_pool_wait_duration_seconds_bucket", pool + ',le="+Inf"', "0+10x40"),
            ("pgpoold_client_connections", "", f"{85 + 10 * wrong}x40"),
            ("pgpoold_max_client_connections", "", "100x40"),
            ("pgpoold_fds_needed", "", f"{1000 + wrong}x40"),
            ("process_max_fds", "", "1000x40"),
            ("pgpoold_pool_notifications_dropped_total", pool, f"0+{wrong}x40"),
            ("pgpoold_state", ',state="paused"', "1x40" if instance == "b" else "0x40"),
            ("pgpoold_state", ',state="suspended"', "0x40"),
            ("pgpoold_database_paused", ',database="shop"', "0x40" if instance == "c" else "1x40"))}
    one = {"instance": "a", "database": "shop"}
    warning, critical = {"severity": "warning"}, {"severity": "critical"}
    expected = {
        "PgpooldDown": [({"instance": "a", "job": "pgpoold", **critical}, "a does not answer")],
        "PgpooldDatabaseUnreachable": [({**one, **critical}, "a cannot open server connections for shop")],
        "PgpooldClientsWait": [({**one, "user": "app", **warning}, "clients of shop/app wait 9s for a server connection")],
        "PgpooldQueueSlow": [({**one, "user": "app", **warning}, "one in twenty transactions of shop/app waits over half a second")],
        "PgpooldClientLimitNear": [({"instance": "a", **warning}, "a: 95% of max_client_conn are taken")],
        "PgpooldDescriptorsShort": [({"instance": "a", **warning},
                                     "a: a full house needs more descriptors than the process may open")],
        "PgpooldNotificationsDropped": [({**one, "user": "app", **warning},
                                         "listeners of shop/app were too slow and lost their connection")],
        "PgpooldPausedLong": [({**one, **warning}, "a: shop paused for a quarter of an hour"),
                              ({"instance": "b", **warning}, "b: all databases paused for a quarter of an hour")]}
    assert set(re.findall(r"alert: (\w+)", rules.read_text())) == set(expected)
    path = tmp_path / "alerts.json"
    path.write_text(json.dumps({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [{
        "interval": "1m", "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": "30m", "alertname": name, "exp_alerts": [
            {"exp_labels": labels, "exp_annotations": {"summary": summary}} for labels, summary in alerts]}
            for name, alerts in expected.items()]}]}))
    promtool("test", "rules", path)


def test_the_port_goes_to_the_process_that_takes_over(http, wire, pg, eventually):
    """At once, while the old one still has a query."""
    daemon, web = http(pool_mode="transaction", server_tls_sslmode="disable")
    client = wire(daemon)
    blocked = "SELECT 1 FROM pg_advisory_xact_lock(42)"
    with psycopg.connect(pg.dsn("test", "app"), autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(42)")
        client.send(query(blocked))
        wait_running(pg, blocked)
        start = web.metrics()["process_start_time_seconds"]
        old = daemon.take_over()
        eventually(lambda: web.metrics()["process_start_time_seconds"] > start)
        assert old.poll() is None
    client.expect("T", "D", "C", "Z")
    assert old.wait(60) == 0
    assert web.get("/healthz")[0] == 200
