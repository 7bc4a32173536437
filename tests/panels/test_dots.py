"""The map of many actors: a byte each, troubles, and what it costs with very many."""

from __future__ import annotations

import time

import numpy as np
from front_end import levels_of

from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.kernel.base import Progress
from ringnb.panels.core.histories import Histories
from ringnb.panels.dots import Largest, dots_of


def seen(steps, running, infos=(), *, shown="behind", ended=False, largest=None):
    steps, running = np.asarray(steps), np.asarray(running)
    progress = Progress(steps, np.zeros_like(steps), running)
    histories = Histories(infos, "checkpoint", len(steps), lambda slot: f"a_{slot}")
    return dots_of(progress, histories.newest(), histories.totals, shown, largest, ended=ended)


def stored(slot, sequence, *, good=True):
    return CheckpointInfo(
        *(f"c_{slot}_{sequence}", "checkpoint", f"a_{slot}", "life", slot, 5, sequence),
        nbytes=1024,
        good=good,
    )


def test_the_fastest_is_light_and_what_is_not_finite_is_apart():
    infos = [stored(2, 1, good=False), stored(3, 2, good=False), stored(3, 3)]
    dots = seen([100, 0, 100, 50, 100], [True, True, False, True, True], infos)
    assert levels_of(dots, 5).tolist() == [255, 1, 0, 128, 255]
    assert dots["high"] == 100
    assert dots["counts"] == {"running": 4, "standing": 1}
    assert (dots["bad"], dots["troubles"]) == (1, [2])  # actor 3 has a good one since
    assert dots["stored"] == "3, 3.0 KiB"


def test_an_actor_that_sits_in_another_slot_now_is_found_by_its_name():
    moved = stored(2, 1, good=False)._replace(actor_slot=0)
    other = stored(0, 2)
    assert seen([1, 1, 1], [True] * 3, [moved, other])["troubles"] == [2]
    foreign = stored(7, 3, good=False)  # of a larger session
    assert seen([1, 1, 1], [True] * 3, [moved, other, foreign])["troubles"] == [2]


def test_state_and_age_are_shown_in_its_place():
    assert levels_of(seen([1, 1], [True, False], shown="state"), 2).tolist() == [255, 1]
    dots = seen([1, 1], [True, False], shown="state", ended=True)
    assert (levels_of(dots, 2).tolist(), dots["counts"]["ended"]) == ([1, 1], 2)
    assert levels_of(seen([1, 1], [True, True], shown="age"), 2).tolist() == [
        1,
        1,
    ]  # none is stored


def test_the_largest_values_are_read_once_each_until_the_time_is_up():
    clock, read = iter(range(100)), []

    def largest(e, field):
        read.append((e.name, field))
        return float(e.sequence)

    values = Largest(clock=lambda: next(clock))
    newest = {slot: stored(slot, slot + 1) for slot in range(3)}
    known, lacking = values.look(newest, "u")
    assert (known, lacking) == ({}, [*newest.values()])
    values.read(lacking, largest, 2)
    known, lacking = values.look(newest, "u")
    assert (known, lacking) == ({0: 1.0, 1: 2.0}, [newest[2]])
    newest[0] = stored(0, 9)
    assert values.look(newest, "u") == ({1: 2.0}, [newest[0], newest[2]])
    assert values.look(newest, "v") == ({}, [*newest.values()])  # of another field
    assert read == [("c_0_1", "u"), ("c_1_2", "u")]


def test_the_largest_is_light_and_what_is_not_read_is_apart():
    infos = [stored(slot, slot + 1, good=slot != 3) for slot in range(4)]
    known = {0: 5.0, 1: 10.0, 3: float("nan")}
    dots = seen([1] * 5, [True] * 5, infos, shown="largest", largest=known)
    assert levels_of(dots, 5).tolist() == [2, 255, 1, 0, 1]
    assert (dots["low"], dots["high"], dots["least"]) == (5.0, 10.0, 2)
    assert dots["more"] == {"read": "3 of 4"}
    assert levels_of(seen([1, 1], [True] * 2, shown="largest"), 2).tolist() == [1, 1]


def test_a_hundred_thousand_cost_a_byte_each_and_little_time():
    steps = np.random.default_rng(1).integers(0, 10**6, 100_000)
    infos = [stored(slot, slot, good=slot != 42_017) for slot in range(0, 100_000, 1001)]
    infos.append(stored(42_017, 10**6, good=False))
    began = time.thread_time()
    dots = seen(steps, steps > 500, infos)
    assert time.thread_time() - began < 0.5
    assert len(dots["packed"]) < 110_000
    assert dots["troubles"] == [42_017]
    assert levels_of(dots, 100_000)[42_017] == 0
