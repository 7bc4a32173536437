"""What the panels of one session share: its threads, its choices, its messages.

A `Desk` is made with the first panel of a session. Its threads:

* the *pump* gathers the session's state and writes every display, and nobody else does;
* *commands* does what takes microseconds (pause, step), *storage* what takes a disk (snapshot, restore,
  retention), so that a slow disk delays no pause;
* the *drawer* reads checkpoints and draws.

The session is held weakly: displayed panels, which a notebook keeps in its history, must not keep a
kernel running. When the session is collected, threads end and widgets close. A session that was closed
but is still held keeps its panels, which say so; after a restart they go on with the new session, which
the old one holds (`Session.successor`).
"""

from __future__ import annotations

import itertools
import threading
import time
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, final

from ringnb.checkpoint import retention
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.kernel.base import Gate
from ringnb.panels.core.actor_picker import slot_picker
from ringnb.panels.core.display_loop import Pump
from ringnb.panels.core.limits import current_profile
from ringnb.panels.core.state import Observer
from ringnb.panels.core.widgets import serve_beside_cells
from ringnb.panels.core.workers import Drawer, Worker
from ringnb.session.session import Session

if TYPE_CHECKING:
    from ringnb.panels.core.panel import Panel

__all__ = [
    "Desk",
    "LET_THROUGH",
    "LaneStopped",
    "SessionGone",
    "see_that_it_answers",
]


_BEAT_S = 1.0


class SessionGone(Exception):
    """Nobody holds the session any more."""


