"""A committed checkpoint, read only.

`Checkpoint` is what storage hands out and what plots, restores and users read. Everything in it was
checked against a digest before it is handed out. It wraps a Zarr group that any zarr reader opens as
well; none of ringnb is needed for that, only for the checks.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, final

import numpy as np
import numpy.typing as npt
import zarr
from zarr.storage import LocalStore

from ringnb._support.text import facts_table
from ringnb.checkpoint.storage.cut_part import ALL_CHUNKS, LastChunks, PartReader, open_reader
from ringnb.checkpoint.storage.cut_record import part_name, split_name
from ringnb.checkpoint.storage.dataset import make_dataset, reductions_fact
from ringnb.checkpoint.storage.document import (
    Document,
    checkpoint_id,
    describe_bad,
    reduced_of,
    run_of,
    time_of,
)
from ringnb.checkpoint.storage.field_array import FieldArray
from ringnb.checkpoint.storage.reader import Reader
from ringnb.checkpoint.storage.records import code_label
from ringnb.checkpoint.storage.source import DirectorySource, Source, StoreSource
from ringnb.errors import CheckpointError, CheckpointNotFound
from ringnb.messages.simulated_time import SimulatedTime

if TYPE_CHECKING:
    import xarray

__all__ = ["Checkpoint", "HomeStorage"]


class HomeStorage(Protocol):
    """What a checkpoint needs of the storage that it was opened through."""

    def pin(self, name: str, label: str) -> None:
        """Keep a checkpoint whatever retention says; see `CheckpointStorage.pin`."""

    def unpin(self, name: str) -> None:
        """Leave a checkpoint to retention again; see `CheckpointStorage.unpin`."""

    def read_arrays(self, checkpoint: Checkpoint) -> dict[str, npt.NDArray[Any]]:
        """Read what it was computed with; see `CheckpointStorage.read_arrays`."""


@final
class Checkpoint:
    """One checkpoint.

    Parameters
    ----------
    zarr_group : zarr.Group
        The group, from any store. Storage and manager hand out checkpoints without one.

    Raises
    ------
    TypeError
        If it is not a zarr group.
    CheckpointNotFound
        If nothing is stored there any more.
    CheckpointCorrupt
        If its metadata is not what was committed, or ringnb did not write it.

    Notes
    -----
    Any thread. Nothing but its pin ever changes. Metadata is checked on opening, arrays when they
    are read. Pickled is where it lies, not what is in it: it is opened, and checked, where it is
    unpickled. One that lies in the memory of this process cannot be pickled (`TypeError`).
    """

    _storage: HomeStorage | None = None

    def __init__(self, zarr_group: zarr.Group) -> None:
        if not isinstance(zarr_group, zarr.Group):
            msg = (
                f"zarr_group must be a zarr.Group, got {zarr_group!r} "
                f"({type(zarr_group).__name__}); open one with zarr.open_group"
            )
            raise TypeError(msg)
        store, path = zarr_group.store_path.store, zarr_group.store_path.path
        if isinstance(store, LocalStore):
            folder = (Path(store.root) / path).absolute()  # it stays the same after a chdir
            self._open(Reader(folder.resolve().name, DirectorySource(folder)))
        else:
            self._open(Reader(path.rsplit("/", 1)[-1] or "checkpoint", StoreSource(store, path)))

    @classmethod
    def from_source(cls, name: str, source: Source, *, storage: HomeStorage | None = None) -> Self:
        """Open a checkpoint without zarr. Errors as the constructor.

        Parameters
        ----------
        name : str
            Its name.
        source : Source
            Where its bytes are.
        storage : HomeStorage, optional
            What pins it, and keeps its arrays.
        """
        checkpoint = cls.__new__(cls)
        checkpoint._open(open_reader(name, source))
        checkpoint._storage = storage
        return checkpoint

    def __reduce__(self) -> tuple[Any, ...]:
        """Have it opened again, without its storage, where it is unpickled."""
        return Checkpoint.from_source, (self.name, self.source)

    def __copy__(self) -> Self:
        """Return itself: nothing of it changes."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself: nothing of it changes."""
        return self

    def _open(self, reader: Reader | PartReader) -> None:
        self._reader = reader
        self._last: LastChunks = {}
        self._record = reader.document.record

    # -- what it says of itself ------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Its name in the store."""
        return self._reader.name

    @property
    def name_prefix(self) -> str:
        """The prefix of the manager that committed it."""
        return str(self._record["name_prefix"])

    @property
    def kernel_id(self) -> str:
        """The actor's identity, which owns the history."""
        return str(self._record["kernel_id"])

    @property
    def kernel_type(self) -> str:
        """The actor's type."""
        return str(self._record["kernel_type"])

    @property
    def actor_slot(self) -> int:
        """The slot in which the actor sat."""
        return int(self._record["actor_slot"])

    @property
    def step(self) -> int:
        """The step boundary of the capture."""
        return int(self._record["step"])

    @property
    def time(self) -> float | None:
        """The simulated time of the state, seconds; None if a step has no length."""
        return time_of(self._record)

    @property
    def clock(self) -> SimulatedTime | None:
        """How its time follows from the step, and goes on from here; None if a step has no length."""
        return SimulatedTime.from_record(self._record)

    @property
    def sequence(self) -> int:
        """Its place in commit order, unique in the store."""
        return int(self._record["sequence"])

    @property
    def request_id(self) -> int:
        """The request that it answered."""
        return int(self._record["request_id"])

    @property
    def created_at(self) -> datetime:
        """When it was committed, aware, UTC."""
        return datetime.fromisoformat(self._record["created_at"])

    @property
    def params(self) -> dict[str, Any]:
        """The actor's parameters at the capture (a copy)."""
        return dict(self._record["params"])

    @property
    def reduced(self) -> dict[str, float]:
        """What the actor's reductions were of this state (a copy); see ``CellActor(reduce=...)``."""
        return reduced_of(self._record)

    @property
    def parent(self) -> str | None:
        """The checkpoint that this state continues from."""
        parent: str | None = self._record["parent"]
        return parent

    @property
    def id(self) -> str:
        """Its own id, 16 hexadecimal digits: kept by pin, export and import."""
        return checkpoint_id(self._record)

    @property
    def run(self) -> str:
        """The id of its run: one line of checkpoints without forks."""
        return run_of(self._record)

    @property
    def parent_id(self) -> str | None:
        """The id of the checkpoint that this state continues from: a name may be used again."""
        parent_id: str | None = self._record.get("parent_id")
        return parent_id

    @property
    def user(self) -> dict[str, Any]:
        """The user's own metadata, as given to ``snapshot(..., attrs=...)`` (a copy)."""
        return copy.deepcopy(dict(self._record.get("user", {})))

    @property
    def code(self) -> dict[str, Any]:
        """What made it (a copy): a ``fingerprint`` of the update function, and more; {} if unknown.

        ``update``, ``functions`` and ``values`` name what that consists of; ``git`` is the commit that
        was checked out; the rest is what it ran on.
        """
        return copy.deepcopy(dict(self._record.get("code", {})))

    @property
    def good(self) -> bool:
        """Whether its state was found to be good, or not looked at: see `CheckpointConfig.guard`."""
        return bool(self._record.get("good", True))

    @property
    def bad(self) -> list[str]:
        """Why its state is not good, in words; empty if it is."""
        return describe_bad(self._record.get("bad", []))

    @property
    def backend(self) -> str | None:
        """The kernel that made it."""
        backend: str | None = self._record["backend"]
        return backend

    @property
    def pinned(self) -> str | None:
        """The label under which it is pinned, None if it is not; as of opening, or the last pin."""
        return self._reader.document.pin

    @property
    def document(self) -> Document:
        """The group's document, checked: layouts, digests and record."""
        return self._reader.document

    @property
    def source(self) -> Source:
        """The stored bytes, by key. Reading them here skips ringnb's checks."""
        return self._reader.source

    @property
    def attrs(self) -> Mapping[str, Any]:
        """The group's attributes, as zarr shows them; a copy."""
        return {"ringnb": copy.deepcopy(dict(self._record))}

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, in stored order."""
        return tuple(self._reader.document.fields)

    @property
    def field_attrs(self) -> dict[str, dict[str, Any]]:
        """``dims`` of each field, and ``units`` and ``long_name`` where given (a copy)."""
        layouts = self._reader.document.fields
        return {name: {**one.attrs, "dims": one.dims} for name, one in layouts.items()}

    @property
    def nbytes(self) -> int:
        """Logical bytes of all fields."""
        return sum(layout.nbytes for layout in self._reader.document.fields.values())

    @property
    def group(self) -> zarr.Group:
        """The Zarr group, opened read-only. Reading through it skips ringnb's checks."""
        return self._reader.source.group()

    # -- a cut -----------------------------------------------------------------------------------

    @property
    def parts(self) -> tuple[int, ...]:
        """The slots of the actors whose states are in it, if it is a cut; empty if it is not."""
        return tuple(entry["actor_slot"] for entry in self._record.get("cut", {}).get("parts", ()))

    def part(self, actor_slot: int) -> Checkpoint:
        """Return one actor's state in a cut, as a checkpoint of its own.

        Parameters
        ----------
        actor_slot : int
            The slot in which the actor sat.

        Returns
        -------
        Checkpoint
            Named by the cut and the slot, ``"checkpoint_cut_step_100:3"``; storages load it by that
            name as well. Its pin is the cut's.

        Raises
        ------
        CheckpointNotFound
            If the cut has no such actor, or this is not a cut.
        """
        name = part_name(self.name, actor_slot)
        if isinstance(self._reader, PartReader) or "cut" not in self._record:
            msg = f"checkpoint {self.name!r} is of one actor, and has no parts"
            raise CheckpointNotFound(msg)
        part = Checkpoint.__new__(Checkpoint)
        part._open(PartReader(self._reader, name, self._last))
        part._storage = self._storage
        return part

    def read_parts(self) -> None:
        """Read and check a cut as a whole, and keep it in memory: then its parts are read from there.

        Raises
        ------
        CheckpointCorrupt, CheckpointNotFound
            As `numpy`.
        """
        self._last.update({name: (ALL_CHUNKS, array) for name, array in self.numpy().items()})

    # -- reading ---------------------------------------------------------------------------------

    def __getitem__(self, field: str) -> FieldArray:
        """Return a field as a lazy array; a KeyError names the fields that there are."""
        return FieldArray(self._reader, field)

    def __contains__(self, field: object) -> bool:
        """Return whether there is a field of that name."""
        return field in self._reader.document.fields

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the fields."""
        return iter(self.fields)

    def __len__(self) -> int:
        """Return the number of fields."""
        return len(self.fields)

    def numpy(self) -> dict[str, npt.NDArray[Any]]:
        """Read and check all fields.

        Returns
        -------
        dict of str to numpy.ndarray
            New arrays.

        Raises
        ------
        CheckpointCorrupt
            If a byte is not what was committed.
        CheckpointNotFound
            If the checkpoint was retired.
        """
        return {name: np.asarray(self[name]) for name in self.fields}

    def read_into(self, field: str, out: npt.NDArray[Any]) -> None:
        """Read and check a field into an array that exists already.

        Parameters
        ----------
        field : str
            Its name.
        out : array
            Writable, C-contiguous, of the field's shape and dtype.

        Raises
        ------
        ValueError
            If it does not fit.
        CheckpointCorrupt, CheckpointNotFound
            As `numpy`; the content of `out` is then undefined.
        """
        self._reader.read_field(field, out)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Read and check the read-only arrays that it was computed with, such as a depth or a mask.

        Returns
        -------
        dict of str to numpy.ndarray
            By name, as `CellActor` takes them; empty if there were none.

        Raises
        ------
        CheckpointNotFound
            If they are not kept with its store.
        CheckpointCorrupt
            If one is not what the checkpoint records.
        CheckpointError
            If the checkpoint was opened without its storage.
        """
        return self._home.read_arrays(self)

    def to_xarray(self) -> xarray.Dataset:
        """Read and check all fields as an xarray dataset.

        Returns
        -------
        xarray.Dataset
            In memory, with dimension names, units and the checkpoint's identity as attributes. If the
            model has a cell size ``dx``, the centres of the cells along x, y and z in metres as
            coordinates.

        Raises
        ------
        ImportError
            If xarray is not installed.
        CheckpointCorrupt, CheckpointNotFound
            As `numpy`.
        """
        variables = {
            name: (self[name].dims, array, dict(self[name].attrs))
            for name, array in self.numpy().items()
        }
        keys = [
            *("name_prefix", "kernel_id", "kernel_type", "actor_slot", "step", "sequence"),
            *("created_at", "request_id", "parent", "backend", "version"),
        ]
        attrs = {"name": self.name, "time": self.time, **{key: self._record[key] for key in keys}}
        return make_dataset(variables, attrs, self.params, self.reduced)

    def verify(self) -> None:
        """Check every stored byte, in bounded memory; other files that lie beside them do not matter.

        Raises
        ------
        CheckpointCorrupt
            If anything differs from what was committed, or is missing.
        CheckpointNotFound
            If the checkpoint was retired.
        """
        open_reader(self.name, self._reader.source)  # the documents as they are now
        for field in self.fields:
            self._reader.check_field(field)

    # -- keeping ---------------------------------------------------------------------------------

    def pin(self, label: str) -> None:
        """Keep this checkpoint whatever retention says, until it is unpinned.

        Parameters
        ----------
        label : str
            Why, in up to 200 characters. It replaces the label of an earlier pin.

        Raises
        ------
        CheckpointNotFound
            If it was retired.
        CheckpointError
            If it was not opened through a storage, or another process writes the store.
        """
        self._home.pin(split_name(self.name)[0], label)
        self._open(open_reader(self.name, self._reader.source))

    def unpin(self) -> None:
        """Leave this checkpoint to retention again.

        Raises
        ------
        CheckpointNotFound, CheckpointError
            As `pin`.
        """
        self._home.unpin(split_name(self.name)[0])
        self._open(open_reader(self.name, self._reader.source))

    @property
    def _home(self) -> HomeStorage:
        if self._storage is None:
            msg = (
                f"checkpoint {self.name!r} was opened from a zarr group: open it with "
                "ZarrStorage(...).load(name) for that"
            )
            raise CheckpointError(msg)
        return self._storage

    # -- showing ---------------------------------------------------------------------------------

    def __repr__(self) -> str:
        """Name the checkpoint, its step and its fields."""
        fields = ", ".join(f"{n}{self[n].shape}" for n in self.fields)
        label = code_label(self.code).partition(", git")[0]
        code = f", code {label}" if label else ""
        return f"<Checkpoint {self.name!r}: {self.kernel_id} at step {self.step}, {fields}{code}>"

    def _repr_html_(self) -> str:
        """Show a small table in a notebook."""
        return facts_table(
            f"Checkpoint {self.name}",
            {
                "actor": f"{self.kernel_id} ({self.kernel_type}, slot {self.actor_slot})",
                "step": self.step,
                **({} if self.time is None else {"simulated time": f"{self.time:g} s"}),
                "committed": f"{self.created_at:%Y-%m-%d %H:%M:%S} UTC, number {self.sequence}",
                "run": self.run,
                "continues": self.parent or "nothing: the first of its run",
                "parameters": ", ".join(
                    f"{k} = {v:g}" if isinstance(v, float) else f"{k} = {v}"
                    for k, v in self.params.items()
                )
                or "none",
                **reductions_fact(self.reduced),
                "fields": ", ".join(
                    f"{n}: {' x '.join(map(str, self[n].shape))} {self[n].dtype.name}"
                    for n in self.fields
                ),
                "size": f"{self.nbytes:,} bytes",
                "code": code_label(self.code) or "not recorded",
                "pinned": self.pinned or "no",
            },
        )
