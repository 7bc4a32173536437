"""Lesson 5: what is left when a process is killed while it writes a checkpoint.

The parent watches the store's work area, where a commit is staged, and sends SIGKILL when a part of
a checkpoint is there. The victim is `ringnb.course.processes.writer`, in its own process.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy.typing as npt
import zarr
from zarr.abc.store import Store
from zarr.core.buffer import Buffer
from zarr.storage import LocalStore, WrapperStore

from ringnb._support.children import PythonChild
from ringnb.checkpoint import CheckpointStorage, ZarrStorage
from ringnb.checkpoint.storage.directory.work_area import work_area_of
from ringnb.course.checks import Passed, learners_code, require, wait_while
from ringnb.course.lesson_03 import files_of
from ringnb.errors import RingnbError
from ringnb.session.crank import POSITIONS
from ringnb.session.fault_injection import flip_bit

__all__ = ["Wreck", "check_05", "kill_between", "kill_while_writing", "write_and_crash"]

_ATTEMPTS = 8
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Wreck:
    """What a killed writer has left.

    Attributes
    ----------
    committed : tuple of str
        Names that the writer has reported as committed.
    writing : str
        The name that it was writing when it was killed.
    staged : dict of str to int
        Files of the unfinished commit in the work area: bytes.
    status : int
        The writer's exit status.
    """

    committed: tuple[str, ...]
    writing: str
    staged: dict[str, int]
    status: int


def kill_while_writing(store: Path, *, commits: int = 2, side: int = 3072) -> Wreck:
    """Let a process commit some checkpoints, and kill it while it writes the next one.

    Parameters
    ----------
    store : pathlib.Path
        A new store.
    commits : int, default 2
        Checkpoints that the writer finishes at least.
    side : int, default 3072
        Cells along an edge of the heated plate: 36 MiB, so that the kill can hit the commit.

    Returns
    -------
    Wreck
        What is left.

    Raises
    ------
    RingnbError
        If every kill came too late, or the writer ended by itself.
    """
    for _ in range(_ATTEMPTS):
        wreck = _kill_once(store, commits, side)
        if wreck is not None:
            return wreck
    msg = f"{_ATTEMPTS} kills came too late, after the commit: use a larger state than side={side}"
    raise RingnbError(msg)


def _kill_once(store: Path, commits: int, side: int) -> Wreck | None:
    """Run the writer and kill it; return None if the kill came after the commit."""
    arguments = ("-m", "ringnb.course.processes.writer", str(store), str(commits), str(side))
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "errors.txt"
        with PythonChild(*arguments, log=log) as writer:
            lines = itertools.islice(writer.lines(_PATIENCE_S), commits + 1)
            names = [line.split()[-1] for line in lines]
            if len(names) <= commits:
                msg = f"the writer ended by itself: {log.read_text().strip()}"
                raise RingnbError(msg)
            *committed, writing = names

            def not_begun() -> bool:
                return not _chunk_staged(store) and not (store / writing).exists()

            # Polled faster than a chunk is written.
            if not wait_while(not_begun, _PATIENCE_S, 0.0002):
                msg = f"the writer has staged nothing for {_PATIENCE_S:g} s: {log.read_text().strip()}"
                raise RingnbError(msg)
            status = writer.kill()
    # Between the last look and the kill the writer may have finished the commit, rightly.
    if (store / writing).exists() or not _chunk_staged(store):
        return None
    return Wreck(tuple(committed), writing, _staged(store), status)


def kill_between(store: Path, position: str) -> list[str]:
    """Let a process turn the crank of a second commit to a position, and kill it there.

    Parameters
    ----------
    store : pathlib.Path
        A new store.
    position : str
        One of ``ringnb.session.crank.POSITIONS``.

    Returns
    -------
    list of str
        The checkpoints that another process finds then.

    Raises
    ------
    RingnbError
        If the process ended by itself.
    """
    if position not in POSITIONS:
        msg = f"position must be one of {', '.join(POSITIONS)}; got {position!r}"
        raise ValueError(msg)
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "errors.txt"
        arguments = ("-m", "ringnb.course.processes.cranked", str(store), position)
        with PythonChild(*arguments, log=log) as process:
            if next(process.lines(_PATIENCE_S), None) is None:
                msg = f"the process ended by itself: {log.read_text().strip()}"
                raise RingnbError(msg)
            process.kill()
    with ZarrStorage(store) as storage:
        return storage.list()


def write_and_crash(
    place: Path, state: npt.NDArray[Any], chunks: tuple[int, ...], after: int, *, document: str
) -> None:
    """Write an array with plain zarr, in a process that crashes after some chunks.

    Parameters
    ----------
    place : pathlib.Path
        The array's directory.
    state : numpy.ndarray
        What it should hold.
    chunks : tuple of int
        Shape of a chunk.
    after : int
        How many chunks are written before the crash.
    document : str
        When the array's ``zarr.json`` is written: "first" or "last".
    """
    if document not in ("first", "last"):
        msg = f"document must be 'first' or 'last', got {document!r}"
        raise ValueError(msg)
    store = _Crashing(LocalStore(place), after, hold_back=document == "last")
    with zarr.config.set({"async.concurrency": 1}), suppress(_Crash):
        array = zarr.create_array(
            store, shape=state.shape, dtype=state.dtype, chunks=chunks, overwrite=True
        )
        array[:] = state


class _Crash(Exception):
    """The process is gone."""


@final
class _Crashing(WrapperStore[Store]):
    """Writes a number of chunks, and crashes; holds documents back, or does not."""

    def __init__(self, store: Store, after: int, *, hold_back: bool) -> None:
        super().__init__(store)
        self._left, self._hold_back = after, hold_back

    async def set(self, key: str, value: Buffer) -> None:
        if key.endswith("zarr.json"):
            if not self._hold_back:
                await super().set(key, value)
            return  # the crash comes before those that are held back
        if self._left == 0:
            raise _Crash
        self._left -= 1
        await super().set(key, value)


def _staged(store: Path) -> dict[str, int]:
    """List the files of an unfinished commit; the work area's own files are not among them."""
    return {k: n for k, n in files_of(work_area_of(store)).items() if "/" in k}


