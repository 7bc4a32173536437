"""Switches that break a running session on purpose, to see what the design does about it.

`Session.faults` makes one `Faults` when it is first used. Every switch does to the real parts what the
fault would do: an answer is taken off the K2H ring and thrown away; a commit's writes are slow, or fail
half-way with the system's own error; a bit on the disk is flipped; the kernel's threads end. It knows
the session's parts and not the session.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import numpy as np

from ringnb._support.checks import check_int, check_seconds
from ringnb.checkpoint import ZarrStorage
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.directory import files
from ringnb.errors import CheckpointNotFound
from ringnb.kernel.base import AbstractKernel
from ringnb.session.transport import SnapshotTransport

__all__ = ["Faults", "flip_bit"]


def flip_bit(store: Path, name: str) -> str:
    """Damage one more bit of a checkpoint's largest chunk, from its middle on; return where it is.

    Parameters
    ----------
    store : pathlib.Path
        The store's directory.
    name : str
        The checkpoint.

    Raises
    ------
    CheckpointNotFound
        If there are no chunks of that name.
    ValueError
        If no bit of the chunk is 1.
    """
    chunks = [p for p in (store / name).rglob("*") if p.is_file() and p.name != "zarr.json"]
    if not chunks:
        msg = f"no chunks of a checkpoint {name!r} in {store}: see storage.list()"
        raise CheckpointNotFound(msg)
    chunk = max(chunks, key=lambda p: (p.stat().st_size, str(p)))
    data = np.fromfile(chunk, np.uint8)
    middle = data.size // 2
    at = next(
        (part + int(i) for part in (middle, 0) for i in np.flatnonzero(data[part:])[:1]), None
    )
    if at is None:
        msg = f"no bit of {chunk} is 1: it cannot be damaged further in this way"
        raise ValueError(msg)
    # A 1 becomes a 0, and never a 0 a 1: so no call repairs what an earlier one has damaged, in any
    # process and under any of the names that share the chunk.
    byte = int(data[at])
    bit = (byte & -byte).bit_length() - 1
    with chunk.open("r+b") as file:
        file.seek(at)
        file.write(bytes([byte & (byte - 1)]))
    return f"bit {bit} of byte {at:,} of {chunk.relative_to(store)}"


@final
class Faults:
    """The fault switches of a session; those of the disk need a store in a local directory.

    Parameters
    ----------
    kernel : AbstractKernel
        The session's kernel.
    transport : SnapshotTransport
        What carries its snapshots.
    storage : CheckpointStorage
        Where they are committed.

    Notes
    -----
    Any thread. Switches stay as they are until they are set again or `clear` is called; the session
    clears them when it closes. Other sessions of the process are not affected.
    """

    def __init__(
        self, kernel: AbstractKernel, transport: SnapshotTransport, storage: CheckpointStorage
    ) -> None:
        self._kernel = kernel
        self._transport = transport
        self._storage = storage
        self._lock = threading.Lock()
        self._slow_s = 0.0
        self._full = False
        self._hurry = threading.Event()  # ends the delay of writes under way
        self._paths: dict[int, Path] = {}  # of files that are being written, by descriptor
        self._interposer = contextlib.ExitStack()
        self._interposed = False

    # -- the switches ----------------------------------------------------------------------------

    def lose_answers(self, n: int = 1) -> None:
        """Throw away the next answers to snapshot requests, after the kernel has captured them.

        Parameters
        ----------
        n : int, default 1
            How many; 0 ends it. A request whose answer was lost expires after ``request_timeout``, and
            the actor can be requested again.
        """
        self._transport.answers_to_lose = check_int(n, "n", 0)

    def slow_disk(self, seconds: float) -> None:
        """Let every write of a file take longer; 0 ends it, for writes under way too.

        Parameters
        ----------
        seconds : float
            By how much.
        """
        delay_s = check_seconds(seconds, "seconds", zero=True)
        self._folders()
        with self._lock:
            self._slow_s = delay_s
            if delay_s > 0:
                self._hurry.clear()
            else:
                self._hurry.set()
            self._interpose()

    def fill_disk(self, on: bool = True) -> None:
        """Let every write of a file fail half-way with ENOSPC, as on a full disk.

        Parameters
        ----------
        on : bool, default True
            False ends it.
        """
        self._folders()
        with self._lock:
            self._full = bool(on)
            self._interpose()

    def corrupt(self, name: str) -> str:
        """Damage one more bit of a checkpoint's largest chunk, from its middle on.

        Parameters
        ----------
        name : str
            The checkpoint.

        Returns
        -------
        str
            Which bit of which byte of which file, below the store.

        Raises
        ------
        CheckpointNotFound
            If there is none of that name.

        Notes
        -----
        Each further call damages another bit; none repairs what was damaged. In an incremental store
        every checkpoint that shares the chunk is damaged.
        """
        store = self._folders()[0]
        if not self._storage.exists(name):
            msg = f"no checkpoint {name!r} in {store}: see storage.list()"
            raise CheckpointNotFound(msg)
        return flip_bit(store, name)

    def kill_kernel(self) -> None:
        """End the kernel's threads; what was not committed is lost."""
        self._kernel.stop("it was killed with the fault switch")

    def clear(self) -> None:
        """Set every switch back. What was corrupted or killed stays so. Idempotent."""
        self._transport.answers_to_lose = 0
        with self._lock:
            self._slow_s, self._full = 0.0, False
            self._hurry.set()
            self._interpose()

    # -- what is set -----------------------------------------------------------------------------

    @property
    def answers_to_lose(self) -> int:
        """How many answers are still to be lost."""
        return self._transport.answers_to_lose

    @property
    def disk_delay_s(self) -> float:
        """How much longer a write of a file takes, seconds."""
        return self._slow_s

    @property
    def disk_full(self) -> bool:
        """Whether writes fail."""
        return self._full

    def __repr__(self) -> str:
        """Name the switches that are set."""
        on = []
        if self.answers_to_lose:
            on.append(f"loses {self.answers_to_lose} answers")
        if self._slow_s:
            on.append(f"writes take {self._slow_s:g} s longer")
        if self._full:
            on.append("disk full")
        return f"<Faults: {', '.join(on) or 'none'}>"

    # -- between storage and system --------------------------------------------------------------

    def _folders(self) -> tuple[Path, ...]:
        folders = self._storage.folders if isinstance(self._storage, ZarrStorage) else ()
        if not folders:
            msg = (
                f"the disk's fault switches need a store in a local directory, this one is "
                f"{self._storage!r}: give the session a CheckpointConfig with a storage_path"
            )
            raise ValueError(msg)
        return folders

    def _interpose(self) -> None:
        """Step between storage and system while a switch is set; the lock is held."""
        wanted = self._full or self._slow_s > 0
        if wanted and not self._interposed:
            self._interposer.enter_context(files.interposing(self._operate))
        elif not wanted:
            self._interposer.close()
        self._interposed = wanted

    def _operate(self, name: str, arguments: tuple[Any, ...], call: Callable[[], Any]) -> Any:
        """Do a file operation, or break it. On the committing threads, of every session."""
        if name == "create_file":
            fd = call()
            # Never taken out: a descriptor that the system gives out again is set again here.
            self._paths[fd] = Path(arguments[0])
            return fd
        if name != "write_data" or not self._is_ours(self._paths.get(arguments[0])):
            return call()
        if self._slow_s > 0:
            self._hurry.wait(self._slow_s)
        if self._full:
            fd, buffers = arguments
            whole = b"".join(bytes(b) for b in buffers)
            os.write(fd, whole[: len(whole) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._paths[fd]))
        return call()

    def _is_ours(self, path: Path | None) -> bool:
        return path is not None and any(f in path.parents for f in self._folders())
