"""Panels over a loop of one's own: what needs no kernel works while the loop runs, the rest says so."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from front_end import do, flag, press, said, told, troubles
from waiting import until

import ringnb as rn
from ringnb.panels.core.limits import PROFILES, Profile


@pytest.fixture
def rec(tmp_path, monkeypatch):
    monkeypatch.setitem(PROFILES, "default", Profile(refresh_s=0.02, follow_s=0.02))
    config = rn.CheckpointConfig(storage_path=tmp_path / "s.zarr", interval=3600.0)
    with rn.Recorder(config, name="mine", kernel_type="heat", params={"dx": 0.5}) as rec:
        yield rec


def state(step):
    return {"u": np.full((6, 9), step, np.float32), "scalar": step}


def save(rec, step):
    rec.save(step, state(step), time=step / 4)
    assert rec.save_changes()
    rec._asked = False


def test_each_panel_that_needs_no_kernel_works_alone(rec):
    for name in ("checkpoint", "timeline", "field", "retention", "compare", "events"):
        panel = rec.panel(name)
        assert panel is rec.panel(name)
        until(lambda panel=panel: panel.line.board.beat > 0)
    save(rec, 1)
    until(lambda: panel.line.board.actor.get("step") == 1)
    assert troubles(panel) == []
    for name in ("faults", "lifecycle", "parameters", "actor", "predict", "report"):
        with pytest.raises(
            ValueError, match=f"no kernel, so there is no panel '{name}': use one of"
        ):
            rec.panel(name)
    with pytest.raises(ValueError, match="no panel 'nonsense'"):
        rec.panel("nonsense")


def test_a_function_of_the_users_draws_what_the_loop_has_saved(rec):
    panel = rec.panel("field", draw=lambda checkpoint, ax: ax.plot(checkpoint["u"][0]))
    save(rec, 1)
    until(lambda: panel.picture.info.get("own"))
    assert panel.picture.info["step"] == 1


def test_it_is_said_when_the_first_is_made_by_steps(tmp_path):
    config = rn.CheckpointConfig(storage_path=tmp_path / "s.zarr")
    with rn.Recorder(config, name="mine", every=1000) as rec:
        panel = rec.panel("checkpoint")
        until(lambda: told(panel, "a checkpoint is made every 1,000 steps"))


def test_the_cockpit_follows_the_loop(rec):
    cockpit = rec.panel()
    board = cockpit.line.board
    until(lambda: board.actor)
    assert (board.life, board.backend, board.actor["kernel_id"]) == ("running", "python", "mine")
    assert not board.actor["running"]  # no step was heard of
    field = rec.panel("field")
    assert field.picture.info == {}
    save(rec, 10)
    until(lambda: field.picture.info.get("step") == 10)
    assert field.picture.view["fields"] == ["u"]  # what can be drawn
    assert len(field.picture.view["axes"]) == 2
    until(lambda: cockpit._controller.shown_field == "u")
    for step in range(11, 15):
        assert not rec.due(step)  # a step is told by the loop, not by the store
    until(lambda: board.actor["step"] == 14)
    assert board.actor["running"]
    assert "Committed checkpoint_0_step_10" in said(cockpit)
    assert cockpit.facts(cockpit._controller.state)["recorder"] == "mine"


def test_what_needs_a_kernel_is_off_and_says_so(rec):
    cockpit = rec.panel()
    save(rec, 3)
    until(lambda: "rec.restore('checkpoint_0_step_3')" in flag(cockpit, "restore").get("why", ""))
    for action in ("run", "pause", "step"):
        assert flag(cockpit, action)["why"].startswith("Your own loop computes the steps")
    do(cockpit, "live.run")
    until(lambda: told(cockpit, "Run: Your own loop computes the steps"))
    do(cockpit, "moment.restore")
    until(lambda: told(cockpit, "Restore: Your own loop"))


def test_a_snapshot_is_asked_of_the_loop(rec):
    panel = rec.panel("checkpoint")
    save(rec, 1)
    assert not rec.due(2)
    panel.label.value = "before the storm"
    press(panel, "checkpoint.snapshot")
    until(lambda: rec.due(2))
    until(lambda: "The loop is asked" in said(panel))
    save(rec, 2)
    assert not rec.due(3)
    assert rec.storage.load("checkpoint_0_step_2").pinned == "before the storm"
    press(panel, "checkpoint.snapshot", label="")


def test_the_schedule_is_steered(rec):
    panel = rec.panel("checkpoint")
    save(rec, 1)
    panel.interval.value = 0.05
    until(lambda: rec.manager.config.interval_s == 0.05)
    until(lambda: rec.due(2))
    panel.steps.value = 50
    panel.mode.value = panel.mode.options[1]
    until(lambda: rec.snapshot_interval_steps() == 50)
    until(lambda: not rec.manager.config.enabled)
    save(rec, 2)
    assert [step for step in (30, 49, 50, 77) if rec.due(step)] == [50, 77]
    facts = lambda: dict(panel.words.facts)  # noqa: E731 - a look at the page
    until(lambda: facts().get("automatic") == "on, every 50 steps")
    panel.mode.value = panel.mode.options[2]
    until(lambda: told(panel, "actor 0 (heat) has no time step"))
    panel.automatic.value = False
    until(lambda: rec.snapshot_interval_steps() is None and not rec.due(100))


def test_retention_and_pins_are_those_of_the_store(rec):
    cockpit = rec.panel()
    for step in (1, 2, 3):
        save(rec, step)
    until(lambda: len(cockpit._controller.state.histories[0]) == 3)
    do(cockpit, "look.to", name="checkpoint_0_step_1")
    do(cockpit, "moment.pin", label="first")
    until(lambda: rec.storage.load("checkpoint_0_step_1").pinned == "first")
    rec.panel("retention").number.value = 1
    rec.panel("retention").policy.value = "the newest N"
    until(lambda: rec.panel("retention").stays.preview.get("going") == 1)
    do(cockpit, "retention.adopt", shown=rec.panel("retention").stays.preview["id"])
    until(lambda: rec.storage.list() == ["checkpoint_0_step_1", "checkpoint_0_step_3"])


def test_a_bad_state_is_told_without_a_button_that_would_need_a_kernel(rec):
    cockpit = rec.panel()
    with pytest.warns(rn.CheckpointWarning, match="not good"):
        rec.save(1, u=np.array([1.0, np.nan]))
        rec.save_changes()
    until(lambda: told(cockpit, "Actor 0 is not good at step 1"))
    [problem] = [m for m in cockpit.line.board.messages if "not good" in m["text"]]
    assert [action for action, *_ in problem["actions"]] == ["look.to"]


def test_panels_stay_when_the_recorder_is_closed_and_end_with_it(rec, tmp_path):
    cockpit = rec.panel()
    save(rec, 1)
    rec.close()
    until(lambda: cockpit.line.board.life.startswith("The recorder is closed: its checkpoints"))
    assert flag(cockpit, "snapshot")["disabled"]
    config = rn.CheckpointConfig(storage_path=tmp_path / "t.zarr")
    other = rn.Recorder(config, name="other")
    panel, ref = other.panel("timeline"), weakref.ref(other)
    del other
    until(lambda: gc.collect() >= 0 and ref() is None)
    until(lambda: panel.line.comm is None)
