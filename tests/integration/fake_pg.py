# SPDX-License-Identifier: ISC
"""A PostgreSQL server that follows a script, for what a real one cannot be made to do on demand.

    def script(conn):                          one thread per connection, after its login
        assert conn.expect("Q").sql == "select 1"
        conn.send(row_description("x"), data_row("1"), command_complete("SELECT 1"), ready())
    server = fake_pg(script)

Without a script every message gets a plausible answer (answer()); `answers` maps query text to messages.
An exception in a script fails the test at its end."""

import base64
import hashlib
import os
import pathlib
import socket
import ssl
import struct
import threading
import time

from wire import (CANCEL_CODE, FROM_CLIENT, GSS_CODE, SSL_CODE, Closed, Connection, Fields, WireError, cstr, md5_secret,
                  msg, scram_fields, scram_keys, xor, _hmac, _value)
from waiting import PATIENCE, eventually

PARAMS = {
    "server_version": "15.0", "server_encoding": "UTF8", "client_encoding": "UTF8", "DateStyle": "ISO, MDY",
    "TimeZone": "UTC", "integer_datetimes": "on", "standard_conforming_strings": "on", "IntervalStyle": "postgres",
    "is_superuser": "off", "session_authorization": "app", "in_hot_standby": "off",
    "default_transaction_read_only": "off", "application_name": "",
}


# ------------------------------------------------------------------------------------------------- building

def auth(how, data=b""):
    return msg("R", struct.pack("!I", how), data)


def auth_ok():
    return auth(0)


def parameter_status(name, value):
    return msg("S", cstr(name), cstr(value))


def backend_key(pid, secret):
    return msg("K", struct.pack("!I", pid), secret)


def ready(status="I"):
    return msg("Z", status.encode())


def row_description(*names, oid=25):
    """Columns of type text in text format."""
    columns = b"".join(cstr(n) + struct.pack("!IHIhiH", 0, 0, oid, -1, -1, 0) for n in names)
    return msg("T", struct.pack("!H", len(names)), columns)


def data_row(*values):
    return msg("D", struct.pack("!H", len(values)), *map(_value, values))


def command_complete(tag):
    return msg("C", cstr(tag))


def _fields(severity, code, text, more):
    fields = {"S": severity, "V": severity, "C": code, "M": text, **more}
    return b"".join(k.encode() + cstr(v) for k, v in fields.items()) + b"\0"


def error(code="XX000", text="scripted error", severity="ERROR", **more):
    return msg("E", _fields(severity, code, text, more))


def notice(text="scripted notice", code="00000", severity="NOTICE", **more):
    return msg("N", _fields(severity, code, text, more))


def notification(channel, payload="", pid=1):
    return msg("A", struct.pack("!I", pid), cstr(channel), cstr(payload))


def empty_query():
    return msg("I")


def parse_complete():
    return msg("1")


def bind_complete():
    return msg("2")


def close_complete():
    return msg("3")


def no_data():
    return msg("n")


def parameter_description(*oids):
    return msg("t", struct.pack("!H", len(oids)), *(struct.pack("!I", o) for o in oids))


def copy_in(columns=1):
    return msg("G", b"\0", struct.pack("!H", columns), b"\0\0" * columns)


def copy_out(columns=1):
    return msg("H", b"\0", struct.pack("!H", columns), b"\0\0" * columns)


def answer(message):
    """What a server would say, more or less, to one message of a client; b"" for what it only collects."""
    if message.kind == "Q":
        if not message.sql.strip():
            return empty_query() + ready()
        return row_description("fake") + data_row(message.sql) + command_complete("SELECT 1") + ready()
    if message.kind == "D":
        return (parameter_description() if message.what == "S" else b"") + row_description("fake")
    plain = {"P": parse_complete(), "B": bind_complete(), "C": close_complete(), "S": ready(),
             "E": data_row("fake") + command_complete("SELECT 1"), "F": msg("V", _value(None)) + ready()}
    return plain.get(message.kind, b"")


