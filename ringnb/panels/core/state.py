"""What a session looks like at one moment: read once, then shown by every panel.

`SessionState` is immutable, so that panels and threads can share it. `StateReader` reads it, also from a
session that is closed or whose kernel is dead.
"""

from __future__ import annotations

import math
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final, overload

from ringnb.actors.base import Actor
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.registration import RegisteredActor
from ringnb.errors import CheckpointError
from ringnb.messages.events import Event
from ringnb.panels.core.histories import MOST_READ, Histories
from ringnb.plots.style import simulated
from ringnb.session.session import Session
from ringnb.session.statistics import SessionStatistics

__all__ = ["ActorState", "SessionState", "StateReader"]

# The store is read so often even without a new event: other processes may write it.
_STORE_READ_S = 2.0
_CHANGES_STORE = frozenset({"committed", "retired"})  # what is logged when it was changed
_MOST_EVENTS = 400
_RUNNING = "running"
_FIRST = 32  # of very many actors, so many are looked at besides the selected one


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

    @property
    def time(self) -> str:
        """The simulated time in words; "" if a step has no length."""
        return simulated(self.time_s, self.dt_s)


@dataclass(frozen=True, slots=True)
class SessionState:
    """A session at one moment."""

    life: str  # "running", or a sentence that says why nothing runs
    backend: str
    actors: Sequence[ActorState]  # one per slot
    any_running: bool  # of very many actors, only the first and the selected one are looked at
    config: CheckpointConfig
    statistics: SessionStatistics
    due_s: float | None  # seconds until the manager has something to do
    histories: Histories
    store_is_known: bool  # False until the store could be read
    events: tuple[Event, ...]  # the newest, oldest first
    appended: int  # events logged in all
    began_ns: int  # the stamp that the events' times are counted from

    @property
    def ended(self) -> bool:
        """Whether the session is closed or its kernel is dead."""
        return self.life != _RUNNING


@final
class _Actors(Sequence[ActorState]):
    """The actors of a session that has very many: each is read when it is asked for, once."""

    def __init__(
        self, count: int, made: dict[int, ActorState], read: Callable[[int], ActorState]
    ) -> None:
        self._count, self._made, self._read = count, made, read

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    @overload
    def __getitem__(self, slot: int) -> ActorState: ...

    @overload
    def __getitem__(self, slot: slice) -> tuple[ActorState, ...]: ...

    def __getitem__(self, slot: int | slice) -> ActorState | tuple[ActorState, ...]:
        """Return one, or those of a range of slots."""
        if isinstance(slot, slice):
            return tuple(self[i] for i in range(*slot.indices(self._count)))
        slot = range(self._count)[slot]
        if slot not in self._made:
            self._made[slot] = self._read(slot)
        return self._made[slot]


