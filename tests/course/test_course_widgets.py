"""Cards and panels of the lessons, with widgets and without."""

from __future__ import annotations

import sys

import pytest

from ringnb import course
from ringnb._support import panel_opener


def test_a_card_reveals_what_the_lesson_has_measured_since():
    pytest.importorskip("anywidget")
    card = course.predict("How many?", lambda: measured, unit="files")  # noqa: F821 - not yet
    card.prediction = 12.0
    card.reveal()
    assert "nothing is measured yet" in card.line.board.messages[-1]["text"]
    card = course.predict("How many?", lambda: 11, unit="files")
    card.prediction = 12.0
    card.reveal()
    assert "11 files" in card.result.answer
    card = course.predict("How long?", lambda: 138.00704, unit="ms")
    card.prediction = 12.0
    card.reveal()
    assert "measured: 138 ms." in card.result.answer


def test_lessons_do_without_widgets(monkeypatch, wave):
    monkeypatch.setitem(sys.modules, "ringnb.panels", None)
    panel_opener._installed.cache_clear()  # another test may have opened panels
    assert repr(course.predict("Which?", lambda: 1, options=["a", "b"])) == "Which? (a / b)"
    assert "No panel here" in repr(course.panel(wave, "actor"))
