"""The stage in a page: bytes are coloured as by matplotlib, a click meets its cell, a dial its actor."""

from __future__ import annotations

import io
import json
import re
import time

import numpy as np
import pytest
from PIL import Image

from . import cells
from .audit import overflow, pale_texts, unnamed_controls
from .driver import expect
from .lab import panel_in, screenshot

SHOW = 'display(session.panel("field"), session.panel("compare"), session.panel("parameters"))'
_DIGEST = """async (canvas) => {
  const {data, width, height} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const rgb = new Uint8Array(3 * width * height);
  for (let i = 0; i < width * height; i++) rgb.set(data.subarray(4 * i, 4 * i + 3), 3 * i);
  const hash = await crypto.subtle.digest('SHA-256', rgb);
  return [...new Uint8Array(hash)].map((b) => b.toString(16).padStart(2, '0')).join('');
}"""
_COUNT_SENT = """() => {
  const counted = 'sent' in window, send = WebSocket.prototype.send;
  window.sent = 0;
  if (counted) return;
  WebSocket.prototype.send = function (...what) { window.sent += 1; return send.apply(this, what); };
}"""
# What the picture must look like: the stored values, by matplotlib.
_EXPECTED = """
import hashlib, json, matplotlib, numpy as np
def expected(colours):
    info = session.panel("field").picture.info
    values = session.storage.load(info["name"])[info["field"]][:].astype(float)
    levels = np.rint((values - info["low"]) / (info["high"] - info["low"]) * 254).clip(0, 254)
    rgb = matplotlib.colormaps[colours](levels / 254, bytes=True)[::-1, :, :3]
    return hashlib.sha256(np.ascontiguousarray(rgb).tobytes()).hexdigest()
"""
# The colours of a difference's zero and of the page behind it, as lightness from 0 to 1.
_ZERO = """(canvas) => {
  const light = ([r, g, b]) => (0.3 * r + 0.6 * g + 0.1 * b) / 255;
  const zero = light(canvas.getContext('2d').getImageData(0, 0, 1, 1).data);
  const pen = document.createElement('canvas').getContext('2d');
  pen.fillStyle = getComputedStyle(canvas.closest('.ringnb-panel')).backgroundColor;
  pen.fillRect(0, 0, 1, 1);
  return [zero, light(pen.getImageData(0, 0, 1, 1).data)];
}"""


def opened(notebook, made=None):
    """A notebook with the three panels; the field's picture is there."""
    notebook.page.set_viewport_size({"width": 1280, "height": 1800})  # what is seen is drawn
    notebook.open([made or cells.session(enabled=False), cells.STORED, SHOW])
    notebook.run_all()
    panels = [panel_in(notebook.output(2), n) for n in ("field", "compare", "parameters")]
    expect(panels[0].locator(".rn-pic .rn-box")).to_have_attribute(
        "data-name", "checkpoint_0_step_300"
    )
    return panels


def test_the_page_colours_as_matplotlib_does_and_sends_nothing_for_it(notebook):
    field, compare, _ = opened(notebook)
    canvas = field.locator(".rn-pic canvas.rn-pixels")
    notebook.python(_EXPECTED)
    notebook.page.wait_for_timeout(2500)  # the last resend of what is shown
    notebook.page.evaluate(_COUNT_SENT)
    for wanted, colours in (("fits", "PuOr_r"), ("magma", "magma"), ("viridis", "viridis")):
        field.get_by_label("Colours").select_option(wanted)
        expect(field.locator(".rn-pic .rn-box")).to_have_attribute("data-map", colours)
        shown = canvas.evaluate(_DIGEST)
        assert notebook.page.evaluate("() => window.sent") == 0
        assert shown == notebook.python(f"print(expected({colours!r}))")
        notebook.page.evaluate("() => { window.sent = 0; }")
    field.get_by_label("Colours").select_option("fits")
    # Nothing of an equal pair may be seen, on either page; and a switch needs no message.
    notebook.python("session.panel('compare').against = 'newest'")
    expect(compare.get_by_text("Equal in every bit")).to_be_visible()
    notebook.page.wait_for_timeout(2500)
    notebook.page.evaluate("() => { window.sent = 0; }")
    for theme, colours in (("JupyterLab Dark", "berlin"), ("JupyterLab Light", "PuOr_r")):
        notebook.theme(theme)
        for panel in (field, compare):
            expect(panel.locator(".rn-box").first).to_have_attribute("data-map", colours)
        assert notebook.page.evaluate("() => window.sent") == 0
        zero, page = compare.locator("canvas.rn-pixels").first.evaluate(_ZERO)
        assert abs(zero - page) < 0.1, (theme, zero, page)
        screenshot(notebook.output(2), f"stage-{colours}")
        assert canvas.evaluate(_DIGEST) == notebook.python(f"print(expected({colours!r}))")
        notebook.page.evaluate("() => { window.sent = 0; }")


