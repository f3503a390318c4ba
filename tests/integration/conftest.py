# SPDX-License-Identifier: ISC
"""Fixtures of the integration tests. README.md in the folder above tells how to use them."""

import contextlib
import datetime
import os
import pathlib
import shutil
import signal
import tempfile

import pytest

from account import Port, give
from cluster import Cluster, shared_certs
from daemon_process import Daemon, binary_path
from fake_pg import FakePg
from http_client import Http
from programs import run
from waiting import eventually as wait_eventually
from wire import Client

BASE_ENV = "PGPOOLD_TEST_BASE"
TEST_SECONDS = 240


# One folder per test run holds everything; the process that the user started makes and removes it.

def pytest_configure(config):
    if BASE_ENV not in os.environ:
        os.environ[BASE_ENV] = tempfile.mkdtemp(prefix="pgp-", dir="/tmp")
        give(os.environ[BASE_ENV])
        config.pgpoold_owns_base = True
    os.environ["LC_ALL"] = "C.UTF-8"
    os.environ["PATH"] += ":/usr/sbin"  # not in an ordinary user's, and HAProxy is there
    for name in [n for n in os.environ if n.startswith("PG") and n not in ("PG_BINDIR", "PGPOOLD_BIN", BASE_ENV)]:
        del os.environ[name]  # no PGHOST of the caller may leak into a connection


def pytest_unconfigure(config):
    if getattr(config, "pgpoold_owns_base", False):
        shutil.rmtree(os.environ.pop(BASE_ENV), ignore_errors=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    """A test that hangs fails by itself instead of holding up all the others."""
    marker = item.get_closest_marker("seconds")
    seconds = marker.args[0] if marker else TEST_SECONDS

    def too_long(_signal, _frame):
        raise TimeoutError(f"the test took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the end of what each of its daemons logged."""
    report = (yield).get_result()
    if report.when == "call" and report.failed:
        for daemon in getattr(item, "pgpoold_daemons", []):
            report.sections.append((f"pgpoold {daemon.home.name}", daemon.log[-6000:]))


@pytest.fixture(scope="session")
def worker_dir():
    """The folder of this xdist worker; short, for the sake of Unix socket paths."""
    path = pathlib.Path(os.environ[BASE_ENV]) / os.environ.get("PYTEST_XDIST_WORKER", "main")
    path.mkdir(exist_ok=True)
    return pathlib.Path(give(path))


@pytest.fixture(scope="session")
def certs():
    """Paths of throw-away certificates: ca, server, server_key, client, client_key, other_ca; sign() makes more."""
    return shared_certs(os.environ[BASE_ENV])


@pytest.fixture(scope="session")
def worker_cluster(worker_dir):
    cluster = Cluster(os.environ[BASE_ENV], worker_dir / "pg")
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def other_worker_cluster(worker_dir):
    cluster = Cluster(os.environ[BASE_ENV], worker_dir / "pg2")
    yield cluster
    cluster.close()


def _as_found(cluster):
    """The cluster for one test; the next one finds it running, whatever this one did."""
    if not cluster.is_running():
        cluster.start()
    cluster.test_began = datetime.datetime.now(datetime.timezone.utc)
    yield cluster
    if not cluster.is_running():
        cluster.start()


@pytest.fixture
def pg(worker_cluster):
    """The PostgreSQL of this worker (cluster.Cluster), running."""
    yield from _as_found(worker_cluster)


@pytest.fixture
def other_pg(other_worker_cluster):
    """A second PostgreSQL, for failover and several hosts."""
    yield from _as_found(other_worker_cluster)


@pytest.fixture
def bench_db(pg):
    """pgbench's tables at scale 1, all its numbers zero, in the database whose name it gives."""
    if not pg.psql("SELECT 1 FROM pg_class WHERE relname = 'pgbench_history'", db="test", user="app"):
        run(pg, "pgbench", "-iq", "-s", "1")
    pg.psql("TRUNCATE pgbench_history; UPDATE pgbench_branches SET bbalance = 0;"
            "UPDATE pgbench_tellers SET tbalance = 0; UPDATE pgbench_accounts SET abalance = 0 WHERE abalance <> 0",
            db="test", user="app")
    return "test"


@pytest.fixture
def eventually():
    """Polls a condition with a deadline: eventually(lambda: pg.n_connections() == 2)."""
    return wait_eventually


@pytest.fixture(scope="session")
def pgpoold_binary(worker_dir):
    """The program under test, copied to where the account that runs it may read it."""
    source = binary_path()
    assert source.exists(), f"{source} is not there: make asan, or set PGPOOLD_BIN"
    target = worker_dir / "pgpoold"
    shutil.copy2(source, target)
    os.chmod(target, 0o755)
    return target


@pytest.fixture
def pgpoold(request, worker_dir):
    """Starts daemons: pgpoold(pool_mode="transaction", databases={...}, users={...}, userlist={...}, ini=...,
    hba=..., ident=..., section="pgpoold", args=[...], env={...}, wait=True). What else is named is an option of the
    main section; options={...} does the same. Without databases= every name goes to the fixture pg. With wait=False
    it returns at once: then use wait_exit() or wait_log(). start=False only writes the files."""
    daemons = request.node.pgpoold_daemons = []

    def make(*, options=None, databases=None, users=None, peers=None, ini=None, userlist=None, hba=None, ident=None,
             section="pgpoold", args=(), env=None, wait=True, start=True, **more):
        binary = request.getfixturevalue("pgpoold_binary")
        if databases is None and ini is None:
            server = request.getfixturevalue("pg")
            databases = {"*": f"host={server.host} port={server.port}"}
        make.count += 1
        daemon = Daemon(worker_dir / f"d{make.count}", binary)
        daemons.append(daemon)
        daemon.configure(options={**(options or {}), **more}, databases=databases, users=users, peers=peers, ini=ini,
                         userlist=userlist, hba=hba, ident=ident, section=section)
        if start:
            daemon.start(args, env, wait)
        return daemon

    make.count = 0
    yield make
    problems = []
    for daemon in reversed(daemons):
        try:
            daemon.finish()
        except Exception as problem:  # pylint: disable=broad-except  # all daemons must end first
            problems.append(problem)
    if problems:
        raise problems[0]


@pytest.fixture
def console():
    """Opens consoles: console(daemon, user=...). Closed at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda daemon, **how: stack.enter_context(daemon.console(**how))


@pytest.fixture
def http_port():
    """A free port for http_port, held until the end of the test."""
    port = Port()
    yield port.number
    port.close()


@pytest.fixture
def http(pgpoold, http_port):
    """http(**options) starts a daemon with an HTTP side: (daemon, http_client.Http)."""
    return lambda **how: (pgpoold(http_port=http_port, **how), Http(http_port))


@pytest.fixture
def wire():
    """Raw clients: wire(target, user=..., database=..., password=...) logs in to a daemon, cluster or fake server;
    wire(target, login=False) only connects. host=target.socket_dir goes over the Unix socket."""
    clients = []

    def make(target, *, login=True, host=None, timeout=None, **how):
        client = Client.connect(host or target.host, target.port)
        clients.append(client)
        if timeout is not None:
            client.timeout = timeout
        return client.login(**how) if login else client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def fake_pg():
    """Scripted servers: fake_pg(script, auth="scram", password=..., answers={...}, ...), see fake_pg.FakePg."""
    servers = []

    def make(*args, **how):
        servers.append(FakePg(*args, **how))
        return servers[-1]

    yield make
    for server in servers:
        server.close()
    for server in servers:
        server.check()
