"""What the page makes of marks and lanes, tried without a page: `line.js` touches none."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from javascript import needs_node, printed

from ringnb.panels import deck
from ringnb.panels.deck.marks import Flag, Kind, Mark, MarkLog

LINE = Path(deck.__file__).parent / "static" / "line.js"
pytestmark = needs_node


def evaluate(code, **given):
    """Return what a function body returns, with the script before it and values given to it."""
    script = f"""{LINE.read_text(encoding="utf-8")}
const given = {json.dumps(given)};
const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const load = (change) => ({{ ...change, add: bytes(change.add) }});
console.log(JSON.stringify((() => {{ {code} }})()));"""
    return printed(script)


def sendable(change):
    return {**change, "add": base64.b64encode(change["add"]).decode()}


def of_steps(steps, lane=1, flags=None):
    flags = flags or {}
    return {
        (lane, i): Mark(Kind.CHECKPOINT, lane, step, flags.get(step, Flag(0)))
        for i, step in enumerate(steps)
    }


def whole(*groups):
    log = MarkLog()
    log.update({k: v for group in groups for k, v in group.items()})
    return sendable(log.whole())


LANES = [
    {"n": 2, "parent": 1, "fork": 200, "first": 250, "last": 400},
    {"n": 1, "parent": None, "fork": None, "first": 0, "last": 300},
]


def test_the_page_has_the_marks_of_every_version_or_asks_for_all():
    log = MarkLog()
    first = log.update(of_steps([10, 20]))
    second = log.update(of_steps([10, 30], flags={30: Flag.DAMAGED}))
    third = log.update(of_steps([30]))
    changes = [sendable(c) for c in (first, second, third, log.whole())]
    seen = evaluate(
        """const marks = makeMarks(), found = [];
        const now = () => marks.ofLane(1).map((m) => [m.step, m.flags]);
        for (const i of [0, 1, 1, 2]) found.push([marks.take(load(given.changes[i])), now()]);
        const late = makeMarks();
        late.take(load(given.changes[0]));
        found.push(late.take(load(given.changes[2])), late.version);
        found.push(late.take(load(given.changes[3])), late.ofLane(1).length, late.version);
        return found;""",
        changes=changes,
    )
    assert seen == [
        [True, [[10, 0], [20, 0]]],
        [True, [[10, 0], [30, 2]]],
        [True, [[10, 0], [30, 2]]],
        [True, [[30, 0]]],
        *(False, 1, True, 1, 3),
    ]


def test_a_step_shows_the_sound_checkpoint_before_it_on_its_way():
    disturbed = {"input": Mark(Kind.DISTURBED, 1, 20)}
    marks = whole(
        of_steps([100, 200, 300]), of_steps([250, 350], 2, {350: Flag.DAMAGED}), disturbed
    )
    seen = evaluate(
        """const marks = makeMarks(); marks.take(load(given.marks));
        const way = wayOf(given.lanes, 2), step = (mark) => mark && mark.step;
        const beside = (at) => [-1, 1].map((by) => step(neighbour(marks, way, at, by)));
        return [[380, 349, 249, 5].map((at) => step(nearestOf(marks, way, at))),
          [200, 250, 100].map(beside),
          [100, 200, 201].map((at) => laneAt(way, at).n),
          step(neighbour(marks, way, -1, 1)),
          step(nearestOf(marks, wayOf(given.lanes, 1), 999)),
          spaced(marks, way, makeScale(0, 400, 0, 400), 60).map(step)];""",
        marks=marks,
        lanes=LANES,
    )
    assert seen == [
        [250, 250, 200, 100],
        [[100, 250], [200, None], [20, 200]],
        [1, 1, 2],
        20,
        300,
        [100, 200],
    ]


def test_a_column_of_the_trace_has_the_peak_of_all_that_it_stands_for():
    marks = whole(
        of_steps([100, 102, 104, 110, 200, 260], flags={110: Flag.DAMAGED}),
        of_steps([250, 252, 254], 2),
    )
    columns, trace = evaluate(
        """const marks = makeMarks(); marks.take(load(given.marks));
        const columns = columnsOf(marks, wayOf(given.lanes, 2), makeScale(0, 400, 0, 400), 6);
        const values = new Map();
        const note = (step, low, mean, high) => {
          for (const column of columns) for (const mark of column) {
            if (mark.step === step) values.set(mark.key, { low, mean, high });
          }
        };
        note(100, 0, 1, 2); note(102, 0.5, 3, 9); note(200, 0, 1, 2); note(254, -4, 0, 1);
        values.set(columns[2][0].key, { low: null, mean: null, high: null }); // nothing is finite
        return [columns.map((one) => one.map((mark) => mark.step)),
          traceOf(columns, (key) => values.get(key))];""",
        marks=marks,
        lanes=LANES,
    )
    assert columns == [[100, 102, 104], [200], [250, 252, 254]]
    assert [tuple(one.values()) for one in trace] == [
        (100, 0, 2, 9),
        (200, 0, 1, 2),
        (250, -4, 0, 1),
    ]


def test_of_several_checkpoints_of_one_step_marks_go_through_each():
    first = {("a", i): Mark(Kind.CHECKPOINT, 1, step) for i, step in enumerate([100, 200, 200])}
    later = {("b", 0): Mark(Kind.CHECKPOINT, 2, 200), ("b", 1): Mark(Kind.CHECKPOINT, 2, 300)}
    disturbed = {"input": Mark(Kind.DISTURBED, 1, 200)}
    damaged = {"damaged": Mark(Kind.CHECKPOINT, 1, 200, Flag.DAMAGED)}
    there, back = evaluate(
        """const marks = makeMarks(); marks.take(load(given.marks));
        const way = wayOf(given.lanes, 2);
        const through = (mark, by) => {
          const keys = [];
          for (; mark; mark = nextOf(marks, way, mark.step, mark, by)) keys.push(mark.key);
          return keys;
        };
        const first = nextOf(marks, way, 0, undefined, 1);
        return [through(first, 1), through(nearestOf(marks, way, 999), -1)];""",
        marks=whole(first, later, disturbed, damaged),
        lanes=LANES,
    )
    assert there == [1, 2, 3, 4, 5]
    assert back == there[::-1]


def test_marks_move_apart_or_become_bars_that_end_at_ticks():
    marks = whole(
        of_steps([0, 100, 102, *range(300, 500, 2)], flags={350: Flag.PINNED, 402: Flag.DAMAGED})
    )
    single, bars = evaluate(
        """const marks = makeMarks(); marks.take(load(given.marks));
        const { single, bars } = binsOf(marks.ofLane(1), makeScale(0, 1000, 0, 1000), 100);
        const placed = ({ mark, x, onBar }) => [mark.step, Math.round(x), Boolean(onBar)];
        return [single.map(placed), bars.map(({ count }) => count)];""",
        marks=marks,
    )
    assert bars == [50, 50]
    assert single == [
        [0, 0, False],
        [100, 98, False],
        [102, 105, False],
        [350, 350, True],
        [402, 402, True],
    ]


def test_ten_thousand_checkpoints_are_few_shapes():
    marks = whole(of_steps(range(0, 1_000_000, 100)))
    shapes, looks = evaluate(
        """const marks = makeMarks(); marks.take(load(given.marks)); marks.ofLane(1);
        const scale = makeScale(0, 1e6, 0, 1000);
        let looks = 0;
        const counted = { ...scale, x: (step) => { looks++; return scale.x(step); } };
        const { single, bars } = binsOf(marks.ofLane(1), counted, 1e5);
        return [single.length + bars.length, looks];""",
        marks=marks,
    )
    assert shapes == 10
    assert (
        10_000 < looks < 2 * shapes * 10_000
    )  # of a mark a few for each shape, none for each mark


def test_more_than_five_runs_fold_and_the_ways_to_live_edge_and_playhead_stay():
    lanes = [{"n": n, "parent": None if n == 1 else n - 1, "fork": 0} for n in range(9, 0, -1)]
    shown, folded = evaluate(
        """const keep = [given.lanes[0], given.lanes[8]];
        const { shown, folded } = foldOf(given.lanes, keep, 5);
        return [shown.map((one) => one.n), folded.map((one) => one.n)];""",
        lanes=lanes,
    )
    assert shown == [9, 8, 7, 1]
    assert folded == [6, 5, 4, 3, 2]


@pytest.mark.parametrize(
    ("high", "tick"), [(100, 10), (1000, 100), (8620, 1000), (3, 1), (5e8, 5e7)]
)
def test_ticks_are_round_and_far_enough_apart(high, tick):
    assert evaluate(f"return tickOf(makeScale(0, {high}, 0, 1000), 90);") == tick


def stretches(*given):
    """Return origin and end after each (first, last, running) in turn."""
    return evaluate(
        """let now = { origin: 0, reach: 100 };
        return given.turns.map(([first, last, running]) => {
          now = stretchOf(now, first, last, running);
          return [now.origin, Math.round(now.origin + now.reach)];
        });""",
        turns=given,
    )


def test_the_line_begins_at_the_first_checkpoint_that_is_kept():
    assert stretches((0, 1000, False)) == [[0, 1012]]  # nothing was deleted: from step 0 on
    [[origin, end]] = stretches((50_000, 53_000, True))
    assert 49_000 < origin < 50_000
    assert 53_000 < end < 55_000
    assert stretches((50_000, 53_000, True), (0, 53_000, True))[1][0] == 0  # all of it is asked for


def test_marks_stand_still_from_commit_to_commit():
    turns = [(50_000 + 100 * i, 53_000 + 100 * i, True) for i in range(12)]
    seen = stretches(*turns)
    assert len({tuple(pair) for pair in seen}) <= 3
    assert all(
        origin <= turn[0] and end >= turn[1]
        for (origin, end), turn in zip(seen, turns, strict=True)
    )


def test_a_single_checkpoint_far_from_the_start_has_a_line():
    [[origin, end]] = stretches((50_000, 50_000, False))
    assert origin <= 50_000 < end <= 50_200
