"""Links: which sets of them are allowed, against masks of the cells that they read and write."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringnb.actors import Heat2D, Life, Wave2D
from ringnb.actors.link import Link, check_links, linked_groups
from ringnb.actors.region import Region

ROW = Region("pressure", slice(1))


@st.composite
def pairs(draw):
    """Source and target of a link between waves of 6 x 6: two boxes of one shape."""
    ny, nx = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    ends = []
    for _ in range(2):
        y, x = draw(st.integers(0, 6 - ny)), draw(st.integers(0, 6 - nx))
        field = draw(st.sampled_from(["pressure", "pressure_previous"]))
        ends.append((draw(st.integers(0, 1)), Region(field, slice(y, y + ny), slice(x, x + nx))))
    return Link(*ends[0], *ends[1])


def cells(slot, region):
    field = np.zeros((6, 6), bool)
    field[tuple(slice(*bounds) for bounds in region.bounds)] = True
    return {(slot, region.field, *at) for at in np.argwhere(field).tolist()}


@given(st.lists(pairs(), max_size=4))
def test_no_cell_is_written_twice_or_written_and_read(links):
    written = [cell for link in links for cell in cells(link.target, link.into)]
    read = {cell for link in links for cell in cells(link.source, link.region)}
    waves = [Wave2D((6, 6))] * 2
    if len(set(written)) < len(written) or read.intersection(written):
        with pytest.raises(ValueError, match=r"two links write the same cells|reads cells that"):
            check_links(links, waves)
    else:
        assert check_links(iter(links), waves) == tuple(links)


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=8))
def test_groups_are_what_can_be_reached_along_links(ends):
    near = np.eye(9, dtype=bool)
    for one, other in ends:
        near[one, other] = near[other, one] = True
    reached = np.linalg.matrix_power(near.astype(np.int64), 9) > 0
    groups = linked_groups(9, [Link(a, ROW, b, ROW) for a, b in ends])
    assert sorted(slot for group in groups for slot in group) == list(range(9))
    for group in groups:
        assert group == np.flatnonzero(reached[group[0]]).tolist()


@pytest.mark.parametrize(
    ("link", "told"),
    [
        (Link(0, ROW, 3, ROW), r"slot 3 does not exist.*slots 0\.\.2"),
        (Link(0, ROW, 1, Region("alive", slice(1))), r"cells of float32 do not fit .* uint8"),
        (Link(0, ROW, 2, Region("temperature", slice(2))), r"\(1, 8\) cells .* fit \(2, 8\)"),
        (Link(0, Region("alive"), 1, Region("alive")), "no field 'alive'"),
        ("a link", "must be Link objects"),
    ],
)
def test_what_does_not_fit_the_actors_is_refused(link, told):
    with pytest.raises((TypeError, ValueError), match=told):
        check_links([link], [Wave2D((8, 8)), Life((8, 8)), Heat2D((8, 8))])


def test_what_no_actor_would_take_is_refused_at_once():
    with pytest.raises(TypeError, match="region of a Link must be a Region"):
        Link(0, slice(1), 1, ROW)
    with pytest.raises(ValueError, match="every must lie in 1"):
        Link(0, ROW, 1, ROW, every=0)
    with pytest.raises(ValueError, match="source"):
        Link(-1, ROW, 1, ROW)
    assert str(Link(0, ROW, 1, ROW, 2)) == (
        "pressure[:1] of slot 0 to pressure[:1] of slot 1 every 2 steps"
    )
