"""The timeline panel: the playhead, restore and branch, what is damaged, what a page gets."""

from __future__ import annotations

import io
import shutil
import sys
import threading

import numpy as np
import pytest
from front_end import (
    choose,
    do,
    flag,
    hand_of,
    look,
    marks_of,
    press,
    said,
    squares_of,
    tell,
    told,
    troubles,
)
from PIL import Image
from waiting import until

import ringnb as rn
from ringnb.panels.core import checkpoint_choices, switchboard
from ringnb.panels.deck import looking
from ringnb.panels.deck.marks import Flag, Kind
from ringnb.panels.stage import movie_file


def facts(timeline):
    return dict(timeline.moment.facts)


def head(timeline):
    return timeline.deck.board.playhead


def stored(session, *steps):
    """Return checkpoints of actor 0 at these steps."""
    made = []
    for step in steps:
        session.run_steps(0, step - session.current_step(0))
        made.append(session.snapshot(0))
    return made


def ready(session):
    """Return the panel once its buttons can be used."""
    timeline = session.panel("timeline")
    until(lambda: flag(timeline, "restore").get("disabled") is False)
    return timeline


def test_restoring_keeps_the_state_before_even_when_only_one_is_kept_and_undo_brings_it_back(
    session,
):
    session.manager.reconfigure(max_snapshots=1)
    (chosen,) = stored(session, 10)
    session.run_steps(0, 15)
    before = session.state(0).numpy()["pressure"]
    timeline = ready(session)
    press(timeline, "restore")
    until(lambda: told(timeline, "continues from step 10"))
    # What is followed is what the live state continues from, not the newer one that was left.
    until(lambda: (head(timeline)["name"], len(squares_of(timeline))) == (chosen.name, 2))
    assert head(timeline)["follows"]
    assert session.current_step(0) == 10
    assert told(timeline, "as run 2. Its state before is kept: checkpoint_0_step_25")
    assert session.storage.load("checkpoint_0_step_25").step == 25
    assert session.storage.load(chosen.name).pinned is None
    until(lambda: len(timeline.deck.lanes) == 2)
    lane = timeline.deck.lanes[0]
    assert (lane["n"], lane["parent"], lane["fork"]) == (2, 1, 10)
    (undo,) = [m["actions"] for m in timeline.deck.board.messages if m["actions"]][-1:]
    do, label, args = undo[0]
    assert label == "Undo"
    hand_of(timeline)._handle_custom_msg({"do": do, **args}, [])
    until(lambda: told(timeline, "continues from step 25"))
    until(lambda: head(timeline)["name"] == "checkpoint_0_step_25")
    assert np.array_equal(session.state(0).numpy()["pressure"], before)


def looked_at_what_goes(session):
    """Return three checkpoints and the panel, where the second was looked at and then deleted."""
    made = stored(session, 10, 20, 30)
    timeline = ready(session)
    look(timeline, lane=1, step=20)
    until(lambda: head(timeline)["name"] == made[1].name)
    session.storage.delete(made[1].name)
    until(lambda: head(timeline)["name"] == made[0].name)
    return made, timeline


def test_what_is_restored_is_what_the_page_showed_though_a_newer_one_has_come_or_nothing(session):
    session.manager.reconfigure(max_snapshots=2)
    gone, shown = stored(session, 10, 20)
    timeline = ready(session)
    stored(session, 30)
    until(lambda: head(timeline)["name"] == "checkpoint_0_step_30")
    press(timeline, "restore", name=gone.name)
    until(lambda: told(timeline, f"Restore: {gone.name} is not there any more, or damaged"))
    assert told(timeline, "Shown is checkpoint_0_step_30: press again to take that")
    press(timeline, "branch", name=gone.name, slot=1)
    until(lambda: told(timeline, f"Branch: {gone.name} is not there any more, or damaged"))
    assert (session.current_step(0), session.current_step(1)) == (30, 0)
    press(timeline, "restore", name=shown.name)
    until(lambda: told(timeline, f"Actor 0 continues from step 20 ({shown.name})"))


