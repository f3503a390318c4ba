# SPDX-License-Identifier: ISC
"""LISTEN and NOTIFY through a transaction pool, when something happens. What PostgreSQL itself does in the same place is
test_notify_differential.py's; drivers are test_notify_drivers.py's; what seldom happens is test_notify_outcomes.py's. "The hub" is the one server connection that listens for
all clients of a pool.

| What happens | What a listening client sees |
|---|---|
| PAUSE | nothing: the hub stays open and what others send on the server arrives; a new LISTEN waits for RESUME |
| RECONNECT, or a RELOAD that changes where the database is | the hub is closed: see "hub lost" |
| the server's name has other addresses (test_dns_server.py) | the same |
| RELOAD without such a change | nothing; new values of notify_* count from then on |
| RELOAD of notify_mode | who listens already is relayed until it has left its last channel |
| RELOAD that makes the pool one for sessions | it goes on hearing; its next query ends it: FATAL 57P01 |
| SHUTDOWN | FATAL 57P01; WAIT_FOR_CLIENTS waits for listeners as for all clients; none waits for the hub |
| pool eviction (max_db_connections, max_user_connections) | the hub counts, takes the place of an idle connection and is never \
evicted; with room for one only LISTEN waits until query_wait_timeout |
| KILL | FATAL, as every client of the database; the hub is closed and comes back only with a LISTEN after RESUME |
| hub lost: server restart, failover, pg_terminate_backend | notify_gap = disconnect: FATAL 57P01; notice: WARNING 01000 at once, or at \
the end of its transaction, and another one when the hub listens again; subscriptions stay |
| LISTEN while the hub is lost | waits for it; who begins to listen after the loss and in time is told of no gap |
| hub does not answer for server_connect_timeout | it is lost |
| hub cannot be opened | after three attempts (0.7 s) LISTEN ends like that: FATAL 57P01; notice: LISTEN succeeds, the WARNING tells |
| password changed on the server | nothing: the hub stays; the next one logs in with what is configured then |
| client disconnects | its subscriptions end; the hub forgets channels that nobody listens to |
| DISCARD ALL, UNLISTEN * | the same, the client stays |
| cancel during a query with a LISTEN in it | the query fails, no subscription |
| cancel while a LISTEN waits for the hub | no effect: nothing runs yet |
| a long transaction | notifications wait for its end, up to notify_queue_size |
| more than notify_queue_size wait, or the client does not read | FATAL 53400 for this client; counted as dropped |
| pool_size = 1, statement mode | no difference |
| session mode | PostgreSQL's own LISTEN, with its own process ids |
| notify_mode = refuse | LISTEN fails with ERROR 0A000; NOTIFY works |
| notify_mode = off | LISTEN succeeds and nothing is ever delivered, to nobody |
| more than max_listen_channels | LISTEN fails with ERROR 53400 |
| nobody listens any more | the hub is closed after notify_hub_idle |
| pg_listening_channels() | what the server connection of this transaction listens to: mostly nothing |
| LISTEN inside a function or DO | is not seen and not relayed |
| LISTEN or UNLISTEN in a query of more than 1 MiB | FATAL 0A000 |
| on a standby | PostgreSQL's own ERROR 25006 |
| SET client_encoding | notifications come in the new one, what is sent just then may be missed or come twice; with a channel whose name is not \
ASCII: FATAL 0A000 |
| NOTIFY in a trigger of a client that does not listen itself | arrives; a moment later than the client's ReadyForQuery, perhaps |
"""

import signal
import time

import pytest

from sessions import one_database, servers, wait_running
from wire import bind, cancel_request, execute, parse, query, sync


@pytest.fixture
def pool(pgpoold, pg):
    def make(**more):
        options = {"pool_mode": "transaction", "default_pool_size": 2, **more}
        return pgpoold(databases=one_database(pg), **options)
    return make


@pytest.fixture
def notify(pg):
    """Sends from a connection of its own, past the pool."""
    with pg.connect("test", "app") as conn:
        yield lambda channel, payload="x": conn.execute("SELECT pg_notify(%s, %s)", (channel, str(payload)))


def listen(client, *channels):
    for channel in channels:
        client.run(f"LISTEN {channel}")
    return client


def hears(client, payload):
    return client.expect("A").payload == payload


def hub_pid(daemon):
    return daemon.show("servers", state="hub")[0]["remote_pid"]


def fatal(client):
    """The error that ends the connection."""
    return [m for m in client.expect_closed() if m.kind == "E"][-1]


