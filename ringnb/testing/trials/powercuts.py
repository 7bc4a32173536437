"""The power fails after any operation: every state that the disk may then be in is built and judged."""

from __future__ import annotations

import itertools
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringnb.testing.trials.disk import Disk, State
from ringnb.testing.trials.interposing import Operation, interposed
from ringnb.testing.trials.judging import judge, loss_after
from ringnb.testing.trials.workloads import Expectation, Runner

__all__ = ["cut_power"]


def cut_power(
    workload: Sequence[str],
    *,
    durable: bool = True,
    seed: int = 0,
    place: str = "s.zarr",
    folder: Path | None = None,
) -> Counter[str]:
    """Run a workload, and fail the power at every point of its last operation.

    The operation ``"kill save 7"`` is a save in a process that is killed before its seventh call to
    the system; another process goes on from there, on the same disk. Without `durable` only that is
    tried which a kill leaves. `place` is the store's path below a directory that exists.

    Return ``points`` (operations after which the power failed) and ``states`` (different states of
    the disk that were judged); both are 0 if an operation had nothing to do, since a shorter
    workload is the same. Raise `Loss` if a promise was broken.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name:
        base = Path(name, "live")
        base.mkdir()
        events = _record(workload, base / place, durable=durable)
        if events is None:
            return Counter()
        judged = _Judged(Path(name), place, f"{tuple(workload)}, seed {seed}")
        disk, random_ = Disk(base, Path(place).parts), random.Random(f"{seed} {tuple(workload)}")  # noqa: S311 - repeatable, no secret
        points = 0
        for event in events:
            if event.operation is not None:
                disk.apply(event.operation)
                points += event.last
            if event.last:
                states = disk.states(random_)
                for state in states if durable else itertools.islice(states, 1):
                    judged.judge(state, event)
    return Counter(points=points, states=len(judged.seen))


@dataclass(frozen=True)
class _Event:
    """An operation that was acknowledged, or None between two; what is expected; where it was."""

    operation: Operation | None
    expected: Expectation
    last: bool


def _record(workload: Sequence[str], store: Path, *, durable: bool) -> list[_Event] | None:
    """Run a workload once; return what it did, or None if an operation had nothing to do."""
    events: list[_Event] = []
    last = False
    left: int | None = None  # calls to the system before the kill

    def on_change(runner: Runner) -> None:
        """Note what is expected from now on."""
        events.append(_Event(None, runner.expected, last))

    def around(operation: Operation, call: Callable[[], Any]) -> Any:
        """Note what was done, unless the process is dead."""
        nonlocal left
        if left is not None:
            left -= 1
            if left <= 0:
                raise _Killed
        result = call()
        events.append(_Event(operation, runner.expected, last))
        return result

    runner = Runner(store, durable=durable, on_change=on_change)
    try:
        with interposed(around):
            for number, operation in enumerate(workload):
                last = number == len(workload) - 1
                verb, _, calls = operation.removeprefix("kill ").partition(" ")
                left = int(calls) if calls else None
                try:
                    if not runner.run(verb):
                        return None
                    if left is not None:
                        return None  # it has fewer calls than that
                except _Killed:
                    left = None
                    runner.close()
                    runner = runner.successor()
    finally:
        left = None
        runner.close()
    return events


class _Killed(BaseException):
    """The process is gone: a BaseException, so that no clean-up of its own runs as after an error."""


class _Judged:
    """Builds states and judges them, each once."""

    def __init__(self, folder: Path, place: str, what: str) -> None:
        self.seen: set[tuple[object, ...]] = set()
        self._folder, self._place, self._what = folder, place, what

    def judge(self, state: State, event: _Event) -> None:
        """Build a state below a new directory, judge it, and remove it."""
        key = (state.digest(), event.expected.key())
        if key in self.seen:
            return
        self.seen.add(key)
        target = self._folder / f"state-{len(self.seen)}"
        target.mkdir()
        state.build(target)
        at = event.operation
        where = "between two operations" if at is None else f"after {at.kind} {at.path.name}"
        with loss_after(f"{self._what}, {where}"):
            judge(target / self._place, event.expected)
        shutil.rmtree(target)
