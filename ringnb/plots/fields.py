"""Pictures of fields: one, a film strip of many, and the difference of two."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ringnb.checkpoint.drawable import (
    Drawable,
    axis_label,
    check_checkpoint,
    check_checkpoints,
    compare,
    cut_of,
    pick_field,
    quantity,
    spacing,
    title_of,
    when,
)
from ringnb.plots.style import (
    DIVERGING,
    LINE,
    Scale,
    count_lost,
    draw_colour_bar,
    make_axes,
    make_figure,
    scale_for,
)

__all__ = ["difference", "field", "film", "size_for"]

_PIXELS = 1024  # of n times as many cells along an axis, every n-th is drawn
_MOST_PANELS = 24


def _draw(
    ax: Axes,
    data: npt.NDArray[Any],
    dims: tuple[str, ...],
    checkpoint: Drawable,
    scale: Scale,
    label: str,
    *,
    colour_bar: bool = True,
) -> None:
    """Draw a line or an image."""
    if data.ndim == 2:
        _image(ax, data, dims, checkpoint, scale)
        if colour_bar:
            draw_colour_bar(ax, scale, label)
        return
    dx = spacing(checkpoint) or 1.0
    ax.plot((np.arange(data.size) + 0.5) * dx, data, color=LINE)
    ax.set_xlabel(axis_label(checkpoint, dims[0]))
    ax.set_ylabel(label)
    ax.grid(visible=True, alpha=0.3)


def _image(
    ax: Axes, data: npt.NDArray[Any], dims: tuple[str, ...], checkpoint: Drawable, scale: Scale
) -> None:
    dx = spacing(checkpoint) or 1.0
    ny, nx = data.shape
    thin = (max(1, ny // _PIXELS), max(1, nx // _PIXELS))
    shown = np.ma.masked_invalid(data[:: thin[0], :: thin[1]])
    ax.imshow(
        shown,
        origin="lower",
        extent=(0, nx * dx, 0, ny * dx),
        cmap=scale.cmap,
        norm=scale.norm,
        interpolation="nearest",
    )
    ax.set_xlabel(axis_label(checkpoint, dims[1]))
    ax.set_ylabel(axis_label(checkpoint, dims[0]))
    count_lost(ax, np.isfinite(data), "values", "are not finite (red)")


def size_for(data: npt.NDArray[Any], height: float) -> tuple[float, float]:
    """Return width and height in inches of a figure of one panel, which a long grid should fill."""
    width = 5.6
    if data.ndim != 2 or data.shape[0] == data.shape[1]:
        return width, height
    ny, nx = data.shape
    if nx > ny:
        return width, max(2.0, min(height, 4.2 * ny / nx + 1.0))
    return max(3.2, min(width, 3.6 * nx / ny + 2.0)), height


def field(
    checkpoint: Drawable,
    name: str | None = None,
    *,
    axis: int = 0,
    index: int | None = None,
    ax: Axes | None = None,
    cmap: str | None = None,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Draw one field: a line, an image, or a slice of a three-dimensional field.

    Parameters
    ----------
    checkpoint : Checkpoint or State
        What to draw.
    name : str, optional
        The field; by default the last whose name does not end in ``_previous``.
    axis : int, default 0
        The axis that a slice of a three-dimensional field cuts through.
    index : int, optional
        Where it cuts; the middle by default. Only the chunks it touches are read.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.
    cmap : str, optional
        A colour map; by default one that fits the values, centred on zero for signed ones.
    limits : (float, float), optional
        Values at the ends of the colour scale.

    Returns
    -------
    matplotlib.axes.Axes
        The panel.

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument does not fit.
    CheckpointCorrupt, CheckpointNotFound
        If the data is damaged or was retired.
    """
    check_checkpoint(checkpoint)
    name = pick_field(checkpoint, name)
    cut = cut_of(checkpoint, name, axis, index)
    data = checkpoint[name][cut.where]
    scale = scale_for([data], cmap=cmap, limits=limits)
    ax = make_axes(ax, *size_for(data, 4.8))
    _draw(ax, data, cut.dims, checkpoint, scale, quantity(checkpoint, name))
    ax.set_title(title_of(checkpoint) + cut.words)
    return ax


