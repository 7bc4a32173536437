"""The CPU backend: one Numba ``nogil`` thread per team member, looping for the whole run.

The threads touch nothing but the memory of `ringnb.kernel.layout.LaneMemory`, hold no Python lock and
need no GIL, so a ``subprocess`` beside them is safe. They are daemons and are told to stop by
`CpuKernel.stop`, at interpreter exit (`ringnb.kernel.registry`), and by the garbage collector when no
variable refers to the kernel any more.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any, final

import numpy as np
from numba import config

from ringnb._support.checks import check_int
from ringnb._support.machine import available_cores, cpu_quota
from ringnb._support.off_main import check_interrupted
from ringnb.actors.base import Actor
from ringnb.actors.link import Link
from ringnb.actors.trial import explain
from ringnb.errors import BackendUnavailable, RingnbError
from ringnb.kernel import layout
from ringnb.kernel.base import Gate
from ringnb.kernel.cpu.compile import compile_actors
from ringnb.kernel.cpu.elsewhere import lead
from ringnb.kernel.cpu.leader import run_leader, take_steps
from ringnb.kernel.cpu.passes import pass_of
from ringnb.kernel.cpu.team import run_member
from ringnb.kernel.deal import Deal
from ringnb.kernel.host import LaneKernel, check_sizes
from ringnb.kernel.layout import LaneMemory, fill_start, level_view, state_view
from ringnb.kernel.ring import load_word, sleep_for_reply, spin_for_reply, store_word, wake_lane
from ringnb.kernel.stepper import Stepper

__all__ = ["CpuKernel"]

_SLICE_NS = 1_000_000
_HOT_NS = 10_000_000
_START_POLL_S = 0.0005
_END_POLL_S = 0.1
_PIPE_USE_S = 0.5  # nobody sleeps at a pipe longer once the kernel has stopped
_LONGEST_SLEEP_MS = 100  # so that the main thread serves Ctrl-C


@final
class CpuKernel(LaneKernel):
    """Hosts actors in Numba threads.

    `lanes` is by default one per actor or group of linked ones, at most as many as `_kernel_threads`;
    `width` is the number of threads per lane, all of which step every actor; by default those threads
    are shared out, and how many of its lane's step an actor is measured while it runs. `links` are what
    goes from one actor to another. `capacity` is the number of slots per ring, a power of two. A
    `stepper` takes the steps of the only actor, elsewhere. Where a kernel of one actor is not `led`, no
    thread of its own looks for commands: the caller of `take_steps` leads.

    Raises `BackendUnavailable` on a system without POSIX pipes and ``poll``, `ValueError` if a number
    is out of range or an actor's function cannot be compiled.
    """

    name = "cpu"
    _memory: list[LaneMemory]

    def __init__(
        self,
        actors: Sequence[Actor],
        *,
        links: Sequence[Link] = (),
        lanes: int | None = None,
        width: int | None = None,
        capacity: int = layout.RING_CAPACITY,
        stepper: Stepper | None = None,
        led: bool = True,
    ) -> None:
        if os.name != "posix":
            msg = (
                f"the CPU kernel needs poll() and pipes of a POSIX system, this is {sys.platform}; "
                "use Linux, macOS or WSL 2"
            )
            raise BackendUnavailable(msg)
        if config.DISABLE_JIT:
            msg = (
                "NUMBA_DISABLE_JIT is set, and the CPU kernel runs compiled code only: unset it and "
                "start Python again, or use backend='cudasim', which runs uncompiled"
            )
            raise BackendUnavailable(msg)
        actors = tuple(actors)
        deal = Deal(actors, links)
        self._stepper, self._led = stepper, led
        if stepper is not None:
            lanes = width = 1
            check_int(len(actors), "actors that are stepped elsewhere", 1, 1)
        if lanes is None:
            lanes = min(len(deal.groups), _kernel_threads()) or 1
        check_sizes(deal, lanes, capacity)
        chooses = width is None
        if width is None:
            width = max(1, _kernel_threads() // lanes)
        width = check_int(width, "width", 1, 256, why="threads of a team")
        self._code = compile_actors(actors)  # and keep it loaded
        super().__init__(actors, deal, lanes, width, capacity)
        self._memory = []
        for lane in range(lanes):
            own = [(slot, actors[slot]) for slot in deal.slots[lane]]
            memory = LaneMemory(own, width, capacity, captures=led)
            memory.links = deal.join(lane, memory.table)
            memory.facts[layout.F_CHOOSES] = chooses and width > 1
            memory.table[:, layout.C_TEAM] = 1 if chooses else width
            for row, (slot, actor) in enumerate(own):
                self._fill(memory, row, slot, actor)
            self._memory.append(memory)
        self._open_ports()
        self._host = layout.lines(layout.HOST_WORDS)
        self._scratch = layout.lines(layout.LINE)
        self._threads: list[threading.Thread] = []
        self._leading = threading.Lock()  # by who takes steps where no thread leads
        self._pipes: list[int] = []
        self._pipe_users: deque[None] = (
            deque()
        )  # an entry for each thread that uses the host's pipe

    def _fill(self, memory: LaneMemory, row: int, slot: int, actor: Actor) -> None:
        facts = memory.table[row]
        block = memory.blocks[int(facts[layout.C_A])]
        fill_start(state_view(block, actor, int(facts[layout.C_SECOND])), actor, slot)
        params = list(actor.start_params(slot).values())
        memory.params[row, : len(params)] = params
        for stage, address in enumerate(self._code[slot].step_addresses):
            facts[layout.C_STAGE_FNS + stage] = address
        for number, address in enumerate(self._code[slot].reduce_addresses):
            facts[layout.C_REDUCE_FNS + number] = address
        facts[layout.C_REACH], facts[layout.C_DEPTH], facts[layout.C_TILE] = pass_of(actor)
        facts[layout.C_INJECT_FN] = self._code[slot].inject_address
        if actor._halos is not None:
            ends = memory.params[row].view(np.int64)
            ends[layout.P_ABOVE], ends[layout.P_BELOW] = actor._halos.above, actor._halos.below
            ends[layout.P_FRESH_STEP] = actor.start_step
        facts[layout.C_EXISTS] = 1
        facts[layout.C_STEP] = actor.start_step
        words = memory.words[row * layout.ACTOR_WORDS :]
        words[layout.W_EXISTS], words[layout.W_STEP] = 1, actor.start_step

    # -- life ------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._stepper is not None:
            memory, actor = self._memory[0], self.actors[0]
            control = memory.control
            self._stepper.open(
                *(actor, _levels(memory, 0, actor), memory.params[0]),
                lambda: bool(load_word(control, layout.STOP)),
            )
        self._host_fd, self._host_fd_write = self._pipe()
        threads: list[threading.Thread] = []
        for index, memory in enumerate(self._memory):
            facts = memory.facts
            facts[layout.F_WAKE_FD], memory.control[layout.WAKE_FD_WRITE] = self._pipe()
            facts[layout.F_HOST_FD_WRITE] = self._host_fd_write
            facts[layout.F_SLICE_NS] = _SLICE_NS
            facts[layout.F_HOT_NS] = _HOT_NS
            if not self._led:
                self._take_steps(0)  # a first step that compiles would keep others waiting
                store_word(memory.control, layout.STATE, layout.LANE_RUNNING)
            for rank in range(0 if self._led else 1, self._width):
                if rank > 0:
                    at = layout.TEAM_MEMBERS + rank * layout.MEMBER_WORDS
                    fds = self._pipe()
                    memory.team[at + layout.M_FD], memory.team[at + layout.M_FD_WRITE] = fds
                    memory.team[at + layout.M_ARRIVE] = layout.MEMBER_STARTING
                threads.append(
                    threading.Thread(
                        target=_run_thread,
                        # The kernel itself is not among the arguments: a kernel that no variable
                        # refers to must be collectable while its threads run.
                        args=(
                            *(weakref.ref(self), self.actors, memory, self._host, rank),
                            self._stepper,
                        ),
                        name=f"ringnb-lane{index}-{rank}",
                        daemon=True,
                    )
                )
        for thread in threads:
            try:
                thread.start()
            except RuntimeError as error:
                msg = (
                    f"thread {len(self._threads) + 1} of {len(threads)} of the kernel was refused "
                    f"({error}): the system limits how many a user or a container may have. Ask for "
                    "fewer, such as Session(lanes=1, width=1)"
                )
                raise BackendUnavailable(msg) from error
            self._threads.append(thread)
        # The first kernel of a process compiles or loads code, for seconds: no command's deadline may
        # run meanwhile.
        while self.alive and not all(map(_has_started, self._memory)):
            time.sleep(_START_POLL_S)

    def _pipe(self) -> tuple[int, int]:
        fds = os.pipe()
        self._pipes += fds
        for fd in fds:
            os.set_blocking(fd, False)
        return fds

    def _wake_lane(self, lane: int) -> None:
        with self._push_locks[lane]:  # which guards the scratch words
            wake_lane(self.ports[lane])

    def _end(self) -> None:
        for lane in range(self._n_lanes):
            self._wake_lane(lane)
        deadline = time.monotonic() + self.patience_s
        if not self._led:
            self._end_led(deadline)
        for thread in self._threads:
            while thread.is_alive():
                if time.monotonic() > deadline:
                    self._pipes = []  # which that thread goes on to use: never closed
                    raise self._never_ends(f"kernel thread {thread.name}")
                check_interrupted()
                thread.join(_END_POLL_S)
        if self._stepper is not None:  # also one whose thread was never started
            self._stepper.close()

    def _end_led(self, deadline: float) -> None:
        """Wait for who takes steps, and have the members of the team end, as no leader tells them."""
        # The stop word is set: who takes the lock from now on looks at it.
        while self._leading.locked():
            if time.monotonic() > deadline:
                raise self._never_ends("the thread that leads the kernel")
            check_interrupted()
            time.sleep(_START_POLL_S)
        self._end_members()

    def _end_members(self) -> None:
        memory = self._memory[0]
        store_word(memory.control, layout.STATE, layout.LANE_STOPPED)
        for rank, _ in enumerate(self._threads, 1):
            at = layout.TEAM_MEMBERS + rank * layout.MEMBER_WORDS
            os.write(int(memory.team[at + layout.M_FD_WRITE]), b"w")

    def release(self) -> None:
        """Let go of states and pipes, if every thread of the kernel has ended."""
        if self.alive or any(thread.is_alive() for thread in self._threads):
            return
        if self._leading.locked():
            return
        self._views.clear()
        for lane, memory in enumerate(self._memory):
            with self._push_locks[lane]:
                memory.control[layout.WAKE_FD_WRITE] = -1
            memory.release()
        # The number of a closed file is soon reused. Who comes from now on finds no pipe; who is there
        # was counted before it looked.
        pipes, self._pipes = self._pipes, []
        deadline = time.monotonic() + _PIPE_USE_S
        while self._pipe_users and time.monotonic() < deadline:
            time.sleep(_START_POLL_S)
        if self._pipe_users:
            self._pipes = pipes  # closed when no variable refers to the kernel
            return
        for fd in pipes:
            os.close(fd)

    def __del__(self) -> None:
        """Stop the threads of a kernel that no variable refers to."""
        super().__del__()
        while getattr(self, "_pipes", ()):
            os.close(self._pipes.pop())

    def set_gate(self, lane: int, gate: Gate) -> None:
        """Stop a lane at a point of a snapshot's way, or let it continue. Any thread."""
        super().set_gate(lane, gate)
        self._wake_lane(lane)

    # -- rings -----------------------------------------------------------------------------------

    def wait(self, timeout_s: float, spin_ns: int = 0) -> bool:
        """Wait until a reply is there, `wake` is called, or the time is up."""
        if self._replies():
            return True
        if spin_ns > 0:
            if self._n_lanes == 1:
                spin_for_reply(self._controls[0], self._scratch, spin_ns)
            if self._replies():
                return True
        timeout_ms = min(_LONGEST_SLEEP_MS, max(0, int(timeout_s * 1000)))
        if timeout_ms == 0 and timeout_s > 0:
            timeout_ms = 1
        if not self.alive:
            return False
        # Announce, look once more, sleep: the lane's leader publishes its reply before it looks.
        store_word(self._host, layout.HOST_ASLEEP, 1)
        if self._replies():
            store_word(self._host, layout.HOST_ASLEEP, 0)
            return True
        self._pipe_users.append(None)
        try:
            if self._pipes:
                sleep_for_reply(self._host, self._scratch, self._host_fd, timeout_ms)
        finally:
            self._pipe_users.pop()
        return self._replies()

    def wake(self) -> None:
        """End another thread's `wait` early. Any thread."""
        self._pipe_users.append(None)
        try:
            if self._pipes and os.getpid() == self._pid:
                with contextlib.suppress(BlockingIOError):  # full of wake-ups already
                    os.write(self._host_fd_write, b"w")
        finally:
            self._pipe_users.pop()

    # -- state -----------------------------------------------------------------------------------

    def _held_row(self, slot: int) -> tuple[LaneMemory, int]:
        """Return the memory and the row of an actor; raise if the memory was released."""
        memory, row = self._row(slot)
        if not memory.blocks:
            self.check_alive()
        return memory, row

    def restore_buffer(self, slot: int) -> Any:
        """Return the buffer that a RESTORE to this slot reads, as (levels, fields, *grid), writable."""
        memory, row = self._held_row(slot)
        return state_view(
            memory.restore, self.actors[slot], int(memory.table[row, layout.C_SECOND])
        )

    def live_levels(self, slot: int) -> tuple[Any, ...]:
        """Return read-only views of the memory that the kernel steps, ``now`` first.

        As many (fields, *grid) arrays as a snapshot holds. A race by design, to show what one does: the
        kernel writes while the caller reads, and the two levels swap at every step. Only a snapshot
        gives the state of one step.
        """
        memory, row = self._held_row(slot)
        actor = self.actors[slot]
        return _levels(memory, row, actor)[: actor.levels]

    def levels_at_rest(self, slot: int) -> tuple[Any, ...]:
        """Return both levels of an actor that is paused, ``now`` first: (fields, *grid), writable.

        Nothing else may be under way in its lane, and what is written must be whole before the next
        command is sent.
        """
        memory, row = self._held_row(slot)
        return _levels(memory, row, self.actors[slot], writable=True)

    def put_at_rest(self, slot: int, step: int, params: Sequence[float]) -> None:
        """Note of which step the state is that was written to `levels_at_rest`, and with what values."""
        memory, row = self._held_row(slot)
        memory.table[row, layout.C_STEP] = step
        memory.params[row, : len(params)] = params

    def renew_halos(self, slot: int) -> None:
        """Note that all rows of a part, which is paused, are right: see `Halos`."""
        memory, row = self._held_row(slot)
        step = memory.table[row, layout.C_STEP]
        memory.params[row].view(np.int64)[layout.P_FRESH_STEP] = step

    def take_steps(self, count: int) -> None:
        """Take the only actor through steps on this thread; for a kernel that is not led.

        From then on the thread takes subnormal numbers for zero, as those of kernels do: it should do
        nothing else. KernelStopped if the kernel does not run, or if the update raises.
        """
        memory = self._memory[0]
        with self._leading:
            if load_word(memory.control, layout.STOP):  # the reason may not be known yet
                self.fail("it was stopped")
            self.check_alive()
            try:
                well = self._take_steps(count)
            finally:
                if load_word(memory.control, layout.STOP):  # `stop` may not wait any more
                    self._end_members()
            if not well:
                self.fail(_fault_of(memory, self.actors))
                self.check_alive()

    def _take_steps(self, count: int) -> bool:
        memory = self._memory[0]
        shared = memory.control, memory.h2k, memory.k2h, memory.table, memory.links
        team = memory.params, memory.team, memory.facts, self._host, self._scratch
        return bool(take_steps(*shared, *team, count))


