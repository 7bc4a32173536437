"""Lesson 2: copies of a running wave, and the cut of the learner's own."""

from __future__ import annotations

import numpy as np
import pytest
from lessons import refuse

from ringnb import course


def cut_and_stay_paused(session, slot):
    session.pause(slot)
    return course.copy_live(session, slot)


def cut_and_hope(session, slot):
    session.pause(slot)
    cut = course.copy_live(session, slot)
    session.resume(slot)
    return cut


def cut_with_all_paused(session, slot):
    session.pause()
    try:
        return course.copy_live(session, slot)
    finally:
        session.resume(slot)


def cut_and_resume_all(session, slot):
    session.pause(slot)
    try:
        return course.copy_live(session, slot)
    finally:
        session.resume()


def cut_another(session, slot):
    session.pause(0)
    session.pause(slot)
    try:
        return course.copy_live(session, 0)
    finally:
        session.resume(slot)


def pause_another(session, slot):
    session.pause(0)
    try:
        return course.copy_live(session, slot)
    finally:
        session.resume(0)


def resume_before_the_copy(session, slot):
    session.pause(slot)
    session.resume(slot)
    return course.copy_live(session, slot)


def the_first_cut_again():
    cuts = []

    def my_cut(session, slot):
        cuts.append(course.copy_paused(session, slot))
        return cuts[0]

    return my_cut


WRONG = [
    (lambda s, slot: course.copy_live(s, slot, slabs=8), "rows of steps"),
    (lambda s, slot: course.copy_live(s, slot, slabs=1), "by luck"),
    (lambda s, slot: course.copy_paused(s, 0), "that of another actor"),
    (lambda s, slot: course.copy_paused(s, slot).fields, "not a cut"),
    (cut_and_stay_paused, "still paused after the copy"),
    (cut_and_hope, "still paused after a copy that failed"),
    (cut_with_all_paused, "slot 0 was paused during the copy"),
    (cut_and_resume_all, "slot 0, which was paused, is running"),
    (cut_another, "that of another actor"),
    (pause_another, "rows of steps"),
    (resume_before_the_copy, "rows of steps"),
    (the_first_cut_again(), "before my_cut was called"),
    (lambda s, slot: None, "returned None, not a cut"),
    (lambda s, slot: 1 / 0, "ZeroDivisionError"),
]


@pytest.mark.parametrize(("answer", "fact"), WRONG)
def test_a_wrong_cut_is_told_what_is_wrong(answer, fact):
    refuse(course.check_02, answer, fact=fact)


def cut_if_it_runs(session, slot):
    ran = session.counters(slot).running
    session.pause(slot)
    try:
        return course.copy_live(session, slot, slabs=16)
    except MemoryError:
        return None
    finally:
        if ran:
            session.resume(slot)


@pytest.mark.parametrize("cut", [course.copy_paused, course.copy_snapshot, cut_if_it_runs])
def test_other_consistent_cuts_pass(cut):
    assert "three cuts" in course.check_02(cut)


def test_live_memory_is_the_state_while_the_actor_is_paused(wave):
    cut, snapshot = course.copy_live(wave, 0, slabs=5), course.copy_snapshot(wave, 0)
    for name, array in snapshot.fields.items():
        assert np.array_equal(cut.fields[name], array), name
    wave.restore(0, "latest")  # exchanges the blocks that hold the levels
    again = course.copy_live(wave, 0)
    assert all(np.array_equal(again.fields[k], a) for k, a in snapshot.fields.items())


def test_live_memory_cannot_be_written_through_the_view(wave):
    with pytest.raises(ValueError, match="read-only"):
        wave.kernel.live_levels(0)[0][:] = 0


def test_a_copy_of_a_running_wave_is_inconsistent_and_its_energy_shows_it(wave):
    energy = course.copy_paused(wave, 0).energy
    wave.resume(0)
    torn = course.copy_live(wave, 0, slabs=8, let_step=6)
    assert torn.steps[1] - torn.steps[0] >= 7 * 6
    assert course.energy_error(torn, energy) > 1e-3
    assert course.energy_error(course.copy_paused(wave, 0), energy) < 1e-5
    assert course.energy_error(course.copy_snapshot(wave, 0), energy) < 1e-5
