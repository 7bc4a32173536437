"""Figures: what they show, taken out of the drawn artists; drawn from stored checkpoints alone."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
import zarr
from matplotlib.figure import Figure

import ringnb as rn
from ringnb.messages.events import Event
from ringnb.testing.storages import make_snapshot

PARAMS = {"dx": 0.5, "dt": 0.002, "c": 343.0}


@pytest.fixture
def storage():
    return rn.ZarrStorage(zarr.storage.MemoryStore())


@pytest.fixture
def stored(storage):
    """Return a function that stores fields and gives the checkpoint."""

    def store(step=7, *, u=None, attrs=None, **changes):
        if u is not None:
            dims = ("z", "y", "x")[3 - u.ndim :]
            described = {"units": "Pa", "long_name": "pressure", "dims": dims} | (attrs or {})
            changes = {"fields": {"u": u}, "field_attrs": {"u": described}} | changes
        name = f"checkpoint_0_step_{step}"
        storage.save(name, make_snapshot(step, **changes))
        return storage.load(name)

    return store


def wave(amplitude=1.0, shape=(6, 9)):
    rng = np.random.default_rng(3)
    return (amplitude * rng.standard_normal(shape)).astype(np.float32)


def image(ax):
    return ax.images[0]


def bar_label(figure):
    return next(a.get_ylabel() for a in figure.axes if a.get_label() == "<colorbar>")


def test_a_field_is_drawn_as_stored_with_name_step_time_and_units(stored):
    u = wave()
    ax = rn.plots.field(stored(1500, u=u, params=PARAMS))
    np.testing.assert_array_equal(image(ax).get_array(), u)
    assert ax.get_title() == "checkpoint_0_step_1500\nstep 1,500, t = 3 s"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x (m)", "y (m)")
    assert image(ax).get_extent() == [0, 4.5, 0, 3]  # 9 x 6 cells of 0.5 m
    assert bar_label(ax.figure) == "pressure (Pa)"


def test_a_signed_field_is_centred_on_zero_and_a_positive_one_is_not(stored):
    u = wave()
    low, high = image(rn.plots.field(stored(1, u=u))).get_clim()
    assert low == -high
    assert high == pytest.approx(np.abs(u).max())
    positive = np.abs(u) + 2
    ax = rn.plots.field(stored(2, u=positive))
    assert image(ax).get_clim() == pytest.approx((positive.min(), positive.max()))
    assert image(ax).get_cmap().name != image(rn.plots.field(stored(3, u=u))).get_cmap().name


def test_the_colour_maps_are_uniform_in_lightness_and_differ_without_colour():
    """Lightness rises steadily in the sequential map, and towards the middle in the diverging one."""
    import matplotlib
    from matplotlib.colors import to_rgb

    from ringnb.plots.style import DIVERGING, SEQUENTIAL

    def lightness(name):
        rgb = np.array([to_rgb(c) for c in matplotlib.colormaps[name](np.linspace(0, 1, 65))])
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        y = linear @ [0.2126, 0.7152, 0.0722]
        return 116 * np.cbrt(y) - 16  # CIE L*

    rises = np.diff(lightness(SEQUENTIAL))
    assert (rises > 0).all()
    assert rises.std() / rises.mean() < 0.2
    both = lightness(DIVERGING)
    assert (np.diff(both[:33]) > 0).all()
    assert (np.diff(both[32:]) < 0).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_of_a_volume_is_the_one_asked_for(stored, axis):
    u = wave(shape=(3, 4, 5))
    ax = rn.plots.field(stored(u=u), axis=axis, index=1)
    np.testing.assert_array_equal(image(ax).get_array(), np.take(u, 1, axis=axis))
    assert "= 1" in ax.get_title()
    middle = rn.plots.field(stored(8, u=u), axis=axis)
    np.testing.assert_array_equal(
        image(middle).get_array(), np.take(u, u.shape[axis] // 2, axis=axis)
    )


def test_it_draws_into_axes_that_it_is_given(stored):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    a, b = stored(1, u=wave()), stored(2, u=wave(2))
    assert rn.plots.field(a, ax=left) is left
    assert rn.plots.difference(a, b, ax=right) is right
    assert left.images
    assert right.images


@pytest.mark.parametrize(("shape", "least"), [((24, 96), 2.0), ((96, 24), 0.5)])
def test_a_picture_and_its_colour_bar_are_as_high_as_each_other(stored, shape, least):
    values = np.linspace(0, 1, shape[0] * shape[1]).reshape(shape)
    figure = rn.plots.field(stored(u=values)).figure
    figure.draw_without_rendering()
    picture, bar = (ax.get_window_extent() for ax in figure.axes)
    assert bar.height < 1.8 * picture.height
    assert figure.bbox.width / figure.bbox.height > least


def test_a_colour_bar_names_values_and_not_what_to_add_to_them(stored):
    figure = rn.plots.field(stored(u=0.6 + 1e-5 * wave())).figure
    figure.draw_without_rendering()
    assert figure.axes[1].yaxis.get_offset_text().get_text() == ""


def test_not_finite_values_stand_out_and_do_not_spoil_the_scale(stored):
    u = wave()
    u[2, 3], u[1, 1] = np.nan, np.inf
    ax = rn.plots.field(stored(u=u))
    assert image(ax).get_array().mask.sum() == 2
    assert np.isfinite(image(ax).get_clim()).all()
    assert image(ax).get_cmap().get_bad()[:3] == pytest.approx((0.839, 0.153, 0.157), abs=1e-3)


def test_a_film_shares_one_scale_over_all_panels(stored):
    history = [stored(n, u=wave(n), params=PARAMS) for n in (1, 2, 3, 4, 5)]
    figure = rn.plots.film(history, columns=3)
    panels = [a for a in figure.axes if a.images]
    assert len(panels) == 5
    assert len({a.images[0].get_clim() for a in panels}) == 1
    for ax, checkpoint in zip(panels, history, strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), checkpoint["u"][...])
        assert f"step {checkpoint.step}" in ax.get_title()


def test_a_difference_shows_its_norms_and_whether_every_bit_agrees(stored):
    u = wave()
    v = u.copy()
    v[2, 2] += 0.5
    a, b, c = stored(1, u=u), stored(2, u=v), stored(3, u=u)
    ax = rn.plots.difference(a, b)
    expected = v.astype(np.float64) - u
    np.testing.assert_array_equal(image(ax).get_array(), expected)
    rms = np.sqrt((expected**2).mean())
    assert f"largest 0.5, rms {rms:.3g}: not equal in every bit" in ax.get_title()
    assert "equal in every bit" in rn.plots.difference(a, c).get_title().replace("not equal", "")
    assert "not equal" not in rn.plots.difference(a, c).get_title()
    assert len(ax.figure.axes) == 2  # a colour bar: a difference of nothing has no range for one
    assert len(rn.plots.difference(a, c).figure.axes) == 1


def test_a_negative_zero_is_another_bit(stored):
    a, b = stored(1, u=np.zeros((2, 2), np.float32)), stored(2, u=-np.zeros((2, 2), np.float32))
    assert "largest 0, rms 0: not equal in every bit" in rn.plots.difference(a, b).get_title()


def test_a_series_over_time_breaks_where_the_history_does(stored):
    history = [
        stored(10, u=wave(1), params=PARAMS),
        stored(20, u=wave(2), params=PARAMS, parent="checkpoint_0_step_10"),
        stored(15, u=wave(3), params=PARAMS, parent="checkpoint_0_step_10"),
    ]
    ax = rn.plots.series(history, "max")
    assert [list(line.get_xdata()) for line in ax.lines] == [[0.02, 0.04], [0.03]]
    drawn = np.concatenate([line.get_ydata() for line in ax.lines])
    np.testing.assert_allclose(drawn, [c["u"][...].max() for c in history])
    assert ax.get_xlabel() == "simulated time (s)"
    assert ax.get_ylabel() == "max of pressure (Pa)"
    assert "2 lines" in ax.get_title()


def test_the_energy_of_an_undamped_wave_is_constant(storage):
    with rn.Session(rn.actors.Wave2D((48, 48)), storage=storage) as session:
        history = []
        for _ in range(5):
            session.run_steps(0, 40)
            history.append(session.snapshot(0))
    (line,) = rn.plots.series(history, "energy").lines
    energy = line.get_ydata()
    assert energy.min() > 0
    np.testing.assert_allclose(energy, energy[0], rtol=1e-4)


def test_the_energy_of_spins_all_alike_is_minus_two_per_spin(storage):
    start = np.ones((16, 16), np.int8)
    with rn.Session(rn.actors.Ising2D((16, 16), start=start), storage=storage) as session:
        checkpoint = session.snapshot(0)
    (line,) = rn.plots.series([checkpoint], "energy").lines
    assert line.get_ydata().tolist() == [-2.0]


def test_a_series_of_ones_own_function(stored):
    history = [stored(n, u=wave(n)) for n in (1, 2)]

    def cells(checkpoint):
        return checkpoint["u"].size * checkpoint.step

    ax = rn.plots.series(history, [cells, "mean"])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["cells", "mean"]
    assert ax.lines[0].get_ydata().tolist() == [54.0]


STAGES = ("due", "requested", "sent", "captured", "received", "written", "committed")
LABELS = [
    "waiting to be polled",
    "waiting for a staging buffer",
    "in the H2K ring, captured",
    "in the K2H ring",
    "being written",
    "made visible and durable",
    "committed",
]


def life(slot, request_id, begin_ms, stages=STAGES):
    return [
        Event(stage, slot, request_id, t_ns=int(1e9 + (begin_ms + i * 2) * 1e6))
        for i, stage in enumerate(stages)
    ]


def bars(ax):
    """Return (row, left, width) of every bar."""
    return [
        (p.get_y() + p.get_height() / 2, round(p.get_x(), 6), round(p.get_width(), 6))
        for p in ax.patches
    ]


def test_a_timeline_has_a_lane_per_actor_and_a_bar_per_stage():
    ax = rn.plots.timeline([*life(0, 1, 0), *life(3, 2, 100)])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["slot 3", "slot 0"]
    assert sorted(bars(ax)) == [
        *((0, 100.0 + 2 * i, 2.0) for i in range(6)),
        *((1, 2.0 * i, 2.0) for i in range(6)),
    ]
    assert ax.get_xlabel() == "time (ms)"
    assert ax.get_title() == "2 snapshot requests of 2 actors"
    (legend,) = ax.figure.legends
    assert [t.get_text() for t in legend.get_texts()] == LABELS


def test_a_timeline_can_align_the_requests():
    ax = rn.plots.timeline([*life(0, 1, 0), *life(0, 2, 500), *life(1, 3, 600)], aligned=True)
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert labels == ["slot 1, request 3", "slot 0, request 2", "slot 0, request 1"]
    assert {left for _, left, _ in bars(ax)} == {2.0 * i for i in range(6)}


def test_a_timeline_of_the_last_requests_only():
    log = [*life(0, 1, 0), *life(0, 2, 5000), Event("retired", 0, t_ns=int(1e9 + 5020e6))]
    ax = rn.plots.timeline(log, last=1)
    assert ax.get_title() == "1 snapshot request of 1 actor"
    assert len(ax.patches) == 6
    assert max(left + width for _, left, width in bars(ax)) == 12.0


def test_a_request_that_failed_is_marked_where_it_ended():
    ax = rn.plots.timeline([*life(0, 1, 0, STAGES[:3]), Event("failed", 0, 1, t_ns=int(1.05e9))])
    assert len(ax.patches) == 2
    (mark,) = ax.lines
    assert mark.get_xdata()[0] == 50.0
    assert "failed" in [t.get_text() for t in ax.figure.legends[0].get_texts()]


def test_the_legend_lies_inside_the_picture():
    for actors in (1, 2, 7):
        ax = rn.plots.timeline([e for s in range(actors) for e in life(s, s + 1, 10 * s)])
        figure = ax.figure
        figure.canvas.draw()
        box = figure.legends[0].get_window_extent()
        assert box.y0 >= 0
        assert box.y1 <= ax.get_window_extent().y0
        assert box.x1 <= figure.bbox.x1


def test_every_figure_shows_itself_in_a_notebook(stored):
    axes = rn.plots.field(stored(u=wave()))
    figure = axes.figure
    assert axes._repr_png_().startswith(b"\x89PNG")  # as does the cell that ends with the call
    assert figure._repr_png_().startswith(b"\x89PNG")
    out = io.BytesIO()
    figure.savefig(out, format="svg")
    assert b"</svg>" in out.getvalue()


def test_pyplot_is_left_alone(stored):
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    rn.plots.field(stored(u=wave()))
    rn.plots.timeline(life(0, 1, 0))
    assert pyplot.get_fignums() == before


def test_matplotlib_is_imported_when_plots_are_first_used():
    look = "print('matplotlib' in sys.modules)"
    code = f"import sys, ringnb; {look}; ringnb.plots; {look}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda c: rn.plots.field("c"), TypeError, "a Checkpoint is needed"),
        (lambda c: rn.plots.field(c, "v"), KeyError, "has no field 'v'"),
        (lambda c: rn.plots.field(c, ax=3), TypeError, "ax must be a matplotlib Axes"),
        (lambda c: rn.plots.field(c, limits=(1, 1)), ValueError, "two rising finite numbers"),
        (lambda c: rn.plots.field(c, limits=(0, float("nan"))), ValueError, "rising"),
        (lambda c: rn.plots.film([]), ValueError, "no checkpoint to draw"),
        (lambda c: rn.plots.film([c, 1]), TypeError, "a Checkpoint is needed"),
        (lambda c: rn.plots.film("abc"), TypeError, "several Checkpoint objects"),
        (lambda c: rn.plots.film([c], columns=0), ValueError, "columns"),
        (lambda c: rn.plots.difference(c, None), TypeError, "a Checkpoint is needed"),
        (lambda c: rn.plots.series([c], "energy"), ValueError, "'energy' is not known"),
        (lambda c: rn.plots.series([c], []), TypeError, "scalar must be"),
        (lambda c: rn.plots.series([c], 5), TypeError, "scalar|iterable"),
        (lambda c: rn.plots.timeline([]), ValueError, "no event to draw"),
        (lambda c: rn.plots.timeline([1]), TypeError, "session.events"),
        (lambda c: rn.plots.timeline(life(0, 1, 0), last=0), ValueError, "positive integer"),
        (
            lambda c: rn.plots.timeline([Event("restored", 0)], aligned=True),
            ValueError,
            "no request to draw",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(stored, draw, error, message):
    checkpoint = stored(u=wave())
    with pytest.raises(error, match=message):
        draw(checkpoint)


def test_a_slice_that_does_not_exist_is_refused(stored):
    checkpoint = stored(u=wave(shape=(3, 4, 5)))
    with pytest.raises((ValueError, IndexError), match="3"):
        rn.plots.field(checkpoint, index=3)
    with pytest.raises((ValueError, IndexError), match="axis"):
        rn.plots.field(checkpoint, axis=3)


def test_a_complex_field_and_one_of_four_axes_are_refused(stored):
    with pytest.raises(ValueError, match="complex"):
        rn.plots.field(stored(1, u=wave().astype(np.complex64)))
    four = np.zeros((2, 2, 2, 2))
    with pytest.raises(ValueError, match="one to three axes"):
        rn.plots.field(stored(2, fields={"u": four}, field_attrs={}))


def test_different_shapes_cannot_be_compared(stored):
    with pytest.raises(ValueError, match="only equal shapes"):
        rn.plots.difference(stored(1, u=wave()), stored(2, u=wave(shape=(4, 4))))
