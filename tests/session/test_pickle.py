"""What can be pickled and copied, and what says that it cannot."""

from __future__ import annotations

import copy
import operator
import pickle

import numpy as np
import pytest
from processes import elsewhere
from session_rig import memory, quiet

import ringnb as rn
from ringnb import retention
from ringnb.errors import CommandRefused, Status


def decay(now, following, params, step, y, x):
    following[0, y, x] = now[0, y, x] * (1 - params[0])


def is_small(fields, step, params):
    return abs(fields["u"]).max() < 10


def metric(checkpoint):
    return checkpoint.step


def cells():
    return rn.actors.CellActor(decay, (6, 6), params={"rate": 0.1}, start=np.ones((6, 6)))


def pickled(value):
    return pickle.loads(pickle.dumps(value))


def go_on(actor, checkpoint, config):
    """Restore a checkpoint into an actor, both from another process, and step."""
    with rn.Session(actor, config=config, storage=memory()) as s:
        s.restore(0, checkpoint)
        s.run_steps(0, 3)
        return s.snapshot(0).numpy(), repr(s.manager.config.policy)


def test_a_run_goes_on_in_another_process_with_what_was_sent_there(tmp_path):
    policy = (retention.keep_last(3) | retention.keep_best(2, metric)) & retention.keep_within(
        1 << 20
    )
    config = quiet(storage_path=tmp_path / "s.zarr", retention=policy, guard=is_small)
    with rn.Session(cells(), config=config) as s:
        s.run_steps(0, 4)
        checkpoint = s.snapshot(0)
        there, written = elsewhere(go_on, s.actors[0], checkpoint, config)
        s.run_steps(0, 3)
        np.testing.assert_array_equal(there["u"], s.snapshot(0)["u"])
    assert written == repr(policy)


@pytest.mark.parametrize(
    "make", [cells, *(lambda kind=k: kind((8, 8)) for k in (rn.actors.Heat2D, rn.actors.Wave2D))]
)
@pytest.mark.parametrize("again", [pickled, copy.copy, copy.deepcopy])
def test_an_actor_is_the_same_again(make, again):
    actor = make()
    other = again(actor)
    assert repr(other) == repr(actor)
    assert dict(other.params) == dict(actor.params)
    with pytest.raises(TypeError):
        other.params["rate"] = 1.0
    np.testing.assert_array_equal(other.start(0), actor.start(0))
    assert other.update is actor.update or other.update.__func__ is actor.update.__func__


def test_a_function_that_cannot_be_imported_is_named():
    def local(now, following, params, step, y, x):
        following[0, y, x] = now[0, y, x]

    actor = rn.actors.CellActor(local, (4, 4))
    with pytest.raises((AttributeError, pickle.PicklingError), match="local"):
        pickle.dumps(actor)
    assert copy.deepcopy(actor).update is local


@pytest.mark.parametrize(
    "policy",
    [
        retention.keep_all(),
        retention.keep_last(2),
        retention.keep_every(10),
        retention.keep_spaced(2.5),
        retention.keep_thinning(3.0, 4),
        retention.keep_within(100),
        retention.keep_best(2, metric, best="smallest"),
        retention.keep_last(2) & retention.keep_every(3) | retention.keep_all(),
        retention.Policy(operator.or_, "mine"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("again", [pickled, copy.copy, copy.deepcopy])
def test_a_policy_is_the_same_again(policy, again):
    assert repr(again(policy)) == repr(policy)


def test_a_checkpoint_is_opened_again_where_it_lies(tmp_path):
    with rn.Session(cells(), config=quiet(storage_path=tmp_path / "s.zarr")) as s:
        s.run_steps(0, 2)
        checkpoint = s.snapshot(0)
        for other in (pickled(checkpoint), copy.copy(checkpoint), copy.deepcopy(checkpoint)):
            assert (other.name, other.step, other.id) == (checkpoint.name, 2, checkpoint.id)
            np.testing.assert_array_equal(other["u"], checkpoint["u"])
        np.testing.assert_array_equal(pickled(checkpoint["u"]), checkpoint["u"])
        assert copy.deepcopy(checkpoint).pin("mine") is None
        assert pickled(s.manager.history(0)) == s.manager.history(0)
        statistics = s.statistics()
        assert pickled(statistics) == statistics
        assert pickled(list(s.events))
        raw = pickle.dumps(checkpoint)
        s.storage.unpin(checkpoint.name)
        s.storage.delete(checkpoint.name)
        with pytest.raises(rn.CheckpointNotFound, match=checkpoint.name):
            pickle.loads(raw)


def test_what_lives_in_this_process_says_so():
    with rn.Session(cells(), config=quiet(), storage=memory()) as s:
        s.run_steps(0, 1)
        checkpoint = s.snapshot(0)
        refused = {
            s: r"a Session cannot be pickled or copied.*take a checkpoint, and restore it",
            s.manager: "a CheckpointManager cannot be pickled or copied.*config",
        }
        for value, message in refused.items():
            for how in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(TypeError, match=message):
                    how(value)
        with pytest.raises(TypeError, match="a panel cannot be pickled or copied"):
            pickle.dumps(s.panel("actor"))  # ipywidgets refuses to copy it
        with pytest.raises(TypeError, match=r"in the memory of this process.*numpy"):
            pickle.dumps(checkpoint)


def test_errors_can_be_sent_to_another_process():
    error = pickled(CommandRefused("no", Status.OK))
    assert (str(error), error.status) == ("no", Status.OK)
    assert str(pickled(rn.CheckpointNotFound("gone"))) == "gone"
