"""Lesson 7: noise that a restore repeats."""

from __future__ import annotations

import numpy as np
import pytest
from lessons import refuse

from ringnb import course

_memory = np.random.default_rng(3)

WRONG = [
    (lambda seed, step: _memory.normal(), "end differently"),
    (lambda seed, step: 1.0, "1 different numbers"),
    (lambda seed, step: np.random.default_rng(seed).normal(), "2 different numbers"),
    (
        lambda seed, step: np.random.default_rng(seed + step).normal(),
        "noise(1, 2) and noise(2, 1)",
    ),
    (lambda seed, step: np.random.default_rng(seed ^ step).normal(), "same number"),
    (lambda seed, step: np.random.default_rng(seed * step).normal(), "different numbers"),
    (lambda seed, step: "loud", "noise(7, 0) returned 'loud', not a number"),
    (lambda seed, step: 1 / 0, "ZeroDivisionError"),
]


@pytest.mark.parametrize(("answer", "fact"), WRONG)
def test_wrong_noise_is_told_what_is_wrong(answer, fact):
    refuse(course.check_07, answer, fact=fact)


def test_other_noise_that_a_restore_repeats_passes():
    assert "every bit" in course.check_07(
        lambda seed, step: np.random.default_rng([step, seed]).integers(2**16) / 2.0**16
    )
