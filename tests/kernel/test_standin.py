"""The CUDA backend on a stand-in card, host side and kernel: see standin/.

Everything but the device is real: numba-cuda compiles the kernel to PTX, and makes all calls of a driver
that is stricter than a real one. The card runs the PTX; where a test says so, with a memory that is as
weak as PTX allows.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from gpu import ending
from standin import card, orders
from waiting import until

from ringnb._support.children import run_python

HERE = Path(__file__).parents[1]
STANDIN = HERE / "standin"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.unhurried,
    pytest.mark.skipif(card.missing() is not None, reason=f"the card {card.missing()}"),
]


class Card:
    """The stand-in's environment and log."""

    def __init__(self, directory, environment):
        self.directory, self.environment = directory, environment
        self.log = directory / "log"

    def run(self, *command, weak=False, patient=False, timeout=300):
        """Run Python with the stand-in in a GPU's place; return the process and what was logged."""
        more = {"RINGNB_REQUIRE_GPU": "1"}
        if weak:
            more["STANDIN_FLAGS"] = card.WEAK
        if patient:
            more["STANDIN_PATIENT"] = "1"
        before = len(self.lines())
        done = run_python(*command, env={**self.environment, **more}, timeout=timeout)
        return done, self.lines()[before:]

    def clear(self):
        """End the devices that run."""
        for pid in self.devices():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def lines(self):
        return self.log.read_text().splitlines()

    def devices(self):
        """Return the process numbers of devices that run."""
        begun = re.findall(r"device: process (\d+)", self.log.read_text())
        return [int(pid) for pid in begun if self._is_device(pid)]

    def _is_device(self, pid):
        """Return whether the device runs: its number may have come to another process since."""
        with contextlib.suppress(OSError):  # it has ended, or ends
            return Path(f"/proc/{pid}/exe").readlink().parent == self.directory.resolve()
        return False


@pytest.fixture(scope="module")
def stand_in(stand_in_card):
    made = Card(*stand_in_card)
    yield made
    made.clear()


def trouble(lines):
    """Return what no run may have: a call that waits for the kernel, one that is missing, a fault."""
    return [line for line in lines if re.search("waits: |missing here|fault at", line)]


