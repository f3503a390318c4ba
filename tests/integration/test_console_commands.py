# SPDX-License-Identifier: ISC
"""What the commands of the console do: PAUSE, RESUME, DISABLE, RECONNECT, KILL, SUSPEND, SHUTDOWN, SET, RELOAD. In each order and
state: test_console_matrix.py."""

import pytest

from daemon_process import PASSWORDS
from sessions import begin, error_of
from wire import Client, ServerError, cancel_request, copy_data, copy_done, query


@pytest.fixture
def daemon(pgpoold):
    return pgpoold(pool_mode="transaction")


# --- PAUSE, RESUME ---

def test_pause_closes_idle_servers_and_answers_at_once(daemon, wire, pg):
    wire(daemon).run("SELECT 1")
    assert daemon.admin("PAUSE") == []
    assert daemon.show("servers") == []
    assert {row["key"]: row["value"] for row in daemon.show("state")} == {"active": "no", "paused": "yes",
                                                                          "suspended": "no"}
    daemon.admin("RESUME")
    assert daemon.show("state")[0] == {"key": "active", "value": "yes"}


def test_pause_waits_for_transactions_and_queries_wait_for_resume(daemon, wire, console):
    busy, other = begin(wire(daemon)), wire(daemon)
    client = console(daemon)
    client.send(query("PAUSE test"))
    client.expect_silence()
    other.send(query("SELECT 2"))
    other.expect_silence()
    assert daemon.show("databases", name="test")[0]["paused"] == 1
    busy.run("SELECT 1")  # its transaction goes on
    busy.run("COMMIT")
    assert client.result().tags == ["PAUSE"]
    other.expect_silence()
    assert daemon.show("servers") == []
    daemon.admin("RESUME test")
    assert other.result().rows == [("2",)]


def test_pause_tells_how_many_are_left(daemon, wire, console):
    busy = [begin(wire(daemon)) for _ in range(2)]
    client = console(daemon)
    client.send(query("PAUSE"))
    assert client.expect("N").text == "PAUSE waits for 2 connections"
    busy[0].run("COMMIT")
    assert client.expect("N").text == "PAUSE waits for 1 connection"
    busy[1].run("COMMIT")
    assert client.result().tags == ["PAUSE"]
    daemon.admin("RESUME")


def test_a_new_client_waits_while_paused(daemon, wire):
    daemon.admin("PAUSE")
    client = wire(daemon, login=False)
    client.send_startup("app", "test")
    client.expect_silence()
    daemon.admin("RESUME")
    client.read_until("Z")
    assert client.run("SELECT 1") == [("1",)]


def test_pause_of_one_database_leaves_the_others(daemon, wire):
    daemon.admin("PAUSE test2")
    assert wire(daemon).run("SELECT 1") == [("1",)]
    assert [row["name"] for row in daemon.show("databases", paused=1)] == ["test2"]
    daemon.admin("RESUME test2")


def test_resume_of_all_leaves_alone_who_was_paused_by_name(daemon, wire, console):
    """As in PgBouncer: somebody may be moving test2 just now."""
    admin, client, held = console(daemon), wire(daemon), wire(daemon, database="test2")
    admin.run("PAUSE test2")
    held.send(query("SELECT 2"))
    error = error_of(admin, "RESUME")
    assert error.text == "pooler is not paused/suspended" and "by name" in error.hint
    admin.run("PAUSE")
    error = error_of(admin, "RESUME test")
    assert error.text == "database test is not paused" and "RESUME without a name" in error.hint
    assert error_of(admin, "PAUSE").text == "already suspended/paused"
    admin.run("RESUME")
    assert [row["name"] for row in daemon.show("databases", paused=1)] == ["test2"]
    assert client.run("SELECT 1") == [("1",)]
    held.expect_silence(0.1)
    admin.run("RESUME test2")
    assert held.result().rows == [("2",)]


