# SPDX-License-Identifier: ISC
"""Each option of config/options.c has a test that fails when it does nothing, and changes when it is said to."""

import ast
import pathlib
import re

import pytest

from account import give
from option_proofs import PROOFS, WITHOUT_EFFECT
from wire import ServerError

HERE = pathlib.Path(__file__).parent
SOURCE = HERE.parents[1] / "config/options.c"
SCOPES = {"G": "global", "D": "database", "U": "user", "P": "peer"}


def table():
    """The rows of the table of options: {name: (its scopes, may it change at run time)}."""
    text = SOURCE.read_text()
    text = text[text.index("static const struct option options[]"):text.index("unsigned option_count")]
    rows = {}
    for row in re.split(r"\n    \{(?=[A-Z.])", text)[1:]:
        macro, name, other_name = re.match(r'(?:([A-Z]+)\((\w+)|\.name = "(\w+)")', row).groups()
        code = re.sub(r'"(?:\\.|[^"\\])*"', "", row)
        scopes = {SCOPES[letter] for letter in re.findall(r"\b([GDUP])(?:_INT|_STR|_US)?\(", code)}
        if macro in ("BOOLEAN", "BYTES"):
            scopes.add("global")
        changeable = "global" in scopes and re.search(r"\bRELOAD\b", code) is not None
        before = rows.get(name or other_name, (set(), False))
        rows[name or other_name] = (before[0] | scopes, before[1] or changeable)
    return rows


