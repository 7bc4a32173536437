"""What the panels of one session, or recorder, share: its threads, its choices, its messages.

A `Controller` is made with the first panel of a session. Its threads:

* the *display loop* gathers the session's state and writes every display, and nothing else does;
* the worker *commands* does what takes microseconds (pause, step), the worker *storage* what takes a
  disk (snapshot, restore, retention), so that a slow disk delays no pause, and *movies* what takes
  seconds;
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
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal, Protocol, final

from ringnb._support.off_main import hand_over
from ringnb._support.text import name_actors, said_by
from ringnb.checkpoint import retention
from ringnb.checkpoint.drawable import main_field
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.errors import ClusterUnavailable, RunLost, RunNotFound
from ringnb.kernel.base import Gate
from ringnb.panels.core.actor_picker import slot_picker
from ringnb.panels.core.checkpoint_choices import CheckpointChoices
from ringnb.panels.core.display_loop import DisplayLoop
from ringnb.panels.core.extents import Extents
from ringnb.panels.core.film import Pictures
from ringnb.panels.core.history_rows import rows_of
from ringnb.panels.core.limits import current_profile
from ringnb.panels.core.messages import Kind, Note
from ringnb.panels.core.news import News, next_of, trouble_key
from ringnb.panels.core.pace import Pace
from ringnb.panels.core.state import SessionState, StateReader
from ringnb.panels.core.switchboard import Switchboard
from ringnb.panels.core.watched import SessionLike, Watched, has_kernel, session_of
from ringnb.panels.core.widgets import serve_beside_cells
from ringnb.panels.core.workers import BackgroundThread, Drawer, Worker

__all__ = ["Controller", "LET_THROUGH", "LaneStopped", "SessionGone", "View"]

LET_THROUGH = "Let it through"  # the lifecycle panel's button that turns on until a request is done
_BEAT_S = 1.0
_COCKPIT = "cockpit"  # the key of the panel around all others
_FIRST_TAB = "explore"  # that it shows
_MOST_VIEWS = 16
_STATE_S = 0.25  # between two states of a running actor on the page; during a drag, with the beat
_SAME_S = 0.3  # so much may what is shown of when something is due be wrong


class SessionGone(Exception):
    """The session was collected."""


class LaneStopped(Exception):
    """A crank has stopped the lane of an actor, which would not answer."""


class View(Protocol):
    """What a controller needs of a panel. It calls `dispose` on any thread, the rest on its loop's."""

    key: ClassVar[str]

    @property
    def seen(self) -> bool:
        """Whether a page shows it."""

    def show(self, state: SessionState) -> None:
        """Put what the panel shows. An exception becomes the panel's message."""

    def show_history(self, part: str, rows: list[dict[str, Any]]) -> None:
        """Put the rows of a part of the history, or with "" none."""

    def dispose(self) -> None:
        """Close every widget."""


