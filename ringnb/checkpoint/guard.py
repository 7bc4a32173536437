"""The guard: whether a captured state is good, and what to do about one that is not.

A state is good if every floating-point value is finite, which the storage looks at while it writes, and
if every invariant of the user holds, which the manager asks before. A checkpoint records the answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt

from ringnb.checkpoint.notices import warn
from ringnb.checkpoint.registration import RegisteredActor

__all__ = ["Guard", "GuardChoice", "Invariant", "warn_of_bad_state"]

Invariant: TypeAlias = Callable[
    [Mapping[str, npt.NDArray[Any]], int, Mapping[str, Any]], bool | str | None
]
GuardChoice: TypeAlias = (
    Literal["warn", "pause", "off"]
    | Invariant
    | Iterable[Literal["warn", "pause", "off"] | Invariant]
)
_MODES = ("warn", "pause", "off")
logger = logging.getLogger("ringnb.checkpoint")


@final
@dataclass(frozen=True, slots=True)
class Guard:
    """What ``CheckpointConfig(guard=...)`` asks for, checked."""

    mode: Literal["warn", "pause", "off"] = "warn"
    invariants: tuple[Invariant, ...] = ()

    @classmethod
    def of(cls, choice: object) -> Guard:
        """Return the guard for a mode, an invariant, or several of them; TypeError, ValueError."""
        given = [choice] if isinstance(choice, str) or callable(choice) else choice
        if not isinstance(given, Iterable):
            msg = (
                "guard must be 'warn', 'pause', 'off', a function f(fields, step, params), or several "
                f"of them in a list, got {choice!r} ({type(choice).__name__})"
            )
            raise TypeError(msg)
        given = list(given)
        modes = [g for g in given if isinstance(g, str)]
        invariants = tuple(g for g in given if not isinstance(g, str))
        for one in invariants:
            if not callable(one):
                msg = f"guard holds {one!r} ({type(one).__name__}), which is neither a mode nor callable"
                raise TypeError(msg)
        if len(modes) > 1 or not set(modes) <= set(_MODES):
            msg = f"guard takes one of 'warn', 'pause' and 'off', got {', '.join(map(repr, modes))}"
            raise ValueError(msg)
        if modes == ["off"]:
            return cls("off")
        return cls(modes[0] if modes else "warn", invariants)  # type: ignore[arg-type]  # checked above

    def broken(
        self, fields: Mapping[str, npt.NDArray[Any]], step: int, params: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """Ask the invariants; return a record for each that does not hold.

        One that raises does not hold, and is told as such: a commit must not fail because of it.
        """
        views = {}
        for name, array in fields.items():
            view = np.asarray(array)[...]
            view.flags.writeable = False
            views[name] = view
        found = []
        for invariant in self.invariants:
            called = getattr(invariant, "__name__", repr(invariant))
            try:
                answer = invariant(MappingProxyType(views), step, params)
                holds = answer is None or bool(answer)
            except Exception as error:
                logger.warning("the invariant %r of the guard failed", called, exc_info=True)
                found.append({"why": f"{called} raised {type(error).__name__}: {error}"[:300]})
                continue
            if isinstance(answer, str):
                found.append({"why": answer[:300]})
            elif not holds:
                found.append({"why": f"{called} does not hold"})
        return found


def warn_of_bad_state(actor: RegisteredActor, step: int, name: str, why: str) -> None:
    """Warn of the first checkpoint of an actor whose state is not good."""
    slot = actor.actor_slot
    text = (
        f"the state of actor {actor.kernel_id!r} (slot {slot}) is not good at step {step}: {why}. It is "
        f"kept as {name!r}, and so is the newest good checkpoint, if there is one: "
        f'restore({slot}, "latest-good") goes back to it'
    )
    warn(text)
