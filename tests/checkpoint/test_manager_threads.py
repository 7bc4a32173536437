"""Several threads on one manager; a commit that is stopped inside ``save``."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import numpy as np
import pytest
from manager_rig import Rig, Saving

from ringnb.errors import (
    SnapshotFailed,
)
from ringnb.messages.snapshots import StagedFields


def test_threads_a_slow_save_delays_no_other_actor(rig):
    rig.add(0)
    rig.add(1)
    first, second = rig.m.poll_due_snapshots()
    saving = Saving(rig, first)
    assert rig.m.pending_count == 2
    assert rig.complete(second) == "checkpoint_1_step_0"
    assert rig.poll() == []
    assert rig.m.request_snapshot(0) is first
    assert rig.m.pending == (first,)
    assert rig.m.list_checkpoints(0) == []
    assert rig.m.seconds_until_next() == 30
    assert saving.end() == "checkpoint_0_step_0"
    assert rig.m.total_completed == 2


def test_threads_an_answer_being_saved_cannot_be_cancelled(rig):
    rig.add()
    request = rig.m.request_snapshot(0)
    saving = Saving(rig, request)
    assert rig.m.cancel_pending(request.request_id) is False
    rig.m.cancel_all_pending()
    assert rig.m.pending == (request,)
    assert saving.end() == "checkpoint_0_step_0"
    assert rig.stages("cancelled") == []


def test_threads_a_duplicate_during_the_save_neither_stores_nor_takes_the_data_away(rig):
    rig.add()
    data = StagedFields({"u": np.arange(4.0)})
    request = rig.m.request_snapshot(0)
    saving = Saving(rig, request, data=data)
    assert rig.m.complete_snapshot(saving.response) is None
    assert not data.released  # the save still reads it
    assert rig.complete(request, success=False, data=None) is None
    other = StagedFields({"u": np.zeros(4)})
    assert rig.complete(request, data=other) is None
    assert other.released
    assert saving.end() == "checkpoint_0_step_0"
    assert data.released
    assert (rig.m.total_completed, rig.m.total_failed) == (1, 0)


@pytest.mark.parametrize("again", [None, "k0", "other"])
def test_threads_unregistering_during_a_save(rig, again):
    rig.add()
    data = StagedFields({"u": np.arange(4.0)})
    saving = Saving(rig, rig.m.request_snapshot(0), data=data)
    rig.m.unregister_actor(0)
    assert rig.m.pending_count == 0
    assert rig.m.pending == ()
    request = None
    if again:
        rig.add(0, again)
        request = rig.m.request_snapshot(0)
        assert request.request_id != saving.response.request_id
    assert rig.m.complete_snapshot(saving.response) is None
    assert not data.released
    assert saving.end() == "checkpoint_0_step_0"  # it was being written: it ends well
    assert rig.m.total_completed == 1
    if again:
        assert rig.m.pending == (request,)  # and the new registration is as it was
        assert rig.complete(request, step=1) == "checkpoint_0_step_1"
        assert rig.storage.load("checkpoint_0_step_1").parent is None
    else:
        assert rig.poll() == []


def test_threads_a_save_that_fails_after_its_actor_was_replaced(rig):
    rig.add()
    saving = Saving(rig, rig.m.request_snapshot(0))
    rig.add(0, "other")
    rig.storage.fail_save = OSError("full")
    assert isinstance(saving.end(), OSError)
    assert rig.m.total_failed == 1
    assert rig.poll() == [0]  # the new actor is due at once, not retried later


def test_threads_a_restore_during_a_save_keeps_its_lineage(rig):
    rig.add()
    first = rig.commit(step=1)
    saving = Saving(rig, rig.m.request_snapshot(0), step=2)
    rig.m.note_restored(0, first)
    assert saving.end() == "checkpoint_0_step_2"
    assert rig.storage.load(rig.commit(step=3)).parent == first


def test_threads_closing_during_a_save_lets_it_end(rig, monkeypatch):
    rig.m._owns_storage = True
    rig.add()
    saving = Saving(rig, rig.m.request_snapshot(0))
    rig.m.close()
    assert rig.storage.closed == 0
    assert saving.end() == "checkpoint_0_step_0"
    assert rig.storage.closed == 1
    assert rig.storage.list() == ["checkpoint_0_step_0"]
    assert rig.m.pending_count == 0


def test_threads_one_name_wanted_twice_in_one_manager_is_kept_twice(rig):
    rig.add(0, "a")
    saving = Saving(rig, rig.m.request_snapshot(0), step=5, value=1.0)
    rig.add(0, "b")
    assert rig.commit(step=5, value=2.0) == "checkpoint_0_step_5"
    assert saving.end() == "checkpoint_0_step_5.2"
    assert rig.storage.load("checkpoint_0_step_5").numpy()["u"][0] == 2.0
    assert rig.storage.load("checkpoint_0_step_5.2").numpy()["u"][0] == 1.0


class SlowData(Mapping):
    """Fields whose check takes so long that the request expires meanwhile, once `expire` is set."""

    def __init__(self):
        self.expire = None
        self.released = 0

    def __getitem__(self, name):
        return np.zeros(4)

    def __iter__(self):
        if self.expire is not None:
            self.expire()
        return iter(["u"])

    def __len__(self):
        return 1

    def release(self):
        self.released += 1


def test_threads_expiring_while_the_answer_is_checked(rig):
    rig.add()
    data = SlowData()
    response = rig.answer(rig.m.request_snapshot(0), data=data)

    def expire():
        rig.clock.advance(31)
        rig.m.poll_due_snapshots()

    data.expire = expire
    assert rig.m.complete_snapshot(response) is None
    assert data.released == 1
    assert rig.storage.list() == []
    assert (rig.m.total_completed, rig.m.total_failed) == (0, 1)


def test_threads_many_at_once():
    """Many threads poll, ask, answer and cancel; afterwards the counters agree."""
    rig = Rig(max_snapshots=3, clock=time.monotonic, interval=0.0005, request_timeout=60)
    slots = 4
    for slot in range(slots):
        rig.add(slot)
    errors, stored, failed = [], [], []
    start = threading.Barrier(4)

    def work(seed):
        rng = np.random.default_rng(seed)
        start.wait()
        try:
            for _ in range(60):
                requests = rig.m.poll_due_snapshots()
                manual = rig.m.request_snapshot(int(rng.integers(slots)))
                for request in [*requests, manual]:
                    if rng.random() < 0.1:
                        rig.m.cancel_pending(request.request_id)
                    success = rng.random() > 0.1
                    try:
                        name = rig.complete(request, step=int(rng.integers(3)), success=success)
                    except SnapshotFailed:
                        failed.append(1)
                    else:
                        if name:
                            stored.append(name)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    rig.m.cancel_all_pending()
    assert rig.m.pending_count == 0
    assert (rig.m.total_completed, rig.m.total_failed) == (len(stored), len(failed))
    assert sum(1 for what, _ in rig.storage.calls if what == "save") == len(stored)
    for slot in range(slots):
        rig.commit(slot, step=9)
        assert len(rig.m.list_checkpoints(slot)) <= 3