def test_what_has_just_taken_the_place_of_another_is_restored_at_the_second_press(session):
    made, timeline = looked_at_what_goes(session)
    press(timeline, "restore", name=made[0].name)
    until(lambda: told(timeline, "Restore: what was looked at is not there any more, or damaged"))
    assert session.current_step(0) == 30
    press(timeline, "restore", name=made[0].name)
    until(lambda: told(timeline, "continues from step 10"))


def test_one_that_is_nearer_to_where_the_user_looks_is_restored_at_once(session):
    stored(session, 10, 20)
    timeline = ready(session)
    session.run_steps(0, 10)
    look(timeline, lane=1, step=30)
    until(lambda: head(timeline)["name"] == "checkpoint_0_step_20")
    session.snapshot(0)
    until(lambda: head(timeline)["name"] == "checkpoint_0_step_30")
    session.run_steps(0, 10)
    press(timeline, "restore", name="checkpoint_0_step_30")
    until(lambda: told(timeline, "continues from step 30"))


def test_what_the_user_has_looked_at_since_is_restored_at_once(session):
    made, timeline = looked_at_what_goes(session)
    look(timeline, lane=1, step=10)
    press(timeline, "restore", name=made[0].name)
    until(lambda: told(timeline, "continues from step 10"))


def test_an_actor_that_ran_runs_on_from_the_restored_step(session):
    stored(session, 10)
    timeline = ready(session)
    session.resume(0)
    until(lambda: session.current_step(0) > 20)
    press(timeline, "restore")
    until(lambda: told(timeline, "continues from step 10"))
    assert session.counters(0).running


def test_an_actor_whose_state_could_not_be_kept_runs_on_and_is_not_restored(session):
    stored(session, 10)
    timeline = ready(session)
    session.resume(0)
    until(lambda: session.current_step(0) > 20)
    session.faults.fill_disk()
    press(timeline, "restore")
    until(lambda: any(t.startswith("Restore: ") for t in troubles(timeline)))
    session.faults.clear()
    assert session.counters(0).running
    assert session.current_step(0) > 20


def test_a_branch_puts_one_actors_state_into_another_and_leaves_the_live_one_alone(session):
    made = stored(session, 12)[0]
    timeline = ready(session)
    session.resume(0)
    press(timeline, "branch", slot=1)
    until(lambda: told(timeline, "Actor 1 continues from step 12"))
    assert session.counters(0).running
    fork = session.snapshot(1)
    assert fork.parent == made.name
    assert np.array_equal(fork.numpy()["pressure"], made.numpy()["pressure"])
    press(timeline, "branch", slot=0)
    until(lambda: told(timeline, "that is the actor that you look at"))
    press(timeline, "branch", slot=2)
    until(lambda: told(timeline, "there is no such actor; choose another one of 0 to 1"))


def test_a_branch_goes_into_an_actor_that_can_take_it(tmp_path):
    wave, small = rn.actors.Wave2D((24, 24)), rn.actors.Wave2D((16, 16))
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr")
    with rn.Session([wave, small, rn.actors.Life((24, 24)), wave], config=config) as session:
        session.snapshot(0), session.snapshot(1)
        timeline = ready(session)
        assert timeline.deck.actors["into"] == 3
        assert flag(timeline, "branch")["disabled"] is False
        timeline._controller.picker.value = 1
        until(
            lambda: flag(timeline, "branch").get("why") == "No other actor is of its type and size"
        )
        until(lambda: timeline.deck.actors["into"] is None)


