"""Marks: one per checkpoint, input and trouble, and what of them a page lacks."""

from __future__ import annotations

import time

from ringnb.checkpoint.runs import Lineage
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.messages.events import Event
from ringnb.panels.deck.inputs import Inputs
from ringnb.panels.deck.lanes import RunNumbers, make_lanes
from ringnb.panels.deck.marks import LAYOUT, Flag, Kind, Mark, MarkLog, make_marks


def commit(n, step, run="A", parent=None, **more):
    return CheckpointInfo(
        *(f"c_0_step_{step}", "c", "wave_0", "wave", 0, step, n),
        id=f"id {n}",
        run=run,
        parent_id=parent,
        **more,
    )


def marks_of(history, *, damaged=(), inputs=(), going=(), sound=lambda _: True, lineage=None):
    last = history[-1]
    lineage = Lineage(last.name, last.id, last.run) if lineage is None else lineage
    lanes = make_lanes(history, lineage, last.step, RunNumbers())
    return list(make_marks(lanes, damaged, inputs, going, sound).values())


def test_a_checkpoints_mark_says_what_is_known_of_it():
    a, b, c, d = (commit(n, 10 * n) for n in range(1, 5))
    history = [a._replace(pin="calm"), b, c, d._replace(good=False)]
    assert marks_of(history, going={b.name}, sound=lambda e: e != c) == [
        Mark(Kind.CHECKPOINT, 1, 10, Flag.PINNED, a.name),
        Mark(Kind.CHECKPOINT, 1, 20, Flag.GOING, b.name),
        Mark(Kind.CHECKPOINT, 1, 30, Flag.DAMAGED, c.name),
        Mark(Kind.CHECKPOINT, 1, 40, Flag.NOT_GOOD, d.name),
        Mark(
            Kind.NOT_GOOD,
            1,
            40,
            about=f"{d.name} is the first of run 1 whose state is not good. It went bad between step 30 "
            "and 40; more is not known without replay",
        ),
    ]


def test_the_step_at_which_a_run_went_bad_is_as_exact_as_its_checkpoints():
    def told(*history):
        (mark,) = (m for m in marks_of(history) if m.kind == Kind.NOT_GOOD)
        return mark.step, mark.about.split(". ", 1)[1]

    good, bad = commit(1, 10), commit(2, 11, good=False)
    assert told(good, bad) == (11, "It went bad at step 11 exactly")
    branch = commit(2, 30, "B", "id 1", good=False)
    assert told(good, branch)[1].startswith("It went bad between step 10 and 30; more")
    assert told(bad) == (
        11,
        "It went bad at step 11 or before: no good checkpoint is left before it",
    )


def test_a_checkpoint_that_cannot_be_read_stands_where_it_was_or_where_it_may_have_been():
    history = [commit(1, 10), commit(2, 90), commit(3, 50, "B", "id 1")]
    known, unknown = marks_of(history, damaged=[("c_0_step_60", 1), ("c_0_step_45.2", None)])[-2:]
    assert known == Mark(Kind.CHECKPOINT, 1, 60, Flag.DAMAGED, "c_0_step_60")
    assert unknown == Mark(Kind.CHECKPOINT, 1, 45, Flag.DAMAGED, "c_0_step_45.2")
    (lost,) = marks_of(history, damaged=[("c_0_step_50.2", None)])[-1:]
    assert lost.lane == 2  # the newest that has this step


def test_parameters_that_differ_from_the_checkpoint_before_are_a_mark():
    history = [
        commit(1, 10, params=(("feed", 1.0),)),
        commit(2, 30, params=(("feed", 2.0),)),
        commit(3, 40, "B", "id 1", params=(("feed", 3.0),)),
    ]
    found = [m for m in marks_of(history) if m.kind == Kind.ADJUSTED]
    assert [(m.lane, m.step) for m in found] == [(2, 10), (1, 30)]
    assert found[1].about == "feed 1.0 → 2.0, between step 10 and 30"


def test_an_input_stands_on_the_run_that_the_next_commit_shows_or_on_the_live_one():
    inputs = Inputs()
    inputs.feed(
        [
            Event("disturbed", 0, step=5, detail="cell 1 by 2"),
            Event("committed", 0, 1, 10, "c_0_step_10"),
            Event("disturbed", 0, step=30),  # of a stretch that was left without a commit
            Event("restored", 0, step=10, name="c_0_step_10"),
            Event("disturbed", 0, step=12),
            Event("disturbed", 1, step=12),  # another actor
        ]
    )
    history = [commit(1, 10), commit(2, 20)]
    given = inputs.of(0, {e.name: e.run for e in history})
    assert [(one.step, run) for one, run in given] == [(5, "A"), (30, "A"), (12, None)]
    found = marks_of(history, inputs=given, lineage=Lineage("c_0_step_10", "id 1", None))
    assert [(m.lane, m.step, m.about) for m in found if m.kind == Kind.DISTURBED] == [
        (1, 5, "cell 1 by 2"),
        (1, 30, ""),
        (2, 12, ""),
    ]
    assert inputs.of(0, {})[0][0].step == 12  # a run that is gone takes its inputs along