def test_resume_by_name_does_not_end_the_pause_of_all(daemon, wire, console):
    admin, client = console(daemon), wire(daemon)
    admin.run("PAUSE test")
    admin.run("PAUSE")
    client.send(query("SELECT 1"))
    admin.run("RESUME test")
    client.expect_silence(0.1)
    assert dict(admin.run("SHOW STATE"))["paused"] == "yes"
    admin.run("PAUSE test")  # no error: from now on by name as well
    admin.run("RESUME")
    client.expect_silence(0.1)
    admin.run("RESUME test")
    assert client.result().rows == [("1",)]


def test_what_kill_paused_is_resumed_as_it_was_killed(daemon, wire, console):
    admin = console(daemon)
    admin.run("KILL test2")
    admin.run("KILL")
    admin.run("RESUME")
    assert wire(daemon).run("SELECT 1") == [("1",)]
    held = wire(daemon, database="test2", login=False)
    held.send_startup("app", "test2")
    held.expect_silence(0.1)
    admin.run("RESUME test2")
    held.authenticate("app")


def test_suspend_leaves_alone_who_was_paused_by_name(daemon, wire, console):
    admin, held = console(daemon), wire(daemon, database="test2")
    admin.run("PAUSE test2")
    admin.run("SUSPEND")
    admin.run("RESUME")
    held.send(query("SELECT 2"))
    held.expect_silence(0.1)
    admin.run("RESUME test2")
    assert held.result().rows == [("2",)]


def test_session_mode_pause_waits_for_the_client_to_leave(pgpoold, wire, console):
    daemon = pgpoold(pool_mode="session")
    session = wire(daemon)
    session.run("SELECT 1")
    client = console(daemon)
    client.send(query("PAUSE"))
    client.expect_silence()
    session.goodbye()
    assert client.result().tags == ["PAUSE"]
    daemon.admin("RESUME")


def test_pause_waits_for_a_copy(daemon, wire, console):
    copier, client = wire(daemon), console(daemon)
    copier.run("DROP TABLE IF EXISTS paused_copy; CREATE TABLE paused_copy (a int)")
    copier.send(query("COPY paused_copy FROM STDIN"))
    copier.expect("G")
    client.send(query("PAUSE"))
    client.expect_silence(0.1)
    copier.send(copy_data("1\n"))
    client.expect_silence(0.1)
    copier.send(copy_done())
    assert copier.result().tags == ["COPY 1"]
    assert client.result().tags == ["PAUSE"]
    client.run("RESUME")
    assert copier.run("SELECT a FROM paused_copy") == [("1",)]


def test_pause_is_done_when_the_last_query_was_cancelled(daemon, wire, console, eventually):
    busy, client = wire(daemon), console(daemon)
    busy.send(query("SELECT pg_sleep(60)"))
    eventually(lambda: daemon.show("servers", state="active"))
    client.send(query("PAUSE"))
    client.expect_silence(0.1)
    wire(daemon, login=False).send(cancel_request(busy.pid, busy.secret))
    assert busy.result().errors[0].code == "57014"
    assert client.result().tags == ["PAUSE"]
    client.run("RESUME")


def test_pause_answers_when_a_client_in_a_transaction_leaves(daemon, wire, console):
    busy, client = begin(wire(daemon)), console(daemon)
    client.send(query("PAUSE"))
    client.expect_silence(0.1)
    busy.close()
    assert client.result().tags == ["PAUSE"]
    client.run("RESUME")


def test_several_consoles_wait_at_once_and_all_are_answered(daemon, wire, console):
    busy = begin(wire(daemon))
    first, second, third = console(daemon), console(daemon), console(daemon)
    first.send(query("PAUSE test"))
    second.send(query("PAUSE test"))
    third.send(query("WAIT_CLOSE"))
    assert third.result().tags == ["WAIT_CLOSE"]  # nothing is obsolete
    first.expect_silence()
    second.expect_silence()
    busy.run("COMMIT")
    assert first.result().tags == second.result().tags == ["PAUSE"]
    daemon.admin("RESUME test")


def test_a_console_that_leaves_while_waiting_is_forgotten(daemon, wire, eventually):
    busy = begin(wire(daemon))
    leaver = daemon.console()
    leaver.send(query("PAUSE"))
    eventually(lambda: daemon.show("state")[1]["value"] == "yes")
    leaver.close()
    eventually(lambda: len(daemon.show("clients", database="pgbouncer")) == 1)
    busy.run("COMMIT")
    assert daemon.show("state")[1]["value"] == "yes"
    daemon.admin("RESUME")


