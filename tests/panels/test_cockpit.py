"""The cockpit: every panel of a session, found again, closed as a whole, read without a kernel."""

from __future__ import annotations

import base64
import gc
import re
import threading
import weakref

import pytest
from front_end import board_of, flag, hand_of, marks_of, press, said, told
from ipywidgets.widgets.widget import _instances
from waiting import until

import ringnb as rn
from ringnb.panels import PANELS, close_panels
from ringnb.panels.core.library import library
from ringnb.session.notebook import current_run


def test_every_panel_is_usable_alone_and_is_the_same_one_again(session):
    for name in PANELS:
        panel = session.panel(name)
        assert panel is session.panel(name)
        assert panel.line.region
        until(lambda panel=panel: panel.line.board.beat > 0)
    assert session.panel() is session.panel()
    with pytest.raises(ValueError, match="no panel 'nonsense'"):
        session.panel("nonsense")


def test_a_remade_session_takes_the_panels_of_the_old_one(session):
    actor = session.panel("actor")
    session.set_pace(300, 1)
    new = session.remake()
    assert [new.pace(slot) for slot in (0, 1)] == [2000, 300]
    assert session.panel("actor") is actor
    until(lambda: actor.line.board.life == "running")
    assert actor.session is new
    session.close()  # what a notebook's last cell says
    assert new.closed


def test_a_panel_can_be_read_without_a_kernel(session):
    session.run_steps(0, 6)
    session.snapshot(0)
    panel = session.panel("timeline")
    until(lambda: panel._controller.state.histories[0])
    bundle = panel._repr_mimebundle_()
    assert ", step 6, t = 87.46 µs, 1 checkpoint;" in bundle["text/plain"]
    assert "state: standing" in bundle["text/plain"]
    assert "<table" in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle
    shown = session._repr_html_().replace("\N{NO-BREAK SPACE}", " ")
    assert "fdtd_2d" in shown
    assert "Session on cpu: running, 1 checkpoint<" in shown


def test_a_saved_cockpit_has_the_picture_its_words_and_the_facts(session):
    cockpit = session.panel()
    assert "<img" not in cockpit._repr_mimebundle_()["text/html"]  # nothing is stored
    session.run_steps(0, 6)
    name = session.snapshot(0).name
    until(lambda: cockpit._controller.choices.resolve("main"))
    html = cockpit._repr_mimebundle_()["text/html"]
    assert "src='data:image/png;base64,iVBOR" in html
    line = base64.b64decode(re.search("image/svg.xml;base64,([^']+)'", html)[1]).decode()
    assert f"<title>step 6: {name}</title>" in line
    assert "1 checkpoints of 1 runs" not in html
    assert "As it was when it was saved: 1 checkpoint of 1 run; the large" in html
    assert f"Stored: {name}. pressure of fdtd_2d_0 at step 6, t = 87.46 µs: 24 by 24 values" in html
    assert "step 6, t = 87.46 µs, 1 checkpoint" in html.replace("\N{NO-BREAK SPACE}", " ")


def test_only_what_a_page_sees_is_fed(session):
    cockpit = session.panel()
    controller = cockpit._controller
    hand = hand_of(cockpit)

    def see(view, panel, what):
        content = {"do": "say.seen", "view": view, "panel": panel, "what": what}
        hand._handle_custom_msg(content, [])
        return {name for name in PANELS if name in controller.views and controller.views[name].seen}

    deck, keep = {"timeline"}, {"retention", "checkpoint"}
    explore = {"field", "compare", "parameters", "report", *deck}
    # No page has told yet, and will begin with this tab.
    assert {name for name in PANELS if (v := controller.views.get(name)) and v.seen} == explore
    assert see("a", "cockpit", "explore") == explore
    assert see("a", "cockpit", "keep") == keep | deck
    assert see("b", "cockpit", "learn") == {
        *("lifecycle", "predict", "faults"),
        *keep,
        *deck,
    }
    assert see("b", "cockpit", None) == keep | deck
    assert see("a", "cockpit", "") == set()  # scrolled away
    assert see("c", "retention", "whole") == {"retention"}
    beat = controller.board.beat
    until(lambda: controller.board.beat > beat)
    step = controller.board.actor["step"]
    see("c", "retention", "")
    session.run_steps(0, 3)
    beat = controller.board.beat
    until(lambda: controller.board.beat > beat)
    assert controller.board.actor["step"] == step
    see("a", "cockpit", "learn")
    until(lambda: controller.board.actor["step"] == step + 3)


def test_the_head_chooses_the_actor_of_every_panel(session):
    cockpit = session.panel()
    assert cockpit.head.actors == [(0, "fdtd_2d_0"), (1, "fdtd_2d_1")]
    hand_of(cockpit)._handle_custom_msg({"do": "actor.choose", "slot": 1}, [])
    assert cockpit._controller.picker.value == cockpit._controller.slot == 1
    until(lambda: cockpit.line.board.actor.get("slot") == 1)


def test_a_cockpit_that_is_closed_leaves_no_widget(tmp_path):
    library()  # of the kernel: it stays
    before = set(_instances)  # also of earlier sessions, which go in their own time
    for shape in ((8, 8), (6, 6, 6)):
        actor = rn.actors.Wave2D(shape) if len(shape) == 2 else rn.actors.Wave3D(shape)
        storage = rn.ZarrStorage(tmp_path / f"{len(shape)}.zarr")
        with rn.Session(actor, actors=2, storage=storage) as session:
            session.panel()
            assert len(_instances.keys() - before) > 50
            close_panels(session)
            assert _instances.keys() <= before


