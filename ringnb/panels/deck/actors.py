"""The actor panel: run, pause, step, stop, and restart from the newest checkpoints."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, final

from ipywidgets import HTML, Widget

from ringnb._support.text import counted, rows_table
from ringnb.errors import RingnbError
from ringnb.panels.core.controller import SessionGone
from ringnb.panels.core.panel import Panel
from ringnb.panels.core.state import ActorState, SessionState
from ringnb.panels.core.widgets import ONLY_ONE, button_state, integer_field, number_field, row
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
        self.steps = self.control(integer_field("Steps", 100))
        self.pace = self.control(
            number_field(
                "Steps/s at most (0: no limit)",
                self.session.pace(self._controller.slot) or 0.0,
                least=0.0,
                most=1e9,
                tooltip="Limits the selected actor; 0 means no limit",
                layout={"width": "30em"},  # or its label takes a line of its own
            ),
            self._set_pace,
        )
        self._controller.picker.observe(self._show_pace, "value")
        self.table = HTML()
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
        return [bar, row(self.steps, self.pace), self.table]

    def _show_pace(self, change: Any) -> None:
        """Show the limit of the actor that was selected, on the thread that serves the controls."""
        with contextlib.suppress(SessionGone):
            self.pace.value = self.session.pace(int(change["new"])) or 0.0

    def _set_pace(self, limit: float) -> None:
        slot = self._controller.slot
        with contextlib.suppress(SessionGone):
            if limit == (self.session.pace(slot) or 0.0):
                return  # the field was set to the present limit
        allowed = f"at most {limit:g}" if limit else "any number of"
        done = f"Actor {slot} takes {allowed} steps/s"
        self.submit("Pace", lambda s: s.set_pace(limit or None, slot), done=done, slots=(slot,))

    def on_action(self, action: str) -> None:
        """Enqueue what a button does."""
        slot, steps = self._controller.slot, int(self.steps.value)
        one, every = (slot,), range(len(self._controller.state.actors))
        calls: dict[str, tuple[str, Callable[[Session], object], str, Iterable[int]]] = {
            "run": ("Run", lambda s: s.resume(slot), f"Actor {slot} runs", one),
            "pause": ("Pause", lambda s: s.pause(slot), f"Actor {slot} is paused", one),
            "step": (
                "Step",
                lambda s: s.run_steps(slot, steps, wait=False),
                f"{counted(steps, 'step')} to take",
                one,
            ),
            "all": ("Run all", lambda s: s.resume(), "Every actor runs", every),
            "none": ("Pause all", lambda s: s.pause(), "Every actor is paused", every),
        }
        if action == "restart":
            self.submit("Restart", self._restart, worker="storage")
            return
        what, call, done, slots = calls["none" if action == "stop" else action]
        self.submit(what, call, done=done, slots=slots)
        if action == "stop":  # the pause above is quick; the storage worker may still be busy
            self.submit("Stop kernel", _stop, worker="storage", slots=every)

    def _restart(self, session: Session) -> str:
        new = session.remake()
        try:
            restored = [
                f"actor {slot} from step {new.restore(slot, 'latest'):,}"
                for slot in range(len(new.actors))
                if new.manager.list_checkpoints(slot)
            ]
        finally:  # it runs, even if something could not be restored
            self._controller.replace(new)
        return (
            f"A new session runs: {', '.join(restored) or 'nothing was stored, so from step 0'}. "
            "In your cells: session = session.successor"
        )

    def show(self, state: SessionState) -> None:
        """Put the table, and which buttons can be used."""
        selected = state.actors[min(self._controller.slot, len(state.actors) - 1)]
        shown = state.actors[:_MOST_ROWS]
        if selected not in shown:
            shown = (*shown[:-1], selected)
        kernel = state.statistics.kernel
        caption = (
            f"Kernel on {state.backend}, {counted(kernel.lanes, 'lane')} of "
            f"{counted(kernel.width, 'thread')}"
        )
        if shown != state.actors:
            caption += f"; {len(shown)} of {len(state.actors):,} actors"
        rows = [
            (
                a.slot,
                a.kernel_id,
                _state_word(a, state),
                a.step,
                round(a.rate),
                f"{a.stall_ns / 1e3:,.0f} µs",
                a.snapshots,
            )
            for a in shown
        ]
        header = ("slot", "actor", "state", "step", "steps/s", "last stall", "snapshots")
        self.put(self.table, value=rows_table(caption, header, rows))
        ended, why = state.ended, state.life
        only_one = len(state.actors) == 1
        several = button_state(only_one or ended, ONLY_ONE if only_one else why)
        self.flags(
            run=button_state(ended, why, pressed=selected.running),
            pause=button_state(ended, why, pressed=not selected.running and not ended),
            step=button_state(ended, why),
            all=several,
            none=several,
            stop=button_state(ended, why),
            restart=button_state(not ended, "The kernel runs"),
        )


def _state_word(actor: ActorState, state: SessionState) -> str:
    """Return an actor's state as a shape and a word, never as a colour alone."""
    if state.ended:
        return "■ ended"
    if not actor.running:
        return "‖\u00a0paused"
    return f"▶\u00a0{actor.budget:,} steps to go" if actor.budget else "▶\u00a0running"


def _stop(session: Session) -> str:
    kept = []
    for slot in range(len(session.actors)):
        with contextlib.suppress(RingnbError, OSError):
            kept.append(session.snapshot(slot, timeout=5.0).name)
    session.close()
    return f"The kernel is stopped. Checkpoints made before: {', '.join(kept) or 'none'}"
