# SPDX-License-Identifier: ISC
"""Run-time parameters: what a client asked for or set is in force for it on every server, and for nobody else."""

import psycopg
import pytest

from sessions import alternating, one_database
from wire import ServerError, parse, bind, execute, query, sync


@pytest.fixture
def daemon(pgpoold, pg):
    """Two servers that take turns."""
    return alternating(pgpoold, pg)


TRACKED = [
    ("client_encoding", "LATIN1"),
    ("DateStyle", "SQL, DMY"),
    ("TimeZone", "Asia/Tokyo"),
    ("application_name", "it's \"mine\" \\ 1"),
    ("standard_conforming_strings", "off"),
    ("IntervalStyle", "sql_standard"),
]


def literal(text):
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def show(client, name):
    return client.run(f"SHOW {name}")[0][0]


@pytest.mark.parametrize("name, value", TRACKED)
def test_what_a_client_sets_follows_it_from_server_to_server(daemon, wire, name, value):
    client, other = wire(daemon), wire(daemon)
    default = show(other, name)
    assert default != value
    result = client.query(f"SET {name} = {literal(value)}" if name != "DateStyle" else f"SET {name} = {value}")
    assert [(m.name, m.value) for m in result.messages if m.kind == "S"] == [(name, value)]
    for _ in range(4):
        assert show(client, name) == value
        assert show(other, name) == default


@pytest.mark.parametrize("name, value", TRACKED)
def test_a_startup_parameter_is_in_force_on_every_server(daemon, wire, name, value):
    client, other = wire(daemon, **{name: value}), wire(daemon)
    assert client.params[name] == value
    for _ in range(4):
        assert show(client, name) == value
        assert show(other, name) != value


def test_a_change_is_told_to_the_client_once(daemon, wire):
    client = wire(daemon)
    client.run("SET TimeZone = 'Asia/Tokyo'")
    for _ in range(4):
        assert "S" not in client.query("SELECT 1").kinds


def test_nobody_hears_of_anothers_change(daemon, wire):
    clients = [wire(daemon) for _ in range(3)]
    for i, client in enumerate(clients):
        assert client.query(f"SET application_name = 'client {i}'").kinds in ("SCZ", "CSZ")
    for _ in range(3):
        for i, client in enumerate(clients):
            result = client.query("SHOW application_name")
            assert result.kinds == "TDCZ" and result.rows == [(f"client {i}",)]


@pytest.mark.parametrize("name, written, spelled", [
    ("client_encoding", "utf8", "UTF8"), ("client_encoding", "unicode", "UTF8"), ("client_encoding", "latin1", "LATIN1"),
    ("DateStyle", "german", "German, DMY"), ("DateStyle", "iso", "ISO, MDY"), ("TimeZone", "utc", "UTC"),
    ("standard_conforming_strings", "0", "off"), ("IntervalStyle", "POSTGRES", "postgres"),
    ("application_name", "smörgås", "sm??rg??s"),
])
def test_the_login_reports_postgresqls_spelling(daemon, pg, wire, name, written, spelled):
    assert wire(pg, **{name: written}).params[name] == spelled
    for _ in range(3):
        client = wire(daemon, **{name: written})
        assert client.params[name] == spelled
        assert show(client, name) == spelled


def test_the_login_reports_all_that_postgresql_reports(daemon, pg, wire):
    direct, pooled = wire(pg), wire(daemon)
    assert pooled.params == direct.params


def test_names_of_parameters_do_not_depend_on_case(daemon, wire):
    client = wire(daemon, TIMEZONE="Asia/Tokyo", datestyle="German")
    assert client.params["TimeZone"] == "Asia/Tokyo" and client.params["DateStyle"] == "German, DMY"


@pytest.mark.parametrize("options", [
    "-c statement_timeout=12345 -c search_path=pg_catalog", "--statement_timeout=12345 --search-path=pg_catalog",
    "-c  statement_timeout=12345   -c search_path=pg_catalog",
])
def test_startup_options_are_in_force_on_every_server(daemon, wire, options):
    client, other = wire(daemon, options=options), wire(daemon)
    for _ in range(4):
        assert client.run("SELECT current_setting('statement_timeout'), current_setting('search_path')") == [
            ("12345ms", "pg_catalog")]
        assert show(other, "statement_timeout") == "0"
        assert show(other, "search_path") == '"$user", public'


def test_startup_options_may_have_blanks_in_their_values(daemon, wire):
    client = wire(daemon, options="-c search_path=a,\\ pg_catalog -c DateStyle=sql,\\ dmy")
    assert client.params["DateStyle"] == "SQL, DMY"
    for _ in range(2):
        assert show(client, "DateStyle") == "SQL, DMY"


@pytest.mark.parametrize("options", ["-W", "-c", "-c nonsense", "-B 100"])
def test_other_startup_options_are_refused(daemon, wire, options):
    with pytest.raises(ServerError) as caught:
        wire(daemon, options=options)
    assert caught.value.code == "08P01"
    assert "options" in caught.value.text