def test_a_swipe_goes_to_what_is_looked_at_though_the_other_picture_stays(notebook):
    _, compare, _ = opened(notebook)
    notebook.python(
        "panel = session.panel('compare'); panel.against = 'newest'; panel.how = 'swipe'"
    )
    names, (that, this) = compare.locator(".rn-beside"), compare.locator("canvas.rn-pixels").all()
    seen = {}
    for step, verdict in (
        (300, "Equal in every bit"),
        (100, "Largest"),
        (300, "Equal in every bit"),
    ):
        chooser = compare.get_by_role("combobox", name="Checkpoint")
        chooser.select_option(f"checkpoint_0_step_{step}")
        expect(names).to_contain_text(verdict)
        seen[step] = that.evaluate(_DIGEST), this.evaluate(_DIGEST)
        assert (seen[step][0] == seen[step][1]) is (step == 300)
    assert seen[100][0] == seen[300][0]


_OWN = """
def row(checkpoint, ax):
    ax.plot(checkpoint["pressure"][48])
    ax.set(title=f"row 48 at step {checkpoint.step}", xlabel="x")
session.panel("field", draw=row)
"""


def test_a_drawing_of_ones_own_is_an_image_on_either_page(notebook):
    field, _, _ = opened(notebook)
    notebook.python(_OWN)
    drawn, canvas = field.locator("img.rn-own"), field.locator(".rn-pic canvas.rn-pixels")
    expect(drawn).to_have_attribute("alt", re.compile(r"^row\(\) of fdtd_2d_0 at step 300, t = "))
    assert drawn.evaluate("(img) => img.decode().then(() => img.naturalWidth)") > 600
    expect(canvas).to_be_hidden()
    expect(field.get_by_label("Colours")).to_be_hidden()
    for theme in ("Dark", "Light"):
        notebook.theme(f"JupyterLab {theme}")
        screenshot(field, f"own-{theme}")
    notebook.python("session.panel('field', draw=lambda checkpoint, ax: 1 / 0)")
    told = field.locator(".rn-text")
    expect(told).to_contain_text("<lambda>() raised ZeroDivisionError: division by zero")
    expect(field.get_by_text("Old picture")).to_be_visible()
    screenshot(field, "own-failed")
    field.get_by_label("Field").select_option("pressure")
    expect(canvas).to_be_visible()
    expect(drawn).to_be_hidden()
    expect(field.get_by_text("1 open")).to_be_hidden()


_PICTURES = """(cockpit) => {
  const {left, top} = cockpit.getBoundingClientRect();
  return [...cockpit.querySelectorAll('canvas, image, img')].map((node) => node.getBoundingClientRect())
    .filter(({width}) => width).map((r) => [r.left - left, r.top - top, r.right - left, r.bottom - top]);
}"""


def picture_of(cockpit):
    """Return its screenshot in grey, and where in it pictures are: both of one layout."""
    while True:
        places = cockpit.evaluate(_PICTURES)
        image = Image.open(io.BytesIO(cockpit.screenshot())).convert("L")
        if cockpit.evaluate(_PICTURES) == places:
            return np.asarray(image).copy(), places


