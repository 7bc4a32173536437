"""The actor panel: run, pause, step, stop, and restart from the newest checkpoints."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import final

from ipywidgets import HTML, Widget

from ringnb._support.text import counted, rows_table
from ringnb.errors import RingnbError
from ringnb.panels.core.panel import Panel
from ringnb.panels.core.state import ActorState, SessionState
from ringnb.panels.core.widgets import number_field, row
from ringnb.panels.deck.widgets import Transport

__all__ = ["ActorPanel"]

_MOST_ROWS = 32


@final
class ActorPanel(Panel):
    """Steers the actors; see `Panel`."""

    key = "actor"
    title = "Actors"
    needs_kernel = True

    def build(self) -> Sequence[Widget]:
        """Make the widgets."""
        self._slot = self._controller.slot  # whose limit is shown
        self.pace = self.control(
            number_field(
                "Steps/s at most (0: no limit)",
                self.session.pace(self._slot) or 0.0,
                least=0.0,
                most=1e9,
                tooltip="Limits the selected actor; 0 means no limit",
                layout={"width": "30em"},  # or its label takes a line of its own
            ),
            self._set_pace,
        )
        self.table = HTML()
        bar = self.actions(
            "All actors",
            ("live.run_all", "Run all", "Let every actor step freely"),
            ("live.pause_all", "Pause all", "Stop every actor"),
            ("live.snapshot_all", "Snapshot all", "Checkpoint the live state of every actor"),
            ("live.stop", "Stop kernel", "Checkpoint every actor, then end the kernel"),
            ("live.restart", "Restart", "A new kernel, every actor from its newest checkpoint"),
        )
        transport = Transport(board=self._controller.board, hand=self._controller.hand)
        return [transport, row(self.pace), bar, self.table]

    def _show_pace(self, slot: int) -> None:
        """Show the limit of the actor that was selected. A remote session's answer may take long."""
        with contextlib.suppress(RingnbError):  # it ends, or does not answer now
            limit = self.session.pace(slot) or 0.0
            if self._slot != slot:  # else one was set meanwhile
                self.set_control(self.pace, limit)
                self._slot = slot

    def _set_pace(self, limit: float) -> None:
        self._slot = self._controller.slot  # what is set here is not overwritten
        self._controller.do("live.pace", pace=limit)

    def show(self, state: SessionState) -> None:
        """Put the table, and which buttons can be used."""
        if (slot := self._controller.slot) != self._slot:
            self._show_pace(slot)
        selected = state.actors[min(slot, len(state.actors) - 1)]
        shown = state.actors[:_MOST_ROWS]
        if selected not in shown:
            shown = (*shown[:-1], selected)
        kernel = state.statistics.kernel
        caption = (
            f"Kernel on {state.backend}, {counted(kernel.lanes, 'lane')} of "
            f"{counted(kernel.width, 'thread')}"
        )
        if len(shown) < len(state.actors):
            caption += f"; {len(shown)} of {len(state.actors):,} actors"
        rows = [
            (
                a.slot,
                a.kernel_id,
                _state_word(a, state),
                a.step,
                a.time,
                round(a.rate),
                f"{a.stall_ns / 1e3:,.0f} µs",
                a.snapshots,
            )
            for a in shown
        ]
        header = ("actor", "name", "state", "step", "time", "steps/s", "last stall", "snapshots")
        self.put(self.table, value=rows_table(caption, header, rows))


def _state_word(actor: ActorState, state: SessionState) -> str:
    """Return an actor's state as a shape and a word, never as a colour alone."""
    if state.ended:
        return "■ ended"
    if not actor.running:
        return "‖\u00a0paused"
    return f"▶\u00a0{actor.budget:,} steps to go" if actor.budget else "▶\u00a0running"
