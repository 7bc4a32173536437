"""Several writers of one object store, kept apart by conditional puts: no lock, nothing to time out.

An object store has no lock that the system would drop when its holder dies. What it has is a put that
succeeds only if the key does not exist (``If-None-Match``), or only if it is unchanged
(``If-Match``). That is enough:

- A writer claims a name before it writes the first chunk, so two writers never mix their chunks.
- Sequence numbers come from one counter that is exchanged against the value that was read.

A writer that dies leaves its claim, and keys of a checkpoint that does not exist. The next writer
removes them: at once if the dead process was of this host, otherwise an hour after the claim.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from typing import TYPE_CHECKING, Any, final

from ringnb.checkpoint.storage.backend import describe_writer, read_note, writer_note
from ringnb.checkpoint.storage.format import WORK_AREA
from ringnb.errors import CheckpointError, StoreLocked

if TYPE_CHECKING:
    from obstore import UpdateVersion
    from obstore.store import ObjectStore

__all__ = ["Claims"]

_COUNTER = f"{WORK_AREA}/sequence"
_STALE_S = 3600.0
_ATTEMPTS = 100


@final
class Claims:
    """Names and numbers, each given to one writer. Any thread, any process."""

    def __init__(self, store: ObjectStore, url: str) -> None:
        import obstore  # noqa: PLC0415 - an optional dependency, which made this store

        self._obstore = obstore
        self._store = store
        self._url = url
        self._supported: bool | None = None
        self._undropped: set[str] = set()  # ours still, because the server could not be reached

    @property
    def supported(self) -> bool:
        """Whether the server honours both conditional puts; it is asked once."""
        if self._supported is None:
            key = f"{WORK_AREA}/probe-{uuid.uuid4().hex}"
            try:
                self._supported = self._honours_conditions(key)
            except Exception as error:
                if not _is_unknown_request(error):
                    raise
                self._supported = False
            finally:
                with contextlib.suppress(Exception):
                    self._delete(key)
        return self._supported

    def _honours_conditions(self, key: str) -> bool:
        # A server that does not know a condition ignores it, or refuses the request.
        if not self.create(key, b"1") or self.create(key, b"2"):
            return False
        found = self._get(key)
        return (
            found is not None
            and self._exchange(key, b"3", found[1])
            and not self._exchange(key, b"4", found[1])  # it is another one by now
        )

    def create(self, key: str, data: bytes) -> bool:
        """Put a key that does not exist; return whether it did not."""
        try:
            self._obstore.put(self._store, key, data, mode="create", use_multipart=False)
        except self._obstore.exceptions.AlreadyExistsError:
            return False
        return True

    def _delete(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._obstore.delete(self._store, key)

    def _exchange(self, key: str, data: bytes, version: UpdateVersion) -> bool:
        """Put a key in place of one version of it; return whether that was the present one."""
        try:
            self._obstore.put(self._store, key, data, mode=version, use_multipart=False)
        except (
            self._obstore.exceptions.PreconditionError,
            self._obstore.exceptions.AlreadyExistsError,
        ):
            return False
        return True

    def _get(self, key: str) -> tuple[bytes, UpdateVersion] | None:
        try:
            found = self._obstore.get(self._store, key)
        except FileNotFoundError:
            return None
        version: UpdateVersion = {}
        if found.meta["e_tag"] is not None:
            version["e_tag"] = found.meta["e_tag"]
        if found.meta["version"] is not None:  # Google's storage goes by this
            version["version"] = found.meta["version"]
        return bytes(found.bytes()), version

    def take(self, name: str) -> None:
        """Claim the name of a checkpoint to be written; StoreLocked if another writer has it."""
        key = f"{WORK_AREA}/claims/{name}"
        if not self.create(key, writer_note()) and name not in self._undropped:
            found = self._get(key)
            who = describe_writer(read_note(found[0]) if found else {})
            msg = (
                f"checkpoint {name!r} in {self._url} is being written by {who}: give one of the two "
                "another name_prefix or storage_path"
            )
            raise StoreLocked(msg)

    def drop(self, name: str) -> None:
        """Give a claimed name up; the checkpoint exists now, or nothing of it does."""
        self._undropped.add(name)
        self._delete(f"{WORK_AREA}/claims/{name}")
        self._undropped.discard(name)

    def next_sequence(self, last: int) -> int:
        """Return a number that no other writer gets, above all that were given and above `last`.

        `last` is the highest in the store. CheckpointError if others were faster, time and again.
        """
        for _ in range(_ATTEMPTS):
            found = self._get(_COUNTER)
            if found is None:
                if self.create(_COUNTER, str(last + 1).encode()):
                    return last + 1
                continue
            counted = int(found[0]) if found[0].isdigit() else 0  # damaged: the store knows better
            number = max(counted, last) + 1
            if self._exchange(_COUNTER, str(number).encode(), found[1]):
                return number
        msg = f"{self._url} gave no number after {_ATTEMPTS} attempts: too many writers, try again"
        raise CheckpointError(msg)

    def abandoned(self) -> list[str]:
        """Return the names whose writer is dead, or has not been heard of for an hour."""
        names = []
        prefix = f"{WORK_AREA}/claims/"
        for page in self._obstore.list(self._store, prefix=prefix):
            for meta in page:
                found = self._get(meta["path"])
                if found is not None and _is_abandoned(read_note(found[0])):
                    names.append(meta["path"].rpartition("/")[2])
        return names


def _is_unknown_request(error: Exception) -> bool:
    """Return whether a server, or the library, does not know a request at all."""
    names = {"NotImplementedError", "NotSupportedError"}
    return type(error).__name__ in names or "<Code>NotImplemented</Code>" in str(error)


def _is_abandoned(owner: dict[str, Any]) -> bool:
    since = owner.get("since")
    if not isinstance(since, int | float):
        return False  # ringnb did not write this note
    if time.time() - since > _STALE_S:
        return True
    if owner.get("host") != socket.gethostname() or owner.get("pid") == os.getpid():
        return False
    try:
        os.kill(int(owner["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, LookupError, ValueError):
        return False
    return False
