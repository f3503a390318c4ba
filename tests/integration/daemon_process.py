# SPDX-License-Identifier: ISC
"""One pgpoold under test: its ini file, its process, its console."""

import os
import pathlib
import re
import shutil
import signal
import subprocess

import psycopg

from account import Port, as_server_account, give, make_dir
from cluster import USERS
from waiting import PATIENCE, Hopeless, eventually
from wire import Client

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What a sanitizer prints when it has found something.
SANITIZER = re.compile(r"(ERROR: \w+Sanitizer|runtime error:|SUMMARY: \w+Sanitizer)")
SANITIZER_ENV = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:exitcode=99",
    "UBSAN_OPTIONS": "print_stacktrace=1:exitcode=99",
}

# Passwords in plain text, as in an auth_file; admin and stats exist only in pgpoold.
PASSWORDS = {name: password for name, (_, password) in USERS.items()}
PASSWORDS.update({"postgres": "postgres-secret", "admin": "admin-secret", "stats": "stats-secret"})


def binary_path():
    return pathlib.Path(os.environ.get("PGPOOLD_BIN") or ROOT / "build/asan/pgpoold").resolve()


def _entry(value):
    """A [databases] or [users] value: text as it is, or a dict."""
    if isinstance(value, dict):
        return " ".join(f"{k}={v}" for k, v in value.items())
    return str(value)


