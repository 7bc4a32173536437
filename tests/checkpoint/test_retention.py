"""Retention: policies say what to keep, `choose` what may go, the manager deletes it."""

from __future__ import annotations

import itertools
import threading
import warnings
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from manager_rig import Rig

import ringnb as rn
from ringnb.checkpoint.retention import (
    Policy,
    choose,
    keep_all,
    keep_best,
    keep_every,
    keep_last,
    keep_spaced,
    keep_thinning,
    keep_within,
)
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.testing.memory_storage import MemoryStorage
from ringnb.testing.storages import make_snapshot

START = datetime(2026, 1, 1, tzinfo=UTC)


def info(sequence: int, **changes) -> CheckpointInfo:
    values = {
        "sequence": sequence,
        "step": 10 * sequence,
        "created_at": START + timedelta(seconds=60 * sequence),
        "nbytes": 100,
    }
    return CheckpointInfo(f"c{sequence}", **{**values, **changes})


def infos(*sequences: int) -> list[CheckpointInfo]:
    return [info(s) for s in sequences]


def no_load(name):
    pytest.fail(f"{name} was opened")


def kept(history, policy, load=no_load, **options) -> list[int]:
    gone = {e.name for e in choose(history, policy, load, **options)}
    return [e.sequence for e in sorted(history, key=lambda e: e.sequence) if e.name not in gone]


# -- one by one -----------------------------------------------------------------------------------


def test_the_oldest_by_sequence_go_whatever_the_order_given():
    assert [e.name for e in choose(infos(30, 4, 200), keep_last(1), no_load)] == ["c4", "c30"]


def test_keep_last_and_all():
    assert kept(infos(*range(9)), keep_all()) == list(range(9))
    assert kept(infos(1, 2), keep_last(2)) == [1, 2]
    assert kept(infos(*range(9)), keep_last(3)) == [6, 7, 8]


def at_steps(*steps):
    return [info(n, step=step) for n, step in enumerate(steps)]


def test_the_first_of_every_so_many_steps_and_always_the_newest():
    assert kept(infos(*range(1, 12)), keep_every(50)) == [1, 5, 10, 11]
    assert kept(at_steps(0, 40, 103, 150, 199, 207, 250), keep_every(100)) == [0, 2, 5, 6]
    assert kept(at_steps(50, 100, 150, 200), keep_every(100)) == [0, 1, 3]


def test_branches_that_begin_a_window_at_one_step_all_stay():
    assert kept(at_steps(100, 150, 100, 130, 103, 180), keep_every(100)) == [0, 2, 5]
    # Only a smaller step takes the place of what was kept.
    assert kept(at_steps(103, 150, 101, 130, 180), keep_every(100)) == [2, 4]


def test_spaced_by_time_from_the_oldest():
    assert kept(infos(*range(10)), keep_spaced(180)) == [0, 3, 6, 9]
    assert kept(infos(*range(10)), keep_spaced(181)) == [0, 4, 8, 9]


def test_a_clock_that_was_set_back_does_not_stop_spacing():
    history = [*infos(100, 101), info(102, created_at=START), info(103)]
    assert kept(history, keep_spaced(90)) == [100, 102, 103]


def test_thinning_is_dense_when_recent_and_sparse_when_old():
    left = kept(infos(*range(1, 1001)), keep_thinning(60.0))
    assert left[-2:] == [999, 1000]
    ages = [1000 - s for s in left]
    assert 8 <= len(left) <= 2 * 12
    assert all(older <= 4 * newer + 4 for older, newer in itertools.pairwise(ages))
    assert left[0] == 1


def test_thinning_as_checkpoints_arrive_keeps_what_thinning_at_the_end_keeps():
    policy, history = keep_thinning(60.0, 3), []
    for sequence in range(1, 400):
        history.append(info(sequence))
        gone = {e.name for e in choose(history, policy, no_load)}
        history = [e for e in history if e.name not in gone]
        assert len(history) <= 3 * 11
    arrived = [e.sequence for e in history]
    at_the_end = kept(infos(*range(1, 400)), policy)
    assert set(at_the_end) <= set(arrived)


def test_best_by_a_metric_that_is_asked_once():
    asked = []

    class Stub:
        def __init__(self, name):
            self.sequence = int(name[1:])

    def metric(checkpoint):
        asked.append(checkpoint.sequence)
        return {3: float("nan")}.get(checkpoint.sequence, -abs(checkpoint.sequence - 4))

    policy = keep_best(2, metric)
    history = infos(*range(1, 8))
    assert kept(history, policy, Stub) == [4, 5, 7]
    assert kept(history, policy, Stub) == [4, 5, 7]
    assert sorted(asked) == list(range(1, 8))
    assert kept(history, keep_best(1, lambda c: c.sequence, best="smallest"), Stub) == [1, 7]


