"""One consistent cut: several actors' states, joined into one snapshot and committed as one checkpoint.

`CheckpointManager.commit_cut` calls these without its lock. A storage sees one snapshot with one name:
whatever makes a checkpoint all there or not there does so for a cut. What is in it:
`ringnb.checkpoint.storage.cut_record`.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt

from ringnb._support.checks import check_json
from ringnb.checkpoint.committing import (
    EventEmitter,
    Saving,
    check_response,
    make_snapshot,
    release,
    retire,
    save_all,
)
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.naming import expand_prefix
from ringnb.checkpoint.notices import warn
from ringnb.checkpoint.registration import RegisteredActor
from ringnb.checkpoint.runs import Lineage, continue_run
from ringnb.checkpoint.schedule import PendingRequest, Schedule
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.cut_record import CUT, numbers_to_json, part_name, split_name
from ringnb.checkpoint.storage.document import describe_bad
from ringnb.checkpoint.storage.records import CheckpointInfo, Snapshot
from ringnb.messages.snapshots import SnapshotResponse

__all__ = [
    "Parents",
    "Parts",
    "StackedArray",
    "answering",
    "cut_key",
    "finish_cut",
    "join",
    "lineages_in",
    "run_of_cuts",
    "save_cut",
    "singles",
    "slots_by_key",
    "slots_of",
    "stored_names",
]

Parts: TypeAlias = Sequence[SnapshotResponse]
Parents: TypeAlias = Mapping[int, Lineage | None]  # by slot

_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_-]")
_MOST = 60  # characters of a type in an array's name


@final
class StackedArray:
    """Arrays of one shape along a new first axis, copied where a slice is taken."""

    def __init__(self, arrays: Sequence[npt.NDArray[Any]]) -> None:
        self._arrays = arrays
        self.dtype = arrays[0].dtype
        self.shape = (len(arrays), *arrays[0].shape)

    def __getitem__(self, box: tuple[slice, ...]) -> npt.NDArray[Any]:
        """Return a copy of a box: one slice for each axis."""
        return np.stack([array[box[1:]] for array in self._arrays[box[0]]])


def cut_key(name_prefix: str) -> tuple[str, str]:
    """Return prefix and identity of the cuts of managers with this configured prefix."""
    return expand_prefix(name_prefix, CUT), CUT


def slots_by_key(
    name_prefix: str, actors: Mapping[int, RegisteredActor]
) -> dict[tuple[str, str], int]:
    """Return the slot of each actor by prefix and identity; under that of cuts, 0."""
    slots = {(a.name_prefix, a.kernel_id): slot for slot, a in actors.items()}
    return {cut_key(name_prefix): 0, **slots}


def slots_of(info: CheckpointInfo, slot: int, actors: Mapping[int, RegisteredActor]) -> list[int]:
    """Return the slots of the actors of which a cut has states; for any other checkpoint, its own."""
    ids = {part.kernel_id for part in info.parts}
    return [s for s, actor in actors.items() if actor.kernel_id in ids] or [slot]


def join(parts: Sequence[Snapshot], name_prefix: str, attrs: Mapping[str, Any]) -> Snapshot:
    """Return the cut of some actors' snapshots; `name_prefix` is the configured one."""
    kinds: dict[Any, list[Snapshot]] = {}
    for one in parts:
        kinds.setdefault(_kind_of(one), []).append(one)
    fields: dict[str, Any] = {}
    field_attrs: dict[str, dict[str, Any]] = {}
    arrays: dict[str, npt.NDArray[Any]] = {}
    described, entries = [], []
    labels = _labels([members[0].kernel_type for members in kinds.values()])
    for number, (label, members) in enumerate(zip(labels, kinds.values(), strict=True)):
        first, names = members[0], {}
        for field, array in first.fields.items():
            name = names[field] = f"{label}{field}"
            fields[name] = StackedArray([one.fields[field] for one in members])
            field_attrs[name] = dict(first.field_attrs.get(field, {}))
            dims = field_attrs[name].get("dims") or [f"{field}_{i}" for i in range(array.ndim)]
            field_attrs[name]["dims"] = ("actor", *dims)
        arrays |= {f"{number}:{name}": array for name, array in first.arrays.items()}
        nbytes = sum(array.nbytes for array in first.fields.values())
        kind = {"fields": names, "nbytes": nbytes, "backend": first.backend}
        described.append({**kind, "code": check_json(first.code, "code")})
        entries += [_entry(one, number, index) for index, one in enumerate(members)]
    # What is wrong with one actor's state is wrong with the cut.
    bad = [{**b, "why": f"actor {one.kernel_id!r}: {b['why']}"} for one in parts for b in one.bad]
    prefix, identity = cut_key(name_prefix)
    return Snapshot(
        fields=fields,
        name_prefix=prefix,
        kernel_id=identity,
        kernel_type=CUT,
        actor_slot=0,
        step=max(one.step for one in parts),
        request_id=0,
        field_attrs=field_attrs,
        # A cut goes on with the run of the last one if all its actors go on with theirs.
        run=_digest(sorted((one.kernel_id, one.run) for one in parts)),
        attrs=attrs,
        examine=any(one.examine for one in parts),
        bad=bad,
        arrays=arrays,
        cut={"kinds": described, "parts": sorted(entries, key=lambda e: e["actor_slot"])},
    )