def test_startup_options_of_the_last_client_do_not_reach_the_next_in_session_mode(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="session", default_pool_size=1, databases=one_database(pg))
    wire(daemon, options="-c statement_timeout=12345").goodbye()
    assert show(wire(daemon), "statement_timeout") == "0"


def test_equal_startup_options_are_in_force_again_after_the_reset_query(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="session", default_pool_size=1, databases=one_database(pg))
    for _ in range(3):
        client = wire(daemon, options="-c statement_timeout=12345", application_name="mine")
        assert show(client, "statement_timeout") == "12345ms"
        assert show(client, "application_name") == "mine"
        client.goodbye()


def test_equal_startup_options_are_in_force_again_with_a_reset_after_each_transaction(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, databases=one_database(pg),
                     server_reset_query_always=1)
    client = wire(daemon, options="-c statement_timeout=12345", application_name="mine")
    for _ in range(3):
        assert show(client, "statement_timeout") == "12345ms"
        assert show(client, "application_name") == "mine"


@pytest.mark.parametrize("mode", ["session", "transaction"])
@pytest.mark.parametrize("reset", ["RESET ALL", "DISCARD ALL", "RESET application_name"])
def test_reset_goes_back_to_the_startup_value(pgpoold, pg, wire, mode, reset):
    daemon = pgpoold(pool_mode=mode, default_pool_size=1, databases=one_database(pg))
    client = wire(daemon, application_name="at start", options="-c statement_timeout=12345")
    assert client.query("SET application_name = 'changed'").errors == []
    assert client.query(reset).errors == []
    assert show(client, "application_name") == "at start"
    assert show(client, "statement_timeout") == "12345ms"


def test_reset_of_what_was_not_asked_for_goes_back_to_the_servers_default(daemon, wire):
    client = wire(daemon)
    client.run("SET TimeZone = 'Asia/Tokyo'")
    client.run("RESET TimeZone")
    for _ in range(3):
        assert show(client, "TimeZone") == "UTC"


def test_reset_in_a_pipeline_goes_back_to_the_startup_value(daemon, wire):
    client = wire(daemon, application_name="at start")
    client.run("SET application_name = 'changed'")
    client.send(query("RESET ALL"), query("SELECT 1"), query("SELECT 2"))
    assert [client.result().rows for _ in range(3)] == [[], [("1",)], [("2",)]]
    for _ in range(3):
        assert show(client, "application_name") == "at start"


def test_set_local_ends_with_its_transaction(daemon, wire):
    client = wire(daemon)
    client.run("BEGIN")
    client.run("SET LOCAL TimeZone = 'Asia/Tokyo'")
    assert show(client, "TimeZone") == "Asia/Tokyo"
    assert ("TimeZone", "UTC") in [(m.name, m.value) for m in client.query("COMMIT").messages if m.kind == "S"]
    for _ in range(3):
        assert show(client, "TimeZone") == "UTC"


def test_a_set_that_was_rolled_back_is_forgotten(daemon, wire):
    client = wire(daemon, TimeZone="Asia/Tokyo")
    client.run("BEGIN")
    client.run("SET TimeZone = 'Europe/Berlin'")
    client.run("ROLLBACK")
    for _ in range(3):
        assert show(client, "TimeZone") == "Asia/Tokyo"
    client.run("BEGIN")
    client.run("SET TimeZone = 'Europe/Berlin'")
    client.query("SELECT 1/0")
    client.run("COMMIT")
    for _ in range(3):
        assert show(client, "TimeZone") == "Asia/Tokyo"
    assert client.params["TimeZone"] == "Asia/Tokyo"


def test_a_set_of_a_client_that_left_in_its_transaction_is_forgotten(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, databases=one_database(pg))
    client = wire(daemon)
    client.run("BEGIN")
    client.run("SET TimeZone = 'Europe/Berlin'")
    client.close()
    assert show(wire(daemon), "TimeZone") == "UTC"


def test_set_config_and_functions_that_set_are_followed_too(daemon, wire):
    client = wire(daemon)
    client.run("SELECT set_config('application_name', 'by function', false)")
    for _ in range(3):
        assert show(client, "application_name") == "by function"


def test_a_set_by_the_extended_protocol_is_followed(daemon, wire):
    client = wire(daemon)
    client.send(parse("", "SET application_name = 'extended'"), bind(), execute(), sync())
    client.result()
    for _ in range(3):
        assert show(client, "application_name") == "extended"


def test_an_encoding_holds_for_results_and_queries(daemon, wire):
    latin, utf8 = wire(daemon, client_encoding="LATIN1"), wire(daemon)
    for _ in range(3):
        latin.send(b"Q\0\0\0\x10SELECT '\xe4'\0"[:1] + (4 + len(b"SELECT '\xe4'\0")).to_bytes(4, "big")
                   + b"SELECT '\xe4'\0")
        assert latin.result().messages[1].body[-1:] == b"\xe4"
        assert utf8.run("SELECT 'ä'") == [("ä",)]


