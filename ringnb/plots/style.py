"""What all figures share: figures without pyplot, colour maps, words for a checkpoint, units."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from ringnb._support.checks import is_number
from ringnb.checkpoint.state import State
from ringnb.checkpoint.storage.checkpoint import Checkpoint

__all__ = [
    "DIVERGING",
    "LINE",
    "NOT_FINITE",
    "SEQUENTIAL",
    "Scale",
    "LINE_COLOURS",
    "TWO_COLOURS",
    "ValueRange",
    "axis_label",
    "check_checkpoint",
    "check_checkpoints",
    "count_lost",
    "draw_colour_bar",
    "main_field",
    "make_axes",
    "make_figure",
    "pick_field",
    "quantity",
    "scale_for",
    "spacing",
    "simulated",
    "step_seconds",
    "title_of",
    "value_range",
    "when",
]

# Perceptually uniform, and readable with any kind of colour blindness.
SEQUENTIAL = "viridis"
DIVERGING = "PuOr_r"
NOT_FINITE = "#d62728"
LINE = "#26456e"
LINE_COLOURS = ("#26456e", "#d1730f", "#5b8c5a", "#8c3b6b", "#6f6f6f")
TWO_COLOURS = ListedColormap(["#f2ead8", LINE])
_SI = ((1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s"))


def make_figure(width: float = 6.4, height: float = 4.8) -> Figure:
    """Return a new figure that pyplot does not know; a notebook shows it. Width and height in inches."""
    figure = _NotebookFigure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


class _NotebookFigure(Figure):
    """A figure that a notebook displays though pyplot does not manage it."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()


class _NotebookAxes(Axes):
    """Axes that a notebook displays as their figure: a cell may end with the call that draws."""

    def _repr_png_(self) -> bytes | None:
        figure = self.get_figure(root=True)
        return figure._repr_png_() if isinstance(figure, _NotebookFigure) else None


def make_axes(ax: Axes | None, width: float = 6.4, height: float = 4.8) -> Axes:
    """Return the axes given, or those of a new figure of a width and height in inches; or TypeError."""
    if ax is None:
        return make_figure(width, height).subplots(subplot_kw={"axes_class": _NotebookAxes})
    if not isinstance(ax, Axes):
        msg = f"ax must be a matplotlib Axes, got {ax!r} ({type(ax).__name__})"
        raise TypeError(msg)
    return ax


Drawable: TypeAlias = Checkpoint | State


def check_checkpoint(checkpoint: object) -> Drawable:
    """Return a checkpoint or a live state, or raise TypeError."""
    if not isinstance(checkpoint, Drawable):
        msg = (
            f"a Checkpoint is needed, got {checkpoint!r} ({type(checkpoint).__name__}); "
            "session.storage.load(name) gives one, session.state(slot) the live state"
        )
        raise TypeError(msg)
    return checkpoint


def check_checkpoints(checkpoints: Iterable[object]) -> list[Drawable]:
    """Return a list of checkpoints, or raise TypeError, or ValueError if there is none."""
    if isinstance(checkpoints, Drawable):
        return [checkpoints]
    if isinstance(checkpoints, str) or not isinstance(checkpoints, Iterable):
        msg = f"checkpoints must be several Checkpoint objects, got {checkpoints!r}"
        raise TypeError(msg)
    found = [check_checkpoint(c) for c in checkpoints]
    if not found:
        msg = "there is no checkpoint to draw: take one with session.snapshot(slot)"
        raise ValueError(msg)
    return found


def pick_field(checkpoint: Drawable, name: str | None) -> str:
    """Return a field's name, by default the last not named ``*_previous``; KeyError if unknown."""
    if name is None:
        return main_field(list(checkpoint.fields))
    if name not in checkpoint:
        msg = f"checkpoint {checkpoint.name!r} has no field {name!r}: it has {list(checkpoint.fields)}"
        raise KeyError(msg)
    return name


def main_field(names: Sequence[str]) -> str:
    """Return the field that is shown unless one is named: the last not named ``*_previous``."""
    return ([n for n in names if not n.endswith("_previous")] or names)[-1]


def seconds(value: float) -> str:
    """Render a duration with a fitting unit."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g} s"
    factor, unit = next(((f, u) for f, u in reversed(_SI) if abs(value) >= f), _SI[0])
    shown = value / factor
    return f"{shown:,.0f} {unit}" if abs(shown) >= 9999.5 else f"{shown:.4g} {unit}"


def _param(checkpoint: Drawable, name: str) -> float | None:
    value = checkpoint.params.get(name)
    return float(value) if is_number(value) else None


def step_seconds(checkpoint: Drawable) -> float | None:
    """Return the simulated seconds per step, if the model has any."""
    return _param(checkpoint, "dt")


def time_unit(per_step: object) -> str:
    """Return the unit of a simulated time; "" for a model in units of its own."""
    return "" if per_step == 1.0 else "s"  # those have a step length of exactly 1


def simulated(time: float | None, per_step: object) -> str:
    """Say a simulated time, of a model with so many seconds per step; "" where a step has no length."""
    if time is None:
        return ""
    return f"t = {seconds(time)}" if time_unit(per_step) else f"t = {time:,.12g}"


def when(checkpoint: Drawable) -> str:
    """Say at which step, and simulated time, a checkpoint was taken."""
    time = simulated(checkpoint.time, step_seconds(checkpoint))
    return f"step {checkpoint.step:,}, {time}" if time else f"step {checkpoint.step:,}"


def title_of(checkpoint: Drawable) -> str:
    """Return two lines: the checkpoint's name; its step and simulated time."""
    return f"{checkpoint.name}\n{when(checkpoint)}"


