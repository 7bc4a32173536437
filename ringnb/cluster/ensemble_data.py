"""All checkpoints of an ensemble as one lazy dataset."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.cut_record import find_part, split_name
from ringnb.checkpoint.storage.field_array import FieldArray
from ringnb.cluster.ensemble_files import EnsembleFiles

if TYPE_CHECKING:
    import xarray

__all__ = ["open_ensemble"]


def open_ensemble(root: str | os.PathLike[str]) -> xarray.Dataset:
    """Open the checkpoints of an ensemble; no cluster is needed.

    Parameters
    ----------
    root : str or os.PathLike
        As for `Ensemble`.

    Returns
    -------
    xarray.Dataset
        The fields, with axes ``member`` and ``step`` before their own, lazy: each array is read
        when it is computed, and checked. Steps are those that every member has come to that has not
        failed; those that have failed are named in the attribute ``failed``.

    Raises
    ------
    FileNotFoundError
        If no ensemble is there.
    ValueError
        If no step is common to the members.
    """
    import dask.array as da  # noqa: PLC0415 - slow to import
    import xarray  # noqa: PLC0415 - an optional dependency

    files = EnsembleFiles(root)
    about = files.about
    if about is None:
        msg = f"there is no ensemble in {files.root}: check the path (`launch` makes it)"
        raise FileNotFoundError(msg)
    failed = files.failed()
    wanted = [[name for name in names if name not in failed] for names in about["tasks"]]
    tasks = [_Task.of(files, i, names) for i, names in enumerate(wanted)]
    tasks = [task for task in tasks if task.found]
    members = [name for task in tasks for name in task.found]
    every = [set(found) for task in tasks for found in task.found.values()]
    steps = sorted(set.intersection(*every)) if every else []
    if not steps:
        msg = f"the members in {files.root} have no step in common yet: wait for their first checkpoints"
        raise ValueError(msg)
    names, dims = tasks[0].fields(steps[0])
    variables = {}
    for field in names:
        rows = [da.stack([task.array(field, step) for step in steps], axis=1) for task in tasks]
        variables[field] = (("member", "step", *dims[field]), da.concatenate(rows))
    coords = {"member": members, "step": steps}
    return xarray.Dataset(variables, coords, {"failed": sorted(failed)})


class _Task(NamedTuple):
    """The checkpoints of one task's members."""

    files: EnsembleFiles
    number: int
    found: dict[str, dict[int, str]]  # by member and step: the name of its newest checkpoint
    opened: dict[str, Checkpoint]
    arrays: dict[tuple[str, str], FieldArray]  # each once, so that it is known again

    @classmethod
    def of(cls, files: EnsembleFiles, number: int, members: Sequence[str]) -> _Task:
        """Find the checkpoints of some members."""
        found: dict[str, dict[int, str]] = {}
        wanted = set(members)
        for e in files.entries(number):
            if e.kernel_id in wanted:
                found.setdefault(e.kernel_id, {})[e.step] = e.name
        return cls(files, number, {name: found[name] for name in members if name in found}, {}, {})

    def _load(self, name: str) -> Checkpoint:
        if name not in self.opened:
            self.opened[name] = self.files.storage(self.number).load(name)
        return self.opened[name]

    def fields(self, step: int) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
        """Return the fields of a member, and the axes of each."""
        first = self.files.storage(self.number).load(next(iter(self.found.values()))[step])
        return tuple(first.fields), {field: first[field].dims for field in first.fields}

    def array(self, field: str, step: int) -> Any:
        """Return a field of all members at a step, lazy; chunks that members share are read once."""
        import dask.array as da  # noqa: PLC0415 - slow to import

        blocks: list[
            tuple[FieldArray, list[int]]
        ] = []  # members that follow each other in one array
        for found in self.found.values():
            array, index = self._place_of(field, found[step])
            if blocks and blocks[-1][0] is array:
                blocks[-1][1].append(index)
            else:
                blocks.append((array, [index]))
        lazy = []
        for array, rows in blocks:
            whole = da.from_array(array, array.chunks, name=False, meta=np.empty(0, array.dtype))
            if rows == [-1]:
                lazy.append(whole[np.newaxis])
            else:
                lazy.append(whole if rows == list(range(len(whole))) else whole[rows])
        return da.concatenate(lazy)

    def _place_of(self, field: str, name: str) -> tuple[FieldArray, int]:
        """Return the array that has a field of a checkpoint, and where along its first axis; -1: all."""
        stored, slot = split_name(name)
        checkpoint = self._load(stored)
        if slot is None:
            key, index = field, -1
        else:
            entry, kind = find_part(checkpoint.document.record, name)
            key, index = kind["fields"][field], entry["index"]
        if (stored, key) not in self.arrays:
            self.arrays[stored, key] = checkpoint[key]
        return self.arrays[stored, key], index
