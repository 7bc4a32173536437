"""A child process of the demo, seen from its parent.

`Child` starts it, reads its lines on a thread, and sees to it that it is gone and reaped when the
``with`` block ends, however it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, final

import ringnb
from ringnb.cli.demo.job import Job
from ringnb.errors import RingnbError

__all__ = ["Child", "DemoFailed", "Message"]

Message = dict[str, Any]

_SILENCE_S = 120.0  # the longest silence is the first compilation, on a slow machine


class DemoFailed(RingnbError):
    """A process of the demo did something that the demo cannot go on from."""


@final
class Child:
    """A worker process.

    Parameters
    ----------
    job : Job
        What it does.
    log : pathlib.Path
        Where its standard error goes, appended.
    """

    def __init__(self, job: Job, log: Path) -> None:
        self._job = job
        self._log = log
        self._killed = False
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        package_parent = str(Path(ringnb.__file__).resolve().parents[1])
        paths = [package_parent, os.environ.get("PYTHONPATH", "")]
        self._environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}

    def __enter__(self) -> Self:
        """Start the process."""
        with self._log.open("ab") as errors:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, no shell
                [sys.executable, "-m", "ringnb.cli.demo.worker", self._job.dump()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                env=self._environment,
                # Ctrl-C is for the parent alone, which then ends its child.
                start_new_session=True,
            )
        stdout = self._process.stdout
        assert stdout is not None
        self._reader = threading.Thread(target=self._read, args=(stdout,), daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process if it still runs, and reap it."""
        self.kill()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _read(self, stdout: IO[str]) -> None:
        for line in stdout:
            self._lines.put(line)
        self._lines.put(None)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kill(self) -> int:
        """Send SIGKILL, if it still runs, and wait for the end.

        Returns
        -------
        int
            The exit status; ``-signal.SIGKILL`` if it died of that.
        """
        self._killed = True
        self._process.kill()  # does nothing to a process that has been reaped
        return self._process.wait()

    def messages(self) -> Iterator[Message]:
        """Yield what it says, until it ends; after `kill`, what it had said until then.

        Yields
        ------
        dict
            One message.

        Raises
        ------
        DemoFailed
            If it reports an error, says nothing for very long, or ends by itself with a bad status.
        """
        while True:
            try:
                line = self._lines.get(timeout=_SILENCE_S)
            except queue.Empty:
                msg = (
                    f"process {self.pid} ({self._job.role}) said nothing for {_SILENCE_S:g} s; "
                    f"its own words are in {self._log}"
                )
                raise DemoFailed(msg) from None
            if line is None:
                break
            try:
                message: Message = json.loads(line)
            except ValueError:
                continue  # half a line: it was killed in the middle of it
            if message["kind"] == "error":
                raise DemoFailed(message["message"])
            yield message
        status = self._process.wait()
        if status and not self._killed:
            msg = (
                f"process {self.pid} ({self._job.role}) ended with status {status}; "
                f"its own words are in {self._log}"
            )
            raise DemoFailed(msg)
