"""Sessions that no variable refers to any more: they end, whichever thread finds them."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
from session_rig import SHAPE, Gate, memory, quiet
from waiting import until

import ringnb as rn
from ringnb.session import live
from ringnb.testing.kernels import Mixer


@pytest.fixture(autouse=True)
def no_collection_but_ours():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("thread", ["its writer", "another with a lock that its writer needs"])
def test_a_session_that_any_thread_finds_is_ended_by_another(thread):
    storage, lock, found = Gate(memory()), threading.Lock(), threading.Event()
    s = rn.Session(Mixer(SHAPE), config=quiet(), storage=storage)
    s.itself_too = s
    gone, manager, kernel = weakref.ref(s), s.manager, s.kernel

    def save(name, snapshot):
        storage.entered.set()
        assert storage.open.wait(60)
        if thread == "its writer":
            gc.collect()
            found.set()
        with lock:
            return storage.inner.save(name, snapshot)

    storage.save = save
    storage.open.clear()
    s._service.enqueue(s.manager.request_snapshot(0))
    assert storage.entered.wait(60)
    del s
    if thread == "its writer":
        storage.open.set()
        assert found.wait(60)
    else:
        with lock:
            storage.open.set()
            gc.collect()
            assert gone() is None
    until(lambda: not live._endings)
    assert gone() is None
    assert not kernel.alive
    assert manager.total_completed == 1  # what was captured is committed
    with pytest.raises(rn.CheckpointError, match="closed"):
        manager.poll_due_snapshots()
