"""Panels show the true state: after a flood, in two views, after a reload, without a kernel."""

from __future__ import annotations

import json
import re

import nbformat

from . import cells
from .driver import expect, needs_subshells
from .lab import panel_in, screenshot
from .loads import Traffic

_DIGEST = """async (canvas) => {
  const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const hash = await crypto.subtle.digest('SHA-256', data);
  return [...new Uint8Array(hash)].map((b) => b.toString(16).padStart(2, '0')).join('');
}"""


def shown_step(panel):
    """The step of actor 0 in the actor panel's table."""
    cell = panel.locator("tbody tr").first.locator("td, th").nth(3)
    return int(cell.inner_text().replace(",", ""))


def test_flood_and_exact_final_value(notebook):
    """About ten thousand steps a second, and as many events as there can be; nothing is dropped."""
    notebook.open([cells.session(interval=0.05, pace=None), 'session.panel("actor")'])
    traffic = Traffic(notebook.page)
    notebook.run_all()
    panel = panel_in(notebook.output(1), "actor")
    expect(panel.locator("tbody tr").first).to_be_visible()
    traffic.begin()
    notebook.python("import time; session.resume(); time.sleep(2.0); session.pause()")
    received = notebook.page.evaluate("() => window.received[1]")
    step = int(notebook.python("print(session.current_step(0))"))
    assert step > 2000
    expect(panel.locator("tbody tr").first).to_contain_text(f"{step:,}")
    assert shown_step(panel) == step
    assert 0 < received < 200, f"{received} messages in two seconds"


def test_two_views_agree(notebook):
    view = 'session.panel("actor")'
    notebook.open([cells.session(enabled=False), view, view])
    notebook.run_all()
    one, two = (panel_in(notebook.output(i), "actor") for i in (1, 2))
    one.get_by_label("How many steps").fill("37")
    one.get_by_role("button", name="Step", exact=True).click()
    for view in (one, two):
        expect(view.locator("tbody tr").first).to_contain_text("37")
    one.get_by_role("button", name="Run", exact=True).click()
    for view in (one, two):
        expect(view.get_by_role("button", name="Pause", exact=True)).to_be_visible()


@needs_subshells
def test_reload_restores_the_panel(notebook):
    notebook.open([cells.session(enabled=False), 'session.panel("actor")', cells.BUSY])
    notebook.run(0)
    notebook.run(1)
    expect(panel_in(notebook.output(1), "actor")).to_be_visible()
    notebook.reload()
    panel = panel_in(notebook.output(1), "actor")
    expect(panel).to_be_visible()
    notebook.start(2)
    panel.get_by_role("button", name="Run", exact=True).click()
    expect(panel.locator("tbody tr").first).to_contain_text("running")
    assert notebook.runs(2)
    notebook.end_busy(2)


def test_saved_notebook_reads_without_its_kernel(notebook, lab_server):
    """Saved, and opened again without a kernel, by somebody who has not run it."""
    notebook.open([cells.session(enabled=False), cells.STORED, "session.panel()"])
    notebook.run_all()
    summary = notebook.page.locator(".ringnb-summary")
    expect(panel_in(notebook.output(2), "cockpit")).to_be_visible()
    expect(summary).to_be_hidden()  # the panel says it
    notebook.save()
    lab_server.end_sessions()
    notebook.page.goto("about:blank")
    # As from somebody else: what no user of this server has signed is shown without drawings.
    saved = lab_server.root / notebook.name
    book = nbformat.read(saved, as_version=4)
    book.cells[2].outputs[0]["data"]["text/plain"] += " changed"
    nbformat.write(book, saved)
    notebook.show(kernel=False)
    expect(summary).to_contain_text("as it was when it was saved")
    expect(summary).to_contain_text("Stored: checkpoint_0_step_300")
    expect(summary).to_contain_text(re.compile("step 300, t = [^,]+, 3 checkpoints"))
    assert "run 1" not in summary.inner_text()  # words of the line, without the line
    pictures = summary.get_by_role("img")
    expect(pictures).to_have_count(2)
    expect(pictures.nth(0)).to_have_attribute("alt", re.compile("^pressure of .* at step 300"))
    expect(pictures.nth(1)).to_have_attribute("alt", re.compile("^3 checkpoints of 1 run"))
    notebook.page.wait_for_function(
        "() => [...document.querySelectorAll('.ringnb-summary img')].every((n) => n.complete)"
    )
    widths = pictures.evaluate_all("nodes => nodes.map((node) => node.naturalWidth)")
    assert widths == [96, 430]
    lefts = summary.locator("figure, table").evaluate_all(
        "nodes => nodes.map((node) => Math.round(node.getBoundingClientRect().left))"
    )
    assert len(set(lefts)) == 1, lefts
    screenshot(notebook.output(2), "saved")


def test_scrubbing_shows_the_right_checkpoint(notebook):
    views = 'display(session.panel("timeline"), session.panel("field"))'
    notebook.page.set_viewport_size({"width": 1280, "height": 1800})  # what is seen is drawn
    notebook.open([cells.session(enabled=False), cells.STORED, views])
    notebook.run_all()
    facts = json.loads(
        notebook.python(
            "import json\n"
            "print(json.dumps([[c.name, c.step, f\"{c['pressure'][:].min():.4g} to "
            "{c['pressure'][:].max():.4g}\"] for c in stored]))"
        )
    )
    timeline, field = (panel_in(notebook.output(2), name) for name in ("timeline", "field"))
    slider, canvas = timeline.get_by_role("slider"), field.locator("canvas[role='img']")
    box = field.locator(".rn-box")
    digests = {}
    for key, at in [("Home", 0), ("PageDown", 1), ("PageDown", 2), ("PageUp", 1)]:
        slider.press(key)
        name, step, extent = facts[at]
        expect(box).to_have_attribute("data-name", name)
        expect(field).to_contain_text(name)
        said = re.compile(rf"at step {step}, t = [^:]+: .*{extent}")
        expect(canvas).to_have_attribute("aria-label", said)
        expect(timeline).to_contain_text(name)
        digests.setdefault(at, set()).add(canvas.evaluate(_DIGEST))
    # Of one range: what is seen is the field's own, whatever was shown before. It may still grow.
    assert len(set.union(*digests.values())) >= len(digests) == 3


def test_runs_of_a_cell_leave_nothing_behind(notebook):
    """What one run leaves behind shows after one; fifty runs are tried without a browser."""
    count = (
        "import gc, threading; from ipywidgets.widgets.widget import _instances; gc.collect();"
        "lasting = [t for t in threading.enumerate() if not t.name.startswith('ringnb-commit')];"
        "print(len(lasting), len(_instances))"
    )
    notebook.open([cells.session(interval=0.2) + "session.panel()"])
    counts = []
    for runs in (3, 7):
        for _ in range(runs):
            notebook.run(0)
        counts.append([int(n) for n in notebook.python(count).split()])
    (threads, widgets), (threads_after, widgets_after) = counts
    assert widgets > 50
    assert threads_after <= threads
    assert widgets_after <= widgets
