"""What a session says by itself."""

from __future__ import annotations

import errno
import time
from contextlib import nullcontext as nothing
from types import SimpleNamespace

import pytest
from front_end import board_of, do, press, told, troubles
from waiting import until

import ringnb as rn
from ringnb.messages.events import Event, EventLog
from ringnb.panels.core.messages import MessageLog
from ringnb.panels.core.news import News, _kept_and_lost


def test_an_empty_store_is_told_once_and_when_the_first_checkpoint_is_due(tmp_path):
    config = rn.CheckpointConfig(interval=3600, storage_path=tmp_path / "s.zarr")
    with rn.Session(rn.actors.Life((8, 8)), config=config, service=False) as session:
        panel = session.panel("actor")
        until(lambda: told(panel, "Nothing is stored yet: the first checkpoint is due now"))
        board = board_of(panel)
        first = {"words": "the first checkpoint is due", "counts": True, "none": True}
        until(lambda: board.next_checkpoint == first)
        session.manager.reconfigure(enabled=False)
        never = "checkpoints are made only when asked for"
        until(lambda: board.next_checkpoint == {"words": never, "counts": False, "none": True})
        session.snapshot(0)
        until(lambda: told(panel, "Committed"))
        until(lambda: board.next_checkpoint == {"words": never, "counts": False, "none": False})
    with rn.Session(rn.actors.Life((8, 8)), config=config, service=False) as session:
        panel = session.panel("actor")
        until(lambda: board_of(panel).beat > 1)
        assert not told(panel, "Nothing is stored yet")
        assert told(panel, "1 checkpoint stored, 64 B; the newest is checkpoint_0_step_0, made at")
        assert not told(panel, "This begins at step 0")
        session.run_steps(0, 3)
        session.snapshot(0)
    with rn.Session(rn.actors.Life((8, 8)), config=config, service=False) as session:
        panel = session.panel("actor")
        anew = "This begins at step 0: restore one to go on from it. 2 checkpoints stored"
        until(lambda: told(panel, anew))


def test_when_the_next_picture_is_due_is_said_of_the_actor_that_is_looked_at(tmp_path):
    config = rn.CheckpointConfig(interval=3600, storage_path=tmp_path / "s.zarr")
    with rn.Session(rn.actors.Life((8, 8)), 2, config=config, service=False) as session:
        board = board_of(session.panel("timeline"))
        session.snapshot(0)
        until(
            lambda: board.next_checkpoint == {"words": "", "counts": False, "none": False}
        )  # it stands
        assert board.due_at is None
        session.run_steps(0, 3)
        until(
            lambda: (
                board.next_checkpoint
                == {"words": "the next checkpoint is due", "counts": True, "none": False}
            )
        )
        assert board.due_at > 3000  # the other one is due now
        (request,) = [r for r in session.manager.poll_due_snapshots() if r.actor_slot]
        session.panel("timeline")._controller.picker.value = 1
        being_made = "the next checkpoint is being made"
        until(lambda: board.next_checkpoint == {"words": being_made, "counts": False, "none": True})
        assert board.due_at is None  # not when that times out
        session.manager.cancel_pending(request.request_id)
        until(lambda: board.next_checkpoint["words"] == "the next checkpoint is due")


def test_a_store_of_damaged_checkpoints_alone_counts_as_an_empty_one(tmp_path):
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr")
    with rn.Session(rn.actors.Life((8, 8)), config=config) as session:
        name = session.snapshot(0).name
    (tmp_path / "s.zarr" / name / "zarr.json").write_text("{")
    with rn.Session(rn.actors.Life((8, 8)), config=config) as session:
        panel = session.panel("actor")
        until(
            lambda: told(panel, "Nothing is stored yet: checkpoints are made only when asked for")
        )
        beat = board_of(panel).beat
        until(lambda: board_of(panel).beat > beat)


def test_a_bad_state_says_between_which_steps_it_went_bad(session):
    panel = session.panel("timeline")
    session.run_steps(0, 10)
    session.snapshot(0)
    session.inject(0, at=(3, 3), amplitude=1e39)
    for _ in range(2):  # the second is not the first
        session.run_steps(0, 3)
        with pytest.warns(rn.CheckpointWarning) if session.current_step(0) == 13 else nothing():
            session.snapshot(0)
    until(lambda: any("at step 16" in text for text in troubles(panel)))
    assert (
        "It went bad between step 10 and 13; more is not known without replay" in troubles(panel)[0]
    )


