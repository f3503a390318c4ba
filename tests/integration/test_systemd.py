# SPDX-License-Identifier: ISC
"""systemd: what it is told, sockets and descriptors it hands over, the units and their sandbox."""

import contextlib
import grp
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import sys

import psycopg
import pytest

from account import as_server_account, give, server_account
from daemon_process import ROOT, SANITIZER_ENV
from waiting import PATIENCE, eventually
from wire import Client, query

UNITS = ROOT / "packaging/systemd"
SERVICES = ("pgpoold.service", "pgpoold@.service")


class Notified:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, path):
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        os.chmod(self.path, 0o777)
        self._socket.settimeout(PATIENCE)

    def wait(self, pattern):
        """The next message with a line that matches; those before it are thrown away."""
        while True:
            message = self._socket.recv(4096).decode()
            if any(re.match(pattern, line) for line in message.splitlines()):
                return message

    def waiting(self):
        """Is there a message that nobody has fetched?"""
        return bool(select.select([self._socket], [], [], 0)[0])

    def rest(self):
        """All messages that nobody has fetched."""
        messages = []
        while self.waiting():
            messages.append(self._socket.recv(4096).decode())
        return messages

    def forget(self):
        """Throws away what has come."""
        while self.waiting():
            self._socket.recv(4096)

    def close(self):
        self._socket.close()
        os.unlink(self.path)


@pytest.fixture
def notified(worker_dir):
    with contextlib.closing(Notified(worker_dir / "notify")) as end:
        yield end


# What it is told

def test_systemd_hears_of_start_reload_and_end(pgpoold, notified):
    daemon = pgpoold(env={"NOTIFY_SOCKET": notified.path})
    notified.wait("READY=1")
    daemon.signal(signal.SIGHUP)
    assert re.search(r"MONOTONIC_USEC=[1-9]\d*\n?$", notified.wait("RELOADING=1"))
    notified.wait("READY=1")
    daemon.signal(signal.SIGTERM)
    notified.wait("STOPPING=1")
    daemon.wait_exit(0)


def test_systemd_hears_of_the_new_process_of_an_online_restart(pgpoold, notified):
    daemon = pgpoold(env={"NOTIFY_SOCKET": notified.path})
    notified.wait("READY=1")
    old = daemon.take_over(env={"NOTIFY_SOCKET": notified.path})
    notified.wait(f"MAINPID={daemon.pid}")
    notified.wait("READY=1")
    assert old.wait(PATIENCE) == 0
    assert not any("STOPPING=1" in message for message in notified.rest())  # the old one is not the service any more


def test_the_drop_in_for_an_online_restart_replaces_the_process(pgpoold, notified, wire):
    """What systemctl reload runs with it, one command after the other, and what systemd hears of that."""
    env = {"NOTIFY_SOCKET": notified.path}
    daemon = pgpoold(pool_mode="transaction", server_tls_sslmode="disable", pidfile="p.pid", logfile="d.log", env=env)
    notified.wait("READY=1")
    client = wire(daemon)
    before = client.run("SELECT pg_backend_pid()")
    old = daemon.process
    lines = [line.partition("=")[2] for line in (UNITS / "examples/online-restart.conf").read_text().splitlines()
             if line.startswith("ExecReload=@")]
    assert len(lines) == 2
    for line in lines:
        command = line.replace("@BINDIR@/pgpoold", str(daemon.binary)).replace("@CONFDIR@/pgpoold.ini", str(daemon.ini_path))
        done = subprocess.run(as_server_account(command.split()), cwd=daemon.home, check=False, capture_output=True, text=True,
                              timeout=PATIENCE, env={**os.environ, **SANITIZER_ENV, **env})
        assert done.returncode == 0, done.stdout + done.stderr
    assert old.wait(PATIENCE) == 0
    new = int((daemon.home / "p.pid").read_text())
    try:
        told = notified.wait("MAINPID=")
        assert told.strip() == f"MAINPID={new}"
        notified.wait("READY=1")
        assert new != old.pid and client.run("SELECT pg_backend_pid()") == before
        assert not any("STOPPING=1" in message for message in notified.rest())
    finally:
        daemon.take_over()  # into the foreground again, where the harness ends it
    eventually(lambda: not os.path.exists(f"/proc/{new}"), "the background process has ended")