class Daemon:
    """A running (or ended) pgpoold. .host .port .socket_dir .pid; .dsn() .connect() .admin() .log; .reload()
    .signal() .wait_exit() .stop()."""

    host = "127.0.0.1"

    def __init__(self, home, binary):
        self.home = pathlib.Path(make_dir(home))
        self.socket_dir = str(self.home)
        self.binary = binary
        self.ini_path = self.home / "pgpoold.ini"
        self.userlist_path = self.home / "userlist.txt"
        self.hba_path = self.home / "hba.conf"
        self.ident_path = self.home / "ident.conf"
        self.stderr_path = self.home / "stderr"
        self._port = Port()
        self.port = self._port.number
        self.process = None
        self._exit_expected = False
        self._sections = {}
        self._ini_text = None
        self._started_with = ([], {})
        self._old = []  # processes whose place a new one took

    # Files

    def configure(self, *, options=None, databases=None, users=None, peers=None, section="pgpoold", ini=None,
                  userlist=None, hba=None, ident=None):
        """Writes the files. options are laid over the defaults, None takes one away. ini: the whole file instead,
        where {port}, {dir}, {userlist}, {hba} and {ident} are filled in. userlist: a dict, or the file's text."""
        self._sections = {"databases": databases or {}, "users": users or {}, "peers": peers or {},
                          section: {**self._defaults(hba is not None, ident is not None), **(options or {})}}
        self._ini_text = ini
        self.write_userlist(PASSWORDS if userlist is None else userlist)
        for path, text in ((self.hba_path, hba), (self.ident_path, ident)):
            if text is not None:
                path.write_text(text)
                give(path, 0o644)
        self._write_ini()

    def _defaults(self, with_hba, with_ident):
        values = {"listen_addr": self.host, "listen_port": self.port, "unix_socket_dir": self.socket_dir,
                  "auth_type": "hba" if with_hba else "trust", "auth_file": self.userlist_path,
                  "admin_users": "admin", "stats_users": "stats"}
        if with_hba:
            values["auth_hba_file"] = self.hba_path
        if with_ident:
            values["auth_ident_file"] = self.ident_path
        return values

    def write_userlist(self, users):
        if isinstance(users, dict):
            def quote(text):
                return '"' + text.replace('"', '""') + '"'
            users = "".join(f"{quote(name)} {quote(secret)}\n" for name, secret in users.items())
        self.userlist_path.write_text(users)
        give(self.userlist_path, 0o600)

    def _write_ini(self):
        if self._ini_text is not None:
            text = self._ini_text
            for name, value in {"port": self.port, "dir": self.home, "userlist": self.userlist_path,
                                "hba": self.hba_path, "ident": self.ident_path}.items():
                text = text.replace("{%s}" % name, str(value))
        else:
            text = ""
            for section, entries in self._sections.items():
                lines = [f"{k} = {_entry(v)}\n" for k, v in entries.items() if v is not None]
                text += f"[{section}]\n{''.join(lines)}\n" if lines else ""
        self.ini_path.write_text(text)
        give(self.ini_path, 0o644)

    def change(self, options=None, databases=None, users=None, peers=None, ini=None):
        """Changes the ini file without telling the daemon: options are laid over those in force, the other
        sections are replaced when given."""
        names = [n for n in self._sections if n not in ("databases", "users", "peers")]
        self._sections[names[0]].update(options or {})
        for name, entries in (("databases", databases), ("users", users), ("peers", peers)):
            if entries is not None:
                self._sections[name] = entries
        if ini is not None:
            self._ini_text = ini
        self._write_ini()

    # Life

    def start(self, args=(), env=None, wait=True, *, prefix=(), pass_fds=()):
        """prefix: a command that runs the rest of its command line at last, and may find @pass_fds open."""
        self._started_with = (args, env)
        self._exit_expected = False
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PG") or k.startswith("PGPOOLD_")}
        with open(self.stderr_path, "ab") as stderr:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                as_server_account([*prefix, self.binary, *args, self.ini_path], death_signal="KILL"), pass_fds=pass_fds,
                cwd=self.home, env={**clean, **SANITIZER_ENV, **(env or {})},
                stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, start_new_session=True)
        if wait:
            eventually(self._accepts, "pgpoold accepts connections", timeout=30)

    def _accepts(self):
        if self.process.poll() is not None:
            raise Hopeless(f"pgpoold ended at its start with {self.process.returncode}:\n{self.log[-4000:]}")
        # Whoever fetched the port by LISTEN may be our own holder; a Unix socket tells less, so try what there is.
        for target in ((self.host, self.port), (self.socket_dir, self.port)):
            try:
                Client.connect(*target, timeout=5).close()
                return True
            except OSError as problem:
                last = problem
        raise last

    def restart(self):
        self.stop()
        self.start(*self._started_with)

    def take_over(self, args=(), env=None, wait=True):
        """Starts a new process with -R, which is this daemon from now on; returns the old one's Popen. With wait it
        is in charge by then; the old one may still have clients."""
        old = self.process
        self._old.append(old)
        seen = len(self.log)
        self.start(["-R", *args], env, wait=False)
        if wait:
            self.wait_log(r"online restart: took \d+ clients", after=seen)
            eventually(self._accepts, "the new process accepts connections", timeout=30)
        return old

    def signal(self, number):
        self.process.send_signal(number)

    def wait_exit(self, code=0, timeout=PATIENCE):
        """The daemon ends by itself, with @code (None: any)."""
        self._exit_expected = True
        self.process.wait(timeout)
        if code is not None:
            assert self.process.returncode == code, f"exit code {self.process.returncode}:\n{self.log[-4000:]}"
        return self.process.returncode

    def kill9(self):
        self._exit_expected = True
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self):
        """Ends it as an operator would: SIGINT waits for servers in use; a second one does not. Exit code 0."""
        if not self.is_running():
            return
        self._exit_expected = True
        for patience in (1, PATIENCE):
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(patience)
                break
            except subprocess.TimeoutExpired:
                continue
        else:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait(PATIENCE)
            raise AssertionError(f"pgpoold did not end after two SIGINT:\n{self.log[-4000:]}")
        assert self.process.returncode == 0, f"exit code {self.process.returncode}:\n{self.log[-4000:]}"

    def finish(self):
        """At the end of each test: it lives or was meant to end, it ends well, and no sanitizer spoke."""
        try:
            if self.process is None:
                return
            alive = self.is_running()
            if alive:
                self.stop()
            for old in self._old:
                assert old.wait(PATIENCE) in (0, -signal.SIGKILL), f"the old process: {old.returncode}:\n{self.log[-4000:]}"
            report = SANITIZER.search(self.stderr)
            assert not report, f"sanitizer report:\n{self.stderr[max(0, report.start() - 500):][:8000]}"
            assert alive or self._exit_expected, (
                f"pgpoold ended during the test with {self.process.returncode}:\n{self.log[-4000:]}")
        finally:
            for process in [*self._old, self.process]:
                if process is not None and process.poll() is None:
                    process.kill()
                    process.wait(PATIENCE)
            self._port.close()
            shutil.rmtree(self.home, ignore_errors=True)

    # Use

    def dsn(self, db="test", user="app", password=None, **more):
        """A connection string; over TCP unless host= says otherwise (host=daemon.socket_dir)."""
        values = {"host": self.host, "port": self.port, "dbname": db, "user": user}
        password = password or PASSWORDS.get(user)
        if password:
            values["password"] = password
        values.update(more)
        return psycopg.conninfo.make_conninfo(**values)

    def connect(self, db="test", user="app", **more):
        """A psycopg connection in autocommit mode. Pass autocommit=False for transactions."""
        autocommit = more.pop("autocommit", True)
        return psycopg.connect(self.dsn(db, user, **more), autocommit=autocommit)

    def psql(self, sql, db="test", user="app", **more):
        """Runs @sql in a connection of its own; the rows of the last result as tuples."""
        with self.connect(db, user, **more) as conn:
            cursor = conn.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def console(self, user="admin", password=None, db="pgpoold", host=None):
        """A raw client on the console, to be closed by the caller."""
        client = Client.connect(host or self.host, self.port)
        try:
            return client.login(user, db, password or PASSWORDS.get(user))
        except BaseException:
            client.close()
            raise

    def admin(self, sql, user="admin", **more):
        """Runs a console command; rows as dicts, whole numbers as int. Raises ServerError."""
        with self.console(user, **more) as client:
            return client.run_dicts(sql)

    def show(self, what, **where):
        """SHOW @what, only the rows whose columns equal @where: show("pools", database="test")."""
        return [row for row in self.admin(f"SHOW {what}") if all(row.get(k) == v for k, v in where.items())]

    def reload(self, **changes):
        """Changes the files as change() does, then RELOAD through the console."""
        if changes:
            self.change(**changes)
        self.admin("RELOAD")

    # Questions

    @property
    def pid(self):
        return self.process.pid

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    @property
    def stderr(self):
        return self.stderr_path.read_text(errors="replace") if self.stderr_path.exists() else ""

    @property
    def log(self):
        """All it has logged: stderr, and the files *.log in its folder."""
        return self.stderr + "".join(p.read_text(errors="replace") for p in sorted(self.home.glob("*.log")))

    def wait_log(self, pattern, timeout=PATIENCE, after=0):
        """Until a line of the log matches the regular expression; the match. after: len(daemon.log) from before."""
        return eventually(lambda: re.search(pattern, self.log[after:]), f"log line {pattern!r}", timeout)
