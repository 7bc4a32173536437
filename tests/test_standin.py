"""The CUDA backend's host side on a stand-in driver, its kernel in a process of its own: see standin/.

Everything but the device is real: numba-cuda compiles and loads the kernel and makes the calls.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "standin"
pytestmark = pytest.mark.slow


def header():
    try:
        files = importlib.metadata.files("nvidia-cuda-runtime") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(f.locate()) for f in files if f.name == "cuda.h"), None)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run host.py until it has proved what it has to, kill it, and return the driver's log."""
    compiler, cuda_h = shutil.which("cc"), header()
    if compiler is None or cuda_h is None or not Path("/dev/shm").is_dir():
        pytest.skip("needs Linux, a C compiler and the package nvidia-cuda-runtime")
    scratch = tmp_path_factory.mktemp("standin")
    library = scratch / "libcuda.so.1"
    subprocess.run(
        [
            compiler,
            "-shared",
            "-fPIC",
            "-O1",
            f"-I{cuda_h.parent}",
            "-o",
            library,
            HERE / "driver.c",
        ],
        check=True,
    )
    pages, log = Path(f"/dev/shm/ringnb-standin-{os.getpid()}"), scratch / "log"
    log.touch()
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(scratch),
        "STANDIN_DEVICE": str(HERE / "device.py"),
        "STANDIN_LOG": str(log),
        "STANDIN_PAGES": str(pages),
        "STANDIN_PYTHON": sys.executable,
    }
    for name in ("CUDA_LAUNCH_BLOCKING", "NUMBA_ENABLE_CUDASIM"):
        environment.pop(name, None)
    try:
        with subprocess.Popen(
            [sys.executable, HERE / "host.py"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as host:
            first = host.stdout.readline()
            host.kill()
            _, err = host.communicate()
        deadline = time.monotonic() + 40
        while "device: left by" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        yield first, err, host.returncode, log.read_text().splitlines()
    finally:
        if "device: left by" not in log.read_text():
            for process in re.findall(r"device: process (\d+)", log.read_text()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(process), signal.SIGKILL)
        for path in pages.parent.glob(pages.name + "*"):
            path.unlink()


def test_the_host_s_side_works_and_says_nothing(run):
    first, err, status, log = run
    assert (first, err) == ("proved\n", ""), err[-3000:] + first
    assert status == -signal.SIGKILL


def test_the_stand_in_has_every_function_that_is_called(run):
    *_, log = run
    assert [line for line in log if "missing here" in line] == []


def test_the_device_leaves_when_its_host_was_killed(run):
    *_, log = run
    assert log[-1] == "device: left by [3]"  # BY_LEASE, and of all lanes


def test_the_launch_is_cooperative_and_its_code_loaded_before(run):
    *_, log = run
    (launch,) = [line for line in log if "cooperative=1" in line]
    assert re.search(r"grid=2 block=256 .* stream=0x\w+", launch)
    assert launch.startswith("----")
    loads = [line for line in log if "cuLibraryLoadData" in line]
    assert loads
    assert all(line == "---- cuLibraryLoadData CUDA_MODULE_LOADING=EAGER" for line in loads)


def test_nothing_that_waits_for_the_kernel_is_called_while_it_lives(run):
    *_, log = run
    live = [line.removeprefix("live ") for line in log if line.startswith("live ")]
    assert {line.split()[0] for line in live} == {
        "cuMemcpyDtoHAsync",
        "cuMemcpyHtoDAsync",
        "cuEventRecord",
    }
    copies = [line for line in live if line.startswith("cuMemcpy")]
    assert len(copies) > 10
    assert all(re.search(r"stream=0x\w+ pinned", line) for line in copies), copies


def test_every_stream_is_non_blocking(run):
    *_, log = run
    made = [line for line in log if "cuStreamCreate" in line]
    assert len(made) >= 3
    assert all("flags=1" in line for line in made)
    used = {m[1] for line in log if (m := re.search(r"stream=(0x\w+|\(nil\))", line))}
    assert used <= {re.search(r"0x\w+", line)[0] for line in made}