def test_resume_ends_a_pause_that_still_waits(daemon, wire, console):
    busy = begin(wire(daemon))
    client = console(daemon)
    client.send(query("PAUSE"))
    client.expect_silence()
    daemon.admin("RESUME")
    assert client.result().errors[0].text == "PAUSE ended by RESUME"
    busy.run("COMMIT")


def test_commands_sent_while_one_waits_are_done_after_it(daemon, wire, console):
    busy = begin(wire(daemon))
    client = console(daemon)
    client.send(query("PAUSE"), query("SHOW VERSION"), query("RESUME"))
    client.expect_silence()
    busy.run("COMMIT")
    assert client.result().tags == ["PAUSE"]
    assert client.result().tags == ["SHOW"]
    assert client.result().tags == ["RESUME"]


def test_pause_twice_and_resume_without_pause_are_errors(daemon, console):
    client = console(daemon)
    assert error_of(client, "RESUME").text == "pooler is not paused/suspended"
    client.run("PAUSE")
    assert error_of(client, "PAUSE").text == "already suspended/paused"
    assert error_of(client, "SUSPEND").text == "already suspended/paused"
    client.run("RESUME")
    assert error_of(client, "RESUME test").text == "database test is not paused"


@pytest.mark.parametrize("command", ["PAUSE", "RESUME", "DISABLE", "ENABLE", "RECONNECT", "KILL", "WAIT_CLOSE"])
def test_an_unknown_database_is_an_error(pgpoold, pg, command):
    daemon = pgpoold(databases={"test": f"host={pg.host} port={pg.port}"})
    with pytest.raises(ServerError) as caught:
        daemon.admin(f"{command} nothere")
    assert caught.value.text == "no such database: nothere" and caught.value.code == "3D000"


def test_a_database_name_may_be_quoted(pgpoold, pg):
    daemon = pgpoold(databases={"My-db": f"host={pg.host} port={pg.port}"})
    daemon.admin('PAUSE "My-db"')
    assert daemon.show("databases", name="My-db")[0]["paused"] == 1
    daemon.admin("RESUME My-db")


def test_commands_are_logged_as_pgbouncer_does(daemon, console):
    client = console(daemon)
    for command in ("RECONNECT", "RELOAD", "DISABLE test", "ENABLE test", "PAUSE", "RESUME"):
        client.run(command)
    for line in ("RECONNECT command issued", "RELOAD command issued", "DISABLE 'test' command issued",
                 "ENABLE 'test' command issued", "PAUSE command issued", "RESUME command issued"):
        daemon.wait_log(f"LOG C-0x[0-9a-f]+: (pgbouncer|pgpoold)/admin@127.0.0.1:[0-9]+ {line}\n")


# --- DISABLE, RECONNECT, KILL ---

def test_disable_refuses_new_clients_and_keeps_the_old(daemon, wire):
    old = wire(daemon)
    daemon.admin("DISABLE test")
    with pytest.raises(ServerError) as caught:
        wire(daemon)
    assert caught.value.text == 'database "test" is disabled'
    assert old.run("SELECT 1") == [("1",)]
    assert daemon.show("databases", name="test")[0]["disabled"] == 1
    daemon.admin("ENABLE test")
    assert wire(daemon).run("SELECT 1") == [("1",)]


def test_reconnect_replaces_servers_when_they_come_back(daemon, wire, console):
    busy, idle = begin(wire(daemon)), wire(daemon)
    begin(idle).run("COMMIT")
    before = {row["remote_pid"] for row in daemon.show("servers")}
    client = console(daemon)
    client.run("RECONNECT test")
    row = daemon.show("servers", state="active")[0]
    assert row["close_needed"] == 1
    client.send(query("WAIT_CLOSE test"))
    client.expect_silence()
    assert idle.run("SELECT 1") == [("1",)]  # over a new server connection
    busy.run("COMMIT")
    assert client.result().tags == ["WAIT_CLOSE"]
    assert not before & {row["remote_pid"] for row in daemon.show("servers")}


