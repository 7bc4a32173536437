"""The retention panel: what is deleted is what was shown, or nothing."""

from __future__ import annotations

from front_end import do, flag, look, marks_of, press, squares_of, told, whole
from waiting import until

import ringnb as rn
from ringnb.panels.deck.marks import Flag
from ringnb.panels.keep import retention


def names(session):
    return session.storage.list()


def fates(panel):
    """What a page shows of each checkpoint, by its name."""
    tiles = whole(lambda: do(panel, "retention.all"), lambda: panel.sheet.tiles)
    return {tile[2]: tile[5] for tile in tiles.get("add", ())}


def shows(panel, going):
    until(lambda: panel.stays.preview.get("going") == going)
    return panel.stays.preview["id"]


def test_what_is_adopted_is_what_sheet_and_line_show(session):
    for _ in range(4):
        session.run_steps(0, 1)
        session.snapshot(0)
    timeline, panel = session.panel("timeline"), session.panel("retention")
    panel.policy.value, panel.number.value = "the newest N", 2
    shown = shows(panel, 2)
    doomed = {e.name for e in session.manager.preview_retention(rn.retention.keep_last(2)).delete}
    assert {name for name, fate in fates(panel).items() if fate == "goes"} == doomed
    assert "2 would go" in panel.stays.preview["words"]
    assert panel.stays.preview["more"] == "Of all actors, 2 stay, 0 pinned"
    until(lambda: sum(bool(mark[4] & Flag.GOING) for mark in marks_of(timeline)) == 2)
    do(panel, "retention.adopt", shown=shown)
    until(lambda: len(names(session)) == 2)
    assert not doomed & set(names(session))
    until(lambda: told(panel, "keep_last(2) holds from now on; deleted 2"))
    until(lambda: panel.heading.in_force == "keep_last(2)")
    shows(panel, 0)
    session.restore(0, names(session)[0])
    session.run_steps(0, 1)
    session.snapshot(0)
    stays = "Of all actors, 3 stay, 0 pinned, 2 of earlier runs"
    until(lambda: panel.stays.preview["more"] == stays)


def test_a_commit_after_the_preview_makes_its_adoption_refused(session):
    session.manager.reconfigure(max_snapshots=0)
    for _ in range(4):
        session.snapshot(0)
    panel = session.panel("retention")
    panel.policy.value, panel.number.value = "the newest N", 2
    shown = shows(panel, 2)
    for _ in range(2):
        session.snapshot(0)
    shows(panel, 4)
    before = names(session)
    do(panel, "retention.adopt", shown=shown)  # of a page that has not heard of it
    until(lambda: told(panel, "Adopt: 2 checkpoints came since; nothing was deleted: look again"))
    assert names(session) == before
    assert "keep_last" not in repr(session.manager.config.policy)
    do(panel, "retention.adopt", shown=10**6)
    until(lambda: told(panel, "Adopt: what was shown is not so any more"))
    assert names(session) == before


def test_one_checkpoint_is_deleted_after_a_question_but_never_the_newest_or_a_pinned_one(session):
    first, second, newest = [session.snapshot(0).name for _ in range(3)]
    session.storage.pin(second, "kept")
    panel = session.panel("retention")

    def choose(name):
        until(lambda: name in fates(panel))
        look(panel, name=name)
        until(lambda: panel.stays.one.get("name") == name)

    choose(newest)
    press(panel, "consider")
    until(lambda: told(panel, "newest sound one"))
    choose(second)
    until(lambda: flag(panel, "consider")["disabled"])
    assert panel.stays.one["pin"] == "kept"
    choose(first)
    press(panel, "consider")
    until(lambda: told(panel, f"Delete {first}? It frees"))
    question = next(m for m in panel.line.board.messages if m["key"] == "delete")
    (delete, _, args), (keep, _, _) = question["actions"]
    assert keep == "say.dismiss"
    do(panel, delete, **{**args, "which": "another"})
    until(lambda: told(panel, f"{first} is not there any more"))
    do(panel, delete, **args)
    until(lambda: told(panel, f"{first} is deleted"))
    assert session.manager.list_checkpoints(0) == [second, newest]
    assert session.events.select("retired")[-1].name == first
    until(lambda: panel.stays.one.get("name") == newest)  # what is gone is not the choice any more


def test_what_is_looked_at_is_not_said_to_be_gone_when_it_is_deleted_here(session, monkeypatch):
    first, newest = [session.snapshot(0).name for _ in range(2)]
    panel, timeline = session.panel("retention"), session.panel("timeline")

    def head():
        return timeline.deck.board.playhead

    def delete():
        look(panel, name=first)
        until(lambda: head().get("name") == first == panel.stays.one.get("name"))
        press(panel, "consider")
        until(lambda: told(panel, f"Delete {first}? It frees"))
        question = next(m for m in panel.line.board.messages if m["key"] == "delete")
        do(panel, question["actions"][0][0], **question["actions"][0][2])

    discard, said = session.manager.discard, []

    def slow(name, **how):
        freed = discard(name, **how)
        if not how:  # the panels see that it is gone before the deletion has returned
            until(lambda: len(squares_of(timeline)) == 1 and head()["name"] == newest)
            said.append(told(timeline, "is not there any more"))
        return freed

    def refused(name, **how):
        if how:
            return discard(name, **how)
        until(lambda: head()["name"] == newest)
        raise rn.CheckpointError("the disk is gone")

    until(lambda: len(squares_of(timeline)) == 2)
    monkeypatch.setattr(session.manager, "discard", refused)
    delete()
    until(lambda: told(panel, "the disk is gone"))
    until(lambda: head()["name"] == first)
    assert not head()["follows"]
    monkeypatch.setattr(session.manager, "discard", slow)
    delete()
    until(lambda: told(panel, f"{first} is deleted"))
    until(lambda: head()["name"] == newest and head()["follows"])
    assert said == [False]


