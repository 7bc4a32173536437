"""The scripts and styles of all views, which a page gets once, packed, however many views there are.

A script lies in the folder ``static`` of the package whose widgets it draws. One that ends with
``VIEWS.name = render;`` draws the views that show ``name``, and is put in a block of its own; the others
are shared, so that a name at their top level is taken for all of them. Each view has `view.js` only,
which unpacks the library of its board, the first time, and calls what draws it.
"""

from __future__ import annotations

import functools
import json
import re
import threading
import zlib
from pathlib import Path
from typing import final

import traitlets
from ipywidgets import Layout, Widget

from ringnb.panels.core.pixels import tables_script

__all__ = ["Library", "is_shared", "library"]

_PACKAGES = Path(__file__).parents[1]
_FIRST = ("common.js", "panel.css")  # what the others of its kind build on
_DRAWS = re.compile(r"^VIEWS\.\w+ = render;$", re.MULTILINE)


@final
class Library(Widget):
    """What draws every view. It has no view of its own, and stays for as long as the kernel."""

    packed = traitlets.Bytes().tag(sync=True)  # see `_packed`

    def __init__(self) -> None:
        super().__init__(packed=_packed())
        # Of all views and boxes, of which nobody sets anything: a third of a cockpit's widgets.
        self.layout = Layout()


_made: list[Library] = []
_lock = threading.Lock()  # two threads may open panels at once


def library() -> Library:
    """Return the library of this kernel, made if there is none, or if somebody has closed it."""
    with _lock:
        if not _made or _made[-1].comm is None:
            _made[:] = [Library()]
        return _made[-1]


def is_shared(layout: Widget) -> bool:
    """Return whether it is the library's layout, which stays when a view is closed."""
    return any(layout is one.layout for one in _made)


@functools.cache
def _packed() -> bytes:
    """Return a deflated JSON object of ``script``, a module that exports the views, and ``style``."""
    shared, views = ["const VIEWS = {};", tables_script()], []
    for text in _texts("js"):
        if _DRAWS.search(text):
            views.append(f"{{\n{text}}}")
        else:
            shared.append(text)
    script = "\n".join([*shared, *views, "export default VIEWS;"])
    return zlib.compress(
        json.dumps({"script": script, "style": "\n".join(_texts("css"))}).encode(), 9
    )


def _texts(kind: str) -> list[str]:
    files = sorted(_PACKAGES.glob(f"*/static/*.{kind}"), key=lambda f: (f.name not in _FIRST, f))
    return [file.read_text(encoding="utf-8") for file in files]
