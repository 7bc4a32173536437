"""`ringnb bench --gpu` without a GPU: refusal, budget, arithmetic, and every case on a simulated card.

No figure of the simulator means anything. That there is one for every promise does, and that ours and
the baseline do the same work.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

import ringnb as rn
from ringnb.cli import command_line as cli
from ringnb.cli.bench import gpu, report
from ringnb.cli.bench.gpu import bandwidth, rings, snapshots, stepping
from ringnb.cli.bench.gpu.budget import Budget
from ringnb.cli.bench.gpu.card import Card, DriverError, Sizes, checked
from ringnb.cli.bench.measuring import Row, Scale
from ringnb.kernel.client import KernelClient
from ringnb.kernel.cuda.availability import driver_present, load
from ringnb.kernel.cuda.kernel import CudaKernel
from ringnb.messages.commands import Command
from ringnb.testing import ManualClock
from ringnb.testing.kernels import captured

pytest.importorskip("numba_cuda")
BENCH = Path(__file__).parents[2] / "ringnb" / "cli" / "bench"
RESULTS = BENCH / "results" / "gpu.json"

# The targets of a card of the H100's class.
PROMISED = {
    "gpu_wave_3d": (">=", 200.0),
    "gpu_wave_3d_ceiling": (">=", 0.8),
    "gpu_ring_median": ("<=", 5.0),
    "gpu_snapshot_1024_acknowledged": ("<=", 10.3),
    "gpu_snapshot_65536_acknowledged": ("<=", 10.3),
    "gpu_snapshot_16777216_stall": ("<=", 1.2),
    "gpu_snapshot_1073741824_stall": ("<=", 1.2),
    "gpu_busy_snapshot_1073741824_stall": ("<=", 1.2),
    "gpu_rate": (">=", 0.98),
}


class FakeDriver:
    """Answers as the driver does, and copies host memory."""

    calls: list

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append((name, arguments))
            return (0, 7) if name == "cuEventCreate" else (0,)

        return call


class SimulatedCard(Card):
    """A card of Numba's simulator: two threads, host memory, the host's clock, no graphs."""

    backend = "cudasim"

    def __init__(self, sizes):
        self.sizes, self.measured = sizes, {}
        self._cuda = load(simulate=True)
        self._driver, self.handle = FakeDriver(), 1

    def words(self, content):
        made = self._cuda.device_array(content.shape, np.int64)
        np.asarray(made)[...] = content
        return made

    def empty(self, n):
        return self.words(np.zeros(n, np.int64))

    def pinned(self, n):
        return np.zeros(n, np.int64)

    def copy(self, target, source):
        np.asarray(target)[...] = np.asarray(source)

    def compile(self, body, signature):
        return self._cuda.jit(body)

    def launcher(self, kernel, threads_needed):
        return kernel[1, 2]

    def time_s(self, work):
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    def record(self, work):
        return work

    def kernel(self, actors, **options):
        return CudaKernel(actors, simulate=True, **options)


TINY = Sizes(
    copied=512,
    waves={"wave_2d": (4, 5), "wave_3d": (3, 4, 5)},
    snapshots=(1 << 10,),
    reference=(1 << 10,),
    checkpointed=(4, 4, 4),
)


@pytest.fixture
def card(monkeypatch):
    monkeypatch.setattr(bandwidth, "_address", lambda array: np.asarray(array).ctypes.data)
    monkeypatch.setattr(bandwidth, "_BATCH", 3)
    monkeypatch.setattr(rings, "_BATCH", 10)
    monkeypatch.setattr(rings, "_BURST", 4)
    monkeypatch.setattr(stepping, "_PER_GRAPH", 2)
    monkeypatch.setattr(stepping, "_SAMPLE_S", 0.001)
    return SimulatedCard(TINY)


def measured(card, name, tmp_path):
    """Run a case with no time to spare: every loop makes its smallest number of turns."""
    return {row.key: row for row in gpu.CASES[name].measure(card, Scale(True, tmp_path), Budget(0))}


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


def test_the_ceiling_is_bytes_read_and_written_of_the_faster_copy(card):
    monkeypatch_times = iter([1.0, *[2e-6, 1e-6] * 5])
    card.time_s = lambda work: (work(), next(monkeypatch_times))[1]
    found = bandwidth.bandwidth(card, Budget(0))
    assert found.driver == pytest.approx([2 * 512 / 2e-6 / 1e9] * 5)
    assert found.ceiling == pytest.approx(2 * 512 / 1e-6 / 1e9)
    assert bandwidth.bandwidth(card, Budget(0)) is found  # measured once


def test_both_copies_copy(card):
    from ringnb.cli.bench.gpu import kernels

    source, target = card.words(np.arange(64)), card.empty(64)
    card.launcher(card.compile(kernels.copy, kernels.COPY_SIGNATURE), 64)(source, target)
    np.testing.assert_array_equal(np.asarray(target), np.arange(64))


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5)])
def test_the_baselines_make_the_steps_that_the_kernel_makes(card, shape):
    wave = stepping.noise(shape)
    states = []
    words = card.words
    card.words = lambda content: states.append(words(content)) or states[-1]
    launched, replayed = stepping._one_launch_per_step(card, wave)
    state = np.asarray(states[0])
    launched(4)
    replayed(6)  # three replays of two
    kernel = card.kernel([wave])
    kernel.launch()
    try:
        client = KernelClient(kernel)
        client.call(0, Command.RUN_STEPS, (2 + 4 + 6,))  # two to warm up
        assert client.wait_until(lambda: kernel.counters(0).step == 12, 30)
        levels, _ = captured(client, 0)
    finally:
        kernel.stop()
    half = len(state) // 2
    for i in range(2):
        theirs = state[i * half :].view(np.float32)[: levels[i].size]
        np.testing.assert_array_equal(theirs, levels[i].reshape(-1))


def test_waves_are_measured_against_ceiling_launches_and_graphs(card, tmp_path, monkeypatch):
    rows = measured(card, "waves", tmp_path)
    assert set(rows) == {
        f"gpu_{wave}{suffix}" for wave in TINY.waves for suffix in ("", "_launch", "_graph")
    }
    assert all(sample > 0 for row in rows.values() for sample in row.samples)
    assert all(len(row.samples) >= 2 for row in rows.values())


def test_rates_are_cells_per_second_and_bytes_of_the_ceiling(card, tmp_path, monkeypatch):
    card.measured["bandwidth"] = bandwidth.Bandwidth([3000.0], [3350.0])
    monkeypatch.setattr(
        stepping, "_one_launch_per_step", lambda *_: (lambda n: 2e-3, lambda n: 1e-3)
    )
    monkeypatch.setattr(stepping, "_persistent", lambda *_: [0.5e-3, 0.5e-3])
    monkeypatch.setattr(stepping, "noise", lambda shape: rn.actors.Wave3D((3, 3, 3)))
    rows = {
        row.key: row
        for row in stepping._wave(
            card, Scale(False, tmp_path), Budget(0), "wave_3d", (512, 512, 512), 3350.0
        )
    }
    rate = 512**3 / 0.5e-3 / 1e9
    assert rows["gpu_wave_3d"].median == pytest.approx(rate)
    assert rows["gpu_wave_3d_ceiling"].median == pytest.approx(12 * rate / 3350.0)
    assert rows["gpu_wave_3d_launch"].samples == pytest.approx([4.0, 4.0])
    assert rows["gpu_wave_3d_graph"].samples == pytest.approx([2.0, 2.0])
    for key in ("gpu_wave_3d", "gpu_wave_3d_ceiling"):
        assert (rows[key].limit, rows[key].target) == PROMISED[key]


def test_commands_are_sent_and_answered(card, tmp_path):
    rows = measured(card, "commands", tmp_path)
    names = ("submit", "ring", "client")
    assert set(rows) == {"gpu_clock"} | {
        f"gpu{busy}_{name}_{word}"
        for busy in ("", "_busy")
        for name in names
        for word in ("median", "p99")
    }
    assert {k: (r.limit, r.target) for k, r in rows.items() if r.target} == {
        "gpu_ring_median": PROMISED["gpu_ring_median"]
    }
    assert rows["gpu_clock"].median > 0


def test_snapshots_are_timed_stage_by_stage(card, tmp_path):
    rows = measured(card, "stages", tmp_path)
    stages = ("acknowledged", "copied", "published", "way", "received", "stall")
    assert set(rows) == {
        f"gpu{busy}_snapshot_{size}_{stage}"
        for busy in ("", "_busy")
        for size in TINY.snapshots
        for stage in stages
    }
    key = "gpu_snapshot_1024_acknowledged"
    assert (rows[key].limit, rows[key].target) == PROMISED[key]
    for one in zip(
        *(rows[f"gpu_snapshot_1024_{stage}"].samples for stage in stages[:5]), strict=True
    ):
        acknowledged, copied, published, way, received = one
        assert acknowledged == pytest.approx(copied + published + way)
        assert received >= acknowledged > 0
        assert copied >= 0 <= published


def test_targets_of_the_sizes_are_the_promised_ones():
    some = [snapshots._Stages(20.0, 30.0, 9.0, 1.0)] * 3
    for size in (1 << 10, 1 << 16, 1 << 20, 1 << 24, 1 << 30):
        for busy in (False, True):
            for row in snapshots._rows(size, some, [10.0] * 3, busy=busy):
                assert PROMISED.get(row.key, (row.limit, row.target)) == (row.limit, row.target)
                assert row.target in (None, 10.3, 1.2)
                if row.key.endswith("_stall"):
                    assert row.median == pytest.approx(0.9)


def test_a_torn_snapshot_ends_the_measurement(card, monkeypatch):
    kernel = card.kernel([snapshots.counter((4, 4))])
    kernel.launch()
    try:
        kernel.restore_buffer(0)[...] = 5
        KernelClient(kernel).call(0, Command.RESTORE, (4,))
        with pytest.raises(AssertionError):
            snapshots._one(kernel, 2000)
    finally:
        kernel.stop()


def test_checkpoints_are_weighed(card, tmp_path):
    row = measured(card, "checkpoints", tmp_path)["gpu_rate"]
    assert (row.limit, row.target) == PROMISED["gpu_rate"]
    assert len(row.samples) == 4
    assert row.median > 0


def test_the_reference_s_three_calls_are_made_in_its_order(card, tmp_path):
    rows = measured(card, "reference", tmp_path)
    assert list(rows) == [f"gpu_reference_{x}_1024" for x in ("capture", "copy", "ack", "total")]
    names = [name for name, _ in card._driver.calls]
    assert names[:5] == [
        "cuEventCreate",
        "cuMemcpyHtoDAsync",
        "cuMemcpyDtoDAsync",
        "cuEventRecord",
        "cuEventSynchronize",
    ]
    assert len(names) == 1 + 4 * (1 + 3 * 3)
    assert [a[2] for n, a in card._driver.calls if n.startswith("cuMemcpy")][:2] == [4, 1024]


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
    assert document["quick"] is False
    assert "failed" not in document
    rows = {row["key"]: row for row in document["rows"]}
    assert {k: (rows[k]["limit"], rows[k]["target"]) for k in PROMISED} == PROMISED
    keys = ("key", "what", "samples", "unit", "limit", "target", "note")
    table = report.as_markdown([Row(**{k: row[k] for k in keys}) for row in document["rows"]])
    lines = section.splitlines()
    start = lines.index(table[0])
    assert lines[start : start + len(table)] == table
    assert document["gpu"]["name"] in section
    assert "not measured" not in section
