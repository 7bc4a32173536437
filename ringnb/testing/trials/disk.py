"""What a disk may hold after a power cut: a model of a file system between two fsyncs.

The promises that the model relies on are those of POSIX and of journaling file systems, no more:

- An entry of a directory (created, linked, renamed, removed) is on the disk for sure once that
  directory, or the whole file system, was synced. Until then any selection of such changes may be
  there and the others not, in whatever order they were made.
- A rename is one change, also between two directories.
- A file's content is on the disk for sure once the file, or the whole file system, was synced. Until
  then it may be there, be cut off, be empty, be zeros, or be anything.

What happens inside directories from which no name of the store can be reached (staging, trash) only
makes litter, so of those changes not every selection is tried: all of them, none, and two at random.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ringnb.testing.trials.interposing import Operation

__all__ = ["Disk", "State"]

_EXHAUSTIVE = 10  # changes of entries, all selections of which are tried
_ROOT = 0
_CONTENTS = ("kept", "empty", "torn", "zeros", "garbage")


@dataclass(frozen=True)
class _Change:
    """Changes of directory entries that are made together: (directory, name) -> inode or nothing."""

    entries: tuple[tuple[int, str, int | None], ...]


@dataclass
class State:
    """What a disk holds: a tree of directories (dict) and files (bytes), by name."""

    tree: dict[str, object]

    def digest(self) -> bytes:
        """Return a value that two states share if they hold the same."""
        sha = hashlib.blake2b(digest_size=16)

        def add(tree: dict[str, object]) -> None:
            """Walk in order of names."""
            for name in sorted(tree):
                node = tree[name]
                sha.update(f"{name}\0{type(node).__name__}\0".encode())
                if isinstance(node, dict):
                    add(node)
                    sha.update(b"/")
                elif isinstance(node, bytes):
                    sha.update(len(node).to_bytes(8, "little") + node)

        add(self.tree)
        return sha.digest()

    def build(self, folder: Path) -> None:
        """Write it below an empty directory."""
        _build(self.tree, os.fspath(folder))


def _build(tree: dict[str, object], folder: str) -> None:
    for name, node in tree.items():
        path = f"{folder}/{name}"
        if isinstance(node, dict):
            os.mkdir(path)
            _build(node, path)
        elif isinstance(node, bytes):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            os.write(fd, node)
            os.close(fd)


@dataclass
class Disk:
    """A disk on which operations were made, each of which may have reached it or not."""

    base: Path  # a directory, itself durable, below which everything happens
    store: tuple[str, ...]  # the store's path in it, part by part
    _changes: list[_Change] = field(default_factory=list)
    _pending: list[int] = field(default_factory=list)  # indices into _changes
    _live: dict[tuple[int, str], int] = field(default_factory=dict)  # as the processes see it
    _folders: set[int] = field(default_factory=lambda: {_ROOT})
    _synced: dict[int, bytes] = field(default_factory=dict)
    _written: dict[int, bytes] = field(default_factory=dict)
    _inodes: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def apply(self, operation: Operation) -> None:
        """Add an operation that the system has acknowledged, in the order in which they were made."""
        kind = operation.kind
        if kind == "make_directory":
            inode = next(self._inodes)
            self._folders.add(inode)
            self._change((*self._place(operation.path), inode))
        elif kind == "create_file":
            inode = next(self._inodes)
            self._synced[inode] = b""
            self._change((*self._place(operation.path), inode))
        elif kind == "write_data":
            inode = self._inode(operation.path)
            before = self._written.get(inode, self._synced[inode])
            self._written[inode] = before + operation.data
        elif kind == "sync_file":
            inode = self._inode(operation.path)
            if inode in self._written:
                self._synced[inode] = self._written.pop(inode)
        elif kind == "sync_directory":
            inode = self._inode(operation.path)
            self._pending = [
                i for i in self._pending if all(e[0] != inode for e in self._changes[i].entries)
            ]
        elif kind == "sync_filesystem":
            self._pending = []
            self._synced |= self._written
            self._written = {}
        elif kind == "link":
            assert operation.target is not None
            self._change((*self._place(operation.target), self._inode(operation.path)))
        elif kind == "rename":
            assert operation.target is not None
            inode = self._inode(operation.path)
            self._change(
                (*self._place(operation.path), None), (*self._place(operation.target), inode)
            )
        elif kind in {"remove_file", "remove_directory"}:
            self._change((*self._place(operation.path), None))

    def _place(self, path: Path) -> tuple[int, str]:
        return self._inode(path.parent), path.name

    def _inode(self, path: Path) -> int:
        inode = _ROOT
        for part in path.relative_to(self.base).parts:
            inode = self._live[inode, part]
        return inode

    def _change(self, *entries: tuple[int, str, int | None]) -> None:
        self._pending.append(len(self._changes))
        self._changes.append(_Change(entries))
        for folder, name, inode in entries:
            self._live.pop((folder, name), None)
            if inode is not None:
                self._live[folder, name] = inode

    def states(self, random_: random.Random) -> Iterator[State]:
        """Yield every state that the disk may be in if the power fails now (a sample where too many).

        The first is the one in which everything arrived: that of a kill.
        """
        near = self._reachable()
        matter = [i for i in self._pending if any(e[0] in near for e in self._changes[i].entries)]
        litter = [i for i in self._pending if i not in matter]
        for lost in self._selections(matter, random_):
            for lost_litter in self._of_litter(litter, random_):
                entries = self._entries({*lost, *lost_litter})
                yield from self._with_contents(entries, random_)
                if lost:
                    break  # litter does not depend on what else was lost

    def _selections(self, pending: list[int], random_: random.Random) -> Iterator[tuple[int, ...]]:
        if len(pending) <= _EXHAUSTIVE:
            for count in range(len(pending) + 1):
                yield from itertools.combinations(pending, count)
        else:
            yield ()
            yield tuple(pending)
            for _ in range(2**_EXHAUSTIVE):
                yield tuple(i for i in pending if random_.random() < 0.5)

    def _of_litter(self, litter: list[int], random_: random.Random) -> Iterator[tuple[int, ...]]:
        yield ()
        if litter:
            yield tuple(litter)
            for _ in range(2):
                yield tuple(i for i in litter if random_.random() < 0.5)

    def _reachable(self) -> set[int]:
        """Return the directories in which a change can be seen through the store."""
        found = {(_ROOT, 0)}
        while True:
            more = {
                (inode, min(depth + 1, len(self.store)))
                for change in self._changes
                for folder, name, inode in change.entries
                for depth in range(len(self.store) + 1)
                if inode is not None
                and inode in self._folders
                and (folder, depth) in found
                and self._leads_on(depth, name)
            }
            if more <= found:
                return {inode for inode, _ in found}
            found |= more

    def _leads_on(self, depth: int, name: str) -> bool:
        return depth == len(self.store) or name == self.store[depth]

    def _entries(self, lost: set[int]) -> dict[int, dict[str, int]]:
        entries: dict[int, dict[str, int]] = {}
        for i, change in enumerate(self._changes):
            if i in lost:
                continue
            for folder, name, inode in change.entries:
                place = entries.setdefault(folder, {})
                place.pop(name, None)
                if inode is not None:
                    place[name] = inode
        return entries

    def _with_contents(
        self, entries: dict[int, dict[str, int]], random_: random.Random
    ) -> Iterator[State]:
        """Yield a tree of entries with everything that unsynced files may hold."""
        visible = self._files(entries, _ROOT, 0)
        unsynced = sorted(visible & set(self._written))
        if len(unsynced) <= 3:
            choices: Iterator[tuple[str, ...]] = itertools.product(_CONTENTS, repeat=len(unsynced))
        else:
            everything = [tuple([how] * len(unsynced)) for how in _CONTENTS]
            choices = iter(
                everything + [tuple(random_.choices(_CONTENTS, k=len(unsynced))) for _ in range(40)]
            )
        for choice in choices:
            contents = dict(zip(unsynced, choice, strict=True))
            yield State(self._tree(entries, _ROOT, contents))

    def _files(self, entries: dict[int, dict[str, int]], inode: int, depth: int) -> set[int]:
        if inode not in self._folders:
            return {inode}
        found: set[int] = set()
        for name, child in entries.get(inode, {}).items():
            if self._leads_on(depth, name):
                found |= self._files(entries, child, min(depth + 1, len(self.store)))
        return found

    def _tree(
        self, entries: dict[int, dict[str, int]], folder: int, contents: dict[int, str]
    ) -> dict[str, object]:
        tree: dict[str, object] = {}
        for name, inode in entries.get(folder, {}).items():
            if inode in self._folders:
                tree[name] = self._tree(entries, inode, contents)
            else:
                full = self._written.get(inode, self._synced[inode])
                tree[name] = _content(full, self._synced[inode], contents.get(inode, "kept"))
        return tree


def _content(full: bytes, synced: bytes, how: str) -> bytes:
    match how:
        case "empty":
            return synced
        case "torn":
            return full[: len(full) // 2]
        case "zeros":
            return bytes(len(full))
        case "garbage":
            return bytes((b * 167 + 13 + i) % 256 for i, b in enumerate(full))
        case _:
            return full
