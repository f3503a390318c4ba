#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Runs what `make` has built and adds it up: run.py [options] unit fuzz integration.

The last line is always "N passed, N failed"; a case is a cmocka case, a fuzz target or a pytest test."""

import argparse
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
SANITIZER_ENV = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}
UNIT_TIMEOUT_S = 120
SHORT_FUZZ_S = 3


class Tally:
    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.names = []

    def add(self, passed, failed, failures=()):
        self.passed += passed
        self.failed += failed
        self.names += failures


def section(title):
    print(f"\n== {title}", flush=True)


def indent(text):
    return "".join(f"    {line}\n" for line in text.rstrip().splitlines())


def run(command, timeout, **env):
    """(exit code, output); a code of None: it took too long."""
    try:
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=timeout, check=False,
                              env={**os.environ, **SANITIZER_ENV, **env})
        return done.returncode, done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as late:
        return None, (late.stdout or b"").decode(errors="replace")


# --------------------------------------------------------------------------------------------------- unit

def unit_verdict(code, output):
    """From TAP: (passed, names of failed cases)."""
    passed = len(re.findall(r"^ok \d+", output, re.M))
    failed = re.findall(r"^not ok \d+ - (.*)", output, re.M)
    missing = sum(map(int, re.findall(r"^1\.\.(\d+)", output, re.M))) - passed - len(failed)
    if missing > 0:
        failed += ["(ended before its last case)"] * missing
    elif code != 0 and not failed:
        failed.append("(all cases fine, yet exit code %s)" % code)
    elif passed + len(failed) == 0:
        failed.append("(reported no case)")
    return passed, failed


def run_unit(options, tally):
    section("unit tests")
    wrapper = shlex.split(options.wrapper)
    for source in sorted((ROOT / "tests/unit").glob("test_*.c")):
        name = source.stem
        program = ROOT / "build" / options.flavour / "tests/unit" / name
        if not program.exists():
            print(f"  {name}: not built")
            tally.add(0, 1, [f"unit {name}: not built"])
            continue
        start = time.monotonic()
        code, output = run([*wrapper, program], UNIT_TIMEOUT_S, CMOCKA_MESSAGE_OUTPUT="TAP")
        passed, failed = unit_verdict(code, output)
        tally.add(passed, len(failed), [f"unit {name}: {case}" for case in failed])
        took = time.monotonic() - start
        slow = f" ({took:.1f} s)" if took > 1 else ""
        print(f"  {name}: {passed} passed" + (f", {len(failed)} FAILED" if failed else "") + slow, flush=True)
        if failed:
            print(indent(re.sub(r"^ok .*\n", "", output, flags=re.M)))


# --------------------------------------------------------------------------------------------------- fuzz

def run_fuzz(options, tally):
    """Replays the corpus, then looks for new inputs. What crashed is kept in build/fuzz/crashes/."""
    section(f"fuzz targets, {options.fuzz_seconds} s each")
    for source in sorted((ROOT / "tests/fuzz").glob("fuzz_*.c")):
        name = source.stem
        if options.fuzz_target and name not in (options.fuzz_target, f"fuzz_{options.fuzz_target}"):
            continue
        program = ROOT / "build/fuzz/tests/fuzz" / name
        if not program.exists():
            print(f"  {name}: not built")
            tally.add(0, 1, [f"fuzz {name}: not built"])
            continue
        problem = fuzz_one(program, ROOT / "tests/fuzz/corpus" / name, options.fuzz_seconds)
        if problem:
            print(f"  {name}: FAILED\n{indent(problem)}", flush=True)
            tally.add(0, 1, [f"fuzz {name}"])
        else:
            tally.add(1, 0)


def fuzz_one(program, corpus, seconds):
    """None, or what went wrong."""
    crashes = ROOT / "build/fuzz/crashes"
    crashes.mkdir(parents=True, exist_ok=True)
    seeds = sorted(p for p in corpus.glob("*") if p.is_file()) if corpus.is_dir() else []
    # One file at a time, without a fuzzer between: a failing seed is named in the output.
    for at in range(0, len(seeds), 500):
        code, output = run([program, *seeds[at:at + 500]], 300)
        if code != 0:
            return f"corpus replay: exit code {code}\n{output[-6000:]}"
    # New inputs go to a folder of their own; the corpus in the tree grows only by hand.
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        dictionary = corpus.parent.parent / f"{program.name}.dict"
        command = [program, f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1",
                   f"-artifact_prefix={crashes}/{program.name}-", scratch]
        if dictionary.exists():
            command.insert(1, f"-dict={dictionary}")
        if seeds:
            command.append(corpus)
        code, output = run(command, seconds + 120)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if code != 0:
        return f"exit code {code}; the input is in build/fuzz/crashes/\n{output[-6000:]}"
    runs = re.search(r"number_of_executed_units: (\d+)", output)
    print(f"  {program.name}: {len(seeds)} seeds, {runs.group(1) if runs else '?'} runs", flush=True)
    return None


# --------------------------------------------------------------------------------------------------- integration

def run_integration(options, tally):
    section("integration tests")
    report = pathlib.Path(tempfile.mkdtemp(prefix="pytest-")) / "report.xml"
    binary = ROOT / "build" / options.flavour / "pgpoold"
    workers = max(2, min(4, options.jobs))
    command = ["/usr/bin/python3", "-m", "pytest", "-q", "--tb=short", "-n", str(workers),
               f"--junitxml={report}", "tests/integration", *shlex.split(options.pytest)]
    env = {**os.environ, "PGPOOLD_BIN": os.environ.get("PGPOOLD_BIN") or str(binary), "PYTHONDONTWRITEBYTECODE": "1"}
    code = subprocess.run(command, cwd=ROOT, env=env, check=False, stdin=subprocess.DEVNULL).returncode
    passed, failed, names = pytest_verdict(report, code)
    tally.add(passed, failed, names)
    shutil.rmtree(report.parent, ignore_errors=True)


def pytest_verdict(report, code):
    """A test that fails and then fails again in its teardown is one failed test. A skipped one counts as failed:
    nobody would notice otherwise."""
    passed, bad = set(), set()
    if report.exists():
        for case in xml.etree.ElementTree.parse(report).iter("testcase"):
            name = f"{case.get('classname')}::{case.get('name')}"
            verdicts = {child.tag for child in case}
            (bad if verdicts & {"failure", "error", "skipped"} else passed).add(name)
    passed -= bad
    if code not in (0, 1) or (code == 1 and not bad):
        bad.add(f"(pytest ended with {code})")
    return len(passed), len(bad), [f"integration {name}" for name in sorted(bad)]


# ---------------------------------------------------------------------------------------------------

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="+", choices=("unit", "fuzz", "integration"))
    parser.add_argument("--flavour", default="asan", help="folder below build/ for unit and integration tests")
    parser.add_argument("--wrapper", default="", help="put before each unit test, such as valgrind")
    parser.add_argument("--builds-failed", type=int, default=0, help="counted as failed checks")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--fuzz-seconds", type=int, default=SHORT_FUZZ_S)
    parser.add_argument("--fuzz-target", default="")
    parser.add_argument("--pytest", default="", help="more arguments for pytest")
    options = parser.parse_args()

    tally = Tally()
    if options.builds_failed:
        tally.add(0, options.builds_failed, ["build (see above)"])
    runners = {"unit": run_unit, "fuzz": run_fuzz, "integration": run_integration}
    for part in options.parts:
        runners[part](options, tally)
    if tally.names:
        section("failed")
        print("".join(f"  {name}\n" for name in tally.names), end="")
    print(f"\n{tally.passed} passed, {tally.failed} failed", flush=True)
    return 1 if tally.failed or not tally.passed else 0


if __name__ == "__main__":
    sys.exit(main())
