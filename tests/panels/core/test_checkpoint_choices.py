"""Which checkpoints are chosen, what reading them has shown, and the lists to choose from."""

from __future__ import annotations

import sys
import threading

import pytest

from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.panels.core.checkpoint_choices import CheckpointChoices

A, B, C = (CheckpointInfo(name, sequence=i, nbytes=2048) for i, name in enumerate("abc"))
LOST = CheckpointInfo("lost", damaged=True)
OTHER = CheckpointInfo("other", kernel_id="wave_1", sequence=3, pin="calm")


@pytest.fixture
def choices():
    return CheckpointChoices(((LOST, A, B, C), (OTHER,)))


def test_without_a_choice_the_newest_sound_one_of_the_selected_actor_is_taken(choices):
    assert choices.follows("main")
    assert choices.resolve("main") == C
    assert choices.resolve("main", back=1) == B
    assert choices.resolve("main", back=9) == A
    choices.note_verdict("c", "damaged: a bit")
    assert choices.resolve("main") == B
    choices.note_verdict("c")
    assert choices.resolve("main") == C
    choices.left = {"b", "c"}
    assert choices.resolve("main") == choices.newest() == A
    choices.left = {"a", "b", "c"}
    assert choices.resolve("main") == C
    choices.slot = 1
    assert choices.resolve("main") == OTHER


def test_a_choice_stays_until_it_is_retired_and_says_so_then(choices):
    choices.choose("main", "a")
    choices.slot = 1
    assert choices.resolve("main", back=1) == A
    assert not choices.follows("main")
    assert choices.follows("main", "b")
    choices.update(((B, C), (OTHER,)))
    assert choices.resolve("main") is None
    assert choices.why_unresolved("main") == "a is not there any more: choose another one"
    choices.choose("main", "")
    assert choices.follows("main")
    choices.update(((), ()))
    assert choices.resolve("main") is None
    assert "take a snapshot first" in choices.why_unresolved("main")


def test_whatever_is_chosen_ends_a_drag(choices):
    choices.look("a", 1, 10, passes=True)
    choices.choose("other", "b")
    assert choices.passes
    choices.choose("main", "")
    assert not choices.passes


def test_the_lines_to_choose_from_say_what_is_known(choices):
    choices.note_verdict("a")
    choices.note_verdict("b", "damaged: a bit")
    assert choices.items() == [
        {"name": "lost", "text": "lost: damaged, cannot be read", "bad": 1},
        {"name": "a", "text": "a, 2.0 KiB, verified", "bad": 0},
        {"name": "b", "text": "b, 2.0 KiB, damaged: a bit", "bad": 1},
        {"name": "c", "text": "c, 2.0 KiB, complete", "bad": 0},
    ]
    line = choices.items(every_actor=True)[-1]["text"]
    assert line == "other, wave_1, 0 B, complete, pinned: calm"
    choices.forget_verdict("b")
    assert choices.items()[2]["bad"] == 0


def test_the_lines_name_the_runs_if_there_are_several_and_mark_bad_states(choices):
    bad = B._replace(run="0123456789abcdef", good=False)
    choices.update(((A._replace(run="f" * 16), bad), (OTHER,)))
    assert [item["text"] for item in choices.items()] == [
        "a, run ffffff, 2.0 KiB, complete",
        "b, run 012345, 2.0 KiB, complete, bad state",
    ]


def test_a_verdict_on_what_is_gone_is_forgotten(choices):
    choices.note_verdict("a", "damaged: a bit")
    choices.update(((B,), ()))
    choices.update(((A,), ()))
    assert choices.sound(A)


def test_verdicts_may_come_in_while_the_list_is_renewed():
    """The thread that writes displays must not end because a worker reads checkpoints meanwhile."""
    many = tuple(CheckpointInfo(str(i), sequence=i) for i in range(3000))
    choices, ended = CheckpointChoices((many,)), threading.Event()

    def note_verdicts():
        while not ended.is_set():
            for change in (choices.note_verdict, choices.forget_verdict):
                for e in many:
                    change(e.name)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    worker = threading.Thread(target=note_verdicts)
    worker.start()
    try:
        for _ in range(300):
            choices.update((many,))
    finally:
        ended.set()
        worker.join()
        sys.setswitchinterval(interval)
