"""What this process may use of the machine. It imports nothing of ringnb."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["available_cores", "cpu_quota"]


def available_cores() -> int:
    """Return the cores that this process may use; a container or a batch system may grant fewer."""
    cores, quota = _cores(), cpu_quota()
    return cores if quota is None else max(1, int(quota))


def cpu_quota(proc: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> float | None:
    """Return how many cores' time the container grants, if that is less than all cores that it shows.

    Linux stops all threads of a container that has used up its time, until the next tenth of a second.
    """
    found = list(_quotas(Path(proc), Path(root)))
    return min(found) if found and min(found) < _cores() else None


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(proc: Path, root: Path) -> Iterator[float]:
    """Yield the quotas, in cores, of the control groups that this process is in; none elsewhere."""
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = proc.read_text().splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "cpu" if controllers else root  # version 1 of control groups, or 2
        files = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if controllers else ("cpu.max",)
        # A container may see its own group as the root, and still be told the path outside.
        for group in (PurePosixPath(path), *PurePosixPath(path).parents):
            with contextlib.suppress(OSError, ValueError):  # "max", or nothing: no quota here
                folder = base / str(group).lstrip("/")
                quota, period = map(int, " ".join((folder / f).read_text() for f in files).split())
                if quota > 0 and period > 0:
                    yield quota / period
