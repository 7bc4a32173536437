"""`ringnb course report`: a table of checks from what notebooks show."""

from __future__ import annotations

import json

import pytest

from ringnb.cli import command_line as cli
from ringnb.cli.lab import copy_notebooks, shipped_notebooks

PASSED = {
    "output_type": "execute_result",
    "execution_count": 1,
    "metadata": {},
    "data": {"text/plain": ["Passed: three cuts"]},
}
FAILED = {"output_type": "error", "ename": "CheckFailed", "evalue": "", "traceback": ["Not yet: x"]}


def hand_in(folder, number, outputs, change=""):
    """Put a copy of a lesson there, whose check shows these outputs."""
    (notebook,) = [p for p in shipped_notebooks() if p.name.startswith(number)]
    copy_notebooks([notebook], folder)
    document = json.loads((folder / notebook.name).read_text(encoding="utf-8"))
    for cell in document["cells"]:
        if "course.check_" in "".join(cell["source"]):
            cell["outputs"] = outputs
            cell["source"] = [*cell["source"], change]
    (folder / notebook.name).write_text(json.dumps(document), encoding="utf-8")


def test_a_row_for_each_learner_and_a_column_for_each_check(tmp_path, capsys):
    hand_in(tmp_path / "ada", "02", [PASSED])
    hand_in(tmp_path / "ada" / "lesson5", "05", [FAILED])
    hand_in(tmp_path / "bob" / "first try", "02", [])
    hand_in(tmp_path / "bob" / "second try", "02", [PASSED])
    hand_in(tmp_path / "bob" / "solutions", "06", [PASSED])
    hand_in(tmp_path / "eve", "02", [PASSED], change="\nprint(1)")
    hand_in(tmp_path / "eve", "03", [])
    (tmp_path / "eve" / "notes.ipynb").write_text('{"cells": []}', encoding="utf-8")
    (tmp_path / "eve" / "broken.ipynb").write_text("{", encoding="utf-8")
    assert cli.main(["course", "report", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        "learner,00,01,02,03,04,05,06,07,08,09,11,passed",
        "ada,,,passed,,,failed,,,,,,1",
        "bob,,,passed,,,,,,,,,1",
        "eve,,,changed,not run,,,,,,,,0",
    ]
    assert "broken.ipynb is not a notebook that can be read" in shown.err


def test_the_table_can_go_to_a_file(tmp_path, capsys):
    hand_in(tmp_path / "=SUM(A1)", "00", [PASSED])
    table = tmp_path / "table.csv"
    assert cli.main(["course", "report", str(tmp_path), "--out", str(table)]) == 0
    assert table.read_text().splitlines()[1] == "'=SUM(A1),passed,,,,,,,,,,,1"
    assert "1 learner, 11 checks" in capsys.readouterr().out


def test_notebooks_directly_in_the_directory_belong_to_one_learner(tmp_path, capsys):
    hand_in(tmp_path / "mine", "06", [PASSED])
    assert cli.main(["course", "report", str(tmp_path / "mine")]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "mine,,,,,,,passed,,,,,1"


@pytest.mark.parametrize(
    ("where", "says"), [("", "no notebook of the course"), ("x", "is not a dir")]
)
def test_nothing_to_report_is_said(tmp_path, capsys, where, says):
    assert cli.main(["course", "report", str(tmp_path / where)]) == 1
    assert says in capsys.readouterr().err
