# SPDX-License-Identifier: ISC
"""What is shipped beside the program: first configuration, completion, logrotate, the descriptions of packages."""

import os
import re
import signal
import subprocess

import psycopg
import pytest

from account import as_server_account, give
from daemon_process import ROOT
from waiting import eventually
from wire import Client, ServerError

ETC = ROOT / "packaging/etc"


def version():
    return re.search(r'PGPOOLD_VERSION "(.*)"', (ROOT / "daemon/version.h").read_text()).group(1)


# The first configuration

@pytest.fixture
def as_shipped(pgpoold):
    """A daemon with the files of packaging/etc, at other places and with another port."""
    daemon = pgpoold(start=False, ini="", userlist=(ETC / "userlist.txt").read_text())
    text = (ETC / "pgpoold.ini").read_text()
    for place, ours in (("/etc/pgpoold/userlist.txt", daemon.userlist_path), ("= /run/pgpoold", f"= {daemon.home}"),
                        ("= 6432", f"= {daemon.port}")):
        assert place in text
        text = text.replace(place, str(ours) if place.startswith("/") else ours)
    daemon.change(ini=text)
    return daemon


def test_the_first_configuration_lets_nobody_in(as_shipped):
    as_shipped.start()
    assert "WARNING" not in as_shipped.log and "ERROR" not in as_shipped.log
    for host in (as_shipped.host, as_shipped.socket_dir):
        for user, database in (("postgres", "postgres"), ("app", "shop"), ("pgpoold", "pgpoold"), ("admin", "pgbouncer")):
            if (host, user) == (as_shipped.socket_dir, "pgpoold"):
                continue  # the system user of the daemon has the console, and so has a test that runs as that user
            with Client.connect(host, as_shipped.port) as client, pytest.raises((ServerError, OSError)):
                client.login(user, database, "")


def test_the_first_configuration_gives_the_system_user_the_console(as_shipped):
    as_shipped.start()
    done = subprocess.run(as_server_account(["psql", "-XAtw", "-h", as_shipped.socket_dir, "-p", as_shipped.port, "-U",
                                             "pgpoold", "pgpoold", "-c", "SHOW VERSION"]),
                          check=False, capture_output=True, text=True)
    assert done.stdout == f"pgpoold {version()}\n", done.stderr