def test_a_bad_startup_value_is_postgresqls_own_fatal_error(daemon, pg, wire):
    for name, value in (("DateStyle", "nonsense"), ("TimeZone", "Mars/Base"), ("client_encoding", "EBCDIC"),
                        ("IntervalStyle", "nonsense")):
        errors = []
        for target in (pg, daemon):
            with pytest.raises(ServerError) as caught:
                wire(target, **{name: value})
            errors.append((caught.value.message.severity, caught.value.code, caught.value.text))
        assert errors[0] == errors[1]
    assert wire(daemon).run("SELECT 1") == [("1",)]


def test_an_unknown_parameter_in_options_is_postgresqls_own_fatal_error(daemon, wire):
    with pytest.raises(ServerError) as caught:
        wire(daemon, options="-c nonsense=1")
    assert (caught.value.message.severity, caught.value.code) == ("FATAL", "42704")
    assert caught.value.text == 'unrecognized configuration parameter "nonsense"'


def test_an_unknown_startup_parameter_is_postgresqls_own_fatal_error(daemon, wire):
    with pytest.raises(ServerError) as caught:
        wire(daemon, nonsense="1")
    assert (caught.value.message.severity, caught.value.code) == ("FATAL", "42704")
    assert caught.value.text == 'unrecognized configuration parameter "nonsense"'


def test_ignored_startup_parameters_do_nothing(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", ignore_startup_parameters="nonsense, statement_timeout,options",
                     databases=one_database(pg))
    client = wire(daemon, nonsense="1", statement_timeout="12345", options="-W")
    assert show(client, "statement_timeout") == "0"


def test_extra_parameters_are_tracked(pgpoold, pg, wire):
    daemon = alternating(pgpoold, pg, track_extra_parameters="IntervalStyle, search_path, default_transaction_read_only")
    client, other = wire(daemon, default_transaction_read_only="on", search_path="pg_catalog, public"), wire(daemon)
    for _ in range(3):
        assert show(client, "default_transaction_read_only") == "on"
        assert show(client, "search_path") == "pg_catalog, public"
        assert show(other, "default_transaction_read_only") == "off"
    client.run("SET default_transaction_read_only = off")
    for _ in range(3):
        assert show(client, "default_transaction_read_only") == "off"


def test_the_parameters_of_a_database_entry_are_in_force(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", databases=one_database(
        pg, client_encoding="LATIN1", datestyle="German", timezone="Asia/Tokyo", application_name="pooled"))
    client = wire(daemon)
    assert client.run("SELECT current_setting('client_encoding'), current_setting('DateStyle'),"
                      " current_setting('TimeZone'), current_setting('application_name')") == [
        ("LATIN1", "German, DMY", "Asia/Tokyo", "pooled")]
    assert wire(daemon, TimeZone="UTC").run("SHOW TimeZone") == [("UTC",)]


def test_settings_of_the_role_are_reported(pgpoold, pg, wire):
    pg.create_user("role_with_zone")
    pg.psql("ALTER ROLE role_with_zone SET TimeZone = 'Asia/Tokyo'; ALTER ROLE role_with_zone SET work_mem = '7MB'")
    daemon = pgpoold(pool_mode="transaction", databases=one_database(pg), userlist={"role_with_zone": ""})
    client = wire(daemon, user="role_with_zone")
    assert client.params["TimeZone"] == "Asia/Tokyo"
    assert client.run("SELECT current_setting('TimeZone'), current_setting('work_mem')") == [("Asia/Tokyo", "7MB")]
    client.goodbye()
    daemon.stop()
    pg.drop_user("role_with_zone")


def test_psycopg_sets_and_keeps_its_parameters(daemon):
    with psycopg.connect(daemon.dsn(application_name="driver", options="-c statement_timeout=5000"),
                         autocommit=True) as conn:
        for _ in range(4):
            assert conn.execute("SELECT current_setting('application_name'), current_setting('statement_timeout')"
                                ).fetchone() == ("driver", "5s")


def test_application_name_add_host_tells_where_the_client_is(pgpoold, pg, wire):
    daemon = pgpoold(pool_mode="transaction", application_name_add_host=1, databases=one_database(pg))
    assert show(wire(daemon, application_name="mine"), "application_name").startswith("mine - 127.0.0.1:")


def test_settings_are_in_force_also_when_statements_are_given_up(pgpoold, pg, wire):
    """The server connection owes the Close of a statement for which there is no more room: the next owner's settings
    must come all the same."""
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, max_prepared_statements=1,
                     databases=one_database(pg))
    first, second = wire(daemon, application_name="first"), wire(daemon, application_name="second")
    for name in ("s1", "s2"):
        first.send(parse(name, f"SELECT '{name}'"), bind("", name), execute(), sync())
        assert first.result().rows == [(name,)]
    assert show(second, "application_name") == "second"
    assert show(first, "application_name") == "first"