@final
class Desk:
    """Shared by the panels of one session.

    Parameters
    ----------
    session : Session
        It is held weakly.

    Attributes
    ----------
    profile : Profile
        Limits of the place where this runs.
    pump : Pump
        Writes displays.
    drawer : Drawer
        Reads and draws.
    picker : ipywidgets.Dropdown or ipywidgets.BoundedIntText
        Its ``value`` is the slot that actions are about; one widget, shown in several panels.
    chosen : dict of str to str
        The checkpoint chosen, by a chooser's key; "" for the newest.
    verdicts : dict of str to str
        What reading a checkpoint has shown: "verified", or what is wrong.
    heard : collections.deque of str
        Ids of the newest messages of controls.

    Notes
    -----
    Every method may be called from any thread.
    """

    def __init__(self, session: Session) -> None:
        self.profile = current_profile()
        self._session = weakref.ref(session)
        self._finalizer = weakref.finalize(session, self.dispose)
        self._finalizer.atexit = False
        self.panels: dict[str, Panel] = {}
        self._lock = threading.RLock()
        self._observer = Observer()
        self.state = self._observer.look(session)
        self.chosen: dict[str, str] = {}
        self.verdicts: dict[str, str] = {}
        self.heard: deque[str] = deque(maxlen=16)
        self._trouble = ""
        self._seen = session.events.appended
        self._touched = time.monotonic()
        self._beats = itertools.count(1)
        self._beat_at = 0.0
        self._beat = 0
        self._idle = False
        self.picker = slot_picker(self.state.actors, "Actor")
        self.picker.add_class("ringnb-picker")
        self.slot = 0  # a copy of the picker's value, readable from any thread
        self.picker.observe(self._pick, "value")
        serve_beside_cells(self.picker)
        if self.profile.store_bytes is not None:
            policy = session.manager.config.policy & retention.keep_within(self.profile.store_bytes)
            session.manager.reconfigure(retention=policy)
        self.pump = Pump(self._refresh, self.profile.refresh_s)
        self.drawer = Drawer("ringnb-drawer")
        self._workers = {lane: Worker(f"ringnb-{lane}") for lane in ("commands", "storage")}
        self.pump.start()

    # -- the session -----------------------------------------------------------------------------

    @property
    def session(self) -> Session:
        """The session.

        Raises
        ------
        SessionGone
            If it was collected.
        """
        session = self._session()
        if session is None:
            msg = "nobody holds this panel's session any more: make a new one"
            raise SessionGone(msg)
        return session

    def replace(self, session: Session) -> None:
        """Go on with another session in the place of the one there was.

        Parameters
        ----------
        session : Session
            It is held weakly, as the old one was.
        """
        with self._lock:
            if self._session() is session:
                return
            self._finalizer.detach()
            self._finalizer = weakref.finalize(session, self.dispose)
            self._finalizer.atexit = False
            self._session = weakref.ref(session)
            self._observer = Observer()
            self._seen = session.events.appended
            self._trouble = ""
        self.pump.poke()

    def serves(self, session: Session) -> bool:
        """Return whether this is the desk of a session.

        Parameters
        ----------
        session : Session
            The one there is now.

        Returns
        -------
        bool
            False for one that was replaced.
        """
        return self._session() is session

    def _pick(self, change: Any) -> None:
        self.slot = int(change["new"])
        self.touch()
        self.pump.poke()

    # -- what panels ask for ---------------------------------------------------------------------

    def touch(self) -> None:
        """Note that somebody is there."""
        self._touched = time.monotonic()

    def hear(self, message: str) -> None:
        """Note that a control's message has arrived.

        Parameters
        ----------
        message : str
            Its id.
        """
        self.touch()
        self.heard.append(message)
        self.pump.poke()

    def do(
        self,
        panel: Panel,
        what: str,
        work: Callable[[Session], str | None],
        *,
        lane: str = "commands",
        slots: Iterable[int] = (),
    ) -> None:
        """Have something done on a worker thread, and say in the panel what came of it.

        Parameters
        ----------
        panel : Panel
            Who asks.
        what : str
            The action, in words.
        work : callable
            Gets the session; returns what is to be said.
        lane : {"commands", "storage"}
            Whether it takes microseconds or a disk.
        slots : iterable of int, optional
            The actors that the kernel is asked about. Where a crank has stopped one of them the kernel
            would not answer, and whoever waits for it could not turn the crank: it is refused at once.
        """
        self.touch()

        def job() -> None:
            """Do it; nothing that it raises may end the worker."""
            session = self._session()
            if session is None:
                return
            failure = session.failure
            try:
                for slot in slots:
                    see_that_it_answers(session, slot)
                said = work(session)
            except Exception as error:  # noqa: BLE001 - shown, whatever it is
                panel.tell(
                    alert=f"{what}: {error or type(error).__name__}",
                    detail="".join(traceback.format_exception(error)),
                )
                if error is failure:
                    # Shown here, but it was the background's: the next cell must hear of it too.
                    session.keep_failure(error)
            else:
                panel.tell(status=said or what, alert="", detail="")
            self.pump.poke()

        self._workers[lane].post(job)

    def choose(self, key: str, name: str) -> None:
        """Choose a checkpoint.

        Parameters
        ----------
        key : str
            Which choice.
        name : str
            The checkpoint; "" for the newest, whichever that is.
        """
        self.touch()
        self.chosen[key] = name
        self.pump.poke()

    def resolve(self, key: str, *, back: int = 0) -> CheckpointInfo | None:
        """Return what is chosen.

        Parameters
        ----------
        key : str
            Which choice.
        back : int, default 0
            How many commits before the newest, if nothing is chosen.

        Returns
        -------
        CheckpointInfo or None
            None if there is none, or it was retired.
        """
        histories = self.state.histories
        name = self.chosen.get(key, "")
        if name:
            return next((e for h in histories for e in h if e.name == name), None)
        history = histories[self.slot] if self.slot < len(histories) else ()
        sound = [e for e in history if self.sound(e)]
        return sound[max(0, len(sound) - 1 - back)] if sound else None

    def nothing_chosen(self, key: str) -> str:
        """Say why `resolve` has returned None, and what to do.

        Parameters
        ----------
        key : str
            Which choice.

        Returns
        -------
        str
            A sentence for an alert.
        """
        if gone := self.chosen.get(key):
            return f"{gone} is not there any more: choose another one"
        return "There is no sound checkpoint: take a snapshot first"

    def sound(self, info: CheckpointInfo) -> bool:
        """Return whether nothing is known to be wrong with a checkpoint."""
        return not info.damaged and self.verdicts.get(info.name, "verified") == "verified"

    # -- the pump's turn -------------------------------------------------------------------------

    def _refresh(self) -> bool:
        now = time.monotonic()
        with self._lock:  # or the observer of a new session would look at the old one
            session = self._session()
            if session is None:
                return False
            self.state = state = self._observer.look(session)
            trouble = self._troubles(session)
        names = {e.name for history in state.histories for e in history}
        self.verdicts = {k: v for k, v in self.verdicts.items() if k in names}
        if now - self._beat_at >= _BEAT_S:
            self._beat, self._beat_at = next(self._beats), now
        for panel in list(self.panels.values()):
            panel.frame_shows(state, self._beat, trouble)
            try:
                panel.show(state)
            except Exception as error:  # noqa: BLE001 - one panel's must not end the others' pump
                panel.tell(
                    alert=f"Showing: {error!r}",
                    detail="".join(traceback.format_exception(error)),
                )
        self._pause_when_idle(now)
        # A closed session changes no more by itself; its panels have just been told.
        return not session.closed

    def _troubles(self, session: Session) -> str:
        """Return what went wrong in the background and was not made good since."""
        new = session.events.appended - self._seen
        self._seen += new
        for event in list(session.events)[-new:] if new else []:
            if event.stage in ("failed", "expired"):
                actor = self.state.actors[event.actor_slot]
                again = " It is retried" if session.service_runs else " It is due again later"
                self._trouble = (
                    f"Snapshot of actor {event.actor_slot} {event.stage}: {event.detail}.{again}"
                    f"{'; the actor steps on' if actor.running else ''}."
                )
            elif event.stage == "committed":
                self._trouble = ""
        failure = session.failure
        if failure is not None:
            return f"In the background: {failure or type(failure).__name__}"
        return self._trouble

    def _pause_when_idle(self, now: float) -> None:
        limit_s = self.profile.idle_pause_s
        running = any(a.running for a in self.state.actors)
        if limit_s is None or not running or now - self._touched < limit_s or self._idle:
            self._idle = self._idle and running
            return
        self._idle = True
        for panel in list(self.panels.values())[:1]:
            self.do(
                panel,
                f"Paused: nobody has touched the panels for {limit_s:g} s",
                lambda s: s.pause(),
            )

    # -- the end ---------------------------------------------------------------------------------

    def dispose(self) -> None:
        """End the threads and close the widgets. Idempotent, any thread."""
        self.pump.stop()
        self.drawer.stop()
        for worker in self._workers.values():
            worker.stop()
        self.pump.join(1.0)
        self.drawer.join(1.0)
        for worker in self._workers.values():
            worker.join(1.0)
        for panel in list(self.panels.values()):
            panel.dispose()
        self.panels.clear()
        for widget in (self.picker.layout, self.picker.style, self.picker):
            widget.close()


LET_THROUGH = "Let it through"  # the lifecycle panel's button that opens every gate


class LaneStopped(Exception):
    """A crank has stopped the lane of an actor."""


def see_that_it_answers(session: Session, slot: int) -> None:
    """Raise if a crank has stopped the lane of an actor.

    Parameters
    ----------
    session : Session
        The session.
    slot : int
        The actor that the kernel is to be asked about.

    Raises
    ------
    LaneStopped
        If it would not answer.
    """
    kernel = session.kernel
    if kernel.gate(kernel.lane_of(slot)) != Gate.OPEN:
        msg = (
            f"the crank has stopped the lane of actor {slot}, which would not answer. Press "
            f"{LET_THROUGH!r} in the panel 'lifecycle' (in code: crank.close()), then try again"
        )
        raise LaneStopped(msg)
