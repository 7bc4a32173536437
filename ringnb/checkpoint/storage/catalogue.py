"""What a store holds, in commit order, remembered between calls and kept up to date cheaply.

`Catalogue` is the list itself. `Listing` is the one of a local directory: it reads a checkpoint's
document when it is new, notices from the directory's time stamp that somebody else changed something,
and takes the changes of this process over without looking at the rest, so that a commit costs the
same in a store of ten and of ten thousand.

Documents that were exchanged or damaged in place are noticed as well: each look examines the time
stamps of those it returns, up to 250 of them; a longer list is gone through in turns. No look is
trusted with data: `load` checks the document that it reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from ringnb.checkpoint.storage.document import parse_info
from ringnb.checkpoint.storage.format import ATTRIBUTE, looks_like_checkpoint
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.errors import CheckpointCorrupt

__all__ = [
    "Catalogue",
    "entry_of",
]


def entry_of(name: str, raw: bytes | None) -> CheckpointInfo | None:
    """Tell what lies under a name from its group document.

    Parameters
    ----------
    name : str
        The name.
    raw : bytes or None
        The document, None if there is none.

    Returns
    -------
    CheckpointInfo or None
        The line of the catalogue; None if it is something that ringnb has nothing to do with.
    """
    if raw is not None:
        try:
            return parse_info(name, raw)
        except CheckpointCorrupt:
            if f'"{ATTRIBUTE}"'.encode() in raw:
                return CheckpointInfo(name, damaged=True)
    return CheckpointInfo(name, damaged=True) if looks_like_checkpoint(name) else None


@final
class Catalogue:
    """Checkpoints in commit order, found by name and by actor.

    Parameters
    ----------
    entries : iterable of CheckpointInfo, optional
        In any order.

    Notes
    -----
    Not safe for threads: whoever shares one guards it.
    """

    def __init__(self, entries: Iterable[CheckpointInfo] = ()) -> None:
        self._damaged: dict[str, CheckpointInfo] = {}
        # Dicts keep the order of insertion, which is commit order: sequence numbers only grow.
        self._sound: dict[str, CheckpointInfo] = {}
        self._actors: dict[tuple[str, str], dict[str, CheckpointInfo]] = {}
        for entry in sorted(entries, key=lambda e: (e.sequence, e.name)):
            self.put(entry)

    def put(self, entry: CheckpointInfo) -> None:
        """Add a checkpoint that is newer than all others, or replace what is known of one.

        Parameters
        ----------
        entry : CheckpointInfo
            Its line.
        """
        if entry.damaged:
            self.drop(entry.name)
            self._damaged[entry.name] = entry
            return
        self._damaged.pop(entry.name, None)
        self._sound[entry.name] = entry
        self._actors.setdefault((entry.name_prefix, entry.kernel_id), {})[entry.name] = entry

    def drop(self, name: str) -> None:
        """Forget a checkpoint.

        Parameters
        ----------
        name : str
            Its name; one that is not known is left alone.
        """
        self._damaged.pop(name, None)
        entry = self._sound.pop(name, None)
        if entry is not None:
            whose = (entry.name_prefix, entry.kernel_id)
            del self._actors[whose][name]
            if not self._actors[whose]:
                del self._actors[whose]

    def entries(self) -> list[CheckpointInfo]:
        """Return all: damaged ones first, then oldest commit first."""
        return [*self._damaged.values(), *self._sound.values()]

    def history(self, name_prefix: str, kernel_id: str) -> list[CheckpointInfo]:
        """Return an actor's checkpoints, oldest commit first.

        Parameters
        ----------
        name_prefix, kernel_id : str
            Whose.

        Returns
        -------
        list of CheckpointInfo
            A copy.
        """
        return list(self._actors.get((name_prefix, kernel_id), {}).values())

    @property
    def last_sequence(self) -> int:
        """The highest number in the store, 0 if there is none."""
        return next(reversed(self._sound.values())).sequence if self._sound else 0
