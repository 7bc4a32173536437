"""What a session, or a recorder, looks like at one moment: read once, then shown by every panel.

`SessionState` is immutable, so that panels and threads can share it. `StateReader` reads it, also from a
session that is closed or whose kernel is dead.
"""

from __future__ import annotations

import contextlib
import math
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, final, overload

from ringnb._support.text import name_actors, said_by
from ringnb.actors.base import Actor
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.drawable import simulated
from ringnb.checkpoint.registration import RegisteredActor
from ringnb.errors import CheckpointError
from ringnb.messages.events import Event
from ringnb.panels.core.histories import MOST_READ, Histories
from ringnb.panels.core.watched import SessionLike, Watched, has_kernel
from ringnb.session.statistics import CapturedNumbers, SessionStatistics

__all__ = ["ActorState", "Forms", "SessionState", "StateReader", "StoreTrouble"]

# The store is read so often even without a new event: other processes may write it.
_STORE_READ_S = 2.0
_MOST_APART_S = 30.0  # between two tries to read a store that cannot be read
_CHANGES_STORE = frozenset({"committed", "retired"})  # what is logged when it was changed
_MOST_EVENTS = 400
_RUNNING = "running"
_FIRST = 32  # of very many actors, so many are looked at besides the selected one
_MOST_SEARCHED = 64  # of very many actors, for one that a state fits into
_LOOP_S = 10.0  # a loop of one's own counts as running for so long after a step

# By stored field: its shape, and the names of its axes.
Forms = Mapping[str, tuple[tuple[int, ...], tuple[str, ...]]]


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
    forms: Forms  # of a recorder, as in its newest checkpoint
    saved: bool = False  # whether an automatic checkpoint would hold nothing new
    reduced: CapturedNumbers | None = None  # of the state captured last

    @property
    def calm(self) -> bool:
        """Whether what comes next holds nothing new: it is saved, and stands."""
        return self.saved and not self.running

    @property
    def time(self) -> str:
        """The simulated time in words; "" if a step has no length."""
        return simulated(self.time_s, self.dt_s)


class StoreTrouble(NamedTuple):
    """Why the store cannot be read."""

    why: str
    again_at: float  # when it is tried again, by `time.monotonic`


