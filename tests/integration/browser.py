# SPDX-License-Identifier: ISC
"""Debian's Chromium, headless, driven by clients/browser.js (npm's playwright-core)."""

import json
import os
import shutil
import subprocess
import threading

from npm import node_path_with
from programs import CLIENTS


class Browser:
    """One browser; open() a page, then ask it."""

    def __init__(self, folder):
        self._folder = folder
        program = shutil.which("chromium")
        assert program, "chromium is not here: packaging/deps.sh test"
        env = {**os.environ, "NODE_PATH": node_path_with("playwright-core", "1.48"), "HOME": str(folder)}
        self._process = subprocess.Popen(["node", CLIENTS / "browser.js", program, str(folder / "profile")], env=env,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                         start_new_session=True)

    def _do(self, op, **rest):
        self._process.stdin.write(json.dumps({"op": op, **rest}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the browser has ended"
        answer = json.loads(line)
        assert "problem" not in answer, answer["problem"]
        return answer["value"]

    def open(self, url, scheme="light", width=1280, height=900):
        return self._do("open", url=url, scheme=scheme, width=width, height=height)

    def evaluate(self, code):
        return self._do("evaluate", code=code)

    def wait(self, code, timeout=60):
        return self._do("wait", code=code, timeout=timeout * 1000)

    def fill(self, selector, text):
        return self._do("fill", selector=selector, text=text)

    def select(self, selector, value):
        return self._do("select", selector=selector, value=value)

    def click(self, selector):
        return self._do("click", selector=selector)

    def press(self, key):
        return self._do("press", key=key)

    def shot(self, path, full=True):
        return self._do("shot", path=str(path), full=full)

    def seen(self):
        return self._do("seen")

    def close(self):
        self._process.stdin.close()
        killer = threading.Timer(20, self._process.kill)
        killer.start()
        self._process.wait()
        killer.cancel()
        self._process.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)
