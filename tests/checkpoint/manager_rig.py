"""A manager with its clock, its store and its log, and a commit that a test can stop."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.errors import (
    SnapshotFailed,
)
from ringnb.messages.events import EventLog
from ringnb.messages.snapshots import SnapshotResponse
from ringnb.testing.clock import ManualClock
from ringnb.testing.memory_storage import MemoryStorage


class Rig:
    """A manager with its clock, its store and its log, and short words for what tests do."""

    def __init__(self, storage=None, clock=None, **config):
        self.clock = clock or ManualClock(100.0)
        self.storage = storage if storage is not None else MemoryStorage()
        self.log = EventLog()
        self.m = CheckpointManager(
            CheckpointConfig(**config), self.storage, clock=self.clock, observer=self.log.append
        )

    def add(self, slot=0, kernel_id=None, **kwargs):
        self.m.register_actor(slot, kernel_id or f"k{slot}", "toy", **kwargs)

    def poll(self):
        return [r.actor_slot for r in self.m.poll_due_snapshots()]

    def answer(self, request, step=0, value=0.0, **kwargs):
        data = kwargs.pop("data", {"u": np.full(4, value, dtype="<f4")})
        kwargs = {"success": True, "data": data, "step": step} | kwargs
        return SnapshotResponse(
            request.request_id, kwargs.pop("slot", request.actor_slot), **kwargs
        )

    def complete(self, request, step=0, value=0.0, **kwargs):
        return self.m.complete_snapshot(self.answer(request, step, value, **kwargs))

    def commit(self, slot=0, step=0, value=0.0, **kwargs):
        return self.complete(self.m.request_snapshot(slot), step, value, **kwargs)

    def fail(self, slot=0):
        with pytest.raises(SnapshotFailed):
            self.complete(self.m.request_snapshot(slot), success=False, data=None, error="no")

    def due_in(self):
        """Seconds until slot 0 is polled, found by polling, on the assumption that it will be."""
        start = self.clock()
        while not (asked := self.m.poll_due_snapshots()):
            self.clock.advance(self.m.seconds_until_next())
        self.m.cancel_pending(asked[0].request_id)
        return self.clock() - start

    def stages(self, *stages):
        return [e.stage for e in self.log.select(*stages)]


class Gate:
    """Blocks a storage call on another thread until the test lets it go on."""

    def __init__(self):
        self.reached, self.go = threading.Event(), threading.Event()

    def __call__(self, _name):
        self.reached.set()
        assert self.go.wait(60)


class Saving:
    """A commit on another thread, stopped inside ``save``."""

    def __init__(self, rig, request, **kwargs):
        self.gate = rig.storage.before_save = Gate()
        self.response = rig.answer(request, **kwargs)
        self.result = None
        self.thread = threading.Thread(target=self._run, args=(rig,))
        self.thread.start()
        assert self.gate.reached.wait(60)
        rig.storage.before_save = None

    def _run(self, rig):
        try:
            self.result = rig.m.complete_snapshot(self.response)
        except Exception as error:
            self.result = error

    def end(self):
        self.gate.go.set()
        self.thread.join(60)
        return self.result