def test_a_damaged_checkpoint_is_never_among_the_best():
    def load(name):
        if name == "c2":
            raise rn.CheckpointCorrupt(name)
        return name

    assert kept(infos(1, 2, 3), keep_best(2, lambda name: -int(name[1:])), load) == [1, 3]


def test_a_byte_budget_keeps_the_newest_that_fit():
    assert kept(infos(*range(10)), keep_within(350)) == [7, 8, 9]
    assert kept([info(1), info(2, nbytes=5000)], keep_within(350)) == [2]


def test_policies_compose():
    history = infos(*range(1, 21))
    either = keep_last(2) | keep_every(50)
    assert kept(history, either) == [1, 5, 10, 15, 19, 20]
    assert kept(history, either & keep_within(300)) == [15, 19, 20]
    assert repr(either & keep_within(300)) == (
        "((keep_last(2) | keep_every(50)) & keep_within(300))"
    )
    with pytest.raises(TypeError):
        either | 3


@pytest.mark.parametrize(
    "make",
    [
        lambda: keep_last(0),
        lambda: keep_last(-1),
        lambda: keep_every(0),
        lambda: keep_spaced(0.0),
        lambda: keep_spaced(float("inf")),
        lambda: keep_thinning(60.0, 1),
        lambda: keep_within(0),
        lambda: keep_best(1, len, best="both"),
    ],
)
def test_values_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match="must be"):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: keep_last(2.0),
        lambda: keep_last(True),
        lambda: keep_spaced("60"),
        lambda: keep_best(1, 3),
    ],
)
def test_values_of_the_wrong_type_are_refused(make):
    with pytest.raises(TypeError, match="must be"):
        make()


# -- what holds for every policy -------------------------------------------------------------------


def test_pinned_protected_and_damaged_are_neither_counted_nor_chosen():
    history = [
        CheckpointInfo("broken", damaged=True),
        info(1, pin="mine"),
        *infos(2, 3, 4, 5),
    ]
    gone = choose(history, keep_last(2), no_load, protect=("c2",))
    assert [e.name for e in gone] == ["c3"]


def loaded(name):
    return int(name[1:])


policies = st.recursive(
    st.one_of(
        st.just(keep_all()),
        st.builds(keep_last, st.integers(1, 8)),
        st.builds(keep_every, st.integers(1, 80)),
        st.builds(keep_spaced, st.floats(1, 900)),
        st.builds(keep_thinning, st.floats(1, 300), st.integers(2, 4)),
        st.builds(keep_within, st.integers(1, 2000)),
        st.builds(lambda n, k: keep_best(n, lambda c: c % k), st.integers(1, 4), st.integers(1, 9)),
        st.just(Policy(lambda _history, _load: (), "nothing")),
        st.just(Policy(lambda history, _load: [e.name for e in history[1:]], "not the oldest")),
    ),
    lambda some: (
        st.builds(lambda a, b: a | b, some, some) | st.builds(lambda a, b: a & b, some, some)
    ),
    max_leaves=4,
)


@st.composite
def histories(draw):
    numbers = draw(st.lists(st.integers(1, 200), unique=True, max_size=25))
    return [
        info(
            n,
            step=draw(st.integers(0, 500)),
            created_at=draw(
                st.none() | st.integers(0, 5000).map(lambda s: START + timedelta(seconds=s))
            ),
            nbytes=draw(st.integers(0, 900)),
            pin=draw(st.none() | st.just("kept")),
        )
        for n in numbers
    ]


@given(histories(), policies, st.data())
def test_no_policy_empties_a_history_unpins_or_changes_its_mind(history, policy, data):
    names = [e.name for e in history]
    protect = data.draw(st.lists(st.sampled_from(names), max_size=2) if names else st.just([]))
    gone = choose(history, policy, loaded, protect=protect)
    left = [e for e in history if e not in gone]
    assert all(e.pin is None for e in gone)
    assert not {e.name for e in gone} & set(protect)
    unpinned = [e for e in history if e.pin is None]
    if unpinned:
        assert max(unpinned, key=lambda e: e.sequence) in left
    assert choose(left, policy, loaded, protect=protect) == []