def _kernel_threads() -> int:
    """How many threads step by default: a core is left for Python, but of two none.

    There the notebook shares a core with the kernel: a team does without the thread that is held up.
    Where a quota is used up all threads stop, the notebook's as well: they take less than that.
    """
    if (quota := cpu_quota()) is not None:
        return min(256, max(1, math.ceil(quota) - 1))
    cores = available_cores()
    return min(256, cores if cores <= 2 else cores - 1)


def _has_started(memory: LaneMemory) -> bool:
    """Return whether all threads of a lane run their loops."""
    if load_word(memory.control, layout.STATE) == layout.LANE_STARTING:
        return False
    members = range(
        layout.TEAM_MEMBERS + layout.MEMBER_WORDS, memory.team.size, layout.MEMBER_WORDS
    )
    return all(
        load_word(memory.team, at + layout.M_ARRIVE) != layout.MEMBER_STARTING for at in members
    )


def _levels(
    memory: LaneMemory, row: int, actor: Actor, *, writable: bool = False
) -> tuple[Any, ...]:
    """Return views of both levels, (fields, *grid) each, ``now`` first; read-only by default."""
    facts = memory.table[row]
    block = memory.blocks[int(facts[layout.C_A])].view()
    block.flags.writeable = writable  # nor are views of it, if it is not
    levels = [level_view(block, actor, at) for at in (0, int(facts[layout.C_SECOND]))]
    if facts[layout.C_CUR]:
        levels.reverse()
    return tuple(levels)


