"""A number per checkpoint over a history: mean, extremes, energy, or a function of your own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from ringnb.checkpoint.drawable import (
    Drawable,
    check_checkpoints,
    pick_field,
    quantity,
    step_seconds,
    time_unit,
)
from ringnb.checkpoint.state import State
from ringnb.plots.style import LINE_COLOURS, make_axes

__all__ = ["series", "wave_energy"]

Scalar = str | Callable[[Any], float]
_MARKERS = "os^Dv"
_STATISTICS: dict[str, Callable[[npt.NDArray[Any]], Any]] = {
    "mean": np.mean,
    "min": np.min,
    "max": np.max,
    "rms": lambda a: np.sqrt(np.mean(a.astype(np.float64) ** 2)),
}


def wave_energy(fields: Mapping[str, npt.NDArray[Any]], params: Mapping[str, float]) -> float:
    """Return the energy of the leapfrog scheme, which it conserves exactly without damping.

    In arbitrary units: kinetic ``((u - b) / dt)^2 / 2`` plus ``c^2 grad u . grad b / 2``, summed over
    cells, with u = 0 outside the grid; u is ``pressure``, b is ``pressure_previous``.
    """
    u = np.pad(fields["pressure"].astype(np.float64), 1)
    b = np.pad(fields["pressure_previous"].astype(np.float64), 1)
    energy = (((u - b) / params["dt"]) ** 2).sum() / 2
    for axis in range(u.ndim):
        gradients = (np.diff(u, axis=axis) / params["dx"]) * (np.diff(b, axis=axis) / params["dx"])
        energy += params["c"] ** 2 * gradients.sum() / 2
    return float(energy * params["dx"] ** u.ndim)


def _ising_energy(fields: Mapping[str, npt.NDArray[Any]], params: Mapping[str, float]) -> float:
    """Energy per spin in units of the coupling."""
    s = fields["spin"].astype(np.int64)
    bonds = (s * np.roll(s, 1, 0)).sum() + (s * np.roll(s, 1, 1)).sum()
    return float(-(bonds + params["field"] * s.sum()) / s.size)


_ENERGIES = {
    "fdtd_2d": (wave_energy, "energy (arbitrary units)"),
    "fdtd_3d": (wave_energy, "energy (arbitrary units)"),
    "ising_2d": (_ising_energy, "energy per spin (coupling)"),
}


def _value(checkpoint: Drawable, scalar: Scalar, name: str | None) -> float:
    if not isinstance(scalar, str):
        return float(scalar(checkpoint))
    if scalar in _STATISTICS:
        return float(_STATISTICS[scalar](np.asarray(checkpoint[pick_field(checkpoint, name)])))
    has_energy = checkpoint.kernel_type in _ENERGIES
    if scalar == "energy" and has_energy:
        function, _ = _ENERGIES[checkpoint.kernel_type]
        return function(checkpoint.numpy(), checkpoint.params)
    names = [*_STATISTICS, *(["energy"] if has_energy else [])]
    msg = (
        f"scalar {scalar!r} is not known for {checkpoint.kernel_type!r}: "
        f"use one of {names}, or a function of a Checkpoint"
    )
    raise ValueError(msg)


def _continues(checkpoint: Drawable, before: Drawable) -> bool:
    """Return whether one is the next of its run; by the name where a former version knew no ids."""
    if isinstance(checkpoint, State) or isinstance(before, State):
        return False  # which says nothing of where it comes from
    if checkpoint.parent_id is None:
        return checkpoint.parent == before.name
    return checkpoint.parent_id == before.id and checkpoint.run == before.run


def series(
    checkpoints: Iterable[Drawable],
    scalar: Scalar | Sequence[Scalar] = "mean",
    name: str | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw a number, or several, over a history.

    Parameters
    ----------
    checkpoints : iterable of Checkpoint or State
        In commit order.
    scalar : str or callable, or a sequence of them, default "mean"
        ``"mean"``, ``"min"``, ``"max"``, ``"rms"`` of a field; ``"energy"`` of a wave or an Ising
        model; or a function of a `Checkpoint` that returns a number.
    name : str, optional
        The field; by default the last whose name does not end in ``_previous``.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The panel. A checkpoint that does not continue from the one before it (after a restore)
        begins a new line.

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument does not fit.
    """
    history = check_checkpoints(checkpoints)
    scalars: list[Scalar] = (
        [scalar] if isinstance(scalar, str) or callable(scalar) else list(scalar)
    )
    if not scalars or not all(isinstance(s, str) or callable(s) for s in scalars):
        msg = f"scalar must be a name, a function, or several of them, got {scalar!r}"
        raise TypeError(msg)
    if len(scalars) > len(LINE_COLOURS):
        msg = f"{len(scalars)} scalars are too many for one panel: at most {len(LINE_COLOURS)}"
        raise ValueError(msg)
    ax = make_axes(ax, 6.4, 4.0)
    # Models in units of their own are drawn over the step.
    timed = all(c.time is not None and time_unit(step_seconds(c)) for c in history)
    x = np.array([c.time if timed else c.step for c in history], dtype=np.float64)
    starts = [i for i, c in enumerate(history) if i == 0 or not _continues(c, history[i - 1])]
    for one, colour, marker in zip(scalars, LINE_COLOURS, _MARKERS, strict=False):
        y = np.array([_value(c, one, name) for c in history])
        label: str | None = one if isinstance(one, str) else getattr(one, "__name__", "value")
        for start, stop in zip(starts, [*starts[1:], len(history)], strict=True):
            ax.plot(
                x[start:stop], y[start:stop], color=colour, marker=marker, markersize=5, label=label
            )
            label = None
    first = history[0]
    ax.set_xlabel("simulated time (s)" if timed else "step")
    if scalars == ["energy"]:
        ax.set_ylabel(_ENERGIES[first.kernel_type][1])
    elif all(isinstance(s, str) and s in _STATISTICS for s in scalars):
        drawn = quantity(first, pick_field(first, name))
        ax.set_ylabel(drawn if len(scalars) > 1 else f"{scalars[0]} of {drawn}")
    if len(scalars) > 1 or not isinstance(scalars[0], str):
        ax.legend()
    branches = f", {len(starts)} lines" if len(starts) > 1 else ""
    ax.set_title(f"{first.kernel_id}: {len(history)} checkpoints{branches}")
    ax.grid(visible=True, alpha=0.3)
    return ax
