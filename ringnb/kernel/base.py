"""What every backend offers the host: launch, two rings per lane, staging, stop.

`AbstractKernel` is the seam between a place where actors run and the code that drives them
(`ringnb.kernel.client`). It carries raw commands and replies; it knows neither checkpoints nor storage.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ringnb.actors.base import Actor
from ringnb.errors import KernelStopped
from ringnb.kernel.deal import Deal
from ringnb.messages.commands import Reply

__all__ = [
    "AbstractKernel",
    "ActorCounters",
    "Gate",
    "KernelStatistics",
    "Progress",
    "QueueFull",
    "SharedWords",
    "SnapshotFacts",
]


class QueueFull(Exception):
    """A lane's H2K ring holds as many commands as it can; the kernel has not read them yet."""


class Gate(IntEnum):
    """Where a lane is stopped, so that a snapshot can be watched on its way.

    Attributes
    ----------
    OPEN : int
        Nowhere.
    COMMANDS : int
        Commands that are sent from then on stay on the H2K ring; actors step on.
    ANSWERS : int
        A snapshot that was captured stays in its staging buffer and is not answered; the lane, with
        all its actors, waits until another gate is set.
    """

    OPEN = 0
    COMMANDS = 1
    ANSWERS = 2


class ActorCounters(NamedTuple):
    """Counters of one actor, as the kernel last published them.

    Attributes
    ----------
    step, budget, epoch, snapshots : int
        Steps taken, steps still to take, how often the state was replaced, snapshots captured.
    running, exists : bool
        Whether it steps (free or on a budget), and whether the slot holds an actor.
    last_stall_ns, busy_ns : int
        How long the last capture took, and the time spent stepping, nanoseconds.
    """

    step: int
    budget: int
    running: bool
    epoch: int
    exists: bool
    snapshots: int
    last_stall_ns: int
    busy_ns: int


class Progress(NamedTuple):
    """Where all actors are, by slot, as the kernel last published it.

    Attributes
    ----------
    steps, epochs : (actors,) int64 array
        As in `ActorCounters`.
    running : (actors,) bool array
        Whether each runs freely or has steps to go.
    """

    steps: npt.NDArray[np.int64]
    epochs: npt.NDArray[np.int64]
    running: npt.NDArray[np.bool_]


class SnapshotFacts(NamedTuple):
    """What the kernel wrote behind a snapshot in its staging buffer.

    Attributes
    ----------
    checksum, step, epoch, begin_ns, end_ns, actor_slot : int
        See `ringnb.kernel.layout`; `end_ns` - `begin_ns` is the stall that the actor saw.
    """

    checksum: int
    step: int
    epoch: int
    begin_ns: int
    end_ns: int
    actor_slot: int


class SharedWords(NamedTuple):
    """The words that host and kernel share about a lane, for looking at.

    Attributes
    ----------
    control : (CTL_WORDS,) int64 array
        Indices of the rings and the rest, see `ringnb.kernel.layout`.
    h2k, k2h : (capacity, 8) int64 arrays
        The slots of the rings, see `ringnb.messages.commands`.
    """

    control: npt.NDArray[np.int64]
    h2k: npt.NDArray[np.int64]
    k2h: npt.NDArray[np.int64]


class KernelStatistics(NamedTuple):
    """Sizes and depths of a kernel.

    Attributes
    ----------
    lanes, width, ring_capacity : int
        Lanes, threads (or blocks) per lane, slots per ring.
    h2k_depth, k2h_depth : tuple of int
        Messages waiting, per lane.
    staging_taken : tuple of int
        Staging buffers that hold a snapshot, per lane.
    asleep : tuple of bool
        Whether the lane sleeps because it has nothing to do.
    loops : tuple of int
        Turns of the lane's loop: a heartbeat.
    """

    lanes: int
    width: int
    ring_capacity: int
    h2k_depth: tuple[int, ...]
    k2h_depth: tuple[int, ...]
    staging_taken: tuple[int, ...]
    asleep: tuple[bool, ...]
    loops: tuple[int, ...]


