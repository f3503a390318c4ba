# SPDX-License-Identifier: ISC
"""Plays the new process of an online restart up to the batch, and then goes wrong: fake_successor.py SOCKET HOW.

HOW: die (ends without an answer), garbage (answers with nonsense), early (says HAVE before anything was offered), silent
(says nothing until the old process gives up)."""

import socket
import struct
import sys


def frames(sock):
    """(type, body) of whatever comes; the descriptors are closed at once."""
    data = b""
    while True:
        while len(data) >= 5 and len(data) > struct.unpack("!I", data[1:5])[0]:
            total = struct.unpack("!I", data[1:5])[0] + 1
            yield data[:1], data[5:total]
            data = data[total:]
        more, fds, _, _ = socket.recv_fds(sock, 65536, 100)
        for fd in fds:
            socket.close(fd)
        if not more:
            return
        data += more


def until(stream, kind):
    for got, body in stream:
        if got == b"E" and kind != b"E" and body[:1] == b"S":
            sys.exit(f"refused: {body!r}")
        if got == kind:
            return
    sys.exit(f"ended before {kind!r}")


def msg(kind, body=b""):
    return kind + struct.pack("!I", len(body) + 4) + body


def main():
    path, how = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        body = struct.pack("!I", 3 << 16) + b"user\0pgpoold\0database\0pgpoold\0\0"
        sock.sendall(struct.pack("!I", len(body) + 4) + body)
        stream = frames(sock)
        until(stream, b"Z")
        sock.sendall(msg(b"Q", b"TAKEOVER 1\0"))
        until(stream, b"C")
        until(stream, b"O")
        if how == "early":
            sock.sendall(msg(b"h", struct.pack("!I", 1)) + msg(b"T", b"x"))
            until(stream, b"?")  # never comes: the old process hangs up
        sock.sendall(msg(b"r", struct.pack("!I", 0)))
        until(stream, b"Z")
        print("has the batch", flush=True)
        if how == "garbage":
            sock.sendall(b"\x00\xff\xff\xff\xff" + b"nonsense" * 100)
            until(stream, b"?")
        if how == "silent":
            for kind, body in stream:
                if kind == b"J":
                    print(f"given up: {body!r}")


main()
