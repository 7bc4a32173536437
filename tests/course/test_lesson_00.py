"""The quick start's exercise: back to the oldest checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
from lessons import refuse

from ringnb import course


def back_without_a_step(session, slot):
    session.restore(slot, session.manager.list_checkpoints(slot)[0])


def back_to_the_newest(session, slot):
    session.restore(slot, "latest")
    return 30


def back_and_on(session, slot):
    step = session.restore(slot, session.manager.list_checkpoints(slot)[0])
    session.run_steps(slot, 1)
    return step


def back_with_a_push(session, slot):
    step = session.restore(slot, session.manager.list_checkpoints(slot)[0])
    session.inject(slot, (1, 1), 1.0)
    return step


def back_for_all(session, slot):
    for each in range(len(session.actors)):
        step = session.restore(each, session.manager.list_checkpoints(each)[0])
        session.run_steps(0, 5)
    return step


WRONG = [
    (lambda s, slot: s.restore(slot, "latest"), "is at step 70"),
    (lambda s, slot: s.restore(slot, s.storage.list()[0]), "is at step 10"),
    (lambda s, slot: s.restore(0, s.storage.list()[1]), "slot 0 went to step 30"),
    (lambda s, slot: s.restore(slot, s.manager.list_checkpoints(slot)[1]), "is at step 50"),
    (lambda s, slot: s.restore(slot, s.manager.list_checkpoints(0)[0]), "is at step 10"),
    (back_without_a_step, "returned None"),
    (back_to_the_newest, "is at step 70"),
    (back_and_on, "is at step 31"),
    (back_with_a_push, "another state"),
    (back_for_all, "slot 0 went to step"),
    (lambda s, slot: 1 / 0, "ZeroDivisionError"),
]


def back_by_the_step(session, slot):
    loaded = [session.storage.load(name) for name in session.manager.list_checkpoints(slot)]
    return session.restore(slot, min(loaded, key=lambda checkpoint: checkpoint.step))


def back_paused(session, slot):
    session.pause(slot)
    session.restore(slot, session.manager.list_checkpoints(slot)[0])
    return np.int64(session.current_step(slot))


def back_by_the_number(session, slot):
    names = session.manager.list_checkpoints(slot)
    first = min(names, key=lambda name: session.storage.load(name).sequence)
    return float(session.restore(slot, first))


@pytest.mark.parametrize("answer", [back_by_the_step, back_paused, back_by_the_number])
def test_an_unusual_way_back_passes(answer):
    assert "in every bit" in course.check_00(answer)


@pytest.mark.parametrize(("answer", "fact"), WRONG)
def test_a_wrong_way_back_is_told_what_is_wrong(answer, fact):
    refuse(course.check_00, answer, fact=fact)
