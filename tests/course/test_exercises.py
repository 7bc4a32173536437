"""Learners' copies: solutions are taken out, all else stays."""

from __future__ import annotations

import pytest

from ringnb.course.exercises import BEGIN, END, stub, stub_source


def test_a_stub_keeps_all_but_the_solution_and_its_indentation():
    source = f"def f():\n    {BEGIN}\n    x = 1\n    return x\n    {END}\ny = 2"
    assert stub_source(source) == "def f():\n    ...  # your code here\ny = 2"


def test_a_stub_outside_of_a_block_is_a_comment_that_shows_nothing():
    assert stub_source(f"x = ...\n{BEGIN}\nx = 1\n{END}") == "x = ...\n# your code here"


@pytest.mark.parametrize("source", [f"{BEGIN}\n1", f"1\n{END}", f"{BEGIN}\n{BEGIN}\n{END}"])
def test_markers_without_a_partner_are_refused(source):
    with pytest.raises(ValueError, match=r"SOLUTION"):
        stub_source(source)


def test_a_notebook_without_exercises_is_left_alone():
    text = '{"cells": [] }'
    assert stub(text) is text
