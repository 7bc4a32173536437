"""Controls and the front end: messages are acknowledged, and sent where nothing is pushed."""

from __future__ import annotations

import sys
import threading

from front_end import actions_of, below, press, told
from waiting import until


def test_a_control_learns_that_its_message_was_received(session):
    panel = session.panel("actor")
    bars = [w for w in below(panel) if "live.run" in {a[0] for a in actions_of(w)}]
    bars[0].hand._handle_custom_msg({"do": "live.run", "id": "first"}, [])
    until(lambda: "first" in panel.line.board.acknowledged)


def test_a_number_that_is_refused_goes_back_to_what_is_in_force_and_it_is_said(session):
    panel = session.panel("checkpoint")
    in_force = session.manager.config.interval
    panel.interval.value = -5
    assert panel.interval.value == in_force
    text = f"Interval (s): -5 is refused, write 0.05 to 86,400; it stays {in_force:g}"
    until(lambda: told(panel, text))
    panel.steps.value = 0
    assert panel.steps.value == 1000
    heard = []
    panel.interval.observe(lambda change: heard.append(change["new"]), "value")
    panel.interval.value = -6
    assert heard == []
    panel.interval.set_state({"value": -7.0})  # as a page does
    assert panel.interval.value == in_force
    assert session.manager.config.interval == in_force
    panel.interval.value = 7.5  # what is taken is taken
    until(lambda: session.manager.config.interval == 7.5)
    session.manager.reconfigure(interval=0.01)  # a cell may; then that is in force, and shown
    until(lambda: panel.interval.value == 0.01)


def test_what_is_acknowledged_is_shown(session, names, monkeypatch):
    """Else the page would take its playhead back for a moment."""
    timeline = session.panel("timeline")
    controller, board, hand = timeline._controller, timeline.deck.board, timeline.deck.hand
    until(lambda: timeline.deck.lanes)
    during, put, looks, shown = [], controller.display.put, controller._looks, []

    def look(step, ident):
        hand._handle_custom_msg({"do": "look.to", "lane": 1, "step": step, "id": ident}, [])

    def noting(widget, **traits):
        if widget is board and "acknowledged" in traits:
            shown.append((traits["acknowledged"], traits["playhead"]["step"]))
        put(widget, **traits)

    def interrupted():
        found = looks()
        if not during:
            during.append(look(20, "while it is put"))
        return found

    controller.on_do("look.now", lambda *_: during.append(controller.switchboard.traits()))
    hand._handle_custom_msg({"do": "look.now", "id": "x"}, [])
    assert during.pop()["acknowledged"] == []  # its handler has not returned yet
    monkeypatch.setattr(controller.display, "put", noting)
    monkeypatch.setattr(controller, "_looks", interrupted)
    until(lambda: "while it is put" in board.acknowledged)
    assert {step for ids, step in shown if "while it is put" in ids} == {20}


def test_a_front_end_that_takes_no_pushes_is_sent_everything_when_it_asks(session, monkeypatch):
    assert "events.refresh" not in {
        a[0] for w in below(session.panel("events")) for a in actions_of(w)
    }
    monkeypatch.setitem(sys.modules, "google.colab", object())
    panel = session.panel("actor")
    until(lambda: panel.table.value)
    sent = []
    for widget in (*below(panel), panel.line.board):
        monkeypatch.setattr(
            widget, "send_state", lambda *a, w=widget: sent.append((w, threading.current_thread()))
        )
    press(panel, "refresh")
    here = [w for w, thread in sent if thread is threading.current_thread()]
    assert {panel.line.board, panel.table} <= set(here)
