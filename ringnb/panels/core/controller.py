"""What the panels of one session share: its threads, its choices, its messages.

A `Controller` is made with the first panel of a session. Its threads:

* the *display loop* gathers the session's state and writes every display, and nothing else does;
* the worker *commands* does what takes microseconds (pause, step), the worker *storage* what takes a
  disk (snapshot, restore, retention), so that a slow disk delays no pause;
* the *drawer* reads checkpoints and draws.

The session is held weakly: displayed panels, which a notebook keeps in its history, must not keep a
kernel running. When the session is collected, threads end and widgets close. A session that was closed
but is still held keeps its panels, which say so; after a restart they go on with the new session, which
the old one holds (`Session.successor`).
"""

from __future__ import annotations

import threading
import time
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol, final

from ringnb._support.off_main import hand_over
from ringnb.checkpoint import retention
from ringnb.kernel.base import Gate
from ringnb.panels.core.actor_picker import slot_picker
from ringnb.panels.core.checkpoint_choices import CheckpointChoices
from ringnb.panels.core.display_loop import DisplayLoop
from ringnb.panels.core.limits import current_profile
from ringnb.panels.core.state import SessionState, StateReader
from ringnb.panels.core.widgets import serve_beside_cells
from ringnb.panels.core.workers import BackgroundThread, Drawer, Worker
from ringnb.session.session import Session

__all__ = ["Controller", "LET_THROUGH", "LaneStopped", "Message", "SessionGone", "View"]

LET_THROUGH = "Let it through"  # the lifecycle panel's button that turns on until a request is done
_BEAT_S = 1.0
_COCKPIT = "cockpit"  # the key of the panel around all others


class SessionGone(Exception):
    """The session was collected."""


class LaneStopped(Exception):
    """A crank has stopped the lane of an actor, which would not answer."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a panel says: what was done, or what went wrong and its traceback."""

    status: str = ""
    alert: str = ""
    detail: str = ""


class View(Protocol):
    """What a controller needs of a panel. It calls `dispose` on any thread, the rest on its loop's."""

    key: ClassVar[str]

    def show_frame(self, state: SessionState, beat: int, trouble: str, message: Message) -> None:
        """Put what the panel's head shows."""

    def show(self, state: SessionState) -> None:
        """Put what the panel shows. An exception becomes the panel's message."""

    def dispose(self) -> None:
        """Close every widget."""


