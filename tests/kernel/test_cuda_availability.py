"""What keeps the GPU kernel from running is said exactly; ``backend="auto"`` is quiet without reason."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import textwrap

import pytest

import ringnb as rn
from ringnb._support.children import run_python
from ringnb.errors import BackendUnavailable
from ringnb.kernel.cuda import availability, self_test
from ringnb.kernel.cuda import kernel as cuda_kernel  # now, with what no test has put in its place
from ringnb.testing.kernels import Mixer

FIT = availability._Gpu("Fake 9000", (9, 0), (7, 5), True, True)


@pytest.fixture
def gpu(monkeypatch):
    """Pretend that everything is there; a test takes one thing away."""
    monkeypatch.setattr(availability, "load", lambda simulate: None)
    monkeypatch.setattr(availability, "_library_found", lambda name: True)
    monkeypatch.setattr(availability, "_look_at_gpu", lambda cuda, number: FIT)
    monkeypatch.setattr(availability, "driver_present", lambda: True)
    monkeypatch.setattr(availability, "_why_nothing_is_built", lambda cuda, number: None)
    monkeypatch.setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32")
    for name, _ in availability._HARMFUL:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_nothing_keeps_it_from_a_fit_gpu(gpu):
    assert availability.why_unavailable() is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"capability": (7, 0)}, ["Fake 9000", "7.0", "7.5", "cuda12"]),
        ({"capability": (6, 1), "lowest": (7, 0)}, ["6.1", "7.0"]),
        ({"cooperative": False}, ["Fake 9000", "cooperatively", "another GPU"]),
        ({"maps_host_memory": False}, ["map memory", "another GPU"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_gpu_that_is_not_fit_is_refused_with_fact_and_remedy(gpu, change, words):
    gpu.setattr(availability, "_look_at_gpu", lambda cuda, number: FIT._replace(**change))
    with pytest.raises(BackendUnavailable, match="use backend='cpu'") as caught:
        rn.Session(Mixer((5, 7)), backend="cuda")
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_device_that_was_asked_for_is_looked_at(gpu, monkeypatch):
    """The seam itself, over a device that is fake."""
    from types import SimpleNamespace

    gpu.undo()
    second = SimpleNamespace(
        name="Fake 9000", compute_capability=(9, 0), COOPERATIVE_LAUNCH=1, CAN_MAP_HOST_MEMORY=1
    )
    fake = SimpleNamespace(is_available=lambda: True, gpus=[None, second])
    nvrtc = SimpleNamespace(get_supported_ccs=lambda: [(7, 5), (9, 0)])
    monkeypatch.setitem(sys.modules, "numba.cuda.cudadrv.nvrtc", nvrtc)
    monkeypatch.setattr("numba.cuda.cudadrv.nvrtc", nvrtc, raising=False)
    assert availability._look_at_gpu(fake, 1) == FIT
    assert availability._look_at_gpu(fake, 2) == 2
    fake.is_available = lambda: False
    assert availability._look_at_gpu(fake, 0) == 0


def test_a_number_that_no_gpu_has_is_refused_with_how_many_there_are(gpu):
    gpu.setattr(availability, "_look_at_gpu", lambda cuda, number: 2)
    assert "no GPU 5 here: this process sees 2" in availability.why_unavailable(5)


def test_no_device_and_a_driver_that_fails_are_told_apart(gpu):
    gpu.setattr(availability, "_look_at_gpu", lambda cuda, number: 0)
    with_driver = availability.why_unavailable()
    gpu.setattr(availability, "driver_present", lambda: False)
    without = availability.why_unavailable()

    def broken(cuda, number):
        raise RuntimeError("error 803,\n and its meaning")

    gpu.setattr(availability, "_look_at_gpu", broken)
    failing = availability.why_unavailable()
    assert len({with_driver, without, failing}) == 3
    assert "RuntimeError: error 803, and its meaning" in failing
    assert all("nvidia-smi" in said for said in (with_driver, without, failing))


def test_each_missing_library_is_named_with_the_extra_that_brings_it(gpu):
    gpu.setattr(availability, "_library_found", lambda name: name != "nvvm")
    said = availability.why_unavailable()
    assert "nvvm" in said
    assert "nvrtc" not in said
    assert "ringnb[cuda13]" in said


@pytest.mark.skipif(sys.platform != "linux", reason="the toolkit's wheels are for Linux")
def test_libraries_are_looked_for_where_numba_takes_them_from(tmp_path):
    code = """
        import sys
        from ringnb.kernel.cuda import availability
        availability.load(simulate=False)
        from numba.cuda.cudadrv import libs
        print([availability._library_found(name) for name in ("nvrtc", "nvvm", "no such library")])
        for directory in sys.argv[1:]:
            libs.get_cudalib = lambda name, static: f"{directory}/lib{name}.a"
            print(availability._library_found("cudadevrt"))
    """
    (tmp_path / "libcudadevrt.a").touch()
    done = run_python(
        "-c",
        textwrap.dedent(code),
        tmp_path,
        tmp_path / "nowhere",
        timeout=60,
        env=_without_simulator(),
        check=True,
    )
    assert done.stdout == "[True, True, False]\nTrue\nFalse\n"


def _without_simulator():
    return {k: v for k, v in os.environ.items() if k != "NUMBA_ENABLE_CUDASIM"}


@pytest.mark.parametrize("name", [name for name, _ in availability._HARMFUL])
def test_what_makes_launches_wait_is_refused(gpu, name):
    gpu.setenv(name, "1")
    assert availability.why_unavailable().startswith(f"{name}=1 is set")
    gpu.setenv(name, "0")
    assert availability.why_unavailable() is None


@pytest.mark.parametrize("backend", ["cuda", "cudasim"])
def test_without_numba_cuda_the_package_to_install_is_named(monkeypatch, backend):
    monkeypatch.setattr(availability, "_numba_cuda_installed", lambda: False)
    with pytest.raises(BackendUnavailable, match="pip install") as caught:
        availability.load(simulate=backend == "cudasim")
    assert "numba-cuda" in str(caught.value)
    assert ("ringnb[cuda13]" in str(caught.value)) == (backend == "cuda")


def test_there_are_queues_enough_from_before_the_first_import_of_cuda(gpu):
    name = "CUDA_DEVICE_MAX_CONNECTIONS"
    gpu.delenv(name)
    seen = []
    gpu.setattr(availability, "load", lambda simulate: seen.append(os.environ.get(name)))
    assert availability.why_unavailable() is None
    for given in ("8", "1", "many"):
        gpu.setenv(name, given)
        said = availability.why_unavailable()
        assert said is None if given == "8" else said.startswith(f"{name}={given} is set")
    assert seen == ["32", "8"]


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="needs numba-cuda")
def test_numba_cuda_is_imported_beside_a_newer_numpy_and_where_warnings_are_errors():
    code = """
        import numpy as np
        vars(np).pop("row_stack", None)  # NumPy 2.5 has none, and numba-cuda asks for it
        from ringnb.kernel.cuda.availability import load
        load(simulate=False)
        import ringnb.kernel.cuda.program
        assert not hasattr(np, "row_stack")
    """
    done = run_python(
        "-W", "error", "-c", textwrap.dedent(code), timeout=60, env=_without_simulator()
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="needs numba-cuda")
def test_whichever_numba_cuda_came_first_the_other_is_refused_with_the_remedy():
    code = """
        import sys
        from numba import cuda  # as a user's own code may
        import ringnb as rn
        from ringnb.testing.kernels import Mixer
        try:
            rn.Session(Mixer((5, 7)), backend="cudasim")
        except rn.BackendUnavailable as error:
            print(error)
    """
    done = run_python("-c", textwrap.dedent(code), timeout=60, env=_without_simulator(), check=True)
    assert "the GPU's numba.cuda" in done.stdout
    assert "NUMBA_ENABLE_CUDASIM=1" in done.stdout


@pytest.mark.parametrize(
    ("driver", "numba_cuda", "extra", "said"),
    [
        (False, False, False, None),
        (False, True, False, None),  # numba-cuda alone: the simulator's
        (True, True, True, "the reason"),
        (False, True, True, "no NVIDIA driver is loaded"),
    ],
)
def test_auto_says_once_why_it_takes_the_cpu_where_something_speaks_for_a_gpu(
    monkeypatch, caplog, driver, numba_cuda, extra, said
):
    monkeypatch.setattr(availability, "driver_present", lambda: driver)
    monkeypatch.setattr(availability, "_numba_cuda_installed", lambda: numba_cuda)
    monkeypatch.setattr(availability, "_extra_installed", lambda: extra)
    monkeypatch.setattr(availability, "why_unavailable", lambda number: "the reason")
    monkeypatch.setattr(availability, "_noticed", set())
    with caplog.at_level(logging.DEBUG, "ringnb"):
        for _ in range(2):
            storage = rn.ZarrStorage("memory://auto-notice")
            with rn.Session(Mixer((5, 7)), storage=storage, service=False) as session:
                assert session.backend == "cpu"
    lines = [record.getMessage() for record in caplog.records]
    if said is None:
        assert lines == []
    else:
        (line,) = lines
        assert said in line
        assert "\n" not in line


def test_the_extra_is_told_from_what_the_simulator_needs(monkeypatch):
    import importlib.metadata

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert not availability._extra_installed()
    monkeypatch.setattr(importlib.metadata, "version", lambda name: {"cuda-toolkit": "13.1"}[name])
    monkeypatch.setattr(availability, "_numba_cuda_installed", lambda: True)
    assert availability._extra_installed()
    monkeypatch.setattr(availability, "_numba_cuda_installed", lambda: False)
    assert not availability._extra_installed()


def test_auto_takes_a_gpu_that_has_passed_the_checks_and_run_a_small_kernel(monkeypatch, caplog):
    monkeypatch.setattr(availability, "driver_present", lambda: True)
    monkeypatch.setattr(availability, "why_unavailable", {1: None}.__getitem__)
    monkeypatch.setattr(availability, "_noticed", set())
    for found in (None, "computed 7 words otherwise"):
        monkeypatch.setattr(self_test, "why_not_trusted", {1: found}.__getitem__)
        with caplog.at_level(logging.DEBUG, "ringnb"):
            assert availability.gpu_for_auto(1) == (found is None)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "computed 7 words otherwise" in line


def test_auto_takes_the_cpu_for_an_actor_that_is_not_for_the_card_and_says_why(monkeypatch, caplog):
    from ringnb.session import launching

    def refuse(*_, **options):
        assert options["threads"] == 64
        raise MemoryError("the actors need 9 TiB on the card")

    monkeypatch.setattr(launching, "gpu_for_auto", lambda number: True)
    monkeypatch.setattr(cuda_kernel, "CudaKernel", refuse)
    monkeypatch.setattr(availability, "_noticed", set())
    with caplog.at_level(logging.WARNING, "ringnb"):
        with rn.Session(
            Mixer((5, 7)), storage=rn.ZarrStorage("memory://auto"), service=False, threads=64
        ) as session:
            assert session.backend == "cpu"
    assert "9 TiB" in caplog.text


class TestSelfTest:
    """The small kernel itself, in the simulator."""

    @pytest.fixture
    def why(self, monkeypatch):
        pytest.importorskip("numba_cuda")

        class Simulated(cuda_kernel.CudaKernel):
            def __init__(self, actors, **options):
                super().__init__(actors, simulate=True, **options)

        monkeypatch.setattr(cuda_kernel, "CudaKernel", Simulated)
        monkeypatch.setattr(self_test, "_SHAPE", (5, 7))
        self_test._tried.cache_clear()
        yield self_test.why_not_trusted
        self_test._tried.cache_clear()

    def test_nothing_is_wrong_with_a_right_one(self, why):
        assert why() is None

    def test_a_wrong_bit_is_told(self, why, monkeypatch):
        staged = cuda_kernel.LaneKernel.staged

        def changed(self, *where):
            view, facts = staged(self, *where)
            if self.name == "cudasim":
                view = view.copy()
                view[0, 0, 2, 3] += 1
            return view, facts

        monkeypatch.setattr(cuda_kernel.LaneKernel, "staged", changed)
        assert "1 of 70 words otherwise than the CPU" in why()

    def test_a_kernel_that_is_there_already_is_told_and_not_remembered(self, why):
        kernel = cuda_kernel.CudaKernel([Mixer((5, 7))])
        kernel.launch()
        assert "runs in this process already" in why()
        kernel.stop()
        assert why() is None


def test_what_the_driver_refuses_for_now_is_told_as_that_and_not_remembered():
    import contextlib
    from types import SimpleNamespace

    class Cuda:
        gpus = (contextlib.nullcontext(),)
        full = True

        def jit(self, signature, lto):
            if self.full:
                raise RuntimeError("Call to cuLibraryLoadData results in CUDA_ERROR_OUT_OF_MEMORY")
            return lambda kernel: SimpleNamespace(overloads={})

    cuda = Cuda()
    said = availability._why_nothing_is_built(cuda, 0)
    assert "CUDA_ERROR_OUT_OF_MEMORY" in said
    assert "toolkit" not in said
    cuda.full = False
    assert availability._why_nothing_is_built(cuda, 0) is None


def test_a_driver_that_refuses_at_once_is_told_with_the_remedy(monkeypatch):
    def refuse(number, reserve):
        raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS: after a kernel that died")

    monkeypatch.setattr(cuda_kernel, "GpuDevice", refuse)
    with pytest.raises(
        BackendUnavailable, match=r"CUDA_ERROR_ILLEGAL_ADDRESS.*restart the process"
    ):
        rn.Session(Mixer((5, 7)), backend="cuda")


def test_parts_of_a_toolkit_that_do_not_fit_are_told_with_their_versions():
    from numba.core.errors import TypingError

    from ringnb.kernel.cuda.errors import is_of_toolkit, why_not_built

    class nvJitLinkError(Exception):  # noqa: N801 - as its bindings have it
        pass

    error = nvJitLinkError(
        "ERROR_PTX_COMPILE (4)\nUnsupported .version 8.8; current version is 8.5"
    )
    assert is_of_toolkit(error)
    assert not is_of_toolkit(TypeError("no implementation of function sin for unicode_type"))
    assert not is_of_toolkit(TypingError("no match for sin: File numba/cuda/libdeviceimpl.py"))
    driver = RuntimeError("results in CUDA_ERROR_UNSUPPORTED_PTX_VERSION")
    assert "do not work together" in why_not_built(driver, {})
    said = why_not_built(error, {"NVVM": "12.9.86", "nvJitLink": "12.6.85"})
    assert "NVVM 12.9.86, nvJitLink 12.6.85" in said
    assert "Unsupported .version 8.8" in said
    assert "ringnb[cuda12]" in said
    assert "\n" not in said