# --- the console's commands ---

def test_pause_leaves_the_hub_open(pool, wire, notify, eventually):
    daemon = pool()
    client = listen(wire(daemon), "a")
    pid = hub_pid(daemon)
    daemon.admin("PAUSE")
    notify("a", "during the pause")
    assert hears(client, "during the pause")
    client.send(query("LISTEN b"))
    client.expect_silence(0.2)
    daemon.admin("RESUME")
    assert client.result().tags == ["LISTEN"]
    notify("b", "after it")
    assert hears(client, "after it")
    assert hub_pid(daemon) == pid


def test_the_first_listen_during_a_pause_waits_for_its_end(pool, wire, notify):
    daemon = pool()
    client = wire(daemon)
    daemon.admin("PAUSE")
    client.send(query("LISTEN a"))
    client.expect_silence(0.3)
    assert servers(daemon) == 0
    daemon.admin("RESUME")
    client.result()
    notify("a", "x")
    assert hears(client, "x")


def test_reconnect_ends_listeners(pool, wire):
    daemon = pool()
    client = listen(wire(daemon), "a")
    other = wire(daemon)
    daemon.admin("RECONNECT")
    assert fatal(client).code == "57P01"
    assert other.run("SELECT 1") == [("1",)]


def test_reconnect_with_notice_opens_another_hub(pool, wire, notify):
    daemon = pool(notify_gap="notice")
    client = listen(wire(daemon), "a", "b")
    pid = hub_pid(daemon)
    daemon.admin("RECONNECT")
    assert [m.code for m in client.expect("N", "N")] == ["01000", "01000"]
    assert hub_pid(daemon) != pid
    notify("a", "x")
    assert hears(client, "x")


def test_reload_changes_nothing_for_listeners(pool, wire, notify):
    daemon = pool()
    client = listen(wire(daemon), "a")
    pid = hub_pid(daemon)
    daemon.reload(options={"notify_queue_size": 5, "query_timeout": 30})
    notify("a", "x")
    assert hears(client, "x") and hub_pid(daemon) == pid


def test_a_database_that_moves_ends_listeners(pool, wire, other_pg):
    daemon = pool()
    client = listen(wire(daemon), "a")
    daemon.reload(databases=one_database(other_pg))
    assert fatal(client).code == "57P01"
    client = listen(wire(daemon), "a")
    with other_pg.connect("test", "app") as conn:
        conn.execute("NOTIFY a, 'moved'")
    assert hears(client, "moved")


def test_kill_ends_listeners_and_the_hub(pool, wire, notify, eventually):
    daemon = pool()
    client = listen(wire(daemon), "a")
    daemon.admin("KILL test")
    assert fatal(client).severity == "FATAL"
    time.sleep(0.4)  # longer than the hub's first pause
    assert servers(daemon) == 0
    daemon.admin("RESUME test")
    client = listen(wire(daemon), "a")
    notify("a", "again")
    assert hears(client, "again")


# --- the hub is lost ---

def lose_by_restart(pg, daemon):
    del daemon
    pg.restart("immediate")


def lose_by_terminate(pg, daemon):
    pg.psql(f"SELECT pg_terminate_backend({hub_pid(daemon)})")


@pytest.mark.parametrize("lose", [lose_by_restart, lose_by_terminate])
def test_a_lost_hub_ends_its_listeners(pool, wire, pg, lose):
    daemon = pool()
    client = listen(wire(daemon), "a", "b")
    other = wire(daemon)
    lose(pg, daemon)
    error = fatal(client)
    assert (error.severity, error.code) == ("FATAL", "57P01") and "notifications may be missing" in error.text
    assert other.query("SELECT 1").rows in ([("1",)], [])
    daemon.wait_log("was lost")


@pytest.mark.parametrize("lose", [lose_by_restart, lose_by_terminate])
def test_a_lost_hub_with_notice_listens_again(pool, wire, pg, lose):
    daemon = pool(notify_gap="notice")
    idle, busy = listen(wire(daemon), "a", "b"), listen(wire(daemon), "a")
    if lose is lose_by_terminate:
        busy.run("BEGIN")
    lose(pg, daemon)
    lost, again = idle.expect("N", "N")
    assert (lost.severity, lost.code) == ("WARNING", "01000") and "lost" in lost.text
    assert again.code == "01000" and "again" in again.text
    if lose is lose_by_terminate:
        assert busy.query("COMMIT").kinds == "CNNZ"
    else:
        busy.expect("N", "N")
    with pg.connect("test", "app") as conn:
        conn.execute("NOTIFY b, 'x'")
        assert hears(idle, "x")
        conn.execute("NOTIFY a, 'y'")
    assert hears(idle, "y") and hears(busy, "y")


