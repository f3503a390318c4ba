# SPDX-License-Identifier: ISC
"""A crowd of clients, each with data that only it may see, that do at random all that clients do. Every answer is checked
against what this one client has asked for: a byte of somebody else's, a transaction that is shared or a setting that
leaks fails the run with the client's own story of the last steps."""

import asyncio
import collections
import random
import struct

from wire import (bind, cancel_request, close, copy_data, copy_done, copy_fail, describe, execute, parse, query,
                  startup, sync, terminate)

TABLE = "CREATE TABLE crowd (owner text, n int)"
QUIET_SECONDS = 60  # nobody waits longer than this for an answer
STORY = 12          # steps that a failure shows


class Mixed(AssertionError):
    """A client got what is not its own."""


class Gone(Exception):
    """The connection ended."""


def error_fields(body):
    return {part[:1].decode(): part[1:].decode(errors="replace") for part in body[:-2].split(b"\0") if part}


def row_values(body):
    n, = struct.unpack_from("!H", body)
    at, values = 2, []
    for _ in range(n):
        size, = struct.unpack_from("!i", body, at)
        at += 4
        values.append(None if size < 0 else body[at:at + size].decode())
        at += max(size, 0)
    return tuple(values)


class Answer:
    """What came up to one ReadyForQuery."""

    def __init__(self):
        self.rows, self.tags, self.errors, self.copied, self.kinds = [], [], [], b"", ""
        self.status = "?"


class Peer:
    """One connection. Everything it is told is checked where it arrives."""

    def __init__(self, crowd, number):
        self.crowd = crowd
        self.number = number
        self.story = collections.deque(maxlen=STORY)
        self.reader = self.writer = None
        self.pid, self.secret = 0, b""
        self.own_channel = f"crowd{number}"
        self.listens = False
        self.application_name = f"crowd-{number}"
        self.time_zone = "UTC"
        self.prepared = {}
        self.may_be_cancelled = False

    # The wire

    def fail(self, what):
        raise Mixed(f"client {self.number} (pid {self.pid}): {what}\n  " + "\n  ".join(self.story))

    async def connect(self):
        crowd = self.crowd
        self.reader, self.writer = await asyncio.wait_for(
            asyncio.open_connection(crowd.daemon.host, crowd.daemon.port, limit=1 << 22), QUIET_SECONDS)
        self.application_name, self.time_zone = f"crowd-{self.number}", "UTC"
        self.listens, self.prepared, self.may_be_cancelled = False, {}, False
        self.writer.write(startup({"user": "app", "database": "test", "application_name": self.application_name,
                                   "TimeZone": "UTC"}))
        while True:
            kind, body = await self.message()
            if kind == "K":
                self.pid, self.secret = struct.unpack_from("!I", body)[0], body[4:]
            elif kind == "E":
                self.fail(f"login: {error_fields(body)}")
            elif kind == "Z":
                return

    async def message(self):
        try:
            header = await asyncio.wait_for(self.reader.readexactly(5), QUIET_SECONDS)
            body = await self.reader.readexactly(struct.unpack("!xI", header)[0] - 4)
        except (asyncio.IncompleteReadError, ConnectionError) as problem:
            raise Gone from problem
        except asyncio.TimeoutError:
            self.fail(f"no answer within {QUIET_SECONDS} s")
        return chr(header[0]), body

    def heard(self, body):
        channel, payload = body[4:].split(b"\0")[:2]
        if channel.decode() != self.own_channel or not payload.decode().startswith(f"for {self.number} "):
            self.fail(f"was told of {channel}: {payload}")
        self.crowd.n_heard += 1

    async def answer(self):
        a = Answer()
        while True:
            kind, body = await self.message()
            a.kinds += kind
            if kind == "D":
                a.rows.append(row_values(body))
            elif kind == "C":
                a.tags.append(body[:-1].decode())
            elif kind == "E":
                a.errors.append(error_fields(body))
            elif kind == "d":
                a.copied += body
            elif kind == "A":
                self.heard(body)
            elif kind == "S" and body.startswith(b"application_name\0") and \
                    body[17:-1].decode() != self.application_name:
                self.fail(f"is told that its application_name is {body}, not {self.application_name}")
            elif kind == "G":
                return a
            elif kind == "Z":
                a.status = body.decode()
                for error in a.errors:
                    self.check_error(error)
                return a

    def check_error(self, error):
        """Nobody is cancelled who has not asked for it, and nobody loses its server."""
        if error["C"] == "57014" and self.may_be_cancelled:
            return
        if error["C"] not in self.expected_errors:
            self.fail(f"unexpected error {error}")

    expected_errors = ()

    async def ask(self, *messages, errors=()):
        """Sends, and reads the one answer."""
        self.expected_errors = errors
        self.writer.write(b"".join(messages))
        return await self.answer()

    async def run(self, sql, rows=None, errors=(), status=None):
        self.story.append(sql[:200])
        a = await self.ask(query(sql), errors=errors)
        if rows is not None and a.rows != rows and not a.errors:
            self.fail(f"{sql!r} gave {a.rows[:3]}, not {rows[:3]}")
        if status is not None and a.status != status and not a.errors:
            self.fail(f"{sql!r} ended in status {a.status}")
        return a

    def leave(self, politely):
        if politely:
            self.writer.write(terminate())
            self.writer.close()
        else:
            self.writer.transport.abort()


