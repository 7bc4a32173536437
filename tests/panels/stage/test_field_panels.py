"""The field view and the comparison: the checkpoint that was chosen is drawn."""

from __future__ import annotations

from front_end import below, choose
from waiting import until

from ringnb.panels.stage.fields import describe


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
    assert [i["name"] for i in timeline.checkpoints.items] == names
    choose(timeline, "main", "")
    until(lambda: field.picture.alt == describe(newest, "pressure"))


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
