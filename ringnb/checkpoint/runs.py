"""Runs: the lines, without forks, that an actor's checkpoints form.

A session that starts fresh begins a run. Restoring the newest checkpoint of a run continues it; any
other begins a run that branches there. The manager calls `continue_run` right before a commit, since
only then it is known what the newest of a run is; what is known, a `Lineage`, goes with the live state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter
from typing import TypeAlias, final

from ringnb.checkpoint.history import history_with_cuts
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.records import CheckpointInfo, Snapshot

__all__ = [
    "Lineage",
    "Run",
    "RunInfo",
    "continue_run",
    "describe_run",
    "group_runs",
    "list_runs",
    "run_ids",
]

Run: TypeAlias = list[CheckpointInfo]  # of one actor and one run, oldest first


@final
@dataclass(frozen=True, slots=True)
class Lineage:
    """The checkpoint that a live state continues from, and the run it goes on with.

    A `run` of None is decided at the next commit; an `id` of None is looked up by the name then.
    """

    name: str
    id: str | None = None
    run: str | None = None


@final
@dataclass(frozen=True, slots=True)
class RunInfo:
    """One run of an actor.

    Attributes
    ----------
    id : str
        16 hexadecimal digits.
    parent, parent_id : str or None
        The checkpoint of another run at which it begins, by name and by id; None if it began afresh, or
        if its first checkpoints, or that one, are gone.
    began_at : datetime.datetime or None
        When the oldest that is left of it was committed, aware, UTC; None if the storage does not say.
    count : int
        Its checkpoints.
    first_step, last_step : int
        The smallest and the largest step of its checkpoints.
    nbytes : int
        Logical bytes of all of them.
    is_current : bool
        Whether the live actor goes on with it.
    """

    id: str
    parent: str | None
    parent_id: str | None
    began_at: datetime | None
    count: int
    first_step: int
    last_step: int
    nbytes: int
    is_current: bool


def continue_run(storage: CheckpointStorage, snapshot: Snapshot, lineage: Lineage) -> Snapshot:
    """Return a snapshot with the run that it belongs to; raises what the storage raises.

    It goes on with the run of `lineage`, whose `run` is None, if that is the newest checkpoint of its
    run; otherwise it keeps its own, which begins with it.
    """
    history = history_with_cuts(storage, snapshot.name_prefix, snapshot.kernel_id)
    for parent in reversed(history):
        if parent.id == lineage.id or (lineage.id is None and parent.name == lineage.name):
            # By its own name, if it was restored from a copy.
            snapshot = replace(snapshot, parent=parent.name, parent_id=parent.id)
            if _newest_of_run(history, parent.run) == parent:
                return replace(snapshot, run=parent.run)
            return snapshot
    return snapshot


def _newest_of_run(history: Sequence[CheckpointInfo], run: str) -> CheckpointInfo | None:
    """Return the newest checkpoint of a run, None if there is none; `history` is oldest first."""
    return next((e for e in reversed(history) if e.run == run), None)


def list_runs(
    history: Iterable[CheckpointInfo], current: str | None, known: Iterable[CheckpointInfo]
) -> list[RunInfo]:
    """Return the runs of a history that is oldest first: that with the oldest checkpoint first.

    `known` is all that the store holds: a run of another actor may begin in it.
    """
    runs: dict[str, list[CheckpointInfo]] = {}
    for e in history:
        runs.setdefault(e.run, []).append(e)
    ids = run_ids(known)
    return [describe_run(entries, ids, is_current=run == current) for run, entries in runs.items()]


def run_ids(catalogue: Iterable[CheckpointInfo]) -> dict[str, str]:
    """Return the run of each checkpoint that can be restored, by its id."""
    return {e.id: e.run for whole in catalogue for e in (whole, *whole.parts) if not e.damaged}


def describe_run(
    entries: Sequence[CheckpointInfo], known: Mapping[str, str], *, is_current: bool = False
) -> RunInfo:
    """Return the run that some checkpoints, oldest first, are; `known`: see `run_ids`."""
    first, steps = entries[0], [e.step for e in entries]
    # What an adopted one continues from may come behind it: the first that continues another run.
    parents = (e for e in entries if known.get(e.parent_id or "", e.run) != e.run)
    begins = next(parents, None)
    return RunInfo(
        first.run,
        None if begins is None else begins.parent,
        None if begins is None else begins.parent_id,
        min((e.created_at for e in entries if e.created_at is not None), default=None),
        len(entries),
        min(steps),
        max(steps),
        sum(e.nbytes for e in entries),
        is_current,
    )


def group_runs(catalogue: Iterable[CheckpointInfo]) -> dict[tuple[str, str], list[Run]]:
    """Return the runs of each actor, by prefix and identity; copies and damaged ones are of none.

    Actors, runs and checkpoints are in the order of commits: what was committed last comes last.
    """
    found: dict[tuple[str, str], dict[str, Run]] = {}
    sound = [e for e in catalogue if not e.damaged and e.copy is None]
    for e in sorted(sound, key=attrgetter("sequence", "name")):
        runs = found.setdefault((e.name_prefix, e.kernel_id), {})
        runs.setdefault(e.run, []).append(e)
    by_newest = {key: sorted(runs.values(), key=_newest) for key, runs in found.items()}
    return dict(sorted(by_newest.items(), key=lambda item: _newest(item[1][-1])))


def _newest(run: Run) -> int:
    return run[-1].sequence
