"""The version of ringnb: written in pyproject.toml, and read from there by everything else."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

__all__ = ["VERSION", "installed_version"]


def installed_version(name: str) -> str | None:
    """Return the version of an installed distribution, None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _own_version() -> str:
    """Ask the installation; in a source tree that was never installed, read pyproject.toml."""
    if (version := installed_version("ringnb")) is not None:
        return version
    try:
        project = tomllib.loads(
            (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8")
        )
        return str(project["project"]["version"])
    except (OSError, KeyError):
        return "0+unknown"  # a bare copy of the package's folder


VERSION = _own_version()
