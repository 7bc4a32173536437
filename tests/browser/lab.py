"""A notebook in JupyterLab: cells are run by the application itself, clicks are the mouse's."""

from __future__ import annotations

import itertools
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from waiting import until

from .cells import AS_NEW, BEGUN, END
from .driver import chromium, expect
from .servers import jupyterlab

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from .servers import Server

__all__ = [
    "Notebook",
    "line_of",
    "listen_to",
    "lone_notebook",
    "panel_in",
    "said_once",
    "screenshot",
    "widen",
]

LIGHT = "JupyterLab Light"
_numbers = itertools.count(1)

_PYTHON = """async (code) => {
  const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const future = kernel.requestExecute({code, store_history: false});
  let printed = '', failed = null;
  future.onIOPub = (message) => {
    if (message.header.msg_type === 'stream') printed += message.content.text;
    if (message.header.msg_type === 'error') failed = message.content.traceback.join('\\n');
  };
  await future.done;
  if (failed !== null) throw new Error(failed);
  return printed;
}"""

_RUN = """async ([index, wait]) => {
  const panel = jupyterapp.shell.currentWidget;
  panel.content.activeCellIndex = index;
  panel.content.deselectAll();
  const done = jupyterapp.commands.execute('notebook:run-cell');
  if (wait) await done;
}"""

_OPEN = """async (name) => {
  await jupyterapp.commands.execute('docmanager:open', {path: name});
}"""

_HAS_KERNEL = "() => !!window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"

# Subshells end by themselves when the page has heard that their comms were closed.
_LEFT = """async () => {
  const {id, kernel} = jupyterapp.shell.currentWidget.sessionContext.session;
  for (let tries = 0; kernel.supportsSubshells; tries++) {
    const {content} = await kernel.requestListSubshell({}).done;
    if (!content.subshell_id.length) break;
    if (tries === 50) return null;
    await new Promise((done) => setTimeout(done, 20));
  }
  return [id, kernel.id];
}"""

_SUBSHELLS = """(how) => {
  const {kernels} = jupyterapp.serviceManager;
  if (!kernels.commsOverSubshells) throw new Error('JupyterLab has no such setting');
  kernels.commsOverSubshells = how;
}"""

_CLOSE = """() => {
  for (const widget of [...jupyterapp.shell.widgets('main')]) widget.dispose();
  if (jupyterapp.shell.leftCollapsed) jupyterapp.shell.expandLeft();
}"""


