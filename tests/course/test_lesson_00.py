"""The quick start's exercise: back to the oldest checkpoint."""

from __future__ import annotations

import pytest
from lessons import refuse

from ringnb import course


def back_without_a_step(session, slot):
    session.restore(slot, session.manager.list_checkpoints(slot)[0])


def back_to_the_newest(session, slot):
    session.restore(slot, "latest")
    return 30


WRONG = [
    (lambda s, slot: s.restore(slot, "latest"), "is at step 70"),
    (lambda s, slot: s.restore(slot, s.storage.list()[0]), "is at step 10"),
    (lambda s, slot: s.restore(0, s.storage.list()[1]), "slot 0 went to step 30"),
    (back_without_a_step, "returned None"),
    (back_to_the_newest, "is at step 70"),
    (lambda s, slot: 1 / 0, "ZeroDivisionError"),
]


@pytest.mark.parametrize(("answer", "fact"), WRONG)
def test_a_wrong_way_back_is_told_what_is_wrong(answer, fact):
    refuse(course.check_00, answer, fact=fact)
