"""Lesson 6: what a policy leaves."""

from __future__ import annotations

import pytest
import zarr
from lessons import refuse

import ringnb as rn
from ringnb import course

keep = rn.retention
newest, first_of_each, within = keep.keep_last(2), keep.keep_every(500), keep.keep_within(6 << 20)

WRONG = [
    (newest | first_of_each, "should be left"),
    (within & (newest | first_of_each), "should be left"),
    (newest | (first_of_each & within), "should be left"),
    (keep.keep_best(1, lambda checkpoint: 1.0), "is imaginary"),
    (2, "policy is 2, not a retention policy"),
]


@pytest.mark.parametrize(("answer", "fact"), WRONG)
def test_a_wrong_policy_is_told_what_is_wrong(answer, fact):
    refuse(course.check_06, answer, fact=fact)


def test_a_replay_leaves_what_real_commits_leave():
    policy = keep.keep_last(2) | keep.keep_every(30)
    storage = rn.ZarrStorage(zarr.storage.MemoryStore())
    config = rn.CheckpointConfig(enabled=False, retention=policy)
    with rn.Session(rn.actors.Life((8, 8)), config=config, storage=storage) as session:
        for index in range(8):
            session.run_steps(0, 10)
            checkpoint = session.snapshot(0)
            if index == 1:
                checkpoint.pin("by hand")
        real = [storage.load(name).step for name in session.manager.list_checkpoints(0)]
    replayed = [one.step for one in course.replay(policy, range(10, 90, 10), pins={1: "by hand"})]
    assert real == replayed == [10, 20, 30, 60, 70, 80]
