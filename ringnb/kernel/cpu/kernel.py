"""The CPU backend: one Numba ``nogil`` thread per team member, looping for the whole run.

Threads are daemons and are told to stop by `CpuKernel.stop`, at interpreter exit
(`ringnb.kernel.registry`), and by the garbage collector when nobody holds the kernel any more. They
touch nothing but the memory of `ringnb.kernel.layout.LaneMemory`, hold no Python lock and need no GIL,
so a ``subprocess`` beside them is safe.

Owners: lane memory, see `ringnb.kernel.layout`. Each lane's H2K ring has one producer at a time, by a
lock that is held for the few hundred nanoseconds of a push.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

from ringnb._support.machine import available_cores
from ringnb.actors.base import Actor
from ringnb.errors import BackendUnavailable
from ringnb.kernel import layout
from ringnb.kernel.base import Gate
from ringnb.kernel.cpu.compile import CompiledActor, compile_actor
from ringnb.kernel.cpu.leader import run_leader
from ringnb.kernel.cpu.team import run_member
from ringnb.kernel.host import LaneKernel, check_range, check_sizes
from ringnb.kernel.layout import (
    LaneMemory,
    fill_start,
    state_view,
)
from ringnb.kernel.ring import (
    load_word,
    sleep_for_reply,
    spin_for_reply,
    store_word,
    wake_lane,
)

__all__ = [
    "CpuKernel",
    "HostMemoryKernel",
]


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
        self._controls = [memory.control for memory in memories]

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


_SLICE_NS = 1_000_000
_HOT_NS = 10_000_000
_STOP_TIMEOUT_S = 30.0
_START_POLL_S = 0.0005


@final
class CpuKernel(HostMemoryKernel):
    """Hosts actors in Numba threads.

    Parameters
    ----------
    actors : sequence of Actor
        The actor of every slot.
    lanes : int, optional
        Rings and teams. By default one per core but one, at most one per actor.
    width : int, optional
        Threads per lane, by default 1.
    capacity : int, default 64
        Slots per ring, a power of two.

    Raises
    ------
    BackendUnavailable
        On a system without POSIX pipes and ``poll``.
    ValueError
        If a number is out of range, or an actor's function cannot be compiled.
    """

    name = "cpu"

    def __init__(
        self,
        actors: Sequence[Actor],
        *,
        lanes: int | None = None,
        width: int | None = None,
        capacity: int = layout.RING_CAPACITY,
    ) -> None:
        if os.name != "posix":
            msg = (
                f"the CPU kernel needs poll() and pipes of a POSIX system, this is {sys.platform}; "
                "use Linux, macOS or WSL 2"
            )
            raise BackendUnavailable(msg)
        actors = tuple(actors)
        if lanes is None:
            lanes = min(len(actors), max(1, available_cores() - 1)) or 1
        check_sizes(actors, lanes, capacity)
        width = 1 if width is None else width
        check_range("width", width, 1, 256, "threads of a team")
        code = [compile_actor(actor) for actor in actors]
        super().__init__(actors, code, lanes, width, capacity)
        self._host = np.zeros(layout.HOST_WORDS, np.int64)
        self._scratch = np.zeros(8, np.int64)
        self._threads: list[threading.Thread] = []
        self._pipes: list[int] = []

    # -- life ------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._host_fd, self._host_fd_write = self._pipe()
        threads: list[threading.Thread] = []
        for index, memory in enumerate(self._memory):
            facts = memory.facts
            facts[layout.F_WAKE_FD], memory.control[layout.WAKE_FD_WRITE] = self._pipe()
            facts[layout.F_HOST_FD_WRITE] = self._host_fd_write
            facts[layout.F_SLICE_NS] = _SLICE_NS
            facts[layout.F_HOT_NS] = _HOT_NS
            for rank in range(self._width):
                if rank > 0:
                    at = layout.TEAM_MEMBERS + rank * layout.MEMBER_WORDS
                    fds = self._pipe()
                    memory.team[at + layout.M_FD], memory.team[at + layout.M_FD_WRITE] = fds
                threads.append(
                    threading.Thread(
                        target=_run_thread,
                        # The kernel itself is not among the arguments: a kernel that nobody holds
                        # must be collectable while its threads run.
                        args=(weakref.ref(self), memory, self._host, rank),
                        name=f"ringnb-lane{index}-{rank}",
                        daemon=True,
                    )
                )
        for thread in threads:
            thread.start()
            self._threads.append(thread)
        # The first one of a process compiles or loads code, for seconds: no command's deadline is to
        # run meanwhile.
        for memory in self._memory:
            while load_word(memory.control, layout.STATE) == layout.LANE_STARTING and self.alive:
                time.sleep(_START_POLL_S)

    def _pipe(self) -> tuple[int, int]:
        fds = os.pipe()
        self._pipes += fds
        for fd in fds:
            os.set_blocking(fd, False)
        return fds

    def _end(self) -> None:
        for lane, memory in enumerate(self._memory):
            with self._push_locks[lane]:
                wake_lane(memory.control, self._push_scratch[lane])
        for thread in self._threads:
            thread.join(_STOP_TIMEOUT_S)
            if thread.is_alive():
                msg = (
                    f"kernel thread {thread.name} is still in a step after {_STOP_TIMEOUT_S:g} s; "
                    "a single step of this actor takes very long. Call close() again to wait on"
                )
                raise TimeoutError(msg)

    def __del__(self) -> None:
        """Stop the threads of a kernel that nobody holds any more."""
        super().__del__()
        # Only here, where no thread can be polling them: a closed number is soon reused.
        while getattr(self, "_pipes", ()):
            os.close(self._pipes.pop())

    def set_gate(self, lane: int, gate: Gate) -> None:
        """Stop a lane at a point of a snapshot's way, or let it go on. Any thread."""
        super().set_gate(lane, gate)
        with self._push_locks[lane]:
            wake_lane(self._memory[lane].control, self._push_scratch[lane])

    # -- rings -----------------------------------------------------------------------------------

    def wait(self, timeout_s: float, spin_ns: int = 0) -> bool:
        """Wait until a reply is there, `wake` is called, or the time is up."""
        if self._replies():
            return True
        if spin_ns > 0:
            if self._n_lanes == 1:
                spin_for_reply(self._memory[0].control, self._scratch, spin_ns)
            if self._replies():
                return True
        # At most 100 ms asleep at a time, so that Ctrl-C is served by the main thread.
        timeout_ms = min(100, max(0, int(timeout_s * 1000)))
        if timeout_ms == 0 and timeout_s > 0:
            timeout_ms = 1
        if not self.alive:
            return False
        store_word(self._host, layout.HOST_ASLEEP, 1)
        if self._replies():
            store_word(self._host, layout.HOST_ASLEEP, 0)
            return True
        sleep_for_reply(self._host, self._scratch, self._host_fd, timeout_ms)
        return self._replies()

    def wake(self) -> None:
        """End another thread's `wait` early. Any thread."""
        if self._pipes and os.getpid() == self._pid:
            with contextlib.suppress(BlockingIOError):  # full of wake-ups already
                os.write(self._host_fd_write, b"w")


def _run_thread(
    kernel: weakref.ref[CpuKernel], memory: LaneMemory, host: layout.Words, rank: int
) -> None:
    """Body of every kernel thread: the compiled loop of a leader (rank 0) or a member."""
    scratch = np.zeros(8, np.int64)
    try:
        if rank > 0:
            run_member(memory.table, memory.facts, memory.team, scratch, rank)
        else:
            run_leader(
                memory.control,
                memory.h2k,
                memory.k2h,
                memory.table,
                memory.words,
                memory.params,
                memory.params_in,
                memory.team,
                memory.facts,
                host,
                scratch,
                np.zeros(8, np.int64),
            )
    except BaseException as error:
        owner = kernel()
        if owner is not None:
            owner.fail(f"kernel thread {threading.current_thread().name} died: {error!r}")
        raise
