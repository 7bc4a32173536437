"""What all figures share: figures without pyplot, colour maps, words for a checkpoint, units."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure

from ringnb.checkpoint.storage.checkpoint import Checkpoint

__all__ = [
    "Scale",
    "axis_label",
    "check_checkpoint",
    "check_checkpoints",
    "make_axes",
    "make_figure",
    "pick_field",
    "scale_for",
    "title_of",
]

# Perceptually uniform, and readable with any kind of colour blindness.
SEQUENTIAL = "viridis"
DIVERGING = "PuOr_r"
_TWO_COLOURS = ("#f2ead8", "#26456e")
_SI = ((1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s"))


def make_figure(width: float = 6.4, height: float = 4.8) -> Figure:
    """Return a new figure that pyplot does not know.

    Parameters
    ----------
    width, height : float
        Inches.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in a notebook.
    """
    figure = _NotebookFigure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


class _NotebookFigure(Figure):
    """A figure that a notebook displays though pyplot does not manage it."""

    def _repr_png_(self) -> bytes:
        from io import BytesIO  # noqa: PLC0415

        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()


class _NotebookAxes(Axes):
    """Axes that a notebook displays as their figure: a cell may end with the call that draws."""

    def _repr_png_(self) -> bytes | None:
        figure = self.get_figure(root=True)
        return figure._repr_png_() if isinstance(figure, _NotebookFigure) else None


def make_axes(ax: Axes | None, width: float = 6.4, height: float = 4.8) -> Axes:
    """Return the axes given, or those of a new figure.

    Parameters
    ----------
    ax : matplotlib.axes.Axes or None
        The caller's.
    width, height : float
        Inches of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        Where to draw.

    Raises
    ------
    TypeError
        If `ax` is neither.
    """
    if ax is None:
        return make_figure(width, height).subplots(subplot_kw={"axes_class": _NotebookAxes})
    if not isinstance(ax, Axes):
        msg = f"ax must be a matplotlib Axes, got {ax!r} ({type(ax).__name__})"
        raise TypeError(msg)
    return ax


def check_checkpoint(checkpoint: object) -> Checkpoint:
    """Return a checkpoint, or raise.

    Parameters
    ----------
    checkpoint : object
        The candidate.

    Returns
    -------
    Checkpoint
        The same.

    Raises
    ------
    TypeError
        If it is none.
    """
    if not isinstance(checkpoint, Checkpoint):
        msg = (
            f"a Checkpoint is needed, got {checkpoint!r} ({type(checkpoint).__name__}); "
            "session.storage.load(name) gives one"
        )
        raise TypeError(msg)
    return checkpoint


def check_checkpoints(checkpoints: Iterable[object]) -> list[Checkpoint]:
    """Return a non-empty list of checkpoints, or raise.

    Parameters
    ----------
    checkpoints : iterable
        The candidates.

    Returns
    -------
    list of Checkpoint
        In the order given.

    Raises
    ------
    TypeError, ValueError
        If one is no checkpoint, or there is none.
    """
    if isinstance(checkpoints, Checkpoint):
        return [checkpoints]
    if isinstance(checkpoints, str) or not isinstance(checkpoints, Iterable):
        msg = f"checkpoints must be several Checkpoint objects, got {checkpoints!r}"
        raise TypeError(msg)
    found = [check_checkpoint(c) for c in checkpoints]
    if not found:
        msg = "there is no checkpoint to draw: take one with session.snapshot(slot)"
        raise ValueError(msg)
    return found


def pick_field(checkpoint: Checkpoint, name: str | None) -> str:
    """Return the field wanted, by default the last that is no previous level.

    Parameters
    ----------
    checkpoint : Checkpoint
        Where to look.
    name : str or None
        The field, None for the default.

    Returns
    -------
    str
        A name that exists.

    Raises
    ------
    KeyError
        If it does not; the message names those that do.
    """
    if name is None:
        current = [n for n in checkpoint.fields if not n.endswith("_previous")]
        return (current or list(checkpoint.fields))[-1]
    if name not in checkpoint:
        msg = f"checkpoint {checkpoint.name!r} has no field {name!r}: it has {list(checkpoint.fields)}"
        raise KeyError(msg)
    return name


def seconds(value: float) -> str:
    """Render a duration with a fitting unit."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g} s"
    factor, unit = next(((f, u) for f, u in reversed(_SI) if abs(value) >= f), _SI[0])
    return f"{value / factor:.4g} {unit}"


