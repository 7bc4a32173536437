"""Judge a store after something went wrong: nothing lost, nothing wrong, nothing half, no litter."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.directory.work_area import work_area_of
from ringnb.checkpoint.storage.source import DirectorySource
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.errors import CheckpointError
from ringnb.testing.trials.workloads import Expectation, Kept, snapshot_of

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
    committed or is not whole, the order of commits is not kept, the next commit does not work, or litter
    remains after it.
    """
    storage = ZarrStorage(place, durable=False)
    try:
        last = _judge_content(storage, expected)
        if isinstance(place, Path):
            _judge_aside(place, set(storage.list()), expected)
        if again:
            name = f"trial_0_step_{_NEXT}"
            storage.save(name, snapshot_of(_NEXT))
            after = replace(expected, must={**expected.must, name: Kept(_NEXT)})
            if _judge_content(storage, after) <= last or storage.list()[-1] != name:
                msg = "the next commit is not the newest"
                raise Loss(msg)
            if isinstance(place, Path):
                _judge_litter(place)
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
        e.name: Kept(everything[e.name].number, frozenset({e.pin}))
        for e in ZarrStorage(place).catalogue()
    }
    return Expectation(must=must, aside={n: k for n, k in expected.aside.items() if n not in must})


def _judge_content(storage: ZarrStorage, expected: Expectation) -> int:
    entries = storage.catalogue()
    names = [e.name for e in entries]
    missing = set(expected.must) - set(names)
    extra = set(names) - set(expected.must) - set(expected.may) - set(expected.aside)
    if missing or extra or any(e.damaged for e in entries):
        msg = f"listed: {entries}; missing: {sorted(missing)}; never committed: {sorted(extra)}"
        raise Loss(msg)
    sequences = [e.sequence for e in entries]
    if sequences != sorted(set(sequences)):
        msg = f"sequence numbers {sequences}"
        raise Loss(msg)
    for entry in entries:
        kept = expected.everything()[entry.name]
        checkpoint = storage.load(entry.name)
        _judge_state(checkpoint, kept)
        if checkpoint.pinned != entry.pin:
            msg = f"{entry.name} is pinned as {checkpoint.pinned!r} and listed as {entry.pin!r}"
            raise Loss(msg)
        if entry.pin not in kept.pins:
            msg = f"{entry.name} has the pin {entry.pin!r}, not one of {set(kept.pins)}"
            raise Loss(msg)
    for name in {*expected.may, *expected.aside} - set(names):
        if storage.exists(name):
            msg = f"{name} is not listed, but its name is taken"
            raise Loss(msg)
    return max(sequences, default=0)


def _judge_state(checkpoint: Checkpoint, kept: Kept) -> None:
    checkpoint.verify()
    original = snapshot_of(kept.number)
    found = checkpoint.numpy()
    same = list(found) == list(original.fields) and all(
        found[n].dtype == a.dtype and np.array_equal(found[n], a)
        for n, a in original.fields.items()
    )
    if not same or checkpoint.params != dict(original.params):
        msg = f"{checkpoint.name} is not what was committed"
        raise Loss(msg)


def _judge_aside(store: Path, names: set[str], expected: Expectation) -> None:
    folder = work_area_of(store) / "damaged"
    for name in set(expected.aside) - names:
        checkpoint = Checkpoint.from_source(name, DirectorySource(folder / name))
        _judge_state(checkpoint, expected.aside[name])


def _judge_litter(store: Path) -> None:
    side = work_area_of(store)
    litter = [p for f in ("staging", "trash") for p in (side / f).iterdir()]
    if litter:
        msg = f"litter: {[str(p.relative_to(side)) for p in litter]}"
        raise Loss(msg)
