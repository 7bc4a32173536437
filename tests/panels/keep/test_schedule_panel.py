"""The checkpoint panel: when snapshots are taken, and one by hand."""

from __future__ import annotations

from front_end import press, said, tell, told
from waiting import until

import ringnb as rn
from ringnb.panels.keep.schedule import _cost_words
from ringnb.testing import MemoryStorage


def words(panel):
    return "; ".join(f"{name}: {text}" for name, text in panel.words.facts)


def test_settings_take_effect_on_the_running_manager(session):
    panel = session.panel("checkpoint")
    panel.interval.value = 7.5
    until(lambda: session.manager.config.interval == 7.5)
    panel.automatic.value = True
    until(lambda: session.manager.is_enabled)
    until(lambda: len(session.manager.list_checkpoints(1)) == 1)
    until(lambda: "every 7.5 s" in words(panel))


def test_a_cut_and_what_supervision_did_are_told():
    config = rn.CheckpointConfig(enabled=False, on_close=False)
    with rn.Session(
        rn.actors.Life((8, 8)), config=config, storage=MemoryStorage(), supervise=True
    ) as session:
        panel = session.panel("checkpoint")
        cut = session.snapshot_all()
        until(lambda: f"last: {cut.name}:0; pending" in words(panel))
        assert "supervision: 0 failures, 0 restarts" in words(panel)


def test_the_controls_show_what_a_cell_has_set_and_send_nothing_back(session):
    panel = session.panel("checkpoint")
    until(lambda: panel.words.facts)
    session.manager.reconfigure(interval=9.0, request_timeout=4.0)
    until(lambda: (panel.interval.value, panel.timeout.value) == (9.0, 4.0))
    beat = panel.line.board.beat
    until(lambda: panel.line.board.beat > beat)
    assert said(panel).startswith("Nothing is stored")  # what is shown is not set again
    panel.interval.value = 3.0  # and the control is the user's as before
    until(lambda: session.manager.config.interval == 3.0)
    assert panel.interval.value == 3.0


def test_what_a_cell_has_set_before_a_page_sees_the_controls_is_shown(session):
    cockpit = session.panel()
    session.manager.reconfigure(guard="pause", interval=9.0)
    tell(cockpit, "say.seen", panel="cockpit", view="a page", what="keep")
    panel = cockpit._find("checkpoint")
    until(lambda: panel.guard.value and panel.interval.value == 9.0)


def test_checkpoints_can_be_scheduled_by_steps(session):
    panel = session.panel("checkpoint")
    panel.steps.value = 50
    panel.mode.value = "steps"
    panel.automatic.value = True
    until(lambda: told(panel, "every 50 steps"))
    fields = (panel.interval, panel.steps, panel.time)
    until(lambda: [f.layout.display for f in fields] == ["none", None, "none"])
    assert not session.manager.is_enabled
    until(lambda: "actor 1 at step 50" in words(panel))
    session.run_steps(0, 60)
    until(lambda: len(session.manager.list_checkpoints(0)) == 1)
    until(lambda: "actor 0 at step 100" in words(panel))
    dt = session.params(0)["dt"]
    panel.time.value = 70.2 * dt
    panel.mode.value = "simulated time"
    until(lambda: session.snapshot_interval_steps(0) == session.snapshot_interval_steps(1) == 70)
    until(lambda: told(panel, " s of simulated time"))
    panel.mode.value = "seconds"
    until(lambda: session.manager.is_enabled)
    assert session.snapshot_interval_steps(0) is None
    panel.automatic.value = False
    until(lambda: not session.manager.is_enabled)


def test_the_time_of_a_model_in_units_of_its_own_is_in_no_seconds():
    config = rn.CheckpointConfig(enabled=False, on_close=False)
    model = rn.actors.GrayScott((8, 8))
    with rn.Session(model, config=config, storage=MemoryStorage()) as session:
        panel = session.panel("checkpoint")
        assert panel.time.description == "Every (simulated time)"
        panel.mode.value = "simulated time"
        panel.automatic.value = True
        until(lambda: told(panel, "A checkpoint every 1000 units of simulated time from now on"))


def test_a_model_without_a_time_step_is_not_scheduled_by_it(tmp_path):
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr")
    with rn.Session(rn.actors.Life((16, 16)), config=config) as session:
        panel = session.panel("checkpoint")
        panel.mode.value = "simulated time"
        panel.automatic.value = True
        until(lambda: told(panel, "has no time step"))
        assert session.snapshot_interval_steps(0) is None


def test_a_labelled_snapshot_is_pinned(session):
    panel = session.panel("checkpoint")
    panel.label.value = "calm"
    press(panel, "snapshot")
    until(lambda: told(panel, "is pinned: calm"))
    (info,) = session.manager.history(0)
    assert info.pin == "calm"


def test_the_guard_is_a_switch_that_shows_what_a_cell_has_set(session):
    panel = session.panel("checkpoint")
    until(lambda: panel.words.facts)
    session.manager.reconfigure(guard="pause")
    until(lambda: panel.guard.value)
    panel.guard.value = False
    until(lambda: session.manager.config.state_guard.mode == "warn")


def test_nothing_is_due_of_an_actor_that_stands_as_it_was_saved(session):
    panel = session.panel("checkpoint")
    session.manager.reconfigure(enabled=True, interval=3600.0)
    until(lambda: len(session.manager.list_checkpoints(1)) == 1)
    until(lambda: panel.heading.due == "nothing new to save")
    until(lambda: panel.heading.board.due_at is None)
    session.inject(0, at=(3, 3))
    until(lambda: panel.heading.board.due_at is not None and panel.heading.due == "")
    session.snapshot(0)
    until(lambda: panel.heading.due == "nothing new to save")
    session.resume(1)  # of the other one there will be something
    until(lambda: panel.line.board.due_at is None)
    assert panel.heading.due == "nothing new to save"
    panel._controller.picker.value = 1
    until(lambda: panel.heading.board.due_at is not None and panel.heading.due == "")


def test_what_a_checkpoint_costs_is_said_with_the_interval_that_loses_least():
    said = _cost_words("loop", 15_000, 5.6)
    assert said.startswith("Stops the loop 15 µs")
    assert "With a crash a day, every 1.6 s loses least" in said
    assert "measured at the first" in _cost_words("actor", 0, None)
