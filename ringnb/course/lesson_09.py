"""Lesson 9: a kill and a power cut are two things, and fsync is what lies between them.

The power fails on the modelled disk of the trials (`ringnb.testing.trials.disk`), after each operation
of a commit: every state that the disk may then be in is built, opened and read. `record_commit` takes
the operations of a real commit, `try_plan` those of a learner's list.
"""

from __future__ import annotations

import itertools
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ringnb.checkpoint import Snapshot, ZarrStorage
from ringnb.course.checks import CheckFailed, Passed, require
from ringnb.errors import CheckpointError, RingnbError
from ringnb.plots.style import make_figure
from ringnb.testing.trials.disk import Disk, State
from ringnb.testing.trials.interposing import Operation, interposed

__all__ = ["PLAN_STEPS", "PowerCuts", "check_09", "power_cuts", "record_commit", "try_plan"]

_OLD, _NEW = "checkpoint_0_step_10", "checkpoint_0_step_20"
_MOST_STATES = 30  # that are built as files and opened, after one operation
_ALL = 1 << 20  # states of a plan: looked at where they are, all of them
_COLOURS = {"nothing": "#d9d9d9", "whole": "#8fb3d9", "damaged": "#d1730f"}
_MANY, _HATCH = "#dbe6f2", "//"

PLAN_STEPS: dict[str, str] = {
    "make directory": "make the directory c1 beside the store",
    "write chunk": "write the file c1/chunk",
    "write document": "write the file c1/document",
    "sync chunk": "fsync of the file c1/chunk",
    "sync document": "fsync of the file c1/document",
    "sync directory": "fsync of the directory c1: of the names in it",
    "sync store": "fsync of the store's directory: of the names in it",
    "rename": "rename c1 into the store",
}


@dataclass(frozen=True)
class PowerCuts:
    """What a store may hold if a commit is stopped after each of its operations.

    Attributes
    ----------
    operations : tuple of str
        The operations, in order.
    killed : tuple of str
        What a kill after this operation leaves of the new checkpoint: "nothing", "whole" or "damaged".
    power : tuple of dict of str to int
        What a power cut may leave, and in how many of the states of the disk that were looked at.
    older_kept : bool
        Whether the checkpoint that was there before was whole in every state.
    """

    operations: tuple[str, ...]
    killed: tuple[str, ...]
    power: tuple[dict[str, int], ...]
    older_kept: bool

    @property
    def states(self) -> int:
        """States that were looked at."""
        return sum(sum(outcomes.values()) for outcomes in self.power)

    @property
    def syncs(self) -> int:
        """Operations that are an fsync, of a file or of a directory."""
        return sum(operation.startswith("sync") for operation in self.operations)

    def may_leave(self, index: int) -> str:
        """Return what a power cut after an operation may leave, in words.

        Parameters
        ----------
        index : int
            Of the operation.

        Returns
        -------
        str
            For example "nothing or whole".
        """
        return " or ".join(what for what in _COLOURS if self.power[index].get(what))


def record_commit(*, durable: bool = True) -> PowerCuts:
    """Record the operations of a real commit, and stop it after each of them, on the modelled disk.

    Parameters
    ----------
    durable : bool, default True
        As for `ZarrStorage`.

    Returns
    -------
    PowerCuts
        Of the commit of a second checkpoint. The first one is durable.

    Raises
    ------
    RingnbError
        On another system than Linux.
    """
    if not Path("/proc/self/fd").is_dir():
        msg = "the operations of a commit are recorded through /proc, which only Linux has"
        raise RingnbError(msg)
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch).resolve() / "live"
        base.mkdir()
        store = base / "s.zarr"
        done: list[Operation] = []

        def around(operation: Operation, call: Callable[[], Any]) -> Any:
            """Do an operation, and note it."""
            result = call()
            done.append(operation)
            return result

        with interposed(around):
            with ZarrStorage(store) as storage:
                storage.save(_OLD, _snapshot(10))
            with ZarrStorage(store, durable=durable) as storage:
                before = len(done)
                storage.save(_NEW, _snapshot(20))
        # A storage's first write makes sure of the store itself; that is not a part of every commit.
        begin = next(i for i, o in enumerate(done) if i >= before and o.kind == "make_directory")
        disk = Disk(base, (store.name,))
        for operation in done[:begin]:
            disk.apply(operation)
        steps = [(_label(operation, base), [operation]) for operation in done[begin:]]
        # A file is made and written in one step: between the two there is nothing to see.
        return _stop_after_each(disk, _together(steps), _Reader(Path(scratch)), _MOST_STATES)


def try_plan(plan: Sequence[str]) -> PowerCuts:
    """Carry out a plan for a commit, and stop it after each operation, on the modelled disk.

    Parameters
    ----------
    plan : sequence of str
        Some of `PLAN_STEPS`, in any order.

    Returns
    -------
    PowerCuts
        What it leaves.

    Raises
    ------
    ValueError
        If a step is unknown, or cannot be done when its turn comes.
    """
    base = Path("/base")
    disk = Disk(base, ("store",))
    for name in ("store", "beside"):
        disk.apply(Operation("make_directory", base / name))
    disk.apply(Operation("sync_directory", base))
    return _stop_after_each(disk, list(_planned(plan, base)), _look_at_plan, _ALL)


