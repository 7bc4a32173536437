"""Make the README's pictures of the panels, from a real session in a real JupyterLab.

Run it in ``tests``: ``python -m browser.pictures``. It needs what the browser tests need.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from .lab import lone_notebook

IMAGES = Path(__file__).parents[2] / "notebooks" / "images"
COCKPIT = """import ringnb as rn, tempfile
store = tempfile.mkdtemp() + "/waves.zarr"
config = rn.CheckpointConfig(interval=1.0, max_snapshots=6, storage_path=store)
session = rn.Session(rn.actors.Wave2D((192, 192)), actors=2, config=config, max_steps_per_second=150)
session.inject(0, at=(96, 60)); session.inject(1, at=(30, 140)); session.resume()
session.panel()"""
CRANK = """hand = rn.Session(rn.actors.Wave2D((64, 64)), config=config, service=False)
hand.panel("lifecycle")"""


def keep(png: bytes, name: str) -> None:
    """Save a screenshot; without fields in it 256 colours are enough."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    if name == "crank.png":
        image = image.quantize(256)
    image.save(IMAGES / name, optimize=True)
    print(name, image.size, (IMAGES / name).stat().st_size)


def main() -> None:
    """Open a notebook, run it, look at it."""
    with lone_notebook([COCKPIT, CRANK], 1290, 3300) as notebook:
        page = notebook.page
        page.evaluate("() => jupyterapp.commands.execute('application:toggle-left-area')")
        notebook.run(0)
        cockpit = notebook.output(0).locator('[data-ringnb-panel="cockpit"]')
        cockpit.wait_for()
        page.wait_for_timeout(7000)
        keep(cockpit.screenshot(), "cockpit.png")
        notebook.python("session.pause(); session.manager.reconfigure(enabled=False)")
        timeline = cockpit.locator('[data-ringnb-panel="timeline"]')
        timeline.get_by_role("slider").press("Home")
        page.wait_for_timeout(1000)
        timeline.get_by_role("button", name="Restore here").click()
        page.wait_for_timeout(2500)
        keep(cockpit.locator('[data-ringnb-panel="field"]').screenshot(), "restored.png")
        notebook.run(1)
        crank = notebook.output(1).locator('[data-ringnb-panel="lifecycle"]')
        crank.wait_for()
        for stage in ("Request", "Send", "Capture"):
            crank.get_by_role("button", name=f"Turn: {stage}").click()
            page.wait_for_timeout(1200)
        page.wait_for_timeout(1500)
        keep(crank.screenshot(), "crank.png")


if __name__ == "__main__":
    main()
