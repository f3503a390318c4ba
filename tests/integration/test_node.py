# SPDX-License-Identifier: ISC
"""node-postgres."""

import fcntl
import os
import pathlib
import shutil
import subprocess

import pytest

from conftest import BASE_ENV
from programs import CLIENTS, MODES, at_most, run

ROOT = pathlib.Path(__file__).resolve().parents[2]
NPM_FOLDER = ROOT / "build" / "npm"


def has_pg(node_path):
    env = {**os.environ, "NODE_PATH": str(node_path)}
    return subprocess.run(["node", "-e", "require('pg')"], env=env, check=False, capture_output=True,
                          cwd="/").returncode == 0


@pytest.fixture(scope="session")
def node_path():
    """Where node finds pg: Debian's node-pg has it in its own path; else npm fetches it once into build/."""
    with open(pathlib.Path(os.environ[BASE_ENV]) / "npm.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not has_pg(NPM_FOLDER / "node_modules"):
            assert shutil.which("npm"), "neither node-pg nor npm is here: packaging/deps.sh test"
            NPM_FOLDER.mkdir(parents=True, exist_ok=True)
            subprocess.run(["npm", "install", "--prefix", NPM_FOLDER, "--no-audit", "--no-fund", "--no-save", "pg@8"],
                           check=True, capture_output=True, timeout=100)
        assert has_pg(NPM_FOLDER / "node_modules")
    return str(NPM_FOLDER / "node_modules")


@pytest.mark.parametrize("mode", MODES)
def test_node_postgres(pgpoold, pg, node_path, mode):
    servers = 10 if mode == "session" else 2
    daemon = pgpoold(pool_mode=mode, default_pool_size=servers)
    with at_most(pg, servers):
        out = run(daemon, "node", CLIENTS / "session.js", env={"NODE_PATH": node_path}).stdout
    assert out.split("\n")[:-1] == [f"{s} ok" for s in ("values", "prepared", "transactions", "notices", "timeouts")]


def test_node_postgres_with_scram_and_tls(pgpoold, certs, node_path):
    daemon = pgpoold(pool_mode="transaction", auth_type="scram-sha-256", client_tls_sslmode="require",
                     client_tls_key_file=certs.server_key, client_tls_cert_file=certs.server)
    run(daemon, "node", CLIENTS / "session.js",
        env={"NODE_PATH": node_path, "NODE_EXTRA_CA_CERTS": str(certs.ca), "PGSSLMODE": "verify-full",
             "PGHOST": "localhost"})