# ------------------------------------------------------------------------------------------------- server

class FakeConnection(Connection):
    """One connection to the fake server: .startup (parameters), .version, .tls, .pid, .secret, .received."""

    decoders = FROM_CLIENT

    def __init__(self, sock, server, pid):
        super().__init__(sock)
        self.server = server
        self.pid = pid
        self.secret = os.urandom(4)
        self.startup = {}
        self.version = None
        self.tls = False
        self.received = []
        self.is_open = True

    def read(self, timeout=None):
        message = super().read(timeout)
        self.received.append(message)
        return message

    def read_first(self):
        """The first packet; answers SSLRequest and GSSENCRequest. False when it was a CancelRequest."""
        while True:
            length = struct.unpack("!I", self.read_bytes(4))[0]
            f = Fields(self.read_bytes(length - 4))
            code = f.u32()
            if code == CANCEL_CODE:
                self.server.cancels.append((f.u32(), f.left()))
                self.server.cancels_over_tls.append(self.tls)
                if self.server.on_cancel is not None:
                    self.server.on_cancel()
                return False
            if code == SSL_CODE and self.server.tls is not None:
                self.send(b"S")
                self.sock = self.server.tls.wrap_socket(self.sock, server_side=True)
                self.tls = True
            elif code in (SSL_CODE, GSS_CODE):
                self.send(b"N")
            else:
                self.version = code
                while (name := f.text()) != "":
                    self.startup[name] = f.text()
                return True

    def welcome(self, params=None):
        """AuthenticationOk up to ReadyForQuery, in one send."""
        shown = {**PARAMS, **self.server.params, **(params or {})}
        shown = {name: value for name, value in shown.items() if value is not None}  # None: not reported
        self.send(auth_ok(), *(parameter_status(k, v) for k, v in shown.items()),
                  backend_key(self.pid, self.secret), ready())

    def refuse(self, code="28P01", text="password authentication failed"):
        self.send(error(code, text, "FATAL"))

    def check_password(self, method, password):
        """Asks the client for @password by @method: trust, password, md5, scram. Whether it was right."""
        if method == "trust":
            return True
        if method == "password":
            self.send(auth(3))
            return self.expect("p").data == cstr(password)
        if method == "md5":
            salt = os.urandom(4)
            self.send(auth(5, salt))
            return self.expect("p").data == cstr(md5_secret(self.startup["user"], password, salt))
        if method == "scram":
            return self.check_scram(password)
        raise ValueError(method)

    def check_scram(self, password, iterations=4096, salt=None):
        """The server's side of SCRAM-SHA-256, RFC 5802."""
        salt = salt or os.urandom(16)
        self.send(auth(10, cstr("SCRAM-SHA-256") + b"\0"))
        f = Fields(self.expect("p").data)
        if f.text() != "SCRAM-SHA-256":
            raise WireError("the client chose a mechanism that was not offered")
        first = f.value()
        gs2, first_bare = first[:3], first[3:]
        nonce = scram_fields(first_bare)["r"] + base64.b64encode(os.urandom(18)).decode()
        server_first = f"r={nonce},s={base64.b64encode(salt).decode()},i={iterations}".encode()
        self.send(auth(11, server_first))
        final = self.expect("p").data
        fields = scram_fields(final)
        _, stored_key, server_key = scram_keys(password, salt, iterations)
        signed = first_bare + b"," + server_first + b"," + final[:final.rindex(b",p=")]
        client_key = xor(base64.b64decode(fields["p"]), _hmac(stored_key, signed))
        if (hashlib.sha256(client_key).digest() != stored_key or fields["r"] != nonce
                or fields["c"] != base64.b64encode(gs2).decode()):
            return False
        self.send(auth(12, b"v=" + base64.b64encode(_hmac(server_key, signed))))
        return True

    def serve(self, answers=None):
        """Answers every message until the client leaves. answers: query text -> messages to send for it."""
        while True:
            message = self.read(timeout=3600)
            if message.kind == "X":
                return
            if message.kind == "Q" and answers and message.sql in answers:
                self.send(answers[message.sql])
            else:
                self.send(answer(message))

    def reset(self):
        """Closes with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class FakePg:
    """The server. .host and .port to connect to; .connections (all that logged in, in order), .cancels
    ((pid, secret) of every CancelRequest), .startups."""

    host = "127.0.0.1"

    def __init__(self, script=None, *, auth="trust", password="secret", params=None, answers=None, on_startup=None,
                 on_cancel=None, tls=None, socket_dir=None, listen=True, address=(host, 0)):
        """script: called with a FakeConnection after its login, instead of serve(). on_startup: called after the
        startup packet instead of the login; may call welcome(). on_cancel: called for each CancelRequest, before
        its connection is closed. tls: (certificate, key), or an ssl context.
        socket_dir: listen on a Unix socket there as well. address: (host, port); port 0: any."""
        self.script = script
        self.auth = auth
        self.password = password
        self.params = params or {}
        self.answers = answers or {}
        self.on_startup = on_startup
        self.on_cancel = on_cancel
        self.tls = _server_context(tls)
        self.connections = []
        self.startups = []
        self.cancels = []
        self.cancels_over_tls = []  # of each of them: was it encrypted?
        self.failures = []
        self._n_accepted = 0
        self._lock = threading.Lock()
        self._sockets = []
        self._listeners = []
        self._closing = False
        self._tcp = socket.create_server(address, backlog=200)
        self.host, self.port = self._tcp.getsockname()
        self.socket_dir = socket_dir
        if listen:
            self._listen(self._tcp)
        if socket_dir:
            path = pathlib.Path(socket_dir) / f".s.PGSQL.{self.port}"
            unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            unix.bind(str(path))
            path.chmod(0o777)
            unix.listen(200)
            self._listen(unix)

    def _listen(self, sock):
        self._listeners.append(sock)
        threading.Thread(target=self._accept, args=(sock,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                if self._closing:
                    sock.close()
                    return
                self._n_accepted += 1
                conn = FakeConnection(sock, self, self._n_accepted)
                self._sockets.append(conn)
            threading.Thread(target=self._run, args=(conn,), daemon=True).start()

    def _run(self, conn):
        try:
            if not conn.read_first():
                return
            self.startups.append(conn.startup)
            if self.on_startup is not None:
                self.on_startup(conn)
                return
            if not conn.check_password(self.auth, self.password):
                conn.refuse()
                return
            self.connections.append(conn)
            conn.welcome()
            if self.script is not None:
                self.script(conn)
            else:
                conn.serve(self.answers)
        except (Closed, OSError, ssl.SSLError) as problem:
            # A peer that leaves is a matter for the script, which may wait for it with expect_closed().
            conn.ended_by = problem
        except BaseException as problem:  # pylint: disable=broad-except  # shown by check()
            if not self._closing:
                self.failures.append(problem)
        finally:
            conn.is_open = False
            conn.close()

    def wait_connections(self, n, timeout=PATIENCE):
        """Until @n connections have logged in; they are returned."""
        return eventually(lambda: len(self.connections) >= n and list(self.connections),
                          f"{n} logins at the fake server", timeout)

    def n_open(self):
        return sum(conn.is_open for conn in self.connections)

    def check(self):
        """Raises what a script raised."""
        if self.failures:
            raise AssertionError(f"the fake server's script failed: {self.failures[0]!r}") from self.failures[0]

    def close(self):
        self._closing = True
        for listener in self._listeners + [self._tcp]:
            try:
                listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
            except OSError:
                pass
            listener.close()
        with self._lock:
            sockets = list(self._sockets)
        for conn in sockets:
            try:
                conn.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        deadline = time.monotonic() + 2
        while any(conn.is_open for conn in sockets) and time.monotonic() < deadline:
            time.sleep(0.01)


def _server_context(tls):
    if tls is None or isinstance(tls, ssl.SSLContext):
        return tls
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, tls))
    return context
