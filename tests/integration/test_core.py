# SPDX-License-Identifier: ISC
"""A core of the daemon holds none of the secrets that went through it: no password, no SCRAM key, no md5 secret, nothing of the
private key."""

import base64
import hashlib
import os
import pathlib
import re
import signal
import subprocess

import pytest

from daemon_process import PASSWORDS, SANITIZER_ENV
from wire import Client, scram_keys, scram_verifier

PASSWORD = "core-Wm7kQ2vZ-secret"
USER = "core_user"
CHUNK = 1 << 24
SALT = bytes(range(100, 116))
ITERATIONS = 4096


LEFT_OUT_MAX = 1 << 24  # of one mapping; those of sanitizers are larger


def mappings(daemon, left_out):
    """(start, end) of the memory that a core has, or leaves out (VM_DONTDUMP, "dd")."""
    with open(f"/proc/{daemon.pid}/smaps", encoding="ascii", errors="replace") as smaps:
        heads = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) rw.*?^VmFlags:([^\n]*)", smaps.read(), re.M | re.S)
    return [(int(start, 16), int(end, 16)) for start, end, flags in heads if (" dd" in flags) == left_out]


def memory(daemon, left_out=False):
    with open(f"/proc/{daemon.pid}/mem", "rb", buffering=0) as file:
        for start, end in mappings(daemon, left_out):
            if left_out and end - start > LEFT_OUT_MAX:
                continue
            for at in range(start, end, CHUNK):
                file.seek(at)
                yield file.read(min(CHUNK, end - at))


def core(daemon):
    """The daemon ends by SIGABRT, and the kernel writes a core."""
    daemon.signal(signal.SIGABRT)
    daemon.wait_exit(-signal.SIGABRT)
    [path] = daemon.home.glob("core*")
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        at = 0
        while at < end:  # most of it are holes; the last byte is none
            at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            hole = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            yield os.pread(file.fileno(), min(CHUNK, hole - at), at)
            at += min(CHUNK, hole - at)
    path.unlink()


def is_core_to_be_had(daemon):
    """Where the kernel gives cores to a program, or we may not have any, the same memory is read from the living process."""
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text(encoding="ascii").strip()
    limits = pathlib.Path(f"/proc/{daemon.pid}/limits").read_text(encoding="ascii")
    return re.search(r"Max core file size +unlimited", limits) is not None and re.fullmatch(r"core[\w.%]*", pattern) is not None


def found(blocks, secrets):
    """Names of those of @secrets (a dict of bytes) that are in @blocks."""
    longest = max(map(len, secrets.values()))
    names = set()
    rest = b""
    for block in blocks:
        data = rest + block
        names |= {name for name, secret in secrets.items() if secret in data}
        rest = data[-longest:]
    return names


def check_core(daemon, secrets):
    """The last thing that @daemon does: it knows @secrets, and its core does not."""
    assert found(memory(daemon, left_out=True), secrets), "this is how one would find them"
    blocks = core(daemon) if is_core_to_be_had(daemon) else memory(daemon)
    names = found(blocks, {**secrets, "user": USER.encode()})
    assert names == {"user"}  # that one is no secret, and shows that this was its core


def pieces(secrets):
    """Whoever frees memory overwrites its beginning: so each half of a key is looked for, also with its bytes turned round, as
    OpenSSL's big numbers have them."""
    found = {}
    for name, secret in secrets.items():
        for way, data in (("", secret), (", reversed", secret[::-1])):
            half = len(data) // 2
            found[f"{name}{way}, first half"] = data[:half]
            found[f"{name}{way}, second half"] = data[half:]
    return found


def scram_secrets(password=PASSWORD, salt=SALT, iterations=ITERATIONS):
    keys = dict(zip(("ClientKey", "StoredKey", "ServerKey"), scram_keys(password, salt, iterations)))
    texts = {f"{name} as text": base64.b64encode(key) for name, key in keys.items()}
    return {**pieces(keys), **texts}


def md5_secrets():
    digest = hashlib.md5((PASSWORD + USER).encode())
    return {"md5 secret": digest.hexdigest().encode(), "md5 digest": digest.digest()}


