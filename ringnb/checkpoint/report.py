"""Reports: numbers of an actor at every so many steps, read from where `ReportWriter` keeps them.

They lie beside the store of the checkpoints, in a Zarr group of their own::

    waves.zarr/                   the checkpoints; those of `waves` lie beside `waves.reports`
    waves.reports.zarr/           a Zarr group
        fdtd_2d_0/                one per actor, by its kernel_id
            000001/               a line: `step`, `time` and each value, one array each
            000002/               ... the next, begun by a restore or by another session

A line has no forks, and its steps rise. What a restore leaves behind stays where it was written: which
rows belong to the state that is there now follows from where each line begins.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, final

import numpy as np
import numpy.typing as npt
import zarr

from ringnb._support.text import facts_table, quote_names
from ringnb.checkpoint.storage.dataset import make_dataset
from ringnb.checkpoint.storage.locations import local_path
from ringnb.errors import CheckpointCorrupt, CheckpointNotFound

if TYPE_CHECKING:
    import xarray

__all__ = [
    "ATTRIBUTE",
    "FIXED",
    "RESERVED",
    "Report",
    "ReportLine",
    "ReportOrigin",
    "reports_beside",
]

ATTRIBUTE = "ringnb_report"
FIXED = ("step", "time")  # the columns that every line has
RESERVED = (*FIXED, "row", "line", "current")
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, OSError)


def reports_beside(store: str | os.PathLike[str]) -> Path:
    """Return where the reports of a store of checkpoints lie, or the path itself if it is that."""
    path = local_path(os.fspath(store))
    if path.name.endswith((".reports.zarr", ".reports")):
        return path
    if path.name.endswith(".zarr"):
        return path.with_name(f"{path.name.removesuffix('.zarr')}.reports.zarr")
    own, of_both = (path.with_name(f"{path.name}.reports{end}") for end in ("", ".zarr"))
    # Where an earlier version wrote those of a store of this name, unless another store has them now.
    if of_both.exists() and not own.exists() and not path.with_name(f"{path.name}.zarr").exists():
        return of_both
    return own


@final
@dataclass(frozen=True, slots=True)
class ReportOrigin:
    """What the first state of a line was.

    Attributes
    ----------
    step : int
        Its step.
    line : int or None
        The line that it went on from, if it is known by its number.
    checkpoint, run : str or None
        The checkpoint that was restored, by id, and the run of that.
    sequence : int or None
        The number of its commit.
    """

    step: int
    line: int | None = None
    checkpoint: str | None = None
    run: str | None = None
    sequence: int | None = None


@final
@dataclass(frozen=True, slots=True, eq=False)
class ReportLine:
    """Rows of one uninterrupted stretch.

    Attributes
    ----------
    number : int
        Lines are numbered in the order in which they began.
    kernel_id : str
        The actor.
    begin_step, every : int
        The step at which it began, and the steps between two rows.
    run : str or None
        The run of the checkpoints that were committed meanwhile; None if there were none.
    origin : ReportOrigin or None
        What it goes on from; None if the actor started afresh.
    after : int
        The number of the actor's newest commit when it began; 0 if there was none.
    steps : (n,) int64 array
        The step of each row, rising.
    times : (n,) float64 array
        The simulated times, seconds; NaN if a step has no length.
    values : mapping of str to (n,) float64 array
        The numbers.
    """

    number: int
    kernel_id: str
    begin_step: int
    every: int
    run: str | None
    origin: ReportOrigin | None
    after: int
    steps: npt.NDArray[np.int64]
    times: npt.NDArray[np.float64]
    values: Mapping[str, npt.NDArray[np.float64]]


@final
class Report:
    """What was reported of one actor.

    Parameters
    ----------
    lines : sequence of ReportLine
        All of one actor, in the order in which they began.

    Raises
    ------
    ValueError
        If there is no line.

    Notes
    -----
    `report[name]`, `steps` and `times` are those of the current line: of the state that the newest
    line ends with, back to its beginning, through every restore. What was computed beyond a restored
    step is in `abandoned` only.
    """

    def __init__(self, lines: Sequence[ReportLine]) -> None:
        if not lines:
            msg = "a report has at least one line"
            raise ValueError(msg)
        self.lines = tuple(sorted(lines, key=lambda line: line.number))
        self.kernel_id = self.lines[-1].kernel_id
        self._masks: dict[int, npt.NDArray[np.bool_]]
        self._left: dict[int, npt.NDArray[np.bool_]]
        self._sort_rows()

    @classmethod
    def open(cls, store: str | os.PathLike[str], kernel_id: str | None = None) -> Self:
        """Read the reports that lie beside a store of checkpoints.

        Parameters
        ----------
        store : path
            The store of the checkpoints, or the reports themselves: ``waves.reports.zarr`` beside
            ``waves.zarr``, ``waves.reports`` beside ``waves``.
        kernel_id : str, optional
            The actor; by default the only one that has a report.

        Returns
        -------
        Report
            As it is now. It may be read while it is written.

        Raises
        ------
        CheckpointNotFound
            If there is none, or there are several and `kernel_id` does not say which.
        CheckpointCorrupt
            If it is damaged.
        """
        root = reports_beside(store)
        found = _folders(root)
        if kernel_id is None and len(found) == 1:
            (kernel_id,) = found
        if kernel_id not in found:
            raise CheckpointNotFound(_why_none(root, kernel_id, sorted(found)))
        return cls([_read_line(folder) for folder in found[kernel_id]])

    @classmethod
    def open_all(cls, store: str | os.PathLike[str]) -> dict[str, Self]:
        """Read the reports of all actors that lie beside a store of checkpoints.

        Parameters
        ----------
        store : path
            As for `open`.

        Returns
        -------
        dict of str to Report
            By the actors' ``kernel_id``.

        Raises
        ------
        CheckpointNotFound
            If there is none.
        CheckpointCorrupt
            If one is damaged.
        """
        root = reports_beside(store)
        found = _folders(root)
        if not found:
            raise CheckpointNotFound(_why_none(root, None, []))
        return {owner: cls([_read_line(one) for one in lines]) for owner, lines in found.items()}

    def _sort_rows(self) -> None:
        """Find, by line, which rows belong to the state that the newest line ends with."""
        self._masks = {line.number: np.zeros(line.steps.size, bool) for line in self.lines}
        self._left = {number: ~mask for number, mask in self._masks.items()}
        line: ReportLine | None = self.lines[-1]
        last, before = (
            None,
            None,
        )  # the last step that counts, and the first of the rows that follow
        while line is not None:
            reached = np.ones(line.steps.size, bool) if last is None else line.steps <= last
            # The row of the step that was restored is there twice, if it is a multiple: once counts.
            mask = reached if before is None else reached & (line.steps < before)
            self._masks[line.number], self._left[line.number] = mask, ~reached
            if mask.any():
                before = int(line.steps[mask][0])
            origin = line.origin
            if origin is None:
                break
            last = origin.step if last is None else min(last, origin.step)
            line = self._line_of(origin, line.number)

    def _line_of(self, origin: ReportOrigin, number: int) -> ReportLine | None:
        """Return the line that another, of this number, goes on from; None if that has no report."""
        earlier = [line for line in self.lines if line.number < number]
        if origin.line is not None:
            return next((line for line in earlier if line.number == origin.line), None)
        fitting = [
            line
            for line in reversed(earlier)
            if line.begin_step <= origin.step and (line.run is None or line.run == origin.run)
        ]
        # An actor's commits and its lines take turns: a commit belongs to the line that began last
        # before it. Which run a line is of it cannot say before its first commit, nor if it is killed
        # right after that.
        if origin.sequence is not None and origin.sequence > 0:
            return next((line for line in fitting if line.after < origin.sequence), None)
        return next((line for line in fitting if line.run is not None), None)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the numbers, in the order of the newest line."""
        return tuple(self.lines[-1].values)

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        """The steps of the current line's rows, rising."""
        return self._joined([line.steps for line in self.lines], np.int64)

    @property
    def times(self) -> npt.NDArray[np.float64]:
        """The simulated times of the current line's rows, seconds; NaN if a step has no length."""
        return self._joined([line.times for line in self.lines], np.float64)

    def __getitem__(self, name: str) -> npt.NDArray[np.float64]:
        """Return a number at each of `steps`; NaN where it was not reported."""
        if not any(name in line.values for line in self.lines):
            msg = f"the report of {self.kernel_id!r} has no {name!r}: it has {list(self.names)}"
            raise KeyError(msg)
        return self._joined([_column(line, name) for line in self.lines], np.float64)

    def _joined(self, columns: Sequence[npt.NDArray[Any]], dtype: Any) -> npt.NDArray[Any]:
        masks = [self._masks[line.number] for line in self.lines]
        pieces = [column[mask] for column, mask in zip(columns, masks, strict=True)]
        steps = [line.steps[mask] for line, mask in zip(self.lines, masks, strict=True)]
        # A line that another goes on from may have begun after it: only the steps say the order.
        order = np.argsort(np.concatenate(steps), kind="stable")
        joined: npt.NDArray[Any] = np.concatenate(pieces)[order].astype(dtype)
        return joined

    def left_behind(self, line: ReportLine) -> npt.NDArray[np.bool_]:
        """Return which rows of a line lie beyond a step that was restored, or are of another branch.

        Parameters
        ----------
        line : ReportLine
            One of `lines`.

        Returns
        -------
        (n,) bool array
            One per row.
        """
        return self._left[line.number].copy()

    @property
    def abandoned(self) -> int:
        """How many rows lie beyond a step that was restored, or are of another branch."""
        return sum(int(left.sum()) for left in self._left.values())

    def __len__(self) -> int:
        """Return the number of rows of the current line."""
        return sum(int(mask.sum()) for mask in self._masks.values())

    def to_xarray(self) -> xarray.Dataset:
        """Return all rows, those of abandoned branches too, as an xarray dataset.

        Returns
        -------
        xarray.Dataset
            Along ``row``: the numbers, with ``step``, ``time``, ``line`` and ``current``, whether the
            row belongs to the current line, as coordinates.

        Raises
        ------
        ImportError
            If xarray is not installed.
        """
        names = dict.fromkeys(name for line in self.lines for name in line.values)
        columns = {n: np.concatenate([_column(line, n) for line in self.lines]) for n in names}
        said = {"kernel_id": self.kernel_id, "every": self.lines[-1].every}
        dataset = make_dataset({n: (["row"], c, {}) for n, c in columns.items()}, said, {}, {})
        return dataset.assign_coords(
            step=("row", np.concatenate([line.steps for line in self.lines])),
            time=("row", np.concatenate([line.times for line in self.lines]), {"units": "s"}),
            line=(
                "row",
                np.concatenate([np.full(line.steps.size, line.number) for line in self.lines]),
            ),
            current=("row", np.concatenate([self._masks[line.number] for line in self.lines])),
        )

    def __repr__(self) -> str:
        """Name the actor, the numbers and the rows."""
        rows = f"{len(self)} rows" + (f", {self.abandoned} abandoned" if self.abandoned else "")
        return f"<Report of {self.kernel_id!r}: {', '.join(self.names)}; {rows}>"

    def _repr_html_(self) -> str:
        """Show a small table in a notebook."""
        steps = self.steps
        return facts_table(
            f"Report of {self.kernel_id}",
            {
                "numbers": ", ".join(self.names),
                "every": f"{self.lines[-1].every:,} steps",
                "rows": f"{len(self):,}",
                "steps": f"{steps[0]:,} to {steps[-1]:,}" if steps.size else "none yet",
                "abandoned": f"{self.abandoned:,} rows of earlier branches",
            },
        )


