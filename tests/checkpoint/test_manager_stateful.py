"""Random histories of two managers on one store, against a model that is slow and obvious.

The model keeps everything in plain lists and scans them for every question. It shares no code with
the manager. Both managers may be restarted at any moment; the store outlives them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.errors import CheckpointCorrupt, CheckpointWarning, SnapshotFailed
from ringnb.messages.snapshots import SnapshotResponse
from ringnb.testing.clock import ManualClock
from ringnb.testing.memory_storage import MemoryStorage

SLOTS = st.integers(0, 2)
IDS = st.sampled_from("abcd")
WHICH = st.integers(0, 1)
STEPS = st.integers(0, 2)


@dataclass
class Commit:
    """One checkpoint, as the model remembers it."""

    name: str
    prefix: str
    kernel_id: str
    slot: int
    step: int
    value: int
    parent: str | None
    begins_at: Commit | None  # what its state continues from, if the store held it then
    run: Run
    damage: str = ""


@dataclass(eq=False)
class Run:
    """A line of checkpoints without forks, and its id in the store."""

    id: str = ""


@dataclass
class Line:
    """Where an actor's next state comes from, and the run it goes on with once that is known."""

    parent: str | None
    run: Run | None = None
    begins_at: Commit | None = None


@dataclass(eq=False)
class Actor:
    """One registered actor, as the model remembers it."""

    kernel_id: str
    line: Line
    since: float
    wait: str
    failures: int = 0
    pending: int | None = None


@dataclass(eq=False)
class Request:
    """One request, as the model remembers it."""

    rid: int
    slot: int
    actor: Actor
    line: Line
    issued: float


@dataclass
class Side:
    """A manager and its model."""

    prefix: str
    manager: CheckpointManager
    interval: float = 8.0
    timeout: float = 5.0
    keep: int = 2
    enabled: bool = True
    actors: dict[int, Actor] = field(default_factory=dict)
    pending: dict[int, Request] = field(default_factory=dict)
    issued: list[int] = field(default_factory=list)
    slot_of: dict[int, int] = field(default_factory=dict)
    completed: int = 0
    failed: int = 0

    def due(self, actor):
        if actor.wait == "at once":
            return actor.since
        if actor.wait == "interval":
            return actor.since + self.interval
        delay = min(1.0, self.interval / 8)
        for _ in range(actor.failures - 1):
            delay = min(delay * 2, self.interval)
        return actor.since + min(delay, self.interval)

    def end(self, request, now, outcome):
        del self.pending[request.rid]
        actor = request.actor
        actor.pending, actor.since = None, now
        actor.wait = "retry" if outcome == "failed" else "interval"
        if outcome == "failed":
            actor.failures += 1
            self.failed += 1
        elif outcome == "completed":
            actor.failures = 0

    def expire(self, now):
        for request in list(self.pending.values()):
            if now > request.issued + self.timeout:
                self.end(request, now, "failed")

    def issue(self, slot, now, real):
        actor = self.actors[slot]
        assert actor.pending is None
        assert real.request_id not in self.issued
        self.issued.append(real.request_id)
        self.slot_of[real.request_id] = slot
        actor.pending = real.request_id
        self.pending[real.request_id] = Request(real.request_id, slot, actor, actor.line, now)

    def drop(self, slot):
        actor = self.actors.pop(slot, None)
        if actor is not None and actor.pending is not None:
            del self.pending[actor.pending]


