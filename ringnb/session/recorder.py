"""`Recorder`: the checkpoints of a loop of one's own, in NumPy or in whatever gives arrays.

No kernel runs, and nobody takes snapshots: the loop hands over its arrays between two steps, and goes
on as soon as they are copied. A helper thread (`ringnb._support.off_main`) commits the copy, through a
`CheckpointManager` as the actors of a session have it: names, runs, retention and guard are the same.

There is one copy, and the thread that holds `_copy` owns it: `save` while it fills it, then the helper
until it is committed. No call holds a lock of the recorder beside it on the main thread, see `off_main`.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, Self, final

import numpy as np
import numpy.typing as npt

from ringnb._support.checks import (
    check_int,
    check_json,
    check_label,
    check_number,
    check_seconds,
    check_step,
    refuse_pickle,
)
from ringnb._support.environment import environment
from ringnb._support.off_main import (
    check_interrupted,
    hand_over,
    off_main,
    off_main_if_handled,
    prepare,
)
from ringnb._support.panel_opener import find_panel_opener
from ringnb._support.text import facts_table, say
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.checkpoint.notices import warn
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.errors import CheckpointError, CheckpointNotFound, SnapshotFailed
from ringnb.kernel.base import ActorCounters, KernelStatistics
from ringnb.messages.events import Event, EventLog
from ringnb.messages.simulated_time import SimulatedTime
from ringnb.messages.snapshots import SnapshotResponse, StagedFields, normalise_fields
from ringnb.session import live
from ringnb.session.launching import say_that_it_starts_fresh
from ringnb.session.notebook import (
    close_at_sigterm,
    close_previous,
    current_run,
    remember,
    tell_all,
)
from ringnb.session.statistics import SessionStatistics

__all__ = ["Recorder"]

_LOOK_S = 0.1  # how late a change of the configuration is seen by `due`
_SLOT = 0
_BACKEND = "python"
_NO_KERNEL = KernelStatistics(0, 0, 0, (), (), (), (), ())

Fields = dict[str, npt.NDArray[Any]]


@final
class Recorder:
    """Checkpoints of a loop of your own.

    Parameters
    ----------
    config : CheckpointConfig, optional
        When a checkpoint is due, what to keep, where.
    storage : CheckpointStorage, optional
        Where checkpoints go, instead of ``config.storage_path``. It is not closed with the recorder.
    name : str
        The identity of the run, which owns the history (``kernel_id``): give the same to go on.
    kernel_type : str, default "recorded"
        What kind of state it is. Only checkpoints of this type are found by `latest`. With the type and
        the fields of an actor, a session can go on from them.
    params : mapping, optional
        Parameters of the model: JSON scalars by name, recorded with every checkpoint. Figures use
        ``dx``, the spacing of a grid.
    fields : mapping, optional
        Per field: ``units``, ``long_name`` and ``dims`` (one name per axis), all optional.
    every : int, optional
        Steps between two checkpoints, in place of ``config.interval``.
    last : callable, optional
        Called with this recorder by `close`, to save what has changed since the last checkpoint:
        ``lambda rec: rec.save(step, u=u)``. A step that is saved already is not saved again. It must
        find a whole state wherever the loop may be left, also by Ctrl-C or a signal.
    clock : callable, default time.monotonic
        Returns seconds and never goes back.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    CheckpointError
        If the store exists and is none of ringnb's.

    Notes
    -----
    Any thread may make any call, also in a signal handler. `save` copies on the calling thread; a commit
    runs in the background, one at a time. What goes wrong with it is raised by the next call, once, or
    by `close`; a checkpoint is due again soon after, with ``every`` at its next multiple.

    It begins a run of its own. After `latest` or `restore` it goes on with that of the checkpoint.

    Examples
    --------
    >>> import numpy as np, ringnb as rn, zarr
    >>> store = rn.ZarrStorage(zarr.storage.MemoryStore())
    >>> with rn.Recorder(storage=store, name="cooling", every=100) as rec:
    ...     step, state = rec.latest() or (0, {"u": np.ones(8)})
    ...     u = state["u"]
    ...     while step < 300:
    ...         u, step = 0.99 * u, step + 1
    ...         if rec.due(step):
    ...             rec.save(step, u=u)
    >>> store.list()
    ['checkpoint_0_step_100', 'checkpoint_0_step_200', 'checkpoint_0_step_300']
    """

    def __init__(
        self,
        config: CheckpointConfig | None = None,
        storage: CheckpointStorage | None = None,
        *,
        name: str,
        kernel_type: str = "recorded",
        params: Mapping[str, Any] | None = None,
        fields: Mapping[str, Mapping[str, Any]] | None = None,
        every: int | None = None,
        last: Callable[[Recorder], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._closed = True  # until everything has started
        self._pid = os.getpid()
        prepare()
        config = CheckpointConfig() if config is None else config
        self._every = None if every is None else check_int(every, "every", 1)
        if last is not None and not callable(last):
            msg = f"last must be a function of the recorder, got {last!r} ({type(last).__name__})"
            raise TypeError(msg)
        self._last = last
        self._ending = threading.RLock()
        self._closing = False
        run, store = current_run(), str(config.storage_path) if storage is None else repr(storage)
        if close_previous(run, store, [name]):
            say("The recorder that an earlier run of this cell made was closed.")
        self._clock = clock
        self._events = EventLog()
        self._events.subscribe(self._on_bad, "bad")
        self._manager = CheckpointManager(
            config, storage, clock=clock, observer=self._events.append
        )
        try:
            self._manager.register_actor(
                _SLOT,
                name,
                kernel_type,
                params=params,
                backend=_BACKEND,
                fields=fields,
                code={**environment(), "backend": _BACKEND},
            )
            # The state is new: it continues from no checkpoint, until it is taken from one.
            self._fresh = self._manager.note_restored(_SLOT, None) is not None
        except BaseException:
            self._manager.close()
            raise
        self.name = name
        self._copy = threading.Lock()  # held by the thread that owns what is in `_arrays`
        self._arrays: Fields = {}
        # Without a lock: `due` looks here at each step.
        self._kept: deque[BaseException] = deque()
        self._look_s = -math.inf  # by the clock; before, nothing is due
        self._mark: int | None = None  # the step from which `every` counts
        self._given: int | None = None  # the step of the state that was saved, or restored, last
        self._asked = False  # whether a signal handler, or a panel, wants a checkpoint
        self._label: str | None = None  # under which that one is pinned
        # For panels, which look while the loop runs.
        self._at = 0  # the newest step that the loop has told
        self._time: tuple[int, float | None] = (-1, None)  # of the state saved last, and its step
        self._stall_ns = 0  # how long the last copy took
        self._on_displaced: list[Callable[[Recorder], object]] = []
        self._checkpoint: Checkpoint | None = None
        self._closed = False
        remember(run, store, [name], self)
        close_at_sigterm()
        live.enter(self)

    # -- the loop -------------------------------------------------------------------------------

    def due(self, step: int) -> bool:
        """Return whether to save now.

        Parameters
        ----------
        step : int
            The step at which the loop is, >= 0.

        Returns
        -------
        bool
            True if the configured interval has passed since the last checkpoint. False while a commit
            is under way, so that the `save` that follows never waits. With ``every``, True if a multiple
            of it was passed, and always True once somebody has asked (`request_save`, `save_changes`):
            then `save` waits for the commit before. Always False for the step that was saved last.

        Raises
        ------
        BaseException
            What a commit in the background has met since the last call.
        CheckpointError
            If the recorder is closed.
        """
        # Of each step: nothing here takes a lock, or asks the system for more than the time.
        self._at = step
        if self._kept or self._closed:
            self._check()
        if step == self._given:
            return False
        if self._asked:
            return True
        every = self._every  # a panel may change it right here
        if every is not None:
            if self._mark is None or step < self._mark:
                self._mark = step
            return step // every > self._mark // every
        if self._copy.locked():
            return False
        now = self._clock()
        return now >= self._look_s and self._is_due(now)

    @off_main_if_handled
    def _is_due(self, now: float) -> bool:
        wait_s = self._manager.seconds_until_next()
        if wait_s == 0.0:
            return True
        self._look_s = now + (_LOOK_S if wait_s is None else min(wait_s, _LOOK_S))
        return False

    @off_main_if_handled
    def save(
        self,
        step: int,
        data: Mapping[str, Any] | None = None,
        /,
        *,
        time: float | None = None,
        attrs: Mapping[str, Any] | None = None,
        **arrays: Any,
    ) -> None:
        """Copy a state, and have it committed in the background.

        Parameters
        ----------
        step : int
            The step boundary at which it is, 0..2**63-1.
        data : mapping of str to array, optional
            Fields by name; for names that are no Python names, or are those of the other arguments.
        time : float, optional
            The simulated time of the state, seconds.
        attrs : mapping, optional
            Metadata of your own, recorded in the checkpoint (`Checkpoint.user`): JSON values by name.
        **arrays : array_like
            More fields: bool, integer, float or complex arrays of any shape, or what `numpy.asarray`
            makes one of, as of JAX and of PyTorch on the CPU (``tensor.detach()``).

        Raises
        ------
        TypeError, ValueError
            If an argument is not allowed, or there is no field. Nothing is saved then.
        BaseException
            What a commit in the background has met since the last call. Nothing is saved then.
        CheckpointError
            If the recorder is closed.

        Notes
        -----
        On return the arrays are copied, and may change. The copy is kept for the next one: it takes the
        memory of one state. A commit that is under way is waited for.
        """
        step = check_step(step)
        if data is not None and not isinstance(data, Mapping):
            msg = f"data must be a mapping of field name to array, got {type(data).__name__}"
            raise TypeError(msg)
        given = {**(data or {}), **arrays}
        fields = given if self._fits(given) else _normalised(given)
        clock = None if time is None else SimulatedTime(check_number(time, "time"), step)
        attrs = None if attrs is None else check_json(attrs, "attrs")
        self._check()
        if self._closing and step == self._given:
            return  # `last` has nothing new
        self._own_copy()
        try:
            self._check()  # of the commit that was waited for
            self._say_if_fresh()
            self._fill(fields)
            staged = StagedFields({name: self._arrays[name] for name in fields}, clock=clock)
            self._asked = False  # before the label: what is asked for from now on is another one
            label, self._label = self._label, None
            commit = partial(self._commit, step, staged, attrs, label)
        except BaseException:
            self._give_up_copy()
            raise
        self._given = self._mark = self._at = step
        self._time = step, None if clock is None else clock.seconds
        try:
            hand_over(commit)
        except RuntimeError:  # no thread can be started
            commit()

    def _own_copy(self, deadline: float = math.inf) -> bool:
        """Wait for the commit under way; return whether the copy is the caller's now."""
        while not self._copy.acquire(timeout=max(0.0, min(0.1, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                return False
            check_interrupted()
        return True

    def _give_up_copy(self) -> None:
        """Let another thread have the copy, or the store go if the recorder is closed."""
        self._copy.release()
        if self._closed:
            self._end()

    @off_main
    def _end(self) -> None:
        """Close the manager, unless the copy is another thread's: that one does when it gives it up."""
        if self._copy.acquire(blocking=False):
            try:
                self._manager.close()
            finally:
                self._copy.release()

    def _fits(self, given: Mapping[str, Any]) -> bool:
        """Return whether a state has the form of the last one, which was checked."""
        kept = self._arrays
        for name, array in given.items():
            last = kept.get(name)
            if type(array) is not np.ndarray or last is None or len(kept) != len(given):
                return False
            if array.shape != last.shape or array.dtype != last.dtype:
                return False
        return bool(given)

    def _fill(self, fields: Fields) -> None:
        """Copy a state to where the last one was, if it has the same form."""
        began_ns = time.perf_counter_ns()
        for name, array in fields.items():
            kept = self._arrays.get(name)
            if kept is None or (kept.shape, kept.dtype) != (array.shape, array.dtype):
                self._arrays[name] = np.array(array, order="C")
            else:
                np.copyto(kept, array)
        for name in self._arrays.keys() - fields.keys():
            del self._arrays[name]
        self._stall_ns = time.perf_counter_ns() - began_ns

    def _commit(
        self,
        step: int,
        staged: StagedFields,
        attrs: Mapping[str, Any] | None,
        label: str | None,
    ) -> None:
        """Commit the copy, then give it up. On a helper thread."""
        try:
            request = self._manager.request_snapshot(_SLOT, attrs=attrs)
            name = None
            if request is not None:
                name = self._manager.complete_snapshot(
                    SnapshotResponse(request.request_id, _SLOT, True, staged, step)
                )
            if name is None:
                msg = (
                    f"the checkpoint of step {step} of {self.name!r} was not written: somebody has "
                    "cancelled its request, or unregistered it from its manager"
                )
                raise SnapshotFailed(msg)
            if label is not None:
                self.storage.pin(name, label)
        except BaseException as error:  # noqa: BLE001 - raised by the next call
            self._given = None  # it may be saved again
            self._kept.append(error)
            if (
                self._closed
            ):  # and so did not wait: no call is left to raise it, or `close` just does
                with contextlib.suppress(ValueError):
                    self._kept.remove(error)
                    warn(f"recorder {self.name!r}: {type(error).__name__}: {error}")
        finally:
            self._look_s = -math.inf
            try:
                self._give_up_copy()
            except Exception as error:  # noqa: BLE001 - of the store's end: nobody waits for it
                warn(f"recorder {self.name!r} was closed: {type(error).__name__}: {error}")

    def _say_if_fresh(self) -> None:
        if self._fresh:
            self._fresh = False
            say_that_it_starts_fresh(self._manager, _SLOT, 0, "step, state = rec.latest()")

    def _on_bad(self, event: Event) -> None:
        """Stop the loop at a state that is not good, if that is asked for. Thread of the commit."""
        if self._manager.config.state_guard.mode == "pause":
            msg = (
                f"the state of {self.name!r} at step {event.step} is not good: {event.detail}. It is "
                f"kept as {event.name!r}; latest(good=True) goes back to the newest good one"
            )
            self._kept.append(CheckpointError(msg))

    # -- going on -------------------------------------------------------------------------------

    @off_main
    def latest(self, *, good: bool = False) -> tuple[int, Fields] | None:
        """Go on from the newest checkpoint of this name, of any run, that verifies.

        Parameters
        ----------
        good : bool, default False
            Whether to look only at those whose state was not found to be bad.

        Returns
        -------
        step : int
            Its step.
        state : dict of str to numpy.ndarray
            Its fields, arrays of your own. Instead of the two, None if there is no checkpoint:
            ``step, state = rec.latest() or (0, start)``.

        Raises
        ------
        CheckpointCorrupt, CheckpointNotFound
            If there are checkpoints and none verifies; if none is of the type.

        Warns
        -----
        CheckpointWarning
            If some had to be passed over; it names them.
        """
        with self._between_commits():
            found = self._manager.load_latest(_SLOT, good=good)
            return None if found is None else self._go_on_from(found)

    @off_main
    def restore(self, checkpoint: Checkpoint | str) -> tuple[int, Fields]:
        """Go on from a checkpoint of your choice.

        Parameters
        ----------
        checkpoint : Checkpoint or str
            The checkpoint, or its name.

        Returns
        -------
        step : int
            Its step.
        state : dict of str to numpy.ndarray
            Its fields, arrays of your own.

        Raises
        ------
        CheckpointNotFound, CheckpointCorrupt
            If there is none, or it is damaged.

        Notes
        -----
        From the newest of a run, the next checkpoint continues that run; from another it begins one.
        """
        with self._between_commits():
            if not isinstance(checkpoint, Checkpoint):
                checkpoint = self._manager.storage.load(checkpoint)
            return self._go_on_from(checkpoint)

    @contextlib.contextmanager
    def _between_commits(self) -> Iterator[None]:
        self._check()
        self._own_copy()
        try:
            self._check()
            yield
        finally:
            self._give_up_copy()

    def _go_on_from(self, checkpoint: Checkpoint) -> tuple[int, Fields]:
        state = checkpoint.numpy()
        self._manager.note_restored(_SLOT, checkpoint)
        self._fresh = False
        self._checkpoint = checkpoint
        self._given = self._mark = self._at = checkpoint.step
        self._time = checkpoint.step, checkpoint.time
        self._events.append(Event("restored", _SLOT, step=checkpoint.step, name=checkpoint.name))
        return checkpoint.step, state

    @property
    def checkpoint(self) -> Checkpoint | None:
        """What `latest` or `restore` went on from, with its `time`, `params` and `user`; or None."""
        return self._checkpoint

    # -- the end --------------------------------------------------------------------------------

    @off_main
    def save_changes(self, timeout: float | None = None) -> bool:
        """Wait for the commit under way, and make the next step due. For signal handlers.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait; by default the configured ``on_close_timeout``.

        Returns
        -------
        bool
            Whether no commit is under way any more.
        """
        limit_s = (
            self._manager.config.on_close_timeout_s
            if timeout is None
            else check_seconds(timeout, "timeout")
        )
        # The arrays may be half of one step and half of the next: the loop hands them over, at `due`.
        self._asked = True
        ended = self._own_copy(time.monotonic() + limit_s)
        if ended:
            self._give_up_copy()
        return ended

    @off_main
    def close(self) -> None:
        """Save what has changed, wait for the last commit, release the store. Idempotent.

        With ``CheckpointConfig.on_close``, ``last`` is called, and the commit is waited for until
        ``on_close_timeout`` is over; a `CheckpointWarning` says if it was not there by then. Without it,
        only the commit under way is waited for, however long.

        Raises
        ------
        BaseException
            What a commit in the background has met since the last call, after everything is closed.
        """
        if os.getpid() != self._pid:
            return  # a forked child has no helper, and the locks as they were
        with self._ending:  # a signal handler may close it while it is being closed
            if self._closed:
                return
            self._closing = True
            config = self._manager.config
            deadline = time.monotonic() + config.on_close_timeout_s if config.on_close else math.inf
            interrupt: KeyboardInterrupt | None = None
            owned = False
            try:
                # First, for it may fail: then `last` saves that state again.
                owned = self._own_copy(deadline)
                if owned and config.on_close and self._last is not None:
                    owned = False
                    self._copy.release()
                    self._save_last(self._last)
                    owned = self._own_copy(deadline)
            except KeyboardInterrupt as error:  # who stops waiting still wants the store released
                interrupt, owned = error, self._copy.acquire(blocking=False)
            if not owned:
                warn(
                    f"recorder {self.name!r} was closed while a checkpoint was still being written: it "
                    "is committed if the process lives long enough. "
                    "CheckpointConfig(on_close_timeout=...) allows more time"
                )
            self._closed = True
            self._arrays = {}
            try:
                if owned:
                    self._manager.close()
                else:  # not while a commit may be yet to ask the manager for its request
                    self._end()
            finally:
                live.leave(self, [] if owned else [f"recorder {self.name!r}"])
                if owned:
                    self._copy.release()  # a `save` that waits for it finds the recorder closed
        if interrupt is not None:
            raise interrupt
        if self._kept:
            raise self._kept.popleft()

    def _save_last(self, last: Callable[[Recorder], object]) -> None:
        try:
            last(self)
        except Exception as error:  # noqa: BLE001 - raised when all is closed
            self._kept.append(error)

    def __enter__(self) -> Self:
        """Return the recorder itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; an exception of the block is not replaced by one of the background."""
        if error is None:
            self.close()
            return
        try:
            self.close()
        except Exception as failure:  # noqa: BLE001 - warned of: why the block ends comes first
            warn(f"recorder {self.name!r}: {type(failure).__name__}: {failure}")

    def __del__(self) -> None:
        """Release the store of a recorder that is no longer referenced: no commit is under way then."""
        if not getattr(self, "_closed", True) and os.getpid() == self._pid:
            live.end_later(self._manager.close)

    # -- for panels, on any thread ----------------------------------------------------------------

    def panel(self, name: str | None = None, *, draw: Callable[..., object] | None = None) -> Any:
        """Return a panel over this recorder, for a notebook to display.

        Parameters
        ----------
        name : str, optional
            "checkpoint", "timeline", "field", "retention", "compare" or "events"; the whole cockpit by
            default. Panels of what a kernel does are refused.
        draw : callable, optional
            Your own picture in the panel "field", and in the cockpit, as for `Session.panel`.

        Returns
        -------
        Panel
            The same one at every call. It follows the loop, also while its cell runs, and stays when the
            recorder is closed.

        Raises
        ------
        ImportError
            If the widgets are not installed.
        TypeError, ValueError
            If there is no such panel, or it needs a kernel; if `draw` is no function, or given for
            another panel.
        """
        return find_panel_opener()(self, name, draw=draw)

    def request_save(self, label: str | None = None) -> None:
        """Make the next step of the loop due, as a panel's button does. Any thread.

        Parameters
        ----------
        label : str, optional
            The checkpoint is pinned under it.
        """
        self._label = label if label is None else check_label(label)
        self._asked = True

    def snapshot_every(self, steps: int | None, slot: int | None = None) -> None:  # noqa: ARG002 - as of a session
        """Have checkpoints due by the count of steps, or with None by the clock again. Any thread.

        Parameters
        ----------
        steps : int or None
            Steps between two checkpoints, in place of ``every``.
        slot : int, optional
            As for a session; a recorder is its one actor.

        Raises
        ------
        TypeError, ValueError
            If it is not an integer >= 1.
        """
        self._every = None if steps is None else check_int(steps, "steps", 1)

    def snapshot_interval_steps(self, slot: int = _SLOT) -> int | None:  # noqa: ARG002 - as of a session
        """Return the steps between two checkpoints; None if the clock decides.

        Parameters
        ----------
        slot : int, optional
            As for a session; a recorder is its one actor.

        Returns
        -------
        int or None
            As `snapshot_every`, or ``every``, has set them.
        """
        return self._every

    @off_main
    def glance(self, slots: Sequence[int] | None = None) -> SessionStatistics:  # noqa: ARG002 - as of a session
        """Return counters as a session has them: the step that the loop has told, what was committed.

        Parameters
        ----------
        slots : sequence of int, optional
            As for a session; a recorder is its one actor.

        Returns
        -------
        SessionStatistics
            Without a kernel. The stall is the time of the last copy; the simulated time is known at a
            step that was saved. Also of a recorder that is closed.
        """
        manager, writing = self._manager, int(self._copy.locked())
        at, (timed, time_s) = self._at, self._time
        counters = ActorCounters(
            step=at,
            budget=0,
            running=not self._closed,
            epoch=0,
            exists=True,
            snapshots=manager.total_completed,
            last_stall_ns=self._stall_ns,
            busy_ns=0,
        )
        return SessionStatistics(
            kernel=_NO_KERNEL,
            actors=(counters,),
            times=(time_s if timed == at else None,),  # only `save` tells it
            reduced=(None,),
            saved=(timed == at,),
            pending=manager.pending_count,
            completed=manager.total_completed,
            failed=manager.total_failed,
            waiting_to_send=0,
            with_kernel=0,
            being_written=writing,
            replies=0,
            events=self._events.appended,
            links={},
        )

    @property
    def failure(self) -> BaseException | None:
        """What a commit has met, and no call has raised yet; None if there is nothing."""
        with contextlib.suppress(IndexError):
            return self._kept[0]
        return None

    def keep_failure(self, error: BaseException) -> None:
        """Have an exception raised by the next call.

        Parameters
        ----------
        error : BaseException
            The exception.
        """
        self._kept.append(error)

    def on_displaced(self, callback: Callable[[Recorder], object]) -> None:
        """Have a function called when a later run of the same notebook cell has closed this recorder.

        Parameters
        ----------
        callback : callable
            Called once with this recorder, on the thread that runs the cell. Hold the recorder weakly
            in it. What it raises is logged. Giving the same function again changes nothing.
        """
        if callback not in self._on_displaced:
            self._on_displaced.append(callback)

    def tell_displaced(self) -> None:
        """Call what was given to `on_displaced`."""
        tell_all(self._on_displaced, self)

    def _check(self) -> None:
        """Raise what a commit has met, once, or that the recorder is closed."""
        if (
            self._kept and not self._closing
        ):  # else `close` raises it: the last state is saved first
            error = None
            with contextlib.suppress(IndexError):  # another thread was faster
                error = self._kept.popleft()
            if error is not None:
                raise error
        if self._closed:
            msg = f"recorder {self.name!r} is closed: make a new one, and go on with its latest()"
            raise CheckpointError(msg)

    # -- what can be seen at any time -------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the recorder was closed."""
        return self._closed

    @property
    def backend(self) -> str:
        """Where the steps are computed: in Python, by the loop."""
        return _BACKEND

    @property
    def service_runs(self) -> bool:
        """Whether a thread asks for snapshots again that failed: False, the loop does."""
        return False

    @property
    def successor(self) -> None:
        """What goes on in its place after a restart: None, the loop does."""
        return None

    @property
    def manager(self) -> CheckpointManager:
        """What schedules, commits and keeps the checkpoints; the recorder is its slot 0."""
        return self._manager

    @property
    def storage(self) -> CheckpointStorage:
        """Where checkpoints go."""
        return self._manager.storage

    @property
    def events(self) -> EventLog:
        """The log of what has happened."""
        return self._events

    @off_main
    def history(self) -> list[Checkpoint]:
        """Open all checkpoints of this name, oldest commit first, for figures.

        Returns
        -------
        list of Checkpoint
            Those whose metadata is sound; their arrays are read when they are used. A commit that is
            under way is waited for.
        """
        found = []
        with self._between_commits():
            for info in self._manager.history(_SLOT):
                with contextlib.suppress(
                    CheckpointNotFound
                ):  # retired by another process meanwhile
                    found.append(self.storage.load(info.name))
        return found

    def __reduce__(self) -> NoReturn:
        """Refuse: TypeError."""
        refuse_pickle("a Recorder", "make another one, of another name, where it is needed")

    def __repr__(self) -> str:
        """Name it, and say how far it is."""
        state = "closed" if self._closed else "open"
        return f"<Recorder {self.name!r}: {state}, {self._manager.total_completed} checkpoints written>"

    def _repr_html_(self) -> str:
        """Show a small table in a notebook."""
        return facts_table(
            f"Recorder {self.name}",
            {
                "state": "closed" if self._closed else "open",
                "last step given": self._given,
                "checkpoints written": self._manager.total_completed,
                "failed": self._manager.total_failed,
                "storage": self.storage,
            },
        )


def _normalised(given: Mapping[str, Any]) -> Fields:
    """Return checked, little-endian arrays; TypeError or ValueError if there are none."""
    return normalise_fields(
        {k: a if isinstance(a, np.ndarray) else np.asarray(a) for k, a in given.items()}
    )
