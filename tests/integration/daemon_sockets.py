# SPDX-License-Identifier: ISC
"""The sockets of another process, as the kernel sees them: for options that only setsockopt() knows about."""

import contextlib
import ctypes
import errno
import os
import socket
import stat

PIDFD_GETFD = 438  # the same number on every architecture

_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def sockets_of(pid):
    """Copies of all TCP sockets of process @pid, which must be a child of ours or belong to the same user."""
    pidfd = os.pidfd_open(pid)
    found = []
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                if not stat.S_ISSOCK(os.stat(f"/proc/{pid}/fd/{name}").st_mode):
                    continue
            except FileNotFoundError:
                continue  # it was closed since the folder was read
            fd = _libc.syscall(PIDFD_GETFD, pidfd, int(name), 0)
            if fd < 0 and ctypes.get_errno() == errno.EBADF:
                continue  # it was closed just now
            if fd < 0:
                raise OSError(ctypes.get_errno(), "pidfd_getfd")
            sock = socket.socket(fileno=fd)
            found.append(sock)
        yield [sock for sock in found if sock.family in (socket.AF_INET, socket.AF_INET6)]
    finally:
        for sock in found:
            sock.close()
        os.close(pidfd)


def peer_port(sock):
    """0: it is not connected."""
    try:
        return sock.getpeername()[1]
    except OSError:
        return 0


def options_of(sockets):
    """What the options of pgpoold set, by their names; of sockets that should all have the same."""
    values = {"tcp_keepalive": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
              "tcp_keepidle": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
              "tcp_keepintvl": (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
              "tcp_keepcnt": (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
              "tcp_user_timeout": (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
              "sndbuf": (socket.SOL_SOCKET, socket.SO_SNDBUF), "rcvbuf": (socket.SOL_SOCKET, socket.SO_RCVBUF)}
    found = [{name: sock.getsockopt(*where) for name, where in values.items()} for sock in sockets]
    assert found, "no such socket"
    assert all(one == found[0] for one in found)
    return found[0]
