"""The messages between manager and kernel: a loan that is given back once."""

from __future__ import annotations

import numpy as np
import pytest

from ringnb.messages.snapshots import SnapshotResponse, StagedFields, normalise_fields


def test_a_response_gives_its_staging_buffer_back_once():
    given_back = []
    data = StagedFields({"u": np.zeros(3)}, lease=lambda: given_back.append(True))
    response = SnapshotResponse(1, 0, True, data, 5)
    response.release()
    response.release()
    del data
    assert given_back == [True]
    with pytest.raises(KeyError, match="given back"):
        response.data["u"]


@pytest.mark.parametrize("data", [{"u": np.zeros(3)}, memoryview(b"state"), None])
def test_data_of_the_caller_is_left_alone(data):
    response = SnapshotResponse(1, 0, data is not None, data, 5)
    response.release()
    assert response.data is data
    if isinstance(data, memoryview):
        assert bytes(data) == b"state"


# -- subclasses of ndarray ---------------------------------------------------------------------------


class Plain(np.ndarray):
    """A subclass that holds nothing of its own, though it could."""

    def __array_finalize__(self, other):
        self.info = getattr(other, "info", None)


class Quantity(np.ndarray):
    """A subclass with a unit, as astropy, unyt and quantities have one."""

    def __array_finalize__(self, other):
        self.unit = getattr(other, "unit", "m")


class Slotted(np.ndarray):
    __slots__ = ("unit",)


VALUES = np.arange(12.0).reshape(3, 4)


def memory_map(tmp_path):
    mapped = np.lib.format.open_memmap(tmp_path / "m.npy", "w+", "f8", VALUES.shape)
    mapped[:] = VALUES
    return mapped


@pytest.mark.parametrize(
    "make",
    [
        lambda _: VALUES.view(np.matrix),
        lambda _: np.asfortranarray(VALUES).view(np.matrix),
        lambda _: VALUES.view(np.recarray),
        lambda _: VALUES.view(Plain),
        lambda _: VALUES.view(Slotted),
        memory_map,
        lambda tmp_path: memory_map(tmp_path)[:],
    ],
    ids=[
        "matrix",
        "fortran matrix",
        "recarray",
        "subclass",
        "slots",
        "memory map",
        "part of a map",
    ],
)
def test_a_subclass_that_loses_nothing_is_taken_as_a_plain_array(make, tmp_path):
    given = make(tmp_path)
    taken = normalise_fields({"u": given})["u"]
    assert type(taken) is np.ndarray
    assert np.shares_memory(taken, given)
    np.testing.assert_array_equal(taken, VALUES)


def slotted():
    array = VALUES.view(Slotted)
    array.unit = "m"
    return array


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            np.ma.masked_less(VALUES, 3),
            r"data\['u'\] is a masked array.*\.filled\(value\).*two fields",
        ),
        (np.ma.array(VALUES), r"data\['u'\] is a masked array"),
        (VALUES.view(Quantity), r"is a Quantity, and its unit would be lost.*numpy\.asarray"),
        (slotted(), r"is a Slotted, and its unit would be lost"),
    ],
    ids=["masked", "masked, no mask", "quantity", "slots"],
)
def test_a_subclass_that_would_lose_something_is_refused_with_the_remedy(given, words):
    with pytest.raises(TypeError, match=words):
        normalise_fields({"u": given})
    with pytest.raises(TypeError, match=words):
        SnapshotResponse(1, 0, True, {"u": given}, 5)


def test_detached_fields_outlive_the_buffer_until_they_are_released():
    given_back, buffer = [], np.arange(3.0)
    data = StagedFields({"u": buffer}, lease=lambda: given_back.append(True))
    data.detach()
    assert given_back == [True]
    buffer[:] = 7.0  # the next snapshot
    np.testing.assert_array_equal(data["u"], [0.0, 1.0, 2.0])
    assert not data["u"].flags.writeable
    assert not data.released
    data.release()
    assert given_back == [True]
    assert data.released
    data.detach()
    assert data.released
