# SPDX-License-Identifier: ISC
"""What a core dump would hold: the memory of every mapping that the kernel would write. No password is in it."""

import re

import pytest

from wire import Client, scram_keys, scram_verifier

PASSWORD = "core-Wm7kQ2vZ-secret"
CHUNK = 1 << 22


def dumped_mappings(pid):
    """Anonymous memory without VM_DONTDUMP ("dd")."""
    found = []
    with open(f"/proc/{pid}/smaps", encoding="ascii", errors="replace") as smaps:
        for line in smaps:
            head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) ", line)
            if head:
                where = int(head[1], 16), int(head[2], 16), head[3], line.split()[-1]
            elif line.startswith("VmFlags:") and where[2][:2] == "rw" and " dd" not in line and where[3] != "[vvar]":
                found.append(where[:2])
    return found


def find_in_core(pid, needle):
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        n = 0
        for start, end in dumped_mappings(pid):
            rest = b""
            for at in range(start, end, CHUNK):
                memory.seek(at)
                try:
                    data = memory.read(min(CHUNK, end - at))
                except OSError:
                    break
                n += (rest + data).count(needle)
                rest = data[-len(needle) + 1:]
        return n


def log_in(daemon, tls=False):
    with Client.connect(daemon.host, daemon.port) as client:
        if tls:
            assert client.ask_tls() == "S"
            client.start_tls()
        client.login("core_user", "test", PASSWORD)
        assert client.run("SELECT current_user") == [("core_user",)]


@pytest.fixture
def core_user(pg):
    pg.create_user("core_user", PASSWORD)
    yield
    pg.drop_user("core_user")


@pytest.mark.parametrize("auth_type", ("scram-sha-256", "md5", "plain"))
@pytest.mark.parametrize("tls", (False, True))
def test_no_password_would_be_in_a_core(pgpoold, pg, certs, core_user, auth_type, tls):
    daemon = pgpoold(auth_type=auth_type, userlist={"core_user": PASSWORD}, client_tls_sslmode="allow",
                     client_tls_cert_file=certs.server, client_tls_key_file=certs.server_key, server_lifetime=0)
    log_in(daemon, tls)
    log_in(daemon, tls)
    assert find_in_core(daemon.pid, b"core_user") > 0, "this is how one looks"
    assert find_in_core(daemon.pid, PASSWORD.encode()) == 0


def test_no_password_of_an_entry_would_be_in_a_core(pgpoold, pg, core_user):
    databases = {"test": f"host={pg.host} port={pg.port} user=core_user password={PASSWORD}"}
    daemon = pgpoold(auth_type="trust", databases=databases)
    assert daemon.psql("SELECT current_user") == [("core_user",)]
    daemon.reload(databases={"test": databases["test"] + " pool_size=7"})
    assert daemon.psql("SELECT current_user") == [("core_user",)]
    assert find_in_core(daemon.pid, PASSWORD.encode()) == 0
