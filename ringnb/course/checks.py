"""What the checks of all lessons share: how they answer, how they call a learner's code, how they wait.

A check returns what it measured, or raises `CheckFailed`. An exception is seen by the learner, stops
"Run all", and is counted by graders such as nbgrader. A notebook shows two lines and no traceback.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Real
from types import FrameType
from typing import Any, final

import zarr

from ringnb.actors import Actor
from ringnb.checkpoint import CheckpointConfig, ZarrStorage
from ringnb.session.session import Session

__all__ = [
    "CheckFailed",
    "Passed",
    "WithoutTraceback",
    "ask_number",
    "learners_code",
    "learners_loops",
    "require",
    "trial_session",
    "wait_while",
]


class WithoutTraceback:
    """Mixed into an exception: a notebook shows its message, and no traceback."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()  # which IPython asks for


@final
class CheckFailed(WithoutTraceback, AssertionError):
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


class _Endless(BaseException):
    """A learner's code goes round for ever; no ``except Exception`` in it may go on after that."""


@contextmanager
def learners_loops(fact: str, hint: str, lines: int = 300_000) -> Iterator[None]:
    """Raise `CheckFailed` when the block has run so many lines of Python in this thread.

    Lines and not seconds: on a busy machine a right solution may take any time.
    """
    left = lines

    def count(_frame: FrameType, event: str, _argument: Any) -> Any:
        """Count a line of any function that the block calls."""
        nonlocal left
        left -= event == "line"
        if left < 0:
            raise _Endless
        return count

    before = sys.gettrace()
    try:
        sys.settrace(count)
        yield
    except _Endless as error:
        raise CheckFailed(fact, hint) from error
    finally:
        sys.settrace(before)  # of a debugger, or what measures coverage


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
