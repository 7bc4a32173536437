"""Every notebook runs to its end; a lesson has its sections, and an exercise that can be solved."""

from __future__ import annotations

import ast
import math
import re

import nbformat
import numpy as np
import pytest
from lessons import LESSONS, NOTEBOOKS, execute, exercise, lesson, made_up_sweep
from nbclient.exceptions import CellExecutionError

import ringnb as rn
from ringnb import course
from ringnb.course.exercises import stub, stub_source

HEADINGS = [
    "## Goal",
    "## Predict",
    "## Run",
    "## Change one thing",
    "## Check",
    "## What this does not protect you from",
]

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
after_the_quick_start = pytest.mark.parametrize("path", LESSONS[1:], ids=lambda p: p.stem)


def test_there_are_a_quick_start_and_ten_lessons():
    assert [p.name[:2] for p in LESSONS] == [*(f"0{n}" for n in range(10)), "11"]


# -- how they are kept -------------------------------------------------------------------------------


@each_notebook
def test_a_notebook_is_kept_without_outputs_and_with_short_cells(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
            assert len(cell.source.splitlines()) <= 10


@each_notebook
def test_a_notebook_uses_names_that_exist(path):
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    for node in (node for cell in cells for node in ast.walk(ast.parse(cell.source))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(ast.unparse(node), {})
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "course":
            assert node.attr in course.__all__


@each_lesson
def test_graders_find_exercise_and_check_by_their_metadata(path):
    cells = nbformat.read(path, as_version=4).cells
    marked = {c.metadata.nbgrader.grade_id: c for c in cells if "nbgrader" in c.metadata}
    assert list(marked) == [f"exercise-{path.name[:2]}", f"check-{path.name[:2]}"]
    task, check = marked.values()
    assert (task.source, check.source) == exercise(nbformat.read(path, as_version=4))
    assert (task.metadata.nbgrader.solution, task.metadata.nbgrader.grade) == (True, False)
    assert (check.metadata.nbgrader.locked, check.metadata.nbgrader.points) == (True, 1)
    assert (task.metadata.tags, check.metadata.tags) == (["exercise"], ["check"])


@each_lesson
def test_a_lesson_is_cut_into_slides_that_give_no_solution(path):
    for cell in nbformat.read(path, as_version=4).cells:
        kind = cell.metadata.slideshow.slide_type
        if cell.cell_type == "markdown":
            assert (kind == "slide") == any(line[:1] == "#" for line in cell.source.splitlines())
        elif "SOLUTION" in cell.source or "course.check_" in cell.source:
            assert kind == "skip"


@each_lesson
def test_a_lesson_says_how_long_it_takes(path):
    first = nbformat.read(path, as_version=4).cells[0].source
    (minutes,) = re.findall(r"^\*\*Time\.\*\* (\d+) minutes", first, re.MULTILINE)
    assert int(minutes) <= 60


@each_lesson
def test_a_lesson_begins_with_a_prediction(path):
    cells = nbformat.read(path, as_version=4).cells
    cards = [i for i, c in enumerate(cells) if "course.predict(" in c.source]
    assert cards
    assert cards[-1] < next(i for i, c in enumerate(cells) if "course.check_" in c.source) / 2


@after_the_quick_start
def test_a_lesson_has_the_sections_of_all_lessons(path):
    notebook = nbformat.read(path, as_version=4)
    prose = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown").splitlines()
    assert [line for line in prose if line.startswith("## ")] == HEADINGS
    assert sum(line.startswith("# ") for line in prose) == 1


@after_the_quick_start
def test_a_lesson_ends_by_closing_what_it_opened(path):
    last = nbformat.read(path, as_version=4).cells[-1].source
    assert ".close()" in last
    assert "scratch.cleanup()" in last


# -- their exercises ---------------------------------------------------------------------------------


def solve(task, check):
    """Run both cells as the notebook would, with what they need imported."""
    names = {"rn": rn, "np": np, "math": math, "course": course, "keep": rn.retention}
    names["sweep"] = made_up_sweep()
    exec(task, names)
    return eval(check, names)


@each_lesson
def test_the_solution_passes_and_the_stub_fails_with_a_hint(path):
    task, check = exercise(nbformat.read(path, as_version=4))
    *_, last = ast.parse(stub_source(task)).body
    assert not isinstance(last, ast.Expr), "a notebook would show its value"
    assert isinstance(solve(task, check), course.Passed)
    with pytest.raises(course.CheckFailed, match=r"(?s)Not yet: .+\nHint: ."):
        solve(stub_source(task), check)


@pytest.mark.filterwarnings("default")  # those of Jupyter's own parts are not ours
def test_a_learner_who_runs_the_stub_is_stopped_at_the_check(tmp_path):
    text = LESSONS[6].read_text(encoding="utf-8")
    notebook = nbformat.reads(stub(text), as_version=4)
    nbformat.validate(notebook)
    with pytest.raises(CellExecutionError) as failure:
        execute(notebook, tmp_path)
    assert failure.value.ename == "CheckFailed"
    (output,) = [
        o for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "error"
    ]
    assert [line.split(":")[0] for line in output.traceback] == ["Not yet", "Hint"]


# -- they run ----------------------------------------------------------------------------------------


def _marked(path):
    fast = path.name == "00_quickstart.ipynb"
    return pytest.param(path, id=path.stem, marks=[] if fast else [pytest.mark.slow])


@pytest.fixture
def own_hosts(tmp_path, monkeypatch):
    """Keep the hosts of a notebook to this test, and end those that one which has failed leaves."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield
    for host in rn.cluster.hosts():
        rn.cluster.stop(host.address)


@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("own_hosts")
@pytest.mark.parametrize("path", [_marked(path) for path in NOTEBOOKS])
def test_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    notebook = nbformat.read(path, as_version=4)
    again = path.name[:2] in ("01", "09")
    if again:  # as a learner may
        *cells, last = notebook.cells
        codes = [c for c in cells if c.cell_type == "code"]
        twice = [each for c in codes for each in (c, nbformat.v4.new_code_cell(c.source))]
        notebook.cells = [*twice, last]
    execute(notebook, tmp_path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            said = [o.text for o in cell.outputs if o.get("name") == "stderr"]
            lines = [line for text in said for line in text.splitlines()]
            assert [line for line in lines if not (again and "starts a new run" in line)] == []


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_background_thread_that_dies_makes_the_notebook_fail(tmp_path):
    notebook = lesson(6)
    opens = next(i for i, c in enumerate(notebook.cells) if "session = rn.Session(" in c.source)
    opened, last = notebook.cells[: opens + 1], notebook.cells[-1]
    sabotage = nbformat.v4.new_code_cell(
        "import time\n"
        "def broken(**_):\n    raise ZeroDivisionError('in the background')\n"
        "session.manager.poll_due_snapshots = broken\n"
        "session.manager.reconfigure(enabled=True, interval=0.01)\n"
        "time.sleep(1)"
    )
    notebook.cells = [*opened, sabotage, last]
    with pytest.raises(CellExecutionError, match="in the background") as failure:
        execute(notebook, tmp_path)
    assert failure.value.ename == "ZeroDivisionError"
    assert last.outputs[-1].output_type == "error", "the closing cell is the one that failed"
