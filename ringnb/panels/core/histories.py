"""What is stored of each actor: found in the catalogue once, put together when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import final

from ringnb.checkpoint.naming import damaged_name, expand_prefix
from ringnb.checkpoint.storage.records import CheckpointInfo

__all__ = ["Histories", "MOST_READ", "when_it_went_bad"]

History = tuple[CheckpointInfo, ...]
MOST_READ = 200  # actors, of which all is read at every refresh


@final
class Histories:
    """The histories of a session's actors by slot, oldest commit first, damaged ones at the front.

    Immutable but for what it remembers; any thread. ``kernel_id_of`` names the actor of a slot.
    """

    def __init__(
        self,
        catalogue: Iterable[CheckpointInfo],
        prefix: str,
        slots: int,
        kernel_id_of: Callable[[int], str],
    ) -> None:
        self._prefix, self._slots, self._kernel_id_of = prefix, slots, kernel_id_of
        self._own: dict[str, list[CheckpointInfo]] = {}
        self._damaged: list[CheckpointInfo] = []
        self._made: dict[int, History] = {}
        self._newest: dict[int, CheckpointInfo] | None = None
        sizes = []
        for stored in sorted(catalogue, key=lambda e: e.sequence):
            if stored.damaged:
                self._damaged.append(stored)
            # A copy is of no history.
            elif stored.copy is None and stored.name_prefix == expand_prefix(
                prefix, stored.kernel_id
            ):
                sizes.append(stored.nbytes)
                for e in stored.parts or (stored,):  # a cut is in the history of each of its actors
                    self._own.setdefault(e.kernel_id, []).append(e)
        self.totals = len(sizes), sum(sizes)  # how many there are, and their bytes

    def __len__(self) -> int:
        """Return how many actors there are."""
        return self._slots

    def __getitem__(self, slot: int) -> History:
        """Return one actor's checkpoints."""
        made = self._made.get(slot)
        if made is None:
            kernel_id = self._kernel_id_of(slot)
            damaged: list[CheckpointInfo] = []
            if self._damaged:
                its = damaged_name(self._prefix, slot, kernel_id)
                damaged = [e for e in self._damaged if its.fullmatch(e.name)]
            made = self._made[slot] = (*damaged, *self._own.get(kernel_id, ()))
        return made

    def newest(self) -> dict[int, CheckpointInfo]:
        """Return each actor's newest checkpoint by slot, if it has one."""
        if self._newest is None:
            # Most are where they were: only the others need that every actor is asked for its name.
            place = {e.actor_slot: e for e in (own[-1] for own in self._own.values())}
            found = {
                slot: e
                for slot, e in place.items()
                if 0 <= slot < self._slots and self._kernel_id_of(slot) == e.kernel_id
            }
            if len(found) < len(self._own):
                slots = {self._kernel_id_of(slot): slot for slot in range(self._slots)}
                found = {slots[k]: own[-1] for k, own in self._own.items() if k in slots}
            self._newest = found
        return self._newest

    def __iter__(self) -> Iterator[History]:
        """Yield the histories that are not empty; of very many actors, without the damaged ones."""
        if self._slots > MOST_READ:
            return (tuple(own) for own in self._own.values())
        return (history for slot in range(self._slots) if (history := self[slot]))


def when_it_went_bad(way: Sequence[CheckpointInfo]) -> str:
    """Say between which steps a state went bad, from the checkpoints up to a bad one, oldest first."""
    good = max((i for i, e in enumerate(way) if e.good), default=-1)
    first = way[good + 1].step
    if good < 0:
        return f"It went bad at step {first:,} or before: no good checkpoint is left before it"
    last = way[good].step
    if last + 1 == first:
        return f"It went bad at step {first:,} exactly"
    return f"It went bad between step {last:,} and {first:,}; more is not known without replay"
