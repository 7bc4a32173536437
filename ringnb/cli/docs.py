"""`ringnb docs`: build the reference of all public names from their docstrings, and open it.

pdoc makes the pages (``pip install 'ringnb[docs]'``). It imports the modules that it describes, so one
that needs an extra which is not installed is left out, and a line says so.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
import warnings
import webbrowser
from pathlib import Path
from typing import Any

import ringnb
from ringnb._support.text import counted, say
from ringnb._support.version import VERSION
from ringnb.errors import RingnbError

__all__ = ["PUBLIC_MODULES", "DocsUnavailable", "build", "run"]

PUBLIC_MODULES = (
    *("ringnb", "ringnb.session", "ringnb.session.crank", "ringnb.session.fault_injection"),
    *("ringnb.session.statistics", "ringnb.actors", "ringnb.checkpoint"),
    *("ringnb.checkpoint.retention", "ringnb.messages", "ringnb.errors", "ringnb.plots"),
    *("ringnb.panels", "ringnb.testing", "ringnb.testing.storages", "ringnb.testing.kernels"),
    *("ringnb.course", "ringnb.cluster"),
)
_EXTRAS = {
    "ringnb.cluster": "cluster",
    "ringnb.panels": "widgets",
    "ringnb.testing.storages": "test",
    "ringnb.testing.kernels": "test",
}
_SEARCH_INDEX = "search.js"


class DocsUnavailable(RingnbError):
    """The reference cannot be built here."""


def run(out: str | None, *, browse: bool = True) -> int:
    """Build the reference into a directory (default: in the user's cache) and open its first page."""
    directory = _cache_directory() if out is None else Path(out)
    if directory.is_dir() and any(directory.iterdir()) and not (directory / _SEARCH_INDEX).exists():
        msg = f"--out {out!r} holds other files: give a new or an empty directory"
        raise DocsUnavailable(msg)
    pages = build(directory)
    index = (directory / "index.html").resolve()
    say(f"{counted(len(pages), 'module')} described in {index}")
    if browse and not webbrowser.open(index.as_uri()):
        say("no browser could be started: open that file yourself")
    return 0


def build(directory: Path) -> list[Path]:
    """Write one HTML page per public module, an index and a search index; return the modules' pages."""
    try:
        from pdoc import doc, render
    except ImportError as error:
        msg = "the reference is built with pdoc: pip install 'ringnb[docs]'"
        raise DocsUnavailable(msg) from error

    modules: dict[str, Any] = {}
    for name in PUBLIC_MODULES:
        try:
            modules[name] = doc.Module(importlib.import_module(name))
        except ImportError as error:
            if name not in _EXTRAS:
                raise
            remedy = f"pip install 'ringnb[{_EXTRAS[name]}]'"
            known = remedy in str(error)
            say(f"{name} is left out: {error}{'' if known else f'; get it with {remedy}'}")
    for name in ringnb.__all__:
        getattr(ringnb, name)  # pdoc looks up only what has been imported
    for name, module in modules.items():
        # In place of pdoc's choice, which knows only the submodules that __all__ names.
        module.__dict__["submodules"] = [
            below for other, below in modules.items() if other.rpartition(".")[0] == name
        ]
    render.configure(docformat="numpy", show_source=False, footer_text=f"ringnb {VERSION}")
    to_markdown = render.env.filters["to_markdown"]

    @functools.wraps(to_markdown)  # with the mark that tells Jinja to pass its context
    def single_colons(context: Any, docstring: str) -> Any:
        """Take reStructuredText's mark of a code block away, which Markdown would print."""
        return to_markdown(context, re.sub(r"::$", ":", docstring, flags=re.MULTILINE))

    pages = []
    with warnings.catch_warnings():
        # Such an annotation is shown as it is written, without a link.
        warnings.filterwarnings("ignore", message="Error parsing type annotation")
        render.env.filters["to_markdown"] = single_colons
        try:
            for name, module in modules.items():
                page = directory / f"{name.replace('.', '/')}.html"
                page.parent.mkdir(parents=True, exist_ok=True)
                page.write_text(render.html_module(module, modules), encoding="utf-8")
                pages.append(page)
            index, search = render.html_index(modules), render.search_index(modules)
        finally:
            render.env.filters["to_markdown"] = to_markdown
    (directory / "index.html").write_text(index, encoding="utf-8")
    (directory / _SEARCH_INDEX).write_text(search, encoding="utf-8")
    return pages


def _cache_directory() -> Path:
    if sys.platform == "darwin":
        caches = Path.home() / "Library" / "Caches"
    else:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "ringnb" / f"docs-{VERSION}"
