"""The scripts that `.ci/gpu` runs before the tests, each to its end on the card in software."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from standin import card

CI = Path(__file__).parents[1] / ".ci"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.unhurried,
    pytest.mark.timeout(900),  # half a minute each, alone
    pytest.mark.skipif(card.missing() is not None, reason=f"the card {card.missing()}"),
]


@pytest.fixture(scope="module")
def said(stand_in_card):
    """Return what runs one of them, to what it prints."""
    _, environment = stand_in_card
    environment = {**environment, "RINGNB_REQUIRE_GPU": "1"}

    def run(name, *options):
        done = subprocess.run(
            [sys.executable, CI / name, *options],
            env=environment,
            capture_output=True,
            text=True,
            timeout=850,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr[-3000:]
        return done.stdout

    return run


def test_the_steps_of_the_protocol_are_timed(said):
    lines = said("gpu_probe.py", "--times", "20").splitlines()
    found = {line[:52].strip(): float(line[52:].removesuffix("ns")) for line in lines}
    assert len([what for what in found if "load" in what or "stor" in what or "fence" in what]) == 7
    assert found["a word to the card and back"] > 0
    widths = [int(m[1]) for what in found if (m := re.match(r"a barrier of (\d+) blocks", what))]
    assert len(widths) >= 2
    assert widths == sorted(widths)


def test_what_waits_for_the_kernel_is_told(said):
    *calls, last = said("gpu_waits.py").splitlines()
    assert len(calls) == 12
    assert all(re.search(r"\d ms, alone +\d+\.\d+ ms  \(\d+ steps\)$", call) for call in calls)
    assert re.fullmatch(r"\d+ blocks, \d+ launches", last)


def test_a_wave_has_the_bits_of_the_cpu_s_and_its_rate_is_told(said):
    options = ("--threads", "64", "--reserve", "0", "--longest", "12", "--steps", "3")
    found = json.loads(said("gpu_wave.py", "512x512x512", *options))
    assert found["shape"] == [12, 12, 12]
    assert found["same bits as the CPU"] is True
    assert found["us per step"] > 0
