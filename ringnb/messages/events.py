"""The lifecycle of a snapshot: its stages, and the log of them, one stamped event for each.

`LIFECYCLE` is the one table of stages. To add a stage, add its name to `Stage` and its row to the table;
if it is a place of its own, add that to `STATIONS`. The hand crank, the figures and the panels read both
tables. The manager and the session append events; plots, panels and tests read them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple, final

from ringnb._support.text import counted, rows_table

__all__ = [
    "ENDS",
    "LIFECYCLE",
    "SPANS",
    "STAGES",
    "STATIONS",
    "TROUBLES",
    "Event",
    "EventLog",
    "EventSink",
    "LifecycleStage",
    "Span",
    "Stage",
    "Station",
]

Stage = Literal[
    "due",
    "requested",
    "sent",
    "captured",
    "received",
    "lost",
    "written",
    "committed",
    "bad",
    "retired",
    "failed",
    "expired",
    "cancelled",
    "restored",
    "disturbed",
    "adjusted",
]


class Station(NamedTuple):
    """A place that a request passes on its way."""

    key: str
    label: str  # in a picture
    where: Literal["Python", "ring", "kernel", "disk"]
    position: str = ""  # what the hand crank says of a request stopped there; empty if it cannot be


# In the order in which a request passes them.
STATIONS: tuple[Station, ...] = (
    Station("due", "due", "Python"),
    Station("requested", "requested", "Python", "requested"),
    Station("h2k", "H2K ring", "ring", "on the H2K ring"),
    Station("captured", "captured at the step boundary", "kernel"),
    Station("staging", "in staging", "kernel", "in staging"),
    Station("k2h", "K2H ring", "ring", "on the K2H ring"),
    Station("received", "received", "Python", "received"),
    Station("writing", "being written", "disk", "written"),
    Station("committed", "committed", "disk", "committed"),
    Station("retired", "retired", "disk"),
)


class LifecycleStage(NamedTuple):
    """What is known of a stage: where the request has been, how the stage is called, what it means."""

    name: Stage
    passed: tuple[str, ...] = ()  # keys of stations that a request has certainly passed
    # Of the time since the stage before: its column's heading, and what is done in it. Empty for a stage
    # that is not on the straight way to a commit.
    heading: str = ""
    meaning: str = ""
    outcome: Literal["", "good", "gone", "bad"] = ""  # of the checkpoint; empty on the way
    mark: str = ""  # the outcome in a word or a sign
    ends_request: bool = False  # whether the manager has no more to say of the request


LIFECYCLE: tuple[LifecycleStage, ...] = (
    LifecycleStage("due", ("due",)),
    LifecycleStage("requested", ("requested",), "due → requested", "waiting to be polled"),
    LifecycleStage("sent", ("h2k",), "→ H2K ring", "waiting for a staging buffer"),
    LifecycleStage("captured", ("captured", "staging"), "→ captured", "in the H2K ring, captured"),
    LifecycleStage("received", ("k2h", "received"), "→ received", "in the K2H ring"),
    LifecycleStage("lost", ("captured", "staging", "k2h"), outcome="bad", mark="? answer lost"),
    LifecycleStage("written", ("writing",), "→ written", "being written"),
    LifecycleStage(
        "committed",
        ("writing", "committed"),
        "→ committed",
        "made visible and durable",
        outcome="good",
        mark="✓",
        ends_request=True,
    ),
    LifecycleStage("bad", ("writing", "committed"), outcome="bad", mark="✓ bad state"),
    LifecycleStage("retired", ("retired",), outcome="gone", mark="retired"),
    LifecycleStage("failed", outcome="bad", mark="✗ failed", ends_request=True),
    LifecycleStage("expired", outcome="bad", mark="✗ timed out", ends_request=True),
    LifecycleStage("cancelled", outcome="bad", mark="✗ cancelled", ends_request=True),
    LifecycleStage("restored", outcome="good", mark="restored"),
    # What a user has done to the live state, at the step at which the kernel did it.
    LifecycleStage("disturbed"),
    LifecycleStage("adjusted"),
)
STAGES: tuple[Stage, ...] = tuple(stage.name for stage in LIFECYCLE)
TROUBLES = frozenset(stage.name for stage in LIFECYCLE if stage.outcome == "bad")
ENDS = frozenset(stage.name for stage in LIFECYCLE if stage.ends_request)


class Span(NamedTuple):
    """The time from one stage of the straight way to the next; heading and meaning are the latter's."""

    begin: Stage
    end: Stage
    heading: str
    meaning: str


def _spans() -> Iterator[Span]:
    begin = LIFECYCLE[0].name
    for stage in LIFECYCLE:
        if stage.heading:
            yield Span(begin, stage.name, stage.heading, stage.meaning)
            begin = stage.name


SPANS: tuple[Span, ...] = tuple(_spans())
_MOST_SHOWN = 30


