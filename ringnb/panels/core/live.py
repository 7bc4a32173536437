"""What acts on the live actors: run, pause, step, snapshot, stop, restart; from any view.

Of a recorder only the snapshot: its loop is asked for one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar, final

from ringnb._support.text import counted
from ringnb.errors import RingnbError
from ringnb.panels.core.controller import Controller
from ringnb.panels.core.news import snapshot_key
from ringnb.panels.core.state import SessionState
from ringnb.panels.core.watched import NO_KERNEL, SessionLike, Watched
from ringnb.panels.core.widgets import ONLY_ONE, button_state
from ringnb.session.recorder import Recorder

__all__ = ["Live"]

_MOST_NAMED = 3  # actors, in a message


@final
class Live:
    """Serves ``live.*``, and says which of its buttons can be used. A view without a widget."""

    key: ClassVar[str] = "live"
    seen: bool = True  # its flags are those of buttons in any view

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        controller.on_do("live", self._do)
        controller.on_do("live.snapshot", self._snapshot)
        controller.on_do("live.pace", self._set_pace)
        controller.on_do("live.restore_good", self._restore_good)

    def _do(self, action: str, args: Mapping[str, Any]) -> None:
        """Enqueue what a button does. On Jupyter's thread."""
        controller, slot = self._controller, self._controller.slot
        steps = max(1, int(args.get("n", 1)))
        one, every = (slot,), range(len(controller.state.actors))
        calls: dict[str, tuple[str, Callable[[SessionLike], object], str, Iterable[int]]] = {
            "run": ("Run", lambda s: s.resume(slot), f"Actor {slot} runs", one),
            "pause": ("Pause", lambda s: s.pause(slot), f"Actor {slot} is paused", one),
            "step": (
                "Step",
                lambda s: s.run_steps(slot, steps, wait=False),
                f"Actor {slot} takes {counted(steps, 'step')}",
                one,
            ),
            "run_all": ("Run all", lambda s: s.resume(), "Every actor runs", every),
            "pause_all": ("Pause all", lambda s: s.pause(), "Every actor is paused", every),
        }
        if action == "restart":
            controller.steer("Restart", self._restart, worker="storage")
        elif action == "stop":
            what, call, done, slots = calls["pause_all"]
            # The pause is quick; the storage worker may still be busy.
            controller.steer(what, call, done=done, slots=slots)
            controller.steer("Stop kernel", _stop, worker="storage", slots=every)
        elif action == "snapshot_all":
            for each in every:
                self._take(each, "")
        elif action in calls:
            what, call, done, slots = calls[action]
            controller.steer(what, call, done=done, slots=slots)

    def _set_pace(self, _action: str, args: Mapping[str, Any]) -> None:
        slot, limit = self._controller.slot, max(0.0, float(args["pace"]))
        does = f"takes at most {limit:,.12g} steps/s" if limit else "steps as fast as it can"
        self._controller.steer(
            "Pace",
            lambda s: s.set_pace(limit or None, slot),
            done=f"Actor {slot} {does}",
            slots=(slot,),
        )

    def _snapshot(self, _action: str, args: Mapping[str, Any]) -> None:
        self._take(int(args.get("slot", self._controller.slot)), str(args.get("label", "")).strip())

    def _take(self, slot: int, label: str) -> None:
        def work(session: SessionLike) -> str:
            """Take it. That it was committed is said by its event."""
            take = partial(session.snapshot, slot, timeout=30.0, label=label or None)
            return f"{self._controller.answering(slot, take).name} is pinned: {label}"

        key = snapshot_key(slot)
        if not self._controller.state.has_kernel:
            self._controller.submit("Snapshot", lambda rec: _ask_loop(rec, label), key=key)
            return
        done = None if label else ""
        self._controller.steer(
            "Snapshot", work, done=done, worker="storage", slots=(slot,), key=key
        )

    def _restore_good(self, _action: str, args: Mapping[str, Any]) -> None:
        slot = int(args.get("slot", self._controller.slot))

        def work(session: SessionLike) -> str:
            """Restore the newest checkpoint whose state is good."""
            good = [e for e in session.manager.history(slot) if e.good and not e.damaged]
            if not good:
                msg = f"actor {slot} has no good checkpoint"
                raise LookupError(msg)
            step = session.restore(slot, good[-1].name)
            return f"Actor {slot} continues from step {step:,} ({good[-1].name})"

        self._controller.steer(
            "Restore the last good", work, worker="storage", slots=(slot,), key=f"{slot}:guard"
        )

    def _restart(self, session: SessionLike) -> str:
        new = session.remake()
        try:
            steps = {
                slot: new.restore(slot, "latest")
                for slot in range(len(new.actors))
                if new.manager.list_checkpoints(slot)
            }
        finally:  # it runs, even if something could not be restored
            self._controller.replace(new)
        return (
            f"A new session runs: {_from_where(steps)}. In your cells: session = session.successor"
        )

    def show(self, state: SessionState) -> None:
        """Say which buttons can be used."""
        selected = state.actors[min(self._controller.slot, len(state.actors) - 1)]
        ended, why, loop = state.ended, state.life, not state.has_kernel
        unheard = "" if ended else self._controller.why_unheard(state, selected.slot)
        unusable = button_state(ended or bool(unheard), unheard or why)
        off, reason = ended or loop or bool(unheard), NO_KERNEL if loop else unheard or why
        only_one = len(state.actors) == 1
        several = button_state(only_one or ended, ONLY_ONE if only_one else why)
        self._controller.set_flags(
            {
                "live.run": button_state(off, reason, pressed=selected.running),
                "live.pause": button_state(off, reason, pressed=not selected.running and not ended),
                "live.step": button_state(off, reason),
                "live.snapshot": unusable,
                # Of controls, see `controls.js`: what they set needs no lane that answers.
                "live.steer": button_state(ended, why),
                "live.run_all": several,
                "live.pause_all": several,
                "live.snapshot_all": several,
                "live.stop": button_state(ended or loop, NO_KERNEL if loop else why),
                "live.restart": button_state(
                    not ended or loop, NO_KERNEL if loop else "The kernel runs"
                ),
            }
        )

    def show_history(self, part: str, rows: list[dict[str, Any]]) -> None:
        """Show none: there is nothing to see of this view."""

    def dispose(self) -> None:
        """Close nothing: its buttons are other views'."""


def _ask_loop(recorder: Watched, label: str) -> str:
    """Ask a loop of one's own for its state."""
    assert isinstance(recorder, Recorder)
    recorder.request_save(label or None)
    return "The loop is asked: it saves at its next rec.due(step)"


def _stop(session: SessionLike) -> str:
    kept = []
    for slot in range(len(session.actors)):
        with contextlib.suppress(RingnbError, OSError):
            kept.append(session.snapshot(slot, timeout=5.0).name)
    # A session of another process is only left by `close`.
    getattr(session, "end", session.close)()
    return f"The kernel is stopped. Checkpoints made before: {', '.join(kept) or 'none'}"


def _from_where(steps: Mapping[int, int]) -> str:
    """Say from which step each actor goes on, or of many the first and the last."""
    if not steps:
        return "nothing was stored, so from step 0"
    if len(steps) <= _MOST_NAMED:
        return ", ".join(f"actor {slot} from step {step:,}" for slot, step in steps.items())
    first, last = min(steps.values()), max(steps.values())
    return f"{len(steps):,} actors from step {first:,}{f' to {last:,}' if last > first else ''}"