# Things to do. Each leaves the connection idle, or raises Gone after it has left.

async def simple(p, mark, rnd):
    text = mark + "x" * rnd.choice((0, 0, 0, 10, 5000, 200_000))
    await p.run(f"SELECT '{text}'", [(text,)])


async def several_statements(p, mark, _rnd):
    await p.run(f"SELECT '{mark}a'; SELECT '{mark}b'; SELECT '{mark}c'", [(mark + "a",), (mark + "b",), (mark + "c",)])


async def unnamed(p, mark, _rnd):
    p.story.append(f"unnamed {mark}")
    a = await p.ask(parse("", "SELECT $1::text"), bind("", "", [mark]), describe("P"), execute(), sync())
    if a.rows != [(mark,)] and not a.errors:
        p.fail(f"unnamed statement gave {a.rows}")


async def named(p, mark, rnd):
    """All have the same names, each with its own texts."""
    name = f"s{rnd.randrange(4)}"
    messages = []
    if name in p.prepared and rnd.random() < 0.2:
        messages.append(close("S", name))
        del p.prepared[name]
    if name not in p.prepared:
        p.prepared[name] = mark
        messages.append(parse(name, f"SELECT $1::text, '{mark}'"))
    value = f"value-{mark}"
    p.story.append(f"{name} of {p.prepared[name]} with {value}")
    a = await p.ask(*messages, bind("", name, [value]), execute(), sync())
    if a.errors:  # cancelled: what of it was prepared is not known
        await p.run("DEALLOCATE ALL")
        p.prepared.clear()
    elif a.rows != [(value, p.prepared[name])]:
        p.fail(f"statement {name} gave {a.rows}, not {(value, p.prepared[name])}")


async def pipeline(p, mark, rnd):
    """Several batches in one packet, one of them with an error."""
    bad = rnd.randrange(8)
    batches = rnd.randrange(2, 5)
    p.story.append(f"pipeline {mark} of {batches}, error in {bad}")
    data = b""
    for i in range(batches):
        data += parse("", "SELECT $1::text") + bind("", "", [f"{mark}/{i}"]) + execute()
        if i == bad:
            data += parse("", "SELECT 1/$1::int") + bind("", "", ["0"]) + execute()
            data += parse("", "SELECT 'never'") + bind() + execute()
        data += sync()
    p.expected_errors = ("22012",)
    p.writer.write(data)
    for i in range(batches):
        a = await p.answer()
        if a.rows != [(f"{mark}/{i}",)] and not any(e["C"] == "57014" for e in a.errors):
            p.fail(f"batch {i} gave {a.rows}")
        if (i == bad) != bool(a.errors) and not p.may_be_cancelled:
            p.fail(f"batch {i}: errors {a.errors}")


