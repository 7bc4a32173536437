"""The parameters panel: change the live actor while it runs."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, final

from ipywidgets import BoundedFloatText, FloatSlider, FloatText, Label, ToggleButton, VBox, Widget

from ringnb.actors.base import Actor
from ringnb.errors import RingnbError
from ringnb.panels.core.panel import Panel
from ringnb.panels.core.state import SessionState
from ringnb.panels.core.widgets import button_state, row
from ringnb.panels.stage.fields import FieldPanel
from ringnb.panels.stage.widgets import Aim
from ringnb.session.session import Session

__all__ = ["ParametersPanel"]

_SEND_S = 0.1  # between two changes of a live actor; of those between, the last one holds
_REST_S = 0.4  # without another change, a change is told
_READ_S = 1.0  # between two looks at what a cell may have set
_FIRST = 2  # parameters that are shown before "more" is pressed


class _Dial(NamedTuple):
    """A parameter's controls."""

    name: str
    slider: FloatSlider
    number: FloatText

    def show(self, value: float) -> None:
        """Show a value; a slider that would end before it is made longer."""
        if not math.isfinite(value):
            return
        if self.slider.value != value:
            # First the ends: a slider that is set beyond them says it was set to its end.
            if value < self.slider.min:
                self.slider.min = value
            if value > self.slider.max:
                self.slider.max = value
            self.slider.value = value
        if self.number.value != value:
            self.number.value = value


