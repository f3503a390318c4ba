# SPDX-License-Identifier: ISC
"""Perl's DBD::Pg."""

import pytest

from programs import CLIENTS, MODES, run


@pytest.mark.parametrize("auth_type", ["trust", "scram-sha-256"])
@pytest.mark.parametrize("mode", MODES)
def test_dbd_pg(pgpoold, mode, auth_type):
    daemon = pgpoold(pool_mode=mode, default_pool_size=5 if mode == "session" else 2, auth_type=auth_type)
    assert run(daemon, "/usr/bin/perl", CLIENTS / "session.pl").stdout == "ok\n"
