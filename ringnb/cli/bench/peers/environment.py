"""The environment that the peers run in: an existing one as it is, or a new one with all there is."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ringnb._support.text import say
from ringnb._support.version import installed_version
from ringnb.errors import RingnbError

__all__ = ["PACKAGES", "Environment", "EnvironmentFailed", "open_environment"]

PACKAGES = {
    "h5py": "h5py>=3.11",
    "jax": "jax>=0.5",
    "orbax": "orbax-checkpoint>=0.11",
    "taichi": "taichi>=1.7",
    "tensorstore": "tensorstore>=0.1.70",
    "torch": "torch>=2.5",
}
"""The peers beside NumPy, Numba and zarr: what each is installed from. Those of the extra, and torch."""

# Peers as well, in the versions that ringnb is measured with.
_SHARED = ("numba", "numpy", "zarr")


class EnvironmentFailed(RingnbError):
    """There is no environment for the peers."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A Python that can import peers, why some were not installed, and the versions that were met."""

    python: Path
    refused: dict[str, str]
    versions: dict[str, str]


@contextlib.contextmanager
def open_environment(directory: str | None, versions: dict[str, str]) -> Iterator[Environment]:
    """Yield the environment in a directory, built if there is none; without one, build it and remove it.

    `versions` takes those of the peers that are met.
    """
    with contextlib.ExitStack() as stack:
        if directory is None:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="ringnb-peers-"))
        where = Path(directory).absolute()
        python = where / "bin" / "python"
        if python.exists():
            yield Environment(python, {}, versions)
            return
        if where.exists() and any(where.iterdir()):
            msg = (
                f"--peers-env {directory!r} is neither an environment nor empty: it has no bin/python. "
                "Give the directory of a virtual environment, or a new one"
            )
            raise EnvironmentFailed(msg)
        yield Environment(python, _built(where, python), versions)


def _built(where: Path, python: Path) -> dict[str, str]:
    """Build an environment; return which peers could not be installed, and why."""
    say(f"builds an environment for the peers in {where}: minutes")
    venv.create(where, with_pip=True)
    shared = [f"{name}=={version}" for name in _SHARED if (version := installed_version(name))]
    done = _pip(python, "install", *shared)
    if done.returncode:
        msg = f"no environment for the peers could be built: {_why(done)}"
        raise EnvironmentFailed(msg)
    refused = {}
    for peer, requirement in PACKAGES.items():
        # One by one: what a peer lacks does not concern the others.
        planned = _pip(python, "install", "--dry-run", "--report", "-", requirement, *shared)
        if planned.returncode:
            refused[peer] = _why(planned)
        elif any(name.startswith("nvidia-") for name in _names(planned.stdout)):
            refused[peer] = "the index offers it for NVIDIA GPUs only, which takes gigabytes"
        elif (done := _pip(python, "install", requirement, *shared)).returncode:
            refused[peer] = _why(done)
    return refused


def _names(report: str) -> list[str]:
    """Return the names of what pip would install."""
    return [item["metadata"]["name"].lower() for item in json.loads(report)["install"]]


def _pip(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - no shell


def _why(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last error that pip names."""
    said = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    return said[-1].removeprefix("ERROR: ") if said else f"pip ended with {done.returncode}"
