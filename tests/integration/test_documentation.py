# SPDX-License-Identifier: ISC
"""Every example of README and man pages is run: documents.py finds them. Addresses, ports and paths are exchanged
for those of this test, nothing else."""

import os
import re
import shutil
import signal
import subprocess
import sys

import psycopg
import pytest
import yaml

from account import Port, as_server_account, give, make_dir
from daemon_process import SANITIZER_ENV
from documents import EXAMPLES, PAGES, ROOT, connection_table, examples, only
from http_client import Http, promtool
from npm import node_path_with
from programs import CLIENTS
from test_jdbc import JAR
from waiting import eventually as wait_eventually
from wire import Client, ServerError

PATIENCE = 60
KINDS = {"make", "readme-ini", "readme-userlist", "start", "takeover", "sh", "sql", "console", "incident", "python", "java", "js",
         "go", "ini", "databases", "options", "haproxy", "haproxy-ini", "kubernetes", "prometheus"}
# Debian has the sources of Go packages here; no module is fetched from anywhere.
GO_ENV = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": "-p=2", "CGO_ENABLED": "0",
          "GOCACHE": str(ROOT / "build/go")}


def eventually(condition, what=None):
    return wait_eventually(condition, what, timeout=PATIENCE)


def each(*kinds):
    found = examples(*kinds)
    assert found, kinds
    return pytest.mark.parametrize("example", found, ids=[e.id for e in found])


# The world of the examples: a database shop for the user app, whose password is secret

@pytest.fixture
def shop(pg):
    """PostgreSQL with the database shop, where app logs in by SCRAM."""
    pg.create_database("shop")
    before = pg.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'")[0][0]
    pg.psql("ALTER ROLE app PASSWORD 'secret'; GRANT scram_login TO app")
    yield pg
    pg.psql(f"REVOKE scram_login FROM app; ALTER ROLE app PASSWORD '{before}'")
    pg.drop_database("shop")


def verifier(pg):
    return pg.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'")[0][0]


class World:
    """Where things are here; .local(text) puts that into an example."""

    def __init__(self, daemon, pg, certs):
        self.daemon, self.pg, self.certs = daemon, pg, certs
        self.ports = {name: Port() for name in ("6433", "9127", "5433")}
        self.addresses = {}

    def local(self, text):
        exchange = [
            (r"(?m)^(listen_port = )6432$", rf"\g<1>{self.daemon.port}"), (r":6432\b", f":{self.daemon.port}"),
            (r"-p 6432\b", f"-p {self.daemon.port}"), (r"port=6432\b", f"port={self.daemon.port}"),
            (r"port=5432\b", f"port={self.pg.port}"),
            (r"(?<=[:= ])(6433|9127|5433)\b", lambda found: str(self.ports[found.group(1)].number)),
            (r"/etc/pgpoold/server\.(crt|key)", lambda found: str(
                self.certs.server if found.group(1) == "crt" else self.certs.server_key)),
            (r"/etc/pgpoold/ca\.crt", str(self.certs.ca)),
            (r"(?<![\w/.])(?:/etc/pgpoold|/run/pgpoold)(?:/secret)?", str(self.daemon.home)),
            (r"-h /tmp(?= )", f"-h {self.daemon.socket_dir}"),
            (r"\b10\.0\.0\.\d+", lambda found: self.addresses.get(found.group(0), "127.0.0.1"))]
        for pattern, ours in exchange:
            text = re.sub(pattern, ours, text)
        return text

    def close(self):
        for port in self.ports.values():
            port.close()


@pytest.fixture
def new_world(pgpoold, shop, certs):
    """new_world(users=...): a World whose daemon has not been started; .write(ini) and .start() do."""
    worlds = []

    def make(userlist=None):
        daemon = pgpoold(start=False, ini="", userlist=userlist or {"app": verifier(shop), "admin": "console-secret"})
        worlds.append(World(daemon, shop, certs))
        return worlds[-1]
    yield make
    for world in worlds:
        world.close()


def checked(world):
    """--check-config has nothing to say but warnings."""
    done = subprocess.run([world.daemon.binary, "--check-config", world.daemon.ini_path], capture_output=True, text=True,
                          check=False, cwd=world.daemon.home)
    assert done.returncode == 0, done.stderr
    return done.stderr


