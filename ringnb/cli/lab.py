"""`ringnb lab`: copy the notebooks to where they can be edited, and start JupyterLab on them.

The notebooks that are shipped hold the solutions of their exercises. Learners get copies without.

The command line calls it. JupyterLab runs as a process of its own; none of it is imported here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ringnb._support.text import counted, say
from ringnb.course.exercises import has_solution, stub
from ringnb.errors import RingnbError

__all__ = ["LabUnavailable", "copy_notebooks", "run", "shipped_notebooks"]


class LabUnavailable(RingnbError):
    """JupyterLab is not installed."""


def shipped_notebooks() -> list[Path]:
    """Return the notebooks that came with ringnb, in order; none if it came without them."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if found := sorted(folder.glob("*.ipynb")):
            return found
    return []


def copy_notebooks(notebooks: Sequence[Path], folder: Path, *, solutions: bool = False) -> int:
    """Copy notebooks, but never over one that is there already; return how many were copied.

    The solutions of exercises are taken out. With `solutions` only notebooks with exercises are
    copied, as they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copied = 0
    for notebook in notebooks:
        target = folder / notebook.name
        if target.exists():  # a learner's own work is worth more than a fresh copy
            continue
        text = notebook.read_text(encoding="utf-8")
        if solutions and not has_solution(text):
            continue
        target.write_text(text if solutions else stub(text), encoding="utf-8")
        copied += 1
    return copied


def run(folder: str, arguments: Sequence[str] = (), *, solutions: bool = False) -> int:
    """Copy the notebooks to `folder`, open the first one in JupyterLab, return JupyterLab's status.

    With `solutions` the notebooks with the exercises solved go to the sub-directory ``solutions``
    as well.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        msg = "JupyterLab is not installed: pip install 'ringnb[lab]'"
        raise LabUnavailable(msg)
    notebooks = shipped_notebooks()
    start_in = Path(folder) if notebooks else Path()
    if notebooks:
        copied = copy_notebooks(notebooks, start_in)
        kept = len(notebooks) - copied
        say(
            f"{counted(copied, 'notebook')} copied to {start_in}"
            + (f", {kept} already there kept" if kept else "")
        )
        if solutions:
            copied = copy_notebooks(notebooks, start_in / "solutions", solutions=True)
            say(f"{counted(copied, 'notebook')} with solutions copied to {start_in / 'solutions'}")
    else:
        say(
            "This installation came without the notebooks (they are in ringnb's source "
            "repository, in notebooks/): JupyterLab starts in the current directory"
        )
    first = start_in / notebooks[0].name if notebooks else start_in
    if importlib.util.find_spec("numba_cuda") is None:
        say(
            "Lesson 8 needs one more package; the others do not: pip install 'numba-cuda>=0.30,<0.31'"
        )
    command = [sys.executable, "-m", "jupyterlab", *arguments, str(first.resolve())]
    process = subprocess.Popen(command)  # noqa: S603 - our own interpreter, no shell
    while True:
        # Ctrl-C reaches JupyterLab as well, which asks and decides: wait for what it does.
        with contextlib.suppress(KeyboardInterrupt):
            return process.wait()