def _kind_of(one: Snapshot) -> Any:
    shapes = tuple((name, array.shape, array.dtype) for name, array in one.fields.items())
    attrs = repr({name: dict(one.field_attrs[name]) for name in sorted(one.field_attrs)})
    return one.kernel_type, shapes, attrs, one.backend, repr(one.code)


def _labels(types: Sequence[str]) -> list[str]:
    """Return what the arrays of each kind begin with: nothing, if there is but one kind."""
    if len(types) == 1:
        return [""]
    labels: list[str] = []
    for kind in types:
        text = _NOT_ALLOWED.sub("-", kind)[:_MOST].lstrip("_") or "kind"
        same = sum(label.partition(".")[0].lower() == text.lower() for label in labels)
        labels.append(f"{text}.{same + 1}." if same else f"{text}.")
    return labels


def _entry(one: Snapshot, kind: int, index: int) -> dict[str, Any]:
    """Return what is recorded of one actor."""
    entry: dict[str, Any] = {
        "actor_slot": one.actor_slot,
        "kernel_id": one.kernel_id,
        "kernel_type": one.kernel_type,
        "name_prefix": one.name_prefix,
        "step": one.step,
        "request_id": one.request_id,
        "id": one.id,
        "run": one.run,
        "parent": one.parent,
        "parent_id": one.parent_id,
        "params": dict(one.params),
        "kind": kind,
        "index": index,
    }
    if one.clock is not None:
        seconds, since, dt = one.clock
        entry["time"] = one.time
        entry["clock"] = {"time": seconds, "step": since, "dt": dt}
    if one.reduced:
        entry["reduced"] = numbers_to_json(one.reduced)
    return entry


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


@contextlib.contextmanager
def answering(
    schedule: Schedule,
    lock: threading.Lock,
    clock: Callable[[], float],
    events: EventEmitter,
    parts: Parts,
) -> Iterator[list[PendingRequest]]:
    """Have the requests that a cut answers be saved in the block, which ends them unless it raises."""
    with lock:
        wanted = schedule.begin_cut([one.request_id for one in parts])
    try:
        yield wanted
    except BaseException as error:  # an interrupt too: no request is left pending for ever
        with lock:
            failed = [pending for pending in wanted if not schedule.has_ended(pending)]
            for pending in failed:
                schedule.fail(pending, clock())
        ids = {pending.request.request_id for pending in failed}
        for one in parts:
            if one.request_id in ids:
                events.failed(one, str(error) or type(error).__name__)
        raise


def save_cut(
    storage: CheckpointStorage,
    config: CheckpointConfig,
    actors: Mapping[int, RegisteredActor],
    parts: Parts,
    parents: Parents,
    attrs: Mapping[str, Any] | None,
    wanted: Sequence[PendingRequest],
) -> Saving:
    """Save the cut of some answers under a free name; raises as `CheckpointManager.commit_cut`."""
    attrs = attrs or next((pending.attrs for pending in wanted if pending.attrs), None)
    try:
        cut = _make(storage, config, actors, parts, parents, check_json(attrs or {}, "attrs"))
        saving = Saving(None, parts[0], cut)
        save_all(storage, [saving])
        if saving.bad and wanted:
            # What is wrong with one is wrong with all that are linked with it, which have asked for it.
            saving.bad_slots = [one.actor_slot for one in parts]
        elif saving.bad:  # found while the data is there
            saving.bad_slots = [e["actor_slot"] for e in cut.cut["parts"] if _is_bad(saving, e)]
    finally:
        for one in parts:
            release(one.data)
    if saving.error is not None:
        raise saving.error
    assert saving.name is not None  # it was saved
    return saving


