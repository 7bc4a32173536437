"""Words and tables: lines on standard output, sizes for people, tables for terminals and in HTML.

HTML is escaped, and every table has a caption for screen readers.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from html import escape

__all__ = [
    "counted",
    "facts_table",
    "format_bytes",
    "format_table",
    "name_actors",
    "one_line",
    "quote_names",
    "rows_table",
    "said_by",
    "say",
    "shorten",
]


_MOST_QUOTED = 10
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
# As errors of the API name an actor, and as panels do.
_NAMES = (
    (re.compile(r"\bactor ('[^']+') (?:\(slot (\d+)\)|in slot (\d+))"), r"actor \2\3 (\1)"),
    (re.compile(r"\bregistered in slot (\d)"), r"registered as actor \1"),
    (re.compile(r"\bslot(s?) (\d)"), r"actor\1 \2"),
)


def say(line: str = "") -> None:
    """Write one line to standard output, and flush it so that a pipe sees it at once."""
    stream = sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    # A terminal of another encoding shows a question mark instead of ending the command.
    stream.write(line.encode(encoding, "replace").decode(encoding) + "\n")
    stream.flush()


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun, such as ``"1 checkpoint"`` or ``"2 checkpoints"``."""
    return f"{n:,} {noun if n == 1 else plural or f'{noun}s'}"


def shorten(text: str, width: int) -> str:
    """Return a text that is at most so wide: what is in the middle gives way to an ellipsis."""
    if len(text) <= width:
        return text
    head = width // 2
    return f"{text[:head]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - (width - head - 1) :]}"


def one_line(error: BaseException) -> str:
    """Return what an exception says, in one line."""
    return " ".join(str(error).split())


def name_actors(text: str) -> str:
    """Return a text of the API in the words of the panels, where an actor's slot is its number.

    For what an exception or an event says only: elsewhere "slot 3" may be a word of the user's.
    """
    for api, ours in _NAMES:
        text = api.sub(ours, text)
    return text


def said_by(error: BaseException) -> str:
    """Return what an exception says, in the words of the panels; of one that is silent its type."""
    return name_actors(str(error)) or type(error).__name__


def quote_names(names: Sequence[str]) -> str:
    """Return names for a sentence: the first ten quoted, and how many more there are."""
    more = len(names) - _MOST_QUOTED
    return ", ".join(map(repr, names[:_MOST_QUOTED])) + (f" and {more} more" if more > 0 else "")


def format_bytes(nbytes: int) -> str:
    """Return a size such as ``"512 B"`` or ``"1.5 MiB"``; units are powers of 1024."""
    if nbytes < 1024:
        return f"{nbytes} B"
    size = float(nbytes)
    unit = "B"
    for larger in _UNITS:
        if size < 1023.95:  # 1023.96 KiB would print as 1024.0 KiB
            break
        size, unit = size / 1024, larger
    return f"{size:.1f} {unit}"


def format_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()
) -> list[str]:
    """Align rows under their header; `right` names the columns that are aligned to the right."""
    cells = [list(header), *(list(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for cell, width, name in zip(line, widths, header, strict=True)
        ).rstrip()
        for line in cells
    ]


_LEFT = "style='text-align:left'"


def facts_table(caption: str, facts: Mapping[str, object]) -> str:
    """Render names and values, a row each; values as ``str`` gives them, escaped."""
    rows = "".join(
        f"<tr><th scope='row' {_LEFT}>{escape(key)}</th><td {_LEFT}>{escape(str(value))}</td></tr>"
        for key, value in facts.items()
    )
    return f"<table><caption {_LEFT}>{escape(caption)}</caption><tbody>{rows}</tbody></table>"


def rows_table(
    caption: str,
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    classes: Sequence[str] = (),
) -> str:
    """Render a table with a row of headings; `classes` are the CSS classes of the rows, in order.

    Integers get separators and are set to the right, as are their headings; other values are shown as
    ``str`` gives them, escaped.
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
        f"<table><caption {_LEFT}>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _side(value: object) -> str:
    return "style='text-align:right'" if _is_number(value) else _LEFT


def _cell(value: object) -> str:
    text = f"{value:,}" if _is_number(value) else escape(str(value))
    return f"<td {_side(value)}>{text}</td>"
