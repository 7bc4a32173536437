"""The one table of stages: whole, in order, and read by everybody."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

from ringnb.messages.events import (
    ENDS,
    LIFECYCLE,
    SPANS,
    STAGES,
    STATIONS,
    TROUBLES,
    Event,
    EventLog,
    Stage,
)
from ringnb.session.crank import POSITIONS, TURNS


def test_each_stage_has_one_row_in_order():
    assert get_args(Stage) == STAGES
    assert len(set(STAGES)) == len(STAGES)


def test_a_stage_passes_stations_that_exist():
    keys = [station.key for station in STATIONS]
    assert len(set(keys)) == len(keys)
    for stage in LIFECYCLE:
        assert list(stage.passed) == [key for key in keys if key in stage.passed]


def test_spans_follow_on_each_other_from_due_to_committed():
    assert SPANS[0].begin == "due"
    assert SPANS[-1].end == "committed"
    assert all(a.end == b.begin for a, b in pairwise(SPANS))
    assert all(span.heading and span.meaning for span in SPANS)


def test_what_ends_a_request_and_what_is_trouble():
    assert {"committed", "failed", "expired", "cancelled"} == ENDS
    assert {"failed", "expired", "cancelled", "lost", "bad"} == TROUBLES
    assert all(stage.mark for stage in LIFECYCLE if stage.outcome)


def test_the_crank_stops_at_each_position_of_the_table():
    assert ("idle", *(s.position for s in STATIONS if s.position)) == POSITIONS
    assert [position for position, _, _ in TURNS] == list(POSITIONS)


def test_a_subscriber_gets_the_events_of_its_stages_after_they_were_appended():
    log, got = EventLog(), []
    log.subscribe(lambda event: got.append((event.stage, log.appended)), "cancelled", "expired")
    log.subscribe(lambda event: got.append(("second", event.stage)), "expired")
    for stage in ("requested", "cancelled", "committed", "expired"):
        log.append(Event(stage, 0, 1))
    assert got == [("cancelled", 2), ("expired", 4), ("second", "expired")]


def test_a_subscriber_may_append():
    log = EventLog()
    log.subscribe(lambda event: log.append(Event("due", event.actor_slot)), "committed")
    log.append(Event("committed", 3, 1))
    assert [(e.stage, e.actor_slot) for e in log] == [("committed", 3), ("due", 3)]


def test_what_came_since_a_count_is_of_one_moment_and_never_more():
    log = EventLog(capacity=3)
    assert log.since(log.appended) == ([], 0)
    log.append(Event("due", 0))
    seen = log.appended
    assert log.since(seen)[0] == []  # not all: a slice from -0 would be
    for slot in (1, 2):
        log.append(Event("due", slot))
    assert [e.actor_slot for e in log.since(seen)[0]] == [1, 2]
    assert [e.actor_slot for e in log.since(0)[0]] == [0, 1, 2]
    for slot in (3, 4):
        log.append(Event("due", slot))
    new, seen = log.since(seen)
    assert ([e.actor_slot for e in new], seen) == ([2, 3, 4], 5)  # 1 was dropped
