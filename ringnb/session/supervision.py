"""Supervision: actors that fail go back to their newest good checkpoint by themselves, and run on.

An actor fails when its update raises, which ends the kernel: then another session takes the place of
this one (`Session.remake`). Or when a bad state was committed and ``guard="pause"`` pauses it. One
thread does both. It gives up when it has gone back to the same checkpoints several times in a row.
"""

from __future__ import annotations

import logging
import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, final

from ringnb._support.checks import check_bool
from ringnb._support.off_main import placed
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.errors import CheckpointNotFound, KernelStopped
from ringnb.kernel.base import AbstractKernel, ActorCounters
from ringnb.messages.events import Event, EventLog
from ringnb.session.restore import restore_together
from ringnb.session.statistics import SupervisionCounts

if TYPE_CHECKING:  # which imports this module
    from ringnb.session.session import Session

__all__ = ["Supervisor"]

_LOG = logging.getLogger("ringnb")
_LOOK_S = 0.1  # how soon a kernel is found dead
_MOST_FROM_THE_SAME = 3


@final
class Supervisor:
    """Watches one session, if it is wanted to. It holds the session weakly."""

    def __init__(
        self, wanted: bool, log: EventLog, kernel: AbstractKernel, manager: CheckpointManager
    ) -> None:
        self._wanted = check_bool(wanted, "supervise")
        self._kernel, self._manager = kernel, manager
        self._session: Callable[[], Session | None] = lambda: None
        self._warn: Callable[[str], None] = _LOG.warning
        self._failed: queue.SimpleQueue[dict[int, ActorCounters]] = queue.SimpleQueue()
        self._counts = SupervisionCounts()
        self._last: dict[
            int, tuple[str | None, int]
        ] = {}  # by slot: from where, how often in a row
        if wanted:
            # Before the service is: it pauses the actor, whose counters are looked at here.
            log.subscribe(self._on_bad, "bad")

    def start(self, session: Session, warn: Callable[[str], None]) -> None:
        """Begin to watch, on a thread."""
        if self._wanted:
            if not session.service_runs:
                msg = "supervise needs the service threads: open the session with service=True"
                raise ValueError(msg)
            self._session, self._warn = weakref.ref(session), warn
            name = "ringnb-supervisor"
            threading.Thread(target=placed(self._serve), name=name, daemon=True).start()

    @property
    def counts(self) -> SupervisionCounts | None:
        """What was done; None if nobody supervises."""
        return self._counts if self._wanted else None

    def _on_bad(self, event: Event) -> None:
        if self._manager.config.state_guard.mode == "pause":
            linked = self._kernel.deal.group_of[event.actor_slot]  # which go back with it
            self._failed.put({slot: self._kernel.counters(slot) for slot in linked})

    def _serve(self) -> None:
        while self._look():
            pass

    def _look(self) -> bool:
        """Wait for a failure, and mend it; return whether to go on. Holds no session while it waits."""
        failed = None
        try:
            failed = self._failed.get(timeout=_LOOK_S)
        except queue.Empty:
            if self._kernel.alive and self._session() is not None:
                return True
        session = self._session()
        if session is None or session.closing:
            return False
        try:
            if self._kernel.alive and failed is not None:
                epochs = {slot: self._kernel.counters(slot).epoch for slot in failed}
                if any(was.epoch != epochs[slot] for slot, was in failed.items()):
                    return True  # another bad state of the same failure was told of before
                self._count(failures=1)
                self._go_on(session, failed, anew=False)
                return True
            if not self._kernel.alive and session.successor is None:
                self._replace(session)
        except KernelStopped:
            return True
        except Exception as error:  # noqa: BLE001 - raised by the next call
            session.keep_failure(error)
        return self._kernel.alive

    def _replace(self, session: Session) -> None:
        """Put another session in the place of one whose kernel has died."""
        _LOG.warning("supervision starts another kernel: %s", self._kernel.stopped_because)
        before = {slot: self._kernel.counters(slot) for slot in range(len(session.actors))}
        new = session.remake()
        if session.close_called:  # meanwhile: nobody else would close the new one
            new.close()
            return
        other = new.supervisor
        other._counts, other._last = self._counts, self._last
        other._count(failures=1)
        other._go_on(new, before, anew=True)

    def _go_on(self, session: Session, before: dict[int, ActorCounters], *, anew: bool) -> None:
        """Take actors back, and let those run that ran; unless that was tried too often."""
        again: dict[int, int] = {}
        back: dict[int, set[int]] = {}  # by the first of a group: how many steps each went back
        taken: dict[int, tuple[str | None, int]] = {}  # by slot: from where, and to which step
        for group in {tuple(self._kernel.deal.group_of[slot]): None for slot in before}:
            taken |= self._take_back_all(session, group, anew=anew)
        for slot, was in before.items():
            name, step = taken[slot]
            self._count(restarts=1, recomputed_steps=max(0, was.step - step))
            back.setdefault(self._first_of(slot), set()).add(was.step - step)
            if was.running:  # one that is paused has no progress to show
                times = self._last.get(slot, (None, 0))
                self._last[slot] = (name, times[1] + 1 if times[0] == name else 1)
                again[slot] = step
        if apart := [first for first, steps in back.items() if len(steps) > 1]:
            self._leave_paused(session, apart)
        if any(self._last[slot][1] > _MOST_FROM_THE_SAME for slot in again):
            self._give_up(session, list(again))
            return
        for slot, step in again.items():
            was = before[slot]
            if self._first_of(slot) in apart or (was.budget and slot != self._first_of(slot)):
                continue  # linked actors have one budget
            if was.budget:
                session.run_steps(slot, was.step + was.budget - step, wait=False)
            else:
                session.resume(slot)

    def _first_of(self, slot: int) -> int:
        """Return the first of the actors that an actor is linked with."""
        return self._kernel.deal.group_of[slot][0]

    def _leave_paused(self, session: Session, firsts: list[int]) -> None:
        """Pause linked actors that went back by different numbers of steps, and say so."""
        groups = [self._kernel.deal.group_of[first] for first in firsts]
        for group in groups:
            session.pause(group[0])
        self._warn(
            f"linked actors went back to checkpoints of different steps, slots {groups}, and are "
            "paused: restore each of them from a checkpoint of one step, then resume()"
        )

    def _take_back_all(
        self, session: Session, group: Sequence[int], *, anew: bool
    ) -> dict[int, tuple[str | None, int]]:
        """Take an actor back, or linked ones together, if they have a cut; return from where."""
        if len(group) > 1 and restore_together(session, group, good=True, tell=self._warn):
            lineages = {slot: session.manager.lineage(slot) for slot in group}
            return {
                slot: (None if one is None else one.name, session.current_step(slot))
                for slot, one in lineages.items()
            }
        return {slot: self._take_back(session, slot, anew=anew) for slot in group}

    @staticmethod
    def _take_back(session: Session, slot: int, *, anew: bool) -> tuple[str | None, int]:
        """Return the checkpoint that an actor was taken back to, and its step."""
        try:
            step = session.restore(slot, "latest-good")
        except CheckpointNotFound:
            if not anew:
                raise  # it stays paused, and the next call tells why
            return None, session.current_step(slot)  # in a new kernel it is where it began
        lineage = session.manager.lineage(slot)
        return (None if lineage is None else lineage.name), step

    def _give_up(self, session: Session, slots: list[int]) -> None:
        self._counts = self._counts._replace(gave_up=True)
        for slot in slots:
            session.pause(slot)
        names = ", ".join(f"slot {slot} after {self._last[slot][0]!r}" for slot in slots)
        self._warn(
            f"supervision gives up: it has failed {_MOST_FROM_THE_SAME + 1} times in a row, {names}. "
            "The actors are paused there: look at their state and parameters, then resume()"
        )

    def _count(self, failures: int = 0, restarts: int = 0, recomputed_steps: int = 0) -> None:
        c = self._counts
        self._counts = c._replace(
            failures=c.failures + failures,
            restarts=c.restarts + restarts,
            recomputed_steps=c.recomputed_steps + recomputed_steps,
        )
