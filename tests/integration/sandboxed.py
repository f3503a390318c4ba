#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Runs a program under the system call filter that systemd would make of a unit: sandboxed.py UNIT PROGRAM ARGUMENT...

A call outside of SystemCallFilter= kills the process (systemd would only refuse it), so that a test sees it. Sockets of
families outside of RestrictAddressFamilies= are refused as systemd does; memory that is writable and executable kills
(MemoryDenyWriteExecute=yes)."""

import errno
import os
import pathlib
import socket
import subprocess
import sys

import seccomp

FAMILIES = 46  # AF_MAX of Linux 6
PROT_WRITE, PROT_EXEC = 2, 4


def values(unit, name):
    lines = pathlib.Path(unit).read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]


def members(name):
    """All system calls of a group such as @system-service, or the one that is meant."""
    if not name.startswith("@"):
        return {name}
    listing = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True)
    words = {line.strip() for line in listing.stdout.splitlines()[1:]}
    return {call for word in words if word and not word.startswith("#") for call in members(word)}


def allowed_calls(unit):
    calls = members("@default")
    for line in values(unit, "SystemCallFilter"):
        named = {call for word in line.lstrip("~").split() for call in members(word)}
        calls = calls - named if line.startswith("~") else calls | named
    return calls


def make_filter(unit):
    rules = seccomp.SyscallFilter(seccomp.KILL_PROCESS)
    special = {"socket", "mmap", "mprotect", "pkey_mprotect"}
    for call in sorted(allowed_calls(unit) - special):
        try:
            rules.add_rule(seccomp.ALLOW, call)
        except RuntimeError:
            pass  # not a call of this machine's architecture
    families = {getattr(socket, word) for line in values(unit, "RestrictAddressFamilies") for word in line.split()}
    for family in range(FAMILIES):
        verdict = seccomp.ALLOW if family in families else seccomp.ERRNO(errno.EAFNOSUPPORT)
        rules.add_rule(verdict, "socket", seccomp.Arg(0, seccomp.EQ, family))
    assert values(unit, "MemoryDenyWriteExecute") == ["yes"]
    rules.add_rule(seccomp.ALLOW, "mmap", seccomp.Arg(2, seccomp.MASKED_EQ, PROT_EXEC, 0))
    rules.add_rule(seccomp.ALLOW, "mmap", seccomp.Arg(2, seccomp.MASKED_EQ, PROT_EXEC | PROT_WRITE, PROT_EXEC))
    for call in ("mprotect", "pkey_mprotect"):
        rules.add_rule(seccomp.ALLOW, call, seccomp.Arg(2, seccomp.MASKED_EQ, PROT_EXEC, 0))
    return rules


def main():
    unit, program, *arguments = sys.argv[1:]
    # The leak check of a sanitizer build traces its own process, which no service may.
    os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    make_filter(unit).load()
    os.execv(program, [program, *arguments])


if __name__ == "__main__":
    main()
