"""What the tests on a device do on the host, tried in the simulator and on the CPU, at small sizes."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import numpy as np
import pytest
from gpu import ending, test_gpu_restore

from ringnb._support.children import run_python
from ringnb.kernel.cpu.kernel import CpuKernel
from ringnb.kernel.cuda.kernel import CudaKernel
from ringnb.testing import ManualClock
from ringnb.testing import device_proofs as proofs
from ringnb.testing.mixer import running
from ringnb.testing.tolerance import TOLERANCE

pytest.importorskip("numba_cuda")
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["cpu", "cudasim"])
def client(request):
    actors = [proofs.counter((3, 4)), proofs.counter((5, 3)), proofs.counter((3, 3))]
    if request.param == "cpu":
        kernel = CpuKernel(actors, lanes=2)
    else:
        kernel = CudaKernel(actors, lanes=2, simulate=True)
    with running(kernel) as client:
        yield client


def test_load_checks_every_snapshot(client):
    done = proofs.load(client, 13)
    assert done.snapshots == 13
    assert done.steps > 0


def test_a_torn_or_damaged_snapshot_is_noticed(client, monkeypatch):
    staged = client.kernel.staged

    def torn(lane, index, slot):
        view, facts = staged(lane, index, slot)
        view = view.copy()
        view.flat[-1] += 1
        return view, facts

    monkeypatch.setattr(client.kernel, "staged", torn)
    with pytest.raises(AssertionError, match="cells of steps"):
        proofs.load(client, 3)
    monkeypatch.setattr(client.kernel, "staged", staged)
    monkeypatch.setattr(client.kernel, "staged_checksum", lambda *_: 1)
    with pytest.raises(AssertionError, match="checksum 1, not"):
        proofs.load(client, 3)


def test_the_soak_ends_when_its_time_is_up(client):
    clock = ManualClock()
    turns = [0]

    def ticking():
        turns[0] += 1
        clock.advance(1.0)
        return clock()

    done = proofs.soak(client, 30.0, clock=ticking)
    assert done.commands == 29
    assert done.snapshots > 3
    assert turns[0] == 31


def test_the_soak_notices_a_kernel_that_forgets_a_restore(client, monkeypatch):
    buffer = client.kernel.restore_buffer
    monkeypatch.setattr(client.kernel, "restore_buffer", lambda slot: np.zeros_like(buffer(slot)))
    clock = ManualClock()
    with pytest.raises(AssertionError, match="cells of steps"):
        proofs.soak(client, 300.0, clock=lambda: clock.advance(1.0) or clock())


def test_the_clock_s_rate_and_resolution_are_found(client):
    for _ in range(10):  # another process may hold up one of the two clocks' readings
        seen = proofs.timer(client, 0.1)
        if abs(seen.rate - 1) < 0.3:
            break
    assert abs(seen.rate - 1) < 0.3
    assert seen.resolution_ns > 0
    assert proofs._step_of([1000, 1096, 1256, 1256, 1480]) == 32


@pytest.mark.parametrize("kind", ["fdtd_2d", "ising_2d", "gray_scott"])
def test_backends_are_compared(kind):
    field = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
    assert proofs.differs(kind, field, field.copy()) is None
    other = field.copy()
    other[1, 2] += 0.01
    assert re.match(rf"{kind}: differ by 0\.01 at \(1, 2\)", proofs.differs(kind, other, field))
    other[1, 2] = np.nan
    assert proofs.differs(kind, other, field) is not None


def test_every_actor_has_a_tolerance():
    assert set(TOLERANCE) == set(test_gpu_restore.ACTORS)


def test_restore_and_exchange_run_in_the_simulator(tmp_path, monkeypatch):
    import ringnb as rn

    actors = {"fdtd_2d": lambda: rn.actors.Wave2D((6, 5)), "life": lambda: rn.actors.Life((5, 6))}
    monkeypatch.setattr(test_gpu_restore, "ACTORS", actors)
    monkeypatch.setattr(test_gpu_restore, "BEFORE", 4)
    monkeypatch.setattr(test_gpu_restore, "AFTER", 5)
    test_gpu_restore.test_a_restored_run_is_bit_identical(tmp_path, "cudasim")
    for origin in ("cpu", "cuda"):
        test_gpu_restore.test_a_checkpoint_goes_on_on_the_other_side(
            tmp_path / origin, origin, "cudasim"
        )


def test_a_child_starts_and_ends():
    status, _, err = ending.interrupted("cudasim")
    assert status in (1, 130, -signal.SIGINT)
    assert "KeyboardInterrupt" in err


@pytest.mark.slow
def test_one_command_selects_the_tests_on_a_device():
    """Without a GPU they are skipped with its reason, and it is not the simulator's."""
    command = ("-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "tests/gpu")
    done = run_python(*command, cwd=ROOT, timeout=100)
    assert done.returncode == 0, done.stdout
    if "skipped" in done.stdout:
        assert "simulator" not in done.stdout
        assert re.search(r"\d\d skipped", done.stdout)
        assert re.search(r"SKIPPED .*(driver|toolkit|numba|watchdog|is set)", done.stdout)
