# SPDX-License-Identifier: ISC
"""Faults that tests bring about in a running daemon, and how to tell that nothing of them is left.

    faulty = Faulty(pgpoold, library, pool_mode="transaction")      a daemon with clients/faults.c in front of its libraries
    faulty.fail(from_=7, times=1)                                   its 7th allocation from now fails"""

import ctypes
import mmap
import os
import pathlib
import subprocess

from account import as_server_account, give
from daemon_process import SANITIZER_ENV

SOURCE = pathlib.Path(__file__).resolve().parent / "clients/faults.c"
FOR_EVER = 1 << 60


class Control(ctypes.Structure):
    """struct control of clients/faults.c"""
    _fields_ = [(name, ctypes.c_int64) for name in
                ("calls", "fail_from", "fail_times", "failed", "in_use", "budget", "wall_offset", "no_app_data")]


def build(folder):
    """The library to preload."""
    library = folder / "faults.so"
    subprocess.run(["gcc", "-O1", "-fno-omit-frame-pointer", "-D_GNU_SOURCE", "-fno-builtin", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    return library


class Faults:
    """What is to happen in the daemon that runs with .env."""

    def __init__(self, folder, library):
        path = pathlib.Path(folder) / "faults"
        path.write_bytes(bytes(ctypes.sizeof(Control)))
        give(path, 0o666)
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self.control = Control.from_buffer(self._map)
        asan = SANITIZER_ENV["ASAN_OPTIONS"] + ":verify_asan_link_order=0:allocator_may_return_null=1:" + os.environ.get("FAULTS_ASAN", "")
        self.env = {"LD_PRELOAD": str(library), "FAULTS_FILE": str(path), "ASAN_OPTIONS": asan}

    def fail(self, first, times=1):
        """The @first allocation from now fails, and those behind it up to @times."""
        self.control.fail_from = 0
        self.control.failed = 0
        self.control.calls = 0
        self.control.fail_times = times
        self.control.fail_from = first

    def count(self):
        """Begins to count allocations; none fails."""
        self.fail(FOR_EVER)

    def mend(self):
        """All is well again; how many allocations have failed."""
        self.control.fail_from = 0
        self.control.budget = 0
        return self.control.failed


def descriptors(daemon):
    """What the daemon's descriptors are, sorted: sockets, files."""
    folder = f"/proc/{daemon.pid}/fd"
    names = []
    for number in os.listdir(folder):
        try:
            names.append(os.readlink(f"{folder}/{number}"))
        except FileNotFoundError:
            continue
    return sorted(names)


def limit_descriptors(daemon, most):
    """The daemon may have no descriptor with the number @most or above any more. Returns what held before."""
    with open(f"/proc/{daemon.pid}/limits", encoding="ascii") as limits:
        before = next(line.split()[3] for line in limits if line.startswith("Max open files"))
    subprocess.run(as_server_account(["prlimit", "--pid", daemon.pid, f"--nofile={most}:"]), check=True)
    return int(before)


def objects(daemon):
    """Everything that SHOW LISTS counts, except what depends on the moment."""
    return {row["list"]: row["items"] for row in daemon.show("lists") if not row["list"].startswith("free_")}
