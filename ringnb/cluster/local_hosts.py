"""Hosts: detached processes of this user on this machine, in which runs live. ``ringnb host``.

A host is a scheduler and some workers of Dask's, in a session of its own (``setsid``): it outlives the
notebook that has started it. What is needed to reach it lies in a directory of its own that only the
user can read: address, process, and the key and certificate (TLS, both ways) that let nobody else in.
A host holds a lock on that directory as long as it lives: one that was killed is known to be dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, final

from distributed.security import Security

from ringnb._support.checks import check_int, check_seconds
from ringnb._support.children import child_environment
from ringnb.errors import ClusterError, ClusterUnavailable

__all__ = ["HostInfo", "hosts", "lock", "make_security", "record", "security_for", "start", "stop"]

_START_S = 300.0  # on a busy machine; one that dies is seen at once
_STOP_S = 60.0
_KEY, _CERTIFICATE, _RECORD, _LOCK, _LOG = "key.pem", "cert.pem", "host.json", "lock", "log.txt"


@final
@dataclass(frozen=True, slots=True)
class HostInfo:
    """A host that runs on this machine.

    Attributes
    ----------
    address : str
        Where it is reached, as `launch` and `attach` take it.
    pid : int
        Its process.
    workers, threads : int
        Its workers, and the runs that each has a place for.
    log : str
        The file of its log.
    """

    address: str
    pid: int
    workers: int
    threads: int
    log: str


def start(
    workers: int = 2,
    threads: int = 4,
    *,
    idle_timeout: float | None = None,
) -> str:
    """Start a host on this machine, which outlives this process.

    Parameters
    ----------
    workers : int, default 2
        Processes that runs live in. One that dies is started again.
    threads : int, default 4
        For how many runs each has a place.
    idle_timeout : float, optional
        Seconds without any run after which it ends. None: it waits for `stop`.

    Returns
    -------
    str
        Its address.

    Raises
    ------
    ClusterError
        If it does not start; the message has the end of its log.
    TypeError, ValueError
        If an argument is not allowed.
    """
    workers = check_int(workers, "workers", 1, 1024)
    threads = check_int(threads, "threads", 1, 1024)
    idle = None if idle_timeout is None else check_seconds(idle_timeout, "idle_timeout")
    _base().mkdir(mode=0o700, parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="host-", dir=_base()))  # which only the user can read
    log = place / _LOG
    arguments = [str(place), str(workers), str(threads), str(idle or 0)]
    with log.open("ab") as out:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, no shell
            [sys.executable, "-m", "ringnb.cluster.host_process", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=child_environment(),
            cwd=place,  # it must not keep a directory of the user's in use
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_S
    while (found := _read(place)) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            end = " / ".join(log.read_text(errors="replace").splitlines()[-3:])
            msg = f"the host did not start: {end or 'it wrote nothing'}; the whole log is {log}"
            raise ClusterError(msg)
        time.sleep(0.02)
    process.returncode = 0  # it is no child to be waited for any more: without a warning at the end
    return found.address


def hosts() -> tuple[HostInfo, ...]:
    """Return the hosts of this user that run on this machine; what dead ones have left is removed.

    Returns
    -------
    tuple of HostInfo
        In no particular order.
    """
    found = []
    for place in sorted(_base().glob("host-*")):
        host = _read(place)
        if host is not None:
            found.append(host)
        elif (place / _RECORD).exists() and not _is_locked(place):
            shutil.rmtree(place, ignore_errors=True)
    return tuple(found)


def stop(address: str) -> None:
    """End a host: every run commits what has changed, and ends.

    Parameters
    ----------
    address : str
        The host's, as `start` has returned it.

    Raises
    ------
    ClusterUnavailable
        If there is no such host on this machine.
    """
    place = _place_of(address)
    host = None if place is None else _read(place)
    if place is None or host is None:
        there = ", ".join(h.address for h in hosts()) or "none"
        msg = f"there is no host at {address!r} on this machine; there are: {there}"
        raise ClusterUnavailable(msg)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(host.pid, number)
        if _ends(place):
            break
    shutil.rmtree(place, ignore_errors=True)


def security_for(address: str) -> Security | None:
    """Return what lets this user into a host of this machine; None for any other cluster."""
    place = _place_of(address)
    return None if place is None else _security_in(place)


def _security_in(place: Path) -> Security:
    """Return a host's key and certificate; it has one for all roles, and trusts it alone."""
    key, certificate = str(place / _KEY), str(place / _CERTIFICATE)
    roles = {
        f"tls_{role}_{what}": file
        for role in ("client", "scheduler", "worker")
        for what, file in (("key", key), ("cert", certificate))
    }
    return Security(require_encryption=True, tls_ca_file=certificate, **roles)


def make_security(place: Path) -> Security:
    """Make a host's key and certificate, in files that only the user can read."""
    made = Security.temporary()
    for name, text in ((_KEY, made.tls_client_key), (_CERTIFICATE, made.tls_client_cert)):
        _write_privately(place / name, text)
    return _security_in(place)


def record(place: Path, address: str, workers: int, threads: int) -> None:
    """Say where a host is; the file appears whole."""
    facts = {"address": address, "pid": os.getpid(), "workers": workers, "threads": threads}
    _write_privately(place / f"{_RECORD}.new", json.dumps(facts))
    (place / f"{_RECORD}.new").rename(place / _RECORD)


def lock(place: Path) -> IO[str]:
    """Lock a host's directory for the life of this process."""
    file = (place / _LOCK).open("w", encoding="utf-8")
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def _write_privately(path: Path, text: str) -> None:
    # Never readable by others, not even before a chmod.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def _base() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "ringnb" / platform.node()  # a home directory may be several machines'


def _is_locked(place: Path) -> bool:
    try:
        with (place / _LOCK).open("r", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def _read(place: Path) -> HostInfo | None:
    """Return a host that lives; None if it has not yet begun, or was killed."""
    try:
        facts: dict[str, Any] = json.loads((place / _RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return HostInfo(**facts, log=str(place / _LOG)) if _is_locked(place) else None


def _place_of(address: str) -> Path | None:
    for place in _base().glob("host-*"):
        host = _read(place)
        if host is not None and host.address == address:
            return place
    return None


def _ends(place: Path) -> bool:
    deadline = time.monotonic() + _STOP_S
    while _is_locked(place):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
