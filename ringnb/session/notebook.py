"""A notebook cell that is run again: the session it made the last time gives way to the new one.

In a script or a plain interpreter nothing here does anything. In a notebook, a session that a cell
makes is remembered, weakly, under that cell, its store and its actors' identities. When a later run of
the same cell makes one with the same store and identities, the earlier is closed first: otherwise two
kernels would write the same histories, and every run would leave threads behind.
"""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Hashable, Sequence
from typing import Any, Protocol

__all__ = ["current_run", "close_previous", "remember"]


class _Displaceable(Protocol):
    def close(self) -> None:
        """Release everything."""

    def tell_displaced(self) -> None:
        """Call what was given to ``on_displaced``."""


Run = tuple[str, int]  # the cell's id, and which execution of the notebook this is

_made: dict[Hashable, tuple[int, weakref.ref[Any]]] = {}


def current_run() -> Run | None:
    """Return which notebook cell runs, and in which execution; None outside a notebook.

    Returns
    -------
    (str, int) or None
        The cell's id as the front end gives it, and the execution's number.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "get_parent"):
        return None
    try:
        cell = shell.get_parent()["metadata"]["cellId"]
    except (KeyError, TypeError, LookupError):
        return None
    return str(cell), int(shell.execution_count)


def _key(run: Run, store: str, kernel_ids: Sequence[str]) -> Hashable:
    return run[0], store, tuple(kernel_ids)


def close_previous(run: Run | None, store: str, kernel_ids: Sequence[str]) -> bool:
    """Close what an earlier run of this cell made with the same store and identities.

    Parameters
    ----------
    run : (str, int) or None
        From `current_run`.
    store : str
        Where the checkpoints go.
    kernel_ids : sequence of str
        The actors' identities.

    Returns
    -------
    bool
        Whether there was one, and it is closed now.
    """
    if run is None:
        return False
    execution, earlier = _made.get(_key(run, store, kernel_ids), (run[1], None))
    session = earlier() if earlier is not None else None
    if session is None or execution == run[1]:
        return False
    with contextlib.suppress(Exception):  # its background's troubles are not this cell's
        session.close()
    session.tell_displaced()
    return True


def remember(
    run: Run | None, store: str, kernel_ids: Sequence[str], session: _Displaceable
) -> None:
    """Remember what this run of a cell has made.

    Parameters
    ----------
    run : (str, int) or None
        From `current_run`.
    store : str
        Where the checkpoints go.
    kernel_ids : sequence of str
        The actors' identities.
    session : Session
        It is held weakly.
    """
    for key, (_, ref) in list(_made.items()):
        if ref() is None:
            del _made[key]
    if run is not None:
        _made[_key(run, store, kernel_ids)] = (run[1], weakref.ref(session))
