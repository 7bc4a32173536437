"""The messages between manager and kernel: a loan that is given back once."""

from __future__ import annotations

import numpy as np
import pytest

from ringnb.messages.snapshots import SnapshotResponse, StagedFields


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
