"""Asks a kernel for things and finds the answers: matches replies to commands, on any thread.

A thread that waits for an answer takes the replies off the rings for all threads (the *pump*); the
others sleep on a condition until theirs has come or the pump is free. So a call needs no service
thread, costs microseconds when no other thread listens, and works the same beside one.

What is true of an actor is what the kernel has confirmed, in the order of its replies: what a command
brings about is noted by its *sink*, which the pump calls as the reply comes off the ring, and not by
the caller, who may be interrupted at any line. A command's id is its place on the H2K ring, counted from
1 in each lane; so the ring itself says whether a command was sent whose sender was interrupted. (Ids are
never a snapshot's request id: those belong to the manager.)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import final

from ringnb._support.off_main import check_interrupted
from ringnb.errors import CommandRefused, Status
from ringnb.kernel.base import AbstractKernel, Gate, QueueFull
from ringnb.messages.commands import Command, Reply

__all__ = ["KernelClient", "PendingCommand"]

ReplySink = Callable[[Reply], None]

_HELD = int(Command.HELD)
_HELD_AT = int(Command.HELD_AT)
_SPIN_NS = 20_000
_POLL_S = 0.05
_FULL_RING_POLL_S = 0.001
DEFAULT_TIMEOUT_S = 30.0


@final
class PendingCommand:
    """A command on its way; `reply` is there once it was answered.

    The thread that takes the reply off the ring first gives it to the `sink`, in the order of the ring.
    An interrupt may make it do so twice, so a sink must be idempotent; it must neither block nor raise.
    """

    __slots__ = ("command_id", "kind", "reply", "sink", "slot")

    def __init__(self, slot: int, kind: int, sink: ReplySink | None = None) -> None:
        self.command_id = 0  # until it is being pushed
        self.slot = slot
        self.kind = kind
        self.sink = sink
        self.reply: Reply | None = None


@final
class KernelClient:
    """Sends commands to a launched kernel, as the only one, and takes its replies. Any thread."""

    # A KeyboardInterrupt, or another exception of a signal handler, can come after any call.
    # A lock is therefore taken by a plain `with`, which leaves no gap, or released by the first call of
    # a `finally` whose `try` was entered before the lock was taken.

    def __init__(self, kernel: AbstractKernel) -> None:
        self.kernel = kernel
        lanes = range(kernel.lanes)
        self._pending: list[dict[int, PendingCommand]] = [{} for _ in lanes]  # by command id
        self._push_locks = [threading.RLock() for _ in lanes]
        self._pump = threading.RLock()
        self._pumping = False  # whether a thread has the pump
        self._arrived = threading.Condition()
        self._load_locks = [threading.RLock() for _ in lanes]
        self._loads: list[PendingCommand | None] = [None for _ in lanes]
        self.replies = 0
        # Called like a sink, with the replies that tell that an actor waits.
        self.on_held: ReplySink = _nobody
        self.on_held_at: ReplySink = _nobody

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
        """Send a `Command` with up to four arguments, as `send`; give the result to `wait_reply`."""
        pending = PendingCommand(slot, kind, sink)
        self.send(pending, arguments, timeout_s=timeout_s, spin_ns=spin_ns)
        return pending

    def send(
        self,
        pending: PendingCommand,
        arguments: Sequence[int] = (),
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        spin_ns: int = 0,
    ) -> None:
        """Send a command; whatever interrupts this, `is_under_way` says afterwards whether it was sent.

        It waits `timeout_s` seconds for room on the H2K ring, then QueueFull; KernelStopped if the
        kernel does not run. `spin_ns`: look for a reply so long before returning; only for the thread
        that has the pump.
        """
        lane = self.kernel.lane_of(pending.slot)
        deadline = None
        while True:
            try:
                with self._push_locks[lane]:
                    # Entered before the push: the reply may be there before push_nowait returns. The
                    # entry of a command that did not get onto the ring is replaced by the next one's.
                    command_id = pending.command_id = self.kernel.pushed(lane) + 1
                    self._pending[lane][command_id] = pending
                    self.kernel.push_nowait(
                        lane, pending.kind, command_id, pending.slot, arguments, spin_ns=spin_ns
                    )
                    return
            except QueueFull:
                now = time.monotonic()
                deadline = deadline or now + timeout_s
                if now >= deadline:
                    raise
                check_interrupted()
                # The kernel reads no command while the K2H ring has no room for its reply.
                self.pump(min(_FULL_RING_POLL_S, deadline - now))

    def is_under_way(self, pending: PendingCommand) -> bool:
        """Return whether a command is on the H2K ring or with the kernel: sent, and not answered yet."""
        lane, command_id = self.kernel.lane_of(pending.slot), pending.command_id
        return (
            self._pending[lane].get(command_id) is pending
            and self.kernel.pushed(lane) >= command_id > 0
        )

    def call(
        self,
        slot: int,
        kind: int,
        arguments: Sequence[int] = (),
        *,
        sink: ReplySink | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Reply:
        """Send a command and wait for its reply, `timeout_s` seconds in all; return a successful reply.

        CommandRefused if the kernel answers with an error status; TimeoutError without an answer in
        time (the command may still be carried out later); KernelStopped if the kernel does not run.
        """
        pending = PendingCommand(slot, kind, sink)
        sent = False

        def send() -> None:
            """Send, if there is room, and take what is answered at once."""
            nonlocal sent
            # No time to wait for room: while this thread has the pump, no other takes replies.
            try:
                self.send(pending, arguments, timeout_s=0, spin_ns=_SPIN_NS)
                sent = True
            except QueueFull:
                pass
            self._dispatch()

        self._as_pump(send)
        if not sent:
            self.send(pending, arguments, timeout_s=timeout_s)
        return self.wait_reply(pending, timeout_s)

    def call_each(self, slots: Sequence[int], kind: int, arguments: Sequence[int] = ()) -> None:
        """Send a command to each of some actors, then wait for all replies; otherwise as `call`."""
        pending = [self.submit(slot, kind, arguments) for slot in slots]
        for one in pending:
            self.wait_reply(one)

    def wait_reply(self, pending: PendingCommand, timeout_s: float = DEFAULT_TIMEOUT_S) -> Reply:
        """Wait for the reply to a command sent with `submit` and no sink; errors as `call`."""
        if pending.reply is None and not self.wait_until(
            lambda: pending.reply is not None, timeout_s
        ):
            why = (
                "its lane is busy with a very long step. Wait longer, or use more lanes. An update "
                "that never ends is ended by ending the process only"
            )
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

    def load(
        self,
        slot: int,
        kind: int,
        fill: Callable[[], tuple[Sequence[int], ReplySink | None]],
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Reply:
        """Send a command that reads the lane's restore and parameter buffers; otherwise as `call`.

        `fill` writes the buffers, and returns the command's arguments and its sink. It is called while
        no other load of the lane is being prepared or under way: what the last one has brought is
        confirmed.
        """
        lane = self.kernel.lane_of(slot)
        with self._load_locks[lane]:
            # The load of a caller that was interrupted may still be under way, and reads the buffers.
            self.settle(lane, None)
            arguments, sink = fill()
            check_interrupted()  # the last moment at which nothing has changed
            pending = self._loads[lane] = PendingCommand(slot, kind, sink)
            self.send(pending, arguments, timeout_s=timeout_s)
            return self.wait_reply(pending, timeout_s)

    def settle(self, lane: int, timeout_s: float | None) -> bool:
        """Wait until no load of a lane is under way that was sent before; return whether it is so."""
        earlier = self._loads[lane]
        return earlier is None or self.wait_until(lambda: not self.is_under_way(earlier), timeout_s)

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

        def take() -> None:
            """Take what is there, or wait for the first one."""
            if not self._dispatch() and timeout_s > 0 and not until():
                self.kernel.wait(timeout_s, _SPIN_NS)
                self._dispatch()

        if not self._as_pump(take) and timeout_s > 0:
            with self._arrived:
                # If the pump was given up since we asked for it, its notification is over: a thread
                # that slept now might miss `AbstractKernel.wake`, and no thread would take replies.
                if self._pumping and not until():
                    self._arrived.wait(timeout_s)

    def _as_pump(self, work: Callable[[], object]) -> bool:
        """Do what only the thread may do that has the pump; return whether it was free."""
        free, worked = True, False  # free until known better, because it is released then
        try:
            free = self._pump.acquire(blocking=False)
            if free:
                self._pumping = True
                work()
                worked = True
        finally:
            if free:
                self._pumping = False
                try:  # noqa: SIM105 - the release is the first of all calls, see above
                    self._pump.release()
                except RuntimeError:
                    pass  # interrupted before it was acquired
                with self._arrived:
                    self._arrived.notify_all()  # one of the others may have to take over
        return worked

    def _dispatch(self) -> bool:
        """Apply every reply on the rings; return whether there was one. Needs the pump."""
        before = self.replies
        for lane in range(self.kernel.lanes):
            pendings = self._pending[lane]
            reply = self.kernel.peek(lane)
            while reply is not None:
                # Applied before it is taken off the ring, and twice does no harm: a
                # `KeyboardInterrupt` at any point here loses no reply.
                pending = pendings.get(reply.command_id)
                if reply.kind == _HELD:
                    self.on_held(reply)
                elif reply.kind == _HELD_AT:
                    self.on_held_at(reply)
                elif pending is not None:
                    if pending.sink is not None:
                        pending.sink(reply)
                    pending.reply = reply
                    pending.sink = None  # with all that it refers to
                    pendings.pop(reply.command_id, None)
                reply = self.kernel.advance(lane)
                self.replies += 1
        return self.replies != before

    @property
    def outstanding(self) -> int:
        """Commands that were sent and not answered yet."""
        return sum(map(self.outstanding_in, range(self.kernel.lanes)))

    def outstanding_in(self, lane: int, kind: int | None = None) -> int:
        """Return how many commands of a lane, or those of one kind, were sent and not answered yet."""
        pushed = self.kernel.pushed(lane)
        waiting = list(self._pending[lane].values())
        return sum(p.command_id <= pushed and kind in (None, p.kind) for p in waiting)


def _nobody(_: Reply) -> None:
    """Take no note."""


def _name(kind: int) -> str:
    try:
        return Command(kind).name
    except ValueError:
        return f"command {kind}"
