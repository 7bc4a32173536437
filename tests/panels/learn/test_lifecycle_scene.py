"""From the event log to the lifecycle picture."""

from __future__ import annotations

from ringnb.messages.events import Event
from ringnb.panels.core.requests import requests_of, stage_times
from ringnb.panels.learn.lifecycle_scene import times_of


def test_stage_times_are_those_of_the_stamps():
    events = [
        Event("requested", 0, 5, t_ns=1_000),
        Event("sent", 0, 5, t_ns=3_000),
        Event("captured", 0, 5, t_ns=7_000),
        Event("received", 0, 5, t_ns=7_500),
    ]
    assert stage_times(events) == [("→ H2K ring", 2000), ("→ captured", 4000), ("→ received", 500)]


def test_what_was_retired_belongs_to_the_request_that_made_it():
    events = [
        Event("committed", 0, 1, name="a", t_ns=1),
        Event("expired", 0, 2, detail="no answer", t_ns=2),
        Event("retired", 0, name="a", t_ns=3),
    ]
    assert [e.stage for e in requests_of(events)[1]] == ["committed", "retired"]
    rows = times_of(events)["rows"]
    assert [(row["words"], row["end"], row["mark"]) for row in rows] == [
        ("✗ timed out no answer", "bad", "✗"),
        ("retired a", "gone", "retired"),
    ]


def test_bars_and_table_are_the_stage_times():
    events = [
        Event("requested", 2, 5, t_ns=1_000),
        Event("sent", 2, 5, t_ns=3_000),
        Event("captured", 2, 5, step=70, t_ns=7_000),
    ]
    times = times_of(events)
    (row,) = times["rows"]
    measured = {h: ns for h, ns in zip(times["headings"], row["ns"], strict=True) if ns is not None}
    assert measured == dict(stage_times(events)) == {"→ H2K ring": 2000, "→ captured": 4000}
    assert (row["request"], row["slot"], row["step"], row["end"]) == (5, 2, 70, "")
