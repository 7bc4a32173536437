"""Lesson 4: the best interval, found with kills and by a formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
from lessons import made_up_sweep, refuse

from ringnb import course

WRONG = [
    (lambda cost, mtbf: math.sqrt(cost * mtbf) / 10, "your formula gives"),
    (lambda cost, mtbf: 0.1, "it fits this sweep; but"),
    (lambda cost, mtbf: None, "not seconds"),
    (lambda cost, mtbf: True, "returned True, not seconds"),
    (lambda cost, mtbf: 1 / 0, "ZeroDivisionError"),
]


@pytest.mark.parametrize(("answer", "fact"), WRONG)
def test_a_wrong_formula_is_told_what_is_wrong(answer, fact):
    refuse(course.check_04, answer, made_up_sweep(), fact=fact)


def test_a_sweep_without_a_valley_is_no_evidence():
    trials = [
        course.Trial(t.interval_s, 1.0, 1.2 - t.kept_s, t.costs_s, 7)
        for t in made_up_sweep().trials
    ]
    hill = course.Sweep(tuple(trials), 0.5)
    refuse(course.check_04, lambda cost, mtbf: math.sqrt(2 * cost * mtbf), hill, fact="no valley")


def test_lifetimes_are_seeded_and_exponential():
    lives = course.lifetimes(2000, 0.5, seed=3)
    assert lives == course.lifetimes(2000, 0.5, seed=3) != course.lifetimes(2000, 0.5, seed=4)
    assert np.mean(lives) == pytest.approx(0.5, rel=0.02)
    assert np.mean(np.array(lives) > 0.5) == pytest.approx(math.exp(-1), abs=0.005)


def test_the_lowest_point_of_a_sweep_is_found():
    assert made_up_sweep(best=0.3).best_s == pytest.approx(0.3)


@pytest.mark.slow
def test_a_sweep_counts_only_what_survived_the_kills(tmp_path):
    told = []
    sweep = course.sweep(tmp_path, [30.0, 0.05], [0.4, 0.4], told=told.append)
    often, never = sweep.trials
    assert told == [1, 2, 3, 4]
    assert (often.interval_s, never.interval_s) == (0.05, 30.0)
    assert never.kept_s == 0, "a child that is killed before its first checkpoint leaves nothing"
    assert never.wasted == 1
    assert 0 < often.kept_s < often.alive_s
    assert often.kills == 2
    assert often.costs_s
    assert not never.costs_s
