# SPDX-License-Identifier: ISC
"""The status page in a real browser: the figures of SHOW, by whatever name, on any screen."""

import json
import os
import pathlib
import re
import tempfile

import psycopg
import pytest

from account import give
from browser import Browser
from http_client import Http
from wire import WireError, query

READY = "document.querySelector('#state').textContent !== 'connecting'"
# Set SHOTS_DIR to a folder to look at the pictures.
SHOTS = os.environ.get("SHOTS_DIR")


@pytest.fixture(scope="module")
def browser():
    one = Browser(pathlib.Path(tempfile.mkdtemp(prefix="pgp-browser-")))
    yield one
    one.close()


def open_page(browser, web, **how):
    headers = browser.open(web.base + "/", **how)
    browser.wait(READY)
    return headers


def shot(browser, name, full=True):
    if SHOTS:
        browser.shot(pathlib.Path(SHOTS) / f"{name}.png", full)


def rows(browser, table):
    """The texts of the cells of a table's body."""
    return browser.evaluate(f"[...document.querySelectorAll('#{table} tbody tr')].map((r) => [...r.children]"
                            ".map((c) => [...(c.children.length ? c.children : [c])].map((x) => x.textContent).join('|')))")


def figure(browser, title):
    return browser.evaluate("Object.fromEntries([...document.querySelectorAll('#figures > div')].map("
                            "(d) => [d.children[0].textContent, d.children[1].children[0].textContent]))")[title]


def quiet(browser, web):
    """Nothing went wrong, and nobody but the daemon was asked."""
    seen = browser.seen()
    assert seen["errors"] == [] and seen["dialogs"] == []
    assert {u for u in seen["requests"] if not u.startswith(web.base + "/")} <= {"data:,"}


def test_the_policy_is_strict(http, browser):
    _, web = http(databases={"x": "host=/tmp"})
    code, page, headers = web.get("/")
    assert code == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    nonce = re.search(r"script-src 'nonce-([0-9a-f]{32})'", policy)[1]
    assert page.count(f'nonce="{nonce}"') == 2
    assert nonce not in web.get("/")[2]["Content-Security-Policy"]
    for path in ("/", "/status.json", "/metrics", "/healthz", "/readyz", "/nothing"):
        headers = web.get(path)[2]
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store", path
        assert headers["Content-Security-Policy"].startswith("default-src 'none'"), path
    assert not re.search(r"https?://(?!www\.w3\.org/)", page), "no outside resources"
    assert "{{" not in page and " onclick" not in page and "innerHTML" not in page
    open_page(browser, web)
    assert browser.evaluate("(() => { const s = document.createElement('script'); s.textContent = 'window.evil = 1';"
                            "document.body.append(s); return window.evil === undefined; })()")


def test_figures_equal_show(http, browser, wire, eventually):
    daemon, web = http(pool_mode="transaction", default_pool_size=2, max_client_conn=50)
    busy = [daemon.connect(), daemon.connect()]
    for conn in busy:
        conn.execute("BEGIN")
        conn.execute("SELECT 1")
    waiter = wire(daemon, application_name="reporting")
    waiter.send(query("SELECT 2"))
    listener = daemon.connect(db="postgres", user="postgres")
    listener.execute("LISTEN news")
    open_page(browser, web)
    browser.wait("document.querySelector('#pools tbody td.hot') !== null")
    with daemon.console() as console:
        pools = {f"{r['database']} / {r['user']}": r for r in console.run_dicts("SHOW POOLS")
                 if r["database"] not in ("pgbouncer", "pgpoold")}
        shown = {r[0].split("|")[0]: r for r in rows(browser, "pools")}
        assert set(shown) == set(pools)
        for name, pool in pools.items():
            row = shown[name]
            assert row[0].split("|")[1].startswith(f"{pool['pool_mode']} mode")
            assert row[1].endswith(f"{pool['sv_active']} used, {pool['sv_idle']} idle of 2")
            assert row[2] == str(pool["cl_waiting"])
            assert row[4] == str(pool["cl_active"] + pool["cl_waiting"])
        clients = console.run_dicts("SHOW LISTS")
        assert figure(browser, "Clients") == str(next(r["items"] for r in clients if r["list"] == "used_clients") - 1)
        assert figure(browser, "Clients waiting") == "1"
        servers = {r[0]: int(r[1]) for r in rows(browser, "servers")}
        for column, name in {"sv_active": "active", "sv_idle": "idle", "sv_login": "being opened"}.items():
            assert servers[name] == sum(p[column] for p in pools.values())
        listed = {r["name"]: r for r in console.run_dicts("SHOW DATABASES")}
        for row in rows(browser, "databases"):
            assert row[1] == "ok" and row[2] == str(listed[row[0]]["current_client_connections"])
            assert row[3] == str(listed[row[0]]["current_connections"])
        [row] = rows(browser, "listeners")
        assert row[0].startswith("postgres / postgres") and row[1:3] == ["1", "1"]
    [row] = rows(browser, "waiters")
    assert row[0].startswith("test / app|127.0.0.1:") and row[1] == "reporting"
    browser.wait("document.querySelector('#verdict').textContent.includes('test / app: 1 client waits')")
    quiet(browser, web)
    for conn in busy:
        conn.execute("COMMIT")
    browser.wait("document.querySelector('#verdict').textContent.includes('Nothing needs attention')")
    browser.wait("document.querySelectorAll('#waiters tbody tr').length === 0")
    eventually(lambda: waiter.expect("T", "D", "C", "Z"))
    browser.wait("document.querySelector('#charts polyline').getAttribute('points').split(' ').length >= 2")
    assert browser.evaluate("document.querySelectorAll('#charts svg[role=img][aria-label]').length") == 4
    for conn in [*busy, listener]:
        conn.close()


