"""`ringnb ls`, `verify`, `pin`, `unpin`, `export` and `import`: look after a store without a session.

Each function does one command and returns its exit status. `ls`, `verify` and `export` only read, take
no lock and work beside a running writer; the others, and ``verify --repair``, hold the store's write
lock while they run. This module knows checkpoints and storage, and no kernel.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from tqdm import tqdm

from ringnb._support.text import counted, format_bytes, format_table, say
from ringnb.checkpoint.storage.adoption import adopt_directory
from ringnb.checkpoint.storage.archive import export_archive, import_archive, open_archive
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.locations import is_remote, local_path
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.errors import CheckpointCorrupt, CheckpointError, CheckpointNotFound

__all__ = [
    "adopt",
    "describe",
    "export_store",
    "import_store",
    "list_store",
    "open_store",
    "pin",
    "unpin",
    "verify_store",
]

_KNOWN = (
    *("kernel_id", "kernel_type", "actor_slot", "step", "sequence", "created_at"),
    *("nbytes", "parent"),
)


def open_store(path: str) -> ZarrStorage:
    """Open a store (directory, URL or archive) that must exist; raise `CheckpointError` if not."""
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


def describe(storage: CheckpointStorage) -> Iterator[dict[str, Any]]:
    """Yield a JSON object per checkpoint, oldest commit first; metadata is checked, arrays are not.

    Of those with damaged metadata only the names are known.
    """
    for name in storage.list():
        entry = {"name": name, **dict.fromkeys(_KNOWN)}
        try:
            checkpoint = storage.load(name)
        except CheckpointNotFound:
            continue  # its writer deleted it after the listing
        except CheckpointCorrupt as error:
            entry |= {"status": "damaged", "problem": _one_line(error), "pinned": None}
        else:
            entry |= {key: getattr(checkpoint, key) for key in _KNOWN}
            entry["created_at"] = checkpoint.created_at.isoformat()
            entry |= {"status": "committed", "problem": None, "pinned": checkpoint.pinned}
        yield entry


def list_store(path: str, *, as_json: bool = False, everything: bool = False) -> int:
    """Print what a store holds, newest last, as a table or as one JSON document.

    With `everything` also what lies in it and is not ringnb's, and why it is passed over.
    """
    storage = open_store(path)
    entries = list(describe(storage))
    foreign = storage.foreign() if everything else []
    total = sum(e["nbytes"] or 0 for e in entries)
    if as_json:
        document = {"store": path, "checkpoints": entries, "total_bytes": total}
        if everything:
            document["foreign"] = [{"name": name, "reason": why} for name, why in foreign]
        say(json.dumps(document, indent=2))
        return 0
    _say_checkpoints(path, entries, total)
    if foreign:
        say()
        say("Not ringnb's, and left alone:")
        rows = ([name if name.isprintable() else ascii(name), why] for name, why in foreign)
        for line in format_table(("name", "reason"), rows):
            say(line)
    return 0


def _say_checkpoints(path: str, entries: Sequence[dict[str, Any]], total: int) -> None:
    if not entries:
        say(f"{path}: a ringnb store without checkpoints")
        return
    header = ("name", "actor", "type", "step", "committed (UTC)", "size", "continues", "status")
    for line in format_table(header, map(_row, entries), right=("step", "size")):
        say(line)
    actors = {e["kernel_id"] for e in entries} - {None}
    damaged = sum(e["status"] == "damaged" for e in entries)
    say()
    say(
        f"{counted(len(entries), 'checkpoint')} of {counted(len(actors), 'actor')}, "
        f"{format_bytes(total)}"
        + (f", {damaged} with damaged metadata" if damaged else "")
        + f"; arrays were not read (ringnb verify {path} reads every byte)"
    )


def _row(entry: dict[str, Any]) -> list[str]:
    if entry["status"] == "damaged":
        return [entry["name"], *(["?"] * 6), "damaged"]
    return [
        *(entry["name"], entry["kernel_id"], entry["kernel_type"], str(entry["step"])),
        entry["created_at"][:19].replace("T", " "),
        format_bytes(entry["nbytes"]),
        entry["parent"] or "-",
        "committed" if entry["pinned"] is None else f"pinned: {entry['pinned']}",
    ]


def verify_store(path: str, names: Sequence[str] = (), *, repair: bool = False) -> int:
    """Read every byte of the named checkpoints, or of all; return 1 if any is damaged, repaired or not.

    With `repair` the damaged ones are moved out of the store; nothing is deleted.
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
    intact = damaged = nbytes = 0
    with tqdm(wanted, desc="verify", unit="checkpoint", leave=False, disable=None) as bar:
        for name in bar:
            try:
                checkpoint = storage.load(name)
                checkpoint.verify()
            except CheckpointNotFound:
                continue  # its writer deleted it meanwhile: neither intact nor damaged
            except CheckpointCorrupt as error:
                damaged += 1
                with tqdm.external_write_mode(file=sys.stdout):
                    say(f"damaged  {name}: {_one_line(error)}")
                    if repair:
                        say(f"moved    {name} to {storage.quarantine(name)}")
                continue
            intact += 1
            nbytes += checkpoint.nbytes
    storage.close()
    if damaged:
        say(f"{damaged} of {counted(intact + damaged, 'checkpoint')} damaged, {intact} intact")
        return 1
    say(
        f"{counted(intact, 'checkpoint')} verified, {format_bytes(nbytes)}: every byte as committed"
    )
    return 0


def pin(path: str, name: str, label: str) -> int:
    """Keep a checkpoint whatever retention says; the label says why."""
    with open_store(path) as storage:
        storage.pin(name, label)
    say(f"{name} is pinned: {label}")
    return 0


def unpin(path: str, name: str) -> int:
    """Leave a checkpoint to retention again."""
    with open_store(path) as storage:
        storage.unpin(name)
    say(f"{name} is not pinned")
    return 0


def adopt(path: str, names: Sequence[str] = ()) -> int:
    """Make copies checkpoints of a store; without names, make a directory of checkpoints a store."""
    if not names:
        checkpoints, copies = adopt_directory(path)
        say(f"{path} is a store of {counted(len(checkpoints), 'checkpoint')}")
        if copies:
            say(f"Still copies, of checkpoints that are there or damaged: {', '.join(copies)}")
        return 0
    with open_store(path) as storage:
        adopted = storage.adopt(names)
    for name in dict.fromkeys(names):
        already = "" if name in adopted else " already"
        say(f"{name} is a checkpoint of {path}{already}")
    return 0


def export_store(path: str, archive: str, names: Sequence[str] = ()) -> int:
    """Write checkpoints to a new zip file: the named ones, or all that are not damaged."""
    done = export_archive(open_store(path), archive, list(names) or None)
    say(f"{counted(len(done), 'checkpoint')} exported to {archive}, every byte verified")
    return 0


def import_store(archive: str, path: str, names: Sequence[str] = ()) -> int:
    """Commit the checkpoints of a zip file (see `export_store`) to a store, created if need be."""
    with ZarrStorage(path) as storage:
        done = import_archive(archive, storage, list(names) or None)
    why = "" if done else ": it already holds every undamaged checkpoint of the archive"
    say(f"{counted(len(done), 'checkpoint')} imported into {path}{why}")
    for name, here in done.items():
        if name != here:
            say(f"{name} is {here} here: the name was taken by another checkpoint")
    return 0


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