@final
class ParametersPanel(Panel):
    """Changes parameters and pace of the live actor, and lets a click disturb it; see `Panel`.

    Attributes
    ----------
    pace : BoundedFloatText
        Steps per second at most; 0 means no limit.
    amplitude : FloatText
        By how much a cell is changed.
    dials : dict of tuple of str to list
        Slider and number of each parameter, by the kind of actor.
    known : dict of str to float
        The selected actor's parameters, as they were read last.
    """

    key = "parameters"
    title = "Change the live actor"

    def build(self) -> Sequence[Widget]:
        """Make the widgets."""
        # One set of dials per kind of actor: those of the selected one are shown.
        self.dials: dict[tuple[str, ...], list[_Dial]] = {}
        self._groups: dict[tuple[str, ...], VBox] = {}
        self._lock = threading.Lock()  # guards the wishes: Jupyter's thread adds, the loop's takes
        self._wishes: dict[str, float] = {}
        self._wishes_slot = 0
        self.known: dict[str, float] = {}  # of the selected actor, as the kernel has confirmed them
        self._slot = -1
        self._before: dict[str, float] = {}  # values at the last rest, of what has changed since
        self._changed_at = self._sent_at = self._read_at = 0.0
        for actor in self.session.actors:
            kind = _kind_of(actor)
            if kind not in self._groups:
                self.dials[kind] = [self._dial(actor, n, v) for n, v in _settable(actor)]
                self._groups[kind] = self._group(self.dials[kind])
        self.pace = self.control(
            BoundedFloatText(
                value=self.session.pace(self._controller.slot) or 0.0,
                min=0.0,
                max=1e9,
                description="pace",
                tooltip="Steps per second at most; 0: no limit",
            ),
            self._set_pace,
        )
        self.amplitude = self.control(
            FloatText(value=1.0, description="by", tooltip="Added to the cell"), self._set_amplitude
        )
        field = self._controller.views.get(FieldPanel.key)
        disturb: list[Widget] = [self.amplitude]
        if isinstance(field, FieldPanel):
            board, hand = self._controller.board, self._controller.hand
            disturb.insert(0, Aim(picture=field.picture, board=board, hand=hand))
        self.aim_row = row(*disturb)
        self.more = self.control(ToggleButton(tooltip="All parameters, or the first ones"), self._show_more)
        self.hint = Label("You look at the past; this acts on the live actor")
        self._controller.on_do("live.inject", self._inject)
        self._controller.on_do("live.param", self._param)
        return [*self._groups.values(), self.pace, self.aim_row, self.more, self.hint]

    def _dial(self, actor: Actor, name: str, value: float) -> _Dial:
        low, high = actor.limits_of(actor.params)[name]
        slider = FloatSlider(
            value=value,
            min=low,
            max=high,
            step=_step_of(high - low),
            description=name,
            readout=False,
        )
        number = FloatText(value=value, description=f"{name}, number", step=_step_of(high - low))
        number.add_class("rn-nolabel")
        dial = _Dial(name, slider, number)
        for control in (slider, number):
            self.control(control, lambda v: self._turn(dial, float(v)))
        return dial

    @staticmethod
    def _group(dials: Sequence[_Dial]) -> VBox:
        rows = []
        for dial in dials:
            one = row(dial.slider, dial.number)
            one.add_class("rn-dial")
            rows.append(one)
        group = VBox(rows)
        group.add_class("rn-dials")
        return group

    # -- on Jupyter's thread ---------------------------------------------------------------------

    def _turn(self, dial: _Dial, value: float) -> None:
        self._wish({dial.name: value})
        dial.show(value)  # the other of the two controls

    def _wish(self, changes: Mapping[str, float]) -> None:
        """Note what a control was set to; the loop sends it on, at most ten times a second."""
        slot = self._controller.slot
        with self._lock:
            if slot != self._wishes_slot:
                self._wishes, self._wishes_slot = {}, slot
            for name, value in changes.items():
                # A control that shows what the actor has, unless that is about to change.
                idle = self.known.get(name) == value and name not in {*self._wishes, *self._before}
                if not idle and math.isfinite(value):
                    self._wishes[name] = value
                    self._changed_at = time.monotonic()
        self._controller.note_use()

    def _show_more(self, _on: bool) -> None:
        self._controller.note_use()

    def _param(self, _action: str, args: Mapping[str, Any]) -> None:
        self._wish({str(args["name"]): float(args["value"])})

    def _set_pace(self, limit: float) -> None:
        slot = self._controller.slot
        if limit == (self.session.pace(slot) or 0.0):
            return  # the field was set to the present limit
        allowed = f"at most {limit:g}" if limit else "any number of"
        done = f"Actor {slot} takes {allowed} steps/s"
        self.submit("Pace", lambda s: s.set_pace(limit or None, slot), done=done, slots=(slot,))

    def _set_amplitude(self, amplitude: float) -> None:
        field = self._controller.views.get(FieldPanel.key)
        if isinstance(field, FieldPanel) and math.isfinite(amplitude):
            field.amplitude = amplitude
        self._controller.note_use()

    def _inject(self, _action: str, args: Mapping[str, Any]) -> None:
        slot = int(args.get("slot", self._controller.slot))
        cell = tuple(int(i) for i in args["cell"])
        amplitude = float(args.get("amplitude", self.amplitude.value))

        def work(session: Session) -> str:
            """Disturb it, and say at which step the kernel did."""
            session.inject(slot, cell, amplitude)
            dims = session.actors[slot].dims
            where = ", ".join(f"{d} {i}" for d, i in zip(dims, cell, strict=True))
            done = session.events.select("disturbed", actor_slot=slot)
            at = f", at step {done[-1].step:,}" if done and done[-1].step is not None else ""
            # The picture is of checkpoints: without one more it would not show what was done.
            self._controller.submit(
                "Snapshot",
                lambda s: s.snapshot(slot, timeout=30.0),
                done="",
                worker="storage",
                slots=(slot,),
            )
            return f"Disturbed cell {where} of actor {slot} by {amplitude:g}{at}; a snapshot follows"

        self.submit("Disturb", work, slots=(slot,))

    # -- on the display loop's thread ------------------------------------------------------------

    def show(self, state: SessionState) -> None:
        """Send what was wished, and put what the actor has."""
        now, slot = time.monotonic(), self._controller.slot
        ended = state.ended
        self._controller.set_flags({"live.inject": button_state(ended, state.life)})
        kind = _kind_of(self.session.actors[slot])
        for key, group in self._groups.items():
            _display(group, key == kind)
        dials = self._groups[kind].children
        for dial in dials[_FIRST:]:
            _display(dial, self.more.value)
        _display(self.more, len(dials) > _FIRST)
        words = "Fewer" if self.more.value else f"{len(dials) - _FIRST} more"
        if self.more.description != words:
            self.more.description = words
        _display(self.hint, not self._controller.choices.follows("main") and not ended)
        if ended:
            return
        self._send_wishes(now)
        if slot != self._slot or now - self._read_at >= _READ_S:
            self._read(slot, kind, now)
        self._tell(now, state.actors[slot].step)

    def _send_wishes(self, now: float) -> None:
        if now - self._sent_at < _SEND_S:
            return
        with self._lock:
            wishes, self._wishes, slot = self._wishes, {}, self._wishes_slot
        if not wishes:
            return
        self._sent_at = now
        for name in wishes:
            self._before.setdefault(name, self.known.get(name, math.nan))

        def work(session: Session) -> None:
            """Set them; if one is refused, the controls go back to what the actor has."""
            try:
                known = session.set_params(slot, **wishes)
            except ValueError:
                self._before.clear()
                self._read_at = 0.0
                raise
            if slot == self._slot:
                self.known = known

        what = f"Set {', '.join(f'{k} = {v:g}' for k, v in wishes.items())}"
        self.submit(what, work, done="", slots=(slot,), key=f"{slot}:parameters")

    def _read(self, slot: int, kind: tuple[str, ...], now: float) -> None:
        """Show what the actor has, unless somebody is changing it."""
        with self._lock:
            if self._wishes or now - self._changed_at < 2 * _REST_S:
                return
        self._read_at = now
        try:
            known = self.session.params(slot)
            pace = self.session.pace(slot) or 0.0
        except RingnbError:
            return  # it ends just now
        # First noted, then shown: the controls' handlers take for a wish what is not known.
        self.known, self._slot = known, slot
        for dial in self.dials[kind]:
            dial.show(known[dial.name])
        if self.pace.value != pace:
            self.pace.value = pace

    def _tell(self, now: float, step: int) -> None:
        """Say what has changed, once it rests."""
        with self._lock:
            rests = not self._wishes and now - self._changed_at >= _REST_S
        if not self._before or not rests or self._slot != self._controller.slot:
            return
        before, self._before = self._before, {}
        changed = [
            f"{k} {v:.4g} → {self.known[k]:.4g}"
            for k, v in before.items()
            if self.known.get(k) != v
        ]
        if changed:
            done = self.session.events.select("adjusted", actor_slot=self._slot)
            since = done[-1].step if done and done[-1].step is not None else step
            self._controller.say(
                "done", f"{', '.join(changed)} in actor {self._slot}, from step {since:,} on"
            )


def _display(widget: Widget, shown: bool) -> None:
    display = "" if shown else "none"
    if widget.layout.display != display:
        widget.layout.display = display


def _kind_of(actor: Actor) -> tuple[str, ...]:
    return (actor.kernel_type, *actor.params)


def _settable(actor: Actor) -> list[tuple[str, float]]:
    limits = actor.limits_of(actor.params)
    return [(n, v) for n, v in actor.params.items() if n in limits]


def _step_of(span: float) -> float:
    """Return a round step, about a two-hundredth of a span."""
    raw = span / 200
    ten = 10.0 ** math.floor(math.log10(raw))
    return next(m * ten for m in (1, 2, 5, 10) if raw <= m * ten * 1.0001)
