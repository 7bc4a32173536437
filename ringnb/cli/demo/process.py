"""A worker process of the demo, as its parent sees it: the job it gets, the messages it sends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self, final

from ringnb._support.children import PythonChild
from ringnb.errors import RingnbError

__all__ = ["DemoFailed", "Job", "Message", "Worker"]

Message = dict[str, Any]

_SILENCE_S = 120.0  # the longest silence is the first compilation, on a slow machine


class DemoFailed(RingnbError):
    """A process of the demo did something that the demo cannot go on from."""


@dataclass(frozen=True, slots=True)
class Job:
    """One process's work.

    "endless" runs until it is killed, with a checkpoint every `interval_s` seconds; "restored" restores
    the newest checkpoints and runs on to step `steps`; "reference" starts anew and runs to that step.
    """

    role: Literal["endless", "restored", "reference"]
    store: str
    backend: str
    size: int  # cells along each side of both grids
    steps: int
    interval_s: float = 0.25
    keep: int = 5  # checkpoints of each actor; 0 keeps all
    steps_per_second: float = 3000.0  # of "endless": checkpoints spread over the run on any machine

    def dump(self) -> str:
        """Return this as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Job:
        """Read what `dump` wrote."""
        return cls(**json.loads(text))


@final
class Worker:
    """A process that does a job while a ``with`` block runs; its standard error is appended to `log`."""

    def __init__(self, job: Job, log: Path) -> None:
        self._job, self._log = job, log
        self._child = PythonChild("-m", "ringnb.cli.demo.worker", job.dump(), log=log)

    def __enter__(self) -> Self:
        """Start it."""
        self._child.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """End it if it still runs, and reap it."""
        self._child.__exit__()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    def kill(self) -> int:
        """Send SIGKILL if it still runs, wait for the end, return its status."""
        return self._child.kill()

    def messages(self) -> Iterator[Message]:
        """Yield what it sends until it ends; after `kill`, what it had sent until then.

        Raise `DemoFailed` if it reports an error, is silent for long, or ends with a bad status.
        """
        who, see = f"process {self.pid} ({self._job.role})", f"its error output is in {self._log}"
        try:
            for line in self._child.lines(_SILENCE_S):
                try:
                    message: Message = json.loads(line)
                except ValueError:
                    continue  # half a line: it was killed in the middle of it
                if message["kind"] == "error":
                    raise DemoFailed(message["message"])
                yield message
        except TimeoutError:
            msg = f"{who} sent nothing for {_SILENCE_S:g} s; {see}"
            raise DemoFailed(msg) from None
        status = self._child.wait()
        if status and not self._child.killed:
            msg = f"{who} ended with status {status}; {see}"
            raise DemoFailed(msg)
