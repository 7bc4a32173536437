"""The harness itself, with plain widgets."""

from __future__ import annotations

import nbformat

from .audit import overflow, pale_texts, unnamed_controls
from .driver import expect
from .lab import screenshot

BUTTON = """
import ipywidgets as w
clicks = w.IntText(0, description="clicks")
button = w.Button(description="Add")
def add(_): clicks.value += 1
button.on_click(add)
box = w.VBox([button, clicks])
box
"""
FLOOD = """
import threading
label = w.Label("0")
display(label)
def flood():
    for i in range(3000): label.value = str(i + 1)
flooder = threading.Thread(target=flood)
flooder.start()
"""


def test_click_reload_and_restart(notebook):
    notebook.open([BUTTON])
    notebook.run_all()
    box = notebook.output(0)
    box.get_by_role("button", name="Add").click()
    expect(box.locator("input")).to_have_value("1")
    assert notebook.python("print(clicks.value)") == "1"
    notebook.reload()
    expect(notebook.output(0).locator("input")).to_have_value("1")
    notebook.restart_kernel()
    assert notebook.python("print('clicks' in dir())") == "False"
    assert notebook.cell_count == 1


def test_audit(notebook):
    notebook.open(
        [
            BUTTON,
            'display(w.IntSlider(), w.HTML(\'<p style="color:#ccc">pale</p><div style="width:2000px">x</div>\'))',
        ]
    )
    notebook.run_all()
    box = notebook.output(1)
    expect(box.locator("[role=slider], input").first).to_be_visible()
    assert unnamed_controls(box)
    assert any("pale" in text for text in pale_texts(box))
    notebook.theme("JupyterLab Dark")
    assert not any("pale" in text for text in pale_texts(box))
    screenshot(notebook.page, "harness-dark")
    print(overflow(notebook.output(1)), unnamed_controls(box), notebook.output(0).aria_snapshot())


def test_busy(notebook):
    notebook.open([BUTTON, "import time; time.sleep(1.0)"])
    notebook.run(0)
    notebook.start(1)
    assert notebook.busy
    notebook.wait_idle()


def test_voila(voila_server, page):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(BUTTON)])
    nbformat.write(book, voila_server.root / "button.ipynb")
    page.goto(f"{voila_server.url}/voila/render/button.ipynb")
    page.get_by_role("button", name="Add").click()
    expect(page.locator("input")).to_have_value("1")
    screenshot(page, "harness-voila")
