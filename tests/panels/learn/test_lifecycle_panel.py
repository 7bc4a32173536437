"""The lifecycle panel: a request moved by hand, and where its chip is shown."""

from __future__ import annotations

import pytest
from front_end import flag, press, told
from waiting import until

import ringnb as rn
from ringnb.messages.commands import Command


def test_the_lifecycle_view_shows_a_request_at_every_stage_of_the_crank(tmp_path):
    config = rn.CheckpointConfig(interval=3600, storage_path=tmp_path / "s.zarr")
    with rn.Session(rn.actors.Life((16, 16)), config=config, service=False) as session:
        panel = session.panel("lifecycle")
        ends = []
        for stage, station in enumerate(
            ("requested", "h2k", "staging", "k2h", "received", "writing", "committed")
        ):
            until(lambda stage=stage: flag(panel, f"s{stage}").get("pressed"))
            press(panel, f"s{stage}")
            until(lambda stage=stage: flag(panel, f"s{stage + 1}")["pressed"])
            (token,) = panel.view.scene["tokens"]
            ends.append(token["path"][-1])
            assert ends[-1] == station
            assert panel.view.scene["held"] == station
            held = station == "staging"  # the lane waits there, with all its actors
            until(lambda held=held: panel.line.board.actor["stopped"] == held)
            if held:
                why = panel.line.board.flags["live.pause"]["why"]
                assert "the crank has stopped the lane of actor 0, which would not answer" in why
        press(panel, "s7")
        until(lambda: session.manager.total_completed == 1)
        until(lambda: panel.view.scene["tokens"][0]["end"] == "good")
        press(panel, "through")
        until(lambda: session.manager.total_completed == 2)


@pytest.fixture
def by_hand(tmp_path):
    """A lifecycle panel whose crank nothing else turns; two actors are due."""
    config = rn.CheckpointConfig(interval=3600, storage_path=tmp_path / "s.zarr")
    with rn.Session(rn.actors.Life((16, 16)), 2, config=config, service=False) as session:
        yield session.panel("lifecycle")


def turn(panel, *stages):
    for stage in stages:
        until(lambda stage=stage: flag(panel, f"s{stage}").get("pressed"))
        press(panel, f"s{stage}")
        until(lambda stage=stage: not flag(panel, f"s{stage}")["pressed"])


@pytest.mark.parametrize(("turns", "station"), [(2, "h2k"), (3, "staging"), (4, "k2h")])
def test_a_cancelled_request_stays_where_it_was_cancelled(by_hand, turns, station):
    turn(by_hand, *range(turns))
    press(by_hand, "cancel")
    until(lambda: told(by_hand, "Cancelled"))
    seen = []
    for stage in range(turns, 6):
        turn(by_hand, stage)
        until(lambda: by_hand.view.scene["tokens"][0]["end"] == "bad")
        seen.append(by_hand.view.scene["tokens"][0]["path"][-1])
        seen.append(sum(row["words"] == "✗ cancelled" for row in by_hand.view.times["rows"]))
    assert seen == [station, 1] * (6 - turns)
    assert by_hand.view.scene["tokens"][0]["note"] == "✗ cancelled"


def test_a_lost_answer_stays_where_it_was_lost(by_hand):
    turn(by_hand, 0, 1, 2, 3)
    press(by_hand, "lose")
    until(lambda: told(by_hand, "is lost"))
    until(lambda: by_hand.view.scene["tokens"][0]["end"] == "bad")
    (token, other) = by_hand.view.scene["tokens"]
    assert (token["path"][-1], token["note"]) == ("received", "? answer lost")
    assert other["path"][-1] == "requested"
    assert by_hand.view.scene["fills"]["requested"] == "1 of 2 to be sent"
    assert by_hand.view.scene["fills"]["writing"] == "0 waiting or under way"


def test_the_kernel_goes_on_only_where_it_does(by_hand):
    turn(by_hand, 0, 1, 2, 3)
    until(lambda: told(by_hand, "the actor is paused"))
    turn(by_hand, 4, 5, 6, 7)
    by_hand.session.resume()  # the lane reads again
    turn(by_hand, 0, 1, 2, 3)
    until(lambda: told(by_hand, "the actor steps on"))


def test_an_action_on_a_stopped_lane_is_refused_at_once_and_says_what_opens_it(by_hand):
    session = by_hand.session
    actor, checkpoint = session.panel("actor"), session.panel("checkpoint")
    turn(by_hand, 0, 1, 2)
    for panel, action in ((actor, "run"), (actor, "stop"), (checkpoint, "snapshot")):
        press(panel, action)
        until(lambda panel=panel: told(panel, "Press 'Let it through'"))
    with pytest.raises(TimeoutError, match="a crank has stopped its lane"):
        session._client.call(0, Command.RESUME, timeout_s=0.01)
    press(by_hand, "through")
    until(lambda: session.manager.total_completed == 1)
    press(actor, "pause")
    until(lambda: told(actor, "is paused"))
