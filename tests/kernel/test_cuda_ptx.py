"""The CUDA kernel compiles with no device, and its PTX holds what its correctness rests on.

All kinds of actors are compiled in one kernel, for some capabilities; `RINGNB_FULL_PTX=1` does so for
all, and adds every actor in one of its own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ptx import CAPABILITIES, FEW

from ringnb.kernel.cuda.availability import toolkit_versions

pytest.importorskip("numba_cuda")
pytestmark = [pytest.mark.slow, pytest.mark.unhurried]
ROOT = Path(__file__).parents[2]
FULL = os.environ.get("RINGNB_FULL_PTX", "") not in ("", "0")
COMPILED_FOR = CAPABILITIES if FULL else FEW


@pytest.fixture(scope="module")
def everything():
    command = [sys.executable, str(ROOT / "tests" / "ptx.py"), *(["--full"] if FULL else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def reports(everything):
    return [report for report in everything if "actors" in report]


def test_every_actor_compiles_for_each_capability_asked(reports):
    hosting_all = [r for r in reports if len(r["actors"]) == 7]
    assert [tuple(r["cc"]) for r in hosting_all] == list(COMPILED_FOR)
    assert all(len(set(r["actors"])) == 7 for r in hosting_all)
    assert all(r["target"] for r in reports)
    if FULL:
        alone = [r for r in reports if len(r["actors"]) == 1]
        assert {r["actors"][0] for r in alone} == set(hosting_all[0]["actors"])
        assert {tuple(r["cc"]) for r in alone} == set(CAPABILITIES)


def test_polls_are_repeated_and_ordered_and_counters_stay_integers(reports):
    for report in reports:
        assert report["ld.relaxed.sys.b64"] >= 3  # head, stop word, gate
        assert report["ld.relaxed.gpu.b64"] >= 1  # the barrier
        # The compiler looks once before each spin loop, and again in every turn of it: a load that
        # was hoisted would leave the short loop without one.
        around = report["lines of the barrier's loop"]
        assert sum(0 < lines <= 20 for lines in around) == len(around) // 2 >= 1
        assert report["ld.acquire.sys.b64"] >= 1
        assert report["ld.acquire.gpu.b64"] >= 1
        assert report["st.release.sys.b64"] >= 1
        assert report["cudaCGGetIntrinsicHandle"] >= 1  # cooperative
        assert report["vprintf"] == 0  # what a kernel prints is shown at its end
        assert report["float compares of converted integers"] == (
            1 if "ising_2d" in report["actors"] else 0
        ), report["actors"]


def test_512_threads_fit_on_a_multiprocessor_and_little_is_spilled(reports):
    # A multiprocessor has 65,536 registers: 128 for each. What is spilled is the leader's, where many
    # kinds of actors are in one kernel: tests/sass.py shows that there is nothing of it in their loops.
    for report in reports:
        assert 16 <= report["registers"] <= 128, report
        assert report["spills"] <= 1200, report
        assert report["shared"] <= 2048, report


def test_what_a_kernel_of_all_actors_spills_is_told(reports):
    readme = (ROOT / "ringnb" / "kernel" / "README.md").read_text(encoding="utf-8")
    told = {cc: int(n) for n, cc in re.findall(r"(\d+) bytes for (\d+\.\d+a?)", readme)}
    assert len(told) == 3
    found = {
        f"{r['cc'][0]}.{''.join(map(str, r['cc'][1:]))}": r["spills"]
        for r in reports
        if len(r["actors"]) == 7
    }
    if toolkit_versions()["nvJitLink"].startswith("13.5."):  # another assembler spills other bytes
        assert {cc: found[cc] for cc in told} == told


def test_the_benchmark_s_kernels_compile_for_each_capability_asked(everything):
    found = [report for report in everything if "baseline" in report]
    assert [(r["baseline"], tuple(r["cc"])) for r in found] == [
        (name, cc) for name in ("copy", "wave_2d", "wave_3d") for cc in COMPILED_FOR
    ]
    # 168 registers leave a multiprocessor 384 threads, each of which computes four cells together.
    assert all(r["spills"] == 0 and 8 <= r["registers"] <= 168 for r in found), found


def test_products_and_sums_are_rounded_apart_as_on_the_cpu(reports):
    for report in reports:
        # Of the built-in actors one calls a function, exp of float64, which fuses inside.
        assert report["fused or open to it"]["32"] == 0, report["actors"]
        fused = report["fused or open to it"]["64"]
        assert (fused > 0) == ("ising_2d" in report["actors"]), report["actors"]


def test_stages_arrays_and_reductions_compile_for_a_device(everything):
    assert [r for r in everything if "fused" in r] == [{"fused": False, "largest": True}]


def test_what_a_helper_refers_to_is_compiled_as_it_is_now(everything):
    """Numba would take the helper's code of before."""
    found = [report["constants"] for report in everything if "constants" in report]
    assert found == [[True, True, False, False], [False, False, True, True]]
