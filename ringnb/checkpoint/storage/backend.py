"""What `ZarrStorage` needs of the place where it keeps checkpoints. Two kinds: directory, object store.

A backend knows names and bytes; what the bytes mean is `ringnb.checkpoint.storage.format`'s affair.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ringnb._support.text import counted, quote_names
from ringnb.checkpoint.storage.arrays import ArrayShelf
from ringnb.checkpoint.storage.base import try_each
from ringnb.checkpoint.storage.format import (
    ATTRIBUTE,
    DOCUMENT,
    FORMAT,
    EncodedChunk,
    FieldLayout,
    Nonfinite,
    allows_checkpoint_name,
    marks_store,
    summarise_nonfinite,
)
from ringnb.checkpoint.storage.records import CheckpointInfo, SaveReceipt
from ringnb.checkpoint.storage.source import Source
from ringnb.errors import CheckpointError

__all__ = [
    "Backend",
    "Commit",
    "describe_writer",
    "number_below",
    "read_note",
    "why_foreign",
    "writer_note",
]

_IN_FLIGHT_BYTES = 48 << 20
Render = Callable[[Mapping[str, list[int]], int, str | None], tuple[bytes, CheckpointInfo]]


@dataclass(frozen=True)
class Commit:
    """A checkpoint to be stored.

    A field is a NumPy array, or anything with a shape and a dtype that is read by slices.
    ``render(crcs, sequence, store_id)`` returns the group's document, and its line of the catalogue.
    `place` says which number it gets: one above all in the store (None), or, of a checkpoint that is
    imported, one below all; see `number_below`.
    """

    name: str
    layouts: tuple[FieldLayout, ...]
    fields: Mapping[str, Any]
    render: Render
    actor_key: tuple[str, str]  # the actor's prefix and identity
    place: int | None = None
    # Values that are not finite are told here, from several threads; None: nothing looks for them.
    nonfinite: list[Nonfinite] | None = None
    # Read-only arrays that the checkpoint names, by their keys: kept before it can be seen.
    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    bad: Sequence[Mapping[str, Any]] = ()  # what is known to be wrong with the state

    def found_bad(self) -> tuple[Mapping[str, Any], ...]:
        """Return why the state is not good, once all chunks were encoded."""
        return (*summarise_nonfinite(self.layouts, self.nonfinite or ()), *self.bad)

    def number_below(self, lowest: int | None) -> int:
        """Return the number of a checkpoint that is imported into a store with this lowest one."""
        return number_below(lowest, self.place or 0)

    @property
    def nbytes(self) -> int:
        """Logical bytes of the fields."""
        return sum([layout.nbytes for layout in self.layouts])

    def workers(self, most: int, copies: int) -> int:
        """Return how many chunks, each with so many copies in memory, fit into 48 MiB: 1..`most`."""
        largest = max(layout.chunk_nbytes for layout in self.layouts)
        return max(1, min(most, _IN_FLIGHT_BYTES // max(1, copies * largest)))

    @property
    def is_lazy(self) -> bool:
        """Whether a field is read only when its chunk is written."""
        return bool([a for a in self.fields.values() if not isinstance(a, np.ndarray)])

    def chunks(self) -> Iterator[tuple[FieldLayout, int]]:
        """Yield every field with the number of each of its chunks."""
        for layout in self.layouts:
            for number in range(layout.n_chunks):
                yield layout, number

    def encode(self, layout: FieldLayout, number: int) -> tuple[str, EncodedChunk]:
        """Return a chunk's key and its file."""
        chunk = layout.chunk(number)
        array = self.fields[layout.name]
        return chunk.key, EncodedChunk(array, layout, chunk, self.nonfinite)


def number_below(lowest: int | None, place: int = 0) -> int:
    """Return a number below all in a store with this lowest one, None: it is empty.

    With a `place` >= 1, the one that it gets in an empty store, what is imported into that counts as the
    store's own. Otherwise the number is below 1, so that retention can tell it from what was committed.
    """
    if lowest is None:
        return place
    return (lowest if place > 0 else min(lowest, 1)) - 1


