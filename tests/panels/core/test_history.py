"""The history: messages, and the log of stages with times that stay."""

from __future__ import annotations

from front_end import hand_of, told
from waiting import until

from ringnb.messages.events import Event


def test_the_time_of_an_event_stays_the_same_however_long_the_log_grows(session):
    panel, log = session.panel("events"), session.events
    for second in range(1, 601):  # more than a panel looks at
        log.append(Event("committed", 0, second, t_ns=log.began_ns + second * 10**9))
    until(lambda: panel.line.rows and panel.line.rows[0]["when"] == "600.000 s")
    oldest = panel.line.rows[-1]
    assert (oldest["when"], oldest["word"]) == ("401.000 s", "committed")
    assert oldest["text"] == "actor 0, request 401"
    shown = log._repr_html_()  # in a cell
    assert f"The last 30 of {log.appended} events" in shown
    assert shown.count("<tr>") == 31
    assert "571.000" in shown


def test_the_history_of_a_panel_is_sent_while_it_is_open(session):
    panel = session.panel("actor")
    line, hand = panel.line, hand_of(panel)
    until(lambda: told(panel, "Nothing is stored yet"))  # said first
    hand._handle_custom_msg({"do": "live.pause"}, [])
    until(lambda: told(panel, "is paused"))
    assert line.rows == []
    hand._handle_custom_msg({"do": "say.history", "panel": "actor", "part": "everything"}, [])
    first = "Nothing is stored yet: checkpoints are made only when asked for"
    until(lambda: [row["text"] for row in line.rows] == ["Actor 0 is paused", first])
    hand._handle_custom_msg({"do": "say.history", "panel": "actor", "part": "problems"}, [])
    until(lambda: line.part == "problems" and line.rows == [])
    hand._handle_custom_msg({"do": "say.history", "panel": "actor", "part": ""}, [])
    until(lambda: line.part == "")
