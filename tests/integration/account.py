# SPDX-License-Identifier: ISC
"""Who runs the servers of the tests, where their files lie, and which ports they get.

PostgreSQL refuses to run as root, so when the tests run as root the servers run as an ordinary user."""

import os
import pwd
import shutil
import socket


def server_account():
    """The passwd entry under which servers run: ourselves, or for root an ordinary system user."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("running as root, and there is neither a user postgres nor a user nobody")


def as_server_account(command, death_signal=None):
    """The command line that runs @command as server_account(). It is sent @death_signal ("KILL", "QUIT")
    when the test process dies first, so that a killed test run leaves no servers behind."""
    prefix = ["setpriv"]
    if os.geteuid() == 0:
        account = server_account()
        prefix += [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    if death_signal:
        prefix += ["--pdeathsig", death_signal]
    if len(prefix) == 1:
        return list(map(str, command))
    return prefix + ["--"] + list(map(str, command))


def give(path, mode=0o755):
    """Makes @path (a folder or file) the property of server_account()."""
    os.chmod(path, mode)
    if os.geteuid() == 0:
        account = server_account()
        os.chown(path, account.pw_uid, account.pw_gid)
    return path


def give_all(path):
    """As give(), with all that is below; modes stay."""
    if os.geteuid() == 0:
        account = server_account()
        for folder, _, files in os.walk(path):
            os.chown(folder, account.pw_uid, account.pw_gid)
            for name in files:
                os.chown(os.path.join(folder, name), account.pw_uid, account.pw_gid)
    return path


def make_dir(path):
    """A new folder that servers may write to, empty even if there was one of that name."""
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    give(path)
    return path


class Port:
    """A free TCP port on 127.0.0.1, held until close().

    The holding socket is bound but does not listen: the kernel gives the port to nobody else, while a server that
    sets SO_REUSEADDR (PostgreSQL and pgpoold do) can bind it. So neither parallel workers nor outgoing connections
    can come in between."""

    def __init__(self):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number = self._socket.getsockname()[1]

    def close(self):
        self._socket.close()
