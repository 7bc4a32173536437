"""Contract tests for storages: what a manager relies on, in every place.

Subclass `StorageTests` in a pytest module and override the ``storage`` fixture.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ringnb.checkpoint.cutting import join
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.records import Snapshot, code_label
from ringnb.errors import CheckpointError, CheckpointNotFound

__all__ = ["StorageTests", "changing_all_the_time", "make_snapshot"]


def make_snapshot(step: int = 0, **changes: Any) -> Snapshot:
    """Return a small snapshot.

    Parameters
    ----------
    step : int, default 0
        Its step; the field holds numbers that depend on it.
    **changes
        Other attributes of `Snapshot`.

    Returns
    -------
    Snapshot
        Two fields, one of them two-dimensional.
    """
    values: dict[str, Any] = {
        "fields": {
            "u": np.arange(12, dtype=np.float32).reshape(3, 4) + step,
            "counts": np.arange(5, dtype=np.int64) * step,
        },
        "name_prefix": "checkpoint",
        "kernel_id": "model_0",
        "kernel_type": "model",
        "actor_slot": 0,
        "step": step,
        "request_id": step + 1,
        "params": {"rate": 0.5, "seed": 3, "label": "a", "flag": True, "nothing": None},
        "backend": "cpu",
        "field_attrs": {"u": {"units": "Pa", "long_name": "pressure", "dims": ("y", "x")}},
    }
    return Snapshot(**{**values, **changes})


@contextlib.contextmanager
def changing_all_the_time(array: npt.NDArray[Any]) -> Iterator[None]:
    """Have a thread change an array for the length of a ``with`` block.

    Parameters
    ----------
    array : numpy.ndarray
        Numbers; each is raised by one, again and again.
    """
    done, begun = threading.Event(), threading.Event()

    def change() -> None:
        """Change all of it until the block ends."""
        while not done.is_set():
            np.add(array, 1, out=array, casting="unsafe")
            begun.set()

    thread = threading.Thread(target=change, name="owner")
    thread.start()
    try:
        begun.wait()
        yield
    finally:
        done.set()
        thread.join()


class StorageTests:
    """Contract of `CheckpointStorage`; subclass and override the fixture `storage`."""

    @pytest.fixture
    def storage(self) -> CheckpointStorage:
        """Return an empty storage."""
        raise NotImplementedError

    def test_an_empty_storage_is_empty_and_no_error(self, storage: CheckpointStorage) -> None:
        assert storage.list() == []
        assert storage.catalogue() == []
        assert not storage.exists("checkpoint_0_step_0")
        with pytest.raises(CheckpointNotFound, match="checkpoint_0_step_0"):
            storage.load("checkpoint_0_step_0")
        with pytest.raises(CheckpointNotFound):
            storage.delete("checkpoint_0_step_0")

    def test_what_was_saved_comes_back(self, storage: CheckpointStorage) -> None:
        snapshot = make_snapshot(7, parent="checkpoint_0_step_3")
        storage.save("checkpoint_0_step_7", snapshot)
        checkpoint = storage.load("checkpoint_0_step_7")
        assert checkpoint.name == "checkpoint_0_step_7"
        for attribute in (
            *("name_prefix", "kernel_id", "kernel_type", "actor_slot", "step", "request_id"),
            *("params", "backend", "parent"),
        ):
            assert getattr(checkpoint, attribute) == getattr(snapshot, attribute)
        assert checkpoint.created_at.utcoffset() is not None
        fields = checkpoint.numpy()
        assert list(fields) == ["u", "counts"]
        for name, array in snapshot.fields.items():
            assert fields[name].dtype == array.dtype
            np.testing.assert_array_equal(fields[name], array)
        checkpoint.verify()

    def test_arrays_may_be_reused_after_save(self, storage: CheckpointStorage) -> None:
        array = np.ones((4, 4))
        storage.save("a_0_step_0", make_snapshot(fields={"u": array}))
        array[:] = 9
        assert (storage.load("a_0_step_0").numpy()["u"] == 1).all()

    def test_an_array_that_changes_while_it_is_saved_can_be_read_afterwards(
        self, storage: CheckpointStorage
    ) -> None:
        array = np.zeros((256, 1024))  # several pieces, and a chunk of more than one
        with changing_all_the_time(array):
            for step in range(8):
                storage.save(f"a_0_step_{step}", make_snapshot(step, fields={"u": array}))
        for step in range(8):
            storage.load(f"a_0_step_{step}").verify()

    def test_a_taken_name_is_refused_and_kept(self, storage: CheckpointStorage) -> None:
        storage.save("a_0_step_1", make_snapshot(1))
        with pytest.raises(CheckpointError, match="a_0_step_1"):
            storage.save("a_0_step_1", make_snapshot(2))
        assert storage.load("a_0_step_1").step == 1

    def test_order_is_commit_order(self, storage: CheckpointStorage) -> None:
        names = [f"a_0_step_{n}" for n in (1000, 999, 5, 77)]
        for name in names:
            storage.save(name, make_snapshot())
        assert storage.list() == names
        sequences = [entry.sequence for entry in storage.catalogue()]
        assert sequences == sorted(set(sequences))
        storage.delete("a_0_step_999")
        storage.save("a_0_step_999", make_snapshot())
        assert storage.list() == ["a_0_step_1000", "a_0_step_5", "a_0_step_77", "a_0_step_999"]

    def test_several_are_saved_in_order_and_one_that_fails_fails_alone(
        self, storage: CheckpointStorage
    ) -> None:
        storage.save("a_0_step_1", make_snapshot(1))
        names = ["a_0_step_9", "a_0_step_1", "../x", "a_0_step_5", "a_0_step_9"]
        steps = range(10, 15)
        results = storage.save_many(
            (name, make_snapshot(step)) for name, step in zip(names, steps, strict=True)
        )
        assert [type(result) for result in results if isinstance(result, Exception)] == [
            *(CheckpointError, ValueError, CheckpointError)
        ]
        assert not isinstance(results[0], Exception)
        assert not isinstance(results[3], Exception)
        assert storage.list() == ["a_0_step_1", "a_0_step_9", "a_0_step_5"]
        assert [storage.load(name).step for name in storage.list()] == [1, 10, 13]
        for name in storage.list():
            storage.load(name).verify()
        assert storage.save_many([]) == []

    def test_several_are_deleted_and_one_that_cannot_be_stays_alone(
        self, storage: CheckpointStorage
    ) -> None:
        for step in range(4):
            storage.save(f"a_0_step_{step}", make_snapshot(step))
        results = storage.delete_many(["a_0_step_2", "a_0_step_7", "a_0_step_0"])
        assert results[0] is results[2] is None
        assert isinstance(results[1], CheckpointNotFound)
        assert storage.list() == ["a_0_step_1", "a_0_step_3"]
        for name in storage.list():
            storage.load(name).verify()
        assert storage.delete_many([]) == []

    def test_catalogue_says_what_load_says(self, storage: CheckpointStorage) -> None:
        storage.save("b_3_step_8", make_snapshot(8, actor_slot=3, name_prefix="b"))
        (entry,) = storage.catalogue()
        checkpoint = storage.load("b_3_step_8")
        assert tuple(entry) == (
            *("b_3_step_8", "b", checkpoint.kernel_id, checkpoint.kernel_type),
            *(3, 8, checkpoint.sequence, False),
            *(checkpoint.created_at, checkpoint.nbytes, None),
            *(checkpoint.id, checkpoint.run, checkpoint.parent, checkpoint.parent_id),
            *(None, False, True, (None, None), code_label(checkpoint.code)),
            *(tuple(checkpoint.params.items()), checkpoint.time, ()),
        )

    def test_a_history_is_one_actors_in_commit_order(self, storage: CheckpointStorage) -> None:
        for name, changes in (
            ("a_0_step_9", {}),
            ("a_1_step_1", {"kernel_id": "other", "actor_slot": 1}),
            ("b_0_step_1", {"name_prefix": "b"}),
            ("a_5_step_3", {"actor_slot": 5}),  # the identity decides, not the slot
        ):
            receipt = storage.save(name, make_snapshot(**changes))
        history = storage.history("checkpoint", "model_0")
        assert [e.name for e in history] == ["a_0_step_9", "a_5_step_3"]
        assert history == [e for e in storage.catalogue() if e in history]
        assert storage.history("checkpoint", "nobody") == []
        if receipt is not None:
            assert storage.history_after(receipt, "checkpoint", "model_0") == history

    def test_a_cut_is_one_checkpoint_and_each_part_of_it_one_as_well(
        self, storage: CheckpointStorage
    ) -> None:
        parts = [make_snapshot(3, actor_slot=slot, kernel_id=f"k{slot}") for slot in (1, 4)]
        storage.save("c_cut_step_3", join(parts, "c", {}))
        (entry,) = storage.catalogue()
        assert [(e.name, e.kernel_id) for e in entry.parts] == [
            ("c_cut_step_3:1", "k1"),
            ("c_cut_step_3:4", "k4"),
        ]
        assert storage.history("c", "cut") == [entry]
        assert storage.parts(parts[1].name_prefix, "k4") == [entry.parts[1]]
        assert storage.parts(parts[1].name_prefix, "cut") == []
        part = storage.load("c_cut_step_3:4")
        assert (part.kernel_id, part.id, part.parts) == ("k4", parts[1].id, ())
        for name, array in parts[1].fields.items():
            np.testing.assert_array_equal(part[name][...], array)
            np.testing.assert_array_equal(part.numpy()[name], array)
        part.verify()
        with pytest.raises(CheckpointNotFound, match=r"is of slots \[1, 4\]"):
            storage.load("c_cut_step_3:2")
        storage.delete("c_cut_step_3")
        with pytest.raises(CheckpointNotFound):
            storage.load("c_cut_step_3:4")
        assert storage.parts(parts[1].name_prefix, "k4") == []

    def test_a_pin_keeps_a_checkpoint_or_is_refused(self, storage: CheckpointStorage) -> None:
        storage.save("a_0_step_1", make_snapshot(1))
        try:
            storage.pin("a_0_step_1", "why")
        except CheckpointError:
            assert storage.catalogue()[0].pin is None
            return
        assert [e.pin for e in storage.catalogue()] == ["why"]
        with pytest.raises(CheckpointError, match="why"):
            storage.delete("a_0_step_1")
        storage.load("a_0_step_1").verify()
        storage.unpin("a_0_step_1")
        assert [e.pin for e in storage.catalogue()] == [None]
        storage.delete("a_0_step_1")
        with pytest.raises(CheckpointNotFound):
            storage.pin("a_0_step_1", "why")

    def test_freed_bytes_are_at_least_those_of_the_state(self, storage: CheckpointStorage) -> None:
        storage.save("a_0_step_1", make_snapshot(1))
        assert storage.freed_by(["a_0_step_1"]) >= storage.load("a_0_step_1").nbytes
        assert storage.freed_by([]) == 0

    def test_delete_frees_the_name(self, storage: CheckpointStorage) -> None:
        storage.save("a_0_step_1", make_snapshot(1))
        checkpoint = storage.load("a_0_step_1")
        lazy = checkpoint["u"]
        storage.delete("a_0_step_1")
        assert storage.list() == []
        assert not storage.exists("a_0_step_1")
        with pytest.raises(CheckpointNotFound):
            lazy[0]
        with pytest.raises(CheckpointNotFound):
            checkpoint.verify()
        storage.save("a_0_step_1", make_snapshot(2))
        assert storage.load("a_0_step_1").step == 2

    @pytest.mark.parametrize(
        "name",
        ["", "..", "../x", "a/b", "/abs", ".hidden", "__x", "zarr.json", "a\0b", "ä", "a" * 300],
    )
    def test_names_cannot_leave_the_store(self, storage: CheckpointStorage, name: str) -> None:
        for call in (storage.load, storage.delete, storage.exists):
            with pytest.raises(ValueError, match="not allowed"):
                call(name)
        with pytest.raises(ValueError, match="not allowed"):
            storage.save(name, make_snapshot())
        assert storage.list() == []

    def test_bad_metadata_is_refused_before_anything_is_written(
        self, storage: CheckpointStorage
    ) -> None:
        for changes, error in (
            ({"params": {"x": float("nan")}}, ValueError),
            ({"params": {"x": [1]}}, TypeError),
            ({"fields": {}}, ValueError),
            ({"fields": {"../u": np.zeros(3)}}, ValueError),
            ({"fields": {"u": np.array(["text"])}}, TypeError),
        ):
            with pytest.raises(error):
                storage.save("a_0_step_0", make_snapshot(**changes))
        assert storage.list() == []

    def test_threads_may_save_at_once(self, storage: CheckpointStorage) -> None:
        errors: list[BaseException] = []

        def save(first: int) -> None:
            try:
                for n in range(first, first + 5):
                    storage.save(f"a_0_step_{n}", make_snapshot(n))
            except BaseException as error:  # noqa: BLE001 - reported below
                errors.append(error)

        threads = [threading.Thread(target=save, args=(n,)) for n in (0, 10, 20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert errors == []
        assert len(storage.list()) == 15
        assert [e.sequence for e in storage.catalogue()] == list(range(1, 16))
        for name in storage.list():
            storage.load(name).verify()

    def test_close_is_idempotent_and_reading_goes_on(self, storage: CheckpointStorage) -> None:
        storage.save("a_0_step_0", make_snapshot())
        storage.close()
        storage.close()
        storage.load("a_0_step_0").verify()
        storage.save("a_0_step_1", make_snapshot(1))
        assert len(storage.list()) == 2
        storage.close()
