"""Whether a zarr ``Store`` can hold checkpoints: what they need of it is tried, before the first write.

They need more than zarr's own arrays do: keys of any form, values that come back to the byte, a value
put anew in place of another, single keys deleted, and all of it seen at once by every reader.
"""

from __future__ import annotations

import contextlib
import uuid
from typing import Any

from zarr.abc.store import RangeByteRequest, Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from ringnb.checkpoint.storage.format import WORK_AREA
from ringnb.errors import CheckpointError

__all__ = ["check_lists", "check_takes_checkpoints"]

_REMEDY = "Mend that, or use a directory, s3://bucket/prefix or another zarr Store"


def check_lists(store: Store) -> None:
    """Refuse a store that cannot say which keys it holds."""
    if not store.supports_listing:
        msg = f"{store} cannot list its keys, so the checkpoints in it cannot be found. {_REMEDY}"
        raise CheckpointError(msg)


def check_takes_checkpoints(store: Store) -> None:
    """Try what a commit and a deletion need; `CheckpointError` says what does not work.

    Nothing is left behind, unless it is deleting that fails.
    """
    check_lists(store)
    # What is put into a session of icechunk is gone, unless its owner commits it.
    session = getattr(store, "session", None)
    if callable(getattr(session, "commit", None)):
        raise _refused(store, "what is put there lasts only if its session is committed")
    if not store.supports_writes:
        raise _refused(store, "it cannot be written")
    if not store.supports_deletes:
        raise _refused(
            store,
            "it cannot delete, and what is retired is deleted (to get a zip file, write a directory, "
            "then `ringnb export` it)",
        )
    sync(_try_out(store))


async def _try_out(store: Store) -> None:
    folder = (
        f"{WORK_AREA}-probe-{uuid.uuid4().hex}"  # hidden: a listing of the store passes it over
    )
    key = f"{folder}/field/c.0.0"  # what the name of a chunk looks like
    prototype = default_buffer_prototype()
    doing = ""

    def expect(wanted: Any, found: Any) -> None:
        if wanted != found:
            raise _refused(store, f"to {doing} gave {found!r:.80} in place of {wanted!r}")

    async def get() -> bytes | None:
        value = await store.get(key, prototype, RangeByteRequest(0, 100))
        return None if value is None else value.to_bytes()

    try:
        doing = "get a key that does not exist"
        expect(None, await get())
        for value in (b"first", b"second!"):
            doing = "put a key" if value == b"first" else "put a key anew"
            await store.set(key, prototype.buffer.from_bytes(value))
            doing = f"get what was put ({doing})"
            expect(value, await get())
        doing = "ask for the size of a key"
        expect(len(value), await store.getsize(key))
        doing = "list the keys below a prefix"
        expect([key], [found async for found in store.list_prefix(f"{folder}/")])
        doing = "list the names at the root"
        names = [name.rstrip("/") async for name in store.list_dir("")]
        expect([folder], [name for name in names if name == folder])
        doing = "delete a key"
        await store.delete(key)
        doing = "get a key that was deleted"
        expect(None, await get())
        doing = "delete a key that does not exist"
        await store.delete(key)
        key = ""
    except CheckpointError:
        raise
    except Exception as error:
        why = (str(error).strip() or "no reason given").splitlines()[0].rstrip(".")
        raise _refused(store, f"to {doing} failed: {type(error).__name__}: {why}") from error
    finally:
        with contextlib.suppress(Exception):
            if key:
                await store.delete(key)
        with contextlib.suppress(Exception):
            await store.delete_dir(folder)  # an empty directory, if that is what it is


def _refused(store: Store, why: str) -> CheckpointError:
    return CheckpointError(f"{store} cannot take checkpoints: {why}. {_REMEDY}")