@final
class StateReader:
    """Reads `SessionState`; remembers what it needs for rates and to read the store seldom.

    One thread at a time: the display loop's.
    """

    def __init__(self, rate_s: float = 1.0) -> None:
        self._rate_s = rate_s  # the window of the step rate
        self._steps: deque[tuple[float, dict[int, int]]] = deque()
        self._histories: Histories | None = None
        self._made_of: tuple[Any, ...] = ()  # what the histories were
        self._store_at = -math.inf  # when the store was read
        self._events: tuple[Event, ...] = ()
        self._appended = 0  # events logged by then

    def forget_store(self) -> None:
        """Read the store at the next call: it was changed by what no event tells, such as a pin."""
        self._store_at = -math.inf

    def read(self, session: Session, selected: int = 0) -> SessionState:
        """Return the state of a session: open, closed or with a dead kernel."""
        now = time.monotonic()
        life = _RUNNING
        if session.closed:
            life = "The session is closed: its checkpoints are kept, nothing runs."
        elif (reason := session.kernel.stopped_because) is not None:
            life = f"The kernel does not run: {reason}."
        count = len(session.actors)
        slots = range(count)
        looked_at = slots if count <= MOST_READ else sorted({*slots[:_FIRST], selected})
        statistics = session.glance(looked_at)
        new, self._appended = session.events.since(self._appended)
        if new:
            self._events = (*self._events, *new)[-_MOST_EVENTS:]
        if any(e.stage in _CHANGES_STORE for e in new):
            self.forget_store()
        kernel_id_of = partial(_kernel_id, session.manager.registered, session.actors)
        self._steps.append((now, {}))
        while len(self._steps) > 2 and now - self._steps[0][0] > self._rate_s:
            self._steps.popleft()
        # Weakly: displayed panels, which hold the state, must keep no session.
        read = partial(
            self._read_actor, weakref.ref(session), now, kernel_id_of, alive=life == _RUNNING
        )
        made = {slot: read(slot, statistics, at) for at, slot in enumerate(looked_at)}
        actors: Sequence[ActorState] = tuple(made.values())
        if count > MOST_READ:
            actors = _Actors(count, made, read)
        if now - self._store_at >= _STORE_READ_S:
            self._read_store(session, now, kernel_id_of)
        try:
            due_s = session.manager.seconds_until_next()
        except CheckpointError:
            due_s = None  # the manager is closed
        return SessionState(
            life=life,
            backend=session.backend,
            actors=actors,
            any_running=any(a.running for a in made.values()),
            config=session.manager.config,
            statistics=statistics,
            due_s=due_s,
            histories=self._histories or Histories((), "", count, kernel_id_of),
            store_is_known=self._histories is not None,
            events=self._events,
            appended=self._appended,
            began_ns=session.events.began_ns,
        )

    def _read_actor(
        self,
        ref: weakref.ref[Session],
        now: float,
        kernel_id_of: Callable[[int], str],
        slot: int,
        statistics: SessionStatistics | None = None,
        at: int = 0,
        *,
        alive: bool,
    ) -> ActorState:
        """Read an actor, or take it from its place in the statistics."""
        session = ref()
        if session is None:
            msg = "the session was deleted: create a new one"
            raise LookupError(msg)
        statistics = statistics or session.glance((slot,))
        c, actor = statistics.actors[at], session.actors[slot]
        if self._steps[-1][0] == now:
            self._steps[-1][1][slot] = c.step
        then, steps_then = self._steps[0]
        rate = 0.0
        if now > then and c.running and slot in steps_then:
            rate = (c.step - steps_then[slot]) / (now - then)
        return ActorState(
            slot=slot,
            kernel_id=kernel_id_of(slot),
            kernel_type=actor.kernel_type,
            step=c.step,
            budget=c.budget,
            snapshots=c.snapshots,
            stall_ns=c.last_stall_ns,
            running=c.running and alive,
            rate=max(0.0, rate),  # a restore takes the step back
            every=session.snapshot_interval_steps(slot),
            dt_s=actor.dt_s,
            time_s=statistics.times[at],
        )

    def _read_store(self, session: Session, now: float, kernel_id_of: Callable[[int], str]) -> None:
        try:
            catalogue = session.storage.catalogue()
        except (CheckpointError, OSError):
            return  # tried again at the next refresh
        self._store_at = now
        registered = session.manager.registered  # the same mapping as long as nothing changes
        if self._made_of and registered is self._made_of[0] and catalogue == self._made_of[1]:
            return  # and the histories stay the same object, by which panels know it
        prefix, count = session.manager.config.name_prefix, len(session.actors)
        self._histories = Histories(catalogue, prefix, count, kernel_id_of)
        self._made_of = registered, catalogue


def _kernel_id(
    registered: Mapping[int, RegisteredActor], actors: Sequence[Actor], slot: int
) -> str:
    """Return an actor's identity, or what it would be by default."""
    actor = registered.get(slot)
    return f"{actors[slot].kernel_type}_{slot}" if actor is None else actor.kernel_id