def test_a_reload_by_the_console_is_told_too_and_one_that_fails(pgpoold, notified):
    daemon = pgpoold(env={"NOTIFY_SOCKET": notified.path})
    notified.wait("READY=1")
    daemon.reload()
    notified.wait("RELOADING=1")
    notified.wait("READY=1")
    daemon.change({"listen_port": "nonsense"})
    daemon.signal(signal.SIGHUP)
    notified.wait("RELOADING=1")
    notified.wait("READY=1")
    notified.wait("STATUS=running: .*; the last reload failed, see the log")
    daemon.change({"listen_port": daemon.port})
    daemon.signal(signal.SIGHUP)
    assert "failed" not in notified.wait("STATUS=running: ")


def test_the_status_counts_clients_waiters_and_servers(pgpoold, notified):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, stats_period=0.2,
                     env={"NOTIFY_SOCKET": notified.path})
    notified.wait("STATUS=running: 0 clients, 0 waiting, 0 servers; 0 xacts/s, 0 queries/s$")
    with daemon.connect(autocommit=False) as busy, Client.connect(daemon.host, daemon.port) as waiting:
        busy.execute("SELECT 1")
        waiting.login("app", "test").send(query("SELECT 2"))
        notified.wait("STATUS=running: 2 clients, 1 waiting, 1 servers; ")
        busy.commit()
        waiting.expect("T", "D", "C", "Z")
        daemon.signal(signal.SIGUSR1)
        notified.wait("STATUS=paused: 2 clients, 0 waiting, ")
        daemon.signal(signal.SIGUSR2)
        daemon.signal(signal.SIGTERM)
        # Not yet STOPPING=1: systemd would count TimeoutStopSec= from then on.
        seen = notified.wait("STATUS=shutting down when all clients have left: 2 clients, |STOPPING=1")
        assert "STOPPING" not in seen
    notified.wait("STOPPING=1")
    daemon.wait_exit(0)


# The watchdog

def test_the_watchdog_is_fed_while_the_loop_turns_and_not_when_it_is_stuck(pgpoold, notified, worker_dir):
    """How long a stuck one stays silent is measured by another one that is fed at the same rate."""
    with contextlib.closing(Notified(worker_dir / "notify2")) as clock:
        daemon = pgpoold(env={"NOTIFY_SOCKET": notified.path, "WATCHDOG_USEC": "200000"})
        pgpoold(env={"NOTIFY_SOCKET": clock.path, "WATCHDOG_USEC": "200000"})
        for _ in range(3):
            notified.wait("WATCHDOG=1")
        assert daemon.psql("SELECT 1") == [(1,)]
        daemon.signal(signal.SIGSTOP)
        try:
            eventually(lambda: "T (stopped)" in pathlib.Path(f"/proc/{daemon.pid}/status").read_text(), "it stands")
            notified.forget()
            clock.forget()
            for _ in range(5):
                clock.wait("WATCHDOG=1")
            assert not notified.waiting()
        finally:
            daemon.signal(signal.SIGCONT)
        notified.wait("WATCHDOG=1")


def test_nobody_feeds_a_watchdog_that_is_not_ours(pgpoold, notified):
    daemon = pgpoold(env={"NOTIFY_SOCKET": notified.path, "WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"}, stats_period=0.2)
    notified.wait("READY=1")
    assert "0 clients" in notified.wait("STATUS=running: |WATCHDOG=1")
    with daemon.connect():  # by the time that it is counted a watchdog would have been fed
        assert "1 clients" in notified.wait("STATUS=running: [^0]|WATCHDOG=1")


# Sockets that were handed over

ACTIVATE = """
import os, sys
fds = [int(fd) for fd in sys.argv[1].split(",")]
high = [os.dup2(fd, 100 + i) for i, fd in enumerate(fds)]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
    os.close(fd)
os.environ.update(LISTEN_FDS=str(len(fds)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=sys.argv[2])
os.execv(sys.argv[3], sys.argv[3:])
"""


