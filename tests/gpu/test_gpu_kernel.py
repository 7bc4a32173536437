"""The kernel on a device: the contract of all kernels, load, a soak, the clock, other streams."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest
from waiting import until

import ringnb as rn
from ringnb.kernel.cuda.kernel import CudaKernel
from ringnb.kernel.cuda.walk import CELLS, rows_of, walk_of
from ringnb.messages.commands import Command
from ringnb.testing import device_proofs as proofs
from ringnb.testing.kernels import KernelTests, Mixer, advance, captured, running

from . import ending
from .stepping import stepped


class TestCudaKernel(KernelTests):
    def make(self, actors, **options):
        # Some tests have more blocks than a small card has multiprocessors.
        return CudaKernel(actors, reserve=0, **options)


def on_gpu(actors, **options):
    return running(CudaKernel(actors, **options))


def test_ten_thousand_snapshots_under_load():
    with on_gpu([proofs.counter((512, 512))] * 3, lanes=2) as client:
        assert proofs.load(client, 10_000).snapshots == 10_000


def test_half_a_minute_of_everything():
    shapes = [(64, 64), (200, 333), (1024, 1024), (3, 7)]
    with on_gpu([proofs.counter(shape) for shape in shapes], lanes=2) as client:
        done = proofs.soak(client, 30.0)
        assert done.commands > 5_000 // ending.TIMES
        assert done.snapshots > 500 // ending.TIMES


def test_a_wide_group_is_as_good_as_a_narrow_one():
    shape, steps = (257, 391), max(50, 500 // ending.TIMES)
    for width in (1, None):  # one block, and all that fit
        with on_gpu([Mixer(shape)], width=width) as client:
            client.call(0, Command.RUN_STEPS, (steps,))
            assert client.wait_until(lambda: client.kernel.counters(0).step >= steps, 300)
            state, _ = captured(client, 0)
        np.testing.assert_array_equal(state, advance(Mixer(shape).start(0), 0, steps))


def test_the_clock_runs_at_the_host_s_rate_and_never_back():
    with on_gpu([Mixer((16, 16))]) as client:
        seen = proofs.timer(client, 2.0)
    assert abs(seen.rate - 1) < 0.01
    assert 0 < seen.resolution_ns <= 2_000


def test_other_streams_copy_and_launch_beside_a_live_kernel():
    """Nothing here may wait for the kernel: each turn has a deadline, and the kernel steps meanwhile."""
    from cuda.core import Device
    from numba import cuda

    n = 1 << 20
    core = Device()
    core.set_current()
    stream = core.create_stream()
    ours = cuda.external_stream(int(stream.handle))
    source, target = cuda.pinned_array(n, np.int64), cuda.pinned_array(n, np.int64)
    source[:], target[:] = np.arange(n), 0
    there, back = cuda.device_array(n, np.int64), cuda.device_array(n, np.int64)

    @cuda.jit("void(int64[::1], int64[::1])")
    def twice(a, b):
        for i in range(cuda.grid(1), a.size, cuda.gridsize(1)):
            b[i] = 2 * a[i]

    twice[128, 256, ours](there, back)  # loaded before the kernel lives
    done = core.create_event()
    cuda.synchronize()
    # Few blocks, so that multiprocessors are left for the other launch.
    with on_gpu([Mixer((512, 512))], width=8) as client:
        client.call(0, Command.RESUME)
        for turn in range(100):
            source[0] = turn
            before = client.kernel.counters(0).step
            there.copy_to_device(source, stream=ours)
            twice[128, 256, ours](there, back)
            back.copy_to_host(target, stream=ours)
            stream.record(done)
            until(lambda: done.is_done)  # the other stream does not wait for the kernel
            np.testing.assert_array_equal(target, 2 * source)
            until(lambda before=before: client.kernel.counters(0).step > before)


def _straight(now, following, params, step, z, y, x):
    nz, ny, nx = now.shape[1], now.shape[2], now.shape[3]
    value = now[0, z, y, x] - 5 * following[0, z, y, x] + step
    if 0 < z < nz - 1 and 0 < y < ny - 1 and 0 < x < nx - 1:
        value += 3 * now[0, z - 1, y, x] + 7 * now[0, z + 1, y, x] + 11 * now[0, z, y - 1, x]
        value += 13 * now[0, z, y + 1, x] + 17 * now[0, z, y, x - 1] + 19 * now[0, z, y, x + 1]
        value += 23 * now[0, z - 1, y + 1, x] + 29 * now[0, z + 1, y - 1, x + 1]
    if z < nz - 3 and y > 1:  # farther than what is kept
        value += 31 * now[0, z + 3, y, x] + 37 * now[0, z + 2, y - 2, x]
    following[0, z, y, x] = value & 0xFFFFFF


def _round(now, following, params, step, z, y, x):
    nz, ny, nx = now.shape[1], now.shape[2], now.shape[3]
    around = now[0, (z + 1) % nz, y, x] + now[0, z, y - 1 if y > 0 else ny - 1, x]
    around -= now[0, z - 1, y, x - 1 if x > 0 else nx - 1] / 3  # before the first is the last
    following[0, z, y, x] = 0.25 * (around - following[0, z, y, x])


def _span(shape, warps):
    """Return how many planes a warp goes along before it enters another column, as the walk has it."""
    source = CELLS.format(shape="", arrays="", **walk_of(3, 4, "", shown=True))
    lines = source[source.index("    length,") : source.index("    # No division")]
    names = dict(zip(("nz", "ny", "nx"), shape, strict=True), warps=warps, low=int)
    exec(textwrap.dedent(lines), names | {"WARP": 32, "ROWS": rows_of(3, 4)}, found := {})
    return found["span"]


def test_boxes_of_all_lengths_are_the_cpus():
    """Near the edges, and away from them."""
    _boxes_are_the_cpus(((9, 8, 70), (6, 7, 101), (3, 3, 66), (4, 5, 97), (40, 4, 65)), 7)


@pytest.mark.parametrize("warps", [1, 8])
def test_long_columns_are_the_cpus(warps):
    """Whole, and in parts: a thread keeps planes from one turn to the next, two planes ahead."""
    shape = 41, 9, 130
    assert _span(shape, warps) > 5 * 2
    assert (_span(shape, warps) > shape[0]) == (warps == 1)
    _boxes_are_the_cpus([shape], 3, width=warps, threads=32)


def _boxes_are_the_cpus(shapes, steps, **options):
    rng = np.random.default_rng(0)
    actors = []
    for shape in shapes:
        start = rng.random(shape)
        actors.append(rn.actors.Wave3D(shape, start=start.astype("float32")))
        kind = {"start": rng.integers(0, 1000, shape).astype("int32"), "dtype": "int32"}
        actors.append(rn.actors.CellActor(_straight, shape, levels=2, **kind))
        for dtype in ("float32", "float64"):
            kind = {"start": start.astype(dtype), "dtype": dtype}
            actors.append(rn.actors.CellActor(_round, shape, levels=2, **kind))
    ours, theirs = stepped(actors, "cuda", steps, **options), stepped(actors, "cpu", steps)
    for actor, mine, other in zip(actors, ours, theirs, strict=True):
        for name, expected in other.items():
            np.testing.assert_array_equal(mine[name], expected, err_msg=str(actor))


def _first(now, following, params, step, y, x, height):
    left = now[0, y, x - 1 if x > 0 else now.shape[2] - 1]
    following[0, y, x] = (now[0, y, x] + left * height[y, x]) / params[1]


def _second(now, following, params, step, y, x, height):
    below = now[0, y - 1 if y > 0 else now.shape[1] - 1, x]
    following[0, y, x] = 0.5 * (following[0, y, x] + below) + params[2]


def _value(now, params, step, y, x, height):
    return now[0, y, x] * height[y, x]


def _masked(now, following, params, step, y, x):
    left = now[0, y, x - 1 if x > 0 else now.shape[2] - 1]
    following[0, y, x] = now[0, y, x] if now[1, y, x] else 0.5 * (now[0, y, x] + left)
    following[1, y, x] = now[1, y - 1 if y > 0 else now.shape[1] - 1, x]
    following[2, y, x] = -now[2, y, x]


def _signed(now, params, step, y, x):
    return now[0, y, x] * now[2, y, x]


def test_stages_arrays_reductions_and_several_dtypes_of_one_kernel_are_the_cpus(tmp_path):
    rng = np.random.default_rng(0)
    height = rng.random((37, 53))
    staged = rn.actors.CellActor(
        stages=[_first, _second],
        shape=height.shape,
        params={"dt": 1.0},
        start=height,
        dtype="float64",
        arrays={"height": height},
        reduce={"total": _value, "most": ("max", _value)},
    )
    start = {
        "u": rng.random((37, 53)),
        "wall": rng.integers(0, 2, (37, 53)).astype("uint8"),
        "spin": rng.choice(np.array([-1, 1], "int8"), (37, 53)),
    }
    mixed = rn.actors.from_arrays(start, _masked, reduce={"total": _signed})
    found = []
    for backend in ("cpu", "cuda"):
        config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / f"{backend}.zarr")
        with rn.Session([staged, mixed], backend=backend, config=config) as s:
            for slot in range(2):
                s.run_steps(slot, 25)
                s.restore(slot, s.snapshot(slot))
                s.run_steps(slot, 5)
                state = s.state(slot)
                found.append(
                    ({n: a.tobytes() for n, a in state.numpy().items()}, dict(state.reduced))
                )
    assert found[:2] == found[2:]