def key_secrets(path):
    """The private numbers of a key, and its text."""
    text = subprocess.run(["openssl", "pkey", "-in", path, "-noout", "-text"], capture_output=True, text=True, check=True).stdout
    numbers = {name: bytes.fromhex(re.sub(r"[:\s]", "", digits)).lstrip(b"\0")
               for name, digits in re.findall(r"^(\w+):\n((?:    [0-9a-f:]+\n)+)", text, re.M) if name not in ("modulus", "pub")}
    assert numbers
    text = path.read_bytes().split(b"\n")
    lines = {f"line {i} of the file": text[i] for i in (1, len(text) // 2, len(text) - 3)}
    return {**pieces(numbers), **lines}


def log_in(daemon, tls=False, user=USER):
    with Client.connect(daemon.host, daemon.port) as client:
        if tls:
            assert client.ask_tls() == "S"
            client.start_tls()
        client.login(user, "test", PASSWORD)
        assert client.run("SELECT current_user") == [(USER,)]


VERIFIER = scram_verifier(PASSWORD, SALT, ITERATIONS)  # of keys that we know
MD5_SECRET = "md5" + hashlib.md5((PASSWORD + USER).encode()).hexdigest()


@pytest.fixture
def core_user(pg):
    """core_user(login): how PostgreSQL asks for its password, "scram" or "md5"."""
    yield lambda login: pg.create_user(USER, MD5_SECRET if login == "md5" else VERIFIER, login)
    pg.drop_user(USER)


@pytest.fixture(scope="session")
def keys(certs, worker_dir):
    """Certificate and private key."""
    return {"EC": (certs.server, certs.server_key), "RSA": certs.sign(f"rsa_{worker_dir.name}", "localhost", rsa=True)}


@pytest.fixture
def started(pgpoold):
    """As pgpoold, with cores under sanitizers too."""
    def make(**how):
        daemon = pgpoold(start=False, **how)
        daemon.start(env={"ASAN_OPTIONS": SANITIZER_ENV["ASAN_OPTIONS"] + ":disable_coredump=0"},
                     prefix=["sh", "-c", 'ulimit -c unlimited; exec "$@"', "-"])
        return daemon
    return make


CASES = (("scram-sha-256", PASSWORD, "scram", "EC"), ("scram-sha-256", VERIFIER, "scram", "RSA"), ("md5", PASSWORD, "md5", "RSA"),
         ("md5", MD5_SECRET, "md5", "EC"), ("plain", PASSWORD, "scram", "EC"), ("plain", VERIFIER, "scram", "RSA"),
         ("plain", MD5_SECRET, "md5", "EC"))


@pytest.mark.parametrize("auth_type, secret, login, key", CASES, ids=lambda x: x[:16])
def test_a_core_has_no_secret_of_a_login(started, core_user, keys, auth_type, secret, login, key):
    core_user(login)
    cert_file, key_file = keys[key]
    daemon = started(auth_type=auth_type, userlist={**PASSWORDS, USER: secret}, client_tls_sslmode="allow",
                     client_tls_cert_file=cert_file, client_tls_key_file=key_file, server_tls_sslmode="prefer")
    for tls in (False, True, True):
        daemon.admin("RECONNECT")
        log_in(daemon, tls)
    daemon.reload()
    log_in(daemon, tls=True)
    with Client.connect(daemon.host, daemon.port) as client:
        client.login(USER, "test", PASSWORD)
        client.run("SELECT 1")
        check_core(daemon, {"password": PASSWORD.encode(), **scram_secrets(), **md5_secrets(), **key_secrets(key_file)})


@pytest.mark.parametrize("auth_type, login", (("scram-sha-256", "scram"), ("md5", "md5"), ("plain", "scram")))
def test_a_core_has_nothing_that_auth_query_told(started, core_user, auth_type, login):
    core_user(login)
    daemon = started(auth_type=auth_type, auth_user="postgres", server_tls_sslmode="prefer", auth_query_cache="1h",
                     userlist={name: PASSWORDS[name] for name in ("postgres", "admin")})
    for _ in range(3):
        log_in(daemon)
    check_core(daemon, {"password": PASSWORD.encode(), **scram_secrets(), **md5_secrets()})


def test_a_core_has_no_password_of_an_entry(started, pg, core_user):
    core_user("scram")
    databases = {"test": f"host={pg.host} port={pg.port} user={USER} password={PASSWORD}"}
    daemon = started(auth_type="trust", databases=databases)
    assert daemon.psql("SELECT current_user") == [(USER,)]
    daemon.reload(databases={"test": databases["test"] + " pool_size=7"})
    assert daemon.psql("SELECT current_user") == [(USER,)]
    check_core(daemon, {"password": PASSWORD.encode(), **scram_secrets()})
