"""The field panel and the comparison: the checkpoint that is looked at is drawn, as the controls say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import traitlets
from front_end import choose, do, told
from waiting import until

import ringnb as rn
from ringnb.panels.core import controller
from ringnb.panels.core.library import library
from ringnb.panels.core.limits import PROFILES, Profile
from ringnb.panels.stage.compare import stage_of


def shows(panel, name):
    return panel.picture.info.get("name") == name and not panel.picture.info.get("problem")


def test_scrubbing_shows_the_checkpoint_that_was_chosen(session, names):
    field, timeline = session.panel("field"), session.panel("timeline")
    until(lambda: shows(field, names[-1]))
    assert field.picture.info["follows"]
    pixels = field.picture.pixels
    choose(timeline, "main", names[0])
    until(lambda: shows(field, names[0]))
    assert not field.picture.info["follows"]
    assert "at step 20" in field.picture.info["words"]
    assert field.picture.pixels != pixels
    choose(timeline, "main", "")
    until(lambda: shows(field, names[-1]))


def test_the_newest_is_followed_but_not_faster_than_every_two_seconds(session, names, monkeypatch):
    monkeypatch.setitem(PROFILES, "default", Profile(refresh_s=0.01, follow_s=60.0))
    field = session.panel("field")
    until(lambda: shows(field, names[-1]))
    session.run_steps(0, 1)
    newest = session.snapshot(0).name
    until(lambda: field.checkpoints.items[-1]["name"] == newest)
    assert shows(field, names[-1])
    field.field = "pressure_previous"  # what is set acts at once
    until(lambda: shows(field, newest))


def test_the_last_of_many_wishes_is_drawn(session, names, monkeypatch):
    monkeypatch.setitem(PROFILES, "default", Profile(refresh_s=0.005, scrub_s=0.05))
    field = session.panel("field")
    until(lambda: shows(field, names[-1]))
    drawn = []
    field.picture.observe(lambda c: drawn.append(c["new"]["name"]), "info")
    for i in range(40):
        choose(field, "main", names[i % 2])
    until(lambda: shows(field, names[1]))
    assert len(drawn) < 10


def test_the_first_field_is_named_and_another_can_be_chosen(session, names):
    field = session.panel("field")
    until(lambda: shows(field, names[-1]))
    view = field.picture.view
    assert (view["fields"], view["field"]) == (["pressure", "pressure_previous"], "pressure")
    do(field, "stage.field", name="pressure_previous")
    until(lambda: field.picture.info["field"] == "pressure_previous")
    assert field.field == field.picture.view["field"] == "pressure_previous"
    field.field = ""
    until(lambda: field.picture.info["field"] == "pressure")
    with pytest.raises(traitlets.TraitError, match="there is no field 'u'"):
        field.field = "u"


def test_one_range_holds_for_all_that_is_stored_of_a_run(session, names, monkeypatch):
    monkeypatch.setitem(PROFILES, "default", Profile(refresh_s=0.01, follow_s=0.05))
    field = session.panel("field")
    until(lambda: shows(field, names[-1]))

    def disturbed(amplitude):
        session.inject(0, at=(3, 3), amplitude=amplitude)
        return session.snapshot(0).name

    large = disturbed(50.0)
    choose(field, "main", large)
    until(lambda: shows(field, large))
    assert field.picture.info["high"] > 40
    disturbed(-50.0)
    choose(field, "main", names[-1])
    until(lambda: shows(field, names[-1]))
    assert field.picture.info["high"] > 40
    session.manager.discard(large)  # it cannot be looked at any more: it dulls nothing
    until(lambda: field.picture.info["high"] < 5)
    large = disturbed(50.0)
    choose(field, "main", large)
    until(lambda: field.picture.info["high"] > 40)
    session.restore(0, names[-1])
    session.run_steps(0, 1)
    choose(field, "main", "")
    after = session.snapshot(0).name
    until(lambda: shows(field, after))
    assert field.picture.info["high"] < 5  # what was left for this is another run
    choose(field, "main", names[-1])
    until(lambda: shows(field, names[-1]) and field.picture.info["high"] > 40)
    do(field, "stage.range", on=False)
    until(lambda: field.picture.info["high"] < 5)
    assert not field.keeps_range


def test_a_retired_checkpoint_leaves_an_old_picture_that_says_why(session, names):
    field = session.panel("field")
    choose(field, "main", names[0])
    until(lambda: shows(field, names[0]))
    session.storage.delete(names[0])
    session.snapshot(0)
    until(lambda: field.picture.info.get("problem") == "this checkpoint is not there any more")
    assert field.picture.info["name"] == names[0]


def test_the_newest_is_shown_again_after_one_that_is_not_there_any_more(
    session, names, monkeypatch
):
    monkeypatch.setitem(PROFILES, "default", Profile(refresh_s=0.01, follow_s=0.0))
    field = session.panel("field")
    session.storage.delete(names[0])
    newest = session.snapshot(0).name
    until(lambda: shows(field, newest) and field.checkpoints.items[0]["name"] != names[0])
    choose(field, "main", names[0])
    until(lambda: field.picture.info.get("problem"))
    choose(field, "main", "")
    until(lambda: shows(field, newest))


def test_a_damaged_checkpoint_leaves_an_old_picture_and_a_verdict(session, names):
    field = session.panel("field")
    until(lambda: shows(field, names[-1]))
    folder = Path(session.manager.config.storage_path) / names[0] / "pressure"
    for chunk in folder.glob("c*"):
        chunk.write_bytes(chunk.read_bytes()[::-1])
    choose(field, "main", names[0])
    until(lambda: field.picture.info.get("problem"))
    assert field.picture.info["name"] == names[-1]
    assert "damaged" in field._controller.choices.verdict(names[0], "")


def test_nothing_stored_shows_nothing(session):
    field = session.panel("field")
    until(lambda: field.picture.view)
    assert field.picture.info == {}


@pytest.mark.slow  # it compiles
def test_a_slice_of_a_cube_can_be_moved(tmp_path, monkeypatch):
    monkeypatch.setitem(PROFILES, "default", Profile(refresh_s=0.02, scrub_s=0.0))
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr")
    with rn.Session(rn.actors.Wave3D((6, 7, 8)), config=config) as session:
        stored = session.snapshot(0)
        field = session.panel("field")
        until(lambda: field.picture.info)
        view = field.picture.view
        assert (view["axes"], view["axis"], view["planes"], view["index"]) == (
            ["z", "y", "x"],
            0,
            6,
            3,
        )
        do(field, "stage.slice", axis=2, index=5)
        until(lambda: field.picture.info["index"] == 5)
        assert (field.axis, field.slice, field.picture.info["shape"]) == (2, 5, [6, 7])
        largest = float(np.abs(stored["pressure"][:, :, 5]).max())
        assert field.picture.info["high"] >= largest
        do(field, "stage.slice", axis=1)
        until(lambda: field.picture.info["axis"] == "y")
        assert field.picture.info["index"] == 3


def test_what_is_compared_with_is_the_one_before_the_newest_or_one_held(session, names):
    panel = session.panel("compare")
    until(lambda: shows(panel, names[1]))
    assert panel.picture.info["names"] == f"this minus {names[1]}"
    assert panel.picture.info["verdict"].startswith("Largest ")
    choose(panel, "main", names[0])
    until(lambda: panel.picture.info == {})  # nothing is before the first
    do(panel, "stage.against", what="another")  # the list names it, or it would be empty
    until(
        lambda: (
            ["another", "not usable: another"] in [list(o) for o in panel.picture.view["options"]]
        )
    )
    do(panel, "stage.against", what="newest")
    until(lambda: shows(panel, names[2]))
    do(panel, "stage.hold")
    until(lambda: shows(panel, names[0]) and panel.picture.info["verdict"] == "Equal in every bit")
    assert told(panel, f"Held for comparing: {names[0]}")
    assert ("held", f"held: {names[0]}") in [tuple(o) for o in panel.picture.view["options"]]
    choose(panel, "main", names[2])
    until(lambda: panel.picture.info.get("verdict", "").startswith("Largest"))
    assert panel.picture.info["name"] == names[0]


def test_both_are_sent_for_a_swipe_only(session, names):
    panel = session.panel("compare")
    until(lambda: shows(panel, names[1]))
    assert panel.picture.more == b""
    do(panel, "stage.how", how="swipe")
    until(lambda: panel.picture.info.get("how") == "swipe")
    assert panel.picture.more
    do(panel, "stage.how", how="that")
    until(lambda: panel.picture.info.get("how") == "that")
    assert panel.picture.more == b""


def test_pinned_checkpoints_are_listed_first(session, names):
    session.storage.load(names[1]).pin("a good one")
    panel = session.panel("compare")
    until(lambda: any("pinned" in words for _, words in panel.picture.view.get("options", [])))
    words = [words for _, words in panel.picture.view["options"]]
    assert words == ["checkpoint before", "newest", f"pinned: {names[1]}", names[2], names[0]]
    panel.against = names[1]
    until(lambda: shows(panel, names[1]))


def test_the_comparison_is_of_the_field_that_is_shown(session, names):
    field, compare = session.panel("field"), session.panel("compare")
    field.field = "pressure_previous"
    until(lambda: compare.picture.info.get("field") == "pressure_previous")


def test_of_one_range_the_same_values_have_the_same_colour_on_the_whole_stage(session, names):
    field, compare = session.panel("field"), session.panel("compare")
    session.inject(0, at=(9, 9), amplitude=50.0)
    bright = session.snapshot(0).name
    until(lambda: field.picture.info["name"] == bright)
    choose(compare, "main", names[1])
    compare.against, compare.how = names[0], "that"

    def ends(panel):
        return panel.picture.info["low"], panel.picture.info["high"]

    until(lambda: compare.picture.info["name"] == names[0] and ends(field) == ends(compare))
    assert ends(compare)[1] > 40
    field.keeps_range = False
    until(lambda: ends(compare)[1] < 5)


def test_closing_leaves_no_widget_behind(session):
    from ipywidgets.widgets.widget import _instances

    library()  # of the kernel: it stays
    before = len(_instances)
    field, compare = session.panel("field"), session.panel("compare")
    stage = stage_of(field, compare, field.line.board, field.line.hand)
    assert stage.picture is field.picture
    stage.close()
    rn.panels.close_panels(session)
    assert len(_instances) <= before


def test_a_range_that_grows_while_others_are_read_is_taken_up(session, names, monkeypatch):
    monkeypatch.setitem(PROFILES, "default", Profile(refresh_s=0.01, follow_s=0.05))
    field = session.panel("field")
    until(lambda: shows(field, names[-1]))
    seen = []
    field.picture.observe(lambda c: seen.append(c["new"]["high"]), "info")
    first = field._controller.choices.of_actor()[0]
    field._controller.extents.note(first, "pressure", -9.0, 4.0)
    until(lambda: field.picture.info["high"] == 9.0)
    do(field, "stage.range", on=False)
    until(lambda: field.picture.info["high"] < 5)
    assert len(seen) == 2  # one for each, and none for the range that the first one had itself


def test_a_picture_that_did_not_come_is_sent_again(session, names, monkeypatch):
    field = session.panel("field")
    until(lambda: shows(field, names[-1]))
    # The page compares this with the end of what came.
    assert field.picture.info["sums"] == [int.from_bytes(field.picture.pixels[-4:], "big")]
    sent = []
    monkeypatch.setattr(type(field.picture), "send_state", lambda self, key=None: sent.append(self))
    do(field, "stage.again", of="field")
    assert field.picture in sent
    do(field, "stage.again", of="compare")  # which is not open


def test_a_page_gets_only_what_it_sees(session, names, monkeypatch):
    monkeypatch.setattr(controller, "_BEAT_S", 0.02)
    cockpit = session.panel()
    field, board = session.panel("field"), cockpit.line.board
    until(lambda: shows(field, names[-1]) and field.checkpoints.items)
    do(cockpit, "say.seen", view="a", panel="cockpit", what="explore")
    newest = session.snapshot(0).name
    choose(field, "main", newest)
    until(lambda: shows(field, newest))
    assert field.checkpoints.items[-1]["name"] == names[-1]  # the cockpit has the line instead
    until(lambda: told(cockpit, f"Committed {newest}"))
    do(cockpit, "say.seen", view="a", panel="cockpit", what="")
    beat = board.beat
    hidden = session.snapshot(0).name
    until(lambda: board.beat > beat)
    assert not told(cockpit, f"Committed {hidden}")
    do(cockpit, "say.seen", view="a", panel="cockpit", what="explore")
    until(lambda: told(cockpit, f"Committed {hidden}"))
