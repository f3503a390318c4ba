#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""The benchmark of pgpoold: see README.md. One command, a table, a CSV."""
import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)

import measure  # noqa: E402
import notify  # noqa: E402
import processes  # noqa: E402
import scenarios  # noqa: E402
from processes import Failed, Floor, HAProxy, Instance, NullServer, Pooler, Postgres, Processes  # noqa: E402
from report import OURS, PEER, Results, print_report, write_markdown  # noqa: E402

PROGRAMS = {
    "nullserver": ("nullserver.c", "null_session.c", "null_query.c"),
    "notifyload": ("notify_load.c",),
    "floor": ("floor.c",),
    "loadgen": ("loadgen.c", "lg_client.c", "lg_work.c", "lg_pace.c", "lg_stats.c"),
}
COMMON = ("bench_util.c", "bench_scram.c")
CFLAGS = ("-O2 -std=gnu17 -D_GNU_SOURCE -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes "
          "-Wmissing-prototypes -Wno-sign-conversion").split()


def build_programs():
    """Compiles what is older than any source; returns name -> path."""
    out = os.path.join(ROOT, "build", "bench")
    os.makedirs(out, exist_ok=True)
    newest = max(os.path.getmtime(os.path.join(HERE, f)) for f in os.listdir(HERE)
                 if f.endswith((".c", ".h")))
    paths = {}
    for name, sources in PROGRAMS.items():
        paths[name] = os.path.join(out, name)
        if os.path.exists(paths[name]) and os.path.getmtime(paths[name]) >= newest:
            continue
        files = [os.path.join(HERE, f) for f in (*sources, *COMMON)]
        subprocess.run([os.environ.get("CC", "cc"), *CFLAGS, *files, "-o", paths[name], "-lssl",
                        "-lcrypto"], check=True)
    return paths


def build_turns():
    """What measures the turns of a daemon's loop: turns.c. Returns its path."""
    path = os.path.join(ROOT, "build", "bench", "turns.so")
    source = os.path.join(HERE, "turns.c")
    if not os.path.exists(path) or os.path.getmtime(path) < os.path.getmtime(source):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        subprocess.run([os.environ.get("CC", "cc"), *CFLAGS, "-shared", "-fPIC", source, "-o", path], check=True)
    return path


def take_arguments():
    p = argparse.ArgumentParser(description="pgpoold beside PgBouncer on the same work.")
    p.add_argument("--quick", action="store_true", help="about a minute instead of at most ten")
    p.add_argument("--csv", default=os.path.join(ROOT, "build", "bench.csv"))
    p.add_argument("--markdown", default="", help="write the tables there as well, for PERFORMANCE.md")
    p.add_argument("--pgpoold", default=os.path.join(ROOT, "build", "pgpoold"))
    p.add_argument("--peer", default=os.environ.get("PEER") or "/usr/sbin/pgbouncer",
                   help="another PgBouncer build (also PEER=...)")
    p.add_argument("--self", action="store_true", dest="itself",
                   help="the peer against itself: shows the noise of this machine")
    p.add_argument("--only", default="", help="comma list of words; scenarios whose name has one")
    p.add_argument("--rounds", type=int, default=0)
    p.add_argument("--ms", type=int, default=0, help="measured time of a run")
    p.add_argument("--no-pin", action="store_true", help="do not give the pooler a CPU of its own")
    p.add_argument("--keep", action="store_true", help="keep the temporary folder")
    a = p.parse_args()
    if a.itself:
        a.pgpoold = a.peer
    for program in (a.pgpoold, a.peer):
        if not os.access(program, os.X_OK):
            p.error(f"no such program: {program} (make first; or --self, --pgpoold, --peer)")
    return a