def quantity(checkpoint: Drawable, name: str) -> str:
    """Name a field's quantity with its unit."""
    attrs = checkpoint.field_attrs[name]
    unit = attrs.get("units", "1")
    words = attrs.get("long_name", name)
    return f"{words} ({unit})" if unit not in ("1", "") else str(words)


def spacing(checkpoint: Drawable) -> float | None:
    """Return the cell size in metres, if the model has one."""
    return _param(checkpoint, "dx")


def axis_label(checkpoint: Drawable, dim: str) -> str:
    """Label a grid axis: in metres if the model has a cell size, in cells otherwise."""
    return f"{dim} ({'m' if spacing(checkpoint) else 'cells'})"


class ValueRange(NamedTuple):
    """Which values the ends of a colour scale stand for, and what kind of map fits them."""

    low: float
    high: float
    kind: Literal["two", "diverging", "sequential"]


def value_range(arrays: Sequence[npt.NDArray[Any]], limits: Any = None) -> ValueRange:
    """Choose one range for all arrays; ValueError unless limits are two rising finite numbers.

    ``two`` is for integer fields of two values, 0 and 1 or -1 and +1. The range of signed values is
    centred on zero.
    """
    finite = [a[np.isfinite(a)] for a in arrays]
    low = min((float(a.min()) for a in finite if a.size), default=0.0)
    high = max((float(a.max()) for a in finite if a.size), default=1.0)
    integers = all(a.dtype.kind in "bui" for a in arrays)
    if integers and high - low <= 2 and limits is None:
        pair = (-1, 1) if low < 0 else (0, 1)
        if set(np.unique(np.concatenate([np.unique(a) for a in arrays])).tolist()) <= set(pair):
            return ValueRange(*pair, "two")
    if limits is not None:
        low, high = _check_limits(limits)
    signed = low < 0 < high
    if signed and limits is None:
        low, high = -max(-low, high), max(-low, high)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return ValueRange(low, high, "diverging" if signed else "sequential")


class Scale(NamedTuple):
    """How values become colours."""

    cmap: Colormap  # what is not finite is drawn in red
    norm: Normalize
    ticks: tuple[tuple[float, str], ...] = ()  # for a field of two values: these and their labels


def scale_for(
    arrays: Sequence[npt.NDArray[Any]], *, cmap: str | None = None, limits: Any = None
) -> Scale:
    """Choose one colour scale for all arrays; ValueError unless limits are two rising finite numbers.

    Two colours for fields of two values, a diverging map centred on zero for signed ones, else a
    sequential map.
    """
    low, high, kind = value_range(arrays, limits)
    if kind == "two" and cmap is None:
        norm = BoundaryNorm([low - 0.5, (low + high) / 2, high + 0.5], 2)
        labels = tuple((float(v), f"{v:+.0f}" if low < 0 else f"{v:.0f}") for v in (low, high))
        return Scale(TWO_COLOURS, norm, labels)
    colours = matplotlib.colormaps[cmap or (DIVERGING if kind == "diverging" else SEQUENTIAL)]
    return Scale(colours.with_extremes(bad=NOT_FINITE), Normalize(low, high))


def draw_colour_bar(axes: Any, scale: Scale, label: str) -> None:
    """Draw the colours of a scale beside axes, one or a list of them."""
    figure: Any = (axes[0] if isinstance(axes, list) else axes).figure
    bar = figure.colorbar(ScalarMappable(scale.norm, scale.cmap), ax=axes, label=label)
    if scale.ticks:
        bar.set_ticks([v for v, _ in scale.ticks], labels=[text for _, text in scale.ticks])
    elif isinstance(bar.formatter, ScalarFormatter):
        bar.formatter.set_useOffset(False)  # values themselves: nobody adds 1e-7 to 6e-1


def count_lost(ax: Axes, whole: npt.NDArray[np.bool_], things: str, what: str) -> None:
    """Say in a panel of how many things, those that are not `whole`, something is true; if of any."""
    lost = int(whole.size - whole.sum())
    if lost:
        ax.text(
            0.02,
            0.98,
            f"{lost:,} of {whole.size:,} {things} {what}",
            transform=ax.transAxes,
            va="top",
            bbox={"facecolor": "white", "alpha": 0.9, "edgecolor": NOT_FINITE},
        )


def _check_limits(limits: Any) -> tuple[float, float]:
    try:
        low, high = (float(v) for v in limits)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        msg = f"limits must be two rising finite numbers, got {limits!r}"
        raise ValueError(msg)
    return low, high
