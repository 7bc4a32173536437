"""The CUDA kernel's source in Numba's simulator: the contract of all kernels, and what is its own."""

from __future__ import annotations

import numpy as np
import pytest

import ringnb as rn
from ringnb.errors import BackendUnavailable
from ringnb.kernel.cuda.kernel import CudaKernel
from ringnb.kernel.layout import staging_tail
from ringnb.messages.commands import Command
from ringnb.testing.device_proofs import counter
from ringnb.testing.kernels import KernelTests, Mixer, advance, captured, restored, running
from ringnb.testing.tolerance import TOLERANCE

pytest.importorskip("numba_cuda")


class TestSimulatedCudaKernel(KernelTests):
    shape = (5, 7)

    def make(self, actors, **options):
        # Short launches: what holds must hold from one to the next.
        return CudaKernel(actors, simulate=True, launch_s=0.02, **options)


ACTORS = [
    rn.actors.Wave2D((8, 9)),
    rn.actors.Wave3D((6, 7, 8)),
    rn.actors.Heat2D((8, 9)),
    rn.actors.GrayScott((8, 9)),
    rn.actors.Life((8, 9)),
    rn.actors.Ising2D((8, 10)),
]


@pytest.mark.parametrize("actor", ACTORS, ids=lambda actor: actor.kernel_type)
def test_states_and_the_cpus_agree_and_go_from_one_to_the_other(actor):
    """A checkpoint that either wrote continues in both, and they stay together."""
    storage = rn.ZarrStorage("memory://cudasim-and-cpu")
    config = rn.CheckpointConfig(enabled=False)
    cell = (3,) * len(actor.shape)
    fields = {}
    for backend in ("cudasim", "cpu"):
        with rn.Session(actor, backend=backend, config=config, storage=storage) as s:
            assert s.backend == backend
            s.inject(0, at=cell, amplitude=0.7)
            s.run_steps(0, 8)
            name = s.snapshot(0).name
            if backend == "cudasim":
                made_there = name
            else:
                assert s.restore(0, made_there) == 8
            s.run_steps(0, 5)
            fields[backend] = s.snapshot(0).numpy()
    with rn.Session(actor, backend="cudasim", config=config, storage=storage) as s:
        s.restore(0, name)
        s.run_steps(0, 5)
        fields["back"] = s.snapshot(0).numpy()
    for other in ("cpu", "back"):
        for name, field in fields["cudasim"].items():
            apart = np.abs(field.astype(float) - fields[other][name].astype(float)).max()
            assert apart <= TOLERANCE[actor.kernel_type]


def test_every_built_in_actor_has_a_tolerance():
    built_in = {getattr(rn.actors, name) for name in rn.actors.__all__}
    kinds = {vars(one).get("kernel_type") for one in built_in if isinstance(one, type)} - {None}
    assert kinds == set(TOLERANCE) == {actor.kernel_type for actor in ACTORS}


def test_the_last_bit_of_exp_decides_no_flip_of_an_ising_model():
    """As `ringnb.testing.tolerance` has it: what random words are compared with is no integer."""
    temperature = rn.actors.Ising2D((8, 10)).params["temperature"]
    for rise in (4.0, 8.0):
        off = (np.exp(-rise / temperature) * (2**32 - 1)) % 1
        assert 2**-18 < off < 1 - 2**-18


def test_a_session_passes_the_grid_on_and_remakes_it():
    storage = rn.ZarrStorage("memory://cudasim-grid")
    grid = {"lanes": 2, "width": 3, "threads": 64, "ring_capacity": 8}
    session = rn.Session(
        Mixer((5, 7)), 3, backend="cudasim", storage=storage, service=False, **grid
    )
    for _ in range(2):
        kernel = session.statistics().kernel
        assert (kernel.lanes, kernel.width, kernel.ring_capacity) == (2, 3, 8)
        assert session.run_steps(2, 2) == 2
        session = session.remake()
    session.close()
    with pytest.raises(ValueError, match=r"threads must lie in 32\.\.1024"):
        rn.Session(Mixer((5, 7)), backend="cudasim", storage=storage, threads=2)
    with rn.Session(
        Mixer((5, 7)), backend="cudasim", storage=storage, service=False, width=1
    ) as one:
        assert one.statistics().kernel.width == 1


