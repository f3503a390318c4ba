# SPDX-License-Identifier: ISC
"""Each command of the console meets a client in each state, given by one console, by two at once, or by one that leaves
while it waits. A scene brings a client into a state; it knows how the server connection gets free again, and what the
client must find when all is over."""

import contextlib
import os
import signal
import subprocess

import pytest

from cluster import find_bindir
from waiting import eventually as wait_until
from wire import (Client, ServerError, WireError, bind, cancel_request, copy_data, copy_done, execute, flush, parse, query,
                  sync)


class Scene:
    """A client in some state; everything here happens in the database test, whose pool has one server connection."""

    options = {}
    suspend_waits = False  # does SUSPEND have to wait for this client?

    def __init__(self, daemon, pg, stack):
        self.daemon, self.pg, self.stack = daemon, pg, stack
        self.others = []  # further clients that are needed for the state
        self.client = self.begin()

    def connect(self, **how):
        client = Client.connect(self.daemon.host, self.daemon.port)
        self.stack.callback(client.close)
        return client.login(**how) if how.pop("login", True) else client

    def pool(self, **where):
        return self.daemon.show("pools", database="test", user="app", **where)

    def wait_for(self, **where):
        wait_until(lambda: self.pool(**where))

    def hold(self):
        """A client that has the only server connection."""
        holder = self.connect()
        holder.run("BEGIN")
        self.others.append(holder)

    def release(self):
        """What occupies the server connection comes to its natural end."""
        raise NotImplementedError

    def goes_on(self):
        """The client is where it would have been without the command."""
        assert self.client.run("SELECT 7") == [("7",)]

    def told(self, code):
        """Everybody is told why and is disconnected."""
        for one in [*self.others, self.client]:
            errors = [m for m in one.expect_closed() if m.kind == "E"]
            assert errors and errors[-1].code == code and errors[-1].severity == "FATAL", errors

    def leave(self):
        for one in [*self.others, self.client]:
            one.close()


class Queued(Scene):
    def begin(self):
        self.hold()
        client = self.connect()
        client.send(query("SELECT 5"))
        self.wait_for(cl_waiting=1)
        return client

    def release(self):
        self.others[0].run("COMMIT")

    def goes_on(self):
        assert self.client.result().rows == [("5",)]
        super().goes_on()


class LoggingIn(Scene):
    """Its parameters have to be asked of a server, and there is none to spare."""

    def begin(self):
        self.hold()
        client = self.connect(login=False)
        client.send_startup("app", "test", DateStyle="German")
        self.wait_for(cl_waiting=1)
        return client

    def release(self):
        self.others[0].run("COMMIT")

    def goes_on(self):
        self.client.authenticate("app", None)
        super().goes_on()


class InTransaction(Scene):
    def begin(self):
        client = self.connect()
        client.run("BEGIN")
        client.run("SELECT 1")
        return client

    def release(self):
        self.client.run("COMMIT")


class Tls(InTransaction):
    def connect(self, **how):
        client = Client.connect(self.daemon.host, self.daemon.port)
        self.stack.callback(client.close)
        assert client.ask_tls() == "S"
        client.start_tls()
        return client.login(**how) if how.pop("login", True) else client


class InCopy(Scene):
    suspend_waits = True

    def begin(self):
        client = self.connect()
        client.send(query("CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1 AS a WHERE false; COPY t FROM STDIN"))
        client.read_until("G")
        client.send(copy_data("1\n"))
        return client

    def release(self):
        self.client.send(copy_data("2\n"), copy_done())
        assert self.client.result().tags[-1] == "COPY 2"


class Cancelling(Scene):
    """The postmaster takes no connection, so the cancel request that was sent for the running query stays on its way."""

    suspend_waits = True

    def begin(self):
        client = self.connect()
        client.send(query("SELECT pg_sleep(60)"))
        self.wait_for(sv_active=1)
        os.kill(self.pg.process.pid, signal.SIGSTOP)
        self.stack.callback(os.kill, self.pg.process.pid, signal.SIGCONT)
        canceller = self.connect(login=False)
        canceller.send(cancel_request(client.pid, client.secret))
        self.wait_for(sv_active_cancel=1, cl_active_cancel_req=1)
        return client

    def release(self):
        os.kill(self.pg.process.pid, signal.SIGCONT)
        assert self.client.result().errors[0].code == "57014"