EVIL = ['<script>alert(1)</script>', '"><img src=x onerror=alert(1)>', "';alert(1)//", "</script><script>alert(1)//",
        "<svg/onload=alert(1)>", "{{js}}", "javascript:alert(1)", "a\u2028b"]


def test_names_are_only_text(http, browser, pg, wire):
    names = [n[:60] for n in EVIL]
    with psycopg.connect(pg.dsn("postgres", "postgres"), autocommit=True) as conn:
        for name in names:
            for kind, catalog in (("DATABASE", "pg_database WHERE datname"), ("ROLE", "pg_roles WHERE rolname")):
                if not conn.execute(f"SELECT 1 FROM {catalog} = %s", (name,)).fetchone():
                    conn.execute(psycopg.sql.SQL(f"CREATE {kind} {{}}" + (" LOGIN" if kind == "ROLE" else "")).format(
                        psycopg.sql.Identifier(name)))
    daemon, web = http(pool_mode="transaction", default_pool_size=1, userlist={n: "x" for n in names})
    holders = [wire(daemon, database=n, user=n, application_name=n) for n in names]
    waiters = [wire(daemon, database=n, user=n, application_name=n) for n in names]
    for holder, waiter in zip(holders, waiters):
        holder.send(query("BEGIN; LISTEN \"<b>\""))
        holder.expect("C", "C", "Z")
        waiter.send(query("SELECT 1"))
    for name in names:  # and into the errors
        with pytest.raises(WireError):
            wire(daemon, database="postgres", user=f"no {name}")
    open_page(browser, web)
    browser.wait(f"document.querySelectorAll('#waiters tbody tr').length >= {len(names)}")
    assert {r[0].split("|")[0] for r in rows(browser, "pools")} >= {f"{n} / {n}" for n in names}
    # PostgreSQL itself makes question marks of what is not ASCII in an application_name.
    assert {r[1] for r in rows(browser, "waiters")} == {re.sub("[^ -~]", "???", n) for n in names}
    browser.wait("document.querySelectorAll('#errors li').length >= 1")
    assert browser.evaluate("document.querySelectorAll('script').length") == 1
    assert browser.evaluate("document.querySelectorAll('main img, main svg [onload], main script, b b').length") == 0
    quiet(browser, web)
    raw = web.get("/status.json")[1]
    assert "<" not in raw and json.loads(raw)
    shot(browser, "names")


def test_names_written_from_right_to_left_keep_their_place(http, browser):
    database, user = "\u05d3\u05d5\u05d2\u05de\u05d4", "\u0645\u0633\u062a\u062e\u062f\u0645"
    _, web = http(databases={database: f"host=127.0.0.1 port=1 user={user} password=x min_pool_size=1"})
    open_page(browser, web)
    browser.wait("document.querySelectorAll('#pools tbody tr').length === 1")
    left = browser.evaluate("[...document.querySelectorAll('#pools tbody th bdi')].map((e) => [e.textContent, e.getBoundingClientRect().left])")
    assert [name for name, _ in left] == [database, user] and left[0][1] < left[1][1]
    assert rows(browser, "pools")[0][0].startswith(f"{database} / {user}|")
    browser.wait("document.querySelector('#verdict-list li') !== null")
    assert f"\u2068{database}\u2069 / \u2068{user}\u2069: " in browser.evaluate("document.querySelector('#verdict-list').textContent")
    shot(browser, "right-to-left")


