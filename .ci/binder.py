"""Build the environment that Binder builds, from the files in ``binder/``, and run a notebook in it.

Usage: ``binder.py DIRECTORY``, which becomes home and environment; it needs uv. It follows repo2docker:
the Python of ``runtime.txt``, ``requirements.txt``, ``postBuild``; then, through ``start`` as a
visitor's server, the quick start, and the cockpit as Voila renders it, in the 2 GB of memory that a
visitor has. Without that Python nothing is built, and that is said.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 2 << 30


def find_python(version: str) -> str | None:
    """Return an interpreter of this version that can make environments."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [f"python{version}", *map(str, pyenv.glob(f"{version}.*/bin/python"))]
    for candidate in candidates:
        if path := shutil.which(candidate):
            probe = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
            answer = subprocess.run(  # noqa: S603
                [path, "-c", probe], check=False, capture_output=True, text=True
            )
            if answer.stdout.strip() == version:
                return path
    return None


def resident(process: psutil.Process) -> int:
    """Return the bytes of a process and all below it; pages that they share count once for each."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def run_within(
    limit: int,
    command: list[str],
    environment: dict[str, str],
    visit: Callable[[], None] | None = None,
) -> int:
    """Run a command; end it, and fail, when it and its children take more memory than that.

    With `visit` the command is a server, which is ended when the visit is over.
    """
    peak = 0
    with psutil.Popen(command, env=environment, cwd=ROOT) as process, ThreadPoolExecutor(1) as pool:
        visiting = None if visit is None else pool.submit(visit)
        while process.poll() is None and not (visiting is not None and visiting.done()):
            try:
                peak = max(peak, resident(process))
            except psutil.NoSuchProcess:
                break
            if peak > limit:
                end(process)
                sys.exit(f"more than {limit >> 20} MiB: {' '.join(command)}")
            time.sleep(0.1)  # a look takes milliseconds of the tests beside it
        if visiting is not None:
            served = process.poll() is None
            end(process)
            visiting.result()
            if served:
                return peak
    if process.returncode:
        sys.exit(f"exit status {process.returncode}: {' '.join(command)}")
    return peak


def end(process: psutil.Process) -> None:
    """Kill a process and all below it."""
    for one in (*process.children(recursive=True), process):
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()


def look_at_cockpit(port: int) -> None:
    """Have Voila render the cockpit as the server's extension, which is where Binder links to."""
    url = f"http://127.0.0.1:{port}/voila/render/notebooks/cockpit.ipynb"
    until = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=120) as answer:
                page = answer.read().decode()
            break
        except (ConnectionError, urllib.error.URLError) as error:
            if isinstance(error, urllib.error.HTTPError) or time.monotonic() > until:
                raise
            time.sleep(0.2)
    missing = [
        text for text in ("widget-view+json", "ringnb-summary", "The cockpit") if text not in page
    ]
    if missing:
        sys.exit(f"Voila's page of the cockpit lacks {', '.join(missing)}")


def main(place: Path) -> None:
    """Build, run, and say what it took."""
    version = (ROOT / "binder" / "runtime.txt").read_text().strip().removeprefix("python-")
    python = find_python(version)
    if python is None:
        print(f"no Python {version} on this machine: Binder's environment was not built")
        return
    if shutil.which("uv") is None:
        sys.exit("uv, which builds Binder's environment, is not on the path: pip install uv")
    home, venv = place / "home", place / "venv"
    home.mkdir(parents=True)
    for command in (
        ["uv", "venv", "-q", "--python", python, venv],
        ["uv", "pip", "install", "-q", "--python", venv, "-r", "binder/requirements.txt"],
    ):
        subprocess.run(command, check=True, cwd=ROOT)  # noqa: S603
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "OMP_", "RINGNB_"))
    }
    environment |= {"HOME": str(home), "PATH": f"{venv / 'bin'}:{os.environ['PATH']}"}
    built = run_within(LIMIT, [str(ROOT / "binder" / "postBuild")], environment)
    compiled = set(home.rglob("compiled-*/*"))
    if not compiled:
        sys.exit("postBuild left no compiled code in the cache that start names")
    start = [
        str(ROOT / "binder" / "start"),
        "jupyter",
        "nbconvert",
        "--to",
        "notebook",
        "--execute",
    ]
    for name in ("00_quickstart",):
        begun = time.monotonic()
        out = ["--output-dir", str(place), f"notebooks/{name}.ipynb"]
        peak = run_within(LIMIT, [*start, *out], environment)
        took = time.monotonic() - begun
        print(f"{name}: {took:.0f} s, {peak >> 20} MiB at most of {LIMIT >> 20}")
        # What a visitor has to wait for must have been compiled when the image was built.
        if name == "00_quickstart" and (anew := set(home.rglob("compiled-*/*")) - compiled):
            sys.exit(f"start does not find what postBuild compiled: {len(anew)} functions anew")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = ["jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}"]
    server += ["--port-retries=0", "--IdentityProvider.token=", "--ServerApp.log_level=ERROR"]
    peak = run_within(LIMIT, [start[0], *server], environment, lambda: look_at_cockpit(port))
    print(f"cockpit in Voila: {peak >> 20} MiB at most")
    print(f"postBuild: {built >> 20} MiB at most")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
