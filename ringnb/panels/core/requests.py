"""The events of each request, and how long its stages took. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ringnb.messages.events import SPANS, Event

__all__ = ["commit_ms", "requests_of", "stage_times"]


def requests_of(events: Iterable[Event]) -> dict[int, list[Event]]:
    """Group events by request, in order of their stamps, the oldest request first.

    A retirement belongs to the request that committed the checkpoint.
    """
    found: dict[int, list[Event]] = {}
    committed_by: dict[str, int] = {}
    for event in events:
        request = event.request_id
        if request is None and event.stage == "retired" and event.name is not None:
            request = committed_by.get(event.name)
        if request is None:
            continue
        found.setdefault(request, []).append(event)
        if event.stage == "committed" and event.name is not None:
            committed_by[event.name] = request
    return {k: sorted(v, key=lambda e: e.t_ns) for k, v in found.items()}


def stage_times(events: Sequence[Event]) -> list[tuple[str, int]]:
    """Return heading and nanoseconds of every stage of one request that is over."""
    stamps: dict[str, int] = {}
    for event in events:
        stamps.setdefault(event.stage, event.t_ns)
    return [
        (span.heading, max(0, stamps[span.end] - stamps[span.begin]))
        for span in SPANS
        if span.begin in stamps and span.end in stamps
    ]


def commit_ms(events: Sequence[Event]) -> float:
    """Return how long a commit took from its request on, in milliseconds.

    Since when it was due does not count: a shorter interval makes it due in the past.
    """
    asked = [e for e in events if e.stage != "due"]
    return sum(ns for _, ns in stage_times(asked)) / 1e6
