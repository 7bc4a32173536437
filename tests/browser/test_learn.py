"""Learn in a page: a request stands where the crank has stopped it, bars are the measured times."""

from __future__ import annotations

import json

from .audit import overflow
from .driver import expect
from .lab import line_of, panel_in, screenshot, widen

BY_HAND = """
import tempfile
import ringnb as rn
store = tempfile.mkdtemp() + "/s.zarr"
config = rn.CheckpointConfig(interval=3600, max_snapshots=1, storage_path=store)
session = rn.Session(rn.actors.Wave2D((32, 32)), config=config, service=False)
"""
TIMES = """
import json
from ringnb.panels.core.requests import requests_of, stage_times
found = {r: dict(stage_times(e)) for r, e in requests_of(session.events).items()}
first = "due → requested"
print(json.dumps([[r, [t for h, t in times.items() if h != first]] for r, times in found.items()]))
"""
TURNS = {
    "Request": "requested",
    "Send": "h2k",
    "Capture": "staging",
    "Answer": "k2h",
    "Receive": "received",
    "Write": "writing",
    "Publish": "committed",
}


def test_a_chip_stands_at_each_stage_and_bars_and_table_are_the_stage_times(notebook):
    notebook.open([BY_HAND, 'session.panel("lifecycle")'])
    notebook.run_all()
    panel = panel_in(notebook.output(1), "lifecycle")
    panel.get_by_label("slow motion").uncheck()
    crank = panel.get_by_role("region", name="Hand crank")
    for request in (1, 2):
        chip = panel.locator(f".rn-map [data-request='{request}'][data-at]")
        for turn, station in TURNS.items():
            crank.get_by_role("button", name=f"Turn: {turn}").click()
            expect(chip).to_have_attribute("data-at", station)
            held = panel.locator(f".rn-map [data-station='{station}']")
            expect(held).to_have_attribute("data-held", "true")
        crank.get_by_role("button", name="Turn: Retire").click()
        expect(crank.get_by_role("button", name="Turn: Request")).to_be_visible()
    # The second has pushed the first out.
    expect(panel.locator(".rn-map [data-request='1'][data-at]")).to_have_attribute(
        "data-at", "retired"
    )
    screenshot(panel, "learn-by-hand")
    measured = json.loads(notebook.python(TIMES))
    read = "nodes => nodes.map(n => Number(n.dataset.ns))"
    for request, times in measured:
        bars = panel.locator(f".rn-bars rect[data-request='{request}']")
        expect(bars).to_have_count(len(times))
        assert bars.evaluate_all(read) == times
    panel.get_by_role("button", name="As a table").click()
    rows = panel.get_by_role("row")
    expect(rows).to_have_count(3)
    for request, times in measured:
        cells = panel.locator(f"tbody tr:has(td:first-child:text-is('{request}')) td[data-ns]")
        assert cells.evaluate_all(read)[-len(times) :] == times  # the first was due before
    service = crank.get_by_role("button", name="Service")
    expect(service).to_have_attribute("aria-pressed", "false")
    service.click(force=True)
    expect(panel.get_by_text("opened with service=False").last).to_be_visible()


_OUTSIDE = """nodes => nodes.flatMap((node) => {
  const box = node.querySelector('rect')?.getBoundingClientRect();
  const texts = box ? [...node.querySelectorAll('text')] : [];
  return texts.filter((one) => one.getBoundingClientRect().right > box.right)
    .map((one) => one.textContent);
})"""
# Of a ring: what its slots leave free around its centre, less how far a text reaches at its base line.
_IN_RING = """node => {
  const ring = node.querySelector('circle'), slot = node.querySelector('.rn-slot');
  const [x, y] = ['cx', 'cy'].map((one) => Number(ring.getAttribute(one)));
  const ends = [...Array(41)].map((_, i) => slot.getPointAtLength(i / 40 * slot.getTotalLength()));
  const free = Math.min(...ends.map((end) => Math.hypot(end.x - x, end.y - y)));
  return free - Math.max(...[...node.querySelectorAll('text')].map((one) =>
    Math.hypot(one.getBBox().width / 2, Number(one.getAttribute('y')) - y)));
}"""


def test_no_caption_of_the_map_leaves_its_box(notebook):
    notebook.page.set_viewport_size({"width": 1300, "height": 1000})
    made = BY_HAND.replace("(32, 32)", "(8, 8)").replace(", service=False", "")
    far = "session.run_steps(0, 1_234_567); session.snapshot(0)"
    notebook.open([made, far, 'session.panel("lifecycle")'])
    notebook.run_all()
    panel = panel_in(notebook.output(2), "lifecycle")
    captions = panel.locator(".rn-map [data-station]")
    expect(captions.get_by_text("1,234,567; copied in")).to_be_visible()
    for step, spacing in (("1,234,568", 0), ("1,234,569", 1)):  # as a wide font has it
        panel.evaluate("(root, px) => { root.style.letterSpacing = `${px}px`; }", spacing)
        notebook.python("session.run_steps(0, 1)")
        expect(captions.get_by_text(step)).to_be_visible()
        assert captions.evaluate_all(_OUTSIDE) == [], step
        rings = captions.filter(has=notebook.page.locator("circle"))
        expect(rings).to_have_count(2)
        for ring in rings.all():
            assert ring.evaluate(_IN_RING) > 0, step


def test_an_actor_that_the_crank_has_stopped_says_so_and_what_lets_it_go(notebook):
    notebook.page.set_viewport_size({"width": 1300, "height": 1000})
    notebook.open([BY_HAND, "session.run_steps(0, 5)", "session.panel()"])
    notebook.run_all()
    notebook.command("application:toggle-left-area")
    cockpit = panel_in(notebook.output(2), "cockpit")
    state, deck = cockpit.locator(".rn-state"), cockpit.locator(".rn-deck")
    expect(state).to_have_text("Standing")
    cockpit.get_by_role("tab", name="Learn").click()
    crank = cockpit.get_by_role("region", name="Hand crank")
    for turn in ("Request", "Send", "Capture"):
        crank.get_by_role("button", name=f"Turn: {turn}").click()
    expect(state).to_have_text("Stopped by the crank")
    expect(cockpit.locator(".rn-map [data-station='staging']")).to_have_attribute(
        "data-held", "true"
    )
    for name in ("Run", "Step", "Snapshot now"):
        button = deck.get_by_role("button", name=name, exact=True)
        expect(button).to_have_attribute("aria-disabled", "true")
        button.click(force=True)
        expect(line_of(cockpit)).to_contain_text(f"{name}: ")
        expect(line_of(cockpit)).to_contain_text("Let it through")
    for width in (1100, 700, 480):
        widen(cockpit, width)
        screenshot(cockpit, f"state-crank-{width}")
        assert overflow(cockpit) == [], width
    crank.get_by_role("button", name="Let it through").click()
    expect(state).to_have_text("Standing")
    run = deck.get_by_role("button", name="Run", exact=True)
    expect(run).to_have_attribute("aria-disabled", "false")
    run.click()
    expect(state).to_have_text("Running")