def test_earlier_runs_are_deleted_after_a_question_about_exactly_these(session):
    first = [session.snapshot(0).name for _ in range(2)]
    session.restore(0, first[0])
    second = []
    for _ in range(2):
        session.run_steps(0, 1)
        second.append(session.snapshot(0).name)
    panel = session.panel("retention")
    do(panel, "retention.prune")
    until(lambda: told(panel, "look again"))
    panel.policy.value, panel.number.value = "the newest N", 1
    until(lambda: fates(panel).get(second[0]) == "goes")
    press(panel, "runs")
    until(lambda: told(panel, "Delete 1 checkpoint of 1 earlier run"))

    def crossed():
        return {name for name, fate in fates(panel).items() if fate == "goes"}

    until(lambda: crossed() == {first[1]})  # not what the policy would delete
    until(lambda: flag(panel, "adopt")["why"] == "Crossed out is what is asked about")
    do(panel, "say.dismiss", key="prune")
    do(panel, "say.history", panel="retention", part="problems")
    until(lambda: [row["settled"] for row in panel.line.rows][:1] == ["the answer: Keep them"])
    until(lambda: second[0] in crossed())
    until(lambda: not flag(panel, "adopt")["disabled"])
    press(panel, "runs")
    until(lambda: crossed() == {first[1]})
    session.storage.pin(first[1], "kept")
    do(panel, "retention.prune")
    until(lambda: told(panel, "changed since"))
    session.storage.unpin(first[1])
    press(panel, "runs")
    until(lambda: told(panel, "Delete 1 checkpoint of 1 earlier run"))
    do(panel, "retention.prune")
    until(lambda: told(panel, "1 checkpoint of earlier runs deleted"))
    assert session.manager.list_checkpoints(0) == [first[0], *second]


def test_of_a_long_history_a_page_gets_the_newest_and_more_when_it_asks(session, monkeypatch):
    monkeypatch.setattr(retention, "_AT_ONCE", 2)
    session.manager.reconfigure(max_snapshots=0)
    made = [session.snapshot(0).name for _ in range(4)]
    panel = session.panel("retention")
    until(lambda: panel.sheet.count == 4)
    assert list(fates(panel)) == made[2:]
    do(panel, "retention.more", most=3)
    until(lambda: made[1] in [tile[2] for tile in panel.sheet.tiles["add"]])
    made.append(session.snapshot(0).name)
    until(lambda: list(fates(panel)) == made[2:])


def test_the_disk_is_told_and_pictures_come_when_a_page_asks(session):
    session.snapshot(0)
    panel = session.panel("retention")
    until(lambda: panel.stays.disk.get("all"))
    assert "free" in panel.stays.disk["words"]
    fates(panel)
    do(panel, "retention.pictures", keys=[tile[0] for tile in panel.sheet.tiles["add"]])
    until(lambda: panel.sheet.film.get("items"))
    assert panel.sheet.film["items"][0][1:3] == [24, 24]


def test_what_grows_all_the_time_is_measured_seldom(session):
    panel = session.panel("retention")
    session.snapshot(0)
    until(lambda: panel.stays.disk.get("own", 0) > 0)
    rates, board = [], panel.line.board
    panel.stays.observe(lambda c: rates.append(c["new"]["rate"]), "disk")
    beat = board.beat
    until(lambda: board.beat >= beat + 2)  # a hundred refreshes, or many of them
    assert len(set(rates)) <= 1


def test_a_policy_without_a_number_shows_no_field_for_one(session):
    panel = session.panel("retention")
    for policy, display in (("all", "none"), ("the newest N", None), ("as in force", "none")):
        panel.policy.value = policy
        until(lambda display=display: panel.number.layout.display == display)


def test_a_damaged_checkpoint_which_nothing_shows_can_be_deleted(session):
    damaged, newest = [session.snapshot(0).name for _ in range(2)]
    panel = session.panel("retention")
    session.faults.corrupt(damaged)
    do(panel, "moment.check_all")
    until(lambda: fates(panel).get(damaged) == "damaged")
    do(panel, "retention.consider_damaged", name=newest)  # is not: nothing is asked
    do(panel, "retention.consider_damaged", name=damaged)
    until(lambda: told(panel, f"Delete {damaged}? It is damaged. Deleting it frees"))
    assert not told(panel, f"Delete {newest}?")
    question = next(m for m in panel.line.board.messages if m["key"] == "delete")
    delete, _, args = question["actions"][0]
    do(panel, delete, **args)
    until(lambda: told(panel, f"{damaged} is deleted"))
    assert names(session) == [newest]


def test_while_an_actor_stands_a_schedule_by_steps_is_not_said_to_be_off(session):
    session.snapshot(0)
    panel = session.panel("retention")
    until(lambda: "free" in panel.stays.disk)  # which has the words made anew, too
    until(lambda: panel.sheet.forecast.get("words", "").startswith("No checkpoint comes by itself"))
    session.snapshot_every(100)
    until(lambda: "while the actor stands" in panel.sheet.forecast.get("words", ""))
