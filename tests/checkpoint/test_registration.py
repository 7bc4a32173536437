"""What is registered about an actor: checked, copied, frozen."""

from __future__ import annotations

import numpy as np
import pytest

from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.checkpoint.registration import RegisteredActor
from ringnb.messages.snapshots import SnapshotResponse
from ringnb.testing import ManualClock, MemoryStorage


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"actor_slot": -1}, ValueError, "actor_slot must lie in 0"),
        ({"actor_slot": True}, TypeError, "actor_slot must be an integer"),
        ({"kernel_id": ""}, ValueError, "kernel_id must be 1 to 200 printable"),
        ({"kernel_id": "x" * 201}, ValueError, "kernel_id must be 1 to 200 printable"),
        ({"kernel_id": "a\nb"}, ValueError, "kernel_id must be 1 to 200 printable"),
        ({"kernel_id": 5}, TypeError, "kernel_id must be a str"),
        ({"kernel_type": ""}, ValueError, "kernel_type must be 1 to 200"),
        ({"backend": 1}, TypeError, "backend must be a str"),
        ({"params": [1]}, TypeError, "params must be a mapping"),
        ({"params": {1: 2}}, TypeError, "a name in params must be a str"),
        ({"params": {"a": float("inf")}}, ValueError, r"params\['a'\] must be finite"),
        ({"params": {"a": 2**64}}, ValueError, r"params\['a'\] must be an integer of 64 bits"),
        ({"params": {"a": [1]}}, TypeError, r"params\['a'\] must be a str, int"),
        ({"params": {"a": "\ud800"}}, ValueError, r"params\['a'\] must be text"),
        ({"fields": ["u"]}, TypeError, "fields must be a mapping"),
        ({"fields": {"../u": {}}}, ValueError, "field name"),
        ({"fields": {"u": "Pa"}}, TypeError, r"fields\['u'\] must be a mapping"),
        ({"fields": {"u": {"unit": "Pa"}}}, ValueError, r"\['unit'\] is not known: use any of uni"),
        ({"fields": {"u": {"units": 1}}}, TypeError, r"\['units'\] must be a str"),
        ({"fields": {"u": {"dims": "yx"}}}, TypeError, r"\['dims'\] must be a tuple"),
        ({"fields": {"u": {"dims": ("y", "y")}}}, ValueError, "names a dimension twice"),
        ({"fields": {"u": {"dims": ("y", "")}}}, ValueError, "must be 1 to 200"),
    ],
)
def test_registration_is_checked(rig, changes, error, match):
    rig.add(0, "there")
    arguments = {"actor_slot": 0, "kernel_id": "k", "kernel_type": "t"} | changes
    with pytest.raises(error, match=match):
        rig.m.register_actor(**arguments)
    assert rig.m.registered[0].kernel_id == "there"


def test_registration_is_copied(rig):
    params = {"a": np.float32(0.5), "n": np.int8(3), "on": np.True_, "s": "text", "none": None}
    fields = {"u": {"dims": ["y", "x"], "units": ""}}
    rig.add(params=params, fields=fields)
    params["a"] = 9.0
    fields["u"]["dims"].append("z")
    actor = rig.m.registered[0]
    assert actor.params == {"a": 0.5, "n": 3, "on": True, "s": "text", "none": None}
    assert [type(v) for v in actor.params.values()] == [float, int, bool, str, type(None)]
    assert actor.fields["u"] == {"dims": ("y", "x"), "units": ""}
    for frozen in (actor.params, actor.fields, actor.fields["u"], rig.m.registered):
        with pytest.raises(TypeError):
            frozen["new"] = 1


def test_a_registration_says_nothing_that_was_not_given():
    actor = RegisteredActor.make(np.int8(3), "k", "t")
    assert (actor.actor_slot, type(actor.actor_slot)) == (3, int)
    assert (dict(actor.params), actor.backend, dict(actor.fields)) == ({}, None, {})


def test_of_many_actors_the_store_is_read_once(monkeypatch):
    storage = MemoryStorage()
    reads = []
    catalogue = storage.catalogue
    monkeypatch.setattr(storage, "catalogue", lambda: reads.append(1) or catalogue())
    with CheckpointManager(CheckpointConfig(), storage, clock=ManualClock()) as manager:
        manager.register_actor(7, "k7", "t", params={"a": 7})
        request = manager.request_snapshot(7)
        answer = SnapshotResponse(request.request_id, 7, True, {"u": np.zeros(3)}, 5)
        name = manager.complete_snapshot(answer)
        first = RegisteredActor.make(0, "k0", "t", params={"a": 0}, name_prefix="checkpoint")
        many = [first.like_this(i, f"k{i}", {"a": i}, "checkpoint") for i in range(100)]
        reads.clear()
        manager.register_all(many)
        assert reads == [1]
        assert {i: a.params["a"] for i, a in manager.registered.items()} == {
            i: i for i in range(100)
        }
        assert manager.registered is manager.registered  # not copied for each look
        assert manager.lineage(7).name == name
        assert manager.lineage(8) is None
