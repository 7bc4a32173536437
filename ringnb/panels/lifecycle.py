"""The lifecycle panel: every request on its way, measured, and moved by hand where nobody else does."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import final

from ipywidgets import Widget

from ringnb._support.text import rows_table
from ringnb.messages.events import ENDS
from ringnb.panels.core.controller import LET_THROUGH, Desk
from ringnb.panels.core.panel import Panel, resting
from ringnb.panels.core.state import SessionState
from ringnb.panels.core.widgets import LifecycleView
from ringnb.panels.lifecycle_scene import MOST_REQUESTS, scene_of, times_table_rows
from ringnb.session.crank import POSITIONS, TURNS, Crank
from ringnb.session.session import Session

__all__ = ["LifecyclePanel"]


@final
class LifecyclePanel(Panel):
    """Shows requests travel; see `Panel`."""

    key = "lifecycle"
    title = "The life of a snapshot"

    def __init__(self, desk: Desk) -> None:
        self._by_hand = not desk.session.service_runs
        self._crank: Crank | None = None
        self._turns: weakref.ref[Session] | None = None
        self._stood: dict[int, str] | None = {} if self._by_hand else None
        super().__init__(desk)

    def _crank_now(self) -> Crank | None:
        """Return the crank of the session that there is now; a restart makes another."""
        session = self._desk.session
        if self._by_hand and (self._turns is None or self._turns() is not session):
            # Weakly: the crank must not keep the session that the desk holds weakly.
            self._crank, self._turns = Crank(weakref.proxy(session)), weakref.ref(session)
            self._stood = {}
        return self._crank

    def build(self) -> Sequence[Widget]:
        """Make the widgets."""
        self._view = LifecycleView()
        self._table = self.display()
        if not self._by_hand:
            return [self._view, self._table]
        stages = self.actions(
            "The crank",
            *((f"s{i}", f"{i + 1} {name}", hint) for i, (_, name, hint) in enumerate(TURNS)),
        )
        others = self.actions(
            "What can go wrong",
            ("through", LET_THROUGH, "Turn until the request in hand is done"),
            ("cancel", "Cancel it", "Cancel the request in hand; its answer will be ignored"),
            ("lose", "Lose the answer", "Throw the answer away: the manager waits for its timeout"),
        )
        return [self._view, stages, others, self._table]

    def on_action(self, action: str) -> None:
        """Enqueue what a button stands for."""
        crank, slot = self._crank_now(), self._desk.slot
        if crank is None:
            return

        def work(session: Session) -> str:
            """Turn the crank."""
            if action == "cancel":
                self._note(session, crank)
                return "Cancelled" if crank.cancel() else "There is nothing that could be cancelled"
            if action == "lose":
                return crank.lose()
            said = crank.turn(slot)
            while action == "through" and crank.position != "idle":
                said = crank.turn(slot)
            return said

        self._desk.do(self, "Crank", work, lane="storage")

    def _note(self, session: Session, crank: Crank) -> None:
        """Note how far the request in hand has come, unless it has ended: its chip stays there."""
        request, position = crank.request, crank.position
        if self._stood is None or request is None:
            return
        mine = request.request_id
        if not any(e.request_id == mine and e.stage in ENDS for e in session.events):
            self._stood[mine] = position
            while len(self._stood) > 2 * MOST_REQUESTS:
                del self._stood[next(iter(self._stood))]

    def show(self, state: SessionState) -> None:
        """Put the picture and the table."""
        hand = None
        crank = self._crank_now()
        if crank is not None:
            request, position = crank.request, crank.position
            if request is not None and position != "idle":
                hand = request.request_id, position
            self._note(self._desk.session, crank)
            at = POSITIONS.index(position)
            dead = state.life != "running"
            turn = state.life if dead else f"The next stage is '{at + 1} {TURNS[at][1]}'"
            flags = {
                f"s{i}": resting(dead or i != at, turn, pressed=i == at) for i in range(len(TURNS))
            }
            flags["through"] = resting(dead, state.life)
            flags["cancel"] = resting(hand is None, "No request is in hand")
            flags["lose"] = resting(not 3 <= at <= 5, "There is no answer that could be lost")
            self.flags(**flags)
        self.put(self._view, scene=scene_of(state, hand, self._stood))
        header, rows, classes = times_table_rows(state.events)
        caption = "Measured times of the newest requests (in the picture each hop is slowed down)"
        self.put(self._table, value=rows_table(caption, header, rows, classes=classes))

    def dispose(self) -> None:
        """Open every gate, then close the widgets."""
        if self._crank is not None:
            self._crank.release()
        super().dispose()
