"""A film of a history: a GIF, which needs nothing more, or MP4 where ffmpeg is."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.animation import FFMpegWriter, PillowWriter
from matplotlib.axes import Axes

from ringnb._support.checks import check_number
from ringnb.checkpoint.drawable import Drawable, check_checkpoints, cut_of, pick_field, value_range
from ringnb.plots.fields import field, size_for
from ringnb.plots.style import make_figure

__all__ = ["movie"]

_WRITERS: dict[str, Any] = {".gif": PillowWriter, ".mp4": FFMpegWriter}


def movie(
    checkpoints: Iterable[Drawable],
    path: str | os.PathLike[str],
    name: str | None = None,
    *,
    draw: Callable[[Drawable, Axes], object] | None = None,
    fps: float = 10.0,
    axis: int = 0,
    index: int | None = None,
    cmap: str | None = None,
    limits: tuple[float, float] | None = None,
) -> Path:
    """Make a film of a history: one picture per checkpoint, one scale for all.

    Parameters
    ----------
    checkpoints : iterable of Checkpoint or State
        In the order in which they are to be shown.
    path : str or path-like
        Where to write it: ``*.gif``, or ``*.mp4`` if the program ffmpeg is installed. A file that is
        there is replaced when the film is complete.
    name : str, optional
        The field, as for `field`.
    draw : callable, optional
        Your own picture instead: ``draw(checkpoint, ax)`` draws into empty axes, such as
        ``lambda c, ax: rn.plots.particles(c, ax=ax)``.
    fps : float, default 10.0
        Pictures per second.
    axis, index, cmap, limits : optional
        The slice of a three-dimensional field, and the colours, as for `field`.

    Returns
    -------
    pathlib.Path
        The file. A notebook shows it with ``IPython.display.Image(path)``, or ``Video`` for MP4.

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument does not fit.
    RuntimeError
        If it is to be MP4, and ffmpeg is not there.
    """
    history = check_checkpoints(checkpoints)
    target = Path(path)
    kind = _WRITERS.get(target.suffix.lower())
    if kind is None:
        msg = f"path must end in {' or '.join(_WRITERS)}, got {str(path)!r}"
        raise ValueError(msg)
    if not 0.1 <= (rate := check_number(fps, "fps")) <= 50:
        msg = f"fps must lie in 0.1..50, got {fps!r}"
        raise ValueError(msg)
    if not kind.isAvailable():
        msg = f"{target.name!r} needs ffmpeg, which is not found: write a .gif, or install it"
        raise RuntimeError(msg)
    size = 5.6, 4.8
    if draw is None:
        name = pick_field(history[0], name)
        cut = cut_of(history[0], name, axis, index)
        size = size_for(np.asarray(history[0][name][cut.where]), 4.8)
        if limits is None:
            limits = _limits(history, name, axis, index)

        def draw(one: Drawable, ax: Axes) -> object:
            """Draw the field."""
            return field(one, name, axis=axis, index=index, ax=ax, cmap=cmap, limits=limits)

    figure, writer = make_figure(*size), kind(fps=rate)
    # Beside the target, under a name that nobody takes for the film, until it is complete.
    # A temporary file of Python's would be the user's alone to read.
    part = target.with_name(f".{target.stem}.{uuid.uuid4().hex[:12]}{target.suffix}")
    failed: BaseException | None = None
    try:
        with writer.saving(figure, str(part), 100):
            try:
                for one in history:
                    figure.clear()
                    draw(one, figure.subplots())
                    writer.grab_frame()
            except BaseException as error:
                failed = error
                raise
        os.replace(part, target)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(part)
        # A writer that has got no picture raises something of its own when it is closed.
        if failed is not None and failed is not error:
            raise failed from failed.__cause__
        raise
    return target


def _limits(
    history: list[Drawable], name: str, axis: int, index: int | None
) -> tuple[float, float] | None:
    """Return one range for all pictures; None for a field of two values, whose colours are fixed.

    They are looked at one after the other: a film may be long.
    """
    ends = []
    for one in history:
        plane = np.asarray(one[pick_field(one, name)][cut_of(one, name, axis, index).where])
        finite = plane[np.isfinite(plane)]
        if finite.size:
            ends += [finite.min(), finite.max()]
    low, high, kind = value_range([np.array(ends or [0, 1])])
    return None if kind == "two" else (low, high)
