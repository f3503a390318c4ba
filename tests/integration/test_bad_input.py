# SPDX-License-Identifier: ISC
"""Whatever is wrong in the files is told as file:line with what is allowed, all of it at once; at RELOAD nothing changes."""

import os
import re
import subprocess

import pytest

from account import as_server_account, give
from cluster import find_bindir
from daemon_process import SANITIZER, SANITIZER_ENV
from wire import ServerError

# Files that the cases name: {dir}/name. Those of certs are {certs.server} and so on.
FILES = {
    "rubbish.pem": "-----BEGIN RUBBISH-----\n",
    "users-bad": '"app" "x"\napp2 x\n"a\n',
    "hba-bad": "host all all 1.2.3.4/33 md5\nhost all all nonsense md5\nhost all +grp all md5\nhost all all all sspi\n"
               "local all all gss\nfoo all all md5\nhost all all all md5 extra\nhost all all all\nhost all\n",
    "hba-map": "local all all peer map=nobody\n", "hba-cert": "hostssl all all all cert\n",
    "hba-good": "local all all trust\n", "ident-bad": "m a\nm /[ b\n", "loop.inc": "%include {dir}/loop.inc\n",
    "bad.inc": "[pgpoold]\npool_mode = x\n",
}

# name: (text of the ini file, what is told: file:line and a piece of the text behind it)
CASES = {
    # the form of the file
    "no ini": ("hello world\n", ["ini:1: a line without"]),
    "no such section": ("[nope]\na = b\n", [r"ini:1: \[nope\]: is not a section: pgpoold"]),
    "open bracket": ("[pgpoold\n", ["ini:1: section without an end"]),
    "before a section": ("listen_port = 1\n", ["ini:1: listen_port: stands before any section"]),
    "no value": ("[pgpoold]\nlisten_port\n", ["ini:2: a line without"]),
    "a NUL": ("[pgpoold]\nlogfile = a\0b\n", ["ini:2: a NUL byte"]),
    "include of nothing": ("%include /nowhere.ini\n", ["ini:1: /nowhere.ini: cannot be opened: No such file"]),
    "include of itself": ("%include {dir}/loop.inc\n", ["loop.inc:1: .*nested too deeply: at most 10"]),
    "in an included file": ("%include {dir}/bad.inc\n", ["bad.inc:2: pool_mode: "]),
    # values
    "too small": ("[pgpoold]\ndefault_pool_size = -1\n", ["ini:2: default_pool_size: -1 is too small: 0 to 1000000"]),
    "too large": ("[pgpoold]\nlisten_port = 65536\n", ["ini:2: listen_port: 65536 is too large: 1 to 65535"]),
    "no whole number": ("[pgpoold]\nmax_client_conn = 1.5\n", ['ini:2: max_client_conn: "1.5" is not a whole number: 1 to']),
    "empty number": ("[pgpoold]\nlisten_port =\n", ['ini:2: listen_port: "" is not a whole number']),
    "neither on nor off": ("[pgpoold]\nso_reuseport = maybe\n", ['ini:2: so_reuseport: "maybe" is neither on nor off: 0 or 1']),
    "no duration": ("[pgpoold]\nquery_timeout = 5 parsecs\n", ["ini:2: query_timeout: .* is not a duration: seconds"]),
    "negative duration": ("[pgpoold]\nquery_timeout = -1\n", ["ini:2: query_timeout: .* is not a duration"]),
    "no file mode": ("[pgpoold]\nunix_socket_mode = 888\n", ["ini:2: unix_socket_mode: .*octal 0000 to 0777"]),
    "no such word": ("[pgpoold]\npool_mode = transactional\n", ["ini:2: pool_mode: .*session, transaction, statement"]),
    "no such auth_type": ("[pgpoold]\nauth_type = gss\n", ["ini:2: auth_type: .*one of any, trust, plain, md5"]),
    "no such sslmode": ("[pgpoold]\nserver_tls_sslmode = on\n", ["ini:2: server_tls_sslmode: .*disable, allow, prefer"]),
    "no such TLS version": ("[pgpoold]\nclient_tls_protocols = sslv3\n", ["ini:2: client_tls_protocols: .*tlsv1.2"]),
    "no such facility": ("[pgpoold]\nsyslog_facility = local9\n", ["ini:2: syslog_facility: .*local0 to local7"]),
    # names
    "misspelt": ("[pgpoold]\npool_mod = session\nmax_client_con = 5\nserver_idle_timout = 1\nmaxsiz = 3\n",
                 ["ini:2: pool_mod: is not an option: perhaps pool_mode", "ini:3: .*perhaps max_client_conn",
                  "ini:4: .*perhaps server_idle_timeout", "ini:5: .*perhaps maxsize"]),
    "like none": ("[pgpoold]\nqqqqqqqqqq = 1\n", ["ini:2: qqqqqqqqqq: is not an option: see pgpoold --help-config"]),
    "of another place": ("[users]\na = host=x\n[pgpoold]\nhost = x\n", ["ini:2: user a: host: ", "ini:4: host: "]),
    # entries
    "keys of databases": ("[databases]\na = hots=x\nb = host=x prot=1\nc = host\nd = host='x\n",
                          ["ini:2: database a: hots: .*perhaps host", "ini:3: database b: prot: .*perhaps port",
                           "ini:4: database c: a key without =", "ini:5: database d: a quote without an end"]),
    "ports": ("[databases]\na = port=70000\nb = host=a,b,c port=1,2\nc = port=x\n",
              ["ini:2: .*1 to 65535", "ini:3: .*2 ports for 3 hosts: one for all", "ini:4: .*is not a port"]),
    "too many hosts": ("[databases]\na = host=" + ",".join("abcdefgh"[i % 8] for i in range(99)) + "\n", ["ini:2: .*at most 64"]),
    "sizes and modes": ("[databases]\na = pool_size=-2\nb = pool_mode=x\nc = min_pool_size=30\n",
                        ["ini:2: .*pool_size: -2 is too small", "ini:3: .*pool_mode: ", "ini:4: .*at most 20"]),
    "the console's name": ("[databases]\npgbouncer = host=x\n", ["ini:2: database pgbouncer: the name is reserved"]),
    "users": ("[users]\na = pool_mode=x\nb = query_timeot=1\n", ["ini:2: user a: pool_mode: ", "ini:3: .*perhaps query_timeout"]),
    "peers": ("[peers]\nx = host=y\n0 = host=z\n2 = prot=1 host=a\n3 =\n",
              ["ini:2: peer x: is not a peer_id: 1 to", "ini:3: peer 0: ", "ini:4: .*perhaps port", "ini:5: peer 3: host: is missing"]),
    # files
    "files that are not there": (
        "[pgpoold]\nauth_file = {dir}/no1\nauth_type = hba\nauth_hba_file = {dir}/no2\nauth_ident_file = {dir}/no3\n"
        "server_tls_ca_file = {dir}/no4\nresolv_conf = {dir}/no5\n",
        ["ini:2: auth_file: .*/no1: cannot be read: No such file", "ini:4: auth_hba_file: .*/no2",
         "ini:5: auth_ident_file: .*/no3", "ini:6: server_tls_ca_file: .*/no4", "ini:7: resolv_conf: .*/no5"]),
    "a file that is secret": ("[pgpoold]\nauth_file = {dir}/secret\n", ["ini:2: auth_file: .*secret: cannot be read: Permission denied"]),
    "a folder": ("[pgpoold]\nauth_file = {dir}\n", ["cannot be read: Is a directory"]),
    "folders that are not there": (
        "[pgpoold]\nlogfile = /nowhere/log\npidfile = /nowhere/pid\nunix_socket_dir = /nowhere\n",
        ["ini:2: logfile: /nowhere/log: .*a directory that is there", "ini:3: pidfile: ", "ini:4: unix_socket_dir: "]),
    "auth_file": ("[pgpoold]\nauth_file = {dir}/users-bad\n", ["users-bad:2: .*\"user\" \"secret\"", "users-bad:3: "]),
    "rules": ("[pgpoold]\nauth_type = hba\nauth_hba_file = {dir}/hba-bad\n",
              ["hba-bad:1: .*number of bits: 0 to 32", "hba-bad:2: .*is not an address", "hba-bad:3: .*who belongs to a role",
               "hba-bad:4: method sspi .*trust, reject", "hba-bad:5: method gss ", "hba-bad:6: .*local, host, hostssl",
               "hba-bad:7: option \"extra\" is not known", "hba-bad:8: ", "hba-bad:9: "]),
    "a map that is not there": ("[pgpoold]\nauth_type = hba\nauth_hba_file = {dir}/hba-map\n", ["hba-map:1: map=nobody: "]),
    "the ident file": ("[pgpoold]\nauth_type = hba\nauth_hba_file = {dir}/hba-good\nauth_ident_file = {dir}/ident-bad\n",
                       ["ident-bad:1: ", "ident-bad:2: "]),
    # TLS
    "a key that is none": (
        "[pgpoold]\nclient_tls_sslmode = require\nclient_tls_cert_file = {certs.server}\nclient_tls_key_file = {dir}/rubbish.pem\n",
        ["ini:4: client_tls_key_file: TLS setup failed: key file"]),
    "a certificate that is none": (
        "[pgpoold]\nclient_tls_sslmode = require\nclient_tls_cert_file = {dir}/rubbish.pem\nclient_tls_key_file = {certs.server_key}\n",
        ["ini:4: client_tls_key_file: TLS setup failed: certificate file .*rubbish.pem"]),
    "a key of another certificate": (
        "[pgpoold]\nserver_tls_cert_file = {certs.server}\nserver_tls_key_file = {certs.client_key}\n",
        ["ini:3: server_tls_key_file: TLS setup failed: key file .*mismatch"]),
    "CAs that are none": (
        "[pgpoold]\nserver_tls_ca_file = {dir}/rubbish.pem\nclient_tls_sslmode = verify-ca\nclient_tls_ca_file = {dir}/rubbish.pem\n"
        "client_tls_cert_file = {certs.server}\nclient_tls_key_file = {certs.server_key}\n",
        ["ini:2: server_tls_ca_file: TLS setup failed: CA file", "ini:4: client_tls_ca_file: TLS setup failed: CA file"]),
    "ciphers and curves": (
        "[pgpoold]\nserver_tls_ciphers = NO\nserver_tls13_ciphers = NO\nclient_tls_ciphers = NO\nclient_tls13_ciphers = NO\n"
        "client_tls_sslmode = allow\nclient_tls_cert_file = {certs.server}\nclient_tls_key_file = {certs.server_key}\n",
        ["ini:2: server_tls_ciphers: ", "ini:3: server_tls13_ciphers: ", "ini:4: client_tls_ciphers: ", "ini:5: client_tls13_ciphers: "]),
    "a curve": ("[pgpoold]\nclient_tls_ecdhcurve = round\nclient_tls_sslmode = allow\nclient_tls_cert_file = {certs.server}\n"
                "client_tls_key_file = {certs.server_key}\n", ["ini:2: client_tls_ecdhcurve: TLS setup failed: "]),
    # what does not fit together
    "TLS without a key": ("[pgpoold]\nclient_tls_sslmode = require\n", ["ini:2: client_tls_sslmode: .*set client_tls_key_file"]),
    "nobody to trust": ("[pgpoold]\nserver_tls_sslmode = verify-full\n", ["ini:2: server_tls_sslmode: .*set server_tls_ca_file"]),
    "half of a pair": ("[pgpoold]\nserver_tls_cert_file = {certs.server}\n", ["ini:2: .*set server_tls_key_file"]),
    "cert without TLS": ("[pgpoold]\nauth_type = cert\n", ["ini:2: auth_type: .*verify-full"]),
    "a rule of cert without TLS": ("[pgpoold]\nauth_type = hba\nauth_hba_file = {dir}/hba-cert\n", ["hba-cert:1: cert: .*set client_tls"]),
    "hba without rules": ("[pgpoold]\nauth_type = hba\n", ["ini:2: auth_type: hba without rules: set auth_hba_file"]),
    "ldap without a server": ("[pgpoold]\nauth_type = ldap\n", ["ini:2: auth_type: ldap without a server"]),
    "any without a user": ("[databases]\na = host=x\n[pgpoold]\nauth_type = any\n", ["ini:2: database a: user: .*user=NAME"]),
    "a minimum above the maximum": ("[pgpoold]\nmin_pool_size = 21\n", ["ini:2: min_pool_size: .*at most 20"]),
    "auth_query without the name": ("[pgpoold]\nauth_user = x\nauth_query = SELECT 1\n", [r"ini:3: auth_query: .*\$1"]),
    "auth_dbname of the console": ("[pgpoold]\nauth_dbname = pgbouncer\n", ["ini:2: auth_dbname: cannot use the reserved"]),
    "a user the system has not": ("[pgpoold]\nuser = no-such-user\nunix_socket_group = no-such-group\n",
                                  ["ini:2: user: there is no system user", "ini:3: unix_socket_group: there is no group"]),
    # all at once
    "one of each kind": (
        "[databases]\na = hots=x\n[pgpoold]\nlisten_port = x\nauth_file = {dir}/none\nserver_tls_ciphers = NO\nauth_type = cert\n"
        "pool_mod = x\nserver_tls_ca_file = {dir}/rubbish.pem\n[nope]\n",
        ["ini:2: ", "ini:4: ", "ini:5: ", "ini:6: ", "ini:7: ", "ini:8: ", "ini:9: ", "ini:10: "]),
}


