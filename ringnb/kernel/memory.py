"""Views of lane memory that the host can address: counters, staging, restore buffer, statistics.

Whatever backend keeps `ringnb.kernel.layout.LaneMemory` where the host can read it inherits them. Owners
of every word: see `ringnb.kernel.layout`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ringnb.actors.base import MAX_PARAMS, Actor
from ringnb.kernel import layout
from ringnb.kernel.base import AbstractKernel, ActorCounters, KernelStatistics, SnapshotFacts
from ringnb.kernel.layout import (
    LINE,
    LaneMemory,
    params_view,
    staging_tail,
    state_view,
    tail_words,
)
from ringnb.kernel.ring import bump, load_word, replies_waiting
from ringnb.kernel.steps import CompiledActor
from ringnb.kernel.team import checksum_words

__all__ = ["HostMemoryKernel"]


class HostMemoryKernel(AbstractKernel):
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
        super().__init__(actors)
        self._n_lanes = lanes
        self._width = width
        self._code = list(code)
        self._memory: list[LaneMemory] = []
        for lane in range(lanes):
            stripe = [(s, self.actors[s]) for s in range(lane, len(self.actors), lanes)]
            memory = LaneMemory(stripe, width, capacity)
            for row, (slot, actor) in enumerate(stripe):
                self._fill(memory, row, slot, actor)
            self._memory.append(memory)

    def _fill(self, memory: LaneMemory, row: int, slot: int, actor: Actor) -> None:
        state = np.ascontiguousarray(actor.start(slot), dtype=actor.dtype)
        if state.shape != actor.state_shape:
            msg = (
                f"{actor!r}.start() returned shape {state.shape}, "
                f"needed is {actor.state_shape} (levels * fields, *grid)"
            )
            raise ValueError(msg)
        block = memory.blocks[int(memory.table[row, layout.C_A])]
        second = int(memory.table[row, layout.C_SECOND])
        levels = state_view(block, actor, second)
        levels[:] = state.reshape(levels.shape)
        params = list(actor.start_params(slot).values())
        memory.params[row, : len(params)] = params
        code = self._code[slot]
        memory.table[row, layout.C_STEP_FN] = code.step_address
        memory.table[row, layout.C_INJECT_FN] = code.inject_address
        memory.table[row, layout.C_EXISTS] = 1
        memory.words[row * layout.ACTOR_WORDS + layout.W_EXISTS] = 1

    @property
    def lanes(self) -> int:
        """Number of lanes."""
        return self._n_lanes

    def lane_of(self, slot: int) -> int:
        """Return the lane that owns a slot: slots are dealt out in turn."""
        return slot % self._n_lanes

    def _row(self, slot: int) -> tuple[LaneMemory, int]:
        return self._memory[slot % self._n_lanes], slot // self._n_lanes

    def counters(self, slot: int) -> ActorCounters:
        """Return an actor's counters without asking the kernel. Any thread."""
        memory, row = self._row(slot)
        base = row * layout.ACTOR_WORDS

        def word(index: int) -> int:
            """Read one word of the actor."""
            return int(load_word(memory.words, base + index))

        return ActorCounters(
            step=word(layout.W_STEP),  # first: the budget read after it is at least as new
            budget=word(layout.W_BUDGET),
            running=bool(word(layout.W_RUNNING)),
            epoch=word(layout.W_EPOCH),
            exists=bool(word(layout.W_EXISTS)),
            snapshots=word(layout.W_SNAPSHOTS),
            last_stall_ns=word(layout.W_STALL_NS),
            busy_ns=word(layout.W_BUSY_NS),
        )

    def staged(self, lane: int, index: int, slot: int) -> tuple[npt.NDArray[Any], SnapshotFacts]:
        """Return what a snapshot put into a staging buffer, ``(levels, fields, *grid)``."""
        block, actor = self._memory[lane].staging[index], self.actors[slot]
        view = state_view(block, actor)
        view.flags.writeable = False
        return view, SnapshotFacts(*tail_words(block, actor)[: len(SnapshotFacts._fields)])

    def staged_params(self, lane: int, index: int, slot: int) -> npt.NDArray[np.float64]:
        """Return a copy of the 16 parameters that were captured with a snapshot."""
        return params_view(self._memory[lane].staging[index], self.actors[slot]).copy()

    def staged_checksum(self, lane: int, index: int, slot: int) -> int:
        """Compute the checksum of a staging buffer as it is now."""
        block = self._memory[lane].staging[index]
        n_words = staging_tail(self.actors[slot]) // 8 + MAX_PARAMS
        return int(checksum_words(block.ctypes.data, 0, n_words))

    def release_staging(self, lane: int, index: int) -> None:
        """Give a staging buffer back to the kernel. Any thread, once per snapshot."""
        # No lock: a garbage-collected snapshot gives its buffer back from wherever the collector ran.
        bump(self._memory[lane].control, layout.RETURNED + index * LINE)

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

    def params_buffer(self, slot: int) -> npt.NDArray[np.float64]:
        """Return the writable parameters that a RESTORE or SET_PARAMS to this slot reads."""
        memory, row = self._row(slot)
        view: npt.NDArray[np.float64] = memory.params_in[row]
        return view

    def statistics(self) -> KernelStatistics:
        """Return sizes and depths. Any thread."""

        def each(index: int) -> tuple[int, ...]:
            """Read a word of every lane."""
            return tuple(int(load_word(m.control, index)) for m in self._memory)

        taken = [each(layout.TAKEN + b * LINE) for b in range(layout.STAGING_BUFFERS)]
        returned = [each(layout.RETURNED + b * LINE) for b in range(layout.STAGING_BUFFERS)]
        heads, tails = each(layout.H2K_HEAD), each(layout.H2K_TAIL)
        return KernelStatistics(
            lanes=self._n_lanes,
            width=self._width,
            ring_capacity=int(self._memory[0].facts[layout.F_CAPACITY]),
            h2k_depth=tuple(h - t for h, t in zip(heads, tails, strict=True)),
            k2h_depth=tuple(int(replies_waiting(m.control)) for m in self._memory),
            staging_taken=tuple(
                sum(t[lane] - r[lane] for t, r in zip(taken, returned, strict=True))
                for lane in range(self._n_lanes)
            ),
            asleep=tuple(bool(a) for a in each(layout.ASLEEP)),
            loops=each(layout.LOOPS),
        )
