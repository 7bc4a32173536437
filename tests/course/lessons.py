"""What the tests of several lessons share: the notebooks, their exercises, and wrong answers."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

from ringnb import course
from ringnb.course.exercises import BEGIN, has_solution

NOTEBOOKS = sorted(Path(__file__).parents[2].joinpath("notebooks").glob("*.ipynb"))
# And the quick start, 00. The others have no exercise.
LESSONS = [path for path in NOTEBOOKS if has_solution(path.read_text(encoding="utf-8"))]


def lesson(number):
    """Read the notebook of a lesson."""
    (path,) = [path for path in LESSONS if path.name.startswith(f"{number:02}")]
    return nbformat.read(path, as_version=4)


def execute(notebook, folder):
    """Run all cells, in a directory; what they print and show is then in the notebook."""
    # Over sockets in files: of a port that is free now, another process may be faster.
    with tempfile.TemporaryDirectory() as sockets:
        own = {"transport": "ipc", "connection_file": f"{sockets}/kernel.json"}
        NotebookClient(
            notebook,
            timeout=120,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            config=Config({"KernelManager": own}),
        ).execute()


def exercise(notebook):
    """Return the cell to complete and the cell that checks it."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    (task,) = [source for source in cells if BEGIN in source]
    (check,) = [source for source in cells if "course.check_" in source]
    return task, check


def made_up_sweep(best=0.1, cost=0.01, mtbf=0.5):
    """Return a sweep whose valley is at `best`, for testing the check."""
    trials = []
    for factor in (0.25, 0.5, 1.0, 2.0, 4.0):
        wasted = 0.2 + 0.05 * math.log2(factor) ** 2
        trials.append(course.Trial(best * factor, 1.0, 1 - wasted, (cost,), 7))
    return course.Sweep(tuple(trials), mtbf)


def refuse(check, *answer, fact, hint=""):
    """Assert that a check refuses an answer, says this fact, and gives a hint."""
    with pytest.raises(course.CheckFailed) as failure:
        check(*answer)
    assert fact in str(failure.value)
    assert failure.value.hint
    assert hint in failure.value.hint
