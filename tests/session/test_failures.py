"""Failures that repeat: one message for each kind, and when they are over."""

from __future__ import annotations

import pytest
from session_rig import FULL, READ_ONLY

import ringnb as rn
from ringnb.session.failures import RepeatedFailures


@pytest.mark.parametrize(
    "error",
    [FULL, READ_ONLY, rn.StoreLocked("by 4711"), rn.SnapshotFailed("why")],
)
def test_each_kind_of_failure_has_the_text_of_its_first(error):
    failures = RepeatedFailures()
    failures.record_failure(0, PermissionError(13, "Permission denied"), "no")
    failures.record_failure(0, rn.SnapshotFailed("another reason"), "nor this")
    assert failures.record_failure(0, error, "first") == "first"
    assert failures.record_failure(0, type(error)(*error.args), "second") == "first"
    assert failures.record_failure(1, error, "third") == "first"


def test_failures_end_when_no_actor_is_left_that_fails():
    failures = RepeatedFailures()
    assert failures.record_commit(0, {0, 1, 2}) == 0
    failures.record_failure(0, FULL, "one")
    failures.record_failure(1, FULL, "two")
    failures.record_failure(2, FULL, "three")
    assert failures.record_commit(0, {0, 1, 2}) == 0
    assert failures.record_failure(1, FULL, "two") == "one"
    assert failures.count == 4
    assert failures.record_commit(1, {0, 1}) == 4  # 2 has gone
    assert failures.count == 0
    assert failures.record_failure(1, FULL, "two") == "two"