class Bench:
    def __init__(self, args, procs, results):
        self.args = args
        self.procs = procs
        self.results = results
        self.quick = args.quick
        self.rounds = args.rounds or (3 if args.quick else 5)
        self.run_ms = args.ms or (250 if args.quick else 500)
        self.started = time.monotonic()
        self.deadline = self.started + (35 if args.quick else 270)  # then one round must do
        self.programs = build_programs()
        copy = shutil.copy(args.pgpoold, procs.path("pgpoold"))  # readable for the ordinary user
        peer = shutil.copy(args.peer, procs.path("peer"))
        self.poolers = {OURS: Pooler(copy, OURS), PEER: Pooler(peer, PEER)}
        self.servers = {}
        self.haproxy = None
        self.floor = None
        self.broken = set()  # (subject, instance) that did not start

    # What to run.

    def wanted(self, items):
        words = [w for w in self.args.only.split(",") if w]
        return [i for i in items if (i.quick or not self.quick or words) and
                (not words or any(w in i.name for w in words))]

    def titles(self):
        titles = {k: p.title for k, p in self.poolers.items()}
        if self.args.itself:
            titles[OURS] += " (A)"
        return titles | {"haproxy": "HAProxy", "floor": "floor", "direct": "direct"}

    def say(self, text):
        print(f"{time.monotonic() - self.started:5.0f} s  {text}", file=sys.stderr, flush=True)

    def note(self, text):
        self.results.notes.append(text)
        self.say(f"! {text}")

    # Targets.

    def target(self, s):
        lean = s.lean if self.poolers[PEER].is_lean else 1.0
        return s.target, round(s.target / lean, 4)

    def announce(self, s):
        self.results.units[s.name] = s.unit
        if s.against:
            self.results.against[s.name] = s.against
            self.results.notes.append(f"{s.name}: the ratio is to the peer's {s.against}")
        if s.target:
            self.results.targets[(s.name, "cpu")] = self.target(s)
        if s.syscalls:
            self.results.targets[(s.name, "syscalls")] = (s.syscalls, s.syscalls)
        if s.instructions:
            self.results.targets[(s.name, "instructions")] = (s.instructions, s.instructions)

    # Instances and loads.

    def instance(self, subject, kind):
        pooler = self.poolers[subject]
        if (subject, kind) in self.broken:
            raise Failed(f"instance {kind} did not start")
        if kind not in pooler.instances:
            try:
                pooler.instances[kind] = Instance(self.procs, pooler, kind, self.servers)
            except Failed:
                self.broken.add((subject, kind))
                raise
        return pooler.instances[kind]

    def database(self, s, subject):
        pooler = self.poolers.get(subject)
        if pooler is None:
            return "bench"
        if s.peer_database == "session":
            return "session" if pooler.is_bouncer else s.database
        if s.peer_database and not pooler.knows_prepared:
            return s.peer_database
        return s.database

    def load_args(self, s, subject, instance=None, size=0):
        if subject == "direct":
            host, port, pid = "127.0.0.1", self.servers["null"].port, None
        elif subject in ("haproxy", "floor"):
            other = self.haproxy if subject == "haproxy" else self.floor
            host, port, pid = "127.0.0.1", other.port, other.pid
        else:
            i = instance or self.instance(subject, s.instance)
            host, port, pid = i.unix if s.unix else "127.0.0.1", i.port, i.pid
        args = ["--mode", s.mode, "--clients", s.clients, "--host", host, "--port", port,
                "--database", self.database(s, subject), *s.args]
        if s.tls and "--tls-resume" not in s.args:
            args.append("--tls")
        if s.size:
            args += ["--size", size or (50 * scenarios.MB if self.quick else s.size)]
        return args + (["--pid", pid] if pid else [])

    def load(self, args, cpus=None):
        return measure.Load(self.procs, self.programs["loadgen"], args, cpus)

    # One scenario.

    def subjects(self, s):
        more = [o for o in s.others if not self.quick and (o != "haproxy" or self.haproxy)]
        return [OURS, PEER, *more]

    def one_run(self, s, subject):
        args = self.load_args(s, subject)
        if s.count:
            args += ["--count", s.count * (3 if self.quick else 1)]
        else:
            args += ["--duration", self.run_ms * s.stretch, "--warmup", 100]
        cpus = self.procs.pooler_cpus if s.together else self.procs.load_cpus
        os.sched_setaffinity(self.servers["null"].child.pid, cpus)
        figures = self.load(args, cpus).finish()
        if measure.units_of(s.unit, figures) <= 0:
            raise Failed("no transaction ended")
        keep = ["tps", "p50_us", "p99_us", "max_us", "jain", "mb_per_s", "client_least"]
        for key in keep:
            if s.mode != "notify" or key not in ("jain", "client_least"):
                self.results.add(s.name, key, subject, figures[key])
        if subject != "direct":
            cpu = figures[measure.CPU_KEY[s.unit]]
            self.results.add(s.name, "cpu", subject, cpu)
            if s.mode == "connect" and cpu > 0:
                self.results.add(s.name, "logins_per_cpu_second", subject, 1e6 / cpu)
        if s.mode == "connect" and "--tls-resume" in s.args:
            self.results.add(s.name, "resumed_share", subject, figures["resumed"] /
                             max(1, figures["transactions"]))

    def rounds_of(self, s):
        """Interleaved: A B, B A, A B. What failed once is not tried again."""
        subjects = self.subjects(s)
        for n in range(1 if time.monotonic() > self.deadline else self.rounds):
            for subject in subjects if n % 2 == 0 else subjects[::-1]:
                if (s.name, subject) in self.broken:
                    continue
                try:
                    self.one_run(s, subject)
                except Failed as e:
                    self.broken.add((s.name, subject))
                    self.note(f"{s.name}: {subject}: {e}")

    def scenario(self, s):
        self.say(f"{s.name}: {s.what}")
        self.announce(s)
        self.rounds_of(s)
        if s.note and self.poolers[PEER].is_bouncer and (s.mode == "notify" or
                                                         not self.poolers[PEER].knows_prepared):
            self.results.notes.append(f"{s.name}: {s.note}")

    # Counts: syscalls and instructions.

    def held_load(self, s, subject, count, instance=None):
        """A load that has logged in and waits; returns what makes it go on and end."""
        args = self.load_args(s, subject, instance, size=20 * scenarios.MB)
        load = self.load([*args, "--hold", "--warmup", 0 if s.count else 50, "--count", count])
        load.wait_ready()

        def go():
            load.go()
            return load.finish()
        return load, go

    def syscalls(self, s, subject):
        count = s.count or max(2000, 5 * s.clients)
        if s.mode == "connect":
            count = 200
        load, go = self.held_load(s, subject, count)
        try:
            pid = self.instance(subject, s.instance).pid
            calls, figures = measure.strace_calls(self.procs, pid, go)
        finally:
            self.procs.stop(load.child)
        units = measure.units_of(s.unit, figures)
        self.results.add(s.name, "syscalls", subject, sum(calls.values()) / units)
        for name, n in calls.items():
            if n / units >= 0.05:
                self.results.add(s.name, "syscalls_" + name, subject, n / units)

    def all_syscalls(self, chosen):
        if not shutil.which("strace"):
            self.note("no strace: syscalls are not counted")
            return
        self.say("syscalls")
        for s in [s for s in chosen if s.trace and (s.syscalls or not self.quick)]:
            for subject in (OURS, PEER):
                if (s.name, subject) in self.broken:
                    continue
                try:
                    self.syscalls(s, subject)
                except Failed as e:
                    self.note(f"{s.name}: syscalls of {subject}: {e}")

    def instructions_of(self, subject, chosen):
        pooler = self.poolers[subject]
        use_perf = measure.perf_works()
        out = os.path.join(self.procs.new_folder("callgrind"), subject)
        wrap = () if use_perf else (*measure.Callgrind.WRAP, f"--callgrind-out-file={out}")
        instance = Instance(self.procs, pooler, "main", self.servers, "-counted", wrap)
        counter = None if use_perf else measure.Callgrind(self.procs, instance.pid, out)
        try:
            for s in chosen:
                if s.instance != "main" or (s.name, subject) in self.broken:
                    continue
                load, go = self.held_load(s, subject, s.profile, instance)
                try:
                    total, figures = (measure.perf_instructions(self.procs, instance.pid, go)
                                      if use_perf else counter.count(go))
                finally:
                    self.procs.stop(load.child)
                self.results.add(s.name, "instructions", subject,
                                 total / measure.units_of(s.unit, figures))
        finally:
            instance.stop()

    def all_instructions(self, chosen):
        chosen = [s for s in chosen if s.profile]
        if self.quick and not self.args.only:
            chosen = [s for s in chosen if s.instructions or s.name == "queue_200"]
        if not chosen:
            return
        if not measure.perf_works() and not shutil.which("valgrind"):
            self.note("neither perf nor valgrind works: instructions are not counted")
            return
        self.say(f"instructions ({'perf' if measure.perf_works() else 'callgrind'})")
        for subject in (OURS, PEER):
            try:
                self.instructions_of(subject, chosen)
            except (Failed, subprocess.TimeoutExpired) as e:
                self.note(f"instructions of {subject}: {e}")

    # Memory and idle cost.

    def idle_load(self, m, instance):
        args = ["--mode", "idle", "--clients", m.clients, "--host",
                instance.unix if m.unix else "127.0.0.1", "--port", instance.port, "--database", "p10",
                "--hold", "--duration", 0, *m.args, *(["--tls"] if m.tls else [])]
        load = self.load(args)
        load.wait_ready()
        return load

    def memory(self, m, subject):
        """A fresh process; what a first client costs for ever is taken out by warming it with one."""
        instance = Instance(self.procs, self.poolers[subject], "main", self.servers, "-" + m.name)
        load = None
        try:
            one = scenarios.Memory("one", "", 1, args=("--query", "SELECT 1"), tls=m.tls, unix=m.unix)
            first = self.idle_load(one, instance)
            first.go()
            first.finish()
            before = measure.resident_bytes(instance.pid)
            load = self.idle_load(m, instance)
            time.sleep(0.3)
            after = measure.resident_bytes(instance.pid)
            self.results.add(m.name, "bytes_per_client", subject, (after - before) / m.clients)
        finally:
            if load:
                self.procs.stop(load.child)
            instance.stop()

    def all_memory(self):
        for m in self.wanted(scenarios.MEMORY):
            if m.clients > self.procs.max_fds - 500:
                self.note(f"{m.name}: too few descriptors (ulimit -n {self.procs.max_fds})")
                continue
            self.say(f"{m.name}: {m.what}")
            self.results.units[m.name] = "client"
            self.results.targets[(m.name, "bytes_per_client")] = (m.target, m.target)
            for subject in (OURS, PEER):
                try:
                    self.memory(m, subject)
                except Failed as e:
                    self.note(f"{m.name}: {subject}: {e}")

    def beside_idle(self):
        """Thousands of idle clients: what they cost while nothing happens, and what they cost a load."""
        s = scenarios.BESIDE
        words = [w for w in self.args.only.split(",") if w]
        if (words or self.quick) and not any(w in s.name for w in words):
            return
        crowd = scenarios.Memory("crowd", "", scenarios.BESIDE_CLIENTS)
        loads = []
        try:
            for subject in (OURS, PEER):
                loads.append(self.idle_load(crowd, self.instance(subject, "main")))
            name = f"idle_{crowd.clients}"
            self.results.units[name] = "second"
            target = scenarios.IDLE_CPU_TARGET
            self.results.targets[(name, "idle_cpu_us_per_s")] = (target, target)
            time.sleep(1.5)
            pids = {k: self.instance(k, "main").pid for k in (OURS, PEER)}
            before = {k: measure.process_cpu_us(pid) for k, pid in pids.items()}
            time.sleep(6)
            for k, pid in pids.items():
                self.results.add(name, "idle_cpu_us_per_s", k,
                                 (measure.process_cpu_us(pid) - before[k]) / 6)
            self.scenario(s)
        except Failed as e:
            self.note(f"{s.name}: {e}")
        finally:
            for load in loads:
                self.procs.stop(load.child)

    # Real PostgreSQL.

    def pgbench(self, b, subject, seconds):
        if subject == "direct":
            pid, port, database = None, self.servers["postgres"].port, "postgres"
        else:
            i = self.instance(subject, "main")
            pid, port, database = i.pid, i.port, "pg"
        before = measure.process_cpu_us(pid) if pid else 0
        figures = measure.run_pgbench(self.procs, b.args, port, database, seconds)
        for key in ("tps", "mean_us"):
            self.results.add(b.name, key, subject, figures[key])
        if pid:
            self.results.add(b.name, "cpu", subject, (measure.process_cpu_us(pid) - before) /
                             figures["transactions"])

    def all_pgbench(self):
        if "postgres" not in self.servers:
            return
        for b in self.wanted(scenarios.PGBENCH):
            self.say(f"{b.name}: {b.what}")
            subjects = [OURS, PEER] + ([] if self.quick else ["direct"])
            for n in range(1 if self.quick or time.monotonic() > self.deadline else 3):
                for subject in subjects if n % 2 == 0 else subjects[::-1]:
                    pooler = self.poolers.get(subject)
                    if (b.name, subject) in self.broken:
                        continue
                    if b.needs_prepared and pooler and not pooler.knows_prepared:
                        continue
                    try:
                        self.pgbench(b, subject, 1 if self.quick else 2)
                    except Failed as e:
                        self.broken.add((b.name, subject))
                        self.note(f"{b.name}: {subject}: {e}")

    def start_servers(self):
        processes.make_certificates(self.procs)
        self.servers["null"] = NullServer(self.procs, self.programs["nullserver"])
        if self.wanted(scenarios.PGBENCH):
            try:
                self.servers["postgres"] = Postgres(self.procs)
            except (Failed, OSError, TypeError) as e:
                self.note(f"no PostgreSQL: {e}")
        if not self.quick:
            self.floor = Floor(self.procs, self.programs["floor"], self.servers["null"].port)
            try:
                self.haproxy = HAProxy(self.procs, self.servers["null"].port)
            except (Failed, OSError) as e:
                self.note(f"no HAProxy: {e}")

    def run(self):
        self.start_servers()
        chosen = self.wanted(scenarios.WORK)
        for s in chosen:
            self.scenario(s)
        self.beside_idle()
        self.all_memory()
        self.all_pgbench()
        notify.run(self)
        self.all_syscalls(chosen)
        self.all_instructions(chosen)


def machine():
    model = "unknown CPU"
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}"


def main():
    args = take_arguments()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have us ignore it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    results = Results()
    procs = Processes(pin=not args.no_pin)
    bench = None
    status = 1
    try:
        bench = Bench(args, procs, results)
        bench.run()
        status = 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    except (Failed, subprocess.CalledProcessError) as e:
        print(f"bench: {e}", file=sys.stderr)
    finally:
        procs.close(args.keep)
        if bench and results.values:
            results.write_csv(args.csv, bench.titles())
            more = notify.tables(results)
            print(f"{machine()}; {'pooler on its own CPU' if procs.pin else 'not pinned'}; "
                  f"{bench.rounds} rounds of {bench.run_ms} ms, medians; "
                  f"{time.monotonic() - started:.0f} s in all")
            if args.markdown:
                write_markdown(args.markdown, results, bench.titles(), more)
            print_report(results, bench.titles(), more)
            print(f"CSV: {args.csv}")
    return status


if __name__ == "__main__":
    sys.exit(main())