class AbstractKernel(ABC):
    """One long-running launch that hosts actors.

    Parameters
    ----------
    actors : sequence of Actor
        The actor of every slot, in slot order.

    Notes
    -----
    `push_nowait` may be called from any thread. `peek`, `advance` and `wait` belong to one thread at
    a time; `ringnb.kernel.client.KernelClient` sees to that.
    """

    name: str
    deal: Deal
    """Which lane each actor is in, and which actors are linked."""
    patience_s = 10.0
    """How many seconds `stop` waits for a step that is being computed."""

    def __init__(self, actors: Sequence[Actor]) -> None:
        self.actors = tuple(actors)
        self._stopped_because: str | None = None
        self._stop_lock = threading.Lock()

    @abstractmethod
    def launch(self) -> None:
        """Start the kernel. It runs until `stop`."""

    @abstractmethod
    def lane_of(self, slot: int) -> int:
        """Return the lane that owns a slot."""

    @property
    @abstractmethod
    def lanes(self) -> int:
        """Number of lanes."""

    @abstractmethod
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
        """Append a command to a lane's H2K ring without waiting for room.

        Parameters
        ----------
        lane : int
            The lane.
        kind, command_id, slot : int
            See `ringnb.messages.commands`.
        arguments : sequence of int
            Up to four.
        spin_ns : int, default 0
            Nanoseconds to look for a reply before returning. Only for the thread that may `peek`.

        Raises
        ------
        QueueFull
            If the ring has no free slot.
        KernelStopped
            If the kernel does not run.
        """

    @abstractmethod
    def pushed(self, lane: int) -> int:
        """Return how many commands were appended to a lane's H2K ring until now. Any thread, cheap."""

    @abstractmethod
    def peek(self, lane: int) -> Reply | None:
        """Return the oldest reply on a lane's K2H ring and leave it there; None if there is none."""

    @abstractmethod
    def advance(self, lane: int) -> Reply | None:
        """Take the oldest reply off a lane's K2H ring; return the next one, as `peek` does."""

    @abstractmethod
    def wait(self, timeout_s: float, spin_ns: int = 0) -> bool:
        """Wait until a reply is there, `wake` is called, or the time is up.

        Parameters
        ----------
        timeout_s : float
            Seconds to wait at most.
        spin_ns : int, default 0
            Nanoseconds to spin before sleeping.

        Returns
        -------
        bool
            Whether a reply waits.
        """

    @abstractmethod
    def wake(self) -> None:
        """End another thread's `wait` early. Any thread."""

    @abstractmethod
    def counters(self, slot: int) -> ActorCounters:
        """Return an actor's counters without asking the kernel. Any thread."""

    def progress(self) -> Progress:
        """Return where every actor is, by slot: copies. Any thread.

        This default asks for the counters of each; override it where that is slow.
        """
        counters = [self.counters(slot) for slot in range(len(self.actors))]
        return Progress(
            np.array([c.step for c in counters], np.int64),
            np.array([c.epoch for c in counters], np.int64),
            np.array([c.running for c in counters], np.bool_),
        )

    @abstractmethod
    def staged(self, lane: int, index: int, slot: int) -> tuple[Any, SnapshotFacts]:
        """Return what a snapshot put into a staging buffer.

        Parameters
        ----------
        lane, index, slot : int
            The lane, the staging buffer (a SNAPSHOT reply's value), the actor.

        Returns
        -------
        state : (levels, fields, *grid) array
            A read-only view; it stays as it is until `release_staging`. Where fields have several
            dtypes, ``state[level, field]`` is an array ``(*grid)``.
        facts : SnapshotFacts
            What the kernel recorded.
        """

    @abstractmethod
    def staged_params(self, lane: int, index: int, slot: int) -> dict[str, float]:
        """Return the parameters that were captured with a snapshot, by name."""

    @abstractmethod
    def staged_reductions(self, lane: int, index: int, slot: int) -> dict[str, float]:
        """Return what an actor's reductions were of a captured state, by name."""

    @abstractmethod
    def staged_checksum(self, lane: int, index: int, slot: int) -> int:
        """Compute the checksum of a staging buffer as it is now."""

    @abstractmethod
    def release_staging(self, lane: int, index: int) -> None:
        """Give a staging buffer back to the kernel. Any thread, once per snapshot."""

    @abstractmethod
    def restore_buffer(self, slot: int) -> Any:
        """Return the buffer that a RESTORE to this slot reads, as (levels, fields, *grid), writable.

        It is one buffer per lane: own it (`KernelClient.loading`) from asking for it until the reply
        is there. What it holds afterwards is undefined, and it may be another buffer next time.
        """

    @abstractmethod
    def region_buffer(
        self, slot: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> npt.NDArray[Any]:
        """Return the beginning of the restore buffer, where a region's values lie, as such an array.

        Own it as the whole, from asking for it until the reply to READ_REGION or WRITE_REGION is there.
        """

    @abstractmethod
    def params_buffer(self, slot: int) -> npt.NDArray[np.float64]:
        """Return the writable parameters that a RESTORE or SET_PARAMS to this slot reads."""

    @abstractmethod
    def staging_taken(self, lane: int) -> int:
        """Return how many of a lane's staging buffers hold a snapshot. Any thread, cheap."""

    @abstractmethod
    def statistics(self) -> KernelStatistics:
        """Return sizes and depths. Any thread."""

    @abstractmethod
    def set_gate(self, lane: int, gate: Gate) -> None:
        """Stop a lane at a point of a snapshot's way, or let it continue. Any thread."""

    @abstractmethod
    def gate(self, lane: int) -> Gate:
        """Return where a lane is stopped. Any thread."""

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether the kernel runs."""

    @abstractmethod
    def stop(self, reason: str = "the kernel was closed") -> None:
        """End the kernel and wait for it. Idempotent, any thread.

        Parameters
        ----------
        reason : str
            What later calls are told.

        Raises
        ------
        TimeoutError
            If a step does not end within `patience_s`: it is left running, and the kernel counts as
            stopped.
        """

    @property
    def stopped_because(self) -> str | None:
        """Why the kernel does not run, or None while it does."""
        return None if self.alive else (self._stopped_because or "the kernel was never launched")

    def release(self) -> None:  # noqa: B027 - a kernel that holds nothing need not do anything
        """Let go of states and descriptors after `stop`; counters can still be read. Any thread."""

    def check_alive(self) -> None:
        """Raise if the kernel does not run.

        Raises
        ------
        KernelStopped
            With the reason and the remedy.
        """
        if not self.alive:
            msg = (
                f"The kernel does not run: {self.stopped_because}. Start a new Session; "
                "committed checkpoints can be restored into it"
            )
            raise KernelStopped(msg)
