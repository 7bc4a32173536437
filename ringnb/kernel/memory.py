"""Lane memory in memory of the host: made, filled with the actors' start, and read in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ringnb.actors.base import Actor
from ringnb.kernel import layout
from ringnb.kernel.lanes import LaneKernel
from ringnb.kernel.layout import (
    LaneMemory,
    fill_start,
    state_view,
)
from ringnb.kernel.steps import CompiledActor

__all__ = ["HostMemoryKernel"]


class HostMemoryKernel(LaneKernel):
    """A kernel whose lanes lie in memory of the host, filled with the actors' start.

    Parameters
    ----------
    actors : sequence of Actor
        The actor of every slot.
    code : sequence of CompiledActor
        Their compiled functions.
    lanes : int
        Rings and teams; slots are dealt out in turn.
    width : int
        Threads per lane.
    capacity : int
        Slots per ring, a power of two.
    """

    def __init__(
        self,
        actors: Sequence[Actor],
        code: Sequence[CompiledActor],
        lanes: int,
        width: int,
        capacity: int,
    ) -> None:
        super().__init__(actors, lanes, width, capacity)
        self._code = list(code)
        memories: list[LaneMemory] = []
        for lane in range(lanes):
            stripe = [(s, self.actors[s]) for s in range(lane, len(self.actors), lanes)]
            memory = LaneMemory(stripe, width, capacity)
            for row, (slot, actor) in enumerate(stripe):
                self._fill(memory, row, slot, actor)
            memories.append(memory)
        self._memory = memories

    def _fill(self, memory: LaneMemory, row: int, slot: int, actor: Actor) -> None:
        block = memory.blocks[int(memory.table[row, layout.C_A])]
        second = int(memory.table[row, layout.C_SECOND])
        fill_start(state_view(block, actor, second), actor, slot)
        params = list(actor.start_params(slot).values())
        memory.params[row, : len(params)] = params
        code = self._code[slot]
        memory.table[row, layout.C_STEP_FN] = code.step_address
        memory.table[row, layout.C_INJECT_FN] = code.inject_address
        memory.table[row, layout.C_EXISTS] = 1
        memory.words[row * layout.ACTOR_WORDS + layout.W_EXISTS] = 1

    def live_levels(self, slot: int) -> tuple[npt.NDArray[Any], ...]:
        """Return the very memory that the kernel steps, unsynchronised.

        Parameters
        ----------
        slot : int
            The actor.

        Returns
        -------
        tuple of (fields, *grid) arrays
            As many as a snapshot holds, read-only: `now` first, as of this moment.

        Notes
        -----
        A race by design, for showing what one does: the kernel writes while the caller reads, and the
        two levels swap at every step. A snapshot is the way to a state of one step.
        """
        memory, row = self._row(slot)
        actor = self.actors[slot]
        facts = memory.table[row]
        block = memory.blocks[int(facts[layout.C_A])]
        second, shape = int(facts[layout.C_SECOND]), (len(actor.fields), *actor.shape)
        buffers = [
            np.ndarray(shape, actor.dtype, buffer=block, offset=offset) for offset in (0, second)
        ]
        if facts[layout.C_CUR]:
            buffers.reverse()
        for view in buffers:
            view.flags.writeable = False
        return tuple(buffers[: actor.levels])

    def restore_buffer(self, slot: int) -> npt.NDArray[Any]:
        """Return the writable state view of the buffer that a RESTORE to this slot reads."""
        memory, row = self._row(slot)
        second = int(memory.table[row, layout.C_SECOND])
        return state_view(memory.restore, self.actors[slot], second)
