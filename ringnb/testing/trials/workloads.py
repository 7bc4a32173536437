"""Small workloads for trials, and what must be true after each of their operations.

A workload is a sequence of operations on one store by one actor, and by the user. `Expectation` says
which checkpoints were committed, with what content, in what order and run, and which files are the
user's; while an operation runs, either outcome is right, but nothing else. It knows the rules, and
nothing of the code that keeps them.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
from zarr.abc.store import Store

from ringnb.checkpoint.committing import retire
from ringnb.checkpoint.cutting import join
from ringnb.checkpoint.pruning import prune_runs
from ringnb.checkpoint.retention import keep_last
from ringnb.checkpoint.storage.adoption import adopt_directory
from ringnb.checkpoint.storage.archive import import_archive
from ringnb.checkpoint.storage.arrays import array_digest
from ringnb.checkpoint.storage.directory import backend as directory
from ringnb.checkpoint.storage.directory.barrier import Barrier
from ringnb.checkpoint.storage.directory.lock import WriteLock
from ringnb.checkpoint.storage.records import Snapshot
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.testing.trials.users import User, archive_of, archive_path

__all__ = [
    "OPERATIONS",
    "ORDINARY_LIFE",
    "Expectation",
    "Kept",
    "Runner",
    "archive",
    "arrays_of",
    "snapshot_of",
    "workloads",
]

_PREFIX, _ACTOR = "trial", "actor"
_CHUNK_BYTES = 1024
OPERATIONS = ("save", "share", "group", "delete", "retire", "pin", "unpin", "quarantine", "reopen")
# What else users do, or have ringnb do, to a store.
ORDINARY_LIFE = (
    *("drop", "fresh", "branch", "prune", "import", "adopt", "readopt", "other"),
    *("mine", "chunk", "copy", "mark", "cut"),
)
_ARCHIVED = (901, 902)  # the numbers of the states in the archive, oldest first


def snapshot_of(number: int, run: int = 0, parent: int | None = None) -> Snapshot:
    """Return the state that is committed as the n-th: two fields, three chunks, one unchanged."""
    arrays = arrays_of(run)
    u = np.arange(320, dtype="<f4").reshape(40, 8)
    u[32:] += number
    return Snapshot(
        fields={"u": u, "n": np.array([number, -number], "<i2")},
        name_prefix=_PREFIX,
        kernel_id=_ACTOR,
        kernel_type="trial",
        actor_slot=0,
        step=number,
        request_id=number,
        params={"number": number},
        code={"arrays": {name: array_digest(array) for name, array in arrays.items()}},
        arrays=arrays,
        run=_id(run),
        id=_id(number),
        parent_id=None if parent is None else _id(parent),
    )


def cut_of(number: int, run: int = 0, parent: int | None = None) -> Snapshot:
    """Return the cut of three actors that is committed as the n-th; it has the identity of the actor."""
    state = snapshot_of(number, run, parent)
    parts = [
        replace(
            state,
            actor_slot=slot,
            kernel_id=f"{_ACTOR} {slot}",
            step=number + slot,
            fields={name: array + slot for name, array in state.fields.items()},
            id=_id(10_000 + 10 * number + slot),
        )
        for slot in range(3)
    ]
    cut = join(parts, _PREFIX, {})
    same = {key: getattr(state, key) for key in ("kernel_id", "kernel_type", "params", "id", "run")}
    return replace(cut, step=number, parent_id=state.parent_id, **same)


def arrays_of(run: int) -> dict[str, npt.NDArray[np.int16]]:
    """Return what all states of a run were computed with; those of the first one with nothing."""
    return {"depth": np.array([[run, 1], [2, 3]], "<i2")} if run else {}


def _id(number: int) -> str:
    return f"{number:016x}"


def _name(number: int, slot: object = 0) -> str:
    return f"{_PREFIX}_{slot}_step_{number}"


@functools.cache
def archive() -> str:
    """Return the path of an archive with two states of the actor's first run."""
    states = {_name(n): snapshot_of(n) for n in _ARCHIVED}
    return archive_path(archive_of(states, _CHUNK_BYTES))


