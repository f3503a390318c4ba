#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Does each option's test fail when the option does nothing? Builds a copy of the daemon that takes no notice of one option
(the environment names it), and runs the tests of integration/option_proofs.py against it: every one of them has to fail.

    tests/options_proof.py [OPTION...]      `make options-proof` runs it for all; it takes some minutes
"""

import collections
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
INTEGRATION = ROOT / "tests/integration"
LEFT_OUT = "PGPOOLD_TEST_LEAVES_OUT"
PLAN = "OPTIONS_PROOF_PLAN"

PATCH = f"""
    static const char *const places[] = {{"global", "database", "user", "peer"}};
    const char *left_out = getenv("{LEFT_OUT}");
    char place[128];

    (void)snprintf(place, sizeof(place), "%s %s", places[scope], o->name);
    if (left_out != NULL && text != o->text && strcmp(place, left_out) == 0) {{
        return true;
    }}
"""


# ---------------------------------------------------------------------------- inside pytest, as its plugin

def pytest_runtest_setup(item):
    os.environ.pop(LEFT_OUT, None)
    place = json.loads(os.environ[PLAN]).get(_short(item.nodeid))
    if place:
        os.environ[LEFT_OUT] = place


def _short(nodeid):
    return re.sub(r"^.*?(\w+)\.py::", r"\1::", nodeid)


# ---------------------------------------------------------------------------- outside

def build(folder):
    """A daemon in @folder that leaves out what the environment says."""
    for name in subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, text=True,
                               stdout=subprocess.PIPE).stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    source = folder / "config/option_types.c"
    text = source.read_text(encoding="utf-8")
    patched = re.sub(r"(bool option_set\(.*?\)\n\{\n)", lambda found: found.group(1) + PATCH + "\n", text, flags=re.S)
    assert patched != text, "option_set() has another shape than this script knows"
    source.write_text("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n" + patched, encoding="utf-8")
    subprocess.run(["make", "-s", "-C", folder, "FLAVOUR=asan", "build/asan/pgpoold"], check=True, stdout=subprocess.DEVNULL)
    return folder / "build/asan/pgpoold"


def rounds(proofs):
    """The pairs of place and test in as few runs as may be: a run has each test once."""
    waiting = collections.deque(proofs.items())
    while waiting:
        plan, later = {}, collections.deque()
        for place, test in waiting:
            if test in plan:
                later.append((place, test))
            else:
                plan[test] = place
        yield plan
        waiting = later


def nodeid(test):
    file, _, name = test.partition("::")
    return f"{file}.py::{name}"


def run(binary, plan):
    """The outcome of each test, by its place."""
    done = subprocess.run(["/usr/bin/python3", "-m", "pytest", "-q", "-n2", "-rA", "-p", "options_proof", "--tb=no",
                           *(nodeid(test) for test in plan)], cwd=INTEGRATION, check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, PLAN: json.dumps({**plan, **_all_cases(plan)}), "PGPOOLD_BIN": str(binary),
                               "PYTHONPATH": str(ROOT / "tests")})
    outcomes = {place: set() for place in plan.values()}
    for word, name in re.findall(r"^(PASSED|FAILED|ERROR) (.*?)(?: - .*)?$", done.stdout, re.M):
        for test, place in plan.items():
            if name.strip() == nodeid(test) or name.startswith(nodeid(test) + "["):
                outcomes[place].add(word)
    if not all(outcomes.values()):
        sys.exit(done.stdout)
    return outcomes


def _all_cases(plan):
    """A test that is named without its case stands for all of them: which there are, pytest knows."""
    whole = [test for test in plan if not test.endswith("]")]
    if not whole:
        return {}
    listed = subprocess.run(["/usr/bin/python3", "-m", "pytest", "-q", "--collect-only", *map(nodeid, whole)],
                            cwd=INTEGRATION, check=True, text=True, stdout=subprocess.PIPE).stdout
    return {_short(line): plan[_short(line).partition("[")[0]] for line in listed.splitlines() if "::" in line}


def main():
    sys.path.insert(0, str(INTEGRATION))
    from option_proofs import PROOFS  # pylint: disable=import-error,import-outside-toplevel

    wanted = {place: test for place, test in PROOFS.items() if len(sys.argv) < 2 or place.split()[1] in sys.argv[1:]}
    unproved = []
    with tempfile.TemporaryDirectory(prefix="options-proof-") as folder:
        os.chmod(folder, 0o755)
        binary = build(pathlib.Path(folder))
        for plan in rounds(wanted):
            for place, words in sorted(run(binary, plan).items()):
                if not words & {"FAILED", "ERROR"}:
                    unproved.append(place)
                    print(f"{place}: {PROOFS[place]} passes although the option does nothing")
    print(f"{len(wanted) - len(unproved)} passed, {len(unproved)} failed")
    return 1 if unproved else 0


if __name__ == "__main__":
    sys.exit(main())
