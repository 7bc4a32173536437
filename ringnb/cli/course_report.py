"""`ringnb course report`: which checks each learner has passed, as CSV.

It reads what the notebooks that were handed in show, and runs nothing: a check cell that was changed
counts as ``changed``.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ringnb._support.text import counted, say
from ringnb.cli.lab import shipped_notebooks
from ringnb.errors import RingnbError

__all__ = ["report"]

_CHECK = re.compile(r"\bcourse\.check_(\d\d)\(")
_RANK = ("", "not run", "changed", "failed", "passed")  # of several copies the best one counts
_NOT_HANDED_IN = {".ipynb_checkpoints", "solutions"}


class NothingToReport(RingnbError):
    """There is no notebook of the course in the directory."""


def report(folder: str, out: str | None = None) -> int:
    """Print the table of a directory, or write it to a file; return the exit status.

    The directory holds one directory for each learner, at any depth below which the notebooks lie, as
    nbgrader's ``submitted`` does. Notebooks directly in it belong to a learner of the directory's name.
    """
    root = Path(folder)
    if not root.is_dir():
        msg = f"{folder!r} is not a directory: give the one that holds a directory for each learner"
        raise NothingToReport(msg)
    wanted = {number: check for path in shipped_notebooks() for number, check, _ in _checks(path)}
    table: dict[str, dict[str, str]] = {}
    for path in sorted(root.rglob("*.ipynb")):
        parts = path.relative_to(root).parts
        if _NOT_HANDED_IN & set(parts):
            continue
        learner = parts[0] if len(parts) > 1 else root.resolve().name
        try:
            found = list(_checks(path))
        except (ValueError, KeyError, TypeError, OSError) as error:
            sys.stderr.write(f"ringnb: {path} is not a notebook that can be read: {error}\n")
            continue
        for number, source, outputs in found:
            if number not in wanted:
                continue
            status = _status(outputs) if source == wanted[number] else "changed"
            row = table.setdefault(learner, {})
            row[number] = max(row.get(number, ""), status, key=_RANK.index)
    if not table:
        msg = f"no notebook of the course lies in {folder!r}, or in a directory below it"
        raise NothingToReport(msg)
    text = _as_csv(table, sorted(wanted))
    if out is None:
        say(text.rstrip("\n"))
    else:
        Path(out).write_text(text, encoding="utf-8", newline="")
        say(f"{out}: {counted(len(table), 'learner')}, {counted(len(wanted), 'check')}")
    return 0


def _checks(path: Path) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """Yield number, source and outputs of the check cells of a notebook."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] == "code" and (match := _CHECK.search(source)):
            yield match[1], source, cell["outputs"]


def _status(outputs: list[dict[str, Any]]) -> str:
    """Return what the outputs of an unchanged check say."""
    if any(output["output_type"] == "error" for output in outputs):
        return "failed"
    shown = ["".join(o.get("data", {}).get("text/plain", "")) for o in outputs]
    return "passed" if any(text.startswith("Passed: ") for text in shown) else "not run"


def _as_csv(table: dict[str, dict[str, str]], numbers: list[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["learner", *numbers, "passed"])
    for learner, row in table.items():
        passed = sum(status == "passed" for status in row.values())
        writer.writerow([_plain(learner), *(row.get(n, "") for n in numbers), passed])
    return text.getvalue()


def _plain(learner: str) -> str:
    """Keep a spreadsheet from taking a directory's name for a formula."""
    return f"'{learner}" if learner[:1] in "=+-@" else learner
