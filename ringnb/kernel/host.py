"""The host's side of a kernel's lanes: rings, counters, staging, statistics.

Every backend has it, as the words of a lane lie where the host can read them, in memory of its own or
pinned and mapped. The writer of every word is named in `ringnb.kernel.layout`.
"""

from __future__ import annotations

import os
import threading
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from ringnb._support.checks import check_int
from ringnb.actors.base import MAX_PARAMS, Actor
from ringnb.errors import KernelStopped
from ringnb.kernel import layout, registry, ring
from ringnb.kernel.base import (
    AbstractKernel,
    ActorCounters,
    Gate,
    KernelStatistics,
    Progress,
    QueueFull,
    SharedWords,
    SnapshotFacts,
)
from ringnb.kernel.caching import direct
from ringnb.kernel.checksum import checksum_words
from ringnb.kernel.deal import Deal
from ringnb.kernel.layout import LINE
from ringnb.kernel.ring import bump, load_word, replies_waiting, store_word
from ringnb.messages.commands import Reply

__all__ = ["LaneKernel", "check_sizes"]

_NO_ARGUMENTS = (0, 0, 0, 0)


class _StagingViews(NamedTuple):
    """A staging buffer as the snapshots of one actor lie in it, see `ringnb.kernel.layout`."""

    state: Any  # (levels, fields, *grid), read-only
    names: tuple[str, ...]  # of the parameters
    params: npt.NDArray[np.float64]  # as many as there are names
    reduced: npt.NDArray[np.float64]  # what the reductions are, behind the parameters
    facts: layout.Words  # a `SnapshotFacts`
    address: int
    words: int  # that the checksum covers, from the address on


