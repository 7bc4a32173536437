"""The threads that do what panels ask for, so that the handlers of clicks need not.

`Worker` does jobs one after the other. `Drawer` reads checkpoints and draws: of several jobs for the
same picture it does only the newest, so scrubbing never queues up behind slow reads.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import final

from ringnb._support.off_main import placed

__all__ = ["BackgroundThread", "Drawer", "Worker"]

Job = Callable[[], None]


class BackgroundThread(ABC):
    """A thread that runs from `start` on until `stop`. What it does handles its own exceptions."""

    def __init__(self, name: str) -> None:
        self._thread = threading.Thread(target=placed(self._run), name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @abstractmethod
    def stop(self) -> None:
        """Have the thread end. Idempotent; does not wait."""

    def join(self, timeout_s: float) -> None:
        """Wait for the thread, unless it is the caller."""
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    @abstractmethod
    def _run(self) -> None:
        """Run on the thread."""


@final
class Worker(BackgroundThread):
    """A thread that does jobs in order."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()

    def submit(self, job: Job) -> None:
        """Have a job done after those submitted before. Any thread."""
        self._jobs.put(job)

    def stop(self) -> None:
        """End the thread after the jobs submitted so far."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # it may hold what should be collected now


@final
class Drawer(BackgroundThread):
    """A thread that does the newest job of every kind, at low priority."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._newest: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._stopping = False

    def submit(self, kind: str, job: Job) -> None:
        """Have a job done; an older one of the same kind that waits is dropped. Any thread."""
        with self._changed:
            self._newest[kind] = job
            self._changed.notify()

    def waits(self, kind: str) -> bool:
        """Return whether a job waits to be begun. Any thread."""
        with self._changed:
            return kind in self._newest

    def stop(self) -> None:
        """Drop what waits and end the thread."""
        with self._changed:
            self._stopping = True
            self._newest.clear()
            self._changed.notify()

    def _run(self) -> None:
        if sys.platform == "linux":
            # Drawing costs more than all else that panels do, and may wait: the kernel may not.
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._newest)
                if self._stopping:
                    return
                job = self._newest.pop(next(iter(self._newest)))
            job()
            del job  # it may hold what should be collected now
