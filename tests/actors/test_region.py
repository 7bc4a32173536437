"""Regions: what is taken, what is refused and how it is said, against NumPy's own indexing."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ringnb as rn
from ringnb.actors import CellActor, GrayScott, Wave2D, Wave3D
from ringnb.actors.region import Region

bounds = st.one_of(st.none(), st.integers(0, 12))


@given(
    shape=st.tuples(*[st.integers(3, 9)] * 3),
    slices=st.lists(st.builds(slice, bounds, bounds), max_size=4),
)
def test_what_is_taken_is_what_numpy_takes_and_anything_else_is_refused(shape, slices):
    region = Region("pressure", *slices)
    inside = all(s.stop is None or s.stop <= n for s, n in zip(slices, shape, strict=False))
    cells = np.arange(np.prod(shape)).reshape(shape)[tuple(slices)] if len(slices) < 4 else None
    if cells is None or not cells.size or not inside:
        with pytest.raises(ValueError, match=r"Region\('pressure'"):
            region.place_in(Wave3D(shape))
        return
    place = region.place_in(Wave3D(shape))
    assert place.shape == place.cells == cells.shape
    assert np.ravel_multi_index(place.first, shape) == cells.flat[0]
    assert place.nbytes == cells.size * 4


def test_a_region_is_a_value():
    region = rn.Region("u", *np.s_[0:2, 5:])
    assert region == Region("u", slice(0, 2), slice(np.int64(5), None))
    assert hash(region) == hash(pickle.loads(pickle.dumps(region)))
    assert eval(repr(region), {"Region": Region}) == region
    assert (str(region), str(Region("u"))) == ("u[0:2, 5:]", "u[:]")
    with pytest.raises(AttributeError):
        region.field = "v"


def test_fields_are_named_as_in_a_checkpoint():
    wave = Wave2D((5, 7))
    place = Region("pressure_previous", slice(1, 3)).place_in(wave)
    assert (place.level, place.number, place.first, place.cells) == (1, 0, (0, 1, 0), (1, 2, 7))
    second = list(GrayScott((5, 7)).fields)[1]
    assert Region(second).place_in(GrayScott((5, 7)))[:2] == (0, 1)
    fields = {"u": "float64", "wall": "uint8"}
    mixed = CellActor(_keep, (8,), fields=fields)
    assert Region("wall").place_in(mixed).dtype == np.uint8


def _keep(now, after, params, step, x):
    after[0, x], after[1, x] = now[0, x], now[1, x]


@pytest.mark.parametrize(
    ("slices", "error", "told"),
    [
        ((3,), TypeError, "write slice.n, n . 1. for cell n"),
        (("a",), TypeError, "made of slices"),
        ((slice(0.5, 2),), TypeError, "start of .* integer or None"),
        ((slice(-2, None),), ValueError, "counts cells from 0"),
        ((slice(0, -1),), ValueError, "counts cells from 0"),
        ((slice(0, 8, 2),), ValueError, "has the step 2"),
        ((slice(5, 0, -1),), ValueError, "has the step -1"),
    ],
)
def test_other_indices_are_refused_with_what_to_write(slices, error, told):
    with pytest.raises(error, match=told):
        Region("pressure", *slices)


@pytest.mark.parametrize(
    ("region", "told"),
    [
        (Region("temperature"), "it has pressure, pressure_previous"),
        (Region("pressure", slice(4, 4)), r"is empty along y.*0 <= start < stop <= 5"),
        (Region("pressure", slice(0, 5), slice(0, 8)), r"outside the grid along x: cells 0\.\.7"),
        (Region("pressure", *[slice(0, 1)] * 3), r"has 3 slices.*2 axes \('y', 'x'\)"),
    ],
)
def test_what_an_actor_does_not_have_is_refused_when_it_is_asked_for(region, told):
    with pytest.raises(ValueError, match=told):
        region.place_in(Wave2D((5, 7)))
