"""Where the demo writes: a directory that is new, empty, or its own; nothing is ever overwritten.

A directory that the demo has claimed holds a marker file. The first run writes into ``DIR`` itself,
later ones into ``DIR/run-2``, ``DIR/run-3``, …. Deleting them is left to the user.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from pathlib import Path
from typing import final

from ringnb.errors import RingnbError

__all__ = ["MARKER", "ForeignDirectory", "OutputDirectory"]

MARKER = "ringnb-demo.json"


class ForeignDirectory(RingnbError):
    """The directory holds something that the demo did not make."""


@final
class OutputDirectory:
    """A directory claimed for one run: `out`, or a new one below it if an earlier run has that.

    Raise `ForeignDirectory` if `out` is a file or holds what no demo made, `OSError` if it cannot be
    made or written.
    """

    def __init__(self, out: str) -> None:
        wanted = Path(out)
        if wanted.exists() and not wanted.is_dir():
            msg = f"--out {out!r} is a file: give a directory, which may be new"
            raise ForeignDirectory(msg)
        self._made = not wanted.exists()
        wanted.mkdir(parents=True, exist_ok=True)
        if any(wanted.iterdir()) and not _is_claimed(wanted):
            msg = (
                f"--out {out!r} is not empty and was not made by ringnb demo: give a new or an "
                "empty directory"
            )
            raise ForeignDirectory(msg)
        self.path = wanted if _claim(wanted) else self._next_run(wanted)
        self.store = self.path / "checkpoints.zarr"
        self.reference = self.path / "uninterrupted.zarr"
        self.log = self.path / "processes.log"

    def _next_run(self, wanted: Path) -> Path:
        for run in itertools.count(2):
            directory = wanted / f"run-{run}"
            with contextlib.suppress(FileExistsError):
                directory.mkdir()  # ours alone, even if another demo starts now
                _claim(directory)
                self._made = True
                break
        return directory

    def remove_if_unused(self) -> None:
        """Take the claim back if the run left neither store nor figure."""
        with contextlib.suppress(OSError):
            if {p.name for p in self.path.iterdir()} <= {MARKER, self.log.name}:
                self.log.unlink(missing_ok=True)
                (self.path / MARKER).unlink()
                if self._made:
                    self.path.rmdir()


def _is_claimed(directory: Path) -> bool:
    try:
        written = json.loads((directory / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(written, dict) and "ringnb_demo" in written


def _claim(directory: Path) -> bool:
    """Put the marker into a directory, unless one is there: exclusive, also between processes."""
    try:
        with (directory / MARKER).open("x", encoding="utf-8") as marker:
            json.dump({"ringnb_demo": 1}, marker)
    except FileExistsError:
        return False
    return True