def test_a_notify_does_not_wait_for_a_hub_that_is_lost(pool, wire, pg, eventually):
    daemon = pool(notify_gap="notice")
    listener, sender = listen(wire(daemon), "a"), wire(daemon)
    sender.run("SELECT 1")
    pg.psql("ALTER DATABASE test CONNECTION LIMIT 0")
    try:
        pg.psql("ALTER ROLE app NOLOGIN")
        lose_by_terminate(pg, daemon)
        listener.expect("N")
        assert sender.query("NOTIFY a, 'lost'").tags == ["NOTIFY"]
        assert listener.query("SELECT 1").rows == [("1",)]
    finally:
        pg.psql("ALTER DATABASE test CONNECTION LIMIT -1")
        pg.psql("ALTER ROLE app LOGIN")
    assert "again" in listener.expect("N").text


@pytest.mark.parametrize("gap", ["disconnect", "notice"])
def test_a_hub_that_cannot_be_opened_is_said(pool, wire, pg, gap):
    daemon = pool(notify_gap=gap)
    client = wire(daemon)
    client.run("SELECT 1")
    pg.psql("ALTER ROLE app NOLOGIN")
    try:
        client.send(query("LISTEN a"))
        if gap == "disconnect":
            assert fatal(client).code == "57P01"
        else:
            result = client.result()
            assert result.tags == ["LISTEN"] and [n.code for n in result.notices] == ["01000"]
    finally:
        pg.psql("ALTER ROLE app LOGIN")
    if gap == "notice":
        assert "again" in client.expect("N").text


def test_a_new_password_does_not_touch_the_hub(pool, wire, pg, notify):
    pg.create_user("listener", "old", "scram")
    daemon = pool(auth_type="scram-sha-256", userlist={"listener": "old", "admin": "admin-secret", "new": "x"})
    client = listen(wire(daemon, user="listener", password="old"), "a")
    pid = hub_pid(daemon)
    pg.psql("ALTER ROLE listener PASSWORD 'new'")
    daemon.write_userlist({"listener": "new", "admin": "admin-secret"})
    daemon.reload()
    notify("a", "x")
    assert hears(client, "x") and hub_pid(daemon) == pid
    lose_by_terminate(pg, daemon)
    fatal(client)
    client = listen(wire(daemon, user="listener", password="new"), "a")
    notify("a", "y")
    assert hears(client, "y")
    client.close()
    daemon.admin("KILL test")
    pg.drop_user("listener")


# --- clients ---

def channels(daemon):
    return {row["channel"]: row["subscribers"] for row in daemon.show("listeners")}


@pytest.mark.parametrize("how", ["goodbye", "close"])
def test_a_client_that_leaves_listens_no_more(pool, wire, eventually, how):
    daemon = pool()
    first, second = listen(wire(daemon), "a", "b"), listen(wire(daemon), "a")
    assert channels(daemon) == {"a": 2, "b": 1}
    getattr(first, how)()
    eventually(lambda: channels(daemon) == {"a": 1})
    second.run("DISCARD ALL")
    assert channels(daemon) == {}


def test_a_canceled_query_does_not_listen(pool, wire, pg, notify):
    daemon = pool()
    client = wire(daemon)
    client.send(query("LISTEN a; SELECT pg_sleep(1000)"))
    wait_running(pg, "LISTEN a; SELECT pg_sleep(1000)")
    other = wire(daemon, login=False)
    other.send(cancel_request(client.pid, client.secret))
    assert client.result().errors[0].code == "57014"
    notify("a")
    client.expect_silence()
    assert channels(daemon) == {}


def test_what_waits_for_a_transaction_has_a_limit(pool, wire, notify):
    daemon = pool(notify_queue_size=10)
    patient, idle = listen(wire(daemon), "a"), listen(wire(daemon), "a")
    patient.run("BEGIN")
    for i in range(10):
        notify("a", i)
    assert [idle.expect("A").payload for _ in range(10)] == [str(i) for i in range(10)]
    assert [n.payload for n in patient.query("COMMIT").notifications] == [str(i) for i in range(10)]
    patient.run("BEGIN")
    for i in range(11):
        notify("a", i)
    error = fatal(patient)
    assert (error.severity, error.code) == ("FATAL", "53400") and "notify_queue_size" in error.text
    assert [idle.expect("A").payload for _ in range(11)] == [str(i) for i in range(11)]
    row = daemon.show("listeners")[0]
    assert (row["received"], row["queued"], row["dropped"], row["subscribers"]) == (21, 20, 1, 1)


