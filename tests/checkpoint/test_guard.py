"""Rule 30: which states are good, and what is done about those that are not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from manager_rig import Rig

import ringnb as rn
from ringnb.checkpoint.guard import Guard
from ringnb.checkpoint.retention import keep_every, keep_last
from ringnb.testing.memory_storage import MemoryStorage
from ringnb.testing.storages import make_snapshot


@pytest.fixture(params=["memory", "directory"])
def storage(request, tmp_path):
    if request.param == "memory":
        yield MemoryStorage()
    else:
        with rn.ZarrStorage(tmp_path / "s.zarr", durable=False, chunk_bytes=1024) as storage:
            yield storage


def rig_of(storage, **config):
    rig = Rig(storage, **config)
    rig.add()
    return rig


def array_with(value, at=(3, 5), shape=(40, 50), dtype="<f4", more=()):
    array = np.ones(shape, dtype)
    for cell in (at, *more):
        array[cell] = value
    return {"u": array}


def commit(rig, step, data):
    return rig.complete(rig.m.request_snapshot(0), step, data=data)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        *((v, t) for v in (np.nan, np.inf, -np.inf) for t in ("<f2", "<f4", "<f8", ">f8")),
        (complex(0, np.nan), "<c8"),
        (complex(np.inf, 0), "<c16"),
    ],
)
def test_rule_30_a_value_that_is_not_finite_is_found_and_located(tmp_path, value, dtype):
    with rn.ZarrStorage(tmp_path / "s.zarr", durable=False, chunk_bytes=1024) as storage:
        rig = rig_of(storage)
        data = array_with(value, dtype=dtype, more=[(3, 6), (39, 49)])
        with pytest.warns(rn.CheckpointWarning, match=r"'k0'.*step 7.*'u': 3 values.*\(3, 5\)"):
            name = commit(rig, 7, data)
        checkpoint = storage.load(name)
        assert not checkpoint.good
        assert checkpoint.bad[0].startswith("field 'u': 3 values are not finite, the first, ")
        (info,) = storage.catalogue()
        assert info.good is False
        (event,) = rig.log.select("bad")
        assert (event.name, event.step, event.detail) == (name, 7, checkpoint.bad[0])
        checkpoint.verify()
        np.testing.assert_array_equal(checkpoint.numpy()["u"], data["u"])


def test_rule_30_values_that_cancel_out_are_found(tmp_path):
    data = array_with(np.inf)
    data["u"][3, 6] = -np.inf
    with rn.ZarrStorage(tmp_path / "s.zarr", durable=False) as storage:
        storage.save("a_0_step_1", make_snapshot(1, fields=data))
        (bad,) = storage.load("a_0_step_1").bad
    assert "2 values are not finite, the first, inf" in bad


def test_rule_30_what_has_no_such_values_is_good(storage):
    rig = rig_of(storage)
    for step, data in enumerate(
        (
            {"n": np.array([2**31 - 1, -1], "<i4")},
            {"b": np.array([True, False])},
            {"empty": np.zeros((0, 3))},
            {"u": np.array([1e308, -1e308, 5e-324, -0.0])},
            {"u": np.full(3, np.finfo("f4").max)},  # whose sum overflows
            {"u": np.full(3, np.finfo("f8").min)},
            {"u": np.full(3, complex(0, np.finfo("f4").max), "<c8")},
        )
    ):
        assert storage.load(commit(rig, step, data)).good


def test_rule_30_only_the_first_bad_one_warns_until_the_state_is_good_again_or_restored(storage):
    rig = rig_of(storage, max_snapshots=0)
    with pytest.warns(rn.CheckpointWarning):
        commit(rig, 1, array_with(np.nan))
    commit(rig, 2, array_with(np.nan))
    good = commit(rig, 3, array_with(1.0))
    with pytest.warns(rn.CheckpointWarning):
        commit(rig, 4, array_with(np.nan))
    rig.m.note_restored(0, good)
    with pytest.warns(rn.CheckpointWarning):
        commit(rig, 5, array_with(np.nan))
    assert len(rig.log.select("bad")) == 4


def test_rule_30_where_warnings_are_errors_the_commit_is_told_as_done(storage, caplog):
    rig = rig_of(storage)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        name = commit(rig, 1, array_with(np.nan))
    assert storage.list() == [name]
    assert "not finite" in caplog.text


def test_rule_30_latest_is_bad_and_latest_good_is_not(storage):
    rig = rig_of(storage)
    assert rig.m.load_latest(0, good=True) is None
    good = commit(rig, 1, array_with(1.0))
    with pytest.warns(rn.CheckpointWarning):
        bad = commit(rig, 2, array_with(np.nan))
    assert rig.m.load_latest(0).name == bad
    assert rig.m.load_latest(0, good=True).name == good


@pytest.mark.parametrize("policy", [None, keep_last(1), keep_every(1000)], ids=repr)
def test_rule_30_bad_ones_push_no_good_one_out(storage, policy):
    rig = rig_of(storage, max_snapshots=3, retention=policy)
    names = [commit(rig, step, array_with(1.0)) for step in range(5)]
    kept = set(storage.list())
    assert names[-1] in kept
    with pytest.warns(rn.CheckpointWarning):
        bad = [commit(rig, step, array_with(np.nan)) for step in range(5, 25)]
    assert kept <= set(storage.list())
    left = [n for n in storage.list() if n in bad]
    assert left[-1] == bad[-1]
    assert len(left) <= 3
    # Once the state is good again, the bad ones count as what they are: old.
    again = [commit(rig, step, array_with(1.0)) for step in range(25, 30)]
    assert again[-1] in storage.list()
    assert len(storage.list()) <= 2 * 3


def test_rule_30_a_hundred_blow_ups_leave_the_last_good_state():
    rng = np.random.default_rng(30)
    for _ in range(100):
        storage = MemoryStorage()
        rig = rig_of(storage, max_snapshots=int(rng.integers(1, 4)))
        last, field = None, np.ones((8, 8), "<f8")
        gain = rng.uniform(1.5, 1e3)
        where = tuple(rng.integers(0, 8, 2))
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            for step in range(int(rng.integers(20, 60))):
                for _ in range(40):
                    field[where] *= gain
                    field[where] *= field[where]
                if step % 3 == 0:
                    name = commit(rig, step, {"u": field})
                    if np.isfinite(field).all():
                        last = name
                    elif last is not None:
                        assert last in storage.list()
        found = rig.m.load_latest(0, good=True)
        assert (None if found is None else found.name) == last


def test_rule_30_invariants_are_asked_with_fields_step_and_params(storage):
    asked = []

    def mass(fields, step, params):
        asked.append((sorted(fields), step, dict(params)))
        with pytest.raises(ValueError, match="read-only"):
            fields["u"][0] = 1
        return bool(fields["u"].sum() == fields["u"].size)

    def bounded(fields, step, params):
        return None if fields["u"].max() < 2 else f"u reaches {fields['u'].max():g}"

    rig = Rig(storage, guard=[mass, bounded])
    rig.add(params={"c": 0.5})
    assert storage.load(commit(rig, 4, array_with(1.0))).good
    with pytest.warns(rn.CheckpointWarning, match="mass does not hold; u reaches 3"):
        name = commit(rig, 5, array_with(3.0))
    assert asked == [(["u"], 4, {"c": 0.5}), (["u"], 5, {"c": 0.5})]
    if isinstance(storage, rn.ZarrStorage):
        assert storage.load(name).bad == ["mass does not hold", "u reaches 3"]


def test_rule_30_an_answer_that_is_neither_true_nor_false_costs_no_commit(storage):
    rig = rig_of(storage, guard=lambda fields, step, params: fields["u"] < 2)
    with pytest.warns(rn.CheckpointWarning, match="<lambda> raised ValueError: The truth value"):
        name = commit(rig, 1, array_with(1.0))
    assert not storage.load(name).good


def test_rule_30_an_invariant_that_raises_costs_no_commit(storage, caplog):
    def broken(fields, step, params):
        return fields["no such field"]

    rig = rig_of(storage, guard=broken)
    with pytest.warns(rn.CheckpointWarning, match="broken raised KeyError"):
        commit(rig, 1, array_with(1.0))
    assert len(storage.list()) == 1
    assert "invariant 'broken'" in caplog.text


def test_rule_30_off_looks_at_nothing(storage):
    rig = rig_of(storage, guard="off")
    name = commit(rig, 1, array_with(np.nan))
    assert storage.load(name).good
    assert rig.log.select("bad") == []
    rig.m.reconfigure(guard="warn")
    with pytest.warns(rn.CheckpointWarning):
        commit(rig, 2, array_with(np.nan))


def test_rule_30_the_choice_is_checked():
    def f(fields, step, params):
        return True

    assert Guard.of("pause") == Guard("pause")
    assert Guard.of(["pause", f]) == Guard("pause", (f,))
    assert rn.CheckpointConfig(guard=[f]).state_guard == Guard("warn", (f,))
    for bad, error in (
        *(("stop", ValueError), (["warn", "off"], ValueError)),
        *((3, TypeError), ([3], TypeError), (None, TypeError)),
    ):
        with pytest.raises(error, match="guard"):
            rn.CheckpointConfig(guard=bad)


def test_rule_30_incremental_and_lazy_fields_are_looked_at(tmp_path):
    with rn.ZarrStorage(tmp_path / "s.zarr", durable=False, incremental=True) as storage:
        storage.save("a_0_step_1", make_snapshot(1, fields=array_with(np.nan)))
        storage.save("a_0_step_2", make_snapshot(2, fields=array_with(np.nan)))
        lazy = storage.load("a_0_step_2")["u"]
        storage.save("a_0_step_3", make_snapshot(3, fields={"u": lazy}))
        assert [e.good for e in storage.catalogue()] == [False] * 3