def test_a_kernel_that_is_not_launched_stands_and_goes_on_where_it_was():
    """As in a process that is stopped for a while: nothing is lost, nothing is done twice."""
    kernel = CudaKernel([Mixer((5, 7))], simulate=True, launch_s=0.01)
    with running(kernel) as client:
        client.call(0, Command.RUN_STEPS, (5,))
        assert client.wait_until(lambda: kernel.counters(0).step == 5, 60)
        for round_ in range(1, 4):
            kernel.hold_launches()
            assert client.wait_until(lambda: kernel.idle, 60)
            launches, loops = kernel.launches, kernel.statistics().loops
            waiting = [client.submit(0, Command.RUN_STEPS, (1,)) for _ in range(3)]
            assert kernel.statistics().h2k_depth == (3,)
            kernel.look()
            assert kernel.alive
            assert (kernel.launches, kernel.statistics().loops) == (launches, loops)
            kernel.hold_launches(False)
            targets = [client.wait_reply(pending).value for pending in waiting]
            assert targets == [5 + 3 * round_ - left for left in (2, 1, 0)]
            assert client.wait_until(lambda: kernel.counters(0).budget == 0, 60)
        state, reply = captured(client, 0)
        assert reply.step == 14
        np.testing.assert_array_equal(state, advance(Mixer((5, 7)).start(0), 0, 14))


def test_a_small_state_is_there_with_its_answer_and_a_larger_one_is_fetched():
    """Into the same buffer, one after the other: none may be taken for the other's, or waited for."""
    shapes = (4, 5), (64, 128), (65, 128)
    actors = [counter(shape) for shape in shapes]
    assert [staging_tail(actor) for actor in actors[1:]] == [1 << 16, 66560]
    kernel = CudaKernel(actors, simulate=True)
    download, fetched = kernel._device.download, []

    def counted(source, at, target, event):
        fetched.append(target.nbytes)
        return download(source, at, target, event)

    kernel._device.download = counted
    with running(kernel) as client:
        for step, slot in enumerate((0, 1, 2, 1, 0, 2, 2, 0), start=1):
            fetched.clear()
            start = np.full((1, *shapes[slot]), step, np.int64)
            restored(client, slot, start, step, *kernel.actors[slot].params.values())
            state, reply = captured(client, slot)
            assert reply.value == 0
            np.testing.assert_array_equal(state, start)
            assert len(fetched) == (slot == 2)
            assert (0 in kernel._arrays._copies[0]) == (
                slot == 2
            )  # else it waits for one of before


@pytest.mark.parametrize("launch_s", [0.001, 61.0, float("nan")])
def test_a_launch_lasts_for_milliseconds_to_a_minute(launch_s):
    with pytest.raises(ValueError, match="launch_s must"):
        CudaKernel([Mixer((5, 7))], simulate=True, launch_s=launch_s)


def test_a_second_kernel_is_refused_while_one_runs():
    kernel = CudaKernel([Mixer((5, 7))], simulate=True)
    with running(kernel):
        with pytest.raises(BackendUnavailable, match="Close the other session"):
            CudaKernel([Mixer((5, 7))], simulate=True)


def test_the_gpu_is_refused_in_a_process_with_the_simulator():
    with pytest.raises(BackendUnavailable, match=r"backend 'cuda'.*Start a new one"):
        rn.Session(Mixer((5, 7)), backend="cuda")


def test_launch_blocking_is_refused(monkeypatch):
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    with pytest.raises(BackendUnavailable, match=r"CUDA_LAUNCH_BLOCKING=1 is set.*backend='cpu'"):
        rn.Session(Mixer((5, 7)), backend="cuda")