def test_a_dark_page_has_no_light_patch_outside_pictures(notebook):
    notebook.page.set_viewport_size({"width": 1280, "height": 1400})
    notebook.open([cells.session(interval=1.0), cells.STORED, "session.panel()"])
    notebook.run_all()
    notebook.theme("JupyterLab Dark")
    cockpit = panel_in(notebook.output(2), "cockpit")
    expect(cockpit.locator(".rn-pic .rn-box")).to_have_attribute(
        "data-name", "checkpoint_0_step_300"
    )
    expect(cockpit.locator(".rn-beside .rn-box")).to_have_attribute("data-map", "berlin")
    pixels, places = picture_of(cockpit)
    for left, top, right, bottom in places:
        edge = 4  # what is drawn around a picture belongs to it
        rows = slice(max(0, int(top) - edge), int(bottom) + edge)
        pixels[rows, max(0, int(left) - edge) : int(right) + edge] = 0
    # Texts and lines are light; a figure or a box with a ground of its own would be so all over.
    blocks = pixels[: len(pixels) // 8 * 8, : pixels.shape[1] // 8 * 8]
    darkest = blocks.reshape(len(blocks) // 8, 8, -1, 8).min(axis=(1, 3))
    light = [(int(8 * x), int(8 * y)) for y, x in np.argwhere(darkest > 140)]
    assert light == []
    for tab in ("Keep", "Learn"):
        cockpit.get_by_role("tab", name=tab).click()
        notebook.page.wait_for_timeout(500)
        assert np.median(picture_of(cockpit)[0]) < 80, tab


def test_a_picture_that_got_lost_is_asked_for_again(notebook):
    field, _, _ = opened(notebook)
    notebook.python(
        "picture, asked = session.panel('field').picture, []\n"
        "again = session.panel('field').feed.send_again\n"
        "original = type(session.panel('field').feed).send_again\n"
        "def counted(self):\n"
        "    asked.append(1); again()\n"
        "type(session.panel('field').feed).send_again = counted\n"
        "info = {**picture.info, 'sums': [1], 'name': 'lost'}"
    )
    for _ in range(5):  # on a slow machine the second sending of what was last shown may come first
        notebook.python("picture.comm.send(data={'method': 'update', 'state': {'info': info}})")
        expect(field.locator(".rn-what")).to_contain_text("lost")
        expect(field.locator(".rn-what")).to_contain_text("checkpoint_0_step_300")
        box = field.locator(".rn-pic .rn-box")
        expect(box).to_have_attribute("data-name", "checkpoint_0_step_300")
        if notebook.python("print(len(asked))") == "1":
            break
    assert notebook.python("print(len(asked))") == "1"
    notebook.python("type(session.panel('field').feed).send_again = original")


def test_names_contrast_and_narrow_pages(notebook):
    field, compare, parameters = opened(notebook)
    notebook.command("application:toggle-left-area")
    notebook.python("session.panel('compare').how = 'swipe'")
    expect(compare.get_by_label("Swipe: how much")).to_be_visible()
    parameters.get_by_role("button", name="2 more").click()
    parameters.get_by_role("button", name="Disturb a cell").click()
    for theme in ("Light", "Dark"):
        notebook.theme(f"JupyterLab {theme}")
        for width in (1180, 780, 560):
            notebook.page.set_viewport_size({"width": width, "height": 1800})
            for panel in (field, compare, parameters):
                assert unnamed_controls(panel) == []
                assert pale_texts(panel) == [], (theme, width)
                assert overflow(panel) == [], (theme, width)
            screenshot(notebook.output(2), f"stage-{theme}-{width}")


LARGE = """
import tempfile
import ringnb as rn
config = rn.CheckpointConfig(enabled=False, storage_path=tempfile.mkdtemp() + "/waves.zarr")
session = rn.Session(rn.actors.Wave2D((600, 700)), actors=2, config=config)
"""


@pytest.mark.parametrize("made", [None, LARGE], ids=["whole", "thinned"])
def test_a_click_or_enter_disturbs_that_very_cell(notebook, made):
    field, _, parameters = opened(notebook, made)
    ny, nx = json.loads(notebook.python("print(list(session.actors[0].shape))"))
    notebook.python("before = stored[-1]['pressure'][:]")  # each disturbance makes a checkpoint
    box = field.locator(".rn-pic .rn-box")
    by = parameters.get_by_label("by how much")
    was = by.input_value()
    by.fill("")
    by.press("Enter")
    why = f"Disturb by: write a number; it stays {was}"
    expect(notebook.page.get_by_text(why).first).to_be_visible()
    by.fill("0.5")
    by.press("Enter")
    parameters.get_by_role("button", name="Disturb a cell").click()
    expect(box).to_contain_text("Click a cell: it is changed by 0.5 in the live actor")
    hit = []
    for zoom, (fx, fy) in ((1, (0.74, 0.93)), (1.1, (0.13, 0.06))):
        notebook.page.evaluate("zoom => { document.body.style.zoom = zoom; }", zoom)
        box.scroll_into_view_if_needed()
        at = box.bounding_box()
        # A mouse stands at whole pixels, of which a thinned picture has fewer than cells.
        px, py = int(at["x"] + fx * at["width"]), int(at["y"] + fy * at["height"])
        x = int((px - at["x"]) / at["width"] * nx)
        y = ny - 1 - int((py - at["y"]) / at["height"] * ny)
        notebook.page.mouse.click(px, py)
        told = notebook.page.get_by_text(
            f"Disturbed cell y {y}, x {x} of actor 0 by 0.5, at step 300"
        )
        expect(told.first).to_be_visible()
        assert notebook.python("print(session.events.select('disturbed')[-1].step)") == "300"
        hit.append([y, x])
    notebook.page.evaluate("() => { document.body.style.zoom = 1; }")
    # A pen, or a mouse on a finer screen, stands between pixels, but not what a click says of its place.
    at = box.bounding_box()
    row = at["height"] / ny
    px, middle = at["x"] + at["width"] / 3, int(at["y"] + at["height"] / 2)
    differs = (  # where it makes a difference
        py
        for py in range(middle, int(at["y"] + at["height"]))
        if (py + 0.8 - at["y"]) // row != (py - at["y"]) // row
    )
    py = next(differs)
    mouse = notebook.page.mouse
    mouse.move(px - at["width"] / 6, middle - at["height"] / 6)  # what counts is where it is let go
    mouse.down()
    mouse.move(px, py + 0.8)
    mouse.up()
    y, x = map(int, re.findall(r"\d+", field.locator(".rn-read").inner_text())[:2])
    expect(
        notebook.page.get_by_text(f"Disturbed cell y {y}, x {x} of actor 0 by 0.5").first
    ).to_be_visible()
    hit.append([y, x])
    parameters.get_by_label("by how much").fill("0.25")
    parameters.get_by_label("by how much").press("Enter")
    box.evaluate("(box) => box.click()")  # by no pointer: the cell that Enter would take, once more
    told = notebook.page.get_by_text(f"Disturbed cell y {y}, x {x} of actor 0 by 0.25")
    expect(told.first).to_be_visible()
    px, py = int(at["x"]) + 1, int(at["y"]) + 1
    mouse.click(px, py)
    y, x = ny - 1 - int((py - at["y"]) / row), int((px - at["x"]) / at["width"] * nx)
    told = notebook.page.get_by_text(f"Disturbed cell y {y}, x {x} of actor 0 by 0.25")
    expect(told.first).to_be_visible()
    hit.append([y, x])
    picture = field.get_by_role("application")  # while arrows act on it
    picture.focus()
    for key in ("Shift+ArrowUp", "Shift+ArrowRight", "ArrowLeft", "Enter"):
        notebook.page.keyboard.press(key)
    y, x = ny - 1, x + 9  # no row is above
    hit.append([y, x])
    expect(
        notebook.page.get_by_text(f"Disturbed cell y {y}, x {x} of actor 0").first
    ).to_be_visible()
    changed = notebook.python(
        "import numpy as np\n"
        "s = session.snapshot(0); d = s['pressure'][:] - before\n"
        "print(sorted(map(list, np.argwhere(d).tolist())))"
    )
    assert json.loads(changed) == sorted(hit)
    notebook.page.keyboard.press("Escape")
    expect(parameters.get_by_role("button", name="Disturb a cell")).to_be_visible()


CUBE = """
import tempfile
import ringnb as rn
config = rn.CheckpointConfig(enabled=False, storage_path=tempfile.mkdtemp() + "/cube.zarr")
session = rn.Session(rn.actors.Wave3D((10, 12, 14)), config=config)
"""


def test_a_click_in_a_slice_disturbs_the_cell_of_the_cube(notebook):
    field, _, parameters = opened(notebook, CUBE)
    field.get_by_label("Slice along").select_option("y")
    expect(field.locator("canvas.rn-pixels")).to_have_attribute("aria-label", re.compile("y = 6"))
    field.get_by_label("Slice, number").fill("4")
    field.get_by_label("Slice, number").press("Enter")
    canvas = field.locator("canvas.rn-pixels")
    expect(canvas).to_have_attribute("aria-label", re.compile("y = 4"))
    parameters.get_by_role("button", name="Disturb a cell").click()
    canvas.focus()
    notebook.page.keyboard.press("ArrowUp")
    notebook.page.keyboard.press("Enter")
    told = notebook.page.get_by_text("Disturbed cell z 6, y 4, x 7 of actor 0 by 1, at step 300")
    expect(told.first).to_be_visible()
    changed = notebook.python(
        "import numpy as np\n"
        "s = session.snapshot(0); d = s['pressure'][:] - stored[-1]['pressure'][:]\n"
        "print(np.argwhere(d).tolist())"
    )
    assert json.loads(changed) == [[6, 4, 7]]


def test_a_dragged_slider_sends_at_most_ten_a_second_and_its_last_value_holds(notebook):
    _, _, parameters = opened(notebook)
    notebook.python(
        "set_params, sent = type(session).set_params, []\n"
        "def counted(self, slot, **changes):\n"
        "    sent.append(changes); return set_params(self, slot, **changes)\n"
        "type(session).set_params = counted"
    )
    slider = parameters.get_by_role("slider", name="courant2", exact=True)
    slider.scroll_into_view_if_needed()
    at = slider.bounding_box()
    mouse, y = notebook.page.mouse, at["y"] + at["height"] / 2
    mouse.move(at["x"] + at["width"] / 2, y)
    mouse.down()
    began = time.monotonic()
    while time.monotonic() - began < 3:
        for part in (0.3, 0.5, 0.8, 0.6):
            mouse.move(at["x"] + part * at["width"], y)
    mouse.move(at["x"] + 0.75 * at["width"], y)
    mouse.up()
    took_s = time.monotonic() - began
    # Where it began, if a slow machine did not make a second change of it.
    expect(notebook.page.get_by_text(re.compile(r"courant2 0\.\d+ →")).first).to_be_visible()
    number = parameters.get_by_role("spinbutton", name="courant2, number")
    sent, last = json.loads(
        notebook.python(
            "import json; print(json.dumps([len(sent), session.params(0)['courant2']]))"
        )
    )
    assert 5 <= sent <= 2 + 10 * took_s  # the first, ten a second, and the last
    assert float(number.input_value()) == pytest.approx(last)
    assert last == pytest.approx(0.01 + 0.75 * 0.49, abs=0.02)
    marks = notebook.python("print(len(session.events.select('adjusted')))")
    assert 1 <= int(marks) <= sent  # the line makes one mark of those that follow each other
    notebook.python("session.set_params(0, courant2=0.2)")  # a cell's value is shown, too
    expect(number).to_have_value("0.2")
    notebook.python("type(session).set_params = set_params")
