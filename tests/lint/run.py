#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Runs every lint and says "N passed, N failed": run.py --flags '<compiler flags>' [tidy|cppcheck|spelling|shell|own]..."""

import argparse
import concurrent.futures
import pathlib
import re
import shlex
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE_DIRS = ("daemon", "daemon/util", "protocol", "pool", "config")


def run(command):
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout.decode(errors="replace")


def tidy(options):
    """clang-tidy, one process per file."""
    files = [f for d in (*SOURCE_DIRS, "tests/unit", "tests/fuzz") for f in sorted((ROOT / d).glob("*.c"))]
    flags = [f for f in shlex.split(options.flags) if not f.startswith("-W")] + ["-Wall", "-Wextra"]

    def one(path):
        code, output = run(["clang-tidy", "--quiet", str(path.relative_to(ROOT)), "--", *flags])
        return code, re.sub(r"(?m)^\d+ warnings?.*\n|^Suppressed .*\n|^Use -header-filter.*\n", "", output)

    bad, seen = False, set()
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for code, output in pool.map(one, files):
            bad = bad or code != 0
            # A finding in a header comes once per file that includes it.
            for finding in re.split(r"(?m)^(?=\S+:\d+:\d+: (?:error|warning): )", output):
                if finding.strip() and finding not in seen:
                    seen.add(finding)
                    print(finding, end="")
    return bad


def cppcheck(options):
    # Only our defines and our own includes: with the system's headers it takes minutes and finds the same.
    flags = [f for f in shlex.split(options.flags) if f.startswith("-D") or f == "-I."]
    code, output = run(["cppcheck", "-q", f"-j{options.jobs}", "--std=c11", "--language=c", "--inline-suppr",
                        "--enable=warning,performance,portability", "--error-exitcode=1", "--template=gcc",
                        "--suppressions-list=tests/lint/cppcheck.txt", *flags, "daemon", "protocol", "pool", "config"])
    print(output, end="")
    return code != 0


def tracked(pattern):
    """Files of the tree whose name matches; without git (a tarball) all that are there."""
    code, output = run(["git", "ls-files", "--cached", "--others", "--exclude-standard"])
    names = output.splitlines()
    if code != 0:
        names = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*")
                 if p.relative_to(ROOT).parts[0] not in ("build", ".git")]
    return [n for n in sorted(names) if re.search(pattern, n) and (ROOT / n).is_file()]


def spelling(_options):
    files = [f for f in tracked(r"") if not f.startswith("tests/fuzz/corpus/")]
    code, output = run(["codespell", "--ignore-words=tests/lint/codespell.txt", "--", *files])
    print(output, end="")
    return code != 0


def shell(_options):
    files = [f for f in tracked(r"\.sh$|^\.ci/|^packaging/.*(postinst|prerm|postrm|preinst)$")
             if (ROOT / f).read_text(errors="replace").startswith("#!") and "sh" in
             (ROOT / f).read_text(errors="replace").splitlines()[0]]
    code, output = run(["shellcheck", *files]) if files else (0, "")
    print(output, end="")
    return code != 0


def own(_options):
    code, output = run([sys.executable, "tests/lint/own.py"])
    print(output, end="")
    return code != 0


def docs(_options):
    """pgpoold.ini.example, and the options in pgpoold.ini(5), are what the table of options prints."""
    program = ROOT / "build/release/packaging/man/print_options"
    bad = False
    for name, document in (("example", "pgpoold.ini.example"), ("man", "packaging/man/pgpoold.ini.5.scd")):
        code, wanted = run([program, name])
        text = (ROOT / document).read_text()
        part = re.sub(r"(?s).*; OPTIONS BEGIN[^\n]*\n|; OPTIONS END.*", "", text) if name == "man" else text
        if code != 0 or wanted != part:
            print(f"{document} lags behind config/options.c: run `make docs`")
            bad = True
    return bad


LINTS = {"own": own, "spelling": spelling, "shell": shell, "cppcheck": cppcheck, "tidy": tidy, "docs": docs}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lints", nargs="*", metavar="|".join(LINTS), default=[])
    parser.add_argument("--flags", default="-std=gnu17 -D_GNU_SOURCE -I.")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    failed = 0
    chosen = options.lints or list(LINTS)
    for name in chosen:
        start = time.monotonic()
        bad = LINTS[name](options)
        failed += bad
        print(f"lint {name}: {'FAILED' if bad else 'fine'} ({time.monotonic() - start:.1f} s)", flush=True)
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
