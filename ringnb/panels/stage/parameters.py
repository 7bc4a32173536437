"""The parameters panel: change the live actor while it runs."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, final

import traitlets
from ipywidgets import Widget

from ringnb.errors import RingnbError
from ringnb.panels.core.controller import SessionGone
from ringnb.panels.core.panel import Panel
from ringnb.panels.core.state import SessionState
from ringnb.panels.core.watched import SessionLike
from ringnb.panels.core.widgets import button_state
from ringnb.panels.stage.fields import FieldPanel
from ringnb.panels.stage.widgets import Dials

__all__ = ["ParametersPanel"]

_SEND_S = 0.1  # between two changes of a live actor; of those between, the last one holds
_REST_S = 0.4  # without another change, a change is told
_TOLD_S = 10.0  # so long a refused value is said: the control went back to what the actor has
_READ_S = 1.0  # between two looks at what a cell may have set


@final
class ParametersPanel(Panel):
    """Changes parameters and pace of the live actor, and lets a click disturb it; see `Panel`.

    Attributes
    ----------
    amplitude : float
        By how much a click changes a cell.
    dials : Dials
        What it shows; the loop writes it.
    """

    key = "parameters"
    title = "Change the live actor"
    needs_kernel = True
    amplitude = traitlets.Float(1.0)

    def build(self) -> Sequence[Widget]:
        """Make the widgets."""
        # Guards the wishes and what belongs to them: Jupyter's thread adds, the sender's takes.
        self._lock = threading.Lock()
        self._wishes: dict[str, float] = {}
        self._wishes_slot = 0
        self._changed_at = self._read_at = 0.0
        self._sends = False  # whether a thread is there that sends wishes
        self._refused: dict[str, float] = {}  # since when, by the problem's key
        self._ended = threading.Event()
        # Of the selected actor, as the kernel has confirmed them; empty until they were read.
        self._known: dict[str, float] = {}
        self._slot = -1
        self._before: dict[str, float] = {}  # values at the last rest, of what has changed since
        self._pace = 0.0
        for action in ("param", "inject", "amplitude"):
            self._controller.on_do(f"live.{action}", self._do)
        self.observe(lambda _: self._controller.note_use(), "amplitude")
        self.dials = Dials(board=self._controller.board, hand=self._controller.hand)
        return [self.dials]

    # -- on Jupyter's thread ---------------------------------------------------------------------

    def _do(self, action: str, args: Mapping[str, Any]) -> None:
        """Enqueue what a control asks for."""
        if action == "param":
            self._wish({str(k): float(v) for k, v in dict(args["values"]).items()})
        elif action == "amplitude":
            self.amplitude = float(args["by"])
        else:
            slot = int(args.get("slot", self._controller.slot))
            self._inject(slot, tuple(int(i) for i in args["cell"]))

    def _wish(self, changes: Mapping[str, float]) -> None:
        """Note what a control was set to; a thread sends it on, at most ten times a second."""
        # Not by the loop: it does not show what no page sees, and a wish must not wait for that.
        with self._lock:
            if self._controller.slot != self._wishes_slot:
                self._wishes, self._wishes_slot = {}, self._controller.slot
            self._wishes.update({k: v for k, v in changes.items() if math.isfinite(v)})
            self._changed_at = time.monotonic()
            start, self._sends = not self._sends, True
        if start:
            threading.Thread(target=self._run, name="ringnb-parameters", daemon=True).start()
        self._controller.note_use()

    def _inject(self, slot: int, cell: tuple[int, ...]) -> None:
        amplitude = self.amplitude

        def work(session: SessionLike) -> str:
            """Disturb it, and say at which step the kernel did."""
            session.inject(slot, cell, amplitude)
            dims = session.actors[slot].dims
            where = ", ".join(f"{d} {i}" for d, i in zip(dims, cell, strict=True))
            done = session.events.select("disturbed", actor_slot=slot)
            at = f", at step {done[-1].step:,}" if done and done[-1].step is not None else ""
            # The picture is of checkpoints: without one more it would not show what was done.
            self._controller.steer(
                "Snapshot",
                lambda s: s.snapshot(slot, timeout=30.0),
                done="",
                worker="storage",
                slots=(slot,),
            )
            return (
                f"Disturbed cell {where} of actor {slot} by {amplitude:g}{at}; a snapshot follows"
            )

        self.steer("Disturb", work, slots=(slot,))

    # -- on the display loop's thread ------------------------------------------------------------

    def show(self, state: SessionState) -> None:
        """Send what was wished, and put what the actor has."""
        now, slot, choices = time.monotonic(), self._controller.slot, self._controller.choices
        unheard = self._controller.why_unheard(state, slot)
        off = button_state(state.ended or bool(unheard), unheard or state.life)
        self._controller.set_flags({"live.inject": off})
        field = self._controller.views.get(FieldPanel.key)
        if isinstance(field, FieldPanel):
            field.amplitude = self.amplitude
            self.put(self.dials, picture=field.picture)
        if not state.ended and (slot != self._slot or now - self._read_at >= _READ_S):
            self._read(slot, now)
        self._settle_refusals(now)
        looked_at = choices.resolve("main")
        there = {} if looked_at is None else dict(looked_at.params)
        limits = self.session.actors[slot].limits_of(self._known) if self._known else {}
        rows = [
            {
                "name": name,
                "value": self._known[name],
                "low": low,
                "high": high,
                "there": there.get(name),
            }
            for name, (low, high) in limits.items()
        ]
        self.put(
            self.dials,
            dials=rows,
            pace=self._pace,
            amplitude=self.amplitude,
            looks_back=not choices.follows("main") and not state.ended,
        )

    def _settle_refusals(self, now: float) -> None:
        """Have a refused value no longer said to be open, after a time to read it."""
        with self._lock:
            due = [key for key, at in self._refused.items() if now - at >= _TOLD_S]
            for key in due:
                del self._refused[key]
        for key in due:
            self._controller.settle(key, "the actor, which keeps what it had")

    def _read(self, slot: int, now: float) -> None:
        """Read what the actor has, unless somebody is changing it."""
        with self._lock:
            if slot == self._slot and (self._wishes or now - self._changed_at < _REST_S):
                return
        self._read_at = now
        try:
            known, pace = self.session.params(slot), self.session.pace(slot)
        except RingnbError:
            return  # it ends just now
        self._known, self._slot, self._pace = known, slot, pace or 0.0

    # -- on the thread that sends wishes, from the first one until they rest ---------------------

    def _run(self) -> None:
        """Send what was wished, in steps of `_SEND_S`; once it rests, say what has changed."""
        while not self._ended.is_set():
            with self._lock:
                wishes, self._wishes, slot = self._wishes, {}, self._wishes_slot
                rests = not wishes and time.monotonic() - self._changed_at >= _REST_S
                if rests:
                    self._sends = False
            if rests:
                self._tell(slot)
                return
            if wishes:
                self._set(slot, wishes)
            self._ended.wait(_SEND_S)

    def _set(self, slot: int, wishes: dict[str, float]) -> None:
        for name in wishes:
            self._before.setdefault(name, self._known.get(name, math.nan))
        key = f"{slot}:parameters"

        def work(session: SessionLike) -> None:
            """Set them; if one is refused, the controls go back to what the actor has."""
            with self._lock:
                self._refused.pop(key, None)
            try:
                known = session.set_params(slot, **wishes)
            except ValueError:
                self._before = {}
                with self._lock:
                    self._refused[key] = time.monotonic()
                raise
            if slot == self._slot:
                self._known = known

        what = f"Set {', '.join(f'{k} = {v:g}' for k, v in wishes.items())}"
        self.steer(what, work, done="", slots=(slot,), key=key)

    def _tell(self, slot: int) -> None:
        """Say what has changed."""
        before, self._before = self._before, {}
        try:
            known = self.session.params(slot)
            events = self.session.events.select("adjusted", actor_slot=slot)
        except (RingnbError, SessionGone):
            return  # it ends just now
        changed = [
            f"{k} {v:.4g} → {known[k]:.4g}" for k, v in before.items() if known.get(k, v) != v
        ]
        if changed:
            since = events[-1].step if events else None
            on = "" if since is None else f", from step {since:,} on"
            self._controller.say("done", f"{', '.join(changed)} in actor {slot}{on}")

    def dispose(self) -> None:
        """Close every widget of this panel, and end its thread. Any thread."""
        self._ended.set()
        super().dispose()