@dataclass(frozen=True, slots=True)
class SessionState:
    """A session, or a recorder, at one moment."""

    life: str  # "running", or a sentence that says why nothing runs
    has_kernel: bool  # else the user's own loop takes the steps
    backend: str
    actors: Sequence[ActorState]  # one per slot
    any_running: bool  # of very many actors, only the first and the selected one are looked at
    config: CheckpointConfig
    statistics: SessionStatistics
    due_s: float | None  # seconds until the selected actor's next checkpoint is due
    # The same as a moment of `time.monotonic`: the earliest and the latest that it can be.
    due_between: tuple[float, float] | None
    histories: Histories
    store_is_known: bool  # False until the store could be read
    store_trouble: StoreTrouble | None
    events: tuple[Event, ...]  # the newest, oldest first
    appended: int  # events logged in all
    began_ns: int  # the stamp that the events' times are counted from
    fields: frozenset[str]  # names of all actors' fields
    into: int | None  # the next actor that can take a state of the selected one, for a branch

    @property
    def due(self) -> str:
        """When that is due, in words that change once a second; "" if never."""
        if self.due_s is None:
            return ""
        if self.due_s > 1:
            return f"in {math.ceil(self.due_s)} s"
        return "within a second" if self.due_s >= 0.05 else "now"

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
        self._store_due = -math.inf  # when the store is to be read
        self._store_failures = 0  # in a row
        self._store_trouble: StoreTrouble | None = None
        self._events: tuple[Event, ...] = ()
        self._appended = 0  # events logged by then
        self._forms: dict[int, Forms] = {}
        self._names: frozenset[str] | None = None
        self._into_of: tuple[int, int | None] = (-1, None)  # actors stay as they are
        self._forms_of = ""  # the id of the checkpoint that a recorder's are of
        self._moved = (-1, 0.0)  # the step at which a recorder's loop was last, and since when

    def forget_store(self) -> None:
        """Read the store at the next call: it was changed by what no event tells, such as a pin."""
        self._store_due = -math.inf

    def read(self, watched: Watched, selected: int = 0) -> SessionState:
        """Return the state of a session or a recorder: open, closed or with a dead kernel."""
        now, session = time.monotonic(), watched if has_kernel(watched) else None
        life = _RUNNING
        if watched.closed:
            what = "session" if session else "recorder"
            life = f"The {what} is closed: its checkpoints are kept, nothing runs."
        elif session and (reason := session.kernel.stopped_because) is not None:
            life = f"The kernel does not run: {name_actors(reason)}."
        count = len(session.actors) if session else 1
        slots = range(count)
        looked_at = slots if count <= MOST_READ else sorted({*slots[:_FIRST], selected})
        statistics = watched.glance(looked_at)
        new, self._appended = watched.events.since(self._appended)
        if new:
            self._events = (*self._events, *new)[-_MOST_EVENTS:]
        if any(e.stage in _CHANGES_STORE for e in new):
            self.forget_store()
        kernel_id_of = partial(
            _kernel_id, watched.manager.registered, session.actors if session else ()
        )
        self._steps.append((now, {}))
        while len(self._steps) > 2 and now - self._steps[0][0] > self._rate_s:
            self._steps.popleft()
        if now >= self._store_due:
            self._read_store(watched, now, count, kernel_id_of)
        # Weakly: displayed panels, which hold the state, must keep no session.
        read = partial(
            self._read_actor, weakref.ref(watched), now, kernel_id_of, alive=life == _RUNNING
        )
        made = {slot: read(slot, statistics, at) for at, slot in enumerate(looked_at)}
        actors: Sequence[ActorState] = tuple(made.values())
        if count > MOST_READ:
            actors = _Actors(count, made, read)
        config = watched.manager.config  # first: of another process it may have to be asked for
        slot = min(selected, count - 1)
        due_s, due_between = _read_due(watched, slot)
        if session and actors[slot].calm:
            due_s, due_between = None, None  # what is due holds nothing new: it is not taken
        if session is None and actors[0].every is not None:
            # Steps take the interval's place.
            config, due_s, due_between = config.changed(enabled=False), None, None
        return SessionState(
            life=life,
            has_kernel=session is not None,
            backend=watched.backend,
            actors=actors,
            any_running=any(a.running for a in made.values()),
            config=config,
            statistics=statistics,
            due_s=due_s,
            due_between=due_between,
            histories=self._histories or Histories((), "", count, kernel_id_of),
            store_is_known=self._histories is not None,
            store_trouble=self._store_trouble,
            events=self._events,
            appended=self._appended,
            began_ns=watched.events.began_ns,
            fields=self._names_of(session),
            into=self._into(session, slot),
        )

    def _into(self, session: SessionLike | None, slot: int) -> int | None:
        """Return the next actor that can take a state of this one; None if there is none."""
        if session is not None and self._into_of[0] != slot:
            actors, count = session.actors, len(session.actors)
            own = _kind_of(actors[slot])
            near = (at % count for at in range(slot + 1, slot + min(count, _MOST_SEARCHED)))
            found = next((at for at in near if _kind_of(actors[at]) == own), None)
            if found is None and count > _MOST_SEARCHED:
                found = (slot + 1) % count
            self._into_of = slot, found
        return self._into_of[1]

    def _names_of(self, session: SessionLike | None) -> frozenset[str]:
        if session is None:
            return frozenset(self._forms.get(0, ()))
        if self._names is None:  # of a session's actors they stay as they are
            # Of very many actors most are one object.
            distinct = dict(zip(map(id, session.actors), session.actors, strict=True)).values()
            self._names = frozenset(n for a in distinct for n in a.stored_fields)
        return self._names

    def _read_actor(
        self,
        ref: weakref.ref[Watched],
        now: float,
        kernel_id_of: Callable[[int], str],
        slot: int,
        statistics: SessionStatistics | None = None,
        at: int = 0,
        *,
        alive: bool,
    ) -> ActorState:
        """Read an actor, or take it from its place in the statistics."""
        watched = ref()
        if watched is None:
            msg = "the session was deleted: create a new one"
            raise LookupError(msg)
        statistics = statistics or watched.glance((slot,))
        c = statistics.actors[at]
        if self._steps[-1][0] == now:
            self._steps[-1][1][slot] = c.step
        then, steps_then = self._steps[0]
        rate = 0.0
        if now > then and c.running and slot in steps_then:
            rate = (c.step - steps_then[slot]) / (now - then)
        running = c.running and alive
        if has_kernel(watched):
            actor = watched.actors[slot]
            kernel_type, dt_s = actor.kernel_type, actor.dt_s
            if slot not in self._forms:
                self._forms[slot] = dict.fromkeys(actor.stored_fields, (actor.shape, actor.dims))
        else:
            kernel_type, dt_s = watched.manager.registered[slot].kernel_type, None
            if c.step != self._moved[0]:  # where it was found first, it may stand
                self._moved = c.step, now if self._moved[0] >= 0 else -math.inf
            running = running and now - self._moved[1] < _LOOP_S
            self._read_forms(watched, slot)
        return ActorState(
            slot=slot,
            kernel_id=kernel_id_of(slot),
            kernel_type=kernel_type,
            step=c.step,
            budget=c.budget,
            snapshots=c.snapshots,
            stall_ns=c.last_stall_ns,
            running=running,
            rate=max(0.0, rate),  # a restore takes the step back
            every=watched.snapshot_interval_steps(slot),
            dt_s=dt_s,
            time_s=statistics.times[at],
            forms=self._forms.get(slot, {}),
            saved=statistics.saved[at],
            reduced=statistics.reduced[at],
        )

    def _read_forms(self, watched: Watched, slot: int) -> None:
        """Read what the newest checkpoint holds; what cannot be read leaves what is known."""
        history = self._histories[slot] if self._histories else ()
        newest = next((e for e in reversed(history) if not e.damaged), None)
        if newest is None or newest.id == self._forms_of:
            return
        with contextlib.suppress(CheckpointError, OSError):
            checkpoint = watched.storage.load(newest.name)
            layouts = checkpoint.document.fields
            self._forms[slot] = {n: (one.shape, one.dims) for n, one in layouts.items()}
            self._forms_of = newest.id

    def _read_store(
        self, watched: Watched, now: float, count: int, kernel_id_of: Callable[[int], str]
    ) -> None:
        try:
            catalogue = watched.storage.catalogue()
        except (CheckpointError, OSError) as error:
            apart_s = min(_MOST_APART_S, math.ldexp(1.0, min(self._store_failures, 16)))
            self._store_due, self._store_failures = now + apart_s, self._store_failures + 1
            if not watched.closed:  # else the store may be closed as well
                why = said_by(error).removesuffix(".")
                self._store_trouble = StoreTrouble(why, self._store_due)
            return
        self._store_due, self._store_failures = now + _STORE_READ_S, 0
        self._store_trouble = None
        registered = watched.manager.registered  # the same mapping as long as nothing changes
        if self._made_of and registered is self._made_of[0] and catalogue == self._made_of[1]:
            return  # and the histories stay the same object, by which panels know it
        prefix = watched.manager.config.name_prefix
        self._histories = Histories(catalogue, prefix, count, kernel_id_of)
        self._made_of = registered, catalogue


def _kind_of(actor: Actor) -> tuple[object, ...]:
    return actor.kernel_type, tuple(actor.stored_fields), actor.shape, actor.dims


def _read_due(watched: Watched, slot: int) -> tuple[float | None, tuple[float, float] | None]:
    """Return how long until an actor is due, and between which moments that is."""
    try:
        seconds_until_next = watched.manager.seconds_until_next
        before = time.monotonic()
        due_s = seconds_until_next(slot)
    except CheckpointError:
        return None, None  # the manager is closed
    if due_s is None:
        return None, None
    # What is due already was so at any moment before. On a busy machine the two may lie far apart.
    return due_s, (before + due_s if due_s > 0 else -math.inf, time.monotonic() + due_s)


def _kernel_id(
    registered: Mapping[int, RegisteredActor], actors: Sequence[Actor], slot: int
) -> str:
    """Return an actor's identity, or what it would be by default."""
    actor = registered.get(slot)
    return f"{actors[slot].kernel_type}_{slot}" if actor is None else actor.kernel_id
