"""What a session looks like at one moment: gathered once, then shown by every panel.

`SessionState` is immutable, so that panels and threads can share it. `Observer` gathers it without ever
raising for a session that is closed, or whose kernel is dead.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import final

from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.errors import CheckpointError
from ringnb.messages.events import Event
from ringnb.session.session import Session
from ringnb.session.statistics import SessionStatistics

__all__ = ["ActorState", "Observer", "SessionState"]

_RATE_S = 1.0  # window of the step rate
_LOOK_S = 2.0  # other processes may write the store: look without a reason now and then


@dataclass(frozen=True, slots=True)
class ActorState:
    """One actor.

    Attributes
    ----------
    slot : int
        Its slot.
    kernel_id, kernel_type : str
        Its identity and model.
    step, budget, snapshots, stall_ns : int
        As the kernel published them.
    running : bool
        Whether it steps.
    rate : float
        Steps per second over the last second.
    every : int or None
        Steps between two checkpoints, if it is checkpointed by its step count.
    dt_s : float or None
        Seconds of simulated time per step, if the model says.
    """

    slot: int
    kernel_id: str
    kernel_type: str
    step: int
    budget: int
    snapshots: int
    stall_ns: int
    running: bool
    rate: float
    every: int | None
    dt_s: float | None


@dataclass(frozen=True, slots=True)
class SessionState:
    """A session at one moment.

    Attributes
    ----------
    life : str
        "running", or why nothing runs.
    backend : str
        Where the kernel runs.
    actors : tuple of ActorState
        One per slot.
    config : CheckpointConfig
        The one in force.
    statistics : SessionStatistics
        Counters and depths.
    due_s : float or None
        Seconds until the manager has something to do.
    histories : tuple of tuple of CheckpointInfo
        Per slot, oldest commit first; damaged ones of the slot at the front.
    events : tuple of Event
        The newest, oldest first.
    appended : int
        Events logged in all.
    began_ns : int
        The stamp that their times are counted from.
    """

    life: str
    backend: str
    actors: tuple[ActorState, ...]
    config: CheckpointConfig
    statistics: SessionStatistics
    due_s: float | None
    histories: tuple[tuple[CheckpointInfo, ...], ...]
    events: tuple[Event, ...]
    appended: int
    began_ns: int


@final
class Observer:
    """Gathers `SessionState`; remembers what is needed for rates and to read the store seldom.

    Notes
    -----
    One thread at a time: the pump's.
    """

    def __init__(self) -> None:
        self._steps: deque[tuple[float, tuple[int, ...]]] = deque()
        self._histories: tuple[tuple[CheckpointInfo, ...], ...] = ()
        self._looked = (-1, 0.0)  # events seen, when

    def look(self, session: Session) -> SessionState:
        """Gather the state of a session.

        Parameters
        ----------
        session : Session
            Open, closed or with a dead kernel.

        Returns
        -------
        SessionState
            A new one.
        """
        now = time.monotonic()
        life = "running"
        if session.closed:
            life = "The session is closed: its checkpoints are there, nothing runs."
        elif (reason := session.kernel.stopped_because) is not None:
            life = f"The kernel does not run: {reason}."
        statistics = session.glance()
        steps = tuple(c.step for c in statistics.actors)
        self._steps.append((now, steps))
        while len(self._steps) > 2 and now - self._steps[0][0] > _RATE_S:
            self._steps.popleft()
        then, before = self._steps[0]
        registered = session.manager.registered
        actors = []
        for slot, (c, actor) in enumerate(zip(statistics.actors, session.actors, strict=True)):
            rate = (c.step - before[slot]) / (now - then) if now > then and c.running else 0.0
            who = registered.get(slot)
            actors.append(
                ActorState(
                    slot=slot,
                    kernel_id=who.kernel_id if who is not None else f"{actor.kernel_type}_{slot}",
                    kernel_type=actor.kernel_type,
                    step=c.step,
                    budget=c.budget,
                    snapshots=c.snapshots,
                    stall_ns=c.last_stall_ns,
                    running=c.running and life == "running",
                    rate=max(0.0, rate),
                    every=session.snapshots_every(slot),
                    dt_s=actor.dt_s,
                )
            )
        appended = session.events.appended
        self._look_at_store(session, actors, appended, now)
        return SessionState(
            life=life,
            backend=session.backend,
            actors=tuple(actors),
            config=session.manager.config,
            statistics=statistics,
            due_s=_due(session),
            histories=self._histories,
            events=tuple(session.events)[-400:],
            appended=appended,
            began_ns=session.events.began_ns,
        )

    def _look_at_store(
        self, session: Session, actors: list[ActorState], appended: int, now: float
    ) -> None:
        seen, at = self._looked
        if seen == appended and now - at < _LOOK_S:
            return
        prefix = session.manager.config.name_prefix
        try:
            catalogue = session.storage.catalogue()
        except (CheckpointError, OSError):
            return  # the next commit, or the next look, will tell
        mine: dict[str, list[CheckpointInfo]] = {}
        for e in sorted(catalogue, key=lambda e: e.sequence):
            if not e.damaged and e.name_prefix == prefix:
                mine.setdefault(e.kernel_id, []).append(e)
        damaged = [e for e in catalogue if e.damaged]
        histories = []
        for actor in actors:
            named = f"{prefix}_{actor.slot}_step_"
            lost = [e for e in damaged if e.name.startswith(named)]
            histories.append((*lost, *mine.get(actor.kernel_id, ())))
        self._histories = tuple(histories)
        self._looked = appended, now


def _due(session: Session) -> float | None:
    try:
        return session.manager.seconds_until_next()
    except CheckpointError:
        return None  # closed