def test_kill_drops_everybody_and_pauses(daemon, wire, pg, eventually):
    busy, idle, elsewhere = begin(wire(daemon)), wire(daemon), wire(daemon, database="test2")
    daemon.admin("KILL test")
    for client in (busy, idle):
        error = client.expect("E")
        assert (error.severity, error.code, error.text) == ("FATAL", "57P01", "database removed")
        assert error.detail == 'KILL has ended all connections of database "test".'
        client.expect_closed()
    assert elsewhere.run("SELECT 1") == [("1",)]
    assert daemon.show("servers", database="test") == []
    eventually(lambda: pg.n_connections("test") == 0)
    newcomer = wire(daemon)
    newcomer.send(query("SELECT 3"))
    newcomer.expect_silence()
    daemon.admin("RESUME test")
    assert newcomer.result().rows == [("3",)]


def test_kill_of_all_spares_the_console(daemon, wire, console):
    clients = [begin(wire(daemon)), begin(wire(daemon, database="test2"))]
    client = console(daemon)
    assert client.query("KILL").tags == ["KILL"]
    for victim in clients:
        victim.expect("E")
        victim.expect_closed()
    assert client.run("SHOW SERVERS") == []
    client.run("RESUME")


def test_kill_reaches_clients_in_the_queue(pgpoold, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1)
    begin(wire(daemon))
    queued = wire(daemon)
    queued.send(query("SELECT 1"))
    eventually(lambda: daemon.show("pools", database="test", cl_waiting=1))
    daemon.admin("KILL test")
    assert queued.expect("E").severity == "FATAL"
    queued.expect_closed()
    daemon.admin("RESUME test")


def test_kill_client_closes_it_and_its_server(daemon, wire, pg, eventually):
    victim, other = begin(wire(daemon, application_name="victim")), wire(daemon)
    number = daemon.show("clients", application_name="victim")[0]["id"]
    daemon.admin(f"KILL_CLIENT {number}")
    error = victim.expect("E")
    assert (error.severity, error.code, error.text) == ("FATAL", "57P01", "admin forced disconnect")
    victim.expect_closed()
    assert other.run("SELECT 1") == [("1",)]
    assert daemon.show("clients", application_name="victim") == []


def test_kill_client_may_hit_its_own_console(daemon, console):
    client = console(daemon)
    number = daemon.show("clients", database="pgbouncer")[0]["id"]
    client.send(query(f"KILL_CLIENT {number}"), query("SHOW VERSION"))
    client.expect("E")
    client.expect_closed()


@pytest.mark.parametrize("number, text", [("999999", "client not found"), ("x", "invalid client pointer supplied"),
                                          ("-1", "invalid client pointer supplied"),
                                          ("99999999999999999999", "invalid client pointer supplied")])
def test_kill_client_of_nobody_is_an_error(daemon, console, number, text):
    assert error_of(console(daemon), f"KILL_CLIENT {number}").text == text


# --- SUSPEND ---

def test_suspend_stops_clients_between_requests_until_resume(daemon, wire, console):
    clients = [wire(daemon) for _ in range(3)]
    clients[0].run("SELECT 1")
    begin(clients[1])
    client = console(daemon)
    assert client.query("SUSPEND").tags == ["SUSPEND"]
    assert {row["key"]: row["value"] for row in daemon.show("state")}["suspended"] == "yes"
    for one in clients:
        one.send(query("SELECT 5"))
    for one in clients:
        one.expect_silence(0.1)
    client.run("RESUME")
    for one in clients:
        assert one.result().rows == [("5",)]
    clients[1].run("COMMIT")


def test_suspend_waits_for_a_running_query(daemon, wire, console):
    busy = wire(daemon)
    busy.send(query("SELECT pg_sleep(0.5)"))
    client = console(daemon)
    client.send(query("SUSPEND"))
    assert client.result().tags == ["SUSPEND"]
    assert busy.result().rows == [("",)]  # nothing would come before RESUME
    client.run("RESUME")


