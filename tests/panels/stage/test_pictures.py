"""What a picture shows: bytes, range, words; and of two, what differs."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from front_end import unpacked

import ringnb as rn
from ringnb.panels.stage.pictures import Slice, View, draw, draw_against
from ringnb.testing.storages import make_snapshot

VIEW = View("u")


@pytest.fixture
def stored():
    storage = rn.ZarrStorage(zarr.storage.MemoryStore())

    def store(u, step=7, **changes):
        dims = ("z", "y", "x")[3 - u.ndim :]
        described = {"u": {"units": "Pa", "long_name": "pressure", "dims": dims}}
        snapshot = make_snapshot(step, fields={"u": u}, field_attrs=described, **changes)
        storage.save(f"checkpoint_0_step_{step}", snapshot)
        return storage.load(f"checkpoint_0_step_{step}")

    return store


def pixels_of(drawn, packed=None):
    shape = drawn.info["rows"], drawn.info["columns"]
    return unpacked(drawn.pixels if packed is None else packed, shape)


def waves(shape=(30, 40)):
    return np.sin(np.arange(np.prod(shape), dtype=np.float32) / 7).reshape(shape)


def test_a_picture_has_all_that_the_page_needs(stored):
    drawn, seen = draw(stored(waves(), params={"dx": 0.5}), VIEW)
    info = drawn.info
    assert (info["name"], info["step"], info["field"]) == ("checkpoint_0_step_7", 7, "u")
    assert (info["dims"], info["shape"], info["cell"]) == (["y", "x"], [30, 40], 0.5)
    assert (info["rows"], info["columns"], info["stride"]) == (30, 40, 1)
    assert (info["kind"], info["bad"], info["size"]) == ("diverging", 0, 1200)
    assert info["low"] == -info["high"]
    assert info["quantity"] == "pressure (Pa)"
    values = info["low"] + (pixels_of(drawn) - 1.0) * (info["high"] - info["low"]) / 254
    assert np.abs(values - waves()).max() < (info["high"] - info["low"]) / 500
    assert seen == (float(waves().min()), float(waves().max()))


def test_one_range_takes_in_what_was_seen_before(stored):
    checkpoint = stored(np.ones((4, 4), np.float32))
    drawn, _ = draw(checkpoint, VIEW, (0.0, 3.0))
    assert (drawn.info["low"], drawn.info["high"]) == (0.0, 3.0)
    assert (pixels_of(drawn) == 86).all()
    drawn, _ = draw(checkpoint, VIEW, (-2.0, 0.5))
    assert (drawn.info["low"], drawn.info["high"], drawn.info["kind"]) == (-2.0, 2.0, "diverging")
    whole = stored(np.eye(4, dtype=np.uint8), 8)
    assert draw(whole, VIEW, (0.0, 1.0))[0].info["kind"] == "two"


def test_words_say_what_is_seen_and_what_is_not_finite(stored):
    u = np.zeros((3, 4), np.float32)
    u[2, 1], u[0, 0] = -5, np.nan
    words = draw(stored(u), VIEW)[0].info["words"]
    assert words == (
        "u of model_0 at step 7: 3 by 4 values from -5 to 0, mean -0.4545; largest in magnitude at "
        "y = 2, x = 1; 1 are not finite"
    )
    drawn, seen = draw(stored(np.full((2, 2), np.inf, np.float32), 8), VIEW)
    assert drawn.info["words"].endswith("2 by 2 values, none of them finite")
    assert seen is None
    assert not pixels_of(drawn).any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_says_where_it_lies(stored, axis):
    u = waves((5, 6, 7))
    drawn, _ = draw(stored(u), VIEW._replace(slice=Slice(axis, 3)))
    info = drawn.info
    assert (info["axis"], info["place"], info["index"]) == ("zyx"[axis], axis, 3)
    assert f"{'zyx'[axis]} = 3" in drawn.info["words"]
    direct, _ = draw(stored(np.ascontiguousarray(np.take(u, 3, axis=axis)), 8), VIEW)
    np.testing.assert_array_equal(pixels_of(drawn), pixels_of(direct))


def test_a_slice_beyond_the_end_is_the_last_one(stored):
    assert draw(stored(waves((5, 6, 7))), VIEW._replace(slice=Slice(0, 99)))[0].info["index"] == 4


def test_a_line_keeps_its_peaks_when_it_is_thinned(stored):
    u = np.zeros(5000, np.float32)
    u[1234] = 1
    drawn, _ = draw(stored(u), VIEW)
    assert (drawn.info["shape"], drawn.info["rows"]) == ([5000], 1)
    assert pixels_of(drawn).max() == 255


def test_a_picture_that_is_too_large_is_thinned_further(stored):
    noise = np.random.default_rng(0).random((400, 400), np.float32)
    checkpoint = stored(noise)
    large, small = (draw(checkpoint, VIEW._replace(most_bytes=n))[0] for n in (10**6, 30_000))
    assert (large.info["stride"], small.info["stride"]) == (1, 4)
    assert len(small.pixels) <= 30_000 < len(large.pixels)


def test_a_picture_that_fits_keeps_its_pixels_whichever_axis_is_thinned(stored):
    y, x = np.ogrid[:2048, :1024]
    field = np.sin(y / 90) * np.cos(x / 70)
    for step, plane in enumerate((field, field.T), 1):
        checkpoint = stored(np.ascontiguousarray(plane, np.float32), step)
        whole, _ = draw(checkpoint, VIEW)
        fits = VIEW._replace(most_bytes=int(1.5 * len(whole.pixels)))
        assert fits.most_bytes < whole.info["rows"] * whole.info["columns"]  # so it is guessed
        assert draw(checkpoint, fits)[0].info["stride"] == whole.info["stride"] == 4


def test_a_difference_is_that_of_the_full_values(stored):
    u = np.full((900, 900), 1e6)
    v = u.copy()
    v[700, 3] += 1e-3
    a, b = stored(u, 1), stored(v, 2, params={**make_snapshot().params, "rate": 2.0})
    drawn = draw_against(b, a, VIEW, "difference")
    info = drawn.info
    assert info["verdict"] == "Largest 0.001 Pa, rms 1.11e-06"
    assert info["names"] == "this minus checkpoint_0_step_1"
    assert info["params"] == "parameters differ: rate"
    assert np.argwhere(pixels_of(drawn) != 128).tolist() == [[350, 1]]
    assert pixels_of(draw_against(a, b, VIEW, "difference"))[350, 1] == 1


def test_nothing_is_said_of_parameters_where_there_are_none(stored):
    a, b = (stored(waves(), step, params={}) for step in (1, 2))
    assert draw_against(b, a, VIEW, "difference").info["params"] == ""


def test_equal_in_every_bit_is_said_and_drawn_as_nothing(stored):
    a, b = stored(waves(), 1), stored(waves(), 2)
    drawn = draw_against(b, a, VIEW, "difference")
    assert (drawn.info["verdict"], drawn.info["params"]) == (
        "Equal in every bit",
        "same parameters",
    )
    assert (pixels_of(drawn) == 128).all()
    zeros = np.zeros((3, 3), np.float32)
    words = draw_against(stored(zeros, 3), stored(-zeros, 4), VIEW, "difference").info["verdict"]
    assert words == "Largest 0 Pa, rms 0: equal in value, not in every bit"


def test_what_is_not_finite_in_one_of_two_is_counted(stored):
    u = waves()
    v = u.copy()
    v[1, 2] = np.inf
    info = draw_against(stored(v, 2), stored(u, 1), VIEW, "difference").info
    assert (info["bad"], info["verdict"]) == (1, "Largest 0 Pa, rms 0")
    v[:] = np.nan
    info = draw_against(stored(v, 4), stored(u, 3), VIEW, "difference").info
    assert (info["bad"], info["verdict"]) == (v.size, "No cell is finite in both")


def test_that_one_and_a_swipe_share_a_range(stored):
    a, b = stored(waves(), 1), stored(3 * waves(), 2)
    that = draw_against(b, a, VIEW, "that")
    swipe = draw_against(b, a, VIEW, "swipe")
    assert that.info["high"] == swipe.info["high"] == pytest.approx(3, rel=0.01)
    np.testing.assert_array_equal(pixels_of(that), pixels_of(swipe))
    assert pixels_of(swipe, swipe.more).max() == 255
    assert pixels_of(swipe).max() == pytest.approx(170, abs=2)
    assert (that.more, that.info["names"]) == (b"", "checkpoint_0_step_1")
    assert swipe.info["names"] == "left checkpoint_0_step_1, right this"


def test_both_sides_of_a_swipe_are_of_one_size(stored):
    noise = np.random.default_rng(0).random((400, 400), np.float32)
    a, b = stored(noise, 1), stored(np.zeros_like(noise), 2)
    drawn = draw_against(b, a, VIEW._replace(most_bytes=30_000), "swipe")
    assert pixels_of(drawn).shape == pixels_of(drawn, drawn.more).shape == (100, 100)


def test_different_shapes_and_complex_fields_are_refused(stored):
    with pytest.raises(ValueError, match="only equal shapes"):
        draw_against(stored(waves(), 1), stored(waves((3, 3)), 2), VIEW, "difference")
    with pytest.raises(ValueError, match="complex"):
        draw(stored(waves().astype(np.complex64), 3), VIEW)
