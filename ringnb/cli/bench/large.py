"""Cases about large states: how much memory saving and loading takes beside the state itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from ringnb._support.children import run_python
from ringnb.cli.bench.measuring import Row, Scale

__all__ = ["large"]

_MIB = 2**20
# What a process holds beyond what it held before, at most: the kernel keeps the high-water mark of
# resident memory and sets it back when "5" is written to clear_refs.
_CHILD = """
import sys
from pathlib import Path
import numpy as np
from ringnb.checkpoint.storage.base import Snapshot
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage

place, kind, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
WIDTH = 1 << 18  # a row of float32 is 1 MiB

def status(key):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024

def extra(work):
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    work()
    print(status("VmHWM") - before, flush=True)

def block(first, last):
    return np.add.outer(np.arange(first, last, dtype="f4"), np.zeros(WIDTH, "f4"))

class Slabs:
    shape, dtype = (rows, WIDTH), np.dtype("f4")
    def __getitem__(self, box):
        assert box[1] in (slice(None), slice(0, WIDTH))
        return block(box[0].start, box[0].stop)

def save(field):
    storage.save("large_0_step_1", Snapshot({"u": field}, "large", "large", "large", 0, 1, 1))

def look_at_slabs():
    field = storage.load("large_0_step_1")["u"]
    for first in range(0, rows, 16):
        slab = field[first : first + 16]
        if slab[0, 0] != first or slab[-1, -1] != first + len(slab) - 1:
            raise SystemExit("wrong data")

storage = ZarrStorage(place)
tiny = Snapshot({"u": np.zeros((4, 4), "f4")}, "tiny", "tiny", "tiny", 0, 1, 1)
storage.save("tiny_0_step_1", tiny)  # imports, threads and the lock are there now
storage.load("tiny_0_step_1").numpy()
if kind == "array":
    state = np.empty((rows, WIDTH), "f4")
    for first in range(rows):
        state[first] = first
    extra(lambda: save(state))
    state[:] = 0
    checkpoint = storage.load("large_0_step_1")
    extra(lambda: checkpoint.read_into("u", state))
    if state[0, 0] != 0 or state[-1, -1] != rows - 1:
        raise SystemExit("wrong data")
else:
    extra(lambda: save(Slabs()))
    extra(look_at_slabs)
extra(lambda: storage.load("large_0_step_1").verify())
storage.close()
"""


def large(scale: Scale) -> Iterator[Row]:
    """Save, load and verify 1 GiB in memory, and 8 GiB that never is in memory as a whole."""
    if not Path("/proc/self/clear_refs").exists():
        return
    cases = [("array", 128 if scale.quick else 1024, "an array in memory, read back into it")]
    if not scale.quick:
        cases.append(("slabs", 8192, "lazily read slabs of 16 MiB"))
    for kind, rows, what in cases:
        place = scale.directory / f"large-{kind}.zarr"
        done = run_python("-c", _CHILD, place, kind, str(rows), check=True)
        shutil.rmtree(place)
        extra = [int(line) / _MIB for line in done.stdout.split()]
        size = f"{rows >> 10} GiB" if rows >= 1024 else f"{rows} MiB"
        verbs = {"save": "saving", "load": "loading", "verify": "verifying"}
        for (key, verb), value in zip(verbs.items(), extra, strict=True):
            words = f"memory beside the buffer, {verb} {size}: {what}"
            yield Row(f"memory_{kind}_{key}", words, [value], "MiB", "<=", 64.0)
