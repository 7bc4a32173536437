"""The way of ``.ci/gpu --offline`` through its stages, where what stands for Python fails or hangs.

What the stages do is real on a card, or on the one in software: ``python tests/standin/card.py .ci/gpu
--offline DIR``. Here is tried that each has its deadline, and none ends the others.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENDING = ROOT / "tests" / "gpu" / "test_gpu_ending.py"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("timeout") is None or shutil.which("bash") is None,
        reason="needs GNU's timeout",
    ),
]

# In place of Python, but for what collects tests: HANGS and FAILS are parts of command lines. What hangs
# has a child, and neither heeds a request to end.
PYTHON = """#!/bin/sh
case "$*" in
    *--collect-only*) exec "$PYTHON" "$@";;
    -m\\ venv*)
        for made; do :; done
        mkdir -p "$made/bin"
        cp "$0" "$made/bin/pip"
        cp "$0" "$made/bin/python3";;
    *purelib*) echo "$TMPDIR"; exit;;
esac
for option; do
    [ "$before" = --json ] && echo '{}' >"$option"
    before=$option
done
echo "says $*"
case "$*" in
    *$HANGS*) trap '' TERM; sleep 600 & echo "child $!"; wait; sleep 600;;
    *$FAILS*) exit 3;;
esac
"""
TIMEOUT = """#!/bin/sh
case "$*" in *--collect-only*) exec {timeout} "$@";; esac
shift 3
exec {timeout} -k 0.1 1 "$@"
"""
FIRST = [
    *("facts", "probe", "waits", "waits-full"),
    *("wave-16x16", "wave-512x512", "wave-512x512x512"),
    *("bench-commands,reference", "bench-stages"),
    *("wave-8192x8192", "wave-512x512-narrow", "wave-512x512x512-narrow"),
]
SECOND = [
    *("contract", "restore", "functions", "load"),
    *(f"ending-{name}" for name in re.findall(r"def (test_\w+)", ENDING.read_text("utf-8"))),
]


@pytest.fixture
def stages(tmp_path):
    """Run parts of the script; return its exit status and what it printed."""
    programs, wheels, out = (tmp_path / name for name in ("bin", "wheels", "out"))
    for directory in (programs, wheels, out):
        directory.mkdir()
    timeout = TIMEOUT.format(timeout=shutil.which("timeout"))
    for name, text in {"python3": PYTHON, "timeout": timeout}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)

    def run(*part, hangs="NONE", fails="NONE", times="1", device="", offline=True, **more):
        done = subprocess.run(
            [ROOT / ".ci" / "gpu", *(("--offline", wheels, *part) if offline else ())],
            env={
                **os.environ,
                **more,
                "PATH": f"{programs}:{os.environ['PATH']}",
                "OUT": str(out) if offline else "",
                "TMPDIR": str(tmp_path),
                "HANGS": hangs,
                "FAILS": fails,
                "RINGNB_STAGE_TIMES": times,
                "STANDIN_DEVICE": device,
                "PYTHON": sys.executable,
                "NUMBA_ENABLE_CUDASIM": "0",  # else no test is for a GPU
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout

    run.out, run.wheels = out, wheels
    return run


def begun(said):
    return re.findall(r"^== (\S+) \(at \d+s, \d+s at most\)$", said, re.MULTILINE)


def test_one_that_hangs_and_one_that_fails_end_no_other(stages):
    status, said = stages("1", hangs="gpu_waits.py --full", fails="--only stages")
    assert status == 1
    assert begun(said) == FIRST
    assert re.search(r"^== 2 stages failed after \d+s; results in ", said, re.MULTILINE)
    # What a stage says may come later.
    assert "\n   waits-full (137)\n   bench-stages (3)\n" in said
    logs = {name: (stages.out / f"{name}.log").read_text() for name in FIRST}
    assert all(log.startswith("says ") for name, log in logs.items() if name != "facts")
    (child,) = re.findall(r"child (\d+)", logs["waits-full"])
    assert not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text()
    kept = {path.name for path in stages.out.glob("*.json")}
    assert kept == {"bench-commands,reference.json", "bench-stages.json"}


@pytest.mark.parametrize("device", ["", "/standin/device"])
def test_grids_are_small_in_software_alone_however_long_deadlines_are(stages, device):
    status, said = stages("1", times="3", device=device)
    assert status == 0
    small = "--longest 20 --steps 10"
    waves = [name for name in FIRST if name.startswith("wave-")]
    told = [(stages.out / f"{name}.log").read_text() for name in waves]
    assert [small in log for log in told] == [bool(device)] * 6
    assert ("--times 100" in (stages.out / "probe.log").read_text()) is bool(device)


def test_tests_are_tried_to_the_last_each_ending_by_itself(stages):
    status, said = stages("2", hangs="::test_after_an_exception", times="3")
    assert status == 1
    assert begun(said) == SECOND
    assert len(SECOND) > 8
    assert re.findall(r"^   (\S+ \(\d+\))$", said, re.MULTILINE) == [
        "ending-test_after_an_exception (137)"
    ]
    # As on a card in software: all has so many times as long.
    assert re.search(r"^== contract \(at \d+s, 300s at most\)$", said, re.MULTILINE)
    assert " --timeout=180 " in (stages.out / "contract.log").read_text()
    assert " --timeout=75 " in (stages.out / f"{SECOND[-1]}.log").read_text()
    for name in SECOND:
        assert f"--junitxml={stages.out}/{name}.xml" in (stages.out / f"{name}.log").read_text()


def test_both_parts_are_the_default_and_all_is_well(stages):
    status, said = stages()
    assert (status, begun(said)) == (0, FIRST + SECOND)
    assert re.search(r"^== 0 stages failed after \d+s; results in ", said, re.MULTILINE)


@pytest.mark.parametrize("part", ["1", "2"])
def test_a_part_ends_in_time_and_tells_what_it_left_out(stages, part):
    """A card may be lent for ten minutes a command, in which the project is installed too."""
    (stages.wheels / "a.whl").touch()
    names = ["install", *(FIRST if part == "1" else SECOND)]
    status, said = stages(part)
    assert (status, begun(said)) == (0, names)
    limits = [int(s) for s in re.findall(r"^== \S+ \(at \d+s, (\d+)s at most\)$", said, re.M)]
    assert sum(limits[1:]) <= 540
    for total in (35, 5):  # and on a busy machine not even the first of these is enough
        _, said = stages(part, RINGNB_PART_S=str(total))
        limits = re.findall(r"^== (\S+) \(at (\d+)s, (\d+)s at most\)$", said, re.MULTILINE)
        assert all(int(at) + int(s) <= total - 5 for _, at, s in limits)
        for name, _, s in limits:  # a test that hangs shows where
            told = re.findall(r" --timeout=(\d+) ", (stages.out / f"{name}.log").read_text())
            assert all(int(each) < max(2, int(s)) for each in told)
        left_out = re.findall(r"^   (\S+) \(no time left\)$", said, re.MULTILINE)
        wanted = names
        if "ending" in left_out:  # which of them there are is found out within that time, too
            wanted = [name for name in names if not name.startswith("ending-")] + ["ending"]
        assert begun(said) + left_out == wanted
    assert not begun(said)


@pytest.mark.parametrize("fails", ["figures.py", "--only copy"])
def test_figures_are_recorded_where_all_cases_were_measured(stages, fails):
    status, said = stages(offline=False, fails=fails)
    assert begun(said)[len(FIRST)].startswith("bench-copy,waves,")
    assert status == 1
    assert ("says .ci/figures.py gpu /" in said) is (fails == "figures.py")
    assert ("\n   figures\n" in said) is (fails == "figures.py")
    assert begun(said)[-len(SECOND) :] == SECOND
