"""`ringnb pin`, `unpin`, `export` and `import`: decide what is kept, and carry it elsewhere.

The command line calls it. Pins and imports take the store's write lock for as long as they run.
"""

from __future__ import annotations

from collections.abc import Sequence

from ringnb._support.text import counted, say
from ringnb.checkpoint.storage.archive import export_archive, import_archive
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.cli.inspection import open_store

__all__ = ["export_store", "import_store", "pin", "unpin"]


def pin(path: str, name: str, label: str) -> int:
    """Keep a checkpoint whatever retention says.

    Parameters
    ----------
    path : str
        The store's directory or URL.
    name : str
        The checkpoint.
    label : str
        Why.

    Returns
    -------
    int
        Exit status, 0.

    Raises
    ------
    CheckpointError
        If there is no such store or checkpoint, or somebody else writes the store.
    """
    with open_store(path) as storage:
        storage.pin(name, label)
    say(f"{name} is pinned: {label}")
    return 0


def unpin(path: str, name: str) -> int:
    """Leave a checkpoint to retention again.

    Parameters
    ----------
    path : str
        The store's directory or URL.
    name : str
        The checkpoint.

    Returns
    -------
    int
        Exit status, 0.

    Raises
    ------
    CheckpointError
        As `pin`.
    """
    with open_store(path) as storage:
        storage.unpin(name)
    say(f"{name} is not pinned")
    return 0


def export_store(path: str, archive: str, names: Sequence[str] = ()) -> int:
    """Write checkpoints to a zip file.

    Parameters
    ----------
    path : str
        The store's directory or URL.
    archive : str
        The file to write.
    names : sequence of str, optional
        Which; all that are not damaged by default.

    Returns
    -------
    int
        Exit status, 0.

    Raises
    ------
    CheckpointError
        If there is no such store or checkpoint, one is damaged, or the file exists.
    """
    done = export_archive(open_store(path), archive, list(names) or None)
    say(f"{counted(len(done), 'checkpoint')} exported to {archive}, every byte verified")
    return 0


def import_store(archive: str, path: str, names: Sequence[str] = ()) -> int:
    """Commit the checkpoints of a zip file to a store, which is created if need be.

    Parameters
    ----------
    archive : str
        The file.
    path : str
        The store's directory or URL.
    names : sequence of str, optional
        Which; all that are not damaged by default.

    Returns
    -------
    int
        Exit status, 0.

    Raises
    ------
    CheckpointError
        If the archive is none, or a name is taken by another checkpoint.
    """
    with ZarrStorage(path) as storage:
        done = import_archive(archive, storage, list(names) or None)
    why = "" if done else ": it holds every checkpoint already that the archive has undamaged"
    say(f"{counted(len(done), 'checkpoint')} imported into {path}{why}")
    return 0
