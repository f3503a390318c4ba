# SPDX-License-Identifier: ISC
"""A private PostgreSQL cluster for tests, and the TLS certificates that go with it."""

import contextlib
import fcntl
import os
import pathlib
import shutil
import signal
import subprocess

import psycopg

from account import Port, as_server_account, give, give_all, make_dir, server_account
from waiting import PATIENCE, Hopeless, eventually


def find_bindir():
    """Where initdb and postgres are: PG_BINDIR, else the newest of Debian's folders, else PATH."""
    if os.environ.get("PG_BINDIR"):
        return pathlib.Path(os.environ["PG_BINDIR"])
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3]))
    if found:
        return found[-1].parent
    in_path = shutil.which("initdb")
    if in_path:
        return pathlib.Path(in_path).parent
    raise RuntimeError("no PostgreSQL server found: install postgresql or set PG_BINDIR")


# Logins over TCP and the Unix socket are by trust, except for members of these roles. create_user() puts a user
# into the one that is named after the method.
HBA = """
hostnossl all         +ssl_login      all              reject
hostssl   all         +cert_login     all              cert
hostnossl all         +cert_login     all              reject
local     all         +scram_login                     scram-sha-256
host      all         +scram_login    all              scram-sha-256
local     all         +md5_login                       md5
host      all         +md5_login      all              md5
local     all         +password_login                  password
host      all         +password_login all              password
host      all         +reject_login   all              reject
local     all         all                              trust
host      all         all             all              trust
local     replication all                              trust
host      replication all             all              trust
"""
LOGINS = ("ssl", "cert", "scram", "md5", "password", "reject")

# Users that exist in every cluster: name -> (method of login, password).
USERS = {
    "app": ("trust", "app-secret"),
    "scram_user": ("scram", "scram-secret"),
    "md5_user": ("md5", "md5-secret"),
    "password_user": ("password", "password-secret"),
    "ssl_user": ("ssl", "ssl-secret"),
    "cert_user": ("cert", "cert-secret"),
}

SETTINGS = """
listen_addresses = '127.0.0.1'
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
shared_buffers = 32MB
max_connections = 200
max_prepared_transactions = 20
wal_level = logical
password_encryption = 'scram-sha-256'
log_line_prefix = '%m [%p] %q%u@%d '
log_connections = on
log_disconnections = on
ssl = on
timezone = 'UTC'
lc_messages = 'C'
"""


