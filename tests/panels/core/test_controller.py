"""What the panels of a session share: workers, messages, the session's end and restart."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from dataclasses import replace

import pytest
from front_end import press
from waiting import until

import ringnb as rn
from ringnb.panels.core.controller import Controller, Message
from ringnb.panels.core.limits import PROFILES, Profile


def test_a_handler_returns_at_once_while_the_disk_is_slow(session):
    session.snapshot(0)
    session.faults.slow_disk(0.3)
    checkpoint, actor = session.panel("checkpoint"), session.panel("actor")
    press(actor, "run")
    until(lambda: session.counters(0).running)
    press(checkpoint, "snapshot")
    began = time.monotonic()
    press(actor, "pause")
    assert time.monotonic() - began < 0.05
    until(lambda: not session.counters(0).running, 0.25)  # long before the snapshot is committed
    session.faults.clear()
    until(lambda: "Committed" in checkpoint.frame.status)


def test_a_failure_in_the_background_is_shown_and_not_swallowed(session):
    panel = session.panel("checkpoint")
    session.faults.fill_disk()
    with pytest.warns(rn.CheckpointWarning, match="No space left"):
        session.manager.reconfigure(enabled=True)
        until(lambda: "No space left" in panel.frame.trouble)
    assert panel.frame.alert == ""
    session.faults.clear()
    until(lambda: panel.frame.trouble == "")  # made good by the retry


def test_an_error_of_the_background_that_was_shown_still_reaches_the_next_cell(session):
    actor = session.panel("actor")
    session.keep_failure(RuntimeError("the writer is broken"))
    until(lambda: "the writer is broken" in actor.frame.trouble)
    press(actor, "run")  # shows it, and leaves it for the cell
    until(lambda: actor.frame.detail != "")
    with pytest.raises(RuntimeError, match="the writer is broken"):
        session.pause()


def test_only_the_panel_that_spoke_last_shows_what_it_did(session):
    cockpit, actor, checkpoint = (
        session.panel(),
        session.panel("actor"),
        session.panel("checkpoint"),
    )
    press(actor, "pause")
    until(lambda: actor.frame.status == cockpit.frame.status == "Actor 0 is paused")
    press(checkpoint, "snapshot")
    until(lambda: "Committed" in checkpoint.frame.status and not actor.frame.status)
    assert cockpit.frame.status == checkpoint.frame.status


def test_the_error_of_an_action_is_shown_with_its_traceback(session):
    panel = session.panel("checkpoint")
    press(panel, "snapshot")
    until(lambda: "Committed" in panel.frame.status)
    session.faults.fill_disk()
    press(panel, "snapshot")
    until(lambda: "No space left" in panel.frame.alert)
    assert panel.frame.status == ""  # the success before is not the newest any more
    assert "OSError" in panel.frame.detail
    session.faults.clear()
    press(panel, "snapshot")
    until(lambda: "Committed" in panel.frame.status)
    until(lambda: panel.frame.alert == "" and panel.frame.detail == "")


def test_a_panel_that_cannot_be_shown_says_so_and_stops_no_other(session, monkeypatch):
    timeline, actor = session.panel("timeline"), session.panel("actor")
    monkeypatch.setattr(timeline, "show", lambda _: 1 / 0)
    until(lambda: "ZeroDivisionError" in timeline.frame.alert)
    press(actor, "run")
    until(lambda: actor.frame.flags["run"]["pressed"])


@pytest.mark.parametrize("end", ["kill", "stop"])
@pytest.mark.parametrize("loop_waits", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_ten_restarts_in_a_row_leave_the_panel_alive(session, end, loop_waits, monkeypatch):
    """A restart closes the old session before there is a new one; the loop must outlive that."""
    # The loop waits soon, and no rate is left to sink.
    monkeypatch.setitem(PROFILES, "default", Profile(quiet_s=0.0, rate_s=0.1))
    faults, actor = session.panel("faults"), session.panel("actor")
    for _ in range(10):
        running = actor.session
        press(actor if end == "stop" else faults, end)
        if end == "stop":
            until(lambda running=running: running.closed)
        else:
            until(lambda running=running: not running.kernel.alive)
        if loop_waits:
            running.close()
            until(lambda: actor.frame.state != "running")
            until(lambda: actor._controller.display.settled)  # nothing more to send: it waits
        press(actor, "restart")
        until(lambda running=running: actor.session is not running)
        until(lambda: actor.frame.state == "running")
        press(actor, "step")
        until(lambda: "steps to take" in actor.frame.status)
    assert session.panel("actor") is actor
    assert session.successor is actor.session
    assert actor.session.panel("actor") is actor  # the new one's panels are the same


def test_a_restart_leaks_no_kernel(session):
    first = session.remake()
    second = weakref.ref(first.remake())
    between = weakref.ref(first)
    assert session.successor is first.successor is second()
    del first
    until(lambda: gc.collect() >= 0 and between() is None)
    panel = session.panel("actor")
    assert panel.session is second()
    kernel = second().kernel
    session._successor = None  # as when nobody holds the old one any more
    until(lambda: gc.collect() >= 0 and second() is None)
    until(lambda: not kernel.alive)
    until(lambda: panel.frame.comm is None)


def test_the_binder_profile_caps_the_store_and_pauses_actors_without_a_user(tmp_path, monkeypatch):
    monkeypatch.setenv("RINGNB_PROFILE", "binder")
    assert PROFILES["binder"].idle_pause_s == 120
    monkeypatch.setitem(PROFILES, "binder", replace(PROFILES["binder"], idle_pause_s=0.5))
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr")
    with rn.Session(rn.actors.Life((16, 16)), config=config) as session:
        panel = session.panel("actor")
        assert "keep_within(67108864)" in repr(session.manager.config.policy)
        session.resume()
        until(lambda: "were not used for 0.5 s" in panel.frame.status)  # it has seen them run
        until(lambda: not session.counters(0).running)
    monkeypatch.setenv("RINGNB_PROFILE", "moon")
    with rn.Session(rn.actors.Life((16, 16)), storage=rn.ZarrStorage("memory://p")) as session:
        with pytest.raises(ValueError, match="no profile"):
            session.panel()


class Noted:
    """A view that is no widget."""

    key = "noted"

    def __init__(self):
        self.messages, self.steps, self.disposed = [Message()], [], threading.Event()

    def show_frame(self, state, beat, trouble, message):
        if message != self.messages[-1]:
            self.messages.append(message)

    def show(self, state):
        self.steps.append(state.actors[0].step)

    def dispose(self):
        self.disposed.set()


def test_a_controller_serves_any_view(session):
    controller, view = Controller(session), Noted()
    controller.views[view.key] = view
    controller.submit(view, "Step", lambda s: s.run_steps(0, 3))
    until(lambda: view.steps and view.steps[-1] == 3)
    controller.submit(view, "Done", lambda s: "not this", done="this")
    until(lambda: view.messages[-1] == Message(status="this"))
    controller.submit(view, "Divide", lambda s: 1 / 0, worker="storage")
    until(lambda: view.messages[-1].alert == "Divide: division by zero")
    assert "ZeroDivisionError" in view.messages[-1].detail
    assert view.messages[-1].status == ""
    controller.dispose()
    assert view.disposed.is_set()
