"""A peer as this process sees it: a child that does one thing whenever it is asked, and times it."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

from ringnb._support.children import PythonChild
from ringnb.cli.bench.peers import child
from ringnb.cli.bench.peers.environment import Environment

__all__ = ["Peer", "PeerFailed"]

_PATIENCE_S = (
    600.0  # for the first answer, imports and compilation included, and for every other one
)


class PeerFailed(Exception):
    """A peer is not there, or has failed; the message says why, in one line."""


@final
class Peer:
    """A child that serves one peer of one kind, "stepping" or "storage", while a ``with`` block runs.

    `PeerFailed` on entering if it cannot be had.
    """

    def __init__(self, env: Environment, kind: str, name: str, log: Path, **settings: Any) -> None:
        self.remark = ""  # what it says of itself: its version, and how it is used
        self._env = env
        self._log = log
        script = Path(child.__file__).parent
        self._child = PythonChild(
            *(script, kind, name, json.dumps(settings)), log=log, python=env.python
        )

    def __enter__(self) -> Self:
        """Start it, and wait until it has made its preparations."""
        self._child.__enter__()
        self._lines = self._child.lines(_PATIENCE_S)
        try:
            ready = self._answer()
        except BaseException:
            self._child.__exit__()
            raise
        self.remark = ready["remark"]
        self._env.versions.update(ready["versions"])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """End it."""
        self._child.__exit__()

    def ask(self, **request: Any) -> float:
        """Have it do something; return the seconds, or whatever number it answers with."""
        self._child.send(json.dumps(request))
        return float(self._answer()["value"])

    def _answer(self) -> dict[str, Any]:
        """Return its next answer."""
        try:
            line = next(self._lines, None)
        except TimeoutError as error:
            raise PeerFailed(str(error)) from error
        if line is None:
            said = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
            raise PeerFailed(next((s for s in reversed(said) if s.strip()), "its process ended"))
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise PeerFailed(answer["failed"])
        return answer