def test_a_client_that_does_not_read_is_closed_and_others_are_not(pool, wire, pg):
    daemon = pool(notify_queue_size=50)
    deaf, idle = listen(wire(daemon), "a"), listen(wire(daemon), "a")
    with pg.connect("test", "app") as conn:
        for i in range(4000):  # 28 MB: more than sockets hold
            conn.execute(f"SELECT pg_notify('a', repeat('x', 7000) || '{i}')")
            assert idle.expect("A").payload.endswith(f"x{i}")
            if i % 50 == 49 and daemon.log.count("notification queue is full"):
                break
    daemon.wait_log("notification queue is full")
    deaf.expect_closed()
    assert channels(daemon) == {"a": 1}


def test_a_query_of_a_megabyte_does_not_hinder_a_listener(pool, wire, notify):
    daemon = pool()
    client = listen(wire(daemon), "a")
    assert client.query(f"SELECT length('{'x' * 3_000_000}')").rows == [("3000000",)]
    notify("a", "x")
    assert hears(client, "x")


# --- modes and limits ---

def test_in_session_mode_the_server_itself_notifies(pool, wire):
    daemon = pool(pool_mode="session")
    client = listen(wire(daemon), "a")
    pid = int(client.run("SELECT pg_backend_pid()")[0][0])
    notification = client.query("NOTIFY a, 'mine'").notifications[0]
    assert notification.pid == pid
    assert servers(daemon, "hub") == 0


def test_listen_can_be_refused(pool, wire, notify):
    daemon = pool(notify_mode="refuse")
    client = wire(daemon)
    error = client.query("LISTEN a").errors[0]
    assert error.code == "0A000" and "notify_mode" in error.text
    client.run("BEGIN")
    assert client.query("SELECT 1; LISTEN a").errors[0].code == "0A000"
    assert client.query("ROLLBACK").tags == ["ROLLBACK"]
    client.send(parse("", "LISTEN a"), bind(), execute(), sync())
    assert client.result().errors[0].code == "0A000"
    client.send(parse("s", "LISTEN a"), sync())
    assert client.result().errors[0].code == "0A000"
    assert client.run("SELECT 'listen', pg_notify('a', '')") == [("listen", "")]
    assert client.query("NOTIFY a").tags == ["NOTIFY"] and client.query("UNLISTEN *").tags == ["UNLISTEN"]
    notify("a")
    client.expect_silence()


def test_with_notify_mode_off_nobody_is_notified(pool, wire, notify):
    daemon = pool(notify_mode="off", default_pool_size=1)
    client, stranger = listen(wire(daemon), "a"), wire(daemon)
    for who in (stranger, client):
        notify("a")
        assert who.query("SELECT 1").kinds == "TDCZ"
        assert who.query("NOTIFY a").kinds == "CZ"
    stranger.expect_silence()
    assert servers(daemon, "hub") == 0


def test_channels_of_a_client_are_limited(pool, wire, notify):
    daemon = pool(max_listen_channels=3)
    client = listen(wire(daemon), "a", "b", "c")
    error = client.query("LISTEN d").errors[0]
    assert (error.severity, error.code) == ("ERROR", "53400")
    client.run("LISTEN a")
    client.send(parse("", "LISTEN d"), bind(), execute(), sync())
    assert client.result().errors[0].code == "53400"
    client.run("BEGIN")
    assert client.query("LISTEN e").status == "E"
    client.run("ROLLBACK")
    client.run("UNLISTEN b; LISTEN d")
    assert channels(daemon) == {"a": 1, "c": 1, "d": 1}
    notify("d", "x")
    assert hears(client, "x")
    assert daemon.show("clients", id=daemon.show("clients", database="test")[0]["id"])[0]["subscriptions"] == 3


def test_the_hub_is_closed_when_nobody_listens(pool, wire, eventually):
    daemon = pool(notify_hub_idle=0)
    client = listen(wire(daemon), "a")
    assert servers(daemon, "hub") == 1
    client.run("UNLISTEN a")
    eventually(lambda: servers(daemon, "hub") == 0)
    listen(client, "a")
    assert servers(daemon, "hub") == 1


