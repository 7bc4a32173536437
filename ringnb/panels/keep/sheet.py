"""What the contact sheet shows of each checkpoint, and what of it a page lacks. Pure, one thread."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeAlias, final

from ringnb._support.text import format_bytes
from ringnb.checkpoint.drawable import simulated
from ringnb.checkpoint.storage.records import CheckpointInfo

__all__ = ["SheetLog", "Tile", "tiles_of"]

# Name, step, number of the run, its fate ("", "damaged", "goes", "bad" or "pinned"), words, and the
# time of day when it was made, "" if that is not known.
Tile: TypeAlias = tuple[str, int, int, str, str, str]


def tiles_of(
    history: Iterable[CheckpointInfo],
    runs: Mapping[str, int],
    going: Collection[str],
    sound: Callable[[CheckpointInfo], bool],
    verdict: Callable[[str, str], str],
) -> dict[tuple[str, int], Tile]:
    """Return a tile per checkpoint, by name and number of the commit: oldest first.

    `runs` has the number of each run by its id, `going` the names of what a policy would delete.
    """
    found = {}
    for e in history:
        if e.damaged or not sound(e):
            fate = "damaged"
        elif e.name in going:
            fate = "goes"
        elif not e.good:
            fate = "bad"
        else:
            fate = "" if e.pin is None else "pinned"
        words = [e.name]
        if time := simulated(e.time, dict(e.params).get("dt")):
            words.append(time)
        made = "" if e.created_at is None else f"{e.created_at:%H:%M:%S}"
        if made:
            words.append(f"{made} UTC, {format_bytes(e.nbytes)}")
        if e.pin is not None:
            words.append(f"pinned: {e.pin}")
        if fate == "damaged":
            words.append("its metadata cannot be read" if e.damaged else verdict(e.name, fate))
        number, said = runs.get(e.run, 0), "; ".join(words)
        found[e.name, e.sequence] = (e.name, e.step, number, fate, said, made)
    return found


@final
class SheetLog:
    """The tiles as a page has them, by versions: a page that has missed one asks for all."""

    def __init__(self) -> None:
        self.version = 0
        self._tiles: dict[tuple[str, int], Tile] = {}
        self._keys: dict[tuple[str, int], int] = {}
        self._last_key = 0

    def update(self, tiles: Mapping[tuple[str, int], Tile]) -> dict[str, Any] | None:
        """Take over what is so now; return what a page of the version before lacks, None if nothing."""
        new = [one for one, tile in tiles.items() if self._tiles.get(one) != tile]
        gone = [one for one in self._tiles if one not in tiles]
        if not new and not gone:
            return None
        gone_keys = [self._keys.pop(one) for one in gone]
        for one in new:
            if one not in self._keys:
                self._last_key += 1
                self._keys[one] = self._last_key
        self._tiles = dict(tiles)
        self.version += 1
        add = [[self._keys[one], one[1], *tiles[one]] for one in new]
        return {"v": self.version, "from": self.version - 1, "add": add, "gone": gone_keys}

    def whole(self) -> dict[str, Any]:
        """Return all tiles, for a page that has none or has missed a version."""
        add = [[self._keys[one], one[1], *tile] for one, tile in self._tiles.items()]
        return {"v": self.version, "from": 0, "add": add, "gone": []}

    def name_of(self, key: int) -> str | None:
        """Return the checkpoint that a page knows by a key."""
        return next((one[0] for one, its in self._keys.items() if its == key), None)
