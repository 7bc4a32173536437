"""Waiting for what other threads bring about, and no longer."""

from __future__ import annotations

import time


def until(condition, seconds=60.0):
    """Wait until a condition holds. What it looks up may be still to come: then it does not hold yet."""
    deadline = time.monotonic() + seconds
    while True:
        missing = None
        try:
            if condition():
                return
        except LookupError as error:
            missing = error
        if time.monotonic() >= deadline:
            raise AssertionError("it did not come about") from missing
        time.sleep(0.002)
