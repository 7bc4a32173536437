"""Measure how soon a click is answered, in a real JupyterLab, while everything else goes on.

Two actors of 512 x 512 run without a pause and are checkpointed every second, the whole cockpit is open,
the notebook's main thread is busy with a cell, and the browser shares the machine.

Run it in ``tests``: ``python -m browser.reaction``. It needs what the browser tests need, prints what it
measures and keeps it as JSON beside the benchmark's results.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ringnb.cli.bench.report import machine

from .cells import BEGUN
from .lab import lone_notebook

RESULT = Path(__file__).parents[2] / "ringnb" / "cli" / "bench" / "results" / "reaction.json"
CLICKS = 60
CELLS = [
    """import ringnb as rn, tempfile
store = tempfile.mkdtemp() + "/waves.zarr"
config = rn.CheckpointConfig(interval=1.0, max_snapshots=6, storage_path=store)
session = rn.Session(rn.actors.Wave2D((512, 512)), actors=2, lanes=1, config=config)
session.inject(0, at=(96, 60)); session.resume()
session.panel()""",
    """import threading, time
seen = []
def watch():
    was = session.counters(0).running
    while not session.closed:
        now = session.counters(0).running
        if now != was:
            seen.append(time.time() * 1e3)
            was = now
        time.sleep(0.0005)
threading.Thread(target=watch, daemon=True).start()""",
    f"""from pathlib import Path
Path({BEGUN!r}).touch()  # `Notebook.start` waits for it
while not time.sleep(0.1) and len(seen) < {CLICKS}: pass""",
]
_WATCH = """() => {
  const bar = document.querySelector("[data-ringnb-panel='cockpit'] [data-ringnb-panel='timeline']");
  window.clicked = []; window.shown = [];
  const button = bar.querySelector("[data-do='live.run']");
  button.addEventListener("click", () => window.clicked.push(Date.now()), true);
  new MutationObserver(() => window.shown.push(Date.now())).observe(button, {
    attributes: true, attributeFilter: ["data-running"],
  });
}"""


def percentiles(values: list[float]) -> dict[str, float]:
    """Return what is told of the times."""
    return {
        "median": round(float(np.median(values)), 1),
        "p99": round(float(np.percentile(values, 99)), 1),
        "max": round(float(max(values)), 1),
    }


def main() -> None:
    """Click, and see when the actor and the page have changed."""
    with lone_notebook(CELLS, 1280, 900) as notebook:
        page = notebook.page
        notebook.run(0)
        panel = page.locator("[data-ringnb-panel='cockpit'] [data-ringnb-panel='timeline']")
        panel.locator("[data-do='live.run'][data-running='true']").wait_for()
        notebook.run(1)
        page.evaluate(_WATCH)
        notebook.start(2)
        for i in range(CLICKS):
            panel.locator("[data-do='live.run']").click()
            page.wait_for_function(f"() => window.shown.length === {i + 1}")
            page.wait_for_timeout(150)
        notebook.wait_end(2)
        clicked, shown = page.evaluate("() => [window.clicked, window.shown]")
        acted = json.loads(notebook.python("import json; print(json.dumps(seen))"))
        made = int(notebook.python("print(session.statistics().completed)"))
    assert len(clicked) == len(shown) == len(acted) == CLICKS
    result = {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "clicks": CLICKS,
        "checkpoints_meanwhile": made,
        "click_to_actor_ms": percentiles([a - c for a, c in zip(acted, clicked, strict=True)]),
        "click_to_page_ms": percentiles([s - c for s, c in zip(shown, clicked, strict=True)]),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
