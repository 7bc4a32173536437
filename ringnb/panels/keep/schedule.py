"""The checkpoint panel: when snapshots are taken, and one by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from ipywidgets import Checkbox, Text, Widget

from ringnb._support.text import counted, format_bytes
from ringnb.checkpoint.drawable import time_unit
from ringnb.panels.core.panel import Panel
from ringnb.panels.core.requests import commit_ms
from ringnb.panels.core.state import ActorState, SessionState
from ringnb.panels.core.watched import Watched, has_kernel
from ringnb.panels.core.widgets import (
    WHOLE_LABEL,
    box,
    button_state,
    dropdown,
    integer_field,
    number_field,
    row,
)
from ringnb.panels.keep.forecast import young_s
from ringnb.panels.keep.widgets import When

__all__ = ["CheckpointPanel"]

_SECONDS, _STEPS, _TIME = "seconds", "steps", "simulated time"


@final
class CheckpointPanel(Panel):
    """Steers the checkpoint manager; see `Panel`."""

    key = "checkpoint"
    title = "Checkpoints"

    def build(self) -> Sequence[Widget]:
        """Make the widgets."""
        state = self._controller.state
        every, dt_s = state.actors[0].every, state.actors[0].dt_s
        self._unit = time_unit(dt_s)
        self.automatic = self.control(
            Checkbox(
                value=state.config.enabled or every is not None,
                description="Automatic",
                indent=False,
                tooltip="Checkpoint without being asked",
            ),
            self._submit_schedule,
            live=True,
        )
        self.mode = self.control(
            dropdown("By", [_SECONDS, _STEPS, _TIME], value=_SECONDS if every is None else _STEPS),
            self._submit_schedule,
            live=True,
        )
        self.interval = self._seconds_field("Interval (s)", "interval", state.config.interval_s)
        self.steps = self.control(
            integer_field("Every (steps)", 1000 if every is None else every, most=10**12),
            self._submit_schedule,
            live=True,
        )
        self.time = self.control(
            number_field(
                f"Every (simulated {self._unit or 'time'})",
                float(f"{1000 * (dt_s or 1.0):.3g}"),
                least=1e-12,
                most=1e12,
                layout={"width": "26em"},
            ),
            self._submit_schedule,
            live=True,
        )
        self._by_mode = {_SECONDS: self.interval, _STEPS: self.steps, _TIME: self.time}
        mode_ = state.config.state_guard.mode
        does = "pause" if state.has_kernel else "stop the loop"
        self.guard = self.control(
            Checkbox(
                value=mode_ == "pause",
                description=f"Guard: {does} when a value is not finite",
                indent=False,
                tooltip="It is looked for at every checkpoint",
            ),
            self._set_guard,
            live=True,
        )
        self.guard.add_class("rn-guard")
        board, hand = self._controller.board, self._controller.hand
        self.heading = When(board=board, hand=hand, heads=True)
        self.words = When(board=board, hand=hand)
        every = box("ringnb-row rn-when", [self.automatic, self.mode, *self._by_mode.values()])
        return [self.heading, every, self.guard, self.words]

    def arrange(self) -> list[Widget]:
        """Make what a snapshot by hand needs: in a cockpit, the deck has the button."""
        timeout_s = self._controller.state.config.request_timeout_s
        self.timeout = self._seconds_field("Request timeout (s)", "request_timeout", timeout_s)
        self.label = self.control(
            Text(placeholder="pins the checkpoint", description="Label", style=WHOLE_LABEL),
            live=True,
        )
        now = "Checkpoint the actor's state, pinned if there is a label"
        bar = self.actions(
            "Snapshots",
            ("snapshot", "Snapshot now", now),
            ("live.snapshot_all", "Snapshot every actor", "Checkpoint all actors"),
            ("cancel", "Cancel pending", "Cancel every request that is not being saved"),
        )
        self.body += [row(self.timeout, self.label), bar]
        return super().arrange()

    def _seconds_field(self, description: str, setting: str, value: float) -> Any:
        """Make a field for one of the manager's settings, which follows it at once."""

        def change(seconds: float) -> None:
            new, done = {setting: float(seconds)}, f"{description[:-4]} is {seconds:g} s now"
            self.submit("Setting", lambda s: s.manager.reconfigure(**new), done=done)

        field = number_field(description, value, 0.05, 86400.0, step=0.5)
        return self.control(field, change, live=True)

    def _set_guard(self, pauses: bool) -> None:
        state = self._controller.state
        new = ("pause" if pauses else "warn", *state.config.state_guard.invariants)
        does = "pauses the actor" if state.has_kernel else "ends the loop with an exception"
        done = f"A value that is not finite {does}" if pauses else "It is only warned"
        self.submit("Guard", lambda s: s.manager.reconfigure(guard=new), done=done)

    def _submit_schedule(self, _: object) -> None:
        """Enqueue the schedule that the controls show together."""
        on, mode = self.automatic.value, self.mode.value
        steps, time_s = int(self.steps.value), float(self.time.value)

        def work(watched: Watched) -> str:
            slots = sorted(watched.manager.registered)
            every: list[int | None] = [None for _ in slots]
            if on and mode == _STEPS:
                every = [steps for _ in slots]
            elif on and mode == _TIME:
                every = [_steps_of(watched, slot, time_s) for slot in slots]
            if (
                on and mode == _SECONDS
            ):  # first: at no moment is it off, which the switch would show
                watched.manager.reconfigure(enabled=True)
            for slot, count in zip(slots, every, strict=True):
                watched.snapshot_every(count, slot)
            watched.manager.reconfigure(enabled=on and mode == _SECONDS)
            if not on:
                return "Checkpoints are made only when asked for"
            each = {
                _SECONDS: f"{watched.manager.config.interval_s:g} s",
                _STEPS: f"{steps:,} steps",
                _TIME: f"{time_s:g} {self._unit or 'units'} of simulated time",
            }[mode]
            return f"A checkpoint every {each} from now on"

        self.submit("Schedule", work)

    def on_action(self, action: str) -> None:
        """Enqueue what a button does."""
        if action == "cancel":
            done = "The pending requests are cancelled"
            self.submit("Cancel", lambda s: s.manager.cancel_all_pending(), done=done)
            return
        # The front end alone writes the field, so it cannot be emptied from here.
        self._controller.do("live.snapshot", label=self.label.value)

    def show(self, state: SessionState) -> None:
        """Put when the next is due, and how the last went."""
        every = state.actors[0].every
        self.reflect(self.interval, state.config.interval_s)
        if self.alone:
            self.reflect(self.timeout, state.config.request_timeout_s)
        self.reflect(self.automatic, state.config.enabled or every is not None)
        self.reflect(self.guard, state.config.state_guard.mode == "pause")
        if every is not None:
            self.reflect(self.steps, every)
        # One of the three intervals applies. (A control's layout is a display: the loop writes it.)
        for mode, field in self._by_mode.items():
            self.put(field.layout, display=None if mode == self.mode.value else "none")
        s = state.statistics
        selected = state.actors[min(self._controller.slot, len(state.actors) - 1)]
        schedule, due = _schedule_words(state, selected)
        count, nbytes = state.histories.totals
        facts = {
            "automatic": schedule,
            "next due": due,
            "last": _last_commit(state),
            "pending": f"{s.pending} ({s.waiting_to_send} wait for a buffer, "
            f"{s.with_kernel} in the kernel, {s.being_written} being written)",
            "done": f"{s.completed} committed, {s.failed} failed",
            "stored": f"{counted(count, 'checkpoint')}, {format_bytes(nbytes)}",
        }
        self.put(self.heading, due="" if due == state.due else due)
        losses = getattr(self._controller.watched, "losses", 0)  # of a session of another process
        troubles = {
            **({} if s.supervision is None else {"supervision": str(s.supervision)}),
            **({"lost workers": f"{losses:,}"} if losses else {}),
        }
        # A cockpit says the others elsewhere.
        rows = [list(fact) for fact in ((facts if self.alone else {}) | troubles).items()]
        cost = _cost_words(
            "actor" if state.has_kernel else "loop", selected.stall_ns, _last_ms(state)
        )
        self.put(self.words, cost=cost, facts=rows)
        self.flags(
            snapshot=button_state(state.ended, state.life),
            cancel=button_state(s.pending == 0, "Nothing is pending"),
        )