class Pipeline(Scene):
    """A prepared statement was bound and executed, the Sync is missing."""

    def begin(self):
        client = self.connect()
        client.send(parse("s", "SELECT $1::int"), sync())
        client.result()
        client.send(bind("", "s", ["3"]), execute(), flush())
        client.expect("2", "D", "C")
        return client

    def release(self):
        self.client.send(bind("", "s", ["4"]), execute(), sync())
        assert self.client.result().rows == [("4",)]


SCENES = {"queued": Queued, "logging_in": LoggingIn, "in_transaction": InTransaction, "in_copy": InCopy, "cancelling": Cancelling,
          "tls": Tls, "prepared_pipeline": Pipeline}
CONSOLES = ["one", "two", "leaver"]
# A command for one database is tried by all of them, that for all databases by one.
WHICH = [("one", False), ("one", True), ("two", True), ("leaver", True)]


@pytest.fixture(params=SCENES)
def scene(request, pgpoold, pg, certs):
    daemon = pgpoold(pool_mode="transaction", default_pool_size=1, suspend_timeout=60, client_tls_sslmode="allow",
                     client_tls_key_file=certs.server_key, client_tls_cert_file=certs.server)
    with contextlib.ExitStack() as stack:
        yield SCENES[request.param](daemon, pg, stack)


class Waiting:
    """A command that has to wait, given by @how many consoles; the one that leaves has left when this is made."""

    def __init__(self, scene, how, command, is_in_force=None):
        self.scene, self.command, self.tag = scene, command, command.split()[0]
        self.consoles = [self.console(command)]
        if is_in_force is not None:
            wait_until(is_in_force)
        self.consoles[0].expect_silence(0.05)
        if how == "leaver":
            number = self.waiting_consoles()
            self.consoles.pop().close()
            wait_until(lambda: self.waiting_consoles() < number)
        elif how == "two":
            self.consoles.append(self.console(command))
            self.consoles[1].expect_silence(0.05)

    def console(self, command):
        client = self.scene.daemon.console(host=self.scene.daemon.socket_dir)
        self.scene.stack.callback(client.close)
        client.send(query(command))
        return client

    def waiting_consoles(self):
        return len(self.show("clients", database="pgbouncer"))

    def show(self, what, **where):
        return [row for row in self.scene.daemon.admin(f"SHOW {what}", host=self.scene.daemon.socket_dir)
                if all(row.get(k) == v for k, v in where.items())]

    def answered(self):
        for console in self.consoles:
            result = [m for m in console.read_until("C") if m.kind != "N"]
            assert [m.tag for m in result] == [self.tag]


# --- commands that wait for a server connection ---

@pytest.mark.parametrize("how, one_database", WHICH)
def test_pause_waits_for_the_server_connection_and_keeps_the_clients(scene, how, one_database, eventually):
    daemon, command = scene.daemon, "PAUSE test" if one_database else "PAUSE"
    waiting = Waiting(scene, how, command,
                      lambda: daemon.show("databases", name="test", paused=1))
    scene.release()
    waiting.answered()
    eventually(lambda: daemon.show("servers") == [])
    daemon.admin("RESUME" if command == "PAUSE" else "RESUME test")
    scene.goes_on()


@pytest.mark.parametrize("how, one_database", WHICH)
def test_wait_close_waits_for_the_server_connection_to_be_replaced(scene, how, one_database):
    daemon, command = scene.daemon, "WAIT_CLOSE test" if one_database else "WAIT_CLOSE"
    before = daemon.show("servers")[0]["ptr"], daemon.show("servers")[0]["remote_pid"]
    daemon.admin("RECONNECT")
    assert daemon.show("servers", close_needed=1)
    waiting = Waiting(scene, how, command)
    scene.release()
    waiting.answered()
    scene.goes_on()
    assert before[1] not in [row["remote_pid"] for row in daemon.show("servers")]


