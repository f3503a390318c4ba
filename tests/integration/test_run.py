# SPDX-License-Identifier: ISC
"""The process: command line, sockets, pid file, privileges, signals."""

import contextlib
import grp
import os
import pathlib
import signal
import socket
import stat
import subprocess
import threading

import psycopg
import pytest

from account import as_server_account, give, server_account
from daemon_process import SANITIZER, SANITIZER_ENV
from waiting import PATIENCE, eventually
from wire import Client, startup


def run(binary, *args, account=True, cwd=None):
    """Runs the program to its end; (exit code, stdout, stderr)."""
    command = [binary, *args]
    done = subprocess.run(as_server_account(command) if account else list(map(str, command)), cwd=cwd, check=False,
                          timeout=60, capture_output=True, text=True, env={**os.environ, **SANITIZER_ENV})
    assert not SANITIZER.search(done.stderr), done.stderr
    return done.returncode, done.stdout, done.stderr


@contextlib.contextmanager
def living_to_the_end(pid_file):
    """Whatever has its number in @pid_file is ended at last."""
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
            os.kill(int(pathlib.Path(pid_file).read_text()), signal.SIGQUIT)
        eventually(lambda: not os.path.exists(pid_file) or os.stat(pid_file).st_size == 0, "the pid file is gone")


