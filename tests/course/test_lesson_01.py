"""Lesson 1: a command of the learner's own."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
import zarr
from lessons import refuse

import ringnb as rn
from ringnb import course
from ringnb.course import lesson_01
from ringnb.session.crank import Crank


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


def clap_afterwards(session, slot, steps):
    session.run_steps(slot, 1)
    session.inject(slot, (32, 24), 1.0)
    session.run_steps(slot, steps - 1, wait=False)


def clap_for_ever(session, slot, steps):
    session.inject(slot, (32, 24), 1.0)
    session.resume(slot)


def clap_softly(session, slot, steps):
    session.inject(slot, (32, 24), 0.5)
    session.run_steps(slot, steps, wait=False)


def clap_on_the_other_axis(session, slot, steps):
    nx, ny = session.actors[slot].shape
    session.inject(slot, (ny // 2, nx // 2), 1.0)
    session.run_steps(slot, steps, wait=False)


def test_a_launch_takes_longer_than_a_step(wave):
    begin = time.perf_counter()
    wave.run_steps(0, 200)
    step_s = (time.perf_counter() - begin) / 200
    assert course.cost_of_a_launch(wave.actors[0], launches=3) > step_s


def test_each_turn_of_the_crank_moves_one_index_of_a_ring():
    storage = rn.ZarrStorage(zarr.storage.MemoryStore())
    config = rn.CheckpointConfig(enabled=False)
    with rn.Session(rn.actors.Life((8, 8)), config=config, storage=storage, service=False) as s:
        crank, indices = Crank(s), course.RingIndices(s)
        assert indices.moved() == []
        moved = []
        for _ in range(5):
            crank.turn()
            indices.note(crank.position)
            moved.append(indices.moved())
        assert moved == [[], ["H2K_HEAD"], ["H2K_TAIL"], ["K2H_HEAD"], ["K2H_TAIL"]]
        (row,) = [line for line in repr(indices).splitlines() if line.startswith("in staging")]
        assert row.split() == ["in", "staging", "1", "0", "→", "1", "0", "0"]
        assert "K2H_TAIL (host)" in indices._repr_html_()
        crank.close()


def test_rings_are_looked_at_in_a_kernel_that_has_them():
    with pytest.raises(TypeError, match="rings in memory of the host"):
        course.RingIndices(SimpleNamespace(kernel=object()))


WRONG = [
    (clap_softly, "not the one"),
    (clap_afterwards, "not the one"),
    (clap_on_the_other_axis, "not the one"),
    (lambda s, slot, n: None, "went from step 0 to 0"),
    (lambda s, slot, n: s.inject(slot, (99, 0), 1.0), "ValueError"),
    (clap_and_wait, "as long as the steps"),
    (clap_elsewhere, "not the one"),
    (clap_for_one_length, "the actor went from step 50 to 100"),
    (clap_for_one_slot, "slot 0 went to step"),
    (lambda s, slot, n: s.run_steps(slot, n + 1, wait=False), "went from step 0 to 51"),
    (lambda s, slot, n: 1 / 0, "ZeroDivisionError"),
]


@pytest.mark.parametrize(("answer", "fact"), WRONG)
def test_a_wrong_command_is_told_what_is_wrong(answer, fact, monkeypatch):
    if answer is clap_and_wait:
        monkeypatch.setattr(lesson_01, "_PACE", 1000.0)  # waiting takes a tenth of the time
        monkeypatch.setattr(lesson_01, "_LIMIT_S", 0.02)
    refuse(course.check_01, answer, fact=fact)


def test_a_pause_in_the_command_is_told():
    def clap_and_pause(session, slot, steps):
        session.inject(slot, (32, 24), 1.0)
        session.run_steps(slot, steps, wait=False)
        session.pause(slot)

    refuse(course.check_01, clap_and_pause, fact="went from step 0 to")


def test_a_clap_that_never_ends_is_told(monkeypatch):
    monkeypatch.setattr(lesson_01, "_PATIENCE_S", 0.1)
    refuse(course.check_01, clap_for_ever, fact="went from step 0 to")


def clap_in_two(session, slot, steps):
    session.inject(slot, at=[n // 2 for n in session.actors[slot].shape], amplitude=1)
    session.run_steps(slot, steps // 2, wait=False)
    session.run_steps(slot, steps - steps // 2, wait=False)


def clap_with_numpy(session, slot, steps):
    session.inject(slot, np.array(session.actors[slot].shape) // 2, np.float32(1))
    session.run_steps(slot, np.int64(steps), wait=False)


def clap_and_return(session, slot, steps):
    pressed = session.inject(slot, (32, 24), 1.0)
    return pressed, session.run_steps(steps=steps, slot=slot, wait=False)


@pytest.mark.parametrize("answer", [clap_in_two, clap_with_numpy, clap_and_return])
def test_an_unusual_clap_passes(answer, monkeypatch):
    monkeypatch.setattr(lesson_01, "_PACE", 1000.0)
    assert "clap returned after" in course.check_01(answer)
