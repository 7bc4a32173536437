"""Checkpoints in one zip file: to send them, to keep them elsewhere, to read them there.

The archive has the layout of a store, uncompressed (checkpoints hardly compress, and members can then
be read in place), so that zarr's ``ZipStore``, xarray and `open_archive` read it as it is. A zip cannot
delete or replace anything: it is written once, whole, and no storage to commit to.
"""

from __future__ import annotations

import contextlib
import os
import uuid
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy.typing as npt
from zarr.storage import ZipStore

from ringnb._support.off_main import warn_caller
from ringnb._support.text import quote_names
from ringnb.checkpoint.storage.arrays import GROUP_DOCUMENT, array_files, array_keys
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.cut_record import split_name
from ringnb.checkpoint.storage.directory import files
from ringnb.checkpoint.storage.format import DOCUMENT, WORK_AREA, free_name, root_document
from ringnb.checkpoint.storage.permissions import name_full
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.errors import (
    CheckpointCorrupt,
    CheckpointError,
    CheckpointNotFound,
    CheckpointWarning,
)

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

__all__ = ["export_archive", "import_archive", "open_archive"]


@final
class _Members(ZipStore):
    """A zip file of which a member that cannot be read counts as empty: no digest matches that.

    A flipped bit makes zipfile raise one of a dozen exceptions, or complain of a password.
    """

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read a member."""
        try:
            return await super().get(key, prototype, byte_range)
        except Exception:  # noqa: BLE001 - of zipfile, zlib, struct, …
            return prototype.buffer.from_bytes(b"")

    async def getsize(self, key: str) -> int:
        """Look the size up; zarr would read the member, and a few bytes may stand for gigabytes."""
        try:
            return self._zf.getinfo(key).file_size
        except KeyError:
            raise FileNotFoundError(key) from None


def export_archive(
    storage: ZarrStorage, path: str | os.PathLike[str], names: Sequence[str] | None = None
) -> list[str]:
    """Write checkpoints to a zip file, which is there and verified, or not there.

    Parameters
    ----------
    storage : ZarrStorage
        Where they are.
    path : str or os.PathLike
        The file; it must not exist.
    names : sequence of str, optional
        Which; by default all that are not damaged.

    Returns
    -------
    list of str
        What was exported, oldest commit first.

    Raises
    ------
    CheckpointError
        If the file exists.
    CheckpointNotFound, CheckpointCorrupt
        If a checkpoint is gone, or damaged. Nothing is left behind.
    OSError
        If the file cannot be written. Nothing is left behind.

    Notes
    -----
    Any thread; a writer may go on meanwhile. One chunk at a time is in memory. The archive is
    synced, read back and verified before it gets its name.
    """
    target = Path(path)
    if os.path.lexists(target):
        raise _exists(target)
    wanted = [e.name for e in _wanted(storage, names)]
    checkpoints = [storage.load(name) for name in wanted]
    staged = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with zipfile.ZipFile(staged, "x", zipfile.ZIP_STORED, allowZip64=True) as archive:
            archive.writestr(DOCUMENT, root_document(storage.id))
            keys = _add_arrays(archive, storage, checkpoints)
            for checkpoint in checkpoints:
                _add(archive, checkpoint)
        with open(staged, "rb") as written:
            os.fsync(written.fileno())
        written_storage = open_archive(staged)
        for name in wanted:
            written_storage.load(name).verify()
        for key in keys:
            written_storage.read_array(key)
        if os.path.lexists(target):
            raise _exists(target)
        files.rename(staged, target)
        files.sync_directory(target.parent)
    except OSError as error:
        name_full(error, target)
        if error.filename == str(staged):
            error.filename = str(target)
        raise
    finally:
        staged.unlink(missing_ok=True)
    return wanted


def _exists(target: Path) -> CheckpointError:
    return CheckpointError(f"{str(target)!r} exists: choose another name, nothing is overwritten")


def _add_arrays(
    archive: zipfile.ZipFile, storage: ZarrStorage, checkpoints: Sequence[Checkpoint]
) -> list[str]:
    """Add the read-only arrays that checkpoints name, and return their keys; warn of lost ones."""
    named = {key: None for c in checkpoints for key in array_keys(c.code).values()}
    added: list[str] = []
    lost: list[str] = []
    for key in named:
        try:
            array = storage.read_array(key)
        except CheckpointNotFound:
            lost.append(key)
            continue
        if not added:
            for folder in (WORK_AREA, f"{WORK_AREA}/arrays"):
                archive.writestr(f"{folder}/{DOCUMENT}", GROUP_DOCUMENT)
        for name, buffers in array_files(key[:-17], array).items():
            archive.writestr(f"{WORK_AREA}/arrays/{key}/{name}", b"".join(buffers))
        added.append(key)
    if lost:
        text = f"read-only arrays are not there, and are left out: {quote_names(lost)}"
        warn_caller(text, CheckpointWarning)
    return added


def _add(archive: zipfile.ZipFile, checkpoint: Checkpoint) -> None:
    # The group's document last, as in every store: an archive cut short has no half checkpoint.
    limit = max(layout.nbytes for layout in checkpoint.document.fields.values()) + (1 << 20)
    for key in sorted(checkpoint.document.keys() - {DOCUMENT}):
        raw = checkpoint.source.read(key, limit)
        if raw is None:
            checkpoint.verify()  # says what is lost, or that all of it was retired
            msg = f"checkpoint {checkpoint.name!r} changed while it was exported: try again"
            raise CheckpointError(msg)
        archive.writestr(f"{checkpoint.name}/{key}", raw)
    archive.writestr(f"{checkpoint.name}/{DOCUMENT}", checkpoint.document.raw)


def open_archive(path: str | os.PathLike[str]) -> ZarrStorage:
    """Open an archive for reading.

    Parameters
    ----------
    path : str or os.PathLike
        The zip file.

    Returns
    -------
    ZarrStorage
        It lists, loads and verifies; writing to it is a `CheckpointError`.

    Raises
    ------
    FileNotFoundError
        If there is none.
    CheckpointError
        If it is not a zip file, or not one of a ringnb store.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(2, os.strerror(2), os.fspath(path))
    try:
        storage = ZarrStorage(_Members(os.fspath(path), mode="r"))
        created = storage.is_created
    except CheckpointError:
        raise
    except Exception as error:  # zipfile has many exceptions for a damaged directory
        msg = f"{os.fspath(path)!r} is not a zip file, or damaged: give one that `ringnb export` wrote"
        raise CheckpointError(msg) from error
    if not created:
        msg = f"{os.fspath(path)!r} is an empty zip file: give one that `ringnb export` wrote"
        raise CheckpointError(msg)
    return storage