def test_the_example_is_a_configuration_without_mistakes(pgpoold_binary):
    done = subprocess.run([pgpoold_binary, "--check-config", ROOT / "pgpoold.ini.example"], check=False,
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert all(line.startswith("warning: ") for line in done.stderr.splitlines())  # it has no users


def test_the_addresses_of_the_socket_unit_are_those_of_the_configuration():
    unit = (ROOT / "packaging/systemd/pgpoold.socket").read_text()
    ini = dict(re.findall(r"(?m)^(\w+) = (.*)$", (ETC / "pgpoold.ini").read_text()))
    assert re.findall(r"(?m)^ListenStream=(.*)$", unit) == [
        f"{ini['listen_addr']}:{ini['listen_port']}", f"{ini['unix_socket_dir']}/.s.PGSQL.{ini['listen_port']}"]


# The log

def rotated(daemon):
    """The real logrotate with our file; what postrotate does here is told to the daemon directly."""
    text = (ETC / "logrotate").read_text()
    for theirs, ours in (("/var/log/pgpoold/*.log", f"{daemon.home}/*.log"), ("create 0640 pgpoold adm", "create 0640"),
                         ("    su pgpoold adm\n", ""), ("    delaycompress\n", ""), ("    compress\n", "")):
        assert theirs in text
        text = text.replace(theirs, ours)
    text, n = re.subn(r"(?s)(postrotate\n).*?(\n *endscript)", rf"\g<1>kill -HUP {daemon.pid}\g<2>", text)
    assert n == 1
    conf = daemon.home / "logrotate.conf"
    conf.write_text(text)
    give(conf, 0o644)
    subprocess.run(as_server_account(["/usr/sbin/logrotate", "--force", "--state", daemon.home / "logrotate.state", conf]),
                   check=True)


def test_logrotate_gives_the_daemon_a_new_file_and_no_line_is_lost(pgpoold):
    daemon = pgpoold(logfile="d.log", log_connections=1)
    log = daemon.home / "d.log"
    for turn in range(1, 4):
        rotated(daemon)
        eventually(lambda: "configuration reloaded" in log.read_text(), "the daemon writes to the new file")
        assert log.stat().st_mode & 0o777 == 0o640
        assert daemon.psql("SELECT 1") == [(1,)]
        assert log.read_text().count("login attempt:") == 1
        assert (daemon.home / f"d.log.{turn}").exists()
    assert "process up" in (daemon.home / "d.log.3").read_text()


def test_the_file_is_opened_anew_even_if_the_configuration_is_wrong_meanwhile(pgpoold):
    daemon = pgpoold(logfile="d.log")
    daemon.change({"default_pool_size": "many"})
    rotated(daemon)
    log = daemon.home / "d.log"
    eventually(lambda: "everything stays as it was" in log.read_text(), "the daemon writes to the new file")
    assert "default_pool_size" in log.read_text()
    assert daemon.psql("SELECT 1") == [(1,)]


# Completion

def completed(words, cwd):
    """What bash offers for the last of @words."""
    script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pgpoold "$1" "${COMP_WORDS[COMP_CWORD]}"; '
              'printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "--norc", "-euc", script, "bash", ROOT / "packaging/completions/pgpoold", *words],
                          cwd=cwd, check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_bash_completes_every_option(pgpoold_binary, tmp_path):
    usage = subprocess.run([pgpoold_binary, "--help"], check=True, capture_output=True, text=True).stdout
    options = set(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", usage))
    assert len(options) > 10
    assert completed(["pgpoold", "-"], tmp_path) == options
    assert completed(["pgpoold", "--ver"], tmp_path) == {"--verbose", "--version"}


def test_bash_completes_top_and_its_options(pgpoold_binary, tmp_path):
    assert completed(["pgpoold", "t"], tmp_path) == {"top"}
    usage = subprocess.run([pgpoold_binary, "top", "--help"], check=True, capture_output=True, text=True).stdout
    assert completed(["pgpoold", "top", "-"], tmp_path) == set(re.findall(r"(?m)(?<![\w-])--?[\w][a-z]*", usage))
    assert completed(["pgpoold", "top", "ho"], tmp_path) == {"host="}


def test_bash_completes_files_folders_and_users(tmp_path):
    for name in ("a.ini", "b.txt", "with space.ini"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    assert completed(["pgpoold", "-q", ""], tmp_path) == {"a.ini", "with", "space.ini", "folder"}
    assert "root" in completed(["pgpoold", "-u", "roo"], tmp_path)
    assert "root" in completed(["pgpoold", "--user", "=", "roo"], tmp_path)


# Packages

def test_all_packages_have_one_version():
    debian = (ROOT / "packaging/debian/changelog").read_text()
    spec = (ROOT / "packaging/rpm/pgpoold.spec").read_text()
    assert re.match(r"pgpoold \((.*?)\)", debian).group(1) == version()
    assert re.search(r"(?m)^Version: +(.*)$", spec).group(1) == version()
    assert re.search(rf"- {re.escape(version())}-1$", spec, re.M)


# The world outside says no

def refused(daemon, *args):
    """A start that must fail: what it says on stderr."""
    done = subprocess.run(as_server_account([daemon.binary, *args, daemon.ini_path]), cwd=daemon.home, check=False,
                          timeout=60, capture_output=True, text=True)
    assert done.returncode == 1
    return done.stderr


def test_a_taken_port_is_named_and_its_owner_undisturbed(pgpoold):
    first = pgpoold()
    with first.connect() as conn:
        second = pgpoold(start=False, listen_port=first.port)
        assert f"cannot listen on 127.0.0.1 port {first.port}: another program does: stop it, or change listen_port" \
            in refused(second)
        second.change({"listen_addr": "", "unix_socket_dir": first.socket_dir})
        assert f"cannot listen on unix:{first.socket_dir}/.s.PGSQL.{first.port}: another program does" in refused(second)
        assert conn.execute("SELECT 1").fetchone() == (1,)
    assert first.psql("SELECT 2", host=first.socket_dir) == [(2,)]


def test_a_second_instance_leaves_pid_file_and_socket_of_the_first_alone(pgpoold):
    first = pgpoold(pidfile="p.pid")
    before = {path: path.stat().st_ino for path in (first.home / "p.pid", first.home / f".s.PGSQL.{first.port}")}
    # The very same file: what happens when the command is given twice. With -d as well.
    assert f"process {first.pid} runs with it already: stop it first" in refused(first)
    first.change({"logfile": "d.log"})
    assert f"process {first.pid} runs with it already: stop it first" in refused(first, "-d")
    first.change({"pidfile": None})
    assert "another program does" in refused(first)
    assert {path: path.stat().st_ino for path in before} == before
    assert (first.home / "p.pid").read_text() == f"{first.pid}\n"
    assert first.psql("SELECT 1") == [(1,)] == first.psql("SELECT 1", host=first.socket_dir)


@pytest.mark.parametrize("what", ["unreadable", "missing", "rubbish", "foreign key"])
def test_a_certificate_that_is_no_use_is_named_and_clients_stay(pgpoold, certs, worker_dir, what):
    key, cert = worker_dir / "bad.key", worker_dir / "bad.crt"
    for copy, original in ((key, certs.server_key), (cert, certs.server)):
        copy.unlink(missing_ok=True)
        copy.write_bytes(open(original, "rb").read())
        give(copy, 0o600)
    if what == "unreadable":
        cert.chmod(0)
        if os.geteuid() == 0:
            os.chown(cert, 0, 0)
    elif what == "missing":
        cert.unlink()
    elif what == "rubbish":
        cert.write_text("rubbish\n")
    else:
        key.write_bytes(open(certs.client_key, "rb").read())
    tls = {"client_tls_sslmode": "require", "client_tls_key_file": key, "client_tls_cert_file": cert}
    bad = pgpoold(start=False, **tls)
    assert "bad." in refused(bad)
    daemon = pgpoold(**{**tls, "client_tls_key_file": certs.server_key, "client_tls_cert_file": certs.server})
    with daemon.connect(sslmode="require") as conn:
        daemon.change(tls)
        daemon.signal(signal.SIGHUP)
        daemon.wait_log("everything stays as it was")
        assert re.search(r"ERROR .*bad\.", daemon.log)
        assert conn.execute("SELECT 1").fetchone() == (1,)
        assert daemon.psql("SELECT 2", sslmode="require") == [(2,)]
    with pytest.raises(psycopg.OperationalError):
        daemon.connect(sslmode="disable")


def test_a_full_disk_under_the_log_disturbs_nobody_and_is_told_afterwards(pgpoold):
    daemon = pgpoold(start=False, logfile="d.out", log_connections=1)
    log = daemon.home / "d.out"  # not *.log: the harness reads those, and /dev/full has no end
    os.symlink("/dev/full", log)
    daemon.start()
    daemon.wait_log("WARNING cannot write to the log file: No space left on device")
    for n in range(20):
        assert daemon.psql("SELECT %d" % n) == [(n,)]
    daemon.signal(signal.SIGHUP)
    assert daemon.psql("SELECT 1") == [(1,)]
    log.unlink()
    daemon.signal(signal.SIGHUP)
    eventually(lambda: log.exists() and "configuration reloaded" in log.read_text(), "the log goes on")
    assert re.search(r"WARNING \d\d+ lines of the log file were lost before this one: No space left on device", log.read_text())
    assert daemon.psql("SELECT 1") == [(1,)]
