# SPDX-License-Identifier: ISC
"""Waiting for conditions instead of sleeping for seconds."""

import time

# Everything in these tests that may take a while has this long; the ASan build on a busy machine needs it; only a failure takes so long.
PATIENCE = 60.0


class Hopeless(Exception):
    """Raised by a condition that can never become true any more: eventually() lets it through."""


def eventually(condition, what=None, timeout=PATIENCE, every=0.02):
    """Calls condition() until its result is true and returns that result.

    A condition that raises counts as not yet true; its last exception is shown when time runs out."""
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            last = condition()
            if last:
                return last
        except Hopeless:
            raise
        except Exception as problem:  # pylint: disable=broad-except  # shown below when it persists
            last = problem
        if time.monotonic() > deadline:
            name = what or getattr(condition, "__name__", "condition")
            raise AssertionError(f"not within {timeout} s: {name}; last seen: {last!r}")
        time.sleep(every)