@pytest.mark.filterwarnings("ignore::ringnb.CheckpointWarning")
def test_the_code_of_a_checkpoint_is_shown_and_that_other_code_made_it_is_said(session):
    made = session.snapshot(0)
    timeline = ready(session)
    until(lambda: facts(timeline).get("Code", "").startswith(made.code["fingerprint"][:8]))
    actor = session.manager.registered[0]
    edited = {"fingerprint": "0" * 64, "update": "update", "functions": {}, "values": {"c": "1"}}
    session.manager.register_actor(0, actor.kernel_id, actor.kernel_type, code=edited)
    press(timeline, "restore")
    until(lambda: told(timeline, "was made by other code: `c` (1) is new"))


def test_a_step_between_checkpoints_shows_the_one_before_and_says_so(session):
    names = [made.name for made in stored(session, 10, 20, 30)]
    timeline = ready(session)
    look(timeline, lane=1, step=27)
    until(lambda: head(timeline)["step"] == 27)
    assert (head(timeline)["name"], head(timeline)["at"], head(timeline)["lane"]) == (
        names[1],
        20,
        1,
    )
    until(lambda: told(timeline, f"shown is {names[1]}, 7 steps before it. Steps between"))
    assert facts(timeline)["State"].startswith("not stored: the checkpoint 7 steps before it")
    assert facts(timeline)["Step"] == "27 of run 1"  # the time is that of what is shown
    assert facts(timeline)["From"] == f"{names[1]}, t = 291.5 µs"
    look(timeline, lane=1, step=3)
    until(lambda: head(timeline)["name"] == names[0])  # none before: the first
    look(timeline, name=names[2])
    until(lambda: facts(timeline)["From"] == names[2])
    assert facts(timeline)["Step"] == "30 of run 1, t = 437.3 µs"
    look(timeline, name="gone")
    until(lambda: told(timeline, "gone is not there any more"))


def test_of_several_checkpoints_of_one_step_the_chosen_one_is_shown_whatever_is_committed(session):
    stored(session, 10)
    session.inject(0, at=(3, 3))
    names = [session.snapshot(0).name, session.snapshot(0).name]
    timeline = ready(session)
    until(lambda: timeline.deck.shown["key"])
    keys = [key for key, *_, kind, _ in marks_of(timeline) if kind == Kind.CHECKPOINT]
    assert timeline.deck.shown == {"key": keys[-1], "name": names[-1]}
    for key, name in zip(keys, ["checkpoint_0_step_10", *names], strict=True):
        look(timeline, lane=1, step=10, key=key)
        until(lambda key=key: timeline.deck.shown["key"] == key)
        until(lambda name=name: head(timeline)["name"] == name)
        assert facts(timeline)["From"] == name
    look(timeline, lane=1, step=10, key=keys[0])
    until(lambda: timeline.deck.shown["key"] == keys[0])
    session.snapshot(0)
    until(lambda: len(squares_of(timeline)) == 4)
    assert timeline.deck.shown["key"] == keys[0]


def test_a_note_of_what_is_not_stored_goes_when_something_else_is_looked_at(session):
    names = [made.name for made in stored(session, 10, 20)]
    timeline = ready(session)
    look(timeline, lane=1, step=17)
    until(lambda: told(timeline, "Step 17 of run 1 is not stored"))
    look(timeline, lane=1, step=20)
    until(lambda: head(timeline)["name"] == names[1])
    until(lambda: not told(timeline, "is not stored"))
    look(timeline, lane=1, step=17)
    until(lambda: told(timeline, "Step 17 of run 1 is not stored"))  # it is so again


def test_that_what_is_looked_at_is_gone_is_said(session):
    session.manager.reconfigure(max_snapshots=2)
    names = [made.name for made in stored(session, 10, 20)]
    timeline = ready(session)
    look(timeline, lane=1, step=10)
    until(lambda: head(timeline)["name"] == names[0])
    stored(session, 30)
    gone = f"{names[0]} is not there any more"
    until(lambda: told(timeline, f"{gone}: shown is {names[1]}, 10 steps after it"))
    assert head(timeline)["step"] == 10
    press(timeline, "newest")
    until(lambda: not told(timeline, gone))