def test_a_full_disk_leads_to_where_room_is_made(session):
    panel = session.panel("timeline")
    session.faults.fill_disk()
    press(panel, "live.snapshot")
    until(lambda: troubles(panel))
    (trouble,) = (m for m in board_of(panel).messages if m["open"])
    assert [label for _, label, _ in trouble["actions"]] == ["Make room", "Try now"]
    assert trouble["actions"][0] == ["page.tab", "Make room", {"tab": "keep"}]


def test_the_commit_of_a_snapshot_that_was_asked_for_is_the_answer(session):
    panel = session.panel("timeline")
    session.snapshot(0)  # by a cell
    until(lambda: "Committed checkpoint_0_step_0:" in board_of(panel).messages[-1]["text"])
    assert board_of(panel).messages[-1]["byItself"]
    do(panel, "live.snapshot", slot=0)
    until(lambda: "Committed checkpoint_0_step_0.2:" in board_of(panel).messages[-1]["text"])
    assert not board_of(panel).messages[-1]["byItself"]
    session.snapshot(0)
    until(lambda: "Committed checkpoint_0_step_0.3:" in board_of(panel).messages[-1]["text"])
    assert board_of(panel).messages[-1]["byItself"]


def test_a_press_that_failed_makes_no_answer_of_the_next_commit(session):
    panel = session.panel("timeline")
    session.faults.fill_disk()
    do(panel, "live.snapshot", slot=0)
    messages = panel._controller.switchboard.messages
    until(lambda: any(m.open and m.detail for m in messages.newest()))  # the press has ended
    session.faults.clear()
    session.snapshot(0)
    until(lambda: told(panel, "Committed checkpoint_0_step_0:"))
    assert board_of(panel).messages[-1]["byItself"]


def committed(events, slot, name):
    events.append(Event("committed", slot, slot, 5, name))


def test_what_is_committed_while_a_user_waits_is_not_the_answer():
    session, messages = SimpleNamespace(events=EventLog()), MessageLog()
    news = News(session, messages)

    def said():
        news.read(session, ())
        return [(m.text.partition(":")[0], m.by_itself) for m in messages.newest()]

    def take():
        """Take one of actor 0, of which an automatic one is under way."""
        committed(session.events, 0, "automatic")
        committed(session.events, 1, "another's")
        assert said() == [("Committed another's", True)]
        committed(session.events, 0, "asked")
        committed(session.events, 1, "the last")
        assert said()[1:] == [("Committed the last", True)]
        return SimpleNamespace(name="asked")

    news.answering(0, take)
    assert said()[2:] == [("Committed automatic", True), ("Committed asked", False)]
    committed(session.events, 0, "later")
    assert said()[4:] == [("Committed later", True)]


def test_a_commit_that_is_heard_of_after_the_answer_is_told_as_the_answer():
    """As from a session of another process."""
    session, messages = SimpleNamespace(events=EventLog()), MessageLog()
    news = News(session, messages)
    news.answering(0, lambda: SimpleNamespace(name="asked"))
    committed(session.events, 0, "asked")
    news.read(session, ())
    assert not messages.newest()[-1].by_itself


@pytest.mark.filterwarnings("ignore::ringnb.errors.CheckpointWarning")
@pytest.mark.parametrize("slot", [0, 1], ids=["stepped since", "never saved"])
def test_a_state_that_is_not_saved_is_tried_again_also_of_a_paused_actor(session, slot):
    panel = session.panel("timeline")
    session.run_steps(0, 30)
    session.snapshot(0)
    if slot == 0:
        session.snapshot(1)
        session.run_steps(0, 5)
    session.faults.fill_disk()
    session.manager.reconfigure(enabled=True, interval=3600)
    do(panel, "live.snapshot", slot=slot)
    messages = panel._controller.switchboard.messages
    until(lambda: any(m.open and m.again is not None for m in messages.newest()))
    (trouble,) = (m for m in messages.newest() if m.open)
    assert f"Snapshot of actor {slot} failed: " in trouble.text
    assert trouble.text.endswith("It is tried again")