def test_suspend_drops_who_is_not_ready_in_time(pgpoold, wire, console):
    daemon = pgpoold(pool_mode="transaction", suspend_timeout="0.3")
    busy = wire(daemon)
    busy.send(query("SELECT pg_sleep(30)"))
    client = console(daemon)
    assert client.query("SUSPEND").tags == ["SUSPEND"]
    assert busy.expect("E").text == "suspend_timeout"
    busy.expect_closed()
    client.run("RESUME")


def test_who_connects_while_suspended_waits_and_a_new_console_may_resume(daemon, wire):
    wire(daemon).run("SELECT 1")
    daemon.admin("SUSPEND")
    clients = [wire(daemon, login=False), wire(daemon, login=False, host=daemon.socket_dir)]
    for client in clients:
        client.send_startup("app", "test")
        client.expect_silence(0.1)
    daemon.admin("RESUME")
    for client in clients:
        client.authenticate("app")
        assert client.run("SELECT 7") == [("7",)]


def test_who_leaves_while_suspended_is_gone_after_the_resume(daemon, wire, eventually):
    daemon.admin("SUSPEND")
    client = wire(daemon, login=False)
    client.send_startup("app", "test")
    client.expect_silence(0.1)
    client.close()
    daemon.admin("RESUME")
    eventually(lambda: daemon.show("lists", list="login_clients")[0]["items"] == 0)
    assert wire(daemon).run("SELECT 1") == [("1",)]


# --- SHUTDOWN ---

def test_shutdown_answers_and_ends(daemon, wire, console):
    client, user = console(daemon), wire(daemon)
    client.send(query("SHUTDOWN"))
    assert client.expect("C", "Z")[0].tag == "SHUTDOWN"
    assert user.expect("E").text == "pooler is shutting down"
    daemon.wait_exit()


def test_shutdown_wait_for_clients_is_answered_when_the_last_has_left(daemon, wire, console):
    user, client, other = wire(daemon), console(daemon), console(daemon)
    user.run("SELECT 1")
    client.send(query("SHUTDOWN WAIT_FOR_CLIENTS"))
    client.expect_silence(0.2)
    with pytest.raises(OSError):
        Client.connect(daemon.host, daemon.port)
    assert daemon.admin("SHOW VERSION", host=daemon.socket_dir)
    assert user.run("SELECT 2") == [("2",)]
    assert other.query("SUSPEND").errors[0].text == "pooler is shutting down"
    user.goodbye()
    messages = client.read_until("Z")
    assert messages[-2].tag == "SHUTDOWN"
    daemon.wait_exit()