def test_a_note_of_what_is_not_stored_goes_when_nothing_is_left_to_look_at(session):
    (made,) = stored(session, 10)
    timeline = ready(session)
    look(timeline, lane=1, step=17)
    until(lambda: told(timeline, "Step 17 of run 1 is not stored"))
    session.storage.delete(made.name)
    until(lambda: facts(timeline) == {"State": f"{made.name} is not there any more"})
    until(lambda: not told(timeline, "is not stored"))


def test_what_is_damaged_is_not_said_to_be_missing(session, monkeypatch):
    monkeypatch.setattr(looking, "_REST_S", 0.0)
    good, bad = stored(session, 10, 20)
    session.faults.corrupt(bad.name)
    timeline = ready(session)
    look(timeline, lane=1, step=20)
    until(lambda: head(timeline)["name"] == good.name)
    until(lambda: facts(timeline)["State"].startswith("damaged: the checkpoint 10 steps before it"))
    assert not told(timeline, "is not stored")


def test_what_is_damaged_is_told_of_the_runs_whose_way_it_is_on(session, monkeypatch):
    monkeypatch.setattr(looking, "_REST_S", 0.0)
    left, bad = stored(session, 10, 20)
    session.restore(0, left.name)
    timeline = ready(session)
    session.faults.corrupt(bad.name)
    look(timeline, lane=1, step=20)
    until(lambda: facts(timeline)["State"].startswith("damaged: the checkpoint 10 steps before it"))
    look(timeline, lane=2, step=20)  # a run that left before it
    until(lambda: facts(timeline)["Step"] == "20 of run 2")
    assert facts(timeline)["State"].startswith("not stored: the checkpoint 10 steps before it")
    until(lambda: told(timeline, "Step 20 of run 2 is not stored"))


@pytest.mark.filterwarnings("ignore::ringnb.CheckpointWarning")
def test_what_has_lost_its_metadata_is_not_said_to_be_missing(session, tmp_path):
    good, bad = stored(session, 10, 20)
    (tmp_path / "s.zarr" / bad.name / "zarr.json").write_text('{"attributes": {"ringnb": {}}}')
    timeline = ready(session)
    until(lambda: squares_of(timeline) == [Flag(0), Flag.DAMAGED])
    look(timeline, lane=1, step=20)
    until(lambda: facts(timeline).get("From", "").startswith(f"{good.name}, "))
    assert facts(timeline)["State"].startswith("damaged: the checkpoint 10 steps before it")


def test_of_what_a_drag_passes_over_only_the_picture_is_shown(session, monkeypatch):
    monkeypatch.setattr(checkpoint_choices, "_PASSES_S", 60.0)
    monkeypatch.setattr(looking, "_REST_S", 0.0)
    names = [made.name for made in stored(session, 10, 20, 30)]
    timeline, field = ready(session), session.panel("field")
    look(timeline, lane=1, step=10)
    until(lambda: facts(timeline).get("From") == names[0] == head(timeline)["name"])
    until(lambda: facts(timeline)["Size"].endswith("verified"))
    sent = []
    for display in (timeline.deck.board, timeline.moment):
        display.observe(lambda change: sent.append(change["name"]), ["playhead", "chosen", "facts"])
    look(timeline, lane=1, step=27, passes=True)
    until(lambda: field.picture.info.get("name") == names[1])
    assert not sent
    assert not told(timeline, "7 steps before it")
    look(timeline, lane=1, step=27)
    until(lambda: facts(timeline)["From"].startswith(names[1]))
    until(lambda: told(timeline, "7 steps before it"))
    assert head(timeline)["name"] == names[1]
    look(timeline, lane=1, step=10, passes=True)
    press(timeline, "newest")
    until(lambda: head(timeline)["follows"])
    monkeypatch.setattr(checkpoint_choices, "_PASSES_S", 0.0)
    look(timeline, lane=1, step=10, passes=True)  # of a page that is closed then
    until(lambda: facts(timeline)["From"] == names[0] == head(timeline)["name"])