def uids_of(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return {int(word) for line in text.splitlines() if line.startswith("Uid:") for word in line.split()[1:]}


# The command line

def test_version_and_help_are_printed(pgpoold_binary):
    code, out, _ = run(pgpoold_binary, "--version")
    assert code == 0 and out.startswith("pgpoold ")
    code, out, _ = run(pgpoold_binary, "-h")
    assert code == 0 and "--check-config" in out
    code, out, _ = run(pgpoold_binary, "--help-config")
    assert code == 0 and "default_pool_size" in out


@pytest.mark.parametrize("args", [[], ["a.ini", "b.ini"], ["--nonsense", "a.ini"]])
def test_a_wrong_command_line_is_refused(pgpoold_binary, args):
    code, _, err = run(pgpoold_binary, *args)
    assert code == 1 and "--help" in err


def test_check_config_prints_every_error_with_its_place(pgpoold):
    daemon = pgpoold(start=False, ini="[databases]\nx = hots=a\n[pgpoold]\nlisten_port = 99999\nnonsense = 1\n")
    code, _, err = run(daemon.binary, "--check-config", daemon.ini_path)
    assert code == 1
    for line in (2, 4, 5):
        assert f"{daemon.ini_path}:{line}: " in err


def test_check_config_is_silent_about_a_right_file(pgpoold):
    daemon = pgpoold(start=False)
    assert run(daemon.binary, "--check-config", daemon.ini_path) == (0, "", "")


def test_a_wrong_file_prevents_the_start(pgpoold):
    daemon = pgpoold(start=False, nonsense=1)
    code, _, err = run(daemon.binary, daemon.ini_path)
    assert code == 1 and "nonsense: is not an option" in err


# Who it runs as

def test_root_is_refused_and_dropped(pgpoold):
    daemon = pgpoold(start=False, pidfile="p.pid")
    if os.geteuid() != 0:
        code, _, err = run(daemon.binary, "-u", "root", daemon.ini_path, cwd=daemon.home)
        assert code == 1 and "only root can become root" in err
        return
    code, _, err = run(daemon.binary, daemon.ini_path, account=False, cwd=daemon.home)
    assert code == 1 and "will not run as root" in err
    account = server_account()
    with subprocess.Popen([daemon.binary, "-q", "-u", account.pw_name, daemon.ini_path], cwd=daemon.home,
                          env={**os.environ, **SANITIZER_ENV}) as process:
        try:
            eventually(lambda: Client.connect(daemon.host, daemon.port).close() is None, "it accepts")
            assert uids_of(process.pid) == {account.pw_uid}
            assert (daemon.home / "p.pid").stat().st_uid == account.pw_uid
        finally:
            process.terminate()
        assert process.wait(PATIENCE) == 0
    assert not (daemon.home / "p.pid").exists()


def test_a_user_that_does_not_exist_is_refused(pgpoold):
    daemon = pgpoold(start=False, user="no_such_system_user")
    code, _, err = run(daemon.binary, daemon.ini_path)
    assert code == 1 and "there is no system user no_such_system_user" in err


def test_daemon_returns_when_it_is_up_and_logs_to_its_file(pgpoold):
    daemon = pgpoold(start=False, pidfile="p.pid", logfile="d.log")
    with living_to_the_end(daemon.home / "p.pid"):
        code, out, err = run(daemon.binary, "-d", daemon.ini_path, cwd=daemon.home)
        assert (code, out, err) == (0, "", "")
        pid = int((daemon.home / "p.pid").read_text())
        assert os.getsid(pid) != os.getsid(0)
        for fd in (0, 1, 2):
            assert os.readlink(f"/proc/{pid}/fd/{fd}") == "/dev/null"
        Client.connect(daemon.host, daemon.port).close()
        assert "process up" in (daemon.home / "d.log").read_text()


def test_a_daemon_that_fails_says_why_and_the_parent_too(pgpoold):
    first = pgpoold()
    daemon = pgpoold(start=False, pidfile="p.pid", logfile="d.log", listen_port=first.port)
    code, _, err = run(daemon.binary, "-d", daemon.ini_path, cwd=daemon.home)
    assert code == 1 and f"port {first.port}: another program does" in err
    daemon.change({"listen_port": daemon.port, "logfile": "/nowhere/d.log"})
    code, _, err = run(daemon.binary, "-d", daemon.ini_path, cwd=daemon.home)
    assert code == 1 and "/nowhere/d.log: No such file" in err
    assert not (daemon.home / "p.pid").exists()


@pytest.mark.parametrize("missing", ["pidfile", "logfile"])
def test_a_daemon_needs_a_pid_file_and_a_log(pgpoold, missing):
    daemon = pgpoold(start=False, **{"pidfile": "p.pid", "logfile": "d.log", missing: None})
    code, _, err = run(daemon.binary, "-d", daemon.ini_path, cwd=daemon.home)
    assert code == 1 and f"{missing}: " in err


# One at a time

def test_a_second_instance_is_refused(pgpoold):
    first = pgpoold(pidfile="p.pid")
    second = pgpoold(start=False, pidfile=first.home / "p.pid")
    code, _, err = run(second.binary, second.ini_path)
    assert code == 1 and f"process {first.pid} runs with it already" in err
    assert (first.home / "p.pid").read_text() == f"{first.pid}\n"
    second.change({"pidfile": "", "listen_addr": "", "unix_socket_dir": first.socket_dir, "listen_port": first.port})
    code, _, err = run(second.binary, second.ini_path)
    assert code == 1 and "another program does" in err
    Client.connect(first.socket_dir, first.port).close()


@pytest.mark.parametrize("left", ["999999999\n", "1\n", "", "rubbish\n"])
def test_what_a_crash_left_behind_is_in_nobodys_way(pgpoold, left):
    daemon = pgpoold(start=False, pidfile="p.pid")
    (daemon.home / "p.pid").write_text(left)
    give(daemon.home / "p.pid", 0o644)
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(f"{daemon.home}/.s.PGSQL.{daemon.port}")
    stale.close()
    give(f"{daemon.home}/.s.PGSQL.{daemon.port}")
    daemon.start()
    Client.connect(daemon.socket_dir, daemon.port).close()
    assert (daemon.home / "p.pid").read_text() == f"{daemon.pid}\n"
    daemon.stop()
    assert sorted(p.name for p in daemon.home.glob(".s.*")) == [] and not (daemon.home / "p.pid").exists()


def test_the_files_are_there_again_after_a_kill(pgpoold):
    daemon = pgpoold(pidfile="p.pid")
    daemon.kill9()
    assert (daemon.home / "p.pid").exists()
    daemon.start()
    assert (daemon.home / "p.pid").read_text() == f"{daemon.pid}\n"


# Sockets

def test_the_unix_socket_has_its_mode_and_group(pgpoold):
    group = server_account().pw_gid
    daemon = pgpoold(unix_socket_mode="0750", unix_socket_group=grp.getgrgid(group).gr_name)
    status = os.stat(f"{daemon.home}/.s.PGSQL.{daemon.port}")
    assert stat.S_IMODE(status.st_mode) == 0o750 and status.st_gid == group


def test_an_unknown_group_prevents_the_start(pgpoold):
    daemon = pgpoold(start=False, unix_socket_group="no_such_group")
    code, _, err = run(daemon.binary, daemon.ini_path)
    assert code == 1 and "there is no group no_such_group" in err
    assert not list(daemon.home.glob(".s.*"))


def test_it_listens_on_an_abstract_unix_socket(pgpoold):
    daemon = pgpoold(unix_socket_dir="@pgpoold-test")
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(f"\0pgpoold-test/.s.PGSQL.{daemon.port}")
    with psycopg.connect(daemon.dsn(host="@pgpoold-test"), autocommit=True) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_the_star_means_ipv4_and_ipv6(pgpoold):
    daemon = pgpoold(listen_addr="*")
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as s:
            s.connect((address, daemon.port))
    assert psycopg.connect(daemon.dsn(host="::1")).execute("SELECT 1").fetchone() == (1,)


def test_it_warns_when_everybody_may_log_in_from_anywhere(pgpoold):
    daemon = pgpoold(listen_addr="*")
    daemon.wait_log(r"WARNING auth_type = trust: whoever reaches 0\.0\.0\.0:\d+ may log in without a password")
    assert "whoever" not in pgpoold().log  # on the loopback addresses only
    assert "whoever" not in pgpoold(listen_addr="*", auth_type="scram-sha-256").log


def test_a_list_of_addresses_may_have_names_and_repeat_itself(pgpoold):
    daemon = pgpoold(listen_addr=" localhost , 127.0.0.1,127.0.0.2")
    Client.connect("127.0.0.1", daemon.port).close()
    Client.connect("127.0.0.2", daemon.port).close()
    daemon.wait_log("listening on unix:")
    assert daemon.log.count("listening on 127.0.0.1:") == 1


def test_an_address_that_is_not_ours_prevents_the_start(pgpoold):
    daemon = pgpoold(start=False, listen_addr="192.0.2.1")
    code, _, err = run(daemon.binary, daemon.ini_path)
    assert code == 1 and "cannot listen on 192.0.2.1" in err


def test_nothing_to_listen_on_prevents_the_start(pgpoold):
    daemon = pgpoold(start=False, listen_addr="", unix_socket_dir="")
    code, _, err = run(daemon.binary, daemon.ini_path)
    assert code == 1 and "nothing to listen on" in err


def test_two_processes_share_a_port(pgpoold):
    first = pgpoold(so_reuseport=1)
    second = pgpoold(so_reuseport=1, start=False)
    second.change({"listen_port": first.port})
    second.start(wait=False)
    second.wait_log("listening on 127")
    second.wait_log("process up")


def test_too_few_descriptors_make_clients_wait_and_nothing_else(pgpoold):
    daemon = pgpoold(max_client_conn=1000, start=False)
    limited = daemon.home / "limited"
    limited.write_text(f'#!/bin/sh\nulimit -n 32\nexec {daemon.binary} "$@"\n')
    give(limited)
    daemon.binary = limited
    daemon.start()
    idle = [Client.connect(daemon.host, daemon.port) for _ in range(40)]
    for client in idle:
        client.send(startup({"user": "app"})[:4])  # tcp_defer_accept hands over those that said something
    daemon.wait_log("cannot accept on .*: Too many open files")
    late = threading.Thread(target=lambda: daemon.psql("SELECT 1"))
    late.start()
    for client in idle:
        client.close()
    late.join(PATIENCE)
    assert not late.is_alive()
    assert daemon.psql("SELECT 2") == [(2,)]
    assert daemon.log.count("cannot accept") <= PATIENCE


def test_it_warns_when_the_limit_of_files_is_too_low(pgpoold):
    daemon = pgpoold(max_client_conn=1000000)
    daemon.wait_log("WARNING max_client_conn = 1000000 and the pools may need")


# Signals

def test_term_waits_for_clients_and_refuses_new_ones(pgpoold):
    daemon = pgpoold(pool_mode="transaction")
    conn = daemon.connect()
    daemon.signal(signal.SIGTERM)
    daemon.wait_log("got SIGTERM")
    with pytest.raises(OSError):
        Client.connect(daemon.host, daemon.port)
    with pytest.raises(psycopg.OperationalError, match="shutting down"):
        daemon.connect(host=daemon.socket_dir)
    assert conn.execute("SELECT 1").fetchone() == (1,)
    conn.close()
    daemon.wait_exit(0)


def test_int_waits_for_transactions(pgpoold):
    daemon = pgpoold(pool_mode="transaction")
    idle = daemon.connect()
    with daemon.connect(autocommit=False) as busy:
        busy.execute("SELECT 1")
        daemon.signal(signal.SIGINT)
        daemon.wait_log("got SIGINT")
        assert busy.execute("SELECT 2").fetchone() == (2,)
        assert daemon.is_running()
        busy.commit()
        daemon.wait_exit(0)
    with pytest.raises(psycopg.OperationalError, match="shutting down"):
        idle.execute("SELECT 3")


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(pgpoold, first, second):
    daemon = pgpoold()
    conn = daemon.connect(autocommit=False)
    conn.execute("SELECT 1")
    daemon.signal(first)
    daemon.wait_log("shutting down when all")
    daemon.signal(second)
    daemon.wait_exit(0)
    with pytest.raises(psycopg.OperationalError, match="pooler is shutting down"):
        conn.execute("SELECT 2")


def test_quit_ends_at_once(pgpoold):
    daemon = pgpoold(pool_mode="transaction")
    conn = daemon.connect(autocommit=False)
    conn.execute("SELECT 1")
    daemon.signal(signal.SIGQUIT)
    daemon.wait_exit(0)


def test_usr1_pauses_and_usr2_resumes(pgpoold, pg, eventually):
    daemon = pgpoold(pool_mode="transaction", databases={"test": f"host={pg.host} port={pg.port}"})
    conn = daemon.connect()
    conn.execute("SELECT 1")
    daemon.signal(signal.SIGUSR1)
    daemon.wait_log("closing because: pause mode")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(conn.execute("SELECT 2").fetchone()))
    thread.start()
    thread.join(0.5)
    assert answers == []
    daemon.signal(signal.SIGUSR2)
    thread.join(PATIENCE)
    assert answers == [(2,)]


# The log

def test_averages_go_to_the_log(pgpoold):
    daemon = pgpoold(stats_period=0.2)
    daemon.psql("SELECT 1")
    daemon.wait_log(r"LOG stats: [1-9]\d* xacts/s, [1-9]\d* queries/s, \d+ client parses/s, \d+ server parses/s, "
                    r"\d+ binds/s, in [1-9]\d* B/s, out [1-9]\d* B/s, xact \d+ us, query \d+ us, wait \d+ us\n")


def test_quiet_leaves_stderr_alone(pgpoold):
    daemon = pgpoold(logfile="d.log", args=["-q"])
    daemon.wait_log("process up")
    assert daemon.stderr == ""
