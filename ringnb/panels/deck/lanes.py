"""The runs of an actor as lanes of the line: where each leaves another, and the way to a moment.

Pure: built from what the catalogue, the manager and the kernel say, on any thread.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from ringnb.checkpoint.runs import Lineage
from ringnb.checkpoint.storage.records import CheckpointInfo

__all__ = ["Lane", "Lanes", "RunNumbers", "make_lanes", "step_in_name"]

_STEP = re.compile(r"_step_(\d+)(?:\.\d+)?$")


def step_in_name(name: str) -> int | None:
    """Return the step that a checkpoint's name states: all that is known of a damaged one."""
    found = _STEP.search(name)
    return None if found is None else int(found[1])


@final
@dataclass(frozen=True, slots=True)
class Lane:
    """One run, as it is drawn. The live state may go on with a run that has no checkpoint yet."""

    number: int  # as it is called: "run 3"
    run: str  # its id; "" before its first commit
    words: str  # what it differs by from the one that it leaves
    parent: int | None  # the number of the lane that it leaves
    fork: int | None  # the step at which it does
    first: int
    last: int  # the live edge, if it is live
    is_live: bool
    checkpoints: tuple[CheckpointInfo, ...]  # oldest first


@final
class RunNumbers:
    """Numbers of runs that stay the same while others are deleted. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # two new runs of two threads must not get one number
        self._numbers: dict[str, int] = {}

    def of(self, run: str) -> int:
        """Return the number of a run; a new one gets the next."""
        with self._lock:
            return self._numbers.setdefault(run, self.next)

    @property
    def next(self) -> int:
        """The number that the next new run will get."""
        return len(self._numbers) + 1


@final
class Lanes:
    """The lanes of one actor, that of the newest run first."""

    def __init__(self, lanes: Iterable[Lane]) -> None:
        self.all = tuple(sorted(lanes, key=lambda lane: -lane.number))
        self._by_number = {lane.number: lane for lane in self.all}

    @property
    def live(self) -> Lane:
        """The lane with the live edge."""
        return next(lane for lane in self.all if lane.is_live)

    def lane(self, number: int) -> Lane | None:
        """Return the lane of a number."""
        return self._by_number.get(number)

    def of_run(self, run: str) -> Lane | None:
        """Return the lane of a run, by its id."""
        return next((lane for lane in self.all if lane.run == run), None)

    def way(self, number: int) -> list[tuple[Lane, int | None]]:
        """Return the lanes that lead to the end of one, it first; with the step where each is left."""
        found: list[tuple[Lane, int | None]] = []
        top: int | None = None
        lane = self._by_number.get(number)
        while lane is not None and all(lane is not seen for seen, _ in found):
            found.append((lane, top))
            top = lane.fork if top is None or lane.fork is None else min(top, lane.fork)
            lane = None if lane.parent is None else self._by_number.get(lane.parent)
        return found

    def checkpoints(
        self, number: int, sound: Callable[[CheckpointInfo], bool]
    ) -> list[CheckpointInfo]:
        """Return the sound checkpoints of the way to a lane's end, that of the latest step last."""
        found = [
            e
            for lane, top in reversed(self.way(number))
            for e in lane.checkpoints
            if (top is None or e.step <= top) and sound(e)
        ]
        return sorted(found, key=lambda e: e.step)  # stable: of one step the newer is the later

    def nearest(
        self, number: int, step: int, sound: Callable[[CheckpointInfo], bool]
    ) -> CheckpointInfo | None:
        """Return the newest sound checkpoint at or before a step, on the way to a lane's end.

        If there is none before it, the first one after it; None if there is none at all.
        """
        way = self.checkpoints(number, sound)
        before = [e for e in way if e.step <= step]
        return before[-1] if before else way[0] if way else None


def make_lanes(
    history: Sequence[CheckpointInfo], lineage: Lineage | None, step: int, numbers: RunNumbers
) -> Lanes:
    """Return the lanes of an actor, whose live state is at a step and continues from `lineage`.

    `history` is oldest first; what is damaged in it is left out: nobody can say to which run it belongs.
    """
    runs: dict[str, list[CheckpointInfo]] = {}
    for e in history:
        if not e.damaged:
            runs.setdefault(e.run, []).append(e)
    by_id = {e.id: e for e in history if e.id}
    live, origin = _live_run(runs, by_id, lineage)
    lanes = []
    for run, entries in runs.items():
        begins = next((e.parent_id for e in entries if _leaves(e, by_id)), None)
        parent = None if begins is None else by_id[begins]
        steps = [e.step for e in entries]
        lanes.append(
            Lane(
                numbers.of(run),
                run,
                _words(parent, entries),
                None if parent is None else numbers.of(parent.run),
                None if parent is None else parent.step,
                min(steps),
                max(*steps, step) if run == live else max(steps),
                run == live,
                tuple(entries),
            )
        )
    if live is None:
        number, fork = (None, None) if origin is None else (numbers.of(origin.run), origin.step)
        first = min(step, 0 if lineage is None else step if fork is None else fork)
        lanes.append(Lane(numbers.next, "", "", number, fork, first, max(step, first), True, ()))
    return Lanes(lanes)


def _leaves(e: CheckpointInfo, by_id: Mapping[str, CheckpointInfo]) -> bool:
    """Return whether a checkpoint continues from one of another run that is still there."""
    return e.parent_id is not None and e.parent_id in by_id and by_id[e.parent_id].run != e.run


def _live_run(
    runs: Mapping[str, Sequence[CheckpointInfo]],
    by_id: Mapping[str, CheckpointInfo],
    lineage: Lineage | None,
) -> tuple[str | None, CheckpointInfo | None]:
    """Return the run that the live state goes on with, or None and where a new one will begin."""
    if lineage is None:
        return None, None
    if lineage.run is not None and lineage.run in runs:
        return lineage.run, None
    origin = by_id.get(lineage.id or "")
    if origin is None and lineage.id is None:
        named = (e for entries in runs.values() for e in entries if e.name == lineage.name)
        origin = next(named, None)
    # As `continue_run` decides at the next commit.
    if lineage.run is None and origin is not None and runs[origin.run][-1].id == origin.id:
        return origin.run, None
    return None, origin


def _words(parent: CheckpointInfo | None, entries: Sequence[CheckpointInfo]) -> str:
    """Name the parameters that differ from those of the run that was left, or have changed since."""
    before = dict((parent or entries[0]).params)
    first, last = dict(entries[0].params), dict(entries[-1].params)
    found = []
    for name, value in first.items():
        if last.get(name) != value:
            found.append(f"{name} {_short(value)} → {_short(last.get(name))}")
        elif parent is not None and before.get(name) != value:
            found.append(f"{name} {_short(value)}")
    return ", ".join(found)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
