"""Every bit of a stored checkpoint is flipped in turn, every file cut off at every byte, and so on."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.errors import CheckpointCorrupt
from ringnb.testing.trials.judging import Loss
from ringnb.testing.trials.workloads import snapshot_of

__all__ = ["damage_everything"]

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
