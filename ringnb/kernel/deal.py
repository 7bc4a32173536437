"""Which lane each actor is in: linked actors are in one, whose leader steps them together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import final

import numpy as np

from ringnb.actors.base import Actor
from ringnb.actors.link import Link, check_links, linked_groups
from ringnb.kernel import layout
from ringnb.kernel.regions import region_words

__all__ = ["Deal"]


@final
class Deal:
    """Actors and links, dealt out to lanes: groups of linked actors in turn.

    `groups` are the slots of each group, alone or linked; `group_of` has that of each slot, `place_of`
    its lane and its row there, `slots` those of each lane, by row. TypeError or ValueError if links do
    not fit.
    """

    def __init__(self, actors: Sequence[Actor], links: Sequence[Link]) -> None:
        self._actors = actors
        self.links = check_links(links, actors)
        self.groups = linked_groups(len(actors), self.links)
        self.group_of = {slot: group for group in self.groups for slot in group}
        self.number_of: dict[Link, int] = {}  # in its lane
        self.slots: list[list[int]] = []
        self.place_of: list[tuple[int, int]] = []

    def out(self, lanes: int) -> None:
        """Deal them out to so many lanes."""
        self.slots = [
            sorted(slot for group in self.groups[lane::lanes] for slot in group)
            for lane in range(lanes)
        ]
        self.place_of = [(0, 0)] * len(self._actors)
        for lane, slots in enumerate(self.slots):
            for row, slot in enumerate(slots):
                self.place_of[slot] = lane, row

    def join(self, lane: int, table: layout.Words, first: int = 0, link: int = 0) -> layout.Words:
        """Enter into a table of actors who is linked with whom; return the lane's rows of links.

        The lane's actors begin at the row `first` of the table, its links will at the row `link` of
        theirs.
        """
        by_group: defaultdict[int, list[Link]] = defaultdict(list)
        for one in self.links:
            if self.place_of[one.target][0] == lane:
                by_group[self.group_of[one.target][0]].append(one)
        rows: list[tuple[int, ...]] = []
        for head, links in by_group.items():
            at = [first + self.place_of[slot][1] for slot in self.group_of[head]]
            for here, there in zip(at, (*at[1:], at[0]), strict=True):
                table[here, layout.C_NEXT] = there - here
            table[at[0], layout.C_LINKS] = link + len(rows)
            table[at[0], layout.C_LINK_COUNT] = len(links)
            for one in links:
                self.number_of[one] = len(rows)
                rows.append(self._words(one, first))
        made: layout.Words = np.zeros((len(rows), layout.LINK_COLUMNS), np.int64)
        if rows:
            made[:] = rows
        return made

    def _words(self, link: Link, first: int) -> tuple[int, ...]:
        words: list[int] = []
        for slot, region in ((link.source, link.region), (link.target, link.into)):
            actor = self._actors[slot]
            words.append(first + self.place_of[slot][1])
            words.extend(region_words(actor, region.place_in(actor)))
        return (*words, link.every, 1)
