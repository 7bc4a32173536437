"""A picture that a function of the user's draws: on which figure, and what if it fails.

The drawer's thread calls the function, so that a slow one delays pictures and nothing else; for a movie
the worker for these does, and never at the same time. The figure is unknown to pyplot, and no other
thread sees it. It has a ground of its own, white unless the function
says otherwise, on a light page and on a dark one: what the function draws was made for it.
"""

from __future__ import annotations

import io
import linecache
import threading
import traceback
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from ringnb.checkpoint.drawable import Drawable, simulated, step_seconds, when
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.errors import CheckpointCorrupt, CheckpointNotFound
from ringnb.panels.stage.pictures import LARGE, Drawn, View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["DrawingError", "call_own", "draw_own"]

_INCHES = 4.8, 3.8
_DPI, _LARGE_DPI, _LEAST_DPI = 144, 250, 50  # twice the page's pixels, for screens that have them


class DrawingError(Exception):
    """The user's function failed; the message says how and where."""


def draw_own(
    checkpoint: Checkpoint, function: Callable[..., object], view: View, lock: threading.Lock
) -> Drawn:
    """Have a function draw a checkpoint into empty axes; DrawingError if it raises anything."""
    from ringnb.plots.style import make_figure  # noqa: PLC0415 - brings in matplotlib's figures

    name, figure = _name_of(function), make_figure(*_INCHES)
    call_own(function, lock, checkpoint, figure.subplots())
    try:
        png = _png(figure, _LARGE_DPI if view.side >= LARGE else _DPI, view.most_bytes)
    except BaseException as error:
        raise DrawingError(f"{name}() {_how(error)}") from error
    width, height = figure.get_size_inches()
    info = {
        "own": True,
        "name": checkpoint.name,
        "step": checkpoint.step,
        "time": simulated(checkpoint.time, step_seconds(checkpoint)),
        "run": checkpoint.run,
        "actor": checkpoint.kernel_id,
        "field": f"{name}()",
        "ratio": width / height,
        "at": f"{checkpoint.created_at:%H:%M:%S}" if checkpoint.created_at else "",
        "words": f"{name}() of {checkpoint.kernel_id} at {when(checkpoint)}",
    }
    # Like every picture it ends with its checksum, by which the page knows that it has come.
    return Drawn(info, png + zlib.crc32(png).to_bytes(4, "big"))


def call_own(
    function: Callable[..., object], lock: threading.Lock, checkpoint: Drawable, axes: Axes
) -> None:
    """Have a function draw, with the lock held; DrawingError if it raises what reading does not."""
    try:
        with lock:
            function(checkpoint, axes)
    except (CheckpointCorrupt, CheckpointNotFound):  # no fault of its own
        raise
    # Also SystemExit and KeyboardInterrupt: the thread must go on, for what else it does.
    except BaseException as error:
        raise DrawingError(f"{_name_of(function)}() {_how(error)}") from error


def _name_of(function: Callable[..., object]) -> str:
    return getattr(function, "__name__", "draw")


def _png(figure: Figure, dpi: int, most_bytes: int) -> bytes:
    """Return a figure as a PNG of about so many bytes at most."""
    while True:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi)
        if buffer.tell() <= most_bytes or dpi // 2 < _LEAST_DPI:
            return buffer.getvalue()
        dpi //= 2


def _how(error: BaseException) -> str:
    """Say what a function raised, and in which of its lines."""
    frames = traceback.extract_tb(error.__traceback__)[1:]  # without ours
    what = f"raised {type(error).__name__}: {error}".rstrip(": ")
    if not frames:
        return what
    last = frames[-1]
    own = next((f for f in reversed(frames) if f.filename == frames[0].filename), last)
    line = linecache.getline(own.filename, own.lineno or 0).strip()
    return f"{what} (line {own.lineno}: {line})" if line else f"{what} (line {own.lineno})"