@contextlib.contextmanager
def activated(daemon, sockets, names=""):
    """The daemon's program with @sockets as descriptors 3 and on."""
    fds = ",".join(str(s.fileno()) for s in sockets)
    command = as_server_account([sys.executable, "-c", ACTIVATE, fds, names, daemon.binary, daemon.ini_path],
                                death_signal="KILL")
    with open(daemon.stderr_path, "ab") as stderr, subprocess.Popen(
            command, pass_fds=[s.fileno() for s in sockets], stderr=stderr, cwd=daemon.home,
            env={**os.environ, **SANITIZER_ENV}) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGQUIT)
        process.wait(PATIENCE)


def listening(address):
    s = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    s.bind(address)
    if isinstance(address, str):
        os.chmod(address, 0o777)
    s.listen()
    return s


def select_1(host, port):
    with Client.connect(host, port) as client:
        return client.login("app", "test").query("SELECT 1").rows


def test_sockets_of_systemd_are_used_instead_of_ours(pgpoold):
    daemon = pgpoold(start=False, listen_addr="192.0.2.1")
    path = f"{daemon.home}/.s.PGSQL.77"
    with listening(("127.0.0.1", 0)) as tcp, listening(path) as local:
        port = tcp.getsockname()[1]
        with activated(daemon, [tcp, local], "pgpoold.socket:admin") as process:
            assert select_1("127.0.0.1", port) == [("1",)]
            assert select_1(daemon.socket_dir, 77) == [("1",)]
        assert process.returncode == 0
    assert f"listening on 127.0.0.1:{port} (from systemd: pgpoold.socket)\n" in daemon.log
    assert f"listening on unix:{path} (from systemd: admin)\n" in daemon.log
    # What systemd made is systemd's to remove; ours was never there.
    assert [p.name for p in daemon.home.glob(".s.*")] == [".s.PGSQL.77"]


def test_a_client_that_comes_between_two_processes_waits_for_the_second(pgpoold):
    daemon = pgpoold(start=False)
    with listening(("127.0.0.1", 0)) as tcp:
        port = tcp.getsockname()[1]
        with activated(daemon, [tcp]) as first:
            assert select_1("127.0.0.1", port) == [("1",)]
        assert first.returncode == 0
        with Client.connect("127.0.0.1", port) as between, activated(daemon, [tcp]):
            assert between.login("app", "test").query("SELECT 1").rows == [("1",)]


def test_a_descriptor_that_does_not_listen_prevents_the_start(pgpoold):
    daemon = pgpoold(start=False)
    with socket.socket() as deaf, activated(daemon, [deaf]) as process:
        assert process.wait(PATIENCE) == 1
    assert "descriptor 3 from systemd is not a listening stream socket" in daemon.log


def test_descriptors_for_another_process_are_left_alone(pgpoold):
    daemon = pgpoold(env={"LISTEN_FDS": "1", "LISTEN_PID": "1"})
    assert daemon.psql("SELECT 1") == [(1,)]


# The units

@pytest.fixture(scope="module")
def installed_units(tmp_path_factory, pgpoold_binary):
    """The units as `make install` writes them, for a program that is there."""
    folder = tmp_path_factory.mktemp("units")
    for unit in [*UNITS.glob("pgpoold*.s*"), *UNITS.glob("examples/*.conf")]:
        text = unit.read_text().replace("@BINDIR@", str(pgpoold_binary.parent)).replace("@CONFDIR@", "/etc/pgpoold")
        assert "@" not in re.sub(r"(?m)^#.*|@[a-z-]+(?= |$)", "", text), "a placeholder is left"
        (folder / unit.name).write_text(text)
    return folder


@pytest.mark.parametrize("unit", ["pgpoold.service", "pgpoold.socket", "pgpoold@1.service"])
def test_systemd_finds_no_mistake_in_the_units(installed_units, unit):
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", f"./{unit}"], cwd=installed_units, check=False,
                          capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", SERVICES)