class Notebook:
    """One notebook, opened in a page of JupyterLab.

    Parameters
    ----------
    page : Page
        The page.
    server : Server
        JupyterLab.

    Attributes
    ----------
    spoilt : bool
        Whether the page is no place for another test: it was changed in a way that stays.
    """

    def __init__(self, page: Page, server: Server) -> None:
        self.page = page
        self.server = server
        self.name = ""
        self.spoilt = False

    def open(self, cells: Sequence[str], *, prepared: Path | None = None) -> None:
        """Write a notebook of these cells, or copy one, and open it with a kernel that is as new."""
        self.name = f"test_{next(_numbers)}.ipynb"
        if prepared is None:
            book = nbformat.v4.new_notebook(
                cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
                metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
            )
        else:
            book = nbformat.read(prepared, as_version=4)
        nbformat.write(book, self.server.root / self.name)
        (self.server.root / END).unlink(missing_ok=True)
        self.server.give_kernel(self.name)
        if self.page.url.startswith(self.server.url):  # JupyterLab is there, from another test
            self.page.evaluate(_OPEN, self.name)
            self.wait_idle()
        else:
            self.show()

    def serve_comms(self, how: str = "perCommTarget") -> None:
        """Choose what JupyterLab's setting `commsOverSubshells` says, for this test."""
        self.page.evaluate(_SUBSHELLS, how)

    def leave(self) -> bool:
        """Close the notebook; return whether JupyterLab is then as it is when it was just loaded."""
        if not self.page.url.startswith(self.server.url):
            return False
        self._vacate()
        if self.spoilt:
            return False
        if self.page.evaluate("() => document.body.dataset.jpThemeName") != LIGHT:
            self.theme(LIGHT)
        self.page.evaluate(_CLOSE)
        self.serve_comms()
        self.page.mouse.move(0, 0)
        return self.page.locator(".jp-Dialog").count() == 0

    def _vacate(self) -> None:
        """Leave the kernel to the next notebook if it can be made as good as new; one is enough."""
        runs = self.page.get_by_text("[*]:").count()
        if runs or self.server.vacant or not self.page.evaluate(_HAS_KERNEL):
            return
        if left := self.python(AS_NEW):
            print(f"the kernel is not as good as new: {left}")
        elif found := self.page.evaluate(_LEFT):
            # What subshells leave undone is told when it is collected: here, and not in another's cell.
            self.python("__import__('gc').collect()")
            self.server.vacant.update([found])

    def show(self, *, kernel: bool = True) -> None:
        """Open the notebook as it was saved; its kernel is started unless it runs, or is not wanted."""
        if not kernel:  # the request for one is never answered
            self.spoilt = True
            self.page.route(
                "**/api/sessions*",
                lambda route: None if route.request.method == "POST" else route.continue_(),
            )
        self.page.goto(f"{self.server.url}/lab/tree/{self.name}?reset")
        if kernel:
            self.wait_idle()
        else:
            self.page.wait_for_function(
                "name => window.jupyterapp?.shell?.currentWidget?.context?.path === name"
                " && jupyterapp.shell.currentWidget.context.isReady",
                arg=self.name,
            )

    def reload(self) -> None:
        """Save, and load the page again; the kernel goes on."""
        self.save()
        self.show()

    def save(self) -> None:
        """Save the notebook with its outputs and the state of its widgets."""
        self.command("docmanager:save")

    def wait_idle(self) -> None:
        """Wait until the notebook is shown and its kernel is idle."""
        self.page.wait_for_function(
            """name => {
              const panel = window.jupyterapp?.shell?.currentWidget;
              return panel?.context?.path === name && panel.context.isReady
                && panel.sessionContext.session?.kernel?.status === 'idle'
            }""",
            arg=self.name,
            timeout=60_000,
        )

    def command(self, name: str, **arguments: Any) -> None:
        """Execute one of JupyterLab's commands and wait for its end."""
        self.page.evaluate(
            "async ([name, arguments]) => { await jupyterapp.commands.execute(name, arguments); }",
            [name, arguments],
        )

    def run(self, index: int) -> None:
        """Run a cell and wait for its end."""
        self.page.evaluate(_RUN, [index, True])

    def run_all(self) -> None:
        """Run every cell, and see that none failed."""
        self.command("notebook:run-all-cells")
        errors = self.page.locator(
            ".jp-OutputArea [data-mime-type='application/vnd.jupyter.stderr']"
        )
        if errors.count():
            raise AssertionError(errors.first.inner_text())

    def start(self, index: int) -> None:
        """Run a cell of `cells.BUSY`, and return as soon as the kernel is busy with it."""
        # The page cannot tell: to it the kernel is idle again once a message of a panel was served.
        begun = self.server.root / BEGUN
        begun.unlink(missing_ok=True)
        self.page.evaluate(_RUN, [index, False])
        until(begun.exists)

    def runs(self, index: int) -> bool:
        """Whether a cell still runs. (The kernel's status says idle whenever a click was served.)"""
        return self._prompt(index).inner_text() == "[*]:"

    def end_busy(self, index: int) -> None:
        """Let a cell of `cells.BUSY` end, and wait for that."""
        (self.server.root / END).touch()
        self.wait_end(index)

    def wait_end(self, index: int) -> None:
        """Wait until a cell that was started has ended."""
        expect(self._prompt(index)).to_have_text(re.compile(r"^\[\d+\]:$"))

    def _prompt(self, index: int) -> Locator:
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index).locator(".jp-InputPrompt")

    def python(self, code: str) -> str:
        """Run code in the kernel, beside the cells, and return what it prints."""
        return str(self.page.evaluate(_PYTHON, code)).strip()

    def restart_kernel(self) -> None:
        """Restart the kernel without asking, as "Restart" in the menu does after asking."""
        self.page.evaluate(
            "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"
        )
        self.wait_idle()

    def output(self, index: int) -> Locator:
        """Return the output area of a cell."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index).locator(".jp-OutputArea").last

    @property
    def cell_count(self) -> int:
        """How many cells the notebook has."""
        return int(
            self.page.evaluate("() => jupyterapp.shell.currentWidget.content.model.cells.length")
        )

    def theme(self, name: str) -> None:
        """Switch JupyterLab's theme: "JupyterLab Dark" or "JupyterLab Light"."""
        self.command("apputils:change-theme", theme=name)
        self.page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=name)
        # The class is set before the style sheet has been applied.
        self.page.wait_for_function(
            """dark => {
              const colour = getComputedStyle(document.querySelector('.jp-Notebook')).backgroundColor;
              return (Number(colour.match(/[0-9]+/)[0]) < 128) === dark;
            }""",
            arg="Dark" in name,
        )
        # Its splash, a logo and what circles around it, fades above the page that is there already.
        self.page.wait_for_function("() => !document.getElementById('jupyterlab-splash')")


