"""Lesson 11: two tanks and what they exchange, depots that are counted, and how far back to go."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from lessons import refuse

import ringnb as rn
from ringnb import course


def the_sender(m, _sent):
    return m.source, m.sent


def the_receiver(m, _sent):
    return m.target, m.received


def the_right_one(m, sent):
    return the_sender(m, sent) if sent else the_receiver(m, sent)


def back_for(torn, who=the_right_one):
    """Return a solution in which `torn` says which messages send somebody back, and `who` whom."""

    def recovery_line(checkpoints, messages):
        line = {name: times[-1] for name, times in checkpoints.items()}
        while found := [m for m in messages if torn(m, line)]:
            m = found[0]
            name, at = who(m, m.sent <= line[m.source])
            line[name] = max(time for time in checkpoints[name] if time < at)
        return line

    return recovery_line


solution = back_for(course.is_torn)


def once(checkpoints, messages):
    line = {name: times[-1] for name, times in checkpoints.items()}
    for m in messages:
        if course.is_torn(m, line):
            sent = m.sent <= line[m.source]
            name, at = (m.source, m.sent) if sent else (m.target, m.received)
            line[name] = max(time for time in checkpoints[name] if time < at)
    return line


def without_another_look(checkpoints, messages):
    line = {name: times[-1] for name, times in checkpoints.items()}
    for m in messages:
        while course.is_torn(m, line):
            line[m.target] = max(time for time in checkpoints[m.target] if time < m.received)
    return line


def one_that_hides_what_it_raises(checkpoints, messages):
    while True:
        try:
            return back_for(course.is_torn, the_sender)(checkpoints, messages)
        except Exception:
            continue


def the_other_one(checkpoints, messages):
    line = {name: times[-1] for name, times in checkpoints.items()}
    while found := [m for m in messages if course.is_torn(m, line)]:
        m = found[0]
        name = m.target if m.sent <= line[m.source] else m.source
        earlier = [time for time in checkpoints[name] if time < line[name]]
        if not earlier:
            return line
        line[name] = earlier[-1]
    return line


def both_go_back(checkpoints, messages):
    line = {name: times[-1] for name, times in checkpoints.items()}
    while found := [m for m in messages if course.is_torn(m, line)]:
        for name in (found[0].source, found[0].target):
            line[name] = max(t for t in checkpoints[name] if t < max(1, line[name]))
    return line


def just_before(checkpoints, messages):
    line = {name: times[-1] for name, times in checkpoints.items()}
    for m in messages:
        if course.is_torn(m, line):
            line[m.target] = m.received - 1
            line[m.source] = m.sent - 1
    return line


def without_the_quiet_ones(checkpoints, messages):
    line = solution(checkpoints, messages)
    return {n: t for n, t in line.items() if any(n in (m.source, m.target) for m in messages)}


def same_time(checkpoints, messages):
    common = set.intersection(*map(set, checkpoints.values()))
    return dict.fromkeys(checkpoints, max(common))


WRONG = [  # an answer, a fact, and what the hint speaks of
    (lambda c, m: {n: t[-1] for n, t in c.items()}, "from A (sent at 13) to B (rec", "B goes back"),
    (lambda c, m: dict.fromkeys(c, 0), "neither is one with A at 10, B at 10", "no farther"),
    (
        back_for(lambda m, line: m.received <= line[m.target] and m.sent > line[m.source]),
        "lost",
        "A",
    ),
    (
        back_for(lambda m, line: m.sent <= line[m.source] and m.received > line[m.target]),
        "will be sent again",
        "B goes back to a checkpoint before it was received",
    ),
    (
        back_for(course.is_torn, the_receiver),
        "'B': [0, 10]} and 1 message, ",
        "to where it already was",
    ),
    (
        back_for(course.is_torn, the_sender),
        "'B': [0, 20]} and 1 message, ",
        "to where it already was",
    ),
    (without_another_look, "goes round for ever", "to where it already was"),
    (one_that_hides_what_it_raises, "goes round for ever", "to where it already was"),
    (once, "the message from", "look at all messages again"),
    (the_other_one, "will be sent again", "B goes back"),
    (both_go_back, "no message is torn, but", "only the process that must"),
    (just_before, "A goes back to 12, where it has no checkpoint", "nothing to go back to"),
    (same_time, "neither is one with A at 10, B at 0", "begin with the newest"),
    (without_the_quiet_ones, "not a time for each of A, B", "dictionary"),
    (lambda c, m: min(t[-1] for t in c.values()), "returned 10, not a time", "dictionary"),
    (lambda c, m: None, "returned None", "dictionary"),
    (lambda c, m: dict.fromkeys(c), "A goes back to None", "nothing to go back to"),
    (lambda c, m: c, "A goes back to [0, 10]", "nothing to go back to"),
    (lambda c: c, "TypeError", "by hand"),
    (lambda c, m: 1 / 0, "ZeroDivisionError", "by hand"),
]


@pytest.mark.parametrize(("answer", "fact", "hint"), WRONG)
def test_a_wrong_line_is_told_what_is_wrong(answer, fact, hint):
    refuse(course.check_11, answer, fact=fact, hint=hint)


def by_search(checkpoints, messages):
    """Look at all lines, the newest first: another order of the same idea."""
    lines = [{}]
    for name, times in checkpoints.items():
        lines = [one | {name: t} for one in lines for t in times]
    good = [one for one in lines if not any(course.is_torn(m, one) for m in messages)]
    return max(good, key=lambda one: sum(one.values()))


def destructive(checkpoints, messages):
    """Use the lists as stacks, and the messages from the end."""
    while torn := [
        m for m in messages if course.is_torn(m, {n: t[-1] for n, t in checkpoints.items()})
    ]:
        m = torn[-1]
        checkpoints[m.source if m.sent <= checkpoints[m.source][-1] else m.target].pop()
    messages.clear()
    return {name: times[-1] for name, times in checkpoints.items()}


def in_numpy(checkpoints, messages):
    return {n: np.float64(t) for n, t in solution(checkpoints, messages).items()}


@pytest.mark.parametrize("answer", [solution, by_search, destructive, in_numpy])
def test_an_unusual_line_passes(answer):
    assert "all of them to the start" in course.check_11(answer)


# -- the tanks -----------------------------------------------------------------------------------------


def column(x):
    return rn.Region("dye", slice(None), slice(x, x + 1))


@pytest.fixture(scope="module")
def begin():
    actors = course.tanks()
    last = actors[0].shape[1] - 1
    links = [rn.Link(0, column(last), 1, column(0)), rn.Link(1, column(last), 0, column(0))]
    config = rn.CheckpointConfig(enabled=False, max_snapshots=0)
    storage = rn.ZarrStorage(zarr.storage.MemoryStore())
    with rn.Session(list(actors), links=links, config=config, storage=storage) as session:
        beginning = session.snapshot_all()
        yield lambda: session.restore_all(beginning) or session


def test_tanks_keep_their_dye_as_long_as_their_links_do(begin):
    tanks = begin()

    def amount():
        return course.dye(tanks.state(0), tanks.state(1))

    assert amount() == pytest.approx(100, abs=1e-9)
    tanks.run_steps(0, 333)
    assert amount() == pytest.approx(100, abs=1e-9)
    tanks.cut(link := next(iter(tanks.links)))
    tanks.run_steps(0, 60)
    assert abs(amount() - 100) > 0.1
    tanks.join(link)


def test_tanks_go_back_to_the_newest_step_that_both_have(begin):
    tanks, cuts = begin(), {}
    for _ in range(7):
        tanks.run_steps(0, 20)
        cut = tanks.snapshot_all()
        cuts[cut.step] = cut
    steps = sorted(cuts)
    left = {steps[i]: cuts[steps[i]].part(0) for i in (0, 2, 4, 6)}
    right = {steps[i]: cuts[steps[i]].part(1) for i in (2, 5)}
    tries = course.roll_back(left, right)
    assert [(t.left, t.right) for t in tries] == [
        (steps[a], steps[b]) for a, b in ((6, 5), (4, 5), (4, 2), (2, 2))
    ]
    assert tries[-1].amount == pytest.approx(100, abs=1e-9)
    assert all(abs(t.amount - 100) > 0.01 for t in tries[:-1])
    del right[steps[2]]
    tries = course.roll_back(left, right)  # now the two have no step in common
    assert abs(tries[-1].amount - 100) > 0.01
    assert len(tries) == 2


# -- the depots ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_markers_find_every_parcel_whoever_begins(seed):
    depots = course.Depots(seed)
    for first in "ABC":
        for at in (0.5, 13.0, 26.0, 45.0):
            found = depots.count_with_markers(first, at)
            assert found.total == 100
            assert found.times[first] == at == min(found.times.values())
            # What each found in its own place is what it had: no clock was needed to find that.
            assert depots.count(found.times).stock == found.stock
            # What was noted on a road is what has left before one count and came after the other.
            for (source, target), parcels in found.roads.items():
                assert parcels == sum(
                    t.parcels
                    for t in depots.trips
                    if (t.source, t.target) == (source, target)
                    and t.sent <= found.times[source]
                    and t.received > found.times[target]
                )


def test_without_markers_parcels_are_missed_or_counted_twice():
    depots = course.Depots()
    times = {"A": 12, "B": 42, "C": 27}

    def torn(early):
        return sum(
            t.parcels
            for t in depots.trips
            if (t.sent <= times[t.source]) == early and (t.received <= times[t.target]) != early
        )

    missed, twice = torn(early=True), torn(early=False)
    assert missed > 0
    assert twice > 0
    assert depots.count(times).total == 100 - missed + twice != 100
    assert depots.count({"A": 26, "B": 26, "C": 26}).total < 100


# -- the figures ---------------------------------------------------------------------------------------


def test_each_try_has_its_row_and_its_amount():
    tries = [course.Attempt(60, 50, 94.637), course.Attempt(0, 0, 100.0)]
    (ax,) = course.dominoes(tries, range(0, 90, 30), (0, 50)).axes
    assert [text.get_text() for text in ax.get_yticklabels()] == ["try 1", "try 2"]
    (amounts,) = ax.child_axes
    assert [text.get_text() for text in amounts.get_yticklabels()] == ["94.64", "100.00"]
    chosen = {line.get_label(): list(line.get_xdata()) for line in ax.lines}
    assert chosen["left tank"] == [60, 0]
    assert chosen["right tank"] == [50, 0]


def test_trucks_are_drawn_by_what_a_count_makes_of_them():
    depots = course.Depots()
    counts = {
        "own": depots.count({"A": 12, "B": 42, "C": 27}),
        "markers": depots.count_with_markers("A", 20),
    }
    figure = course.space_time(depots.trips, counts)
    own, markers = figure.axes
    assert [ax.get_title() for ax in figure.axes] == ["own: 90 of 100", "markers: 100 of 100"]
    for ax, ways in (
        (own, {"counted by both", "on the road, counted by neither"}),
        (markers, {"on the road, and noted"}),
    ):
        said = set(ax.get_legend_handles_labels()[1])
        assert said == ways | {"a truck: counted once", "when each depot has counted"}
        assert len(ax.texts) == len(depots.trips)
