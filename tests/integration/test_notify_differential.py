# SPDX-License-Identifier: ISC
"""LISTEN and NOTIFY: what clients see through a pool of two server connections is what they see on connections of
their own. NOTIFY_STEPS=100000 NOTIFY_SEED=7 in the environment make the random test longer or another one."""

import os
import random

import pytest

from notify_worlds import Worlds, extended, pipeline, simple
from sessions import one_database
from wire import bind, close, copy_data, copy_done, describe, execute, flush, parse, query, sync

STEPS = int(os.environ.get("NOTIFY_STEPS", "2500"))
SEED = int(os.environ.get("NOTIFY_SEED", "1"))
LISTENERS = [f"l{i}" for i in range(20)]
EVENTS = """
    CREATE TABLE IF NOT EXISTS events (channel text, payload text);
    CREATE OR REPLACE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN PERFORM pg_notify(NEW.channel, NEW.payload); RETURN NULL; END$$;
    DROP TRIGGER IF EXISTS told ON events;
    CREATE TRIGGER told AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION tell()
"""


@pytest.fixture
def worlds(pgpoold, pg):
    made = []

    def make(*names, mode="transaction", size=2, login=None, **more):
        for database in ("test", "test2"):
            pg.psql(EVENTS, db=database, user="app")
        daemon = pgpoold(pool_mode=mode, default_pool_size=size, databases=one_database(pg), **more)
        made.append(Worlds(pg, daemon, user="app", database="test", **(login or {})))
        made[-1].connect(*names)
        made[-1].daemon = daemon
        return made[-1]

    yield make
    for each in made:
        each.close()
    for gid, database in pg.psql("SELECT gid, database FROM pg_prepared_xacts"):
        pg.psql(f"ROLLBACK PREPARED '{gid}'", db=database)


def told(worlds, name, channel="a", sender="n", payload="p"):
    """@sender notifies @channel; does @name get it? Both worlds agree, or this fails."""
    worlds.settle()
    worlds.step(sender, simple(f"NOTIFY {channel}, '{payload}'"), settle=False)
    peer = worlds.direct.peers[name]
    peer.conn.send(query(""))
    got = [m for m in peer.answer(1) if m[0] == "A"]
    peer.unasked += got
    worlds.settle()
    return [m[3] for m in got] == [payload]


# --- scripted ---

def test_twenty_listeners_hear_one_notify(worlds):
    w = worlds("n", *LISTENERS)
    for name in LISTENERS:
        w.step(name, simple("LISTEN a"))
    for i in range(5):
        w.step("n", simple(f"NOTIFY a, 'payload {i}'"))
    w.step("n", simple("NOTIFY a"))
    w.step("n", simple("NOTIFY nobody"))
    w.finish()


