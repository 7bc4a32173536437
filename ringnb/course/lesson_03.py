"""Lesson 3: what a checkpoint is on disk: its files, and the bytes that are really read."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np
import zarr
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore

from ringnb._support.checks import is_integer
from ringnb.actors import Wave2D
from ringnb.checkpoint import Snapshot, ZarrStorage
from ringnb.course.checks import CheckFailed, Passed, learners_code, require

__all__ = ["Reads", "check_03", "count_reads", "files_of", "save_wave"]

_MOST_FILES, _MOST_BYTES = 150, 200_000
_LEAST_CHUNK = 1024
_TOO_MANY_FILES = "every chunk is a file that must be created and synced: take larger chunks"
_SIDE = 1024


def save_wave(place: Path, chunk_bytes: int | None, side: int = _SIDE) -> Path:
    """Commit the initial state of a square wave to a new store.

    Parameters
    ----------
    place : pathlib.Path
        The store.
    chunk_bytes : int or None
        As for `ZarrStorage`.
    side : int, default 1024
        Cells along an edge; two fields of float32.

    Returns
    -------
    pathlib.Path
        The checkpoint's directory.
    """
    wave = Wave2D((side, side))
    now, previous = wave.start(0)
    snapshot = Snapshot(
        {"pressure": now, "pressure_previous": previous},
        name_prefix="checkpoint",
        kernel_id="fdtd_2d_0",
        kernel_type="fdtd_2d",
        actor_slot=0,
        step=0,
        request_id=1,
        params=dict(wave.start_params(0)),
        backend="cpu",
    )
    with ZarrStorage(place, durable=False, chunk_bytes=chunk_bytes) as storage:
        storage.save("checkpoint_0_step_0", snapshot)
    return place / "checkpoint_0_step_0"


def files_of(place: Path) -> dict[str, int]:
    """List the files below a directory.

    Parameters
    ----------
    place : pathlib.Path
        The directory.

    Returns
    -------
    dict of str to int
        Relative path: bytes.
    """
    found = sorted(p for p in place.rglob("*") if p.is_file())
    return {p.relative_to(place).as_posix(): p.stat().st_size for p in found}


@dataclass
class Reads:
    """What was read from a store.

    Attributes
    ----------
    keys : list of str
        Keys of chunks and documents, one entry for each read.
    nbytes : int
        Bytes read in total.
    """

    keys: list[str] = field(default_factory=list)
    nbytes: int = 0


@final
class _Counting(WrapperStore[Store]):
    """Passes everything on, and records what is read."""

    def __init__(self, store: Store, reads: Reads) -> None:
        super().__init__(store)
        self.reads = reads

    def _with_store(self, store: Store) -> _Counting:
        return type(self)(store, self.reads)

    def _note(self, key: str, value: Buffer | None) -> Buffer | None:
        if value is not None:
            self.reads.keys.append(key)
            self.reads.nbytes += len(value)
        return value

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        return self._note(key, await super().get(key, prototype, byte_range))

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        wanted = list(key_ranges)
        values = await super().get_partial_values(prototype, wanted)
        return [self._note(key, value) for (key, _), value in zip(wanted, values, strict=True)]


def count_reads(place: Path, read: Callable[[zarr.Group], object]) -> Reads:
    """Open a checkpoint with plain zarr and count what a function reads of its arrays.

    Parameters
    ----------
    place : pathlib.Path
        The checkpoint's directory.
    read : callable
        Takes the group.

    Returns
    -------
    Reads
        Bytes that `read` reads. The keys are those of chunks only.
    """
    reads = Reads()
    group = zarr.open_group(_Counting(LocalStore(place, read_only=True), reads), mode="r")
    reads.keys, reads.nbytes = [], 0  # opening the group does not count
    read(group)
    reads.keys = [key for key in reads.keys if not key.endswith("zarr.json")]
    return reads


def check_03(chunk_bytes: object) -> Passed:
    """Check a choice of chunk size for reading single rows.

    Parameters
    ----------
    chunk_bytes : int
        The choice.

    Returns
    -------
    Passed
        What was counted.

    Raises
    ------
    CheckFailed
        If a row needs too many bytes, or the checkpoint too many files.
    """
    if not is_integer(chunk_bytes):
        fact = f"chunk_bytes is {chunk_bytes!r}, not a whole number of bytes"
        hint = "a row is 4 KiB; which chunks hold a few rows and are not too many?"
        raise CheckFailed(fact, hint)
    chunk_bytes = int(chunk_bytes)
    fewest = 2 * _SIDE * _SIDE * 4 // max(chunk_bytes, 1)  # two fields of float32
    require(
        fewest <= _MOST_FILES or chunk_bytes < _LEAST_CHUNK,  # which storage refuses
        f"the checkpoint would have {fewest:,} files or more; at most {_MOST_FILES} are allowed",
        _TOO_MANY_FILES,
    )
    with tempfile.TemporaryDirectory() as scratch:
        with learners_code("ZarrStorage takes 1024 to 2**30 bytes", ValueError):
            place = save_wave(Path(scratch) / "rows.zarr", chunk_bytes)
        rows: list[np.ndarray] = []

        def read_row(group: zarr.Group) -> None:
            """Read the middle row."""
            rows.append(np.asarray(group["pressure"][_SIDE // 2]))  # type: ignore[index]  # an array

        reads, files = count_reads(place, read_row), files_of(place)
    assert np.array_equal(rows[0], Wave2D((_SIDE, _SIDE)).start(0)[0][_SIDE // 2])
    require(
        reads.nbytes <= _MOST_BYTES,
        f"one row of 4,096 bytes costs {reads.nbytes:,} bytes; at most {_MOST_BYTES:,} are allowed",
        "a chunk is always read whole, because its checksum covers all of it: take smaller chunks",
    )
    require(
        len(files) <= _MOST_FILES,
        f"the checkpoint has {len(files)} files; at most {_MOST_FILES} are allowed",
        _TOO_MANY_FILES,
    )
    return Passed(f"{len(files)} files; one row costs {reads.nbytes:,} bytes")
