"""The CUDA kernel compiles with no device, and its PTX holds what its correctness rests on."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("numba_cuda")


@pytest.fixture(scope="module")
def reports():
    done = subprocess.run(
        [sys.executable, "-m", "ringnb.testing.ptx"], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_actor_and_every_capability_is_there(reports):
    assert {tuple(r["cc"]) for r in reports} == {(7, 5), (8, 0), (9, 0), (12, 0)}
    assert len({r["actor"] for r in reports}) == 7
    assert all(r["target"] for r in reports)


def test_polls_are_repeated_and_ordered_and_counters_stay_integers(reports):
    for report in reports:
        assert report["ld.relaxed.sys.b64"] >= 3  # head, stop word, heartbeat
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
            2 if report["actor"] == "ising_2d" else 0
        ), report["actor"]


def test_products_and_sums_are_rounded_apart_as_on_the_cpu(reports):
    for report in reports:
        # Of the built-in actors one calls a function, exp, which fuses inside.
        assert (report["fused or open to it"] > 0) == (report["actor"] == "ising_2d"), report[
            "actor"
        ]


def test_the_loop_over_cells_holds_only_what_changes_from_cell_to_cell(reports):
    """Parameters are not read again for each; places are 32-bit numbers. Else it is a seventh longer."""
    waves = [r for r in reports if r["actor"] == "fdtd_2d"]
    assert len(waves) == 4
    for report in waves:
        assert 0 < min(report["lines of the loops that write 4 bytes"]) <= 80
