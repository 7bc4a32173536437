"""What lies in the directory of an ensemble, and who writes it.

- ``ensemble.json``: what it is, steps, every, the members of each task; the process that launches it.
- ``0000.zarr``: the store of each task, of cuts of its members; the task.
- ``failed/NAME``: why a member goes on no more; its task.
- ``stop``: has all tasks end at their next checkpoints; `Ensemble.end`.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, final

from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage

__all__ = ["EnsembleFiles"]


@final
class EnsembleFiles:
    """The directory of an ensemble. Any thread; stores that were listed are listed fast again."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).expanduser().absolute()
        self._about, self._stop = self.root / "ensemble.json", self.root / "stop"
        self._failed = self.root / "failed"
        self._storages: dict[int, ZarrStorage] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Have it found again where it is unpickled."""
        return EnsembleFiles, (self.root,)

    @property
    def about(self) -> dict[str, Any] | None:
        """What the ensemble is; None if there is none."""
        try:
            about: dict[str, Any] = json.loads(self._about.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return about

    def write_about(self, about: dict[str, Any]) -> None:
        """Say what the ensemble is; a kill leaves what was there before."""
        self.root.mkdir(parents=True, exist_ok=True)
        _write_whole(self._about, json.dumps(about))

    @property
    def stops(self) -> bool:
        """Whether all tasks shall end at their next checkpoints."""
        return self._stop.exists()

    def stop(self, *, wanted: bool = True) -> None:
        """Have all tasks end at their next checkpoints, or no more."""
        if wanted:
            self._stop.touch()
        else:
            self._stop.unlink(missing_ok=True)

    def fail(self, member: str, why: str) -> None:
        """Note why a member goes on no more, unless that was noted already."""
        self._failed.mkdir(exist_ok=True)
        if not self.has_failed(member):
            _write_whole(self._failed / member, json.dumps(why))

    def has_failed(self, member: str) -> bool:
        """Return whether a member goes on no more."""
        return (self._failed / member).exists()

    def failed(self) -> dict[str, str]:
        """Return why members go on no more."""
        # A name never begins with a dot: what is half written does.
        return {
            file.name: json.loads(file.read_text(encoding="utf-8"))
            for file in sorted(self._failed.glob("[!.]*"))
        }

    def store(self, task: int) -> Path:
        """Return where the store of a task is."""
        return self.root / f"{task:04d}.zarr"

    def storage(self, task: int) -> ZarrStorage:
        """Return a task's store, to be read."""
        found = self._storages.get(task)
        if found is None:  # two threads may open it: all get the same one
            found = self._storages.setdefault(task, ZarrStorage(self.store(task)))
        return found

    def entries(self, task: int) -> Iterator[CheckpointInfo]:
        """Yield the checkpoints of a task's members, oldest first; of a cut the part of each."""
        for e in self.storage(task).catalogue():
            if not e.damaged and e.copy is None:
                yield from e.parts or (e,)

    def newest(self, tasks: Iterable[int]) -> dict[str, CheckpointInfo]:
        """Return the newest checkpoint of each member that has one."""
        return {e.kernel_id: e for task in tasks for e in self.entries(task)}


def _write_whole(path: Path, text: str) -> None:
    """Write a file that is seen whole or not at all, also after a kill or a power cut."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
