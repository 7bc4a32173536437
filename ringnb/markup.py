"""Tables in HTML, for notebooks and panels: one style, escaped, with captions for screen readers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

__all__ = ["facts_table", "rows_table"]

_LEFT = "style='text-align:left'"


def facts_table(caption: str, facts: Mapping[str, object]) -> str:
    """Render names and values, a row each.

    Parameters
    ----------
    caption : str
        What it is about.
    facts : mapping of str to object
        Values are shown as ``str`` gives them, escaped.

    Returns
    -------
    str
        A table element.
    """
    rows = "".join(
        f"<tr><th scope='row' {_LEFT}>{escape(key)}</th><td {_LEFT}>{escape(str(value))}</td></tr>"
        for key, value in facts.items()
    )
    return f"<table><caption>{escape(caption)}</caption><tbody>{rows}</tbody></table>"


def rows_table(
    caption: str,
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    classes: Sequence[str] = (),
) -> str:
    """Render a table with a row of headings; numbers are set to the right.

    Parameters
    ----------
    caption : str
        What it is about.
    header : sequence of str
        One heading per column.
    rows : iterable of sequences
        Values are shown as ``str`` gives them, escaped; integers with separators.
    classes : sequence of str, optional
        CSS classes of the rows, in order.

    Returns
    -------
    str
        A table element.
    """
    head = "".join(f"<th scope='col'>{escape(h)}</th>" for h in header)
    body = ""
    for i, row in enumerate(rows):
        kind = f" class='{escape(classes[i])}'" if i < len(classes) and classes[i] else ""
        body += f"<tr{kind}>{''.join(map(_cell, row))}</tr>"
    return (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _cell(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"<td style='text-align:right'>{value:,}</td>"
    return f"<td {_LEFT}>{escape(str(value))}</td>"
