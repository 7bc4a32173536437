"""Several stages in a step: all cells have gone through one before the next begins."""

# ruff: noqa: A002 - what users write

from __future__ import annotations

import numpy as np
import pytest

import ringnb as rn
from ringnb.actors.fingerprint import code_of, differences
from ringnb.testing import MemoryStorage

DT = 0.1
N = 60
START = np.random.default_rng(0).random((1, N))


def half(now, next, params, step, x):
    n = now.shape[1]
    next[0, x] = now[0, x] + 0.5 * params[0] * (now[0, x - 1 if x > 0 else n - 1] - now[0, x])


def full(now, next, params, step, x):  # `next` holds what `half` has read
    n = now.shape[1]
    next[0, x] = next[0, x] + params[0] * (now[0, x - 1 if x > 0 else n - 1] - now[0, x])


def halve(now, next, params, step, x):
    next[0, x] = now[0, x] * 0.5 + step


def midpoint(start, steps, after=lambda u, step: u):
    u = start
    for step in range(steps):
        h = u + 0.5 * DT * (np.roll(u, 1) - u)
        u = after(u + DT * (np.roll(h, 1) - h), step)
    return u


def three(**options):
    stages = [half, full, halve]
    options = {"params": {"dt": DT}, "start": START, "dtype": "float64"} | options
    return rn.actors.CellActor(stages=stages, shape=(N,), **options)


@pytest.fixture(scope="module")
def states():
    """The state after 2, 3 and 5 steps, by backend and width."""
    found = {}
    for backend, width in (("cpu", 1), ("cpu", 3), ("cudasim", 2)):
        with rn.Session(three(), storage=MemoryStorage(), backend=backend, width=width) as s:
            for steps in (2, 1, 2):
                s.run_steps(0, steps)
                found[backend, width, s.current_step(0)] = s.state(0)["u"].copy()
    return found


@pytest.mark.parametrize("steps", [2, 3, 5])
def test_a_step_goes_through_its_stages_on_every_backend(states, steps):
    expected = midpoint(START[0], steps, lambda u, step: u * 0.5 + step)
    np.testing.assert_allclose(states["cpu", 1, steps], expected, rtol=1e-13)
    for key in (("cpu", 3, steps), ("cudasim", 2, steps)):
        assert states[key].tobytes() == states["cpu", 1, steps].tobytes()


def test_a_restored_run_repeats_an_odd_number_of_stages(states, tmp_path):
    config = rn.CheckpointConfig(storage_path=tmp_path / "s.zarr", enabled=False)
    with rn.Session(three(), config=config, width=1) as s:
        s.run_steps(0, 3)
        s.snapshot(0)
        s.run_steps(0, 4)
        s.restore(0, "latest")
        s.run_steps(0, 2)
        assert s.state(0)["u"].tobytes() == states["cpu", 1, 5].tobytes()


def test_a_stage_may_come_again_and_is_compiled_once():
    from ringnb.kernel.cpu.compile import compile_actor

    addresses = compile_actor(three()).step_addresses
    stages = [half, half, full, half]
    actor = rn.actors.CellActor(stages=stages, shape=(N,), params={"dt": DT}, dtype="float64")
    again = compile_actor(actor).step_addresses
    assert again == (addresses[0], addresses[0], addresses[1], addresses[0])


def test_the_first_stage_finds_no_level_before_unless_checkpoints_hold_it():
    with pytest.raises(ValueError, match=r"uses next\[field, x\] before it has written it"):
        rn.actors.CellActor(stages=[full, half], shape=(N,), params={"dt": DT}, start=START)
    rn.actors.CellActor(
        stages=[full, half], shape=(N,), params={"dt": DT}, start=[START[0]] * 2, levels=2
    )


def second_of_two(now, next, params, step, x):
    next[0, x] = now[1, x]


def first_of_two(now, next, params, step, x):
    next[0, x] = now[1, x]
    next[1, x] = now[0, x] + 1


def test_a_later_stage_writes_every_field():
    stages = [first_of_two, second_of_two]
    with pytest.raises(
        ValueError, match=r"second_of_two does not write next\[1, x\].*= now\[1, x\]"
    ):
        rn.actors.CellActor(stages=stages, shape=(N,), fields=["u", "v"])
    rn.actors.CellActor(stages=stages, shape=(N,), fields=["u", "v"], replayable=False)


def late(now, next, params, step, x):
    next[0, x] = now[0, x + 1]


def test_a_later_stage_is_tried_too():
    with pytest.raises(ValueError, match=r"function late leaves its arrays.*x = 59"):
        rn.actors.CellActor(stages=[half, late], shape=(N,), params={"dt": DT}, start=START)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"update": half, "stages": [half]}, TypeError, "update and stages are two ways"),
        ({"stages": half}, TypeError, "stages must be a sequence of functions"),
        ({"stages": []}, ValueError, "1 to 32 functions, got 0"),
        ({"stages": [half] * 33}, ValueError, "1 to 32 functions, got 33"),
        ({"stages": [half, 3]}, TypeError, r"stages\[1\] must be a function"),
        ({"stages": [half, lambda now: None]}, TypeError, r"stages\[1\]\(now\) does not fit"),
        ({}, TypeError, "update must be a function"),
        ({"update": [half, full]}, TypeError, r"one function.*give several as stages=\[f, g\]"),
    ],
)
def test_what_are_no_stages_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        rn.actors.CellActor(shape=(N,), **options)


def test_a_checkpoint_tells_the_order_of_its_stages():
    then, now = code_of(half, full), code_of(full, half)
    assert then["fingerprint"] != now["fingerprint"]
    assert differences(then, now) == ["`stages` was 'half, full', is 'full, half'"]
    assert code_of(half)["fingerprint"] != then["fingerprint"]


def astray(now, next, params, step, x):
    next[0, x] = now[0, x + (7 if now[0, x] > params[1] else 0)]


def count(now, next, params, step, x):
    next[0, x] = now[0, x] + 1


def test_a_checked_fault_is_told_of_the_stage_in_which_it_is():
    actor = rn.actors.CellActor(
        stages=[count, astray], shape=(5,), params={"dt": DT, "most": 10}, boundscheck=True
    )
    with rn.Session(actor, storage=MemoryStorage(), width=2) as s:
        with pytest.raises(rn.KernelStopped, match=r"function astray leaves.*step 10, at the cell"):
            s.run_steps(0, 20)