class LaneKernel(AbstractKernel):
    """A kernel whose rings, control words and staging buffers the host can address.

    It has `lanes` lanes with `width` threads or blocks each and rings of `capacity` slots, a power of
    two; `deal` says which actors are in which.
    """

    lost_in_fork = "threads"
    _memory: Sequence[Any]
    """Per lane: control, h2k, k2h, words, params_in, staging."""
    _controls: Sequence[layout.Words]
    """Per lane: its control words."""
    ports: Sequence[layout.Words]
    """Per lane: see `ringnb.kernel.ring`."""

    def __init__(
        self, actors: Sequence[Actor], deal: Deal, lanes: int, width: int, capacity: int
    ) -> None:
        super().__init__(actors)
        self.deal = deal
        deal.out(lanes)
        self._n_lanes = lanes
        self._width = width
        self._capacity = capacity
        self._pid = os.getpid()
        self._launched = False
        self._to_end = False  # something of it may still run
        self._views: dict[tuple[int, int], _StagingViews] = {}  # by staging buffer and slot
        self._push_locks = [threading.RLock() for _ in range(lanes)]
        self._peeked: list[Reply | None] = [None] * lanes  # seen already, and still there

    def _open_ports(self) -> None:
        """Prepare the host's side of the rings in `_memory`, which stays where it is from now on."""
        self._push = direct(ring.push, ring.PORT, *(types.int64,) * 8)
        self._peek, self._advance = (direct(f, ring.PORT) for f in (ring.peek, ring.advance))
        self._controls = [lane.control for lane in self._memory]
        self.ports = [ring.open_port(lane.control, lane.h2k, lane.k2h) for lane in self._memory]
        self._answers = [port[ring.REPLY :] for port in self.ports]

    @property
    def lanes(self) -> int:
        """Number of lanes."""
        return self._n_lanes

    def lane_of(self, slot: int) -> int:
        """Return the lane that owns a slot."""
        places = self.deal.place_of  # any lane refuses a slot that does not exist
        return places[slot][0] if 0 <= slot < len(places) else 0

    def _row(self, slot: int) -> tuple[Any, int]:
        lane, row = self.deal.place_of[slot]
        return self._memory[lane], row

    # -- life -----------------------------------------------------------------------------------

    @abstractmethod
    def _start(self) -> None:
        """Start what runs."""

    @abstractmethod
    def _end(self) -> None:
        """Wait for the end of what runs; the stop words are set."""

    def launch(self) -> None:
        """Start the kernel. It runs until `stop`; a second launch is a `KernelStopped`."""
        if self._launched:
            msg = "a kernel is launched once, and this one was launched before; make a new one"
            raise KernelStopped(msg)
        registry.enter(self)
        self._launched = self._to_end = True
        try:
            self._start()
        except BaseException:
            self.stop("it could not be launched")
            raise

    @property
    def alive(self) -> bool:
        """Whether the kernel runs in this very process, as far as is known."""
        return self._launched and self._stopped_because is None

    def stop(self, reason: str = "the kernel was closed") -> None:
        """End the kernel and wait for it. Idempotent, any thread.

        TimeoutError if a step does not end: it is left running, and the kernel counts as stopped.
        """
        # A forked child has nothing to end, and may find the lock held.
        if os.getpid() != self._pid:
            self._stopped_because = self._stopped_because or reason
            return
        with self._stop_lock:
            try:
                if self._to_end:
                    # A KeyboardInterrupt in here leaves the stop words set; the next stop() goes on.
                    for control in self._controls:
                        store_word(control, layout.STOP, 1)
                    self._end()
                self._to_end = False
            except TimeoutError:
                registry.leave_running(self)
                self._to_end = False
                raise
            finally:
                self._stopped_because = self._stopped_because or reason
            registry.leave(self)
        self.wake()

    def __del__(self) -> None:
        """End a kernel that no variable refers to."""
        if getattr(self, "_to_end", False):
            self.stop("no variable referred to the kernel any more")

    def set_gate(self, lane: int, gate: Gate) -> None:
        """Stop a lane at a point of a snapshot's way, or let it continue. Any thread."""
        store_word(self._controls[lane], layout.GATE, int(gate))

    def gate(self, lane: int) -> Gate:
        """Return where a lane is stopped. Any thread."""
        return Gate(load_word(self._controls[lane], layout.GATE))

    def fail(self, reason: str) -> None:
        """Record why the kernel does not run any more, for every later call. The first reason stays."""
        self._stopped_because = self._stopped_because or reason
        self.wake()

    def _never_ends(self, what: str) -> TimeoutError:
        """Return what `_end` raises when a step takes too long."""
        return TimeoutError(
            f"{what} is still in a step after {self.patience_s:g} s: the update never ends, or takes "
            "very long. It was left running, with the memory that it uses, and ends with that step "
            "or with this process (in a notebook: restart the kernel)"
        )

    # -- rings ----------------------------------------------------------------------------------

    def push_nowait(
        self,
        lane: int,
        kind: int,
        command_id: int,
        slot: int,
        arguments: Sequence[int] = (),
        *,
        spin_ns: int = 0,
    ) -> None:
        """Append a command to a lane's H2K ring without waiting for room."""
        if self._stopped_because is not None or not self._launched:
            self.check_alive()
        a0, a1, a2, a3 = (*arguments, 0, 0, 0, 0)[:4] if arguments else _NO_ARGUMENTS
        # A ring has one producer: this lock makes Python's threads take turns, for the few hundred
        # nanoseconds of a push.
        with self._push_locks[lane]:
            done = self._push(self.ports[lane], kind, command_id, slot, a0, a1, a2, a3, spin_ns)
        if done == ring.ANSWERED:
            self._peeked[lane] = self._oldest(lane)
        elif done == ring.FULL:
            msg = (
                f"H2K ring of lane {lane} is full ({self._capacity} of {self._capacity} commands): "
                "the kernel has not read them yet. Take replies off the K2H ring (session.receive), "
                "or wait"
            )
            raise QueueFull(msg)

    def pushed(self, lane: int) -> int:
        """Return how many commands were appended to a lane's H2K ring until now. Any thread, cheap."""
        return self._controls[lane].item(layout.H2K_HEAD)  # only this side writes the word

    def peek(self, lane: int) -> Reply | None:
        """Return the oldest reply on a lane's K2H ring and leave it there; None if there is none."""
        reply = self._peeked[lane]
        if reply is None and self._peek(self.ports[lane]):
            reply = self._peeked[lane] = self._oldest(lane)
        return reply

    def advance(self, lane: int) -> Reply | None:
        """Take the oldest reply off a lane's K2H ring; return the next one, as `peek` does."""
        self._peeked[lane] = None  # first: an interrupt must not leave what is on the ring no more
        if self._advance(self.ports[lane]):
            self._peeked[lane] = self._oldest(lane)
        return self._peeked[lane]

    def _oldest(self, lane: int) -> Reply:
        """Return the reply that a compiled function has just copied into a lane's port."""
        # As Reply._make, at half the time.
        return tuple.__new__(Reply, self._answers[lane].tolist())

    def _replies(self) -> bool:
        return any(map(replies_waiting, self._controls))

    # -- what the kernel shows ------------------------------------------------------------------

    def counters(self, slot: int) -> ActorCounters:
        """Return an actor's counters without asking the kernel. Any thread."""
        memory, row = self._row(slot)
        words, base = memory.words, row * layout.ACTOR_WORDS
        # The step is read first: a budget that is read after it is at least as new.
        step = load_word(words, base + layout.W_STEP)
        return ActorCounters(
            step=step,
            budget=load_word(words, base + layout.W_BUDGET),
            running=bool(load_word(words, base + layout.W_RUNNING)),
            epoch=load_word(words, base + layout.W_EPOCH),
            exists=bool(load_word(words, base + layout.W_EXISTS)),
            snapshots=load_word(words, base + layout.W_SNAPSHOTS),
            last_stall_ns=load_word(words, base + layout.W_STALL_NS),
            busy_ns=load_word(words, base + layout.W_BUSY_NS),
        )

    def progress(self) -> Progress:
        """Return where every actor is, by slot: copies. Any thread."""
        steps, epochs, running = np.zeros((3, len(self.actors)), np.int64)
        for lane in range(self._n_lanes):
            to = self.deal.slots[lane]
            n = len(to)
            # Plain loads: an aligned word is never torn, and the next look comes in a second.
            words = self._memory[lane].words[: n * layout.ACTOR_WORDS].reshape(n, -1)
            steps[to], epochs[to] = words[:, layout.W_STEP], words[:, layout.W_EPOCH]
            running[to] = words[:, layout.W_RUNNING]
        return Progress(steps, epochs, running != 0)

    def shared(self, lane: int) -> SharedWords:
        """Return read-only views of the words that host and kernel write; also of a kernel that ended.

        They are not copies: their values change while they are looked at.
        """
        memory = self._memory[lane]
        views = [words.view() for words in (memory.control, memory.h2k, memory.k2h)]
        for view in views:
            view.flags.writeable = False
        return SharedWords(*views)

    def staged(self, lane: int, index: int, slot: int) -> tuple[Any, SnapshotFacts]:
        """Return what a snapshot put into a staging buffer, ``(levels, fields, *grid)``."""
        views = self._views_of(lane, index, slot)
        return views.state, SnapshotFacts._make(views.facts.tolist())

    def staged_params(self, lane: int, index: int, slot: int) -> dict[str, float]:
        """Return the parameters that were captured with a snapshot, by name."""
        views = self._views_of(lane, index, slot)
        return dict(zip(views.names, views.params.tolist(), strict=True))

    def staged_reductions(self, lane: int, index: int, slot: int) -> dict[str, float]:
        """Return what an actor's reductions were of a captured state, by name."""
        views = self._views_of(lane, index, slot)
        return dict(zip(self.actors[slot].reductions, views.reduced.tolist(), strict=True))

    def staged_checksum(self, lane: int, index: int, slot: int) -> int:
        """Compute the checksum of a staging buffer as it is now."""
        views = self._views_of(lane, index, slot)
        return int(checksum_words(views.address, 0, views.words))

    def _views_of(self, lane: int, index: int, slot: int) -> _StagingViews:
        """Return an actor's views of a staging buffer, made at its first snapshot. Any thread."""
        views = self._views.get((index, slot))
        if views is None:
            if not self._memory[lane].staging:
                self.check_alive()  # the memory was released
            block, actor = self._memory[lane].staging[index].view(), self.actors[slot]
            block.flags.writeable = False  # nor are views of it, then
            views = self._views[index, slot] = _StagingViews(
                state=layout.state_view(block, actor),
                names=tuple(actor.params),
                params=layout.params_view(block, actor)[: len(actor.params)],
                reduced=layout.params_view(block, actor)[len(actor.params) : actor.n_values],
                facts=layout.tail_words(block, actor)[: len(SnapshotFacts._fields)],
                address=block.ctypes.data,
                words=layout.staging_tail(actor) // 8 + MAX_PARAMS,
            )
        return views

    def release_staging(self, lane: int, index: int) -> None:
        """Give a staging buffer back to the kernel. Any thread, once per snapshot."""
        # No lock: the garbage collector may run this on a thread that is anywhere, with any lock held.
        bump(self._controls[lane], layout.RETURNED + index * LINE)

    def region_buffer(
        self, slot: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> npt.NDArray[Any]:
        """Return the beginning of the restore buffer, where a region's values lie, as such an array."""
        if not self._memory[self.lane_of(slot)].staging:
            self.check_alive()  # the memory was released
        return np.ndarray(shape, dtype, buffer=self._memory[self.lane_of(slot)].restore)

    def params_buffer(self, slot: int) -> npt.NDArray[np.float64]:
        """Return the writable parameters that a RESTORE or SET_PARAMS to this slot reads."""
        memory, row = self._row(slot)
        view: npt.NDArray[np.float64] = memory.params_in[row]
        return view

    def staging_taken(self, lane: int) -> int:
        """Return how many of a lane's staging buffers hold a snapshot. Any thread, cheap."""
        control = self._controls[lane]
        taken = 0
        for line in range(0, layout.STAGING_BUFFERS * LINE, LINE):
            # What was given back is read first: the difference may lag, but is never negative.
            taken -= load_word(control, layout.RETURNED + line)
            taken += load_word(control, layout.TAKEN + line)
        return taken

    def statistics(self) -> KernelStatistics:
        """Return sizes and depths. Any thread."""
        h2k, k2h, staging, asleep, loops = [], [], [], [], []
        for lane, control in enumerate(self._controls):
            # The reader's index first, likewise; more may be pushed and read in between.
            tail = load_word(control, layout.H2K_TAIL)
            h2k.append(min(load_word(control, layout.H2K_HEAD) - tail, self._capacity))
            k2h.append(replies_waiting(control))
            staging.append(self.staging_taken(lane))
            asleep.append(bool(load_word(control, layout.ASLEEP)))
            loops.append(load_word(control, layout.LOOPS))
        return KernelStatistics(
            lanes=self._n_lanes,
            width=self._width,
            ring_capacity=self._capacity,
            h2k_depth=tuple(h2k),
            k2h_depth=tuple(k2h),
            staging_taken=tuple(staging),
            asleep=tuple(asleep),
            loops=tuple(loops),
        )


def check_sizes(deal: Deal, lanes: object, capacity: object) -> None:
    """Check what every backend asks of a kernel's numbers; `TypeError` or `ValueError` if one fails."""
    if not deal.groups:
        msg = "a kernel needs at least 1 actor, got none"
        raise ValueError(msg)
    why = "at most one lane per actor, or group of linked ones"
    check_int(lanes, "lanes", 1, len(deal.groups), why=why)
    slots = check_int(capacity, "ring capacity", 2, 2**16, why="slots of a ring")
    if slots & (slots - 1):
        msg = f"ring capacity {slots} is not a power of two: use 64, say"
        raise ValueError(msg)