def film(
    checkpoints: Iterable[Drawable],
    name: str | None = None,
    *,
    columns: int = 4,
    axis: int = 0,
    index: int | None = None,
    cmap: str | None = None,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Draw a history as a film strip: one panel per checkpoint, one scale for all.

    Parameters
    ----------
    checkpoints : iterable of Checkpoint or State
        At most 24, in the order in which they are to be shown.
    name : str, optional
        The field, as for `field`.
    columns : int, default 4
        Panels per row.
    axis, index, cmap, limits : optional
        The slice of a three-dimensional field, and the colours, as for `field`.

    Returns
    -------
    matplotlib.figure.Figure
        A new figure.

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument does not fit, or shapes differ.
    """
    history = check_checkpoints(checkpoints)
    if len(history) > _MOST_PANELS:
        msg = f"{len(history)} checkpoints are too many for a film strip: choose at most {_MOST_PANELS}"
        raise ValueError(msg)
    if isinstance(columns, bool) or not isinstance(columns, int) or columns < 1:
        msg = f"columns must be a positive integer, got {columns!r}"
        raise ValueError(msg)
    name = pick_field(history[0], name)
    cuts = [cut_of(c, pick_field(c, name), axis, index) for c in history]
    planes = [c[name][cut.where] for c, cut in zip(history, cuts, strict=True)]
    shapes = {plane.shape for plane in planes}
    if len(shapes) > 1 or planes[0].ndim != 2:
        msg = f"a film strip needs planes of one shape, got {sorted(shapes)}"
        raise ValueError(msg)
    scale = scale_for(planes, cmap=cmap, limits=limits)
    columns = min(columns, len(history))
    rows = math.ceil(len(history) / columns)
    ny, nx = planes[0].shape
    figure = make_figure(2.6 * columns + 1.0, 2.6 * rows * min(1.6, ny / nx) + 0.9)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for ax in grid.flat[len(history) :]:
        ax.set_visible(False)
    for ax, one, plane, cut in zip(grid.flat, history, planes, cuts, strict=False):
        _image(ax, plane, cut.dims, one, scale)
        ax.set_title(when(one).replace(", ", "\n"), fontsize="medium")
        ax.label_outer()
    figure.suptitle(f"{history[0].kernel_id}: {name}{cuts[0].words}")
    draw_colour_bar(grid.ravel().tolist(), scale, quantity(history[0], name))
    return figure


def difference(
    a: Drawable,
    b: Drawable,
    name: str | None = None,
    *,
    axis: int = 0,
    index: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw b - a, with its norms, and whether the two are equal in every bit.

    Parameters
    ----------
    a, b : Checkpoint or State
        Of the same shape.
    name : str, optional
        The field, as for `field`. The norms are those of the whole field.
    axis, index : int, optional
        The slice of a three-dimensional field, as for `field`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The panel.

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument does not fit, or the two differ in shape.
    """
    check_checkpoint(a)
    check_checkpoint(b)
    name = pick_field(a, name)
    cut = cut_of(a, name, axis, index)
    whole, same, largest, rms, _ = compare(a, b, name)
    shown = whole[cut.where]
    ax = make_axes(ax, *size_for(shown, 5.0))
    limit = largest if largest > 0 and math.isfinite(largest) else 1.0
    scale = scale_for([shown], cmap=DIVERGING, limits=(-limit, limit))
    label = f"difference of {quantity(a, name)}"
    # Without a difference the bar would show a range that no value has.
    _draw(ax, shown, cut.dims, a, scale, label, colour_bar=largest != 0)
    verdict = "equal in every bit" if same else "not equal in every bit"
    ax.set_title(
        f"{b.name}\nminus {a.name}{cut.words}\nlargest {largest:.3g}, rms {rms:.3g}: {verdict}",
        fontsize="medium",
    )
    return ax
