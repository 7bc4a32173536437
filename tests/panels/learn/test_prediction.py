"""Predict cards: commit first, then see the answer."""

from __future__ import annotations

from front_end import press, said, told, troubles
from waiting import until

from ringnb.panels import predict


def test_a_predict_card_reveals_only_after_a_commitment():
    asked = []
    assert predict("How many?", 1).field.description == "Prediction"
    card = predict("How many?", lambda: asked.append(1) or 42, unit="steps")
    assert card.field.description == "Prediction (steps)"
    press(card, "reveal")
    assert not asked
    card.field.value = 40.0
    press(card, "commit")
    card.field.value = 42.0  # too late
    press(card, "reveal")
    until(lambda: "measured: 42 steps" in card.result.answer)
    assert "You predicted 40 steps" in card.result.answer
    assert card.prediction == 40.0
    answers = iter([lambda: 1 / 0, lambda: 7])
    tried_twice = predict("How many?", lambda: next(answers)())
    press(tried_twice, "commit")
    press(tried_twice, "reveal")
    until(lambda: told(tried_twice, "division by zero"))
    press(tried_twice, "reveal")
    until(lambda: said(tried_twice) == "Revealed")
    assert troubles(tried_twice) == []
    choice = predict("Which?", "b", options=["a", "b"])
    press(choice, "commit")
    assert told(choice, "Choose")


def test_what_is_measured_anew_can_be_predicted_anew(session):
    panel = session.panel("predict")
    card = panel._card
    for guess in (30.0, 40.0):
        card.field.value = guess
        press(panel, "commit")
        press(panel, "commit")  # once is enough
        assert card.prediction == guess
        press(panel, "reveal")
        words = f"You predicted {guess:g} µs"
        until(lambda words=words: words in card.result.answer)
