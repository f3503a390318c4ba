# SPDX-License-Identifier: ISC
"""JDBC: named statements after five uses, portals with a fetch size, batches, binary values."""

import pytest

from programs import CLIENTS, MODES, at_most, run

JAR = "/usr/share/java/postgresql.jar"


def jdbc(daemon, *options):
    url = f"jdbc:postgresql://{daemon.host}:{daemon.port}/test?" + "&".join(
        ["user=app", "password=app-secret", "ApplicationName=jdbc tests", *options])
    # Without the second compiler the virtual machine is up sooner.
    return run(daemon, "java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", JAR, CLIENTS / "Session.java",
               url.replace(" ", "%20")).stdout


@pytest.mark.parametrize("mode", MODES)
def test_jdbc(pgpoold, pg, mode):
    servers = 10 if mode == "session" else 2
    daemon = pgpoold(pool_mode=mode, default_pool_size=servers)
    with at_most(pg, servers):
        assert jdbc(daemon) == "ok\n"


def test_jdbc_with_simple_queries_and_scram(pgpoold, pg):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=2, auth_type="scram-sha-256")
    with at_most(pg, 2):
        assert jdbc(daemon, "preferQueryMode=extendedForPrepared", "prepareThreshold=1") == "ok\n"
