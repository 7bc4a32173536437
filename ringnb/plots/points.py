"""What is no picture: particles, arrows and streamlines, curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from ringnb._support.checks import check_int, is_integer
from ringnb.checkpoint.drawable import (
    Drawable,
    axis_label,
    check_checkpoint,
    check_checkpoints,
    cut_of,
    pick_field,
    quantity,
    spacing,
    title_of,
    when,
)
from ringnb.plots.fields import size_for
from ringnb.plots.style import LINE, LINE_COLOURS, count_lost, draw_colour_bar, make_axes, scale_for

__all__ = ["curves", "particles", "vectors"]

Column: TypeAlias = str | tuple[str, int]
_MOST_CURVES = 12


def _column(checkpoint: Drawable, which: Column) -> tuple[npt.NDArray[Any], str]:
    """Return the values of a field, or of one of its columns, as a line, and what they are."""
    name, column = (which, None) if isinstance(which, str) else which
    values = np.asarray(checkpoint[pick_field(checkpoint, name)])
    label = quantity(checkpoint, name)
    if column is not None:
        if not is_integer(column) or values.ndim != 2 or not 0 <= column < values.shape[1]:
            msg = (
                f"{which!r} is not a column: field {name!r} has shape {values.shape}; give the name of "
                "a field of (particles, columns), and one of its columns from 0 on"
            )
            raise ValueError(msg)
        values, label = values[:, column], f"{label}, column {column}"
    return values.ravel(), label


def particles(
    checkpoint: Drawable,
    x: str | tuple[str, int] = "x",
    y: str | tuple[str, int] = "y",
    *,
    colour: str | tuple[str, int] | None = None,
    size: float = 12.0,
    ax: Axes | None = None,
    cmap: str | None = None,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Draw particles as points: two fields are where they are, a third may colour them.

    Parameters
    ----------
    checkpoint : Checkpoint or State
        What to draw.
    x, y : str or (str, int), default "x" and "y"
        Fields of one value per particle; or a field of shape (particles, columns) and the column, such
        as ``("positions", 0)``.
    colour : str or (str, int), optional
        The field that colours them.
    size : float, default 12.0
        Of a point, square typographic points.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.
    cmap, limits : optional
        The colours, as for `field`.

    Returns
    -------
    matplotlib.axes.Axes
        The panel. Particles whose place is not finite are counted in it.

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument does not fit, or the fields have different numbers of values.
    """
    check_checkpoint(checkpoint)
    named = [_column(checkpoint, which) for which in (x, y, *([] if colour is None else [colour]))]
    if len({values.size for values, _ in named}) > 1:
        sizes = ", ".join(f"{label}: {values.size}" for values, label in named)
        msg = f"each particle needs one value of each field, got {sizes}"
        raise ValueError(msg)
    ax = make_axes(ax, 5.6, 4.8)
    (xs, x_label), (ys, y_label) = named[:2]
    placed = np.isfinite(xs) & np.isfinite(ys)
    if colour is None:
        ax.scatter(xs[placed], ys[placed], s=size, color=LINE)
    else:
        values, label = named[2]
        scale = scale_for([values], cmap=cmap, limits=limits)
        ax.scatter(
            xs[placed],
            ys[placed],
            s=size,
            c=np.ma.masked_invalid(values[placed]),
            cmap=scale.cmap,
            norm=scale.norm,
            plotnonfinite=True,
        )
        draw_colour_bar(ax, scale, label)
    ax.set_aspect("equal")
    if placed.any():
        ends = [(float(a[placed].min()), float(a[placed].max())) for a in (xs, ys)]
        half = 0.55 * max(high - low for low, high in ends) or 0.5
        middle_x, middle_y = ((low + high) / 2 for low, high in ends)
        ax.set_xlim(middle_x - half, middle_x + half)
        ax.set_ylim(middle_y - half, middle_y + half)
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    ax.set_title(title_of(checkpoint))
    count_lost(ax, placed, "particles", "have no finite place")
    return ax


