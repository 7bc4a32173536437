"""What a refresh of a remote session brings, and what a run is made of: messages, no behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ringnb.actors.base import Actor
from ringnb.actors.locality import Locality
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.messages.events import Event
from ringnb.session.statistics import SessionStatistics

__all__ = ["Division", "Glance", "RunSpec"]


class Division(NamedTuple):
    """How an actor is divided."""

    parts: int
    halo: int | None  # steps from one exchange to the next; None: what is measured to be best
    locality: Locality


class RunSpec(NamedTuple):
    """What the worker makes a session of; pickled once, by the one that launches it."""

    actor: Actor | tuple[Actor, ...]
    config: CheckpointConfig
    options: Mapping[str, Any]  # of `Session`
    restore: str | None
    running: bool
    division: Division | None = None


class Glance(NamedTuple):
    """A session at one moment, with what is new since the last glance."""

    life: str  # of the session: another one after the loss of a worker
    statistics: SessionStatistics
    closed: bool
    stopped_because: str | None
    failure: str  # of a background thread; "" if none
    # `seconds_until_next` of the manager and, like `Session.snapshot_interval_steps`, of the slots that
    # were asked for.
    due_s: dict[int | None, float | None]
    every: dict[int, int | None]
    events: list[Event]  # since the last glance
    appended: int  # to ask with the next time
    config: CheckpointConfig | None  # None if it is the one that was seen
    config_number: int
    notices: list[str]  # warnings of the worker since the last glance
    noticed: int
    began_ns: int
    now_ns: int  # the worker's clock, `time.monotonic_ns`
    machine: str
