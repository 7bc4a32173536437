"""Rule 22: a session that starts fresh where its actors have checkpoints says so, once."""

from __future__ import annotations

import pytest
from session_rig import memory, quiet

import ringnb as rn

CALLS = {
    "run_steps": lambda s: s.run_steps(1, 1),
    "resume": lambda s: s.resume(),
    "inject": lambda s: s.inject(1, (0, 0), 1),
}


@pytest.fixture
def storage():
    storage = memory()
    with opened(storage) as s:
        for slot in (0, 1):
            s.run_steps(slot, 7)
            s.snapshot(slot)
    return storage


def opened(storage):
    return rn.Session(rn.actors.Heat2D((8, 8)), actors=2, config=quiet(), storage=storage)


@pytest.mark.parametrize("call", CALLS)
def test_rule_22_a_fresh_start_beside_a_history_is_said_in_one_line(storage, caplog, call):
    with opened(storage) as s:
        assert caplog.text == ""
        CALLS[call](s)
        s.pause()
        s.run_steps(0, 1)
    (line,) = [r.getMessage() for r in caplog.records if r.name == "ringnb.session"]
    slot = 0 if call == "resume" else 1
    run = storage.history("checkpoint", f"heat_2d_{slot}")[0].run
    assert f"'heat_2d_{slot}' (and 1 more) starts a new run" in line
    assert f"1 checkpoint(s) of its run {run}, up to step 7" in line
    assert f'session.restore({slot}, "latest")' in line


def test_rule_22_what_is_restored_first_or_has_no_history_says_nothing(storage, caplog):
    with opened(storage) as s:
        for slot in (0, 1):
            s.restore(slot, "latest")
            s.run_steps(slot, 1)
    with opened(memory()) as s:
        s.run_steps(0, 1)
    assert [r for r in caplog.records if r.name == "ringnb.session"] == []
