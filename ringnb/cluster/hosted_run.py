"""On a worker: a run's session, the calls that clients make of it, what it goes on with after a loss.

A task of Dask's has a thread of the worker, which opens the session and waits for the end. Calls come to
`handle` on the worker's event loop and are carried out by three pools of threads: so neither a slow disk
nor a long wait delays a glance, a pause, or the worker's other sessions. The few that wait for nothing
are carried out there: two changes of threads take longer than they do.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import math
import platform
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NoReturn, final

import cloudpickle
from distributed import Reschedule
from distributed.protocol import to_serialize
from distributed.utils import sync

from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.cluster.attempt import Attempt, doze
from ringnb.cluster.glance import Division, Glance, RunSpec
from ringnb.cluster.packing import packed
from ringnb.cluster.part_host import start_parts
from ringnb.cluster.parts import Parts
from ringnb.errors import (
    CheckpointNotFound,
    CheckpointWarning,
    ClusterUnavailable,
    KernelStopped,
    RingnbError,
    StoreLocked,
)
from ringnb.session.restore import restore_together
from ringnb.session.session import Session

__all__ = ["ABSENT", "MORE", "HostedRun", "parts_of"]

logger = logging.getLogger("ringnb.cluster")

ABSENT = "absent"  # the status of an answer: the run is not here, or not yet
MORE = "a method"  # what an attribute is that can be called
_MOST_NOTICES = 100
# So long a commit waits for the scheduler: a snapshot, which waits 10 s, can say why.
_ANSWER_S = 8.0
_LOOK_S = 0.25  # so often a run looks whether its worker is to end
_OTHER_S = 3.0  # so long one that is launched waits for a store that was just given up
_WAIT_S = 1.0  # so long a call waits for steps: a client that died leaves no thread behind

_runs: dict[str, HostedRun] = {}
_pools = {
    "glance": ThreadPoolExecutor(2, "ringnb-glance"),
    "commands": ThreadPoolExecutor(16, "ringnb-commands"),
    "storage": ThreadPoolExecutor(4, "ringnb-storage"),
}
_STORAGE = frozenset(
    {
        *("snapshot", "snapshot_all", "restore", "restore_all", "save_changes", "reported"),
        *("end", "remake", "state"),
    }
)
# What no checkpoint holds: the scheduler remembers it, for a session that is opened again.
_WISHES = frozenset({"resume", "pause", "set_pace", "snapshot_every"})
_JOINED = {"cut": False, "join": True}
# They read memory, and neither wait nor take a lock that is held for longer than a few lines.
_AT_ONCE = frozenset({"counters", "current_step", "pace"})
_IN_LINE_BYTES = 1 << 16  # an answer that is longer is not copied into the message
_NOTICED_S = 3.0  # within that, the scheduler knows that a worker has gone
_PARTS_LOOK_S = 0.02  # the same where parts of its actor may be lost


async def handle(run: str, method: str, arguments: bytes, again: bool = False) -> dict[str, Any]:
    """Answer a client, who asks again where that is allowed. On the worker's event loop."""
    hosted = _runs.get(run)
    if hosted is None or hosted.is_lost:
        return {"status": ABSENT}
    if method in _AT_ONCE:
        answer = hosted.answer(method, arguments)
    else:
        pool = "glance" if method == "glance" else "commands"
        if method.partition(".")[0] in _STORAGE | {"manager", "storage"}:
            pool = "storage"
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(_pools[pool], hosted.answer, method, arguments)
    if again and hosted.is_lost:
        return {"status": ABSENT}
    is_long = len(answer) > _IN_LINE_BYTES
    return {"status": "OK", "answer": to_serialize(answer) if is_long else answer}


def parts_of(run: str) -> list[str]:
    """Return the workers that have the parts of a run of this worker."""
    return list(_runs[run]._part_workers)


