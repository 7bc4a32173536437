"""Where checkpoints go: from a path, a URL or a zarr store to a backend.

`ringnb.checkpoint.storage.zarr_storage` calls `open_backend`. What an object store needs is imported
only when one is asked for.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore, MemoryStore

from ringnb.checkpoint.storage.backend import Backend
from ringnb.checkpoint.storage.directory.backend import DirectoryBackend
from ringnb.checkpoint.storage.object_store.backend import ObjectStoreBackend

__all__ = ["absolute_location", "is_remote", "local_path", "open_backend"]

_SCHEMES = "file://, memory:// and s3://"
_memory: dict[str, MemoryStore] = {}
_memory_guard = threading.Lock()


def open_backend(
    location: str | os.PathLike[str] | Store, *, durable: bool, incremental: bool
) -> Backend:
    """Open the backend for a path, a URL or a zarr store; errors as for `ZarrStorage`.

    Nothing is created or read yet.
    """
    read_only = False
    if isinstance(location, Store):
        folder = _directory_of(location)
        if folder is None:
            return ObjectStoreBackend(location)
        read_only = location.read_only
        location = folder
    if not isinstance(location, str | os.PathLike):
        msg = (
            "path_or_zarr_store must be a path, a URL or a zarr Store, "
            f"got {location!r} ({type(location).__name__})"
        )
        raise TypeError(msg)
    path = os.fspath(location)
    if not isinstance(path, str) or not path or "\0" in path:
        msg = f"{path!r} is not a directory path: give one that is not empty and holds no null byte"
        raise ValueError(msg)
    if is_remote(path):
        return ObjectStoreBackend(_store_of(path))
    return DirectoryBackend(
        local_path(path), durable=durable, incremental=incremental, read_only=read_only
    )


def _directory_of(store: Store) -> str | os.PathLike[str] | None:
    """Return the local directory that a zarr store, of any library, is: there ringnb can do more."""
    if isinstance(store, LocalStore):
        return store.root
    if isinstance(store, FsspecStore):
        file_system = getattr(store.fs, "sync_fs", store.fs)
        return store.path if type(file_system).__name__ == "LocalFileSystem" else None
    inner: Any = getattr(store, "store", None)  # of a zarr ObjectStore
    if type(inner).__module__.startswith("obstore") and type(inner).__name__ == "LocalStore":
        prefix: str | os.PathLike[str] | None = inner.prefix
        return prefix
    return None


def is_remote(location: str) -> bool:
    """Return whether a location is a URL of anything but a local directory."""
    return "://" in location and not location.startswith("file://")


def absolute_location(location: str) -> str:
    """Return a location that means the same after a ``chdir``; a URL stays as it is."""
    if "://" in location:
        return location
    path = Path(os.path.expanduser(location))
    try:
        return str(path.absolute())  # no ".." is resolved: behind a link it leads elsewhere
    except FileNotFoundError:
        msg = (
            f"{location!r} is a relative path, and the current directory was removed: give an "
            "absolute path"
        )
        raise ValueError(msg) from None


def local_path(location: str) -> Path:
    """Return the directory of a path, in which ``~`` is the home directory, or of a ``file://`` URL.

    It is absolute. ValueError if the URL names another host or no path.
    """
    if not location.startswith("file://"):
        return Path(absolute_location(location))
    url = urlsplit(location)
    if url.netloc not in {"", "localhost"} or not url.path.strip("/") or url.query or url.fragment:
        msg = f"{location!r} is not a URL of a local directory: write file:///absolute/path"
        raise ValueError(msg)
    return Path(unquote(url.path))


def _store_of(url: str) -> Store:
    scheme, _, rest = url.partition("://")
    match scheme:
        case "memory":
            if not rest:
                msg = f"{url!r} has no name: write memory://name, which this process shares"
                raise ValueError(msg)
            with _memory_guard:
                return _memory.setdefault(rest, MemoryStore())
        case "s3":
            return _s3(url)
        case _:
            msg = f"{url!r}: only URLs of {_SCHEMES} are known; for another place pass a zarr Store"
            raise ValueError(msg)


def _s3(url: str) -> Store:
    try:
        from obstore.store import from_url  # noqa: PLC0415 - an optional dependency
        from zarr.storage import ObjectStore  # noqa: PLC0415 - only with that
    except ImportError as error:
        msg = f"{url!r} needs obstore: pip install 'ringnb[s3]'"
        raise ImportError(msg) from error
    bucket = urlsplit(url).netloc
    if not bucket:
        msg = f"{url!r} has no bucket: write s3://bucket/prefix"
        raise ValueError(msg)
    # Region, credentials and endpoint come from the environment (AWS_REGION, AWS_ENDPOINT_URL, …).
    return ObjectStore(from_url(url))