def with_port(text, world):
    """Examples that keep the default port get ours."""
    if "listen_port" in text:
        return text
    return re.sub(r"(?m)^(\[pgpoold\]\n)", rf"\g<1>listen_port = {world.daemon.port}\n", text)


@pytest.fixture
def readme(new_world):
    """What the README sets up, running."""
    text, userlist = only("readme-ini").text, only("readme-userlist").text
    world = new_world()
    assert userlist.startswith('"app" "SCRAM-SHA-256$4096:..."\n') and '"admin" "console-secret"' in userlist
    world.daemon.write_userlist(userlist.replace("SCRAM-SHA-256$4096:...", verifier(world.pg)))
    # The only line of our own: the default folder, /tmp, belongs to everybody.
    world.daemon.change(ini=world.local(text) + f"unix_socket_dir = {world.daemon.home}\n")
    checked(world)
    world.daemon.start()
    return world


def run(world, *command, text=None, env=None, check=True, timeout=100, **how):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    bin_dir = world.daemon.binary.parent
    done = subprocess.run([*map(str, command)], input=text, capture_output=True, text=True, timeout=timeout, check=False,
                          env={**clean, **SANITIZER_ENV, "PATH": f"{bin_dir}:{clean['PATH']}", "PGCONNECT_TIMEOUT": "20",
                               "PGPASSWORD": "console-secret", **(env or {})}, **how)
    if check:
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


# The pages

def test_every_example_says_how_it_is_run():
    assert [e.id for e in EXAMPLES if e.kind not in KINDS] == []
    assert {e.kind for e in EXAMPLES} == KINDS


def test_the_pages_show_no_marks():
    for page in PAGES:
        if page.suffix == ".scd":
            roff = subprocess.run(["scdoc"], stdin=open(page, "rb"), capture_output=True, check=True).stdout.decode()
            assert "run: " not in roff