@pytest.fixture
def files(pgpoold, certs):
    """A daemon that runs, with the files beside its ini, and text(case) which fills in where they are."""
    daemon = pgpoold(pool_mode="transaction")
    for name, content in FILES.items():
        (daemon.home / name).write_text(content.replace("{dir}", str(daemon.home)))
        give(daemon.home / name, 0o644)
    (daemon.home / "secret").write_text('"a" "b"\n')
    os.chmod(daemon.home / "secret", 0o000)
    if os.geteuid() == 0:
        os.chown(daemon.home / "secret", 0, 0)
    return daemon, lambda text: re.sub(r"\{(?:dir|certs\.\w+)\}", lambda m: m.group(0).format(dir=daemon.home, certs=certs), text)


def check(daemon, path):
    done = subprocess.run(as_server_account([daemon.binary, "--check-config", path]), check=False, timeout=60, text=True,
                          capture_output=True, env={**os.environ, **SANITIZER_ENV})
    assert not SANITIZER.search(done.stderr), done.stderr
    return done.returncode, done.stderr


def problems(told, said):
    """What is missing in @said of @told, and lines that nobody expected."""
    lines = said.splitlines()
    missing = [one for one in told if not any(re.search(one, line) for line in lines)]
    more = [line for line in lines if not any(re.search(one, line) for one in told)]
    return [f"not told: {one}" for one in missing] + [f"not expected: {line}" for line in more]


