"""`Session`, the object that a notebook holds: it owns the parts and has the calls that a user makes.

The parts: the kernel steps the actors (`ringnb.kernel`), the manager decides what is checkpointed and
kept (`ringnb.checkpoint`), the service moves snapshots between the two (`ringnb.session.service`).

Every method may be called from any thread, and in a signal handler: the calls that take locks are
marked with `off_main`, see `ringnb._support.off_main`. A `KeyboardInterrupt` during a blocking call
leaves the session usable; `run_steps` pauses the actor first, so that interrupting a cell stops the
work.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, Self, final

import numpy.typing as npt

from ringnb._support.checks import (
    MAX_STEP,
    check_bool,
    check_int,
    check_json,
    check_label,
    check_number,
    check_seconds,
    check_slot,
    is_integer,
    refuse_pickle,
)
from ringnb._support.off_main import off_main, off_main_if_handled, prepare, warn_caller
from ringnb._support.panel_opener import find_panel_opener
from ringnb._support.text import counted, say
from ringnb.actors.base import Actor
from ringnb.actors.link import Link, check_links
from ringnb.actors.region import Region
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.checkpoint.report import Report
from ringnb.checkpoint.state import State
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.errors import CheckpointWarning, KernelStopped
from ringnb.kernel.base import AbstractKernel, ActorCounters
from ringnb.kernel.client import KernelClient
from ringnb.messages.commands import Command
from ringnb.messages.events import EventLog
from ringnb.messages.snapshots import SnapshotRequest, SnapshotResponse
from ringnb.session import live
from ringnb.session.change_tracking import ChangeTracker
from ringnb.session.closing import close_parts, save_last
from ringnb.session.cut import CutWish, cut_group, load_cut, prepare_cut, take_cut
from ringnb.session.fault_injection import Faults
from ringnb.session.glance import counters_of
from ringnb.session.launching import (
    check_cell,
    check_region,
    check_values,
    kernel_ids_of,
    make_kernel,
    period_ns_of,
    population_of,
    register_population,
    say_that_it_starts_fresh,
    warn_if_nothing_can_be_saved,
)
from ringnb.session.linking import Links
from ringnb.session.live_copy import copy_state, make_state
from ringnb.session.live_state import LiveState
from ringnb.session.notebook import (
    close_at_sigterm,
    close_previous,
    current_run,
    remember,
    tell_all,
)
from ringnb.session.remaking import take_over
from ringnb.session.reporter import RecentRows, ReportFunction, check_report_functions
from ringnb.session.restore import prepare_restore
from ringnb.session.service import SnapshotService
from ringnb.session.snapshot import take_snapshot
from ringnb.session.statistics import SessionStatistics, session_table
from ringnb.session.stepping import run_budget
from ringnb.session.supervision import Supervisor

__all__ = ["Session"]


@final
class Session:
    """Actors in a persistent kernel, with checkpoints.

    Parameters
    ----------
    actor : Actor or sequence of Actor
        What to run: one actor for every slot, or one per slot.
    actors : int, optional
        How many slots. By default 1, or the length of the sequence.
    backend : {"auto", "cpu", "cuda", "cudasim"}, default "auto"
        Where the kernel runs: Numba threads, one CUDA grid on an NVIDIA GPU, or the CUDA kernel in
        Numba's simulator (slow; small grids). "auto" is "cuda" where a GPU has passed all checks and
        run a small kernel with the CPU's bits, else "cpu", and the log says why.
    config : CheckpointConfig, optional
        When to checkpoint, what to keep, where.
    storage : CheckpointStorage, optional
        Where checkpoints go, instead of ``config.storage_path``. It is not closed with the session.
    service : bool, default True
        Poll, send, receive and commit on background threads. False leaves it to the caller: `send`,
        `receive`.
    lanes, width : int, optional
        Kernel lanes and threads per lane; on a GPU groups of blocks and blocks per group. By default the
        CPU gets a thread per core, on three cores and more one less, in at most one lane per actor; how
        many threads of its lane step an actor is then measured while it runs. A `width` holds for all.
        A GPU gets one lane, of as many blocks as the largest actor can use.
    threads, device, reserve : int, optional
        On a GPU only: threads per block, by default what fills a multiprocessor; the number of the GPU,
        0 by default; multiprocessors that stay free for other work, 1 by default.
    ring_capacity : int, default 64
        Slots of each ring, a power of two.
    max_steps_per_second : float, optional
        Pace of every actor. None runs as fast as it goes.
    kernel_ids : sequence of str, optional
        Identities, one per slot; ``"<kernel_type>_<slot>"`` by default. They own the histories.
    supervise : bool, default False
        Take an actor that fails back to its newest good checkpoint, and let it run on. It has failed
        if its update raises, which ends the kernel: then `successor` goes on in the place of this
        session, with all actors. Or if ``guard="pause"`` of the configuration pauses it. After three
        restarts from the same checkpoint it stays paused, with a `CheckpointWarning`; so do linked
        actors, which go back together, if their checkpoints are not of one step. What was done is in
        `statistics`.
    links : Link or sequence of Link, default ()
        Strips of state that go from one actor to another between two steps. Actors that they join,
        directly or by others, step together, in one lane: `pause`, `resume`, `run_steps` and `set_pace`
        of one are of all of them; a restore of one clears the step budget of all. All else is the
        actor's own. So restore every one of them, from the same step.

    Raises
    ------
    BackendUnavailable
        If this machine cannot run the backend.
    TypeError, ValueError
        If an argument is not allowed.
    CheckpointError
        If the store exists and is none of ringnb's.

    Notes
    -----
    Any call works in a signal handler, unless the signal comes while the main thread is in a call of
    `manager` or `storage` that the program makes itself: these do their work, and take their locks, on
    the calling thread.

    Examples
    --------
    >>> import ringnb as rn, zarr
    >>> store = rn.ZarrStorage(zarr.storage.MemoryStore())
    >>> with rn.Session(rn.actors.Life((64, 64)), storage=store) as s:
    ...     _ = s.run_steps(0, 100)
    ...     checkpoint = s.snapshot(0)
    ...     _ = s.run_steps(0, 50)
    ...     s.restore(0, checkpoint)
    100
    """

    def __init__(
        self,
        actor: Actor | Sequence[Actor],
        actors: int | None = None,
        backend: str = "auto",
        config: CheckpointConfig | None = None,
        storage: CheckpointStorage | None = None,
        service: bool = True,
        *,
        lanes: int | None = None,
        width: int | None = None,
        threads: int | None = None,
        device: int | None = None,
        reserve: int | None = None,
        ring_capacity: int = 64,
        max_steps_per_second: float | None = None,
        kernel_ids: Sequence[str] | None = None,
        supervise: bool = False,
        links: Link | Sequence[Link] = (),
    ) -> None:
        self._closed = True  # until everything has started
        self._pid = os.getpid()
        prepare()
        live.await_endings()
        self._ending = threading.RLock()
        # The second: whether `close` was called, it was not closed by `remake` alone.
        self._closing = self.close_called = False
        self._successor: Session | None = None
        self._predecessors: weakref.WeakSet[Session] = weakref.WeakSet()
        self._on_displaced: list[Callable[[Session], object]] = []
        self._faults: Faults | None = None
        population = population_of(actor, actors)
        ids = kernel_ids_of(population, kernel_ids)
        period_ns_of(max_steps_per_second)  # which refuses a bad pace, before anything has started
        check_bool(service, "service")
        config = CheckpointConfig() if config is None else config
        grid: dict[str, Any] = {"lanes": lanes, "width": width, "ring_capacity": ring_capacity}
        grid |= {"threads": threads, "device": device, "reserve": reserve}
        grid["links"] = check_links(links, population)
        self._options: dict[str, Any] = {
            **grid,
            "actor": population,
            "backend": backend,
            "storage": storage,
            "service": service,
            "max_steps_per_second": max_steps_per_second,
            "kernel_ids": ids,
            "supervise": supervise,
        }
        run, store = current_run(), str(config.storage_path) if storage is None else repr(storage)
        if close_previous(run, store, ids):
            say("The session that an earlier run of this cell made was closed.")
        self._kernel = make_kernel(backend, population, **grid)
        self._client = KernelClient(self._kernel)
        self._paces: list[float | None] = [None] * len(population)
        self._changes = ChangeTracker()
        self._events = EventLog()
        self._manager = CheckpointManager(config, storage, observer=self._events.append)
        self._supervisor = Supervisor(supervise, self._events, self._kernel, self._manager)
        self._service = SnapshotService(
            self._client, self._manager, self._events, self._changes, cut_group
        )
        self._links = Links(self._client, self._events)
        self._live = LiveState(
            *(self._client, self._manager, self._service.transport, self._changes, self._events),
            self._service.reporter,
        )
        try:
            # First, since it compiles: actors are due from when they are registered.
            self._kernel.launch()
            # Those with a history that were neither restored nor changed yet.
            self._fresh = register_population(self._manager, self._kernel, ids, self._changes)
            self._closed = False
            if max_steps_per_second is not None:
                self.set_pace(max_steps_per_second)
            if service:
                self._service.start()
            self._supervisor.start(self, self._service.warn)
        except BaseException:
            self._kernel.stop("the session could not be started")
            self._manager.close()
            self._closed = True
            raise
        remember(run, store, ids, self)
        close_at_sigterm()
        live.enter(self)
        warn_if_nothing_can_be_saved(self._manager)

    # -- life -----------------------------------------------------------------------------------

    @off_main
    def close(self) -> None:
        """Commit what has changed since the last checkpoint, end everything. Idempotent.

        The last checkpoint is that of ``CheckpointConfig.on_close``: an actor that was neither stepped
        nor changed gets none. What keeps it from being committed is a `CheckpointWarning`. Ctrl-C ends
        the wait for it; the session is closed all the same. If `remake` has put another session in the
        place of this one, that one is closed instead.

        Raises
        ------
        BaseException
            An unexpected exception of a background thread since the last call, after everything is
            closed.
        """
        self.close_called = True
        self._end(last=True)

    def _end(self, *, last: bool) -> None:
        if os.getpid() != self._pid:
            # A forked child has none of the threads, and might wait forever for locks that they held.
            return
        with self._ending:  # a signal handler may close it while it is being closed
            if self._closed:
                if self._successor is not None:
                    self._successor.close()
                return
            self._closing = True
            if self._faults is not None:
                self._faults.clear()  # a slow disk must not hold up the last commits
            interrupt = close_parts(self._service, self._kernel, last=last)
            self._closed = True
            live.leave(self, self._service.unsaved)
        if interrupt is not None:
            raise interrupt
        self._service.check()

    def __enter__(self) -> Self:
        """Return the session itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; an exception of the block is not replaced by one of a background thread."""
        if error is None:
            self.close()
        else:
            with contextlib.suppress(Exception):
                self.close()

    def __del__(self) -> None:
        """Close a session that is no longer referenced, without a last checkpoint."""
        if not getattr(self, "_closed", True) and os.getpid() == self._pid:
            if self._faults is not None:
                self._faults.clear()
            live.end_later(partial(close_parts, self._service, self._kernel, last=False))

    def remake(self) -> Session:
        """Start another session like this one, in its place: same actors, identities and store.

        Returns
        -------
        Session
            With a kernel of its own, in the start state: restore what you want. This one is closed,
            and its `successor` is the new one.

        Notes
        -----
        For a session whose kernel was killed or has died. Exceptions of its background threads since
        the last call are dropped.
        """
        with contextlib.suppress(Exception):
            off_main(self._end)(last=True)
        new = Session(**self._options, config=self._manager.config)
        take_over(self, new)
        for slot, (every, functions) in self._service.reporter.wishes().items():
            new.report(every, slot, **functions)
        # All predecessors point to the newest, not to each other: those between can be collected.
        new._predecessors.update((self, *self._predecessors))
        for earlier in new._predecessors:
            earlier._successor = new
        return new

    @property
    def successor(self) -> Session | None:
        """The newest session that `Session.remake`, or *Restart* in a panel, has put in its place.

        None if there is none. A session references its successor: the successor's kernel runs as long
        as either of them is referenced, or until either is closed.
        """
        return self._successor

    def on_displaced(self, callback: Callable[[Session], object]) -> None:
        """Have a function called when a later run of the same notebook cell has closed this session.

        Parameters
        ----------
        callback : callable
            Called once with this session, on the thread that runs the cell. Hold the session weakly
            in it. What it raises is logged. Giving the same function again changes nothing.
        """
        if callback not in self._on_displaced:
            self._on_displaced.append(callback)

    def tell_displaced(self) -> None:
        """Call what was given to `on_displaced`, of this session and of its successor. Once."""
        for session in (self, self._successor):
            if session is not None:
                tell_all(session._on_displaced, session)

    @property
    def closed(self) -> bool:
        """Whether the session was closed."""
        return self._closed

    @property
    def closing(self) -> bool:
        """Whether the session is being closed, or was closed."""
        return self._closing

    @property
    def failure(self) -> BaseException | None:
        """The unexpected exception of a background thread that the next call raises; or None."""
        return self._service.failure

    def keep_failure(self, error: BaseException) -> None:
        """Let the next call raise an exception that was caught only to be shown.

        Parameters
        ----------
        error : BaseException
            The exception.
        """
        self._service.keep_failure(error)

    def _check(self) -> None:
        """Raise what a background thread has met, or KernelStopped. Every call begins with it."""
        self._service.check()
        if self._successor is not None:
            msg = (
                "This session was restarted, another runs in its place: session = session.successor"
            )
            raise KernelStopped(msg)
        self._kernel.check_alive()

    def _slot(self, slot: object) -> int:
        count = len(self._kernel.actors)
        if is_integer(slot) and not 0 <= slot < count:
            msg = f"slot {slot} does not exist: this session has slots 0..{count - 1}"
            raise ValueError(msg)
        return check_slot(slot, "slot")

    def _slots(self, slot: int | None) -> list[int]:
        return list(range(len(self._kernel.actors))) if slot is None else [self._slot(slot)]

    # -- stepping -------------------------------------------------------------------------------

    @off_main_if_handled
    def run_steps(
        self, slot: int, steps: int, wait: bool = True, timeout: float | None = None
    ) -> int:
        """Add steps to an actor's budget.

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
        KernelStopped
            If the session is closed, or closes meanwhile.

        Notes
        -----
        A `KeyboardInterrupt` while it blocks pauses the actor before it is raised. If the update does
        not come to the end of its step, a `RuntimeWarning` says what to do.
        """
        slot = self._slot(slot)
        steps = check_int(steps, "steps", 1, MAX_STEP)
        limit = None if timeout is None else check_seconds(timeout, "timeout")
        self._check()
        if steps > MAX_STEP - self.current_step(slot):
            msg = f"steps={steps} would count beyond 2**63 - 1 from step {self.current_step(slot)}"
            raise ValueError(msg)
        self._note_start([slot])
        run_budget(self._client, self._live, slot, steps, limit, wait=wait)
        return self.current_step(slot)

    def resume(self, slot: int | None = None) -> None:
        """Let actors run freely.

        Parameters
        ----------
        slot : int, optional
            The actor; all by default.
        """
        self._note_start(self._slots(slot))
        self._each(slot, Command.RESUME)

    def pause(self, slot: int | None = None) -> None:
        """Stop actors at a step boundary and clear their step budgets.

        Parameters
        ----------
        slot : int, optional
            The actor; all by default.

        Notes
        -----
        On return the actors are paused.
        """
        self._each(slot, Command.PAUSE)

    def set_pace(self, max_steps_per_second: float | None, slot: int | None = None) -> None:
        """Limit how fast actors step.

        Parameters
        ----------
        max_steps_per_second : float or None
            Steps per second of wall clock; None lifts the limit.
        slot : int, optional
            The actor; all by default.
        """
        self._each(slot, Command.SET_PACE, (period_ns_of(max_steps_per_second),))
        for one in self._slots(slot):
            for linked in self._links.group(one):
                self._paces[linked] = max_steps_per_second

    def pace(self, slot: int) -> float | None:
        """Return the limit of an actor's steps per second, as `set_pace` has set it.

        Parameters
        ----------
        slot : int
            The actor.

        Returns
        -------
        float or None
            None if there is no limit.
        """
        return self._paces[self._slot(slot)]

    def _note_start(self, slots: Iterable[int]) -> None:
        """Say, once, that an actor starts fresh where its identity has checkpoints: it begins a run."""
        fresh = self._fresh.intersection(slots) if self._fresh else None
        if fresh:
            more = len(self._fresh) - 1
            self._fresh.clear()
            off_main(say_that_it_starts_fresh)(self._manager, min(fresh), more)

    @off_main_if_handled
    def _each(self, slot: int | None, command: Command, arguments: Sequence[int] = ()) -> None:
        """Send a command to one actor or to all, then wait for all replies."""
        slots = self._slots(slot)
        self._check()
        self._client.call_each(slots, command, arguments)

    def current_step(self, slot: int) -> int:
        """Return an actor's step, as the kernel last published it.

        Parameters
        ----------
        slot : int
            The actor.

        Returns
        -------
        int
            Steps since the start, counted from the actor's ``start_step``; a restore sets it back.
        """
        return self.counters(slot).step

    @off_main
    def time(self, slot: int) -> float | None:
        """Return an actor's simulated time, at the step that the kernel last published.

        Parameters
        ----------
        slot : int
            The actor.

        Returns
        -------
        float or None
            Seconds; None if the model's steps have no length, that is, no parameter ``dt``.

        Notes
        -----
        Each step has the length ``dt`` that was in force when it was taken. The time is computed from
        the step, not summed up: that of a restored run has the same bits. A restore brings it back.
        """
        slot = self._slot(slot)
        self._check()
        return self._live.time(slot)

    def counters(self, slot: int) -> ActorCounters:
        """Return an actor's counters, as the kernel last published them.

        Parameters
        ----------
        slot : int
            The actor.

        Returns
        -------
        ActorCounters
            Step, budget, running, epoch, snapshots, last stall, time spent stepping.
        """
        slot = self._slot(slot)
        self._check()
        return self._kernel.counters(slot)

    @off_main
    def is_saved(self, slot: int) -> bool:
        """Return whether an automatic checkpoint of an actor would hold nothing new: none is made then.

        Parameters
        ----------
        slot : int
            The actor.

        Returns
        -------
        bool
            True if its state is in a committed checkpoint, or it is as it was made and has checkpoints
            of an earlier run; False once it was stepped, restored or changed since.

        Notes
        -----
        As `glance` it leaves an exception of a background thread for the next call to raise.
        """
        return self._changes.is_saved(self._slot(slot), self._kernel.counters(slot))

    # -- state and parameters -------------------------------------------------------------------

    @off_main
    def state(self, slot: int, timeout: float = 10.0) -> State:
        """Copy an actor's state between two steps, to look at: nothing is stored.

        Parameters
        ----------
        slot : int
            The actor. It goes on as soon as the copy is made, as after a snapshot.
        timeout : float, default 10.0
            Seconds to wait at most.

        Returns
        -------
        State
            All fields of one step boundary at or after the call, with step, simulated time and
            parameters. Plots take it in the place of a checkpoint.

        Raises
        ------
        SnapshotTimeout
            If it is not there in time: the kernel is busy with a long step, or both staging buffers of
            the actor's lane wait for the disk.
        SnapshotFailed, CommandRefused
            If the copy was damaged; if there is no actor in the slot.
        """
        slot = self._slot(slot)
        limit = check_seconds(timeout, "timeout")
        self._check()
        copied = copy_state(self._client, self._service.transport, slot, limit)
        kernel_id = self._options["kernel_ids"][slot]
        return make_state(copied, self._kernel.actors[slot], slot, kernel_id)

    @off_main_if_handled
    def inject(self, slot: int, at: Sequence[int] | int, amplitude: float = 1.0) -> None:
        """Disturb one cell between two steps.

        Parameters
        ----------
        slot : int
            The actor.
        at : sequence of int
            Grid indices in the order of the actor's shape, ``(y, x)`` in two dimensions.
        amplitude : float, default 1.0
            How much; see the actor's ``inject`` for what it means.
        """
        slot = self._slot(slot)
        shape = self._kernel.actors[slot].shape
        cell = check_cell(at, shape)
        amplitude = check_number(amplitude, "amplitude")
        self._check()
        self._note_start([slot])
        self._live.inject(slot, cell, amplitude)

    @off_main
    def read_region(self, slot: int, region: Region) -> npt.NDArray[Any]:
        """Copy a part of an actor's state between two steps, without the rest.

        Parameters
        ----------
        slot : int
            The actor.
        region : Region
            Field and cells.

        Returns
        -------
        array
            The values, with the region's shape and the field's dtype.

        Raises
        ------
        TypeError, ValueError
            If `region` is none, or the actor has no such field or cells.
        """
        slot = self._slot(slot)
        place = check_region(region, self._kernel.actors[slot])
        self._check()
        return self._live.read_region(slot, place)

    @off_main
    def write_region(self, slot: int, region: Region, values: npt.ArrayLike) -> None:
        """Set a part of an actor's state between two steps.

        Parameters
        ----------
        slot : int
            The actor.
        region : Region
            Field and cells.
        values : array-like
            The values; they are broadcast to the region's shape, and must fit the field's dtype.

        Raises
        ------
        TypeError, ValueError
            If an argument is not allowed; nothing is written then.

        Notes
        -----
        The rest of the state stays as it is: of a field with two levels, such as a wave's, also the
        other level of these cells.
        """
        slot = self._slot(slot)
        place = check_region(region, self._kernel.actors[slot])
        checked = check_values(values, place)
        self._check()
        self._note_start([slot])
        self._live.write_region(slot, region, place, checked)

    @off_main_if_handled
    def cut(self, link: Link) -> None:
        """Copy along a link no more, from the present step of its actors on.

        Parameters
        ----------
        link : Link
            One of `links`.

        Notes
        -----
        The actors still step together, so that `join` finds them at the same step. Checkpoints do not
        record which links are joined.
        """
        self._check()
        self._links.set(link, joined=False)

    @off_main_if_handled
    def join(self, link: Link) -> None:
        """Copy along a link again that was cut, whenever it is due next.

        Parameters
        ----------
        link : Link
            One of `links`.
        """
        self._check()
        self._links.set(link, joined=True)

    @property
    def links(self) -> dict[Link, bool]:
        """The links between actors, and whether each is joined."""
        return dict(self._links.joined)

    @off_main
    def set_params(self, slot: int, **changes: float) -> dict[str, float]:
        """Change parameters of a live actor between two steps.

        Parameters
        ----------
        slot : int
            The actor.
        **changes : float
            New values by name.

        Returns
        -------
        dict of str to float
            All parameters as they are now.

        Raises
        ------
        ValueError
            If a name is unknown or a value breaks a limit of the scheme. Nothing is changed then.
        """
        slot = self._slot(slot)
        self._check()
        return self._live.set_params(slot, changes)

    @off_main
    def params(self, slot: int) -> dict[str, float]:
        """Return the live parameters of an actor, as the kernel has confirmed them.

        Parameters
        ----------
        slot : int
            The actor.

        Returns
        -------
        dict of str to float
            Name and value.
        """
        slot = self._slot(slot)
        self._check()
        return self._live.params(slot)

    # -- snapshots and restore ------------------------------------------------------------------

    @off_main
    def snapshot(
        self,
        slot: int,
        timeout: float = 10.0,
        *,
        at: int | None = None,
        label: str | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> Checkpoint:
        """Take a snapshot now, or at a step, and commit it.

        Parameters
        ----------
        slot : int
            The actor.
        timeout : float, default 10.0
            Seconds until it must be committed.
        at : int, optional
            The step to capture the actor at, exactly: one that it is at, or comes to within `timeout`.
            By default the next step boundary.
        label : str, optional
            Pins the checkpoint under this label: retention leaves it alone until it is unpinned.
        attrs : mapping, optional
            Metadata of your own, recorded in the checkpoint (`Checkpoint.user`): JSON values by name;
            mappings, lists and arrays of them may be nested.

        Returns
        -------
        Checkpoint
            A state captured at or after this call. Of a linked actor it is its part of a cut of all
            that links join, as are its automatic checkpoints: a pin is of that cut.

        Raises
        ------
        SnapshotTimeout
            If it is not committed in time, or the actor does not come to `at`; the request is
            cancelled. Also if the kernel's answer does not come within ``request_timeout`` of the
            configuration.
        SnapshotFailed
            If the kernel refused it, or somebody has cancelled the request; if the actor is past `at`.
        CheckpointError, OSError
            If storage failed.
        TypeError, ValueError
            If an argument is not allowed; nothing is taken then.
        """
        slot = self._slot(slot)
        limit = check_seconds(timeout, "timeout")
        if label is not None:
            check_label(label)
        attrs = None if attrs is None else check_json(attrs, "attrs")
        step = 0 if at is None else check_int(at, "at", 1, MAX_STEP)
        self._check()
        checkpoint = take_snapshot(self._service, slot, limit, self._check, attrs, step)
        if label is not None:
            checkpoint.pin(label)
        return checkpoint

    @off_main
    def save_changes(self, timeout: float | None = None) -> bool:
        """Commit the state of every actor that has changed since its last checkpoint.

        Parameters
        ----------
        timeout : float, optional
            Seconds until all must be committed; by default the configured ``on_close_timeout``.

        Returns
        -------
        bool
            Whether all are saved now. What kept others from it is a `CheckpointWarning`.

        Raises
        ------
        KernelStopped
            If the kernel does not run.
        """
        config = self._manager.config
        limit = config.on_close_timeout_s if timeout is None else check_seconds(timeout, "timeout")
        self._check()
        return save_last(self._service, self._kernel, limit)

    @off_main
    def report(
        self, every: int | None, slot: int | None = None, **functions: ReportFunction
    ) -> None:
        """Record numbers of the live state at every multiple of some steps; `reported` returns them.

        Parameters
        ----------
        every : int or None
            At which steps: at each multiple of this, exactly; None ends it.
        slot : int, optional
            The actor; all by default.
        **functions : callable
            By name, what to record: ``f(state)`` of a `State`, such as
            ``energy=lambda s: (s["u"] ** 2).sum()``, returns a number.

        Raises
        ------
        TypeError, ValueError
            If an argument is not allowed, or the session has no service thread.

        Notes
        -----
        Rows are kept beside the checkpoints, in ``waves.reports.zarr`` for ``waves.zarr`` and in
        ``<store>.reports`` for a store whose name does not end so, each within a second or so,
        and before any later checkpoint is committed; those of a store that is not a local directory in
        memory. A row shows the state before what changes it at that step. A restore begins a new
        line, which has the rows before the restored step, and not those after it.

        The functions run on a thread of their own, one after the other, while the actor steps on, as
        far as the next multiple. They must not call the session. What one raises ends the report, and
        is raised by the next call.
        """
        slots = self._slots(slot)
        if every is not None:
            every = check_int(every, "every", 1, MAX_STEP, why="or None, to end it")
            check_report_functions(functions, service=self._service.running)
        self._check()
        for one in slots:
            if every is None:
                self._service.reporter.end(one)
            else:
                self._service.reporter.begin(one, every, functions)

    @off_main
    def reported(self, slot: int = 0) -> Report:
        """Return what `report` has recorded of an actor, in this session and in earlier ones.

        Parameters
        ----------
        slot : int, default 0
            The actor.

        Returns
        -------
        Report
            Every row up to the present step; ``rn.plots.report`` draws it. Later, without a session:
            ``rn.Report.open(store)``.

        Raises
        ------
        CheckpointNotFound
            If nothing was recorded.
        """
        slot = self._slot(slot)
        self._check()
        self._service.reporter.catch_up(slot)
        self._check()  # it may have failed meanwhile
        return self._service.reporter.report(self._options["kernel_ids"][slot])

    def recent_reported(self, slot: int = 0) -> RecentRows | None:
        """Return the newest rows of what is being reported, from memory, without waiting for any.

        Parameters
        ----------
        slot : int, default 0
            The actor.

        Returns
        -------
        RecentRows or None
            Up to 1,000 rows of the present line since `report` was called; None if nothing is reported.
        """
        return self._service.reporter.recent(self._slot(slot))

    @off_main
    def snapshot_every(self, steps: int | None, slot: int | None = None) -> None:
        """Checkpoint actors by their step count, beside or instead of the manager's interval.

        `snapshot_interval_steps` returns what is set.

        Parameters
        ----------
        steps : int or None
            Whenever an actor has come to a multiple of so many steps; None ends it.
        slot : int, optional
            The actor; all by default.

        Raises
        ------
        ValueError
            If `steps` is less than 1, or the session has no service thread to look at the steps.

        Notes
        -----
        The kernel holds the actor at the multiple until it is captured there, so the step of the
        checkpoint is the multiple. The actor waits for that, and not for the disk: it runs past
        multiples that come while its last checkpoint is being written, and these get none. To leave it
        at these, switch the interval off: ``session.manager.reconfigure(enabled=False)``.
        """
        slots = self._slots(slot)
        if steps is not None:
            steps = check_int(steps, "steps", 1, MAX_STEP, why="or None, to end it")
            if not self._service.running:
                msg = (
                    "snapshot_every needs the service thread, which looks at the steps: open the "
                    "session with service=True"
                )
                raise ValueError(msg)
        self._check()
        for one in slots:
            self._service.step_schedule.set(one, steps)
        self._kernel.wake()  # the service thread may be in a long wait

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
        return self._service.step_schedule.interval(self._slot(slot))

    @off_main
    def restore(self, slot: int, checkpoint: Checkpoint | str, *, params: str = "stored") -> int:
        """Write a checkpoint's state and parameters back into a live actor.

        Parameters
        ----------
        slot : int
            The actor.
        checkpoint : Checkpoint or str
            A checkpoint, its name, ``"latest"`` for the newest of this actor that verifies and fits it,
            or ``"latest-good"`` for the newest of these whose state is good.
        params : {"stored", "current"}, default "stored"
            The parameters to go on with: those of the checkpoint, or those that the actor has now.

        Returns
        -------
        int
            The step that the actor continues from. A free-running actor runs on, a step budget is
            cleared.

        Raises
        ------
        CheckpointNotFound, CheckpointCorrupt
            If there is none, or it is damaged.
        ValueError
            If type, fields, shape, dtype or parameters do not fit the actor.

        Warns
        -----
        CheckpointWarning
            If the checkpoint was made by other code than the actor runs: it names what differs. If it
            brings back other parameters than the actor was made with. If "latest" has passed over
            newer checkpoints. If the actor was made with ``replayable=False``: the run will not repeat
            what followed the checkpoint.

        Notes
        -----
        When one of these is raised, the actor is untouched: its state is replaced between two steps,
        after every byte was read and verified. Only after a `KeyboardInterrupt`, or the
        `TimeoutError` of a lane that does not answer for 30 s, may the kernel still load it.
        """
        slot = self._slot(slot)
        self._check()
        actor, present = self._kernel.actors[slot], self._live.params
        restore = prepare_restore(self._manager, slot, actor, checkpoint, params, present)
        for remark in restore.remarks:
            warn_caller(remark, CheckpointWarning)
        self._fresh.discard(slot)
        return self._live.restore(slot, restore)

    @off_main
    def snapshot_all(
        self,
        label: str | None = None,
        timeout: float = 30.0,
        *,
        attrs: Mapping[str, Any] | None = None,
    ) -> Checkpoint:
        """Take one consistent cut of all actors, and commit it as one checkpoint.

        Parameters
        ----------
        label : str, optional
            Pins the cut under this label.
        timeout : float, default 30.0
            Seconds until all must be captured.
        attrs : mapping, optional
            Metadata of your own, as for `snapshot`.

        Returns
        -------
        Checkpoint
            The cut: `Checkpoint.parts` has its slots, `Checkpoint.part` gives an actor's state. A
            reader sees all of them, or none, whatever happens meanwhile.

        Raises
        ------
        SnapshotTimeout
            If not all come to one step in time: the message says who is behind.
        SnapshotFailed, CheckpointError, OSError
            As `snapshot`. Nothing is stored then, and all actors go on.
        TypeError, ValueError
            If an argument is not allowed; nothing is taken then.

        Notes
        -----
        Actors that run are captured at one step, a little ahead of the fastest; those that come there
        first wait for the others. Linked actors are captured between the same two steps, also where
        one of them was restored and counts other steps. One whose step budget ends before is captured
        where it ends, and one that is paused as it is: each part records its own step. The cut takes as
        much memory as all states together while it is written.
        """
        wish = CutWish.of(label, timeout, attrs)
        self._check()
        return take_cut(self._service, self._client, self._changes, self._check, wish)

    @off_main
    def restore_all(self, cut: Checkpoint | str, *, params: str = "stored") -> int:
        """Write a cut back into all actors.

        Parameters
        ----------
        cut : Checkpoint or str
            A cut, its name, or ``"latest"`` for the newest that has all actors of this session and
            verifies.
        params : {"stored", "current"}, default "stored"
            As for `restore`.

        Returns
        -------
        int
            The largest step that an actor continues from. Actors that run free run on from there;
            step budgets are cleared.

        Raises
        ------
        CheckpointNotFound, CheckpointCorrupt
            If there is none, or it is damaged.
        ValueError
            If an actor has no part in it, or its part does not fit; or it is not a cut.

        Warns
        -----
        CheckpointWarning
            As `restore`; and if some actors were loaded and others not.

        Notes
        -----
        When one of these is raised, all actors are untouched: the first is loaded after every byte was
        read and checked, for which memory for the whole cut is taken. Only after a `KeyboardInterrupt`,
        or the `TimeoutError` of a lane that does not answer, may some be loaded and others not: then
        all stay paused. Actors are matched by their identities, so they may be in other slots.
        """
        self._check()
        prepared = prepare_cut(self._service, self._client, cut, params, self._live.params)
        self._fresh.difference_update(prepared)
        return load_cut(self._client, self._live, prepared)

    # -- the crank, by hand ---------------------------------------------------------------------

    @off_main
    def send(self, request: SnapshotRequest) -> None:
        """Push the SNAPSHOT command for a request onto the H2K ring.

        Parameters
        ----------
        request : SnapshotRequest
            From the manager. Sending it twice does nothing.
        """
        if not isinstance(request, SnapshotRequest):
            msg = f"request must be a SnapshotRequest, got {request!r} ({type(request).__name__})"
            raise TypeError(msg)
        self._slot(request.actor_slot)
        self._check()
        self._service.transport.send(request)

    @off_main
    def receive(self, timeout: float = 0.0) -> list[SnapshotResponse]:
        """Take answers off the K2H rings.

        Parameters
        ----------
        timeout : float, default 0.0
            Seconds to wait for the first one.

        Returns
        -------
        list of SnapshotResponse
            Their data views staging buffers until they are completed or dropped. An actor's lane
            has two, so a third request while two are held is answered with a failure.

        Raises
        ------
        ValueError
            With ``service=True``: the service thread receives.
        """
        limit = check_seconds(timeout, "timeout", zero=True)
        self._check()
        if self._service.running:
            msg = (
                "receive() is for a session without threads, but this session's service thread takes "
                "the answers; open it with service=False to send and receive by hand"
            )
            raise ValueError(msg)
        self._client.pump(0.0)
        self._service.holds.settle()
        return self._service.transport.receive(limit)

    @property
    def supervisor(self) -> Supervisor:
        """What restarts actors that fail, if ``supervise=True``."""
        return self._supervisor

    @property
    def service_runs(self) -> bool:
        """Whether background threads send, receive and commit."""
        return self._service.running

    @property
    def faults(self) -> Faults:
        """Switches that break this session on purpose: lost answers, slow and full disks, and so on."""
        if self._faults is None:
            self._faults = Faults(self._kernel, self._service.transport, self._manager.storage)
        return self._faults

    # -- what can be seen -----------------------------------------------------------------------

    @property
    def actors(self) -> tuple[Actor, ...]:
        """The actor of every slot."""
        return self._kernel.actors

    @property
    def kernel(self) -> AbstractKernel:
        """The kernel that hosts the actors."""
        return self._kernel

    @property
    def backend(self) -> str:
        """Where the kernel runs."""
        return self._kernel.name

    @property
    def manager(self) -> CheckpointManager:
        """The checkpoint manager."""
        return self._manager

    @property
    def storage(self) -> CheckpointStorage:
        """Where checkpoints are kept."""
        return self._manager.storage

    @property
    def events(self) -> EventLog:
        """The lifecycle log."""
        return self._events

    @property
    def itself(self) -> Self:
        """The session itself, also where a weak proxy of it is used."""
        return self

    def statistics(self) -> SessionStatistics:
        """Return counters and queue depths.

        Returns
        -------
        SessionStatistics
            A frozen copy.
        """
        self._check()
        return self.glance()

    @off_main
    def glance(self, slots: Sequence[int] | None = None) -> SessionStatistics:
        """Return what `statistics` returns, also of a session that is closed or whose kernel is dead.

        Parameters
        ----------
        slots : sequence of int, optional
            The actors whose counters and times are read, in this order; all by default.

        Returns
        -------
        SessionStatistics
            A frozen copy. An exception of a background thread is left for the next call to raise.
        """
        slots = range(len(self._kernel.actors)) if slots is None else slots
        parts = self._live, self._changes, self._service, self._events
        return counters_of(self._client, *parts, self._supervisor, self._links, slots)

    def panel(self, name: str | None = None, *, draw: Callable[..., object] | None = None) -> Any:
        """Return a panel over this session, for a notebook to display.

        Parameters
        ----------
        name : str, optional
            One of ``ringnb.panels.PANELS``, such as "retention"; the whole cockpit by default.
        draw : callable, optional
            Your own picture in the panel "field", and in the cockpit: ``draw(checkpoint, ax)`` draws
            the checkpoint that is looked at into empty axes of matplotlib, as for `ringnb.plots.movie`.
            A thread of the panel calls it: use these axes, and not pyplot. What it raises is told in
            the message line.

        Returns
        -------
        Panel
            The same one at every call. It follows the session, also after it was closed, and closes
            when the session is collected.

        Raises
        ------
        ImportError
            If the widgets are not installed.
        TypeError, ValueError
            If there is no such panel, or `draw` is no function, or given for another panel.
        """
        return find_panel_opener()(self, name, draw=draw)

    def _repr_html_(self) -> str:
        """Show actors and counters as a table."""
        state = "closed" if self._closed else self._kernel.stopped_because or "running"
        return session_table(self.backend, self._kernel.actors, self.glance(), state)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: TypeError."""
        refuse_pickle(
            "a Session",
            "take a checkpoint, and restore it in another session. Actors, configurations and "
            "checkpoints can be pickled",
        )

    def __repr__(self) -> str:
        """Name the actors, the backend and the state."""
        kinds = ", ".join(sorted({a.kernel_type for a in self._kernel.actors}))
        state = "closed" if self._closed else "stopped" if not self._kernel.alive else "running"
        return (
            f"<Session: {len(self._kernel.actors)} x {kinds} on {self.backend}, "
            f"{counted(self._manager.total_completed, 'checkpoint')}, {state}>"
        )
