"""Learners' copies of notebooks: the lines between nbgrader's solution markers are taken out.

It reads notebooks as JSON and imports nothing else of ringnb.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["BEGIN", "END", "has_solution", "stub", "stub_source"]

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


def has_solution(text: str) -> bool:
    """Return whether the source of a cell, or the JSON of a notebook, contains a marked solution."""
    return BEGIN in text


def stub_source(source: str) -> str:
    """Replace every solution of a cell, so that the cell still runs.

    Raises `ValueError` if the markers are not in pairs.
    """
    kept: list[str] = []
    inside = False
    for line in source.splitlines():
        marker = line.strip()
        if marker in (BEGIN, END):
            if inside == (marker == BEGIN):
                msg = f"{marker!r} without its partner in the cell {source!r}"
                raise ValueError(msg)
            inside = marker == BEGIN
            if inside:
                indent = line[: len(line) - len(line.lstrip())]
                # A block needs a statement. Elsewhere a comment is enough: a notebook would show
                # a bare ``...`` at the end of a cell as "Ellipsis".
                kept.append(f"{indent}...  # your code here" if indent else "# your code here")
        elif not inside:
            kept.append(line)
    if inside:
        msg = f"{BEGIN!r} without {END!r} in the cell {source!r}"
        raise ValueError(msg)
    return "\n".join(kept)


def stub(notebook: str) -> str:
    """Return a notebook (JSON of nbformat 4) without its solutions; without any, the same text.

    Raises `ValueError` if it is not JSON or the markers are not in pairs.
    """
    if not has_solution(notebook):
        return notebook
    document: dict[str, Any] = json.loads(notebook)
    for cell in document["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and has_solution(source):
            cell["source"] = stub_source(source).splitlines(keepends=True)
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
