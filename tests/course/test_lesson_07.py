"""Lesson 7: noise that a restore repeats."""

from __future__ import annotations

import hashlib
import random
import time

import numpy as np
import pytest
from lessons import refuse

from ringnb import course
from ringnb.actors.random import uniform

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
    (lambda seed, step: np.random.default_rng(step).normal(), "100 different numbers"),
    (lambda seed, step: np.random.default_rng((seed, step // 100)).normal(), "different numbers"),
    (lambda seed, step: np.random.default_rng((seed, step)).normal(size=1), "not a number"),
    (lambda seed, step: time.monotonic(), "end differently"),
    (lambda seed, step: None, "returned None, not a number"),
    (lambda seed, step: "loud", "noise(7, 0) returned 'loud', not a number"),
    (lambda seed, step: 1 / 0, "ZeroDivisionError"),
]


@pytest.mark.parametrize(("answer", "fact"), WRONG)
def test_wrong_noise_is_told_what_is_wrong(answer, fact):
    refuse(course.check_07, answer, fact=fact)


def by_a_digest(seed, step):
    return int.from_bytes(hashlib.blake2b(f"{seed} {step}".encode()).digest()[:6]) / 2**48


@pytest.mark.parametrize(
    "answer",
    [
        lambda seed, step: np.random.default_rng([step, seed]).integers(2**16) / 2.0**16,
        lambda seed, step: np.random.default_rng((seed, step)).integers(2**40),
        lambda seed, step: random.Random(f"{seed} {step}").gauss(),
        lambda seed, step: uniform(seed, step, 0),
        by_a_digest,
    ],
)
def test_other_noise_that_a_restore_repeats_passes(answer):
    assert "every bit" in course.check_07(answer)