@pytest.mark.parametrize("how", CONSOLES)
def test_shutdown_wait_for_servers_ends_when_the_server_connection_is_free(scene, how):
    waiting = Waiting(scene, how, "SHUTDOWN WAIT_FOR_SERVERS")
    if isinstance(scene, (Queued, LoggingIn)):  # what they wait for does not come any more
        assert [m for m in scene.client.expect_closed() if m.kind == "E"][-1].text == "pooler is shutting down"
    scene.release()
    waiting.answered()
    for one in [*scene.others, scene.client]:
        one.expect_closed()
    scene.daemon.wait_exit()


@pytest.mark.parametrize("how", CONSOLES)
def test_shutdown_wait_for_clients_serves_everybody_until_they_leave(scene, how):
    waiting = Waiting(scene, how, "SHUTDOWN WAIT_FOR_CLIENTS")
    scene.release()
    scene.goes_on()
    for console in waiting.consoles:
        console.expect_silence(0.05)
    scene.leave()
    waiting.answered()
    scene.daemon.wait_exit()


@pytest.mark.parametrize("how", CONSOLES)
def test_suspend_waits_for_what_is_on_its_way_only(scene, how, eventually):
    daemon = scene.daemon
    bystanders = [] if isinstance(scene, Cancelling) else [scene.connect(database="test2")]
    servers = [row["remote_pid"] for row in daemon.show("servers", database="test")]
    if scene.suspend_waits:
        waiting = Waiting(scene, "leaver" if how == "leaver" else "one", "SUSPEND", lambda: is_suspended(daemon))
        scene.release()
        waiting.answered()
    else:
        assert daemon.admin("SUSPEND", host=daemon.socket_dir) == []
    if how == "two":
        with pytest.raises(ServerError, match="already suspended/paused"):
            daemon.admin("SUSPEND", host=daemon.socket_dir)
    # Whoever gave the command and is gone: what it asked for is done all the same.
    idlers = [c for c in [*scene.others, scene.client, *bystanders]
              if scene.client is not c or isinstance(scene, (InTransaction, InCopy, Cancelling))]
    eventually(lambda: all(goes_unheard(c) for c in idlers), every=0)
    assert is_suspended(daemon)
    daemon.admin("RESUME", host=daemon.socket_dir)
    for one in idlers:
        while one.unanswered:
            assert one.result().rows == [("6",)]
            one.unanswered -= 1
    if not scene.suspend_waits:
        scene.release()
    scene.goes_on()
    assert servers == [row["remote_pid"] for row in daemon.show("servers", database="test")]


def test_a_suspend_is_completed_without_the_console_that_asked_for_it(pgpoold, wire, eventually):
    daemon = pgpoold(pool_mode="transaction", suspend_timeout=60)
    one, two = wire(daemon), wire(daemon)
    one.run("BEGIN")
    one.send(query("CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1 AS a WHERE false; COPY t FROM STDIN"))
    one.read_until("G")
    console = daemon.console()
    console.send(query("SUSPEND"))
    eventually(lambda: is_suspended(daemon))
    console.close()
    eventually(lambda: len(daemon.admin("SHOW CLIENTS", host=daemon.socket_dir)) == 3)
    one.send(copy_done())
    assert one.result().tags[-1] == "COPY 0"
    eventually(lambda: goes_unheard(one), every=0)  # in its transaction, with its server connection
    two.send(query("SELECT 5"))
    daemon.admin("RESUME", host=daemon.socket_dir)
    assert one.result().rows == [("6",)] and two.result().rows == [("5",)]
    daemon.admin("SET suspend_timeout = 1")
    two.send(query("SELECT pg_sleep(60)"))
    console = daemon.console()
    console.send(query("SUSPEND"))
    eventually(lambda: is_suspended(daemon))
    console.close()
    assert two.expect("E").text == "suspend_timeout"
    daemon.admin("RESUME", host=daemon.socket_dir)
    assert one.run("SELECT 8") == [("8",)]


def is_suspended(daemon):
    return {"key": "suspended", "value": "yes"} in daemon.admin("SHOW STATE", host=daemon.socket_dir)


def goes_unheard(client):
    """A query stays unanswered."""
    client.unanswered = getattr(client, "unanswered", 0)
    if not client.unanswered:
        client.send(query("SELECT 6"))
        client.unanswered = 1
    try:
        client.expect_silence(0.05)
        return True
    except WireError:
        client.result()
        client.unanswered = 0
        return False


