"""From the event log to the lifecycle picture: where every request is, and how long its stages took.

Pure functions: no widget, no session, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ringnb.messages.events import ENDS, LIFECYCLE, SPANS, STATIONS, Event, LifecycleStage
from ringnb.panels.core.requests import requests_of, stage_times
from ringnb.panels.core.state import SessionState

__all__ = ["MOST_REQUESTS", "PLACES", "scene_of", "times_of"]

MOST_REQUESTS = 8

# What the map is drawn of.
PLACES = [{"id": at.key, "name": at.label, "where": at.where} for at in STATIONS]

_ORDER = [station.key for station in STATIONS]
_STAGES: dict[str, LifecycleStage] = {stage.name: stage for stage in LIFECYCLE}
_STOPS = {station.position: station for station in STATIONS if station.position}
_UNDER_WAY = LifecycleStage("requested")  # no outcome, no mark


def times_of(events: Iterable[Event]) -> dict[str, Any]:
    """Return the measured times of the newest requests, the newest first.

    That is ``headings`` (of the spans) and ``rows``: request, slot, step, ``ns`` (nanoseconds per
    heading, None for what is not over), ``end`` and ``mark`` of the outcome, and the outcome in words.
    """
    headings = [span.heading for span in SPANS]
    rows = []
    for request, logged in reversed(list(requests_of(events).items())[-MOST_REQUESTS:]):
        own = _until_end(logged)
        times = dict(stage_times(own))
        outcome = _outcome(own)
        rows.append(
            {
                "request": request,
                "slot": own[0].actor_slot,
                "step": next((e.step for e in own if e.step is not None), None),
                "ns": [times.get(heading) for heading in headings],
                "end": outcome.outcome,
                "mark": outcome.mark.partition(" ")[0],
                "words": _outcome_words(own),
            }
        )
    return {"headings": headings, "rows": rows}


def scene_of(
    state: SessionState,
    selected: tuple[int, str] | None = None,
    last_positions: Mapping[int, str] | None = None,
    slot: int = 0,
) -> dict[str, Any]:
    """Return what the lifecycle view draws.

    ``selected`` is a request that is moved by hand, and how far it has come
    (`ringnb.session.crank.POSITIONS`); ``last_positions`` says of requests moved by hand how far they
    had come before they ended, and is None where service threads move them.

    That is ``tokens`` (id, label, path, end, mark, note), ``fills`` (words per station),
    ``held`` (the station where everything is stopped), ``note``, ``selected`` (a request), ``rings``
    (how many messages lie on each), ``buffers`` (taken, and all), ``copied`` (how long the last capture
    of the selected actor took, in words) and ``by_hand``.
    """
    by_service = last_positions is None
    tokens = []
    waiting = writing = 0
    for request, logged in requests_of(state.events).items():
        events = _until_end(logged)
        ended = any(e.stage in ENDS for e in events)
        position = None
        if ended and last_positions is not None:
            position = last_positions.get(request)
        elif not ended and selected is not None and selected[0] == request:
            position = selected[1]
        path = _path(events, position, ended=ended, by_service=by_service)
        waiting += path[-1] == "requested" and not ended
        writing += path[-1] == "writing" and not ended
        outcome = _outcome(events)
        tokens.append(
            {
                "id": request,
                "label": f"#{request} a{events[0].actor_slot}",
                "path": path,
                "end": outcome.outcome,
                "mark": outcome.mark,
                "note": _outcome_words(events),
            }
        )
    s, kernel = state.statistics, state.statistics.kernel
    if by_service:  # with many actors the newest part of the log does not tell of all
        waiting, writing = s.waiting_to_send, s.being_written
    held = note = ""
    if selected is not None and selected[1] in _STOPS:
        held = _STOPS[selected[1]].key
        note = f"Everything is stopped: request {selected[0]} is {selected[1]}."
        if any(t["id"] == selected[0] and t["end"] == "bad" for t in tokens):
            note += " It has ended already: what the kernel answers will be ignored."
    slots = kernel.lanes * kernel.ring_capacity
    stall_ns = state.actors[min(slot, len(state.actors) - 1)].stall_ns
    return {
        "tokens": tokens[-MOST_REQUESTS:],
        "fills": {
            "requested": f"{waiting} of {s.pending} to be sent" if s.pending else "none pending",
            "h2k": f"{sum(kernel.h2k_depth)} of {slots} slots",
            "staging": f"{sum(kernel.staging_taken)} of {kernel.lanes * 2} buffers",
            "k2h": f"{sum(kernel.k2h_depth)} of {slots} slots",
            "writing": f"{writing} waiting or under way",
            "committed": f"{s.completed} in all",
        },
        "held": held,
        "note": note,
        "selected": None if selected is None else selected[0],
        "rings": {"h2k": sum(kernel.h2k_depth), "k2h": sum(kernel.k2h_depth)},
        "buffers": [sum(kernel.staging_taken), kernel.lanes * 2],
        "copied": _duration(stall_ns) if stall_ns else "",
        "by_hand": not by_service,
    }


def _until_end(events: Sequence[Event]) -> list[Event]:
    """Leave out what came after a request had ended, such as an answer that was no longer awaited."""
    end = next((i for i, e in enumerate(events) if e.stage in ENDS), len(events))
    return [*events[: end + 1], *(e for e in events[end + 1 :] if e.stage == "retired")]


def _path(
    events: Sequence[Event], position: str | None, *, ended: bool, by_service: bool
) -> list[str]:
    """Return the stations that a request has passed; ``position`` is how far a hand has moved it."""
    stages = {e.stage for e in events}
    passed = {station for stage in stages for station in _STAGES[stage].passed}
    # A service thread passes on at once what it receives; a kernel that refuses captures nothing.
    handed_on = by_service and not ended and "received" in stages
    if (handed_on and "lost" not in stages) or {"captured", "failed"} <= stages:
        passed.add("writing")
    if position is not None:
        if not ended:  # it may have been moved less far than its events say
            passed &= {"due"}
        if position in _STOPS:
            passed.update(_ORDER[1 : _ORDER.index(_STOPS[position].key) + 1])
    return [station for station in _ORDER if station in passed] or ["requested"]


def _outcome(events: Sequence[Event]) -> LifecycleStage:
    """Return the last stage of a request that has an outcome, or one that has none."""
    outcomes = [_STAGES[e.stage] for e in events if _STAGES[e.stage].outcome]
    return outcomes[-1] if outcomes else _UNDER_WAY


def _outcome_words(events: Sequence[Event]) -> str:
    """Say in a word what became of a request, and with what; or how far it is."""
    last, mark = events[-1], _outcome(events).mark
    return f"{mark} {last.name or last.detail}".strip() if mark else last.stage


def _duration(ns: int) -> str:
    return f"{ns / 1e6:,.2f} ms" if ns >= 100_000 else f"{ns / 1e3:,.1f} µs"
