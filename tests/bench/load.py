#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""`make load`: much at once, for long. Not a comparison: it ends with an error when a client meets one, and prints what it
saw. `steady`: 10,000 clients of which 1,000 have a transaction under way, over 50 connections to a real PostgreSQL;
`idle`: 50,000 clients on Unix sockets that do nothing; `storm`: 5,000 logins at once, SCRAM over TLS, beside clients who
are at work. README.md has the figures."""
import argparse
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time

import measure
from processes import (PASSWORD, Failed, NullServer, Postgres, Processes, free_port, make_certificates, scram_verifier,
                       tail_of, wait_for_port)
from run import ROOT, build_programs, build_turns

SPARE_FDS = 500  # of a daemon beside its clients


class Turns:
    """How long the turns of a daemon's event loop were: turns.c, preloaded, writes it into a file."""

    STEP_US = 10
    N_STEPS = 2000

    def __init__(self, load):
        library = shutil.copy(build_turns(), load.procs.path("turns.so"))
        self.file = load.procs.write("turns", "")  # the daemon's user may write it
        self.env = {**os.environ, "LD_PRELOAD": library, "TURNS_FILE": self.file}

    def read(self):
        with open(self.file, "rb") as f:
            n, total, longest, *lengths = struct.unpack(f"={3 + self.N_STEPS}Q", f.read())
        return n, total, longest, lengths

    def since(self, before):
        """Mean, the length below which 99 % of the time was spent (who comes at any moment meets long turns more often than
        short ones), and the longest since the start, in us."""
        n, total, longest, lengths = self.read()
        lengths = [now - then for now, then in zip(lengths, before[3])]
        spent = [count * (i + 0.5) for i, count in enumerate(lengths)]
        so_far, i = 0.0, 0
        while i < self.N_STEPS - 1 and so_far + spent[i] < 0.99 * sum(spent):
            so_far += spent[i]
            i += 1
        return (total - before[1]) / max(1, n - before[0]), (i + 1) * self.STEP_US, longest


class Daemon:
    """A pgpoold with the settings that a load wants."""

    def __init__(self, load, name, database, env=None, **settings):
        self.procs = load.procs
        self.port = free_port()
        self.unix = load.procs.new_folder(name)
        secret = PASSWORD if settings.get("auth_type") is None else scram_verifier(PASSWORD, iterations=1)
        users = load.procs.write(name + ".users", f'"bench" "{secret}"\n')
        # a verifier of one round: what the generator saves on PBKDF2 is no work of the daemon's
        settings = {"listen_addr": "127.0.0.1", "listen_port": self.port, "listen_backlog": 4096,
                    "unix_socket_dir": self.unix, "unix_socket_mode": "0777", "auth_type": "trust", "auth_file": users,
                    "pool_mode": "transaction", "log_connections": 0, "log_disconnections": 0,
                    "query_wait_timeout": 0, "client_tls_key_file": load.procs.path("ec.key"),
                    "client_tls_cert_file": load.procs.path("ec.crt"), **settings}
        ini = load.procs.write(name + ".ini", f"[databases]\nbench = {database} user=bench\n[pgpoold]\n" +
                               "".join(f"{k} = {v}\n" for k, v in settings.items()))
        self.child = load.procs.start(load.procs.as_user([load.program, ini]), name + ".log", load.procs.pooler_cpus, env=env)
        wait_for_port(self.port, self.child)
        self.pid = self.child.pid

    def complaints(self):
        """Warnings and errors of its log."""
        with open(self.child.log, encoding="utf-8", errors="replace") as f:
            return [line.strip() for line in f if re.search(r"\b(WARNING|ERROR|FATAL)\b", line)]

    def cpu_s(self):
        return measure.process_cpu_us(self.pid) / 1e6