def _fault_of(memory: LaneMemory, actors: Sequence[Actor]) -> str:
    """Say what an update with checked indices did wrong on a lane that has ended; empty if nothing."""
    rows = np.flatnonzero(memory.params[:, layout.P_FAULT_CELL])
    if not rows.size:
        return ""
    row = int(rows[0])
    slot = int(memory.table[row, layout.C_SLOT])
    actor, params = actors[slot], memory.params[row]
    if params[layout.P_FAULT_CELL] < 0:
        begun = int(memory.table[row, layout.C_STEP])
        if actor.boundscheck:
            return (
                f"in slot {slot}, a reduction raised in step {begun} or one of the next: see above"
            )
        what = "the update or a reduction" if actor.reductions else "the update"
        return (
            f"in slot {slot}, {what} raised in step {begun} or one of the next (Numba has printed "
            "the exception, above): CellActor(..., boundscheck=True) names step, cell and line"
        )
    step, stage = int(params[layout.P_FAULT_STEP]), int(params[layout.P_FAULT_STAGE])
    at = np.unravel_index(int(params[layout.P_FAULT_CELL]) - 1, actor.shape)
    cell = tuple(int(i) for i in at)
    now, following = _levels(memory, row, actor)
    # The table is still that of the slice's begin, and the levels swap with every stage.
    if ((step - int(memory.table[row, layout.C_STEP])) * len(actor.stages) + stage) % 2:
        now, following = following, now
    why = explain(actor, stage, now, following, params[: actor.n_values], step, cell)
    why = why or f"the update raised in step {step}, at the cell {actor._cell_of(cell)}"
    return f"in slot {slot}, {why}"


