"""Runs as lanes: where they leave each other, and the way that leads to a moment."""

from __future__ import annotations

from itertools import count

import pytest

from ringnb.checkpoint.runs import Lineage
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.panels.deck.lanes import RunNumbers, make_lanes, step_in_name

numbers_of_commits = count(1)


def commit(step, run, parent=None, **params):
    n = next(numbers_of_commits)
    return CheckpointInfo(
        f"c_0_step_{step}" if parent is None else f"c_0_step_{step}.{n}",
        *("c", "wave_0", "wave", 0, step, n),
        id=f"id {n}",
        run=run,
        parent_id=None if parent is None else parent.id,
        params=tuple(params.items()),
    )


def sound(_):
    return True


@pytest.fixture
def trunk():
    """Three checkpoints of run A, and two of run B, which leaves it at step 200."""
    a = [commit(100, "A", feed=1.0, kill=0.5)]
    for step in (200, 300):
        a.append(commit(step, "A", a[-1], feed=1.0, kill=0.5))
    b = [commit(250, "B", a[1], feed=2.0, kill=0.5)]
    b.append(commit(350, "B", b[-1], feed=2.0, kill=0.25))
    return a, b


def test_a_run_leaves_its_parents_lane_at_the_checkpoints_step(trunk):
    a, b = trunk
    lanes = make_lanes([*a, *b], Lineage(b[-1].name, b[-1].id, "B"), 380, RunNumbers())
    assert [(x.number, x.run, x.parent, x.fork) for x in lanes.all] == [
        (2, "B", 1, 200),
        (1, "A", None, None),
    ]
    assert [(x.first, x.last, x.is_live) for x in lanes.all] == [
        (250, 380, True),
        (100, 300, False),
    ]


def test_a_lane_is_named_by_what_differs(trunk):
    a, b = trunk
    lanes = make_lanes([*a, *b], None, 0, RunNumbers())
    assert [x.words for x in lanes.all if x.run] == ["feed 2, kill 0.5 → 0.25", ""]


def test_the_way_to_a_moment_passes_through_the_runs_that_were_left(trunk):
    a, b = trunk
    lanes = make_lanes([*a, *b], Lineage(b[-1].name, b[-1].id, "B"), 380, RunNumbers())
    assert [e.step for e in lanes.checkpoints(2, sound)] == [100, 200, 250, 350]
    assert lanes.nearest(2, 349, sound) == b[0]
    assert lanes.nearest(2, 249, sound) == a[1]
    assert lanes.nearest(2, 350, lambda e: e != b[1]) == b[0]  # a damaged one is passed over
    assert lanes.nearest(2, 5, sound) == a[0]  # none before: the first
    assert lanes.nearest(1, 10**9, sound) == a[2]
    assert lanes.nearest(2, 349, lambda _: False) is None


def test_a_restored_state_has_a_lane_before_its_run_has_a_checkpoint(trunk):
    a, _ = trunk
    numbers = RunNumbers()
    lanes = make_lanes(a, Lineage(a[1].name, a[1].id, None), 207, numbers)
    live = lanes.live
    assert (live.number, live.run, live.parent, live.fork, live.last) == (2, "", 1, 200, 207)
    assert lanes.nearest(2, 207, sound) == a[1]
    first = commit(210, "B", a[1])
    lanes = make_lanes([*a, first], Lineage(first.name, first.id, "B"), 215, numbers)
    assert (lanes.live.number, lanes.live.run, lanes.live.fork) == (2, "B", 200)


def test_a_state_restored_from_the_newest_goes_on_with_its_lane(trunk):
    a, _ = trunk
    lanes = make_lanes(a, Lineage(a[-1].name, None, None), 300, RunNumbers())
    assert [x.run for x in lanes.all] == ["A"]
    assert lanes.live.run == "A"


def test_a_fresh_state_beside_old_runs_has_a_lane_of_its_own(trunk):
    a, _ = trunk
    live = make_lanes(a, None, 40, RunNumbers()).live
    assert (live.number, live.run, live.parent, live.first, live.last) == (2, "", None, 0, 40)
    only = make_lanes([], None, 0, RunNumbers())
    assert [x.number for x in only.all] == [1]
    assert only.nearest(1, 0, sound) is None


def test_numbers_stay_when_a_run_is_deleted_and_damaged_ones_are_of_no_lane(trunk):
    a, b = trunk
    numbers = RunNumbers()
    make_lanes([*a, *b], None, 0, numbers)
    lost = CheckpointInfo("c_0_step_7", damaged=True)
    lanes = make_lanes([lost, *b], Lineage(b[-1].name, b[-1].id, "B"), 380, numbers)
    assert [(x.number, x.parent, x.fork) for x in lanes.all] == [(2, None, None)]


def test_the_origin_of_a_live_state_may_be_deleted(trunk):
    a, _ = trunk
    live = make_lanes(a[:1], Lineage("gone", "f" * 16, None), 290, RunNumbers()).live
    assert (live.number, live.parent, live.fork, live.first, live.last) == (2, None, None, 290, 290)


@pytest.mark.parametrize(
    ("name", "step"), [("c_0_step_70", 70), ("c_0_step_70.12", 70), ("mine", None)]
)
def test_a_name_states_its_step(name, step):
    assert step_in_name(name) == step