@final
class Controller:
    """Shared by the panels of one session or recorder, held weakly. Any thread, any method."""

    def __init__(self, watched: Watched) -> None:
        self.profile = current_profile()
        self.views: dict[str, View] = {}
        self._session_lock = threading.Lock()
        self._seen_lock = threading.Lock()
        self.switchboard = board = Switchboard(self._poke)
        self.board, self.hand, self._messages = board.board, board.hand, board.messages
        self.say, self.settle, self.set_flags = board.say, board.settle, board.set_flags
        self.withdraw = board.withdraw
        self.hand.on_msg(self._on_message)
        self.do, self.on_do, self.download = board.do, board.on_do, board.download
        self._began = self._used_at = time.monotonic()
        self._state_at = self._beat_at = 0.0
        # By a view of a page: its panel, and what of that is seen (a tab, "whole", or "" if nothing is).
        self._seen: dict[str, tuple[str, str]] = {}
        self._parts: dict[str, str] = {}  # by a panel's key: the part of the history that is open
        self._rows_at = 0.0
        # Whether unused panels have asked for a pause; reset once all actors are paused.
        self._pause_asked = False
        self._follow(watched)
        self.state = self._reader.read(watched)
        self.choices = CheckpointChoices(self.state.histories)
        # What the retention that is looked at would delete, by name, and the view that shows it.
        self._going: tuple[View | None, frozenset[str]] = (None, frozenset())
        self.pictures = Pictures()
        # Numbers of the selected actor's runs, by their ids; who draws the runs replaces it.
        self.runs: Mapping[str, int] = {}
        # One widget, shown in several panels; its ``value`` is the slot that actions are about.
        self.picker = slot_picker(self.state.actors)
        self.picker.add_class("ringnb-picker")
        self.picker.observe(self._pick, "value")
        serve_beside_cells(self.picker)
        if self.profile.store_bytes is not None:
            policy = watched.manager.config.policy & retention.keep_within(self.profile.store_bytes)
            watched.manager.reconfigure(retention=policy)
        self.on_do("choose", self._on_choose)
        self.on_do("say.history", self._on_history)
        self.on_do("say.seen", self._on_seen)
        self.on_do("look.again", lambda *_: self._try_again())
        self.extents = Extents()
        self.pace = Pace(self.profile.scrub_s)
        self.display = DisplayLoop(self._refresh, self.profile.refresh_s, self.profile.quiet_s)
        self.drawer = Drawer("ringnb-drawer")
        self._workers = {
            name: Worker(f"ringnb-{name}") for name in ("commands", "storage", "movies")
        }
        self._threads: list[BackgroundThread] = [self.display, self.drawer, *self._workers.values()]
        for thread in self._threads:
            thread.start()

    # -- the session -----------------------------------------------------------------------------

    def _follow(self, watched: Watched) -> None:
        self._watched = weakref.ref(watched)
        self._finalizer = weakref.finalize(watched, hand_over, self.dispose)
        self._finalizer.atexit = False  # at exit the threads, all daemons, end without it
        self._reader = StateReader(self.profile.rate_s)
        self._news = News(watched, self._messages, self._began)

    @property
    def watched(self) -> Watched:
        """The session or recorder, or SessionGone if it was collected."""
        watched = self._watched()
        if watched is None:
            msg = "the session was deleted: create a new one"
            raise SessionGone(msg)
        return watched

    @property
    def session(self) -> SessionLike:
        """The session; NoKernel if it is a recorder, SessionGone if it was collected."""
        return session_of(self.watched)

    def replace(self, watched: Watched) -> None:
        """Go on with another session, such as the successor after a restart."""
        with self._session_lock:
            if self._watched() is watched:
                return
            self._finalizer.detach()
            self._follow(watched)
        self._messages.settle_all("the new session")  # nothing speaks of the old kernel any more
        self.display.poke()

    def serves(self, watched: Watched) -> bool:
        """Return whether this controller is about a session; False once that was replaced."""
        return self._watched() is watched

    # -- what panels ask for ---------------------------------------------------------------------

    @property
    def slot(self) -> int:
        """The slot of the selected actor, readable from any thread."""
        return self.choices.slot

    @property
    def shown_field(self) -> str | None:
        """The field on the stage; None for the first one, or where the user's drawing is."""
        field: str = getattr(self.views.get("field"), "field", "")
        if field in self.state.fields:
            return field
        # A recorder's checkpoints may end with what is no picture, a number say.
        forms = {} if self.state.has_kernel else self.state.actors[self.slot].forms
        drawn = [name for name, (shape, _) in forms.items() if 1 <= len(shape) <= 3]
        return main_field(drawn) if drawn else None

    def _pick(self, change: Any) -> None:
        self.choices.slot = int(change["new"])
        self.note_use()

    def _poke(self) -> None:
        """Refresh soon. Also before there is a loop."""
        if (display := getattr(self, "display", None)) is not None:
            display.poke()

    def note_use(self) -> None:
        """Note that the user is there, and refresh soon."""
        self._used_at = time.monotonic()
        self.display.poke()

    def _on_message(self, _hand: Any, content: Any, _buffers: Any) -> None:
        """Note what a user did, which has an id, and that a picture has come to the page."""
        if "id" in content:
            self.note_use()
        if "came" in content:
            self.pace.note_arrival(int(content["came"]))

    def choose(self, key: str, name: str) -> None:
        """Choose a checkpoint by its name, or with "" the newest, whichever that is."""
        self.choices.choose(key, name)
        self.note_use()

    def submit(
        self,
        what: str,
        work: Callable[[Watched], object],
        *,
        done: str | None = None,
        worker: Literal["commands", "storage", "movies"] = "commands",
        key: str = "",
    ) -> None:
        """Have something done on a worker thread, and say what came of it.

        That is ``done``, or what ``work`` returns (a `Note` if nothing was done, or the worse), or the
        action's name ``what``; nothing if ``done`` is "". ``key`` is that of the problem which this may
        have and, when it succeeds, settle; the actor and ``what`` by default.
        """
        self.note_use()
        key = key or f"{self.slot}:{what}"

        def job() -> None:
            """Do it; nothing that it raises may end the worker."""
            watched = self._watched()
            if watched is None:
                return
            failure = watched.failure
            try:
                said = work(watched)
            except Exception as error:  # noqa: BLE001 - shown, whatever it is
                # The session may have said it by an event: read first, so that it is not said twice.
                self._news.read(watched, self.state.actors)
                text = f"{what}: {said_by(error)}"
                self.say(
                    "problem",
                    text,
                    key=trouble_key(key, text),
                    detail=_traceback(error),
                    repeats=False,
                )
                if error is failure:
                    # Shown here, but it comes from the background: the next cell must raise it too.
                    watched.keep_failure(error)
            else:
                self._news.read(watched, self.state.actors)
                self.settle(key, f"a later {what!r}")
                if done != "":
                    kind: Kind = "note" if isinstance(said, Note) else "done"
                    self.say(kind, str(done or said or what))
            self.display.poke()

        self._workers[worker].submit(job)

    def steer(
        self,
        what: str,
        work: Callable[[SessionLike], object],
        *,
        slots: Iterable[int] = (),
        **options: Any,
    ) -> None:
        """Have something done that needs a kernel, as by `submit`.

        ``slots`` are the actors that the kernel is asked about; refused if a crank has stopped one.
        """

        def check_and_do(watched: Watched) -> object:
            """Do it, if there is a kernel that answers."""
            session = session_of(watched)
            for slot in slots:
                _check_lane_open(session, slot)
            return work(session)

        self.submit(what, check_and_do, **options)

    @property
    def going(self) -> frozenset[str]:
        """The names of what would be deleted, while a page sees the preview."""
        view, names = self._going
        return names if view is not None and view.seen else frozenset()

    def show_going(self, view: View, names: frozenset[str]) -> None:
        """Have all views show what the preview of one of them would delete. Any thread."""
        self._going = view, names

    def note_store(self) -> None:
        """Have the store read again soon: it was changed by what no event tells. Any thread."""
        self._reader.forget_store()
        self.display.poke()

    def _try_again(self) -> None:
        """Look again, at the store and at a session of another process, however long that would rest."""
        if (try_now := getattr(self._watched(), "try_now", None)) is not None:
            try_now()
        self.note_store()

    def answering(self, slot: int, take: Callable[[], Checkpoint]) -> Checkpoint:
        """Take a snapshot that a user asks for: its commit is told as the answer. Any thread."""
        return self._news.answering(slot, take)

    def note_damage(self, name: str, error: Exception) -> None:
        """Note that reading a checkpoint has shown damage, and warn of it once. Any thread."""
        if self.choices.note_verdict(name, f"damaged: {error}"):
            self.say("warning", f"Passed over: {said_by(error)}", key=f"damage:{name}")

    # -- what panels say -------------------------------------------------------------------------

    def open_history(self, view: str, part: str) -> None:
        """Have a panel's history show a part (see `history_rows`), or with "" none."""
        self._parts[view] = part
        self._rows_at = 0.0
        self.display.poke()

    def sees(self, key: str, tabs: Collection[str], *, alone: bool) -> bool:
        """Return whether a page shows a panel, alone or in one of these tabs of a cockpit.

        Until a page tells, it is taken to show the first tab, and what was made to be `alone`.
        """
        views = list(self._seen.values())
        own = [what for panel, what in views if panel == key]
        tab = [what for panel, what in views if panel == _COCKPIT]
        if not (own or tab):
            return alone or _FIRST_TAB in tabs
        return any(own) or any(one in tabs for one in tab)

    def _on_seen(self, _action: str, args: Mapping[str, Any]) -> None:
        view, what = str(args.get("view", "")), args.get("what")
        with self._seen_lock:  # two pages may tell at once, each on a thread of its own
            seen = {k: v for k, v in self._seen.items() if k != view}
            if what is not None:  # None: it is not on the page any more
                seen[view] = str(args.get("panel", "")), str(what)
            # A page that was closed could not tell: its views go when others come.
            self._seen = dict(list(seen.items())[-_MOST_VIEWS:])

    def _on_choose(self, key: str, args: Mapping[str, Any]) -> None:
        self.choose(key, str(args.get("name", "")))

    def _on_history(self, _action: str, args: Mapping[str, Any]) -> None:
        self.open_history(str(args.get("panel", "")), str(args.get("part", "")))

    # -- on the display loop's thread ------------------------------------------------------------

    def _refresh(self) -> bool:
        """Have every panel show the session's state; return whether it changes by itself."""
        with self._session_lock:  # else the reader made for a new session could read the old one
            watched = self._watched()
            if watched is None:
                return False
            self.state = state = self._reader.read(watched, self.slot)
            self._guarded("news", lambda: self._hear(watched, state))
        self.choices.update(state.histories)
        now = time.monotonic()  # a session of another process may have been waited for
        if now - self._beat_at >= _BEAT_S:
            self._beat_at = now
        for view in [v for v in list(self.views.values()) if v.seen]:
            self._guarded(view.key, partial(view.show, state))
        seen = list(self._seen.values())
        self.display.seen = not seen or any(what for _, what in seen)
        self._put_board(state, now)
        self._put_history(state, now)
        self._pause_when_idle(now)
        # A closed session changes no more by itself; its panels have just been told.
        return not watched.closed

    def _hear(self, watched: Watched, state: SessionState) -> None:
        self._news.read(watched, state.actors)
        self._news.look(watched, state)

    def _guarded(self, what: str, work: Callable[[], object]) -> None:
        """Do a part of what is shown; its failure is told, and must not end the loop."""
        try:
            work()
        except (ClusterUnavailable, RunLost, RunNotFound):
            pass  # said once, as the connection's: see `News.look`
        except Exception as error:  # noqa: BLE001 - whatever it is
            text = name_actors(f"Showing {what!r}: {error!r}")
            self._messages.say("problem", text, key=f"show:{what}", detail=_traceback(error))
        else:
            self._messages.settle(f"show:{what}", "itself")

    def _put_board(self, state: SessionState, now: float) -> None:
        """Put what all views show; scrolled away, a page needs no more than the beat."""
        self.display.put(self.board, beat=round(self._beat_at - self._began, 2), life=state.life)
        if not self.display.seen:
            return
        unheard = getattr(self._watched(), "unheard", "")
        # What is acknowledged first: of a click that comes meanwhile the playhead is not shown yet.
        traits = self.switchboard.traits(unheard)
        self.display.put(
            self.board,
            backend=self._place(state, now),
            unheard=bool(unheard),
            due_at=self._due_at(state),
            next_checkpoint=next_of(state, min(self.slot, len(state.actors) - 1)),
            **({} if self.choices.passes else self._looks()),
            **traits,
        )
        a = state.actors[min(self.slot, len(state.actors) - 1)]
        shown = self.board.actor
        held = self._is_held(state, a.slot)
        looks = a.slot, a.running, held
        calm = looks == (shown.get("slot"), shown.get("running"), shown.get("stopped"))
        # A user waits to see what a click does; a step that counts by itself is read at 4 Hz.
        period_s = max(_BEAT_S if self.choices.passes else _STATE_S, self.profile.refresh_s)
        if calm and a.running and now - self._state_at < period_s:
            return
        self._state_at = now
        self.display.put(
            self.board,
            actor={
                "slot": a.slot,
                "kernel_id": a.kernel_id,
                "step": a.step,
                "time": a.time,
                "rate": round(a.rate),
                "running": a.running,
                "budget": a.budget,
                "stopped": held,
                **self._guard(state, a.slot),
            },
        )

    def _place(self, state: SessionState, now: float) -> str:
        """Return what runs the actors; if another process does also where, read with the beat."""
        if self._beat_at != now:
            return self.board.backend or state.backend
        where = getattr(self._watched(), "place", "")
        return f"{state.backend} \N{MIDDLE DOT} {where}" if where else state.backend

    def _due_at(self, state: SessionState) -> float | None:
        """Return when the selected actor is due, by the clock of the beat."""
        if state.due_between is None or state.ended or not state.config.enabled:
            return None
        earliest, latest = (at - self._began for at in state.due_between)
        return _moment(self.board.due_at, earliest, latest)

    def why_unheard(self, state: SessionState, slot: int) -> str:
        """Return why an actor's lane would not answer; "" if it would. Any thread."""
        session = self._watched()
        if not has_kernel(session) or state.ended:
            return ""
        return _why_unheard(session, slot)

    def _is_held(self, state: SessionState, slot: int) -> bool:
        """Return whether the crank has stopped an actor's lane at a snapshot, all its actors with it."""
        session = self._watched()
        if not has_kernel(session) or state.ended:
            return False
        lane = session.kernel.lane_of(slot)
        # The gate alone stops nothing: the lane waits at it with a staging buffer that is filled.
        taken = state.statistics.kernel.staging_taken[lane]
        return bool(taken) and session.kernel.gate(lane) == Gate.ANSWERS

    def _guard(self, state: SessionState, slot: int) -> dict[str, Any]:
        """Return what the guard looks for, and which is the newest checkpoint if it is not good."""
        newest = next((e for e in reversed(state.histories[slot]) if not e.damaged), None)
        bad = "" if newest is None or newest.good else newest.name
        guard = state.config.state_guard
        return {"guard": guard.mode, "more": bool(guard.invariants), "bad": bad}

    def _looks(self) -> dict[str, Any]:
        """Return what says on the board what is looked at."""
        return {"chosen": self.choices.chosen, "playhead": self._playhead()}

    def _playhead(self) -> dict[str, Any]:
        """Return what is looked at; no name if nothing is stored, or it was retired."""
        e = self.choices.resolve("main")
        follows = self.choices.follows("main")
        if e is None:
            return {"run": "", "lane": 0, "step": -1, "name": "", "at": -1, "follows": follows}
        # A step between checkpoints is shown by the one before it.
        lane, step = self.choices.looked or (0, e.step)
        head = {"run": e.run, "lane": lane, "step": step, "name": e.name, "at": e.step}
        return {**head, "follows": follows}

    def _put_history(self, state: SessionState, now: float) -> None:
        """Put the rows of histories that are open, once a second at most."""
        if now - self._rows_at < _BEAT_S:
            return
        self._rows_at = now
        for view in [v for v in list(self.views.values()) if v.seen]:
            part = self._parts.get(view.key, "")
            rows = rows_of(part, self._messages.newest(), state) if part else []
            view.show_history(part, rows)

    def _pause_when_idle(self, now: float) -> None:
        if not (self.state.any_running and self.state.has_kernel):
            self._pause_asked = False
            return
        limit_s = self.profile.idle_pause_s
        if limit_s is None or self._pause_asked or now - self._used_at < limit_s:
            return
        self._pause_asked = True
        what = f"Paused: the panels were not used for {limit_s:g} s"
        self.steer(what, lambda s: s.pause())

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
        self.switchboard.close()


def _moment(shown: float | None, earliest: float, latest: float) -> float:
    """Return a moment between two: that which is shown as long as it can be it, as each is a message."""
    if shown is not None and earliest - _SAME_S <= shown <= latest + _SAME_S:
        return shown
    return round(latest, 2)


def _traceback(error: Exception) -> str:
    return "".join(traceback.format_exception(error))


def _check_lane_open(session: SessionLike, slot: int) -> None:
    """Raise LaneStopped if a crank has stopped the actor's lane.

    It would not answer, and the storage worker that waits for it could not turn the crank.
    """
    if why := _why_unheard(session, slot):
        raise LaneStopped(why)


def _why_unheard(session: SessionLike, slot: int) -> str:
    kernel = session.kernel
    if kernel.gate(kernel.lane_of(slot)) == Gate.OPEN:
        return ""
    return (
        f"the crank has stopped the lane of actor {slot}, which would not answer. Press "
        f"{LET_THROUGH!r} in the panel 'lifecycle' (in code: crank.close()), then try again"
    )
