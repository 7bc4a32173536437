"""The log of messages: counted, settled, dismissed, forgotten."""

from __future__ import annotations

import itertools

import pytest

from ringnb.panels.core.messages import MessageLog


@pytest.fixture
def log():
    return MessageLog(clock=itertools.count(100).__next__)


def test_a_problem_that_comes_again_is_counted_and_not_repeated(log):
    log.say("problem", "full", key="0:snapshot", detail="why")
    log.say("done", "something else")
    log.say("problem", "still full", key="0:snapshot")
    other, trouble = log.newest()
    assert other.text == "something else"
    assert (trouble.text, trouble.count, trouble.at, trouble.detail) == (
        "still full",
        2,
        102,
        "",
    )


def test_what_is_tried_again_counts_where_it_is_and_stays_dismissed(log):
    log.say("problem", "away", key="store", again=1.0)
    log.say("problem", "bad", key="0:guard")
    log.note_retry("store", 3.0)
    assert [(m.key, m.count, m.again, m.at) for m in log.newest()] == [
        ("store", 2, 3.0, 100),
        ("0:guard", 1, None, 101),
    ]
    log.say("problem", "away", key="store", again=5.0)  # as a snapshot that fails again
    assert [(m.key, m.count, m.at, m.since) for m in log.newest()][1:] == [("store", 3, 102, 100)]
    log.dismiss("store")
    before = log.newest()
    log.note_retry("store", 7.0)
    assert log.newest() == before


def test_what_is_told_twice_of_one_occasion_counts_once(log):
    log.say("problem", "full", key="k")
    log.say("problem", "OSError: full", key="k", detail="its traceback", repeats=False)
    (trouble,) = log.newest()
    assert (trouble.text, trouble.count, trouble.detail) == ("full", 1, "its traceback")
    log.say("problem", "OSError: full", key="k", detail="its traceback", repeats=False)
    assert [m.count for m in log.newest()] == [2]  # another occasion: it has its traceback


def test_what_was_settled_says_by_what_and_the_next_one_is_another(log):
    log.say("problem", "full", key="k")
    log.settle("k", "checkpoint_0_step_9")
    log.settle("never said", "nothing")
    log.say("problem", "full", key="k")
    first, second = log.newest()
    assert (first.settled, first.settled_at, first.open) == ("checkpoint_0_step_9", 101, False)
    assert (second.count, second.open) == (1, True)
    log.settle_all("the new session")
    assert not any(m.open for m in log.newest())


def test_what_is_dismissed_leaves_the_line_and_stays_in_the_history(log):
    log.say("warning", "late", key="k")
    log.dismiss("k")
    assert log.in_line() == []
    assert log.newest()[0].dismissed
    assert log.knows("k")
    assert not log.is_open("k")


def test_a_question_that_was_declined_says_so_in_the_history(log):
    keep = ("say.dismiss", "Keep it", {"key": "delete"})
    for key, actions in (("late", [("look.newest", "Newest")]), ("delete", [keep])):
        log.say("warning", key, key=key, actions=actions)
        log.dismiss(key, answers=True)
    log.say("warning", "and another", key="delete", actions=[keep])
    log.dismiss("delete")  # a third one takes its place
    assert log.in_line() == []
    assert [m.settled for m in log.newest()] == ["", "the answer: Keep it", ""]
    assert log.newest()[1].settled_at == 102


def test_the_line_gets_what_is_open_and_the_newest_few_without_tracebacks(log):
    log.say("problem", "full", key="k", detail="a traceback", actions=[("live.restart", "Restart")])
    for i in range(10):
        log.say("done", str(i), by_itself=i != 2)
    rows = log.in_line()
    assert [row["text"] for row in rows] == ["full", "2", "6", "7", "8", "9"]
    assert rows[0]["detail"] == ""
    assert rows[0]["actions"] == [["live.restart", "Restart"]]


def test_the_oldest_are_forgotten_but_none_that_is_open(log):
    log.say("problem", "full", key="k")
    for i in range(500):
        log.say("done", str(i))
    kept = log.newest()
    assert len(kept) == 200
    assert kept[0].text == "full"
    assert kept[-1].text == "499"


def test_what_may_be_undone_is_kept_however_much_comes_by_itself(log):
    log.say("done", "restored", actions=[("live.undo", "Undo")])
    for i in range(500):
        log.say("done", str(i), by_itself=True)
    assert len(log.newest()) == 200
    assert log.in_line()[0]["text"] == "restored"


def test_what_replaces_takes_the_place_of_what_did_and_of_nothing_else(log):
    for step in (7, 8):
        log.say("note", f"step {step} is not stored", key="look:shown", replaces=True)
        log.say("note", f"{step} is gone", key="look:shown")
    found = ["7 is gone", "step 8 is not stored", "8 is gone"]
    assert [m.text for m in log.newest()] == found
