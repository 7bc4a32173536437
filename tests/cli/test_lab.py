"""`ringnb lab`: copies of the notebooks, with or without solutions, and JupyterLab on them."""

from __future__ import annotations

import pytest

from ringnb.cli import command_line as cli
from ringnb.cli import lab


def test_lab_without_jupyterlab_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(lab.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["lab"]) == 1
    err = capsys.readouterr().err
    assert err == "ringnb: JupyterLab is not installed: pip install 'ringnb[lab]'\n"


class FakeJupyter:
    def __init__(self, command):
        type(self).command = command
        self.interrupts = 1

    def wait(self):
        if self.interrupts:
            self.interrupts -= 1
            raise KeyboardInterrupt
        return 3


@pytest.fixture
def fake_jupyter(monkeypatch):
    monkeypatch.setattr(lab.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(lab.subprocess, "Popen", FakeJupyter)
    return FakeJupyter


def test_lab_starts_on_copies_and_keeps_edited_ones(fake_jupyter, tmp_path, monkeypatch, capsys):
    shipped = [tmp_path / "shipped" / f"0{i}.ipynb" for i in range(2)]
    shipped[0].parent.mkdir()
    for path in shipped:
        path.write_text("{}")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "00.ipynb").write_text("edited")
    monkeypatch.setattr(lab, "shipped_notebooks", lambda: shipped)
    status = cli.main(["lab", "--dir", str(tmp_path / "mine"), "--", "--no-browser"])
    assert status == 3, "JupyterLab's own status, after the Ctrl-C that it handled"
    assert fake_jupyter.command[1:4] == ["-m", "jupyterlab", "--no-browser"]
    assert fake_jupyter.command[-1] == str(tmp_path / "mine" / "00.ipynb"), "it opens the first"
    assert (tmp_path / "mine" / "00.ipynb").read_text() == "edited"
    assert (tmp_path / "mine" / "01.ipynb").read_text() == "{}"
    assert "1 notebook copied" in capsys.readouterr().out


def test_lab_gives_learners_stubs_and_solutions_on_request(fake_jupyter, tmp_path, capsys):
    mine = tmp_path / "mine"
    cli.main(["lab", "--dir", str(mine)])
    shipped = lab.shipped_notebooks()
    with_exercise = [p for p in shipped if "### BEGIN SOLUTION" in p.read_text(encoding="utf-8")]
    assert len(with_exercise) >= 7
    for path in shipped:
        copy = (mine / path.name).read_text(encoding="utf-8")
        assert "SOLUTION" not in copy
        assert ("# your code here" in copy) == (path in with_exercise)
        if path not in with_exercise:
            assert copy == path.read_text(encoding="utf-8")
    assert not (mine / "solutions").exists()
    cli.main(["lab", "--dir", str(mine), "--solutions"])
    assert sorted(p.name for p in (mine / "solutions").iterdir()) == [p.name for p in with_exercise]
    for path in with_exercise:
        assert (mine / "solutions" / path.name).read_bytes() == path.read_bytes()
        assert "SOLUTION" not in (mine / path.name).read_text(encoding="utf-8")
    assert f"{len(with_exercise)} notebooks with solutions copied" in capsys.readouterr().out


@pytest.mark.parametrize("installed", [True, False])
def test_lab_names_what_lesson_8_needs(fake_jupyter, tmp_path, monkeypatch, capsys, installed):
    spec = {"numba_cuda": object() if installed else None, "jupyterlab": object()}
    monkeypatch.setattr(lab.importlib.util, "find_spec", spec.__getitem__)
    cli.main(["lab", "--dir", str(tmp_path / "mine")])
    out = capsys.readouterr().out
    assert ("pip install 'numba-cuda>=0.30,<0.31'" in out) == (not installed)


def test_lab_without_notebooks_says_so(fake_jupyter, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lab, "shipped_notebooks", list)
    cli.main(["lab"])
    assert "without the notebooks" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