def _chunk_staged(store: Path) -> bool:
    """Return whether a part of a chunk is in the work area."""
    try:
        return any("/c." in key and size > 0 for key, size in _staged(store).items())
    except FileNotFoundError:  # the writer renamed a file while we looked
        return False


def check_05(newest_whole: Callable[[CheckpointStorage], object]) -> Passed:
    """Check a function that finds the checkpoint to restart from.

    Parameters
    ----------
    newest_whole : callable
        ``newest_whole(storage)`` returns the name of the newest checkpoint that verifies, or None.

    Returns
    -------
    Passed
        What was tried.

    Raises
    ------
    CheckFailed
        If it returns another name.
    """
    backwards = "go through storage.list() backwards; storage.load(name).verify() raises on damage"

    def expect(wanted: str | None, what: str, hint: str = backwards) -> None:
        """Call the learner's function on the store, opened anew."""
        with ZarrStorage(store) as storage, learners_code(hint):
            got = newest_whole(storage)
        require(got == wanted, f"{what}: {wanted!r} is right, you returned {got!r}", hint)

    with tempfile.TemporaryDirectory() as scratch:
        store = Path(scratch) / "wreck.zarr"
        expect(None, "the store is empty", "storage.list() of an empty store is an empty list")
        kill_while_writing(store, commits=5, side=1536)
        with ZarrStorage(store) as storage:
            older, names = storage.list()[:-5], storage.list()[-5:]
        for name in older:  # of writers whose kill came too late
            flip_bit(store, name)
        expect(names[4], "the writer was killed")
        flip_bit(store, names[1])
        expect(names[4], f"an older one, {names[1]!r}, is damaged, and the newest is not")
        flip_bit(store, names[4])
        expect(names[3], f"{names[4]!r} is damaged")
        next((store / names[3]).rglob("c.*")).unlink()
        expect(names[2], f"{names[3]!r} has lost a chunk as well")
        document = store / names[2] / "zarr.json"
        document.write_bytes(document.read_bytes()[:100])
        expect(
            names[0],
            f"four are damaged, of {names[2]!r} it is the document",
            "load may raise as well: catch rn.CheckpointCorrupt around both, and go on until one "
            "verifies, however many do not",
        )
        flip_bit(store, names[0])
        expect(None, "all of them are damaged", "after the loop, return None")
    return Passed(
        "one writer killed during a commit, five checkpoints damaged, the right answer every time"
    )
