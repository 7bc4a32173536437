"""The retention panel: nothing is deleted without a preview."""

from __future__ import annotations

from front_end import choose, flag, press, told
from waiting import until

import ringnb as rn


def test_retention_deletes_only_what_was_previewed(session):
    for _ in range(4):
        session.run_steps(0, 1)
        session.snapshot(0)
    panel = session.panel("retention")
    panel.number.value = 2
    press(panel, "apply")
    until(lambda: told(panel, "preview this policy first"))
    assert len(session.storage.list()) == 4
    press(panel, "preview")
    until(lambda: flag(panel, "apply")["disabled"] is False)
    assert "would delete 2" in panel.table.value
    panel.number.value = 1  # another policy than the one that was previewed
    until(lambda: flag(panel, "apply")["disabled"] is True)
    panel.number.value = 2
    press(panel, "preview")
    until(lambda: flag(panel, "apply")["disabled"] is False)
    press(panel, "apply")
    until(lambda: len(session.storage.list()) == 2)
    assert session.manager.config.retention == rn.retention.keep_last(2) or "keep_last(2)" in repr(
        session.manager.config.retention
    )


def test_one_checkpoint_is_deleted_after_a_preview_but_never_the_newest_or_a_pinned_one(session):
    first, second, newest = [session.snapshot(0).name for _ in range(3)]
    session.storage.pin(second, "kept")
    panel = session.panel("retention")
    until(lambda: len(panel.checkpoints.items) == 3)

    def ask(name, *actions):
        choose(panel, "kept", name)
        for action in actions:
            press(panel, action)

    ask(first, "delete")
    until(lambda: told(panel, f"preview the deletion of {first} first"))
    ask(newest, "consider")
    until(lambda: told(panel, "newest sound one"))
    ask(second, "consider")
    until(lambda: told(panel, "unpin it first"))
    assert flag(panel, "delete")["disabled"]
    ask(first, "consider")
    until(lambda: flag(panel, "delete")["disabled"] is False)
    choose(panel, "kept", second)  # another choice needs a preview of its own
    until(lambda: flag(panel, "delete")["disabled"])
    ask(first, "delete")
    until(lambda: told(panel, f"{first} is deleted"))
    assert session.manager.list_checkpoints(0) == [second, newest]
    assert session.events.select("retired")[-1].name == first
    until(lambda: panel.line.board.chosen["kept"] == "")  # what is gone is not the choice any more
    ask(first, "pin")
    until(lambda: told(panel, f"{first} is not there any more"))


def test_earlier_runs_are_deleted_after_a_preview_of_exactly_these(session):
    first = [session.snapshot(0).name for _ in range(2)]
    session.restore(0, first[0])
    session.run_steps(0, 1)
    second = session.snapshot(0).name
    panel = session.panel("retention")
    press(panel, "prune")
    until(lambda: told(panel, "preview them first"))
    press(panel, "runs")
    until(lambda: flag(panel, "prune")["disabled"] is False)
    assert told(panel, "Deleting 1 earlier run would take 1 checkpoint")
    assert f"{first[0]} (" in panel.table.value  # the other run branches from it
    session.storage.pin(first[1], "kept")
    press(panel, "prune")
    until(lambda: told(panel, "changed since the preview"))
    session.storage.unpin(first[1])
    press(panel, "runs")
    until(lambda: flag(panel, "prune")["disabled"] is False)
    press(panel, "prune")
    until(lambda: told(panel, "1 checkpoint of earlier runs deleted"))
    assert session.manager.list_checkpoints(0) == [first[0], second]
