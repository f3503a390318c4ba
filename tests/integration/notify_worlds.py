# SPDX-License-Identifier: ISC
"""One script of clients in two worlds: each on a connection of its own to PostgreSQL, and all of them through a pool.

A step is a client's name and a list of messages. It is sent in both worlds; what comes back must be the same, message by
message, with process ids replaced by the names of the clients. Then what has come to the other clients, outside of any
step of theirs, must be the same too."""

import time

from waiting import PATIENCE
from wire import Client, Closed, bind, execute, parse, query, sync, terminate

# Texts of errors and notices that name a place in our own statement names or in the server's sources are left out.
ERROR_FIELDS = "SCMDH"


def simple(sql):
    return [query(sql)]


def extended(*statements, name="", close_batch=True):
    """Parse, Bind and Execute of each statement (text, or text with values); one Sync behind all of them."""
    out = []
    for statement in statements:
        sql, values = statement if isinstance(statement, tuple) else (statement, ())
        out += [parse(name, sql), bind("", name, values), execute()]
    return out + ([sync()] if close_batch else [])


def pipeline(*batches):
    return [message for batch in batches for message in batch]


def n_ready(messages):
    return sum(m[:1] in (b"Q", b"S") for m in messages)


class Peer:
    """One client in one world."""

    def __init__(self, world, name, target):
        self.name = name
        self.world = world
        self.conn = Client.connect(target.host, target.port).login(**world.login)
        world.names[self.conn.pid] = name
        self.status = "I"
        self.is_open = True
        self.unasked = []  # notifications that came outside of any step

    def _told(self, message):
        """A message as it goes into the transcript."""
        if message.kind == "A":
            return ("A", self.world.names.get(message.pid, f"pid {message.pid}"), message.channel, message.payload)
        if message.kind in "EN":
            return (message.kind,) + tuple(message.fields.get(f) for f in ERROR_FIELDS)
        if message.kind == "S":
            return None
        return (message.kind,) + tuple(sorted((k, str(v)) for k, v in message.decoded.items()))

    def answer(self, n):
        """Up to the @n-th ReadyForQuery, or the end of the connection."""
        got = []
        while n > 0:
            try:
                message = self.conn.read()
            except Closed:
                self.is_open = False
                return got + [("closed",)]
            told = self._told(message)
            if told is not None:
                got.append(told)
            if message.kind == "Z":
                self.status = message.status
                n -= 1
        return got

    def take_unasked(self):
        taken, self.unasked = self.unasked, []
        return taken

    def listen_in(self, seconds):
        """Takes one notification that comes by itself. False: none came."""
        try:
            message = self.conn.read(seconds)
        except TimeoutError:
            return False
        except Closed:
            self.is_open = False
            self.unasked.append(("closed",))
            return True
        assert message.kind in "AN", f"{self.name} was told {message!r} without asking"
        self.unasked.append(self._told(message))
        return True


class World:
    def __init__(self, target, **login):
        self.target = target
        self.login = login
        self.names = {}
        self.peers = {}

    def connect(self, name, target=None, **login):
        if name in self.peers:
            self.peers[name].conn.close()
        before, self.login = self.login, {**self.login, **login}
        self.peers[name] = Peer(self, name, target or self.target)
        self.login = before
        return self.peers[name]

    def close(self):
        for peer in self.peers.values():
            peer.conn.close()


class Difference(AssertionError):
    pass


class Worlds:
    """.step(name, messages) -> the transcript of this step, equal in both."""

    def __init__(self, direct, pooled, **login):
        self.direct = World(direct, **{**login, "database": "test2"})  # notifications stay within a database
        self.pooled = World(pooled, **login)
        self.history = []

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.direct.close()
        self.pooled.close()

    def connect(self, *names, **login):
        for name in names:
            self.history.append(f"{name} connects")
            self.direct.connect(name, **login)
            self.pooled.connect(name, **login)

    def connect_outside(self, name):
        """A client that goes past the pool in both worlds."""
        self.history.append(f"{name} connects past the pool")
        self.direct.connect(name)
        self.pooled.connect(name, target=self.direct.target)

    def disconnect(self, name, *, politely=True):
        self.history.append(f"{name} leaves")
        for world in (self.direct, self.pooled):
            peer = world.peers.pop(name)
            if politely:
                peer.conn.send(terminate())
            peer.conn.close()

    def status(self, name):
        return self.direct.peers[name].status

    def _fail(self, who, what, direct, pooled):
        own = "\n  ".join([line for line in self.history if line.split()[0].rstrip(":") == who][-40:])
        past = "\n  ".join(self.history[-20:])
        raise Difference(f"{what}\n  direct: {direct}\n  pooled: {pooled}\nlast steps of {who}:\n  {own}\nafter:\n  {past}")

    def step(self, name, messages, settle=True):
        self.history.append(f"{name}: {b''.join(messages)!r}")
        direct, pooled = self.direct.peers[name], self.pooled.peers[name]
        early = len(pooled.unasked)
        direct.conn.send(*messages)
        pooled.conn.send(*(m.replace(b"TRANSACTION 'd", b"TRANSACTION 'p") for m in messages))  # one name space for both
        answers = direct.answer(n_ready(messages))
        try:
            pooled_answers = pooled.answer(n_ready(messages))
        except TimeoutError as problem:
            self._fail(name, f"{name}'s answer does not come through the pool", answers, problem)
        assert early == len(pooled.unasked)
        if answers != pooled_answers:
            self._fail(name, f"the answers to {name} differ", answers, pooled_answers)
        if settle:
            self.settle()
        return answers

    def settle(self):
        """What has been committed has reached every idle client, in both worlds."""
        idle = [p for p in self.direct.peers.values() if p.is_open and p.status == "I"]
        for peer in idle:
            peer.conn.send(query(""))
        for peer in idle:
            peer.unasked += [m for m in peer.answer(1) if m[0] not in "IZ"]
        for peer in idle:
            expected = peer.take_unasked()
            mine = self.pooled.peers[peer.name]
            deadline = time.monotonic() + PATIENCE
            while len(mine.unasked) < len(expected) and mine.listen_in(max(0.01, deadline - time.monotonic())):
                pass
            got = mine.take_unasked()
            if got != expected:
                self._fail(peer.name, f"what {peer.name} was told without asking differs", expected, got)

    def finish(self):
        """Nothing more than expected came through the pool either. Clients must not be inside transactions: each is
        asked once more, and only that question may be answered."""
        self.settle()
        for name, peer in self.pooled.peers.items():
            if peer.is_open and peer.status == "I":
                peer.conn.send(query("SELECT 'notify'"))
                surplus = [m for m in peer.answer(1) if m[0] == "A"]
                if surplus:
                    self._fail(name, f"{name} was told too much", [], surplus)
