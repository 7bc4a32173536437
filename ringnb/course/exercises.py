"""Learners' copies of notebooks: what stands between nbgrader's solution markers is taken out.

It reads notebooks as JSON and imports nothing of ringnb.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["BEGIN", "END", "has_solution", "stub", "stub_source"]

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


def has_solution(text: str) -> bool:
    """Return whether a notebook, or a cell, holds a marked solution.

    Parameters
    ----------
    text : str
        Its source, or the notebook's JSON.

    Returns
    -------
    bool
        Whether the marker is there.
    """
    return BEGIN in text


def stub_source(source: str) -> str:
    """Replace every solution of a cell by ``...``, outside of a block by a comment alone.

    Parameters
    ----------
    source : str
        The cell.

    Returns
    -------
    str
        A cell that still runs.

    Raises
    ------
    ValueError
        If the markers do not come in pairs.
    """
    kept: list[str] = []
    inside = False
    for line in source.splitlines():
        marker = line.strip()
        if marker in (BEGIN, END):
            if inside == (marker == BEGIN):
                msg = f"markers do not come in pairs at {marker!r} in the cell {source!r}"
                raise ValueError(msg)
            inside = marker == BEGIN
            if inside:
                indent = line[: len(line) - len(line.lstrip())]
                # A notebook would show a bare ``...`` at the end of a cell as "Ellipsis".
                kept.append(f"{indent}...  # your code here" if indent else "# your code here")
        elif not inside:
            kept.append(line)
    if inside:
        msg = f"{BEGIN!r} without {END!r} in the cell {source!r}"
        raise ValueError(msg)
    return "\n".join(kept)


def stub(notebook: str) -> str:
    """Return a notebook without its solutions.

    Parameters
    ----------
    notebook : str
        JSON of nbformat 4.

    Returns
    -------
    str
        The same, byte for byte, if it holds none.

    Raises
    ------
    ValueError
        If it is no JSON, or markers do not come in pairs.
    """
    if not has_solution(notebook):
        return notebook
    document: dict[str, Any] = json.loads(notebook)
    for cell in document["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and has_solution(source):
            cell["source"] = stub_source(source).splitlines(keepends=True)
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
