# SPDX-License-Identifier: ISC
"""Several processes of pgpoold that are peers, and something that plays a peer."""

import contextlib
import socket
import struct
import threading

from account import Port
from sessions import one_database
from waiting import eventually
from wire import CANCEL_CODE


class Group:
    """Daemons numbered from 1 with a Unix socket each and the same [peers]; with one_port they share a TCP port."""

    def __init__(self, pgpoold, pg, n, *, one_port=False, host=None, **options):
        self._port = Port() if one_port else None
        self.daemons = []
        more = {"so_reuseport": 1, "listen_port": self._port.number} if one_port else {}
        for i in range(n):
            daemon = pgpoold(start=False, peer_id=i + 1, databases=one_database(pg), **more, **options)
            if one_port:
                daemon.port = self._port.number
            self.daemons.append(daemon)
        self.peers = {str(i + 1): f"host={host or d.socket_dir} port={d.port}" for i, d in enumerate(self.daemons)}
        for daemon in self.daemons:
            daemon.change(peers=self.peers)
            self.start(daemon)

    @staticmethod
    def start(daemon):
        daemon.start(wait=False)
        eventually(lambda: show(daemon, "version"), "it accepts connections", timeout=30)

    def __getitem__(self, peer_id):
        return self.daemons[peer_id - 1]

    def close(self):
        if self._port:
            self._port.close()


def show(daemon, what, **where):
    """As daemon.show(), over the Unix socket: over TCP another process of the group might answer."""
    rows = daemon.admin(f"SHOW {what}", host=daemon.socket_dir)
    return [row for row in rows if all(row.get(k) == v for k, v in where.items())]


def figures(daemon, peer_id):
    return show(daemon, "peer_pools", peer_id=peer_id)[0]


class FakePeer:
    """Takes cancel requests and closes each when it is told to: .requests (pid, secret), .n_open, .release()."""

    host = "127.0.0.1"

    def __init__(self):
        self.requests = []
        self.most_open = 0
        self.n_open = 0
        self._gate = threading.Event()
        self._lock = threading.Lock()
        self._listener = socket.create_server((self.host, 0), backlog=500)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._run, args=(sock,), daemon=True).start()

    def _run(self, sock):
        with self._lock:
            self.n_open += 1
            self.most_open = max(self.most_open, self.n_open)
        with sock, contextlib.suppress(OSError, struct.error):
            sock.settimeout(60)
            packet = sock.recv(1000)
            length, code, pid = struct.unpack("!III", packet[:12])
            assert length == len(packet) and code == CANCEL_CODE
            with self._lock:
                self.requests.append((pid, packet[12:]))
            self._gate.wait(60)
            with self._lock:  # before the daemon sees the end and opens the next one
                self.n_open -= 1

    def release(self):
        self._gate.set()

    def close(self):
        self._gate.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
