"""How actors and links are dealt out to lanes, and what of it lies in the kernel's tables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringnb.actors import Wave2D
from ringnb.actors.link import Link
from ringnb.actors.region import Region
from ringnb.kernel import layout, regions
from ringnb.kernel.deal import Deal

ends = st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda pair: pair[0] != pair[1])


def links_between(pairs):
    """A link for each pair, each to a row of its own."""
    return [
        Link(a, Region("pressure", slice(9, 10)), b, Region("pressure", slice(k, k + 1)), k + 1)
        for k, (a, b) in enumerate(pairs)
    ]


@given(pairs=st.lists(ends, max_size=8), lanes=st.integers(1, 8), first=st.integers(0, 3))
def test_a_group_is_in_one_lane_a_ring_in_its_table_with_all_of_its_links(pairs, lanes, first):
    actors, links = [Wave2D((10, 5))] * 8, links_between(pairs)
    deal = Deal(actors, links)
    lanes = min(lanes, len(deal.groups))
    deal.out(lanes)
    assert sorted(slot for slots in deal.slots for slot in slots) == list(range(8))
    entered = 0
    for lane, slots in enumerate(deal.slots):
        assert slots
        assert [deal.place_of[slot] for slot in slots] == [(lane, r) for r in range(len(slots))]
        table = np.zeros((first + len(slots), layout.TABLE_COLUMNS), np.int64)
        made = deal.join(lane, table, first, link=entered)
        for slot in slots:
            ring, row = [slot], first + deal.place_of[slot][1]
            while (row := row + int(table[row, layout.C_NEXT])) != first + deal.place_of[slot][1]:
                ring.append(slots[row - first])
            assert sorted(ring) == deal.group_of[slot]
            begin, count = table[row, layout.C_LINKS], table[row, layout.C_LINK_COUNT]
            own = [link for link in links if link.target in ring]
            assert count == (len(own) if slot == ring[0] == min(ring) else 0)
            assert sorted(made[begin - entered :][:count, layout.K_EVERY]) == [
                link.every for link in own[:count]
            ]
        for link in links:
            if deal.place_of[link.target][0] == lane:
                row = made[deal.number_of[link]]
                at = [first + deal.place_of[slot][1] for slot in (link.source, link.target)]
                assert [row[layout.K_FROM], row[layout.K_TO]] == at
                assert (row[layout.K_EVERY], row[layout.K_ON]) == (link.every, 1)
        entered += len(made)
    assert entered == len(links)


@pytest.mark.parametrize("step", [0, 5, 6, 11])
def test_a_group_steps_until_the_next_link_is_due(step):
    table = np.zeros((2, layout.TABLE_COLUMNS), np.int64)
    links = np.zeros((3, layout.LINK_COLUMNS), np.int64)
    table[:, layout.C_STEP] = step
    table[0, layout.C_LINK_COUNT] = 3
    links[:, layout.K_EVERY], links[:, layout.K_ON] = (6, 4, 1), (1, 1, 0)
    count = regions.steps_to_exchange(table, links, 0, 100)
    assert count == next(n for n in range(1, 100) if (step + n) % 6 == 0 or (step + n) % 4 == 0)
    assert regions.steps_to_exchange(table, links, 0, 1) == 1
    table[:, layout.C_STEP] += count
    due = [bool(regions.link_is_due(table, links, k)) for k in range(3)]
    assert due == [(step + count) % 6 == 0, (step + count) % 4 == 0, False]
