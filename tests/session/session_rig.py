"""What the tests of sessions share: an actor whose state is known, quiet sessions, a slow storage."""

from __future__ import annotations

import contextlib
import threading

import numpy as np
import zarr

import ringnb as rn
from ringnb.checkpoint import CheckpointManager
from ringnb.errors import Status
from ringnb.kernel.base import ActorCounters, SnapshotFacts
from ringnb.messages.commands import Command, Reply
from ringnb.messages.events import EventLog
from ringnb.session.change_tracking import ChangeTracker
from ringnb.session.service import SnapshotService
from ringnb.testing.kernels import Mixer, advance

SHAPE = (11, 13)
FULL, READ_ONLY = OSError(28, "No space left on device"), OSError(30, "Read-only file system")


def reference(slot, steps):
    return advance(Mixer(SHAPE).start(slot), 0, steps)


def state_of(checkpoint):
    fields = checkpoint.numpy()
    return np.stack([fields["u"], fields["u_previous"]])


def memory():
    return rn.ZarrStorage(zarr.storage.MemoryStore())


def quiet(**changes):
    """A configuration in which nothing happens by itself."""
    return rn.CheckpointConfig(
        **{"interval": 3600.0, "enabled": False, "on_close": False, **changes}
    )


class Gate(rn.CheckpointStorage):
    """A storage whose saves wait at a gate, or fail with what is put in `error`."""

    def __init__(self, inner):
        self.inner = inner
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.error = None

    def save(self, name, snapshot):
        self.entered.set()
        assert self.open.wait(60)
        if self.error is not None:
            raise self.error
        return self.inner.save(name, snapshot)

    def load(self, name):
        return self.inner.load(name)

    def list(self):
        return self.inner.list()

    def delete(self, name):
        self.inner.delete(name)

    def exists(self, name):
        return self.inner.exists(name)

    def close(self):
        self.inner.close()

    def catalogue(self):
        return self.inner.catalogue()


@contextlib.contextmanager
def being_saved(session, gate, *slots):
    """Snapshots of actors are under way in the block; the first one waits at the gate to be written."""
    gate.open.clear()
    savers = [threading.Thread(target=session.snapshot, args=(slot, 30.0)) for slot in slots]
    for saver in savers:
        saver.start()
    try:
        assert gate.entered.wait(60)
        yield
    finally:
        gate.open.set()
        for saver in savers:
            saver.join(60)


class FakeKernel:
    """What the transport asks of a kernel; slot i lies in lane i % lanes. No threads."""

    alive = True

    def __init__(self, slots, lanes):
        self.lanes = lanes
        self.actors = (Mixer(SHAPE),) * slots
        self.steps = [0] * slots
        self.epochs = [0] * slots
        self.holds = {}  # by slot, see HOLD_AT
        self.taken = [{} for _ in range(lanes)]  # by lane: staging buffer -> the step captured
        self.spoilt = False  # whether something has written to the staging buffers
        self.wakes = 0

    def lane_of(self, slot):
        return slot % self.lanes

    def staging_taken(self, lane):
        return len(self.taken[lane])

    def capture(self, slot):
        taken = self.taken[self.lane_of(slot)]
        index = min({0, 1} - taken.keys())
        taken[index] = self.steps[slot]
        return index

    def counters(self, slot):
        return ActorCounters(self.steps[slot], 0, False, self.epochs[slot], True, 0, 0, 0)

    def check_alive(self):
        pass

    def staged(self, lane, index, slot):
        step = self.taken[lane][index]
        state = np.full((2, 1, *SHAPE), step, self.actors[slot].dtype)
        return state, SnapshotFacts(7, step, self.epochs[slot], 1_000, 2_000, slot)

    def staged_reductions(self, lane, index, slot):
        return {}

    def staged_params(self, lane, index, slot):
        return {"add": 0.5}

    def staged_checksum(self, lane, index, slot):
        return 7 + self.spoilt

    def release_staging(self, lane, index):
        del self.taken[lane][index]

    def wake(self):
        self.wakes += 1


class FakeClient:
    """A client whose kernel answers when `answer` is called, or at each pump. No threads."""

    def __init__(self, slots=2, lanes=1):
        self.kernel = FakeKernel(slots, lanes)
        self.sent = []
        self.error = None  # what `submit` raises
        self.answers_at_once = False
        self.pumped_s = []

    def send(self, command, arguments=()):
        if self.error is not None:
            raise self.error
        self.sent.append((command.slot, command))
        self.at = arguments[1] if arguments else 0  # the step that was asked for last

    def submit(self, slot, kind, arguments=(), *, sink, timeout_s):
        """Answer a HOLD_AT, as a kernel would."""
        assert kind == Command.HOLD_AT
        at, kernel = arguments[0], self.kernel
        status = Status.OK if at < 0 or at >= kernel.steps[slot] else Status.STEP_PASSED
        if status == Status.OK:
            kernel.holds[slot] = at
        reply = Reply(kind, 1, slot, status, kernel.epochs[slot], kernel.steps[slot], 0, 0)
        sink(reply)
        self.step(slot, 0)

    def step(self, slot, steps):
        """Take steps, as far as the actor is let."""
        kernel = self.kernel
        before, hold = kernel.steps[slot], kernel.holds.get(slot, -1)
        kernel.steps[slot] = before + steps if hold < before else min(before + steps, hold)
        if kernel.steps[slot] == hold:
            told = Reply(Command.HELD_AT, 0, slot, Status.OK, kernel.epochs[slot], hold, 0, 0)
            self.on_held_at(told)

    def is_under_way(self, command):
        return any(command is sent for _, sent in self.sent)

    def outstanding_in(self, lane, kind):
        return sum(self.kernel.lane_of(slot) == lane for slot, _ in self.sent)

    def answer(self, status=Status.OK, times=1):
        slot, command = self.sent.pop(0)
        index = self.kernel.capture(slot) if status == Status.OK else 0
        if self.at and status == Status.OK:
            self.kernel.holds[slot] = -1
        step = self.kernel.steps[slot]
        for _ in range(times):
            command.reply = Reply(Command.SNAPSHOT, 1, slot, status, 0, step, index, 0)
            command.sink(command.reply)
        command.sink = None

    def pump(self, timeout_s, until=None):
        self.pumped_s.append(timeout_s)
        while self.answers_at_once and self.sent:
            self.answer()


def service_of_a_fake(slots=2, lanes=1, **changes):
    """Return a service without threads over a kernel that answers when it is told to, and its client."""
    client, log = FakeClient(slots, lanes), EventLog()
    manager = CheckpointManager(quiet(**changes), Gate(memory()), observer=log.append)
    for slot in range(slots):
        manager.register_actor(slot, f"mixer_{slot}", "mixer")
    return SnapshotService(client, manager, log, ChangeTracker()), client
