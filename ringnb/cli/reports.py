"""`ringnb report`: the numbers that were recorded of actors, as words, as a table, as CSV.

It only reads, and works beside a running session.
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ringnb._support.text import format_table, say
from ringnb.checkpoint.report import Report
from ringnb.checkpoint.storage.locations import is_remote
from ringnb.errors import CheckpointError

__all__ = ["report_store"]

_HEADER = ("actor", "every", "rows", "steps", "abandoned", "newest")
_SHOWN = 20


def report_store(
    path: str, actor: str | None = None, *, as_csv: bool = False, everything: bool = False
) -> int:
    """Print a line per actor, or the newest rows of one, or as CSV all rows; return the exit status.

    With `everything` also the rows of branches that were left by a restore.
    """
    if is_remote(path):
        msg = (
            f"{path!r} is not a directory: reports are kept beside stores that are directories only"
        )
        raise CheckpointError(msg)
    found = Report.open_all(path) if actor is None else {actor: Report.open(path, actor)}
    if as_csv:
        _write_csv(list(found.values()), with_actor=actor is None, everything=everything)
    elif actor is None:
        rows = [_summary(report) for report in found.values()]
        for line in format_table(_HEADER, rows, right=("every", "rows", "abandoned")):
            say(line)
    else:
        _say_rows(found[actor], everything=everything)
    return 0


def _summary(report: Report) -> list[str]:
    steps = report.steps
    newest = [f"{name} {_number(report[name][-1])}" for name in report.names] if steps.size else []
    return [
        report.kernel_id,
        f"{report.lines[-1].every:,}",
        f"{len(report):,}",
        f"{steps[0]:,} to {steps[-1]:,}" if steps.size else "none yet",
        f"{report.abandoned:,}",
        ", ".join(newest),
    ]


def _say_rows(report: Report, *, everything: bool) -> None:
    names = _names([report])
    header = ["step", "time (s)", *names, *(["line", "current"] if everything else [])]
    rows = list(_rows(report, names, everything=everything))
    shown = [[f"{step:,}", _number(time), *map(_number, rest)] for step, time, *rest in rows]
    for line in format_table(header, shown[-_SHOWN:], right=header):
        say(line)
    if len(shown) > _SHOWN:
        say(f"The newest {_SHOWN} of {len(shown):,} rows: --csv has all")


def _write_csv(reports: Sequence[Report], *, with_actor: bool, everything: bool) -> None:
    names = _names(reports)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    actor = ["actor"] if with_actor else []
    writer.writerow([*actor, "step", "time", *names, *(["line", "current"] if everything else [])])
    for report in reports:
        own = [report.kernel_id] if with_actor else []
        for row in _rows(report, names, everything=everything):
            writer.writerow([*own, *map(repr, row)])  # every digit that tells a float from others


def _names(reports: Sequence[Report]) -> list[str]:
    return list(dict.fromkeys(n for r in reports for line in r.lines for n in line.values))


def _rows(report: Report, names: Sequence[str], *, everything: bool) -> Iterator[list[Any]]:
    """Yield step, time and the numbers of each row; with `everything` its line, and 1 if it counts."""
    if not everything:
        own = _names([report])  # of several reports each may have others
        nothing = [math.nan] * len(report)
        values = [report[n].tolist() if n in own else nothing for n in names]
        rows = zip(report.steps.tolist(), report.times.tolist(), *values, strict=True)
        yield from map(list, rows)
        return
    for line in report.lines:
        nothing = [math.nan] * line.steps.size
        values = [line.values[n].tolist() if n in line.values else nothing for n in names]
        counts = (1 - report.left_behind(line)).tolist()
        rows = zip(line.steps.tolist(), line.times.tolist(), *values, counts, strict=True)
        yield from ([*row, line.number, count] for *row, count in rows)


def _number(value: float) -> str:
    return f"{value:.6g}"