@given(st.lists(st.integers(0, 300), max_size=20), st.integers(1, 80), st.randoms())
def test_every_window_of_steps_keeps_its_first(taken_at, steps, shuffler):
    history, policy = at_steps(*taken_at), keep_every(steps)
    wanted = policy(history, no_load)
    left = [e for e in history if e.name in wanted]
    assert {e.step // steps for e in left} == {e.step // steps for e in history}
    assert {e.name for e in history if e.step % steps == 0} <= wanted
    assert all(
        e.step <= other.step
        for e in left
        for other in history
        if e.step // steps == other.step // steps
    )
    assert policy(left, no_load) == wanted
    shuffler.shuffle(history)
    assert policy(history, no_load) == wanted
    arrived: list[CheckpointInfo] = []
    for e in history:  # asked after every commit it keeps what it keeps when asked at the end
        arrived = [a for a in (*arrived, e) if a.name in policy((*arrived, e), no_load)]
    assert {a.name for a in arrived} == wanted


# -- the manager ------------------------------------------------------------------------------------


def rig_of(storage, **config):
    rig = Rig(storage, **config)
    rig.add()
    return rig


def steps(rig):
    return [e.step for e in rig.m.history(0)]


@pytest.fixture(params=["directory", "memory", "stub"])
def storage(request, tmp_path):
    places = {
        "directory": lambda: rn.ZarrStorage(tmp_path / "s.zarr", durable=False),
        "memory": lambda: rn.ZarrStorage(f"memory://{tmp_path.name}"),
        "stub": MemoryStorage,
    }
    with places[request.param]() as storage:
        yield storage


def test_commits_follow_the_configured_policy(storage):
    rig = rig_of(storage, retention=keep_every(10) | keep_last(2))
    for step in range(1, 25):
        rig.commit(step=step)
    assert steps(rig) == [1, 10, 20, 23, 24]
    rig.m.reconfigure(max_snapshots=2)
    rig.commit(step=25)
    assert steps(rig) == [24, 25]
    rig.m.reconfigure(max_snapshots=0)
    rig.commit(step=26)
    assert steps(rig) == [24, 25, 26]


def test_a_pin_outlives_retention_until_it_is_unpinned(storage):
    rig = rig_of(storage, max_snapshots=2)
    first = rig.commit(step=1)
    storage.pin(first, "before the crash")
    for step in range(2, 6):
        rig.commit(step=step)
    assert steps(rig) == [1, 4, 5]
    assert [e.pin for e in rig.m.history(0)] == ["before the crash", None, None]
    with pytest.raises(rn.CheckpointError, match="before the crash"):
        storage.delete(first)
    storage.unpin(first)
    rig.commit(step=6)
    assert steps(rig) == [5, 6]


def test_a_preview_changes_nothing_and_tells_what_apply_does(storage):
    rig = rig_of(storage, max_snapshots=0)
    for step in range(1, 7):
        name = rig.commit(step=step)
    storage.pin(rig.m.list_checkpoints(0)[0], "first")
    before = storage.list()
    preview = rig.m.preview_retention(keep_last(2))
    assert storage.list() == before
    assert [e.step for e in preview.delete] == [2, 3, 4]
    assert [e.step for e in preview.keep] == [1, 5, 6]
    assert preview.freed_bytes > 0
    assert "is deleted" in preview._repr_html_()
    assert "pinned: first" in preview._repr_html_()
    rig.m.reconfigure(retention=keep_last(2))
    assert rig.m.apply_retention() == [e.name for e in preview.delete]
    assert rig.m.preview_retention().delete == ()
    assert name in storage.list()


def test_what_was_shown_is_adopted_and_deleted_or_nothing_is(storage):
    rig = rig_of(storage, max_snapshots=0)
    for step in range(1, 7):
        rig.commit(step=step)
    shown = rig.m.preview_retention(keep_last(2))
    rig.commit(step=7)
    rig.commit(step=8)
    before = storage.list(), rig.m.config
    with pytest.raises(rn.CheckpointError, match="2 checkpoints came since; nothing was deleted"):
        rig.m.apply_retention(shown=shown)
    assert (storage.list(), rig.m.config) == before
    shown = rig.m.preview_retention(keep_last(2))
    storage.pin(shown.delete[0].name, "late")
    with pytest.raises(rn.CheckpointError, match="what would go has changed since"):
        rig.m.apply_retention(shown=shown)
    assert storage.list() == before[0]
    shown = rig.m.preview_retention(keep_last(2))
    assert rig.m.apply_retention(shown=shown) == [e.name for e in shown.delete]
    assert steps(rig) == [1, 7, 8]
    assert rig.m.config.policy is shown.policy
    assert [e.name for e in rig.log.select("retired")] == [e.name for e in shown.delete]


def test_a_commit_between_the_look_and_the_adoption_is_looked_at_again(storage, monkeypatch):
    rig = rig_of(storage, max_snapshots=0)
    for step in range(1, 5):
        rig.commit(step=step)
    shown = rig.m.preview_retention(keep_last(2))
    look = type(rig.m).preview_retention

    def look_slowly(self, policy=None):
        found = look(self, policy)
        monkeypatch.undo()
        rig.commit(step=5)
        return found

    monkeypatch.setattr(type(rig.m), "preview_retention", look_slowly)
    with pytest.raises(rn.CheckpointError, match="1 checkpoint came since"):
        rig.m.apply_retention(shown=shown)
    assert steps(rig) == [1, 2, 3, 4, 5]


def test_the_newest_that_verifies_stays_although_newer_ones_are_damaged():
    storage = MemoryStorage()
    rig = rig_of(storage, max_snapshots=0)
    names = [rig.commit(step=step) for step in range(1, 6)]
    for name in names[2:]:
        storage.damage_fields(name)
    preview = rig.m.preview_retention(keep_last(1))
    assert names[1] in [e.name for e in preview.keep]
    rig.m.reconfigure(retention=keep_last(1))
    rig.m.apply_retention()
    with pytest.warns(rn.CheckpointWarning):
        assert rig.m.load_latest(0).name == names[1]


def test_discarding_by_hand_keeps_what_retention_keeps(storage):
    rig = rig_of(storage, max_snapshots=0)
    names = [rig.commit(step=step) for step in range(1, 5)]
    storage.pin(names[1], "calm")
    with pytest.raises(rn.CheckpointError, match=rf"{names[1]}.*pinned \('calm'\): unpin it first"):
        rig.m.discard(names[1])
    with pytest.raises(rn.CheckpointError, match=r"newest sound one of actor 'k0'.*always kept"):
        rig.m.discard(names[3])
    with pytest.raises(rn.CheckpointNotFound, match="no registered actor has a checkpoint 'x'"):
        rig.m.discard("x")
    freed = rig.m.discard(names[0], dry_run=True)
    assert freed > 0
    assert storage.list() == names
    assert rig.m.discard(names[0]) == freed
    assert storage.list() == names[1:]


def test_discarding_is_an_event_and_leaves_others_alone():
    rig = Rig(max_snapshots=0)
    rig.add(0)
    name = rig.commit(step=1)
    rig.commit(step=2)
    other = Rig(rig.storage)
    other.add(1)
    with pytest.raises(rn.CheckpointNotFound, match=name):
        other.m.discard(name)
    rig.m.discard(name)
    (event,) = rig.log.select("retired")
    assert (event.actor_slot, event.name, event.step) == (0, name, 1)
    rig.storage.damage_fields("checkpoint_0_step_2")
    rig.m.discard("checkpoint_0_step_2")  # nothing verifies, so there is no newest to keep
    assert rig.storage.list() == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda: None, "TypeError"),
        (lambda: "12", "one real number, got str"),
        (lambda: np.ones(1), "one real number, got ndarray"),
        (lambda: 1j, "one real number, got complex"),
    ],
)
def test_a_metric_that_fails_keeps_that_checkpoint_and_warns_once(storage, answer, why):
    asked = []

    def loudest(checkpoint):
        asked.append(checkpoint.step)
        return answer() if checkpoint.step in (2, 3) else -checkpoint.step

    rig = rig_of(storage, retention=keep_best(1, loudest))
    with pytest.warns(rn.CheckpointWarning) as warned:
        for step in range(1, 7):
            rig.commit(step=step)
    assert steps(rig) == [1, 2, 3, 6]
    assert asked == [1, 2, 3, 4, 5, 6]
    (warning,) = warned
    assert all(word in str(warning.message) for word in ("loudest", "'checkpoint_0_step_2'", why))