def import_archive(
    path: str | os.PathLike[str], storage: ZarrStorage, names: Sequence[str] | None = None
) -> dict[str, str]:
    """Commit the checkpoints of an archive to a store, every byte checked.

    They come before all that the store holds, in the order that they have in the archive, and keep
    their ids and their runs. The latest stays what it was, and retention does not count them, so that
    it deletes what it would have deleted without them. In a store that was empty they count.

    Parameters
    ----------
    path : str or os.PathLike
        The zip file.
    storage : ZarrStorage
        Where they go. They get sequence numbers below all that are there, and keep all else.
    names : sequence of str, optional
        Which; by default all that are not damaged.

    Returns
    -------
    dict of str to str
        What was imported, oldest first: the name in the archive, and the name in the store, which has a
        suffix (``.2``, ``.3``, …) if that of the archive is taken by another one. What the store holds
        already, under whatever name, is passed over.

    Raises
    ------
    CheckpointError
        If the store cannot be written, or its name was taken at the same moment.
    CheckpointNotFound
        If the archive has no such checkpoint; nothing is imported then.
    CheckpointCorrupt
        If some are damaged; it is raised when all others are imported, and names them.
    FileNotFoundError, OSError
        If the file cannot be read, or the store not be written.
    """
    archive = open_archive(path)
    wanted = _wanted(archive, names)
    held = storage.catalogue()
    # A user's copy has the id of its original, and its own name is all that tells it from others.
    ids = {e.id for e in held if not e.damaged and e.copy is None}
    copies = {(e.name, e.id) for e in held if e.copy is not None}
    fresh = [
        e for e in wanted if (e.id not in ids if e.copy is None else (e.name, e.id) not in copies)
    ]
    done: dict[str, str] = {}
    damaged: dict[str, CheckpointCorrupt] = {}
    arrays: dict[str, npt.NDArray[Any]] = {}  # by key: most checkpoints have the same
    # The newest first, as each goes below the lowest number: whatever ends this, those that are there
    # are in the order of the archive, and another try adds what is older.
    for place in range(len(fresh), 0, -1):
        entry = fresh[place - 1]
        name = free_name(entry.name, storage.exists)
        try:
            checkpoint = archive.load(entry.name)
            for key in array_keys(checkpoint.code).values():
                if key not in arrays:
                    with contextlib.suppress(
                        CheckpointNotFound
                    ):  # an archive of an earlier version
                        arrays[key] = archive.read_array(key)
            storage.copy_from(
                checkpoint,
                name=name,
                place=0 if held else place,
                as_copy=entry.copy is not None,
                arrays={k: arrays[k] for k in array_keys(checkpoint.code).values() if k in arrays},
            )
        except CheckpointCorrupt as error:
            damaged[entry.name] = error
        else:
            done[entry.name] = name
    if damaged:
        name, first = next(iter(damaged.items()))
        msg = (
            f"{len(damaged)} of {len(fresh)} checkpoints of {os.fspath(path)!r} were not imported, as "
            f"they are damaged: {quote_names(list(damaged))} ({first}); all others were"
        )
        raise CheckpointCorrupt(msg) from first
    return dict(reversed(done.items()))


def _wanted(storage: ZarrStorage, names: Sequence[str] | None) -> list[CheckpointInfo]:
    """Return checkpoints in commit order; CheckpointNotFound if one is not there, or damaged."""
    entries = [e for e in storage.catalogue() if not e.damaged]
    if names is None:
        return entries
    for name in sorted(set(names) - {e.name for e in entries}):
        storage.load(name)  # says what is damaged, or that it is not there
    whole = {split_name(name)[0] for name in names}  # a part is only there with all of its cut
    return [e for e in entries if e.name in whole]
