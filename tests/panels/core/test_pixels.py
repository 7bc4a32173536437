"""Pictures as bytes: colours are matplotlib's, thinning hides nothing, and the page can undo it."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from front_end import unpacked

from ringnb.checkpoint.drawable import ValueRange, value_range
from ringnb.panels.core import pixels


@pytest.mark.parametrize("name", [n for n in pixels.MAPS if n != "two"])
def test_the_tables_are_those_of_matplotlib(name):
    table = np.frombuffer(pixels.lookup_tables()[name], np.uint8).reshape(255, 3)
    colours = matplotlib.colormaps[name]
    for byte in (1, 2, 100, 128, 254, 255):
        expected = colours((byte - 1) / 254, bytes=True)[:3]
        np.testing.assert_array_equal(table[byte - 1], expected)


def test_there_are_eight_maps_of_765_bytes():
    assert [len(t) for t in pixels.lookup_tables().values()] == [765] * 8
    assert list(pixels.lookup_tables()) == list(pixels.MAPS)


def test_low_to_high_are_1_to_255_and_what_is_not_finite_is_0():
    values = np.array([[0.0, 1.0, 2.0], [4.0, np.nan, -np.inf]])
    data, stride = pixels.thin(values, ValueRange(0.0, 4.0, "sequential"), 512)
    assert stride == 1
    np.testing.assert_array_equal(data, [[1, 65, 128], [255, 0, 0]])


def test_values_beyond_the_range_have_the_colour_of_its_end():
    data, _ = pixels.thin(np.array([[-9.0, 9.0]]), ValueRange(-1.0, 1.0, "diverging"), 512)
    np.testing.assert_array_equal(data, [[1, 255]])


def test_the_middle_of_a_diverging_range_is_the_middle_of_the_table():
    span = value_range([np.array([-3.0, 1.0])])
    assert span == (-3.0, 3.0, "diverging")
    assert pixels.thin(np.zeros((1, 1)), span, 8).data[0, 0] == 128


@pytest.mark.parametrize("shape", [(1, 5), (7, 7), (512, 512), (513, 40), (1030, 5), (1, 5000)])
def test_a_plane_is_thinned_to_the_side_asked_for_by_one_stride(shape):
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    data, stride = pixels.thin(values, value_range([values]), 512)
    assert data.shape == tuple(-(-n // stride) for n in shape)
    assert max(data.shape) <= 512
    assert stride == 1 or max(shape) > 512 * (stride - 1)


def test_thinning_hides_no_value_that_is_not_finite():
    values = np.zeros((1000, 1001), np.float32)
    values[999, 1000] = np.nan
    values[1, 0] = np.inf
    data, stride = pixels.thin(values, ValueRange(0.0, 1.0, "sequential"), 256)
    assert stride == 4
    assert {tuple(p) for p in np.argwhere(data == 0)} == {(0, 0), (249, 250)}


def test_thinning_a_difference_keeps_a_single_cell_of_either_sign():
    values = np.zeros((900, 900))
    values[3, 5], values[700, 2] = 1.0, -1.0
    span = ValueRange(-1.0, 1.0, "diverging")
    data, stride = pixels.thin(values, span, 300, extremes=True)
    assert data[3 // stride, 5 // stride] == 255
    assert data[700 // stride, 2 // stride] == 1
    assert np.count_nonzero(data != 128) == 2


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint64, np.float16, np.float64])
def test_every_dtype_of_a_field_has_a_picture(dtype):
    values = np.array([[0, 1], [1, 0]], dtype)
    data, _ = pixels.thin(values, value_range([values]), 512)
    np.testing.assert_array_equal(data, [[1, 255], [255, 1]])


def test_huge_values_do_not_overflow():
    for values in (np.array([[-3e38, 3e38]], np.float32), np.array([[-1.7e308, 1.7e308]])):
        data, _ = pixels.thin(values, value_range([values]), 512)
        np.testing.assert_array_equal(data, [[1, 255]])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (64, 48)])
def test_what_is_packed_can_be_unpacked(shape):
    data = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(unpacked(pixels.pack(data), shape), data)


def test_a_smooth_picture_is_small():
    y, x = np.mgrid[:192, :192] / 30.0
    values = np.sin(x) * np.cos(y)
    data, _ = pixels.thin(values, value_range([values]), 512)
    assert len(pixels.pack(data)) < data.size / 4


@pytest.mark.parametrize(
    ("values", "low", "high", "peak", "bad"),
    [
        (np.array([[1.0, -2.0], [2.0, 0.0]]), -2.0, 2.0, (0, 1), 0),
        (np.array([[1.0, np.nan], [-3.0, np.inf]], np.float32), -3.0, 1.0, (1, 0), 2),
        (np.array([0, 200, 7], np.uint8), 0.0, 200.0, (1,), 0),
        (np.array([-128, 5], np.int8), -128.0, 5.0, (0,), 0),
        (np.zeros((2, 3)), 0.0, 0.0, (0, 0), 0),
        (np.array([np.nan, -4.0, -9.0]), -9.0, -4.0, (2,), 1),
    ],
)
def test_a_summary_is_of_the_finite_values(values, low, high, peak, bad):
    found = pixels.summarize(values)
    assert (found.low, found.high, found.peak, found.bad) == (low, high, peak, bad)
    assert found.mean == pytest.approx(values[np.isfinite(values)].mean())


def test_a_summary_of_nothing_finite_says_so():
    found = pixels.summarize(np.full((2, 2), np.nan))
    assert found.bad == 4
    assert np.isnan(found.low)


def test_what_differs_by_rounding_only_is_flat_and_a_huge_value_has_a_range():
    for value in (1.0, -1e30, 3e38):
        near = np.array([value, np.nextafter(np.float32(value), np.float32(0))], np.float32)
        low, high, _ = value_range([near])
        assert high - low > 100 * abs(float(near[0]) - float(near[1]))
        assert low < near.min() < near.max() < high
    assert value_range([np.array([1.0, 1.001], np.float32)]).low == 1.0
    assert value_range([np.array([0.0, 1e-37])]).high == 1e-37  # of 64 bits it is a value
