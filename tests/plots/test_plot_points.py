"""Particles, vectors and curves: what is drawn, taken out of the drawn artists."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.quiver import Quiver
from plotted import PARAMS, bar_label

import ringnb as rn

PLACES = np.random.default_rng(1).random((50, 3))


@pytest.fixture
def swarm(stored):
    x, y, z = PLACES.T
    described = {"x": {"units": "m"}, "heat": {"long_name": "temperature", "units": "K"}}
    fields = {"x": x, "y": y, "heat": z, "positions": PLACES}
    attrs = {
        name: {"dims": tuple(f"{name}_{i}" for i in range(a.ndim))} for name, a in fields.items()
    }
    attrs = {name: a | described.get(name, {}) for name, a in attrs.items()}
    return stored(4, fields=fields, field_attrs=attrs)


def test_particles_are_where_two_fields_say_and_coloured_by_a_third(swarm):
    ax = rn.plots.particles(swarm, colour="heat")
    (points,) = ax.collections
    np.testing.assert_array_equal(points.get_offsets(), PLACES[:, :2])
    np.testing.assert_array_equal(points.get_array(), PLACES[:, 2])
    assert ax.get_xlabel() == "x (m)"
    assert bar_label(ax.figure) == "temperature (K)"
    assert "step 4" in ax.get_title()
    x, y = ax.get_xlim(), ax.get_ylim()  # a square that holds all, so the bar is as high as it
    assert x[1] - x[0] == pytest.approx(y[1] - y[0])
    assert (x[0] < PLACES[:, 0]).all()
    assert (PLACES[:, 1] < y[1]).all()


def test_columns_of_one_field_are_places_as_well(swarm):
    ax = rn.plots.particles(swarm, ("positions", 0), ("positions", 2), colour=("positions", 1))
    (points,) = ax.collections
    np.testing.assert_array_equal(points.get_offsets(), PLACES[:, [0, 2]])
    assert ax.get_ylabel() == "positions, column 2"


def test_particles_that_are_nowhere_are_counted(stored):
    x = np.arange(5.0)
    x[2] = np.nan
    ax = rn.plots.particles(stored(fields={"x": x, "y": x}))
    assert len(ax.collections[0].get_offsets()) == 4
    assert "1 of 5 particles" in ax.texts[0].get_text()


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (("x", "nothing"), KeyError, "has no field"),
        (("x", ("positions", 3)), ValueError, "not a column"),
        (("x", ("y", 0)), ValueError, "not a column"),
        (("x", "positions"), ValueError, "one value of each"),
    ],
)
def test_what_is_no_place_is_refused(swarm, arguments, error, match):
    with pytest.raises(error, match=match):
        rn.plots.particles(swarm, *arguments)


def whirl(shape=(40, 60)):
    y, x = np.indices(shape) - np.array(shape)[:, None, None] / 2
    return -y, x


@pytest.fixture
def flow(stored):
    u, v = whirl()
    attrs = {n: {"dims": ("y", "x"), "units": "m/s"} for n in "uv"}
    return stored(9, fields={"u": u, "v": v}, field_attrs=attrs, params=PARAMS)


def test_arrows_stand_at_cells_and_show_their_values(flow):
    ax = rn.plots.vectors(flow, most=20)
    arrows = next(c for c in ax.collections if isinstance(c, Quiver))
    u, v = whirl()
    columns, rows = np.floor(np.asarray(arrows.XY) / PARAMS["dx"]).astype(int).T
    np.testing.assert_array_equal(arrows.U, u[rows, columns])
    np.testing.assert_array_equal(arrows.V, v[rows, columns])
    assert len(np.unique(columns)) == 20
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 30), (0, 20))
    assert ax.get_xlabel() == "x (m)"
    assert bar_label(ax.figure) == "magnitude of u (m/s), v"


def test_streamlines_follow_the_field(flow):
    ax = rn.plots.vectors(flow, kind="streamlines", most=12)
    # Around the middle: no piece of a line leads outwards.
    pieces = np.concatenate(
        [c.get_segments() for c in ax.collections if hasattr(c, "get_segments")]
    )
    begin, end = pieces[:, 0] - (15, 10), pieces[:, -1] - (15, 10)
    assert np.abs(np.hypot(*begin.T) - np.hypot(*end.T)).max() < 1.0


def test_a_slice_of_a_flow_and_what_is_not_finite(stored):
    u = np.ones((3, 8, 8))
    u[1, 2, 2] = np.inf
    attrs = {n: {"dims": ("z", "y", "x")} for n in "uv"}
    flow = stored(fields={"u": u, "v": np.zeros_like(u)}, field_attrs=attrs)
    ax = rn.plots.vectors(flow)
    assert ax.get_title().endswith("z = 1")
    assert "1 of 64 vectors" in ax.texts[0].get_text()
    with pytest.raises(ValueError, match="'arrows' or 'streamlines'"):
        rn.plots.vectors(flow, kind="arrow")
    with pytest.raises(ValueError, match="two grids"):
        rn.plots.vectors(stored(8, fields={"u": u[0], "v": u[0, :3]}))
    with pytest.raises(ValueError, match="most"):
        rn.plots.vectors(flow, most=1)


def test_curves_of_one_state_or_of_several(stored):
    values = np.linspace(0, 1, 7)
    fields = {"u": values, "w": values**2}
    attrs = {n: {"dims": ("x",), "units": "m"} for n in fields}
    one, two = (stored(n, fields=fields, field_attrs=attrs, params=PARAMS) for n in (1, 2))
    ax = rn.plots.curves(one, ["u", "w"])
    assert [line.get_label() for line in ax.lines] == ["u", "w"]
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), values**2)
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), (np.arange(7) + 0.5) * 0.5)
    ax = rn.plots.curves([one, two], "u")
    assert [line.get_label() for line in ax.lines] == ["step 1, t = 2 ms", "step 2, t = 4 ms"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x (m)", "u (m)")
    with pytest.raises(ValueError, match="too many"):
        rn.plots.curves([one] * 13, "u")
    with pytest.raises(ValueError, match="one axis"):
        rn.plots.curves(stored(3, u=np.ones((2, 2))))
