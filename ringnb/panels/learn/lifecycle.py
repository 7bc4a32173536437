"""The lifecycle panel: every request on its way, measured, and moved by hand where no service does."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Sequence
from typing import final

from ipywidgets import Widget

from ringnb.messages.events import ENDS
from ringnb.panels.core.controller import Controller
from ringnb.panels.core.messages import Note
from ringnb.panels.core.panel import Panel
from ringnb.panels.core.state import SessionState
from ringnb.panels.core.watched import SessionLike
from ringnb.panels.core.widgets import button_state
from ringnb.panels.learn.lifecycle_scene import MOST_REQUESTS, scene_of, times_of
from ringnb.panels.learn.widgets import CrankHandle, LifeMap
from ringnb.session.crank import POSITIONS, TURNS, Crank

__all__ = ["LifecyclePanel"]

_PERIOD_S = 0.15  # between two pictures at least: a page needs no more to see chips move


@final
class LifecyclePanel(Panel):
    """Shows requests travel; see `Panel`."""

    key = "lifecycle"
    title = "The life of a snapshot"
    needs_kernel = True

    def __init__(self, controller: Controller) -> None:
        self._by_hand = not controller.session.service_runs
        self._crank_lock = threading.Lock()
        self._crank: Crank | None = None
        self._cranked: weakref.ref[SessionLike] | None = None  # the session whose crank it is
        # By request, how far it had come before it ended; None where service threads move requests.
        self._last_positions: dict[int, str] | None = {} if self._by_hand else None
        super().__init__(controller)

    def _current_crank(self) -> Crank | None:
        """Return the crank of the session that there is now; a restart makes another."""
        session = self.session
        # A click and the display loop may both be the first to ask: one session has one crank.
        with self._crank_lock:
            if self._by_hand and (self._cranked is None or self._cranked() is not session):
                # Weakly: the crank must not keep the session that the controller holds weakly.
                self._crank, self._cranked = Crank(weakref.proxy(session)), weakref.ref(session)
                self._last_positions = {}
            return self._crank

    def build(self) -> Sequence[Widget]:
        """Make the map with the measured times."""
        self._shown_s = 0.0
        board, hand = self._controller.board, self._controller.hand
        self.view = LifeMap(board=board, hand=hand, scene=scene_of(self._controller.state))
        return [self.view]

    def side(self) -> Sequence[Widget]:
        """Make the crank."""
        turns = [(f"{self.key}.s{i}", name, hint) for i, (_, name, hint) in enumerate(TURNS)]
        board, hand = self._controller.board, self._controller.hand
        self.crank = CrankHandle(board=board, hand=hand, by_hand=self._by_hand, turns=turns)
        return [self.crank]

    def on_action(self, action: str) -> None:
        """Enqueue what a button does."""
        crank, slot = self._current_crank(), self._controller.slot
        if crank is None:
            return
        stage = int(action[1:]) if action[1:].isdigit() else None

        def work(session: SessionLike) -> str:
            """Turn the crank."""
            if action == "cancel":
                self._note_position(session, crank)
                return "Cancelled" if crank.cancel() else Note("There is nothing to cancel")
            if action == "lose":
                return crank.lose()
            if stage is not None and POSITIONS[stage] != crank.position:
                return Note(f"{TURNS[stage][1]} was done already")  # by the press before
            said = crank.turn(slot)
            while action == "through" and crank.position != "idle":
                said = crank.turn(slot)
            return said[:1].upper() + said[1:]

        self.steer("Crank", work, worker="storage")

    def _note_position(self, session: SessionLike, crank: Crank) -> None:
        """Note how far the selected request has come, unless it has ended: its chip stays there."""
        request, position, last = crank.request, crank.position, self._last_positions
        if last is None or request is None:
            return
        id_ = request.request_id
        if not any(e.request_id == id_ and e.stage in ENDS for e in session.events):
            last[id_] = position
            while len(last) > 2 * MOST_REQUESTS:
                del last[next(iter(last))]

    def show(self, state: SessionState) -> None:
        """Put the picture, the times, and what can be turned."""
        selected = None
        crank = self._current_crank()
        if crank is not None:
            request, position = crank.request, crank.position
            if request is not None and position != "idle":
                selected = request.request_id, position
            self._note_position(self.session, crank)
            at, ended = POSITIONS.index(position), state.ended
            why = state.life if ended else f"The next stage is '{at + 1} {TURNS[at][1]}'"
            flags = {
                f"s{i}": button_state(ended or i != at, why, pressed=i == at)
                for i in range(len(TURNS))
            }
            flags["through"] = button_state(ended, state.life)
            unselected = state.life if ended else "No request is selected"
            flags["cancel"] = button_state(ended or selected is None, unselected)
            answered = position in ("in staging", "on the K2H ring", "received")
            no_answer = state.life if ended else "There is no answer to lose"
            flags["lose"] = button_state(ended or not answered, no_answer)
            self.flags(**flags)
        now = time.monotonic()
        if not self._by_hand and now - self._shown_s < _PERIOD_S:
            return
        self._shown_s = now
        self.put(
            self.view,
            scene=scene_of(state, selected, self._last_positions, self._controller.slot),
            times=times_of(state.events),
        )

    def dispose(self) -> None:
        """Let a commit that is paused go on, then close the widgets."""
        if self._crank is not None:
            self._crank.release()
        super().dispose()
