"""Asks a kernel for things and finds the answers: matches replies to commands, on any thread.

A thread that waits for an answer takes the replies off the rings for all threads (the *pump*); the
others sleep on a condition until theirs has come or the pump is free. So a call needs no service
thread, costs microseconds when no other thread listens, and works the same beside one.

Command ids are this module's own. They are never a snapshot's request id: those belong to the
manager, and the two sequences drift apart at the first other command.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import final

from ringnb.errors import CommandRefused, Status
from ringnb.kernel.base import AbstractKernel, Gate, QueueFull
from ringnb.messages.commands import Command, Reply

__all__ = ["KernelClient", "PendingCommand"]

ReplySink = Callable[[Reply], None]

_SPIN_NS = 20_000
_POLL_S = 0.05
_FULL_RING_POLL_S = 0.001
DEFAULT_TIMEOUT_S = 30.0


@final
class PendingCommand:
    """A command that was sent; `reply` is there once it was answered.

    Parameters
    ----------
    command_id : int
        The id that the reply will carry.
    slot : int
        The actor asked.
    kind : Command
        What was asked.
    sink : callable, optional
        Called with the reply, by the thread that took it off the ring, instead of keeping it.
    """

    __slots__ = ("command_id", "kind", "reply", "sink", "slot")

    def __init__(self, command_id: int, slot: int, kind: int, sink: ReplySink | None) -> None:
        self.command_id = command_id
        self.slot = slot
        self.kind = kind
        self.sink = sink
        self.reply: Reply | None = None


@final
class KernelClient:
    """Sends commands to a kernel and waits for replies.

    Parameters
    ----------
    kernel : AbstractKernel
        A launched kernel. The client is its only consumer of replies.

    Notes
    -----
    Every method may be called from any thread.
    """

    def __init__(self, kernel: AbstractKernel) -> None:
        self.kernel = kernel
        self._ids = itertools.count(1)
        self._pending: dict[int, PendingCommand] = {}
        self._pump = threading.Lock()
        self._arrived = threading.Condition()
        self._load_locks = [threading.RLock() for _ in range(kernel.lanes)]
        self._loads: list[PendingCommand | None] = [None] * kernel.lanes
        self.replies = 0

    def submit(
        self,
        slot: int,
        kind: int,
        arguments: Sequence[int] = (),
        *,
        sink: ReplySink | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        spin_ns: int = 0,
    ) -> PendingCommand:
        """Send a command.

        Parameters
        ----------
        slot : int
            The actor.
        kind : int
            A `Command`.
        arguments : sequence of int
            Up to four.
        sink : callable, optional
            Receives the reply.
        timeout_s : float
            Seconds to wait for room on the H2K ring.
        spin_ns : int, default 0
            Nanoseconds to look for a reply before returning. Only for the thread that has the pump.

        Returns
        -------
        PendingCommand
            To be given to `wait_reply`.

        Raises
        ------
        QueueFull
            If the ring stays full for `timeout_s`.
        KernelStopped
            If the kernel does not run.
        """
        command_id = next(self._ids)
        # Registered before the push: the reply may be there before push_nowait returns.
        pending = self._pending[command_id] = PendingCommand(command_id, slot, kind, sink)
        lane = self.kernel.lane_of(slot)
        deadline = None
        try:
            while True:
                try:
                    self.kernel.push_nowait(
                        lane, kind, command_id, slot, arguments, spin_ns=spin_ns
                    )
                except QueueFull:
                    now = time.monotonic()
                    deadline = deadline or now + timeout_s
                    if now >= deadline:
                        raise
                    # The kernel reads no command while the K2H ring has no room for its reply.
                    self.pump(min(_FULL_RING_POLL_S, deadline - now))
                else:
                    return pending
        except BaseException:
            self._pending.pop(command_id, None)
            raise

    def call(
        self,
        slot: int,
        kind: int,
        arguments: Sequence[int] = (),
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Reply:
        """Send a command and wait for its reply.

        Parameters
        ----------
        slot : int
            The actor.
        kind : int
            A `Command`.
        arguments : sequence of int
            Up to four.
        timeout_s : float
            Seconds to wait in all.

        Returns
        -------
        Reply
            A successful reply.

        Raises
        ------
        CommandRefused
            If the kernel answers with an error status.
        TimeoutError
            If no answer comes in time. The command may still be carried out later.
        KernelStopped
            If the kernel does not run, or stops meanwhile.
        """
        pending: PendingCommand | None = None
        if self._pump.acquire(blocking=False):
            try:
                # No time to wait for room: while this thread has the pump, no other takes replies.
                try:
                    pending = self.submit(slot, kind, arguments, timeout_s=0, spin_ns=_SPIN_NS)
                except QueueFull:
                    pending = None
                self._dispatch()
            finally:
                self._release_pump()
        if pending is None:
            pending = self.submit(slot, kind, arguments, timeout_s=timeout_s)
        return self.wait_reply(pending, timeout_s)

    def wait_reply(self, pending: PendingCommand, timeout_s: float = DEFAULT_TIMEOUT_S) -> Reply:
        """Wait for the reply to a command sent with `submit`.

        Parameters
        ----------
        pending : PendingCommand
            What `submit` returned, with no sink.
        timeout_s : float
            Seconds to wait.

        Returns
        -------
        Reply
            A successful reply.

        Raises
        ------
        CommandRefused, TimeoutError, KernelStopped
            As `call`.
        """
        if pending.reply is None and not self.wait_until(
            lambda: pending.reply is not None, timeout_s
        ):
            why = "its lane is busy with a very long step. Wait longer, or use more lanes"
            if self.kernel.gate(self.kernel.lane_of(pending.slot)) != Gate.OPEN:
                why = "a crank has stopped its lane. Turn the crank until it is idle, or close it"
            msg = (
                f"the kernel did not answer {_name(pending.kind)} to slot {pending.slot} within "
                f"{timeout_s:g} s: {why}"
            )
            raise TimeoutError(msg)
        reply = pending.reply
        assert reply is not None  # wait_until saw it
        if not reply.ok:
            status = Status(reply.status)
            msg = f"{_name(pending.kind)} to slot {pending.slot} was refused: {status.sentence}"
            raise CommandRefused(msg, status)
        return reply

    @contextlib.contextmanager
    def loading(self, lane: int) -> Iterator[Callable[..., PendingCommand]]:
        """Own a lane's restore and parameter buffers for the length of a ``with`` block.

        Parameters
        ----------
        lane : int
            The lane.

        Yields
        ------
        callable
            ``send(slot, kind, arguments)``: sends the command that reads the buffers. Give what it
            returns to `wait_reply` within the block.
        """

        def send(slot: int, kind: int, arguments: Sequence[int] = ()) -> PendingCommand:
            """Send the command, and remember that it reads the buffers until it is answered."""
            pending = self._loads[lane] = self.submit(slot, kind, arguments)
            return pending

        with self._load_locks[lane]:
            # The load of a caller that was interrupted may still be under way, and reads the buffers.
            earlier = self._loads[lane]
            if earlier is not None and earlier.reply is None:
                self.wait_until(lambda: earlier.reply is not None, None)
            yield send

    def wait_until(self, condition: Callable[[], bool], timeout_s: float | None) -> bool:
        """Take replies off the rings until a condition holds.

        Parameters
        ----------
        condition : callable
            Cheap, free of side effects; called from this thread.
        timeout_s : float or None
            Seconds to wait; None waits as long as the kernel runs.

        Returns
        -------
        bool
            Whether it holds.

        Raises
        ------
        KernelStopped
            If the kernel stops before it holds.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not condition():
            self.kernel.check_alive()
            left = _POLL_S if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return False
            self.pump(min(left, _POLL_S), condition)
        return True

    def pump(self, timeout_s: float, until: Callable[[], bool] = lambda: False) -> None:
        """Take replies off the rings, or sleep while another thread does, until one was dispatched.

        Parameters
        ----------
        timeout_s : float
            Seconds to wait for the first one; 0 only takes what is there.
        until : callable, optional
            What the caller waits for. Another thread may have taken the reply that brings it about.
        """
        if self._pump.acquire(blocking=False):
            try:
                if not self._dispatch() and timeout_s > 0 and not until():
                    self.kernel.wait(timeout_s, _SPIN_NS)
                    self._dispatch()
            finally:
                self._release_pump()
        elif timeout_s > 0:
            with self._arrived:
                # If the pump was given up since we asked for it, its notification is over: a thread
                # that slept now might miss `AbstractKernel.wake`, and no thread would take replies.
                if self._pump.locked() and not until():
                    self._arrived.wait(timeout_s)

    def _release_pump(self) -> None:
        self._pump.release()
        with self._arrived:
            self._arrived.notify_all()  # one of the others may have to take over

    def _dispatch(self) -> bool:
        """Apply every reply on the rings; return whether there was one. Needs the pump."""
        before = self.replies
        for lane in range(self.kernel.lanes):
            while (reply := self.kernel.peek(lane)) is not None:
                # Applied before it is taken off the ring, and twice does no harm: a
                # `KeyboardInterrupt` at any point here loses no reply.
                pending = self._pending.get(reply.command_id)
                if pending is not None:
                    if pending.sink is not None:
                        pending.sink(reply)
                    else:
                        pending.reply = reply
                    self._pending.pop(reply.command_id, None)
                self.kernel.advance(lane)
                self.replies += 1
        return self.replies != before

    @property
    def outstanding(self) -> int:
        """Commands that were sent and not answered yet."""
        return len(self._pending)


def _name(kind: int) -> str:
    try:
        return Command(kind).name
    except ValueError:
        return f"command {kind}"
