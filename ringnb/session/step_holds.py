"""Actors that wait at a step: to be captured exactly there, or until all of a cut have come to theirs.

The kernel holds an actor at one step at a time (``HOLD_AT``) and says so (``HELD_AT``). Several callers
may want one actor at several steps: `StepHolds` asks the kernel for the nearest, and for the next when
that is released. An actor that is held steps on when its last `Hold` at that step is released, or at the
very capture that was asked for with ``RequestStatus.at``.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import final

from ringnb._support.off_main import check_interrupted
from ringnb.errors import SnapshotFailed, SnapshotTimeout
from ringnb.kernel.base import QueueFull
from ringnb.kernel.client import DEFAULT_TIMEOUT_S, KernelClient
from ringnb.messages.commands import Command, Reply

__all__ = ["Hold", "StepHolds"]

_LOOK_S = 0.05
_ROOM_S = 0.001


@final
class Hold:
    """One wish that an actor waits at a step."""

    __slots__ = ("at", "epoch", "held", "passed", "since", "slot")

    def __init__(self, slot: int, at: int) -> None:
        self.slot = slot
        self.at = at
        self.epoch = -1  # of the actor, when the kernel has agreed
        self.since = 0  # its step then
        self.passed = False  # it was past that step already
        self.held = False  # it is there, and waits


@final
class StepHolds:
    """All wishes of a session. Any thread."""

    # The attributes of a `Hold` are set by the pump, which takes no lock. So the tuples are replaced,
    # never changed.

    def __init__(self, client: KernelClient) -> None:
        self._client, self._kernel = client, client.kernel
        self._lock = threading.RLock()
        self._holds: dict[int, tuple[Hold, ...]] = {}
        self._owed: set[int] = set()  # slots of which the kernel was not told what changed last
        client.on_held_at = self._on_held_at

    def ask(self, slot: int, at: int, *, limit_s: float = DEFAULT_TIMEOUT_S) -> Hold:
        """Want an actor to wait at a step, 1 or more; to be given to `release` whatever happens.

        QueueFull if the kernel has no room for a command within `limit_s` seconds.
        """
        hold, deadline = Hold(slot, at), time.monotonic() + limit_s
        while True:
            with self._lock:
                before = self._holds.get(slot, ())
                try:
                    self._holds[slot] = (*before, hold)
                    self._tell_kernel(slot)
                    return hold
                except BaseException as error:  # nobody gets the hold, so nobody would release it
                    self._holds[slot] = before
                    if not isinstance(error, QueueFull):
                        self._owed.add(slot)  # Ctrl-C may come when the kernel has been told
                        raise
                    if time.monotonic() >= deadline:
                        raise
            self._wait_for_room()

    def release(self, hold: Hold, *, limit_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Let an actor go on, unless another wants it to wait at this step. Idempotent.

        If the kernel has no room for a command within `limit_s` seconds, the next `settle` tells it.
        """
        with self._lock:
            held = self._holds.get(hold.slot, ())
            rest = tuple(h for h in held if h is not hold)
            if len(rest) == len(held):
                return
            self._owed.add(hold.slot)
            self._holds[hold.slot] = rest
        try:
            self.settle(limit_s)
        except KeyboardInterrupt:  # in the wait for room on the ring, and raised but once
            self.settle(limit_s)
            raise

    def settle(self, limit_s: float = 0.0) -> None:
        """Tell the kernel what it had no room for, within `limit_s` seconds if it has some."""
        deadline = time.monotonic() + limit_s
        while self._owed and self._kernel.alive:
            with self._lock:
                for slot in list(self._owed):
                    with contextlib.suppress(QueueFull):  # another lane may have room
                        self._tell_kernel(slot)
            if not self._owed or time.monotonic() >= deadline:
                return
            self._wait_for_room()

    def _wait_for_room(self) -> None:
        """Wait for a moment without the lock: a lane that is full delays no other."""
        check_interrupted()
        self._client.pump(_ROOM_S)

    def is_sole_at(self, slot: int, at: int) -> bool:
        """Return whether one caller only wants an actor to wait at a step: its capture may end that."""
        return sum(h.at == at for h in self._holds.get(slot, ())) == 1

    def is_held_at(self, slot: int, at: int) -> bool:
        """Return whether an actor waits at a step."""
        return any(h.at == at and h.held and not self.is_void(h) for h in self._holds.get(slot, ()))

    def is_void(self, hold: Hold) -> bool:
        """Return whether the actor was past the step, or was loaded with another state since."""
        epoch = self._kernel.counters(hold.slot).epoch
        return hold.passed or (hold.epoch >= 0 and hold.epoch != epoch)

    def wait(self, hold: Hold, limit_s: float, check: Callable[[], None]) -> None:
        """Wait until an actor is held. SnapshotFailed if it will not be, SnapshotTimeout if not in time.

        `check` raises if waiting is pointless.
        """
        deadline = time.monotonic() + limit_s
        while not hold.held or self.is_void(hold):
            step = self._kernel.counters(hold.slot).step
            if self.is_void(hold):
                why = "is past that step" if hold.passed else "was restored meanwhile"
                msg = (
                    f"slot {hold.slot} cannot be captured at step {hold.at}: it {why}, at {step} now. "
                    "Name a step that is ahead of it"
                )
                raise SnapshotFailed(msg)
            left = deadline - time.monotonic()
            if left <= 0:
                msg = (
                    f"slot {hold.slot} did not come to step {hold.at} within {limit_s:g} s, it is at "
                    f"{step}: let it run there (run_steps or resume), or allow a longer timeout"
                )
                raise SnapshotTimeout(msg)
            self._client.wait_until(lambda: hold.held or hold.passed, min(left, _LOOK_S))
            check()

    @contextlib.contextmanager
    def holding(
        self, slot: int, at: int, limit_s: float, check: Callable[[], None]
    ) -> Iterator[None]:
        """Have an actor held at a step while the block begins; 0: at none. Raises as `wait`."""
        if at == 0:
            yield
            return
        hold = self.ask(slot, at)
        try:
            self.wait(hold, limit_s, check)
            yield
        finally:
            self.release(hold)

    def _tell_kernel(self, slot: int) -> None:
        """Have the actor wait at the nearest step that is wanted, or QueueFull. Needs the lock."""
        steps = [h.at for h in self._holds[slot] if not h.passed]
        at = min(steps, default=-1)
        told = partial(self._on_told, slot, at)
        self._client.submit(slot, Command.HOLD_AT, (at,), sink=told, timeout_s=0)
        self._owed.discard(slot)

    # -- as replies come in, on the thread that has the pump; applied twice they change nothing -------

    def _on_told(self, slot: int, at: int, reply: Reply) -> None:
        for hold in self._holds.get(slot, ()):
            if hold.at == at and reply.ok:
                hold.since, hold.epoch = reply.step, reply.epoch
            elif hold.at == at:
                hold.passed = True

    def _on_held_at(self, reply: Reply) -> None:
        for hold in self._holds.get(reply.actor_slot, ()):
            if hold.at == reply.step:
                hold.held = True