def _folders(root: Path) -> dict[str, list[Path]]:
    """Return the directories of all lines, by their actors."""
    found: dict[str, list[Path]] = {}
    for document in sorted(root.glob("*/*/zarr.json")):
        try:
            owner = str(_attributes(document.parent)["kernel_id"])
        except _MALFORMED as error:
            raise _corrupt(document.parent) from error
        found.setdefault(owner, []).append(document.parent)
    return found


def _why_none(root: Path, kernel_id: str | None, owners: Sequence[str]) -> str:
    """Say why there is no report of an actor, and what there is."""
    if not owners:
        return f"no report in {str(root)!r}: record one with session.report(every, name=f)"
    has = f"{str(root)!r} has reports of {quote_names(owners)}"
    if kernel_id is None:
        return f"{has}: say which, Report.open(store, {owners[0]!r})"
    return f"no report of actor {kernel_id!r}: {has}"


def _column(line: ReportLine, name: str) -> npt.NDArray[np.float64]:
    found = line.values.get(name)
    return np.full(line.steps.size, np.nan) if found is None else found


def _attributes(folder: Path) -> Mapping[str, Any]:
    document = json.loads((folder / "zarr.json").read_bytes())
    found: Mapping[str, Any] = document["attributes"][ATTRIBUTE]
    return found


def _read_line(folder: Path) -> ReportLine:
    """Read one line; CheckpointCorrupt if it is none, or a checksum does not match."""
    try:
        # Its consolidated metadata, one file, says how long all its arrays are at one moment.
        group = zarr.open_group(folder, mode="r", use_consolidated=True)
        said: Any = group.attrs[ATTRIBUTE]
        arrays: Any = group  # which may hold groups as well, zarr's types say
        columns = {name: np.asarray(arrays[name][...]) for name in (*FIXED, *said["names"])}
        origin = said["origin"]
        return ReportLine(
            number=int(said["line"]),
            kernel_id=str(said["kernel_id"]),
            begin_step=int(said["begin_step"]),
            every=int(said["every"]),
            run=said["run"],
            origin=None if origin is None else ReportOrigin(**origin),
            after=int(said["after"]),
            steps=columns.pop("step"),
            times=columns.pop("time"),
            values=columns,
        )
    except _MALFORMED as error:
        raise _corrupt(folder) from error


def _corrupt(folder: Path) -> CheckpointCorrupt:
    return CheckpointCorrupt(
        f"the report in {str(folder)!r} is damaged: put a copy of it back, or remove this directory to "
        "read what the others hold"
    )
