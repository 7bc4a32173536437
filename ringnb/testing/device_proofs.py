"""What a run on a device has to show, as functions that take a running kernel.

The tests on the device call them at full size. The same functions run in the simulator and on the CPU at
small sizes, so that what they do on the host is known to be right before there is a device.

The actor of the load tests counts: after ``n`` steps every cell holds ``n``. So one snapshot tells
whether it was taken at one step boundary, at which, and whether every byte of it arrived.
"""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ringnb.actors.custom import CellActor
from ringnb.kernel.client import KernelClient
from ringnb.messages.commands import Command
from ringnb.testing.mixer import restored
from ringnb.testing.tolerance import TOLERANCE

__all__ = ["Load", "Timer", "counter", "differs", "load", "soak", "timer"]


def _count(now: Any, before: Any, params: Any, step: int, y: int, x: int) -> None:  # noqa: ARG001 - a cell function
    before[0, y, x] = now[0, y, x] + 1


def counter(shape: tuple[int, int]) -> CellActor:
    """Return an actor of int64 cells, every one of which holds the number of its step."""
    return CellActor(_count, shape, dtype=np.int64, kernel_type="counter")


def differs(kernel_type: str, ours: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> str | None:
    """Say by how much two backends' fields differ, or None if `TOLERANCE` allows it."""
    bound = TOLERANCE[kernel_type]
    apart = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    worst = float(np.max(apart))
    if worst <= bound:  # a NaN is not
        return None
    where = tuple(int(i) for i in np.unravel_index(int(np.argmax(apart)), apart.shape))
    return f"{kernel_type}: differ by {worst:.3g} at {where}, allowed {bound:g}"


class Load(NamedTuple):
    """What `load` and `soak` did."""

    snapshots: int  # taken, fetched and checked
    steps: int  # by all actors together
    commands: int  # of all kinds


def _checked(client: KernelClient, slot: int) -> tuple[npt.NDArray[Any], int]:
    """Take a snapshot of a counter, compare all its words, and return a copy with its step."""
    kernel = client.kernel
    lane = kernel.lane_of(slot)
    reply = client.call(slot, Command.SNAPSHOT)
    try:
        view, facts = kernel.staged(lane, reply.value, slot)
        found = kernel.staged_checksum(lane, reply.value, slot)
        # The kernel summed the words while it copied them; these are the ones that arrived here.
        assert found == facts.checksum, f"step {facts.step}: checksum {found}, not {facts.checksum}"
        assert (facts.step, facts.epoch, facts.actor_slot) == (reply.step, reply.epoch, slot)
        assert facts.end_ns >= facts.begin_ns
        low, high = int(view.min()), int(view.max())
        assert low == high == facts.step, f"cells of steps {low} to {high} at step {facts.step}"
        return view.copy(), facts.step
    finally:
        kernel.release_staging(lane, reply.value)


def _steps(client: KernelClient) -> int:
    return sum(client.kernel.counters(slot).step for slot in range(len(client.kernel.actors)))


def load(client: KernelClient, snapshots: int) -> Load:
    """Take snapshots as fast as they come while all actors (counters) run freely, and check each."""
    slots = range(len(client.kernel.actors))
    seen = [-1] * len(slots)
    before = _steps(client)
    for slot in slots:
        client.call(slot, Command.RESUME)
    for i in range(snapshots):
        slot = i % len(slots)
        _, step = _checked(client, slot)
        assert step >= seen[slot], f"slot {slot} went back from step {seen[slot]} to {step}"
        seen[slot] = step
    for slot in slots:
        client.call(slot, Command.PAUSE)
        counters = client.kernel.counters(slot)
        assert counters.snapshots == len(range(slot, snapshots, len(slots)))
    moved = _steps(client) - before
    assert moved > 0, "no actor stepped while the snapshots were taken"
    return Load(snapshots, moved, snapshots + 2 * len(slots))


def soak(
    client: KernelClient,
    seconds: float,
    *,
    seed: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> Load:
    """Send commands of all kinds to counters, in random order, and check every answer."""
    kernel = client.kernel
    slots = range(len(kernel.actors))
    rng = random.Random(seed)  # noqa: S311 - an order of commands
    saved: dict[int, tuple[npt.NDArray[Any], int]] = {}
    taken = steps = commands = 0
    until = clock() + seconds
    while clock() < until:
        commands += 1
        slot = rng.choice(slots)
        counters = kernel.counters(slot)
        kind = rng.choice(("run", "snapshot", "restore", "pause", "resume", "ask"))
        if kind == "run":
            client.call(slot, Command.RUN_STEPS, (rng.randint(1, 50),))
            steps += 1
        elif kind == "snapshot":
            saved[slot] = _checked(client, slot)
            taken += 1
        elif kind == "restore" and slot in saved:
            state, step = saved[slot]
            reply = restored(client, slot, state, step)
            assert (reply.step, reply.epoch) == (step, counters.epoch + 1)
        elif kind == "pause":
            paused_at = client.call(slot, Command.PAUSE).step
            assert client.call(slot, Command.HEARTBEAT).step == paused_at
        elif kind == "resume":
            client.call(slot, Command.RESUME)
        else:
            assert client.call(slot, Command.HEARTBEAT).step >= 0
    for slot in slots:
        client.call(slot, Command.PAUSE)
        _checked(client, slot)
    assert client.outstanding == 0
    return Load(taken + len(slots), steps, commands)


class Timer(NamedTuple):
    """What the kernel's clock was seen to do."""

    resolution_ns: int  # the step in which it counts
    rate: float  # seconds of the kernel's clock per second of the host's


def timer(client: KernelClient, seconds: float) -> Timer:
    """Compare the kernel's clock with the host's for some seconds; its stamps must never go back."""
    stamps: list[int] = []
    first = client.call(0, Command.HEARTBEAT).stamp_ns
    began = time.perf_counter_ns()  # a kernel that was just launched is there by now
    while len(stamps) < 2 or time.perf_counter_ns() - began < seconds * 1e9:
        stamps.append(client.call(0, Command.HEARTBEAT).stamp_ns)
    host_ns = time.perf_counter_ns() - began
    apart = [b - a for a, b in itertools.pairwise([first, *stamps])]
    assert min(apart) >= 0, f"the kernel's clock went back by {-min(apart)} ns"
    return Timer(_step_of(stamps), (stamps[-1] - first) / host_ns)


def _step_of(stamps: list[int]) -> int:
    """Return the step in which a clock counts, of which all differences are multiples."""
    return math.gcd(*(b - a for a, b in itertools.pairwise(stamps)))
