"""One snapshot request moved by hand, stage by stage, with everything stopped in between.

`Crank` drives a `Session` that was opened with ``service=False``. Nothing is simulated: the request
lies on the real H2K ring, whose lane does not read it; the state lies in the real staging buffer, and
the kernel keeps the answer back; the commit is paused between its last fsync and its rename.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

from ringnb._support.off_main import placed
from ringnb.checkpoint import ZarrStorage
from ringnb.checkpoint.storage.directory import files
from ringnb.errors import SnapshotFailed
from ringnb.kernel.base import Gate
from ringnb.messages.events import STATIONS, Event
from ringnb.messages.snapshots import SnapshotRequest, SnapshotResponse
from ringnb.session.session import Session

__all__ = ["POSITIONS", "TURNS", "Crank"]

# Where a request can be stopped, in the order of its way; the first is before it.
POSITIONS: tuple[str, ...] = ("idle", *(s.position for s in STATIONS if s.position))
_PATIENCE_S = 10.0
_END = 99  # a stop beyond the last


@final
class PausedCommit:
    """A commit on a thread of its own, paused before its rename and after it.

    The first stop is after the sync of the staged checkpoint's directory, or of its file system, the
    last thing before the rename; the second after the sync of the store's directory, the first thing
    after it. Neither holds a lock that readers need. Where there are no such syncs (another kind of
    store, or one that is not durable) it does not stop.
    """

    def __init__(self, session: Session, response: SnapshotResponse) -> None:
        storage = session.storage
        self._folders = storage.folders if isinstance(storage, ZarrStorage) else ()
        self._session = weakref.ref(session.itself)
        self._manager = session.manager
        self._events = session.events
        self._appended = session.events.appended
        self._response = response
        self.name: str | None = None
        self.error: BaseException | None = None
        self._reached = 0  # stops
        self._allowed = 0  # stops that it may go on from
        self._done = False
        self._changed = threading.Condition()  # guards the three above
        self._thread = threading.Thread(target=placed(self._run), name="ringnb-crank", daemon=True)
        self._thread.start()

    @property
    def retired(self) -> list[str]:
        """What retention deleted."""
        new, _ = self._events.since(self._appended)
        return [e.name for e in new if e.stage == "retired" and e.name is not None]

    def run_to(self, stop: int) -> bool:
        """Go on to a stop, or to the end if there is no such stop; return whether it is the end."""
        with self._changed:
            self._allowed = stop - 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._done or self._reached >= stop)
            return self._done

    def let_go(self) -> None:
        """Let it run to its end, and do not wait."""
        with self._changed:
            self._allowed = _END
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            with files.interposing(self._pause_at_syncs):
                self.name = self._manager.complete_snapshot(self._response)
        except BaseException as error:  # noqa: BLE001 - raised where the crank is turned
            self.error = error
        finally:
            with self._changed:
                self._done = True
                self._changed.notify_all()

    def _pause_at_syncs(
        self, name: str, arguments: tuple[Any, ...], call: Callable[[], Any]
    ) -> Any:
        """Do a file operation of any thread; pause this commit's thread after two of them."""
        done = call()
        if (
            threading.current_thread() is self._thread
            and self._folders
            and self._is_stop(name, arguments)
        ):
            with self._changed:
                self._reached += 1
                mine = self._reached
                self._changed.notify_all()
                while not self._changed.wait_for(lambda: self._allowed >= mine, 0.2):
                    session = self._session()
                    if session is None or session.closing:
                        break  # its last checkpoint waits for this commit
        return done

    def _is_stop(self, name: str, arguments: tuple[Any, ...]) -> bool:
        # It takes the place of the syncs of a small commit, if the disk is idle.
        if name == "sync_filesystem":
            return self._reached == 0
        if name != "sync_directory":
            return False
        directory, (store, work_area) = Path(arguments[0]), self._folders
        if self._reached == 0:
            return directory.parent == work_area / "staging"
        return self._reached == 1 and directory == store