# --- commands that are done at once ---

def run_at_once(scene, how, command):
    """Given by one console, or by two in the same moment. Returns what the last one was told."""
    consoles = [scene.stack.enter_context(scene.daemon.console()) for _ in range(2 if how == "two" else 1)]
    for console in consoles:
        console.send(query(command))
    told = [console.read() for console in consoles]
    assert told[0].kind == "C" and told[0].tag == command.split()[0]
    return told[-1]


@pytest.mark.parametrize("how, one_database", [("one", False), ("one", True), ("two", True)])
def test_kill_tells_everybody_and_leaves_the_database_paused(scene, how, one_database, eventually):
    daemon = scene.daemon
    assert run_at_once(scene, how, "KILL test" if one_database else "KILL").kind == "C"
    scene.told("57P01")
    row = eventually(lambda: scene.pool(sv_active=0, sv_active_cancel=0 if not isinstance(scene, Cancelling) else 1))[0]
    assert (row["cl_active"], row["cl_waiting"], row["size"]) == (0, 0, 0)
    assert daemon.show("databases", name="test")[0]["paused"] == 1
    with contextlib.suppress(ProcessLookupError):
        os.kill(scene.pg.process.pid, signal.SIGCONT)
    newcomer = scene.connect(login=False)
    newcomer.send_startup("app", "test", DateStyle="German")
    newcomer.expect_silence(0.05)
    daemon.admin("RESUME test" if one_database else "RESUME")
    newcomer.authenticate("app", None)
    assert newcomer.run("SELECT 1") == [("1",)]


@pytest.mark.parametrize("how", ["one", "two"])
def test_kill_client_hits_that_client_and_its_server_only(scene, how, eventually):
    daemon = scene.daemon
    states = {"waiting"} if isinstance(scene, Queued) else {"login"} if isinstance(scene, LoggingIn) else {"active"}
    victims = [row for row in daemon.show("clients", database="test") if row["state"] in states]
    if isinstance(scene, LoggingIn):
        victims = [row for row in daemon.show("clients", user="app") if row["id"] == max(
            r["id"] for r in daemon.show("clients", user="app"))]
    assert len(victims) == 1
    consoles = [scene.stack.enter_context(daemon.console()) for _ in range(2 if how == "two" else 1)]
    for console in consoles:
        console.send(query(f"KILL_CLIENT {victims[0]['id']}"))
    if how == "two":  # one of them finds it gone
        results = [console.result() for console in consoles]
        assert sorted(len(r.errors) for r in results) == [0, 1]
        assert [e.text for r in results for e in r.errors] == ["client not found"]
    else:
        assert consoles[0].result().tags == ["KILL_CLIENT"]
    errors = [m for m in scene.client.expect_closed() if m.kind == "E"]
    assert errors[-1].code == "57P01"
    for one in scene.others:
        assert one.run("SELECT 1") == [("1",)]
        one.run("COMMIT")
    os.kill(scene.pg.process.pid, signal.SIGCONT)
    eventually(lambda: scene.pool(cl_waiting=0, sv_active=0))
    scene.others.clear()
    assert scene.connect().run("SELECT 2") == [("2",)]


@pytest.mark.parametrize("how", ["one", "two"])
def test_disable_leaves_who_is_there_and_refuses_who_comes(scene, how):
    daemon = scene.daemon
    assert run_at_once(scene, how, "DISABLE test").kind == "C"
    assert daemon.show("databases", name="test", disabled=1)
    with pytest.raises(ServerError, match='database "test" is disabled'):
        scene.connect()
    scene.release()
    scene.goes_on()
    assert run_at_once(scene, how, "ENABLE test").kind == "C"
    assert scene.connect().run("SELECT 1") == [("1",)]


@pytest.mark.parametrize("how", ["one", "two"])
def test_shutdown_tells_everybody_at_once(scene, how):
    last = run_at_once(scene, how, "SHUTDOWN")
    assert last.kind == "C" or last.text == "pooler is shutting down"  # its own command may never have been read
    scene.told("57P01")
    scene.daemon.wait_exit()


