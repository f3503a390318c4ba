# SPDX-License-Identifier: ISC
"""Plays the old process of an online restart, and goes wrong: fake_predecessor.py SOCKET HOW.

HOW: dies (before its GO), dies-in-batch (with a record of the batch half sent), aborts, talks-garbage, hangs-up (but lives on),
is-newer (another version of the take-over), refuses (the TAKEOVER)."""

import array
import os
import signal
import socket
import struct
import sys


def msg(kind, body=b""):
    return kind + struct.pack("!I", len(body) + 4) + body


def read_message(sock):
    head = sock.recv(5, socket.MSG_WAITALL)
    if len(head) < 5:
        sys.exit("the new process has hung up")
    return head[:1], sock.recv(struct.unpack("!I", head[1:])[0] - 4, socket.MSG_WAITALL)


def send_with(sock, data, fd):
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])


def log_in(sock):
    sock.recv(struct.unpack("!I", sock.recv(4, socket.MSG_WAITALL))[0] - 4, socket.MSG_WAITALL)
    sock.sendall(msg(b"R", bytes(4)) + msg(b"Z", b"I"))
    kind, body = read_message(sock)
    assert kind == b"Q" and body.startswith(b"TAKEOVER")


def offer(sock, listener, version, name):
    hello = struct.pack("!IIQQIQ", version, os.getpid(), 1 << 20, 7, 100, 0) + struct.pack("!I", 32) + bytes(32) + name
    sock.sendall(msg(b"C", b"TAKEOVER\0") + msg(b"H", hello + b"\0"))
    send_with(sock, msg(b"L", b"\0"), listener.fileno())
    sock.sendall(msg(b"O"))


def main():
    path, how = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print("listening", flush=True)
        sock, _ = listener.accept()
        log_in(sock)
        if how == "refuses":
            sock.sendall(msg(b"E", b"SERROR\0C55000\0Mnot now\0\0"))
            signal.pause()
        newer = how == "is-newer"
        offer(sock, listener, 99 if newer else 1, b"pgpoold of tomorrow" if newer else b"pgpoold")
        kind, _ = read_message(sock)
        assert kind == b"r"
        if how == "dies-in-batch":
            sock.sendall(msg(b"S", b"half a record")[:9])
        if how.startswith("dies"):
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "aborts":
            sock.sendall(msg(b"J", b"it took too long\0"))
        elif how == "talks-garbage":
            sock.sendall(b"\x01" * 100)
        elif how == "hangs-up":
            sock.close()
        signal.pause()


main()