def why_foreign(name: str, raw: bytes | None, *, is_directory: bool = True) -> str:
    """Say what a name is that is not a checkpoint's; `raw` is the document that lies there."""
    if name.startswith("."):
        return "hidden"
    if not is_directory:
        return "a file"
    if raw is None:
        return f"a directory without {DOCUMENT}"
    if marks_store(raw):
        return "a store of its own"
    if allows_checkpoint_name(name) or f'"{ATTRIBUTE}"'.encode() not in raw:
        return _kind_of(raw)
    return (
        "a checkpoint under a name that ringnb does not give: rename it, with ASCII letters, digits, "
        "'.', '_' and '-' only, to use it"
    )


def _kind_of(raw: bytes) -> str:
    """Say what a document of zarr that is not ringnb's describes."""
    try:
        document = json.loads(raw)
        kind = document["node_type"]
        if kind == "array":
            return f"an array of zarr, {document['data_type']} {tuple(document['shape'])}"
        members = document.get("consolidated_metadata", {}).get("metadata", {})
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return f"a directory whose {DOCUMENT} is none of zarr's"
    return f"a {kind} of zarr" + (f" with {quote_names(sorted(members))}" if members else "")


def writer_note() -> bytes:
    """Return what this process leaves where it writes: pid, host, and since when."""
    note = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
    return json.dumps(note).encode()


def read_note(raw: bytes) -> dict[str, Any]:
    """Return a writer's note, empty if it cannot be read."""
    try:
        note = json.loads(raw)
    except ValueError:
        return {}
    return note if isinstance(note, dict) else {}


def describe_writer(note: Mapping[str, Any]) -> str:
    """Return which process a note is of, for a message."""
    if {"pid", "host"} <= note.keys():
        return f"process {note['pid']} on host {note['host']!r}"
    return "another process"


