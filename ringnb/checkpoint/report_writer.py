"""Keeps the rows of reports: a small Zarr table that a crash at any moment leaves whole.

New rows go into files that replace those of before, each by one rename; the group's document, with the
lengths of all arrays in it, comes last. So a reader finds the rows of before, or these too: nothing in
between. Rows that could not be written, on a full disk say, stay in memory until the next attempt.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from ringnb._support.version import VERSION
from ringnb.checkpoint.naming import expand_prefix
from ringnb.checkpoint.report import ATTRIBUTE, FIXED, ReportLine, ReportOrigin
from ringnb.checkpoint.storage.directory import files
from ringnb.checkpoint.storage.format import FieldLayout, crc32c, dump

__all__ = ["LineWriter", "ReportWriter"]

_CHUNK = 1024  # rows
_DOCUMENT = "zarr.json"
Row = tuple[int, float, tuple[float, ...]]


@final
class LineWriter:
    """One line while it is written. One thread at a time; `ReportWriter.begin` makes it.

    A `folder` of None keeps its rows in memory only.
    """

    def __init__(self, folder: Path | None, line: ReportLine) -> None:
        self._folder = folder
        self._line = line
        self._rows: list[Row] = []  # those of the chunk that is not full yet, or all in memory
        self._first = 0  # the number of the first of them
        self._written = -1  # how many rows, of all, are on the disk; nothing yet
        self._parts = 0

    @property
    def number(self) -> int:
        """Its number among the actor's lines."""
        return self._line.number

    @property
    def is_written(self) -> bool:
        """Whether all that is known of it is on the disk, or it is for the memory only."""
        return self._folder is None or self._written == self._first + len(self._rows)

    def append(self, step: int, time: float | None, values: Sequence[float]) -> None:
        """Add a row; `flush` writes it."""
        self._rows.append((step, np.nan if time is None else time, tuple(values)))

    def set_run(self, run: str) -> None:
        """Note the run that the checkpoints of this line belong to."""
        if run != self._line.run:
            self._line = replace(self._line, run=run)
            self._written = -1

    def in_memory(self) -> ReportLine:
        """Return the line with its rows, if it is kept in memory. Any thread."""
        rows = list(self._rows)  # to which another thread may append meanwhile
        return replace(
            self._line,
            steps=np.array([r[0] for r in rows], np.int64),
            times=np.array([r[1] for r in rows], np.float64),
            values={n: self._column(i, rows) for i, n in enumerate(self._line.values)},
        )

    def _column(self, index: int, rows: Sequence[Row]) -> npt.NDArray[np.float64]:
        return np.array([r[2][index] for r in rows], np.float64)

    def flush(self) -> None:
        """Write what is new, durably; OSError if that fails: nothing is lost, flush again."""
        if self.is_written:
            return
        folder, total = self._folder, self._first + len(self._rows)
        assert folder is not None  # else it is written
        names = [*FIXED, *self._line.values]
        layouts = [
            FieldLayout(
                name,
                (total,),
                (_CHUNK,),
                np.dtype("<i8" if name == "step" else "<f8"),
                ("row",),
                {"units": "s"} if name == "time" else {},
            )
            for name in names
        ]
        for layout in layouts:
            with contextlib.suppress(FileExistsError):
                files.make_directory(folder / layout.name)
        for start in range(0, len(self._rows), _CHUNK):
            rows = self._rows[start : start + _CHUNK]
            columns: list[npt.NDArray[Any]] = [
                np.array([r[0] for r in rows], "<i8"),
                np.array([r[1] for r in rows], "<f8"),
                *(self._column(i, rows) for i in range(len(self._line.values))),
            ]
            key = f"c.{(self._first + start) // _CHUNK}"
            for layout, column in zip(layouts, columns, strict=True):
                payload = np.zeros(_CHUNK, layout.dtype)
                payload[: column.size] = column
                data = payload.view(np.uint8)
                self._replace(
                    folder / layout.name / key, [data.data, crc32c(data).to_bytes(4, "little")]
                )
        for layout in layouts:
            self._replace(folder / layout.name / _DOCUMENT, [layout.raw])
            files.sync_directory(folder / layout.name)
        # Last: with it all of the above counts.
        self._replace(folder / _DOCUMENT, [self._document(layouts)])
        files.sync_directory(folder)
        full = len(self._rows) // _CHUNK * _CHUNK
        self._first, self._rows = self._first + full, self._rows[full:]
        self._written = total

    def _document(self, layouts: Sequence[FieldLayout]) -> bytes:
        line = self._line
        said = {
            "format": 1,
            "kernel_id": line.kernel_id,
            "line": line.number,
            "begin_step": line.begin_step,
            "every": line.every,
            "run": line.run,
            "origin": None if line.origin is None else asdict(line.origin),
            "after": line.after,
            "names": list(line.values),
            "version": VERSION,
        }
        return dump(
            {
                "attributes": {ATTRIBUTE: said},
                "zarr_format": 3,
                "consolidated_metadata": {
                    "kind": "inline",
                    "must_understand": False,
                    "metadata": {layout.name: layout.document for layout in layouts},
                },
                "node_type": "group",
            }
        )

    def _replace(self, path: Path, buffers: Sequence[memoryview | bytes]) -> None:
        """Put a file in the place of another, whole or not at all."""
        self._parts += 1
        part = path.with_name(f".{path.name}.{os.getpid()}.{self._parts}")
        try:
            files.write_file(part, buffers, durable=True)
            files.rename(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise


@final
class ReportWriter:
    """Begins lines in a directory, or, with a `root` of None, in memory. One thread at a time."""

    def __init__(self, root: Path | None) -> None:
        self.root = root
        self.kept: list[LineWriter] = []  # without a directory, all lines

    def begin(
        self,
        kernel_id: str,
        names: Sequence[str],
        *,
        step: int,
        every: int,
        origin: ReportOrigin | None,
        after: int = 0,
    ) -> LineWriter:
        """Begin a line; OSError if its directory cannot be made."""
        number, folder = len(self.kept) + 1, None
        if self.root is not None:
            number, folder = self._new_folder(kernel_id)
        nothing = np.zeros(0)
        line = ReportLine(
            *(number, kernel_id, step, every, None, origin, after),
            *(np.zeros(0, np.int64), nothing, dict.fromkeys(names, nothing)),
        )
        writer = LineWriter(folder, line)
        if folder is None:
            self.kept.append(writer)
        return writer

    def _new_folder(self, kernel_id: str) -> tuple[int, Path]:
        """Make the directory of a new line; other processes may do so at the same moment."""
        assert self.root is not None
        try:
            above = self.root / expand_prefix("{kernel_id}", kernel_id)
        except ValueError:  # it begins with a dot, say
            above = self.root / expand_prefix("actor-{kernel_id}", kernel_id)
        above.mkdir(parents=True, exist_ok=True)
        for group in (self.root, above):
            if not (group / _DOCUMENT).exists():
                with contextlib.suppress(FileExistsError):
                    document = {"attributes": {}, "zarr_format": 3, "node_type": "group"}
                    files.write_file(
                        group / _DOCUMENT, [json.dumps(document).encode()], durable=True
                    )
        number = max((int(p.name) for p in above.iterdir() if p.name.isdigit()), default=0)
        while True:
            number += 1
            with contextlib.suppress(FileExistsError):
                files.make_directory(above / f"{number:06}")
                for group in (above, self.root, self.root.parent):
                    files.sync_directory(group)
                return number, above / f"{number:06}"
