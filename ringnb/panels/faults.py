"""The faults panel: break the running session on purpose, and see what the design does about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

from ipywidgets import BoundedFloatText, Widget

from ringnb._support.text import counted, facts_table
from ringnb.panels.core.panel import Panel, resting, row
from ringnb.panels.core.state import SessionState
from ringnb.session.session import Session

__all__ = ["FaultPanel"]

_LESSONS = {
    "Lose an answer": "the request expires after its timeout; the actor is asked again",
    "Slow disk": "commits take longer; steps, commands and captures do not",
    "Full disk": "the commit fails whole; older checkpoints stay; it is retried",
    "Corrupt a chunk": "reading it is an error that names it; restoring the latest passes it over",
    "Kill the kernel": "what was not committed is lost; Restart goes on from the newest checkpoint",
}


@final
class FaultPanel(Panel):
    """Steers `ringnb.session.fault_injection.Faults`; see `Panel`."""

    key = "faults"
    title = "Faults, on purpose"

    def build(self) -> Sequence[Widget]:
        """Make the widgets."""
        self.delay = self.control(
            BoundedFloatText(
                value=0.5,
                min=0.01,
                max=60.0,
                step=0.1,
                description="Seconds per write",
                style={"description_width": "initial"},
            )
        )
        bar = self.actions(
            "Faults",
            ("lose", "Lose an answer", "Throw away the next answer of the kernel"),
            ("slow", "Slow disk", "Every write of a file takes longer"),
            ("full", "Full disk", "Every write fails half-way with ENOSPC"),
            ("corrupt", "Corrupt a chunk", "Flip a bit of the checkpoint chosen in the timeline"),
            ("kill", "Kill the kernel", "End the kernel's threads now"),
            ("clear", "All clear", "Set the switches back"),
        )
        self._facts = self.display()
        return [bar, row(self.delay), self._facts]

    def on_action(self, action: str) -> None:
        """Enqueue what a button stands for."""
        delay, chosen = float(self.delay.value), self._desk.resolve("main")

        def corrupt(s: Session) -> str:
            """Flip a bit."""
            if chosen is None:
                return self._desk.nothing_chosen("main")
            where = s.faults.corrupt(chosen.name)
            self._desk.verdicts.pop(chosen.name, None)
            return f"One bit is another: {where}. Verify or restore to see it noticed"

        def lose(s: Session) -> str:
            """Lose one more."""
            s.faults.lose_answers(s.faults.answers_to_lose + 1)
            return f"To be lost: the next {counted(s.faults.answers_to_lose, 'answer')}"

        def slow(s: Session) -> str:
            """Slow the disk down, or no longer."""
            s.faults.slow_disk(0 if s.faults.disk_delay_s else delay)
            on = s.faults.disk_delay_s
            return f"Every write takes {on:g} s longer" if on else "The disk is as fast as it was"

        def full(s: Session) -> str:
            """Fill the disk, or no longer."""
            s.faults.fill_disk(not s.faults.disk_full)
            return "Writes fail: the disk is full" if s.faults.disk_full else "There is room again"

        def kill(s: Session) -> str:
            """Kill the kernel."""
            s.faults.kill_kernel()
            return "The kernel is dead"

        def clear(s: Session) -> str:
            """Set everything back."""
            s.faults.clear()
            return "No fault is set"

        work: dict[str, Callable[[Session], str]] = {
            "lose": lose,
            "slow": slow,
            "full": full,
            "corrupt": corrupt,
            "kill": kill,
            "clear": clear,
        }
        self._desk.do(self, action.capitalize(), work[action])

    def show(self, state: SessionState) -> None:
        """Put which faults are set, and what each teaches."""
        self.put(self._facts, value=facts_table("What the design does about it", _LESSONS))
        faults = self._desk.session.faults
        dead = state.life != "running"
        lost = faults.answers_to_lose
        self.flags(
            lose=resting(
                dead,
                state.life,
                pressed=lost > 0,
                label=f"Lose an answer ({lost} to go)" if lost else "Lose an answer",
            ),
            slow=resting(dead, state.life, pressed=faults.disk_delay_s > 0),
            full=resting(dead, state.life, pressed=faults.disk_full),
            corrupt=resting(self._desk.resolve("main") is None, self._desk.nothing_chosen("main")),
            kill=resting(dead, state.life),
        )