@final
class HostedRun:
    """The session of a run on this worker.

    ``spec`` is a pickled `RunSpec`; ``key`` is the task's, by which the scheduler knows this attempt.
    """

    def __init__(self, run: str, key: str, spec: bytes) -> None:
        self._run, self._spec = run, spec
        self._attempt = Attempt(run, key)
        self._attempt.worker.handlers["ringnb"] = handle
        self._ended, self._ending = threading.Event(), False
        self._wanted = True
        self._lock = threading.Lock()
        self._notices: list[str] = []
        self._noticed = 0
        self._config_number = 0
        self._config: object = None
        self._parts: Parts | None = None  # of a divided actor
        self._part_workers: list[str] = []  # that have them

    # -- the task --------------------------------------------------------------------------------

    def hold(self) -> None:
        """Open the session and wait until it is ended. The task's thread."""
        found = self._attempt.begin()
        spec: RunSpec = cloudpickle.loads(self._spec)
        # A run that is launched has its store to itself; later the attempt before may still write it.
        patience_s = math.inf if found["started"] else _OTHER_S
        with contextlib.ExitStack() as held:
            store = str(spec.config.storage_path)
            try:
                held.enter_context(self._attempt.writing(store, patience_s))
                _listen(self._note)
                held.callback(_listeners.remove, self._note)
                storage = held.enter_context(ZarrStorage(store))
                storage.set_fence(self._check_wanted)
                self._open(found, spec, storage)
            except Reschedule:
                raise
            except BaseException as error:
                self._attempt.fail(f"{type(error).__name__}: {error}")
                raise
            try:
                _runs[self._run] = self
                self._wanted = self._attempt.tell(opened=True)
                look_s = _LOOK_S if spec.division is None else _PARTS_LOOK_S
                while self._wanted and not self._ended.wait(look_s):
                    if self._attempt.leaving or self._parts_ended:
                        break
                if self._parts_ended:
                    self._end_for_parts(self._follow().kernel.stopped_because)
            finally:
                _runs.pop(self._run, None)
                self._let_go(self._session)
            if self._ending:  # and the scheduler is still to be told
                self._ended.wait()
            # The worker is retired. Its other data may keep it for long, and to the scheduler a task
            # that returns has ended: another attempt goes on from what is committed here.
            if self._wanted and not self._ended.is_set():
                raise Reschedule

    def _check_wanted(self) -> None:
        """Raise if this attempt is not to commit any more: no lock of an object store says so."""
        # The store's lock is held: what else is to be written waits as long.
        if not self._attempt.tell(_ANSWER_S):
            self._wanted = False
            msg = (
                f"the scheduler wants the run {self._run!r} of this worker no more: another worker has "
                "it, or it was ended or withdrawn. This one commits nothing more and ends; attach again "
                "if the run goes on"
            )
            raise StoreLocked(msg)

    def _let_go(self, session: Session) -> None:
        """Close a session that this attempt has no use for any more.

        What it raises must not take the place of why the attempt ends: it is logged.
        """
        try:
            session.close()
        except Exception:
            logger.exception("while the session of the run %r was closed", self._run)

    @property
    def _parts_ended(self) -> bool:
        """Whether the parts of its actor cannot go on."""
        if self._parts is None or self._ended.is_set():
            return False
        session = self._session.successor or self._session
        return not (session.kernel.alive or session.closing)

    @property
    def is_lost(self) -> bool:
        """Whether a part of its actor was lost, and what is there cannot go on."""
        return self._parts_ended and self._parts is not None and self._parts.lost

    def _end_for_parts(self, why: str | None) -> NoReturn:
        """End this attempt. Where a part was lost, another one goes on from the newest checkpoint.

        What a part has raised it would raise again: then the run has failed.
        """
        worker, parts = self._attempt.worker, self._parts
        if parts is None or not parts.lost:
            msg = f"the divided actor was ended: {why}"
            self._attempt.fail(msg)
            raise KernelStopped(msg)
        logger.warning("the run %r goes back to its newest checkpoint: %s", self._run, why)
        gone, deadline = list[str](), time.monotonic() + _NOTICED_S
        with contextlib.suppress(ClusterUnavailable, OSError):  # who is to be told is gone as well
            # The part hangs up before the scheduler has noticed that its worker has gone.
            while not gone and time.monotonic() < deadline:
                there = sync(worker.loop, worker.scheduler.ringnb_workers)
                gone = [at for at in self._part_workers if at not in there]
                self._ended.wait(_PARTS_LOOK_S)
            # A worker may have had several parts, and is lost once.
            self._attempt.tell(lost=", ".join(dict.fromkeys(gone or self._part_workers)))
        raise Reschedule

    def _divided(self, spec: RunSpec, division: Division) -> Parts:
        """Return what has the parts of an actor stepped, on other workers."""
        (actor,) = spec.actor  # type: ignore[misc]  # a population
        pickled, worker = cloudpickle.dumps(actor), self._attempt.worker

        def places(parts: int, secret: bytes) -> list[tuple[str, int]]:
            """Start the parts."""
            started = sync(worker.loop, start_parts, worker, self._run, pickled, parts, secret)
            self._part_workers = [at for at, _, _ in started]
            return [(host, port) for _, host, port in started]

        self._parts = Parts(places, division.parts, division.locality, division.halo)
        return self._parts

    def _open(self, found: dict[str, Any], spec: RunSpec, storage: ZarrStorage) -> None:
        options = dict(spec.options)
        if not storage.folders:  # no directory, and so no lock
            options["storage"] = storage
        if spec.division is not None:
            options["backend"] = self._divided(spec, spec.division)
        try:
            self._session = session = Session(spec.actor, config=spec.config, **options)
        except ClusterUnavailable as error:  # a part
            if self._attempt.leaving:
                raise Reschedule from error
            if not self._part_workers:  # none was lost: none could be started
                raise
            self._end_for_parts(str(error))
        self._life = uuid.uuid4().hex
        slots = range(len(session.actors))
        again = bool(found["started"])
        try:
            self._begin("latest" if again else spec.restore)
            for number, joined in found["wishes"].pop("joined", ()):
                if not joined:
                    session.cut(list(session.links)[number])
            runs = dict.fromkeys(slots, spec.running) | dict(found["wishes"].pop("running", ()))
            for method, values in found["wishes"].items():
                for slot, value in values:
                    getattr(session, method)(value, slot)
            for slot in slots:
                if runs[slot]:
                    session.resume(slot)
        except BaseException:
            ended, why = self._parts_ended, session.kernel.stopped_because
            self._let_go(session)
            if ended:
                self._end_for_parts(why)
            raise

    def _begin(self, restore: str | None) -> None:
        """Go on from checkpoints, or else make some: what is lost with the worker is known from them."""
        session = self._session
        groups = session.kernel.deal.groups  # linked actors, and each of the others alone
        fresh = [one for one in groups if restore is None or not self._go_on(one, restore)]
        # After all have gone on: a cut is the newest checkpoint of every actor.
        if any(len(group) > 1 for group in fresh):
            session.snapshot_all()
        else:
            for (slot,) in fresh:
                session.snapshot(slot)

    def _go_on(self, group: Sequence[int], restore: str) -> bool:
        """Restore an actor, or linked ones, which go together; return whether there was what."""
        newest = restore in ("latest", "latest-good")
        if len(group) > 1 and newest:
            good = restore == "latest-good"
            return restore_together(self._session, group, good=good, tell=self._note)
        try:
            if len(group) > 1:
                self._session.restore_all(restore)
            else:
                self._session.restore(group[0], restore)
        except CheckpointNotFound:
            if not newest:
                raise
            return False
        return True

    def _note(self, text: str) -> None:
        with self._lock:
            self._notices = [*self._notices, text][-_MOST_NOTICES:]
            self._noticed += 1

    # -- calls -----------------------------------------------------------------------------------

    def answer(self, method: str, arguments: bytes) -> bytes:
        """Make a call, or read an attribute; return what came of it, pickled. Any thread."""
        try:
            given = cloudpickle.loads(arguments)
            value, error = self._call(method, given), None
        except Exception as raised:  # noqa: BLE001 - the client raises it, whatever it is
            value, error = None, raised
        if isinstance(error, KernelStopped) and self.is_lost:
            error = ClusterUnavailable(
                f"a part of the run {self._run!r} was lost while it had {method!r} to do: it may be "
                "done or not. The run goes on from its newest checkpoint; look, then call again"
            )
        try:
            answer = packed((value, error))
            if error is not None:  # one that takes other arguments than it keeps fails only here
                cloudpickle.loads(answer)
        except Exception:  # noqa: BLE001 - what cannot be pickled is told in words
            what = (
                error if error is not None else f"{method} returns what cannot be sent: {value!r}"
            )
            answer = packed((None, RingnbError(str(what))))
        return answer

    def _call(self, method: str, given: tuple[tuple[Any, ...], dict[str, Any]] | None) -> Any:
        own: dict[str, Callable[..., Any]] = {
            "glance": self._glance,
            "end": self._end,
            "remake": self._remake,
            "snapshot": partial(self._named, "snapshot"),
            "snapshot_all": partial(self._named, "snapshot_all"),
            "start_steps": self._start_steps,
            "wait_steps": self._wait_steps,
        }
        target: Any = own.get(method)
        if target is None:
            target = self._follow()
            for part in method.split("."):
                target = getattr(target, part)
        if given is None:
            return MORE if callable(target) else target
        args, kwargs = given
        value = target(*args, **kwargs)
        if method in _JOINED:
            link = inspect.signature(target).bind(*args, **kwargs).arguments["link"]
            number = list(self._session.links).index(link)
            self._attempt.tell(wish=("joined", [number], _JOINED[method]))
        if method in _WISHES:
            asked = inspect.signature(target).bind(*args, **kwargs).arguments
            slot = asked.pop("slot", None)
            slots = list(range(len(self._session.actors))) if slot is None else [int(slot)]
            if method != "snapshot_every":  # of one linked actor it is of all
                linked = self._session.kernel.deal.group_of
                slots = sorted({other for one in slots for other in linked[one]})
            wish = ("running", method == "resume") if not asked else (method, *asked.values())
            self._attempt.tell(wish=(wish[0], slots, wish[1]))
        return value

    def _named(self, method: str, *args: Any, **kwargs: Any) -> str:
        """Take a checkpoint, and return its name: the client reads it from the store."""
        name: str = getattr(self._follow(), method)(*args, **kwargs).name
        return name

    def _start_steps(self, slot: int, steps: int) -> tuple[int, int, str]:
        """Add to the budget; return at which step it will be used up, the epoch, the session's life."""
        session = self._follow()
        session.run_steps(slot, steps, wait=False)
        c = session.counters(slot)
        return c.step + c.budget, c.epoch, self._life

    def _wait_steps(
        self, slot: int, target: int, epoch: int, life: str, limit_s: float
    ) -> int | None:
        """Wait a moment until steps are done; return the actor's step then, None if they are not."""
        began = time.monotonic()
        deadline, first = began + min(limit_s, _WAIT_S), None
        while True:
            c = self._follow().counters(slot)
            first = c.step if first is None else first
            if life != self._life:
                msg = (
                    f"the session of the run {self._run!r} was opened again: actor {slot} is at step "
                    f"{c.step} of {target}. Look whether it runs, then ask for the others"
                )
                raise ClusterUnavailable(msg)
            if c.step >= target or c.budget == 0 or c.epoch != epoch:
                return c.step
            if time.monotonic() >= deadline:
                return None
            doze(began, c.step - first, target - c.step)

    def _remake(self) -> None:
        self._session.remake()
        self._follow()

    def _follow(self) -> Session:
        """Return the session, or the one that `remake` or supervision has put in its place."""
        with self._lock:  # else two threads give it two lives
            if (successor := self._session.successor) is not None:
                self._session, self._life = successor, uuid.uuid4().hex
            return self._session

    def _end(self, snapshot: bool) -> None:
        if not snapshot and not self._follow().closed:
            self._session.manager.reconfigure(on_close=False)
        self._ending = True
        try:
            self._session.close()
        finally:
            try:
                self._attempt.tell(done=True)
            finally:
                self._ended.set()

    def _glance(
        self, slots: Sequence[int] | None, events: int, config: int, notices: int
    ) -> Glance:
        session = self._follow()
        manager = session.manager
        statistics = session.glance(slots)
        slots = range(len(session.actors)) if slots is None else slots
        new, appended = session.events.since(events)
        with self._lock:
            if manager.config is not self._config:
                self._config, self._config_number = manager.config, self._config_number + 1
            noted = self._notices[max(0, len(self._notices) - (self._noticed - notices)) :]
            noticed, number = self._noticed, self._config_number
        failure = session.failure
        return Glance(
            life=self._life,
            statistics=statistics,
            closed=session.closed,
            stopped_because=session.kernel.stopped_because,
            failure="" if failure is None else str(failure) or type(failure).__name__,
            due_s={}
            if session.closed
            else {slot: manager.seconds_until_next(slot) for slot in (None, *slots)},
            now_ns=time.monotonic_ns(),  # next to what is counted from it
            every={slot: session.snapshot_interval_steps(slot) for slot in slots},
            events=new,
            appended=appended,
            config=None if number == config else manager.config,
            config_number=number,
            notices=noted if notices < noticed else [],
            noticed=noticed,
            began_ns=session.events.began_ns,
            machine=platform.node(),
        )


_listeners: list[Callable[[str], None]] = []


def _listen(note: Callable[[str], None]) -> None:
    """Have warnings told to clients: in the log of a worker nobody would read them."""
    if not _listeners:
        show = warnings.showwarning

        def tell(message: Warning | str, *args: Any, **kwargs: Any) -> None:
            """Log it as before, and note it for every run of this worker."""
            show(message, *args, **kwargs)
            for each in _listeners:
                each(str(message))

        warnings.showwarning = tell
        warnings.simplefilter("always", CheckpointWarning)
    _listeners.append(note)
