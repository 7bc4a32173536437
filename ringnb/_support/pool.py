"""A pool of threads for files that are read or written at the same time, also at the interpreter's end.

Once the main thread is done, Python starts no thread and takes no work for a pool; a session's last
checkpoint is written after that.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar, final

__all__ = ["WorkerPool"]

P = ParamSpec("P")
T = TypeVar("T")


@final
class WorkerPool(ThreadPoolExecutor):
    """A `ThreadPoolExecutor` that does the work on the calling thread if Python starts no thread."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a call made, by a thread of the pool or now."""
        try:
            return super().submit(fn, *args, **kwargs)
        except RuntimeError:
            future: Future[T] = Future()
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - raised by `result`
                future.set_exception(error)
            return future
