"""A commit that stops before it is visible and before anything older is deleted, for the crank."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

from ringnb.checkpoint import ZarrStorage
from ringnb.checkpoint.storage.directory import files
from ringnb.messages.snapshots import SnapshotResponse
from ringnb.session import Session

__all__ = ["END", "GatedCommit"]

END = 99  # a stop beyond the last


@final
class GatedCommit:
    """A commit on a thread of its own, stopped before its rename and after it.

    The first stop is after the sync of the staged checkpoint's directory, the last thing before the
    rename; the second after the sync of the store's directory, the first thing after it. Neither holds
    a lock that readers need. Where there are no such syncs (another kind of store, or one that is not
    durable) it does not stop.
    """

    def __init__(self, session: Session, response: SnapshotResponse) -> None:
        storage = session.storage
        self._folders = storage.folders if isinstance(storage, ZarrStorage) else ()
        self._session = weakref.ref(session.itself)
        self._manager = session.manager
        self._response = response
        self._events = session.events
        self._appended = session.events.appended
        self.name: str | None = None
        self.error: BaseException | None = None
        self._stops = 0  # reached
        self._opened = 0
        self._moved = threading.Condition()
        self._done = False
        self._thread = threading.Thread(target=self._run, name="ringnb-crank", daemon=True)
        self._thread.start()

    @property
    def retired(self) -> list[str]:
        """What retention deleted."""
        new = list(self._events)[-(self._events.appended - self._appended) :]
        return [e.name for e in new if e.stage == "retired" and e.name is not None]

    def run_to(self, stop: int) -> bool:
        """Open the gates before a stop; return, when it or the end is reached, whether it is the end."""
        with self._moved:
            self._opened = stop - 1
            self._moved.notify_all()
            self._moved.wait_for(lambda: self._done or self._stops >= stop)
            return self._done

    def open_all(self) -> None:
        """Open every gate."""
        with self._moved:
            self._opened = END
            self._moved.notify_all()

    def _run(self) -> None:
        try:
            with files.interposing(self._stand):
                self.name = self._manager.complete_snapshot(self._response)
        except BaseException as error:  # noqa: BLE001 - raised where the crank is turned
            self.error = error
        finally:
            with self._moved:
                self._done = True
                self._moved.notify_all()

    def _stand(self, name: str, arguments: tuple[Any, ...], call: Callable[[], Any]) -> Any:
        if name == "sync_directory" and threading.current_thread() is self._thread:
            path = Path(arguments[0])
            if self._folders and (
                (self._stops == 0 and path.parent == self._folders[1] / "staging")
                or (self._stops == 1 and path == self._folders[0])
            ):
                done = call()
                with self._moved:
                    self._stops += 1
                    mine = self._stops
                    self._moved.notify_all()
                    while not self._moved.wait_for(lambda: self._opened >= mine, 0.2):
                        if _is_closed(self._session):
                            break  # its store is to be given up
                return done
        return call()


def _is_closed(session: weakref.ref[Session]) -> bool:
    alive = session()
    return alive is None or alive.closed
