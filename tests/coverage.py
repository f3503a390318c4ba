#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Runs all tests on the coverage build and prints the covered lines per file, worst first."""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/coverage"
SOURCE_DIRS = ("daemon", "daemon/util", "protocol", "pool", "config")


def run_tests(options):
    """The daemon under test may run as another user, who cannot write into build/: its counts go to a folder
    that everybody may write to and are brought home before the unit tests add theirs."""
    for old in BUILD.rglob("*.gcda"):
        old.unlink()
    prefix = pathlib.Path(tempfile.mkdtemp(prefix="gcov-"))
    prefix.chmod(0o777)
    runner = [sys.executable, "tests/run.py", "--flavour", "coverage", "--jobs", str(options.jobs)]
    subprocess.run([*runner, "--pytest", options.pytest, "integration"], cwd=ROOT, check=False,
                   env={**os.environ, "GCOV_PREFIX": str(prefix)})
    found = prefix / BUILD.relative_to("/")
    if found.is_dir():
        shutil.copytree(found, BUILD, dirs_exist_ok=True)
    shutil.rmtree(prefix, ignore_errors=True)
    subprocess.run([*runner, "unit"], cwd=ROOT, check=False)


def count_lines():
    """file -> (covered, all) lines, for each source of ours."""
    lines = {}
    for folder in SOURCE_DIRS:
        for counts_file in sorted((BUILD / folder).glob("*.gcda")):
            report = subprocess.run(["gcov", "--json-format", "--stdout", counts_file], cwd=ROOT, check=False,
                                    capture_output=True).stdout
            for file in json.loads(report)["files"] if report else []:
                counts = lines.setdefault(file["file"], {})
                for line in file["lines"]:
                    n = line["line_number"]
                    counts[n] = counts.get(n, 0) + line["count"]
    for folder in SOURCE_DIRS:
        for source in (ROOT / folder).glob("*.c"):
            lines.setdefault(str(source.relative_to(ROOT)), {})
    return {name: (sum(1 for n in counts.values() if n), len(counts)) for name, counts in lines.items()
            if str(pathlib.PurePath(name).parent) in SOURCE_DIRS and name.endswith(".c")}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--pytest", default="")
    options = parser.parse_args()
    run_tests(options)
    files = count_lines()
    print("\ncovered  lines  file")
    for name, (covered, total) in sorted(files.items(), key=lambda item: item[1][0] / max(1, item[1][1])):
        print(f"{100 * covered / total if total else 0:6.1f}% {total:6}  {name}")
    covered, total = (sum(column) for column in zip(*files.values()))
    print(f"{100 * covered / max(1, total):6.1f}% {total:6}  all")


if __name__ == "__main__":
    main()
