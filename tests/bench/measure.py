# SPDX-License-Identifier: ISC
"""The measuring itself: one run of the load generator, and what is taken from the pooler meanwhile."""
import os
import re
import shutil
import signal
import subprocess
import time

from processes import Failed, find_pg_program, tail_of

CPU_KEY = {"tx": "cpu_us_per_tx", "mb": "cpu_us_per_mb", "delivery": "cpu_us_per_delivery"}


def process_cpu_us(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
            total += int(f.read().split()[0])
    return total / 1000


def resident_bytes(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return int(re.search(r"^Rss:\s+(\d+) kB", f.read(), re.M).group(1)) * 1024


def parse_figures(text):
    return {k: float(v) for k, v in re.findall(r"^(\w+)=([-\d.]+)$", text, re.M)}


def units_of(unit, figures):
    return {"tx": figures["transactions"], "mb": figures["bytes"] / 1e6,
            "delivery": figures["deliveries"]}[unit]


class Load:
    """A running load generator."""

    def __init__(self, procs, program, args, cpus=None):
        self.procs = procs
        self.child = procs.start([program, *map(str, args)], "loadgen.log", cpus or procs.load_cpus,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def wait_ready(self):
        line = self.child.stdout.readline()
        if line.strip() != "ready=1":
            self.fail()

    def go(self):
        self.child.stdin.write("go\n")
        self.child.stdin.flush()

    def finish(self, seconds=90):
        try:
            out, _ = self.child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.procs.stop(self.child)
            raise Failed("the load generator did not end") from None
        if self.child.returncode != 0:
            self.fail()
        self.procs.stop(self.child)
        return parse_figures(out)

    def fail(self):
        self.procs.stop(self.child)
        raise Failed(tail_of(self.child.log, 1))


def strace_calls(procs, pid, during):
    """Calls of each syscall of @pid while during() runs, and what that returned."""
    out = procs.path("strace.out")
    tracer = procs.start(["strace", "-c", "-f", "-q", "-o", out, "-p", str(pid)], "strace.log",
                         procs.load_cpus)
    for _ in range(200):
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            if not re.search(r"^TracerPid:\s+0$", f.read(), re.M):
                break
        if tracer.poll() is not None:
            raise Failed(f"strace: {tail_of(tracer.log, 1)}")
        time.sleep(0.02)
    try:
        figures = during()
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
        procs.stop(tracer)
    calls = {}
    with open(out, encoding="ascii") as f:
        for line in f:
            row = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", line)
            if row and row.group(2) != "total":
                calls[row.group(2)] = int(row.group(1))
    return calls, figures


def perf_works():
    if not shutil.which("perf"):
        return False
    r = subprocess.run(["perf", "stat", "-x,", "-e", "instructions:u", "true"], capture_output=True,
                       text=True, check=False)
    return bool(re.match(r"\d+,", r.stderr.strip()))


def perf_instructions(procs, pid, during):
    out = procs.path("perf.out")
    child = procs.start(["perf", "stat", "-x,", "-o", out, "-e", "instructions:u", "-p", str(pid)],
                        "perf.log", procs.load_cpus)
    time.sleep(0.3)
    try:
        figures = during()
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(10)
        procs.stop(child)
    with open(out, encoding="ascii") as f:
        count = re.search(r"^(\d+),", f.read(), re.M)
    if not count:
        raise Failed("perf counted nothing")
    return int(count.group(1)), figures


class Callgrind:
    """Counts instructions of a pooler that was started under valgrind: zero, run, dump."""

    WRAP = ("valgrind", "--tool=callgrind", "-q")

    def __init__(self, procs, pid, out_file):
        self.procs = procs
        self.pid = pid
        self.out_file = out_file
        self.n_dumps = 0

    def order(self, what):
        r = subprocess.run(self.procs.as_user(["vgdb", f"--pid={self.pid}", what]),
                           capture_output=True, text=True, check=False, timeout=60)
        if r.returncode != 0:
            raise Failed(f"vgdb: {r.stderr.strip()[-200:]}")

    def count(self, during):
        self.order("zero")
        figures = during()
        self.order("dump")
        self.n_dumps += 1
        name = f"{self.out_file}.{self.n_dumps}"
        with open(name, encoding="utf-8", errors="replace") as f:
            total = re.search(r"^(?:summary|totals): (\d+)", f.read(), re.M)
        if not total:
            raise Failed(f"no total in {name}")
        return int(total.group(1)), figures


def run_pgbench(procs, args, port, database, seconds):
    """Transactions per second and mean latency, by pgbench through @port."""
    r = subprocess.run(
        ["taskset", "-c", ",".join(map(str, procs.load_cpus)), find_pg_program("pgbench"), "-n",
         "-h", "127.0.0.1", "-p", str(port), "-U", "bench", "-c", "16", "-j", "1", "-T", str(seconds),
         *args, database], capture_output=True, text=True, check=False, timeout=120)
    done = re.search(r"actually processed: (\d+)", r.stdout)
    if r.returncode != 0 or not done or int(done.group(1)) == 0:
        raise Failed(f"pgbench: {r.stderr.strip().splitlines()[-1:] or r.stdout[-200:]}")
    return {"transactions": float(done.group(1)),
            "tps": float(re.search(r"^tps = ([\d.]+)", r.stdout, re.M).group(1)),
            "mean_us": 1000 * float(re.search(r"latency average = ([\d.]+) ms", r.stdout).group(1))}
