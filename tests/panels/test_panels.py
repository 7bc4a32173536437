"""Panels without a browser: what controls bring about, what displays say, who holds what."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref

import numpy as np
import pytest
from ipywidgets.widgets.widget import _instances
from waiting import until

import ringnb as rn
from ringnb.messages.commands import Command
from ringnb.messages.events import Event
from ringnb.panels import PANELS, close_panels, predict
from ringnb.panels.core.display_loop import DisplayLoop
from ringnb.panels.core.widgets import Listing
from ringnb.panels.core.workers import Drawer
from ringnb.panels.fields import describe
from ringnb.panels.lifecycle_scene import requests_of, stage_times, times_table_rows
from ringnb.session import notebook as rerun


def press(panel, action):
    """Send what a front end sends."""
    bars = [w for w in below(panel) if type(w).__name__ == "Actions"]
    (bar,) = [b for b in bars if action in {a[0] for a in b.actions}]
    bar._handle_custom_msg({"do": action}, [])


def actions_of(widget):
    return widget.actions if type(widget).__name__ == "Actions" else []


def choose(panel, key, name):
    choosers = [w for w in below(panel) if type(w).__name__ == "Chooser"]
    (one,) = [c for c in choosers if c.key == key]
    one._handle_custom_msg({"choose": name}, [])


def below(widget):
    found = [widget]
    for child in getattr(widget, "children", ()):
        found += below(child)
    return found


@pytest.fixture
def session(tmp_path):
    config = rn.CheckpointConfig(
        enabled=False, storage_path=tmp_path / "s.zarr", max_snapshots=4, request_timeout=0.3
    )
    with rn.Session(
        rn.actors.Wave2D((24, 24)), actors=2, config=config, max_steps_per_second=2000
    ) as session:
        session.inject(0, at=(5, 7), amplitude=1.0)
        yield session


def test_every_panel_is_usable_alone_and_is_the_same_one_again(session):
    for name in PANELS:
        panel = session.panel(name)
        assert panel is session.panel(name)
        assert panel.frame.region
        until(lambda panel=panel: panel.frame.beat > 0)
    assert session.panel() is session.panel()
    with pytest.raises(ValueError, match="no panel 'nonsense'"):
        session.panel("nonsense")


def test_running_pausing_and_stepping(session):
    panel = session.panel("actor")
    press(panel, "run")
    until(lambda: session.counters(0).running)
    until(lambda: panel.frame.flags.get("run", {}).get("pressed"))
    assert not session.counters(1).running
    press(panel, "pause")
    until(lambda: not session.counters(0).running)
    at = session.current_step(0)
    panel._steps.value = 25
    press(panel, "step")
    until(lambda: session.current_step(0) == at + 25)
    panel._controller.picker.value = 1
    press(panel, "run")
    until(lambda: session.counters(1).running)
    until(lambda: "▶\u00a0running" in panel._table.value)
    assert panel._pace.value == 2000.0  # as the session was made
    panel._pace.value = 100.0
    until(lambda: "100 steps/s" in panel.frame.status)
    panel._controller.picker.value = 0
    assert panel._pace.value == 2000.0  # the limit of the actor in hand
    panel._controller.picker.value = 1
    assert panel._pace.value == session.pace(1) == 100.0
    assert session.pace(0) == 2000  # looking changes nothing


def test_too_many_actors_to_list_are_chosen_by_number(tmp_path, monkeypatch):
    monkeypatch.setattr("ringnb.panels.core.actor_picker.MOST_LISTED", 39)
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr")
    with rn.Session(rn.actors.Life((8, 8)), actors=40, config=config, lanes=1) as session:
        session.panel()
        actor, timeline = session.panel("actor"), session.panel("timeline")
        picker = actor._controller.picker
        assert not hasattr(picker, "options")
        picker.value = 4000
        assert picker.value == 39  # the nearest that there is
        press(actor, "step")
        until(lambda: session.current_step(39) == 100)
        until(lambda: "life_39" in actor._table.value)
        assert "32 of 40 actors" in actor._table.value
        session.snapshot(39)
        until(lambda: timeline.frame.items)
        timeline.into.value = 7
        press(timeline, "restore")
        until(lambda: session.current_step(7) == 100)


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


def test_settings_take_effect_on_the_running_manager(session):
    panel = session.panel("checkpoint")
    panel.interval.value = 7.5
    until(lambda: session.manager.config.interval == 7.5)
    panel.automatic.value = True
    until(lambda: session.manager.is_enabled)
    until(lambda: len(session.manager.list_checkpoints(1)) == 1)
    until(lambda: "every 7.5 s" in panel._facts.value)


def test_checkpoints_can_be_scheduled_by_steps(session):
    panel = session.panel("checkpoint")
    panel.steps.value = 50
    panel.mode.value = "steps of the actor"
    panel.automatic.value = True
    until(lambda: "every 50 steps" in panel.frame.status)
    fields = (panel.interval, panel.steps, panel.time)
    until(lambda: [f.layout.display for f in fields] == ["none", None, "none"])
    assert not session.manager.is_enabled
    until(lambda: "slot 1 at step 50" in panel._facts.value)
    session.run_steps(0, 60)
    until(lambda: len(session.manager.list_checkpoints(0)) == 1)
    until(lambda: "slot 0 at step 100" in panel._facts.value)
    dt = session.params(0)["dt"]
    panel.time.value = 70.2 * dt
    panel.mode.value = "simulated time"
    until(lambda: session.snapshot_interval_steps(0) == session.snapshot_interval_steps(1) == 70)
    until(lambda: "of simulated time" in panel.frame.status)
    panel.mode.value = "seconds of the clock"
    until(lambda: session.manager.is_enabled)
    assert session.snapshot_interval_steps(0) is None
    panel.automatic.value = False
    until(lambda: not session.manager.is_enabled)


def test_a_model_without_a_time_step_is_not_scheduled_by_it(tmp_path):
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr")
    with rn.Session(rn.actors.Life((16, 16)), config=config) as session:
        panel = session.panel("checkpoint")
        panel.mode.value = "simulated time"
        panel.automatic.value = True
        until(lambda: "has no time step" in panel.frame.alert)
        assert session.snapshot_interval_steps(0) is None


def test_a_labelled_snapshot_is_pinned(session):
    panel = session.panel("checkpoint")
    panel.label.value = "calm"
    press(panel, "snapshot")
    until(lambda: "pinned as 'calm'. The label stays set for the next" in panel.frame.status)
    (info,) = session.manager.history(0)
    assert info.pin == "calm"


def test_one_checkpoint_is_deleted_after_a_preview_but_never_the_newest_or_a_pinned_one(session):
    first, second, newest = [session.snapshot(0).name for _ in range(3)]
    session.storage.pin(second, "kept")
    panel = session.panel("retention")
    until(lambda: len(panel.frame.items) == 3)

    def ask(name, *actions):
        choose(panel, "kept", name)
        for action in actions:
            press(panel, action)

    ask(first, "delete")
    until(lambda: f"preview the deletion of {first} first" in panel.frame.alert)
    ask(newest, "consider")
    until(lambda: "newest sound one" in panel.frame.alert)
    ask(second, "consider")
    until(lambda: "unpin it first" in panel.frame.alert)
    assert panel.frame.flags["delete"]["disabled"]
    ask(first, "consider")
    until(lambda: panel.frame.flags["delete"]["disabled"] is False)
    choose(panel, "kept", second)  # another choice needs a preview of its own
    until(lambda: panel.frame.flags["delete"]["disabled"])
    ask(first, "delete")
    until(lambda: f"{first} is deleted" in panel.frame.status)
    assert session.manager.list_checkpoints(0) == [second, newest]
    assert session.events.select("retired")[-1].name == first
    until(lambda: panel.frame.chosen["kept"] == "")  # what is gone is not the choice any more
    ask(first, "pin")
    until(lambda: f"{first} is not there any more" in panel.frame.alert)


def test_a_front_end_that_takes_no_pushes_is_sent_everything_when_it_asks(session, monkeypatch):
    assert "refresh" not in {a[0] for w in below(session.panel("events")) for a in actions_of(w)}
    monkeypatch.setitem(sys.modules, "google.colab", object())
    panel = session.panel("actor")
    until(lambda: panel._table.value)
    sent = []
    for widget in below(panel):
        monkeypatch.setattr(
            widget, "send_state", lambda *a, w=widget: sent.append((w, threading.current_thread()))
        )
    press(panel, "refresh")
    here = [w for w, thread in sent if thread is threading.current_thread()]
    assert {panel.frame, panel._table} <= set(here)


def test_a_control_learns_that_its_message_was_received(session):
    panel = session.panel("actor")
    bars = [w for w in below(panel) if "run" in {a[0] for a in actions_of(w)}]
    bars[0]._handle_custom_msg({"do": "run", "id": "first"}, [])
    until(lambda: "first" in panel.frame.acknowledged)


def test_retention_deletes_only_what_was_previewed(session):
    for _ in range(4):
        session.run_steps(0, 1)
        session.snapshot(0)
    panel = session.panel("retention")
    panel.number.value = 2
    press(panel, "apply")
    until(lambda: "preview this policy first" in panel.frame.alert)
    assert len(session.storage.list()) == 4
    press(panel, "preview")
    until(lambda: panel.frame.flags["apply"]["disabled"] is False)
    assert "would delete 2" in panel._table.value
    panel.number.value = 1  # another policy than the one that was previewed
    until(lambda: panel.frame.flags["apply"]["disabled"] is True)
    panel.number.value = 2
    press(panel, "preview")
    until(lambda: panel.frame.flags["apply"]["disabled"] is False)
    press(panel, "apply")
    until(lambda: len(session.storage.list()) == 2)
    assert session.manager.config.retention == rn.retention.keep_last(2) or "keep_last(2)" in repr(
        session.manager.config.retention
    )


def test_scrubbing_draws_the_checkpoint_that_was_chosen(session):
    names = []
    for _ in range(3):
        session.run_steps(0, 20)
        names.append(session.snapshot(0).name)
    field, timeline = session.panel("field"), session.panel("timeline")
    newest = session.storage.load(names[-1])
    until(lambda: field.picture.alt == describe(newest, "pressure"))
    assert field.picture.png.startswith(b"\x89PNG")
    choose(timeline, "main", names[0])
    oldest = session.storage.load(names[0])
    until(lambda: field.picture.alt == describe(oldest, "pressure"))
    assert names[0] in field.picture.caption
    assert [i["name"] for i in timeline.frame.items] == names
    choose(timeline, "main", "")
    until(lambda: field.picture.alt == describe(newest, "pressure"))


def test_restoring_keeps_the_state_before_even_when_only_one_is_kept(session):
    session.manager.reconfigure(max_snapshots=1)
    session.run_steps(0, 10)
    chosen = session.snapshot(0)
    session.run_steps(0, 15)
    timeline = session.panel("timeline")
    until(lambda: timeline.frame.flags.get("restore", {}).get("disabled") is False)
    press(timeline, "restore")
    until(lambda: "is at step 10" in timeline.frame.status, 20)
    assert session.current_step(0) == 10
    assert "kept as checkpoint_0_step_25" in timeline.frame.status
    assert session.storage.load("checkpoint_0_step_25").step == 25
    assert session.storage.load(chosen.name).pinned is None


def test_a_fork_puts_one_actors_state_into_another(session):
    session.run_steps(0, 12)
    made = session.snapshot(0)
    timeline = session.panel("timeline")
    until(lambda: timeline.frame.flags.get("restore", {}).get("disabled") is False)
    timeline.into.value = 1
    press(timeline, "restore")
    until(lambda: "is at step 12" in timeline.frame.status)
    fork = session.snapshot(1)
    assert fork.parent == made.name
    assert np.array_equal(fork.numpy()["pressure"], made.numpy()["pressure"])


def test_damage_is_seen_and_cannot_be_restored(session):
    session.run_steps(0, 5)
    good = session.snapshot(0)
    session.run_steps(0, 5)
    bad = session.snapshot(0)
    timeline = session.panel("timeline")
    session.faults.corrupt(bad.name)
    until(lambda: len(timeline.frame.items) == 2)
    press(timeline, "verify")
    until(lambda: "1 of 2 damaged" in timeline.frame.alert)
    until(lambda: timeline.frame.items[1]["bad"] == 1)
    assert timeline.frame.items[0]["bad"] == 0
    choose(timeline, "main", bad.name)
    until(lambda: timeline.frame.flags["restore"]["disabled"] is True)
    choose(timeline, "main", "")
    assert (
        timeline._controller.choices.resolve("main").name == good.name
    )  # the newest that is sound


def test_comparing_says_whether_two_are_equal_in_every_bit(session):
    session.run_steps(0, 30)
    a = session.snapshot(0)
    b = session.snapshot(0)
    panel = session.panel("compare")
    follows = {w.key: w.follow for w in below(panel) if type(w).__name__ == "Chooser"}
    assert follows == {"a": "the one before the newest (follow)", "b": "the newest (follow)"}
    choose(panel, "a", a.name)
    choose(panel, "b", b.name)
    until(
        lambda: "equal in every bit" in panel.picture.alt and "not equal" not in panel.picture.alt
    )
    session.run_steps(0, 1)
    session.snapshot(0)
    choose(panel, "b", "")
    until(lambda: "not equal in every bit" in panel.picture.alt)


def test_a_failure_in_the_background_is_shown_and_not_swallowed(session):
    panel = session.panel("checkpoint")
    session.faults.fill_disk()
    with pytest.warns(rn.CheckpointWarning, match="No space left"):
        session.manager.reconfigure(enabled=True)
        until(lambda: "No space left" in panel.frame.trouble)
    assert panel.frame.alert == ""
    session.faults.clear()
    until(lambda: panel.frame.trouble == "")  # made good by the retry


def test_what_the_background_stumbled_over_still_reaches_the_next_cell(session):
    actor = session.panel("actor")
    session.keep_failure(RuntimeError("the writer is out of its mind"))
    until(lambda: "out of its mind" in actor.frame.trouble)
    press(actor, "run")  # shows it, and leaves it for the cell
    until(lambda: actor.frame.detail != "")
    with pytest.raises(RuntimeError, match="out of its mind"):
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


def test_a_killed_kernel_is_shown_as_dead_and_restarted(session):
    session.run_steps(0, 9)
    session.snapshot(0)
    faults, actor = session.panel("faults"), session.panel("actor")
    press(faults, "kill")
    until(lambda: "does not run" in actor.frame.state)
    until(lambda: actor.frame.flags["run"]["disabled"] is True)
    press(actor, "restart")
    until(lambda: "actor 0 from step 9" in actor.frame.status, 20)
    assert "session = session.successor" in actor.frame.status
    assert actor.session is session.successor is not session
    assert session.successor.current_step(0) == 9
    until(lambda: actor.frame.state == "running")
    with pytest.raises(rn.KernelStopped, match=r"session = session\.successor"):
        session.resume()


@pytest.mark.parametrize("end", ["kill", "stop"])
@pytest.mark.parametrize("loop_waits", [False, True])
def test_ten_restarts_in_a_row_leave_the_panel_alive(session, end, loop_waits, monkeypatch):
    """A restart closes the old session before there is a new one; the loop must outlive that."""
    monkeypatch.setattr("ringnb.panels.core.display_loop._QUIET_S", 0.0)  # so that it waits soon
    monkeypatch.setattr("ringnb.panels.core.state._RATE_S", 0.1)  # and no rate is left to sink
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


def test_a_remade_session_takes_the_panels_of_the_old_one(session):
    actor = session.panel("actor")
    session.set_pace(300, 1)
    new = session.remake()
    assert [new.pace(slot) for slot in (0, 1)] == [2000, 300]
    assert session.panel("actor") is actor
    until(lambda: actor.frame.state == "running")
    assert actor.session is new
    session.close()  # what a notebook's last cell says
    assert new.closed


def test_a_panel_that_cannot_be_shown_says_so_and_stops_no_other(session, monkeypatch):
    timeline, actor = session.panel("timeline"), session.panel("actor")
    monkeypatch.setattr(timeline, "show", lambda _: 1 / 0)
    until(lambda: "ZeroDivisionError" in timeline.frame.alert)
    press(actor, "run")
    until(lambda: actor.frame.flags["run"]["pressed"])


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
    assert not kernel.alive
    until(lambda: panel.frame.comm is None)


def test_stopping_checkpoints_first_and_the_panel_says_it_is_closed(session):
    actor = session.panel("actor")
    session.run_steps(0, 4)
    press(actor, "stop")
    until(lambda: session.closed, 20)
    until(lambda: "closed" in actor.frame.state)
    assert "checkpoint_0_step_4" in session.storage.list()
    checkpoint = session.panel("checkpoint")
    until(lambda: "nothing runs that could be saved" in checkpoint._facts.value)
    assert "closed" in checkpoint.frame.flags["snapshot"]["why"]


def test_the_lifecycle_view_shows_a_request_at_every_stage_of_the_crank(tmp_path):
    config = rn.CheckpointConfig(interval=3600, storage_path=tmp_path / "s.zarr")
    with rn.Session(rn.actors.Life((16, 16)), config=config, service=False) as session:
        panel = session.panel("lifecycle")
        ends = []
        for stage, station in enumerate(
            ("requested", "h2k", "staging", "k2h", "received", "writing", "committed")
        ):
            until(lambda stage=stage: panel.frame.flags.get(f"s{stage}", {}).get("pressed"))
            press(panel, f"s{stage}")
            until(lambda stage=stage: panel.frame.flags[f"s{stage + 1}"]["pressed"])
            (token,) = panel._view.scene["tokens"]
            ends.append(token["path"][-1])
            assert ends[-1] == station
            assert panel._view.scene["held"] == station
        press(panel, "s7")
        until(lambda: session.manager.total_completed == 1)
        until(lambda: panel._view.scene["tokens"][0]["end"] == "good")
        press(panel, "through")
        until(lambda: session.manager.total_completed == 2)


@pytest.fixture
def by_hand(tmp_path):
    """A lifecycle panel whose crank nobody else turns; two actors are due."""
    config = rn.CheckpointConfig(interval=3600, storage_path=tmp_path / "s.zarr")
    with rn.Session(rn.actors.Life((16, 16)), 2, config=config, service=False) as session:
        yield session.panel("lifecycle")


def turn(panel, *stages):
    for stage in stages:
        until(lambda stage=stage: panel.frame.flags.get(f"s{stage}", {}).get("pressed"))
        press(panel, f"s{stage}")
        until(lambda stage=stage: not panel.frame.flags[f"s{stage}"]["pressed"])


@pytest.mark.parametrize(("turns", "station"), [(2, "h2k"), (3, "staging"), (4, "k2h")])
def test_a_cancelled_request_stays_where_it_was_cancelled(by_hand, turns, station):
    turn(by_hand, *range(turns))
    press(by_hand, "cancel")
    until(lambda: "Cancelled" in by_hand.frame.status)
    seen = []
    for stage in range(turns, 6):
        turn(by_hand, stage)
        until(lambda: by_hand._view.scene["tokens"][0]["end"] == "bad")
        seen.append(by_hand._view.scene["tokens"][0]["path"][-1])
        seen.append(by_hand._table.value.count("✗ cancelled<"))
    assert seen == [station, 1] * (6 - turns)
    assert by_hand._view.scene["tokens"][0]["note"] == "✗ cancelled"


def test_a_lost_answer_stays_where_it_was_lost(by_hand):
    turn(by_hand, 0, 1, 2, 3)
    press(by_hand, "lose")
    until(lambda: "is lost" in by_hand.frame.status)
    until(lambda: by_hand._view.scene["tokens"][0]["end"] == "bad")
    (token, other) = by_hand._view.scene["tokens"]
    assert (token["path"][-1], token["note"]) == ("received", "? answer lost")
    assert other["path"][-1] == "requested"
    assert by_hand._view.scene["fills"]["requested"] == "1 to be sent of 2 pending"
    assert by_hand._view.scene["fills"]["writing"] == "0 waiting or under way"


def test_the_kernel_goes_on_only_where_it_does(by_hand):
    turn(by_hand, 0, 1, 2, 3)
    until(lambda: "the actor stands" in by_hand.frame.status)
    turn(by_hand, 4, 5, 6, 7)
    by_hand.session.resume()  # the lane reads again
    turn(by_hand, 0, 1, 2, 3)
    until(lambda: "the actor steps on" in by_hand.frame.status)


def test_who_would_wait_for_a_stopped_lane_is_told_at_once_what_opens_it(by_hand):
    session = by_hand.session
    actor, checkpoint = session.panel("actor"), session.panel("checkpoint")
    turn(by_hand, 0, 1, 2)
    for panel, action in ((actor, "run"), (actor, "stop"), (checkpoint, "snapshot")):
        press(panel, action)
        until(lambda panel=panel: "Press 'Let it through'" in panel.frame.alert, 3)
    with pytest.raises(TimeoutError, match="a crank has stopped its lane"):
        session._client.call(0, Command.RESUME, timeout_s=0.01)
    press(by_hand, "through")
    until(lambda: session.manager.total_completed == 1)
    press(actor, "pause")
    until(lambda: "is paused" in actor.frame.status)


def test_a_predict_card_reveals_only_after_a_commitment():
    asked = []
    card = predict("How many?", lambda: asked.append(1) or 42, unit="steps")
    press(card, "reveal")
    assert not asked
    card._field.value = 40.0
    press(card, "commit")
    card._field.value = 42.0  # too late
    press(card, "reveal")
    until(lambda: "measured: <strong>42 steps" in card._out.value)
    assert "<strong>40 steps" in card._out.value
    assert card.prediction == 40.0
    answers = iter([lambda: 1 / 0, lambda: 7])
    tried_twice = predict("How many?", lambda: next(answers)())
    press(tried_twice, "commit")
    press(tried_twice, "reveal")
    until(lambda: "division by zero" in tried_twice._frame.alert and tried_twice._frame.detail)
    assert tried_twice._frame.status == ""
    press(tried_twice, "reveal")
    until(lambda: tried_twice._frame.status == "Revealed")
    assert tried_twice._frame.alert == tried_twice._frame.detail == ""
    choice = predict("Which?", "b", options=["a", "b"])
    press(choice, "commit")
    assert "Choose" in choice._frame.alert


def test_one_of_a_kind_is_said_in_the_singular_and_why_a_button_rests(tmp_path):
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr")
    with rn.Session(rn.actors.Life((8, 8)), config=config, lanes=1, width=1) as session:
        actor, checkpoint = session.panel("actor"), session.panel("checkpoint")
        events, faults, timeline = map(session.panel, ("events", "faults", "timeline"))
        until(lambda: "1 lane of 1 thread<" in actor._table.value)
        until(lambda: "why" in checkpoint.frame.flags.get("every", {}))
        assert "only one actor" in checkpoint.frame.flags["every"]["why"]
        assert "only one actor" in actor.frame.flags["all"]["why"]
        assert actor.frame.flags["restart"]["why"] == "The kernel runs"
        assert "why" not in actor.frame.flags["run"]  # it can be used
        until(lambda: events._list.html == "<p>Nothing to show: 0 events so far.</p>")
        press(faults, "lose")
        until(lambda: faults.frame.status == "To be lost: the next 1 answer")
        press(faults, "clear")
        until(lambda: faults.frame.status == "No fault is set")
        actor._steps.value = 1
        press(actor, "step")
        until(lambda: actor.frame.status == "1 step to take")
        until(lambda: session.current_step(0) == 1)
        first, second = session.snapshot(0).name, session.snapshot(0).name
        until(lambda: len(timeline.frame.items) == 2)
        assert [i["text"].split(",")[0] for i in timeline.frame.items] == [first, second]
        press(timeline, "verify")
        until(lambda: "2 checkpoints verified" in timeline.frame.status)
        events.level.value = "troubles"
        until(lambda: "none of them among the troubles" in events._list.html)


# -- threads, floods, leaks ----------------------------------------------------------------------


def test_the_time_of_an_event_stays_the_same_however_long_the_log_grows(session):
    panel, log = session.panel("events"), session.events
    for second in range(1, 601):  # more than a panel looks at
        log.append(Event("committed", 0, second, t_ns=log.began_ns + second * 10**9))
    until(lambda: "600.000" in panel._list.text)
    assert panel._list.text.splitlines()[1].split("\t")[:4] == ["401.000", "0", "committed", "401"]
    shown = log._repr_html_()  # in a cell
    assert "The last 30 of 600 events" in shown
    assert shown.count("<tr>") == 31
    assert "571.000" in shown


def test_the_display_loop_shows_the_newest_of_a_flood_and_says_it_once():
    sent = []
    listing = Listing()
    listing.observe(lambda change: sent.append(change["new"]), "text")
    loop = DisplayLoop(lambda: True, 0.01)
    for i in range(5000):
        loop.put(listing, text=str(i))
    loop.flush()
    assert sent == ["4999"]


def test_the_drawer_fulfils_only_the_newest_wish():
    drawer, begun, go, drawn = Drawer("test-drawer"), threading.Event(), threading.Event(), []
    drawer.submit("field", lambda: (begun.set(), go.wait(5)))
    assert begun.wait(5)
    for i in range(50):
        drawer.submit("field", lambda i=i: drawn.append(i))
    go.set()
    until(lambda: drawn)
    drawer.stop()
    drawer.join(5)
    assert drawn == [49]


def test_a_displayed_panel_keeps_no_session_alive(tmp_path):
    def make(i):
        config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / f"{i}.zarr")
        session = rn.Session(rn.actors.Life((8, 8)), config=config)
        return weakref.ref(session), session.panel(), session.panel("actor")

    ref, cockpit, actor = make(0)
    gc.collect()
    until(lambda: gc.collect() >= 0 and ref() is None)
    until(lambda: actor.frame.comm is None)  # its widgets are closed
    del cockpit


def test_fifty_runs_of_a_cell_leak_neither_threads_nor_widgets(tmp_path, monkeypatch):
    run = ["cell-1", 0]
    monkeypatch.setattr("ringnb.session.session.current_run", lambda: tuple(run))
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr")
    kept = []  # as a notebook's history keeps what it has displayed
    counts = []
    for i in range(50):
        run[1] = i
        session = rn.Session(rn.actors.Life((8, 8)), config=config)
        session.snapshot(0)
        kept.append((session, session.panel("actor")))
        counts.append((threading.active_count(), len(_instances)))
    threads, widgets = zip(*counts, strict=True)
    assert max(threads[5:]) <= min(threads[5:]) + 2
    assert widgets[-1] == widgets[5]
    session.close()


def test_a_cockpit_that_is_closed_leaves_no_widget(tmp_path):
    before = len(_instances)
    for shape in ((8, 8), (6, 6, 6)):
        actor = rn.actors.Wave2D(shape) if len(shape) == 2 else rn.actors.Wave3D(shape)
        storage = rn.ZarrStorage(tmp_path / f"{len(shape)}.zarr")
        with rn.Session(actor, actors=2, storage=storage) as session:
            session.panel()
            assert len(_instances) > before + 50
            close_panels(session)
            assert len(_instances) == before


def test_only_a_later_run_of_the_same_cell_takes_a_session_away(tmp_path, capsys, monkeypatch):
    run = ["cell-1", 1]
    monkeypatch.setattr("ringnb.session.session.current_run", lambda: tuple(run))
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr")
    life = rn.actors.Life((8, 8))
    first = rn.Session(life, config=config)
    same_run = rn.Session(life, config=config)
    assert not first.closed  # made by the same execution: meant so
    run[:] = ["cell-2", 2]
    other_cell = rn.Session(life, config=config)
    assert not same_run.closed
    run[:] = ["cell-1", 3]
    other_actors = rn.Session(life, config=config, kernel_ids=["mine"])
    assert not same_run.closed
    again = rn.Session(life, config=config)
    assert same_run.closed
    assert "earlier run of this cell" in capsys.readouterr().out
    for session in (first, other_cell, other_actors, again):
        session.close()


def test_outside_a_notebook_there_is_no_cell():
    assert rerun.current_run() is None


def test_a_panel_can_be_read_without_a_kernel(session):
    session.run_steps(0, 6)
    session.snapshot(0)
    panel = session.panel("timeline")
    until(lambda: panel._controller.state.histories[0])
    bundle = panel._repr_mimebundle_()
    assert "step 6, 1 checkpoint;" in bundle["text/plain"]
    assert "<table" in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle
    shown = session._repr_html_().replace("\N{NO-BREAK SPACE}", " ")
    assert "fdtd_2d" in shown
    assert "Session on cpu: running, 1 checkpoint<" in shown


def test_the_binder_profile_caps_the_store_and_pauses_who_is_idle(tmp_path, monkeypatch):
    monkeypatch.setenv("RINGNB_PROFILE", "binder")
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr")
    with rn.Session(rn.actors.Life((16, 16)), config=config) as session:
        panel = session.panel("actor")
        assert "keep_within(67108864)" in repr(session.manager.config.policy)
        session.resume()
        until(lambda: session.counters(0).running)
        panel._controller._used_at -= 121
        until(lambda: not session.counters(0).running)
        until(lambda: "were not used" in panel.frame.status)
    monkeypatch.setenv("RINGNB_PROFILE", "moon")
    with rn.Session(rn.actors.Life((16, 16)), storage=rn.ZarrStorage("memory://p")) as session:
        with pytest.raises(ValueError, match="no profile"):
            session.panel()


# -- the scene -----------------------------------------------------------------------------------


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
    _, rows, classes = times_table_rows(events)
    assert rows[0][-1] == "✗ timed out no answer"
    assert classes == ["ringnb-trouble", ""]
