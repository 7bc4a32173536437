"""`ringnb verify`, `pin`, `prune`, `adopt`, `export` and so on: look after a store without a session.

Each function does one command and returns its exit status. `ls`, `verify` and `export` only read, take
no lock and work beside a running writer; the others, and ``verify --repair``, hold the store's write
lock while they run. This module knows checkpoints and storage, and no kernel.
"""

from __future__ import annotations

import shlex
import sys
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence

from tqdm import tqdm

from ringnb._support.text import counted, format_bytes, format_table, one_line, say
from ringnb.checkpoint.pruning import PrunedRun, prune_runs
from ringnb.checkpoint.storage.adoption import adopt_directory
from ringnb.checkpoint.storage.archive import export_archive, import_archive, open_archive
from ringnb.checkpoint.storage.arrays import array_keys
from ringnb.checkpoint.storage.locations import is_remote, local_path
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.cli import listing
from ringnb.errors import CheckpointCorrupt, CheckpointError, CheckpointNotFound

__all__ = [
    "adopt",
    "export_store",
    "import_store",
    "list_store",
    "pin",
    "prune",
    "unpin",
    "verify_store",
]


def _open_store(path: str) -> ZarrStorage:
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


def list_store(
    path: str, *, as_json: bool = False, everything: bool = False, only_runs: bool = False
) -> int:
    """Print what a store holds; see `ringnb.cli.listing`."""
    storage = _open_store(path)
    return listing.list_store(
        path, storage, as_json=as_json, everything=everything, only_runs=only_runs
    )


def verify_store(path: str, names: Sequence[str] = (), *, repair: bool = False) -> int:
    """Read every byte of the named checkpoints, or of all; return 1 if any is damaged, repaired or not.

    With `repair` the damaged ones are moved out of the store; nothing is deleted.
    """
    storage = _open_store(path)
    held = storage.list()  # what else lies there is the user's, and never damaged
    for name in names:
        if name not in held:
            look = f"ringnb ls {shlex.quote(path)}"
            msg = f"{path!r} has no checkpoint {name!r}: see what there is with {look}"
            raise CheckpointNotFound(msg)
    wanted = list(dict.fromkeys(names)) or held
    if not wanted:
        say(f"{path}: a ringnb store without checkpoints, nothing to verify")
        return 0
    intact = damaged = nbytes = 0
    named: Counter[str] = Counter()  # read-only arrays, by how many checkpoints name them
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
                    say(f"damaged  {name}: {one_line(error)}")
                    if repair:
                        say(f"moved    {name} to {storage.quarantine(name)}")
                continue
            intact += 1
            nbytes += checkpoint.nbytes
            named.update(array_keys(checkpoint.code).values())
    arrays, bad_arrays = _verify_arrays(storage, named)
    storage.close()
    if damaged:
        say(f"{damaged} of {counted(intact + damaged, 'checkpoint')} damaged, {intact} intact")
    if damaged or bad_arrays:
        return 1
    also = f", and {counted(len(named), 'read-only array')}" if named else ""
    size = format_bytes(nbytes + arrays)
    say(f"{counted(intact, 'checkpoint')}{also} verified, {size}: every byte as committed")
    return 0


def _verify_arrays(storage: ZarrStorage, named: Mapping[str, int]) -> tuple[int, int]:
    """Read the read-only arrays that checkpoints name; return bytes, and how many are damaged."""
    nbytes = bad = 0
    for key, count in named.items():
        try:
            nbytes += storage.read_array(key).nbytes
        except (CheckpointCorrupt, CheckpointNotFound) as error:
            bad += 1
            say(f"damaged  {one_line(error)}. {counted(count, 'checkpoint')} of these name it")
    return nbytes, bad


def pin(path: str, name: str, label: str) -> int:
    """Keep a checkpoint whatever retention says; the label says why."""
    with _open_store(path) as storage:
        storage.pin(name, label)
    say(f"{name} is pinned: {label}")
    return 0


def unpin(path: str, name: str) -> int:
    """Leave a checkpoint to retention again."""
    with _open_store(path) as storage:
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
    with _open_store(path) as storage:
        adopted = storage.adopt(names)
    for name in dict.fromkeys(names):
        already = "" if name in adopted else " already"
        say(f"{name} is a checkpoint of {path}{already}")
    return 0


def prune(path: str, *, keep_runs: int = 1, yes: bool = False) -> int:
    """Show which runs would go, ask, and delete them; if nobody can answer, only show, without `yes`."""
    with _open_store(path) as storage:
        shown = prune_runs(storage, keep_runs, dry_run=True)
        going = [e for run in shown for e in run.delete]
        if not going:
            what = counted(keep_runs, "run")
            say(
                f"{path}: nothing to prune, every actor has {what} at most, or earlier ones must stay"
            )
            return 0
        _say_pruned(shown, storage.freed_by([e.name for e in going]))
        if not yes and not sys.stdin.isatty():
            say("Nothing was deleted: --yes deletes it")
            return 0
        if not yes and not _agreed("Delete this? [y/N] "):
            say("Nothing was deleted")
            return 0
        # Only what was shown: a run that was begun meanwhile makes another one an earlier run.
        done = prune_runs(storage, keep_runs, only={e.id for e in going})
    say(f"{counted(sum(len(run.delete) for run in done), 'checkpoint')} deleted")
    return 0


def _say_pruned(runs: Sequence[PrunedRun], freed: int) -> None:
    rows = listing.run_rows([list(run.delete) for run in runs])
    for line in format_table(listing.RUN_HEADER, rows, right=("count", "steps", "size")):
        say(line)
    for e, why in [kept for run in runs for kept in run.keep]:
        say(f"{e.name} stays: {why}")
    going = sum(len(run.delete) for run in runs)
    say()
    say(
        f"{counted(going, 'checkpoint')} of {counted(len(runs), 'earlier run')} would go, which frees "
        f"{format_bytes(freed)}"
    )


def _agreed(question: str) -> bool:
    sys.stdout.write(question)
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")  # at the end of input: no


def export_store(path: str, archive: str, names: Sequence[str] = ()) -> int:
    """Write checkpoints to a new zip file: the named ones, or all that are not damaged."""
    storage = _open_store(path)
    done = export_archive(storage, archive, list(names) or None)
    say(f"{counted(len(done), 'checkpoint')} exported to {archive}, every byte verified")
    damaged = [] if names else [e.name for e in storage.catalogue() if e.damaged]
    if damaged:
        say(f"Left out, as their metadata is damaged: {', '.join(damaged)}")
    return 0


def import_store(archive: str, path: str, names: Sequence[str] = ()) -> int:
    """Commit the checkpoints of a zip file (see `export_store`) to a store, created if need be."""
    with ZarrStorage(path) as storage:
        held = len(storage.list())
        try:
            done = import_archive(archive, storage, list(names) or None)
        except Exception:
            if came := len(storage.list()) - held:
                say(f"{counted(came, 'checkpoint')} imported into {path} in spite of this:")
            raise
    why = "" if done else ": it already holds every undamaged checkpoint of the archive"
    say(f"{counted(len(done), 'checkpoint')} imported into {path}{why}")
    for name, here in done.items():
        if name != here:
            say(f"{name} is {here} here: the name was taken by another checkpoint")
    return 0