@pytest.mark.parametrize(
    ("combine", "left"),
    [
        (lambda best: best | keep_last(2), [1, 4, 7, 8]),
        (lambda best: keep_last(6) & best, [1, 4, 8]),
        (lambda best: best & keep_last(2), [1, 4, 8]),
    ],
)
def test_a_metric_that_fails_leaves_the_rest_of_a_policy_at_work(storage, combine, left):
    def metric(checkpoint):
        return {1: 9.0, 4: None}.get(checkpoint.step, 0.0)

    rig = rig_of(storage, retention=combine(keep_best(1, metric)))
    with pytest.warns(rn.CheckpointWarning, match="_step_4"):
        for step in range(1, 9):
            rig.commit(step=step)
    assert steps(rig) == left


def test_a_metric_that_cannot_read_is_asked_again_and_one_that_is_interrupted_says_so(storage):
    trouble = [OSError("a bad sector"), OSError("a bad sector"), KeyboardInterrupt(), None]

    def metric(checkpoint):
        if checkpoint.step == 2 and (error := trouble.pop(0)) is not None:
            raise error
        return float(checkpoint.step == 1)

    rig = rig_of(storage, retention=keep_best(1, metric))
    rig.commit(step=1)
    with pytest.warns(rn.CheckpointWarning, match="a bad sector"):
        rig.commit(step=2)
        rig.commit(step=3)
    with pytest.raises(KeyboardInterrupt):
        rig.commit(step=4)
    assert rig.m.pending_count == 0
    assert steps(rig) == [1, 2, 3, 4], "the commit is valid, and its retention is made up for"
    rig.commit(step=5)
    assert steps(rig) == [1, 5]


