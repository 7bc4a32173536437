"""What stands on the line: a mark per checkpoint, input and trouble, and what of it the page lacks.

Pure, one thread. A page gets a mark as `LAYOUT`, 16 bytes; it asks for the words when it shows them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import IntEnum, IntFlag
from typing import Any, NamedTuple, final

from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.panels.core.histories import when_it_went_bad
from ringnb.panels.deck.inputs import Input
from ringnb.panels.deck.lanes import Lane, Lanes, step_in_name

__all__ = ["LAYOUT", "Flag", "Kind", "Mark", "MarkLog", "make_marks"]

LAYOUT = struct.Struct(
    "<IdHBB"
)  # key, step, number of the lane, kind, flags: as `deck.js` reads it
_MOST_STEP = 2**53  # of a float64; JavaScript counts no further
_MOST_LANE = 2**16 - 1


class Kind(IntEnum):
    """Which shape a mark has."""

    CHECKPOINT = 0
    DISTURBED = 1
    ADJUSTED = 2
    NOT_GOOD = 3  # where a run's state is first found not to be good


class Flag(IntFlag):
    """What is said of a checkpoint."""

    PINNED = 1
    DAMAGED = 2
    GOING = 4  # the retention that is looked at would delete it
    NOT_GOOD = 8


class Mark(NamedTuple):
    """One mark. `about` is the name of a checkpoint, or what is said of the others."""

    kind: Kind
    lane: int
    step: int
    flags: Flag = Flag(0)
    about: str = ""


Identity = tuple[Any, ...]


def make_marks(
    lanes: Lanes,
    damaged: Iterable[tuple[str, int | None]],
    inputs: Iterable[tuple[Input, str | None]],
    going: Collection[str],
    sound: Callable[[CheckpointInfo], bool],
) -> dict[Identity, Mark]:
    """Return all marks of an actor, each by what stays the same while its looks change.

    `damaged` are the names of checkpoints of which nothing else is known, each with the lane where it
    was when it could be read, if it ever could.
    """
    found: dict[Identity, Mark] = {}
    adjusted: dict[int, list[int]] = {}
    stored = {(lane.number, e.name) for lane in lanes.all for e in lane.checkpoints}
    begins: dict[int, float] = {}  # by lane: the first step of the way to its end that is stored
    for one, run in inputs:
        lane = lanes.live if run is None else lanes.of_run(run)
        if lane is None:
            continue
        if run is not None and stored.isdisjoint((lane.number, n) for n in (one.before, one.after)):
            if lane.number not in begins:
                way = lanes.checkpoints(lane.number, lambda _: True)
                begins[lane.number] = way[0].step if way else -math.inf
            if one.step < begins[lane.number]:
                continue  # it is of a stretch that was retired
        kind = Kind.DISTURBED if one.kind == "disturbed" else Kind.ADJUSTED
        if kind == Kind.ADJUSTED:
            adjusted.setdefault(lane.number, []).append(one.step)
        found["input", one.id] = Mark(kind, lane.number, one.step, about=one.words)
    for lane in lanes.all:
        for e in lane.checkpoints:
            found["checkpoint", e.name, e.sequence] = Mark(
                Kind.CHECKPOINT, lane.number, e.step, _flags(e, going, sound), e.name
            )
        found.update(_seen_in_checkpoints(lane, lanes, adjusted.get(lane.number, [])))
    for name, number in damaged:
        step = step_in_name(name)
        lane = lanes.lane(number or 0) or _likely(lanes, step or 0)
        found["damaged", name] = Mark(
            Kind.CHECKPOINT, lane.number, step or lane.first, Flag.DAMAGED, name
        )
    return found


def _flags(
    e: CheckpointInfo, going: Collection[str], sound: Callable[[CheckpointInfo], bool]
) -> Flag:
    flags = Flag(0)
    if e.pin is not None:
        flags |= Flag.PINNED
    if not sound(e):
        flags |= Flag.DAMAGED
    if e.name in going:
        flags |= Flag.GOING
    if not e.good:
        flags |= Flag.NOT_GOOD
    return flags


def _seen_in_checkpoints(
    lane: Lane, lanes: Lanes, adjusted: Sequence[int]
) -> Iterable[tuple[Identity, Mark]]:
    """Yield what checkpoints tell of what no event does: of earlier sessions, or from the guard."""
    bad = next((e for e in lane.checkpoints if not e.good), None)
    if bad is not None:
        about = f"{bad.name} is the first of run {lane.number} whose state is not good"
        way = [e for e in lanes.checkpoints(lane.number, lambda _: True) if e.step <= bad.step]
        about += f". {when_it_went_bad(way)}"
        yield ("not good", lane.run), Mark(Kind.NOT_GOOD, lane.number, bad.step, about=about)
    before: CheckpointInfo | None = None
    if lane.fork is not None and lane.parent is not None:
        parent = lanes.lane(lane.parent)
        left = () if parent is None else parent.checkpoints
        before = next((e for e in reversed(left) if e.step == lane.fork), None)
    for e in lane.checkpoints:
        if before is not None and before.params != e.params:
            first, last = before.step, e.step
            if not any(first <= step <= last for step in adjusted):
                about = f"{_changed(before, e)}, between step {first:,} and {last:,}"
                # Where it was changed is not known: at a restore most likely, else it is known from here
                # on. Between the two it would move whenever one of them is retired.
                at = first if before.run != e.run else last
                yield (
                    ("parameters", e.name, e.sequence),
                    Mark(Kind.ADJUSTED, lane.number, at, about=about),
                )
        before = e


def _changed(before: CheckpointInfo, after: CheckpointInfo) -> str:
    was = dict(before.params)
    return ", ".join(f"{k} {was.get(k)} → {v}" for k, v in after.params if was.get(k) != v)


def _likely(lanes: Lanes, step: int) -> Lane:
    """Return the lane on which a checkpoint of a step may have been: the newest that has that step."""
    return next((x for x in lanes.all if x.first <= step <= x.last), lanes.all[-1])


@final
class MarkLog:
    """The marks as a page has them, by versions: a page that has missed one asks for all."""

    def __init__(self) -> None:
        self.version = 0
        self._marks: dict[Identity, Mark] = {}
        self._keys: dict[Identity, int] = {}
        self._by_key: dict[int, Mark] = {}
        self._last_key = 0

    def update(self, marks: Mapping[Identity, Mark]) -> dict[str, Any] | None:
        """Take over what is so now; return what a page of the version before lacks, None if nothing."""
        new = [identity for identity, mark in marks.items() if self._marks.get(identity) != mark]
        gone = [identity for identity in self._marks if identity not in marks]
        if not new and not gone:
            return None
        gone_keys = []
        for identity in gone:
            key = self._keys.pop(identity)
            gone_keys.append(key)
            del self._by_key[key], self._marks[identity]
        for identity in new:
            if identity not in self._keys:
                self._last_key += 1
                self._keys[identity] = self._last_key
            self._marks[identity] = self._by_key[self._keys[identity]] = marks[identity]
        self.version += 1
        return {
            "v": self.version,
            "from": self.version - 1,
            "add": self._packed(new),
            "gone": gone_keys,
        }

    def whole(self) -> dict[str, Any]:
        """Return all marks, for a page that has none or has missed a version."""
        return {"v": self.version, "from": 0, "add": self._packed(self._marks), "gone": []}

    def restart(self) -> None:
        """Forget all marks: they are of another actor. A page that knows them asks for all, then."""
        self._marks, self._keys, self._by_key = {}, {}, {}
        self.version += 1

    def mark(self, key: int) -> Mark | None:
        """Return a mark by the key that a page knows it by."""
        return self._by_key.get(key)

    def key_of(self, info: CheckpointInfo) -> int:
        """Return the key of a checkpoint's mark, 0 if it has none."""
        return self._keys.get(("checkpoint", info.name, info.sequence), 0)

    def _packed(self, identities: Iterable[Identity]) -> bytes:
        packed = bytearray()
        for identity in identities:
            mark = self._marks[identity]
            step, lane = min(mark.step, _MOST_STEP), min(mark.lane, _MOST_LANE)
            packed += LAYOUT.pack(self._keys[identity], step, lane, mark.kind, mark.flags)
        return bytes(packed)
