# SPDX-License-Identifier: ISC
"""Runs client programs (psql, pgbench, node, java, ...) against a daemon or a cluster."""

import contextlib
import os
import pathlib
import subprocess

from cluster import find_bindir
from daemon_process import PASSWORDS
from sessions import Watch

CLIENTS = pathlib.Path(__file__).resolve().parent / "clients"
MODES = ("session", "transaction")


def pg_env(target, db="test", user="app", **more):
    """The environment that leads libpq's programs to @target; more: PGSSLMODE="require", ..."""
    return {**os.environ, "PGHOST": target.host, "PGPORT": str(target.port), "PGDATABASE": db, "PGUSER": user,
            "PGPASSWORD": PASSWORDS.get(user, ""), "PGCONNECT_TIMEOUT": "20", **more}


def start(target, program, *args, db="test", user="app", env=None, **popen):
    """A running program; PostgreSQL's own are taken from the folder of its server."""
    own = find_bindir() / program
    command = [str(own) if own.exists() else program, *map(str, args)]
    return subprocess.Popen(command, env=pg_env(target, db, user, **(env or {})), stdin=subprocess.PIPE, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **popen)


def run(target, program, *args, stdin="", check=True, timeout=60, **how):
    """Runs @program to its end; .stdout, .stderr, .returncode. With check it must end well."""
    with start(target, program, *args, **how) as process:
        try:
            out, err = process.communicate(stdin, timeout)
        except BaseException:
            process.kill()
            raise
    if check:
        assert process.returncode == 0, f"{program} ended with {process.returncode}:\n{out[-2000:]}\n{err[-4000:]}"
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@contextlib.contextmanager
def at_most(pg, n, db="test"):
    """Within the block the server never has more than @n connections to @db."""
    with Watch(pg, db) as watch:
        yield watch
    assert watch.looks > 0
    assert watch.most <= n, f"{watch.most} server connections, allowed are {n}"
