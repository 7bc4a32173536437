"""The task that takes some members of an ensemble to their last step. On a worker."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
from distributed import get_worker
from distributed.utils import sync

from ringnb.errors import CheckpointNotFound, RunLost

__all__ = ["FAILED", "STOP", "store_of", "take_members"]

FAILED = "failed"  # the directory of what failed members have failed of
_PATIENCE_S = 3600.0  # a busy disk is no failure of a member
STOP = "stop"  # the file that ends all tasks at their next checkpoints


def store_of(root: Path, task: int) -> Path:
    """Return the store of a task's members."""
    return root / f"{task:04d}.zarr"


def take_members(run: str, key: str, spec: bytes) -> None:
    """Take members on from their newest checkpoints; what they need is in the store and in `spec`."""
    worker = get_worker()
    scheduler, loop = worker.scheduler, worker.loop
    found = sync(loop, scheduler.ringnb_find, run=run)
    if found["give_up"]:
        msg = f"the task {run!r} was given up: it has lost {len(found['losses'])} workers"
        sync(loop, scheduler.ringnb_note, run=run, key=key, why=msg)
        raise RunLost(msg)
    sync(loop, scheduler.ringnb_note, run=run, key=key, opened=True)
    members, options = cloudpickle.loads(spec)
    try:
        _take(members, **options)
    except Exception:  # noqa: BLE001 - whichever member's it is, is seen below
        # One of them has ended the kernel of all: each alone, so that the others go on.
        for name, member in members.items():
            try:
                _take({name: member}, **options)
            except Exception as error:  # noqa: BLE001 - recorded, whatever it is
                _fail(options["root"], name, f"{type(error).__name__}: {error}")


def _take(
    members: Mapping[str, Any], *, root: Path, task: int, steps: int, every: int, keep: int
) -> None:
    from ringnb.checkpoint.config import CheckpointConfig  # noqa: PLC0415 - the scheduler imports this
    from ringnb.session.session import Session  # noqa: PLC0415 - module too, and needs no Numba

    config = CheckpointConfig(
        storage_path=store_of(root, task),
        enabled=False,
        max_snapshots=keep,
        on_close=False,  # nothing between two multiples: every member has the same steps
    )
    names = [name for name in members if not (root / FAILED / name).exists()]
    if not names:
        return
    actors = [_placed(*members[name]) for name in names]
    with (
        Session(actors, config=config, kernel_ids=names, lanes=1) as session,
        ThreadPoolExecutor(len(names)) as pool,
    ):

        def take(slot: int) -> None:
            """Take one member on, from multiple to multiple, each exactly."""
            try:
                step = session.restore(slot, "latest")
            except CheckpointNotFound:
                step = session.snapshot(slot, timeout=_PATIENCE_S).step
            while step < steps and not (root / STOP).exists():
                target = min(steps, (step // every + 1) * every)
                step = session.run_steps(slot, target - step)
                made = session.snapshot(slot, timeout=_PATIENCE_S)
                if not made.good:
                    _fail(root, names[slot], f"its state is not good at step {step}: {made.bad}")
                    return

        for done in [pool.submit(take, slot) for slot in range(len(names))]:
            done.result()


def _placed(actor: Any, place: int) -> Any:
    """Return an actor that starts as in the slot `place`, whatever slot it has in its task's kernel."""
    placed = copy.copy(actor)
    vars(placed)["start"] = lambda _slot=0: actor.start(place)
    vars(placed)["start_params"] = lambda _slot=0: actor.start_params(place)
    return placed


def _fail(root: Path, name: str, why: str) -> None:
    (root / FAILED).mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError), (root / FAILED / name).open("x") as file:
        json.dump(why, file)