# Each row: the statements of one client, one Query each.
SCRIPTS = {
    "listen": ["LISTEN a"],
    "listen twice": ["LISTEN a", "LISTEN a"],
    "unlisten": ["LISTEN a", "UNLISTEN a"],
    "unlisten all": ["LISTEN a", "LISTEN b", "UNLISTEN *"],
    "unlisten another": ["LISTEN a", "UNLISTEN b"],
    "discard all": ["LISTEN a", "DISCARD ALL"],
    "reset all keeps": ["LISTEN a", "RESET ALL"],
    "committed": ["BEGIN", "LISTEN a", "COMMIT"],
    "end": ["BEGIN", "LISTEN a", "END"],
    "rolled back": ["BEGIN", "LISTEN a", "ROLLBACK"],
    "abort": ["BEGIN", "LISTEN a", "ABORT"],
    "unlisten rolled back": ["LISTEN a", "BEGIN", "UNLISTEN a", "ROLLBACK"],
    "unlisten all rolled back": ["LISTEN a", "BEGIN", "UNLISTEN *", "ROLLBACK"],
    "failed transaction": ["BEGIN", "LISTEN a", "SELECT 1/0", "COMMIT"],
    "listen in a failed transaction": ["BEGIN", "SELECT 1/0", "LISTEN a", "ROLLBACK"],
    "rolled back to before": ["BEGIN", "SAVEPOINT s", "LISTEN a", "ROLLBACK TO s", "COMMIT"],
    "rolled back to behind": ["BEGIN", "LISTEN a", "SAVEPOINT s", "LISTEN b", "ROLLBACK TO SAVEPOINT s", "COMMIT"],
    "released": ["BEGIN", "SAVEPOINT s", "LISTEN a", "RELEASE s", "COMMIT"],
    "same savepoint twice": ["BEGIN", "SAVEPOINT s", "LISTEN a", "SAVEPOINT s", "LISTEN b", "ROLLBACK TO s", "COMMIT"],
    "quoted savepoint": ["BEGIN", 'SAVEPOINT "S"', "LISTEN a", 'SAVEPOINT s', 'ROLLBACK TO "S"', "COMMIT"],
    "error healed": ["BEGIN", "LISTEN a", "SAVEPOINT s", "SELECT 1/0", "ROLLBACK TO s", "COMMIT"],
    "unlisten undone by savepoint": ["LISTEN a", "BEGIN", "SAVEPOINT s", "UNLISTEN a", "ROLLBACK TO s", "COMMIT"],
    "released inside rolled back": ["BEGIN", "SAVEPOINT s", "SAVEPOINT t", "LISTEN a", "RELEASE t", "ROLLBACK TO s",
                                    "COMMIT"],
    "multi": ["LISTEN a; LISTEN b"],
    "multi fails": ["LISTEN a; SELECT 1/0"],
    "multi fails first": ["SELECT 1/0; LISTEN a"],
    "multi in block": ["BEGIN; LISTEN a; COMMIT"],
    "multi leaves block": ["BEGIN; LISTEN a", "COMMIT"],
    "multi commits before error": ["BEGIN; LISTEN a; COMMIT; SELECT 1/0"],
    "multi commits implicit": ["LISTEN a; COMMIT; SELECT 1/0"],
    "multi opens next": ["BEGIN; LISTEN a; COMMIT; BEGIN", "COMMIT"],
    "chain": ["BEGIN", "LISTEN a", "COMMIT AND CHAIN", "LISTEN b", "ROLLBACK AND CHAIN", "COMMIT"],
    "folded": ["LISTEN A"],
    "quoted": ['LISTEN "a"'],
    "quoted capital": ['LISTEN "A"'],
    "unicode": ["LISTEN U&\"\\0061\""],
    "comment": ["/* x /* y */ */ LISTEN -- z\n a"],
    "in a string": ["SELECT 'LISTEN a'"],
    "in dollars": ["SELECT $x$; LISTEN a; $x$"],
    "trailing semicolons": [";;LISTEN a;;"],
    "two phases with listen": ["BEGIN", "LISTEN a", "PREPARE TRANSACTION 'd1'", "ROLLBACK"],
    "two phases with notify": ["BEGIN", "NOTIFY a", "PREPARE TRANSACTION 'd2'"],
    "two phases with unlisten": ["LISTEN a", "BEGIN", "UNLISTEN a", "PREPARE TRANSACTION 'd3'"],
    "own notify": ["LISTEN a", "NOTIFY a, 'mine'"],
    "own notify at once": ["BEGIN", "LISTEN a", "NOTIFY a, 'mine'", "COMMIT"],
    "own notify, then the first listen": ["BEGIN", "NOTIFY a, 'mine'", "LISTEN a", "COMMIT"],
    "own trigger, then the first listen": ["BEGIN", "INSERT INTO events VALUES ('a', 'mine')", "LISTEN a", "COMMIT"],
    "own notify, the first listen, a commit before an error": ["BEGIN", "NOTIFY a, 'mine'", "LISTEN a",
                                                               "COMMIT; SELECT 1/0"],
    "own notify in one query": ["LISTEN a; NOTIFY a, 'mine'"],
    "own notify then unlisten": ["LISTEN a", "NOTIFY a, 'mine'; UNLISTEN a"],
    "own notify in own commits": ["BEGIN; LISTEN a; COMMIT; NOTIFY a, 'x'; NOTIFY a, 'y'"],
    "own notify before the listen": ["NOTIFY a, 'x'; COMMIT; LISTEN a"],
    "own notify before and with the listen": ["NOTIFY a, 'x'; COMMIT; LISTEN a; NOTIFY a, 'y'; COMMIT; NOTIFY a, 'x'"],
    "own notify before another listen": ["LISTEN b", "NOTIFY a, 'x'; COMMIT; LISTEN a"],
    "own notifies in order": ["LISTEN b", "BEGIN; NOTIFY b, '1'; LISTEN a; NOTIFY a, '2'; NOTIFY b, '3'; COMMIT"],
    "own notify twice": ["LISTEN a", "NOTIFY a, 'mine'; NOTIFY a, 'mine'; NOTIFY a, 'other'"],
    "own notify rolled back": ["LISTEN a", "BEGIN", "NOTIFY a, 'mine'", "ROLLBACK"],
    "own notify half rolled back": ["LISTEN a", "BEGIN", "NOTIFY a, '1'", "SAVEPOINT s", "NOTIFY a, '2'",
                                    "ROLLBACK TO s", "COMMIT"],
    "own pg_notify": ["LISTEN a", "SELECT pg_notify('a', 'mine')"],
    "own pg_notify of another case": ["LISTEN a", "SELECT pg_notify('A', 'mine')"],
    "own trigger": ["LISTEN a", "INSERT INTO events VALUES ('a', 'trigger')"],
    "own trigger with listen": ["BEGIN", "LISTEN a", "INSERT INTO events VALUES ('a', 'trigger')", "COMMIT"],
    "own notify in DO": ["LISTEN a", "DO $$BEGIN PERFORM pg_notify('a', 'do'); END$$"],
    "payload with quotes": ["LISTEN a", "NOTIFY a, 'it''s \"quoted\" \\ back'"],
    "channel with quotes": ['LISTEN "a""b;c"', 'NOTIFY "a""b;c", \'x\''],
    "syntax error": ["LISTEN", "LISTEN a b", "UNLISTEN", "NOTIFY a,"],
    "transaction warnings": ["COMMIT", "BEGIN", "BEGIN", "LISTEN a", "COMMIT", "ROLLBACK"],
    "empty name": ['LISTEN ""'],
    "too long payload": ["SELECT pg_notify('a', repeat('x', 8000))"],
    "long payload": ["LISTEN a", "SELECT length(repeat('x', 7999)) FROM pg_notify('a', repeat('x', 7999))"],
    "read only": ["BEGIN READ ONLY", "LISTEN a", "COMMIT"],
    "in a function's text": ["CREATE OR REPLACE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql BEGIN ATOMIC; SELECT 1; "
                             "END; LISTEN a"],
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_by_simple_queries(worlds, script):
    w = worlds("n", "l")
    for sql in SCRIPTS[script]:
        w.step("l", simple(sql))
    if w.status("l") == "I":
        for channel in ("a", '"A"', "b"):
            told(w, "l", channel)
    w.finish()


@pytest.mark.parametrize("script", [s for s in SCRIPTS if not s.startswith(("multi", "trailing", "in a function"))
                                    and not any(";" in sql for sql in SCRIPTS[s])])
@pytest.mark.parametrize("how", ["unnamed", "named", "one pipeline"])
def test_a_script_by_the_extended_protocol(worlds, script, how):
    w = worlds("n", "l")
    statements = SCRIPTS[script]
    if how == "unnamed":
        for sql in statements:
            w.step("l", extended(sql))
    elif how == "named":
        for i, sql in enumerate(statements):
            w.step("l", [parse(f"s{i}", sql), sync()])
        for i, sql in enumerate(statements):
            w.step("l", [bind("", f"s{i}"), execute(), sync()])
    else:
        w.step("l", pipeline(*(extended(sql) for sql in statements)))
    if w.status("l") == "I":
        for channel in ("a", '"A"', "b"):
            told(w, "l", channel)
    w.finish()


def test_statements_of_one_batch_commit_together(worlds):
    w = worlds("n", "l")
    w.step("l", extended("LISTEN a", "LISTEN b", ("SELECT pg_notify($1, $2)", ["a", "own"])))
    assert told(w, "l", "b")
    w.step("l", extended("LISTEN c", "SELECT 1/0", "LISTEN d"))
    assert not told(w, "l", "c")
    w.step("l", extended("UNLISTEN a", "SAVEPOINT s", "UNLISTEN b"))
    assert told(w, "l", "a") and told(w, "l", "b")
    w.step("l", pipeline(extended("LISTEN e"), extended("SELECT 1/0"), extended("LISTEN f"), simple("LISTEN g"),
                         extended("UNLISTEN e")))
    assert not told(w, "l", "e") and told(w, "l", "f") and told(w, "l", "g")
    w.finish()


def test_a_prepared_listen_is_run_again_and_again(worlds):
    w = worlds("n", "l")
    w.step("l", [parse("on", "LISTEN a"), parse("off", "UNLISTEN a"), describe("S", "on"), sync()])
    for _ in range(3):
        w.step("l", [bind("", "on"), describe("P"), execute(), sync()])
        assert told(w, "l")
        w.step("l", [bind("", "off"), execute(), sync()])
        assert not told(w, "l")
    w.step("l", [bind("", "on"), execute(), bind("", "off"), execute(), bind("", "on"), execute(), sync()])
    assert told(w, "l")
    w.step("l", [close("S", "on"), sync()])
    assert told(w, "l")
    w.finish()


def test_portals_are_executed_in_any_order(worlds):
    w = worlds("n", "l")
    w.step("l", [parse("", "LISTEN a"), bind("p1"), parse("", "SELECT 1"), bind("p2"), parse("", "LISTEN b"),
                 bind("p3"), execute("p2"), execute("p1"), sync()])
    assert told(w, "l", "a") and not told(w, "l", "b")
    w.step("l", [parse("", "UNLISTEN a"), bind("p1"), parse("", "LISTEN b"), bind("p2"), close("P", "p1"),
                 execute("p2"), sync()])
    assert told(w, "l", "a") and told(w, "l", "b")
    w.step("l", simple("BEGIN"))
    w.step("l", [parse("", "LISTEN c"), bind("p1"), sync()])
    w.step("l", simple("SELECT 1"))
    w.step("l", [execute("p1"), sync()])
    w.step("l", simple("COMMIT"))
    assert told(w, "l", "c")
    w.finish()


def test_a_rollback_waits_in_a_portal_for_its_listen(worlds):
    """Bound before the LISTEN, or before it has run, and executed behind it."""
    w = worlds("n", "l")
    for before in ([parse("", "ROLLBACK"), bind("r")], []):
        w.step("l", before + [parse("", "LISTEN a"), bind("p")] + ([] if before else [parse("", "ROLLBACK"), bind("r")]) +
               [execute("p"), execute("r"), sync()])
        assert not told(w, "l", "a")
    w.step("l", simple("BEGIN; SAVEPOINT s"))
    w.step("l", [parse("", "ROLLBACK TO s"), bind("r"), parse("", "LISTEN a"), bind(), execute(), execute("r"), sync()])
    w.step("l", simple("COMMIT"))
    assert not told(w, "l", "a")
    w.finish()


@pytest.mark.parametrize("sender", ["NOTIFY a, 'mine'", "INSERT INTO events VALUES ('a', 'mine')"])
def test_the_first_listen_of_a_pool_comes_behind_a_notify_of_its_batch(worlds, sender):
    w = worlds("n", "l")
    w.step("l", [parse("", sender), bind(), execute(), flush(), parse("", "LISTEN a"), bind(), execute(), sync()])
    assert told(w, "l", "a")
    w.finish()


def test_an_execute_is_refused_twice(worlds):
    w = worlds("n", "l")
    w.step("l", [parse("", "LISTEN a"), bind(), execute(), execute(), sync()])
    told(w, "l", "a")
    w.step("l", [parse("", "LISTEN b"), sync()], settle=False)
    w.step("l", [execute(), sync()], settle=False)
    w.step("l", [bind("", "missing"), execute(), sync()])
    assert not told(w, "l", "b")
    w.step("l", [parse("", "LISTEN b"), sync()], settle=False)
    w.step("l", [bind(), execute(), flush(), sync()])
    assert told(w, "l", "b")
    w.finish()


NAMES = {
    "63 bytes": "x" * 63,
    "64 bytes": "x" * 64,
    "long": "y" * 200,
    "two bytes across the limit": "z" * 62 + "é",
    "four bytes across the limit": "z" * 61 + "😀",
    "umlauts": "ÄÖÜß",
    "kanji": "日本語",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("quoted", [True, False])
def test_a_name_is_as_postgresql_takes_it(worlds, name, quoted):
    w = worlds("n", "l")
    channel = f'"{NAMES[name]}"' if quoted else NAMES[name]
    w.step("l", simple(f"LISTEN {channel}"))
    w.step("l", simple(f"NOTIFY {channel}, 'mine'"))
    told(w, "l", channel)
    told(w, "l", f'"{NAMES[name]}"')
    w.step("l", extended(f"UNLISTEN {channel}"))
    assert not told(w, "l", channel)
    w.finish()


def test_clients_with_other_encodings_hear_each_other(worlds):
    """What PostgreSQL converts for a connection of one's own is converted through the pool."""
    w = worlds("u")
    w.connect("latin", "latin2", client_encoding="LATIN1")
    w.connect("jp", client_encoding="EUC_JP")
    name, payload = "é", "naïve"
    w.step("u", simple(f"LISTEN {name}"))
    for who in ("latin", "latin2"):
        w.step(who, [query(f"LISTEN {name}".encode("latin-1"))])
    w.step("u", simple(f"NOTIFY {name}, '{payload}'"))
    w.step("latin", [query(f"NOTIFY {name}, '{payload}'".encode("latin-1"))])
    w.step("jp", simple("LISTEN a"))
    w.step("jp", [query("NOTIFY a, '日本語'".encode("euc-jp"))])
    w.step("u", simple("LISTEN a"))
    w.step("u", simple("NOTIFY a, '日本'"))
    w.step("latin", [query("UNLISTEN é".encode("latin-1"))])
    w.step("u", simple(f"NOTIFY {name}, '{payload}'"))
    w.finish()


@pytest.mark.parametrize("encoding, codec, name", [("SJIS", "shift_jis", "データ"), ("BIG5", "big5", "功能許"),
                                                   ("UHC", "cp949", "갂똠"), ("GB18030", "gb18030", "丂ŝ亅")])
def test_letters_whose_second_byte_looks_like_ascii(worlds, encoding, codec, name):
    w = worlds("u")
    w.connect("l", client_encoding=encoding)
    for sql in (f"LISTEN {name}", f"SELECT E'{name}'; LISTEN a", f'UNLISTEN "{name}"', f"LISTEN \"{name}\"", f"UNLISTEN {name}"):
        w.step("l", [query(sql.encode(codec))])
        w.step("u", simple(f"NOTIFY {name}, '{name}'"))
        w.step("u", simple("NOTIFY a"))
    w.step("l", [query(f"LISTEN {name}; NOTIFY {name}, '{name}'".encode(codec))])
    w.finish()


def test_a_client_may_change_its_encoding(worlds):
    w = worlds("u", "l")
    w.step("l", simple("LISTEN a"))
    w.step("u", simple("NOTIFY a, 'é'"))
    w.step("l", simple("SET client_encoding = 'LATIN1'"))
    w.step("u", simple("NOTIFY a, 'é'"))
    w.step("l", [query("NOTIFY a, 'é'".encode("latin-1"))])
    w.step("l", simple("RESET client_encoding"))
    w.step("u", simple("NOTIFY a, 'é'"))
    w.finish()


# --- in transactions ---

def test_notifications_wait_for_the_end_of_a_transaction(worlds):
    w = worlds("n", "l", "m")
    for name in ("l", "m"):
        w.step(name, simple("LISTEN a"))
    w.step("l", simple("BEGIN"))
    for i in range(3):
        w.step("n", simple(f"NOTIFY a, '{i}'"))
    w.step("l", simple("SELECT 1"))
    w.step("l", simple("SELECT 1/0"))
    w.step("n", simple("NOTIFY a, '3'"))
    w.step("l", simple("ROLLBACK"))
    w.step("l", extended("BEGIN"))
    w.step("n", simple("NOTIFY a, '4'"))
    w.step("l", extended("NOTIFY a, 'mine'"))
    w.step("n", simple("NOTIFY a, '5'"))
    w.step("l", extended("COMMIT"))
    w.finish()


def test_what_waited_for_an_unlisten_is_not_told(worlds):
    w = worlds("n", "l")
    w.step("l", simple("LISTEN a; LISTEN b"))
    for end in ("UNLISTEN a", "UNLISTEN *", "UNLISTEN a; LISTEN a", "UNLISTEN *; LISTEN b; LISTEN a"):
        w.step("l", simple("BEGIN"))
        w.step("n", simple("NOTIFY a, '1'"))
        w.step("n", simple("NOTIFY b, '2'"))
        w.step("l", simple(end))
        w.step("l", simple("COMMIT"))
        w.step("l", simple("LISTEN a; LISTEN b"))
    w.finish()


def test_triggers_notify(worlds):
    w = worlds("n", "l", "m")
    for name in ("l", "m"):
        w.step(name, simple("LISTEN a"))
    w.step("n", simple("INSERT INTO events VALUES ('a', '1'), ('a', '2'), ('b', '3')"))
    w.step("l", simple("INSERT INTO events VALUES ('a', '4')"))
    w.step("l", extended(("INSERT INTO events VALUES ($1, $2)", ["a", "5"])))
    w.step("l", simple("BEGIN"))
    w.step("l", simple("INSERT INTO events SELECT 'a', '6'"))
    w.step("l", simple("COMMIT"))
    w.step("l", simple("WITH x AS (INSERT INTO events VALUES ('a', '7') RETURNING 1) SELECT * FROM x"))
    w.finish()


def test_a_pool_of_one_server_connection(worlds):
    w = worlds("n", "l", "m", size=1)
    for name in ("l", "m", "n"):
        w.step(name, simple("LISTEN a"))
        w.step(name, simple("NOTIFY a, 'x'"))
    w.step("l", simple("BEGIN; LISTEN b; NOTIFY b, 'y'; COMMIT"))
    w.step("n", simple("NOTIFY b, 'z'"))
    w.finish()


def test_statement_mode(worlds):
    w = worlds("n", "l", mode="statement")
    w.step("l", simple("LISTEN a"))
    w.step("l", extended("LISTEN b"))
    w.step("l", simple("LISTEN c; NOTIFY c, 'own'"))
    w.step("n", simple("NOTIFY a, '1'; NOTIFY b, '2'"))
    w.step("n", extended("NOTIFY c, '3'"))
    w.step("l", simple("UNLISTEN a; SELECT 1/0"))
    w.step("n", simple("NOTIFY a, '4'"))
    w.step("l", simple("UNLISTEN *"))
    w.step("n", simple("NOTIFY a, '5'"))
    w.finish()


def test_a_copy_that_speaks_of_notify_gets_its_data(worlds):
    w = worlds("n", "l")
    w.step("l", simple("LISTEN a"))
    for how in (simple, extended):
        w.step("l", how("COPY events FROM STDIN -- notify")[:-1 if how is extended else None] +
               [copy_data(b"a\tcopied\n"), copy_done()] + ([sync()] if how is extended else []))
    w.step("n", simple("COPY events FROM STDIN -- notify") + [copy_data(b"a\tagain\n"), copy_done()])
    w.finish()


# --- random ---

class Random:
    """Makes up steps. PostgreSQL tells a client that listens to something already, and LISTENs to one more channel in an
    open transaction, what was sent to that channel since the transaction began, though LISTEN takes effect at COMMIT:
    no pooler can know that, so such steps are not made: see may_listen() and may_notify(). Nor may UNLISTEN and PREPARE
    TRANSACTION meet in a transaction: whether that is an error depends on whether the server connection has ever listened."""

    CHANNELS = ["a", "b", '"C d"', "ünï", "e" * 70]
    SPELLINGS = {"a": ["a", "A", '"a"', 'U&"\\0061"', "/* b */ a"], "b": ["b", "B -- a\n", '"b"'],
                 '"C d"': ['"C d"', 'U&"C\\0020d"'], "ünï": ["ünï", '"ünï"', 'ÜNï', 'U&"\\00fcn\\00ef"'],
                 "e" * 70: ["e" * 70, "E" * 63, '"' + "e" * 63 + '"', "e" * 64]}
    OTHER_WORDS = {"BEGIN": ["BEGIN", "START TRANSACTION", "begin work"], "COMMIT": ["COMMIT", "END", "commit work"],
                   "ROLLBACK": ["ROLLBACK", "ABORT", "rollback transaction"], "UNLISTEN *": ["UNLISTEN *", "unlisten/**/*"]}

    def __init__(self, worlds, names, seed):
        self.w = worlds
        self.names = names
        self.random = random.Random(seed)
        self.seed = seed
        self.n = 0
        self.listened = {name: set() for name in names}  # in the open transaction
        self.notified = {name: set() for name in names}  # by others, perhaps committed since it was opened
        self.pending = {name: set() for name in names}  # by itself, in the open transaction
        self.open = []  # clients in a transaction
        self.inserted = set()  # clients with triggers in the transaction
        self.statements = {name: {} for name in names}
        self.left = set()  # clients with an UNLISTEN, perhaps, in the open transaction
        self.prepared_transactions = set()  # or with a PREPARE TRANSACTION

    def may_listen(self, name, channel):
        return channel not in self.notified[name]

    def may_notify(self, name, channel):
        return all(channel not in self.listened[other] for other in self.open if other != name)

    def statement(self, name):
        """(text, is it only for simple queries)."""
        r = self.random
        kind = r.choices(
            ["listen", "unlisten", "unlisten all", "notify", "pg_notify", "trigger", "begin", "commit", "rollback",
             "savepoint", "rollback to", "release", "error", "syntax", "select", "do", "prepare"],
            [12, 6, 1, 14, 4, 3, 8, 9, 4, 5, 5, 3, 3, 1, 3, 1, 1])[0]
        channel = r.choice(self.CHANNELS)
        self.n += 1
        payload = str(self.n if r.random() < 0.8 else r.randrange(3))
        mark = r.choice(["s", "t", '"S"'])
        spelt = r.choice(self.SPELLINGS[channel])
        if kind == "listen":
            if not self.may_listen(name, channel):
                return "SELECT 2"
            self.listened[name].add(channel)
            return f"{r.choice(['LISTEN', 'listen', 'LISTEN/* */'])} {spelt}"
        if kind in ("notify", "pg_notify", "trigger", "do"):
            if not self.may_notify(name, channel):
                return "SELECT 3"
            for other in self.names:
                if other != name:
                    self.notified[other].add(channel)
            self.pending[name].add(channel)
            plain = channel.strip('"')[:63]
            return {"notify": f"NOTIFY {spelt}" + (f", '{payload}'" if r.random() < 0.95 else ""),
                    "pg_notify": f"SELECT pg_notify('{plain}', '{payload}')",
                    "trigger": f"INSERT INTO events VALUES ('{plain}', '{payload}')",
                    "do": f"DO $$BEGIN PERFORM pg_notify('{plain}', '{payload}'); END$$"}[kind]
        if kind == "commit":
            self.notified[name] |= self.pending[name]  # the next transaction may begin before the client is idle
        if (kind.startswith("unlisten") and name in self.prepared_transactions) or (kind == "prepare" and name in self.left):
            return "SELECT 4"
        if kind.startswith("unlisten"):
            self.left.add(name)
        if kind == "prepare":
            self.prepared_transactions.add(name)
        sql = {"unlisten": f"UNLISTEN {spelt}", "unlisten all": "UNLISTEN *", "begin": "BEGIN", "commit": "COMMIT",
               "rollback": "ROLLBACK", "savepoint": f"SAVEPOINT {mark}", "rollback to": f"ROLLBACK TO {mark}",
               "release": f"RELEASE {mark}", "error": "SELECT 1/0", "syntax": "LISTEN LISTEN LISTEN",
               "select": "SELECT 'x'", "prepare": f"PREPARE TRANSACTION 'd{self.n}'"}[kind]
        return r.choice(self.OTHER_WORDS.get(sql, [sql]))

    def prepared(self, name):
        """Runs a statement that is prepared; prepares it first."""
        r = self.random
        known = self.statements[name]
        sql = self.statement(name)
        if sql not in known:
            if len(known) > 20:
                known.clear()
                return [close("S", f"s{i}") for i in range(30)] + [sync()]
            if not sql.upper().startswith(("LISTEN", "UNLISTEN", "SAVEPOINT", "ROLLBACK", "COMMIT", "BEGIN", "RELEASE")):
                return extended(sql)
            if self.w.status(name) == "E" or sql == "LISTEN LISTEN LISTEN":
                return extended(sql)
            known[sql] = f"s{len(known)}"
            return [parse(known[sql], sql)] + ([sync()] if r.random() < 0.5 else []) + \
                [bind("", known[sql]), execute(), sync()]
        return [bind("", known[sql]), execute(), sync()]

    def portals(self, name):
        """Several portals, executed in another order, or not at all; then Flush."""
        r = self.random
        names = ["p1", "p2", "p3"][:r.randint(2, 3)]
        bound = [m for p in names for m in (parse("", self.statement(name)), bind(p))]
        r.shuffle(names)
        ends = [close("P", names.pop())] if r.random() < 0.3 else []
        return bound + ends + [execute(p) for p in names[:r.randint(1, 3)]] + [flush(), sync()]

    def messages(self, name):
        r = self.random
        kind = r.choices(["simple", "multi", "extended", "batch", "pipeline", "prepared", "portals", "described", "discard"],
                         [40, 10, 15, 8, 6, 12, 4, 3, 1])[0]
        if kind == "multi":
            return simple("; ".join(self.statement(name) for _ in range(r.randint(2, 4))))
        if kind == "extended":
            return extended(self.statement(name))
        if kind == "batch":
            return extended(*(self.statement(name) for _ in range(r.randint(2, 4))))
        if kind == "pipeline":
            return pipeline(*(r.choice([simple, extended])(self.statement(name)) for _ in range(r.randint(2, 4))))
        if kind == "prepared":
            return self.prepared(name)
        if kind == "portals":
            return self.portals(name)
        if kind == "described":
            return [parse("", self.statement(name)), describe("S"), bind(), describe("P"), flush(), execute(), sync()]
        if kind == "discard" and self.w.status(name) == "I":
            self.statements[name].clear()
            return simple("DISCARD ALL")
        return simple(self.statement(name))

    def replace(self, name):
        self.w.disconnect(name, politely=self.random.random() < 0.7)
        self.forget(name)
        self.statements[name].clear()
        self.w.connect(name)

    def forget(self, name):
        self.listened[name].clear()
        self.notified[name].clear()
        self.pending[name].clear()
        self.left.discard(name)
        self.prepared_transactions.discard(name)
        if name in self.open:
            self.open.remove(name)

    def step(self):
        r = self.random
        # Two in a transaction have both servers.
        name = r.choice(self.open if len(self.open) == 2 or (self.open and r.random() < 0.5) else self.names)
        if r.random() < 0.01 and len(self.open) < 2:
            self.replace(name)
            return
        if r.random() < 0.03 and len(self.open) < 2:
            self.outside()
            return
        messages = self.messages(name)
        answers = self.w.step(name, messages)
        if ("closed",) in answers:
            self.replace(name)
        elif self.w.status(name) == "I":
            self.forget(name)
        elif name not in self.open:
            self.notified[name] |= set().union(*(self.pending[other] for other in self.open))
            self.open.append(name)
        self.flush(name, messages)

    def outside(self):
        """One who is no client of the pool notifies; the hub has it when the flush has passed."""
        channel = self.random.choice(self.CHANNELS)
        if not self.may_notify("outside", channel):
            return
        for other in self.names:
            self.notified[other].add(channel)
        self.n += 1
        self.w.step("outside", simple(f"NOTIFY {self.random.choice(self.SPELLINGS[channel])}, '{self.n}'"), settle=False)
        if len(self.open) < 2:
            self.w.pooled.peers["flush"].conn.run("SELECT 'notify'")
        self.w.settle()

    def flush(self, name, messages):
        """A transaction without "notify" in its text is not waited for by the pool when its client does not listen:
        what its triggers send comes a little later. Wait until it is there."""
        if any(b"INSERT" in m for m in messages):
            self.inserted.add(name)
        if name in self.inserted and len(self.open) < 2:
            if self.w.status(name) == "I":
                self.inserted.discard(name)
            self.w.pooled.peers["flush"].conn.run("SELECT 'notify'")
            self.w.settle()

    def end(self):
        for name in list(self.open):
            self.w.step(name, simple("ROLLBACK"))
            self.forget(name)
        self.w.finish()


def run_random(make_worlds, steps, seed):
    w = make_worlds(*LISTENERS)
    w.pooled.connect("flush")
    w.connect_outside("outside")
    walk = Random(w, LISTENERS, seed)
    try:
        for i in range(steps):
            walk.step()
            if i % 500 == 499:
                walk.end()
        walk.end()
    finally:
        print(f"random notify test: seed {seed}, {steps} steps")


@pytest.mark.seconds(max(400, STEPS // 10))
def test_random_clients_see_what_they_would_see_on_their_own(worlds):
    run_random(worlds, STEPS, SEED)
