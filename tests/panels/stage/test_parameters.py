"""The parameters panel: dials act on the live actor, ten times a second at most, and show its values."""

from __future__ import annotations

import threading
import time

import pytest
from front_end import do, said, told, troubles
from waiting import until

from ringnb.panels.stage import parameters


@pytest.fixture
def panel(session, monkeypatch):
    monkeypatch.setattr(parameters, "_READ_S", 0.02)
    monkeypatch.setattr(parameters, "_REST_S", 0.05)
    panel = session.panel("parameters")
    until(lambda: panel.dials.dials)
    return panel


def dial(panel, name):
    return next(d for d in panel.dials.dials if d["name"] == name)


def turn(panel, **values):
    do(panel, "live.param", values=values)


def test_every_parameter_that_can_be_set_has_a_dial_with_the_actor_s_limits(session, panel):
    names = [d["name"] for d in panel.dials.dials]
    assert names == ["courant2", "damping", "dx", "c"]  # dt follows from them
    shown = {"name": "courant2", "value": 0.25, "low": 0.01, "high": 0.5, "there": None}
    assert dial(panel, "courant2") == shown


def test_a_dial_sets_the_live_actor_and_says_so_once_it_rests(session, panel):
    turn(panel, courant2=0.3)
    until(lambda: session.params(0)["courant2"] == 0.3)
    until(lambda: "courant2 0.25 → 0.3 in actor 0, from step 0 on" in said(panel))
    until(lambda: dial(panel, "courant2")["value"] == 0.3)


def test_what_was_wished_is_set_also_when_no_page_sees_the_panel_any_more(
    session, panel, monkeypatch
):
    monkeypatch.setattr(type(panel), "seen", False)
    turn(panel, courant2=0.3)
    until(lambda: session.params(0)["courant2"] == 0.3)
    until(lambda: "courant2 0.25 → 0.3" in said(panel))
    until(lambda: not any(t.name == "ringnb-parameters" for t in threading.enumerate()))


def test_of_many_changes_at_most_ten_a_second_are_sent_and_the_last_one_holds(
    session, panel, monkeypatch
):
    sent, began = [], time.monotonic()
    set_params = type(session).set_params

    def counted(self, slot, **changes):
        sent.append(time.monotonic())
        return set_params(self, slot, **changes)

    monkeypatch.setattr(type(session), "set_params", counted)
    for i in range(40):
        turn(panel, damping=0.001 * (i + 1))
        time.sleep(0.005)
    turn(panel, damping=0.0)  # as it was before
    until(lambda: session.params(0)["damping"] == 0.0 and len(sent) > 1)
    assert len(sent) <= 2 + (sent[-1] - began) / 0.1


def test_dials_show_what_a_cell_has_set_and_what_it_was_at_the_playhead(session, panel):
    session.snapshot(0)
    session.set_params(0, courant2=0.1)
    session.set_pace(77, 0)
    until(lambda: dial(panel, "courant2")["value"] == 0.1 and panel.dials.pace == 77)
    until(lambda: dial(panel, "courant2")["there"] == 0.25)
    session.set_params(0, damping=1.5)  # beyond the dial's end
    until(lambda: dial(panel, "damping")["value"] == dial(panel, "damping")["high"] == 1.5)


def test_a_value_that_the_scheme_refuses_is_said_and_taken_back(session, panel, monkeypatch):
    turn(panel, courant2=0.7)
    until(lambda: any("stability limit" in text for text in troubles(panel)))
    assert dial(panel, "courant2")["value"] == 0.25
    turn(panel, courant2=0.4)
    until(lambda: session.params(0)["courant2"] == 0.4)
    until(lambda: not troubles(panel))
    turn(panel, courant2=0.7)
    until(lambda: troubles(panel))
    monkeypatch.setattr(parameters, "_TOLD_S", 0.0)  # the time to read it is over
    until(lambda: not troubles(panel))


def test_of_several_refusals_each_is_settled_and_another_failure_is_none(
    session, panel, monkeypatch
):
    def broken(*_, **__):
        raise RuntimeError("broken")

    turn(panel, courant2=0.7)
    until(lambda: len(troubles(panel)) == 1)
    panel._controller.picker.value = 1
    turn(panel, courant2=0.8)
    until(lambda: len(troubles(panel)) == 2)
    with monkeypatch.context() as patched:
        patched.setattr(type(session), "set_params", broken)
        turn(panel, courant2=0.9)
        until(lambda: any("broken" in text for text in troubles(panel)))
    monkeypatch.setattr(parameters, "_TOLD_S", 0.0)  # the time to read them is over
    until(lambda: not any("0.7" in text for text in troubles(panel)))
    assert any("broken" in text for text in troubles(panel))


def test_the_pace_can_be_limited_and_set_free(session, panel):
    do(panel, "live.pace", pace=50)
    until(lambda: session.pace(0) == 50 and panel.dials.pace == 50)
    do(panel, "live.pace", pace=0)
    until(lambda: session.pace(0) is None and panel.dials.pace == 0)


def test_a_click_disturbs_that_very_cell_by_the_amplitude_and_a_snapshot_follows(session, panel):
    before = session.snapshot(0)
    do(panel, "live.amplitude", by=0.75)
    do(panel, "live.inject", slot=0, cell=[3, 20])
    until(lambda: told(panel, "Disturbed cell y 3, x 20 of actor 0 by 0.75, at step 0"))
    until(lambda: len(session.manager.list_checkpoints(0)) == 2)
    change = session.manager.load_latest(0)["pressure"][:] - before["pressure"][:]
    assert change[3, 20] == pytest.approx(0.75)
    assert (change != 0).sum() == 1


def test_a_cell_outside_the_grid_is_refused(session, panel):
    do(panel, "live.inject", slot=0, cell=[24, 0])
    until(lambda: any("24" in text for text in troubles(panel)))


def test_the_aim_is_at_the_field_panel_s_picture_also_if_that_is_opened_later(session, panel):
    assert panel.dials.picture is None
    field = session.panel("field")
    until(lambda: panel.dials.picture is field.picture)
    panel.amplitude = 0.5
    until(lambda: field.picture.view.get("amplitude") == panel.dials.amplitude == 0.5)