def test_an_input_after_the_capture_is_not_of_the_commit_that_follows():
    inputs = Inputs()
    inputs.feed([Event("disturbed", 0, step=11), Event("committed", 0, 1, 10, "a")])
    assert inputs.of(0, {"a": "A"})[0][1] is None


def test_a_slider_that_is_drawn_leaves_one_mark_per_rest_and_none_beside_it():
    inputs, now = Inputs(), time.monotonic_ns()
    for i, words in enumerate(("a 1 → 2", "a 2 → 3, b 5 → 6", "a 3 → 4")):
        at = now + i * 300_000_000
        inputs.feed([Event("adjusted", 0, step=10 + i, detail=words, t_ns=at)])
    inputs.feed([Event("adjusted", 0, step=50, detail="a 4 → 1", t_ns=now + 5_000_000_000)])
    found = [(one.step, one.words) for one, _ in inputs.of(0, {})]
    assert found == [(12, "a 1 → 4, b 5 → 6"), (50, "a 4 → 1")]
    # The checkpoints show the same change: it stands there once.
    inputs.feed([Event("committed", 0, 1, 60, "c_0_step_60")])
    history = [commit(1, 0, params=(("a", 1),)), commit(2, 60, params=(("a", 4),))]
    marks = marks_of(history, inputs=inputs.of(0, {e.name: e.run for e in history}))
    assert [m.step for m in marks if m.kind == Kind.ADJUSTED] == [12, 50]


def test_a_parameter_stands_where_it_took_effect_while_the_checkpoints_around_it_are_retired():
    inputs = Inputs()
    inputs.feed([Event("committed", 0, 1, 30, "c_0_step_30")])
    inputs.feed([Event("adjusted", 0, step=33, detail="a 1 → 2")])
    inputs.feed([Event("committed", 0, 2, 40, "c_0_step_40")])
    steps = range(10, 80, 10)
    whole = [commit(n, step, params=(("a", 1 + (step > 33)),)) for n, step in enumerate(steps, 1)]

    def told(*kept):
        history = [e for e in whole if e.step in kept]
        given = inputs.of(0, {e.name: e.run for e in history})
        found = [m for m in marks_of(history, inputs=given) if m.kind == Kind.ADJUSTED]
        return [(m.step, m.about) for m in found]

    exact = [(33, "a 1 → 2")]
    assert told(*steps) == told(10, 20, 50, 60) == told(10, 70) == told(40, 50) == exact
    assert told(50, 60) == []  # of that stretch nothing is left
    # A run that begins at step 20 has used the name of step 40 again.
    runs = {"c_0_step_30": whole[0].run, "c_0_step_40": "another"}
    assert [run for _, run in inputs.of(0, runs)] == [whole[0].run]


def test_a_page_of_the_version_before_gets_what_it_lacks():
    log = MarkLog()
    a, b = Mark(Kind.CHECKPOINT, 1, 10), Mark(Kind.DISTURBED, 2, 20)
    assert log.update({}) is None
    first = log.update({"a": a, "b": b})
    assert (first["v"], first["from"], first["gone"]) == (1, 0, [])
    assert list(LAYOUT.iter_unpack(first["add"])) == [(1, 10.0, 1, 0, 0), (2, 20.0, 2, 1, 0)]
    assert log.update({"b": b, "a": a}) is None
    pinned = a._replace(flags=Flag.PINNED)
    second = log.update({"a": pinned, "c": b})
    assert (second["v"], second["from"], second["gone"]) == (2, 1, [2])
    assert list(LAYOUT.iter_unpack(second["add"])) == [(1, 10.0, 1, 0, 1), (3, 20.0, 2, 1, 0)]
    assert log.mark(1) == pinned
    assert log.mark(2) is None
    whole = log.whole()
    assert (whole["v"], whole["from"], len(whole["add"])) == (2, 0, 2 * LAYOUT.size)


def test_marks_of_another_actor_are_no_later_version_of_the_first_ones():
    log = MarkLog()
    log.update({"a": Mark(Kind.CHECKPOINT, 1, 10)})
    log.restart()
    changed = log.update({"b": Mark(Kind.CHECKPOINT, 1, 10)})
    assert changed["from"] == 2  # a page of version 1 asks for all
    assert log.whole()["v"] == 3


def test_ten_thousand_marks_are_made_soon_and_take_16_bytes_each():
    history = [commit(n, 100 * n, params=(("feed", 1.0),)) for n in range(10_000)]
    log, began = MarkLog(), time.thread_time()
    lanes = make_lanes(history, Lineage(history[-1].name, history[-1].id, "A"), 10**6, RunNumbers())
    log.update(make_marks(lanes, [], [], (), lambda _: True))
    took = time.thread_time() - began
    assert len(log.whole()["add"]) == 160_000
    assert took < 1.0  # a tenth of a second
