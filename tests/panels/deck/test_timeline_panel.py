"""The timeline panel: restore, verify, and what is damaged."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from front_end import choose, flag, press, told
from waiting import until

import ringnb as rn


def test_restoring_keeps_the_state_before_even_when_only_one_is_kept(session):
    session.manager.reconfigure(max_snapshots=1)
    session.run_steps(0, 10)
    chosen = session.snapshot(0)
    session.run_steps(0, 15)
    timeline = session.panel("timeline")
    until(lambda: flag(timeline, "restore").get("disabled") is False)
    press(timeline, "restore")
    until(lambda: told(timeline, "is at step 10"), 20)
    assert session.current_step(0) == 10
    assert told(timeline, "kept as checkpoint_0_step_25")
    assert session.storage.load("checkpoint_0_step_25").step == 25
    assert session.storage.load(chosen.name).pinned is None


def test_a_fork_puts_one_actors_state_into_another(session):
    session.run_steps(0, 12)
    made = session.snapshot(0)
    timeline = session.panel("timeline")
    until(lambda: flag(timeline, "restore").get("disabled") is False)
    timeline.into.value = 1
    press(timeline, "restore")
    until(lambda: told(timeline, "is at step 12"))
    fork = session.snapshot(1)
    assert fork.parent == made.name
    assert np.array_equal(fork.numpy()["pressure"], made.numpy()["pressure"])


@pytest.mark.filterwarnings("ignore::ringnb.CheckpointWarning")
def test_the_code_of_a_checkpoint_is_shown_and_that_other_code_made_it_is_said(session):
    made = session.snapshot(0)
    timeline = session.panel("timeline")
    until(lambda: f">{made.code['fingerprint'][:8]}" in timeline.overview.value)
    actor = session.manager.registered[0]
    edited = {"fingerprint": "0" * 64, "update": "update", "functions": {}, "values": {"c": "1"}}
    session.manager.register_actor(0, actor.kernel_id, actor.kernel_type, code=edited)
    press(timeline, "restore")
    until(lambda: told(timeline, "was made by other code: `c` (1) is new"))


def test_damage_is_seen_and_cannot_be_restored(session):
    session.run_steps(0, 5)
    good = session.snapshot(0)
    session.run_steps(0, 5)
    bad = session.snapshot(0)
    timeline = session.panel("timeline")
    session.faults.corrupt(bad.name)
    until(lambda: len(timeline.checkpoints.items) == 2)
    press(timeline, "verify")
    until(lambda: told(timeline, "1 of 2 damaged"))
    until(lambda: timeline.checkpoints.items[1]["bad"] == 1)
    assert timeline.checkpoints.items[0]["bad"] == 0
    choose(timeline, "main", bad.name)
    until(lambda: flag(timeline, "restore")["disabled"] is True)
    choose(timeline, "main", "")
    assert (
        timeline._controller.choices.resolve("main").name == good.name
    )  # the newest that is sound


def test_a_users_copy_is_not_taken_for_a_checkpoint(session, tmp_path):
    first = session.snapshot(0)
    shutil.copytree(tmp_path / "s.zarr" / first.name, tmp_path / "s.zarr" / "my_backup")
    timeline = session.panel("timeline")
    session.run_steps(0, 5)
    second = session.snapshot(0)
    until(lambda: len(timeline.checkpoints.items) >= 2)
    assert [item["name"] for item in timeline.checkpoints.items] == [first.name, second.name]


def test_a_prefix_with_the_identity_in_it_finds_its_checkpoints_and_what_is_damaged(tmp_path):
    path = tmp_path / "s.zarr"
    config = rn.CheckpointConfig(storage_path=path, enabled=False, name_prefix="x_{kernel_id}")
    with rn.Session(rn.actors.Life((8, 8)), backend="cpu", config=config) as session:
        names = [session.snapshot(0).name for _ in range(2)]
        assert names == ["x_life_0_0_step_0", "x_life_0_0_step_0.2"]
        (path / names[1] / "zarr.json").write_text('{"attributes": {"ringnb": {}}}')
        timeline = session.panel("timeline")
        until(lambda: len(timeline.checkpoints.items) == 2)
        with pytest.warns(rn.CheckpointWarning, match=r"step_0\.2"):
            assert session.restore(0, "latest") == 0
