"""Neighbours on a grid whose opposite edges meet, for updates of one's own."""

from __future__ import annotations

from typing import Any

from numba import njit

__all__ = ["wrap"]


@njit(forceinline=True)
def wrap(index: Any, n: Any) -> Any:
    """Return an index that may lie beyond an edge, by up to `n` cells, as one inside the grid.

    Parameters
    ----------
    index : int
        From ``-n`` to ``2 n - 1``, such as ``x - 1`` or ``y + 2``.
    n : int
        Length of the axis, ``now.shape[-1]`` along x.

    Returns
    -------
    int
        From 0 to ``n - 1``.

    Notes
    -----
    Compiled into its caller, on every backend. Conditions, not a remainder: in the inner part of a row
    they are known to be false, and the row is vectorised.
    """
    return index + n if index < 0 else (index - n if index >= n else index)
