# SPDX-License-Identifier: ISC
"""A real DNS server (Debian's nsd) with one zone, on a port of its own, as an ordinary user."""

import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess

from account import Port, as_server_account, give, make_dir
from waiting import PATIENCE, Hopeless, eventually

ZONE = "shop.example"
CONFIG = """\
server:
    ip-address: 127.0.0.1@{port}
    username: ""
    server-count: 1
    zonesdir: "{home}"
    database: ""
    pidfile: ""
    zonelistfile: "{home}/zone.list"
    xfrdfile: "{home}/xfrd.state"
    xfrdir: "{home}"
    cookie-secret-file: ""
remote-control:
    control-enable: no
zone:
    name: {zone}
    zonefile: zone
"""


class NameServer:
    """nsd for shop.example. .set({"db": "127.0.0.1"}) gives it records; .resolv_conf leads to it."""

    def __init__(self, home):
        self.home = pathlib.Path(make_dir(home))
        self._port = Port()
        self.port = self._port.number
        self.process = None
        self.serial = 1
        self.resolv_conf = self.home / "resolv.conf"
        self.resolv_conf.write_text(f"nameserver 127.0.0.1:{self.port}\n")
        give(self.resolv_conf, 0o644)
        (self.home / "nsd.conf").write_text(CONFIG.format(port=self.port, home=self.home, zone=ZONE))

    def _write(self, records, ttl):
        lines = [f"$ORIGIN {ZONE}.", f"@ 3600 IN SOA ns admin {self.serial} 3600 600 86400 {ttl}", "@ 3600 IN NS ns",
                 "ns 3600 IN A 127.0.0.1"]
        for name, values in records.items():
            for value in [values] if isinstance(values, str) else values:
                kind = "CNAME" if value.isalpha() else "AAAA" if ":" in value else "A"
                lines.append(f"{name} {ttl} IN {kind} {value}")
        (self.home / "zone").write_text("\n".join(lines) + "\n")
        give(self.home / "zone", 0o644)

    def start(self, records, ttl=3600):
        self._write(records, ttl)
        with open(self.home / "log", "ab") as log:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                as_server_account([shutil.which("nsd", path=os.environ["PATH"] + ":/usr/sbin"), "-d", "-c",
                                   self.home / "nsd.conf"], death_signal="TERM"),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        eventually(lambda: self.asked() == self.serial, "nsd answers", timeout=30)
        return self

    def set(self, records, ttl=3600):
        """Other records, and a higher serial number."""
        self.serial += 1
        before = self._processes()
        self._write(records, ttl)
        os.utime(self.home / "zone", (self.serial * 10, self.serial * 10))  # nsd looks whether it is another
        self.process.send_signal(signal.SIGHUP)
        eventually(lambda: self.asked() == self.serial, "nsd has the new zone", timeout=30)
        # The process that knows the old one may still answer.
        eventually(lambda: len(before & self._processes()) < len(before), "the old process has ended", timeout=30)

    def _processes(self):
        listing = subprocess.run(["ps", "-o", "pid=", "-s", str(self.process.pid)], stdout=subprocess.PIPE, check=False)
        return set(listing.stdout.split())

    def asked(self):
        """The serial number of the zone, by asking the server for it."""
        if self.process.poll() is not None:
            raise Hopeless(f"nsd ended:\n{(self.home / 'log').read_text()}")
        name = b"".join(bytes([len(part)]) + part.encode() for part in ZONE.split("."))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1)
            sock.connect(("127.0.0.1", self.port))
            sock.send(struct.pack("!HHHHHH", 1, 0, 1, 0, 0, 0) + name + b"\0\0\6\0\1")
            answer = sock.recv(512)
        if struct.unpack("!H", answer[6:8])[0] != 1:
            return None
        end = answer.index(b"admin", 12) + 5  # the name of its keeper, whose rest is a pointer of two bytes
        return struct.unpack("!I", answer[end + 2:end + 6])[0]

    def _signal(self, number):
        """To all of it: nsd is several processes."""
        os.killpg(self.process.pid, number)

    def freeze(self):
        self._signal(signal.SIGSTOP)

    def thaw(self):
        self._signal(signal.SIGCONT)

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.thaw()
            self.process.terminate()
            self.process.wait(PATIENCE)

    def close(self):
        self.stop()
        self._port.close()
        shutil.rmtree(self.home, ignore_errors=True)
