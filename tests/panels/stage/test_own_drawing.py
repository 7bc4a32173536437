"""A function of the user's in the field panel: where it is called, what it may do, what if it fails."""

from __future__ import annotations

import io
import threading
import zlib

import numpy as np
import pytest
from front_end import choose, do, troubles
from PIL import Image
from waiting import until

import ringnb as rn
from ringnb.panels.core.limits import PROFILES, Profile


def half_red(checkpoint, ax):
    ax.set_position([0, 0, 0.5, 1])
    ax.set_facecolor("red")


def shows(panel, name, field):
    info = panel.picture.info
    return (info.get("name"), info.get("field"), info.get("problem")) == (name, field, None)


def test_what_it_draws_is_the_picture(session, names):
    panel = session.panel("field", draw=half_red)
    until(lambda: shows(panel, names[-1], "half_red()"))
    assert panel.picture.view["fields"] == ["half_red()", "pressure", "pressure_previous"]
    assert panel.picture.view["field"] == "half_red()"
    png, end = panel.picture.pixels[:-4], panel.picture.pixels[-4:]
    assert zlib.crc32(png) == int.from_bytes(end, "big")
    image = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    rows, columns, _ = image.shape
    assert (image[rows // 2, columns // 4] == (255, 0, 0)).all()
    assert (image[rows // 2, 3 * columns // 4] == (255, 255, 255)).all()
    assert panel.picture.info["ratio"] == pytest.approx(columns / rows, rel=0.01)


def test_it_gets_the_checkpoint_that_is_looked_at_on_a_thread_of_its_own(session, names):
    called = []

    def draw(checkpoint, ax):
        called.append((checkpoint.name, float(checkpoint["pressure"][5, 7]), threading.get_ident()))

    panel = session.panel("field", draw=draw)
    until(lambda: shows(panel, names[-1], "draw()"))
    choose(panel, "main", names[0])
    until(lambda: shows(panel, names[0], "draw()"))
    assert [name for name, _, _ in called] == [names[-1], names[0]]
    assert called[1][1] == session.storage.load(names[0])["pressure"][5, 7]
    assert called[0][2] == called[1][2] != threading.get_ident()


def test_the_fields_can_still_be_chosen_and_it_can_be_taken_away(session, names):
    panel = session.panel("field", draw=half_red)
    until(lambda: shows(panel, names[-1], "half_red()"))
    do(panel, "stage.field", name="pressure")
    until(lambda: shows(panel, names[-1], "pressure"))
    assert panel._controller.shown_field == "pressure"
    do(panel, "stage.field", name="half_red()")
    until(lambda: shows(panel, names[-1], "half_red()"))
    assert panel._controller.shown_field is None  # of small pictures, which it does not draw
    panel.draw, panel.field = None, ""
    until(lambda: shows(panel, names[-1], "pressure"))
    assert panel.picture.view["fields"] == ["pressure", "pressure_previous"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyError, SystemExit, KeyboardInterrupt])
def test_what_it_raises_is_told_once_and_the_next_function_draws(
    session, names, error, monkeypatch
):
    monkeypatch.setitem(PROFILES, "default", Profile(refresh_s=0.01, scrub_s=0.0))

    def fails(checkpoint, ax):
        raise error("of mine")

    panel = session.panel("field", draw=fails)
    until(lambda: panel.picture.info.get("problem") == "your drawing failed")
    until(lambda: troubles(panel))
    (problem,) = troubles(panel)
    assert problem.startswith(f"Drawing: fails() raised {error.__name__}: ")
    assert "of mine" in problem
    assert 'raise error("of mine")' in problem
    session.panel("field", draw=half_red)
    until(lambda: shows(panel, names[-1], "half_red()") and not troubles(panel))


def test_the_cockpit_takes_one_too_and_other_panels_do_not(session, names):
    session.panel(draw=half_red)
    panel = session.panel("field")
    assert panel.draw is half_red
    with pytest.raises(ValueError, match="draw is for the panel 'field' and the cockpit"):
        session.panel("timeline", draw=half_red)
    with pytest.raises(TypeError, match=r"draw must be a function draw\(checkpoint, ax\)"):
        session.panel("field", draw="pressure")
    assert session.panel("field").draw is half_red


def test_a_large_drawing_is_sent_with_fewer_pixels(session, names, monkeypatch):
    def noise(checkpoint, ax):
        ax.imshow(np.random.default_rng(0).random((400, 400)))

    monkeypatch.setitem(PROFILES, "default", Profile(refresh_s=0.01, picture_bytes=30_000))
    panel = session.panel("field", draw=noise)
    until(lambda: shows(panel, names[-1], "noise()"))
    width, height = Image.open(io.BytesIO(panel.picture.pixels)).size
    assert (width, height) == (345, 273)
    rn.panels.close_panels(session)
