"""How trials wait: as long as anything moves. A busy machine may need minutes for what takes a second.

What moves are the signs that a trial knows, such as steps and losses, and the processor time of the
host's processes: before its first checkpoint a run shows nothing else.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ringnb.cluster.local_hosts import hosts

__all__ = ["wait_until"]

_STILL_S = 240.0  # without any sign it is stuck
_MOST_S = 3600.0  # and also if all that moves leads nowhere
_WORK_S = 20.0  # of processor time: what does nothing but wait takes less of it in `_STILL_S`
_LOOK_S = 0.02
_SIGNS_S = 1.0  # so often signs are looked for, which costs more

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T | None], address: str, signs: Callable[[], object] = lambda: None
) -> T:
    """Wait until a condition holds, and return it; AssertionError if nothing moves any more.

    ``address`` is that of a host of this machine; ``signs()`` is what changes while the run goes on.
    """
    began = moved_at = looked_at = time.monotonic()
    seen, now = None, began
    while not (found := condition()):
        if now - looked_at > _SIGNS_S or seen is None:
            looked_at, there = now, (signs(), int(_processor_s(address) / _WORK_S))
            if there != seen:
                seen, moved_at = there, now
        stood_s, took_s = now - moved_at, now - began
        assert stood_s < _STILL_S, f"it is stuck: for {stood_s:.0f} s nothing has moved, {seen}"
        assert took_s < _MOST_S, f"it does not come to an end after {took_s:.0f} s, {seen}"
        time.sleep(_LOOK_S)
        now = time.monotonic()
    return found


def _processor_s(address: str) -> float:
    """Return the processor time of a host's processes, of which it leads the session. Linux."""
    leaders, ticks = {host.pid for host in hosts() if host.address == address}, 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            # Behind the name in brackets the session comes fourth, user and system time 12th and 13th.
            facts = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(facts[3]) in leaders:
                ticks += int(facts[11]) + int(facts[12])
    return ticks / os.sysconf("SC_CLK_TCK")
