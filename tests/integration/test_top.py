# SPDX-License-Identifier: ISC
"""pgpoold top, on a terminal of its own and without one."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios

import psycopg
import pytest

from account import as_server_account, make_dir
from daemon_process import SANITIZER_ENV
from waiting import PATIENCE
from waiting import eventually as wait_eventually
from wire import query

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def conninfo(daemon, **more):
    words = {"host": daemon.host, "port": daemon.port, "user": "stats", "password": "stats-secret", **more}
    return " ".join(f"{k}={v}" for k, v in words.items())


def top(daemon, *args, env=None, check=True, **more):
    """Without a terminal: what it prints."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    done = subprocess.run([daemon.binary, "top", *args, conninfo(daemon, **more)], env={**clean, **SANITIZER_ENV, **(env or {})},
                          capture_output=True, text=True, timeout=PATIENCE, check=False)
    if check:
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout
    return done


def rows(frame):
    """(pools, databases): lists of lists of words, without the marks of those that wait."""
    head, pools, databases = frame.split("DATABASE")
    assert head.startswith("pgpoold at ")
    tables = [[line.lstrip("! ").split() for line in part.splitlines()[1:] if line.strip()] for part in (pools, databases)]
    return tables


class Terminal:
    """The program on a pseudo terminal. .frame is the last whole picture, as text; .raw all it has written."""

    def __init__(self, daemon, *args, size=(30, 120), env=None, **more):
        self.raw = ""
        self._main, side = pty.openpty()
        self.side = os.dup(side)
        self.before = termios.tcgetattr(side)
        self.resize(*size)
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PG") and k != "NO_COLOR"}
        self.process = subprocess.Popen([daemon.binary, "top", *args, conninfo(daemon, **more)], stdin=side, stdout=side,
                                        stderr=side, env={**clean, **SANITIZER_ENV, "TERM": "xterm", **(env or {})},
                                        start_new_session=True)
        os.close(side)

    def resize(self, lines, columns):
        fcntl.ioctl(self._main, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def keys(self, text):
        os.write(self._main, text.encode())

    def read(self):
        if select.select([self._main], [], [], 0.1)[0]:
            self.raw += os.read(self._main, 65536).decode(errors="replace")

    @property
    def frame(self):
        pictures = re.findall(r"(?s)\x1b\[H(.*?)\x1b\[J", self.raw)
        return ESCAPE.sub("", pictures[-1]).replace("\r", "") if pictures else ""

    def until(self, condition, what):
        def look():
            self.read()
            return condition()
        return wait_eventually(look, what, timeout=60)

    def end(self, status=0):
        """It ends, and leaves the terminal as it was."""
        self.until(lambda: self.process.poll() is not None, "top has ended")
        self.read()
        assert self.process.returncode == status, self.raw[-2000:]
        assert self.raw.endswith("\x1b[?7h\x1b[?25h\x1b[?1049l")
        assert termios.tcgetattr(self.side)[:6] == self.before[:6]

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.side)
        os.close(self._main)


@pytest.fixture
def terminal():
    with contextlib.ExitStack() as stack:
        def make(*args, **how):
            new = Terminal(*args, **how)
            stack.callback(new.close)
            return new
        yield make


@contextlib.contextmanager
def queue(daemon, wire, eventually, n=2):
    """A pool of one server connection, which somebody has, and @n clients that wait."""
    with daemon.connect("test", autocommit=False) as holder:
        holder.execute("SELECT 1")
        waiting = [wire(daemon, user="app", database="test") for _ in range(n)]
        for client in waiting:
            client.send(query("SELECT 1"))
        eventually(lambda: daemon.show("pools", database="test")[0]["cl_waiting"] in (n, str(n)), timeout=60)
        yield holder


def one_pool(pgpoold, pg, **how):
    return pgpoold(pool_mode="transaction", databases={name: f"host={pg.host} port={pg.port} dbname=test pool_size={size}"
                                                       for name, size in (("test", 1), ("other", 7))}, **how)


# Without a terminal

def test_without_a_terminal_it_prints_one_picture_and_ends(pgpoold, pg, wire, eventually):
    daemon = one_pool(pgpoold, pg)
    assert daemon.psql("SELECT 1", db="other") == [(1,)]
    with queue(daemon, wire, eventually):
        text = top(daemon)
    assert "\x1b" not in text
    pools, databases = rows(text)
    assert [(p[0], p[1], p[2], p[4], p[6], p[9]) for p in pools] == [
        ("test", "app", "trans", "2", "1", "1"), ("other", "app", "trans", "0", "0", "7")]
    assert re.search(r"(?m)^! test .*\[##########\]$", text) and re.search(r"(?m)^  other .*\[\.{10}\]$", text)
    assert sorted(d[0] for d in databases) == ["other", "test"]
    assert re.search(r"(?m)^clients \d+, waiting 2, logging in \d+; servers 2, active 1, idle 1$", text)
    assert re.match(rf"pgpoold at {daemon.host}:{daemon.port}  \d\d:\d\d:\d\d\n", text)


