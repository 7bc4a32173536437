"""Snapshots by the step count: exactly at multiples of a number of steps.

The checkpoint manager schedules by the clock. `StepSchedule` adds the other schedule that simulations
use. It has the kernel hold an actor at its next multiple, and has it captured there. No actor waits for
the disk: while one checkpoint is being written, the actor runs past a multiple that comes meanwhile.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from ringnb._support.checks import MAX_STEP
from ringnb.kernel.base import ActorCounters, QueueFull
from ringnb.session.step_holds import Hold, StepHolds
from ringnb.session.transport import RequestStatus

__all__ = ["StepSchedule"]

_MOST_AHEAD = 1 << 40


@final
@dataclass(eq=False, slots=True)
class _Plan:
    """The schedule of one actor, and how far its next snapshot has come."""

    every: int
    taken: tuple[int, int]  # epoch and step of the last one
    epoch: int = 0  # of the actor, when it was asked to be held
    ahead: int = 0  # steps that a running actor may take before the kernel knows where to hold it
    hold: Hold | None = None
    status: RequestStatus | None = None


@final
class StepSchedule:
    """Which actors are captured at each multiple of a number of steps. Any thread.

    `counters` returns those of a slot. `request` gets slot and step, and requests a snapshot of that
    step; it returns None as long as an earlier request is under way, and False if the slot is empty.
    """

    def __init__(
        self,
        holds: StepHolds,
        counters: Callable[[int], ActorCounters],
        request: Callable[[int, int], RequestStatus | bool | None],
    ) -> None:
        self._holds, self._counters, self._request = holds, counters, request
        self._lock = threading.RLock()
        self._plans: dict[int, _Plan] = {}

    @property
    def active(self) -> bool:
        """Whether any actor has a schedule."""
        return bool(self._plans)

    def set(self, slot: int, steps: int | None) -> None:
        """Begin or, with None, end an actor's schedule; the step that it has now is not due."""
        with self._lock:
            before = self._plans.pop(slot, None)
            if before is not None and before.hold is not None:
                self._holds.release(before.hold, limit_s=0)
            if steps is not None:
                now = self._counters(slot)
                self._plans[slot] = _Plan(steps, (now.epoch, now.step))

    def interval(self, slot: int) -> int | None:
        """Return the steps between two snapshots of an actor; None without a schedule."""
        plan = self._plans.get(slot)
        return None if plan is None else plan.every

    def turn(self) -> None:
        """Have held captured who has come to a multiple, and held at the next who was captured."""
        with self._lock:
            for slot, plan in self._plans.items():
                self._advance(slot, plan)

    def _advance(self, slot: int, plan: _Plan) -> None:
        status, hold = plan.status, plan.hold
        if status is not None:
            ended = status.done.is_set()
            if hold is not None and (ended or status.was_answered):
                self._holds.release(hold, limit_s=0)
                plan.hold = hold = None
            if not ended:
                return
            plan.status = None
        if hold is not None and self._holds.is_void(hold):
            self._holds.release(hold, limit_s=0)
            if hold.passed:
                plan.ahead = min(2 * plan.ahead + plan.every, _MOST_AHEAD)
            plan.hold = hold = None
        elif hold is not None and hold.epoch >= 0 and _is_wrong(plan, hold):
            self._holds.release(hold, limit_s=0)
            plan.taken = (hold.epoch, hold.since)  # it was restored there: that state is saved
            plan.hold = hold = None
        if hold is None:
            at = self._next(slot, plan)
            if at <= MAX_STEP:
                with contextlib.suppress(QueueFull):  # asked again at the next turn
                    plan.hold = self._holds.ask(slot, at, limit_s=0)
        elif hold.held:
            requested = self._request(slot, hold.at)
            if requested is not None:
                plan.taken = (hold.epoch, hold.at)
                plan.ahead //= 2
                if isinstance(requested, RequestStatus):
                    plan.status = requested
                else:
                    self._holds.release(hold, limit_s=0)
                    plan.hold = None

    def _next(self, slot: int, plan: _Plan) -> int:
        """Return the multiple at which an actor can still be held: where it stands, or ahead of it."""
        now = self._counters(slot)
        if plan.taken[0] != now.epoch:
            plan.taken = (now.epoch, now.step)  # it was restored there: that state is saved
        plan.epoch = now.epoch
        step = now.step + (plan.ahead if now.running else 0)
        at = max(1, -(-step // plan.every)) * plan.every
        return at + plan.every if (now.epoch, at) == plan.taken else at


def _is_wrong(plan: _Plan, hold: Hold) -> bool:
    """Return whether a hold was asked for by counters of which some were of before a restore."""
    # The kernel publishes epoch and step one after the other; its reply has them as they belong
    # together.
    return hold.epoch != plan.epoch or hold.at > hold.since + plan.ahead + plan.every