def _snapshot(step: int) -> Snapshot:
    """Return the state that is committed: one field of one chunk."""
    field = np.arange(1, 257, dtype="<f4") * step
    return Snapshot(
        {"pressure": field.reshape(16, 16)},
        name_prefix="checkpoint",
        kernel_id="fdtd_2d_0",
        kernel_type="fdtd_2d",
        actor_slot=0,
        step=step,
        request_id=step,
    )


def _label(operation: Operation, base: Path) -> str:
    """Return what an operation does, without the random name of its staging directory."""
    parts = operation.path.relative_to(base).parts
    where = "of the store"
    if len(parts) >= 3:  # WORK AREA/staging/a name/...
        where = "/".join(["staging", *parts[3:]])
    verbs = {
        "make_directory": "make directory",
        "create_file": "write",
        "write_data": "write",
        "sync_file": "sync file",
        "sync_directory": "sync directory",
        "sync_filesystem": "sync file system",
        "rename": "rename",
    }
    into = " into the store" if operation.kind == "rename" else ""
    return f"{verbs.get(operation.kind, operation.kind.replace('_', ' '))} {where}{into}"


def _together(steps: Sequence[tuple[str, list[Operation]]]) -> list[tuple[str, list[Operation]]]:
    """Join neighbours of the same label."""
    return [
        (label, [one for _, some in group for one in some])
        for label, group in itertools.groupby(steps, key=lambda step: step[0])
    ]


def _stop_after_each(
    disk: Disk,
    steps: Sequence[tuple[str, list[Operation]]],
    look: Callable[[State], tuple[str, bool]],
    most: int,
) -> PowerCuts:
    """Do one step after the other; after each, look at what a kill and what a power cut leaves.

    `look` returns what is left of the new checkpoint, and whether the older one is whole. `most` states
    are looked at after each step, drawn at random if there are more.
    """
    killed, power = [], []
    draw = random.Random(9)  # noqa: S311 - repeatable, no secret
    seen: dict[bytes, tuple[str, bool]] = {}

    def found(state: State) -> tuple[str, bool]:
        """Look at a state, once."""
        key = state.digest()
        if key not in seen:
            seen[key] = look(state)
        return seen[key]

    for _, operations in steps:
        for operation in operations:
            disk.apply(operation)
        states = list({s.digest(): s for s in disk.states(draw)}.values())
        first, others = states[0], states[1:]  # the first is that of a kill
        if len(others) > most:
            others = draw.sample(others, most)
        killed.append(found(first)[0])
        power.append(dict(Counter(found(state)[0] for state in (first, *others))))
    older_kept = all(older for _, older in seen.values())
    return PowerCuts(tuple(label for label, _ in steps), tuple(killed), tuple(power), older_kept)


