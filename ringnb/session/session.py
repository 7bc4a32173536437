"""A running session: kernel, checkpoint manager and the threads between them, wired.

`Session` is what a notebook holds. It is a thin owner: the kernel steps the actors
(`ringnb.kernel`), the manager decides what is checkpointed and kept (`ringnb.checkpoint`), the
service moves snapshots between the two (`ringnb.session.service`). This is the only module that knows
all three.

Every method may be called from any thread. A `KeyboardInterrupt` during a blocking call leaves the
session usable; `run_steps` stops the actor first, so that interrupting a cell does stop the work.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import time
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, final

from ringnb._support.checks import check_seconds, check_step
from ringnb._support.text import say
from ringnb.actors.base import Actor
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.errors import KernelStopped
from ringnb.messages.events import Event, EventLog
from ringnb.session.change_tracking import State
from ringnb.session.launching import check_pace, kernel_ids_of, make_kernel, population_of
from ringnb.session.notebook import close_previous, current_run, remember
from ringnb.session.restore import check_fits, resolve, restore_into
from ringnb.session.service import SnapshotService
from ringnb.session.snapshot import take_snapshot
from ringnb.session.viewing import SessionView

__all__ = ["Session"]

_LOG = logging.getLogger("ringnb")
_live: weakref.WeakSet[Session] = weakref.WeakSet()


@final
class Session(SessionView):
    """Actors in a persistent kernel, with checkpoints.

    Parameters
    ----------
    actor : Actor or sequence of Actor
        What to run: one actor for every slot, or one per slot.
    actors : int, optional
        How many slots. By default 1, or the length of the sequence.
    backend : {"auto", "cpu", "cuda", "cudasim"}, default "auto"
        Where the kernel runs: Numba threads, one CUDA launch on an NVIDIA GPU, or the CUDA kernel in
        Numba's simulator (slow; small grids). "auto" is "cpu".
    config : CheckpointConfig, optional
        When to checkpoint, what to keep, where.
    storage : CheckpointStorage, optional
        Where checkpoints go, instead of ``config.storage_path``. It is not closed with the session.
    service : bool, default True
        Poll, carry and commit on background threads. False leaves the crank to the caller: `send`,
        `receive`.
    lanes, width : int, optional
        Kernel lanes and threads per lane; on a GPU groups of blocks and blocks per group. By default the
        CPU gets a lane per core but one, at most one per actor, and one thread for each; a GPU gets one
        lane, of as many blocks as the largest actor can use.
    threads : int, optional
        Threads per block, on a GPU only; 256 by default.
    ring_capacity : int, default 64
        Slots of each ring, a power of two.
    max_steps_per_second : float, optional
        Pace of every actor. None runs as fast as it goes.
    kernel_ids : sequence of str, optional
        Identities, one per slot; ``"<kernel_type>_<slot>"`` by default. They own the histories.

    Raises
    ------
    BackendUnavailable
        If this machine cannot run the backend.
    TypeError, ValueError
        If an argument is not allowed.
    CheckpointError
        If the store exists and is none of ringnb's.

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
        ring_capacity: int = 64,
        max_steps_per_second: float | None = None,
        kernel_ids: Sequence[str] | None = None,
    ) -> None:
        self._closed = True  # until everything stands
        self._followed: weakref.WeakSet[Session] = weakref.WeakSet()
        self._on_displaced: list[Callable[[Session], object]] = []
        self._pid = os.getpid()
        population = population_of(actor, actors)
        ids = kernel_ids_of(population, kernel_ids)
        check_pace(max_steps_per_second)
        if not isinstance(service, bool):
            msg = f"service must be a bool, got {service!r}"
            raise TypeError(msg)
        config = CheckpointConfig() if config is None else config
        self._made_of: dict[str, Any] = {
            "actor": population,
            "backend": backend,
            "storage": storage,
            "service": service,
            "lanes": lanes,
            "width": width,
            "threads": threads,
            "ring_capacity": ring_capacity,
            "max_steps_per_second": max_steps_per_second,
            "kernel_ids": ids,
        }
        run, store = current_run(), str(config.storage_path) if storage is None else repr(storage)
        if close_previous(run, store, ids):
            say("The session that an earlier run of this cell made was closed.")
        super().__init__(make_kernel(backend, population, lanes, width, threads, ring_capacity))
        self._events = EventLog()
        self._service = SnapshotService(self._client, self._events, self._states)
        self._manager = CheckpointManager(config, storage, observer=self._service.observe)
        self._service.manager = self._manager
        try:
            for slot, (one, kernel_id) in enumerate(zip(population, ids, strict=True)):
                self._manager.register_actor(
                    slot,
                    kernel_id,
                    one.kernel_type,
                    params=one.start_params(slot),
                    backend=self._kernel.name,
                    fields=one.field_attrs,
                )
                # The state is new, whatever the history holds: it continues from no checkpoint. Where
                # there is a history, that is what is to be kept, and this state counts as saved.
                if self._manager.note_restored(slot, None) is not None:
                    self._states.save(slot, State(0, 0, 0))
            self._kernel.launch()
            self._closed = False
            if max_steps_per_second is not None:
                self.set_pace(max_steps_per_second)
            if service:
                self._service.start()
        except BaseException:
            self._kernel.stop("the session could not be started")
            self._manager.close()
            self._closed = True
            raise
        _live.add(self)
        # Anew, so that it runs before whatever registered itself until now: commits that are under way
        # at exit read buffers that finalisers free, and need the kernel's.
        atexit.unregister(_close_all)
        atexit.register(_close_all)
        remember(run, store, ids, self)

    # -- life ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Commit what was captured, end kernel and threads, release the store. Idempotent.

        A session that `remake` has put in the place of this one is closed in its stead.

        Raises
        ------
        BaseException
            What a background thread stumbled over since the last call, after everything is closed.
        """
        if os.getpid() != self._pid:
            # A forked child has none of the threads, and may wait for ever for locks that they held.
            return
        if self._closed:
            if self._successor is not None:
                self._successor.close()
            return
        if self._faults is not None:
            self._faults.clear()  # a slow disk must not hold up the last commits
        self._service.stop()
        with contextlib.suppress(KernelStopped):
            self._manager.cancel_all_pending()
        self._kernel.stop("the session was closed")
        self._manager.close()
        self._closed = True
        _live.discard(self)
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
        """Close; an exception of the block is not replaced by one of the background."""
        if error is None:
            self.close()
        else:
            with contextlib.suppress(Exception):
                self.close()

    def __del__(self) -> None:
        """Close a session that nobody holds any more."""
        if not getattr(self, "_closed", True):
            with contextlib.suppress(Exception):
                self.close()

    def _check(self) -> None:
        self._service.check()
        if self._successor is not None:
            msg = (
                "This session was restarted, another runs in its place: session = session.successor"
            )
            raise KernelStopped(msg)
        super()._check()

    def remake(self) -> Session:
        """Start another session like this one, in its place: same actors, identities and store.

        Returns
        -------
        Session
            With a kernel of its own, at step 0: restore what you want. This one is closed, and its
            `successor` is the new one.

        Notes
        -----
        For a session whose kernel was killed or has died. What its background stumbled over since
        the last call is dropped.
        """
        with contextlib.suppress(Exception):
            self.close()
        made = Session(**self._made_of, config=self._manager.config)
        for slot in range(len(self._kernel.actors)):
            made._service.stepwise.set(slot, self._service.stepwise.every(slot), 0)
            if made.pace(slot) != (pace := self.pace(slot)):
                made.set_pace(pace, slot)
        # All that it follows point to it, not to each other: what lies between can be collected.
        made._followed.update((self, *self._followed))
        for earlier in made._followed:
            earlier._successor = made
        return made

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
            while session is not None and session._on_displaced:
                callback = session._on_displaced.pop(0)
                try:
                    callback(session)
                except Exception:  # noqa: BLE001 - of somebody else: logged, whatever it is
                    _LOG.exception("a callback of on_displaced failed")

    # -- checkpoints -----------------------------------------------------------------------------

    def snapshot_every(self, steps: int | None, slot: int | None = None) -> None:
        """Checkpoint actors by their step count, beside or instead of the manager's interval.

        Parameters
        ----------
        steps : int or None
            Whenever an actor has passed a multiple of so many steps; None ends it.
        slot : int, optional
            The actor; all by default.

        Raises
        ------
        ValueError
            If `steps` is less than 1, or the session has no service thread to look at the steps.

        Notes
        -----
        The request goes out within about 10 ms of the multiple and the kernel answers it at a step
        boundary, so the step of the checkpoint is the multiple or one soon after it; retention's
        ``keep_every(steps)`` keeps it. An actor that passes several multiples meanwhile gets one
        checkpoint. To leave it at these, switch the interval off:
        ``session.manager.reconfigure(enabled=False)``.
        """
        slots = self._slots(slot)
        if steps is not None and check_step(steps, "steps") < 1:
            msg = "steps must be at least 1 (or None, to end it), got 0"
            raise ValueError(msg)
        if steps is not None and not self._service.running:
            msg = "snapshot_every needs service=True: without the service thread nobody looks"
            raise ValueError(msg)
        self._check()
        for one in slots:
            self._service.stepwise.set(one, steps, self._kernel.counters(one).step)
        self._kernel.wake()  # the service thread may be in a long wait

    def snapshot(self, slot: int, timeout: float = 10.0, *, label: str | None = None) -> Checkpoint:
        """Take a snapshot now and commit it.

        Parameters
        ----------
        slot : int
            The actor.
        timeout : float, default 10.0
            Seconds until it must be committed.
        label : str, optional
            Pins the checkpoint under this label: retention leaves it alone until it is unpinned.

        Returns
        -------
        Checkpoint
            A state captured at or after this call.

        Raises
        ------
        SnapshotTimeout
            If it is not committed in time; the request is cancelled.
        SnapshotFailed
            If the kernel refused it.
        CheckpointError, OSError
            If storage failed.
        """
        slot = self._slot(slot)
        limit = check_seconds(timeout, "timeout")
        self._check()
        checkpoint = take_snapshot(self._manager, self._service, slot, limit, self._check)
        if label is not None:
            checkpoint.pin(label)
        return checkpoint

    def restore(self, slot: int, checkpoint: Checkpoint | str) -> int:
        """Write a checkpoint's state and parameters back into a live actor.

        Parameters
        ----------
        slot : int
            The actor.
        checkpoint : Checkpoint or str
            A checkpoint, its name, or ``"latest"`` for the newest of this actor that verifies.

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

        Notes
        -----
        Whatever is raised, the actor is untouched: its state is replaced between two steps, after
        every byte was read and verified.
        """
        slot = self._slot(slot)
        self._check()
        ckpt = resolve(self._manager, slot, checkpoint)
        actor = self._kernel.actors[slot]
        check_fits(ckpt, actor, slot)
        params = actor.check_params(
            {k: v for k, v in ckpt.params.items() if isinstance(v, int | float)}
        )
        newest = self._manager.history(slot)[-1:]
        if any((e.name, e.sequence) == (ckpt.name, ckpt.sequence) for e in newest):
            epoch = self._kernel.counters(slot).epoch + 1
            self._states.expect(slot, State(ckpt.step, epoch, self._states.touches(slot)))
        turn = self._service.restoring(slot, ckpt.name)
        reply = restore_into(self._client, slot, ckpt, params, turn)
        self._params[slot] = params
        self._events.append(
            Event("restored", slot, step=reply.step, name=ckpt.name, t_ns=time.monotonic_ns())
        )
        return int(reply.step)


def _close_all() -> None:
    """Close sessions before the interpreter tears down what their threads run on."""
    for session in list(_live):
        with contextlib.suppress(Exception):
            session.close()