@dataclass(frozen=True)
class Kept:
    """What must come back of a checkpoint: the `snapshot_of` that number, with one of these pins.

    `place` gives the order of commits; of what was imported or adopted it is below 1. `copies` says
    whether it is listed as the user's copy, `marks` what the user has added to its document, each one
    of these. If not `same_id` it has got a new id, being adopted beside its original.
    """

    number: int
    pins: frozenset[str | None] = frozenset({None})
    place: int = 0
    run: int = 0
    parent: int | None = None  # the number that its run branches from
    same_id: bool = True
    copies: frozenset[bool] = frozenset({False})
    marks: frozenset[str | None] = frozenset({None})
    is_cut: bool = False

    @property
    def snapshot(self) -> Snapshot:
        """What was committed."""
        return (cut_of if self.is_cut else snapshot_of)(self.number, self.run, self.parent)

    @property
    def is_ours(self) -> bool:
        """Whether it is surely no copy."""
        return self.copies == {False}


@dataclass(frozen=True)
class Expectation:
    """What a store may hold, by the checkpoint's name."""

    must: dict[str, Kept] = field(default_factory=dict)  # has to be there
    may: dict[str, Kept] = field(default_factory=dict)  # may be there as well, whole
    # In quarantine, or still there.
    quarantined: dict[str, Kept] = field(default_factory=dict)
    # The user's files, by content: the checkpoint in which they were put, "" beside all, and whether
    # the name is one that a chunk might have.
    users: dict[str, tuple[str, bool]] = field(default_factory=dict)
    rootless: bool = False  # the root document may be missing, until the user adopts the directory
    number: int = 0  # the highest that was given to a state
    run: int = 0  # the run that the actor is in
    parent: int | None = None  # the number of the checkpoint that this run branches from

    def everything(self) -> dict[str, Kept]:
        """Return all that may come to light."""
        return {**self.quarantined, **self.may, **self.must}

    def ours(self) -> list[tuple[str, Kept]]:
        """Return the actor's checkpoints, oldest first."""
        return sorted(((n, k) for n, k in self.must.items() if k.is_ours), key=lambda e: e[1].place)

    def key(self) -> tuple[object, ...]:
        """Return a value that two equal expectations share."""
        parts = (self.must, self.may, self.quarantined, self.users)
        return (self.rootless, *(tuple(sorted(part.items(), key=str)) for part in parts))


