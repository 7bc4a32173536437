"""What a session says by itself."""

from __future__ import annotations

from contextlib import nullcontext as nothing

import pytest
from front_end import board_of, press, told, troubles
from waiting import until

import ringnb as rn


def test_an_empty_store_is_told_once_and_when_the_first_checkpoint_is_due(tmp_path):
    config = rn.CheckpointConfig(interval=3600, storage_path=tmp_path / "s.zarr")
    with rn.Session(rn.actors.Life((8, 8)), config=config, service=False) as session:
        panel = session.panel("actor")
        until(lambda: told(panel, "Nothing is stored yet: the first checkpoint is due now"))
        session.snapshot(0)
        until(lambda: told(panel, "Committed"))
    with rn.Session(rn.actors.Life((8, 8)), config=config, service=False) as session:
        panel = session.panel("actor")
        until(lambda: board_of(panel).beat > 1)
        assert not told(panel, "Nothing is stored yet")
        assert told(panel, "1 checkpoint stored, 64 B; the newest is checkpoint_0_step_0, made at")


def test_a_bad_state_says_between_which_steps_it_went_bad(session):
    panel = session.panel("timeline")
    session.run_steps(0, 10)
    session.snapshot(0)
    session.inject(0, at=(3, 3), amplitude=1e39)
    for _ in range(2):  # the second is not the first
        session.run_steps(0, 3)
        with pytest.warns(rn.CheckpointWarning) if session.current_step(0) == 13 else nothing():
            session.snapshot(0)
    until(lambda: any("at step 16" in text for text in troubles(panel)))
    assert (
        "It went bad between step 10 and 13; more is not known without replay" in troubles(panel)[0]
    )


def test_a_full_disk_leads_to_where_room_is_made(session):
    panel = session.panel("timeline")
    session.faults.fill_disk()
    press(panel, "live.snapshot")
    until(lambda: troubles(panel))
    (trouble,) = (m for m in board_of(panel).messages if m["open"])
    assert trouble["actions"] == [["page.tab", "Make room", {"tab": "keep"}]]
