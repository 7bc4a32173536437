"""From the event log to the lifecycle picture: where every request is, and how long its stages took.

Pure functions: no widget, no session, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ringnb.messages.events import ENDS, LIFECYCLE, SPANS, STATIONS, Event, LifecycleStage
from ringnb.panels.core.state import SessionState

__all__ = [
    "MOST_REQUESTS",
    "requests_of",
    "scene_of",
    "stage_times",
    "times_table_rows",
]

MOST_REQUESTS = 8

_ORDER = [station.key for station in STATIONS]
_PASSED: dict[str, tuple[str, ...]] = {stage.name: stage.passed for stage in LIFECYCLE}
_BY_HAND = {station.position: station.key for station in STATIONS if station.position}
_OUTCOMES: dict[str, LifecycleStage] = {s.name: s for s in LIFECYCLE if s.outcome}


def requests_of(events: Iterable[Event]) -> dict[int, list[Event]]:
    """Group events by request, the oldest request first; a retirement belongs to who committed it.

    Parameters
    ----------
    events : iterable of Event
        A part of the log.

    Returns
    -------
    dict of int to list of Event
        Events by request, in order of their stamps.
    """
    found: dict[int, list[Event]] = {}
    by_name: dict[str, int] = {}
    for event in events:
        request = event.request_id
        if request is None and event.stage == "retired" and event.name in by_name:
            request = by_name[event.name]
        if request is None:
            continue
        found.setdefault(request, []).append(event)
        if event.stage == "committed" and event.name is not None:
            by_name[event.name] = request
    return {k: sorted(v, key=lambda e: e.t_ns) for k, v in found.items()}


def stage_times(events: Sequence[Event]) -> list[tuple[str, int]]:
    """Return how long each stage of one request took.

    Parameters
    ----------
    events : sequence of Event
        Of one request.

    Returns
    -------
    list of (str, int)
        Stage in words, nanoseconds; only stages that are over.
    """
    stamps: dict[str, int] = {}
    for event in events:
        stamps.setdefault(event.stage, event.t_ns)
    return [
        (span.heading, max(0, stamps[span.end] - stamps[span.begin]))
        for span in SPANS
        if span.begin in stamps and span.end in stamps
    ]


def times_table_rows(events: Iterable[Event]) -> tuple[list[str], list[list[str]], list[str]]:
    """Return the table of measured times of the newest requests.

    Parameters
    ----------
    events : iterable of Event
        A part of the log.

    Returns
    -------
    header : list of str
        Headings.
    rows : list of list of str
        The newest request first.
    classes : list of str
        A CSS class per row, for requests that came to nothing.
    """
    headings = [span.heading for span in SPANS]
    header = ["request", "actor", *headings, "outcome"]
    rows, classes = [], []
    for request, every in reversed(list(requests_of(events).items())[-MOST_REQUESTS:]):
        mine = _until_over(every)
        times = dict(stage_times(mine))
        end = _end_of(mine)
        rows.append(
            [
                str(request),
                str(mine[0].actor_slot),
                *(_duration(times[one]) if one in times else "" for one in headings),
                _outcome(mine),
            ]
        )
        classes.append("ringnb-trouble" if end[0] == "bad" else "")
    return header, rows, classes


def scene_of(
    state: SessionState,
    hand: tuple[int, str] | None = None,
    stood: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    """Return what the lifecycle view draws.

    Parameters
    ----------
    state : SessionState
        The session.
    hand : (int, str), optional
        A request that is moved by hand, and how far it has come (`ringnb.session.crank.POSITIONS`).
    stood : mapping of int to str, optional
        Where requests moved by hand were seen last before they ended; None where service threads move
        them.

    Returns
    -------
    dict
        ``stations``, ``tokens`` (id, label, path, end, mark, note), ``fills`` (words per station),
        ``held`` (the station where the world is stopped), ``note``.
    """
    tokens = []
    waiting = writing = 0
    for request, every in requests_of(state.events).items():
        events = _until_over(every)
        stages = {e.stage for e in events}
        over = bool(stages & ENDS)
        passed = {station for stage in stages for station in _PASSED.get(stage, ())}
        # A service thread hands on what it has received at once; a kernel that refuses captures nothing.
        by_service = stood is None and "received" in stages and not over and "lost" not in stages
        if by_service or {"captured", "failed"} <= stages:
            passed.add("writing")
        if over:
            passed.update(_as_far_as((stood or {}).get(request)))
        elif hand is not None and hand[0] == request:
            passed = {*_as_far_as(hand[1]), *(passed & {"due"})}
        path = [station for station in _ORDER if station in passed] or ["requested"]
        waiting += path[-1] == "requested" and not over
        writing += path[-1] == "writing" and not over
        end, mark = _end_of(events)
        tokens.append(
            {
                "id": request,
                "label": f"#{request} a{events[0].actor_slot}",
                "path": path,
                "end": end,
                "mark": mark,
                "note": _outcome(events),
            }
        )
    kernel = state.statistics.kernel
    slots = kernel.lanes * kernel.ring_capacity
    buffers = kernel.lanes * 2
    held = _BY_HAND.get(hand[1], "") if hand is not None else ""
    pending = state.statistics.pending
    if stood is None:  # of many actors the log's newest part does not tell of all
        waiting, writing = state.statistics.waiting_to_send, state.statistics.being_written
    note = f"The world is stopped: request {hand[0]} is {hand[1]}." if hand and held else ""
    if hand and any(t["id"] == hand[0] and t["end"] == "bad" for t in tokens):
        note += " It has ended already: what the kernel answers will be ignored."
    return {
        "stations": [{"id": s.key, "name": s.label, "where": s.where} for s in STATIONS],
        "tokens": tokens[-MOST_REQUESTS:],
        "fills": {
            "requested": f"{waiting} to be sent" + (f" of {pending} pending" if pending else ""),
            "h2k": f"{sum(kernel.h2k_depth)} of {slots} slots",
            "staging": f"{sum(kernel.staging_taken)} of {buffers} buffers",
            "k2h": f"{sum(kernel.k2h_depth)} of {slots} slots",
            "writing": f"{writing} waiting or under way",
            "committed": f"{state.statistics.completed} in all",
        },
        "held": held,
        "note": note,
    }


def _until_over(events: Sequence[Event]) -> list[Event]:
    """Leave out what came when a request had ended: answers that nobody waited for any more."""
    ends = [i for i, e in enumerate(events) if e.stage in ENDS]
    if not ends:
        return list(events)
    return [*events[: ends[0] + 1], *(e for e in events[ends[0] :] if e.stage == "retired")]


def _as_far_as(position: str | None) -> list[str]:
    """Return the stations that a request in the hand has passed, without ``due``."""
    station = _BY_HAND.get(position or "")
    return [] if station is None else _ORDER[1 : _ORDER.index(station) + 1]


def _outcome(events: Sequence[Event]) -> str:
    """Say in a word what became of a request, and with what; or how far it is."""
    last = events[-1]
    mark = _end_of(events)[1]
    return f"{mark} {last.name or last.detail}".strip() if mark else last.stage


def _end_of(events: Sequence[Event]) -> tuple[str, str]:
    ends = [_OUTCOMES[e.stage] for e in events if e.stage in _OUTCOMES]
    return (ends[-1].outcome, ends[-1].mark) if ends else ("", "")


def _duration(ns: int) -> str:
    return f"{ns / 1e6:,.2f} ms" if ns >= 100_000 else f"{ns / 1e3:,.1f} µs"
