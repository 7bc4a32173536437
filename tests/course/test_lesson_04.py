"""Lesson 4: the best interval, found with kills and by a formula."""

from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from lessons import made_up_sweep, refuse

import ringnb as rn
from ringnb import course
from ringnb.messages.events import Event

WRONG = [
    (lambda cost, mtbf: math.sqrt(cost * mtbf) / 10, "your formula gives"),
    (lambda cost, mtbf: 2 * cost * mtbf, "your formula gives 0.01 s"),
    (lambda cost, mtbf: math.sqrt(2 * cost / mtbf), "your formula gives"),
    (lambda cost, mtbf: math.sqrt(cost * mtbf), "it fits this sweep; but"),
    (lambda cost, mtbf: 1000 * math.sqrt(2 * cost * mtbf), "your formula gives 100 s"),
    (lambda cost, mtbf: -math.sqrt(2 * cost * mtbf), "your formula gives -0.1 s"),
    (lambda cost, mtbf: mtbf / 5, "it fits this sweep; but"),
    (lambda cost, mtbf: 0.1, "it fits this sweep; but"),
    (lambda cost, mtbf: math.nan, "your formula gives nan s"),
    (lambda cost, mtbf: (2 * cost * mtbf) ** 0.5j, "not seconds"),
    (lambda cost, mtbf: f"{math.sqrt(2 * cost * mtbf)} s", "not seconds"),
    (lambda cost, mtbf: None, "not seconds"),
    (lambda cost, mtbf: True, "returned True, not seconds"),
    (lambda cost, mtbf: 1 / 0, "ZeroDivisionError"),
]


def search(cost, mtbf):
    intervals = np.geomspace(cost / 10, mtbf, 2000)
    return intervals[np.argmin(cost / intervals + intervals / (2 * mtbf))]


@pytest.mark.parametrize(
    "answer",
    [
        search,
        lambda cost, mtbf: np.float32((2 * cost * mtbf) ** 0.5),
        lambda cost, mtbf: Fraction(math.sqrt(2 * cost * mtbf)),
        lambda cost, mtbf: course.daly(cost, mtbf),
    ],
)
def test_an_unusual_formula_passes(answer):
    assert "your formula gives" in course.check_04(answer, made_up_sweep())


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


def exactly_wasted(interval, cost, mtbf, latency=0.0):
    return 1 - interval * math.exp(-latency / mtbf) / (mtbf * math.expm1((interval + cost) / mtbf))


@pytest.mark.parametrize("latency", [0.0, 2.0])
def test_what_is_counted_is_what_the_exponential_distribution_gives(latency):
    for interval in (2.0, 15.0):
        counted = course.simulate(interval, 1.0, 50.0, latency_s=latency, failures=200_000)
        assert counted == pytest.approx(exactly_wasted(interval, 1.0, 50.0, latency), abs=0.005)


@pytest.mark.parametrize("cost", [0.01, 1.0, 20.0])
def test_dalys_interval_is_best_also_where_a_checkpoint_is_not_cheap(cost):
    intervals = np.geomspace(cost / 10, 200, 4000)
    best = intervals[np.argmin([exactly_wasted(t, cost, 50.0) for t in intervals])]
    assert course.daly(cost, 50.0) == pytest.approx(best, rel=0.03)
    assert course.daly(100.0, 50.0) == 50.0


def test_at_risk_is_what_was_computed_since_the_newest_commit(wave):
    assert course.steps_at_risk(wave, 0) == 101
    wave.snapshot(0)
    assert course.steps_at_risk(wave, 0) == 0
    wave.run_steps(0, 7)
    assert course.steps_at_risk(wave, 0) == 7
    wave.restore(0, "latest")
    assert course.steps_at_risk(wave, 0) == 0


class Clockwork:
    """A session, and its clock: a step each millisecond; a copy every 40 ms, committed 10 ms later."""

    began = 5_000_000_000

    def __init__(self):
        self.now = self.began
        self.manager = self

    def monotonic_ns(self):
        return self.now

    def sleep(self, seconds):
        self.now += round(seconds * 1.1e9)  # a tenth late: looks fall on every part of the distance

    def ms(self):
        return (self.now - self.began) / 1e6

    def current_step(self, slot):
        return round(self.ms())

    def load_latest(self, slot):
        copies = math.floor((self.ms() - 10) / 40)
        return SimpleNamespace(step=40 * copies) if copies >= 0 else None

    @property
    def events(self):
        for n in range(math.floor((self.ms() - 10) / 40) + 1):
            for stage, ms in (("captured", 40 * n), ("committed", 40 * n + 10)):
                yield Event(stage, 0, n + 1, t_ns=self.began + round(ms * 1e6))
                yield Event(stage, 1, n + 1, t_ns=0)


def test_what_is_at_risk_is_half_a_distance_and_the_latency(monkeypatch):
    session = Clockwork()
    monkeypatch.setattr("ringnb.course.lesson_04.time", session)
    risk = course.look_at_risk(session, 0, seconds=4.4)
    assert (risk.apart_s, risk.latency_s) == (pytest.approx(0.040), pytest.approx(0.010))
    assert risk.lost_s == pytest.approx(0.030, abs=0.001)


def test_without_commits_there_is_no_risk_to_look_at(wave):
    with pytest.raises(rn.RingnbError, match=r"0 commits in 0\.02 s"):
        course.look_at_risk(wave, 0, seconds=0.02)


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