@final
class Controller:
    """Shared by the panels of one session, which it holds weakly. Any thread may call any method."""

    def __init__(self, session: Session) -> None:
        self.profile = current_profile()
        self.views: dict[str, View] = {}
        self.acknowledged: deque[str] = deque(maxlen=16)  # ids of the newest messages from controls
        self._session_lock = threading.Lock()
        self._messages: dict[str, Message] = {}  # by a panel's key
        self._messages_lock = threading.Lock()
        self._used_at = time.monotonic()
        self._beat, self._beat_at = 0, 0.0
        # Whether unused panels have asked for a pause; reset once all actors are paused.
        self._pause_asked = False
        self._follow(session)
        self.state = self._reader.read(session)
        self.choices = CheckpointChoices(self.state.histories)
        # One widget, shown in several panels; its ``value`` is the slot that actions are about.
        self.picker = slot_picker(self.state.actors, "Actor")
        self.picker.add_class("ringnb-picker")
        self.picker.observe(self._pick, "value")
        serve_beside_cells(self.picker)
        if self.profile.store_bytes is not None:
            policy = session.manager.config.policy & retention.keep_within(self.profile.store_bytes)
            session.manager.reconfigure(retention=policy)
        self.display = DisplayLoop(self._refresh, self.profile.refresh_s, self.profile.quiet_s)
        self.drawer = Drawer("ringnb-drawer")
        self._workers = {name: Worker(f"ringnb-{name}") for name in ("commands", "storage")}
        self._threads: list[BackgroundThread] = [self.display, self.drawer, *self._workers.values()]
        for thread in self._threads:
            thread.start()

    # -- the session -----------------------------------------------------------------------------

    def _follow(self, session: Session) -> None:
        self._session = weakref.ref(session)
        self._finalizer = weakref.finalize(session, hand_over, self.dispose)
        self._finalizer.atexit = False  # at exit the threads, all daemons, end without it
        self._reader = StateReader(self.profile.rate_s)
        self._events_seen = session.events.appended
        self._trouble = ""

    @property
    def session(self) -> Session:
        """The session, or SessionGone if it was collected."""
        session = self._session()
        if session is None:
            msg = "the session was deleted: create a new one"
            raise SessionGone(msg)
        return session

    def replace(self, session: Session) -> None:
        """Go on with another session, such as the successor after a restart."""
        with self._session_lock:
            if self._session() is session:
                return
            self._finalizer.detach()
            self._follow(session)
        self.display.poke()

    def serves(self, session: Session) -> bool:
        """Return whether this controller is about a session; False once that was replaced."""
        return self._session() is session

    # -- what panels ask for ---------------------------------------------------------------------

    @property
    def slot(self) -> int:
        """The slot of the selected actor, readable from any thread."""
        return self.choices.slot

    def _pick(self, change: Any) -> None:
        self.choices.slot = int(change["new"])
        self.note_use()

    def note_use(self) -> None:
        """Note that the user is there, and refresh soon."""
        self._used_at = time.monotonic()
        self.display.poke()

    def acknowledge(self, message_id: str) -> None:
        """Note that a control's message has arrived."""
        self.acknowledged.append(message_id)
        self.note_use()

    def choose(self, key: str, name: str) -> None:
        """Choose a checkpoint by its name, or with "" the newest, whichever that is."""
        self.choices.choose(key, name)
        self.note_use()

    def submit(
        self,
        view: View,
        what: str,
        work: Callable[[Session], object],
        *,
        done: str | None = None,
        worker: Literal["commands", "storage"] = "commands",
        slots: Iterable[int] = (),
    ) -> None:
        """Have something done on a worker thread, and say in the panel what came of it.

        That is ``done``, or what ``work`` returns, or the action's name ``what``. ``slots`` are the
        actors that the kernel is asked about.
        """
        self.note_use()

        def job() -> None:
            """Do it; nothing that it raises may end the worker."""
            session = self._session()
            if session is None:
                return
            failure = session.failure
            try:
                for slot in slots:
                    _check_lane_open(session, slot)
                said = work(session)
            except Exception as error:  # noqa: BLE001 - shown, whatever it is
                self._tell_error(view, f"{what}: {str(error) or type(error).__name__}", error)
                if error is failure:
                    # Shown here, but it comes from the background: the next cell must raise it too.
                    session.keep_failure(error)
            else:
                self.tell(view, Message(status=str(done or said or what)))
            self.display.poke()

        self._workers[worker].submit(job)

    # -- what panels say -------------------------------------------------------------------------

    def tell(self, view: View, message: Message) -> None:
        """Say something in a panel, and in the cockpit around it, instead of what it said before.

        The other panels' status lines are emptied: in a cockpit one could not tell which is the newest.
        """
        with self._messages_lock:
            for key, before in self._messages.items():
                self._messages[key] = replace(before, status="")
            for key in {view.key, *({_COCKPIT} & self.views.keys())}:
                self._messages[key] = message

    def _tell_error(self, view: View, alert: str, error: Exception) -> None:
        detail = "".join(traceback.format_exception(error))
        self.tell(view, Message(alert=alert, detail=detail))

    # -- on the display loop's thread ------------------------------------------------------------

    def _refresh(self) -> bool:
        """Have every panel show the session's state; return whether it changes by itself."""
        now = time.monotonic()
        with self._session_lock:  # else the reader made for a new session could read the old one
            session = self._session()
            if session is None:
                return False
            self.state = state = self._reader.read(session)
            trouble = self._read_trouble(session)
        self.choices.update(state.histories)
        if now - self._beat_at >= _BEAT_S:
            self._beat, self._beat_at = self._beat + 1, now
        for view in list(self.views.values()):
            message = self._messages.get(view.key, Message())
            view.show_frame(state, self._beat, trouble, message)
            try:
                view.show(state)
            except Exception as error:  # noqa: BLE001 - one panel's must not end the loop
                self._tell_error(view, f"Showing: {error!r}", error)
        self._pause_when_idle(now)
        # A closed session changes no more by itself; its panels have just been told.
        return not session.closed

    def _read_trouble(self, session: Session) -> str:
        """Return what went wrong in the background, unless a later commit succeeded."""
        new, self._events_seen = session.events.since(self._events_seen)
        for event in new:
            if event.stage in ("failed", "expired"):
                retried = "It is retried" if session.service_runs else "It is due again later"
                running = self.state.actors[event.actor_slot].running
                self._trouble = (
                    f"Snapshot of actor {event.actor_slot} {event.stage}: {event.detail}. {retried}"
                    f"{'; the actor steps on' if running else ''}."
                )
            elif event.stage == "committed":
                self._trouble = ""
        failure = session.failure
        if failure is not None:
            return f"In the background: {str(failure) or type(failure).__name__}"
        return self._trouble

    def _pause_when_idle(self, now: float) -> None:
        if not any(a.running for a in self.state.actors):
            self._pause_asked = False
            return
        limit_s = self.profile.idle_pause_s
        if limit_s is None or self._pause_asked or now - self._used_at < limit_s:
            return
        self._pause_asked = True
        # One panel says it, and the cockpit around it.
        for view in list(self.views.values())[:1]:
            what = f"Paused: the panels were not used for {limit_s:g} s"
            self.submit(view, what, lambda s: s.pause())

    # -- the end ---------------------------------------------------------------------------------

    def dispose(self) -> None:
        """End the threads and close the widgets. Idempotent, any thread."""
        for thread in self._threads:
            thread.stop()
        for thread in self._threads:
            thread.join(1.0)
        for view in list(self.views.values()):
            view.dispose()
        self.views.clear()
        for widget in (self.picker.layout, self.picker.style, self.picker):
            widget.close()


def _check_lane_open(session: Session, slot: int) -> None:
    """Raise LaneStopped if a crank has stopped the actor's lane.

    It would not answer, and the storage worker that waits for it could not turn the crank.
    """
    kernel = session.kernel
    if kernel.gate(kernel.lane_of(slot)) != Gate.OPEN:
        msg = (
            f"the crank has stopped the lane of actor {slot}, which would not answer. Press "
            f"{LET_THROUGH!r} in the panel 'lifecycle' (in code: crank.close()), then try again"
        )
        raise LaneStopped(msg)
