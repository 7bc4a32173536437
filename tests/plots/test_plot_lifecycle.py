"""The timeline: rows, bars and marks, from the event log."""

from __future__ import annotations

import pytest
from plotted import STAGES, life

import ringnb as rn
from ringnb.messages.events import LIFECYCLE, Event

LABELS = [
    "waiting to be polled",
    "waiting for a staging buffer",
    "in the H2K ring, captured",
    "in the K2H ring",
    "being written",
    "made visible and durable",
    "committed",
]


def bars(ax):
    """Return (row, left, width) of every bar."""
    return [
        (p.get_y() + p.get_height() / 2, round(p.get_x(), 6), round(p.get_width(), 6))
        for p in ax.patches
    ]


def test_a_timeline_has_a_row_per_actor_and_a_bar_per_stage():
    ax = rn.plots.timeline([*life(0, 1, 0), *life(3, 2, 100)])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["slot 3", "slot 0"]
    assert sorted(bars(ax)) == [
        *((0, 100.0 + 2 * i, 2.0) for i in range(6)),
        *((1, 2.0 * i, 2.0) for i in range(6)),
    ]
    assert ax.get_xlabel() == "time (ms)"
    assert ax.get_title() == "2 snapshot requests of 2 actors"
    (legend,) = ax.figure.legends
    assert [t.get_text() for t in legend.get_texts()] == LABELS


def test_a_timeline_can_align_the_requests():
    ax = rn.plots.timeline([*life(0, 1, 0), *life(0, 2, 500), *life(1, 3, 600)], aligned=True)
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert labels == ["slot 1, request 3", "slot 0, request 2", "slot 0, request 1"]
    assert {left for _, left, _ in bars(ax)} == {2.0 * i for i in range(6)}


def test_a_timeline_of_the_last_requests_only():
    log = [*life(0, 1, 0), *life(0, 2, 5000), Event("retired", 0, t_ns=int(1e9 + 5020e6))]
    ax = rn.plots.timeline(log, last=1)
    assert ax.get_title() == "1 snapshot request of 1 actor"
    assert len(ax.patches) == 6
    assert max(left + width for _, left, width in bars(ax)) == 12.0


def test_a_request_that_failed_is_marked_where_it_ended():
    ax = rn.plots.timeline([*life(0, 1, 0, STAGES[:3]), Event("failed", 0, 1, t_ns=int(1.05e9))])
    assert len(ax.patches) == 2
    (mark,) = ax.lines
    assert mark.get_xdata()[0] == 50.0
    assert "failed" in [t.get_text() for t in ax.figure.legends[0].get_texts()]


@pytest.mark.parametrize("stage", [s.name for s in LIFECYCLE if s.outcome])
def test_every_outcome_is_marked_and_named(stage):
    ax = rn.plots.timeline([*life(0, 1, 0, STAGES[:3]), Event(stage, 0, 1, t_ns=int(1.05e9))])
    assert [mark.get_xdata()[0] for mark in ax.lines] == [50.0]
    assert stage in [t.get_text() for t in ax.figure.legends[0].get_texts()]


def test_the_legend_lies_inside_the_picture():
    for actors in (1, 2, 7):
        ax = rn.plots.timeline([e for s in range(actors) for e in life(s, s + 1, 10 * s)])
        figure = ax.figure
        figure.canvas.draw()
        box = figure.legends[0].get_window_extent()
        assert box.y0 >= 0
        assert box.y1 <= ax.get_window_extent().y0
        assert box.x1 <= figure.bbox.x1
