"""Lesson 8: the CUDA kernel alone, its words, and the ring's two indices."""

from __future__ import annotations

import subprocess
import sys

import numba
import numpy as np
import pytest
from lessons import refuse

import ringnb as rn
from ringnb import course
from ringnb.course import lesson_08 as gpu
from ringnb.kernel.cuda.availability import load
from ringnb.messages.commands import Command

WRONG = [
    (lambda h, t, n: range(t % n, h % n), "unread(4, 0, 4) should be [0, 1, 2, 3]"),
    (lambda h, t, n: range(t, h), "returned [1, 2, 3, 4]"),
    (lambda h, t, n: [i % n for i in range(h - 1, t - 1, -1)], "returned [1, 0]"),
    (lambda h, t, n: [i % n for i in range(t, h)] if h < 2**32 else [], "[]"),
    (lambda h, t, n: [i % n for i in range(t, h + 1)], "unread("),
    (lambda h, t, n: [i % n for i in range(t + 1, h)], "unread("),
    (lambda h, t, n: sorted(i % n for i in range(t, h)), "unread("),
    (lambda h, t, n: [], "should be ["),
    (lambda h, t, n: h - t, "not a list of slots"),
    (lambda h, t, n: [0.5], "not a list of slots"),
    (lambda h, t, n: 1 / 0, "ZeroDivisionError"),
    (lambda h, t, n: (1 // 0 for _ in range(1)), "your code raised ZeroDivisionError"),
]


@pytest.mark.parametrize(("answer", "fact"), WRONG)
def test_a_wrong_reading_of_the_ring_is_told_what_is_wrong(answer, fact):
    refuse(course.check_08, answer, fact=fact)


@pytest.mark.parametrize(
    "answer",
    [
        lambda h, t, n: (i % n for i in range(t, h)),
        lambda h, t, n: np.arange(t, h) & (n - 1),
        lambda h, t, n: tuple(i - i // n * n for i in range(t, h)),
    ],
)
def test_another_right_reading_passes(answer):
    assert "every command found" in course.check_08(answer)


@pytest.fixture
def bare():
    pytest.importorskip("numba_cuda")
    kernel = course.bare_kernel("cudasim", rn.actors.Life((5, 7)), capacity=2)
    yield kernel
    kernel.stop()


def test_the_source_of_the_barrier_is_shown(bare):
    source = course.barrier_source()
    assert source.count("cuda.syncthreads()") == 2
    assert "ld_relaxed_gpu" in source


def test_a_new_bare_kernel_stops_the_one_before(bare):
    course.bare_kernel("cudasim", rn.actors.Life((5, 7))).stop()
    assert not bare.alive


def test_the_words_of_a_bare_kernel_are_the_live_ones_and_outlive_it(bare):
    kernel = bare
    before = course.words(kernel)
    kernel.push_nowait(0, Command.RUN_STEPS, 9, 0, (3,))
    course.seconds_until(lambda: course.words(kernel)["K2H_HEAD"] == 2)
    assert kernel.shared(0).h2k[0, :4].tolist() == [Command.RUN_STEPS, 9, 0, 3]
    assert kernel.shared(0).k2h[:, 0].tolist() == [Command.RUN_STEPS, Command.BUDGET_DONE]
    for view in kernel.shared(0):
        with pytest.raises(ValueError, match="read-only"):
            view[...] = 0
    kernel.hold_launches()
    course.seconds_until(lambda: kernel.idle)
    after = course.words(kernel, since=before)
    assert course.words(kernel) == after
    moved = {name for name in after if after[name] != before[name]}
    assert moved - {"LOOPS", "LAUNCHES"} == {"H2K_HEAD", "H2K_TAIL", "K2H_HEAD", "W_STEP"}
    assert after["W_STEP"] == 3
    assert "<td style='text-align:right'>0</td><td style='text-align:right'>3</td>" in (
        after._repr_html_()
    )
    assert "W_STEP        kernel      0       3" in repr(after)
    kernel.stop()
    assert course.words(kernel) == {**after, "STOP": 1}  # no launch was left that could see it


def test_words_are_those_of_a_cuda_kernel():
    with pytest.raises(TypeError, match="backend='cudasim'"):
        course.words(object())


def answer(stdout="", stderr="", status=0):
    return lambda *arguments, **_: subprocess.CompletedProcess(arguments, status, stdout, stderr)


def test_the_backend_of_the_lesson_is_the_gpu_only_where_one_can_be_used(monkeypatch):
    pytest.importorskip("numba_cuda")
    loaded = []
    monkeypatch.setattr(gpu, "load", lambda *, simulate: loaded.append(simulate))
    monkeypatch.delitem(sys.modules, "numba.cuda", raising=False)
    monkeypatch.setattr(gpu, "driver_present", lambda: False)
    assert course.gpu_or_simulator() == (
        "cudasim",
        "the kernel runs in Numba's simulator: no NVIDIA driver is loaded here",
    )
    monkeypatch.setattr(gpu, "driver_present", lambda: True)
    monkeypatch.setattr(gpu, "run_python", answer("\n"))
    assert course.gpu_or_simulator()[0] == "cuda"
    monkeypatch.setattr(gpu, "run_python", answer("the toolkit is missing\n"))
    assert course.gpu_or_simulator()[1].endswith("the toolkit is missing")
    monkeypatch.setattr(gpu, "run_python", answer("", "Traceback\nImportError: no\n", 1))
    assert course.gpu_or_simulator()[1].endswith("ImportError: no")
    assert loaded == [True, True, True]


def test_without_the_package_the_lesson_says_in_one_line_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "numba.cuda", raising=False)
    monkeypatch.setattr(gpu, "driver_present", lambda: False)
    monkeypatch.setattr("ringnb.kernel.cuda.availability._numba_cuda_installed", lambda: False)
    with pytest.raises(rn.BackendUnavailable, match="pip install 'numba-cuda") as failure:
        course.gpu_or_simulator()
    (line,) = failure.value._render_traceback_()
    assert "backend='cpu'" not in line


def test_a_process_with_the_other_numba_cuda_is_told_what_to_do(monkeypatch):
    pytest.importorskip("numba_cuda")
    load(simulate=True)
    assert course.gpu_or_simulator()[1].endswith("this process has the simulator's numba.cuda")
    monkeypatch.setattr(numba.config, "ENABLE_CUDASIM", 0)
    monkeypatch.setattr(gpu, "driver_present", lambda: False)
    with pytest.raises(rn.BackendUnavailable, match=r"the GPU's numba\.cuda.*Start a new one"):
        course.gpu_or_simulator()


def test_a_kernel_that_cannot_be_compiled_is_said_so(monkeypatch):
    monkeypatch.setattr(
        gpu, "run_python", answer("", "Traceback\nNvvmSupportError: no libnvvm\n", 1)
    )
    with pytest.raises(rn.BackendUnavailable, match=r"^NvvmSupportError: no libnvvm\. pip install"):
        course.wave_ptx().result()


def test_the_barrier_is_cut_out_of_the_machine_code():
    before, after = "bar.sync 0;\n\nret;\n", "\n\n\tbar.sync 3;"
    ptx = f"{before}\tbar.sync 1;\n// asm\n\tld.relaxed.gpu.b64 %a;\n bar.sync 2;{after}"
    assert course.barrier_in(ptx) == "    bar.sync 1;\n    ld.relaxed.gpu.b64 %a;\n bar.sync 2;"
