"""Lesson 1: a command of the learner's own."""

from __future__ import annotations

import pytest
from lessons import refuse

from ringnb import course
from ringnb.course import lesson_01


def clap_elsewhere(session, slot, steps):
    session.inject(slot, (1, 1), 1.0)
    session.run_steps(slot, steps, wait=False)


def clap_and_wait(session, slot, steps):
    session.inject(slot, (32, 24), 1.0)
    session.run_steps(slot, steps)


def clap_for_one_length(session, slot, steps):
    session.inject(slot, (32, 24), 1.0)
    session.run_steps(slot, 50, wait=False)


def clap_for_one_slot(session, slot, steps):
    session.inject(0, (32, 24), 1.0)
    session.run_steps(0, steps, wait=False)


WRONG = [
    (clap_and_wait, "as long as the steps"),
    (clap_elsewhere, "not the one"),
    (clap_for_one_length, "the actor went from step 50 to 100"),
    (clap_for_one_slot, "slot 0 went to step"),
    (lambda s, slot, n: s.run_steps(slot, n + 1, wait=False), "went from step 0 to 51"),
    (lambda s, slot, n: 1 / 0, "ZeroDivisionError"),
]


@pytest.mark.parametrize(("answer", "fact"), WRONG)
def test_a_wrong_command_is_told_what_is_wrong(answer, fact, monkeypatch):
    monkeypatch.setattr(lesson_01, "_PACE", 1000.0)  # waiting takes a tenth of the time
    refuse(course.check_01, answer, fact=fact)


def test_a_pause_in_the_command_is_told():
    def clap_and_pause(session, slot, steps):
        session.inject(slot, (32, 24), 1.0)
        session.run_steps(slot, steps, wait=False)
        session.pause(slot)

    refuse(course.check_01, clap_and_pause, fact="went from step 0 to")