def _last_ms(state: SessionState) -> float | None:
    """Return how long the last commit took, from the request on."""
    last = next((e for e in reversed(state.events) if e.stage == "committed"), None)
    if last is None or last.request_id is None:  # a part of a cut that nobody has requested
        return None
    return commit_ms([e for e in state.events if e.request_id == last.request_id])


def _cost_words(whom: str, stall_ns: int, took_ms: float | None) -> str:
    """Say what a checkpoint costs, and which interval loses least."""
    if not stall_ns or took_ms is None:
        return "The cost is measured at the first checkpoint"
    best_s = young_s(stall_ns / 1e9)
    return (
        f"Stops the {whom} {stall_ns / 1e3:,.0f} µs, is on disk in {took_ms:,.1f} ms. With a crash a "
        f"day, every {best_s:.2g} s loses least"
    )


def _schedule_words(state: SessionState, selected: ActorState) -> tuple[str, str]:
    """Say how snapshots are scheduled, and when the next is due: of what has changed since the last."""
    if state.ended:
        return "off", "nothing runs that could be saved"
    if state.config.enabled:
        pending = state.statistics.pending and not selected.calm
        due = state.due or ("being made" if pending else "nothing new to save")
        return f"on, every {state.config.interval_s:g} s", due
    by_steps = [(a, a.every) for a in state.actors if a.every is not None]
    if by_steps:
        at = [f"actor {a.slot} at step {(a.step // n + 1) * n:,}" for a, n in by_steps[:4]]
        return f"on, every {by_steps[0][1]:,} steps", "; ".join(at)
    return "off", "never, unless asked for"


def _last_commit(state: SessionState) -> str:
    """Say which checkpoint was committed last, and how long it took."""
    last = next((e for e in reversed(state.events) if e.stage == "committed"), None)
    if last is None:
        return "none yet"
    took = _last_ms(state)
    return f"{last.name}" + ("" if took is None else f", {took:.1f} ms from request to commit")


def _steps_of(watched: Watched, slot: int, time_s: float) -> int:
    """Return how many steps of an actor come nearest to a simulated time, at least one."""
    dt = watched.params(slot).get("dt") if has_kernel(watched) else None
    if not dt:
        kernel_type = watched.manager.registered[slot].kernel_type
        msg = f"actor {slot} ({kernel_type}) has no time step: choose {_STEPS!r}"
        raise ValueError(msg)
    return max(1, round(time_s / dt))
