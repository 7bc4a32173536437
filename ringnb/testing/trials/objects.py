"""A writer of an object store is stopped after every request: there is no rename, order must do."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

from zarr.storage import MemoryStore

from ringnb.checkpoint.storage.object_store import backend as object_store
from ringnb.testing.trials.judging import judge, loss_after
from ringnb.testing.trials.workloads import Runner, archive

__all__ = ["stop_after_every_request"]


class _Stopped(BaseException):
    """The writer is gone."""


def stop_after_every_request(
    workload: Sequence[str], make_store: Callable[[], Any] = MemoryStore
) -> Counter[str]:
    """Stop the writer after each put and each delete of a workload's last operation; count ``stops``.

    `make_store` makes an empty place for each trial: a zarr store, or a URL.
    """
    counts: Counter[str] = Counter()
    while _trial(workload, counts["stops"], make_store()):
        counts["stops"] += 1
    return counts


def _trial(workload: Sequence[str], requests: int, place: Any) -> bool:
    left: int | None = None

    def request(do: Callable[[], None]) -> None:
        """Do it, unless the writer is gone."""
        nonlocal left
        if left is not None:
            if left <= 0:
                raise _Stopped
            left -= 1
        do()

    backend = object_store.ObjectStoreBackend
    put, remove = backend._set, backend._delete

    def _set(self: Any, key: str, data: bytes) -> None:
        request(lambda: put(self, key, data))

    def _delete(self: Any, keys: set[str], name: str) -> None:
        for key in sorted(keys):
            request(functools.partial(remove, self, {key}, name))

    archive()  # made before requests are counted
    runner = Runner(place)
    *earlier, last = workload
    with (
        mock.patch.object(backend, "_set", _set),
        mock.patch.object(backend, "_delete", _delete),
        mock.patch.object(object_store, "_WORKERS", 1),
    ):
        if not all(map(runner.run, earlier)):
            return False
        left = requests
        with contextlib.suppress(_Stopped):
            runner.run(last)
            return False  # it makes no more requests than that
    with loss_after(f"{tuple(workload)}, stopped after {requests} requests"):
        judge(place, runner.expected)
    return True