class _Reader:
    """Builds states below a directory, and opens them with the storage."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._count = 0

    def __call__(self, state: State) -> tuple[str, bool]:
        """Return what a reader finds of the new checkpoint, and whether the older one is whole."""
        self._count += 1
        place = self._scratch / f"state-{self._count}"
        place.mkdir()
        state.build(place)
        with ZarrStorage(place / "s.zarr") as storage:
            listed = storage.list()
            new = _verdict(storage, _NEW) if _NEW in listed else "nothing"
            return new, _OLD in listed and _verdict(storage, _OLD) == "whole"


def _verdict(storage: ZarrStorage, name: str) -> str:
    try:
        storage.load(name).verify()
    except (CheckpointError, OSError):
        return "damaged"
    return "whole"


def power_cuts(results: Mapping[str, PowerCuts]) -> Figure:
    """Draw what is left of a new checkpoint by a kill and by a power cut, after each operation.

    Parameters
    ----------
    results : mapping of str to PowerCuts
        What was tried, by its title.

    Returns
    -------
    matplotlib.figure.Figure
        A new figure, a column for each result.
    """
    most = max(len(one.operations) for one in results.values())
    figure = make_figure(5.2 * len(results), 0.3 * most + 1.0)
    for ax, (title, one) in zip(
        figure.subplots(1, len(results), squeeze=False)[0], results.items(), strict=True
    ):
        _draw(ax, title, one, most)
    return figure


def _draw(ax: Axes, title: str, one: PowerCuts, most: int) -> None:
    for row, killed in enumerate(one.killed):
        for column, text in enumerate((killed, one.may_leave(row))):
            damaged, certain = "damaged" in text, text in _COLOURS
            ax.add_patch(
                Rectangle(
                    (column, row - 0.5),
                    1,
                    1,
                    facecolor=_COLOURS["damaged" if damaged else text]
                    if damaged or certain
                    else _MANY,
                    hatch=None if certain else _HATCH,
                    edgecolor="white",
                )
            )
            ax.text(
                column + 0.5,
                row,
                text,
                ha="center",
                va="center",
                fontsize="small",
                color="black",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85},
            )
    ax.set_xlim(0, 2)
    ax.set_ylim(most - 0.5, -0.5)
    ax.set_xticks([0.5, 1.5], labels=["killed", "power cut"])
    ax.xaxis.tick_top()
    ax.set_yticks(range(len(one.operations)), labels=one.operations, fontsize="small")
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    ax.set_title(f"{title}: what is left if it stops after …", fontsize="medium", loc="left")


# -- the exercise --------------------------------------------------------------------------------------

_CHUNK, _DOCUMENT = b"the state, 4096 bytes" * 4, b'{"shape": [32, 32]}'


def _planned(plan: Sequence[str], base: Path) -> Iterator[tuple[str, list[Operation]]]:
    """Yield the operations of each step; raise ValueError if a step cannot be done."""
    place: Path | None = None  # of the checkpoint's directory, once it is made
    written: set[str] = set()
    for step in plan:
        if not isinstance(step, str) or step not in PLAN_STEPS:
            msg = f"{step!r} is not a step of a commit: choose from {', '.join(PLAN_STEPS)}"
            raise ValueError(msg)
        verb, _, what = step.partition(" ")
        if step == "make directory":
            if place is not None:
                msg = "'make directory' comes twice: the directory is there already"
                raise ValueError(msg)
            place = base / "beside" / "c1"
            yield step, [Operation("make_directory", place)]
            continue
        if step == "sync store":
            yield step, [Operation("sync_directory", base / "store")]
            continue
        if place is None:
            msg = f"{step!r} comes before 'make directory': there is no directory yet"
            raise ValueError(msg)
        if step == "rename":
            if place.parent.name == "store":
                msg = "'rename' comes twice: the directory is in the store already"
                raise ValueError(msg)
            target = base / "store" / "c1"
            yield step, [Operation("rename", place, target)]
            place = target
        elif step == "sync directory":
            yield step, [Operation("sync_directory", place)]
        elif verb == "write":
            if what in written:
                msg = f"{step!r} comes twice: the file is written already"
                raise ValueError(msg)
            written.add(what)
            data = _CHUNK if what == "chunk" else _DOCUMENT
            create = Operation("create_file", place / what)
            yield step, [create, Operation("write_data", place / what, data=data)]
        else:
            if what not in written:
                msg = f"{step!r} comes before 'write {what}': there is no such file yet"
                raise ValueError(msg)
            yield step, [Operation("sync_file", place / what)]


def _look_at_plan(state: State) -> tuple[str, bool]:
    """Return what is in the store; there is no older checkpoint that could be lost."""
    store = state.tree.get("store")
    found = store.get("c1") if isinstance(store, dict) else None
    if found is None:
        return "nothing", True
    whole = {"chunk": _CHUNK, "document": _DOCUMENT}
    return "whole" if found == whole else "damaged", True


def check_09(plan: object) -> Passed:
    """Check a plan for a commit that a power cut cannot break.

    Parameters
    ----------
    plan : sequence of str
        Some of `PLAN_STEPS`, in order.

    Returns
    -------
    Passed
        In how many states of the disk it was looked at.

    Raises
    ------
    CheckFailed
        At the first operation after which the power must not fail, or if the checkpoint may be gone
        after the last one.
    """
    if isinstance(plan, str | Mapping) or not isinstance(plan, Iterable):
        fact = f"plan is {plan!r}, not a list of steps"
        raise CheckFailed(fact, f"the steps are {', '.join(PLAN_STEPS)}")
    steps = list(plan)
    try:
        result = try_plan(steps)
    except (ValueError, TypeError) as error:
        raise CheckFailed(str(error), "each step needs those that make what it works on") from None
    for index, step in enumerate(result.operations):
        if "damaged" in result.may_leave(index):
            killed = result.killed[index] == "damaged"
            raise CheckFailed(
                f"if {'the process is killed' if killed else 'the power fails'} after step "
                f"{index + 1}, {step!r}, the store may show a checkpoint that is damaged",
                _why(steps[: index + 1], killed=killed),
            )
    end = result.may_leave(len(steps) - 1) if steps else "nothing"
    require(
        end == "whole",
        f"after the last step a power cut may leave: {end}",
        "a rename changes the directory that it renames into; until that directory is synced, the "
        "change may be lost"
        if "rename" in steps
        else "without a rename nothing is in the store",
    )
    return Passed(
        f"{len(steps)} steps, {result.syncs} of them syncs: in {result.states} states of the disk "
        "nothing is damaged, and at the end nothing is lost"
    )


def _why(done: Sequence[str], *, killed: bool) -> str:
    """Return a hint for a plan whose steps so far may show a damaged checkpoint."""
    if killed:
        return "what is in the store is seen: rename when all is written, not before"
    visible = done.index("rename")
    for what in ("chunk", "document"):
        if f"sync {what}" not in done[:visible]:
            return (
                f"the content of the file {what!r} is on the disk for sure only when that file was "
                "synced, and the rename makes it visible"
            )
    return (
        "the names in a directory are on the disk for sure only when that directory was synced after "
        "they were made, and the rename makes it visible"
    )
