"""What is sent between a notebook and a worker arrives as it was, also what a cell has defined."""

from __future__ import annotations

import pickle
import sys

import cloudpickle
import pytest
import test_packing as this_module

from ringnb.cluster.packing import packed
from ringnb.kernel.base import ActorCounters


def twice(x):
    return 2 * x


@pytest.mark.parametrize(
    "thing",
    [((0,), {"at": (1, 2)}), (ActorCounters(1, 0, True, 0, True, 2, 3, 4), None), "__main__"],
    ids=["call", "answer", "name"],
)
def test_plain_things_arrive(thing):
    there = pickle.loads(packed(thing))
    assert (type(there), there) == (type(thing), thing)


def test_what_a_cell_has_defined_is_taken_along(monkeypatch):
    names = {"__name__": "__main__"}
    exec("class Note:\n    text = 'kept'\n", names)
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "Note", names["Note"], raising=False)
    sent = packed((names["Note"](), lambda x: x + 1))
    monkeypatch.delattr(main, "Note")  # as in the other process
    note, function = pickle.loads(sent)
    assert (note.text, function(1)) == ("kept", 2)


def test_a_module_that_is_to_be_taken_along_is(monkeypatch):
    cloudpickle.register_pickle_by_value(this_module)
    try:
        sent = packed(this_module.twice)
    finally:
        cloudpickle.unregister_pickle_by_value(this_module)
    monkeypatch.delattr(this_module, "twice")
    assert pickle.loads(sent)(4) == 8
