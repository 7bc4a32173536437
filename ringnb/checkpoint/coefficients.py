"""The read-only arrays of models, kept once beside the checkpoints that were computed with them.

They are no part of a state, so no checkpoint holds them; each records their digests. They lie beside
the store, as Zarr arrays::

    waves.zarr/                        the checkpoints
    waves.arrays.zarr/                 a Zarr group
        depth-0123456789abcdef/        an array, under its name and the digest of what it holds

One that is there already is written by nobody again, so runs and sessions with the same arrays share it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.directory import files
from ringnb.checkpoint.storage.format import DOCUMENT, FieldLayout, crc32c, dump
from ringnb.checkpoint.storage.locations import local_path
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.errors import CheckpointCorrupt, CheckpointNotFound

__all__ = ["array_digest", "arrays_beside", "keep_arrays", "load_arrays"]


def arrays_beside(store: str | os.PathLike[str]) -> Path:
    """Return where the arrays of a store of checkpoints lie."""
    path = local_path(os.fspath(store))
    return path.with_name(f"{path.name.removesuffix('.zarr')}.arrays.zarr")


def array_digest(array: npt.NDArray[Any]) -> str:
    """Return 16 hexadecimal digits that tell an array by its dtype, its shape and its values."""
    sha = hashlib.sha256(f"{array.dtype.name}{array.shape}".encode())
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    sha.update(little.reshape(-1).view(np.uint8).data)
    return sha.hexdigest()[:16]


def keep_arrays(
    storage: CheckpointStorage, arrays: Mapping[str, npt.NDArray[Any]], digests: Mapping[str, str]
) -> None:
    """Write those arrays that are not beside the store yet, durably; OSError if that fails.

    A store that lies in no directory keeps none. Any thread, any process.
    """
    folders = storage.folders if arrays and isinstance(storage, ZarrStorage) else ()
    if not folders:
        return
    root = arrays_beside(folders[0])
    for name, array in arrays.items():
        target = root / f"{name}-{digests[name]}"
        if not (target / DOCUMENT).exists():
            root.mkdir(parents=True, exist_ok=True)
            if not (root / DOCUMENT).exists():
                group = dump({"attributes": {}, "zarr_format": 3, "node_type": "group"})
                with contextlib.suppress(FileExistsError):
                    files.write_file(root / DOCUMENT, [group], durable=True)
            _write(root, target, name, array)


def _write(root: Path, target: Path, name: str, array: npt.NDArray[Any]) -> None:
    """Write an array under its name at once, whole."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    dims = tuple(f"{name}_{axis}" for axis in range(array.ndim))
    layout = FieldLayout(name, array.shape, array.shape, little.dtype, dims, {})
    data = little.reshape(-1).view(np.uint8)
    # A process that is killed here leaves a directory whose name begins with a dot, which nobody reads.
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=root))
    try:
        crc = crc32c(data).to_bytes(4, "little")
        files.write_file(draft / layout.chunk(0).key, [data.data, crc], durable=True)
        files.write_file(draft / DOCUMENT, [layout.raw], durable=True)
        draft.chmod(root.stat().st_mode & 0o777)
        files.sync_directory(draft)
        with contextlib.suppress(FileExistsError):  # another process was faster
            files.rename(draft, target)
        for folder in (root, root.parent):
            files.sync_directory(folder)
    except OSError:
        if not (target / DOCUMENT).exists():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def load_arrays(
    store: str | os.PathLike[str], checkpoint: Checkpoint
) -> dict[str, npt.NDArray[Any]]:
    """Read the read-only arrays that a checkpoint was computed with.

    Parameters
    ----------
    store : path
        The store of the checkpoint, a directory.
    checkpoint : Checkpoint
        The checkpoint.

    Returns
    -------
    dict of str to array
        By name, as `CellActor` takes them; empty if there were none.

    Raises
    ------
    CheckpointNotFound
        If they do not lie beside the store.
    CheckpointCorrupt
        If one is not what the checkpoint records.
    """
    found = {}
    for name, digest in checkpoint.code.get("arrays", {}).items():
        folder = arrays_beside(store) / f"{name}-{digest}"
        if not (folder / DOCUMENT).exists():
            msg = f"array {name!r} of checkpoint {checkpoint.name!r} is not in {str(folder)!r}"
            raise CheckpointNotFound(msg)
        try:
            array = np.asarray(zarr.open_array(folder, mode="r")[...])
        except Exception as error:
            msg = f"array {name!r} in {str(folder)!r} cannot be read: {error}"
            raise CheckpointCorrupt(msg) from error
        if array_digest(array) != digest:
            msg = f"array {name!r} in {str(folder)!r} is not what its name says: it was changed"
            raise CheckpointCorrupt(msg)
        found[name] = array
    return found
