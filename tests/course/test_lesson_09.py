"""Lesson 9: what a kill and a power cut leave of a commit, and plans for one."""

from __future__ import annotations

import pytest
from lessons import refuse

from ringnb import course
from ringnb.course import lesson_09

BEGIN = ["make directory", "write chunk", "write document"]
SYNCS = ["sync chunk", "sync document", "sync directory"]
GOOD = [*BEGIN, *SYNCS, "rename", "sync store"]


def without(step):
    return [one for one in GOOD if one != step]


WRONG = [  # an answer, a fact, and what the hint speaks of
    ([*BEGIN, "rename"], "after step 4, 'rename', the store may show", "the file 'chunk' is on"),
    (
        without("sync chunk"),
        "the power fails after step 6, 'rename'",
        "the file 'chunk' is on the disk",
    ),
    (
        without("sync document"),
        "the power fails after step 6, 'rename'",
        "the file 'document' is on",
    ),
    (
        without("sync directory"),
        "the power fails after step 6, 'rename'",
        "the names in a directory",
    ),
    (without("sync store"), "a power cut may leave: nothing or whole", "until that directory"),
    (without("rename"), "a power cut may leave: nothing", "without a rename"),
    (without("write document"), "comes before 'write document'", "needs those that make"),
    (
        ["make directory", "sync directory", *GOOD[1:5], "rename", "sync store"],
        "after step 7, 'rename'",
        "after they were made",
    ),
    ([*BEGIN, "rename", *SYNCS, "sync store"], "after step 4, 'rename'", "the file 'chunk'"),
    (["make directory", "rename", *BEGIN[1:], *SYNCS], "the process is killed", "not before"),
    ([*BEGIN, *SYNCS, "sync store", "rename"], "nothing or whole", "until that directory"),
    (
        ["make directory", "rename", "sync store"],
        "the process is killed after step 2",
        "not before",
    ),
    ([*GOOD, "rename"], "'rename' comes twice", "needs"),
    (["make directory", *GOOD], "'make directory' comes twice", "needs"),
    ([*BEGIN, *GOOD[1:]], "'write chunk' comes twice", "needs"),
    (GOOD[1:], "'write chunk' comes before 'make directory'", "needs"),
    ([*BEGIN, "sync"], "'sync' is not a step of a commit", "needs"),
    ("rename", "plan is 'rename', not a list", "the steps are make directory"),
    (..., "plan is Ellipsis, not a list", "the steps are"),
    ([], "may leave: nothing", "without a rename"),
    ([GOOD], "is not a step", "needs"),
]


@pytest.mark.parametrize(("answer", "fact", "hint"), WRONG)
def test_a_wrong_plan_is_told_what_is_wrong(answer, fact, hint):
    refuse(course.check_09, answer, fact=fact, hint=hint)


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        tuple(GOOD),
        (step for step in GOOD),
        [*BEGIN, *reversed(SYNCS), "rename", "sync store"],
        [
            *("make directory", "write document", "sync document", "write chunk", "sync chunk"),
            *("sync directory", "sync directory", "rename", "sync directory", "sync store"),
        ],
        [*GOOD, "sync store", "sync chunk"],
    ],
)
def test_an_unusual_plan_passes(answer):
    assert "nothing is damaged" in course.check_09(answer)


@pytest.fixture(scope="module")
def commits():
    return course.record_commit(), course.record_commit(durable=False)


def test_a_power_cut_breaks_no_durable_commit_and_a_kill_none_at_all(commits):
    durable, other = commits
    assert durable.syncs == 6
    assert other.syncs == 0
    assert durable.operations[-2:] == (
        "rename staging into the store",
        "sync directory of the store",
    )
    assert not any("damaged" in one for one in durable.power)
    assert (durable.may_leave(-2), durable.may_leave(-1)) == ("nothing or whole", "whole")
    assert other.may_leave(-1) == "nothing or whole or damaged"
    for one in commits:
        assert set(one.killed) == {"nothing", "whole"}
        assert one.older_kept
        assert one.states == sum(sum(outcomes.values()) for outcomes in one.power)


def test_an_older_checkpoint_that_is_lost_is_said(monkeypatch):
    monkeypatch.setattr(lesson_09, "_look_at_plan", lambda state: ("whole", False))
    result = course.try_plan(BEGIN)
    assert not result.older_kept
    assert result.may_leave(-1) == "whole"


def test_the_document_of_a_checkpoint_is_written_last(commits):
    writes = [o for o in commits[0].operations if o.startswith("write")]
    assert writes[-1] == "write staging/zarr.json"


def test_outcomes_are_drawn_in_words(commits):
    figure = course.power_cuts(dict(zip(("a", "b"), commits, strict=True)))
    words = {text.get_text() for text in figure.axes[1].texts}
    assert words == {"nothing", "whole", "nothing or whole or damaged"}
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(
        commits[0].operations
    )


def test_without_proc_the_lesson_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(lesson_09.Path, "is_dir", lambda self: False)
    with pytest.raises(lesson_09.RingnbError, match="only Linux"):
        course.record_commit()