def test_shutdown_wait_for_clients_lets_in_who_had_connected_before(pgpoold, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", auth_type="md5", tcp_defer_accept=0)
    silent, asked = wire(daemon, login=False), wire(daemon, login=False)
    asked.send_startup("app", "test")
    request = asked.expect("R")
    eventually(lambda: daemon.show("lists", list="login_clients", items=2))
    with daemon.console(host=daemon.socket_dir) as client:
        client.send(query("SHUTDOWN WAIT_FOR_CLIENTS"))
        assert client.expect("N").text == "SHUTDOWN waits for 2 connections"
        asked._answer(request, "app", PASSWORDS["app"])  # pylint: disable=protected-access
        asked.authenticate("app", PASSWORDS["app"])
        assert asked.run("SELECT 1") == [("1",)]
        late = wire(daemon, login=False, host=daemon.socket_dir)
        late.send_startup("app", "test")
        assert late.expect("E").text == "pooler is shutting down"
        asked.goodbye()
        silent.login(password=PASSWORDS["app"])
        assert silent.run("SELECT 2") == [("2",)]
        silent.goodbye()
        assert client.read_until("Z")[-2].tag == "SHUTDOWN"
    daemon.wait_exit()


def test_shutdown_wait_for_clients_ends_when_a_login_fails(pgpoold, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", client_login_timeout=1, tcp_defer_accept=0)
    silent = wire(daemon, login=False)
    eventually(lambda: daemon.show("lists", list="login_clients", items=1))
    with daemon.console(host=daemon.socket_dir) as client:
        client.send(query("SHUTDOWN WAIT_FOR_CLIENTS"))
        assert client.read_until("Z")[-2].tag == "SHUTDOWN"
    assert silent.expect("E").text == "client_login_timeout"
    daemon.wait_exit()


def test_shutdown_wait_for_servers_is_answered_when_transactions_are_over(daemon, wire, console):
    busy, idle, client = begin(wire(daemon)), wire(daemon), console(daemon)
    client.send(query("SHUTDOWN WAIT_FOR_SERVERS"))
    client.expect_silence(0.2)
    assert error_of_socket(daemon, "RESUME") == "pooler is shutting down"
    busy.run("COMMIT")
    assert client.read_until("Z")[-2].tag == "SHUTDOWN"
    assert idle.expect("E").text == "pooler is shutting down"
    daemon.wait_exit()


def error_of_socket(daemon, sql):
    """The error of a command given over the Unix socket."""
    with pytest.raises(ServerError) as caught:
        daemon.admin(sql, host=daemon.socket_dir)
    return caught.value.text


# --- SET, RELOAD ---

@pytest.mark.parametrize("sql", ["SET query_wait_timeout = 33", "set query_wait_timeout='33'",
                                 "SET query_wait_timeout TO 33;", "SET query_wait_timeout=33"])
def test_set_changes_an_option(daemon, console, sql):
    client = console(daemon)
    assert client.query(sql).tags == ["SET query_wait_timeout=33"]
    rows = dict(row[:2] for row in client.run("SHOW CONFIG"))
    assert rows["query_wait_timeout"] == "33"


def test_what_drivers_set_for_their_session_is_ignored_with_a_notice(daemon, console):
    result = console(daemon, user="stats").query("SET extra_float_digits = 3")
    assert result.tags == ["SET"] and [n.text for n in result.notices] == ["SET ignored"]


def test_a_value_too_long_for_the_tag_is_left_out_of_it(daemon, console):
    client = console(daemon)
    assert client.query(f"SET server_reset_query = '{'x' * 2000}'").tags == ["SET"]
    assert dict(row[:2] for row in client.run("SHOW CONFIG"))["server_reset_query"] == "x" * 2000


def test_set_reaches_the_running_pools(daemon, wire, console):
    wire(daemon).run("SELECT 1")
    console(daemon).run("SET default_pool_size = 1")
    begin(wire(daemon))
    waiter = wire(daemon)
    waiter.send(query("SELECT 1"))
    waiter.expect_silence(0.2)
    assert daemon.show("databases", name="test")[0]["pool_size"] == 1


def test_set_of_a_text_with_blanks_and_of_nothing(daemon, console):
    client = console(daemon)
    client.run("SET server_check_query = 'select ''a b'''")
    assert dict(row[:2] for row in client.run("SHOW CONFIG"))["server_check_query"] == "select 'a b'"
    client.run("SET server_check_query = ''")
    assert dict(row[:2] for row in client.run("SHOW CONFIG"))["server_check_query"] == ""


@pytest.mark.parametrize("sql", ["SET listen_port = 1", "SET nonsense = 1", "SET default_pool_size = many",
                                 "SET pool_mode = sometimes"])
def test_a_wrong_set_changes_nothing(daemon, console, sql):
    client = console(daemon)
    before = client.run("SHOW CONFIG")
    assert error_of(client, sql).code == "22023"
    assert client.run("SHOW CONFIG") == before


def test_reload_takes_the_new_file(daemon):
    daemon.reload(options={"query_wait_timeout": 44})
    assert daemon.show("config", key="query_wait_timeout")[0]["value"] == "44"


def test_a_bad_reload_changes_nothing_and_names_the_place(daemon, console):
    daemon.change(options={"query_wait_timeout": 44, "pool_mode": "sometimes"})
    error = error_of(console(daemon), "RELOAD")
    assert error.text == "RELOAD failed, see logs for additional details"
    assert error.code == "F0000" and error.severity == "ERROR"
    assert "pgpoold.ini:" in error.detail and "pool_mode" in error.detail
    assert daemon.show("config", key="query_wait_timeout")[0]["value"] == "120"
