"""Small workloads for trials, and what must be true after each of their operations.

A workload is a sequence of operations on one store by one actor. `Expectation` says which
checkpoints were committed, with what content; while an operation runs, either outcome is right, but
nothing else.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import numpy as np

from ringnb.checkpoint.committing import retire
from ringnb.checkpoint.retention import keep_last
from ringnb.checkpoint.storage.directory import backend as directory
from ringnb.checkpoint.storage.records import Snapshot
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage

__all__ = ["OPERATIONS", "Expectation", "Kept", "Runner", "snapshot_of", "workloads"]

_PREFIX, _ACTOR, _RUN = "trial", "actor", "0" * 16
_CHUNK_BYTES = 1024
OPERATIONS = ("save", "share", "group", "delete", "retire", "pin", "unpin", "aside", "reopen")


def snapshot_of(number: int) -> Snapshot:
    """Return the state that is committed as the n-th: two fields, three chunks, one unchanged."""
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
        run=_RUN,
    )


@dataclass(frozen=True)
class Kept:
    """What must come back of a checkpoint: the `snapshot_of` that number, with one of these pins."""

    number: int
    pins: frozenset[str | None] = frozenset({None})


@dataclass(frozen=True)
class Expectation:
    """What a store may hold, by the checkpoint's name."""

    must: dict[str, Kept] = field(default_factory=dict)  # has to be there
    may: dict[str, Kept] = field(default_factory=dict)  # may be there as well, whole
    aside: dict[str, Kept] = field(
        default_factory=dict
    )  # quarantined: there, or where it was moved

    def everything(self) -> dict[str, Kept]:
        """Return all that may come to light."""
        return {**self.aside, **self.may, **self.must}

    def key(self) -> tuple[object, ...]:
        """Return a value that two equal expectations share."""
        parts = (self.must, self.may, self.aside)
        return tuple(tuple(sorted(part.items(), key=str)) for part in parts)


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
        self._number = max((k.number for k in self.expected.everything().values()), default=0)
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

    def _save(self, storage: ZarrStorage | None = None) -> bool:
        self._number += 1
        number, name = self._number, f"{_PREFIX}_0_step_{self._number}"
        before, kept = self.expected, {name: Kept(self._number)}
        return self._during(
            replace(before, may={**before.may, **kept}),
            replace(before, must={**before.must, **kept}),
            lambda: (storage or self._plain).save(name, snapshot_of(number)),
        )

    def _share(self) -> bool:
        return self._save(self._sharing)

    def _group(self) -> bool:
        """Save two together."""
        numbers = [self._number + 1, self._number + 2]
        self._number += 2
        before = self.expected
        kept = {f"{_PREFIX}_0_step_{number}": Kept(number) for number in numbers}
        self.expected = replace(before, may={**before.may, **kept})
        self._on_change(self)
        results = self._plain.save_many([(name, snapshot_of(k.number)) for name, k in kept.items()])
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

    def _going(self, names: list[str], act: Callable[[], object], *, aside: bool = False) -> bool:
        before = self.expected
        left = {n: k for n, k in before.must.items() if n not in names}
        gone = {n: before.must[n] for n in names}
        then = replace(before, must=left, aside={**before.aside, **gone} if aside else before.aside)
        return self._during(replace(then, may={**before.may, **gone}), then, act)

    def _names(self, *, pinned: bool) -> list[str]:
        return [n for n, k in self.expected.must.items() if pinned or k.pins == {None}]

    def _delete(self) -> bool:
        names = self._names(pinned=False)[:1]
        return bool(names) and self._going(names, lambda: self._plain.delete(names[0]))

    def _retire(self) -> bool:
        names = self._names(pinned=False)[:-1]
        return bool(names) and self._going(
            names, lambda: retire(self._plain, _PREFIX, _ACTOR, _RUN, keep_last(1), protect=())
        )

    def _aside(self) -> bool:
        names = self._names(pinned=True)[-1:]
        return bool(names) and self._going(
            names, lambda: self._plain.quarantine(names[0]), aside=True
        )

    def _pin(self) -> bool:
        names = self._names(pinned=False)[-1:]
        return bool(names) and self._repin(names[0], "kept", lambda n: self._plain.pin(n, "kept"))

    def _unpin(self) -> bool:
        names = [n for n, k in self.expected.must.items() if k.pins == {"kept"}]
        return bool(names) and self._repin(names[0], None, self._plain.unpin)

    def _repin(self, name: str, label: str | None, act: Callable[[str], object]) -> bool:
        before = self.expected
        kept = before.must[name]
        either = Kept(kept.number, kept.pins | {label})
        after = Kept(kept.number, frozenset({label}))
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


def workloads(length: int) -> Iterator[tuple[str, ...]]:
    """Yield every workload of a length, also those in which an operation has nothing to do."""
    yield from itertools.product(OPERATIONS, repeat=length)
