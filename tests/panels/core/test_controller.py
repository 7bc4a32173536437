"""What the panels of a session share: workers, messages, the session's end and restart."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from dataclasses import replace

import pytest
from front_end import flag, press, tell, told, troubles
from waiting import until

import ringnb as rn
from ringnb.panels.core.controller import Controller
from ringnb.panels.core.limits import PROFILES, Profile


def test_a_handler_returns_at_once_while_the_disk_is_slow(session):
    session.snapshot(0)
    session.faults.slow_disk(120)
    checkpoint, actor = session.panel("checkpoint"), session.panel("actor")
    press(actor, "run")
    until(lambda: session.counters(0).running)
    press(checkpoint, "snapshot")
    began = time.monotonic()
    press(actor, "pause")
    assert time.monotonic() - began < 20
    until(lambda: not session.counters(0).running)  # long before the snapshot is committed
    session.faults.clear()
    until(lambda: told(checkpoint, "Committed"))


def test_when_something_is_due_is_said_once_and_the_page_counts_down(session):
    board = session.panel("checkpoint").line.board
    assert board.due_at is None  # nothing is, as checkpoints are made only when asked for
    session.snapshot(0), session.snapshot(1)
    session.inject(0, at=(1, 1))  # else there is nothing new to save
    session.manager.reconfigure(enabled=True, interval=3600)
    until(lambda: board.due_at is not None and board.due_at > board.beat + 3000)
    waited = []  # beats since it was said last
    board.observe(lambda _: waited.clear(), "due_at")
    board.observe(lambda change: waited.append(change["new"]), "beat")
    # What a slow machine has read too late is mended once.
    until(lambda: len(waited) >= 2)
    session.manager.reconfigure(interval=7200)
    until(lambda: board.due_at > board.beat + 6000)


@pytest.mark.parametrize("part", ["news", "actor"])
def test_a_part_that_cannot_be_shown_is_told_and_ends_nothing(session, monkeypatch, part):
    panel = session.panel("actor")
    board, news = panel.line.board, panel._controller._news
    until(lambda: board.beat > 0)
    failing, name = {"news": (news, "look"), "actor": (panel, "show")}[part]
    with monkeypatch.context() as patch:
        patch.setattr(failing, name, lambda *_: 1 / 0)
        until(
            lambda: troubles(panel) == [f"Showing {part!r}: ZeroDivisionError('division by zero')"]
        )
        beat = board.beat
        until(lambda: board.beat > beat)
    until(lambda: not troubles(panel))


def test_a_failure_in_the_background_is_shown_and_not_swallowed(session):
    panel = session.panel("checkpoint")
    session.faults.fill_disk()
    with pytest.warns(rn.CheckpointWarning, match="No space left"):
        session.manager.reconfigure(enabled=True)
        until(lambda: told(panel, "No space left"))
    assert all("No space left" in text for text in troubles(panel))
    assert not any("Errno" in text or "zarr.json" in text for text in troubles(panel))
    session.faults.clear()
    until(lambda: not troubles(panel))  # made good by the retry


def test_an_error_of_the_background_that_was_shown_still_reaches_the_next_cell(session):
    actor = session.panel("actor")
    session.keep_failure(RuntimeError("the writer is broken"))
    until(lambda: told(actor, "the writer is broken"))
    press(actor, "run")  # shows it, and leaves it for the cell
    until(lambda: any(text.startswith("Run: ") for text in troubles(actor)))
    with pytest.raises(RuntimeError, match="the writer is broken"):
        session.pause()


def test_an_error_is_said_once_with_its_traceback_and_goes_when_it_is_mended(session):
    panel = session.panel("checkpoint")
    messages = panel._controller.switchboard.messages
    session.faults.fill_disk()
    for _ in range(2):
        press(panel, "snapshot")
    until(lambda: [m.count for m in messages.newest() if m.open] == [2])
    (trouble,) = (m for m in messages.newest() if m.open)
    assert "No space left" in trouble.text
    until(lambda: any("OSError" in m.detail for m in messages.newest() if m.open))
    session.faults.clear()
    press(panel, "snapshot")
    until(lambda: not troubles(panel))
    until(lambda: told(panel, "Committed checkpoint_0_step_0"))
    (trouble,) = (m for m in messages.newest() if m.kind == "problem")
    assert trouble.settled == "checkpoint_0_step_0"


def test_a_panel_that_cannot_be_shown_says_so_and_stops_no_other(session, monkeypatch):
    timeline, actor = session.panel("timeline"), session.panel("actor")
    monkeypatch.setattr(timeline, "show", lambda _: 1 / 0)
    until(lambda: told(timeline, "ZeroDivisionError"))
    press(actor, "run")
    until(lambda: flag(actor, "run")["pressed"])


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
            until(lambda: actor.line.board.life != "running")
            until(lambda: actor._controller.display.settled)  # nothing more to send: it waits
        press(actor, "restart")
        until(lambda running=running: actor.session is not running)
        until(lambda: actor.line.board.life == "running")
        press(actor, "step", n=100)
        until(lambda: told(actor, "takes 100 steps"))
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
    until(lambda: panel.line.comm is None)


def test_the_binder_profile_caps_the_store_and_pauses_actors_without_a_user(tmp_path, monkeypatch):
    monkeypatch.setenv("RINGNB_PROFILE", "binder")
    assert PROFILES["binder"].idle_pause_s == 120
    monkeypatch.setitem(PROFILES, "binder", replace(PROFILES["binder"], idle_pause_s=0.5))
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr")
    with rn.Session(rn.actors.Life((16, 16)), config=config) as session:
        panel = session.panel("actor")
        assert "keep_within(67108864)" in repr(session.manager.config.policy)
        session.resume()

        def paused():
            """Whether they are, while a page asks for what it needs by itself, which is no use of it."""
            tell(panel, "stage.came", came=1)
            return told(panel, "were not used for 0.5 s")

        until(paused)  # it has seen them run
        until(lambda: not session.counters(0).running)
    monkeypatch.setenv("RINGNB_PROFILE", "moon")
    with rn.Session(rn.actors.Life((16, 16)), storage=rn.ZarrStorage("memory://p")) as session:
        with pytest.raises(ValueError, match="not a profile"):
            session.panel()


class Noted:
    """A view that is no widget."""

    key, seen = "noted", True

    def __init__(self):
        self.steps, self.disposed = [], threading.Event()

    def show_history(self, part, rows):
        pass

    def show(self, state):
        self.steps.append(state.actors[0].step)

    def dispose(self):
        self.disposed.set()


def test_a_controller_serves_any_view(session):
    controller, view = Controller(session), Noted()
    messages = controller.switchboard.messages
    controller.views[view.key] = view
    controller.submit("Step", lambda s: s.run_steps(0, 3))
    until(lambda: view.steps and view.steps[-1] == 3)
    controller.submit("Done", lambda s: "not this", done="this")
    until(lambda: messages.newest()[-1].text == "this")
    controller.submit("Divide", lambda s: 1 / 0, worker="storage")
    until(lambda: messages.newest()[-1].text == "Divide: division by zero")
    assert "ZeroDivisionError" in messages.newest()[-1].detail
    controller.submit("Pin", lambda s: "It is pinned: slot 3 test")  # a user's own words stay
    until(lambda: messages.newest()[-1].text == "It is pinned: slot 3 test")
    controller.submit("Pause", lambda s: s.pause(7))
    until(lambda: "Pause: actor 7 does not exist" in messages.newest()[-1].text)
    controller.submit("Divide", lambda s: 1 / 1)
    until(lambda: not messages.is_open("0:Divide"))
    controller.dispose()
    assert view.disposed.is_set()


def test_a_full_disk_is_one_problem_whichever_actors_meet_it(session):
    actor = session.panel("actor")
    session.faults.fill_disk()
    for slot in (0, 1):
        with pytest.raises(OSError, match="No space"):
            session.snapshot(slot)
    until(lambda: any("Snapshots of 2 actors failed" in text for text in troubles(actor)))
    assert len(troubles(actor)) == 1
    session.faults.clear()
    session.snapshot(0)  # whichever actor's: there is room again
    until(lambda: troubles(actor) == [])
