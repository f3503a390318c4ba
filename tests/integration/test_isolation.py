# SPDX-License-Identifier: ISC
"""No byte reaches the wrong client, no transaction is shared, no setting leaks: crowds of clients at random, see crowd.py.
CROWD_STEPS=2000 CROWD_SEED=7 in the environment make it longer or another one; make soak does."""

import os

import pytest

from crowd import MODES, TABLE, Crowd
from sessions import one_database

STEPS = int(os.environ.get("CROWD_STEPS", "25"))
SEED = os.environ.get("CROWD_SEED", "1")


@pytest.mark.seconds(max(240, STEPS * 20))
@pytest.mark.parametrize("mode", list(MODES))
def test_a_crowd_does_not_mix(pgpoold, pg, eventually, mode):
    pg.psql("DROP TABLE IF EXISTS crowd", db="test", user="app")
    pg.psql(TABLE, db="test", user="app")
    daemon = pgpoold(pool_mode=mode, default_pool_size=10, databases=one_database(pg), max_client_conn=2000,
                     log_connections=0, log_disconnections=0, log_pooler_errors=0, query_wait_timeout=120,
                     query_timeout=0)
    crowd = Crowd(daemon, mode, 40 if mode == "session" else 150, STEPS, SEED).run()
    assert crowd.n_done == crowd.n * STEPS and crowd.n_heard > 0
    # And when all have left nothing is left of them.
    eventually(lambda: all(row["cl_active"] == row["cl_waiting"] == row["sv_active"] == 0
                           for row in daemon.show("pools", database="test")), "all are gone", timeout=60)
    eventually(lambda: not [row for row in pg.activity("test", "app") if row["state"] != "idle"], timeout=60)
    assert daemon.psql("SELECT DISTINCT owner FROM crowd WHERE owner LIKE '%never%'") == []
    assert len(pg.activity("test", "app")) <= 12  # the pool, and the hub with its predecessor
    pg.psql("DROP TABLE crowd", db="test", user="app")
