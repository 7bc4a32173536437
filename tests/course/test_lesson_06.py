"""Lesson 6: what a policy leaves."""

from __future__ import annotations

import pytest
import zarr
from lessons import refuse

import ringnb as rn
from ringnb import course

keep = rn.retention
newest, first_of_each, within = keep.keep_last(2), keep.keep_every(500), keep.keep_within(6 << 20)

ALL = newest | first_of_each

WRONG = [  # a fact, and what the hint speaks of
    (ALL, "(7 MiB without pins)", "7 MiB are left and not pinned, more than 6"),
    (within & ALL, "should be left", "6 MiB are left, of 6 that are allowed"),
    (newest | (first_of_each & within), "(7 MiB", "Which one is last?"),
    (
        newest,
        "should be left",
        "step 250 is the first of the steps 0 to 499: which policy keeps it",
    ),
    (first_of_each & within, "should be left", "one of the newest two: which policy"),
    (ALL & keep.keep_within(7 << 20), "(7 MiB", "more than 6"),
    (ALL & keep.keep_within(5 << 20), "(5 MiB", "the limit too small"),
    (
        (keep.keep_last(3) | first_of_each) & within,
        "should be left",
        "is neither one of the newest",
    ),
    ((newest | keep.keep_every(1000)) & within, "should be left", "the steps 500 to 999"),
    ((newest & first_of_each) & within, "should be left", "step 250 is the first"),
    (keep.keep_all(), "(4 MiB", "is neither one of the newest"),
    (keep.keep_best(1, lambda checkpoint: 1.0), "is imaginary", "is enough"),
    (2, "policy is 2, not a retention policy", "build it from"),
]


@pytest.mark.parametrize(("answer", "fact", "hint"), WRONG)
def test_a_wrong_policy_is_told_what_is_wrong(answer, fact, hint):
    refuse(course.check_06, answer, fact=fact, hint=hint)


def by_hand(history, load):
    last = [one.name for one in history[-2:]]
    firsts = {}
    for one in sorted(history, key=lambda one: one.step):
        firsts.setdefault(one.step // 500, one.step)
    kept = [o.name for o in history if o.name in last or o.step == firsts[o.step // 500]]
    return kept[-6:]


@pytest.mark.parametrize(
    "answer",
    [
        (first_of_each | newest) & within,
        (ALL & within) | keep.keep_last(1),
        keep.keep_all() & (ALL & within),
        keep.Policy(by_hand, "by hand"),
    ],
)
def test_an_unusual_policy_passes(answer):
    assert "no difference" in course.check_06(answer)


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


def test_a_long_run_needs_room_for_one_more_than_is_kept():
    use = course.disk_use(keep.keep_last(3), 10, every_s=60.0, duration_s=360.0)
    assert use == [10, 20, 30, 40, 40, 40]
    every = course.disk_use(keep.keep_every(2000), 10, every_s=60.0, duration_s=360.0, steps=1000)
    assert every == [10, 20, 30, 40, 40, 50]  # step 3000 goes when it is no longer the newest
