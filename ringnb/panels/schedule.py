"""The checkpoint panel: when snapshots are taken, and one by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from ipywidgets import BoundedFloatText, BoundedIntText, Dropdown, Text, ToggleButton, Widget

from ringnb._support.text import counted, facts_table, format_bytes
from ringnb.panels.core.panel import ONLY_ONE, Panel, resting, row
from ringnb.panels.core.state import SessionState
from ringnb.panels.lifecycle_scene import stage_times
from ringnb.session.session import Session

__all__ = ["CheckpointPanel"]

_WIDE = {"description_width": "initial"}
_SECONDS, _STEPS, _TIME = "seconds of the clock", "steps of the actor", "simulated time"


@final
class CheckpointPanel(Panel):
    """Steers the checkpoint manager; see `Panel`."""

    key = "checkpoint"
    title = "Checkpoints"

    def build(self) -> Sequence[Widget]:
        """Make the widgets."""
        state = self._desk.state
        every = state.actors[0].every
        self.automatic = self.control(
            ToggleButton(
                value=state.config.enabled or every is not None,
                description="Automatic",
                tooltip="Checkpoint without being asked",
            ),
            self._schedule,
        )
        self.mode = self.control(
            Dropdown(
                options=[_SECONDS, _STEPS, _TIME],
                value=_SECONDS if every is None else _STEPS,
                description="By",
                style=_WIDE,
            ),
            self._schedule,
        )
        self.interval = self._number("Interval (s)", "interval", state.config.interval_s)
        self.steps = self.control(
            BoundedIntText(
                value=1000 if every is None else every,
                min=1,
                max=10**12,
                description="Every (steps)",
                style=_WIDE,
            ),
            self._schedule,
        )
        self.time = self.control(
            BoundedFloatText(
                value=float(f"{1000 * (state.actors[0].dt_s or 1.0):.3g}"),
                min=1e-12,
                max=1e12,
                description="Every (simulated s)",
                style=_WIDE,
                layout={"width": "26em"},
            ),
            self._schedule,
        )
        self._by_mode = {_SECONDS: self.interval, _STEPS: self.steps, _TIME: self.time}
        self.timeout = self._number(
            "Request timeout (s)", "request_timeout", state.config.request_timeout_s
        )
        self.label = self.control(
            Text(
                placeholder="pins the checkpoint",
                description="Label",
                continuous_update=True,
                style=_WIDE,
            )
        )
        bar = self.actions(
            "Snapshots",
            (
                "snapshot",
                "Snapshot now",
                "Checkpoint the actor's state, pinned if there is a label",
            ),
            ("every", "Snapshot every actor", "Checkpoint all actors"),
            ("cancel", "Cancel pending", "Cancel every request that is not being saved"),
        )
        self._facts = self.display()
        return [
            row(self.automatic, self.mode, self.interval, self.steps, self.time, self.timeout),
            row(self.label),
            bar,
            self._facts,
        ]

    def _number(self, description: str, setting: str, value: float) -> Any:
        return self.control(
            BoundedFloatText(
                value=value,
                min=0.05,
                max=86400.0,
                step=0.5,
                description=description,
                style=_WIDE,
            ),
            lambda seconds: self._reconfigure(**{setting: float(seconds)}),
        )

    def _schedule(self, _: object) -> None:
        """Enqueue the schedule that the controls show together."""
        on, mode = self.automatic.value, self.mode.value
        steps, time_s = int(self.steps.value), float(self.time.value)

        def work(session: Session) -> str:
            """Change the running session."""
            slots = range(len(session.actors))
            every: list[int | None] = [None for _ in slots]
            if on and mode == _STEPS:
                every = [steps for _ in slots]
            elif on and mode == _TIME:
                every = [_steps_of(session, slot, time_s) for slot in slots]
            for slot, count in enumerate(every):
                session.snapshot_every(count, slot)
            session.manager.reconfigure(enabled=on and mode == _SECONDS)
            if not on:
                return "No checkpoints but those that are asked for"
            each = {
                _SECONDS: f"{session.manager.config.interval_s:g} s",
                _STEPS: f"{steps:,} steps",
                _TIME: f"{time_s:g} s of simulated time",
            }[mode]
            return f"A checkpoint every {each} from now on"

        self._desk.do(self, "Schedule", work)

    def _reconfigure(self, **change: Any) -> None:
        def work(session: Session) -> str:
            """Change the running manager."""
            session.manager.reconfigure(**change)
            return ", ".join(f"{k} is {v} now" for k, v in change.items())

        self._desk.do(self, "Setting", work)

    def on_action(self, action: str) -> None:
        """Enqueue what a button stands for."""
        label = self.label.value.strip() or None
        if action == "cancel":
            self._desk.do(self, "Cancel", _cancel)
            return
        slots = [self._desk.slot]
        if action == "every":
            slots = [a.slot for a in self._desk.state.actors]

        def work(session: Session) -> str:
            """Take them one after the other."""
            made = [session.snapshot(slot, timeout=30.0, label=label) for slot in slots]
            # The front end alone writes the field, so it cannot be emptied from here.
            pinned = f", pinned as {label!r}. The label stays set for the next" if label else ""
            return f"Committed {', '.join(c.name for c in made)}{pinned}"

        self._desk.do(self, "Snapshot", work, lane="storage", slots=slots)

    def show(self, state: SessionState) -> None:
        """Put when the next is due, and how the last went."""
        # Of three intervals one holds. (The look of a control is a display: the pump writes it.)
        for mode, field in self._by_mode.items():
            self.put(field.layout, display=None if mode == self.mode.value else "none")
        s, config = state.statistics, state.config
        every = [(a, a.every) for a in state.actors if a.every is not None]
        due, schedule = "never, by itself", "off"
        dead = state.life != "running"
        if dead:
            due, schedule = "nothing runs that could be saved", "at rest"
        elif config.enabled:
            schedule, due = f"on, every {config.interval_s:g} s", "nothing to do"
            if state.due_s is not None:
                due = f"in {state.due_s:.1f} s" if state.due_s > 0 else "now"
        elif every:
            schedule = f"on, every {every[0][1]:,} steps"
            due = "; ".join(
                f"slot {a.slot} at step {(a.step // n + 1) * n:,}" for a, n in every[:4]
            )
        last = [e for e in state.events if e.stage == "committed"][-1:]
        took = "none yet"
        if last:
            times = stage_times([e for e in state.events if e.request_id == last[0].request_id])
            total_ns = sum(ns for _, ns in times)
            took = f"{last[0].name}, {total_ns / 1e6:.1f} ms from request to commit"
        sizes = [e.nbytes for h in state.histories for e in h]
        self.put(
            self._facts,
            value=facts_table(
                f"Automatic snapshots are {schedule}",
                {
                    "next due": due,
                    "last": took,
                    "pending": f"{s.pending} ({s.waiting_to_send} wait for a buffer, "
                    f"{s.with_kernel} in the kernel, {s.being_written} being written)",
                    "done": f"{s.completed} committed, {s.failed} failed",
                    "stored": f"{counted(len(sizes), 'checkpoint')}, {format_bytes(sum(sizes))}",
                },
            ),
        )
        one = len(state.actors) == 1
        several = resting(one or dead, ONLY_ONE if one else state.life)
        self.flags(
            snapshot=resting(dead, state.life),
            every=several,
            cancel=resting(s.pending == 0, "Nothing is pending"),
        )


def _steps_of(session: Session, slot: int, time_s: float) -> int:
    """Return how many steps of an actor come nearest to a simulated time, at least one."""
    dt = session.params(slot).get("dt")
    if not dt:
        msg = (
            f"actor {session.actors[slot].kernel_type!r} (slot {slot}) has no time step: choose "
            f"{_STEPS!r}"
        )
        raise ValueError(msg)
    return max(1, round(time_s / dt))


def _cancel(session: Session) -> str:
    session.manager.cancel_all_pending()
    return "What was pending is cancelled"
