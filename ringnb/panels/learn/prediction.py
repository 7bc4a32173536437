"""Predict cards: commit to an answer before the measured one is shown."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any, final

from ipywidgets import FloatText, RadioButtons, VBox, Widget

from ringnb._support.text import said_by
from ringnb.panels.core.controller import Controller
from ringnb.panels.core.messages import Kind
from ringnb.panels.core.panel import Panel
from ringnb.panels.core.state import SessionState
from ringnb.panels.core.switchboard import Switchboard
from ringnb.panels.core.widgets import LIVE_CONTROL, Say, box, button_state, serve_beside_cells
from ringnb.panels.learn.widgets import Question

__all__ = ["PredictCard", "PredictPanel", "predict"]


@final
class PredictCard(VBox):
    """A question, a prediction, and the answer; made by `predict`.

    Attributes
    ----------
    prediction : object
        What was committed, None before.
    """

    def __init__(
        self,
        question: str,
        answer: Any,
        options: Sequence[str] | None = None,
        unit: str = "",
        switchboard: Switchboard | None = None,
    ) -> None:
        self.prediction: Any = None
        self._answer = answer
        self._unit = unit
        alone = switchboard is None
        self._again = not alone  # what is measured anew can be predicted anew
        self._revealed = self._measures = False
        self._switchboard = switchboard or Switchboard(self._publish)
        self._switchboard.on_do("predict", lambda action, _: self.act(action))
        board, hand = self._switchboard.board, self._switchboard.hand
        if options is None:
            self.field: Any = FloatText(
                description=f"Prediction ({unit})" if unit else "Prediction"
            )
        else:
            self.field = RadioButtons(
                options=list(options),
                value=None,
                description="Prediction",
                layout={"width": "max-content"},
            )
        self.field.add_class("rn-prediction")
        self.field.add_class(LIVE_CONTROL)
        serve_beside_cells(self.field)
        self.card = Question(board=board, hand=hand, asks=True, question=question)
        self.result = Question(board=board, hand=hand)
        body: list[Widget] = [self.card, self.field, self.result]
        if alone:
            self.line = Say(
                name="predict",
                title="Predict first",
                region=f"Predict: {question}",
                beats=False,
                board=board,
                hand=hand,
            )
        asked = box("rn-predict", body)
        super().__init__([self.line, asked] if alone else [asked])
        if alone:
            self.add_class("ringnb-panel")
        self._off = ""
        self.switch()

    def _publish(self) -> None:
        """Show what the switchboard holds: a card alone has no loop that does."""
        board = self._switchboard.board
        with board.hold_sync():
            for name, value in self._switchboard.traits().items():
                setattr(board, name, value)

    def switch(self, off: str | None = None) -> None:
        """Say which buttons can be used; `off` is why nothing can be measured from now on, or ""."""
        if off is not None:
            self._off = off
        open_ = self.prediction is None or (self._again and self._revealed)
        why_commit = self._off or ("" if open_ else "Your prediction is fixed")
        why_reveal = self._off or (
            "Commit your prediction first" if self.prediction is None else ""
        )
        self._switchboard.set_flags(
            {
                "predict.commit": button_state(bool(why_commit), why_commit),
                "predict.reveal": button_state(bool(why_reveal), why_reveal),
            }
        )

    def _say(self, kind: Kind, text: str, **more: Any) -> None:
        self._switchboard.say(kind, text, **more)

    def act(self, action: str) -> None:
        """Do what a button asks for."""
        if action == "commit" and (self.prediction is None or (self._again and self._revealed)):
            if self.field.value is None:
                self._say("note", "Choose an answer first")
                return
            self.prediction, self._revealed = self.field.value, False
            self.result.answer = ""
            self._say("done", f"Your prediction is fixed: {self._with_unit(self.prediction)}")
            self.switch()
        elif action == "reveal" and self.prediction is not None and not self._measures:
            self._measures = True
            self._say("waiting", "Measuring …")
            # Measuring may take as long as it likes: not on Jupyter's thread.
            threading.Thread(target=self.reveal, name="ringnb-predict", daemon=True).start()

    def reveal(self) -> None:
        """Find the answer and show it beside the prediction. Any thread."""
        try:
            found = self._answer() if callable(self._answer) else self._answer
        except Exception as error:  # noqa: BLE001 - shown, whatever it is
            text = f"The answer could not be measured: {said_by(error)}"
            detail = "".join(traceback.format_exception(error))
            self._say("problem", text, key="predict", detail=detail)
            return
        finally:
            self._measures = False
        self._switchboard.settle("predict", "the next measurement")
        self._revealed = True
        self.switch()
        self._say("done", "Revealed")
        self.result.answer = (
            f"You predicted {self._with_unit(self.prediction)}; measured: {self._with_unit(found)}."
        )

    def _with_unit(self, value: Any) -> str:
        text = f"{value:,.6g}" if isinstance(value, int | float) else str(value)
        return f"{text} {self._unit}".strip()


def predict(
    question: str,
    answer: Any | Callable[[], Any],
    *,
    options: Sequence[str] | None = None,
    unit: str = "",
) -> PredictCard:
    """Make a card that asks for a prediction before it shows the answer.

    Parameters
    ----------
    question : str
        What is to be predicted.
    answer : object or callable
        The answer, or what measures it when it is revealed, on a thread of its own.
    options : sequence of str, optional
        Answers to choose from; by default a number is asked for.
    unit : str, default ""
        Unit of the number.

    Returns
    -------
    PredictCard
        A widget.
    """
    return PredictCard(question, answer, options, unit)


@final
class PredictPanel(Panel):
    """Asks how long a snapshot stops an actor; see `Panel`."""

    key = "predict"
    title = "Predict first"
    needs_kernel = True

    def __init__(self, controller: Controller) -> None:
        def stall_us() -> float:
            """Take a snapshot and read how long the capture took."""
            session, slot = controller.session, controller.slot
            session.snapshot(slot, timeout=30.0)
            return session.counters(slot).last_stall_ns / 1e3

        question = "For how long will this actor stop while its next snapshot is captured?"
        self._card = PredictCard(question, stall_us, unit="µs", switchboard=controller.switchboard)
        super().__init__(controller)

    def build(self) -> Sequence[Widget]:
        """Make the widgets."""
        return [self._card]

    def show(self, state: SessionState) -> None:
        """Say whether there is something to be measured."""
        self._card.switch(state.life if state.ended else "")

    def on_action(self, action: str) -> None:
        """Pass on what a button of the card asks for."""
        self._card.act(action)