def _is_bad(saving: Saving, entry: Mapping[str, Any]) -> bool:
    """Return whether what is not good in a cut is of this actor."""
    cut, bad = saving.snapshot, saving.bad
    here = slice(entry["index"], entry["index"] + 1)
    names = cut.cut["kinds"][entry["kind"]]["fields"].values()
    arrays = [cut.fields[name] for name in {str(b.get("field")) for b in bad}.intersection(names)]
    its = f"actor {entry['kernel_id']!r}: "  # see `join`
    return any(str(b.get("why", "")).startswith(its) for b in bad) or not all(
        np.isfinite(array[(here, *map(slice, array.shape[1:]))]).all() for array in arrays
    )


def _make(
    storage: CheckpointStorage,
    config: CheckpointConfig,
    actors: Mapping[int, RegisteredActor],
    parts: Parts,
    parents: Parents,
    attrs: Mapping[str, Any],
) -> Snapshot:
    """Join answers with what was registered."""
    snapshots = []
    for one in parts:
        check_response(one)
        actor, parent = actors.get(one.actor_slot), parents[one.actor_slot]
        if actor is None or not one.success:
            why = "no actor is registered there" if actor is None else one.error
            msg = f"slot {one.actor_slot} can be no part of a cut: {why}"
            raise ValueError(msg)
        snapshot = make_snapshot(one, actor, parent, None, config.state_guard)
        if parent is not None and parent.run is None:
            snapshot = continue_run(storage, snapshot, parent)
        snapshots.append(snapshot)
    return join(snapshots, config.name_prefix, attrs)


def lineages_in(saving: Saving) -> dict[int, Lineage]:
    """Return what each actor's state continues from after its cut was saved, by slot."""
    assert saving.name is not None  # it was saved
    return {
        e["actor_slot"]: Lineage(part_name(saving.name, e["actor_slot"]), e["id"], e["run"])
        for e in saving.snapshot.cut["parts"]
    }


def stored_names(lineages: Iterable[Lineage]) -> set[str]:
    """Return the names of what lies in the store: of a part, that of its cut."""
    return {split_name(lineage.name)[0] for lineage in lineages}


def singles(history: Iterable[CheckpointInfo]) -> list[CheckpointInfo]:
    """Return an actor's history without its parts of cuts: retention counts these as cuts."""
    return [e for e in history if split_name(e.name)[1] is None]


def run_of_cuts(
    cuts: list[CheckpointInfo], lives: Iterable[Lineage]
) -> tuple[list[CheckpointInfo], str | None, list[str]]:
    """Return what `preview_runs` wants: the cuts, their newest run, and the names that stay."""
    return cuts, cuts[-1].run if cuts else None, sorted(stored_names(lives))


def finish_cut(
    storage: CheckpointStorage,
    config: CheckpointConfig,
    saving: Saving,
    lives: Iterable[Lineage],
    events: EventEmitter,
    parts: Parts,
    *,
    newly_bad: bool,
) -> int:
    """Tell of a cut that was saved, and delete what retention no longer keeps; return its bytes.

    `newly_bad`: whether an actor's state is not good that was so at its last commit.
    """
    cut = saving.snapshot
    assert saving.name is not None  # it was saved
    events.committed_cut(saving)
    if saving.bad:
        why = "; ".join(describe_bad(saving.bad))
        for one in parts:
            if one.actor_slot in saving.bad_slots:
                events.bad(one, part_name(saving.name, one.actor_slot), why)
        if newly_bad:
            warn(f"the state in cut {saving.name!r} is not good: {why}")
    keep = {saving.name, *stored_names(lives)}
    retired = retire(storage, cut.name_prefix, cut.kernel_id, cut.run, config.policy, keep)
    for part in [part for whole in retired for part in whole.parts]:
        events.retired(part.actor_slot, part)
    return sum(whole.nbytes for whole in retired)
