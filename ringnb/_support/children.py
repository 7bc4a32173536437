"""Python processes that ringnb starts: the same interpreter, the same ringnb, no shell.

`run_python` runs one to its end; a `PythonChild` runs beside this process and is read line by line.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self, final

__all__ = ["PythonChild", "child_environment", "run_python"]

_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])


def child_environment(**changes: str) -> dict[str, str]:
    """Return this process's environment, changed so that a child imports this very ringnb."""
    paths = [_PACKAGE_PARENT, os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | changes


def run_python(
    *arguments: str | os.PathLike[str],
    check: bool = False,
    env: dict[str, str] | None = None,
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a Python program to its end and return its output as text.

    `env` replaces `child_environment`; `options` are those of `subprocess.run`.
    """
    return subprocess.run(  # noqa: S603 - our own interpreter, no shell
        [sys.executable, *(os.fspath(a) for a in arguments)],
        check=check,
        env=child_environment() if env is None else env,
        **{"capture_output": True, "text": True} | options,
    )


@final
class PythonChild:
    """A Python program that runs while a ``with`` block does, and is killed and reaped at its end.

    Its standard error is appended to `log`. It may end with its parent: the parent holds the other end
    of its standard input, which the system closes whatever happens to the parent. `python`: another
    interpreter than this process's.
    """

    def __init__(
        self, *arguments: str | os.PathLike[str], log: Path, python: Path | None = None
    ) -> None:
        self._command = [os.fspath(a) for a in (python or sys.executable, *arguments)]
        self._log = log
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.killed = False

    def __enter__(self) -> Self:
        """Start it, and a thread that reads what it writes."""
        with self._log.open("ab") as errors:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, no shell
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                env=child_environment(),
                # Ctrl-C is for the parent alone, which then ends its child.
                start_new_session=True,
            )
        stdout = self._process.stdout
        assert stdout is not None
        self._reader = threading.Thread(target=self._read, args=(stdout,), daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it if it still runs, and reap it."""
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

    def send(self, line: str) -> None:
        """Write a line to its standard input; one that has ended does not hear it."""
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(BrokenPipeError):
            stdin.write(line + "\n")
            stdin.flush()

    def kill(self) -> int:
        """Send SIGKILL if it still runs, wait for the end, return its status (negative: the signal)."""
        self.killed = True
        self._process.kill()  # does nothing to a process that has been reaped
        return self._process.wait()

    def wait(self) -> int:
        """Wait for its end and return its status."""
        return self._process.wait()

    def lines(self, silence_s: float) -> Iterator[str]:
        """Yield its lines until it ends, also those from before a `kill`.

        Raise `TimeoutError` if it writes nothing for so many seconds.
        """
        while True:
            try:
                line = self._lines.get(timeout=silence_s)
            except queue.Empty:
                msg = f"process {self.pid} wrote nothing for {silence_s:g} s"
                raise TimeoutError(msg) from None
            if line is None:
                return
            yield line
