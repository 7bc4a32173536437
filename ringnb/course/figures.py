"""Figures of lessons 2, 3, 4, 6 and 11; that of lesson 9 is in its module.

`ringnb.plots` draws those that need only checkpoints.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.course.lesson_02 import Cut, energy_error
from ringnb.course.lesson_04 import Sweep, daly, simulate
from ringnb.course.lesson_11 import Attempt, Count, Trip
from ringnb.plots.style import make_figure, scale_for

__all__ = [
    "chunk_costs",
    "cuts",
    "disk_filling",
    "dominoes",
    "left_over",
    "space_time",
    "valley",
    "waste",
]

_BLUE, _ORANGE, _GREY = "#26456e", "#d1730f", "#6f6f6f"
_GREEN, _PURPLE = "#5b8c5a", "#8c3b6b"
# How a truck is drawn, by how a count sees it: colour, line, width, and what it means.
_WAYS = {
    "ordinary": ("#b0b0b0", "-", 0.8, "a truck: counted once"),
    "in flight": (_ORANGE, "--", 2.0, "on the road, counted by neither"),
    "noted": (_GREEN, "--", 2.0, "on the road, and noted"),
    "twice": (_PURPLE, ":", 2.5, "counted by both"),
}


def cuts(panels: Sequence[Cut], energy: float) -> Figure:
    """Draw copies of a wave side by side, with the step of each slab.

    Parameters
    ----------
    panels : sequence of Cut
        The copies.
    energy : float
        The correct energy.

    Returns
    -------
    matplotlib.figure.Figure
        A new figure.
    """
    figure = make_figure(3.5 * len(panels) + 0.8, 4.0)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    scale = scale_for([cut.fields["pressure"] for cut in panels])
    for ax, cut in zip(axes, panels, strict=True):
        ax.imshow(
            cut.fields["pressure"],
            origin="upper",  # row 0 at the top, as it was copied
            cmap=scale.cmap,
            norm=scale.norm,
            interpolation="nearest",
        )
        for first, _, _ in cut.slabs[1:]:
            ax.axhline(first - 0.5, color=_GREY, linewidth=0.5, linestyle=":")
        ax.set_xticks([])
        ax.set_yticks(
            [(first + end - 1) / 2 for first, end, _ in cut.slabs],
            labels=[f"{step:,}" for _, _, step in cut.slabs],
        )
        ax.set_title(f"{cut.how}: energy off by {energy_error(cut, energy):.2g}", fontsize="medium")
    axes[0].set_ylabel("step at which these rows were copied")
    figure.colorbar(axes[0].images[0], ax=axes.tolist(), label="sound pressure (Pa)", shrink=0.75)
    return figure


def chunk_costs(costs: Mapping[int, tuple[int, int]]) -> Figure:
    """Draw the files of a checkpoint, and the bytes read for a row, as functions of chunk size.

    Parameters
    ----------
    costs : mapping of int to (int, int)
        Bytes of a chunk: number of files, bytes read.

    Returns
    -------
    matplotlib.figure.Figure
        A new figure.
    """
    sizes = sorted(costs)
    figure = make_figure(6.4, 3.8)
    left = figure.subplots()
    right = left.twinx()
    left.loglog(sizes, [costs[s][0] for s in sizes], "o-", color=_BLUE)
    right.loglog(sizes, [costs[s][1] for s in sizes], "s--", color=_ORANGE)
    left.set_xticks(sizes, labels=[f"{s >> 10} KiB" for s in sizes], rotation=30)
    left.xaxis.set_minor_locator(NullLocator())
    left.set_xlabel("size of a chunk (chunk_bytes)")
    left.set_ylabel("● files of a checkpoint", color=_BLUE)
    right.set_ylabel("■ bytes read for one row", color=_ORANGE)
    right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    return figure


def valley(measured: Sweep) -> Figure:
    """Draw the time that each interval wastes, the best interval, and Young's formula.

    Parameters
    ----------
    measured : Sweep
        From `sweep`.

    Returns
    -------
    matplotlib.figure.Figure
        A new figure.
    """
    x = np.array([t.interval_s for t in measured.trials])
    fine = np.geomspace(x[0], x[-1], 200)
    young = math.sqrt(2 * measured.cost_s * measured.mtbf_s)
    model = measured.cost_s / fine + fine / (2 * measured.mtbf_s)
    figure = make_figure(6.8, 4.9)
    ax = figure.subplots()
    ax.plot(x, [t.wasted for t in measured.trials], "o", color=_BLUE, label="measured, with kills")
    ax.plot(
        fine,
        np.polyval(measured.parabola, np.log2(fine)),
        color=_BLUE,
        label="parabola fitted to the points",
    )
    lowest = f"its lowest point, the best: {1000 * measured.best_s:.3g} ms"
    ax.axvline(measured.best_s, color=_BLUE, linewidth=1, label=lowest)
    ax.plot(fine, model, color=_ORANGE, linestyle="--", label="Young: cost/T + T/(2 MTBF)")
    lowest = f"Young's best: {1000 * young:.3g} ms"
    ax.axvline(young, color=_ORANGE, linewidth=1, linestyle="--", label=lowest)
    ax.set_xscale("log")
    ax.set_xticks(x, labels=[f"{1000 * v:.0f} ms" for v in x])
    ax.xaxis.set_minor_locator(NullLocator())
    # The formula is no fraction: for short intervals it gives more than all of the time.
    ax.set_ylim(0, max(1.15 * max(t.wasted for t in measured.trials), min(1.05 * model.max(), 1)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    ax.set_xlabel("work between two checkpoints, T")
    ax.set_ylabel("time wasted")
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")  # not over the points
    ax.grid(visible=True, alpha=0.3)
    return figure


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def left_over(histories: Mapping[str, Sequence[CheckpointInfo]]) -> Figure:
    """Draw which checkpoints each policy leaves.

    Parameters
    ----------
    histories : mapping of str to sequence of CheckpointInfo
        The checkpoints that are left, for each policy's name.

    Returns
    -------
    matplotlib.figure.Figure
        A new figure; pinned checkpoints are diamonds.
    """
    figure = make_figure(8.0, 0.5 * len(histories) + 1.2)
    ax = figure.subplots()
    for row, left in enumerate(histories.values()):
        for pinned, marker, colour in ((False, "o", _BLUE), (True, "D", _ORANGE)):
            steps = [one.step for one in left if (one.pin is not None) == pinned]
            ax.plot(steps, [row] * len(steps), marker, color=colour, markersize=8)
    ax.set_yticks(range(len(histories)), labels=list(histories))
    ax.set_ylim(len(histories) - 0.5, -0.5)
    ax.set_xlabel("step of the checkpoints that are left (diamond: pinned)")
    ax.grid(visible=True, axis="x", alpha=0.3)
    return figure


def disk_filling(uses: Mapping[str, Sequence[int]], limit: int, *, every_s: float) -> Figure:
    """Draw how the disk fills in a long run, with each policy.

    Parameters
    ----------
    uses : mapping of str to sequence of int
        From `disk_use`, for each policy's name.
    limit : int
        Bytes that the disk holds.
    every_s : float
        Seconds between two commits.

    Returns
    -------
    matplotlib.figure.Figure
        A new figure, with a logarithmic axis.
    """
    figure = make_figure(7.4, 4.8)
    ax = figure.subplots()
    colours = (_BLUE, _ORANGE, _GREEN, _PURPLE, _GREY)
    for (name, use), colour, style in zip(
        uses.items(), itertools.cycle(colours), itertools.cycle(("-", "--", "-.", ":"))
    ):
        days = [(i + 1) * every_s / 86400 for i in range(len(use))]
        ax.plot(days, [n / 1e9 for n in use], style, color=colour, label=name, linewidth=2)
    ax.axhline(limit / 1e9, color="#b2182b", linewidth=1.5)
    ax.annotate(
        "the disk is full",
        (1, limit / 1e9),
        (-4, 4),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
    )
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f} GB"))
    ax.set_xlabel("time (days)")
    ax.set_ylabel("checkpoints on the disk")
    figure.legend(loc="outside lower center", fontsize="small")
    ax.grid(visible=True, alpha=0.3)
    return figure


def waste(cost_s: float, mtbf_s: float, latencies: Sequence[float]) -> Figure:
    """Draw what each interval wastes, counted over many failures, for several latencies of a commit.

    Parameters
    ----------
    cost_s : float
        Seconds for which a checkpoint stops the work.
    mtbf_s : float
        Mean time between failures, seconds.
    latencies : sequence of float
        Seconds from the end of the stop until the checkpoint is committed.

    Returns
    -------
    matplotlib.figure.Figure
        A new figure, with the intervals of Young's and Daly's formulas.
    """
    young, best = math.sqrt(2 * cost_s * mtbf_s), daly(cost_s, mtbf_s)
    intervals = np.geomspace(young / 8, 6 * young, 60)
    figure = make_figure(7.0, 4.4)
    ax = figure.subplots()
    for latency, style in zip(latencies, itertools.cycle(("-", "--", "-.", ":"))):
        lost = [simulate(t, cost_s, mtbf_s, latency_s=latency) for t in intervals]
        ax.plot(intervals, lost, style, color=_BLUE, label=f"committed after {latency:g} s")
    for name, at, style in (("Young", young, "--"), ("Daly", best, "-")):
        ax.axvline(at, color=_ORANGE, linestyle=style, label=f"{name}: {_short(at)} s")
    ax.set_xscale("log")
    ticks = [young * 2**n for n in range(-3, 3)]
    ax.set_xticks(ticks, labels=[_short(t) for t in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    ax.set_ylim(0, None)
    ax.set_xlabel("work between two checkpoints, T (s)")
    ax.set_ylabel("time wasted")
    figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    ax.grid(visible=True, alpha=0.3)
    return figure


def dominoes(attempts: Sequence[Attempt], left: Iterable[int], right: Iterable[int]) -> Figure:
    """Draw how two tanks went back, try by try.

    Parameters
    ----------
    attempts : sequence of Attempt
        From `roll_back`.
    left, right : iterable of int
        The steps of all checkpoints of each tank.

    Returns
    -------
    matplotlib.figure.Figure
        A new figure: a row for each try, with the amount of dye that it gave.
    """
    figure = make_figure(6.8, 0.4 * len(attempts) + 1.7)
    ax = figure.subplots()
    lanes = (("left tank", left, "o", _BLUE, 0.1), ("right tank", right, "s", _ORANGE, -0.1))
    rows = range(len(attempts))
    for number, (name, steps, marker, colour, lift) in enumerate(lanes):
        for row in rows:
            there = sorted(steps)
            ax.plot(
                there, [row - lift] * len(there), marker, color=colour, markersize=3, alpha=0.35
            )
        chosen = [attempt[number] for attempt in attempts]
        ax.plot(
            chosen, [row - lift for row in rows], marker, color=colour, markersize=8, label=name
        )
    for row, attempt in enumerate(attempts):
        ax.plot(attempt[:2], [row - 0.1, row + 0.1], color=_GREY, linewidth=1)
    ax.set_yticks(rows, labels=[f"try {row + 1}" for row in rows])
    ax.set_ylim(len(attempts) - 0.5, -0.5)
    amounts = ax.secondary_yaxis("right")
    amounts.set_yticks(rows, labels=[f"{attempt.amount:.2f}" for attempt in attempts])
    amounts.set_ylabel("dye, of 100")
    ax.set_xlabel("step of the checkpoint")
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    return figure


def space_time(trips: Sequence[Trip], counts: Mapping[str, Count]) -> Figure:
    """Draw trucks between depots, and what each way of counting them misses.

    Parameters
    ----------
    trips : sequence of Trip
        All trucks.
    counts : mapping of str to Count
        By what to call them.

    Returns
    -------
    matplotlib.figure.Figure
        A new figure: a panel for each count. Time goes to the right, a truck is an arrow from one depot
        to another.
    """
    figure = make_figure(7.0, 2.3 * len(counts) + 0.6)
    axes = figure.subplots(len(counts), sharex=True, squeeze=False)[:, 0]
    for ax, (name, count) in zip(axes, counts.items(), strict=True):
        lane = {depot: number for number, depot in enumerate(count.times)}
        for trip in trips:
            before = trip.sent <= count.times[trip.source]
            after = trip.received > count.times[trip.target]
            way = "ordinary" if before != after else "in flight" if before else "twice"
            noted = way == "in flight" and bool(count.roads)
            colour, style, width, label = _WAYS["noted" if noted else way]
            ends = ((trip.sent, lane[trip.source]), (trip.received, lane[trip.target]))
            ax.annotate(
                "",
                ends[1],
                ends[0],
                arrowprops={"arrowstyle": "->", "color": colour, "linestyle": style, "lw": width},
            )
            ax.plot([], [], style, color=colour, linewidth=width, label=label)
        ax.plot(list(count.times.values()), list(lane.values()), "D-", color="black", linewidth=1.5)
        ax.plot([], [], "D-", color="black", label="when each depot has counted")
        ax.set_yticks(list(lane.values()), labels=list(lane))
        ax.set_ylim(len(lane) - 0.8, -0.2)
        ax.set_title(f"{name}: {count.total} of 100", fontsize="medium")
    until = max(time for count in counts.values() for time in count.times.values())
    axes[-1].set_xlim(0, until + 15)
    axes[-1].set_xlabel("time (minutes)")
    labels = {
        text: line
        for ax in axes
        for line, text in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        list(labels.values()), list(labels), loc="outside lower center", ncols=2, fontsize="small"
    )
    return figure