class ManagerMachine(RuleBasedStateMachine):
    """Two managers, one store, and everything that can happen to them."""

    prefixes = ("sim", "sim")

    def make_storage(self):
        return MemoryStorage()

    @initialize()
    def start(self):
        self.clock = ManualClock(1000.0)
        self.storage = self.make_storage()
        self.commits: list[Commit] = []
        self.values = 0
        self.deletes_fail = False
        self.sides = [self.open(prefix) for prefix in self.prefixes]
        for which in (0, 1):
            for slot, kernel_id in enumerate("abc"):
                self.register(which, slot, kernel_id)

    def open(self, prefix):
        config = CheckpointConfig(
            interval=8, request_timeout=5, max_snapshots=2, name_prefix=prefix
        )
        return Side(prefix, CheckpointManager(config, self.storage, clock=self.clock))

    def history(self, side, slot):
        actor = side.actors.get(slot)
        return [
            c
            for c in self.commits
            if c.prefix == side.prefix
            and c.damage != "metadata"
            and (c.slot == slot if actor is None else c.kernel_id == actor.kernel_id)
        ]

    # --- actors ---

    @rule(which=WHICH, slot=SLOTS, kernel_id=IDS)
    def register(self, which, slot, kernel_id):
        side = self.sides[which]
        if any(a.kernel_id == kernel_id and s != slot for s, a in side.actors.items()):
            with pytest.raises(ValueError, match="kernel_id"):
                side.manager.register_actor(slot, kernel_id, "toy")
            return
        side.manager.register_actor(slot, kernel_id, "toy")
        side.drop(slot)
        actor = side.actors[slot] = Actor(kernel_id, Line(None), self.clock(), "at once")
        history = self.history(side, slot)
        if history:
            newest = history[-1]
            actor.line, actor.wait = Line(newest.name, newest.run, newest), "interval"

    @rule(which=WHICH, slot=SLOTS)
    def unregister(self, which, slot):
        self.sides[which].manager.unregister_actor(slot)
        self.sides[which].drop(slot)

    @rule(which=WHICH, slot=SLOTS, fresh=st.booleans())
    def restore(self, which, slot, fresh):
        side = self.sides[which]
        if slot in side.actors:
            history = self.history(side, slot)
            parent = None if fresh or not history else history[0].name
            side.manager.note_restored(slot, parent)
            side.actors[slot].line = Line(parent)

    # --- asking ---

    @rule(which=WHICH)
    def poll(self, which):
        side, now = self.sides[which], self.clock()
        side.expire(now)
        expected = []
        if side.enabled:
            ready = [(side.due(a), s) for s, a in side.actors.items() if a.pending is None]
            expected = [slot for due, slot in sorted(ready) if due <= now]
        requests = side.manager.poll_due_snapshots()
        assert [r.actor_slot for r in requests] == expected
        for request in requests:
            side.issue(request.actor_slot, now, request)

    @rule(which=WHICH, slot=SLOTS)
    def request(self, which, slot):
        side, now = self.sides[which], self.clock()
        side.expire(now)
        real = side.manager.request_snapshot(slot)
        if slot not in side.actors:
            assert real is None
        elif side.actors[slot].pending is not None:
            assert real.request_id == side.actors[slot].pending
        else:
            assert real.actor_slot == slot
            side.issue(slot, now, real)

    @rule(which=WHICH, data=st.data())
    def cancel(self, which, data):
        side = self.sides[which]
        rid = data.draw(st.sampled_from([*side.issued, 10**6]))
        assert side.manager.cancel_pending(rid) is (rid in side.pending)
        if rid in side.pending:
            side.end(side.pending[rid], self.clock(), "cancelled")

    @rule(which=WHICH)
    def cancel_all(self, which):
        side = self.sides[which]
        side.manager.cancel_all_pending()
        for request in list(side.pending.values()):
            side.end(request, self.clock(), "cancelled")

    # --- answering ---

    @rule(
        which=WHICH,
        data=st.data(),
        step=STEPS,
        kind=st.sampled_from(["ok"] * 6 + ["failed", "wrong slot", "full disk"]),
    )
    def answer(self, which, data, step, kind):
        side, now = self.sides[which], self.clock()
        # Mostly what is pending, in any order, but also what was answered, cancelled, never asked.
        rid = data.draw(st.sampled_from([*side.issued, *list(side.pending) * 3, 10**6]))
        slot = side.slot_of.get(rid, 0) + (kind == "wrong slot")
        self.values += 1
        state = {"u": np.full(3, self.values, "<i4")}
        response = SnapshotResponse(rid, slot, kind != "failed", state, step, "no")
        request = side.pending.get(rid)
        if request is None:
            assert side.manager.complete_snapshot(response) is None
        elif kind == "wrong slot":
            with pytest.raises(ValueError, match="slot"):
                side.manager.complete_snapshot(response)
        elif kind == "failed":
            with pytest.raises(SnapshotFailed):
                side.manager.complete_snapshot(response)
            side.end(request, now, "failed")
        elif kind == "full disk":
            self.storage.fail_save = OSError("full")
            with pytest.raises(OSError, match="full"):
                side.manager.complete_snapshot(response)
            self.storage.fail_save = None
            side.end(request, now, "failed")
        else:
            self.commit(side, request, step, side.manager.complete_snapshot(response))

    def commit(self, side, request, step, name):
        taken = {c.name for c in self.commits}
        expected = base = f"{side.prefix}_{request.slot}_step_{step}"
        suffix = 1
        while expected in taken:
            suffix += 1
            expected = f"{base}.{suffix}"
        assert name == expected
        kernel_id, line = request.actor.kernel_id, request.line
        history = self.history_of(side.prefix, kernel_id)
        if line.run is None:
            line.begins_at = next((c for c in reversed(history) if c.name == line.parent), None)
            line.run = Run()
            if line.begins_at is not None:
                same_run = [c for c in history if c.run is line.begins_at.run]
                if same_run[-1] is line.begins_at:
                    line.run = line.begins_at.run
        new = Commit(
            *(name, side.prefix, kernel_id, request.slot, step, self.values, line.parent),
            *(line.begins_at, line.run),
        )
        info = next(e for e in self.storage.catalogue() if e.name == name)
        line.run.id = line.run.id or info.run
        assert info.run == line.run.id
        assert [c for c in self.commits if c.run.id == info.run and c.run is not line.run] == []
        self.commits.append(new)
        line.parent, line.begins_at = name, new
        side.end(request, self.clock(), "completed")
        side.completed += 1
        if not self.deletes_fail and side.keep:
            self.retire(side, request.slot, new)

    def retire(self, side, slot, new):
        history = [*self.history_of(side.prefix, new.kernel_id)]
        live = side.actors[slot].line.parent if slot in side.actors else None
        for old in [c for c in history if c.run is new.run][: -side.keep]:
            branches = [
                c
                for c in self.commits
                if c.begins_at is old and c.run is not old.run and c.damage != "metadata"
            ]
            if not branches and old.name != live:
                self.commits.remove(old)

    def history_of(self, prefix, kernel_id):
        return [
            c
            for c in self.commits
            if (c.prefix, c.kernel_id) == (prefix, kernel_id) and c.damage != "metadata"
        ]

    @rule(which=WHICH, slots=st.lists(SLOTS, min_size=1, max_size=4), step=STEPS)
    def snapshots(self, which, slots, step):
        """Ask and answer at once, several times: what happens most in real life."""
        side = self.sides[which]
        for slot in slots:
            self.request(which, slot)
            if slot not in side.actors:
                continue
            request = side.pending[side.actors[slot].pending]
            self.values += 1
            state = {"u": np.full(3, self.values, "<i4")}
            response = SnapshotResponse(request.rid, slot, True, state, step)
            self.commit(side, request, step, side.manager.complete_snapshot(response))

    @rule(which=WHICH, slot=SLOTS, failures=st.integers(1, 4))
    def failures(self, which, slot, failures):
        """Several failures in a row, some of them by expiry."""
        side = self.sides[which]
        for n in range(failures):
            self.request(which, slot)
            if slot not in side.actors:
                return
            request = side.pending[side.actors[slot].pending]
            if n == 2:
                self.clock.advance(side.timeout + 0.125)
                self.poll(which)
            else:
                with pytest.raises(SnapshotFailed):
                    side.manager.complete_snapshot(
                        SnapshotResponse(request.rid, slot, False, None, 0, "no")
                    )
                side.end(request, self.clock(), "failed")

    # --- the world ---

    @rule(seconds=st.sampled_from([0.0, 0.125, 1.0, 2.5, 5.0, 5.125, 8.0, 1000.0]))
    def time_passes(self, seconds):
        self.clock.advance(seconds)

    @rule(fails=st.booleans())
    def deletes(self, fails):
        self.deletes_fail = fails
        self.storage.fail_delete = OSError("read-only") if fails else None

    @precondition(lambda self: self.commits)
    @rule(data=st.data(), damage=st.sampled_from(["fields", "metadata"]))
    def damage(self, data, damage):
        commit = data.draw(st.sampled_from(self.commits))
        if commit.damage not in ("metadata", damage):  # the same twice would undo it
            getattr(self.storage, f"damage_{damage}")(commit.name)
            commit.damage = damage

    @rule(
        which=WHICH,
        interval=st.sampled_from([2.0, 8.0, 64.0]),
        timeout=st.sampled_from([1.0, 5.0]),
        keep=st.integers(0, 3),
        enabled=st.booleans(),
        bad=st.booleans(),
    )
    def reconfigure(self, which, interval, timeout, keep, enabled, bad):
        side = self.sides[which]
        changes = {
            "interval": interval,
            "request_timeout": timeout,
            "max_snapshots": -1 if bad else keep,
            "enabled": enabled,
        }
        if bad:
            with pytest.raises(ValueError, match="max_snapshots"):
                side.manager.reconfigure(**changes)
        else:
            side.manager.reconfigure(**changes)
            side.interval, side.timeout, side.keep, side.enabled = interval, timeout, keep, enabled

    @rule(which=WHICH, same=st.booleans())
    def restart(self, which, same):
        actors = {slot: actor.kernel_id for slot, actor in self.sides[which].actors.items()}
        self.sides[which].manager.close()
        self.sides[which] = self.open(self.prefixes[which])
        if same:
            for slot, kernel_id in actors.items():
                self.register(which, slot, kernel_id)

    @rule(which=WHICH, slot=SLOTS)
    def latest(self, which, slot):
        side = self.sides[which]
        history = self.history(side, slot)
        lost = [
            c.name
            for c in self.commits
            if c.damage == "metadata" and c.prefix == side.prefix and c.slot == slot
        ]
        good = [c for c in history if not c.damage]
        if not good and (history or lost):
            with pytest.raises(CheckpointCorrupt):
                side.manager.load_latest(slot)
            return
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = side.manager.load_latest(slot)
        if not good:
            assert found is None
            assert caught == []
            return
        newest = good[-1]
        assert (found.name, found.step, found.parent) == (newest.name, newest.step, newest.parent)
        assert found.numpy()["u"].tolist() == [newest.value] * 3
        passed_over = [c.name for c in history[history.index(newest) + 1 :]] + lost
        assert [w.category for w in caught] == [CheckpointWarning] * bool(passed_over)
        assert all(repr(name) in str(caught[0].message) for name in passed_over)

    # --- what must always hold ---

    @invariant()
    def the_counters_agree(self):
        for side in self.sides:
            m = side.manager
            assert [r.request_id for r in m.pending] == sorted(side.pending)
            assert m.pending_count == len(side.pending)
            assert (m.total_completed, m.total_failed) == (side.completed, side.failed)
            assert {s: a.kernel_id for s, a in m.registered.items()} == {
                s: a.kernel_id for s, a in side.actors.items()
            }

    @invariant()
    def the_store_holds_what_it_should(self):
        assert set(self.storage.list()) == {c.name for c in self.commits}
        for side in self.sides:
            for slot in range(3):
                expected = [c.name for c in self.history(side, slot)]
                assert side.manager.list_checkpoints(slot) == expected

    @invariant()
    def the_next_event_is_foreseen(self):
        now = self.clock()
        for side in self.sides:
            times = [r.issued + side.timeout for r in side.pending.values()]
            if side.enabled:
                times += [side.due(a) for a in side.actors.values() if a.pending is None]
            expected = max(0.0, min(times) - now) if times else None
            assert side.manager.seconds_until_next() == pytest.approx(expected, abs=1e-6)


class TwoPrefixesMachine(ManagerMachine):
    """The same with prefixes that begin alike, so that the two must never touch each other."""

    prefixes = ("sim", "sim_1")


SETTINGS = settings(
    stateful_step_count=50,
    suppress_health_check=[HealthCheck.too_slow],
)

TestManager = ManagerMachine.TestCase
TestManager.settings = SETTINGS
TestTwoPrefixes = TwoPrefixesMachine.TestCase
TestTwoPrefixes.settings = SETTINGS
