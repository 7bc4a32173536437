"""The actor panel: run, pause, step, stop, restart."""

from __future__ import annotations

import threading

import pytest
from front_end import board_of, flag, press, told
from waiting import until

import ringnb as rn
from ringnb.panels.core.live import _from_where


def test_running_pausing_and_stepping(session):
    panel = session.panel("actor")
    press(panel, "run")
    until(lambda: session.counters(0).running)
    until(lambda: flag(panel, "run").get("pressed"))
    assert not session.counters(1).running
    press(panel, "pause")
    until(lambda: not session.counters(0).running)
    at = session.current_step(0)
    press(panel, "step", n=25)
    until(lambda: session.current_step(0) == at + 25)
    panel._controller.picker.value = 1
    press(panel, "run")
    until(lambda: session.counters(1).running)
    until(lambda: "▶\u00a0running" in panel.table.value)
    assert panel.pace.value == 2000.0  # as the session was made
    panel.pace.value = 100.0
    until(lambda: told(panel, "100 steps/s"))
    panel._controller.picker.value = 0
    until(lambda: panel.pace.value == 2000.0)  # the limit of the selected actor
    panel._controller.picker.value = 1
    until(lambda: panel.pace.value == session.pace(1) == 100.0)
    assert session.pace(0) == 2000  # looking changes nothing
    assert [m["text"] for m in board_of(panel).messages if "steps/s" in m["text"]] == [
        "Actor 1 takes at most 100 steps/s"
    ]
    panel.pace.value = 0.0
    until(lambda: told(panel, "Actor 1 steps as fast as it can"))


def test_the_thread_that_serves_the_controls_asks_no_session_for_the_limit(session, monkeypatch):
    """One of another process may not answer, and all other controls would wait with it."""
    panel, asked, pace = session.panel("actor"), [], rn.Session.pace

    def noting(session, slot):
        asked.append(threading.current_thread())
        return pace(session, slot)

    monkeypatch.setattr(rn.Session, "pace", noting)
    panel.pace.value = 100.0
    until(lambda: told(panel, "100 steps/s"))
    panel._controller.picker.value = 1
    until(lambda: panel.pace.value == 2000.0)
    assert threading.current_thread() not in asked
    assert session.pace(0) == 100


def test_a_limit_that_is_set_while_another_process_answers_stays(session, monkeypatch):
    panel, pace = session.panel("actor"), rn.Session.pace
    asked, goes_on = threading.Event(), threading.Event()

    def slow(session, slot):
        found = pace(session, slot)
        if slot == 1 and not asked.is_set():
            asked.set()
            assert goes_on.wait(60)
        return found

    monkeypatch.setattr(rn.Session, "pace", slow)
    panel._controller.picker.value = 1
    assert asked.wait(60)
    panel.pace.value = 100.0
    goes_on.set()
    until(lambda: told(panel, "100 steps/s"))
    assert panel.pace.value == session.pace(1) == 100.0


def test_too_many_actors_to_list_are_chosen_by_number(tmp_path, monkeypatch):
    monkeypatch.setattr("ringnb.panels.core.actor_picker.MOST_LISTED", 39)
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr")
    with rn.Session(rn.actors.Life((8, 8)), actors=40, config=config, lanes=1) as session:
        session.panel()
        actor, timeline = session.panel("actor"), session.panel("timeline")
        picker = actor._controller.picker
        assert not hasattr(picker, "options")
        picker.value = 4000
        assert picker.value == 0  # there is none of that number
        picker.value = 39
        press(actor, "step", n=100)
        until(lambda: session.current_step(39) == 100)
        until(lambda: "life_39" in actor.table.value)
        assert "32 of 40 actors" in actor.table.value
        session.snapshot(39)
        until(lambda: flag(timeline, "branch").get("disabled") is False)
        press(timeline, "branch", slot=7)
        until(lambda: session.current_step(7) == 100)


def test_a_killed_kernel_is_shown_as_dead_and_restarted(session):
    session.run_steps(0, 9)
    session.snapshot(0)
    faults, actor = session.panel("faults"), session.panel("actor")
    press(faults, "kill")
    until(lambda: "does not run" in actor.line.board.life)
    until(lambda: flag(actor, "run")["disabled"] is True)
    press(actor, "restart")
    until(lambda: told(actor, "actor 0 from step 9"))
    assert told(actor, "session = session.successor")
    assert actor.session is session.successor is not session
    assert session.successor.current_step(0) == 9
    until(lambda: actor.line.board.life == "running")
    with pytest.raises(rn.KernelStopped, match=r"session = session\.successor"):
        session.resume()


def test_stopping_checkpoints_first_and_the_panel_says_it_is_closed(session):
    actor = session.panel("actor")
    session.run_steps(0, 4)
    press(actor, "stop")
    until(lambda: session.closed)
    until(lambda: "closed" in actor.line.board.life)
    assert "checkpoint_0_step_4" in session.storage.list()
    checkpoint = session.panel("checkpoint")
    until(lambda: "nothing runs that could be saved" in str(checkpoint.words.facts))
    assert "closed" in flag(checkpoint, "snapshot")["why"]


def test_a_restart_names_few_actors_and_of_many_says_how_far_they_were():
    assert _from_where({0: 1200, 1: 900}) == "actor 0 from step 1,200, actor 1 from step 900"
    assert _from_where(dict.fromkeys(range(30), 1200)) == "30 actors from step 1,200"
    assert _from_where({0: 1200, 1: 900, 2: 7, 3: 8}) == "4 actors from step 7 to 1,200"
    assert _from_where({}) == "nothing was stored, so from step 0"
