"""`RemoteSession`: what a notebook holds of a session that lives in another process."""

from __future__ import annotations

import functools
import math
import platform
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, Concatenate, NoReturn, ParamSpec, Self, TypeVar, final

from ringnb._support.checks import MAX_STEP, check_int, check_seconds, refuse_pickle
from ringnb._support.off_main import is_own_thread, warn_caller
from ringnb._support.panel_opener import find_panel_opener
from ringnb._support.text import counted
from ringnb.actors.base import Actor
from ringnb.actors.link import Link
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.cluster.connection import GOES_ON, Connection
from ringnb.cluster.glance import Glance
from ringnb.cluster.remote_kernel import RemoteKernel
from ringnb.cluster.remote_part import RemotePart, RemoteStorage
from ringnb.cluster.run_info import RunInfo
from ringnb.errors import (
    CheckpointWarning,
    ClusterError,
    ClusterUnavailable,
    ClusterWarning,
    KernelStopped,
    RunSilent,
    StoreNotShared,
)
from ringnb.kernel.base import ActorCounters
from ringnb.messages.events import EventLog
from ringnb.session.session import Session
from ringnb.session.statistics import CapturedNumbers, SessionStatistics, session_table

__all__ = ["RemoteSession"]

# Of an actor: counters, simulated time, reductions, whether it is saved.
_Heard = tuple[ActorCounters, float | None, CapturedNumbers | None, bool]
_GLANCE_S = 2.0  # a glance that takes longer is given up
_SLOW_S = 0.25  # from here on the panels say how slow it is
_READ_S = 10.0  # the same of other reads
# So long after a glance that was given up, panels ask for no other: at first, and at most.
_FIRST_REST_S, _MOST_REST_S = 1.0, 30.0
_READS = frozenset(
    {
        *(
            "current_step",
            "time",
            "counters",
            "is_saved",
            "params",
            "pace",
            "recent_reported",
            "kernel.progress",
        ),
        *("manager.history", "manager.lineage", "manager.runs", "manager.list_checkpoints"),
        *("manager.preview_retention", "manager.seconds_until_next"),
    }
)
_WATCHED_S = 60.0  # after a glance a panel is taken to be open for so long, however slow it is
_OLD_S = 0.2  # so old may be what is answered from the last glance
P = ParamSpec("P")
T = TypeVar("T")


def _there(
    method: Callable[Concatenate[Session, P], T],
) -> Callable[Concatenate[RemoteSession, P], T]:
    """Have a method of the session's carried out where it lives."""

    @functools.wraps(method)
    def call(self: RemoteSession, *args: P.args, **kwargs: P.kwargs) -> T:
        answer: T = self._ask(method.__name__, (args, kwargs))
        return answer

    return call  # type: ignore[return-value]  # it takes `self` by position


def _committed_there(
    method: Callable[Concatenate[Session, P], Checkpoint],
) -> Callable[Concatenate[RemoteSession, P], Checkpoint]:
    """Have a checkpoint committed where the session lives, and read it from the store."""

    @functools.wraps(method)
    def call(self: RemoteSession, *args: P.args, **kwargs: P.kwargs) -> Checkpoint:
        return self.storage.load(self._ask(method.__name__, (args, kwargs)))

    return call  # type: ignore[return-value]  # it takes `self` by position