def test_a_displayed_panel_keeps_no_session_alive(tmp_path):
    def make(i):
        config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / f"{i}.zarr")
        session = rn.Session(rn.actors.Life((8, 8)), config=config)
        return weakref.ref(session), session.panel(), session.panel("actor")

    ref, cockpit, actor = make(0)
    gc.collect()
    until(lambda: gc.collect() >= 0 and ref() is None)
    until(lambda: actor.line.comm is None)  # its widgets are closed
    del cockpit


@pytest.mark.slow
def test_fifty_runs_of_a_cell_leak_neither_threads_nor_widgets(tmp_path, monkeypatch):
    run = ["cell-1", 0]
    monkeypatch.setattr("ringnb.session.session.current_run", lambda: tuple(run))
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr")
    kept = []  # as a notebook's history keeps what it has displayed
    counts = []
    for i in range(50):
        run[1] = i
        session = rn.Session(rn.actors.Life((8, 8)), config=config)
        session.snapshot(0)
        kept.append((session, session.panel()))
        counts.append((threading.active_count(), len(_instances)))
    threads, widgets = zip(*counts, strict=True)
    assert max(threads[5:]) <= min(threads[5:]) + 2
    assert widgets[-1] == widgets[5]
    session.close()


def test_only_a_later_run_of_the_same_cell_takes_a_session_away(tmp_path, capsys, monkeypatch):
    run = ["cell-1", 1]
    monkeypatch.setattr("ringnb.session.session.current_run", lambda: tuple(run))
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr")
    life = rn.actors.Life((8, 8))
    first = rn.Session(life, config=config)
    same_run = rn.Session(life, config=config)
    assert not first.closed  # made by the same execution: meant so
    run[:] = ["cell-2", 2]
    other_cell = rn.Session(life, config=config)
    assert not same_run.closed
    run[:] = ["cell-1", 3]
    other_actors = rn.Session(life, config=config, kernel_ids=["mine"])
    assert not same_run.closed
    again = rn.Session(life, config=config)
    assert same_run.closed
    assert "earlier run of this cell" in capsys.readouterr().out
    for session in (first, other_cell, other_actors, again):
        session.close()


def test_outside_a_notebook_there_is_no_cell():
    assert current_run() is None


def test_one_of_a_kind_is_said_in_the_singular_and_a_disabled_button_says_why(tmp_path):
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr")
    with rn.Session(rn.actors.Life((8, 8)), config=config, lanes=1, width=1) as session:
        actor, checkpoint = session.panel("actor"), session.panel("checkpoint")
        events, faults, timeline = map(session.panel, ("events", "faults", "timeline"))
        until(lambda: "1 lane of 1 thread<" in actor.table.value)
        until(lambda: "why" in flag(checkpoint, "snapshot_all"))
        assert "only one actor" in flag(checkpoint, "snapshot_all")["why"]
        assert "only one actor" in flag(actor, "run_all")["why"]
        assert flag(actor, "restart")["why"] == "The kernel runs"
        assert "why" not in flag(actor, "run")  # it can be used
        until(lambda: events.line.part == "milestones")
        assert events.line.rows == []
        for fault, text in (
            ("lose", "1 answer will be lost"),
            ("full", "From now on every write fails, as on a full disk"),
        ):
            press(faults, fault)
            until(lambda text=text: said(faults) == text)
            assert board_of(faults).messages[-1]["kind"] == "note"  # it is no "Done"
        press(faults, "clear")
        until(lambda: said(faults) == "No fault is set")
        assert board_of(faults).messages[-1]["kind"] == "done"
        press(actor, "step", n=1)
        until(lambda: said(actor) == "Actor 0 takes 1 step")
        until(lambda: session.current_step(0) == 1)
        session.snapshot(0), session.snapshot(0)
        until(lambda: len(marks_of(timeline)) == 2)
        press(timeline, "check_all")
        until(lambda: told(timeline, "2 checkpoints verified"))
        hand_of(events)._handle_custom_msg(
            {"do": "say.history", "panel": "events", "part": "problems"}, []
        )
        until(lambda: events.line.part == "problems" and events.line.rows == [])


def test_what_acts_on_a_dead_kernel_cannot_be_used_until_the_restart(session):
    actor = session.panel("actor")
    session.panel("predict"), session.panel("faults")

    def off():
        flags = board_of(actor).flags
        names = ("live.snapshot", "live.steer", "predict.commit", "faults.clear")
        return [flags.get(name, {}).get("disabled") for name in names]

    until(lambda: off() == [False] * 4)
    session.faults.fill_disk()
    session.faults.kill_kernel()
    until(lambda: off() == [True] * 3 + [False])
    assert board_of(actor).flags["predict.commit"]["why"].startswith("The kernel does not run")
    # What is stored can be pinned, once the disk has room.
    press(session.panel("faults"), "clear")
    until(lambda: said(actor) == "No fault is set")
    assert not session.faults.disk_full
    press(actor, "restart")
    until(lambda: off() == [False] * 4)
    session.successor.close()
    until(lambda: off() == [True] * 4)


def test_all_actors_are_shown_with_pictures_while_that_is_open(session):
    cockpit = session.panel()
    session.run_steps(0, 5)
    session.snapshot(0)
    view, hand = cockpit._all_actors.view, hand_of(cockpit)
    assert view.cards == []
    hand._handle_custom_msg({"do": "actor.sheet", "open": True}, [])
    expected = [(0, "standing", 5, True), (1, "standing", 0, False)]
    shown = ("slot", "state", "step", "stored")
    until(lambda: [tuple(c[one] for one in shown) for c in view.cards] == expected)
    until(lambda: view.pictures.keys() == {"0"})
    assert view.pictures["0"]["rows"] == view.pictures["0"]["columns"] == 24
