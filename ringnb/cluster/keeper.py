"""On the scheduler: which runs there are, which workers they have lost, what each shall go on with.

Everything happens on the scheduler's event loop, so that nothing needs a lock. The scheduler imports
this module, so it imports neither Numba nor the session.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any, final

from distributed import SchedulerPlugin

from ringnb.cluster.run_info import RunInfo, RunState

__all__ = ["RunKeeper"]

_CLIENT = "ringnb"  # a client that never goes: what it wants stays
_FRESH_S = 60.0  # between a claim and its task lies no more


@dataclass
class _Record:
    key: str  # of the task
    store: str
    give_up: tuple[int, float]  # so many losses within so many seconds
    began_at: float = field(default_factory=time.time)
    worker: str = ""  # that has it, or had it last
    losses: list[tuple[float, str]] = field(default_factory=list)
    excused: int = 0  # so many of the first losses were followed by a new checkpoint
    submitted: bool = False  # whether the scheduler has its task
    started: bool = False  # whether its session was open once: from then on there is a checkpoint
    open: bool = False  # whether it is open now
    ended: bool = False
    why: str = ""  # it has failed
    waits: str = ""  # what its attempt on a worker waits for
    lost: str = ""  # a worker that had a part of it; its own attempt ends for that
    # What the user has asked of the session and no checkpoint holds, by method and slot.
    wishes: dict[str, dict[int, Any]] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


@final
class RunKeeper(SchedulerPlugin):
    """Keeps the runs of one cluster; `launch` registers it, once."""

    name = "ringnb-runs"
    idempotent = True

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}
        self._names: dict[str, str] = {}  # by task
        self._stores: dict[str, str] = {}  # the last run of each
        self._scheduler: Any = None

    async def start(self, scheduler: Any) -> None:
        """Answer clients and workers from now on."""
        self._scheduler = scheduler
        scheduler.handlers.update(
            ringnb_claim=self.claim,
            ringnb_runs=self.runs,
            ringnb_find=self.find,
            ringnb_wait=self.wait,
            ringnb_note=self.note,
            ringnb_workers=self.workers,
        )

    # -- what is asked ---------------------------------------------------------------------------

    def claim(self, run: str, key: str, store: str, give_up: tuple[int, float]) -> str:
        """Take a name and a store for a task that will be submitted; return the run that has one.

        An empty text says that both were free.
        """
        for name in (run, self._stores.get(store, "")):
            if name in self._records and self._lives(self._records[name]):
                return name
        self._stores[store] = run
        self._records[run] = _Record(key, store, (int(give_up[0]), float(give_up[1])))
        self._names[key] = run
        return ""

    def _lives(self, record: _Record) -> bool:
        if record.ended or record.why:
            return False
        # A client that died between claim and task leaves a name that nothing has.
        return time.time() - record.began_at < _FRESH_S or record.key in self._scheduler.tasks

    def runs(self) -> list[dict[str, Any]]:
        """Return all runs, oldest first."""
        return [asdict(self._info(run, record)) for run, record in self._records.items()]

    def find(self, run: str) -> dict[str, Any] | None:
        """Return a run with what it shall go on with; None if there is none."""
        record = self._records.get(run)
        if record is None:
            return None
        counted = record.losses[record.excused :]
        recent = [t for t, _ in counted if time.time() - t < record.give_up[1]]
        return {
            **asdict(self._info(run, record)),
            "started": record.started,
            "wishes": {what: list(by.items()) for what, by in record.wishes.items()},
            "give_up": len(recent) > record.give_up[0],
        }

    async def wait(
        self, run: str, seconds: float, *, submitted: bool = False
    ) -> dict[str, Any] | None:
        """Return a run when its session is open or it has ended, or after some seconds.

        With `submitted` when the scheduler has its task: a client that goes before takes it along.
        """
        deadline = time.monotonic() + seconds
        while (record := self._records.get(run)) is not None:
            left = deadline - time.monotonic()
            if record.open or record.ended or record.why or left <= 0:
                break
            if submitted and record.submitted:
                break
            record.changed.clear()
            try:
                await asyncio.wait_for(record.changed.wait(), left)
            except TimeoutError:
                break
        return self.find(run)

    def note(
        self,
        run: str,
        key: str,
        *,
        worker: str,
        opened: bool = False,
        progressed: bool = False,
        done: bool = False,
        lost: str = "",
        why: str = "",
        waits: str = "",
        wish: tuple[str, list[int], Any] | None = None,
    ) -> bool:
        """Note what a worker says: its session is open, why it failed, what was asked of it.

        `lost` is the worker of a part that was lost, for which this attempt ends.
        `progressed` excuses all losses until now: there is a checkpoint that is newer. Return whether
        the run is wanted of this worker: a client that gave up waiting for it has withdrawn it, or
        another worker has it by now.
        """
        record = self._records.get(run)
        if record is None or record.key != key or record.ended:
            return False
        task = self._scheduler.tasks.get(key)
        if task is None or task.processing_on is None or task.processing_on.address != worker:
            return False
        record.waits, record.lost = waits, record.lost or lost
        if opened:
            record.started = record.open = True
        if progressed:
            record.excused = len(record.losses)
        record.ended = record.ended or done
        if wish is not None:
            what, slots, value = wish
            record.wishes.setdefault(what, {}).update(dict.fromkeys(slots, value))
        record.why = record.why or why
        record.changed.set()
        return True

    def workers(self) -> list[str]:
        """Return the addresses of all workers, those first that have the least to do."""
        there = [one for one in self._scheduler.workers.values() if one.status.name == "running"]
        there.sort(key=lambda one: (len(one.processing), one.address))
        return [one.address for one in there]

    def _info(self, run: str, record: _Record) -> RunInfo:
        task = self._scheduler.tasks.get(record.key)
        worker = None if task is None or task.processing_on is None else task.processing_on.address
        state: RunState = "running" if record.open else "starting"
        why = record.why or record.waits
        if record.why or record.ended:
            worker, state = None, "failed" if record.why else "ended"
        elif worker is None:
            total, state = self._scheduler.total_nthreads, "waiting"
            why = f"all {total} places are taken" if total else "there is no worker"
        losses = tuple(lost for _, lost in record.losses)
        return RunInfo(run, state, worker, record.store, record.began_at, losses, why)

    # -- what the scheduler tells ----------------------------------------------------------------

    def update_graph(self, scheduler: Any, *, keys: Collection[Any], **_: Any) -> None:
        """Want the task of a run, so that it goes on when its client has gone."""
        if own := [key for key in keys if key in self._names]:
            scheduler.client_desires_keys(own, _CLIENT)
            for key in own:
                record = self._records[self._names[key]]
                record.submitted = True
                record.changed.set()

    def transition(self, key: Any, start: str, finish: str, *_args: Any, **_more: Any) -> None:
        """Note that a run was lost with its worker, or has ended."""
        record = self._records.get(self._names.get(key, ""))
        if record is None or record.key != key:
            return
        if start == "processing" and finish == "released":
            task = self._scheduler.tasks[key]
            # Else the fourth loss would be the last: how many are too many is for the run to say.
            task.suspicious = 0
            if not (record.why or record.ended):  # else its client has cancelled what is left of it
                record.losses.append((time.time(), record.lost or record.worker))
            record.open, record.waits, record.lost = False, "", ""
        elif finish == "processing":
            record.worker = self._scheduler.tasks[key].processing_on.address
        elif finish in ("memory", "erred", "forgotten"):
            record.ended, record.open = True, False
            if finish != "memory" and not record.why:
                record.why = "its task was cancelled, or has failed: see the worker's log"
            self._names.pop(key, None)
            # Not here: the scheduler is in the middle of its transitions.
            asyncio.get_running_loop().call_soon(self._release, key)
        record.changed.set()

    def _release(self, key: Any) -> None:
        if key in self._scheduler.tasks and _CLIENT in self._scheduler.clients:
            self._scheduler.client_releases_keys([key], _CLIENT)
