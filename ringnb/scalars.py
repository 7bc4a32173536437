"""Checks of single numbers that a user hands over: each returns a plain Python number, or raises.

Every layer uses them. NumPy's numbers count as numbers, `bool` does not. It imports nothing of ringnb.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["check_int", "check_number", "check_seconds"]


def check_int(value: object, what: str, low: int, high: int | None = None, *, why: str = "") -> int:
    """Return an integer within limits.

    Parameters
    ----------
    value : object
        The candidate.
    what : str
        Its name, for the message.
    low : int
        The least allowed.
    high : int, optional
        The largest allowed; without it there is none.
    why : str, optional
        What the limits mean.

    Returns
    -------
    int
        The value.

    Raises
    ------
    TypeError, ValueError
        If it is none, or beyond them.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        msg = f"{what} must be an integer, got {value!r} ({type(value).__name__})"
        raise TypeError(msg)
    if value < low or (high is not None and value > high):
        limits = f"must be at least {low}" if high is None else f"must lie in {low}..{high}"
        msg = f"{what} {limits}{f' ({why})' if why else ''}, got {value}"
        raise ValueError(msg)
    return int(value)


def check_number(value: object, what: str) -> float:
    """Return a finite number.

    Parameters
    ----------
    value : object
        The candidate.
    what : str
        Its name, for the message.

    Returns
    -------
    float
        The value.

    Raises
    ------
    TypeError, ValueError
        If it is none, or not finite.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(
        value, int | float | np.integer | np.floating
    ):
        msg = f"{what} must be a number, got {value!r} ({type(value).__name__})"
        raise TypeError(msg)
    if not math.isfinite(value):
        msg = f"{what} must be finite, got {value!r}"
        raise ValueError(msg)
    return float(value)


def check_seconds(value: object, what: str, *, zero: bool = False) -> float:
    """Return a duration in seconds.

    Parameters
    ----------
    value : object
        The candidate.
    what : str
        Its name, for the message.
    zero : bool, default False
        Whether it may be none at all.

    Returns
    -------
    float
        Positive, unless `zero` allows 0.

    Raises
    ------
    TypeError, ValueError
        If it is none.
    """
    seconds = check_number(value, what)
    if seconds < 0 or (seconds == 0 and not zero):
        msg = f"{what} must be {'at least' if zero else 'more than'} 0 seconds, got {value!r}"
        raise ValueError(msg)
    return seconds
