# SPDX-License-Identifier: ISC
"""LISTEN and NOTIFY through a transaction pool: what thousands of listeners cost, over one hub and a real PostgreSQL."""
import os
import subprocess
import time
from dataclasses import dataclass

import measure
from processes import Failed, Instance, Postgres, find_pg_program
from report import OURS, number, verdict

DIRECT = "direct"


@dataclass(frozen=True)
class Notify:
    name: str
    what: str
    args: tuple
    clients: int = 10000
    quick: bool = False
    direct: bool = False  # once more, straight to PostgreSQL
    channels: int = 1     # that each listens to


LOADS = [
    Notify("notify_10000", "one NOTIFY to 10,000 listeners on one channel", ("--rounds", 40)),
    Notify("notify_own_10000", "10,000 channels with one listener each, a NOTIFY to each in one transaction (PostgreSQL looks "
           "through its list of channels for each)",
           ("--own", "--rounds", 10)),
    Notify("notify_many_1000", "1,000 clients that listen to the same 100 channels each",
           ("--rounds", 0), clients=1000, channels=100),
    Notify("notify_rate", "one listener: notifications a second through one hub, 1,000 in a transaction",
           ("--batch", 1000, "--rounds", 100), clients=1, quick=True, direct=True),
    Notify("notify_storm_1000", "1,000 clients LISTEN at once to a channel of their own",
           ("--own", "--at-once", 1000, "--rounds", 0),
           clients=1000, quick=True),
]

# How a pool may look to a client that never listens: its queries must cost the same.
COSTS = {"off": ("notify_mode = off", False), "relay": ("", False), "relay, somebody listens": ("", True)}
COST = Notify("notify_cost", "instructions per query of a client that does not listen", ())
COST_QUERIES = 4000

ROUND_TRIPS_MOST = 20
MEMORY_MOST = 200