def test_a_metric_that_fails_costs_no_commit_where_warnings_are_errors(storage, caplog):
    rig = rig_of(storage, retention=keep_best(1, lambda _: None))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rig.commit(step=1) == "checkpoint_0_step_1"
    assert "the metric <lambda> of keep_best failed" in caplog.text


def test_a_slow_metric_keeps_no_other_thread_from_the_manager():
    reached, go = threading.Event(), threading.Event()

    def metric(checkpoint):
        if checkpoint.actor_slot == 0:
            reached.set()
            assert go.wait(60)
        return 0.0

    rig = rig_of(MemoryStorage(), retention=keep_best(1, metric))
    rig.add(1)
    slow = threading.Thread(target=rig.commit, kwargs={"step": 1})
    slow.start()
    assert reached.wait(60)
    assert rig.commit(slot=1, step=5) == "checkpoint_1_step_5"
    go.set()
    slow.join(60)


def test_a_policy_of_ones_own_that_fails_is_told_and_costs_no_commit(storage):
    def wanted(history, load):
        raise LookupError("x")

    rig = rig_of(storage, retention=Policy(wanted, "mine"))
    with pytest.warns(rn.CheckpointWarning, match=r"actor 'k0': mine failed with LookupError: x"):
        for step in (1, 2):
            rig.commit(step=step)
    assert steps(rig) == [1, 2]


def test_a_metric_reads_the_stored_state(storage):
    rig = rig_of(storage, retention=keep_best(1, lambda c: -abs(c.step - 3)))
    for step in range(1, 7):
        rig.commit(step=step)
    assert steps(rig) == [3, 6]


@pytest.mark.parametrize("value", [0, 3, "keep_last(3)", keep_last])
def test_a_retention_that_is_no_policy_is_refused(value):
    with pytest.raises(TypeError, match=r"policy such as .*, or None, got"):
        rn.CheckpointConfig(retention=value)
    rig = rig_of(MemoryStorage())
    with pytest.raises(TypeError, match=r"policy such as .*, or None, got"):
        rig.m.preview_retention(value)


def test_a_pin_shows_in_the_checkpoint_and_survives_reopening(tmp_path):
    with rn.ZarrStorage(tmp_path / "s.zarr") as storage:
        storage.save("a_0_step_1", make_snapshot(1))
        checkpoint = storage.load("a_0_step_1")
        checkpoint.pin("good")
        assert checkpoint.pinned == "good"
        checkpoint.verify()
        lazy = storage.load("a_0_step_1")["u"]
        checkpoint.unpin()
        checkpoint.unpin()
        assert checkpoint.pinned is None
        lazy[:]
        checkpoint.pin("again")
    again = rn.ZarrStorage(tmp_path / "s.zarr")
    assert again.load("a_0_step_1").pinned == "again"
    assert [e.pin for e in again.catalogue()] == ["again"]
    for label in ("", "  ", "a\nb", "x" * 201):
        with pytest.raises(ValueError, match="label"):
            again.pin("a_0_step_1", label)
    with pytest.raises(rn.CheckpointNotFound):
        again.pin("a_0_step_2", "no")
