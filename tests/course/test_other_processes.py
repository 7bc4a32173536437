"""What the workshop about other processes calls, where the notebook's own run does not show it."""

from __future__ import annotations

import sys

import processes
import pytest

import ringnb as rn
from ringnb import course


def without_the_extra():
    for name in [name for name in sys.modules if name.startswith("ringnb.cluster")]:
        del sys.modules[name]
    vars(rn).pop("cluster", None)
    sys.modules["distributed"] = None
    try:
        course.need_cluster()
    except rn.RingnbError as error:
        return error._render_traceback_()


def test_without_the_extra_one_line_says_what_to_install_and_that_nothing_ran():
    (line,) = processes.elsewhere(without_the_extra)
    assert "pip install 'ringnb[cluster]'" in line
    assert line.endswith("no cell below can run, and what the text says of them is not seen")
    assert course.need_cluster() is rn.cluster


@pytest.mark.slow
def test_another_notebook_runs_cells_says_what_one_raises_and_is_killed():
    other = course.OtherNotebook()
    assert other.run("import os\nprint(os.getpid())\n1 + 1").isdigit()
    with pytest.raises(rn.RingnbError, match="ZeroDivisionError: division by zero"):
        other.run("1 / 0")
    assert other.kill() == -9
    assert other.kill() == -9
