"""One function per kind of value: what it takes, what it returns, what it says of the rest."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ringnb._support import checks

INTEGERS = [0, 7, -3, 2**70, np.int8(5), np.uint64(2**63)]
REALS = [1.5, -0.0, np.float32(2.5), np.float64(1e300)]
OTHERS = [True, False, np.bool_(True), "1", None, 1j, [1], np.array([1])]


@pytest.mark.parametrize("value", [*INTEGERS, *REALS, *OTHERS], ids=repr)
def test_a_bool_is_no_number_and_an_integer_is_one(value):
    kind = type(value)
    integer, real = kind in map(type, INTEGERS), kind in map(type, REALS)
    assert checks.is_integer(value) == integer
    assert checks.is_number(value) == (integer or real)


@pytest.mark.parametrize("value", [3, np.int16(3), np.uint8(3)])
def test_an_integer_comes_back_as_pythons(value):
    checked = checks.check_int(value, "n", 3, 3)
    assert (type(checked), checked) == (int, 3)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (2, ValueError, r"n must lie in 3\.\.5 \(slots\), got 2"),
        (6, ValueError, r"n must lie in 3\.\.5 \(slots\), got 6"),
        (4.0, TypeError, r"n must be an integer, got 4\.0 \(float\)"),
        (True, TypeError, r"n must be an integer, got True \(bool\)"),
        ("4", TypeError, r"n must be an integer, got '4' \(str\)"),
    ],
)
def test_what_is_no_integer_within_the_limits_is_refused(value, error, message):
    with pytest.raises(error, match=message):
        checks.check_int(value, "n", 3, 5, why="slots")


def test_limits_of_slots_and_steps():
    assert checks.check_slot(2**31 - 1) == 2**31 - 1
    assert checks.check_step(np.int64(2**63 - 1)) == checks.MAX_STEP
    for check, value in ((checks.check_slot, 2**31), (checks.check_step, 2**63)):
        for bad in (value, -1):
            with pytest.raises(ValueError, match=rf"must lie in 0\.\.{value - 1}, got {bad}"):
                check(bad)
    with pytest.raises(ValueError, match=r"n must be at least 1, got 0"):
        checks.check_int(0, "n", 1)


@pytest.mark.parametrize("value", [math.nan, math.inf, np.float32("inf")])
def test_a_number_is_finite(value):
    with pytest.raises(ValueError, match="x must be finite"):
        checks.check_number(value, "x")


def test_a_duration_is_positive_or_zero_where_that_is_allowed():
    assert checks.check_seconds(np.float32(0.5), "t") == 0.5
    assert checks.check_seconds(0, "t", zero=True) == 0.0
    with pytest.raises(ValueError, match="t must be more than 0 seconds, got 0"):
        checks.check_seconds(0, "t")
    with pytest.raises(ValueError, match="t must be at least 0 seconds, got -1"):
        checks.check_seconds(-1, "t", zero=True)
    with pytest.raises(TypeError, match="t must be a number, got True"):
        checks.check_seconds(True, "t")


def test_true_and_false_of_both_kinds_and_nothing_else():
    assert checks.check_bool(np.bool_(False), "flag") is False
    for value in (0, 1, None, "yes"):
        with pytest.raises(TypeError, match="flag must be True or False, got"):
            checks.check_bool(value, "flag")


@pytest.mark.parametrize("name", ["u", "a-b_c.9", "_x", "x" * 100])
def test_names_that_are_allowed(name):
    assert checks.check_name(name, "field name") is name


@pytest.mark.parametrize("name", ["", ".u", "__u", "a b", "ü", "x" * 101, "a/b", "u\n"])
def test_names_that_are_not(name):
    with pytest.raises(ValueError, match=r"field name .* is not allowed: use 1 to 100 ASCII"):
        checks.check_name(name, "field name")