@final
class Crank:
    """Moves one request at a time from stage to stage.

    Parameters
    ----------
    session : Session
        Opened with ``service=False``.

    Attributes
    ----------
    position : str
        How far the current request has come, one of `POSITIONS`.

    Raises
    ------
    ValueError
        If the session has a service thread.

    Notes
    -----
    Any thread; one call at a time. While an answer is kept back (``"in staging"``) the actor's lane
    is stopped, with all its actors. `close` opens every gate; a session that closes does the same.
    """

    def __init__(self, session: Session) -> None:
        if session.service_runs:
            msg = (
                "this session's service thread moves its requests; open the session with "
                "service=False to move them by hand"
            )
            raise ValueError(msg)
        self.position = "idle"
        self._session = session
        self._lock = threading.RLock()
        self._due: deque[SnapshotRequest] = deque()
        self._sent: set[int] = set()  # pending requests that the kernel was sent
        self._request: SnapshotRequest | None = None
        self._response: SnapshotResponse | None = None
        self._commit: PausedCommit | None = None

    @property
    def request(self) -> SnapshotRequest | None:
        """The current request."""
        return self._request

    @property
    def next_step(self) -> str:
        """The name of what `turn` would do."""
        return _TURNS[self.position][1]

    def turn(self, slot: int = 0) -> str:
        """Move the current request on by one stage, or begin with a new one.

        Parameters
        ----------
        slot : int, default 0
            The actor to request a snapshot of, if none is due.

        Returns
        -------
        str
            What happened, in words.

        Raises
        ------
        SnapshotFailed, CheckpointError, OSError
            If the snapshot fails; the crank is then idle again.
        KernelStopped
            If the kernel does not run.
        """
        with self._lock:
            try:
                return _TURNS[self.position][0](self, slot)
            except Exception:
                self._reset()
                raise

    def cancel(self) -> bool:
        """Cancel the current request: what the kernel answers later is ignored.

        Returns False if there is none, or it is being saved already.
        """
        with self._lock:
            if self._request is None:
                return False
            return self._session.manager.cancel_pending(self._request.request_id)

    def lose(self) -> str:
        """Throw the request's answer away where it is now; return what happened, in words.

        Raises
        ------
        ValueError
            If there is no answer yet, or it is being saved already.
        """
        with self._lock:
            if self.position not in ("in staging", "on the K2H ring", "received"):
                msg = f"there is no answer to lose: the request is {self.position}"
                raise ValueError(msg)
            while self.position != "received":
                self.turn()
            request = self._current()
            self._session.events.append(Event("lost", request.actor_slot, request.request_id))
            self._reset()
            return (
                f"the answer to request {request.request_id} is lost; the manager waits for it "
                "until request_timeout"
            )

    def close(self) -> None:
        """Let everything go on: open the gates, finish a commit under way. Idempotent."""
        with self._lock:
            if self._commit is not None:
                self._commit.run_to(_END)
            self._reset()

    def release(self) -> None:
        """Let a commit under way run to its end, and do not wait. Any thread, at any time."""
        if (commit := self._commit) is not None:
            commit.let_go()

    # -- the stages ------------------------------------------------------------------------------

    def _ask(self, slot: int) -> str:
        manager = self._session.manager
        self._due.extend(manager.poll_due_snapshots())
        pending = {r.request_id for r in manager.pending}
        self._sent &= pending
        while self._due and self._due[0].request_id not in pending:
            self._due.popleft()
        due = bool(self._due)
        request = self._due.popleft() if due else manager.request_snapshot(slot)
        if request is None:
            msg = f"slot {slot} is not registered with the manager: register_actor it first"
            raise ValueError(msg)
        if request.request_id in self._sent:
            msg = (
                f"request {request.request_id} of actor {request.actor_slot} is still pending and its "
                "answer is lost: cancel it, or wait until it expires"
            )
            raise ValueError(msg)
        self._request = request
        self.position = "requested"
        why = "was due" if due else "is requested by hand"
        return f"actor {request.actor_slot} {why}: request {request.request_id}"

    def _send(self, _slot: int) -> str:
        request = self._current()
        self._set_gate(Gate.COMMANDS)
        self._session.send(request)
        self._sent.add(request.request_id)
        self.position = "on the H2K ring"
        return f"request {request.request_id} lies on the H2K ring; the lane does not read it"

    def _capture(self, _slot: int) -> str:
        kernel, lane = self._session.kernel, self._lane()
        taken, answers = kernel.staging_taken(lane), self._answers(lane)
        self._set_gate(Gate.ANSWERS)
        # Or the kernel has refused it: then it takes no buffer, and has answered.
        self._wait(
            lambda: kernel.staging_taken(lane) > taken or self._answers(lane) > answers,
            "captured the state",
        )
        self.position = "in staging"
        step = kernel.counters(self._current().actor_slot).step
        return f"the state of step {step:,} lies in a staging buffer; its lane is stopped"

    def _answer(self, _slot: int) -> str:
        lane = self._lane()
        self._set_gate(Gate.COMMANDS)
        self._wait(lambda: self._answers(lane) > 0, "answered")
        self.position = "on the K2H ring"
        running = self._session.kernel.counters(self._current().actor_slot).running
        return (
            f"the answer lies on the K2H ring; the actor {'steps on' if running else 'is paused'}"
        )

    def _receive(self, _slot: int) -> str:
        request = self._current()
        deadline = time.monotonic() + _PATIENCE_S
        while self._response is None and time.monotonic() < deadline:
            for response in self._session.receive(0.1):
                if response.request_id == request.request_id:
                    self._response = response
                else:
                    response.release()
        if self._response is None:
            msg = f"the answer to request {request.request_id} did not come"
            raise SnapshotFailed(msg)
        self._set_gate(Gate.OPEN)
        self.position = "received"
        return "the answer is here, its arrays view the staging buffer; nothing is stored yet"

    def _write(self, _slot: int) -> str:
        assert self._response is not None
        self._commit = PausedCommit(self._session, self._response)
        self._response = None
        return self._commit_to(
            1,
            "written",
            "all chunks are written and synced, beside the store: no name shows them yet",
        )

    def _publish(self, _slot: int) -> str:
        return self._commit_to(
            2,
            "committed",
            "one rename made the checkpoint visible, all of it at once; the rename is synced",
        )

    def _retire(self, _slot: int) -> str:
        return self._commit_to(_END, "idle", "")

    def _commit_to(self, stop: int, position: str, text: str) -> str:
        """Let the commit run to a stop; say so, or what came of it if it ran to its end."""
        commit = self._commit
        assert commit is not None
        if not commit.run_to(stop):
            self.position = position
            return text
        self._reset()
        if commit.error is not None:
            raise commit.error
        if commit.name is None:
            return "the request was cancelled or has expired: its answer was ignored"
        gone = ", ".join(commit.retired) or "nothing"
        return f"committed {commit.name}, durably; retired: {gone}"

    # -- helpers ---------------------------------------------------------------------------------

    def _current(self) -> SnapshotRequest:
        assert self._request is not None
        return self._request

    def _lane(self) -> int:
        return self._session.kernel.lane_of(self._current().actor_slot)

    def _answers(self, lane: int) -> int:
        return self._session.kernel.statistics().k2h_depth[lane]

    def _set_gate(self, gate: Gate) -> None:
        self._session.kernel.set_gate(self._lane(), gate)

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not condition():
            self._session.kernel.check_alive()
            if time.monotonic() > deadline:
                msg = f"the kernel has not {what} within {_PATIENCE_S:g} s: a step takes very long"
                raise SnapshotFailed(msg)
            time.sleep(0.001)

    def _reset(self) -> None:
        """Be idle: gates open, buffers given back."""
        if self._request is not None and self._session.kernel.alive:
            with contextlib.suppress(Exception):  # a kernel without gates: nothing to open
                self._set_gate(Gate.OPEN)
        if self._response is not None:
            self._response.release()
        self._request = self._response = self._commit = None
        self.position = "idle"


# The next turn at each position: its function, its name, and what it does.
_TURNS: dict[str, tuple[Callable[[Crank, int], str], str, str]] = {
    "idle": (Crank._ask, "Request", "The manager asks: what is due, or the selected actor"),
    "requested": (
        Crank._send,
        "Send",
        "Push the command onto the H2K ring; the lane does not read it yet",
    ),
    "on the H2K ring": (
        Crank._capture,
        "Capture",
        "The lane reads it and copies the state; it does not answer yet",
    ),
    "in staging": (
        Crank._answer,
        "Answer",
        "The lane pushes the answer onto the K2H ring and goes on",
    ),
    "on the K2H ring": (Crank._receive, "Receive", "Take the answer off the ring"),
    "received": (Crank._write, "Write", "Write and sync all chunks, beside the store"),
    "written": (Crank._publish, "Publish", "One rename makes the checkpoint visible"),
    "committed": (
        Crank._retire,
        "Retire",
        "Delete what retention does not keep; give the buffer back",
    ),
}
# In order: the position, the name of the next turn, and what it does.
TURNS: tuple[tuple[str, str, str], ...] = tuple((at, *_TURNS[at][1:]) for at in POSITIONS)
