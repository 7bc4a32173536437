"""One attempt of a run: the call of its task on a worker, which another one may follow elsewhere.

A worker that is retired, or was stopped and comes back, may still have an attempt when the next one
begins on another worker. Two things keep them apart: the scheduler says which one is wanted, and only
one writes the store, if that is a directory. An object store has no lock: there each commit asks the
scheduler before its last put, that of its document. Who is not wanted any more is refused, and commits
only what was let through already: another attempt may become the wanted one between answer and put.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any, final

from distributed import Reschedule, get_worker
from distributed.core import Status
from distributed.utils import sync

from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.errors import ClusterUnavailable, RunLost, StoreLocked

__all__ = ["Attempt", "doze"]

_LOOK_S = 0.1  # so often a store that another attempt still writes is tried again
_LEAST_DOZE_S, _MOST_DOZE_S = 0.0005, 0.05
_LEAVING = (Status.closing, Status.closing_gracefully, Status.closed)
# What it means that the scheduler does not answer, by what it was told.
_UNANSWERED = {
    "": "whether this worker may still commit is not known, and nothing was committed",
    "wish": "the call is done, but would be forgotten with the worker",
    "lost": "it may not know which workers the run has lost",
    "why": "it may not know that the run has failed",
    "done": "the session is closed, but the scheduler may not know that the run has ended",
}
# Of this process: its storages of one store share a lock, which keeps no thread from another.
_written: set[str] = set()
_guard = threading.Lock()


def doze(began: float, done: int, left: int) -> None:
    """Sleep for most of what the steps that are left will take, as it went since `began`.

    Each look takes the core from the steps. Where none is done yet, the next comes after twice the time.
    """
    left_s = (time.monotonic() - began) * (left / done if done > 0 else 1.0)
    time.sleep(min(_MOST_DOZE_S, max(_LEAST_DOZE_S, 0.9 * left_s)))


@final
class Attempt:
    """The attempt of a run that the calling thread of a worker has; ``key`` is its task's."""

    def __init__(self, run: str, key: str) -> None:
        self.worker = get_worker()
        self.run, self.key = run, key

    @property
    def leaving(self) -> bool:
        """Whether this worker is about to end, so that another attempt begins elsewhere."""
        return self.worker.status in _LEAVING

    def begin(self) -> dict[str, Any]:
        """Return what the scheduler knows of the run; RunLost if it has lost too many workers."""
        found = sync(self.worker.loop, self.worker.scheduler.ringnb_find, run=self.run)
        if found is None:  # of a scheduler that knows no runs any more
            raise Reschedule
        if found["give_up"]:
            msg = (
                f"the run {self.run!r} was given up: it has lost {len(found['losses'])} workers, the "
                f"last was {found['losses'][-1]}; see the log of the host, then launch it again"
            )
            self.tell(why=msg)
            raise RunLost(msg)
        return dict(found)

    def tell(self, limit_s: float | None = None, **what: Any) -> bool:
        """Tell the scheduler something, or nothing; return whether this is the attempt that is wanted.

        ClusterUnavailable if it does not answer, or not within `limit_s`.
        """
        asked = next(iter(what), "")
        note = self.worker.scheduler.ringnb_note
        address, loop = self.worker.address, self.worker.loop
        try:
            what |= {"run": self.run, "key": self.key, "worker": address}
            return bool(sync(loop, note, callback_timeout=limit_s, **what))
        except (OSError, RuntimeError) as error:  # lost, or the worker is ending
            why = str(error) or type(error).__name__
            msg = (
                f"the scheduler of the run {self.run!r} does not answer its worker ({why}): "
                f"{_UNANSWERED.get(asked, f'it may not know that the run {asked}')}. Checkpoints stay"
            )
            raise ClusterUnavailable(msg) from error

    def fail(self, why: str) -> None:
        """Tell why the run has failed, also if nobody answers: the caller raises what it was."""
        with contextlib.suppress(ClusterUnavailable):
            self.tell(why=why)

    @contextlib.contextmanager
    def writing(self, store: str, patience_s: float) -> Iterator[None]:
        """Be the only writer of a store in the block.

        Where there are locks: not in an object store, where nobody is kept out or waited for.
        The attempt before this one may still write it, and is waited for. StoreLocked if it is written
        for longer than that; Reschedule if this attempt is not wanted any more.
        """
        storage, deadline = ZarrStorage(store), time.monotonic() + patience_s
        while True:
            try:
                self._take(storage, store)
                break
            except StoreLocked as error:
                if time.monotonic() > deadline:
                    raise
                if not self.tell(waits=str(error)):
                    raise Reschedule from None
                time.sleep(_LOOK_S)
        try:
            yield
        finally:
            storage.close()
            with _guard:
                _written.discard(store)

    def _take(self, storage: ZarrStorage, store: str) -> None:
        with _guard:
            if store in _written:
                msg = (
                    f"store {store!r} is being written by another run of this worker: end that one"
                )
                raise StoreLocked(msg)
            storage.delete_many(())  # which takes the lock, and keeps it
            _written.add(store)