def vectors(
    checkpoint: Drawable,
    u: str = "u",
    v: str = "v",
    *,
    kind: Literal["arrows", "streamlines"] = "arrows",
    most: int = 24,
    axis: int = 0,
    index: int | None = None,
    ax: Axes | None = None,
    cmap: str | None = None,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Draw a vector field of two components on a grid, coloured by its magnitude.

    Parameters
    ----------
    checkpoint : Checkpoint or State
        What to draw.
    u, v : str, default "u" and "v"
        The fields of the components along the last axis of the grid (x) and along the one before (y).
    kind : {"arrows", "streamlines"}, default "arrows"
        Arrows at some of the cells, or lines along the field.
    most : int, default 24
        Arrows along the longer side of the grid at most; of streamlines, how dense they are.
    axis, index : int, optional
        The slice of a three-dimensional field, as for `field`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.
    cmap, limits : optional
        The colours of the magnitude, as for `field`.

    Returns
    -------
    matplotlib.axes.Axes
        The panel. Cells that are not finite have no arrow, and are counted in it.

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument does not fit, or the components are not two grids of one shape.
    """
    check_checkpoint(checkpoint)
    if kind not in ("arrows", "streamlines"):
        msg = f"kind must be 'arrows' or 'streamlines', got {kind!r}"
        raise ValueError(msg)
    most = check_int(most, "most", 2)
    cuts = [cut_of(checkpoint, pick_field(checkpoint, name), axis, index) for name in (u, v)]
    us, vs = (
        np.asarray(checkpoint[name][cut.where], np.float64)
        for name, cut in zip((u, v), cuts, strict=True)
    )
    if us.ndim != 2 or us.shape != vs.shape or min(us.shape) < 2:
        msg = (
            f"the components must be two grids of one shape, got {u!r} of {us.shape} and {v!r} of "
            f"{vs.shape}"
        )
        raise ValueError(msg)
    dx = spacing(checkpoint) or 1.0
    ny, nx = us.shape
    speed = np.hypot(us, vs)
    scale = scale_for([speed], cmap=cmap, limits=limits)
    ax = make_axes(ax, *size_for(speed, 4.8))
    xs, ys = (np.arange(nx) + 0.5) * dx, (np.arange(ny) + 0.5) * dx
    if kind == "arrows":
        thin = max(1, -(-max(ny, nx) // most))
        # From the middle of each block of cells, not from its corner.
        at = slice(min(thin // 2, ny - 1), None, thin), slice(min(thin // 2, nx - 1), None, thin)
        some = speed[at]
        longest = float(some[np.isfinite(some)].max(initial=0.0)) or 1.0
        ax.quiver(
            xs[at[1]],
            ys[at[0]],
            *(np.ma.masked_invalid(a[at]) for a in (us, vs, speed)),
            cmap=scale.cmap,
            norm=scale.norm,
            angles="xy",
            scale_units="xy",
            scale=longest / (thin * dx),  # the longest is as long as the arrows are apart
        )
    else:
        ax.streamplot(
            xs,
            ys,
            np.ma.masked_invalid(us),
            np.ma.masked_invalid(vs),
            color=np.nan_to_num(speed),
            cmap=scale.cmap,
            norm=scale.norm,
            density=most / 24,
            linewidth=1.0,
        )
    draw_colour_bar(ax, scale, f"magnitude of {quantity(checkpoint, u)}, {v}")
    ax.set_xlim(0, nx * dx)
    ax.set_ylim(0, ny * dx)
    ax.set_aspect("equal")
    ax.set_xlabel(axis_label(checkpoint, cuts[0].dims[1]))
    ax.set_ylabel(axis_label(checkpoint, cuts[0].dims[0]))
    ax.set_title(title_of(checkpoint) + cuts[0].words)
    count_lost(ax, np.isfinite(speed), "vectors", "are not finite")
    return ax


def curves(
    checkpoints: Drawable | Iterable[Drawable],
    names: str | Sequence[str] | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw one-dimensional fields as lines: several of one state, or one at several steps.

    Parameters
    ----------
    checkpoints : Checkpoint or State, or an iterable of them
        What to draw, in the order in which they are named.
    names : str or sequence of str, optional
        The fields; by default the last whose name does not end in ``_previous``.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The panel; at most twelve lines, pale ones first.

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument does not fit, or a field has not one axis.
    """
    history = check_checkpoints(checkpoints)
    chosen = [names] if isinstance(names, str) or names is None else list(names)
    fields = [pick_field(history[0], name) for name in chosen]
    count = len(fields) * len(history)
    if not 1 <= len(fields) <= len(LINE_COLOURS) or count > _MOST_CURVES:
        msg = (
            f"{count} lines are too many for a panel, or none: at most {_MOST_CURVES}, of at most "
            f"{len(LINE_COLOURS)} fields"
        )
        raise ValueError(msg)
    ax = make_axes(ax, 6.4, 4.0)
    for name, colour in zip(fields, LINE_COLOURS, strict=False):
        for i, one in enumerate(history, 1):
            values = np.asarray(one[pick_field(one, name)])
            if values.ndim != 1:
                msg = (
                    f"field {name!r} has shape {values.shape}: curves are of one axis; try field()"
                )
                raise ValueError(msg)
            what = [name] if len(fields) > 1 else []
            what += [when(one)] if len(history) > 1 else []
            dx = spacing(one) or 1.0
            ax.plot(
                (np.arange(values.size) + 0.5) * dx,
                values,
                color=colour,
                alpha=0.25 + 0.75 * i / len(history),
                label=": ".join(what),
            )
    first = history[0]
    ax.set_xlabel(axis_label(first, first.field_attrs[fields[0]]["dims"][0]))
    if len(fields) == 1:
        ax.set_ylabel(quantity(first, fields[0]))
    if count > 1:
        ax.legend()
    ax.set_title(
        title_of(first) if len(history) == 1 else f"{first.kernel_id}: {', '.join(fields)}"
    )
    ax.grid(visible=True, alpha=0.3)
    return ax