async def transaction(p, mark, rnd):
    """On one server from its begin to its end, alone with its settings and its rows."""
    n = rnd.randrange(1, 4)
    pid = (await p.run(f"BEGIN; SELECT set_config('crowd.owner', '{mark}', true), pg_backend_pid()", status="T")).rows
    if p.may_be_cancelled and not pid:
        await p.run("ROLLBACK")
        return
    pid = pid[0][1]
    for i in range(n):
        await p.run(f"INSERT INTO crowd VALUES ('{mark}', {i})", errors=("25P02",))
        a = await p.run("SELECT current_setting('crowd.owner'), pg_backend_pid()", errors=("25P02",))
        if a.rows != [(mark, pid)] and not a.errors:
            p.fail(f"in its transaction on {pid} it met {a.rows}")
    if rnd.random() < 0.3:
        await p.run("SELECT 1/0", errors=("22012", "25P02"), status="E")
        await p.run("SELECT 1", errors=("25P02",))
    commits = (await p.run("COMMIT" if rnd.random() < 0.7 else "ROLLBACK", status="I")).tags == ["COMMIT"]
    a = await p.run(f"SELECT count(*) FROM crowd WHERE owner = '{mark}'")
    if a.rows not in ([(str(n if commits else 0),)], []) and not p.may_be_cancelled:
        p.fail(f"of its {n} rows there are {a.rows}")
    await p.run(f"DELETE FROM crowd WHERE owner = '{mark}'")
    await nothing_left(p, mark, rnd)


async def nothing_left(p, _mark, _rnd):
    """A setting that belonged to somebody's transaction is nowhere."""
    a = await p.run("SELECT coalesce(current_setting('crowd.owner', true), '')")
    if a.rows not in ([("",)], []):
        p.fail(f"outside of its transactions it met {a.rows}")


async def settings(p, mark, rnd):
    if rnd.random() < 0.5:
        before, p.application_name = p.application_name, mark
        a = await p.run(f"SET application_name = '{mark}'")
        if a.errors:
            p.application_name = before
    if rnd.random() < 0.5:
        zone = rnd.choice(("UTC", "Europe/Berlin", "Asia/Tokyo"))
        a = await p.run(f"SET timezone = '{zone}'")
        p.time_zone = p.time_zone if a.errors else zone
    await p.run("SHOW application_name", [(p.application_name,)])
    await p.run("SHOW timezone", [(p.time_zone,)])


async def error(p, mark, _rnd):
    a = await p.run(f"SELECT '{mark}'::int", errors=("22P02",))
    if a.errors and mark not in a.errors[0]["M"] and a.errors[0]["C"] != "57014":
        p.fail(f"somebody else's error: {a.errors}")


async def copy(p, mark, rnd):
    n = rnd.randrange(1, 200)
    p.story.append(f"copy {mark}")
    a = await p.ask(query("COPY crowd FROM STDIN"))
    if a.status == "?":
        fails = rnd.random() < 0.2
        data = b"".join(copy_data(f"{mark}\t{i}\n") for i in range(n))
        a = await p.ask(data, copy_fail("changed my mind") if fails else copy_done(), errors=("57014",))
        n = 0 if fails or a.errors else n
    else:
        n = 0
    a = await p.ask(query(f"COPY (SELECT * FROM crowd WHERE owner = '{mark}' ORDER BY n) TO STDOUT"))
    if a.copied != b"".join(f"{mark}\t{i}\n".encode() for i in range(n)) and not a.errors:
        p.fail(f"COPY gave {a.copied[:200]}")
    await p.run(f"DELETE FROM crowd WHERE owner = '{mark}'")


