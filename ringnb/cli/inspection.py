"""`ringnb ls` and `ringnb verify`: look into a store without opening a session.

Both only read, take no lock and work beside a running writer; ``verify --repair`` alone writes. The
command line calls it. It knows checkpoints and storage, no kernel.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tqdm import tqdm

from ringnb._support.text import counted, format_bytes, format_table, say
from ringnb.checkpoint.storage.archive import open_archive
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.locations import is_remote, local_path
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.errors import CheckpointCorrupt, CheckpointError, CheckpointNotFound

__all__ = ["StoredCheckpoint", "list_store", "open_store", "survey", "verify_store"]


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """One line of `ringnb ls`.

    Attributes
    ----------
    name : str
        The checkpoint's name.
    kernel_id, kernel_type : str or None
        The actor and its type.
    actor_slot, step, sequence : int or None
        Where it came from, and its place in commit order.
    created_at : str or None
        When it was committed, ISO 8601, UTC.
    nbytes : int or None
        Logical bytes of its fields.
    parent : str or None
        The checkpoint that it continues from.
    status : {"committed", "damaged"}
        Whether its metadata is what was committed. Of a damaged one only the name is known.
    problem : str or None
        What is damaged.
    pinned : str or None
        The label of its pin.
    """

    name: str
    kernel_id: str | None = None
    kernel_type: str | None = None
    actor_slot: int | None = None
    step: int | None = None
    sequence: int | None = None
    created_at: str | None = None
    nbytes: int | None = None
    parent: str | None = None
    status: str = "committed"
    problem: str | None = None
    pinned: str | None = None


def open_store(path: str) -> ZarrStorage:
    """Open a store that must exist already.

    Parameters
    ----------
    path : str
        Its directory or URL, or an archive.

    Returns
    -------
    ZarrStorage
        Nothing is written by opening it.

    Raises
    ------
    CheckpointError
        If there is nothing at the path, or something that is no store of ringnb's.
    """
    if not is_remote(path) and (file := local_path(path)).is_file():
        if not zipfile.is_zipfile(file):
            msg = (
                f"{path!r} is a file, not a store: a store is a directory such as checkpoints.zarr, or "
                "a zip file that `ringnb export` wrote"
            )
            raise CheckpointError(msg)
        return open_archive(file)
    storage = ZarrStorage(path)
    if not storage.is_created:
        msg = f"there is no store at {path!r}: check the path (the first commit creates a store)"
        raise CheckpointError(msg)
    return storage


def survey(storage: CheckpointStorage) -> list[StoredCheckpoint]:
    """Describe every checkpoint, metadata checked, arrays not read.

    Parameters
    ----------
    storage : CheckpointStorage
        The store.

    Returns
    -------
    list of StoredCheckpoint
        Oldest commit first; those with damaged metadata come before the rest.
    """
    lines = []
    for name in storage.list():
        try:
            c = storage.load(name)
        except CheckpointNotFound:
            continue  # retired by its writer since the listing
        except CheckpointCorrupt as error:
            lines.append(StoredCheckpoint(name, status="damaged", problem=_one_line(error)))
            continue
        lines.append(
            StoredCheckpoint(
                name,
                kernel_id=c.kernel_id,
                kernel_type=c.kernel_type,
                actor_slot=c.actor_slot,
                step=c.step,
                sequence=c.sequence,
                created_at=c.created_at.isoformat(),
                nbytes=c.nbytes,
                parent=c.parent,
                pinned=c.pinned,
            )
        )
    return lines


def list_store(path: str, *, as_json: bool = False) -> int:
    """Print what a store holds, newest last.

    Parameters
    ----------
    path : str
        The store's directory or URL, or an archive.
    as_json : bool, default False
        One JSON document for programs instead of a table for people.

    Returns
    -------
    int
        Exit status, 0.

    Raises
    ------
    CheckpointError
        If there is no store.
    """
    with_damage = survey(open_store(path))
    total = sum(c.nbytes or 0 for c in with_damage)
    if as_json:
        document = {
            "store": path,
            "checkpoints": [asdict(c) for c in with_damage],
            "total_bytes": total,
        }
        say(json.dumps(document, indent=2))
        return 0
    if not with_damage:
        say(f"{path}: a ringnb store without checkpoints")
        return 0
    header = ("name", "actor", "type", "step", "committed (UTC)", "size", "continues", "status")
    rows = [
        (
            c.name,
            c.kernel_id or "?",
            c.kernel_type or "?",
            "?" if c.step is None else str(c.step),
            "?" if c.created_at is None else c.created_at[:19].replace("T", " "),
            "?" if c.nbytes is None else format_bytes(c.nbytes),
            "?" if c.status == "damaged" else c.parent or "-",
            c.status if c.pinned is None else f"pinned: {c.pinned}",
        )
        for c in with_damage
    ]
    for line in format_table(header, rows, right=("step", "size")):
        say(line)
    actors = {c.kernel_id for c in with_damage if c.kernel_id is not None}
    damaged = sum(c.status == "damaged" for c in with_damage)
    say()
    say(
        f"{counted(len(with_damage), 'checkpoint')} of {counted(len(actors), 'actor')}, "
        f"{format_bytes(total)}"
        + (f", {damaged} with damaged metadata" if damaged else "")
        + f"; arrays were not read (ringnb verify {path} reads every byte)"
    )
    return 0


def verify_store(path: str, names: Sequence[str] = (), *, repair: bool = False) -> int:
    """Read every byte of some checkpoints and say which are damaged.

    Parameters
    ----------
    path : str
        The store's directory or URL, or an archive.
    names : sequence of str, optional
        Which; all by default.
    repair : bool, default False
        Move the damaged ones out of the store. Nothing is deleted.

    Returns
    -------
    int
        Exit status: 0 if all are as they were committed, 1 if any was not, repaired or not.

    Raises
    ------
    CheckpointNotFound
        If a name is not in the store.
    CheckpointError
        If there is no store.
    """
    storage = open_store(path)
    for name in names:
        if not storage.exists(name):
            msg = f"{path!r} has no checkpoint {name!r}: see what there is with ringnb ls {path}"
            raise CheckpointNotFound(msg)
    wanted = list(dict.fromkeys(names)) or storage.list()
    if not wanted:
        say(f"{path}: a ringnb store without checkpoints, nothing to verify")
        return 0
    sound = damaged = nbytes = 0
    with tqdm(wanted, desc="verify", unit="checkpoint", leave=False, disable=None) as bar:
        for name in bar:
            try:
                checkpoint = storage.load(name)
                checkpoint.verify()
            except CheckpointNotFound:
                continue  # retired by its writer meanwhile: neither sound nor damaged
            except CheckpointCorrupt as error:
                damaged += 1
                with tqdm.external_write_mode(file=sys.stdout):
                    say(f"damaged  {name}: {_one_line(error)}")
                    if repair:
                        say(f"moved    {name} to {storage.quarantine(name)}")
                continue
            sound += 1
            nbytes += checkpoint.nbytes
    storage.close()
    if damaged:
        say(f"{damaged} of {counted(sound + damaged, 'checkpoint')} damaged, {sound} intact")
        return 1
    say(f"{counted(sound, 'checkpoint')} verified, {format_bytes(nbytes)}: every byte as committed")
    return 0


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
