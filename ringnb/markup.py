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
    """Render a table with a row of headings; numbers, and the headings above, are set to the right.

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
    rows = list(rows)
    first = rows[0] if rows else [""] * len(header)
    head = "".join(
        f"<th scope='col' {_side(value)}>{escape(name)}</th>"
        for name, value in zip(header, first, strict=True)
    )
    body = ""
    for i, row in enumerate(rows):
        kind = f" class='{escape(classes[i])}'" if i < len(classes) and classes[i] else ""
        body += f"<tr{kind}>{''.join(map(_cell, row))}</tr>"
    return (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _side(value: object) -> str:
    return "style='text-align:right'" if _is_number(value) else _LEFT


def _cell(value: object) -> str:
    text = f"{value:,}" if _is_number(value) else escape(str(value))
    return f"<td {_side(value)}>{text}</td>"