def test_five_hundred_pools(http, browser, pg, wire):
    databases = {f"tenant_{n:03d}": f"host={pg.host} port={pg.port} dbname=test user=app password=app-secret"
                 for n in range(500)}
    databases["broken"] = "host=127.0.0.1 port=1 dbname=test user=app password=x min_pool_size=1"
    daemon, web = http(databases=databases, pool_mode="transaction", server_login_retry=1, max_client_conn=1000)
    for n in range(500):
        wire(daemon, database=f"tenant_{n:03d}").close()
        if n % 25 == 24:
            daemon.admin("RECONNECT")  # PostgreSQL has not room for all
    open_page(browser, web)
    browser.wait("document.querySelector('#pools-count').textContent === '501'")
    shown = rows(browser, "pools")
    assert len(shown) == 100 and shown[0][0].startswith("broken / app|")
    assert rows(browser, "databases")[0][:2] == ["broken", "unreachable"] and len(rows(browser, "databases")) == 20
    assert browser.evaluate("document.querySelector('#databases-more').textContent").startswith("and 481 more")
    browser.fill("#filter", "tenant_49")
    browser.wait("document.querySelector('#pools-count').textContent === '10 of 501'")
    assert [r[0].split(" ")[0] for r in rows(browser, "pools")] == [f"tenant_{n}" for n in range(490, 500)]
    browser.fill("#filter", "")
    browser.select("#order", "name")
    browser.click("#more")
    browser.wait("document.querySelectorAll('#pools tbody tr').length === 501")
    assert rows(browser, "pools")[0][0].startswith("broken")
    took = browser.evaluate("(() => { const t = performance.now(); document.querySelector('#filter').dispatchEvent("
                            "new Event('input')); return performance.now() - t; })()")
    assert took < 5000
    browser.click("#more")
    browser.select("#order", "trouble")
    shot(browser, "many", full=False)
    quiet(browser, web)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390, 320])
def test_it_fits_and_can_be_read(http, browser, pg, scheme, width):
    daemon, web = http(databases={"shop": f"host={pg.host} port={pg.port} dbname=test",
                                  "a_database_with_a_name_as_long_as_postgresql_allows_63_bytes_xx":
                                  f"host={pg.host} port={pg.port} dbname=test",
                                  "gone": "host=127.0.0.1 port=1 user=app password=x min_pool_size=1"})
    with daemon.connect(db="shop") as conn, \
            daemon.connect(db="a_database_with_a_name_as_long_as_postgresql_allows_63_bytes_xx") as other:
        conn.execute("LISTEN one")
        other.execute("SELECT 1")
        open_page(browser, web, scheme=scheme, width=width)
        browser.wait("document.querySelectorAll('#pools tbody tr').length === 3")
        browser.wait("document.querySelector('#verdict').className === 'verdict bad'")
        browser.wait("document.querySelectorAll('#errors li').length >= 1")
        assert browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), browser.evaluate(TOO_WIDE)
        assert browser.evaluate(CONTRAST) == []
        assert browser.evaluate(RUNS_OVER) == []
        shot(browser, f"{scheme}-{width}")
        dark = browser.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(244, 245, 247)"
        assert dark == (scheme == "dark")
        quiet(browser, web)


TOO_WIDE = """[...document.querySelectorAll('body *')].filter((e) => e.checkVisibility() &&
  e.getBoundingClientRect().right > window.innerWidth + 1).map((e) => e.tagName + '#' + e.id + '.' + e.className)"""
# The cells whose text runs into the next one.
RUNS_OVER = """[...document.querySelectorAll('td, th')].filter((e) => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1)
  .map((e) => (e.dataset.label || '') + e.textContent)"""
# The texts whose contrast to what lies behind them is below 4.5 (WCAG 2.1 AA).
CONTRAST = """(() => {
  const parse = (c) => { const m = c.match(/[\\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const back = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c[3] > 0) return c; } return [255, 255, 255, 1]; };
  const bad = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n = walk.nextNode(); n; n = walk.nextNode()) {
    const e = n.parentElement;
    if (!n.textContent.trim() || ['SCRIPT', 'STYLE', 'NOSCRIPT', 'OPTION'].includes(e.tagName) || !e.checkVisibility()) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(back(e))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) bad.add(`${e.tagName}.${e.className}: ${n.textContent.trim().slice(0, 30)}`);
  }
  return [...bad];
})()"""


