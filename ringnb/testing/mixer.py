"""A small exact actor with an independent reference, so that equality means equality of bits.

Kernels are tested with it: `running` launches one, which steps a `Mixer`; `advance` says in NumPy what
must come out, `captured` takes it out and `restored` puts it back. This module needs no pytest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ringnb.actors.base import Actor, FieldSpec
from ringnb.kernel.base import AbstractKernel
from ringnb.kernel.client import KernelClient
from ringnb.messages.commands import Command, Reply

__all__ = ["Mixer", "advance", "captured", "restored", "running"]


class Mixer(Actor):
    """A reversible-looking integer scramble: any wrong neighbour, order or step shows at once.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    add : int, default 7
        Its parameter, added to every value.
    start_step : int, default 0
        The step of the start state.
    """

    kernel_type = "mixer"
    fields = {"u": FieldSpec("1", "scrambled integers")}  # noqa: RUF012 - read only
    dtype = np.dtype(np.int32)
    levels = 2
    reach = 1

    def __init__(self, shape: tuple[int, int], add: int = 7, start_step: int = 0) -> None:
        super().__init__(shape, {"add": add}, start_step=start_step)

    @staticmethod
    def update(now: Any, before: Any, params: Any, step: int, y: int, x: int) -> None:
        """Write the cell's next value."""
        ny, nx = now.shape[1], now.shape[2]
        north = now[0, y - 1, x] if y > 0 else now[0, ny - 1, x]
        east = now[0, y, x + 1] if x < nx - 1 else now[0, y, 0]
        value = 3 * north + 5 * east + now[0, y, x] - before[0, y, x] + int(params[0]) + step
        before[0, y, x] = value & 0xFFFFFF

    def start(self, slot: int = 0) -> npt.NDArray[Any]:
        """Return seeded integers."""
        rng = np.random.default_rng(slot)
        return rng.integers(0, 1000, size=self.state_shape, dtype=np.int32)


def advance(state: npt.NDArray[Any], first: int, steps: int, add: int = 7) -> npt.NDArray[Any]:
    """Step the two levels of a `Mixer` with NumPy.

    Parameters
    ----------
    state : (2, ny, nx) int32 array
        The levels: now, before.
    first, steps : int
        The step they are of, and how many follow.
    add : int, default 7
        The actor's parameter.
    """
    now, before = state[0].astype(np.int64), state[1].astype(np.int64)
    for step in range(first, first + steps):
        north, east = np.roll(now, 1, axis=0), np.roll(now, -1, axis=1)
        following = (3 * north + 5 * east + now - before + add + step) & 0xFFFFFF
        now, before = following, now
    return np.stack([now, before]).astype(np.int32)


@contextlib.contextmanager
def running(kernel: AbstractKernel) -> Iterator[KernelClient]:
    """Launch a kernel, yield a client of it, and stop it.

    Parameters
    ----------
    kernel : AbstractKernel
        One that is not launched yet.
    """
    kernel.launch()
    try:
        yield KernelClient(kernel)
    finally:
        kernel.stop()


def captured(
    client: KernelClient, slot: int, held: int = 0, at: int = 0
) -> tuple[npt.NDArray[Any], Reply]:
    """Take a snapshot, release its buffer, return a (levels * fields, *grid) copy and the reply.

    Parameters
    ----------
    client : KernelClient
        The kernel's.
    slot : int
        The actor.
    held : int, default 0
        The number of a wait that this ends.
    at : int, default 0
        The step of a ``HOLD_AT`` at which the actor waits; this ends that wait.
    """
    kernel = client.kernel
    reply = client.call(slot, Command.SNAPSHOT, (held, at))
    lane = kernel.lane_of(slot)
    view, facts = kernel.staged(lane, reply.value, slot)
    assert facts.checksum == kernel.staged_checksum(lane, reply.value, slot)
    assert facts.step == reply.step
    assert facts.actor_slot == slot
    state = view.reshape(-1, *kernel.actors[slot].shape).copy()
    kernel.release_staging(lane, reply.value)
    return state, reply


def restored(
    client: KernelClient, slot: int, state: npt.NDArray[Any], step: int, *params: float
) -> Reply:
    """Load a state into a live actor.

    Parameters
    ----------
    client : KernelClient
        The kernel's.
    slot : int
        The actor.
    state : (levels * fields, *grid) array
        As `captured` returns it.
    step : int
        Its step.
    *params : float
        Parameters to load with it, in their order; by default those that were loaded last.

    Returns
    -------
    Reply
        The kernel's.
    """

    def fill() -> tuple[tuple[int], None]:
        """Write the buffers."""
        buffer = client.kernel.restore_buffer(slot)
        buffer[...] = state.reshape(buffer.shape)
        client.kernel.params_buffer(slot)[: len(params)] = params
        return (step,), None

    return client.load(slot, Command.RESTORE, fill)
