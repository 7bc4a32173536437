"""Figures of the lessons: what they draw, in which words."""

from __future__ import annotations

import pytest

from ringnb import course


def test_a_filling_disk_is_drawn_in_days_and_gigabytes():
    use = {"all": [10**9, 2 * 10**9, 3 * 10**9], "one": [10**9] * 3}
    figure = course.disk_filling(use, 2 * 10**9, every_s=43200)
    (ax,) = figure.axes
    first, second, limit = ax.lines
    assert first.get_xydata().tolist() == [[0.5, 1], [1, 2], [1.5, 3]]
    assert second.get_linestyle() != first.get_linestyle(), "not by colour alone"
    assert limit.get_ydata() == [2, 2]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["all", "one"]


def test_the_waste_of_each_interval_is_lowest_at_dalys_and_rises_with_the_latency():
    figure = course.waste(60, 14400, latencies=(0, 1800))
    (ax,) = figure.axes
    at_once, late, young, daly = ax.lines
    assert young.get_xdata()[0] == pytest.approx(1314.5, abs=0.1)
    assert daly.get_xdata()[0] == pytest.approx(course.daly(60, 14400))
    lowest = at_once.get_xdata()[at_once.get_ydata().argmin()]
    assert lowest == pytest.approx(course.daly(60, 14400), rel=0.3)  # the valley is flat
    assert (late.get_ydata() > at_once.get_ydata()).all()
    assert "Young: 1,315 s" in [text.get_text() for text in figure.legends[0].get_texts()]