class Runner:
    """Runs a workload and notes what the store may hold.

    `on_change` is called with the runner when an operation begins and when it has ended; `expected` is
    what the store holds already.
    """

    def __init__(
        self,
        place: Any,
        *,
        durable: bool = True,
        on_change: Callable[[Runner], object] = lambda _: None,
        expected: Expectation | None = None,
    ) -> None:
        self.expected = expected or Expectation()
        self._place, self._durable, self._on_change = place, durable, on_change
        self._user = User(place) if isinstance(place, Path | Store) else None
        self._open()

    def successor(self) -> Runner:
        """Return the runner of another process that goes on after this one was killed."""
        return Runner(
            self._place, durable=self._durable, on_change=self._on_change, expected=self.expected
        )

    def _open(self) -> None:
        self._plain, self._sharing = (
            ZarrStorage(
                self._place,
                durable=self._durable,
                incremental=incremental,
                chunk_bytes=_CHUNK_BYTES,
            )
            for incremental in (False, True)
        )

    def close(self) -> None:
        """Give up the store's lock."""
        self._plain.close()
        self._sharing.close()

    def run(self, operation: str) -> bool:
        """Run one of `OPERATIONS`; return False if there was nothing to do."""
        done: bool = getattr(self, f"_{operation}")()
        return done

    def _during(self, expected: Expectation, then: Expectation, act: Callable[[], object]) -> bool:
        self.expected = expected
        self._on_change(self)
        act()
        self.expected = then
        self._on_change(self)
        return True

    def _next(self, count: int, *, cut: bool = False) -> dict[str, Kept]:
        """Return what the next commits are; none gets the number of one that is gone."""
        e = self.expected
        last = max([k.place for k in e.everything().values()], default=0)
        first = e.number + 1
        self.expected = replace(e, number=e.number + count)
        return {
            _name(first + i, "cut" if cut else 0): Kept(
                first + i, place=max(last, 0) + 1 + i, run=e.run, parent=e.parent, is_cut=cut
            )
            for i in range(count)
        }

    def _save(self, storage: ZarrStorage | None = None, *, cut: bool = False) -> bool:
        kept = self._next(1, cut=cut)
        before = self.expected
        [(name, k)] = kept.items()
        return self._during(
            replace(before, may={**before.may, **kept}),
            replace(before, must={**before.must, **kept}),
            lambda: (storage or self._plain).save(name, k.snapshot),
        )

    def _cut(self) -> bool:
        """Save three actors as one."""
        return self._save(cut=True)

    def _save_behind(self) -> bool:
        """Save one behind a barrier."""
        with mock.patch.object(directory, "open_barrier", lambda folder, _: Barrier(folder)):
            return self._save()

    def _share(self) -> bool:
        return self._save(self._sharing)

    def _other(self) -> bool:
        """Have another process commit, then go on with what this one knows."""
        if not isinstance(self._place, Path):
            return False
        self.close()
        with mock.patch.object(directory, "lock_of", WriteLock):
            storage = ZarrStorage(self._place, durable=self._durable, chunk_bytes=_CHUNK_BYTES)
        try:
            return self._save(storage)
        finally:
            storage.close()

    def _group(self) -> bool:
        """Save two together."""
        kept = self._next(2)
        before = self.expected
        self.expected = replace(before, may={**before.may, **kept})
        self._on_change(self)
        results = self._plain.save_many([(name, k.snapshot) for name, k in kept.items()])
        failed = {n: r for n, r in zip(kept, results, strict=True) if isinstance(r, Exception)}
        saved = {name: k for name, k in kept.items() if name not in failed}
        # On a disk that goes on failing, what had failed could not be taken back either.
        may = {name: kept[name] for name in failed}
        self.expected = replace(before, must={**before.must, **saved}, may={**before.may, **may})
        self._on_change(self)
        for error in failed.values():
            raise error
        return True

    def _group_each(self) -> bool:
        """Save two together where there is no barrier."""
        with mock.patch.object(directory, "open_barrier", return_value=None):
            return self._group()

    def _going(self, names: list[str], act: Callable[[], object], *, kept: bool = False) -> bool:
        before = self.expected
        left = {n: k for n, k in before.must.items() if n not in names}
        gone = {n: before.must[n] for n in names}
        quarantined = {**before.quarantined, **(gone if kept else {})}
        then = replace(before, must=left, quarantined=quarantined)
        return bool(names) and self._during(
            replace(then, may={**before.may, **gone}), then, lambda: _raise(act())
        )

    def _names(self, *, pinned: bool) -> list[str]:
        return [n for n, k in self.expected.ours() if pinned or k.pins == {None}]

    def _delete(self) -> bool:
        names = self._names(pinned=False)[:1]
        return self._going(names, lambda: self._plain.delete(names[0]))

    def _drop(self) -> bool:
        """Delete two together."""
        names = self._names(pinned=False)[:2]
        return self._going(names, lambda: self._plain.delete_many(names))

    def _stays(self, kept: Kept) -> bool:
        """Return whether another run branches from a checkpoint."""
        return kept.same_id and any(
            k.parent == kept.number and k.run != kept.run for _, k in self.expected.ours()
        )

    def _retire(self) -> bool:
        """Keep the last one of the run that the actor is in."""
        e = self.expected
        found = [(n, k) for n, k in e.ours() if k.run == e.run and k.place > 0 and k.pins == {None}]
        names = [n for n, k in found[:-1] if not self._stays(k)]
        return self._going(
            names,
            lambda: retire(self._plain, _PREFIX, _ACTOR, _id(e.run), keep_last(1), protect=()),
        )

    def _prune(self) -> bool:
        """Delete all runs but that of the newest commit; the newest cut is also of others, and stays."""
        ours = self.expected.ours()
        cuts = [n for n, k in ours if k.is_cut]
        latest = {k.run for _, k in ours[-1:]}
        parents = {k.parent for _, k in ours if k.run in latest}
        names = [
            n
            for n, k in ours
            if k.run not in latest
            and k.pins == {None}
            and not (k.same_id and k.number in parents)
            and n not in cuts[-1:]
        ]
        return self._going(names, lambda: prune_runs(self._plain))

    def _quarantine(self) -> bool:
        names = self._names(pinned=True)[-1:]
        return self._going(names, lambda: self._plain.quarantine(names[0]), kept=True)

    def _fresh(self) -> bool:
        """Begin a run."""
        e = self.expected
        self.expected = replace(e, run=e.number + 1, parent=None)
        return e.run != e.number + 1

    def _branch(self) -> bool:
        """Begin a run that branches from the oldest checkpoint of this one."""
        e = self.expected
        numbers = [k.number for _, k in e.ours() if k.run == e.run and k.same_id]
        if not numbers or e.run == e.number + 1:
            return False
        self.expected = replace(e, run=e.number + 1, parent=numbers[0])
        return True

    def _import(self) -> bool:
        """Import what the store does not hold."""
        e = self.expected
        held = {k.number for _, k in e.ours() if k.same_id}
        fresh = [n for n in _ARCHIVED if n not in held]
        places = range(1, len(fresh) + 1)
        if e.must:
            first = self._below(e.must.values())
            places = range(first - len(fresh) + 1, first + 1)
        kept = {
            self._free(_name(n)): Kept(n, place=place)
            for n, place in zip(fresh, places, strict=True)
        }
        return self._during(
            replace(e, may={**e.may, **kept}),
            replace(e, must={**e.must, **kept}),
            lambda: import_archive(archive(), self._plain),
        )

    def _below(self, kept: Iterable[Kept]) -> int:
        return min([1, *(k.place for k in kept)]) - 1

    def _free(self, name: str) -> str:
        """Return the name that an import gives: a user's files that were put back take one."""
        e = self.expected
        numbers = itertools.count(2)
        free = name
        while True:
            parts = [part for where, part in e.users.values() if where == free]
            if free not in e.must and (not parts or any(parts) or free in e.quarantined):
                return free
            free = f"{name}.{next(numbers)}"

    def _adopted(self, name: str) -> dict[str, Kept]:
        """Return what a copy is once it is adopted."""
        e = self.expected
        kept = e.must[name]
        ours = [k for _, k in e.ours()]
        place = kept.place
        if place in {k.place for k in ours}:
            place = self._below(e.must.values())
        same_id = kept.number not in {k.number for k in ours if k.same_id}
        return {name: replace(kept, place=place, same_id=same_id, copies=frozenset({False}))}

    def _copies(self) -> list[str]:
        return [n for n, k in self.expected.must.items() if k.copies == {True}]

    def _adopt(self) -> bool:
        names = self._copies()[:1]
        if not names:
            return False
        e, adopted = self.expected, self._adopted(names[0])
        return self._during(
            replace(e, must={**e.must, **_undecided(adopted)}),
            replace(e, must={**e.must, **adopted}),
            lambda: self._plain.adopt(names),
        )

    def _readopt(self) -> bool:
        """Lose the root document, and adopt the directory."""
        e = self.expected
        if not isinstance(self._place, Path) or self._user is None or not e.must:
            return False
        held = {k.number for _, k in e.ours() if k.same_id}
        adopted: dict[str, Kept] = {}
        for name in self._copies():
            if e.must[name].number not in held:  # there is one copy of each
                adopted |= self._adopted(name)

        def act(user: User, place: Path) -> None:
            """Lose it with no writer there."""
            self.close()
            user.lose_root()
            adopt_directory(place, durable=self._durable)
            self._open()

        user, place = self._user, self._place
        return self._during(
            replace(e, rootless=True, must={**e.must, **_undecided(adopted)}),
            replace(e, must={**e.must, **adopted}),
            lambda: act(user, place),
        )

    def _mine(self) -> bool:
        """Put the user's files beside the newest checkpoint and into it."""
        return self._put(
            "notes-{}.txt", "mine-{}/data", "{name}/notes-{}.txt", "{name}/u/.notes-{}"
        )

    def _chunk(self) -> bool:
        """Put a file into the newest checkpoint that might be a chunk of it."""
        return self._put("{name}/u/c.9.{}")

    def _put(self, *keys: str) -> bool:
        names = self._names(pinned=True)[-1:]
        if self._user is None or not names:
            return False
        e, user = self.expected, self._user
        number = len(e.users)
        contents, users = {}, {}
        for key in keys:
            token = f"user {number} {key}"
            contents[key.format(number, name=names[0])] = token.encode()
            users[token] = (names[0] if "{name}" in key else "", "c.9" in key)
        return self._during(e, replace(e, users={**e.users, **users}), lambda: user.put(contents))

    def _copy(self) -> bool:
        """Copy the oldest checkpoint that has no copy yet."""
        e, user = self.expected, self._user
        taken = {n for n in e.everything() if n.startswith("KEEP_")}
        wanted = [
            (n, k)
            for n, k in e.ours()
            if k.same_id and n not in taken and f"KEEP_{k.number}" not in taken
        ]
        if user is None or not wanted or self._plain.exists(f"KEEP_{wanted[0][1].number}"):
            return False
        name, kept = wanted[0]
        copy = {f"KEEP_{kept.number}": replace(kept, copies=frozenset({True}))}
        return self._during(
            replace(e, may={**e.may, **copy}),
            replace(e, must={**e.must, **copy}),
            lambda: user.copy(name, f"KEEP_{kept.number}"),
        )

    def _mark(self) -> bool:
        """Add an attribute of the user's to the newest checkpoint."""
        names = [n for n, k in self.expected.ours() if k.marks == {None}][-1:]
        if self._user is None or not names:
            return False
        user, name = self._user, names[0]
        e, kept = self.expected, self.expected.must[name]
        either = replace(kept, marks=kept.marks | {"mine"})
        after = replace(kept, marks=frozenset({"mine"}))
        return self._during(
            replace(e, must={**e.must, name: either}),
            replace(e, must={**e.must, name: after}),
            lambda: user.mark(name, "mine"),
        )

    def _pin(self) -> bool:
        names = self._names(pinned=False)[-1:]
        return bool(names) and self._repin(names[0], "kept", lambda n: self._plain.pin(n, "kept"))

    def _unpin(self) -> bool:
        names = [n for n, k in self.expected.ours() if k.pins == {"kept"}]
        return bool(names) and self._repin(names[0], None, self._plain.unpin)

    def _repin(self, name: str, label: str | None, act: Callable[[str], object]) -> bool:
        before = self.expected
        kept = before.must[name]
        either = replace(kept, pins=kept.pins | {label})
        after = replace(kept, pins=frozenset({label}))
        return self._during(
            replace(before, must={**before.must, name: either}),
            replace(before, must={**before.must, name: after}),
            lambda: act(name),
        )

    def _reopen(self) -> bool:
        """Close and open anew; the next save repairs what a crash left."""

        def act() -> None:
            """Take the lock again."""
            self.close()
            self._open()
            with self._plain._backend.writing():
                pass

        return bool(self.expected.must) and self._during(self.expected, self.expected, act)


def _undecided(adopted: dict[str, Kept]) -> dict[str, Kept]:
    return {n: replace(k, copies=frozenset({True, False})) for n, k in adopted.items()}


def _raise(results: object) -> None:
    """Raise the first error of those that a group of deletions returns."""
    for result in results if isinstance(results, list) else ():
        if isinstance(result, Exception):
            raise result


def workloads(length: int, operations: Iterable[str] = OPERATIONS) -> Iterator[tuple[str, ...]]:
    """Yield every workload of a length, also those in which an operation has nothing to do."""
    yield from itertools.product(operations, repeat=length)
