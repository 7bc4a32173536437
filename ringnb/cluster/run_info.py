"""What a cluster says of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, final

__all__ = ["RunInfo", "RunState"]

RunState = Literal["waiting", "starting", "running", "ended", "failed"]


@final
@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run, as its cluster knows it.

    Attributes
    ----------
    name : str
        The name that `launch` was given.
    state : {"waiting", "starting", "running", "ended", "failed"}
        Whether it waits for a place on a worker, opens its session, runs, was ended, or has failed.
    worker : str or None
        The address of the worker that has it.
    store : str
        Where its checkpoints are.
    began_at : float
        When it was launched, seconds since 1970.
    losses : tuple of str
        The address of each worker that was lost with it, oldest first.
    why : str
        What it has failed of, or is waiting for; "" otherwise.
    """

    name: str
    state: RunState
    worker: str | None
    store: str
    began_at: float
    losses: tuple[str, ...]
    why: str

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Self:
        """Return what a scheduler has said.

        Parameters
        ----------
        found : mapping
            The attributes by name, and more.
        """
        own = {one.name: found[one.name] for one in fields(cls)}
        return cls(**own | {"losses": tuple(found["losses"])})