class Loads:
    def __init__(self, args, procs):
        self.args = args
        self.procs = procs
        self.programs = build_programs()
        self.program = shutil.copy(args.pgpoold, procs.path("pgpoold"))
        self.leisurely = ["chrt", "--other" if args.boost else "--idle", "0"]
        make_certificates(procs)

    def clients(self, daemon, *args, leisurely=False, unix=False):
        """@leisurely: leaves the CPU to whoever else of ours wants it, at once."""
        args = ["--host", daemon.unix if unix else "127.0.0.1", "--port", daemon.port, "--database", "bench", *args]
        program = self.programs["loadgen"]
        if leisurely:
            return measure.Load(self.procs, self.leisurely[0], [*self.leisurely[1:], program, *args])
        return measure.Load(self.procs, program, args)

    def null_database(self, pool_size):
        server = NullServer(self.procs, self.programs["nullserver"])
        return f"host=127.0.0.1 port={server.port} dbname=bench pool_size={pool_size}"

    def steady(self):
        """One generator holds all clients; whoever has ended a transaction goes to the end of the line."""
        a = self.args
        server = Postgres(self.procs)
        daemon = Daemon(self, "steady", f"host=127.0.0.1 port={server.port} dbname=postgres pool_size={a.servers}",
                        max_client_conn=a.clients + 10)
        query = "SELECT abalance FROM pgbench_accounts WHERE aid = 4711"
        load = self.clients(daemon, "--mode", "simple", "--query", query, "--clients", a.clients, "--active", a.active,
                            "--connecting", 256, "--duration", int(a.minutes * 60000), "--hold", "--warmup", 1000)
        load.wait_ready()
        cpu = daemon.cpu_s()
        load.go()
        figures = load.finish(a.minutes * 60 + 120)
        cpu = daemon.cpu_s() - cpu
        complaints = daemon.complaints()
        print(f"steady: {a.clients} clients, {a.active} active, {a.servers} server connections, {figures['seconds']:.0f} s: "
              f"{figures['transactions']:.0f} transactions, {figures['tps']:.0f}/s, no error; p50 "
              f"{figures['p50_us'] / 1000:.1f} ms, p99 {figures['p99_us'] / 1000:.1f} ms, longest "
              f"{figures['max_us'] / 1000:.1f} ms; a client had {figures['client_least']:.0f} to "
              f"{figures['client_most']:.0f}; daemon {cpu / figures['seconds'] * 100:.0f} % of a CPU, "
              f"{measure.resident_bytes(daemon.pid) / 1e6:.0f} MB; {len(complaints)} warnings in its log", flush=True)
        if complaints:
            raise Failed("the daemon complained: " + complaints[0])

    def idle(self):
        """As many daemons as the limit on descriptors asks for; the figure is bytes for each client."""
        a = self.args
        most = self.procs.max_fds - SPARE_FDS
        n_daemons = -(-a.idle // most)
        database = self.null_database(10)
        grown = 0
        cpu = 0.0
        for n in range(n_daemons):
            share = a.idle // n_daemons + (n < a.idle % n_daemons)
            daemon = Daemon(self, f"idle{n}", database, max_client_conn=share + 10)
            first = self.clients(daemon, "--mode", "idle", "--clients", 1, "--hold", unix=True)
            first.wait_ready()  # what the first client costs is not the clients' price
            before = measure.resident_bytes(daemon.pid)
            load = self.clients(daemon, "--mode", "idle", "--clients", share - 1, "--connecting", 256, "--hold", unix=True)
            load.wait_ready()
            grown += measure.resident_bytes(daemon.pid) - before
            begun = daemon.cpu_s()
            time.sleep(5)
            cpu += (daemon.cpu_s() - begun) / 5
        print(f"idle: {a.idle} clients on Unix sockets of {n_daemons} daemons (at most {most} descriptors each): "
              f"{grown / a.idle:.0f} bytes each, {cpu * 1e6:.0f} us CPU a second in all", flush=True)

    def at_work(self, daemon, during=None):
        """100 clients with pauses, for three seconds or for as long as during() takes. Returns the generator's figures and
        those of the daemon's turns meanwhile."""
        load = self.clients(daemon, "--mode", "simple", "--clients", 100, "--pause", 10, "--hold", "--warmup", 500,
                            "--duration", 600000 if during else 3000)
        load.wait_ready()
        before = daemon.turns.read()
        load.go()
        if during:
            during()
            load.child.send_signal(signal.SIGINT)
        return load.finish(), daemon.turns.since(before)

    def calm(self, daemon):
        return sorted((self.at_work(daemon) for _ in range(3)), key=lambda r: r[0]["p99_us"])[1]

    def storm(self):
        """The storm's generator has what CPU time the others on its CPU leave, so that it does not stand for an application's
        hosts in the way of those who are measured. What a busy CPU alone does to them is measured as well: a program that
        does nothing but spin takes its place, and there is no storm."""
        a = self.args
        turns = Turns(self)
        daemon = Daemon(self, "storm", self.null_database(20), env=turns.env, auth_type="scram-sha-256",
                        client_tls_sslmode="allow", max_client_conn=a.storm + 200, client_login_timeout=0,
                        client_tls_key_file=self.procs.path(a.key + ".key"), client_tls_cert_file=self.procs.path(a.key + ".crt"))
        daemon.turns = turns
        calm, calm_turns = self.calm(daemon)
        spinner = self.procs.start([*self.leisurely, sys.executable, "-c", "while True: pass"], "spin.log",
                                   self.procs.load_cpus)
        crowded, _ = self.calm(daemon)
        self.procs.stop(spinner)
        storms = []

        def rage():
            cpu = daemon.cpu_s()
            started = time.monotonic()
            storms.append(self.clients(daemon, "--mode", "idle", "--tls", "--clients", a.storm, "--connecting", a.storm,
                                       "--hold", leisurely=True))
            storms[0].wait_ready()
            storms.append(time.monotonic() - started)
            storms.append(daemon.cpu_s() - cpu)

        busy, busy_turns = self.at_work(daemon, rage)
        child, seconds, cpu = storms
        print(f"storm: {a.storm} logins at once (SCRAM over TLS, {a.key.upper()}) in {seconds:.1f} s, {a.storm / seconds:.0f}/s, "
              f"daemon {cpu / seconds * 100:.0f} % of a CPU; 100 clients at work, no error:")
        for name, f in (("calm", calm), ("calm, CPU of the clients busy", crowded), ("storm", busy)):
            print(f"  {name:30} {f['tps']:6.0f}/s  p50 {f['p50_us'] / 1000:6.2f} ms  p99 {f['p99_us'] / 1000:6.2f} ms  longest "
                  f"{f['max_us'] / 1000:6.1f} ms")
        for name, t in (("calm", calm_turns), ("storm", busy_turns)):
            print(f"  turns of the daemon, {name:9} mean {t[0]:5.0f} us, 99 % of the time in turns below {t[1]} us of CPU"
                  + (f", longest {t[2]} us" if t is busy_turns else ""))
        print(f"  p99 in the storm: {busy['p99_us'] / max(calm['p99_us'], 1):.1f} times the calm one, "
              f"{busy['p99_us'] / max(crowded['p99_us'], 1):.1f} times that beside a busy CPU", flush=True)
        self.procs.stop(child.child)


def take_arguments():
    p = argparse.ArgumentParser(description=__doc__.split(":")[0])
    p.add_argument("what", nargs="*", choices=[[], "steady", "idle", "storm"], help="none: all of them")
    p.add_argument("--pgpoold", default=os.path.join(ROOT, "build", "pgpoold"))
    p.add_argument("--minutes", type=float, default=float(os.environ.get("LOAD_MINUTES") or 10), help="of steady")
    p.add_argument("--clients", type=int, default=10000)
    p.add_argument("--active", type=int, default=1000)
    p.add_argument("--servers", type=int, default=50)
    p.add_argument("--idle", type=int, default=50000)
    p.add_argument("--storm", type=int, default=5000)
    p.add_argument("--key", choices=["ec", "rsa"], default="ec", help="of the storm's certificate")
    p.add_argument("--boost", action="store_true", help="real-time priority: what else the machine does is not measured (root)")
    p.add_argument("--no-pin", action="store_true", help="do not give the daemon a CPU of its own")
    return p.parse_args()


def boost():
    """On a busy machine what is to be measured is the daemon, not the neighbours. Only root may. The storm's generator comes
    behind ours (--other), but before the processes of other sessions."""
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    if os.path.exists("/proc/self/autogroup"):
        with open("/proc/self/autogroup", "w", encoding="ascii") as f:
            f.write("-15")


def main():
    args = take_arguments()
    if args.boost:
        if os.getsid(0) != os.getpid():
            os.setsid()
        boost()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    procs = None
    failed = 0
    for what in args.what or ["storm", "idle", "steady"]:
        procs = Processes(pin=not args.no_pin)
        try:
            getattr(Loads(args, procs), what)()
        except (Failed, OSError, subprocess.SubprocessError) as e:
            print(f"{what}: {e}", file=sys.stderr)
            for name in os.listdir(procs.folder):
                if name.endswith(".log"):
                    print(f"  {name}: {tail_of(procs.path(name), 3)}", file=sys.stderr)
            failed = 1
        finally:
            procs.close(keep=False)
    sys.exit(failed)


if __name__ == "__main__":
    main()
