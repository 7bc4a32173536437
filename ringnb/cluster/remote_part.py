"""Parts of a remote session: its manager, its faults, its storage."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, final

from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.checkpoint import Checkpoint

__all__ = ["RemotePart", "RemoteStorage"]

_MORE = "a method"  # what the worker says of an attribute that can be called
_WRITES = frozenset(
    {
        "pin",
        "unpin",
        "delete",
        "delete_many",
        "save",
        "save_many",
        "quarantine",
        "adopt",
        "sweep_arrays",
    }
)
Ask = Callable[..., Any]  # as `Connection.ask`


class RemotePart:
    """An object of the session's on the worker: its methods are called there, its attributes read.

    ``known`` are attributes that need not be asked for.
    """

    def __init__(self, ask: Ask, path: str, known: Callable[[str], Any] | None = None) -> None:
        self._ask, self._path, self._known = ask, path, known
        self._methods: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        """Read an attribute, or return a function that calls the method."""
        if name.startswith("_"):
            raise AttributeError(name)
        if self._known is not None and (known := self._known(name)) is not None:
            return known
        path = f"{self._path}.{name}"
        if name not in self._methods:
            value = self._ask(path)
            if value != _MORE:
                return value
            self._methods.add(name)
        return partial(self._call, path)

    def _call(self, path: str, *args: Any, **kwargs: Any) -> Any:
        return self._ask(path, (args, kwargs))


@final
class RemoteStorage(RemotePart):
    """A store that both sides see: read here, written by the worker, which has its lock."""

    def __init__(self, ask: Ask, here: CheckpointStorage) -> None:
        super().__init__(ask, "storage")
        self._here = here

    def load(self, name: str) -> Checkpoint:
        """Open a checkpoint; see `CheckpointStorage.load`."""
        return Checkpoint.from_source(name, self._here.load(name).source, storage=self)

    def __getattr__(self, name: str) -> Any:
        """Return what reads here, or has the worker write."""
        if name in _WRITES:
            return super().__getattr__(name)
        return getattr(self._here, name)

    def __repr__(self) -> str:
        """Name the store."""
        return repr(self._here)
