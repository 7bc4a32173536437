"""A report, drawn: the line of the present state, and what was left behind."""

from __future__ import annotations

import numpy as np
import pytest

import ringnb as rn
from ringnb.checkpoint.report import Report, ReportLine, ReportOrigin


def line(number, steps, origin=None, dt=0.5, **values):
    steps = np.array(steps, np.int64)
    return ReportLine(
        *(number, "wave_0", int(steps[0]), 10, "a" * 16, origin, 0),
        *(steps, steps * dt, {n: np.array(v, float) for n, v in values.items()}),
    )


def test_what_lies_beyond_a_restored_step_is_dashed_and_begins_where_it_left():
    report = Report(
        [
            line(1, [0, 10, 20, 30], energy=[4, 3, 2, 1]),
            line(2, [10, 20], ReportOrigin(10, 1), energy=[3, 5]),
        ]
    )
    ax = rn.plots.report(report)
    solid, dashed = ax.lines
    assert solid.get_xdata().tolist() == [0, 5, 10]
    assert solid.get_ydata().tolist() == [4, 3, 5]
    assert dashed.get_ydata().tolist() == [3, 2, 1]
    assert dashed.get_linestyle() == "--"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "energy",
        "beyond a restored step",
    ]
    assert ax.get_xlabel() == "simulated time (s)"
    assert ax.get_ylabel() == "energy"
    assert ax.get_title() == "wave_0: every 10 steps, 3 rows"


@pytest.mark.parametrize("dt", [np.nan, 1.0])
def test_a_report_without_time_or_in_units_of_its_own_is_drawn_over_the_step(dt):
    begun = line(1, [0], dt=0.5, a=[1])
    assert rn.plots.report(Report([begun])).get_xlabel() == "simulated time (s)"
    report = Report([line(1, [0, 10], dt=dt, a=[1, 2], b=[3, 4], c=[5, 6])])
    ax = rn.plots.report(report, ["b", "a"])
    assert [one.get_label() for one in ax.lines] == ["b", "a"]
    assert ax.lines[0].get_xdata().tolist() == [0, 10]
    assert ax.get_xlabel() == "step"
    with pytest.raises(KeyError, match=r"no 'd'.*\['a', 'b', 'c'\]"):
        rn.plots.report(report, "d")
    with pytest.raises(ValueError, match="one to 5 numbers"):
        rn.plots.report(report, [])
    with pytest.raises(TypeError, match=r"session\.reported"):
        rn.plots.report("waves.zarr")
