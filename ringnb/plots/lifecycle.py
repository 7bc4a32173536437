"""The lifecycle timeline: what happened to every snapshot request, from the event log."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ringnb._support.text import counted
from ringnb.messages.events import LIFECYCLE, SPANS, Event
from ringnb.plots.style import make_axes

__all__ = ["timeline"]

# A bar reaches from one stage to the next, and looks as the latter says: colour, hatching, height.
_BARS = {
    "requested": ("#c7c7c7", "", 0.24),
    "sent": ("#8fa9c8", "..", 0.32),
    "captured": ("#26456e", "", 0.56),
    "received": ("#d1730f", "//", 0.56),
    "written": ("#5b8c5a", "", 0.44),
    "committed": ("#b8d7a3", "\\\\", 0.44),
}
_OTHER_BAR = ("#9e9e9e", "xx", 0.32)  # for a stage that is not listed
_MARKS = {  # marker and colour
    "committed": ("o", "#2f5d2e"),
    "failed": ("X", "#b2182b"),
    "expired": ("P", "#b2182b"),
    "cancelled": ("s", "#6f6f6f"),
    "retired": ("v", "#6f6f6f"),
    "restored": ("*", "#8c3b6b"),
}
_OTHER_MARK = ("D", "#b2182b")
_MARKED = frozenset(stage.name for stage in LIFECYCLE if stage.outcome)


def timeline(
    events: Iterable[Event],
    *,
    ax: Axes | None = None,
    last: int | None = None,
    aligned: bool = False,
) -> Axes:
    """Draw a row per actor and a bar per stage of every request.

    Parameters
    ----------
    events : iterable of Event
        ``session.events``, or a part of it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.
    last : int, optional
        Draw only the last so many requests, on their own time scale.
    aligned : bool, default False
        Give every request a row of its own that starts with it, to compare how long the stages take.

    Returns
    -------
    matplotlib.axes.Axes
        The panel; time counts from the first event drawn, or from the start of each request.

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
    rows = _rows(log, aligned=aligned)
    if not rows:
        msg = "there is no request to draw yet: take a snapshot first"
        raise ValueError(msg)
    unit_ns, unit = _unit(max(row.span_ns for row in rows))
    own_figure = ax is None
    ax = make_axes(ax, 9.0, 1.9 + (0.4 if aligned else 0.7) * len(rows))
    drawn: dict[str, Artist] = {}
    for y, row in enumerate(reversed(rows)):
        drawn |= _draw_row(ax, y, row, unit_ns)
    ax.set_yticks(range(len(rows)), labels=[row.label for row in reversed(rows)])
    ax.set_ylim(-0.7, len(rows) - 0.3)
    ax.margins(x=0.02)
    ax.set_xlabel(f"time since each request began ({unit})" if aligned else f"time ({unit})")
    requests = sum(len(row.requests) for row in rows)
    actors = len({e.actor_slot for e in log})
    ax.set_title(f"{counted(requests, 'snapshot request')} of {counted(actors, 'actor')}")
    ax.grid(visible=True, axis="x", alpha=0.3)
    order = [span.meaning for span in SPANS] + [s.name for s in LIFECYCLE]
    handles = [drawn[label] for label in order if label in drawn]
    if handles and own_figure:  # below the panel, where the layout makes room for it
        figure = ax.get_figure(root=True)
        assert figure is not None
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    elif handles:
        ax.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.32),
            ncols=3,
            frameon=False,
            fontsize="small",
        )
    return ax


@dataclass(slots=True)
class _Row:
    """A row: its requests, as nanoseconds by stage, and the events that are marked."""

    label: str
    origin_ns: int
    span_ns: int = 0
    requests: list[dict[str, int]] = field(default_factory=list)
    marks: list[Event] = field(default_factory=list)


def _rows(log: list[Event], *, aligned: bool) -> list[_Row]:
    begin = min(e.t_ns for e in log)
    rows: dict[tuple[int, int | None], _Row] = {}
    requests: dict[tuple[int, int], dict[str, int]] = {}
    for e in sorted(log, key=lambda e: e.t_ns):
        if aligned and e.request_id is None:
            continue  # belongs to no request
        key = (e.actor_slot, e.request_id if aligned else None)
        label = f"slot {e.actor_slot}" + (f", request {e.request_id}" if aligned else "")
        row = rows.setdefault(key, _Row(label, e.t_ns if aligned else begin))
        row.span_ns = max(row.span_ns, e.t_ns - row.origin_ns)
        if e.request_id is not None:
            stages = requests.get((e.actor_slot, e.request_id))
            if stages is None:
                stages = requests[(e.actor_slot, e.request_id)] = {}
                row.requests.append(stages)
            stages.setdefault(e.stage, e.t_ns)
        if e.stage in _MARKED:
            row.marks.append(e)
    return list(rows.values()) if aligned else [rows[key] for key in sorted(rows)]


def _unit(span_ns: int) -> tuple[float, str]:
    """Return the unit in which a span has about two digits at least."""
    for unit_ns, name in ((1e9, "s"), (1e6, "ms")):
        if span_ns >= 2 * unit_ns:
            return unit_ns, name
    return 1e3, "µs"


def _draw_row(ax: Axes, y: float, row: _Row, unit_ns: float) -> dict[str, Artist]:
    """Draw a row's bars and marks; return one of each kind for the legend, by label."""
    drawn: dict[str, Artist] = {}
    for stages in row.requests:
        for span in SPANS:
            if span.begin not in stages or span.end not in stages:
                continue
            begin_ns, end_ns = stages[span.begin], stages[span.end]
            colour, hatch, height = _BARS.get(span.end, _OTHER_BAR)
            ax.barh(
                y,
                (end_ns - begin_ns) / unit_ns,
                height,
                (begin_ns - row.origin_ns) / unit_ns,
                color=colour,
                hatch=hatch,
                edgecolor="white" if hatch else colour,
                linewidth=0.5,
            )
            drawn[span.meaning] = Patch(
                facecolor=colour, hatch=hatch, edgecolor="white", label=span.meaning
            )
    for e in row.marks:
        marker, colour = _MARKS.get(e.stage, _OTHER_MARK)
        ax.plot(
            (e.t_ns - row.origin_ns) / unit_ns,
            y + {"retired": -0.38, "restored": 0.38}.get(e.stage, 0.0),
            marker,
            color=colour,
            markersize=10 if marker == "*" else 7,
            markeredgecolor="white",
            markeredgewidth=0.7,
        )
        drawn[e.stage] = Line2D([], [], linestyle="", marker=marker, color=colour, label=e.stage)
    return drawn


def _last_requests(log: list[Event], last: int) -> list[Event]:
    """Return the events of the last requests, and those of no request that came meanwhile."""
    if isinstance(last, bool) or not isinstance(last, int) or last < 1:
        msg = f"last must be a positive integer, got {last!r}"
        raise ValueError(msg)
    ids = dict.fromkeys((e.actor_slot, e.request_id) for e in log if e.request_id is not None)
    wanted = set(list(ids)[-last:])
    begin = min((e.t_ns for e in log if (e.actor_slot, e.request_id) in wanted), default=0)
    return [
        e
        for e in log
        if (e.actor_slot, e.request_id) in wanted or (e.request_id is None and e.t_ns >= begin)
    ]
