"""`ringnb doctor`: whether everything is there and works on this machine.

The command line calls it. It looks packages up without importing those that it only reports on, asks
the NVIDIA driver through its own program and with a time limit, and then does for real, in a temporary
directory, what a session does: launch, step, snapshot, commit, verify, restore.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ringnb._support.machine import available_cores, cpu_quota
from ringnb._support.text import one_line, say
from ringnb._support.version import VERSION, installed_version

__all__ = ["Finding", "run"]

_NEEDED = ("numba", "numpy", "zarr", "google-crc32c", "matplotlib", "tqdm")
_OPTIONAL = {
    "xarray": ("to_xarray() and labelled data", "ringnb[xarray]"),
    "ipywidgets": ("the control panels in notebooks", "ringnb[widgets]"),
    "anywidget": ("the control panels in notebooks", "ringnb[widgets]"),
    "jupyterlab": ("ringnb lab", "ringnb[lab]"),
    "pdoc": ("ringnb docs", "ringnb[docs]"),
}
_DRIVER_LIMIT_S = 5.0


class Finding(NamedTuple):
    """One line of the report."""

    mark: str  # "ok": as it should be; "--": worth knowing; "FAIL": needed and does not work
    what: str
    found: str  # and the remedy, where one is needed


def run() -> int:
    """Print the report, each line as soon as it is known; return 1 if something needed does not work."""
    failed = 0
    for title, findings in (
        ("Versions", _versions),
        ("Machine", _machine),
        ("File system of the current directory", _file_system),
        ("GPU", _gpu),
        ("Live check: a small kernel on the CPU", _live),
    ):
        say(title)
        for finding in findings():
            failed += finding.mark == "FAIL"
            say(f"  {finding.mark:<4}  {finding.what:<15}  {finding.found}")
        say()
    say(
        "Everything needed works."
        if not failed
        else f"{failed} of the checks failed, see FAIL above."
    )
    return int(failed > 0)


def _versions() -> Iterator[Finding]:
    yield Finding("ok", "ringnb", VERSION)
    yield Finding("ok", "Python", f"{platform.python_version()} at {sys.executable}")
    for name in _NEEDED:
        version = installed_version(name)
        if version is None:
            yield Finding("FAIL", name, f"missing, needed: pip install {name}")
        else:
            yield Finding("ok", name, version)
    yield _checksums()
    for name, (purpose, extra) in _OPTIONAL.items():
        version = installed_version(name)
        if version is None:
            found = f"not installed; for {purpose}: pip install '{extra}'"
            yield Finding("--", name, found)
        else:
            yield Finding("ok", name, version)


def _checksums() -> Finding:
    what = "CRC-32C"
    try:
        import google_crc32c

        compiled = google_crc32c.implementation == "c"
    except Exception as error:  # noqa: BLE001 - any failure of the import is the finding
        return Finding("FAIL", what, f"google-crc32c cannot be imported: {error}")
    if compiled:
        return Finding("ok", what, "compiled")
    found = "pure Python, a thousand times slower: pip install --force-reinstall google-crc32c"
    return Finding("FAIL", what, found)


def _machine() -> Iterator[Finding]:
    yield Finding("ok", "platform", f"{platform.platform()} ({platform.machine()})")
    usable = available_cores()
    note = "" if usable > 1 else "; kernel and writer share one: stepping slows during commits"
    if (quota := cpu_quota()) is not None:
        note = f", by a quota of {quota:g} cores on this container{note}"
    yield Finding("ok" if usable > 1 else "--", "CPU cores", f"{usable} usable{note}")
    yield _compiled_code()


def _compiled_code() -> Finding:
    """Say where compiled code is kept, and whether it can be."""
    what = "compiled code"
    try:
        from ringnb.kernel.caching import find_cache

        place, refusals = find_cache()
        if place is None:
            advice = "every process compiles anew; set NUMBA_CACHE_DIR to a directory of yours"
            return Finding("--", what, f"is not kept ({refusals}): {advice}")
        size = sum(file.stat().st_size for file in place.parent.glob("compiled-*/*"))
        passed_over = f"; not used: {refusals}" if refusals else ""
        return Finding("ok", what, f"kept in {place}, {size / 1e6:.1f} MB{passed_over}")
    except Exception as error:  # noqa: BLE001 - any failure here is the finding
        return Finding("--", what, f"cannot be looked at: {type(error).__name__}: {error}")


def _file_system() -> Iterator[Finding]:
    here = Path.cwd()
    try:
        scratch = tempfile.mkdtemp(prefix=".ringnb-doctor-", dir=here)
    except OSError as error:
        found = f"{here} cannot be written ({error.strerror}): give a storage_path elsewhere"
        yield Finding("--", "writing", found)
        return
    try:
        for what, attempt in (
            ("fsync", _try_fsync),
            ("rename", _try_rename),
            ("flock", _try_flock),
        ):
            yield _time(what, attempt, Path(scratch))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _time(what: str, attempt: Callable[[Path], str], scratch: Path) -> Finding:
    began = time.perf_counter()
    try:
        found = attempt(scratch)
    except OSError as error:
        return Finding("FAIL", what, f"{error}; give a storage_path on a local disk")
    return Finding("ok", what, f"{found}, {(time.perf_counter() - began) * 1e3:.2f} ms")


def _try_fsync(scratch: Path) -> str:
    with (scratch / "file").open("wb") as file:
        file.write(b"x" * 4096)
        file.flush()
        os.fsync(file.fileno())
    _sync_directory(scratch)
    return "4 KiB file and its directory made durable"


def _try_rename(scratch: Path) -> str:
    (scratch / "staged").mkdir()
    (scratch / "staged").rename(scratch / "published")
    if (scratch / "staged").exists() or not (scratch / "published").is_dir():
        msg = "a renamed directory is still under its old name"
        raise OSError(msg)
    _sync_directory(scratch)
    return "a directory moved in one step"


def _try_flock(scratch: Path) -> str:
    import fcntl

    with (scratch / "lock").open("w") as first, (scratch / "lock").open("w") as second:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            msg = "two holders got the same exclusive lock"
            raise OSError(msg)
    return "one holder at a time"


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _gpu() -> Iterator[Finding]:
    from ringnb.kernel.cuda.availability import toolkit_versions, why_unavailable

    reason = why_unavailable()
    if reason is None:
        from ringnb.kernel.cuda.self_test import why_not_trusted

        reason = why_not_trusted()
    yield (
        Finding("ok", "backend 'cuda'", "usable: a small kernel ran on it, with the CPU's bits")
        if reason is None
        else Finding("--", "backend 'cuda'", f"not usable, the CPU is: {reason}")
    )
    program = shutil.which("nvidia-smi")
    if program is None:
        yield Finding("--", "NVIDIA driver", "no nvidia-smi on PATH")
    else:
        yield Finding("--", "NVIDIA driver", _ask_driver(program))
    version = installed_version("numba-cuda")
    yield Finding(
        "--", "numba-cuda", "not installed" if version is None else f"{version} installed"
    )
    if parts := toolkit_versions():
        found = ", ".join(f"{name} {version}" for name, version in parts.items())
        yield Finding("--", "CUDA toolkit", found)


def _ask_driver(program: str) -> str:
    try:
        answer = subprocess.run(  # noqa: S603 - the path that PATH names, no shell
            [program, "-L"], capture_output=True, text=True, timeout=_DRIVER_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"nvidia-smi -L did not answer within {_DRIVER_LIMIT_S:g} s"
    except OSError as error:
        return f"nvidia-smi cannot be run: {error.strerror}"
    lines = [
        line.split(" (UUID")[0] for line in answer.stdout.splitlines() if line.startswith("GPU")
    ]
    if answer.returncode or not lines:
        words = " ".join((answer.stderr or answer.stdout).split())
        return f"nvidia-smi -L failed with status {answer.returncode}: {words or 'no message'}"
    return "; ".join(lines)


def _live() -> Iterator[Finding]:
    try:
        with tempfile.TemporaryDirectory(prefix="ringnb-doctor-") as scratch:
            yield from _round_trip(Path(scratch))
    except Exception as error:  # noqa: BLE001 - any failure here is the finding
        yield Finding("FAIL", "session", f"{type(error).__name__}: {one_line(error)}")


def _round_trip(scratch: Path) -> Iterator[Finding]:
    """Do what a session does, once, and compare what came back."""
    import numpy as np

    from ringnb import actors
    from ringnb.checkpoint import CheckpointConfig
    from ringnb.session.session import Session

    clock = _Clock()
    config = CheckpointConfig(storage_path=scratch / "s.zarr", enabled=False)
    with Session(actors.Wave2D((64, 64)), config=config, backend="cpu") as session:
        session.inject(0, at=(20, 20))
        yield clock.finding("launch", "kernel compiled (or loaded from the cache) and running")
        session.run_steps(0, 100, timeout=60.0)
        yield clock.finding("step", "100 steps of a 64 x 64 wave")
        checkpoint = session.snapshot(0, timeout=60.0)
        yield clock.finding("checkpoint", f"captured and committed, {checkpoint.nbytes} bytes")
        checkpoint.verify()
        yield clock.finding("verify", "every byte as committed")
        session.run_steps(0, 50, timeout=60.0)
        first = session.snapshot(0, timeout=60.0).numpy()
        clock.restart()
        session.restore(0, checkpoint)
        yield clock.finding("restore", f"the live actor is back at step {checkpoint.step}")
        session.run_steps(0, 50, timeout=60.0)
        again = session.snapshot(0, timeout=60.0).numpy()
        same = all(np.array_equal(first[name], again[name]) for name in first)
    clock.restart()
    if same:
        yield Finding("ok", "replay", "50 steps after the restore are bit-identical")
    else:
        yield Finding("FAIL", "replay", "the steps after the restore differ: please report this")


class _Clock:
    """Times one stage after another."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._began = time.perf_counter()

    def finding(self, what: str, found: str) -> Finding:
        took_ms = (time.perf_counter() - self._began) * 1e3
        self.restart()
        return Finding("ok", what, f"{found}, {took_ms:.1f} ms")