async def cancel_it(p, mark, _rnd):
    """Its own query ends by it, whenever it comes; nobody else's does."""
    p.story.append(f"cancelled {mark}")
    p.may_be_cancelled = True
    p.writer.write(query(f"SELECT pg_sleep(3600), '{mark}'"))
    task = asyncio.ensure_future(p.answer())
    while not (await asyncio.wait([task], timeout=0.1))[0]:
        await send_cancel(p)
    if not task.result().errors:
        p.fail("it has slept for an hour")
    await settle_cancels(p)


async def cancel_early(p, mark, _rnd):
    """A cancel that races with a short query: that one, or the next of the same client, or none."""
    p.may_be_cancelled = True
    p.writer.write(query(f"SELECT '{mark}'"))
    await send_cancel(p)
    a = await p.answer()
    if a.rows != [(mark,)] and not a.errors:
        p.fail(f"gave {a.rows}")
    await settle_cancels(p)


async def send_cancel(p):
    """Waits until the pooler has taken it, as libpq does."""
    reader, writer = await asyncio.open_connection(p.crowd.daemon.host, p.crowd.daemon.port)
    writer.write(cancel_request(p.pid, p.secret))
    try:
        await asyncio.wait_for(reader.read(), QUIET_SECONDS)
    except ConnectionError:
        pass
    writer.close()


async def settle_cancels(p):
    """All cancels were answered; what still hits hits this."""
    await p.run("SELECT pg_sleep(0.01)")
    p.may_be_cancelled = False


async def listen(p, _mark, _rnd):
    p.listens = not p.listens
    await p.run(("LISTEN " if p.listens else "UNLISTEN ") + p.own_channel)


async def notify(p, mark, rnd):
    other = rnd.randrange(p.crowd.n)
    await p.run(f"NOTIFY crowd{other}, 'for {other} from {mark}'")


async def leave_in_the_middle(p, mark, rnd):
    p.story.append("leaves")
    half = query(f"INSERT INTO crowd VALUES ('{mark}', 0)")[:-9]
    p.writer.write(rnd.choice((
        b"", half, query(f"BEGIN; INSERT INTO crowd VALUES ('{mark}', 0)"), query("SELECT pg_sleep(3600)"),
        query("COPY crowd FROM STDIN") + copy_data(f"{mark}\t1\n"),
        parse("", f"INSERT INTO crowd VALUES ('{mark}', 0)") + bind() + execute(),
        query("SELECT repeat('x', 1000000) FROM generate_series(1, 20)"))))
    if rnd.random() < 0.5:
        await asyncio.sleep(0)
    p.leave(politely=rnd.random() < 0.3)
    raise Gone


EVERYWHERE = (simple, simple, several_statements, unnamed, unnamed, named, named, named, pipeline, settings, error, copy,
              cancel_it, cancel_early, listen, notify, notify, nothing_left, leave_in_the_middle)
MODES = {"session": EVERYWHERE + (transaction,) * 3, "transaction": EVERYWHERE + (transaction,) * 3,
         "statement": EVERYWHERE}


class Crowd:
    """@n clients; each does @steps things, with a new connection now and then."""

    def __init__(self, daemon, mode, n, steps, seed):
        self.daemon, self.n, self.steps, self.seed = daemon, n, steps, seed
        self.things = MODES[mode]
        self.n_done = self.n_heard = 0

    async def _live(self, number):
        rnd = random.Random(f"{self.seed}/{number}")
        p = Peer(self, number)
        left = self.steps
        while left > 0:
            await p.connect()
            stay = min(left, rnd.randrange(1, 40))
            try:
                for _ in range(stay):
                    left -= 1
                    self.n_done += 1
                    await rnd.choice(self.things)(p, f"m{number}-{self.n_done}", rnd)
                p.leave(politely=rnd.random() < 0.7)
            except Gone:
                if not p.story or p.story[-1] != "leaves":
                    p.fail("lost its connection")

    async def _run(self):
        tasks = [asyncio.ensure_future(self._live(i)) for i in range(self.n)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def run(self):
        asyncio.run(self._run())
        return self
