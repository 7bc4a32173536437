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

from ringnb._support.off_main import check_interrupted
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

    With a `sink`, the thread that takes the reply off the ring gives it to that instead.
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
    """Sends commands to a launched kernel, as the only consumer of its replies. Any thread."""

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
        """Send a `Command` with up to four arguments; its reply goes to `sink`, or to `wait_reply`.

        It waits `timeout_s` seconds for room on the H2K ring, then QueueFull; KernelStopped if the
        kernel does not run. `spin_ns`: look for a reply so long before returning; only for the thread
        that has the pump.
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
                    check_interrupted()
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
        """Send a command and wait for its reply, `timeout_s` seconds in all; return a successful reply.

        CommandRefused if the kernel answers with an error status; TimeoutError without an answer in
        time (the command may still be carried out later); KernelStopped if the kernel does not run.
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
        """Wait for the reply to a command sent with `submit` and no sink; errors as `call`."""
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

        Yields ``send(slot, kind, arguments)``, which sends the command that reads the buffers. Give
        what it returns to `wait_reply` within the block.
        """

        def send(slot: int, kind: int, arguments: Sequence[int] = ()) -> PendingCommand:
            """Send the command, and remember that it reads the buffers until it is answered."""
            check_interrupted()  # the last moment at which nothing has changed
            pending = self._loads[lane] = self.submit(slot, kind, arguments)
            return pending

        with self._load_locks[lane]:
            # The load of a caller that was interrupted may still be under way, and reads the buffers.
            earlier = self._loads[lane]
            if earlier is not None and earlier.reply is None:
                self.wait_until(lambda: earlier.reply is not None, None)
            yield send

    def wait_until(self, condition: Callable[[], bool], timeout_s: float | None) -> bool:
        """Take replies off the rings until a condition holds; return whether it does.

        The condition is cheap and free of side effects, and called from this thread. A `timeout_s` of
        None waits as long as the kernel runs; KernelStopped if it stops first.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not condition():
            check_interrupted()
            self.kernel.check_alive()
            left = _POLL_S if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return False
            self.pump(min(left, _POLL_S), condition)
        return True

    def pump(self, timeout_s: float, until: Callable[[], bool] = lambda: False) -> None:
        """Take replies off the rings, or sleep while another thread does, until one was dispatched.

        `timeout_s`: seconds to wait for the first one; 0 only takes what is there. `until`: what the
        caller waits for; another thread may have taken the reply that brings it about.
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