def test_a_commit_moves_the_playhead_only_if_it_follows_the_newest(session):
    names = [made.name for made in stored(session, 10, 20)]
    timeline = ready(session)
    assert head(timeline)["follows"] is True
    look(timeline, lane=1, step=10)
    until(lambda: head(timeline)["name"] == names[0])
    newest = stored(session, 30)[0].name
    until(lambda: len(squares_of(timeline)) == 3)
    assert (head(timeline)["name"], head(timeline)["follows"]) == (names[0], False)
    press(timeline, "newest")
    until(lambda: head(timeline)["name"] == newest)
    assert head(timeline)["follows"] is True
    timeline._controller.picker.value = 1  # which has no checkpoint
    until(lambda: head(timeline)["name"] == "")
    until(lambda: marks_of(timeline) == [])


def test_what_was_done_to_the_live_actor_is_marked_at_its_step(session):
    stored(session, 10)
    session.inject(0, at=(3, 3))
    session.run_steps(0, 5)
    session.set_params(0, damping=session.params(0)["damping"] + 0.5)
    timeline = session.panel("timeline")
    until(lambda: timeline.deck.lanes)
    assert [mark[1:4] for mark in marks_of(timeline)] == [
        (0, 1, Kind.DISTURBED),  # by the fixture
        (10, 1, Kind.DISTURBED),
        (15, 1, Kind.ADJUSTED),
        (10, 1, Kind.CHECKPOINT),
    ]
    key = marks_of(timeline)[1][0]
    hand_of(timeline)._handle_custom_msg({"do": "look.about", "key": key}, [])
    until(lambda: timeline.deck.about.get("key") == key)
    assert timeline.deck.about["title"] == "disturbed at step 10 of run 1"
    assert timeline.deck.about["lines"] == ["cell y 3, x 3 by 1"]


def test_damage_found_while_reading_is_passed_over_with_one_warning_and_no_problem(session):
    good, bad = stored(session, 10, 20)
    session.faults.corrupt(bad.name)
    timeline = ready(session)
    assert head(timeline)["name"] == bad.name  # nobody knows yet
    keys = [key for key, *_, kind, _ in marks_of(timeline) if kind == Kind.CHECKPOINT]
    hand_of(timeline)._handle_custom_msg({"do": "look.film", "keys": keys, "traces": []}, [])
    until(lambda: squares_of(timeline) == [Flag(0), Flag.DAMAGED])
    until(lambda: head(timeline)["name"] == good.name)
    assert [item[0] for item in timeline.deck.film["items"]] == keys[:1]
    assert [m["kind"] for m in timeline.deck.board.messages if m["open"]] == ["warning"]
    look(timeline, lane=1, step=25)
    until(lambda: head(timeline)["step"] == 25)
    assert head(timeline)["name"] == good.name
    hand_of(timeline)._handle_custom_msg({"do": "look.film", "keys": keys, "traces": []}, [])
    until(lambda: timeline.deck.film["n"] > 1)
    assert len(troubles(timeline)) == 1


def test_a_drag_that_passes_a_damaged_checkpoint_is_no_rest(session, monkeypatch):
    monkeypatch.setattr(checkpoint_choices, "_PASSES_S", 3600.0)  # however busy the machine is
    names = [made.name for made in stored(session, 10, 20, 30)]
    timeline, field = ready(session), session.panel("field")
    look(timeline, lane=1, step=30)
    until(lambda: facts(timeline)["From"] == names[2] and field.picture.info["name"] == names[2])
    session.faults.corrupt(names[1])
    sent = []
    timeline.deck.board.observe(lambda change: sent.append(change.new["step"]), "playhead")
    timeline.moment.observe(lambda _: sent.append("facts"), "facts")
    look(timeline, lane=1, step=27, passes=True)  # nobody knows yet
    until(lambda: field.picture.info["name"] == names[1])
    keys = [key for key, *_, kind, _ in marks_of(timeline) if kind == Kind.CHECKPOINT]
    tell(timeline, "look.film", keys=keys, traces=[])  # which reads what may be shown
    until(lambda: squares_of(timeline) == [Flag(0), Flag.DAMAGED, Flag(0)])
    until(lambda: field.picture.info["name"] == names[0])  # the one before it is shown
    assert not sent
    assert not told(timeline, "17 steps before it")
    look(timeline, lane=1, step=27)
    until(lambda: facts(timeline)["From"].startswith(names[0]))
    until(lambda: told(timeline, "17 steps before it"))


