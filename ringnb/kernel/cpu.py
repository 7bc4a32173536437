"""The CPU backend: one Numba ``nogil`` thread per team member, looping for the whole run.

Threads are daemons and are told to stop by `CpuKernel.stop`, by an ``atexit`` hook at interpreter exit,
and by the garbage collector when nobody holds the kernel any more. They touch nothing but the memory
of `ringnb.kernel.layout.LaneMemory`, hold no Python lock and need no GIL, so a ``subprocess`` beside
them is safe. A ``fork`` copies memory but not threads: in the child the kernel counts as stopped, and
says so.

Owners: lane memory, see `ringnb.kernel.layout`. Each lane's H2K ring has one producer at a time, by a
lock that is held for the few hundred nanoseconds of a push. A `KeyboardInterrupt` inside `stop` leaves
the stop word set; calling `stop` again finishes the job.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import weakref
from collections.abc import Sequence
from typing import final

import numpy as np

from ringnb.actors.base import Actor
from ringnb.errors import BackendUnavailable, KernelStopped
from ringnb.kernel import layout
from ringnb.kernel.base import Gate
from ringnb.kernel.lane import run_leader
from ringnb.kernel.lanes import check_sizes
from ringnb.kernel.layout import (
    LaneMemory,
)
from ringnb.kernel.memory import HostMemoryKernel
from ringnb.kernel.ring import (
    sleep_for_reply,
    spin_for_reply,
    store_word,
    wake_lane,
)
from ringnb.kernel.steps import compile_actor
from ringnb.kernel.team import run_member
from ringnb.machine import available_cores

__all__ = ["CpuKernel"]

_SLICE_NS = 1_000_000
_HOT_NS = 10_000_000
_STOP_TIMEOUT_S = 30.0

_live: weakref.WeakSet[CpuKernel] = weakref.WeakSet()


@final
class CpuKernel(HostMemoryKernel):
    """Hosts actors in Numba threads.

    Parameters
    ----------
    actors : sequence of Actor
        The actor of every slot.
    lanes : int, optional
        Rings and teams. By default one per core but one, at most one per actor.
    width : int, default 1
        Threads per lane.
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
        width: int = 1,
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
        check_sizes(actors, lanes, width, capacity)
        code = [compile_actor(actor) for actor in actors]
        super().__init__(actors, code, lanes, width, capacity)
        self._pid = os.getpid()
        self._host = np.zeros(layout.HOST_WORDS, np.int64)
        self._scratch = np.zeros(8, np.int64)
        self._threads: list[threading.Thread] = []
        self._pipes: list[int] = []

    # -- life ------------------------------------------------------------------------------------

    def launch(self) -> None:
        """Start the threads.

        Raises
        ------
        KernelStopped
            If the kernel ran before: a kernel is launched once.
        """
        if self._launched:
            msg = "a kernel is launched once; make a new one"
            raise KernelStopped(msg)
        self._launched = True
        self._host_fd, self._host_fd_write = self._pipe()
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
                self._threads.append(
                    threading.Thread(
                        target=_run_thread,
                        # The kernel itself is not among the arguments: a kernel that nobody holds
                        # must be collectable while its threads run.
                        args=(weakref.ref(self), memory, self._host, rank),
                        name=f"ringnb-lane{index}-{rank}",
                        daemon=True,
                    )
                )
        for thread in self._threads:
            thread.start()
        _live.add(self)

    def _pipe(self) -> tuple[int, int]:
        fds = os.pipe()
        self._pipes += fds
        for fd in fds:
            os.set_blocking(fd, False)
        return fds

    @property
    def alive(self) -> bool:
        """Whether all threads run in this very process."""
        return self._launched and self._stopped_because is None

    def stop(self, reason: str = "the kernel was closed") -> None:
        """End the threads and wait for them. Idempotent, any thread."""
        with self._stop_lock:
            if not self._launched or os.getpid() != self._pid or not self._threads:
                self._stopped_because = self._stopped_because or reason
                return
            for lane, memory in enumerate(self._memory):
                store_word(memory.control, layout.STOP, 1)
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
            self._threads.clear()  # also what tells a later call that there is nothing to do
            self._stopped_because = self._stopped_because or reason
            self.wake()
            _live.discard(self)

    def __del__(self) -> None:
        """Stop the threads of a kernel that nobody holds any more."""
        if getattr(self, "_launched", False):
            self.stop("nobody referred to the kernel any more")
            # Only here, where no thread can be polling them: a closed number is soon reused.
            while self._pipes:
                os.close(self._pipes.pop())

    def set_gate(self, lane: int, gate: Gate) -> None:
        """Stop a lane at a point of a snapshot's way, or let it go on. Any thread."""
        memory = self._memory[lane]
        store_word(memory.control, layout.GATE, int(gate))
        with self._push_locks[lane]:
            wake_lane(memory.control, self._push_scratch[lane])

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


def _forked() -> None:
    """In a forked child: threads did not come along."""
    for kernel in list(_live):
        kernel.fail(
            f"this process ({os.getpid()}) was forked from the one that runs it, and threads do "
            "not survive a fork"
        )


os.register_at_fork(after_in_child=_forked)


@atexit.register
def _stop_all() -> None:
    """Stop every kernel before the interpreter tears down what its threads run on."""
    for kernel in list(_live):
        kernel.stop("the interpreter is exiting")