def test_check_config_tells_everything_with_its_place(files):
    """The whole table; and each line says what is allowed: three parts with colons."""
    daemon, fill = files
    wrong = []
    path = daemon.home / "bad.ini"
    for name, (text, told) in CASES.items():
        path.write_text(fill(text))
        give(path, 0o644)
        code, said = check(daemon, path)
        found = problems(told, said.replace(str(path), "ini"))
        if code != 1:
            found.append(f"exit code {code}")
        wrong += [f"{name}: {one}" for one in found]
    assert not wrong, "\n".join(wrong)


def test_a_reload_of_any_of_them_changes_nothing(files):
    daemon, fill = files
    good = daemon.ini_path.read_text()
    client = daemon.connect()
    wrong = []
    with daemon.console() as console:
        before = console.run("SHOW CONFIG")
        for name, (text, told) in CASES.items():
            daemon.ini_path.write_text(fill(text))
            mark = len(daemon.log)
            with pytest.raises(ServerError) as caught:
                console.run("RELOAD")
            logged = [re.sub(r"^.*?\] ERROR ", "", line).replace(str(daemon.ini_path), "ini")
                      for line in daemon.log[mark:].splitlines() if " ERROR " in line and "reload of" not in line]
            found = problems(told, "\n".join(logged))
            if (caught.value.code, console.run("SHOW CONFIG")) != ("F0000", before):
                found.append(f"{caught.value}")
            wrong += [f"{name}: {one}" for one in found]
        assert not wrong, "\n".join(wrong)
        daemon.ini_path.write_text(good)
        console.run("RELOAD")
    assert client.execute("SELECT 1").fetchone() == (1,)
    client.close()


def test_check_config_warns_of_what_will_hardly_work(files):
    """Allowed, so the exit code is 0 and the daemon starts."""
    daemon, _ = files
    verifier = subprocess.run([find_bindir() / "psql", daemon.dsn("test", "app"), "-Atc",
                               "SELECT 'SCRAM-SHA-256$4096:' || encode('0123456789abcdef', 'base64') || '$' || "
                               "encode(sha256('a'), 'base64') || ':' || encode(sha256('b'), 'base64')"],
                              check=True, text=True, capture_output=True).stdout.strip()
    users, path = daemon.home / "verifiers", daemon.home / "warned.ini"
    users.write_text(f'"app" "{verifier}"\n')
    path.write_text(f"[databases]\na = host=x\n[pgpoold]\nauth_type = trust\nauth_file = {users}\n")
    for one in (users, path):
        give(one, 0o644)
    code, said = check(daemon, path)
    assert code == 0
    assert re.fullmatch(r"warning: .*warned.ini:4: auth_type: trust: .*SCRAM verifiers.*\n", said)
    daemon.reload(options={"auth_type": "trust", "auth_file": str(users), "unix_socket_dir": None})
    daemon.wait_log(r"WARNING .*auth_type: trust: .*SCRAM verifiers")