def test_links_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("tests/*/README.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert "://" in link or (page.parent / link).exists(), f"{page}: {link}"


def test_make_targets_that_documents_name_exist():
    targets = set(re.findall(r"(?m)^([a-z][a-z-]*):", (ROOT / "Makefile").read_text()))
    lists = re.findall(r"(?m)^\.PHONY: (.*)$", (ROOT / "Makefile").read_text())
    targets.update(" ".join(lists).split())
    pages = [*ROOT.glob("*.md"), ROOT / "packaging/README.md", ROOT / "tests/README.md", ROOT / "tests/bench/README.md"]
    named = 0
    for page in pages:
        text = page.read_text()
        # Whole lines of a block, and `make ...` in a sentence.
        for line in re.findall(r"(?m)^    make ([^#\n]*?)(?:  .*|#.*)?$", text) + re.findall(r"`make ([^`]*)`", text):
            line = re.sub(r"[A-Z_]+=('[^']*'|\S*)", "", line)
            for word in line.split("&&")[0].split():
                named += 1
                assert word in targets, f"{page.name}: make {word}"
    assert named > 20


def test_files_that_contributing_names_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for name in re.findall(r"`((?:config|daemon|pool|protocol|tests|packaging)/[\w/]+\.(?:c|h|py|sh|md))`", text):
        assert (ROOT / name).exists(), name
    sources = "\n".join(path.read_text() for folder in ("config", "daemon", "daemon/util", "pool", "protocol", "tests/lint",
                                                         "packaging") for path in (ROOT / folder).glob("*.*") if path.is_file())
    words = set(re.findall(r"`(?:struct )?([a-z]\w*_\w+|[A-Z_]{5,})`", text)) - {"x_new", "x_free", "x_init", "x_done", "x_ref", "x_unref",
                                                                             "ret_x", "x_timeout_us"}
    assert len(words) > 10
    for word in words:
        assert re.search(rf"\b{word}|{word}\b", sources), word


FOLDERS = ("config", "daemon", "daemon/util", "pool", "protocol")


def test_the_ways_through_the_house_lead_past_what_there_is():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    sources = {path: path.read_text() for folder in FOLDERS for path in (ROOT / folder).glob("*.[ch]")}
    placed = re.findall(r"`(\w+)` \(([\w/]+\.[ch])[,)]", text)
    assert len(placed) > 15
    for name, file in placed:
        assert any(re.search(rf"\b{name}\b", source) for path, source in sources.items() if f"/{path}".endswith(f"/{file}")), \
            f"{name} in {file}"
    for name in set(re.findall(r"`(?:struct )?([a-z]\w*_\w+|[A-Z_]{5,})`", text)):
        assert any(re.search(rf"\b{name}\b", source) for source in sources.values()), name
    for file in set(re.findall(r"\b([a-z]\w*\.[ch])\b", text)):
        assert any(path.name == file for path in sources), file


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_page_of_a_folder_names_each_file_of_it(folder):
    named = []
    for row in re.findall(r"(?m)^\| (`.*?) \|", (ROOT / folder / "README.md").read_text()):
        names = re.findall(r"`([\w*]+)`", row)
        named += [names[0] + name if name.startswith("_") else name for name in names]  # `backend`, `_login`
    patterns = [re.compile(name.replace("*", r"\w*") + "$") for name in named]
    there = {path.stem for path in (ROOT / folder).glob("*.[ch]") if not path.stem.endswith("_internal")}
    assert [stem for stem in sorted(there) if not any(p.match(stem) for p in patterns)] == []
    assert [p.pattern for p in patterns if not any(p.match(stem) for stem in there)] == []


# README

def test_readme_start(readme):
    lines = only("start").text.splitlines()
    assert lines == ["build/pgpoold --check-config pgpoold.ini", "build/pgpoold pgpoold.ini"]  # what the fixture has done
    with psycopg.connect(readme.local("postgresql://app:secret@127.0.0.1:6432/shop")) as conn:
        assert conn.execute("SELECT current_user, current_database()").fetchone() == ("app", "shop")


def test_readme_takeover(readme):
    assert only("takeover").text == "build/pgpoold -R pgpoold.ini\n"
    with psycopg.connect(readme.local("postgresql://app:secret@127.0.0.1:6432/shop")) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
        old = readme.daemon.take_over()
        assert conn.execute("SELECT 2").fetchone() == (2,)
    old.wait(PATIENCE)


def test_readme_make_targets():
    for line in only("make").text.splitlines():
        target = line.split("#")[0].split()
        assert subprocess.run([*target[:1], "-n", *target[1:]], cwd=ROOT, check=False, capture_output=True).returncode == 0


def python_code(code):
    """A program around a call of the table; it prints the name of the database."""
    ask = "SELECT current_database()"
    if code.startswith("psycopg"):
        return f"import psycopg, psycopg2\nconn = {code}\ncur = conn.cursor()\ncur.execute('{ask}')\nprint(cur.fetchone())"
    if code.startswith("create_engine"):
        return ("from sqlalchemy import create_engine, text\nfrom sqlalchemy.pool import NullPool\n"
                f"print({code}.connect().execute(text('{ask}')).scalar())")
    if code.startswith("aiopg"):
        return (f"import aiopg, asyncio\nasync def main():\n    async with {code} as pool, pool.acquire() as conn, conn.cursor() "
                f"as cur:\n        await cur.execute('{ask}')\n        print(await cur.fetchone())\nasyncio.run(main())")
    assert code.startswith("asyncpg")
    return (f"import asyncpg, asyncio\nasync def main():\n    async with {code} as pool:\n"
            f"        print(await pool.fetchval('{ask}'))\nasyncio.run(main())")


def test_readme_connections(readme):
    """Each row of the table. The whole programs of JDBC, node and Go are in pgpoold-guide(7), with the same strings."""
    table = connection_table()
    guide = "\n".join(e.text for e in examples("java", "js", "go"))
    asked = 0
    for client, codes in table.items():
        for code in codes:
            if code.startswith("psql "):
                assert "shop" in run(readme, "sh", "-c", readme.local(code) + " -c 'SELECT current_database()'")
            elif "(" in code and "://" in code and not re.match(r"new |sql\.|pgxpool", code):
                assert "shop" in run(readme, sys.executable, "-W", "ignore", "-c", readme.local(python_code(code)))
            elif client in ("JDBC", "node-postgres", "Go: pgx, lib/pq") and "://" in code:
                assert code in guide, code
            else:
                assert code in ("psycopg2.connect(...)", "aiopg.sa.create_engine(...)", "prepareThreshold"), (client, code)
                continue
            asked += 1
    assert asked == 9


# Programs

@each("python")
def test_python(readme, example):
    assert "shop" in run(readme, sys.executable, "-W", "ignore", "-", text=readme.local(example.text))


@each("js")
def test_js(readme, example):
    assert "shop" in run(readme, "node", "-", text=readme.local(example.text), env={"NODE_PATH": node_path_with("pg", "8")})


@each("java")
def test_java(readme, example, tmp_path):
    (tmp_path / "Shop.java").write_text(readme.local(example.text))
    assert "shop" in run(readme, "java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", JAR, tmp_path / "Shop.java")


@pytest.mark.seconds(300)  # the first time the driver is compiled
@each("go")
def test_go(readme, example, tmp_path):
    (tmp_path / "main.go").write_text(readme.local(example.text))
    assert "shop" in run(readme, "go", "run", tmp_path / "main.go", env=GO_ENV, timeout=280)


@each("sh")
def test_sh(readme, example):
    """Line by line; what asks the console gets a command."""
    for line in example.text.splitlines():
        line = readme.local(line).replace("build/pgpoold", "pgpoold")
        if line.startswith("psql ") and " -c " not in line:
            line += " -c 'SHOW VERSION'"
        # The Unix socket lets the daemon's own user in.
        command = ["sh", "-c", line]
        assert run(readme, *(as_server_account(command) if " -h " in line else command), cwd=readme.daemon.home) != "", line


@each("sql")
def test_sql(readme, example):
    url = {"transaction": readme.local("postgresql://app:secret@127.0.0.1:6432/shop"),
           "server": readme.pg.dsn("shop", "postgres")}[example.args[0]]
    run(readme, "psql", "-X", "-v", "ON_ERROR_STOP=1", url, text=example.text)


@each("console")
def test_console(readme, example):
    """Each command is one of the console's."""
    with psycopg.connect(readme.local("postgresql://app:secret@127.0.0.1:6432/shop"), autocommit=True) as client:
        client.execute("SELECT 1")
        with psycopg.connect(readme.local("postgresql://admin:console-secret@127.0.0.1:6432/pgpoold"), autocommit=True,
                             prepare_threshold=None) as admin:
            for line in example.text.splitlines():
                if line.startswith("KILL_CLIENT"):
                    rows = admin.execute("SHOW CLIENTS")
                    at = {c.name: i for i, c in enumerate(rows.description)}
                    ids = [r[at["id"]] for r in rows.fetchall() if r[at["database"]] == "shop"]
                    line = line.replace("42", str(ids[0]))
                admin.execute(line)
    with psycopg.connect(readme.local("postgresql://app:secret@127.0.0.1:6432/shop")) as client:
        assert client.execute("SELECT 1").fetchone() == (1,)


def test_every_show_that_a_document_names_is_answered(readme):
    named = {word for page in PAGES for word in re.findall(r"\bSHOW ([A-Z]{3,}(?:_[A-Z]+)*)\b", page.read_text().replace("\\", ""))}
    assert len(named) > 15
    with psycopg.connect(readme.local("postgresql://admin:console-secret@127.0.0.1:6432/pgpoold"), autocommit=True,
                         prepare_threshold=None) as admin:
        for word in named - {"FDS"}:  # that one is for the daemon's own user, see test_fds.py
            assert admin.execute(f"SHOW {word}").description is not None or word == "HELP"


def test_a_disabled_database_is_refused_as_the_guide_says(readme):
    with psycopg.connect(readme.local("postgresql://admin:console-secret@127.0.0.1:6432/pgpoold"), autocommit=True,
                         prepare_threshold=None) as admin:
        admin.execute("DISABLE shop")
    client = Client.connect(readme.daemon.host, readme.daemon.port)
    with client, pytest.raises(ServerError) as refusal:
        client.login("app", "shop", "secret")
    assert refusal.value.code == "08004"


def test_clients_wait(readme):
    """The page for that hour, in that hour."""
    with psycopg.connect(readme.local("postgresql://app:secret@127.0.0.1:6432/shop")) as client:
        client.execute("SELECT 1")
        outputs = []
        for line in only("incident").text.splitlines():
            line = readme.local(line)
            if line == "pgpoold top":
                line += f" 'host={readme.daemon.home} port={readme.daemon.port} user=pgpoold'"  # ours is not where it looks
            outputs.append(run(readme, *as_server_account(["sh", "-c", line])))
    assert all("shop" in out for out in outputs)
    for column in ("cl_waiting", "sv_active", "sv_login", "sv_being_canceled", "sv_tested"):
        assert column in outputs[1]
    assert "remote_pid" in outputs[2] and "link" in outputs[3] and "current_connections" in outputs[4] and "paused" in outputs[4]
    guide = next(page for page in PAGES if "guide" in page.name).read_text().replace("\\", "")
    known = run(readme, readme.daemon.binary, "--help-config") + "max_connections"  # that one is PostgreSQL's
    for option in re.findall(r"(?<!\w)_((?:max|min|query|server|client|reserve|default|idle|log|http)_[a-z_]*[a-z])(?: = [^_]*)?_(?!\w)",
                             guide):
        assert re.search(rf"\b{option}\b", known), option


# Configurations

@each("ini")
def test_ini(new_world, example):
    """It is without mistakes, is started, and lets app in."""
    world = new_world()
    database, *more = example.args
    text = world.local(with_port(example.text, world))
    if "%include" in text:  # in the page the rest is in that file
        (world.daemon.home / "common.ini").write_text(world.local(with_port(
            "[databases]\nshop = host=10.0.0.1 port=5432\n[pgpoold]\nlisten_addr = 127.0.0.1\nauth_type = scram-sha-256\n"
            "auth_file = /etc/pgpoold/userlist.txt\n", world)))
        for number in "123":
            make_dir(world.daemon.home / number)
        world.daemon.socket_dir = str(world.daemon.home / "1")
    elif "unix_socket_dir" not in text:
        text += f"unix_socket_dir = {world.daemon.home}\n"
    world.daemon.change(ini=text)
    assert "ERROR" not in checked(world)
    world.daemon.start()
    url = world.local(f"postgresql://app:secret@127.0.0.1:6432/{database}?sslrootcert={world.certs.ca}&" + "&".join(more))
    with psycopg.connect(url) as conn:
        assert conn.execute("SELECT current_database()").fetchone() == ("shop",)


@each("databases", "options")
def test_parts_of_an_ini(new_world, example):
    world = new_world()
    parts = {"databases": "", "options": "", example.kind: example.text}
    text = (f"[databases]\n{parts['databases']}[pgpoold]\nlisten_addr = 127.0.0.1\nlisten_port = 6432\n"
            f"unix_socket_dir = /run/pgpoold\nauth_file = /etc/pgpoold/userlist.txt\n{parts['options']}")
    world.daemon.change(ini=world.local(text))
    checked(world)
    world.daemon.start()


def test_prometheus(tmp_path):
    text = only("prometheus").text
    rules = ROOT / "packaging/prometheus/pgpoold.rules.yml"
    assert "/usr/share/doc/pgpoold/prometheus/pgpoold.rules.yml" in text
    (tmp_path / "prometheus.yml").write_text(text.replace("/usr/share/doc/pgpoold/prometheus/pgpoold.rules.yml", str(rules)))
    promtool("check", "config", tmp_path / "prometheus.yml")


@pytest.fixture
def processes():
    running = []
    yield running
    for process in running:
        process.terminate()
        process.wait(PATIENCE)


def test_haproxy(new_world, processes):
    """Two of pgpoold behind it; one is told to end, and nobody who comes notices."""
    first, second = new_world(), new_world()
    for number, world in ((1, first), (2, second)):
        own = {"9": "127.0.0.9", "10": "127.0.0.10"}
        world.addresses = {"10.0.0.9": own["9"], "10.0.0.10": own["10"]}
        world.ports, spare = (first.ports, world.ports) if world is not first else (world.ports, {})
        for port in spare.values():
            port.close()
        text = only("haproxy-ini").text
        if number == 2:
            text = re.sub(r"(?m)^((?:listen|http)_addr = )10\.0\.0\.9$", r"\g<1>10.0.0.10", text).replace("peer_id = 1", "peer_id = 2")
        world.daemon.change(ini=world.local(text))
        checked(world)
        world.daemon.host = own["9" if number == 1 else "10"]
        world.daemon.start()
    cfg = make_dir(first.daemon.home / "haproxy") / "haproxy.cfg"
    cfg.write_text(first.local(only("haproxy").text))
    give(cfg, 0o644)
    run(first, "haproxy", "-c", "-f", cfg)
    processes.append(subprocess.Popen(as_server_account(["/usr/sbin/haproxy", "-q", "-db", "-f", cfg], death_signal="KILL"),
                                      cwd=cfg.parent))  # it wants to come back there, and may not everywhere
    url = first.local("postgresql://app:secret@127.0.0.1:5433/shop")

    def ask():
        with psycopg.connect(url, connect_timeout=10) as conn:
            return conn.execute("SELECT current_database()").fetchone() == ("shop",)

    eventually(ask, "HAProxy is up")

    def served(world):
        return len(re.findall("login attempt: db=shop", world.daemon.log))
    eventually(lambda: ask() and served(first) and served(second), "both have clients")
    with psycopg.connect(url) as stays:
        stays.execute("SELECT 1")
        first.daemon.signal(signal.SIGTERM)
        first.daemon.wait_log("(?i)shut")
        before = served(first)
        eventually(lambda: all(ask() for _ in range(3)), "HAProxy has seen it")
        assert served(first) <= before + 1 and stays.execute("SELECT 1").fetchone() == (1,)
    first.daemon.wait_exit(0, timeout=PATIENCE)


def test_kubernetes(new_world):
    """There is no cluster here: the objects fit each other, the configuration runs, and what probes ask is answered."""
    objects = {o["kind"]: o for o in yaml.safe_load_all(only("kubernetes").text)}
    assert set(objects) == {"ConfigMap", "Secret", "Deployment", "Service"}
    ini = objects["ConfigMap"]["data"]["pgpoold.ini"]
    pod = objects["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    labels = pod["metadata"]["labels"]
    assert labels == objects["Deployment"]["spec"]["selector"]["matchLabels"] == objects["Service"]["spec"]["selector"]

    # Volumes and paths
    volumes = {v["name"]: v for v in pod["spec"]["volumes"]}
    mounts = {m["mountPath"]: volumes[m["name"]] for m in container["volumeMounts"]}
    assert mounts["/etc/pgpoold/config"]["configMap"]["name"] == objects["ConfigMap"]["metadata"]["name"]
    assert mounts["/etc/pgpoold/secret"]["secret"]["secretName"] == objects["Secret"]["metadata"]["name"]
    assert mounts["/etc/pgpoold/secret"]["secret"]["defaultMode"] == 0o440
    assert container["command"] == ["pgpoold", "/etc/pgpoold/config/pgpoold.ini"]
    assert "auth_file = /etc/pgpoold/secret/userlist.txt" in ini and list(objects["Secret"]["stringData"]) == ["userlist.txt"]

    # Ports
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    assert ports == {"postgresql": int(re.search(r"listen_port = (\d+)", ini).group(1)),
                     "http": int(re.search(r"http_port = (\d+)", ini).group(1))}
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(ports["http"])
    assert [p["targetPort"] for p in objects["Service"]["spec"]["ports"]] == ["postgresql"]
    assert pod["spec"]["securityContext"]["runAsUser"] > 0

    # The real daemon
    world = new_world(userlist=objects["Secret"]["stringData"]["userlist.txt"])
    text = world.local(ini).replace("host=postgres ", f"host={world.pg.host} ").replace("addr = *", "addr = 127.0.0.1")
    world.daemon.change(ini=text)
    assert "ERROR" not in checked(world)
    # A password in clear, and no TLS to the server: SCRAM does it.
    world.daemon.start()
    with psycopg.connect(world.local("postgresql://app:secret@127.0.0.1:6432/shop")) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    web = Http(world.ports["9127"].number)
    for probe in ("livenessProbe", "readinessProbe"):
        get = container[probe]["httpGet"]
        assert get["port"] == "http" and web.get(get["path"])[0] == 200
    world.daemon.signal(signal.SIGTERM)
    world.daemon.wait_exit(0, timeout=PATIENCE)


def test_tools_are_there():
    for tool in ("go", "java", "node", "haproxy", "scdoc", "promtool", "psql"):
        assert shutil.which(tool) or shutil.which(tool, path="/usr/sbin"), f"{tool}: packaging/deps.sh build test"
    assert CLIENTS.is_dir()
