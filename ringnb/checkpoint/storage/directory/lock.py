"""One writer per store: a lock among processes, and one among the threads of this process.

The lock is an ``flock`` on a file in the work area, which the system drops when its holder dies, so a
dead holder is replaced at once. The file says who holds it (pid, host, since when), for the message.
All storages of a process on one store share one `WriteLock`; the last of them to close gives it up.

The work area may lie elsewhere for a process that sees the store through another mount (a container
beside its host), so the store's root document is locked as well: it is the same file however it is
reached.

A forked child inherits the descriptor but must not write: it closes its copy (which does not release
the parent's lock) and would have to acquire the lock anew, which fails while the parent has it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import threading
import time
import weakref
from pathlib import Path
from typing import Any, final

from ringnb.checkpoint.storage.backend import describe_writer, read_note, writer_note
from ringnb.checkpoint.storage.directory.listing import Listing
from ringnb.checkpoint.storage.permissions import share_like
from ringnb.errors import StoreLocked

__all__ = ["WriteLock", "lock_of"]


@final
class WriteLock:
    """The write lock of one local store, shared within the process."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self.mutex = threading.RLock()  # held by the thread that changes the store
        self.listing = Listing(store)  # what the store holds, as far as this process knows
        self.sequence = 0  # the highest number that this process has given
        self._fd: int | None = None
        self._path: Path | None = None  # of the file that is locked
        self._root_fd: int | None = None
        # Weak, because a storage that is dropped without close() holds nothing any more.
        self._holders: weakref.WeakSet[object] = weakref.WeakSet()

    def __del__(self) -> None:
        """Free the lock when the last storage of the process on this store is gone."""
        self._close()

    def _close(self) -> None:
        for fd in (self._fd, self._root_fd):
            if fd is not None:
                os.close(fd)
        self._fd = self._root_fd = None

    @property
    def held(self) -> bool:
        """Whether this process holds it."""
        return self._fd is not None

    @property
    def area(self) -> Path | None:
        """The work area whose lock this process holds: it does not move while it is used."""
        if self._fd is None or self._path is None or not _same_file(self._fd, self._path):
            return None
        return self._path.parent

    def acquire(self, path: Path, holder: object) -> bool:
        """Take the lock at `path`; return whether the process did not hold it before.

        The caller holds `mutex`, and is referred to weakly. StoreLocked if another process holds it.
        """
        if self._fd is not None:
            if _same_file(self._fd, path):
                self._holders.add(holder)
                return False
            # The work area was removed by hand: what we hold keeps no other process out any more.
            os.close(self._fd)
            self._fd = None
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            if not self._holders:
                self._close()  # the root document's, if we got that
            raise self._refused(path) from None
        except BaseException:
            os.close(fd)
            raise
        share_like(path.parent, fd)
        # The note is only for the messages of others: a full disk must not cost us the lock, nor leave
        # a descriptor behind that would lock this very process out.
        with contextlib.suppress(OSError):
            os.ftruncate(fd, 0)
            os.pwrite(fd, writer_note(), 0)
        self._fd, self._path = fd, path
        self._holders.add(holder)
        return True

    def _refused(self, path: Path) -> StoreLocked:
        return StoreLocked(
            f"store {str(self._store)!r} is being written by {_owner(path)}: one process writes "
            "a store at a time. Close that session, or use another storage_path"
        )

    def acquire_root(self, document: Path, path: Path) -> bool:
        """Lock the store's root document, if there is one, beside the lock at `path`.

        Return whether it was not locked before. The caller holds `mutex`. StoreLocked if another process
        holds it. Where the file system cannot lock this file, the lock at `path` is all there is.
        """
        if self._root_fd is not None:
            if _same_file(self._root_fd, document):
                return False
            os.close(self._root_fd)  # the store was removed and made anew, or another was faster
            self._root_fd = None
        fd = _open(document)
        if fd is None:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _flock_owner(os.fstat(fd))
            os.close(fd)
            if self._fd is None and _is_locked(path):
                raise self._refused(path) from None
            msg = (
                f"store {str(self._store)!r} is being written by {owner}, which reaches it by another "
                "path or mount: one process writes a store at a time. Close that session, or use "
                "another storage_path"
            )
            raise StoreLocked(msg) from None
        except OSError:
            os.close(fd)
            return False
        self._root_fd = fd
        return True

    def release(self, holder: object) -> None:
        """Give the lock up for a holder; the last one frees it for other processes."""
        with self.mutex:
            self._holders.discard(holder)
            if not self._holders:
                self._close()

    def abandon(self) -> None:
        """Give the lock up for all holders, who take it anew when they write; they hold `mutex`."""
        self._holders.clear()
        self._close()

    def forget(self) -> None:
        """In a forked child: drop the inherited descriptor, and the mutex with it."""
        self.mutex = threading.RLock()
        self.listing.renew_guard()
        self._holders = weakref.WeakSet()
        self._close()


def _same_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False


def _open(path: Path) -> int | None:
    for flags in (os.O_RDWR, os.O_RDONLY):  # NFS locks only what may be written
        with contextlib.suppress(OSError):
            return os.open(path, flags | os.O_CLOEXEC)
    return None


def _is_locked(path: Path) -> bool:
    fd = _open(path)
    if fd is None:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _flock_owner(stat: os.stat_result) -> str:
    """Describe the process of this host that has locked a file, as far as the system tells."""
    file = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            _, kind, _, _, pid, locked, *_ = line.replace("->", "").split()
            if kind == "FLOCK" and locked == file and int(pid) > 0:
                return describe_writer({"pid": int(pid), "host": socket.gethostname()})
    return describe_writer({})


def _owner(path: Path) -> str:
    """Describe the process that holds a lock; it may be just writing its note."""
    note: dict[str, Any] = {}
    for _ in range(20):
        with contextlib.suppress(OSError):
            note = read_note(path.read_bytes())
        if note:
            break
        time.sleep(0.005)
    return describe_writer(note)


_locks: weakref.WeakValueDictionary[str, WriteLock] = weakref.WeakValueDictionary()
_locks_guard = threading.Lock()


def lock_of(store: Path) -> WriteLock:
    """Return this process's one write lock of the store at a real path; keep a reference to it."""
    with _locks_guard:
        lock = _locks.get(str(store))
        if lock is None:
            lock = _locks[str(store)] = WriteLock(store)
        return lock


def _forked() -> None:
    global _locks_guard  # noqa: PLW0603 - another thread may have held it at the fork
    _locks_guard = threading.Lock()
    for lock in list(_locks.values()):
        lock.forget()


os.register_at_fork(after_in_child=_forked)
