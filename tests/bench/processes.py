# SPDX-License-Identifier: ISC
"""Starting and ending what is measured: temporary folder, ports, users, ini files, PostgreSQL.

Everything started here is ended here, by its own process object; nothing else is touched."""
import base64
import hashlib
import hmac
import os
import pwd
import re
import resource
import shutil
import socket
import subprocess
import tempfile
import time

PG_BIN = "/usr/lib/postgresql/15/bin"
PASSWORD = "bench"


class Failed(Exception):
    """One step did not work; the text says which and why."""


def find_pg_program(name):
    return os.path.join(PG_BIN, name) if os.path.exists(os.path.join(PG_BIN, name)) else shutil.which(name)


class Processes:
    """The temporary folder and all that runs in it."""

    def __init__(self, pin):
        self.children = []
        self.root = os.geteuid() == 0
        self.account = None
        if self.root:
            self.account = next((pwd.getpwnam(n) for n in ("postgres", "nobody")
                                 if any(n == p.pw_name for p in pwd.getpwall())), None)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.max_fds = hard
        cpus = sorted(os.sched_getaffinity(0))
        self.pin = pin and len(cpus) > 1
        self.pooler_cpus = {cpus[0]} if self.pin else set(cpus)
        self.load_cpus = set(cpus[1:]) if self.pin else set(cpus)
        self.folder = tempfile.mkdtemp(prefix="pgpoold-bench-")
        os.chmod(self.folder, 0o755)
        self.own(self.folder)

    def own(self, path):
        if self.account:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def new_folder(self, name):
        os.makedirs(self.path(name), exist_ok=True)
        self.own(self.path(name))
        return self.path(name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(self.path(name), 0o600)
        self.own(self.path(name))
        return self.path(name)

    def as_user(self, command):
        """The same command as the ordinary user; ends with us whatever happens to us."""
        prefix = ["setpriv", "--pdeathsig", "TERM"]
        if self.account:
            prefix += ["--reuid", str(self.account.pw_uid), "--regid", str(self.account.pw_gid),
                       "--clear-groups"]
        return prefix + ["--"] + list(command)

    def start(self, command, log, cpus, **more):
        """@cpus: the set of CPUs it may use. Its output goes to @log within the folder."""
        with open(self.path(log), "ab") as out:
            child = subprocess.Popen(command, stdin=more.pop("stdin", subprocess.DEVNULL),
                                     stdout=more.pop("stdout", out), stderr=out, cwd=self.folder,
                                     preexec_fn=lambda: os.sched_setaffinity(0, cpus), **more)
        child.log = self.path(log)
        self.children.append(child)
        return child

    def stop(self, child, seconds=5):
        if child in self.children:
            self.children.remove(child)
        for stream in (child.stdin, child.stdout):
            if stream:
                stream.close()
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(seconds)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def close(self, keep):
        for child in reversed(list(self.children)):
            self.stop(child)
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)


def tail_of(path, lines=5):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return " | ".join(line.strip() for line in f.readlines()[-lines:])
    except OSError:
        return "no log"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(port, child, seconds=15):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise Failed(f"{child.args[-2:]} ended at once: {tail_of(child.log)}")
        with socket.socket() as s:
            s.settimeout(1)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise Failed(f"nothing listens on port {port}: {tail_of(child.log)}")


def scram_verifier(password, salt=b"pgpoold-bench-16", iterations=4096):
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    b64 = [base64.b64encode(x).decode() for x in (salt, hashlib.sha256(client).digest(), server)]
    return f"SCRAM-SHA-256${iterations}:{b64[0]}${b64[1]}:{b64[2]}"


def make_certificates(procs):
    kinds = {"rsa": ["-newkey", "rsa:2048"],
             "ec": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]}
    for name, kind in kinds.items():
        subprocess.run(["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-keyout", procs.path(name + ".key"), "-out", procs.path(name + ".crt"), *kind],
                       check=True, capture_output=True)
        procs.own(procs.path(name + ".key"))
        procs.own(procs.path(name + ".crt"))


class NullServer:
    def __init__(self, procs, program):
        self.port = free_port()
        self.unix = procs.new_folder("null")
        self.child = procs.start([program, "--port", str(self.port), "--unix", self.unix], "null.log",
                                 procs.load_cpus)
        wait_for_port(self.port, self.child)


class Pooler:
    """pgpoold or PgBouncer: one program, any number of running instances."""

    def __init__(self, program, label):
        self.program = program
        self.label = label
        text = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        version = re.search(r"(\d+)\.(\d+)(?:\.\d+)?", text.stdout + text.stderr)
        self.version = version.group(0) if version else "?"
        self.is_bouncer = (text.stdout + text.stderr).lower().startswith("pgbouncer")
        self.numbers = (int(version.group(1)), int(version.group(2))) if version else (0, 0)
        self.instances = {}

    @property
    def knows_prepared(self):
        return not self.is_bouncer or self.numbers >= (1, 21)

    @property
    def is_lean(self):
        return self.is_bouncer and self.numbers < (1, 21)

    @property
    def title(self):
        return f"{'PgBouncer' if self.is_bouncer else 'pgpoold'} {self.version}"


