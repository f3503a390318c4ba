# SPDX-License-Identifier: ISC
"""Reads /metrics and the other pages of a daemon, with the standard library and with Prometheus' own parsers."""

import base64
import json
import re
import shutil
import socket
import ssl
import subprocess
import urllib.error
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open

OPEN = "application/openmetrics-text; version=1.0.0"


class Http:
    """The HTTP side of @daemon on @port."""

    def __init__(self, port, context=None, user=None, password=None):
        self.port = port
        self.base = f"{'https' if context else 'http'}://127.0.0.1:{port}"
        self._context = context
        self._auth = user and base64.b64encode(f"{user}:{password}".encode()).decode()

    def get(self, path, method="GET", **headers):
        """(status, text, headers)"""
        request = urllib.request.Request(self.base + path, method=method,
                                         headers={k.replace("_", "-"): v for k, v in headers.items()})
        if self._auth:
            request.add_header("Authorization", "Basic " + self._auth)
        try:
            with urllib.request.urlopen(request, timeout=30, context=self._context) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read().decode(), answer.headers

    def status(self):
        """What the status page is fed with."""
        code, text, _ = self.get("/status.json")
        assert code == 200, text
        return json.loads(text)

    def metrics(self):
        """{name with its labels in their order: value}"""
        code, text, headers = self.get("/metrics", Accept=OPEN)
        assert code == 200 and headers["Content-Type"].startswith("application/openmetrics-text"), text
        assert text.endswith("\n# EOF\n")
        found = {}
        for family in parse_open(text):
            for sample in family.samples:
                name = key(sample.name, **sample.labels)
                assert name not in found, f"{name} comes twice"
                found[name] = sample.value
        return found

    def raw(self):
        """A connected socket, with TLS when that is spoken."""
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        return self._context.wrap_socket(sock) if self._context else sock


def key(name, **labels):
    return name + "".join(f",{k}={labels[k]}" for k in sorted(labels))


def no_verify():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def promtool(*args, stdin=None):
    """Runs promtool; it must be content."""
    assert shutil.which("promtool"), "promtool is not here: packaging/deps.sh test"
    done = subprocess.run(["promtool", *map(str, args)], input=stdin, capture_output=True, text=True, timeout=60,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def read_all(sock):
    """Everything until the other side closes."""
    got = b""
    try:
        while piece := sock.recv(65536):
            got += piece
    except (ConnectionResetError, BrokenPipeError):
        pass
    return got


def metric_names(text):
    """The names in a text of /metrics in the classic format, those of histograms spelt out."""
    return set(re.findall(r"^([a-zA-Z_:][\w:]*)(?:\{| )", text, re.M))