def _run_thread(
    kernel: weakref.ref[CpuKernel],
    actors: Sequence[Actor],
    memory: LaneMemory,
    host: layout.Words,
    rank: int,
    stepper: Stepper | None,
) -> None:
    """Body of every kernel thread: the compiled loop of a leader (rank 0) or a member; or `lead`."""
    # Not in one cache line with what another thread writes.
    scratch = layout.lines(layout.LINE)[:8]
    try:
        if stepper is not None:
            try:
                lead(memory, host, stepper, partial(_levels, memory, 0, actors[0], writable=True))
            finally:
                stepper.close()
                store_word(memory.control, layout.STATE, layout.LANE_STOPPED)
        elif rank > 0:
            run_member(
                memory.control,
                memory.h2k,
                memory.k2h,
                memory.table,
                memory.team,
                memory.facts,
                host,
                scratch,
                rank,
            )
        else:
            run_leader(
                memory.control,
                memory.h2k,
                memory.k2h,
                memory.table,
                memory.links,
                memory.words,
                memory.params,
                memory.params_in,
                memory.team,
                memory.facts,
                host,
                scratch,
                layout.lines(layout.LINE)[:8],
            )
            fault = _fault_of(memory, actors)
            if fault and (owner := kernel()) is not None:
                owner.fail(fault)
    except RingnbError as error:  # it was lost elsewhere
        # Unless `stop` has it end: that says why.
        if not load_word(memory.control, layout.STOP) and (owner := kernel()) is not None:
            owner.fail(str(error))
    except BaseException as error:
        if rank == 0:  # members look for it when they wake; nobody else tells them
            store_word(memory.control, layout.STATE, layout.LANE_STOPPED)
        owner = kernel()
        if owner is not None:
            owner.fail(f"kernel thread {threading.current_thread().name} died: {error!r}")
        if rank > 0:
            # The others may wait at a barrier for this one, which has arrived at all of them now. What
            # they have computed is not shown to anybody: the leader finds a fault, and ends.
            memory.params[:, layout.P_FAULT_CELL] = -1.0
            store_word(memory.control, layout.STOP, 1)
            at = layout.TEAM_MEMBERS + rank * layout.MEMBER_WORDS
            store_word(memory.team, at + layout.M_ARRIVE, layout.MEMBER_GONE)
        raise