@contextmanager
def lone_notebook(cells: Sequence[str], width: int, height: int) -> Iterator[Notebook]:
    """Open a notebook of these cells in a JupyterLab and a browser of its own."""
    with (
        tempfile.TemporaryDirectory() as home,
        jupyterlab(Path(home) / "lab") as server,
        chromium() as browser,
        browser.new_context(viewport={"width": width, "height": height}) as context,
    ):
        notebook = Notebook(context.new_page(), server)
        notebook.open(cells)
        yield notebook


def screenshot(target: Page | Locator, name: str) -> None:
    """Keep a picture of a page or a part, in the folder that RINGNB_SCREENSHOTS names, if it does."""
    if folder := os.environ.get("RINGNB_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        target.screenshot(path=Path(folder) / f"{name}.png")


def panel_in(where: Page | Locator, name: str) -> Locator:
    """Return a panel's root by its name."""
    return where.locator(f"[data-ringnb-panel='{name}']")


def widen(panel: Locator, width: int) -> None:
    """Give a panel a width, whatever the page's."""
    panel.evaluate("(root, w) => { root.style.width = `${w}px`; root.style.flex = 'none'; }", width)
    panel.page.wait_for_timeout(300)


def line_of(panel: Locator) -> Locator:
    """Return the message line of a panel that is in no other one."""
    return panel.locator(".rn-say").locator("visible=true")


# Notes what the live regions of a panel speak, and when.
_LISTEN = """root => {
  window.spoken = [];
  for (const region of root.querySelectorAll('.rn-sr'))
    new MutationObserver(() => {
      if (region.textContent) window.spoken.push([performance.now(), region.textContent]);
    }).observe(region, { childList: true, characterData: true, subtree: true });
}"""


def listen_to(panel: Locator) -> Callable[[], list[tuple[float, str]]]:
    """Return what returns all that a panel has spoken since, and when, in milliseconds."""
    panel.evaluate(_LISTEN)
    return lambda: [tuple(one) for one in panel.page.evaluate("() => window.spoken")]


def said_once(panel: Locator) -> None:
    """See that the text of the problem in the line is nowhere else, once what was spoken is gone."""
    text = line_of(panel).locator(".rn-text").evaluate("(line) => line.firstChild.textContent")
    until(lambda: panel.evaluate("node => node.textContent").count(text) == 1)
