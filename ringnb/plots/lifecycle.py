"""The lifecycle timeline: what happened to every snapshot request, from the event log."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ringnb._support.text import counted
from ringnb.messages.events import SPANS, Event
from ringnb.plots.style import make_axes

__all__ = ["timeline"]

# A bar reaches from one stage to the next. Colour, hatching and height tell bars apart.
_BARS = {
    "requested": ("#c7c7c7", "", 0.24),
    "sent": ("#8fa9c8", "..", 0.32),
    "captured": ("#26456e", "", 0.56),
    "received": ("#d1730f", "//", 0.56),
    "written": ("#5b8c5a", "", 0.44),
    "committed": ("#b8d7a3", "\\\\", 0.44),
}
_OTHER_BAR = ("#9e9e9e", "xx", 0.32)  # of a stage that has no style here
_MARKS = {
    "committed": ("o", "#2f5d2e"),
    "failed": ("X", "#b2182b"),
    "expired": ("P", "#b2182b"),
    "cancelled": ("s", "#6f6f6f"),
    "retired": ("v", "#6f6f6f"),
    "restored": ("*", "#8c3b6b"),
}


def timeline(
    events: Iterable[Event],
    *,
    ax: Axes | None = None,
    last: int | None = None,
    aligned: bool = False,
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
    aligned : bool, default False
        Give every request a lane of its own that starts with it, to compare how long the stages take.

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
    lanes = _lanes(log, aligned=aligned)
    if not lanes:
        msg = "there is no request to draw yet: take a snapshot first"
        raise ValueError(msg)
    unit_ns, unit = _unit(max(lane.span_ns for lane in lanes))
    own = ax is None
    ax = make_axes(ax, 9.0, 1.9 + (0.4 if aligned else 0.7) * len(lanes))
    drawn: dict[str, Artist] = {}
    for row, lane in enumerate(reversed(lanes)):
        for stages in lane.requests:
            _draw_bars(ax, row, stages, lane.origin_ns, unit_ns, drawn)
        for e in lane.marks:
            _draw_mark(ax, row, e, lane.origin_ns, unit_ns, drawn)
    ax.set_yticks(range(len(lanes)), labels=[lane.label for lane in reversed(lanes)])
    ax.set_ylim(-0.7, len(lanes) - 0.3)
    ax.margins(x=0.02)
    ax.set_xlabel(f"time since each request came up ({unit})" if aligned else f"time ({unit})")
    requests = sum(len(lane.requests) for lane in lanes)
    actors = len({e.actor_slot for e in log})
    ax.set_title(f"{counted(requests, 'snapshot request')} of {counted(actors, 'actor')}")
    ax.grid(visible=True, axis="x", alpha=0.3)
    order = [span.meaning for span in SPANS] + list(_MARKS)
    handles = [drawn[label] for label in order if label in drawn]
    if handles and own:  # below the panel, where the layout makes room for it
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
class _Lane:
    """One row: its requests (stage to nanoseconds) and the events that are marked."""

    label: str
    origin_ns: int
    span_ns: int = 0
    requests: list[dict[str, int]] = field(default_factory=list)
    marks: list[Event] = field(default_factory=list)


def _lanes(log: list[Event], *, aligned: bool) -> list[_Lane]:
    begin = min(e.t_ns for e in log)
    lanes: dict[tuple[int, int | None], _Lane] = {}
    requests: dict[tuple[int, int], dict[str, int]] = {}
    for e in sorted(log, key=lambda e: e.t_ns):
        if aligned and e.request_id is None:
            continue  # belongs to no request
        key = (e.actor_slot, e.request_id if aligned else None)
        label = f"slot {e.actor_slot}" + (f", request {e.request_id}" if aligned else "")
        lane = lanes.setdefault(key, _Lane(label, e.t_ns if aligned else begin))
        lane.span_ns = max(lane.span_ns, e.t_ns - lane.origin_ns)
        if e.request_id is not None:
            stages = requests.get((e.actor_slot, e.request_id))
            if stages is None:
                stages = requests[(e.actor_slot, e.request_id)] = {}
                lane.requests.append(stages)
            stages.setdefault(e.stage, e.t_ns)
        if e.stage in _MARKS:
            lane.marks.append(e)
    return list(lanes.values()) if aligned else [lanes[key] for key in sorted(lanes)]


def _unit(span_ns: int) -> tuple[float, str]:
    """Return the unit in which a span has at least two digits or so."""
    for unit_ns, name in ((1e9, "s"), (1e6, "ms")):
        if span_ns >= 2 * unit_ns:
            return unit_ns, name
    return 1e3, "µs"


def _draw_bars(
    ax: Axes,
    row: int,
    stages: dict[str, int],
    origin_ns: int,
    unit_ns: float,
    drawn: dict[str, Artist],
) -> None:
    for begin, end, _, label in SPANS:
        if begin not in stages or end not in stages:
            continue
        colour, hatch, height = _BARS.get(end, _OTHER_BAR)
        ax.barh(
            row,
            (stages[end] - stages[begin]) / unit_ns,
            height,
            (stages[begin] - origin_ns) / unit_ns,
            color=colour,
            hatch=hatch,
            edgecolor="white" if hatch else colour,
            linewidth=0.5,
        )
        drawn.setdefault(
            label, Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=label)
        )


def _draw_mark(
    ax: Axes, row: int, e: Event, origin_ns: int, unit_ns: float, drawn: dict[str, Artist]
) -> None:
    marker, colour = _MARKS[e.stage]
    ax.plot(
        (e.t_ns - origin_ns) / unit_ns,
        row + {"retired": -0.38, "restored": 0.38}.get(e.stage, 0.0),
        marker,
        color=colour,
        markersize=10 if marker == "*" else 7,
        markeredgecolor="white",
        markeredgewidth=0.7,
    )
    drawn.setdefault(
        e.stage, Line2D([], [], linestyle="", marker=marker, color=colour, label=e.stage)
    )


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
