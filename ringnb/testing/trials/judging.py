"""Judge a store after something went wrong: nothing lost, nothing wrong, nothing half, no litter."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from zarr.abc.store import Store

from ringnb.checkpoint.storage.adoption import adopt_directory
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.directory.work_area import work_area_of
from ringnb.checkpoint.storage.format import DOCUMENT
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.checkpoint.storage.source import DirectorySource
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.errors import CheckpointError
from ringnb.testing.trials.users import User
from ringnb.testing.trials.workloads import Expectation, Kept, arrays_of, snapshot_of

__all__ = ["Loss", "loss_after", "judge", "settle"]

_NEXT = 1000


class Loss(AssertionError):
    """A promise was broken: the message says which, and after what."""


@contextlib.contextmanager
def loss_after(what: str) -> Iterator[None]:
    """Put into the message of a `Loss` what had been done to the store."""
    try:
        yield
    except Loss as loss:
        msg = f"{what}: {loss}"
        raise Loss(msg) from loss


def judge(place: Any, expected: Expectation, *, again: bool = True) -> None:
    """Open a store anew and check all that was promised; with `again` commit once more, look for litter.

    Raise `Loss` if a committed checkpoint is missing or differs by a bit, one is listed that was never
    committed or is not whole, the order of commits is not kept, a copy is taken for a checkpoint, a
    user's file is gone, the next commit does not work, or litter remains after it.
    """
    if expected.rootless and isinstance(place, Path) and not (place / DOCUMENT).exists():
        try:
            adopt_directory(place, durable=False)  # as the user does
        except (CheckpointError, OSError) as error:
            msg = f"not adopted: {type(error).__name__}: {error}"
            raise Loss(msg) from error
    storage = ZarrStorage(place, durable=False)
    try:
        last = _judge_content(storage, expected, place)
        if isinstance(place, Path):
            _judge_quarantine(place, set(storage.list()), expected)
        _judge_users(place, expected)
        if again:
            name = f"trial_0_step_{_NEXT}"
            storage.save(name, snapshot_of(_NEXT))
            after = replace(expected, must={**expected.must, name: Kept(_NEXT, place=_NEXT)})
            if _judge_content(storage, after, place) <= last or storage.list()[-1] != name:
                msg = "the next commit is not the newest"
                raise Loss(msg)
            if isinstance(place, Path):
                _judge_litter(place)
            _judge_users(place, expected)
    except (CheckpointError, OSError) as error:
        msg = f"{type(error).__name__}: {error}"
        raise Loss(msg) from error
    finally:
        storage.close()


def settle(place: Any, expected: Expectation) -> Expectation:
    """Judge a store that goes on being used; return what it has to hold from now on."""
    judge(place, expected, again=False)
    everything = expected.everything()
    must = {
        e.name: replace(
            everything[e.name],
            pins=frozenset({e.pin}),
            place=e.sequence,
            copies=frozenset({e.copy is not None}),
            marks=frozenset({User(place).mark_of(e.name)}),
        )
        for e in ZarrStorage(place).catalogue()
    }
    quarantined = {n: k for n, k in expected.quarantined.items() if n not in must}
    return replace(expected, must=must, may={}, quarantined=quarantined, rootless=False)


def _judge_content(storage: ZarrStorage, expected: Expectation, place: Any) -> int:
    entries = storage.catalogue()
    names = [e.name for e in entries]
    everything = expected.everything()
    missing = set(expected.must) - set(names)
    extra = set(names) - set(everything)
    if missing or extra or any(e.damaged for e in entries):
        msg = f"listed: {entries}; missing: {sorted(missing)}; never committed: {sorted(extra)}"
        raise Loss(msg)
    ours = [e for e in entries if e.copy is None]
    sequences = [e.sequence for e in ours]
    if sequences != sorted(set(sequences)):
        msg = f"sequence numbers {sequences}"
        raise Loss(msg)
    in_order = sorted(ours, key=lambda e: everything[e.name].place)
    if ours != in_order or (
        ours and storage.history(ours[0].name_prefix, ours[0].kernel_id) != ours
    ):
        msg = f"the order is {[e.name for e in ours]}, not {[e.name for e in in_order]}"
        raise Loss(msg)
    user = User(place) if isinstance(place, Path | Store) else None
    for entry in entries:
        kept = everything[entry.name]
        checkpoint = storage.load(entry.name)
        _judge_state(checkpoint, kept)
        _judge_arrays(checkpoint, kept)
        if checkpoint.pinned != entry.pin:
            msg = f"{entry.name} is pinned as {checkpoint.pinned!r} and listed as {entry.pin!r}"
            raise Loss(msg)
        if entry.pin not in kept.pins:
            msg = f"{entry.name} has the pin {entry.pin!r}, not one of {set(kept.pins)}"
            raise Loss(msg)
        _judge_identity(entry, kept)
        if user is not None and (mark := user.mark_of(entry.name)) not in kept.marks:
            msg = f"{entry.name} has the user's attribute {mark!r}, not one of {set(kept.marks)}"
            raise Loss(msg)
    for name in {*expected.may, *expected.quarantined} - set(names):
        if storage.exists(name) and not (user and user.has_all(name)):
            msg = f"{name} is not listed, but its name is taken"
            raise Loss(msg)
    return max(sequences, default=0)


def _judge_identity(entry: CheckpointInfo, kept: Kept) -> None:
    is_copy = entry.copy is not None
    original = kept.snapshot
    same_id = is_copy or kept.same_id
    if (
        is_copy not in kept.copies
        or (entry.id == original.id) != same_id
        or (entry.run, entry.parent_id) != (original.run, original.parent_id)
    ):
        msg = f"{entry}, but {kept} was committed"
        raise Loss(msg)


def _judge_users(place: Any, expected: Expectation) -> None:
    if expected.users and (lost := User(place).lost(expected.users)):
        msg = f"files of the user are gone: {sorted(lost)}"
        raise Loss(msg)


def _judge_state(checkpoint: Checkpoint, kept: Kept) -> None:
    checkpoint.verify()
    original, found = kept.snapshot, checkpoint.numpy()
    whole = {
        name: array[(slice(None),) * len(array.shape)] for name, array in original.fields.items()
    }
    same = list(found) == list(whole) and all(
        found[n].dtype == a.dtype and np.array_equal(found[n], a) for n, a in whole.items()
    )
    steps = [part["step"] for part in original.cut.get("parts", ())]
    parts = [checkpoint.part(slot) for slot in checkpoint.parts]
    if (
        not same
        or checkpoint.params != dict(original.params)
        or [part.step for part in parts] != steps
        or any(
            not np.array_equal(p.numpy()[n], found[n][i]) for i, p in enumerate(parts) for n in p
        )
    ):
        msg = f"{checkpoint.name} is not what was committed"
        raise Loss(msg)


def _judge_arrays(checkpoint: Checkpoint, kept: Kept) -> None:
    found, original = checkpoint.arrays(), arrays_of(kept.run)
    if kept.is_cut:  # each actor has them
        found = checkpoint.part(2).arrays()
    if found.keys() != original.keys() or any(
        not np.array_equal(found[name], array) for name, array in original.items()
    ):
        msg = f"{checkpoint.name}: its arrays are {found}"
        raise Loss(msg)


def _judge_quarantine(store: Path, names: set[str], expected: Expectation) -> None:
    folder = work_area_of(store) / "damaged"
    for name in set(expected.quarantined) - names:
        checkpoint = Checkpoint.from_source(name, DirectorySource(folder / name))
        _judge_state(checkpoint, expected.quarantined[name])


def _judge_litter(store: Path) -> None:
    area = work_area_of(store)
    litter = [p for f in ("staging", "trash") for p in (area / f).iterdir()]
    if litter:
        msg = f"litter: {[str(p.relative_to(area)) for p in litter]}"
        raise Loss(msg)
