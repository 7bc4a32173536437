"""The lifecycle log: one stamped event for every stage a snapshot passes.

The manager and the session append; plots, panels and tests read.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, final, get_args

from ringnb._support.text import counted, rows_table

__all__ = ["STAGES", "TROUBLES", "Event", "EventLog", "EventSink", "Stage", "events_table"]

Stage = Literal[
    "due",
    "requested",
    "sent",
    "captured",
    "received",
    "lost",
    "written",
    "committed",
    "retired",
    "failed",
    "expired",
    "cancelled",
    "restored",
]
STAGES: tuple[Stage, ...] = get_args(Stage)
TROUBLES = frozenset({"failed", "expired", "cancelled", "lost"})
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
        The snapshot request, where there is one (none for ``retired`` and ``restored``).
    step : int or None
        The actor's step, once it is known.
    name : str or None
        The checkpoint's name, once it has one.
    detail : str
        What went wrong, or a remark; empty otherwise.
    """

    stage: Stage
    actor_slot: int
    request_id: int | None = None
    step: int | None = None
    name: str | None = None
    detail: str = ""
    t_ns: int = field(default_factory=time.monotonic_ns)


EventSink = Callable[[Event], None]


def events_table(events: Sequence[Event], began_ns: int, caption: str) -> tuple[str, str]:
    """Render events as a table, a row each.

    Parameters
    ----------
    events : sequence of Event
        In the order of the rows.
    began_ns : int
        The stamp that times are counted from.
    caption : str
        What the table is about.

    Returns
    -------
    html, text : str
        The table, and the same as text with tabs.
    """
    header = ("time (s)", "actor", "event", "request", "step", "checkpoint", "remark")
    rows = [
        (
            f"{(e.t_ns - began_ns) / 1e9:.3f}",
            str(e.actor_slot),
            f"! {e.stage}" if e.stage in TROUBLES else e.stage,
            "" if e.request_id is None else str(e.request_id),
            "" if e.step is None else f"{e.step:,}",
            e.name or "",
            e.detail,
        )
        for e in events
    ]
    classes = ["ringnb-trouble" if e.stage in TROUBLES else "" for e in events]
    text = "\n".join("\t".join(cells) for cells in (header, *rows))
    return rows_table(caption, header, rows, classes=classes), text


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
        return events_table(newest, self.began_ns, caption)[0]

    def __repr__(self) -> str:
        """Summarise the log."""
        return f"<EventLog: {len(self)} events, {self.dropped} dropped>"