@pytest.mark.parametrize("how", ["one", "two"])
def test_resume_ends_a_pause_that_waits_and_everybody_goes_on(scene, how):
    daemon = scene.daemon
    waiting = Waiting(scene, how, "PAUSE test", lambda: daemon.show("databases", name="test", paused=1))
    daemon.admin("RESUME test")
    for console in waiting.consoles:
        assert console.result().errors[0].text == "PAUSE ended by RESUME"
    scene.release()
    scene.goes_on()


def test_a_kill_ends_the_wait_of_a_pause(scene):
    daemon = scene.daemon
    waiting = Waiting(scene, "one", "PAUSE test", lambda: daemon.show("databases", name="test", paused=1))
    daemon.admin("KILL")
    waiting.answered()
    scene.told("57P01")


# --- progress ---

def progress(console, tag):
    """The numbers of connections left that were told, up to the end."""
    messages = console.read_until("C")
    assert messages[-1].tag == tag
    texts = [m.text for m in messages if m.kind == "N"]
    assert all(text.startswith(f"{tag} waits for ") for text in texts)
    return [int(text.split()[3]) for text in texts]


@pytest.mark.parametrize("command, ends", [("PAUSE", False), ("WAIT_CLOSE", False), ("SHUTDOWN WAIT_FOR_SERVERS", True),
                                           ("SHUTDOWN WAIT_FOR_CLIENTS", True)])
def test_a_command_that_waits_tells_how_many_are_left(pgpoold, wire, command, ends):
    daemon = pgpoold(pool_mode="transaction")
    clients = [wire(daemon) for _ in range(5)]
    for client in clients:
        client.run("BEGIN")
    daemon.admin("RECONNECT")
    with daemon.console() as first, daemon.console() as second:
        first.send(query(command))
        assert first.expect("N").text == f"{command.split()[0]} waits for 5 connections"
        if command == "PAUSE":
            second.send(query("PAUSE test"))
        else:
            second.send(query(command))
        for client in clients[:3]:
            client.goodbye()
        assert first.expect("N").text == f"{command.split()[0]} waits for 2 connections"  # not one for each
        for client in clients[3:]:
            client.goodbye()
        for console in (first, second):
            numbers = progress(console, command.split()[0])
            assert numbers == sorted(set(numbers), reverse=True) and len(numbers) <= 3
    if ends:
        daemon.wait_exit()


def test_suspend_tells_how_many_are_left(pgpoold, wire):
    daemon = pgpoold(pool_mode="transaction", suspend_timeout=0)
    clients = [wire(daemon) for _ in range(2)]
    for client in clients:
        client.send(query("SELECT pg_sleep(60)"))
    wait_until(lambda: daemon.show("pools", database="test", sv_active=2))
    with daemon.console() as console:
        console.send(query("SUSPEND"))
        assert console.expect("N").text == "SUSPEND waits for 2 connections"
        for client in clients:
            wire(daemon, login=False).send(cancel_request(client.pid, client.secret))
            assert client.result().errors[0].code == "57014"
        assert progress(console, "SUSPEND") in ([], [1])


def test_show_pools_reads_well_under_watch(pgpoold, wire):
    """psql's \\watch: each round a table of its own, one line for each pool."""
    daemon = pgpoold(pool_mode="transaction")
    wire(daemon).run("SELECT 1")
    psql = subprocess.Popen([find_bindir() / "psql", "-X", "-d", daemon.dsn("pgbouncer", "admin")], text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        psql.stdin.write("SHOW POOLS \\watch 0.1\n")
        psql.stdin.flush()
        lines = []
        while sum(line.startswith("(2 rows)") for line in lines) < 3:
            lines.append(psql.stdout.readline())
            assert lines[-1] != ""
    finally:
        psql.kill()
        psql.communicate()
    tables = [line for line in lines if line.startswith(" database")]
    assert len(tables) >= 3 and len(set(tables)) == 1  # the same columns, in the same width
    assert len([line for line in lines if line.startswith(" test ")]) >= 3
    assert max(map(len, lines)) < 300 and not [line for line in lines if "ERROR" in line or "WARNING" in line]
