"""What a store holds, in commit order: found by name, by actor, and as a whole.

A directory's `Listing` keeps one between calls; an object store reads one anew each time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from ringnb.checkpoint.storage.document import parse_info
from ringnb.checkpoint.storage.format import ATTRIBUTE, looks_like_checkpoint
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.errors import CheckpointCorrupt

__all__ = ["Catalogue", "entry_of"]


def entry_of(name: str, raw: bytes | None) -> CheckpointInfo | None:
    """Return the line for a name and its group document; None if it is nothing of ringnb's."""
    if raw is not None:
        try:
            return parse_info(name, raw)
        except CheckpointCorrupt:
            if f'"{ATTRIBUTE}"'.encode() in raw:
                return CheckpointInfo(name, damaged=True)
    return CheckpointInfo(name, damaged=True) if looks_like_checkpoint(name) else None


@final
class Catalogue:
    """Checkpoints in commit order. Not safe for threads: the owner guards it."""

    def __init__(self, entries: Iterable[CheckpointInfo] = ()) -> None:
        self._damaged: dict[str, CheckpointInfo] = {}
        # Dicts keep the order of insertion, which is commit order: sequence numbers only grow.
        self._sound: dict[str, CheckpointInfo] = {}
        self._actors: dict[tuple[str, str], dict[str, CheckpointInfo]] = {}
        for entry in sorted(entries, key=lambda e: (e.sequence, e.name)):
            self.put(entry)

    def put(self, entry: CheckpointInfo) -> None:
        """Add a checkpoint that is newer than all others, or replace what is known of one."""
        if entry.damaged:
            self.drop(entry.name)
            self._damaged[entry.name] = entry
            return
        self._damaged.pop(entry.name, None)
        self._sound[entry.name] = entry
        self._actors.setdefault((entry.name_prefix, entry.kernel_id), {})[entry.name] = entry

    def drop(self, name: str) -> None:
        """Forget a checkpoint, if it is known."""
        self._damaged.pop(name, None)
        entry = self._sound.pop(name, None)
        if entry is not None:
            actor_key = (entry.name_prefix, entry.kernel_id)
            del self._actors[actor_key][name]
            if not self._actors[actor_key]:
                del self._actors[actor_key]

    def entries(self) -> list[CheckpointInfo]:
        """Return all: damaged ones first, then oldest commit first."""
        return [*self._damaged.values(), *self._sound.values()]

    def history(self, name_prefix: str, kernel_id: str) -> list[CheckpointInfo]:
        """Return an actor's checkpoints, oldest commit first; none that is damaged."""
        return list(self._actors.get((name_prefix, kernel_id), {}).values())

    @property
    def last_sequence(self) -> int:
        """The highest number in the store, 0 if there is none."""
        return next(reversed(self._sound.values())).sequence if self._sound else 0
