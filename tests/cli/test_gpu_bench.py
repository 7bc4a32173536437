"""`ringnb bench --gpu` as a command, without a GPU: refusal, budget, what is written and told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from simulated_card import PROMISED

from ringnb.cli import command_line as cli
from ringnb.cli.bench import gpu
from ringnb.cli.bench.gpu.budget import Budget
from ringnb.cli.bench.gpu.card import DriverError, checked
from ringnb.cli.bench.measuring import Row
from ringnb.kernel.cuda.availability import driver_present
from ringnb.testing import ManualClock

pytest.importorskip("numba_cuda")
BENCH = Path(__file__).parents[2] / "ringnb" / "cli" / "bench"
RESULTS = BENCH / "results" / "gpu.json"


@pytest.mark.parametrize("arguments", [[], ["--only", "copy"], ["--quick", "--markdown"]])
def test_without_a_gpu_it_is_one_line(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.setattr("ringnb.cli.bench.gpu.card.why_unavailable", lambda: "there is none")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", "--gpu", *arguments]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", "ringnb: ringnb bench --gpu cannot run here: there is none\n")
    assert list(tmp_path.iterdir()) == []


def test_the_gpu_s_cases_are_listed_and_chosen_from(capsys):
    assert cli.main(["bench", "--gpu", "--list"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in out] == list(gpu.CASES)
    assert all(len(line) > 20 for line in out)
    assert cli.main(["bench", "--gpu", "--only", "loops"]) == 1
    assert "no such case; there are copy, waves" in capsys.readouterr().err


def run(card, tmp_path, monkeypatch, *arguments):
    monkeypatch.setattr(gpu, "open_card", lambda **_: card)
    monkeypatch.setattr(card, "describe", lambda: {"name": "none", "nvidia_driver": "0"})
    target = tmp_path / "gpu.json"
    status = cli.main(
        ["bench", "--gpu", "--quick", "--dir", str(tmp_path), "--json", str(target), *arguments]
    )
    return status, json.loads(target.read_text())


def test_it_writes_the_card_and_the_figures(card, tmp_path, monkeypatch, capsys):
    status, document = run(card, tmp_path, monkeypatch, "--only", "copy,reference")
    assert status == 0
    assert document["gpu"] == {"name": "none", "nvidia_driver": "0"}
    assert set(document) == {"format", "created_at", "quick", "machine", "versions", "rows", "gpu"}
    keys = [row["key"] for row in document["rows"]]
    assert keys[:2] == ["gpu_copy_driver", "gpu_copy_kernel"]
    out = capsys.readouterr().out
    assert all(row["what"] in out for row in document["rows"])


def test_a_case_that_fails_leaves_the_others_their_figures(card, tmp_path, monkeypatch, capsys):
    def fails(*_):
        yield Row("first", "half of it", [1.0], "x")
        raise DriverError("cuLaunch failed: it\ndied")

    monkeypatch.setitem(gpu.CASES, "waves", gpu.cases.Case(fails, 1.0))
    status, document = run(card, tmp_path, monkeypatch, "--only", "waves,copy")
    assert status == 1
    assert [row["key"] for row in document["rows"]] == [
        "first",
        "gpu_copy_driver",
        "gpu_copy_kernel",
    ]
    assert document["failed"] == {"waves": "DriverError: cuLaunch failed: it died"}
    assert "waves failed: DriverError: cuLaunch failed: it died" in capsys.readouterr().out


def test_a_run_fits_into_ten_minutes_with_room_to_spare():
    assert sum(case.seconds for case in gpu.CASES.values()) <= 360


def test_a_budget_is_spent_and_passed_on():
    clock = ManualClock()
    budget = Budget(12.0, clock)
    parts = budget.split(3)
    assert next(parts).left_s == pytest.approx(4.0)
    clock.advance(1.0)  # three seconds are left over, for the other two
    second = next(parts)
    assert second.left_s == pytest.approx(5.5)
    seen = []
    for i in second.turns(2, 100):
        seen.append(i)
        clock.advance(1.0)
    assert seen == [0, 1, 2, 3, 4, 5]
    assert second.left_s == 0
    assert list(second.turns(2, 100)) == [0, 1]
    assert list(budget.turns(0, 3)) == [0, 1, 2]


def test_a_driver_s_refusal_is_told():
    with pytest.raises(DriverError, match="cuGraphLaunch failed: 719"):
        checked((719,), "cuGraphLaunch")
    assert checked((0,), "x") is None
    assert checked((0, 3), "x") == 3
    assert checked((0, 3, 4), "x") == (3, 4)


def test_the_driver_s_functions_take_what_they_are_given():
    """Past this package's types, a call ends at the missing driver, not before."""
    driver = pytest.importorskip("cuda.bindings.driver")
    stream = driver.CUstream(16)
    mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    if driver_present():
        pytest.skip("a driver is loaded, and these handles are none")
    for call in (
        lambda: driver.cuStreamBeginCapture(stream, mode),
        lambda: driver.cuStreamEndCapture(stream),
        lambda: driver.cuGraphInstantiate(driver.CUgraph(16), 0),
        lambda: driver.cuGraphLaunch(driver.CUgraphExec(16), stream),
        lambda: driver.cuMemcpyHtoDAsync(1024, 2048, 4, stream),
        lambda: driver.cuMemcpyDtoDAsync(1024, 2048, 4, stream),
        lambda: driver.cuEventCreate(0),
        lambda: driver.cuEventRecord(driver.CUevent(16), stream),
        lambda: driver.cuEventSynchronize(driver.CUevent(16)),
        lambda: driver.cuDriverGetVersion(),
    ):
        with pytest.raises(Exception, match="NVIDIA driver library"):
            call()


def test_the_readme_tells_what_was_measured_on_a_gpu_or_that_nothing_was():
    text = (BENCH / "README.md").read_text(encoding="utf-8")
    section = text.partition("## On an NVIDIA GPU")[2].partition("\n## ")[0]
    if not RESULTS.exists():
        assert "not measured" in " ".join(section.split())
        return
    document = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert "failed" not in document
    rows = {row["key"]: row for row in document["rows"]}
    assert {k: (rows[k]["limit"], rows[k]["target"]) for k in PROMISED} == PROMISED
    assert document["gpu"]["name"] in section
    assert "not measured" not in section
