"""Lesson 5: a process that is killed while it writes a checkpoint, and what is found afterwards.

The parent watches the store's side directory, where a commit is staged, and sends SIGKILL when part of
a checkpoint lies there. What gets killed is `ringnb.course.processes.writer`, in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ringnb.checkpoint import CheckpointStorage, ZarrStorage
from ringnb.checkpoint.storage.directory.work_area import work_area_of
from ringnb.course.checks import Passed, learners_code, require
from ringnb.course.lesson_03 import files_of
from ringnb.errors import RingnbError
from ringnb.session.fault_injection import flip_bit

__all__ = ["Wreck", "check_05", "kill_while_writing"]

_ATTEMPTS = 8
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Wreck:
    """What a killed writer left.

    Attributes
    ----------
    committed : tuple of str
        Names that the writer had reported as committed before it began the last one.
    writing : str
        The name that it was writing.
    staged : dict of str to int
        Files of the unfinished commit in the side directory, and their bytes.
    status : int
        The writer's exit status.
    """

    committed: tuple[str, ...]
    writing: str
    staged: dict[str, int]
    status: int


def kill_while_writing(store: Path, *, commits: int = 2, side: int = 3072) -> Wreck:
    """Let a process commit a few checkpoints, and kill it while it writes the next.

    Parameters
    ----------
    store : pathlib.Path
        A new store.
    commits : int, default 2
        Checkpoints that the writer finishes at least.
    side : int, default 3072
        Cells along an edge of the heated plate: 36 MiB, so that there is time to aim.

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
    msg = f"{_ATTEMPTS} kills came after the commit: take a larger state than side={side}"
    raise RingnbError(msg)


def _kill_once(store: Path, commits: int, side: int) -> Wreck | None:
    command = [
        sys.executable,
        "-m",
        "ringnb.course.processes.writer",
        str(store),
        str(commits),
        str(side),
    ]
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(  # noqa: S603 - our own interpreter, no shell
            command, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as writer:
            assert writer.stdout is not None
            try:
                said = [writer.stdout.readline().split() for _ in range(commits + 1)]
                if not all(said):
                    errors.seek(0)
                    msg = f"the writer ended by itself: {errors.read().strip()}"
                    raise RingnbError(msg)
                until = time.monotonic() + _PATIENCE_S
                while writer.poll() is None and time.monotonic() < until and not _half(store):
                    time.sleep(0.0002)  # less than a chunk takes
            finally:
                writer.kill()
        *committed, (_, writing) = said
    names = tuple(name for _, name in committed)
    # Between the last look and the kill it may have got done, and be listed rightly.
    if (store / writing).exists() or not _half(store):
        return None
    return Wreck(names, writing, _staged(store), writer.returncode)


def _staged(store: Path) -> dict[str, int]:
    return {k: n for k, n in files_of(work_area_of(store)).items() if "/" in k}


def _half(store: Path) -> bool:
    try:
        return any("/c." in key and size > 0 for key, size in _staged(store).items())
    except FileNotFoundError:  # renamed while we looked
        return False


def check_05(newest_whole: Callable[[CheckpointStorage], object]) -> Passed:
    """Check a way to find the checkpoint to restart from.

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
        If it returns another one.
    """
    hint = "go through storage.list() from its end; storage.load(name).verify() raises if it is damaged"

    def ask(store: Path, hint: str = hint) -> object:
        """Ask the learner's function."""
        with ZarrStorage(store) as storage, learners_code(hint):
            return newest_whole(storage)

    with tempfile.TemporaryDirectory() as scratch:
        store = Path(scratch) / "wreck.zarr"
        empty = "the first store that is asked about is empty: there is nothing to go through"
        got = ask(store, empty)
        require(got is None, f"a store that does not exist has none, you returned {got!r}", empty)
        wreck = kill_while_writing(store, commits=3, side=2048)
        first, second, third = wreck.committed[-3:]
        got = ask(store)
        require(got == third, f"after the kill {third!r} is the newest, you returned {got!r}", hint)
        flip_bit(store, third)
        got = ask(store)
        require(
            got == second, f"with {third!r} damaged it is {second!r}, you returned {got!r}", hint
        )
        document = store / second / "zarr.json"
        document.write_bytes(document.read_bytes()[:100])
        got = ask(store)
        require(
            got == first,
            f"with {second!r} cut off as well it is {first!r}, you returned {got!r}",
            "load may raise as well: catch rn.CheckpointCorrupt around both",
        )
        flip_bit(store, first)
        got = ask(store)
        require(got is None, f"with all of them damaged there is none, you returned {got!r}", hint)
    return Passed(
        "one writer killed in the act, three checkpoints damaged, never a wrong one offered"
    )
