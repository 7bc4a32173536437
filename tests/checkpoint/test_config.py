"""CheckpointConfig: what is accepted, what it becomes, and what refusals say."""

from __future__ import annotations

import dataclasses
import inspect
import math
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from ringnb.checkpoint.config import CheckpointConfig


def test_defaults_are_the_contract():
    parameters = inspect.signature(CheckpointConfig).parameters
    assert {n: p.default for n, p in parameters.items()} == {
        "interval": 30.0,
        "max_snapshots": 5,
        "storage_path": "checkpoints.zarr",
        "enabled": True,
        "name_prefix": "checkpoint",
        "request_timeout": 30.0,
        "retention": None,
        "on_close": True,
        "on_close_timeout": 10.0,
        "guard": "warn",
        "store_budget": None,
    }


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CheckpointConfig().interval = 1.0


@pytest.mark.parametrize("field", ["interval", "request_timeout"])
@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (2, 2.0),
        (0.25, 0.25),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3.0),
        (Fraction(1, 4), 0.25),
        (timedelta(minutes=1, milliseconds=500), 60.5),
    ],
)
def test_durations_are_stored_as_float_seconds(field, given, seconds):
    stored = getattr(CheckpointConfig(**{field: given}), field)
    assert stored == seconds
    assert type(stored) is float


@pytest.mark.parametrize("field", ["interval", "request_timeout"])
@pytest.mark.parametrize(
    "given", [0, -1.0, math.inf, -math.inf, math.nan, timedelta(0), timedelta(-1), 10**400]
)
def test_durations_out_of_range_are_refused(field, given):
    with pytest.raises(ValueError, match=rf"{field} must be finite and greater than 0"):
        CheckpointConfig(**{field: given})


@pytest.mark.parametrize("field", ["interval", "request_timeout"])
@pytest.mark.parametrize("given", [True, np.True_, "30", None, 1j, [30]])
def test_durations_of_a_wrong_type_are_refused(field, given):
    with pytest.raises(TypeError, match=rf"{field} must be seconds as a float or a datetime"):
        CheckpointConfig(**{field: given})


def test_max_snapshots():
    assert CheckpointConfig(max_snapshots=0).max_snapshots == 0
    stored = CheckpointConfig(max_snapshots=np.int16(7)).max_snapshots
    assert stored == 7
    assert type(stored) is int
    with pytest.raises(ValueError, match=r"max_snapshots must be at least 0 .*got -1"):
        CheckpointConfig(max_snapshots=-1)
    for wrong in (True, 1.0, "5", None):
        with pytest.raises(TypeError, match="max_snapshots must be an integer"):
            CheckpointConfig(max_snapshots=wrong)


def test_enabled():
    assert CheckpointConfig(enabled=np.False_).enabled is False
    for wrong in (1, "yes", None):
        with pytest.raises(TypeError, match="enabled must be True or False"):
            CheckpointConfig(enabled=wrong)


def test_storage_path():
    given = Path("a") / "b.zarr"
    assert CheckpointConfig(storage_path=given).storage_path == str(Path("a/b.zarr").absolute())
    for wrong in (b"a.zarr", 3, None):
        with pytest.raises(TypeError, match="storage_path must be a str"):
            CheckpointConfig(storage_path=wrong)
    for wrong in ("", "a\0b"):
        with pytest.raises(ValueError, match="storage_path must be a non-empty path"):
            CheckpointConfig(storage_path=wrong)


def test_storage_rule_21_a_relative_path_is_made_absolute_when_the_config_is_made(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    relative = [
        CheckpointConfig(storage_path=path) for path in ("s.zarr", "./s.zarr", Path("s.zarr"))
    ]
    default = CheckpointConfig()
    monkeypatch.chdir("/")
    assert {config.storage_path for config in relative} == {str(tmp_path / "s.zarr")}
    assert default.storage_path == str(tmp_path / "checkpoints.zarr")
    assert relative[0].changed(interval=1).storage_path == str(tmp_path / "s.zarr")
    assert CheckpointConfig(storage_path="~/s.zarr").storage_path == "/home/somebody/s.zarr"


def test_a_path_that_leads_over_a_link_and_back_is_not_shortened(tmp_path, monkeypatch):
    (tmp_path / "other" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "other" / "deep")
    monkeypatch.chdir(tmp_path)
    path = CheckpointConfig(storage_path="link/../s.zarr").storage_path
    assert Path(path).resolve() == tmp_path / "other" / "s.zarr"


@pytest.mark.parametrize("url", ["s3://bucket/prefix", "memory://name", "file:///data/s.zarr"])
def test_a_url_stays_as_it_is(url):
    assert CheckpointConfig(storage_path=url).storage_path == url


def test_a_relative_path_in_a_directory_that_was_removed_is_refused_in_words(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ValueError, match=r"'s\.zarr' is a relative path.*give an absolute path"):
        CheckpointConfig(storage_path="s.zarr")
    assert CheckpointConfig(storage_path="/data/s.zarr").storage_path == "/data/s.zarr"


@pytest.mark.parametrize("given", ["a", "A-1._b", "x" * 100, "_x", "1"])
def test_name_prefix_accepts(given):
    assert CheckpointConfig(name_prefix=given).name_prefix == given


@pytest.mark.parametrize(
    "given", ["", "x" * 101, ".a", "__a", "a/b", "../a", "a b", "é", "a\n", "a\\b"]
)
def test_name_prefix_refuses(given):
    with pytest.raises(ValueError, match="name_prefix") as caught:
        CheckpointConfig(name_prefix=given)
    assert repr(given) in str(caught.value)


def test_name_prefix_of_a_wrong_type():
    with pytest.raises(TypeError, match="name_prefix must be a str"):
        CheckpointConfig(name_prefix=b"x")


def test_changed_returns_a_checked_copy():
    before = CheckpointConfig()
    after = before.changed(interval=timedelta(seconds=2), enabled=False)
    assert (after.interval, after.enabled, after.max_snapshots) == (2.0, False, 5)
    assert before == CheckpointConfig()


@pytest.mark.parametrize("field", ["storage_path", "name_prefix"])
def test_changed_refuses_what_is_fixed(field):
    with pytest.raises(ValueError, match=f"{field} cannot change"):
        CheckpointConfig().changed(**{field: "other"})


def test_changed_refuses_what_it_does_not_know():
    with pytest.raises(TypeError, match=r"intervall=3 is not a setting: use any of interval"):
        CheckpointConfig().changed(intervall=3)


def test_seconds_are_typed():
    config = CheckpointConfig(interval=1, request_timeout=timedelta(seconds=2))
    assert (config.interval_s, config.request_timeout_s) == (1.0, 2.0)
