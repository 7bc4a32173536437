"""A strip of one actor's state that goes to another, and what several of them must keep to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

from ringnb._support.checks import MAX_STEP, check_int, check_slot
from ringnb.actors.base import Actor
from ringnb.actors.region import Place, Region

__all__ = ["Link", "check_links", "linked_groups"]


@final
@dataclass(frozen=True)
class Link:
    """Copies a region of one actor to a region of another, between two steps.

    Actors that links join, directly or by others, are a group, and step together: after step k of all
    of them the links that are due are copied, before step k + 1 of any.

    Attributes
    ----------
    source : int
        The slot of the actor that is read.
    region : Region
        What is read.
    target : int
        The slot of the actor that is written; it may be the same one.
    into : Region
        What is written, of the same shape and dtype.
    every : int, default 1
        The link is due when the target's step is a multiple of this.

    Raises
    ------
    TypeError, ValueError
        If a slot is none, a region is none, or `every` is less than 1.

    Examples
    --------
    Two plates, each with a row for the other's edge, are one:

    >>> import ringnb as rn
    >>> there = rn.Link(0, rn.Region("u", slice(6, 7)), 1, rn.Region("u", slice(0, 1)))
    >>> back = rn.Link(1, rn.Region("u", slice(1, 2)), 0, rn.Region("u", slice(7, 8)))
    """

    source: int
    region: Region
    target: int
    into: Region
    every: int = 1

    def __post_init__(self) -> None:
        """Check what can be checked without the actors."""
        for name in ("source", "target"):
            object.__setattr__(self, name, check_slot(getattr(self, name), name))
        for name in ("region", "into"):
            if not isinstance(given := getattr(self, name), Region):
                msg = f"{name} of a Link must be a Region, got {given!r} ({type(given).__name__})"
                raise TypeError(msg)
        object.__setattr__(self, "every", check_int(self.every, "every", 1, MAX_STEP))

    def __str__(self) -> str:
        """Say what goes where."""
        how = "" if self.every == 1 else f" every {self.every} steps"
        return f"{self.region} of slot {self.source} to {self.into} of slot {self.target}{how}"


def check_links(links: Link | Iterable[Link], actors: Sequence[Actor]) -> tuple[Link, ...]:
    """Return links that fit the actors, and each other; TypeError or ValueError if they do not.

    No cell is written by two links, or written by one and read by one. So it does not matter in which
    order they are copied, nor which of them are joined.
    """
    links = (links,) if isinstance(links, Link) else tuple(links)
    written: defaultdict[tuple[int, str], list[tuple[Place, Link]]] = defaultdict(list)
    read: list[tuple[tuple[int, str], Place, Link]] = []
    for link in links:
        if not isinstance(link, Link):
            msg = f"links must be Link objects, got {link!r} ({type(link).__name__})"
            raise TypeError(msg)
        for slot in (link.source, link.target):
            if slot >= len(actors):
                msg = f"{link}: slot {slot} does not exist, this session has slots 0..{len(actors) - 1}"
                raise ValueError(msg)
        source = link.region.place_in(actors[link.source])
        target = link.into.place_in(actors[link.target])
        if (source.shape, source.dtype) != (target.shape, target.dtype):
            msg = (
                f"{link}: {source.shape} cells of {source.dtype} do not fit {target.shape} cells of "
                f"{target.dtype}; both regions must have the same shape and dtype"
            )
            raise ValueError(msg)
        read.append(((link.source, link.region.field), source, link))
        others = written[link.target, link.into.field]
        for place, other in others:
            if _overlap(place, target):
                msg = f"two links write the same cells: {other}, and {link}; leave one of them out"
                raise ValueError(msg)
        others.append((target, link))
    for where, place, link in read:
        for target, other in written.get(where, ()):
            if _overlap(place, target):
                msg = (
                    f"{link} reads cells that {other} writes: what it finds would depend on the order "
                    "of the two; link the actors that the values come from"
                )
                raise ValueError(msg)
    return links


def _overlap(one: Place, other: Place) -> bool:
    return all(
        a < b + m and b < a + n
        for a, n, b, m in zip(one.first, one.cells, other.first, other.cells, strict=True)
    )


def linked_groups(count: int, links: Iterable[Link]) -> list[list[int]]:
    """Return the slots of each group of so many actors, in order; one that no link joins is alone."""
    head = list(range(count))  # of each slot, one of a lower or the same number in its group

    def lowest(slot: int) -> int:
        """Return the lowest slot of a group, and shorten the way to it."""
        while head[slot] != slot:
            head[slot] = head[head[slot]]
            slot = head[slot]
        return slot

    for link in links:
        one, other = sorted((lowest(link.source), lowest(link.target)))
        head[other] = one
    groups: dict[int, list[int]] = {}
    for slot in range(count):
        groups.setdefault(lowest(slot), []).append(slot)
    return list(groups.values())