# By itself it may be tried meanwhile.
@pytest.mark.filterwarnings("ignore::ringnb.errors.CheckpointWarning")
def test_a_failure_says_when_it_is_tried_again_ever_later_and_try_now_does_it_at_once(session):
    panel = session.panel("timeline")
    messages = panel._controller.switchboard.messages
    session.snapshot(0), session.snapshot(1)
    session.faults.fill_disk()
    press(panel, "live.snapshot")
    until(lambda: troubles(panel))
    assert troubles(panel)[0].endswith("It is not tried again by itself")  # snapshots are off
    assert board_of(panel).messages[-1]["again"] is None
    waits = []
    session.manager.reconfigure(enabled=True, interval=3600)
    do(panel, "live.snapshot", slot=0)
    until(
        lambda: troubles(panel)[0].endswith("if the actor has changed since its newest checkpoint")
    )
    session.run_steps(0, 50)
    for count in (3, 4, 5):
        do(panel, "live.snapshot", slot=0)
        until(lambda n=count: [m.count for m in messages.newest() if m.open][-1] >= n)
        (trouble,) = (m for m in messages.newest() if m.open)
        assert trouble.text.endswith("It is tried again")
        said = trouble.at - time.time() + time.monotonic() - panel._controller._began
        waits.append(trouble.again - said)
        assert waits[-1] <= 2.0 ** (trouble.count - 1)  # less what passed before it was said
    assert waits == sorted(waits)  # 2, 4 and 8 s
    assert waits[-1] > 2
    session.faults.clear()
    action, label, args = trouble.actions[-1]
    assert label == "Try now"
    do(panel, action, **args)
    until(lambda: not troubles(panel))


def test_a_store_that_cannot_be_read_is_one_problem_and_is_read_again_on_demand(
    session, monkeypatch
):
    panel = session.panel("timeline")
    session.snapshot(0)
    until(lambda: panel._controller.state.histories[0])
    reads = []

    def broken():
        """Fail, as a file server that is away."""
        reads.append(time.monotonic())
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(session.storage, "catalogue", broken)
        panel._controller.note_store()
        until(lambda: len(reads) >= 3)
        until(lambda: [m["count"] for m in board_of(panel).messages if m["open"]] >= [3])
        (trouble,) = (m for m in board_of(panel).messages if m["open"])
        assert "The store cannot be read: [Errno 5] Input/output error. What is" in trouble["text"]
        assert reads[1] - reads[0] >= 1
        assert reads[2] - reads[1] >= 2  # the next would come after 4 s
        assert len(panel._controller.state.histories[0]) == 1  # what is known stays
    do(panel, *trouble["actions"][0][:1])
    until(lambda: not troubles(panel))


def of_dead_kernel(*actors):
    """Return a state of which so much is known: for each actor step, saved, and its commits' steps."""
    return SimpleNamespace(
        actors=[
            SimpleNamespace(slot=slot, step=step, saved=saved)
            for slot, (step, saved, _) in enumerate(actors)
        ],
        histories=[
            [
                SimpleNamespace(step=step, sequence=at + 1, damaged=False)
                for at, step in enumerate(steps)
            ]
            for _, _, steps in actors
        ],
    )


@pytest.mark.parametrize(
    ("actors", "said"),
    [
        ([(30, True, [10, 30])], "All 2 committed checkpoints are still there; no step is lost"),
        ([(30, False, [10, 25]), (9, True, [9])], "no actor has lost more than 5 steps"),
        # It was restored, and committed since; it was restored, and not committed since.
        ([(300, False, [100, 500, 150])], "no actor has lost more than 150 steps"),
        ([(300, False, [100, 500])], "what an actor did after its newest one is lost"),
        ([(30, False, [])], "No checkpoint was committed"),
    ],
)
def test_of_a_dead_kernel_it_is_said_what_is_kept_and_what_is_lost(actors, said):
    text = _kept_and_lost(of_dead_kernel(*actors))
    assert said in text
    assert ("no step" in text) == all(saved for _, saved, _ in actors)
