"""The newest reported numbers, as curves."""

from __future__ import annotations

from waiting import until

from ringnb.panels.stage.reported import _traits
from ringnb.session.reporter import RecentRows


def test_the_newest_rows_are_plotted_as_they_come(session):
    panel = session.panel("report")
    assert panel.curves.curves == []
    assert session.recent_reported(0) is None
    session.report(5, 0, steps=lambda s: float(s.step), loudest=lambda s: abs(s["pressure"]).max())
    session.run_steps(0, 10)
    checkpoint = session.snapshot(0)
    session.run_steps(0, 10)
    until(lambda: len(session.recent_reported(0).rows) == 5)
    session.restore(0, checkpoint)
    session.run_steps(0, 5)
    until(lambda: [row[0] for row in session.recent_reported(0).rows] == [0, 5, 10, 15])
    until(lambda: panel.curves.words == "4 rows, every 5 steps: step 0 to 15")
    steps, loudest = panel.curves.curves
    assert (steps["name"], steps["newest"], steps["range"]) == ("steps", "15", ["0", "15"])
    assert steps["points"] == [[0, 0], [333, 333], [667, 667], [1000, 1000]]
    assert loudest["name"] == "loudest"


def test_what_is_not_finite_leaves_a_gap_and_long_reports_are_thinned():
    rows = tuple((n, None, (float(n), float("inf") if n % 2 else 1.0)) for n in range(900))
    shown = _traits(RecentRows(1, ("a", "b"), rows))
    a, b = shown["curves"]
    assert len(a["points"]) == 200
    assert a["points"][0] == [0, 0]
    assert a["points"][-1] == [1000, 1000]
    assert {y for _, y in b["points"]} == {0, None}
    assert b["newest"] == "inf"