@dataclass(frozen=True, slots=True)
class Event:
    """One stage of one snapshot's life.

    Attributes
    ----------
    stage : str
        One of `STAGES`.
    t_ns : int
        ``time.monotonic_ns()`` at which the stage was reached, nanoseconds. Stages that are reported
        later than they happen (``due``, ``captured``) carry the time at which they happened.
    actor_slot : int
        The actor concerned.
    request_id : int or None
        The snapshot request, where there is one (none for ``retired``, ``restored``, ``disturbed`` and
        ``adjusted``).
    step : int or None
        The actor's step, once it is known.
    name : str or None
        The checkpoint's name, once it has one.
    detail : str
        What went wrong, or a remark; empty otherwise. Of ``disturbed`` the cell and the amplitude, of
        ``adjusted`` the parameters that have changed.
    """

    stage: Stage
    actor_slot: int
    request_id: int | None = None
    step: int | None = None
    name: str | None = None
    detail: str = ""
    t_ns: int = field(default_factory=time.monotonic_ns)


EventSink = Callable[[Event], None]


@final
class EventLog:
    """A bounded, thread-safe log of `Event`; the oldest are dropped first.

    Parameters
    ----------
    capacity : int, default 10_000
        Events kept. `dropped` counts those that fell out.

    Attributes
    ----------
    began_ns : int
        ``time.monotonic_ns()`` when the log was made.

    Notes
    -----
    Any thread may append. Iterating works on a copy made when the iterator is created, so it never
    sees a half-made change. Order is order of appending, which may differ from order of stamps.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        if capacity < 1:
            msg = f"capacity={capacity} is out of range: an event log keeps at least 1 event"
            raise ValueError(msg)
        self._events: deque[Event] = deque(maxlen=capacity)
        self._lock = threading.Lock()
        self._appended = 0
        self._subscribers: dict[Stage, tuple[EventSink, ...]] = {}
        self.began_ns = time.monotonic_ns()

    def append(self, event: Event) -> None:
        """Append one event.

        Parameters
        ----------
        event : Event
            The event; its stamp is taken as it is.
        """
        with self._lock:
            self._events.append(event)
            self._appended += 1
        for callback in self._subscribers.get(event.stage, ()):
            callback(event)

    def subscribe(self, callback: EventSink, *stages: Stage) -> None:
        """Have a function called with each event of some stages, after it was appended.

        Parameters
        ----------
        callback : callable
            It runs on the thread that appends, such as a thread of the service, or one that calls the
            manager. It must neither block nor raise.
        *stages : str
            The stages.
        """
        with self._lock:
            for stage in stages:
                self._subscribers[stage] = (*self._subscribers.get(stage, ()), callback)

    @property
    def appended(self) -> int:
        """Events appended since the log was made, dropped ones included."""
        with self._lock:
            return self._appended

    @property
    def dropped(self) -> int:
        """Events that fell out because the log was full."""
        with self._lock:
            return self._appended - len(self._events)

    def select(self, *stages: Stage, actor_slot: int | None = None) -> list[Event]:
        """Return the events of some stages, oldest first.

        Parameters
        ----------
        *stages : str
            Stages wanted; none means all.
        actor_slot : int, optional
            Only events of this actor.

        Returns
        -------
        list of Event
            A copy.
        """
        return [
            e
            for e in self
            if (not stages or e.stage in stages)
            and (actor_slot is None or e.actor_slot == actor_slot)
        ]

    def since(self, appended: int) -> tuple[list[Event], int]:
        """Return the events that were appended after so many, and how many were appended in all.

        Parameters
        ----------
        appended : int
            What `appended` was at an earlier moment; 0 returns all that are kept.

        Returns
        -------
        events : list of Event
            A copy, oldest first; without those that were dropped meanwhile.
        appended : int
            What to ask with the next time.
        """
        with self._lock:  # both of one moment: another thread may append in between
            new = max(0, min(self._appended - appended, len(self._events)))
            newest = list(islice(reversed(self._events), new))  # asked often: all would be copied
            return newest[::-1], self._appended

    def __iter__(self) -> Iterator[Event]:
        """Iterate over a copy, oldest first."""
        with self._lock:
            return iter(list(self._events))

    def __len__(self) -> int:
        """Return the number of events kept."""
        with self._lock:
            return len(self._events)

    def __getitem__(self, index: int) -> Event:
        """Return one event; ``log[-1]`` is the newest."""
        with self._lock:
            return self._events[index]

    def _repr_html_(self) -> str:
        newest = list(self)[-_MOST_SHOWN:]
        caption = f"{counted(self.appended, 'event')}, times since the log began"
        if self.appended > len(newest):
            caption = f"The last {len(newest)} of {caption}"
        header = ("time (s)", "actor", "event", "request", "step", "checkpoint", "remark")
        rows = [
            (
                f"{(e.t_ns - self.began_ns) / 1e9:.3f}",
                str(e.actor_slot),
                f"! {e.stage}" if e.stage in TROUBLES else e.stage,
                "" if e.request_id is None else str(e.request_id),
                "" if e.step is None else f"{e.step:,}",
                e.name or "",
                e.detail,
            )
            for e in newest
        ]
        classes = ["ringnb-trouble" if e.stage in TROUBLES else "" for e in newest]
        return rows_table(caption, header, rows, classes=classes)

    def __repr__(self) -> str:
        """Summarise the log."""
        return f"<EventLog: {len(self)} events, {self.dropped} dropped>"
