"""How the bytes on the disk will grow: a policy, tried on checkpoints that are still to come.

Pure: no store, no clock. A policy is a function of a history, so it can be asked about one that goes on
as it has gone until now.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, final

from ringnb.checkpoint.retention import Policy
from ringnb.checkpoint.storage.records import CheckpointInfo

__all__ = ["DAYS", "Cadence", "Growth", "forecast", "growth_of", "young_s"]

DAYS = 7  # that are drawn
_DAY_S = 86_400.0
_MOST_TRIED = 4096  # checkpoints: of more it is said how they go on
_LONGEST_DAYS = 3650.0


class _Reads(BaseException):
    """A policy looks into checkpoints, so that nothing can be said of those to come.

    No Exception: a policy keeps what it cannot read.
    """


class Cadence(NamedTuple):
    """How checkpoints come: seconds, and steps, from one to the next."""

    seconds: float
    steps: float


@final
class Growth(NamedTuple):
    """How many checkpoints of an actor a policy keeps of so many."""

    counts: tuple[tuple[int, int], ...]  # (made, kept): 4, 8, 16, ... made

    @property
    def is_level(self) -> bool:
        """Whether it comes to keep no more."""
        before, first, earlier, last = (kept for _, kept in self.counts[-4:])
        # Or it has kept its share of what was made, and has come to its bound.
        reached = earlier - first >= 1.5 * (first - before) and last - earlier < 1.5 * (
            earlier - first
        )
        return last == earlier or reached

    def kept(self, made: float) -> float:
        """Return how many are kept of so many; beyond what was tried, as it went on last."""
        before = (0, 0)
        for at in self.counts:
            if made <= at[0]:
                part = (made - before[0]) / (at[0] - before[0])
                return before[1] + part * (at[1] - before[1])
            before = at
        if self.is_level:
            return self.counts[-1][1]
        (_, first), (half, earlier), (whole, last) = self.counts[-3:]
        more = last - earlier
        if more <= 1.5 * (earlier - first):  # as many for every doubling
            return last + more * math.log2(made / whole)
        return last + more * (made - whole) / (whole - half)


def growth_of(policy: Policy, last: CheckpointInfo, cadence: Cadence) -> Growth | None:
    """Try a policy on checkpoints to come that are like `last`; None if it would read them."""

    def load(_name: str) -> Any:
        """Tell that it reads."""
        raise _Reads

    begin = datetime(2000, 1, 1, tzinfo=UTC) if last.created_at is None else last.created_at
    to_come = [
        last._replace(
            name=str(i),
            sequence=i + 1,
            step=round(i * cadence.steps),
            created_at=begin + timedelta(seconds=i * cadence.seconds),
            pin=None,
            is_branch_point=False,
        )
        for i in range(_MOST_TRIED)
    ]
    counts = []
    made = 4
    while made <= _MOST_TRIED:
        try:
            counts.append((made, len({to_come[made - 1].name, *policy(to_come[:made], load)})))
        except _Reads:
            return None
        made *= 2
        if made > 512 and counts[-1][1] == counts[-3][1]:
            break  # it keeps no more
    return Growth(tuple(counts))


def forecast(
    policies: Sequence[tuple[str, Policy]],
    last: CheckpointInfo,
    cadence: Cadence,
    present: int,
    actors: int,
    own: int,
    usage: tuple[int, int] | None,
) -> dict[str, Any]:
    """Return what is drawn of how the disk fills: a line for each policy, the chosen one last.

    `present` checkpoints like `last` are there of its run, and `own` bytes in all; `usage` says how many
    bytes the disk has, and how many are free.
    """
    lines = []
    room = math.inf if usage is None else usage[1]
    for i, (name, policy) in enumerate(policies):
        growth = growth_of(policy, last, cadence)
        line: dict[str, Any] = {"name": name, "chosen": i == len(policies) - 1, "full_day": None}
        if growth is None:
            line |= {"points": [0.0], "words": "depends on the values"}
        else:

            def added(days: float, growth: Growth = growth) -> float:
                """Return how many bytes more there are then."""
                kept = growth.kept(present + days * _DAY_S / cadence.seconds)
                return (kept - present) * last.nbytes * actors

            line["points"] = [round(added(quarter / 4)) for quarter in range(4 * DAYS + 1)]
            line["full_day"] = full = None if growth.is_level else _day_of(added, room)
            line["words"] = _words(growth, full)
        lines.append(line)
    used = own if usage is None else usage[0] - usage[1]
    found = {"days": DAYS, "used0": used - own, "now": used, "lines": lines}
    return found if usage is None else {**found, "full": usage[0]}


def _day_of(added: Any, room: float) -> float | None:
    """Return after how many days so many bytes are added, None if not within ten years."""
    if added(_LONGEST_DAYS) < room:
        return None
    low, high = 0.0, _LONGEST_DAYS
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if added(middle) >= room else (middle, high)
    return high


def _words(growth: Growth, full: float | None) -> str:
    if growth.is_level:
        return "level, never full"
    if full is None:
        return "not full in ten years"
    if full < 1:
        return f"full in {24 * full:.1f} hours"
    return f"full in {full:,.1f} days" if full < 100 else f"full in {full:,.0f} days"


def young_s(cost_s: float) -> float:
    """Return the interval that loses least, after J. W. Young, with a crash a day."""
    return math.sqrt(2 * cost_s * _DAY_S)