def test_an_ipv6_address_is_told_from_the_port(pgpoold):
    daemon = pgpoold()
    assert top(daemon, host=f"::ffff:{daemon.host}").startswith(f"pgpoold at [::ffff:{daemon.host}]:{daemon.port}  ")


def test_a_size_of_the_user_outranks_that_of_the_database(pgpoold, pg):
    daemon = one_pool(pgpoold, pg, users={"app": "pool_size=3"})
    assert daemon.psql("SELECT 1") == [(1,)]
    assert rows(top(daemon))[0][0][9] == "3"


def test_what_is_paused_or_disabled_is_said(pgpoold, pg):
    daemon = one_pool(pgpoold, pg)
    for database in ("test", "other"):
        daemon.psql("SELECT 1", db=database)
    daemon.admin("PAUSE other")
    daemon.admin("DISABLE test")
    assert {d[0]: d[8:] for d in rows(top(daemon))[1]} == {"other": ["paused"], "test": ["disabled"]}
    daemon.admin("PAUSE")
    assert "  PAUSED\n" in top(daemon)


def test_names_cannot_steer_the_terminal(pgpoold, pg):
    evil = "a\x1b[2Jb\u009bc\r\né"
    daemon = pgpoold(databases={"*": f"host={pg.host} port={pg.port} dbname=test"})
    with daemon.connect(evil):
        text = top(daemon)
    assert "\x1b" not in text and "\u009b" not in text
    assert re.search(r"(?m)^  a\\x1b\[2Jb\\xc2\\x9bc\\x0d\\x0aé +app ", text)


@pytest.mark.parametrize("more, text", [
    ({"port": 1}, "refused"), ({"user": "stranger"}, "not allowed"),
    ({"dbname": "test", "user": "app"}, "database test is not the console: that is database pgpoold")])
def test_what_cannot_work_is_said_in_a_line(pgpoold, more, text):
    daemon = pgpoold()
    done = top(daemon, check=False, **more)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"pgpoold top: .*{text}.*\n", done.stderr)


@pytest.mark.parametrize("args, text", [
    (["-n", "0"], "--interval: 1 to 3600 seconds"), (["-n", "x"], "--interval"), (["--what"], "--help"),
    (["host=a", "host=b"], "more than one connection string"), (["nonsense"], "nonsense")])