def test_small_pictures_are_of_the_field_that_the_stage_shows(session):
    stored(session, 10)
    timeline, field = ready(session), session.panel("field")
    (key,) = [key for key, *_, kind, _ in marks_of(timeline) if kind == Kind.CHECKPOINT]

    def values():
        ask = {"do": "look.film", "keys": [key], "traces": []}
        n = timeline.deck.film.get("n", 0)
        hand_of(timeline)._handle_custom_msg(ask, [])
        until(lambda: timeline.deck.film.get("n", 0) > n)
        return timeline.deck.film["items"][0][4:7]

    first = values()
    assert timeline.deck.traced == "pressure"
    field.field = "pressure_previous"
    until(lambda: timeline.deck.field == "pressure_previous")
    assert values() != first


def test_what_the_playhead_rests_on_is_read_whole(session):
    names = [made.name for made in stored(session, 10, 20)]
    timeline = ready(session)
    look(timeline, lane=1, step=10)
    until(lambda: facts(timeline)["Size"].endswith(", verified"))
    session.faults.corrupt(names[1])  # nobody has asked for its picture
    look(timeline, lane=1, step=24)
    until(lambda: told(timeline, f"Passed over: checkpoint {names[1]!r} is damaged"))
    until(lambda: head(timeline)["name"] == names[0])
    assert head(timeline)["step"] == 24


def test_a_checkpoint_that_was_seen_becomes_unusable_when_it_is_found_damaged(session):
    good, bad = stored(session, 5, 10)
    timeline = ready(session)
    session.faults.corrupt(bad.name)
    press(timeline, "check_all")
    until(lambda: told(timeline, "1 of 2 damaged"))
    until(lambda: squares_of(timeline) == [Flag(0), Flag.DAMAGED])
    choose(timeline, "main", bad.name)
    until(lambda: flag(timeline, "restore")["disabled"] is True)
    assert facts(timeline)["State"].startswith("damaged: ")
    press(timeline, "check")
    until(lambda: any(t.startswith("Check again: ") for t in troubles(timeline)))
    choose(timeline, "main", "")
    until(lambda: facts(timeline)["From"] == good.name)  # the newest that is sound


def test_a_run_is_called_what_a_user_calls_it_whoever_shows_it(session):
    stored(session, 10)
    timeline = ready(session)
    do(timeline, "look.name", slot=0, lane=1, name="calm")
    until(lambda: timeline.deck.lanes[0]["name"] == "calm")
    until(lambda: facts(timeline)["Step"].startswith("10 of run 1 (calm), t = "))
    session.panel()
    do(timeline, "actor.choose", slot=1)  # whose run has the same number
    until(lambda: timeline.deck.slot == 1 and timeline.deck.lanes[0]["name"] == "")
    do(timeline, "actor.choose", slot=0)
    do(timeline, "look.name", slot=0, lane=1, name="")
    until(
        lambda: timeline.deck.slot == 0 and facts(timeline)["Step"].startswith("10 of run 1, t = ")
    )


def test_pinning_and_unpinning_change_the_mark(session):
    stored(session, 5)
    timeline = ready(session)
    press(timeline, "pin", label=" calm ")
    until(lambda: timeline.moment.pinned)
    assert facts(timeline)["Pinned"] == "calm"
    assert squares_of(timeline) == [Flag.PINNED]
    press(timeline, "unpin")
    until(lambda: not timeline.moment.pinned)
    assert said(timeline).endswith("is not pinned: the policy decides on it again")


