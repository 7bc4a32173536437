"""The parameters panel: sliders act on the live actor, at most ten times a second, and show what it has."""

from __future__ import annotations

import time

import pytest
from front_end import do, said, troubles
from waiting import until

from ringnb.panels.stage import parameters
from ringnb.panels.stage.widgets import Aim


@pytest.fixture
def panel(session, monkeypatch):
    monkeypatch.setattr(parameters, "_READ_S", 0.02)
    monkeypatch.setattr(parameters, "_REST_S", 0.05)
    panel = session.panel("parameters")
    until(lambda: panel.known)
    return panel


def dial(panel, name):
    (dials,) = panel.dials.values()
    return next(d for d in dials if d.name == name)


def test_every_parameter_that_can_be_set_has_a_slider_with_the_actor_s_limits(session, panel):
    (dials,) = panel.dials.values()
    assert [d.name for d in dials] == ["courant2", "damping", "dx", "c"]  # dt follows from them
    slider = dial(panel, "courant2").slider
    assert (slider.min, slider.max, slider.value) == (0.01, 0.5, 0.25)


def test_a_slider_sets_the_live_actor_and_says_so_once_it_rests(session, panel):
    dial(panel, "courant2").slider.value = 0.3
    until(lambda: session.params(0)["courant2"] == 0.3)
    until(lambda: "courant2 0.25 → 0.3 in actor 0, from step" in said(panel))
    assert dial(panel, "courant2").number.value == 0.3


def test_of_many_changes_at_most_ten_a_second_are_sent_and_the_last_one_holds(
    session, panel, monkeypatch
):
    sent, began = [], time.monotonic()
    set_params = type(session).set_params

    def counted(self, slot, **changes):
        sent.append(time.monotonic())
        return set_params(self, slot, **changes)

    monkeypatch.setattr(type(session), "set_params", counted)
    slider = dial(panel, "damping").slider
    for i in range(40):
        slider.value = 0.001 * (i + 1)
        time.sleep(0.01)
    until(lambda: session.params(0)["damping"] == pytest.approx(0.04))
    assert len(sent) <= 2 + (sent[-1] - began) / 0.1
    until(lambda: "damping 0 → 0.04" in said(panel))


def test_controls_show_what_a_cell_has_set(session, panel):
    session.set_params(0, courant2=0.1)
    session.set_pace(77, 0)
    until(lambda: dial(panel, "courant2").slider.value == 0.1 and panel.pace.value == 77)
    assert dial(panel, "courant2").number.value == 0.1
    session.set_params(0, damping=1.5)  # beyond the slider's end
    until(lambda: dial(panel, "damping").slider.value == 1.5)
    assert session.params(0)["damping"] == 1.5


def test_a_value_that_the_scheme_refuses_is_said_and_taken_back(session, panel):
    dial(panel, "courant2").number.value = 0.7
    until(lambda: any("stability limit" in text for text in troubles(panel)))
    until(lambda: dial(panel, "courant2").number.value == 0.25)
    dial(panel, "courant2").number.value = 0.4
    until(lambda: session.params(0)["courant2"] == 0.4)
    until(lambda: not troubles(panel))


def test_a_click_disturbs_that_very_cell_by_the_amplitude_and_a_snapshot_follows(session, panel):
    before = session.snapshot(0)
    panel.amplitude.value = 0.75
    do(panel, "live.inject", slot=0, cell=[3, 20])
    until(lambda: "Disturbed cell y 3, x 20 of actor 0 by 0.75, at step 0" in said(panel))
    until(lambda: len(session.manager.list_checkpoints(0)) == 2)
    change = session.manager.load_latest(0)["pressure"][:] - before["pressure"][:]
    assert change[3, 20] == pytest.approx(0.75)
    assert (change != 0).sum() == 1


def test_a_cell_outside_the_grid_is_refused(session, panel):
    do(panel, "live.inject", slot=0, cell=[24, 0])
    until(lambda: any("24" in text for text in troubles(panel)))


def test_the_button_to_disturb_aims_at_the_field_panel_s_picture(session):
    field = session.panel("field")
    panel = session.panel("parameters")
    aims = [w for w in panel.aim_row.children if isinstance(w, Aim)]
    assert [a.picture for a in aims] == [field.picture]