def step_seconds(checkpoint: Checkpoint) -> float | None:
    """Return the simulated seconds per step, if the model has any."""
    dt = checkpoint.params.get("dt")
    return float(dt) if isinstance(dt, int | float) and not isinstance(dt, bool) else None


def when(checkpoint: Checkpoint) -> str:
    """Say at which step, and simulated time, a checkpoint was taken."""
    dt = step_seconds(checkpoint)
    if dt is None:
        return f"step {checkpoint.step:,}"
    if dt == 1.0:
        return f"step {checkpoint.step:,}, t = {checkpoint.step:,}"
    return f"step {checkpoint.step:,}, t = {seconds(checkpoint.step * dt)}"


def title_of(checkpoint: Checkpoint) -> str:
    """Return the title of a panel: what, and when.

    Parameters
    ----------
    checkpoint : Checkpoint
        What is drawn.

    Returns
    -------
    str
        Two lines: the checkpoint's name; step and simulated time.
    """
    return f"{checkpoint.name}\n{when(checkpoint)}"


def quantity(checkpoint: Checkpoint, name: str) -> str:
    """Name a field's quantity with its unit."""
    attrs = checkpoint[name].attrs
    unit = attrs.get("units", "1")
    words = attrs.get("long_name", name)
    return f"{words} ({unit})" if unit not in ("1", "") else str(words)


def spacing(checkpoint: Checkpoint) -> float | None:
    """Return the cell size in metres, if the model has one."""
    dx = checkpoint.params.get("dx")
    return float(dx) if isinstance(dx, int | float) and not isinstance(dx, bool) else None


def axis_label(checkpoint: Checkpoint, dim: str) -> str:
    """Label a grid axis.

    Parameters
    ----------
    checkpoint : Checkpoint
        What is drawn.
    dim : str
        The axis.

    Returns
    -------
    str
        With its unit: metres if the model has a cell size, cells otherwise.
    """
    return f"{dim} ({'m' if spacing(checkpoint) else 'cells'})"


class Scale(NamedTuple):
    """How values become colours.

    Attributes
    ----------
    cmap : matplotlib.colors.Colormap
        The map; what is not finite is drawn in red.
    norm : matplotlib.colors.Normalize
        Values to the map.
    ticks : tuple
        Values and their labels for a field of two values; empty otherwise.
    """

    cmap: Colormap
    norm: Normalize
    ticks: tuple[tuple[float, str], ...] = ()


def scale_for(
    arrays: Sequence[npt.NDArray[Any]], *, cmap: str | None = None, limits: Any = None
) -> Scale:
    """Choose one colour scale for some arrays.

    Parameters
    ----------
    arrays : sequence of arrays
        All panels that share the scale.
    cmap : str, optional
        A colour map of the caller's.
    limits : (float, float), optional
        Values at the ends.

    Returns
    -------
    Scale
        Two colours for a field of two values; a diverging map centred on zero for a signed one; a
        sequential map otherwise.

    Raises
    ------
    ValueError
        If the limits are not two rising finite numbers.
    """
    import matplotlib  # noqa: PLC0415

    finite = [a[np.isfinite(a)] for a in arrays]
    low = min((float(a.min()) for a in finite if a.size), default=0.0)
    high = max((float(a.max()) for a in finite if a.size), default=1.0)
    values = None
    if all(a.dtype.kind in "bui" for a in arrays) and high - low <= 2:
        values = np.unique(np.concatenate([np.unique(a) for a in arrays]))
    if cmap is None and limits is None and values is not None:
        pair = (-1, 1) if values.min() < 0 else (0, 1)
        if set(values.tolist()) <= set(pair):
            chosen = ListedColormap(list(_TWO_COLOURS))
            middle = sum(pair) / 2
            norm = BoundaryNorm([pair[0] - 0.5, middle, pair[1] + 0.5], 2)
            labels = tuple((float(v), f"{v:+d}" if pair[0] < 0 else str(v)) for v in pair)
            return Scale(chosen, norm, labels)
    if limits is not None:
        low, high = _check_limits(limits)
    signed = low < 0 < high
    if signed and limits is None:
        low, high = -max(-low, high), max(-low, high)
    if low == high:
        low, high = low - 0.5, high + 0.5
    colours = matplotlib.colormaps[cmap or (DIVERGING if signed else SEQUENTIAL)]
    return Scale(colours.with_extremes(bad="#d62728"), Normalize(low, high))


def _check_limits(limits: Any) -> tuple[float, float]:
    try:
        low, high = (float(v) for v in limits)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        msg = f"limits must be two rising finite numbers, got {limits!r}"
        raise ValueError(msg)
    return low, high