class Certs:
    """A throw-away certificate authority. Attributes are paths: ca, server, server_key, client, client_key (for
    cert_user), other_ca (one that signed nothing here). The server's certificate is for localhost and 127.0.0.1."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.ca = self.folder / "ca.crt"
        self.server = self.folder / "server.crt"
        self.server_key = self.folder / "server.key"
        self.client = self.folder / "client.crt"
        self.client_key = self.folder / "client.key"
        self.other_ca = self.folder / "other_ca.crt"

    def make(self):
        self._authority("ca")
        self._authority("other_ca")
        self.sign("server", "localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        self.sign("client", "cert_user")
        give_all(self.folder)
        return self

    def _openssl(self, *args):
        subprocess.run(["openssl", *args], cwd=self.folder, check=True, capture_output=True)

    def _key(self, name, rsa=False):
        kind = ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"] if rsa else ["EC", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        self._openssl("genpkey", "-algorithm", *kind, "-out", f"{name}.key")
        os.chmod(self.folder / f"{name}.key", 0o600)

    def _authority(self, name):
        self._key(name)
        self._openssl("req", "-x509", "-new", "-key", f"{name}.key", "-subj", f"/CN=pgpoold test {name}",
                      "-days", "30", "-out", f"{name}.crt")

    def sign(self, name, common_name, extension=None, rsa=False, ca="ca"):
        """Makes NAME.crt and NAME.key for @common_name, signed by our CA, or by other_ca; returns both paths."""
        self._key(name, rsa)
        self._openssl("req", "-new", "-key", f"{name}.key", "-subj", f"/CN={common_name}", "-out", f"{name}.csr")
        args = ["x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.crt", "-CAkey", f"{ca}.key", "-CAcreateserial",
                "-days", "30", "-out", f"{name}.crt"]
        if extension:
            (self.folder / f"{name}.ext").write_text(extension + "\n")
            args += ["-extfile", f"{name}.ext"]
        self._openssl(*args)
        if os.geteuid() == 0:
            give(self.folder / f"{name}.key", 0o600)
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"


@contextlib.contextmanager
def _locked(path):
    with open(path, "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def shared_certs(base):
    """The certificates of this test run, made by whichever worker comes first."""
    folder = pathlib.Path(base) / "certs"
    with _locked(pathlib.Path(base) / "certs.lock"):
        if not folder.exists():
            partial = pathlib.Path(make_dir(f"{folder}.partial"))
            Certs(partial).make()
            partial.rename(folder)
    return Certs(folder)


def _shared_template(base):
    """A data folder fresh from initdb, made once per test run and copied for each cluster."""
    folder = pathlib.Path(base) / "template"
    with _locked(pathlib.Path(base) / "template.lock"):
        if not folder.exists():
            partial = pathlib.Path(make_dir(f"{folder}.partial"))
            os.chmod(partial, 0o700)
            subprocess.run(
                as_server_account([find_bindir() / "initdb", "-D", partial, "-U", "postgres", "-A", "trust",
                                   "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]),
                cwd="/", check=True, capture_output=True)
            partial.rename(folder)
    return folder


def _is_alive(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def identifier(name):
    return '"' + name.replace('"', '""') + '"'


def literal(text):
    return "'" + text.replace("'", "''") + "'"


class Cluster:
    """One running PostgreSQL. Besides postgres (superuser) it has the users of USERS and the databases test and
    test2, which app owns."""

    host = "127.0.0.1"
    test_began = None  # the moment, where a test has it from a fixture

    def __init__(self, base, home, settings=""):
        """@base: folder of the test run, with what all its clusters share. @home: a new folder for this one."""
        self.home = pathlib.Path(make_dir(home))
        self.data = self.home / "data"
        self.socket_dir = str(self.home)
        self.log_path = self.home / "log"
        self.certs = shared_certs(base)
        self.process = None
        self._port = Port()
        self.port = self._port.number
        subprocess.run(as_server_account(["cp", "-a", _shared_template(base), self.data]), cwd="/", check=True)
        with open(self.data / "postgresql.conf", "a", encoding="ascii") as conf:
            conf.write(SETTINGS + settings)
            conf.write(f"port = {self.port}\nunix_socket_directories = '{self.home}'\n")
            conf.write(f"ssl_cert_file = '{self.certs.server}'\nssl_key_file = '{self.certs.server_key}'\n")
            conf.write(f"ssl_ca_file = '{self.certs.ca}'\n")
        (self.data / "pg_hba.conf").write_text(HBA)
        self.start()
        for login in LOGINS:
            self.psql(f"CREATE ROLE {login}_login")
        for user, (login, password) in USERS.items():
            self.create_user(user, password, login)
        for database in ("test", "test2"):
            self.create_database(database, owner="app")

    # Life

    def start(self):
        log = open(self.log_path, "ab")  # pylint: disable=consider-using-with
        with log:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                as_server_account([find_bindir() / "postgres", "-D", self.data], death_signal="QUIT"),
                cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        eventually(self._accepts, "PostgreSQL accepts connections", timeout=60)

    def _accepts(self):
        if self.process.poll() is not None:
            raise Hopeless(f"PostgreSQL ended with {self.process.returncode}: {self.log[-2000:]}")
        return self.psql("SELECT 1") == [(1,)]

    def stop(self, mode="fast"):
        """mode: smart, fast or immediate, as for pg_ctl."""
        if not self.is_running():
            return
        how = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode]
        self.process.send_signal(how)
        self.process.wait(60)

    def restart(self, mode="fast"):
        self.stop(mode)
        self.start()

    def kill9(self):
        """The whole server dies at once, as on a power failure: no goodbye to any client."""
        os.kill(self.process.pid, signal.SIGSTOP)  # so that it does not see its children die
        children = self._children()
        for pid in children + [self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        eventually(lambda: not any(map(_is_alive, children)), "PostgreSQL's children are gone")

    def _children(self):
        out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)],
                             check=False, capture_output=True, text=True).stdout
        return [int(pid) for pid in out.split()]

    def reload(self):
        self.psql("SELECT pg_reload_conf()")

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def close(self):
        self.stop("immediate")
        self._port.close()
        shutil.rmtree(self.home, ignore_errors=True)

    # Use

    def dsn(self, db="test", user="app", password=None, **more):
        """A connection string, for TCP unless host= is given."""
        values = {"host": self.host, "port": self.port, "dbname": db, "user": user}
        if password is None and user in USERS:
            password = USERS[user][1]
        if password:
            values["password"] = password
        values.update(more)
        return psycopg.conninfo.make_conninfo(**values)

    def connect(self, db="test", user="app", **more):
        return psycopg.connect(self.dsn(db, user, **more), autocommit=True)

    def psql(self, sql, db="postgres", user="postgres", **more):
        """Runs @sql straight on the server, by default as superuser; the rows of the last result as tuples."""
        with self.connect(db, user, **more) as conn:
            cursor = conn.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def create_user(self, name, password=None, login="trust", options=""):
        """login: trust, or how the server asks for the password: scram, md5, password; ssl: only over TLS;
        cert: only with a client certificate; reject: never. An md5 user has an md5 hash, the others SCRAM keys."""
        quoted = identifier(name)
        hashing = "md5" if login == "md5" else "scram-sha-256"
        statement = f"CREATE ROLE {quoted} LOGIN {options}"
        if password is not None:
            statement += " PASSWORD " + literal(password)
        self.psql(f"SET password_encryption = '{hashing}'; {statement}")
        if login != "trust":
            self.psql(f"GRANT {login}_login TO {quoted}")

    def drop_user(self, name):
        self.psql(f"DROP ROLE IF EXISTS {identifier(name)}")

    def create_database(self, name, owner="app"):
        """Anew, even when there is one."""
        self.drop_database(name)
        self.psql(f"CREATE DATABASE {identifier(name)} OWNER {identifier(owner)}")

    def drop_database(self, name):
        self.psql(f"DROP DATABASE IF EXISTS {identifier(name)} WITH (FORCE)")

    # Questions

    def activity(self, db=None, user=None):
        """The client connections the server sees (pg_stat_activity) as dicts; not our own, nor those of the test before, some of
        whose backends may be about to end."""
        sql = ("SELECT * FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
               " AND (%(since)s::timestamptz IS NULL OR backend_start >= %(since)s)"
               " AND (%(db)s::text IS NULL OR datname = %(db)s) AND (%(user)s::text IS NULL OR usename = %(user)s)"
               " ORDER BY backend_start")
        with self.connect("postgres", "postgres") as conn:
            cursor = conn.cursor(row_factory=psycopg.rows.dict_row)
            return cursor.execute(sql, {"db": db, "user": user, "since": self.test_began}).fetchall()

    def n_connections(self, db=None, user=None):
        return len(self.activity(db, user))

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    @property
    def account(self):
        """Name of the system user that the server runs as."""
        return server_account().pw_name


class Standby(Cluster):
    """A streaming standby of @primary, until promote()."""

    def __init__(self, primary, home):  # pylint: disable=super-init-not-called  # its data comes from elsewhere
        self.home = pathlib.Path(make_dir(home))
        self.data = self.home / "data"
        self.socket_dir = str(self.home)
        self.log_path = self.home / "log"
        self.certs = primary.certs
        self.process = None
        self._port = Port()
        self.port = self._port.number
        subprocess.run(as_server_account([find_bindir() / "pg_basebackup", "-R", "-c", "fast", "-D", self.data, "-d",
                                          primary.dsn(db="postgres", user="postgres")]),
                       cwd="/", check=True, capture_output=True, timeout=120)
        with open(self.data / "postgresql.conf", "a", encoding="ascii") as conf:
            conf.write(f"port = {self.port}\nunix_socket_directories = '{self.home}'\n")
            conf.write("wal_retrieve_retry_interval = 100ms\n")
        self.start()

    def promote(self):
        self.psql("SELECT pg_promote(wait => true, wait_seconds => 60)")
