# SPDX-License-Identifier: ISC
"""Packages that npm fetches once into build/npm, for node to find."""

import fcntl
import os
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
NPM_FOLDER = ROOT / "build" / "npm"


def _has(package, node_path):
    env = {**os.environ, "NODE_PATH": str(node_path)}
    return subprocess.run(["node", "-e", f"require('{package}')"], env=env, check=False, capture_output=True,
                          cwd="/").returncode == 0


def node_path_with(package, version):
    """Where node finds @package: Debian's own path may have it; else npm fetches it."""
    NPM_FOLDER.mkdir(parents=True, exist_ok=True)
    with open(NPM_FOLDER / ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _has(package, NPM_FOLDER / "node_modules"):
            assert shutil.which("npm"), f"neither {package} nor npm is here: packaging/deps.sh test"
            subprocess.run(["npm", "install", "--prefix", NPM_FOLDER, "--no-audit", "--no-fund", "--no-save",
                            f"{package}@{version}", *_others(package)], check=True, capture_output=True, timeout=100)
        assert _has(package, NPM_FOLDER / "node_modules")
    return str(NPM_FOLDER / "node_modules")


def _others(package):
    """npm throws out what it is not told of: what is there is named again."""
    folder = NPM_FOLDER / "node_modules"
    return [name for name in ("pg", "playwright-core") if name != package and (folder / name).exists()]