# -- one life, call by call ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def life(stand_in):
    """Run host.py until it has proved what it has to, kill it, and return what it said and the log."""
    before = len(stand_in.lines())
    with subprocess.Popen(
        [sys.executable, STANDIN / "host.py"],
        env=stand_in.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as host:
        first = host.stdout.readline()
        host.kill()
        _, err = host.communicate()
    until(lambda: not stand_in.devices())
    return first, err, host.returncode, stand_in.lines()[before:]


def test_the_host_s_side_works_and_says_nothing(life):
    first, err, status, log = life
    assert (first, err) == ("proved\n", ""), err[-3000:] + first
    assert status == -signal.SIGKILL
    assert trouble(log) == []


def test_the_device_leaves_when_its_host_was_killed(life):
    *_, log = life
    assert log[-1] == "device: the grid has ended"


def test_each_launch_is_cooperative_and_the_code_loaded_before(life):
    *_, log = life
    launches = [line for line in log if "cooperative=1" in line]
    assert re.search(r"grid=2 block=64 .* stream=0x\w+", launches[-1])
    assert len(launches) > 5
    loads = [line for line in log if "cuLibraryLoadData" in line]
    assert loads
    assert all(line.startswith("---- ") for line in loads)


def test_nothing_that_waits_for_the_kernel_is_called_while_it_lives(life):
    *_, log = life
    live = [line.removeprefix("live ") for line in log if line.startswith("live ")]
    assert {line.split()[0] for line in live} == {
        "cuMemcpyDtoHAsync",
        "cuMemcpyHtoDAsync",
        "cuEventRecord",
        "cuLaunchKernelEx",  # behind the one that runs
        "cuStreamDestroy",  # of an earlier kernel; documented to return at once
    }
    copies = [line for line in live if line.startswith("cuMemcpy")]
    assert len(copies) > 10
    assert all(re.search(r"stream=0x\w+ pinned", line) for line in copies), copies


def test_every_stream_is_non_blocking(life):
    *_, log = life
    made = [line for line in log if "cuStreamCreate" in line]
    assert len(made) >= 3
    assert all("flags=1" in line for line in made)
    used = {m[1] for line in log if (m := re.search(r"stream=(0x\w+|\(nil\))", line))}
    assert used <= {re.search(r"0x\w+", line)[0] for line in made}


# -- the tests of a device -----------------------------------------------------------------------


@pytest.mark.timeout(1500)  # a minute and a half alone; ten on a busy machine half as fast
def test_what_is_tested_on_a_device_holds_with_a_weak_memory(stand_in):
    """All kernels' contract, restores bit for bit, checkpoints to the CPU and back, functions."""
    # Left out: what takes minutes here, and what measures a clock.
    chosen = "not ten_thousand and not half_a_minute and not other_streams and not clock"
    files = [HERE / "gpu" / f"test_gpu_{name}.py" for name in ("kernel", "math", "restore")]
    options = ("-q", "-p", "no:cacheprovider", "-m", "gpu", "-k", chosen)
    done, log = stand_in.run("-m", "pytest", *options, *files, weak=True, timeout=1450)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 30
    assert "skipped" not in done.stdout
    assert trouble(log) == []


ORDERS = ("ld.acquire.gpu", "ld.acquire.sys", "fence.acq_rel.sys", "red.release.gpu")


@pytest.fixture(scope="module")
def held(stand_in):
    """Return what orders.py prints, and its log."""
    done, log = stand_in.run(STANDIN / "orders.py", weak=True)
    assert done.returncode == 0, done.stderr
    assert trouble(log) == []
    return done.stdout, log


def test_the_orders_that_the_kernel_rests_on_are_there(held):
    """In one launch, and from each to the next."""
    in_long_launches, in_short_ones = map(int, held[0].split())
    assert in_long_launches <= 3
    assert in_short_ones > 20


def test_a_command_waits_for_the_host_s_memory_once(held):
    """Each release to the host waits for all stores before it, about a microsecond."""
    _, log = held
    first = log[: log.index("device: the grid has ended")]
    met = {m[2]: int(m[1]) for line in first if (m := re.match(r"device: (\d+) (\S+)$", line))}
    assert met.pop("fence.acq_rel.sys") == orders.COMMANDS
    to_the_host = {name: n for name, n in met.items() if re.search(r"(release|membar).*sys", name)}
    assert to_the_host == {"st.release.sys": 1}  # the lane has stopped


def test_each_of_these_orders_is_needed(stand_in, held):
    """With any of them taken out the same run fails, or is stuck."""
    met = {line.split()[-1] for line in held[1] if re.match(r"device: \d+ ", line)}
    assert met >= set(ORDERS)
    done, _ = stand_in.run(STANDIN / "orders.py", *ORDERS, weak=True)
    stand_in.clear()  # a kernel that is stuck ends no launch either
    found = dict(line.split() for line in done.stdout.splitlines())
    assert found.keys() == set(ORDERS), done.stderr
    assert [name for name, status in found.items() if status == "0"] == []


# -- ends ----------------------------------------------------------------------------------------


@pytest.fixture
def ends(stand_in, monkeypatch):
    """Start children with the stand-in, and see to it that each leaves no device behind."""
    for name, value in stand_in.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("NUMBA_ENABLE_CUDASIM", "CUDA_LAUNCH_BLOCKING"):
        monkeypatch.delenv(name, raising=False)
    before = len(stand_in.lines())
    yield
    until(lambda: not stand_in.devices())  # no kernel is left on the device
    log = stand_in.lines()[before:]
    assert sum("cooperative=1" in line for line in log) >= 1
    assert trouble(log) == []


@pytest.mark.usefixtures("ends")
class TestTheDeviceIsFree:
    def test_after_the_interpreter_s_end_without_a_close(self):
        status, _, err = ending.ended(ending.started("leave", "cuda"))
        assert (status, err) == (0, "")

    def test_after_ctrl_c(self):
        status, _, err = ending.interrupted("cuda")
        assert status in (1, 130, -signal.SIGINT)
        assert "KeyboardInterrupt" in err


def test_a_kernel_stops_with_its_process_and_goes_on_with_it(stand_in, ends):
    stopped_s = 5.0  # far above what the rest takes on a busy machine
    status, out, err = ending.stopped_for(stopped_s, "cuda")
    assert status == 0, err
    alive, steps, busy_s = out.split()
    assert alive == "True"
    assert int(steps) > 0
    assert float(busy_s) < stopped_s


def test_other_cuda_code_of_the_process_waits_for_a_quarter_of_a_second_at_most(stand_in):
    """With a driver that waits, and holds the context's lock meanwhile, as a real one does."""
    done, log = stand_in.run(STANDIN / "neighbour.py", patient=True)
    assert (done.returncode, done.stderr) == (0, "")
    names = {line.split("waits: ")[1] for line in log if "waits: " in line}
    assert {"cuMemAlloc", "cuLibraryLoadData", "cuCtxSynchronize"} <= names
    longest, steps = map(float, done.stdout.split())
    assert 0 < longest < 3.0  # of a busy machine; the launches that are enqueued take 0.24 s
    assert steps > 0


def test_a_kernel_that_dies_is_told_with_what_to_do(stand_in):
    done, log = stand_in.run(STANDIN / "dying.py")
    assert done.stderr == ""
    too_large, died, again = done.stdout.splitlines()
    assert died.startswith(
        "KernelStopped The kernel does not run: the CUDA kernel died: CUDA_ERROR_ILLEGAL_ADDRESS"
    )
    assert "restart it first" in died
    assert re.match(
        r"MemoryError .* need \d+ MiB on the card .* CUDA_ERROR_OUT_OF_MEMORY", too_large
    )
    assert re.match("BackendUnavailable .*CUDA_ERROR_ILLEGAL_ADDRESS.*restart the process", again)
    assert len([line for line in log if "fault at" in line]) == 1
