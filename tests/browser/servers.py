"""Jupyter servers for the tests: each with directories, a port and a life of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import psutil

__all__ = ["Server", "jupyterlab", "voila"]

_START_S = 150.0  # on a machine that does much else besides


class Server:
    """A running server.

    Attributes
    ----------
    url : str
        Its address, on the loopback interface only.
    root : Path
        The directory that it serves.
    settings : Path
        JupyterLab's user settings.
    pid : int
        Its process, once that was started.
    vacant : dict
        Kernels as good as new, which wait for the next notebooks, by the ids of their sessions.
    """

    def __init__(self, url: str, root: Path, settings: Path) -> None:
        self.pid = 0
        self.vacant: dict[str, str] = {}
        self.url = url
        self.root = root
        self.settings = settings

    def _request(self, path: str, method: str = "GET", body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def give_kernel(self, path: str) -> None:
        """Give a notebook that is yet to be opened a kernel that is vacant, if there is one."""
        if self.vacant:
            session, _ = self.vacant.popitem()
            self._of_what_may_be_gone(f"/api/sessions/{session}", "PATCH", {"path": path})

    def end_sessions(self) -> None:
        """Shut down every kernel that is not vacant."""
        running = {kernel["id"] for kernel in self._request("/api/kernels")}
        for kernel in running - set(self.vacant.values()):
            self._of_what_may_be_gone(f"/api/kernels/{kernel}", "DELETE")

    def _of_what_may_be_gone(self, path: str, method: str, body: Any = None) -> None:
        try:
            self._request(path, method, body)
        except HTTPError as error:
            if error.code != 404:
                raise

    def kill_kernels(self) -> None:
        """Kill the process of every kernel, of which the page is told nothing."""
        for child in psutil.Process(self.pid).children(recursive=True):
            if "ipykernel_launcher" in child.cmdline():
                child.kill()

    def set(self, plugin: str, **values: Any) -> None:
        """Write a plugin's user settings, which the next page that is opened reads."""
        package, name = plugin.split(":")
        place = self.settings / package / f"{name}.jupyterlab-settings"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(values))

    def reset_settings(self) -> None:
        """Go back to JupyterLab's defaults, but for what would cover the page."""
        shutil.rmtree(self.settings, ignore_errors=True)
        self.set("@jupyterlab/apputils-extension:notification", fetchNews="false")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _serve(
    home: Path, module: str, arguments: Sequence[str], ready: str, extra: dict[str, str]
) -> Iterator[Server]:
    root, settings = home / "root", home / "settings"
    root.mkdir(parents=True)
    port = _free_port()
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_PLATFORM_DIRS": "1",
        **extra,
    }
    server = Server(f"http://127.0.0.1:{port}", root, settings)
    server.reset_settings()
    log = home / "log.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *(a.format(port=port, root=root) for a in arguments)],
            env=environment,
            cwd=root,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        server.pid = process.pid
        try:
            _wait_until_ready(server.url + ready, process, log)
            yield server
        finally:
            _end(process)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                msg = f"the server did not start; its log:\n{log.read_text()}"
                raise RuntimeError(msg) from None
            time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server and its kernels, which are processes of their own sessions."""
    children = (
        psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    )
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(children, timeout=5)


@contextmanager
def jupyterlab(home: Path, **environment: str) -> Iterator[Server]:
    """Run JupyterLab, with its application object within reach of the page's scripts."""
    arguments = [
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--ServerApp.root_dir={root}",
        "--IdentityProvider.token=",
        "--ServerApp.disable_check_xsrf=True",  # or a DELETE from here is refused
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.news_url=",
    ]
    with _serve(home, "jupyterlab", arguments, "/api", environment) as server:
        yield server


@contextmanager
def voila(home: Path, **environment: str) -> Iterator[Server]:
    """Run Voila on a directory of notebooks."""
    arguments = [
        "--no-browser",
        "--Voila.ip=127.0.0.1",
        "--port={port}",
        "--VoilaExecutor.timeout=120",
        "--show_tracebacks=True",
        "{root}",
    ]
    with _serve(home, "voila", arguments, "/", environment) as server:
        yield server
