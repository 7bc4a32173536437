"""When a batch job must end: what the user or the system says of it, and what the last checkpoint takes.

`end_of` finds the end, `CommitTimes` measures the commits of the sessions, `stop_at` puts the two
together. Nothing here waits; `ringnb.cli.run` does.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import final

from ringnb.actors.base import Actor
from ringnb.kernel.layout import state_nbytes
from ringnb.messages.events import Event, EventLog

__all__ = [
    "CommitTimes",
    "end_of",
    "margin_of",
    "parse_until",
    "parse_walltime",
    "process_began",
    "slowdown_since",
    "stop_at",
]

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)")
_SUM = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+")
_ROOM = 1.5  # how much longer than the last ones the last commits may take
_BYTES_PER_S = 20e6  # of a disk that was not measured yet
_FIRST_S = 0.5
_KEPT = 8  # of the last commits of an actor the longest counts


def parse_walltime(text: str) -> float:
    """Return seconds: ``1:30:00``, ``2-12:00:00`` (days), ``90m``, ``1h30m``; ValueError otherwise."""
    if match := _CLOCK.fullmatch(text):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        total = float(days * 86_400 + hours * 3600 + minutes * 60 + seconds)
    elif _SUM.fullmatch(text):
        parts = re.findall(r"([\d.]+)([smhd])", text)
        total = math.fsum(float(number) * _UNITS_S[unit] for number, unit in parts)
    else:
        total = 0.0
    if total <= 0:
        msg = (
            f"{text!r} is not a time limit: write hours:minutes:seconds (1:30:00) or 90m, 1h30m, 2d"
        )
        raise ValueError(msg)
    return total


def parse_until(text: str, now: datetime) -> float:
    """Return a point in time, in seconds since the epoch: ``18:00`` is the next, else ISO 8601."""
    try:
        if re.fullmatch(r"\d{1,2}:\d\d(:\d\d)?", text):
            clock = datetime.strptime(text, "%H:%M:%S" if text.count(":") == 2 else "%H:%M").time()
            at = now.replace(
                hour=clock.hour, minute=clock.minute, second=clock.second, microsecond=0
            )
            if at <= now:
                at += timedelta(days=1)
        else:
            at = datetime.fromisoformat(text)
            if at.tzinfo is None:
                at = at.replace(tzinfo=now.tzinfo)
    except ValueError:
        msg = f"{text!r} is not a time: write 18:00 or 2027-01-31T18:00"
        raise ValueError(msg) from None
    if at <= now:
        msg = f"{text!r} is over: it is {now:%Y-%m-%d %H:%M:%S} now"
        raise ValueError(msg)
    return at.timestamp()


def process_began() -> float:
    """Return when this process was started, in seconds since the epoch; now where that is not known."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError, IndexError):
        age_s = 0.0
    return time.time() - age_s


def end_of(
    walltime_s: float | None, until: float | None, began: float, environ: Mapping[str, str]
) -> float | None:
    """Return the end, in seconds since the epoch: the earliest of what is known; None if nothing is."""
    ends = [] if walltime_s is None else [began + walltime_s]
    if until is not None:
        ends.append(until)
    slurm = environ.get("SLURM_JOB_END_TIME", "")
    if slurm.isdecimal():
        ends.append(float(slurm))
    return min(ends, default=None)


def slowdown_since(began: float) -> float:
    """Return how many times longer than its work this process has taken since it began, at least 1."""
    return max(1.0, (time.time() - began) / max(time.process_time(), 0.01))


def margin_of(whole_s: float, slowdown: float = 1.0) -> float:
    """Return the seconds that are kept beside what the commits take: for the end of the process.

    A process that shares its core with four others takes five times as long to end, too; but it must
    have the most of its time for computing.
    """
    return min(30.0, max(2.0, 0.05 * whole_s, min(2.0 * slowdown, whole_s / 3)))


@final
class CommitTimes:
    """How long the commits of one session take, by its own events. Any thread."""

    def __init__(self, events: EventLog, actors: Sequence[Actor]) -> None:
        self._actors = actors
        self._sent: dict[int, int] = {}
        self._received: dict[int, int] = {}
        self._captured: list[float] = []  # seconds
        self._written: dict[int, list[float]] = {}  # by slot
        self._last_ns = 0
        events.subscribe(self._note, "sent", "captured", "received", "committed")

    def _note(self, event: Event) -> None:
        request = event.request_id or 0
        if event.stage == "sent":
            self._sent[request] = event.t_ns
        elif event.stage == "captured":
            sent = self._sent.pop(request, event.t_ns)
            self._captured = [*self._captured, (event.t_ns - sent) / 1e9][-_KEPT:]
        elif event.stage == "received":
            self._received[request] = event.t_ns
        else:
            # One is written after the other: a wait for the one before is not a part of it.
            began = max(self._received.pop(request, event.t_ns), self._last_ns)
            self._last_ns = max(self._last_ns, event.t_ns)
            times = self._written.get(event.actor_slot, [])
            self._written[event.actor_slot] = [*times, max(0, event.t_ns - began) / 1e9][-_KEPT:]

    def seconds(self) -> float:
        """Return what a commit of all actors takes, with room."""
        total = max(self._captured, default=_FIRST_S)
        known = max((max(times) for times in list(self._written.values())), default=None)
        if not self._actors:  # a recorder: what is not known yet is a guess of nothing
            return _ROOM * (total + sum(max(times) for times in list(self._written.values())))
        for slot, actor in enumerate(self._actors):
            if times := self._written.get(slot):
                total += max(times)
            else:
                guess = _FIRST_S + state_nbytes(actor) / _BYTES_PER_S
                total += guess if known is None else known
        return _ROOM * total


def stop_at(end: float, margin_s: float, commits_s: float) -> float:
    """Return when the last checkpoint must begin, in the time of `end`."""
    return end - margin_s - commits_s