def test_keyboard_and_screen_reader(http, browser):
    _, web = http(databases={"x": "host=/tmp"})
    open_page(browser, web)
    reached = []
    for _ in range(6):
        browser.press("Tab")
        reached.append(browser.evaluate("document.activeElement.id || document.activeElement.getAttribute('href')"))
        outline = browser.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", reached[-1]
    assert reached[:3] == ["#pools-heading", "filter", "order"] and "/metrics" in reached
    assert browser.evaluate("[...document.querySelectorAll('header, main, footer')].length") == 3
    assert browser.evaluate("[...document.querySelectorAll('section')].every((s) => "
                            "document.getElementById(s.getAttribute('aria-labelledby')) !== null)")
    assert browser.evaluate("[...document.querySelectorAll('thead th')].every((t) => t.scope === 'col')")
    assert browser.evaluate("[...document.querySelectorAll('input, select')].every((i) => i.labels.length === 1)")
    assert browser.evaluate("document.querySelector('#verdict').getAttribute('role')") == "status"
    assert browser.evaluate("document.documentElement.lang") == "en"


def test_a_long_list_of_errors_is_scrolled_by_the_keyboard(http, browser, wire):
    daemon, web = http(databases={"x": "host=/tmp"})
    open_page(browser, web)
    assert browser.evaluate("document.querySelector('#errors').tabIndex") == -1
    for letter in "abcdefghijklmnopqrstuvwxyz":
        with pytest.raises(WireError):
            wire(daemon, database=f"no_{letter}")
    browser.wait("document.querySelectorAll('#errors li').length >= 26 && document.querySelector('#errors').tabIndex === 0")
    for _ in range(10):
        browser.press("Tab")
        if browser.evaluate("document.activeElement.id") == "errors":
            break
    browser.press("End")
    browser.wait("document.querySelector('#errors').scrollTop > 0")


def test_it_says_when_the_connection_is_lost_and_comes_back(http, browser):
    daemon, web = http(databases={"x": "host=/tmp"})
    open_page(browser, web)
    assert browser.evaluate("document.querySelector('#lost').hidden")
    daemon.stop()
    browser.wait("!document.querySelector('#lost').hidden")
    assert "connection to pgpoold has been lost" in browser.evaluate("document.querySelector('#lost').textContent")
    daemon.start()
    browser.wait("document.querySelector('#lost').hidden")
    assert browser.evaluate("document.querySelector('#state').textContent") == "active"


def test_the_page_wants_the_password_too(http, worker_dir):
    path = worker_dir / "page_users"
    path.write_text('"eve" "secret"\n')
    give(path, 0o600)
    _, web = http(databases={"x": "host=/tmp"}, http_auth_file=path)
    for page in ("/", "/status.json"):
        assert web.get(page)[0] == 401
        assert Http(web.port, user="eve", password="secret").get(page)[0] == 200


def test_a_page_of_another_name_reads_nothing(http, http_port, worker_dir):
    """DNS rebinding: evil.example leads to 127.0.0.1 for the browser of somebody on this host."""
    daemon, web = http(databases={"x": "host=/tmp"})
    for path in ("/", "/metrics", "/status.json"):
        assert web.get(path, Host="evil.example")[0] == 421
        assert web.get(path, Host=f"localhost:{http_port}")[0] == 200
    assert web.get("/healthz", Host="pod.example")[0] == 200
    assert web.get("/readyz", Host="pod.example")[0] == 200
    path = worker_dir / "proxied_users"
    path.write_text('"eve" "secret"\n')
    give(path, 0o600)
    daemon.reload(options={"http_auth_file": path})
    assert Http(http_port, user="eve", password="secret").get("/metrics", Host="status.example")[0] == 200


def test_paused_and_disabled_databases_are_told(http, browser, pg):
    daemon, web = http(databases={"shop": f"host={pg.host} port={pg.port} dbname=test"})
    daemon.psql("SELECT 1", db="shop")
    open_page(browser, web)
    daemon.admin("DISABLE shop")
    browser.wait("document.querySelector('#verdict').textContent.includes('Database shop is disabled')")
    daemon.admin("ENABLE shop")
    daemon.admin("PAUSE")
    browser.wait("document.querySelector('#state').textContent === 'paused'")
    daemon.admin("RESUME")
    browser.wait("document.querySelector('#state').textContent === 'active'")
