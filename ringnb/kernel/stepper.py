"""What takes the steps of an actor that a kernel hosts and others compute."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from ringnb.actors.base import Actor

__all__ = ["Stepper"]


class Stepper(ABC):
    """Steps one actor, elsewhere. The lane's thread calls its methods, but for the first and the last.

    A `RingnbError` that one raises says why the kernel has ended.
    """

    @abstractmethod
    def open(self, actor: Actor, levels: Any, params: Any, stopping: Callable[[], bool]) -> None:
        """Begin; levels and parameters, as `load` gets them, are those of the start, to try it with.

        No later method waits on where ``stopping()`` is true.
        """

    @abstractmethod
    def load(self, levels: Any, params: Any, step: int) -> None:
        """Take a state over: levels ``(fields, *grid)``, ``now`` first; the parameters; its step."""

    @abstractmethod
    def step(self, count: int) -> None:
        """Take it through so many steps."""

    @abstractmethod
    def collect(self, levels: Any) -> None:
        """Write the state to where `load` took one from."""

    @abstractmethod
    def close(self) -> None:
        """End. Idempotent, any thread; it may be opened again."""
