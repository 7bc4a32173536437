"""Numbers that were recorded at every so many steps, drawn over the simulated time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from ringnb.checkpoint.report import Report
from ringnb.plots.style import LINE_COLOURS, make_axes

__all__ = ["report"]


def report(
    report: Report, names: str | Sequence[str] | None = None, *, ax: Axes | None = None
) -> Axes:
    """Draw what was reported of an actor.

    Parameters
    ----------
    report : Report
        From ``session.reported(slot)`` or ``rn.Report.open(store)``.
    names : str or sequence of str, optional
        Which numbers; all by default, at most five.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The panel. What lies beyond a step that was restored, and other branches, are dashed and pale.

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument does not fit.
    """
    if not isinstance(report, Report):
        msg = (
            f"a Report is needed, got {report!r} ({type(report).__name__}); session.reported(slot) "
            "gives one, and rn.Report.open(store) later"
        )
        raise TypeError(msg)
    chosen = list(report.names if names is None else [names] if isinstance(names, str) else names)
    if not 1 <= len(chosen) <= len(LINE_COLOURS):
        msg = f"one to {len(LINE_COLOURS)} numbers fit into a panel, got {len(chosen)}: pass names="
        raise ValueError(msg)
    ax = make_axes(ax, 6.4, 4.0)
    times = np.concatenate([line.times for line in report.lines])
    steps = np.concatenate([line.steps for line in report.lines])
    # Models with a step length of exactly 1 have units of their own: they are drawn over the step.
    of_its_own = steps.any() and np.array_equal(times, steps)
    timed = np.isfinite(times).all() and not of_its_own
    x = report.times if timed else report.steps
    pale: str | None = "beyond a restored step"
    for name, colour in zip(chosen, LINE_COLOURS, strict=False):
        ax.plot(x, report[name], color=colour, marker="." if len(x) < 60 else "", label=name)
        for line in report.lines:
            shown = report.left_behind(line)
            if not shown.any() or name not in line.values:
                continue
            shown[:-1] |= shown[1:]  # from the row that they follow
            over = line.times if timed else line.steps
            values = line.values[name]
            ax.plot(over[shown], values[shown], "--", color=colour, alpha=0.4, label=pale)
            pale = None
    ax.set_xlabel("simulated time (s)" if timed else "step")
    if len(chosen) == 1:
        ax.set_ylabel(chosen[0])
    if len(chosen) > 1 or pale is None:
        ax.legend()
    ax.set_title(
        f"{report.kernel_id}: every {report.lines[-1].every:,} steps, {len(report):,} rows"
    )
    ax.grid(visible=True, alpha=0.3)
    return ax
