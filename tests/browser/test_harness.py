"""The harness itself, with plain widgets."""

from __future__ import annotations

from .driver import expect

BUTTON = """
import ipywidgets as w
clicks = w.IntText(0, description="clicks")
button = w.Button(description="Add")
def add(_): clicks.value += 1
button.on_click(add)
w.VBox([button, clicks])
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


def test_click(notebook):
    notebook.open([BUTTON])
    notebook.run_all()
    notebook.output(0).get_by_role("button", name="Add").click()
    expect(notebook.output(0).locator("input")).to_have_value("1")
    assert notebook.python("print(clicks.value)") == "1"


def test_flood(notebook):
    notebook.open([BUTTON, FLOOD])
    notebook.run_all()
    notebook.python("flooder.join()")
    notebook.page.wait_for_timeout(1000)
    print("shown", notebook.output(1).inner_text(), notebook.python("print(label.value)"))
