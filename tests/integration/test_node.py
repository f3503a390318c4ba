# SPDX-License-Identifier: ISC
"""node-postgres."""

import pytest

from npm import node_path_with
from programs import CLIENTS, MODES, at_most, run


@pytest.fixture(scope="session")
def node_path():
    """Where node finds pg."""
    return node_path_with("pg", "8")


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
             "PGHOST": "localhost", "NODE_OPTIONS": "--dns-result-order=ipv4first"})  # which may be ::1 as well