def test_a_users_copy_is_not_taken_for_a_checkpoint(session, tmp_path):
    first = session.snapshot(0)
    shutil.copytree(tmp_path / "s.zarr" / first.name, tmp_path / "s.zarr" / "my_backup")
    timeline = session.panel("timeline")
    stored(session, 5)
    until(lambda: len(squares_of(timeline)) >= 2)
    steps = [step for _, step, _, kind, _ in marks_of(timeline) if kind == Kind.CHECKPOINT]
    assert steps == [0, 5]


def test_a_prefix_with_the_identity_in_it_finds_its_checkpoints_and_what_is_damaged(tmp_path):
    path = tmp_path / "s.zarr"
    config = rn.CheckpointConfig(storage_path=path, enabled=False, name_prefix="x_{kernel_id}")
    with rn.Session(rn.actors.Life((8, 8)), backend="cpu", config=config) as session:
        names = [session.snapshot(0).name for _ in range(2)]
        assert names == ["x_life_0_0_step_0", "x_life_0_0_step_0.2"]
        (path / names[1] / "zarr.json").write_text('{"attributes": {"ringnb": {}}}')
        timeline = session.panel("timeline")
        until(lambda: squares_of(timeline) == [Flag(0), Flag.DAMAGED])
        with pytest.warns(rn.CheckpointWarning, match=r"step_0\.2"):
            assert session.restore(0, "latest") == 0


@pytest.fixture
def saved(monkeypatch):
    """Return a function that gives what a page is told to save: for each file its name and bytes."""
    files = []

    def watch(panel):
        board = panel._controller.board

        def take(content, buffers):
            if "download" in content:
                files.append((content["download"], buffers[0]))

        monkeypatch.setattr(board, "send", take)
        return files

    return watch


def frames_of(gif):
    with Image.open(io.BytesIO(gif)) as picture:
        return [
            picture.seek(i) or np.asarray(picture.convert("RGB")) for i in range(picture.n_frames)
        ]


def test_a_movie_is_of_what_the_line_shows_in_the_order_of_steps(session, saved):
    made = stored(session, 10, 20, 30, 40)
    timeline, _ = ready(session), session.panel("field")
    files = saved(timeline)
    until(lambda: flag(timeline, "movie").get("disabled") is False)
    press(timeline, "movie", lane=1, low=15.0, high=40)
    until(lambda: told(timeline, "Making a movie of"))
    until(lambda: files)
    ((name, gif),) = files
    assert name == f"{made[1].name}.gif"
    assert len(frames_of(gif)) == 3
    until(lambda: told(timeline, "Movie of 3 checkpoints sent, steps 20 to 40"))


