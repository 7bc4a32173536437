"""What the checks of all lessons share: how they answer, how they call a learner's code, how they wait.

A check returns what it measured, or raises `CheckFailed`. An exception is seen by the learner, stops
"Run all", and is counted by graders such as nbgrader. A notebook shows two lines and no traceback.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Real
from typing import final

import zarr

from ringnb.actors import Actor
from ringnb.checkpoint import CheckpointConfig, ZarrStorage
from ringnb.session.session import Session

__all__ = [
    "CheckFailed",
    "Passed",
    "ask_number",
    "learners_code",
    "require",
    "trial_session",
    "wait_while",
]


@final
class CheckFailed(AssertionError):
    """An exercise is not solved yet.

    Parameters
    ----------
    fact : str
        What the check found.
    hint : str
        Where to look next.
    """

    def __init__(self, fact: str, hint: str) -> None:
        super().__init__(f"Not yet: {fact}\nHint: {hint}")
        self.fact = fact
        self.hint = hint

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()  # IPython shows this instead of a traceback


@final
class Passed(str):
    """What a check measured, in a sentence."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Show the sentence, as a notebook does with a cell's last value."""
        return f"Passed: {self}"


def require(condition: bool, fact: str, hint: str) -> None:
    """Raise `CheckFailed` unless a condition holds."""
    if not condition:
        raise CheckFailed(fact, hint)


@contextmanager
def learners_code(hint: str, kind: type[Exception] = Exception) -> Iterator[None]:
    """Turn exceptions of one kind, raised in the block, into `CheckFailed`; others pass through."""
    try:
        yield
    except kind as error:
        fact = f"your code raised {type(error).__name__}: {error}"
        raise CheckFailed(fact, hint) from error


def ask_number(
    name: str, function: Callable[..., object], *arguments: float, unit: str, hint: str
) -> float:
    """Call a learner's function; raise `CheckFailed` unless it returns a real number."""
    with learners_code(hint):
        value = function(*arguments)
    if isinstance(value, bool) or not isinstance(value, Real):  # NumPy's numbers are Real, too
        given = ", ".join(f"{argument:g}" for argument in arguments)
        fact = f"{name}({given}) returned {value!r}, not {unit}"
        raise CheckFailed(fact, hint)
    return float(value)


def trial_session(actor: Actor, actors: int = 1) -> Session:
    """Start a session for one check: its store is in memory, and it takes no automatic checkpoints."""
    storage = ZarrStorage(zarr.storage.MemoryStore())
    config = CheckpointConfig(enabled=False)
    return Session(actor, actors=actors, config=config, storage=storage)


def wait_while(condition: Callable[[], bool], limit_s: float, poll_s: float = 0.001) -> bool:
    """Wait until a condition ends; return False if it still holds after `limit_s` seconds."""
    until = time.monotonic() + limit_s
    while condition():
        if time.monotonic() > until:
            return False
        time.sleep(poll_s)
    return True
