"""Make a store of a directory that holds checkpoints and has lost, or never had, its root document.

A user may have lost the root document, or copied chosen checkpoints into a new directory.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from operator import attrgetter
from typing import Any

from zarr.abc.store import Store

from ringnb._support.text import quote_names
from ringnb.checkpoint.storage.backend import Backend
from ringnb.checkpoint.storage.document import MAX_DOCUMENT_BYTES, parse_document
from ringnb.checkpoint.storage.format import ATTRIBUTE, DOCUMENT, dump, root_document
from ringnb.checkpoint.storage.locations import open_backend
from ringnb.checkpoint.storage.records import new_id
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.errors import CheckpointCorrupt, CheckpointError, CheckpointNotFound

__all__ = ["adopt_directory"]


def adopt_directory(
    place: str | os.PathLike[str] | Store, *, durable: bool = True
) -> tuple[list[str], list[str]]:
    """Write the root document of a store that has none, and adopt the checkpoints that lie there.

    The store gets the id that most of them record, so that they are its checkpoints as they are; those
    of other stores are adopted (see `ZarrStorage.adopt`). A copy of one that lies there too stays a
    copy, and what is damaged stays as it is.

    Parameters
    ----------
    place : str, os.PathLike or zarr.abc.store.Store
        A directory, a URL or a zarr store, as for `ZarrStorage`.
    durable : bool, default True
        Wait for the disk.

    Returns
    -------
    checkpoints : list of str
        What the store holds now, oldest first, without copies and what is damaged.
    copies : list of str
        What stays a copy: one of a checkpoint that is there, or damaged.

    Raises
    ------
    CheckpointError
        If it is a store already, holds no sound checkpoint of ringnb, or its root document is another
        program's.
    StoreLocked, OSError
        If another process writes it, or the file system fails. To try again goes on from there.
    """
    backend = open_backend(place, durable=durable, incremental=False)
    _root(backend)  # refused before a lock, and a work area, are made
    try:
        with backend.writing(adopting=True):
            backend.replace_root(_root(backend))
    finally:
        backend.close()
    with ZarrStorage(place, durable=durable) as storage:
        entries = [e for e in storage.catalogue() if not e.damaged]
        known = {e.id for e in entries if e.copy is None}
        copies = [e for e in entries if e.copy is not None]
        # The newest first, since each goes below all that are there.
        for entry in sorted(copies, key=attrgetter("created_at", "sequence", "name"), reverse=True):
            if entry.id in known:
                continue
            try:
                storage.adopt([entry.name])
            except (CheckpointCorrupt, CheckpointNotFound):
                continue  # it stays a copy, which does no harm
            known.add(entry.id)
        entries = storage.catalogue()
        ours = [e.name for e in entries if not e.damaged and e.copy is None]
        storage.adopt_arrays(ours)
    return ours, [e.name for e in entries if e.copy is not None]


def _root(backend: Backend) -> bytes:
    """Return the root document that a place should get; CheckpointError if it is nothing to adopt."""
    missing = [folder for folder in backend.folders[:1] if not folder.is_dir()]
    entries = [] if missing else backend.orphans()
    sound = [e.name for e in entries if not e.damaged]
    raw = backend.root()
    store = _common_store(backend, sound)
    try:
        document: Any = json.loads(raw or b"{}") or {}
    except ValueError:  # damaged
        document = {}
    attributes: dict[str, Any] = {}
    if document:
        if not isinstance(document, dict) or document.get("node_type") != "group":
            raise backend.refused(f"its {DOCUMENT} is another program's")
        attributes = document.get("attributes") or {}
        if isinstance(attributes.get(ATTRIBUTE), dict) and "format" in attributes[ATTRIBUTE]:
            backend.created()  # raises if a newer ringnb wrote it; what is a copy is known from now on
            copies = quote_names([e.name for e in backend.catalogue() if e.copy is not None])
            msg = f"{backend.url!r} is a store already" + (
                f": say which copies to adopt, of {copies}" if copies else " and holds no copies"
            )
            raise CheckpointError(msg)
    if missing:
        raise backend.refused(
            "it is a file" if missing[0].exists() else "there is no such directory"
        )
    if not sound:
        raise backend.refused("it holds no sound checkpoint that ringnb wrote")
    fresh = json.loads(root_document(store))
    # A group that has lost the mark may have attributes of the user's, which stay.
    return dump(document | fresh | {"attributes": attributes | fresh["attributes"]})


def _common_store(backend: Backend, names: list[str]) -> str:
    """Return the id that most checkpoints record as their store's, or a new one."""
    stores: Counter[str] = Counter()
    for name in names:
        raw = backend.source(name).read(DOCUMENT, MAX_DOCUMENT_BYTES)
        try:
            store = parse_document(name, raw or b"").record.get("store")
        except CheckpointCorrupt:
            continue  # changed since it was listed
        if store is not None:
            stores[store] += 1
    # The same one at a second try, whatever the order of the directory.
    return max(sorted(stores), key=stores.__getitem__) if stores else new_id()
