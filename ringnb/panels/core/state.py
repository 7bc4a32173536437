"""What a session looks like at one moment: read once, then shown by every panel.

`SessionState` is immutable, so that panels and threads can share it. `StateReader` reads it, also from a
session that is closed or whose kernel is dead.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.naming import damaged_name, expand_prefix
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.errors import CheckpointError
from ringnb.messages.events import Event
from ringnb.session.session import Session
from ringnb.session.statistics import SessionStatistics

__all__ = ["ActorState", "Histories", "SessionState", "StateReader"]

Histories = tuple[tuple[CheckpointInfo, ...], ...]

_STORE_READ_S = (
    2.0  # the store is read so often even without a new event: other processes may write it
)
_MOST_EVENTS = 400
_RUNNING = "running"


@dataclass(frozen=True, slots=True)
class ActorState:
    """One actor, as the kernel published it last."""

    slot: int
    kernel_id: str
    kernel_type: str
    step: int
    budget: int  # steps still to be taken; 0 while it runs freely
    snapshots: int
    stall_ns: int  # how long the last capture took
    running: bool
    rate: float  # steps per second, over the last `Profile.rate_s`
    every: int | None  # steps between two checkpoints, if it is checkpointed by its step count
    dt_s: float | None  # simulated seconds per step, if the model says
    time_s: float | None  # simulated time, if a step has a length


@dataclass(frozen=True, slots=True)
class SessionState:
    """A session at one moment."""

    life: str  # "running", or a sentence that says why nothing runs
    backend: str
    actors: tuple[ActorState, ...]  # one per slot
    config: CheckpointConfig
    statistics: SessionStatistics
    due_s: float | None  # seconds until the manager has something to do
    histories: Histories  # per slot, oldest commit first, damaged ones of the slot at the front
    events: tuple[Event, ...]  # the newest, oldest first
    appended: int  # events logged in all
    began_ns: int  # the stamp that the events' times are counted from

    @property
    def ended(self) -> bool:
        """Whether the session is closed or its kernel is dead."""
        return self.life != _RUNNING


@final
class StateReader:
    """Reads `SessionState`; remembers what it needs for rates and to read the store seldom.

    One thread at a time: the display loop's.
    """

    def __init__(self, rate_s: float = 1.0) -> None:
        self._rate_s = rate_s  # the window of the step rate
        self._steps: deque[tuple[float, tuple[int, ...]]] = deque()
        self._histories: Histories = ()
        self._store_read = (-1, 0.0)  # the events logged by then, and when

    def forget_store(self) -> None:
        """Read the store at the next call: it was changed by what no event tells, such as a pin."""
        self._store_read = (-1, 0.0)

    def read(self, session: Session) -> SessionState:
        """Return the state of a session: open, closed or with a dead kernel."""
        now = time.monotonic()
        life = _RUNNING
        if session.closed:
            life = "The session is closed: its checkpoints are kept, nothing runs."
        elif (reason := session.kernel.stopped_because) is not None:
            life = f"The kernel does not run: {reason}."
        statistics = session.glance()
        actors = self._actors(session, statistics, now, alive=life == _RUNNING)
        appended = session.events.appended
        if self._store_read[0] != appended or now - self._store_read[1] >= _STORE_READ_S:
            self._read_store(session, actors, appended, now)
        try:
            due_s = session.manager.seconds_until_next()
        except CheckpointError:
            due_s = None  # the manager is closed
        return SessionState(
            life=life,
            backend=session.backend,
            actors=actors,
            config=session.manager.config,
            statistics=statistics,
            due_s=due_s,
            histories=self._histories or tuple(() for _ in actors),
            events=tuple(session.events)[-_MOST_EVENTS:],
            appended=appended,
            began_ns=session.events.began_ns,
        )

    def _actors(
        self, session: Session, statistics: SessionStatistics, now: float, *, alive: bool
    ) -> tuple[ActorState, ...]:
        self._steps.append((now, tuple(c.step for c in statistics.actors)))
        while len(self._steps) > 2 and now - self._steps[0][0] > self._rate_s:
            self._steps.popleft()
        then, steps_then = self._steps[0]
        registered = session.manager.registered
        actors = []
        for slot, (c, actor) in enumerate(zip(statistics.actors, session.actors, strict=True)):
            rate = (c.step - steps_then[slot]) / (now - then) if now > then and c.running else 0.0
            entry = registered.get(slot)
            kernel_id = f"{actor.kernel_type}_{slot}" if entry is None else entry.kernel_id
            actors.append(
                ActorState(
                    slot=slot,
                    kernel_id=kernel_id,
                    kernel_type=actor.kernel_type,
                    step=c.step,
                    budget=c.budget,
                    snapshots=c.snapshots,
                    stall_ns=c.last_stall_ns,
                    running=c.running and alive,
                    rate=max(0.0, rate),  # a restore takes the step back
                    every=session.snapshot_interval_steps(slot),
                    dt_s=actor.dt_s,
                    time_s=statistics.times[slot],
                )
            )
        return tuple(actors)

    def _read_store(
        self, session: Session, actors: Sequence[ActorState], appended: int, now: float
    ) -> None:
        prefix = session.manager.config.name_prefix
        try:
            catalogue = session.storage.catalogue()
        except (CheckpointError, OSError):
            return  # tried again at the next refresh
        own: dict[str, list[CheckpointInfo]] = {}
        for e in sorted(catalogue, key=lambda e: e.sequence):
            ours = not e.damaged and e.copy is None  # a copy is of no history
            if ours and e.name_prefix == expand_prefix(prefix, e.kernel_id):
                own.setdefault(e.kernel_id, []).append(e)
        damaged = [e for e in catalogue if e.damaged]
        self._histories = tuple(
            (
                *(e for e in damaged if its.fullmatch(e.name)),
                *own.get(actor.kernel_id, ()),
            )
            for actor in actors
            for its in [damaged_name(prefix, actor.slot, actor.kernel_id)]
        )
        self._store_read = appended, now
