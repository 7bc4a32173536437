"""Asks a kernel for things and finds the answers: matches replies to commands, on any thread.

Whoever waits for an answer takes the replies off the rings for everybody (the *pump*); all others
sleep on a condition until theirs has come or the pump is free. So a call needs no service thread,
costs microseconds when nobody else listens, and works the same beside one.

Command ids are this module's own. They are never a snapshot's request id: those belong to the
manager, and the two sequences drift apart at the first other command.

Interrupts: a reply is applied before it is taken off the ring, and applying it twice changes nothing,
so a `KeyboardInterrupt` at any point loses none.
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

__all__ = ["KernelClient", "Ticket"]

ReplySink = Callable[[Reply], None]

_SPIN_NS = 20_000
_POLL_S = 0.05
DEFAULT_TIMEOUT_S = 30.0


@final
class Ticket:
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
        self._tickets: dict[int, Ticket] = {}
        self._pump = threading.Lock()
        self._arrived = threading.Condition()
        self._load_locks = [threading.RLock() for _ in range(kernel.lanes)]
        self._loads: list[Ticket | None] = [None] * kernel.lanes
        self.replies = 0

    def submit(
        self,
        slot: int,
        kind: int,
        arguments: Sequence[int] = (),
        *,
        sink: ReplySink | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Ticket:
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

        Returns
        -------
        Ticket
            To be given to `wait_reply`.

        Raises
        ------
        QueueFull
            If the ring stays full for `timeout_s`.
        KernelStopped
            If the kernel does not run.
        """
        return self._submit(slot, kind, arguments, sink, timeout_s, 0)

    def _submit(
        self,
        slot: int,
        kind: int,
        arguments: Sequence[int],
        sink: ReplySink | None,
        timeout_s: float,
        spin_ns: int,
    ) -> Ticket:
        ticket = Ticket(next(self._ids), slot, kind, sink)
        lane = self.kernel.lane_of(slot)
        # Registered before the push: the reply may be there before push_nowait returns.
        self._tickets[ticket.command_id] = ticket
        deadline = None
        try:
            while True:
                try:
                    self.kernel.push_nowait(
                        lane, kind, ticket.command_id, slot, arguments, spin_ns=spin_ns
                    )
                except QueueFull:
                    now = time.monotonic()
                    deadline = deadline or now + timeout_s
                    if now >= deadline:
                        raise
                    # Replies that nobody takes keep the kernel from reading commands.
                    self._turn(min(0.001, deadline - now))
                else:
                    return ticket
        except BaseException:
            self._tickets.pop(ticket.command_id, None)
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
        if self._pump.acquire(blocking=False):
            try:
                ticket = self._submit(slot, kind, arguments, None, timeout_s, _SPIN_NS)
                self._dispatch()
            finally:
                self._release_pump()
        else:
            ticket = self._submit(slot, kind, arguments, None, timeout_s, 0)
        return self.wait_reply(ticket, timeout_s)

    def wait_reply(self, ticket: Ticket, timeout_s: float = DEFAULT_TIMEOUT_S) -> Reply:
        """Wait for the reply to a command sent with `submit`.

        Parameters
        ----------
        ticket : Ticket
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
        if ticket.reply is None and not self.wait_until(
            lambda: ticket.reply is not None, timeout_s
        ):
            why = "its lane is busy with a very long step. Wait longer, or use more lanes"
            if self.kernel.gate(self.kernel.lane_of(ticket.slot)) != Gate.OPEN:
                why = "a crank has stopped its lane. Turn the crank until it is idle, or close it"
            msg = (
                f"the kernel did not answer {_name(ticket.kind)} to slot {ticket.slot} within "
                f"{timeout_s:g} s: {why}"
            )
            raise TimeoutError(msg)
        reply = ticket.reply
        assert reply is not None  # wait_until saw it
        if not reply.ok:
            status = Status(reply.status)
            msg = f"{_name(ticket.kind)} to slot {ticket.slot} was refused: {status.sentence}"
            raise CommandRefused(msg, status)
        return reply

    @contextlib.contextmanager
    def loading(self, lane: int) -> Iterator[Callable[..., Reply]]:
        """Own a lane's restore and parameter buffers for the length of a ``with`` block.

        Parameters
        ----------
        lane : int
            The lane.

        Yields
        ------
        callable
            ``load(slot, kind, arguments)``: sends the command that reads the buffers and waits for
            its reply.

        Notes
        -----
        A load whose caller was interrupted may still be under way; the next owner waits for it
        before it touches the buffers.
        """

        def load(slot: int, kind: int, arguments: Sequence[int] = ()) -> Reply:
            """Send the command and wait for its reply."""
            ticket = self._loads[lane] = self.submit(slot, kind, arguments)
            return self.wait_reply(ticket)

        with self._load_locks[lane]:
            earlier = self._loads[lane]
            if earlier is not None and earlier.reply is None:
                self.wait_until(lambda: earlier.reply is not None, None)
            yield load

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
        while True:
            if condition():
                return True
            self.kernel.check_alive()
            left = _POLL_S if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return False
            self._turn(min(left, _POLL_S), condition)

    def pump(self, timeout_s: float, until: Callable[[], bool] | None = None) -> None:
        """Take replies off the rings, waiting for the first one.

        Parameters
        ----------
        timeout_s : float
            Seconds to wait; 0 only takes what is there.
        until : callable, optional
            What the caller waits for. Another thread may have taken the reply that brings it about.
        """
        self._turn(timeout_s, until)

    def _turn(self, timeout_s: float, condition: Callable[[], bool] | None = None) -> None:
        """Be the pump for a while if nobody is, else sleep until a reply was dispatched."""
        if self._pump.acquire(blocking=False):
            try:
                taken = self._dispatch()
                if timeout_s > 0 and not taken and not (condition is not None and condition()):
                    self.kernel.wait(timeout_s, _SPIN_NS)
                    self._dispatch()
            finally:
                self._release_pump()
        else:
            with self._arrived:
                # A pump that was given up since we asked has notified already: do not sleep then,
                # or nobody takes replies, nor hears `AbstractKernel.wake`.
                if (
                    timeout_s > 0
                    and self._pump.locked()
                    and not (condition is not None and condition())
                ):
                    self._arrived.wait(timeout_s)

    def _release_pump(self) -> None:
        self._pump.release()
        with self._arrived:
            self._arrived.notify_all()  # somebody else may have to take over

    def _dispatch(self) -> int:
        """Apply every reply on the rings, then take it off; return how many. Needs the pump."""
        before = self.replies
        for lane in range(self.kernel.lanes):
            while (reply := self.kernel.peek(lane)) is not None:
                ticket = self._tickets.get(reply.command_id)
                if ticket is not None:
                    if ticket.sink is not None:
                        ticket.sink(reply)
                    else:
                        ticket.reply = reply
                    self._tickets.pop(reply.command_id, None)
                self.kernel.advance(lane)
                self.replies += 1
        return self.replies - before

    @property
    def outstanding(self) -> int:
        """Commands that were sent and not answered yet."""
        return len(self._tickets)


def _name(kind: int) -> str:
    try:
        return Command(kind).name
    except ValueError:
        return f"command {kind}"
