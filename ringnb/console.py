"""What the commands share: lines on standard output, aligned tables, sizes for people.

The command modules use it. It imports nothing of ringnb and nothing that is slow to import.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

__all__ = ["counted", "format_bytes", "format_table", "say"]

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def say(line: str = "") -> None:
    """Write one line to standard output, and flush it so that a pipe sees it at once.

    Parameters
    ----------
    line : str, default ""
        The line, without its end.
    """
    stream = sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    # A terminal of another encoding shows a question mark instead of ending the command.
    stream.write(line.encode(encoding, "replace").decode(encoding) + "\n")
    stream.flush()


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it has to be.

    Parameters
    ----------
    n : int
        How many.
    noun : str
        One of them.

    Returns
    -------
    str
        Such as ``"1 checkpoint"`` or ``"2 checkpoints"``.
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def format_bytes(nbytes: int) -> str:
    """Return a size as people read it.

    Parameters
    ----------
    nbytes : int
        Bytes, >= 0.

    Returns
    -------
    str
        Such as ``"512 B"`` or ``"1.5 MiB"``; units are powers of 1024.
    """
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
    """Align rows under their header.

    Parameters
    ----------
    header : sequence of str
        One word per column.
    rows : iterable of sequence of str
        Cells, as many per row as there are columns.
    right : sequence of str, optional
        Columns, by header, that are aligned to the right.

    Returns
    -------
    list of str
        The header and one line per row, without trailing blanks.
    """
    cells = [list(header), *(list(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for cell, width, name in zip(line, widths, header, strict=True)
        ).rstrip()
        for line in cells
    ]
