"""What a store holds, in commit order: found by name, by actor, and as a whole.

A directory's `Listing` keeps one between calls; an object store reads one anew each time.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import final

from ringnb.checkpoint.storage.document import estimate_place, parse_info
from ringnb.checkpoint.storage.format import ATTRIBUTE, looks_like_checkpoint, marks_store
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.errors import CheckpointCorrupt

__all__ = ["Catalogue", "entry_of"]

_NEVER = datetime.min.replace(tzinfo=UTC)


def entry_of(name: str, raw: bytes | None, store: str | None) -> CheckpointInfo | None:
    """Return the line for a name and its group document; None if it is nothing of ringnb's.

    `store` is the id of the store in which it lies.
    """
    if raw is not None:
        try:
            return parse_info(name, raw, store)
        except CheckpointCorrupt:
            if not looks_like_checkpoint(name) and marks_store(raw):
                return None  # another store, of which we know nothing
            if f'"{ATTRIBUTE}"'.encode() in raw:
                return CheckpointInfo(name, damaged=True, estimated=estimate_place(raw))
    return CheckpointInfo(name, damaged=True) if looks_like_checkpoint(name) else None


def _in_order(sound: list[CheckpointInfo], damaged: list[CheckpointInfo]) -> list[CheckpointInfo]:
    """Put damaged ones where they seem to have stood; those of which nothing is known come first."""
    numbers = [e.sequence for e in sound]
    taken = set(numbers)

    def place(e: CheckpointInfo) -> tuple[int, bool, int, datetime, str]:
        number, moment = e.estimated
        if number is not None and number not in taken:  # else it is not what was committed
            return bisect(numbers, number), True, number, _NEVER, e.name
        if moment is None:
            return 0, False, 0, _NEVER, e.name
        later = (i for i, s in enumerate(sound) if s.created_at and s.created_at > moment)
        return next(later, len(sound)), False, 0, moment, e.name

    places = sorted((place(e), e) for e in damaged)
    merged, done = [], 0
    for (before, *_), e in places:
        merged += [*sound[done:before], e]
        done = before
    return merged + sound[done:]


@final
class Catalogue:
    """Checkpoints in commit order. Not safe for threads: the owner guards it."""

    def __init__(self, entries: Iterable[CheckpointInfo] = ()) -> None:
        self._fill(entries)

    def _fill(self, entries: Iterable[CheckpointInfo]) -> None:
        # What `entries` has returned, until something changes.
        self._listed: list[CheckpointInfo] | None = None
        self._damaged: dict[str, CheckpointInfo] = {}
        # Dicts keep the order of insertion, which is commit order: a commit's number is above all
        # others. Only what is imported goes before them: all is sorted anew then, at the next look.
        self._in_order = True
        self._sound: dict[str, CheckpointInfo] = {}
        self._actors: dict[tuple[str, str], dict[str, CheckpointInfo]] = {}
        # By the id of a checkpoint: which say that they continue from it, and of which run each is.
        self._children: dict[str, dict[str, str]] = {}
        # By actor: the names of the cuts that it is in, and its part of each.
        self._parts: dict[tuple[str, str], dict[str, CheckpointInfo]] = {}
        for entry in sorted(entries, key=lambda e: (e.sequence, e.name)):
            self.put(entry)

    def put(self, entry: CheckpointInfo) -> None:
        """Add a checkpoint, or replace what is known of one."""
        self._listed = None
        if entry.damaged:
            self.drop(entry.name)
            self._damaged[entry.name] = entry
            return
        self._damaged.pop(entry.name, None)
        known = self._sound.get(entry.name)
        if known is not None and known != entry:
            self.drop(entry.name)
        if self._sound and entry.sequence < next(reversed(self._sound.values())).sequence:
            self._in_order = False
        self._sound[entry.name] = entry
        if entry.copy is not None:
            return
        self._actors.setdefault((entry.name_prefix, entry.kernel_id), {})[entry.name] = entry
        for e in (entry, *entry.parts):
            if e.parent_id is not None:
                self._children.setdefault(e.parent_id, {})[e.name] = e.run
        for p in entry.parts:
            self._parts.setdefault((p.name_prefix, p.kernel_id), {})[entry.name] = p

    def drop(self, name: str) -> None:
        """Forget a checkpoint, if it is known."""
        self._listed = None
        self._damaged.pop(name, None)
        entry = self._sound.pop(name, None)
        if entry is not None and entry.copy is None:
            actor_key = (entry.name_prefix, entry.kernel_id)
            del self._actors[actor_key][name]
            if not self._actors[actor_key]:
                del self._actors[actor_key]
            for e in (entry, *entry.parts):
                if e.parent_id is not None:
                    del self._children[e.parent_id][e.name]
                    if not self._children[e.parent_id]:
                        del self._children[e.parent_id]
            for p in entry.parts:
                self._parts[p.name_prefix, p.kernel_id].pop(name, None)

    def _sort(self) -> None:
        if not self._in_order:
            self._fill([*self._damaged.values(), *self._sound.values()])

    def entries(self) -> list[CheckpointInfo]:
        """Return all, oldest commit first; damaged ones where they seem to have stood."""
        self._sort()
        if self._listed is None:
            self._listed = self._marked(self._sound.values())
            if self._damaged:
                self._listed = _in_order(self._listed, list(self._damaged.values()))
        return list(self._listed)

    def history(self, name_prefix: str, kernel_id: str) -> list[CheckpointInfo]:
        """Return an actor's checkpoints, oldest commit first; none that is damaged, or a copy."""
        self._sort()
        return self._marked(self._actors.get((name_prefix, kernel_id), {}).values())

    def cuts(self, name_prefix: str, kernel_id: str) -> list[CheckpointInfo]:
        """Return the cuts that an actor is in, oldest commit first; none that is damaged, or a copy."""
        self._sort()
        return [self._sound[name] for name in self._parts.get((name_prefix, kernel_id), {})]

    def parts(self, name_prefix: str, kernel_id: str) -> list[CheckpointInfo]:
        """Return an actor's parts of `cuts`."""
        self._sort()
        return list(self._parts.get((name_prefix, kernel_id), {}).values())

    def _marked(self, entries: Iterable[CheckpointInfo]) -> list[CheckpointInfo]:
        """Mark those at which another run begins."""
        children = self._children
        return [
            e._replace(is_branch_point=True)
            if e.copy is None
            and any(
                p.id in children and {*children[p.id].values()} != {p.run} for p in e.parts or (e,)
            )
            else e
            for e in entries
        ]

    def branch_points(self, actor_key: tuple[str, str]) -> frozenset[str]:
        """Return the ids at which runs of other actors begin."""
        return frozenset(
            e.parent_id
            for entry in self._sound.values()
            if entry.copy is None
            for e in entry.parts or (entry,)
            if e.parent_id is not None and (e.name_prefix, e.kernel_id) != actor_key
        )

    @property
    def last_sequence(self) -> int:
        """The highest number in the store, 0 if there is none."""
        self._sort()
        return next(reversed(self._sound.values())).sequence if self._sound else 0

    @property
    def first_sequence(self) -> int | None:
        """The lowest number in the store, None if there is none."""
        self._sort()
        return next(iter(self._sound.values())).sequence if self._sound else None