class Listening(Instance):
    """A pgpoold of its own, with some more settings."""

    def __init__(self, bench, tag, settings="", wrap=()):
        self.settings = settings
        super().__init__(bench.procs, bench.poolers[OURS], "main", bench.servers, "-" + tag, wrap)

    def ini(self, pooler, kind, servers, users):
        return super().ini(pooler, kind, servers, users) + f"admin_users = bench\n{self.settings}\n"

    def round_trips(self):
        """Of the hub, so far."""
        rows = subprocess.run([find_pg_program("psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "bench", "-XAt",
                               "-c", "SHOW LISTENERS", "pgbouncer"], capture_output=True, text=True, check=False)
        if rows.returncode != 0 or not rows.stdout:
            raise Failed(f"SHOW LISTENERS: {rows.stderr.strip()[-200:]}")
        return int(rows.stdout.splitlines()[0].split("|")[-1])


class Listeners(measure.Load):
    def __init__(self, bench, load, port, database, pid=None):
        args = ["--port", port, "--database", database, "--clients", load.clients, "--channels", load.channels,
                *load.args]
        super().__init__(bench.procs, bench.programs["notifyload"], args + (["--pid", pid] if pid else []))
        self.figures = {}

    def wait_for(self, what):
        """Up to the line that asks for more; figures before it are kept."""
        while True:
            line = self.child.stdout.readline()
            if not line:
                self.fail()
            self.figures.update(measure.parse_figures(line))
            if line.startswith(what + "="):
                return


def run_load(bench, load):
    instance = Listening(bench, load.name)
    listeners = None
    try:
        listeners = Listeners(bench, load, instance.port, "pg", instance.pid)
        listeners.wait_for("ready")
        time.sleep(0.3)
        before = measure.resident_bytes(instance.pid)
        listeners.go()
        listeners.wait_for("listening")
        time.sleep(0.3)
        figures = listeners.figures
        figures["bytes_each"] = (measure.resident_bytes(instance.pid) - before) / (load.clients * load.channels)
        figures["round_trips"] = instance.round_trips()
        listeners.go()
        figures.update(listeners.finish())
        return figures
    finally:
        if listeners:
            bench.procs.stop(listeners.child)
        instance.stop()


def run_direct(bench, load):
    listeners = Listeners(bench, load, bench.servers["postgres"].port, "postgres")
    try:
        for what in ("ready", "listening"):
            listeners.wait_for(what)
            listeners.go()
        return listeners.finish()
    finally:
        bench.procs.stop(listeners.child)


def count_instructions(bench, settings, somebody_listens, tag):
    use_perf = measure.perf_works()
    out = os.path.join(bench.procs.new_folder("callgrind"), tag)
    wrap = () if use_perf else (*measure.Callgrind.WRAP, f"--callgrind-out-file={out}")
    instance = Listening(bench, tag, settings, wrap)
    listener = None
    load = None
    try:
        if somebody_listens:
            listener = Listeners(bench, Notify("", "", (), clients=1), instance.port, "p20")
            listener.wait_for("ready")
            listener.go()
            listener.wait_for("listening")
        load = bench.load(["--mode", "simple", "--clients", 1, "--host", "127.0.0.1", "--port", instance.port, "--database",
                           "p20", "--hold", "--warmup", 50, "--count", COST_QUERIES])
        load.wait_ready()

        def go():
            load.go()
            return load.finish()

        total, figures = (measure.perf_instructions(bench.procs, instance.pid, go) if use_perf else
                          measure.Callgrind(bench.procs, instance.pid, out).count(go))
        return total / figures["transactions"]
    finally:
        for each in (listener, load):
            if each:
                bench.procs.stop(each.child)
        instance.stop()


def run_cost(bench):
    bench.say(f"{COST.name}: {COST.what}")
    for n, (name, (settings, listens)) in enumerate(COSTS.items()):
        bench.results.add(COST.name, name, OURS, count_instructions(bench, settings, listens, f"cost{n}"))


def run(bench):
    """All of it; what does not work becomes a note."""
    for load in bench.wanted([*LOADS, COST]):
        try:
            if load is COST:
                run_cost(bench)
                continue
            if load.clients > bench.procs.max_fds - 500:
                raise Failed(f"too few descriptors (ulimit -n {bench.procs.max_fds})")
            if "postgres" not in bench.servers:
                bench.servers["postgres"] = Postgres(bench.procs)
            bench.say(f"{load.name}: {load.what}")
            for _ in range(1 if bench.quick or time.monotonic() > bench.deadline else 2):
                for key, value in run_load(bench, load).items():
                    bench.results.add(load.name, "notify_" + key, OURS, value)
            if load.direct:
                bench.results.add(load.name, "notify_per_s", DIRECT, run_direct(bench, load)["per_s"])
        except (Failed, OSError, subprocess.SubprocessError) as e:
            bench.note(f"{load.name}: {e}")


def rows_of(results):
    def of(load, key, subject=OURS):
        return results.median(load.name, "notify_" + key, subject)

    rows = []
    for load in LOADS:
        if of(load, "round_trips") is None:
            continue
        trips = of(load, "round_trips")
        memory = of(load, "bytes_each")
        has_rounds = of(load, "last_us") is not None
        rows.append([load.name, number(of(load, "listen_us") / 1000, 1), number(trips, 0),
                     verdict(trips, ROUND_TRIPS_MOST) if "storm" in load.name else "", number(memory, 0),
                     verdict(memory, MEMORY_MOST) if load.clients * load.channels >= 10000 and "--own" not in load.args
                     else "",  # a channel of its own is more than a subscription
                     number(of(load, "last_us") / 1000, 2) if has_rounds else "-",
                     number(of(load, "last_most_us") / 1000, 2) if has_rounds else "-",
                     number(of(load, "cpu_us") / 1000, 2) if has_rounds else "-",
                     number(of(load, "per_s"), 0) if has_rounds else "-", number(of(load, "per_s", DIRECT), 0)])
    return rows


def tables(results):
    """(title, header, rows) of each table that has rows."""
    costs = [(name, results.median(COST.name, name, OURS)) for name in COSTS]
    both = [("LISTEN and NOTIFY (milliseconds; CPU of pgpoold per round; bytes per subscription)",
             ["scenario", "all LISTEN", "round trips", "verdict", "bytes", "verdict", "last client", "worst", "CPU",
              "deliveries/s", "direct/s"], rows_of(results)),
            ("User-space instructions per query of a client that does not listen",
             ["notify_mode", "instructions", "ratio"],
             [[name, number(value, 0), f"{value / costs[0][1]:.4f}" if value else "-"] for name, value in costs]
             if costs[0][1] else [])]
    return [t for t in both if t[2]]