class Backend(ABC):
    """A place for checkpoints. Any thread."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where it is, for messages."""

    @property
    def folders(self) -> tuple[Path, ...]:
        """The local directories in which it writes: the store, the work area; or none."""
        return ()

    group_bytes = 0  # up to what size commits gain by being put together
    # Where no lock keeps others out: called right before a checkpoint can be seen, which what it raises
    # prevents.
    fence: Callable[[], None] | None = None

    @abstractmethod
    def created(self) -> bool:
        """Return whether there is a store; raise `CheckpointError` if it is something else."""

    @property
    @abstractmethod
    def store_id(self) -> str | None:
        """The id in its root document, as of the last `created`; None if it has none."""

    @abstractmethod
    def catalogue(self) -> list[CheckpointInfo]:
        """Return what is there, oldest commit first; damaged ones where they seem to have stood."""

    @abstractmethod
    def history(
        self, name_prefix: str, kernel_id: str, others: Collection[str] = ()
    ) -> list[CheckpointInfo]:
        """Return what is there of one actor, oldest commit first, without what is damaged.

        Names in `others` are not its checkpoints: they need not be looked at.
        """

    @abstractmethod
    def parts(self, name_prefix: str, kernel_id: str) -> list[CheckpointInfo]:
        """Return an actor's parts of cuts, oldest commit first, without what is damaged."""

    @abstractmethod
    def source(self, name: str) -> Source:
        """Return the bytes of a checkpoint, whether it exists or not."""

    @abstractmethod
    def occupied(self, name: str) -> bool:
        """Return whether anything lies under a name."""

    def lost_document(self, name: str) -> bool:  # noqa: ARG002 - for a backend that can tell
        """Return whether a checkpoint lies under a name whose group document is lost."""
        return False

    @abstractmethod
    def foreign(self) -> list[tuple[str, str]]:
        """Return each name in the store that is not a checkpoint's, sorted, and why it is not."""

    @abstractmethod
    def writing(self, *, adopting: bool = False) -> AbstractContextManager[None]:
        """Be the only writer for the length of a ``with`` block; `adopting`: of what is no store yet."""

    def why_unwritable(self) -> str | None:
        """Return why `writing` is refused, as far as can be seen without trying; None if it may go."""
        return None

    @abstractmethod
    def put(self, commit: Commit) -> SaveReceipt:
        """Commit; within `writing`. A name that is taken is a `CheckpointError`."""

    def put_many(self, commits: Sequence[Commit]) -> list[SaveReceipt | Exception]:
        """Commit several, in order; within `writing`. For each, what `put` returns or raises."""
        return try_each(self.put, zip(commits, strict=True))

    @abstractmethod
    def replace_document(self, name: str, raw: bytes) -> None:
        """Exchange the group document of a checkpoint at once; within `writing`."""

    @abstractmethod
    def remove(self, name: str, keys: set[str]) -> None:
        """Remove the keys of a checkpoint, and nothing beside them; within `writing`."""

    def remove_many(self, names: Mapping[str, set[str]]) -> list[Exception | None]:
        """Remove several, each with its keys; within `writing`. For each, what `remove` raises."""
        return try_each(self.remove, names.items())

    @abstractmethod
    def orphans(self) -> list[CheckpointInfo]:
        """Return what `catalogue` would, were it a store: whatever its root document is."""

    @abstractmethod
    def root(self) -> bytes | None:
        """Return the root document, whatever it is; None if there is none."""

    @abstractmethod
    def replace_root(self, raw: bytes) -> None:
        """Put a root document in place of what is there; within ``writing(adopting=True)``."""

    @abstractmethod
    def quarantine(self, name: str) -> str:
        """Move what lies under a name out of the listing, undeleted; return where it went."""

    @property
    @abstractmethod
    def arrays(self) -> ArrayShelf:
        """Where read-only arrays are kept; to be changed within `writing`."""

    @abstractmethod
    def freed_by(self, names: Collection[str]) -> int:
        """Return the bytes that removing some checkpoints would free."""

    @abstractmethod
    def close(self) -> None:
        """Give up the write lock."""

    def check_free(self, name: str, *, taken: bool) -> None:
        """Refuse to commit under a name that is taken."""
        if taken:
            msg = f"checkpoint name {name!r} is taken in {self.url}: choose another"
            raise CheckpointError(msg)

    def check_marker(self, raw: bytes) -> str | None:
        """Refuse a root document that is not that of a ringnb store of a known format; return its id."""
        try:
            record = json.loads(raw)["attributes"][ATTRIBUTE]
            found = record["format"]
            store_id = record.get("id")
        except (ValueError, LookupError, TypeError, RecursionError):
            why = f"its {DOCUMENT} has no attribute {ATTRIBUTE!r}, or is damaged"
            raise self.rootless(why) from None
        if "digests" in record:
            raise self.refused(
                "it is a checkpoint, and the store is the directory in which it lies"
            )
        if found != FORMAT:
            why = f"its format is {found!r} and this version knows {FORMAT}: use a newer ringnb"
            raise self.refused(why)
        return store_id if isinstance(store_id, str) else None

    def read_only(self) -> CheckpointError:
        """Return the error for a write to a store that was opened to be read."""
        msg = f"{self.url} is read-only: open it for writing, or use another store"
        return CheckpointError(msg)

    def rootless(self, why: str) -> CheckpointError:
        """Return the error for a place without the root document of a store; it may have lost that."""
        found = [e for e in self.orphans() if not e.damaged]
        if not found:
            return self.refused(why)
        place = shlex.quote(self.url) if self.folders else "URL"
        return CheckpointError(
            f"{self.url!r} is not a ringnb store, but holds {counted(len(found), 'checkpoint')}: {why}. "
            f"`ringnb adopt {place}` makes it one; nothing was changed"
        )

    def refused(self, why: str) -> CheckpointError:
        """Return the error for a place that is not a ringnb store."""
        return CheckpointError(
            f"{self.url!r} is not a ringnb store: {why}. Choose another place; nothing was changed"
        )