def test_wrong_command_lines(pgpoold_binary, args, text):
    done = subprocess.run([pgpoold_binary, "top", *args], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 1 and text in done.stderr and done.stdout == ""


def test_help(pgpoold_binary):
    done = subprocess.run([pgpoold_binary, "top", "--help"], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert done.stdout.startswith("Usage: pgpoold top ") and "--interval" in done.stdout


def test_without_a_connection_string_it_looks_for_the_unix_socket(pgpoold_binary, pgpoold):
    """... or where the variables of libpq say."""
    daemon = pgpoold()
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    done = subprocess.run([pgpoold_binary, "top"], capture_output=True, text=True, check=False, timeout=PATIENCE,
                          env={**clean, "PGPORT": "1"})
    assert done.returncode == 1 and "/run/pgpoold/.s.PGSQL.1" in done.stderr
    done = subprocess.run([pgpoold_binary, "top"], capture_output=True, text=True, check=False, timeout=PATIENCE,
                          env={**clean, "PGPORT": str(daemon.port), "PGHOST": daemon.socket_dir, "PGUSER": "stats"})
    assert (done.returncode, done.stderr) == (0, "")


# On a terminal

def test_it_follows_what_happens_until_q(pgpoold, pg, wire, eventually, terminal):
    daemon = one_pool(pgpoold, pg)
    view = terminal(daemon, "-n", "1")
    view.until(lambda: "(now)" in view.frame, "two pictures")
    with queue(daemon, wire, eventually, n=3):
        view.until(lambda: re.search(r"(?m)^! test .* 3 ", view.frame), "three wait")
    view.until(lambda: re.search(r"(?m)^  test .* 0 ", view.frame), "nobody waits")
    view.keys("q")
    view.end()
    assert "\x1b[?1049h" in view.raw and "\x1b[33m! test" in view.raw or "\x1b[1;31m! test" in view.raw


def test_rates_are_those_between_two_looks(pgpoold, pg, terminal):
    daemon = one_pool(pgpoold, pg)
    view = terminal(daemon, "-n", "1")
    view.until(lambda: "(now)" in view.frame, "two pictures")

    def queries_seen():
        for _ in range(50):
            conn.execute("SELECT 1")
        found = re.search(r"(?m)^  test +[\d.]+ +([\d.]+) +[\d.]+us |^  test +[\d.]+ +([\d.]+) ", view.frame.split("DATABASE")[-1])
        return found and float(found.group(1) or found.group(2)) > 5
    with daemon.connect() as conn:
        view.until(queries_seen, "queries per second")
    view.keys("\x03")
    view.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_and_the_terminal_is_given_back(pgpoold, terminal, number):
    view = terminal(pgpoold())
    view.until(lambda: view.frame, "a picture")
    view.process.send_signal(number)
    view.end()


def test_it_follows_the_size_of_the_terminal(pgpoold, pg, terminal):
    daemon = pgpoold(databases={f"database_number_{i}": f"host={pg.host} port={pg.port} dbname=test" for i in range(30)})
    for i in range(30):
        daemon.psql("SELECT 1", db=f"database_number_{i}")
    view = terminal(daemon, size=(20, 80))
    view.until(lambda: "more pools" in view.frame, "a picture")
    for lines, columns in ((20, 80), (12, 75), (40, 160)):
        view.resize(lines, columns)
        view.until(lambda: view.frame.count("\n") == lines - 1, f"{lines} lines")  # pylint: disable=cell-var-from-loop
        assert max(map(len, view.frame.splitlines()[1:])) <= columns
        assert "... and " in view.frame and "more databases" in view.frame
    view.resize(80, 160)
    view.until(lambda: "more" not in view.frame, "all of them")
    pools, databases = rows(view.frame)
    assert (len(pools), len(databases)) == (30, 30)
    view.keys("q")
    view.end()


def test_a_restart_of_the_daemon_is_survived(pgpoold, terminal):
    daemon = pgpoold()
    view = terminal(daemon, "-n", "1", size=(24, 80))
    view.until(lambda: view.frame, "a picture")
    daemon.stop()
    view.until(lambda: "refused" in view.frame or "closed the connection" in view.frame, "it says what is wrong")
    daemon.start()
    view.until(lambda: view.frame.splitlines()[3] == "", "it is there again")
    view.keys("q")
    view.end()


def test_keys_change_the_interval(pgpoold, terminal):
    view = terminal(pgpoold())
    view.until(lambda: "every 2 s" in view.frame, "a picture")
    view.keys("+x ")
    view.until(lambda: "every 3 s" in view.frame, "three seconds")
    view.keys("---")
    view.until(lambda: "every 1 s" in view.frame, "one second")
    view.keys("\x04")
    view.end()


def test_no_colour_when_that_is_wanted(pgpoold, pg, wire, eventually, terminal):
    daemon = one_pool(pgpoold, pg)
    view = terminal(daemon, env={"NO_COLOR": "1"})
    with queue(daemon, wire, eventually):
        view.keys(" ")
        view.until(lambda: re.search(r"(?m)^! test ", view.frame), "somebody waits")
    assert not re.search(r"\x1b\[[0-9;]*m", view.raw)
    view.keys("q")
    view.end()


@pytest.mark.parametrize("args, env", [(["--once"], {}), ([], {"TERM": "dumb"})])
def test_one_picture_on_a_terminal(pgpoold, terminal, args, env):
    view = terminal(pgpoold(), *args, env=env)
    view.until(lambda: view.process.poll() is not None, "it has ended")
    view.until(lambda: "OUT/S" in view.raw, "a picture")
    assert view.process.returncode == 0 and "\x1b" not in view.raw


def test_keys_work_while_the_daemon_does_not_answer(pgpoold, terminal):
    daemon = pgpoold()
    view = terminal(daemon, "-n", "1")
    view.until(lambda: view.frame, "a picture")
    daemon.signal(signal.SIGSTOP)
    try:
        view.until(lambda: "no answer for 10 seconds" in view.frame, "it says so")
        view.keys("q")
        view.end()
    finally:
        daemon.signal(signal.SIGCONT)


# Another console

class PgBouncer:
    host = "127.0.0.1"

    def __init__(self, home, port, pg, binary):
        self.port, self.binary = port, binary
        (home / "users").write_text('"app" ""\n"stats" ""\n')
        (home / "pgbouncer.ini").write_text(
            f"[databases]\ntest = host={pg.host} port={pg.port} pool_size=7\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {home}/users\nadmin_users = stats\n")
        self.process = subprocess.Popen(as_server_account(["/usr/sbin/pgbouncer", "-q", home / "pgbouncer.ini"],
                                                          death_signal="KILL"))


def test_it_reads_the_console_of_pgbouncer(pg, pgpoold_binary, worker_dir, http_port):
    other = PgBouncer(make_dir(worker_dir / "pgbouncer"), http_port, pg, pgpoold_binary)
    try:
        wait_eventually(lambda: psycopg.connect(f"host=127.0.0.1 port={http_port} dbname=test user=app password=x").close() is None,
                        timeout=60)
        text = top(other, dbname="pgbouncer")
    finally:
        other.process.terminate()
        other.process.wait(60)
    pools, databases = rows(text)
    assert [(p[0], p[9]) for p in pools] == [("test", "7")] and [d[0] for d in databases] == ["test"]
