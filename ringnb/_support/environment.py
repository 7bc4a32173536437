"""What a computation ran on, as far as its results may depend on it: versions, the CPU, the git commit.

Nothing here starts a program.
"""

from __future__ import annotations

import contextlib
import functools
import platform
import re
import sys
from pathlib import Path

from ringnb._support.version import VERSION

__all__ = ["environment", "git_commit"]

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


@functools.cache
def environment() -> dict[str, str]:
    """Return the versions that results depend on, and the CPU, by name; what is unknown is left out."""
    import llvmlite.binding  # noqa: PLC0415 - these load LLVM
    import numba  # noqa: PLC0415 - likewise
    import numpy as np  # noqa: PLC0415 - likewise

    found = {
        "ringnb": VERSION,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "llvm": ".".join(map(str, llvmlite.binding.llvm_version_info)),
        "cpu": _cpu(),
    }
    return {name: value for name, value in found.items() if value}


def _cpu() -> str | None:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model"):
                return " ".join(value.split())
    return platform.machine() or None


def git_commit(file: str) -> str | None:
    """Return the commit that is checked out where a source file lies; None if in no repository.

    If the file is the package's own, or exists nowhere as a notebook's cell does, then where the program
    lies, or the current directory.
    """
    own = Path(__file__).parents[1]
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    # A repository may be anything, readable or not.
    with contextlib.suppress(OSError, ValueError):
        for place in filter(None, (file, main)):
            path = Path(place).absolute()
            if path.is_file() and own not in path.parents and (commit := _commit_of(path.parent)):
                return commit
        return _commit_of(Path.cwd())
    return None


def _commit_of(directory: Path) -> str | None:
    git = next((p / ".git" for p in (directory, *directory.parents) if (p / ".git").exists()), None)
    if git is None:
        return None
    if git.is_file():  # of a worktree or a submodule
        git = git.parent / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
    head = (git / "HEAD").read_text(encoding="utf-8").strip()
    if head.startswith("ref:"):
        head = _resolve(git, head.removeprefix("ref:").strip())
    return head if _COMMIT.fullmatch(head) else None


def _resolve(git: Path, ref: str) -> str:
    """Return the commit of a branch, "" if it has none yet."""
    shared = git
    if (git / "commondir").exists():
        shared = git / (git / "commondir").read_text(encoding="utf-8").strip()
    for place in (git / ref, shared / ref):
        if place.is_file():
            return place.read_text(encoding="utf-8").strip()
    packed = shared / "packed-refs"
    if packed.is_file():
        for line in packed.read_text(encoding="utf-8").splitlines():
            commit, _, name = line.partition(" ")
            if name == ref:
                return commit
    return ""
