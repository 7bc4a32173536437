"""Garbage collection is held off in blocks, and is as it was after the last of them."""

from __future__ import annotations

import gc
import threading

import pytest

from ringnb._support.children import run_python
from ringnb._support.collecting import without_collection


@pytest.fixture(autouse=True)
def collected():
    was = gc.isenabled()
    gc.enable()
    yield
    (gc.enable if was else gc.disable)()


def test_nothing_is_collected_in_a_block_and_after_an_error_it_is_as_before():
    with pytest.raises(ValueError, match="here"), without_collection():
        assert not gc.isenabled()
        raise ValueError("here")
    assert gc.isenabled()


def test_a_process_that_collects_nothing_stays_so():
    gc.disable()
    with without_collection():
        pass
    assert not gc.isenabled()


def test_a_block_holds_until_its_end_whichever_ends_first():
    inside, leave = threading.Event(), threading.Event()

    def other():
        with without_collection():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with without_collection():
        thread.start()
        assert inside.wait(10)
    assert not gc.isenabled()
    leave.set()
    thread.join()
    assert gc.isenabled()


def test_what_is_imported_is_collected_afterwards():
    code = "import gc, ringnb as rn; print(gc.isenabled()); rn.Session; print(gc.isenabled())"
    assert run_python("-c", code, check=True).stdout.split() == ["True", "True"]
