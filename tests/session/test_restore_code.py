"""Restores into other code, constants and parameters: what differs is named, with the remedy."""

from __future__ import annotations

import json
import types

import numba
import numpy as np
import pytest
from session_rig import memory, quiet

import ringnb as rn

TEXT = """
c = 0.5

@numba.njit
def laplace(x):
    return 2 * x

def decay(now, next, params, step, x):
    next[0, x] = laplace(now[0, x]) * c * params[0]
"""
SHAPE = (4,)


def function(text=TEXT, name="decay"):
    module = types.ModuleType("model")
    module.numba = numba
    exec(text, vars(module))
    return getattr(module, name)


# Shared, because a function is compiled once only.
decay = function()
edited = function(TEXT.replace("c = 0.5", "c = 0.7").replace("2 * x", "3 * x"))
renamed = function(TEXT.replace("def decay", "def fading"), "fading")
grown = function(TEXT.replace("* c", "+ c"))


def opened(storage, update=decay, *, params=None, shape=SHAPE, **options):
    options.setdefault("start", np.ones(shape))
    params = {"rate": 0.5} if params is None else params
    actor = rn.actors.CellActor(update, shape, params=params, **options)
    return rn.Session(actor, config=quiet(), storage=storage)


@pytest.fixture
def storage():
    return memory()


@pytest.fixture
def made(storage):
    """A checkpoint of the actor as it is here, at step 1."""
    with opened(storage) as session:
        session.run_steps(0, 1)
        return session.snapshot(0)


def test_a_checkpoint_knows_its_code_and_what_it_ran_on(made):
    code = made.code
    assert (code["update"], code["values"]) == ("decay", {"c": "0.5"})
    assert set(code["functions"]) == {"decay", "laplace"}
    assert {"python", "numpy", "numba", "llvm", "ringnb", "cpu"} < code.keys()
    assert code["backend"] == made.backend
    assert len(json.dumps(code)) < 1000
    assert f"code {code['fingerprint'][:8]}>" in repr(made)
    assert code["fingerprint"][:8] in made._repr_html_()
    code["values"]["c"] = "0.6"
    assert made.code["values"] == {"c": "0.5"}


def test_other_code_is_named_and_restored_all_the_same(storage, made):
    with opened(storage, edited) as session:
        with pytest.raises(rn.CheckpointWarning):  # a warning is an error here, and changes nothing
            session.restore(0, "latest")
        assert session.current_step(0) == 0
        said = r"other code: `c` was 0\.5, is 0\.7; function `laplace` differs$"
        with pytest.warns(rn.CheckpointWarning, match=said) as caught:
            assert session.restore(0, "latest") == 1
        assert caught[0].filename == __file__
        session.run_steps(0, 1)
        second = session.snapshot(0)
        assert second.code["values"] == {"c": "0.7"}
        assert second.numpy()["u"][0] == 0.5 * 3 * np.float32(0.7) * 0.5
    with opened(storage, edited) as session:
        assert session.restore(0, "latest") == 2
    with opened(storage) as session, pytest.warns(rn.CheckpointWarning, match=r"was 0\.7, is 0\.5"):
        session.restore(0, "latest")


def test_a_constant_that_a_notebook_defines_anew_is_seen_by_the_next_session(storage, made):
    update = function()
    with opened(storage, update) as session:
        session.restore(0, made)
    update.__globals__["c"] = 0.25
    with opened(storage, update) as session:
        with pytest.warns(rn.CheckpointWarning, match=r"`c` was 0\.5, is 0\.25"):
            session.restore(0, made)


def test_the_git_commits_are_named_where_they_differ(storage, made, monkeypatch):
    def at(commit):
        monkeypatch.setattr("ringnb.session.launching.git_commit", lambda file: commit)

    at("a" * 40)
    with opened(storage) as session:
        session.run_steps(0, 2)
        session.snapshot(0)
    at("b" * 40)
    with opened(storage, edited) as session:
        with pytest.warns(rn.CheckpointWarning, match=r"git commit aaaaaaaa then, bbbbbbbb now"):
            session.restore(0, "latest")


def test_a_checkpoint_that_records_no_code_is_restored_without_a_word(storage, made):
    with rn.CheckpointManager(quiet(), storage) as manager:
        manager.register_actor(0, made.kernel_id, made.kernel_type, params=made.params)
        request = manager.request_snapshot(0)
        name = manager.complete_snapshot(
            rn.SnapshotResponse(request.request_id, 0, True, made.numpy(), 7)
        )
    with opened(storage, edited) as session:
        assert session.restore(0, name) == 7
        assert session.storage.load(name).code == {}
        assert "not recorded" in session.storage.load(name)._repr_html_()