def test_a_movie_is_made_as_the_stage_shows_the_checkpoints(session, saved):
    stored(session, 10, 20)
    timeline, field = ready(session), session.panel("field")
    files, steps = saved(timeline), []
    field.show_own(lambda checkpoint, ax: ax.set_title(steps.append(checkpoint.step)))
    until(lambda: steps)  # the picture
    steps.clear()
    press(timeline, "movie", lane=1, low=0, high=100)
    until(lambda: files)
    assert steps == [10, 20]
    # A field has the colours that were chosen on the page, or those that the panel was given.
    field.draw, field.colours = None, "viridis"
    for colours, is_gray in (("gray", True), (None, False), ("two", False)):
        files.clear()
        press(timeline, "movie", lane=1, low=0, high=100, colours=colours)
        until(lambda: files)
        picture = frames_of(files[0][1])[0]
        row = picture[len(picture) // 2]  # through the field
        assert (np.ptp(row.astype(int), axis=-1).max() < 8) == is_gray, colours


def test_of_more_checkpoints_than_a_movie_has_room_for_some_are_taken_evenly(
    session, saved, monkeypatch
):
    monkeypatch.setattr(movie_file, "_MOST", 3)
    session.manager.reconfigure(max_snapshots=5)
    stored(session, 10, 11, 12, 13, 20)
    timeline, field = ready(session), session.panel("field")
    files, steps = saved(timeline), []
    field.show_own(lambda checkpoint, ax: ax.set_title(steps.append(checkpoint.step)))
    until(lambda: steps)
    steps.clear()
    press(timeline, "movie", lane=1, low=0, high=100)
    until(lambda: files)
    assert steps == [10, 12, 20]
    until(lambda: told(timeline, "Movie of 3 of 5 checkpoints sent, steps 10 to 20"))


def test_why_there_is_no_movie_is_said(session, saved):
    timeline = session.panel("timeline")
    until(lambda: flag(timeline, "movie"))
    assert flag(timeline, "movie")["disabled"]
    stored(session, 10)
    why = "It is of the picture of the field, which no panel shows"
    until(lambda: flag(timeline, "movie").get("why") == why)
    field = session.panel("field")
    until(lambda: flag(timeline, "movie").get("disabled") is False)
    press(timeline, "movie", lane=1, low=11, high=20)
    until(lambda: told(timeline, "Movie: no checkpoint of run 1 is in sight"))
    files = saved(timeline)
    field.show_own(lambda checkpoint, ax: checkpoint["no such field"])
    press(timeline, "movie", lane=1, low=0, high=20)
    until(lambda: any(t.startswith("Movie: ") for t in troubles(timeline)))
    assert not files


def test_a_checkpoint_that_cannot_be_restored_is_marked_as_damaged(session):
    timeline = session.panel("timeline")
    name = session.snapshot(0).name
    choices = timeline._controller.choices
    until(lambda: flag(timeline, "restore").get("disabled") is False)
    session.faults.corrupt(name)
    press(timeline, "restore")
    until(lambda: any("is damaged" in text for text in troubles(timeline)))
    until(lambda: "damaged" in choices.verdict(name, "no"))


def test_a_movie_goes_without_what_is_retired_while_it_is_made(session, saved):
    made = stored(session, 10, 20, 30)
    timeline, field = ready(session), session.panel("field")
    files, steps = saved(timeline), []
    movie = threading.Event()

    def draw(checkpoint, ax):
        checkpoint.numpy()
        ax.set_title(checkpoint.step)  # of equal pictures a GIF has one
        steps.append(checkpoint.step)
        if movie.is_set():
            movie.clear()
            session.storage.delete(made[1].name)

    field.show_own(draw)
    until(lambda: steps)
    movie.set()
    steps.clear()
    press(timeline, "movie", lane=1, low=0, high=100)
    until(lambda: files)
    assert len(frames_of(files[0][1])) == 2
    until(lambda: told(timeline, "Movie of 2 of 3 checkpoints sent, steps 10 to 30"))


def test_after_a_drawing_that_exits_another_movie_can_be_made(session, saved):
    stored(session, 10, 20)
    timeline, field = ready(session), session.panel("field")
    files = saved(timeline)
    field.show_own(lambda checkpoint, ax: sys.exit())
    until(lambda: any(t.startswith("Drawing: ") for t in troubles(timeline)))
    press(timeline, "movie", lane=1, low=0, high=100)
    until(lambda: any(t.startswith("Movie: ") and "SystemExit" in t for t in troubles(timeline)))
    field.show_own(lambda checkpoint, ax: None)
    press(timeline, "movie", lane=1, low=0, high=100)
    until(lambda: files)


def test_no_movie_is_sent_that_is_too_large_for_the_connection(session, saved, monkeypatch):
    monkeypatch.setattr(switchboard, "MOST_DOWNLOADED", 1000)
    stored(session, 10)
    timeline, _ = ready(session), session.panel("field")
    files = saved(timeline)
    press(timeline, "movie", lane=1, low=0, high=100)
    until(lambda: any("too many for the notebook's connection" in t for t in troubles(timeline)))
    assert not files
