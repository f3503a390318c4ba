# SPDX-License-Identifier: ISC
"""SHOW FDS as the daemon's own system user: take_fds.py SOCKET [simple|extended]. Prints each row as JSON, with what its
descriptor turns out to be: "accepts" (a listening socket), "peer", "answer" (of a server that was asked a query over it)."""

import json
import os
import signal
import socket
import struct
import sys


def msg(kind, body=b""):
    return kind + struct.pack("!I", len(body) + 4) + body


class Stream:
    """Messages, each DataRow with its descriptor if they come with any: the kernel never puts bytes behind those of a
    descriptor into the same read, so they come one by one."""

    def __init__(self, sock):
        self.sock = sock
        self.data = b""
        self.fds = []

    def fill(self):
        data, fds, flags, _ = socket.recv_fds(self.sock, 65536, 8)
        if not data or flags & socket.MSG_CTRUNC or len(fds) > 1:
            sys.exit(f"{len(data)} bytes, {len(fds)} descriptors, flags {flags}; {self.data!r}")
        self.fds += fds
        self.data += data

    def read(self):
        while len(self.data) < 5 or len(self.data) <= struct.unpack("!I", self.data[1:5])[0]:
            self.fill()
        total = struct.unpack("!I", self.data[1:5])[0] + 1
        kind, body = self.data[:1], self.data[5:total]
        fd = self.fds.pop(0) if kind == b"D" and self.fds else None
        self.data = self.data[total:]
        if kind == b"E":
            sys.exit(f"refused: {body!r}")
        return kind, body, fd

    def until(self, last):
        got = [self.read()]
        while got[-1][0] != last:
            got.append(self.read())
        return got


def values(body):
    at = 2
    for _ in range(struct.unpack("!H", body[:2])[0]):
        size = struct.unpack("!i", body[at:at + 4])[0]
        at += 4
        yield None if size < 0 else body[at:at + size].decode()
        at += max(size, 0)


def names(body):
    at = 2
    for _ in range(struct.unpack("!H", body[:2])[0]):
        end = body.index(b"\0", at)
        yield body[at:end].decode()
        at = end + 19


def look_at(row, fd):
    with socket.socket(fileno=fd) as sock:
        sock.settimeout(30)
        row["accepts"] = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        row["peer"] = None if row["accepts"] else sock.getpeername()
        if row["task"] == "server":
            sock.sendall(msg(b"Q", b"select pg_backend_pid()\0"))
            answer = Stream(sock).until(b"Z")
            row["answer"] = next(list(values(body))[0] for kind, body, _ in answer if kind == b"D")
    return row


def main():
    path, how = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        body = struct.pack("!I", 3 << 16) + b"user\0pgbouncer\0database\0pgbouncer\0\0"
        sock.sendall(struct.pack("!I", len(body) + 4) + body)
        stream = Stream(sock)
        stream.until(b"Z")
        if how == "simple":
            sock.sendall(msg(b"Q", b"SHOW FDS\0"))
        else:
            sock.sendall(msg(b"P", b"\0SHOW FDS\0\0\0") + msg(b"B", bytes(8)) + msg(b"D", b"P\0") +
                         msg(b"E", bytes(5)) + msg(b"S"))
        got = stream.until(b"Z")
        columns = next(list(names(body)) for kind, body, _ in got if kind == b"T")
        assert not stream.fds and all((fd is not None) == (kind == b"D") for kind, _, fd in got)
        daemon = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        os.kill(daemon, signal.SIGSTOP)  # or it would read the answers of the servers
        try:
            print(json.dumps([look_at(dict(zip(columns, values(body))), fd) for kind, body, fd in got if kind == b"D"]))
        finally:
            os.kill(daemon, signal.SIGCONT)


main()
