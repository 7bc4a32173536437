"""Pictures of fields: what they show, taken out of the drawn artists."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from plotted import PARAMS, bar_label, image, wave

import ringnb as rn


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
