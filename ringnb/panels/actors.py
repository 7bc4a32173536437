"""The actor panel: run, pause, step, stop, and start again where the last checkpoint stands."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, final

from ipywidgets import BoundedFloatText, BoundedIntText, Widget

from ringnb._support.text import counted, rows_table
from ringnb.errors import RingnbError
from ringnb.panels.core.controller import SessionGone
from ringnb.panels.core.panel import ONLY_ONE, Panel, resting, row
from ringnb.panels.core.state import ActorState, SessionState
from ringnb.session.session import Session

__all__ = ["ActorPanel"]

_MOST_ROWS = 32


@final
class ActorPanel(Panel):
    """Steers the actors; see `Panel`."""

    key = "actor"
    title = "Actors"

    def build(self) -> Sequence[Widget]:
        """Make the widgets."""
        self._steps = self.control(BoundedIntText(value=100, min=1, max=10**9, description="Steps"))
        self._pace = self.control(
            BoundedFloatText(
                value=self._desk.session.pace(self._desk.slot) or 0.0,
                min=0.0,
                max=1e9,
                description="Steps/s at most (0: no limit)",
                tooltip="Limits the actor in hand; 0 means no limit",
                style={"description_width": "initial"},
                layout={"width": "30em"},  # or its label takes a line of its own
            ),
            self._set_pace,
        )
        self._desk.picker.observe(self._show_pace, "value")
        self._table = self.display()
        bar = self.actions(
            "Actor",
            ("run", "Run", "Let the actor step freely"),
            ("pause", "Pause", "Stop the actor at its next step boundary"),
            ("step", "Step", "Take as many steps as the field says"),
            ("all", "Run all", "Let every actor step freely"),
            ("none", "Pause all", "Stop every actor"),
            ("stop", "Stop kernel", "Checkpoint every actor, then end the kernel"),
            ("restart", "Restart", "A new kernel, every actor from its newest checkpoint"),
        )
        return [bar, row(self._steps, self._pace), self._table]

    def _show_pace(self, change: Any) -> None:
        """Show the limit of the actor that was chosen, on the thread that serves the controls."""
        with contextlib.suppress(SessionGone):
            self._pace.value = self.session.pace(int(change["new"])) or 0.0

    def _set_pace(self, limit: float) -> None:
        slot = self._desk.slot
        with contextlib.suppress(SessionGone):
            if limit == (self.session.pace(slot) or 0.0):
                return  # it shows what holds already

        def work(session: Session) -> str:
            """Set it."""
            session.set_pace(limit or None, slot)
            return (
                f"Actor {slot} takes {f'at most {limit:g}' if limit else 'any number of'} steps/s"
            )

        self._desk.do(self, "Pace", work, slots=(slot,))

    def on_action(self, action: str) -> None:
        """Enqueue what a button stands for."""
        slot, steps = self._desk.slot, int(self._steps.value)
        one, every = (slot,), range(len(self._desk.state.actors))
        if action == "run":
            self._do("Run", lambda s: s.resume(slot), f"Actor {slot} runs", one)
        elif action == "pause":
            self._do("Pause", lambda s: s.pause(slot), f"Actor {slot} stands", one)
        elif action == "all":
            self._do("Run all", lambda s: s.resume(), "Every actor runs", every)
        elif action == "none":
            self._do("Pause all", lambda s: s.pause(), "Every actor stands", every)
        elif action == "step":
            self._do(
                "Step",
                lambda s: s.run_steps(slot, steps, wait=False),
                f"{counted(steps, 'step')} to take",
                one,
            )
        elif action == "stop":
            self._do("Pause all", lambda s: s.pause(), "Every actor stands", every)
            self._desk.do(self, "Stop kernel", _stop, lane="storage", slots=every)
        elif action == "restart":
            self._desk.do(self, "Restart", self._restart, lane="storage")

    def _do(self, what: str, call: object, said: str, slots: Sequence[int]) -> None:
        def work(session: Session) -> str:
            """Call, then say so."""
            call(session)  # type: ignore[operator]
            return said

        self._desk.do(self, what, work, slots=slots)

    def _restart(self, session: Session) -> str:
        new = session.remake()
        try:
            said = [
                f"actor {slot} from step {new.restore(slot, 'latest'):,}"
                for slot in range(len(new.actors))
                if new.manager.list_checkpoints(slot)
            ]
        finally:  # it runs, whatever could not be restored
            self._desk.replace(new)
        return (
            f"A new session runs: {', '.join(said) or 'nothing was stored, so from step 0'}. In your "
            "cells: session = session.successor"
        )

    def show(self, state: SessionState) -> None:
        """Put the table, and which buttons can be used."""
        mine = state.actors[min(self._desk.slot, len(state.actors) - 1)]
        shown = state.actors[:_MOST_ROWS]
        if mine not in shown:
            shown = (*shown[:-1], mine)
        self.put(
            self._table,
            value=rows_table(
                f"Kernel on {state.backend}, {counted(state.statistics.kernel.lanes, 'lane')} of "
                f"{counted(state.statistics.kernel.width, 'thread')}"
                + (
                    f"; {len(shown)} of {len(state.actors):,} actors"
                    if shown != state.actors
                    else ""
                ),
                ("slot", "actor", "state", "step", "steps/s", "last stall", "snapshots"),
                [
                    (
                        a.slot,
                        a.kernel_id,
                        state_word(a, state),
                        a.step,
                        round(a.rate),
                        f"{a.stall_ns / 1e3:,.0f} µs",
                        a.snapshots,
                    )
                    for a in shown
                ],
            ),
        )
        dead = state.life != "running"
        one = len(state.actors) == 1
        several = resting(one or dead, ONLY_ONE if one else state.life)
        self.flags(
            run=resting(dead, state.life, pressed=mine.running),
            pause=resting(dead, state.life, pressed=not mine.running and not dead),
            step=resting(dead, state.life),
            all=several,
            none=several,
            stop=resting(dead, state.life),
            restart=resting(not dead, "The kernel runs"),
        )


def state_word(actor: ActorState, state: SessionState) -> str:
    """Return an actor's state as a shape and a word.

    Parameters
    ----------
    actor : ActorState
        The actor.
    state : SessionState
        Its session.

    Returns
    -------
    str
        Never a colour alone.
    """
    if state.life != "running":
        return "■ ended"
    if not actor.running:
        return "‖\u00a0standing"
    return f"▶\u00a0{actor.budget:,} steps to go" if actor.budget else "▶\u00a0running"


def _stop(session: Session) -> str:
    kept = []
    for slot in range(len(session.actors)):
        with contextlib.suppress(RingnbError, OSError):
            kept.append(session.snapshot(slot, timeout=5.0).name)
    session.close()
    return f"Stopped; checkpointed before that: {', '.join(kept) or 'nothing could be'}"
