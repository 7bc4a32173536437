"""What the notebook about runs in other processes calls: another notebook, a worker's process.

The extra ``cluster`` may be missing: nothing here imports it before it is called.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any, final

from ringnb._support.children import child_environment
from ringnb.course.checks import WithoutTraceback
from ringnb.errors import RingnbError

__all__ = ["OtherNotebook", "need_cluster", "worker_pid"]

_PATIENCE_S = 120.0


class _NotHere(WithoutTraceback, RingnbError):
    """The notebook cannot go on here; it shows this as one line that says what to do."""


def need_cluster() -> ModuleType:
    """Return `ringnb.cluster`, or end the notebook's run with a line that says what to install.

    Returns
    -------
    module
        The package.

    Raises
    ------
    RingnbError
        If the extra is missing.
    """
    try:
        from ringnb import cluster  # noqa: PLC0415 - an optional dependency
    except ImportError as error:
        msg = (
            f"{error}. Until then no cell below can run, and what the text says of them is not seen"
        )
        raise _NotHere(msg) from error
    return cluster


def worker_pid(address: str, worker: str | None = None) -> int:
    """Return the process of a host's worker.

    Parameters
    ----------
    address : str
        The host's.
    worker : str, optional
        The worker's address, as a run's record has it; by default one of those that have a run. A run
        that was just launched is waited for until a worker has it.

    Returns
    -------
    int
        Its number, as ``os.kill`` takes it.

    Raises
    ------
    RingnbError
        If there is no such worker.
    """
    from ringnb.cluster import runs  # noqa: PLC0415 - an optional dependency
    from ringnb.cluster.connection import connected  # noqa: PLC0415 - likewise

    with connected(address) as client:
        until = time.monotonic() + _PATIENCE_S
        while worker is None and time.monotonic() < until:
            found = [run for run in runs(client) if run.state not in ("ended", "failed")]
            worker = next((run.worker for run in found if run.state == "running"), None)
            if not found:
                break
            if worker is None:
                time.sleep(0.02)
        processes = client.run(os.getpid)
    if worker not in processes:
        what = "no run has a worker" if worker is None else f"there is no worker {worker!r}"
        msg = f"{what}: see what there is with `ringnb host ls`"
        raise RingnbError(msg)
    return int(processes[worker])


@final
class OtherNotebook:
    """Another notebook: a Jupyter kernel of its own, as that of a second page, and no page.

    Notes
    -----
    It ends with `kill`, or when it is no longer referenced.
    """

    def __init__(self) -> None:
        from jupyter_client.manager import KernelManager  # noqa: PLC0415 - every notebook has it

        self._folder = tempfile.TemporaryDirectory(prefix="ringnb-")
        # Over sockets in files: of a port that is free now, another process may be faster.
        file = str(Path(self._folder.name) / "kernel.json")
        self._manager: Any = KernelManager(transport="ipc", connection_file=file)
        # What it writes beside its cells would be shown in a cell of this notebook.
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._manager.start_kernel(env=child_environment(), **quiet)
        self._client: Any = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=_PATIENCE_S)

    def run(self, source: str) -> str:
        """Run a cell.

        Parameters
        ----------
        source : str
            Its text.

        Returns
        -------
        str
            What it has printed.

        Raises
        ------
        RingnbError
            If it has raised.
        """
        printed: list[str] = []

        def note(message: dict[str, Any]) -> None:
            """Keep what a cell prints."""
            if message["header"]["msg_type"] == "stream" and message["content"]["name"] == "stdout":
                printed.append(message["content"]["text"])

        done = self._client.execute_interactive(
            source, timeout=_PATIENCE_S, output_hook=note, allow_stdin=False
        )["content"]
        if done["status"] != "ok":
            msg = f"the cell in the other notebook has raised {done['ename']}: {done['evalue']}"
            raise RingnbError(msg)
        return "".join(printed).rstrip()

    def kill(self) -> int:
        """End its process with SIGKILL. Idempotent.

        Returns
        -------
        int
            The exit status: the number of the signal, negative.
        """
        process = self._manager.provisioner.process
        self._client.stop_channels()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        status = process.wait()
        self._manager.cleanup_resources()
        self._folder.cleanup()
        return int(status)

    def __del__(self) -> None:
        """End the process of a notebook that was not ended."""
        with contextlib.suppress(Exception):
            self.kill()
