"""Finds what opens a session's panels: sessions lie below panels, so they import none."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["PANELS_GROUP", "PanelOpener", "find_panel_opener", "set_default_opener"]

PANELS_GROUP = "ringnb.panels"
PanelOpener = Callable[..., Any]  # of a session, a panel's name, and what the field panel draws

_default: PanelOpener | None = None


def set_default_opener(opener: PanelOpener) -> None:
    """Set what opens panels where no installed distribution has an entry point for it."""
    global _default  # noqa: PLW0603 - one per process, set once by the top of the package
    _default = opener


@functools.cache
def _installed(
    entry_points: Callable[..., Iterable[importlib.metadata.EntryPoint]],
) -> PanelOpener | None:
    """Return the entry point; looked for once, as every installed distribution is asked."""
    for entry in entry_points(group=PANELS_GROUP, name="open_panel"):
        opener: PanelOpener = entry.load()
        return opener
    return None


def find_panel_opener(
    entry_points: Callable[..., Iterable[importlib.metadata.EntryPoint]] = (
        importlib.metadata.entry_points
    ),
) -> PanelOpener:
    """Return the entry point of the installed package, or else what `set_default_opener` was given.

    A source tree that is not installed has no entry points, nor has an editable install that was made
    before there were any. Raises ImportError if the widgets are missing.
    """
    if (opener := _installed(entry_points)) is not None:
        return opener
    if _default is None:
        msg = f"nothing opens panels: no entry point in {PANELS_GROUP!r}; import ringnb first"
        raise ImportError(msg)
    return _default