class Instance:
    """One running pooler. kind: main (trust, RSA), scram, verifier, ec."""

    def __init__(self, procs, pooler, kind, servers, tag="", wrap=()):
        self.procs = procs
        self.port = free_port()
        name = f"{pooler.label}-{kind}{tag}"
        self.unix = procs.new_folder(name)
        secret = scram_verifier(PASSWORD) if kind == "verifier" else PASSWORD
        users = procs.write(name + ".users", f'"bench" "{secret}"\n')
        ini = procs.write(name + ".ini", self.ini(pooler, kind, servers, users))
        self.child = procs.start(procs.as_user([*wrap, pooler.program, ini]), name + ".log",
                                 procs.pooler_cpus)
        wait_for_port(self.port, self.child, 60 if wrap else 15)
        self.pid = self.child.pid

    def ini(self, pooler, kind, servers, users):
        tcp = f"host=127.0.0.1 port={servers['null'].port} user=bench"
        lines = ["[databases]"]
        for n in (10, 20):
            lines.append(f"p{n} = {tcp} dbname=bench pool_size={n}")
            lines.append(f"p{n}_lax = {tcp} dbname=bench_lax pool_size={n}")
        lines.append(f"session = {tcp} dbname=bench pool_size=200 pool_mode=session")
        lines.append(f"u20 = host={servers['null'].unix} port={servers['null'].port} user=bench "
                     f"dbname=bench pool_size=20")
        if "postgres" in servers:
            lines.append(f"pg = host=127.0.0.1 port={servers['postgres'].port} user=bench "
                         f"dbname=postgres pool_size=8")
        key = "ec" if kind == "ec" else "rsa"
        settings = {
            "listen_addr": "127.0.0.1", "listen_port": self.port, "listen_backlog": 4096,
            "unix_socket_dir": self.unix, "unix_socket_mode": "0777",
            "auth_type": "scram-sha-256" if kind in ("scram", "verifier") else "trust",
            "auth_file": users, "pool_mode": "transaction", "max_client_conn": 12000,
            "default_pool_size": 20, "log_connections": 0, "log_disconnections": 0,
            "ignore_startup_parameters": "extra_float_digits",
            "client_tls_sslmode": "allow",
            "client_tls_key_file": self.procs.path(key + ".key"),
            "client_tls_cert_file": self.procs.path(key + ".crt"),
        }
        if pooler.knows_prepared:
            settings["max_prepared_statements"] = 100
        lines.append("[pgbouncer]")
        lines += [f"{k} = {v}" for k, v in settings.items()]
        return "\n".join(lines) + "\n"

    def stop(self):
        self.procs.stop(self.child)


class HAProxy:
    """TCP mode, one thread: what a proxy costs that understands nothing."""

    def __init__(self, procs, server_port):
        self.port = free_port()
        most = min(12000, (procs.max_fds - 100) // 2)  # two descriptors each, or it refuses to start
        config = procs.write("haproxy.cfg", f"""global
    nbthread 1
    maxconn {most}
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
listen bench
    bind 127.0.0.1:{self.port} backlog 4096
    server null 127.0.0.1:{server_port}
""")
        program = shutil.which("haproxy") or "/usr/sbin/haproxy"
        self.child = procs.start(procs.as_user([program, "-db", "-f", config]), "haproxy.log",
                                 procs.pooler_cpus)
        wait_for_port(self.port, self.child)
        self.pid = self.child.pid


class Floor:
    """floor.c: what is left when a pooler does nothing but pass on."""

    def __init__(self, procs, program, server_port):
        self.port = free_port()
        self.child = procs.start([program, "--port", str(self.port), "--server", str(server_port)],
                                 "floor.log", procs.pooler_cpus)
        wait_for_port(self.port, self.child)
        self.pid = self.child.pid


class Postgres:
    """A private cluster of the ordinary user, made for speed, thrown away."""

    def __init__(self, procs):
        self.port = free_port()
        data = procs.path("data")
        run = dict(check=True, capture_output=True, text=True)
        try:
            subprocess.run(procs.as_user([find_pg_program("initdb"), "-D", data, "-U", "bench", "-N",
                                          "--auth=trust", "--locale=C", "-E", "UTF8"]), **run)
            self.child = procs.start(
                procs.as_user([find_pg_program("postgres"), "-D", data, "-p", str(self.port),
                               "-c", "listen_addresses=127.0.0.1", "-k", procs.folder,
                               "-c", "fsync=off", "-c", "max_connections=60",
                               "-c", "synchronous_commit=off"]), "postgres.log", procs.load_cpus)
            self.wait_until_ready()
            subprocess.run([find_pg_program("pgbench"), "-q", "-i", "-s", "1", "-h", "127.0.0.1",
                            "-p", str(self.port), "-U", "bench", "postgres"], **run)
        except subprocess.CalledProcessError as e:
            raise Failed(f"{os.path.basename(str(e.cmd[-1]))}: {e.stderr.strip()[-300:]}") from e

    def wait_until_ready(self):
        wait_for_port(self.port, self.child)
        for _ in range(200):
            ready = subprocess.run([find_pg_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p",
                                    str(self.port)], check=False)
            if ready.returncode == 0:
                return
            time.sleep(0.05)
        raise Failed(f"PostgreSQL does not get ready: {tail_of(self.child.log)}")
