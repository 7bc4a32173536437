"""The schedule alone, without a manager: by example, and against a model that is slow and obvious.

The model keeps plain lists, looks at all of them for every question, and follows the line of states that
continue from one another with objects that are shared; the schedule does none of these.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ringnb.checkpoint.registration import RegisteredActor
from ringnb.checkpoint.schedule import DueQueue, Schedule, retry_delay_s


def actor(slot, kernel_id=None):
    return RegisteredActor.make(slot, kernel_id or f"k{slot}", "toy")


def ids(requests):
    return [r.request_id for r in requests]


@pytest.mark.parametrize("interval", [1e-9, 0.5, 8.0, 30.0, 1e12])
def test_rule_06_the_delay_is_short_at_first_and_never_beyond_the_interval(interval):
    delays = [retry_delay_s(n, interval) for n in range(1, 5000)]
    assert 0 < delays[0] <= min(1, interval / 8)
    assert delays == sorted(delays)
    assert delays[-1] == interval


def pop_all(queue):
    popped = []
    while (first := queue.first()) is not None:
        popped.append(first)
        queue.discard(first[1])
    return popped


def test_rule_07_entries_that_no_longer_hold_do_not_pile_up():
    queue = DueQueue()
    for i in range(10_000):
        queue.set(i % 3, 1000.0 + i)
        if i % 7 == 0:
            queue.discard(1)
    assert len(queue._heap) < 200
    assert [slot for _, slot in pop_all(queue)] == [1, 2, 0]
    assert queue.first() is None


def test_rule_07_a_slot_is_due_at_its_last_time_only():
    queue = DueQueue()
    queue.set(0, 5.0)
    queue.set(1, 6.0)
    queue.set(0, 7.0)
    assert queue.first() == (6.0, 1)
    assert pop_all(queue) == [(6.0, 1), (7.0, 0)]


def test_rule_07_an_actor_with_nothing_new_is_put_off_by_an_interval():
    schedule = Schedule(8.0, 5.0)
    for slot in range(3):
        schedule.add(actor(slot), 100.0, None)
    issued = schedule.request_due(101.0, lambda slot: slot == 1)
    assert [(due, r.actor_slot) for due, r in issued] == [(100.0, 0), (100.0, 2)]
    schedule.cancel_all(101.0)
    assert [r.actor_slot for _, r in schedule.request_due(109.0)] == [0, 1, 2]


def test_rule_05_the_next_event_is_an_expiry_while_polling_is_off():
    schedule = Schedule(8.0, 5.0)
    assert schedule.next_event_s(polling=True) is None
    schedule.add(actor(0), 100.0, None)
    assert schedule.next_event_s(polling=True) == 100.0
    assert schedule.next_event_s(polling=False) is None
    schedule.request(0, 101.0)
    assert schedule.next_event_s(polling=True) == schedule.next_event_s(polling=False)
    assert schedule.expire(106.0) == []
    assert schedule.expire(schedule.next_event_s(polling=False)) != []


def test_rule_12_a_save_goes_on_without_its_actor_and_changes_no_other_due_time():
    schedule = Schedule(8.0, 5.0)
    schedule.add(actor(0, "old"), 100.0, "before")
    request, new = schedule.request(0, 100.0)
    assert new
    pending = schedule.waiting(request.request_id)
    schedule.begin_save(pending, "the data")
    assert schedule.saving(request.request_id).data == "the data"
    assert schedule.pending() == (request,)
    assert schedule.cancel(request.request_id, 100.0) == []
    assert schedule.add(actor(0, "new"), 101.0, None) == []  # it drops nothing
    assert schedule.pending_count == 0
    schedule.fail(pending, 102.0)
    assert schedule.saving(request.request_id) is None
    assert pending.data is None
    assert schedule.next_event_s(polling=True) == 101.0
    assert schedule.note_restored(0, "x", None) is None  # the new actor has no parent


def test_rule_14_a_request_captured_later_than_the_restore_continues_from_it():
    schedule = Schedule(8.0, 5.0)
    schedule.add(actor(0), 100.0, "a")
    request, _ = schedule.request(0, 100.0)
    pending = schedule.waiting(request.request_id)
    assert schedule.note_restored(0, "b", earlier=[request.request_id + 1]) == "a"
    assert pending.parent == "b"
    assert schedule.note_restored(0, "c", earlier=[request.request_id]) == "b"
    assert pending.parent == "b"
    schedule.succeed(pending, 101.0, "d")
    assert schedule.note_restored(0, None, None) == "c"  # not "d", which continues from "b"


def test_a_cut_is_a_checkpoint_of_each_actor_that_was_not_restored_meanwhile():
    schedule = Schedule(8.0, 5.0)
    for slot in range(3):
        schedule.add(actor(slot), 100.0, "before")
    request, _ = schedule.request(0, 100.0)
    other, _ = schedule.request(1, 100.0)
    before = {slot: schedule.lineage(slot) for slot in (0, 1, 7)}  # the last has no actor
    (wanted,) = schedule.begin_cut([request.request_id, 99])
    assert schedule.saving(request.request_id) is wanted
    schedule.note_restored(1, "elsewhere", earlier=[other.request_id])
    saved = {slot: f"cut {slot}" for slot in before}
    assert schedule.note_cut(saved, 102.0, before, [wanted]) == ["cut 0", "elsewhere", "before"]
    assert schedule.pending() == (other,), (
        "what the cut answers waits no longer, what it does not waits"
    )


def test_a_state_that_is_not_good_is_new_once():
    schedule = Schedule(8.0, 5.0)
    for slot in range(2):
        schedule.add(actor(slot), 100.0, None)
    assert schedule.note_bad([0, 1, 5], [1, 5])
    assert not schedule.note_bad([0, 1], [1])
    assert schedule.note_bad([0, 1], [0]), "another one"
    assert not schedule.note_bad([0, 1], [])
    assert schedule.note_bad([0], [0]), "it was good meanwhile"


SLOTS = st.integers(0, 3)
TIMES = st.sampled_from([0.0, 0.125, 0.5, 1.0, 2.0, 5.0, 5.25, 64.0])
PARENTS = st.sampled_from([None, "p", "q"])


@dataclass(eq=False)
class Line:
    """States that continue from one another; the newest checkpoint of them."""

    parent: str | None


@dataclass(eq=False)
class Actor:
    """One registered actor, as the model remembers it."""

    slot: int
    kernel_id: str
    line: Line
    since: float
    wait: str
    failures: int = 0


@dataclass(eq=False)
class Request:
    """One request, as the model remembers it."""

    rid: int
    actor: Actor
    line: Line
    issued: float
    saving: bool = False


class ScheduleMachine(RuleBasedStateMachine):
    """One schedule, and the model."""

    def __init__(self):
        super().__init__()
        self.now, self.interval, self.timeout = 1000.0, 8.0, 5.0
        self.schedule = Schedule(self.interval, self.timeout)
        self.actors: list[Actor] = []
        self.requests: list[Request] = []  # without an outcome, oldest first
        self.last_id = 0
        self.names = itertools.count(1)

    def at(self, slot):
        return next((a for a in self.actors if a.slot == slot), None)

    def asked_of(self, actor):
        return next((r for r in self.requests if r.actor is actor), None)

    def waiting(self):
        return [r for r in self.requests if not r.saving]

    def due(self, actor):
        if actor.wait == "nothing":
            return actor.since
        if actor.wait == "interval":
            return actor.since + self.interval
        return actor.since + retry_delay_s(actor.failures, self.interval)

    def issue(self, actor, real):
        assert real.request_id > self.last_id
        assert real.actor_slot == actor.slot
        self.last_id = real.request_id
        self.requests.append(Request(real.request_id, actor, actor.line, self.now))

    def end(self, request, wait):
        self.requests.remove(request)
        request.actor.since, request.actor.wait = self.now, wait
        if wait == "retry":
            request.actor.failures += 1

    def leave(self, slot):
        """Take out the actor of a slot; return the ids of what that drops."""
        gone = self.at(slot)
        if gone is None:
            return []
        self.actors.remove(gone)
        request = self.asked_of(gone)
        if request is None or request.saving:
            return []
        self.requests.remove(request)
        return [request.rid]

    @rule(slot=SLOTS, kernel_id=st.sampled_from("abcd"), parent=PARENTS)
    def add(self, slot, kernel_id, parent):
        if any(a.kernel_id == kernel_id and a.slot != slot for a in self.actors):
            with pytest.raises(ValueError, match=f"'{kernel_id}' is registered in slot"):
                self.schedule.add(actor(slot, kernel_id), self.now, parent)
            return
        dropped = self.schedule.add(actor(slot, kernel_id), self.now, parent)
        assert ids(dropped) == self.leave(slot)
        wait = "nothing" if parent is None else "interval"
        self.actors.append(Actor(slot, kernel_id, Line(parent), self.now, wait))

    @rule(slot=SLOTS)
    def remove(self, slot):
        assert ids(self.schedule.remove(slot)) == self.leave(slot)

    @rule(slot=SLOTS)
    def ask(self, slot):
        found = self.at(slot)
        answer = self.schedule.request(slot, self.now)
        if found is None:
            assert answer is None
            return
        real, new = answer
        pending = self.asked_of(found)
        assert new is (pending is None)
        if new:
            self.issue(found, real)
        else:
            assert real.request_id == pending.rid

    @rule(put_off=st.sets(SLOTS))
    def ask_due(self, put_off):
        ready = [a for a in self.actors if self.asked_of(a) is None and self.due(a) <= self.now]
        ready.sort(key=lambda a: (self.due(a), a.slot))
        expected = [(self.due(a), a.slot) for a in ready if a.slot not in put_off]
        issued = self.schedule.request_due(self.now, put_off.__contains__)
        assert [(due, r.actor_slot) for due, r in issued] == expected
        for a in ready:
            if a.slot in put_off:
                a.since, a.wait = self.now, "interval"
        for _, real in issued:
            self.issue(self.at(real.actor_slot), real)

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def begin_save(self, data):
        request = data.draw(st.sampled_from(self.waiting()))
        self.schedule.begin_save(self.schedule.waiting(request.rid), "data")
        request.saving = True

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), good=st.booleans())
    def answer(self, data, good):
        request = data.draw(st.sampled_from(self.requests))
        find = self.schedule.saving if request.saving else self.schedule.waiting
        pending = find(request.rid)
        assert pending.parent == request.line.parent
        if good:
            name = f"c{next(self.names)}"
            self.schedule.succeed(pending, self.now, name)
            request.line.parent = name
            request.actor.failures = 0
            self.end(request, "interval")
        else:
            self.schedule.fail(pending, self.now)
            self.end(request, "retry")

    @rule(data=st.data())
    def cancel(self, data):
        rid = data.draw(st.integers(0, self.last_id + 1))
        gone = [r for r in self.waiting() if r.rid == rid]
        assert ids(self.schedule.cancel(rid, self.now)) == [r.rid for r in gone]
        for r in gone:
            self.end(r, "interval")

    @rule()
    def cancel_all(self):
        gone = self.waiting()
        assert ids(self.schedule.cancel_all(self.now)) == [r.rid for r in gone]
        for r in gone:
            self.end(r, "interval")

    @rule()
    def expire(self):
        gone = [r for r in self.waiting() if self.now > r.issued + self.timeout]
        assert ids(self.schedule.expire(self.now)) == [r.rid for r in gone]
        for r in gone:
            self.end(r, "retry")

    @rule(slot=SLOTS, parent=PARENTS, captured=st.sampled_from([None, True, False]))
    def restore(self, slot, parent, captured):
        found = self.at(slot)
        if found is None:
            with pytest.raises(ValueError, match=f"no actor is registered in slot {slot}"):
                self.schedule.note_restored(slot, parent, None)
            return
        request = self.asked_of(found)
        earlier = None if captured is None else [request.rid] if captured and request else []
        assert self.schedule.note_restored(slot, parent, earlier) == found.line.parent
        found.line = Line(parent)
        if request is not None and captured is False and not request.saving:
            request.line = found.line

    @rule(interval=st.sampled_from([2.0, 8.0, 64.0]), timeout=st.sampled_from([1.0, 5.0]))
    def retime(self, interval, timeout):
        self.schedule.retime(interval, timeout)
        self.interval, self.timeout = interval, timeout

    @rule(seconds=TIMES)
    def time_passes(self, seconds):
        self.now += seconds

    @invariant()
    def the_counters_agree(self):
        pending = [r.rid for r in self.requests if r.actor in self.actors]
        assert ids(self.schedule.pending()) == pending
        assert self.schedule.pending_count == len(pending)
        names = {slot: a.kernel_id for slot, a in self.schedule.actors().items()}
        assert names == {a.slot: a.kernel_id for a in self.actors}
        for slot in range(4):
            found = self.schedule.actor(slot)
            assert (found and found.kernel_id) == names.get(slot)

    @invariant()
    def the_next_event_is_foreseen(self):
        expiries = [r.issued + self.timeout for r in self.waiting()]
        due = [self.due(a) for a in self.actors if self.asked_of(a) is None]
        for polling, times in ((True, expiries + due), (False, expiries)):
            expected = min(times, default=None)
            assert self.schedule.next_event_s(polling=polling) == pytest.approx(expected)


TestScheduleAgainstTheModel = ScheduleMachine.TestCase
TestScheduleAgainstTheModel.settings = settings(stateful_step_count=50)
