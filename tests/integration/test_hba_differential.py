# SPDX-License-Identifier: ISC
"""HBA and ident files, read by pgpoold and by PostgreSQL itself (pg_hba_file_rules, pg_ident_file_mappings): what PostgreSQL
refuses is refused here, and what is refused here beyond that is listed here."""

import random
import re
import subprocess

import pytest

# What both take, or both refuse.
SAME = r"""
host all all 127.0.0.1/32 trust
host all all 127.0.0.1/0 trust
host all all 127.0.0.1/33 trust
host all all 127.0.0.1/ trust
host all all 127.0.0.1/08 trust
host all all 127.0.0.1/8x trust
host all all 127.0.0.1 trust
host all all 127.0.0.1 255.0.255.0 trust
host all all 127.0.0.1 ffff:: trust
host all all 127.0.0.1 trust trust
host all all ::1/128 trust
host all all ::1/129 trust
host all all ::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff trust
host all all ::1 255.255.255.255 trust
host all all ::ffff:127.0.0.1/128 trust
host all all ::ffff:127.0.0.1/96 trust
host all all [::1]/128 trust
host all all "127.0.0.1/32" trust
host all all samehost trust
host all all samenet trust
host all all samehost/8 trust
host all all 127.0.0.1/32,127.0.0.2/32 trust
host all all 127.0.0.1/32, 127.0.0.2/32 trust
host "all" "all" 127.0.0.1/32 trust
"host" all all all trust
HOST all all all trust
Host all all all trust
host ALL all all trust
host all all all TRUST
host all all all "trust"
host,hostssl all all all trust
hostssl all all all trust
hostnossl all all all trust
local all all trust
local all all peer
local all all peer map=x
local all all ident
local all all ident map=x
local all all 127.0.0.1/32 trust
local all all md5 map=x
host all all all peer
host all all all cert
hostnossl all all all cert
hostssl all all all cert clientcert=verify-ca
host all all all trust clientcert=verify-ca
hostssl all all all cert
hostssl all all all cert map=x
host all all all password
host all all all md5
host all all all scram-sha-256
host all all all reject
host all all all pam
host all all all ldap
host all all all ldap ldapserver=a
host all all all ldap ldapserver=a ldapprefix="cn=" ldapsuffix=",dc=x"
host all all all ldap ldapserver=a "ldapsuffix=, dc=x"
host all all all ldap ldapserver=a ldapbasedn="dc=x" ldapprefix=y
host all all all ldap ldapserver=a ldapbasedn="dc=x" ldapsearchattribute=uid ldapsearchfilter=(x)
host all all all ldap ldapserver=a ldapport=x ldapbasedn=dc
host all all all ldap ldapserver=a ldapport=389 ldapbasedn=dc ldaptls=1
host all all all ldap ldapserver=a ldapscheme=ldaps ldapbasedn=dc
host all all all ldap ldapurl="ldap://h/dc=x?uid?sub"
host all all all ldap ldapurl="http://h/dc=x?uid?sub"
host all all all ldap ldapserver=a x
host all all all ldap ldapserver=a nonsense=1
host all all all trust map=x
host all all all md5 foo=bar
host all all all md5 foo
host all all all
host all all
host all
host
host all all all nonsense
host all "+role" all trust
host sameuser all all trust
host "sameuser" all all trust
host replication all all trust
host a,b c,d all trust
host a, b c, d all trust
host a ,b c all trust
host ,a ,b all trust
host a,,b c all trust
host a, c all trust
host "a,b" c all trust
host "a b" c all trust
host "a""b" c all trust
host a"b c"d e all trust
host "" "" all trust
host @nofile all all trust
host "@nofile" all all trust
host @ all all trust
host all all all trust # comment
host all all all trust#comment
host all#x all all trust
host "all#x" all all trust
host "all all all all trust
host all all all trust "
# nothing
   # nothing
	host	all	all	all	trust
host all all 0.0.0.0/0 trust
host all all ::/0 trust
host all all ::0/0 trust
host all all 256.0.0.1/8 trust
host all all 1.2.3.4.5/24 trust
include x
include_dir x
include_if_exists x
@include
host all all all sspi
host all all all bsd
host all all all crypt
host all all all md5 \
""".strip("\n").split("\n")