def functions_of(file):
    return {node.name for node in ast.parse((HERE / f"{file}.py").read_text()).body
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


def test_the_table_is_read_right(pgpoold):
    """Against what the daemon itself tells."""
    shown = {row["key"]: row["changeable"] == "yes" for row in pgpoold().show("config")}
    assert shown == {name: changeable for name, (scopes, changeable) in table().items() if "global" in scopes}


def test_every_option_has_a_test_that_proves_its_effect():
    places = {f"{scope} {name}" for name, (scopes, _) in table().items() for scope in scopes}
    assert not places - set(PROOFS) - set(WITHOUT_EFFECT), "these options have no line in option_proofs.py"
    assert not (set(PROOFS) | set(WITHOUT_EFFECT)) - places, "there are no such options"
    assert not set(PROOFS) & set(WITHOUT_EFFECT)


@pytest.mark.parametrize("place", sorted(PROOFS))
def test_the_test_exists(place):
    file, _, name = PROOFS[place].partition("::")
    assert name.partition("[")[0] in functions_of(file)


def test_the_page_for_operators_names_every_option_that_pgbouncer_has_not():
    text = SOURCE.read_text()
    text = text[text.index("static const struct option options[]"):text.index("unsigned option_count")]
    rows = re.split(r"\n    \{(?=[A-Z.])", text)[1:]
    own = {re.match(r'(?:[A-Z]+\(|\.name = ")(\w+)', row).group(1) for row in rows
           if re.search(r"\bOWN\b", re.sub(r'"(?:\\.|[^"\\])*"', "", row))}
    page = (HERE.parents[1] / "packaging/man/pgpoold.1.scd").read_text()
    listed = re.search(r"Options that PgBouncer has not:(.*?);", page, re.S).group(1)
    assert set(re.split(r"[,\s]+", listed.strip())) == own


# ------------------------------------------------------------------------------------------ SET, SHOW and RELOAD

# A value other than the default, and what SHOW CONFIG shows of it where that is not the same. {dir}: a folder with files.
OTHER_VALUES = {
    "admin_users": "admin,somebody", "auth_dbname": "postgres", "auth_file": "{dir}/other-users",
    "auth_hba_file": "{dir}/other-hba", "auth_ident_file": "{dir}/other-ident", "auth_ldap_options": "ldapserver=127.0.0.1 ldapprefix=a", "max_packet_size": "2000",
    "auth_query": "SELECT a, b FROM f($1)", "auth_type": "any", "auth_user": "somebody", "conffile": "{dir}/other.ini",
    "abandoned_query": "wait", "client_tls13_ciphers": "TLS_AES_256_GCM_SHA384", "client_tls_ca_file": "{certs.ca}",
    "client_tls_cert_file": "{certs.server}", "client_tls_ciphers": "HIGH", "client_tls_dheparams": "none",
    "client_tls_ecdhcurve": "prime256v1", "client_tls_key_file": "{certs.server_key}", "client_tls_protocols": "tlsv1.3",
    "client_tls_sslmode": None,  # needs a key: its own test below
    "connect_query": "SELECT 1", "http_auth_file": "{dir}/other-users", "http_tls_cert_file": None, "http_tls_key_file": None,
    "ignore_startup_parameters": "extra_float_digits", "log_format": "json",
    "proxy_protocol_from": "127.0.0.9", "logfile": "{dir}/other.log", "login_notify_message": "a b",
    "notify_gap": "notice", "notify_mode": "off", "pool_mode": "transaction", "server_check_query": "select 1",
    "server_reset_query": "DISCARD PLANS", "server_tls13_ciphers": "TLS_AES_256_GCM_SHA384",
    "server_tls_ca_file": "{certs.ca}", "server_tls_cert_file": None, "server_tls_key_file": None,
    "server_tls_ciphers": "HIGH", "server_tls_protocols": "tlsv1.3", "server_tls_sslmode": "disable",
    "stats_users": "stats,somebody", "syslog": None, "syslog_facility": "local7", "syslog_ident": "other",
}


def another_value(row, daemon, certs):
    """A value that is not the one in force, or None where the table above says so."""
    name, value = row["key"], row["value"]
    if name in OTHER_VALUES:
        given = OTHER_VALUES[name]
        return given and given.replace("{dir}", str(daemon.home)).format(certs=certs)
    if row["changeable"] == "no":
        return None
    if value in ("0", "1") and row["default"] in ("0", "1"):
        return "1" if value == "0" else "0"
    return str(int(float(value or 0)) + 1)


def write_files(daemon):
    for name in ("other-users", "other-hba", "other-ident"):
        (daemon.home / name).write_text("" if name != "other-users" else '"app" "app-secret"\n')
        give(daemon.home / name, 0o644)
    (daemon.home / "other.ini").write_text(daemon.ini_path.read_text())
    give(daemon.home / "other.ini", 0o644)


def test_set_changes_what_is_changeable_and_reload_brings_back_the_file(pgpoold, pg, certs):
    """All options, one after the other."""
    daemon = pgpoold(databases={"test": f"host={pg.host} port={pg.port} user=app"})
    write_files(daemon)
    before = {row["key"]: row for row in daemon.show("config")}
    wrong = []
    with daemon.console(host=daemon.socket_dir) as console:
        def config():
            return {name: value for name, value, *_ in console.run("SHOW CONFIG")}

        for name, row in before.items():
            value = another_value(row, daemon, certs)
            if row["changeable"] == "no":
                error = set_error(console, name, value or "x")
                if error is None or "cannot be changed" not in error and "restart" not in error:
                    wrong.append(f"{name}: not changeable, but SET says {error!r}")
                continue
            if value is None:
                continue
            error = set_error(console, name, value)
            if error or config()[name] != value:
                wrong.append(f"{name}: SET to {value!r} gives {config()[name]!r}, {error}")
            console.run("RELOAD")
            if name == "conffile":
                console.run(f"SET conffile = '{daemon.ini_path}'")
                console.run("RELOAD")
            if config()[name] != row["value"]:
                wrong.append(f"{name}: RELOAD does not bring back {row['value']!r}")
        assert config() == {name: row["value"] for name, row in before.items()}
    assert not wrong, "\n".join(wrong)


def set_error(console, name, value):
    try:
        console.run(f"SET {name} = '{value}'" if value else f"SET {name} = ''")
        return None
    except ServerError as error:
        return error.message.detail or error.text  # "SET failed" says nothing


def test_reload_changes_what_is_changeable_and_warns_of_the_rest(pgpoold, pg, certs):
    """All options in one reload."""
    daemon = pgpoold(databases={"test": f"host={pg.host} port={pg.port} user=app"})
    write_files(daemon)
    rows = {row["key"]: row for row in daemon.show("config")}
    new = {name: another_value(row, daemon, certs) for name, row in rows.items()
           if name not in ("admin_users", "auth_type", "conffile")}
    new = {name: value for name, value in new.items() if value is not None}
    (daemon.home / "x").mkdir()
    new.update(unix_socket_dir=f"{daemon.home}/x", listen_addr="127.0.0.2", user="nobody", pidfile=f"{daemon.home}/x.pid",
               track_extra_parameters="search_path", unix_socket_group="root", unix_socket_mode="0770", resolv_conf="/dev/null",
               http_addr="127.0.0.2", server_tls_cert_file=certs.client, server_tls_key_file=certs.client_key,
               client_tls_sslmode="allow", job_name="x")
    daemon.reload(options={name: value for name, value in new.items() if name in rows})
    after = {row["key"]: row["value"] for row in daemon.show("config")}
    for name, row in rows.items():
        if name not in new:
            continue
        if row["changeable"] == "yes":
            assert after[name] == str(new[name]), name
        else:
            assert after[name] == row["value"], name
            daemon.wait_log(f"WARNING.*\\b{name}: .*restart")
