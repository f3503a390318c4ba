# SPDX-License-Identifier: ISC
"""The PostgreSQL protocol, raw: builds any message, reads messages into small objects, speaks as a client.

    c = wire(daemon, user="app", database="test")       the fixture; logs in
    c.send(parse("s1", "select $1::int"), bind("", "s1", ["1"]), execute(), sync())
    c.expect("1", "2", "D", "C", "Z")
    assert c.query("select 1").rows == [("1",)]
"""

import base64
import hashlib
import hmac
import os
import socket
import ssl
import struct
import time

from waiting import PATIENCE

PROTOCOL_3_0 = 3 << 16
PROTOCOL_3_2 = 3 << 16 | 2
CANCEL_CODE = 1234 << 16 | 5678
SSL_CODE = 1234 << 16 | 5679
GSS_CODE = 1234 << 16 | 5680


class WireError(Exception):
    """The peer did something else than was expected of it."""


class Closed(WireError):
    """The peer closed or reset the connection."""


class ServerError(WireError):
    """An ErrorResponse where success was expected; .message has it."""

    def __init__(self, message):
        super().__init__(f"{message.severity} {message.code}: {message.text}")
        self.message = message
        self.code = message.code
        self.text = message.text


# ------------------------------------------------------------------------------------------------- building

def _bytes(value):
    return value if isinstance(value, bytes) else str(value).encode()


def cstr(value):
    return _bytes(value) + b"\0"


def msg(kind, *parts):
    """Any message: msg("Q", cstr("select 1")). The length is right; see raw() for lies."""
    body = b"".join(parts)
    return kind.encode("latin-1") + struct.pack("!I", len(body) + 4) + body


def raw(kind, length, body=b""):
    """A message whose length field says @length, whatever the body is."""
    return kind.encode("latin-1") + struct.pack("!i", length) + body


def startup(params, version=PROTOCOL_3_0):
    """@params: a dict, or pairs when order or repetition matters."""
    pairs = params.items() if isinstance(params, dict) else params
    body = struct.pack("!I", version) + b"".join(cstr(k) + cstr(v) for k, v in pairs) + b"\0"
    return struct.pack("!I", len(body) + 4) + body


def special(code, body=b""):
    """SSLRequest, GSSENCRequest and CancelRequest: no type byte."""
    return struct.pack("!II", len(body) + 8, code) + body


def cancel_request(pid, secret):
    return special(CANCEL_CODE, struct.pack("!I", pid) + secret)


def query(sql):
    return msg("Q", cstr(sql))


def parse(name, sql, types=()):
    return msg("P", cstr(name), cstr(sql), struct.pack("!H", len(types)), *(struct.pack("!I", t) for t in types))


def _value(value):
    if value is None:
        return struct.pack("!i", -1)
    data = _bytes(value)
    return struct.pack("!i", len(data)) + data


def bind(portal="", statement="", values=(), formats=(), result_formats=()):
    def codes(items):
        return struct.pack("!H", len(items)) + b"".join(struct.pack("!H", f) for f in items)
    return msg("B", cstr(portal), cstr(statement), codes(formats), struct.pack("!H", len(values)),
               *map(_value, values), codes(result_formats))


def describe(kind="S", name=""):
    return msg("D", kind.encode(), cstr(name))


def execute(portal="", max_rows=0):
    return msg("E", cstr(portal), struct.pack("!I", max_rows))


def close(kind="S", name=""):
    return msg("C", kind.encode(), cstr(name))


def sync():
    return msg("S")


def flush():
    return msg("H")


def function_call(oid, values=(), formats=()):
    return msg("F", struct.pack("!I", oid), struct.pack("!H", len(formats)),
               *(struct.pack("!H", f) for f in formats), struct.pack("!H", len(values)), *map(_value, values),
               struct.pack("!H", 0))


def copy_data(data):
    return msg("d", _bytes(data))


