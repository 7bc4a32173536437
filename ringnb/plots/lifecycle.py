"""The lifecycle timeline: what happened to every snapshot request, from the event log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ringnb.events import Event
from ringnb.plots.style import make_axes

__all__ = ["timeline"]

# A bar reaches from one stage to the next. Colour, hatching and height tell bars apart.
_BARS = (
    ("due", "requested", "waiting to be polled", "#c7c7c7", "", 0.24),
    ("requested", "sent", "waiting for a staging buffer", "#8fa9c8", "..", 0.32),
    ("sent", "captured", "in the H2K ring, captured", "#26456e", "", 0.56),
    ("captured", "received", "in the K2H ring", "#d1730f", "//", 0.56),
    ("received", "written", "being written", "#5b8c5a", "", 0.44),
    ("written", "committed", "made visible and durable", "#b8d7a3", "\\\\", 0.44),
)
_MARKS = {
    "committed": ("o", "#2f5d2e", "committed"),
    "failed": ("X", "#b2182b", "failed"),
    "expired": ("P", "#b2182b", "expired"),
    "cancelled": ("s", "#6f6f6f", "cancelled"),
    "retired": ("v", "#6f6f6f", "retired"),
    "restored": ("*", "#8c3b6b", "restored"),
}


def timeline(
    events: Iterable[Event],
    *,
    ax: Axes | None = None,
    last: int | None = None,
) -> Axes:
    """Draw a lane per actor and a bar per stage of every request.

    Parameters
    ----------
    events : iterable of Event
        ``session.events``, or a part of it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.
    last : int, optional
        Draw only the last so many requests, on their own time scale.

    Returns
    -------
    matplotlib.axes.Axes
        The panel; time counts from the first event drawn.

    Raises
    ------
    TypeError, ValueError
        If there is no event, or something else than events was given.
    """
    log = list(events)
    if not all(isinstance(e, Event) for e in log):
        msg = "events must be ringnb events: pass session.events"
        raise TypeError(msg)
    if not log:
        msg = "there is no event to draw yet: take a snapshot first"
        raise ValueError(msg)
    if last is not None:
        log = _last_requests(log, last)
    origin = min(e.t_ns for e in log)
    span_ns = max(e.t_ns for e in log) - origin
    unit_ns, unit = next(
        (u, name)
        for u, name in ((1e9, "s"), (1e6, "ms"), (1e3, "µs"))
        if span_ns >= 2 * u or name == "µs"
    )
    slots = sorted({e.actor_slot for e in log})
    rows = {slot: len(slots) - 1 - i for i, slot in enumerate(slots)}
    ax = make_axes(ax, 9.0, 1.9 + 0.7 * len(slots))
    requests: dict[tuple[int, int], dict[str, int]] = {}
    for e in log:
        if e.request_id is not None:
            requests.setdefault((e.actor_slot, e.request_id), {}).setdefault(e.stage, e.t_ns)
    drawn: dict[str, Any] = {}
    for (slot, _), stages in requests.items():
        for begin, end, label, colour, hatch, height in _BARS:
            if begin in stages and end in stages:
                left = (stages[begin] - origin) / unit_ns
                width = (stages[end] - stages[begin]) / unit_ns
                ax.barh(
                    rows[slot],
                    width,
                    height,
                    left,
                    color=colour,
                    hatch=hatch,
                    edgecolor="white" if hatch else colour,
                    linewidth=0.5,
                )
                drawn.setdefault(
                    label,
                    Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=label),
                )
    for e in log:
        if e.stage in _MARKS:
            marker, colour, label = _MARKS[e.stage]
            offset = {"retired": -0.38, "restored": 0.38}.get(e.stage, 0.0)
            ax.plot(
                (e.t_ns - origin) / unit_ns,
                rows[e.actor_slot] + offset,
                marker,
                color=colour,
                markersize=7,
                markeredgecolor="white",
                markeredgewidth=0.7,
            )
            drawn.setdefault(
                label,
                Line2D([], [], linestyle="", marker=marker, color=colour, label=label),
            )
    ax.set_yticks([rows[s] for s in slots], labels=[f"slot {s}" for s in slots])
    ax.set_ylim(-0.7, len(slots) - 0.3)
    ax.margins(x=0.02)
    ax.set_xlabel(f"time ({unit})")
    ax.set_title(f"{len(requests)} snapshot requests of {len(slots)} actors")
    ax.grid(visible=True, axis="x", alpha=0.3)
    order = [b[2] for b in _BARS] + [m[2] for m in _MARKS.values()]
    handles = [drawn[label] for label in order if label in drawn]
    if handles:
        ax.legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.32), ncols=3, frameon=False
        )
    return ax


def _last_requests(log: list[Event], last: int) -> list[Event]:
    if isinstance(last, bool) or not isinstance(last, int) or last < 1:
        msg = f"last must be a positive integer, got {last!r}"
        raise ValueError(msg)
    ids: list[tuple[int, int | None]] = []
    for e in log:
        key = (e.actor_slot, e.request_id)
        if e.request_id is not None and key not in ids:
            ids.append(key)
    wanted = set(ids[-last:])
    chosen = [e for e in log if (e.actor_slot, e.request_id) in wanted]
    if not chosen:
        return log
    begin = min(e.t_ns for e in chosen)
    return [e for e in log if e in chosen or (e.request_id is None and e.t_ns >= begin)]