# What PostgreSQL takes and we refuse, each with a word of the reason.
STRICTER = {
    "host all all 127.0.0.1/+8 trust": "wrong number of bits",
    "host all all 127.0.0.1 32 trust": "is not a mask",
    "host all all 127.1/8 trust": "is not an address",
    "host all all 0x7f000001/32 trust": "is not an address",
    "host all all 1.2.3/24 trust": "is not an address",
    "host all all fe80::1%lo/64 trust": "is not an address",
    'host all all "all" trust': "host names are not looked up",
    'host all all "samehost" trust': "host names are not looked up",
    "host all all localhost trust": "host names are not looked up",
    "host all all .example.com trust": "host names are not looked up",
    "host all all all ident": "this pooler does not have it",
    "host all all all gss": "this pooler does not have it",
    "hostssl all all all cert clientcert=verify-full": "is not known for this method",
    "host all all all pam pamservice=x": "is not known for this method",
    "host all all all ldap ldapserver=a ldapbasedn=dc ldaptls=2": "ldaptls",
    "host all all all ldap ldapserver=a ldapscheme=http ldapbasedn=dc": "ldapscheme",
    "host all +role all trust": "known to the server only",
    "host samerole all all trust": "known to the server only",
    "host /^db$ all all trust": "regular expression",
    "host all /^u$ all trust": "regular expression",
    "hostgssenc all all all trust": "does not speak GSSAPI",
    "hostnogssenc all all all trust": "does not speak GSSAPI",
}


@pytest.fixture
def read_by_postgresql(pg):
    """read(setting, view, text): the numbers of the lines that PostgreSQL does not like."""
    before = {}
    with pg.connect("postgres", "postgres") as conn:
        def read(setting, view, text):
            path = conn.execute(f"SHOW {setting}").fetchone()[0]
            with open(path, encoding="utf-8") as file:
                before.setdefault(path, file.read())
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            return {row[0] for row in conn.execute(f"SELECT line_number FROM {view} WHERE error IS NOT NULL")}
        yield read
        for path, text in before.items():
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)


MOST_FAULTS = 150  # of one run; what comes after 200 is only counted


@pytest.fixture
def read_by_pgpoold(pgpoold, certs):
    """read(name, lines, other files): {index of a line: fault} of the file of that name."""
    daemon = None

    def check(name, lines, others):
        nonlocal daemon
        files = {**others, name: "\n".join(lines) + "\n"}
        if daemon is None:
            daemon = pgpoold(start=False, databases={"test": "host=x"}, client_tls_sslmode="verify-full",
                             client_tls_ca_file=certs.ca, client_tls_cert_file=certs.server, client_tls_key_file=certs.server_key,
                             **files)
        else:
            {"hba": daemon.hba_path, "ident": daemon.ident_path}[name].write_text(files[name])
        done = subprocess.run([str(daemon.binary), "--check-config", str(daemon.ini_path)], capture_output=True, text=True,
                              check=False)
        found = re.findall(rf"{name}\.conf:(\d+): (.*)", done.stdout + done.stderr)
        return {int(number) - 1: fault for number, fault in found}

    def read(name, lines, **others):
        faults = {}
        for at in range(0, len(lines), MOST_FAULTS):
            part = {at + i: fault for i, fault in check(name, lines[at:at + MOST_FAULTS], others).items()}
            # Some relations are looked at only when every line can be read.
            good = [i for i in range(at, min(at + MOST_FAULTS, len(lines))) if i not in part]
            again = check(name, [lines[i] for i in good], others) if part else {}
            faults |= part | {good[i]: fault for i, fault in again.items()}
        return faults
    return read


def test_hba_rules_are_read_as_postgresql_reads_them(read_by_postgresql, read_by_pgpoold):
    lines = list(STRICTER) + SAME
    theirs = read_by_postgresql("hba_file", "pg_hba_file_rules", "\n".join(lines) + "\n")
    ours = read_by_pgpoold("hba", lines, ident="x a b\n")
    for i, line in enumerate(lines):
        if line in STRICTER:
            assert i + 1 not in theirs and STRICTER[line] in ours.get(i, ""), line
        else:
            assert (i + 1 in theirs) == (i in ours), f"{line!r}: {ours.get(i)}"


PARTS = ["a", "b", ".", "@", "-", "^", "$", "(", ")", "|", "*", "+", "?", "{2}", "{2", "{", "}", "[", "]", "[^", "[a-z]", "[]a]",
         "[[:digit:]]", "[:", ":]", "\\d", "\\w", "\\S", "\\.", "\\\\", "\\<", "\\m", "\\Z", "\\1", "\\q", "(?", "(a)", "_", "0"]


def test_no_expression_is_taken_that_postgresql_refuses(read_by_postgresql, read_by_pgpoold):
    rng = random.Random(7)
    lines = [f'm "/{"".join(rng.choice(PARTS) for _ in range(rng.randint(1, 6)))}" x' for _ in range(2000)]
    theirs = read_by_postgresql("ident_file", "pg_ident_file_mappings", "\n".join(lines) + "\n")
    ours = read_by_pgpoold("ident", lines, hba="local all all peer map=m\n")
    assert len(theirs) > 500
    looser = [lines[n - 1] for n in sorted(theirs) if n - 1 not in ours]
    assert not looser, " ".join(looser)
    stricter = [lines[i] for i in ours if i + 1 not in theirs]
    assert len(stricter) < len(lines) / 10, stricter