def test_the_hub_stays_for_a_while(pool, wire, notify):
    daemon = pool()
    client = listen(wire(daemon), "a")
    pid = hub_pid(daemon)
    client.run("UNLISTEN a")
    listen(client, "b")
    assert hub_pid(daemon) == pid
    notify("a")
    notify("b", "x")
    assert hears(client, "x")


def test_the_hub_is_not_counted_as_one_of_the_pool(pool, wire, pg):
    daemon = pool(default_pool_size=1)
    client = listen(wire(daemon), "a")
    row = daemon.show("pools", database="test")[0]
    assert row["sv_idle"] + row["sv_active"] == 1 and row["size"] == 1
    client.run("SELECT 1")
    assert pg.n_connections("test", "app") == 2


def test_a_channel_name_is_only_a_name(pool, wire, pg):
    daemon = pool()
    client = wire(daemon)
    evil = 'a"; DROP TABLE x; --'
    quoted = '"' + evil.replace('"', '""') + '"'
    listen(client, quoted)
    with pg.connect("test", "app") as conn:
        conn.execute("SELECT pg_notify(%s, %s)", (evil, "it's $1 \\"))
    notification = client.expect("A")
    assert (notification.channel, notification.payload) == (evil, "it's $1 \\")


def test_a_name_that_is_no_text_harms_nobody(pool, wire, notify):
    daemon = pool()
    client = listen(wire(daemon), "a")
    bad = wire(daemon)
    pid = hub_pid(daemon)
    assert bad.query(b"LISTEN \"\xff\xfe\"").errors[0].code == "22021"
    bad.goodbye()
    latin = wire(daemon, client_encoding="EUC_JP")
    assert latin.query(b"LISTEN \"\xff\xfe\"").errors[0].code == "22021"
    notify("a", "x")
    assert hears(client, "x") and hub_pid(daemon) in [r["remote_pid"] for r in daemon.show("servers", state="hub")]
    assert pid in [r["remote_pid"] for r in daemon.show("servers", state="hub")]


def test_a_channel_whose_name_is_not_ascii_keeps_its_encoding(pool, wire):
    daemon = pool()
    client = listen(wire(daemon), "é")
    client.send(query("SET client_encoding = 'LATIN1'"))
    assert fatal(client).code == "0A000"


def test_show_listeners(pool, wire, notify):
    daemon = pool()
    clients = [listen(wire(daemon), "a") for _ in range(3)]
    listen(clients[0], "b")
    for i in range(4):
        notify("a", i)
    for client in clients:
        for i in range(4):
            assert hears(client, str(i))
    a, b = daemon.show("listeners")
    assert a == {"database": "test", "user": "app", "channel": "a", "subscribers": 3, "received": 4, "delivered": 12,
                 "queued": 0, "dropped": 0, "hub_pid": hub_pid(daemon), "age": a["age"], "encoding": "UTF8",
                 "round_trips": a["round_trips"]}
    assert (b["channel"], b["subscribers"], b["received"]) == ("b", 1, 0)
    assert sorted(r["subscriptions"] for r in daemon.show("clients", database="test")) == [1, 1, 2]


def test_pg_listening_channels_shows_the_server_connections(pool, wire):
    daemon = pool()
    client = listen(wire(daemon), "a")
    assert client.run("SELECT pg_listening_channels()") == []
    client.run("BEGIN")
    assert client.query("LISTEN b; SELECT 1").tags == ["LISTEN", "SELECT 1"]
    client.run("COMMIT")
    assert client.query("LISTEN c; COMMIT; SELECT pg_listening_channels()").rows == [("c",)]


# --- many at once ---

@pytest.mark.parametrize("how", ["simple", "extended"])
def test_a_storm_of_listens_takes_few_round_trips(pool, wire, how):
    daemon = pool(default_pool_size=20, max_client_conn=1100)
    clients = [wire(daemon, timeout=60) for _ in range(1000)]
    daemon.signal(signal.SIGSTOP)  # so that they come at once, however slowly this machine sends them
    for i, client in enumerate(clients):
        sql = f"LISTEN channel_{i}"
        client.send(*([query(sql)] if how == "simple" else [parse("", sql), bind(), execute(), sync()]))
    daemon.signal(signal.SIGCONT)
    for client in clients:
        assert client.result().tags == ["LISTEN"]
    rows = daemon.show("listeners")
    assert len(rows) == 1000
    assert rows[0]["round_trips"] <= 20
