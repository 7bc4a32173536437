"""How long the stages of a request took."""

from __future__ import annotations

from ringnb.messages.events import Event
from ringnb.panels.core.requests import commit_ms


def test_a_commit_is_timed_from_its_request_however_long_it_was_due():
    stages = ("due", "requested", "sent", "captured", "received", "written", "committed")
    events = [Event(stage, 0, 1, t_ns=10**10 + i * 10**6) for i, stage in enumerate(stages)]
    long_due = [Event("due", 0, 1, t_ns=0), *events[1:]]
    assert commit_ms(long_due) == commit_ms(events) == 5