@final
class RemoteSession:
    """A session in another process, from `launch` or `attach`; its calls are those of a `Session`.

    Parameters
    ----------
    connection : Connection
        To the run. `launch` and `attach` make it.
    patience_s : float
        Seconds to wait for a run that is just being opened, at first and after each loss of its worker.

    Notes
    -----
    Any thread. Leaving a ``with`` block detaches: the session goes on, `end` ends it. Checkpoints are
    read from their store, which this process must see at the same path: else a snapshot is committed,
    and raises `StoreNotShared`. When its worker is lost, the session goes on from its newest checkpoint
    with another one: a call that was under way raises `ClusterUnavailable`, and is never made again by
    itself; later ones work, and a `ClusterWarning` tells it. Actors that ran run again; steps of
    `run_steps` that were left are not taken.
    Not there are `send`, `receive`, the crank, and the memory of the kernel.
    """

    pause = _there(Session.pause)
    resume = _there(Session.resume)
    set_pace = _there(Session.set_pace)
    current_step = _there(Session.current_step)
    time = _there(Session.time)
    counters = _there(Session.counters)
    is_saved = _there(Session.is_saved)
    state = _there(Session.state)
    inject = _there(Session.inject)
    read_region = _there(Session.read_region)
    write_region = _there(Session.write_region)
    cut = _there(Session.cut)
    join = _there(Session.join)
    snapshot = _committed_there(Session.snapshot)
    snapshot_all = _committed_there(Session.snapshot_all)
    set_params = _there(Session.set_params)  # type: ignore[arg-type]  # likewise
    params = _there(Session.params)
    pace = _there(Session.pace)
    restore = _there(Session.restore)
    restore_all = _there(Session.restore_all)
    save_changes = _there(Session.save_changes)
    report = _there(Session.report)  # type: ignore[arg-type]  # likewise
    reported = _there(Session.reported)
    recent_reported = _there(Session.recent_reported)

    def __init__(self, connection: Connection, *, patience_s: float = 30.0) -> None:
        self._connection, self._patience_s = connection, patience_s
        self._lock = threading.Lock()  # of what follows
        self._trying = threading.Lock()  # one glance of a panel at a time
        self._noting = threading.Lock()  # of how long panels rest
        self._last_at = self._glanced_at = -math.inf
        self._again_at = 0.0
        self._unanswered = 0  # of glances, in a row
        self._seen = 0, 0, 0  # events, config, notices
        self._life = ""
        self._every: dict[int, int | None] = {}
        self._shift_ns = 0
        self._delay_s = 0.0
        self._heard: dict[int, _Heard] = {}  # what was heard last of an actor, by slot
        # When the manager has something to do (None), and when actors are due, by the clock here.
        self._due_at: dict[int | None, float | None] = {}
        self._trouble = self._lost_at = ""
        self._kind: type[ClusterError] = ClusterUnavailable  # of the trouble
        self._storage: RemoteStorage | None = None
        self._failure: BaseException | None = None
        self.events = EventLog()
        self._losses = len(connection.find()["losses"])
        self._last: Glance
        self._last = self._look(None, patience_s, patience_s + _READ_S)
        self.actors: tuple[Actor, ...] = self._ask("actors")
        self.backend: str = self._ask("backend")
        self._registered = self._ask("manager.registered")
        self.manager: Any = RemotePart(self._ask, "manager", self._known_of_manager)
        self.faults: Any = RemotePart(self._ask, "faults")
        self.supervisor: Any = RemotePart(self._ask, "supervisor")
        self.kernel = RemoteKernel(self._ask, lambda: self._last)

    # -- life ------------------------------------------------------------------------------------

    def detach(self) -> None:
        """Leave the session, which goes on. Idempotent."""
        self._connection.close()

    def end(self, *, snapshot: bool = True) -> None:
        """End the session for all, and free its place.

        Parameters
        ----------
        snapshot : bool, default True
            Commit what has changed since the last checkpoint.
        """
        self._ask("end", ((), {"snapshot": snapshot}))
        self._connection.close(
            f"the run {self.name!r} was ended: launch goes on from its checkpoints"
        )

    def close(self) -> None:
        """Detach, as the end of a ``with`` block does; in a panel *Stop* ends the session."""
        self.detach()

    def __enter__(self) -> Self:
        """Return the session itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Detach: the session goes on."""
        self.detach()

    @property
    def name(self) -> str:
        """The name of the run."""
        return self._connection.run

    @property
    def closed(self) -> bool:
        """Whether it was detached, or the session was closed."""
        return self._connection.closed or self._last.closed

    @property
    def closing(self) -> bool:
        """As `closed`: while a session is being closed it goes on to answer."""
        return self.closed

    @property
    def itself(self) -> Self:
        """The session itself, also where a weak proxy of it is used."""
        return self

    @property
    def service_runs(self) -> bool:
        """Whether background threads send, receive and commit: always."""
        return True

    @property
    def failure(self) -> BaseException | None:
        """What the session's next call raises of its background threads; or None."""
        return ClusterError(self._last.failure) if self._last.failure else None

    @property
    def successor(self) -> None:
        """None: a session that is made again, also by supervision, has the place of the one before."""
        return None

    def on_displaced(self, callback: Callable[[Any], object]) -> None:
        """Do nothing: no later run of a cell closes it.

        Parameters
        ----------
        callback : callable
            It is never called.
        """

    def keep_failure(self, error: BaseException) -> None:
        """Let the next call raise what was caught only to be shown.

        Parameters
        ----------
        error : BaseException
            The exception.
        """
        self._failure = error

    def remake(self) -> Self:
        """Start a session like this one in its place, as `Session.remake`.

        Returns
        -------
        RemoteSession
            This one: it follows.
        """
        self._ask("remake", ((), {}))
        return self

    def __reduce__(self) -> NoReturn:
        """Refuse: TypeError."""
        refuse_pickle(
            "a session of another process", "pass its name, and attach(address, name) there"
        )

    def record(self) -> RunInfo:
        """Return what the cluster says of the run.

        Returns
        -------
        RunInfo
            With its worker, and those that it has lost.
        """
        return RunInfo.of(self._connection.find())

    @property
    def losses(self) -> int:
        """How often the run has lost its worker, as far as it was told here."""
        return self._losses

    @property
    def connection(self) -> str:
        """What is wrong with the connection, in a sentence; "" if nothing is. From the last glance."""
        if self._trouble:
            return (
                f"The run {self.name!r} has not answered since {self._lost_at} UTC: {self._trouble}"
            )
        if self._delay_s > _SLOW_S:
            # Rounded up, so that it is not said anew at every refresh.
            most_s = 2.0 ** math.ceil(math.log2(self._delay_s))
            return f"The run {self.name!r} answers slowly: up to {most_s:g} s for a refresh"
        return ""

    @property
    def again_at(self) -> float | None:
        """When panels ask it again, by `time.monotonic`; None if the last glance was answered."""
        return self._again_at if self._trouble else None

    def try_now(self) -> None:
        """Have panels ask it at their next refresh, however long they would rest."""
        self._again_at = time.monotonic()

    @property
    def unheard(self) -> str:
        """Why what is known of the session is old, in a sentence; "" if the last glance was answered."""
        return self.connection if self._trouble else ""

    @property
    def place(self) -> str:
        """Its machine, and how soon it answers: what panels show at their head."""
        if self._trouble:
            return f"{self._last.machine} \N{MIDDLE DOT} no answer"
        most_ms = 2.0 ** max(0, math.ceil(math.log2(max(1e-3, 1e3 * self._delay_s))))
        return f"{self._last.machine} \N{MIDDLE DOT} within {most_ms:g} ms"

    # -- stepping and snapshots ------------------------------------------------------------------

    def run_steps(
        self, slot: int, steps: int, wait: bool = True, timeout: float | None = None
    ) -> int:
        """Add steps to an actor's budget; as `Session.run_steps`.

        Parameters
        ----------
        slot : int
            The actor.
        steps : int
            How many, >= 1.
        wait : bool, default True
            Block until they are done, or until `pause` or `restore` has cleared the budget.
        timeout : float, optional
            Seconds to block at most; the steps go on afterwards.

        Returns
        -------
        int
            The actor's step on return.

        Raises
        ------
        TimeoutError
            If they are not done in time.
        ClusterUnavailable
            If the worker was lost meanwhile: those that are left are not taken.
        """
        steps = check_int(steps, "steps", 1, MAX_STEP)
        limit_s = math.inf if timeout is None else check_seconds(timeout, "timeout")
        deadline = time.monotonic() + limit_s
        target, epoch, life = self._ask("start_steps", ((slot, steps), {}))
        if not wait:
            return self.current_step(slot)
        try:
            while True:
                left_s = deadline - time.monotonic()
                done = self._ask("wait_steps", ((slot, target, epoch, life, max(0.0, left_s)), {}))
                if done is not None:
                    return int(done)
                if left_s <= 0:
                    msg = (
                        f"slot {slot} is at step {self.current_step(slot)} of {target} after "
                        f"{timeout:g} s; it goes on. Call pause({slot}) to stop it"
                    )
                    raise TimeoutError(msg)
        except KeyboardInterrupt:
            self.pause(slot)
            raise

    def snapshot_every(self, steps: int | None, slot: int | None = None) -> None:
        """Checkpoint actors by their step count; as `Session.snapshot_every`.

        Parameters
        ----------
        steps : int or None
            Whenever an actor has passed a multiple of so many steps; None ends it.
        slot : int, optional
            The actor; all by default.
        """
        self._ask("snapshot_every", ((steps, slot), {}))
        self._look(None, self._patience_s)

    def snapshot_interval_steps(self, slot: int) -> int | None:
        """Return the steps between two checkpoints of an actor, as `snapshot_every` has set them.

        Parameters
        ----------
        slot : int
            The actor.

        Returns
        -------
        int or None
            None if it is not checkpointed by its step count.
        """
        if slot not in self._every:
            self._look((slot,), self._patience_s)
        return self._every[slot]

    # -- what can be seen ------------------------------------------------------------------------

    @property
    def storage(self) -> RemoteStorage:
        """Where checkpoints are kept; StoreNotShared if that cannot be read from here."""
        if self._storage is None:
            path = self.manager.config.storage_path
            here, there = ZarrStorage(path), self._ask("storage.id")
            if here.id != there:
                msg = (
                    f"the store {path} of the run {self.name!r} is not the one that is found here "
                    f"(its id is {there}, not {here.id}): use a directory that this machine and the "
                    "worker share, or s3://"
                )
                raise StoreNotShared(msg)
            self._storage = RemoteStorage(self._ask, here)
        return self._storage

    @property
    def links(self) -> dict[Link, bool]:
        """The links between actors, and whether each is joined."""
        links: dict[Link, bool] = self._ask("links")
        return links

    def statistics(self) -> SessionStatistics:
        """Return counters and queue depths.

        Returns
        -------
        SessionStatistics
            A frozen copy.
        """
        limit_s = self._patience_s + _READ_S
        return self._look(None, self._patience_s, limit_s).statistics

    def glance(self, slots: Sequence[int] | None = None) -> SessionStatistics:
        """Return counters and queue depths, or the last ones known if the run does not answer.

        Parameters
        ----------
        slots : sequence of int, optional
            The actors whose counters and times are read, in this order; all by default.

        Returns
        -------
        SessionStatistics
            A frozen copy. `connection` says whether it is an old one.
        """
        self._glanced_at = time.monotonic()
        found = self._try_look(slots)
        return self._as_known(slots) if found is None else found.statistics

    def _try_look(self, slots: Sequence[int] | None = None) -> Glance | None:
        """Read the session if it answers soon, and note whether it does; while nothing answers, seldom.

        Several threads are here at a time. Each would wait for a glance of its own, after those of all
        before it: whoever has waited for one that was given up rests, and in trouble nobody waits.
        """
        if not self._trying.acquire(blocking=not self._trouble):
            return None
        try:
            began = time.monotonic()
            if self._trouble and began < self._again_at:
                return None
            found = self._look(slots, 0.0, _GLANCE_S)
        except ClusterError as error:
            self._note_trouble(error)
        except KernelStopped:  # it was ended, by this process or another
            self._last, self._trouble = self._last._replace(closed=True), ""
        else:
            self._delay_s = time.monotonic() - began
            return found
        finally:
            self._trying.release()
        return None

    def _as_known(self, slots: Sequence[int] | None) -> SessionStatistics:
        """Return what was heard last, of those actors: of all when it was attached."""
        with self._lock:
            told = range(len(self.actors)) if slots is None else slots
            heard = [self._heard[slot] for slot in told]
        actors, times, reduced, saved = zip(*heard, strict=True) if heard else ((),) * 4
        return replace(
            self._last.statistics, actors=actors, times=times, reduced=reduced, saved=saved
        )

    def panel(self, name: str | None = None, *, draw: Callable[..., object] | None = None) -> Any:
        """Return a panel over this session, for a notebook to display; as `Session.panel`.

        Parameters
        ----------
        name : str, optional
            One of ``ringnb.panels.PANELS``; the whole cockpit by default.
        draw : callable, optional
            Your own picture, ``draw(checkpoint, ax)``.

        Returns
        -------
        Panel
            The same one at every call.
        """
        return find_panel_opener()(self, name, draw=draw)

    @property
    def _state(self) -> str:
        return "detached" if self._connection.closed else "closed" if self.closed else "attached"

    def _repr_html_(self) -> str:
        """Show actors and counters as a table, as far as they are known."""
        return session_table(self.backend, self.actors, self.glance(), self._state)

    def __repr__(self) -> str:
        """Name the run and where it is."""
        kinds = ", ".join(sorted({a.kernel_type for a in self.actors}))
        return (
            f"<RemoteSession {self.name!r}: {len(self.actors)} x {kinds} on {self.backend}, "
            f"{self._state}>"
        )

    # -- the way there ---------------------------------------------------------------------------

    def _ask(self, method: str, given: tuple[tuple[Any, ...], dict[str, Any]] | None = None) -> Any:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        reads = given is None or method in _READS
        if not reads:
            return self._connection.ask(method, given, patience_s=self._patience_s)
        # It takes no time, and panels ask it at every refresh: they must not wait where nothing answers.
        # Whoever calls from a cell waits: the run may be back at any moment.
        hurried, limit_s = is_own_thread(), self._patience_s + _READ_S
        if hurried:
            limit_s = _READ_S
            if self._trouble:  # the panels' glance, or one from here, is for all reads
                self._try_look()
            if why := self.unheard:
                raise self._kind(why)
        try:
            answer = self._connection.ask(
                method, given, patience_s=self._patience_s, again=True, limit_s=limit_s
            )
        except ClusterUnavailable as error:
            if time.monotonic() - self._glanced_at < _WATCHED_S:  # else no glance would end it
                self._note_trouble(error)
            raise
        if self._trouble:
            self.try_now()
            self._try_look()
        return answer

    def _note_trouble(self, error: ClusterError) -> None:
        """Note since when nothing answers; the next glance that is answered ends it."""
        with self._noting:
            now = time.monotonic()
            if now >= self._again_at:  # else another thread has met the same, and noted it
                rest_s = min(_MOST_REST_S, math.ldexp(_FIRST_REST_S, min(self._unanswered, 16)))
                self._again_at, self._unanswered = now + rest_s, self._unanswered + 1
            if not self._trouble:
                self._lost_at = f"{datetime.now(UTC):%H:%M:%S}"
            # The same run may have been lost, and have failed now.
            if not self._trouble or type(error) is not self._kind:
                # That it does not answer is said before this: then nothing else is known.
                silent = isinstance(error, RunSilent)
                self._kind, self._trouble = type(error), f"it {GOES_ON}" if silent else str(error)

    def _known_of_manager(self, name: str) -> Any:
        """Return what the last glance says of the manager, if that is not old."""
        if name == "registered":
            return self._registered  # one mapping, by which panels know that nothing has changed
        if name not in ("config", "seconds_until_next"):
            self._last_at = -math.inf  # it may change what is known
            return None
        if self._trouble:
            self._try_look()
        elif time.monotonic() - self._last_at > _OLD_S:
            self.glance()
        return self._last.config if name == "config" else self._seconds_until_next

    def _seconds_until_next(self, actor_slot: int | None = None) -> float | None:
        if actor_slot is not None and actor_slot not in self._due_at:  # no glance was at it
            found: float | None = self._ask("manager.seconds_until_next", ((actor_slot,), {}))
            return found
        due_at = self._due_at.get(actor_slot)
        return None if due_at is None else max(0.0, due_at - time.monotonic())

    def _look(
        self, slots: Sequence[int] | None, patience_s: float, limit_s: float = _READ_S
    ) -> Glance:
        """Read the session, and take in what is new; warn of what a user should know."""
        ask = partial(
            self._connection.ask, "glance", patience_s=patience_s, again=True, limit_s=limit_s
        )
        slots = None if slots is None else tuple(slots)
        with self._lock:
            before, seen = self._life, self._seen
        # Without the lock: a panel's glance does not wait for a cell's, which is more patient.
        new: Glance = ask(((slots, *seen), {}))
        if before and new.life != before:  # it counts from the beginning again
            new = ask(((slots, 0, 0, 0), {}))
        if not hasattr(new.statistics, "saved"):  # a host of before tells nothing of it
            unsaved = (False,) * len(new.statistics.actors)
            new = new._replace(statistics=replace(new.statistics, saved=unsaved))
        if not isinstance(new.due_s, dict):  # nor when each actor is due
            new = new._replace(due_s={None: new.due_s})
        with self._lock:
            known = new.life == self._life
            if known and (before, seen) != (self._life, self._seen):
                # Another thread has taken in some of what is new here: the next glance brings the rest.
                appended, _, noticed = self._seen
                new = new._replace(events=[], appended=appended, notices=[], noticed=noticed)
            is_older = new.now_ns < self._last.now_ns if known else new.life == before
            if is_older:  # than what that thread has taken in
                every = {slot: n for slot, n in new.every.items() if slot not in self._last.every}
                self._every.update(every)
                return new._replace(notices=[])
            new = self._take_in(new, slots)
        if before and new.life != before:
            self._warn_of_losses()
        for notice in new.notices:
            warn_caller(notice, CheckpointWarning)
        return new

    def _take_in(self, new: Glance, slots: Sequence[int] | None) -> Glance:
        """Take in what a glance at these actors has brought that was not seen before. Needs the lock."""
        before = self._life
        if new.life != before:
            far = new.machine != platform.node()
            self._shift_ns = time.monotonic_ns() - new.now_ns if far else 0
            self._life = new.life
        for event in new.events:
            self.events.append(replace(event, t_ns=event.t_ns + self._shift_ns))
        self._seen = new.appended, new.config_number, new.noticed
        if not before:
            self.events.began_ns = new.began_ns + self._shift_ns
        self._every.update(new.every)
        s = new.statistics
        told = range(len(s.actors)) if slots is None else slots
        heard = zip(s.actors, s.times, s.reduced, s.saved, strict=True)
        self._heard.update(zip(told, heard, strict=True))
        if new.config is None:
            new = new._replace(config=self._last.config)
        # By its clock: it is the same however long an answer takes.
        now_s = (new.now_ns + self._shift_ns) / 1e9
        due_at = {slot: None if s is None else now_s + s for slot, s in new.due_s.items()}
        self._due_at = {**(self._due_at if new.life == before else {}), **due_at}
        self._last, self._last_at, self._trouble = new, time.monotonic(), ""
        self._again_at, self._unanswered = 0.0, 0
        return new

    def _warn_of_losses(self) -> None:
        losses, known = len(self._connection.find()["losses"]), self._losses
        self._losses = losses
        if losses > known:
            msg = (
                f"the run {self.name!r} has lost its worker ({counted(losses, 'loss', 'losses')} until "
                "now): it goes on from its newest checkpoint with another one"
            )
            warn_caller(msg, ClusterWarning)
