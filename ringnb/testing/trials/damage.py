"""Every bit of a stored checkpoint is flipped in turn, every file cut off at every byte, and so on."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from ringnb.checkpoint.storage.archive import import_archive
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.errors import CheckpointCorrupt, CheckpointError
from ringnb.testing.trials.judging import Loss, judge, loss_after
from ringnb.testing.trials.workloads import Runner, archive, snapshot_of

__all__ = ["damage_everything", "damage_what_users_touch"]

_ONE, _TWO = "trial_0_step_1", "trial_0_step_2"


def damage_everything(*, every: int = 1, folder: Path | None = None) -> Counter[str]:
    """Damage a checkpoint in every way, at every n-th bit and byte; return how often, by kind.

    Each time it must be found, as `CheckpointCorrupt` and nothing else, and the checkpoint beside
    it must be whole; files that are added must not matter. Otherwise `Loss` is raised. A
    memory-backed `folder` is fastest.
    """
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=folder) as name:
        store = Path(name, "s.zarr")
        with ZarrStorage(store, durable=False, chunk_bytes=1024) as storage:
            for number in (1, 2):
                storage.save(f"trial_0_step_{number}", snapshot_of(number))
        storage = ZarrStorage(store)
        files = sorted(p for p in (store / _ONE).rglob("*") if p.is_file())
        for path in files:
            whole = path.read_bytes()
            key = str(path.relative_to(store / _ONE))
            for bit in range(0, 8 * len(whole), every):
                raw = bytearray(whole)
                raw[bit // 8] ^= 1 << (bit % 8)
                path.write_bytes(raw)
                _must_be_found(storage, f"bit {bit} of {key} flipped")
                counts["bits"] += 1
            for size in range(0, len(whole), every):
                path.write_bytes(whole[:size])
                _must_be_found(storage, f"{key} cut off at {size}")
                counts["truncations"] += 1
            path.write_bytes(whole + b"\0")
            _must_be_found(storage, f"{key} with a byte more")
            counts["appended"] += 1
            path.unlink()
            _must_be_found(storage, f"{key} missing")
            counts["missing"] += 1
            path.write_bytes(whole)
        _swap(store, files, storage, counts)
        for key in ("u/c.7.0", "u/notes.txt", "v/c.0", "notes.txt"):
            path = store / _ONE / key
            existed = path.parent.exists()
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"something")
            _must_not_matter(storage, f"{key} added")
            path.unlink()
            if not existed:
                path.parent.rmdir()
            counts["extra"] += 1
        for name_ in (_ONE, _TWO):
            storage.load(name_).verify()
    return counts


def damage_what_users_touch(*, every: int, folder: Path | None = None) -> Counter[str]:
    """Flip every n-th bit of what users handle; return how often, by kind.

    A copy must not be adopted then; of an archive nothing wrong may be imported; of a document with
    attributes of the user's, either the damage is found or what ringnb committed is the same.
    """
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=folder) as name:
        store = Path(name, "s.zarr")
        runner = Runner(store, durable=False)
        for operation in ("save", "copy", "save", "mark", "pin"):
            runner.run(operation)
        runner.close()
        expected = runner.expected
        with ZarrStorage(store, durable=False) as storage:
            for path in sorted(p for p in (store / "KEEP_1").rglob("*") if p.is_file()):
                for what in _flips(path, every):
                    try:
                        storage.adopt(["KEEP_1"])
                    except CheckpointError:
                        counts["bits"] += 1
                    else:
                        msg = f"copy, {what}: adopted"
                        raise Loss(msg)
            original = storage.load(_TWO)
            same = (original.document.record, original.document.crcs)
            for what in _flips(store / _TWO / "zarr.json", every):
                counts["bits"] += 1
                try:
                    found = storage.load(_TWO)
                    found.verify()
                except CheckpointCorrupt:
                    continue
                if (found.document.record, found.document.crcs) != same:
                    msg = f"a document with attributes of the user's, {what}: not found"
                    raise Loss(msg)
            judge(store, expected, again=False)
            runner = Runner(store, durable=False, expected=expected)
            runner.run("import")
            imported = dict(runner.expected.must.items() - expected.must.items())
            storage.delete_many(imported)
            may = replace(expected, may=imported)
            damaged = Path(name, "a.zip")
            damaged.write_bytes(Path(archive()).read_bytes())
            for what in _flips(damaged, every):
                counts["bits"] += 1
                with contextlib.suppress(CheckpointError):
                    import_archive(damaged, storage)
                with loss_after(f"an archive, {what}"):
                    judge(store, may, again=False)
                storage.delete_many([n for n in storage.list() if n not in expected.must])
            runner.close()
    return counts


def _flips(path: Path, every: int) -> Iterator[str]:
    """Flip every n-th bit of a file in turn; yield which, while it is."""
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), every):
        raw = bytearray(whole)
        raw[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(raw)
        yield f"bit {bit} of {path.name} flipped"
    path.write_bytes(whole)


def _swap(store: Path, files: list[Path], storage: ZarrStorage, counts: Counter[str]) -> None:
    """Exchange each file with every other one of this checkpoint, and with its like in the other."""
    for path in files:
        whole = path.read_bytes()
        like = store / _TWO / path.relative_to(store / _ONE)
        for other in [*files, like]:
            if other.read_bytes() != whole:
                path.write_bytes(other.read_bytes())
                _must_be_found(storage, f"{path.name} exchanged for {other.relative_to(store)}")
                counts["swapped"] += 1
        path.write_bytes(whole)


def _must_not_matter(storage: ZarrStorage, what: str) -> None:
    """A user may put files beside those of a checkpoint."""
    try:
        storage.load(_ONE).verify()
    except CheckpointCorrupt as error:
        msg = f"{what}: taken for damage ({error})"
        raise Loss(msg) from error


def _must_be_found(storage: ZarrStorage, what: str) -> None:
    looks: list[Callable[[], object]] = [
        lambda: storage.load(_ONE).verify(),
        lambda: storage.load(_ONE).numpy(),
    ]
    for look in looks:
        try:
            look()
        except CheckpointCorrupt:
            continue
        except Exception as error:
            msg = f"{what}: {error!r} instead of CheckpointCorrupt"
            raise Loss(msg) from error
        msg = f"{what}: not found"
        raise Loss(msg)