def copy_done():
    return msg("c")


def copy_fail(why):
    return msg("f", cstr(why))


def terminate():
    return msg("X")


def password_message(secret):
    return msg("p", cstr(secret))


# ------------------------------------------------------------------------------------------------- reading

class Fields:
    """Reads the fields of one message body in order."""

    def __init__(self, body):
        self.body = body
        self.at = 0

    def take(self, n):
        if n > len(self.body) - self.at:
            raise WireError(f"message ends too early: {self.body!r}")
        self.at += n
        return self.body[self.at - n:self.at]

    def u8(self):
        return self.take(1)[0]

    def u16(self):
        return struct.unpack("!H", self.take(2))[0]

    def i32(self):
        return struct.unpack("!i", self.take(4))[0]

    def u32(self):
        return struct.unpack("!I", self.take(4))[0]

    def text(self):
        end = self.body.find(b"\0", self.at)
        if end < 0:
            raise WireError(f"string without an end: {self.body!r}")
        return (self.take(end - self.at), self.take(1))[0].decode(errors="surrogateescape")

    def value(self):
        n = self.i32()
        return None if n < 0 else self.take(n)

    def left(self):
        return self.take(len(self.body) - self.at)


def _text_or_bytes(value):
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _decode_fields(f):
    fields = {}
    while (code := f.u8()) != 0:
        fields[chr(code)] = f.text()
    return {"fields": fields, "severity": fields.get("V", fields.get("S")), "code": fields.get("C"),
            "text": fields.get("M"), "detail": fields.get("D"), "hint": fields.get("H")}


def _decode_auth(f):
    how = f.u32()
    out = {"how": how, "data": f.left()}
    if how == 10:
        out["mechanisms"] = [m.decode() for m in out["data"].split(b"\0") if m]
    return out


def _decode_columns(f):
    columns = []
    for _ in range(f.u16()):
        name = f.text()
        f.take(6)  # table and column number
        oid = f.u32()
        f.take(6)  # size and modifier
        columns.append((name, oid, f.u16()))
    return {"columns": columns, "names": [c[0] for c in columns]}


def _decode_bind(f):
    out = {"portal": f.text(), "statement": f.text()}
    out["formats"] = [f.u16() for _ in range(f.u16())]
    out["values"] = [_text_or_bytes(f.value()) for _ in range(f.u16())]
    out["result_formats"] = [f.u16() for _ in range(f.u16())]
    return out


def _decode_named(f):
    return {"what": chr(f.u8()), "name": f.text()}


# What the server sends, by type byte.
FROM_SERVER = {
    "R": _decode_auth,
    "K": lambda f: {"pid": f.u32(), "secret": f.left()},
    "S": lambda f: {"name": f.text(), "value": f.text()},
    "Z": lambda f: {"status": chr(f.u8())},
    "E": _decode_fields,
    "N": _decode_fields,
    "A": lambda f: {"pid": f.u32(), "channel": f.text(), "payload": f.text()},
    "T": _decode_columns,
    "t": lambda f: {"types": [f.u32() for _ in range(f.u16())]},
    "D": lambda f: {"values": tuple(_text_or_bytes(f.value()) for _ in range(f.u16()))},
    "C": lambda f: {"tag": f.text()},
    "G": lambda f: {"format": f.u8(), "formats": [f.u16() for _ in range(f.u16())]},
    "H": lambda f: {"format": f.u8(), "formats": [f.u16() for _ in range(f.u16())]},
    "W": lambda f: {"format": f.u8(), "formats": [f.u16() for _ in range(f.u16())]},
    "d": lambda f: {"data": f.left()},
    "V": lambda f: {"value": _text_or_bytes(f.value())},
    "v": lambda f: {"newest": f.u32(), "unknown": [f.text() for _ in range(f.u32())]},
}
# What the client sends.
FROM_CLIENT = {
    "Q": lambda f: {"sql": f.text()},
    "P": lambda f: {"name": f.text(), "sql": f.text(), "types": [f.u32() for _ in range(f.u16())]},
    "B": _decode_bind,
    "D": _decode_named,
    "C": _decode_named,
    "E": lambda f: {"portal": f.text(), "max_rows": f.u32()},
    "F": lambda f: {"oid": f.u32(), "data": f.left()},
    "d": lambda f: {"data": f.left()},
    "f": lambda f: {"text": f.text()},
    "p": lambda f: {"data": f.left()},
}