def test_parameters_that_the_program_gives_otherwise_are_said_and_can_be_kept(storage, made):
    with opened(storage, params={"rate": 0.25}) as session:
        said = (
            r"rate = 0\.5 \(the actor was made with 0\.25\).*restore\(0, '.*', params=\"current\"\)"
        )
        with pytest.warns(rn.CheckpointWarning, match=said):
            session.restore(0, "latest")
        assert session.params(0) == {"rate": 0.5}
        session.restore(0, "latest")  # said once: since then they are not the program's any more
    with opened(storage, params={"rate": 0.25}) as session:
        assert session.restore(0, "latest", params="current") == 1
        assert session.params(0) == {"rate": 0.25}
        session.run_steps(0, 1)
        second = session.snapshot(0)
        assert second.params == {"rate": 0.25}
        assert second.numpy()["u"][0] == 0.5 * 2 * 0.5 * 0.25


def test_parameters_changed_by_hand_are_taken_back_without_a_word(storage, made):
    with opened(storage) as session:
        session.set_params(0, rate=0.125)
        session.restore(0, made)
        assert session.params(0) == {"rate": 0.5}
        session.set_params(0, rate=0.125)
        other = session.snapshot(0)
        session.set_params(0, rate=0.75)
        session.restore(0, other)
        assert session.params(0) == {"rate": 0.125}
        session.restore(0, made, params="current")
        assert session.params(0) == {"rate": 0.125}
        with pytest.raises(ValueError, match=r"params must be 'stored' or 'current', got 'new'"):
            session.restore(0, made, params="new")


def test_a_state_restored_with_other_parameters_counts_as_changed(storage, made):
    with opened(storage, params={"rate": 0.25}) as session:
        session.restore(0, "latest", params="current")
        assert session._service.changed() == [0]
    with opened(storage) as session:
        session.restore(0, "latest", params="current")
        assert not session._service.changed()


@pytest.mark.parametrize(
    ("then", "now", "said"),
    [
        ("a", "ab", r"it lacks 'b', which 'decay' has now"),
        ("ab", "a", r"it has 'b', which 'decay' has no longer"),
        ("a", "b", r"it lacks 'b', which 'decay' has now, and it has 'a', which"),
    ],
)
def test_a_parameter_added_or_removed_since_names_the_checkpoint_and_the_remedy(
    storage, then, now, said
):
    with opened(storage, params=dict.fromkeys(then, 0.5)) as session:
        session.run_steps(0, 1)
        made = session.snapshot(0)
    with opened(storage, params=dict.fromkeys(now, 0.25)) as session:
        for checkpoint in (made, "latest"):
            remedy = rf"{said}.*restore\(0, '{made.name}', params=\"current\"\)"
            with pytest.raises(ValueError, match=remedy):
                session.restore(0, checkpoint)
        assert session.current_step(0) == 0
        assert session.restore(0, made, params="current") == 1
        assert session.params(0) == dict.fromkeys(now, 0.25)


def test_the_order_of_parameters_and_fields_is_part_of_the_code(storage):
    two = function(f"{TEXT}    next[1, x] = now[1, x]")
    with opened(
        storage, two, params={"a": 0.5, "b": 1.0}, fields=("u", "v"), start=None
    ) as session:
        made = session.snapshot(0)
    with opened(
        storage, two, params={"b": 1.0, "a": 0.5}, fields=("v", "u"), start=None
    ) as session:
        said = r"parameters was a, b, is b, a; the order of the fields was u, v, is v, u"
        with pytest.warns(rn.CheckpointWarning, match=said):
            session.restore(0, made)


def test_a_renamed_function_has_the_same_code_and_the_remedy_is_named(storage, made):
    with opened(storage, renamed) as session:
        remedy = r"its update function is the same but for the name.*kernel_type='decay'"
        with pytest.raises(ValueError, match=rf"'{made.name}'.*'decay'.*'fading'.*{remedy}"):
            session.restore(0, made)
        said = rf"'fading_0'.*newest of this slot is '{made.name}', of actor 'decay_0'.*'decay'$"
        with pytest.raises(rn.CheckpointNotFound, match=said):
            session.restore(0, "latest")
    with opened(storage, renamed, kernel_type="decay") as session:
        assert session.restore(0, "latest") == 1


def test_another_function_is_not_taken_for_a_renamed_one(storage, made):
    with opened(storage, edited, kernel_type="fading") as session:
        with pytest.raises(ValueError, match="its update function is the same but for the name"):
            session.restore(0, made)
    with opened(storage, grown, kernel_type="fading") as session:
        with pytest.raises(ValueError, match="restore it into an actor of its own type"):
            session.restore(0, made)


def test_latest_passes_over_what_does_not_fit_and_says_so(storage, made):
    with opened(storage, shape=(5,)) as session:
        wider = [session.snapshot(0).name, session.snapshot(0).name]
        with pytest.raises(ValueError, match=r"\(4,\).*\(5,\)"):
            session.restore(0, made)
    with opened(storage) as session:
        with pytest.warns(
            rn.CheckpointWarning, match=rf"passed over.*{wider[1]}.*{made.name}"
        ) as said:
            assert session.restore(0, "latest") == 1
        assert len(said) == 1
        assert wider[0] in str(said[0].message)
        assert said[0].filename == __file__
    with opened(storage, shape=(6,)) as session:
        with pytest.raises(rn.CheckpointNotFound, match=r"\(5,\).*\(6,\)"):
            session.restore(0, "latest")
