"""What a user chooses about checkpointing, checked when it is chosen.

Users make a `CheckpointConfig`; the manager reads it. This module opens no storage, and knows no
schedule.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from numbers import Real
from typing import Any

import numpy as np

from ringnb._support.checks import check_bool, check_int
from ringnb.checkpoint.guard import Guard, GuardChoice
from ringnb.checkpoint.naming import check_prefix
from ringnb.checkpoint.retention import Policy, check_policy, keep_all, keep_last
from ringnb.checkpoint.storage.locations import absolute_location

__all__ = ["CheckpointConfig"]

_FIXED = ("storage_path", "name_prefix")


def _seconds(value: object, what: str) -> float:
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        msg = (
            f"{what} must be seconds as a float or a datetime.timedelta, "
            f"got {value!r} ({type(value).__name__})"
        )
        raise TypeError(msg)
    else:
        try:
            seconds = float(value)
        except OverflowError:
            seconds = math.inf
    if not (math.isfinite(seconds) and seconds > 0):
        msg = f"{what} must be finite and greater than 0 seconds, got {value!r}"
        raise ValueError(msg)
    return seconds


def _path(value: object, what: str) -> str:
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        msg = f"{what} must be a str or a pathlib.Path, got {value!r} ({type(value).__name__})"
        raise TypeError(msg)
    if not path or "\0" in path:
        msg = f"{what} must be a non-empty path without NUL characters, got {value!r}"
        raise ValueError(msg)
    return absolute_location(path)


def _newest(count: int) -> Policy:
    return keep_last(count) if count else keep_all()


@dataclass(frozen=True, slots=True)
class CheckpointConfig:
    """When checkpoints are taken, how many are kept, and where.

    Attributes
    ----------
    interval : float
        Seconds between a completed snapshot of an actor and its next automatic one; finite, > 0. A
        ``datetime.timedelta`` is accepted and stored as seconds.
    max_snapshots : int
        Checkpoints kept per actor, >= 0; 0 keeps all of them. Pinned ones are not counted.
    storage_path : str
        The store's directory or URL (see `ZarrStorage`), used when the manager makes its own storage.
        A ``pathlib.Path`` is accepted and stored as a str. A relative path is made absolute when the
        config is made, so that a later ``os.chdir`` changes nothing; ``~`` is the home directory.
    enabled : bool
        Whether automatic snapshots are taken; manual ones always are.
    name_prefix : str
        How the names of this manager's checkpoints begin: 1 to 100 ASCII letters, digits, ``.``, ``_``,
        ``-``, not starting with ``.`` or ``__``. It may hold ``{kernel_id}`` once, beside up to 60 of
        them, so that the actors of several scripts in one store have names that tell them apart.
    request_timeout : float
        Seconds after which an unanswered request expires; finite, > 0, or a ``datetime.timedelta``.
    guard : {"warn", "pause", "off"}, callable, or a list of them
        What to do about a state that is not good. ``"warn"``: the first checkpoint of one is a
        `CheckpointWarning` and an event, and each is marked; bad ones push no good one out.
        ``"pause"``: the session pauses the actor besides. ``"off"``: no state is looked at. A state is
        good if all its floating-point values are finite and each invariant
        ``f(fields, step, params)`` returns True (or None); False, or a str that says why not, means
        that it does not hold. Invariants get read-only arrays by field name, and run on the thread
        that commits.
    retention : Policy or None
        What is kept per actor, instead of the newest `max_snapshots`: see `ringnb.retention`.
    store_budget : int or None
        Bytes for the whole store, >= 1; None sets no limit. When its checkpoints hold more after a
        commit, those of earlier runs are deleted, of other actors too: the run that ended first goes
        first, of each the oldest first; then the oldest of the current runs. Never the newest good
        checkpoint of a run, a pinned one, one that a run or a live actor continues from, or the one just
        written. If these alone are too many, a `CheckpointWarning` says so. Bytes are logical ones
        (`Checkpoint.nbytes`), pinned ones counted: on the disk each takes a few KiB more, or less where
        unchanged chunks are shared. Copies, and what was imported or adopted, are not counted and stay.
    on_close : bool
        Whether a session that ends commits what has changed since the last checkpoint: by ``close()``,
        at the end of a ``with`` block or of the interpreter. It does so too where `enabled` is False.
    on_close_timeout : float
        Seconds after which the end waits no longer for that; or a ``datetime.timedelta``.
    policy : Policy
        What is kept per actor: `retention`, or the newest `max_snapshots`. It follows from these.
    state_guard : Guard
        What `guard` asks for, checked. It follows from that.

    Raises
    ------
    TypeError
        If a value has the wrong type.
    ValueError
        If a value is out of range.

    Examples
    --------
    >>> from datetime import timedelta
    >>> CheckpointConfig(interval=timedelta(minutes=5)).interval
    300.0
    """

    interval: float | timedelta = 30.0
    max_snapshots: int = 5
    storage_path: str | os.PathLike[str] = "checkpoints.zarr"
    enabled: bool = True
    name_prefix: str = "checkpoint"
    request_timeout: float | timedelta = 30.0
    retention: Policy | None = None
    on_close: bool = True
    on_close_timeout: float | timedelta = 10.0
    guard: GuardChoice = "warn"
    store_budget: int | None = None
    # Computed once, because each commit asks for them.
    policy: Policy = field(init=False, repr=False, compare=False)
    state_guard: Guard = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check every value, and bring each to one type."""
        set_ = object.__setattr__
        set_(self, "interval", _seconds(self.interval, "interval"))
        why = "0 keeps every checkpoint"
        set_(self, "max_snapshots", check_int(self.max_snapshots, "max_snapshots", 0, why=why))
        set_(self, "storage_path", _path(self.storage_path, "storage_path"))
        set_(self, "enabled", check_bool(self.enabled, "enabled"))
        set_(self, "name_prefix", check_prefix(self.name_prefix, "name_prefix"))
        set_(self, "request_timeout", _seconds(self.request_timeout, "request_timeout"))
        if self.retention is not None:
            check_policy(self.retention, "retention")
        if self.store_budget is not None:
            why = "None sets no limit"
            set_(self, "store_budget", check_int(self.store_budget, "store_budget", 1, why=why))
        set_(self, "on_close", check_bool(self.on_close, "on_close"))
        set_(self, "on_close_timeout", _seconds(self.on_close_timeout, "on_close_timeout"))
        if not isinstance(self.guard, str) and isinstance(self.guard, Iterable):
            set_(self, "guard", tuple(self.guard))
        set_(self, "state_guard", Guard.of(self.guard))
        set_(self, "policy", self.retention or _newest(self.max_snapshots))

    def changed(self, **changes: Any) -> CheckpointConfig:
        """Return a copy with changes that a running manager can follow.

        Parameters
        ----------
        **changes : object
            Any of ``interval``, ``max_snapshots``, ``enabled``, ``request_timeout``, ``retention``,
            ``store_budget``, ``on_close``, ``on_close_timeout``, ``guard``.

        Returns
        -------
        CheckpointConfig
            A new one, checked.

        Raises
        ------
        TypeError
            If a name is not known or a value has the wrong type.
        ValueError
            If a value is out of range, or ``storage_path`` or ``name_prefix`` is to change.
        """
        known = [f.name for f in fields(self) if f.init and f.name not in _FIXED]
        for name, value in changes.items():
            if name in _FIXED:
                msg = (
                    f"{name} cannot change while a manager runs (to {value!r}): make a new manager "
                    "with a new CheckpointConfig"
                )
                raise ValueError(msg)
            if name not in known:
                msg = f"{name}={value!r} is not a setting: use any of {', '.join(known)}"
                raise TypeError(msg)
        if "max_snapshots" in changes:
            changes.setdefault("retention", None)
        return replace(self, **changes)

    @property
    def interval_s(self) -> float:
        """The interval in seconds, typed as what it is stored as."""
        return float(self.interval)  # type: ignore[arg-type]  # a float since __post_init__

    @property
    def request_timeout_s(self) -> float:
        """The request timeout in seconds, typed as what it is stored as."""
        return float(self.request_timeout)  # type: ignore[arg-type]  # likewise

    @property
    def on_close_timeout_s(self) -> float:
        """The limit of a last checkpoint in seconds, typed as what it is stored as."""
        return float(self.on_close_timeout)  # type: ignore[arg-type]  # likewise
