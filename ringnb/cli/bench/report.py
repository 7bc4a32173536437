"""Rows as a table for a terminal, as Markdown for a page, and as JSON for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ringnb._support.machine import available_cores
from ringnb._support.text import format_table
from ringnb._support.version import VERSION, installed_version
from ringnb.cli.bench.measuring import Row

__all__ = ["as_document", "as_markdown", "as_table"]


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return "not measured"
    text = f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return text if unit == "x" else f"{text} {unit}"


def _target(row: Row) -> str:
    return "" if row.target is None else f"{row.limit} {_figure(row.target, row.unit)}"


def _span(row: Row) -> str:
    if not row.samples:
        return ""
    low, high = min(row.samples), max(row.samples)
    return f"{_figure(low, 'x')} to {_figure(high, 'x')}"


def as_table(rows: Sequence[Row]) -> list[str]:
    """Return lines for a terminal."""
    header = ("what", "median", "min to max", "n", "target", "met", "behind it")
    cells = [
        (
            row.what,
            _figure(row.median, row.unit),
            _span(row),
            str(len(row.samples)),
            _target(row),
            {None: "", True: "yes", False: "NO"}[row.met],
            row.note,
        )
        for row in rows
    ]
    return format_table(header, cells, right=("median", "n"))


def as_markdown(rows: Sequence[Row]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = ["| what | measured: median (min to max) | target | met |", "|---|---|---|---|"]
    for row in rows:
        note = f"<br><sub>{row.note}</sub>" if row.note else ""
        verdict = {None: "", True: "yes", False: "**no**"}[row.met]
        target = _target(row).replace("<=", "≤").replace(">=", "≥")
        lines.append(
            f"| {row.what}{note} | {_figure(row.median, row.unit)}"
            f"{f' ({_span(row)})' if row.samples else ''} | {target} | {verdict} |"
        )
    return lines


def as_document(rows: Sequence[Row], *, quick: bool) -> dict[str, Any]:
    """Return everything as JSON, with what is needed to compare it with another machine's."""
    packages = ("numba", "llvmlite", "numpy", "zarr", "google-crc32c")
    return {
        "format": 1,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            "ringnb": VERSION,
            **{name: installed_version(name) for name in packages},
        },
        "rows": [
            {
                **{key: getattr(row, key) for key in ("key", "what", "unit", "median")},
                "min": min(row.samples, default=None),
                "max": max(row.samples, default=None),
                "samples": list(row.samples),
                **{key: getattr(row, key) for key in ("limit", "target", "met", "note")},
            }
            for row in rows
        ],
    }


def machine() -> dict[str, Any]:
    """Describe processor and system; no host name, no path."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # not Linux
    return {
        "cpu": model,
        "cores": available_cores(),
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "load": os.getloadavg()[0],
    }