class Message:
    """One message: .kind (the type byte), .body, and what was decoded from the body as attributes."""

    def __init__(self, kind, body, decoders):
        self.kind = kind
        self.body = body
        decode = decoders.get(kind)
        self.decoded = decode(Fields(body)) if decode else {}

    def __getattr__(self, name):
        try:
            return self.__dict__["decoded"][name]
        except KeyError:
            raise AttributeError(f"{self!r} has no field {name}") from None

    @property
    def bytes(self):
        return msg(self.kind, self.body)

    def __repr__(self):
        shown = self.decoded.get("fields") or self.decoded or self.body[:80]
        return f"<{self.kind} {shown}>"


class Connection:
    """A socket with messages on it; either side of the protocol. Every wait has a deadline."""

    decoders = FROM_SERVER

    def __init__(self, sock, timeout=PATIENCE):
        self.sock = sock
        self.timeout = timeout
        self.buffer = b""
        self.n_sent = self.n_received = 0  # bytes, as they are before TLS

    def send(self, *messages):
        self.sock.settimeout(self.timeout)
        data = b"".join(messages)
        self.n_sent += len(data)
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError) as problem:
            raise Closed(f"while sending: {problem}") from problem

    def _fill(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("nothing more came; unread: %r" % self.buffer[:200])
        self.sock.settimeout(left)
        try:
            data = self.sock.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError) as problem:
            raise Closed(str(problem)) from problem
        except ssl.SSLError as problem:
            if problem.reason != "UNEXPECTED_EOF_WHILE_READING":
                raise
            raise Closed(str(problem)) from problem
        except TimeoutError:
            raise TimeoutError("nothing more came; unread: %r" % self.buffer[:200]) from None
        if not data:
            raise Closed("end of stream; unread: %r" % self.buffer[:200])
        self.buffer += data
        self.n_received += len(data)

    def read_bytes(self, n, timeout=None):
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while len(self.buffer) < n:
            self._fill(deadline)
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def read(self, timeout=None):
        """The next message, whatever it is."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while len(self.buffer) < 5 or len(self.buffer) < 1 + struct.unpack("!I", self.buffer[1:5])[0]:
            self._fill(deadline)
        length = struct.unpack("!I", self.buffer[1:5])[0]
        kind, body = chr(self.buffer[0]), self.buffer[5:1 + length]
        self.buffer = self.buffer[1 + length:]
        return Message(kind, body, self.decoders)

    def expect(self, *kinds, timeout=None):
        """Reads exactly these messages; the one message itself when a single kind was asked for."""
        got = []
        for kind in kinds:
            message = self.read(timeout)
            if message.kind != kind:
                raise WireError(f"expected {kind} of {''.join(kinds)}, got {message!r} after {got!r}")
            got.append(message)
        return got[0] if len(kinds) == 1 else got

    def read_until(self, kind, timeout=None):
        """All messages up to and with the first of @kind."""
        got = [self.read(timeout)]
        while got[-1].kind != kind:
            got.append(self.read(timeout))
        return got

    def expect_closed(self, timeout=None):
        """The peer closes; what it says before that is returned."""
        got = []
        while True:
            try:
                got.append(self.read(timeout))
            except Closed:
                return got

    def expect_silence(self, seconds=0.3):
        """Nothing arrives for a moment. The only wait by the clock here: absence has no event."""
        try:
            message = self.read(seconds)
        except TimeoutError:
            return
        raise WireError(f"expected silence, got {message!r}")

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


# ------------------------------------------------------------------------------------------------- passwords

def md5_secret(user, password, salt):
    """What a client answers to AuthenticationMD5Password."""
    inner = hashlib.md5(_bytes(password) + _bytes(user)).hexdigest()
    return "md5" + hashlib.md5(inner.encode() + salt).hexdigest()


def _hmac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def scram_keys(password, salt, iterations):
    """(ClientKey, StoredKey, ServerKey), RFC 5802 section 3."""
    salted = hashlib.pbkdf2_hmac("sha256", _bytes(password), salt, iterations)
    client_key = _hmac(salted, b"Client Key")
    return client_key, hashlib.sha256(client_key).digest(), _hmac(salted, b"Server Key")


def scram_verifier(password, salt=None, iterations=4096):
    """A secret as in pg_authid and userlist.txt."""
    salt = salt or os.urandom(16)
    _, stored, server = scram_keys(password, salt, iterations)
    b64 = [base64.b64encode(x).decode() for x in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{b64[0]}${b64[1]}:{b64[2]}"


def scram_fields(data):
    return dict(part.split("=", 1) for part in data.decode().split(","))


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b))


# ------------------------------------------------------------------------------------------------- client

NUMBER_OIDS = {20, 21, 23, 1700}


def _number(value):
    if value is None:
        return None
    return float(value) if "." in value else int(value)


class Result:
    """What came up to ReadyForQuery: .rows of all statements (tuples of text), .names (columns of the last),
    .tags, .errors, .notices, .notifications, .status (I, T, E), .messages (all of them)."""

    def __init__(self, messages):
        self.messages = messages
        of = {kind: [m for m in messages if m.kind == kind] for kind in "TDCENA"}
        self.rows = [m.values for m in of["D"]]
        self.names = of["T"][-1].names if of["T"] else []
        self.columns = of["T"][-1].columns if of["T"] else []
        self.tags = [m.tag for m in of["C"]]
        self.errors, self.notices, self.notifications = of["E"], of["N"], of["A"]
        self.status = messages[-1].status
        self.kinds = "".join(m.kind for m in messages)


class Client(Connection):
    """A client connection. connect() only opens the socket; login() goes up to the first ReadyForQuery."""

    def __init__(self, sock, timeout=PATIENCE):
        super().__init__(sock, timeout)
        self.params = {}
        self.pid = None
        self.secret = None
        self.login_messages = []

    @classmethod
    def connect(cls, host="127.0.0.1", port=5432, timeout=PATIENCE):
        """@host: an address, or a folder with the Unix socket in it."""
        if str(host).startswith("/"):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(timeout)
            sock.connect(f"{host}/.s.PGSQL.{port}")
        else:
            sock = socket.create_connection((host, port), timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(sock, timeout)

    def ask_tls(self):
        """Sends SSLRequest; the one byte of the answer, "S" or "N"."""
        self.send(special(SSL_CODE))
        return self.read_bytes(1).decode()

    def ask_gss(self):
        self.send(special(GSS_CODE))
        return self.read_bytes(1).decode()

    def start_tls(self, context=None, server_hostname=None):
        """After ask_tls() said S. Without a context no certificate is checked."""
        if context is None:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # a stream that is cut off is no end of stream
        self.sock = context.wrap_socket(self.sock, server_hostname=server_hostname, suppress_ragged_eofs=False)

    def send_startup(self, user="app", database="test", version=PROTOCOL_3_0, **params):
        self.send(startup({"user": user, "database": database, **params}, version))

    def login(self, user="app", database="test", password=None, version=PROTOCOL_3_0, **params):
        """Raises ServerError when refused. Afterwards .params, .pid, .secret and .login_messages are set."""
        self.send_startup(user, database, version, **params)
        self.authenticate(user, password)
        return self

    def authenticate(self, user, password=None):
        """Answers the server's requests until ReadyForQuery."""
        while True:
            message = self.read()
            self.login_messages.append(message)
            if message.kind == "R":
                self._answer(message, user, password)
            elif message.kind == "S":
                self.params[message.name] = message.value
            elif message.kind == "K":
                self.pid, self.secret = message.pid, message.secret
            elif message.kind == "E":
                raise ServerError(message)
            elif message.kind == "Z":
                return

    def _answer(self, request, user, password):
        if request.how == 0:
            return
        if password is None:
            raise WireError(f"the server asks for a password: {request!r}")
        if request.how == 3:
            self.send(password_message(password))
        elif request.how == 5:
            self.send(password_message(md5_secret(user, password, request.data)))
        elif request.how == 10:
            self.scram(password, request.mechanisms)
        else:
            raise WireError(f"unexpected authentication request: {request!r}")

    def scram(self, password, mechanisms, binding=None):
        """SCRAM-SHA-256, RFC 5802 and 7677; -PLUS when the server offers it. binding: "n", "y" or "p" forces."""
        plus = "SCRAM-SHA-256-PLUS" in mechanisms and isinstance(self.sock, ssl.SSLSocket)
        binding = binding or ("p" if plus else "n")
        gs2, bound = binding.encode() + b",,", b""
        if binding == "p":
            gs2 = b"p=tls-server-end-point,,"
            bound = hashlib.sha256(self.sock.getpeercert(binary_form=True)).digest()
        mechanism = "SCRAM-SHA-256-PLUS" if binding == "p" else "SCRAM-SHA-256"
        nonce = base64.b64encode(os.urandom(18))
        first_bare = b"n=,r=" + nonce
        first = gs2 + first_bare
        self.send(msg("p", cstr(mechanism), struct.pack("!I", len(first)), first))
        server_first = self._sasl(11)
        fields = scram_fields(server_first)
        if not fields["r"].startswith(nonce.decode()):
            raise WireError("the server's nonce does not begin with ours")
        client_key, stored_key, server_key = scram_keys(password, base64.b64decode(fields["s"]), int(fields["i"]))
        final = b"c=" + base64.b64encode(gs2 + bound) + b",r=" + fields["r"].encode()
        signed = first_bare + b"," + server_first + b"," + final
        proof = base64.b64encode(xor(client_key, _hmac(stored_key, signed)))
        self.send(msg("p", final + b",p=" + proof))
        if scram_fields(self._sasl(12))["v"] != base64.b64encode(_hmac(server_key, signed)).decode():
            raise WireError("the server's signature is wrong")

    def _sasl(self, how):
        message = self.read()
        self.login_messages.append(message)
        if message.kind == "E":
            raise ServerError(message)
        if message.kind != "R" or message.how != how:
            raise WireError(f"expected AuthenticationSASL {how}, got {message!r}")
        return message.data

    def query(self, sql, timeout=None):
        """Simple query: a Result; raises nothing, look at .errors."""
        self.send(query(sql))
        return self.result(timeout)

    def run(self, sql):
        """As query(), and an error of the server is raised; returns the rows."""
        result = self.query(sql)
        if result.errors:
            raise ServerError(result.errors[0])
        return result.rows

    def run_dicts(self, sql):
        """As run(), the rows as dicts, with values of the types int2, int4, int8 and numeric as numbers."""
        result = self.query(sql)
        if result.errors:
            raise ServerError(result.errors[0])
        return [{name: _number(value) if oid in NUMBER_OIDS else value
                 for (name, oid, _), value in zip(result.columns, row)} for row in result.rows]

    def result(self, timeout=None):
        """Everything up to ReadyForQuery."""
        messages = self.read_until("Z", timeout)
        for message in messages:
            if message.kind == "S":
                self.params[message.name] = message.value
        return Result(messages)

    def goodbye(self):
        self.send(terminate())
        self.close()
