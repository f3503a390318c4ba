# SPDX-License-Identifier: ISC
"""Malicious peers: sessions that begin like good ones and go wrong at random, from both sides of the pooler."""

import random
import struct

import fake_pg
from wire import (bind, cancel_request, close, copy_data, copy_done, copy_fail, describe, execute, flush, function_call,
                  msg, parse, password_message, query, raw, special, startup, sync, terminate)

NAMES = ("", "a", "s1", "pgpoold_1", "x" * 300, "\u20ac", "a\0b")
TEXTS = ("", "select 1", "begin", "commit", "rollback", "select 1/0", "select $1", "listen a", "unlisten *", "notify a",
         "copy (select 1) to stdout", "copy pg_temp.t from stdin", "discard all", "deallocate all", "deallocate s1",
         "set application_name = 'x'", "set timezone = 'nowhere'", "reset all", "savepoint a", "rollback to a",
         "select pg_notify('a', 'b')", "select repeat('x', 100000)", "/* " * 2000, "'" * 999, "$tag$ listen", ";" * 100,
         "select 1; select 2; select 1/0; select 3", "prepare p as select 1", "select pg_sleep(0.01)", "\xff\xfe")


def integer(rnd):
    return rnd.choice((0, 1, 2, 4, 5, 255, 65535, 2**31 - 1, -1, -2**31, rnd.getrandbits(32) - 2**31))


def noise(rnd):
    return rnd.randbytes(rnd.choice((0, 1, 3, 4, 5, 17, 300, 5000)))


def corrupt(rnd, data):
    """One message, or several, made wrong somewhere."""
    data = bytearray(data)
    how = rnd.randrange(7)
    if not data or how == 0:
        return bytes(data) + noise(rnd)
    at = rnd.randrange(len(data))
    if how == 1:
        data[at] ^= 1 << rnd.randrange(8)
    elif how == 2:
        del data[at:]
    elif how == 3:
        data[at:at] = noise(rnd)
    elif how == 4 and len(data) >= 5:
        struct.pack_into("!i", data, 1, integer(rnd))
    elif how == 5:
        del data[at:at + rnd.randrange(1, 9)]
    else:
        data[0] = rnd.randrange(256)
    return bytes(data)


def client_message(rnd):
    name, text = rnd.choice(NAMES), rnd.choice(TEXTS)
    values = [rnd.choice((None, "1", "x" * 1000, b"\0\xff")) for _ in range(rnd.randrange(3))]
    return rnd.choice((
        lambda: query(text), lambda: query(text), lambda: parse(name, text, (25,) * rnd.randrange(3)),
        lambda: bind(rnd.choice(NAMES), name, values, (0, 1, 7)[:rnd.randrange(4)]), lambda: describe("S", name),
        lambda: describe("P", name), lambda: describe("\x00", name), lambda: execute(rnd.choice(NAMES), abs(integer(rnd))),
        lambda: close("S", name), lambda: close("P", name), sync, sync, flush, lambda: function_call(2**32 - 1, values),
        lambda: copy_data("1\n"), copy_done, lambda: copy_fail("no"), lambda: password_message("late"),
        lambda: raw(chr(rnd.randrange(256)), integer(rnd), noise(rnd)), lambda: msg(chr(rnd.randrange(256)), noise(rnd)),
        terminate))()


def first_packet(rnd):
    params = {"user": "app", "database": "test"}
    more = rnd.randrange(12)
    if more == 0:
        params["options"] = rnd.choice(("-c", "-c a", "--x=y", "-c a=" + "b" * 5000, "\\", "-c timezone=UTC -d 5"))
    elif more == 1:
        params.update({f"p{i}": "v" for i in range(rnd.choice((10, 63, 64, 65, 1000)))})
    elif more == 2:
        params[rnd.choice(("", "replication", "client_encoding", "_pq_.x", "a\0b"))] = rnd.choice(("", "x", "true"))
    return rnd.choice((
        lambda: startup(params), lambda: startup(params), lambda: startup(params), lambda: startup(params),
        lambda: startup(params, rnd.getrandbits(32)), lambda: special(rnd.getrandbits(32), noise(rnd)),
        lambda: cancel_request(rnd.getrandbits(32), noise(rnd)), lambda: noise(rnd),
        lambda: struct.pack("!i", integer(rnd)) + noise(rnd), lambda: b"\x16\x03\x01" + noise(rnd)))()


def client_session(rnd):
    """Chunks to send, one after the other; the answers are read and not looked at."""
    chunks = [first_packet(rnd)]
    if rnd.random() < 0.15:
        chunks[0] = corrupt(rnd, chunks[0])
    for _ in range(rnd.randrange(12)):
        data = b"".join(client_message(rnd) for _ in range(rnd.randrange(1, 5)))
        chunks.append(corrupt(rnd, data) if rnd.random() < 0.15 else data)
    return chunks


def server_message(rnd):
    f = fake_pg
    return rnd.choice((
        lambda: f.ready(rnd.choice("ITEX\0")), f.ready, f.ready, lambda: f.row_description("a"),
        lambda: f.data_row("1", None), lambda: f.data_row("x" * 50000), lambda: f.command_complete(rnd.choice(
            ("SELECT 1", "LISTEN", "DISCARD ALL", "SET", "", "x" * 3000))),
        lambda: f.error("XX000", "scripted", rnd.choice(("ERROR", "FATAL", "PANIC", ""))), lambda: msg("E", noise(rnd)),
        f.notice, lambda: f.notification("a", "b", 1), f.parse_complete, f.bind_complete, f.close_complete, f.no_data,
        lambda: f.parameter_description(*range(rnd.randrange(4))), f.copy_in, f.copy_out, lambda: copy_data("x"), copy_done,
        lambda: f.parameter_status(rnd.choice(("TimeZone", "application_name", "in_hot_standby", "x", "")),
                                   rnd.choice(("UTC", "", "x" * 5000))),
        lambda: f.backend_key(1, noise(rnd)), f.auth_ok, lambda: f.auth(integer(rnd) & 0xffffffff, noise(rnd)),
        lambda: raw(chr(rnd.randrange(256)), integer(rnd), noise(rnd)), f.empty_query, lambda: msg("s")))()


def server_answer(rnd, good):
    """Instead of the answer @good, or around it."""
    how = rnd.random()
    if how < 0.5:
        return good
    if how < 0.7:
        return corrupt(rnd, good)
    wild = b"".join(server_message(rnd) for _ in range(rnd.randrange(1, 6)))
    return rnd.choice((wild, wild + good, good + wild, good[:len(good) // 2] + wild))


def evil_server(seed):
    """For FakePg(on_startup=...): a server that logs clients in more or less, and answers more or less."""
    def on_startup(conn):
        rnd = random.Random(f"{seed}/{conn.pid}")
        if rnd.random() < 0.1:
            conn.send(server_answer(rnd, fake_pg.auth_ok() + fake_pg.ready()))
        elif rnd.random() < 0.1:
            return
        conn.welcome()
        while (message := conn.read(timeout=3600)).kind != "X":
            good = fake_pg.answer(message)
            if good and rnd.random() < 0.05:
                return  # it closes instead
            conn.send(server_answer(rnd, good))

    return on_startup
