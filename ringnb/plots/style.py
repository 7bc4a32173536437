"""What all figures share: figures and axes without pyplot, colour maps and scales."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from ringnb.checkpoint.drawable import TWO_COLOURS, value_range

__all__ = [
    "DIVERGING",
    "LINE",
    "LINE_COLOURS",
    "NOT_FINITE",
    "SEQUENTIAL",
    "Scale",
    "count_lost",
    "draw_colour_bar",
    "make_axes",
    "make_figure",
    "scale_for",
]

# Perceptually uniform, and readable with any kind of colour blindness.
SEQUENTIAL = "viridis"
DIVERGING = "PuOr_r"
NOT_FINITE = "#d62728"
LINE = "#26456e"
LINE_COLOURS = ("#26456e", "#d1730f", "#5b8c5a", "#8c3b6b", "#6f6f6f")


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
        return Scale(ListedColormap(list(TWO_COLOURS)), norm, labels)
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
