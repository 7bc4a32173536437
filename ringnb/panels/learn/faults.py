"""The faults panel: break the running session on purpose, and see what the design does about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

from ipywidgets import Widget

from ringnb._support.text import counted
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.panels.core.messages import Note
from ringnb.panels.core.panel import Panel
from ringnb.panels.core.state import SessionState
from ringnb.panels.core.watched import SessionLike
from ringnb.panels.core.widgets import button_state, number_field, row
from ringnb.panels.learn.widgets import FaultSwitches

__all__ = ["FaultPanel"]

_LESSONS = {
    "Lose an answer": "the request expires after its timeout; the actor is asked again",
    "Slow disk": "commits take longer; steps, commands and captures do not",
    "Full disk": "the commit fails as a whole; older checkpoints stay; it is retried",
    "Flip a bit": "reading it is an error that names it; restoring the latest passes it over",
    "Kill the kernel": "what was not committed is lost; Restart goes on from the newest checkpoint",
}


@final
class FaultPanel(Panel):
    """Steers `ringnb.session.fault_injection.Faults`; see `Panel`."""

    key = "faults"
    title = "Break it, on purpose"
    needs_kernel = True

    def build(self) -> Sequence[Widget]:
        """Make the widgets."""
        board, hand = self._controller.board, self._controller.hand
        self.switches = FaultSwitches(board=board, hand=hand, lessons=list(_LESSONS.items()))
        self.delay = self.control(
            number_field("Seconds per write", 0.5, 0.01, 60.0, step=0.1), live=True
        )
        return [self.switches, row(self.delay)]

    def on_action(self, action: str) -> None:
        """Enqueue what a button does."""
        delay_s, chosen = float(self.delay.value), self._controller.choices.resolve("main")
        work: dict[str, Callable[[SessionLike], str]] = {
            "lose": _lose,
            "slow": lambda s: _slow(s, delay_s),
            "full": _full,
            "corrupt": lambda s: self._corrupt(s, chosen),
            "kill": _kill,
            "clear": _clear,
        }
        self.steer(action.capitalize(), work[action])

    def _corrupt(self, session: SessionLike, chosen: CheckpointInfo | None) -> Note:
        choices = self._controller.choices
        if chosen is None:
            return Note(choices.why_unresolved("main"))
        where = session.faults.corrupt(chosen.name)
        choices.forget_verdict(chosen.name)
        return Note(
            f"One bit was flipped: {where}. Check all or restore it to see that it is noticed"
        )

    def show(self, state: SessionState) -> None:
        """Put which faults are set."""
        faults, choices = self.session.faults, self._controller.choices
        ended, why = state.ended, state.life
        lost = faults.answers_to_lose
        label = f"Loses {lost}" if lost else "Lose an answer"
        self.flags(
            lose=button_state(ended, why, pressed=lost > 0, label=label),
            slow=button_state(ended, why, pressed=faults.disk_delay_s > 0),
            full=button_state(ended, why, pressed=faults.disk_full),
            corrupt=button_state(choices.resolve("main") is None, choices.why_unresolved("main")),
            kill=button_state(ended, why),
            # Of a dead kernel, too: what is stored can be pinned and deleted once the disk has room.
            clear=button_state(self.session.closed, why),
        )


def _lose(session: SessionLike) -> Note:
    session.faults.lose_answers(session.faults.answers_to_lose + 1)
    return Note(f"{counted(session.faults.answers_to_lose, 'answer')} will be lost")


def _slow(session: SessionLike, delay_s: float) -> str:
    session.faults.slow_disk(0 if session.faults.disk_delay_s else delay_s)
    on_s = session.faults.disk_delay_s
    if on_s:
        return Note(f"From now on every write takes {on_s:g} s longer")
    return "The disk is as fast as it was"


def _full(session: SessionLike) -> str:
    session.faults.fill_disk(not session.faults.disk_full)
    if session.faults.disk_full:
        return Note("From now on every write fails, as on a full disk")
    return "There is space on the disk again"


def _kill(session: SessionLike) -> Note:
    session.faults.kill_kernel()
    return Note("The kernel is dead")


def _clear(session: SessionLike) -> str:
    session.faults.clear()
    return "No fault is set"