def test_the_sandbox_leaves_an_exposure_of_2_at_most(installed_units, unit):
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", f"./{unit}"],
                          cwd=installed_units, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_both_services_have_the_same_sandbox():
    service, template = ((UNITS / name).read_text() for name in SERVICES)
    assert service[service.index("KillSignal"):service.index("RuntimeDirectory=")] == \
        template[template.index("KillSignal"):template.index("RuntimeDirectory=")]
    assert service[service.index("# The sandbox"):] == template[template.index("# The sandbox"):]


def test_every_example_of_a_drop_in_is_understood(installed_units):
    for example in sorted(installed_units.glob("*.conf")):
        folder = installed_units / "with" / example.stem
        folder.mkdir(parents=True)
        # A drop-in by its place in the file: later lines win, as they do in a drop-in.
        (folder / "pgpoold.service").write_text((installed_units / "pgpoold.service").read_text() + example.read_text())
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", "./pgpoold.service"], cwd=folder, check=False,
                              capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), example.name


# The sandbox at work

@pytest.fixture
def sandboxed(pgpoold, worker_dir):
    """A daemon under the system call filter of pgpoold.service, for which a call outside of it is the end."""
    def make(**options):
        env = options.pop("env", None)
        daemon = pgpoold(start=False, **options)
        wrapper = worker_dir / "sandboxed"
        wrapper.write_text(f'#!/bin/sh\nexec {worker_dir}/sandboxed.py {worker_dir}/sandbox.service {daemon.binary} "$@"\n')
        for name, source in (("sandboxed.py", ROOT / "tests/integration/sandboxed.py"),
                             ("sandbox.service", UNITS / "pgpoold.service")):
            (worker_dir / name).write_text(source.read_text())
            give(worker_dir / name)
        give(wrapper)
        daemon.binary = wrapper
        daemon.start(env=env)
        assert "Seccomp:\t2" in pathlib.Path(f"/proc/{daemon.pid}/status").read_text()
        return daemon

    return make


def test_a_whole_life_fits_in_the_sandbox(sandboxed, certs, worker_dir):
    pam = worker_dir / "pam-of-sandbox"
    pam.mkdir(exist_ok=True)
    (pam / "pgbouncer").write_text("auth required pam_exec.so quiet /bin/true\naccount required pam_permit.so\n")
    give(pam)
    give(pam / "pgbouncer", 0o644)
    daemon = sandboxed(pool_mode="transaction", logfile="d.log", pidfile="p.pid",
                       unix_socket_group=grp.getgrgid(server_account().pw_gid).gr_name,
                       client_tls_sslmode="allow", client_tls_key_file=certs.server_key,
                       client_tls_cert_file=certs.server, env={"PGPOOLD_PAM_CONFDIR": str(pam)},
                       hba="host all app 127.0.0.1/32 pam\nlocal all all peer\nhost all all all scram-sha-256\n")
    with daemon.connect(sslmode="require") as conn, daemon.connect() as other:
        other.execute("LISTEN sandbox")
        conn.execute("NOTIFY sandbox, 'heard'")
        assert next(other.notifies()).payload == "heard"
    os.rename(daemon.home / "d.log", daemon.home / "old")
    daemon.signal(signal.SIGHUP)
    eventually(lambda: "configuration reloaded" in (daemon.home / "d.log").read_text(), "the new log is written")
    assert daemon.psql("SELECT 1") == [(1,)]
    daemon.signal(signal.SIGINT)
    daemon.wait_exit(0)


def test_the_sandbox_of_the_tests_does_end_who_leaves_it(worker_dir):
    """Otherwise the test above would prove nothing."""
    for code, ending in (("pass", 0), ("import ctypes; ctypes.CDLL(None).chroot(b'/')", -signal.SIGSYS)):
        done = subprocess.run([sys.executable, ROOT / "tests/integration/sandboxed.py", UNITS / "pgpoold.service",
                               sys.executable, "-c", code], cwd=worker_dir, check=False, capture_output=True)
        assert done.returncode == ending, code
